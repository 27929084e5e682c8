#include "state/history.h"
#include "state/log_segment.h"
#include "state/sealed.h"
#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "event/event.h"

#include <stdlib.h>
#include <unistd.h>

struct entry {
  uint64_t
      head; /**< the key's first bytes as a number: nearly every comparison ends here, without a cache miss */
  uint64_t at; /**< of the key in the bytes; the value follows */
  uint32_t key_len, value_len;
};

/** What one segment brings to one slice. */
struct pile {
  struct buf bytes;
  struct entry *entries;
  size_t count, cap;
  int64_t last_at;
};

struct sealing {
  struct store *store;
  uint64_t number;
  int64_t created;
  uint32_t generation; /**< the last one recorded in it, 0 none */
  struct pile piles[SLICE_KINDS];
  struct buf decisions;
  struct error *err;
};

/** Big-endian, so that numbers compare as the bytes do; a short key is filled up with zeroes. */
static uint64_t key_head(const uint8_t *key, size_t len) {
  uint64_t head = 0;
  for (size_t i = 0; i < sizeof head; i++) head = head << 8 | (i < len ? key[i] : 0);
  return head;
}

/** The key was appended to the pile's bytes at `at`, the value at `middle`. */
static void pile_add(struct pile *pile, size_t at, size_t middle, int64_t time) {
  if (pile->count == pile->cap) {
    pile->cap = pile->cap ? pile->cap * 2 : 1024;
    pile->entries = memory_realloc(pile->entries, pile->cap * sizeof *pile->entries);
  }
  if (!pile->count || time > pile->last_at) pile->last_at = time;
  pile->entries[pile->count++] =
      (struct entry){key_head(pile->bytes.data + at, middle - at), at, (uint32_t)(middle - at),
                     (uint32_t)(pile->bytes.len - middle)};
}

static void add_record(struct pile *pile, const struct log_record *record, struct str input,
                       struct str effects) {
  size_t at = pile->bytes.len;
  sealed_put_key(&pile->bytes, record->entity, record->seq);
  size_t middle = pile->bytes.len;
  sealed_put(&pile->bytes, record, input, effects);
  pile_add(pile, at, middle, record->at);
}

static int add_mark(struct pile *pile, const struct log_record *record, struct error *err) {
  struct event event;
  struct reader reader = reader_of(record->input);
  int rc = event_decode(&event, &reader, err);
  if (rc) return rc;
  size_t at = pile->bytes.len;
  key_put_entity(&pile->bytes, record->entity);
  buf_append(&pile->bytes, event.id.data, event.id.len);
  size_t middle = pile->bytes.len;
  buf_put_u64(&pile->bytes, (uint64_t)record->at);
  pile_add(pile, at, middle, record->at);
  return 0;
}

static int seal_record(struct sealing *sealing, const struct log_record *record) {
  if (record->type == LOG_GENERATION) {
    if (record->generation > sealing->generation) sealing->generation = record->generation;
    return 0;
  }
  if (record->type == LOG_EVENT) {
    int rc = add_mark(&sealing->piles[SLICE_SEEN], record, sealing->err);
    if (rc) return rc;
  }
  bool in_log = sealed_in_log(record->type);
  if (in_log) add_record(&sealing->piles[SLICE_LOG], record, record->input, STR(""));
  buf_clear(&sealing->decisions);
  int rc = history_decisions(record->effects, &sealing->decisions, sealing->err);
  if (rc) return rc;
  if (sealing->decisions.len || !in_log)
    add_record(&sealing->piles[SLICE_LEDGER], record, in_log ? STR("") : record->input,
               buf_str(&sealing->decisions));
  return 0;
}

static int read_segment(struct sealing *sealing, const char *log_directory) {
  struct segment segment;
  int descriptor;
  int rc = segment_open(log_directory, sealing->number, false, &segment, &descriptor, sealing->err);
  if (rc) return rc;
  close(descriptor);
  sealing->created = segment.created;
  struct log_reader *reader;
  rc = log_reader_new(&reader, log_directory, (struct log_position){sealing->number, 0}, sealing->err);
  if (rc) return rc;
  struct log_position until = {sealing->number + 1, 0}, after;
  struct log_record record;
  while ((rc = log_reader_next(reader, &until, &record, &after, sealing->err)) == 1)
    if ((rc = seal_record(sealing, &record))) break;
  log_reader_free(reader);
  return rc;
}

static int compare(const void *a, const void *b, void *bytes) {
  const struct entry *left = a, *right = b;
  if (left->head != right->head) return left->head < right->head ? -1 : 1;
  uint32_t common = left->key_len < right->key_len ? left->key_len : right->key_len;
  int order = memcmp((const char *)bytes + left->at, (const char *)bytes + right->at, common);
  if (order) return order;
  if (left->key_len != right->key_len) return left->key_len < right->key_len ? -1 : 1;
  return left->at < right->at ? -1 : left->at > right->at;
}

static bool same_key(const struct pile *pile, const struct entry *a, const struct entry *b) {
  return a->key_len == b->key_len &&
         memcmp(pile->bytes.data + a->at, pile->bytes.data + b->at, a->key_len) == 0;
}

