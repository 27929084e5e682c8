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

static void one_that_grows_knows_what_it_knew(void **state) {
  (void)state;
  struct mark_filter *filter = mark_filter_new(0, 0);
  uint64_t capacity = mark_filter_capacity(filter);
  assert_null(mark_filter_grow(filter, capacity, 1 << 30));
  assert_null(mark_filter_grow(filter, capacity * 4, 1 << 16)); // there is no memory for more
  int count = 0;
  for (int grown = 0; grown < 3; grown++) {
    while ((uint64_t)count <= capacity / 4) mark_filter_add(filter, numbered(count++));
    struct mark_filter *larger = mark_filter_grow(filter, capacity * 4, 1 << 30);
    assert_non_null(larger);
    mark_filter_free(filter);
    filter = larger;
    assert_true(mark_filter_capacity(filter) >= capacity * 4);
    capacity = mark_filter_capacity(filter);
    assert_int_equal(mark_filter_count(filter), count);
    assert_false(mark_filter_full(filter));
    for (int i = 0; i < count; i++) assert_true(mark_filter_maybe(filter, numbered(i)));
  }
  while ((uint64_t)count < capacity / 5 * 2) mark_filter_add(filter, numbered(count++));
  assert_false(mark_filter_full(filter));
  int wrong = 0;
  for (int i = 0; i < 100000; i++) wrong += mark_filter_maybe(filter, numbered(count + i));
  assert_in_range(wrong, 1, 700);
  while (mark_filter_load(filter) <= capacity) mark_filter_add(filter, numbered(count++));
  assert_true(mark_filter_full(filter));
  for (int i = 0; i < count; i++) assert_true(mark_filter_maybe(filter, numbered(i)));
  mark_filter_free(filter);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(what_was_added_is_found),
      cmocka_unit_test(one_that_grows_knows_what_it_knew),
      cmocka_unit_test(memory_is_bounded_and_overfilling_breaks_nothing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
