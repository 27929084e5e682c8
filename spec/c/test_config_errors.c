// links: base config
/* Configuration errors: each kind, with its place and its exact words. */
#include "base/memory.h"
#include "config/config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

/** @return the whole report; the caller frees it. */
static char *report_of(struct str yaml) {
  struct config *config = (struct config *)1;
  struct config_report report;
  config_report_init(&report);
  int result = config_parse(&config, yaml, "f", &report);
  assert_int_equal(result == 0, report.count == 0);
  assert_int_equal(result == 0, config != NULL);
  config_free(config);
  struct buf text;
  buf_init(&text);
  config_report_write(&report, &text);
  buf_put_u8(&text, 0);
  config_report_deinit(&report);
  return (char *)text.data;
}

static void expect(const char *yaml, const char *want) {
  char *got = report_of(str_from(yaml));
  assert_string_equal(got, want);
  free(got);
}

static void unknown_keys(void **state) {
  (void)state;
  expect("workers: 1\nworkrs: 2\n", "f:2:1: unknown key \"workrs\"; did you mean \"workers\"?\n");
  expect("http:\n  max_boddy: 1MB\n", "f:2:3: http: unknown key \"max_boddy\"; did you mean \"max_body\"?\n");
  expect("http:\n  max-body: 1MB\n", "f:2:3: http: unknown key \"max-body\"; did you mean \"max_body\"?\n");
  expect("htttp: {max_body: 1MB}\n", "f:1:1: unknown key \"htttp\"; did you mean \"http\"?\n");
  expect("max_body: 1MB\n", "f:1:1: unknown key \"max_body\"; did you mean \"http.max_body\"?\n");
  expect("dedup: {zebra: 1}\n", "f:1:9: dedup: unknown key \"zebra\"; known here: keep\n");
  expect("http: {tls: {cert: x}}\n",
         "f:1:14: http.tls: unknown key \"cert\"; did you mean \"certificate\"?\n");
  expect("\"\": 1\n",
         "f:1:1: unknown key \"\"; known here: listen, data_dir, rules_dir, library_dir, workers, http, "
         "api_keys, "
         "ingest, dedup, log, state, rules, timers, delivery, time_zone, purposes, default_purpose, caps, "
         "holdout, quiet_hours, providers, routes, lookups, needs, fan_out, logging, control\n");
  expect("routes: {fax: files}\n",
         "f:1:10: routes: unknown key \"fax\"; known here: email, sms, push, webhook\n");
  // A path is no key.
  expect("http.max_body: 1MB\n", "f:1:1: unknown key \"http.max_body\"; did you mean \"http\"?\n");
  expect("? [a]\n: 1\n", "f:1:3: found a list as a key, expected a word\n");
}

static void purposes(void **state) {
  (void)state;
  expect("default_purpose: newsletter\n",
         "f:1:18: default_purpose: unknown purpose \"newsletter\"; known: marketing, transactional\n");
  expect("purposes: [{name: a, caps: [3/7d, \"2 a day\"]}]\n",
         "f:1:28: purposes[0].caps: \"2 a day\" is no cap: write how many, \"/\" and in how long, such as "
         "\"3/7d\", or in a "
         "day, a week or a month of the calendar: \"1/1d calendar\", \"3/1w calendar\", \"5/1month "
         "calendar\"\n");
  expect("caps: [[3/7d]]\n", "f:1:8: caps: found a list in the list, expected text such as \"3/7d\"\n");
  expect(
      "caps: {a: 1}\n",
      "f:1:7: caps: found a group of keys, expected a list of caps such as [\"3/7d\", \"1/1d calendar\"]\n");
  expect(
      "purposes: [{name: a, quiet_hours: 21-8}]\n",
      "f:1:35: purposes[0].quiet_hours: \"21-8\" are no hours of the day: write from when to when, such as "
      "\"21:00-08:00\"\n");
  expect("purposes: [{name: a, consent: maybe}]\n",
         "f:1:31: purposes[0].consent: found \"maybe\", expected one of none, opt_out, opt_in\n");
  expect("purposes: [{name: a, transactional: true, caps: 3/7d, quiet_hours: \"21:00-08:00\"}]\n",
         "f:1:49: purposes[0].caps: caps and quiet hours do not concern a transactional purpose\n"
         "f:1:68: purposes[0].quiet_hours: caps and quiet hours do not concern a transactional purpose\n");
  expect("purposes: [{name: a}, {name: a}]\n",
         "f:1:30: purposes[1].name: the name \"a\" is given twice, expected one of its own for each\n");
  expect("quiet_hours: {fax: \"21:00-08:00\"}\n",
         "f:1:15: quiet_hours: unknown key \"fax\"; known here: email, sms, push, webhook\n");
}

