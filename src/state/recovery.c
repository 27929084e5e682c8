#include "state/recovery.h"

#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "state/store_internal.h"
#include "state/stored.h"
#include "state/table.h"

#include <stdlib.h>

enum { WRITE_BYTES = 4 << 20, PENDING_BUCKETS = 4096 };

/** An outbox entry that the tail changes: read once, written once. */
struct pending {
  struct pending *next; /**< in its bucket */
  struct hash128 id;
  enum { PENDING_ABSENT, PENDING_WAITS, PENDING_DONE } state;
  struct buf entry;   /**< encoded, of one that waits */
  int64_t not_before; /**< the message's, of one that is done; 0: it was never deferred, or nobody knows */
  uint8_t kind;
  uint32_t user_len;
  char user[];
};

struct recovering {
  struct store *store;
  const struct recovery_options *options;
  struct recovery_result *result;
  struct log_position checkpoint;
  uint64_t sealed;
  struct table *table;
  struct pending *pending[PENDING_BUCKETS];
  size_t pending_bytes;
  uint64_t oversize; /**< writes of records past record_max */
  struct store_write write;
  struct buf scratch;
  struct error *err;
};

/* ---- writing ---- */

static int write_if_large(struct recovering *self, size_t bytes) {
  return self->write.bytes > bytes ? store_write_now(self->store, &self->write, self->err) : 0;
}

static int64_t next_due(const struct slot *slot) {
  struct timer timer;
  return record_timer_next(&slot->record, &timer) ? timer.due : INT64_MAX;
}

static int write_record(struct recovering *self, struct slot *slot) {
  self->oversize += slot->record.bytes.len > self->options->record_max;
  store_write_user(&self->write, slot_entity(slot), &slot->record, slot->indexed_due, next_due(slot));
  return write_if_large(self, WRITE_BYTES);
}

static int write_records(struct recovering *self) {
  int rc = 0;
  for (struct slot *slot; !rc && (slot = table_take_dirty(self->table));) rc = write_record(self, slot);
  if (!rc) table_clear(self->table);
  return rc;
}

static void pending_free(struct recovering *self, size_t bucket) {
  while (self->pending[bucket]) {
    struct pending *pending = self->pending[bucket];
    self->pending[bucket] = pending->next;
    buf_deinit(&pending->entry);
    memory_free(pending);
  }
}

static int write_pending(struct recovering *self, const struct pending *pending) {
  struct outbox_entry entry;
  int rc = 0;
  switch (pending->state) {
  case PENDING_ABSENT:
    break;
  case PENDING_WAITS:
    rc = outbox_entry_decode(&entry, buf_str(&pending->entry), self->err);
    if (!rc) store_write_outbox(&self->write, &entry);
    break;
  case PENDING_DONE:
    store_write_outbox_done(&self->write, (struct entity){pending->kind, {pending->user, pending->user_len}},
                            pending->id, pending->not_before);
    break;
  }
  return rc ? rc : write_if_large(self, WRITE_BYTES);
}

static int write_outbox(struct recovering *self) {
  int rc = 0;
  for (size_t i = 0; i < PENDING_BUCKETS; i++) {
    for (const struct pending *pending = self->pending[i]; !rc && pending; pending = pending->next)
      rc = write_pending(self, pending);
    pending_free(self, i);
  }
  self->pending_bytes = 0;
  return rc;
}

static int write_all(struct recovering *self) {
  int rc = write_records(self);
  if (!rc) rc = write_outbox(self);
  return rc ? rc : write_if_large(self, 0);
}

/* ---- the outbox ---- */

static struct pending *pending_obtain(struct recovering *self, struct entity user, struct hash128 id,
                                      bool *made) {
  struct pending **bucket = &self->pending[id.low % PENDING_BUCKETS];
  *made = false;
  for (struct pending *pending = *bucket; pending; pending = pending->next)
    if (hash128_equal(pending->id, id)) return pending;
  struct pending *pending = memory_zalloc(sizeof *pending + user.id.len);
  pending->id = id;
  pending->kind = (uint8_t)user.kind;
  pending->user_len = (uint32_t)user.id.len;
  memcpy(pending->user, user.id.data, user.id.len);
  buf_init(&pending->entry);
  pending->next = *bucket;
  *bucket = pending;
  self->pending_bytes += sizeof *pending + user.id.len;
  *made = true;
  return pending;
}

