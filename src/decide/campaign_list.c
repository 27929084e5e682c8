#include "decide/campaign_list.h"

#include "base/memory.h"
#include "base/metric.h"
#include "decide/campaign.h"

#include <stdlib.h>

struct listing {
  const struct engine *engine;
  const struct engine_rule *rules;
  struct str paused;
  int64_t now;
  bool figures;
  struct buf *out;
};

/* ---- figures ---- */

/** One campaign's series of a family of counters. */
struct tally {
  struct str labels; /**< campaign="x" */
  int64_t plain;     /**< of the series with no other label */
  struct buf parts;  /**< pairs of a map: another label's value, how many */
  uint32_t part_count;
};

static void add_series(void *context, const char *labels, uint64_t value) {
  struct tally *tally = context;
  if (strncmp(labels, tally->labels.data, tally->labels.len) != 0) return;
  const char *rest = labels + tally->labels.len;
  const char *begin = strchr(rest, '"'), *end = strrchr(rest, '"');
  if (!*rest) tally->plain = (int64_t)value;
  if (*rest != ',' || !value || begin == end) return;
  value_put_string(&tally->parts, (struct str){begin + 1, (size_t)(end - begin - 1)}); // a word of our own
  value_put_integer(&tally->parts, (int64_t)value);
  tally->part_count++;
}

static void put_count(struct tally *tally, const char *name, const char *family, struct buf *out) {
  tally->plain = 0;
  metric_each(family, add_series, tally);
  value_put_member_integer(out, name, tally->plain);
}

static void put_counts(struct tally *tally, const char *name, const char *family, struct buf *out) {
  buf_clear(&tally->parts);
  tally->part_count = 0;
  metric_each(family, add_series, tally);
  value_put_string(out, str_from(name));
  value_put_map(out, tally->part_count);
  buf_append(out, tally->parts.data, tally->parts.len);
}

static void put_time(struct buf *out, const char *name, double us) {
  value_put_string(out, str_from(name));
  value_put_number(out, us);
}

enum { FIGURES = 8 };

static void put_figures(struct str campaign, struct buf *out) {
  static const char seconds[] = "kairos_rule_seconds";
  struct buf labels;
  struct tally tally = {0};
  buf_init(&labels);
  buf_init(&tally.parts);
  campaigns_label(&labels, campaign);
  buf_put_u8(&labels, 0);
  const char *text = (const char *)labels.data;
  tally.labels = str_from(text);
  put_count(&tally, "calls", "kairos_rule_calls_total", out);
  put_count(&tally, "errors", "kairos_rule_errors_total", out);
  put_counts(&tally, "decisions", "kairos_decisions_total", out);
  put_counts(&tally, "skips", "kairos_skips_total", out);
  put_counts(&tally, "not_run", "kairos_rule_not_run_total", out);
  put_time(out, "mean_us", metric_mean_us(seconds, text));
  put_time(out, "p50_us", (double)metric_quantile_us(seconds, text, 0.5));
  put_time(out, "p99_us", (double)metric_quantile_us(seconds, text, 0.99));
  buf_deinit(&tally.parts);
  buf_deinit(&labels);
}

/* ---- what it is ---- */

static void put_state(const struct listing *listing, const struct engine_rule *rule, struct str pause) {
  const struct rollout *rollout = &rule->rollout;
  const struct rollout_hours *hours = &rollout->hours;
  struct buf state;
  buf_init(&state);
  if (rollout->mode == ROLLOUT_PAUSED || pause.len)
    buf_printf(&state, "paused");
  else if (listing->now < rollout->starts)
    buf_printf(&state, "starts %.*s", STR_ARG(rollout->starts_text));
  else if (listing->now >= rollout->ends)
    buf_printf(&state, "ended %.*s", STR_ARG(rollout->ends_text));
  else if (hours->days && hours->zone && !rollout_opening(hours, hours->zone, listing->now).open)
    buf_printf(&state, "closed");
  else
    buf_printf(&state, rollout->mode == ROLLOUT_SHADOW ? "shadow" : "live");
  value_put_member_text(listing->out, "state", buf_str(&state));
  buf_deinit(&state);
}

static void put_texts(struct buf *out, const char *name, const struct str *texts, size_t count) {
  value_put_string(out, str_from(name));
  value_put_array(out, (uint32_t)count);
  for (size_t i = 0; i < count; i++) value_put_string(out, texts[i]);
}

static void put_windows(const struct listing *listing, uint32_t rule) {
  const uint32_t *indices;
  size_t count = engine_folder_windows(listing->engine, rule, &indices);
  struct buf text;
  buf_init(&text);
  value_put_string(listing->out, STR("windows"));
  value_put_array(listing->out, (uint32_t)count);
  for (size_t i = 0; i < count; i++) {
    buf_clear(&text);
    engine_window_words(listing->engine, indices[i], &text);
    value_put_string(listing->out, buf_str(&text));
  }
  buf_deinit(&text);
}

static void put_interests(const struct listing *listing, uint32_t rule) {
  const struct engine_interest *interests;
  const uint32_t *indices;
  engine_interests(listing->engine, &interests);
  size_t count = engine_folder_interests(listing->engine, rule, &indices);
  value_put_string(listing->out, STR("interests"));
  value_put_array(listing->out, (uint32_t)count);
  for (size_t i = 0; i < count; i++) value_put_string(listing->out, interests[indices[i]].words);
}

