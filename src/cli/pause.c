#include "cli/cli.h"

static void paused(struct str result) {
  (void)result;
  printf("Paused: messages wait, and go out after `kairos resume`.\n");
}

static void resumed(struct str result) {
  (void)result;
  printf("Resumed.\n");
}

static int ask(const struct cli_arguments *arguments, const char *command, void (*show)(struct str result)) {
  struct buf request;
  ask_begin(&request, command);
  ask_put(&request, "channel", arguments->words[0]);
  return ask_and_show(arguments, &request, show);
}

static int run_pause(const struct cli_arguments *arguments) {
  return ask(arguments, "pause", paused);
}

static int run_resume(const struct cli_arguments *arguments) {
  return ask(arguments, "resume", resumed);
}

const struct cli_command cli_pause = {
    .name = "pause",
    .words = "[PROVIDER]",
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON,
    .summary = "hold messages back",
    .help = "At one provider, or at all of them, until `kairos resume` or a restart. Events\n"
            "are taken and rules run as before; messages wait, and those that expire\n"
            "meanwhile are not sent.\n"
            "\n"
            "  kairos pause\n"
            "  kairos pause sendgrid\n",
    .run = run_pause,
};

const struct cli_command cli_resume = {
    .name = "resume",
    .words = "[PROVIDER]",
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON,
    .summary = "let messages go again",
    .help = "At one provider, or at all of them.\n"
            "\n"
            "  kairos resume\n"
            "  kairos resume sendgrid\n",
    .run = run_resume,
};
