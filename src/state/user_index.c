/* Entries of the user index: their form in effects, and the index in memory. */
#include "state/user_index.h"

#include "base/memory.h"
#include "state/index.h"
#include "state/store_key.h"

#include <stdlib.h>

enum { CHANGE_REMOVE = 1, CHANGE_EXTEND = 2 };

bool index_change_fits(const struct index_change *change) {
  return change->index.len && change->index.len <= INDEX_NAME_MAX && change->key.len <= INDEX_KEY_MAX &&
         change->value.len <= INDEX_VALUE_MAX;
}

void index_change_encode(const struct index_change *change, struct buf *out) {
  buf_put_u8(out, change->remove ? CHANGE_REMOVE : change->extend ? CHANGE_EXTEND : 0);
  buf_put_str(out, change->index);
  buf_put_str(out, change->key);
  if (change->remove) return;
  buf_put_str(out, change->value);
  buf_put_zigzag(out, change->expires);
}

bool index_change_decode(struct index_change *change, struct reader *reader) {
  uint8_t flags = reader_u8(reader);
  *change = (struct index_change){.remove = flags == CHANGE_REMOVE, .extend = flags == CHANGE_EXTEND};
  change->index = reader_str(reader);
  change->key = reader_str(reader);
  change->value = change->remove ? STR("") : reader_str(reader);
  if (!change->remove) change->expires = reader_zigzag(reader);
  return !reader->bad && flags <= CHANGE_EXTEND && index_change_fits(change);
}

void index_cursor_set(struct buf *cursor, struct entity entity) {
  buf_clear(cursor);
  key_put_entity(cursor, entity);
}

/* ---- in memory ---- */

struct entry {
  struct buf value;
  int64_t expires;
  uint32_t place; /**< in its list's entries */
  uint32_t key_len;
  uint8_t kind;
  char key[]; /**< as the store has it: partition, kind, id, 0 */
};

/** Everybody under one key. */
struct list {
  struct index by_entity;
  struct entry **entries; /**< in the order of their keys when `sorted` */
  uint32_t count, cap;
  bool sorted;
  size_t name_len;
  char name[]; /**< index, 0, key */
};

struct user_index {
  struct index lists;
  struct list **all;
  size_t count, cap;
  struct buf name;
};

struct user_index *user_index_new(void) {
  struct user_index *index = memory_zalloc(sizeof *index);
  index_init(&index->lists);
  buf_init(&index->name);
  return index;
}

static struct entity entry_entity(const struct entry *entry) {
  return (struct entity){(enum entity_kind)entry->kind, {entry->key + 2, entry->key_len - 3}};
}

static void entry_free(struct entry *entry) {
  buf_deinit(&entry->value);
  memory_free(entry);
}

void user_index_free(struct user_index *index) {
  if (!index) return;
  for (size_t i = 0; i < index->count; i++) {
    struct list *list = index->all[i];
    for (uint32_t j = 0; j < list->count; j++) entry_free(list->entries[j]);
    index_deinit(&list->by_entity);
    memory_free(list->entries);
    memory_free(list);
  }
  memory_free(index->all);
  index_deinit(&index->lists);
  buf_deinit(&index->name);
  memory_free(index);
}

/** A list's name goes for an entity's id: that is what state/index looks things up by. */
static bool same_list(const void *item, struct entity name) {
  const struct list *list = item;
  return str_equal((struct str){list->name, list->name_len}, name.id);
}

static bool same_entry(const void *item, struct entity entity) {
  return entity_equal(entry_entity(item), entity);
}

static struct list *list_of(struct user_index *index, struct str name, struct str key, bool make) {
  buf_clear(&index->name);
  buf_append(&index->name, name.data, name.len);
  buf_put_u8(&index->name, 0);
  buf_append(&index->name, key.data, key.len);
  struct entity as_entity = {ENTITY_SUBJECT, buf_str(&index->name)};
  uint32_t hash = index_hash(as_entity);
  struct list *list = index_find(&index->lists, hash, as_entity, same_list);
  if (list || !make) return list;
  list = memory_zalloc(sizeof *list + index->name.len);
  index_init(&list->by_entity);
  list->sorted = true;
  list->name_len = index->name.len;
  memcpy(list->name, index->name.data, index->name.len);
  index_add(&index->lists, hash, list);
  if (index->count == index->cap) {
    index->cap = index->cap ? index->cap * 2 : 16;
    index->all = memory_realloc(index->all, index->cap * sizeof *index->all);
  }
  return index->all[index->count++] = list;
}

