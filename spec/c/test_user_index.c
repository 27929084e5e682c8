// links: base event state
/* The user index in memory and in RocksDB, side by side with the plainest model there is: a list. */
#include "random.h"
#include "state/store_internal.h"
#include "store_support.h"

#include <inttypes.h>

enum { USERS = 60, INDEXES = 2, KEYS = 3, TIMES = 6 };

/** One of a few times, far ahead: what has ended long ago is dropped. */
static int64_t some_time(void) {
  return INT64_C(5000000000000) + between(0, TIMES);
}

static const struct str indexes[INDEXES] = {{"interest:watchers", 17}, {"segment:vip", 11}};
static const struct str keys[KEYS] = {{"", 0}, {"K1", 2}, {"K10", 3}};

static char names[USERS][16];

static struct entity user(int number) {
  snprintf(names[number], sizeof names[number], "user-%d", number);
  return (struct entity){number % 7 ? ENTITY_USER : ENTITY_SUBJECT, str_from(names[number])};
}

struct model {
  bool there;
  char value;
  int64_t expires;
} model[INDEXES][KEYS][USERS];

static void model_apply(int index, int key, int who, const struct index_change *change) {
  struct model *at = &model[index][key][who];
  if (change->remove) {
    at->there = false;
    return;
  }
  bool longer =
      at->there && change->extend && change->expires && (!at->expires || at->expires > change->expires);
  if (longer) return;
  *at = (struct model){true, change->value.data[0], change->expires};
}

