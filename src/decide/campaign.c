#include "decide/campaign.h"

#include "base/memory.h"
#include "base/metric.h"
#include "gate/gate.h"

enum {
  REASONS = CAMPAIGN_HOURS + 1,
  SKIPS_MAX = 24, /**< there are fewer checks in the gate */
  /** To read the clock twice is a tenth of a usual run: past so many runs each eighth is timed, and stands
   * for all eight. */
  RUNS_TIMED_EACH = 1000,
  RUNS_A_TIMED_ONE = 8
};

/** As metrics' labels say it. */
static const char *const reason_names[REASONS] = {"", "paused", "starts", "ends", "rollout", "hours"};

struct skip_metric {
  char reason[32];
  metric_id id;
};

struct campaign {
  metric_id calls, errors, seconds, sent, skipped, shadowed;
  metric_id not_run[REASONS];          /**< only of those that may be kept from running */
  struct skip_metric skips[SKIPS_MAX]; /**< as they come up */
  size_t skip_count;
  uint64_t runs;
  uint32_t untimed;        /**< the last ones */
  struct str pause;        /**< the operator's; "" for none */
  const struct zone *zone; /**< `opening` is of this zone; null: nothing is known yet */
  struct rollout_opening opening;
};

struct campaigns {
  const struct engine_rule *rules;
  const struct config *config;
  struct campaign *items; /**< as `rules` … */
  bool *always;           /**< … and this */
  metric_id deferred;
  struct buf text;
  bool count;
};

void campaigns_label(struct buf *out, struct str campaign) {
  buf_append(out, "campaign=\"", 10);
  metric_label_escape(out, campaign);
  buf_append(out, "\"", 1);
}

static metric_id counter(const struct engine_rule *rule, const char *name, const char *help,
                         const char *label, const char *value) {
  struct buf labels;
  buf_init(&labels);
  campaigns_label(&labels, rule->campaign);
  if (label) buf_printf(&labels, ",%s=\"%s\"", label, value);
  buf_put_u8(&labels, 0);
  metric_id id = metric_counter(name, help, (const char *)labels.data);
  buf_deinit(&labels);
  return id;
}

static metric_id decision_counter(const struct engine_rule *rule, const char *decision) {
  return counter(rule, "kairos_decisions_total", "Messages that rules asked for, by the gate's answer.",
                 "decision", decision);
}

static void register_metrics(struct campaign *campaign, const struct engine_rule *rule, bool always) {
  struct buf labels;
  buf_init(&labels);
  campaigns_label(&labels, rule->campaign);
  buf_put_u8(&labels, 0);
  campaign->seconds =
      metric_histogram("kairos_rule_seconds", "Time of one run of a rule.", (const char *)labels.data);
  buf_deinit(&labels);
  campaign->calls = counter(rule, "kairos_rule_calls_total", "Times a rule was run.", NULL, NULL);
  campaign->errors = counter(rule, "kairos_rule_errors_total",
                             "Rule runs that failed and went to the dead letters.", NULL, NULL);
  campaign->sent = decision_counter(rule, "send");
  campaign->skipped = decision_counter(rule, "skip");
  if (rule->rollout.mode == ROLLOUT_SHADOW) campaign->shadowed = decision_counter(rule, "shadow");
  for (int reason = CAMPAIGN_PAUSED; !always && reason < REASONS; reason++)
    campaign->not_run[reason] = counter(
        rule, "kairos_rule_not_run_total",
        "Inputs for which a rule was not run: paused, outside its dates, hours or share of the users.",
        "reason", reason_names[reason]);
}

struct str campaign_pause(struct str paused, struct str campaign) {
  struct reader reader = reader_of(paused);
  uint32_t left = paused.len && value_head(paused).type == VALUE_ARRAY ? value_read(&reader).count : 0;
  for (; left > 0; left--) {
    struct str pause = value_slice(&reader), name;
    if (value_member(pause, STR("campaign"), &name) && value_head(name).type == VALUE_STRING &&
        str_equal(value_head(name).string, campaign))
      return pause;
  }
  return STR("");
}

