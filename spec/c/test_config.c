// links: base config
/* The configuration as a whole: defaults, the shipped file, what loads, overrides, what it says of itself. */
#include "base/memory.h"
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/** config/kairos.yaml, found from where this file was compiled. */
static const char *shipped_path(void) {
  static char path[1024];
  snprintf(path, sizeof path, "%s", __FILE__);
  char *at = strstr(path, "spec/c/");
  assert_non_null(at);
  strcpy(at, "config/kairos.yaml");
  return path;
}

static struct config *load_text(const char *yaml) {
  struct config *config;
  struct config_report report;
  config_report_init(&report);
  int result = config_parse(&config, str_from(yaml), "test.yaml", &report);
  if (result) {
    struct buf text;
    buf_init(&text);
    config_report_write(&report, &text);
    fail_msg("%.*s", STR_ARG(buf_str(&text)));
  }
  assert_int_equal(report.count, 0);
  config_report_deinit(&report);
  return config;
}

static char *text_of(const struct config *config) {
  struct buf text;
  buf_init(&text);
  config_write(config, &text);
  buf_put_u8(&text, 0);
  return (char *)text.data;
}

static char *file_text(const char *path) {
  FILE *file = fopen(path, "r");
  if (!file) fail_msg("%s cannot be opened", path);
  char *text = calloc(1, 1 << 16);
  assert_true(fread(text, 1, (1 << 16) - 1, file) > 0);
  fclose(file);
  return text;
}

static void defaults(void **state) {
  (void)state;
  struct config *config = config_defaults();
  assert_string_equal(config->listen.host, "127.0.0.1");
  assert_int_equal(config->listen.port, 8080);
  assert_false(config->listen.ipv6);
  assert_string_equal(config->data_dir, "data");
  assert_string_equal(config->rules_dir, "rules");
  assert_null(config->library_dir);
  assert_true(config->workers >= 1);
  assert_int_equal(config->http.max_body, 10 << 20);
  assert_int_equal(config->http.max_header, 16 << 10);
  assert_int_equal(config->http.max_connections, 5000);
  assert_int_equal(config->http.idle_timeout, 60000);
  assert_int_equal(config->http.header_timeout, 10000);
  assert_int_equal(config->http.body_timeout, 30000);
  assert_null(config->http.tls_certificate);
  assert_null(config->http.tls_key);
  assert_int_equal(config->api_key_count, 0);
  assert_int_equal(config->ingest.max_future, 300000);
  assert_int_equal(config->ingest.max_past, 30 * 86400000ll);
  assert_int_equal(config->ingest.queue, 10000);
  assert_int_equal(config->ingest.max_items, 10000);
  assert_int_equal(config->dedup.keep, 86400000);
  assert_int_equal(config->log.segment_size, 64 << 20);
  assert_int_equal(config->log.segment_age, 600000);
  assert_int_equal(config->log.raw_keep, 7 * 86400000ll);
  assert_int_equal(config->log.keep, 30 * 86400000ll);
  assert_int_equal(config->state.memory, 256 << 20);
  assert_int_equal(config->state.record_max, 64 << 10);
  assert_int_equal(config->state.write_behind, 30000);
  assert_int_equal(config->state.checkpoint_every, 60000);
  assert_int_equal(config->rules.budget, 20);
  assert_int_equal(config->rules.memory, 64 << 20);
  assert_int_equal(config->timers.overdue_grace, 10000);
  assert_int_equal(config->timers.overdue_hold_max, 300000);
  assert_false(config->delivery.paused);
  assert_int_equal(config->delivery.outbox_max, 256 << 20);
  assert_int_equal(config->provider_count, 1);
  const struct config_provider *files = &config->providers[0];
  assert_string_equal(files->name, "files");
  assert_int_equal(files->type, CONFIG_PROVIDER_FILE);
  assert_int_equal(files->concurrency, 32);
  assert_int_equal(files->attempts, 8);
  assert_int_equal(files->timeout, 10000);
  assert_int_equal(files->max_age, 86400000);
  assert_int_equal(files->backoff_base, 1000);
  assert_int_equal(files->backoff_max, 600000);
  assert_int_equal(files->breaker_failures, 10);
  assert_int_equal(files->breaker_open, 30000);
  assert_int_equal(files->ambiguous, CONFIG_AMBIGUOUS_HOLD);
  assert_true(files->rate.count == 0);
  for (int i = 0; i < CONFIG_CHANNELS; i++) assert_ptr_equal(config->routes.providers[i], files);
  assert_int_equal(config->logging.level, LOGGER_INFO);
  assert_int_equal(config->logging.format, LOGGER_LOGFMT);
  assert_false(config->logging.show_users);
  assert_string_equal(config->control.socket, "data/control.sock");
  assert_int_equal(config->control.mode, 0600);
  config_free(config);
  config_free(NULL);
}

