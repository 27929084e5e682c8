#include "state/log_spare.h"
#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { DAY_MS = 24 * 3600 * 1000 };

static const char *const kind_names[SLICE_KINDS] = {"log", "ledger"};

const char *slice_kind_name(enum slice_kind kind) {
  return kind_names[kind];
}

/** "log.1700000000000" */
static void name_slice(enum slice_kind kind, int64_t start, char out[48]) {
  snprintf(out, 48, "%s.%" PRId64, kind_names[kind], start);
}

bool slice_parse(const char *name, enum slice_kind *kind, int64_t *start) {
  for (int i = 0; i < SLICE_KINDS; i++) {
    size_t len = strlen(kind_names[i]);
    if (strncmp(name, kind_names[i], len) != 0 || name[len] != '.') continue;
    char *end;
    *kind = (enum slice_kind)i;
    *start = strtoll(name + len + 1, &end, 10);
    return end > name + len + 1 && *end == 0;
  }
  return false;
}

static void meta_key(enum slice_kind kind, int64_t start, char out[64]) {
  char name[48];
  name_slice(kind, start, name);
  snprintf(out, 64, "slice:%s", name);
}

void slices_add(struct store *store, enum slice_kind kind, int64_t start, enum slice_pace pace,
                rocksdb_column_family_handle_t *family) {
  store->slices = memory_realloc(store->slices, (store->slice_count + 1) * sizeof *store->slices);
  size_t at = store->slice_count++;
  for (; at > 0 && store->slices[at - 1].start > start; at--) store->slices[at] = store->slices[at - 1];
  store->slices[at] = (struct slice){kind, start, pace, INT64_MAX, family};
}

int slices_load(struct store *store, struct error *err) {
  for (size_t i = 0; i < store->slice_count; i++) {
    struct slice *slice = &store->slices[i];
    char key[64];
    uint64_t last_at;
    meta_key(slice->kind, slice->start, key);
    int rc = store_meta_get_u64(store, key, &last_at, 1, err);
    if (rc && rc != ERROR_NOT_FOUND) return rc;
    if (!rc) slice->last_at = (int64_t)last_at;
  }
  return 0;
}

void slices_clear(struct store *store) {
  for (size_t i = 0; i < store->slice_count; i++)
    rocksdb_column_family_handle_destroy(store->slices[i].family);
  memory_free(store->slices);
  store->slices = NULL;
  store->slice_count = 0;
}

int64_t slice_start(int64_t created) {
  return created - (created % DAY_MS + DAY_MS) % DAY_MS;
}

static struct slice *find(struct store *store, enum slice_kind kind, int64_t start) {
  for (size_t i = 0; i < store->slice_count; i++)
    if (store->slices[i].kind == kind && store->slices[i].start == start) return &store->slices[i];
  return NULL;
}

static void set_pace(struct store *store, struct slice *slice, enum slice_pace pace) {
  if (slice->pace == pace) return;
  slice->pace = pace;
  static const char *const key = "level0_file_num_compaction_trigger";
  char number[16], *complaint = NULL;
  snprintf(number, sizeof number, "%d", slice_runs(pace));
  rocksdb_set_options_cf(store->db, slice->family, 1, &key, &(const char *){number}, &complaint);
  struct error err;
  if (store_fault(complaint, "setting how a slice is merged", &err))
    LOG_WARN("store", "a slice is merged as before", LOG_TEXT("error", err.message));
}

/** Merge the kind's slices at this pace from now on. */
static void set_paces(struct store *store, enum slice_kind kind, enum slice_pace pace) {
  for (size_t i = 0; i < store->slice_count; i++)
    if (store->slices[i].kind == kind) set_pace(store, &store->slices[i], pace);
}

int slice_obtain(struct store *store, enum slice_kind kind, int64_t start,
                 rocksdb_column_family_handle_t **family, struct error *err) {
  const struct slice *slice = find(store, kind, start);
  if (slice) {
    *family = slice->family;
    return 0;
  }
  char name[48];
  name_slice(kind, start, name);
  set_paces(store, kind, SLICE_READ); // those before it have ended
  char *complaint = NULL;
  *family =
      rocksdb_create_column_family(store->db, store->slice_options[kind][SLICE_GROWS], name, &complaint);
  int rc = store_fault(complaint, "making a slice of the database", err);
  if (rc) return rc;
  pthread_rwlock_wrlock(&store->slices_lock); // not sooner: it was made durable
  slices_add(store, kind, start, SLICE_GROWS, *family);
  pthread_rwlock_unlock(&store->slices_lock);
  return 0;
}

