// links: base event state
#include "store_support.h"

#include "state/log_spare.h"
#include "state/seen.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/resource.h>

/* ---- records ---- */

static void records_are_written_and_fetched_in_batches(void **state) {
  (void)state;
  enum { USERS = 500 };
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct support_write write;
  support_write_init(&write, store, &loop);
  char ids[USERS * 2][24];
  for (int i = 0; i < USERS * 2; i++) snprintf(ids[i], sizeof ids[i], "user-%d", i);
  for (int i = 0; i < USERS; i++) {
    struct record record;
    record_init(&record);
    support_set_attribute(&record, "n", i);
    record.seq = (uint64_t)i + 7;
    store_write_user(&write.write, support_user(ids[i]), &record, INT64_MAX, INT64_MAX);
    record_deinit(&record);
  }
  assert_true(write.write.bytes > USERS * 10);
  assert_int_equal(support_write_finish(&write, store, &loop), 0);
  struct store_fetch_item items[USERS * 2 + 1] = {0};
  for (int i = 0; i < USERS * 2; i++) {
    items[i].entity = support_user(ids[i]);
  }
  items[USERS * 2].entity = (struct entity){ENTITY_SUBJECT, STR("user-1")};
  struct buf records;
  assert_int_equal(support_fetch_records(store, &loop, items, USERS * 2 + 1, 0, &records), 0);
  for (int i = 0; i < USERS * 2; i++) {
    assert_int_equal(items[i].found, i < USERS);
    assert_false(items[i].seen);
    if (i < USERS) {
      struct record record;
      record_init(&record);
      assert_int_equal(record_decode(&record, items[i].record, NULL), 0);
      assert_int_equal(record.seq, i + 7);
      assert_int_equal(support_attribute(&record, "n"), i);
      record_deinit(&record);
    }
  }
  buf_deinit(&records);
  assert_false(items[USERS * 2].found);
  assert_int_equal(support_fetch(store, &loop, NULL, 0, 0), 0);
  struct record record;
  record_init(&record);
  assert_int_equal(store_get_user(store, support_user("user-3"), &record, NULL), 0);
  assert_int_equal(support_attribute(&record, "n"), 3);
  assert_int_equal(store_get_user(store, support_user("user-"), &record, NULL), ERROR_NOT_FOUND);
  record_deinit(&record);
  store_close(store);
  support_loop_deinit(&loop);
}

/** Change a byte behind the name in the first file of the database that has it. */
static void spoil_behind(const char *name) {
  DIR *directory = opendir(support_path("db"));
  static char bytes[1 << 20];
  bool spoiled = false;
  for (struct dirent *entry; !spoiled && (entry = readdir(directory));) {
    char path[100];
    snprintf(path, sizeof path, "db/%.90s", entry->d_name);
    if (!strstr(path, ".sst")) continue;
    int descriptor = open(support_path(path), O_RDWR);
    ssize_t len = read(descriptor, bytes, sizeof bytes);
    const char *at = memmem(bytes, (size_t)len, name, strlen(name));
    if (at) assert_int_equal(pwrite(descriptor, "\xff", 1, at - bytes + (off_t)strlen(name)), 1);
    spoiled = at != NULL;
    close(descriptor);
  }
  closedir(directory);
  assert_true(spoiled);
}

static void a_record_that_cannot_be_read_hides_no_other(void **state) {
  (void)state;
  static const char *const names[] = {"some-one", "another", "a-third"};
  struct support_loop loop;
  support_loop_init(&loop);
  struct error err;
  struct store *store = support_open_store();
  struct record record;
  record_init(&record);
  support_set_attribute(&record, "n", 7);
  for (uint64_t i = 0; i < 3; i++) { // the last one's is not in a file
    struct support_write write;
    support_write_init(&write, store, &loop);
    store_write_user(&write.write, support_user(names[i]), &record, INT64_MAX, INT64_MAX);
    assert_int_equal(support_write_finish(&write, store, &loop), 0);
    if (i < 2) assert_int_equal(store_checkpoint(store, (struct log_position){1, i}, 1, &err), 0);
    if (i) continue;
    store_close(store);
    spoil_behind(names[0]);
    store = support_open_store();
  }
  for (int again = 0; again < 2; again++) {
    struct store_fetch_item items[] = {{.entity = support_user(names[1])},
                                       {.entity = support_user(names[0])},
                                       {.entity = support_user("nobody")},
                                       {.entity = support_user(names[2])}};
    struct buf records;
    assert_int_equal(support_fetch_records(store, &loop, items, 4, 0, &records), 0);
    assert_true(items[1].failed && !items[1].found);
    assert_true(!items[2].failed && !items[2].found);
    for (int i = 0; i < 4; i += 3) {
      struct record back;
      record_init(&back);
      assert_true(items[i].found && !items[i].failed);
      assert_int_equal(record_decode(&back, items[i].record, NULL), 0);
      assert_int_equal(support_attribute(&back, "n"), 7);
      record_deinit(&back);
    }
    buf_deinit(&records);
  }
  record_deinit(&record);
  store_close(store);
  support_loop_deinit(&loop);
}

struct due_list {
  int64_t due[16];
  char ids[16][300];
  size_t lens[16];
  int count;
};

static int list_timer(void *context, struct entity entity, int64_t due) {
  struct due_list *list = context;
  list->due[list->count] = due;
  list->lens[list->count] = entity.id.len;
  memcpy(list->ids[list->count++], entity.id.data, entity.id.len);
  return 0;
}

static int stop_at_once(void *context, struct entity entity, int64_t due) {
  (void)context, (void)entity, (void)due;
  return 42;
}

