#include "host/campaign.h"

#include "base/memory.h"
#include "base/metric.h"

enum { REASONS = CAMPAIGN_HOURS + 1 };

/** What its label says, and whether it comes up at all is known from the rule. */
static const char *const reason_names[REASONS] = {"", "paused", "starts", "ends", "rollout", "hours"};

struct campaign {
  metric_id held[REASONS];
  const struct zone *zone; /**< `opening` is of this zone; null: nothing is known yet */
  struct rollout_opening opening;
};

struct campaigns {
  const struct engine_rule *rules;
  const struct config *config;
  const struct zone *host_zone;
  struct campaign *items; /**< as `rules` */
  struct buf text;
  bool count;
};

static void register_metrics(struct campaign *campaign, const struct engine_rule *rule) {
  struct buf labels;
  buf_init(&labels);
  for (int reason = CAMPAIGN_PAUSED; reason < REASONS; reason++) {
    buf_clear(&labels);
    buf_append(&labels, "campaign=\"", 10);
    metric_label_escape(&labels, rule->campaign);
    buf_printf(&labels, "\",reason=\"%s\"", reason_names[reason]);
    buf_put_u8(&labels, 0);
    campaign->held[reason] = metric_counter(
        "kairos_rule_not_run_total",
        "Inputs for which a rule was not run: paused, outside its dates, hours or share of the users.",
        (const char *)labels.data);
  }
  buf_deinit(&labels);
}

struct campaigns *campaigns_new(const struct engine *engine, const struct config *config, bool count) {
  struct campaigns *campaigns = memory_zalloc(sizeof *campaigns);
  size_t rule_count = engine_rules(engine, &campaigns->rules);
  campaigns->config = config;
  campaigns->count = count;
  campaigns->items = memory_zalloc((rule_count + 1) * sizeof *campaigns->items);
  buf_init(&campaigns->text);
  if (zone_find(&campaigns->host_zone, str_from(config->time_zone), NULL)) campaigns->host_zone = zone_utc();
  for (size_t i = 0; count && i < rule_count; i++)
    if (!rollout_always(&campaigns->rules[i].rollout))
      register_metrics(&campaigns->items[i], &campaigns->rules[i]);
  return campaigns;
}

void campaigns_free(struct campaigns *campaigns) {
  if (!campaigns) return;
  memory_free(campaigns->items);
  buf_deinit(&campaigns->text);
  memory_free(campaigns);
}

/** Where the user is, as his profile says; the host's zone if it says nothing that is known. */
static const struct zone *user_zone(const struct campaigns *campaigns, const struct record *record) {
  struct str value;
  const struct zone *zone;
  if (!record_attribute(record, STR("time_zone"), &value)) return campaigns->host_zone;
  struct value head = value_head(value);
  if (head.type != VALUE_STRING || zone_find(&zone, head.string, NULL)) return campaigns->host_zone;
  return zone;
}

/** Whether it is open, asked anew only past what is known. */
static const struct rollout_opening *opening_of(struct campaigns *campaigns, uint32_t rule,
                                                const struct record *record, int64_t wall) {
  const struct rollout_hours *hours = &campaigns->rules[rule].rollout.hours;
  struct campaign *campaign = &campaigns->items[rule];
  const struct zone *zone = hours->zone ? hours->zone : user_zone(campaigns, record);
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
  if (rollout_always(rollout)) return answer;
  if (rollout->mode == ROLLOUT_PAUSED) {
    answer.reason = CAMPAIGN_PAUSED;
  } else if (call->wall < rollout->starts) {
    answer = (struct campaign_answer){CAMPAIGN_STARTS, rollout->starts};
  } else if (call->wall >= rollout->ends) {
    answer.reason = CAMPAIGN_ENDED;
  } else if (call->event && rollout->share < ROLLOUT_ALL &&
             rollout_bucket(campaigns->rules[rule].campaign, call->entity) >= rollout->share) {
    answer.reason = CAMPAIGN_ROLLOUT;
  } else if (rollout->hours.days) {
    const struct rollout_opening *opening = opening_of(campaigns, rule, record, call->wall);
    if (!opening->open) answer = (struct campaign_answer){CAMPAIGN_HOURS, opening->until};
  }
  if (answer.reason != CAMPAIGN_RUNS && campaigns->count)
    metric_add(campaigns->items[rule].held[answer.reason], 1);
  return answer;
}

static void say_pause(const struct rollout *rollout, struct buf *out) {
  buf_printf(out, "paused");
  if (!rollout->paused_at) return;
  buf_printf(out, " by %.*s", STR_ARG(rollout->pause_by.len ? rollout->pause_by : STR("the operator")));
  if (rollout->pause_reason.len) buf_printf(out, ": %.*s", STR_ARG(rollout->pause_reason));
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
    say_pause(rollout, out);
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
