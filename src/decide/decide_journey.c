/* Journeys: what starts one, wakes it, gets it on, ends it; and what becomes of one that fails. */
#include "decide/decide_journey.h"

#include "base/clock.h"
#include "base/metric.h"
#include "state/stored.h"

#include <stdio.h>

enum {
  MINUTE = 60000,
  CONTINUES_MAX = 10, /**< without a wait between, for one input */
  /** A journey whose campaign does not run is looked at again after as long as it has been held, between
   * these: a long pause costs each some ten records in the log. */
  HELD_MIN_MS = 1000,
  HELD_MAX_MS = 15 * MINUTE,
  /** So late, a journey goes on from then, and not from when it was due: its waits keep their lengths. */
  LATE_MS = 60 * MINUTE
};

/* ---- what all of it shares ---- */

/** Where a journey's function is. */
struct source {
  struct engine *engine;
  uint32_t rule; /**< in that engine */
  const struct engine_rule *own,
      *asked;                  /**< that rule; and the one whose roll-out counts: today's if there is one */
  struct campaigns *campaigns; /**< that one's … */
  uint32_t index;              /**< … and where it is among them */
  unsigned moves;              /**< enum journey_change: the journey comes from another source */
  struct str stays;            /**< why the newer source does not take it over; "" */
};

static struct source present_source(const struct decider *decider, uint32_t rule) {
  return (struct source){.engine = decider->options.engine,
                         .rule = rule,
                         .own = &decider->rules[rule],
                         .asked = &decider->rules[rule],
                         .campaigns = decider->campaigns,
                         .index = rule,
                         .stays = STR("")};
}

/** Today's source, if it is another one and means to take over what is under way. */
static const struct engine_rule *newer_rule(const struct decider *decider, const struct journey *journey,
                                            int *index) {
  *index = engine_rule_of(decider->options.engine, journey->campaign);
  const struct engine_rule *today = *index < 0 ? NULL : &decider->rules[*index];
  bool takes = today && today->journey && today->journey->flight != ENGINE_FLIGHT_PIN &&
               !hash128_equal(today->version, journey->version);
  return takes ? today : NULL;
}

/** The source that it is on. Where that cannot be had and the newer one takes over, that one, and `moves`
 * says so: it goes on there, or not at all. */
static int find_source(struct decider *decider, const struct journey *journey, struct source *out,
                       struct error *err) {
  struct decide_source found;
  int today;
  int rc = decide_flight(decider, journey->campaign, journey->version, &found, err);
  if (rc == 0 && !found.rules[found.rule].journey)
    rc = error_set(err, ERROR_NOT_FOUND, "\"%.*s\" is no journey in the source that it began with",
                   STR_ARG(journey->campaign));
  if (rc) {
    if (!newer_rule(decider, journey, &today)) return rc;
    *out = present_source(decider, (uint32_t)today);
    out->moves = JOURNEY_MOVES;
    return 0;
  }
  *out = (struct source){.engine = found.engine,
                         .rule = found.rule,
                         .own = &found.rules[found.rule],
                         .asked = &found.rules[found.rule],
                         .campaigns = found.campaigns,
                         .index = found.rule,
                         .stays = STR("")};
  today = engine_rule_of(decider->options.engine, journey->campaign);
  if (today < 0 || !decider->rules[today].journey) return 0;
  out->asked = &decider->rules[today];
  out->campaigns = decider->campaigns;
  out->index = (uint32_t)today;
  return 0;
}

/** Goals that its function has reached, by name: they are in what is new of its history. */
static void count_goals(const struct decider *decider, struct str campaign, struct str history) {
  struct reader reader = reader_of(history);
  struct journey_step step;
  struct buf labels;
  if (decider->options.uncounted) return;
  buf_init(&labels);
  while (journey_step_next(&reader, &step)) {
    size_t prefix = sizeof "goal " - 1;
    if (step.op != JOURNEY_GOAL || step.label.len < prefix) continue;
    buf_clear(&labels);
    campaigns_label(&labels, campaign);
    buf_printf(&labels, ",goal=\"");
    metric_label_escape(&labels, (struct str){step.label.data + prefix, step.label.len - prefix});
    buf_printf(&labels, "\"");
    buf_put_u8(&labels, 0);
    metric_add(metric_counter("kairos_journey_goals_total",
                              "Goals that journeys reached, as journey:goal names them.",
                              (const char *)labels.data),
               1);
  }
  buf_deinit(&labels);
}

