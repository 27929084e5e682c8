#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
  FORMAT_VERSION = 3,
  FORMAT_TAKEN_OVER = 2 /**< the one before: dedup marks lay in slices */
};

static const char *const family_names[FAMILY_COUNT] = {"default", "user", "timer", "outbox", "deferred",
                                                       "dead",    "meta", "index", "fanout"};

/* ---- errors ---- */

int store_fault(char *complaint, const char *what, struct error *err) {
  if (!complaint) return 0;
  int code = ERROR_IO;
  if (strstr(complaint, "No space left") || strstr(complaint, "Disk quota"))
    code = ERROR_NO_SPACE;
  else if (strncmp(complaint, "Corruption", 10) == 0)
    code = ERROR_CORRUPT;
  error_set(err, code, "%s: %s", what, complaint);
  rocksdb_free(complaint);
  return code;
}

int store_failpoint(int errnum, const char *what, struct error *err) {
  return errnum ? error_set_errno(err, errnum, "%s", what) : 0;
}

int store_enter(struct store *store, struct error *err) {
  pthread_rwlock_rdlock(&store->lock);
  if (store->db) return 0;
  pthread_rwlock_unlock(&store->lock);
  return error_set(err, ERROR_UNAVAILABLE, "%s: the database is being opened anew", store->directory);
}

void store_leave(struct store *store) {
  pthread_rwlock_unlock(&store->lock);
}

/* ---- opening ---- */

/** The families to open: ours, and the slices that are there. */
struct families {
  const char **names;
  const rocksdb_options_t **options;
  rocksdb_column_family_handle_t **handles;
  size_t count;
  char **listed; /**< RocksDB's own, which `names` points into */
  size_t listed_count;
};

static void families_deinit(struct families *families) {
  memory_free(families->names);
  memory_free(families->options);
  memory_free(families->handles);
  if (families->listed) rocksdb_list_column_families_destroy(families->listed, families->listed_count);
}

static bool is_ours(const char *name) {
  for (int i = 0; i < FAMILY_COUNT; i++)
    if (strcmp(name, family_names[i]) == 0) return true;
  return false;
}

static const rocksdb_options_t *options_of(const struct store *store, enum family family) {
  return family == FAMILY_USER    ? store->record_options
         : family == FAMILY_INDEX ? store->index_options
                                  : store->small_options;
}

/** Only the newest of its kind still grows. */
static enum slice_pace pace_of(const struct families *families, enum slice_kind kind, int64_t start) {
  for (size_t i = 0; i < families->listed_count; i++) {
    enum slice_kind other;
    int64_t begin;
    if (slice_parse(families->listed[i], &other, &begin) && other == kind && begin > start) return SLICE_READ;
  }
  return SLICE_GROWS;
}

static int families_list(struct store *store, bool fresh, struct families *out, struct error *err) {
  char *complaint = NULL;
  if (!fresh) {
    out->listed =
        rocksdb_list_column_families(store->db_options, store->directory, &out->listed_count, &complaint);
    if (complaint) return store_fault(complaint, store->directory, err);
  }
  size_t most = FAMILY_COUNT + out->listed_count;
  out->names = memory_zalloc(most * sizeof *out->names);
  out->options = memory_zalloc(most * sizeof *out->options);
  out->handles = memory_zalloc(most * sizeof *out->handles);
  for (out->count = 0; out->count < FAMILY_COUNT; out->count++) {
    out->names[out->count] = family_names[out->count];
    out->options[out->count] = options_of(store, (enum family)out->count);
  }
  int found = 0;
  for (size_t i = 0; i < out->listed_count; i++) {
    enum slice_kind kind;
    int64_t start;
    if (is_ours(out->listed[i])) {
      found++;
      continue;
    }
    out->names[out->count] = out->listed[i];
    if (upgrade_knows(out->listed[i])) {
      out->options[out->count++] = store->slice_options[SLICE_LOG][SLICE_GROWS];
      continue;
    }
    if (!slice_parse(out->listed[i], &kind, &start))
      return error_set(err, ERROR_VERSION, "%s: holds a family \"%s\" that this version does not know",
                       store->directory, out->listed[i]);
    out->options[out->count] = store->slice_options[kind][pace_of(out, kind, start)];
    out->count++;
  }
  if (store->options.read_only && found < FAMILY_COUNT)
    return error_set(
        err, ERROR_NOT_FOUND,
        "%s: the database was never finished, or an older version wrote it: start the host on it once",
        store->directory);
  return 0;
}

