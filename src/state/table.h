/** The hot table: records in memory, one worker's share, bounded.
 *
 * A slot is pinned while inputs wait for it, while it is dirty, and while a write of it is under way; of the
 * rest those leave, when the table is over its bound, who came once and not again: a run through all users
 * does not push the regular out (table.c says how, and what was measured). Slots never move. A user costs 85
 * to 110 bytes, his id, and his record's bytes. Owning worker only.
 */
#pragma once

#include "state/record.h"

/** SPOILED: its record could not be read, and is asked for again when something comes for it. */
enum slot_phase { SLOT_LOADING, SLOT_READY, SLOT_SPOILED };

struct slot {
  struct record record;
  int64_t indexed_due; /**< what the store's timer index holds for it; INT64_MAX none */
  void *waiting;       /**< inputs queued while LOADING, the worker's own */
  uint32_t accounted;  /**< bytes the table counts it as */
  uint16_t writes;     /**< write-behinds under way */
  uint16_t id_len;
  uint8_t kind, phase;
  bool dirty : 1; /**< changed since it was last put into a write */
  bool fresh : 1; /**< in the queue of the new */
  uint8_t uses;   /**< how often it was found, up to three, less the times that it was passed over for that */
  char id[];
};

struct table;
struct table *table_new(size_t max_bytes);
void table_free(struct table *table);
static inline struct entity slot_entity(const struct slot *slot) {
  return (struct entity){(enum entity_kind)slot->kind, {slot->id, slot->id_len}};
}
/** Fill the cache ahead of table_find(), in three steps, each of which needs what the one before has fetched
 * some microseconds ago: the place, the slot, the record's first bytes. @param hash  table_hash() */
uint32_t table_hash(struct entity entity);
void table_prefetch_place(const struct table *table, uint32_t hash);
void table_prefetch_slot(const struct table *table, uint32_t hash);
void table_prefetch_record(const struct table *table, uint32_t hash);
/** The last of these steps for who has the slot. */
void slot_prefetch_record(const struct slot *slot);
struct slot *table_find(struct table *table, struct entity entity);
/** The same, for who has the hash. */
struct slot *table_find_hashed(struct table *table, uint32_t hash, struct entity entity);
/** Fetch the slots that table_take_dirty() takes soon, and their records, into the cache. Before each taking.
 */
void table_prefetch_dirty(const struct table *table);
/** A new slot, LOADING, in place. The entity must not be there. */
struct slot *table_add(struct table *table, struct entity entity);
struct slot *table_add_hashed(struct table *table, uint32_t hash, struct entity entity);
/** Before a record that needs so many bytes is decoded into the slot's, which holds nothing yet: give it the
 * memory of one who left, if some is kept. */
void table_reserve(struct table *table, struct slot *slot, size_t bytes);
/** The record's size changed, or it became dirty: keeps the account and the dirty list. */
void table_changed(struct table *table, struct slot *slot, bool dirty);
/** Take a dirty slot, the longest dirty first: it leaves the list, is clean, and has `writes` raised.
 * @return null when none is left. */
struct slot *table_take_dirty(struct table *table);
size_t table_dirty_count(const struct table *table);
/** A write of the slot ended. */
void table_written(struct table *table, struct slot *slot);
/** Evict until within the bound; call between inputs. It gives up for this time after a number of slots in a
 * row that cannot go or were used lately, by how many were added since the last time, so that a table full of
 * pinned ones costs no input more than a microsecond. One that is an eighth over its bound it goes through in
 * large steps, half a millisecond each. */
void table_trim(struct table *table);
/** Forget everything (recovery). Waiting inputs must have been taken. */
void table_clear(struct table *table);
size_t table_count(const struct table *table);
size_t table_bytes(const struct table *table);
/** Visit every slot, in no particular order. */
void table_each(struct table *table, void (*visit)(void *context, struct slot *slot), void *context);
