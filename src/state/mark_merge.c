#include "base/memory.h"
#include "state/mark_writer.h"

enum { PIECE = 1 << 15 /**< marks sorted at a time: they fit into a core's second cache */ };

/** One of the files, read from its front. */
struct source {
  struct mark_cursor cursor;
  size_t at, count; /**< in the page */
  uint64_t number;  /**< of the entry at `at` */
};

struct merge {
  struct mark_writer *writer;
  struct mark_file *const *files;
  struct source *sources;
  size_t source_count;
  int64_t since;
  struct mark_entry *piece;
  size_t piece_count, piece_cap;
  struct mark_sorter sorter;
  struct error *err;
};

static void piece_add(struct merge *merge, struct mark_entry entry) {
  if (merge->piece_count == merge->piece_cap) {
    merge->piece_cap = merge->piece_cap ? merge->piece_cap * 2 : PIECE + PIECE / 4;
    merge->piece = memory_realloc(merge->piece, merge->piece_cap * sizeof *merge->piece);
  }
  merge->piece[merge->piece_count++] = entry;
}

/** A source's entries up to its `end`-th whose marks begin with at most `most`. */
static int gather(struct merge *merge, struct source *source, uint64_t end, uint64_t most) {
  while (source->number < end) {
    if (source->at == source->count) {
      int count = mark_cursor_next(&source->cursor, merge->err);
      if (count <= 0) return count ? count : ERROR_CORRUPT;
      source->at = 0;
      source->count = (size_t)count;
    }
    const struct mark_entry *entry = &source->cursor.page.entries[source->at];
    if (entry->mark.high > most) return 0;
    if (entry->at > merge->since) piece_add(merge, *entry);
    source->at++;
    source->number++;
  }
  return 0;
}

static int merge_piece(struct merge *merge, unsigned partition, uint64_t most, unsigned shared) {
  merge->piece_count = 0;
  for (size_t i = 0; i < merge->source_count; i++) {
    struct source *source = &merge->sources[i];
    int rc = gather(merge, source, source->cursor.file->head.starts[partition + 1], most);
    if (rc) atomic_store(&merge->files[i]->spoiled, true);
    if (rc) return rc;
  }
  size_t left = mark_sort(&merge->sorter, merge->piece, merge->piece_count, shared);
  return mark_writer_put(merge->writer, partition, merge->piece, left, merge->err);
}

static int merge_partition(struct merge *merge, unsigned partition, const _Atomic bool *stopping) {
  uint64_t total = 0;
  for (size_t i = 0; i < merge->source_count; i++) {
    const uint64_t *starts = merge->sources[i].cursor.file->head.starts;
    total += starts[partition + 1] - starts[partition];
  }
  unsigned shared = 0;
  while (total >> shared > PIECE) shared++;
  for (uint64_t part = 0; part < UINT64_C(1) << shared; part++) {
    if (atomic_load_explicit(stopping, memory_order_relaxed))
      return error_set(merge->err, ERROR_UNAVAILABLE, "merging dedup marks was ended early");
    uint64_t most = shared ? ((part + 1) << (64 - shared)) - 1 : UINT64_MAX;
    int rc = merge_piece(merge, partition, most, shared);
    if (rc) return rc;
  }
  return 0;
}

int mark_merge(struct mark_writer *writer, struct mark_file *const *files, size_t count, int64_t since,
               const _Atomic bool *stopping, struct error *err) {
  struct merge merge = {.writer = writer, .files = files, .source_count = count, .since = since, .err = err};
  merge.sources = memory_zalloc(count * sizeof *merge.sources);
  for (size_t i = 0; i < count; i++) mark_cursor_init(&merge.sources[i].cursor, files[i]);
  int rc = 0;
  for (unsigned partition = 0; !rc && partition < PARTITION_COUNT; partition++)
    rc = merge_partition(&merge, partition, stopping);
  for (size_t i = 0; i < count; i++) mark_cursor_deinit(&merge.sources[i].cursor);
  memory_free(merge.sources);
  memory_free(merge.piece);
  mark_sorter_deinit(&merge.sorter);
  return rc;
}