static void duplicate_keys(void **state) {
  (void)state;
  expect("workers: 1\nlog: {keep: 40d}\nworkers: 2\n",
         "f:3:1: \"workers\" is given twice, first in line 1\n");
  expect("http:\n  max_body: 1MB\n  max_body: 1MB\n",
         "f:3:3: http: \"max_body\" is given twice, first in line 2\n");
  expect("http: {}\nhttp: {}\n", "f:2:1: \"http\" is given twice, first in line 1\n");
}

static void wrong_types(void **state) {
  (void)state;
  expect("time_zone: Europe/Berln\n",
         "f:1:12: time_zone: there is no time zone \"Europe/Berln\"; did you mean \"Europe/Berlin\"?\n");
  expect("- a\n", "f:1:1: found a list, expected a group of keys\n");
  expect("hello\n", "f:1:1: found a single value, expected a group of keys\n");
  expect("http: 5\n", "f:1:7: http: found a single value, expected a group of keys\n");
  expect("http: [max_body]\n", "f:1:7: http: found a list, expected a group of keys\n");
  expect("workers: [1]\n", "f:1:10: workers: found a list, expected a whole number from 0 to 256\n");
  expect("workers: {a: 1}\n",
         "f:1:10: workers: found a group of keys, expected a whole number from 0 to 256\n");
  expect("workers:\n", "f:1:9: workers: found nothing, expected a whole number from 0 to 256\n");
  expect("data_dir: ~\n", "f:1:11: data_dir: found nothing, expected a path\n");
  expect("workers: \"4\"\n",
         "f:1:10: workers: found the text \"4\", expected a whole number from 0 to 256\n");
  expect("workers: four\n", "f:1:10: workers: found \"four\", expected a whole number from 0 to 256\n");
  expect("workers: -1\n", "f:1:10: workers: found \"-1\", expected a whole number from 0 to 256\n");
  expect("workers: 1.0\n", "f:1:10: workers: found \"1.0\", expected a whole number from 0 to 256\n");
  expect("delivery: {paused: yes}\n", "f:1:20: delivery.paused: found \"yes\", expected true or false\n");
  expect("delivery: {paused: 'true'}\n",
         "f:1:20: delivery.paused: found the text \"true\", expected true or false\n");
  expect("providers: {a: 1}\n", "f:1:12: providers: found a group of keys, expected a list\n");
  expect("providers: none\n", "f:1:12: providers: found a single value, expected a list\n");
  expect("api_keys: [shop]\n", "f:1:12: api_keys[0]: found a single value, expected a group of keys\n");
  expect("api_keys:\n  -\n", "f:2:4: api_keys[0]: found nothing, expected a group of keys\n");
  expect("data_dir: !vault x\n", "f:1:11: data_dir: found the tag \"!vault\", expected none\n");
  expect("data_dir: \"a\\nb\"\n", "f:1:11: data_dir: found \"a?b\", expected a path\n");
  expect("data_dir: \"a\\0b\"\n", "f:1:11: data_dir: found \"a?b\", expected a path\n");
}

