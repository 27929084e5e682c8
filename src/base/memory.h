/** Allocation that cannot fail: a host without memory aborts and recovers from its log.
 *
 * That path is the one `kill -9` proves; a thousand untested "return NULL" branches are not. What a client
 * can make large (bodies, results, queues) is bounded by its own limit before it gets here.
 */
#pragma once

#include <stddef.h>

/** Give large blocks back to the system as soon as they are freed. The C library would rather keep them, more
 * of them the larger the largest one was: after the sealing of a segment, hundreds of megabytes. Once, before
 * any other thread starts. */
void memory_setup(void);
void *memory_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *memory_zalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *memory_realloc(void *old, size_t size) __attribute__((returns_nonnull));
/** For tables that are read at random: it begins at a cache line, and a large one lies on huge pages where
 * the system has them, which saves most of such a read's address translation. Not zeroed. */
void *memory_alloc_table(size_t size) __attribute__((malloc, returns_nonnull));
/** A terminated copy of `len` bytes. */
char *memory_dup(const char *data, size_t len) __attribute__((malloc, returns_nonnull));
/** What malloc takes for so many bytes: a word of its own, rounded up to 16, 32 at least. */
static inline size_t memory_taken(size_t size) {
  size_t taken = (size + sizeof(void *) + 15) & ~(size_t)15;
  return taken < 32 ? 32 : taken;
}
/** free(), named so that ownership reads in one vocabulary. Null is fine. */
void memory_free(void *memory);