static void the_timer_index_follows_the_records(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct record record;
  record_init(&record);
  char longest[EVENT_ID_MAX];
  memset(longest, 'x', sizeof longest);
  struct entity far = {ENTITY_SUBJECT, {longest, sizeof longest}};
  struct support_write write;
  support_write_init(&write, store, &loop);
  store_write_user(&write.write, support_user("a"), &record, INT64_MAX, 500);
  store_write_user(&write.write, support_user("b"), &record, INT64_MAX, -3);
  store_write_user(&write.write, far, &record, INT64_MAX, 400);
  store_write_user(&write.write, support_user("c"), &record, INT64_MAX, INT64_MAX);
  assert_int_equal(support_write_finish(&write, store, &loop), 0);
  support_write_init(&write, store, &loop);
  store_write_user(&write.write, support_user("a"), &record, 500, 100);
  store_write_user(&write.write, support_user("b"), &record, -3, INT64_MAX);
  store_write_timer_stale(&write.write, support_user("nobody"), 9);
  assert_int_equal(support_write_finish(&write, store, &loop), 0);
  struct due_list list = {0};
  struct error err;
  assert_int_equal(store_scan_timers(store, list_timer, &list, &err), 0);
  assert_int_equal(list.count, 2);
  assert_int_equal(list.due[0], 100);
  assert_int_equal(list.lens[0], 1);
  assert_int_equal(list.due[1], 400);
  assert_int_equal(list.lens[1], sizeof longest);
  assert_memory_equal(list.ids[1], longest, sizeof longest);
  assert_int_equal(store_scan_timers(store, stop_at_once, NULL, &err), 42);
  record_deinit(&record);
  store_close(store);
  support_loop_deinit(&loop);
}

/* ---- outbox and dead letters ---- */

static void stored_entries_survive_and_broken_ones_are_refused(void **state) {
  (void)state;
  struct outbox_entry entry = {.message = support_message(support_user("ada"), support_id(1)),
                               .attempts = 3,
                               .unsent = 2,
                               .open = true,
                               .retry_at = -5,
                               .age_from = 77},
                      back;
  struct dead_letter letters[2] = {{.id = support_id(2),
                                    .kind = DEAD_RULE,
                                    .entity = support_user("ada"),
                                    .at = 99,
                                    .failure = {.id = support_id(2),
                                                .campaign = STR("c"),
                                                .rule = STR("r"),
                                                .error = STR("boom"),
                                                .input = STR("i")}},
                                   {.id = support_id(3),
                                    .kind = DEAD_MESSAGE,
                                    .entity = {ENTITY_SUBJECT, STR("shop")},
                                    .at = -1,
                                    .outcome = {.message_id = support_id(3),
                                                .kind = OUTCOME_HELD,
                                                .detail = STR("timeout"),
                                                .provider_id = STR(""),
                                                .message = STR("m")}}};
  struct error err;
  struct buf bytes;
  buf_init(&bytes);
  outbox_entry_encode(&entry, &bytes);
  assert_int_equal(outbox_entry_decode(&back, buf_str(&bytes), &err), 0);
  assert_int_equal(back.attempts, 3);
  assert_int_equal(back.unsent, 2);
  assert_true(back.open);
  assert_int_equal(back.retry_at, -5);
  assert_int_equal(back.age_from, 77);
  assert_true(hash128_equal(back.message.id, entry.message.id));
  assert_true(str_equal(back.message.to, entry.message.to));
  for (size_t len = 0; len < bytes.len; len++)
    assert_int_equal(outbox_entry_decode(&back, (struct str){(char *)bytes.data, len}, &err), ERROR_CORRUPT);
  buf_put_u8(&bytes, 0);
  assert_int_equal(outbox_entry_decode(&back, buf_str(&bytes), &err), ERROR_CORRUPT);
  bytes.data[0] = 3;
  assert_int_equal(outbox_entry_decode(&back, buf_str(&bytes), &err), ERROR_VERSION);
  for (int i = 0; i < 2; i++) {
    struct dead_letter letter;
    buf_clear(&bytes);
    dead_letter_encode(&letters[i], &bytes);
    assert_int_equal(dead_letter_decode(&letter, buf_str(&bytes), &err), 0);
    assert_int_equal(letter.kind, letters[i].kind);
    assert_int_equal(letter.at, letters[i].at);
    assert_true(entity_equal(letter.entity, letters[i].entity));
    assert_true(hash128_equal(letter.id, letters[i].id));
    if (i == 0) assert_true(str_equal(letter.failure.error, STR("boom")));
    if (i == 1) assert_true(str_equal(letter.outcome.message, STR("m")));
    for (size_t len = 0; len < bytes.len; len++)
      assert_int_equal(dead_letter_decode(&letter, (struct str){(char *)bytes.data, len}, &err),
                       ERROR_CORRUPT);
    srand(1);
    for (int round = 0; round < 5000; round++) { // whatever it holds: an answer, no crash
      uint8_t *at = &bytes.data[rand() % (int)bytes.len], byte = *at;
      *at = (uint8_t)rand();
      dead_letter_decode(&letter, buf_str(&bytes), &err);
      outbox_entry_decode(&back, buf_str(&bytes), &err);
      *at = byte;
    }
  }
  buf_deinit(&bytes);
}

struct found {
  uint64_t ids[64];
  int count;
  struct outbox_entry entry;
};

static int note_outbox(void *context, const struct outbox_entry *entry) {
  struct found *found = context;
  found->ids[found->count++] = entry->message.id.low;
  found->entry.attempts = entry->attempts;
  return 0;
}

static int note_dead(void *context, const struct dead_letter *letter) {
  struct found *found = context;
  found->ids[found->count++] = letter->id.low;
  return 0;
}

static void outbox_and_dead_letters_are_kept_by_key(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct support_write write;
  support_write_init(&write, store, &loop);
  for (uint64_t i = 0; i < 5; i++) {
    struct outbox_entry entry = {.message = support_message(support_user("ada"), support_id(i))};
    store_write_outbox(&write.write, &entry);
    entry.attempts = (uint32_t)i + 1;
    store_write_outbox(&write.write, &entry);
    if (i % 2) store_write_outbox_done(&write.write, support_user("ada"), support_id(i), 0);
    struct dead_letter letter = {.id = support_id(100 + i),
                                 .kind = DEAD_RULE,
                                 .entity = support_user("bob"),
                                 .failure = {.id = support_id(100 + i), .error = STR("e")}};
    store_write_dead(&write.write, &letter);
    if (i == 2) store_write_dead_done(&write.write, support_user("bob"), support_id(102));
  }
  assert_int_equal(support_write_finish(&write, store, &loop), 0);
  struct found found = {0};
  struct error err;
  assert_int_equal(store_scan_outbox(store, note_outbox, &found, &err), 0);
  assert_int_equal(found.count, 3);
  assert_int_equal(found.entry.attempts, 5);
  found.count = 0;
  assert_int_equal(store_scan_dead(store, note_dead, &found, &err), 0);
  assert_int_equal(found.count, 4);
  struct buf bytes;
  buf_init(&bytes);
  struct dead_letter letter;
  assert_int_equal(store_get_dead(store, support_id(104), &bytes, &err), 0);
  assert_int_equal(dead_letter_decode(&letter, buf_str(&bytes), &err), 0);
  assert_int_equal(letter.id.low, 104);
  assert_int_equal(store_get_dead(store, support_id(102), &bytes, &err), ERROR_NOT_FOUND);
  buf_deinit(&bytes);
  store_close(store);
  support_loop_deinit(&loop);
}

