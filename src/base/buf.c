#include "base/buf.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void buf_init(struct buf *buf) {
  *buf = (struct buf){0};
}

void buf_deinit(struct buf *buf) {
  memory_free(buf->data);
  *buf = (struct buf){0};
}

void buf_grow(struct buf *buf, size_t extra) {
  size_t need;
  // A length that wraps is a caller's bug, and writing on would corrupt the heap.
  if (__builtin_add_overflow(buf->len, extra, &need) || need > SIZE_MAX / 2) abort();
  size_t cap = buf->cap ? buf->cap : 64;
  while (cap < need) cap *= 2;
  buf->data = memory_realloc(buf->data, cap);
  buf->cap = cap;
}

void buf_printf(struct buf *buf, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  buf_reserve(buf, 64);
  int len = vsnprintf((char *)buf->data + buf->len, buf->cap - buf->len, format, args);
  va_end(args);
  if (len > 0 && (size_t)len >= buf->cap - buf->len) {
    buf_reserve(buf, (size_t)len + 1);
    vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, format, again);
  }
  va_end(again);
  if (len > 0) buf->len += (size_t)len;
}

uint64_t reader_varint_long(struct reader *reader) {
  const uint8_t *at = reader->at;
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && at < reader->end && !reader->bad; shift += 7) {
    uint8_t byte = *at++;
    if (shift == 63 && byte > 1) break;
    value |= (uint64_t)(byte & 0x7f) << shift;
    if (byte >= 0x80) continue;
    reader->at = at;
    return value;
  }
  reader->bad = true;
  return 0;
}
