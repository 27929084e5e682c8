#include "event/value.h"

#include "event/utf8.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/** Whole numbers up to here are exact in a double. */
#define EXACT_INTEGER_MAX 9007199254740992.0

/** @param bytes  1, 2, 4 or 8. */
static inline uint64_t get_be(struct reader *reader, size_t bytes) {
  const uint8_t *at = reader_take(reader, bytes);
  uint64_t value = 0;
  if (!at) return 0;
  memcpy(&value, at, bytes);
  return be64toh(value) >> (64 - 8 * bytes);
}

static struct value malformed(struct reader *reader) {
  reader->bad = true;
  return (struct value){.type = VALUE_NIL};
}

static struct value read_integer(struct reader *reader, int64_t integer) {
  return reader->bad ? malformed(reader) : (struct value){.type = VALUE_INTEGER, .integer = integer};
}

static struct value read_number(struct reader *reader, double number) {
  return reader->bad ? malformed(reader) : (struct value){.type = VALUE_NUMBER, .number = number};
}

static struct value read_string(struct reader *reader, uint64_t len) {
  struct str string = reader_bytes(reader, len);
  return reader->bad ? malformed(reader) : (struct value){.type = VALUE_STRING, .string = string};
}

/** Every element takes a byte, so a count beyond the bytes that are left is a lie nobody should make room
 * for. */
static struct value read_container(struct reader *reader, enum value_type type, uint64_t count) {
  uint64_t elements = type == VALUE_MAP ? 2 * count : count;
  if (reader->bad || elements > reader_left(reader)) return malformed(reader);
  return (struct value){.type = type, .count = (uint32_t)count};
}