/* ---- meta, versions, locks ---- */

static void facts_are_durable_at_once(void **state) {
  (void)state;
  struct error err;
  struct store *store = support_open_store();
  struct buf value;
  buf_init(&value);
  assert_int_equal(store_meta_get(store, STR("x"), &value, &err), ERROR_NOT_FOUND);
  store_close(store);
  char *const words[] = {"test_store", "meta", support_directory, NULL};
  assert_int_equal(WTERMSIG(support_run_again("", words)), SIGKILL);
  store = support_open_store();
  assert_int_equal(store_meta_get(store, STR("x"), &value, &err), 0);
  assert_true(str_equal(buf_str(&value), STR("kept")));
  struct log_position position;
  uint64_t next_seq;
  assert_int_equal(store_checkpoint_get(store, &position, &next_seq, &err), 0);
  assert_int_equal(position.segment, 0);
  assert_int_equal(next_seq, 1);
  buf_deinit(&value);
  store_close(store);
}

static void another_format_is_refused(void **state) {
  (void)state;
  const char *const written[] = {"1", "4"}, *const by[] = {"an older version", "a newer version"};
  for (int i = 0; i < 2; i++) {
    struct error err;
    struct store *store = support_open_store();
    assert_int_equal(store_meta_put(store, STR("format"), str_from(written[i]), &err), 0);
    store_close(store);
    struct store_options options = support_store_options();
    for (int read_only = 0; read_only < 2; read_only++) {
      options.read_only = read_only;
      assert_int_equal(store_rocks_open(&store, &options, &err), ERROR_VERSION);
      assert_null(store);
      assert_non_null(strstr(err.message, by[i]));
    }
    support_remove(support_directory);
    assert_int_equal(mkdir(support_directory, 0700), 0);
  }
}

static void a_second_process_is_refused(void **state) {
  (void)state;
  struct error err;
  struct store_options options = support_store_options();
  struct store *store = support_open_store(), *second;
  assert_int_equal(store_rocks_open(&second, &options, &err), ERROR_EXISTS);
  char *const words[] = {"test_store", "second", support_directory, NULL};
  assert_int_equal(WEXITSTATUS(support_run_again("", words)), 0);
  store_close(store);
  options.directory = support_path("nothing");
  options.read_only = true;
  assert_int_equal(store_rocks_open(&store, &options, &err), ERROR_NOT_FOUND);
}

/* ---- checkpoints and failures ---- */

static void a_checkpoint_keeps_what_was_written_before_it(void **state) {
  (void)state;
  char *const words[] = {"test_store", "checkpoint", support_directory, NULL};
  assert_int_equal(WTERMSIG(support_run_again("", words)), SIGKILL);
  struct error err;
  struct store *store = support_open_store();
  struct log_position position;
  uint64_t next_seq;
  assert_int_equal(store_checkpoint_get(store, &position, &next_seq, &err), 0);
  assert_int_equal(position.segment, 3);
  assert_int_equal(position.offset, 128);
  assert_int_equal(next_seq, 77);
  struct record record;
  record_init(&record);
  assert_int_equal(store_get_user(store, support_user("ada"), &record, &err), 0);
  assert_int_equal(support_attribute(&record, "n"), 1);
  record_deinit(&record);
  struct due_list list = {0};
  assert_int_equal(store_scan_timers(store, list_timer, &list, &err), 0);
  assert_int_equal(list.count, 1);
  struct found found = {0};
  assert_int_equal(store_scan_outbox(store, note_outbox, &found, &err), 0);
  assert_int_equal(found.count, 1);
  store_close(store);
}

static int write_ada(struct store *store, struct support_loop *loop, int64_t n) {
  struct support_write write;
  support_write_init(&write, store, loop);
  struct record record;
  record_init(&record);
  support_set_attribute(&record, "n", n);
  store_write_user(&write.write, support_user("ada"), &record, INT64_MAX, 5);
  struct outbox_entry entry = {.message = support_message(support_user("ada"), support_id(1))};
  store_write_outbox(&write.write, &entry);
  record_deinit(&record);
  return support_write_finish(&write, store, loop);
}

static void failures_are_told_and_the_store_opens_again(void **state) {
  (void)state;
  struct error err;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  support_failpoints("store.write=enospc@2,store.checkpoint=error@2");
  assert_int_equal(write_ada(store, &loop, 1), 0);
  assert_int_equal(write_ada(store, &loop, 2), ERROR_NO_SPACE);
  assert_int_equal(store_checkpoint(store, (struct log_position){1, 64}, 5, &err), ERROR_IO);
  struct log_position position;
  uint64_t next_seq;
  assert_int_equal(store_checkpoint_get(store, &position, &next_seq, &err), 0);
  assert_int_equal(position.segment, 0);
  support_failpoints("");
  assert_int_equal(store_reopen(store, &err), 0);
  assert_int_equal(write_ada(store, &loop, 3), 0);
  assert_int_equal(store_checkpoint(store, (struct log_position){1, 64}, 5, &err), 0);
  struct record record;
  record_init(&record);
  assert_int_equal(store_get_user(store, support_user("ada"), &record, &err), 0);
  assert_int_equal(support_attribute(&record, "n"), 3);
  record_deinit(&record);
  struct store_figures figures;
  store_measure(store, &figures);
  assert_true(figures.bytes_on_disk > 0);
  assert_in_range(figures.users_estimate, 1, 2); // versions that are not merged yet count
  store_close(store);
  support_loop_deinit(&loop);
}

/** As on a full disk: no file may grow, RocksDB's own among them. Another process's, for a limit on its
 * files. */
