/* The user index in RocksDB: the family `index`. A key is hash64(index), hash64(key), then partition, kind,
 * id, 0: who stands under a key is one range, in the order of the partitions. The value repeats index and
 * key, so that names whose hashes agree are told apart; two such names would share an entry of one user,
 * which among 2^64 of each nobody will live to see. */
#include "state/store_internal.h"

#include "base/clock.h"
#include "base/memory.h"

enum {
  /** Ended entries stay so long: an event may be judged by a time that is past, and a clock be set back. */
  EXPIRED_KEEP_MS = 24 * 3600 * 1000,
  PREFIX_BYTES = 16
};

/** An entry's stored form. */
struct stored_entry {
  struct str index, key, value;
  int64_t expires;
};

static void entry_encode(const struct index_change *change, struct buf *out) {
  buf_put_zigzag(out, change->expires);
  buf_put_str(out, change->index);
  buf_put_str(out, change->key);
  buf_put_str(out, change->value);
}

static bool entry_decode(struct stored_entry *entry, struct str bytes) {
  struct reader reader = reader_of(bytes);
  entry->expires = reader_zigzag(&reader);
  entry->index = reader_str(&reader);
  entry->key = reader_str(&reader);
  entry->value = reader_str(&reader);
  return !reader.bad && reader_left(&reader) == 0;
}

static void put_prefix(struct buf *out, struct str index, struct str key) {
  buf_put_u64_be(out, hash64(index, 0));
  buf_put_u64_be(out, hash64(key, 0));
}

void index_key_put(struct buf *out, struct str index, struct str key, struct entity entity) {
  put_prefix(out, index, key);
  key_put_entity(out, entity);
}

void index_value_put(struct buf *out, const struct index_change *change) {
  entry_encode(change, out);
}

/* ---- ends: RocksDB asks, on its own threads ---- */

/** Of two entries, which one stays: the one that ends later, and of two that end together the newer. @return
 * false if one is malformed. */
static bool later_of(struct str older, struct str newer, struct str *out) {
  struct stored_entry old, new;
  if (!entry_decode(&old, older) || !entry_decode(&new, newer)) return false;
  *out = index_later(old.expires, new.expires) == new.expires ? newer : older;
  return true;
}

static char *merge(const char *existing, size_t existing_len, const char *const *operands, const size_t *lens,
                   int count, unsigned char *success, size_t *len) {
  struct str result = existing ? (struct str){existing, existing_len} : (struct str){operands[0], lens[0]};
  bool good = true;
  for (int i = existing ? 0 : 1; good && i < count; i++)
    good = later_of(result, (struct str){operands[i], lens[i]}, &result);
  *success = good;
  *len = good ? result.len : 0;
  return good ? memory_dup(result.data, result.len) : NULL;
}

static char *merge_full(void *state, const char *key, size_t key_len, const char *existing,
                        size_t existing_len, const char *const *operands, const size_t *lens, int count,
                        unsigned char *success, size_t *len) {
  (void)state, (void)key, (void)key_len;
  return merge(existing, existing_len, operands, lens, count, success, len);
}

static char *merge_partial(void *state, const char *key, size_t key_len, const char *const *operands,
                           const size_t *lens, int count, unsigned char *success, size_t *len) {
  (void)state, (void)key, (void)key_len;
  return merge(NULL, 0, operands, lens, count, success, len);
}

static void merged_free(void *state, const char *value, size_t len) {
  (void)state, (void)len;
  memory_free((void *)value);
}

static unsigned char drops(void *state, int level, const char *key, size_t key_len, const char *value,
                           size_t len, char **new_value, size_t *new_len, unsigned char *changed) {
  (void)level, (void)key, (void)key_len, (void)new_value, (void)new_len;
  const struct store *store = state;
  int64_t kept = atomic_load_explicit(&store->index_kept, memory_order_relaxed);
  int64_t late = store_retention_last(store) - EXPIRED_KEEP_MS;
  struct stored_entry entry;
  *changed = 0;
  return entry_decode(&entry, (struct str){value, len}) &&
         index_expired(entry.expires, kept < late ? kept : late);
}

void store_keep_index(struct store *store, int64_t since) {
  atomic_store_explicit(&store->index_kept, since, memory_order_relaxed);
}

static const char *merge_name(void *state) {
  (void)state;
  return "kairos.index.later"; // on disk: for ever
}

