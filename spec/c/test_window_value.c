// links: base event state
/* LAST and FIRST windows against a model that keeps everything. */
#include "base/memory.h"
#include "event/value.h"
#include "random.h"
#include "state/window.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

/** The value of entry i is the number i. */
struct fixture {
  enum window_kind kind;
  int64_t over;
  struct buf state, next;
  int64_t times[3000];
  int count;
  int64_t newest;
};

static struct fixture *fixture_new(enum window_kind kind, int64_t over) {
  struct fixture *f = memory_zalloc(sizeof *f);
  f->kind = kind;
  f->over = over;
  return f;
}

static void fixture_free(struct fixture *f) {
  buf_deinit(&f->state);
  buf_deinit(&f->next);
  memory_free(f);
}

static void add(struct fixture *f, int64_t at) {
  struct buf value = {0};
  value_put_integer(&value, f->count);
  struct window_entry entry = {.kind = f->kind, .over = f->over, .at = at, .value = buf_str(&value)};
  window_state_add(buf_str(&f->state), &entry, &f->next);
  buf_clear(&f->state);
  buf_append(&f->state, f->next.data, f->next.len);
  buf_deinit(&value);
  assert_true(window_state_valid(buf_str(&f->state), f->over));
  if (f->count == 0 || at > f->newest) f->newest = at;
  f->times[f->count++] = at;
  assert_int_equal(window_state_newest(buf_str(&f->state)), f->newest);
}

static struct window_answer ask(const struct fixture *f, int64_t now) {
  return window_state_ask(buf_str(&f->state), f->kind, f->over, now);
}

/** Which entry an answer is; -1 none. */
static int entry_of(struct window_answer answer) {
  return answer.value.len ? (int)value_head(answer.value).integer : -1;
}

/** The entry that truly is the answer; -1 none. */
static int model_entry(const struct fixture *f, int64_t now) {
  int best = -1;
  for (int i = 0; i < f->count; i++) {
    int64_t at = f->times[i];
    if (at > now || at <= now - f->over) continue;
    if (best < 0 || (f->kind == WINDOW_LAST ? at >= f->times[best] : at < f->times[best])) best = i;
  }
  return best;
}

static void check(const struct fixture *f, int64_t now) {
  struct window_answer answer = ask(f, now);
  int truth = model_entry(f, now), said = entry_of(answer);
  assert_true(answer.next_change > now);
  if (answer.exact) assert_int_equal(said, truth);
  if (f->kind == WINDOW_LAST && now >= f->newest) assert_true(answer.exact);
  if (f->kind == WINDOW_FIRST && now >= f->newest && !answer.exact) {
    int64_t width = (f->over + 59) / 60;
    // Off at all, it passed over the rest of the bucket that `now - L` falls into, and nothing else.
    if (said != truth) {
      assert_true(truth >= 0);
      int64_t after = now - f->over, bucket = after / width - (after % width < 0);
      int64_t bucket_end = (bucket + 1) * width;
      assert_true(f->times[truth] < bucket_end && (said < 0 || f->times[said] >= f->times[truth]));
      for (int i = 0; i < f->count; i++)
        assert_false(f->times[i] >= bucket_end && f->times[i] <= now &&
                     (said < 0 || f->times[i] < f->times[said]));
    }
  }
  int64_t last = answer.next_change == INT64_MAX ? now + 3 * f->over : answer.next_change - 1;
  assert_int_equal(entry_of(ask(f, last)), said);
  assert_int_equal(entry_of(ask(f, now + between(0, last - now))), said);
  if (answer.exact && now >= f->newest && answer.next_change < INT64_MAX)
    assert_int_not_equal(entry_of(ask(f, answer.next_change)), said);
}