static int fill_disk(struct store *store, struct support_loop *loop) {
  struct error err;
  struct rlimit limit;
  signal(SIGXFSZ, SIG_IGN);
  getrlimit(RLIMIT_FSIZE, &limit);
  if (write_ada(store, loop, 1)) return 4;
  limit.rlim_cur = 0;
  setrlimit(RLIMIT_FSIZE, &limit);
  for (int i = 0; i < 3; i++) {
    if (!store_checkpoint(store, (struct log_position){1, 64}, 5, &err)) return 5;
    if (!store_reopen(store, &err)) return 6;
  }
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_FSIZE, &limit);
  if (store_reopen(store, &err) || write_ada(store, loop, 2)) return 7;
  if (store_checkpoint(store, (struct log_position){1, 64}, 5, &err)) return 8;
  store_close(store);
  support_loop_deinit(loop);
  return 0;
}

static void a_full_disk_is_outlived(void **state) {
  (void)state;
  char *const words[] = {"test_store", "full", support_directory, NULL};
  int status = support_run_again("", words);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_store_that_cannot_be_opened_again_may_be_tried_once_more(void **state) {
  (void)state;
  struct error err;
  struct store *store = support_open_store();
  assert_int_equal(rename(support_path("db/CURRENT"), support_path("CURRENT")), 0);
  assert_int_equal(mkdir(support_path("db/CURRENT"), 0700), 0);
  assert_int_not_equal(store_reopen(store, &err), 0);
  struct buf value;
  buf_init(&value);
  assert_int_equal(store_meta_get(store, STR("format"), &value, &err), ERROR_UNAVAILABLE);
  assert_int_equal(rmdir(support_path("db/CURRENT")), 0);
  assert_int_equal(rename(support_path("CURRENT"), support_path("db/CURRENT")), 0);
  assert_int_equal(store_reopen(store, &err), 0);
  assert_int_equal(store_meta_get(store, STR("format"), &value, &err), 0);
  buf_deinit(&value);
  store_close(store);
}

/* ---- sealing ---- */

static struct log *open_log(struct log_position end) {
  struct log *log = NULL;
  struct error err = {0};
  struct log_options options = {
      .directory = support_path("log"), .segment_size = 1 << 30, .segment_age = 1 << 30};
  if (log_open(&log, &options, end, &err)) fail_msg("%s", err.message);
  return log;
}

/** A segment of `count` events of ada, seq from `seq`; every third with a suppression that is a decision and
 * an attribute that is none. */
static struct log_position write_segment(struct log_position end, uint64_t seq, int count, int64_t at) {
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_log(end);
  struct support_input input;
  buf_init(&input.input);
  buf_init(&input.effects);
  for (int i = 0; i < count; i++, seq++) {
    char id[32];
    snprintf(id, sizeof id, "event-%" PRIu64, seq);
    support_event(&input, support_user("ada"), id, at);
    buf_clear(&input.effects);
    struct effect attribute = {.type = EFFECT_ATTRIBUTE, .attribute = {STR("x"), {"\x05", 1}}};
    effect_encode(&attribute, &input.effects);
    if (seq % 3 == 0)
      effect_encode(&(struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("email"), STR("bounced"), at}},
                    &input.effects);
    struct log_record record = {.seq = seq,
                                .type = LOG_EVENT,
                                .generation = 4,
                                .at = at,
                                .entity = support_user("ada"),
                                .input = buf_str(&input.input),
                                .effects = buf_str(&input.effects)};
    assert_int_equal(support_write(log, &loop, &record, 1, &end), 0);
  }
  log_close(log);
  buf_deinit(&input.input);
  buf_deinit(&input.effects);
  support_loop_deinit(&loop);
  return end;
}

struct past {
  uint64_t seqs[256];
  int count, decisions;
  int64_t at;
};

static int note_record(void *context, const struct log_record *record) {
  struct past *past = context;
  past->seqs[past->count++] = record->seq;
  past->at = record->at;
  struct reader reader = reader_of(record->effects);
  while (reader_left(&reader)) {
    struct effect effect;
    assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
    assert_int_equal(effect.type, EFFECT_SUPPRESS);
    past->decisions++;
  }
  if (record->type == LOG_EVENT) {
    struct event event;
    reader = reader_of(record->input);
    assert_int_equal(event_decode(&event, &reader, NULL), 0);
    char id[32];
    snprintf(id, sizeof id, "event-%" PRIu64, record->seq);
    assert_true(str_equal(event.id, str_from(id)));
    assert_int_equal(record->generation, 4);
  }
  return 0;
}

static void assert_past(struct store *store, uint64_t from, uint64_t to) {
  struct past past = {0};
  struct error err = {0};
  int rc = history_scan(store, support_path("log"), NULL, support_user("ada"), note_record, &past, &err);
  if (rc) fail_msg("%s", err.message);
  assert_int_equal(past.count, to - from + 1);
  for (int i = 0; i < past.count; i++) assert_int_equal(past.seqs[i], from + (uint64_t)i);
  assert_int_equal(past.decisions, to / 3 - (from - 1) / 3);
}

static bool seen_maybe(struct store *store, const char *user, const char *event_id) {
  struct entity entity = support_user(user);
  return store_seen_maybe(store, seen_mark(entity, str_from(event_id)));
}

static bool is_seen(struct store *store, const char *event_id, int64_t since) {
  struct support_loop loop;
  support_loop_init(&loop);
  struct store_fetch_item item = {.entity = support_user("ada"), .event_id = str_from(event_id)};
  assert_int_equal(support_fetch(store, &loop, &item, 1, since), 0);
  support_loop_deinit(&loop);
  return item.seen;
}

