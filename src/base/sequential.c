#include "base/sequential.h"

#include <math.h>

enum { POINTS = 601 };
static const double reach = 3, scale = 0.2, concentration = 1000;

/** ln likelihood of who was in the second arm, where its rate is exp(log_ratio) the first's. */
static double likelihood(const struct sequential_split *splits, size_t count, double log_ratio) {
  double sum = 0, ratio = exp(log_ratio);
  for (size_t i = 0; i < count; i++) {
    double share = splits[i].share, first = (double)splits[i].first, second = (double)splits[i].second;
    sum += second * (log(share) + log_ratio) + first * log1p(-share) -
           (first + second) * log1p(share * (ratio - 1));
  }
  return sum;
}

/** ln of the mixture's likelihood. */
static double mixture(const struct sequential_split *splits, size_t count) {
  double terms[POINTS], largest = -INFINITY, sum = 0, weights = 0;
  for (int i = 0; i < POINTS; i++) {
    double at = reach * (2.0 * i / (POINTS - 1) - 1), weight = -fabs(at) / scale;
    terms[i] = weight + likelihood(splits, count, at);
    largest = fmax(largest, terms[i]);
    weights += exp(weight);
  }
  for (int i = 0; i < POINTS; i++) sum += exp(terms[i] - largest);
  return largest + log(sum / weights);
}

double sequential_evidence(const struct sequential_split *splits, size_t count, double log_ratio) {
  return mixture(splits, count) - likelihood(splits, count, log_ratio);
}

double sequential_p(double evidence) {
  return evidence <= 0 ? 1 : exp(-evidence);
}

/** The likelihood is concave: the end of the interval on one side of its top. */
static double end_of(const struct sequential_split *splits, size_t count, double least, double top,
                     double away) {
  double inside = top, step = away > 0 ? 0.01 : -0.01, outside = top + step;
  while (likelihood(splits, count, outside) > least) {
    inside = outside;
    step *= 2;
    outside = top + step;
    if (fabs(step) > 700) return away; // one arm has no goals, which no ratio rules out
  }
  for (int i = 0; i < 60; i++) {
    double middle = (inside + outside) / 2;
    if (likelihood(splits, count, middle) > least)
      inside = middle;
    else
      outside = middle;
  }
  return (inside + outside) / 2;
}

/** Where the likelihood is largest: its slope falls. */
static double top_of(const struct sequential_split *splits, size_t count) {
  double low = -40, high = 40;
  for (int i = 0; i < 80; i++) {
    double middle = (low + high) / 2, slope = 0, ratio = exp(middle);
    for (size_t j = 0; j < count; j++) {
      double share = splits[j].share, chance = share * ratio / (1 + share * (ratio - 1));
      slope += (double)splits[j].second - ((double)splits[j].first + (double)splits[j].second) * chance;
    }
    if (slope > 0)
      low = middle;
    else
      high = middle;
  }
  return (low + high) / 2;
}

struct sequential_interval sequential_interval(const struct sequential_split *splits, size_t count,
                                               double alpha) {
  uint64_t first = 0, second = 0;
  for (size_t i = 0; i < count; i++) {
    first += splits[i].first;
    second += splits[i].second;
  }
  if (!first && !second) return (struct sequential_interval){-INFINITY, 0, INFINITY};
  double least = mixture(splits, count) + log(alpha), top = top_of(splits, count);
  return (struct sequential_interval){end_of(splits, count, least, top, -INFINITY),
                                      !first    ? INFINITY
                                      : !second ? -INFINITY
                                                : top,
                                      end_of(splits, count, least, top, INFINITY)};
}

static double log_gamma(double x) {
  int sign; // lgamma() writes it where every thread reads it
  return lgamma_r(x, &sign);
}

double sequential_mismatch(const double *chances, const uint64_t *counts, size_t arms) {
  double evidence = 0, total = 0;
  for (size_t i = 0; i < arms; i++) {
    double weight = concentration * chances[i], count = (double)counts[i];
    evidence += log_gamma(weight + count) - log_gamma(weight) - count * log(chances[i]);
    total += count;
  }
  return evidence + log_gamma(concentration) - log_gamma(concentration + total);
}
