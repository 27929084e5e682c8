// links: base event state
#include "state/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char id_text[32];

static struct entity numbered(int number) {
  int len = snprintf(id_text, sizeof id_text, "user-%d", number);
  return (struct entity){ENTITY_USER, {id_text, (size_t)len}};
}

static struct slot *add_ready(struct table *table, int number) {
  struct slot *slot = table_add(table, numbered(number));
  slot->phase = SLOT_READY;
  return slot;
}

static void trim_wholly(struct table *table) {
  for (int i = 0; i < 10000; i++) table_trim(table);
}

static void finds_what_was_added(void **state) {
  (void)state;
  struct table *table = table_new(1 << 30);
  for (int i = 0; i < 5000; i++) {
    assert_null(table_find(table, numbered(i)));
    add_ready(table, i);
  }
  struct entity subject = numbered(1);
  subject.kind = ENTITY_SUBJECT;
  assert_null(table_find(table, subject));
  for (int i = 0; i < 5000; i += 2) table_remove(table, table_find(table, numbered(i)));
  for (int i = 0; i < 5000; i++) assert_int_equal(table_find(table, numbered(i)) != NULL, i % 2);
  assert_int_equal(table_count(table), 2500);
  table_clear(table);
  assert_int_equal(table_count(table), 0);
  assert_null(table_find(table, numbered(1)));
  table_free(table);
}

static void trims_to_its_bound_but_never_the_pinned(void **state) {
  (void)state;
  struct table *table = table_new(100000);
  struct slot *loading = table_add(table, numbered(-1));
  struct slot *waiting = add_ready(table, -2), *dirty = add_ready(table, -3), *written = add_ready(table, -4);
  int queue;
  waiting->waiting = &queue;
  table_changed(table, written, true);
  assert_ptr_equal(table_take_dirty(table), written);
  table_changed(table, dirty, true);
  for (int i = 0; i < 5000; i++) add_ready(table, i);
  assert_true(table_bytes(table) > 100000);
  trim_wholly(table);
  assert_true(table_bytes(table) <= 100000);
  assert_ptr_equal(table_find(table, numbered(-1)), loading);
  assert_ptr_equal(table_find(table, numbered(-2)), waiting);
  assert_ptr_equal(table_find(table, numbered(-3)), dirty);
  assert_ptr_equal(table_find(table, numbered(-4)), written);
  // Unpinned, they may go like any other.
  loading->phase = SLOT_READY;
  waiting->waiting = NULL;
  table_take_dirty(table);
  table_written(table, dirty);
  table_written(table, written);
  for (int i = 5000; i < 10000; i++) {
    add_ready(table, i);
    table_trim(table);
  }
  trim_wholly(table);
  assert_null(table_find(table, numbered(-1)));
  assert_null(table_find(table, numbered(-4)));
  table_free(table);
}

static void one_that_is_used_outlives_those_that_are_not(void **state) {
  (void)state;
  struct table *table = table_new(60000);
  add_ready(table, 0);
  for (int i = 1; i < 3000; i++) {
    add_ready(table, i);
    table_trim(table);
    assert_non_null(table_find(table, numbered(0)));
  }
  assert_true(table_count(table) < 1000);
  table_free(table);
}

/** However many come between two calls, and though each was found again. */
static void keeps_up_with_what_is_added(void **state) {
  (void)state;
  enum { MAX = 4 << 20, TURNS = 500, A_TURN = 400 };
  struct table *table = table_new(MAX);
  for (int turn = 0; turn < TURNS; turn++) {
    for (int i = 0; i < A_TURN; i++) {
      add_ready(table, turn * A_TURN + i);
      assert_non_null(table_find(table, numbered(turn * A_TURN + i)));
    }
    table_trim(table);
    assert_true(table_bytes(table) < MAX / 4 * 5);
  }
  table_free(table);
}

static void what_was_not_found_again_goes_first(void **state) {
  (void)state;
  enum { USED = 1000, OTHERS = 14000 };
  struct table *table = table_new(1 << 20);
  for (int i = 0; i < USED; i++) {
    add_ready(table, i);
    assert_non_null(table_find(table, numbered(i)));
  }
  for (int i = USED; i < USED + OTHERS; i++) {
    add_ready(table, i);
    table_trim(table);
  }
  assert_true(table_count(table) < USED + OTHERS - 1000);
  for (int i = 0; i < USED; i++) assert_non_null(table_find(table, numbered(i)));
  table_free(table);
}

