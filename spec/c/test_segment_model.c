// links: base config event state gate deliver engine ingest decide
/* Segments against a slow, obvious model, over random histories: at every moment at which anything could
 * change, and one millisecond before it, the user is in just those segments whose predicate holds of his raw
 * events.
 *
 * Histories hold late events, events of one moment, attributes that come and go, and segments of segments.
 * The model keeps every event and asks it anew each time; it knows no window, timer or order of judging. A
 * second test has windows so full that they are kept in buckets and sketches, where the predicate itself,
 * asked at random moments, is the model. */
#include "decide/decide.h"
#include "random.h"
#include "test_engine_support.h"

enum { HISTORIES = 3000, DENSE_HISTORIES = 40, INPUTS = 28, EVENTS_MAX = 400, SECOND = 1000 };
static const int64_t START = 1795604400000;
static const char yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";

static const char rules[] =
    "local kairos = require 'kairos'\nlocal segment = kairos.segment\n"
    "local few  = kairos.window { of = 'a', over = '10s' }\n"
    "local bees = kairos.window { of = 'b', over = '25s' }\n"
    "local sums = kairos.window { of = 'a', sum = 'payload.v', over = '15s' }\n"
    "local keys = kairos.window { of = 'a', by = 'payload.k', over = '20s' }\n"
    "local last = kairos.window { of = 'a', last = 'payload.s', over = '12s' }\n"
    "local first = kairos.window { of = 'a', first = 'payload.s', over = '30s' }\n"
    "local kinds = kairos.window { of = 'a', distinct = 'payload.s', over = '18s' }\n"
    "return {\n"
    " segment { name = 'nested', reads = { 'either', 'few' }, member = function(user)\n"
    "   return not user:in_segment 'either' and user:in_segment 'few' end },\n"
    " segment { name = 'either', reads = { 'but', 'until' }, member = function(user)\n"
    "   return user:in_segment 'but' or user:in_segment 'until' end },\n"
    " segment { name = 'but', reads = { 'few', 'sums' }, member = function(user)\n"
    "   return user:in_segment 'few' and not user:in_segment 'sums' end },\n"
    " segment { name = 'few', member = function(user) return user:count(few) >= 2 and user:count(bees) == 0 "
    "end },\n"
    " segment { name = 'sums', member = function(user)\n"
    "   return user:sum(sums) > 10 or (user.tier == 'gold' and user:count(bees) >= 1) end },\n"
    " segment { name = 'keys', member = function(user)\n"
    "   return user:count(keys, 'x') >= 2 and user:count(keys, 'y') < 2 end },\n"
    " segment { name = 'last', member = function(user) return user:last(last) == 'p' end },\n"
    " segment { name = 'first', member = function(user) return user:first(first) == 'q' end },\n"
    " segment { name = 'kinds', member = function(user) return user:distinct(kinds) >= 3 end },\n"
    " segment { name = 'none', member = function(user) return user:count(bees) == 0 end },\n"
    " segment { name = 'reachable', member = function(user)\n"
    "   return user:consents('marketing', 'email') and user:count(few) > 0 end },\n"
    " segment { name = 'until', member = function(user)\n"
    "   return user.ends ~= nil and not segment.reached(user.ends) and user:count(few) > 0 end },\n"
    "}\n";

/* ---- the model ---- */

struct happened {
  int64_t at;
  char type, k, s;
  int v;
};

struct model {
  struct happened events[EVENTS_MAX];
  size_t count;
  bool gold;
  bool withdrawn;     /**< his consent, … */
  int64_t consent_at; /**< … and when he said so; the newest word holds, of two of one time the withdrawal */
  int64_t ends;       /**< 0: not set */
};

/** How many events of the type, and key (0: any), are in (now - over, now]. */
static int count_of(const struct model *model, char type, char k, int64_t over, int64_t now) {
  int count = 0;
  for (size_t i = 0; i < model->count; i++) {
    const struct happened *event = &model->events[i];
    count += event->type == type && (!k || event->k == k) && event->at > now - over && event->at <= now;
  }
  return count;
}

