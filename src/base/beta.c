#include "base/beta.h"

#include <math.h>
#include <stdbool.h>

enum {
  FRACTION_MAX = 100000, /**< terms; some thousand are used for a million tries */
  GRID = 480,
  HALVINGS = 60
};

static double log_gamma(double x) {
  int sign; // lgamma() writes it where every thread reads it
  return lgamma_r(x, &sign);
}

/** ln n! less Stirling's formula. */
static double stirling_rest(double n) {
  if (n < 16) return log_gamma(n + 1) - (n + 0.5) * log(n) + n - 0.918938533204672741780329736406;
  double square = 1 / (n * n);
  return (1.0 / 12 - (1.0 / 360 - (1.0 / 1260 - (1.0 / 1680 - square / 1188) * square) * square) * square) /
         n;
}

/** x ln(x / mean) + mean - x, without cancellation. */
static double deviance(double x, double mean) {
  double apart = (x - mean) / (x + mean);
  if (fabs(apart) >= 0.1) return x * log(x / mean) + mean - x;
  double sum = (x - mean) * apart, term = 2 * x * apart;
  for (int i = 3; i < 200; i += 2) {
    term *= apart * apart;
    double next = sum + term / i;
    if (next == sum) break;
    sum = next;
  }
  return sum;
}

/** p^a q^b / B(a, b) */
static double power(double a, double b, double p, double q) {
  if (p <= 0 || q <= 0) return 0;
  double n = a + b;
  double log_power =
      stirling_rest(n) - stirling_rest(a) - stirling_rest(b) - deviance(a, n * p) - deviance(b, n * q);
  return exp(log_power) * sqrt(a * b / (2 * 3.14159265358979323846 * n));
}

/** I_p(a, b) left of its mean. */
static double fraction(double a, double b, double p, double q) {
  const double tiny = 1e-300;
  double c = 1, d = 1 - (a + b) * p / (a + 1);
  if (fabs(d) < tiny) d = tiny;
  d = 1 / d;
  double value = d;
  for (int m = 1; m < FRACTION_MAX; m++) {
    double even = m * (b - m) * p / ((a + 2 * m - 1) * (a + 2 * m));
    double odd = -(a + m) * (a + b + m) * p / ((a + 2 * m) * (a + 2 * m + 1)), step = 1;
    for (int i = 0; i < 2; i++) {
      double term = i ? odd : even;
      d = 1 + term * d;
      if (fabs(d) < tiny) d = tiny;
      d = 1 / d;
      c = 1 + term / c;
      if (fabs(c) < tiny) c = tiny;
      step = c * d;
      value *= step;
    }
    if (fabs(step - 1) < 1e-15) break;
  }
  return power(a, b, p, q) / a * value;
}

/** Both tails, of which the smaller keeps its digits. */
static void tails(struct beta beta, double p, double q, double *below, double *above) {
  if (p <= 0 || q <= 0) {
    *below = p <= 0 ? 0 : 1;
    *above = 1 - *below;
  } else if (p * (beta.a + beta.b + 2) <= beta.a + 1) {
    *below = fraction(beta.a, beta.b, p, q);
    *above = 1 - *below;
  } else {
    *above = fraction(beta.b, beta.a, q, p);
    *below = 1 - *above;
  }
}

double beta_cdf(struct beta beta, double p) {
  double below, above;
  tails(beta, p, 1 - p, &below, &above);
  return below;
}

/** p and 1 - p of log odds, each with all its digits. */
static void of_odds(double odds, double *p, double *q) {
  double e = exp(-fabs(odds)), less = e / (1 + e), more = 1 / (1 + e);
  *p = odds < 0 ? less : more;
  *q = odds < 0 ? more : less;
}

/** The log odds below which the rate is with a chance, given as its tail. */
static double quantile_odds(struct beta beta, double tail, bool upper) {
  double low = -1500, high = 1500; // Beta(0.5, …) has its 1e-12 at odds of 1e-24
  for (int i = 0; i < HALVINGS + 10; i++) {
    double middle = (low + high) / 2, p, q, below, above;
    of_odds(middle, &p, &q);
    tails(beta, p, q, &below, &above);
    if (upper ? above > tail : below < tail)
      low = middle;
    else
      high = middle;
  }
  return (low + high) / 2;
}

double beta_quantile(struct beta beta, double chance) {
  double p, q;
  of_odds(chance > 0.5 ? quantile_odds(beta, 1 - chance, true) : quantile_odds(beta, chance, false), &p, &q);
  return p;
}

/** A rate's distribution as points with weights that add up to 1. */
struct grid {
  double points[GRID], weights[GRID];
};

static void grid_make(struct grid *grid, struct beta beta) {
  const double tail = 1e-13;
  double low = quantile_odds(beta, tail, false), high = quantile_odds(beta, tail, true), sum = 0;
  for (int i = 0; i < GRID; i++) {
    double p, q;
    of_odds(low + (high - low) * (i + 0.5) / GRID, &p, &q);
    grid->points[i] = p;
    grid->weights[i] = power(beta.a, beta.b, p, q);
    sum += grid->weights[i];
  }
  for (int i = 0; i < GRID; i++) grid->weights[i] /= sum;
}

double beta_ratio_quantile(struct beta over, struct beta under, double chance) {
  struct grid grid;
  grid_make(&grid, under);
  double low = log(beta_quantile(over, 1e-13) / beta_quantile(under, 1 - 1e-13));
  double high = log(beta_quantile(over, 1 - 1e-13) / beta_quantile(under, 1e-13));
  for (int i = 0; i < HALVINGS && high - low > 1e-10; i++) {
    double middle = (low + high) / 2, ratio = exp(middle), below = 0;
    for (int j = 0; j < GRID; j++)
      if (grid.weights[j] > 1e-18) below += grid.weights[j] * beta_cdf(over, fmin(1, ratio * grid.points[j]));
    if (below < chance)
      low = middle;
    else
      high = middle;
  }
  return exp((low + high) / 2);
}

void beta_best(const struct beta *betas, size_t count, double *chances) {
  double sum = 0;
  for (size_t i = 0; i < count; i++) {
    struct grid grid;
    grid_make(&grid, betas[i]);
    chances[i] = 0;
    for (int j = 0; j < GRID; j++) {
      double largest = grid.weights[j];
      for (size_t other = 0; other < count && largest > 1e-18; other++)
        if (other != i) largest *= beta_cdf(betas[other], grid.points[j]);
      chances[i] += largest;
    }
    sum += chances[i];
  }
  for (size_t i = 0; i < count; i++) chances[i] /= sum;
}