static int by_bytes(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/** Lines "partition kind id value expires", as a scan must give them. */
static void model_tell(int index, int key, int partition, int64_t now, struct buf *out) {
  char *lines[USERS];
  int count = 0;
  for (int i = 0; i < USERS; i++) {
    const struct model *at = &model[index][key][i];
    unsigned of = entity_partition(user(i));
    if (!at->there || (at->expires && at->expires <= now) || (partition >= 0 && of != (unsigned)partition))
      continue;
    lines[count] = malloc(64);
    snprintf(lines[count++], 64, "%03u %c %s\n%c %" PRId64 "\n", of, user(i).kind, user(i).id.data, at->value,
             at->expires);
  }
  qsort(lines, (size_t)count, sizeof *lines, by_bytes);
  for (int i = 0; i < count; i++) {
    buf_printf(out, "%s", lines[i]);
    free(lines[i]);
  }
}

static int tell(void *context, const struct index_user *found) {
  assert_int_equal(found->value.len, 1);
  buf_printf(context, "%03u %c %.*s\n%c %" PRId64 "\n", entity_partition(found->entity), found->entity.kind,
             STR_ARG(found->entity.id), found->value.data[0], found->expires);
  return 0;
}

/** Either index, in steps of a random width. */
static void scan(struct store *store, struct user_index *memory, int index, int key, int partition,
                 int64_t now, struct buf *out) {
  struct buf cursor;
  struct error err = {0};
  buf_init(&cursor);
  uint32_t most;
  int rc;
  do {
    most = (uint32_t)between(1, 20);
    rc = store ? store_scan_index(store, indexes[index], keys[key], partition, now, &cursor, most, tell, out,
                                  &err)
               : user_index_scan(memory, indexes[index], keys[key], partition, now, &cursor, most, tell, out);
    if (rc < 0) fail_msg("%s", err.message);
  } while ((uint32_t)rc == most);
  buf_deinit(&cursor);
}

static void compare(struct store *store, struct user_index *memory) {
  for (int i = 0; i < INDEXES * KEYS; i++) {
    struct buf expected, found;
    buf_init(&expected);
    buf_init(&found);
    int partition = between(0, 2) ? -1 : (int)entity_partition(user((int)between(0, USERS - 1)));
    int64_t now = some_time();
    model_tell(i / KEYS, i % KEYS, partition, now, &expected);
    for (int stored = 0; stored < 2; stored++) {
      buf_clear(&found);
      scan(stored ? store : NULL, memory, i / KEYS, i % KEYS, partition, now, &found);
      if (!str_equal(buf_str(&expected), buf_str(&found)))
        fail_msg("%s, now %d: found\n%.*sinstead of\n%.*s", stored ? "stored" : "memory", (int)now,
                 STR_ARG(buf_str(&found)), STR_ARG(buf_str(&expected)));
    }
    uint64_t count, lines = 0;
    assert_int_equal(store_count_index(store, indexes[i / KEYS], keys[i % KEYS], now, &count, NULL), 0);
    if (partition < 0) {
      for (size_t at = 0; at < expected.len; at++) lines += expected.data[at] == '\n';
      assert_int_equal(count, lines / 2);
    }
    buf_deinit(&expected);
    buf_deinit(&found);
  }
}

static void both_agree_with_a_plain_list(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct user_index *memory = user_index_new();
  memset(model, 0, sizeof model);
  struct error err = {0};
  seed = 5;
  for (uint64_t round = 1; round <= 60; round++) {
    struct support_write write;
    support_write_init(&write, store, &loop);
    for (int64_t i = between(1, 60); i > 0; i--) {
      int index = (int)between(0, INDEXES - 1), key = (int)between(0, KEYS - 1),
          who = (int)between(0, USERS - 1);
      char value = (char)('a' + between(0, 25));
      int64_t act = between(0, 3);
      struct index_change change = {.index = indexes[index],
                                    .key = keys[key],
                                    .value = {&value, 1},
                                    .expires = between(0, 3) ? some_time() : 0,
                                    .remove = act == 0,
                                    .extend = act == 1};
      model_apply(index, key, who, &change);
      user_index_apply(memory, user(who), &change);
      store_write_index(&write.write, user(who), &change);
    }
    assert_int_equal(support_write_finish(&write, store, &loop), 0);
    // What is merged on the way to the disk says the same as what is still in memory.
    if (round % 7 == 0)
      assert_int_equal(store_checkpoint(store, (struct log_position){1, round}, 1, &err), 0);
    if (round % 20 == 0) assert_int_equal(store_reopen(store, &err), 0);
    compare(store, memory);
  }
  user_index_free(memory);
  store_close(store);
  support_loop_deinit(&loop);
}

static int count_visit(void *context, const struct index_user *found) {
  (void)found;
  return ++*(int *)context == 3 ? -77 : 0;
}

static void a_visitor_may_end_the_scan(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct user_index *memory = user_index_new();
  struct support_write write;
  support_write_init(&write, store, &loop);
  for (int i = 0; i < 10; i++) {
    struct index_change change = {.index = indexes[0], .key = keys[1], .value = STR("v")};
    store_write_index(&write.write, user(i), &change);
    user_index_apply(memory, user(i), &change);
  }
  assert_int_equal(support_write_finish(&write, store, &loop), 0);
  for (int stored = 0; stored < 2; stored++) {
    struct buf cursor;
    buf_init(&cursor);
    int count = 0;
    struct error err = {0};
    for (int i = 0; i < 2; i++) {
      int rc =
          stored
              ? store_scan_index(store, indexes[0], keys[1], -1, 0, &cursor, 100, count_visit, &count, &err)
              : user_index_scan(memory, indexes[0], keys[1], -1, 0, &cursor, 100, count_visit, &count);
      assert_int_equal(rc, i == 0 ? -77 : 7); // and goes on behind the one that ended it
    }
    buf_deinit(&cursor);
  }
  user_index_free(memory);
  store_close(store);
  support_loop_deinit(&loop);
}

static bool is_there(struct store *store, const char *key) {
  struct buf cursor, out;
  buf_init(&cursor);
  buf_init(&out);
  // As of the beginning of time nothing has ended: what is told is what is on the disk.
  int rc = store_scan_index(store, indexes[0], str_from(key), -1, INT64_MIN, &cursor, 10, tell, &out, NULL);
  bool found = out.len > 0;
  assert_true(rc >= 0);
  buf_deinit(&cursor);
  buf_deinit(&out);
  return found;
}

static void compact(struct store *store) {
  rocksdb_compactoptions_t *options = rocksdb_compactoptions_create();
  rocksdb_compactoptions_set_bottommost_level_compaction(options, 2); // also what is there already
  rocksdb_compact_range_cf_opt(store->db, store->families[FAMILY_INDEX], options, NULL, 0, NULL, 0);
  rocksdb_compactoptions_destroy(options);
}

static void what_has_ended_is_dropped_in_time(void **state) {
  (void)state;
  int64_t now = (int64_t)time(NULL) * 1000;
  const struct {
    const char *key;
    int64_t expires;
    bool stays;
  } entries[] = {{"for ever", 0, true},
                 {"later", now + SUPPORT_HOUR, true},
                 {"just now", now - SUPPORT_HOUR, true}, // an event may be judged by an earlier time
                 {"long ago", now - 2 * (int64_t)SUPPORT_DAY, false},
                 {"longer ago", now - 4 * (int64_t)SUPPORT_DAY, false}};
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  int64_t as_of;
  assert_int_equal(store_retention_time(store, now, 1, &as_of, NULL), 0);
  for (int merged = 0; merged < 2; merged++) {
    struct support_write write;
    support_write_init(&write, store, &loop);
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
      store_write_index(&write.write, user(1),
                        &(struct index_change){.index = indexes[0],
                                               .key = str_from(entries[i].key),
                                               .value = STR("v"),
                                               .expires = entries[i].expires,
                                               .extend = merged});
    assert_int_equal(support_write_finish(&write, store, &loop), 0);
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
      assert_true(is_there(store, entries[i].key));
    if (merged == 0) { // nobody has said yet who reads them
      compact(store);
      for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        assert_true(is_there(store, entries[i].key));
    }
    store_keep_index(store, now - 3 * (int64_t)SUPPORT_DAY);
    compact(store);
    compact(store);
    assert_true(is_there(store, "long ago"));
    assert_false(is_there(store, "longer ago"));
    store_keep_index(store, INT64_MAX);
    compact(store);
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
      assert_int_equal(is_there(store, entries[i].key), entries[i].stays);
  }
  store_close(store);
  support_loop_deinit(&loop);
}

static void a_checkpoint_holds_the_index(void **state) {
  (void)state;
  char *const words[] = {"test_user_index", "checkpoint", support_directory, NULL};
  assert_int_equal(WTERMSIG(support_run_again("", words)), SIGKILL);
  struct store *store = support_open_store();
  assert_true(is_there(store, "before"));
  assert_false(is_there(store, "after")); // the log still has it
  store_close(store);
}

static void a_full_disk_is_told_and_the_index_goes_on(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct error err = {0};
  support_failpoints("store.write=enospc@1");
  for (int i = 0; i < 2; i++) {
    struct support_write write;
    support_write_init(&write, store, &loop);
    store_write_index(&write.write, user(1),
                      &(struct index_change){.index = indexes[0], .key = STR("k"), .value = STR("v")});
    assert_int_equal(support_write_finish(&write, store, &loop), i == 0 ? ERROR_NO_SPACE : 0);
    assert_int_equal(is_there(store, "k"), i);
    if (i == 0) {
      support_failpoints("");
      assert_int_equal(store_reopen(store, &err), 0);
    }
  }
  store_close(store);
  support_loop_deinit(&loop);
}

static void long_texts_are_refused(void **state) {
  (void)state;
  char text[INDEX_VALUE_MAX + 1];
  memset(text, 'x', sizeof text);
  const struct index_change changes[] = {{.index = {text, INDEX_NAME_MAX + 1}},
                                         {.index = STR("i"), .key = {text, INDEX_KEY_MAX + 1}},
                                         {.index = STR("i"), .value = {text, INDEX_VALUE_MAX + 1}},
                                         {.index = STR("")}};
  for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
    struct record record;
    struct error err = {0};
    record_init(&record);
    struct effect effect = {.type = EFFECT_INDEX, .index = changes[i]};
    assert_int_equal(record_apply(&record, &effect, 1 << 16, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "index"));
    struct buf bytes;
    buf_init(&bytes);
    effect_encode(&effect, &bytes);
    struct reader reader = reader_of(buf_str(&bytes));
    assert_int_equal(effect_decode(&effect, &reader, &err), ERROR_CORRUPT);
    buf_deinit(&bytes);
    record_deinit(&record);
  }
}

static int child(void) {
  struct error err;
  struct support_loop loop;
  struct store *store = support_open_store();
  support_loop_init(&loop);
  for (int after = 0; after < 2; after++) {
    struct support_write write;
    support_write_init(&write, store, &loop);
    store_write_index(&write.write, user(1),
                      &(struct index_change){.index = indexes[0],
                                             .key = after ? STR("after") : STR("before"),
                                             .value = STR("v"),
                                             .extend = true});
    support_write_finish(&write, store, &loop);
    if (!after) store_checkpoint(store, (struct log_position){3, 128}, 77, &err);
  }
  return raise(SIGKILL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(int count, char **words) {
  if (count == 3) {
    snprintf(support_directory, sizeof support_directory, "%s", words[2]);
    return child();
  }
  const struct CMUnitTest tests[] = {
      TEST(both_agree_with_a_plain_list),
      TEST(a_visitor_may_end_the_scan),
      TEST(what_has_ended_is_dropped_in_time),
      TEST(a_checkpoint_holds_the_index),
      TEST(a_full_disk_is_told_and_the_index_goes_on),
      cmocka_unit_test(long_texts_are_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
