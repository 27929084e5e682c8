// links: base event state
#include "base/memory.h"
#include "event/value.h"
#include "random.h"
#include "state/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "record_fixture.h"

static double count_at(const struct record *record, uint64_t id, uint64_t key, int64_t now) {
  struct window_declaration declaration = {.id = id, .kind = WINDOW_COUNT, .over = 600000};
  return record_window(record, &declaration, key, now).number;
}

/** `format` has a %zu for the bytes. */
static void assert_json(const struct record *record, const char *format) {
  struct buf value = {0}, json = {0};
  char expected[2000];
  snprintf(expected, sizeof expected, format, record->bytes.len);
  record_describe(record, &value);
  assert_true(value_valid(buf_str(&value)));
  value_to_json(buf_str(&value), &json);
  if (!str_equal(buf_str(&json), str_from(expected)))
    fail_msg("described as %.*s\nexpected      %s", STR_ARG(buf_str(&json)), expected);
  buf_deinit(&value);
  buf_deinit(&json);
}

static void test_attributes(void **state) {
  (void)state;
  struct record record;
  struct str value;
  record_init(&record);
  assert_false(record_attribute(&record, STR("plan"), &value));
  must(&record, attribute("plan", STR("\xa4gold")));
  must(&record, attribute("age", STR("\x2a")));
  must(&record, attribute("", STR("\xc3")));
  assert_true(record_attribute(&record, STR("plan"), &value) && str_equal(value, STR("\xa4gold")));
  must(&record, attribute("plan", STR("\xa8platinum"))); // longer, in place
  assert_true(record_attribute(&record, STR("plan"), &value) && str_equal(value, STR("\xa8platinum")));
  assert_true(record_attribute(&record, STR("age"), &value) && str_equal(value, STR("\x2a")));
  must(&record, attribute("plan", STR("\x01")));
  assert_true(record_attribute(&record, STR("age"), &value) && str_equal(value, STR("\x2a")));
  assert_false(record_attribute(&record, STR("pla"), &value));
  must(&record, attribute("plan", STR("\xc0"))); // nil removes
  must(&record, attribute("age", STR("")));
  must(&record, attribute("never_there", STR("\xc0")));
  assert_false(record_attribute(&record, STR("plan"), &value) ||
               record_attribute(&record, STR("age"), &value));
  assert_true(record_attribute(&record, STR(""), &value));
  // What could not be read back is not taken in.
  struct effect bad = attribute("broken", STR("\xa4go"));
  size_t before = record.bytes.len;
  assert_int_equal(record_apply(&record, &bad, MAX, NULL), ERROR_INVALID);
  assert_int_equal(record.bytes.len, before);
  assert_stored(&record);
  record_deinit(&record);
}

static void test_once_and_throttle(void **state) {
  (void)state;
  struct record record;
  int64_t until = 0;
  record_init(&record);
  must(&record, (struct effect){.type = EFFECT_ONCE, .once = {5, 1000}});
  must(&record,
       (struct effect){.type = EFFECT_THROTTLE, .throttle = {5, 2000}}); // the same key, another thing
  assert_true(record_once(&record, 5, 999, &until) && until == 1000);
  assert_false(record_once(&record, 5, 1000, NULL));
  assert_false(record_once(&record, 6, 0, NULL));
  assert_int_equal(record_throttle(&record, 5), 2000);
  assert_int_equal(record_throttle(&record, 6), 0);
  must(&record, (struct effect){.type = EFFECT_ONCE, .once = {5, T}});
  assert_true(record_once(&record, 5, T - 1, NULL));
  must(&record, (struct effect){.type = EFFECT_ONCE, .once = {5, 0}});
  assert_false(record_once(&record, 5, 0, NULL));
  must(&record, (struct effect){.type = EFFECT_THROTTLE, .throttle = {5, 0}});
  assert_int_equal(record.bytes.len, 0);
  record_deinit(&record);
}

