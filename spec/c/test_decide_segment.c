// links: base config event state gate deliver engine ingest decide
/* Segments: who is judged when, who enters and leaves at which moment, and what is told of it. */
#include "decide/decide.h"
#include "test_engine_support.h"

static const char yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";
static const int64_t NOON = 1795604400000;
enum { MINUTE = 60000, HOUR = 60 * MINUTE };

struct world {
  struct bench bench;
  struct decider *decider;
  struct decision decision;
  struct buf told;
  int serial;
  unsigned judged;
};

static void note_judged(void *context, const struct decider_judgement *judgement) {
  struct world *world = context;
  world->judged++;
  if (judgement->failed) buf_printf(&world->told, "%.*s failed\n", STR_ARG(judgement->segment->name));
}

static void note_derived(void *context, const struct event *event) {
  struct world *world = context;
  struct str since, until;
  buf_printf(&world->told, "%.*s @%lld", STR_ARG(event->type), (long long)((event->timestamp - NOON)));
  if (value_member(event->payload, STR("since"), &since))
    buf_printf(&world->told, " since %lld", (long long)(value_head(since).integer - NOON));
  if (value_member(event->payload, STR("until"), &until))
    buf_printf(&world->told, " until %lld", (long long)(value_head(until).integer - NOON));
  buf_printf(&world->told, "\n");
}

