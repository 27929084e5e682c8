// links: base config event state gate deliver engine
/* The memory of a Lua state: blocks keep what is written to them, and what nobody uses goes back. */
#include "test_engine_support.h"

#include "engine/pool.h"
#include "random.h"

#if defined(__SANITIZE_ADDRESS__)
enum { POOLED = false }; // each block is on its own there (pool.c)
#else
enum { POOLED = true };
#endif

enum { BLOCKS = 20000, LARGEST = 600 };

struct block {
  uint8_t *bytes;
  size_t size;
  uint8_t mark;
};

static void fill(struct block *block) {
  memset(block->bytes, block->mark, block->size);
}

static void check(const struct block *block, size_t len) {
  for (size_t i = 0; i < len; i++) assert_int_equal(block->bytes[i], block->mark);
}

/** Grown, shrunk, freed and trimmed in any order. */
static void test_contents(void **state) {
  (void)state;
  struct pool pool = {0};
  struct block *blocks = calloc(BLOCKS, sizeof *blocks);
  seed = 7;
  for (int step = 0; step < 200000; step++) {
    struct block *block = &blocks[next_random() % BLOCKS];
    size_t size = next_random() % LARGEST;
    if (size == 0) {
      pool_give(&pool, block->bytes, block->size);
      *block = (struct block){0};
    } else {
      block->bytes = pool_resize(&pool, block->bytes, block->size, size);
      check(block, size < block->size ? size : block->size);
      block->size = size;
      block->mark = (uint8_t)step;
      fill(block);
    }
    if (step % 20000 == 0) pool_trim(&pool);
  }
  for (size_t i = 0; i < BLOCKS; i++) {
    check(&blocks[i], blocks[i].size);
    pool_give(&pool, blocks[i].bytes, blocks[i].size);
  }
  pool_trim(&pool);
  if (POOLED) assert_true(pool.size <= 64 << 10); // the newest stays
  pool_deinit(&pool);
  free(blocks);
}

/** A chunk goes back only when nothing in it is in use. */
static void test_trim(void **state) {
  (void)state;
  struct pool pool = {0};
  struct block blocks[POOL_CLASSES] = {0};
  static uint8_t *many[BLOCKS];
  for (size_t class = 0; class < POOL_CLASSES; class ++) {
    size_t size = (class + 1) * POOL_STEP;
    for (size_t i = 0; i < BLOCKS; i++) many[i] = pool_resize(&pool, NULL, 0, size);
    blocks[class] = (struct block){pool_resize(&pool, NULL, 0, size), size, (uint8_t) class};
    fill(&blocks[class]);
    for (size_t i = 0; i < BLOCKS; i++) pool_give(&pool, many[i], size);
  }
  size_t before = pool.size;
  pool_trim(&pool);
  for (size_t class = 0; class < POOL_CLASSES; class ++) check(&blocks[class], blocks[class].size);
  if (POOLED) {
    assert_true(before > 40 << 20);
    assert_true(pool.size <= (POOL_CLASSES + 1) * (64 << 10)); // one for each block that is in use
  }
  for (size_t class = 0; class < POOL_CLASSES; class ++) { // and the lists are whole
    size_t size = (class + 1) * POOL_STEP;
    for (size_t i = 0; i < BLOCKS / 10; i++) memset(many[i] = pool_resize(&pool, NULL, 0, size), 0xff, size);
    for (size_t i = 0; i < BLOCKS / 10; i++) pool_give(&pool, many[i], size);
  }
  for (size_t class = 0; class < POOL_CLASSES; class ++) {
    check(&blocks[class], blocks[class].size);
    pool_give(&pool, blocks[class].bytes, blocks[class].size);
  }
  pool_deinit(&pool);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_contents), cmocka_unit_test(test_trim)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
