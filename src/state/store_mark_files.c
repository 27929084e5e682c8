#include "state/log_segment.h"
#include "state/mark_writer.h"
#include "state/store_internal.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum {
  TOGETHER = 10, /**< files merged at a time … */
  GROWTH = 4, /**< … into one at least so many times as large as the largest: so each mark is merged seldom */
  /** With more of them than this whatever is cheapest is merged. Files of similar size are far fewer: 24 at
   * 100 million marks, of 150,000 a segment. */
  FILES_MAX = 40
};

/* ---- the list ---- */

/** Its files' references will be the list's own. */
static struct mark_files *new_list(size_t most) {
  struct mark_files *list = memory_zalloc(sizeof *list + most * sizeof *list->files);
  atomic_init(&list->refs, 1);
  return list;
}

void mark_files_unref(struct mark_files *list) {
  if (!list || atomic_fetch_sub_explicit(&list->refs, 1, memory_order_acq_rel) != 1) return;
  for (size_t i = 0; i < list->count; i++) mark_file_unref(list->files[i]);
  memory_free(list);
}

struct mark_files *mark_files_ref(struct store *store) {
  struct marks *marks = &store->marks;
  pthread_mutex_lock(&marks->lock);
  struct mark_files *list = marks->files;
  if (list) atomic_fetch_add_explicit(&list->refs, 1, memory_order_relaxed);
  pthread_mutex_unlock(&marks->lock);
  return list;
}

/** Replace all files that `range` covers by one, or by none. Whoever reads the former list goes on with it.
 */
static void replace(struct marks *marks, struct mark_range range, struct mark_file *file) {
  pthread_mutex_lock(&marks->lock);
  struct mark_files *old = marks->files, *list = new_list(old->count + 1);
  for (size_t i = 0; i < old->count; i++) {
    struct mark_file *kept = old->files[i];
    if (file && kept->head.range.first > range.first) {
      list->files[list->count++] = file;
      file = NULL;
    }
    if (!mark_range_covers(range, kept->head.range)) list->files[list->count++] = mark_file_ref(kept);
  }
  if (file) list->files[list->count++] = file;
  marks->files = list;
  pthread_mutex_unlock(&marks->lock);
  mark_files_unref(old);
}

int mark_files_add(struct store *store, struct mark_range range, struct error *err) {
  struct marks *marks = &store->marks;
  struct mark_file *file;
  int rc = mark_file_open(&file, marks->directory, range, err);
  if (rc) return rc;
  replace(marks, range, file);
  return 0;
}

uint64_t mark_files_count(struct store *store) {
  int64_t since = atomic_load(&store->marks.since);
  uint64_t sum = 0;
  struct mark_files *list = mark_files_ref(store);
  for (size_t i = 0; list && i < list->count; i++)
    if (list->files[i]->head.newest > since) sum += list->files[i]->head.count;
  mark_files_unref(list);
  return sum;
}

uint64_t mark_files_bytes(struct store *store) {
  uint64_t sum = 0;
  struct mark_files *list = mark_files_ref(store);
  for (size_t i = 0; list && i < list->count; i++) sum += mark_file_bytes(list->files[i]);
  mark_files_unref(list);
  return sum;
}

/* ---- opening ---- */

static int delete_name(const char *directory, const char *name, struct error *err) {
  struct buf path;
  buf_init(&path);
  buf_printf(&path, "%s/%s%c", directory, name, 0);
  int failure = FAILPOINT("store.mark_delete");
  if (!failure && unlink((const char *)path.data) && errno != ENOENT) failure = errno;
  int rc = failure ? error_set_errno(err, failure, "%s: cannot be deleted", (const char *)path.data) : 0;
  buf_deinit(&path);
  return rc;
}

static int delete_file(const char *directory, struct mark_range range, struct error *err) {
  char name[MARK_NAME_MAX];
  mark_file_name(range, name);
  return delete_name(directory, name, err);
}

static int compare_ranges(const void *a, const void *b) {
  const struct mark_range *left = a, *right = b;
  if (left->first != right->first) return left->first < right->first ? -1 : 1;
  return left->last > right->last ? -1 : left->last < right->last; // who covers comes first
}

/** @param ranges  filled with struct mark_range, in order. Other names are deleted, unless one only reads. */
static int list_ranges(const struct store *store, struct buf *ranges, struct error *err) {
  const char *directory = store->marks.directory;
  DIR *open = opendir(directory);
  if (!open && errno == ENOENT && store->options.read_only) return 0; // of an older format, or never finished
  if (!open) return error_set_errno(err, errno, "%s: the database's dedup marks cannot be read", directory);
  int rc = 0, failure = 0;
  for (const struct dirent *entry; !rc && !(failure = directory_next(open, &entry)) && entry;) {
    struct mark_range range;
    if (mark_file_parse(entry->d_name, &range))
      buf_append(ranges, &range, sizeof range);
    else if (entry->d_name[0] != '.' && !store->options.read_only)
      rc = delete_name(directory, entry->d_name, err);
  }
  closedir(open);
  // A file that is missed here would be covered by a merge later, and deleted.
  if (failure) rc = error_set_errno(err, failure, "%s: the database's dedup marks cannot be read", directory);
  if (!rc && ranges->len)
    qsort(ranges->data, ranges->len / sizeof(struct mark_range), sizeof(struct mark_range), compare_ranges);
  return rc;
}

