// links: base config event state gate deliver engine ingest decide
/* Events that rules emit: decided behind the present one, within the same input. */
#include "decide/decide.h"
#include "test_engine_support.h"

static const char yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";
static const int64_t NOON = 1795604400000;

struct world {
  struct bench bench;
  struct decider *decider;
  struct decision decision;
  struct buf told;
};

static void note_ran(void *context, const struct decider_run *run) {
  struct world *world = context;
  buf_printf(&world->told, "%.*s on %.*s%s\n", STR_ARG(run->rule->campaign),
             STR_ARG(run->call->event ? run->call->event->type : STR("timer")), run->failed ? " failed" : "");
}

static void note_derived(void *context, const struct event *event) {
  struct world *world = context;
  buf_printf(&world->told, "%.*s %.*s\n", STR_ARG(event->type), STR_ARG(event->id));
}

static void world_init(struct world *world) {
  *world = (struct world){0};
  bench_init(&world->bench, yaml);
  buf_init(&world->told);
}

static void world_deinit(struct world *world) {
  decider_free(world->decider);
  bench_deinit(&world->bench);
  buf_deinit(&world->told);
}

static void world_rule(struct world *world, const char *campaign, const char *fields, const char *act) {
  struct buf text;
  char path[64];
  buf_init(&text);
  buf_printf(
      &text,
      "local kairos = require 'kairos'\nlocal seen = kairos.window { of = 'second', over = '1d' }\n"
      "return kairos.rule { %s act = function(event, user) %s end, timers = { wake = function(timer, user) "
      "user:emit { type = 'second' } end } }",
      fields, act);
  buf_put_u8(&text, 0);
  snprintf(path, sizeof path, "%s/rule.lua", campaign);
  bench_write(&world->bench, path, (const char *)text.data);
  buf_deinit(&text);
}

static void world_load(struct world *world) {
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
  world->decider = decider_new(
      &(struct decider_options){.engine = world->bench.engine,
                                .config = world->bench.config,
                                .generation = 7,
                                .record_max = 64 << 10,
                                .observer = {.context = world, .ran = note_ran, .derived = note_derived}});
}

static void world_event(struct world *world, const char *type, const char *payload, int64_t at) {
  bench_event(&world->bench, type, payload, at);
  buf_clear(&world->told);
  decide_event(world->decider, &world->bench.record, &world->bench.event, at + 9, &world->decision);
}

static void assert_told(struct world *world, const char *wanted) {
  buf_put_u8(&world->told, 0);
  assert_string_equal((const char *)world->told.data, wanted);
  world->told.len--;
}

static unsigned count_effects(const struct world *world, enum effect_type type, struct effect *last) {
  struct reader reader = reader_of(world->decision.effects);
  struct effect effect;
  unsigned count = 0;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type != type) continue;
    *last = effect;
    count++;
  }
  return count;
}

/** Behind all rules of the event, in order, windows included; each with an id of its own, the cause's time
 * and who emitted it. */
static void test_order(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_rule(&world, "a", "on = 'first',",
             "user:emit { type = 'second', payload = { n = 1 } } user:emit { type = 'third' }");
  world_rule(&world, "b", "on = { 'first', 'third' },", "");
  world_rule(&world, "c", "on = 'second',",
             "if user:count(seen) == 1 then user:emit { type = 'second', payload = event.payload } end "
             "user:set('seen', event.payload.n)");
  world_load(&world);
  world_event(&world, "first", "{}", NOON);
  assert_told(&world, "a on first\nb on first\nsecond derived:1:1:e1\nc on second\nthird derived:1:2:e1\n"
                      "b on third\nsecond derived:1:3:e1\nc on second\n");
  struct effect effect;
  assert_int_equal(count_effects(&world, EFFECT_DERIVED, &effect), 3);
  assert_int_equal(count_effects(&world, EFFECT_WINDOW, &effect), 2);
  assert_int_equal(effect.window.at, NOON);
  assert_int_equal(count_effects(&world, EFFECT_DERIVED, &effect), 3);
  struct reader reader = reader_of(effect.derived);
  struct event event;
  struct str source;
  assert_int_equal(event_decode(&event, &reader, NULL), 0);
  assert_true(event.timestamp == NOON && event.received == NOON + 9 && event.entity.kind == ENTITY_USER);
  assert_true(value_member(event.metadata, STR("source"), &source));
  assert_true(str_equal(value_head(source).string, STR("c")));
  struct str value;
  assert_true(record_attribute(&world.bench.record, STR("seen"), &value));
  assert_int_equal(value_head(value).integer, 1);
  world_deinit(&world);
}

