#include "state/history.h"
#include "state/log_segment.h"
#include "state/mark_writer.h"
#include "state/seal_sort.h"
#include "state/sealed.h"
#include "state/seen.h"
#include "state/store_internal.h"

#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  AHEAD = 8,        /**< records fetched into the cache before their turn */
  AHEAD_OWNERS = 2, /**< the same of entities, when it is their turn */
  /** Segments that are sealed together: a user who has an event or two in each has one entry, not four, and
   * there is a fourth of the files to merge and to look into. At most of the size below: a fourth of that is
   * what a segment has by default, and all of it has to stay in the page cache for a moment. */
  GROUP_MAX = 4,
  /** … and no more segments once so many records are in them: of small ones, all of one user, each takes some
   * 200 bytes of memory until they are sealed. */
  GROUP_RECORDS_MAX = 1 << 20,
  WAITING_MAX = 2 * GROUP_MAX /**< closed segments that wait behind these before they are pressed on with */
};

#define GROUP_BYTES_MAX (UINT64_C(256) << 20)

/** One of the segments that are sealed together. */
struct part {
  uint64_t number;
  int64_t created;
  int descriptor;
  uint64_t offset; /**< where its file begins in what is mapped */
  uint64_t size;
};

/** What the segments bring to one slice. */
struct output {
  char path[4096];
  rocksdb_envoptions_t *environment;
  rocksdb_sstfilewriter_t *writer; /**< null: nothing yet */
  int64_t last_at;                 /**< time of its newest record */
};

struct sealing {
  struct store *store;
  struct part *parts; /**< in their order */
  size_t part_count;
  uint64_t last;        /**< number of the last of them; the first is parts->number */
  int64_t created;      /**< the first */
  uint32_t generation;  /**< the last one recorded in them, 0 none */
  const uint8_t *bytes; /**< their files, mapped one behind the other */
  size_t size;
  bool present; /**< its pages are */
  struct seal_items items;
  struct mark_writer writer; /**< of dedup marks */
  bool marked;               /**< it is open */
  struct hash128 *marks;     /**< what is in it, for the filter */
  size_t mark_count;
  struct output outputs[SLICE_KINDS];
  struct error *err;

  /* one partition's, used again for the next */
  struct seal_record *records;
  struct seal_owner *owners;
  struct mark_entry *accepted;
  size_t records_cap;
  struct mark_sorter sorter;
  struct sealed_draft drafts[2]; /**< SLICE_LOG, SLICE_LEDGER */
  struct buf decisions;
};

/* ---- reading ---- */

static void drop_part(struct sealing *sealing) {
  close(sealing->parts[--sealing->part_count].descriptor);
}

static int note_record(struct sealing *sealing, const struct log_record *record, uint64_t offset) {
  if (record->type == LOG_GENERATION) {
    if (record->generation > sealing->generation) sealing->generation = record->generation;
    return 0;
  }
  if (record->type == LOG_EXPERIMENT) return 0; // nobody's
  int decides = history_decides(record->type, record->effects, sealing->err);
  if (decides < 0) return decides;
  seal_items_add(&sealing->items, (struct seal_item){key_rank(record->entity), offset, (unsigned)decides});
  return 0;
}

static int read_records(struct sealing *sealing, const struct part *part, const char *log_directory) {
  struct log_reader *reader;
  int rc = log_reader_new(&reader, log_directory, (struct log_position){part->number, 0}, sealing->err);
  if (rc) return rc;
  if (sealing->present)
    log_reader_lend(reader, (struct str){(const char *)sealing->bytes + part->offset, part->size});
  struct log_position until = {part->number + 1, 0}, after;
  struct log_record record;
  while ((rc = log_reader_next(reader, &until, &record, &after, sealing->err)) == 1)
    if ((rc = note_record(sealing, &record, part->offset + log_reader_offset(reader)))) break;
  log_reader_free(reader);
  return rc;
}

/** Without the segment that cannot be read, or that is too much, and those behind it: whoever comes to it
 * next is told. */
