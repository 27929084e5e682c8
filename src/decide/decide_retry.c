/* Dead letters, once more: the rule that failed, on the same input; the message that was given up. */
#include "decide/decide_journey.h"

/** Of a user whom a fan-out reached. */
static int retry_reached(struct decider *decider, struct entity entity, struct str input, int64_t wall,
                         struct error *err) {
  struct event event;
  int rule;
  int rc = decide_reached(decider, entity, input, wall, &rule, &event, err);
  if (rc) return rc;
  engine_input(decider->options.engine);
  if (decider->rules[rule].journey) return decide_journey_start_again(decider, (uint32_t)rule, err);
  return decide_run(decider, (uint32_t)rule, &decider->call, err);
}

/** @param journey  where the one is that failed; "": a rule did, or the start of a journey */
static int retry_rule(struct decider *decider, struct entity entity, const struct event *event,
                      const struct timer *timer, struct str needs, struct str journey,
                      const struct failure *failure, int64_t wall, struct decision *out, struct error *err) {
  decide_prepare(decider, entity, event, timer, wall);
  decider->call.needs = needs;
  if (journey.len) return decide_journey_retry(decider, journey, err);
  if (decide_is_goal(failure->campaign))
    return decide_goal_again(decider, failure->campaign, &decider->call, err);
  if (str_equal(failure->campaign, HOST_CAMPAIGN)) {
    if (event && str_equal(event->type, STR("identify"))) return decide_profile_again(decider, event, err);
    if (event && str_equal(event->type, STR("consent.granted")))
      return decide_consent(decider, event, true, err);
    if (event && str_equal(event->type, STR("consent.withdrawn")))
      return decide_consent(decider, event, false, err);
    return error_set(err, ERROR_INVALID,
                     "a window had no room for this event; it cannot be counted later, only dropped");
  }
  if (decide_is_segment(failure->campaign)) return decide_segment_again(decider, failure->campaign, out, err);
  int rule = timer ? engine_timer_rule(decider->options.engine, timer->campaign, timer->name)
                   : engine_rule_of(decider->options.engine, failure->campaign);
  if (rule < 0)
    return error_set(err, ERROR_NOT_FOUND, "campaign \"%.*s\" has no rule for this input any more",
                     STR_ARG(failure->campaign));
  struct campaign_answer answer;
  if (!decide_runs(decider, (uint32_t)rule, &decider->call, &answer)) {
    struct str why = campaign_say(decider->campaigns, (uint32_t)rule, &decider->call, &answer);
    return error_set(err, ERROR_UNAVAILABLE,
                     "campaign \"%.*s\" does not run for it now: %.*s; retry it when it does, or drop it",
                     STR_ARG(failure->campaign), STR_ARG(why));
  }
  if (event && !needs.len && decider->rules[rule].need_count)
    decide_by_fallbacks(decider, &decider->rules[rule], STR(""), LOOKUP_NOT_ASKED,
                        STR("the rule had no such need when the event came"), &decider->call);
  engine_input(decider->options.engine);
  if (event && decider->rules[rule].for_each)
    return decide_fan_out_begins(decider, (uint32_t)rule, &decider->call, out, err);
  if (decider->rules[rule].journey) return decide_journey_start_again(decider, (uint32_t)rule, err);
  return decide_run(decider, (uint32_t)rule, &decider->call, err);
}

int decide_retry(struct decider *decider, struct record *record, struct entity entity,
                 const struct failure *failure, int64_t wall, struct decision *out, struct error *err) {
  decide_begin(decider, record, out);
  struct draft_savepoint before = {0};
  draft_save(&decider->draft, &before);
  struct reader reader = reader_of(failure->input);
  struct event event;
  struct effect timer;
  struct str campaign, needs = STR("");
  uint8_t type = reader_u8(&reader);
  struct str rest = {(const char *)reader.at, reader_left(&reader)};
  int rc = type == LOG_EVENT     ? event_decode(&event, &reader, err)
           : type == LOG_LOOKUP  ? lookup_decode(rest, &event, &campaign, &needs, err)
           : type == LOG_FAN_OUT ? 0
                                 : effect_decode(&timer, &reader, err);
  bool of_timer = type != LOG_EVENT && type != LOG_LOOKUP;
  struct str journey = type == LOG_LOOKUP || type == LOG_FAN_OUT || rc ? STR("") : reader_str(&reader);
  if (journey.len < sizeof(struct hash128)) journey = STR("");
  if (rc == 0 && type == LOG_FAN_OUT)
    rc = retry_reached(decider, entity, rest, wall, err);
  else if (rc == 0)
    rc = retry_rule(decider, entity, of_timer ? NULL : &event, of_timer ? &timer.timer : NULL, needs, journey,
                    failure, wall, out, err);
  if (rc == 0)
    rc = draft_add(&decider->draft, &(struct effect){.type = EFFECT_DEAD_CLEAR, .dead_id = failure->id}, err);
  if (rc) {
    draft_restore(&decider->draft, &before);
  } else {
    decide_derived(decider, wall, out);
  }
  draft_savepoint_deinit(&before);
  out->timers_changed = true;
  decide_finish(decider, out);
  return rc;
}

int decide_resend(struct decider *decider, struct record *record, const struct message *message,
                  const struct outcome *ended, struct decision *out, struct error *err) {
  decide_begin(decider, record, out);
  struct suppression suppression;
  if (record_suppressed(record, message->channel, &suppression))
    return error_set(err, ERROR_INVALID,
                     "the user must get nothing on this channel (%.*s); drop the letter instead",
                     STR_ARG(suppression.reason));
  if (!consent_allows_named(record, decider->options.config, message->purpose, message->channel))
    return error_set(err, ERROR_INVALID, "the user does not consent to %.*s; drop the letter instead",
                     STR_ARG(message->purpose));
  struct effect effect = {.type = EFFECT_MESSAGE,
                          .message = {.message = *message, .verdict = {.pass = true}}};
  effect.message.message.journey =
      (struct hash128){0}; // the operator's from now on, whatever becomes of that
  // What was given back when the message ended counts as it did, from when it might first have gone.
  struct gate_question question = {.record = record,
                                   .message = &effect.message.message,
                                   .config = decider->options.config,
                                   .purpose = config_purpose(decider->options.config, message->purpose),
                                   .now = message->at,
                                   .wall = message_counted_at(message)};
  draft_mark(&decider->draft);
  int rc = 0;
  if (decide_gives_back(message, ended)) {
    rc = gate_reserve_again(&decider->draft, &question, err);
  } else { // its places are taken, and it knows of none that it could give back
    effect.message.message.once_key = 0;
    effect.message.message.once_until = 0;
    effect.message.message.reserved = 0;
  }
  buf_clear(&decider->checks);
  value_put_map(&decider->checks, 1);
  value_put_string(&decider->checks, STR("operator"));
  value_put_string(&decider->checks, STR("sent again from the dead letters"));
  effect.message.verdict.checks = buf_str(&decider->checks);
  if (rc == 0) rc = draft_add(&decider->draft, &effect, err);
  if (rc == 0)
    rc = draft_add(&decider->draft, &(struct effect){.type = EFFECT_DEAD_CLEAR, .dead_id = message->id}, err);
  if (rc) draft_rollback(&decider->draft);
  if (rc == 0 && decider->options.observer.message)
    decider->options.observer.message(decider->options.observer.context, &effect.message.message,
                                      &effect.message.verdict);
  decide_finish(decider, out);
  return rc;
}
