// links: base event state
/* Records as recovery needs them: the same from the same effects, whole or refused, safe whatever the bytes.
 */
#include "base/memory.h"
#include "event/value.h"
#include "random.h"
#include "state/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "record_fixture.h"

static struct effect random_effect(void) {
  static const char *const names[] = {"plan", "first_name", "city", "a", "b", "ltv"};
  static const struct str values[] = {{"\x01", 1},
                                      {"\xa3"
                                       "Ada",
                                       4},
                                      {"\xc0", 1},
                                      {"\xcd\x10\x00", 3},
                                      {"\x92\xa1x\xa1y", 5}};
  static const char *const campaigns[] = {"cart", "welcome", "win_back"};
  static char text[] =
      "\xd9\xf0................................................................................"
      "................................................................................"
      "................................................................................";
  int64_t now = T + between(0, 5000000);
  switch (between(0, 11)) {
  case 0:
    return attribute(names[between(0, 5)], between(0, 5) ? values[between(0, 4)] : (struct str){text, 242});
  case 1:
    return (struct effect){.type = EFFECT_THROTTLE,
                           .throttle = {(uint64_t)between(1, 4), between(0, 3) ? now * 1000 : 0}};
  case 2:
    return (struct effect){.type = EFFECT_ONCE, .once = {(uint64_t)between(1, 20), between(0, 3) ? now : 0}};
  case 3: {
    struct effect effect = timer(campaigns[between(0, 2)], names[between(0, 5)], now);
    effect.timer.data = between(0, 1) ? values[between(0, 4)] : STR("");
    return effect;
  }
  case 4:
    return (struct effect){.type = EFFECT_TIMER_CLEAR,
                           .timer = {.campaign = str_from(campaigns[between(0, 2)]),
                                     .name = str_from(names[between(0, 5)]),
                                     .cancel_on = STR(""),
                                     .data = STR("")}};
  case 5:
    return (struct effect){.type = between(0, 1) ? EFFECT_SUPPRESS : EFFECT_UNSUPPRESS,
                           .suppress = {between(0, 1) ? STR("email") : STR("*"), STR("bounced"), now}};
  case 6:
    return (struct effect){.type = EFFECT_CONSENT,
                           .consent = {between(0, 1) ? STR("newsletter") : STR("marketing"),
                                       between(0, 1) ? STR("email") : STR("*"), between(0, 1), now,
                                       STR("event")}};
  case 7:
    return (struct effect){.type = EFFECT_COUNT_SEND,
                           .counted = {between(0, 1) ? STR("marketing") : STR("*"),
                                       T + between(0, 3) * 1000000, now, between(0, 2) * 1000000}};
  default: {
    int kind = (int)between(1, 5);
    bool valued = kind == WINDOW_LAST || kind == WINDOW_FIRST;
    return (struct effect){.type = EFFECT_WINDOW,
                           .window = {.id = (uint64_t)(kind * 10 + between(0, 1)),
                                      .kind = (enum window_kind)kind,
                                      .over = kind % 2 ? 600000 : 60001,
                                      .at = now,
                                      .amount = (int64_t)next_random() >> between(0, 60),
                                      .key = between(0, 1) ? (uint64_t)between(1, 200) : 0,
                                      .value = valued ? values[between(0, 4)] : STR("")}};
  }
  }
}

/** What recovery relies on: the list, stored and read back, makes the same bytes; what is refused changes
 * nothing. */
static void test_determinism_and_limits(void **state) {
  (void)state;
  unsigned refused = 0;
  for (unsigned round = 0; round < 40; round++) {
    seed = round + 1;
    struct record record, twin;
    struct buf log = {0}, aside = {0};
    record_init(&record);
    record_init(&twin);
    size_t max = round % 2 ? (size_t)between(50, 4000) : MAX;
    for (int i = 0; i < 1500; i++) {
      struct effect effect = random_effect();
      struct error err = {0};
      record_save(&record, &aside);
      int rc = record_apply(&record, &effect, max, &err);
      if (rc != 0) {
        refused++;
        assert_int_equal(rc, ERROR_LIMIT);
        assert_true(err.message[0] != 0);
        assert_true(str_equal(buf_str(&record.bytes), buf_str(&aside)));
        continue;
      }
      assert_true(record.bytes.len <= max);
      effect_encode(&effect, &log);
      if (i % 97 == 0) {
        record.seq = (uint64_t)i;
        assert_stored(&record);
      }
      if (i % 31 == 0) { // a rule that fails
        record_save(&record, &aside);
        for (int n = 0; n < 5; n++) {
          effect = random_effect();
          record_apply(&record, &effect, max, NULL);
        }
        record_restore(&record, &aside);
      }
    }
    struct reader reader = reader_of(buf_str(&log));
    while (reader_left(&reader) > 0) {
      struct effect effect;
      assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
      assert_int_equal(record_apply(&twin, &effect, SIZE_MAX, NULL), 0);
    }
    assert_true(str_equal(buf_str(&record.bytes), buf_str(&twin.bytes)));
    struct buf description = {0};
    record_describe(&record, &description);
    assert_true(value_valid(buf_str(&description)));
    buf_deinit(&description);
    record_deinit(&record);
    record_deinit(&twin);
    buf_deinit(&log);
    buf_deinit(&aside);
  }
  assert_true(refused > 1000);
}

