/** Base64 with the standard alphabet and padding (RFC 4648, 4). */
#pragma once

#include "base/str.h"

#include <stdint.h>

/** Bytes of text that `len` bytes become; nothing is put behind them. */
#define BASE64_LENGTH(len) (((len) + 2) / 3 * 4)

/** @param out  BASE64_LENGTH(len) bytes */
void base64_encode(char *out, const uint8_t *data, size_t len);

/** Strict: no blanks, no line ends, and nothing in the bits that padding leaves over (RFC 4648, 3.5).
 * @return how many bytes, or -1 if `text` is not base64 or gives more than `max`. */
ptrdiff_t base64_decode(uint8_t *out, size_t max, struct str text);
