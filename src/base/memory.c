#include "base/memory.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Noreturn void give_up(size_t size) {
  fprintf(stderr, "out of memory: %zu bytes were refused; the log has everything that was acknowledged\n",
          size);
  abort();
}

void memory_setup(void) {
  enum { LARGE = 1 << 20, KEPT_AT_THE_TOP = 4 << 20 };
  mallopt(M_MMAP_THRESHOLD, LARGE);
  mallopt(M_TRIM_THRESHOLD, KEPT_AT_THE_TOP);
}

void *memory_alloc(size_t size) {
  void *memory = malloc(size ? size : 1);
  if (!memory) give_up(size);
  return memory;
}

void *memory_alloc_table(size_t size) {
  enum { CACHE_LINE = 64, HUGE_PAGE = 2 << 20, LARGE = 2 * HUGE_PAGE };
  void *memory = NULL;
  if (posix_memalign(&memory, size < LARGE ? CACHE_LINE : HUGE_PAGE, size)) give_up(size);
  if (size >= LARGE) madvise(memory, size / HUGE_PAGE * HUGE_PAGE, MADV_HUGEPAGE); // a wish
  return memory;
}

void *memory_zalloc(size_t size) {
  void *memory = calloc(1, size ? size : 1);
  if (!memory) give_up(size);
  return memory;
}

void *memory_realloc(void *old, size_t size) {
  void *memory = realloc(old, size ? size : 1);
  if (!memory) give_up(size);
  return memory;
}

char *memory_dup(const char *data, size_t len) {
  if (len == SIZE_MAX) give_up(len);
  char *copy = memory_alloc(len + 1);
  if (len) memcpy(copy, data, len);
  copy[len] = 0;
  return copy;
}

void memory_free(void *memory) {
  free(memory);
}
