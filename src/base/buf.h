/** A growing byte buffer, and the binary vocabulary every stored format is written in.
 *
 * Integers are little-endian; varints are LEB128; a string is its varint length and its bytes. Reading never
 * runs past the end: it sets `bad`, returns zeroes from then on, and the caller asks once, at the end. A
 * buffer belongs to one thread at a time. Growing cannot fail (base/memory.h).
 */
#pragma once

#include "base/str.h"
#include <endian.h>
#include <stdint.h>

struct buf {
  uint8_t *data;
  size_t len, cap;
};

void buf_init(struct buf *buf);
void buf_deinit(struct buf *buf);
/** Forget the content, keep the memory. */
static inline void buf_clear(struct buf *buf) {
  buf->len = 0;
}
/** The slow half of buf_reserve(): makes the capacity at least len + extra. */
void buf_grow(struct buf *buf, size_t extra);
/** Room for `extra` more bytes. @return where they go; `len` does not move. */
static inline uint8_t *buf_reserve(struct buf *buf, size_t extra) {
  if (__builtin_expect(buf->cap - buf->len < extra || buf->data == NULL, 0)) buf_grow(buf, extra);
  return buf->data + buf->len;
}
static inline void buf_append(struct buf *buf, const void *data, size_t len) {
  if (len == 0) return;
  memcpy(buf_reserve(buf, len), data, len);
  buf->len += len;
}
void buf_printf(struct buf *buf, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline struct str buf_str(const struct buf *buf) {
  return (struct str){(const char *)buf->data, buf->len};
}

static inline void buf_put_u8(struct buf *buf, uint8_t value) {
  *buf_reserve(buf, 1) = value;
  buf->len += 1;
}
static inline void buf_put_u16(struct buf *buf, uint16_t value) {
  value = htole16(value);
  buf_append(buf, &value, sizeof value);
}
static inline void buf_put_u32(struct buf *buf, uint32_t value) {
  value = htole32(value);
  buf_append(buf, &value, sizeof value);
}
static inline void buf_put_u64(struct buf *buf, uint64_t value) {
  value = htole64(value);
  buf_append(buf, &value, sizeof value);
}
/** Sorts as a number when compared as bytes. */
static inline void buf_put_u64_be(struct buf *buf, uint64_t value) {
  value = htobe64(value);
  buf_append(buf, &value, sizeof value);
}
static inline void buf_put_varint(struct buf *buf, uint64_t value) {
  uint8_t *at = buf_reserve(buf, 10);
  size_t used = 0;
  for (; value >= 0x80; value >>= 7) at[used++] = (uint8_t)(value | 0x80);
  at[used++] = (uint8_t)value;
  buf->len += used;
}
/** A varint for numbers of either sign. */
static inline void buf_put_zigzag(struct buf *buf, int64_t value) {
  buf_put_varint(buf, ((uint64_t)value << 1) ^ (value < 0 ? UINT64_MAX : 0));
}
static inline void buf_put_str(struct buf *buf, struct str value) {
  buf_put_varint(buf, value.len);
  buf_append(buf, value.data, value.len);
}

struct reader {
  const uint8_t *at, *end;
  bool bad; /**< something asked for more than there was */
};

static inline struct reader reader_of(struct str bytes) {
  return (struct reader){(const uint8_t *)bytes.data, (const uint8_t *)bytes.data + bytes.len, false};
}
static inline size_t reader_left(const struct reader *reader) {
  return (size_t)(reader->end - reader->at);
}
/** The next `len` bytes, or null with `bad` set when there are fewer. */
static inline const uint8_t *reader_take(struct reader *reader, size_t len) {
  if (__builtin_expect(reader->bad || reader_left(reader) < len, 0)) {
    reader->bad = true;
    return NULL;
  }
  const uint8_t *at = reader->at;
  reader->at += len;
  return at;
}
static inline uint8_t reader_u8(struct reader *reader) {
  const uint8_t *at = reader_take(reader, 1);
  return at ? *at : 0;
}
static inline uint16_t reader_u16(struct reader *reader) {
  const uint8_t *at = reader_take(reader, 2);
  uint16_t value = 0;
  if (at) memcpy(&value, at, sizeof value);
  return le16toh(value);
}
static inline uint32_t reader_u32(struct reader *reader) {
  const uint8_t *at = reader_take(reader, 4);
  uint32_t value = 0;
  if (at) memcpy(&value, at, sizeof value);
  return le32toh(value);
}
static inline uint64_t reader_u64(struct reader *reader) {
  const uint8_t *at = reader_take(reader, 8);
  uint64_t value = 0;
  if (at) memcpy(&value, at, sizeof value);
  return le64toh(value);
}
static inline uint64_t reader_u64_be(struct reader *reader) {
  const uint8_t *at = reader_take(reader, 8);
  uint64_t value = 0;
  if (at) memcpy(&value, at, sizeof value);
  return be64toh(value);
}
uint64_t reader_varint_long(struct reader *reader);
/** More than 64 bits are as bad as a missing end. */
static inline uint64_t reader_varint(struct reader *reader) {
  if (__builtin_expect(!reader->bad && reader->at < reader->end && *reader->at < 0x80, 1))
    return *reader->at++;
  return reader_varint_long(reader);
}
static inline int64_t reader_zigzag(struct reader *reader) {
  uint64_t value = reader_varint(reader);
  return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}
/** Borrows from the bytes read; empty, never null, when bad. */
static inline struct str reader_bytes(struct reader *reader, size_t len) {
  const uint8_t *at = reader_take(reader, len);
  return at ? (struct str){(const char *)at, len} : (struct str){"", 0};
}
/** Borrows from the bytes read; empty, never null, when bad. */
static inline struct str reader_str(struct reader *reader) {
  uint64_t len = reader_varint(reader);
  return reader_bytes(reader, (size_t)len);
}