static void random_histories(enum window_kind kind) {
  static const int64_t lengths[] = {1, 7, 61, 1000, 600000, 604800000};
  unsigned inexact = 0, late_exact = 0, late = 0, back = 0;
  for (unsigned round = 0; round < 300; round++) {
    seed = round * 2 + 1;
    struct fixture *f = fixture_new(kind, lengths[round % 6]);
    int64_t clock = round % 5 == 0 ? -f->over * 3 : between(0, INT64_C(2000000000000));
    int64_t pace = f->over / between(1, 200) + 1;
    int steps = (int)between(1, 400);
    bool before = true;
    for (int i = 0; i < steps; i++) {
      if (between(0, 120) == 0) pace = f->over / between(1, 300) + 1;
      clock += between(0, 3) == 0 ? 0 : between(0, 2 * pace);
      if (between(0, 80) == 0) clock += between(0, 2 * f->over);
      int64_t at = between(0, 5) == 0 ? clock - between(0, between(0, 2 * f->over)) : clock;
      add(f, at);
      check(f, at);
      if (at < f->newest) late++, late_exact += ask(f, at).exact;
      bool exact = ask(f, clock).exact;
      if (!exact) inexact++;
      if (exact && !before) back++;
      before = exact;
      check(f, clock);
      check(f, clock + between(0, 2 * f->over));
      check(f, clock - between(0, 2 * f->over));
      check(f, clock + f->over);
      check(f, clock + f->over - 1);
    }
    fixture_free(f);
  }
  assert_true(late > 1000 && late_exact > 500);
  if (kind == WINDOW_FIRST) assert_true(inexact > 500 && back > 20);
}

static void test_last_histories(void **state) {
  (void)state;
  random_histories(WINDOW_LAST);
}

static void test_first_histories(void **state) {
  (void)state;
  random_histories(WINDOW_FIRST);
}

static void test_ties(void **state) {
  (void)state;
  struct fixture *last = fixture_new(WINDOW_LAST, 1000), *first = fixture_new(WINDOW_FIRST, 1000);
  static const int64_t times[] = {5000, 5000, 5000, 4500, 4500};
  for (int i = 0; i < 5; i++) {
    add(last, times[i]);
    add(first, times[i]);
  }
  assert_int_equal(entry_of(ask(last, 5000)), 2);
  assert_int_equal(entry_of(ask(last, 4999)), 4);
  assert_int_equal(entry_of(ask(first, 5000)), 3);
  assert_int_equal(entry_of(ask(first, 5500)), 0);
  assert_int_equal(entry_of(ask(first, 6000)), -1);
  assert_int_equal(entry_of(ask(last, 4499)), -1);
  fixture_free(last);
  fixture_free(first);
}

static void test_last_before_what_is_kept(void **state) {
  (void)state;
  struct fixture *f = fixture_new(WINDOW_LAST, 1000000);
  for (int i = 0; i < 20; i++) add(f, 1000 * i);
  // Eight are kept, from the 13th on.
  assert_true(ask(f, 12000).exact);
  assert_int_equal(entry_of(ask(f, 12000)), 12);
  assert_false(ask(f, 11999).exact);
  assert_int_equal(entry_of(ask(f, 11999)), 12);
  add(f, 11500); // older than all that is kept: what came between may be gone
  assert_false(ask(f, 11999).exact);
  assert_int_equal(entry_of(ask(f, 19000)), 19);
  // When the older ones have left, a late one is told exactly again.
  add(f, 1018500);
  add(f, 1018400);
  assert_true(ask(f, 1018450).exact);
  assert_int_equal(entry_of(ask(f, 1018450)), 22);
  fixture_free(f);
}

static void test_bounds(void **state) {
  (void)state;
  char text[WINDOW_VALUE_MAX];
  struct buf value = {0}, now = {0}, next = {0};
  memset(text, 'x', sizeof text);
  value_put_string(&value, (struct str){text, WINDOW_VALUE_MAX - 2});
  assert_int_equal(value.len, WINDOW_VALUE_MAX);
  for (int kind = WINDOW_LAST; kind <= WINDOW_FIRST; kind++) {
    buf_clear(&now);
    for (int i = 0; i < 300; i++) {
      struct window_entry entry = {.kind = (enum window_kind)kind,
                                   .over = INT64_MAX,
                                   .at = i % 2 ? INT64_MIN + i : INT64_MAX - i,
                                   .value = buf_str(&value)};
      window_state_add(buf_str(&now), &entry, &next);
      buf_clear(&now);
      buf_append(&now, next.data, next.len);
      assert_true(window_state_valid(buf_str(&now), WINDOW_TIME_MAX));
      assert_in_range(now.len, 1, kind == WINDOW_LAST ? 2200 : WINDOW_STATE_MAX);
    }
  }
  buf_deinit(&value);
  buf_deinit(&now);
  buf_deinit(&next);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_ties),           cmocka_unit_test(test_last_before_what_is_kept),
      cmocka_unit_test(test_last_histories), cmocka_unit_test(test_first_histories),
      cmocka_unit_test(test_bounds),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
