#include "state/store_internal.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"

enum {
  MARKS_MIN = 1 << 20, /**< 2 MB */
  GROWTH = 4,          /**< how much larger than needed a filter is made … */
  GROWN_AT = 4,        /**< … once it has this part of what it is meant for, while memory allows */
  SOME = 1024,         /**< read or added without a pause */
  AHEAD = 16,          /**< fetched into the cache before their turn */
  /** Who asks holds the filter's address for nanoseconds. A filter that was replaced is freed when it is this
   * long ago, and another one is made. */
  RETIRED_KEEP_US = 600 * 1000 * 1000
};

/** Half of the memory that the store is given: past its capacity each event asks the files, on the worker's
 * thread, and there is little else to keep. */
static size_t filter_bytes_max(const struct store *store) {
  return store->options.cache_bytes / 2;
}

static uint64_t count_marks(struct store *store) {
  uint64_t sum = 0;
  for (size_t i = 0; i < store->slice_count; i++) {
    uint64_t count;
    if (store->slices[i].kind == SLICE_SEEN &&
        rocksdb_property_int_cf(store->db, store->slices[i].family, "rocksdb.estimate-num-keys", &count) == 0)
      sum += count;
  }
  return sum;
}

static void free_filter(struct marks *marks, struct mark_filter *filter) {
  if (filter) atomic_fetch_sub(&marks->bytes, mark_filter_bytes(filter));
  mark_filter_free(filter);
}

static void free_retired(struct marks *marks, int64_t before) {
  struct retired_filter **at = &marks->retired;
  while (*at) {
    struct retired_filter *retired = *at;
    if (retired->since >= before) {
      at = &retired->next;
      continue;
    }
    *at = retired->next;
    free_filter(marks, retired->filter);
    memory_free(retired);
  }
}

/** With the marks' lock. */
static void publish(struct marks *marks, struct mark_filter *filter) {
  struct mark_filter *old = atomic_exchange_explicit(&marks->filter, filter, memory_order_acq_rel);
  if (!old) return;
  int64_t now = clock_mono_us();
  free_retired(marks, now - RETIRED_KEEP_US);
  struct retired_filter *retired = memory_zalloc(sizeof *retired);
  *retired = (struct retired_filter){old, now, marks->retired};
  marks->retired = retired;
}

/** What a filter shall have room for, so that it is not full again too soon. */
static uint64_t room_for(uint64_t marks) {
  return marks * GROWTH < MARKS_MIN ? MARKS_MIN : marks * GROWTH;
}

static struct mark_filter *new_filter(struct store *store, uint64_t marks) {
  struct mark_filter *filter = mark_filter_new(room_for(marks), filter_bytes_max(store));
  atomic_fetch_add(&store->marks.bytes, mark_filter_bytes(filter));
  return filter;
}

/** With the marks' lock. */
static void add_all(struct mark_filter *filter, const struct hash128 *some, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (i + AHEAD < count) mark_filter_prefetch(filter, some[i + AHEAD]);
    mark_filter_add(filter, some[i]);
  }
}

/** The next marks of a slice. @return how many. */
static size_t read_some(rocksdb_iterator_t *it, struct hash128 some[SOME]) {
  size_t count = 0;
  for (; count < SOME && rocksdb_iter_valid(it); rocksdb_iter_next(it)) {
    struct str key;
    key.data = rocksdb_iter_key(it, &key.len);
    count += key_mark(key, &some[count]);
  }
  return count;
}

/** @return false when it is to stop. */
static bool add_slice(struct store *store, rocksdb_iterator_t *it) {
  struct marks *marks = &store->marks;
  struct hash128 some[SOME];
  rocksdb_iter_seek_to_first(it);
  for (size_t count; !atomic_load(&marks->stopping) && (count = read_some(it, some));) {
    (void)FAILPOINT("store.marks"); // to be held at
    pthread_mutex_lock(&marks->lock);
    add_all(marks->building, some, count);
    pthread_mutex_unlock(&marks->lock);
  }
  char *complaint = NULL;
  rocksdb_iter_get_error(it, &complaint);
  rocksdb_iter_destroy(it);
  struct error err;
  if (!store_fault(complaint, "reading dedup marks", &err)) return !atomic_load(&marks->stopping);
  LOG_ERROR("store", "the filter of dedup marks cannot be built; each event asks the database",
            LOG_TEXT("error", err.message));
  return false;
}

/** The first slice of marks that begins after `start`, which follows; null: none. */
static rocksdb_iterator_t *iterate_next(struct store *store, int64_t *start) {
  for (size_t i = 0; i < store->slice_count; i++) {
    const struct slice *slice = &store->slices[i];
    if (slice->kind != SLICE_SEEN || slice->start <= *start) continue;
    *start = slice->start;
    return rocksdb_create_iterator_cf(store->db, store->scan_options, slice->family);
  }
  return NULL;
}