static void the_shipped_file_says_the_defaults(void **state) {
  (void)state;
  struct config *config, *standard = config_defaults();
  struct config_report report;
  config_report_init(&report);
  assert_int_equal(config_load(&config, shipped_path(), &report), 0);
  assert_int_equal(report.count, 0);
  char *a = text_of(config), *b = text_of(standard);
  assert_string_equal(a, b);
  free(a);
  free(b);
  config_report_deinit(&report);
  config_free(config);
  config_free(standard);
}

/** The shipped file with its examples made live: each "#" that leads a line and has no space behind it is
 * taken away, and the files the examples name are replaced by one that is there. */
static char *with_examples(void) {
  char *text = file_text(shipped_path()), *live = calloc(1, strlen(text) + 1), *to = live;
  bool leading = true;
  for (char *from = text; *from; from++) {
    if (leading && *from == '#' && from[1] != ' ' && from[1] != '\n') {
      leading = false;
      continue;
    }
    leading = *from == '\n' || (leading && *from == ' ');
    if (strncmp(from, "/etc/kairos/", 12) == 0) {
      to = stpcpy(to, "/dev/null");
      from += strcspn(from, "\n") - 1;
    } else {
      *to++ = *from;
    }
  }
  free(text);
  return live;
}

static void the_shipped_files_examples_work(void **state) {
  (void)state;
  setenv("KAIROS_SHOP_KEY", "open sesame", 1);
  setenv("KAIROS_CRM_SECRET", "whsec_x", 1);
  setenv("KAIROS_SENDGRID_KEY", "SG.x", 1);
  setenv("KAIROS_SHOP_LOOKUP_KEY", "let me in", 1);
  char *yaml = with_examples();
  struct config *config = load_text(yaml), *standard = config_defaults();
  assert_int_equal(config->api_key_count, 1);
  assert_string_equal(config->api_keys[0].name, "shop");
  assert_string_equal(config->api_keys[0].key.env, "KAIROS_SHOP_KEY");
  assert_string_equal(config->api_keys[0].key.value, "open sesame");
  assert_true(config->api_keys[0].rate.count == 10000);
  assert_string_equal(config->http.tls_key, "/dev/null");
  assert_string_equal(config->library_dir, "lua");
  assert_string_equal(config->control.socket, "/run/kairos/control.sock");
  assert_int_equal(config->provider_count, 3);
  assert_int_equal(strlen(config->providers[1].feedback_key), 124);
  assert_null(config->providers[0].feedback_key);
  const struct config_provider *crm = &config->providers[0], *files = &standard->providers[0];
  assert_string_equal(crm->name, "crm");
  assert_int_equal(crm->type, CONFIG_PROVIDER_WEBHOOK);
  assert_string_equal(crm->url, "https://crm.example/messages");
  assert_string_equal(crm->secret.value, "whsec_x");
  assert_string_equal(crm->from, "Shop <hello@shop.example>");
  assert_string_equal(crm->ca_file, "/dev/null");
  // What the example shows is what holds where it is left out.
  assert_int_equal(crm->concurrency, files->concurrency);
  assert_int_equal(crm->timeout, files->timeout);
  assert_int_equal(crm->attempts, files->attempts);
  assert_int_equal(crm->max_age, files->max_age);
  assert_int_equal(crm->backoff_base, files->backoff_base);
  assert_int_equal(crm->backoff_max, files->backoff_max);
  assert_int_equal(crm->breaker_failures, files->breaker_failures);
  assert_int_equal(crm->breaker_open, files->breaker_open);
  assert_int_equal(crm->ambiguous, files->ambiguous);
  assert_int_equal(config->lookup_count, 1);
  const struct config_lookup *shop = config_lookup(config, STR("shop"));
  assert_string_equal(shop->url, "https://shop.example");
  assert_string_equal(shop->secret.value, "let me in");
  assert_string_equal(shop->header, "Authorization");
  assert_int_equal(shop->timeout, 2000);
  assert_int_equal(shop->concurrency, 16);
  assert_null(config_lookup(config, STR("shopp")));
  config_free(config);
  config_free(standard);
  free(yaml);
}

/** @return how often `key:` stands in the file as a key, live or as an example. */
static int documented(const char *text, struct str key) {
  int times = 0;
  for (const char *line = text; line; line = strchr(line, '\n')) {
    line += strspn(line, "\n #-");
    if (strncmp(line, key.data, key.len) == 0 && line[key.len] == ':') times++;
  }
  return times;
}

