#include "cli/cli.h"

#include <string.h>

static void granted(struct str result) {
  (void)result;
  printf("Granted: messages of this purpose may go to the user, as far as consent is concerned.\n");
}

static void withdrawn(struct str result) {
  (void)result;
  printf("Withdrawn: the user gets no more of this purpose there; what was waiting is cancelled.\n");
}

static int run(const struct cli_arguments *arguments) {
  const char *word = arguments->words[1];
  bool grant = strcmp(word, "grant") == 0;
  if (!grant && strcmp(word, "withdraw") != 0) {
    fprintf(stderr, "kairos: `consent USER %s`: write `grant` or `withdraw`\n", word);
    return CLI_USAGE;
  }
  struct buf request;
  ask_begin(&request, word);
  ask_put(&request, "user", arguments->words[0]);
  ask_put(&request, "text", arguments->words[2]);
  ask_put(&request, "channel", arguments->channel);
  return ask_and_show(arguments, &request, grant ? granted : withdrawn);
}

const struct cli_command cli_consent = {
    .name = "consent",
    .words = "USER grant|withdraw PURPOSE",
    .words_min = 3,
    .words_max = 3,
    .options = CLI_PLACE | CLI_CHANNEL | CLI_JSON,
    .summary = "note a user's consent to a purpose",
    .help = "As the events consent.granted and consent.withdrawn do, said now. Of what was said\n"
            "of a purpose, on the channel or on every one, the newest holds. It is durable when\n"
            "the command returns. What it means is the purpose's `consent` in the configuration:\n"
            "none, opt_out (goes unless withdrawn) or opt_in (goes only if granted). Messages\n"
            "that were waiting and may not go any more are cancelled.\n"
            "\n"
            "  kairos consent ada withdraw newsletter\n"
            "  kairos consent ada grant newsletter --channel email\n",
    .run = run,
};
