// links: base config event state gate deliver engine ingest decide
/* Journeys as the decider runs them: what the log keeps is all that recovery needs, and a history that does
 * not fit its source is parked, with the step named. */
#include "decide/decide.h"
#include "decide/journey_indexed.h"
#include "test_engine_support.h"

static const char yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";
static const int64_t NOON = 1795604400000;
enum { HOUR = 3600000 };

struct world {
  struct bench bench;
  struct decider *decider;
  struct decision decision;
  struct record twin; /**< what recovery makes of the effects */
  struct buf failed;  /**< the last dead letter, encoded */
  struct buf said;    /**< reasons of dead letters */
  int serial, letters;
  size_t record_max; /**< 0: 64 KB */
};

static void note_failure(void *context, const struct entity *entity, const struct failure *failure) {
  struct world *world = context;
  (void)entity;
  world->letters++;
  buf_clear(&world->said);
  buf_append(&world->said, failure->error.data, failure->error.len);
  buf_put_u8(&world->said, 0);
  buf_clear(&world->failed);
  effect_encode(&(struct effect){.type = EFFECT_FAILURE, .failure = *failure}, &world->failed);
}

static void world_init(struct world *world) {
  *world = (struct world){0};
  bench_init(&world->bench, yaml);
  record_init(&world->twin);
}

static void world_deinit(struct world *world) {
  decider_free(world->decider);
  bench_deinit(&world->bench);
  record_deinit(&world->twin);
  buf_deinit(&world->failed);
  buf_deinit(&world->said);
}

/** Apply the effects as recovery does: the same record, byte for byte. */
static void settle(struct world *world) {
  struct reader reader = reader_of(world->decision.effects);
  struct effect effect;
  struct error err;
  while (reader_left(&reader)) {
    assert_int_equal(effect_decode(&effect, &reader, &err), 0);
    if (record_apply(&world->twin, &effect, SIZE_MAX, &err)) fail_msg("%s", err.message);
  }
  assert_true(str_equal(buf_str(&world->twin.bytes), buf_str(&world->bench.record.bytes)));
}

static void world_load(struct world *world) {
  decider_free(world->decider);
  world->decider = NULL;
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
  world->decider =
      decider_new(&(struct decider_options){.engine = world->bench.engine,
                                            .config = world->bench.config,
                                            .generation = 7,
                                            .record_max = world->record_max ? world->record_max : 64 << 10,
                                            .observer = {.context = world, .failure = note_failure}});
}

/** Those under way are made to run on what is loaded, as no reload would. */
static void world_move(struct world *world) {
  struct journey journey;
  size_t at = 0;
  const struct engine_rule *rules;
  engine_rules(world->bench.engine, &rules);
  if (!record_journey_next(&world->bench.record, &at, &journey)) return;
  struct buf bytes = {0};
  assert_true(record_journey(&world->bench.record, journey.id, &journey));
  journey_encode(&journey, &bytes);
  assert_true(journey_decode(&journey, buf_str(&bytes)));
  journey.version = rules[0].version;
  journey.steps = 0;
  journey.history = STR("");
  struct effect effect = {.type = EFFECT_JOURNEY, .journey = {journey, JOURNEY_MOVES}};
  assert_int_equal(record_apply(&world->bench.record, &effect, SIZE_MAX, NULL), 0);
  assert_int_equal(record_apply(&world->twin, &effect, SIZE_MAX, NULL), 0);
  buf_deinit(&bytes);
}

/** The journey's function anew, for those under way, too. */
static void world_journey(struct world *world, const char *run) {
  struct buf text = {0};
  buf_printf(&text,
             "local kairos = require 'kairos'\nlocal seen = kairos.window { of = 'x', over = '1d' }\n"
             "return kairos.journey { name = 'way', start = { on = 'go' }, exit = { on = 'stop' },\n"
             "run = function(journey, user)\n%s\nend }",
             run);
  buf_put_u8(&text, 0);
  bench_write(&world->bench, "way/rule.lua", (const char *)text.data);
  bench_write(&world->bench, "way/m.txt", "hello");
  buf_deinit(&text);
  world_load(world);
  world_move(world);
}

static void world_send(struct world *world, const char *type, const char *payload, int64_t at) {
  char id[16];
  bench_event(&world->bench, type, payload, at);
  snprintf(id, sizeof id, "e%d", ++world->serial);
  world->bench.event.id = str_from(id);
  world->bench.event.entity.id = STR("ada");
  decide_event(world->decider, &world->bench.record, &world->bench.event, at, &world->decision);
  settle(world);
}

static void world_event(struct world *world, const char *type, int64_t at) {
  world_send(world, type, "{}", at);
}

