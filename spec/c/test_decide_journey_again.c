// links: base config event state gate deliver engine ingest decide
/* Journeys at their bounds, and those that are begun or tried again: nobody loses a place to one that does
 * not begin, and a letter gets a journey on where it still stands there. */
#include "journey_world.h"

/** So many at once, and no more; the one too many is a dead letter, which may be tried again. */
static void test_bounds(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  world_init(&world);
  bench_write(
      &world.bench, "way/rule.lua",
      "local kairos = require 'kairos'\nreturn kairos.journey { name = 'way', start = { on = 'go' }, again = "
      "'parallel', exit = { on = 'stop' }, run = function(journey) journey:wait '1h' end }");
  bench_write(&world.bench, "way/m.txt", "hello");
  if (bench_load(&world.bench)) fail_msg("%s", world.bench.err.message);
  world.decider =
      decider_new(&(struct decider_options){.engine = world.bench.engine,
                                            .config = world.bench.config,
                                            .generation = 7,
                                            .record_max = 64 << 10,
                                            .observer = {.context = &world, .failure = note_failure}});
  for (int i = 0; i < JOURNEYS_A_USER; i++) world_event(&world, "go", NOON + i);
  assert_int_equal(world.letters, 0);
  world_event(&world, "go", NOON + 99);
  assert_int_equal(world.letters, 1);
  assert_non_null(strstr((const char *)world.said.data, "the user has 32 journeys under way already"));
  assert_true(retry(&world, NOON + 100, &err) < 0);
  world_event(&world, "stop", NOON + 101);
  assert_int_equal(world.bench.record.bytes.len, 0);
  assert_int_equal(retry(&world, NOON + 102, &err), 0);
  struct journey journey;
  assert_true(only(&world, &journey));
  world_deinit(&world);
}

/** All of a user's are listed in the index where their keys are of usual length; else it says how many there
 * are. */
static void test_indexed(void **state) {
  (void)state;
  static const int lengths[] = {36, EVENT_ID_MAX};
  for (size_t i = 0; i < 2; i++) {
    struct world world;
    struct journey_indexed one;
    struct effect effect;
    struct reader rows;
    uint32_t all = 0, listed = 0, read = 0;
    world_init(&world);
    bench_write(&world.bench, "way/rule.lua",
                "return require 'kairos'.journey { name = 'way', start = { on = 'go' }, key = 'payload.id',\n"
                "run = function(journey) journey:wait_for { on = { 'cart.updated', 'order.completed' }, "
                "within = '30d' "
                "} end }");
    world_load(&world);
    for (int j = 0; j < JOURNEYS_A_USER; j++) {
      char payload[EVENT_ID_MAX + 16];
      snprintf(payload, sizeof payload, "{\"id\":\"%0*d\"}", lengths[i], j);
      world_send(&world, "go", payload, NOON + j);
    }
    struct reader reader = reader_of(world.decision.effects);
    while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
      if (effect.type == EFFECT_INDEX) all = journey_indexed_begin(effect.index.value, &rows, &listed);
    assert_int_equal(all, JOURNEYS_A_USER);
    while (read < listed && journey_indexed_next(&rows, &one)) read++;
    assert_true(read == listed && (i ? listed > 10 && listed < all : listed == all));
    world_deinit(&world);
  }
}

/** It began, failed, and had no room to be parked in: the letter stays till there is. */
static void test_no_room_to_be_parked(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  struct error err = {0};
  world_init(&world);
  world.record_max = 64;
  world_journey(&world, "journey:wait '1h'");
  world_event(&world, "go", NOON);
  assert_true(world.letters == 1 && !only(&world, &journey));
  assert_int_equal(retry(&world, NOON + 1, &err), ERROR_LIMIT);
  assert_true(world.letters == 1 && !only(&world, &journey));
  world.record_max = 0;
  world_journey(&world, "journey:wait '1h'");
  assert_int_equal(retry(&world, NOON + 2, &err), 0);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_WAITING);
  world_deinit(&world);
}

/** A start that has no room itself, or an event that is too large, takes nobody's place; nor does the retry.
 */