static void count(const struct decider *decider, struct str campaign, const char *what) {
  struct buf labels;
  if (decider->options.uncounted) return;
  buf_init(&labels);
  campaigns_label(&labels, campaign);
  buf_printf(&labels, ",what=\"%s\"", what);
  buf_put_u8(&labels, 0);
  metric_add(
      metric_counter("kairos_journeys_total", "Journeys by what became of them.", (const char *)labels.data),
      1);
  buf_deinit(&labels);
}

/** A copy, for the record moves. @return false if it is in flight no more. */
static bool take(struct decider *decider, struct hash128 id, struct journey *out) {
  if (!record_journey(decider->draft.record, id, out)) return false;
  buf_clear(&decider->journey_bytes);
  journey_encode(out, &decider->journey_bytes);
  return journey_decode(out, buf_str(&decider->journey_bytes));
}

/** Taking it away always fits. */
static void end(struct decider *decider, const struct journey *journey, enum journey_end how,
                struct str reason, int64_t at) {
  struct effect effect = {.type = EFFECT_JOURNEY_END,
                          .journey_ended = {.id = journey->id,
                                            .campaign = journey->campaign,
                                            .name = journey->name,
                                            .end = how,
                                            .reason = reason,
                                            .step = journey->wait.label,
                                            .begun = journey->begun,
                                            .at = at,
                                            .steps = journey->steps}};
  draft_add(&decider->draft, &effect, NULL);
  decide_journey_index(decider, journey->campaign);
  count(decider, journey->campaign, journey_end_name(how));
}

/** What is new about it goes into the record. */
static int put(struct decider *decider, const struct journey *journey, unsigned changes, struct error *err) {
  struct effect effect = {.type = EFFECT_JOURNEY, .journey = {.journey = *journey, .changes = changes}};
  int rc = draft_add(&decider->draft, &effect, err);
  if (rc == 0) decide_journey_index(decider, journey->campaign);
  return rc;
}

/** The same where it must succeed: it was there before, and has hardly grown. */
static void put_surely(struct decider *decider, const struct journey *journey) {
  decider->draft.record_max = SIZE_MAX;
  put(decider, journey, 0, NULL);
  decider->draft.record_max = decider->options.record_max;
}

/** As it stands, with nothing new in its history. */
static struct journey as_it_stands(const struct journey *journey) {
  struct journey same = *journey;
  same.steps = 0;
  same.history = STR("");
  return same;
}

/** The call is about this journey, which lives as long as the call. */
static struct engine_journey_call *ask(struct decider *decider, enum engine_journey_ask what,
                                       const struct journey *journey) {
  struct engine_journey_call *call = &decider->journey_call;
  call->ask = what;
  call->journey = journey;
  call->timed = call->held = call->skips = false;
  decider->call.journey = call;
  return call;
}

static void tell_not_run(struct decider *decider, const struct source *source, struct str why) {
  struct decider_run run = {.rule = source->asked, .call = &decider->call, .not_run = why};
  if (decider->options.observer.ran) decider->options.observer.ran(decider->options.observer.context, &run);
}

/* ---- failing ---- */

/** Nothing moves it any more but an operator or an exit; why is among the dead letters. @param fresh  it is
 * not in the record yet */
static void park(struct decider *decider, const struct journey *journey, struct str path, bool fresh,
                 const struct error *err) {
  struct journey parked = as_it_stands(journey);
  size_t len = strcspn(err->message, "\n");
  parked.state = JOURNEY_PARKED;
  parked.why = (struct str){err->message, len < JOURNEY_WHY_MAX ? len : JOURNEY_WHY_MAX};
  if (!fresh)
    put_surely(decider, &parked);
  else if (put(decider, &parked, JOURNEY_BEGINS, NULL))
    decider->call.journey = NULL; // no room to be parked in: the event begins it again when it is retried
  decide_fail(decider, &decider->call, journey->campaign, path, err);
  count(decider, journey->campaign, "parked");
}