static void world_timer(struct world *world) {
  struct timer timer;
  assert_true(record_timer_next(&world->bench.record, &timer) && timer_journey(&timer));
  decide_timer(world->decider, &world->bench.record, (struct entity){ENTITY_USER, STR("ada")}, &timer,
               timer.due, &world->decision);
  settle(world);
}

static bool only(const struct world *world, struct journey *out) {
  size_t at = 0;
  return record_journey_next(&world->bench.record, &at, out) &&
         record_journey(&world->bench.record, out->id, out);
}

static int retry(struct world *world, int64_t wall, struct error *err) {
  struct reader reader = reader_of(buf_str(&world->failed));
  struct effect letter;
  assert_int_equal(effect_decode(&letter, &reader, NULL), 0);
  int rc = decide_retry(world->decider, &world->bench.record, (struct entity){ENTITY_USER, STR("ada")},
                        &letter.failure, wall, &world->decision, err);
  if (rc) assert_int_equal(world->decision.effects.len, 0);
  settle(world);
  return rc;
}

static const char first[] =
    "local n = user:count(seen)\njourney:wait '1h'\n"
    "local s = journey:split { name = 'side', a = 1 }\njourney:wait_for { on = 'more', within = '2h' }\n"
    "journey:send { channel = 'push', to = 'p', template = 'm' }";

/** Up to the second wait, on `first`. */
static void world_under_way(struct world *world) {
  struct journey journey;
  world_init(world);
  world_journey(world, first);
  world_event(world, "go", NOON);
  world_timer(world);
  assert_true(only(world, &journey) && journey.steps == 3 && journey.wait.op == JOURNEY_WAIT_FOR);
  assert_int_equal(journey.wait.line, 8);
}

static void test_effects_are_all(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  struct effect effect;
  world_under_way(&world);
  world_event(&world, "more", NOON + HOUR + 5);
  struct reader reader = reader_of(world.decision.effects);
  bool sent = false, ended = false;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    sent |= effect.type == EFFECT_MESSAGE;
    ended |= effect.type == EFFECT_JOURNEY_END && effect.journey_ended.end == JOURNEY_FINISHED;
    assert_true(effect.type != EFFECT_JOURNEY); // it has ended: nothing more is kept of it
  }
  assert_true(sent && ended && !only(&world, &journey));
  world_deinit(&world);
}

/** What it sent may be recalled by its exit, as long as it is under way; not after its end. */
static void test_recalled(void **state) {
  (void)state;
  static const char sends[] = "for i = 1, 2 do journey:send { channel = 'push', to = 'p', template = 'm', "
                              "cap = '1/2h', on_cap = 'defer' } end\n"
                              "journey:wait '1h'\njourney:continue { x = 1 }";
  struct world world;
  struct journey journey;
  int64_t until;
  world_init(&world);
  world_journey(&world, sends);
  world_event(&world, "go", NOON);
  assert_true(only(&world, &journey));
  uint64_t key = journey_sent_key(journey.id);
  struct hash128 id = journey.id;
  assert_true(record_once(&world.bench.record, key, NOON, &until) && until > NOON);
  assert_false(record_journey_recalled(&world.bench.record, id));
  int64_t first_until = until;
  world_timer(&world); // it continues, and sends the next: the mark stands for the later one
  assert_true(record_once(&world.bench.record, key, NOON, &until) && until > first_until);
  assert_false(record_journey_recalled(&world.bench.record, id));
  world_event(&world, "stop", NOON + HOUR + 5);
  assert_true(!only(&world, &journey) && record_journey_recalled(&world.bench.record, id));
  assert_true(record_journey_recalled(&world.twin, id)); // as recovery has it
  record_tidy(&world.bench.record, until);
  assert_false(record_journey_recalled(&world.bench.record, id));
  world_deinit(&world);

  world_init(&world);
  world_journey(&world, "for i = 1, 2 do journey:send { channel = 'push', to = 'p', template = 'm', "
                        "cap = '1/2h', on_cap = 'defer' } end\njourney:wait '1h'");
  world_event(&world, "go", NOON);
  assert_true(only(&world, &journey));
  id = journey.id;
  assert_true(record_once(&world.bench.record, journey_sent_key(id), NOON, NULL));
  world_timer(&world);
  assert_false(only(&world, &journey) || record_journey_recalled(&world.bench.record, id));
  assert_false(record_once(&world.bench.record, journey_sent_key(id), INT64_MIN, NULL));
  world_deinit(&world);
}

/** A deferred message's place is free as soon as it is recalled, and is given back once; not that of one that
 * has been tried, though the clock has been set back since. */
