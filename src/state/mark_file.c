#include "state/mark_file.h"

#include "base/buf.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "state/log_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  VERSION = 1,
  CHECK_AT = MARK_PAGE - 8,
  ENTRY_BYTES = 24,
  AHEAD_PAGES = 16,
  NEIGHBOURS = 2 /**< pages beside the expected one that are tried before bisection */
};
_Static_assert(MARK_PAGE_ENTRIES == CHECK_AT / ENTRY_BYTES, "as many as fit");
_Static_assert(56 + 8 * PARTITION_COUNT <= CHECK_AT, "a header is one page");

static const char magic[8] = "KAIROSMK";

/* ---- names ---- */

void mark_file_name(struct mark_range range, char out[MARK_NAME_MAX]) {
  snprintf(out, MARK_NAME_MAX, "%016" PRIx64 "-%016" PRIx64 ".marks", range.first, range.last);
}

bool mark_file_parse(const char *name, struct mark_range *range) {
  char again[MARK_NAME_MAX];
  if (sscanf(name, "%16" SCNx64 "-%16" SCNx64, &range->first, &range->last) != 2) return false;
  mark_file_name(*range, again);
  return strcmp(name, again) == 0 && range->first <= range->last;
}

/* ---- pages ---- */

uint64_t mark_page_check(struct mark_range range, uint64_t number, const uint8_t page[MARK_PAGE]) {
  uint64_t seed = (range.first * 0x9e3779b97f4a7c15u ^ range.last) * 0x9e3779b97f4a7c15u ^ number;
  return hash64((struct str){(const char *)page, CHECK_AT}, seed);
}

static void put_u64(uint8_t *at, uint64_t value) {
  value = htole64(value);
  memcpy(at, &value, sizeof value);
}

static uint64_t get_u64(const uint8_t *at) {
  uint64_t value;
  memcpy(&value, at, sizeof value);
  return le64toh(value);
}

void mark_page_put(struct mark_range range, uint64_t number, const struct mark_entry *entries, size_t count,
                   uint8_t page[MARK_PAGE]) {
  uint8_t *at = page;
  for (size_t i = 0; i < count; i++, at += ENTRY_BYTES) {
    put_u64(at, entries[i].mark.high);
    put_u64(at + 8, entries[i].mark.low);
    put_u64(at + 16, (uint64_t)entries[i].at);
  }
  memset(at, 0, (size_t)(page + MARK_PAGE - at));
  put_u64(page + CHECK_AT, mark_page_check(range, number, page));
}

static void read_entries(const uint8_t page[MARK_PAGE], struct mark_entry entries[MARK_PAGE_ENTRIES]) {
  for (size_t i = 0; i < MARK_PAGE_ENTRIES; i++, page += ENTRY_BYTES)
    entries[i] = (struct mark_entry){{get_u64(page), get_u64(page + 8)}, (int64_t)get_u64(page + 16)};
}

void mark_head_put(const struct mark_head *head, uint8_t page[MARK_PAGE]) {
  memset(page, 0, MARK_PAGE);
  memcpy(page, magic, sizeof magic);
  put_u64(page + 8, VERSION | (uint64_t)MARK_PAGE << 32);
  put_u64(page + 16, head->range.first);
  put_u64(page + 24, head->range.last);
  put_u64(page + 32, head->count);
  put_u64(page + 40, (uint64_t)head->oldest);
  put_u64(page + 48, (uint64_t)head->newest);
  for (int i = 0; i < PARTITION_COUNT; i++) put_u64(page + 56 + 8 * i, head->starts[i]);
  put_u64(page + CHECK_AT, mark_page_check(head->range, 0, page));
}

static uint64_t pages_of(uint64_t count) {
  return count / MARK_PAGE_ENTRIES + (count % MARK_PAGE_ENTRIES != 0);
}

uint64_t mark_file_bytes(const struct mark_file *file) {
  return (1 + pages_of(file->head.count)) * MARK_PAGE;
}