static void a_sealed_segment_is_a_sorted_past(void **state) {
  (void)state;
  struct error err;
  int64_t at = 1700000000000;
  struct store *store = support_open_store();
  struct log_position end = write_segment((struct log_position){0, 0}, 1, 40, at);
  end = write_segment(end, 41, 40, at + 1000);
  end = write_segment(end, 81, 10, at + 2000);
  assert_past(store, 1, 90);
  assert_false(seen_maybe(store, "ada", "event-1"));
  for (uint64_t number = 1; number <= 2; number++) {
    assert_int_equal(store_seal(store, support_path("log"), number, &err), 0);
    assert_int_equal(store_seal(store, support_path("log"), number, &err), 0);
    assert_int_equal(store_sealed(store), number);
    assert_past(store, 1, 90);
  }
  struct past past = {0};
  assert_int_equal(store_scan_history(store, support_user("ada"), note_record, &past, &err), 0);
  assert_int_equal(past.count, 80);
  past.count = 0;
  assert_int_equal(store_scan_history(store, support_user("ad"), note_record, &past, &err), 0);
  assert_int_equal(store_scan_history(store, support_user("adaa"), note_record, &past, &err), 0);
  assert_int_equal(past.count, 0);
  // Marks count by the time of acceptance, to the millisecond.
  assert_true(is_seen(store, "event-40", at - 1));
  assert_false(is_seen(store, "event-40", at));
  assert_true(is_seen(store, "event-41", at + 999));
  assert_false(is_seen(store, "event-41", at + 1000));
  assert_false(is_seen(store, "event-81", 1));
  assert_false(is_seen(store, "event-80", 0)); // older than dedup_keep by the clock
  // A closed segment that is open no more, after a start.
  assert_int_equal(store_reopen(store, &err), 0);
  assert_int_equal(store_sealed(store), 2);
  assert_past(store, 1, 90);
  assert_true(is_seen(store, "event-40", at - 1));
  store_close(store);
}

static void filters_know_what_is_sealed(void **state) {
  (void)state;
  struct error err;
  int64_t now = (int64_t)time(NULL) * 1000;
  struct store *store = support_open_store();
  struct log_position end = write_segment((struct log_position){0, 0}, 1, 50, now);
  write_segment(end, 51, 5, now);
  assert_int_equal(store_seal(store, support_path("log"), 1, &err), 0);
  for (int again = 0; again < 2; again++) {
    // Until there is a filter, all might be known.
    for (int wait = 0; wait < 6000 && seen_maybe(store, "eve", "event-1"); wait++) usleep(10000);
    for (int i = 1; i <= 50; i++) {
      char id[32];
      snprintf(id, sizeof id, "event-%d", i);
      assert_true(seen_maybe(store, "ada", id));
      assert_true(is_seen(store, id, 0));
    }
    int maybe = 0;
    for (int i = 1000; i < 3000; i++) {
      char id[32];
      snprintf(id, sizeof id, "event-%d", i);
      maybe += seen_maybe(store, "ada", id);
    }
    assert_true(maybe < 100);
    assert_false(seen_maybe(store, "eve", "event-1"));
    store_close(store);
    store = support_open_store(); // now the filter is built from what is there
  }
  store_close(store);
}

static void sealing_goes_on_wherever_it_broke_off(void **state) {
  (void)state;
  struct error err;
  int64_t at = 1700000000000;
  struct store *store = support_open_store();
  struct log_position end = write_segment((struct log_position){0, 0}, 1, 30, at);
  write_segment(end, 31, 9, at);
  for (int hit = 1; hit <= 5; hit++) {
    char specification[64];
    snprintf(specification, sizeof specification, "store.ingest=error@%d", hit);
    support_failpoints(specification);
    assert_int_equal(store_seal(store, support_path("log"), 1, &err), ERROR_IO);
    support_failpoints("");
    assert_int_equal(store_sealed(store), 0);
    assert_past(store, 1, 39); // each once, although slices may hold some of it
  }
  store_close(store);
  for (int hit = 1; hit <= 5; hit++) {
    char specification[64];
    snprintf(specification, sizeof specification, "store.ingest=kill@%d", hit);
    char *const words[] = {"test_store", "seal", support_directory, NULL};
    assert_int_equal(WTERMSIG(support_run_again(specification, words)), SIGKILL);
  }
  store = support_open_store();
  assert_int_equal(store_sealed(store), 0);
  assert_past(store, 1, 39);
  assert_int_equal(store_seal(store, support_path("log"), 1, &err), 0);
  assert_past(store, 1, 39);
  struct past past = {0};
  assert_int_equal(store_scan_history(store, support_user("ada"), note_record, &past, &err), 0);
  assert_int_equal(past.count, 30);
  store_close(store);
}

/** An attempt's number is drawn on another thread than its user's events': either may be written first. */
static struct log_position write_numbers(struct log_position end, const uint64_t *seqs, size_t count,
                                         int64_t at) {
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_log(end);
  struct support_input input;
  buf_init(&input.input);
  buf_init(&input.effects);
  effect_encode(&(struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("email"), STR("bounced"), at}},
                &input.effects);
  for (size_t i = 0; i < count; i++) {
    char id[32];
    snprintf(id, sizeof id, "event-%" PRIu64, seqs[i]);
    bool attempt = seqs[i] % 2 == 0;
    support_event(&input, support_user("ada"), id, at);
    struct log_record record = {.seq = seqs[i],
                                .type = attempt ? LOG_ATTEMPT : LOG_EVENT,
                                .generation = 4,
                                .at = at,
                                .entity = support_user("ada"),
                                .input = attempt ? STR("0123456789abcdef1") : buf_str(&input.input),
                                .effects = attempt ? STR("") : buf_str(&input.effects)};
    assert_int_equal(support_write(log, &loop, &record, 1, &end), 0);
  }
  log_close(log);
  buf_deinit(&input.input);
  buf_deinit(&input.effects);
  support_loop_deinit(&loop);
  return end;
}

static int note_whole(void *context, const struct log_record *record) {
  struct past *past = context;
  if (record->type == LOG_EVENT) {
    assert_true(record->input.len > 0);
    assert_true(record->effects.len > 0);
    past->decisions++;
  }
  past->count++;
  return 0;
}

static void numbers_out_of_order_do_no_harm(void **state) {
  (void)state;
  struct error err = {0};
  int64_t at = 1700000000000;
  struct store *store = support_open_store();
  struct log_position end = write_numbers((struct log_position){0, 0}, (uint64_t[]){3, 6, 5, 7, 14}, 5, at);
  end = write_numbers(end, (uint64_t[]){11, 10, 13, 17, 20}, 5, at + 1000);
  end = write_numbers(end, (uint64_t[]){19, 21}, 2, at + 2000);
  for (uint64_t sealed = 0; sealed <= 2; sealed++) {
    struct past past = {0};
    if (sealed) assert_int_equal(store_seal(store, support_path("log"), sealed, &err), 0);
    int rc = history_scan(store, support_path("log"), NULL, support_user("ada"), note_whole, &past, &err);
    if (rc) fail_msg("%s", err.message);
    assert_int_equal(past.count, 12);
    assert_int_equal(past.decisions, 8);
  }
  store_close(store);
}