static void test_suppression(void **state) {
  (void)state;
  struct record record;
  struct suppression found;
  record_init(&record);
  assert_false(record_suppressed(&record, STR("email"), &found));
  must(&record, (struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("email"), STR("bounced"), 7}});
  assert_true(record_suppressed(&record, STR("email"), &found));
  assert_true(str_equal(found.reason, STR("bounced")) && found.at == 7);
  assert_false(record_suppressed(&record, STR("sms"), NULL));
  must(&record, (struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("*"), STR("complained"), 8}});
  assert_true(record_suppressed(&record, STR("sms"), &found) && str_equal(found.channel, STR("*")));
  assert_true(record_suppressed(&record, STR("email"), &found) && str_equal(found.reason, STR("bounced")));
  must(&record, (struct effect){.type = EFFECT_UNSUPPRESS, .suppress = {STR("*"), STR(""), 9}});
  assert_false(record_suppressed(&record, STR("sms"), NULL));
  assert_true(record_suppressed(&record, STR("email"), NULL));
  must(&record,
       (struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("email"), STR("unsubscribed by link"), 10}});
  assert_true(record_suppressed(&record, STR("email"), &found) && found.at == 10);
  assert_stored(&record);
  record_deinit(&record);
}

static void test_timers(void **state) {
  (void)state;
  struct record record;
  struct timer found;
  record_init(&record);
  assert_false(record_timer_next(&record, &found));
  must(&record, timer("b", "x", T + 5));
  must(&record, timer("b", "a", T + 5));
  must(&record, timer("a", "z", T + 5));
  must(&record, timer("ab", "a", T + 5));
  must(&record, timer("a", "later", T + 6));
  must(&record, timer("", "first", T + 4));
  static const char *const order[] = {"/first", "a/z", "ab/a", "b/a", "b/x", "a/later"};
  struct record copy;
  record_init(&copy);
  struct buf aside = {0};
  record_save(&record, &aside);
  record_restore(&copy, &aside);
  for (int i = 0; i < 6; i++) {
    char name[64];
    assert_true(record_timer_next(&copy, &found));
    snprintf(name, sizeof name, "%.*s/%.*s", STR_ARG(found.campaign), STR_ARG(found.name));
    assert_string_equal(name, order[i]);
    // As it was answered, borrowed from the record: cleared all the same.
    must(&copy, (struct effect){.type = EFFECT_TIMER_CLEAR, .timer = found});
  }
  assert_false(record_timer_next(&copy, &found));
  assert_int_equal(copy.bytes.len, 0);

  // Replaced by name, everything of it.
  struct effect full = timer("b", "x", T - 1);
  full.timer.late = TIMER_LATE_SKIP;
  full.timer.late_after = 60000;
  full.timer.cancel_on = STR("order.completed");
  full.timer.data = STR("\x93\x01\x02\x03");
  full.timer.set_by = UINT64_MAX;
  must(&record, full);
  assert_true(record_timer(&record, STR("b"), STR("x"), &found));
  assert_true(found.due == T - 1 && found.set_at == T && found.late == TIMER_LATE_SKIP &&
              found.late_after == 60000 && found.set_by == UINT64_MAX);
  assert_true(str_equal(found.cancel_on, STR("order.completed")) &&
              str_equal(found.data, STR("\x93\x01\x02\x03")));
  assert_true(record_timer_next(&record, &found) && str_equal(found.name, STR("x")));
  assert_false(record_timer(&record, STR("x"), STR("b"), &found));
  assert_true(record_timer_cancelled_by(&record, STR("order.completed"), &found));
  assert_true(str_equal(found.name, STR("x")));
  assert_false(record_timer_cancelled_by(&record, STR("order"), &found));
  assert_false(record_timer_cancelled_by(&record, STR(""), &found));
  full.timer.data = STR("\x93\x01");
  assert_int_equal(record_apply(&record, &full, MAX, NULL), ERROR_INVALID);
  assert_stored(&record);
  buf_deinit(&aside);
  record_deinit(&copy);
  record_deinit(&record);
}

