/** A set of addresses, for questions asked on every write a rule makes: open addressing, emptied in O(1). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pointer_set {
  struct pointer_slot {
    const void *pointer;
    uint32_t age; /**< a slot of another age is empty */
  } * slots;
  uint32_t mask, count, age;
};

void pointer_set_init(struct pointer_set *set);
void pointer_set_deinit(struct pointer_set *set);
/** @return false if it was there. */
bool pointer_set_add(struct pointer_set *set, const void *pointer);
/** The slow half of pointer_set_clear(). */
void pointer_set_renew(struct pointer_set *set);
static inline void pointer_set_clear(struct pointer_set *set) {
  if (set->count) pointer_set_renew(set);
}

static inline uint32_t pointer_set_home(const struct pointer_set *set, const void *pointer) {
  return (uint32_t)(((uintptr_t)pointer >> 3) * 0x9E3779B97F4A7C15u >> 32) & set->mask;
}
static inline bool pointer_set_has(const struct pointer_set *set, const void *pointer) {
  uint32_t at = pointer_set_home(set, pointer);
  for (; set->slots[at].age == set->age; at = (at + 1) & set->mask)
    if (set->slots[at].pointer == pointer) return true;
  return false;
}
