#include "event/event.h"

#include "base/hash.h"

#include <stdarg.h>
#include <stdio.h>

/** The fields of an envelope as they were found; `data` is null for one that is not there. */
struct envelope {
  struct str event_id, event_type, user_id, subject, timestamp, payload, metadata;
};

static int fault_set(struct event_fault *fault, const char *pointer, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static int fault_set(struct event_fault *fault, const char *pointer, const char *format, ...) {
  snprintf(fault->pointer, sizeof fault->pointer, "%s", pointer);
  va_list args;
  va_start(args, format);
  vsnprintf(fault->message, sizeof fault->message, format, args);
  va_end(args);
  return ERROR_INVALID;
}

static const char *type_name(struct str value) {
  static const char *const names[] = {
      [VALUE_NIL] = "null",        [VALUE_BOOL] = "a boolean",  [VALUE_INTEGER] = "a number",
      [VALUE_NUMBER] = "a number", [VALUE_STRING] = "a string", [VALUE_ARRAY] = "an array",
      [VALUE_MAP] = "an object",
  };
  return names[value_head(value).type];
}

/** Refuse a field nobody reads: a misspelt optional field would lose its data without a word. */
static int refuse_unknown(struct str name, struct event_fault *fault) {
  char pointer[sizeof fault->pointer], *at = pointer;
  *at++ = '/';
  for (size_t i = 0; i < name.len; i++) {
    unsigned char c = (unsigned char)name.data[i];
    bool starts_character = (c & 0xC0) != 0x80;
    if (starts_character && at > pointer + sizeof pointer - 8) break;
    if (c == '~' || c == '/') {
      *at++ = '~';
      *at++ = c == '~' ? '0' : '1';
    } else {
      *at++ = c < 0x20 ? '?' : (char)c;
    }
  }
  *at = 0;
  return fault_set(fault, pointer,
                   "unknown field; an event has event_id, event_type, user_id or subject, timestamp, payload "
                   "and metadata");
}

static struct str *envelope_field(struct envelope *envelope, struct str name) {
  switch (name.len) {
  case 7:
    if (memcmp(name.data, "user_id", 7) == 0) return &envelope->user_id;
    if (memcmp(name.data, "payload", 7) == 0) return &envelope->payload;
    if (memcmp(name.data, "subject", 7) == 0) return &envelope->subject;
    return NULL;
  case 8:
    if (memcmp(name.data, "event_id", 8) == 0) return &envelope->event_id;
    if (memcmp(name.data, "metadata", 8) == 0) return &envelope->metadata;
    return NULL;
  case 9:
    return memcmp(name.data, "timestamp", 9) == 0 ? &envelope->timestamp : NULL;
  case 10:
    return memcmp(name.data, "event_type", 10) == 0 ? &envelope->event_type : NULL;
  default:
    return NULL;
  }
}

static struct str member_slice(struct reader *reader, struct event_ends *ends) {
  if (!ends) return value_slice(reader);
  const uint8_t *start = reader->at;
  reader->at = ends->base + *ends->next++;
  return (struct str){(const char *)start, (size_t)(reader->at - start)};
}

/** A member's name. @return false, and the reader bad, if none is there. */
static bool next_name(struct reader *reader, struct str *name) {
  uint8_t head = reader_left(reader) ? *reader->at : 0;
  if ((head & 0xe0) == 0xa0) { // of at most 31 bytes
    reader->at++;
    *name = reader_bytes(reader, head & 0x1f);
  } else {
    struct value value = value_read(reader);
    if (value.type != VALUE_STRING) reader->bad = true;
    *name = value.string;
  }
  return !reader->bad;
}

/** Leaves the reader behind the value. */
static int read_envelope(struct envelope *envelope, struct reader *reader, struct event_ends *ends,
                         struct event_fault *fault) {
  struct reader start = *reader;
  int code = 0;
  if (!reader_left(reader) || !value_is_map((struct str){(const char *)reader->at, 1})) {
    struct str value = value_slice(reader);
    return fault_set(fault, "", "is %s; an object is wanted", type_name(value));
  }
  struct str name;
  for (uint32_t count = value_read(reader).count; count > 0 && next_name(reader, &name); count--) {
    struct str *field = envelope_field(envelope, name);
    if (!field && !code) code = refuse_unknown(name, fault);
    struct str value = member_slice(reader, ends);
    if (field) *field = value;
  }
  if (!reader->bad) return code;
  *reader = start;
  value_skip(reader);
  return fault_set(fault, "", "cannot be read");
}

/** Serialisers write null for an optional field that has no value. */
static bool is_given(struct str value) {
  return value.data && !value_is_nil(value);
}

static int read_name(struct str value, const char *pointer, struct str *out, struct event_fault *fault) {
  if (!value.data) return fault_set(fault, pointer, "is required");
  if (!value_text(value, out))
    return fault_set(fault, pointer, "is %s; a string is wanted", type_name(value));
  if (out->len == 0) return fault_set(fault, pointer, "is empty");
  if (out->len > EVENT_ID_MAX)
    return fault_set(fault, pointer, "is %zu bytes long; at most %d are allowed", out->len, EVENT_ID_MAX);
  if (memchr(out->data, 0, out->len)) return fault_set(fault, pointer, "holds a NUL character");
  return 0;
}

static int read_entity(const struct envelope *envelope, struct entity *out, struct event_fault *fault) {
  bool user = is_given(envelope->user_id), subject = is_given(envelope->subject);
  if (user && subject)
    return fault_set(fault, "/subject", "both user_id and subject are given; exactly one is wanted");
  if (!user && !subject)
    return fault_set(fault, "/user_id", "neither user_id nor subject is given; exactly one is required");
  out->kind = user ? ENTITY_USER : ENTITY_SUBJECT;
  return user ? read_name(envelope->user_id, "/user_id", &out->id, fault)
              : read_name(envelope->subject, "/subject", &out->id, fault);
}

/** A span for people: its two largest units. */
static const char *span_text(int64_t ms, char out[48]) {
  static const struct {
    int64_t ms;
    const char *name;
  } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
  size_t unit = 0;
  while (unit < 4 && ms < units[unit].ms) unit++;
  int64_t whole = ms / units[unit].ms, rest = ms % units[unit].ms;
  int64_t part = unit < 4 ? rest / units[unit + 1].ms : 0;
  if (part)
    snprintf(out, 48, "%lld%s%lld%s", (long long)whole, units[unit].name, (long long)part,
             units[unit + 1].name);
  else
    snprintf(out, 48, "%lld%s", (long long)whole, units[unit].name);
  return out;
}

enum { YEAR_S = 31556952 };

/** Whether `timestamp`, read in a unit of which `per_second` make a second, is within 30 years of `received`.
 */
static bool looks_like(int64_t timestamp, int64_t per_second, int64_t received) {
  int64_t seconds = timestamp / per_second, around = received / 1000;
  return seconds > around - 30LL * YEAR_S && seconds < around + 30LL * YEAR_S;
}

static int check_unit(int64_t timestamp, int64_t received, struct event_fault *fault) {
  static const struct {
    int64_t per_second;
    const char *name;
  } units[] = {{1, "seconds"}, {1000000, "microseconds"}, {1000000000, "nanoseconds"}};
  // Close to the epoch both readings are near: nothing can be told there.
  if (received / 1000 < 40LL * YEAR_S || looks_like(timestamp, 1000, received)) return 0;
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (looks_like(timestamp, units[i].per_second, received))
      return fault_set(fault, "/timestamp", "looks like %s; milliseconds wanted", units[i].name);
  return 0;
}

static int read_timestamp(struct str value, int64_t received, const struct event_limits *limits, int64_t *out,
                          struct event_fault *fault) {
  static const char pointer[] = "/timestamp";
  char by[48], allowed[48];
  if (!value.data) return fault_set(fault, pointer, "is required");
  struct value head = value_head(value);
  if (head.type == VALUE_NUMBER)
    return head.number > -9e15 && head.number < 9e15
               ? fault_set(fault, pointer, "is a fraction; whole milliseconds since the epoch are wanted")
               : fault_set(fault, pointer, "is out of range; milliseconds since the epoch are wanted");
  if (head.type != VALUE_INTEGER)
    return fault_set(fault, pointer, "is %s; an integer, milliseconds since the epoch, is wanted",
                     type_name(value));
  int64_t timestamp = head.integer, ahead, behind;
  int code = check_unit(timestamp, received, fault);
  if (code) return code;
  if (__builtin_sub_overflow(timestamp, received, &ahead) ||
      __builtin_sub_overflow(received, timestamp, &behind))
    return fault_set(fault, pointer, "is out of range; milliseconds since the epoch are wanted");
  if (limits && ahead > limits->max_future_ms)
    return fault_set(fault, pointer, "is %s in the future; at most %s is allowed (ingest.max_future)",
                     span_text(ahead, by), span_text(limits->max_future_ms, allowed));
  if (limits && behind > limits->max_past_ms && limits->late_taken)
    timestamp = received - limits->max_past_ms;
  else if (limits && behind > limits->max_past_ms)
    return fault_set(fault, pointer, "is %s in the past; at most %s is allowed (ingest.max_past)",
                     span_text(behind, by), span_text(limits->max_past_ms, allowed));
  *out = timestamp;
  return 0;
}

static int read_map(struct str value, const char *pointer, struct str *out, struct event_fault *fault) {
  if (!value_is_map(value)) return fault_set(fault, pointer, "is %s; an object is wanted", type_name(value));
  *out = value;
  return 0;
}

/** More than event_encode() needs for lengths, letter and times. */
enum { ENCODED_OVERHEAD = 64 };

static int check_size(const struct event *event, struct event_fault *fault) {
  size_t size = ENCODED_OVERHEAD + event->id.len + event->type.len + event->entity.id.len +
                event->payload.len + event->metadata.len;
  if (size <= EVENT_BYTES_MAX) return 0;
  return fault_set(fault, event->payload.len >= event->metadata.len ? "/payload" : "/metadata",
                   "the event is %zu bytes when encoded; at most %d are allowed", size, EVENT_BYTES_MAX);
}

int event_read(struct event *event, struct reader *reader, struct event_ends *ends, int64_t received,
               const struct event_limits *limits, struct event_fault *fault) {
  struct envelope envelope = {0};
  *event = (struct event){.received = received};
  int code = read_envelope(&envelope, reader, ends, fault);
  if (!code) code = read_name(envelope.event_id, "/event_id", &event->id, fault);
  if (!code) code = read_name(envelope.event_type, "/event_type", &event->type, fault);
  if (!code && event_type_is_host(event->type))
    code =
        fault_set(fault, "/event_type",
                  "begins with \"" EVENT_TYPE_HOST "\": such events are the host's own; choose another name");
  if (!code) code = read_entity(&envelope, &event->entity, fault);
  if (!code) code = read_timestamp(envelope.timestamp, received, limits, &event->timestamp, fault);
  if (!code && !envelope.payload.data) code = fault_set(fault, "/payload", "is required");
  if (!code) code = read_map(envelope.payload, "/payload", &event->payload, fault);
  if (!code && is_given(envelope.metadata))
    code = read_map(envelope.metadata, "/metadata", &event->metadata, fault);
  return code ? code : check_size(event, fault);
}

int event_from_value(struct event *event, struct str value, int64_t received,
                     const struct event_limits *limits, struct event_fault *fault) {
  struct reader reader = reader_of(value);
  return event_read(event, &reader, NULL, received, limits, fault);
}

void event_encode(const struct event *event, struct buf *out) {
  buf_put_u8(out, (uint8_t)event->entity.kind);
  buf_put_str(out, event->entity.id);
  buf_put_str(out, event->id);
  buf_put_str(out, event->type);
  buf_put_zigzag(out, event->timestamp);
  buf_put_zigzag(out, event->received);
  buf_put_str(out, event->payload);
  buf_put_str(out, event->metadata);
}

static bool is_name(struct str name) {
  return name.len > 0 && name.len <= EVENT_ID_MAX;
}

int event_decode(struct event *event, struct reader *reader, struct error *err) {
  uint8_t kind = reader_u8(reader);
  event->entity.kind = (enum entity_kind)kind;
  event->entity.id = reader_str(reader);
  event->id = reader_str(reader);
  event->type = reader_str(reader);
  event->timestamp = reader_zigzag(reader);
  event->received = reader_zigzag(reader);
  event->payload = reader_str(reader);
  event->metadata = reader_str(reader);
  if (reader->bad) return error_set(err, ERROR_CORRUPT, "an event is cut short");
  if (kind != ENTITY_USER && kind != ENTITY_SUBJECT)
    return error_set(err, ERROR_CORRUPT, "an event is about an entity of unknown kind 0x%02x", kind);
  bool good = is_name(event->entity.id) && is_name(event->id) && is_name(event->type) &&
              value_head(event->payload).type == VALUE_MAP &&
              (event->metadata.len == 0 || value_head(event->metadata).type == VALUE_MAP);
  return good ? 0 : error_set(err, ERROR_CORRUPT, "an event has a field that cannot be");
}

struct str event_encoded_id(struct str bytes) {
  struct reader reader = reader_of(bytes);
  reader_u8(&reader);
  reader_str(&reader);
  struct str id = reader_str(&reader);
  return is_name(id) ? id : STR("");
}

uint64_t entity_hash(struct entity entity) {
  return hash64(entity.id, (uint64_t)entity.kind);
}

unsigned entity_partition(struct entity entity) {
  return entity_hash(entity) % PARTITION_COUNT;
}
