#include "cli/cli.h"

#include <string.h>

/* In the order in which they are needed: to write campaigns, to run them, to see why, to operate. */
static const struct cli_command *const commands[] = {
    &cli_new,      &cli_check,       &cli_spec,     &cli_simulate, &cli_run,        &cli_campaigns,
    &cli_journeys, &cli_experiments, &cli_segments, &cli_fanouts,  &cli_pause,      &cli_resume,
    &cli_reload,   &cli_generations, &cli_rollback, &cli_why,      &cli_user,       &cli_tail,
    &cli_repl,     &cli_status,      &cli_dead,     &cli_suppress, &cli_unsuppress, &cli_consent,
    &cli_backup,   &cli_version,
};

enum { COMMAND_COUNT = sizeof commands / sizeof *commands };

static void help(FILE *out) {
  fprintf(out, "kairos: customer events in, timely messages out\n\nUsage: kairos COMMAND [options]\n\n");
  for (size_t i = 0; i < COMMAND_COUNT; i++)
    fprintf(out, "  %-12s %s\n", commands[i]->name, commands[i]->summary);
  fprintf(out, "\n`kairos COMMAND --help` explains a command, with examples. To begin with:\n\n"
               "  kairos new spring_sale             write a campaign to begin with\n"
               "  kairos check                       read configuration and campaigns\n"
               "  kairos run                         serve; events go to POST /v1/events\n"
               "  kairos why ada                     what was decided about the user ada\n\n"
               "Exit: 0 done, 1 failed, 2 not called rightly, 3 not found.\n");
}

static const struct cli_command *find(const char *name) {
  for (size_t i = 0; i < COMMAND_COUNT; i++)
    if (strcmp(commands[i]->name, name) == 0) return commands[i];
  return NULL;
}

static int refuse(const char *name) {
  const char *known[COMMAND_COUNT + 1] = {0};
  for (size_t i = 0; i < COMMAND_COUNT; i++) known[i] = commands[i]->name;
  const char *meant = option_nearest(name, known);
  fprintf(stderr, "kairos: there is no command `%s`", name);
  if (meant) fprintf(stderr, "; is it `kairos %s`?", meant);
  fprintf(stderr, "\n`kairos --help` lists the commands.\n");
  return CLI_USAGE;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "";
  bool helped = strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0;
  if (helped && argc == 2) {
    help(stdout);
    return CLI_DONE;
  }
  if (!*name) {
    help(stderr);
    return CLI_USAGE;
  }
  if (strcmp(name, "--version") == 0) name = "version";
  const struct cli_command *command = find(helped ? argv[2] : name);
  if (!command) return refuse(helped ? argv[2] : name);
  struct cli_arguments arguments;
  int rc = helped ? CLI_DONE : option_parse(command, argc - 2, argv + 2, &arguments);
  if (rc) return rc;
  if (helped || arguments.help) {
    option_help(command, stdout);
    return CLI_DONE;
  }
  rc = command->run(&arguments);
  // An answer that did not arrive is none.
  if (fflush(stdout) && rc == CLI_DONE) {
    perror("kairos: standard output");
    rc = CLI_FAILED;
  }
  return rc;
}