static void test_restart_without_room(void **state) {
  (void)state;
  static const char text[] =
      "return require 'kairos'.journey { name = 'way', start = { on = 'go' }, again = 'restart',\n"
      "run = function(journey) journey:wait '1h' end }";
  static const struct {
    size_t record_max, len;
    const char *says;
  } cases[] = {
      {512, 500, "the one with this key that is under way goes on, for there is no room for another"},
      {0, JOURNEY_EVENT_MAX, "a journey keeps the event it begins with, of at most 24 KB"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    struct journey journey;
    struct error err = {0};
    struct buf large = {0};
    buf_printf(&large, "{\"x\":\"%0*d\"}", (int)cases[i].len, 0);
    buf_put_u8(&large, 0);
    world_init(&world);
    world.record_max = cases[i].record_max;
    bench_write(&world.bench, "way/rule.lua", text);
    world_load(&world);
    world_event(&world, "go", NOON);
    world_send(&world, "go", (const char *)large.data, NOON + 1);
    assert_true(world.letters == 1 && only(&world, &journey) && journey.begun == NOON);
    if (!strstr((const char *)world.said.data, cases[i].says)) fail_msg("%s", world.said.data);
    assert_int_equal(retry(&world, NOON + 3, &err), ERROR_LIMIT);
    assert_true(only(&world, &journey) && journey.begun == NOON);
    world_event(&world, "go", NOON + 2); // which has room
    assert_true(world.letters == 1 && only(&world, &journey) && journey.begun == NOON + 2);
    buf_deinit(&large);
    world_deinit(&world);
  }
}

/** One begun anew takes the place of the older one, however many there are. */
static void test_restart_among_many(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  size_t at = 0, all = 0, anew = 0;
  world_init(&world);
  bench_write(&world.bench, "way/rule.lua",
              "return require 'kairos'.journey { name = 'way', start = { on = 'go' }, key = 'payload.id',\n"
              "again = 'restart', run = function(journey) journey:wait '1h' end }");
  world_load(&world);
  for (int i = 0; i <= JOURNEYS_A_USER; i++) {
    char payload[32];
    snprintf(payload, sizeof payload, "{\"id\":%d}", i % JOURNEYS_A_USER);
    world_send(&world, "go", payload, NOON + i);
  }
  for (; record_journey_next(&world.bench.record, &at, &journey); all++)
    anew +=
        record_journey(&world.bench.record, journey.id, &journey) && journey.begun == NOON + JOURNEYS_A_USER;
  assert_true(world.letters == 0 && all == JOURNEYS_A_USER && anew == 1);
  world_deinit(&world);
}

/** The letter of a time that the journey does not wait for any more does not end another wait. */
static void test_retry_of_a_time_gone_by(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  struct error err = {0};
  struct buf older = {0};
  world_init(&world);
  world_journey(&world, "journey:wait '1h' error 'no'");
  world_event(&world, "go", NOON);
  world_timer(&world);
  buf_append(&older, world.failed.data, world.failed.len);
  world_journey(&world, "journey:wait '1h' journey:wait '5h' error 'no'");
  assert_int_equal(retry(&world, NOON + HOUR + 1, &err), 0);
  world_timer(&world);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED && journey.steps == 1);
  world_journey(&world, "journey:wait '1h' journey:wait '5h' journey:wait '1h'");
  struct buf newer = world.failed;
  world.failed = older;
  assert_int_equal(retry(&world, NOON + 7 * HOUR, &err), ERROR_INVALID);
  assert_non_null(strstr(err.message, "has gone on since"));
  assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED);
  world.failed = newer;
  assert_int_equal(retry(&world, NOON + 7 * HOUR, &err), 0);
  assert_true(only(&world, &journey) && journey.steps == 2);
  buf_deinit(&older);
  world_deinit(&world);
}

/** Nor does the letter of an event end another wait than the one it came for; an exit it may still be. */
static void test_retry_of_an_event_gone_by(void **state) {
  (void)state;
  static const char *const runs[] = {
      "journey:wait_for { on = 'more' } error 'no'",
      "journey:wait_for { on = 'more' } journey:wait_for { on = 'more' } error 'no'",
      "journey:wait_for { on = 'more' } journey:wait_for { on = 'more' } journey:wait '1h'"};
  struct world world;
  struct journey journey;
  struct error err = {0};
  struct buf older = {0};
  world_init(&world);
  world_journey(&world, runs[0]);
  world_event(&world, "go", NOON);
  world_event(&world, "more", NOON + 1);
  buf_append(&older, world.failed.data, world.failed.len);
  world_journey(&world, runs[1]);
  assert_int_equal(retry(&world, NOON + 2, &err), 0);
  world_event(&world, "more", NOON + 3);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED && journey.steps == 1);
  world_journey(&world, runs[2]);
  struct buf newer = world.failed;
  world.failed = older;
  assert_int_equal(retry(&world, NOON + 4, &err), ERROR_INVALID);
  assert_non_null(strstr(err.message, "has gone on since, and does not wait for this event any more"));
  assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED && journey.steps == 1);
  world.failed = newer;
  assert_int_equal(retry(&world, NOON + 5, &err), 0);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_WAITING && journey.steps == 2);
  buf_deinit(&older);
  world_deinit(&world);
}