static int read_parts(struct sealing *sealing, bool agreed, const char *log_directory) {
  for (size_t i = 0; i < sealing->part_count; i++) {
    size_t count = sealing->items.count;
    uint32_t generation = sealing->generation;
    int rc = read_records(sealing, &sealing->parts[i], log_directory);
    if (rc && (agreed || i == 0)) return rc;
    if (!rc && (agreed || i == 0 || sealing->items.count <= GROUP_RECORDS_MAX)) continue;
    sealing->items.count = count;
    sealing->generation = generation;
    while (sealing->part_count > i) drop_part(sealing);
  }
  return 0;
}

/** Records are taken in another order than they lie in, and no memory has to hold them: so the files are
 * mapped. Their pages are there before they are touched, for one that the disk fails to give would kill the
 * process; if they cannot be had so (Linux before 5.14, or such a disk), the files are read for it. Where it
 * fails to give once more what it gave a moment ago, that does happen. */
static int map_parts(struct sealing *sealing) {
  void *bytes = mmap(NULL, sealing->size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (bytes != MAP_FAILED) sealing->bytes = bytes;
  sealing->present = true;
  for (size_t i = 0; i < sealing->part_count; i++) {
    const struct part *part = &sealing->parts[i];
    void *place = bytes == MAP_FAILED ? MAP_FAILED
                                      : mmap((uint8_t *)bytes + part->offset, part->size, PROT_READ,
                                             MAP_SHARED | MAP_FIXED, part->descriptor, 0);
    if (place == MAP_FAILED)
      return error_set_errno(sealing->err, errno, "log segment %llu: cannot be mapped",
                             (unsigned long long)part->number);
    sealing->present &= madvise(place, part->size, MADV_POPULATE_READ) == 0;
  }
  return 0;
}

static int add_part(struct sealing *sealing, uint64_t number, const char *log_directory) {
  struct segment segment;
  struct part part = {.number = number, .offset = sealing->size};
  int rc = segment_open(log_directory, number, false, &segment, &part.descriptor, sealing->err);
  if (rc) return rc;
  struct stat info;
  if (fstat(part.descriptor, &info)) {
    rc = error_set_errno(sealing->err, errno, "log segment %llu", (unsigned long long)number);
    close(part.descriptor);
    return rc;
  }
  part.created = segment.created;
  part.size = (uint64_t)info.st_size;
  uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
  sealing->size += (part.size + page - 1) / page * page;
  sealing->parts = memory_realloc(sealing->parts, (sealing->part_count + 1) * sizeof part);
  sealing->parts[sealing->part_count++] = part;
  return 0;
}

/** All that is sealed together goes to one slice of each kind. */
static bool go_together(const struct sealing *sealing) {
  const struct part *last = &sealing->parts[sealing->part_count - 1];
  if (sealing->size > GROUP_BYTES_MAX) return false;
  return slice_start(last->created) == slice_start(sealing->parts->created);
}

/** Take the first segment that is not sealed, and of those behind it, up to `until`, what goes with it. A
 * crash may have left entries of theirs in the slices, and sealing them again has to make the same keys: so
 * what goes together is agreed on, in meta, before anything is taken over (agree()), and kept to. Where the
 * last sealing agreed on nothing, an older version did it, a segment at a time, and may have left such
 * entries of the next. */
static int choose_parts(struct sealing *sealing, uint64_t until, bool *agreed, const char *log_directory) {
  uint64_t sealed = store_sealed(sealing->store), end = 0;
  int rc = store_meta_get_u64(sealing->store, "sealing", &end, 1, sealing->err);
  if (rc && rc != ERROR_NOT_FOUND) return rc;
  *agreed = end > sealed;
  uint64_t most = *agreed ? end : sealed && end == sealed ? sealed + GROUP_MAX : sealed + 1;
  if (!*agreed && most > until) most = until;
  for (uint64_t number = sealed + 1; number <= most; number++) {
    rc = add_part(sealing, number, log_directory);
    if (rc && (*agreed || !sealing->part_count)) return rc;
    if (rc) break;
    if (*agreed || sealing->part_count == 1 || go_together(sealing)) continue;
    sealing->size = sealing->parts[sealing->part_count - 1].offset;
    drop_part(sealing);
    break;
  }
  return 0;
}

static int read_segments(struct sealing *sealing, uint64_t until, const char *log_directory) {
  bool agreed;
  int rc = choose_parts(sealing, until, &agreed, log_directory);
  if (!rc) rc = map_parts(sealing);
  if (!rc) rc = read_parts(sealing, agreed, log_directory);
  if (rc) return rc;
  sealing->last = sealing->parts[sealing->part_count - 1].number;
  sealing->created = sealing->parts->created;
  for (size_t i = 0; i < sizeof sealing->drafts / sizeof *sealing->drafts; i++)
    sealing->drafts[i].segment = sealing->last;
  return 0;
}

/* ---- files ---- */

/** One name for ever: what a crash leaves behind goes now. It may be a second name of a file that the
 * database has taken over, and must not be written into. */
static int output_open(struct sealing *sealing, enum slice_kind kind) {
  struct output *output = &sealing->outputs[kind];
  snprintf(output->path, sizeof output->path, "%s/sealing-%s", sealing->store->directory,
           slice_kind_name(kind));
  if (unlink(output->path) && errno != ENOENT)
    return error_set_errno(sealing->err, errno, "%s: cannot be deleted", output->path);
  char *complaint = NULL;
  output->environment = rocksdb_envoptions_create();
  output->writer =
      rocksdb_sstfilewriter_create(output->environment, sealing->store->slice_options[kind][SLICE_GROWS]);
  rocksdb_sstfilewriter_open(output->writer, output->path, &complaint);
  return store_fault(complaint, output->path, sealing->err);
}

/** Keys come in their order. */
static int output_put(struct sealing *sealing, enum slice_kind kind, struct str key, struct str value) {
  struct output *output = &sealing->outputs[kind];
  int rc = output->writer ? 0 : output_open(sealing, kind);
  if (rc) return rc;
  char *complaint = NULL;
  rocksdb_sstfilewriter_put(output->writer, key.data, key.len, value.data, value.len, &complaint);
  return complaint ? store_fault(complaint, output->path, sealing->err) : 0;
}

static void output_reach(struct output *output, int64_t at) {
  if (at > output->last_at) output->last_at = at;
}

static int output_finish(struct sealing *sealing, enum slice_kind kind) {
  struct output *output = &sealing->outputs[kind];
  char *complaint = NULL;
  if (output->writer) rocksdb_sstfilewriter_finish(output->writer, &complaint);
  return store_fault(complaint, output->path, sealing->err);
}

static void output_close(struct output *output) {
  if (!output->writer) return;
  rocksdb_sstfilewriter_destroy(output->writer);
  rocksdb_envoptions_destroy(output->environment);
  unlink(output->path); // unless it was ingested
}

/* ---- dedup marks ---- */

static int put_sorted(struct sealing *sealing, unsigned partition, size_t count) {
  struct mark_range range = {sealing->parts->number, sealing->last};
  if (!sealing->marked) {
    sealing->marked = true;
    int rc = mark_writer_open(&sealing->writer, sealing->store->marks.directory, range, sealing->err);
    if (rc) return rc;
  }
  for (size_t i = 0; i < count; i++) sealing->marks[sealing->mark_count++] = sealing->accepted[i].mark;
  return mark_writer_put(&sealing->writer, partition, sealing->accepted, count, sealing->err);
}

/** The marks of a partition's records. Of a mark accepted twice the later time counts. */
static int put_marks(struct sealing *sealing, const struct seal_record *records, size_t count) {
  size_t events = 0;
  for (size_t i = 0; i < count; i++) {
    if (records[i].log.type != LOG_EVENT) continue;
    struct str id = event_encoded_id(records[i].log.input);
    if (!id.len) return error_set(sealing->err, ERROR_CORRUPT, "an event in the log has no id");
    sealing->accepted[events++] =
        (struct mark_entry){seen_mark(records[i].log.entity, id), records[i].log.at};
  }
  events = mark_sort(&sealing->sorter, sealing->accepted, events, 0);
  return events ? put_sorted(sealing, (unsigned)(records->rank >> 56), events) : 0;
}

/* ---- records, by entity ---- */

static int flush_draft(struct sealing *sealing, enum slice_kind kind) {
  struct sealed_draft *draft = &sealing->drafts[kind];
  if (!draft->value.len) return 0;
  int rc = output_put(sealing, kind, buf_str(&draft->key), buf_str(&draft->value));
  buf_clear(&draft->value);
  return rc;
}

static int put_half(struct sealing *sealing, enum slice_kind kind, const struct log_record *record,
                    struct str input, struct str effects) {
  sealed_put(&sealing->drafts[kind], record, input, effects);
  output_reach(&sealing->outputs[kind], record->at);
  return sealing->drafts[kind].value.len < SEALED_ENTRY_BYTES ? 0 : flush_draft(sealing, kind);
}

static int put_record(struct sealing *sealing, const struct seal_record *sealed) {
  const struct log_record *record = &sealed->log;
  bool in_log = sealed_in_log(record->type);
  int rc = 0;
  buf_clear(&sealing->decisions);
  if (sealed->decides)
    rc = history_decisions(record->type, record->effects, &sealing->decisions, sealing->err);
  if (!rc && in_log) rc = put_half(sealing, SLICE_LOG, record, record->input, STR(""));
  if (!rc && (!in_log || sealed->decides))
    rc = put_half(sealing, SLICE_LEDGER, record, in_log ? STR("") : record->input,
                  buf_str(&sealing->decisions));
  return rc;
}

static int put_owner(struct sealing *sealing, const struct seal_owner *owner) {
  int rc = 0;
  for (size_t i = 0; !rc && i < owner->count; i++) rc = put_record(sealing, &owner->records[i]);
  if (!rc) rc = flush_draft(sealing, SLICE_LOG);
  return rc ? rc : flush_draft(sealing, SLICE_LEDGER);
}

/** A record's usual length. */
static void prefetch(const uint8_t *bytes) {
  for (int line = 0; line < 6; line++) __builtin_prefetch(bytes + 64 * line);
}

/** A partition's records are more than the second cache holds. */
static void prefetch_owner(const struct seal_owner *owner) {
  for (size_t i = 0; i < owner->count && i < AHEAD; i++)
    prefetch((const uint8_t *)owner->records[i].log.input.data);
}

static int put_partition(struct sealing *sealing, size_t count) {
  struct seal_record *records = sealing->records;
  size_t owners = seal_owners(records, count, sealing->owners);
  int rc = put_marks(sealing, records, count);
  for (size_t i = 0; !rc && i < owners; i++) {
    if (i + AHEAD_OWNERS < owners) prefetch_owner(&sealing->owners[i + AHEAD_OWNERS]);
    rc = put_owner(sealing, &sealing->owners[i]);
  }
  return rc;
}

/** Make room for a partition of so many records. */
static void reserve_partition(struct sealing *sealing, size_t count) {
  if (count <= sealing->records_cap) return;
  size_t cap = sealing->records_cap = count + count / 4;
  sealing->records = memory_realloc(sealing->records, cap * sizeof *sealing->records);
  sealing->owners = memory_realloc(sealing->owners, cap * sizeof *sealing->owners);
  sealing->accepted = memory_realloc(sealing->accepted, cap * sizeof *sealing->accepted);
}

static int write_files(struct sealing *sealing) {
  const struct seal_items *items = &sealing->items;
  sealing->marks = memory_alloc(items->count * sizeof *sealing->marks);
  int rc = 0;
  for (size_t first = 0, end; !rc && first < items->count; first = end) {
    uint64_t partition = items->data[first].rank >> 56;
    for (end = first + 1; end < items->count && items->data[end].rank >> 56 == partition;) end++;
    reserve_partition(sealing, end - first);
    for (size_t i = first; i < end; i++) {
      if (i + AHEAD < items->count) prefetch(sealing->bytes + items->data[i + AHEAD].offset);
      struct seal_record *record = &sealing->records[i - first];
      record->rank = items->data[i].rank;
      record->decides = items->data[i].decides;
      log_record_get(&record->log, sealing->bytes + items->data[i].offset);
    }
    rc = put_partition(sealing, end - first);
  }
  for (int kind = 0; !rc && kind < SLICE_KINDS; kind++) rc = output_finish(sealing, kind);
  return rc || !sealing->marked ? rc : mark_writer_finish(&sealing->writer, sealing->err);
}

/* ---- taking over ---- */

static int ingest(struct sealing *sealing, enum slice_kind kind) {
  struct store *store = sealing->store;
  const struct output *output = &sealing->outputs[kind];
  if (!output->writer) return 0;
  rocksdb_column_family_handle_t *family;
  int rc = slice_obtain(store, kind, slice_start(sealing->created), &family, sealing->err);
  if (!rc) rc = store_failpoint(FAILPOINT("store.ingest"), "ingesting a sealed segment", sealing->err);
  if (rc) return rc;
  rocksdb_ingestexternalfileoptions_t *options = rocksdb_ingestexternalfileoptions_create();
  rocksdb_ingestexternalfileoptions_set_move_files(options, 1);
  char *complaint = NULL;
  const char *path = output->path;
  rocksdb_ingest_external_file_cf(store->db, family, &path, 1, options, &complaint);
  rocksdb_ingestexternalfileoptions_destroy(options);
  return store_fault(complaint, "ingesting a sealed segment", sealing->err);
}

static int place_marks(struct sealing *sealing) {
  struct store *store = sealing->store;
  if (!sealing->marked) return 0;
  int rc = store_failpoint(FAILPOINT("store.ingest"), "taking in a segment's dedup marks", sealing->err);
  if (!rc) rc = mark_writer_place(&sealing->writer, sealing->err);
  return rc ? rc
            : marks_sealed(store, sealing->writer.head.range, sealing->marks, sealing->mark_count,
                           sealing->err);
}

static void put_number(struct store *store, rocksdb_writebatch_t *batch, struct str key, uint64_t number) {
  number = htole64(number);
  rocksdb_writebatch_put_cf(batch, store->families[FAMILY_META], key.data, key.len, (const char *)&number,
                            sizeof number);
}

/** From here on these segments are sealed together or not at all. */
static int agree(struct sealing *sealing) {
  struct store *store = sealing->store;
  int rc = store_failpoint(FAILPOINT("store.ingest"), "beginning to take over sealed segments", sealing->err);
  if (rc) return rc;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  put_number(store, batch, STR("sealing"), sealing->last);
  char *complaint = NULL;
  rocksdb_write(store->db, store->synced_options, batch, &complaint);
  rocksdb_writebatch_destroy(batch);
  return store_fault(complaint, "beginning to take over sealed segments", sealing->err);
}

/** Only now are the segments sealed: before, all of it is done again. */
static int record_sealed(struct sealing *sealing) {
  struct store *store = sealing->store;
  int rc = store_failpoint(FAILPOINT("store.ingest"), "recording a sealed segment", sealing->err);
  if (rc) return rc;
  rocksdb_writebatch_t *batch = rocksdb_writebatch_create();
  for (int kind = 0; kind < SLICE_KINDS; kind++)
    if (sealing->outputs[kind].writer)
      slice_reach(store, kind, slice_start(sealing->created), sealing->outputs[kind].last_at, batch);
  put_number(store, batch, STR("sealed"), sealing->last);
  if (sealing->generation) put_number(store, batch, STR("generation"), sealing->generation);
  char *complaint = NULL;
  rocksdb_write(store->db, store->synced_options, batch, &complaint);
  rocksdb_writebatch_destroy(batch);
  return store_fault(complaint, "recording a sealed segment", sealing->err);
}

static int take_over(struct sealing *sealing) {
  int rc = 0;
  for (int kind = 0; !rc && kind < SLICE_KINDS; kind++) rc = ingest(sealing, kind);
  // Files and filter first: a mark must be found there before anyone forgets that it is in the log.
  if (!rc) rc = place_marks(sealing);
  if (!rc) rc = record_sealed(sealing);
  if (rc) return rc;
  atomic_store_explicit(&sealing->store->sealed, sealing->last, memory_order_release);
  LOG_DEBUG("store", "segments sealed", LOG_INT("last", sealing->last),
            LOG_INT("segments", (int64_t)sealing->part_count), LOG_INT("marks", sealing->mark_count));
  mark_files_merge(sealing->store);
  return 0;
}

/* ---- all of it ---- */

static void sealing_deinit(struct sealing *sealing) {
  for (int kind = 0; kind < SLICE_KINDS; kind++) output_close(&sealing->outputs[kind]);
  for (size_t i = 0; i < sizeof sealing->drafts / sizeof *sealing->drafts; i++) {
    buf_deinit(&sealing->drafts[i].key);
    buf_deinit(&sealing->drafts[i].value);
  }
  buf_deinit(&sealing->decisions);
  memory_free(sealing->records);
  memory_free(sealing->owners);
  memory_free(sealing->accepted);
  memory_free(sealing->marks);
  mark_sorter_deinit(&sealing->sorter);
  if (sealing->marked) mark_writer_close(&sealing->writer);
  seal_items_deinit(&sealing->items);
  if (sealing->bytes) munmap((void *)sealing->bytes, sealing->size);
  while (sealing->part_count) drop_part(sealing);
  memory_free(sealing->parts);
}

static int seal(struct store *store, const char *log_directory, uint64_t until, struct error *err) {
  struct sealing sealing = {.store = store, .err = err};
  for (int kind = 0; kind < SLICE_KINDS; kind++) sealing.outputs[kind].last_at = INT64_MIN;
  int rc = read_segments(&sealing, until, log_directory);
  if (!rc) {
    seal_items_sort(&sealing.items);
    rc = write_files(&sealing);
  }
  // While the database stops writes, this one waits, and who reads a history need not.
  if (!rc) rc = agree(&sealing);
  if (!rc) {
    pthread_rwlock_wrlock(&store->segments_lock); // who reads a history sees a segment in one place
    rc = take_over(&sealing);
    pthread_rwlock_unlock(&store->segments_lock);
  }
  sealing_deinit(&sealing);
  return rc;
}

/* ---- behind the events ---- */

struct errand {
  struct store *store;
  const char *log_directory;
  uint64_t until;
  int status;
  struct error *err;
};

static void *run_errand(void *context) {
  struct errand *errand = context;
  pthread_setname_np(pthread_self(), "kairos-seal");
  // At a stretch it would hold up the disk's answers to the log, and as somebody modest it would fall behind
  // when events fill the core: a fair share of it, in pieces, costs 5 to 10 % of the most that the host can
  // take, and halves the p99 of the events that come meanwhile.
  thread_prompt();
  thread_pace_prompt();
  errand->status = seal(errand->store, errand->log_directory, errand->until, errand->err);
  thread_unpace();
  return NULL;
}

static bool is_late(const char *log_directory, uint64_t number) {
  struct buf numbers;
  buf_init(&numbers);
  bool late = true;
  if (!segment_list(log_directory, &numbers, NULL)) {
    size_t count = numbers.len / sizeof(uint64_t);
    late = count && ((const uint64_t *)(const void *)numbers.data)[count - 1] > number + WAITING_MAX;
  }
  buf_deinit(&numbers);
  return late;
}

int store_seal(struct store *store, const char *log_directory, uint64_t until, struct error *err) {
  uint64_t next = store_sealed(store) + 1;
  if (until < next) return 0;
  store_know_log(store, log_directory);
  // On a thread of its own: whoever calls is woken for other things, too, and must not be paced.
  struct errand errand = {store, log_directory, until, 0, err};
  pthread_t thread;
  if (is_late(log_directory, next) || pthread_create(&thread, NULL, run_errand, &errand))
    return seal(store, log_directory, until, err);
  pthread_join(thread, NULL);
  return errand.status;
}
