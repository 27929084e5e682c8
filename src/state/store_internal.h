/** The insides of the RocksDB store, for the files that are it: store_rocks.c (open, close), store_tuning.c,
 * store_read.c, store_write.c, store_run.c, store_index.c, store_fan_out.c, store_slices.c, store_marks.c,
 * store_mark_files.c, store_upgrade.c, store_retention.c, seal.c,
 * backup.c. */
#pragma once

#include "state/index.h"
#include "state/mark_file.h"
#include "state/mark_filter.h"
#include "state/store.h"
#include "state/store_key.h"

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

enum family {
  FAMILY_DEFAULT,
  FAMILY_USER,
  FAMILY_TIMER,
  FAMILY_OUTBOX,
  FAMILY_DEFERRED,
  FAMILY_DEAD,
  FAMILY_META,
  FAMILY_INDEX,
  FAMILY_FAN_OUT,
  FAMILY_COUNT
};

enum slice_kind { SLICE_LOG, SLICE_LEDGER, SLICE_KINDS };

/** How soon a slice's sorted runs are merged: merging costs each event's CPU again, not merging costs who
 * reads a look-up a run. */
enum slice_pace {
  SLICE_GROWS, /**< segments are being sealed into it: late */
  SLICE_READ,  /**< it has ended: soon */
  SLICE_PACES
};

/** One family of a kind that lives for a time. */
struct slice {
  enum slice_kind kind;
  int64_t start; /**< ms; its name */
  enum slice_pace pace;
  /** Time of its newest record; INT64_MAX while the first segment is being sealed into it. Maintenance writes
   * it, with no lock. */
  _Atomic int64_t last_at;
  rocksdb_column_family_handle_t *family;
};

/** A thread and what waits for it: mail, linked by `next`, first come first served. */
struct queue {
  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t sent;
  struct mail *first, *last;
  bool running, stopping;
};

/** Users' records that were written and that RocksDB does not have yet (store_run.c). */
struct run {
  pthread_mutex_t turn;  /**< who adds, or hands over to RocksDB */
  pthread_rwlock_t lock; /**< readers: who looks up. Writer: who changes it, with `turn` held too */
  struct index index;    /**< of the newest of each user */
  uint8_t *bytes;        /**< one after the other; null: none */
  size_t len, cap, most;
};

struct store {
  struct store_options options;
  char *directory;
  rocksdb_options_t *db_options, *record_options, *small_options, *index_options,
      *slice_options[SLICE_KINDS][SLICE_PACES];
  rocksdb_compactionfilter_t *index_filter;
  _Atomic int64_t index_kept;    /**< store_keep_index() */
  _Atomic int64_t expired_as_of; /**< store_retention_time(), as last asked for; 0: not yet */
  rocksdb_cache_t *cache;
  rocksdb_block_based_table_options_t *tables, *record_tables, *slice_tables;
  rocksdb_readoptions_t *get_options, *scan_options;
  rocksdb_writeoptions_t *behind_options, *synced_options;

  /** Readers: whoever uses `db` off the store's threads, for as long as that takes. Writer: who opens and
   * closes. */
  pthread_rwlock_t lock;
  pthread_mutex_t
      writing;   /**< before `lock`: by who writes, who holds `lock` for a moment only, and who reopens */
  rocksdb_t *db; /**< null while it is closed */
  rocksdb_column_family_handle_t *families[FAMILY_COUNT];
  /** Readers: who looks at the list or takes a family from it; iterators outlive it. Writer: maintenance,
   * while it changes the list; itself it reads without. */
  pthread_rwlock_t slices_lock;
  struct slice *slices; /**< ascending by start */
  size_t slice_count;

  struct run run;
  struct queue fetches, writes;
  uint64_t users_unreadable; /**< look-ups of their records that failed … */
  int64_t users_told_us;     /**< … monotonic, when that was last told; both the fetch thread's */
  _Atomic uint64_t sealed;
  _Atomic bool hurried; /**< store_hurry() */
  /** Raw segments must not vanish while a history is read. Writers first: not to be taken twice. */
  pthread_rwlock_t segments_lock;
  char *log_directory; /**< for figures: as last named; under `lock` */
  /* maintenance's own */
  uint64_t newest_segment; /**< when segments were last deleted … */
  uint64_t segments_begun; /**< … and how many had come since the time before */
  int64_t retention_at;    /**< store_retention_time(), ms … */
  int64_t retention_us;    /**< … as of then, monotonic; 0: not asked for yet */

