// links: base event state
/* The event log user by user, as filling reads it, and the segment that it has begun first. */
#include "base/clock.h"
#include "random.h"
#include "state/event_walk.h"
#include "store_support.h"

#include <inttypes.h>

enum { USERS = 40, SEGMENTS = 6, RECORDS = 60, MOST = SEGMENTS * RECORDS * 2 };

/** What was logged, in order: the user, the record's number, and whether it is what the record derived. */
struct fact {
  int user;
  uint64_t seq;
  bool derived;
};

struct world {
  struct store *store;
  struct support_loop loop;
  struct fact facts[MOST];
  int count;
  int64_t now;
};

static struct entity user_of(int number, char id[24]) {
  snprintf(id, 24, "user-%d", number);
  return support_user(id);
}

/** Several segments of events of random users, timers among them; some records derive an event. Each segment
 * is ended by a roll. @return the first one that is not sealed. */
static uint64_t write_log(struct world *world) {
  struct log *log;
  struct error err;
  struct support_input input;
  struct log_options options = {
      .directory = support_path("log"), .segment_size = 1 << 30, .segment_age = 1 << 30};
  if (log_open(&log, &options, (struct log_position){0}, &err)) fail_msg("%s", err.message);
  buf_init(&input.input);
  buf_init(&input.effects);
  uint64_t seq = 0, segment = 1;
  for (int round = 0; round < SEGMENTS; round++) {
    for (int i = 0; i < RECORDS; i++) {
      char id[24], event_id[16];
      int number = (int)between(0, USERS - 1);
      struct entity user = user_of(number, id);
      bool event = between(0, 4) > 0, derives = between(0, 3) == 0;
      snprintf(event_id, sizeof event_id, "e%" PRIu64, ++seq);
      support_event(&input, user, event_id, world->now);
      buf_clear(&input.effects);
      if (derives)
        effect_encode(&(struct effect){.type = EFFECT_DERIVED, .derived = buf_str(&input.input)},
                      &input.effects);
      if (!event) buf_clear(&input.input);
      struct log_record record = {.seq = seq,
                                  .type = event ? LOG_EVENT : LOG_TIMER,
                                  .generation = 3,
                                  .at = world->now,
                                  .entity = user,
                                  .input = buf_str(&input.input),
                                  .effects = buf_str(&input.effects)};
      assert_int_equal(support_write(log, &world->loop, &record, 1, NULL), 0);
      if (event) world->facts[world->count++] = (struct fact){number, seq, false};
      if (derives) world->facts[world->count++] = (struct fact){number, seq, true};
    }
    struct support_batch roll;
    support_batch_init(&roll, &world->loop);
    roll.log.roll = true;
    int target = world->loop.answered + 1;
    log_submit(log, &roll.log);
    support_loop_wait(&world->loop, &world->loop.answered, target);
    assert_int_equal(roll.log.status, 0);
    assert_int_equal(roll.log.end.segment, ++segment); // all before it is below
    assert_int_equal(log_open_segment(log), segment);
  }
  // One that is empty is not rolled: nothing is in it.
  struct support_batch roll;
  support_batch_init(&roll, &world->loop);
  roll.log.roll = true;
  int target = world->loop.answered + 1;
  log_submit(log, &roll.log);
  support_loop_wait(&world->loop, &world->loop.answered, target);
  assert_int_equal(roll.log.end.segment, segment);
  log_close(log);
  buf_deinit(&input.input);
  buf_deinit(&input.effects);
  for (uint64_t number = 1; number < segment; number++)
    if (store_seal(world->store, support_path("log"), number, &err)) fail_msg("%s", err.message);
  return segment;
}

struct visit {
  struct world *world;
  int user, at; /**< whose turn it is; where in the facts his next is looked for */
  int seen;
};

static int take(void *context, const struct log_record *record) {
  struct visit *visit = context;
  int number = atoi(record->entity.id.data + 5);
  if (visit->user < 0) visit->user = number;
  assert_int_equal(visit->user, number);
  bool derived = record->effects.len > 0;
  assert_true(derived || record->type == LOG_EVENT);
  const struct fact *facts = visit->world->facts;
  while (visit->at < visit->world->count && facts[visit->at].user != number) visit->at++;
  assert_true(visit->at < visit->world->count);
  assert_int_equal(facts[visit->at].seq, record->seq);
  assert_int_equal(facts[visit->at].derived, derived);
  visit->at++;
  visit->seen++;
  return 0;
}