static void pending_set(struct recovering *self, struct pending *pending, const struct outbox_entry *entry) {
  // What the entry borrows may lie in the very bytes that are replaced.
  buf_clear(&self->scratch);
  outbox_entry_encode(entry, &self->scratch);
  self->pending_bytes -= pending->entry.len;
  buf_clear(&pending->entry);
  buf_append(&pending->entry, self->scratch.data, self->scratch.len);
  self->pending_bytes += pending->entry.len;
  pending->state = PENDING_WAITS;
}

/** As pending_obtain(), with what the store has of one that the tail has not told of before. */
static int pending_load(struct recovering *self, struct entity user, struct hash128 id,
                        struct pending **out) {
  bool made;
  struct pending *pending = *out = pending_obtain(self, user, id, &made);
  if (!made) return 0;
  int rc = store_get_outbox(self->store, user, id, &pending->entry, self->err);
  if (!rc) pending->state = PENDING_WAITS;
  self->pending_bytes += pending->entry.len;
  return rc == ERROR_NOT_FOUND ? 0 : rc;
}

/** One that waits already stays as it is, as in outbox_add(): of its attempt nobody may have seen the end. */
static int outbox_put(struct recovering *self, const struct log_record *record,
                      const struct message *message) {
  struct outbox_entry entry = {.message = *message};
  struct pending *pending;
  int rc = pending_load(self, message->user, message->id, &pending);
  if (rc || pending->state == PENDING_WAITS) return rc;
  // Sent again by an operator: its age counts from then.
  if (record->type == LOG_RETRY) entry.retry_at = record->at;
  if (message->not_before > entry.retry_at) entry.retry_at = message->not_before;
  pending_set(self, pending, &entry);
  return 0;
}

/** Change an entry that waits. One that is not there has come to its end further on in the log, and the store
 * was ahead of its checkpoint. */
static int outbox_change(struct recovering *self, struct entity user, struct hash128 id,
                         const struct outbox_entry *change) {
  struct pending *pending;
  int rc = pending_load(self, user, id, &pending);
  if (rc || pending->state != PENDING_WAITS) return rc;
  struct outbox_entry entry;
  if ((rc = outbox_entry_decode(&entry, buf_str(&pending->entry), self->err))) return rc;
  if (change->attempts < entry.attempts) return 0; // ahead, as said; the log has its own attempts further on
  entry.age_from = outbox_entry_age_from(&entry);
  entry.attempts = change->attempts;
  entry.open = change->open;
  if (!change->open) {
    entry.unsent = change->unsent;
    entry.retry_at = change->retry_at;
  }
  pending_set(self, pending, &entry);
  return 0;
}

/** The message has ended. The store's index of deferred messages has it by its moment, which only the entry
 * knows: one that is gone has left the index with it. Where it cannot be read the index keeps it, which is no
 * reason to fail. */
static void outbox_done(struct recovering *self, struct entity user, struct hash128 id) {
  bool made;
  struct pending *pending = pending_obtain(self, user, id, &made);
  if (made) (void)store_get_outbox(self->store, user, id, &pending->entry, NULL);
  if (made) self->pending_bytes += pending->entry.len;
  struct outbox_entry entry;
  if (pending->entry.len && outbox_entry_decode(&entry, buf_str(&pending->entry), NULL) == 0)
    pending->not_before = entry.message.not_before;
  pending->state = PENDING_DONE;
}

static int apply_attempt(struct recovering *self, const struct log_record *record) {
  struct reader reader = reader_of(record->input);
  struct hash128 id = stored_hash(&reader);
  uint64_t attempt = reader_varint(&reader);
  if (reader.bad || attempt > UINT32_MAX)
    return error_set(self->err, ERROR_CORRUPT, "an attempt's record is malformed");
  return outbox_change(self, record->entity, id,
                       &(struct outbox_entry){.attempts = (uint32_t)attempt, .open = true});
}

