/** Hashing: XXH3 (xxHash 0.8), stable on disk. Not for secrets. */
#pragma once

#include "base/str.h"
#include <stdint.h>

struct hash128 {
  uint64_t high, low;
};

uint64_t hash64(struct str bytes, uint64_t seed);
struct hash128 hash128(struct str bytes, uint64_t seed);
/** 32 lower-case hex digits and a terminator. */
void hash128_hex(struct hash128 hash, char out[33]);
/** @return whether `text` is 32 hex digits. */
bool hash128_from_hex(struct str text, struct hash128 *out);
/** Where there is none: no hash is zero but by a chance of 2^-128. */
static inline bool hash128_is_zero(struct hash128 hash) {
  return (hash.high | hash.low) == 0;
}
static inline bool hash128_equal(struct hash128 a, struct hash128 b) {
  return a.high == b.high && a.low == b.low;
}
