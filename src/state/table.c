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
  RING_MIN = 64,
  NEW_SHARE = 10, /**< the queue of the new is let grow to a tenth of all slots */
  /** Ghosts: one for so many of the index's places, so many to a cache line. */
  PLACES_A_GHOST = 8,
  GHOSTS_A_LINE = 16,
  PREFETCH_RECORD = 256, /**< bytes */
  KEPT_GRAIN = 16,
  KEPT_SMALLEST = 2,
  KEPT_SIZES = 33, /**< blocks up to 512 bytes */
#ifdef __SANITIZE_ADDRESS__
  KEPT_MAX = 0, /**< so that a use of who has left is seen */
#else
  KEPT_MAX = 256 << 10,
#endif
  KEPT_SHARE = 64
};

struct ghost_line {
  _Alignas(64) uint32_t hashes[GHOSTS_A_LINE]; /**< the last to leave first; 0: none */
};

/* Who leaves is S3-FIFO's choice (Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023).
 * Most of those who are not in memory come once and not again for long: they pass through a queue of their
 * own, and leave from its end unless they were found again meanwhile; then they belong to the regular. Who
 * left has a ghost for a while, his hash: who comes back by then belongs to the regular at once.
 *
 * Two things are ours. The regular stand in no queue, which would cost each slot 8 bytes, but CLOCK's hand
 * goes round the index's places. And there are ghosts for a sixth to a third of the slots, not for as many as
 * there are slots: the fewer, the sooner one has to come back.
 *
 * Of 100 events so many found their user in a simulation of the load of `tools/bench --row sustained`, at a
 * tenth of its size, with a quarter of the slots dirty, after nine events a user:
 *
 * | policy | 18 % of the users fit | an eighth |
 * |---|---|---|
 * | CLOCK with a count up to 3 | 76.6 | 71.9 |
 * | … which begins at 3 for who has a ghost | 76.6 | |
 * | W-TinyLFU with a window for what is dirty; after four events a user (S3-FIFO: 78.5) | 74.9 | |
 * | the least frequent of 16, by a sketch of 8 bytes a slot | 78.7 | |
 * | S3-FIFO, as many ghosts as slots; 0.3 a slot | 78.2; 79.2 | |
 * | this | 79.3 | 75.4 |
 * | the busiest, if they were known | 81.4 | 77.4 |
 *
 * This file itself, under that load with a million users of 260 bytes: 75.9 in place of 73.0 in 34
 * MB, 72.4 in place of 68.9 in 24 MB. When other users become the busy ones it takes longer to learn it: 66
 * for 70 in the sixth of the run behind the change, 74 for 76 in the next, 77 for 76 from then on.
 *
 * A new slot is dirty, and cannot leave before it is written, so the queue may be longer than its tenth:
 * while its first waits for that, the hand finds somebody. Until the table is full for the first time all are
 * the regular's. */
