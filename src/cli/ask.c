#include "cli/cli.h"

#include "cli/print.h"
#include "control/control.h"
#include "event/value.h"

#include <pwd.h>
#include <unistd.h>

int ask_failed(const struct error *err) {
  fputs("kairos: ", stderr);
  print_text(stderr, str_from(err->message), 0); // it may quote what a rule made of an event
  fputc('\n', stderr);
  return err->code == ERROR_NOT_FOUND ? CLI_NOT_FOUND : CLI_FAILED;
}

int ask_listens(const struct config *config) {
  struct error err = {0};
  int rc = control_listens(config->control.socket, &err);
  if (rc < 0) fprintf(stderr, "kairos: %s\n", err.message);
  return rc < 0 ? -CLI_FAILED : rc;
}

void ask_begin(struct buf *request, const char *command) {
  buf_init(request);
  buf_printf(request, "{\"command\":\"%s\"", command);
}

void ask_put(struct buf *request, const char *name, const char *value) {
  if (!value) return;
  buf_printf(request, ",\"%s\":", name);
  value_put_json_string(str_from(value), request);
}

void ask_put_user(struct buf *request) {
  const struct passwd *user = getpwuid(geteuid());
  ask_put(request, "user", user ? user->pw_name : NULL);
}

int ask_host(const struct config *config, struct buf *request, struct buf *result) {
  int rc = ask_listens(config);
  if (rc == 1) {
    struct error err = {0};
    buf_put_u8(request, '}');
    rc = control_ask(config->control.socket, buf_str(request), result, &err) ? ask_failed(&err) : CLI_DONE;
  } else if (rc == 0) {
    fprintf(stderr,
            "kairos: no host runs here (nobody listens on %s); start one with `kairos run`, or say where it "
            "is with --data-dir\n",
            config->control.socket);
    rc = CLI_FAILED;
  } else {
    rc = CLI_FAILED;
  }
  buf_deinit(request);
  return rc;
}

int ask_once(const struct cli_arguments *arguments, struct buf *request, struct buf *result) {
  struct config *config = NULL;
  int rc = setup_place(arguments, &config);
  if (rc)
    buf_deinit(request);
  else
    rc = ask_host(config, request, result);
  config_free(config);
  return rc;
}

int ask_and_show(const struct cli_arguments *arguments, struct buf *request,
                 void (*show)(struct str result)) {
  struct buf result;
  buf_init(&result);
  int rc = ask_once(arguments, request, &result);
  if (rc == CLI_DONE && arguments->json)
    print_json(stdout, buf_str(&result));
  else if (rc == CLI_DONE)
    show(buf_str(&result));
  buf_deinit(&result);
  return rc;
}