  struct marks {
    char *directory;
    _Atomic(struct mark_filter *) filter; /**< null: not ready, look in the files */
    pthread_mutex_t lock;                 /**< held for a moment by everybody; for what follows */
    struct mark_files {
      _Atomic unsigned refs;
      size_t count;
      struct mark_file *files[];
    } * files; /**< in the order of their segments; never changed, but replaced; null while closed */
    struct retired_filter {
      struct mark_filter *filter;
      unsigned looks; /**< marks_free_retired() has come by so often since, and might have freed it */
      struct retired_filter *next;
    } * retired;
    int64_t looked_us;      /**< when somebody last looked at those, monotonic */
    bool adding;            /**< who seals has the address of a filter: none is freed */
    bool wanted;            /**< look whether there are files to merge */
    pthread_cond_t changed; /**< … or `ending`, or something has retired */

    pthread_t builder; /**< makes a filter */
    struct mark_filter *building;
    bool started;           /**< there is a builder to join */
    int64_t build_again_us; /**< monotonic; after one that could not be started */
    _Atomic bool stopping, finished;
    pthread_mutex_t deleting; /**< by who deletes what was merged, and by who must find what he listed */
    pthread_t merger;
    bool merging; /**< there is a merger to join */
    _Atomic bool ending;
    _Atomic bool held_back;      /**< there is no room to merge what should be */
    _Atomic int64_t since;       /**< what was accepted by then has expired: as retention has last said */
    _Atomic uint64_t bytes;      /**< of all filters */
    _Atomic uint64_t unreadable; /**< look-ups that failed */
    int64_t told_us;             /**< monotonic; of them; the fetch thread's */
    bool crowded;                /**< more marks than memory allows a filter for; sealing's thread */
  } marks;
};

/* store_rocks.c */

/** @return ERROR_UNAVAILABLE after store_hurry(), else 0. */
int store_check_hurry(const struct store *store, struct error *err);

/** Turn RocksDB's complaint (freed) into an error. @return 0 if there is none. */
int store_fault(char *complaint, const char *what, struct error *err);
/** The same for a failpoint's errno. */
int store_failpoint(int errnum, const char *what, struct error *err);
/** Take the lock for reading, if the database is open. */
int store_enter(struct store *store, struct error *err);
void store_leave(struct store *store);

/* store_tuning.c: how RocksDB is set, and what each setting was measured to do */

/** Make all options of RocksDB, and set its threads that merge. */
void tuning_init(struct store *store);
void tuning_deinit(struct store *store);
/** Not every build of RocksDB has LZ4. Before a family is opened. */
void tuning_without_compression(struct store *store);
/** Of users' records that gather in memory (store_run.c). */
size_t tuning_run_bytes(const struct store_options *options);
/** RocksDB's own for so many sorted runs. */
int slice_runs(enum slice_pace pace);

/* store_read.c */

void store_serve_fetch(struct store *store, struct store_fetch *fetch);
/** @return 0 with the value appended, ERROR_NOT_FOUND, or another. */
int store_get(struct store *store, rocksdb_column_family_handle_t *family, struct str key, struct buf *out,
              struct error *err);
int store_get_outbox(struct store *store, struct entity entity, struct hash128 id, struct buf *out,
                     struct error *err);
/** Visit a family's entries under a prefix. */
int store_scan_family(struct store *store, rocksdb_column_family_handle_t *family, struct str prefix,
                      int (*visit)(void *context, struct str key, struct str value), void *context,
                      struct error *err);

/* store_write.c */

/** Write at once, on the caller's thread; the batch is empty then. */
int store_write_now(struct store *store, struct store_write *write, struct error *err);
/** store_meta_put() for who has entered already. */
int store_put_meta(struct store *store, struct str key, struct str value, struct error *err);
int store_meta_get_u64(struct store *store, const char *key, uint64_t *values, size_t count,
                       struct error *err);

/* store_run.c: users' records gather in memory, and go to RocksDB as many as fill a file, in the order of
 * their keys. A turn's at a time, each cost the search for its place in a memtable of 64 MB: 2.8 us of CPU a
 * record, 1.2 with the sorting now (bench_users). Who calls has entered the store or holds
 * `writing`, but for run_init(), run_deinit() and run_clear(). */

/** @param most  bytes that it may take */
void run_init(struct run *run, size_t most);
void run_deinit(struct run *run);
/** Forget what is in it. */
void run_clear(struct run *run);
/** Append a record as run_add() takes it. */
void run_record_put(struct buf *records, struct entity entity, const struct record *record);
/** They are found from now on. When the run is full it is pushed first: @return what that says; then nothing
 * was added. */