static void bad_quantities(void **state) {
  (void)state;
  expect("dedup:\n  keep: 24\n",
         "f:2:9: dedup.keep: \"24\" is no duration: write a whole number and a unit (ms, s, m, "
         "h, d, w), such as \"30s\" or \"1h30m\"\n");
  expect("dedup: {keep: 500ms}\n",
         "f:1:15: dedup.keep: found \"500ms\", expected a duration from 1s to 365d\n");
  expect("dedup: {keep: 366d}\n",
         "f:1:15: dedup.keep: found \"366d\", expected a duration from 1s to 365d\n");
  expect("http: {max_body: 10mb}\n",
         "f:1:18: http.max_body: \"10mb\" is no size: write a whole number of bytes, or "
         "with a unit (KB, MB, GB), such as \"64MB\"\n");
  expect("http: {max_body: 1023}\n",
         "f:1:18: http.max_body: found \"1023\", expected a size from 1KB to 1GB\n");
  expect("http: {max_body: 2GB}\n",
         "f:1:18: http.max_body: found \"2GB\", expected a size from 1KB to 1GB\n");
  expect("http: {max_connections: 0}\n",
         "f:1:25: http.max_connections: found \"0\", expected a whole number from 1 to 1000000\n");
  expect("workers: 99999999999999999999\n",
         "f:1:10: workers: found \"99999999999999999999\", expected a whole number from 0 to 256\n");
  expect("workers: 4294967297\n",
         "f:1:10: workers: found \"4294967297\", expected a whole number from 0 to 256\n");
  expect("providers: [{name: a, type: file, rate: fast}]\n",
         "f:1:41: providers[0].rate: \"fast\" is no rate: write how many, \"/\" and in how long, such as "
         "\"100/s\" or "
         "\"1000/10m\"\n");
  expect("control: {mode: \"888\"}\n",
         "f:1:17: control.mode: found \"888\", expected an octal mode from \"0000\" to \"0777\"\n");
  expect("control: {mode: 01777}\n",
         "f:1:17: control.mode: found \"01777\", expected an octal mode from \"0000\" to \"0777\"\n");
  expect("logging: {level: loud}\n",
         "f:1:18: logging.level: found \"loud\", expected one of debug, info, warn, error\n");
}

static void addresses(void **state) {
  (void)state;
  static const char *const bad[] = {"8080",
                                    ":8080",
                                    "localhost:8080",
                                    "127.0.0.1",
                                    "127.0.0.1:",
                                    "1.2.3:80",
                                    "::1:8080",
                                    "[::1]",
                                    "[::1]8080",
                                    "[::g]:80",
                                    "127.0.0.1:65536",
                                    "127.0.0.1:-1",
                                    "127.0.0.1:080000",
                                    "[127.0.0.1]:80",
                                    "[]:80",
                                    "127.0.0.1:http",
                                    "[::1%eth0]:80"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char yaml[128], want[256];
    snprintf(yaml, sizeof yaml, "listen: \"%s\"\n", bad[i]);
    snprintf(
        want, sizeof want,
        "f:1:9: listen: found \"%s\", expected an address and a port such as 127.0.0.1:8080 or [::1]:8080\n",
        bad[i]);
    expect(yaml, want);
  }
}

static void neighbours(void **state) {
  (void)state;
  expect("ingest: {max_past: 31d}\n",
         "f:1:20: ingest.max_past: found 31d, expected at most log.keep (30d)\n");
  expect("log:\n  keep: 30d\ningest:\n  max_past: 30d1ms\n",
         "f:4:13: ingest.max_past: found 30d1ms, expected at most log.keep (30d)\n");
  expect("log: {keep: 10d}\n", "f:1:13: log.keep: found 10d, expected at least ingest.max_past (30d)\n");
  // A value that is wrong already is not measured against.
  expect("log: {keep: long}\ningest: {max_past: 31d}\n",
         "f:1:13: log.keep: \"long\" is no duration: write a whole number and a "
         "unit (ms, s, m, h, d, w), such as \"30s\" or \"1h30m\"\n");
  expect("state: {memory: 1MB, record_max: 2MB}\n",
         "f:1:34: state.record_max: found 2MB, expected at most state.memory (1MB)\n");
  expect("providers: [{name: a, type: file, backoff_base: 2m, backoff_max: 1m}]\n",
         "f:1:49: providers[0].backoff_base: found 2m, expected at most backoff_max (1m)\n");
  expect("providers: [{name: a, type: file, backoff_base: soon, backoff_max: 500ms}]\n",
         "f:1:49: providers[0].backoff_base: \"soon\" is no duration: write a whole number and a unit (ms, "
         "s, m, h, "
         "d, w), such as \"30s\" or \"1h30m\"\n");
  expect("providers: [{name: a, type: file, backoff_max: 500ms}]\n",
         "f:1:48: providers[0].backoff_max: found 500ms, expected at least backoff_base (1s)\n");
  expect("http: {tls: {certificate: /dev/null}}\n",
         "f:1:27: http.tls.certificate: found no http.tls.key beside it, expected both or neither\n");
  expect("http: {tls: {key: /dev/null}}\n",
         "f:1:19: http.tls.key: found no http.tls.certificate beside it, expected both or neither\n");
  expect("http: {tls: {certificate: /nowhere/c.pem, key: /tmp}}\n",
         "f:1:27: http.tls.certificate: \"/nowhere/c.pem\" cannot be read: No such file or directory\n"
         "f:1:48: http.tls.key: \"/tmp\" cannot be read: Is a directory\n");
}