struct campaigns *campaigns_new(const struct engine *engine, const struct config *config, struct str paused,
                                bool count) {
  struct campaigns *campaigns = memory_zalloc(sizeof *campaigns);
  size_t rule_count = engine_rules(engine, &campaigns->rules);
  campaigns->config = config;
  campaigns->count = count;
  campaigns->items = memory_zalloc((rule_count + 1) * sizeof *campaigns->items);
  buf_init(&campaigns->text);
  campaigns->deferred =
      metric_counter("kairos_deferrals_total", "Messages that quiet hours or a cap deferred.", NULL);
  campaigns->always = memory_zalloc(rule_count + 1);
  for (size_t i = 0; i < rule_count; i++) {
    const struct engine_rule *rule = &campaigns->rules[i];
    campaigns->items[i].pause = campaign_pause(paused, rule->campaign);
    campaigns->always[i] = rollout_always(&rule->rollout) && !campaigns->items[i].pause.len;
    if (count) register_metrics(&campaigns->items[i], rule, campaigns->always[i]);
  }
  return campaigns;
}

const bool *campaigns_always(const struct campaigns *campaigns) {
  return campaigns->always;
}

void campaigns_free(struct campaigns *campaigns) {
  if (!campaigns) return;
  memory_free(campaigns->items);
  memory_free(campaigns->always);
  buf_deinit(&campaigns->text);
  memory_free(campaigns);
}

/** Whether it is open, asked anew only past what is known. */
static const struct rollout_opening *opening_of(struct campaigns *campaigns, uint32_t rule,
                                                const struct record *record, int64_t wall) {
  const struct rollout_hours *hours = &campaigns->rules[rule].rollout.hours;
  struct campaign *campaign = &campaigns->items[rule];
  const struct zone *zone = hours->zone ? hours->zone : gate_zone(record, campaigns->config).zone;
  if (campaign->zone != zone || wall < campaign->opening.from || wall >= campaign->opening.until) {
    campaign->opening = rollout_opening(hours, zone, wall);
    campaign->zone = zone;
  }
  return &campaign->opening;
}

struct campaign_answer campaign_ask(struct campaigns *campaigns, uint32_t rule, const struct record *record,
                                    const struct engine_call *call) {
  const struct rollout *rollout = &campaigns->rules[rule].rollout;
  struct campaign_answer answer = {CAMPAIGN_RUNS, INT64_MAX};
  bool waited = call->needs.len > 0;
  bool begun = waited || !call->event || (call->journey && call->journey->journey);
  if (campaigns->always[rule]) return answer;
  if (rollout->mode == ROLLOUT_PAUSED || campaigns->items[rule].pause.len) {
    answer.reason = CAMPAIGN_PAUSED;
  } else if (call->wall < rollout->starts) {
    answer = (struct campaign_answer){CAMPAIGN_STARTS, rollout->starts};
  } else if (call->wall >= rollout->ends) {
    answer.reason = CAMPAIGN_ENDED;
  } else if (call->gathers) {
    return answer;
  } else if (!begun && rollout->share < ROLLOUT_ALL &&
             rollout_bucket(campaigns->rules[rule].campaign, call->entity) >= rollout->share) {
    answer.reason = CAMPAIGN_ROLLOUT;
  } else if (rollout->hours.days && !waited) {
    const struct rollout_opening *opening = opening_of(campaigns, rule, record, call->wall);
    if (!opening->open) answer = (struct campaign_answer){CAMPAIGN_HOURS, opening->until};
  }
  if (answer.reason != CAMPAIGN_RUNS && campaigns->count)
    metric_add(campaigns->items[rule].not_run[answer.reason], 1);
  return answer;
}