/** What a crash left behind is not taken in: inputs of a merge that was made, and a segment's marks that was
 * not recorded as sealed, for it will be sealed again. */
static int load(struct store *store, const struct mark_range *ranges, size_t count, struct error *err) {
  struct marks *marks = &store->marks;
  struct mark_files *list = marks->files = new_list(count);
  int rc = 0;
  for (size_t i = 0; !rc && i < count; i++) {
    bool left = ranges[i].last > store_sealed(store) ||
                (list->count && mark_range_covers(list->files[list->count - 1]->head.range, ranges[i]));
    if (!left && !(rc = mark_file_open(&list->files[list->count], marks->directory, ranges[i], err)))
      list->count++;
    else if (left && !store->options.read_only)
      rc = delete_file(marks->directory, ranges[i], err);
  }
  return rc;
}

int mark_files_make(struct store *store, struct error *err) {
  const char *directory = store->marks.directory;
  if ((mkdir(directory, 0750) && errno != EEXIST) || directory_sync(store->directory))
    return error_set_errno(err, errno, "%s: cannot be made", directory);
  return 0;
}

int mark_files_open(struct store *store, struct error *err) {
  struct buf ranges;
  buf_init(&ranges);
  int rc = list_ranges(store, &ranges, err);
  if (!rc)
    rc = load(store, (const struct mark_range *)(const void *)ranges.data,
              ranges.len / sizeof(struct mark_range), err);
  buf_deinit(&ranges);
  if (rc) mark_files_close(store);
  return rc;
}

void mark_files_close(struct store *store) {
  struct marks *marks = &store->marks;
  pthread_mutex_lock(&marks->lock);
  struct mark_files *list = marks->files;
  marks->files = NULL;
  pthread_mutex_unlock(&marks->lock);
  mark_files_unref(list);
}

/* ---- retention ---- */

int mark_files_retain(struct store *store, int64_t since, struct error *err) {
  struct marks *marks = &store->marks;
  atomic_store(&marks->since, since);
  struct mark_files *list = mark_files_ref(store);
  int rc = 0;
  for (size_t i = 0; list && !rc && i < list->count; i++) {
    const struct mark_head *head = &list->files[i]->head;
    if (head->newest > since) continue;
    replace(marks, head->range, NULL);
    rc = delete_file(marks->directory, head->range, err);
    if (!rc)
      LOG_INFO("store", "dedup marks past their retention were deleted", LOG_INT("marks", head->count),
               LOG_INT("first_segment", head->range.first), LOG_INT("last_segment", head->range.last));
  }
  mark_files_unref(list);
  return rc;
}

/* ---- merging ---- */

/** Files side by side, of similar size, whose marks expire about together, or all of them would be kept as
 * long as the newest.
 * @param most  bytes that they may take. @return the place of the first; `count` for none. */
static size_t pick(struct mark_file *const *files, size_t count, int64_t span, uint64_t most) {
  size_t best = count;
  uint64_t least = UINT64_MAX;
  for (size_t i = 0; i + TOGETHER <= count; i++) {
    uint64_t sum = 0, largest = 0, bytes = 0;
    int64_t oldest = INT64_MAX, newest = INT64_MIN;
    bool spoiled = false;
    for (size_t j = i; j < i + TOGETHER; j++) {
      const struct mark_head *head = &files[j]->head;
      spoiled |= atomic_load(&files[j]->spoiled);
      sum += head->count;
      bytes += mark_file_bytes(files[j]);
      if (head->count > largest) largest = head->count;
      if (head->oldest < oldest) oldest = head->oldest;
      if (head->newest > newest) newest = head->newest;
    }
    bool similar = sum >= GROWTH * largest && newest - oldest <= span;
    if (spoiled || bytes > most || (!similar && count <= FILES_MAX) || sum >= least) continue;
    best = i;
    least = sum;
  }
  return best;
}

/** Bytes that a merge may take while those that it merges are still there. As much as
 * kairos_pressure{of="disk"} warns at is left free: a merge can wait, the log cannot. */
static uint64_t room(const struct marks *marks) {
  struct statvfs disk;
  if (FAILPOINT("store.mark_room")) return 0;
  if (statvfs(marks->directory, &disk)) return UINT64_MAX;
  fsblkcnt_t kept = disk.f_blocks / 20;
  return disk.f_bavail > kept ? (uint64_t)(disk.f_bavail - kept) * disk.f_frsize : 0;
}

