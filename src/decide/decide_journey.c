/* Journeys: what starts one, wakes it, ends it. */
#include "decide/decide_journey_run.h"

#include "state/stored.h"

#include <stdio.h>

enum {
  MINUTE = 60000,
  /** A journey whose campaign does not run is looked at again after as long as it has been held, between
   * these: a long pause costs each some ten records in the log. */
  HELD_MIN_MS = 1000,
  HELD_MAX_MS = 15 * MINUTE,
  /** So late, a journey goes on from then, and not from when it was due: its waits keep their lengths. */
  LATE_MS = 60 * MINUTE
};

/* ---- whether its campaign runs ---- */

/** Asked for one in flight: the share is not asked, what was begun is carried on. @return 0; or the wall
 * clock of the next look; or -1: it has ended, and so has the journey. */
static int64_t ask_campaign(struct decider *decider, const struct journey *journey,
                            const struct journey_source *source) {
  struct engine_call *call = &decider->call;
  if (campaigns_always(source->campaigns)[source->index]) return 0;
  struct campaign_answer answer = campaign_ask(source->campaigns, source->index, decider->draft.record, call);
  if (answer.reason == CAMPAIGN_RUNS) return 0;
  struct str why = campaign_say(source->campaigns, source->index, call, &answer);
  if (answer.reason == CAMPAIGN_ENDED) {
    decide_journey_end(decider, journey, JOURNEY_OVER, why, call->now);
    return -1;
  }
  if (!journey->wait.held) decide_journey_not_run(decider, source, why);
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
static int is_meant(struct decider *decider, const struct journey *journey,
                    const struct journey_source *source, size_t index, struct error *err) {
  if (!source->own->journey->exits[index].where) return 1;
  struct engine_call *call = &decider->call;
  decide_journey_ask(decider, ENGINE_JOURNEY_EXIT, journey)->exit = index;
  draft_mark(&decider->draft);
  call->draft = &decider->draft;
  engine_input(source->engine);
  int rc = engine_run(source->engine, source->rule, call, err);
  if (rc) draft_rollback(&decider->draft);
  return rc ? rc : call->acted;
}

/** It has reached its goal; once. @return whether it has ended by it. */
static bool reach_goal(struct decider *decider, struct journey *journey, struct str type) {
  struct journey reached = decide_journey_same(journey);
  reached.reached = journey->reached = true;
  decide_journey_count(decider, journey->campaign, "reached_goal");
  if (journey->state == JOURNEY_WATCHING) {
    decide_journey_end(decider, journey, JOURNEY_FINISHED, type, decider->call.now);
    return true;
  }
  decide_journey_put(decider, &reached);
  return false;
}

/** Ask the exits that want this event. @return whether it is in flight no more, or parked by this. */
static bool leave(struct decider *decider, struct journey *journey, const struct journey_source *source) {
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
      decide_journey_park(decider, journey, source->own->path, false, &err);
    if (meant < 0) return true;
    if (!meant) continue;
    if (goal && reach_goal(decider, journey, event->type)) return true;
    if (goal) continue;
    decide_journey_end(decider, journey, JOURNEY_EXITED, event->type, decider->call.now);
    return true;
  }
  return false;
}