static void note_ran(void *context, const struct decider_run *run) {
  struct world *world = context;
  buf_printf(&world->told, "%.*s ran\n", STR_ARG(run->rule->campaign));
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

static void world_file(struct world *world, const char *campaign, const char *body) {
  struct buf text;
  char path[64];
  buf_init(&text);
  buf_printf(&text,
             "local kairos = require 'kairos'\nlocal segment = kairos.segment\n"
             "local views = kairos.window { of = 'view', over = '10m' }\n"
             "local orders = kairos.window { of = 'order', sum = 'payload.total', over = '1h' }\n"
             "local skus = kairos.window { of = 'view', by = 'payload.sku', over = '20m' }\n%s",
             body);
  buf_put_u8(&text, 0);
  snprintf(path, sizeof path, "%s/rule.lua", campaign);
  bench_write(&world->bench, path, (const char *)text.data);
  buf_deinit(&text);
}

static void world_load(struct world *world) {
  decider_free(world->decider);
  world->decider = NULL;
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
  world->decider = decider_new(&(struct decider_options){
      .engine = world->bench.engine,
      .config = world->bench.config,
      .generation = 7,
      .record_max = 64 << 10,
      .observer = {.context = world, .ran = note_ran, .derived = note_derived, .judged = note_judged}});
}

static void begin(struct world *world) {
  buf_clear(&world->told);
  world->judged = 0;
}

static void world_event(struct world *world, const char *type, const char *payload, int64_t at) {
  char id[16];
  bench_event(&world->bench, type, payload, NOON + at);
  snprintf(id, sizeof id, "e%d", ++world->serial);
  world->bench.event.id = str_from(id);
  begin(world);
  decide_event(world->decider, &world->bench.record, &world->bench.event, NOON + at, &world->decision);
}

/** Fire the record's next timer. @return when it was due, from NOON. */
static int64_t world_timer(struct world *world) {
  struct timer timer;
  begin(world);
  assert_true(record_timer_next(&world->bench.record, &timer));
  int64_t due = timer.due;
  decide_timer(world->decider, &world->bench.record, (struct entity){ENTITY_USER, STR("ada")}, &timer,
               due + 5 * HOUR, &world->decision);
  return due - NOON;
}

static int64_t next_due(const struct world *world) {
  struct timer timer;
  return record_timer_next(&world->bench.record, &timer) ? timer.due - NOON : -1;
}

static void assert_told(struct world *world, const char *wanted) {
  buf_put_u8(&world->told, 0);
  assert_string_equal((const char *)world->told.data, wanted);
  world->told.len--;
}

static bool in_segment(const struct world *world, const char *name) {
  return record_segment(&world->bench.record, str_from(name), NULL);
}

static const char viewers[] =
    "return segment { name = 'viewers', member = function(user) return user:count(views) >= 2 end }";

/** In with the event, out at the very millisecond, however late the timer fires. */
static void test_enter_and_leave(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_file(&world, "viewers", viewers);
  world_file(&world, "hello",
             "return kairos.rule { on = segment.entered 'viewers', act = function(event, user) "
             "user:set('entered', event.payload.since) end }");
  world_file(&world, "all", "return kairos.rule { on = 'segment.left', act = function() end }");
  world_load(&world);
  world_event(&world, "view", "{}", 0);
  assert_told(&world, "");
  assert_int_equal(next_due(&world), 10 * MINUTE);
  world_event(&world, "view", "{}", MINUTE);
  assert_told(&world, "segment.entered:viewers @60000 since 60000\nhello ran\n");
  assert_true(in_segment(&world, "viewers"));
  world_event(&world, "other", "{}", 2 * MINUTE);
  assert_int_equal(world.judged, 0); /* nothing that it could read has changed */
  assert_int_equal(world_timer(&world), 10 * MINUTE);
  assert_told(&world, "segment.left:viewers @600000 since 60000 until 600000\nall ran\n");
  assert_false(in_segment(&world, "viewers"));
  assert_int_equal(world_timer(&world), 11 * MINUTE);
  assert_told(&world, "");
  assert_int_equal(next_due(&world), -1);
  world_deinit(&world);
}

/** Those that read a segment are judged behind it, in one go; an attribute is everybody's. */
static void test_reads(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_file(
      &world, "a",
      "return { segment { name = 'gold', reads = 'active', member = function(user) return user.tier == "
      "'gold' "
      "and user:in_segment 'active' end },\n segment { name = 'lost', reads = { 'gold', 'active' }, member = "
      "function(user) return user.tier == 'gold' and not user:in_segment 'gold' end } }");
  world_file(&world, "z",
             "return segment { name = 'active', member = function(user) return user:count(views) > 0 end }");
  world_load(&world);
  world_event(&world, "identify", "{\"tier\": \"gold\"}", 0);
  assert_told(&world, "segment.entered:lost @0 since 0\n");
  assert_int_equal(world.judged, 3);
  world_event(&world, "view", "{}", MINUTE);
  assert_told(&world, "segment.entered:active @60000 since 60000\nsegment.entered:gold @60000 since 60000\n"
                      "segment.left:lost @60000 since 0 until 60000\n");
  assert_int_equal(world.judged, 3);
  world_event(&world, "view", "{}", 2 * MINUTE);
  assert_int_equal(world.judged, 1); /* nothing has changed for the others */
  assert_int_equal(world_timer(&world), 11 * MINUTE);
  assert_int_equal(world_timer(&world), 12 * MINUTE);
  assert_told(&world,
              "segment.left:active @720000 since 60000 until 720000\nsegment.left:gold @720000 since 60000 "
              "until 720000\nsegment.entered:lost @720000 since 720000\n");
  world_deinit(&world);
}

/** A late event counts where it belongs, and nobody is taken back in time by it. */
static void test_late(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_file(&world, "viewers", viewers);
  world_load(&world);
  world_event(&world, "view", "{}", 0);
  world_event(&world, "view", "{}", MINUTE);
  assert_int_equal(world_timer(&world), 10 * MINUTE);
  assert_int_equal(world_timer(&world), 11 * MINUTE);
  world_event(&world, "view", "{}", 5 * MINUTE); /* as of then there were three */
  assert_told(&world, "");
  assert_int_equal(next_due(&world), 15 * MINUTE);
  world_event(&world, "view", "{}", 4 * MINUTE);
  assert_told(&world, "segment.entered:viewers @660000 since 660000\n");
  assert_int_equal(world_timer(&world), 14 * MINUTE);
  assert_told(&world, "segment.left:viewers @840000 since 660000 until 840000\n");
  world_deinit(&world);
}

static void test_reached(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_file(
      &world, "trial",
      "return segment { member = function(user) return user.ends and not segment.reached(user.ends) end }");
  world_load(&world);
  world_event(&world, "identify", "{\"ends\": 1795604460000.5}", 0);
  assert_told(&world, "segment.entered:trial @0 since 0\n");
  assert_int_equal(world_timer(&world), MINUTE + 1);
  assert_told(&world, "segment.left:trial @60001 since 0 until 60001\n");
  assert_int_equal(next_due(&world), -1);
  world_deinit(&world);
}

static void test_sticky(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_file(&world, "viewers",
             "return segment { name = 'viewers', sticky = '30m', member = function(user) return "
             "user:count(views) > 0 "
             "end }");
  world_load(&world);
  world_event(&world, "view", "{}", 0);
  assert_int_equal(world_timer(&world), 10 * MINUTE);
  assert_told(&world, "");
  assert_int_equal(world_timer(&world), 30 * MINUTE);
  assert_told(&world, "segment.left:viewers @1800000 since 0 until 1800000\n");
  world_deinit(&world);
}

/** What a fan-out's rule does may make a predicate fail: a retry asks the segment again, and does not run the
 * rule twice. */
static void test_failing_behind_a_fan_out(void **state) {
  (void)state;
  struct world world;
  struct error err;
  struct entity ada = {ENTITY_USER, STR("ada")};
  world_init(&world);
  world_file(&world, "viewers", viewers);
  world_file(&world, "bad",
             "return segment { name = 'bad', member = function(user) return #user.word > 2 end }");
  world_file(&world, "tell",
             "return kairos.rule { on = 'drop', for_each = segment.members 'viewers', act = function(event, "
             "user) user:set('word', event.payload.word) end }");
  world_load(&world);
  bench_event(&world.bench, "drop", "{\"word\":5}", NOON);
  struct buf event, input, letter;
  buf_init(&event);
  buf_init(&input);
  buf_init(&letter);
  event_encode(&world.bench.event, &event);
  fan_out_input_encode(buf_str(&event), STR("tell"), (struct hash128){1, 2}, &input);
  begin(&world);
  assert_int_equal(
      decide_reach(world.decider, &world.bench.record, ada, buf_str(&input), 1, NOON, &world.decision, &err),
      0);
  assert_told(&world, "tell ran\nbad failed\n");
  struct reader reader = reader_of(world.decision.effects);
  struct effect effect;
  do assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
  while (effect.type != EFFECT_FAILURE);
  effect_encode(&effect, &letter);
  reader = reader_of(buf_str(&letter));
  assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
  begin(&world);
  assert_int_not_equal(decide_retry(world.decider, &world.bench.record, ada, &effect.failure, NOON + MINUTE,
                                    &world.decision, &err),
                       0);
  assert_told(&world, "bad failed\n");
  buf_deinit(&event);
  buf_deinit(&input);
  buf_deinit(&letter);
  world_deinit(&world);
}

/** A predicate that fails changes nothing, is a dead letter, and can be asked again. */
static void test_failing(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  struct effect effect = {0};
  world_init(&world);
  world_file(
      &world, "viewers",
      "return segment { name = 'viewers', member = function(user) if user.broken then error 'no' end return "
      "user:count(views) > 0 end }");
  world_load(&world);
  world_event(&world, "view", "{}", 0);
  world_event(&world, "identify", "{\"broken\": true}", MINUTE);
  assert_told(&world, "viewers failed\n");
  assert_true(in_segment(&world, "viewers"));
  struct reader reader = reader_of(world.decision.effects);
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0 && effect.type != EFFECT_FAILURE)
    ;
  assert_int_equal(effect.type, EFFECT_FAILURE);
  struct buf letter;
  buf_init(&letter);
  effect_encode(&effect, &letter);
  reader = reader_of(buf_str(&letter));
  effect_decode(&effect, &reader, NULL);
  assert_true(str_equal(effect.failure.campaign, STR("segment:viewers")));
  struct entity ada = {ENTITY_USER, STR("ada")};
  assert_int_not_equal(decide_retry(world.decider, &world.bench.record, ada, &effect.failure,
                                    NOON + 2 * MINUTE, &world.decision, &err),
                       0);
  assert_int_equal(world_timer(&world), 10 * MINUTE);
  assert_told(&world, "viewers failed\n");
  world_event(&world, "identify", "{\"broken\": null}", 11 * MINUTE);
  assert_told(&world, "segment.left:viewers @660000 since 0 until 660000\n");
  assert_int_equal(decide_retry(world.decider, &world.bench.record, ada, &effect.failure, NOON + 12 * MINUTE,
                                &world.decision, &err),
                   0);
  buf_deinit(&letter);
  world_deinit(&world);
}

