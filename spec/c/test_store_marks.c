// links: base event state
/* The store's files of dedup marks: merged, deleted when they have expired, taken over from an older format;
 * and whatever happens meanwhile, each mark is found. */
#include "store_support.h"

#include "state/mark_writer.h"
#include "state/seen.h"
#include "state/store_internal.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>

enum { MARKS = 50 /**< in a file */ };
static const int64_t AT = 1700000000000; /**< of a segment's marks: its number later */

static void name_event(uint64_t segment, int number, char out[32]) {
  snprintf(out, 32, "%" PRIu64 "-%d", segment, number);
}

/** A file as sealing this segment would make it, of ada's events. */
static void place_file(uint64_t segment, int64_t at) {
  struct error err = {0};
  struct mark_entry entries[MARKS];
  struct mark_sorter sorter = {0};
  struct mark_writer writer;
  for (int i = 0; i < MARKS; i++) {
    char id[32];
    name_event(segment, i, id);
    entries[i] = (struct mark_entry){seen_mark(support_user("ada"), str_from(id)), at};
  }
  assert_int_equal(mark_sort(&sorter, entries, MARKS, 0), MARKS);
  int rc = mark_writer_open(&writer, support_path("db/marks"), (struct mark_range){segment, segment}, &err);
  if (!rc) rc = mark_writer_put(&writer, entity_partition(support_user("ada")), entries, MARKS, &err);
  if (!rc) rc = mark_writer_finish(&writer, &err);
  if (!rc) rc = mark_writer_place(&writer, &err);
  if (rc) fail_msg("%s", err.message);
  mark_writer_close(&writer);
  mark_sorter_deinit(&sorter);
}

static void put_sealed(struct store *store, uint64_t segment) {
  uint64_t number = htole64(segment);
  struct error err;
  assert_int_equal(store_meta_put(store, STR("sealed"), (struct str){(char *)&number, 8}, &err), 0);
  atomic_store(&store->sealed, segment);
}

/** A store at rest in which so many segments are sealed. */
static void make_store(uint64_t segments) {
  struct store *store = support_open_store();
  put_sealed(store, segments);
  store_close(store);
  for (uint64_t i = 1; i <= segments; i++) place_file(i, AT + (int64_t)i);
}

static bool is_seen(struct store *store, uint64_t segment, int number, int64_t since) {
  struct support_loop loop;
  char id[32];
  name_event(segment, number, id);
  support_loop_init(&loop);
  struct store_fetch_item item = {.entity = support_user("ada"), .event_id = str_from(id)};
  assert_int_equal(support_fetch(store, &loop, &item, 1, since), 0);
  support_loop_deinit(&loop);
  return item.seen;
}

static void assert_seen(struct store *store, uint64_t from, uint64_t to) {
  for (uint64_t segment = from; segment <= to; segment++)
    for (int i = 0; i < MARKS; i += 7) {
      assert_true(is_seen(store, segment, i, AT + (int64_t)segment - 1));
      assert_false(is_seen(store, segment, i, AT + (int64_t)segment));
    }
  assert_false(is_seen(store, from, MARKS, 1));
}

static size_t count_files(struct store *store) {
  struct mark_files *files = mark_files_ref(store);
  size_t count = files->count;
  mark_files_unref(files);
  return count;
}

static size_t count_names(void) {
  size_t count = 0;
  DIR *directory = opendir(support_path("db/marks"));
  for (const struct dirent *entry; (entry = readdir(directory));) count += entry->d_name[0] != '.';
  closedir(directory);
  return count;
}

static void wait_for_files(struct store *store, size_t count) {
  for (int wait = 0; wait < 6000 && (count_files(store) != count || count_names() != count); wait++)
    usleep(10000);
  assert_int_equal(count_files(store), count);
  assert_int_equal(count_names(), count);
}

/* ---- merging ---- */