bool campaign_is_timed(const struct campaigns *campaigns, uint32_t rule) {
  const struct campaign *campaign = &campaigns->items[rule];
  return campaigns->count && (campaign->runs < RUNS_TIMED_EACH || campaign->untimed + 1 == RUNS_A_TIMED_ONE);
}

void campaign_ran(struct campaigns *campaigns, uint32_t rule, int64_t us, bool failed) {
  struct campaign *campaign = &campaigns->items[rule];
  if (!campaigns->count) return;
  campaign->runs++;
  if (us < 0) {
    campaign->untimed++;
  } else {
    metric_observe_many_us(campaign->seconds, us, campaign->untimed + 1);
    campaign->untimed = 0;
  }
  metric_add(campaign->calls, 1);
  if (failed) metric_add(campaign->errors, 1);
}

/** Reasons are the names of the gate's checks: few, and known only there. */
static void count_skip(struct campaigns *campaigns, uint32_t rule, struct str reason) {
  struct campaign *campaign = &campaigns->items[rule];
  struct skip_metric *skip = campaign->skips, *end = skip + campaign->skip_count;
  while (skip < end && !str_equal(str_from(skip->reason), reason)) skip++;
  if (skip == end) {
    if (campaign->skip_count == SKIPS_MAX || reason.len >= sizeof skip->reason) return;
    campaign->skip_count++;
    memcpy(skip->reason, reason.data, reason.len);
    skip->reason[reason.len] = 0;
    skip->id = counter(&campaigns->rules[rule], "kairos_skips_total",
                       "Messages that rules asked for and that were not sent, by the check that said no.",
                       "reason", skip->reason);
  }
  metric_add(skip->id, 1);
}

void campaign_decided(struct campaigns *campaigns, uint32_t rule, const struct message *message,
                      const struct verdict *verdict) {
  const struct campaign *campaign = &campaigns->items[rule];
  if (!campaigns->count) return;
  if (verdict->pass) {
    metric_add(campaign->sent, 1);
    if (message->not_before) metric_add(campaigns->deferred, 1);
  } else if (str_equal(verdict->reason, STR("shadow"))) {
    metric_add(campaign->shadowed, 1);
  } else {
    metric_add(campaign->skipped, 1);
    count_skip(campaigns, rule, verdict->reason);
  }
}

static struct str member_text(struct str map, struct str name) {
  struct str found;
  if (!value_member(map, name, &found) || value_head(found).type != VALUE_STRING) return STR("");
  return value_head(found).string;
}

static void say_pause(struct str pause, struct buf *out) {
  struct str by = member_text(pause, STR("by")), reason = member_text(pause, STR("reason"));
  buf_printf(out, "paused");
  if (pause.len) buf_printf(out, " by %.*s", STR_ARG(by.len ? by : STR("an operator")));
  if (reason.len) buf_printf(out, ": %.*s", STR_ARG(reason));
}

struct str campaign_say(struct campaigns *campaigns, uint32_t rule, const struct engine_call *call,
                        const struct campaign_answer *answer) {
  const struct rollout *rollout = &campaigns->rules[rule].rollout;
  struct buf *out = &campaigns->text;
  buf_clear(out);
  switch (answer->reason) {
  case CAMPAIGN_RUNS:
    break;
  case CAMPAIGN_PAUSED:
    say_pause(campaigns->items[rule].pause, out);
    break;
  case CAMPAIGN_STARTS:
    buf_printf(out, "starts %.*s", STR_ARG(rollout->starts_text));
    break;
  case CAMPAIGN_ENDED:
    buf_printf(out, "ended %.*s", STR_ARG(rollout->ends_text));
    break;
  case CAMPAIGN_ROLLOUT:
    buf_printf(out, "not in the %.*s of its roll-out (bucket %u)", STR_ARG(rollout->share_text),
               rollout_bucket(campaigns->rules[rule].campaign, call->entity));
    break;
  case CAMPAIGN_HOURS:
    buf_printf(out, "outside its hours (%.*s)", STR_ARG(rollout->hours_text));
    break;
  }
  return buf_str(out);
}