/** RocksDB takes a file over by a link, and drops its first name after: a crash between the two leaves both.
 */
static void what_was_taken_over_is_not_written_into(void **state) {
  (void)state;
  struct error err;
  int64_t at = 1700000000000;
  struct store *store = support_open_store();
  struct log_position end = write_segment((struct log_position){0, 0}, 1, 60, at);
  end = write_segment(end, 61, 3, at);
  write_segment(end, 64, 1, at);
  assert_int_equal(store_seal(store, support_path("log"), 1, &err), 0);
  DIR *directory = opendir(support_path("db"));
  bool left = false;
  for (struct dirent *entry; !left && (entry = readdir(directory));) {
    char name[64];
    snprintf(name, sizeof name, "db/%.40s", entry->d_name);
    left = strstr(name, ".sst") && link(support_path(name), support_path("db/sealing-log")) == 0 &&
           link(support_path(name), support_path("db/sealing-ledger")) == 0;
  }
  closedir(directory);
  assert_true(left);
  assert_int_equal(store_seal(store, support_path("log"), 2, &err), 0);
  store_close(store);
  store = support_open_store();
  assert_past(store, 1, 64);
  store_close(store);
}

static int64_t retention(struct store *store, int64_t wall, int64_t mono_s) {
  struct error err;
  int64_t out;
  assert_int_equal(store_retention_time(store, wall, mono_s * 1000000, &out, &err), 0);
  return out;
}

static void retention_follows_a_clock_that_is_ahead_slowly(void **state) {
  (void)state;
  const int64_t day = 24 * 3600 * (int64_t)1000, at = 20000 * day;
  struct store *store = support_open_store();
  assert_int_equal(retention(store, at, 100), at);
  assert_int_equal(retention(store, at + 60000, 160), at + 60000);
  assert_int_equal(retention(store, at + 40 * day, 220), at + 180000);
  assert_int_equal(retention(store, at + 40 * day, 280), at + 300000);
  store_close(store);
  store = support_open_store();
  assert_int_equal(retention(store, at + 40 * day, 5), at + 300000); // not known how long it was away
  assert_int_equal(retention(store, at + 40 * day, 65), at + 420000);
  assert_int_equal(retention(store, at + 360000, 125), at + 360000);
  assert_int_equal(retention(store, at - day, 185), at - day);
  assert_int_equal(retention(store, at, 185 + 24 * 3600), at);
  store_close(store);
}

static void retention_counts_no_time_twice(void **state) {
  (void)state;
  const int64_t at = 20000 * 24 * 3600 * (int64_t)1000;
  struct store *store = support_open_store();
  struct error err;
  int64_t out;
  assert_int_equal(retention(store, at, 100), at);
  support_failpoints("store.fact=error");
  assert_int_equal(store_retention_time(store, at + 1000000, 160 * 1000000, &out, &err), ERROR_IO);
  support_failpoints("");
  assert_int_equal(store_retention_last(store), at);
  assert_int_equal(retention(store, at + 1000000, 160), at + 120000);
  store_close(store);
}

static int count_segments(void) {
  struct store_figures figures;
  struct store *store = support_open_store();
  struct error err;
  assert_int_equal(store_retain(store, support_path("log"), 0, &err), 0);
  store_measure(store, &figures);
  store_close(store);
  assert_true(figures.log_bytes > 0);
  return (int)figures.segments;
}

static void maintain(struct store *store, struct log_position end, uint64_t next_seq, int64_t at) {
  struct error err;
  while (store_sealed(store) < end.segment - 1)
    assert_int_equal(store_seal(store, support_path("log"), end.segment - 1, &err), 0);
  assert_int_equal(store_checkpoint(store, end, next_seq, &err), 0);
  assert_int_equal(store_retain(store, support_path("log"), at, &err), 0);
}

/** As many as the log began since the time before last; where few come, few stay. */
static void spare_segments_follow_what_the_log_wants(void **state) {
  (void)state;
  int64_t at = 1700000000000;
  uint64_t bytes;
  struct store *store = support_open_store();
  struct log_position end = {0, 0};
  uint64_t seq = 1;
  for (; seq <= 6; seq++) end = write_segment(end, seq, 1, at);
  maintain(store, end, seq, at);
  assert_int_equal(spare_measure(support_path("log"), &bytes), 5);
  // Those are written over first, and go with a demand that has gone.
  static const size_t left[] = {5, 1, 1};
  for (size_t i = 0; i < sizeof left / sizeof *left; i++, seq++) {
    end = write_segment(end, seq, 1, at);
    maintain(store, end, seq, at);
    assert_int_equal(spare_measure(support_path("log"), &bytes), left[i]);
  }
  struct store_figures figures;
  store_measure(store, &figures);
  assert_true(figures.log_bytes > bytes);
  assert_past(store, 1, seq - 1);
  store_close(store);
}

static void a_segment_that_a_backup_shares_becomes_no_spare(void **state) {
  (void)state;
  int64_t at = 1700000000000;
  uint64_t bytes;
  struct store *store = support_open_store();
  struct log_position end = {0, 0};
  uint64_t seq = 1;
  for (; seq <= 6; seq++) end = write_segment(end, seq, 1, at);
  for (unsigned segment = 1; segment <= 3; segment++) {
    char name[64], copy[64];
    snprintf(name, sizeof name, "log/%016x.log", segment);
    snprintf(copy, sizeof copy, "copy-%u", segment);
    char *from = strdup(support_path(name));
    assert_int_equal(link(from, support_path(copy)), 0);
    free(from);
  }
  maintain(store, end, seq, at);
  assert_int_equal(spare_measure(support_path("log"), &bytes), 2);
  store_close(store);
  assert_int_equal(count_segments(), 1);
}

static int note_decision(void *context, const struct log_record *record) {
  struct past *past = context;
  assert_int_equal(record->input.len, 0);
  assert_int_equal(record->seq % 3, 0);
  past->count++;
  return 0;
}