/** One that may care for this event. */
static void meet(struct decider *decider, struct hash128 id, const struct engine_call *call) {
  struct journey journey;
  struct journey_source source;
  struct error err = {0};
  if (!decide_journey_take(decider, id, &journey)) return;
  decide_journey_ask(decider, ENGINE_JOURNEY_RUN, &journey);
  int rc = decide_journey_source(decider, &journey, &source, &err);
  if (rc && journey.state == JOURNEY_WAITING) decide_journey_park(decider, &journey, STR(""), false, &err);
  if (rc || leave(decider, &journey, &source)) return;
  if (journey.state != JOURNEY_WAITING || journey.wait.got.len ||
      !journey_has_type(journey.wait.on, call->event->type))
    return;
  decide_journey_ask(decider, ENGINE_JOURNEY_RUN, &journey);
  int64_t hold = ask_campaign(decider, &journey, &source);
  if (hold >= 0) decide_journey_resume(decider, &journey, &source, false, hold, &err);
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

/** So late is too late, ms. */
static int64_t late_after(const struct journey_wait *wait) {
  return wait->late_after ? wait->late_after : LATE_MS;
}

/** It comes due long after its time. @return whether that ends it. */
static bool is_too_late(struct decider *decider, const struct journey *journey,
                        struct engine_journey_call *call) {
  const struct journey_wait *wait = &journey->wait;
  int64_t late = decider->call.wall - wait->due;
  if (wait->got.len || late <= late_after(wait)) return false;
  // What was due already when it was set is an old event's, and is told in the order in which it was.
  if (wait->due >= wait->set_at) decider->call.now = decider->call.wall;
  if (!wait->late_after || wait->late == JOURNEY_LATE_FIRE) return false;
  if (wait->late == JOURNEY_LATE_SKIP) {
    call->skips = true;
    return false;
  }
  char reason[120];
  decide_say_late(late, wait->late_after, reason, sizeof reason);
  decide_journey_end(decider, journey, JOURNEY_EXPIRED, str_from(reason), decider->call.now);
  return true;
}

void decide_journey_timer(struct decider *decider, const struct timer *timer) {
  struct hash128 id;
  struct journey journey;
  struct journey_source source;
  struct error err = {0};
  if (!find_due(decider, timer, &id) || !decide_journey_take(decider, id, &journey)) return;
  struct engine_journey_call *call = decide_journey_ask(decider, ENGINE_JOURNEY_RUN, &journey);
  if (journey.state == JOURNEY_WATCHING) {
    decide_journey_end(decider, &journey, JOURNEY_FINISHED, STR(""), timer->due);
  } else if (decide_journey_source(decider, &journey, &source, &err)) {
    decide_journey_park(decider, &journey, STR(""), false, &err);
  } else {
    int64_t hold = ask_campaign(decider, &journey, &source);
    if (hold > 0) {
      struct journey held = decide_journey_same(&journey);
      held.wait.held = hold;
      decide_journey_put(decider, &held);
    } else if (hold == 0 && !is_too_late(decider, &journey, call)) {
      call->timed = true;
      decide_journey_resume(decider, &journey, &source, false, 0, &err);
    }
  }
  decider->call.journey = NULL;
}

/* ---- the start ---- */

/** @return whether the event is to begin one, or an error. */
static int starts(struct decider *decider, const struct journey_source *source, struct error *err) {
  struct engine_call *call = &decider->call;
  if (!source->asked->journey->when) return 1;
  decide_journey_ask(decider, ENGINE_JOURNEY_START, NULL);
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
static bool name_it(struct decider *decider, const struct journey_source *source) {
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
  decide_journey_not_run(decider, source, buf_str(&decider->key));
  return false;
}

/** What those under way with this key have to say. @return false: it does not begin. */
static bool may_begin(struct decider *decider, const struct journey_source *source) {
  const struct engine_journey *declared = source->asked->journey;
  struct str name = buf_str(&decider->journey_name);
  struct journey one;
  size_t at = 0;
  while (declared->again != ENGINE_AGAIN_PARALLEL && record_journey_next(decider->draft.record, &at, &one)) {
    if (one.state == JOURNEY_WATCHING || !str_equal(one.name, name) ||
        !str_equal(one.campaign, source->asked->campaign))
      continue;
    if (declared->again == ENGINE_AGAIN_IGNORE) {
      decide_journey_not_run(decider, source,
                             STR("one with this key is under way already, and `again` is \"ignore\""));
      return false;
    }
    if (decide_journey_take(decider, one.id, &one))
      decide_journey_end(decider, &one, JOURNEY_RESTARTED, decider->call.event->id, decider->call.now);
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

static int begin(struct decider *decider, const struct journey_source *source, struct error *err) {
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
  decide_journey_ask(decider, ENGINE_JOURNEY_RUN, &journey);
  decide_journey_count(decider, journey.campaign, "started");
  return decide_journey_resume(decider, &journey, source, true, 0, err);
}

int decide_journey_start_again(struct decider *decider, uint32_t rule, struct error *err) {
  struct journey_source source = decide_journey_present(decider, rule);
  int rc = 0;
  if (decider->call.entity.kind != ENTITY_USER)
    decide_journey_not_run(decider, &source, STR("the event is about a subject, and a journey is a user's"));
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
  struct journey_source source;
  if (!decide_journey_take(decider, stored_hash(&reader), &journey))
    return error_set(err, ERROR_NOT_FOUND, "the journey is in flight no more; drop the letter");
  if (journey.state != JOURNEY_PARKED)
    return error_set(err, ERROR_INVALID, "the journey goes on already; drop the letter");
  if (call->timer && call->timer->due != (journey.wait.held ? journey.wait.held : journey.wait.due))
    return error_set(
        err, ERROR_INVALID,
        "the journey has gone on since, and does not wait for this time any more; drop the letter");
  int rc = decide_journey_source(decider, &journey, &source, err);
  if (rc) return rc;
  decide_journey_ask(decider, ENGINE_JOURNEY_RUN, &journey);
  // Its own start asks no exit of it: the exits come first, and it begins after them.
  bool begins = call->event && str_equal(call->event->id, journey_cause(&journey));
  if (call->event && !begins && leave(decider, &journey, &source)) {
    struct journey left;
    return record_journey(decider->draft.record, journey.id, &left)
               ? error_set(err, ERROR_SCRIPT, "its exit fails still")
               : 0;
  }
  struct engine_journey_call *asked = decide_journey_ask(decider, ENGINE_JOURNEY_RUN, &journey);
  asked->timed = call->timer != NULL;
  bool over = call->timer && is_too_late(decider, &journey, asked);
  // An event has come in time, and what follows it keeps its distance all the same.
  if (call->event && call->wall - call->event->received > late_after(&journey.wait)) call->now = call->wall;
  if (!over) rc = decide_journey_go_on(decider, &journey, &source, false, 0, err);
  call->journey = NULL;
  return rc;
}
