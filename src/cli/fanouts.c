/* kairos fanouts: events that reach many users, how far they are, and what an operator does to them. */
#include "cli/cli.h"
#include "cli/print.h"

#include <inttypes.h>
#include <string.h>

static int complain(const char *message) {
  fprintf(stderr, "kairos: %s; `kairos fanouts --help` says more\n", message);
  return CLI_USAGE;
}

/* ---- showing ---- */

static void put_progress(struct str fan_out, struct buf *cell) {
  int64_t reached = value_member_integer(fan_out, "reached"), total = value_member_integer(fan_out, "total");
  buf_printf(cell, "%" PRId64, reached);
  if (total > 0) buf_printf(cell, " of %" PRId64 " (%" PRId64 "%%)", total, reached * 100 / total);
}

static void put_row(struct str fan_out, struct buf *out) {
  struct str subject = value_member_text(fan_out, "subject"), reason = value_member_text(fan_out, "reason");
  struct str key = value_member_text(fan_out, "key"), id = value_member_text(fan_out, "id");
  struct buf cell;
  buf_init(&cell);
  value_put_map(out, 8);
  value_put_member_text(out, "id", (struct str){id.data, id.len < 12 ? id.len : 12});
  value_put_member_integer(out, "began", value_member_integer(fan_out, "began"));
  value_put_member_text(out, "campaign", value_member_text(fan_out, "campaign"));
  buf_printf(&cell, "%.*s of %.*s", STR_ARG(value_member_text(fan_out, "event_type")),
             STR_ARG(subject.len ? subject : value_member_text(fan_out, "user")));
  value_put_member_text(out, "event", buf_str(&cell));
  buf_clear(&cell);
  buf_printf(&cell, "%.*s%s%.*s", STR_ARG(value_member_text(fan_out, "over")), key.len ? ", " : "",
             STR_ARG(key));
  value_put_member_text(out, "over", buf_str(&cell));
  buf_clear(&cell);
  put_progress(fan_out, &cell);
  value_put_member_text(out, "reached", buf_str(&cell));
  value_put_member_text(out, "pace", value_member_text(fan_out, "pace"));
  buf_clear(&cell);
  buf_printf(&cell, "%.*s%s%.*s", STR_ARG(value_member_text(fan_out, "state")), reason.len ? ", " : "",
             STR_ARG(reason));
  value_put_member_text(out, "state", buf_str(&cell));
  buf_deinit(&cell);
}

static void show_list(struct str fan_outs) {
  static const struct print_column columns[] = {
      {"ID", "id", 0, false},        {"BEGAN", "began", 0, true},   {"CAMPAIGN", "campaign", 32, false},
      {"EVENT", "event", 40, false}, {"OVER", "over", 40, false},   {"REACHED", "reached", 0, false},
      {"PACE", "pace", 0, false},    {"STATE", "state", 60, false},
  };
  print_rows(stdout, fan_outs, put_row, columns, sizeof columns / sizeof *columns, "No fan-outs.");
}

/** Whether a member says something to somebody who reads it; how many there are in all stands beside how many
 * were reached. */
static bool is_said(struct str name, struct str value) {
  struct value head = value_head(value);
  return head.type != VALUE_NIL && (head.type != VALUE_STRING || head.string.len) &&
         !str_equal(name, STR("total"));
}

static void show_one(struct str fan_outs) {
  struct reader reader = reader_of(fan_outs);
  if (!value_read(&reader).count) return;
  struct str fan_out = value_slice(&reader);
  struct buf shown, progress;
  buf_init(&shown);
  buf_init(&progress);
  put_progress(fan_out, &progress);
  uint32_t said = 0;
  for (int pass = 0; pass < 2; pass++) {
    reader = reader_of(fan_out);
    uint32_t count = value_read(&reader).count;
    if (pass) value_put_map(&shown, said);
    for (uint32_t i = 0; i < count; i++) {
      struct str name = value_read(&reader).string, value = value_slice(&reader);
      if (!is_said(name, value)) continue;
      said++;
      if (!pass) continue;
      value_put_string(&shown, name);
      if (str_equal(name, STR("reached")))
        value_put_string(&shown, buf_str(&progress));
      else
        buf_append(&shown, value.data, value.len);
    }
  }
  print_map(stdout, buf_str(&shown), 0);
  buf_deinit(&progress);
  buf_deinit(&shown);
}

/* ---- changing ---- */

static void paused(struct str result) {
  (void)result;
  printf("Paused: nobody more is reached until `kairos fanouts resume`; its time goes on.\n");
}

static void resumed(struct str result) {
  (void)result;
  printf("Resumed: it goes on behind the last user it reached.\n");
}

static void stopped(struct str result) {
  (void)result;
  printf("Stopped for good: who was not reached is not.\n");
}

static const struct {
  const char *verb, *command;
  void (*show)(struct str result);
} verbs[] = {{"pause", "fanout_pause", paused},
             {"resume", "fanout_resume", resumed},
             {"stop", "fanout_stop", stopped}};

static int run(const struct cli_arguments *arguments) {
  static const char *const known[] = {"pause", "resume", "stop", NULL};
  struct buf request;
  const char *first = arguments->word_count ? arguments->words[0] : NULL;
  for (size_t i = 0; first && i < sizeof verbs / sizeof *verbs; i++) {
    if (strcmp(first, verbs[i].verb) != 0) continue;
    if (arguments->word_count < 2) return complain("which one? Give its ID");
    ask_begin(&request, verbs[i].command);
    ask_put(&request, "id", arguments->words[1]);
    ask_put(&request, "text", arguments->reason);
    ask_put_user(&request);
    return ask_and_show(arguments, &request, verbs[i].show);
  }
  if (arguments->word_count > 1) {
    const char *meant = option_nearest(first, known);
    fprintf(stderr, "kairos: `fanouts` has pause, resume and stop, not \"%s\"", first);
    if (meant) fprintf(stderr, "; is it `fanouts %s`?", meant);
    fprintf(stderr, "\n");
    return CLI_USAGE;
  }
  if (arguments->reason) return complain("--reason goes with pause, resume and stop");
  ask_begin(&request, "fanouts");
  ask_put(&request, "id", first);
  return ask_and_show(arguments, &request, first ? show_one : show_list);
}

const struct cli_command cli_fanouts = {
    .name = "fanouts",
    .words = "[ID] | pause ID | resume ID | stop ID",
    .words_max = 2,
    .options = CLI_PLACE | CLI_JSON | CLI_REASON,
    .summary = "events that reach many users: how far they are",
    .help = "A rule with `for_each` makes of one event a fan-out: its rule runs for each user\n"
            "who stands under an interest's key or in a segment, once, at its pace. Without\n"
            "an ID all that run, and those that ended in the last week; of an ID its first\n"
            "four digits do. A paused one goes on where it was; a stopped one is over.\n"
            "\n"
            "  kairos fanouts\n"
            "  kairos fanouts 3f2a90c1\n"
            "  kairos fanouts pause 3f2a90c1 --reason \"wrong price\"\n"
            "  kairos fanouts --json | jq '.[] | {campaign, reached, total}'\n",
    .run = run,
};
