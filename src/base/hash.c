#include "base/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t hash64(struct str bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data, bytes.len, seed);
}

struct hash128 hash128(struct str bytes, uint64_t seed) {
  XXH128_hash_t hash = XXH3_128bits_withSeed(bytes.data, bytes.len, seed);
  return (struct hash128){hash.high64, hash.low64};
}

void hash128_hex(struct hash128 hash, char out[33]) {
  static const char digits[] = "0123456789abcdef";
  for (int i = 0; i < 16; i++) {
    out[i] = digits[(hash.high >> (60 - 4 * i)) & 15];
    out[16 + i] = digits[(hash.low >> (60 - 4 * i)) & 15];
  }
  out[32] = 0;
}

static int digit_value(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

bool hash128_from_hex(struct str text, struct hash128 *out) {
  if (text.len != 32) return false;
  struct hash128 hash = {0, 0};
  for (int i = 0; i < 32; i++) {
    int value = digit_value(text.data[i]);
    if (value < 0) return false;
    uint64_t *half = i < 16 ? &hash.high : &hash.low;
    *half = *half << 4 | (uint64_t)value;
  }
  *out = hash;
  return true;
}
