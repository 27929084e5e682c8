// links: base event state
/* A window that began to count late and was then filled from the log, against one that counted all along. */
#include "base/hash.h"
#include "base/memory.h"
#include "event/value.h"
#include "random.h"
#include "state/record.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { OVER = 600000, EVENTS_MAX = 400 };

struct fact {
  int64_t at;
  unsigned value;
};

static void put(struct buf *state, enum window_kind kind, struct fact fact) {
  struct buf value, next;
  buf_init(&value);
  buf_init(&next);
  value_put_integer(&value, fact.value);
  struct window_entry entry = {.kind = kind, .over = OVER, .at = fact.at, .amount = 1, .value = STR("")};
  if (kind == WINDOW_SUM) entry.amount = (int64_t)fact.value * 1000000;
  if (kind == WINDOW_DISTINCT) entry.amount = (int64_t)hash64(buf_str(&value), 0);
  if (kind == WINDOW_LAST || kind == WINDOW_FIRST) entry.value = buf_str(&value);
  window_state_add(buf_str(state), &entry, &next);
  buf_deinit(&value);
  buf_deinit(state);
  *state = next;
}

/** `count` events, at first rising times with a few that come late; the window fills up from `split` on. */
static unsigned history(struct fact *facts, unsigned count, int64_t span, unsigned values) {
  for (unsigned i = 0; i < count; i++) {
    facts[i].at = 1000000 + span * i / count;
    if (between(0, 9) == 0) facts[i].at -= between(0, OVER / 3);
    facts[i].value = (unsigned)between(1, values);
  }
  return count;
}

static void fill(enum window_kind kind, const struct fact *facts, unsigned split, unsigned count,
                 struct buf *filled) {
  struct buf logged, live;
  buf_init(&logged);
  buf_init(&live);
  for (unsigned i = 0; i < split; i++) put(&logged, kind, facts[i]);
  for (unsigned i = split; i < count; i++) put(&live, kind, facts[i]);
  window_state_fill(buf_str(&logged), buf_str(&live), kind, OVER, filled);
  assert_true(window_state_valid(buf_str(filled), OVER));
  assert_true(window_state_filled(buf_str(filled)));
  assert_false(live.len && window_state_filled(buf_str(&live)));
  buf_deinit(&logged);
  buf_deinit(&live);
}

/** While everything is kept one by one it is the same, byte for byte but for the mark, and answer for answer.
 */
static void test_exact(void **context) {
  (void)context;
  struct fact facts[EVENTS_MAX];
  for (int round = 0; round < 3000; round++) {
    seed = (uint64_t)round;
    enum window_kind kind = WINDOW_COUNT + round % 5;
    unsigned count = history(facts, (unsigned)between(1, 60), between(1, 3 * OVER), 8);
    unsigned split = (unsigned)between(0, count);
    struct buf all, filled;
    buf_init(&all);
    buf_init(&filled);
    for (unsigned i = 0; i < count; i++) put(&all, kind, facts[i]);
    fill(kind, facts, split, count, &filled);
    int64_t newest = window_state_newest(buf_str(&all));
    assert_true(newest == window_state_newest(buf_str(&filled)));
    for (int64_t now = newest; now < newest + OVER; now += OVER / 7) {
      struct window_answer a = window_state_ask(buf_str(&all), kind, OVER, now);
      struct window_answer b = window_state_ask(buf_str(&filled), kind, OVER, now);
      if (a.number != b.number || !str_equal(a.value, b.value) || a.exact != b.exact ||
          a.next_change != b.next_change)
        fail_msg("round %d, kind %d, %u of %u: %g and %g at %lld", round, kind, split, count, a.number,
                 b.number, (long long)now);
    }
    buf_deinit(&all);
    buf_deinit(&filled);
  }
}

/** Past 64 entries both are in buckets, and err by one bucket at most. */
static void test_buckets(void **context) {
  (void)context;
  struct fact facts[EVENTS_MAX];
  for (int round = 0; round < 600; round++) {
    seed = 77000 + (uint64_t)round;
    enum window_kind kind = round % 2 ? WINDOW_COUNT : WINDOW_SUM;
    unsigned count = history(facts, (unsigned)between(100, EVENTS_MAX), between(1000, 2 * OVER), 5);
    unsigned split = (unsigned)between(0, count);
    struct buf filled;
    buf_init(&filled);
    fill(kind, facts, split, count, &filled);
    int64_t newest = window_state_newest(buf_str(&filled));
    for (int64_t now = newest; now < newest + OVER; now += OVER / 9) {
      double low = 0, high = 0, step = OVER / 60.0;
      for (unsigned i = 0; i < count; i++) {
        double amount = kind == WINDOW_SUM ? facts[i].value : 1;
        if (facts[i].at > now) continue;
        if ((double)facts[i].at > (double)(now - OVER) + step) low += amount;
        if ((double)facts[i].at > (double)(now - OVER) - step) high += amount;
      }
      double answer = window_state_ask(buf_str(&filled), kind, OVER, now).number;
      if (answer < low || answer > high)
        fail_msg("round %d, %u of %u: %g is not within %g and %g", round, split, count, answer, low, high);
    }
    buf_deinit(&filled);
  }
}