/** What the input's rules were lent is gone when a segment is judged: its tables may stand where those stood.
 */
static const char builder[] =
    "return segment { name = 'builders', member = function(user)\n"
    "  local built = user.name ~= nil\n"
    "  for i = 1, 20000 do\n"
    "    local made = {}\n"
    "    made.at = i\n"
    "    if made.deep ~= nil or made.payload ~= nil or made.type ~= nil then error 'not its own' end\n"
    "    for key in pairs(made) do if key ~= 'at' then error('not its own: ' .. key) end end\n"
    "  end\n"
    "  return built\n"
    "end }";

static void test_own_tables(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_file(&world, "builders", builder);
  world_file(&world, "waker",
             "return kairos.rule { on = 'start', act = function(event, user)\n"
             "  local many = {}\n"
             "  for i = 1, 200 do many[i] = { deep = { deep = { i } }, n = i } end\n"
             "  user:after('1h', { name = 'wake', data = { many = many, deep = { deep = { 1 } } } })\n"
             "end, timers = { wake = function(timer, user)\n"
             "  user:set('name', timer.data.deep.deep[1] + #timer.data.many)\n"
             "end } }");
  world_load(&world);
  for (int round = 0; round < 5; round++) {
    world_event(&world, "start", "{}", round * HOUR);
    assert_told(&world, "waker ran\n");
    assert_int_equal(world_timer(&world), (round + 1) * HOUR);
    assert_told(&world,
                round ? "waker ran\n" : "waker ran\nsegment.entered:builders @3600000 since 3600000\n");
    // As the host does before each input; then a segment's own timer, a fill.
    for (int again = 0; again < 3; again++) {
      struct str names[] = {STR("builders")};
      uint32_t refused;
      begin(&world);
      decide_fill(world.decider, &world.bench.record, (struct entity){ENTITY_USER, STR("ada")}, NULL, STR(""),
                  names, 1, NOON + (round + 1) * HOUR, &world.decision, &refused);
      assert_told(&world, "");
      assert_int_equal(world.judged, 1);
    }
  }
  world_deinit(&world);
}