static void test_windows(void **state) {
  (void)state;
  struct record record;
  record_init(&record);
  must(&record, count(1, 0, T));
  must(&record, count(1, 0, T + 1));
  must(&record, count(2, 77, T));
  must(&record, count(2, 78, T + 2));
  must(&record, count(2, 77, T + 3));
  must(&record, count(1, 0, T + 4));
  assert_true(count_at(&record, 1, 0, T + 4) == 3);
  assert_true(count_at(&record, 2, 77, T + 4) == 2 && count_at(&record, 2, 78, T + 4) == 1);
  assert_true(count_at(&record, 2, 79, T + 4) == 0 && count_at(&record, 2, 0, T + 4) == 0);
  assert_true(count_at(&record, 3, 0, T + 4) == 0);
  struct effect last = {
      .type = EFFECT_WINDOW,
      .window = {.id = 4, .kind = WINDOW_LAST, .over = 1000, .at = T, .value = STR("\xa2sk")}};
  must(&record, last);
  struct window_declaration declaration = {.id = 4, .kind = WINDOW_LAST, .over = 1000};
  assert_true(str_equal(record_window(&record, &declaration, 0, T).value, STR("\xa2sk")));
  assert_int_equal(record_window(&record, &declaration, 0, T + 1000).value.len, 0);
  // Of the same id but another length, it goes by the length that the record has.
  struct effect other = count(1, 0, T + 5);
  other.window.over = 1;
  for (int i = 0; i < 70; i++) must(&record, other);
  other = count(2, 77, T + 5);
  other.window.over = 1;
  must(&record, other);
  assert_true(count_at(&record, 1, 0, T + 5) == 73 && count_at(&record, 2, 77, T + 5) == 3);
  char big[400] = "\xda\x01\x10";
  last.window.value = (struct str){big, 3 + 0x110};
  assert_int_equal(record_apply(&record, &last, MAX, NULL), ERROR_INVALID);
  last.window.value = STR("\xa2s");
  assert_int_equal(record_apply(&record, &last, MAX, NULL), ERROR_INVALID);
  last.window.kind = 0;
  assert_int_equal(record_apply(&record, &last, MAX, NULL), ERROR_INVALID);
  assert_stored(&record);
  record_deinit(&record);
}

static void test_eviction(void **state) {
  (void)state;
  struct record record;
  record_init(&record);
  for (uint64_t key = 1; key <= 128; key++) must(&record, count(9, key, T + (int64_t)key));
  must(&record, count(9, 1, T + 1000)); // now key 2 is the least recent
  assert_int_equal(record_window_evicted(&record, 9), 0);
  must(&record, count(9, 500, T + 1001));
  assert_int_equal(record_window_evicted(&record, 9), 1);
  assert_true(count_at(&record, 9, 2, T + 1001) == 0 && count_at(&record, 9, 3, T + 1001) == 1);
  assert_true(count_at(&record, 9, 1, T + 1001) == 2 && count_at(&record, 9, 500, T + 1001) == 1);
  // A late event's key gets in too, at the cost of the least recent.
  must(&record, count(9, 501, T));
  assert_int_equal(record_window_evicted(&record, 9), 2);
  assert_true(count_at(&record, 9, 501, T) == 1 && count_at(&record, 9, 3, T + 1001) == 0);
  // Keys that have left the window are no loss.
  for (uint64_t key = 1000; key < 1300; key++) must(&record, count(9, key, T + 10000000 + (int64_t)key));
  assert_int_equal(record_window_evicted(&record, 9), 2 + 172);
  assert_int_equal(record_window_evicted(&record, 10), 0);
  assert_stored(&record);

  // Against a model: the same keys stay, whatever comes.
  struct {
    uint64_t key;
    int64_t newest;
  } model[WINDOW_KEYS_MAX];
  unsigned keys = 0;
  seed = 5;
  record.bytes.len = 0;
  for (int i = 0; i < 3000; i++) {
    uint64_t key = (uint64_t)between(1, 300);
    int64_t at = T + i * 10 - between(0, 3000);
    must(&record, count(8, key, at));
    unsigned place = 0, oldest = 0;
    while (place < keys && model[place].key != key) place++;
    if (place == WINDOW_KEYS_MAX) {
      for (unsigned k = 1; k < keys; k++)
        if (model[k].newest < model[oldest].newest) oldest = k;
      memmove(&model[oldest], &model[oldest + 1], (keys - oldest - 1) * sizeof model[0]);
      place = --keys;
    }
    if (place == keys) {
      model[keys].key = key;
      model[keys++].newest = at;
    }
    if (at > model[place].newest) model[place].newest = at;
    if (i % 50) continue;
    for (unsigned k = 0; k < keys; k++) assert_true(count_at(&record, 8, model[k].key, model[k].newest) >= 1);
  }
  assert_int_equal(keys, WINDOW_KEYS_MAX);
  record_deinit(&record);
}

