// covers: src/ingest/batch.c
/* Bodies: one event, an array, or lines. Each item is judged as if it had come alone, whatever its neighbours
 * are. Input: 'n' for lines or anything else for a document, then the body. */
#include "base/memory.h"
#include "ingest/batch.h"
#include "values.h"

#include <stdlib.h>

enum { ITEMS_MAX = 100 };

static struct ingest ingest;
static struct ingest_shared shared;

void fuzz_set_up(void) {
  shared.max_items = ITEMS_MAX;
  shared.body_memory = 64 << 20;
  shared.event_limits = (struct event_limits){.max_future_ms = 300000, .max_past_ms = INT64_C(30) * 86400000};
  ingest.shared = &shared;
  ingest.account = (struct account){.sum = &shared.memory, .limit = shared.body_memory};
  ingest.json = json_parser_new();
}

static int read_batch(struct exchange *exchange, struct str text, enum media media) {
  char *padded = fuzz_copy(text, JSON_PADDING, ']');
  int code = batch_read(exchange, (struct str){padded, text.len}, media);
  free(padded);
  HOLDS(code == 0 || code == -1);
  HOLDS(code == 0 ? exchange->batch.count > 0 && exchange->batch.count <= ITEMS_MAX
                  : exchange->status >= 400);
  return code;
}

static bool same_item(const struct ingest_item *a, const struct ingest_item *b, bool syntax) {
  if (a->verdict != b->verdict) return false;
  if (a->verdict == INGEST_REJECTED)
    // A message about syntax names the line.
    return syntax || (strcmp(a->fault->pointer, b->fault->pointer) == 0 &&
                      strcmp(a->fault->message, b->fault->message) == 0);
  return str_equal(a->event.id, b->event.id) && str_equal(a->event.type, b->event.type) &&
         entity_equal(a->event.entity, b->event.entity) && a->event.timestamp == b->event.timestamp &&
         fuzz_equal_values(a->event.payload, b->event.payload) &&
         (a->event.metadata.len ? fuzz_equal_values(a->event.metadata, b->event.metadata)
                                : b->event.metadata.len == 0);
}

/** The item as its own body. An array would be taken for a list of events, and is refused here as an item. */
static void check_alone(const struct ingest_item *item, struct str text) {
  struct exchange *exchange = exchange_new(&ingest, NULL);
  size_t blank = 0;
  while (blank < text.len && memchr(" \t\r\n", text.data[blank], 4)) blank++;
  bool array = blank < text.len && text.data[blank] == '[';
  if (array) {
    HOLDS(item->verdict == INGEST_REJECTED);
  } else if (read_batch(exchange, text, MEDIA_JSON)) {
    HOLDS(item->verdict == INGEST_REJECTED);
  } else {
    HOLDS(exchange->batch.count == 1 && same_item(item, &exchange->batch.items[0], false), "%.*s",
          STR_ARG(text));
  }
  exchange_free(exchange);
}

static void check_lines(const struct exchange *exchange, struct str text) {
  uint32_t index = 0;
  while (text.len) {
    const char *end = memchr(text.data, '\n', text.len);
    struct str line = {text.data, end ? (size_t)(end - text.data) : text.len};
    text.data += line.len + (end != NULL);
    text.len -= line.len + (end != NULL);
    size_t blank = 0;
    while (blank < line.len && memchr(" \t\r", line.data[blank], 3)) blank++;
    if (blank == line.len) continue;
    HOLDS(index < exchange->batch.count);
    check_alone(&exchange->batch.items[index++], line);
  }
  HOLDS(index == exchange->batch.count);
}

/** The same items as lines. */
static void check_document(const struct exchange *exchange) {
  struct str value = buf_str(&exchange->value);
  struct reader reader = reader_of(value);
  if (value_head(value).type == VALUE_ARRAY) value_read(&reader);
  struct buf lines;
  buf_init(&lines);
  for (uint32_t i = 0; i < exchange->batch.count; i++) {
    value_to_json(value_slice(&reader), &lines);
    buf_put_u8(&lines, '\n');
  }
  struct exchange *again = exchange_new(&ingest, NULL);
  HOLDS(read_batch(again, buf_str(&lines), MEDIA_NDJSON) == 0 && again->batch.count == exchange->batch.count);
  for (uint32_t i = 0; i < exchange->batch.count; i++)
    HOLDS(same_item(&exchange->batch.items[i], &again->batch.items[i], false), "item %u", i);
  exchange_free(again);
  buf_deinit(&lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  enum media media = input_u8(&input) == 'n' ? MEDIA_NDJSON : MEDIA_JSON;
  struct str text = input_rest(&input);
  struct exchange *exchange = exchange_new(&ingest, NULL);
  if (read_batch(exchange, text, media) == 0) {
    if (media == MEDIA_NDJSON)
      check_lines(exchange, text);
    else
      check_document(exchange);
    for (uint32_t i = 0; i < exchange->batch.count; i++) {
      const struct ingest_item *item = &exchange->batch.items[i];
      HOLDS(item->verdict == INGEST_PENDING || (item->verdict == INGEST_REJECTED && item->fault->message[0]));
    }
  }
  exchange_free(exchange);
  HOLDS(ingest.account.used == 0 && ingest.open_exchanges == 0);
  return 0;
}
