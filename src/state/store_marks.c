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
  AHEAD = 16,          /**< fetched into the cache before their turn */
  /** Who asks holds the filter's address for nanoseconds. A filter that was replaced is freed after so many
   * looks, LOOK_US apart or more: seconds that the process was stopped for are none in which the others could
   * go on. */
  RETIRED_LOOKS = 10,
  LOOK_US = 1000 * 1000,
  BUILD_EVERY_US = 60 * 1000 * 1000 /**< where no thread can be had for it */
};

/** Half of the memory that the store is given: past its capacity more and more events are looked up in the
 * files, on the fetch thread, and there is little else to keep. */
static size_t filter_bytes_max(const struct store *store) {
  return store->options.cache_bytes / 2;
}

static void free_filter(struct marks *marks, struct mark_filter *filter) {
  if (filter) atomic_fetch_sub(&marks->bytes, mark_filter_bytes(filter));
  mark_filter_free(filter);
}

/** To give back a large one takes long, and everybody wants the lock: not under it. */
static void free_retired(struct marks *marks, unsigned looks) {
  struct retired_filter *freed = NULL;
  pthread_mutex_lock(&marks->lock);
  for (struct retired_filter **at = &marks->retired; *at && !marks->adding;) {
    struct retired_filter *retired = *at;
    if (++retired->looks <= looks) {
      at = &retired->next;
      continue;
    }
    *at = retired->next;
    retired->next = freed;
    freed = retired;
  }
  pthread_mutex_unlock(&marks->lock);
  while (freed) {
    struct retired_filter *retired = freed;
    freed = retired->next;
    free_filter(marks, retired->filter);
    memory_free(retired);
  }
}

void marks_free_retired(struct marks *marks) {
  free_retired(marks, RETIRED_LOOKS);
}

int64_t marks_look_at_retired(struct marks *marks) {
  int64_t now_us = clock_mono_us();
  pthread_mutex_lock(&marks->lock);
  bool due = now_us - marks->looked_us >= LOOK_US;
  if (due) marks->looked_us = now_us;
  int64_t next_us = marks->looked_us + LOOK_US;
  pthread_mutex_unlock(&marks->lock);
  if (due) marks_free_retired(marks);
  return next_us;
}

/** With the marks' lock. */
static void publish(struct marks *marks, struct mark_filter *filter) {
  struct mark_filter *old = atomic_exchange_explicit(&marks->filter, filter, memory_order_acq_rel);
  if (!old) return;
  struct retired_filter *retired = memory_zalloc(sizeof *retired);
  *retired = (struct retired_filter){old, 0, marks->retired};
  marks->retired = retired;
  pthread_cond_signal(&marks->changed);
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

static void add_all(struct mark_filter *filter, const struct hash128 *some, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (i + AHEAD < count) mark_filter_prefetch(filter, some[i + AHEAD]);
    mark_filter_add(filter, some[i]);
  }
}

/* ---- building ---- */

/** The first file that ends behind segment `done`. Files come in this order, and merging leaves it so: what
 * is merged with one that was read before is read again, which does no harm. @return null: all are read */
static struct mark_file *next_file(const struct mark_files *list, uint64_t done) {
  for (size_t i = 0; i < list->count; i++)
    if (list->files[i]->head.range.last > done) return list->files[i];
  return NULL;
}

/** With the marks' lock: either a file is in the list, or who adds it finds the filter that is published
 * here. */
static struct mark_file *next_or_publish(struct marks *marks, uint64_t done, struct mark_filter *filter) {
  pthread_mutex_lock(&marks->lock);
  struct mark_file *file = next_file(marks->files, done);
  if (file)
    mark_file_ref(file);
  else
    publish(marks, filter);
  pthread_mutex_unlock(&marks->lock);
  return file;
}

static unsigned partition_of(const struct mark_file *file, uint64_t number) {
  unsigned partition = 0;
  while (file->head.starts[partition + 1] <= number) partition++;
  return partition;
}