/** One that is gone is forgotten, and nobody is told. */
static void test_gone(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_file(&world, "viewers", viewers);
  world_load(&world);
  world_event(&world, "view", "{}", 0);
  world_event(&world, "view", "{}", 1);
  assert_true(in_segment(&world, "viewers"));
  world_file(&world, "viewers",
             "return segment { name = 'others', member = function(user) return user:count(orders) > 9 end }");
  world_load(&world);
  assert_int_equal(world_timer(&world), 10 * MINUTE);
  assert_told(&world, "");
  assert_false(in_segment(&world, "viewers"));
  assert_int_equal(next_due(&world), -1);
  world_deinit(&world);
}

/** What goes round for ever ends, and the membership is what the predicate says. */
static void test_round(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_file(&world, "odd", "return segment { member = function(user) return user.n == 1 end }");
  world_file(&world, "flip",
             "return kairos.rule { on = { 'segment.entered', 'segment.left' }, act = function(event, user) "
             "user:set('n', user.n == 1 and 0 or 1) end }");
  world_load(&world);
  world_event(&world, "identify", "{\"n\": 1}", 0);
  unsigned derived = 0, failed = 0;
  struct reader reader = reader_of(world.decision.effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    derived += effect.type == EFFECT_DERIVED;
    failed += effect.type == EFFECT_FAILURE;
  }
  assert_int_equal(derived, 32);
  assert_int_equal(failed, 1);
  assert_true(in_segment(&world, "odd"));
  world_deinit(&world);
}

static void test_commands(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  struct entity ada = {ENTITY_USER, STR("ada")};
  world_init(&world);
  world_file(&world, "gold", "return segment { member = function(user) return user.tier == 'gold' end }");
  world_load(&world);
  struct effect set = {.type = EFFECT_ATTRIBUTE,
                       .attribute = {STR("tier"), STR("\xa4"
                                                      "gold")}};
  begin(&world);
  assert_int_equal(
      decide_effect(world.decider, &world.bench.record, ada, &set, NOON + 5, &world.decision, &err), 0);
  assert_told(&world, "segment.entered:gold @5 since 5\n");
  struct effect clear = {.type = EFFECT_TIMER_CLEAR,
                         .timer = {.campaign = STR("kairos"), .name = STR("segment:gold")}};
  assert_int_equal(
      decide_effect(world.decider, &world.bench.record, ada, &clear, NOON + 5, &world.decision, &err),
      ERROR_INVALID);
  world_deinit(&world);
}

