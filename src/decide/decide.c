#include "decide/decide_journey.h"

#include "base/clock.h"
#include "base/memory.h"
#include "state/stored.h"
#include <inttypes.h>
#include <stdio.h>

struct decider *decider_new(const struct decider_options *options) {
  struct decider *decider = memory_zalloc(sizeof *decider);
  decider->options = *options;
  draft_init(&decider->draft, options->record_max);
  engine_call_init(&decider->call);
  decider->call.draft = &decider->draft;
  buf_init(&decider->key);
  buf_init(&decider->checks);
  buf_init(&decider->cause);
  buf_init(&decider->input);
  buf_init(&decider->stash);
  buf_init(&decider->waiting);
  buf_init(&decider->needs);
  buf_init(&decider->lookup);
  decide_derived_init(decider);
  decide_segments_init(decider);
  decider->rule_count = engine_rules(options->engine, &decider->rules);
  decide_plans_build(decider);
  engine_journey_call_init(&decider->journey_call);
  buf_init(&decider->journey_bytes);
  buf_init(&decider->journey_message);
  buf_init(&decider->journey_sent);
  buf_init(&decider->journey_event);
  buf_init(&decider->journey_name);
  decider->campaigns = campaigns_new(options->engine, options->config, options->paused, !options->uncounted);
  for (size_t i = 0; i < decider->rule_count; i++) decider->waits |= decider->rules[i].need_count > 0;
  return decider;
}

void decider_free(struct decider *decider) {
  if (!decider) return;
  decide_plans_free(decider);
  memory_free(decider->senders);
  decide_flights_free(decider);
  engine_journey_call_deinit(&decider->journey_call);
  buf_deinit(&decider->journey_bytes);
  buf_deinit(&decider->journey_message);
  draft_savepoint_deinit(&decider->journey_savepoint);
  buf_deinit(&decider->journey_sent);
  buf_deinit(&decider->journey_event);
  buf_deinit(&decider->journey_name);
  campaigns_free(decider->campaigns);
  draft_deinit(&decider->draft);
  engine_call_deinit(&decider->call);
  buf_deinit(&decider->key);
  buf_deinit(&decider->checks);
  buf_deinit(&decider->cause);
  buf_deinit(&decider->input);
  buf_deinit(&decider->stash);
  buf_deinit(&decider->waiting);
  buf_deinit(&decider->needs);
  buf_deinit(&decider->lookup);
  decide_derived_deinit(decider);
  decide_segments_deinit(decider);
  memory_free(decider);
}

const struct engine *decider_engine(const struct decider *decider) {
  return decider->options.engine;
}

/** No fan-out and no timer is what the next call's ids derive from. */
static void forget_origin(struct decider *decider) {
  decider->reached = decider->call.fan_out = STR("");
  decider->call.origin = (struct hash128){0};
}

void decide_begin(struct decider *decider, struct record *record, struct decision *out) {
  *out = (struct decision){0};
  decide_flights_trim(decider);
  forget_origin(decider);
  decider->call.after_timer = false;
  draft_begin(&decider->draft, record);
  decide_derived_begin(decider);
  decide_segments_begin(decider);
}

void decide_finish(struct decider *decider, struct decision *out) {
  const uint64_t timers = UINT64_C(1) << EFFECT_TIMER_SET | UINT64_C(1) << EFFECT_TIMER_CLEAR |
                          UINT64_C(1) << EFFECT_JOURNEY | UINT64_C(1) << EFFECT_JOURNEY_END;
  if (decider->draft.types & timers) out->timers_changed = true;
  out->effects = buf_str(&decider->draft.effects);
  if (out->effects.len) out->record_changed = true;
  out->indexed = decider->draft.indexed;
}

/** The journey that the call is about; null: none. */
static const struct journey *journey_of(const struct engine_call *call) {
  return call->journey ? call->journey->journey : NULL;
}

/** The failed input, so that `dead retry` can run the rule on it again: its log type and its bytes; of a
 * journey, behind them where it is (decide_journey_retry()). */