/** What stands in entries that cannot be read is between those beside them, which can; or anywhere, where
 * they are of several partitions.
 * @param below  the mark before them. @param above  the one behind */
static void add_gap(struct mark_filter *filter, const struct mark_file *file, uint64_t begin, uint64_t end,
                    uint64_t below, uint64_t above) {
  uint64_t low = 0, high = UINT64_MAX;
  unsigned partition = partition_of(file, begin);
  if (partition == partition_of(file, end - 1)) {
    if (begin > file->head.starts[partition]) low = below;
    if (end < file->head.starts[partition + 1]) high = above;
  }
  mark_filter_add_gap(filter, low, high);
}

/** Without what has expired. Of a page that cannot be read each mark might be. */
static void add_file(struct marks *marks, const struct mark_file *file, struct mark_filter *filter) {
  int64_t since = atomic_load(&marks->since);
  struct mark_cursor cursor;
  struct error err;
  uint64_t at = 0, gap = UINT64_MAX, below = 0, gaps = 0; // the gap begins there; none: UINT64_MAX
  int count = 1;
  if (file->head.newest <= since) return;
  mark_cursor_init(&cursor, file);
  while (count && !atomic_load_explicit(&marks->stopping, memory_order_relaxed)) {
    const struct mark_entry *entries = cursor.page.entries;
    at = cursor.next;
    count = mark_cursor_next(&cursor, &err);
    if (count < 0) {
      if (!gaps++)
        LOG_ERROR("store", "dedup marks cannot be read; what may be among them is looked up each time",
                  LOG_TEXT("error", err.message));
      if (gap == UINT64_MAX) gap = at;
      mark_cursor_skip(&cursor);
      continue;
    }
    if (gap != UINT64_MAX) {
      add_gap(filter, file, gap, at, below, count ? entries[0].mark.high : 0);
      gap = UINT64_MAX;
    }
    if (count) below = entries[count - 1].mark.high;
    for (int i = 0; i < count; i++) mark_filter_prefetch(filter, entries[i].mark);
    for (int i = 0; i < count; i++)
      if (entries[i].at > since) mark_filter_add(filter, entries[i].mark);
  }
  mark_cursor_deinit(&cursor);
}

/** @return whether the filter was published. */
static bool add_files(struct marks *marks, struct mark_filter *filter) {
  uint64_t done = 0;
  for (struct mark_file *file; (file = next_or_publish(marks, done, filter));) {
    (void)FAILPOINT("store.mark_filter"); // to be held at
    add_file(marks, file, filter);
    done = file->head.range.last;
    mark_file_unref(file);
    if (atomic_load(&marks->stopping)) return false;
  }
  return true;
}

/** Without a filter each event is looked up in the files: then it is needed soon. To make a better one there
 * is time. */
static void *build_thread(void *context) {
  struct store *store = context;
  struct marks *marks = &store->marks;
  pthread_setname_np(pthread_self(), "kairos-marks");
  if (atomic_load(&marks->filter)) {
    thread_modest();
    thread_pace();
  } else {
    thread_prompt();
    thread_pace_prompt();
  }
  if (!add_files(marks, marks->building)) free_filter(marks, marks->building);
  marks->building = NULL;
  thread_unpace();
  atomic_store(&marks->finished, true);
  return NULL;
}

/** By who seals, or before anyone does. */
static void build(struct store *store, uint64_t expected) {
  struct marks *marks = &store->marks;
  if (marks->started) pthread_join(marks->builder, NULL);
  atomic_store(&marks->finished, false);
  atomic_store(&marks->stopping, false);
  marks->crowded = false;
  marks->building = new_filter(store, expected);
  marks->build_again_us = clock_mono_us() + BUILD_EVERY_US;
  int failure = FAILPOINT("store.mark_thread");
  if (!failure) failure = pthread_create(&marks->builder, NULL, build_thread, store);
  marks->started = !failure;
  if (marks->started) return;
  LOG_ERROR("store",
            "no thread makes the filter of dedup marks; until one does each event is looked up in files",
            LOG_TEXT("error", strerror(failure)));
  free_filter(marks, marks->building);
  marks->building = NULL;
}