static void providers(void **state) {
  (void)state;
  setenv("KAIROS_TEST_SET", "x", 1);
  setenv("KAIROS_TEST_EMPTY", "", 1);
  unsetenv("KAIROS_TEST_UNSET");
#define NAME_RULE "expected a name of at most 64 lower-case letters, digits, \"_\" and \"-\""
#define ENV_RULE  "the name of an environment variable, in capitals, digits and \"_\"; never the secret itself"
  expect("providers:\n  - type: file\n", "f:2:5: providers[0]: \"name\" is missing, " NAME_RULE "\n");
  expect("providers:\n  - name: a\n",
         "f:2:5: providers[0]: \"type\" is missing, expected one of file, webhook, sendgrid\n");
  expect("providers: [{name: A, type: file}]\n", "f:1:20: providers[0].name: found \"A\", " NAME_RULE "\n");
  expect("providers: [{name: a, type: smtp}]\n",
         "f:1:29: providers[0].type: found \"smtp\", expected one of file, webhook, sendgrid\n");
  expect("providers: [{name: a, type: file}, {name: b, type: file}, {name: a, type: file}]\n",
         "f:1:66: providers[2].name: the name \"a\" is given twice, expected one of its own for each\n");
  expect("providers: [{name: a, type: webhook}]\n",
         "f:1:13: providers[0]: \"url\" is missing, expected where a provider of type webhook posts to\n"
         "f:1:13: providers[0]: \"secret_env\" is missing, expected the name of the environment variable "
         "that holds the "
         "signing secret\n");
  expect("providers: [{name: a, type: sendgrid}]\n",
         "f:1:13: providers[0]: \"secret_env\" is missing, expected the name of the environment variable "
         "that holds the "
         "API key\n");
  expect("providers: [{name: a, type: sendgrid, secret_env: KAIROS_TEST_UNSET}]\n",
         "f:1:51: providers[0].secret_env: the environment variable KAIROS_TEST_UNSET is not set\n");
  expect("providers: [{name: a, type: sendgrid, secret_env: KAIROS_TEST_EMPTY}]\n",
         "f:1:51: providers[0].secret_env: the environment variable KAIROS_TEST_EMPTY is empty\n");
  expect("providers: [{name: a, type: file, url: \"http://x\"}]\n",
         "f:1:40: providers[0].url: a provider of type file writes files and takes none\n");
  expect("providers: [{name: a, type: sendgrid, secret_env: KAIROS_TEST_SET, feedback_key: abc}]\n",
         "f:1:82: providers[0].feedback_key: expected the verification key that SendGrid shows beside "
         "\"Signed Event Webhook\": 124 characters that begin with MFkwEwYH\n");
  expect(
      "providers: [{name: a, type: webhook, url: \"http://x\", secret_env: KAIROS_TEST_SET, feedback_key: "
      "b}]\n",
      "f:1:98: providers[0].feedback_key: a webhook signs what it reports with the secret of secret_env\n");
  expect(
      "providers: [{name: a, type: webhook, url: \"ftp://x\", secret_env: KAIROS_TEST_SET}]\n",
      "f:1:43: providers[0].url: found \"ftp://x\", expected a URL such as https://example.org/messages\n");
  expect("api_keys: [{name: a}]\n", "f:1:12: api_keys[0]: \"key_env\" is missing, expected " ENV_RULE "\n");
  expect("providers: [{name: a, type: webhook, url: \"http://x\", secret: abc}]\n",
         "f:1:13: providers[0]: \"secret_env\" is missing, expected the name of the environment variable "
         "that holds the "
         "signing secret\n"
         "f:1:55: providers[0]: unknown key \"secret\"; did you mean \"secret_env\"?\n");
}

