#include "state/event_walk.h"

#include "base/memory.h"
#include "state/sealed.h"
#include "state/store_internal.h"

/** Where the walk stands in one slice. */
struct place {
  rocksdb_iterator_t *it;
  bool ledger; /**< it holds effects, else inputs */
  struct sealed_entry entry;
  struct log_record record; /**< of the user whose turn it is */
  bool his;                 /**< it has one */
};

struct event_walk {
  struct store *store;
  struct place *places; /**< those that are not at their end */
  size_t count;
  rocksdb_readoptions_t *options;
};

static struct str key_of(const struct place *place) {
  struct str key;
  key.data = rocksdb_iter_key(place->it, &key.len);
  return key;
}

/** The part of a key that is the user's: behind it stand segment and number. */
static struct str user_of(const struct place *place) {
  struct str key = key_of(place);
  return (struct str){key.data, key.len < 16 ? 0 : key.len - 16};
}

/** @return 1 where there is an entry, 0 at the slice's end, or a negative code. */
static int check(const struct place *place, struct error *err) {
  if (rocksdb_iter_valid(place->it)) return 1;
  char *complaint = NULL;
  rocksdb_iter_get_error(place->it, &complaint);
  return store_fault(complaint, "reading the event log", err);
}

static void leave(struct event_walk *walk, size_t at) {
  rocksdb_iter_destroy(walk->places[at].it);
  walk->places[at] = walk->places[--walk->count];
}

int event_walk_open(struct event_walk **out, struct store *store, struct str cursor, int64_t since,
                    struct error *err) {
  int rc = store_enter(store, err);
  if (rc) return rc;
  struct event_walk *walk = memory_zalloc(sizeof *walk);
  walk->store = store;
  pthread_rwlock_rdlock(&store->slices_lock);
  walk->places = memory_zalloc((store->slice_count + 1) * sizeof *walk->places);
  walk->options = rocksdb_readoptions_create();
  rocksdb_readoptions_set_fill_cache(walk->options, 0); /* it reads everything once */
  rocksdb_readoptions_set_verify_checksums(walk->options, 1);
  struct buf behind;
  buf_init(&behind);
  buf_append(&behind, cursor.data, cursor.len);
  if (cursor.len) behind.data[cursor.len - 1] = 1; /* an id ends with NUL, and holds none */
  for (size_t i = 0; !rc && i < store->slice_count; i++) {
    const struct slice *slice = &store->slices[i];
    if (slice->last_at <= since) continue;
    struct place *place = &walk->places[walk->count++];
    *place = (struct place){.it = rocksdb_create_iterator_cf(store->db, walk->options, slice->family),
                            .ledger = slice->kind == SLICE_LEDGER};
    rocksdb_iter_seek(place->it, behind.len ? (const char *)behind.data : "", behind.len);
    int there = check(place, err);
    if (there < 0) rc = there;
    if (there == 0) leave(walk, walk->count - 1);
  }
  pthread_rwlock_unlock(&store->slices_lock);
  buf_deinit(&behind);
  if (rc) {
    event_walk_close(walk);
    return rc;
  }
  *out = walk;
  return 0;
}

void event_walk_close(struct event_walk *walk) {
  while (walk->count) leave(walk, walk->count - 1);
  rocksdb_readoptions_destroy(walk->options);
  store_leave(walk->store);
  memory_free(walk->places);
  memory_free(walk);
}

/** Take the place's next event of the user. @return 0 or a negative code; `his` says whether there is one. */
static int advance(struct place *place, struct str user, struct error *err) {
  for (;;) {
    while (reader_left(&place->entry.records)) {
      if (!sealed_next(&place->entry, &place->record))
        return error_set(err, ERROR_CORRUPT, "a record of the event log is malformed");
      if (place->ledger ? place->record.effects.len > 0 : place->record.type == LOG_EVENT) return 0;
    }
    rocksdb_iter_next(place->it);
    int there = check(place, err);
    place->his = there == 1 && str_equal(user_of(place), user);
    if (there < 0 || !place->his) return there < 0 ? there : 0;
    struct str value;
    value.data = rocksdb_iter_value(place->it, &value.len);
    if (!sealed_open(&place->entry, key_of(place), value))
      return error_set(err, ERROR_CORRUPT, "an entry of the event log is malformed");
  }
}

