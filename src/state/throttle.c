#include "state/throttle.h"

#include <math.h>

static int64_t add_saturated(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

/** Whole microseconds, held to a span that leaves room to add. */
static int64_t span_of(double microseconds) {
  const double most = 0x1p61;
  return microseconds < most ? (int64_t)microseconds : (int64_t)most;
}

bool throttle_admit(int64_t tat, struct rate rate, double burst, int64_t now_us, int64_t *next) {
  if (!(rate.count > 0) || rate.over_ms <= 0) {
    *next = INT64_MAX;
    return false;
  }
  // Rounded up: never more than the rate.
  double interval = fmax(1, ceil((double)rate.over_ms * 1000 / rate.count));
  double extra = fmax(0, (burst > 0 ? burst : rate.count) - 1);
  int64_t tolerance = span_of(extra * interval);
  if (tat == 0) tat = now_us;
  int64_t from = tat < INT64_MIN + tolerance ? INT64_MIN : tat - tolerance;
  if (now_us < from) {
    *next = from;
    return false;
  }
  *next = add_saturated(tat > now_us ? tat : now_us, span_of(interval));
  return true;
}