static void encode_input(struct decider *decider, const struct engine_call *call, struct str campaign) {
  const struct event *event = call->event;
  const struct timer *timer = call->timer;
  buf_clear(&decider->input);
  if (decider->reached.len && !journey_of(call)) { // a journey has begun: what reached it is its event
    buf_put_u8(&decider->input, LOG_FAN_OUT);
    buf_append(&decider->input, decider->reached.data, decider->reached.len);
  } else if (event && call->needs.len) {
    buf_put_u8(&decider->input, LOG_LOOKUP);
    lookup_encode(event, campaign, call->needs, &decider->input);
  } else if (event) {
    buf_put_u8(&decider->input, LOG_EVENT);
    event_encode(event, &decider->input);
  } else {
    buf_put_u8(&decider->input, LOG_TIMER);
    effect_encode(&(struct effect){.type = EFFECT_TIMER_SET, .timer = *timer}, &decider->input);
  }
  const struct journey *journey = journey_of(call);
  if (!journey) return;
  buf_clear(&decider->key);
  stored_put_hash(&decider->key, journey->id);
  buf_put_varint(&decider->key, journey->run);
  buf_put_varint(&decider->key, journey->steps);
  buf_put_str(&decider->input, buf_str(&decider->key));
}

static struct hash128 failure_id(struct decider *decider, const struct engine_call *call,
                                 struct str campaign) {
  const struct journey *journey = journey_of(call);
  struct buf *key = &decider->key;
  buf_clear(key);
  if (journey) stored_put_hash(key, journey->id);
  buf_put_u8(key, (uint8_t)call->entity.kind);
  buf_put_str(key, call->entity.id);
  engine_call_put_cause(call, key);
  buf_put_str(key, campaign);
  return hash128(buf_str(key), 0);
}

void decide_fail(struct decider *decider, const struct engine_call *call, struct str campaign,
                 struct str rule, const struct error *reason) {
  encode_input(decider, call, campaign);
  struct effect effect = {.type = EFFECT_FAILURE,
                          .failure = {.id = failure_id(decider, call, campaign),
                                      .campaign = campaign,
                                      .rule = rule,
                                      .error = str_from(reason->message),
                                      .input = buf_str(&decider->input),
                                      .generation = decider->options.generation,
                                      .at = call->wall}};
  draft_add(&decider->draft, &effect, NULL);
  if (decider->options.observer.failure)
    decider->options.observer.failure(decider->options.observer.context, &call->entity, &effect.failure);
}

/** @return the rule that has sent for this input what this one competes for; null if none has. */
static const struct engine_rule *taken_by(const struct decider *decider, const struct engine_rule *asking) {
  for (size_t i = 0; asking->competes.len && i < decider->sender_count; i++)
    if (!str_equal(decider->senders[i]->campaign, asking->campaign) &&
        str_equal(decider->senders[i]->competes, asking->competes))
      return decider->senders[i];
  return NULL;
}

void decide_note_sender(struct decider *decider, const struct engine_rule *rule) {
  if (!rule->competes.len) return;
  if (decider->sender_count == decider->sender_cap) {
    decider->sender_cap = decider->sender_cap ? decider->sender_cap * 2 : 8;
    decider->senders = memory_realloc(decider->senders, decider->sender_cap * sizeof *decider->senders);
  }
  decider->senders[decider->sender_count++] = rule;
}

static void refuse_taken(struct decider *decider, const struct engine_rule *taker, struct verdict *verdict) {
  char text[200];
  snprintf(text, sizeof text, "%.*s has sent for this event, and both compete for \"%.*s\"",
           STR_ARG(taker->campaign), STR_ARG(taker->competes));
  gate_refuse_as(verdict, &decider->checks, "priority", text);
}