static int apply_outcome(struct recovering *self, const struct log_record *record,
                         const struct outcome *outcome) {
  if (outcome->kind == OUTCOME_RETRY)
    return outbox_change(self, record->entity, outcome->message_id,
                         &(struct outbox_entry){.attempts = outcome->attempt,
                                                .unsent = outcome->unsent,
                                                .retry_at = outcome->retry_at});
  outbox_done(self, record->entity, outcome->message_id);
  return 0;
}

/* ---- records ---- */

static bool changes_record(enum effect_type type) {
  return type != EFFECT_MESSAGE && type != EFFECT_FAILURE && type != EFFECT_OUTCOME &&
         type != EFFECT_DEAD_CLEAR && type != EFFECT_NOT_RUN && type != EFFECT_DERIVED &&
         type != EFFECT_INDEX && type != EFFECT_FAN_OUT;
}

static int load(struct recovering *self, struct entity entity, struct slot **out) {
  struct slot *slot = table_find(self->table, entity);
  if (!slot) {
    slot = table_add(self->table, entity);
    int rc = store_get_user(self->store, entity, &slot->record, self->err);
    if (rc && rc != ERROR_NOT_FOUND) return rc;
    // Or so it should: one family may have been flushed and not the other. What the record has is put in any
    // case; an entry that no record has any more wakes nobody, and is left.
    slot->indexed_due = next_due(slot);
  }
  *out = slot;
  return 0;
}

/** The record's own effects, unless it has seen them. Either way it is written, so that the timer index has
 * it. */
static int apply_to_record(struct recovering *self, const struct log_record *record) {
  struct slot *slot;
  int rc = load(self, record->entity, &slot);
  if (rc) return rc;
  bool applies = slot->record.seq < record->seq;
  struct reader reader = reader_of(record->effects);
  while (applies && reader_left(&reader)) {
    struct effect effect;
    if ((rc = effect_decode(&effect, &reader, self->err))) return rc;
    // It did fit when it was logged, under whatever bound held then.
    rc = record_apply(&slot->record, &effect, SIZE_MAX, self->err);
    if (rc) return rc;
  }
  if (applies) {
    slot->record.seq = record->seq;
    self->result->applied++;
  }
  table_changed(self->table, slot, true);
  return 0;
}

static int apply(struct recovering *self, const struct log_record *record) {
  if (record->type == LOG_GENERATION || record->type == LOG_EXPERIMENT) return 0;
  if (record->type == LOG_ATTEMPT) return apply_attempt(self, record);
  bool touches = false;
  int rc = 0;
  struct reader reader = reader_of(record->effects);
  while (!rc && reader_left(&reader)) {
    struct effect effect;
    struct dead_letter letter;
    if ((rc = effect_decode(&effect, &reader, self->err))) return rc;
    touches = touches || changes_record(effect.type);
    if (effect.type == EFFECT_MESSAGE && effect.message.verdict.pass)
      rc = outbox_put(self, record, &effect.message.message);
    if (effect.type == EFFECT_OUTCOME) rc = apply_outcome(self, record, &effect.outcome);
    if (dead_letter_from(&letter, record, &effect)) store_write_dead(&self->write, &letter);
    if (effect.type == EFFECT_DEAD_CLEAR) store_write_dead_done(&self->write, record->entity, effect.dead_id);
    if (effect.type == EFFECT_INDEX) store_write_index(&self->write, record->entity, &effect.index);
    if (effect.type == EFFECT_FAN_OUT) store_write_fan_out(&self->write, record->entity, &effect.fan_out);
  }
  if (!rc && touches) rc = apply_to_record(self, record);
  if (rc) return rc;
  if (table_bytes(self->table) + self->pending_bytes > self->options->memory) return write_all(self);
  return write_if_large(self, WRITE_BYTES);
}

/* ---- the run ---- */