/** The store's lock is held to make an iterator, no longer, or sealing, which makes slices, would wait for
 * minutes. A slice that is dropped meanwhile stays readable through its iterator; what is sealed meanwhile is
 * added by who seals. */
static bool add_slices(struct store *store) {
  int64_t start = INT64_MIN;
  for (;;) {
    if (store_enter(store, NULL)) return false;
    rocksdb_iterator_t *it = iterate_next(store, &start);
    store_leave(store);
    if (!it) return true;
    if (!add_slice(store, it)) return false;
  }
}

static void *build_thread(void *context) {
  struct store *store = context;
  struct marks *marks = &store->marks;
  pthread_setname_np(pthread_self(), "kairos-marks");
  thread_modest();
  thread_pace();
  bool whole = add_slices(store);
  thread_unpace();
  pthread_mutex_lock(&marks->lock);
  if (whole)
    publish(marks, marks->building);
  else
    free_filter(marks, marks->building);
  marks->building = NULL;
  pthread_mutex_unlock(&marks->lock);
  atomic_store(&marks->finished, true);
  return NULL;
}

static void build(struct store *store, uint64_t expected) {
  struct marks *marks = &store->marks;
  if (marks->started) {
    if (!atomic_load(&marks->finished)) return;
    pthread_join(marks->builder, NULL);
    marks->started = false;
  }
  atomic_store(&marks->finished, false);
  atomic_store(&marks->stopping, false);
  marks->crowded = false;
  pthread_mutex_lock(&marks->lock);
  marks->building = new_filter(store, expected);
  pthread_mutex_unlock(&marks->lock);
  marks->started = pthread_create(&marks->builder, NULL, build_thread, store) == 0;
  if (marks->started) return;
  pthread_mutex_lock(&marks->lock);
  free_filter(marks, marks->building);
  marks->building = NULL;
  pthread_mutex_unlock(&marks->lock);
}

void marks_start(struct store *store) {
  if (store->options.read_only) return; // nobody asks
  uint64_t expected = count_marks(store);
  if (expected)
    build(store, expected);
  else
    publish(&store->marks, new_filter(store, 0));
}

void marks_stop(struct store *store) {
  struct marks *marks = &store->marks;
  if (marks->started) {
    atomic_store(&marks->stopping, true);
    pthread_join(marks->builder, NULL);
    marks->started = false;
  }
  free_filter(marks, atomic_exchange(&marks->filter, NULL));
  free_retired(marks, INT64_MAX);
}

/** Make it larger before it is full: to read all marks again, which is what it takes later, costs 0.35 us of
 * CPU each. @return whether it was. */
static bool grow(struct store *store, const struct mark_filter *filter) {
  struct marks *marks = &store->marks;
  uint64_t count = mark_filter_count(filter);
  if (count < mark_filter_capacity(filter) / GROWN_AT) return false;
  struct mark_filter *grown =
      mark_filter_grow(filter, mark_filter_capacity(filter) * GROWTH, filter_bytes_max(store));
  if (!grown) return false;
  atomic_fetch_add(&marks->bytes, mark_filter_bytes(grown));
  pthread_mutex_lock(&marks->lock);
  publish(marks, grown);
  pthread_mutex_unlock(&marks->lock);
  return true;
}

void marks_sealed(struct store *store, const struct hash128 *sealed, size_t count) {
  struct marks *marks = &store->marks;
  pthread_mutex_lock(&marks->lock);
  struct mark_filter *filter = atomic_load(&marks->filter);
  if (filter) add_all(filter, sealed, count);
  if (marks->building) add_all(marks->building, sealed, count);
  bool building = marks->building != NULL;
  pthread_mutex_unlock(&marks->lock);
  if (building || !filter || grow(store, filter) || !mark_filter_full(filter)) return;
  // Full: make one without the marks that have expired, and without what growing has cost.
  uint64_t live = count_marks(store);
  if (mark_filter_would_hold(room_for(live), filter_bytes_max(store)) > mark_filter_capacity(filter) ||
      live < mark_filter_load(filter) / 4 * 3) {
    build(store, live);
  } else if (!marks->crowded && mark_filter_load(filter) / 2 > mark_filter_capacity(filter)) {
    marks->crowded = true;
    slices_set_pace(store, SLICE_SEEN, SLICE_READ);
    LOG_INFO("store", "more dedup marks are kept than memory holds a filter for", LOG_INT("marks", live));
  }
}
