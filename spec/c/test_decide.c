// links: base config event state gate deliver engine ingest decide
/* Which rules run for an input, in which order, and what a shadow leaves behind. */
#include "base/metric.h"
#include "decide/campaign.h"
#include "decide/decide.h"
#include "test_engine_support.h"

static const char yaml[] = "time_zone: Europe/Berlin\nrules:\n  budget: 200ms\n  memory: 16MB\n";

/* Wednesday, 2026-11-25 12:00 in Berlin, in UTC. */
static const int64_t NOON = 1795604400000;
enum { HOUR = 3600000 };

/** A decider over the bench's campaigns, and what it told, a line each. */
struct world {
  struct bench bench;
  struct decider *decider;
  struct decision decision;
  struct buf told, paused;
  int serial;
};

static void note_ran(void *context, const struct decider_run *run) {
  struct world *world = context;
  if (run->not_run.len)
    buf_printf(&world->told, "%.*s: %.*s\n", STR_ARG(run->rule->campaign), STR_ARG(run->not_run));
  else
    buf_printf(&world->told, "%.*s ran%s\n", STR_ARG(run->rule->campaign), run->failed ? ", and failed" : "");
}

static void note_message(void *context, const struct message *message, const struct verdict *verdict) {
  struct world *world = context;
  buf_printf(&world->told, "%.*s %s%.*s\n", STR_ARG(message->campaign),
             verdict->pass ? "sends" : "skips: ", STR_ARG(verdict->reason));
}

static void world_init(struct world *world) {
  *world = (struct world){0};
  bench_init(&world->bench, yaml);
  buf_init(&world->told);
  buf_init(&world->paused);
}

static void world_deinit(struct world *world) {
  decider_free(world->decider);
  bench_deinit(&world->bench);
  buf_deinit(&world->told);
  buf_deinit(&world->paused);
}

static void world_rule(struct world *world, const char *campaign, const char *fields, const char *act) {
  struct buf text;
  char path[64];
  buf_init(&text);
  buf_printf(&text,
             "local kairos = require 'kairos'\nlocal seen = kairos.window { of = 'x', over = '1d' }\n"
             "local few = kairos.throttle { name = 'few', rate = '1/1d' }\n"
             "return kairos.rule { on = 'x', %s act = function(event, user) %s end, timers = { wake = "
             "function(timer, user) "
             "user:send { channel = 'push', template = 'm', to = 'phone' } end } }",
             fields, act);
  buf_put_u8(&text, 0);
  snprintf(path, sizeof path, "%s/rule.lua", campaign);
  bench_write(&world->bench, path, (const char *)text.data);
  snprintf(path, sizeof path, "%s/m.txt", campaign);
  bench_write(&world->bench, path, "hello");
  buf_deinit(&text);
}

/** Build, or as after a change of the files: the user's record stays. */
static void world_load(struct world *world) {
  decider_free(world->decider);
  world->decider = NULL;
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
  world->decider = decider_new(
      &(struct decider_options){.engine = world->bench.engine,
                                .config = world->bench.config,
                                .generation = 7,
                                .paused = buf_str(&world->paused),
                                .record_max = 64 << 10,
                                .observer = {.context = world, .message = note_message, .ran = note_ran}});
}

static void world_event(struct world *world, const char *user, int64_t at) {
  char id[16];
  bench_event(&world->bench, "x", "{}", at);
  snprintf(id, sizeof id, "e%d", ++world->serial);
  world->bench.event.id = str_from(id);
  world->bench.event.entity.id = str_from(user);
  buf_clear(&world->told);
  decide_event(world->decider, &world->bench.record, &world->bench.event, at, &world->decision);
}

/** Fire the record's next timer at a time of the wall clock. */
static void world_timer(struct world *world, int64_t wall) {
  struct timer timer;
  buf_clear(&world->told);
  assert_true(record_timer_next(&world->bench.record, &timer));
  decide_timer(world->decider, &world->bench.record, (struct entity){ENTITY_USER, STR("ada")}, &timer, wall,
               &world->decision);
}

static void assert_told(struct world *world, const char *wanted) {
  buf_put_u8(&world->told, 0);
  assert_string_equal((const char *)world->told.data, wanted);
  world->told.len--;
}

