// links: base config event state gate deliver engine ingest decide
/* Earlier sources beside those that serve: found, run, counted for, and closed when they take too much
 * memory. */
#include "decide/decide_internal.h"
#include "test_engine_support.h"

enum { VERSIONS = 12 };

struct world {
  struct bench bench;
  struct decider *decider;
  struct ruleset *earlier[VERSIONS];
  size_t earlier_count;
  struct window_declaration *windows;
  size_t asked; /**< times that sources were wanted */
  struct buf told;
};

static int sources_of(void *context, struct hash128 version, struct ruleset **out, struct error *err) {
  struct world *world = context;
  world->asked++;
  for (size_t i = 0; i < world->earlier_count; i++) {
    if (!hash128_equal(ruleset_version(world->earlier[i], STR("cart")), version)) continue;
    *out = ruleset_share(world->earlier[i]);
    return 0;
  }
  return error_set(err, ERROR_NOT_FOUND, "gone");
}

/** @param more  something that makes its engine large, or "" */
static void world_write(struct world *world, const char *of, const char *template, const char *more) {
  struct buf text;
  char path[64];
  buf_init(&text);
  buf_printf(
      &text,
      "local kairos = require 'kairos'\nlocal seen = kairos.window { of = '%s', over = '1d' }\n"
      "local more = %s\n"
      "return kairos.rule { on = 'x', competes = 'one', act = function(event, user)\n"
      "  user:send { channel = 'push', template = '%s', to = 'phone', data = { n = user:count(seen), m = "
      "more and #more } } end }",
      of, *more ? more : "nil", template);
  buf_put_u8(&text, 0);
  bench_write(&world->bench, "cart/rule.lua", (const char *)text.data);
  snprintf(path, sizeof path, "cart/%s.txt", template);
  bench_write(&world->bench, path, template);
  buf_deinit(&text);
}

static void world_init(struct world *world, const char *yaml) {
  *world = (struct world){0};
  bench_init(&world->bench, yaml);
  buf_init(&world->told);
}

/** What is written now becomes an earlier source. @return its version */
static struct hash128 world_keep(struct world *world) {
  const struct engine_rule *rules;
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
  engine_rules(world->bench.engine, &rules);
  struct hash128 version = ruleset_version(world->bench.ruleset, STR("cart"));
  assert_true(hash128_equal(rules[0].version, version));
  world->earlier[world->earlier_count++] = ruleset_share(world->bench.ruleset);
  return version;
}

/** What is written now serves. */
static void world_serve(struct world *world, const struct window_declaration *windows, size_t window_count) {
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
  world->decider =
      decider_new(&(struct decider_options){.engine = world->bench.engine,
                                            .config = world->bench.config,
                                            .generation = 7,
                                            .record_max = 64 << 10,
                                            .flights = {sources_of, world, windows, window_count}});
}

static void world_deinit(struct world *world) {
  decider_free(world->decider);
  for (size_t i = 0; i < world->earlier_count; i++) ruleset_free(world->earlier[i]);
  bench_deinit(&world->bench);
  buf_deinit(&world->told);
}

/** Run the campaign's rule of that version on an event, and note its messages. */
static int run(struct world *world, struct hash128 version, struct error *err) {
  struct decision decision;
  struct decide_source source;
  struct decider *decider = world->decider;
  struct engine_call *call = &decider->call;
  bench_event(&world->bench, "resume", "{}", 1000);
  decide_begin(decider, &world->bench.record, &decision);
  decide_prepare(decider, world->bench.event.entity, &world->bench.event, NULL, 1000);
  int rc = decide_flight(decider, STR("cart"), version, &source, err);
  if (rc) return rc;
  assert_true(hash128_equal(source.rules[source.rule].version, version));
  if (engine_run(source.engine, source.rule, call, err)) return err->code;
  struct reader reader = reader_of(buf_str(&call->messages));
  struct message message;
  while (reader_left(&reader) && message_decode(&message, &reader, err) == 0)
    buf_printf(&world->told, "%.*s/%.*s ", STR_ARG(message.campaign), STR_ARG(message.template_name));
  decide_finish(decider, &decision);
  return 0;
}