static void test_limit_is_named(void **state) {
  (void)state;
  struct record record;
  struct error err = {0};
  record_init(&record);
  struct effect effect = attribute("favourite", STR("\xa4long"));
  assert_int_equal(record_apply(&record, &effect, 16, &err), ERROR_LIMIT);
  assert_non_null(strstr(err.message, "\"favourite\""));
  assert_non_null(strstr(err.message, "16"));
  assert_int_equal(record_apply(&record, &effect, 17, &err), 0);
  // At the bound, what does not grow still goes.
  effect = attribute("favourite", STR("\xa4tiny"));
  assert_int_equal(record_apply(&record, &effect, 3, &err), 0);
  effect = timer("cart", "remind", T);
  assert_int_equal(record_apply(&record, &effect, 20, &err), ERROR_LIMIT);
  assert_non_null(strstr(err.message, "cart/remind"));
  effect = count(0xabcdef, 0, T);
  assert_int_equal(record_apply(&record, &effect, 20, &err), ERROR_LIMIT);
  assert_non_null(strstr(err.message, "0000000000abcdef"));
  // Not about the record.
  effect = (struct effect){.type = EFFECT_DEAD_CLEAR};
  assert_int_equal(record_apply(&record, &effect, 1, &err), 0);
  assert_int_equal(record.bytes.len, 17);
  record_deinit(&record);
}

static void test_tidy(void **state) {
  (void)state;
  struct record record;
  record_init(&record);
  must(&record, attribute("plan", STR("\x01")));
  must(&record, count(1, 0, T));
  must(&record, count(2, 0, T + 600000));
  for (uint64_t key = 1; key <= 40; key++) must(&record, count(3, key, T + (int64_t)key * 20000));
  must(&record, count(4, 1, T));
  must(&record, (struct effect){.type = EFFECT_ONCE, .once = {1, T + 600000}});
  must(&record, (struct effect){.type = EFFECT_ONCE, .once = {2, T + 600001}});
  must(&record, (struct effect){.type = EFFECT_THROTTLE, .throttle = {1, (T + 600000) * 1000}});
  must(&record, (struct effect){.type = EFFECT_THROTTLE, .throttle = {2, (T + 600000) * 1000 + 1}});
  must(&record, timer("a", "overdue", T));
  struct buf before = {0};
  record_save(&record, &before);
  record_tidy(&record, T - 1);
  assert_true(str_equal(buf_str(&record.bytes), buf_str(&before)));
  record_tidy(&record, T + 600000);
  assert_json(&record, "{\"seq\":0,\"bytes\":%zu,\"attributes\":{\"plan\":1},\"windows\":["
                       "{\"id\":\"0000000000000002\",\"kind\":\"count\",\"over_ms\":600000,\"entries\":1,"
                       "\"basis\":\"exact\",\"newest\":1760000600000},"
                       "{\"id\":\"0000000000000003\",\"kind\":\"count\",\"over_ms\":600000,\"entries\":40,"
                       "\"basis\":\"exact\",\"newest\":1760000800000,\"keys\":40,\"evicted\":0}],"
                       "\"once\":1,\"throttles\":{\"0000000000000002\":1760000600000001},"
                       "\"timers\":[{\"campaign\":\"a\",\"name\":\"overdue\",\"due\":1760000000000,"
                       "\"set_at\":1760000000000,\"late\":\"fire\"}],\"suppressions\":[],\"consents\":[],"
                       "\"counted\":{},\"segments\":{},\"experiments\":[],\"journeys\":[]}");
  assert_stored(&record);
  // Questions as of now are answered as before.
  record_tidy(&record, T + 1000000);
  for (uint64_t key = 1; key <= 40; key++) assert_true(count_at(&record, 3, key, T + 1000000) == (key > 20));
  assert_true(count_at(&record, 2, 0, T + 1000000) == 1);
  assert_stored(&record);
  record_tidy(&record, INT64_MAX);
  assert_true(count_at(&record, 3, 40, T + 1000000) == 0);
  assert_stored(&record);
  struct str value;
  struct timer found;
  assert_true(record_attribute(&record, STR("plan"), &value) && record_timer_next(&record, &found));
  buf_deinit(&before);
  record_deinit(&record);
}

