/** Memory of one Lua state: small blocks from lists by size, large ones from malloc. The whole
 * table of an event takes forty small blocks, which this way cost a seventh less of a call. A block serves
 * its size alone, so what the pool has taken it keeps until it is trimmed. One thread.
 */
#pragma once

#include <stddef.h>

/** Sizes of small blocks: multiples of the step. */
enum { POOL_STEP = 16, POOL_CLASSES = 16 };

struct pool {
  struct pool_block {
    struct pool_block *next;
  } * free[POOL_CLASSES];
  struct pool_chunk *chunks; /**< the newest first */
  char *at;                  /**< what is left of the newest chunk */
  size_t left;
  size_t size; /**< bytes of chunks */
};

void pool_deinit(struct pool *pool);
/** As realloc(), told the old size; `old` null with size 0 for a new block. Never fails where it shrinks.
 * @return null if malloc refuses a large block. */
void *pool_resize(struct pool *pool, void *old, size_t old_size, size_t new_size);
/** Take a block back; null is fine. */
void pool_give(struct pool *pool, void *block, size_t size);
/** Free the chunks of which no block is in use. Takes a moment a free block. */
void pool_trim(struct pool *pool);
