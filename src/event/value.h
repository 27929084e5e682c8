/** The envelope of an event, its formats and the values in it.
 *
 * A value is held as MessagePack bytes (https://github.com/msgpack/msgpack/blob/master/spec.md; no ext, no
 * bin): what JSON can say, in a form that is walked without parsing and sliced without copying. Ingest makes
 * it from JSON once; log, record, Lua and templates read it as it lies. Integers outside int64 become
 * doubles.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"

enum value_type { VALUE_NIL, VALUE_BOOL, VALUE_INTEGER, VALUE_NUMBER, VALUE_STRING, VALUE_ARRAY, VALUE_MAP };

/** Containers nest at most this deep; deeper input is refused where it comes in. */
enum { VALUE_DEPTH_MAX = 64 };

/** One value's head. For ARRAY and MAP the `count` elements (key, value, key, value, …) follow in the reader.
 */
struct value {
  enum value_type type;
  union {
    bool boolean;
    int64_t integer;
    double number;
    struct str string; /**< borrowed from the bytes read */
    uint32_t count;    /**< elements, or pairs */
  };
};

/** Read one head. Malformed bytes set `reader->bad` and give NIL. */
struct value value_read(struct reader *reader);
/** Whether a map or an array comes next. It stays there. */
bool value_opens(const struct reader *reader);
/** Pass over one whole value, containers included; without recursion. */
void value_skip(struct reader *reader);
/** The next whole value as a slice of the bytes. */
struct str value_slice(struct reader *reader);
/** @return whether `bytes` are exactly one well-formed value no deeper than VALUE_DEPTH_MAX, with string
 * keys. What the strings hold is not looked at. */
bool value_valid(struct str bytes);

/** One member of a map, borrowed from its bytes. */
struct value_pair {
  struct str key, value;
};
/** All members of a map, in the order of the bytes. @return how many; 0 if there are more than `max`, or
 * none, or it is malformed. */
uint32_t value_members(struct str map, struct value_pair *pairs, uint32_t max);
/** The value under `key` of the map `bytes`; of equal keys the last. @return false if not a map or not there.
 */
bool value_member(struct str bytes, struct str key, struct str *out);
/** The text, or the whole number, under this name in a map; "" or 0 if there is none, or it is something
 * else. */
struct str value_member_text(struct str map, const char *name);
int64_t value_member_integer(struct str map, const char *name);
/** Follow a dotted path ("items.0.sku"; array steps are numbers, from 0); the empty path is the value itself.
 * @return false if it leads nowhere. */
bool value_find(struct str bytes, struct str path, struct str *out);
/** Integer or number as a double. @return false for any other type. */
bool value_as_number(struct str bytes, double *out);
/** The head alone. */
struct value value_head(struct str bytes);
/** Whether `bytes`, a whole value, are nil. */
static inline bool value_is_nil(struct str bytes) {
  return (uint8_t)bytes.data[0] == 0xc0;
}
/** Whether `bytes`, a whole value, are a map. */
static inline bool value_is_map(struct str bytes) {
  uint8_t head = (uint8_t)bytes.data[0];
  return (head & 0xf0) == 0x80 || head == 0xde || head == 0xdf;
}
/** The string that `bytes`, a whole value, are. @return false if they are something else. */
static inline bool value_text(struct str bytes, struct str *out) {
  if (((uint8_t)bytes.data[0] & 0xe0) == 0xa0) {
    *out = (struct str){bytes.data + 1, bytes.len - 1};
    return true;
  }
  struct value value = value_head(bytes);
  if (value.type != VALUE_STRING) return false;
  *out = value.string;
  return true;
}
/** Text that tells scalars apart and equals for equal ones, as a window's key ("12", "1.5", "true", the
 * string itself: the number 12 and the string "12" are one key, because senders write ids either way).
 * @return false for nil, containers and numbers that are not finite. */
bool value_key(struct str bytes, struct buf *out);

void value_put_nil(struct buf *out);
void value_put_bool(struct buf *out, bool value);
void value_put_integer(struct buf *out, int64_t value);
/** A double; a whole one within ±2^53 is written as an integer, so that 5 and 5.0 are one value. */
void value_put_number(struct buf *out, double value);
void value_put_string(struct buf *out, struct str value);
void value_put_array(struct buf *out, uint32_t count);
void value_put_map(struct buf *out, uint32_t pairs);
/** One pair of a map: the name, and the text or number under it. */
void value_put_member_text(struct buf *out, const char *name, struct str value);
void value_put_member_integer(struct buf *out, const char *name, int64_t value);
void value_put_member_hash(struct buf *out, const char *name, struct hash128 hash); /**< as 32 hex digits */
/** A value's bytes; nil where there are none. */
void value_put_member_value(struct buf *out, const char *name, struct str value);
/** A map that was stored; an empty one where there is none, or none that can be read. */
void value_put_member_stored(struct buf *out, const char *name, struct str value);

/** Append as JSON (UTF-8 as it is, control characters escaped, numbers round-trip). What JSON cannot say does
 * not break it: bytes that are not UTF-8 become U+FFFD; infinities, NaN and what is malformed or too deep
 * become null. */
void value_to_json(struct str bytes, struct buf *out);
/** Of eight bytes of a text, the first lowest: 0 if all are ASCII that is written as it is; else the lowest
 * bit set is in the first that is not. Each term has a byte's highest bit set if that byte is one that must
 * not be; behind such a byte a borrow may set another's. */
static inline uint64_t value_json_stops(uint64_t bytes) {
  static const uint64_t ones = 0x0101010101010101, high = 0x8080808080808080;
  uint64_t quote = bytes ^ (ones * '"'), backslash = bytes ^ (ones * '\\'), erase = bytes ^ (ones * 0x7f);
  return (bytes | (bytes - ones * 0x20) | (quote - ones) | (backslash - ones) | (erase - ones)) & high;
}
/** Append one string as JSON, quotes included. What could steer a terminal (utf8_shown()) is written as
 * \uXXXX: what strangers sent is read there. */
void value_put_json_string(struct str string, struct buf *out);
