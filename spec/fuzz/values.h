/** What several targets ask of values (event/value.h). */
#pragma once

#include "event/json.h"
#include "event/utf8.h"
#include "event/value.h"
#include "fuzz.h"

#include <stdlib.h>

static inline bool fuzz_is_utf8(struct str text) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
  while (at < end) {
    size_t len = utf8_length(at, end);
    if (len == 0) return false;
    at += len;
  }
  return true;
}

/** As json_parse(), of a text without padding. */
static inline int fuzz_json(struct json_parser *parser, struct str text, struct buf *out, struct error *err) {
  char *padded = fuzz_copy(text, JSON_PADDING, 0);
  int code = json_parse(parser, padded, text.len, out, err);
  free(padded);
  return code;
}

/** The next value of each says the same in JSON: numbers by their worth, text after repair. */
static inline bool fuzz_same_value(struct reader *a, struct reader *b, struct buf *scratch) {
  struct value left = value_read(a), right = value_read(b);
  if (a->bad || b->bad) return false;
  bool number = left.type == VALUE_INTEGER || left.type == VALUE_NUMBER;
  if (number && (right.type == VALUE_INTEGER || right.type == VALUE_NUMBER)) {
    if (left.type == VALUE_INTEGER && right.type == VALUE_INTEGER) return left.integer == right.integer;
    double x = left.type == VALUE_INTEGER ? (double)left.integer : left.number;
    double y = right.type == VALUE_INTEGER ? (double)right.integer : right.number;
    return x == y;
  }
  // What JSON has no number for is null there.
  if (left.type == VALUE_NUMBER && right.type == VALUE_NIL) return left.number - left.number != 0;
  if (left.type != right.type) return false;
  switch (left.type) {
  case VALUE_NIL:
    return true;
  case VALUE_BOOL:
    return left.boolean == right.boolean;
  case VALUE_STRING:
    if (str_equal(left.string, right.string)) return true;
    buf_clear(scratch);
    value_put_json_string(left.string, scratch);
    size_t len = scratch->len;
    value_put_json_string(right.string, scratch);
    return !fuzz_is_utf8(left.string) && len * 2 == scratch->len &&
           memcmp(scratch->data, scratch->data + len, len) == 0;
  default:
    break;
  }
  if (left.count != right.count) return false;
  uint32_t elements = left.type == VALUE_MAP ? 2 * left.count : left.count;
  while (elements--)
    if (!fuzz_same_value(a, b, scratch)) return false;
  return true;
}

static inline bool fuzz_equal_values(struct str a, struct str b) {
  struct reader left = reader_of(a), right = reader_of(b);
  struct buf scratch;
  buf_init(&scratch);
  bool same = fuzz_same_value(&left, &right, &scratch) && !reader_left(&left) && !reader_left(&right);
  buf_deinit(&scratch);
  return same;
}
