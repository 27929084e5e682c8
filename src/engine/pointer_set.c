#include "engine/pointer_set.h"

#include "base/memory.h"

#include <string.h>

enum { FIRST_SIZE = 64, KEPT_SIZE = 4096 /**< what is larger is not kept when it is cleared */ };

void pointer_set_init(struct pointer_set *set) {
  *set = (struct pointer_set){
      .slots = memory_zalloc(FIRST_SIZE * sizeof *set->slots), .mask = FIRST_SIZE - 1, .age = 1};
}

void pointer_set_deinit(struct pointer_set *set) {
  memory_free(set->slots);
  set->slots = NULL;
}

static void put(struct pointer_set *set, const void *pointer) {
  uint32_t at = pointer_set_home(set, pointer);
  while (set->slots[at].age == set->age) at = (at + 1) & set->mask;
  set->slots[at] = (struct pointer_slot){pointer, set->age};
  set->count++;
}

static void grow(struct pointer_set *set) {
  struct pointer_set old = *set;
  set->mask = old.mask * 2 + 1;
  set->count = 0;
  set->age = 1;
  set->slots = memory_zalloc(((size_t)set->mask + 1) * sizeof *set->slots);
  for (uint32_t i = 0; i <= old.mask; i++)
    if (old.slots[i].age == old.age) put(set, old.slots[i].pointer);
  memory_free(old.slots);
}

bool pointer_set_add(struct pointer_set *set, const void *pointer) {
  if (pointer_set_has(set, pointer)) return false;
  if (set->count >= set->mask / 2) grow(set);
  put(set, pointer);
  return true;
}

void pointer_set_renew(struct pointer_set *set) {
  if (set->mask > KEPT_SIZE) {
    pointer_set_deinit(set);
    pointer_set_init(set);
    return;
  }
  set->count = 0;
  if (++set->age == 0) { // ages came round: old slots would look new
    memset(set->slots, 0, ((size_t)set->mask + 1) * sizeof *set->slots);
    set->age = 1;
  }
}
