#include "state/history.h"

#include "base/failpoint.h"
#include "base/memory.h"
#include "state/sealed.h"
#include "state/store_internal.h"

/** What no rule makes again when the input is replayed. */
static bool is_operators(enum log_record_type type, enum effect_type effect) {
  if (type == LOG_RETRY) return effect == EFFECT_DEAD_CLEAR; // which letter it was
  if (type == LOG_FILL)
    return effect == EFFECT_WINDOW_STATE || effect == EFFECT_SEGMENT || effect == EFFECT_TIMER_SET ||
           effect == EFFECT_TIMER_CLEAR;
  return type == LOG_COMMAND &&
         (effect == EFFECT_ATTRIBUTE || effect == EFFECT_TIMER_CLEAR || effect == EFFECT_JOURNEY);
}

/** A membership that changed. */
static bool is_told(const struct effect *effect) {
  return effect->type == EFFECT_SEGMENT && effect->segment.change != SEGMENT_JUDGED;
}

/** Pass over effects up to and with the next decision. @return 1 with it, 0 at the end, or ERROR_CORRUPT. */
static int next_decision(enum log_record_type type, struct reader *reader, struct str *decision,
                         struct error *err) {
  while (reader_left(reader)) {
    int rc = effect_skip_windows(reader, err);
    if (rc) return rc;
    if (!reader_left(reader)) break;
    const uint8_t *start = reader->at;
    struct effect effect;
    if ((rc = effect_decode(&effect, reader, err))) return rc;
    *decision = (struct str){(const char *)start, (size_t)(reader->at - start)};
    if (effect.type == EFFECT_MESSAGE || effect.type == EFFECT_OUTCOME || effect.type == EFFECT_FAILURE ||
        effect.type == EFFECT_SUPPRESS || effect.type == EFFECT_UNSUPPRESS || effect.type == EFFECT_NOT_RUN ||
        effect.type == EFFECT_CONSENT || effect.type == EFFECT_DERIVED || effect.type == EFFECT_JOURNEY_END ||
        is_told(&effect) || effect.type == EFFECT_EXPOSURE || effect.type == EFFECT_GOAL ||
        is_operators(type, effect.type))
      return 1;
  }
  return 0;
}

int history_decisions(enum log_record_type type, struct str effects, struct buf *out, struct error *err) {
  struct reader reader = reader_of(effects);
  struct str decision;
  int rc;
  while ((rc = next_decision(type, &reader, &decision, err)) == 1)
    buf_append(out, decision.data, decision.len);
  return rc;
}

int history_decides(enum log_record_type type, struct str effects, struct error *err) {
  struct reader reader = reader_of(effects);
  struct str decision;
  return next_decision(type, &reader, &decision, err);
}

/* ---- the sealed part: log and ledger slices, merged ---- */

/** The entity's records in one slice. */
struct cursor {
  rocksdb_iterator_t *it;
  struct sealed_entry entry;
  struct log_record record; /**< the one it stands at */
};

static int cursor_next(struct cursor *cursor, struct error *err) {
  return sealed_next(&cursor->entry, &cursor->record)
             ? 1
             : error_set(err, ERROR_CORRUPT, "a sealed record is malformed");
}

/** @return 1 with the first record of the entry it stands at, 0 behind the entity's last, or a negative code.
 */
static int cursor_read(struct cursor *cursor, struct str prefix, struct error *err) {
  if (!rocksdb_iter_valid(cursor->it)) {
    char *complaint = NULL;
    rocksdb_iter_get_error(cursor->it, &complaint);
    return store_fault(complaint, "reading sealed records", err);
  }
  struct str key, value;
  key.data = rocksdb_iter_key(cursor->it, &key.len);
  if (key.len < prefix.len || memcmp(key.data, prefix.data, prefix.len) != 0) return 0;
  value.data = rocksdb_iter_value(cursor->it, &value.len);
  if (!sealed_open(&cursor->entry, key, value))
    return error_set(err, ERROR_CORRUPT, "a sealed entry is malformed");
  return cursor_next(cursor, err);
}

static int cursor_pass(struct cursor *cursor, struct str prefix, struct error *err) {
  if (reader_left(&cursor->entry.records)) return cursor_next(cursor, err);
  rocksdb_iter_next(cursor->it);
  return cursor_read(cursor, prefix, err);
}

struct merge {
  struct str prefix;
  struct cursor *cursors; /**< those that are not at their end */
  size_t count;
};

static void merge_close(struct merge *merge, size_t i) {
  rocksdb_iter_destroy(merge->cursors[i].it);
  merge->cursors[i] = merge->cursors[--merge->count];
}

static int merge_open_all(struct merge *merge, struct store *store, struct error *err) {
  merge->cursors = memory_zalloc((store->slice_count + 1) * sizeof *merge->cursors);
  for (size_t i = 0; i < store->slice_count; i++) {
    struct cursor *cursor = &merge->cursors[merge->count++];
    cursor->it = rocksdb_create_iterator_cf(store->db, store->scan_options, store->slices[i].family);
    rocksdb_iter_seek(cursor->it, merge->prefix.data, merge->prefix.len);
    int rc = cursor_read(cursor, merge->prefix, err);
    if (rc < 0) return rc;
    if (rc == 0) merge_close(merge, merge->count - 1);
  }
  return 0;
}

