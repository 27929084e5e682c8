// links: base
// What experiments are judged by, against values computed in exact rational arithmetic, closed forms, and
// sums over all that can happen.
#include "base/beta.h"
#include "base/sequential.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void near(double found, double expected, double relative) {
  if (!(fabs(found - expected) <= relative * fabs(expected)))
    fail_msg("found %.17g, expected %.17g", found, expected);
}

/** I_x(a, b) of whole a and b is a binomial tail: the sums of Fractions in Python. */
static void test_binomial_tails(void **state) {
  (void)state;
  near(beta_cdf((struct beta){3, 5}, 0.25), 0.24359130859375, 1e-13);
  near(beta_cdf((struct beta){50, 950}, 0.06), 0.92094334609885897, 1e-11);
  near(beta_cdf((struct beta){841, 11161}, 0.07), 0.49181785222785573, 1e-10);
  near(beta_cdf((struct beta){1, 1000}, 0.001), 0.63230457522903594, 1e-12);
  near(beta_cdf((struct beta){2000, 3000}, 0.39), 0.074150549711298058, 1e-10);
}

static void test_closed_forms(void **state) {
  (void)state;
  for (int i = 1; i < 40; i++) {
    double x = i / 40.0;
    near(beta_cdf((struct beta){1, 7}, x), 1 - pow(1 - x, 7), 1e-12);
    near(beta_cdf((struct beta){7, 1}, x), pow(x, 7), 1e-12);
    near(beta_cdf((struct beta){0.5, 0.5}, x), 2 / 3.14159265358979324 * asin(sqrt(x)), 1e-12);
    near(beta_cdf((struct beta){2, 2}, x), x * x * (3 - 2 * x), 1e-12);
  }
  const double sizes[] = {0.5, 3, 100, 12345.5, 1e6, 1e7};
  for (size_t i = 0; i < 6; i++) near(beta_cdf((struct beta){sizes[i], sizes[i]}, 0.5), 0.5, 1e-9);
  assert_true(beta_cdf((struct beta){3, 4}, 0) == 0 && beta_cdf((struct beta){3, 4}, 1) == 1);
  assert_true(beta_cdf((struct beta){2000, 2000}, 1e-3) == 0); // 1e-4800
}

static void test_quantiles_turn_back(void **state) {
  (void)state;
  const struct beta betas[] = {{0.5, 10.5}, {0.5, 1e6}, {3, 5}, {841, 11161}, {1e6, 9e6}, {10.5, 0.5}};
  const double chances[] = {1e-12, 0.025, 0.5, 0.975, 0.999};
  for (size_t i = 0; i < 6; i++)
    for (size_t j = 0; j < 5; j++)
      near(beta_cdf(betas[i], beta_quantile(betas[i], chances[j])), chances[j], 1e-6);
  near(beta_quantile((struct beta){1, 1}, 0.3), 0.3, 1e-12);
  near(beta_quantile((struct beta){1, 3}, 0.5), 1 - cbrt(0.5), 1e-12);
}

/** The chance that one rate is above another: sums of Fractions over whole parameters (Python). */
static void test_best(void **state) {
  (void)state;
  const struct {
    struct beta first, second;
    double chance; /**< that the second is larger */
  } cases[] = {{{1, 1}, {2, 1}, 2 / 3.0},
               {{21, 181}, {31, 171}, 0.93330529321781242},
               {{101, 901}, {121, 881}, 0.9231834389735597}};
  for (size_t i = 0; i < 3; i++) {
    double chances[2];
    beta_best((struct beta[]){cases[i].first, cases[i].second}, 2, chances);
    near(chances[1], cases[i].chance, 1e-6);
    near(chances[0] + chances[1], 1, 1e-12);
  }
  double four[4];
  beta_best((struct beta[]){{5, 50}, {5, 50}, {5, 50}, {5, 50}}, 4, four);
  for (int i = 0; i < 4; i++) near(four[i], 0.25, 1e-9);
}

/** Of two uniform rates P(over / under <= r) is r / 2 below 1, and 1 - 1 / 2r above. */
static void test_ratio(void **state) {
  (void)state;
  struct beta uniform = {1, 1};
  near(beta_ratio_quantile(uniform, uniform, 0.1), 0.2, 1e-3); // no bell, and a kink: the worst case
  near(beta_ratio_quantile(uniform, uniform, 0.9), 5, 1e-3);
  near(beta_ratio_quantile((struct beta){121, 881}, (struct beta){101, 901}, 0.5) *
           beta_ratio_quantile((struct beta){101, 901}, (struct beta){121, 881}, 0.5),
       1, 1e-7);
  // Where it is one, the chance of the other to be larger is left: 0.923… above a ratio of 1.
  near(beta_ratio_quantile((struct beta){121, 881}, (struct beta){101, 901}, 1 - 0.9231834389735597), 1,
       1e-6);
}