void marks_start(struct store *store) {
  if (store->options.read_only) return; // nobody asks
  struct marks *marks = &store->marks;
  uint64_t expected = mark_files_count(store);
  if (expected) {
    build(store, expected);
  } else {
    pthread_mutex_lock(&marks->lock);
    publish(marks, new_filter(store, 0));
    pthread_mutex_unlock(&marks->lock);
  }
  mark_files_start(store);
}

void marks_stop(struct store *store) {
  struct marks *marks = &store->marks;
  mark_files_stop(store);
  if (marks->started) {
    atomic_store(&marks->stopping, true);
    pthread_join(marks->builder, NULL);
    marks->started = false;
  }
  free_filter(marks, atomic_exchange(&marks->filter, NULL));
  free_retired(marks, 0);
}

/* ---- what is sealed ---- */

/** Make it larger before it is full, where as many are remembered and not only were added: to read all marks
 * again, which is what it takes later, costs 0.35 us of CPU each. @return whether it was. */
static bool grow(struct store *store, const struct mark_filter *filter) {
  struct marks *marks = &store->marks;
  uint64_t enough = mark_filter_capacity(filter) / GROWN_AT;
  if (mark_filter_count(filter) < enough || mark_files_count(store) < enough) return false;
  struct mark_filter *grown =
      mark_filter_grow(filter, mark_filter_capacity(filter) * GROWTH, filter_bytes_max(store));
  if (!grown) return false;
  atomic_fetch_add(&marks->bytes, mark_filter_bytes(grown));
  pthread_mutex_lock(&marks->lock);
  publish(marks, grown);
  pthread_mutex_unlock(&marks->lock);
  return true;
}

/** To the filter that is published; should another one be meanwhile, this one stays till it has them.
 * @return it, or null */
static struct mark_filter *add_to_published(struct marks *marks, const struct hash128 *sealed, size_t count) {
  pthread_mutex_lock(&marks->lock);
  struct mark_filter *filter = atomic_load(&marks->filter);
  marks->adding = filter;
  pthread_mutex_unlock(&marks->lock);
  (void)FAILPOINT("store.mark_add"); // to be held at
  if (filter) add_all(filter, sealed, count);
  pthread_mutex_lock(&marks->lock);
  marks->adding = false;
  pthread_mutex_unlock(&marks->lock);
  return filter;
}

int marks_sealed(struct store *store, struct mark_range range, const struct hash128 *sealed, size_t count,
                 struct error *err) {
  struct marks *marks = &store->marks;
  bool building = marks->started && !atomic_load(&marks->finished);
  int rc = mark_files_add(store, range, err);
  if (rc) return rc;
  marks_look_at_retired(marks); // who merges may be busy, or not there
  struct mark_filter *filter = add_to_published(marks, sealed, count);
  if (!building && !filter && clock_mono_us() >= marks->build_again_us) build(store, mark_files_count(store));
  if (building || !filter || grow(store, filter) || !mark_filter_full(filter)) return 0;
  // Full: make one without the marks that have expired, and without what growing has cost.
  uint64_t live = mark_files_count(store);
  if (mark_filter_would_hold(room_for(live), filter_bytes_max(store)) > mark_filter_capacity(filter) ||
      live < mark_filter_load(filter) / 4 * 3) {
    // A third one may have to wait until the first is freed: they stay within twice the bound.
    size_t most = filter_bytes_max(store);
    if (atomic_load(&marks->bytes) <= most + most / 8) build(store, live);
  } else if (!marks->crowded && mark_filter_load(filter) / 2 > mark_filter_capacity(filter)) {
    marks->crowded = true;
    LOG_INFO("store", "more dedup marks are kept than memory holds a filter for", LOG_INT("marks", live));
  }
  return 0;
}
