#include "base/memory.h"
#include "cli/cli.h"
#include "cli/print.h"
#include "cli/repl_line.h"
#include "control/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

struct console {
  struct control_stream *stream;
  bool json, failed;
  struct buf source; /**< lines that are one thing so far */
  struct buf answer;
  int64_t serial;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int signal) {
  (void)signal;
  interrupted = 1;
}

static int send_text(struct console *console, const char *member, struct str text, struct error *err) {
  struct buf line;
  buf_init(&line);
  buf_printf(&line, "{\"id\":%lld,\"%s\":", (long long)++console->serial, member);
  value_put_json_string(text, &line);
  if (console->json) buf_printf(&line, ",\"json\":true");
  buf_printf(&line, "}");
  int rc = control_stream_send(console->stream, buf_str(&line), err);
  buf_deinit(&line);
  return rc;
}

/** To this question, or to a line that the host took none from: that has no id. */
static bool is_answer(struct console *console) {
  struct str answer = buf_str(&console->answer), ok;
  return value_member_integer(answer, "id") == console->serial || value_member(answer, STR("ok"), &ok);
}

static int await_unless(struct console *console, const sigset_t *while_waiting, struct error *err) {
  for (bool asked = false;;) {
    if (interrupted && asked) return error_set(err, ERROR_UNAVAILABLE, "the host does not answer");
    if (interrupted) {
      interrupted = 0;
      asked = true;
      if (control_stream_send(console->stream, STR("{\"cancel\":true}"), err)) return ERROR_UNAVAILABLE;
    }
    int rc = control_stream_receive(console->stream, false, &console->answer, err);
    if (rc < 0) return rc;
    if (rc > 0 && is_answer(console)) return 0;
    if (rc > 0) continue;
    struct pollfd wait = {control_stream_descriptor(console->stream), POLLIN, 0};
    if (ppoll(&wait, 1, NULL, while_waiting) < 0 && errno != EINTR)
      return error_set_errno(err, errno, "cannot wait for the host");
  }
}

/** Wait for the answer; Ctrl-C, which comes while it waits and at no other moment, asks the host to end what
 * runs, and again ends the waiting. */
static int await_answer(struct console *console, struct error *err) {
  sigset_t interrupt, before;
  sigemptyset(&interrupt);
  sigaddset(&interrupt, SIGINT);
  sigprocmask(SIG_BLOCK, &interrupt, &before);
  int rc = await_unless(console, &before, err);
  sigprocmask(SIG_SETMASK, &before, NULL);
  return rc;
}

/** @param out  where what it prints goes. @return 1 if the host wants more lines, 0 when all was said, or an
 * error. */
static int evaluate(struct console *console, struct str source, FILE *out, struct error *err) {
  int rc = send_text(console, "run", source, err);
  if (rc == 0) rc = await_answer(console, err);
  if (rc) return rc;
  struct str answer = buf_str(&console->answer);
  struct str state = value_member_text(answer, "state"), output = value_member_text(answer, "output"),
             error = value_member_text(answer, "error");
  if (str_equal(state, STR("incomplete"))) return 1;
  fwrite(output.data, 1, output.len, out); // the host has made it fit for a terminal
  if (console->json && output.len) fputc('\n', out);
  fflush(out);
  if (str_equal(state, STR("cancelled"))) fprintf(stderr, "cancelled\n");
  if (error.len) {
    print_text(stderr, error, 2);
    fputc('\n', stderr);
  }
  console->failed = !str_equal(state, STR("done"));
  return 0;
}

static int open_session(const struct cli_arguments *arguments, const char *socket, struct console *console,
                        struct buf *greeting, struct error *err) {
  struct buf request;
  ask_begin(&request, "repl");
  if (arguments->worker) buf_printf(&request, ",\"worker\":%ld", strtol(arguments->worker, NULL, 10));
  buf_printf(&request, "}");
  int rc = control_stream_open(&console->stream, socket, buf_str(&request), greeting, err);
  buf_deinit(&request);
  if (rc == 0 && arguments->write) rc = evaluate(console, STR(":write"), stderr, err);
  if (rc == 0 && arguments->unmask) rc = evaluate(console, STR(":unmask"), stderr, err);
  return rc;
}

static int run_once(struct console *console, const char *code, struct error *err) {
  int rc = evaluate(console, str_from(code), stdout, err);
  if (rc == 1) {
    struct str reason = value_member_text(buf_str(&console->answer), "error");
    rc = error_set(err, ERROR_INVALID, "the code ends too early: %.*s", STR_ARG(reason));
  }
  return rc;
}

