// links: base config event state
/* Consents, counted sends and parts in experiments, as a record keeps them. */
#include "base/memory.h"
#include "state/consent.h"
#include "state/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "record_fixture.h"

#define DAY 86400000LL

static void say(struct record *record, const char *purpose, const char *channel, bool granted, int64_t at) {
  must(record, (struct effect){.type = EFFECT_CONSENT,
                               .consent = {str_from(purpose), str_from(channel), granted, at, STR("event")}});
}

/** '+' granted, '-' withdrawn, '?' nothing was said. */
static char word(const struct record *record, const char *purpose, const char *channel) {
  struct consent consent;
  if (!record_consent(record, str_from(purpose), str_from(channel), &consent)) return '?';
  return consent.granted ? '+' : '-';
}

static void test_the_newest_word_holds(void **state) {
  (void)state;
  struct record record;
  record_init(&record);
  assert_int_equal(word(&record, "news", "email"), '?');
  say(&record, "news", "*", true, T);
  assert_int_equal(word(&record, "news", "email"), '+');
  assert_int_equal(word(&record, "offers", "email"), '?');
  // On one channel, later.
  say(&record, "news", "email", false, T + 2);
  assert_int_equal(word(&record, "news", "email"), '-');
  assert_int_equal(word(&record, "news", "sms"), '+');
  assert_int_equal(word(&record, "news", "*"), '+');
  // What comes late does not overturn what was said after it.
  size_t bytes = record.bytes.len;
  say(&record, "news", "email", true, T + 1);
  assert_int_equal(word(&record, "news", "email"), '-');
  assert_int_equal(record.bytes.len, bytes);
  // Of every channel, later still: it holds for that one too.
  say(&record, "news", "*", true, T + 3);
  assert_int_equal(word(&record, "news", "email"), '+');
  // Of two of one time the withdrawal holds, whichever comes first.
  say(&record, "news", "*", false, T + 3);
  assert_int_equal(word(&record, "news", "sms"), '-');
  say(&record, "news", "*", true, T + 3);
  assert_int_equal(word(&record, "news", "sms"), '-');
  say(&record, "offers", "sms", true, T);
  say(&record, "offers", "*", false, T);
  assert_int_equal(word(&record, "offers", "sms"), '-');
  assert_stored(&record);
  struct buf out = {0}, json = {0};
  struct str consents;
  record_describe(&record, &out);
  assert_true(value_member(buf_str(&out), STR("consents"), &consents));
  value_to_json(consents, &json);
  assert_true(str_equal(buf_str(&json), STR("[{\"purpose\":\"news\",\"channel\":\"*\",\"consent\":"
                                            "\"withdrawn\",\"at\":1760000000003,\"source\":\"event\"},"
                                            "{\"purpose\":\"news\",\"channel\":\"email\",\"consent\":"
                                            "\"withdrawn\",\"at\":1760000000002,\"source\":\"event\"},"
                                            "{\"purpose\":\"offers\",\"channel\":\"sms\",\"consent\":"
                                            "\"granted\",\"at\":1760000000000,\"source\":\"event\"},"
                                            "{\"purpose\":\"offers\",\"channel\":\"*\",\"consent\":"
                                            "\"withdrawn\",\"at\":1760000000000,\"source\":\"event\"}]")));
  buf_deinit(&out);
  buf_deinit(&json);
  record_deinit(&record);
}

static void test_what_a_purpose_asks_for(void **state) {
  (void)state;
  struct record record;
  struct config_purpose none = {.name = "news", .consent = CONFIG_CONSENT_NONE},
                        out = {.name = "news", .consent = CONFIG_CONSENT_OPT_OUT},
                        in = {.name = "news", .consent = CONFIG_CONSENT_OPT_IN};
  struct consent said;
  record_init(&record);
  assert_true(consent_allows(&record, &none, STR("email"), &said));
  assert_true(consent_allows(&record, &out, STR("email"), &said));
  assert_int_equal(said.purpose.len, 0);
  assert_false(consent_allows(&record, &in, STR("email"), &said));
  say(&record, "news", "email", false, T);
  assert_true(consent_allows(&record, &none, STR("email"), NULL));
  assert_false(consent_allows(&record, &out, STR("email"), &said));
  assert_int_equal(said.at, T);
  assert_true(consent_allows(&record, &out, STR("sms"), NULL));
  say(&record, "news", "sms", true, T);
  assert_true(consent_allows(&record, &in, STR("sms"), NULL));
  assert_false(consent_allows(&record, &in, STR("push"), NULL));
  record_deinit(&record);
}

static struct effect counted(const char *counter, int64_t at, int64_t wall, int64_t keep) {
  return (struct effect){.type = EFFECT_COUNT_SEND, .counted = {str_from(counter), at, wall, keep}};
}

static void expect_times(const struct record *record, const char *counter, size_t count,
                         const int64_t *expected) {
  int64_t times[RECORD_COUNTED_MAX];
  assert_int_equal(record_counted(record, str_from(counter), times), count);
  for (size_t i = 0; i < count; i++) assert_int_equal(times[i], expected[i]);
  assert_stored(record);
}

