#include "state/mark_writer.h"

#include "base/buf.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "state/log_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum {
  TOGETHER = 64 * MARK_PAGE, /**< written at a time */
  PLACE_BITS = 16,
  FEW = 24 /**< sorted by insertion */
};

/* ---- sorting ---- */

void mark_sorter_deinit(struct mark_sorter *sorter) {
  memory_free(sorter->spare);
  memory_free(sorter->places);
}

static int compare_entries(const void *a, const void *b) {
  const struct mark_entry *left = a, *right = b;
  if (left->mark.high != right->mark.high) return left->mark.high < right->mark.high ? -1 : 1;
  if (left->mark.low != right->mark.low) return left->mark.low < right->mark.low ? -1 : 1;
  return left->at < right->at ? -1 : left->at > right->at;
}

static void sort_few(struct mark_entry *entries, size_t count) {
  if (count > FEW) { // of hashes never so many
    qsort(entries, count, sizeof *entries, compare_entries);
    return;
  }
  for (size_t i = 1; i < count; i++) {
    struct mark_entry moved = entries[i];
    size_t at = i;
    for (; at > 0 && compare_entries(&entries[at - 1], &moved) > 0; at--) entries[at] = entries[at - 1];
    entries[at] = moved;
  }
}

static void reserve(struct mark_sorter *sorter, size_t count) {
  if (!sorter->places) sorter->places = memory_alloc(((1 << PLACE_BITS) + 1) * sizeof *sorter->places);
  if (count <= sorter->cap) return;
  sorter->cap = count + count / 2;
  memory_free(sorter->spare);
  sorter->spare = memory_alloc(sorter->cap * sizeof *sorter->spare);
}

/** Hashes are where their first bits say, up to a few: one pass puts them there. */
size_t mark_sort(struct mark_sorter *sorter, struct mark_entry *entries, size_t count, unsigned shared) {
  if (!count) return 0;
  unsigned bits = 1;
  while (bits < PLACE_BITS && (size_t)2 << bits <= count) bits++;
  reserve(sorter, count);
  uint32_t *places = sorter->places;
  struct mark_entry *sorted = sorter->spare;
  memset(places, 0, (((size_t)1 << bits) + 1) * sizeof *places);
#define PLACE(entry) ((entry).mark.high << shared >> (64 - bits))
  for (size_t i = 0; i < count; i++) places[PLACE(entries[i]) + 1]++;
  for (size_t i = 1; i <= (size_t)1 << bits; i++) places[i] += places[i - 1];
  for (size_t i = 0; i < count; i++) sorted[places[PLACE(entries[i])]++] = entries[i];
  // Each place now says where the next one begins.
  for (size_t i = 0, begin = 0; i < (size_t)1 << bits; begin = places[i++])
    if (places[i] - begin > 1) sort_few(sorted + begin, places[i] - begin);
#undef PLACE
  size_t left = 0;
  for (size_t i = 0; i < count; i++)
    if (i + 1 == count || !hash128_equal(sorted[i].mark, sorted[i + 1].mark)) entries[left++] = sorted[i];
  return left;
}

/* ---- writing ---- */

static char *join(const char *directory, const char *name, const char *end) {
  struct buf path;
  buf_init(&path);
  buf_printf(&path, "%s/%s%s", directory, name, end);
  char *text = memory_dup((const char *)path.data, path.len);
  buf_deinit(&path);
  return text;
}

