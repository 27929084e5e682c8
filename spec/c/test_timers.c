// links: base event state
#include "state/timers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct entity user(const char *id) {
  return (struct entity){ENTITY_USER, str_from(id)};
}

static void assert_next(struct timers *timers, int64_t due, const char *id) {
  int64_t got;
  struct entity entity;
  assert_true(timers_next(timers, &got, &entity));
  assert_int_equal(got, due);
  assert_int_equal(entity.id.len, strlen(id));
  assert_memory_equal(entity.id.data, id, strlen(id));
}

static void empty_has_none(void **state) {
  (void)state;
  struct timers *timers = timers_new();
  int64_t due;
  struct entity entity;
  assert_false(timers_next(timers, &due, &entity));
  timers_set(timers, user("ada"), INT64_MAX);
  assert_int_equal(timers_count(timers), 0);
  timers_free(timers);
}

static void ties_go_by_kind_then_id(void **state) {
  (void)state;
  struct timers *timers = timers_new();
  timers_set(timers, user("ab"), 5);
  timers_set(timers, user("b"), 5);
  timers_set(timers, user("a"), 5);
  timers_set(timers, (struct entity){ENTITY_SUBJECT, STR("z")}, 5);
  assert_next(timers, 5, "z");
  timers_set(timers, (struct entity){ENTITY_SUBJECT, STR("z")}, INT64_MAX);
  assert_next(timers, 5, "a");
  timers_set(timers, user("a"), INT64_MAX);
  assert_next(timers, 5, "ab");
  timers_set(timers, user("ab"), 6);
  assert_next(timers, 5, "b");
  timers_set(timers, user("b"), 7);
  assert_next(timers, 6, "ab");
  timers_set(timers, user("b"), INT64_MIN);
  assert_next(timers, INT64_MIN, "b");
  assert_int_equal(timers_count(timers), 2);
  timers_clear(timers);
  assert_int_equal(timers_count(timers), 0);
  timers_set(timers, user("b"), 1);
  assert_next(timers, 1, "b");
  timers_free(timers);
}

/** Against a plain array searched from end to end. */
static void agrees_with_a_scan(void **state) {
  (void)state;
  enum { USERS = 500, STEPS = 20000 };
  int64_t due[USERS];
  for (int i = 0; i < USERS; i++) due[i] = INT64_MAX;
  struct timers *timers = timers_new();
  srand(7);
  for (int step = 0; step < STEPS; step++) {
    int who = rand() % USERS;
    char id[16];
    snprintf(id, sizeof id, "u%03d", who);
    int64_t before = due[who];
    due[who] = rand() % 3 ? rand() % 200 : INT64_MAX;
    assert_int_equal(timers_due(timers, user(id)), before);
    timers_set(timers, user(id), due[who]);
    assert_int_equal(timers_due(timers, user(id)), due[who]);
    int least = 0;
    size_t count = 0;
    for (int i = 0; i < USERS; i++) {
      if (due[i] < due[least]) least = i;
      count += due[i] != INT64_MAX;
    }
    assert_int_equal(timers_count(timers), count);
    if (!count) continue;
    snprintf(id, sizeof id, "u%03d", least);
    assert_next(timers, due[least], id);
  }
  timers_free(timers);
}

static void the_account_follows(void **state) {
  (void)state;
  struct timers *timers = timers_new();
  size_t empty = timers_bytes(timers);
  timers_set(timers, user("ada"), 5);
  size_t one = timers_bytes(timers);
  assert_true(one > empty + sizeof "ada");
  timers_set(timers, user("ada"), 6);
  assert_int_equal(timers_bytes(timers), one);
  timers_set(timers, user("bob"), 7);
  assert_true(timers_bytes(timers) > one);
  timers_set(timers, user("bob"), INT64_MAX);
  assert_int_equal(timers_bytes(timers), one);
  timers_clear(timers);
  assert_int_equal(timers_bytes(timers), empty);
  timers_free(timers);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(empty_has_none),
      cmocka_unit_test(ties_go_by_kind_then_id),
      cmocka_unit_test(the_account_follows),
      cmocka_unit_test(agrees_with_a_scan),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
