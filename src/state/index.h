/** From a hash to a pointer: open addressing, linear probing, no tombstones. What equality means is the
 * caller's.
 *
 * 12 bytes a place, at most three quarters full, a sixteenth more while it grows. Hashes lie apart from the
 * pointers, so that a probe touches one cache line and follows only pointers whose hash agrees. No call takes
 * long: it grows a few places with each index_add(). Shared by state/table and state/timers.
 */
#pragma once

#include "base/memory.h"
#include "event/event.h"

struct index_part {
  uint32_t *hashes; /**< 0: free; null: there is no such part */
  void **items;
  size_t mask; /**< places - 1 */
};

struct index {
  struct index_part now;
  struct index_part next; /**< twice as large, for when `now` is full; so many of its hashes are cleared: */
  size_t cleared;
  struct index_part old; /**< half as large: its items move to `now`, from place `start` on */
  size_t start, moved;   /**< so many of its places are empty for good */
  size_t count;
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
  size_t places = index->now.mask + 1 + (index->old.hashes ? index->old.mask + 1 : 0);
  return places * (sizeof *index->now.hashes + sizeof *index->now.items) +
         index->cleared * sizeof *index->now.hashes;
}

/** Where an item with this hash is, if it is there. */
static inline const struct index_part *index_part(const struct index *index, uint32_t hash) {
  bool stays = index->old.hashes && ((hash - index->start) & index->old.mask) >= index->moved;
  return stays ? &index->old : &index->now;
}

static inline void index_prefetch(const struct index *index, uint32_t hash) {
  const struct index_part *part = index_part(index, hash);
  __builtin_prefetch(&part->hashes[hash & part->mask]);
  __builtin_prefetch(&part->items[hash & part->mask]);
}

/** @return the item with this hash that is `same` as the entity, or null. */
static inline void *index_find(const struct index *index, uint32_t hash, struct entity entity,
                               bool (*same)(const void *item, struct entity entity)) {
  const struct index_part *part = index_part(index, hash);
  for (size_t at = hash & part->mask; part->hashes[at]; at = (at + 1) & part->mask)
    if (part->hashes[at] == hash && same(part->items[at], entity)) return part->items[at];
  return NULL;
}
