// links: base event state
#include "store_support.h"

#include "state/event_walk.h"
#include "state/history.h"
#include "state/log_segment.h"
#include "state/seal_sort.h"
#include "state/seen.h"
#include "state/store_internal.h"

#include <fcntl.h>
#include <inttypes.h>

/* ---- making segments ---- */

static struct log *open_log(struct log_position end) {
  struct log *log = NULL;
  struct error err = {0};
  struct log_options options = {
      .directory = support_path("log"), .segment_size = 1 << 30, .segment_age = 1 << 30};
  if (log_open(&log, &options, end, &err)) fail_msg("%s", err.message);
  return log;
}

/** A segment that is being written. */
struct writing {
  struct support_loop loop;
  struct log *log;
  struct support_batch batch;
  struct support_input input;
};

static void writing_init(struct writing *writing, struct log_position end) {
  support_loop_init(&writing->loop);
  writing->log = open_log(end);
  support_batch_init(&writing->batch, &writing->loop);
  buf_init(&writing->input.input);
  buf_init(&writing->input.effects);
}

/** Add a record of what is in the input. */
static void writing_put(struct writing *writing, enum log_record_type type, struct entity entity,
                        uint64_t seq, int64_t at) {
  struct log_record record = {.seq = seq,
                              .type = type,
                              .generation = 4,
                              .at = at,
                              .entity = entity,
                              .input = buf_str(&writing->input.input),
                              .effects = buf_str(&writing->input.effects)};
  support_batch_put(&writing->batch, &record);
  buf_clear(&writing->input.input);
  buf_clear(&writing->input.effects);
}

static void writing_put_event(struct writing *writing, struct entity entity, const char *event_id,
                              uint64_t seq, int64_t at) {
  support_event(&writing->input, entity, event_id, at);
  writing_put(writing, LOG_EVENT, entity, seq, at);
}

/** Make it durable and close the segment. @return where it ends. */
static struct log_position writing_finish(struct writing *writing) {
  log_submit(writing->log, &writing->batch.log);
  support_loop_wait(&writing->loop, &writing->loop.answered, 1);
  assert_int_equal(writing->batch.log.status, 0);
  struct log_position end = writing->batch.log.end;
  log_close(writing->log);
  buf_deinit(&writing->batch.log.bytes);
  buf_deinit(&writing->input.input);
  buf_deinit(&writing->input.effects);
  support_loop_deinit(&writing->loop);
  return end;
}

/** `count` events of ada's with the ids "event-<seq>". */
static struct log_position write_events(struct log_position end, uint64_t seq, int count, int64_t at) {
  struct writing writing;
  writing_init(&writing, end);
  for (int i = 0; i < count; i++, seq++) {
    char id[32];
    snprintf(id, sizeof id, "event-%" PRIu64, seq);
    writing_put_event(&writing, support_user("ada"), id, seq, at);
  }
  return writing_finish(&writing);
}

/** Say in a segment's header that it was begun then. */
static void set_created(uint64_t number, int64_t created) {
  char name[64];
  uint8_t header[SEGMENT_HEADER];
  snprintf(name, sizeof name, "log/%016" PRIx64 ".log", number);
  int descriptor = open(support_path(name), O_RDWR);
  assert_int_equal(pread(descriptor, header, sizeof header, 0), sizeof header);
  memcpy(header + 24, &created, sizeof created);
  uint64_t check = hash64((struct str){(char *)header, SEGMENT_HEADER - 8}, 0);
  memcpy(header + SEGMENT_HEADER - 8, &check, sizeof check);
  assert_int_equal(pwrite(descriptor, header, sizeof header, 0), sizeof header);
  close(descriptor);
}

static void seal(struct store *store, uint64_t number) {
  struct error err = {0};
  if (store_seal(store, support_path("log"), number, &err)) fail_msg("%s", err.message);
}

static bool is_seen(struct store *store, struct entity entity, const char *event_id, int64_t since) {
  struct support_loop loop;
  support_loop_init(&loop);
  struct store_fetch_item item = {.entity = entity, .event_id = str_from(event_id)};
  assert_int_equal(support_fetch(store, &loop, &item, 1, since), 0);
  support_loop_deinit(&loop);
  return item.seen;
}

/* ---- order ---- */