/** Refused when it is loaded. */
static void test_mistakes_loading(void **state) {
  (void)state;
  static const struct {
    const char *file, *said;
  } cases[] = {
      {"return segment { name = 'a' }", "kairos.segment needs `member`"},
      {"return segment { member = function() end, over = '1d' }", "kairos.segment has no field `over`"},
      {"return segment { name = 'a', reads = 'b', member = function() end }",
       "`reads` of a names the segment `b`, which there is not; there are: a"},
      {"return { segment { name = 'a', reads = 'b', member = function() end }, segment { name = 'b', reads = "
       "'a', "
       "member = function() end } }",
       "segments read one another in a circle: a reads b reads a; leave one of them out"},
      {"return segment { name = 'a', reads = 'a', member = function() end }", "in a circle: a reads a"},
      {"return { segment { name = 'a', member = function() end }, segment { name = 'a', member = function() "
       "end } }",
       "a segment named `a` is in rules/t/rule.lua already"},
      {"return kairos.rule { on = segment.entered 'viwers', act = function() end }",
       "segment.entered names the segment `viwers`, which there is not; did you mean `viewers`?; there are: "
       "viewers"},
      {"return kairos.rule { on = 'x', for_each = segment.members 'viwers', act = function() end }",
       "segment.members names the segment `viwers`, which there is not; did you mean `viewers`?"},
      {"return kairos.rule { on = 'segment.gone', act = function() end }",
       "there are no events \"segment.gone\""},
      {"return kairos.rule { on = segment.left(), act = function() end }",
       "segment.left takes the name of a segment"},
      {"return kairos.rule { on = 'x', act = function() end, timers = { ['segment:a'] = function() end } }",
       "must not begin a name with \"segment:\""},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    world_init(&world);
    if (strstr(cases[i].said, "viewers")) world_file(&world, "viewers", viewers);
    world_file(&world, "t", cases[i].file);
    int rc = bench_load(&world.bench);
    assert_int_equal(rc, ERROR_SCRIPT);
    if (!strstr(world.bench.err.message, cases[i].said)) fail_msg("%s", world.bench.err.message);
    world_deinit(&world);
  }
}

/** Refused when it is asked. */
static void test_mistakes_running(void **state) {
  (void)state;
  static const struct {
    const char *member, *said;
  } cases[] = {
      {"return kairos.now() > 5", "write kairos.segment.reached(moment)"},
      {"return math.random() > 0.5", "math.random in `member`"},
      {"user:set('a', 1)", "`member` only answers whether the user is in the segment"},
      {"return user:once('a', '1d')", "`member` only answers"},
      {"return user:in_segment 'viewers'", "write reads = { \"viewers\" } beside `member`"},
      {"return user:in_segment 'vewers'", "there is no segment `vewers`; did you mean `viewers`?"},
      {"return segment.reached(user.never)", "if it may be missing"},
      {"while true do end", "used up its budget"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    char text[300];
    world_init(&world);
    world_file(&world, "viewers", viewers);
    snprintf(text, sizeof text, "return segment { member = function(user) local _ = views\n%s end }",
             cases[i].member);
    world_file(&world, "t", text);
    world.bench.counted = true;
    world_load(&world);
    world_event(&world, "view", "{}", 0);
    struct reader reader = reader_of(world.decision.effects);
    struct effect effect;
    bool found = false;
    while (!found && reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
      found = effect.type == EFFECT_FAILURE;
    assert_true(found);
    if (!memmem(effect.failure.error.data, effect.failure.error.len, cases[i].said, strlen(cases[i].said)))
      fail_msg("%.*s", STR_ARG(effect.failure.error));
    world_deinit(&world);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_enter_and_leave),
      cmocka_unit_test(test_reads),
      cmocka_unit_test(test_late),
      cmocka_unit_test(test_reached),
      cmocka_unit_test(test_sticky),
      cmocka_unit_test(test_failing_behind_a_fan_out),
      cmocka_unit_test(test_failing),
      cmocka_unit_test(test_own_tables),
      cmocka_unit_test(test_gone),
      cmocka_unit_test(test_round),
      cmocka_unit_test(test_commands),
      cmocka_unit_test(test_mistakes_loading),
      cmocka_unit_test(test_mistakes_running),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
