// links: base event state
/* DISTINCT windows: exact against a model, then the estimate against its stated error. */
#include "base/hash.h"
#include "base/memory.h"
#include "random.h"
#include "state/window.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static uint64_t hash_of(uint64_t value) {
  return hash64((struct str){(const char *)&value, sizeof value}, 0);
}

enum { VALUES = 400 };

struct fixture {
  int64_t over;
  struct buf state, next;
  struct {
    int64_t at;
    unsigned value;
  } facts[2000];
  int count;
  int64_t newest;
};

static struct fixture *fixture_new(int64_t over) {
  struct fixture *f = memory_zalloc(sizeof *f);
  f->over = over;
  return f;
}

static void fixture_free(struct fixture *f) {
  buf_deinit(&f->state);
  buf_deinit(&f->next);
  memory_free(f);
}

static void put(struct fixture *f, int64_t at, uint64_t hash) {
  struct window_entry entry = {.kind = WINDOW_DISTINCT, .over = f->over, .at = at, .amount = (int64_t)hash};
  window_state_add(buf_str(&f->state), &entry, &f->next);
  struct buf swap = f->state;
  f->state = f->next;
  f->next = swap;
}

static void add(struct fixture *f, int64_t at, unsigned value) {
  put(f, at, hash_of(value));
  assert_true(window_state_valid(buf_str(&f->state), f->over));
  if (f->count == 0 || at > f->newest) f->newest = at;
  f->facts[f->count].at = at;
  f->facts[f->count++].value = value;
}

static struct window_answer ask(const struct fixture *f, int64_t now) {
  return window_state_ask(buf_str(&f->state), WINDOW_DISTINCT, f->over, now);
}

static unsigned model_count(const struct fixture *f, int64_t now) {
  bool seen[VALUES] = {0};
  unsigned count = 0;
  for (int i = 0; i < f->count; i++) {
    if (f->facts[i].at > now || f->facts[i].at <= now - f->over || seen[f->facts[i].value]) continue;
    seen[f->facts[i].value] = true;
    count++;
  }
  return count;
}

static bool in_sketch(const struct fixture *f) {
  return window_state_summary(buf_str(&f->state)).buckets;
}

static void check(const struct fixture *f, int64_t now) {
  struct window_answer answer = ask(f, now);
  assert_true(answer.next_change > now);
  if (answer.exact) assert_true(answer.number == model_count(f, now));
  if (now >= f->newest && !in_sketch(f)) assert_true(answer.exact);
  int64_t last = answer.next_change == INT64_MAX ? now + 3 * f->over : answer.next_change - 1;
  assert_true(ask(f, last).number == answer.number);
  assert_true(ask(f, now + between(0, last - now)).number == answer.number);
  // As of the newest on, values only leave, each at a moment of its own.
  if (answer.exact && now >= f->newest && answer.next_change < INT64_MAX)
    assert_true(ask(f, answer.next_change).number < answer.number);
}

static void test_histories(void **state) {
  (void)state;
  static const int64_t lengths[] = {1, 61, 1000, 600000, 604800000};
  unsigned sketched = 0, back = 0, late = 0, late_exact = 0;
  for (unsigned round = 0; round < 300; round++) {
    seed = round * 2 + 1;
    struct fixture *f = fixture_new(lengths[round % 5]);
    int64_t clock = round % 5 == 0 ? -f->over * 3 : between(0, INT64_C(2000000000000));
    int64_t pace = f->over / between(1, 200) + 1;
    unsigned values = (unsigned)between(1, round % 3 ? VALUES : 40);
    int steps = (int)between(1, 400);
    for (int i = 0; i < steps; i++) {
      if (between(0, 120) == 0) pace = f->over / between(1, 300) + 1;
      clock += between(0, 3) == 0 ? 0 : between(0, 2 * pace);
      if (between(0, 80) == 0) clock += between(0, 2 * f->over);
      int64_t at = between(0, 5) == 0 ? clock - between(0, between(0, 2 * f->over)) : clock;
      bool before = in_sketch(f);
      add(f, at, (unsigned)between(0, values - 1));
      if (in_sketch(f)) sketched++;
      if (before && !in_sketch(f)) back++;
      check(f, at);
      if (at < f->newest) late++, late_exact += ask(f, at).exact;
      check(f, clock);
      check(f, clock + between(0, 2 * f->over));
      check(f, clock - between(0, 2 * f->over));
      check(f, clock + f->over);
      check(f, clock + f->over - 1);
    }
    fixture_free(f);
  }
  assert_true(sketched > 1000 && back > 10 && late > 1000 && late_exact > 500);
}

static void test_repeats(void **state) {
  (void)state;
  struct fixture *f = fixture_new(1000);
  for (int i = 0; i < 500; i++) add(f, 10000 + i, (unsigned)i % 3);
  assert_true(ask(f, 10499).exact && ask(f, 10499).number == 3);
  // Each stays until its last time has left.
  assert_true(ask(f, 11496).number == 3 && ask(f, 11497).number == 2 && ask(f, 11499).number == 0);
  assert_true(f->state.len < 50);
  fixture_free(f);
}

