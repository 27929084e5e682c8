#include "host/look_campaign.h"

#include "base/metric.h"

#include <stdio.h>

/* ---- how they run ---- */

static void put_texts(struct buf *out, const char *name, const struct str *texts, size_t count) {
  value_put_string(out, str_from(name));
  value_put_array(out, (uint32_t)count);
  for (size_t i = 0; i < count; i++) value_put_string(out, texts[i]);
}

static struct str mode_name(enum rollout_mode mode) {
  return mode == ROLLOUT_SHADOW ? STR("shadow") : mode == ROLLOUT_PAUSED ? STR("paused") : STR("live");
}

static void put_rule(struct buf *out, const struct engine_rule *rule) {
  const struct rollout *rollout = &rule->rollout;
  const struct {
    const char *name;
    struct str text;
  } texts[] = {{"share", rollout->share_text},
               {"starts", rollout->starts_text},
               {"ends", rollout->ends_text},
               {"hours", rollout->hours_text},
               {"paused_by", rollout->pause_by}};
  enum { TEXTS = sizeof texts / sizeof *texts };
  uint32_t said = 0;
  for (size_t i = 0; i < TEXTS; i++) said += texts[i].text.len > 0;
  value_put_map(out, 5 + said + (rule->timer_count > 0));
  value_put_member_text(out, "campaign", rule->campaign);
  value_put_member_text(out, "rule", rule->path);
  put_texts(out, "on", rule->on, rule->on_count);
  if (rule->timer_count) put_texts(out, "timers", rule->timers, rule->timer_count);
  value_put_member_text(out, "mode", mode_name(rollout->mode));
  value_put_member_integer(out, "priority", rule->priority);
  for (size_t i = 0; i < TEXTS; i++)
    if (texts[i].text.len) value_put_member_text(out, texts[i].name, texts[i].text);
}

void look_campaign_rules(const struct engine *engine, struct str campaign, struct buf *out) {
  const struct engine_rule *rules;
  size_t count = engine_rules(engine, &rules);
  uint32_t wanted = 0;
  for (size_t i = 0; i < count; i++) wanted += !campaign.len || str_equal(rules[i].campaign, campaign);
  value_put_array(out, wanted);
  for (size_t i = 0; i < count; i++)
    if (!campaign.len || str_equal(rules[i].campaign, campaign)) put_rule(out, &rules[i]);
}

/* ---- what they did ---- */

struct tally {
  struct str labels; /**< campaign="x" */
  int64_t value;
  struct buf reasons;
  uint32_t reason_count;
};

/** What stands behind the campaign's own label, or null: `,decision="send"`. */
static const char *behind(const struct tally *tally, const char *labels) {
  size_t len = tally->labels.len;
  if (strncmp(labels, tally->labels.data, len) != 0) return NULL;
  return labels[len] == ',' || !labels[len] ? labels + len : NULL;
}

static void take_plain(void *context, const char *labels, uint64_t value) {
  struct tally *tally = context;
  const char *rest = behind(tally, labels);
  if (rest && !*rest) tally->value = (int64_t)value;
}

static void take_reason(void *context, const char *labels, uint64_t value) {
  struct tally *tally = context;
  const char *rest = behind(tally, labels), *begin = rest ? strchr(rest, '"') : NULL;
  const char *end = begin ? strrchr(rest, '"') : NULL;
  if (!end || end == begin || !value) return;
  value_put_string(&tally->reasons, (struct str){begin + 1, (size_t)(end - begin - 1)});
  value_put_integer(&tally->reasons, (int64_t)value);
  tally->reason_count++;
}

static int64_t counted(struct tally *tally, const char *name) {
  tally->value = 0;
  metric_each(name, take_plain, tally);
  return tally->value;
}

/** {label's value: count} of a family in which the campaign has several. */
static void put_tally(struct tally *tally, const char *name, const char *family, struct buf *out) {
  buf_clear(&tally->reasons);
  tally->reason_count = 0;
  metric_each(family, take_reason, tally);
  value_put_string(out, str_from(name));
  value_put_map(out, tally->reason_count);
  buf_append(out, tally->reasons.data, tally->reasons.len);
}

static void put_figures(struct str campaign, struct buf *out) {
  struct buf labels;
  struct tally tally = {0};
  buf_init(&labels);
  buf_init(&tally.reasons);
  buf_printf(&labels, "campaign=\"");
  metric_label_escape(&labels, campaign);
  buf_printf(&labels, "\"");
  buf_put_u8(&labels, 0);
  tally.labels = (struct str){(const char *)labels.data, labels.len - 1};
  value_put_member_integer(out, "calls", counted(&tally, "kairos_rule_calls_total"));
  value_put_member_integer(out, "errors", counted(&tally, "kairos_rule_errors_total"));
  put_tally(&tally, "decisions", "kairos_decisions_total", out);
  put_tally(&tally, "skips", "kairos_skips_total", out);
  value_put_member_integer(out, "p50_us", metric_quantile_us("kairos_rule_seconds", tally.labels.data, 0.5));
  value_put_member_integer(out, "p99_us", metric_quantile_us("kairos_rule_seconds", tally.labels.data, 0.99));
  buf_deinit(&labels);
  buf_deinit(&tally.reasons);
}

void look_campaign_figures(struct str rows, struct buf *out) {
  struct reader reader = reader_of(rows);
  uint32_t count = value_read(&reader).count;
  value_put_array(out, count);
  for (uint32_t i = 0; i < count; i++) {
    struct str row = value_slice(&reader), campaign;
    struct reader members = reader_of(row);
    value_put_map(out, value_read(&members).count + 6);
    buf_append(out, members.at, reader_left(&members));
    put_figures(value_member(row, STR("campaign"), &campaign) ? value_head(campaign).string : STR(""), out);
  }
}