static void wait_until_looked(struct store *store) {
  // Taken up a second time, the first is done with.
  for (int time = 0; time < 2; time++) {
    mark_files_merge(store);
    for (bool wanted = true; wanted; usleep(1000)) {
      pthread_mutex_lock(&store->marks.lock);
      wanted = store->marks.wanted;
      pthread_mutex_unlock(&store->marks.lock);
    }
  }
}

static void files_of_similar_size_are_merged(void **state) {
  (void)state;
  make_store(25);
  struct store *store = support_open_store();
  wait_for_files(store, 7); // of ten each, and five
  assert_seen(store, 1, 25);
  struct store_figures figures;
  struct error err;
  store_measure(store, &figures);
  assert_true(figures.bytes_on_disk >= 25 * MARKS * 24);
  assert_int_equal(store_reopen(store, &err), 0);
  assert_int_equal(count_files(store), 7);
  assert_seen(store, 1, 25);
  store_close(store);
}

static void who_looks_up_is_not_disturbed(void **state) {
  (void)state;
  make_store(9);
  struct error err;
  struct store *store = support_open_store();
  struct mark_files *files = mark_files_ref(store);
  assert_int_equal(files->count, 9);
  place_file(10, AT + 10);
  assert_int_equal(mark_files_add(store, (struct mark_range){10, 10}, &err), 0);
  wait_until_looked(store);
  assert_int_equal(count_files(store), 10); // it is not recorded as sealed
  put_sealed(store, 10);
  mark_files_merge(store);
  wait_for_files(store, 1);
  assert_int_equal(mark_files_retain(store, INT64_MAX - 1, &err), 0);
  assert_int_equal(count_names(), 0);
  for (size_t i = 0; i < files->count; i++) {
    struct mark_page page = {0};
    int64_t at;
    char id[32];
    name_event(i + 1, 3, id);
    assert_int_equal(mark_file_find(files->files[i], entity_partition(support_user("ada")),
                                    seen_mark(support_user("ada"), str_from(id)), &page, &at, &err),
                     1);
    assert_int_equal(at, AT + (int64_t)i + 1);
  }
  mark_files_unref(files);
  store_close(store);
}

static void what_has_expired_is_left_out(void **state) {
  (void)state;
  struct error err;
  struct store_options options = support_store_options();
  make_store(9);
  place_file(2, AT + 1000); // lies between others, and expires after them
  struct store *store = support_open_store();
  assert_int_equal(store_retain(store, support_path("log"), AT + 4 + options.dedup_keep, &err), 0);
  assert_int_equal(count_files(store), 6);
  assert_int_equal(count_names(), 6);
  assert_false(is_seen(store, 4, 1, 1));
  assert_true(is_seen(store, 2, 1, AT + 999));
  assert_seen(store, 5, 9);
  for (uint64_t i = 10; i <= 13; i++) {
    place_file(i, AT + (int64_t)i);
    assert_int_equal(mark_files_add(store, (struct mark_range){i, i}, &err), 0);
  }
  put_sealed(store, 13);
  assert_int_equal(store_retain(store, support_path("log"), AT + 4 + options.dedup_keep, &err), 0);
  assert_int_equal(mark_files_count(store), 10 * MARKS);
  atomic_store(&store->marks.since, AT + 7); // as retention would say
  mark_files_merge(store);
  wait_for_files(store, 1);
  assert_int_equal(mark_files_count(store), 7 * MARKS);
  assert_false(is_seen(store, 7, 1, 1));
  assert_true(is_seen(store, 2, 1, AT + 999));
  assert_seen(store, 8, 13);
  store_close(store);
}

static void a_merge_may_end_anywhere(void **state) {
  (void)state;
  static const char *const points[] = {"store.mark_write=kill",  "store.mark_write=kill@2",
                                       "store.mark_sync=kill",   "store.mark_place=kill",
                                       "store.mark_delete=kill", "store.mark_delete=kill@5"};
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    make_store(10);
    char *const words[] = {"test_store_marks", "wait", support_directory, NULL};
    assert_int_equal(WTERMSIG(support_run_again(points[i], words)), SIGKILL);
    struct store *store = support_open_store();
    assert_seen(store, 1, 10);
    wait_for_files(store, 1);
    assert_seen(store, 1, 10);
    store_close(store);
    support_remove(support_directory);
    assert_int_equal(mkdir(support_directory, 0700), 0);
  }
}

