#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"
#include "state/store_logger.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
  FORMAT_VERSION = 3,
  FORMAT_TAKEN_OVER = 2, /**< the one before: dedup marks lay in slices */
  MERGED_MIN = 4,
  /** As many merges at a time. With one, the users' waited behind a slice's, which takes ever longer with the
   * events kept: their runs grew to the 36 at which RocksDB stops writes, and with 67 million events the host
   * refused more for 26 s. */
  MERGING_THREADS = 3
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

/* ---- options ---- */

/** In few parts, for a filter of a large file (2 MB) must fit into one part: one that does not is read anew
 * by each look-up. By default there are 64; the threads that look here are few. */
static rocksdb_cache_t *new_cache(size_t bytes) {
  rocksdb_lru_cache_options_t *options = rocksdb_lru_cache_options_create();
  rocksdb_lru_cache_options_set_capacity(options, bytes);
  rocksdb_lru_cache_options_set_num_shard_bits(options, 2);
  rocksdb_cache_t *cache = rocksdb_cache_create_lru_opts(options);
  rocksdb_lru_cache_options_destroy(options);
  return cache;
}

/** So that a file without a key is known without a look at its blocks. */
static void set_filter(rocksdb_block_based_table_options_t *tables) {
  rocksdb_block_based_options_set_filter_policy(tables, rocksdb_filterpolicy_create_bloom_full(10));
  rocksdb_block_based_options_set_whole_key_filtering(tables, 1);
}

static rocksdb_block_based_table_options_t *new_tables(struct store *store, bool filter) {
  rocksdb_block_based_table_options_t *tables = rocksdb_block_based_options_create();
  rocksdb_block_based_options_set_block_cache(tables, store->cache);
  rocksdb_block_based_options_set_cache_index_and_filter_blocks(tables, 1);
  rocksdb_block_based_options_set_cache_index_and_filter_blocks_with_high_priority(tables, 1);
  rocksdb_block_based_options_set_pin_l0_filter_and_index_blocks_in_cache(tables, 1);
  rocksdb_block_based_options_set_format_version(tables, 5);
  if (filter) set_filter(tables);
  return tables;
}

/** For slices, which are many and large: the index in parts of a block, for who reads needs one. */
static rocksdb_block_based_table_options_t *new_slice_tables(struct store *store) {
  rocksdb_block_based_table_options_t *tables = new_tables(store, false);
  rocksdb_block_based_options_set_index_type(tables,
                                             rocksdb_block_based_table_index_type_two_level_index_search);
  rocksdb_block_based_options_set_block_size(tables, 16 << 10);
  return tables;
}

/** For the users, whose records are small and asked for at random: no block of them is worth keeping, for it
 * is hardly ever asked for twice (who comes often is in the hot table), and to find, insert and evict one in
 * the cache is a third of what a read costs; the page cache keeps files as they are. The smaller a block, the
 * less there is to decompress for one record. Index and filter lie with the open files: some 3 bytes of
 * memory for each user in the store. */
static rocksdb_block_based_table_options_t *new_record_tables(void) {
  rocksdb_block_based_table_options_t *tables = rocksdb_block_based_options_create();
  rocksdb_block_based_options_set_no_block_cache(tables, 1);
  rocksdb_block_based_options_set_block_size(tables, 2 << 10);
  rocksdb_block_based_options_set_format_version(tables, 5);
  set_filter(tables);
  return tables;
}

static rocksdb_options_t *new_options(rocksdb_block_based_table_options_t *tables, size_t write_buffer,
                                      int compression) {
  rocksdb_options_t *options = rocksdb_options_create();
  rocksdb_options_set_block_based_table_factory(options, tables);
  rocksdb_options_set_write_buffer_size(options, write_buffer);
  rocksdb_options_set_compression(options, compression);
  return options;
}

/** While a slice of events grows, each of its bytes is merged once, from a segment's file into one of 128: at
 * 100 million events of 450 bytes in a day there are 700 segments, five such merges, and one of what is left
 * when the day has ended. (Sealed four at a time, under full load, they are 175 files.) Merged sooner, each
 * byte would be merged twice; who reads a user's past looks into some 130 files at most. */
int slice_runs(enum slice_pace pace) {
  return pace == SLICE_READ ? 8 : 128;
}

