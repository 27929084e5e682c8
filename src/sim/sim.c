#include "sim/sim_internal.h"

#include "base/memory.h"
#include "explain/replay.h"

/* ---- rules ---- */

static void note_message(void *context, const struct message *message, const struct verdict *verdict) {
  struct sim *sim = ((struct sim_rules *)context)->current;
  if (sim->options.observer.message)
    sim->options.observer.message(sim->options.observer.context, message, verdict);
  if (verdict->pass && !sim->rules->options.decides_only) sim_deliver_add(sim, message);
}

static void note_failure(void *context, const struct entity *entity, const struct failure *failure) {
  struct sim *sim = ((struct sim_rules *)context)->current;
  if (sim->options.observer.failure)
    sim->options.observer.failure(sim->options.observer.context, entity, failure);
}

static void note_run(void *context, const struct decider_run *run) {
  struct sim *sim = ((struct sim_rules *)context)->current;
  if (sim->options.observer.ran) sim->options.observer.ran(sim->options.observer.context, run);
  if (sim->rules->options.decides_only) return;
  replay_describe_run(run, 1, &sim->runs);
  sim->run_count++;
}

static void note_judged(void *context, const struct decider_judgement *judgement) {
  struct sim *sim = ((struct sim_rules *)context)->current;
  if (sim->options.observer.judged) sim->options.observer.judged(sim->options.observer.context, judgement);
  if (sim->rules->options.decides_only) return;
  replay_describe_judgement(judgement, 1, &sim->runs);
  sim->run_count++;
}

static void note_suppressed(void *context, struct entity entity, struct str channel, struct str reason) {
  struct sim *sim = ((struct sim_rules *)context)->current;
  const struct decider_observer *observer = &sim->options.observer;
  if (observer->suppressed) observer->suppressed(observer->context, entity, channel, reason);
  if (!sim->rules->options.decides_only) sim_deliver_suppressed(sim, entity, channel, STR(""), reason);
}

static void note_withdrawn(void *context, struct entity entity, struct str purpose, struct str channel) {
  struct sim *sim = ((struct sim_rules *)context)->current;
  const struct decider_observer *observer = &sim->options.observer;
  if (observer->withdrawn) observer->withdrawn(observer->context, entity, purpose, channel);
  if (!sim->rules->options.decides_only)
    sim_deliver_suppressed(sim, entity, channel, purpose, STR("consent withdrawn"));
}

/** Of the rules before, and of those before them. */
static void gather_windows(struct sim_rules *rules) {
  const struct sim_rules *before = rules->options.before;
  const struct window_declaration *windows;
  if (!before) return;
  size_t count = engine_windows(before->engine, &windows);
  rules->windows = memory_zalloc((count + before->window_count + 1) * sizeof *rules->windows);
  for (size_t i = 0; i < count; i++) rules->windows[rules->window_count++] = windows[i];
  for (size_t i = 0; i < before->window_count; i++)
    rules->windows[rules->window_count++] = before->windows[i];
}

/** The campaign's folder of this version, as one of the rules before had it. */
static int find_sources(void *context, struct hash128 version, struct ruleset **out, struct error *err) {
  const struct sim_rules *rules = context;
  for (rules = rules->options.before; rules; rules = rules->options.before) {
    const struct ruleset *ruleset = rules->options.ruleset;
    const struct engine_rule *campaigns;
    size_t count = engine_rules(rules->engine, &campaigns);
    for (size_t i = 0; i < count; i++) {
      if (!hash128_equal(campaigns[i].version, version)) continue;
      struct buf folders;
      buf_init(&folders);
      buf_put_str(&folders, (struct str){campaigns[i].path.data, strcspn(campaigns[i].path.data, "/")});
      *out = ruleset_pick(ruleset, buf_str(&folders));
      buf_deinit(&folders);
      return 0;
    }
  }
  return error_set(err, ERROR_NOT_FOUND, "there are no such rules");
}

