/* Events about many: interests noted under their key, fan-outs that begin, and each user whom one reaches. */
#include "decide/decide_journey.h"
#include "decide/window_take.h"

#include <stdio.h>

/* ---- interests ---- */

static int note_interest(struct decider *decider, const struct engine_interest *interest,
                         const struct event *event, int64_t wall, struct error *err) {
  struct effect effect = {.type = EFFECT_INDEX};
  if (!interest_take(interest, event, wall, &decider->key, &effect.index)) return 0;
  return draft_add(&decider->draft, &effect, err);
}

int decide_interests(struct decider *decider, const struct plan *plan, const struct event *event,
                     int64_t wall, struct error *err) {
  int rc = 0;
  for (size_t i = 0; i < plan->interest_count; i++) {
    int one = note_interest(decider, plan->interests[i], event, wall, err);
    if (one) rc = one;
  }
  return rc;
}

/* ---- a fan-out begins ---- */

static int add_begin(struct decider *decider, uint32_t index, const struct engine_call *call,
                     struct error *err) {
  const struct engine_rule *rule = &decider->rules[index];
  const struct config *config = decider->options.config;
  buf_clear(&decider->waiting);
  event_encode(call->event, &decider->waiting);
  if (decider->waiting.len > FAN_OUT_EVENT_MAX)
    return error_set(err, ERROR_LIMIT,
                     "the event has %zu bytes, and a fan-out repeats it for each user: it may have %d KB",
                     decider->waiting.len, FAN_OUT_EVENT_MAX >> 10);
  int64_t expires_in = rule->expires_in ? rule->expires_in : config->fan_out.expires_in;
  struct effect effect = {
      .type = EFFECT_FAN_OUT,
      .fan_out = {.step = FAN_OUT_BEGINS,
                  .id = fan_out_id(call->event->entity, call->event->id, rule->campaign),
                  .spec = {.campaign = rule->campaign,
                           .index = call->audience_index,
                           .key = call->audience_key,
                           .event = buf_str(&decider->waiting),
                           .pace = rule->pace.count > 0 ? rule->pace : config->fan_out.pace,
                           .began = call->wall,
                           .expires = call->wall + expires_in}}};
  return draft_add(&decider->draft, &effect, err);
}

static void tell(struct decider *decider, const struct decider_run *run) {
  if (decider->options.observer.ran) decider->options.observer.ran(decider->options.observer.context, run);
}

int decide_fan_out_begins(struct decider *decider, uint32_t index, struct engine_call *call,
                          struct decision *out, struct error *err) {
  const struct engine_rule *rule = &decider->rules[index];
  draft_mark(&decider->draft);
  call->gathers = true;
  int rc = engine_run(decider->options.engine, index, call, err);
  call->gathers = false;
  if (rc == 0 && call->acted) rc = add_begin(decider, index, call, err);
  struct decider_run run = {.rule = rule, .call = call, .failed = rc ? err : NULL};
  char text[INDEX_NAME_MAX + INDEX_KEY_MAX + 8];
  if (rc) {
    draft_rollback(&decider->draft);
  } else if (call->acted) {
    struct str over = index_shown(call->audience_index);
    int len = snprintf(text, sizeof text, "%.*s%s%.*s", STR_ARG(over), call->audience_key.len ? ", " : "",
                       STR_ARG(call->audience_key));
    run.fan_out = (struct str){text, (size_t)len < sizeof text ? (size_t)len : sizeof text - 1};
    out->fans_out = true;
  } else {
    run.not_run = STR("its `for_each` named nobody");
  }
  campaign_ran(decider->campaigns, index, 0, rc != 0);
  tell(decider, &run);
  return rc;
}

void decide_fan_out(struct decider *decider, uint32_t index, struct engine_call *call, struct decision *out) {
  struct campaign_answer answer;
  struct error err = {0};
  call->gathers = true; // its share and hours are asked of each user
  bool runs = decide_runs(decider, index, call, &answer);
  call->gathers = false;
  if (runs && decide_fan_out_begins(decider, index, call, out, &err))
    decide_fail(decider, call, decider->rules[index].campaign, decider->rules[index].path, &err);
}