/** The exit that failed is asked once more, though the journey has gone on since. */
static void test_retry_of_an_exit_at_another_step(void **state) {
  (void)state;
  static const char format[] = "return require 'kairos'.journey { name = 'way', start = { on = 'go' },\n"
                               "exit = { on = 'stop', where = function(event) %s end },\n"
                               "run = function(journey) journey:wait '1h' %s end }";
  struct world world;
  struct journey journey;
  struct decision decision;
  struct error err = {0};
  struct buf older = {0};
  char text[300];
  world_init(&world);
  snprintf(text, sizeof text, format, "error 'no'", "error 'nor here'");
  bench_write(&world.bench, "way/rule.lua", text);
  world_load(&world);
  world_event(&world, "go", NOON);
  world_event(&world, "stop", NOON + 1);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED);
  buf_append(&older, world.failed.data, world.failed.len);
  snprintf(text, sizeof text, format, "return true", "journey:wait '5h' error 'nor here'");
  bench_write(&world.bench, "way/rule.lua", text);
  world_load(&world);
  world_move(&world);
  assert_true(only(&world, &journey));
  assert_int_equal(
      decide_journey_move(world.decider, &world.bench.record, journey.id, NOON + HOUR, &decision, &err), 0);
  world.decision = decision;
  settle(&world);
  world_timer(&world);
  world_timer(&world);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED && journey.steps == 1);
  buf_deinit(&world.failed);
  world.failed = older;
  assert_int_equal(retry(&world, NOON + 9 * HOUR, &err), 0);
  assert_false(only(&world, &journey));
  world_deinit(&world);
}

/** Parked at its start by an event of a type that also ends it: begun again, and not ended by it. */
static void test_retry_of_a_start_that_is_an_exit(void **state) {
  (void)state;
  static const char format[] =
      "return require 'kairos'.journey { name = 'way', start = { on = 'go' }, exit = { on = 'go' },\n"
      "run = function(journey) %s end }";
  struct world world;
  struct journey journey;
  struct error err = {0};
  char text[300];
  world_init(&world);
  snprintf(text, sizeof text, format, "error 'no'");
  bench_write(&world.bench, "way/rule.lua", text);
  world_load(&world);
  world_event(&world, "go", NOON);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED);
  snprintf(text, sizeof text, format, "journey:wait '2h'");
  bench_write(&world.bench, "way/rule.lua", text);
  world_load(&world);
  world_move(&world);
  assert_int_equal(retry(&world, NOON + 1, &err), 0);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_WAITING);
  world_event(&world, "go", NOON + 2); // another one does end it, and begins the next
  assert_true(only(&world, &journey) && journey.begun == NOON + 2);
  world_deinit(&world);
}

