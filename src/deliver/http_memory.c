#include "deliver/http_memory.h"

#include <curl/curl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
enum { CLASSES = 0 }; // each block on its own, so that the sanitizer sees what happens to it
#else
enum { CLASSES = 64 };
#endif
enum {
  STEP = 64,          /**< between the sizes of blocks that are kept, heads included */
  KEPT_MAX = 2 << 20, /**< bytes kept by a thread */
  LARGE = UINT16_MAX  /**< class of a block that is never kept */
};

/** What stands before each block. */
struct head {
  union {
    struct head *next; /**< kept: the next of its class */
    size_t size;       /**< LARGE: bytes asked for */
  };
  uint16_t class;
};
enum { HEAD = 16 };
_Static_assert(sizeof(struct head) <= HEAD, "blocks are aligned as malloc's are");

static _Thread_local struct {
  bool on;
  size_t bytes;
  struct head *free[CLASSES + 1];
} kept;

static size_t room_of(size_t class) {
  return (class + 1) * STEP - HEAD;
}

static void *block_of(struct head *head) {
  return (char *)head + HEAD;
}

static struct head *head_of(void *block) {
  return (struct head *)((char *)block - HEAD);
}

static void *take(size_t size) {
  size_t class = (size + HEAD - 1) / STEP;
  struct head *head;
  if (class + 1 > CLASSES) { // there may be none
    if (size > SIZE_MAX - HEAD || !(head = malloc(size + HEAD))) return NULL;
    *head = (struct head){.size = size, .class = LARGE};
    return block_of(head);
  }
  head = kept.free[class];
  if (head) {
    kept.free[class] = head->next;
    kept.bytes -= (class + 1) * STEP;
  } else if ((head = malloc((class + 1) * STEP))) {
    head->class = (uint16_t) class;
  } else {
    return NULL;
  }
  return block_of(head);
}

static void give(void *block) {
  if (!block) return;
  struct head *head = head_of(block);
  size_t class = head->class;
  if (class == LARGE || !kept.on || kept.bytes >= KEPT_MAX) {
    free(head);
    return;
  }
  head->next = kept.free[class];
  kept.free[class] = head;
  kept.bytes += (class + 1) * STEP;
}

static void *take_zeroed(size_t count, size_t size) {
  if (size && count > SIZE_MAX / size) return NULL;
  void *block = take(count * size);
  if (block) memset(block, 0, count * size);
  return block;
}

static void *resize(void *old, size_t size) {
  if (!old) return take(size);
  struct head *head = head_of(old);
  size_t room = head->class == LARGE ? head->size : room_of(head->class);
  if (head->class == LARGE && size > room_of(CLASSES) && size <= SIZE_MAX - HEAD) {
    struct head *moved = realloc(head, size + HEAD);
    if (!moved) return NULL;
    moved->size = size;
    return block_of(moved);
  }
  if (head->class != LARGE && size <= room) return old;
  void *block = take(size);
  if (!block) return NULL;
  memcpy(block, old, size < room ? size : room);
  give(old);
  return block;
}

static char *copy(const char *text) {
  size_t size = strlen(text) + 1;
  char *block = take(size);
  return block ? memcpy(block, text, size) : NULL;
}

void http_memory_start(void) {
  curl_global_init_mem(CURL_GLOBAL_ALL, take, give, resize, copy, take_zeroed);
}

void http_memory_keep(bool keep) {
  kept.on = keep;
  for (size_t class = 0; class + 1 <= CLASSES && !keep; class ++) {
    for (struct head *head = kept.free[class], *next; head; head = next) {
      next = head->next;
      free(head);
    }
    kept.free[class] = NULL;
  }
  if (!keep) kept.bytes = 0;
}