/* ---- getting on ---- */

/** The gate's answer, for the function to go by. A shadow goes on as if the message had gone. */
static int send_message(void *context, struct message *message, bool *passed, struct str *reason,
                        struct error *err) {
  struct decider *decider = context;
  struct verdict verdict;
  int rc = decide_judge(decider, decider->journey_asked, decider->journey_index, message,
                        decider->journey_call.skips ? "it is too late for it: see `late` of the wait" : NULL,
                        &verdict, err);
  *passed = verdict.pass || str_equal(verdict.reason, STR("shadow"));
  *reason = verdict.reason;
  return rc;
}

/** Its function has come to its end; it is kept while its goal may still be reached. */
static int finish(struct decider *decider, const struct journey *journey, const struct source *source,
                  bool fresh, struct error *err) {
  const struct engine_journey *declared = source->own->journey;
  int64_t now = decider->journey_call.now, till = journey->begun + declared->goal_within;
  if (declared->goal && !journey->reached && declared->goal_within && till > now) {
    struct journey watching = as_it_stands(journey);
    watching.state = JOURNEY_WATCHING;
    watching.at = now;
    watching.handed = watching.why = STR("");
    watching.wait = (struct journey_wait){
        .label = STR("its goal"), .due = till, .set_at = decider->call.wall, .on = STR(""), .got = STR("")};
    return put(decider, &watching, fresh ? JOURNEY_BEGINS : JOURNEY_CONTINUES | source->moves, err);
  }
  end(decider, journey, JOURNEY_FINISHED, STR(""), now);
  return 0;
}

/** What one run of the function came to, as effects. `*again`: it continues afresh, at once. */
static int take_in(struct decider *decider, struct journey *journey, const struct source *source, bool fresh,
                   int64_t hold, bool *again, struct error *err) {
  const struct engine_journey_call *call = &decider->journey_call;
  struct journey next = as_it_stands(journey);
  next.state = JOURNEY_WAITING;
  next.why = source->stays;
  unsigned changes = fresh ? JOURNEY_BEGINS : source->moves;
  *again = false;
  switch (call->came) {
  case ENGINE_JOURNEY_STILL:
    if (journey->state == JOURNEY_PARKED) return put(decider, &next, 0, err);
    return 0;
  case ENGINE_JOURNEY_GOT:
    buf_clear(&decider->key);
    event_encode(decider->call.event, &decider->key);
    next.wait.got = buf_str(&decider->key);
    next.wait.held = hold;
    return put(decider, &next, 0, err);
  case ENGINE_JOURNEY_WAITS:
    next.wait = call->wait;
    next.steps = call->steps;
    next.history = buf_str(&call->history);
    count_goals(decider, journey->campaign, next.history);
    return put(decider, &next, changes, err);
  case ENGINE_JOURNEY_CONTINUES:
    *again = true;
    count_goals(decider, journey->campaign, buf_str(&call->history));
    next.wait = (struct journey_wait){.label = STR(""), .due = INT64_MAX, .on = STR(""), .got = STR("")};
    next.run++;
    next.at = call->now;
    next.handed = buf_str(&call->handed);
    return put(decider, &next, fresh ? changes : JOURNEY_CONTINUES | changes, err);
  case ENGINE_JOURNEY_RETURNED:
    break;
  }
  journey->steps += call->steps;
  count_goals(decider, journey->campaign, buf_str(&call->history));
  return finish(decider, journey, source, fresh, err);
}

/** Run the function from its beginning, up to where it waits. `*fits`: it came as far as the journey has
 * come. */