int decide_judge(struct decider *decider, const struct engine_rule *rule, int index, struct message *message,
                 const char *late, struct verdict *verdict, struct error *err) {
  const struct engine_call *call = &decider->call;
  const struct config *config = decider->options.config;
  bool shadow = rule->rollout.mode == ROLLOUT_SHADOW;
  const struct engine_rule *taker = taken_by(decider, rule);
  struct gate_question question = {.record = decider->draft.record,
                                   .message = message,
                                   .config = config,
                                   .purpose = config_purpose(config, message->purpose),
                                   .now = call->now,
                                   .wall = call->wall,
                                   .shadow = shadow};
  char held_out[DECIDE_HELD_OUT_MAX];
  question.held_out = decide_held_out(decider, rule, index, question.purpose, held_out);
  gate_judge(&question, verdict, &decider->checks);
  if (verdict->pass && late) {
    gate_refuse_as(verdict, &decider->checks, "late", late);
  } else if (verdict->pass && taker) {
    refuse_taken(decider, taker, verdict);
  } else if (verdict->pass) {
    int rc = gate_reserve(&decider->draft, &question, err);
    if (rc) return rc;
    if (shadow)
      gate_refuse_as(verdict, &decider->checks, "shadow", "it would be sent, were the campaign live");
  }
  struct effect effect = {.type = EFFECT_MESSAGE, .message = {.message = *message, .verdict = *verdict}};
  return draft_add(&decider->draft, &effect, err);
}

/** Put what the rule asked for before the gate. @return 0, or ERROR_LIMIT when the record has no room for a
 * reservation. */
static int judge_messages(struct decider *decider, uint32_t rule, const struct engine_call *call,
                          struct error *err) {
  struct reader reader = reader_of(buf_str(&call->messages));
  for (uint32_t i = 0; i < call->message_count; i++) {
    struct message message;
    struct verdict verdict;
    int rc = message_decode(&message, &reader, err);
    if (rc == 0) rc = decide_judge(decider, &decider->rules[rule], (int)rule, &message, NULL, &verdict, err);
    if (rc) return rc;
  }
  return 0;
}

void decide_announce_messages(struct decider *decider, struct campaigns *campaigns, uint32_t rule,
                              struct decider_run *run) {
  struct reader reader = reader_of(buf_str(&decider->draft.effects));
  reader.at += decider->draft.mark.effects;
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type != EFFECT_MESSAGE) continue;
    run->passed += effect.message.verdict.pass;
    run->shadowed += str_equal(effect.message.verdict.reason, STR("shadow"));
    campaign_decided(campaigns, rule, &effect.message.message, &effect.message.verdict);
    if (decider->options.observer.message)
      decider->options.observer.message(decider->options.observer.context, &effect.message.message,
                                        &effect.message.verdict);
  }
}

int decide_run(struct decider *decider, uint32_t rule, struct engine_call *call, struct error *err) {
  draft_mark(&decider->draft);
  call->emit_max = ENGINE_EMIT_MAX - decider->derived.count;
  bool timed = campaign_is_timed(decider->campaigns, rule);
  int64_t before = timed ? clock_mono_us() : 0;
  int rc = engine_run(decider->options.engine, rule, call, err);
  int64_t took = timed ? clock_mono_us() - before : -1;
  if (rc == 0 && call->message_count) rc = judge_messages(decider, rule, call, err);
  bool shadow = decider->rules[rule].rollout.mode == ROLLOUT_SHADOW;
  if (rc == 0 && shadow) /* other campaigns read attributes, and would hear what it emits */
    rc = draft_without(&decider->draft, EFFECT_ATTRIBUTE, &decider->input, err);
  if (rc == 0 && !shadow) rc = decide_take_emitted(decider, decider->rules[rule].campaign, err);
  struct decider_run run = {.rule = &decider->rules[rule],
                            .call = call,
                            .messages = call->message_count,
                            .failed = rc ? err : NULL};
  if (rc) {
    draft_rollback(&decider->draft);
  } else if (call->message_count) {
    decide_announce_messages(decider, decider->campaigns, rule, &run);
  }
  if (run.passed) decide_note_sender(decider, &decider->rules[rule]);
  campaign_ran(decider->campaigns, rule, took, rc != 0);
  if (decider->options.observer.ran) decider->options.observer.ran(decider->options.observer.context, &run);
  return rc;
}

