#include "sim/simulate.h"

#include "cli/cli.h"
#include "cli/moment.h"
#include <inttypes.h>
#include <unistd.h>

static int simulate(const struct cli_arguments *arguments, struct config *config, int64_t until) {
  struct error err = {0};
  struct ruleset *ruleset = NULL;
  struct simulate_result result = {0};
  int rc = setup_library(config, &err);
  if (rc == 0) rc = ruleset_read(&ruleset, config->rules_dir, config->library_dir, &err);
  if (rc == 0)
    rc = simulate_run(&(struct simulate_options){.config = config,
                                                 .ruleset = ruleset,
                                                 .events_path = arguments->events,
                                                 .lookups_path = arguments->lookups,
                                                 .until = until,
                                                 .out = stdout},
                      &result, &err);
  if (fflush(stdout) && rc == 0)
    rc = error_set(&err, ERROR_IO, "the decisions cannot be written to standard output");
  if (ruleset) ruleset_free(ruleset);
  if (rc) {
    buf_deinit(&result.experiments);
    fprintf(stderr, "kairos: %s\n", err.message);
    return CLI_FAILED;
  }
  fprintf(stderr,
          "%" PRIu64 " events, %" PRIu64 " duplicates, %" PRIu64 " rejected, %" PRIu64 " timers, %" PRIu64
          " decisions, %" PRIu64 " to send, %" PRIu64 " rule failures\n",
          result.events, result.duplicates, result.rejected, result.timers, result.decisions, result.sends,
          result.failures);
  if (result.experiments.len) experiments_show(buf_str(&result.experiments), stderr);
  buf_deinit(&result.experiments);
  return CLI_DONE;
}

static int run(const struct cli_arguments *arguments) {
  logger_init(LOGGER_WARN, LOGGER_LOGFMT, false);
  int64_t until = INT64_MIN;
  struct error err = {0};
  if (!arguments->events) {
    fprintf(stderr, "kairos: `simulate` needs --events FILE; `kairos simulate --help` says more\n");
    return CLI_USAGE;
  }
  if (arguments->until && moment_parse(str_from(arguments->until), &until, &err)) {
    fprintf(stderr, "kairos: --until: %s\n", err.message);
    return CLI_USAGE;
  }
  struct config *config = NULL;
  int rc = setup_config_to_look(arguments, &config);
  if (rc == CLI_DONE) rc = simulate(arguments, config, until);
  config_free(config);
  return rc;
}

const struct cli_command cli_simulate = {
    .name = "simulate",
    .words = "",
    .options = CLI_CONFIG | CLI_RULES | CLI_EVENTS | CLI_LOOKUPS | CLI_UNTIL,
    .summary = "run events from a file through the rules on a virtual clock; send nothing",
    .help = "The same engine, state code and gate as live, at full speed. Events are taken\n"
            "by timestamp, then in the file's order; at one moment events go before timers.\n"
            "It ends with the last event, or with the timers due up to --until.\n"
            "\n"
            "Each decision is a line of JSON on standard output (at, user_id, campaign,\n"
            "template, channel, message_id, decision, reason); a summary and whatever is\n"
            "wrong with a line or a rule go to standard error, and last what experiments say\n"
            "(see `kairos experiments`). The same input gives the\n"
            "same bytes.\n"
            "\n"
            "  kairos simulate --rules rules --events orders.ndjson\n"
            "  kairos simulate --events orders.ndjson --until 2026-12-31 |\n"
            "    jq -r 'select(.decision == \"send\") | .user_id'\n",
    .run = run,
};