static void what_is_past_its_time_is_dropped(void **state) {
  (void)state;
  struct error err;
  int64_t now = (int64_t)time(NULL) * 1000;
  struct store *store = support_open_store();
  struct log_position end = write_segment((struct log_position){0, 0}, 1, 30, now), first = end;
  end = write_segment(end, 31, 9, now + 5);
  write_segment(end, 40, 1, now + 6);
  assert_int_equal(store_seal(store, support_path("log"), 1, &err), 0);
  assert_int_equal(store_seal(store, support_path("log"), 2, &err), 0);
  // Sealed, but recovery would still read it: the checkpoint is not past it.
  assert_int_equal(store_checkpoint(store, first, 31, &err), 0);
  store_close(store);
  assert_int_equal(count_segments(), 3);
  store = support_open_store();
  assert_int_equal(store_checkpoint(store, (struct log_position){2, 64}, 31, &err), 0);
  store_close(store);
  assert_int_equal(count_segments(), 2);
  store = support_open_store();
  assert_int_equal(store_checkpoint(store, (struct log_position){3, 64}, 40, &err), 0);
  store_close(store);
  assert_int_equal(count_segments(), 1);
  store = support_open_store();
  struct store_options keep = support_store_options();
  // To the millisecond: a slice goes when its newest record does.
  assert_int_equal(store_retain(store, support_path("log"), now + 4 + keep.dedup_keep, &err), 0);
  assert_true(is_seen(store, "event-39", now + 4));
  assert_int_equal(store_retain(store, support_path("log"), now + 5 + keep.dedup_keep, &err), 0);
  assert_false(is_seen(store, "event-39", now + 4));
  assert_int_equal(store_retain(store, support_path("log"), now + 4 + keep.log_keep, &err), 0);
  assert_past(store, 1, 40);
  assert_int_equal(store_retain(store, support_path("log"), now + 5 + keep.log_keep, &err), 0);
  // The ledger is kept longer: decisions without their events.
  struct past past = {0};
  assert_int_equal(store_scan_history(store, support_user("ada"), note_decision, &past, &err), 0);
  assert_int_equal(past.count, 13);
  assert_int_equal(store_retain(store, support_path("log"), now + 5 + keep.ledger_keep, &err), 0);
  assert_int_equal(store_reopen(store, &err), 0);
  assert_int_equal(store_scan_history(store, support_user("ada"), note_decision, &past, &err), 0);
  assert_int_equal(past.count, 13);
  store_close(store);
}

/* ---- read only, backup ---- */

static int note_seq(void *context, const struct log_record *record) {
  (*(uint64_t *)context) += record->seq;
  return 0;
}

static void a_directory_at_rest_is_read_with_its_tail(void **state) {
  (void)state;
  struct error err;
  int64_t now = (int64_t)time(NULL) * 1000;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct support_write write;
  support_write_init(&write, store, &loop);
  for (uint64_t i = 1; i <= 3; i++) {
    struct dead_letter letter = {.id = support_id(i),
                                 .kind = DEAD_RULE,
                                 .entity = support_user("ada"),
                                 .failure = {.id = support_id(i), .error = STR("e")}};
    store_write_dead(&write.write, &letter);
  }
  assert_int_equal(support_write_finish(&write, store, &loop), 0);
  struct log_position end = write_segment((struct log_position){0, 0}, 1, 20, now);
  assert_int_equal(store_checkpoint(store, end, 21, &err), 0);
  struct log *log = open_log(end);
  struct support_input input;
  buf_init(&input.effects);
  effect_encode(&(struct effect){.type = EFFECT_DEAD_CLEAR, .dead_id = support_id(2)}, &input.effects);
  effect_encode(&(struct effect){.type = EFFECT_FAILURE, .failure = {.id = support_id(7), .error = STR("e")}},
                &input.effects);
  effect_encode(&(struct effect){.type = EFFECT_FAILURE, .failure = {.id = support_id(8), .error = STR("e")}},
                &input.effects);
  effect_encode(&(struct effect){.type = EFFECT_DEAD_CLEAR, .dead_id = support_id(8)}, &input.effects);
  effect_encode(&(struct effect){.type = EFFECT_OUTCOME,
                                 .outcome = {.message_id = support_id(9), .kind = OUTCOME_REJECTED}},
                &input.effects);
  effect_encode(&(struct effect){.type = EFFECT_OUTCOME,
                                 .outcome = {.message_id = support_id(10), .kind = OUTCOME_ACCEPTED}},
                &input.effects);
  struct log_record record = {
      .seq = 21, .type = LOG_RETRY, .entity = support_user("ada"), .effects = buf_str(&input.effects)};
  assert_int_equal(support_write(log, &loop, &record, 1, NULL), 0);
  log_close(log);
  store_close(store);
  struct store_options options = support_store_options();
  options.read_only = true;
  int rc = store_rocks_open(&store, &options, &err);
  if (rc) fail_msg("%s", err.message);
  uint64_t sum = 0;
  assert_int_equal(history_scan(store, support_path("log"), NULL, support_user("ada"), note_seq, &sum, &err),
                   0);
  assert_int_equal(sum, 21 * 22 / 2);
  struct found found = {0};
  assert_int_equal(history_dead(store, support_path("log"), note_dead, &found, &err), 0);
  uint64_t ids = 0;
  for (int i = 0; i < found.count; i++) ids += UINT64_C(1) << found.ids[i];
  assert_int_equal(ids, 1 << 1 | 1 << 3 | 1 << 7 | 1 << 9);
  assert_int_equal(store_meta_put(store, STR("x"), STR("y"), &err), ERROR_INVALID);
  store_close(store);
  buf_deinit(&input.effects);
  support_loop_deinit(&loop);
}

struct letters {
  uint64_t ids[3000];
  size_t count;
};

static int note_letter(void *context, const struct dead_letter *letter) {
  struct letters *letters = context;
  letters->ids[letters->count++] = letter->id.low;
  return 0;
}

static void many_letters_of_a_tail_are_told_in_its_order(void **state) {
  (void)state;
  enum { MANY = 3000 };
  struct error err;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct log *log = open_log((struct log_position){0, 0});
  struct support_input input;
  buf_init(&input.effects);
  for (uint64_t i = 0; i < MANY; i++)
    effect_encode(
        &(struct effect){.type = EFFECT_FAILURE, .failure = {.id = support_id(i * 64), .error = STR("e")}},
        &input.effects);
  for (uint64_t i = 0; i < MANY; i += 3)
    effect_encode(&(struct effect){.type = EFFECT_DEAD_CLEAR, .dead_id = support_id(i * 64)}, &input.effects);
  struct log_record record = {
      .seq = 1, .type = LOG_RETRY, .entity = support_user("ada"), .effects = buf_str(&input.effects)};
  assert_int_equal(support_write(log, &loop, &record, 1, NULL), 0);
  log_close(log);
  static struct letters letters;
  assert_int_equal(history_dead(store, support_path("log"), note_letter, &letters, &err), 0);
  assert_int_equal(letters.count, MANY / 3 * 2);
  for (size_t i = 0; i < letters.count; i++) assert_int_equal(letters.ids[i], (i / 2 * 3 + i % 2 + 1) * 64);
  store_close(store);
  buf_deinit(&input.effects);
  support_loop_deinit(&loop);
}

