// links: base event state
#include "store_support.h"

#include "state/event_walk.h"
#include "state/store_internal.h"

#include <fcntl.h>

/* A run of this store holds 4 MB: with ids of up to 17 bytes, some 17,000 of these records. */
enum { PADDING = 180, USERS = 24000 };

static const char *id_of(int user) {
  static char id[32];
  snprintf(id, sizeof id, user % 3 ? "user-%d" : "%d@example.org", user);
  return id;
}

/** Longer the larger `n` is, so that a newer record seldom fits where the older one lay. */
static void put(struct support_write *write, int user, int64_t n) {
  struct record record;
  char text[PADDING + 64];
  struct buf bytes;
  memset(text, 'x', sizeof text);
  record_init(&record);
  support_set_attribute(&record, "n", n);
  buf_init(&bytes);
  value_put_string(&bytes, (struct str){text, PADDING + (size_t)n % 64});
  struct effect effect = {.type = EFFECT_ATTRIBUTE, .attribute = {STR("padding"), buf_str(&bytes)}};
  assert_int_equal(record_apply(&record, &effect, 1 << 16, NULL), 0);
  store_write_user(&write->write, support_user(id_of(user)), &record, INT64_MAX, INT64_MAX);
  buf_deinit(&bytes);
  record_deinit(&record);
}

/** Users `first` to `end` get `n`. */
static int put_all(struct store *store, struct support_loop *loop, int first, int end, int64_t n) {
  enum { AT_ONCE = 500 };
  for (int status; first < end;) {
    struct support_write write;
    support_write_init(&write, store, loop);
    for (int i = 0; i < AT_ONCE && first < end; i++) put(&write, first++, n);
    if ((status = support_write_finish(&write, store, loop))) return status;
  }
  return 0;
}

static int64_t number_of(struct str stored) {
  struct record record;
  struct error err;
  record_init(&record);
  if (record_decode(&record, stored, &err)) fail_msg("%s", err.message);
  int64_t n = support_attribute(&record, "n");
  struct str padding;
  assert_true(record_attribute(&record, STR("padding"), &padding));
  assert_int_equal(value_head(padding).string.len, PADDING + n % 64);
  record_deinit(&record);
  return n;
}

/** What all have, -1 for whom there is no record, in fetches of many, whose items come from run and files. */
static void get_all(struct store *store, struct support_loop *loop, int64_t numbers[USERS]) {
  enum { AT_ONCE = 1000 };
  static char ids[AT_ONCE][32];
  for (int first = 0; first < USERS; first += AT_ONCE) {
    struct store_fetch_item items[AT_ONCE] = {0};
    struct buf records;
    for (int i = 0; i < AT_ONCE; i++) {
      // Neighbours lie in one place: one after the other from there and from here.
      snprintf(ids[i], sizeof ids[i], "%s", id_of((first + i) * 7 % USERS));
      items[i].entity = support_user(ids[i]);
    }
    assert_int_equal(support_fetch_records(store, loop, items, AT_ONCE, 0, &records), 0);
    for (int i = 0; i < AT_ONCE; i++)
      numbers[(first + i) * 7 % USERS] = items[i].found ? number_of(items[i].record) : -1;
    buf_deinit(&records);
  }
}

static void expect(struct store *store, struct support_loop *loop, int first, int end, int64_t n) {
  static int64_t numbers[USERS];
  get_all(store, loop, numbers);
  for (int i = first; i < end; i++)
    if (numbers[i] != n) fail_msg("user %d has %d, not %d", i, (int)numbers[i], (int)n);
}

static int checkpoint(struct store *store, uint64_t offset) {
  struct error err;
  return store_checkpoint(store, (struct log_position){1, offset}, 5, &err);
}