static int write_merged(struct store *store, struct mark_writer *writer, struct mark_file *const *files,
                        struct error *err) {
  struct marks *marks = &store->marks;
  struct mark_range range = {files[0]->head.range.first, files[TOGETHER - 1]->head.range.last};
  int rc = mark_writer_open(writer, marks->directory, range, err);
  thread_pace();
  if (!rc) rc = mark_merge(writer, files, TOGETHER, atomic_load(&marks->since), &marks->ending, err);
  thread_unpace();
  if (rc || !writer->head.count) return rc;
  rc = mark_writer_finish(writer, err);
  return rc ? rc : mark_writer_place(writer, err);
}

/** The merged file has its name before those it is made of lose theirs. */
static int merge(struct store *store, struct mark_file *const *files, struct error *err) {
  struct marks *marks = &store->marks;
  struct mark_writer writer;
  struct mark_file *merged = NULL;
  int rc = write_merged(store, &writer, files, err);
  if (!rc && writer.head.count) rc = mark_file_open(&merged, marks->directory, writer.head.range, err);
  if (!rc) {
    replace(marks, writer.head.range, merged);
    LOG_DEBUG("store", "dedup marks merged", LOG_INT("marks", writer.head.count),
              LOG_INT("first_segment", writer.head.range.first),
              LOG_INT("last_segment", writer.head.range.last));
  }
  pthread_mutex_lock(&marks->deleting);
  for (int i = 0; !rc && i < TOGETHER; i++) rc = delete_file(marks->directory, files[i]->head.range, err);
  pthread_mutex_unlock(&marks->deleting);
  mark_writer_close(&writer);
  return rc;
}

/** @return whether there may be more to merge. */
static bool merge_some(struct store *store) {
  struct mark_files *list = mark_files_ref(store);
  size_t count = list->count;
  // What is not recorded as sealed yet may be made again.
  while (count && list->files[count - 1]->head.range.last > store_sealed(store)) count--;
  int64_t span = store->options.dedup_keep / 2;
  size_t first = pick(list->files, count, span, UINT64_MAX);
  bool wanted = first < count;
  if (wanted) first = pick(list->files, count, span, room(&store->marks));
  atomic_store(&store->marks.held_back, wanted && first == count);
  struct error err;
  int rc = first < count ? merge(store, list->files + first, &err) : 0;
  bool spoiled = false;
  for (size_t i = first; rc && i < first + TOGETHER; i++) spoiled |= atomic_load(&list->files[i]->spoiled);
  if (spoiled)
    LOG_ERROR("store", "a file of dedup marks cannot be read: it stays as it is, and others are merged",
              LOG_TEXT("error", err.message));
  else if (rc && rc != ERROR_UNAVAILABLE)
    LOG_WARN("store", "dedup marks cannot be merged; tried again after the next segment is sealed",
             LOG_TEXT("error", err.message));
  mark_files_unref(list);
  return (!rc || spoiled) && first < count;
}

/** Until there may be files to merge. Filters that were replaced are freed meanwhile. */
static void await_files(struct marks *marks) {
  int64_t at_us = marks_look_at_retired(marks);
  pthread_mutex_lock(&marks->lock);
  while (!marks->wanted && !atomic_load(&marks->ending)) {
    if (!marks->retired) {
      pthread_cond_wait(&marks->changed, &marks->lock);
      continue;
    }
    struct timespec at = {.tv_sec = at_us / 1000000, .tv_nsec = at_us % 1000000 * 1000};
    pthread_cond_clockwait(&marks->changed, &marks->lock, CLOCK_MONOTONIC, &at);
    pthread_mutex_unlock(&marks->lock);
    at_us = marks_look_at_retired(marks);
    pthread_mutex_lock(&marks->lock);
  }
  marks->wanted = false;
  pthread_mutex_unlock(&marks->lock);
}

static void *merge_thread(void *context) {
  struct store *store = context;
  struct marks *marks = &store->marks;
  pthread_setname_np(pthread_self(), "kairos-merge");
  thread_modest();
  for (;;) {
    await_files(marks);
    if (atomic_load(&marks->ending)) return NULL;
    while (merge_some(store)) continue;
  }
}

bool store_marks_held_back(struct store *store) {
  return atomic_load_explicit(&store->marks.held_back, memory_order_relaxed);
}

void mark_files_merge(struct store *store) {
  struct marks *marks = &store->marks;
  pthread_mutex_lock(&marks->lock);
  marks->wanted = true;
  pthread_cond_signal(&marks->changed);
  pthread_mutex_unlock(&marks->lock);
}

void mark_files_start(struct store *store) {
  struct marks *marks = &store->marks;
  atomic_store(&marks->ending, false);
  marks->wanted = true;
  marks->merging = pthread_create(&marks->merger, NULL, merge_thread, store) == 0;
  if (!marks->merging) LOG_ERROR("store", "no thread merges dedup marks: it cannot be started");
}

void mark_files_stop(struct store *store) {
  struct marks *marks = &store->marks;
  if (!marks->merging) return;
  pthread_mutex_lock(&marks->lock);
  atomic_store(&marks->ending, true);
  pthread_cond_signal(&marks->changed);
  pthread_mutex_unlock(&marks->lock);
  pthread_join(marks->merger, NULL);
  marks->merging = false;
}