/** Who watches is told what kept the rule from running. */
static void announce_not_run(struct decider *decider, uint32_t rule, struct engine_call *call,
                             struct str why) {
  call->acted = false;
  call->message_count = 0;
  buf_clear(&call->facts);
  if (!decider->options.observer.ran) return;
  struct decider_run run = {.rule = &decider->rules[rule], .call = call, .not_run = why};
  decider->options.observer.ran(decider->options.observer.context, &run);
}

bool decide_runs(struct decider *decider, uint32_t rule, struct engine_call *call,
                 struct campaign_answer *answer) {
  *answer = campaign_ask(decider->campaigns, rule, decider->draft.record, call);
  if (answer->reason == CAMPAIGN_RUNS) return true;
  announce_not_run(decider, rule, call, campaign_say(decider->campaigns, rule, call, answer));
  return false;
}

void decide_run_or_fail(struct decider *decider, uint32_t rule, struct engine_call *call) {
  struct error err;
  error_none(&err);
  if (decide_run(decider, rule, call, &err))
    decide_fail(decider, call, decider->rules[rule].campaign, decider->rules[rule].path, &err);
}

void decide_prepare(struct decider *decider, struct entity entity, const struct event *event,
                    const struct timer *timer, int64_t wall) {
  struct engine_call *call = &decider->call;
  call->event = event;
  call->timer = timer;
  call->needs = STR("");
  call->journey = NULL;
  forget_origin(decider);
  decider->sender_count = 0;
  call->entity = entity;
  call->wall = wall;
  if (event) {
    call->cause = event->id;
    call->now = event_now(event);
  } else {
    buf_clear(&decider->cause);
    buf_printf(&decider->cause, "timer:%.*s/%.*s@%" PRId64, STR_ARG(timer->campaign), STR_ARG(timer->name),
               timer->due);
    call->cause = buf_str(&decider->cause);
    call->origin.low = timer->set_by;
    call->now = timer->due;
    call->after_timer = !timer_segment(timer) && !timer_journey(timer) && !timer_needs(timer);
  }
}

/** An operator's command: neither event nor timer. */
static void prepare_command(struct decider *decider, struct entity entity, int64_t wall) {
  struct engine_call *call = &decider->call;
  buf_clear(&decider->cause);
  buf_printf(&decider->cause, "command@%" PRId64, wall);
  call->event = NULL;
  call->timer = NULL;
  call->journey = NULL;
  call->needs = STR("");
  call->cause = buf_str(&decider->cause);
  call->entity = entity;
  call->now = call->wall = wall;
  decider->sender_count = 0;
}

void decide_take_event(struct decider *decider, const struct event *event, int64_t wall,
                       struct decision *out) {
  const struct plan *plan = decide_plan(decider, event->type);
  decide_prepare(decider, event->entity, event, NULL, wall);
  decide_host_steps(decider, plan, &decider->call, out);
  decide_goals(decider, plan, &decider->call);
  decide_journey_event(decider, &decider->call, out);
  if (plan->rule_count) {
    engine_input(decider->options.engine);
    struct campaign_answer answer;
    const bool *always = campaigns_always(decider->campaigns);
    for (size_t i = 0; i < plan->rule_count; i++) {
      const struct engine_rule *rule = &decider->rules[plan->rules[i]];
      if (rule->for_each) {
        decide_fan_out(decider, plan->rules[i], &decider->call, out);
        continue;
      }
      if (!always[plan->rules[i]] && !decide_runs(decider, plan->rules[i], &decider->call, &answer)) continue;
      if (rule->journey)
        decide_journey_start(decider, plan->rules[i], &decider->call);
      else if (rule->need_count)
        decide_wait_or_run(decider, plan->rules[i], &decider->call, out);
      else
        decide_run_or_fail(decider, plan->rules[i], &decider->call);
    }
  }
  decide_segments(decider, plan, out);
}

void decide_event(struct decider *decider, struct record *record, const struct event *event, int64_t wall,
                  struct decision *out) {
  decide_begin(decider, record, out);
  decide_take_event(decider, event, wall, out);
  decide_derived(decider, wall, out);
  decide_finish(decider, out);
}