/** A rule that fails has emitted nothing, and a shadow is heard by nobody. */
static void test_taken_back(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_rule(&world, "a", "on = 'first',", "user:emit { type = 'second' } error 'no'");
  world_rule(&world, "b", "on = 'first', mode = 'shadow',", "user:emit { type = 'second' }");
  world_rule(&world, "c", "on = 'first',", "user:emit { type = 'second' }");
  world_load(&world);
  world_event(&world, "first", "{}", NOON);
  assert_told(&world, "a on first failed\nb on first\nc on first\nsecond derived:1:1:e1\n");
  world_deinit(&world);
}

/** What goes round for ever ends as a dead letter of the rule that asked for one too many. */
static void test_bound(void **state) {
  (void)state;
  struct world world;
  struct effect effect;
  world_init(&world);
  world_rule(&world, "a", "on = { 'first', 'again' },", "user:emit { type = 'again' }");
  world_load(&world);
  world_event(&world, "first", "{}", NOON);
  assert_int_equal(count_effects(&world, EFFECT_DERIVED, &effect), 32);
  assert_int_equal(count_effects(&world, EFFECT_FAILURE, &effect), 1);
  if (!memmem(effect.failure.error.data, effect.failure.error.len, "may lead to 32 further ones", 27))
    fail_msg("%.*s", STR_ARG(effect.failure.error));
  buf_clear(&world.told);
  world_event(&world, "first", "{}", NOON + 1); /* each input anew */
  assert_int_equal(count_effects(&world, EFFECT_DERIVED, &effect), 32);
  world_deinit(&world);
}

static void test_timer(void **state) {
  (void)state;
  struct world world;
  struct timer timer;
  world_init(&world);
  world_rule(&world, "a", "on = 'first',", "user:after('1h', { name = 'wake' })");
  world_rule(&world, "b", "on = 'second',", "user:set('late', kairos.now())");
  world_load(&world);
  world_event(&world, "first", "{}", NOON);
  assert_true(record_timer_next(&world.bench.record, &timer));
  buf_clear(&world.told);
  decide_timer(world.decider, &world.bench.record, (struct entity){ENTITY_USER, STR("ada")}, &timer,
               NOON + 7200000, &world.decision);
  assert_told(&world, "a on timer\nsecond derived:1:1:timer:a/wake@1795608000000\nb on second\n");
  struct str value;
  assert_true(record_attribute(&world.bench.record, STR("late"), &value));
  assert_int_equal(value_head(value).integer, NOON + 3600000);
  world_deinit(&world);
}

static void test_mistakes(void **state) {
  (void)state;
  static const struct {
    const char *act, *said;
  } cases[] = {
      {"user:emit 'x'", "user:emit takes a table: user:emit { type = … }"},
      {"user:emit {}", "user:emit needs `type`"},
      {"user:emit { type = 'x', data = {} }", "user:emit has no field `data`"},
      {"user:emit { type = 'segment.entered' }",
       "event types that begin with \"segment.\" are the host's own; choose another name"},
      {"user:emit { type = ('x'):rep(257) }", "the event type has at most 256 letters"},
      {"user:emit { type = 'x', payload = { f = function() end } }", "the payload of an event"},
      {"user:emit { type = 'x', payload = { text = ('x'):rep(20000) } }", "the payload of an event"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    struct effect effect;
    world_init(&world);
    world_rule(&world, "a", "on = 'first',", cases[i].act);
    world_load(&world);
    world_event(&world, "first", "{}", NOON);
    assert_int_equal(count_effects(&world, EFFECT_FAILURE, &effect), 1);
    if (!memmem(effect.failure.error.data, effect.failure.error.len, cases[i].said, strlen(cases[i].said)))
      fail_msg("%.*s", STR_ARG(effect.failure.error));
    assert_int_equal(count_effects(&world, EFFECT_DERIVED, &effect), 0);
    world_deinit(&world);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_order), cmocka_unit_test(test_taken_back), cmocka_unit_test(test_bound),
      cmocka_unit_test(test_timer), cmocka_unit_test(test_mistakes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