static void items_are_sorted_by_rank_and_stay_in_order(void **state) {
  (void)state;
  enum { COUNT = 5000 };
  struct seal_items items = {0};
  seal_items_sort(&items);
  srand(1);
  for (unsigned i = 0; i < COUNT; i++) {
    uint64_t rank = (uint64_t)rand() << 42 ^ (uint64_t)rand() << 21 ^ (uint64_t)rand();
    seal_items_add(&items, (struct seal_item){i % 3 ? rank : rank % 7, i, i % 2});
  }
  seal_items_sort(&items);
  assert_int_equal(items.count, COUNT);
  bool found[COUNT] = {false};
  for (size_t i = 0; i < COUNT; i++) {
    const struct seal_item *item = &items.data[i];
    assert_int_equal(item->decides, item->offset % 2);
    assert_false(found[item->offset]);
    found[item->offset] = true;
    if (i == 0) continue;
    assert_true(item[-1].rank <= item->rank);
    if (item[-1].rank == item->rank) assert_true(item[-1].offset < item->offset);
  }
  seal_items_deinit(&items);
}

/** As RocksDB will compare them. */
static int compare_keys(struct entity a, struct entity b) {
  struct buf left, right;
  buf_init(&left);
  buf_init(&right);
  key_put_entity(&left, a);
  key_put_entity(&right, b);
  int order = memcmp(left.data + 1, right.data + 1, (left.len < right.len ? left.len : right.len) - 1);
  buf_deinit(&left);
  buf_deinit(&right);
  return order;
}

static void owners_come_in_the_order_of_keys_whatever_their_hashes(void **state) {
  (void)state;
  static const struct {
    enum entity_kind kind;
    const char *id;
    uint64_t rank;
  } given[] = {
      // By rank; in those of 7 several entities have one hash, and come mixed.
      {ENTITY_USER, "customer-000000002", 1},
      {ENTITY_USER, "customer-000000002", 1},
      {ENTITY_USER, "a\xff", 5},
      {ENTITY_USER, "customer-000000001", 7},
      {ENTITY_SUBJECT, "customer-000000001", 7},
      {ENTITY_USER, "customer-000000001", 7},
      {ENTITY_USER, "customer-00000000", 7},
      {ENTITY_SUBJECT, "customer-000000001", 7},
      {ENTITY_USER, "customer-000000001", 7},
      {ENTITY_USER, "aaaaaa", 8},
      {ENTITY_USER, "aaaaaaa", 9},
      {ENTITY_USER, "aaaaaaaa", 10},
      {ENTITY_USER, "a", 11},
  };
  enum { COUNT = sizeof given / sizeof *given };
  struct seal_record records[COUNT] = {0};
  struct seal_owner owners[COUNT];
  for (unsigned i = 0; i < COUNT; i++) {
    records[i].rank = given[i].rank;
    records[i].log.entity = (struct entity){given[i].kind, str_from(given[i].id)};
    records[i].log.seq = i;
  }
  size_t count = seal_owners(records, COUNT, owners), sum = 0;
  assert_int_equal(count, 9);
  for (size_t i = 0; i < count; i++) {
    struct entity entity = owners[i].records->log.entity;
    if (i) assert_true(compare_keys(owners[i - 1].records->log.entity, entity) < 0);
    for (size_t k = 0; k < owners[i].count; k++) {
      const struct seal_record *record = &owners[i].records[k];
      assert_true(entity_equal(record->log.entity, entity));
      assert_int_equal(record->rank, given[record->log.seq].rank);
      if (k) assert_true(record[-1].log.seq < record->log.seq);
    }
    sum += owners[i].count;
  }
  assert_int_equal(sum, COUNT);
  assert_int_equal(seal_owners(records, 0, owners), 0);
}

/* ---- many entities ---- */

enum { ENTITIES = 700, ROUNDS = 5 };

/** Short, long and alike: every id is another's prefix, and there is a subject to each user. */
static struct entity entity_of(int number, char id[EVENT_ID_MAX + 1]) {
  int len = number / 2 % EVENT_ID_MAX + 1;
  memset(id, 'x', (size_t)len);
  if (number / 2 >= EVENT_ID_MAX) id[0] = 'y';
  id[len] = 0;
  return (struct entity){number % 2 ? ENTITY_SUBJECT : ENTITY_USER, str_from(id)};
}

struct expected {
  int number, count;
  uint64_t last;
  int decisions;
};