static void test_describe(void **state) {
  (void)state;
  struct record record;
  record_init(&record);
  record.seq = 12;
  assert_json(&record,
              "{\"seq\":12,\"bytes\":%zu,\"attributes\":{},\"windows\":[],\"once\":0,\"throttles\":{},"
              "\"timers\":[],\"suppressions\":[],\"consents\":[],\"counted\":{},\"segments\":{},"
              "\"experiments\":[],\"journeys\":[]}");
  must(&record, attribute("name", STR("\xa3"
                                      "Ada")));
  for (int i = 0; i < 70; i++) must(&record, count(1, 0, T));
  struct effect effect = timer("cart", "remind", T + 5);
  effect.timer.data = STR("\x81\xa1k\x01");
  effect.timer.cancel_on = STR("order.completed");
  effect.timer.late = TIMER_LATE_SKIP;
  effect.timer.late_after = 9;
  must(&record, effect);
  must(&record, (struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("email"), STR("bounced"), T}});
  assert_json(&record,
              "{\"seq\":12,\"bytes\":%zu,\"attributes\":{\"name\":\"Ada\"},\"windows\":["
              "{\"id\":\"0000000000000001\",\"kind\":\"count\",\"over_ms\":600000,\"entries\":0,"
              "\"basis\":\"buckets\",\"newest\":1760000000000}],\"once\":0,\"throttles\":{},"
              "\"timers\":[{\"campaign\":\"cart\",\"name\":\"remind\",\"due\":1760000000005,"
              "\"set_at\":1760000000000,\"late\":\"skip\",\"late_after\":9,"
              "\"cancel_on\":\"order.completed\",\"data\":{\"k\":1}}],"
              "\"suppressions\":[{\"channel\":\"email\",\"reason\":\"bounced\",\"at\":1760000000000}"
              "],\"consents\":[],\"counted\":{},\"segments\":{},\"experiments\":[],\"journeys\":[]}");
  record_deinit(&record);
}

/** A million users must fit: three windows of five entries each, with a profile, in well under half a KB. */
static void test_size(void **state) {
  (void)state;
  struct record record;
  record_init(&record);
  for (uint64_t id = 1; id <= 3; id++)
    for (int i = 0; i < 5; i++) must(&record, count(id << 60, id == 3 ? 5 : 0, T + i * 97531));
  assert_in_range(record.bytes.len, 60, 130);
  must(&record, attribute("first_name", STR("\xa3"
                                            "Ada")));
  must(&record, attribute("email", STR("\xaf"
                                       "ada@example.org")));
  assert_in_range(record.bytes.cap, 60, 200);
  record_deinit(&record);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_attributes),     cmocka_unit_test(test_once_and_throttle),
      cmocka_unit_test(test_suppression),    cmocka_unit_test(test_timers),
      cmocka_unit_test(test_windows),        cmocka_unit_test(test_eviction),
      cmocka_unit_test(test_limit_is_named), cmocka_unit_test(test_tidy),
      cmocka_unit_test(test_describe),       cmocka_unit_test(test_size),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
