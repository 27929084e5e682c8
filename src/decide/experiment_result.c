#include "decide/experiment_result.h"

#include "base/beta.h"
#include "base/memory.h"
#include "base/sequential.h"

#include <math.h>
#include <stdio.h>

enum { ARMS_MAX = 24 /**< variants that were taken out of the declaration included */ };
static const double alpha = 0.05, mismatch_alpha = 0.001;

struct arm {
  struct str name;
  uint64_t exposures, goals, settled, settled_goals;
  int64_t amount; /**< as exposure.amount */
};

/** Exposures under the same chances. */
struct group {
  struct str chances;
  uint64_t hash;
  uint32_t chance[ARMS_MAX]; /**< in millionths, by arm */
  uint64_t exposures[ARMS_MAX], goals[ARMS_MAX];
};

struct experiment_tally {
  struct arm arms[ARMS_MAX];
  size_t arm_count;
  struct group *groups;
  size_t group_count, group_cap, last;
  uint32_t *slots; /**< open addressing by hash: 1 + index of a group; twice `group_cap` */
};

/* ---- counting ---- */

struct experiment_tally *experiment_tally_new(void) {
  return memory_zalloc(sizeof(struct experiment_tally));
}

void experiment_tally_free(struct experiment_tally *tally) {
  if (!tally) return;
  for (size_t i = 0; i < tally->arm_count; i++) memory_free((char *)tally->arms[i].name.data);
  for (size_t i = 0; i < tally->group_count; i++) memory_free((char *)tally->groups[i].chances.data);
  memory_free(tally->groups);
  memory_free(tally->slots);
  memory_free(tally);
}

/** @return its index; ARMS_MAX if there is no room for one more. */
static size_t arm_of(struct experiment_tally *tally, struct str name) {
  size_t at = 0;
  while (at < tally->arm_count && !str_equal(tally->arms[at].name, name)) at++;
  if (at < tally->arm_count || at == ARMS_MAX) return at;
  tally->arms[tally->arm_count++] = (struct arm){.name = {memory_dup(name.data, name.len), name.len}};
  return at;
}

static void groups_grow(struct experiment_tally *tally) {
  tally->group_cap = tally->group_cap ? tally->group_cap * 2 : 16;
  tally->groups = memory_realloc(tally->groups, tally->group_cap * sizeof *tally->groups);
  memory_free(tally->slots);
  tally->slots = memory_zalloc(tally->group_cap * 2 * sizeof *tally->slots);
  for (size_t i = 0; i < tally->group_count; i++) {
    size_t at = tally->groups[i].hash & (tally->group_cap * 2 - 1);
    while (tally->slots[at]) at = (at + 1) & (tally->group_cap * 2 - 1);
    tally->slots[at] = (uint32_t)i + 1;
  }
}

static void group_read(struct experiment_tally *tally, struct group *group) {
  struct reader reader = reader_of(group->chances);
  struct value head = value_read(&reader);
  for (uint32_t i = 0; head.type == VALUE_MAP && i < head.count && !reader.bad; i++) {
    struct value name = value_read(&reader), chance = value_read(&reader);
    size_t arm = name.type == VALUE_STRING ? arm_of(tally, name.string) : ARMS_MAX;
    if (arm < ARMS_MAX && chance.type == VALUE_INTEGER && chance.integer > 0 &&
        chance.integer <= EXPERIMENT_ALL)
      group->chance[arm] = (uint32_t)chance.integer;
  }
}

static struct group *group_of(struct experiment_tally *tally, struct str chances) {
  if (tally->group_count && str_equal(tally->groups[tally->last].chances, chances))
    return &tally->groups[tally->last];
  if (tally->group_count == tally->group_cap) groups_grow(tally);
  uint64_t hash = hash64(chances, 0);
  size_t at = hash & (tally->group_cap * 2 - 1);
  for (; tally->slots[at]; at = (at + 1) & (tally->group_cap * 2 - 1)) {
    tally->last = tally->slots[at] - 1;
    if (str_equal(tally->groups[tally->last].chances, chances)) return &tally->groups[tally->last];
  }
  tally->last = tally->group_count++;
  tally->slots[at] = (uint32_t)tally->group_count;
  struct group *group = &tally->groups[tally->last];
  *group = (struct group){.chances = {memory_dup(chances.data, chances.len), chances.len}, .hash = hash};
  group_read(tally, group);
  return group;
}

