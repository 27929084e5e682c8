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
  decide_journey_put(decider, &reached, 0);
  return false;
}

/** What is asked of it raised: one that waits is parked, and of one that does not the event is a dead letter.
 */
static void failed(struct decider *decider, const struct journey *journey, struct str path,
                   const struct error *err) {
  if (journey->state == JOURNEY_WAITING)
    decide_journey_park(decider, journey, path, false, err);
  else
    decide_fail(decider, &decider->call, journey->campaign, path, err);
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
    if (meant < 0) {
      failed(decider, journey, source->own->path, &err);
      return true;
    }
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
  if (rc && journey.state != JOURNEY_PARKED) failed(decider, &journey, STR(""), &err);
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
  if (wait->late == JOURNEY_LATE_FIRE) return false;
  if (wait->late == JOURNEY_LATE_SKIP) {
    call->skips = true;
    return false;
  }
  char reason[120];
  decide_say_late(late, late_after(wait), reason, sizeof reason);
  decide_journey_end(decider, journey, JOURNEY_EXPIRED, str_from(reason), decider->call.now);
  return true;
}

/** When a start that is tried again counts from: as of its event, or, as any resume, from now if that came
 * long ago. */
static int64_t begins_at(const struct engine_call *call, const struct engine_journey *declared,
                         int64_t received, int64_t now) {
  int64_t late = declared->late_after ? declared->late_after : LATE_MS;
  return call->wall - received > late ? call->wall : now;
}

