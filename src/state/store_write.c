#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/memory.h"

#include <stdio.h>

/** What is behind store_write.batch. */
struct write_batch {
  struct store *store;
  rocksdb_writebatch_t *batch;
  struct buf records;    /**< users' (run_record_put) */
  struct buf key, value; /**< scratch */
};

void store_write_init(struct store *store, struct store_write *write) {
  struct write_batch *batch = memory_zalloc(sizeof *batch);
  batch->store = store;
  batch->batch = rocksdb_writebatch_create();
  buf_init(&batch->records);
  buf_init(&batch->key);
  buf_init(&batch->value);
  *write = (struct store_write){.batch = batch};
}

void store_write_deinit(struct store_write *write) {
  struct write_batch *batch = write->batch;
  if (!batch) return;
  rocksdb_writebatch_destroy(batch->batch);
  buf_deinit(&batch->records);
  buf_deinit(&batch->key);
  buf_deinit(&batch->value);
  memory_free(batch);
  write->batch = NULL;
}

static struct buf *begin_value(struct store_write *write) {
  struct buf *value = &((struct write_batch *)write->batch)->value;
  buf_clear(value);
  return value;
}

static struct buf *begin_key(struct store_write *write) {
  struct buf *key = &((struct write_batch *)write->batch)->key;
  buf_clear(key);
  return key;
}

static void put(struct store_write *write, enum family family) {
  struct write_batch *batch = write->batch;
  rocksdb_writebatch_put_cf(batch->batch, batch->store->families[family], (const char *)batch->key.data,
                            batch->key.len, (const char *)batch->value.data, batch->value.len);
  write->bytes += batch->key.len + batch->value.len;
}

static void merge(struct store_write *write, enum family family) {
  struct write_batch *batch = write->batch;
  rocksdb_writebatch_merge_cf(batch->batch, batch->store->families[family], (const char *)batch->key.data,
                              batch->key.len, (const char *)batch->value.data, batch->value.len);
  write->bytes += batch->key.len + batch->value.len;
}

static void take(struct store_write *write, enum family family) {
  struct write_batch *batch = write->batch;
  rocksdb_writebatch_delete_cf(batch->batch, batch->store->families[family], (const char *)batch->key.data,
                               batch->key.len);
  write->bytes += batch->key.len;
}

static void put_timer_key(struct buf *key, struct entity entity, int64_t due) {
  key_put_time(key, due);
  key_put_entity(key, entity);
}

void store_write_user(struct store_write *write, struct entity entity, const struct record *record,
                      int64_t indexed_due, int64_t due) {
  struct buf *records = &((struct write_batch *)write->batch)->records;
  size_t before = records->len;
  run_record_put(records, entity, record);
  write->bytes += records->len - before;
  if (indexed_due != due && indexed_due != INT64_MAX) store_write_timer_stale(write, entity, indexed_due);
  // Put even if it is there: after a crash the index may have lost what the record kept.
  if (due == INT64_MAX) return;
  put_timer_key(begin_key(write), entity, due);
  begin_value(write);
  put(write, FAMILY_TIMER);
}

void store_write_timer_stale(struct store_write *write, struct entity entity, int64_t due) {
  put_timer_key(begin_key(write), entity, due);
  take(write, FAMILY_TIMER);
}

static void put_id_key(struct buf *key, struct entity entity, struct hash128 id) {
  key_put_entity(key, entity);
  key_put_hash(key, id);
}

/** The index of deferred messages. */
static void put_deferred_key(struct buf *key, struct entity entity, struct hash128 id, int64_t due) {
  key_put_time(key, due);
  put_id_key(key, entity, id);
}

void store_write_outbox(struct store_write *write, const struct outbox_entry *entry) {
  put_id_key(begin_key(write), entry->message.user, entry->message.id);
  outbox_entry_encode(entry, begin_value(write));
  put(write, FAMILY_OUTBOX);
  if (!entry->message.not_before) return;
  put_deferred_key(begin_key(write), entry->message.user, entry->message.id, entry->message.not_before);
  begin_value(write);
  if (outbox_entry_deferred(entry))
    put(write, FAMILY_DEFERRED);
  else
    take(write, FAMILY_DEFERRED);
}

