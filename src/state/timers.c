#include "state/timers.h"

#include "state/index.h"

struct entry {
  uint32_t hash;
  uint32_t position; /**< in the heap */
  uint16_t id_len;
  uint8_t kind;
  char id[];
};

/** The due time lies in the heap, so that most comparisons follow no pointer. */
struct node {
  int64_t due;
  struct entry *entry;
};

/** Children of i: 4i+1 … 4i+4. Four of them share a cache line, and the tree is half as deep as with two. */
enum { HEAP_ARITY = 4, HEAP_MIN = 64 };

struct timers {
  struct index index;
  struct node *heap;
  size_t count, cap;
  size_t entry_bytes; /**< of all entries */
};

static size_t entry_bytes(size_t id_len) {
  return memory_taken(sizeof(struct entry) + id_len);
}

static struct entity entry_entity(const struct entry *entry) {
  return (struct entity){entry->kind, {entry->id, entry->id_len}};
}

static bool entry_same(const void *item, struct entity entity) {
  return entity_equal(entry_entity(item), entity);
}

struct timers *timers_new(void) {
  struct timers *timers = memory_zalloc(sizeof *timers);
  index_init(&timers->index);
  return timers;
}

void timers_free(struct timers *timers) {
  if (!timers) return;
  timers_clear(timers);
  index_deinit(&timers->index);
  memory_free(timers);
}

void timers_clear(struct timers *timers) {
  for (size_t i = 0; i < timers->count; i++) memory_free(timers->heap[i].entry);
  memory_free(timers->heap);
  timers->heap = NULL;
  timers->count = timers->cap = timers->entry_bytes = 0;
  index_clear(&timers->index);
}

static bool before(const struct node *a, const struct node *b) {
  if (a->due != b->due) return a->due < b->due;
  if (a->entry->kind != b->entry->kind) return a->entry->kind < b->entry->kind;
  size_t common = a->entry->id_len < b->entry->id_len ? a->entry->id_len : b->entry->id_len;
  int order = memcmp(a->entry->id, b->entry->id, common);
  return order ? order < 0 : a->entry->id_len < b->entry->id_len;
}

static void put(struct timers *timers, size_t at, struct node node) {
  timers->heap[at] = node;
  node.entry->position = (uint32_t)at;
}

static void rise(struct timers *timers, size_t at, struct node node) {
  while (at) {
    size_t parent = (at - 1) / HEAP_ARITY;
    if (!before(&node, &timers->heap[parent])) break;
    put(timers, at, timers->heap[parent]);
    at = parent;
  }
  put(timers, at, node);
}

static void sink(struct timers *timers, size_t at, struct node node) {
  for (;;) {
    size_t first = at * HEAP_ARITY + 1, least = first;
    if (first >= timers->count) break;
    size_t end = first + HEAP_ARITY < timers->count ? first + HEAP_ARITY : timers->count;
    for (size_t child = first + 1; child < end; child++)
      if (before(&timers->heap[child], &timers->heap[least])) least = child;
    if (!before(&timers->heap[least], &node)) break;
    put(timers, at, timers->heap[least]);
    at = least;
  }
  put(timers, at, node);
}

static void settle(struct timers *timers, size_t at, struct node node) {
  if (at && before(&node, &timers->heap[(at - 1) / HEAP_ARITY]))
    rise(timers, at, node);
  else
    sink(timers, at, node);
}

static void drop(struct timers *timers, struct entry *entry) {
  size_t at = entry->position;
  struct node last = timers->heap[--timers->count];
  if (last.entry != entry) settle(timers, at, last);
  index_remove(&timers->index, entry->hash, entry);
  timers->entry_bytes -= entry_bytes(entry->id_len);
  memory_free(entry);
}

static void add(struct timers *timers, uint32_t hash, struct entity entity, int64_t due) {
  struct entry *entry = memory_alloc(sizeof *entry + entity.id.len);
  entry->hash = hash;
  entry->id_len = (uint16_t)entity.id.len;
  entry->kind = (uint8_t)entity.kind;
  memcpy(entry->id, entity.id.data, entity.id.len);
  timers->entry_bytes += entry_bytes(entity.id.len);
  if (timers->count == timers->cap) {
    timers->cap = timers->cap ? timers->cap * 2 : HEAP_MIN;
    timers->heap = memory_realloc(timers->heap, timers->cap * sizeof *timers->heap);
  }
  index_add(&timers->index, hash, entry);
  timers->count++;
  rise(timers, timers->count - 1, (struct node){due, entry});
}

void timers_set(struct timers *timers, struct entity entity, int64_t due) {
  uint32_t hash = index_hash(entity);
  struct entry *entry = index_find(&timers->index, hash, entity, entry_same);
  if (!entry) {
    if (due != INT64_MAX) add(timers, hash, entity, due);
  } else if (due == INT64_MAX) {
    drop(timers, entry);
  } else if (timers->heap[entry->position].due != due) {
    settle(timers, entry->position, (struct node){due, entry});
  }
}

int64_t timers_due(const struct timers *timers, struct entity entity) {
  const struct entry *entry = index_find(&timers->index, index_hash(entity), entity, entry_same);
  return entry ? timers->heap[entry->position].due : INT64_MAX;
}

bool timers_next(const struct timers *timers, int64_t *due, struct entity *entity) {
  if (!timers->count) return false;
  *due = timers->heap[0].due;
  *entity = entry_entity(timers->heap[0].entry);
  return true;
}

static void each_due(const struct timers *timers, size_t at, int64_t until,
                     void (*each)(void *context, struct entity entity), void *context) {
  if (at >= timers->count || timers->heap[at].due > until) return;
  each(context, entry_entity(timers->heap[at].entry));
  for (size_t i = 1; i <= HEAP_ARITY; i++) each_due(timers, at * HEAP_ARITY + i, until, each, context);
}

void timers_each_due(const struct timers *timers, int64_t until,
                     void (*each)(void *context, struct entity entity), void *context) {
  each_due(timers, 0, until, each, context);
}

size_t timers_count(const struct timers *timers) {
  return timers->count;
}

size_t timers_bytes(const struct timers *timers) {
  return timers->entry_bytes + timers->cap * sizeof *timers->heap + index_bytes(&timers->index);
}