static void the_newest_is_found_wherever_it_lies(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  assert_int_equal(put_all(store, &loop, 0, 12000, 1), 0); // one run
  expect(store, &loop, 0, 12000, 1);
  expect(store, &loop, 12000, USERS, -1);
  assert_int_equal(put_all(store, &loop, 3000, USERS, 2), 0); // fills it, some of them twice in it
  expect(store, &loop, 0, 3000, 1);
  expect(store, &loop, 3000, USERS, 2);
  assert_int_equal(checkpoint(store, 64), 0);
  expect(store, &loop, 0, 3000, 1);
  expect(store, &loop, 3000, USERS, 2);
  assert_int_equal(put_all(store, &loop, 1000, 5000, 3), 0); // over those in files
  expect(store, &loop, 0, 1000, 1);
  expect(store, &loop, 1000, 5000, 3);
  expect(store, &loop, 5000, USERS, 2);
  struct record record;
  record_init(&record);
  assert_int_equal(store_get_user(store, support_user(id_of(1000)), &record, NULL), 0);
  assert_int_equal(support_attribute(&record, "n"), 3);
  assert_int_equal(store_get_user(store, support_user(id_of(5000)), &record, NULL), 0);
  assert_int_equal(support_attribute(&record, "n"), 2);
  assert_int_equal(
      store_get_user(store, (struct entity){ENTITY_SUBJECT, str_from(id_of(1000))}, &record, NULL),
      ERROR_NOT_FOUND);
  record_deinit(&record);
  store_close(store); // which keeps what no checkpoint had
  store = support_open_store();
  expect(store, &loop, 0, 1000, 1);
  expect(store, &loop, 1000, 5000, 3);
  expect(store, &loop, 5000, USERS, 2);
  store_close(store);
  support_loop_deinit(&loop);
}

static void a_record_larger_than_a_run_is_kept(void **state) {
  (void)state;
  struct support_loop loop;
  struct support_write write;
  struct buf bytes, text;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  assert_int_equal(put_all(store, &loop, 0, 100, 1), 0);
  support_write_init(&write, store, &loop);
  struct record record;
  record_init(&record);
  buf_init(&bytes);
  buf_init(&text);
  memset(buf_reserve(&text, 5 << 20), 'x', 5 << 20);
  text.len = 5 << 20;
  value_put_string(&bytes, buf_str(&text));
  struct effect effect = {.type = EFFECT_ATTRIBUTE, .attribute = {STR("large"), buf_str(&bytes)}};
  assert_int_equal(record_apply(&record, &effect, 16 << 20, NULL), 0);
  store_write_user(&write.write, support_user("large"), &record, INT64_MAX, INT64_MAX);
  assert_int_equal(support_write_finish(&write, store, &loop), 0);
  assert_int_equal(put_all(store, &loop, 100, 200, 1), 0);
  expect(store, &loop, 0, 200, 1);
  struct record found;
  record_init(&found);
  assert_int_equal(store_get_user(store, support_user("large"), &found, NULL), 0);
  struct str large;
  assert_true(record_attribute(&found, STR("large"), &large));
  assert_int_equal(large.len, bytes.len);
  record_deinit(&found);
  record_deinit(&record);
  buf_deinit(&bytes);
  buf_deinit(&text);
  store_close(store);
  support_loop_deinit(&loop);
}

static void count_user(void *context, struct entity user) {
  (void)user;
  (*(int *)context)++;
}

static void who_walks_over_users_meets_those_written_last(void **state) {
  (void)state;
  struct support_loop loop;
  struct error err;
  struct buf cursor;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  assert_int_equal(put_all(store, &loop, 0, 300, 1), 0);
  assert_int_equal(checkpoint(store, 64), 0);
  assert_int_equal(put_all(store, &loop, 200, 500, 2), 0);
  buf_init(&cursor);
  int users = 0;
  while (store_walk_users(store, &cursor, 70, count_user, &users, &err) == 70) {
  }
  assert_int_equal(users, 500);
  buf_deinit(&cursor);
  store_close(store);
  support_loop_deinit(&loop);
}