/** Slices get whole files, sorted, each over the whole range of keys. When there are `runs` of them, those of
 * similar size are merged, so that each is merged once for every so many times as many. That nothing is ever
 * overwritten RocksDB need not find out ("size amplification"). None of them is ever written to, so none may
 * slow the writes of others down. */
static rocksdb_options_t *new_slice_options(rocksdb_block_based_table_options_t *tables, int runs) {
  rocksdb_options_t *options = new_options(tables, 1 << 20, rocksdb_lz4_compression);
  rocksdb_universal_compaction_options_t *universal = rocksdb_universal_compaction_options_create();
  rocksdb_universal_compaction_options_set_stop_style(universal, rocksdb_similar_size_compaction_stop_style);
  rocksdb_universal_compaction_options_set_size_ratio(universal, 100);
  rocksdb_universal_compaction_options_set_min_merge_width(universal, MERGED_MIN);
  rocksdb_universal_compaction_options_set_max_size_amplification_percent(universal, INT_MAX);
  rocksdb_options_set_universal_compaction_options(options, universal);
  rocksdb_universal_compaction_options_destroy(universal);
  rocksdb_options_set_compaction_style(options, rocksdb_universal_compaction);
  rocksdb_options_set_level0_file_num_compaction_trigger(options, runs);
  rocksdb_options_set_level0_slowdown_writes_trigger(options, 1 << 30);
  rocksdb_options_set_level0_stop_writes_trigger(options, 1 << 30);
  return options;
}

/** Users' blocks are not in the cache: the run that gathers them, or the memtable that it becomes, and the
 * filter of dedup marks take its place. */
static size_t run_bytes(const struct store_options *options) {
  enum { LEAST = 4 << 20, MOST = 64 << 20 };
  size_t bytes = options->cache_bytes / 4;
  return bytes < LEAST ? LEAST : bytes > MOST ? MOST : bytes;
}

/** Users are written again at random, and what merging costs depends on how much is merged at a time: twice
 * as many runs in the first level as by default, the next level as large as they are together, and so on by
 * tens. (Merging runs of similar size instead is no cheaper here, and would have all of it on the disk twice
 * at times.) Those first two levels, 16 runs, are not compressed: they are written again soon, and
 * compressing them was a quarter of what files cost. CPU a record written and one fetched, of a million users
 * in 40 runs (bench_users): 6.2 us with all levels compressed, 5.7 with the first one not, 5.3 with neither.
 * No gain: twice as many runs at a time; values in files of their own (RocksDB's blobs: fetches and merges
 * both cost a fifth more). */
static rocksdb_options_t *new_record_options(rocksdb_block_based_table_options_t *tables, size_t run) {
  enum { RUNS = 8, LEVELS = 7 };
  static const int compressions[LEVELS] = {
      rocksdb_no_compression,  rocksdb_no_compression,  rocksdb_lz4_compression, rocksdb_lz4_compression,
      rocksdb_lz4_compression, rocksdb_lz4_compression, rocksdb_lz4_compression};
  // A memtable takes a whole run, of records however small.
  rocksdb_options_t *options = new_options(tables, 2 * run, rocksdb_lz4_compression);
  rocksdb_options_set_level0_file_num_compaction_trigger(options, RUNS);
  rocksdb_options_set_max_bytes_for_level_base(options, RUNS * run);
  rocksdb_options_set_target_file_size_base(options, run);
  rocksdb_options_set_compression_per_level(options, compressions, LEVELS);
  // Most users asked for are in none of the memtables: a filter says so without a search.
  rocksdb_options_set_memtable_whole_key_filtering(options, 1);
  rocksdb_options_set_memtable_prefix_bloom_size_ratio(options, 0.02);
  return options;
}

static void make_slice_options(struct store *store) {
  store->slice_tables = new_slice_tables(store);
  for (int kind = 0; kind < SLICE_KINDS; kind++)
    for (int pace = 0; pace < SLICE_PACES; pace++)
      store->slice_options[kind][pace] = new_slice_options(store->slice_tables, slice_runs(pace));
}

/** What RocksDB has to say. Errors come back by whoever asked, too. */
static void say(bool failed, const char *text) {
  if (failed)
    LOG_WARN("store", "RocksDB has met an error", LOG_TEXT("text", text));
  else
    LOG_DEBUG("store", "RocksDB warns", LOG_TEXT("text", text));
}