static int head_get(struct mark_file *file, struct mark_range range, const uint8_t page[MARK_PAGE],
                    struct error *err) {
  struct mark_head *head = &file->head;
  if (memcmp(page, magic, sizeof magic) != 0)
    return error_set(err, ERROR_CORRUPT, "%s: does not begin as a file of dedup marks", file->path);
  uint64_t version = get_u64(page + 8) & UINT32_MAX;
  if (version > VERSION)
    return error_set(err, ERROR_VERSION,
                     "%s: written in version %" PRIu64 " of its form; this one reads version %d", file->path,
                     version, VERSION);
  *head = (struct mark_head){{get_u64(page + 16), get_u64(page + 24)},
                             get_u64(page + 32),
                             (int64_t)get_u64(page + 40),
                             (int64_t)get_u64(page + 48),
                             {0}};
  bool good = get_u64(page + CHECK_AT) == mark_page_check(range, 0, page) &&
              head->range.first == range.first && head->range.last == range.last &&
              get_u64(page + 8) >> 32 == MARK_PAGE;
  head->starts[PARTITION_COUNT] = head->count;
  for (int i = PARTITION_COUNT; good && i-- > 0;) {
    head->starts[i] = get_u64(page + 56 + 8 * i);
    good = head->starts[i] <= head->starts[i + 1];
  }
  if (!good || head->starts[0] != 0)
    return error_set(err, ERROR_CORRUPT, "%s: its header does not check out", file->path);
  return 0;
}

/* ---- opening ---- */

static int read_head(struct mark_file *file, struct mark_range range, struct error *err) {
  uint8_t page[MARK_PAGE];
  struct stat info;
  int failure = FAILPOINT("store.mark_read");
  int64_t got = failure ? -1 : file_read_at(file->descriptor, page, sizeof page, 0);
  if (got < 0 || fstat(file->descriptor, &info))
    return error_set_errno(err, failure ? failure : errno, "%s: cannot be read", file->path);
  if (got < MARK_PAGE) return error_set(err, ERROR_CORRUPT, "%s: shorter than its header", file->path);
  int rc = head_get(file, range, page, err);
  if (rc) return rc;
  if (file->head.count > INT64_MAX / ENTRY_BYTES / 2 || (uint64_t)info.st_size != mark_file_bytes(file))
    return error_set(err, ERROR_CORRUPT, "%s: %lld bytes long, which is not what its %" PRIu64 " marks take",
                     file->path, (long long)info.st_size, file->head.count);
  return 0;
}

int mark_file_open(struct mark_file **out, const char *directory, struct mark_range range,
                   struct error *err) {
  char name[MARK_NAME_MAX];
  struct buf path;
  buf_init(&path);
  mark_file_name(range, name);
  buf_printf(&path, "%s/%s", directory, name);
  struct mark_file *file = memory_zalloc(sizeof *file);
  file->path = memory_dup((const char *)path.data, path.len);
  buf_deinit(&path);
  atomic_init(&file->refs, 1);
  *out = NULL;
  file->descriptor = open(file->path, O_RDONLY | O_CLOEXEC);
  int rc = file->descriptor < 0 ? error_set_errno(err, errno, "%s: cannot be opened", file->path)
                                : read_head(file, range, err);
  if (rc)
    mark_file_unref(file);
  else
    *out = file;
  return rc;
}

struct mark_file *mark_file_ref(struct mark_file *file) {
  atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
  return file;
}

void mark_file_unref(struct mark_file *file) {
  if (!file || atomic_fetch_sub_explicit(&file->refs, 1, memory_order_acq_rel) != 1) return;
  if (file->descriptor >= 0) close(file->descriptor);
  memory_free(file->path);
  memory_free(file);
}

/* ---- reading ---- */

static int damaged(const struct mark_file *file, uint64_t number, struct error *err) {
  return error_set(err, ERROR_CORRUPT, "%s: the page at byte %" PRIu64 " does not check out", file->path,
                   number * MARK_PAGE);
}

static int take_page(const struct mark_file *file, uint64_t number, const uint8_t bytes[MARK_PAGE],
                     struct mark_page *page, struct error *err) {
  page->file = NULL;
  if (get_u64(bytes + CHECK_AT) != mark_page_check(file->head.range, number, bytes))
    return damaged(file, number, err);
  read_entries(bytes, page->entries);
  page->file = file;
  page->number = number;
  return 0;
}

/** @return bytes: less than asked for where the file ends; or a code. */
static int64_t read_pages(const struct mark_file *file, uint64_t number, uint8_t *out, size_t len,
                          struct error *err) {
  int failure = FAILPOINT("store.mark_read");
  int64_t got = failure ? -1 : file_read_at(file->descriptor, out, len, number * MARK_PAGE);
  return got < 0 ? error_set_errno(err, failure ? failure : errno, "%s: cannot be read", file->path) : got;
}