int sim_rules_new(struct sim_rules **out, const struct sim_rules_options *options, struct error *err) {
  struct sim_rules *rules = memory_zalloc(sizeof *rules);
  rules->options = *options;
  rendered_init(&rules->rendered);
  int rc = engine_new(&rules->engine,
                      &(struct engine_options){.ruleset = options->ruleset,
                                               .config = options->config,
                                               .generation = 1,
                                               .live = options->live,
                                               .counted_budget = true},
                      err);
  if (rc == 0 && !options->decides_only)
    rc = engine_providers(options->ruleset, options->config, &rules->scripts, err);
  if (rc) {
    sim_rules_free(rules);
    return rc;
  }
  struct decider_observer observer = {.context = rules,
                                      .message = note_message,
                                      .failure = note_failure,
                                      .ran = note_run,
                                      .judged = note_judged,
                                      .suppressed = note_suppressed,
                                      .withdrawn = note_withdrawn};
  gather_windows(rules);
  rules->decider = decider_new(&(struct decider_options){.engine = rules->engine,
                                                         .config = options->config,
                                                         .generation = 1,
                                                         .record_max = options->config->state.record_max,
                                                         .uncounted = true,
                                                         .flights = {.sources = find_sources,
                                                                     .context = rules,
                                                                     .windows = rules->windows,
                                                                     .window_count = rules->window_count},
                                                         .observer = observer});
  const struct engine_template *templates;
  rules->compiled =
      memory_zalloc((engine_templates(rules->engine, &templates) + 1) * sizeof *rules->compiled);
  *out = rules;
  return 0;
}

void sim_rules_free(struct sim_rules *rules) {
  if (!rules) return;
  const struct engine_template *templates;
  size_t count = rules->compiled ? engine_templates(rules->engine, &templates) : 0;
  for (size_t i = 0; i < count; i++) template_free(rules->compiled[i]);
  memory_free(rules->compiled);
  decider_free(rules->decider);
  memory_free(rules->windows);
  engine_free(rules->engine);
  if (rules->scripts.free) rules->scripts.free(rules->scripts.context);
  rendered_deinit(&rules->rendered);
  buf_deinit(&rules->request.url);
  buf_deinit(&rules->request.body);
  buf_deinit(&rules->request.headers);
  memory_free(rules);
}

const struct engine *sim_rules_engine(const struct sim_rules *rules) {
  return rules->engine;
}

const struct config *sim_rules_config(const struct sim_rules *rules) {
  return rules->options.config;
}

/* ---- a host's life ---- */

struct sim *sim_new(struct sim_rules *rules, const struct sim_options *options) {
  struct sim *sim = memory_zalloc(sizeof *sim);
  sim->rules = rules;
  sim->options = *options;
  sim->now = options->at;
  sim->wake = INT64_MAX;
  buf_append(&sim->variants, options->variants.data, options->variants.len);
  sim->table = table_new(SIZE_MAX);
  sim->seen = seen_new();
  sim->timers = timers_new();
  sim->index = user_index_new();
  if (!rules->options.decides_only) sim_deliver_init(sim);
  return sim;
}

void sim_free(struct sim *sim) {
  if (!sim) return;
  if (!sim->rules->options.decides_only) sim_deliver_deinit(sim);
  table_free(sim->table);
  seen_free(sim->seen);
  timers_free(sim->timers);
  user_index_free(sim->index);
  sim_fan_outs_deinit(sim);
  buf_deinit(&sim->entity);
  buf_deinit(&sim->input);
  buf_deinit(&sim->entry);
  buf_deinit(&sim->history);
  buf_deinit(&sim->runs);
  buf_deinit(&sim->sent);
  buf_deinit(&sim->lookups);
  buf_deinit(&sim->asks);
  buf_deinit(&sim->variants);
  buf_deinit(&sim->weights);
  memory_free(sim);
}

void sim_change(struct sim *sim, struct sim_rules *rules) {
  sim->rules = rules;
  sim->draw_at = 0; // there may be other experiments
}

struct sim_rules *sim_rules_of(const struct sim *sim) {
  return sim->rules;
}

int64_t sim_now(const struct sim *sim) {
  return sim->now;
}

/* ---- inputs ---- */

struct slot *sim_slot(struct sim *sim, struct entity entity) {
  struct slot *slot = table_find(sim->table, entity);
  if (!slot) {
    slot = table_add(sim->table, entity);
    slot->phase = SLOT_READY;
  }
  decider_make_room(sim->rules->decider, &slot->record, sim->now);
  return slot;
}

static void remember(struct sim *sim, enum log_record_type type, struct entity entity, struct str input,
                     struct str effects) {
  struct buf *history = &sim->history;
  buf_put_u8(history, (uint8_t)type);
  buf_put_zigzag(history, sim->now);
  buf_put_u8(history, (uint8_t)entity.kind);
  buf_put_str(history, entity.id);
  buf_put_str(history, input);
  buf_put_str(history, effects);
  buf_put_varint(history, sim->run_count);
  buf_put_str(history, buf_str(&sim->runs));
  buf_clear(&sim->runs);
  sim->run_count = 0;
}