void store_write_outbox_done(struct store_write *write, struct entity entity, struct hash128 message_id,
                             int64_t not_before) {
  put_id_key(begin_key(write), entity, message_id);
  take(write, FAMILY_OUTBOX);
  if (!not_before) return;
  put_deferred_key(begin_key(write), entity, message_id, not_before);
  take(write, FAMILY_DEFERRED);
}

void store_write_dead(struct store_write *write, const struct dead_letter *letter) {
  put_id_key(begin_key(write), letter->entity, letter->id);
  dead_letter_encode(letter, begin_value(write));
  put(write, FAMILY_DEAD);
}

void store_write_dead_done(struct store_write *write, struct entity entity, struct hash128 id) {
  put_id_key(begin_key(write), entity, id);
  take(write, FAMILY_DEAD);
}

void store_write_index(struct store_write *write, struct entity entity, const struct index_change *change) {
  index_key_put(begin_key(write), change->index, change->key, entity);
  if (change->remove) {
    take(write, FAMILY_INDEX);
    return;
  }
  index_value_put(begin_value(write), change);
  if (change->extend)
    merge(write, FAMILY_INDEX);
  else
    put(write, FAMILY_INDEX);
}

void store_write_fan_out(struct store_write *write, struct entity entity,
                         const struct fan_out_change *change) {
  if (fan_out_row(change, entity, begin_key(write), begin_value(write))) put(write, FAMILY_FAN_OUT);
}

void store_write_fan_out_gone(struct store_write *write, struct hash128 id) {
  struct write_batch *batch = write->batch;
  struct buf *key = begin_key(write), *end = begin_value(write);
  fan_out_key_put(key, id, 0, -1);
  fan_out_key_put(end, id, UINT8_MAX, -1);
  rocksdb_writebatch_delete_range_cf(batch->batch, batch->store->families[FAMILY_FAN_OUT],
                                     (const char *)key->data, key->len, (const char *)end->data, end->len);
  write->bytes += key->len + end->len;
}

int store_write_now(struct store *store, struct store_write *write, struct error *err) {
  struct write_batch *batch = write->batch;
  int rc = store_failpoint(FAILPOINT("store.write"), "writing to the database", err);
  if (rc) return rc;
  pthread_mutex_lock(&store->writing);
  if ((rc = store_enter(store, err))) {
    pthread_mutex_unlock(&store->writing);
    return rc;
  }
  // RocksDB may take its time: whoever wants the lock for himself must not wait for it, nor others for him.
  store_leave(store);
  char *complaint = NULL;
  if (rocksdb_writebatch_count(batch->batch))
    rocksdb_write(store->db, store->behind_options, batch->batch, &complaint);
  rc = store_fault(complaint, "writing to the database", err);
  if (!rc) rc = run_add(store, buf_str(&batch->records), err);
  pthread_mutex_unlock(&store->writing);
  rocksdb_writebatch_clear(batch->batch);
  buf_clear(&batch->records);
  write->bytes = 0;
  return rc;
}

/* ---- meta ---- */

int store_put_meta(struct store *store, struct str key, struct str value, struct error *err) {
  if (store->options.read_only) return error_set(err, ERROR_INVALID, "the database is open for reading only");
  int rc = store_failpoint(FAILPOINT("store.fact"), "writing a fact to the database", err);
  if (rc) return rc;
  char *complaint = NULL;
  rocksdb_put_cf(store->db, store->synced_options, store->families[FAMILY_META], key.data, key.len,
                 value.data, value.len, &complaint);
  return store_fault(complaint, "writing a fact to the database", err);
}

int store_meta_put(struct store *store, struct str key, struct str value, struct error *err) {
  int rc = store_enter(store, err);
  if (rc) return rc;
  rc = store_put_meta(store, key, value, err);
  store_leave(store);
  return rc;
}

