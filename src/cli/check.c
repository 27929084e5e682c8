#include "cli/cli.h"
#include "cli/print.h"
#include "engine/engine.h"

#include <string.h>

/** What was found, for people on stderr and for machines in one array. */
struct findings {
  struct buf list; /**< values: maps {file, line, column, key, message} */
  uint32_t count;
};

static void put_text(struct buf *out, const char *name, const char *text) {
  value_put_string(out, str_from(name));
  value_put_string(out, str_from(text));
}

static void add_config(struct findings *findings, const struct config_report *report) {
  for (size_t i = 0; i < report->count; i++) {
    const struct config_problem *problem = &report->problems[i];
    value_put_map(&findings->list, 5);
    put_text(&findings->list, "file", report->file);
    value_put_string(&findings->list, STR("line"));
    value_put_integer(&findings->list, problem->line);
    value_put_string(&findings->list, STR("column"));
    value_put_integer(&findings->list, problem->column);
    put_text(&findings->list, "key", problem->key);
    put_text(&findings->list, "message", problem->message);
    findings->count++;
  }
  struct buf text;
  buf_init(&text);
  config_report_write(report, &text);
  fwrite(text.data, 1, text.len, stderr);
  buf_deinit(&text);
}

/** The place an error begins with: "rules/cart/rule.lua:12: …". @return the message behind it. */
static struct str split_place(struct str message, struct str *file, int64_t *line) {
  const char *colon = memchr(message.data, ':', message.len);
  size_t at = colon ? (size_t)(colon - message.data) + 1 : message.len, first = at;
  *line = 0;
  for (; at < message.len && at < first + 9 && message.data[at] >= '0' && message.data[at] <= '9'; at++)
    *line = *line * 10 + message.data[at] - '0';
  *file = (struct str){message.data, first - 1};
  if (!*line || at >= message.len || message.data[at] != ':' || memchr(message.data, ' ', first)) {
    *file = STR("");
    *line = 0;
    return message;
  }
  at += at + 1 < message.len && message.data[at + 1] == ' ' ? 2 : 1;
  return (struct str){message.data + at, message.len - at};
}

static void add_error(struct findings *findings, const char *message) {
  struct str file;
  int64_t line;
  struct str text = split_place(str_from(message), &file, &line);
  value_put_map(&findings->list, 3);
  value_put_string(&findings->list, STR("file"));
  value_put_string(&findings->list, file);
  value_put_string(&findings->list, STR("line"));
  value_put_integer(&findings->list, line);
  value_put_string(&findings->list, STR("message"));
  value_put_string(&findings->list, text);
  findings->count++;
  fprintf(stderr, "%s\n", message);
}

/** The configuration, or the defaults if it has problems: the rules are worth reading all the same. */
static struct config *load_config(const struct cli_arguments *arguments, struct findings *findings) {
  const char *path = setup_config_path(arguments);
  if (!path) return config_defaults();
  struct config *config = NULL;
  struct config_report report;
  config_report_init(&report);
  if (config_load(&config, path, &report)) {
    add_config(findings, &report);
    config = config_defaults();
  }
  config_report_deinit(&report);
  return config;
}

/** @return campaigns found. */
static size_t check_rules(struct config *config, struct findings *findings) {
  struct error err = {0};
  struct ruleset *ruleset = NULL;
  struct engine *engine = NULL;
  struct provider_scripts scripts = {0};
  size_t campaigns = 0;
  int rc = setup_library(config, &err);
  if (rc == 0) rc = ruleset_read(&ruleset, config->rules_dir, config->library_dir, &err);
  if (rc == 0)
    rc = engine_new(&engine, &(struct engine_options){.ruleset = ruleset, .config = config, .generation = 1},
                    &err);
  if (rc) add_error(findings, err.message);
  if (engine) {
    const struct engine_rule *rules;
    campaigns = engine_rules(engine, &rules);
    rc = engine_providers(ruleset, config, &scripts, &err);
    if (rc) add_error(findings, err.message);
    if (rc == 0 && scripts.free) scripts.free(scripts.context);
    engine_free(engine);
  }
  if (ruleset) ruleset_free(ruleset);
  return campaigns;
}

static int run(const struct cli_arguments *arguments) {
  logger_init(LOGGER_WARN, LOGGER_LOGFMT, false);
  struct findings findings = {0};
  buf_init(&findings.list);
  struct config *config = load_config(arguments, &findings);
  int rc = setup_override(arguments, config);
  if (rc == CLI_DONE) {
    size_t campaigns = check_rules(config, &findings);
    if (arguments->json) {
      struct buf answer;
      buf_init(&answer);
      value_put_map(&answer, 2);
      value_put_string(&answer, STR("campaigns"));
      value_put_integer(&answer, (int64_t)campaigns);
      value_put_string(&answer, STR("problems"));
      value_put_array(&answer, findings.count);
      buf_append(&answer, findings.list.data, findings.list.len);
      print_json(stdout, buf_str(&answer));
      buf_deinit(&answer);
    } else if (findings.count == 0) {
      printf("%zu campaign%s, no problems\n", campaigns, campaigns == 1 ? "" : "s");
    }
    if (findings.count) rc = CLI_FAILED;
  }
  buf_deinit(&findings.list);
  config_free(config);
  return rc;
}

const struct cli_command cli_check = {
    .name = "check",
    .words = "",
    .options = CLI_CONFIG | CLI_DATA_DIR | CLI_RULES | CLI_JSON,
    .summary = "read configuration and rules without starting",
    .help = "Everything that would keep the host from starting: unknown or wrong keys of\n"
            "the configuration, secrets that are not in the environment, rules that do not\n"
            "load, templates with unknown variables. Each problem is a line with its file\n"
            "and line; the exit is 1 if there is one.\n"
            "\n"
            "  kairos check\n"
            "  kairos check --config /etc/kairos.yaml --rules rules\n",
    .run = run,
};
