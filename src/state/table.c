#include "state/table.h"

#include "state/index.h"

/** How many slots in a row may turn out to stay before table_trim() leaves it for now. */
enum { TRIM_PATIENCE = 64 };

struct table {
  struct index index;
  size_t hand; /**< CLOCK's, over the index's places */
  size_t slot_bytes, max_bytes;
  struct slot *dirty, *dirty_last;
  size_t dirty_count;
};

static bool slot_same(const void *item, struct entity entity) {
  return entity_equal(slot_entity(item), entity);
}

/** What malloc takes for it: a word of its own, rounded up to 16. */
static size_t heap_bytes(size_t size) {
  return size ? (size + sizeof(void *) + 15) & ~(size_t)15 : 0;
}

static void account(struct table *table, struct slot *slot) {
  size_t bytes = heap_bytes(sizeof *slot + slot->id_len) + heap_bytes(slot->record.bytes.cap);
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

struct slot *table_find(struct table *table, struct entity entity) {
  struct slot *slot = index_find(&table->index, index_hash(entity), entity, slot_same);
  if (slot) slot->touched = true;
  return slot;
}

struct slot *table_add(struct table *table, struct entity entity) {
  struct slot *slot = memory_zalloc(sizeof *slot + entity.id.len);
  record_init(&slot->record);
  slot->indexed_due = INT64_MAX;
  slot->kind = (uint8_t)entity.kind;
  slot->phase = SLOT_LOADING;
  slot->touched = true;
  slot->id_len = (uint32_t)entity.id.len;
  memcpy(slot->id, entity.id.data, entity.id.len);
  index_add(&table->index, index_hash(entity), slot);
  account(table, slot);
  return slot;
}

void table_changed(struct table *table, struct slot *slot, bool dirty) {
  account(table, slot);
  if (!dirty || slot->dirty) return;
  slot->dirty = true;
  slot->dirty_next = NULL;
  if (table->dirty_last)
    table->dirty_last->dirty_next = slot;
  else
    table->dirty = slot;
  table->dirty_last = slot;
  table->dirty_count++;
}

struct slot *table_take_dirty(struct table *table) {
  struct slot *slot = table->dirty;
  if (!slot) return NULL;
  table->dirty = slot->dirty_next;
  if (!table->dirty) table->dirty_last = NULL;
  table->dirty_count--;
  slot->dirty = false;
  slot->dirty_next = NULL;
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
  struct slot *previous = NULL, **at = &table->dirty;
  for (; *at != slot; at = &(*at)->dirty_next) previous = *at;
  *at = slot->dirty_next;
  if (table->dirty_last == slot) table->dirty_last = previous;
  table->dirty_count--;
}

void table_remove(struct table *table, struct slot *slot) {
  if (slot->dirty) unlink_dirty(table, slot);
  table->slot_bytes -= slot->accounted;
  index_remove(&table->index, index_hash(slot_entity(slot)), slot);
  slot_free(slot);
}

void table_trim(struct table *table) {
  // Empty places are counted too, else a sparse table could be circled for ever.
  size_t places = 0;
  for (int stayed = 0; table_bytes(table) > table->max_bytes && stayed < TRIM_PATIENCE; places++) {
    if (places > table->index.mask) return;
    table->hand &= table->index.mask;
    struct slot *slot = table->index.hashes[table->hand] ? table->index.items[table->hand] : NULL;
    if (slot && !slot->touched && !pinned(slot)) {
      // Another may move into the place: the hand stays.
      table_remove(table, slot);
      stayed = 0;
      places = 0;
      continue;
    }
    if (slot) {
      slot->touched = false;
      stayed++;
    }
    table->hand++;
  }
}

void table_clear(struct table *table) {
  for (size_t at = 0; at <= table->index.mask; at++)
    if (table->index.hashes[at]) slot_free(table->index.items[at]);
  index_clear(&table->index);
  table->hand = table->slot_bytes = table->dirty_count = 0;
  table->dirty = table->dirty_last = NULL;
}

size_t table_count(const struct table *table) {
  return table->index.count;
}

size_t table_bytes(const struct table *table) {
  return table->slot_bytes + index_bytes(&table->index);
}

void table_each(struct table *table, void (*visit)(void *context, struct slot *slot), void *context) {
  for (size_t at = 0; at <= table->index.mask; at++)
    if (table->index.hashes[at]) visit(context, table->index.items[at]);
}