static int mark(struct recovering *self, const struct log_record *record, uint64_t segment) {
  if (record->type != LOG_EVENT || segment <= self->sealed || !self->options->mark) return 0;
  struct event event;
  struct reader reader = reader_of(record->input);
  int rc = event_decode(&event, &reader, self->err);
  if (!rc) self->options->mark(self->options->context, record->entity, event.id, record->at, segment);
  return rc;
}

static int take(struct recovering *self, const struct log_record *record, struct log_position after) {
  struct recovery_result *result = self->result;
  result->records++;
  if (record->seq >= result->next_seq) result->next_seq = record->seq + 1;
  if (record->type == LOG_GENERATION && record->generation > result->generation)
    result->generation = record->generation;
  int rc = store_failpoint(FAILPOINT("recovery.record"), "reading the log", self->err);
  if (!rc) rc = mark(self, record, after.segment);
  if (!rc && log_position_compare(after, self->checkpoint) > 0) rc = apply(self, record);
  return rc ? error_prefix(self->err, "log segment %016llx, before offset %llu",
                           (unsigned long long)after.segment, (unsigned long long)after.offset)
            : 0;
}

static int read_tail(struct recovering *self) {
  struct log_position from = {self->sealed ? self->sealed + 1 : 0, 0}, after;
  if (log_position_compare(self->checkpoint, from) < 0) from = self->checkpoint;
  struct log_reader *reader;
  int rc = log_reader_new(&reader, self->options->log_directory, from, self->err);
  if (rc) return rc;
  struct log_record record;
  while ((rc = log_reader_next(reader, &self->result->end, &record, &after, self->err)) == 1)
    if ((rc = take(self, &record, after))) break;
  log_reader_free(reader);
  return rc;
}

/** The last one of the sealed segments; the others are read. */
static int sealed_generation(struct recovering *self) {
  uint64_t number = 0;
  int rc = store_enter(self->store, self->err);
  if (rc) return rc;
  rc = store_meta_get_u64(self->store, "generation", &number, 1, self->err);
  store_leave(self->store);
  self->result->generation = (uint32_t)number;
  return rc == ERROR_NOT_FOUND ? 0 : rc;
}

int recovery_run(struct store *store, const struct recovery_options *options, struct recovery_result *result,
                 struct error *err) {
  *result = (struct recovery_result){0};
  store_know_log(store, options->log_directory);
  struct recovering *self = memory_zalloc(sizeof *self);
  *self = (struct recovering){.store = store, .options = options, .result = result, .err = err};
  self->table = table_new(SIZE_MAX);
  self->sealed = store_sealed(store);
  store_write_init(store, &self->write);
  buf_init(&self->scratch);
  int rc = log_settle(options->log_directory, options->known_end, &result->end, &result->cut, err);
  if (!rc) rc = store_checkpoint_get(store, &self->checkpoint, &result->next_seq, err);
  if (!rc && log_position_compare(result->end, self->checkpoint) < 0)
    rc = error_set(err, ERROR_CORRUPT,
                   "%s: the log ends at segment %016llx, offset %llu, before what was durable at the last "
                   "checkpoint",
                   options->log_directory, (unsigned long long)result->end.segment,
                   (unsigned long long)result->end.offset);
  if (!rc) rc = sealed_generation(self);
  if (!rc) rc = read_tail(self);
  if (!rc) rc = write_all(self);
  if (!rc) rc = store_checkpoint(store, result->end, result->next_seq, err);
  if (!rc) rc = store_failpoint(FAILPOINT("recovery.done"), "ending the recovery", err);
  if (!rc && result->cut)
    LOG_WARN("recovery", "a torn tail of the log was cut: it was never acknowledged",
             LOG_INT("segment", result->end.segment), LOG_INT("offset", result->end.offset),
             LOG_INT("bytes", result->cut));
  if (!rc && self->oversize)
    LOG_WARN("recovery",
             "records are larger than state.record_max now allows: what makes them grow is refused",
             LOG_INT("records", self->oversize));
  for (size_t i = 0; i < PENDING_BUCKETS; i++) pending_free(self, i);
  table_free(self->table);
  store_write_deinit(&self->write);
  buf_deinit(&self->scratch);
  memory_free(self);
  return rc;
}