static void a_merge_that_fails_is_tried_again(void **state) {
  (void)state;
  make_store(10);
  support_failpoints("store.mark_write=enospc@2");
  struct store *store = support_open_store();
  for (int i = 0; i < 6000 && count_files(store) != 1; i++, usleep(10000)) {
    assert_seen(store, 1, 2);
    mark_files_merge(store); // as the next segment does
  }
  wait_for_files(store, 1);
  assert_seen(store, 1, 10);
  store_close(store);
  support_failpoints("");
}

static void a_merge_waits_for_room_on_the_disk(void **state) {
  (void)state;
  make_store(10);
  support_failpoints("store.mark_room=enospc*0");
  struct store *store = support_open_store();
  wait_until_looked(store);
  assert_int_equal(count_files(store), 10);
  assert_int_equal(count_names(), 10);
  assert_true(store_marks_held_back(store));
  assert_seen(store, 1, 10);
  support_failpoints("");
  mark_files_merge(store); // as the next segment does
  wait_for_files(store, 1);
  wait_until_looked(store);
  assert_false(store_marks_held_back(store));
  assert_seen(store, 1, 10);
  store_close(store);
}

struct backup {
  struct store *store;
  char log[256], target[256];
  struct error err;
  int rc;
};

static void *back_up(void *context) {
  struct backup *backup = context;
  backup->rc = store_backup(backup->store, backup->log, NULL, backup->target, &backup->err);
  return NULL;
}

/** What a backup has listed is there until it has copied it, though it is merged meanwhile. */
static void a_backup_finds_what_is_being_merged(void **state) {
  (void)state;
  make_store(9);
  assert_int_equal(mkdir(support_path("log"), 0700), 0);
  close(open(support_path("hold"), O_CREAT | O_WRONLY, 0600));
  char specification[256];
  snprintf(specification, sizeof specification, "store.backup=hold:%s@2", support_path("hold"));
  struct store *store = support_open_store();
  wait_until_looked(store);
  place_file(10, AT + 10);
  support_failpoints(specification);
  struct error err;
  assert_int_equal(mark_files_add(store, (struct mark_range){10, 10}, &err), 0);
  put_sealed(store, 10);
  pthread_t thread;
  struct backup backup = {.store = store};
  snprintf(backup.log, sizeof backup.log, "%s", support_path("log"));
  snprintf(backup.target, sizeof backup.target, "%s", support_path("backup"));
  assert_int_equal(pthread_create(&thread, NULL, back_up, &backup), 0);
  const char *first =
      "backup/db/marks/0000000000000001-0000000000000001.marks"; // it is held before the second
  for (int wait = 0; wait < 6000 && access(support_path(first), F_OK); wait++) usleep(10000);
  mark_files_merge(store);
  for (int wait = 0; wait < 6000 && count_files(store) != 1; wait++) usleep(10000);
  assert_int_equal(count_files(store), 1);
  // Were they deleted now, that would take no time.
  for (int wait = 0; wait < 20 && count_names() == 11; wait++) usleep(10000);
  assert_int_equal(count_names(), 11);
  unlink(support_path("hold"));
  assert_int_equal(pthread_join(thread, NULL), 0);
  if (backup.rc) fail_msg("%s", backup.err.message);
  wait_for_files(store, 1);
  store_close(store);
  support_failpoints("");
  support_remove(support_path("db"));
  assert_int_equal(rename(support_path("backup/db"), support_path("db")), 0);
  store = support_open_store();
  assert_seen(store, 1, 10);
  store_close(store);
}

/* ---- opening ---- */