static void test_stored_form(void **state) {
  (void)state;
  struct record record;
  struct error err = {0};
  record_init(&record);
  must(&record, attribute("plan", STR("\x01")));
  record.seq = 300;
  struct buf stored = {0};
  record_encode(&record, &stored);
  stored.data[0] = 1; // what was written before there were consents
  assert_int_equal(record_decode(&record, buf_str(&stored), &err), 0);
  stored.data[0] = 6;
  assert_int_equal(record_decode(&record, buf_str(&stored), &err), ERROR_VERSION);
  assert_non_null(strstr(err.message, "format 6"));
  stored.data[0] = 0;
  assert_int_equal(record_decode(&record, buf_str(&stored), &err), ERROR_CORRUPT);
  assert_int_equal(record_decode(&record, STR(""), &err), ERROR_CORRUPT);
  assert_int_equal(record.seq, 300); // as it was
  struct str value;
  assert_true(record_attribute(&record, STR("plan"), &value));
  stored.data[0] = 1;
  stored.data[3] = 99; // no such entry
  assert_int_equal(record_decode(&record, buf_str(&stored), &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "99"));
  assert_int_equal(record_decode(&record, STR("\x01\x00"), &err), 0);
  assert_true(record.bytes.len == 0 && record.seq == 0);
  buf_deinit(&stored);
  record_deinit(&record);
}

/** Everything that can be asked of a record. */
static void ask_everything(struct record *record) {
  struct str value;
  struct timer found;
  struct suppression suppression;
  record_attribute(record, STR("plan"), &value);
  record_once(record, 3, T, NULL);
  record_throttle(record, 3);
  record_suppressed(record, STR("email"), &suppression);
  record_timer_next(record, &found);
  record_timer(record, STR("cart"), STR("a"), &found);
  for (int kind = 1; kind <= 5; kind++) {
    for (int n = 0; n < 2; n++) {
      struct window_declaration declaration = {
          .id = (uint64_t)(kind * 10 + n), .kind = (enum window_kind)kind, .over = 600000};
      record_window(record, &declaration, 0, T + 2000000);
      record_window(record, &declaration, 7, T + 2000000);
      record_window_evicted(record, declaration.id);
    }
  }
  struct buf description = {0};
  record_describe(record, &description);
  assert_true(value_valid(buf_str(&description)));
  buf_deinit(&description);
}

static void test_garbage(void **state) {
  (void)state;
  unsigned refused = 0, taken = 0;
  for (unsigned round = 0; round < 20; round++) {
    seed = round + 100;
    struct record record;
    struct buf stored = {0};
    record_init(&record);
    int effects = (int)between(1, 300);
    for (int i = 0; i < effects; i++) {
      struct effect effect = random_effect();
      record_apply(&record, &effect, round % 2 ? 400 : 8000, NULL);
    }
    record_encode(&record, &stored);
    for (int i = 0; i < 400; i++) {
      size_t len = i % 2 ? stored.len : (size_t)between(0, (int64_t)stored.len);
      char *bad = memory_alloc(len);
      memcpy(bad, stored.data, len);
      for (int64_t flips = between(0, 2); flips > 0 && len > 0; flips--)
        bad[between(0, (int64_t)len - 1)] ^= (char)(1 << between(0, 7));
      struct record copy;
      record_init(&copy);
      if (record_decode(&copy, (struct str){bad, len}, NULL) == 0) {
        taken++;
        ask_everything(&copy);
        for (int n = 0; n < 10; n++) {
          struct effect effect = random_effect();
          record_apply(&copy, &effect, MAX, NULL);
        }
        assert_stored(&copy);
        record_tidy(&copy, T + between(0, 5000000));
        ask_everything(&copy);
        assert_stored(&copy);
      } else {
        refused++;
      }
      record_deinit(&copy);
      memory_free(bad);
    }
    record_deinit(&record);
    buf_deinit(&stored);
  }
  assert_true(refused > 1000 && taken > 500);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_determinism_and_limits),
      cmocka_unit_test(test_stored_form),
      cmocka_unit_test(test_garbage),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
