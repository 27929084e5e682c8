/* Deferred messages: they lie in the outbox, and an index of it has them in the order of their moments. */
#include "state/store_internal.h"

#include "base/failpoint.h"

/** The entry behind a key of the index, visited if it still waits. */
static int visit_indexed(struct store *store, struct str index_key, struct buf *value,
                         void (*visit)(void *context, const struct outbox_entry *entry), void *context,
                         struct error *err) {
  // Behind the time the key is the outbox's own.
  struct str key = {index_key.data + sizeof(int64_t), index_key.len - sizeof(int64_t)};
  struct outbox_entry entry;
  buf_clear(value);
  int rc = store_failpoint(FAILPOINT("store.deferred"), "reading a deferred message", err);
  if (!rc) rc = store_get(store, store->families[FAMILY_OUTBOX], key, value, err);
  if (rc == ERROR_NOT_FOUND) return 0; // it ended, and the index was not told
  if (!rc) rc = outbox_entry_decode(&entry, buf_str(value), err);
  if (!rc && outbox_entry_deferred(&entry)) visit(context, &entry);
  return rc;
}

static int read_index(struct store *store, rocksdb_iterator_t *it, struct buf *cursor, int64_t until,
                      uint32_t most, struct deferred_ahead *ahead,
                      void (*visit)(void *context, const struct outbox_entry *entry), void *context,
                      struct error *err) {
  struct buf value;
  int count = 0, rc = 0;
  buf_init(&value);
  rocksdb_iter_seek(it, cursor->len ? (const char *)cursor->data : "", cursor->len);
  if (cursor->len && rocksdb_iter_valid(it)) {
    struct str key;
    key.data = rocksdb_iter_key(it, &key.len);
    if (str_equal(key, buf_str(cursor))) rocksdb_iter_next(it);
  }
  for (; !rc && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
    struct str key;
    key.data = rocksdb_iter_key(it, &key.len);
    struct reader reader = reader_of(key);
    int64_t due = key_time(&reader);
    if (reader.bad) {
      rc = error_set(err, ERROR_CORRUPT, "a key of the index of deferred messages is malformed");
      break;
    }
    if (due > until || (uint32_t)count == most) {
      ahead->next = due;
      break;
    }
    if (visit_indexed(store, key, &value, visit, context, err)) ahead->unreadable++;
    buf_clear(cursor);
    buf_append(cursor, key.data, key.len);
    count++;
  }
  buf_deinit(&value);
  return rc ? rc : count;
}

int store_read_deferred(struct store *store, struct buf *cursor, int64_t until, uint32_t most,
                        struct deferred_ahead *ahead,
                        void (*visit)(void *context, const struct outbox_entry *entry), void *context,
                        struct error *err) {
  *ahead = (struct deferred_ahead){.next = INT64_MAX};
  int rc = store_enter(store, err);
  if (rc) return rc;
  rocksdb_iterator_t *it =
      rocksdb_create_iterator_cf(store->db, store->scan_options, store->families[FAMILY_DEFERRED]);
  rc = read_index(store, it, cursor, until, most, ahead, visit, context, err);
  char *complaint = NULL;
  if (rc >= 0) rocksdb_iter_get_error(it, &complaint);
  if (complaint) rc = store_fault(complaint, "reading the index of deferred messages", err);
  rocksdb_iter_destroy(it);
  store_leave(store);
  return rc;
}
