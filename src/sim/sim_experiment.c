/* Experiments of a virtual host: variants that a spec forces, weights drawn when they are due, and what came
 * of it. */
#include "sim/sim_internal.h"

#include "decide/experiment_list.h"

static int scan_memory(void *context, struct str index, int64_t now,
                       int (*visit)(void *context, const struct index_user *user), void *visitor,
                       struct error *err) {
  struct buf cursor;
  (void)err;
  buf_init(&cursor);
  int rc = user_index_scan(context, index, STR(""), -1, now, &cursor, UINT32_MAX, visit, visitor);
  buf_deinit(&cursor);
  return rc < 0 ? rc : 0;
}

/** All of them at once, by the shortest `every`: no spec tells the difference. */
static void draw(struct sim *sim, const struct engine_experiment *experiments, size_t count) {
  struct experiment_source source = {scan_memory, sim->index};
  struct buf weights;
  uint32_t drawn = 0;
  int64_t every = INT64_MAX;
  buf_init(&weights);
  for (size_t i = 0; i < count; i++) {
    if (!experiments[i].thompson) continue;
    struct experiment_tally *tally = experiment_tally_new();
    experiment_count(tally, experiments[i].name, experiments[i].within, sim->now, &source, NULL);
    value_put_string(&weights, experiments[i].name);
    experiment_weigh(tally, &experiments[i], &weights);
    experiment_tally_free(tally);
    if (experiments[i].every < every) every = experiments[i].every;
    drawn++;
  }
  buf_clear(&sim->weights);
  if (drawn) {
    value_put_map(&sim->weights, drawn);
    buf_append(&sim->weights, weights.data, weights.len);
  }
  sim->draw_at = drawn ? sim->now + every : INT64_MAX;
  buf_deinit(&weights);
}

void sim_turn(struct sim *sim) {
  const struct engine_experiment *experiments;
  struct decider *decider = sim->rules->decider;
  if (sim->now >= sim->draw_at) {
    size_t count = engine_experiments(sim->rules->engine, &experiments);
    draw(sim, experiments, count);
  }
  sim->rules->current = sim;
  decider_weigh(decider, buf_str(&sim->weights));
  decider_force(decider, buf_str(&sim->variants));
}

int sim_experiments(const struct sim *sim, struct str only, struct buf *out, struct error *err) {
  const struct engine_experiment *experiments;
  struct experiment_source source = {scan_memory, sim->index};
  size_t count = engine_experiments(sim->rules->engine, &experiments);
  return experiment_list(experiments, count, only, sim->now, &source, out, err);
}
