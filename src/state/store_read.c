#include "state/store_internal.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "state/seen.h"

/* ---- one at a time ---- */

int store_get(struct store *store, rocksdb_column_family_handle_t *family, struct str key, struct buf *out,
              struct error *err) {
  char *complaint = NULL;
  rocksdb_pinnableslice_t *slice =
      rocksdb_get_pinned_cf(store->db, store->get_options, family, key.data, key.len, &complaint);
  if (complaint) return store_fault(complaint, "reading from the database", err);
  if (!slice) return error_set(err, ERROR_NOT_FOUND, "not in the database");
  size_t len;
  const char *value = rocksdb_pinnableslice_value(slice, &len);
  buf_append(out, value, len);
  rocksdb_pinnableslice_destroy(slice);
  return 0;
}

static int get_with_key(struct store *store, enum family family, struct buf *key, struct buf *out,
                        struct error *err) {
  int rc = store_enter(store, err);
  if (!rc) {
    rc = store_get(store, store->families[family], buf_str(key), out, err);
    store_leave(store);
  }
  buf_deinit(key);
  return rc;
}

int store_get_user(struct store *store, struct entity entity, struct record *out, struct error *err) {
  struct buf key, value;
  buf_init(&value);
  int rc = store_enter(store, err);
  if (rc) return rc;
  if (!run_find(&store->run, entity, &value)) {
    buf_init(&key);
    key_put_entity(&key, entity);
    rc = store_get(store, store->families[FAMILY_USER], buf_str(&key), &value, err);
    buf_deinit(&key);
  }
  store_leave(store);
  if (!rc) rc = record_decode(out, buf_str(&value), err);
  buf_deinit(&value);
  return rc;
}

int store_get_outbox(struct store *store, struct entity entity, struct hash128 id, struct buf *out,
                     struct error *err) {
  struct buf key;
  buf_init(&key);
  key_put_entity(&key, entity);
  key_put_hash(&key, id);
  return get_with_key(store, FAMILY_OUTBOX, &key, out, err);
}

/* ---- fetches: the fetch thread ---- */

/** Keys laid end to end, and what RocksDB wants to be told of them. */
struct lookup {
  struct buf bytes;
  size_t *ends;
  const char **keys;
  size_t *lens;
  rocksdb_pinnableslice_t **values;
  char **complaints;
  uint32_t *items; /**< which item each key is of */
  size_t count;
};

static void lookup_init(struct lookup *lookup, size_t most) {
  *lookup = (struct lookup){0};
  buf_init(&lookup->bytes);
  lookup->ends = memory_alloc(most * sizeof *lookup->ends);
  lookup->keys = memory_alloc(most * sizeof *lookup->keys);
  lookup->lens = memory_alloc(most * sizeof *lookup->lens);
  lookup->values = memory_alloc(most * sizeof(rocksdb_pinnableslice_t *));
  lookup->complaints = memory_alloc(most * sizeof *lookup->complaints);
  lookup->items = memory_alloc(most * sizeof *lookup->items);
}

static void lookup_deinit(struct lookup *lookup) {
  buf_deinit(&lookup->bytes);
  memory_free(lookup->ends);
  memory_free(lookup->keys);
  memory_free(lookup->lens);
  memory_free(lookup->values);
  memory_free(lookup->complaints);
  memory_free(lookup->items);
}

static void lookup_clear(struct lookup *lookup) {
  buf_clear(&lookup->bytes);
  lookup->count = 0;
}

/** The key that was appended to `bytes` is whole. */
static void lookup_add(struct lookup *lookup, uint32_t item) {
  lookup->items[lookup->count] = item;
  lookup->ends[lookup->count++] = lookup->bytes.len;
}

/** Ask one family for all keys: each has a value, or a complaint, or neither. */
static void lookup_run(struct lookup *lookup, struct store *store, rocksdb_column_family_handle_t *family) {
  size_t start = 0;
  for (size_t i = 0; i < lookup->count; i++) {
    lookup->keys[i] = (const char *)lookup->bytes.data + start;
    lookup->lens[i] = lookup->ends[i] - start;
    start = lookup->ends[i];
  }
  rocksdb_batched_multi_get_cf(store->db, store->get_options, family, lookup->count, lookup->keys,
                               lookup->lens, lookup->values, lookup->complaints, false);
}

/** The bytes are where they stay: first those from the run, then those that were looked up. */
static void place_records(struct store_fetch *fetch, const struct lookup *lookup, size_t from_run) {
  const char *run = (const char *)fetch->records.data, *asked = run + from_run;
  size_t next = 0;
  for (uint32_t i = 0; i < fetch->count; i++) {
    struct store_fetch_item *item = &fetch->items[i];
    bool was_asked = next < lookup->count && lookup->items[next] == i;
    next += was_asked;
    if (!item->found) continue;
    const char **at = was_asked ? &asked : &run;
    item->record.data = *at;
    *at += item->record.len;
  }
}