int mark_writer_open(struct mark_writer *writer, const char *directory, struct mark_range range,
                     struct error *err) {
  char name[MARK_NAME_MAX];
  mark_file_name(range, name);
  *writer = (struct mark_writer){.head = {.range = range},
                                 .path = join(directory, name, ""),
                                 .made_path = join(directory, name, ".new"),
                                 .pages = memory_alloc(TOGETHER),
                                 .offset = MARK_PAGE};
  writer->descriptor = open(writer->made_path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
  return writer->descriptor < 0 ? error_set_errno(err, errno, "%s: cannot be made", writer->made_path) : 0;
}

static int write_bytes(struct mark_writer *writer, const uint8_t *bytes, size_t len, uint64_t offset,
                       struct error *err) {
  int failure = FAILPOINT("store.mark_write");
  if (!failure && file_write_at(writer->descriptor, bytes, len, offset)) failure = errno;
  return failure ? error_set_errno(err, failure, "%s: cannot be written", writer->made_path) : 0;
}

static int flush_pages(struct mark_writer *writer, struct error *err) {
  if (!writer->pages_len) return 0;
  int rc = write_bytes(writer, writer->pages, writer->pages_len, writer->offset, err);
  if (rc) return rc;
  // On its way to the disk from now on: all of a large file at once would hold up the log's own syncs.
  (void)sync_file_range(writer->descriptor, (off_t)writer->offset, (off_t)writer->pages_len,
                        SYNC_FILE_RANGE_WRITE);
  writer->offset += writer->pages_len;
  writer->pages_len = 0;
  return 0;
}

static int put_page(struct mark_writer *writer, struct error *err) {
  int rc = writer->pages_len == TOGETHER ? flush_pages(writer, err) : 0;
  if (rc || !writer->entry_count) return rc;
  mark_page_put(writer->head.range, (writer->offset + writer->pages_len) / MARK_PAGE, writer->entries,
                writer->entry_count, writer->pages + writer->pages_len);
  writer->pages_len += MARK_PAGE;
  writer->entry_count = 0;
  return 0;
}

static void begin_partition(struct mark_writer *writer, unsigned partition) {
  while (writer->partition < partition) writer->head.starts[++writer->partition] = writer->head.count;
}

int mark_writer_put(struct mark_writer *writer, unsigned partition, const struct mark_entry *entries,
                    size_t count, struct error *err) {
  struct mark_head *head = &writer->head;
  begin_partition(writer, partition);
  for (size_t i = 0; i < count; i++) {
    int64_t at = entries[i].at;
    if (!head->count || at < head->oldest) head->oldest = at;
    if (!head->count || at > head->newest) head->newest = at;
    head->count++;
    writer->entries[writer->entry_count++] = entries[i];
    int rc = writer->entry_count == MARK_PAGE_ENTRIES ? put_page(writer, err) : 0;
    if (rc) return rc;
  }
  return 0;
}

int mark_writer_finish(struct mark_writer *writer, struct error *err) {
  begin_partition(writer, PARTITION_COUNT);
  int rc = put_page(writer, err);
  if (!rc) rc = flush_pages(writer, err);
  if (rc) return rc;
  mark_head_put(&writer->head, writer->pages);
  if ((rc = write_bytes(writer, writer->pages, MARK_PAGE, 0, err))) return rc;
  int failure = FAILPOINT("store.mark_sync");
  if (!failure && fsync(writer->descriptor)) failure = errno;
  return failure ? error_set_errno(err, failure, "%s: cannot be synced", writer->made_path) : 0;
}

int mark_writer_place(struct mark_writer *writer, struct error *err) {
  int failure = FAILPOINT("store.mark_place");
  if (!failure && rename(writer->made_path, writer->path)) failure = errno;
  if (failure) return error_set_errno(err, failure, "%s: cannot be renamed", writer->made_path);
  writer->placed = true;
  char *directory = memory_dup(writer->path, (size_t)(strrchr(writer->path, '/') - writer->path));
  if (directory_sync(directory)) failure = errno;
  memory_free(directory);
  return failure ? error_set_errno(err, failure, "%s: its name cannot be synced", writer->path) : 0;
}

void mark_writer_close(struct mark_writer *writer) {
  if (writer->descriptor >= 0) {
    close(writer->descriptor);
    if (!writer->placed) unlink(writer->made_path);
  }
  memory_free(writer->path);
  memory_free(writer->made_path);
  memory_free(writer->pages);
}
