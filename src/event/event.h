/** An event: what happened to a user, or to a thing.
 *
 * All strings are borrowed from the bytes it was read from. `payload` is a map, `metadata` a map or empty.
 */
#pragma once

#include "event/value.h"

/** What an event is about. The letter is stored. */
enum entity_kind { ENTITY_USER = 'u', ENTITY_SUBJECT = 's' };

/** Who has the state: a user, or a subject (a product, a service). */
struct entity {
  enum entity_kind kind;
  struct str id;
};
/** "user" or "subject": its name in what people are told. */
static inline const char *entity_kind_name(struct entity entity) {
  return entity.kind == ENTITY_SUBJECT ? "subject" : "user";
}

enum {
  PARTITION_COUNT = 256,
  EVENT_ID_MAX = 256,         /**< bytes of event_id, user_id, subject and event_type */
  EVENT_BYTES_MAX = 256 << 10 /**< an encoded event; larger is refused by name */
};

struct event {
  struct str id, type; /**< of a derived event the id begins with EVENT_DERIVED */
  struct entity entity;
  int64_t timestamp; /**< when it happened, ms since the epoch, as its sender says */
  int64_t received;  /**< when this host got it, ms since the epoch */
  struct str payload, metadata;
};

/** What time an event is judged at: its timestamp, or its receipt if that is earlier. */
static inline int64_t event_now(const struct event *event) {
  return event->timestamp < event->received ? event->timestamp : event->received;
}

/** Event types of the host's own begin so; what comes from outside under one is refused, and no rule can emit
 * one. An event about one segment has its name behind a colon: "segment.entered:vip". */
#define EVENT_TYPE_HOST "segment."
static inline bool event_type_is_host(struct str type) {
  return type.len >= sizeof EVENT_TYPE_HOST - 1 &&
         memcmp(type.data, EVENT_TYPE_HOST, sizeof EVENT_TYPE_HOST - 1) == 0;
}
/** Whether who asks for `wanted` gets an event of this type: "segment.entered" is every segment's. */
static inline bool event_type_is(struct str wanted, struct str type) {
  if (type.len <= wanted.len || type.data[wanted.len] != ':' || !event_type_is_host(wanted))
    return str_equal(wanted, type);
  return memcmp(type.data, wanted.data, wanted.len) == 0;
}

/** Bounds on timestamps, relative to receipt. */
struct event_limits {
  int64_t max_future_ms, max_past_ms;
  bool late_taken; /**< what lies further back is taken, as of max_past_ms ago, and not refused */
};

/** An id "derived:<depth>:<n>:<id of the event or timer it follows from>". */
#define EVENT_DERIVED "derived:"

/** Why an item was refused. */
struct event_fault {
  char pointer[64 + 16]; /**< JSON pointer to the field, "" for the item itself */
  char message[160];
};

/** Read the envelope from one value. Unknown envelope fields are refused by name (a typo must not lose data).
 * Ids are non-empty, at most EVENT_ID_MAX bytes, without NUL; null is "not given" for user_id, subject and
 * metadata. A timestamp in another unit than milliseconds is recognised. @param limits  null for none.
 * @return 0 or ERROR_INVALID with `*fault` filled. */
int event_from_value(struct event *event, struct str value, int64_t received,
                     const struct event_limits *limits, struct event_fault *fault);
/** Where members end, as json_parse_items() noted it. */
struct event_ends {
  const uint8_t *base; /**< what the ends count from */
  const uint64_t *next;
};
/** The same of a reader's next value, which it is behind afterwards in any case, and `ends` behind its ends.
 * @param ends  null: the members are passed over to find where they end. */
int event_read(struct event *event, struct reader *reader, struct event_ends *ends, int64_t received,
               const struct event_limits *limits, struct event_fault *fault);

/** Binary form, as logged and as passed between threads. */
void event_encode(const struct event *event, struct buf *out);
/** Checks the envelope; payload and metadata are whole maps if they were when encoded.
 * @return 0 or ERROR_CORRUPT. `event` borrows from the reader's bytes. */
int event_decode(struct event *event, struct reader *reader, struct error *err);
/** The event_id alone of an encoded event, borrowed; "" if it is malformed. */
struct str event_encoded_id(struct str bytes);

/** Stable on disk. */
uint64_t entity_hash(struct entity entity);
/** Which of the 256 partitions an entity belongs to, by its hash; stable on disk. */
unsigned entity_partition(struct entity entity);
static inline bool entity_equal(struct entity a, struct entity b) {
  return a.kind == b.kind && str_equal(a.id, b.id);
}