/** Of one that was parked at its very start: it is about to begin. @return whether it is one. */
static bool begin_again(struct decider *decider, struct journey *journey,
                        const struct journey_source *source) {
  struct reader reader = reader_of(journey->event);
  struct event event;
  if (journey->wait.op != JOURNEY_NONE || journey->steps || event_decode(&event, &reader, NULL)) return false;
  int64_t at = begins_at(&decider->call, source->own->journey, event.received, journey->at);
  if (at != journey->at) {
    journey->at = at;
    decide_journey_put(decider, journey, JOURNEY_CONTINUES);
  }
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
      decide_journey_put(decider, &held, 0);
    } else if (hold == 0 && !is_too_late(decider, &journey, call)) {
      call->timed = true;
      begin_again(decider, &journey, &source); // an operator has moved it
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

/** One with the key of the start under way. @return false if there is none. */
static bool find_same(const struct decider *decider, const struct journey_source *source,
                      struct journey *out) {
  size_t at = 0;
  while (record_journey_next(decider->draft.record, &at, out))
    if (out->state != JOURNEY_WATCHING && str_equal(out->name, buf_str(&decider->journey_name)) &&
        str_equal(out->campaign, source->asked->campaign))
      return true;
  return false;
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
  engine_call_put_cause(&decider->call, key);
  return hash128(buf_str(key), 0);
}

/** The event as it keeps it. @return 0, or ERROR_LIMIT. */
static int keep_start(struct decider *decider, struct error *err) {
  struct buf *event = &decider->journey_event;
  buf_clear(event);
  event_encode(decider->call.event, event);
  if (event->len > JOURNEY_EVENT_MAX)
    return error_set(err, ERROR_LIMIT,
                     "the event has %zu bytes; a journey keeps the event it begins with, of at most %d KB",
                     event->len, JOURNEY_EVENT_MAX >> 10);
  return 0;
}

static int begin(struct decider *decider, const struct journey_source *source, int64_t at,
                 struct error *err) {
  struct engine_call *call = &decider->call;
  if (count_journeys(decider->draft.record) >= JOURNEYS_A_USER)
    return error_set(
        err, ERROR_LIMIT,
        "the user has %d journeys under way already (of all campaigns, those whose goal is still "
        "waited for included), the most there may be",
        JOURNEYS_A_USER);
  struct journey journey = {.id = identify(decider, source->asked->campaign),
                            .state = JOURNEY_WAITING,
                            .campaign = source->asked->campaign,
                            .name = buf_str(&decider->journey_name),
                            .version = source->own->version,
                            .begun = call->now,
                            .at = at,
                            .exits = source->asked->journey->types,
                            .wait = {.label = STR(""), .due = INT64_MAX, .on = STR(""), .got = STR("")},
                            .why = STR(""),
                            .event = buf_str(&decider->journey_event),
                            .handed = STR(""),
                            .history = STR("")};
  decide_journey_ask(decider, ENGINE_JOURNEY_RUN, &journey);
  int rc = decide_journey_resume(decider, &journey, source, true, 0, err);
  if (rc == 0) decide_journey_count(decider, journey.campaign, "started");
  return rc;
}

/** It takes the place of those with its key, or, if it has no room itself, leaves them there. */
static int restart(struct decider *decider, const struct journey_source *source, int64_t at,
                   struct error *err) {
  struct draft *draft = &decider->draft;
  struct journey one;
  struct draft_savepoint before = {0};
  int ended = 0;
  draft_save(draft, &before);
  for (; find_same(decider, source, &one) && decide_journey_take(decider, one.id, &one); ended++)
    decide_journey_end_uncounted(decider, &one, JOURNEY_RESTARTED, decider->call.event->id,
                                 decider->call.now);
  int rc = begin(decider, source, at, err);
  if (rc && ended) {
    draft_restore(draft, &before);
    error_prefix(err, "the one with this key that is under way goes on, for there is no room for another");
  }
  for (; rc == 0 && ended; ended--)
    decide_journey_count(decider, source->asked->campaign, journey_end_name(JOURNEY_RESTARTED));
  draft_savepoint_deinit(&before);
  return rc;
}

/** @param at  from when its waits count, ms */
static int start(struct decider *decider, uint32_t rule, int64_t at, struct error *err) {
  struct journey_source source = decide_journey_present(decider, rule);
  enum engine_again again = source.asked->journey->again;
  struct journey same;
  if (decider->call.entity.kind != ENTITY_USER) {
    decide_journey_not_run(decider, &source, STR("the event is about a subject, and a journey is a user's"));
    return 0;
  }
  int rc = starts(decider, &source, err);
  if (rc != 1) return rc;
  if (!name_it(decider, &source)) return 0;
  bool other = again != ENGINE_AGAIN_PARALLEL && find_same(decider, &source, &same);
  if (other && again == ENGINE_AGAIN_IGNORE) {
    decide_journey_not_run(decider, &source,
                           STR("one with this key is under way already, and `again` is \"ignore\""));
    return 0;
  }
  rc = keep_start(decider, err);
  if (rc) return rc;
  return other ? restart(decider, &source, at, err) : begin(decider, &source, at, err);
}

int decide_journey_start_again(struct decider *decider, uint32_t rule, struct error *err) {
  struct engine_call *call = &decider->call;
  int64_t received = call->event ? call->event->received : call->wall;
  int rc = start(decider, rule, begins_at(call, decider->rules[rule].journey, received, call->now), err);
  call->journey = NULL;
  return rc;
}

void decide_journey_start(struct decider *decider, uint32_t rule, struct engine_call *call) {
  struct error err = {0};
  int rc = start(decider, rule, call->now, &err);
  call->journey = NULL;
  if (rc) decide_fail(decider, call, decider->rules[rule].campaign, decider->rules[rule].path, &err);
}

/* ---- again, by an operator ---- */

int decide_journey_retry(struct decider *decider, struct str where, struct error *err) {
  static const char gone_on[] =
      "the journey has gone on since, and does not wait for this %s any more; drop the letter";
  struct engine_call *call = &decider->call;
  struct reader reader = reader_of(where);
  struct journey journey;
  struct journey_source source;
  if (!decide_journey_take(decider, stored_hash(&reader), &journey))
    return error_set(err, ERROR_NOT_FOUND, "the journey is in flight no more; drop the letter");
  if (journey.state != JOURNEY_PARKED)
    return error_set(err, ERROR_INVALID, "the journey goes on already; drop the letter");
  if (call->timer && call->timer->due != (journey.wait.held ? journey.wait.held : journey.wait.due))
    return error_set(err, ERROR_INVALID, gone_on, "time");
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
  // An exit is meant at any step; what the wait is to end by is not.
  if (reader_left(&reader) &&
      (reader_varint(&reader) != journey.run || reader_varint(&reader) != journey.steps))
    return error_set(err, ERROR_INVALID, gone_on, call->event ? "event" : "time");
  struct engine_journey_call *asked = decide_journey_ask(decider, ENGINE_JOURNEY_RUN, &journey);
  asked->timed = call->timer != NULL;
  bool over = call->timer && is_too_late(decider, &journey, asked);
  // An event has come in time, and what follows it keeps its distance all the same.
  if (call->event && call->wall - call->event->received > late_after(&journey.wait)) call->now = call->wall;
  if (begins && begin_again(decider, &journey, &source)) call->now = journey.at;
  if (!over) rc = decide_journey_go_on(decider, &journey, &source, false, 0, err);
  call->journey = NULL;
  return rc;
}
