/** Intrusive containers for entries that stand in several orders at once: lists, heaps, hash tables. One
 * thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer)-offsetof(type, member)))

/* ---- lists ---- */

struct list_item {
  struct list_item *prev, *next;
};
struct list {
  struct list_item *first, *last;
  size_t count;
};
static inline void list_append(struct list *list, struct list_item *item) {
  *item = (struct list_item){list->last, NULL};
  *(list->last ? &list->last->next : &list->first) = item;
  list->last = item;
  list->count++;
}
/** The item must be in this list. */
static inline void list_remove(struct list *list, struct list_item *item) {
  *(item->prev ? &item->prev->next : &list->first) = item->next;
  *(item->next ? &item->next->prev : &list->last) = item->prev;
  list->count--;
}

/* ---- heaps: the least key first ---- */

struct heap_item {
  int64_t key;
  size_t at; /**< place in the heap from 1; 0: in none */
};
struct heap {
  struct heap_item **items;
  size_t count, capacity;
};
void heap_deinit(struct heap *heap);
/** The item must be in no heap. */
void heap_put(struct heap *heap, struct heap_item *item, int64_t key);
/** The item must be in this heap. */
void heap_remove(struct heap *heap, struct heap_item *item);
static inline struct heap_item *heap_first(const struct heap *heap) {
  return heap->count ? heap->items[0] : NULL;
}

/* ---- hash tables: items under a hash, equal or not ---- */

struct hashed {
  struct hashed *next, **link;
  uint64_t hash;
};
struct hash_table {
  struct hashed **buckets;
  size_t mask, count;
};
void hash_table_init(struct hash_table *table);
void hash_table_deinit(struct hash_table *table);
void hash_table_add(struct hash_table *table, struct hashed *item, uint64_t hash);
void hash_table_remove(struct hash_table *table, struct hashed *item);
/** The first item under the hash, then its followers. */
struct hashed *hash_table_find(const struct hash_table *table, uint64_t hash);
struct hashed *hash_table_next(const struct hashed *item);
