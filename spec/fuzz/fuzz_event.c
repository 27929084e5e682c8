// covers: src/event/event.c
/* The envelope: JSON -> event -> binary form and back, JSON again. Input: the text of one event or an array.
 */
#include "event/event.h"
#include "values.h"

#include <stdlib.h>

static struct json_parser *parser;
static const struct event_limits limits = {.max_future_ms = 5 * 60000, .max_past_ms = INT64_C(30) * 86400000};

void fuzz_set_up(void) {
  parser = json_parser_new();
}

static bool is_one_line(const char *text) {
  for (; *text; text++)
    if ((unsigned char)*text < ' ') return false;
  return true;
}

static void check_fault(struct str value, const struct event_fault *fault) {
  struct str pointer = str_from(fault->pointer), found;
  HOLDS(strlen(fault->message) > 0 && strlen(fault->message) < sizeof fault->message - 1, "\"%s\"",
        fault->message);
  HOLDS(fuzz_is_utf8(str_from(fault->message)) && is_one_line(fault->message), "%s", fault->message);
  HOLDS(fuzz_is_utf8(pointer) && is_one_line(fault->pointer) && pointer.len < sizeof fault->pointer - 1);
  HOLDS(pointer.len == 0 || pointer.data[0] == '/', "\"%s\"", fault->pointer);
  HOLDS(!memchr(fault->pointer + (pointer.len > 0), '/', pointer.len ? pointer.len - 1 : 0), "%s",
        fault->pointer);
  // What is refused for itself is there.
  if (strstr(fault->message, " is wanted") && pointer.len > 1 && !strstr(fault->message, "given"))
    HOLDS(value_member(value, (struct str){pointer.data + 1, pointer.len - 1}, &found), "%s %s",
          fault->pointer, fault->message);
}

static bool same_event(const struct event *a, const struct event *b) {
  return str_equal(a->id, b->id) && str_equal(a->type, b->type) && entity_equal(a->entity, b->entity) &&
         a->timestamp == b->timestamp && a->received == b->received && str_equal(a->payload, b->payload) &&
         str_equal(a->metadata, b->metadata);
}

/** The event as its sender may have written it. */
static void write_event(const struct event *event, struct buf *out) {
  buf_printf(out, "{\"event_id\":");
  value_put_json_string(event->id, out);
  buf_printf(out, ",\"event_type\":");
  value_put_json_string(event->type, out);
  buf_printf(out, ",\"%s\":", event->entity.kind == ENTITY_USER ? "user_id" : "subject");
  value_put_json_string(event->entity.id, out);
  buf_printf(out, ",\"timestamp\":%lld,\"payload\":", (long long)event->timestamp);
  value_to_json(event->payload, out);
  if (event->metadata.len) {
    buf_printf(out, ",\"metadata\":");
    value_to_json(event->metadata, out);
  }
  buf_printf(out, "}");
}

static void check_event(const struct event *event) {
  struct buf bytes, text, value;
  struct error err = {0};
  struct event again;
  struct event_fault fault;
  buf_init(&bytes);
  buf_init(&text);
  buf_init(&value);
  HOLDS(value_valid(event->payload) && value_head(event->payload).type == VALUE_MAP);
  HOLDS(event->metadata.len == 0 || value_head(event->metadata).type == VALUE_MAP);
  HOLDS(event->id.len && event->type.len && event->entity.id.len);
  event_encode(event, &bytes);
  HOLDS(bytes.len <= EVENT_BYTES_MAX, "%zu bytes", bytes.len);
  struct reader reader = reader_of(buf_str(&bytes));
  HOLDS(event_decode(&again, &reader, &err) == 0 && !reader_left(&reader), "%s", err.message);
  HOLDS(same_event(event, &again));
  // Cut short it is no event.
  reader = reader_of((struct str){(const char *)bytes.data, bytes.len - 1});
  HOLDS(event_decode(&again, &reader, &err) == ERROR_CORRUPT);

  write_event(event, &text);
  HOLDS(fuzz_json(parser, buf_str(&text), &value, &err) == 0, "%s", err.message);
  HOLDS(event_from_value(&again, buf_str(&value), event->received, &limits, &fault) == 0, "%s: %s",
        fault.pointer, fault.message);
  HOLDS(str_equal(event->id, again.id) && str_equal(event->type, again.type) &&
        entity_equal(event->entity, again.entity) && event->timestamp == again.timestamp);
  HOLDS(fuzz_equal_values(event->payload, again.payload));
  HOLDS(event->metadata.len ? fuzz_equal_values(event->metadata, again.metadata) : again.metadata.len == 0);
  buf_deinit(&bytes);
  buf_deinit(&text);
  buf_deinit(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct buf value;
  struct error err;
  buf_init(&value);
  if (fuzz_json(parser, (struct str){(const char *)data, size}, &value, &err) == 0) {
    struct reader reader = reader_of(buf_str(&value));
    struct value head = value_head(buf_str(&value));
    uint32_t items = 1;
    if (head.type == VALUE_ARRAY) items = value_read(&reader).count;
    while (items--) {
      struct str item = value_slice(&reader);
      struct event event, later;
      struct event_fault fault = {{0}, {0}}, other;
      int code = event_from_value(&event, item, FUZZ_NOW, &limits, &fault);
      HOLDS(code == 0 || code == ERROR_INVALID);
      if (code)
        check_fault(item, &fault);
      else
        check_event(&event);
      // Without limits whatever was taken is taken.
      HOLDS(event_from_value(&later, item, FUZZ_NOW, NULL, &other) == 0 || code);
    }
  }
  buf_deinit(&value);
  return 0;
}
