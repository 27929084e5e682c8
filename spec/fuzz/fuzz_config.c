// covers: src/config/config.c src/config/config_reader.c src/config/config_field.c
// covers: src/config/config_report.c src/base/quantity.c
/* The configuration: any text is read, or refused with a report; what was read and written says the same
 * again. Input: YAML. */
#include "config/config.h"
#include "fuzz.h"

#include <stdlib.h>

void fuzz_set_up(void) {
  setenv("KAIROS_FUZZ_KEY", "a-secret-key", 1);
  setenv("KAIROS_FUZZ_OTHER", "whsec_c2VjcmV0", 1);
}

static size_t lines_of(struct str text) {
  size_t lines = 1;
  for (size_t i = 0; i < text.len; i++) lines += text.data[i] == '\n' || text.data[i] == '\r';
  return lines;
}

static void check_report(struct str yaml, const struct config_report *report) {
  // YAML knows more line ends than these, each of more than one byte.
  size_t lines = lines_of(yaml) + yaml.len / 2;
  HOLDS(report->count > 0 && report->count <= CONFIG_PROBLEMS_MAX);
  struct buf written;
  buf_init(&written);
  config_report_write(report, &written);
  size_t ends = 0;
  for (size_t i = 0; i < written.len; i++) ends += written.data[i] == '\n';
  for (size_t i = 0; i < report->count; i++) {
    const struct config_problem *problem = &report->problems[i];
    HOLDS(problem->message[0] && problem->line >= 0 && problem->column >= 0);
    HOLDS((size_t)problem->line <= lines + 1, "line %d", problem->line);
    for (const char *at = problem->message; *at; at++)
      HOLDS((unsigned char)*at >= ' ' && *at != 0x7f, "\"%s\"", problem->message);
    if (i) HOLDS(report->problems[i - 1].line <= problem->line);
  }
  HOLDS(ends >= report->count);
  buf_deinit(&written);
}

static void check_config(const struct config *config) {
  HOLDS(config->workers > 0 && config->listen.host && config->data_dir && config->control.socket);
  HOLDS(config->http.max_body <= config->http.body_memory &&
        config->state.record_max <= config->state.memory);
  HOLDS(!config->http.tls_certificate == !config->http.tls_key);
  for (int i = 0; i < CONFIG_CHANNELS; i++) {
    const struct config_provider *provider = config->routes.providers[i];
    HOLDS(provider && config_provider(config, str_from(provider->name)) == provider);
    HOLDS(config_route(config, str_from(config_channel_names[i])) == provider);
  }
  for (uint32_t i = 0; i < config->provider_count; i++) {
    const struct config_provider *provider = &config->providers[i];
    HOLDS(provider->name && provider->attempts > 0 && provider->backoff_base <= provider->backoff_max);
    HOLDS(provider->type == CONFIG_PROVIDER_FILE || provider->url);
  }
  for (uint32_t i = 0; i < config->api_key_count; i++) HOLDS(config->api_keys[i].key.value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct str yaml = {(const char *)data, size};
  struct config *config = NULL, *again = NULL;
  struct config_report report;
  config_report_init(&report);
  int code = config_parse(&config, yaml, "fuzz.yaml", &report);
  HOLDS((code == 0) == (config != NULL) && code <= 0);
  if (code) {
    check_report(yaml, &report);
  } else {
    HOLDS(report.count == 0);
    check_config(config);
    struct buf first, second;
    buf_init(&first);
    buf_init(&second);
    config_write(config, &first);
    struct config_report none;
    config_report_init(&none);
    HOLDS(config_parse(&again, buf_str(&first), "again.yaml", &none) == 0, "%s: %s\n%.*s",
          none.problems[0].key, none.problems[0].message, STR_ARG(buf_str(&first)));
    config_write(again, &second);
    HOLDS(str_equal(buf_str(&first), buf_str(&second)), "%.*s\n%.*s", STR_ARG(buf_str(&first)),
          STR_ARG(buf_str(&second)));
    config_report_deinit(&none);
    buf_deinit(&first);
    buf_deinit(&second);
  }
  config_report_deinit(&report);
  config_free(config);
  config_free(again);
  return 0;
}