void slice_reach(struct store *store, enum slice_kind kind, int64_t start, int64_t at,
                 rocksdb_writebatch_t *batch) {
  struct slice *slice = find(store, kind, start);
  if (slice->last_at == INT64_MAX || slice->last_at < at) slice->last_at = at;
  uint64_t value = htole64((uint64_t)slice->last_at);
  char key[64];
  meta_key(kind, start, key);
  rocksdb_writebatch_put_cf(batch, store->families[FAMILY_META], key, strlen(key), (const char *)&value,
                            sizeof value);
}

/* ---- retention ---- */

static int drop_slice(struct store *store, size_t at, struct error *err) {
  struct slice slice = store->slices[at];
  char key[64];
  meta_key(slice.kind, slice.start, key);
  char *complaint = NULL;
  rocksdb_drop_column_family(store->db, slice.family, &complaint);
  if (complaint) return store_fault(complaint, "dropping a slice of the database", err);
  // It can be read until its handle goes; neither what is synced before nor what is after keeps the lock.
  pthread_rwlock_wrlock(&store->slices_lock);
  store->slice_count--;
  memmove(&store->slices[at], &store->slices[at + 1], (store->slice_count - at) * sizeof *store->slices);
  pthread_rwlock_unlock(&store->slices_lock);
  rocksdb_column_family_handle_destroy(slice.family);
  rocksdb_delete_cf(store->db, store->synced_options, store->families[FAMILY_META], key, strlen(key),
                    &complaint);
  if (!complaint) LOG_INFO("store", "a slice past its retention was dropped", LOG_TEXT("slice", key + 6));
  return store_fault(complaint, "dropping a slice of the database", err);
}

/** How many spare segments the log is likely to want until they are deleted next: as many as were begun since
 * the last time, or the time before. None where the disk fills. */
static size_t spares_wanted(struct store *store, const char *log_directory, const struct buf *numbers) {
  enum { FREE_MIN = 10 /* percent */ };
  size_t count = numbers->len / sizeof(uint64_t);
  uint64_t newest = count ? ((const uint64_t *)(const void *)numbers->data)[count - 1] : 0;
  uint64_t begun = store->newest_segment ? newest - store->newest_segment : count;
  size_t wanted = begun > store->segments_begun ? begun : store->segments_begun;
  store->newest_segment = newest;
  store->segments_begun = begun;
  struct statvfs disk;
  return statvfs(log_directory, &disk) || disk.f_bavail < disk.f_blocks / 100 * FREE_MIN ? 0 : wanted;
}

static int delete_segments(struct store *store, const char *log_directory, uint64_t below,
                           struct error *err) {
  struct buf numbers, path;
  buf_init(&numbers);
  buf_init(&path);
  int rc = segment_list(log_directory, &numbers, err);
  size_t wanted = rc ? 0 : spares_wanted(store, log_directory, &numbers);
  uint64_t bytes;
  struct stat info;
  size_t spares = spare_measure(log_directory, &bytes);
  for (size_t i = 0; !rc && i < numbers.len / sizeof(uint64_t); i++) {
    uint64_t number = ((const uint64_t *)(const void *)numbers.data)[i];
    if (number >= below) break;
    int failure = FAILPOINT("store.retain");
    const char *name = segment_path(&path, log_directory, number);
    bool shared = stat(name, &info) == 0 && info.st_nlink > 1; // with a backup: nobody may write over it
    if (!failure && !shared && spares < wanted && (failure = spare_keep(log_directory, number)) == 0)
      spares++;
    else if (!failure && unlink(name))
      failure = errno;
    if (failure) rc = error_set_errno(err, failure, "%s: cannot be deleted", name);
  }
  if (!rc) spare_trim(log_directory, wanted);
  buf_deinit(&numbers);
  buf_deinit(&path);
  return rc;
}