static int sum_of(const struct model *model, int64_t over, int64_t now) {
  int sum = 0;
  for (size_t i = 0; i < model->count; i++) {
    const struct happened *event = &model->events[i];
    if (event->type == 'a' && event->at > now - over && event->at <= now) sum += event->v;
  }
  return sum;
}

/** @param newest  else the oldest. @return 0 if there is none. */
static char value_of(const struct model *model, bool newest, int64_t over, int64_t now) {
  const struct happened *found = NULL;
  for (size_t i = 0; i < model->count; i++) {
    const struct happened *event = &model->events[i];
    if (event->type != 'a' || event->at <= now - over || event->at > now) continue;
    if (!found || (newest ? event->at >= found->at : event->at < found->at)) found = event;
  }
  return found ? found->s : 0;
}

static int kinds_of(const struct model *model, int64_t over, int64_t now) {
  bool there[256] = {false};
  int kinds = 0;
  for (size_t i = 0; i < model->count; i++) {
    const struct happened *event = &model->events[i];
    if (event->type == 'a' && event->at > now - over && event->at <= now)
      there[(unsigned char)event->s] = true;
  }
  for (int i = 0; i < 256; i++) kinds += there[i];
  return kinds;
}

static bool holds(const struct model *model, struct str name, int64_t now) {
  if (str_equal(name, STR("few")))
    return count_of(model, 'a', 0, 10 * SECOND, now) >= 2 && count_of(model, 'b', 0, 25 * SECOND, now) == 0;
  if (str_equal(name, STR("sums")))
    return sum_of(model, 15 * SECOND, now) > 10 ||
           (model->gold && count_of(model, 'b', 0, 25 * SECOND, now) >= 1);
  if (str_equal(name, STR("keys")))
    return count_of(model, 'a', 'x', 20 * SECOND, now) >= 2 &&
           count_of(model, 'a', 'y', 20 * SECOND, now) < 2;
  if (str_equal(name, STR("last"))) return value_of(model, true, 12 * SECOND, now) == 'p';
  if (str_equal(name, STR("first"))) return value_of(model, false, 30 * SECOND, now) == 'q';
  if (str_equal(name, STR("kinds"))) return kinds_of(model, 18 * SECOND, now) >= 3;
  if (str_equal(name, STR("none"))) return count_of(model, 'b', 0, 25 * SECOND, now) == 0;
  if (str_equal(name, STR("reachable")))
    return !model->withdrawn && count_of(model, 'a', 0, 10 * SECOND, now) > 0;
  if (str_equal(name, STR("until")))
    return model->ends && now < model->ends && count_of(model, 'a', 0, 10 * SECOND, now) > 0;
  if (str_equal(name, STR("but"))) return holds(model, STR("few"), now) && !holds(model, STR("sums"), now);
  if (str_equal(name, STR("either"))) return holds(model, STR("but"), now) || holds(model, STR("until"), now);
  if (str_equal(name, STR("nested")))
    return !holds(model, STR("either"), now) && holds(model, STR("few"), now);
  fail_msg("the model does not know %.*s", STR_ARG(name));
  return false;
}

/** The first moment after `after` at which anything could change; INT64_MAX never. */
static int64_t next_moment(const struct model *model, int64_t after) {
  static const int64_t overs[] = {10, 12, 15, 18, 20, 25, 30};
  int64_t next = model->ends > after ? model->ends : INT64_MAX;
  for (size_t i = 0; i < model->count; i++)
    for (size_t j = 0; j < sizeof overs / sizeof *overs; j++) {
      int64_t leaves = model->events[i].at + overs[j] * SECOND;
      if (leaves > after && leaves < next) next = leaves;
    }
  return next;
}

/* ---- what is tested ---- */

struct world {
  struct bench bench;
  struct decider *decider;
  struct decision decision;
  struct model model;
  const struct engine_segment *segments;
  size_t segment_count;
  struct buf payload;
  int64_t wall, told_at;
  uint64_t history; /**< its seed, for failures */
  int serial;
  uint64_t changes, late_changes, moments;
  bool dense;
  bool known; /**< something has happened to the user */
};

