#include "state/index.h"

#include "base/hash.h"

enum {
  PLACES_MIN = 64,
  /** Places an index_add(), from eleven sixteenths full on: all are cleared when three quarters are. */
  CLEARED_AT_ONCE = 32,
  MOVED_AT_ONCE = 16 /**< likewise: all have moved before thirteen sixteenths of the old part are taken */
};

uint32_t index_hash(struct entity entity) {
  uint32_t hash = (uint32_t)hash64(entity.id, 0x6b616972 + entity.kind);
  return hash ? hash : 1;
}

/** Its hashes are not cleared. */
static struct index_part part_new(size_t places) {
  return (struct index_part){.hashes = memory_alloc_table(places * sizeof(uint32_t)),
                             .items = memory_alloc_table(places * sizeof(void *)),
                             .mask = places - 1};
}

static void part_free(struct index_part *part) {
  memory_free(part->hashes);
  memory_free(part->items);
  *part = (struct index_part){0};
}

void index_init(struct index *index) {
  *index = (struct index){.now = part_new(PLACES_MIN)};
  memset(index->now.hashes, 0, PLACES_MIN * sizeof *index->now.hashes);
}

void index_deinit(struct index *index) {
  part_free(&index->now);
  part_free(&index->next);
  part_free(&index->old);
  *index = (struct index){0};
}

void index_clear(struct index *index) {
  index_deinit(index);
  index_init(index);
}

static void place(const struct index_part *part, uint32_t hash, void *item) {
  size_t at = hash & part->mask;
  while (part->hashes[at]) at = (at + 1) & part->mask;
  part->hashes[at] = hash;
  part->items[at] = item;
}

/** Items move in runs, from a free place to a free place: so all whose search begins in an emptied place have
 * moved. In the order of places, which they keep: the new part's memory is touched a page after the other. */
static void move_on(struct index *index) {
  struct index_part *old = &index->old;
  for (size_t places = 0;; places++, index->moved++) {
    size_t at = (index->start + index->moved) & old->mask;
    if (!old->hashes[at]) {
      if (index->moved > old->mask) break;
      if (places >= MOVED_AT_ONCE) return;
      continue;
    }
    place(&index->now, old->hashes[at], old->items[at]);
    old->hashes[at] = 0;
  }
  part_free(old);
}

static void make_ready(struct index *index) {
  if (!index->next.hashes) index->next = part_new((index->now.mask + 1) * 2);
  size_t places = index->next.mask + 1 - index->cleared;
  if (places > CLEARED_AT_ONCE) places = CLEARED_AT_ONCE;
  memset(index->next.hashes + index->cleared, 0, places * sizeof *index->next.hashes);
  index->cleared += places;
}

static void begin_to_grow(struct index *index) {
  index->old = index->now;
  index->now = index->next;
  index->next = (struct index_part){0};
  index->cleared = index->start = index->moved = 0;
  while (index->old.hashes[(index->start - 1) & index->old.mask]) index->start++;
}

void index_add(struct index *index, uint32_t hash, void *item) {
  size_t places = index->now.mask + 1, count = index->count + 1;
  if (index->old.hashes)
    move_on(index);
  else if (count * 16 > places * 11)
    make_ready(index);
  if (count * 4 > places * 3) begin_to_grow(index);
  place(index_part(index, hash), hash, item);
  index->count = count;
}

void index_remove(struct index *index, uint32_t hash, const void *item) {
  const struct index_part *part = index_part(index, hash);
  size_t hole = hash & part->mask;
  while (part->items[hole] != item || !part->hashes[hole]) hole = (hole + 1) & part->mask;
  // Whoever was pushed past the hole by it moves back, so that no search ends too early.
  for (size_t at = (hole + 1) & part->mask; part->hashes[at]; at = (at + 1) & part->mask) {
    size_t home = part->hashes[at] & part->mask;
    if (((at - home) & part->mask) < ((at - hole) & part->mask)) continue;
    part->hashes[hole] = part->hashes[at];
    part->items[hole] = part->items[at];
    hole = at;
  }
  part->hashes[hole] = 0;
  index->count--;
}
