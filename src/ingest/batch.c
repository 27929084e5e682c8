#include "ingest/batch.h"

#include "base/clock.h"

#include <stdio.h>

static int refuse_empty(struct exchange *exchange) {
  exchange_refuse(exchange, 400, "no events: the body holds none");
  return -1;
}

static int reserve(struct exchange *exchange, uint32_t count) {
  uint32_t max = exchange->ingest->shared->max_items;
  if (count == 0) return refuse_empty(exchange);
  if (count > max) {
    exchange_refuse(exchange, 413, "more events than ingest.max_items (%u) allows in one request",
                    (unsigned)max);
    return -1;
  }
  return exchange_reserve(exchange, count);
}

/** Take the next line off `text`. @return false at the end. */
static bool next_line(struct str *text, struct str *line) {
  if (text->len == 0) return false;
  const char *end = memchr(text->data, '\n', text->len);
  *line = (struct str){text->data, end ? (size_t)(end - text->data) : text->len};
  size_t taken = line->len + (end != NULL);
  text->data += taken;
  text->len -= taken;
  return true;
}

static bool is_blank(struct str line) {
  for (size_t i = 0; i < line.len; i++)
    if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r') return false;
  return true;
}

/** Read each line into the exchange's value; a broken one leaves nil there, and its item is REJECTED. */
static int read_lines(struct exchange *exchange, struct str text) {
  struct ingest *ingest = exchange->ingest;
  uint32_t count = 0, max = ingest->shared->max_items;
  struct str rest = text, line;
  while (count <= max && next_line(&rest, &line)) count += !is_blank(line);
  if (reserve(exchange, count)) return -1;
  struct error err;
  rest = text;
  struct ingest_item *item = exchange->batch.items;
  for (size_t number = 1; next_line(&rest, &line); number++) {
    if (is_blank(line)) continue;
    if (json_parse_line(ingest->json, line.data, line.len, number, &exchange->value, &err)) {
      value_put_nil(&exchange->value);
      item->verdict = INGEST_REJECTED;
      item->fault->pointer[0] = 0;
      snprintf(item->fault->message, sizeof item->fault->message, "%.*s",
               (int)sizeof item->fault->message - 1, err.message);
    }
    item++;
  }
  return 0;
}

/** Read one event or an array of them. @param at  where the items begin in the exchange's value. */
static int read_document(struct exchange *exchange, struct str text, size_t *at) {
  struct error err;
  if (is_blank(text)) return refuse_empty(exchange);
  struct ingest *ingest = exchange->ingest;
  if (json_parse_items(ingest->json, text.data, text.len, 1, &exchange->value, &ingest->ends, &err)) {
    exchange_refuse(exchange, 400, "%s", err.message);
    return -1;
  }
  struct reader reader = reader_of(buf_str(&exchange->value));
  struct value head = value_read(&reader);
  bool is_array = head.type == VALUE_ARRAY;
  *at = is_array ? (size_t)(reader.at - exchange->value.data) : 0;
  return reserve(exchange, is_array ? head.count : 1);
}

/** Of a document that was parsed with its ends, or of lines without. */
static int read_items(struct exchange *exchange, struct reader reader, struct event_ends *ends) {
  if (exchange_book(exchange, exchange->value.cap)) return -1;
  int64_t received = clock_wall_ms();
  // max_past is about clients' clocks. A provider tries again for as long as the host was away, and never
  // once it has been answered: an unsubscribe would be lost.
  struct event_limits limits = exchange->ingest->shared->event_limits;
  limits.late_taken = exchange->reporter != NULL;
  for (uint32_t i = 0; i < exchange->batch.count; i++) {
    struct ingest_item *item = &exchange->batch.items[i];
    if (item->verdict != INGEST_PENDING)
      value_skip(&reader);
    else if (event_read(&item->event, &reader, ends, received, &limits, item->fault))
      item->verdict = INGEST_REJECTED;
  }
  return 0;
}

int batch_read(struct exchange *exchange, struct str text, enum media media) {
  struct buf *ends = &exchange->ingest->ends;
  size_t at = 0;
  buf_clear(ends);
  int code = media == MEDIA_NDJSON ? read_lines(exchange, text) : read_document(exchange, text, &at);
  if (code == 0) {
    struct reader reader = reader_of(buf_str(&exchange->value));
    struct event_ends noted = {exchange->value.data, (const uint64_t *)(const void *)ends->data};
    reader.at += at;
    code = read_items(exchange, reader, media == MEDIA_NDJSON ? NULL : &noted);
  }
  if (ends->cap > SPARE_ENDS_MAX) buf_deinit(ends);
  // A refused batch may wait for its turn to be answered; what it holds is not booked.
  if (code) buf_deinit(&exchange->value);
  return code;
}
