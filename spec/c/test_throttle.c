// links: base event state
#include "random.h"
#include "state/throttle.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_burst_then_rate(void **state) {
  (void)state;
  struct rate rate = {5, 600000}; // 5 in 10 minutes: one in 2
  int64_t tat = 0, next, now = INT64_C(1760000000000000);
  for (int i = 0; i < 5; i++) {
    assert_true(throttle_admit(tat, rate, 0, now, &next));
    tat = next;
  }
  assert_false(throttle_admit(tat, rate, 0, now, &next));
  assert_int_equal(next, now + 120000000);
  // Exactly at the moment it named, not a microsecond before.
  assert_false(throttle_admit(tat, rate, 0, next - 1, &next));
  assert_true(throttle_admit(tat, rate, 0, next, &tat));
  assert_false(throttle_admit(tat, rate, 0, now + 120000000, &next));
  // An hour's rest gives the burst back, and no more.
  now += INT64_C(3600000000);
  int admitted = 0;
  while (throttle_admit(tat, rate, 0, now, &next)) tat = next, admitted++;
  assert_int_equal(admitted, 5);
}

static void test_burst_of_one(void **state) {
  (void)state;
  struct rate rate = {100, 1000};
  int64_t tat = 0, next, now = 1000000;
  assert_true(throttle_admit(tat, rate, 1, now, &tat));
  assert_int_equal(tat, now + 10000);
  assert_false(throttle_admit(tat, rate, 1, now + 9999, &next));
  assert_int_equal(next, now + 10000);
  assert_true(throttle_admit(tat, rate, 1, now + 10000, &tat));
}

/** In any stretch of time: never more than burst + elapsed * rate; and what is asked steadily below the rate
 * is all admitted. */
static void test_property(void **state) {
  (void)state;
  static int64_t admitted[4000];
  for (unsigned round = 0; round < 300; round++) {
    seed = round + 1;
    struct rate rate = {round % 7 ? (double)between(1, 1000) : (double)between(1, 999) / 7,
                        between(1, 3600000)};
    double burst = round % 3 ? (double)between(1, 50) : 0;
    double most = burst > 0 ? burst : fmax(1, rate.count);
    double interval = (double)rate.over_ms * 1000 / rate.count;
    int64_t tat = 0, next, now = between(1, INT64_C(2000000000000000));
    int count = 0;
    for (int i = 0; i < 1500; i++) {
      now += between(0, (int64_t)(interval * (double)between(0, 4)) + 1);
      if (!throttle_admit(tat, rate, burst, now, &next)) {
        assert_true(next > now);
        assert_true(throttle_admit(tat, rate, burst, next, &(int64_t){0}));
        continue;
      }
      tat = next;
      admitted[count++] = now;
    }
    assert_true(count > 50);
    for (int i = 0; i < count; i += 1 + count / 60)
      for (int j = i; j < count; j++)
        assert_true(j - i + 1 <= most + (double)(admitted[j] - admitted[i]) / interval + 1e-6);
    // Asked at the first moment it would, again and again.
    int64_t began = now;
    for (int i = 0; i < 1000; i++) {
      while (!throttle_admit(tat, rate, burst, now, &next)) now = next;
      tat = next;
      if (i == 0) began = now;
      assert_true(i + 1 <= most + (double)(now - began) / interval + 1e-6);
    }
    // Asked no faster than the rate, it never refuses.
    tat = 0;
    int64_t step = (int64_t)ceil(interval);
    for (int i = 0; i < 100; i++, now += step) {
      assert_true(throttle_admit(tat, rate, burst, now, &next));
      tat = next;
    }
  }
}

static void test_extremes(void **state) {
  (void)state;
  static const int64_t times[] = {INT64_MIN,     INT64_MIN + 1, -1, 0, 1, INT64_C(1760000000000000),
                                  INT64_MAX - 1, INT64_MAX};
  static const struct rate rates[] = {{1, 1},           {1e300, 1},     {1e-300, INT64_MAX}, {INFINITY, 1000},
                                      {1e9, INT64_MAX}, {1, INT64_MAX}, {0.5, 1000}};
  static const double bursts[] = {0, 0.25, 1, 1e9, 1e300, INFINITY};
  int64_t next;
  for (unsigned t = 0; t < 8; t++)
    for (unsigned n = 0; n < 8; n++)
      for (unsigned r = 0; r < 7; r++)
        for (unsigned b = 0; b < 6; b++) {
          bool admitted = throttle_admit(times[t], rates[r], bursts[b], times[n], &next);
          assert_true(admitted ? next > times[n] || next == INT64_MAX : next > times[n]);
        }
  static const struct rate senseless[] = {{0, 1000}, {-1, 1000}, {NAN, 1000}, {1, 0}, {1, -5}};
  for (unsigned r = 0; r < 5; r++) {
    assert_false(throttle_admit(0, senseless[r], 0, 1000, &next));
    assert_int_equal(next, INT64_MAX);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_burst_then_rate),
      cmocka_unit_test(test_burst_of_one),
      cmocka_unit_test(test_property),
      cmocka_unit_test(test_extremes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
