#include "engine/pool.h"

#include "base/memory.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SMALL_MAX = 0 }; // each block on its own, so that the sanitizer sees what happens to it
#else
enum { SMALL_MAX = POOL_STEP * POOL_CLASSES };
#endif
enum { CHUNK = 64 << 10 };

/** The head of a chunk; the rest is blocks. */
struct pool_chunk {
  struct pool_chunk *next;
  uint32_t given; /**< bytes of blocks that were ever made of it; of the newest, when another follows */
  uint32_t free;  /**< scratch of pool_trim */
};
_Static_assert(sizeof(struct pool_chunk) <= POOL_STEP, "the head of a chunk takes one step");

static size_t class_of(size_t size) {
  return (size - 1) / POOL_STEP;
}

static size_t size_of(size_t class) {
  return (class + 1) * POOL_STEP;
}

static void add_chunk(struct pool *pool) {
  if (pool->chunks) pool->chunks->given = (uint32_t)(CHUNK - POOL_STEP - pool->left);
  struct pool_chunk *chunk = memory_alloc(CHUNK);
  chunk->next = pool->chunks;
  pool->chunks = chunk;
  pool->at = (char *)chunk + POOL_STEP;
  pool->left = CHUNK - POOL_STEP;
  pool->size += CHUNK;
}

static void *take(struct pool *pool, size_t size) {
  size_t class = class_of(size), rounded = size_of(class);
  struct pool_block *block = pool->free[class];
  if (block) {
    pool->free[class] = block->next;
    // A collection's worth of blocks is more than the cache near the core holds: the next one is on its way
    // by the time that it is taken, where its link is read.
    __builtin_prefetch(block->next, 1);
    return block;
  }
  if (pool->left < rounded) add_chunk(pool);
  void *taken = pool->at;
  pool->at += rounded;
  pool->left -= rounded;
  return taken;
}

void pool_give(struct pool *pool, void *block, size_t size) {
  if (size > SMALL_MAX) {
    free(block);
  } else if (block) {
    struct pool_block *freed = block;
    freed->next = pool->free[class_of(size)];
    pool->free[class_of(size)] = freed;
  }
}

void *pool_resize(struct pool *pool, void *old, size_t old_size, size_t new_size) {
  if (old_size > SMALL_MAX && new_size > SMALL_MAX) {
    void *moved = realloc(old, new_size);
    return moved || new_size > old_size ? moved : old;
  }
  void *block = new_size > SMALL_MAX ? malloc(new_size) : take(pool, new_size);
  if (block && old) {
    memcpy(block, old, old_size < new_size ? old_size : new_size);
    pool_give(pool, old, old_size);
  }
  return block;
}

/* ---- giving back ---- */

static int by_address(const void *a, const void *b) {
  const char *left = *(char *const *)a, *right = *(char *const *)b;
  return left < right ? -1 : left > right;
}

/** The chunk that a block lies in. */
static struct pool_chunk *chunk_of(struct pool_chunk *const *sorted, size_t count,
                                   const struct pool_block *block) {
  size_t low = 0, high = count;
  while (high - low > 1) {
    size_t middle = low + (high - low) / 2;
    if ((const char *)sorted[middle] < (const char *)block)
      low = middle;
    else
      high = middle;
  }
  return sorted[low];
}

/** Of the newest, blocks are still made. */
static bool is_idle(const struct pool *pool, const struct pool_chunk *chunk) {
  return chunk != pool->chunks && chunk->free == chunk->given;
}

static void free_idle_chunks(struct pool *pool) {
  for (struct pool_chunk **link = &pool->chunks; *link;) {
    struct pool_chunk *chunk = *link;
    if (!is_idle(pool, chunk)) {
      link = &chunk->next;
      continue;
    }
    *link = chunk->next;
    pool->size -= CHUNK;
    memory_free(chunk);
  }
}

void pool_trim(struct pool *pool) {
  size_t count = pool->size / CHUNK, at = 0;
  if (count < 2) return;
  struct pool_chunk **sorted = memory_alloc(count * sizeof *sorted);
  for (struct pool_chunk *chunk = pool->chunks; chunk; chunk = chunk->next) {
    chunk->free = 0;
    sorted[at++] = chunk;
  }
  qsort(sorted, count, sizeof *sorted, by_address);
  for (size_t class = 0; class < POOL_CLASSES; class ++)
    for (struct pool_block *block = pool->free[class]; block; block = block->next)
      chunk_of(sorted, count, block)->free += (uint32_t)size_of(class);
  for (size_t class = 0; class < POOL_CLASSES; class ++) {
    for (struct pool_block **link = &pool->free[class]; *link;) {
      if (is_idle(pool, chunk_of(sorted, count, *link)))
        *link = (*link)->next;
      else
        link = &(*link)->next;
    }
  }
  memory_free(sorted);
  free_idle_chunks(pool);
}

void pool_deinit(struct pool *pool) {
  for (struct pool_chunk *chunk = pool->chunks; chunk;) {
    struct pool_chunk *next = chunk->next;
    memory_free(chunk);
    chunk = next;
  }
  *pool = (struct pool){0};
}