void experiment_tally_add(struct experiment_tally *tally, const struct exposure *exposure, int64_t within,
                          int64_t now) {
  size_t index = arm_of(tally, exposure->variant);
  if (index == ARMS_MAX) return;
  struct arm *arm = &tally->arms[index];
  bool settled = exposure_age(exposure, now) > within;
  arm->exposures++;
  arm->goals += exposure->reached;
  arm->settled += settled;
  arm->settled_goals += settled && exposure->reached;
  if (exposure->reached && __builtin_add_overflow(arm->amount, exposure->amount, &arm->amount))
    arm->amount = exposure->amount > 0 ? INT64_MAX : INT64_MIN;
  if (!exposure->chances.len) return;
  struct group *group = group_of(tally, exposure->chances);
  group->exposures[index]++;
  group->goals[index] += exposure->reached;
}

bool experiment_tally_any(const struct experiment_tally *tally) {
  return tally->arm_count > 0;
}

/* ---- comparing ---- */

static const struct arm *find_arm(const struct experiment_tally *tally, struct str name, size_t *index) {
  for (*index = 0; *index < tally->arm_count; ++*index)
    if (str_equal(tally->arms[*index].name, name)) return &tally->arms[*index];
  return NULL;
}

static bool hosts_own(struct str variant) {
  return variant.len && variant.data[0] == '*';
}

/** Arms as a bit each. */
static void add_up(const struct group *group, size_t arm_count, uint32_t arms, double *chance,
                   uint64_t *goals) {
  *chance = 0;
  *goals = 0;
  for (size_t i = 0; i < arm_count; i++) {
    if (!(arms & 1u << i)) continue;
    *chance += group->chance[i];
    *goals += group->goals[i];
  }
}

struct comparison {
  struct sequential_interval interval;
  double p;
};

/** The rate of `second` against that of `first`. */
static struct comparison compare(const struct experiment_tally *tally, uint32_t first, uint32_t second,
                                 double level) {
  struct sequential_split *splits = memory_alloc((tally->group_count + 1) * sizeof *splits);
  size_t count = 0;
  for (size_t i = 0; i < tally->group_count; i++) {
    double chances[2];
    struct sequential_split split;
    add_up(&tally->groups[i], tally->arm_count, first, &chances[0], &split.first);
    add_up(&tally->groups[i], tally->arm_count, second, &chances[1], &split.second);
    if (chances[0] <= 0 || chances[1] <= 0 || split.first + split.second == 0) continue;
    split.share = chances[1] / (chances[0] + chances[1]);
    splits[count++] = split;
  }
  struct comparison comparison = {sequential_interval(splits, count, level),
                                  count ? sequential_p(sequential_evidence(splits, count, 0)) : 1};
  memory_free(splits);
  return comparison;
}

static double mismatch_p(const struct experiment_tally *tally) {
  double evidence = 0;
  for (size_t i = 0; i < tally->group_count; i++) {
    const struct group *group = &tally->groups[i];
    double chances[ARMS_MAX];
    uint64_t counts[ARMS_MAX];
    size_t arms = 0;
    for (size_t arm = 0; arm < tally->arm_count; arm++) {
      if (!group->chance[arm]) continue;
      chances[arms] = group->chance[arm] / (double)EXPERIMENT_ALL;
      counts[arms++] = group->exposures[arm];
    }
    if (arms > 1) evidence += sequential_mismatch(chances, counts, arms);
  }
  return sequential_p(evidence);
}

static struct beta posterior(const struct arm *arm) {
  return (struct beta){(double)arm->settled_goals + 0.5, (double)(arm->settled - arm->settled_goals) + 0.5};
}

/* ---- words ---- */

