#include "state/store_internal.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  MARKS_MIN = 1 << 20, /**< 2 MB */
  /** Who asks holds the filter's address for nanoseconds. A filter that was replaced is freed when it is this
   * long ago, and another one is made. */
  RETIRED_KEEP_US = 600 * 1000 * 1000
};

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

static void free_retired(struct marks *marks, int64_t before) {
  struct retired_filter **at = &marks->retired;
  while (*at) {
    struct retired_filter *retired = *at;
    if (retired->since >= before) {
      at = &retired->next;
      continue;
    }
    *at = retired->next;
    mark_filter_free(retired->filter);
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
  return marks * 2 < MARKS_MIN ? MARKS_MIN : marks * 2;
}

static struct mark_filter *new_filter(struct store *store, uint64_t marks) {
  return mark_filter_new(room_for(marks), store->options.cache_bytes / 4);
}

/** @return false when it is to stop. */
static bool add_slice(struct store *store, const struct slice *slice, struct mark_filter *filter) {
  rocksdb_iterator_t *it = rocksdb_create_iterator_cf(store->db, store->scan_options, slice->family);
  unsigned count = 0;
  bool stopping = false;
  for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it) && !stopping; rocksdb_iter_next(it)) {
    struct str key;
    key.data = rocksdb_iter_key(it, &key.len);
    // Behind the partition, the key is the very text that seen_mark() hashes.
    if (key.len > 1) mark_filter_add(filter, hash128((struct str){key.data + 1, key.len - 1}, 0));
    if (++count % 1024 == 0) stopping = atomic_load(&store->marks.stopping);
  }
  char *complaint = NULL;
  rocksdb_iter_get_error(it, &complaint);
  rocksdb_iter_destroy(it);
  struct error err;
  if (!store_fault(complaint, "reading dedup marks", &err)) return !stopping;
  LOG_ERROR("store", "the filter of dedup marks cannot be built; each event asks the database",
            LOG_TEXT("error", err.message));
  return false;
}

/** Slices may come and go between two of them, not within one: what is sealed meanwhile is added by who
 * seals. */
static bool add_slices(struct store *store, struct mark_filter *filter) {
  bool all = true;
  int64_t done = INT64_MIN;
  for (bool found = true; all && found;) {
    if (store_enter(store, NULL)) return false;
    found = false;
    for (size_t i = 0; i < store->slice_count && !found; i++) {
      const struct slice *slice = &store->slices[i];
      if (slice->kind != SLICE_SEEN || slice->start <= done) continue;
      found = true;
      done = slice->start;
      all = add_slice(store, slice, filter);
    }
    store_leave(store);
  }
  return all;
}

static void *build_thread(void *context) {
  struct store *store = context;
  struct marks *marks = &store->marks;
  pthread_setname_np(pthread_self(), "kairos-marks");
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 10);
  bool whole = add_slices(store, marks->building);
  pthread_mutex_lock(&marks->lock);
  if (whole)
    publish(marks, marks->building);
  else
    mark_filter_free(marks->building);
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
  pthread_mutex_lock(&marks->lock);
  marks->building = new_filter(store, expected);
  pthread_mutex_unlock(&marks->lock);
  marks->started = pthread_create(&marks->builder, NULL, build_thread, store) == 0;
  if (marks->started) return;
  pthread_mutex_lock(&marks->lock);
  mark_filter_free(marks->building);
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
  mark_filter_free(atomic_exchange(&marks->filter, NULL));
  free_retired(marks, INT64_MAX);
}

void marks_sealed(struct store *store, const struct hash128 *sealed, size_t count) {
  struct marks *marks = &store->marks;
  pthread_mutex_lock(&marks->lock);
  struct mark_filter *filter = atomic_load(&marks->filter);
  for (size_t i = 0; i < count; i++) {
    if (filter) mark_filter_add(filter, sealed[i]);
    if (marks->building) mark_filter_add(marks->building, sealed[i]);
  }
  bool building = marks->building != NULL;
  pthread_mutex_unlock(&marks->lock);
  if (building || !filter || mark_filter_count(filter) <= mark_filter_capacity(filter)) return;
  // Full: make a larger one, if memory allows, or one without the marks that have expired.
  uint64_t live = count_marks(store);
  if (mark_filter_would_hold(room_for(live), store->options.cache_bytes / 4) > mark_filter_capacity(filter) ||
      live < mark_filter_count(filter) / 4 * 3)
    build(store, live);
}
