#include "state/mark_filter.h"

#include "base/memory.h"

#include <stdatomic.h>
#include <string.h>

enum { BLOCK_WORDS = 8, PLACES = 5, BITS_A_MARK = 12, BLOCKS_MIN = 1024, GAPS_MAX = 64 };

struct block {
  _Alignas(64) _Atomic uint64_t words[BLOCK_WORDS];
};

struct mark_filter {
  struct block *blocks;
  uint64_t block_count; /**< a power of two */
  _Atomic uint64_t count;
  uint64_t copied; /**< bits that growing set, in marks: of them no more were added */
  size_t gap_count;
  struct gap {
    uint64_t low, high; /**< of hash128.high, both included */
  } gaps[GAPS_MAX];
};

static uint64_t capacity(uint64_t blocks) {
  return blocks * BLOCK_WORDS * 64 / BITS_A_MARK;
}

static uint64_t blocks_for(uint64_t marks, size_t max_bytes) {
  uint64_t blocks = BLOCKS_MIN;
  while (capacity(blocks) < marks && blocks * 2 * sizeof(struct block) <= max_bytes) blocks *= 2;
  return blocks;
}

uint64_t mark_filter_would_hold(uint64_t marks, size_t max_bytes) {
  return capacity(blocks_for(marks, max_bytes));
}

static struct mark_filter *new_filter(uint64_t blocks) {
  struct mark_filter *filter = memory_zalloc(sizeof *filter);
  filter->block_count = blocks;
  filter->blocks = memory_alloc_table(blocks * sizeof(struct block));
  return filter;
}

struct mark_filter *mark_filter_new(uint64_t marks, size_t max_bytes) {
  struct mark_filter *filter = new_filter(blocks_for(marks, max_bytes));
  memset(filter->blocks, 0, filter->block_count * sizeof(struct block));
  return filter;
}

/** A mark's block has the same lowest bits of its number in the larger one, whichever those above are. */
struct mark_filter *mark_filter_grow(const struct mark_filter *from, uint64_t marks, size_t max_bytes) {
  uint64_t blocks = blocks_for(marks, max_bytes);
  if (blocks <= from->block_count) return NULL;
  struct mark_filter *filter = new_filter(blocks);
  for (uint64_t at = 0; at < blocks; at += from->block_count)
    memcpy(&filter->blocks[at], from->blocks, from->block_count * sizeof(struct block));
  uint64_t count = mark_filter_count(from);
  atomic_init(&filter->count, count);
  filter->copied = mark_filter_load(from) * (blocks / from->block_count) - count;
  filter->gap_count = from->gap_count;
  memcpy(filter->gaps, from->gaps, sizeof filter->gaps);
  return filter;
}

void mark_filter_free(struct mark_filter *filter) {
  if (!filter) return;
  memory_free(filter->blocks);
  memory_free(filter);
}

static struct block *block_of(const struct mark_filter *filter, struct hash128 mark) {
  return &filter->blocks[mark.low & (filter->block_count - 1)];
}

/** Nine bits of the hash say which bit of the block. */
static unsigned place(struct hash128 mark, int i) {
  return mark.high >> 9 * i & (BLOCK_WORDS * 64 - 1);
}

void mark_filter_add(struct mark_filter *filter, struct hash128 mark) {
  struct block *block = block_of(filter, mark);
  for (int i = 0; i < PLACES; i++) {
    _Atomic uint64_t *word = &block->words[place(mark, i) / 64];
    uint64_t bit = UINT64_C(1) << place(mark, i) % 64;
    atomic_store_explicit(word, atomic_load_explicit(word, memory_order_relaxed) | bit, memory_order_relaxed);
  }
  uint64_t count = atomic_load_explicit(&filter->count, memory_order_relaxed);
  atomic_store_explicit(&filter->count, count + 1, memory_order_relaxed);
}

void mark_filter_prefetch(const struct mark_filter *filter, struct hash128 mark) {
  __builtin_prefetch(block_of(filter, mark));
}

void mark_filter_add_gap(struct mark_filter *filter, uint64_t low, uint64_t high) {
  if (filter->gap_count < GAPS_MAX)
    filter->gaps[filter->gap_count++] = (struct gap){low, high};
  else
    filter->gaps[0] = (struct gap){0, UINT64_MAX}; // of so many each mark may be in one
}

static bool in_gap(const struct mark_filter *filter, uint64_t high) {
  for (size_t i = 0; i < filter->gap_count; i++)
    if (filter->gaps[i].low <= high && high <= filter->gaps[i].high) return true;
  return false;
}

bool mark_filter_maybe(const struct mark_filter *filter, struct hash128 mark) {
  const struct block *block = block_of(filter, mark);
  uint64_t all = 1;
  for (int i = 0; i < PLACES; i++)
    all &=
        atomic_load_explicit(&block->words[place(mark, i) / 64], memory_order_relaxed) >> place(mark, i) % 64;
  return all || (filter->gap_count && in_gap(filter, mark.high));
}

uint64_t mark_filter_count(const struct mark_filter *filter) {
  return atomic_load_explicit(&filter->count, memory_order_relaxed);
}

uint64_t mark_filter_load(const struct mark_filter *filter) {
  return mark_filter_count(filter) + filter->copied;
}

bool mark_filter_full(const struct mark_filter *filter) {
  return mark_filter_load(filter) > mark_filter_capacity(filter);
}

uint64_t mark_filter_capacity(const struct mark_filter *filter) {
  return capacity(filter->block_count);
}

size_t mark_filter_bytes(const struct mark_filter *filter) {
  return sizeof *filter + filter->block_count * sizeof *filter->blocks;
}