/** @param at_a_time  users before the walk is opened anew behind the cursor */
static void walk_all(struct world *world, int at_a_time) {
  struct buf cursor, last;
  struct error err;
  buf_init(&cursor);
  buf_init(&last);
  int seen = 0, users = 0, rc = 1;
  while (rc == 1) {
    struct event_walk *walk;
    if (event_walk_open(&walk, world->store, buf_str(&cursor), 0, &err)) fail_msg("%s", err.message);
    for (int i = 0; rc == 1 && i < at_a_time; i++) {
      struct visit visit = {.world = world, .user = -1};
      rc = event_walk_next(walk, &cursor, take, &visit, &err);
      if (rc < 0) fail_msg("%s", err.message);
      if (rc == 0) break;
      size_t common = cursor.len < last.len ? cursor.len : last.len;
      assert_true(!last.len || memcmp(cursor.data, last.data, common) > 0); // in the order of their keys
      buf_clear(&last);
      buf_append(&last, cursor.data, cursor.len);
      seen += visit.seen;
      users += visit.seen > 0;
      // All of his were there.
      for (int at = visit.at; at < world->count; at++) assert_true(world->facts[at].user != visit.user);
    }
    event_walk_close(walk);
  }
  assert_int_equal(seen, world->count);
  assert_int_equal(users, USERS);
  buf_deinit(&cursor);
  buf_deinit(&last);
}

static void test_walk(void **state) {
  (void)state;
  struct world *world = memory_zalloc(sizeof *world);
  struct event_walk *walk;
  struct error err;
  seed = 5;
  world->now = clock_wall_ms();
  world->store = support_open_store();
  support_loop_init(&world->loop);
  assert_true(store_log_begins(world->store) == INT64_MAX);
  write_log(world);
  assert_true(store_log_begins(world->store) <= world->now);
  walk_all(world, MOST);
  walk_all(world, 1);
  walk_all(world, 7);
  // Slices that are older than what is asked for are left out.
  struct buf cursor;
  struct visit visit = {.world = world, .user = -1};
  buf_init(&cursor);
  assert_int_equal(event_walk_open(&walk, world->store, STR(""), world->now, &err), 0);
  assert_int_equal(event_walk_next(walk, &cursor, take, &visit, &err), 0);
  event_walk_close(walk);
  buf_deinit(&cursor);
  store_close(world->store);
  support_loop_deinit(&world->loop);
  memory_free(world);
}

struct users {
  char last[16];
  int count;
};

static void note_user(void *context, struct entity user) {
  struct users *users = context;
  users->count++;
  snprintf(users->last, sizeof users->last, "%.*s", STR_ARG(user.id));
}

/** Users are walked over in chunks; things are not among them. */
static void test_users(void **state) {
  (void)state;
  struct support_loop loop;
  struct support_write write;
  struct error err;
  struct record record;
  struct store *store = support_open_store();
  support_loop_init(&loop);
  record_init(&record);
  support_write_init(&write, store, &loop);
  for (int number = 0; number < 100; number++) {
    char id[24];
    struct entity entity = user_of(number, id);
    if (number % 10 == 0) entity.kind = ENTITY_SUBJECT;
    store_write_user(&write.write, entity, &record, INT64_MAX, INT64_MAX);
  }
  assert_int_equal(support_write_finish(&write, store, &loop), 0);
  struct buf cursor;
  struct users users = {0};
  buf_init(&cursor);
  int got, rounds = 0;
  do got = store_walk_users(store, &cursor, 8, note_user, &users, &err);
  while (got == 8 && ++rounds < 100);
  assert_int_equal(got, 90 % 8);
  assert_int_equal(users.count, 90);
  assert_int_equal(store_walk_users(store, &cursor, 8, note_user, &users, &err), 0);
  buf_deinit(&cursor);
  record_deinit(&record);
  store_close(store);
  support_loop_deinit(&loop);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_walk, support_make_directory, support_remove_directory),
      cmocka_unit_test_setup_teardown(test_users, support_make_directory, support_remove_directory),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