/** Each change that is told is true as of its moment, and none goes back in time. */
static void note_derived(void *context, const struct event *event) {
  struct world *world = context;
  bool entered = event_type_is(STR("segment.entered"), event->type);
  struct str name;
  assert_true(value_member(event->payload, STR("segment"), &name));
  name = value_head(name).string;
  world->changes++;
  world->late_changes += event->timestamp < world->wall;
  assert_true(event->timestamp >= world->told_at && event->timestamp <= world->wall);
  world->told_at = event->timestamp;
  if (!world->dense && holds(&world->model, name, event->timestamp) != entered)
    fail_msg("history %llu: %.*s is told as of %lld, and is not so", (unsigned long long)world->history,
             STR_ARG(event->type), (long long)(event->timestamp - START));
}

static void note_failure(void *context, const struct entity *entity, const struct failure *failure) {
  (void)context, (void)entity;
  fail_msg("%.*s", STR_ARG(failure->error));
}

static void world_init(struct world *world, bool dense) {
  *world = (struct world){.dense = dense};
  bench_init(&world->bench, yaml);
  bench_write(&world->bench, "t/rule.lua", rules);
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
  world->decider = decider_new(&(struct decider_options){
      .engine = world->bench.engine,
      .config = world->bench.config,
      .generation = 7,
      .record_max = 64 << 10,
      .uncounted = true,
      .observer = {.context = world, .derived = note_derived, .failure = note_failure}});
  world->segment_count = engine_segments(world->bench.engine, &world->segments);
  buf_init(&world->payload);
}

static void world_deinit(struct world *world) {
  decider_free(world->decider);
  bench_deinit(&world->bench);
  buf_deinit(&world->payload);
}

static void fire_until(struct world *world, int64_t now) {
  struct timer timer;
  for (int fired = 0; record_timer_next(&world->bench.record, &timer) && timer.due <= now; fired++) {
    assert_true(fired < 1000);
    if (timer.due > world->wall) world->wall = timer.due;
    decide_timer(world->decider, &world->bench.record, (struct entity){ENTITY_USER, STR("ada")}, &timer,
                 world->wall, &world->decision);
  }
  if (now > world->wall) world->wall = now;
}

/** Whether the predicate says so, asked on the record as it is. */
static bool asked(struct world *world, uint32_t segment, int64_t now) {
  struct engine_judgement said;
  struct error err;
  world->bench.call.entity = (struct entity){ENTITY_USER, STR("ada")};
  world->bench.call.draft = &world->bench.draft;
  draft_begin(&world->bench.draft, &world->bench.record);
  world->bench.call.now = now;
  if (engine_judge(world->bench.engine, segment, &world->bench.call, &said, &err))
    fail_msg("%s", err.message);
  return said.member;
}

static void compare(struct world *world, int64_t now) {
  fire_until(world, now);
  if (!world->known) return;
  world->moments++;
  for (uint32_t i = 0; i < world->segment_count; i++) {
    struct str name = world->segments[i].name;
    bool in = record_segment(&world->bench.record, name, NULL);
    bool wanted = world->dense ? asked(world, i, now) : holds(&world->model, name, now);
    if (in != wanted)
      fail_msg("history %llu: at %lld ms the user is %s %.*s", (unsigned long long)world->history,
               (long long)(now - START), in ? "still in" : "not in", STR_ARG(name));
  }
}

/** Time passes: nothing else happens. */
static void pass(struct world *world, int64_t until) {
  int64_t at = world->wall;
  for (;;) {
    int64_t next = next_moment(&world->model, at);
    if (next > until) break;
    if (next - 1 > at) compare(world, next - 1);
    compare(world, next);
    at = next;
  }
  compare(world, until);
}

static void decide(struct world *world, const char *type, int64_t at) {
  char id[24];
  world->known = true;
  snprintf(id, sizeof id, "e%d", ++world->serial);
  struct event event = {.id = str_from(id),
                        .type = str_from(type),
                        .entity = {ENTITY_USER, STR("ada")},
                        .timestamp = at,
                        .received = world->wall,
                        .payload = buf_str(&world->payload)};
  decide_event(world->decider, &world->bench.record, &event, world->wall, &world->decision);
}