/** Each time that one was found again lets the hand pass once more. */
static void what_was_found_often_outlives_what_was_found_once(void **state) {
  (void)state;
  enum { OFTEN = 1000, ONCE = 6000 };
  struct table *table = table_new(600 << 10);
  for (int i = 0; i < OFTEN; i++) {
    add_ready(table, i);
    for (int times = 0; times < 3; times++) assert_non_null(table_find(table, numbered(i)));
  }
  for (int i = OFTEN; i < OFTEN + ONCE; i++) {
    add_ready(table, i);
    assert_non_null(table_find(table, numbered(i)));
    table_trim(table);
  }
  size_t left = table_count(table);
  assert_true(left < OFTEN + ONCE - 1000);
  for (int i = 0; i < OFTEN; i++) assert_non_null(table_find(table, numbered(i)));
  table_free(table);
}

static void a_table_of_pinned_slots_is_given_up(void **state) {
  (void)state;
  struct table *table = table_new(1);
  for (int i = 0; i < 3; i++) table_add(table, numbered(i));
  trim_wholly(table);
  assert_int_equal(table_count(table), 3);
  table_free(table);
}

static void the_dirty_leave_in_order_and_once(void **state) {
  (void)state;
  struct table *table = table_new(1 << 20);
  struct slot *a = add_ready(table, 1), *b = add_ready(table, 2), *c = add_ready(table, 3);
  table_changed(table, b, true);
  table_changed(table, a, true);
  table_changed(table, b, true);
  table_changed(table, c, false);
  assert_int_equal(table_dirty_count(table), 2);
  assert_ptr_equal(table_take_dirty(table), b);
  assert_false(b->dirty);
  assert_int_equal(b->writes, 1);
  table_changed(table, b, true);
  assert_ptr_equal(table_take_dirty(table), a);
  assert_ptr_equal(table_take_dirty(table), b);
  assert_int_equal(b->writes, 2);
  assert_null(table_take_dirty(table));
  table_written(table, b);
  table_written(table, b);
  assert_int_equal(b->writes, 0);
  // Removed while dirty, first, last and in between, it is not taken any more.
  struct slot *d = add_ready(table, 4);
  table_changed(table, a, true);
  table_changed(table, b, true);
  table_changed(table, c, true);
  table_changed(table, d, true);
  table_remove(table, b);
  table_remove(table, d);
  table_remove(table, a);
  struct slot *e = add_ready(table, 5);
  table_changed(table, e, true);
  assert_ptr_equal(table_take_dirty(table), c);
  assert_ptr_equal(table_take_dirty(table), e);
  assert_null(table_take_dirty(table));
  table_free(table);
}

static void the_account_follows_the_record(void **state) {
  (void)state;
  struct table *table = table_new(1 << 20);
  size_t empty = table_bytes(table);
  struct slot *slot = add_ready(table, 1);
  size_t bare = table_bytes(table) - empty;
  assert_true(bare >= sizeof *slot + 6 && bare <= 112);
  buf_grow(&slot->record.bytes, 1000);
  table_changed(table, slot, false);
  assert_true(table_bytes(table) - empty - bare >= slot->record.bytes.cap);
  table_remove(table, slot);
  assert_int_equal(table_bytes(table), empty);
  table_free(table);
}

static void count_slot(void *context, struct slot *slot) {
  *(int *)context += slot->phase == SLOT_READY;
}

static void each_is_visited_once(void **state) {
  (void)state;
  struct table *table = table_new(1 << 20);
  for (int i = 0; i < 777; i++) add_ready(table, i);
  int count = 0;
  table_each(table, count_slot, &count);
  assert_int_equal(count, 777);
  table_free(table);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(finds_what_was_added),
      cmocka_unit_test(trims_to_its_bound_but_never_the_pinned),
      cmocka_unit_test(one_that_is_used_outlives_those_that_are_not),
      cmocka_unit_test(keeps_up_with_what_is_added),
      cmocka_unit_test(what_was_not_found_again_goes_first),
      cmocka_unit_test(what_was_found_often_outlives_what_was_found_once),
      cmocka_unit_test(a_table_of_pinned_slots_is_given_up),
      cmocka_unit_test(the_dirty_leave_in_order_and_once),
      cmocka_unit_test(the_account_follows_the_record),
      cmocka_unit_test(each_is_visited_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