static void a_backup_is_a_directory_to_start_on(void **state) {
  (void)state;
  struct error err = {0};
  int64_t now = (int64_t)time(NULL) * 1000;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct log_position end = write_segment((struct log_position){0, 0}, 1, 20, now);
  end = write_segment(end, 21, 19, now);
  assert_int_equal(store_seal(store, support_path("log"), 1, &err), 0);
  assert_int_equal(store_checkpoint(store, end, 40, &err), 0);
  struct log *log = open_log(end);
  struct support_input input;
  buf_init(&input.input);
  support_event(&input, support_user("ada"), "event-40", now);
  struct log_record record = {.seq = 40,
                              .type = LOG_EVENT,
                              .generation = 4,
                              .at = now,
                              .entity = support_user("ada"),
                              .input = buf_str(&input.input)};
  assert_int_equal(support_write(log, &loop, &record, 1, NULL), 0);
  assert_int_equal(write_ada(store, &loop, 9), 0); // in memory alone
  const char *target = support_path("backup");
  int rc = store_backup(store, support_path("log"), log, target, &err);
  if (rc) fail_msg("%s", err.message);
  assert_int_equal(store_backup(store, support_path("log"), log, target, &err), ERROR_EXISTS);
  support_failpoints("store.directory=error");
  assert_int_equal(store_backup(store, support_path("log"), log, target, &err), ERROR_IO);
  assert_non_null(strstr(err.message, "cannot be read"));
  support_failpoints("");
  // What happens afterwards is not in it.
  support_event(&input, support_user("ada"), "event-41", now);
  record.seq = 41;
  record.input = buf_str(&input.input);
  assert_int_equal(support_write(log, &loop, &record, 1, NULL), 0);
  assert_int_equal(write_ada(store, &loop, 10), 0);
  log_close(log);
  assert_past(store, 1, 41);
  store_close(store);
  char kept[64];
  memcpy(kept, support_directory, sizeof kept);
  snprintf(support_directory, sizeof support_directory, "%.40s/backup", kept);
  store = support_open_store();
  assert_true(is_seen(store, "event-20", now - 1));
  assert_past(store, 1, 40);
  struct recovery_options options = {
      .log_directory = support_path("log"), .memory = 1 << 20, .record_max = 1 << 16};
  struct recovery_result result;
  rc = recovery_run(store, &options, &result, &err);
  if (rc) fail_msg("%s", err.message);
  assert_int_equal(result.next_seq, 41);
  assert_int_equal(result.cut, 0);
  struct record ada;
  record_init(&ada);
  assert_int_equal(store_get_user(store, support_user("ada"), &ada, &err), 0);
  assert_int_equal(support_attribute(&ada, "n"), 9);
  record_deinit(&ada);
  log_close(open_log(result.end));
  store_close(store);
  memcpy(support_directory, kept, sizeof kept);
  buf_deinit(&input.input);
  support_loop_deinit(&loop);
}

/* ---- what this program does when it is run again ---- */

static int child(const char *what) {
  struct error err;
  struct support_loop loop;
  struct store_options options = support_store_options();
  struct store *store;
  failpoint_init();
  if (strcmp(what, "second") == 0) {
    for (int read_only = 0; read_only < 2; read_only++) {
      options.read_only = read_only;
      if (store_rocks_open(&store, &options, &err) != ERROR_EXISTS ||
          !strstr(err.message, "holds this data directory"))
        return 1;
    }
    return 0;
  }
  if (store_rocks_open(&store, &options, &err)) return 2;
  support_loop_init(&loop);
  if (strcmp(what, "meta") == 0) store_meta_put(store, STR("x"), STR("kept"), &err);
  if (strcmp(what, "full") == 0) return fill_disk(store, &loop);
  if (strcmp(what, "checkpoint") == 0) {
    write_ada(store, &loop, 1);
    store_checkpoint(store, (struct log_position){3, 128}, 77, &err);
  }
  if (strcmp(what, "seal") == 0) {
    store_seal(store, support_path("log"), 1, &err);
    return 3;
  }
  return raise(SIGKILL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(int count, char **words) {
  if (count == 3) {
    snprintf(support_directory, sizeof support_directory, "%s", words[2]);
    return child(words[1]);
  }
  const struct CMUnitTest tests[] = {
      TEST(records_are_written_and_fetched_in_batches),
      TEST(retention_follows_a_clock_that_is_ahead_slowly),
      TEST(retention_counts_no_time_twice),
      TEST(a_record_that_cannot_be_read_hides_no_other),
      TEST(the_timer_index_follows_the_records),
      cmocka_unit_test(stored_entries_survive_and_broken_ones_are_refused),
      TEST(outbox_and_dead_letters_are_kept_by_key),
      TEST(facts_are_durable_at_once),
      TEST(another_format_is_refused),
      TEST(a_second_process_is_refused),
      TEST(a_checkpoint_keeps_what_was_written_before_it),
      TEST(failures_are_told_and_the_store_opens_again),
      TEST(a_full_disk_is_outlived),
      TEST(a_store_that_cannot_be_opened_again_may_be_tried_once_more),
      TEST(a_sealed_segment_is_a_sorted_past),
      TEST(filters_know_what_is_sealed),
      TEST(sealing_goes_on_wherever_it_broke_off),
      TEST(what_was_taken_over_is_not_written_into),
      TEST(numbers_out_of_order_do_no_harm),
      TEST(spare_segments_follow_what_the_log_wants),
      TEST(a_segment_that_a_backup_shares_becomes_no_spare),
      TEST(what_is_past_its_time_is_dropped),
      TEST(a_directory_at_rest_is_read_with_its_tail),
      TEST(many_letters_of_a_tail_are_told_in_its_order),
      TEST(a_backup_is_a_directory_to_start_on),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
