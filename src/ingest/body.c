#include "ingest/body.h"

#include "base/memory.h"

enum {
  INFLATE_MEMORY = 48 << 10, /**< what zlib takes for one stream */
  FIRST_CAPACITY = 4096
};

uint64_t body_max(const struct body *body, const struct ingest *ingest) {
  uint64_t max = ingest->shared->max_body;
  return body->is_report && max > FEEDBACK_BODY_MAX ? FEEDBACK_BODY_MAX : max;
}

int body_refuse_size(const struct body *body, struct exchange *exchange) {
  uint64_t max = body_max(body, exchange->ingest);
  if (max < exchange->ingest->shared->max_body)
    exchange_refuse(exchange, 413, "reports are taken up to %llu bytes a request", (unsigned long long)max);
  else
    exchange_refuse(exchange, 413, "the body is larger than http.max_body (%llu bytes) allows",
                    (unsigned long long)max);
  return -1;
}

/** Book the difference to a capacity of `capacity` bytes. @return 0, or -1 with the exchange refused. */
static int book(struct body *body, struct exchange *exchange, size_t capacity) {
  struct ingest *ingest = exchange->ingest;
  if (capacity <= body->booked) return 0;
  size_t more = capacity - body->booked;
  if (body->is_report && !account_take(&ingest->reports, more))
    return exchange_refuse_memory(exchange, more, ingest->reports.limit);
  if (!account_take(&ingest->account, more)) {
    if (body->is_report) account_give(&ingest->reports, more);
    return exchange_refuse_memory(exchange, more, ingest->account.limit);
  }
  body->booked = exchange->body_booked = capacity;
  return 0;
}

/** Room for `extra` more bytes and the padding. */
static int reserve(struct body *body, struct exchange *exchange, size_t extra) {
  struct ingest *ingest = exchange->ingest;
  if (!body->bytes.data && ingest->spare_body_count > 0) {
    body->bytes = ingest->spare_bodies[--ingest->spare_body_count];
    buf_clear(&body->bytes);
  }
  size_t need = body->bytes.len + extra + JSON_PADDING, capacity = body->bytes.cap;
  if (capacity < FIRST_CAPACITY) capacity = FIRST_CAPACITY;
  while (capacity < need) capacity *= 2;
  if (book(body, exchange, capacity + (body->inflate ? INFLATE_MEMORY : 0))) return -1;
  buf_reserve(&body->bytes, capacity - body->bytes.len);
  return 0;
}

int body_unpack(struct body *body, struct exchange *exchange) {
  if (book(body, exchange, INFLATE_MEMORY)) return -1;
  body->inflate = memory_zalloc(sizeof *body->inflate);
  body->member_ended = true; // an empty body is no member cut short
  // 15 bits of window, and 16 for "gzip, not zlib".
  if (inflateInit2(body->inflate, 15 + 16) != Z_OK) {
    memory_free(body->inflate);
    body->inflate = NULL;
    return exchange_refuse_memory(exchange, 0, UINT64_MAX);
  }
  return 0;
}

static int inflate_bytes(struct body *body, struct exchange *exchange, struct str bytes) {
  uint64_t max_body = body_max(body, exchange->ingest);
  z_stream *stream = body->inflate;
  stream->next_in = (Bytef *)(uintptr_t)bytes.data;
  stream->avail_in = (uInt)bytes.len;
  int code = Z_OK;
  // Until all input is taken and the output was not filled to its brim, which is when zlib holds nothing
  // back.
  do {
    if (body->member_ended && stream->avail_in > 0) {
      inflateReset(stream);
      body->member_ended = false;
    }
    if (reserve(body, exchange, FIRST_CAPACITY)) return -1;
    size_t room = body->bytes.cap - body->bytes.len - JSON_PADDING;
    // One byte past the limit tells a body that fits from one that does not.
    if (room > max_body + 1 - body->bytes.len) room = max_body + 1 - body->bytes.len;
    stream->next_out = body->bytes.data + body->bytes.len;
    stream->avail_out = (uInt)room;
    code = inflate(stream, Z_NO_FLUSH);
    body->bytes.len += room - stream->avail_out;
    if (body->bytes.len > max_body) return body_refuse_size(body, exchange);
    if (code == Z_STREAM_END)
      body->member_ended = true;
    else if (code != Z_OK && code != Z_BUF_ERROR) {
      exchange_refuse(exchange, 400, "the body is not gzip: %s",
                      stream->msg ? stream->msg : "it ends too soon");
      return -1;
    }
  } while (stream->avail_in > 0 || stream->avail_out == 0);
  return 0;
}

int body_add(struct body *body, struct exchange *exchange, struct str bytes, bool whole) {
  body->received += bytes.len;
  if (body->received > body_max(body, exchange->ingest)) return body_refuse_size(body, exchange);
  if (body->inflate) return inflate_bytes(body, exchange, bytes);
  if (whole) {
    body->borrowed = bytes;
    return 0;
  }
  if (reserve(body, exchange, bytes.len)) return -1;
  buf_append(&body->bytes, bytes.data, bytes.len);
  return 0;
}

int body_end(struct body *body, struct exchange *exchange, struct str *text) {
  if (body->inflate && !body->member_ended) {
    exchange_refuse(exchange, 400, "the body is not gzip: it ends too soon");
    return -1;
  }
  *text = body->borrowed.data ? body->borrowed : buf_str(&body->bytes);
  if (!text->data) *text = STR("");
  return 0;
}

void body_reset(struct body *body, struct ingest *ingest) {
  if (body->inflate) {
    inflateEnd(body->inflate);
    memory_free(body->inflate);
  }
  if (body->booked) account_give(&ingest->account, body->booked);
  if (body->booked && body->is_report) account_give(&ingest->reports, body->booked);
  if (body->bytes.data && body->bytes.cap <= SPARE_BODY_MAX && ingest->spare_body_count < SPARE_BODIES &&
      !ingest->closing)
    ingest->spare_bodies[ingest->spare_body_count++] = body->bytes;
  else
    buf_deinit(&body->bytes);
  *body = (struct body){0};
}
