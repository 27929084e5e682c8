#include "state/table.h"

#include "state/index.h"

enum {
  /** How many slots in a row may turn out to stay before table_trim() leaves it for now: so many, and so many
   * more for each slot added since the last time. A round of the hand then ends before the table has grown
   * by an eighth. Past that, inputs will soon be refused: a large step. */
  TRIM_PATIENCE = 64,
  TRIM_A_SLOT = 24,
  TRIM_LARGE = 8192,
  USES_MAX = 3,
  /** So many places before the hand, or the next to be written, it is fetched into the cache. */
  AHEAD_PLACE = 12,
  AHEAD_SLOT = 8,
  AHEAD_RECORD = 4,
  DIRTY_MIN = 64,
  PREFETCH_RECORD = 256 /**< bytes */
};

struct table {
  struct index index;
  size_t hand;  /**< CLOCK's: counts the index's places, in the order of hand_place() */
  size_t added; /**< since the last table_trim() */
  size_t slot_bytes, max_bytes;
  /** A ring, the longest dirty first; null: removed meanwhile. */
  struct slot **dirty;
  size_t dirty_first, dirty_len, dirty_cap; /**< the last: 0 or a power of two */
  size_t dirty_count;                       /**< of dirty_len, without nulls */
};

static bool slot_same(const void *item, struct entity entity) {
  return entity_equal(slot_entity(item), entity);
}

static size_t slot_size(size_t id_len) {
  return offsetof(struct slot, id) + id_len;
}

static void account(struct table *table, struct slot *slot) {
  size_t bytes = memory_taken(slot_size(slot->id_len));
  if (slot->record.bytes.cap) bytes += memory_taken(slot->record.bytes.cap);
  table->slot_bytes += bytes - slot->accounted;
  slot->accounted = (uint32_t)bytes;
}

struct table *table_new(size_t max_bytes) {
  struct table *table = memory_zalloc(sizeof *table);
  table->max_bytes = max_bytes;
  index_init(&table->index);
  return table;
}

void table_free(struct table *table) {
  if (!table) return;
  table_clear(table);
  index_deinit(&table->index);
  memory_free(table);
}

static void slot_free(struct slot *slot) {
  record_deinit(&slot->record);
  memory_free(slot);
}

struct ranked_slot ranked_slot(struct slot *slot) {
  struct entity entity = slot_entity(slot);
  uint64_t rank = (uint64_t)entity_partition(entity) << 8 | entity.kind;
  for (size_t i = 0; i < 6; i++) rank = rank << 8 | (i < entity.id.len ? (uint8_t)entity.id.data[i] : 0);
  return (struct ranked_slot){rank, slot};
}

int ranked_slot_compare(const void *left, const void *right) {
  const struct ranked_slot *a = left, *b = right;
  if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
  return str_compare(slot_entity(a->slot).id, slot_entity(b->slot).id);
}

uint32_t table_hash(struct entity entity) {
  return index_hash(entity);
}

void table_prefetch_place(const struct table *table, uint32_t hash) {
  size_t at = hash & table->index.mask;
  __builtin_prefetch(&table->index.hashes[at]);
  __builtin_prefetch(&table->index.items[at]);
}

/** The slot that has the hash, if there is one: nearly always the one that will be asked for. */
static const struct slot *probable(const struct table *table, uint32_t hash) {
  const struct index *index = &table->index;
  for (size_t at = hash & index->mask; index->hashes[at]; at = (at + 1) & index->mask)
    if (index->hashes[at] == hash) return index->items[at];
  return NULL;
}

void table_prefetch_slot(const struct table *table, uint32_t hash) {
  const char *slot = (const char *)probable(table, hash);
  if (!slot) return;
  for (size_t line = 0; line < sizeof(struct slot) + 16; line += 64) __builtin_prefetch(slot + line);
}

void table_prefetch_record(const struct table *table, uint32_t hash) {
  const struct slot *slot = probable(table, hash);
  if (!slot) return;
  for (size_t line = 0; line < slot->record.bytes.len && line < PREFETCH_RECORD; line += 64)
    __builtin_prefetch(slot->record.bytes.data + line);
}

struct slot *table_find_hashed(struct table *table, uint32_t hash, struct entity entity) {
  struct slot *slot = index_find(&table->index, hash, entity, slot_same);
  if (slot && slot->uses < USES_MAX) slot->uses++;
  return slot;
}

struct slot *table_find(struct table *table, struct entity entity) {
  return table_find_hashed(table, index_hash(entity), entity);
}

struct slot *table_add(struct table *table, struct entity entity) {
  struct slot *slot = memory_zalloc(slot_size(entity.id.len));
  record_init(&slot->record);
  slot->indexed_due = INT64_MAX;
  slot->kind = (uint8_t)entity.kind;
  slot->phase = SLOT_LOADING;
  slot->id_len = (uint16_t)entity.id.len;
  memcpy(slot->id, entity.id.data, entity.id.len);
  index_add(&table->index, index_hash(entity), slot);
  table->added++;
  account(table, slot);
  return slot;
}

static struct slot **dirty_at(const struct table *table, size_t at) {
  return &table->dirty[(table->dirty_first + at) & (table->dirty_cap - 1)];
}

static void dirty_grow(struct table *table) {
  size_t cap = table->dirty_cap ? table->dirty_cap * 2 : DIRTY_MIN;
  struct slot **grown = memory_alloc(cap * sizeof *grown);
  for (size_t at = 0; at < table->dirty_len; at++) grown[at] = *dirty_at(table, at);
  memory_free(table->dirty);
  table->dirty = grown;
  table->dirty_first = 0;
  table->dirty_cap = cap;
}

