// links: base event state
/* Files of dedup marks: what is put in is found, however it lies; what is damaged is never believed. */
#include "store_support.h"

#include "state/mark_writer.h"

#include <errno.h>
#include <fcntl.h>

static const struct mark_range RANGE = {3, 7};
static const _Atomic bool go_on;

static uint64_t random_next(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static struct mark_entry random_entry(void) {
  return (struct mark_entry){{random_next(), random_next()}, (int64_t)(random_next() % 1000000)};
}

/** A file of these entries, each partition's sorted here. `counts` are the partitions' numbers of entries. */
static struct mark_file *make_file(struct mark_range range, struct mark_entry *entries,
                                   const size_t counts[PARTITION_COUNT]) {
  struct error err = {0};
  struct mark_writer writer;
  struct mark_sorter sorter = {0};
  struct mark_file *file = NULL;
  int rc = mark_writer_open(&writer, support_directory, range, &err);
  for (unsigned partition = 0; !rc && partition < PARTITION_COUNT; partition++) {
    size_t left = mark_sort(&sorter, entries, counts[partition], 0);
    if (counts[partition]) rc = mark_writer_put(&writer, partition, entries, left, &err);
    entries += counts[partition];
  }
  if (!rc) rc = mark_writer_finish(&writer, &err);
  if (!rc) rc = mark_writer_place(&writer, &err);
  mark_writer_close(&writer);
  mark_sorter_deinit(&sorter);
  if (!rc) rc = mark_file_open(&file, support_directory, range, &err);
  if (rc) fail_msg("%s", err.message);
  return file;
}

/** @return when it was accepted, -1 for never */
static int64_t find(const struct mark_file *file, unsigned partition, struct hash128 mark) {
  static struct mark_page page;
  struct error err = {0};
  int64_t at = -1;
  page.file = NULL;
  int rc = mark_file_find(file, partition, mark, &page, &at, &err);
  if (rc < 0) fail_msg("%s", err.message);
  assert_int_equal(rc, at >= 0);
  return at;
}

static void all_are_found_and_no_others(const size_t counts[PARTITION_COUNT]) {
  size_t sum = 0;
  for (int i = 0; i < PARTITION_COUNT; i++) sum += counts[i];
  struct mark_entry *entries = malloc((sum + 1) * sizeof *entries);
  for (size_t i = 0; i < sum; i++) entries[i] = random_entry();
  struct mark_file *file = make_file(RANGE, entries, counts);
  assert_int_equal(file->head.count, sum);
  struct mark_cursor cursor;
  struct error err;
  mark_cursor_init(&cursor, file);
  size_t at = 0;
  for (int count; (count = mark_cursor_next(&cursor, &err)); at += (size_t)count) {
    assert_true(count > 0);
    for (int i = 0; i < count; i++)
      assert_true(hash128_equal(cursor.page.entries[i].mark, entries[at + (size_t)i].mark));
  }
  assert_int_equal(at, sum);
  mark_cursor_deinit(&cursor);
  at = 0;
  for (unsigned partition = 0; partition < PARTITION_COUNT; partition++) {
    for (size_t i = 0; i < counts[partition]; i++, at++) {
      assert_int_equal(find(file, partition, entries[at].mark), entries[at].at);
      assert_int_equal(find(file, (partition + 1) % PARTITION_COUNT, entries[at].mark), -1);
      struct hash128 near = {entries[at].mark.high, entries[at].mark.low + 1};
      assert_int_equal(find(file, partition, near), -1);
    }
    assert_int_equal(find(file, partition, (struct hash128){0, 0}), -1);
    assert_int_equal(find(file, partition, (struct hash128){UINT64_MAX, UINT64_MAX}), -1);
  }
  mark_file_unref(file);
  free(entries);
}

static void what_is_put_in_is_found(void **state) {
  (void)state;
  static const size_t sizes[] = {0, 1, 2, 169, 170, 171, 339, 340, 341, 5000};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    size_t counts[PARTITION_COUNT] = {0};
    counts[i * 28] = sizes[i]; // the first of them, too, and most are empty
    all_are_found_and_no_others(counts);
    counts[255] = 3;
    all_are_found_and_no_others(counts);
  }
  size_t counts[PARTITION_COUNT];
  for (int i = 0; i < PARTITION_COUNT; i++) counts[i] = random_next() % 90;
  all_are_found_and_no_others(counts);
}

