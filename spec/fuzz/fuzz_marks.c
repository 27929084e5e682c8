// covers: src/state/mark_file.c src/state/mark_writer.c src/state/mark_merge.c
/* A file of dedup marks on a damaged disk. One is written as sealing writes it, then damaged; what is read of
 * it is what was written, or an error that names the file, never "not there". A page that somebody made,
 * checksum and all, may say anything, but breaks nobody who reads it. Input: entries, then damages. */
#include "fuzz.h"

#include "state/log_segment.h"
#include "state/mark_writer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { ENTRIES_MAX = 2000 };

static const struct mark_range RANGE = {2, 9}, MERGED = {1, 9};
static const _Atomic bool go_on;
static char folder[64];
static struct mark_entry entries[ENTRIES_MAX];
static unsigned partitions[ENTRIES_MAX];
static size_t entry_count;
/** A page has bytes that no writer put there, with a checksum that fits. */
static bool strange;

void fuzz_set_up(void) {
  fuzz_make_folder(folder);
}

/** Runs of entries in partitions that do not descend; some are hashes, others lie close together. */
static void take_entries(struct input *input) {
  unsigned partition = 0;
  entry_count = 0;
  for (unsigned runs = input_choice(input, 6); runs > 0; runs--) {
    unsigned step = input_u8(input), shape = input_u8(input), count = input_choice(input, 400);
    partition = partition + step < PARTITION_COUNT ? partition + step : PARTITION_COUNT - 1;
    uint64_t random = input_number(input, 4);
    for (unsigned i = 0; i < count && entry_count < ENTRIES_MAX; i++) {
      random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
      uint64_t high = shape % 4 ? random : random >> 58 << shape % 60;
      partitions[entry_count] = partition;
      entries[entry_count++] =
          (struct mark_entry){{high, shape % 3 ? i : random}, (int64_t)(random >> 40) - (shape == 7)};
    }
  }
}

static int write_file(struct error *err) {
  struct mark_writer writer;
  struct mark_sorter sorter = {0};
  int rc = mark_writer_open(&writer, folder, RANGE, err);
  size_t kept = 0;
  for (size_t first = 0, end; !rc && first < entry_count; first = end) {
    for (end = first + 1; end < entry_count && partitions[end] == partitions[first];) end++;
    size_t left = mark_sort(&sorter, entries + first, end - first, 0);
    rc = mark_writer_put(&writer, partitions[first], entries + first, left, err);
    for (size_t i = 0; i < left; i++, kept++) {
      partitions[kept] = partitions[first];
      entries[kept] = entries[first + i];
    }
  }
  entry_count = kept;
  if (!rc) rc = mark_writer_finish(&writer, err);
  if (!rc) rc = mark_writer_place(&writer, err);
  mark_writer_close(&writer);
  mark_sorter_deinit(&sorter);
  return rc;
}

/** Bytes of the input in a page, with the checksum that they need. */
static void forge(struct input *input, int descriptor, uint64_t number) {
  uint8_t page[MARK_PAGE] = {0};
  if (file_read_at(descriptor, page, sizeof page, number * MARK_PAGE) != MARK_PAGE) return;
  uint64_t at = input_number(input, 2) % (MARK_PAGE - 8);
  struct str patch = input_text(input, 48);
  memcpy(page + at, patch.data, patch.len < MARK_PAGE - 8 - at ? patch.len : MARK_PAGE - 8 - at);
  uint64_t check = htole64(mark_page_check(RANGE, number, page));
  memcpy(page + MARK_PAGE - 8, &check, sizeof check);
  if (file_write_at(descriptor, page, sizeof page, number * MARK_PAGE)) abort();
  strange = true;
}