static int complete(void *context, struct str text, struct buf *names, size_t *replaces) {
  struct console *console = context;
  struct error err = {0};
  struct str found;
  if (send_text(console, "complete", text, &err) || await_answer(console, &err)) return -1;
  *replaces = (size_t)value_member_integer(buf_str(&console->answer), "replaces");
  if (!value_member(buf_str(&console->answer), STR("names"), &found)) return -1;
  buf_append(names, found.data, found.len);
  return 0;
}

/** Lines from a terminal, or from a script. */
static int run_lines(struct console *console, struct repl_line *lines, struct error *err) {
  for (;;) {
    struct str line;
    int got = repl_line_read(lines, console->source.len > 0, &line);
    interrupted = 0;
    if (got == REPL_LINE_CANCELLED) {
      buf_clear(&console->source);
      continue;
    }
    if (got == REPL_LINE_END) break;
    if (!console->source.len && (str_equal(line, STR(":quit")) || str_equal(line, STR(":q")))) return 0;
    if (!console->source.len && !line.len) continue;
    if (console->source.len) buf_put_u8(&console->source, '\n');
    buf_append(&console->source, line.data, line.len);
    int rc = evaluate(console, buf_str(&console->source), stdout, err);
    if (rc < 0) return rc;
    if (rc == 1) continue;
    repl_line_remember(lines, buf_str(&console->source));
    buf_clear(&console->source);
    if (console->failed && !repl_line_interactive(lines)) return 0;
  }
  if (!console->source.len) return 0;
  struct str reason = value_member_text(buf_str(&console->answer), "error");
  return error_set(err, ERROR_INVALID, "the input ends too early: %.*s", STR_ARG(reason));
}

static int run_console(const struct cli_arguments *arguments, struct console *console, struct str greeting,
                       struct error *err) {
  struct repl_line *lines = repl_line_new(complete, console);
  if (repl_line_interactive(lines))
    fprintf(stderr, "worker %lld of %lld, generation %lld. :help says what there is; personal data is %s.\n",
            (long long)value_member_integer(greeting, "worker"),
            (long long)value_member_integer(greeting, "workers"),
            (long long)value_member_integer(greeting, "generation"), arguments->unmask ? "shown" : "masked");
  int rc = run_lines(console, lines, err);
  repl_line_free(lines);
  return rc;
}

static int run(const struct cli_arguments *arguments) {
  struct config *config = NULL;
  struct console console = {.json = arguments->json};
  struct error err = {0};
  struct buf greeting;
  buf_init(&greeting);
  int rc = setup_place(arguments, &config);
  if (rc) return rc;
  signal(SIGPIPE, SIG_IGN);
  rc = open_session(arguments, config->control.socket, &console, &greeting, &err);
  // Not before: a host that hangs opens none, and there would be nothing to interrupt.
  struct sigaction action = {.sa_handler = on_interrupt};
  sigaction(SIGINT, &action, NULL);
  if (rc == 0 && arguments->eval)
    rc = run_once(&console, arguments->eval, &err);
  else if (rc == 0)
    rc = run_console(arguments, &console, buf_str(&greeting), &err);
  if (rc == ERROR_NOT_FOUND && !console.stream)
    error_set(
        &err, ERROR_IO,
        "no host runs here (nobody listens on %s); start one with `kairos run`, or say where it is with "
        "--data-dir",
        config->control.socket);
  int code = rc ? ask_failed(&err) : console.failed ? CLI_FAILED : CLI_DONE;
  control_stream_close(console.stream);
  buf_deinit(&console.source);
  buf_deinit(&console.answer);
  buf_deinit(&greeting);
  config_free(config);
  return code;
}

const struct cli_command cli_repl = {
    .name = "repl",
    .words = "",
    .options = CLI_PLACE | CLI_JSON | CLI_EVAL | CLI_WORKER | CLI_SESSION | CLI_UNMASK,
    .summary = "look inside the running host",
    .help = "Lua, run by a worker of the running host between events, in slices, on copies:\n"
            "nothing waits for it, and no rule can be changed by it. An expression shows its\n"
            "value; `:help` lists what can be looked at. Without a terminal it reads lines\n"
            "from standard input and ends with the first that fails.\n"
            "\n"
            "Personal data is masked until --unmask or :unmask; what changes the host is\n"
            "refused until --write or :write. Both are logged, with who asked.\n"
            "\n"
            "  kairos repl\n"
            "  kairos repl -e 'user \"ada\"'\n"
            "  kairos repl -e 'campaign \"welcome\"' --json\n"
            "  kairos repl -e 'try { type = \"signup\", user = \"ada\", payload = {} }'\n",
    .run = run,
};
