/* Rules that wait for what they need, and run when it is there. */
#include "base/metric.h"
#include "decide/decide_internal.h"
#include <stdio.h>

bool decider_waits(const struct decider *decider) {
  return decider->waits;
}

static void count_need(void *context, const struct engine_need *need, enum lookup_reason reason,
                       bool cached) {
  const struct decider *decider = context;
  char labels[160];
  if (decider->options.uncounted) return;
  int len = snprintf(labels, sizeof labels, "source=\"%.*s\"", STR_ARG(need->source)); // a configured name
  if (reason == LOOKUP_ANSWERED) {
    snprintf(labels + len, sizeof labels - (size_t)len, ",state=\"%s\"", cached ? "cached" : "fresh");
    metric_add(metric_counter("kairos_needs_total", "What rules were given for their needs.", labels), 1);
    return;
  }
  snprintf(labels + len, sizeof labels - (size_t)len, ",reason=\"%s\"", lookup_reason_names[reason]);
  metric_add(
      metric_counter("kairos_needs_fallback_total", "Needs that a rule's fallback stood in for.", labels), 1);
}

void decide_by_fallbacks(struct decider *decider, const struct engine_rule *rule, struct str data,
                         enum lookup_reason reason, struct str why, struct engine_call *call) {
  struct lookup_results none = {.reason = reason, .why = why};
  buf_clear(&decider->needs);
  lookup_needs(rule, data, &none, count_need, decider, &decider->needs);
  call->needs = buf_str(&decider->needs);
}

/** @return why this user cannot wait with one more event; "" if he can. */
static struct str crowded(const struct decider *decider, const struct event *event) {
  struct timer timer;
  size_t at = 0, count = 0;
  if (event->payload.len + event->metadata.len > LOOKUP_EVENT_MAX)
    return STR("the event is larger than 16KB, too large to wait with");
  while (record_timer_needs(decider->draft.record, &at, &timer)) count++;
  return count >= LOOKUPS_A_USER ? STR("16 of the user's events wait for answers already") : STR("");
}

/** @return whether the rule says that it wants to know; if not, who watches is told so. */
static bool wants_to_know(struct decider *decider, uint32_t index, struct engine_call *call) {
  const struct engine_rule *rule = &decider->rules[index];
  struct error err = {0};
  if (!rule->needs_if) return true;
  draft_mark(&decider->draft);
  call->asks = true;
  int rc = engine_run(decider->options.engine, index, call, &err);
  call->asks = false;
  if (rc == 0 && call->acted) return true;
  struct decider_run run = {.rule = rule, .call = call};
  if (rc) {
    draft_rollback(&decider->draft);
    decide_fail(decider, call, rule->campaign, rule->path, &err);
    campaign_ran(decider->campaigns, index, 0, true);
    run.failed = &err;
  } else {
    run.not_run = STR("its `needs_if` said no: nothing was asked");
  }
  if (decider->options.observer.ran) decider->options.observer.ran(decider->options.observer.context, &run);
  return false;
}

void decide_wait_or_run(struct decider *decider, uint32_t index, struct engine_call *call,
                        struct decision *out) {
  const struct engine_rule *rule = &decider->rules[index];
  const struct event *event = call->event;
  if (!wants_to_know(decider, index, call)) return;
  buf_clear(&decider->waiting);
  buf_clear(&decider->needs);
  int64_t longest = lookup_plan(rule, event, decider->draft.record, &decider->waiting);
  struct str why = crowded(decider, event);
  if (longest && !why.len) {
    buf_printf(&decider->needs, "%s%.*s", TIMER_NEEDS, STR_ARG(event->id));
    struct effect wait = {.type = EFFECT_TIMER_SET,
                          .timer = {.campaign = rule->campaign,
                                    .name = buf_str(&decider->needs),
                                    .due = call->wall + longest + LOOKUP_GRACE_MS,
                                    .set_at = call->wall,
                                    .data = buf_str(&decider->waiting)}};
    if (draft_add(&decider->draft, &wait, NULL) == 0) {
      out->waits = true;
      return;
    }
    why = STR("the user's record has no room to wait in");
  }
  decide_by_fallbacks(decider, rule, buf_str(&decider->waiting), LOOKUP_CROWDED, why, call);
  decide_run_or_fail(decider, index, call);
  call->needs = STR("");
}

