/** How a record's bytes are laid out, and edited. Shared by the record*.c files.
 *
 *   record    = entry*            entry = type:u8 len:varint body
 *   ATTRIBUTE = name:str value
 *   WINDOW    = id:u64 over:varint state
 *   KEYS      = id:u64 over:varint evicted:varint (key:u64 state:str)*
 *   THROTTLE  = key:u64 arrival:zigzag
 *   ONCE      = key:u64 until:zigzag
 *   TIMER     = a timer as timer_encode() has it
 *   SUPPRESS  = channel:str reason:str at:zigzag
 *   CONSENT   = a consent as consent_encode() has it
 *   EXPOSURE  = an exposure as exposure_encode() has it
 *   COUNTER   = name:str keep:zigzag (time:zigzag gap:varint*), ascending
 *   SEGMENT   = name:str since:zigzag; without a name: the moment up to which segments are judged
 *   JOURNEY   = a journey as journey_encode() has it
 * `over` is minutes * 2 if it is whole minutes, else ms * 2 + 1.
 */
#pragma once

#include "state/record.h"

enum entry_type {
  ENTRY_ATTRIBUTE = 1,
  ENTRY_WINDOW,
  ENTRY_KEYS,
  ENTRY_THROTTLE,
  ENTRY_ONCE,
  ENTRY_TIMER,
  ENTRY_SUPPRESS,
  ENTRY_CONSENT,
  ENTRY_COUNTER,
  ENTRY_JOURNEY = 10,
  ENTRY_SEGMENT = 11,
  ENTRY_EXPOSURE = 12
};

struct entry {
  enum entry_type type;
  const uint8_t *start; /**< of type and length; null: not there */
  struct str body;
};

static inline bool entry_next(struct reader *reader, struct entry *entry) {
  if (reader_left(reader) == 0) return false;
  entry->start = reader->at;
  entry->type = reader_u8(reader);
  entry->body = reader_str(reader);
  return !reader->bad;
}

/** The entry of `type` whose body begins with `id`. */
static inline bool entry_find(const struct record *record, enum entry_type type, uint64_t id,
                              struct entry *entry) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  id = htole64(id);
  while (entry_next(&reader, entry))
    if (entry->type == type && memcmp(entry->body.data, &id, sizeof id) == 0) return true;
  entry->start = NULL;
  return false;
}

static inline size_t varint_size(uint64_t value) {
  size_t size = 1;
  while (value >>= 7) size++;
  return size;
}

/** For places of just the right size: buf_put_varint() asks for more room than it needs. @return behind it.
 */
static inline uint8_t *varint_write(uint8_t *at, uint64_t value) {
  for (; value >= 0x80; value >>= 7) *at++ = (uint8_t)(value | 0x80);
  *at++ = (uint8_t)value;
  return at;
}

static inline uint8_t *str_write(uint8_t *at, struct str value) {
  at = varint_write(at, value.len);
  if (value.len) memcpy(at, value.data, value.len);
  return at + value.len;
}

static inline size_t str_size(struct str value) {
  return varint_size(value.len) + value.len;
}

/** Bytes of an entry with a body of `len`. */
static inline size_t entry_size(size_t len) {
  return 1 + varint_size(len) + len;
}

/** The first timer at `*at` or behind it that is one of these; `*at` is then behind it. */
bool record_timer_next_of(const struct record *record, size_t *at, bool (*is)(const struct timer *timer),
                          struct timer *out);

/** Bytes that the entry takes now. */
static inline size_t entry_taken(const struct entry *entry) {
  return entry->start ? (size_t)((const uint8_t *)entry->body.data + entry->body.len - entry->start) : 0;
}

/** Whether `less` bytes can make place for `more`. What does not grow always can. */
static inline bool record_fits(const struct record *record, size_t less, size_t more, size_t max) {
  return more <= less || record->bytes.len - less + more <= max;
}

/** Replace `less` bytes at `offset` by `more` that the caller fills in. @return where. */
uint8_t *record_splice(struct record *record, size_t offset, size_t less, size_t more);
/** Put an entry, with `len` bytes of body to be filled in, in the place of `old` or at the end. @return the
 * body. */
uint8_t *record_place(struct record *record, const struct entry *old, enum entry_type type, size_t len);
void record_remove(struct record *record, const struct entry *entry);

/** A SUPPRESS entry's content. */
struct suppression entry_suppression(const struct entry *entry);
/** An ATTRIBUTE entry's content. */
struct str entry_attribute(const struct entry *entry, struct str *name);

/** The entry of `type` whose body begins with the string `name`. */
bool record_find_named(const struct record *record, enum entry_type type, struct str name,
                       struct entry *entry);

/** Apply a CONSENT or COUNT_SEND effect. @return 0 or ERROR_LIMIT, without a message. */
int record_apply_consent(struct record *record, const struct consent *consent, size_t max);
int record_apply_counted(struct record *record, const struct counted_send *counted, size_t max);
/** Apply an EXPOSURE or GOAL effect. @return 0, ERROR_LIMIT or ERROR_INVALID, without a message. */
int record_apply_exposure(struct record *record, const struct exposure *exposure, size_t max);
int record_apply_goal(struct record *record, const struct exposure *goal, size_t max);
/** @return whether the body of an EXPOSURE entry is well formed. */
bool record_valid_exposure(const struct entry *entry);
/** Drop an exposure that is past its time. @return whether the entry is gone. */
bool record_tidy_exposure(struct record *record, const struct entry *entry, int64_t now);
/** Drop times that no cap looks back to at `now`. @return whether the entry itself is gone. */
bool record_tidy_counter(struct record *record, const struct entry *entry, int64_t now);
/** @return whether the body of a CONSENT or COUNTER entry is well formed. */
bool record_valid_gate(const struct entry *entry);
/** A COUNTER entry's content. @return how many times. */
size_t entry_counter(const struct entry *entry, struct str *name, int64_t times[RECORD_COUNTED_MAX]);

/** Apply a SEGMENT effect. @return 0 or ERROR_LIMIT, without a message. */
int record_apply_segment(struct record *record, const struct membership *membership, size_t max);
/** @return whether the body of a SEGMENT entry is well formed. */
bool record_valid_segment(const struct entry *entry);
/** Apply a JOURNEY effect. @return 0, ERROR_LIMIT or ERROR_INVALID, without a message. */
int record_apply_journey(struct record *record, const struct journey *change, unsigned changes, size_t max);
void record_end_journey(struct record *record, struct hash128 id);
/** @return whether the body of a JOURNEY entry is well formed. */
bool record_valid_journey(const struct entry *entry);

/** Apply a WINDOW effect. @return 0, ERROR_LIMIT or ERROR_INVALID, without a message. */
int record_apply_window(struct record *record, const struct window_entry *entry, size_t max);
/** The same of a WINDOW_STATE effect. */
int record_apply_held(struct record *record, const struct window_held *held, size_t max);
/** Drop windows and keys whose newest entry has left at `now`. @return whether the entry itself is gone. */
bool record_tidy_window(struct record *record, const struct entry *entry, int64_t now);
/** @return whether the body of a WINDOW or KEYS entry is well formed. */
bool record_valid_window(const struct entry *entry);

/** The head of a WINDOW or KEYS body; the reader then stands before state or keys. */
struct window_place {
  uint64_t id;
  int64_t over;
  uint64_t evicted;
  struct reader rest;
};
struct window_place record_window_place(const struct entry *entry);