static void a_backup_has_what_was_written_last(void **state) {
  (void)state;
  struct support_loop loop;
  struct error err;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  assert_int_equal(put_all(store, &loop, 0, 300, 1), 0);
  assert_int_equal(mkdir(support_path("log"), 0700), 0);
  char *log = memory_dup(support_path("log"), strlen(support_path("log")));
  struct log_options options = {.directory = log, .segment_size = 1 << 20, .segment_age = SUPPORT_DAY};
  struct log *running;
  assert_int_equal(log_open(&running, &options, (struct log_position){0}, &err), 0);
  if (store_backup(store, log, running, support_path("copy"), &err)) fail_msg("%s", err.message);
  log_close(running);
  memory_free(log);
  store_close(store);
  struct store_options copy = support_store_options();
  copy.directory = support_path("copy/db");
  if (store_rocks_open(&store, &copy, &err)) fail_msg("%s", err.message);
  expect(store, &loop, 0, 300, 1);
  store_close(store);
  support_loop_deinit(&loop);
}

/** A batch in the middle of a full run's cannot be written. */
static void a_run_that_fails_half_way_is_told_and_written_again(void **state) {
  (void)state;
  for (int hit = 1; hit <= 7; hit += 3) {
    struct support_loop loop;
    struct error err;
    char points[64];
    support_loop_init(&loop);
    struct store *store = support_open_store();
    assert_int_equal(put_all(store, &loop, 0, USERS, 1), 0);
    assert_int_equal(checkpoint(store, 64), 0);
    snprintf(points, sizeof points, "store.run=enospc@%d", hit);
    support_failpoints(points);
    int told = put_all(store, &loop, 0, USERS, 2);
    if (told == 0) told = checkpoint(store, 128);
    assert_int_equal(told, ERROR_NO_SPACE);
    support_failpoints("");
    static int64_t numbers[USERS];
    assert_int_equal(store_reopen(store, &err), 0);
    get_all(store, &loop, numbers);
    for (int i = 0; i < USERS; i++) assert_in_range(numbers[i], 1, 2);
    assert_int_equal(put_all(store, &loop, 0, USERS, 2), 0); // as recovery does
    assert_int_equal(checkpoint(store, 128), 0);
    expect(store, &loop, 0, USERS, 2);
    store_close(store);
    support_loop_deinit(&loop);
    support_remove_directory(state);
    support_make_directory(state);
  }
}

static bool is_empty(struct run *run) {
  pthread_rwlock_rdlock(&run->lock);
  bool empty = !run->bytes;
  pthread_rwlock_unlock(&run->lock);
  return empty;
}

static void who_looks_up_does_not_wait_for_memory_to_be_given_back(void **state) {
  (void)state;
  struct support_loop loop;
  struct support_write write;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  assert_int_equal(put_all(store, &loop, 0, 100, 1), 0);
  close(open(support_path("hold"), O_CREAT | O_WRONLY, 0600));
  char specification[256];
  snprintf(specification, sizeof specification, "store.run_clear=hold:%s", support_path("hold"));
  support_failpoints(specification);
  support_write_init(&write, store, &loop);
  for (int i = 100; i < USERS; i++) put(&write, i, 2); // more than a run: the one before goes to RocksDB
  store_write_submit(store, &write.write);
  alarm(60); // it would wait for ever
  while (!is_empty(&store->run)) usleep(1000);
  int answered = loop.answered;
  expect(store, &loop, 0, 100, 1);
  alarm(0);
  unlink(support_path("hold"));
  support_loop_wait(&loop, &loop.answered, answered + USERS / 1000 + 1);
  assert_int_equal(write.write.status, 0);
  store_write_deinit(&write.write);
  support_failpoints("");
  expect(store, &loop, 100, USERS, 2);
  store_close(store);
  support_loop_deinit(&loop);
}