static int run_on(struct decider *decider, struct journey *journey, const struct source *source, bool fresh,
                  int64_t hold, bool *fits, struct error *err) {
  struct source here = *source;
  struct hash128 id = journey->id;
  bool again = true;
  uint32_t messages = 0;
  decider->journey_call.send = send_message;
  decider->journey_call.context = decider;
  decider->journey_asked = source->asked;
  decider->journey_index = source->campaigns == decider->campaigns ? (int)source->index : -1;
  for (int round = 0; again; round++) {
    if (round == CONTINUES_MAX)
      return error_set(err, ERROR_SCRIPT,
                       "the journey continues %d times without waiting; let it wait in between",
                       CONTINUES_MAX);
    decider->call.emit_max = ENGINE_EMIT_MAX - decider->derived.count;
    int rc = engine_run(source->engine, source->rule, &decider->call, err);
    *fits = rc == 0 || round > 0 || decider->journey_call.steps > 0;
    messages = decider->call.message_count += messages;
    if (rc == 0 && source->asked->rollout.mode != ROLLOUT_SHADOW)
      rc = decide_take_emitted(decider, journey->campaign, err);
    if (rc == 0) rc = take_in(decider, journey, &here, fresh, hold, &again, err);
    if (rc) return rc;
    here.moves = 0; // it has
    if (again && !take(decider, id, journey)) return 0;
    if (again) decider->call.now = decider->journey_call.now;
    fresh = false;
  }
  return 0;
}

/** Get it on with the call's input on this source; of what fails nothing is left. */
static int attempt(struct decider *decider, struct journey *journey, const struct source *source, bool fresh,
                   int64_t hold, bool *fits, struct error *err) {
  struct engine_call *call = &decider->call;
  int64_t now = call->now;
  uint32_t derived = decider->derived.count;
  draft_mark(&decider->draft);
  call->draft = &decider->draft;
  call->journey->journey = journey;
  call->journey->held = hold != 0;
  engine_input(source->engine);
  int rc = run_on(decider, journey, source, fresh, hold, fits, err);
  call->now = now;
  if (rc == 0 && source->asked->rollout.mode == ROLLOUT_SHADOW)
    rc = draft_without(&decider->draft, EFFECT_ATTRIBUTE, &decider->input, err);
  if (rc == 0) return 0;
  draft_rollback(&decider->draft);
  decider->derived.count = derived;
  return rc;
}

/** The journey as it begins anew on newer source, with the state that this makes of it. @return 1 with it; 0:
 * it makes none; or an error. */
static int migrate(struct decider *decider, struct journey *journey, const struct source *newer,
                   struct error *err) {
  struct engine_call *call = &decider->call;
  call->journey->journey = journey;
  call->journey->ask = ENGINE_JOURNEY_MIGRATE;
  engine_input(newer->engine);
  int rc = engine_run(newer->engine, newer->rule, call, err);
  call->journey->ask = ENGINE_JOURNEY_RUN;
  if (rc || !call->acted) return rc;
  journey->wait = (struct journey_wait){.label = STR(""), .due = INT64_MAX, .on = STR(""), .got = STR("")};
  journey->history = STR("");
  journey->steps = 0;
  journey->run++;
  journey->at = call->now;
  journey->handed = buf_str(&call->journey->handed);
  return 1;
}

/** Newer source takes it over, if it means to and the journey fits. @return 0: it has gone on there; an error
 * of that source; or 1: it stays, because of `why`, if that is set. */
static int go_over(struct decider *decider, struct journey *journey, struct source *source, struct error *why,
                   struct error *err) {
  int index, takes = 1, rc = 0;
  const struct engine_rule *today = newer_rule(decider, journey, &index);
  if (!today) return 1;
  struct source newer = present_source(decider, (uint32_t)index);
  bool fits = true;
  newer.moves = JOURNEY_MOVES;
  if (today->journey->flight == ENGINE_FLIGHT_MIGRATE) {
    newer.moves |= JOURNEY_CONTINUES;
    takes = migrate(decider, journey, &newer, why);
    if (takes < 0) error_prefix(why, "the `flight` of the newer source failed, so it stays on its own");
  }
  if (takes != 1) return 1;
  journey->version = today->version;
  journey->exits = today->journey->types;
  rc = attempt(decider, journey, &newer, false, 0, &fits, err);
  if (fits) {
    *source = newer;
    return rc;
  }
  *why = *err;
  error_prefix(why, "it stays on its own source, and does not go on with the newer one");
  return 1;
}

/** Get it on with the call's input; it fails by itself. @return 0, or why it is parked. `journey` is in
 * `journey_bytes`, or the caller's. @param hold  its campaign does not run now: next look; 0: it does */