static void urls(void **state) {
  (void)state;
  setenv("KAIROS_TEST_SET", "x", 1);
  static const char *const bad[] = {
      "",           "x.example",  "https://",          "https:///a",    "HTTPS://x",
      "http://a b", "http://:80", "http://x/\xc3\xa9", "//x.example/a", "file:///x"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    char yaml[160], want[256];
    snprintf(yaml, sizeof yaml,
             "providers: [{name: a, type: webhook, url: \"%s\", secret_env: KAIROS_TEST_SET}]\n", bad[i]);
    snprintf(want, sizeof want,
             "f:1:43: providers[0].url: found \"%s\", expected a URL such as https://example.org/messages\n",
             bad[i]);
    expect(yaml, want);
  }
}

static void secrets_are_never_repeated(void **state) {
  (void)state;
  static const char *const secrets[] = {"SG.abc-def", "hunter2", "whsec_MfKQ", "Sup3rSecret", "p w"};
  for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
    char yaml[160];
    snprintf(yaml, sizeof yaml, "api_keys: [{name: a, key_env: \"%s\"}]\n", secrets[i]);
    expect(yaml, "f:1:31: api_keys[0].key_env: expected " ENV_RULE "\n");
  }
  expect("providers: [{name: a, type: webhook, url: \"https://user:hunter2@x/\", secret_env: "
         "KAIROS_TEST_SET}]\n",
         "f:1:43: providers[0].url: a URL may hold no user and no password: a secret stands in the "
         "environment\n");
}

static void routes(void **state) {
  (void)state;
  setenv("KAIROS_TEST_SET", "x", 1);
#define MAIL "providers: [{name: mail, type: sendgrid, secret_env: KAIROS_TEST_SET}]\n"
  expect(MAIL "routes:\n  email: mial\n",
         "f:3:10: routes.email: unknown provider \"mial\"; did you mean \"mail\"?\n");
  expect(MAIL "routes: {email: nobody}\n",
         "f:2:17: routes.email: unknown provider \"nobody\"; known: mail, files\n");
  expect(MAIL "routes: {sms: mail}\n",
         "f:2:15: routes.sms: the provider \"mail\" is of type sendgrid, which sends email only\n");
  expect("routes: {email: [a]}\n", "f:1:17: routes.email: found a list, " NAME_RULE "\n");
  // A provider with a problem of its own is known all the same.
  expect("providers: [{name: mail, type: sendgrd, secret_env: KAIROS_TEST_SET}]\nroutes: {email: mail}\n",
         "f:1:32: providers[0].type: found \"sendgrd\", expected one of file, webhook, sendgrid\n");
}

static void all_at_once_in_order(void **state) {
  (void)state;
  unsetenv("KAIROS_TEST_UNSET");
  expect("workers: many\n"
         "http:\n"
         "  max_body: 10XB\n"
         "  max_headr: 1KB\n"
         "ingest: {max_past: 60d}\n"
         "providers:\n"
         "  - name: mail\n"
         "    type: sendgrid\n"
         "    secret_env: KAIROS_TEST_UNSET\n"
         "routes:\n"
         "  sms: mail\n"
         "  push: nobody-here\n",
         "f:1:10: workers: found \"many\", expected a whole number from 0 to 256\n"
         "f:3:13: http.max_body: \"10XB\" is no size: write a whole number of bytes, or with a unit (KB, MB, "
         "GB), such "
         "as \"64MB\"\n"
         "f:4:3: http: unknown key \"max_headr\"; did you mean \"max_header\"?\n"
         "f:5:20: ingest.max_past: found 60d, expected at most log.keep (30d)\n"
         "f:9:17: providers[0].secret_env: the environment variable KAIROS_TEST_UNSET is not set\n"
         "f:11:8: routes.sms: the provider \"mail\" is of type sendgrid, which sends email only\n"
         "f:12:9: routes.push: unknown provider \"nobody-here\"; known: mail, files\n");
}