static int retain(struct store *store, const char *log_directory, int64_t now, struct error *err) {
  const int64_t keep[SLICE_KINDS] = {
      [SLICE_LOG] = store->options.log_keep, [SLICE_LEDGER] = store->options.ledger_keep};
  int rc = 0;
  for (size_t i = store->slice_count; !rc && i-- > 0;)
    if (store->slices[i].last_at <= now - keep[store->slices[i].kind]) rc = drop_slice(store, i, err);
  if (!rc) rc = mark_files_retain(store, now - store->options.dedup_keep, err);
  struct log_position checkpoint;
  uint64_t next_seq;
  if (!rc) rc = store_checkpoint_get(store, &checkpoint, &next_seq, err);
  if (rc) return rc;
  uint64_t unsealed = store_sealed(store) + 1;
  return delete_segments(store, log_directory, checkpoint.segment < unsealed ? checkpoint.segment : unsealed,
                         err);
}

int store_retain(struct store *store, const char *log_directory, int64_t now, struct error *err) {
  store_know_log(store, log_directory);
  pthread_rwlock_wrlock(&store->segments_lock);
  int rc = retain(store, log_directory, now, err);
  pthread_rwlock_unlock(&store->segments_lock);
  return rc;
}

/* ---- figures ---- */

void store_know_log(struct store *store, const char *log_directory) {
  // Maintenance alone writes it, and so may read it without the lock.
  if (store->log_directory && strcmp(store->log_directory, log_directory) == 0) return;
  char *copy = memory_dup(log_directory, strlen(log_directory));
  pthread_rwlock_wrlock(&store->lock);
  memory_free(store->log_directory);
  store->log_directory = copy;
  pthread_rwlock_unlock(&store->lock);
}

static uint64_t property(struct store *store, rocksdb_column_family_handle_t *family, const char *name) {
  uint64_t value = 0;
  return rocksdb_property_int_cf(store->db, family, name, &value) == 0 ? value : 0;
}

static void measure_family(struct store *store, rocksdb_column_family_handle_t *family,
                           struct store_figures *out) {
  out->bytes_on_disk += property(store, family, "rocksdb.total-sst-files-size");
  out->memtable_bytes += property(store, family, "rocksdb.cur-size-all-mem-tables");
}

static void measure_log(const char *directory, struct store_figures *out) {
  struct buf numbers, path;
  buf_init(&numbers);
  buf_init(&path);
  if (!segment_list(directory, &numbers, NULL))
    for (size_t i = 0; i < numbers.len / sizeof(uint64_t); i++) {
      struct stat info;
      uint64_t number = ((const uint64_t *)(const void *)numbers.data)[i];
      if (stat(segment_path(&path, directory, number), &info)) continue;
      out->log_bytes += (uint64_t)info.st_size;
      out->segments++;
    }
  uint64_t spare;
  spare_measure(directory, &spare);
  out->log_bytes += spare;
  buf_deinit(&numbers);
  buf_deinit(&path);
}

enum store_pace store_pace(struct store *store) {
  if (store_enter(store, NULL)) return STORE_KEEPS_UP;
  // Of all families together, whichever is asked.
  rocksdb_column_family_handle_t *family = store->families[FAMILY_USER];
  enum store_pace pace = property(store, family, "rocksdb.is-write-stopped")            ? STORE_STOPS
                         : property(store, family, "rocksdb.actual-delayed-write-rate") ? STORE_SLOWS_DOWN
                                                                                        : STORE_KEEPS_UP;
  store_leave(store);
  return pace;
}

void store_measure(struct store *store, struct store_figures *out) {
  *out = (struct store_figures){0};
  (void)FAILPOINT("store.measure"); // to be held at
  if (store_enter(store, NULL)) return;
  for (int i = 0; i < FAMILY_COUNT; i++) measure_family(store, store->families[i], out);
  pthread_rwlock_rdlock(&store->slices_lock);
  for (size_t i = 0; i < store->slice_count; i++) measure_family(store, store->slices[i].family, out);
  pthread_rwlock_unlock(&store->slices_lock);
  size_t run_bytes, run_users;
  run_measure(&store->run, &run_bytes, &run_users);
  out->memtable_bytes += run_bytes;
  out->bytes_on_disk += mark_files_bytes(store);
  out->cache_bytes = rocksdb_cache_get_usage(store->cache) +
                     property(store, store->families[FAMILY_USER], "rocksdb.estimate-table-readers-mem");
  out->marks_unreadable = atomic_load_explicit(&store->marks.unreadable, memory_order_relaxed);
  out->filter_bytes = atomic_load_explicit(&store->marks.bytes, memory_order_relaxed);
  out->users_estimate =
      property(store, store->families[FAMILY_USER], "rocksdb.estimate-num-keys") + run_users;
  if (store->log_directory) measure_log(store->log_directory, out);
  store_leave(store);
}