static int check_record(void *context, const struct log_record *record) {
  struct expected *expected = context;
  char id[EVENT_ID_MAX + 1], event_id[32];
  assert_true(entity_equal(record->entity, entity_of(expected->number, id)));
  assert_true(record->seq > expected->last);
  assert_int_equal(record->at, 1700000000000 + (int64_t)record->seq);
  assert_int_equal(record->generation, 4);
  expected->last = record->seq;
  expected->count++;
  if (record->type == LOG_EVENT) {
    struct event event;
    struct reader reader = reader_of(record->input);
    assert_int_equal(event_decode(&event, &reader, NULL), 0);
    assert_int_equal(reader_left(&reader), 0);
    snprintf(event_id, sizeof event_id, "%" PRIu64, record->seq);
    assert_true(str_equal(event.id, str_from(event_id)));
    assert_true(entity_equal(event.entity, record->entity));
  } else {
    assert_int_equal(record->type, LOG_ATTEMPT);
    assert_true(str_equal(record->input, STR("seventeen bytes..")));
  }
  struct reader reader = reader_of(record->effects);
  while (reader_left(&reader)) {
    struct effect effect;
    assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
    assert_int_equal(effect.type, EFFECT_SUPPRESS);
    expected->decisions++;
  }
  return 0;
}

/** Each entity in turn, ROUNDS times: an event, every other one with a decision between effects that are
 * none, and an attempt, which the ledger alone has. */
static struct log_position write_many(struct log_position end, uint64_t *seq) {
  struct writing writing;
  writing_init(&writing, end);
  struct effect none = {.type = EFFECT_ATTRIBUTE, .attribute = {STR("x"), {"\x05", 1}}};
  for (int i = 0; i < ENTITIES * ROUNDS; i++) {
    char id[EVENT_ID_MAX + 1], event_id[32];
    struct entity entity = entity_of(i % ENTITIES, id);
    int64_t at = 1700000000000 + (int64_t)++ * seq;
    snprintf(event_id, sizeof event_id, "%" PRIu64, *seq);
    support_event(&writing.input, entity, event_id, at);
    effect_encode(&none, &writing.input.effects);
    if (i % 2)
      effect_encode(&(struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("email"), STR("bounced"), at}},
                    &writing.input.effects);
    effect_encode(&none, &writing.input.effects);
    writing_put(&writing, LOG_EVENT, entity, *seq, at);
    buf_append(&writing.input.input, "seventeen bytes..", 17);
    ++*seq;
    writing_put(&writing, LOG_ATTEMPT, entity, *seq, at + 1);
  }
  return writing_finish(&writing);
}

static void every_entity_has_its_own_past(void **state) {
  (void)state;
  enum { SEGMENTS = 11 }; // so many that the first are sealed at once, and the last on a thread that yields
  struct error err = {0};
  struct log_position end = {0, 0};
  uint64_t seq = 0;
  for (int i = 0; i < SEGMENTS; i++) end = write_many(end, &seq);
  struct store *store = support_open_store();
  for (uint64_t number = 1; number < SEGMENTS; number++) seal(store, number);
  for (int number = 0; number < ENTITIES; number++) {
    char id[EVENT_ID_MAX + 1];
    struct entity entity = entity_of(number, id);
    struct expected expected = {.number = number};
    assert_int_equal(store_scan_history(store, entity, check_record, &expected, &err), 0);
    assert_int_equal(expected.count, (SEGMENTS - 1) * ROUNDS * 2);
    struct expected with_tail = {.number = number};
    assert_int_equal(history_scan(store, support_path("log"), NULL, entity, check_record, &with_tail, &err),
                     0);
    assert_int_equal(with_tail.count, SEGMENTS * ROUNDS * 2);
    assert_int_equal(with_tail.decisions, number % 2 ? SEGMENTS * ROUNDS : 0);
  }
  store_close(store);
}

static uint64_t count_entries(struct store *store, enum slice_kind kind) {
  uint64_t count = 0;
  for (size_t i = 0; i < store->slice_count; i++) {
    if (store->slices[i].kind != kind) continue;
    rocksdb_iterator_t *it =
        rocksdb_create_iterator_cf(store->db, store->scan_options, store->slices[i].family);
    for (rocksdb_iter_seek_to_first(it); rocksdb_iter_valid(it); rocksdb_iter_next(it)) count++;
    rocksdb_iter_destroy(it);
  }
  return count;
}

struct in_order {
  uint64_t last, count, bytes;
};