static void test_an_earlier_source_runs_and_then_the_present_one(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  world_init(&world, "rules:\n  budget: 200ms\n  memory: 16MB\n");
  world_write(&world, "old", "first", "");
  struct hash128 first = world_keep(&world);
  world_write(&world, "new", "second", "");
  world_serve(&world, NULL, 0);
  struct hash128 second = world.decider->rules[0].version;
  assert_false(hash128_equal(first, second));
  assert_int_equal(run(&world, first, &err), 0);
  assert_int_equal(run(&world, second, &err), 0);
  assert_int_equal(run(&world, first, &err), 0);
  assert_true(str_equal(buf_str(&world.told), STR("cart/first cart/second cart/first ")));
  assert_int_equal(world.asked, 1);
  assert_ptr_equal(decider_engine(world.decider), world.bench.engine);
  world_deinit(&world);
}

static void test_a_source_that_is_gone_or_does_not_load_says_so(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  world_init(&world, "rules:\n  budget: 200ms\n  memory: 16MB\n");
  world_write(&world, "old", "first", "");
  struct hash128 first = world_keep(&world);
  world_write(&world, "new", "second", "");
  world_serve(&world, NULL, 0);
  assert_int_equal(run(&world, (struct hash128){1, 2}, &err), ERROR_NOT_FOUND);
  assert_string_equal(err.message, "the source that it began with is not kept any more");
  struct decide_source source;
  assert_int_equal(decide_flight(world.decider, STR("basket"), first, &source, &err), ERROR_NOT_FOUND);
  assert_ptr_equal(decider_engine(world.decider), world.bench.engine);
  // Files of another time, which this version of the host does not load any more.
  char library[512];
  bench_library(library, sizeof library);
  bench_write(&world.bench, "cart/rule.lua", "return require 'kairos'.rule { on = 'x' }\n");
  assert_int_equal(ruleset_read(&world.earlier[1], world.bench.folder, library, &err), 0);
  struct hash128 broken = ruleset_version(world.earlier[world.earlier_count++], STR("cart"));
  for (int i = 0; i < 2; i++) {
    assert_int_equal(run(&world, broken, &err), ERROR_SCRIPT);
    static const char says[] =
        "the source that it began with does not load any more: rules/cart/rule.lua:1: ";
    if (strncmp(err.message, says, sizeof says - 1) != 0) fail_msg("%s", err.message);
  }
  assert_int_equal(world.asked, 3); // once each
  assert_int_equal(run(&world, first, &err), 0);
  world_deinit(&world);
}

/** A journey whose every step is begun by an event `go`; `adds` stands among its fields. */
static void world_write_journey(struct world *world, const char *template, const char *adds) {
  struct buf text;
  char path[64];
  buf_init(&text);
  buf_printf(&text,
             "return require 'kairos'.journey { start = { on = 'begin' }, %s run = function(journey)\n"
             "  for _ = 1, 2 do\n    journey:wait_for { on = 'go', within = '1h' }\n"
             "    journey:send { channel = 'push', template = '%s', to = 'phone' }\n  end\nend }",
             adds, template);
  buf_put_u8(&text, 0);
  bench_write(&world->bench, "cart/rule.lua", (const char *)text.data);
  snprintf(path, sizeof path, "cart/%s.txt", template);
  bench_write(&world->bench, path, template);
  buf_deinit(&text);
}

/** What is written now serves in place of what did. @param keeps  whether the earlier one can be had */
static void world_replace(struct world *world, bool keeps) {
  if (keeps) world->earlier[world->earlier_count++] = ruleset_share(world->bench.ruleset);
  decider_free(world->decider);
  world->decider = NULL;
  world_serve(world, NULL, 0);
}