/** Whoever makes marks that are no hashes makes look-ups slow, and no more. */
static void marks_that_lie_close_together_are_found(void **state) {
  (void)state;
  enum { COUNT = 20000 };
  struct mark_entry *entries = malloc(COUNT * sizeof *entries);
  for (int bunch = 0; bunch < 3; bunch++) {
    size_t counts[PARTITION_COUNT] = {[9] = COUNT};
    for (uint64_t i = 0; i < COUNT; i++)
      entries[i] = (struct mark_entry){{bunch == 0   ? 5
                                        : bunch == 1 ? UINT64_MAX - i
                                                     : i * i * i * i,
                                        i * 7},
                                       (int64_t)i};
    struct mark_file *file = make_file(RANGE, entries, counts);
    for (int i = 0; i < COUNT; i += 13) assert_int_equal(find(file, 9, entries[i].mark), entries[i].at);
    mark_file_unref(file);
  }
  free(entries);
}

static void of_equal_marks_the_latest_stays(void **state) {
  (void)state;
  enum { COUNT = 3000 };
  struct mark_entry entries[COUNT];
  struct mark_sorter sorter = {0};
  for (unsigned shared = 0; shared < 10; shared += 3) {
    for (int i = 0; i < COUNT; i++) {
      entries[i] = random_entry();
      if (shared) entries[i].mark.high = entries[i].mark.high >> shared | UINT64_C(1) << (64 - shared);
      entries[i].at = i;
      if (i >= 1000 && i < 2000) entries[i].mark = entries[i - 1000].mark;
      if (i >= 2500) entries[i].mark = entries[7].mark; // more than are usually in one place
    }
    assert_int_equal(mark_sort(&sorter, entries, COUNT, shared), 1500);
    for (int i = 0; i < 1500; i++) {
      assert_true(entries[i].at >= 1000 && entries[i].at != 1007);
      if (i == 0) continue;
      assert_true(entries[i - 1].mark.high < entries[i].mark.high ||
                  (entries[i - 1].mark.high == entries[i].mark.high &&
                   entries[i - 1].mark.low < entries[i].mark.low));
    }
  }
  assert_int_equal(mark_sort(&sorter, entries, 0, 0), 0);
  mark_sorter_deinit(&sorter);
}

static int merge(struct mark_range range, struct mark_file *const *files, size_t count, int64_t since,
                 struct mark_file **out, struct error *err) {
  struct mark_writer writer;
  *out = NULL;
  int rc = mark_writer_open(&writer, support_directory, range, err);
  if (!rc) rc = mark_merge(&writer, files, count, since, &go_on, err);
  if (!rc) rc = mark_writer_finish(&writer, err);
  if (!rc) rc = mark_writer_place(&writer, err);
  mark_writer_close(&writer);
  return rc ? rc : mark_file_open(out, support_directory, range, err);
}

