#include "cli/cli.h"

static void suppressed(struct str result) {
  (void)result;
  printf("Suppressed: the user gets no more messages there; what was waiting is cancelled.\n");
}

static void unsuppressed(struct str result) {
  (void)result;
  printf("No longer suppressed.\n");
}

static int suppress(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "suppress");
  ask_put(&request, "user", arguments->words[0]);
  ask_put(&request, "channel", arguments->words[1]);
  ask_put(&request, "text", arguments->reason);
  return ask_and_show(arguments, &request, suppressed);
}

static int unsuppress(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "unsuppress");
  ask_put(&request, "user", arguments->words[0]);
  ask_put(&request, "channel", arguments->words[1]);
  return ask_and_show(arguments, &request, unsuppressed);
}

const struct cli_command cli_suppress = {
    .name = "suppress",
    .words = "USER [CHANNEL]",
    .words_min = 1,
    .words_max = 2,
    .options = CLI_PLACE | CLI_REASON | CLI_JSON,
    .summary = "send a user nothing more",
    .help = "On one channel (email, sms, push, webhook), or on every one. It is durable\n"
            "when the command returns; what was waiting for a provider is cancelled. Rules\n"
            "still run; the gate answers each message with \"suppressed\", and `kairos why`\n"
            "shows it.\n"
            "\n"
            "  kairos suppress ada\n"
            "  kairos suppress ada email --reason \"asked on the phone\"\n",
    .run = suppress,
};

const struct cli_command cli_unsuppress = {
    .name = "unsuppress",
    .words = "USER [CHANNEL]",
    .words_min = 1,
    .words_max = 2,
    .options = CLI_PLACE | CLI_JSON,
    .summary = "lift a suppression",
    .help = "Without a channel, the suppression of every channel is lifted; one that was\n"
            "set for a channel alone is lifted by naming that channel.\n"
            "\n"
            "  kairos unsuppress ada\n"
            "  kairos unsuppress ada email\n",
    .run = unsuppress,
};