static int merge_open(struct merge *merge, struct store *store, struct error *err) {
  pthread_rwlock_rdlock(&store->slices_lock);
  int rc = merge_open_all(merge, store, err);
  pthread_rwlock_unlock(&store->slices_lock);
  return rc;
}

/** Segments one after the other, in each by number. */
static int compare_places(const struct cursor *a, const struct cursor *b) {
  if (a->entry.segment != b->entry.segment) return a->entry.segment < b->entry.segment ? -1 : 1;
  return a->record.seq < b->record.seq ? -1 : a->record.seq > b->record.seq;
}

/** Put the halves of the first record together. @return where one of them is, null at the end. */
static const struct cursor *merge_next(const struct merge *merge, struct log_record *record) {
  const struct cursor *first = merge->count ? merge->cursors : NULL;
  for (size_t i = 1; i < merge->count; i++)
    if (compare_places(&merge->cursors[i], first) < 0) first = &merge->cursors[i];
  if (!first) return NULL;
  *record = first->record;
  for (size_t i = 0; i < merge->count; i++) {
    if (compare_places(&merge->cursors[i], first) != 0) continue;
    const struct log_record *half = &merge->cursors[i].record;
    if (!record->input.len) record->input = half->input;
    if (!record->effects.len) record->effects = half->effects;
  }
  return first;
}

/** Move all that stand where this one does. */
static int merge_pass(struct merge *merge, const struct cursor *passed, struct error *err) {
  struct cursor place = *passed;
  for (size_t i = merge->count; i-- > 0;) {
    struct cursor *cursor = &merge->cursors[i];
    if (compare_places(cursor, &place) != 0) continue;
    int rc = cursor_pass(cursor, merge->prefix, err);
    if (rc < 0) return rc;
    if (rc == 0) merge_close(merge, i);
  }
  return 0;
}

/** Visit what is sealed. A crash within sealing leaves records of the tail in the slices; those are passed
 * over. */
static int scan_sealed(struct store *store, struct entity entity,
                       int (*visit)(void *context, const struct log_record *record), void *context,
                       struct error *err) {
  struct buf prefix;
  buf_init(&prefix);
  key_put_entity(&prefix, entity);
  struct merge merge = {.prefix = buf_str(&prefix)};
  int rc = store_enter(store, err);
  if (rc) goto cleanup;
  rc = merge_open(&merge, store, err);
  uint64_t sealed = store_sealed(store);
  struct log_record record;
  const struct cursor *at;
  while (!rc && (at = merge_next(&merge, &record)) && at->entry.segment <= sealed) {
    rc = store_check_hurry(store, err);
    if (!rc) rc = visit(context, &record);
    if (!rc) rc = merge_pass(&merge, at, err);
  }
  while (merge.count) merge_close(&merge, merge.count - 1);
  memory_free(merge.cursors);
  store_leave(store);
cleanup:
  buf_deinit(&prefix);
  return rc;
}

int store_scan_history(struct store *store, struct entity entity,
                       int (*visit)(void *context, const struct log_record *record), void *context,
                       struct error *err) {
  pthread_rwlock_rdlock(&store->segments_lock);
  int rc = scan_sealed(store, entity, visit, context, err);
  pthread_rwlock_unlock(&store->segments_lock);
  return rc;
}

/* ---- the tail ---- */

struct tail {
  struct log_reader *reader;
  const struct log_position *until;
  struct entity entity;
  struct buf decisions;
};

/** @return 1 with the entity's next record, 0 at the end, or a negative code. */
static int tail_next(struct tail *tail, struct log_record *record, struct error *err) {
  struct log_position after;
  int rc;
  do rc = log_reader_next(tail->reader, tail->until, record, &after, err);
  while (rc == 1 && (record->type == LOG_GENERATION || !entity_equal(record->entity, tail->entity)));
  if (rc != 1) return rc;
  buf_clear(&tail->decisions);
  rc = history_decisions(record->type, record->effects, &tail->decisions, err);
  record->effects = buf_str(&tail->decisions);
  return rc ? rc : 1;
}

int history_scan(struct store *store, const char *log_directory, const struct log_position *until,
                 struct entity entity, int (*visit)(void *context, const struct log_record *record),
                 void *context, struct error *err) {
  struct tail tail = {.until = until, .entity = entity};
  int rc = store_failpoint(FAILPOINT("history.read"), "reading history", err);
  if (rc) return rc;
  buf_init(&tail.decisions);
  // Nothing is sealed or deleted meanwhile.
  pthread_rwlock_rdlock(&store->segments_lock);
  uint64_t sealed = store_sealed(store);
  rc = log_reader_new(&tail.reader, log_directory, (struct log_position){sealed ? sealed + 1 : 0, 0}, err);
  if (rc) goto cleanup;
  rc = scan_sealed(store, entity, visit, context, err);
  struct log_record record;
  int there = 1;
  while (!rc && (there = tail_next(&tail, &record, err)) == 1) {
    rc = store_check_hurry(store, err);
    if (!rc) rc = visit(context, &record);
  }
  if (there < 0) rc = there;
  log_reader_free(tail.reader);
cleanup:
  pthread_rwlock_unlock(&store->segments_lock);
  buf_deinit(&tail.decisions);
  return rc;
}