static int count_record(void *context, const struct log_record *record) {
  struct in_order *run = context;
  assert_true(record->seq > run->last);
  run->last = record->seq;
  run->count++;
  run->bytes += record->input.len;
  return 0;
}

static void an_entity_with_much_has_it_in_order(void **state) {
  (void)state;
  enum { EVENTS = 2000, BIG = 200 << 10 };
  struct writing writing;
  writing_init(&writing, (struct log_position){0, 0});
  uint64_t bytes = 0;
  for (uint64_t seq = 1; seq <= EVENTS; seq++) {
    char id[32];
    snprintf(id, sizeof id, "%" PRIu64, seq);
    support_event(&writing.input, support_user("hot"), id, 1700000000000);
    if (seq == 1000) {
      memset(buf_reserve(&writing.input.input, BIG), 'b', BIG);
      writing.input.input.len = BIG;
    }
    bytes += writing.input.input.len;
    writing_put(&writing, seq == 1000 ? LOG_COMMAND : LOG_EVENT, support_user("hot"), seq, 1700000000000);
  }
  write_events(writing_finish(&writing), EVENTS + 1, 1, 1700000000000);
  struct store *store = support_open_store();
  seal(store, 1);
  assert_in_range(count_entries(store, SLICE_LOG), 3, EVENTS / 10); // many in one, not all
  assert_int_equal(mark_files_count(store), EVENTS - 1);
  struct in_order run = {0};
  struct error err;
  assert_int_equal(store_scan_history(store, support_user("hot"), count_record, &run, &err), 0);
  assert_int_equal(run.count, EVENTS);
  assert_int_equal(run.bytes, bytes);
  store_close(store);
}

/* ---- several segments together ---- */

enum { SEGMENT_EVENTS = 20 };

/** Segments 1 to `count`, closed, of SEGMENT_EVENTS events of ada's each, and one that is open. */
static void write_segments(int count, int64_t at) {
  struct log_position end = {0, 0};
  for (int i = 0; i <= count; i++)
    end = write_events(end, (uint64_t)(1 + i * SEGMENT_EVENTS), SEGMENT_EVENTS, at + i);
}

static int count_event(void *context, const struct log_record *record) {
  (void)record;
  ++*(int *)context;
  return 0;
}

/** That ada has each event of the sealed segments once, by user and in a walk over everybody, and all events
 * of the log with its tail. */
static void assert_sealed(struct store *store, uint64_t sealed, uint64_t closed) {
  struct error err = {0};
  struct in_order run = {0}, whole = {0};
  assert_int_equal(store_sealed(store), sealed);
  assert_int_equal(store_scan_history(store, support_user("ada"), count_record, &run, &err), 0);
  assert_int_equal(run.count, sealed * SEGMENT_EVENTS);
  assert_int_equal(
      history_scan(store, support_path("log"), NULL, support_user("ada"), count_record, &whole, &err), 0);
  assert_int_equal(whole.count, (closed + 1) * SEGMENT_EVENTS);
  // Not while others wait for the store.
  store_hurry(store, true);
  assert_int_equal(store_scan_history(store, support_user("ada"), count_record, &run, &err),
                   sealed ? ERROR_UNAVAILABLE : 0);
  assert_int_equal(
      history_scan(store, support_path("log"), NULL, support_user("ada"), count_record, &whole, &err),
      ERROR_UNAVAILABLE);
  store_hurry(store, false);
  assert_int_equal(run.count, sealed * SEGMENT_EVENTS);
  assert_int_equal(whole.count, (closed + 1) * SEGMENT_EVENTS);
  for (uint64_t seq = 1; seq <= sealed * SEGMENT_EVENTS; seq++) {
    char id[32];
    snprintf(id, sizeof id, "event-%" PRIu64, seq);
    assert_true(is_seen(store, support_user("ada"), id, 1));
  }
}

static int count_walked(struct store *store) {
  struct error err = {0};
  struct event_walk *walk;
  struct buf cursor;
  int count = 0;
  buf_init(&cursor);
  if (event_walk_open(&walk, store, STR(""), 0, &err)) fail_msg("%s", err.message);
  while (event_walk_next(walk, &cursor, count_event, &count, &err) == 1) continue;
  event_walk_close(walk);
  buf_deinit(&cursor);
  return count;
}

