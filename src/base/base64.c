#include "base/base64.h"

enum { NO_DIGIT = 64 };

void base64_encode(char *out, const uint8_t *data, size_t len) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < len; i += 3, out += 4) {
    uint32_t bits = (uint32_t)data[i] << 16 | (i + 1 < len ? (uint32_t)data[i + 1] << 8 : 0) |
                    (i + 2 < len ? data[i + 2] : 0);
    out[0] = digits[bits >> 18];
    out[1] = digits[(bits >> 12) & 63];
    out[2] = i + 1 < len ? digits[(bits >> 6) & 63] : '=';
    out[3] = i + 2 < len ? digits[bits & 63] : '=';
  }
}

static uint32_t digit_value(char digit) {
  if (digit >= 'A' && digit <= 'Z') return (uint32_t)(digit - 'A');
  if (digit >= 'a' && digit <= 'z') return (uint32_t)(digit - 'a' + 26);
  if (digit >= '0' && digit <= '9') return (uint32_t)(digit - '0' + 52);
  return digit == '+' ? 62 : digit == '/' ? 63 : NO_DIGIT;
}

ptrdiff_t base64_decode(uint8_t *out, size_t max, struct str text) {
  if (text.len % 4) return -1;
  size_t padding = 0;
  while (padding < 2 && padding < text.len && text.data[text.len - 1 - padding] == '=') padding++;
  size_t len = text.len / 4 * 3 - padding;
  if (len > max) return -1;
  uint32_t bits = 0;
  size_t put = 0;
  for (size_t i = 0; i < text.len; i++) {
    bool pads = i >= text.len - padding;
    uint32_t value = pads ? 0 : digit_value(text.data[i]);
    if (value == NO_DIGIT) return -1;
    bits = bits << 6 | value;
    if (i % 4 != 3) continue;
    for (int shift = 16; shift >= 0; shift -= 8) {
      uint8_t byte = (uint8_t)(bits >> shift);
      if (put < len)
        out[put++] = byte;
      else if (byte)
        return -1;
    }
  }
  return (ptrdiff_t)len;
}