static void test_given_back(void **state) {
  (void)state;
  static const struct {
    int before, after; /**< 0: none */
    size_t counted;
  } cases[] = {{0, OUTCOME_CANCELLED, 1}, {OUTCOME_ACCEPTED, 0, 2}, {OUTCOME_RETRY, OUTCOME_CANCELLED, 2}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    struct journey journey;
    struct effect effect;
    struct message message;
    struct buf bytes = {0};
    int64_t times[RECORD_COUNTED_MAX];
    world_init(&world);
    world_journey(&world, "for i = 1, 2 do journey:send { channel = 'push', to = 'p', template = 'm', "
                          "cap = '1/2h', on_cap = 'defer' } end\njourney:wait '1h'");
    world_event(&world, "go", NOON);
    struct reader reader = reader_of(world.decision.effects);
    while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
      if (effect.type == EFFECT_MESSAGE && effect.message.message.not_before) {
        buf_clear(&bytes);
        message_encode(&effect.message.message, &bytes);
      }
    reader = reader_of(buf_str(&bytes));
    assert_int_equal(message_decode(&message, &reader, NULL), 0);
    assert_true(only(&world, &journey) && journey.sent.len > 0);
    struct outcome outcome = {
        .message_id = message.id, .kind = (enum outcome_kind)cases[i].before, .attempt = 1};
    assert_true(decide_outcome_needs_record(&message, &outcome));
    if (cases[i].before) {
      decide_outcome(world.decider, &world.bench.record, &message, &outcome, &world.decision);
      settle(&world);
    }
    assert_int_equal(record_counted(&world.bench.record, STR("campaign way"), times), 2);
    world_event(&world, "stop", NOON + 1);
    assert_false(only(&world, &journey));
    assert_int_equal(record_counted(&world.bench.record, STR("campaign way"), times), cases[i].counted);
    outcome = (struct outcome){
        .message_id = message.id, .kind = (enum outcome_kind)cases[i].after, .attempt = cases[i].before != 0};
    if (cases[i].after) {
      decide_outcome(world.decider, &world.bench.record, &message, &outcome, &world.decision);
      settle(&world);
    }
    assert_int_equal(record_counted(&world.bench.record, STR("campaign way"), times), cases[i].counted);
    buf_deinit(&bytes);
    world_deinit(&world);
  }
}

/** A resume logs what is new, and not the history again. */
static void test_history_is_not_repeated(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  world_init(&world);
  world_journey(&world, "for i = 1, 300 do user:count(seen) if i % 100 == 0 then journey:wait '1h' end end");
  world_event(&world, "go", NOON);
  size_t begun = world.decision.effects.len;
  world_timer(&world);
  assert_true(only(&world, &journey) && journey.steps == 201);
  assert_in_range(world.decision.effects.len, 1000, begun + 100);
  world_timer(&world);
  assert_in_range(world.decision.effects.len, 1000, begun + 100);
  world_timer(&world);
  assert_true(world.decision.effects.len < 300 && !only(&world, &journey));
  world_deinit(&world);
}

static void test_does_not_fit(void **state) {
  (void)state;
  static const struct {
    const char *run, *says;
  } cases[] = {
      {"journey:wait '1h'", "rules/way/rule.lua:5: the journey does not fit its source any more: step 1 of "
                            "its history is count x 1d, and "
                            "here the source asks for wait \"1h\""},
      {"local n = user:count(seen)\njourney:wait '2h'",
       "rules/way/rule.lua:6: the journey does not fit its source any more: step 2 of its history is wait "
       "\"1h\", and "
       "here the source asks for wait \"2h\""},
      {"local n = user:count(seen)",
       "the journey does not fit its source any more: its function ends, and step 2 of "
       "its history is wait \"1h\""},
      {"local n = user:count(seen)\njourney:wait '1h'\nlocal s = journey:split { name = 'side', a = 1 }\n"
       "local name = user.name",
       "rules/way/rule.lua:8: the journey does not fit its source any more: it waits at wait_for more within "
       "2h, and "
       "here the source asks for name first"},
      {"local n = user:count(seen)\njourney:wait '1h'\nlocal s = journey:split { name = 'side', a = 1 }\n"
       "journey:wait_for { on = 'more', within = '3h' }",
       "rules/way/rule.lua:8: the journey does not fit its source any more: it waits at wait_for more within "
       "2h, and "
       "here the source has wait_for more within 3h"},
      {"local n = user:count(seen)\njourney:wait '1h'\nlocal s = journey:split { name = 'side', b = 1 }",
       "rules/way/rule.lua:7: the journey does not fit its source any more: its split side gave \"a\", which "
       "is no side "
       "of it now"},
      {"local n = user:count(seen)\njourney:wait '1h'\nlocal s = journey:split { name = 'side', a = 1 }",
       "the journey does not fit its source any more: its function ends, and it waits at wait_for more "
       "within 2h"},
      {"pcall(function() journey:wait '5h' end) error 'caught'",
       "rules/way/rule.lua:5: the journey does not fit"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    struct journey journey;
    struct error err = {0};
    world_under_way(&world);
    world_journey(&world, cases[i].run);
    world_event(&world, "more", NOON + HOUR + 5);
    if (!strstr((const char *)world.said.data, cases[i].says))
      fail_msg("%s\n%s", world.said.data, cases[i].says);
    assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED && journey.steps == 3);
    assert_true(memcmp(journey.why.data, world.said.data, journey.why.len) == 0);
    // Nothing wakes it, and what it waits for is not lost: on a source that fits it goes on with that very
    // event.
    struct timer timer;
    assert_false(record_timer_next(&world.bench.record, &timer));
    world_event(&world, "more", NOON + HOUR + 6);
    assert_int_equal(world.letters, 1);
    assert_true(retry(&world, NOON + 3 * HOUR, &err) < 0);
    world_journey(&world, first);
    assert_int_equal(retry(&world, NOON + 3 * HOUR, &err), 0);
    assert_false(only(&world, &journey));
    assert_int_equal(retry(&world, NOON + 3 * HOUR, &err), ERROR_NOT_FOUND);
    world_deinit(&world);
  }
}