/** A timer's strings live in the record, which moves: copy them. */
static struct timer stash_timer(struct decider *decider, const struct timer *timer) {
  struct timer copy = *timer;
  struct str *parts[] = {&copy.campaign, &copy.name, &copy.cancel_on, &copy.data};
  buf_clear(&decider->stash);
  buf_reserve(&decider->stash,
              timer->campaign.len + timer->name.len + timer->cancel_on.len + timer->data.len);
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    const char *at = (const char *)decider->stash.data + decider->stash.len;
    buf_append(&decider->stash, parts[i]->data, parts[i]->len);
    parts[i]->data = at;
  }
  return copy;
}

/** The ledger knows of a timer that did not run. @param moved_to  when it is due instead; 0: never */
static void note_not_run(struct decider *decider, int rule, const struct timer *timer, struct str reason,
                         int64_t moved_to) {
  struct effect effect = {.type = EFFECT_NOT_RUN,
                          .not_run = {.campaign = timer->campaign,
                                      .rule = rule < 0 ? STR("") : decider->rules[rule].path,
                                      .timer = timer->name,
                                      .reason = reason,
                                      .due = timer->due,
                                      .moved_to = moved_to}};
  draft_add(&decider->draft, &effect, NULL);
}

void decide_say_late(int64_t late, int64_t late_after, char *out, size_t size) {
  enum { SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE };
  if (late >= 10 * SECOND) late -= late % (late < HOUR ? SECOND : MINUTE);
  snprintf(out, size, "%s late, and its late_after is %s", gate_duration(late).text,
           gate_duration(late_after).text);
}

static void drop_late_timer(struct decider *decider, int rule, const struct timer *timer, int64_t wall) {
  char reason[120];
  decide_say_late(wall - timer->due, timer->late_after, reason, sizeof reason);
  note_not_run(decider, rule, timer, str_from(reason), 0);
  if (rule >= 0) announce_not_run(decider, (uint32_t)rule, &decider->call, str_from(reason));
}

/** One more may be set for this moment, and will be another (timer.set_by). */
static void note_fired(struct decider *decider, const struct timer *timer) {
  struct effect effect = {.type = EFFECT_ONCE, .once = {TIMER_FIRED_KEY, timer->due}};
  if (record_once(decider->draft.record, TIMER_FIRED_KEY, timer->due - 1, NULL)) return;
  decider->draft.record_max = SIZE_MAX; /* or its message would have another's id */
  draft_add(&decider->draft, &effect, NULL);
  decider->draft.record_max = decider->options.record_max;
}

/** A timer whose campaign does not run now is dropped for good, or set anew for when it does. */
static void put_off_timer(struct decider *decider, int rule, const struct timer *timer,
                          const struct campaign_answer *answer) {
  bool dropped = answer->again == INT64_MAX;
  note_not_run(decider, rule, timer, campaign_say(decider->campaigns, (uint32_t)rule, &decider->call, answer),
               dropped ? 0 : answer->again);
  if (dropped) return;
  struct effect effect = {.type = EFFECT_TIMER_SET, .timer = *timer};
  effect.timer.due = answer->again;
  decider->draft.record_max = SIZE_MAX; /* it was there before */
  draft_add(&decider->draft, &effect, NULL);
  decider->draft.record_max = decider->options.record_max;
}