/** RocksDB's lock is not taken, nor asked for, when one only reads. */
static int check_unlocked(const struct store *store, struct error *err) {
  char path[4096];
  snprintf(path, sizeof path, "%s/LOCK", store->directory);
  int descriptor = open(path, O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return 0;
  struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
  bool held = fcntl(descriptor, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
  close(descriptor);
  if (!held) return 0;
  return error_set(err, ERROR_EXISTS, "%s: a running process (%d) holds this data directory",
                   store->directory, (int)lock.l_pid);
}

static int open_families(struct store *store, struct families *families, struct error *err) {
  for (;;) {
    char *complaint = NULL;
    if (store->options.read_only)
      store->db = rocksdb_open_for_read_only_column_families(
          store->db_options, store->directory, (int)families->count, families->names, families->options,
          families->handles, 0, &complaint);
    else
      store->db =
          rocksdb_open_column_families(store->db_options, store->directory, (int)families->count,
                                       families->names, families->options, families->handles, &complaint);
    if (!complaint) return 0;
    store->db = NULL;
    if (strstr(complaint, "Compression type") && strstr(complaint, "not linked")) {
      rocksdb_free(complaint);
      tuning_without_compression(store);
      continue;
    }
    if (strstr(complaint, "While lock file") || strstr(complaint, "lock hold by current process")) {
      rocksdb_free(complaint);
      return error_set(err, ERROR_EXISTS, "%s: another process holds this data directory", store->directory);
    }
    return store_fault(complaint, store->directory, err);
  }
}

static int put_format(struct store *store, struct error *err) {
  char text[16];
  snprintf(text, sizeof text, "%d", FORMAT_VERSION);
  return store_put_meta(store, STR("format"), str_from(text), err);
}

/** @param version  0: none was recorded yet */
static int read_format(struct store *store, long *version, struct error *err) {
  struct buf value;
  buf_init(&value);
  *version = 0;
  int rc = store_get(store, store->families[FAMILY_META], STR("format"), &value, err);
  if (rc == ERROR_NOT_FOUND) {
    rc = 0;
  } else if (!rc) {
    buf_append(&value, "", 1);
    *version = strtol((const char *)value.data, NULL, 10);
    if (*version < 1)
      rc = error_set(err, ERROR_CORRUPT, "%s: its format version is no number", store->directory);
    else if (*version != FORMAT_VERSION && *version != FORMAT_TAKEN_OVER)
      rc = error_set(err, ERROR_VERSION, "%s: written in format %ld by %s version; this one reads format %d",
                     store->directory, *version, *version > FORMAT_VERSION ? "a newer" : "an older",
                     FORMAT_VERSION);
  }
  buf_deinit(&value);
  return rc;
}

/** The families of slices, and those that are in use no more. */
struct old_families {
  struct old_family *data;
  size_t count;
};

static void take_families(struct store *store, const struct families *families, struct old_families *old) {
  old->data = memory_zalloc((families->count + 1) * sizeof *old->data);
  for (size_t i = 0; i < families->count; i++) {
    enum slice_kind kind;
    int64_t start;
    if (i < FAMILY_COUNT)
      store->families[i] = families->handles[i];
    else if (slice_parse(families->names[i], &kind, &start))
      slices_add(store, kind, start, pace_of(families, kind, start), families->handles[i]);
    else
      old->data[old->count++] = (struct old_family){families->names[i], families->handles[i]};
  }
}

/** Take over what an older format has elsewhere, and record the present one. What the older version reads
 * goes after that. */
static int upgrade(struct store *store, long version, struct old_families *old, struct error *err) {
  if (store->options.read_only) return 0;
  int rc = version == FORMAT_VERSION ? 0 : mark_files_make(store, err);
  if (!rc && version == FORMAT_TAKEN_OVER) rc = upgrade_marks(store, old->data, old->count, err);
  if (!rc && version == FORMAT_TAKEN_OVER)
    rc = store_failpoint(FAILPOINT("store.upgrade"), "recording the format", err);
  if (!rc && version != FORMAT_VERSION) rc = put_format(store, err);
  return rc ? rc : upgrade_drop(store, old->data, old->count, err);
}

static void free_old(struct old_families *old) {
  for (size_t i = 0; i < old->count; i++) rocksdb_column_family_handle_destroy(old->data[i].family);
  memory_free(old->data);
}

static void close_db(struct store *store) {
  run_clear(&store->run);
  mark_files_close(store);
  slices_clear(store);
  for (int i = 0; i < FAMILY_COUNT; i++) {
    if (store->families[i]) rocksdb_column_family_handle_destroy(store->families[i]);
    store->families[i] = NULL;
  }
  if (store->db) rocksdb_close(store->db);
  store->db = NULL;
}

/** With the lock held for writing, or before anyone else knows of the store. */
static int open_db(struct store *store, struct error *err) {
  char path[4096];
  snprintf(path, sizeof path, "%s/CURRENT", store->directory);
  bool fresh = access(path, F_OK) != 0;
  if (fresh && store->options.read_only)
    return error_set(err, ERROR_NOT_FOUND, "%s: holds no database", store->directory);
  if (fresh) (void)mkdir(store->directory, 0750); // or else RocksDB says what is wrong
  long version;
  struct old_families old = {0};
  struct families families = {0};
  int rc = store->options.read_only ? check_unlocked(store, err) : 0;
  if (!rc) rc = families_list(store, fresh, &families, err);
  if (!rc) rc = open_families(store, &families, err);
  if (rc) goto cleanup;
  take_families(store, &families, &old);
  if ((rc = read_format(store, &version, err)) || (rc = slices_load(store, err))) goto cleanup;
  uint64_t sealed = 0;
  rc = store_meta_get_u64(store, "sealed", &sealed, 1, err);
  if (rc && rc != ERROR_NOT_FOUND) goto cleanup;
  atomic_store(&store->sealed, sealed);
  rc = upgrade(store, version, &old, err);
  if (!rc) rc = mark_files_open(store, err);
cleanup:
  free_old(&old);
  families_deinit(&families);
  if (rc) close_db(store);
  return rc;
}

/* ---- threads ---- */

static void queue_send(struct queue *queue, struct mail *mail) {
  mail->next = NULL;
  pthread_mutex_lock(&queue->lock);
  if (queue->last)
    queue->last->next = mail;
  else
    queue->first = mail;
  queue->last = mail;
  pthread_cond_signal(&queue->sent);
  pthread_mutex_unlock(&queue->lock);
}

/** All that waits, or null when it is time to stop. */
static struct mail *queue_take(struct queue *queue) {
  pthread_mutex_lock(&queue->lock);
  while (!queue->first && !queue->stopping) pthread_cond_wait(&queue->sent, &queue->lock);
  struct mail *taken = queue->first;
  queue->first = queue->last = NULL;
  pthread_mutex_unlock(&queue->lock);
  return taken;
}

static int queue_start(struct queue *queue, void *(*run)(void *context), void *context, struct error *err) {
  int failure = pthread_create(&queue->thread, NULL, run, context);
  if (failure) return error_set_errno(err, failure, "a thread of the store cannot be started");
  queue->running = true;
  return 0;
}

static void queue_init(struct queue *queue) {
  pthread_mutex_init(&queue->lock, NULL);
  pthread_cond_init(&queue->sent, NULL);
}

static void queue_deinit(struct queue *queue) {
  if (queue->running) {
    pthread_mutex_lock(&queue->lock);
    queue->stopping = true;
    pthread_cond_signal(&queue->sent);
    pthread_mutex_unlock(&queue->lock);
    pthread_join(queue->thread, NULL);
  }
  pthread_mutex_destroy(&queue->lock);
  pthread_cond_destroy(&queue->sent);
}

static void *fetch_thread(void *context) {
  struct store *store = context;
  pthread_setname_np(pthread_self(), "kairos-fetch");
  thread_prompt();
  for (struct mail *taken; (taken = queue_take(&store->fetches));)
    for (struct mail *next; taken; taken = next) {
      next = taken->next;
      struct store_fetch *fetch = (struct store_fetch *)taken;
      store_serve_fetch(store, fetch);
      mailbox_send(fetch->reply, &fetch->mail);
    }
  return NULL;
}

static void *write_thread(void *context) {
  struct store *store = context;
  pthread_setname_np(pthread_self(), "kairos-write");
  for (struct mail *taken; (taken = queue_take(&store->writes));)
    for (struct mail *next; taken; taken = next) {
      next = taken->next;
      struct store_write *write = (struct store_write *)taken;
      struct error err;
      write->status = store_write_now(store, write, &err);
      if (write->status) LOG_ERROR("store", "a write-behind failed", LOG_TEXT("error", err.message));
      mailbox_send(write->reply, &write->mail);
    }
  return NULL;
}

void store_fetch(struct store *store, struct store_fetch *fetch) {
  queue_send(&store->fetches, &fetch->mail);
}

void store_write_submit(struct store *store, struct store_write *write) {
  queue_send(&store->writes, &write->mail);
}

/* ---- life ---- */

static char *join(const char *directory, const char *name) {
  struct buf path;
  buf_init(&path);
  buf_printf(&path, "%s/%s", directory, name);
  char *text = memory_dup((const char *)path.data, path.len);
  buf_deinit(&path);
  return text;
}

/** Who waits to write comes before who comes to read: questions about the past that overlap without end would
 * else keep sealing and retention waiting, and the recovery that waits for those. Nobody may take it for
 * reading who has it: that would wait for a writer who waits for him. No test shows it that would not wait
 * for a time. */
static void segments_lock_init(pthread_rwlock_t *lock) {
  pthread_rwlockattr_t attributes;
  pthread_rwlockattr_init(&attributes);
  pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init(lock, &attributes);
  pthread_rwlockattr_destroy(&attributes);
}

int store_rocks_open(struct store **out, const struct store_options *options, struct error *err) {
  struct store *store = memory_zalloc(sizeof *store);
  *out = NULL;
  store->options = *options;
  store->directory = memory_dup(options->directory, strlen(options->directory));
  store->options.directory = store->directory;
  pthread_rwlock_init(&store->lock, NULL);
  segments_lock_init(&store->segments_lock);
  pthread_rwlock_init(&store->slices_lock, NULL);
  pthread_mutex_init(&store->writing, NULL);
  pthread_mutex_init(&store->marks.lock, NULL);
  run_init(&store->run, tuning_run_bytes(options));
  pthread_mutex_init(&store->marks.deleting, NULL);
  pthread_cond_init(&store->marks.changed, NULL);
  atomic_init(&store->marks.since, INT64_MIN);
  store->marks.directory = join(store->directory, "marks");
  queue_init(&store->fetches);
  queue_init(&store->writes);
  tuning_init(store);
  int rc = open_db(store, err);
  if (!rc) rc = queue_start(&store->fetches, fetch_thread, store, err);
  if (!rc) rc = queue_start(&store->writes, write_thread, store, err);
  if (rc) {
    store_close(store);
    return rc;
  }
  marks_start(store);
  *out = store;
  return 0;
}

void store_close(struct store *store) {
  if (!store) return;
  queue_deinit(&store->fetches);
  queue_deinit(&store->writes);
  marks_stop(store);
  struct error err;
  if (store->db && run_push(store, &err))
    LOG_WARN("store", "what was written last is not in the database", LOG_TEXT("error", err.message));
  close_db(store);
  run_deinit(&store->run);
  tuning_deinit(store);
  pthread_rwlock_destroy(&store->lock);
  pthread_rwlock_destroy(&store->segments_lock);
  pthread_rwlock_destroy(&store->slices_lock);
  pthread_mutex_destroy(&store->writing);
  pthread_mutex_destroy(&store->marks.lock);
  pthread_mutex_destroy(&store->marks.deleting);
  pthread_cond_destroy(&store->marks.changed);
  memory_free(store->marks.directory);
  memory_free(store->log_directory);
  memory_free(store->directory);
  memory_free(store);
}

void store_hurry(struct store *store, bool hurry) {
  atomic_store_explicit(&store->hurried, hurry, memory_order_relaxed);
}

int store_check_hurry(const struct store *store, struct error *err) {
  if (!atomic_load_explicit(&store->hurried, memory_order_relaxed)) return 0;
  return error_set(err, ERROR_UNAVAILABLE, "the host recovers from a failed write, or ends; try again");
}

int store_reopen(struct store *store, struct error *err) {
  marks_stop(store);
  pthread_mutex_lock(&store->writing);
  pthread_rwlock_wrlock(&store->lock);
  close_db(store);
  int rc = open_db(store, err);
  pthread_rwlock_unlock(&store->lock);
  pthread_mutex_unlock(&store->writing);
  if (!rc) marks_start(store);
  return rc;
}
