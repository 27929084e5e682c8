/** Shows what the tests of experiments are worth: ninja -C build/release bench_experiment, then
 * build/release/tools/bench.d/bench_experiment [SEED]. A quarter of a minute; the same SEED (1) says the
 * same.
 *
 * Users are put into two arms by chance, one after the other; each reaches the goal with the arm's rate,
 * after a delay that is up to a tenth of the experiment. Somebody looks after every so many users, and stops
 * at the first "significant". */
#include "base/beta.h"
#include "base/sequential.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { USERS = 20000, LOOK = 100, DELAY = USERS / 10, ARMS_MAX = 4, ROUND = 500 };

static uint64_t seed = 1;

/** Below 1 (SplitMix64: Steele, Lea and Flood, OOPSLA 2014). */
static double chance(void) {
  uint64_t z = seed += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/** Two-sided p of two proportions, as a test with one look has it: the pooled z. */
static double fixed_p(const uint64_t tries[2], const uint64_t goals[2]) {
  double all = (double)(tries[0] + tries[1]), pooled = (double)(goals[0] + goals[1]) / all;
  double error = sqrt(pooled * (1 - pooled) * (1 / (double)tries[0] + 1 / (double)tries[1]));
  if (!(error > 0)) return 1;
  return erfc(fabs((double)goals[0] / (double)tries[0] - (double)goals[1] / (double)tries[1]) / error /
              sqrt(2));
}

struct looks {
  bool fixed_last, fixed_ever, sequential_ever, outside_ever;
  int stopped; /**< users when the sequential test stopped */
};

static struct looks look(const double rates[2], double share, int users, bool intervals) {
  static int due[USERS + DELAY + 1][2];
  memset(due, 0, sizeof due);
  uint64_t tries[2] = {0}, goals[2] = {0};
  struct looks looks = {.stopped = users};
  double truth = log(rates[1] / rates[0]);
  for (int user = 0; user < users; user++) {
    int arm = chance() < share;
    tries[arm]++;
    if (chance() < rates[arm]) due[user + (int)(chance() * chance() * DELAY)][arm]++;
    goals[0] += (uint64_t)due[user][0];
    goals[1] += (uint64_t)due[user][1];
    if ((user + 1) % LOOK || !tries[0] || !tries[1]) continue;
    looks.fixed_last = fixed_p(tries, goals) < 0.05;
    looks.fixed_ever |= looks.fixed_last;
    struct sequential_split split = {share, goals[0], goals[1]};
    if (!looks.sequential_ever && sequential_evidence(&split, 1, 0) >= log(20)) {
      looks.sequential_ever = true;
      looks.stopped = user + 1;
    }
    if (intervals) looks.outside_ever |= sequential_evidence(&split, 1, truth) >= log(20);
  }
  return looks;
}

/** Times that something is so in `runs` runs, and the bound of a 99 % interval above it (Clopper and
 * Pearson). */
static void tell(const char *what, int times, int runs) {
  printf("  %-64s %5.1f %%  (%d of %d; at most %.1f %%)\n", what, 100.0 * times / runs, times, runs,
         times == runs ? 100 : 100 * beta_quantile((struct beta){times + 1, runs - times}, 0.99));
}

static int same_arms(int runs, double rate, double share) {
  int last = 0, fixed = 0, sequential = 0;
  const double rates[2] = {rate, rate};
  for (int run = 0; run < runs; run++) {
    struct looks looks = look(rates, share, USERS, false);
    last += looks.fixed_last;
    fixed += looks.fixed_ever;
    sequential += looks.sequential_ever;
  }
  printf("A/A, %d times: %d users, %.0f %% in B, both at %.1f %%, a look after every %d; called different at "
         "5 %%\n",
         runs, USERS, share * 100, rate * 100, LOOK);
  tell("fixed horizon, one look at the end", last, runs);
  tell("fixed horizon, stopped at the first look that says so", fixed, runs);
  tell("always valid, stopped at the first look that says so", sequential, runs);
  // More than this, were the rate 5 %, has a chance below 1e-6.
  return sequential && beta_cdf((struct beta){sequential, runs - sequential + 1}, 0.05) < 1e-6;
}

static void power(int runs, double rate, double lift) {
  int last = 0, sequential = 0, outside = 0;
  double users = 0;
  const double rates[2] = {rate, rate * (1 + lift)};
  for (int run = 0; run < runs; run++) {
    struct looks looks = look(rates, 0.5, USERS, true);
    last += looks.fixed_last;
    sequential += looks.sequential_ever;
    outside += looks.outside_ever;
    users += looks.stopped;
  }
  printf("A/B, %d times: %d users, %.0f %% against %.1f %%: a lift of %.0f %%\n", runs, USERS, rate * 100,
         rates[1] * 100, lift * 100);
  tell("fixed horizon, one look at the end, finds it", last, runs);
  tell("always valid finds it", sequential, runs);
  tell("its interval for the lift ever left the truth out", outside, runs);
  printf("  %-64s %5.0f\n", "users until it stops, at most all, on the average", users / runs);
}

/** With one look at the end, as credible intervals promise. */
static void coverage(int runs) {
  const double rates[2] = {0.04, 0.05};
  const uint64_t tries[2] = {2000, 2000};
  int rate_in = 0, lift_in = 0;
  for (int run = 0; run < runs; run++) {
    struct beta posterior[2];
    for (int arm = 0; arm < 2; arm++) {
      double goals = 0;
      for (uint64_t i = 0; i < tries[arm]; i++) goals += chance() < rates[arm];
      posterior[arm] = (struct beta){goals + 0.5, (double)tries[arm] - goals + 0.5};
    }
    double below = beta_cdf(posterior[0], rates[0]);
    rate_in += below > 0.025 && below < 0.975;
    double truth = rates[1] / rates[0];
    lift_in += beta_ratio_quantile(posterior[1], posterior[0], 0.025) < truth &&
               truth < beta_ratio_quantile(posterior[1], posterior[0], 0.975);
  }
  printf("Credible intervals of 95 %% (Jeffreys), %d times: 2000 users at 4 %% and 2000 at 5 %%\n", runs);
  tell("the interval of a rate holds it", rate_in, runs);
  tell("the interval of the lift holds it", lift_in, runs);
}

/** @return goals missed against always the best arm. */
static double regret(const double *rates, int arms, bool thompson) {
  double tries[ARMS_MAX] = {0}, goals[ARMS_MAX] = {0}, weights[ARMS_MAX], missed = 0;
  for (int arm = 0; arm < arms; arm++) weights[arm] = 1.0 / arms;
  for (int user = 0; user < USERS; user++) {
    if (thompson && user % ROUND == 0) {
      struct beta posterior[ARMS_MAX];
      for (int arm = 0; arm < arms; arm++)
        posterior[arm] = (struct beta){goals[arm] + 0.5, tries[arm] - goals[arm] + 0.5};
      beta_best(posterior, (size_t)arms, weights);
    }
    double at = chance();
    int arm = 0;
    while (arm + 1 < arms && (at -= weights[arm]) >= 0) arm++;
    tries[arm]++;
    goals[arm] += chance() < rates[arm];
    missed += rates[arms - 1] - rates[arm];
  }
  return missed;
}

static void regrets(int runs) {
  const double rates[] = {0.040, 0.045, 0.050, 0.060};
  double uniform = 0, thompson = 0;
  for (int run = 0; run < runs; run++) {
    uniform += regret(rates, 4, false);
    thompson += regret(rates, 4, true);
  }
  printf("Thompson sampling, %d times: %d users, arms of 4, 4.5, 5 and 6 %%, new weights every %d users\n",
         runs, USERS, ROUND);
  printf("  %-64s %5.1f\n  %-64s %5.1f\n", "goals missed against always the best, equal weights",
         uniform / runs, "goals missed, Thompson sampling", thompson / runs);
}

int main(int count, char **words) {
  if (count > 1) seed = strtoull(words[1], NULL, 10);
  int failed = same_arms(1000, 0.05, 0.5);
  failed |= same_arms(400, 0.4, 0.2);
  power(300, 0.05, 0.2);
  power(300, 0.05, 0.4);
  coverage(1000);
  regrets(100);
  return failed;
}
