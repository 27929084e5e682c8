// links: base event state
#include "state/mark_filter.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct hash128 numbered(int number) {
  return hash128((struct str){(const char *)&number, sizeof number}, 0);
}

static void what_was_added_is_found(void **state) {
  (void)state;
  struct mark_filter *filter = mark_filter_new(100000, 1 << 30);
  assert_true(mark_filter_capacity(filter) >= 100000);
  assert_int_equal(mark_filter_capacity(filter), mark_filter_would_hold(100000, 1 << 30));
  int count = (int)mark_filter_capacity(filter);
  assert_false(mark_filter_maybe(filter, numbered(1)));
  for (int i = 0; i < count; i++) mark_filter_add(filter, numbered(i));
  assert_int_equal(mark_filter_count(filter), count);
  assert_false(mark_filter_full(filter));
  int wrong = 0;
  for (int i = 0; i < count; i++) assert_true(mark_filter_maybe(filter, numbered(i)));
  for (int i = 0; i < 100000; i++) wrong += mark_filter_maybe(filter, numbered(count + i));
  assert_in_range(wrong, 1, 700); // of 100,000; none at all would be another kind of wrong
  for (int i = 0; i < count; i++) mark_filter_add(filter, numbered(2 * count + i));
  assert_true(mark_filter_full(filter));
  wrong = 0;
  for (int i = 0; i < 100000; i++) wrong += mark_filter_maybe(filter, numbered(count + i));
  assert_in_range(wrong, 1, 8000);
  mark_filter_free(filter);
}

static void memory_is_bounded_and_overfilling_breaks_nothing(void **state) {
  (void)state;
  struct mark_filter *filter = mark_filter_new(UINT64_MAX / 2, 1 << 20);
  assert_true(mark_filter_capacity(filter) * 12 / 8 <= 1 << 20);
  assert_int_equal(mark_filter_would_hold(10000000, 1 << 20), mark_filter_capacity(filter));
  for (int i = 0; i < 2000000; i++) mark_filter_add(filter, numbered(i));
  for (int i = 0; i < 2000000; i++) assert_true(mark_filter_maybe(filter, numbered(i)));
  mark_filter_free(filter);
  filter = mark_filter_new(0, 0);
  assert_true(mark_filter_capacity(filter) > 0);
  mark_filter_free(filter);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_added_is_found),
      cmocka_unit_test(memory_is_bounded_and_overfilling_breaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
