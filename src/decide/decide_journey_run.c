/* Journeys: where the function of one is, how it gets on, and what becomes of one that fails. */
#include "decide/decide_journey_run.h"

#include "base/clock.h"
#include "base/metric.h"

enum {
  CONTINUES_MAX = 10,     /**< without a wait between, for one input */
  NEAR_MS = 5 * 60 * 1000 /**< what is due within this may be sent before it is recalled */
};

/* ---- its source ---- */

struct journey_source decide_journey_present(const struct decider *decider, uint32_t rule) {
  return (struct journey_source){.engine = decider->options.engine,
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

int decide_journey_source(struct decider *decider, const struct journey *journey, struct journey_source *out,
                          struct error *err) {
  struct decide_source found;
  int today;
  int rc = decide_flight(decider, journey->campaign, journey->version, &found, err);
  if (rc == 0 && !found.rules[found.rule].journey)
    rc = error_set(err, ERROR_NOT_FOUND, "\"%.*s\" is no journey in the source that it began with",
                   STR_ARG(journey->campaign));
  if (rc) {
    if (!newer_rule(decider, journey, &today)) return rc;
    *out = decide_journey_present(decider, (uint32_t)today);
    out->moves = JOURNEY_MOVES;
    return 0;
  }
  *out = (struct journey_source){.engine = found.engine,
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
    if (step.op != JOURNEY_GOAL || step.failed || step.label.len < prefix) continue;
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

void decide_journey_count(const struct decider *decider, struct str campaign, const char *what) {
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

bool decide_journey_take(struct decider *decider, struct hash128 id, struct journey *out) {
  if (!record_journey(decider->draft.record, id, out)) return false;
  buf_clear(&decider->journey_bytes);
  journey_encode(out, &decider->journey_bytes);
  return journey_decode(out, buf_str(&decider->journey_bytes));
}

/** What was deferred of it goes, whatever becomes of it: the mark that would recall it is taken away. */
static void let_go(struct decider *decider, struct hash128 id) {
  uint64_t key = journey_sent_key(id);
  if (record_once(decider->draft.record, key, INT64_MIN, NULL))
    draft_add(&decider->draft, &(struct effect){.type = EFFECT_ONCE, .once = {key, 0}}, NULL);
}

/** The record says, until it must have ended, that a deferred message of the journey may wait. */
static int note_sent(struct decider *decider, const struct message *message, struct error *err) {
  const struct config_provider *account = config_provider(decider->options.config, message->provider);
  uint64_t key = journey_sent_key(message->journey);
  int64_t until = message_counted_at(message) + (account ? account->max_age : 0), before;
  if (message->expires && message->expires < until) until = message->expires;
  if (record_once(decider->draft.record, key, until - 1, &before)) return 0;
  return draft_add(&decider->draft, &(struct effect){.type = EFFECT_ONCE, .once = {key, until}}, err);
}

/** Its deferred message, and what that reserved. What is past the bound is given back when its end is heard
 * of. */
static void keep_sent(struct decider *decider, const struct message *message) {
  struct buf *out = &decider->journey_sent;
  size_t before = out->len;
  journey_sent_encode(&(struct journey_sent){message->id, message->not_before, message->once_until,
                                             message->once_key, message->reserved, message->purpose},
                      out);
  if (out->len > JOURNEY_SENT_MAX) out->len = before;
}

/** As it stood, without those whose time has come. */
static void begin_sent(struct decider *decider, const struct journey *journey) {
  struct reader reader = reader_of(journey->sent);
  struct journey_sent sent;
  buf_clear(&decider->journey_sent);
  while (journey_sent_next(&reader, &sent))
    if (sent.not_before > decider->call.wall) journey_sent_encode(&sent, &decider->journey_sent);
}

/** A mark that is there, whenever it would have passed away. */
static void settle(struct decider *decider, struct hash128 message_id, int64_t not_before) {
  struct effect effect = {.type = EFFECT_ONCE, .once = {journey_settled_key(message_id), not_before}};
  decider->draft.record_max = SIZE_MAX; // or it would be given back twice
  draft_add(&decider->draft, &effect, NULL);
  decider->draft.record_max = decider->options.record_max;
}

static bool is_settled(const struct decider *decider, struct hash128 message_id) {
  return record_once(decider->draft.record, journey_settled_key(message_id), INT64_MIN, NULL);
}

/** What it sent is about to be recalled: its places are free for what this input sends. A message whose time
 * is near may be on its way; what becomes of it is heard. */
static void give_back(struct decider *decider, const struct journey *journey) {
  struct reader reader = reader_of(journey->sent);
  struct journey_sent sent;
  while (journey_sent_next(&reader, &sent)) {
    if (sent.not_before - decider->call.wall < NEAR_MS || is_settled(decider, sent.id)) continue;
    settle(decider, sent.id, sent.not_before);
    gate_refund(&decider->draft,
                &(struct message){.campaign = journey->campaign,
                                  .purpose = sent.purpose,
                                  .not_before = sent.not_before,
                                  .once_key = sent.once_key,
                                  .once_until = sent.once_until,
                                  .reserved = sent.reserved},
                NULL); // taking back always fits
  }
}

bool decide_journey_settles(struct decider *decider, const struct message *message) {
  struct journey journey;
  if (hash128_is_zero(message->journey)) return false;
  if (is_settled(decider, message->id)) return true;
  if (record_journey(decider->draft.record, message->journey, &journey) && journey.sent.len)
    settle(decider, message->id, message->not_before);
  return false;
}

void decide_journey_end_uncounted(struct decider *decider, const struct journey *journey,
                                  enum journey_end how, struct str reason, int64_t at) {
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
  if (journey_end_recalls(how))
    give_back(decider, journey);
  else
    let_go(decider, journey->id);
  decide_journey_index(decider, journey->campaign);
}

void decide_journey_end(struct decider *decider, const struct journey *journey, enum journey_end how,
                        struct str reason, int64_t at) {
  decide_journey_end_uncounted(decider, journey, how, reason, at);
  decide_journey_count(decider, journey->campaign, journey_end_name(how));
}

/** What is new about it goes into the record. */
static int put(struct decider *decider, const struct journey *journey, unsigned changes, struct error *err) {
  struct effect effect = {.type = EFFECT_JOURNEY, .journey = {.journey = *journey, .changes = changes}};
  int rc = draft_add(&decider->draft, &effect, err);
  if (rc == 0) decide_journey_index(decider, journey->campaign);
  return rc;
}

void decide_journey_put(struct decider *decider, const struct journey *journey, unsigned changes) {
  decider->draft.record_max = SIZE_MAX;
  put(decider, journey, changes, NULL);
  decider->draft.record_max = decider->options.record_max;
}

struct journey decide_journey_same(const struct journey *journey) {
  struct journey same = *journey;
  same.steps = 0;
  same.history = STR("");
  return same;
}

struct engine_journey_call *decide_journey_ask(struct decider *decider, enum engine_journey_ask what,
                                               const struct journey *journey) {
  struct engine_journey_call *call = &decider->journey_call;
  call->ask = what;
  call->journey = journey;
  call->timed = call->held = call->skips = false;
  decider->call.journey = call;
  return call;
}

void decide_journey_not_run(struct decider *decider, const struct journey_source *source, struct str why) {
  struct decider_run run = {.rule = source->asked, .call = &decider->call, .not_run = why};
  if (decider->options.observer.ran) decider->options.observer.ran(decider->options.observer.context, &run);
}

/* ---- failing ---- */

int decide_journey_park(struct decider *decider, const struct journey *journey, struct str path, bool fresh,
                        const struct error *err) {
  struct journey parked = decide_journey_same(journey);
  size_t len = strcspn(err->message, "\n");
  parked.state = JOURNEY_PARKED;
  parked.why = (struct str){err->message, len < JOURNEY_WHY_MAX ? len : JOURNEY_WHY_MAX};
  if (!fresh)
    decide_journey_put(decider, &parked, 0);
  else if (put(decider, &parked, JOURNEY_BEGINS, NULL))
    return err->code; // no room to be parked in: the event begins it again when it is retried
  decide_fail(decider, &decider->call, journey->campaign, path, err);
  decide_journey_count(decider, journey->campaign, "parked");
  return 0;
}

/* ---- getting on ---- */

/** Nothing of it stays if it fails: a pcall of the function's may catch that. */
static int judge(struct decider *decider, struct message *message, struct verdict *verdict,
                 struct error *err) {
  draft_save(&decider->draft, &decider->journey_savepoint);
  int rc = decide_judge(decider, decider->journey_asked, decider->journey_index, message,
                        decider->journey_call.skips ? "it is too late for it: see `late` of the wait" : NULL,
                        verdict, err);
  if (rc == 0 && verdict->pass && message->not_before) rc = note_sent(decider, message, err);
  if (rc) {
    draft_restore(&decider->draft, &decider->journey_savepoint);
  } else if (verdict->pass && message->not_before) {
    keep_sent(decider, message);
  }
  return rc;
}

/** The gate's answer, for the function to go by. A shadow goes on as if the message had gone. */
static int send_message(void *context, struct message *message, bool *passed, struct str *reason,
                        struct error *err) {
  struct decider *decider = context;
  struct verdict verdict = {0};
  buf_clear(&decider->journey_message);
  message_encode(message, &decider->journey_message);
  struct reader reader = reader_of(buf_str(&decider->journey_message));
  struct hash128 journey = message->journey; // is stored with what waits alone
  int rc = message_decode(message, &reader, err);
  if (rc) return rc;
  message->journey = journey;
  rc = judge(decider, message, &verdict, err);
  *passed = verdict.pass || str_equal(verdict.reason, STR("shadow"));
  *reason = verdict.reason;
  return rc;
}

/** Its function has come to its end; it is kept while its goal may still be reached. */
static int finish(struct decider *decider, const struct journey *journey, const struct journey_source *source,
                  bool fresh, struct error *err) {
  const struct engine_journey *declared = source->own->journey;
  int64_t now = decider->journey_call.now, till = journey->begun + declared->goal_within;
  if (declared->goal && !journey->reached && declared->goal_within && till > now) {
    struct journey watching = decide_journey_same(journey);
    watching.state = JOURNEY_WATCHING;
    watching.at = now;
    watching.handed = watching.why = watching.sent = STR("");
    let_go(decider, journey->id);
    watching.wait = (struct journey_wait){
        .label = STR("its goal"), .due = till, .set_at = decider->call.wall, .on = STR(""), .got = STR("")};
    return put(decider, &watching, fresh ? JOURNEY_BEGINS : JOURNEY_CONTINUES | source->moves, err);
  }
  decide_journey_end(decider, journey, JOURNEY_FINISHED, STR(""), now);
  return 0;
}

/** The event has come, and the journey goes on with it when its campaign runs. */
static int keep_event(struct decider *decider, struct journey *next, int64_t hold, struct error *err) {
  buf_clear(&decider->key);
  event_encode(decider->call.event, &decider->key);
  next->wait.got = buf_str(&decider->key);
  next->wait.held = hold;
  return put(decider, next, 0, err);
}

/** What one run of the function came to, as effects. `*again`: it continues afresh, at once. */
static int take_in(struct decider *decider, struct journey *journey, const struct journey_source *source,
                   bool fresh, int64_t hold, bool *again, struct error *err) {
  const struct engine_journey_call *call = &decider->journey_call;
  struct journey next = decide_journey_same(journey);
  next.state = JOURNEY_WAITING;
  next.why = source->stays;
  next.sent = buf_str(&decider->journey_sent);
  unsigned changes = fresh ? JOURNEY_BEGINS : source->moves;
  *again = false;
  switch (call->came) {
  case ENGINE_JOURNEY_STILL:
    if (journey->state == JOURNEY_PARKED) return put(decider, &next, 0, err);
    return 0;
  case ENGINE_JOURNEY_GOT:
    return keep_event(decider, &next, hold, err);
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
static int run_on(struct decider *decider, struct journey *journey, const struct journey_source *source,
                  bool fresh, int64_t hold, bool *fits, struct error *err) {
  struct journey_source here = *source;
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
    engine_input(source->engine); // the journey's event is made anew
    int rc = engine_run(source->engine, source->rule, &decider->call, err);
    *fits = rc == 0 || round > 0 || decider->journey_call.steps > 0;
    messages = decider->call.message_count += messages;
    if (rc == 0 && source->asked->rollout.mode != ROLLOUT_SHADOW)
      rc = decide_take_emitted(decider, journey->campaign, err);
    if (rc == 0) rc = take_in(decider, journey, &here, fresh, hold, &again, err);
    if (rc) return rc;
    here.moves = 0; // it has
    if (again && !decide_journey_take(decider, id, journey)) return 0;
    if (again) decider->call.now = decider->journey_call.now;
    fresh = false;
  }
  return 0;
}

/** Get it on with the call's input on this source; of what fails nothing is left. */
static int attempt(struct decider *decider, struct journey *journey, const struct journey_source *source,
                   bool fresh, int64_t hold, bool *fits, struct error *err) {
  struct engine_call *call = &decider->call;
  int64_t now = call->now;
  uint32_t derived = decider->derived.count;
  draft_mark(&decider->draft);
  begin_sent(decider, journey);
  call->journey->journey = journey;
  call->journey->held = hold != 0;
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
static int migrate(struct decider *decider, struct journey *journey, const struct journey_source *newer,
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
static int take_over(struct decider *decider, struct journey *journey, const struct engine_rule *today,
                     int index, struct journey_source *source, int64_t hold, struct error *why,
                     struct error *err) {
  int takes = 1;
  struct journey_source newer = decide_journey_present(decider, (uint32_t)index);
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
  int rc = attempt(decider, journey, &newer, false, hold, &fits, err);
  if (fits) {
    *source = newer;
    return rc;
  }
  *why = *err;
  error_prefix(why, "it stays on its own source, and does not go on with the newer one");
  return 1;
}

/** The same with the newest source. Of a `flight` whose journey stays nothing is left: it may have written
 * before it failed, or before what it made turned out not to fit. */
static int go_over(struct decider *decider, struct journey *journey, struct journey_source *source,
                   int64_t hold, struct error *why, struct error *err) {
  int index;
  const struct engine_rule *today = newer_rule(decider, journey, &index);
  if (!today) return 1;
  bool migrates = today->journey->flight == ENGINE_FLIGHT_MIGRATE;
  struct draft_savepoint before = {0};
  if (migrates) draft_save(&decider->draft, &before);
  int rc = take_over(decider, journey, today, index, source, hold, why, err);
  if (migrates && rc == 1) draft_restore(&decider->draft, &before);
  draft_savepoint_deinit(&before);
  return rc;
}

int decide_journey_go_on(struct decider *decider, const struct journey *journey,
                         const struct journey_source *own, bool fresh, int64_t hold, struct error *err) {
  struct engine_call *call = &decider->call;
  struct journey under_way = *journey;
  struct journey_source source = *own;
  struct error why = {0};
  bool fits;
  int64_t before = clock_mono_us();
  if (hold && own->moves && own->own->journey->flight == ENGINE_FLIGHT_MIGRATE) {
    under_way = decide_journey_same(journey); // it begins anew there, which is not before that runs
    return keep_event(decider, &under_way, hold, err);
  }
  // While its campaign does not run it looks into newer source only if its own cannot be had.
  int rc = fresh || (hold && !own->moves) ? 1 : go_over(decider, &under_way, &source, hold, &why, err);
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

int decide_journey_resume(struct decider *decider, const struct journey *journey,
                          const struct journey_source *source, bool fresh, int64_t hold, struct error *err) {
  if (!decide_journey_go_on(decider, journey, source, fresh, hold, err)) return 0;
  struct journey before;
  if (!fresh && !decide_journey_take(decider, journey->id, &before))
    return 0; // its bytes have been used since
  decider->call.journey->journey = fresh ? journey : &before;
  return decide_journey_park(decider, fresh ? journey : &before, source->own->path, fresh, err);
}
