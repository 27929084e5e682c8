#include "deliver/links.h"

#include "base/memory.h"

#include <string.h>

void heap_deinit(struct heap *heap) {
  memory_free(heap->items);
  *heap = (struct heap){0};
}

static void place(struct heap *heap, size_t at, struct heap_item *item) {
  heap->items[at] = item;
  item->at = at + 1;
}

/** Move the item that belongs at `at` or above it into its place. */
static void rise(struct heap *heap, size_t at, struct heap_item *item) {
  while (at > 0) {
    size_t parent = (at - 1) / 2;
    if (heap->items[parent]->key <= item->key) break;
    place(heap, at, heap->items[parent]);
    at = parent;
  }
  place(heap, at, item);
}

static void sink(struct heap *heap, size_t at, struct heap_item *item) {
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= heap->count) break;
    if (child + 1 < heap->count && heap->items[child + 1]->key < heap->items[child]->key) child++;
    if (heap->items[child]->key >= item->key) break;
    place(heap, at, heap->items[child]);
    at = child;
  }
  place(heap, at, item);
}

void heap_put(struct heap *heap, struct heap_item *item, int64_t key) {
  if (heap->count == heap->capacity) {
    heap->capacity = heap->capacity ? heap->capacity * 2 : 64;
    heap->items = memory_realloc(heap->items, heap->capacity * sizeof(struct heap_item *));
  }
  item->key = key;
  rise(heap, heap->count++, item);
}

void heap_remove(struct heap *heap, struct heap_item *item) {
  size_t at = item->at - 1;
  struct heap_item *last = heap->items[--heap->count];
  item->at = 0;
  if (last == item) return;
  if (at > 0 && heap->items[(at - 1) / 2]->key > last->key)
    rise(heap, at, last);
  else
    sink(heap, at, last);
}

enum { BUCKETS_LEAST = 64 };

void hash_table_init(struct hash_table *table) {
  *table = (struct hash_table){memory_zalloc(BUCKETS_LEAST * sizeof(struct hashed *)), BUCKETS_LEAST - 1, 0};
}

void hash_table_deinit(struct hash_table *table) {
  memory_free(table->buckets);
  *table = (struct hash_table){0};
}

static void hook(struct hash_table *table, struct hashed *item) {
  struct hashed **bucket = &table->buckets[item->hash & table->mask];
  item->next = *bucket;
  item->link = bucket;
  if (*bucket) (*bucket)->link = &item->next;
  *bucket = item;
}

static void resize(struct hash_table *table, size_t buckets) {
  struct hashed **old = table->buckets;
  size_t old_count = table->mask + 1;
  table->buckets = memory_zalloc(buckets * sizeof(struct hashed *));
  table->mask = buckets - 1;
  for (size_t i = 0; i < old_count; i++) {
    for (struct hashed *item = old[i], *next; item; item = next) {
      next = item->next;
      hook(table, item);
    }
  }
  memory_free(old);
}

void hash_table_add(struct hash_table *table, struct hashed *item, uint64_t hash) {
  if (table->count > table->mask) resize(table, 2 * (table->mask + 1));
  item->hash = hash;
  hook(table, item);
  table->count++;
}

void hash_table_remove(struct hash_table *table, struct hashed *item) {
  *item->link = item->next;
  if (item->next) item->next->link = item->link;
  table->count--;
  if (table->mask >= BUCKETS_LEAST && table->count < (table->mask + 1) / 8)
    resize(table, (table->mask + 1) / 2);
}

static struct hashed *from(struct hashed *item, uint64_t hash) {
  while (item && item->hash != hash) item = item->next;
  return item;
}

struct hashed *hash_table_find(const struct hash_table *table, uint64_t hash) {
  return from(table->buckets[hash & table->mask], hash);
}

struct hashed *hash_table_next(const struct hashed *item) {
  return from(item->next, item->hash);
}