static int begin(struct place *place, struct str user, struct error *err) {
  struct str value;
  place->his = str_equal(user_of(place), user);
  if (!place->his) return 0;
  value.data = rocksdb_iter_value(place->it, &value.len);
  if (!sealed_open(&place->entry, key_of(place), value))
    return error_set(err, ERROR_CORRUPT, "an entry of the event log is malformed");
  return advance(place, user, err);
}

static bool before(const struct place *a, const struct place *b) {
  if (a->entry.segment != b->entry.segment) return a->entry.segment < b->entry.segment;
  if (a->record.seq != b->record.seq) return a->record.seq < b->record.seq;
  return b->ledger && !a->ledger;
}

int event_walk_next(struct event_walk *walk, struct buf *cursor,
                    int (*visit)(void *context, const struct log_record *record), void *context,
                    struct error *err) {
  const struct place *first = NULL;
  for (size_t i = 0; i < walk->count; i++)
    if (!first || str_compare(user_of(&walk->places[i]), user_of(first)) < 0) first = &walk->places[i];
  if (!first) return 0;
  struct str user = user_of(first);
  buf_clear(cursor);
  buf_append(cursor, user.data, user.len);
  user = buf_str(cursor);
  int rc = user.len ? 0 : error_set(err, ERROR_CORRUPT, "a key of the event log is malformed");
  for (size_t i = 0; !rc && i < walk->count; i++) rc = begin(&walk->places[i], user, err);
  for (;;) {
    struct place *next = NULL;
    for (size_t i = 0; i < walk->count; i++)
      if (walk->places[i].his && (!next || before(&walk->places[i], next))) next = &walk->places[i];
    if (rc || !next) break;
    rc = visit(context, &next->record);
    if (!rc) rc = advance(next, user, err);
  }
  for (size_t i = walk->count; !rc && i-- > 0;)
    if (!rocksdb_iter_valid(walk->places[i].it)) leave(walk, i);
  return rc ? rc : 1;
}

int store_walk_users(struct store *store, struct buf *cursor, uint32_t most,
                     void (*visit)(void *context, struct entity user), void *context, struct error *err) {
  int rc = store_enter(store, err);
  if (!rc && (rc = run_push(store, err))) store_leave(store);
  if (rc) return rc;
  rocksdb_iterator_t *it =
      rocksdb_create_iterator_cf(store->db, store->scan_options, store->families[FAMILY_USER]);
  buf_append(cursor, "", cursor->len ? 1 : 0); // behind it
  rocksdb_iter_seek(it, cursor->len ? (const char *)cursor->data : "", cursor->len);
  if (cursor->len) cursor->len--;
  uint32_t count = 0;
  for (; count < most && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
    struct str key;
    key.data = rocksdb_iter_key(it, &key.len);
    struct reader reader = reader_of(key);
    struct entity user = key_entity(&reader);
    if (reader.bad) {
      rc = error_set(err, ERROR_CORRUPT, "a key of the users is malformed");
      break;
    }
    buf_clear(cursor);
    buf_append(cursor, key.data, key.len);
    if (user.kind != ENTITY_USER) continue;
    visit(context, user);
    count++;
  }
  char *complaint = NULL;
  rocksdb_iter_get_error(it, &complaint);
  if (rc == 0) rc = store_fault(complaint, "reading the users", err);
  rocksdb_iter_destroy(it);
  store_leave(store);
  return rc ? rc : (int)count;
}

int64_t store_log_begins(struct store *store) {
  int64_t begins = INT64_MAX;
  if (store_enter(store, NULL)) return begins;
  pthread_rwlock_rdlock(&store->slices_lock);
  for (size_t i = 0; i < store->slice_count; i++)
    if (store->slices[i].kind == SLICE_LOG && store->slices[i].start < begins)
      begins = store->slices[i].start;
  pthread_rwlock_unlock(&store->slices_lock);
  store_leave(store);
  return begins;
}