static void merged_files_hold_what_each_held(void **state) {
  (void)state;
  enum { FILES = 5, COUNT = 60000, SINCE = 500000 };
  struct mark_file *files[FILES], *merged;
  struct mark_entry *entries = malloc(FILES * COUNT * sizeof *entries);
  size_t counts[PARTITION_COUNT] = {[0] = 300, [7] = COUNT - 301, [255] = 1};
  for (int i = 0; i < FILES; i++) {
    struct mark_entry *own = entries + i * COUNT;
    for (int j = 0; j < COUNT; j++) {
      own[j] = random_entry();
      if (i == 1 && j < 200) own[j].mark = entries[j].mark; // of its partition; the first file's are sorted
    }
    uint64_t segment = (uint64_t)i + 1;
    files[i] = make_file((struct mark_range){segment, segment}, own, counts);
  }
  struct error err = {0};
  int rc = merge((struct mark_range){1, FILES}, files, FILES, SINCE, &merged, &err);
  if (rc) fail_msg("%s", err.message);
  uint64_t kept = 0, twice = 0;
  for (int i = 0; i < FILES * COUNT; i++) {
    int place = i % COUNT;
    unsigned partition = place < 300 ? 0 : place < COUNT - 1 ? 7 : 255;
    int64_t latest = -1;
    for (int j = 0; j < 2; j++) {
      int64_t at = find(files[j], partition, entries[i].mark);
      if (at > latest) latest = at;
      twice += j == 1 && i < COUNT && at >= 0 && at > SINCE && entries[i].at > SINCE;
    }
    if (latest < 0) latest = entries[i].at;
    int64_t at = find(merged, partition, entries[i].mark);
    assert_int_equal(at, latest > SINCE ? latest : -1);
    kept += entries[i].at > SINCE;
  }
  assert_int_equal(merged->head.count, kept - twice);
  assert_true(merged->head.oldest > SINCE);
  mark_file_unref(merged);
  // Of one that is damaged nothing is made.
  char byte = 1;
  int descriptor = open(files[2]->path, O_RDWR);
  assert_int_equal(pwrite(descriptor, &byte, 1, 9 * MARK_PAGE + 77), 1);
  close(descriptor);
  assert_int_equal(merge((struct mark_range){1, FILES}, files, FILES, SINCE, &merged, &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, files[2]->path));
  for (int i = 0; i < FILES; i++) mark_file_unref(files[i]);
  free(entries);
}

static void damage_is_found_and_named(void **state) {
  (void)state;
  enum { COUNT = 1000 };
  struct mark_entry entries[COUNT];
  size_t counts[PARTITION_COUNT] = {[1] = COUNT};
  for (int i = 0; i < COUNT; i++) entries[i] = random_entry();
  struct mark_file *file = make_file(RANGE, entries, counts);
  char path[512];
  snprintf(path, sizeof path, "%s", file->path);
  uint64_t size = mark_file_bytes(file);
  int descriptor = open(path, O_RDWR);
  struct error err;
  for (uint64_t at = 0; at < size; at += at < MARK_PAGE ? 7 : 501) {
    uint8_t byte, other;
    assert_int_equal(pread(descriptor, &byte, 1, (off_t)at), 1);
    other = byte ^ 0x10;
    assert_int_equal(pwrite(descriptor, &other, 1, (off_t)at), 1);
    struct mark_file *opened;
    int rc = mark_file_open(&opened, support_directory, RANGE, &err);
    if (at < MARK_PAGE) {
      assert_true(rc == ERROR_CORRUPT || (rc == ERROR_VERSION && at >= 8 && at < 12));
      assert_non_null(strstr(err.message, path));
    } else {
      assert_int_equal(rc, 0);
      int failed = 0;
      for (int i = 0; i < COUNT; i++) {
        struct mark_page page = {0};
        int64_t time = -1;
        rc = mark_file_find(opened, 1, entries[i].mark, &page, &time, &err);
        if (rc == 1) assert_int_equal(time, entries[i].at);
        if (rc == 1) continue;
        failed++;
        assert_int_equal(rc, ERROR_CORRUPT); // never: not there
        assert_non_null(strstr(err.message, path));
      }
      assert_in_range(failed, 1, 6 * MARK_PAGE_ENTRIES);
    }
    mark_file_unref(opened);
    assert_int_equal(pwrite(descriptor, &byte, 1, (off_t)at), 1);
  }
  // A page in another's place, a file under another name, one that is too short.
  uint8_t page[MARK_PAGE], second[MARK_PAGE];
  int64_t time;
  struct mark_page looked = {0};
  assert_int_equal(pread(descriptor, page, MARK_PAGE, MARK_PAGE), MARK_PAGE);
  assert_int_equal(pread(descriptor, second, MARK_PAGE, 2 * MARK_PAGE), MARK_PAGE);
  assert_int_equal(pwrite(descriptor, page, MARK_PAGE, 2 * MARK_PAGE), MARK_PAGE);
  assert_int_equal(mark_file_find(file, 1, entries[200].mark, &looked, &time, &err), ERROR_CORRUPT);
  assert_int_equal(pwrite(descriptor, second, MARK_PAGE, 2 * MARK_PAGE), MARK_PAGE);
  assert_int_equal(mark_file_find(file, 1, entries[200].mark, &looked, &time, &err), 1);
  support_failpoints("store.mark_read=error*0");
  looked.file = NULL;
  assert_int_equal(mark_file_find(file, 1, entries[200].mark, &looked, &time, &err), ERROR_IO);
  support_failpoints("");
  struct mark_file *opened;
  assert_int_equal(link(path, support_path("0000000000000003-0000000000000008.marks")), 0);
  assert_int_equal(mark_file_open(&opened, support_directory, (struct mark_range){3, 8}, &err),
                   ERROR_CORRUPT);
  assert_int_equal(ftruncate(descriptor, (off_t)size - 1), 0);
  assert_int_equal(mark_file_open(&opened, support_directory, RANGE, &err), ERROR_CORRUPT);
  assert_int_equal(ftruncate(descriptor, 100), 0);
  assert_int_equal(mark_file_open(&opened, support_directory, RANGE, &err), ERROR_CORRUPT);
  assert_int_equal(mark_file_find(file, 1, entries[500].mark, &looked, &time, &err), ERROR_CORRUPT);
  assert_int_equal(mark_file_open(&opened, support_directory, (struct mark_range){1, 2}, &err), ERROR_IO);
  close(descriptor);
  mark_file_unref(file);
}