static void the_shipped_file_has_every_key(void **state) {
  (void)state;
  char *yaml = with_examples();
  struct config *config = load_text(yaml);
  char *shipped = file_text(shipped_path()), *all = text_of(config);
  int keys = 0;
  for (char *line = all; *line; line += strcspn(line, "\n") + 1) {
    line += strspn(line, " #-");
    struct str key = {line, strcspn(line, ":")};
    // The built-in provider's keys come once more in the text, not in the file.
    if (documented(shipped, key) == 0) fail_msg("config/kairos.yaml says nothing of %.*s", STR_ARG(key));
    keys++;
  }
  assert_true(keys > 70);
  free(all);
  free(shipped);
  free(yaml);
  config_free(config);
}

static const char everything[] =
    "listen: \"[::1]:0\"\n"
    "data_dir: /tmp/a b\n"
    "rules_dir: 'r\\\"s'\n"
    "library_dir: l\n"
    "workers: 3\n"
    "http: {max_body: 1025, max_header: 2KB, max_connections: 1, idle_timeout: 1h1ms}\n"
    "api_keys: [{name: a, key_env: KAIROS_TEST_A, rate: 5/90s}]\n"
    "ingest: {max_past: 1w}\n"
    "log: {keep: 8d, raw_keep: 1d}\n"
    "delivery: {paused: true}\n"
    "providers:\n"
    "- {name: mail, type: sendgrid, secret_env: KAIROS_TEST_A, ambiguous: resend, feedback_key: "
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEbvb/Beq++3z7F3tE2hPdhMrPPktvgfvsEToluWS+4Lzk6m3bl/"
    "dZ3wsaxF9i4aTc3SKk9Dm5pAlYGxZFN0egvg==}\n"
    "- {name: files, type: file, concurrency: 1}\n"
    "- {name: hook, type: webhook, url: \"http://[::1]:9/a?b\", secret_env: KAIROS_TEST_A}\n"
    "routes: {email: mail, webhook: hook}\n"
    "purposes:\n"
    "- {name: news, consent: opt_in, caps: [3/7d, 1/1d calendar], on_cap: defer, quiet_hours: "
    "\"21:00-08:00\", on_quiet: skip}\n"
    "- {name: transactional}\n"
    "default_purpose: news\n"
    "caps: 0/1w\n"
    "quiet_hours: {push: \"22:00-06:00\"}\n"
    "logging: {level: debug, format: json, show_users: true}\n"
    "control: {socket: /tmp/s, mode: 0660}\n";

static void everything_arrives(void **state) {
  (void)state;
  setenv("KAIROS_TEST_A", "s3cret-value", 1);
  struct config *config = load_text(everything);
  assert_string_equal(config->listen.host, "::1");
  assert_int_equal(config->listen.port, 0);
  assert_true(config->listen.ipv6);
  assert_string_equal(config->data_dir, "/tmp/a b");
  assert_string_equal(config->rules_dir, "r\\\"s");
  assert_int_equal(config->workers, 3);
  assert_int_equal(config->http.max_body, 1025);
  assert_int_equal(config->http.max_header, 2048);
  assert_int_equal(config->http.idle_timeout, 3600001);
  assert_int_equal(config->api_keys[0].rate.over_ms, 90000);
  assert_true(config->delivery.paused);
  assert_int_equal(config->purpose_count, 3);
  const struct config_purpose *news = config_purpose(config, STR("news")),
                              *receipts = config_purpose(config, STR("transactional"));
  assert_ptr_equal(config->default_purpose, news);
  assert_true(news->consent == CONFIG_CONSENT_OPT_IN && news->on_cap == CONFIG_DEFER &&
              news->on_quiet == CONFIG_SKIP);
  assert_int_equal(news->caps.count, 2);
  assert_int_equal(news->caps.items[1].period, CAP_DAY);
  assert_int_equal(news->quiet_hours.hours.from, 21 * 60);
  // A built-in name keeps its meaning.
  assert_true(receipts->transactional && receipts->consent == CONFIG_CONSENT_NONE);
  assert_string_equal(config->purposes[2].name, "marketing");
  assert_int_equal(config->caps.count, 1);
  assert_int_equal(config->caps.items[0].count, 0);
  assert_string_equal(config->quiet_hours[CONFIG_CHANNEL_PUSH].text, "22:00-06:00");
  assert_null(config->quiet_hours[CONFIG_CHANNEL_EMAIL].text);
  assert_int_equal(config->provider_count, 3);
  assert_string_equal(config->providers[0].url, "https://api.sendgrid.com/v3/mail/send");
  assert_int_equal(config->providers[0].ambiguous, CONFIG_AMBIGUOUS_RESEND);
  assert_int_equal(config->providers[1].concurrency, 1);
  assert_ptr_equal(config_route(config, STR("email")), &config->providers[0]);
  assert_ptr_equal(config_route(config, STR("sms")), &config->providers[1]);
  assert_ptr_equal(config_route(config, STR("push")), &config->providers[1]);
  assert_ptr_equal(config_route(config, STR("webhook")), &config->providers[2]);
  assert_null(config_route(config, STR("fax")));
  assert_null(config_route(config, STR("")));
  assert_null(config_route(config, STR("emai")));
  assert_ptr_equal(config_provider(config, STR("hook")), &config->providers[2]);
  assert_null(config_provider(config, STR("hoo")));
  assert_int_equal(config->logging.level, LOGGER_DEBUG);
  assert_int_equal(config->logging.format, LOGGER_JSON);
  assert_int_equal(config->control.mode, 0660);
  assert_string_equal(config->control.socket, "/tmp/s");
  config_free(config);
}

