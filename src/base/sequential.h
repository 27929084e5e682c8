/** Tests that hold however often somebody looks, and whenever he stops.
 *
 * Each is an e-process: a likelihood ratio of a mixture of alternatives, fixed beforehand, to the null. Under
 * the null it is a martingale that begins at 1, so that the chance that it ever reaches 1 / alpha is at most
 * alpha (Ville 1939): 1 / e is a p-value at every moment at once (always valid: Johari, Koomen, Pekelis and
 * Walsh, KDD 2017; Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 49, 2021). Nothing is
 * approximate: the mixtures are finite, or conjugate, and need no sample size.
 *
 * What is looked at is who reached a goal. Users are put into arms by chance, with known chances; if the arms
 * differ in nothing, then of those who reached the goal, in whatever order and after whatever time, each is
 * in an arm with the chance he had when he was put there (the thinning of Lindon and Malek, "Anytime-valid
 * inference for multinomial count data", NeurIPS 2022). So goals count at once, although others may follow,
 * and chances may change by what has been seen (Thompson sampling).
 *
 * Pure; any thread.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** Goals of two arms while the chances were these. */
struct sequential_split {
  double share; /**< the chance of the second arm, of who is put into one of the two: above 0, below 1 */
  uint64_t first, second;
};

/** ln e against: the second arm's rate of goals is exp(log_ratio) that of the first. The alternatives are log
 * ratios from -3 to 3, weighted as Laplace's distribution with scale 0.2: lifts of some 20 % are likely. */
double sequential_evidence(const struct sequential_split *splits, size_t count, double log_ratio);

/** Always-valid p-value of ln e: min(1, exp(-evidence)). */
double sequential_p(double evidence);

/** The log ratios with less than 1 / alpha against them: a confidence sequence for the ratio of the rates,
 * that holds at all times at once with chance 1 - alpha, provided that goals come after the same time in both
 * arms. Without any goals, from -INFINITY to INFINITY. */
struct sequential_interval {
  double low, likely, high; /**< `likely` has the most for it: infinite where one arm alone has goals */
};
struct sequential_interval sequential_interval(const struct sequential_split *splits, size_t count,
                                               double alpha);

/** ln e against: users were put into arms with these chances. The alternatives are Dirichlet(1000 chances)
 * (Lindon and Malek). What is seen under other chances adds up. @param chances  above 0; they add up to 1 */
double sequential_mismatch(const double *chances, const uint64_t *counts, size_t arms);
