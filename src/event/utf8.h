/** UTF-8 as Unicode defines it: no overlong forms, no surrogates, nothing past U+10FFFF. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/** @return bytes of the well-formed character at `at` (before `end`), or 0 if there is none. */
static inline size_t utf8_length(const uint8_t *at, const uint8_t *end) {
  size_t left = (size_t)(end - at);
  if (left == 0) return 0;
  uint8_t first = at[0];
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  size_t length = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (left < length) return 0;
  // Only the second byte's range depends on the first.
  uint8_t low = first == 0xE0 ? 0xA0 : first == 0xF0 ? 0x90 : 0x80;
  uint8_t high = first == 0xED ? 0x9F : first == 0xF4 ? 0x8F : 0xBF;
  if (at[1] < low || at[1] > high) return 0;
  for (size_t i = 2; i < length; i++)
    if ((at[i] & 0xC0) != 0x80) return 0;
  return length;
}

/** @return the same where a terminal shows it as a character, 0 where it may steer the terminal instead: C0
 * and C1 controls (ECMA-48), line ends and tabs with them, and the marks that turn the direction of writing
 * (UAX #9: U+202A to U+202E, U+2066 to U+2069). */
static inline size_t utf8_shown(const uint8_t *at, const uint8_t *end) {
  size_t length = utf8_length(at, end);
  if (length == 1 && (at[0] < 0x20 || at[0] == 0x7F)) return 0;
  if (length == 2 && at[0] == 0xC2 && at[1] < 0xA0) return 0;
  if (length == 3 && at[0] == 0xE2 &&
      ((at[1] == 0x80 && at[2] >= 0xAA && at[2] <= 0xAE) ||
       (at[1] == 0x81 && at[2] >= 0xA6 && at[2] <= 0xA9)))
    return 0;
  return length;
}
