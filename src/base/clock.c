#include "base/clock.h"

#include <time.h>

static int64_t microseconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t clock_wall_ms(void) {
  return microseconds(CLOCK_REALTIME) / 1000;
}

int64_t clock_mono_us(void) {
  return microseconds(CLOCK_MONOTONIC);
}

int64_t clock_mono_coarse_us(void) {
  return microseconds(CLOCK_MONOTONIC_COARSE);
}

int64_t clock_thread_us(void) {
  return microseconds(CLOCK_THREAD_CPUTIME_ID);
}
