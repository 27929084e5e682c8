#include "base/file.h"
#include "base/suggest.h"
#include "base/thread.h"
#include "cli/cli.h"
#include "cli/problems.h"
#include "cli/review.h"
#include "engine/engine.h"
#include "event/value.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REVIEWED_MAX_MB = 16 };

struct check {
  struct config *config;
  struct ruleset *ruleset; /**< null until it has been read */
  struct problems found;   /**< while the rules were loaded */
  struct problems problems;
};

/** An error_taker. */
static void take_error(void *context, const struct error *err) {
  struct check *check = context;
  problems_add_error(&check->found, err, check->config->rules_dir, check->ruleset);
}

/** The configuration; the defaults if it has problems: the rules are worth reading all the same. One that
 * only lacks a secret is told of, and goes. */
static struct config *load_config(const struct cli_arguments *arguments, struct problems *problems) {
  const char *path = setup_config_path(arguments);
  if (!path) return config_defaults();
  struct config *config = NULL;
  struct config_report report;
  config_report_init(&report);
  if (config_load(&config, path, &report)) {
    problems_add_config(problems, &report);
    config_report_deinit(&report);
    config_report_init(&report);
    report.secrets_optional = true;
    if (config_load(&config, path, &report)) config = config_defaults();
  }
  config_report_deinit(&report);
  return config;
}

/** What the host itself would say when it loads the rules. @return rules found. */
static size_t load_rules(struct check *check) {
  struct error err = {0};
  struct engine *engine = NULL;
  struct provider_scripts scripts = {0};
  size_t count = 0;
  int rc = setup_library(check->config, &err);
  if (rc == 0)
    rc = ruleset_read_each(&check->ruleset, check->config->rules_dir, check->config->library_dir, take_error,
                           check, &err);
  if (rc == 0)
    rc = engine_new(&engine,
                    &(struct engine_options){.ruleset = check->ruleset,
                                             .config = check->config,
                                             .generation = 1,
                                             .taker = take_error,
                                             .taker_context = check},
                    &err);
  if (rc == 0) {
    const struct engine_rule *rules;
    count = engine_rules(engine, &rules);
    rc = engine_providers(check->ruleset, check->config, &scripts, &err);
  }
  if (rc) take_error(check, &err);
  if (scripts.free) scripts.free(scripts.context);
  engine_free(engine);
  return count;
}

/** What was found while the rules were loaded and what the review says, in one order; the former alone where
 * there can be no review. @return campaigns. */
static size_t review_rules(struct check *check, size_t campaigns) {
  struct error err = {0};
  struct buf before, reviewed;
  const char *path = getenv("KAIROS_REVIEWED");
  buf_init(&before);
  buf_init(&reviewed);
  // What cannot be read is reviewed anew, and what cannot be written the next time.
  if (path && file_read(path, REVIEWED_MAX_MB, &before, NULL)) buf_clear(&before);
  struct review_input input = {.config = check->config,
                               .ruleset = check->ruleset,
                               .found = &check->found,
                               .reviewed = buf_str(&before)};
  bool done = check->ruleset && review_run(&input, &check->problems, &campaigns, &reviewed, &err) == 0;
  if (path) file_write(path, buf_str(&reviewed), NULL);
  buf_deinit(&before);
  buf_deinit(&reviewed);
  if (done) return campaigns;
  if (err.code) take_error(check, &err);
  struct reader reader = reader_of(buf_str(&check->found.list));
  for (uint32_t i = 0; i < check->found.count; i++)
    problems_add_value(&check->problems, value_slice(&reader));
  return campaigns;
}

/* ---- one campaign ---- */

/** "cart_abandoned" of that, "rules/cart_abandoned/", or a path of one of its files. */
static struct str campaign_meant(const char *word, const char *rules_dir) {
  struct str text = str_from(word), folder = str_from(rules_dir);
  if (text.len > folder.len && text.data[folder.len] == '/' &&
      memcmp(text.data, folder.data, folder.len) == 0)
    text = (struct str){text.data + folder.len + 1, text.len - folder.len - 1};
  const char *slash = memchr(text.data, '/', text.len);
  return slash ? (struct str){text.data, (size_t)(slash - text.data)} : text;
}

