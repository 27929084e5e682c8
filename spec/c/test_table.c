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
  for (int i = 0; i < 5000; i++) assert_non_null(table_find(table, numbered(i)));
  assert_int_equal(table_count(table), 5000);
  table_clear(table);
  assert_int_equal(table_count(table), 0);
  assert_null(table_find(table, numbered(1)));
  table_free(table);
}

static void trims_to_its_bound_but_never_the_pinned(void **state) {
  (void)state;
  struct table *table = table_new(120000);
  struct slot *loading = table_add(table, numbered(-1));
  struct slot *waiting = add_ready(table, -2), *dirty = add_ready(table, -3), *written = add_ready(table, -4);
  int queue;
  waiting->waiting = &queue;
  table_changed(table, written, true);
  assert_ptr_equal(table_take_dirty(table), written);
  table_changed(table, dirty, true);
  for (int i = 0; i < 5000; i++) add_ready(table, i);
  assert_true(table_bytes(table) > 120000);
  trim_wholly(table);
  assert_true(table_bytes(table) <= 120000);
  assert_ptr_equal(table_find(table, numbered(-1)), loading);
  assert_ptr_equal(table_find(table, numbered(-2)), waiting);
  assert_ptr_equal(table_find(table, numbered(-3)), dirty);
  assert_ptr_equal(table_find(table, numbered(-4)), written);
  // Unpinned, they go like any other when the regular get more.
  loading->phase = SLOT_READY;
  waiting->waiting = NULL;
  table_take_dirty(table);
  table_written(table, dirty);
  table_written(table, written);
  for (int i = 5000; i < 10000; i++) {
    add_ready(table, i);
    assert_non_null(table_find(table, numbered(i)));
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

static void count_found(void *context, struct slot *slot) {
  int *counts = context;
  counts[0]++;
  counts[1] += slot->uses > 0;
}

/** One regular after the other is found again while a hundred times as many come once. */
static void a_scan_of_all_users_does_not_push_the_regular_out(void **state) {
  (void)state;
  enum { REGULAR = 1000, OTHERS = 100000, BETWEEN = 10 };
  struct table *table = table_new(360 << 10);
  for (int i = 0; i < REGULAR; i++) {
    add_ready(table, i);
    assert_non_null(table_find(table, numbered(i)));
  }
  int missed = 0;
  for (int i = 0; i < OTHERS; i++) {
    add_ready(table, REGULAR + i);
    if (i % BETWEEN == 0 && !table_find(table, numbered(i / BETWEEN % REGULAR))) {
      add_ready(table, i / BETWEEN % REGULAR);
      missed++;
    }
    table_trim(table);
    assert_true(table_bytes(table) <= (360 << 10));
  }
  assert_true(table_count(table) < 4 * REGULAR);
  assert_true(missed < REGULAR / 20);
  // Its index, its queues and its account still agree.
  int counts[2] = {0};
  table_each(table, count_found, counts);
  assert_int_equal(counts[0], table_count(table));
  int found = 0;
  for (int i = 0; i < REGULAR + OTHERS; i++) found += table_find(table, numbered(i)) != NULL;
  assert_int_equal(found, counts[0]);
  table_free(table);
}

/** As long as his ghost is there. */
static void who_comes_back_soon_is_regular(void **state) {
  (void)state;
  enum { FIRST = 4000, AFTER = 4000 };
  struct table *table = table_new(400 << 10);
  for (int i = 0; i < FIRST; i++) {
    add_ready(table, i);
    table_trim(table);
  }
  int back = FIRST - 1;
  while (table_find(table, numbered(back))) back--;
  assert_false(add_ready(table, back)->fresh);
  assert_true(add_ready(table, FIRST)->fresh);
  assert_true(add_ready(table, -1)->fresh);
  for (int i = FIRST + 1; i < FIRST + AFTER; i++) {
    add_ready(table, i);
    table_trim(table);
  }
  assert_non_null(table_find(table, numbered(back)));
  assert_null(table_find(table, numbered(-1)));
  table_free(table);
}

/** Slots that are written long after they were added: the queue is as long as it must be, and no longer. */
static void the_new_wait_to_be_written(void **state) {
  (void)state;
  enum { BEHIND = 2000, ALL = 20000, MAX = 600 << 10 };
  struct table *table = table_new(MAX);
  for (int i = 0; i < ALL; i++) {
    table_changed(table, add_ready(table, i), true);
    if (i >= BEHIND) table_written(table, table_take_dirty(table));
    table_trim(table);
    assert_true(table_bytes(table) < MAX / 8 * 9);
  }
  assert_true(table_count(table) < 2 * BEHIND + BEHIND / 2 + MAX / 100);
  for (int i = ALL - BEHIND; i < ALL; i++) assert_non_null(table_find(table, numbered(i)));
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
  table_free(table);
}

static void give_record(struct table *table, struct slot *slot, const char *bytes) {
  table_reserve(table, slot, strlen(bytes));
  buf_clear(&slot->record.bytes);
  buf_append(&slot->record.bytes, bytes, strlen(bytes));
  table_changed(table, slot, false);
}

/** Each writes over all that it was given, and none over another's. */
static void memory_of_who_left_is_anothers(void **state) {
  (void)state;
  enum { ALL = 20000, MAX = 200 << 10 };
  struct table *table = table_new(MAX);
  char bytes[700];
  for (int i = 0; i < ALL; i++) {
    struct slot *slot = add_ready(table, i % 3 ? i : i * 100000);
    assert_null(slot->waiting);
    assert_int_equal(slot->record.bytes.len + slot->record.seq + slot->writes + slot->uses, 0);
    memset(bytes, 'a' + i % 26, sizeof bytes);
    bytes[1 + i * 31 % (i % 50 ? 300 : 699)] = 0;
    give_record(table, slot, bytes);
    memset(slot->record.bytes.data + slot->record.bytes.len, 'z',
           slot->record.bytes.cap - slot->record.bytes.len);
    if (i % 100 == 0) table_trim(table);
    assert_true(table_bytes(table) < MAX / 4 * 5);
  }
  int found = 0;
  for (int i = 0; i < ALL; i++) {
    struct slot *slot = table_find(table, numbered(i % 3 ? i : i * 100000));
    if (!slot) continue;
    found++;
    for (size_t at = 0; at < slot->record.bytes.len; at++)
      assert_int_equal(slot->record.bytes.data[at], 'a' + i % 26);
  }
  assert_int_equal(found, table_count(table));
  assert_true(found > 300);
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
      cmocka_unit_test(a_scan_of_all_users_does_not_push_the_regular_out),
      cmocka_unit_test(who_comes_back_soon_is_regular),
      cmocka_unit_test(the_new_wait_to_be_written),
      cmocka_unit_test(a_table_of_pinned_slots_is_given_up),
      cmocka_unit_test(the_dirty_leave_in_order_and_once),
      cmocka_unit_test(the_account_follows_the_record),
      cmocka_unit_test(memory_of_who_left_is_anothers),
      cmocka_unit_test(each_is_visited_once),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