/** The pile as a file, sorted; of equal keys the last. */
static int write_file(struct store *store, const struct pile *pile, const rocksdb_options_t *options,
                      const char *path, struct error *err) {
  rocksdb_envoptions_t *environment = rocksdb_envoptions_create();
  rocksdb_sstfilewriter_t *writer = rocksdb_sstfilewriter_create(environment, options);
  char *complaint = NULL;
  rocksdb_sstfilewriter_open(writer, path, &complaint);
  for (size_t i = 0; i < pile->count && !complaint; i++) {
    const struct entry *entry = &pile->entries[i];
    if (i + 1 < pile->count && same_key(pile, entry, entry + 1)) continue;
    const char *key = (const char *)pile->bytes.data + entry->at;
    rocksdb_sstfilewriter_put(writer, key, entry->key_len, key + entry->key_len, entry->value_len,
                              &complaint);
  }
  if (!complaint) rocksdb_sstfilewriter_finish(writer, &complaint);
  rocksdb_sstfilewriter_destroy(writer);
  rocksdb_envoptions_destroy(environment);
  return store_fault(complaint, store->directory, err);
}

static int ingest(struct store *store, rocksdb_column_family_handle_t *family, const char *path,
                  struct error *err) {
  int rc = store_failpoint(FAILPOINT("store.ingest"), "ingesting a sealed segment", err);
  if (rc) return rc;
  rocksdb_ingestexternalfileoptions_t *options = rocksdb_ingestexternalfileoptions_create();
  rocksdb_ingestexternalfileoptions_set_move_files(options, 1);
  char *complaint = NULL;
  rocksdb_ingest_external_file_cf(store->db, family, &path, 1, options, &complaint);
  rocksdb_ingestexternalfileoptions_destroy(options);
  return store_fault(complaint, "ingesting a sealed segment", err);
}

static int seal_pile(struct sealing *sealing, enum slice_kind kind) {
  struct store *store = sealing->store;
  struct pile *pile = &sealing->piles[kind];
  if (!pile->count) return 0;
  qsort_r(pile->entries, pile->count, sizeof *pile->entries, compare, pile->bytes.data);
  rocksdb_column_family_handle_t *family;
  int rc = slice_obtain(store, kind, slice_start(store, kind, sealing->created), &family, sealing->err);
  if (rc) return rc;
  // One name for ever: what a crash leaves behind is overwritten.
  struct buf path;
  buf_init(&path);
  buf_printf(&path, "%s/sealing", store->directory);
  buf_append(&path, "", 1);
  rc = write_file(store, pile, kind == SLICE_SEEN ? store->seen_options : store->slice_options,
                  (const char *)path.data, sealing->err);
  if (!rc) rc = ingest(store, family, (const char *)path.data, sealing->err);
  if (rc) unlink((const char *)path.data);
  buf_deinit(&path);
  return rc;
}

static void put_number(struct store *store, rocksdb_writebatch_t *batch, struct str key, uint64_t number) {
  number = htole64(number);
  rocksdb_writebatch_put_cf(batch, store->families[FAMILY_META], key.data, key.len, (const char *)&number,
                            sizeof number);
}

/** Only now is the segment sealed: before, all of it is done again. */
static int record_sealed(struct sealing *sealing) {
  struct store *store = sealing->store;
  int rc = store_failpoint(FAILPOINT("store.ingest"), "recording a sealed segment", sealing->err);
  if (rc) return rc;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  for (int kind = 0; kind < SLICE_KINDS; kind++)
    if (sealing->piles[kind].count)
      slice_reach(store, kind, slice_start(store, kind, sealing->created), sealing->piles[kind].last_at,
                  batch);
  put_number(store, batch, STR("sealed"), sealing->number);
  if (sealing->generation) put_number(store, batch, STR("generation"), sealing->generation);
  char *complaint = NULL;
  rocksdb_write(store->db, store->synced_options, batch, &complaint);
  rocksdb_writebatch_destroy(batch);
  return store_fault(complaint, "recording a sealed segment", sealing->err);
}

static void tell_marks(struct sealing *sealing) {
  const struct pile *pile = &sealing->piles[SLICE_SEEN];
  struct hash128 *marks = memory_alloc((pile->count + 1) * sizeof *marks);
  for (size_t i = 0; i < pile->count; i++)
    marks[i] = hash128(
        (struct str){(const char *)pile->bytes.data + pile->entries[i].at + 1, pile->entries[i].key_len - 1},
        0);
  marks_sealed(sealing->store, marks, pile->count);
  memory_free(marks);
}

int store_seal(struct store *store, const char *log_directory, uint64_t number, struct error *err) {
  uint64_t sealed = store_sealed(store);
  if (number <= sealed) return 0;
  if (number != sealed + 1)
    return error_set(err, ERROR_INVALID, "segment %llu cannot be sealed before segment %llu",
                     (unsigned long long)number, (unsigned long long)sealed + 1);
  store_know_log(store, log_directory);
  struct sealing sealing = {.store = store, .number = number, .err = err};
  buf_init(&sealing.decisions);
  for (int i = 0; i < SLICE_KINDS; i++) buf_init(&sealing.piles[i].bytes);
  int rc = read_segment(&sealing, log_directory);
  pthread_rwlock_wrlock(&store->segments_lock); // who reads a history sees the segment in one place
  for (int kind = 0; !rc && kind < SLICE_KINDS; kind++) rc = seal_pile(&sealing, kind);
  // The filter first: a mark must be found there before anyone forgets that it is in the log.
  if (!rc) tell_marks(&sealing);
  if (!rc) rc = record_sealed(&sealing);
  if (!rc) {
    atomic_store_explicit(&store->sealed, number, memory_order_release);
    LOG_DEBUG("store", "segment sealed", LOG_INT("segment", number),
              LOG_INT("events", sealing.piles[SLICE_SEEN].count));
  }
  pthread_rwlock_unlock(&store->segments_lock);
  buf_deinit(&sealing.decisions);
  for (int i = 0; i < SLICE_KINDS; i++) {
    buf_deinit(&sealing.piles[i].bytes);
    memory_free(sealing.piles[i].entries);
  }
  return rc;
}