/** "3.2 %": how far a rate is from that of the control. */
static void say_percent(struct buf *out, double log_ratio) {
  double percent = fabs(100 * expm1(log_ratio));
  buf_printf(out, percent < 9.95 ? "%.1f %%" : "%.0f %%", percent);
}

/** "3.2 % to 38 % higher" */
static void say_between(struct buf *out, const struct sequential_interval *interval) {
  bool higher = interval->likely > 0;
  double near = higher ? interval->low : interval->high, far = higher ? interval->high : interval->low;
  if (isinf(far)) buf_printf(out, "at least ");
  say_percent(out, near);
  if (!isinf(far)) {
    buf_printf(out, " to ");
    say_percent(out, far);
  }
  buf_printf(out, higher ? " higher" : " lower");
}

/** What the marketer wants to know. */
struct reading {
  const struct experiment_tally *tally;
  const struct engine_experiment *experiment;
  uint64_t exposures;
  double mismatch;
  struct buf arms, held, words;
  uint32_t arm_count, held_count;
};

static void say_winner(struct reading *reading, struct str name, struct str control,
                       const struct comparison *comparison, double level) {
  struct buf *out = &reading->words;
  if (comparison->p > level || !(comparison->interval.low > 0 || comparison->interval.high < 0)) return;
  buf_printf(out, "%s%.*s does %s than %.*s: the rate is ", out->len ? "; " : "", STR_ARG(name),
             comparison->interval.likely > 0 ? "better" : "worse", STR_ARG(control));
  say_between(out, &comparison->interval);
}

static void say_verdict(struct reading *reading, struct buf *out) {
  if (!reading->exposures)
    buf_printf(out, "nobody has come into it yet");
  else if (reading->mismatch < mismatch_alpha)
    buf_printf(out,
               "do not go by this: users did not come into the variants in their shares (p %.2g). Something "
               "treats the "
               "variants differently before they are counted",
               reading->mismatch);
  else if (reading->words.len)
    buf_printf(out, "%.*s", STR_ARG(buf_str(&reading->words)));
  else if (!reading->experiment)
    buf_printf(out, "nothing declares it any more");
  else if (!reading->experiment->on.len)
    buf_printf(out, "it has no goal: give the campaign goal = { on = \"order.completed\", within = \"7d\" }");
  else
    buf_printf(out, "no difference is sure yet; it may be looked at at any time");
}

/* ---- the map ---- */

static void put_number(struct buf *out, const char *name, double number) {
  value_put_string(out, str_from(name));
  if (isfinite(number))
    value_put_number(out, number);
  else
    value_put_nil(out);
}

static double share_of(const struct experiment_tally *tally, size_t arm) {
  double expected = 0, in = 0;
  for (size_t i = 0; i < tally->group_count; i++) {
    double all = 0;
    for (size_t other = 0; other < tally->arm_count; other++)
      all += (double)tally->groups[i].exposures[other];
    expected += all * tally->groups[i].chance[arm] / EXPERIMENT_ALL;
    in += all;
  }
  return in > 0 ? expected / in : 0;
}