static void make_options(struct store *store) {
  store->cache = new_cache(store->options.cache_bytes / 4 * 3);
  store->tables = new_tables(store, true);
  store->record_tables = new_record_tables();
  make_slice_options(store);
  rocksdb_options_t *db = store->db_options = rocksdb_options_create();
  rocksdb_options_set_create_if_missing(db, 1);
  rocksdb_options_set_create_missing_column_families(db, 1);
  rocksdb_options_set_max_background_jobs(db, MERGING_THREADS + 1); // and one that flushes
  store_logger_set(db, say);
  rocksdb_options_set_stats_dump_period_sec(db, 0);
  rocksdb_options_set_max_total_wal_size(db, 8 << 20);
  store->record_options = new_record_options(store->record_tables, run_bytes(&store->options));
  store->small_options = new_options(store->tables, 8 << 20, rocksdb_lz4_compression);
  store->index_options = new_options(store->tables, 16 << 20, rocksdb_lz4_compression);
  store->index_filter = index_filter_set(store, store->index_options);
  store->get_options = rocksdb_readoptions_create();
  store->scan_options = rocksdb_readoptions_create();
  rocksdb_readoptions_set_fill_cache(store->scan_options, 0);
  store->behind_options = rocksdb_writeoptions_create();
  rocksdb_writeoptions_disable_WAL(store->behind_options, 1);
  // Users come in the order of their keys (store_run.c).
  rocksdb_writeoptions_set_memtable_insert_hint_per_batch(store->behind_options, 1);
  store->synced_options = rocksdb_writeoptions_create();
  rocksdb_writeoptions_set_sync(store->synced_options, 1);
}

static void free_options(struct store *store) {
  rocksdb_options_destroy(store->db_options);
  rocksdb_options_destroy(store->record_options);
  rocksdb_options_destroy(store->small_options);
  rocksdb_options_destroy(store->index_options);
  rocksdb_compactionfilter_destroy(store->index_filter);
  for (int kind = 0; kind < SLICE_KINDS; kind++)
    for (int pace = 0; pace < SLICE_PACES; pace++) rocksdb_options_destroy(store->slice_options[kind][pace]);
  rocksdb_block_based_options_destroy(store->tables);
  rocksdb_block_based_options_destroy(store->record_tables);
  rocksdb_block_based_options_destroy(store->slice_tables);
  rocksdb_cache_destroy(store->cache);
  rocksdb_readoptions_destroy(store->get_options);
  rocksdb_readoptions_destroy(store->scan_options);
  rocksdb_writeoptions_destroy(store->behind_options);
  rocksdb_writeoptions_destroy(store->synced_options);
}

/** Not every build of RocksDB has LZ4. */
static void without_compression(struct store *store) {
  rocksdb_options_set_compression(store->record_options, rocksdb_no_compression);
  rocksdb_options_set_compression_per_level(store->record_options, NULL, 0);
  rocksdb_options_set_compression(store->small_options, rocksdb_no_compression);
  rocksdb_options_set_compression(store->index_options, rocksdb_no_compression);
  for (int kind = 0; kind < SLICE_KINDS; kind++)
    for (int pace = 0; pace < SLICE_PACES; pace++)
      rocksdb_options_set_compression(store->slice_options[kind][pace], rocksdb_no_compression);
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
      without_compression(store);
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

/** RocksDB's threads that merge are this one's children, and as modest. */
static void *start_merging_threads(void *context) {
  thread_modest();
  rocksdb_env_set_background_threads(context, MERGING_THREADS);
  return NULL;
}

static void make_merging_nice(void) {
  pthread_t thread;
  rocksdb_env_t *env = rocksdb_create_default_env();
  if (pthread_create(&thread, NULL, start_merging_threads, env) == 0) pthread_join(thread, NULL);
  rocksdb_env_destroy(env);
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
  run_init(&store->run, run_bytes(options));
  pthread_mutex_init(&store->marks.deleting, NULL);
  pthread_cond_init(&store->marks.changed, NULL);
  atomic_init(&store->marks.since, INT64_MIN);
  store->marks.directory = join(store->directory, "marks");
  queue_init(&store->fetches);
  queue_init(&store->writes);
  make_options(store);
  make_merging_nice();
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
  free_options(store);
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
