#include "state/store_internal.h"

#include "base/logger.h"
#include "base/thread.h"
#include "state/store_logger.h"

#include <limits.h>

enum {
  MERGED_MIN = 4,
  /** As many merges at a time. With one, the users' waited behind a slice's, which takes ever longer with the
   * events kept: their runs grew to the 36 at which RocksDB stops writes, and with 67 million events the host
   * refused more for 26 s. */
  MERGING_THREADS = 3
};

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

// Users' blocks are not in the cache: the run that gathers them, or the memtable that it becomes, and the
// filter of dedup marks take its place.
size_t tuning_run_bytes(const struct store_options *options) {
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

/** RocksDB's threads that merge are this one's children, and as modest. */
static void *start_merging_threads(void *context) {
  thread_modest();
  rocksdb_env_set_background_threads(context, MERGING_THREADS);
  return NULL;
}

static void make_merging_modest(void) {
  pthread_t thread;
  rocksdb_env_t *env = rocksdb_create_default_env();
  if (pthread_create(&thread, NULL, start_merging_threads, env) == 0) pthread_join(thread, NULL);
  rocksdb_env_destroy(env);
}

void tuning_init(struct store *store) {
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
  store->record_options = new_record_options(store->record_tables, tuning_run_bytes(&store->options));
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
  make_merging_modest();
}

void tuning_deinit(struct store *store) {
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

void tuning_without_compression(struct store *store) {
  rocksdb_options_set_compression(store->record_options, rocksdb_no_compression);
  rocksdb_options_set_compression_per_level(store->record_options, NULL, 0);
  rocksdb_options_set_compression(store->small_options, rocksdb_no_compression);
  rocksdb_options_set_compression(store->index_options, rocksdb_no_compression);
  for (int kind = 0; kind < SLICE_KINDS; kind++)
    for (int pace = 0; pace < SLICE_PACES; pace++)
      rocksdb_options_set_compression(store->slice_options[kind][pace], rocksdb_no_compression);
}