static void put_arm(struct reading *reading, size_t index, bool control, const struct comparison *comparison,
                    const struct beta *against, const double *best) {
  const struct arm *arm = &reading->tally->arms[index];
  bool held = hosts_own(arm->name), known = arm->settled > 0, credible = comparison && against && known;
  struct buf *out = held ? &reading->held : &reading->arms;
  struct beta beta = posterior(arm);
  value_put_map(out, 7 + (known ? 3 : 0) + (best ? 1 : 0) + (comparison ? 4 : 0) + (credible ? 2 : 0));
  value_put_member_text(out, "variant", arm->name);
  value_put_string(out, STR("control"));
  value_put_bool(out, control);
  put_number(out, "share", share_of(reading->tally, index));
  value_put_member_integer(out, "exposures", (int64_t)arm->exposures);
  value_put_member_integer(out, "goals", (int64_t)arm->goals);
  value_put_member_integer(out, "settled", (int64_t)arm->settled);
  put_number(out, "value", arm->exposures ? (double)arm->amount / 1e6 / (double)arm->exposures : 0);
  if (known) {
    put_number(out, "rate", (double)arm->settled_goals / (double)arm->settled);
    put_number(out, "rate_low", beta_quantile(beta, alpha / 2));
    put_number(out, "rate_high", beta_quantile(beta, 1 - alpha / 2));
  }
  if (best) put_number(out, "best", *best);
  if (comparison) {
    bool any = isfinite(comparison->interval.low) || isfinite(comparison->interval.high);
    put_number(out, "lift", any ? expm1(comparison->interval.likely) : NAN);
    put_number(out, "lift_low", any ? expm1(comparison->interval.low) : NAN);
    put_number(out, "lift_high", expm1(comparison->interval.high));
    put_number(out, "p", comparison->p);
  }
  if (credible) {
    put_number(out, "credible_low", beta_ratio_quantile(beta, *against, alpha / 2) - 1);
    put_number(out, "credible_high", beta_ratio_quantile(beta, *against, 1 - alpha / 2) - 1);
  }
  *(held ? &reading->held_count : &reading->arm_count) += 1;
}

/** Each variant's chance of being the best, of those of which something is settled. @return whether there are
 * two */
static bool find_best(const struct experiment_tally *tally, uint32_t variants, double *best) {
  struct beta betas[ARMS_MAX];
  double chances[ARMS_MAX];
  size_t count = 0, at = 0;
  for (size_t i = 0; i < tally->arm_count; i++)
    if (variants & 1u << i) {
      if (!tally->arms[i].settled) return false;
      betas[count++] = posterior(&tally->arms[i]);
    }
  if (count < 2) return false;
  beta_best(betas, count, chances);
  for (size_t i = 0; i < tally->arm_count; i++)
    if (variants & 1u << i) best[i] = chances[at++];
  return true;
}

static void take_next(uint32_t *order, uint32_t *count, uint32_t arm) {
  for (uint32_t i = 0; i < *count; i++)
    if (order[i] == arm) return;
  order[(*count)++] = arm;
}

/** The control first, then as declared, then those that nothing declares any more: whoever came first. */
static void put_in_order(const struct reading *reading, uint32_t order[ARMS_MAX]) {
  const struct engine_experiment *experiment = reading->experiment;
  uint32_t count = 0;
  size_t index;
  if (experiment && find_arm(reading->tally, experiment->variants[experiment->control].name, &index))
    take_next(order, &count, (uint32_t)index);
  for (uint32_t i = 0; experiment && i < experiment->variant_count; i++)
    if (find_arm(reading->tally, experiment->variants[i].name, &index))
      take_next(order, &count, (uint32_t)index);
  for (uint32_t i = 0; i < reading->tally->arm_count; i++) take_next(order, &count, i);
}

static void put_arms(struct reading *reading) {
  const struct experiment_tally *tally = reading->tally;
  const struct engine_experiment *experiment = reading->experiment;
  struct str control = experiment ? experiment->variants[experiment->control].name : STR("");
  size_t control_index, held_index, host_index;
  const struct arm *with = find_arm(tally, control, &control_index);
  const struct arm *held = find_arm(tally, STR(EXPOSURE_HELD_OUT), &held_index);
  const struct arm *host = find_arm(tally, STR(EXPOSURE_HOST_HOLDOUT), &host_index);
  uint32_t variants = 0, order[ARMS_MAX];
  double best[ARMS_MAX];
  for (size_t i = 0; i < tally->arm_count; i++)
    if (!hosts_own(tally->arms[i].name)) variants |= 1u << i;
  int compared = __builtin_popcount(variants) - 1;
  double level = alpha / (compared > 1 ? compared : 1);
  bool ranks = find_best(tally, variants, best);
  struct beta control_beta = with ? posterior(with) : (struct beta){0.5, 0.5};
  put_in_order(reading, order);
  for (size_t at = 0; at < tally->arm_count; at++) {
    size_t i = order[at];
    if (hosts_own(tally->arms[i].name)) continue;
    struct comparison comparison = {0};
    bool compares = with && i != control_index;
    if (compares) comparison = compare(tally, 1u << control_index, 1u << i, level);
    if (compares) say_winner(reading, tally->arms[i].name, control, &comparison, level);
    put_arm(reading, i, i == control_index, compares ? &comparison : NULL,
            compares && with->settled ? &control_beta : NULL, ranks ? &best[i] : NULL);
  }
  if (held) {
    struct comparison comparison = compare(tally, 1u << held_index, variants, alpha);
    say_winner(reading,
               experiment && experiment->campaign ? STR("who was written to") : STR("who was not held out"),
               STR("who was held out"), &comparison, alpha);
    put_arm(reading, held_index, false, &comparison, NULL, NULL);
  }
  if (host) {
    struct comparison comparison = compare(tally, 1u << host_index, variants, alpha);
    say_winner(reading, STR("who got it"), STR("who gets no marketing at all"), &comparison, alpha);
    put_arm(reading, host_index, false, &comparison, NULL, NULL);
  }
}