static void tell_user_unreadable(struct store *store, struct str id, const struct error *err) {
  store->users_unreadable++;
  if (logger_again(&store->users_told_us))
    LOG_ERROR(
        "store", "a user's record cannot be read: all else of him waits, his events are answered \"retry\"",
        LOG_USER("user", id), LOG_TEXT("error", err->message), LOG_INT("so_far", store->users_unreadable));
}

/** A block that is spoiled is of some users; nobody else waits for them. */
static void fetch_records(struct store *store, struct store_fetch *fetch, struct lookup *lookup) {
  lookup_clear(lookup);
  run_fetch(&store->run, fetch);
  size_t from_run = fetch->records.len;
  for (uint32_t i = 0; i < fetch->count; i++) {
    if (fetch->items[i].found) continue;
    key_put_entity(&lookup->bytes, fetch->items[i].entity);
    lookup_add(lookup, i);
  }
  lookup_run(lookup, store, store->families[FAMILY_USER]);
  for (size_t i = 0; i < lookup->count; i++) {
    struct store_fetch_item *item = &fetch->items[lookup->items[i]];
    struct error err;
    item->failed = store_fault(lookup->complaints[i], "reading from the database", &err) != 0;
    if (item->failed) tell_user_unreadable(store, item->entity.id, &err);
    item->found = lookup->values[i] != NULL;
    if (!item->found) continue;
    const char *value = rocksdb_pinnableslice_value(lookup->values[i], &item->record.len);
    buf_append(&fetch->records, value, item->record.len);
    rocksdb_pinnableslice_destroy(lookup->values[i]);
  }
  if (fetch->count) place_records(fetch, lookup, from_run);
}

/** Newest files first, for most of what is sent twice is so soon. One that cannot be read may not have it.
 * @return 1: it is there, 0: it is not, or a code: nobody knows */
static int find_mark(const struct mark_files *files, const struct store_fetch_item *item, int64_t since,
                     struct mark_page *page, struct error *err) {
  unsigned partition = entity_partition(item->entity);
  struct hash128 mark = seen_mark(item->entity, item->event_id);
  int failed = 0;
  for (size_t i = files->count; i-- > 0;) {
    const struct mark_file *file = files->files[i];
    if (file->head.newest <= since) continue;
    int64_t at;
    int rc = mark_file_find(file, partition, mark, page, &at, err);
    if (rc > 0 && at > since) return rc;
    if (rc < 0) failed = rc;
  }
  return failed;
}

static void tell_unreadable(struct store *store, const struct error *err) {
  struct marks *marks = &store->marks;
  uint64_t count = atomic_fetch_add_explicit(&marks->unreadable, 1, memory_order_relaxed) + 1;
  if (logger_again(&marks->told_us))
    LOG_ERROR("store", "dedup marks cannot be read: events that may be among them are answered \"retry\"",
              LOG_TEXT("error", err->message), LOG_INT("so_far", count));
}

/** Nothing that sealing, merging or retention wants is held meanwhile. */
static int fetch_marks(struct store *store, struct store_fetch *fetch, int64_t since, struct error *err) {
  struct mark_files *files = NULL;
  struct mark_page page = {0};
  for (uint32_t i = 0; i < fetch->count; i++) {
    struct store_fetch_item *item = &fetch->items[i];
    if (!item->event_id.len) continue;
    if (!files && !(files = mark_files_ref(store)))
      return error_set(err, ERROR_UNAVAILABLE, "%s: the database is being opened anew", store->directory);
    int rc = find_mark(files, item, since, &page, err);
    item->seen = rc > 0;
    item->unknown = rc < 0;
    if (rc < 0) tell_unreadable(store, err);
  }
  mark_files_unref(files);
  return 0;
}

void store_serve_fetch(struct store *store, struct store_fetch *fetch) {
  struct lookup lookup;
  struct error err;
  lookup_init(&lookup, fetch->count ? fetch->count : 1);
  int64_t since = fetch->seen_since ? fetch->seen_since : clock_wall_ms() - store->options.dedup_keep;
  for (uint32_t i = 0; i < fetch->count; i++)
    fetch->items[i].found = fetch->items[i].failed = fetch->items[i].seen = fetch->items[i].unknown = false;
  fetch->status = store_enter(store, &err);
  if (!fetch->status) {
    fetch_records(store, fetch, &lookup);
    store_leave(store);
  }
  if (!fetch->status) fetch->status = fetch_marks(store, fetch, since, &err);
  lookup_deinit(&lookup);
}

/* ---- the filter alone ---- */

void store_seen_prefetch(struct store *store, struct hash128 mark) {
  const struct mark_filter *filter = atomic_load_explicit(&store->marks.filter, memory_order_acquire);
  if (filter) mark_filter_prefetch(filter, mark);
}

bool store_seen_maybe(struct store *store, struct hash128 mark) {
  const struct mark_filter *filter = atomic_load_explicit(&store->marks.filter, memory_order_acquire);
  return !filter || mark_filter_maybe(filter, mark);
}

/* ---- scans ---- */

