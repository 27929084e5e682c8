/* What the host does for experiments and holdouts: goals, and who is held out of what. */
#include "decide/decide_internal.h"

#include "gate/holdout.h"
#include "state/exposure.h"
#include <stdio.h>

/** Dead letters of goals: no campaign can be named so. */
#define GOAL_CAMPAIGN "experiment:"

void decider_weigh(struct decider *decider, struct str weights) {
  decider->call.weights = weights;
}

void decider_know(struct decider *decider, struct str effects) {
  decider->call.known = effects;
}

void decider_force(struct decider *decider, struct str variants) {
  decider->call.forced = variants;
}

/* ---- goals ---- */

/** Whether the user was exposed, and the event falls within the time for the goal. */
static bool open_goal(const struct decider *decider, const struct engine_experiment *experiment, int64_t now,
                      struct exposure *exposure) {
  return record_exposure(decider->draft.record, experiment->name, exposure) && !exposure->reached &&
         exposure_age(exposure, now) >= 0 && exposure_age(exposure, now) <= experiment->within;
}

static int reach_goal(struct decider *decider, uint32_t index, struct engine_call *call, struct error *err) {
  const struct engine_experiment *experiment = &decider->experiments[index];
  struct exposure exposure;
  struct str found;
  double amount;
  bool reached;
  if (!open_goal(decider, experiment, call->now, &exposure)) return 0;
  engine_input(decider->options.engine);
  int rc = engine_goal(decider->options.engine, index, call, &exposure, &reached, err);
  if (rc || !reached) return rc;
  exposure.reached = true;
  exposure.goal_at = call->now;
  if (experiment->value.len && value_find(call->event->payload, experiment->value, &found) &&
      value_as_number(found, &amount))
    exposure.amount = window_fixed(amount);
  decider->draft.record_max = SIZE_MAX; // its exposure had room, and this takes some bytes once
  rc = exposure_add(&decider->draft, &exposure, err);
  decider->draft.record_max = decider->options.record_max;
  return rc;
}

void decide_goals(struct decider *decider, const struct plan *plan, struct engine_call *call) {
  for (size_t i = 0; i < plan->goal_count; i++) {
    const struct engine_experiment *experiment = &decider->experiments[plan->goals[i]];
    struct error err = {0};
    char campaign[sizeof GOAL_CAMPAIGN + 64];
    if (reach_goal(decider, plan->goals[i], call, &err) == 0) continue;
    int len = snprintf(campaign, sizeof campaign, GOAL_CAMPAIGN "%.*s", STR_ARG(experiment->name));
    decide_fail(decider, call, (struct str){campaign, (size_t)len}, experiment->path, &err);
  }
}

bool decide_is_goal(struct str campaign) {
  return campaign.len > sizeof GOAL_CAMPAIGN - 1 &&
         memcmp(campaign.data, GOAL_CAMPAIGN, sizeof GOAL_CAMPAIGN - 1) == 0;
}

int decide_goal_again(struct decider *decider, struct str campaign, struct engine_call *call,
                      struct error *err) {
  struct str name = {campaign.data + sizeof GOAL_CAMPAIGN - 1, campaign.len - (sizeof GOAL_CAMPAIGN - 1)};
  int index = engine_experiment_of(decider->options.engine, name);
  if (index < 0 || !call->event)
    return error_set(err, ERROR_NOT_FOUND, "there is no experiment \"%.*s\" any more", STR_ARG(name));
  return reach_goal(decider, (uint32_t)index, call, err);
}

/* ---- holdouts ---- */

/** The campaign's own: whoever it would write to takes part, from the first time on. */
static bool held_by_campaign(struct decider *decider, const struct engine_rule *rule,
                             const struct engine_call *call) {
  struct exposure exposure;
  if (rule->rollout.mode == ROLLOUT_SHADOW)
    return holdout_bucket(rule->campaign, call->entity) < rule->rollout.holdout;
  if (!record_exposure(decider->draft.record, rule->campaign, &exposure)) {
    int index = engine_experiment_of(decider->options.engine, rule->campaign);
    if (index < 0) return false;
    buf_clear(&decider->key);
    engine_expose(decider->options.engine, call, &decider->experiments[index], &exposure, &decider->key);
    // A record without room for it: held out all the same, and not counted.
    exposure_add(&decider->draft, &exposure, NULL);
  }
  return str_equal(exposure.variant, STR(EXPOSURE_HELD_OUT));
}

const char *decide_held_out(struct decider *decider, const struct engine_rule *rule, int index,
                            const struct config_purpose *purpose, char text[DECIDE_HELD_OUT_MAX]) {
  const struct engine *engine = decider->options.engine;
  const struct engine_call *call = &decider->call;
  const uint32_t *experiments = NULL;
  if (index < 0) index = engine_rule_of(engine, rule->campaign);
  size_t count = index < 0 ? 0 : engine_folder_experiments(engine, (uint32_t)index, &experiments);
  if ((!count && !rule->rollout.holdout) || (purpose && purpose->transactional)) return NULL;
  if (rule->rollout.holdout && held_by_campaign(decider, rule, call)) {
    snprintf(text, DECIDE_HELD_OUT_MAX, "among the %.*s that the campaign holds out (bucket %u)",
             STR_ARG(rule->rollout.holdout_text), holdout_bucket(rule->campaign, call->entity));
    return text;
  }
  for (size_t i = 0; i < count; i++) {
    const struct engine_experiment *experiment = &decider->experiments[experiments[i]];
    struct exposure exposure;
    if (experiment->campaign || !record_exposure(decider->draft.record, experiment->name, &exposure) ||
        !str_equal(exposure.variant, STR(EXPOSURE_HELD_OUT)))
      continue;
    snprintf(text, DECIDE_HELD_OUT_MAX, "held out by the experiment %.*s (bucket %u)",
             STR_ARG(experiment->name), holdout_bucket(experiment->name, call->entity));
    return text;
  }
  return NULL;
}