static const char *filter_name(void *state) {
  (void)state;
  return "kairos.index.expired";
}

static void nothing_to_free(void *state) {
  (void)state;
}

rocksdb_compactionfilter_t *index_filter_set(struct store *store, rocksdb_options_t *options) {
  store_keep_index(store, INT64_MIN);
  rocksdb_options_set_merge_operator(options,
                                     rocksdb_mergeoperator_create(NULL, nothing_to_free, merge_full,
                                                                  merge_partial, merged_free, merge_name));
  rocksdb_compactionfilter_t *filter =
      rocksdb_compactionfilter_create(store, nothing_to_free, drops, filter_name);
  rocksdb_options_set_compaction_filter(options, filter);
  return filter;
}

/* ---- scans ---- */

struct scanning {
  struct str index, key;
  struct buf *cursor;
  int64_t now;
  int (*visit)(void *context, const struct index_user *user);
  void *context;
  struct error *err;
};

/** @param rest  the key behind the prefix */
static int visit_entry(struct scanning *scanning, struct str rest, struct str value) {
  struct stored_entry entry;
  struct reader reader = reader_of(rest);
  struct entity entity = key_entity(&reader);
  if (reader.bad || !entry_decode(&entry, value))
    return error_set(scanning->err, ERROR_CORRUPT, "an entry of the user index is malformed");
  buf_clear(scanning->cursor);
  buf_append(scanning->cursor, rest.data, rest.len);
  if (index_expired(entry.expires, scanning->now) || !str_equal(entry.index, scanning->index) ||
      !str_equal(entry.key, scanning->key))
    return 0;
  return scanning->visit(scanning->context, &(struct index_user){entity, entry.value, entry.expires});
}

static int scan(struct store *store, struct scanning *scanning, int partition, uint32_t most) {
  struct buf from;
  buf_init(&from);
  put_prefix(&from, scanning->index, scanning->key);
  if (partition >= 0) buf_put_u8(&from, (uint8_t)partition);
  size_t within = from.len;
  if (scanning->cursor->len) {
    from.len = PREFIX_BYTES;
    buf_append(&from, scanning->cursor->data, scanning->cursor->len);
  }
  rocksdb_iterator_t *it =
      rocksdb_create_iterator_cf(store->db, store->scan_options, store->families[FAMILY_INDEX]);
  uint32_t looked = 0;
  int rc = 0;
  for (rocksdb_iter_seek(it, (const char *)from.data, from.len);
       !rc && looked < most && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
    struct str key, value;
    key.data = rocksdb_iter_key(it, &key.len);
    if (key.len < within || memcmp(key.data, from.data, within) != 0) break;
    if (str_equal(key, buf_str(&from))) continue; // the cursor's own
    value.data = rocksdb_iter_value(it, &value.len);
    rc = visit_entry(scanning, (struct str){key.data + PREFIX_BYTES, key.len - PREFIX_BYTES}, value);
    looked++;
  }
  char *complaint = NULL;
  if (!rc) rocksdb_iter_get_error(it, &complaint);
  if (complaint) rc = store_fault(complaint, "reading the user index", scanning->err);
  rocksdb_iter_destroy(it);
  buf_deinit(&from);
  return rc ? rc : (int)looked;
}

int store_scan_index(struct store *store, struct str index, struct str key, int partition, int64_t now,
                     struct buf *cursor, uint32_t most,
                     int (*visit)(void *context, const struct index_user *user), void *context,
                     struct error *err) {
  struct scanning scanning = {index, key, cursor, now, visit, context, err};
  int rc = store_enter(store, err);
  if (rc) return rc;
  rc = scan(store, &scanning, partition, most);
  store_leave(store);
  return rc;
}

static int count_one(void *context, const struct index_user *user) {
  (void)user;
  ++*(uint64_t *)context;
  return 0;
}

int store_count_index(struct store *store, struct str index, struct str key, int64_t now, uint64_t *count,
                      struct error *err) {
  enum { AT_ONCE = 10000 };
  struct buf cursor;
  int rc;
  *count = 0;
  buf_init(&cursor);
  do rc = store_scan_index(store, index, key, -1, now, &cursor, AT_ONCE, count_one, count, err);
  while (rc == AT_ONCE);
  buf_deinit(&cursor);
  return rc < 0 ? rc : 0;
}