int store_scan_family(struct store *store, rocksdb_column_family_handle_t *family, struct str prefix,
                      int (*visit)(void *context, struct str key, struct str value), void *context,
                      struct error *err) {
  int rc = 0;
  rocksdb_iterator_t *it = rocksdb_create_iterator_cf(store->db, store->scan_options, family);
  for (rocksdb_iter_seek(it, prefix.data, prefix.len); !rc && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
    struct str key, value;
    key.data = rocksdb_iter_key(it, &key.len);
    if (key.len < prefix.len || memcmp(key.data, prefix.data, prefix.len) != 0) break;
    value.data = rocksdb_iter_value(it, &value.len);
    rc = visit(context, key, value);
  }
  if (!rc) {
    char *complaint = NULL;
    rocksdb_iter_get_error(it, &complaint);
    rc = store_fault(complaint, "reading from the database", err);
  }
  rocksdb_iter_destroy(it);
  return rc;
}

/** A typed visitor behind a plain one. */
struct typed {
  int (*timer)(void *context, struct entity entity, int64_t due);
  int (*outbox)(void *context, const struct outbox_entry *entry);
  int (*dead)(void *context, const struct dead_letter *letter);
  void *context;
  struct error *err;
};

static int scan_typed(struct store *store, enum family family,
                      int (*visit)(void *context, struct str key, struct str value), struct typed *typed) {
  int rc = store_enter(store, typed->err);
  if (rc) return rc;
  rc = store_scan_family(store, store->families[family], STR(""), visit, typed, typed->err);
  store_leave(store);
  return rc;
}

static int visit_timer(void *context, struct str key, struct str value) {
  struct typed *typed = context;
  (void)value;
  struct reader reader = reader_of(key);
  int64_t due = key_time(&reader);
  struct entity entity = key_entity(&reader);
  if (reader.bad) return error_set(typed->err, ERROR_CORRUPT, "a key of the timer index is malformed");
  return typed->timer(typed->context, entity, due);
}

static int visit_outbox(void *context, struct str key, struct str value) {
  struct typed *typed = context;
  (void)key;
  struct outbox_entry entry;
  int rc = outbox_entry_decode(&entry, value, typed->err);
  return rc ? rc : typed->outbox(typed->context, &entry);
}

static int visit_dead(void *context, struct str key, struct str value) {
  struct typed *typed = context;
  (void)key;
  struct dead_letter letter;
  int rc = dead_letter_decode(&letter, value, typed->err);
  return rc ? rc : typed->dead(typed->context, &letter);
}

int store_scan_timers(struct store *store, int (*visit)(void *context, struct entity entity, int64_t due),
                      void *context, struct error *err) {
  return scan_typed(store, FAMILY_TIMER, visit_timer,
                    &(struct typed){.timer = visit, .context = context, .err = err});
}

int store_scan_outbox(struct store *store, int (*visit)(void *context, const struct outbox_entry *entry),
                      void *context, struct error *err) {
  return scan_typed(store, FAMILY_OUTBOX, visit_outbox,
                    &(struct typed){.outbox = visit, .context = context, .err = err});
}

int store_scan_outbox_of(struct store *store, struct entity entity,
                         int (*visit)(void *context, const struct outbox_entry *entry), void *context,
                         struct error *err) {
  struct typed typed = {.outbox = visit, .context = context, .err = err};
  int rc = store_enter(store, err);
  if (rc) return rc;
  struct buf prefix;
  buf_init(&prefix);
  key_put_entity(&prefix, entity);
  rc = store_scan_family(store, store->families[FAMILY_OUTBOX], buf_str(&prefix), visit_outbox, &typed, err);
  buf_deinit(&prefix);
  store_leave(store);
  return rc;
}

int store_scan_dead(struct store *store, int (*visit)(void *context, const struct dead_letter *letter),
                    void *context, struct error *err) {
  return scan_typed(store, FAMILY_DEAD, visit_dead,
                    &(struct typed){.dead = visit, .context = context, .err = err});
}

struct wanted {
  struct hash128 id;
  struct buf *out;
};

enum { FOUND = 1 };

static int visit_wanted(void *context, struct str key, struct str value) {
  struct wanted *wanted = context;
  struct reader reader = reader_of(key);
  key_entity(&reader);
  struct hash128 id = {reader_u64_be(&reader), 0};
  id.low = reader_u64_be(&reader);
  if (reader.bad || !hash128_equal(id, wanted->id)) return 0;
  buf_append(wanted->out, value.data, value.len);
  return FOUND;
}

int store_get_dead(struct store *store, struct hash128 id, struct buf *out, struct error *err) {
  struct wanted wanted = {id, out};
  int rc = store_enter(store, err);
  if (rc) return rc;
  // The key begins with the entity, which who asks does not know; dead letters are few.
  rc = store_scan_family(store, store->families[FAMILY_DEAD], STR(""), visit_wanted, &wanted, err);
  store_leave(store);
  if (rc == FOUND) return 0;
  return rc ? rc : error_set(err, ERROR_NOT_FOUND, "there is no such dead letter");
}
