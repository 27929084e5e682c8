/** A file of dedup marks: marks with the time of their acceptance, sorted, never changed once it has its
 * name.
 *
 * Pages of 4 KB. The first is the header: magic:8 version:u32 size of a page:u32 first and last segment:u64
 * count:u64 oldest and newest time:i64, then for each of the 256 partitions the number of its first
 * entry:u64. In the others 170 entries each, mark:16 time:i64, by partition, then by mark; the last one is
 * filled up with zeroes. A page ends with its checksum (XXH3, base/hash.h), seeded with the file's segments
 * and the page's number, so that no page passes for another.
 *
 * Marks are hashes, so where one lies follows from its value: looking it up reads one page or two
 * (interpolation search), and nothing but the header is kept in memory, 2 KB a file. Read with pread(): a
 * disk that fails gives an error, where mapped memory would end the process.
 */
#pragma once

#include "base/error.h"
#include "base/hash.h"
#include "event/event.h"

#include <stdatomic.h>

enum {
  MARK_PAGE = 4096,
  MARK_PAGE_ENTRIES = 170,
  MARK_NAME_MAX = 48 /**< of a file's name, its terminator included */
};

struct mark_entry {
  struct hash128 mark; /**< seen_mark() */
  int64_t at;          /**< accepted, wall clock, ms */
};

/** The log's segments that a file's marks come from, both included. */
struct mark_range {
  uint64_t first, last;
};
static inline bool mark_range_covers(struct mark_range range, struct mark_range other) {
  return range.first <= other.first && other.last <= range.last;
}

struct mark_head {
  struct mark_range range;
  uint64_t count;
  int64_t oldest, newest;               /**< of all times; 0 without an entry */
  uint64_t starts[PARTITION_COUNT + 1]; /**< number of each partition's first entry; then the count */
};

struct mark_file {
  struct mark_head head;
  int descriptor;
  char *path;
  _Atomic unsigned refs;
  _Atomic bool spoiled; /**< a merge could not read it: none takes it again until it is opened anew */
};

/** "0000000000000001-0000000000000010.marks". */
void mark_file_name(struct mark_range range, char out[MARK_NAME_MAX]);
/** @return whether it is such a name. */
bool mark_file_parse(const char *name, struct mark_range *range);

/** @return 0 with a file that holds one reference, ERROR_VERSION for one of a newer version, ERROR_CORRUPT
 * for a header that does not check out, ERROR_IO. Messages name the file. Blocking; any thread, as all below.
 */
int mark_file_open(struct mark_file **out, const char *directory, struct mark_range range, struct error *err);
struct mark_file *mark_file_ref(struct mark_file *file);
/** The last one closes it, wherever its name went. Null is fine. */
void mark_file_unref(struct mark_file *file);
uint64_t mark_file_bytes(const struct mark_file *file);

/** One page, as who looks up brings it: it keeps what was read last. */
struct mark_page {
  const struct mark_file *file; /**< null: nothing yet */
  uint64_t number;
  struct mark_entry entries[MARK_PAGE_ENTRIES];
};
/** @return 1 with the time of its acceptance, 0 if it is not there, or ERROR_CORRUPT, ERROR_IO. */
int mark_file_find(const struct mark_file *file, unsigned partition, struct hash128 mark,
                   struct mark_page *page, int64_t *at, struct error *err);

/** All entries, in order. */
struct mark_cursor {
  const struct mark_file *file; /**< borrowed */
  uint64_t next;                /**< number of the first entry of the next page */
  struct mark_page page;
  uint8_t *ahead; /**< pages read at once */
  size_t ahead_at, ahead_len;
};
void mark_cursor_init(struct mark_cursor *cursor, const struct mark_file *file);
void mark_cursor_deinit(struct mark_cursor *cursor);
/** The next page's entries, in cursor->page.entries. @return how many, 0 behind the last, or ERROR_CORRUPT,
 * ERROR_IO. */
int mark_cursor_next(struct mark_cursor *cursor, struct error *err);
/** After a failure: go on behind the page that cannot be read. */
void mark_cursor_skip(struct mark_cursor *cursor);

/* ---- the form, for who writes (mark_writer.h) and who tests ---- */

/** Both end the page with its checksum. @param number  of the page, the first one with entries is 1.
 * @param count  up to MARK_PAGE_ENTRIES */
void mark_head_put(const struct mark_head *head, uint8_t page[MARK_PAGE]);
void mark_page_put(struct mark_range range, uint64_t number, const struct mark_entry *entries, size_t count,
                   uint8_t page[MARK_PAGE]);
/** The checksum of a page's other bytes; it takes the last 8. */
uint64_t mark_page_check(struct mark_range range, uint64_t number, const uint8_t page[MARK_PAGE]);