static void sockets(void **state) {
  (void)state;
  char yaml[256], deep[120];
  memset(deep, 'd', sizeof deep);
  deep[119] = 0;
  snprintf(yaml, sizeof yaml, "control: {socket: %s}\n", deep);
  expect(yaml, "f:1:19: control.socket: found a path of 119 bytes, expected at most 107: the system allows "
               "no more for "
               "a socket\n");
  snprintf(yaml, sizeof yaml, "data_dir: %s\n", deep);
  expect(
      yaml,
      "f:1:11: data_dir: too long for the control socket in it, expected a shorter one or control.socket\n");
}

static void syntax(void **state) {
  (void)state;
  expect("http: {max_body: 1MB\nworkers: 1\n",
         "f:2:8: this is not YAML: did not find expected ',' or '}', while parsing a flow mapping\n");
  expect("http:\n\tmax_body: 1MB\n", "f:2:1: this is not YAML: found character that cannot start any token, "
                                     "while scanning for the next token; "
                                     "indent with spaces, not with tabs\n");
  expect("a: *b\n", "f:1:4: this is not YAML: found undefined alias\n");
  expect("workers: 1\n---\nworkers: 2\n", "f:2:1: found a second document, expected one\n");
  expect("workers: 1\ndata_dir: \xff\n", "f:2:11: this is not YAML: invalid leading UTF-8 octet\n");
  expect("workers: 1\n\x01\n", "f:2:1: this is not YAML: control characters are not allowed\n");
}

static void hostile_files(void **state) {
  (void)state;
  // Deep nesting, an alias that grows exponentially, one that contains itself, keys past every length.
  size_t size = 200000;
  char *big = memory_alloc(size + 1);
  memset(big, '[', size);
  big[size] = 0;
  char *got = report_of((struct str){big, size});
  assert_string_equal(got, "f:1:33: nested more than 32 levels deep\n");
  free(got);
  memset(big, '{', size);
  got = report_of((struct str){big, size});
  assert_string_equal(got, "f:1:33: nested more than 32 levels deep\n");
  free(got);
  memset(big, 'a', size);
  memcpy(big + size - 4, ": 1\n", 4);
  got = report_of((struct str){big, size});
  assert_true(strlen(got) > 0 && strlen(got) < 1024);
  free(got);
  expect("http: &a\n  tls: *a\n", "f:2:3: http.tls: unknown key \"tls\"; known here: certificate, key\n");
  free(report_of(STR("a: &a [x,x,x]\nb: &b [*a,*a,*a]\nc: &c [*b,*b,*b]\nproviders: [*c,*c]\n")));
  free(report_of(STR("a\0b: 1\n")));
  free(report_of(STR("\"a\\0b\": 1\n")));
  // More problems than anyone reads: cut, and said.
  struct buf many;
  buf_init(&many);
  for (int i = 0; i < 20000; i++) buf_printf(&many, "key_%d: 1\n", i);
  got = report_of(buf_str(&many));
  int lines = 0;
  for (char *at = got; *at; at++) lines += *at == '\n';
  assert_int_equal(lines, CONFIG_PROBLEMS_MAX + 1);
  assert_non_null(strstr(got, "\nand more: only the first 100 are shown\n"));
  free(got);
  buf_clear(&many);
  buf_printf(&many, "providers:\n");
  for (int i = 0; i < 1001; i++) buf_printf(&many, "- {name: p%d, type: file}\n", i);
  got = report_of(buf_str(&many));
  assert_string_equal(got, "f:2:1: providers: found 1001 items, expected at most 1000\n");
  free(got);
  buf_deinit(&many);
  memory_free(big);
}