static void happen(struct world *world, int64_t at) {
  struct model *model = &world->model;
  struct happened *event = &model->events[model->count++];
  char text[2] = {0};
  *event = (struct happened){.at = at,
                             .type = next_random() % 4 ? 'a' : 'b',
                             .k = "xyz"[next_random() % 3],
                             .s = "pqrst"[next_random() % 5],
                             .v = (int)between(-4, 8)};
  buf_clear(&world->payload);
  value_put_map(&world->payload, 3);
  text[0] = event->k;
  value_put_member_text(&world->payload, "k", str_from(text));
  text[0] = event->s;
  value_put_member_text(&world->payload, "s", str_from(text));
  value_put_member_integer(&world->payload, "v", event->v);
  decide(world, event->type == 'a' ? "a" : "b", at);
}

static void profile(struct world *world, int64_t at) {
  bool tier = next_random() % 2;
  buf_clear(&world->payload);
  value_put_map(&world->payload, 1);
  if (tier) {
    world->model.gold = next_random() % 2;
    value_put_member_text(&world->payload, "tier", world->model.gold ? STR("gold") : STR("none"));
  } else {
    world->model.ends = next_random() % 4 ? world->wall + between(-2 * SECOND, 20 * SECOND) : 0;
    value_put_string(&world->payload, STR("ends"));
    if (world->model.ends)
      value_put_integer(&world->payload, world->model.ends);
    else
      value_put_nil(&world->payload);
  }
  decide(world, "identify", at);
}

static void consent(struct world *world, int64_t at) {
  bool granted = next_random() % 2;
  struct model *model = &world->model;
  if (at > model->consent_at || (at == model->consent_at && !granted)) {
    model->consent_at = at;
    model->withdrawn = !granted;
  }
  buf_clear(&world->payload);
  value_put_map(&world->payload, 1);
  value_put_member_text(&world->payload, "purpose", STR("marketing"));
  decide(world, granted ? "consent.granted" : "consent.withdrawn", at);
}

static void begin(struct world *world, uint64_t history) {
  world->history = seed = history;
  world->model = (struct model){0};
  buf_clear(&world->bench.record.bytes);
  world->bench.record.seq = 0;
  world->wall = START;
  world->told_at = INT64_MIN;
  world->known = false;
}

static void history(struct world *world, uint64_t number) {
  begin(world, number);
  bool late = number % 3 == 0;
  int64_t pause = number % 2 ? 9 * SECOND : 2 * SECOND;
  for (int i = 0; i < INPUTS; i++) {
    pass(world, world->wall + (next_random() % 5 ? between(0, pause) : 0));
    int64_t at = late && next_random() % 3 == 0 ? world->wall - between(0, 35 * SECOND) : world->wall;
    uint64_t dice = next_random() % 8;
    if (dice == 0)
      consent(world, at);
    else if (dice == 1)
      profile(world, at);
    else
      happen(world, at);
    compare(world, world->wall); // what was due before it is made up for
  }
  pass(world, world->wall + 40 * SECOND);
}

static void test_against_model(void **state) {
  (void)state;
  struct world world;
  world_init(&world, false);
  for (uint64_t i = 1; i <= HISTORIES; i++) history(&world, i);
  assert_true(world.changes > 10 * HISTORIES && world.late_changes > HISTORIES / 10);
  print_message("%d histories, %llu changes (%llu of them late), compared at %llu moments\n", HISTORIES,
                (unsigned long long)world.changes, (unsigned long long)world.late_changes,
                (unsigned long long)world.moments);
  world_deinit(&world);
}

/** Full windows answer about, and the membership is what they answer, at any moment. */
static void test_full_windows(void **state) {
  (void)state;
  struct world world;
  world_init(&world, true);
  for (uint64_t i = 1; i <= DENSE_HISTORIES; i++) {
    begin(&world, 1000000 + i);
    for (int j = 0; j < EVENTS_MAX; j++) {
      world.wall += between(0, 150);
      fire_until(&world, world.wall);
      happen(&world, next_random() % 8 ? world.wall : world.wall - between(0, 9 * SECOND));
      if (next_random() % 16 == 0) profile(&world, world.wall);
      compare(&world, world.wall);
    }
    for (int j = 0; j < 400; j++) compare(&world, world.wall + between(1, 200));
  }
  assert_true(world.changes > DENSE_HISTORIES);
  world_deinit(&world);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_against_model),
                                     cmocka_unit_test(test_full_windows)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