static void what_a_crash_left_is_not_taken_in(void **state) {
  (void)state;
  make_store(5);
  place_file(6, AT + 6); // not recorded as sealed
  close(open(support_path("db/marks/0000000000000001-0000000000000005.marks.new"), O_CREAT | O_WRONLY, 0600));
  struct store *store = support_open_store();
  assert_int_equal(count_files(store), 5);
  assert_int_equal(count_names(), 5);
  assert_seen(store, 1, 5);
  assert_false(is_seen(store, 6, 1, 1));
  store_close(store);
}

/** What is missed in the folder would be covered by a merge, and deleted. */
static void a_folder_that_cannot_be_read_to_its_end_is_refused(void **state) {
  (void)state;
  make_store(5);
  for (int hit = 1; hit <= 8; hit++) { // of five files, . and .., and the end
    struct store_options options = support_store_options();
    struct error err = {0};
    struct store *store;
    char specification[64];
    snprintf(specification, sizeof specification, "store.directory=error@%d", hit);
    support_failpoints(specification);
    assert_int_equal(store_rocks_open(&store, &options, &err), ERROR_IO);
    if (!strstr(err.message, "db/marks")) fail_msg("%s", err.message);
  }
  support_failpoints("");
  struct store *store = support_open_store();
  assert_seen(store, 1, 5);
  store_close(store);
}

static void assert_refused(int code, const char *name) {
  struct store_options options = support_store_options();
  for (int read_only = 0; read_only < 2; read_only++) {
    struct error err = {0};
    struct store *store;
    options.read_only = read_only;
    assert_int_equal(store_rocks_open(&store, &options, &err), code);
    assert_null(store);
    if (!strstr(err.message, name)) fail_msg("%s", err.message);
  }
}

static void damage_is_told(void **state) {
  (void)state;
  static const char name[] = "db/marks/0000000000000003-0000000000000003.marks";
  struct error err;
  make_store(3);
  int descriptor = open(support_path(name), O_RDWR);
  assert_int_equal(pwrite(descriptor, "x", 1, MARK_PAGE + 100), 1);
  struct store *store = support_open_store();
  struct support_loop loop;
  support_loop_init(&loop);
  struct entity ada = support_user("ada");
  for (int built = 0; built < 2; built++) {
    struct store_fetch_item items[] = {{.entity = ada, .event_id = STR("1-1")},
                                       {.entity = ada, .event_id = STR("3-1")},
                                       {.entity = support_user("another"), .event_id = STR("3-1")},
                                       {.entity = ada, .event_id = STR("2-1")}};
    assert_int_equal(support_fetch(store, &loop, items, 4, 1), 0);
    assert_true(items[0].seen && !items[0].unknown);
    assert_true(!items[1].seen && items[1].unknown); // the others are answered
    assert_true(!items[2].seen && !items[2].unknown);
    assert_true(items[3].seen && !items[3].unknown);
    for (int wait = 0; wait < 6000 && !atomic_load(&store->marks.filter); wait++) usleep(10000);
    assert_non_null(atomic_load(&store->marks.filter));
  }
  support_loop_deinit(&loop);
  struct store_figures figures;
  store_measure(store, &figures);
  assert_int_equal(figures.marks_unreadable, 2);
  assert_true(store_seen_maybe(store, seen_mark(support_user("ada"), STR("3-1"))));
  assert_int_equal(store_reopen(store, &err), 0);
  store_close(store);
  assert_int_equal(pwrite(descriptor, "x", 1, 100), 1);
  close(descriptor);
  assert_refused(ERROR_CORRUPT, name);
  support_remove(support_path("db/marks"));
  struct store_options options = support_store_options();
  assert_int_equal(store_rocks_open(&store, &options, &err), ERROR_IO);
  assert_non_null(strstr(err.message, "db/marks"));
}

static void spoil(const char *name, off_t at) {
  int descriptor = open(support_path(name), O_RDWR);
  assert_int_equal(pwrite(descriptor, "x", 1, at), 1);
  close(descriptor);
}