/** Over all that can happen e has the mean 1 under its null, whatever the chances were: it is a martingale.
 */
static void test_evidence_is_a_martingale(void **state) {
  (void)state;
  const double shares[] = {0.5, 0.1, 0.8}, ratios[] = {0, 0.7, -1.2};
  for (size_t r = 0; r < 3; r++) {
    double mean = 0;
    for (unsigned all = 0; all < 1u << 9; all++) { // three goals under each of three splits
      struct sequential_split splits[3];
      double chance = 1;
      for (unsigned i = 0; i < 3; i++) {
        unsigned second = (unsigned)__builtin_popcount(all >> (3 * i) & 7u);
        double odds = shares[i] * exp(ratios[r]), share = odds / (odds + 1 - shares[i]);
        splits[i] = (struct sequential_split){shares[i], 3 - second, second};
        chance *= pow(share, second) * pow(1 - share, 3 - second);
      }
      mean += chance * exp(sequential_evidence(splits, 3, ratios[r]));
    }
    near(mean, 1, 1e-12);
  }
}

static void test_mismatch_is_a_martingale(void **state) {
  (void)state;
  const double chances[] = {0.2, 0.5, 0.3};
  double mean = 0, ways[9] = {1, 1, 2, 6, 24, 120, 720, 5040, 40320};
  for (uint64_t i = 0; i <= 8; i++)
    for (uint64_t j = 0; i + j <= 8; j++) {
      uint64_t counts[] = {i, j, 8 - i - j};
      double chance = ways[8] / (ways[i] * ways[j] * ways[counts[2]]) * pow(0.2, (double)i) *
                      pow(0.5, (double)j) * pow(0.3, (double)counts[2]);
      mean += chance * exp(sequential_mismatch(chances, counts, 3));
    }
  near(mean, 1, 1e-9);
  assert_true(sequential_mismatch(chances, (uint64_t[]){2000, 5000, 3000}, 3) < 0);
  assert_true(sequential_mismatch(chances, (uint64_t[]){2400, 4700, 2900}, 3) > log(1000));
}

static void test_interval(void **state) {
  (void)state;
  struct sequential_split split = {0.5, 1000, 1200};
  struct sequential_interval interval = sequential_interval(&split, 1, 0.05);
  // Its ends are where the evidence is 1 / alpha, and it holds what was seen.
  near(sequential_evidence(&split, 1, interval.low), log(20), 1e-6);
  near(sequential_evidence(&split, 1, interval.high), log(20), 1e-6);
  assert_true(interval.low < log(1.2) && log(1.2) < interval.high);
  // Twice the goals under twice the splits are the same as in one.
  struct sequential_split parts[] = {{0.5, 400, 700}, {0.5, 600, 500}};
  near(sequential_interval(parts, 2, 0.05).low, interval.low, 1e-9);
  // Wider where one looks for rarer errors.
  assert_true(sequential_interval(&split, 1, 0.01).low < interval.low);
  struct sequential_split none = {0.5, 0, 0}, one_sided = {0.5, 0, 40};
  assert_true(isinf(sequential_interval(&none, 1, 0.05).low) &&
              isinf(sequential_interval(&none, 1, 0.05).high));
  interval = sequential_interval(&one_sided, 1, 0.05);
  assert_true(isinf(interval.high) && interval.high > 0 && interval.low > 0);
  assert_true(isinf(interval.likely) && interval.likely > 0);
  struct sequential_split other_side = {0.5, 40, 0};
  interval = sequential_interval(&other_side, 1, 0.05);
  assert_true(isinf(interval.likely) && interval.likely < 0 && interval.high < 0);
  near(sequential_p(sequential_evidence(&none, 1, 0)), 1, 1e-12);
  assert_true(sequential_p(sequential_evidence(&one_sided, 1, 0)) < 0.001);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_binomial_tails),
                                     cmocka_unit_test(test_closed_forms),
                                     cmocka_unit_test(test_quantiles_turn_back),
                                     cmocka_unit_test(test_best),
                                     cmocka_unit_test(test_ratio),
                                     cmocka_unit_test(test_evidence_is_a_martingale),
                                     cmocka_unit_test(test_mismatch_is_a_martingale),
                                     cmocka_unit_test(test_interval)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