struct table {
  struct index index;
  size_t hand;  /**< CLOCK's: counts the index's places, in the order of hand_place() */
  size_t added; /**< since the last table_trim() */
  size_t slot_bytes, max_bytes;
  struct ring {
    uint32_t *hashes;
    size_t first, len, cap;  /**< cap: 0 or a power of two */
  } fresh;                   /**< the new, the longest there first: the slots that are `fresh` */
  struct ghost_line *ghosts; /**< null: the table has never been full */
  size_t ghost_lines;        /**< a power of two */
  /** Memory of those who left, for those who come, by what malloc takes for it in units of KEPT_GRAIN. A
   * turn's hundreds are many more than malloc keeps at hand itself (seven of a size), and sizes vary: it took
   * a tenth of the worker's time where most users had to be fetched. */
  struct kept {
    struct kept *next;
  } * kept[KEPT_SIZES];
  size_t kept_bytes;
  struct slot **dirty;                      /**< a ring, the longest dirty first */
  size_t dirty_first, dirty_len, dirty_cap; /**< the last: 0 or a power of two */
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

/** Memory for so many bytes: of all that malloc takes for them, less its own word. Null: none is kept. */
static void *kept_take(struct table *table, size_t size) {
  size_t unit = memory_taken(size) / KEPT_GRAIN;
  struct kept *block = unit < KEPT_SIZES ? table->kept[unit] : NULL;
  if (!block) return NULL;
  table->kept[unit] = block->next;
  __builtin_prefetch(block->next, 1); // nobody has looked at it for long
  table->kept_bytes -= unit * KEPT_GRAIN;
  return block;
}

/** Keep it for another, if there is room. @param cap  the bytes that were asked of malloc */
static void kept_give(struct table *table, void *memory, size_t cap) {
  size_t unit = (cap + sizeof(void *)) / KEPT_GRAIN;
  size_t most = KEPT_MAX, share = table->max_bytes / KEPT_SHARE;
  if (share < most) most = share;
  if (unit < KEPT_SMALLEST || unit >= KEPT_SIZES || table->kept_bytes + unit * KEPT_GRAIN > most) {
    memory_free(memory);
    return;
  }
  struct kept *block = memory;
  block->next = table->kept[unit];
  table->kept[unit] = block;
  table->kept_bytes += unit * KEPT_GRAIN;
}

static void kept_clear(struct table *table) {
  for (size_t unit = 0; unit < KEPT_SIZES; unit++)
    for (struct kept *block; (block = table->kept[unit]);) {
      table->kept[unit] = block->next;
      memory_free(block);
    }
  table->kept_bytes = 0;
}

static void slot_free(void *context, struct slot *slot) {
  (void)context;
  record_deinit(&slot->record);
  memory_free(slot);
}

/** All of what malloc takes for a slot: whoever gets it next may need it. */
static size_t slot_room(size_t size) {
  return memory_taken(size) - sizeof(void *);
}

static struct slot *slot_new(struct table *table, size_t size) {
  struct slot *slot = kept_take(table, size);
  if (!slot) slot = memory_alloc(slot_room(size));
  memset(slot, 0, size);
  return slot;
}

void table_reserve(struct table *table, struct slot *slot, size_t bytes) {
  struct buf *record = &slot->record.bytes;
  size_t size = record_room(bytes);
  if (record->cap >= bytes) return;
  void *memory = kept_take(table, size);
  if (!memory) return;
  memory_free(record->data);
  record->data = memory;
  record->len = 0;
  record->cap = size;
}

uint32_t table_hash(struct entity entity) {
  return index_hash(entity);
}

void table_prefetch_place(const struct table *table, uint32_t hash) {
  index_prefetch(&table->index, hash);
}

/** The slot that has the hash, if there is one: nearly always the one that will be asked for. */
static const struct slot *probable(const struct table *table, uint32_t hash) {
  const struct index_part *part = index_part(&table->index, hash);
  for (size_t at = hash & part->mask; part->hashes[at]; at = (at + 1) & part->mask)
    if (part->hashes[at] == hash) return part->items[at];
  return NULL;
}

static uint32_t *ghosts_of(const struct table *table, uint32_t hash) {
  return table->ghosts[hash & (table->ghost_lines - 1)].hashes;
}

void table_prefetch_slot(const struct table *table, uint32_t hash) {
  const char *slot = (const char *)probable(table, hash);
  if (!slot) {
    if (table->ghosts) __builtin_prefetch(ghosts_of(table, hash));
    return;
  }
  for (size_t line = 0; line < sizeof(struct slot) + 16; line += 64) __builtin_prefetch(slot + line);
}

void slot_prefetch_record(const struct slot *slot) {
  for (size_t line = 0; line < slot->record.bytes.len && line < PREFETCH_RECORD; line += 64)
    __builtin_prefetch(slot->record.bytes.data + line);
}

void table_prefetch_record(const struct table *table, uint32_t hash) {
  const struct slot *slot = probable(table, hash);
  if (slot) slot_prefetch_record(slot);
}

struct slot *table_find_hashed(struct table *table, uint32_t hash, struct entity entity) {
  struct slot *slot = index_find(&table->index, hash, entity, slot_same);
  if (slot && slot->uses < USES_MAX) slot->uses++;
  return slot;
}

struct slot *table_find(struct table *table, struct entity entity) {
  return table_find_hashed(table, index_hash(entity), entity);
}

static uint32_t *fresh_at(const struct table *table, size_t at) {
  return &table->fresh.hashes[(table->fresh.first + at) & (table->fresh.cap - 1)];
}

static void fresh_push(struct table *table, uint32_t hash) {
  struct ring *ring = &table->fresh;
  if (ring->len == ring->cap) {
    size_t cap = ring->cap ? ring->cap * 2 : RING_MIN;
    uint32_t *grown = memory_alloc(cap * sizeof *grown);
    for (size_t at = 0; at < ring->len; at++) grown[at] = *fresh_at(table, at);
    memory_free(ring->hashes);
    *ring = (struct ring){grown, 0, ring->len, cap};
  }
  *fresh_at(table, ring->len++) = hash;
}

static void fresh_pop(struct table *table) {
  table->fresh.first = (table->fresh.first + 1) & (table->fresh.cap - 1);
  table->fresh.len--;
}

/** As many as the index has grown to. */
static void ghosts_fit(struct table *table) {
  size_t lines = (table->index.now.mask + 1) / (PLACES_A_GHOST * GHOSTS_A_LINE);
  if (!lines) lines = 1;
  if (table->ghosts && table->ghost_lines == lines) return;
  memory_free(table->ghosts);
  table->ghosts = memory_alloc_table(lines * sizeof *table->ghosts);
  memset(table->ghosts, 0, lines * sizeof *table->ghosts);
  table->ghost_lines = lines;
}

/** The line's oldest makes room. */
static void ghost_put(struct table *table, uint32_t hash) {
  uint32_t *ghosts = ghosts_of(table, hash);
  memmove(ghosts + 1, ghosts, (GHOSTS_A_LINE - 1) * sizeof *ghosts);
  ghosts[0] = hash;
}

/** @return whether there was one. */
static bool ghost_take(struct table *table, uint32_t hash) {
  uint32_t *ghosts = ghosts_of(table, hash);
  for (size_t at = 0; at < GHOSTS_A_LINE; at++) {
    if (ghosts[at] != hash) continue;
    ghosts[at] = 0;
    return true;
  }
  return false;
}

struct slot *table_add(struct table *table, struct entity entity) {
  return table_add_hashed(table, index_hash(entity), entity);
}

struct slot *table_add_hashed(struct table *table, uint32_t hash, struct entity entity) {
  struct slot *slot = slot_new(table, slot_size(entity.id.len));
  record_init(&slot->record);
  slot->indexed_due = INT64_MAX;
  slot->kind = (uint8_t)entity.kind;
  slot->phase = SLOT_LOADING;
  slot->id_len = (uint16_t)entity.id.len;
  memcpy(slot->id, entity.id.data, entity.id.len);
  index_add(&table->index, hash, slot);
  table->added++;
  if (table->ghosts && !ghost_take(table, hash)) {
    slot->fresh = true;
    fresh_push(table, hash);
  }
  account(table, slot);
  return slot;
}

static struct slot **dirty_at(const struct table *table, size_t at) {
  return &table->dirty[(table->dirty_first + at) & (table->dirty_cap - 1)];
}

static void dirty_grow(struct table *table) {
  size_t cap = table->dirty_cap ? table->dirty_cap * 2 : RING_MIN;
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
}

void table_prefetch_dirty(const struct table *table) {
  if (table->dirty_len > AHEAD_SLOT) {
    const char *slot = (const char *)*dirty_at(table, AHEAD_SLOT);
    for (size_t line = 0; line < sizeof(struct slot) + 16; line += 64) __builtin_prefetch(slot + line);
  }
  if (table->dirty_len > AHEAD_RECORD) slot_prefetch_record(*dirty_at(table, AHEAD_RECORD));
}

struct slot *table_take_dirty(struct table *table) {
  if (!table->dirty_len) return NULL;
  struct slot *slot = *dirty_at(table, 0);
  table->dirty_first = (table->dirty_first + 1) & (table->dirty_cap - 1);
  table->dirty_len--;
  slot->dirty = false;
  slot->writes++;
  return slot;
}

size_t table_dirty_count(const struct table *table) {
  return table->dirty_len;
}

void table_written(struct table *table, struct slot *slot) {
  (void)table;
  slot->writes--;
}

static bool pinned(const struct slot *slot) {
  return slot->phase == SLOT_LOADING || slot->waiting || slot->dirty || slot->writes;
}

static void remove_hashed(struct table *table, struct slot *slot, uint32_t hash) {
  table->slot_bytes -= slot->accounted;
  index_remove(&table->index, hash, slot);
  struct buf *record = &slot->record.bytes;
  if (record->cap) kept_give(table, record->data, record->cap);
  kept_give(table, slot, slot_room(slot_size(slot->id_len)));
}

/** Each place once a round, neighbours far apart: one after the other, the hand would leave an empty stretch
 * behind it, and the new would crowd the places before it, where every search gets long. */
static size_t hand_place(const struct table *table, size_t ahead) {
  return (table->hand + ahead) * 0x9e3779b97f4a7c15u & table->index.now.mask; // odd, so no place is left out
}

/** Of the place, or of the one in the index's old part that those of the place come from. @param hash  null:
 * not wanted */
static struct slot *slot_in(const struct table *table, size_t place, uint32_t *hash) {
  const struct index_part *part = &table->index.now;
  if (!part->hashes[place] && table->index.old.hashes) part = &table->index.old;
  if (!part->hashes[place & part->mask]) return NULL;
  if (hash) *hash = part->hashes[place & part->mask];
  return part->items[place & part->mask];
}

/** What tells whether it may leave. */
static void slot_ahead(const struct slot *slot) {
  if (!slot) return;
  __builtin_prefetch(slot);
  __builtin_prefetch(&slot->uses);
}

static void hand_ahead(const struct table *table) {
  size_t place = hand_place(table, AHEAD_PLACE);
  __builtin_prefetch(&table->index.now.hashes[place]);
  __builtin_prefetch(&table->index.now.items[place]);
  slot_ahead(slot_in(table, hand_place(table, AHEAD_SLOT), NULL));
  const struct slot *slot = slot_in(table, hand_place(table, AHEAD_RECORD), NULL);
  if (slot && !slot->uses && slot->record.bytes.data) __builtin_prefetch(slot->record.bytes.data, 1);
}

static size_t trim_patience(struct table *table) {
  size_t added = table->added;
  table->added = 0;
  if (table_bytes(table) - table->max_bytes > table->max_bytes / 8) return TRIM_LARGE;
  return TRIM_PATIENCE + added * TRIM_A_SLOT;
}

static void evict(struct table *table, struct slot *slot, uint32_t hash) {
  ghost_put(table, hash);
  remove_hashed(table, slot, hash);
}

static struct slot *fresh_slot(const struct table *table, uint32_t hash) {
  const struct index_part *part = index_part(&table->index, hash);
  for (size_t at = hash & part->mask;; at = (at + 1) & part->mask)
    if (part->hashes[at] == hash && ((struct slot *)part->items[at])->fresh) return part->items[at];
}

static void fresh_ahead(const struct table *table) {
  const struct ring *ring = &table->fresh;
  if (ring->len <= AHEAD_PLACE) return;
  table_prefetch_place(table, *fresh_at(table, AHEAD_PLACE));
  uint32_t hash = *fresh_at(table, AHEAD_SLOT);
  __builtin_prefetch(ghosts_of(table, hash), 1);
  slot_ahead(probable(table, hash));
  const struct slot *slot = probable(table, *fresh_at(table, AHEAD_RECORD));
  if (slot && slot->record.bytes.data) __builtin_prefetch(slot->record.bytes.data, 1);
}

enum step { STEP_EVICTED, STEP_STAYED, STEP_EMPTY, STEP_NONE };

/** The first of the new goes, or is the regular's from now on. @return STEP_NONE: neither can be yet. */
static enum step trim_fresh(struct table *table) {
  if (table->fresh.len * NEW_SHARE < table->index.count || !table->fresh.len) return STEP_NONE;
  uint32_t hash = *fresh_at(table, 0);
  struct slot *slot = fresh_slot(table, hash);
  if (!slot->uses && pinned(slot)) return STEP_NONE;
  fresh_ahead(table);
  fresh_pop(table);
  if (!slot->uses) {
    evict(table, slot, hash);
    return STEP_EVICTED;
  }
  slot->fresh = false;
  slot->uses = 0;
  return STEP_STAYED;
}

static enum step trim_regular(struct table *table) {
  uint32_t hash = 0;
  struct slot *slot = slot_in(table, hand_place(table, 0), &hash);
  hand_ahead(table);
  if (slot && !slot->fresh && !slot->uses && !pinned(slot)) {
    // Another may move into the place: the hand stays.
    evict(table, slot, hash);
    return STEP_EVICTED;
  }
  if (slot && !slot->fresh && slot->uses) slot->uses--;
  table->hand++;
  return slot ? STEP_STAYED : STEP_EMPTY;
}

void table_trim(struct table *table) {
  if (table_bytes(table) <= table->max_bytes) {
    table->added = 0;
    return;
  }
  ghosts_fit(table);
  size_t patience = trim_patience(table);
  // Empty places are counted too, else a sparse table could be circled for ever.
  for (size_t stayed = 0, places = 0; table_bytes(table) > table->max_bytes && stayed < patience; places++) {
    if (places > table->index.now.mask) return;
    enum step step = trim_fresh(table);
    if (step == STEP_NONE) step = trim_regular(table);
    if (step == STEP_STAYED) stayed++;
    if (step == STEP_EVICTED) stayed = places = 0;
  }
}

void table_clear(struct table *table) {
  table_each(table, slot_free, NULL);
  index_clear(&table->index);
  kept_clear(table);
  memory_free(table->dirty);
  table->dirty = NULL;
  table->dirty_first = table->dirty_len = table->dirty_cap = 0;
  memory_free(table->fresh.hashes);
  table->fresh = (struct ring){0};
  memory_free(table->ghosts);
  table->ghosts = NULL;
  table->ghost_lines = 0;
  table->hand = table->added = table->slot_bytes = 0;
}

size_t table_count(const struct table *table) {
  return table->index.count;
}

size_t table_bytes(const struct table *table) {
  return table->slot_bytes + index_bytes(&table->index) + table->dirty_cap * sizeof *table->dirty +
         table->fresh.cap * sizeof *table->fresh.hashes + table->ghost_lines * sizeof *table->ghosts +
         table->kept_bytes;
}

static void each_of(const struct index_part *part, void (*visit)(void *context, struct slot *slot),
                    void *context) {
  for (size_t at = 0; part->hashes && at <= part->mask; at++)
    if (part->hashes[at]) visit(context, part->items[at]);
}

void table_each(struct table *table, void (*visit)(void *context, struct slot *slot), void *context) {
  each_of(&table->index.now, visit, context);
  each_of(&table->index.old, visit, context);
}