static int read_page(const struct mark_file *file, uint64_t number, struct mark_page *page,
                     struct error *err) {
  if (page->file == file && page->number == number) return 0;
  uint8_t bytes[MARK_PAGE];
  int64_t got = read_pages(file, number, bytes, sizeof bytes, err);
  if (got < 0) return (int)got;
  return got < MARK_PAGE ? damaged(file, number, err) : take_page(file, number, bytes, page, err);
}

static int compare(struct hash128 a, struct hash128 b) {
  if (a.high != b.high) return a.high < b.high ? -1 : 1;
  return a.low < b.low ? -1 : a.low > b.low;
}

/** Where the entry is among so many sorted ones. @return null if it is not. */
static const struct mark_entry *find_among(const struct mark_entry *entries, size_t count,
                                           struct hash128 mark) {
  while (count) {
    size_t middle = count / 2;
    int order = compare(mark, entries[middle].mark);
    if (order == 0) return &entries[middle];
    if (order > 0) {
      entries += middle + 1;
      count -= middle + 1;
    } else {
      count = middle;
    }
  }
  return NULL;
}

int mark_file_find(const struct mark_file *file, unsigned partition, struct hash128 mark,
                   struct mark_page *page, int64_t *at, struct error *err) {
  uint64_t low = file->head.starts[partition], high = file->head.starts[partition + 1];
  // Expected here. If it is not in this page, it is in the next to it; and if marks are no hashes, anywhere.
  uint64_t guess = low + (uint64_t)((unsigned __int128)mark.high * (high - low) >> 64);
  for (int tried = 0; low < high; tried++) {
    uint64_t number = guess / MARK_PAGE_ENTRIES, begin = number * MARK_PAGE_ENTRIES;
    int rc = read_page(file, 1 + number, page, err);
    if (rc) return rc;
    size_t from = low > begin ? (size_t)(low - begin) : 0;
    size_t to = high - begin < MARK_PAGE_ENTRIES ? (size_t)(high - begin) : MARK_PAGE_ENTRIES;
    bool below = compare(mark, page->entries[from].mark) < 0;
    if (!below && compare(mark, page->entries[to - 1].mark) <= 0) {
      const struct mark_entry *found = find_among(page->entries + from, to - from, mark);
      if (found) *at = found->at;
      return found != NULL;
    }
    if (below)
      high = begin + from;
    else
      low = begin + to;
    guess = tried >= NEIGHBOURS || low >= high ? low + (high - low) / 2 : below ? high - 1 : low;
  }
  return 0;
}

/* ---- all of it ---- */

void mark_cursor_init(struct mark_cursor *cursor, const struct mark_file *file) {
  cursor->file = file;
  cursor->next = 0;
  cursor->page.file = NULL;
  cursor->ahead = memory_alloc(AHEAD_PAGES * MARK_PAGE);
  cursor->ahead_at = cursor->ahead_len = 0;
}

void mark_cursor_deinit(struct mark_cursor *cursor) {
  memory_free(cursor->ahead);
}

int mark_cursor_next(struct mark_cursor *cursor, struct error *err) {
  const struct mark_file *file = cursor->file;
  uint64_t number = 1 + cursor->next / MARK_PAGE_ENTRIES, left = file->head.count - cursor->next;
  if (!left) return 0;
  if (cursor->ahead_at == cursor->ahead_len) {
    int64_t got = read_pages(file, number, cursor->ahead, AHEAD_PAGES * MARK_PAGE, err);
    // One that cannot be read is not to take those before it along.
    if (got < 0) got = read_pages(file, number, cursor->ahead, MARK_PAGE, err);
    if (got < 0) return (int)got;
    if (got < MARK_PAGE) return damaged(file, number, err);
    cursor->ahead_at = 0;
    cursor->ahead_len = (size_t)got / MARK_PAGE * MARK_PAGE;
  }
  int rc = take_page(file, number, cursor->ahead + cursor->ahead_at, &cursor->page, err);
  if (rc) return rc;
  cursor->ahead_at += MARK_PAGE;
  int count = left < MARK_PAGE_ENTRIES ? (int)left : MARK_PAGE_ENTRIES;
  cursor->next += (uint64_t)count;
  return count;
}

void mark_cursor_skip(struct mark_cursor *cursor) {
  uint64_t left = cursor->file->head.count - cursor->next;
  if (cursor->ahead_at < cursor->ahead_len) cursor->ahead_at += MARK_PAGE;
  cursor->next += left < MARK_PAGE_ENTRIES ? left : MARK_PAGE_ENTRIES;
}