static struct entry *entry_add(struct list *list, struct entity entity, uint32_t hash) {
  struct entry *entry = memory_zalloc(sizeof *entry + entity.id.len + 3);
  struct buf key = {(uint8_t *)entry->key, 0, entity.id.len + 3};
  key_put_entity(&key, entity);
  entry->key_len = (uint32_t)key.len;
  entry->kind = (uint8_t)entity.kind;
  entry->place = list->count;
  index_add(&list->by_entity, hash, entry);
  if (list->count == list->cap) {
    list->cap = list->cap ? list->cap * 2 : 16;
    list->entries = memory_realloc(list->entries, list->cap * sizeof(struct entry *));
  }
  list->entries[list->count++] = entry;
  list->sorted = false;
  return entry;
}

static void entry_remove(struct list *list, struct entry *entry, uint32_t hash) {
  struct entry *last = list->entries[--list->count];
  list->entries[entry->place] = last;
  last->place = entry->place;
  if (last != entry) list->sorted = false;
  index_remove(&list->by_entity, hash, entry);
  entry_free(entry);
}

void user_index_apply(struct user_index *index, struct entity entity, const struct index_change *change) {
  struct list *list = list_of(index, change->index, change->key, !change->remove);
  if (!list) return;
  uint32_t hash = index_hash(entity);
  struct entry *entry = index_find(&list->by_entity, hash, entity, same_entry);
  if (change->remove) {
    if (entry) entry_remove(list, entry, hash);
    return;
  }
  if (entry && change->extend && index_later(entry->expires, change->expires) != change->expires) return;
  if (!entry) entry = entry_add(list, entity, hash);
  entry->expires = change->expires;
  buf_clear(&entry->value);
  buf_append(&entry->value, change->value.data, change->value.len);
}

static struct str key_of(const struct entry *entry) {
  return (struct str){entry->key, entry->key_len};
}

static int by_key(const void *a, const void *b) {
  const struct entry *left = *(struct entry *const *)a, *right = *(struct entry *const *)b;
  return str_compare(key_of(left), key_of(right));
}

static void sort(struct list *list) {
  if (list->sorted) return;
  qsort(list->entries, list->count, sizeof(struct entry *), by_key);
  for (uint32_t i = 0; i < list->count; i++) list->entries[i]->place = i;
  list->sorted = true;
}

/** The first place behind these bytes. */
static uint32_t place_behind(const struct list *list, const char *key, size_t len) {
  uint32_t low = 0, high = list->count;
  while (low < high) {
    uint32_t middle = low + (high - low) / 2;
    const struct entry *entry = list->entries[middle];
    if (str_compare(key_of(entry), (struct str){key, len}) <= 0)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

int user_index_scan(struct user_index *index, struct str name, struct str key, int partition, int64_t now,
                    struct buf *cursor, uint32_t most,
                    int (*visit)(void *context, const struct index_user *user), void *context) {
  struct list *list = list_of(index, name, key, false);
  if (!list) return 0;
  sort(list);
  char begin = (char)partition;
  uint32_t at = cursor->len     ? place_behind(list, (const char *)cursor->data, cursor->len)
                : partition < 0 ? 0
                                : place_behind(list, &begin, 1);
  uint32_t looked = 0;
  for (; looked < most && at < list->count; at++, looked++) {
    const struct entry *entry = list->entries[at];
    if (partition >= 0 && (uint8_t)entry->key[0] != partition) break;
    buf_clear(cursor);
    buf_append(cursor, entry->key, entry->key_len);
    if (index_expired(entry->expires, now)) continue;
    int rc =
        visit(context, &(struct index_user){entry_entity(entry), buf_str(&entry->value), entry->expires});
    if (rc) return rc;
  }
  return (int)looked;
}
