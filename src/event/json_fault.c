#include "event/json_fault.h"

#include "event/json.h"
#include "event/utf8.h"

#include <math.h>
#include <stdlib.h>

enum {
  DOUBLE_DIGITS = 309 /**< the shortest that may be too large for a double */
};

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool is_number_part(char c) {
  return is_digit(c) || c == '.' || c == 'e' || c == 'E' || c == '+' || c == '-';
}

/** Whether simdjson has no type for it: it takes int64 and uint64. */
static bool is_too_long(const char *digits, size_t count, bool negative) {
  static const char int64_least[] = "9223372036854775808", uint64_most[] = "18446744073709551615";
  const char *most = negative ? int64_least : uint64_most;
  size_t len = strlen(most);
  return count > len || (count == len && memcmp(digits, most, len) > 0);
}

/** The end of the next integer that is too long, at or after `at`, or 0. */
static size_t find_long_integer(const char *text, size_t len, size_t at) {
  bool in_string = false;
  for (; at < len; at++) {
    if (in_string) {
      if (text[at] == '\\')
        at++;
      else if (text[at] == '"')
        in_string = false;
    } else if (text[at] == '"') {
      in_string = true;
    } else if (is_digit(text[at])) {
      size_t start = at;
      while (at < len && is_digit(text[at])) at++;
      bool integer = at == len || !is_number_part(text[at]);
      bool negative = start > 0 && text[start - 1] == '-';
      if (integer && is_too_long(text + start, at - start, negative)) return at;
      while (at < len && is_number_part(text[at])) at++;
      at--;
    }
  }
  return 0;
}

bool json_widen_integers(const char *text, size_t len, struct buf *out) {
  size_t end = find_long_integer(text, len, 0);
  if (end == 0) return false;
  buf_clear(out);
  size_t copied = 0;
  for (; end; end = find_long_integer(text, len, end)) {
    buf_append(out, text + copied, end - copied);
    buf_append(out, "e0", 2);
    copied = end;
  }
  buf_append(out, text + copied, len - copied);
  memset(buf_reserve(out, JSON_PADDING), 0, JSON_PADDING);
  out->len += JSON_PADDING;
  return true;
}

/** A strict reader that keeps nothing. Each scan_… passes over one thing and returns null, or returns what is
 * wrong and leaves `at` where it is. */
struct scan {
  const char *text;
  size_t len, at;
};

static bool scan_is(const struct scan *scan, char c) {
  return scan->at < scan->len && scan->text[scan->at] == c;
}

static bool scan_take(struct scan *scan, char c) {
  if (!scan_is(scan, c)) return false;
  scan->at++;
  return true;
}

static void scan_space(struct scan *scan) {
  while (scan_is(scan, ' ') || scan_is(scan, '\n') || scan_is(scan, '\r') || scan_is(scan, '\t')) scan->at++;
}

/** @return the code unit of the four hex digits, or -1. */
static int scan_hex4(struct scan *scan) {
  int unit = 0;
  for (int i = 0; i < 4; i++) {
    char c = scan->at < scan->len ? scan->text[scan->at] : 0;
    int digit;
    if (is_digit(c))
      digit = c - '0';
    else if (c >= 'a' && c <= 'f')
      digit = c - 'a' + 10;
    else if (c >= 'A' && c <= 'F')
      digit = c - 'A' + 10;
    else
      return -1;
    unit = unit * 16 + digit;
    scan->at++;
  }
  return unit;
}

static const char *scan_escape(struct scan *scan) {
  if (scan->at == scan->len) return "the text ends within a string";
  char c = scan->text[scan->at];
  if (c != 'u') {
    if (!c || !strchr("\"\\/bfnrt", c)) return "no such escape in a string";
    scan->at++;
    return NULL;
  }
  scan->at++;
  int unit = scan_hex4(scan);
  if (unit < 0) return "four hex digits are expected after \\u";
  if (unit >= 0xDC00 && unit <= 0xDFFF) return "half of a surrogate pair";
  if (unit >= 0xD800 && unit <= 0xDBFF) {
    if (!scan_take(scan, '\\') || !scan_take(scan, 'u')) return "half of a surrogate pair";
    unit = scan_hex4(scan);
    if (unit < 0xDC00 || unit > 0xDFFF) return "half of a surrogate pair";
  }
  return NULL;
}

static const char *scan_string(struct scan *scan) {
  scan->at++;
  while (scan->at < scan->len) {
    unsigned char c = (unsigned char)scan->text[scan->at];
    if (c == '"') {
      scan->at++;
      return NULL;
    }
    if (c < 0x20) return "a control character in a string; write it as an escape";
    if (c == '\\') {
      scan->at++;
      const char *fault = scan_escape(scan);
      if (fault) return fault;
      continue;
    }
    const uint8_t *bytes = (const uint8_t *)scan->text;
    size_t length = utf8_length(bytes + scan->at, bytes + scan->len);
    if (length == 0) return "not UTF-8";
    scan->at += length;
  }
  return "the text ends within a string";
}

