/** Numbers for random tests: the same from the same seed, on every machine (splitmix64). */
#pragma once

#include <stdint.h>

static uint64_t seed;

static inline uint64_t next_random(void) {
  seed += 0x9e3779b97f4a7c15u;
  uint64_t z = seed;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

/** Both ends included. */
static inline int64_t between(int64_t low, int64_t high) {
  return low + (int64_t)(next_random() % (uint64_t)(high - low + 1));
}