static uint32_t count_channels(const struct engine_send *sends, size_t count, struct str template) {
  uint32_t channels = 0;
  for (size_t i = 0; i < count; i++) channels += str_equal(sends[i].template_name, template);
  return channels;
}

static void put_templates(const struct listing *listing, uint32_t rule) {
  const struct engine_template *templates;
  const struct engine_send *sends;
  size_t template_count = engine_templates(listing->engine, &templates);
  size_t send_count = engine_folder_sends(listing->engine, rule, &sends);
  struct str path = listing->rules[rule].path;
  struct str folder = {path.data, (size_t)((const char *)memchr(path.data, '/', path.len) - path.data)};
  struct buf items, *out = listing->out;
  uint32_t count = 0;
  buf_init(&items);
  for (size_t i = 0; i < template_count; i++) {
    if (!str_equal(templates[i].campaign, folder)) continue;
    value_put_map(&items, 2);
    value_put_member_text(&items, "template", templates[i].name);
    value_put_string(&items, STR("channels"));
    value_put_array(&items, count_channels(sends, send_count, templates[i].name));
    for (size_t j = 0; j < send_count; j++)
      if (str_equal(sends[j].template_name, templates[i].name)) value_put_string(&items, sends[j].channel);
    count++;
  }
  value_put_string(out, STR("templates"));
  value_put_array(out, count);
  buf_append(out, items.data, items.len);
  buf_deinit(&items);
}

static void put_campaign(const struct listing *listing, uint32_t index) {
  static const char *const modes[] = {
      [ROLLOUT_LIVE] = "live", [ROLLOUT_SHADOW] = "shadow", [ROLLOUT_PAUSED] = "paused"};
  const struct engine_rule *rule = &listing->rules[index];
  struct str pause = campaign_pause(listing->paused, rule->campaign);
  struct buf *out = listing->out;
  value_put_map(out, 17 + (listing->figures ? FIGURES : 0));
  value_put_member_text(out, "campaign", rule->campaign);
  value_put_member_text(out, "rule", rule->path);
  put_state(listing, rule, pause);
  value_put_member_text(out, "mode", str_from(modes[rule->rollout.mode]));
  value_put_member_text(out, "rollout",
                        rule->rollout.share_text.len ? rule->rollout.share_text : STR("100%"));
  value_put_member_text(out, "starts", rule->rollout.starts_text);
  value_put_member_text(out, "ends", rule->rollout.ends_text);
  value_put_member_text(out, "hours", rule->rollout.hours_text);
  value_put_member_integer(out, "priority", rule->priority);
  value_put_member_text(out, "competes", rule->competes);
  value_put_member_text(out, "holdout", rule->rollout.holdout_text);
  put_texts(out, "on", rule->on, rule->on_count);
  put_texts(out, "timers", rule->timers, rule->timer_count);
  put_windows(listing, index);
  put_interests(listing, index);
  put_templates(listing, index);
  value_put_string(out, STR("paused"));
  if (pause.len)
    buf_append(out, pause.data, pause.len);
  else
    value_put_map(out, 0);
  if (listing->figures) put_figures(rule->campaign, out);
}

static int by_name(const void *a, const void *b, void *rules) {
  struct str left = ((const struct engine_rule *)rules)[*(const uint32_t *)a].campaign;
  struct str right = ((const struct engine_rule *)rules)[*(const uint32_t *)b].campaign;
  size_t shared = left.len < right.len ? left.len : right.len;
  int order = memcmp(left.data, right.data, shared);
  return order ? order : (left.len > right.len) - (left.len < right.len);
}

void campaign_list(const struct engine *engine, struct str paused, int64_t now, bool figures, struct str only,
                   struct buf *out) {
  struct listing listing = {.engine = engine, .paused = paused, .now = now, .figures = figures, .out = out};
  size_t count = engine_rules(engine, &listing.rules), wanted = 0;
  uint32_t *order = memory_alloc((count + 1) * sizeof *order);
  for (size_t i = 0; i < count; i++)
    if (!only.len || str_equal(listing.rules[i].campaign, only)) order[wanted++] = (uint32_t)i;
  qsort_r(order, wanted, sizeof *order, by_name, (void *)listing.rules);
  value_put_array(out, (uint32_t)wanted);
  for (size_t i = 0; i < wanted; i++) put_campaign(&listing, order[i]);
  memory_free(order);
}

void campaign_list_gone(const struct engine *engine, struct str paused, struct buf *out) {
  struct buf items;
  uint32_t count = 0;
  buf_init(&items);
  struct reader reader = reader_of(paused);
  uint32_t left = paused.len && value_head(paused).type == VALUE_ARRAY ? value_read(&reader).count : 0;
  for (; left > 0; left--) {
    struct str pause = value_slice(&reader), name;
    if (!value_member(pause, STR("campaign"), &name)) continue;
    if (engine_rule_of(engine, value_head(name).string) >= 0) continue;
    buf_append(&items, pause.data, pause.len);
    count++;
  }
  value_put_array(out, count);
  buf_append(out, items.data, items.len);
  buf_deinit(&items);
}
