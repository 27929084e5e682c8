/** From a hash to a pointer: open addressing, linear probing, no tombstones. What equality means is the
 * caller's.
 *
 * 12 bytes a place, at most three quarters full. Hashes lie apart from the pointers, so that a probe touches
 * one cache line and follows only pointers whose hash agrees. Shared by state/table and state/timers.
 */
#pragma once

#include "base/memory.h"
#include "event/event.h"

struct index {
  uint32_t *hashes; /**< 0: free */
  void **items;
  size_t mask, count; /**< mask: places - 1 */
};

/** Never 0, and not the hash that entity_partition() takes its bits from: a worker holds few partitions. */
uint32_t index_hash(struct entity entity);
void index_init(struct index *index);
void index_deinit(struct index *index);
/** Forget the items; the memory shrinks to the least. */
void index_clear(struct index *index);
/** The item must not be there. */
void index_add(struct index *index, uint32_t hash, void *item);
/** The item must be there. */
void index_remove(struct index *index, uint32_t hash, const void *item);
static inline size_t index_bytes(const struct index *index) {
  return (index->mask + 1) * (sizeof *index->hashes + sizeof *index->items);
}

/** @return the item with this hash that is `same` as the entity, or null. */
static inline void *index_find(const struct index *index, uint32_t hash, struct entity entity,
                               bool (*same)(const void *item, struct entity entity)) {
  for (size_t at = hash & index->mask; index->hashes[at]; at = (at + 1) & index->mask)
    if (index->hashes[at] == hash && same(index->items[at], entity)) return index->items[at];
  return NULL;
}