/** A retry is as late as a timer may be: what follows keeps its distance, and `late` of the wait is asked. */
static void test_late_retry(void **state) {
  (void)state;
  static const struct {
    const char *wait, *event; /**< event: which ends the wait; null: its time does */
    bool exits, skips;
  } cases[] = {{.wait = "journey:wait '1h'"},
               {.wait = "journey:wait_for { on = 'more' }", .event = "more"},
               {.wait = "journey:wait('1h', { late = 'exit', late_after = '2h' })", .exits = true},
               {.wait = "journey:wait('1h', { late = 'skip', late_after = '2h' })", .skips = true}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    struct journey journey;
    struct effect effect;
    struct error err = {0};
    char run[300];
    int passed = 0, ended = 0;
    world_init(&world);
    snprintf(run, sizeof run, "%s error 'no'", cases[i].wait);
    world_journey(&world, run);
    world_event(&world, "go", NOON);
    if (cases[i].event)
      world_event(&world, cases[i].event, NOON + HOUR);
    else
      world_timer(&world);
    assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED);
    snprintf(run, sizeof run,
             "%s journey:send { channel = 'push', to = 'p', template = 'm' } journey:wait '2h'",
             cases[i].wait);
    world_journey(&world, run);
    int rc = retry(&world, NOON + 30 * HOUR, &err);
    if (rc) fail_msg("%zu: %s", i, err.message);
    struct reader reader = reader_of(world.decision.effects);
    while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
      passed += effect.type == EFFECT_MESSAGE && effect.message.verdict.pass;
      ended += effect.type == EFFECT_JOURNEY_END && effect.journey_ended.end == JOURNEY_EXPIRED;
    }
    assert_int_equal(ended, cases[i].exits);
    assert_int_equal(passed, !cases[i].exits && !cases[i].skips);
    assert_true(only(&world, &journey) == !cases[i].exits);
    if (!cases[i].exits) assert_int_equal(journey.wait.due, NOON + 32 * HOUR);
    world_deinit(&world);
  }
}

/** So is the retry of a start: its messages keep their distance; a prompt one counts from its event. The one
 * that had no room to be parked in counts as the one that was. */
static void test_late_retry_of_a_start(void **state) {
  (void)state;
  static const struct {
    size_t record_max;
    int64_t after, counts;
  } cases[] = {{0, HOUR / 2, 0}, {0, 30 * HOUR, 30 * HOUR}, {64, HOUR / 2, 0}, {64, 30 * HOUR, 30 * HOUR}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    struct journey journey;
    struct error err = {0};
    world_init(&world);
    world.record_max = cases[i].record_max;
    world_journey(&world, "error 'no'");
    world_event(&world, "go", NOON);
    assert_true(world.letters == 1 && only(&world, &journey) == !cases[i].record_max);
    world.record_max = 0;
    world_journey(&world, "journey:send { channel = 'push', to = 'p', template = 'm' } journey:wait '1h'\n"
                          "journey:send { channel = 'push', to = 'p', template = 'm' } journey:wait '2h'");
    int rc = retry(&world, NOON + cases[i].after, &err);
    if (rc) fail_msg("%zu: %s", i, err.message);
    assert_true(only(&world, &journey) && journey.begun == NOON && journey.run == 0);
    assert_int_equal(journey.wait.due, NOON + cases[i].counts + HOUR);
    world_timer(&world);
    assert_true(only(&world, &journey));
    assert_int_equal(journey.wait.due, NOON + cases[i].counts + 3 * HOUR);
    world_deinit(&world);
  }
}

/** Nor does it come all at once where an operator moves one on that was parked at its start. */
static void test_late_move_of_a_start(void **state) {
  (void)state;
  static const int64_t after[] = {HOUR / 2, 30 * HOUR};
  for (size_t i = 0; i < 2; i++) {
    struct world world;
    struct journey journey;
    struct error err = {0};
    world_init(&world);
    world_journey(&world, "error 'no'");
    world_event(&world, "go", NOON);
    world_journey(&world, "journey:wait '1h' journey:wait '2h'");
    assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED);
    assert_int_equal(decide_journey_move(world.decider, &world.bench.record, journey.id, NOON + after[i],
                                         &world.decision, &err),
                     0);
    settle(&world);
    world_timer(&world);
    assert_true(only(&world, &journey) && journey.begun == NOON);
    assert_int_equal(journey.wait.due, NOON + (i ? after[i] : 0) + HOUR);
    world_deinit(&world);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_bounds),
                                     cmocka_unit_test(test_indexed),
                                     cmocka_unit_test(test_no_room_to_be_parked),
                                     cmocka_unit_test(test_restart_without_room),
                                     cmocka_unit_test(test_restart_among_many),
                                     cmocka_unit_test(test_retry_of_a_time_gone_by),
                                     cmocka_unit_test(test_retry_of_an_event_gone_by),
                                     cmocka_unit_test(test_retry_of_an_exit_at_another_step),
                                     cmocka_unit_test(test_retry_of_a_start_that_is_an_exit),
                                     cmocka_unit_test(test_late_retry),
                                     cmocka_unit_test(test_late_retry_of_a_start),
                                     cmocka_unit_test(test_late_move_of_a_start)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