/** The sketch of both halves is the sketch of all. */
static void test_distinct_estimate(void **context) {
  (void)context;
  struct fact facts[EVENTS_MAX];
  for (int round = 0; round < 60; round++) {
    seed = 990000 + (uint64_t)round;
    unsigned count = history(facts, EVENTS_MAX, OVER / 2, 100000);
    struct buf all, filled;
    buf_init(&all);
    buf_init(&filled);
    for (unsigned i = 0; i < count; i++) put(&all, WINDOW_DISTINCT, facts[i]);
    unsigned split = (unsigned)between(80, 320);
    fill(WINDOW_DISTINCT, facts, split, count, &filled);
    int64_t newest = window_state_newest(buf_str(&all));
    double a = window_state_ask(buf_str(&all), WINDOW_DISTINCT, OVER, newest).number;
    double b = window_state_ask(buf_str(&filled), WINDOW_DISTINCT, OVER, newest).number;
    assert_true(fabs(a - b) <= 0.02 * a);
    buf_deinit(&all);
    buf_deinit(&filled);
  }
}

/** What is filled goes on counting, and stays marked. */
static void test_goes_on(void **context) {
  (void)context;
  struct fact facts[] = {{1000, 1}, {2000, 2}, {3000, 3}};
  struct buf filled;
  buf_init(&filled);
  fill(WINDOW_COUNT, facts, 2, 2, &filled);
  put(&filled, WINDOW_COUNT, facts[2]);
  assert_true(window_state_ask(buf_str(&filled), WINDOW_COUNT, OVER, 3000).number == 3);
  assert_true(window_state_filled(buf_str(&filled)));
  buf_deinit(&filled);
}

/** An effect puts a whole state: again and again it is the same. */
static void test_record(void **context) {
  (void)context;
  struct fact facts[] = {{1000, 1}, {2000, 2}};
  struct buf filled;
  struct record record;
  struct error err;
  buf_init(&filled);
  record_init(&record);
  fill(WINDOW_COUNT, facts, 2, 2, &filled);
  for (uint64_t key = 0; key < 3; key++) {
    struct effect effect = {.type = EFFECT_WINDOW_STATE, .held = {7, key, OVER, buf_str(&filled)}};
    size_t len = 0;
    for (int times = 0; times < 3; times++) {
      assert_int_equal(record_apply(&record, &effect, 1000, &err), 0);
      assert_true(times == 0 || record.bytes.len == len);
      len = record.bytes.len;
    }
    struct window_declaration window = {.id = 7, .kind = WINDOW_COUNT, .over = OVER};
    assert_true(record_window(&record, &window, key, 2000).number == 2);
    assert_true(str_equal(record_window_state(&record, 7, key), buf_str(&filled)));
  }
  struct effect effect = {.type = EFFECT_WINDOW_STATE, .held = {8, 0, OVER, buf_str(&filled)}};
  assert_int_equal(record_apply(&record, &effect, record.bytes.len, &err), ERROR_LIMIT);
  effect.held.state.len--;
  assert_int_equal(record_apply(&record, &effect, 1000, &err), ERROR_INVALID);
  buf_deinit(&filled);
  record_deinit(&record);
}

/** The same declaration, declared anew after a gap, does not find what it left. */
static void test_begin(void **context) {
  (void)context;
  struct window_declaration window = {.kind = WINDOW_COUNT, .of = STR("a"), .by = STR(""), .value = STR("")};
  window.over = OVER;
  window_identify(&window);
  uint64_t first = window.id;
  assert_true(first == window.form && window.since == 0);
  window_begin(&window, 3);
  uint64_t third = window.id;
  assert_true(third != first && window.form == first);
  window_begin(&window, 4);
  assert_true(window.id != third && window.id != first);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_exact),
      cmocka_unit_test(test_buckets),
      cmocka_unit_test(test_distinct_estimate),
      cmocka_unit_test(test_goes_on),
      cmocka_unit_test(test_record),
      cmocka_unit_test(test_begin),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