void experiment_result(const struct experiment_tally *tally, struct str name,
                       const struct engine_experiment *experiment, struct buf *out) {
  struct reading reading = {.tally = tally, .experiment = experiment};
  uint64_t goals = 0;
  struct buf verdict;
  buf_init(&reading.arms);
  buf_init(&reading.held);
  buf_init(&reading.words);
  buf_init(&verdict);
  for (size_t i = 0; i < tally->arm_count; i++) {
    reading.exposures += tally->arms[i].exposures;
    goals += tally->arms[i].goals;
  }
  reading.mismatch = mismatch_p(tally);
  put_arms(&reading);
  say_verdict(&reading, &verdict);
  value_put_map(out, 12);
  value_put_member_text(out, "experiment", name);
  value_put_member_text(out, "rule", experiment ? experiment->path : STR(""));
  value_put_member_text(out, "on", experiment ? experiment->on : STR(""));
  value_put_member_integer(out, "within_ms", experiment ? experiment->within : 0);
  value_put_member_text(out, "choose", experiment && experiment->thompson ? STR("thompson") : STR("fixed"));
  value_put_member_integer(out, "exposures", (int64_t)reading.exposures);
  value_put_member_integer(out, "goals", (int64_t)goals);
  value_put_member_text(out, "verdict", buf_str(&verdict));
  value_put_string(out, STR("mismatch"));
  value_put_bool(out, reading.mismatch < mismatch_alpha);
  put_number(out, "mismatch_p", reading.mismatch);
  value_put_string(out, STR("variants"));
  value_put_array(out, reading.arm_count);
  buf_append(out, reading.arms.data, reading.arms.len);
  value_put_string(out, STR("holdout"));
  value_put_array(out, reading.held_count);
  buf_append(out, reading.held.data, reading.held.len);
  buf_deinit(&reading.arms);
  buf_deinit(&reading.held);
  buf_deinit(&reading.words);
  buf_deinit(&verdict);
}

void experiment_weigh(const struct experiment_tally *tally, const struct engine_experiment *experiment,
                      struct buf *out) {
  struct beta betas[ARMS_MAX] = {0};
  double chances[ARMS_MAX], sum = 0;
  size_t count = experiment->variant_count, index;
  for (size_t i = 0; i < count; i++) {
    const struct arm *arm = find_arm(tally, experiment->variants[i].name, &index);
    betas[i] = arm ? posterior(arm) : (struct beta){0.5, 0.5};
  }
  beta_best(betas, count, chances);
  for (size_t i = 0; i < count; i++) {
    chances[i] = fmax(chances[i], (double)EXPERIMENT_LEAST / EXPERIMENT_ALL);
    sum += chances[i];
  }
  value_put_map(out, (uint32_t)count);
  for (size_t i = 0; i < count; i++) {
    value_put_string(out, experiment->variants[i].name);
    value_put_integer(out, (int64_t)round(chances[i] / sum * EXPERIMENT_ALL));
  }
}