static void waiting_segments_are_sealed_together(void **state) {
  (void)state;
  write_segments(7, (int64_t)time(NULL) * 1000);
  struct store *store = support_open_store();
  seal(store, 7);
  assert_sealed(store, 1, 7); // the first of all by itself
  seal(store, 7);
  assert_sealed(store, 5, 7);
  assert_int_equal(count_entries(store, SLICE_LOG), 2);
  seal(store, 6); // no more than is asked for
  assert_sealed(store, 6, 7);
  seal(store, 7);
  assert_sealed(store, 7, 7);
  assert_int_equal(count_entries(store, SLICE_LOG), 4);
  seal(store, 7);
  assert_sealed(store, 7, 7);
  assert_int_equal(count_walked(store), 7 * SEGMENT_EVENTS);
  store_close(store);
}

/** Memory for a user who has nearly all of it is for a million records, not for four segments of them. */
static void segments_of_many_records_are_sealed_apart(void **state) {
  (void)state;
  enum { MANY = 600000 };
  int64_t now = (int64_t)time(NULL) * 1000;
  struct log_position end = write_events((struct log_position){0, 0}, 1, 1, now);
  end = write_events(end, 2, MANY, now);
  end = write_events(end, 2 + MANY, MANY, now);
  end = write_events(end, 2 + 2 * MANY, 1, now);
  write_events(end, 3 + 2 * MANY, 1, now);
  struct store *store = support_open_store();
  seal(store, 4);
  assert_int_equal(store_sealed(store), 1);
  seal(store, 4);
  assert_int_equal(store_sealed(store), 2);
  seal(store, 4);
  assert_int_equal(store_sealed(store), 4);
  assert_int_equal(count_walked(store), 2 * MANY + 2);
  store_close(store);
}

static void what_was_sealed_together_is_sealed_together_again(void **state) {
  (void)state;
  int64_t now = (int64_t)time(NULL) * 1000;
  enum { BEFORE = 1, HITS = 4 }; // agreed on, log, dedup marks, recorded
  for (int hit = BEFORE + 1; hit <= HITS; hit++) {
    struct error err;
    char specification[64];
    write_segments(6, now);
    struct store *store = support_open_store();
    seal(store, 6);
    snprintf(specification, sizeof specification, "store.ingest=error@%d", hit);
    support_failpoints(specification);
    assert_int_equal(store_seal(store, support_path("log"), 3, &err), ERROR_IO);
    support_failpoints("");
    assert_sealed(store, 1, 6);
    store_close(store);
    store = support_open_store();
    assert_sealed(store, 1, 6);
    // More is asked for now, or less: the keys of what has been taken over already must be made again.
    seal(store, hit % 2 ? 6 : 2);
    assert_sealed(store, 3, 6);
    assert_int_equal(count_walked(store), 3 * SEGMENT_EVENTS);
    seal(store, 6);
    assert_sealed(store, 6, 6);
    assert_int_equal(count_walked(store), 6 * SEGMENT_EVENTS);
    assert_int_equal(count_entries(store, SLICE_LOG), 3);
    store_close(store);
    support_remove_directory(state);
    support_make_directory(state);
  }
}

/** An older version has said nothing of what it was at. */
static void what_an_older_version_began_is_sealed_by_itself(void **state) {
  (void)state;
  write_segments(6, (int64_t)time(NULL) * 1000);
  struct store *store = support_open_store();
  struct error err;
  seal(store, 1);
  support_failpoints("store.ingest=error@4");
  assert_int_equal(store_seal(store, support_path("log"), 2, &err), ERROR_IO);
  support_failpoints("");
  char *complaint = NULL;
  rocksdb_delete_cf(store->db, store->synced_options, store->families[FAMILY_META], "sealing", 7, &complaint);
  assert_null(complaint);
  seal(store, 6);
  assert_sealed(store, 2, 6);
  seal(store, 6);
  assert_sealed(store, 6, 6);
  assert_int_equal(count_walked(store), 6 * SEGMENT_EVENTS);
  store_close(store);
}

static void segments_of_two_slices_are_sealed_apart(void **state) {
  (void)state;
  int64_t now = (int64_t)time(NULL) * 1000;
  write_segments(5, now);
  for (uint64_t number = 1; number <= 3; number++) set_created(number, now - (int64_t)SUPPORT_DAY);
  struct store *store = support_open_store();
  static const uint64_t ends[] = {1, 3, 5};
  for (int i = 0; i < 3; i++) {
    seal(store, 5);
    assert_sealed(store, ends[i], 5);
  }
  store_close(store);
}