/** Keep what concerns a campaign. @return CLI_DONE, or CLI_NOT_FOUND, told. */
static int keep_campaign(struct check *check, const char *word) {
  struct str name = campaign_meant(word, check->config->rules_dir);
  struct suggestion suggestion = {0};
  bool there = !check->ruleset;
  for (size_t i = 0; check->ruleset && i < check->ruleset->count; i++) {
    const struct ruleset_file *file = &check->ruleset->files[i];
    const char *slash = file->library ? NULL : strchr(file->path, '/');
    if (!slash) continue;
    struct str folder = {file->path, (size_t)(slash - file->path)};
    there = there || str_equal(folder, name);
    suggestion_offer(&suggestion, name, folder);
  }
  struct buf text;
  buf_init(&text);
  if (there) {
    buf_printf(&text, "%s/%.*s", check->config->rules_dir, STR_ARG(name));
    problems_keep(&check->problems, buf_str(&text));
  } else {
    suggestion_append(&suggestion, &text);
    fprintf(stderr, "kairos: there is no campaign `%.*s` in %s%.*s\n", STR_ARG(name),
            check->config->rules_dir, STR_ARG(buf_str(&text)));
  }
  buf_deinit(&text);
  return there ? CLI_DONE : CLI_NOT_FOUND;
}

static void print_summary(const struct problems *problems, size_t campaigns) {
  printf("%zu campaign%s, ", campaigns, campaigns == 1 ? "" : "s");
  if (problems->errors + problems->warnings == 0)
    printf("no problems\n");
  else
    printf("%u error%s, %u warning%s\n", problems->errors, problems->errors == 1 ? "" : "s",
           problems->warnings, problems->warnings == 1 ? "" : "s");
}

static int run(const struct cli_arguments *arguments) {
  logger_init(LOGGER_WARN, LOGGER_LOGFMT, false);
  thread_pace();
  struct check check = {0};
  problems_init(&check.found);
  problems_init(&check.problems);
  check.config = load_config(arguments, &check.problems);
  int rc = setup_override(arguments, check.config);
  size_t campaigns = rc == CLI_DONE ? review_rules(&check, load_rules(&check)) : 0;
  uint32_t all = check.problems.errors + check.problems.warnings;
  if (rc == CLI_DONE && arguments->word_count) {
    rc = keep_campaign(&check, arguments->words[0]);
    campaigns = 1;
  }
  if (rc == CLI_DONE) {
    uint32_t elsewhere = all - check.problems.errors - check.problems.warnings;
    if (arguments->json) {
      problems_print_json(&check.problems, campaigns, stdout);
    } else {
      problems_print(&check.problems, stderr);
      print_summary(&check.problems, campaigns);
      if (elsewhere) printf("%u elsewhere: `kairos check` shows all\n", elsewhere);
    }
    if (check.problems.errors || (arguments->strict && check.problems.warnings)) rc = CLI_FAILED;
  }
  if (check.ruleset) ruleset_free(check.ruleset);
  problems_deinit(&check.found);
  problems_deinit(&check.problems);
  config_free(check.config);
  return rc;
}

const struct cli_command cli_check = {
    .name = "check",
    .words = "[CAMPAIGN]",
    .words_max = 1,
    .options = CLI_CONFIG | CLI_DATA_DIR | CLI_RULES | CLI_JSON | CLI_STRICT,
    .summary = "read configuration and campaigns as a reviewer",
    .help = "Reads the configuration and every campaign, and tells all of what is wrong in\n"
            "one run: what would keep the host from starting, and what would not do what\n"
            "it looks like. Each with file, line and column, the line itself with a mark,\n"
            "and what to write instead. Nothing is sent, and no host is needed. Of one\n"
            "CAMPAIGN (its name, or its folder) only what concerns its files is told.\n"
            "\n"
            "The exit is 1 if there is an error; with --strict, also if there is a warning.\n"
            "Notes (a campaign without a spec) are in the JSON alone.\n"
            "\n"
            "  kairos check\n"
            "  kairos check cart_abandoned\n"
            "  kairos check --config /etc/kairos.yaml --rules rules\n"
            "  kairos check --json --strict\n",
    .run = run,
};