void table_changed(struct table *table, struct slot *slot, bool dirty) {
  account(table, slot);
  if (!dirty || slot->dirty) return;
  slot->dirty = true;
  if (table->dirty_len == table->dirty_cap) dirty_grow(table);
  *dirty_at(table, table->dirty_len++) = slot;
  table->dirty_count++;
}

void table_prefetch_dirty(const struct table *table) {
  struct slot *slot;
  if (table->dirty_len > AHEAD_SLOT && (slot = *dirty_at(table, AHEAD_SLOT)))
    for (size_t at = 0; at < sizeof *slot + 16; at += 64) __builtin_prefetch((char *)slot + at);
  if (table->dirty_len > AHEAD_RECORD && (slot = *dirty_at(table, AHEAD_RECORD)))
    __builtin_prefetch(slot->record.bytes.data);
}

struct slot *table_take_dirty(struct table *table) {
  struct slot *slot = NULL;
  while (!slot && table->dirty_len) {
    slot = *dirty_at(table, 0);
    table->dirty_first = (table->dirty_first + 1) & (table->dirty_cap - 1);
    table->dirty_len--;
  }
  if (!slot) return NULL;
  table->dirty_count--;
  slot->dirty = false;
  slot->writes++;
  return slot;
}

size_t table_dirty_count(const struct table *table) {
  return table->dirty_count;
}

void table_written(struct table *table, struct slot *slot) {
  (void)table;
  slot->writes--;
}

static bool pinned(const struct slot *slot) {
  return slot->phase == SLOT_LOADING || slot->waiting || slot->dirty || slot->writes;
}

static void unlink_dirty(struct table *table, const struct slot *slot) {
  size_t at = 0;
  while (*dirty_at(table, at) != slot) at++;
  *dirty_at(table, at) = NULL;
  table->dirty_count--;
}

static void remove_hashed(struct table *table, struct slot *slot, uint32_t hash) {
  table->slot_bytes -= slot->accounted;
  index_remove(&table->index, hash, slot);
  slot_free(slot);
}

void table_remove(struct table *table, struct slot *slot) {
  if (slot->dirty) unlink_dirty(table, slot);
  remove_hashed(table, slot, index_hash(slot_entity(slot)));
}

/** Each place once a round, neighbours far apart: one after the other, the hand would leave an empty stretch
 * behind it, and the new would crowd the places before it, where every search gets long. */
static size_t hand_place(const struct table *table, size_t ahead) {
  return (table->hand + ahead) * 0x9e3779b97f4a7c15u & table->index.mask; // odd, so no place is left out
}

static struct slot *slot_in(const struct table *table, size_t place) {
  return table->index.hashes[place] ? table->index.items[place] : NULL;
}

static void hand_ahead(const struct table *table) {
  size_t place = hand_place(table, AHEAD_PLACE);
  __builtin_prefetch(&table->index.hashes[place]);
  __builtin_prefetch(&table->index.items[place]);
  const struct slot *slot = slot_in(table, hand_place(table, AHEAD_SLOT));
  if (slot) __builtin_prefetch(&slot->waiting);
  slot = slot_in(table, hand_place(table, AHEAD_RECORD));
  if (slot && !slot->uses && slot->record.bytes.data)
    __builtin_prefetch(slot->record.bytes.data - sizeof(size_t));
}

static size_t trim_patience(struct table *table) {
  size_t added = table->added;
  table->added = 0;
  if (table_bytes(table) - table->max_bytes > table->max_bytes / 8) return TRIM_LARGE;
  return TRIM_PATIENCE + added * TRIM_A_SLOT;
}

void table_trim(struct table *table) {
  if (table_bytes(table) <= table->max_bytes) {
    table->added = 0;
    return;
  }
  size_t patience = trim_patience(table);
  // Empty places are counted too, else a sparse table could be circled for ever.
  size_t places = 0;
  for (size_t stayed = 0; table_bytes(table) > table->max_bytes && stayed < patience; places++) {
    if (places > table->index.mask) return;
    size_t place = hand_place(table, 0);
    struct slot *slot = slot_in(table, place);
    hand_ahead(table);
    if (slot && !slot->uses && !pinned(slot)) {
      // Another may move into the place: the hand stays.
      remove_hashed(table, slot, table->index.hashes[place]);
      stayed = 0;
      places = 0;
      continue;
    }
    if (slot) {
      if (slot->uses) slot->uses--;
      stayed++;
    }
    table->hand++;
  }
}

void table_clear(struct table *table) {
  for (size_t at = 0; at <= table->index.mask; at++)
    if (table->index.hashes[at]) slot_free(table->index.items[at]);
  index_clear(&table->index);
  memory_free(table->dirty);
  table->dirty = NULL;
  table->dirty_first = table->dirty_len = table->dirty_cap = table->dirty_count = 0;
  table->hand = table->added = table->slot_bytes = 0;
}

size_t table_count(const struct table *table) {
  return table->index.count;
}

size_t table_bytes(const struct table *table) {
  return table->slot_bytes + index_bytes(&table->index) + table->dirty_cap * sizeof *table->dirty;
}

void table_each(struct table *table, void (*visit)(void *context, struct slot *slot), void *context) {
  for (size_t at = 0; at <= table->index.mask; at++)
    if (table->index.hashes[at]) visit(context, table->index.items[at]);
}