static int go_on(struct decider *decider, const struct journey *journey, const struct source *own, bool fresh,
                 int64_t hold, struct error *err) {
  struct engine_call *call = &decider->call;
  struct journey under_way = *journey;
  struct source source = *own;
  struct error why = {0};
  bool fits;
  int64_t before = clock_mono_us();
  int rc = fresh || hold ? 1 : go_over(decider, &under_way, &source, &why, err);
  if (rc == 1 && own->moves) { // there is no other
    rc = error_set(err, why.code ? why.code : ERROR_NOT_FOUND,
                   "its own source cannot be had, and the newer one does not take it over%s%s",
                   why.code ? ": " : "", why.message);
  } else if (rc == 1) {
    under_way = *journey;
    source.stays = str_from(why.message);
    source.stays.len = strcspn(why.message, "\n");
    if (source.stays.len > JOURNEY_WHY_MAX) source.stays.len = JOURNEY_WHY_MAX;
    rc = attempt(decider, &under_way, &source, fresh, hold, &fits, err);
  }
  struct decider_run run = {
      .rule = source.asked, .call = call, .messages = call->message_count, .failed = rc ? err : NULL};
  if (rc == 0 && call->message_count) decide_announce_messages(decider, source.campaigns, source.index, &run);
  if (run.passed) decide_note_sender(decider, source.asked);
  campaign_ran(source.campaigns, source.index, clock_mono_us() - before, rc != 0);
  if (decider->options.observer.ran) decider->options.observer.ran(decider->options.observer.context, &run);
  return rc;
}

static void go_on_or_park(struct decider *decider, const struct journey *journey, const struct source *source,
                          bool fresh, int64_t hold) {
  struct error err = {0};
  if (!go_on(decider, journey, source, fresh, hold, &err)) return;
  struct journey before;
  if (!fresh && !take(decider, journey->id, &before)) return; // its bytes have been used since
  decider->call.journey->journey = fresh ? journey : &before;
  park(decider, fresh ? journey : &before, source->own->path, fresh, &err);
}

/* ---- whether its campaign runs ---- */

/** Asked for one in flight: the share is not asked, what was begun is carried on. @return 0; or the wall
 * clock of the next look; or -1: it has ended, and so has the journey. */
static int64_t ask_campaign(struct decider *decider, const struct journey *journey,
                            const struct source *source) {
  struct engine_call *call = &decider->call;
  if (campaigns_always(source->campaigns)[source->index]) return 0;
  struct campaign_answer answer = campaign_ask(source->campaigns, source->index, decider->draft.record, call);
  if (answer.reason == CAMPAIGN_RUNS) return 0;
  struct str why = campaign_say(source->campaigns, source->index, call, &answer);
  if (answer.reason == CAMPAIGN_ENDED) {
    end(decider, journey, JOURNEY_OVER, why, call->now);
    return -1;
  }
  if (!journey->wait.held) tell_not_run(decider, source, why);
  if (answer.again != INT64_MAX) return answer.again;
  int64_t held = call->wall - (journey->wait.got.len ? journey->wait.set_at : journey->wait.due);
  return call->wall + (held < HELD_MIN_MS ? HELD_MIN_MS : held > HELD_MAX_MS ? HELD_MAX_MS : held);
}

/* ---- events ---- */

static bool has_type(const struct engine_exit *exit, struct str type) {
  for (size_t i = 0; i < exit->on_count; i++)
    if (event_type_is(exit->on[i], type)) return true;
  return false;
}

/** Whether the event is what the exit means. @return 1, 0, or an error. */
static int is_meant(struct decider *decider, const struct journey *journey, const struct source *source,
                    size_t index, struct error *err) {
  if (!source->own->journey->exits[index].where) return 1;
  struct engine_call *call = &decider->call;
  ask(decider, ENGINE_JOURNEY_EXIT, journey)->exit = index;
  draft_mark(&decider->draft);
  call->draft = &decider->draft;
  engine_input(source->engine);
  int rc = engine_run(source->engine, source->rule, call, err);
  if (rc) draft_rollback(&decider->draft);
  return rc ? rc : call->acted;
}