static void apply_index(struct sim *sim, struct entity entity, struct str effects) {
  struct reader reader = reader_of(effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    if (effect.type == EFFECT_INDEX) user_index_apply(sim->index, entity, &effect.index);
}

/** As flight_index() does live. */
static void recall(struct sim *sim, const struct slot *slot, struct str effects) {
  struct reader reader = reader_of(effects);
  struct effect effect;
  struct buf reason;
  buf_init(&reason);
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type != EFFECT_JOURNEY_END || !record_journey_recalled(&slot->record, effect.journey_ended.id))
      continue;
    buf_clear(&reason);
    journey_recall_reason(&effect.journey_ended, &reason);
    sim_deliver_recall(sim, slot_entity(slot),
                       &(struct outbox_recall){STR("*"), STR(""), effect.journey_ended.id}, buf_str(&reason));
  }
  buf_deinit(&reason);
}

void sim_decided(struct sim *sim, enum log_record_type type, struct entity entity, struct str input,
                 const struct decision *decision, struct slot *slot) {
  if (slot) {
    struct timer next;
    table_changed(sim->table, slot, false);
    if (decision->timers_changed)
      timers_set(sim->timers, slot_entity(slot),
                 record_timer_next(&slot->record, &next) ? next.due : INT64_MAX);
  }
  if (decision->indexed) apply_index(sim, entity, decision->effects);
  if (decision->indexed && slot && !sim->rules->options.decides_only) recall(sim, slot, decision->effects);
  if (decision->fans_out) sim_fan_outs_begin(sim, decision->effects);
  if (!sim->rules->options.decides_only) remember(sim, type, entity, input, decision->effects);
  if (decision->waits) sim_lookups_begin(sim, slot, decision->effects);
}

bool sim_event(struct sim *sim, const struct event *event) {
  struct hash128 mark = seen_mark(event->entity, event->id);
  if (event->received > sim->now) sim->now = event->received;
  if (seen_has(sim->seen, mark, sim->now - sim->rules->options.config->dedup.keep)) return false;
  seen_add(sim->seen, mark, sim->now);
  struct slot *slot = sim_slot(sim, event->entity);
  struct decision decision;
  sim_turn(sim);
  decide_event(sim->rules->decider, &slot->record, event, sim->now, &decision);
  buf_clear(&sim->input);
  if (!sim->rules->options.decides_only) event_encode(event, &sim->input);
  sim_decided(sim, LOG_EVENT, event->entity, buf_str(&sim->input), &decision, slot);
  return true;
}

/* ---- the clock ---- */

static void fire(struct sim *sim, struct entity entity) {
  buf_clear(&sim->entity);
  buf_append(&sim->entity, entity.id.data, entity.id.len);
  entity.id = buf_str(&sim->entity);
  struct slot *slot = sim_slot(sim, entity);
  struct timer timer;
  struct decision decision = {.timers_changed = true};
  if (!record_timer_next(&slot->record, &timer)) {
    timers_set(sim->timers, entity, INT64_MAX);
    return;
  }
  if (timer_needs(&timer) && sim_lookup_ends(sim, slot, timer.campaign, timer.name, true)) return;
  buf_clear(&sim->input);
  if (!sim->rules->options.decides_only)
    effect_encode(&(struct effect){.type = EFFECT_TIMER_SET, .timer = timer}, &sim->input);
  sim_turn(sim);
  decide_timer(sim->rules->decider, &slot->record, entity, &timer, sim->now, &decision);
  decision.timers_changed = true;
  sim_decided(sim, LOG_TIMER, entity, buf_str(&sim->input), &decision, slot);
}

uint64_t sim_advance(struct sim *sim, int64_t end) {
  uint64_t fired = 0;
  for (;;) {
    int64_t due = INT64_MAX, next = sim->fan_outs ? sim_fan_outs_at(sim) : INT64_MAX;
    struct entity entity;
    bool timer = timers_next(sim->timers, &due, &entity) && due <= end;
    bool deliver = sim->wake <= end && sim->wake != INT64_MAX && (!timer || sim->wake <= due);
    int64_t at = deliver ? sim->wake : timer ? due : INT64_MAX;
    bool reach = next <= end && next != INT64_MAX && next <= at;
    if (!timer && !deliver && !reach) break;
    if (reach) at = next;
    if (at > sim->now) sim->now = at;
    if (reach) {
      sim_fan_outs_turn(sim);
    } else if (deliver) {
      sim_deliver_turn(sim);
    } else {
      fire(sim, entity);
      fired++;
    }
  }
  if (end != INT64_MAX && end > sim->now) sim->now = end;
  return fired;
}