int run_add(struct store *store, struct str records, struct error *err);
/** Hand all of it to RocksDB, whose memtables have it then. After a failure the run is as before. */
int run_push(struct store *store, struct error *err);
/** @return whether the run has it; then its bytes were appended. */
bool run_find(struct run *run, struct entity entity, struct buf *out);
/** The same for all of a fetch: `found` and the record's length are set, its bytes appended to `records`. */
void run_fetch(struct run *run, struct store_fetch *fetch);
void run_measure(struct run *run, size_t *bytes, size_t *users);

/* store_index.c */

/** An entry's key and value in the family `index`. */
void index_key_put(struct buf *out, struct str index, struct str key, struct entity entity);
void index_value_put(struct buf *out, const struct index_change *change);
/** Have the family's merges keep what ends later, and its compactions drop what has ended. @return to be
 * freed after the options. */
rocksdb_compactionfilter_t *index_filter_set(struct store *store, rocksdb_options_t *options);

/* store_fan_out.c */

/** A key of the family `fanout`. @param partition  -1: none */
void fan_out_key_put(struct buf *out, struct hash128 id, uint8_t row, int partition);
/** The row that a change writes. @return false if there is none. */
bool fan_out_row(const struct fan_out_change *change, struct entity entity, struct buf *key,
                 struct buf *value);

/* store_slices.c */

/** "log", "ledger". */
const char *slice_kind_name(enum slice_kind kind);
bool slice_parse(const char *name, enum slice_kind *kind, int64_t *start);
void slices_add(struct store *store, enum slice_kind kind, int64_t start, enum slice_pace pace,
                rocksdb_column_family_handle_t *family);
int slices_load(struct store *store, struct error *err);
/** Forget all, closing their families. */
void slices_clear(struct store *store);
/** Where a segment's records go. */
int64_t slice_start(int64_t created);
/** Find or make a slice; maintenance alone. */
int slice_obtain(struct store *store, enum slice_kind kind, int64_t start,
                 rocksdb_column_family_handle_t **family, struct error *err);
/** Note in memory and in a batch for meta that the slice now holds a record of this time. */
void slice_reach(struct store *store, enum slice_kind kind, int64_t start, int64_t at,
                 rocksdb_writebatch_t *batch);
/** Remember where the log is, for figures. */
void store_know_log(struct store *store, const char *log_directory);

/* store_marks.c: the filter */

/** Make the filter; marks that are there already are read by a thread, and until then each event is looked up
 * in the files. Begins to merge them. */
void marks_start(struct store *store);
void marks_stop(struct store *store);
/** A look at filters that were replaced: after some they are freed. */
void marks_free_retired(struct marks *marks);
/** The same, if it is a second since the last look. Who merges and who seals. @return when the next one is
 * due, monotonic us */
int64_t marks_look_at_retired(struct marks *marks);
/** Take in the file that has just been placed; sealing's thread. @param sealed  its marks, in any order */
int marks_sealed(struct store *store, struct mark_range range, const struct hash128 *sealed, size_t count,
                 struct error *err);

/* store_mark_files.c: the files */

/** Make their folder. */
int mark_files_make(struct store *store, struct error *err);
/** Take in what is there, and delete what a crash has left. The last sealed segment is known. */
int mark_files_open(struct store *store, struct error *err);
void mark_files_close(struct store *store);
/** The files as they are now, newest segments last: readable until the reference is given back, whatever is
 * merged or deleted meanwhile. Null while the store is closed. Any thread. */
struct mark_files *mark_files_ref(struct store *store);
void mark_files_unref(struct mark_files *list);
/** Take in a file, in place of those that it covers. */
int mark_files_add(struct store *store, struct mark_range range, struct error *err);
/** How many marks there are that have not expired all together; what all files take. */
uint64_t mark_files_count(struct store *store);
uint64_t mark_files_bytes(struct store *store);
/** Delete files that hold nothing accepted later; merges leave such marks out from now on. Maintenance. */
int mark_files_retain(struct store *store, int64_t since, struct error *err);
/** Merge files of similar size, on a thread of its own, again whenever told. */
void mark_files_start(struct store *store);
void mark_files_merge(struct store *store);
void mark_files_stop(struct store *store);

/* store_upgrade.c */

/** A family of an older format: dedup marks were in slices, "seen.<start>". */
struct old_family {
  const char *name;
  rocksdb_column_family_handle_t *family;
};
bool upgrade_knows(const char *name);
/** Put the marks of format 2 into a file; the format is recorded as the present one only after. May break off
 * anywhere, and begins anew. The last sealed segment is known. */
int upgrade_marks(struct store *store, const struct old_family *families, size_t count, struct error *err);
/** Drop families that are in use no more. */
int upgrade_drop(struct store *store, struct old_family *families, size_t count, struct error *err);