static void others_are_merged(void **state) {
  (void)state;
  make_store(25);
  spoil("db/marks/0000000000000003-0000000000000003.marks", MARK_PAGE + 100);
  struct store *store = support_open_store();
  wait_for_files(store, 7); // ten each of 4-23, and five
  assert_seen(store, 1, 2);
  assert_seen(store, 4, 25);
  store_close(store);
}

/** One file of so many pages, all of one partition, whose marks are spread evenly. */
static void place_pages(int pages) {
  struct error err;
  struct mark_writer writer;
  struct mark_entry *entries = memory_alloc((size_t)pages * MARK_PAGE_ENTRIES * sizeof *entries);
  for (int i = 0; i < pages * MARK_PAGE_ENTRIES; i++)
    entries[i] =
        (struct mark_entry){{UINT64_MAX / (uint64_t)(pages * MARK_PAGE_ENTRIES) * (uint64_t)i, 7}, AT};
  int rc = mark_writer_open(&writer, support_path("db/marks"), (struct mark_range){1, 1}, &err);
  if (!rc) rc = mark_writer_put(&writer, 9, entries, (size_t)pages * MARK_PAGE_ENTRIES, &err);
  if (!rc) rc = mark_writer_finish(&writer, &err);
  if (!rc) rc = mark_writer_place(&writer, &err);
  if (rc) fail_msg("%s", err.message);
  mark_writer_close(&writer);
  memory_free(entries);
}

/** Of eight, these cannot be read: what might lie in them may have been seen, and nothing else. */
static void the_filter_knows_what_it_cannot_read(void **state) {
  (void)state;
  enum { PAGES = 8, ALL = PAGES * MARK_PAGE_ENTRIES };
  static const uint8_t spoiled[][PAGES] = {{[2] = 1}, {1}, {[PAGES - 1] = 1}, {[3] = 1, [4] = 1, [6] = 1}};
  for (size_t i = 0; i < sizeof spoiled / sizeof *spoiled; i++) {
    make_store(1);
    place_pages(PAGES);
    for (int page = 0; page < PAGES; page++)
      if (spoiled[i][page])
        spoil("db/marks/0000000000000001-0000000000000001.marks", MARK_PAGE * (page + 1) + 9);
    struct store *store = support_open_store();
    for (int wait = 0; wait < 6000 && !atomic_load(&store->marks.filter); wait++) usleep(10000);
    for (int n = 0; n < ALL; n++) {
      uint64_t high = UINT64_MAX / ALL * (uint64_t)n;
      bool maybe = store_seen_maybe(store, (struct hash128){high + 12345, 0});
      assert_true(store_seen_maybe(store, (struct hash128){high, 7}));
      if (spoiled[i][n / MARK_PAGE_ENTRIES]) assert_true(maybe);
      bool beside = n + 1 < ALL && spoiled[i][(n + 1) / MARK_PAGE_ENTRIES];
      if (!spoiled[i][n / MARK_PAGE_ENTRIES] && !beside) assert_false(maybe);
    }
    store_close(store);
    support_remove(support_directory);
    assert_int_equal(mkdir(support_directory, 0700), 0);
  }
}

/** A thread that cannot be started is tried again when a segment is sealed, a minute later. */
static void a_filter_that_could_not_be_made_is_made_later(void **state) {
  (void)state;
  struct error err;
  make_store(2);
  support_failpoints("store.mark_thread=error");
  struct store *store = support_open_store();
  assert_false(store->marks.started);
  for (uint64_t segment = 3; segment <= 4; segment++) {
    place_file(segment, AT + (int64_t)segment);
    put_sealed(store, segment);
    assert_int_equal(marks_sealed(store, (struct mark_range){segment, segment}, NULL, 0, &err), 0);
    assert_int_equal(store->marks.started, segment == 4);
    store->marks.build_again_us = 0; // the minute has passed
  }
  for (int wait = 0; wait < 6000 && !atomic_load(&store->marks.filter); wait++) usleep(10000);
  for (uint64_t segment = 1; segment <= 4; segment++) {
    char id[32];
    name_event(segment, 1, id);
    assert_true(store_seen_maybe(store, seen_mark(support_user("ada"), str_from(id))));
  }
  assert_false(store_seen_maybe(store, seen_mark(support_user("ada"), STR("9-9"))));
  store_close(store);
  support_failpoints("");
}