static void test_sixty_fifth(void **state) {
  (void)state;
  struct fixture *f = fixture_new(60000);
  for (unsigned i = 0; i < 64; i++) add(f, 1000000 + i, i);
  assert_true(ask(f, 1000063).exact && ask(f, 1000063).number == 64);
  add(f, 1000064, 64);
  assert_false(ask(f, 1000064).exact);
  assert_true(fabs(ask(f, 1000064).number - 65) < 20);
  add(f, 1050000, 1);
  add(f, 1050000, 2);
  assert_true(ask(f, 1060999).exact && ask(f, 1060999).number == 2);
  fixture_free(f);
}

/** The estimate of `values` distinct ones spread over the window, each seen twice. */
static double estimate_of(uint64_t round, unsigned values, size_t *bytes) {
  struct fixture *f = fixture_new(600000);
  int64_t start = 1760000000000 + (int64_t)(round * 7919);
  // What came before the window must not count.
  for (unsigned i = 0; i < values / 2; i++)
    put(f, start - 700000 + (int64_t)i * 50000 / values, hash_of(round << 32 | 1u << 31 | i));
  for (unsigned i = 0; i < 2 * values; i++)
    put(f, start + (int64_t)i * 570000 / (2 * values), hash_of(round << 32 | i % values));
  *bytes = f->state.len > *bytes ? f->state.len : *bytes;
  assert_true(window_state_valid(buf_str(&f->state), f->over));
  double number = ask(f, start + 570000).number;
  // Half the values have left when their second half of the time began L ago.
  assert_true(ask(f, start + 570000 + 600000).number == 0);
  fixture_free(f);
  return number;
}

static void test_error(void **state) {
  (void)state;
  static const struct {
    unsigned values, rounds;
  } cases[] = {{100, 300}, {300, 200}, {700, 150}, {2000, 60}, {10000, 16}};
  for (unsigned c = 0; c < sizeof cases / sizeof cases[0]; c++) {
    double bias = 0, square = 0;
    size_t bytes = 0;
    for (unsigned round = 0; round < cases[c].rounds; round++) {
      double error = estimate_of(round + 1, cases[c].values, &bytes) / cases[c].values - 1;
      bias += error / cases[c].rounds;
      square += error * error / cases[c].rounds;
      assert_true(fabs(error) < 5 * 0.065);
    }
    printf("%u values: bias %+.2f %%, standard error %.2f %%, at most %zu bytes\n", cases[c].values,
           bias * 100, sqrt(square) * 100, bytes);
    // Within what that many rounds tell of it.
    double rounds = cases[c].rounds;
    assert_true(fabs(bias) < 3.5 * 0.065 / sqrt(rounds));
    assert_true(sqrt(square) < 0.065 * (1 + 3 / sqrt(2 * rounds)));
    assert_in_range(bytes, 1, 4096);
  }
}

/** Values that leave are forgotten as the window slides. */
static void test_sliding(void **state) {
  (void)state;
  double square = 0;
  int samples = 0;
  for (uint64_t round = 0; round < 20; round++) {
    struct fixture *f = fixture_new(600000);
    for (unsigned i = 0; i < 5000; i++) {
      // A thousand a window, then a tenth of that.
      int64_t at = 1760000000000 + (i < 3000 ? (int64_t)i * 600 : 1800000 + ((int64_t)i - 3000) * 6000);
      put(f, at, hash_of(round << 32 | i));
      if (i == 2999 || i == 3400 || i == 4900) {
        double truth = i == 2999 ? 1000 : 100;
        double error = ask(f, at).number / truth - 1;
        square += error * error;
        samples++;
      }
    }
    fixture_free(f);
  }
  assert_true(sqrt(square / samples) < 0.075);
}

static void test_bound(void **state) {
  (void)state;
  // Hashes made to fill every register with as many maxima as there can be.
  struct fixture *f = fixture_new(600000);
  size_t most = 0;
  for (int bucket = 0; bucket < 120; bucket++) {
    for (unsigned index = 0; index < 256; index++) {
      int rank = 57 - bucket % 57;
      uint64_t rest = rank == 57 ? 0 : UINT64_C(1) << (56 - rank);
      put(f, 1760000000000 + bucket * 10000, (uint64_t)index << 56 | rest);
      most = f->state.len > most ? f->state.len : most;
    }
  }
  assert_true(window_state_valid(buf_str(&f->state), f->over));
  assert_in_range(most, 4000, 8192);
  ask(f, f->newest);
  fixture_free(f);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_repeats), cmocka_unit_test(test_sixty_fifth), cmocka_unit_test(test_histories),
      cmocka_unit_test(test_error),   cmocka_unit_test(test_sliding),     cmocka_unit_test(test_bound),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
