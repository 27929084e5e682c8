// links: base config event state gate deliver engine ingest decide
/* Journeys as the decider runs them: what the log keeps is all that recovery needs, and a history that does
 * not fit its source is parked, with the step named. */
#include "journey_world.h"

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

/** Each time it begins afresh its event is made anew; where the last one stood a table of its own may stand.
 */
static void test_own_tables(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  world_init(&world);
  world_journey(&world,
                "local n = (journey.state or { n = 0 }).n\n"
                "assert(journey.event.payload.list.deep.deep == 1)\n"
                "for i = 1, 20000 do\n"
                "  local made = {}\n"
                "  made.at = i\n"
                "  for key in pairs(made) do if key ~= 'at' then error('not its own: ' .. key) end end\n"
                "end\n"
                "if n < 6 then journey:continue { n = n + 1 } end\n"
                "journey:wait '1h'");
  world_send(&world, "go", "{\"list\": {\"deep\": {\"deep\": 1}}}", NOON);
  if (world.letters) fail_msg("%s", (const char *)world.said.data);
  assert_true(only(&world, &journey));
  assert_int_equal(journey.run, 6);
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
    uint32_t unsent;
  } cases[] = {{0, OUTCOME_CANCELLED, 1, 0},
               {OUTCOME_ACCEPTED, 0, 2, 0},
               {OUTCOME_RETRY, OUTCOME_CANCELLED, 2, 0},
               {OUTCOME_RETRY, OUTCOME_CANCELLED, 1, 1}};
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
    struct outcome outcome = {.message_id = message.id,
                              .kind = (enum outcome_kind)cases[i].before,
                              .attempt = 1,
                              .unsent = cases[i].unsent};
    assert_true(decide_outcome_needs_record(&message, &outcome));
    if (cases[i].before) {
      decide_outcome(world.decider, &world.bench.record, &message, &outcome, &world.decision);
      settle(&world);
    }
    assert_int_equal(record_counted(&world.bench.record, STR("campaign way"), times), 2);
    world_event(&world, "stop", NOON + 1);
    assert_false(only(&world, &journey));
    assert_int_equal(record_counted(&world.bench.record, STR("campaign way"), times), cases[i].counted);
    outcome = (struct outcome){.message_id = message.id,
                               .kind = (enum outcome_kind)cases[i].after,
                               .attempt = cases[i].before != 0,
                               .unsent = cases[i].unsent};
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

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_effects_are_all),
                                     cmocka_unit_test(test_own_tables),
                                     cmocka_unit_test(test_recalled),
                                     cmocka_unit_test(test_given_back),
                                     cmocka_unit_test(test_history_is_not_repeated),
                                     cmocka_unit_test(test_does_not_fit),
                                     cmocka_unit_test(test_clock_steps),
                                     cmocka_unit_test(test_parked_exits)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