/** Seal marks of nobody's, of which none is in the file: as if it had expired. */
static void seal_expired(struct store *store, uint64_t segment, size_t count) {
  struct error err;
  struct hash128 *marks = memory_alloc(count * sizeof *marks);
  for (size_t i = 0; i < count; i++)
    marks[i] = (struct hash128){(segment << 32 | i) * 0x9e3779b97f4a7c15u,
                                (segment << 32 | i) * 0xc2b2ae3d27d4eb4fu};
  place_file(segment, AT + (int64_t)segment);
  put_sealed(store, segment);
  assert_int_equal(marks_sealed(store, (struct mark_range){segment, segment}, marks, count, &err), 0);
  memory_free(marks);
}

static void wait_for_build(struct store *store) {
  for (int wait = 0; wait < 6000 && !atomic_load(&store->marks.finished); wait++) usleep(10000);
  assert_true(atomic_load(&store->marks.finished));
}

/** What many added and few remember stays as large as those few need; and what was replaced is freed in time,
 * whether or not another one is made. */
static void the_filter_is_as_large_as_what_is_remembered(void **state) {
  (void)state;
  enum { MANY = 400000 }; // more than a quarter of what the smallest has room for
  make_store(1);
  struct store *store = support_open_store();
  wait_for_build(store);
  uint64_t before = atomic_load(&store->marks.bytes);
  uint64_t segment = 2;
  for (; segment <= 4; segment++) seal_expired(store, segment, MANY);
  assert_false(mark_filter_full(atomic_load(&store->marks.filter)));
  assert_int_equal(atomic_load(&store->marks.bytes), before); // it has not grown
  seal_expired(store, segment++, MANY);
  wait_for_build(store);
  assert_true(mark_filter_count(atomic_load(&store->marks.filter)) < MANY); // made anew, and no larger
  assert_int_equal(atomic_load(&store->marks.bytes), 2 * before);
  assert_non_null(store->marks.retired);
  for (int looks = 0; looks < 9; looks++) marks_free_retired(&store->marks);
  // By the thread that merges, a look or two later.
  for (int wait = 0; wait < 6000 && atomic_load(&store->marks.bytes) > before; wait++) usleep(10000);
  assert_int_equal(atomic_load(&store->marks.bytes), before);
  assert_null(store->marks.retired);
  assert_seen(store, 1, segment - 1);
  store_close(store);
}

static void *seal_one(void *argument) {
  seal_expired(argument, 6, 100000);
  return NULL;
}

static void touch(const char *name) {
  close(open(support_path(name), O_CREAT | O_WRONLY, 0600));
}

/** However long who seals is held up. */
static void a_filter_that_is_added_to_is_not_freed(void **state) {
  (void)state;
  enum { MANY = 400000 };
  char specification[512];
  make_store(1);
  struct store *store = support_open_store();
  wait_for_build(store);
  uint64_t before = atomic_load(&store->marks.bytes);
  char *built = strdup(support_path("built")), *added = strdup(support_path("added"));
  snprintf(specification, sizeof specification, "store.mark_filter=hold:%s@1*0,store.mark_add=hold:%s@1*0",
           built, added);
  support_failpoints(specification);
  touch("built");
  for (uint64_t segment = 2; segment <= 5; segment++) seal_expired(store, segment, MANY);
  assert_false(atomic_load(&store->marks.finished)); // another one is made, and cannot be published
  touch("added");
  pthread_t thread;
  pthread_create(&thread, NULL, seal_one, store);
  bool adding = false;
  for (int wait = 0; wait < 6000 && !adding; wait++) {
    usleep(10000);
    pthread_mutex_lock(&store->marks.lock);
    adding = store->marks.adding;
    pthread_mutex_unlock(&store->marks.lock);
  }
  assert_true(adding);
  unlink(built);
  wait_for_build(store);
  for (int looks = 0; looks < 30; looks++) marks_free_retired(&store->marks);
  assert_int_equal(atomic_load(&store->marks.bytes), 2 * before);
  unlink(added);
  pthread_join(thread, NULL);
  for (int looks = 0; looks < 30; looks++) marks_free_retired(&store->marks);
  assert_int_equal(atomic_load(&store->marks.bytes), before);
  assert_seen(store, 1, 6);
  store_close(store);
  support_failpoints("");
  free(built);
  free(added);
}