static void what_lies_before_damage_is_sealed(void **state) {
  (void)state;
  write_segments(5, (int64_t)time(NULL) * 1000);
  int descriptor = open(support_path("log/0000000000000004.log"), O_RDWR);
  char byte;
  assert_int_equal(pread(descriptor, &byte, 1, 200), 1);
  byte ^= 1;
  assert_int_equal(pwrite(descriptor, &byte, 1, 200), 1);
  close(descriptor);
  struct store *store = support_open_store();
  struct error err;
  struct in_order run = {0};
  seal(store, 5);
  seal(store, 5);
  assert_int_equal(store_sealed(store), 3);
  assert_int_equal(store_scan_history(store, support_user("ada"), count_record, &run, &err), 0);
  assert_int_equal(run.count, 3 * SEGMENT_EVENTS);
  assert_int_equal(store_seal(store, support_path("log"), 5, &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "0000000000000004.log: damaged"));
  store_close(store);
}

/* ---- marks ---- */

static void of_a_mark_accepted_twice_the_later_time_counts(void **state) {
  (void)state;
  struct writing writing;
  writing_init(&writing, (struct log_position){0, 0});
  for (uint64_t seq = 1; seq <= 60; seq++) { // each id three times, the latest not the last
    char id[32];
    snprintf(id, sizeof id, "%" PRIu64, seq % 20);
    int64_t late[] = {5, 9, 7};
    writing_put_event(&writing, support_user("ada"), id, seq, 1700000000000 + late[(seq - 1) / 20]);
  }
  write_events(writing_finish(&writing), 61, 1, 1700000000000);
  struct store *store = support_open_store();
  seal(store, 1);
  assert_int_equal(mark_files_count(store), 20);
  for (int i = 0; i < 20; i++) {
    char id[32];
    snprintf(id, sizeof id, "%d", i);
    assert_true(is_seen(store, support_user("ada"), id, 1700000000008));
    assert_false(is_seen(store, support_user("ada"), id, 1700000000009));
    assert_false(is_seen(store, (struct entity){ENTITY_SUBJECT, STR("ada")}, id, 1));
  }
  store_close(store);
}

static bool seen_maybe(struct store *store, const char *event_id) {
  return store_seen_maybe(store, seen_mark(support_user("ada"), str_from(event_id)));
}

static void more_marks_than_memory_filters_are_known(void **state) {
  (void)state;
  enum { MARKS = 100000 };
  int64_t now = (int64_t)time(NULL) * 1000;
  write_events(write_events((struct log_position){0, 0}, 1, MARKS, now), MARKS + 1, 1, now);
  struct store_options options = support_store_options();
  options.cache_bytes = 250 << 10; // a filter of 64 KB, for 43,690 marks
  struct store *store;
  struct error err = {0};
  if (store_rocks_open(&store, &options, &err)) fail_msg("%s", err.message);
  seal(store, 1);
  assert_true(store->marks.crowded);
  for (int i = 1; i <= MARKS; i++) {
    char id[32];
    snprintf(id, sizeof id, "event-%d", i);
    assert_true(seen_maybe(store, id));
    if (i % 1000 == 0) assert_true(is_seen(store, support_user("ada"), id, 1));
    snprintf(id, sizeof id, "event-%d", MARKS + i);
    if (i % 1000 == 0) assert_false(is_seen(store, support_user("ada"), id, 1));
  }
  store_close(store);
}

static void the_filter_grows_before_it_is_full(void **state) {
  (void)state;
  enum { MARKS = 400000 };
  int64_t now = (int64_t)time(NULL) * 1000;
  write_events(write_events((struct log_position){0, 0}, 1, MARKS, now), MARKS + 1, 1, now);
  struct store *store = support_open_store();
  uint64_t before = atomic_load(&store->marks.bytes);
  seal(store, 1);
  assert_true(atomic_load(&store->marks.bytes) > 2 * before);
  assert_false(store->marks.started); // nothing was read again
  int wrong = 0;
  for (int i = 1; i <= MARKS; i++) {
    char id[32];
    snprintf(id, sizeof id, "event-%d", i);
    assert_true(seen_maybe(store, id));
    snprintf(id, sizeof id, "event-%d", MARKS + i);
    wrong += seen_maybe(store, id);
  }
  assert_true(wrong < MARKS / 100);
  store_close(store);
}