/** Three messages with waits between them, each timer fired while the clock on the wall stands at its time
 * plus the step. @return hash of the messages' ids, in their order. */
static uint64_t told(const int64_t steps[3]) {
  struct world world;
  struct buf ids = {0};
  struct journey journey;
  world_init(&world);
  world_journey(
      &world,
      "for i = 1, 3 do journey:wait '1h' journey:send { channel = 'push', to = 'p', template = 'm' } end");
  world_event(&world, "go", NOON);
  for (int i = 0; i < 3; i++) {
    struct timer timer;
    assert_true(record_timer_next(&world.bench.record, &timer));
    decide_timer(world.decider, &world.bench.record, (struct entity){ENTITY_USER, STR("ada")}, &timer,
                 timer.due + steps[i], &world.decision);
    settle(&world);
    struct reader reader = reader_of(world.decision.effects);
    struct effect effect;
    while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
      if (effect.type != EFFECT_MESSAGE) continue;
      assert_true(effect.message.verdict.pass);
      buf_put_u64(&ids, effect.message.message.id.high);
      buf_put_u64(&ids, effect.message.message.id.low);
    }
  }
  assert_false(only(&world, &journey));
  assert_int_equal(ids.len, 3 * sizeof(struct hash128));
  uint64_t hash = hash64(buf_str(&ids), 0);
  buf_deinit(&ids);
  world_deinit(&world);
  return hash;
}

/** The clock is stepped while one waits, both ways: the same messages as without. */
static void test_clock_steps(void **state) {
  (void)state;
  uint64_t wanted = told((int64_t[]){0, 0, 0});
  assert_true(told((int64_t[]){-2 * HOUR, 0, 5}) == wanted);
  assert_true(told((int64_t[]){0, 3 * HOUR, -3 * HOUR}) == wanted);
  assert_true(told((int64_t[]){50 * HOUR, -HOUR, 50 * HOUR}) == wanted);
}

/** An exit ends a parked one, too: nobody is to be written to who has bought. */
static void test_parked_exits(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  world_under_way(&world);
  world_journey(&world, "error 'no'");
  world_event(&world, "more", NOON + HOUR + 5);
  assert_true(only(&world, &journey) && journey.state == JOURNEY_PARKED);
  world_event(&world, "stop", NOON + HOUR + 6);
  assert_false(only(&world, &journey));
  world_deinit(&world);
}

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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_effects_are_all),
                                     cmocka_unit_test(test_recalled),
                                     cmocka_unit_test(test_given_back),
                                     cmocka_unit_test(test_history_is_not_repeated),
                                     cmocka_unit_test(test_does_not_fit),
                                     cmocka_unit_test(test_clock_steps),
                                     cmocka_unit_test(test_parked_exits),
                                     cmocka_unit_test(test_bounds),
                                     cmocka_unit_test(test_indexed),
                                     cmocka_unit_test(test_no_room_to_be_parked),
                                     cmocka_unit_test(test_restart_without_room),
                                     cmocka_unit_test(test_restart_among_many),
                                     cmocka_unit_test(test_retry_of_a_time_gone_by),
                                     cmocka_unit_test(test_retry_of_an_event_gone_by),
                                     cmocka_unit_test(test_retry_of_an_exit_at_another_step),
                                     cmocka_unit_test(test_retry_of_a_start_that_is_an_exit),
                                     cmocka_unit_test(test_late_retry_of_a_start),
                                     cmocka_unit_test(test_late_retry)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