/** It has reached its goal; once. @return whether it has ended by it. */
static bool reach_goal(struct decider *decider, struct journey *journey, struct str type) {
  struct journey reached = as_it_stands(journey);
  reached.reached = journey->reached = true;
  count(decider, journey->campaign, "reached_goal");
  if (journey->state == JOURNEY_WATCHING) {
    end(decider, journey, JOURNEY_FINISHED, type, decider->call.now);
    return true;
  }
  put_surely(decider, &reached);
  return false;
}

/** Ask the exits that want this event. @return whether it is in flight no more, or parked by this. */
static bool leave(struct decider *decider, struct journey *journey, const struct source *source) {
  const struct engine_journey *declared = source->own->journey;
  const struct event *event = decider->call.event;
  for (size_t i = 0; i < declared->exit_count; i++) {
    bool goal = declared->goal && i == 0;
    if (!has_type(&declared->exits[i], event->type) || (goal && journey->reached)) continue;
    if (!goal && journey->state == JOURNEY_WATCHING) continue;
    if (goal && declared->goal_within && decider->call.now > journey->begun + declared->goal_within) continue;
    struct error err = {0};
    int meant = is_meant(decider, journey, source, i, &err);
    if (meant < 0 && journey->state == JOURNEY_WAITING)
      park(decider, journey, source->own->path, false, &err);
    if (meant < 0) return true;
    if (!meant) continue;
    if (goal && reach_goal(decider, journey, event->type)) return true;
    if (goal) continue;
    end(decider, journey, JOURNEY_EXITED, event->type, decider->call.now);
    return true;
  }
  return false;
}

/** One that may care for this event. */
static void meet(struct decider *decider, struct hash128 id, const struct engine_call *call) {
  struct journey journey;
  struct source source;
  struct error err = {0};
  if (!take(decider, id, &journey)) return;
  ask(decider, ENGINE_JOURNEY_RUN, &journey);
  int rc = find_source(decider, &journey, &source, &err);
  if (rc && journey.state == JOURNEY_WAITING) park(decider, &journey, STR(""), false, &err);
  if (rc || leave(decider, &journey, &source)) return;
  if (journey.state != JOURNEY_WAITING || journey.wait.got.len ||
      !journey_has_type(journey.wait.on, call->event->type))
    return;
  ask(decider, ENGINE_JOURNEY_RUN, &journey);
  int64_t hold = ask_campaign(decider, &journey, &source);
  if (hold >= 0) go_on_or_park(decider, &journey, &source, false, hold);
}

void decide_journey_event(struct decider *decider, struct engine_call *call, struct decision *out) {
  struct hash128 ids[JOURNEYS_A_USER];
  struct journey journey;
  size_t at = 0, met = 0;
  while (met < JOURNEYS_A_USER && record_journey_next(decider->draft.record, &at, &journey))
    if (journey_has_type(journey.exits, call->event->type) ||
        journey_has_type(journey.wait.on, call->event->type))
      ids[met++] = journey.id;
  for (size_t i = 0; i < met; i++) meet(decider, ids[i], call);
  call->journey = NULL;
  if (met) out->timers_changed = true;
}

/* ---- its time ---- */

/** Whose time has come: of several it is the first that is due then. */
static bool find_due(const struct decider *decider, const struct timer *timer, struct hash128 *id) {
  struct journey journey;
  size_t at = 0;
  while (record_journey_next(decider->draft.record, &at, &journey)) {
    if (journey_wakes(&journey) != timer->due || !str_equal(journey.name, timer->name) ||
        !str_equal(journey.campaign, timer->campaign))
      continue;
    *id = journey.id;
    return true;
  }
  return false;
}

/** It comes due long after its time. @return whether that ends it. */
static bool is_too_late(struct decider *decider, const struct journey *journey,
                        struct engine_journey_call *call) {
  const struct journey_wait *wait = &journey->wait;
  int64_t late = decider->call.wall - wait->due;
  if (wait->got.len || late <= (wait->late_after ? wait->late_after : LATE_MS)) return false;
  // What was due already when it was set is an old event's, and is told in the order in which it was.
  if (wait->due >= wait->set_at) decider->call.now = decider->call.wall;
  if (!wait->late_after || wait->late == JOURNEY_LATE_FIRE) return false;
  if (wait->late == JOURNEY_LATE_SKIP) {
    call->skips = true;
    return false;
  }
  char reason[120];
  decide_say_late(late, wait->late_after, reason, sizeof reason);
  end(decider, journey, JOURNEY_EXPIRED, str_from(reason), decider->call.now);
  return true;
}

