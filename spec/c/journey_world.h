/** A user and his journey on rules of a test's own: what the decider makes of an input, and what recovery
 * makes of that, which must be the same. */
#pragma once

#include "decide/decide.h"
#include "decide/journey_indexed.h"
#include "test_engine_support.h"

static const char world_yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";
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

static inline void note_failure(void *context, const struct entity *entity, const struct failure *failure) {
  struct world *world = context;
  (void)entity;
  world->letters++;
  buf_clear(&world->said);
  buf_append(&world->said, failure->error.data, failure->error.len);
  buf_put_u8(&world->said, 0);
  buf_clear(&world->failed);
  effect_encode(&(struct effect){.type = EFFECT_FAILURE, .failure = *failure}, &world->failed);
}

static inline void world_init(struct world *world) {
  *world = (struct world){0};
  bench_init(&world->bench, world_yaml);
  record_init(&world->twin);
}

static inline void world_deinit(struct world *world) {
  decider_free(world->decider);
  bench_deinit(&world->bench);
  record_deinit(&world->twin);
  buf_deinit(&world->failed);
  buf_deinit(&world->said);
}

/** Apply the effects as recovery does: the same record, byte for byte. */
static inline void settle(struct world *world) {
  struct reader reader = reader_of(world->decision.effects);
  struct effect effect;
  struct error err;
  while (reader_left(&reader)) {
    assert_int_equal(effect_decode(&effect, &reader, &err), 0);
    if (record_apply(&world->twin, &effect, SIZE_MAX, &err)) fail_msg("%s", err.message);
  }
  assert_true(str_equal(buf_str(&world->twin.bytes), buf_str(&world->bench.record.bytes)));
}

static inline void world_load(struct world *world) {
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
static inline void world_move(struct world *world) {
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
static inline void world_journey(struct world *world, const char *run) {
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

static inline void world_send(struct world *world, const char *type, const char *payload, int64_t at) {
  char id[16];
  bench_event(&world->bench, type, payload, at);
  snprintf(id, sizeof id, "e%d", ++world->serial);
  world->bench.event.id = str_from(id);
  world->bench.event.entity.id = STR("ada");
  decide_event(world->decider, &world->bench.record, &world->bench.event, at, &world->decision);
  settle(world);
}

static inline void world_event(struct world *world, const char *type, int64_t at) {
  world_send(world, type, "{}", at);
}

static inline void world_timer(struct world *world) {
  struct timer timer;
  assert_true(record_timer_next(&world->bench.record, &timer) && timer_journey(&timer));
  decide_timer(world->decider, &world->bench.record, (struct entity){ENTITY_USER, STR("ada")}, &timer,
               timer.due, &world->decision);
  settle(world);
}

static inline bool only(const struct world *world, struct journey *out) {
  size_t at = 0;
  return record_journey_next(&world->bench.record, &at, out) &&
         record_journey(&world->bench.record, out->id, out);
}

static inline int retry(struct world *world, int64_t wall, struct error *err) {
  struct reader reader = reader_of(buf_str(&world->failed));
  struct effect letter;
  assert_int_equal(effect_decode(&letter, &reader, NULL), 0);
  int rc = decide_retry(world->decider, &world->bench.record, (struct entity){ENTITY_USER, STR("ada")},
                        &letter.failure, wall, &world->decision, err);
  if (rc) assert_int_equal(world->decision.effects.len, 0);
  settle(world);
  return rc;
}