/** Of files in the first level: merge them, slow writes down, stop them. */
static void set_triggers(struct store *store, const char *merge, const char *slow, const char *stop) {
  const char *keys[] = {"level0_file_num_compaction_trigger", "level0_slowdown_writes_trigger",
                        "level0_stop_writes_trigger"};
  const char *values[] = {merge, slow, stop};
  char *complaint = NULL;
  rocksdb_set_options_cf(store->db, store->families[FAMILY_USER], 3, keys, values, &complaint);
  if (complaint) fail_msg("%s", complaint);
}

static void a_store_says_that_it_holds_writes_back(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  rocksdb_env_t *env = rocksdb_create_default_env();
  rocksdb_env_set_background_threads(env, 0); // nobody merges
  assert_int_equal(put_all(store, &loop, 0, 100, 1), 0);
  assert_int_equal(checkpoint(store, 64), 0);
  assert_int_equal(store_pace(store), STORE_KEEPS_UP);
  set_triggers(store, "1", "1", "2");
  assert_int_equal(store_pace(store), STORE_SLOWS_DOWN);
  set_triggers(store, "1", "1", "1");
  assert_int_equal(store_pace(store), STORE_STOPS);
  set_triggers(store, "8", "20", "36");
  assert_int_equal(store_pace(store), STORE_KEEPS_UP);
  rocksdb_env_set_background_threads(env, 3);
  rocksdb_env_destroy(env);
  store_close(store);
  support_loop_deinit(&loop);
}

/** Another process's life: it ends at a failpoint. */
static int live(struct store *store, struct support_loop *loop) {
  if (put_all(store, loop, 0, USERS, 1) || checkpoint(store, 64)) return 1;
  if (put_all(store, loop, 0, USERS, 2) || checkpoint(store, 128)) return 2;
  if (put_all(store, loop, 0, USERS, 3)) return 3;
  kill(getpid(), SIGKILL);
  return 4;
}

static void killed_in_a_run_no_record_is_older_than_the_checkpoint(void **state) {
  char *const words[] = {"test_store_run", "live", support_directory, NULL};
  for (int hit = 2; hit < 40; hit += 5) {
    struct support_loop loop;
    struct error err;
    struct log_position position;
    uint64_t next_seq;
    static int64_t numbers[USERS];
    char points[64];
    snprintf(points, sizeof points, "store.run=kill@%d", hit);
    int status = support_run_again(points, words);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    support_loop_init(&loop);
    struct store *store = support_open_store();
    assert_int_equal(store_checkpoint_get(store, &position, &next_seq, &err), 0);
    get_all(store, &loop, numbers);
    int64_t least = position.segment ? (int64_t)position.offset / 64 : -1;
    for (int i = 0; i < USERS; i++)
      if (numbers[i] < least || numbers[i] > 3) fail_msg("user %d has %d", i, (int)numbers[i]);
    assert_int_equal(put_all(store, &loop, 0, USERS, 3), 0);
    expect(store, &loop, 0, USERS, 3);
    store_close(store);
    support_loop_deinit(&loop);
    support_remove_directory(state);
    support_make_directory(state);
  }
}

int main(int argc, char **argv) {
  if (argc == 3 && strcmp(argv[1], "live") == 0) {
    struct support_loop loop;
    failpoint_init();
    snprintf(support_directory, sizeof support_directory, "%s", argv[2]);
    support_loop_init(&loop);
    return live(support_open_store(), &loop);
  }
#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)
  const struct CMUnitTest tests[] = {
      TEST(the_newest_is_found_wherever_it_lies),
      TEST(a_record_larger_than_a_run_is_kept),
      TEST(who_walks_over_users_meets_those_written_last),
      TEST(a_backup_has_what_was_written_last),
      TEST(a_run_that_fails_half_way_is_told_and_written_again),
      TEST(who_looks_up_does_not_wait_for_memory_to_be_given_back),
      TEST(a_store_says_that_it_holds_writes_back),
      TEST(killed_in_a_run_no_record_is_older_than_the_checkpoint),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
