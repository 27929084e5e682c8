/** Who gets which variant of an experiment.
 *
 * Of those who are not held out, a variant is taken by weighted rendezvous hashing (Schindelhauer and
 * Schomaker, "Weighted distributed hash tables", SPAA 2005): each variant draws an exponential arrival at the
 * rate of its weight, by a hash of experiment, variant and user; the first wins. So as one variant's weight
 * grows, users come to it and nobody changes between the others. What is chosen is kept in the user's record,
 * and holds whatever becomes of the weights.
 *
 * Pure; any thread.
 */
#pragma once

#include "event/event.h"
#include "state/effect.h"

struct engine_variant {
  struct str name;
  double weight; /**< above 0 */
};

struct engine_experiment {
  struct str name;
  struct str path; /**< of the file that declares it */
  const struct engine_variant *variants;
  size_t variant_count;
  uint32_t control; /**< index of the variant that the others are compared with */
  uint32_t holdout; /**< hundredths of a percent of the users */
  bool campaign;    /**< it is a campaign's own, for its holdout: the one variant is the campaign */
  bool thompson;    /**< weights come from what is known (decide/experiment_result.h) … */
  int64_t every;    /**< … so often, ms */
  struct str on;    /**< event type of the goal; "": it has none */
  int64_t within;   /**< ms after the exposure */
  struct str value; /**< path in the payload of what a goal is worth, or "" */
};

/** A copy that outlives the engine. */
struct experiment_set {
  struct engine_experiment *items;
  size_t count;
};
void experiment_set_copy(struct experiment_set *set, const struct engine_experiment *from, size_t count);
void experiment_set_free(struct experiment_set *set);

/** A variant drawn is given at least this chance, in millionths, so that no verdict is for ever. */
enum { EXPERIMENT_ALL = 1000000, EXPERIMENT_LEAST = 10000 };

/** The user's variant, as if he were not held out.
 * @param weights  value map: experiment -> map: variant -> chance in millionths, of "thompson"; "": as
 * declared
 * @param host  chance of being held out by the configuration, in millionths
 * @param out  experiment, variant and chances are filled in; the chances are put into `chances`: of being
 * held out by the configuration, by the experiment, and of each variant */
void experiment_choose(const struct engine_experiment *experiment, struct entity entity, struct str weights,
                       int64_t host, struct exposure *out, struct buf *chances);