/* ---- the format before ---- */

static void put_old_mark(struct store *store, rocksdb_column_family_handle_t *family, uint64_t segment,
                         int number, int64_t at) {
  char id[32], *complaint = NULL;
  name_event(segment, number, id);
  struct hash128 mark = seen_mark(support_user("ada"), str_from(id));
  struct buf key;
  buf_init(&key);
  buf_put_u64_be(&key, key_rank(support_user("ada")));
  key_put_hash(&key, mark);
  uint64_t value = htole64((uint64_t)at);
  rocksdb_put_cf(store->db, store->synced_options, family, (const char *)key.data, key.len,
                 (const char *)&value, sizeof value, &complaint);
  assert_null(complaint);
  buf_deinit(&key);
}

/** As format 2 has it: a slice for each three segments; 2-7 lies in two of them. */
static void make_old_store(void) {
  struct error err;
  struct store *store = support_open_store();
  for (uint64_t slice = 0; slice < 3; slice++) {
    char name[32], *complaint = NULL;
    uint64_t newest = htole64((uint64_t)AT + 3 * slice + 3);
    snprintf(name, sizeof name, "seen.%" PRIu64, 1000 + slice);
    rocksdb_column_family_handle_t *family =
        rocksdb_create_column_family(store->db, store->small_options, name, &complaint);
    assert_null(complaint);
    for (uint64_t segment = 3 * slice + 1; segment <= 3 * slice + 3; segment++)
      for (int i = 0; i < MARKS; i++) put_old_mark(store, family, segment, i, AT + (int64_t)segment);
    if (slice == 1) put_old_mark(store, family, 2, 7, AT + 5);
    rocksdb_column_family_handle_destroy(family);
    char key[64];
    snprintf(key, sizeof key, "slice:%s", name);
    assert_int_equal(store_meta_put(store, str_from(key), (struct str){(char *)&newest, 8}, &err), 0);
  }
  put_sealed(store, 9);
  assert_int_equal(store_meta_put(store, STR("format"), STR("2"), &err), 0);
  store_close(store);
  support_remove(support_path("db/marks"));
}

static int note_key(void *context, struct str key, struct str value) {
  (void)key, (void)value;
  ++*(int *)context;
  return 0;
}

static void assert_taken_over(struct store *store) {
  struct error err;
  struct buf format;
  buf_init(&format);
  assert_int_equal(store_meta_get(store, STR("format"), &format, &err), 0);
  assert_true(str_equal(buf_str(&format), STR("3")));
  buf_deinit(&format);
  assert_int_equal(count_files(store), 1);
  assert_int_equal(mark_files_count(store), 9 * MARKS);
  assert_true(is_seen(store, 2, 7, AT + 4));
  assert_false(is_seen(store, 2, 7, AT + 5));
  for (uint64_t segment = 1; segment <= 9; segment++)
    for (int i = 0; i < MARKS; i += 3) assert_true(is_seen(store, segment, i, AT + (int64_t)segment - 1));
  assert_false(is_seen(store, 5, 0, AT + 5));
  int keys = 0;
  assert_int_equal(store_meta_scan(store, STR("slice:seen."), note_key, &keys, &err), 0);
  assert_int_equal(keys, 0);
}

