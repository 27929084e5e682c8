#include "cli/cli.h"
#include "cli/print.h"

static void show(struct str result) {
  print_map(stdout, result, 0);
}

static int run(const struct cli_arguments *arguments) {
  struct buf request;
  ask_begin(&request, "status");
  return ask_and_show(arguments, &request, show);
}

const struct cli_command cli_status = {
    .name = "status",
    .words = "",
    .options = CLI_PLACE | CLI_JSON,
    .summary = "how the running host is doing",
    .help = "Phase, what fills faster than it empties (`pressure`: nothing, if all is well),\n"
            "port, generation of the rules, users in memory, what waits, the log's position;\n"
            "and every provider with what waits for it, whether it is paused and whether\n"
            "its breaker is open.\n"
            "\n"
            "  kairos status\n"
            "  kairos status --json | jq .phase\n",
    .run = run,
};
