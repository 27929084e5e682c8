#include "engine/pool.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
enum { SMALL_MAX = 0 }; // each block on its own, so that the sanitizer sees what happens to it
#else
enum { SMALL_MAX = POOL_STEP * POOL_CLASSES };
#endif
enum { CHUNK = 64 << 10 };

static size_t class_of(size_t size) {
  return (size - 1) / POOL_STEP;
}

static void *take(struct pool *pool, size_t size) {
  size_t class = class_of(size), rounded = (class + 1) * POOL_STEP;
  struct pool_block *block = pool->free[class];
  if (block) {
    pool->free[class] = block->next;
    return block;
  }
  if (pool->left < rounded) {
    struct pool_block *chunk = memory_alloc(CHUNK);
    chunk->next = pool->chunks;
    pool->chunks = chunk;
    pool->at = (char *)chunk + POOL_STEP;
    pool->left = CHUNK - POOL_STEP;
  }
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

void pool_deinit(struct pool *pool) {
  for (struct pool_block *chunk = pool->chunks; chunk;) {
    struct pool_block *next = chunk->next;
    memory_free(chunk);
    chunk = next;
  }
  *pool = (struct pool){0};
}
