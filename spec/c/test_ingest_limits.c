// links: base config event ingest
#include "base/memory.h"
#include "ingest/account.h"
#include "ingest/ingest.h"
#include "ingest/keys.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static void an_account_never_passes_its_limit(void **state) {
  (void)state;
  account_sum sum = 0;
  struct account a = {.sum = &sum, .limit = 1000000}, b = {.sum = &sum, .limit = 1000000};
  assert_true(account_take(&a, 600000));
  assert_false(account_take(&b, 600000));
  assert_true(account_take(&b, 300000)); // though not in whole chunks
  assert_true(sum <= 1000000);
  assert_false(account_take(&a, 200000));
  account_give(&b, 300000);
  assert_true(account_take(&a, 200000));
  account_give(&a, 800000);
  assert_int_equal(a.used, 0);
  assert_false(account_take(&a, 1000001));
  assert_false(account_take(&a, SIZE_MAX));
  assert_true(account_take(&b, 0));
  assert_true(account_take(&a, 700000)); // nothing lost but what is kept to spare
}

struct taker {
  pthread_t thread;
  struct account account;
  _Atomic uint64_t *held;
};

static void *take_and_give(void *argument) {
  struct taker *taker = argument;
  for (int i = 0; i < 20000; i++) {
    size_t bytes = (size_t)(i * 7919) % 500000;
    if (!account_take(&taker->account, bytes)) continue;
    uint64_t held = atomic_fetch_add(taker->held, bytes) + bytes;
    if (held > taker->account.limit) abort();
    atomic_fetch_sub(taker->held, bytes);
    account_give(&taker->account, bytes);
  }
  return NULL;
}

static void accounts_share_a_limit_between_threads(void **state) {
  (void)state;
  account_sum sum = 0;
  _Atomic uint64_t held = 0;
  struct taker takers[3];
  for (int i = 0; i < 3; i++) {
    takers[i] = (struct taker){.account = {.sum = &sum, .limit = 1 << 20}, .held = &held};
    pthread_create(&takers[i].thread, NULL, take_and_give, &takers[i]);
  }
  uint64_t granted = 0;
  for (int i = 0; i < 3; i++) {
    pthread_join(takers[i].thread, NULL);
    granted += takers[i].account.granted;
    assert_int_equal(takers[i].account.used, 0);
  }
  assert_int_equal(granted, sum);
}

static struct config *config_of(const char *yaml) {
  struct config *config = NULL;
  struct config_report report;
  config_report_init(&report);
  if (config_parse(&config, str_from(yaml), "test", &report)) fail_msg("%s", yaml);
  config_report_deinit(&report);
  return config;
}

static struct keys *keys_of(const char *yaml) {
  setenv("KAIROS_TEST_A", "alpha", 1);
  setenv("KAIROS_TEST_B", "beta", 1);
  struct config *config = config_of(yaml);
  struct keys *keys = NULL;
  struct error err;
  assert_int_equal(keys_new(&keys, config, &err), 0);
  config_free(config);
  return keys;
}

static void keys_are_found_whole(void **state) {
  (void)state;
  assert_null(keys_of("{}"));
  struct keys *keys =
      keys_of("api_keys: [{name: a, key_env: KAIROS_TEST_A}, {name: b, key_env: KAIROS_TEST_B}]");
  assert_int_equal(keys_find(keys, STR("alpha")), 0);
  assert_int_equal(keys_find(keys, STR("beta")), 1);
  static const char *const wrong[] = {"", "a", "alph", "alphb", "alphaa", "betaa", "Beta", "alphabeta"};
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
    assert_int_equal(keys_find(keys, str_from(wrong[i])), -1);
  assert_int_equal(keys_find(keys, STR("alpha\0")), -1);
  keys_free(keys);
}

static void a_rate_has_its_burst_and_its_pace(void **state) {
  (void)state;
  struct keys *keys = keys_of("api_keys: [{name: a, key_env: KAIROS_TEST_A, rate: 100/s}]");
  int64_t now = 1000000000;
  for (int i = 0; i < 100; i++) assert_int_equal(keys_admit(keys, 0, now), 0);
  assert_int_equal(keys_admit(keys, 0, now), 10);
  assert_int_equal(keys_admit(keys, 0, now + 9999), 1);
  assert_int_equal(keys_admit(keys, 0, now + 10000), 0);
  assert_int_equal(keys_admit(keys, 0, now + 10000), 10);
  // After a second without any, the burst is whole again.
  now += 2000000;
  for (int i = 0; i < 100; i++) assert_int_equal(keys_admit(keys, 0, now), 0);
  assert_int_equal(keys_admit(keys, 0, now), 10);
  // A request's events beyond its first are a debt.
  now += 2000000;
  assert_int_equal(keys_admit(keys, 0, now), 0);
  keys_charge(keys, 0, 999, now);
  assert_int_equal(keys_admit(keys, 0, now), 9010);
  assert_int_equal(keys_admit(keys, 0, now + 9010000), 0);
  // The largest debts do not overflow.
  for (int i = 0; i < 1000; i++) keys_charge(keys, 0, UINT32_MAX, now);
  assert_true(keys_admit(keys, 0, now) > 0);
  keys_free(keys);
  keys = keys_of("api_keys: [{name: a, key_env: KAIROS_TEST_A}]");
  for (int i = 0; i < 1000; i++) assert_int_equal(keys_admit(keys, 0, now), 0);
  keys_free(keys);
}

static void addresses(void **state) {
  (void)state;
  struct error err;
  static const char *const good[] = {"127.0.0.1:0", "[::1]:0", "0.0.0.0:0"};
  for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
    int port = 0, again = 0;
    int descriptor = ingest_listen(good[i], &port, &err);
    if (descriptor < 0) fail_msg("%s: %s", good[i], err.message);
    assert_in_range(port, 1, 65535);
    // Another worker shares the port.
    again = port;
    int second = ingest_listen(good[i], &again, &err);
    assert_true(second >= 0);
    assert_int_equal(again, port);
    close(descriptor);
    close(second);
  }
  static const char *const bad[] = {
      "",    "127.0.0.1", "127.0.0.1:", "localhost:80", "127.0.0.1:65536", "127.0.0.1:-1", "127.0.0.1:80x",
      ":80", "::1:80x",   "[::1:80",    "[]:80",        "203.0.113.7:1"};
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    int port = 0;
    int code = ingest_listen(bad[i], &port, &err);
    if (code >= 0) fail_msg("%s was taken", bad[i]);
    assert_non_null(strstr(err.message, bad[i]));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(an_account_never_passes_its_limit),
      cmocka_unit_test(accounts_share_a_limit_between_threads),
      cmocka_unit_test(keys_are_found_whole),
      cmocka_unit_test(a_rate_has_its_burst_and_its_pace),
      cmocka_unit_test(addresses),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