/** Every prefix of a file, and every byte of it changed: an answer, never a crash, and no configuration on
 * problems. */
static void damaged_files(void **state) {
  (void)state;
  static const char yaml[] =
      "http: {max_body: 1MB, tls: {}}\nproviders:\n  - &a {name: b, type: file, rate: 5/s}\n"
      "routes:\n  email: b\n  sms: \"b\"\nlog: {keep: 31d}\n";
  for (size_t len = 0; len < sizeof yaml - 1; len++) {
    char *copy = memory_alloc(len);
    memcpy(copy, yaml, len);
    free(report_of((struct str){copy, len}));
    memory_free(copy);
  }
  static const char bytes[] = {0, '\n', '\t', '"', '{', ']', ':', '*', '&', '!', '-', '\x80', '%'};
  for (size_t i = 0; i < sizeof yaml - 1; i++) {
    for (size_t j = 0; j < sizeof bytes; j++) {
      char copy[sizeof yaml];
      memcpy(copy, yaml, sizeof yaml);
      copy[i] = bytes[j];
      free(report_of((struct str){copy, sizeof yaml - 1}));
    }
  }
}

static void files(void **state) {
  (void)state;
  struct config *config;
  struct config_report report;
  config_report_init(&report);
  assert_int_equal(config_load(&config, "/nowhere/kairos.yaml", &report), ERROR_NOT_FOUND);
  assert_null(config);
  assert_int_equal(report.count, 1);
  assert_string_equal(report.file, "/nowhere/kairos.yaml");
  assert_string_equal(report.problems[0].message, "this file cannot be read: No such file or directory");
  assert_int_equal(report.problems[0].line, 0);
  struct buf text;
  buf_init(&text);
  config_report_write(&report, &text);
  assert_true(str_equal(buf_str(&text),
                        STR("/nowhere/kairos.yaml: this file cannot be read: No such file or directory\n")));
  buf_deinit(&text);
  config_report_deinit(&report);
  assert_int_equal(config_load(&config, "/tmp", &report), ERROR_IO);
  assert_string_equal(report.problems[0].message, "this file cannot be read: Is a directory");
  config_report_deinit(&report);
  assert_int_equal(config_load(&config, "/dev/zero", &report), ERROR_LIMIT);
  assert_string_equal(report.problems[0].message, "this file is larger than 1MB, which no configuration is");
  config_report_deinit(&report);
}

/** Who only looks need not have the secrets; who serves must. */
static void secrets_may_be_missing_for_who_only_looks(void **state) {
  (void)state;
  unsetenv("KAIROS_TEST_UNSET");
  struct config_report report;
  struct config *config;
  config_report_init(&report);
  report.secrets_optional = true;
  struct str yaml = STR("providers: [{name: a, type: sendgrid, secret_env: KAIROS_TEST_UNSET}]\n");
  assert_int_equal(config_parse(&config, yaml, "f", &report), 0);
  assert_string_equal(config->providers[0].secret.env, "KAIROS_TEST_UNSET");
  assert_null(config->providers[0].secret.value);
  config_free(config);
  config_report_deinit(&report);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(secrets_may_be_missing_for_who_only_looks),
      cmocka_unit_test(unknown_keys),
      cmocka_unit_test(purposes),
      cmocka_unit_test(duplicate_keys),
      cmocka_unit_test(wrong_types),
      cmocka_unit_test(bad_quantities),
      cmocka_unit_test(addresses),
      cmocka_unit_test(neighbours),
      cmocka_unit_test(providers),
      cmocka_unit_test(urls),
      cmocka_unit_test(secrets_are_never_repeated),
      cmocka_unit_test(routes),
      cmocka_unit_test(all_at_once_in_order),
      cmocka_unit_test(sockets),
      cmocka_unit_test(syntax),
      cmocka_unit_test(hostile_files),
      cmocka_unit_test(damaged_files),
      cmocka_unit_test(files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