static bool has_effect(const struct world *world, enum effect_type type, struct effect *out) {
  struct reader reader = reader_of(world->decision.effects);
  while (reader_left(&reader) && effect_decode(out, &reader, NULL) == 0)
    if (out->type == type) return true;
  return false;
}

static const char sending[] = "user:send { channel = 'push', template = 'm', to = 'phone' }";

/* ---- order ---- */

static void test_order(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_rule(&world, "delta", "", "");
  world_rule(&world, "alpha", "", "");
  world_rule(&world, "zulu", "priority = 10,", "");
  world_rule(&world, "bravo", "priority = -1,", "");
  world_rule(&world, "mike", "priority = 10,", "");
  world_rule(&world, "folder", "name = 'able',", "");
  world_load(&world);
  world_event(&world, "ada", NOON);
  assert_told(&world, "mike ran\nzulu ran\nable ran\nalpha ran\ndelta ran\nbravo ran\n");
  world_deinit(&world);
}

/** What the first takes, the second finds taken. */
static void count_times(void *context, const char *labels, uint64_t value) {
  if (strcmp(labels, "campaign=\"often\"") == 0) *(uint64_t *)context = value;
}

/** A campaign's first runs are timed one by one; of later ones each eighth, for those before it. */
static void test_runs_are_timed(void **state) {
  (void)state;
  struct world world;
  uint64_t calls = 0;
  world_init(&world);
  world_rule(&world, "often", "", "");
  world_load(&world);
  struct campaigns *campaigns = campaigns_new(world.bench.engine, world.bench.config, STR(""), true);
  for (int run = 1; run <= 1000 + 80 + 7; run++) {
    bool timed = campaign_is_timed(campaigns, 0);
    assert_int_equal(timed, run <= 1000 || (run - 1000) % 8 == 0);
    campaign_ran(campaigns, 0, timed ? 40 : -1, false);
  }
  metric_each("kairos_rule_calls_total", count_times, &calls);
  assert_int_equal(calls, 1087);
  assert_true(metric_mean_us("kairos_rule_seconds", "campaign=\"often\"") == 40);
  campaigns_free(campaigns);
  world_deinit(&world);
}

static void test_first_come(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_rule(&world, "able", "", "if not user.taker then user:set('taker', 'able') end");
  world_rule(&world, "zulu", "priority = 1,", "if not user.taker then user:set('taker', 'zulu') end");
  world_load(&world);
  world_event(&world, "ada", NOON);
  struct str value;
  assert_true(record_attribute(&world.bench.record, STR("taker"), &value));
  assert_true(str_equal(value_head(value).string, STR("zulu")));
  world_deinit(&world);
}

/** Of those that compete one writes for an event, and which one does not depend on who asks for nothing, or
 * is let down by the gate, or is only a shadow. */
static void test_competing(void **state) {
  (void)state;
  struct world world;
  char twice[200];
  snprintf(twice, sizeof twice, "%s %s", sending, sending);
  world_init(&world);
  world_rule(&world, "quiet", "competes = 'basket', priority = 9,", "");
  world_rule(
      &world, "lost", "competes = 'basket', priority = 8,",
      "user:send { channel = 'push', template = 'm', to = 'phone', cap = '0/1d' }"); /* none may pass */
  world_rule(&world, "shade", "competes = 'basket', priority = 7, mode = 'shadow',", sending);
  world_rule(&world, "first", "competes = 'basket', priority = 6,", twice);
  world_rule(&world, "second", "competes = 'basket',", sending);
  world_rule(&world, "other", "competes = 'tea',", sending);
  world_rule(&world, "plain", "", sending);
  world_load(&world);
  const char *told =
      "quiet ran\nlost skips: cap\nlost ran\nshade skips: shadow\nshade ran\nfirst sends\nfirst "
      "sends\nfirst ran\nother sends\nother ran\nplain sends\nplain ran\nsecond skips: "
      "priority\nsecond ran\n";
  world_event(&world, "ada", NOON);
  assert_told(&world, told);
  struct effect effect;
  struct str answer;
  struct reader reader = reader_of(world.decision.effects);
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    if (effect.type == EFFECT_MESSAGE && str_equal(effect.message.message.campaign, STR("second"))) break;
  assert_true(value_member(effect.message.verdict.checks, STR("priority"), &answer));
  assert_true(str_equal(value_head(answer).string,
                        STR("first has sent for this event, and both compete for \"basket\"")));
  assert_true(value_valid(effect.message.verdict.checks));
  world_event(&world, "ada", NOON + 1); /* each event anew */
  assert_told(&world, told);
  world_deinit(&world);
}

