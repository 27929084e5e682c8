/** Allocation that cannot fail: a host without memory aborts and recovers from its log.
 *
 * That path is the one `kill -9` proves; a thousand untested "return NULL" branches are not. What a client
 * can make large (bodies, results, queues) is bounded by its own limit before it gets here.
 */
#pragma once

#include <stddef.h>

void *memory_alloc(size_t size) __attribute__((malloc, returns_nonnull));
void *memory_zalloc(size_t size) __attribute__((malloc, returns_nonnull));
void *memory_realloc(void *old, size_t size) __attribute__((returns_nonnull));
/** A terminated copy of `len` bytes. */
char *memory_dup(const char *data, size_t len) __attribute__((malloc, returns_nonnull));
/** free(), named so that ownership reads in one vocabulary. Null is fine. */
void memory_free(void *memory);