static void format_2_is_taken_over(void **state) {
  (void)state;
  struct error err = {0};
  struct store *store;
  struct store_options options = support_store_options();
  make_old_store();
  options.read_only = true;
  if (store_rocks_open(&store, &options, &err)) fail_msg("%s", err.message); // to look at, as it is
  store_close(store);
  for (int again = 0; again < 2; again++) {
    store = support_open_store();
    assert_taken_over(store);
    store_close(store);
  }
  size_t count;
  char *complaint = NULL;
  rocksdb_options_t *plain = rocksdb_options_create();
  char **names = rocksdb_list_column_families(plain, support_path("db"), &count, &complaint);
  assert_null(complaint);
  for (size_t i = 0; i < count; i++) assert_false(upgrade_knows(names[i]));
  rocksdb_list_column_families_destroy(names, count);
  rocksdb_options_destroy(plain);
}

static void taking_over_may_end_anywhere(void **state) {
  (void)state;
  static const char *const points[] = {"store.mark_write", "store.mark_write@2", "store.mark_sync",
                                       "store.mark_place", "store.upgrade",      "store.upgrade@2",
                                       "store.upgrade@3",  "store.upgrade@4"};
  for (size_t i = 0; i < sizeof points / sizeof *points; i++) {
    char specification[64];
    const char *at = strchr(points[i], '@');
    int len = at ? (int)(at - points[i]) : (int)strlen(points[i]);
    for (int dies = 0; dies < 2; dies++) {
      make_old_store();
      snprintf(specification, sizeof specification, "%.*s=%s%s", len, points[i], dies ? "kill" : "error",
               at ? at : "");
      char *const words[] = {"test_store_marks", "open", support_directory, NULL};
      int status = support_run_again(specification, words);
      if (dies)
        assert_int_equal(WTERMSIG(status), SIGKILL);
      else
        assert_int_equal(WEXITSTATUS(status), 2);
      struct store *store = support_open_store();
      assert_taken_over(store);
      store_close(store);
      support_remove(support_directory);
      assert_int_equal(mkdir(support_directory, 0700), 0);
    }
  }
}

/** The older version went on where taking over had broken off: its slices count. */
static void what_was_half_taken_over_is_made_anew(void **state) {
  (void)state;
  make_old_store();
  assert_int_equal(mkdir(support_path("db/marks"), 0700), 0);
  place_file(4, AT + 700);
  struct store *store = support_open_store();
  assert_taken_over(store);
  assert_int_equal(count_names(), 1);
  store_close(store);
}

/* ---- what this program does when it is run again ---- */

static int child(const char *what) {
  struct error err;
  struct store *store;
  struct store_options options = support_store_options();
  failpoint_init();
  if (store_rocks_open(&store, &options, &err)) return 2;
  if (strcmp(what, "wait") == 0) sleep(60);
  return 3;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(int count, char **words) {
  if (count == 3) {
    snprintf(support_directory, sizeof support_directory, "%s", words[2]);
    return child(words[1]);
  }
  const struct CMUnitTest tests[] = {
      TEST(files_of_similar_size_are_merged),
      TEST(who_looks_up_is_not_disturbed),
      TEST(what_has_expired_is_left_out),
      TEST(a_merge_may_end_anywhere),
      TEST(a_merge_that_fails_is_tried_again),
      TEST(a_merge_waits_for_room_on_the_disk),
      TEST(a_backup_finds_what_is_being_merged),
      TEST(what_a_crash_left_is_not_taken_in),
      TEST(a_folder_that_cannot_be_read_to_its_end_is_refused),
      TEST(damage_is_told),
      TEST(others_are_merged),
      TEST(the_filter_knows_what_it_cannot_read),
      TEST(a_filter_that_could_not_be_made_is_made_later),
      TEST(the_filter_is_as_large_as_what_is_remembered),
      TEST(a_filter_that_is_added_to_is_not_freed),
      TEST(format_2_is_taken_over),
      TEST(taking_over_may_end_anywhere),
      TEST(what_was_half_taken_over_is_made_anew),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