void decide_journey_timer(struct decider *decider, const struct timer *timer) {
  struct hash128 id;
  struct journey journey;
  struct source source;
  struct error err = {0};
  if (!find_due(decider, timer, &id) || !take(decider, id, &journey)) return;
  struct engine_journey_call *call = ask(decider, ENGINE_JOURNEY_RUN, &journey);
  if (journey.state == JOURNEY_WATCHING) {
    end(decider, &journey, JOURNEY_FINISHED, STR(""), timer->due);
  } else if (find_source(decider, &journey, &source, &err)) {
    park(decider, &journey, STR(""), false, &err);
  } else {
    int64_t hold = ask_campaign(decider, &journey, &source);
    if (hold > 0) {
      struct journey held = as_it_stands(&journey);
      held.wait.held = hold;
      put_surely(decider, &held);
    } else if (hold == 0 && !is_too_late(decider, &journey, call)) {
      call->timed = true;
      go_on_or_park(decider, &journey, &source, false, 0);
    }
  }
  decider->call.journey = NULL;
}

/* ---- the start ---- */

/** @return whether the event is to begin one, or an error. */
static int starts(struct decider *decider, const struct source *source, struct error *err) {
  struct engine_call *call = &decider->call;
  if (!source->asked->journey->when) return 1;
  ask(decider, ENGINE_JOURNEY_START, NULL);
  draft_mark(&decider->draft);
  call->draft = &decider->draft;
  engine_input(source->engine);
  int rc = engine_run(source->engine, source->rule, call, err);
  if (rc == 0 && call->acted) return 1;
  struct decider_run run = {.rule = source->asked, .call = call, .failed = rc ? err : NULL};
  if (rc) draft_rollback(&decider->draft);
  campaign_ran(source->campaigns, source->index, 0, rc != 0);
  if (decider->options.observer.ran) decider->options.observer.ran(decider->options.observer.context, &run);
  return rc;
}

/** Its name in the record into `journey_name`. @return false if the event has no key. */
static bool name_it(struct decider *decider, const struct source *source) {
  const struct engine_journey *declared = source->asked->journey;
  struct str found;
  buf_clear(&decider->journey_name);
  buf_append(&decider->journey_name, TIMER_JOURNEY, sizeof TIMER_JOURNEY - 1);
  if (!declared->key.len) return true;
  if (value_find(decider->call.event->payload, declared->key, &found) &&
      value_key(found, &decider->journey_name) &&
      decider->journey_name.len - (sizeof TIMER_JOURNEY - 1) <= EVENT_ID_MAX)
    return true;
  buf_clear(&decider->key);
  buf_printf(&decider->key, "the event has no payload.%.*s of at most %d letters, which is the journey's key",
             STR_ARG(declared->key), EVENT_ID_MAX);
  tell_not_run(decider, source, buf_str(&decider->key));
  return false;
}

/** What those under way with this key have to say. @return false: it does not begin. */
static bool may_begin(struct decider *decider, const struct source *source) {
  const struct engine_journey *declared = source->asked->journey;
  struct str name = buf_str(&decider->journey_name);
  struct journey one;
  size_t at = 0;
  while (declared->again != ENGINE_AGAIN_PARALLEL && record_journey_next(decider->draft.record, &at, &one)) {
    if (one.state == JOURNEY_WATCHING || !str_equal(one.name, name) ||
        !str_equal(one.campaign, source->asked->campaign))
      continue;
    if (declared->again == ENGINE_AGAIN_IGNORE) {
      tell_not_run(decider, source, STR("one with this key is under way already, and `again` is \"ignore\""));
      return false;
    }
    if (take(decider, one.id, &one))
      end(decider, &one, JOURNEY_RESTARTED, decider->call.event->id, decider->call.now);
    at = 0; // the record has moved
  }
  return true;
}

