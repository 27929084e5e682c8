#include "state/index.h"

#include "base/hash.h"

enum { PLACES_MIN = 64 };

uint32_t index_hash(struct entity entity) {
  uint32_t hash = (uint32_t)hash64(entity.id, 0x6b616972 + entity.kind);
  return hash ? hash : 1;
}

static void make_places(struct index *index, size_t places) {
  index->hashes = memory_alloc_table(places * sizeof *index->hashes);
  memset(index->hashes, 0, places * sizeof *index->hashes);
  index->items = memory_alloc_table(places * sizeof *index->items);
  index->mask = places - 1;
}

void index_init(struct index *index) {
  make_places(index, PLACES_MIN);
  index->count = 0;
}

void index_deinit(struct index *index) {
  memory_free(index->hashes);
  memory_free(index->items);
  *index = (struct index){0};
}

void index_clear(struct index *index) {
  index_deinit(index);
  index_init(index);
}

static void place(struct index *index, uint32_t hash, void *item) {
  size_t at = hash & index->mask;
  while (index->hashes[at]) at = (at + 1) & index->mask;
  index->hashes[at] = hash;
  index->items[at] = item;
}

static void resize(struct index *index, size_t places) {
  struct index old = *index;
  make_places(index, places);
  for (size_t at = 0; at <= old.mask; at++)
    if (old.hashes[at]) place(index, old.hashes[at], old.items[at]);
  index_deinit(&old);
}

void index_add(struct index *index, uint32_t hash, void *item) {
  if ((index->count + 1) * 4 > (index->mask + 1) * 3) resize(index, (index->mask + 1) * 2);
  place(index, hash, item);
  index->count++;
}

void index_remove(struct index *index, uint32_t hash, const void *item) {
  size_t hole = hash & index->mask;
  while (index->items[hole] != item || !index->hashes[hole]) hole = (hole + 1) & index->mask;
  // Whoever was pushed past the hole by it moves back, so that no search ends too early.
  for (size_t at = (hole + 1) & index->mask; index->hashes[at]; at = (at + 1) & index->mask) {
    size_t home = index->hashes[at] & index->mask;
    if (((at - home) & index->mask) < ((at - hole) & index->mask)) continue;
    index->hashes[hole] = index->hashes[at];
    index->items[hole] = index->items[at];
    hole = at;
  }
  index->hashes[hole] = 0;
  index->count--;
}