/* ---- … and reaches its users ---- */

/** What the facts of his messages say of it. */
static struct str describe(struct decider *decider, const struct event *event, struct hash128 id) {
  enum { ABOUT_MAX = 64 };
  bool short_enough = event->entity.id.len <= ABOUT_MAX && event->type.len <= ABOUT_MAX;
  buf_clear(&decider->needs);
  value_put_map(&decider->needs, short_enough ? 3 : 1);
  value_put_member_hash(&decider->needs, "id", id);
  if (short_enough) {
    value_put_member_text(&decider->needs, "event", event->type);
    value_put_member_text(&decider->needs, entity_kind_name(event->entity), event->entity.id);
  }
  return buf_str(&decider->needs);
}

int decide_reached(struct decider *decider, struct entity user, struct str input, int64_t wall, int *rule,
                   struct event *event, struct error *err) {
  struct str campaign;
  struct hash128 id;
  int rc = fan_out_input_decode(input, event, &campaign, &id, err);
  if (rc) return rc;
  *rule = engine_rule_of(decider->options.engine, campaign);
  if (*rule < 0) return error_set(err, ERROR_NOT_FOUND, "campaign \"%.*s\" is gone", STR_ARG(campaign));
  if (!decider->rules[*rule].for_each)
    return error_set(err, ERROR_NOT_FOUND, "campaign \"%.*s\" has no `for_each` any more", STR_ARG(campaign));
  decide_prepare(decider, user, event, NULL, wall);
  // He is judged as he is now, not as he was when it began: he may have bought meanwhile.
  decider->call.now = wall;
  decider->call.fan_out = describe(decider, event, id);
  // Events of different things may have one id, which is theirs with the thing alone.
  decider->call.origin = id;
  decider->reached = input;
  return 0;
}

/** Whether the campaign will run for him later: then the whole fan-out waits. */
static bool waits(const struct decider *decider, int rule, enum campaign_reason reason) {
  return reason == CAMPAIGN_PAUSED || reason == CAMPAIGN_STARTS ||
         (reason == CAMPAIGN_HOURS && decider->rules[rule].rollout.hours.zone);
}

int decide_reach(struct decider *decider, struct record *record, struct entity user, struct str input,
                 uint64_t reached, int64_t wall, struct decision *out, struct error *err) {
  struct event event;
  struct campaign_answer answer;
  int rule;
  decide_begin(decider, record, out);
  int rc = decide_reached(decider, user, input, wall, &rule, &event, err);
  if (rc) return rc;
  bool runs = decide_runs(decider, (uint32_t)rule, &decider->call, &answer);
  if (!runs && (waits(decider, rule, answer.reason) || answer.reason == CAMPAIGN_ENDED)) {
    struct str why = campaign_say(decider->campaigns, (uint32_t)rule, &decider->call, &answer);
    return error_set(err, answer.reason == CAMPAIGN_ENDED ? ERROR_NOT_FOUND : ERROR_UNAVAILABLE,
                     "campaign \"%.*s\": %.*s", STR_ARG(decider->rules[rule].campaign), STR_ARG(why));
  }
  struct effect effect = {.type = EFFECT_FAN_OUT, .fan_out = {.step = FAN_OUT_REACHES, .reached = reached}};
  struct str campaign;
  fan_out_input_decode(input, &event, &campaign, &effect.fan_out.id, NULL);
  draft_add(&decider->draft, &effect, NULL);
  if (runs) {
    engine_input(decider->options.engine);
    if (decider->rules[rule].journey)
      decide_journey_start(decider, (uint32_t)rule, &decider->call);
    else
      decide_run_or_fail(decider, (uint32_t)rule, &decider->call);
    decide_derived(decider, wall, out);
  }
  out->timers_changed = true;
  decide_finish(decider, out);
  return 0;
}

void decide_fan_out_change(struct decider *decider, const struct fan_out_change *change,
                           struct decision *out) {
  *out = (struct decision){.indexed = true};
  buf_clear(&decider->draft.effects);
  effect_encode(&(struct effect){.type = EFFECT_FAN_OUT, .fan_out = *change}, &decider->draft.effects);
  out->effects = buf_str(&decider->draft.effects);
}
