/** What an experiment says: exposures counted, rates, lifts, and a verdict in words.
 *
 * Counted is what the users' records have of it (state/effect.h: struct exposure), each user once. An
 * exposure is settled once its time for the goal is over, reached or not: only then is the rate of those who
 * reach it known without a lean towards early ones.
 *
 * - Lift and p of a variant against the control, and of all variants against those held out, by the
 * experiment and by the configuration: the always-valid test of base/sequential.h, by all goals so far. The
 * verdict divides 5 % among the variants compared (Bonferroni).
 * - Rates: of the settled; 95 % equal-tailed credible intervals, prior Beta(1/2, 1/2) (Jeffreys). The same
 * for the ratio of two rates, and the chance of each variant to be the best; these hold for one look.
 * - Whether users came into the variants by the chances that they were given: sequential_mismatch(), told
 * below one in a thousand.
 *
 * Who was given a variant by a spec came into it without chance: counted, and in no test. Any one thread at a
 * time.
 */
#pragma once

#include "engine/experiment.h"

struct experiment_tally;

struct experiment_tally *experiment_tally_new(void);
void experiment_tally_free(struct experiment_tally *tally);
/** Count one user. @param within  ms for the goal. @param now  as of when exposures are settled */
void experiment_tally_add(struct experiment_tally *tally, const struct exposure *exposure, int64_t within,
                          int64_t now);

/** Whether anybody was counted. */
bool experiment_tally_any(const struct experiment_tally *tally);

/** Append one map: {experiment, rule, on, within_ms, choose, exposures, goals, verdict, mismatch (bool),
 * mismatch_p, variants: [arm] (the control first, then as declared), holdout: [arm]}, where an arm is
 * {variant, control (bool), share, exposures, goals, settled, value (per exposure), and if known rate,
 * rate_low, rate_high, best; lift, lift_low, lift_high, p, credible_low, credible_high}: rates and shares
 * from 0 to 1, lifts 0.1 for 10 %; a lift or an end that nothing bounds is nil. Of the holdout, lift is what
 * the campaign adds to those held out.
 * @param experiment  null: nothing declares it any more */
void experiment_result(const struct experiment_tally *tally, struct str name,
                       const struct engine_experiment *experiment, struct buf *out);

/** Append the weights of an experiment that chooses by what is known: a map, variant -> chance in millionths
 * that it is the best (Thompson 1933, with the chances themselves in place of draws from them), at least
 * EXPERIMENT_LEAST. */
void experiment_weigh(const struct experiment_tally *tally, const struct engine_experiment *experiment,
                      struct buf *out);