/** Who builds the filter after a start holds nothing that sealing wants. */
static void sealing_goes_on_while_the_filter_is_built(void **state) {
  (void)state;
  int64_t now = (int64_t)time(NULL) * 1000;
  struct log_position end = write_events((struct log_position){0, 0}, 1, 20, now);
  write_events(write_events(end, 21, 20, now), 41, 1, now);
  set_created(1, now - 2 * (int64_t)SUPPORT_DAY); // so that the second segment begins a slice
  struct store *store = support_open_store();
  seal(store, 1);
  store_close(store);
  close(open(support_path("hold"), O_CREAT | O_WRONLY, 0600));
  char specification[256];
  snprintf(specification, sizeof specification, "store.mark_filter=hold:%s", support_path("hold"));
  support_failpoints(specification);
  store = support_open_store();
  alarm(60); // it would wait for ever
  seal(store, 2);
  alarm(0);
  assert_null(atomic_load(&store->marks.filter));
  assert_true(is_seen(store, support_user("ada"), "event-21", 1));
  unlink(support_path("hold"));
  for (int wait = 0; wait < 6000 && !atomic_load(&store->marks.filter); wait++) usleep(10000);
  assert_non_null(atomic_load(&store->marks.filter));
  for (int i = 1; i <= 40; i++) {
    char id[32];
    snprintf(id, sizeof id, "event-%d", i);
    assert_true(seen_maybe(store, id));
  }
  store_close(store);
  support_failpoints("");
}

/** A record that fills a run of users' records (store_run.c). */
static void submit_large(struct support_write *write, struct store *store, struct support_loop *loop,
                         const char *id) {
  enum { LARGE = 5 << 20 };
  struct record record;
  struct buf bytes, text;
  support_write_init(write, store, loop);
  record_init(&record);
  buf_init(&bytes);
  buf_init(&text);
  memset(buf_reserve(&text, LARGE), 'x', LARGE);
  text.len = LARGE;
  value_put_string(&bytes, buf_str(&text));
  struct effect effect = {.type = EFFECT_ATTRIBUTE, .attribute = {STR("large"), buf_str(&bytes)}};
  assert_int_equal(record_apply(&record, &effect, 16 << 20, NULL), 0);
  store_write_user(&write->write, support_user(id), &record, INT64_MAX, INT64_MAX);
  store_write_submit(store, &write->write);
  record_deinit(&record);
  buf_deinit(&bytes);
  buf_deinit(&text);
}

/** Where the database holds writes back, and while somebody walks over all events: a slice is made, sealed
 * into, read and dropped. */
static void sealing_waits_for_neither_a_write_nor_a_walk(void **state) {
  (void)state;
  int64_t now = (int64_t)time(NULL) * 1000;
  write_segments(3, now);
  set_created(1, now - 2 * (int64_t)SUPPORT_DAY); // so that the second segment begins a slice
  struct store *store = support_open_store();
  seal(store, 1);
  struct support_loop loop;
  struct support_write first, second;
  support_loop_init(&loop);
  submit_large(&first, store, &loop, "grace");
  support_loop_wait(&loop, &loop.answered, 1);
  close(open(support_path("hold"), O_CREAT | O_WRONLY, 0600));
  char specification[256];
  snprintf(specification, sizeof specification, "store.run=hold:%s", support_path("hold"));
  support_failpoints(specification);
  submit_large(&second, store, &loop, "joan");
  while (pthread_mutex_trylock(&store->run.turn) == 0) { // until it is held
    pthread_mutex_unlock(&store->run.turn);
    usleep(1000);
  }
  struct event_walk *walk;
  struct error err = {0};
  struct buf cursor;
  int walked = 0;
  buf_init(&cursor);
  if (event_walk_open(&walk, store, STR(""), 0, &err)) fail_msg("%s", err.message);
  alarm(60); // it would wait for ever
  seal(store, 2);
  seal(store, 3);
  assert_sealed(store, 3, 3);
  assert_int_equal(store_retain(store, support_path("log"), now + 32 * (int64_t)SUPPORT_DAY, &err), 0);
  alarm(0);
  assert_int_equal(loop.answered, 1);
  for (size_t i = 0; i < store->slice_count; i++) assert_int_equal(store->slices[i].kind, SLICE_LEDGER);
  while (event_walk_next(walk, &cursor, count_event, &walked, &err) == 1) continue;
  assert_int_equal(walked, SEGMENT_EVENTS); // what there was when it began
  event_walk_close(walk);
  unlink(support_path("hold"));
  support_loop_wait(&loop, &loop.answered, 2);
  assert_int_equal(second.write.status, 0);
  store_write_deinit(&first.write);
  store_write_deinit(&second.write);
  buf_deinit(&cursor);
  support_failpoints("");
  store_close(store);
  support_loop_deinit(&loop);
}