static size_t count_journeys(const struct record *record) {
  struct journey journey;
  size_t at = 0, all = 0;
  while (record_journey_next(record, &at, &journey)) all++;
  return all;
}

static struct hash128 identify(struct decider *decider, struct str campaign) {
  struct buf *key = &decider->key;
  buf_clear(key);
  buf_put_u8(key, (uint8_t)decider->call.entity.kind);
  buf_put_str(key, decider->call.entity.id);
  buf_put_str(key, campaign);
  buf_put_str(key, buf_str(&decider->journey_name));
  buf_put_str(key, decider->call.cause);
  return hash128(buf_str(key), 0);
}

static int begin(struct decider *decider, const struct source *source, struct error *err) {
  struct engine_call *call = &decider->call;
  struct buf *event = &decider->journey_event;
  buf_clear(event);
  event_encode(call->event, event);
  if (event->len > JOURNEY_EVENT_MAX)
    return error_set(err, ERROR_LIMIT,
                     "the event has %zu bytes; a journey keeps the event it begins with, of at most %d KB",
                     event->len, JOURNEY_EVENT_MAX >> 10);
  if (count_journeys(decider->draft.record) >= JOURNEYS_A_USER)
    return error_set(err, ERROR_LIMIT, "the user has %d journeys under way already, the most there may be",
                     JOURNEYS_A_USER);
  struct journey journey = {.id = identify(decider, source->asked->campaign),
                            .state = JOURNEY_WAITING,
                            .campaign = source->asked->campaign,
                            .name = buf_str(&decider->journey_name),
                            .version = source->own->version,
                            .begun = call->now,
                            .at = call->now,
                            .exits = source->asked->journey->types,
                            .wait = {.label = STR(""), .due = INT64_MAX, .on = STR(""), .got = STR("")},
                            .why = STR(""),
                            .event = buf_str(event),
                            .handed = STR(""),
                            .history = STR("")};
  ask(decider, ENGINE_JOURNEY_RUN, &journey);
  count(decider, journey.campaign, "started");
  go_on_or_park(decider, &journey, source, true, 0);
  return 0;
}

int decide_journey_start_again(struct decider *decider, uint32_t rule, struct error *err) {
  struct source source = present_source(decider, rule);
  int rc = 0;
  if (decider->call.entity.kind != ENTITY_USER)
    tell_not_run(decider, &source, STR("the event is about a subject, and a journey is a user's"));
  else if ((rc = starts(decider, &source, err)) == 1)
    rc = name_it(decider, &source) && may_begin(decider, &source) ? begin(decider, &source, err) : 0;
  decider->call.journey = NULL;
  return rc;
}

void decide_journey_start(struct decider *decider, uint32_t rule, struct engine_call *call) {
  struct error err = {0};
  if (decide_journey_start_again(decider, rule, &err))
    decide_fail(decider, call, decider->rules[rule].campaign, decider->rules[rule].path, &err);
}

/* ---- again, by an operator ---- */

int decide_journey_retry(struct decider *decider, struct str id, struct error *err) {
  struct engine_call *call = &decider->call;
  struct reader reader = reader_of(id);
  struct journey journey;
  struct source source;
  if (!take(decider, stored_hash(&reader), &journey))
    return error_set(err, ERROR_NOT_FOUND, "the journey is in flight no more; drop the letter");
  if (journey.state != JOURNEY_PARKED)
    return error_set(err, ERROR_INVALID, "the journey goes on already; drop the letter");
  int rc = find_source(decider, &journey, &source, err);
  if (rc) return rc;
  ask(decider, ENGINE_JOURNEY_RUN, &journey);
  if (call->event && leave(decider, &journey, &source)) {
    struct journey left;
    return record_journey(decider->draft.record, journey.id, &left)
               ? error_set(err, ERROR_SCRIPT, "its exit fails still")
               : 0;
  }
  ask(decider, ENGINE_JOURNEY_RUN, &journey)->timed = call->timer != NULL;
  rc = go_on(decider, &journey, &source, false, 0, err);
  call->journey = NULL;
  return rc;
}