static void damage(struct input *input, const char *path) {
  int descriptor = open(path, O_RDWR);
  if (descriptor < 0) abort();
  uint64_t size = (uint64_t)lseek(descriptor, 0, SEEK_END);
  uint8_t how = input_u8(input);
  uint64_t at = size ? input_number(input, 3) % size : 0;
  uint8_t byte;
  switch (how % 4) {
  case 0:
    if (file_read_at(descriptor, &byte, 1, at) != 1) break;
    byte ^= (uint8_t)(1u << (how / 4 % 8));
    if (file_write_at(descriptor, &byte, 1, at)) abort();
    break;
  case 1:
    if (ftruncate(descriptor, (off_t)at)) abort();
    break;
  case 2:
    if (ftruncate(descriptor, (off_t)at) || ftruncate(descriptor, (off_t)size)) abort();
    break;
  default:
    forge(input, descriptor, at / MARK_PAGE);
  }
  close(descriptor);
}

static void check_code(int rc, const struct error *err) {
  HOLDS(rc == 0 || rc == ERROR_CORRUPT || rc == ERROR_VERSION, "%d", rc);
  HOLDS(rc == 0 || strstr(err->message, folder), "%s", err->message);
}

static void look_up_all(const struct mark_file *file) {
  struct mark_page page = {0};
  struct error err = {0};
  int64_t at;
  for (size_t i = 0; i < entry_count; i++) {
    int rc = mark_file_find(file, partitions[i], entries[i].mark, &page, &at, &err);
    if (strange) continue;
    HOLDS(rc != 0, "entry %zu is said not to be there", i);
    if (rc == 1)
      HOLDS(at == entries[i].at, "entry %zu", i);
    else
      check_code(rc, &err);
    struct hash128 other = {entries[i].mark.high, entries[i].mark.low ^ UINT64_C(1) << 63};
    HOLDS(mark_file_find(file, partitions[i], other, &page, &at, &err) <= 0);
  }
}

static int read_all(const struct mark_file *file) {
  struct mark_cursor cursor;
  struct error err = {0};
  size_t read = 0;
  int count;
  mark_cursor_init(&cursor, file);
  while ((count = mark_cursor_next(&cursor, &err)) > 0) {
    HOLDS(count <= MARK_PAGE_ENTRIES);
    for (int i = 0; !strange && i < count; i++, read++)
      HOLDS(read < entry_count && hash128_equal(cursor.page.entries[i].mark, entries[read].mark) &&
            cursor.page.entries[i].at == entries[read].at);
  }
  check_code(count, &err);
  HOLDS(count < 0 || strange || read == entry_count);
  mark_cursor_deinit(&cursor);
  return count;
}

/** With itself: as many, unless some of it cannot be read. */
static void merge(struct mark_file *file, int readable) {
  struct mark_file *files[] = {file, file};
  struct error err = {0};
  struct mark_writer writer;
  HOLDS(mark_writer_open(&writer, folder, MERGED, &err) == 0, "%s", err.message);
  int rc = mark_merge(&writer, files, 2, INT64_MIN, &go_on, &err);
  check_code(rc, &err);
  if (!strange) HOLDS(rc == readable && (rc || writer.head.count == entry_count));
  mark_writer_close(&writer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct error err = {0};
  struct mark_file *file;
  char name[MARK_NAME_MAX], path[128];
  mark_file_name(RANGE, name);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  strange = false;
  take_entries(&input);
  HOLDS(write_file(&err) == 0, "%s", err.message);
  for (unsigned damages = input_choice(&input, 3); damages > 0; damages--) damage(&input, path);
  int rc = mark_file_open(&file, folder, RANGE, &err);
  check_code(rc, &err);
  HOLDS((rc == 0) == (file != NULL));
  if (rc) return 0;
  look_up_all(file);
  merge(file, read_all(file));
  mark_file_unref(file);
  return 0;
}

void fuzz_seeds(void) {
  for (unsigned i = 0; i < 16; i++) {
    struct buf seed;
    buf_init(&seed);
    uint64_t random = i * 77 + 1;
    for (unsigned j = 0; j < 24 + 6 * i; j++) {
      random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
      buf_put_u8(&seed, (uint8_t)(random >> 56));
    }
    fuzz_seed(buf_str(&seed));
    buf_deinit(&seed);
  }
}
