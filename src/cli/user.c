#include "cli/cli.h"
#include "cli/print.h"

static void show(struct str result) {
  if (print_member_integer(result, "seq") == 0)
    printf("Nothing is known of this user: no event of theirs was accepted, or all of it has expired.\n");
  else
    print_map(stdout, result, 0);
}

static int run(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "user");
  ask_put(&request, "user", arguments->words[0]);
  return ask_and_show(arguments, &request, show);
}

const struct cli_command cli_user = {
    .name = "user",
    .words = "USER",
    .words_min = 1,
    .words_max = 1,
    .options = CLI_PLACE | CLI_JSON,
    .summary = "what the running host knows of one user",
    .help = "Profile attributes, windows, pending timers, throttles and suppressions, as\n"
            "they are now. `kairos why USER` shows what was decided about the user.\n"
            "\n"
            "  kairos user ada\n"
            "  kairos user ada --json | jq .attributes\n",
    .run = run,
};