static bool scan_digits(struct scan *scan) {
  size_t start = scan->at;
  while (scan->at < scan->len && is_digit(scan->text[scan->at])) scan->at++;
  return scan->at > start;
}

static const char *scan_number(struct scan *scan) {
  size_t start = scan->at;
  scan_take(scan, '-');
  if (scan_take(scan, '0')) {
    if (scan->at < scan->len && is_digit(scan->text[scan->at])) return "a number with a leading zero";
  } else if (!scan_digits(scan)) {
    return "a digit is expected";
  }
  if (scan_take(scan, '.') && !scan_digits(scan)) return "a digit is expected after the decimal point";
  bool exponent = scan_take(scan, 'e') || scan_take(scan, 'E');
  if (exponent) {
    if (!scan_take(scan, '+')) scan_take(scan, '-');
    if (!scan_digits(scan)) return "a digit is expected in the exponent";
  }
  if (scan->at < scan->len && is_number_part(scan->text[scan->at])) return "not a number";
  // What is left to be wrong with a well-formed number is its size.
  char copy[512];
  size_t length = scan->at - start;
  if ((!exponent && length < DOUBLE_DIGITS) || length >= sizeof copy) return NULL;
  memcpy(copy, scan->text + start, length);
  copy[length] = 0;
  if (!isinf(strtod(copy, NULL))) return NULL;
  scan->at = start;
  return "a number too large for a double";
}

static const char *scan_word(struct scan *scan, struct str word) {
  if (scan->len - scan->at < word.len || memcmp(scan->text + scan->at, word.data, word.len) != 0)
    return "a value is expected";
  scan->at += word.len;
  if (scan->at < scan->len) {
    char c = scan->text[scan->at];
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || is_digit(c)) return "a value is expected";
  }
  return NULL;
}

static const char *scan_scalar(struct scan *scan) {
  if (scan->at == scan->len) return "the text ends where a value is expected";
  switch (scan->text[scan->at]) {
  case '"':
    return scan_string(scan);
  case 't':
    return scan_word(scan, STR("true"));
  case 'f':
    return scan_word(scan, STR("false"));
  case 'n':
    return scan_word(scan, STR("null"));
  case '-':
    return scan_number(scan);
  default:
    return is_digit(scan->text[scan->at]) ? scan_number(scan) : "a value is expected";
  }
}

static const char *scan_key(struct scan *scan) {
  scan_space(scan);
  if (scan->at == scan->len) return "the text ends within an object";
  if (!scan_is(scan, '"')) return "a key in double quotes is expected";
  const char *fault = scan_string(scan);
  if (fault) return fault;
  scan_space(scan);
  return scan_take(scan, ':') ? NULL : "':' is expected after a key";
}

static const char *scan_document(struct scan *scan) {
  bool object[VALUE_DEPTH_MAX];
  unsigned depth = 0;
  scan_space(scan);
  if (scan->at == scan->len) return "the text is empty";
  for (;;) {
    scan_space(scan);
    bool value_ended = true;
    if (scan_is(scan, '{') || scan_is(scan, '[')) {
      if (depth == VALUE_DEPTH_MAX) return "nested too deep (64 levels are allowed)";
      object[depth] = scan->text[scan->at++] == '{';
      scan_space(scan);
      value_ended = scan_take(scan, object[depth] ? '}' : ']');
      if (!value_ended) {
        const char *fault = object[depth++] ? scan_key(scan) : NULL;
        if (fault) return fault;
      }
    } else {
      const char *fault = scan_scalar(scan);
      if (fault) return fault;
    }
    // Close what ends here, up to the comma that another element follows.
    while (value_ended) {
      scan_space(scan);
      if (depth == 0) return scan->at == scan->len ? NULL : "something follows the value";
      bool in_object = object[depth - 1];
      if (scan->at == scan->len)
        return in_object ? "the text ends within an object" : "the text ends within an array";
      if (scan_take(scan, in_object ? '}' : ']')) {
        depth--;
      } else if (scan_take(scan, ',')) {
        const char *fault = in_object ? scan_key(scan) : NULL;
        if (fault) return fault;
        value_ended = false;
      } else {
        return in_object ? "',' or '}' is expected" : "',' or ']' is expected";
      }
    }
  }
}

int json_explain(const char *text, size_t len, size_t line, struct error *err) {
  struct scan scan = {text, len, 0};
  const char *fault = scan_document(&scan);
  if (!fault) return error_set(err, ERROR_INVALID, "JSON that cannot be read");
  size_t column = 1;
  for (size_t i = 0; i < scan.at; i++) {
    if (text[i] == '\n') {
      line++;
      column = 1;
    } else if (((unsigned char)text[i] & 0xC0) != 0x80) {
      column++;
    }
  }
  return error_set(err, ERROR_INVALID, "broken JSON at line %zu, column %zu: %s", line, column, fault);
}