void decide_timer(struct decider *decider, struct record *record, struct entity entity,
                  const struct timer *due, int64_t wall, struct decision *out) {
  struct timer timer = stash_timer(decider, due);
  decide_begin(decider, record, out);
  if (timer_journey(&timer)) {
    decide_prepare(decider, entity, NULL, &timer, wall);
    decide_journey_timer(decider, &timer);
    out->timers_changed = true;
    decide_derived(decider, wall, out);
    decide_finish(decider, out);
    return;
  }
  struct effect clear = {.type = EFFECT_TIMER_CLEAR, .timer = timer};
  draft_add(&decider->draft, &clear, NULL); /* taking away always fits */
  decide_prepare(decider, entity, NULL, &timer, wall);
  if (timer_needs(&timer)) {
    decide_stop_waiting(decider, &timer, wall);
    out->timers_changed = true;
    decide_derived(decider, wall, out);
    decide_finish(decider, out);
    return;
  }
  if (timer_segment(&timer)) {
    decide_segment_timer(decider, &timer, out);
    decide_derived(decider, wall, out);
    decide_finish(decider, out);
    return;
  }
  int rule = engine_timer_rule(decider->options.engine, timer.campaign, timer.name);
  struct campaign_answer answer;
  if (timer.late == TIMER_LATE_SKIP && wall - timer.due > timer.late_after) {
    drop_late_timer(decider, rule, &timer, wall);
  } else if (rule >= 0 && !decide_runs(decider, (uint32_t)rule, &decider->call, &answer)) {
    put_off_timer(decider, rule, &timer, &answer);
  } else if (rule >= 0) {
    note_fired(decider, &timer);
    engine_input(decider->options.engine);
    decide_run_or_fail(decider, (uint32_t)rule, &decider->call);
  } else {
    struct error err;
    note_fired(decider, &timer);
    error_set(&err, ERROR_NOT_FOUND, "no rule handles the timer \"%.*s\" of campaign \"%.*s\" any more",
              STR_ARG(timer.name), STR_ARG(timer.campaign));
    decide_fail(decider, &decider->call, timer.campaign, STR(""), &err);
  }
  out->timers_changed = true;
  decide_derived(decider, wall, out);
  decide_finish(decider, out);
}

/** Whether an attempt up to this outcome may have reached the receiver. */
static bool may_have_arrived(const struct outcome *outcome) {
  // One that the provider refused did not; one that failed before may have arrived all the same.
  return outcome_sent(outcome) > (outcome->kind == OUTCOME_REJECTED ? 1 : 0);
}

bool decide_gives_back(const struct message *message, const struct outcome *outcome) {
  if (!message->once_key && !message->reserved) return false;
  bool ends = outcome->kind == OUTCOME_REJECTED || outcome->kind == OUTCOME_EXPIRED ||
              outcome->kind == OUTCOME_CANCELLED || outcome->kind == OUTCOME_EXHAUSTED;
  return ends && !may_have_arrived(outcome);
}

bool decide_outcome_needs_record(const struct message *message, const struct outcome *outcome) {
  return decide_gives_back(message, outcome) || !hash128_is_zero(message->journey);
}

void decide_outcome(struct decider *decider, struct record *record, const struct message *message,
                    const struct outcome *outcome, struct decision *out) {
  *out = (struct decision){0};
  struct effect effect = {.type = EFFECT_OUTCOME, .outcome = *outcome};
  if (!record) {
    buf_clear(&decider->draft.effects);
    effect_encode(&effect, &decider->draft.effects);
    out->effects = buf_str(&decider->draft.effects);
    return;
  }
  draft_begin(&decider->draft, record);
  draft_add(&decider->draft, &effect, NULL);
  bool gives = decide_gives_back(message, outcome);
  bool given = (gives || outcome_sent(outcome)) && decide_journey_settles(decider, message);
  if (gives && !given) gate_refund(&decider->draft, message, NULL); /* taking back always fits */
  decide_finish(decider, out);
}

int decide_effect(struct decider *decider, struct record *record, struct entity entity,
                  const struct effect *effect, int64_t wall, struct decision *out, struct error *err) {
  if (effect->type == EFFECT_TIMER_CLEAR && timer_segment(&effect->timer))
    return error_set(err, ERROR_INVALID, "the timer \"%.*s\" is the host's own, which a segment needs",
                     STR_ARG(effect->timer.name));
  decide_begin(decider, record, out);
  prepare_command(decider, entity, wall);
  int rc = draft_add(&decider->draft, effect, err);
  if (rc == 0 && effect->type == EFFECT_SUPPRESS && decider->options.observer.suppressed)
    decider->options.observer.suppressed(decider->options.observer.context, entity, effect->suppress.channel,
                                         effect->suppress.reason);
  out->timers_changed = effect->type == EFFECT_TIMER_CLEAR;
  if (rc == 0 && effect->type == EFFECT_CONSENT) decide_announce_consent(decider, entity, &effect->consent);
  if (rc == 0) decide_derived(decider, wall, out);
  decide_finish(decider, out);
  return rc;
}
