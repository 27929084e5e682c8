/** GCRA, the generic cell rate algorithm (ITU-T I.371): a token bucket kept as one time.
 *
 * A throttle of n per T with burst b admits when now >= TAT - (b-1) * T/n, where TAT is the theoretical
 * arrival time of the next conforming cell. Pure functions; the caller stores TAT. Times in microseconds. T/n
 * is rounded up to a whole microsecond, so that the rate is never exceeded: 30,000/s admits 2 % less,
 * 1,000,000/s is the most. */
#pragma once

#include "base/quantity.h"
#include <stdbool.h>

/** A rate that is not positive admits nothing, and `*next` is INT64_MAX.
 * @param tat  stored time, 0 at first. @param burst  how many at once; 0: the rate's count.
 * @return whether one more is admitted; then `*next` is the TAT to store, else the moment it would be. */
bool throttle_admit(int64_t tat, struct rate rate, double burst, int64_t now_us, int64_t *next);