/* ---- dead letters at rest ---- */

enum { DEAD_FIRST = 64 };

/** What the tail says of a letter. */
struct verdict_of_tail {
  struct hash128 id;
  bool cleared;
  struct buf letter;
};

struct dead_tail {
  struct verdict_of_tail *items; /**< in the order of the log */
  size_t count, cap;
  uint32_t *places;  /**< by id: an item's index and one; 0: none is here, nor behind */
  size_t place_mask; /**< twice as many as `cap`, less one */
  int (*visit)(void *context, const struct dead_letter *letter);
  void *context;
};

/** Where the id is, or belongs. */
static uint32_t *dead_place(const struct dead_tail *tail, struct hash128 id) {
  size_t at = id.low & tail->place_mask;
  while (tail->places[at] && !hash128_equal(tail->items[tail->places[at] - 1].id, id))
    at = (at + 1) & tail->place_mask;
  return &tail->places[at];
}

static struct verdict_of_tail *dead_find(const struct dead_tail *tail, struct hash128 id) {
  if (!tail->count) return NULL;
  const uint32_t *place = dead_place(tail, id);
  return *place ? &tail->items[*place - 1] : NULL;
}

static void dead_grow(struct dead_tail *tail) {
  tail->cap = tail->cap ? tail->cap * 2 : DEAD_FIRST;
  tail->items = memory_realloc(tail->items, tail->cap * sizeof *tail->items);
  memory_free(tail->places);
  tail->places = memory_zalloc(2 * tail->cap * sizeof *tail->places);
  tail->place_mask = 2 * tail->cap - 1;
  for (size_t i = 0; i < tail->count; i++) *dead_place(tail, tail->items[i].id) = (uint32_t)i + 1;
}

static struct verdict_of_tail *dead_obtain(struct dead_tail *tail, struct hash128 id) {
  struct verdict_of_tail *item = dead_find(tail, id);
  if (item) return item;
  if (tail->count == tail->cap) dead_grow(tail);
  item = &tail->items[tail->count++];
  *item = (struct verdict_of_tail){.id = id};
  *dead_place(tail, id) = (uint32_t)tail->count;
  buf_init(&item->letter);
  return item;
}

static int dead_note(struct dead_tail *tail, const struct log_record *record, struct error *err) {
  struct reader reader = reader_of(record->effects);
  while (reader_left(&reader)) {
    struct effect effect;
    struct dead_letter letter;
    int rc = effect_decode(&effect, &reader, err);
    if (rc) return rc;
    if (dead_letter_from(&letter, record, &effect)) {
      struct verdict_of_tail *item = dead_obtain(tail, letter.id);
      item->cleared = false;
      buf_clear(&item->letter);
      dead_letter_encode(&letter, &item->letter);
    } else if (effect.type == EFFECT_DEAD_CLEAR) {
      dead_obtain(tail, effect.dead_id)->cleared = true;
    }
  }
  return 0;
}

static int dead_visit_stored(void *context, const struct dead_letter *letter) {
  struct dead_tail *tail = context;
  return dead_find(tail, letter->id) ? 0 : tail->visit(tail->context, letter);
}

static int dead_read_tail(struct dead_tail *tail, const char *log_directory, struct log_position from,
                          struct error *err) {
  struct log_reader *reader;
  int rc = log_reader_new(&reader, log_directory, from, err);
  if (rc) return rc;
  struct log_record record;
  struct log_position after;
  while ((rc = log_reader_next(reader, NULL, &record, &after, err)) == 1)
    if ((rc = dead_note(tail, &record, err))) break;
  log_reader_free(reader);
  return rc;
}

int history_dead(struct store *store, const char *log_directory,
                 int (*visit)(void *context, const struct dead_letter *letter), void *context,
                 struct error *err) {
  struct dead_tail tail = {.visit = visit, .context = context};
  struct log_position checkpoint;
  uint64_t next_seq;
  int rc = store_checkpoint_get(store, &checkpoint, &next_seq, err);
  if (!rc) rc = dead_read_tail(&tail, log_directory, checkpoint, err);
  if (!rc) rc = store_scan_dead(store, dead_visit_stored, &tail, err);
  for (size_t i = 0; i < tail.count; i++) {
    struct dead_letter letter;
    if (!rc && !tail.items[i].cleared) {
      rc = dead_letter_decode(&letter, buf_str(&tail.items[i].letter), err);
      if (!rc) rc = visit(context, &letter);
    }
    buf_deinit(&tail.items[i].letter);
  }
  memory_free(tail.items);
  memory_free(tail.places);
  return rc;
}