static void happen(struct world *world, const char *type) {
  struct decision decision;
  bench_event(&world->bench, type, "{}", 1000);
  decide_event(world->decider, &world->bench.record, &world->bench.event, 1000, &decision);
  struct reader reader = reader_of(decision.effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    if (effect.type == EFFECT_MESSAGE)
      buf_printf(&world->told, "%.*s ", STR_ARG(effect.message.message.template_name));
}

static bool the_journey(struct world *world, struct journey *out) {
  struct journey head;
  size_t at = 0;
  return record_journey_next(&world->bench.record, &at, &head) &&
         record_journey(&world->bench.record, head.id, out);
}

static void test_newer_source_takes_over_or_does_not(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  world_init(&world, "rules:\n  budget: 200ms\n  memory: 16MB\n");
  world_write_journey(&world, "first", "");
  world_serve(&world, NULL, 0);
  happen(&world, "begin");
  world_write_journey(&world, "second", "flight = 'pin',");
  world_replace(&world, true);
  happen(&world, "go");
  assert_true(str_equal(buf_str(&world.told), STR("first ")));
  assert_true(the_journey(&world, &journey));
  assert_true(hash128_equal(journey.version, ruleset_version(world.earlier[0], STR("cart"))));
  // Its history says `first`, and the newer source asks for `third` there.
  world_write_journey(&world, "third", "flight = 'adopt',");
  world_replace(&world, true);
  happen(&world, "go");
  assert_true(str_equal(buf_str(&world.told), STR("first first ")));
  assert_false(the_journey(&world, &journey));
  world_deinit(&world);
}

/** `flight` may let go of the events in the history: its own tables may then stand where those stood. */
static void test_a_migration_has_tables_of_its_own(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  world_init(&world, "rules:\n  budget: 200ms\n  memory: 16MB\n");
  world_write_journey(&world, "first", "");
  world_serve(&world, NULL, 0);
  happen(&world, "begin");
  happen(&world, "go");
  world_write_journey(
      &world, "second",
      "flight = function(_, history)\n"
      "  assert(history[1].answer.type == 'go')\n"
      "  history[1] = nil\n"
      "  for i = 1, 20000 do\n"
      "    local made = {}\n"
      "    made.at = i\n"
      "    for key in pairs(made) do if key ~= 'at' then error('not its own: ' .. key) end end\n"
      "  end\n"
      "  return {}\n"
      "end,");
  world_replace(&world, true);
  happen(&world, "go");
  assert_true(the_journey(&world, &journey));
  assert_true(hash128_equal(journey.version, world.decider->rules[0].version));
  assert_int_equal(journey.run, 1);
  world_deinit(&world);
}

static void test_one_whose_source_is_lost_is_parked_unless_newer_source_takes_it_over(void **state) {
  (void)state;
  struct world world;
  struct journey journey;
  world_init(&world, "rules:\n  budget: 200ms\n  memory: 16MB\n");
  world_write_journey(&world, "first", "");
  world_serve(&world, NULL, 0);
  happen(&world, "begin");
  world_write_journey(&world, "second", "");
  world_replace(&world, false);
  happen(&world, "go");
  assert_true(the_journey(&world, &journey));
  assert_int_equal(journey.state, JOURNEY_PARKED);
  assert_true(str_equal(journey.why, STR("the source that it began with is not kept any more")));
  struct decision decision;
  struct error err = {0};
  assert_int_equal(decide_journey_move(world.decider, &world.bench.record, journey.id, 2000, &decision, &err),
                   0);
  assert_true(the_journey(&world, &journey));
  assert_int_equal(journey.state, JOURNEY_WAITING);
  assert_int_equal(journey.wait.due, 2000);
  world_write_journey(&world, "third", "flight = 'adopt',");
  world_replace(&world, false);
  happen(&world, "go");
  assert_true(str_equal(buf_str(&world.told), STR("third ")));
  assert_true(the_journey(&world, &journey));
  assert_true(hash128_equal(journey.version, world.decider->rules[0].version));
  assert_int_equal(decide_journey_stop(world.decider, &world.bench.record, journey.id, STR("enough"), 3000,
                                       &decision, &err),
                   0);
  assert_false(the_journey(&world, &journey));
  assert_int_equal(decide_journey_move(world.decider, &world.bench.record, journey.id, 3000, &decision, &err),
                   ERROR_NOT_FOUND);
  world_deinit(&world);
}

/** Its source is lost, and the newer one does not run now: it is held with the event till that does. */
static void test_one_whose_source_is_lost_is_held_as_long_as_newer_source_does_not_run(void **state) {
  (void)state;
  static const char *const flights[] = {"flight = 'adopt',", "flight = function() return {} end,"};
  for (size_t i = 0; i < 2; i++) {
    struct world world;
    struct journey journey;
    struct timer timer;
    struct decision decision;
    char adds[80];
    world_init(&world, "rules:\n  budget: 200ms\n  memory: 16MB\n");
    world_write_journey(&world, "first", "");
    world_serve(&world, NULL, 0);
    happen(&world, "begin");
    snprintf(adds, sizeof adds, "mode = 'paused', %s", flights[i]);
    world_write_journey(&world, "second", adds);
    world_replace(&world, false);
    happen(&world, "go");
    assert_true(the_journey(&world, &journey));
    if (journey.state != JOURNEY_WAITING) fail_msg("%.*s", STR_ARG(journey.why));
    assert_true(journey.wait.held > 1000 && journey.wait.got.len > 0);
    assert_int_equal(world.told.len, 0);
    world_write_journey(&world, "third", flights[i]);
    world_replace(&world, false);
    assert_true(record_timer_next(&world.bench.record, &timer));
    decide_timer(world.decider, &world.bench.record, world.bench.event.entity, &timer, timer.due, &decision);
    assert_true(the_journey(&world, &journey) && journey.state == JOURNEY_WAITING);
    assert_true(hash128_equal(journey.version, world.decider->rules[0].version));
    assert_int_equal(journey.run, i); // one adopted goes on, one migrated has begun anew
    assert_int_equal(journey.steps > 0, i == 0);
    world_deinit(&world);
  }
}

static void test_what_earlier_sources_declare_goes_on_to_be_counted(void **state) {
  (void)state;
  struct world world;
  struct decision decision;
  const struct window_declaration *windows;
  world_init(&world, "rules:\n  budget: 200ms\n  memory: 16MB\n");
  world_write(&world, "old", "first", "");
  world_keep(&world);
  size_t count = engine_windows(world.bench.engine, &windows);
  assert_int_equal(count, 1);
  struct window_declaration old = windows[0];
  char of[] = "old"; // the engine goes
  old.of = str_from(of);
  world_write(&world, "new", "second", "");
  world_serve(&world, &old, 1);
  for (int i = 0; i < 2; i++) {
    bench_event(&world.bench, i ? "new" : "old", "{}", 1000);
    decide_event(world.decider, &world.bench.record, &world.bench.event, 1000, &decision);
  }
  int64_t now = event_now(&world.bench.event);
  assert_int_equal((int)record_window(&world.bench.record, &old, 0, now).number, 1);
  engine_windows(world.bench.engine, &windows);
  assert_int_equal((int)record_window(&world.bench.record, &windows[0], 0, now).number, 1);
  world_deinit(&world);
}

static void test_those_needed_longest_ago_are_closed(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  struct hash128 versions[VERSIONS];
  char large[64];
  world_init(&world, "rules:\n  budget: 5s\n  memory: 4MB\n");
  for (int i = 0; i < VERSIONS; i++) {
    snprintf(large, sizeof large, "string.rep('%c', 500000)", 'a' + i);
    world_write(&world, "old", "first", large);
    versions[i] = world_keep(&world);
  }
  world_write(&world, "new", "second", "");
  world_serve(&world, NULL, 0);
  size_t opened = 0;
  while (opened < VERSIONS && decider_open_flight(world.decider, versions[opened], &err)) opened++;
  assert_true(opened > 1 && opened < VERSIONS);
  for (int i = 0; i < VERSIONS; i++) {
    assert_int_equal(run(&world, versions[i], &err), 0);
    decide_flights_trim(world.decider);
    assert_true(decider_flight_memory(world.decider) <= 4 << 20);
  }
  size_t asked = world.asked;
  assert_int_equal(run(&world, versions[VERSIONS - 1], &err), 0);
  assert_int_equal(world.asked, asked);
  assert_int_equal(run(&world, versions[0], &err), 0);
  assert_int_equal(world.asked, asked + 1);
  world_deinit(&world);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_an_earlier_source_runs_and_then_the_present_one),
      cmocka_unit_test(test_a_source_that_is_gone_or_does_not_load_says_so),
      cmocka_unit_test(test_newer_source_takes_over_or_does_not),
      cmocka_unit_test(test_a_migration_has_tables_of_its_own),
      cmocka_unit_test(test_one_whose_source_is_lost_is_parked_unless_newer_source_takes_it_over),
      cmocka_unit_test(test_one_whose_source_is_lost_is_held_as_long_as_newer_source_does_not_run),
      cmocka_unit_test(test_what_earlier_sources_declare_goes_on_to_be_counted),
      cmocka_unit_test(test_those_needed_longest_ago_are_closed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