/** Run the rule that waited, on what a LOG_LOOKUP record holds. */
static int run_waited(struct decider *decider, struct str input, int64_t wall, struct error *err) {
  struct event event;
  struct str campaign, needs;
  int rc = lookup_decode(input, &event, &campaign, &needs, err);
  if (rc) return rc;
  buf_clear(&decider->key);
  buf_printf(&decider->key, "%s%.*s", TIMER_NEEDS, STR_ARG(event.id));
  struct effect clear = {.type = EFFECT_TIMER_CLEAR,
                         .timer = {.campaign = campaign, .name = buf_str(&decider->key)}};
  draft_add(&decider->draft, &clear, NULL); /* taking away always fits */
  decide_prepare(decider, event.entity, &event, NULL, wall);
  decider->call.needs = needs;
  int rule = engine_rule_of(decider->options.engine, campaign);
  struct campaign_answer answer;
  if (rule >= 0) {
    engine_input(decider->options.engine);
    if (decide_runs(decider, (uint32_t)rule, &decider->call, &answer)) // it may have ended meanwhile
      decide_run_or_fail(decider, (uint32_t)rule, &decider->call);
  } else {
    struct error gone;
    error_set(&gone, ERROR_NOT_FOUND,
              "there is no campaign \"%.*s\" any more, whose rule waited for a look-up", STR_ARG(campaign));
    decide_fail(decider, &decider->call, campaign, STR(""), &gone);
  }
  return 0;
}

/** What a timer that waited led to, as LOG_LOOKUP's input. @return 0 or ERROR_CORRUPT. */
static int encode_waited(struct decider *decider, const struct timer *timer,
                         const struct lookup_results *results, struct buf *input, struct error *err) {
  struct event event;
  int rc = lookup_event(&event, timer->data, err);
  if (rc) return rc;
  int rule = engine_rule_of(decider->options.engine, timer->campaign);
  buf_clear(&decider->needs);
  if (rule >= 0)
    lookup_needs(&decider->rules[rule], timer->data, results, count_need, decider, &decider->needs);
  else
    value_put_map(&decider->needs, 0);
  lookup_encode(&event, timer->campaign, buf_str(&decider->needs), input);
  return 0;
}

int decide_lookup_again(struct decider *decider, struct record *record, struct str input, int64_t wall,
                        struct decision *out, struct error *err) {
  decide_begin(decider, record, out);
  int rc = run_waited(decider, input, wall, err);
  out->timers_changed = true;
  if (rc == 0) decide_derived(decider, wall, out);
  decide_finish(decider, out);
  return rc;
}

int decide_lookup(struct decider *decider, struct record *record, struct str campaign, struct str name,
                  const struct lookup_results *results, int64_t wall, struct decision *out,
                  struct buf *input) {
  struct timer timer;
  struct error err;
  *out = (struct decision){0};
  if (!record_timer(record, campaign, name, &timer)) return 1;
  if (encode_waited(decider, &timer, results, input, &err)) return 1; /* its timer says so when it is due */
  return decide_lookup_again(decider, record, buf_str(input), wall, out, &err);
}

void decide_stop_waiting(struct decider *decider, const struct timer *timer, int64_t wall) {
  struct error err;
  struct lookup_results none = {.reason = LOOKUP_TIMEOUT,
                                .why = wall - timer->due > 1000
                                           ? STR("there was no answer in time: the host was not running")
                                           : STR("there was no answer in time")};
  buf_clear(&decider->lookup);
  int rc = encode_waited(decider, timer, &none, &decider->lookup, &err);
  if (rc == 0) rc = run_waited(decider, buf_str(&decider->lookup), wall, &err);
  if (rc) decide_fail(decider, &decider->call, timer->campaign, STR(""), &err);
}