static void a_failed_write_leaves_nothing(void **state) {
  (void)state;
  static const char *const points[] = {"store.mark_write=enospc", "store.mark_write=enospc@2",
                                       "store.mark_sync=error", "store.mark_place=error"};
  struct mark_entry entry = random_entry();
  for (int i = 0; i < 4; i++) {
    struct error err;
    struct mark_writer writer;
    support_failpoints(points[i]);
    int rc = mark_writer_open(&writer, support_directory, RANGE, &err);
    if (!rc) rc = mark_writer_put(&writer, 3, &entry, 1, &err);
    if (!rc) rc = mark_writer_finish(&writer, &err);
    if (!rc) rc = mark_writer_place(&writer, &err);
    assert_int_equal(rc, i < 2 ? ERROR_NO_SPACE : ERROR_IO);
    mark_writer_close(&writer);
    assert_int_equal(rmdir(support_directory), 0);
    assert_int_equal(mkdir(support_directory, 0700), 0);
  }
  support_failpoints("");
}

static void names_are_ranges(void **state) {
  (void)state;
  char name[MARK_NAME_MAX];
  struct mark_range range;
  mark_file_name((struct mark_range){16, UINT64_MAX}, name);
  assert_string_equal(name, "0000000000000010-ffffffffffffffff.marks");
  assert_true(mark_file_parse(name, &range));
  assert_true(range.first == 16 && range.last == UINT64_MAX);
  static const char *const others[] = {"",
                                       "marks",
                                       "0000000000000010-ffffffffffffffff.marks.new",
                                       "0000000000000010-ffffffffffffffff",
                                       "10-11.marks",
                                       "0000000000000010-000000000000000f.marks",
                                       "000000000000001A-000000000000002F.marks"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    assert_false(mark_file_parse(others[i], &range));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_is_put_in_is_found),
      TEST(marks_that_lie_close_together_are_found),
      cmocka_unit_test(of_equal_marks_the_latest_stays),
      TEST(merged_files_hold_what_each_held),
      TEST(damage_is_found_and_named),
      TEST(a_failed_write_leaves_nothing),
      cmocka_unit_test(names_are_ranges),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
