// links: base event state
#include "state/index.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { ITEMS = 60000 };

struct item {
  char id[16];
  struct entity entity;
  uint32_t hash;
  bool there;
};

static struct item *items_new(uint32_t (*hash_of)(int number)) {
  struct item *items = memory_zalloc(ITEMS * sizeof *items);
  for (int i = 0; i < ITEMS; i++) {
    int len = snprintf(items[i].id, sizeof items[i].id, "u%d", i);
    items[i].entity = (struct entity){ENTITY_USER, {items[i].id, (size_t)len}};
    items[i].hash = hash_of ? hash_of(i) : index_hash(items[i].entity);
  }
  return items;
}

static bool item_same(const void *item, struct entity entity) {
  return entity_equal(((const struct item *)item)->entity, entity);
}

static void toggle(struct index *index, struct item *item) {
  if (item->there)
    index_remove(index, item->hash, item);
  else
    index_add(index, item->hash, item);
  item->there = !item->there;
}

static void assert_all_agree(const struct index *index, const struct item *items) {
  size_t there = 0;
  for (int i = 0; i < ITEMS; i++) {
    const void *found = index_find(index, items[i].hash, items[i].entity, item_same);
    assert_ptr_equal(found, items[i].there ? &items[i] : NULL);
    there += items[i].there;
  }
  assert_int_equal(index->count, there);
}

/** Comes and goes at random, more coming than going, then the other way round. */
static void run(uint32_t (*hash_of)(int number), int steps) {
  struct item *items = items_new(hash_of);
  struct index index;
  index_init(&index);
  unsigned seed = 7;
  for (int step = 0; step < steps; step++) {
    struct item *item = &items[rand_r(&seed) % ITEMS];
    bool growing = step < steps * 2 / 3;
    if (item->there == growing && rand_r(&seed) % 4) continue;
    toggle(&index, item);
    assert_ptr_equal(index_find(&index, item->hash, item->entity, item_same), item->there ? item : NULL);
    if (step % (steps / 40) == 0) assert_all_agree(&index, items);
  }
  assert_all_agree(&index, items);
  index_clear(&index);
  for (int i = 0; i < ITEMS; i++) items[i].there = false;
  assert_all_agree(&index, items);
  index_deinit(&index);
  memory_free(items);
}

static void items_come_and_go(void **state) {
  (void)state;
  run(NULL, 400000);
}

/** Long runs of places, some of them round the end of the index. */
static uint32_t crowded(int number) {
  return (uint32_t)(number / 40 * 40 - 20) * 8 | 1;
}

static void crowds_move_as_a_whole(void **state) {
  (void)state;
  run(crowded, 100000);
}

/** In every state of its growing each item is found, those that have moved and those that have not. */
static void all_are_found_while_it_grows(void **state) {
  (void)state;
  enum { PEOPLE = 7000 };
  struct item *items = items_new(NULL);
  struct index index;
  index_init(&index);
  bool grew_for_long = false;
  for (int i = 0; i < PEOPLE; i++) {
    toggle(&index, &items[i]);
    grew_for_long |= index.old.hashes && index.moved > 1000 && index.moved < index.old.mask - 1000;
    if (!index.old.hashes) continue;
    assert_true(index.count * 16 <= (index.old.mask + 1) * 13 + 16);
    for (int j = 0; j <= i; j += i % 7 + 1)
      assert_ptr_equal(index_find(&index, items[j].hash, items[j].entity, item_same), &items[j]);
  }
  assert_true(grew_for_long);
  index_deinit(&index);
  memory_free(items);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(items_come_and_go),
      cmocka_unit_test(crowds_move_as_a_whole),
      cmocka_unit_test(all_are_found_while_it_grows),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