/* ---- whether ---- */

static void test_not_run(void **state) {
  (void)state;
  static const struct {
    const char *fields;
    int64_t at;
    const char *told; /**< null: not in its share */
  } cases[] = {
      {"mode = 'paused',", NOON, "t: paused\n"},
      {"mode = 'live',", NOON, "t ran\n"},
      {"rollout = '0%',", NOON, NULL},
      {"rollout = '100%',", NOON, "t ran\n"},
      {"starts = '2026-11-27 09:00 Europe/Berlin',", NOON, "t: starts 2026-11-27 09:00 Europe/Berlin\n"},
      {"starts = '2026-11-25 12:00',", NOON, "t ran\n"}, /* in the configuration's zone */
      {"starts = '2026-11-25 12:00',", NOON - 1, "t: starts 2026-11-25 12:00\n"},
      {"starts = '2026-11-25 12:00 UTC',", NOON, "t: starts 2026-11-25 12:00 UTC\n"},
      {"ends = '2026-11-25 12:00',", NOON - 1, "t ran\n"},
      {"ends = '2026-11-25 12:00',", NOON, "t: ended 2026-11-25 12:00\n"},
      {"hours = '09:00-12:00 Europe/Berlin',", NOON - 1, "t ran\n"},
      {"hours = '09:00-12:00 Europe/Berlin',", NOON, "t: outside its hours (09:00-12:00 Europe/Berlin)\n"},
      {"hours = '09:00-12:00',", NOON, "t: outside its hours (09:00-12:00)\n"},
      {"hours = 'sat,sun 09:00-18:00',", NOON, "t: outside its hours (sat,sun 09:00-18:00)\n"},
      {"hours = 'wed 09:00-18:00',", NOON, "t ran\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct world world;
    char wanted[200];
    world_init(&world);
    world_rule(&world, "t", cases[i].fields, "");
    world_load(&world);
    world_event(&world, "ada", cases[i].at);
    if (!cases[i].told)
      snprintf(wanted, sizeof wanted, "t: not in the 0%% of its roll-out (bucket %u)\n",
               rollout_bucket(STR("t"), world.bench.event.entity));
    else
      snprintf(wanted, sizeof wanted, "%s", cases[i].told);
    assert_told(&world, wanted);
    /* What happened is counted all the same. */
    struct effect effect;
    assert_true(has_effect(&world, EFFECT_WINDOW, &effect));
    world_deinit(&world);
  }
}

/** Hours without a zone are the user's own. */
static void test_own_hours(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_rule(&world, "t", "hours = '09:00-13:00',", "user:set('time_zone', 'America/New_York')");
  world_load(&world);
  world_event(&world, "ada", NOON); /* in Berlin it is noon, and in New York six in the morning */
  assert_told(&world, "t ran\n");
  world_event(&world, "ada", NOON + 1);
  assert_told(&world, "t: outside its hours (09:00-13:00)\n");
  world_event(&world, "ada", NOON + 3 * HOUR);
  assert_told(&world, "t ran\n");
  world_deinit(&world);
}

static void test_operators_pause(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  world_rule(&world, "t", "", "");
  world_rule(&world, "other", "", "");
  value_put_array(&world.paused, 2);
  value_put_map(&world.paused, 1);
  value_put_member_text(&world.paused, "campaign", STR("gone"));
  value_put_map(&world.paused, 3);
  value_put_member_text(&world.paused, "campaign", STR("t"));
  value_put_member_text(&world.paused, "by", STR("ann"));
  value_put_member_text(&world.paused, "reason", STR("wrong price"));
  world_load(&world);
  world_event(&world, "ada", NOON);
  assert_told(&world, "other ran\nt: paused by ann: wrong price\n");
  world_deinit(&world);
}

/* ---- timers ---- */

static void set_timer(struct world *world, const char *fields) {
  world_init(world);
  world_rule(world, "t", fields, "user:after('1h', { name = 'wake' })");
  world_load(world);
  world_event(world, "ada", NOON);
  assert_told(world, "t ran\n");
}

/** The share is a question about events: what was begun with a user is ended with him. */
static void test_timers_outlive_the_share(void **state) {
  (void)state;
  struct world world;
  set_timer(&world, "");
  world_rule(&world, "t", "rollout = '0%',", "");
  world_load(&world);
  world_timer(&world, NOON + HOUR);
  assert_told(&world, "t sends\nt ran\n");
  world_deinit(&world);
}

static struct hash128 id_of(const struct world *world, enum effect_type type) {
  struct effect effect;
  assert_true(has_effect(world, type, &effect));
  if (type == EFFECT_FAILURE) return effect.failure.id;
  if (type == EFFECT_MESSAGE) return effect.message.message.id;
  struct reader reader = reader_of(effect.derived);
  struct event event;
  assert_int_equal(event_decode(&event, &reader, NULL), 0);
  return hash128(event.id, 0);
}

/** A timer that is set once more for a moment at which it has fired is another: all that it leads to has ids
 * of its own, the same whenever it is decided. */
static void test_timers_set_again(void **state) {
  (void)state;
  enum { ROUNDS = 4, IDS = 3 };
  static const enum effect_type types[IDS] = {EFFECT_MESSAGE, EFFECT_DERIVED, EFFECT_FAILURE};
  struct hash128 ids[ROUNDS][IDS];
  struct world world;
  struct buf logged;
  world_init(&world);
  buf_init(&logged);
  bench_write(
      &world.bench, "t/rule.lua",
      "return require('kairos').rule { on = 'x', act = function(event, user) "
      "user:at(1795604400000 + 3600000, { name = 'wake' }) end, timers = { wake = function(timer, user) "
      "user:send { channel = 'push', template = 'm', to = 'phone' } user:emit { type = 'y' } end } }");
  bench_write(&world.bench, "t/m.txt", "hello");
  bench_write(
      &world.bench, "u/rule.lua",
      "return require('kairos').rule { on = 'x', act = function(event, user) "
      "user:at(1795604400000 + 3600000, { name = 'wake' }) end, timers = { wake = function(timer, user) "
      "error('on purpose') end } }");
  world_load(&world);
  // First ahead of its time, then twice at one later moment, and at its very moment.
  static const int64_t set[ROUNDS] = {NOON, NOON + HOUR + 5, NOON + HOUR + 5, NOON + HOUR};
  for (int i = 0; i < ROUNDS; i++) {
    world_event(&world, "ada", set[i]);
    struct effect effect = {.type = EFFECT_TIMER_SET};
    assert_true(record_timer(&world.bench.record, STR("t"), STR("wake"), &effect.timer));
    buf_clear(&logged);
    effect_encode(&effect, &logged);
    world_timer(&world, NOON + HOUR + 9);
    ids[i][0] = id_of(&world, types[0]);
    ids[i][1] = id_of(&world, types[1]);
    struct reader reader = reader_of(buf_str(&logged));
    assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
    struct entity ada = {ENTITY_USER, STR("ada")};
    decide_timer(world.decider, &world.bench.record, ada, &effect.timer, NOON + 2 * HOUR, &world.decision);
    for (int j = 0; j < 2; j++) assert_true(hash128_equal(id_of(&world, types[j]), ids[i][j]));
    assert_true(has_effect(&world, EFFECT_MESSAGE, &effect));
    assert_true(str_equal(effect.message.message.cause, STR("timer:t/wake@1795608000000")));
    world_timer(&world, NOON + HOUR + 9);
    ids[i][2] = id_of(&world, types[2]);
    for (int before = 0; before < i; before++)
      for (int j = 0; j < IDS; j++) assert_false(hash128_equal(ids[before][j], ids[i][j]));
  }
  buf_deinit(&logged);
  world_deinit(&world);
}

static void assert_dropped(const char *fields, const char *told, const char *reason) {
  struct world world;
  struct effect effect;
  struct timer timer;
  set_timer(&world, "");
  world_rule(&world, "t", fields, "");
  world_load(&world);
  world_timer(&world, NOON + HOUR);
  assert_told(&world, told);
  assert_true(has_effect(&world, EFFECT_NOT_RUN, &effect));
  assert_true(str_equal(effect.not_run.reason, str_from(reason)));
  assert_true(str_equal(effect.not_run.timer, STR("wake")));
  assert_true(effect.not_run.due == NOON + HOUR && effect.not_run.moved_to == 0);
  assert_false(record_timer_next(&world.bench.record, &timer));
  world_deinit(&world);
}

static void test_timers_are_dropped(void **state) {
  (void)state;
  assert_dropped("mode = 'paused',", "t: paused\n", "paused");
  assert_dropped("ends = '2026-11-25 13:00',", "t: ended 2026-11-25 13:00\n", "ended 2026-11-25 13:00");
}

static void test_late_timers_are_dropped(void **state) {
  (void)state;
  struct world world;
  struct effect effect;
  struct timer timer;
  world_init(&world);
  world_rule(&world, "t", "", "user:after('1h', { name = 'wake', late = 'skip', late_after = '10m' })");
  world_load(&world);
  world_event(&world, "ada", NOON);
  world_timer(&world, NOON + 3 * HOUR + 90500);
  assert_told(&world, "t: 121m late, and its late_after is 10m\n");
  assert_true(has_effect(&world, EFFECT_NOT_RUN, &effect));
  assert_true(str_equal(effect.not_run.reason, STR("121m late, and its late_after is 10m")));
  assert_true(effect.not_run.moved_to == 0 && str_equal(effect.not_run.rule, STR("t/rule.lua")));
  assert_false(record_timer_next(&world.bench.record, &timer));
  world_deinit(&world);
}

static void assert_moved(const char *fields, int64_t wall, int64_t to) {
  struct world world;
  struct effect effect;
  struct timer timer;
  set_timer(&world, "");
  world_rule(&world, "t", fields, "");
  world_load(&world);
  world_timer(&world, wall);
  assert_true(has_effect(&world, EFFECT_NOT_RUN, &effect));
  assert_true(effect.not_run.moved_to == to);
  assert_true(record_timer_next(&world.bench.record, &timer) && timer.due == to);
  world_timer(&world, to);
  assert_told(&world, "t sends\nt ran\n");
  world_deinit(&world);
}

static void test_timers_wait_for_the_opening(void **state) {
  (void)state;
  assert_moved("hours = '09:00-13:00',", NOON + HOUR, NOON + 21 * HOUR);
  assert_moved("hours = '14:00-15:00',", NOON + HOUR, NOON + 2 * HOUR);
  assert_moved("hours = 'sun 09:00-10:00',", NOON + HOUR, NOON + (4 * 24 - 3) * HOUR);
  assert_moved("starts = '2026-11-27 09:00',", NOON + HOUR, NOON + 45 * HOUR);
  /* The host was down when it was due: what counts is when it can fire. */
  assert_moved("hours = '09:00-14:00',", NOON + 5 * HOUR, NOON + 21 * HOUR);
}

/* ---- shadows ---- */

static void test_shadow(void **state) {
  (void)state;
  struct world world;
  struct effect effect;
  struct str value;
  world_init(&world);
  world_rule(&world, "t", "mode = 'shadow',",
             "user:set('seen', true)\nif user.seen ~= true then error('not even to itself') end\n"
             "if user:count(seen) > 3 then return end\n"
             "user:send { channel = 'push', template = 'm', to = 'phone', once_per = '1d' }\n"
             "user:after('1h', { name = 'wake' })");
  world_load(&world);
  world_event(&world, "ada", NOON);
  assert_told(&world, "t skips: shadow\nt ran\n");
  assert_false(record_attribute(&world.bench.record, STR("seen"), &value));
  assert_false(has_effect(&world, EFFECT_ATTRIBUTE, &effect));
  assert_true(has_effect(&world, EFFECT_TIMER_SET, &effect));
  assert_true(has_effect(&world, EFFECT_MESSAGE, &effect));
  assert_false(effect.message.verdict.pass);
  assert_true(value_member(effect.message.verdict.checks, STR("shadow"), &value));
  assert_true(value_member(effect.message.verdict.checks, STR("once_per"), &value));
  assert_true(value_valid(effect.message.verdict.checks));
  /* Its own story goes on: it would not have sent a second one. */
  world_event(&world, "ada", NOON + 1);
  assert_told(&world, "t skips: once_per\nt ran\n");
  world_timer(&world, NOON + HOUR);
  assert_told(&world, "t skips: shadow\nt ran\n");
  world_deinit(&world);
}

/** What a shadow used up is not missing when it goes live. */
static void test_shadow_goes_live(void **state) {
  (void)state;
  static const char act[] =
      "if user:once('hello', '1d') and user:allow(few) then user:send { channel = 'push', template = "
      "'m', to = 'phone', once_per = '1d' } end";
  struct world world;
  world_init(&world);
  world_rule(&world, "t", "mode = 'shadow',", act);
  world_load(&world);
  world_event(&world, "ada", NOON);
  assert_told(&world, "t skips: shadow\nt ran\n");
  world_event(&world, "ada", NOON + 1);
  assert_told(&world, "t ran\n");
  world_rule(&world, "t", "", act);
  world_load(&world);
  world_event(&world, "ada", NOON + 2);
  assert_told(&world, "t sends\nt ran\n");
  world_event(&world, "ada", NOON + 3);
  assert_told(&world, "t ran\n");
  world_deinit(&world);
}

/* ---- dead letters ---- */

static void test_retry(void **state) {
  (void)state;
  struct world world;
  struct effect effect;
  struct buf letter;
  world_init(&world);
  world_rule(&world, "t", "", "error('on purpose')");
  world_load(&world);
  world_event(&world, "ada", NOON);
  assert_true(has_effect(&world, EFFECT_FAILURE, &effect));
  buf_init(&letter);
  effect_encode(&effect, &letter);
  struct reader reader = reader_of(buf_str(&letter));
  assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
  world_rule(&world, "t", "mode = 'paused',", sending);
  world_load(&world);
  struct error err = {0};
  struct entity ada = {ENTITY_USER, STR("ada")};
  assert_int_equal(
      decide_retry(world.decider, &world.bench.record, ada, &effect.failure, NOON, &world.decision, &err),
      ERROR_UNAVAILABLE);
  assert_string_equal(err.message,
                      "campaign \"t\" does not run for it now: paused; retry it when it does, or drop it");
  assert_int_equal(world.decision.effects.len, 0);
  world_rule(&world, "t", "", sending);
  world_load(&world);
  assert_int_equal(
      decide_retry(world.decider, &world.bench.record, ada, &effect.failure, NOON, &world.decision, &err), 0);
  buf_deinit(&letter);
  world_deinit(&world);
}

/** The messages of the decision, on bytes of their own. */
static void take_messages(const struct world *world, struct buf *bytes, struct message *out, int count) {
  struct reader reader = reader_of(world->decision.effects);
  struct effect effect;
  buf_clear(bytes);
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    if (effect.type == EFFECT_MESSAGE) message_encode(&effect.message.message, bytes);
  reader = reader_of(buf_str(bytes));
  for (int i = 0; i < count; i++) assert_int_equal(message_decode(&out[i], &reader, NULL), 0);
  assert_int_equal(reader_left(&reader), 0);
}

static void assert_counted(const struct world *world, size_t wanted) {
  int64_t times[RECORD_COUNTED_MAX];
  assert_int_equal(record_counted(&world->bench.record, STR("campaign t"), times), wanted);
}

/** Of two that count from one moment each has a place of its own: what one gives back, and takes again, is
 * not the other's. */
static void test_resend_takes_its_own_place(void **state) {
  (void)state;
  struct world world;
  struct message messages[2], again;
  struct buf bytes, bytes_again;
  struct error err = {0};
  struct outcome rejected = {.kind = OUTCOME_REJECTED, .attempt = 1};
  world_init(&world);
  world_rule(
      &world, "t", "",
      "for _ = 1, 2 do user:send { channel = 'push', template = 'm', to = 'phone', cap = '3/1d' } end");
  world_load(&world);
  buf_init(&bytes);
  buf_init(&bytes_again);
  world_event(&world, "ada", NOON);
  take_messages(&world, &bytes, messages, 2);
  assert_true(message_counted_at(&messages[0]) == message_counted_at(&messages[1]));
  assert_counted(&world, 2);
  again = messages[0];
  for (int i = 0; i < 2; i++) {
    decide_outcome(world.decider, &world.bench.record, &again, &rejected, &world.decision);
    assert_counted(&world, 1);
    assert_int_equal(
        decide_resend(world.decider, &world.bench.record, &messages[0], &rejected, &world.decision, &err), 0);
    assert_counted(&world, 2);
    take_messages(&world, &bytes_again, &again, 1);
    assert_true(again.reserved != 0);
  }
  // One that may have arrived has kept its place, and has none to give back.
  struct outcome held = {.kind = OUTCOME_HELD, .attempt = 1};
  assert_int_equal(
      decide_resend(world.decider, &world.bench.record, &messages[1], &held, &world.decision, &err), 0);
  assert_counted(&world, 2);
  take_messages(&world, &bytes_again, &again, 1);
  decide_outcome(world.decider, &world.bench.record, &again, &rejected, &world.decision);
  assert_counted(&world, 2);
  buf_deinit(&bytes);
  buf_deinit(&bytes_again);
  world_deinit(&world);
}

/** What ends without an attempt was sent to nobody, and holds no place. */
static void test_unsent_gives_back(void **state) {
  (void)state;
  static const enum outcome_kind kinds[] = {OUTCOME_EXPIRED, OUTCOME_CANCELLED, OUTCOME_EXHAUSTED};
  struct world world;
  struct message message;
  struct buf bytes;
  struct error err = {0};
  world_init(&world);
  world_rule(&world, "t", "",
             "user:send { channel = 'push', template = 'm', to = 'phone', once_per = '1h', cap = '9/1d' }");
  world_load(&world);
  buf_init(&bytes);
  for (int i = 0; i < 3; i++) {
    world_event(&world, "ada", NOON + i);
    assert_told(&world, "t sends\nt ran\n");
    take_messages(&world, &bytes, &message, 1);
    assert_counted(&world, 1);
    // An attempt that was logged and not begun, as before a pause, is none.
    struct outcome unsent = {.kind = kinds[i], .attempt = (uint32_t)i, .unsent = (uint32_t)i};
    decide_outcome(world.decider, &world.bench.record, &message, &unsent, &world.decision);
    assert_counted(&world, 0);
  }
  // The last is a dead letter, and takes its place again; after an attempt it keeps that.
  struct outcome exhausted = {.kind = OUTCOME_EXHAUSTED};
  assert_int_equal(
      decide_resend(world.decider, &world.bench.record, &message, &exhausted, &world.decision, &err), 0);
  take_messages(&world, &bytes, &message, 1);
  assert_counted(&world, 1);
  exhausted.attempt = 1;
  decide_outcome(world.decider, &world.bench.record, &message, &exhausted, &world.decision);
  assert_counted(&world, 1);
  world_event(&world, "ada", NOON + 9);
  assert_told(&world, "t skips: once_per\nt ran\n");
  buf_deinit(&bytes);
  world_deinit(&world);
}

/** Sent again into a record that has room for some of its places alone: none of them is taken. */
static void test_resend_without_room(void **state) {
  (void)state;
  struct world world;
  struct effect effect;
  struct buf bytes;
  struct record record;
  struct error err = {0};
  int refused = 0;
  world_init(&world);
  world_rule(&world, "t", "",
             "user:send { channel = 'push', template = 'm', to = 'phone', once_per = '1d', cap = '1/1d' }");
  world_load(&world);
  world_event(&world, "ada", NOON);
  assert_true(has_effect(&world, EFFECT_MESSAGE, &effect));
  buf_init(&bytes);
  effect_encode(&effect, &bytes);
  struct reader reader = reader_of(buf_str(&bytes));
  assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
  assert_true(effect.message.message.once_key && effect.message.message.reserved);
  for (size_t room = 1, rc = 1; rc; room++) {
    struct decider *decider = decider_new(&(struct decider_options){
        .engine = world.bench.engine, .config = world.bench.config, .record_max = room});
    record_init(&record);
    rc = decide_resend(decider, &record, &effect.message.message,
                       &(struct outcome){.kind = OUTCOME_REJECTED, .attempt = 1}, &world.decision, &err) != 0;
    refused += rc;
    assert_true((record.bytes.len == 0) == rc && (world.decision.effects.len == 0) == rc);
    record_deinit(&record);
    decider_free(decider);
  }
  assert_true(refused > 0);
  buf_deinit(&bytes);
  world_deinit(&world);
}

static void apply(struct record *record, const struct effect *effect) {
  struct error err;
  if (record_apply(record, effect, SIZE_MAX, &err)) fail_msg("%s", err.message);
}

/** Marks that expire one a millisecond from noon on, until more than half of the record is taken. */
static void fill_half(struct record *record, uint64_t *marks) {
  for (; record->bytes.len <= 32 << 10; ++*marks)
    apply(record, &(struct effect){.type = EFFECT_ONCE,
                                   .once = {.key = *marks + 1, .until = NOON + 1 + (int64_t)*marks}});
}

/** In a record that is more than half full what nobody reads any more gives way before an input. */
static void test_room_is_made(void **state) {
  (void)state;
  struct world world;
  struct record *record = &world.bench.record;
  world_init(&world);
  world_rule(&world, "t", "", "");
  world_load(&world);
  int64_t max_past = world.bench.config->ingest.max_past;
  apply(record,
        &(struct effect){.type = EFFECT_WINDOW,
                         .window = {.kind = WINDOW_COUNT, .id = 1, .at = NOON, .over = 60000, .amount = 1}});
  size_t window = record->bytes.len;
  uint64_t marks = 0;
  assert_false(decider_make_room(world.decider, record, INT64_MAX / 2));
  assert_int_equal(record->bytes.len, window);
  fill_half(record, &marks);
  size_t full = record->bytes.len;
  assert_true(decider_make_room(world.decider, record, NOON + max_past));
  assert_int_equal(record->bytes.len, full - window); // no rule counts it
  fill_half(record, &marks);
  assert_true(decider_make_room(world.decider, record, NOON + max_past + 100));
  assert_false(record_once(record, 100, NOON, NULL)); // past, for late events too
  assert_true(record_once(record, 101, NOON, NULL));
  // A timer that is due may ask as of then, however late it fires.
  struct effect overdue = {
      .type = EFFECT_TIMER_SET,
      .timer = {.due = NOON + 150, .campaign = STR("t"), .name = STR("late"), .data = STR("")}};
  apply(record, &overdue);
  fill_half(record, &marks);
  assert_true(decider_make_room(world.decider, record, NOON + 1000 * max_past));
  assert_true(record_once(record, 151, NOON, NULL));
  world_deinit(&world);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_order),
      cmocka_unit_test(test_runs_are_timed),
      cmocka_unit_test(test_first_come),
      cmocka_unit_test(test_competing),
      cmocka_unit_test(test_not_run),
      cmocka_unit_test(test_own_hours),
      cmocka_unit_test(test_operators_pause),
      cmocka_unit_test(test_timers_outlive_the_share),
      cmocka_unit_test(test_timers_set_again),
      cmocka_unit_test(test_timers_are_dropped),
      cmocka_unit_test(test_late_timers_are_dropped),
      cmocka_unit_test(test_timers_wait_for_the_opening),
      cmocka_unit_test(test_shadow),
      cmocka_unit_test(test_shadow_goes_live),
      cmocka_unit_test(test_retry),
      cmocka_unit_test(test_resend_takes_its_own_place),
      cmocka_unit_test(test_unsent_gives_back),
      cmocka_unit_test(test_resend_without_room),
      cmocka_unit_test(test_room_is_made),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