int store_meta_write(struct store *store, const struct store_fact *facts, size_t count, struct error *err) {
  if (store->options.read_only) return error_set(err, ERROR_INVALID, "the database is open for reading only");
  int rc = store_enter(store, err);
  if (rc) return rc;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  rocksdb_column_family_handle_t *family = store->families[FAMILY_META];
  for (size_t i = 0; i < count; i++) {
    const struct store_fact *fact = &facts[i];
    if (fact->remove)
      rocksdb_writebatch_delete_cf(batch, family, fact->key.data, fact->key.len);
    else
      rocksdb_writebatch_put_cf(batch, family, fact->key.data, fact->key.len, fact->value.data,
                                fact->value.len);
  }
  char *complaint = NULL;
  rocksdb_write(store->db, store->synced_options, batch, &complaint);
  rocksdb_writebatch_destroy(batch);
  store_leave(store);
  return store_fault(complaint, "writing facts to the database", err);
}

int store_meta_get(struct store *store, struct str key, struct buf *out, struct error *err) {
  int rc = store_enter(store, err);
  if (rc) return rc;
  rc = store_get(store, store->families[FAMILY_META], key, out, err);
  store_leave(store);
  return rc;
}

int store_meta_scan(struct store *store, struct str prefix,
                    int (*visit)(void *context, struct str key, struct str value), void *context,
                    struct error *err) {
  int rc = store_enter(store, err);
  if (rc) return rc;
  rc = store_scan_family(store, store->families[FAMILY_META], prefix, visit, context, err);
  store_leave(store);
  return rc;
}

int store_meta_get_u64(struct store *store, const char *key, uint64_t *values, size_t count,
                       struct error *err) {
  struct buf bytes;
  buf_init(&bytes);
  int rc = store_get(store, store->families[FAMILY_META], str_from(key), &bytes, err);
  struct reader reader = reader_of(buf_str(&bytes));
  if (!rc && bytes.len != count * sizeof *values)
    rc = error_set(err, ERROR_CORRUPT, "%s: \"%s\" in meta has %zu bytes", store->directory, key, bytes.len);
  for (size_t i = 0; !rc && i < count; i++) values[i] = reader_u64(&reader);
  buf_deinit(&bytes);
  return rc;
}

/* ---- checkpoint ---- */

static int flush(struct store *store, struct error *err) {
  // Meta too: its last log file is kept as long as something of it is in memory alone.
  static const enum family flushed[] = {FAMILY_USER,    FAMILY_TIMER,    FAMILY_OUTBOX, FAMILY_INDEX,
                                        FAMILY_FAN_OUT, FAMILY_DEFERRED, FAMILY_DEAD,   FAMILY_META};
  rocksdb_flushoptions_t *options = rocksdb_flushoptions_create();
  rocksdb_flushoptions_set_wait(options, 1);
  int rc = run_push(store, err);
  for (size_t i = 0; i < sizeof flushed / sizeof *flushed && !rc; i++) {
    char *complaint = NULL;
    rc = store_failpoint(FAILPOINT("store.checkpoint"), "flushing the database", err);
    if (!rc) rocksdb_flush_cf(store->db, options, store->families[flushed[i]], &complaint);
    if (!rc) rc = store_fault(complaint, "flushing the database", err);
  }
  rocksdb_flushoptions_destroy(options);
  return rc;
}

int store_checkpoint(struct store *store, struct log_position position, uint64_t next_seq,
                     struct error *err) {
  int rc = store_enter(store, err);
  if (rc) return rc;
  rc = flush(store, err);
  if (!rc) rc = store_failpoint(FAILPOINT("store.checkpoint"), "recording the checkpoint", err);
  if (!rc) {
    struct buf value;
    buf_init(&value);
    buf_put_u64(&value, position.segment);
    buf_put_u64(&value, position.offset);
    buf_put_u64(&value, next_seq);
    rc = store_put_meta(store, STR("checkpoint"), buf_str(&value), err);
    buf_deinit(&value);
  }
  store_leave(store);
  return rc;
}

int store_checkpoint_get(struct store *store, struct log_position *position, uint64_t *next_seq,
                         struct error *err) {
  uint64_t values[3] = {0, 0, 1};
  int rc = store_enter(store, err);
  if (rc) return rc;
  rc = store_meta_get_u64(store, "checkpoint", values, 3, err);
  store_leave(store);
  if (rc == ERROR_NOT_FOUND) rc = 0;
  *position = (struct log_position){values[0], values[1]};
  *next_seq = values[2];
  return rc;
}

uint64_t store_sealed(struct store *store) {
  return atomic_load_explicit(&store->sealed, memory_order_acquire);
}
