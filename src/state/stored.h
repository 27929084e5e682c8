/** Pieces that several stored forms have in common. */
#pragma once

#include "base/buf.h"
#include "base/hash.h"

static inline void stored_put_hash(struct buf *out, struct hash128 hash) {
  buf_put_u64(out, hash.high);
  buf_put_u64(out, hash.low);
}

static inline struct hash128 stored_hash(struct reader *reader) {
  uint64_t high = reader_u64(reader);
  return (struct hash128){high, reader_u64(reader)};
}

/** Times near one another are kept as differences, which wrap rather than overflow. */
static inline void stored_put_after(struct buf *out, int64_t time, int64_t base) {
  buf_put_zigzag(out, (int64_t)((uint64_t)time - (uint64_t)base));
}

static inline int64_t stored_after(struct reader *reader, int64_t base) {
  return (int64_t)((uint64_t)base + (uint64_t)reader_zigzag(reader));
}

/** reader_varint() without a branch on the length, for runs of numbers whose lengths vary. */
static inline uint64_t stored_varint(struct reader *reader) {
  if (reader->bad || reader_left(reader) < 8) return reader_varint(reader);
  uint64_t word;
  memcpy(&word, reader->at, sizeof word);
  word = le64toh(word);
  uint64_t ends = ~word & 0x8080808080808080u;
  if (ends == 0) return reader_varint(reader);
  reader->at += (unsigned)__builtin_ctzll(ends) / 8 + 1;
  word &= ends ^ (ends - 1); // up to the first end; then the gaps between the sevens are closed
  word &= 0x7f7f7f7f7f7f7f7fu;
  word = (word & 0x007f007f007f007fu) | (word & 0x7f007f007f007f00u) >> 1;
  word = (word & 0x00003fff00003fffu) | (word & 0x3fff00003fff0000u) >> 2;
  return (word & 0x000000000fffffffu) | (word & 0x0fffffff00000000u) >> 4;
}

static inline int64_t stored_zigzag(struct reader *reader) {
  uint64_t value = stored_varint(reader);
  return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}