static double float_of(uint32_t bits) {
  float number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

static double double_of(uint64_t bits) {
  double number;
  memcpy(&number, &bits, sizeof number);
  return number;
}

static struct value read_unsigned(struct reader *reader, uint64_t value) {
  return value > INT64_MAX ? read_number(reader, (double)value) : read_integer(reader, (int64_t)value);
}

struct value value_read(struct reader *reader) {
  const uint8_t *at = reader_take(reader, 1);
  if (!at) return (struct value){.type = VALUE_NIL};
  uint8_t head = *at;
  if (head <= 0x7f) return read_integer(reader, head);
  if (head <= 0x8f) return read_container(reader, VALUE_MAP, head & 0x0f);
  if (head <= 0x9f) return read_container(reader, VALUE_ARRAY, head & 0x0f);
  if (head <= 0xbf) return read_string(reader, head & 0x1f);
  if (head >= 0xe0) return read_integer(reader, (int8_t)head);
  switch (head) {
  case 0xc0:
    return (struct value){.type = VALUE_NIL};
  case 0xc2:
    return (struct value){.type = VALUE_BOOL, .boolean = false};
  case 0xc3:
    return (struct value){.type = VALUE_BOOL, .boolean = true};
  case 0xca:
    return read_number(reader, float_of((uint32_t)get_be(reader, 4)));
  case 0xcb:
    return read_number(reader, double_of(get_be(reader, 8)));
  case 0xcc:
    return read_integer(reader, (int64_t)get_be(reader, 1));
  case 0xcd:
    return read_integer(reader, (int64_t)get_be(reader, 2));
  case 0xce:
    return read_integer(reader, (int64_t)get_be(reader, 4));
  case 0xcf:
    return read_unsigned(reader, get_be(reader, 8));
  case 0xd0:
    return read_integer(reader, (int8_t)get_be(reader, 1));
  case 0xd1:
    return read_integer(reader, (int16_t)get_be(reader, 2));
  case 0xd2:
    return read_integer(reader, (int32_t)get_be(reader, 4));
  case 0xd3:
    return read_integer(reader, (int64_t)get_be(reader, 8));
  case 0xd9:
    return read_string(reader, get_be(reader, 1));
  case 0xda:
    return read_string(reader, get_be(reader, 2));
  case 0xdb:
    return read_string(reader, get_be(reader, 4));
  case 0xdc:
    return read_container(reader, VALUE_ARRAY, get_be(reader, 2));
  case 0xdd:
    return read_container(reader, VALUE_ARRAY, get_be(reader, 4));
  case 0xde:
    return read_container(reader, VALUE_MAP, get_be(reader, 2));
  case 0xdf:
    return read_container(reader, VALUE_MAP, get_be(reader, 4));
  default:
    return malformed(reader); // bin and ext
  }
}

bool value_opens(const struct reader *reader) {
  if (reader->bad || reader->at >= reader->end) return false;
  uint8_t head = *reader->at;
  return (head >= 0x80 && head <= 0x9f) || (head >= 0xdc && head <= 0xdf);
}

/** Pass over what follows a head past 0xbf, and add its elements to those that are due. @return false if
 * malformed. */
static inline bool skip_tail(struct reader *reader, uint8_t head, uint64_t *due) {
  uint64_t count;
  switch (head) {
  case 0xc0:
  case 0xc2:
  case 0xc3:
    return true;
  case 0xcc:
  case 0xd0:
    return reader_take(reader, 1);
  case 0xcd:
  case 0xd1:
    return reader_take(reader, 2);
  case 0xca:
  case 0xce:
  case 0xd2:
    return reader_take(reader, 4);
  case 0xcb:
  case 0xcf:
  case 0xd3:
    return reader_take(reader, 8);
  case 0xd9:
    return reader_take(reader, get_be(reader, 1));
  case 0xda:
    return reader_take(reader, get_be(reader, 2));
  case 0xdb:
    return reader_take(reader, get_be(reader, 4));
  case 0xdc:
  case 0xde:
    count = get_be(reader, 2);
    break;
  case 0xdd:
  case 0xdf:
    count = get_be(reader, 4);
    break;
  default:
    return false;
  }
  *due += head >= 0xde ? 2 * count : count;
  return !reader->bad;
}

/** value_skip() with the place apart from the reader, which would else be written at each head.
 * @return behind the value, or null if malformed. */
static inline const uint8_t *skip(const uint8_t *at, const uint8_t *end) {
  for (uint64_t due = 1; due > 0; due--) {
    if (at >= end) return NULL;
    uint8_t head = *at++;
    if (head <= 0x7f || head >= 0xe0) continue;
    if (head <= 0x8f) {
      due += 2 * (uint64_t)(head & 0x0f);
    } else if (head <= 0x9f) {
      due += head & 0x0f;
    } else if (head <= 0xbf || head == 0xcb) {
      int more = head <= 0xbf ? head & 0x1f : 8;
      if (end - at < more) return NULL;
      at += more;
    } else {
      struct reader reader = {at, end, false};
      if (!skip_tail(&reader, head, &due)) return NULL;
      at = reader.at;
    }
  }
  return at;
}

// Apart from value_read(), because most of what is in an event is only ever passed over.
void value_skip(struct reader *reader) {
  const uint8_t *at = reader->bad ? NULL : skip(reader->at, reader->end);
  if (at)
    reader->at = at;
  else
    reader->bad = true;
}

struct str value_slice(struct reader *reader) {
  const uint8_t *start = reader->at;
  value_skip(reader);
  if (reader->bad) return STR("");
  return (struct str){(const char *)start, (size_t)(reader->at - start)};
}

/** @param depth  containers that may still be opened. */
static bool is_valid(struct reader *reader, unsigned depth) {
  struct value value = value_read(reader);
  if (reader->bad) return false;
  if (value.type != VALUE_ARRAY && value.type != VALUE_MAP) return true;
  if (depth == 0) return false;
  for (uint32_t i = 0; i < value.count; i++) {
    if (value.type == VALUE_MAP && (value_read(reader).type != VALUE_STRING || reader->bad)) return false;
    if (!is_valid(reader, depth - 1)) return false;
  }
  return true;
}

bool value_valid(struct str bytes) {
  struct reader reader = reader_of(bytes);
  return is_valid(&reader, VALUE_DEPTH_MAX) && reader_left(&reader) == 0;
}

struct value value_head(struct str bytes) {
  struct reader reader = reader_of(bytes);
  return value_read(&reader);
}

uint32_t value_members(struct str map, struct value_pair *pairs, uint32_t max) {
  struct reader reader = reader_of(map);
  struct value head = value_read(&reader);
  if (head.type != VALUE_MAP || head.count > max) return 0;
  const uint8_t *at = reader.at, *end = reader.end;
  for (uint32_t i = 0; i < head.count; i++) {
    ptrdiff_t len = at < end && (*at & 0xe0) == 0xa0 ? *at & 0x1f : -1; // as nearly all keys are
    if (len >= 0 && end - at > len) {
      pairs[i].key = (struct str){(const char *)at + 1, (size_t)len};
      at += 1 + len;
    } else {
      reader.at = at;
      struct value key = value_read(&reader);
      if (key.type != VALUE_STRING) return 0;
      pairs[i].key = key.string;
      at = reader.at;
    }
    const uint8_t *behind = skip(at, end);
    if (!behind) return 0;
    pairs[i].value = (struct str){(const char *)at, (size_t)(behind - at)};
    at = behind;
  }
  return head.count;
}

bool value_member(struct str bytes, struct str key, struct str *out) {
  struct reader reader = reader_of(bytes);
  struct value map = value_read(&reader);
  if (map.type != VALUE_MAP) return false;
  bool found = false;
  for (uint32_t i = 0; i < map.count && !reader.bad; i++) {
    struct value name = value_head((struct str){(const char *)reader.at, reader_left(&reader)});
    value_skip(&reader);
    struct str member = value_slice(&reader);
    if (reader.bad || name.type != VALUE_STRING || !str_equal(name.string, key)) continue;
    *out = member;
    found = true;
  }
  return found;
}

struct str value_member_text(struct str map, const char *name) {
  struct str found;
  if (!value_member(map, str_from(name), &found) || value_head(found).type != VALUE_STRING) return STR("");
  return value_head(found).string;
}

int64_t value_member_integer(struct str map, const char *name) {
  struct str found;
  if (!value_member(map, str_from(name), &found) || value_head(found).type != VALUE_INTEGER) return 0;
  return value_head(found).integer;
}

/** The element whose position `step` spells, from 0. */
static bool find_element(struct str bytes, struct str step, struct str *out) {
  struct reader reader = reader_of(bytes);
  struct value array = value_read(&reader);
  if (array.type != VALUE_ARRAY || step.len == 0 || step.len > 9) return false;
  uint32_t position = 0;
  for (size_t i = 0; i < step.len; i++) {
    if (step.data[i] < '0' || step.data[i] > '9') return false;
    position = position * 10 + (uint32_t)(step.data[i] - '0');
  }
  if (position >= array.count) return false;
  while (position--) value_skip(&reader);
  *out = value_slice(&reader);
  return !reader.bad;
}

bool value_find(struct str bytes, struct str path, struct str *out) {
  while (path.len > 0) {
    const char *dot = memchr(path.data, '.', path.len);
    struct str step = {path.data, dot ? (size_t)(dot - path.data) : path.len};
    if (dot && step.len + 1 == path.len) return false;
    if (!value_member(bytes, step, &bytes) && !find_element(bytes, step, &bytes)) return false;
    path.data += step.len + (dot != NULL);
    path.len -= step.len + (dot != NULL);
  }
  *out = bytes;
  return true;
}

bool value_as_number(struct str bytes, double *out) {
  struct value value = value_head(bytes);
  if (value.type == VALUE_INTEGER)
    *out = (double)value.integer;
  else if (value.type == VALUE_NUMBER)
    *out = value.number;
  else
    return false;
  return true;
}

static void put_decimal(int64_t integer, struct buf *out) {
  char text[20], *at = text + sizeof text;
  uint64_t rest = integer < 0 ? 0 - (uint64_t)integer : (uint64_t)integer;
  do *--at = (char)('0' + rest % 10);
  while ((rest /= 10) > 0);
  if (integer < 0) *--at = '-';
  buf_append(out, at, (size_t)(text + sizeof text - at));
}

static bool is_exact_integer(double number) {
  return fabs(number) <= EXACT_INTEGER_MAX && number == (double)(int64_t)number;
}

/** Few digits that read back as `number`, which is finite and not whole. */
static void put_fraction(double number, struct buf *out) {
  // Amounts have few decimals: n / 10^k is correctly rounded, so if it gives the number back, its digits do.
  double power = 10;
  for (int decimals = 1; decimals <= 6; decimals++, power *= 10) {
    double scaled = nearbyint(number * power);
    if (fabs(scaled) >= 1e15) break;
    if (scaled / power != number) continue;
    uint64_t digits = (uint64_t)fabs(scaled), unit = (uint64_t)power;
    if (number < 0) buf_put_u8(out, '-');
    put_decimal((int64_t)(digits / unit), out);
    uint8_t *fraction = buf_reserve(out, 1 + (size_t)decimals);
    fraction[0] = '.';
    digits %= unit;
    for (int i = decimals; i > 0; i--, digits /= 10) fraction[i] = (uint8_t)('0' + digits % 10);
    out->len += 1 + (size_t)decimals;
    return;
  }
  char text[32];
  for (int digits = 15; digits <= 17; digits++) {
    snprintf(text, sizeof text, "%.*g", digits, number);
    if (strtod(text, NULL) == number) break;
  }
  buf_append(out, text, strlen(text));
}

static void put_number_text(double number, struct buf *out) {
  if (is_exact_integer(number))
    put_decimal((int64_t)number, out);
  else
    put_fraction(number, out);
}

bool value_key(struct str bytes, struct buf *out) {
  struct value value = value_head(bytes);
  switch (value.type) {
  case VALUE_BOOL:
    if (value.boolean)
      buf_append(out, "true", 4);
    else
      buf_append(out, "false", 5);
    return true;
  case VALUE_INTEGER:
    put_decimal(value.integer, out);
    return true;
  case VALUE_NUMBER:
    if (!isfinite(value.number)) return false;
    put_number_text(value.number, out);
    return true;
  case VALUE_STRING:
    buf_append(out, value.string.data, value.string.len);
    return true;
  default:
    return false;
  }
}

static void put_head(struct buf *out, uint8_t head, uint64_t value, size_t bytes) {
  uint8_t *at = buf_reserve(out, 9);
  at[0] = head;
  for (size_t i = bytes; i > 0; i--, value >>= 8) at[i] = (uint8_t)value;
  out->len += 1 + bytes;
}

void value_put_nil(struct buf *out) {
  buf_put_u8(out, 0xc0);
}

void value_put_bool(struct buf *out, bool value) {
  buf_put_u8(out, value ? 0xc3 : 0xc2);
}

void value_put_integer(struct buf *out, int64_t value) {
  if (value >= -32 && value <= 0x7f)
    buf_put_u8(out, (uint8_t)value);
  else if (value >= 0) {
    if (value <= UINT8_MAX)
      put_head(out, 0xcc, (uint64_t)value, 1);
    else if (value <= UINT16_MAX)
      put_head(out, 0xcd, (uint64_t)value, 2);
    else if (value <= UINT32_MAX)
      put_head(out, 0xce, (uint64_t)value, 4);
    else
      put_head(out, 0xcf, (uint64_t)value, 8);
  } else if (value >= INT8_MIN)
    put_head(out, 0xd0, (uint64_t)value, 1);
  else if (value >= INT16_MIN)
    put_head(out, 0xd1, (uint64_t)value, 2);
  else if (value >= INT32_MIN)
    put_head(out, 0xd2, (uint64_t)value, 4);
  else
    put_head(out, 0xd3, (uint64_t)value, 8);
}

void value_put_number(struct buf *out, double value) {
  if (is_exact_integer(value)) {
    value_put_integer(out, (int64_t)value);
    return;
  }
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  put_head(out, 0xcb, bits, 8);
}

void value_put_string(struct buf *out, struct str value) {
  if (value.len <= 31)
    put_head(out, (uint8_t)(0xa0 | value.len), 0, 0);
  else if (value.len <= UINT8_MAX)
    put_head(out, 0xd9, value.len, 1);
  else if (value.len <= UINT16_MAX)
    put_head(out, 0xda, value.len, 2);
  else
    put_head(out, 0xdb, value.len, 4);
  buf_append(out, value.data, value.len);
}

void value_put_array(struct buf *out, uint32_t count) {
  if (count <= 15)
    put_head(out, (uint8_t)(0x90 | count), 0, 0);
  else if (count <= UINT16_MAX)
    put_head(out, 0xdc, count, 2);
  else
    put_head(out, 0xdd, count, 4);
}

void value_put_map(struct buf *out, uint32_t pairs) {
  if (pairs <= 15)
    put_head(out, (uint8_t)(0x80 | pairs), 0, 0);
  else if (pairs <= UINT16_MAX)
    put_head(out, 0xde, pairs, 2);
  else
    put_head(out, 0xdf, pairs, 4);
}

void value_put_member_text(struct buf *out, const char *name, struct str value) {
  value_put_string(out, str_from(name));
  value_put_string(out, value);
}

void value_put_member_integer(struct buf *out, const char *name, int64_t value) {
  value_put_string(out, str_from(name));
  value_put_integer(out, value);
}

void value_put_member_hash(struct buf *out, const char *name, struct hash128 hash) {
  char hex[33];
  hash128_hex(hash, hex);
  value_put_member_text(out, name, str_from(hex));
}

void value_put_member_value(struct buf *out, const char *name, struct str value) {
  value_put_string(out, str_from(name));
  if (value.len)
    buf_append(out, value.data, value.len);
  else
    value_put_nil(out);
}

void value_put_member_stored(struct buf *out, const char *name, struct str value) {
  value_put_string(out, str_from(name));
  if (value.len && value_valid(value))
    buf_append(out, value.data, value.len);
  else
    value_put_map(out, 0);
}

/** A character that is not shown, or what is none. All such have at most 16 bits. @return its length. */
static size_t put_json_point(const uint8_t *at, const uint8_t *end, struct buf *out) {
  static const char hex[] = "0123456789abcdef";
  size_t length = utf8_length(at, end);
  unsigned point = length == 3   ? (at[0] & 0xFu) << 12 | (at[1] & 0x3Fu) << 6 | (at[2] & 0x3Fu)
                   : length == 2 ? (at[0] & 0x1Fu) << 6 | (at[1] & 0x3Fu)
                                 : at[0];
  if (length)
    buf_append(
        out,
        (char[]){'\\', 'u', hex[point >> 12], hex[point >> 8 & 15], hex[point >> 4 & 15], hex[point & 15]},
        6);
  else
    buf_append(out, "\xEF\xBF\xBD", 3);
  return length ? length : 1;
}

void value_put_json_string(struct str string, struct buf *out) {
  const uint8_t *at = (const uint8_t *)string.data, *end = at + string.len, *plain = at;
  buf_put_u8(out, '"');
  while (at < end) {
    for (uint64_t bytes; end - at >= 8; at += 8) {
      memcpy(&bytes, at, sizeof bytes);
      uint64_t stops = value_json_stops(bytes);
      if (!stops) continue;
      at += __builtin_ctzll(stops) / 8;
      break;
    }
    if (at == end) break;
    size_t length = *at != '"' && *at != '\\' ? utf8_shown(at, end) : 0;
    if (length) {
      at += length;
      continue;
    }
    buf_append(out, plain, (size_t)(at - plain));
    switch (*at) {
    case '"':
      buf_append(out, "\\\"", 2);
      break;
    case '\\':
      buf_append(out, "\\\\", 2);
      break;
    case '\n':
      buf_append(out, "\\n", 2);
      break;
    case '\r':
      buf_append(out, "\\r", 2);
      break;
    case '\t':
      buf_append(out, "\\t", 2);
      break;
    default:
      at += put_json_point(at, end, out) - 1;
    }
    plain = ++at;
  }
  buf_append(out, plain, (size_t)(at - plain));
  buf_put_u8(out, '"');
}

/** Writes well-formed JSON from malformed bytes too: what cannot be read is null. */
static void put_json(struct reader *reader, unsigned depth, struct buf *out) {
  struct reader before = *reader;
  struct value value = value_read(reader);
  if ((value.type == VALUE_ARRAY || value.type == VALUE_MAP) && depth == 0) {
    value_skip(&before);
    *reader = before;
    value.type = VALUE_NIL;
  }
  switch (value.type) {
  case VALUE_NIL:
    buf_append(out, "null", 4);
    break;
  case VALUE_BOOL:
    if (value.boolean)
      buf_append(out, "true", 4);
    else
      buf_append(out, "false", 5);
    break;
  case VALUE_INTEGER:
    put_decimal(value.integer, out);
    break;
  case VALUE_NUMBER:
    if (isfinite(value.number))
      put_number_text(value.number, out);
    else
      buf_append(out, "null", 4);
    break;
  case VALUE_STRING:
    value_put_json_string(value.string, out);
    break;
  case VALUE_ARRAY:
    buf_put_u8(out, '[');
    for (uint32_t i = 0; i < value.count && !reader->bad; i++) {
      if (i) buf_put_u8(out, ',');
      put_json(reader, depth - 1, out);
    }
    buf_put_u8(out, ']');
    break;
  case VALUE_MAP:
    buf_put_u8(out, '{');
    for (uint32_t i = 0; i < value.count && !reader->bad; i++) {
      if (i) buf_put_u8(out, ',');
      struct value key = value_read(reader);
      if (key.type != VALUE_STRING) reader->bad = true;
      value_put_json_string(reader->bad ? STR("") : key.string, out);
      buf_put_u8(out, ':');
      put_json(reader, depth - 1, out);
    }
    buf_put_u8(out, '}');
    break;
  }
}

void value_to_json(struct str bytes, struct buf *out) {
  struct reader reader = reader_of(bytes);
  put_json(&reader, VALUE_DEPTH_MAX, out);
}