/* ---- slices ---- */

static const struct slice *find_slice(struct store *store, enum slice_kind kind, bool newest) {
  const struct slice *found = NULL;
  for (size_t i = 0; i < store->slice_count; i++)
    if (store->slices[i].kind == kind && (newest || !found)) found = &store->slices[i];
  assert_non_null(found);
  return found;
}

/** Sorted runs but for those that have been merged. */
static int count_files(struct store *store, const struct slice *slice) {
  char *text = rocksdb_property_value_cf(store->db, slice->family, "rocksdb.num-files-at-level0");
  assert_non_null(text);
  int files = atoi(text);
  rocksdb_free(text);
  return files;
}

/** Two events each of many users, so that files overlap. */
static struct log_position write_users(struct log_position end, uint64_t *seq, int64_t at) {
  struct writing writing;
  writing_init(&writing, end);
  for (int i = 0; i < 40; i++) {
    char id[32], event_id[32];
    snprintf(id, sizeof id, "user-%d", i % 20);
    snprintf(event_id, sizeof event_id, "%" PRIu64, ++*seq);
    writing_put_event(&writing, support_user(id), event_id, *seq, at);
  }
  return writing_finish(&writing);
}

static void assert_merged(struct store *store) {
  assert_int_equal(find_slice(store, SLICE_LOG, true)->pace, SLICE_GROWS);
  const struct slice *old = find_slice(store, SLICE_LOG, false);
  assert_int_equal(old->pace, SLICE_READ);
  for (int wait = 0; wait < 6000 && count_files(store, old) >= 8; wait++) usleep(10000);
  assert_true(count_files(store, old) < 8);
}

static void a_slice_that_has_ended_is_merged(void **state) {
  (void)state;
  enum { OLD = 20 };
  struct error err;
  int64_t now = (int64_t)time(NULL) * 1000;
  struct log_position end = {0, 0};
  uint64_t seq = 0;
  for (uint64_t number = 1; number <= OLD + 2; number++) {
    end = write_users(end, &seq, now);
    if (number <= OLD) set_created(number, now - 2 * (int64_t)SUPPORT_DAY);
  }
  struct store *store = support_open_store();
  for (uint64_t number = 1; number <= OLD; number++) seal(store, number);
  assert_int_equal(find_slice(store, SLICE_LOG, true)->pace, SLICE_GROWS);
  assert_in_range(count_files(store, find_slice(store, SLICE_LOG, true)), OLD - 1, OLD);
  seal(store, OLD + 1);
  for (int again = 0; again < 2; again++) {
    assert_merged(store);
    struct in_order run = {0};
    assert_int_equal(store_scan_history(store, support_user("user-7"), count_record, &run, &err), 0);
    assert_int_equal(run.count, (OLD + 1) * 2);
    assert_true(is_seen(store, support_user("user-7"), "8", 1));
    assert_int_equal(store_reopen(store, &err), 0);
  }
  store_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(items_are_sorted_by_rank_and_stay_in_order),
      cmocka_unit_test(owners_come_in_the_order_of_keys_whatever_their_hashes),
      TEST(every_entity_has_its_own_past),
      TEST(an_entity_with_much_has_it_in_order),
      TEST(waiting_segments_are_sealed_together),
      TEST(segments_of_many_records_are_sealed_apart),
      TEST(what_was_sealed_together_is_sealed_together_again),
      TEST(what_an_older_version_began_is_sealed_by_itself),
      TEST(segments_of_two_slices_are_sealed_apart),
      TEST(what_lies_before_damage_is_sealed),
      TEST(of_a_mark_accepted_twice_the_later_time_counts),
      TEST(the_filter_grows_before_it_is_full),
      TEST(sealing_goes_on_while_the_filter_is_built),
      TEST(more_marks_than_memory_filters_are_known),
      TEST(sealing_waits_for_neither_a_write_nor_a_walk),
      TEST(a_slice_that_has_ended_is_merged),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