static void what_is_written_loads_again(void **state) {
  (void)state;
  setenv("KAIROS_TEST_A", "s3cret-value", 1);
  static const char *const sources[] = {everything, ""};
  for (size_t i = 0; i < 2; i++) {
    struct config *first = load_text(sources[i]);
    char *text = text_of(first);
    struct config *second = load_text(text);
    char *again = text_of(second);
    assert_string_equal(text, again);
    assert_null(strstr(text, "s3cret-value"));
    free(text);
    free(again);
    config_free(first);
    config_free(second);
  }
}

static void nothing_is_the_defaults(void **state) {
  (void)state;
  struct config *standard = config_defaults();
  char *want = text_of(standard);
  static const char *const empty[] = {"",
                                      "\n",
                                      "# only this\n",
                                      "---\n",
                                      "---\n...\n",
                                      "{}",
                                      "~",
                                      "http:\nroutes: ~\nproviders:\n",
                                      "\xef\xbb\xbfworkers: 0\n",
                                      "http: {tls: }\napi_keys: []\n"};
  for (size_t i = 0; i < sizeof empty / sizeof empty[0]; i++) {
    struct config *config = load_text(empty[i]);
    char *got = text_of(config);
    assert_string_equal(got, want);
    free(got);
    config_free(config);
  }
  free(want);
  config_free(standard);
}

static void overrides(void **state) {
  (void)state;
  struct config *config = config_defaults();
  struct error err = {0};
  assert_int_equal(config_override_listen(config, "0.0.0.0:9", &err), 0);
  assert_string_equal(config->listen.host, "0.0.0.0");
  assert_int_equal(config_override_listen(config, "localhost:9", &err), ERROR_INVALID);
  assert_string_equal(err.message, "--listen: found \"localhost:9\", expected an address and a port such as "
                                   "127.0.0.1:8080 or [::1]:8080");
  assert_string_equal(config->listen.host, "0.0.0.0");
  assert_int_equal(config_override_rules_dir(config, "x", &err), 0);
  assert_string_equal(config->rules_dir, "x");
  assert_int_equal(config_override_rules_dir(config, "", &err), ERROR_INVALID);
  assert_string_equal(err.message, "--rules: found \"\", expected a path");
  assert_int_equal(config_override_library_dir(config, "y", &err), 0);
  assert_string_equal(config->library_dir, "y");
  assert_int_equal(config_override_workers(config, "7", &err), 0);
  assert_int_equal(config->workers, 7);
  assert_int_equal(config_override_workers(config, "257", &err), ERROR_INVALID);
  assert_string_equal(err.message, "--workers: found \"257\", expected a whole number from 0 to 256");
  assert_int_equal(config_override_workers(config, "two", NULL), ERROR_INVALID);
  assert_int_equal(config->workers, 7);
  assert_int_equal(config_override_workers(config, "0", &err), 0);
  assert_true(config->workers >= 1);
  config_free(config);
}

static void the_socket_follows_the_data_directory(void **state) {
  (void)state;
  struct error err = {0};
  struct config *config = config_defaults();
  assert_int_equal(config_override_data_dir(config, "/tmp/d", &err), 0);
  assert_string_equal(config->control.socket, "/tmp/d/control.sock");
  char deep[200];
  memset(deep, 'd', sizeof deep);
  deep[199] = 0;
  assert_int_equal(config_override_data_dir(config, deep, &err), ERROR_INVALID);
  assert_string_equal(err.message,
                      "--data-dir: too long for the control socket in it, expected a shorter one or "
                      "control.socket");
  assert_string_equal(config->data_dir, "/tmp/d");
  config_free(config);
  config = load_text("control: {socket: /tmp/own}\n");
  assert_int_equal(config_override_data_dir(config, deep, &err), 0);
  assert_string_equal(config->control.socket, "/tmp/own");
  config_free(config);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(defaults),
      cmocka_unit_test(the_shipped_file_says_the_defaults),
      cmocka_unit_test(the_shipped_files_examples_work),
      cmocka_unit_test(the_shipped_file_has_every_key),
      cmocka_unit_test(everything_arrives),
      cmocka_unit_test(what_is_written_loads_again),
      cmocka_unit_test(nothing_is_the_defaults),
      cmocka_unit_test(overrides),
      cmocka_unit_test(the_socket_follows_the_data_directory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