static void test_sends_are_counted(void **state) {
  (void)state;
  struct record record;
  record_init(&record);
  must(&record, counted("*", T, T, DAY));
  must(&record, counted("news", T, T, 7 * DAY));
  must(&record, counted("news", T + 5 * DAY, T + 1, 7 * DAY)); // deferred
  must(&record, counted("news", T + 2, T + 2, DAY));
  expect_times(&record, "news", 3, (int64_t[]){T, T + 2, T + 5 * DAY});
  expect_times(&record, "*", 1, (int64_t[]){T});
  // Given back: one of them, and only one that is there.
  must(&record, counted("news", T + 3, T + 3, 0));
  must(&record, counted("news", T + 2, T + 3, 0));
  expect_times(&record, "news", 2, (int64_t[]){T, T + 5 * DAY});
  // What no cap looks back to goes with the next one: the longest that ever was asked for.
  must(&record, counted("news", T + 7 * DAY, T + 7 * DAY - 1, DAY));
  expect_times(&record, "news", 3, (int64_t[]){T, T + 5 * DAY, T + 7 * DAY});
  must(&record, counted("news", T + 8 * DAY, T + 7 * DAY, DAY));
  expect_times(&record, "news", 3, (int64_t[]){T + 5 * DAY, T + 7 * DAY, T + 8 * DAY});
  // A clock set back forgets nothing.
  must(&record, counted("news", T, T, DAY));
  expect_times(&record, "news", 4, (int64_t[]){T, T + 5 * DAY, T + 7 * DAY, T + 8 * DAY});
  record_tidy(&record, T + 14 * DAY);
  expect_times(&record, "news", 1, (int64_t[]){T + 8 * DAY});
  expect_times(&record, "*", 0, NULL);
  record_tidy(&record, T + 15 * DAY);
  assert_int_equal(record.bytes.len, 0);
  // The last one given back leaves nothing.
  must(&record, counted("news", T, T, DAY));
  must(&record, counted("news", T, T, 0));
  assert_int_equal(record.bytes.len, 0);
  record_deinit(&record);
}

static void test_counters_are_bounded(void **state) {
  (void)state;
  struct record record;
  struct error err = {0};
  record_init(&record);
  for (int i = 0; i < RECORD_COUNTED_MAX; i++) must(&record, counted("news", T + i, T, DAY));
  struct effect more = counted("news", T + DAY, T, DAY);
  assert_int_equal(record_apply(&record, &more, MAX, &err), ERROR_LIMIT);
  assert_non_null(strstr(err.message, "the cap of \"news\" does not fit"));
  // Recovery lets in what had been let in.
  assert_int_equal(record_apply(&record, &more, SIZE_MAX, &err), 0);
  int64_t times[RECORD_COUNTED_MAX];
  assert_int_equal(record_counted(&record, STR("news"), times), RECORD_COUNTED_MAX);
  assert_int_equal(times[0], T + 1);
  assert_int_equal(times[RECORD_COUNTED_MAX - 1], T + DAY);
  // Small: some five bytes each for such short gaps, and never past the record's bound.
  assert_true(record.bytes.len < 4 * RECORD_COUNTED_MAX);
  struct effect wide = counted("other", T, T, DAY);
  assert_int_equal(record_apply(&record, &wide, record.bytes.len + 10, &err), ERROR_LIMIT);
  record_deinit(&record);
}

static void expose(struct record *record, const char *variant, int64_t at) {
  must(record,
       (struct effect){.type = EFFECT_EXPOSURE,
                       .exposure = {.experiment = STR("words"), .variant = str_from(variant), .at = at}});
}

/** Whether time's dropping it was written, as live, or not, as where a recovery begins. */
static void test_the_first_variant_holds_while_it_is_kept(void **state) {
  (void)state;
  struct record live, store;
  struct exposure exposure;
  record_init(&live);
  record_init(&store);
  struct record *both[] = {&live, &store};
  for (int i = 0; i < 2; i++) {
    expose(both[i], "few", T);
    expose(both[i], "many", T + RECORD_EXPOSURE_KEEP_MS - 1);
    assert_true(record_exposure(both[i], STR("words"), &exposure));
    assert_true(str_equal(exposure.variant, STR("few")));
  }
  record_tidy(&live, T + RECORD_EXPOSURE_KEEP_MS);
  assert_false(record_exposure(&live, STR("words"), &exposure));
  for (int i = 0; i < 2; i++) expose(both[i], "many", T + RECORD_EXPOSURE_KEEP_MS);
  assert_int_equal(live.bytes.len, store.bytes.len);
  assert_memory_equal(live.bytes.data, store.bytes.data, live.bytes.len);
  assert_true(record_exposure(&store, STR("words"), &exposure));
  assert_true(str_equal(exposure.variant, STR("many")));
  record_deinit(&live);
  record_deinit(&store);
}

static void test_broken_entries_are_refused(void **state) {
  (void)state;
  static const struct str broken[] = {
      STR("\2\0\10\4news\1*\2\0\0"),                                     // neither granted nor withdrawn
      STR("\2\0\10\4news\1*\1\0"),                                       // cut short
      STR("\2\0\11\6\4news\2"),                                          // a counter of nothing
      STR("\2\0\11\7\4news\0\2"),                                        // one that keeps nothing
      STR("\2\0\11\21\4news\2\2\377\377\377\377\377\377\377\377\377\1"), // a gap that wraps
  };
  struct record record;
  record_init(&record);
  for (size_t i = 0; i < sizeof broken / sizeof *broken; i++)
    assert_int_equal(record_decode(&record, broken[i], NULL), ERROR_CORRUPT);
  record_deinit(&record);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_the_newest_word_holds),
      cmocka_unit_test(test_what_a_purpose_asks_for),
      cmocka_unit_test(test_sends_are_counted),
      cmocka_unit_test(test_counters_are_bounded),
      cmocka_unit_test(test_the_first_variant_holds_while_it_is_kept),
      cmocka_unit_test(test_broken_entries_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
