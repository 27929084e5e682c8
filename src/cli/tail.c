#include "cli/cli.h"
#include "cli/print.h"
#include "control/control.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>

enum { SAMPLE_ALL = 10000 };

/** "1%" or "0.5%". @return users of 10,000, or 0 with the complaint on stderr. */
static int read_sample(const char *text) {
  char *end;
  double percent = strtod(text, &end);
  if (end != text && *end == '%' && !end[1] && percent >= 0.01 && percent <= 100)
    return (int)lround(percent * SAMPLE_ALL / 100);
  fprintf(stderr, "kairos: --sample %s: write 0.01%% to 100%%, such as 1%%\n", text);
  return 0;
}

static int put_request(const struct cli_arguments *arguments, struct buf *request) {
  ask_begin(request, "tail");
  ask_put(request, "type", arguments->type);
  ask_put(request, "user", arguments->user);
  ask_put(request, "campaign", arguments->campaign);
  ask_put(request, "reason", arguments->reason);
  if (arguments->decisions) buf_printf(request, ",\"events\":false");
  if (arguments->events_only) buf_printf(request, ",\"decisions\":false");
  if (arguments->unmask) buf_printf(request, ",\"unmask\":true");
  if (arguments->sample) {
    int sample = read_sample(arguments->sample);
    if (!sample) return CLI_USAGE;
    buf_printf(request, ",\"sample\":%d", sample);
  }
  buf_printf(request, "}");
  return 0;
}

static void put_words(struct str line, const char *const *names) {
  for (; *names; names++) {
    struct str text = value_member_text(line, *names);
    if (!text.len) continue;
    fputs("  ", stdout);
    print_text(stdout, text, 0);
  }
}

static void show(struct str line) {
  static const char *const of_message[] = {"campaign", "template",   "channel", "to",
                                           "reason",   "message_id", NULL};
  static const char *const of_other[] = {"campaign", "key",  "error",   "experiment", "variant",
                                         "outcome",  "type", "channel", "reason",     "over",
                                         "step",     "id",   "detail",  "message_id", NULL};
  struct str what = value_member_text(line, "what"), payload;
  int64_t lost = value_member_integer(line, "lost");
  if (lost) {
    printf("… %lld lines were lost: they came faster than they were read\n", (long long)lost);
    return;
  }
  print_time(stdout, value_member_integer(line, "at"));
  printf("  %-10.*s", STR_ARG(what));
  struct str who = value_member_text(line, "user");
  if (!who.len) who = value_member_text(line, "subject");
  fputs(" ", stdout);
  print_text(stdout, who, 0);
  if (str_equal(what, STR("event"))) {
    static const char *const of_event[] = {"type", "id", NULL};
    put_words(line, of_event);
    if (value_member(line, STR("payload"), &payload)) {
      fputs("  ", stdout);
      print_value(stdout, payload);
    }
  } else {
    bool message = str_equal(what, STR("send")) || str_equal(what, STR("skip"));
    put_words(line, message ? of_message : of_other);
    if (value_member_integer(line, "due")) {
      fputs(" until ", stdout);
      print_time(stdout, value_member_integer(line, "due"));
    }
  }
  fputc('\n', stdout);
}

static int follow(struct control_stream *stream, bool json, struct error *err) {
  struct buf line;
  buf_init(&line);
  int rc;
  while ((rc = control_stream_receive(stream, true, &line, err)) >= 0) {
    if (rc == 0) continue;
    if (json)
      print_json(stdout, buf_str(&line));
    else
      show(buf_str(&line));
    if (fflush(stdout)) break; // nobody listens any more
  }
  buf_deinit(&line);
  return rc < 0 ? rc : 0;
}

static int run(const struct cli_arguments *arguments) {
  struct config *config = NULL;
  struct control_stream *stream = NULL;
  struct buf request, greeting;
  struct error err = {0};
  if (arguments->decisions && arguments->events_only) {
    fprintf(stderr, "kairos: --decisions and --events leave each other out; without either both are shown\n");
    return CLI_USAGE;
  }
  buf_init(&greeting);
  int rc = put_request(arguments, &request);
  if (rc == 0) rc = setup_place(arguments, &config);
  if (rc) {
    buf_deinit(&request);
    return rc;
  }
  signal(SIGPIPE, SIG_IGN);
  rc = control_stream_open(&stream, config->control.socket, buf_str(&request), &greeting, &err);
  if (rc == ERROR_NOT_FOUND)
    rc = error_set(
        &err, ERROR_IO,
        "no host runs here (nobody listens on %s); start one with `kairos run`, or say where it is with "
        "--data-dir",
        config->control.socket);
  struct str warning = value_member_text(buf_str(&greeting), "warning");
  if (rc == 0 && warning.len)
    fprintf(stderr, "kairos: %.*s; what one of this name does is shown once there is one\n",
            STR_ARG(warning));
  if (rc == 0) rc = follow(stream, arguments->json, &err);
  control_stream_close(stream);
  buf_deinit(&request);
  buf_deinit(&greeting);
  config_free(config);
  return rc ? ask_failed(&err) : CLI_DONE;
}

const struct cli_command cli_tail = {
    .name = "tail",
    .words = "",
    .options = CLI_PLACE | CLI_JSON | CLI_UNMASK | CLI_TAIL,
    .summary = "the stream of events and decisions, live",
    .help = "Each event as it is decided, and what came of it: sent, skipped (with the\n"
            "gate's reason), failed, handed over. Filters are applied by the host, so that\n"
            "little is sent for a little; who reads too slowly is told how many lines he\n"
            "lost. What is shown is decided, and durable a moment later.\n"
            "\n"
            "Journeys are lines as they begin, wait, are parked and end, fan-outs as they\n"
            "begin, reach each user and end, experiments as a user comes into one or reaches\n"
            "its goal; who enters a segment, and what rules emit, are events. --reason\n"
            "parked, began, exited, … narrows to these.\n"
            "\n"
            "--type also keeps the decisions that such an event led to. --sample takes a\n"
            "share of the users, always the same ones, with all that they do. Personal data\n"
            "is masked unless --unmask is given, which is logged.\n"
            "\n"
            "  kairos tail\n"
            "  kairos tail --decisions --campaign welcome\n"
            "  kairos tail --reason suppressed --json | jq .user\n"
            "  kairos tail --user ada --unmask\n"
            "  kairos tail --sample 1%\n",
    .run = run,
};
