#include "state/record.h"

#include "base/memory.h"
#include "event/value.h"
#include "state/record_entry.h"

#include <stdio.h>

/* Format 2: consents and counters. 3: segments, journeys, exposures. 4: windows with a tally. 5: timers that
 * say what set them. */
enum { RECORD_FORMAT = 5 };

void record_init(struct record *record) {
  *record = (struct record){0};
  buf_init(&record->bytes);
}

void record_deinit(struct record *record) {
  buf_deinit(&record->bytes);
}

static void reserve(struct buf *bytes, size_t need) {
  if (need <= bytes->cap) return;
  size_t cap = record_room(need);
  bytes->data = memory_realloc(bytes->data, cap);
  bytes->cap = cap;
}

uint8_t *record_splice(struct record *record, size_t offset, size_t less, size_t more) {
  struct buf *bytes = &record->bytes;
  if (more != less) {
    reserve(bytes, bytes->len - less + more);
    memmove(bytes->data + offset + more, bytes->data + offset + less, bytes->len - offset - less);
    bytes->len = bytes->len - less + more;
  }
  return bytes->data + offset;
}

uint8_t *record_place(struct record *record, const struct entry *old, enum entry_type type, size_t len) {
  size_t offset = old->start ? (size_t)(old->start - record->bytes.data) : record->bytes.len;
  uint8_t *at = record_splice(record, offset, entry_taken(old), entry_size(len));
  *at = (uint8_t)type;
  return varint_write(at + 1, len);
}

void record_remove(struct record *record, const struct entry *entry) {
  if (entry->start) record_splice(record, (size_t)(entry->start - record->bytes.data), entry_taken(entry), 0);
}

void record_encode(const struct record *record, struct buf *out) {
  buf_put_u8(out, RECORD_FORMAT);
  buf_put_varint(out, record->seq);
  buf_append(out, record->bytes.data, record->bytes.len);
}

struct suppression entry_suppression(const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct suppression suppression = {.channel = reader_str(&reader)};
  suppression.reason = reader_str(&reader);
  suppression.at = reader_zigzag(&reader);
  return suppression;
}

struct str entry_attribute(const struct entry *entry, struct str *name) {
  struct reader reader = reader_of(entry->body);
  *name = reader_str(&reader);
  return reader_bytes(&reader, reader_left(&reader));
}

static bool entry_valid(const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct timer timer;
  switch (entry->type) {
  case ENTRY_ATTRIBUTE:
    reader_str(&reader);
    return value_valid(reader_bytes(&reader, reader_left(&reader))) && !reader.bad;
  case ENTRY_WINDOW:
  case ENTRY_KEYS:
    return record_valid_window(entry);
  case ENTRY_THROTTLE:
  case ENTRY_ONCE:
    reader_u64(&reader);
    reader_zigzag(&reader);
    break;
  case ENTRY_TIMER:
    if (!timer_decode(&timer, &reader) || (timer.data.len && !value_valid(timer.data))) return false;
    break;
  case ENTRY_SUPPRESS:
    reader_str(&reader);
    reader_str(&reader);
    reader_zigzag(&reader);
    break;
  case ENTRY_CONSENT:
  case ENTRY_COUNTER:
    return record_valid_gate(entry);
  case ENTRY_SEGMENT:
    return record_valid_segment(entry);
  case ENTRY_EXPOSURE:
    return record_valid_exposure(entry);
  case ENTRY_JOURNEY:
    return record_valid_journey(entry);
  default:
    return false;
  }
  return !reader.bad && reader_left(&reader) == 0;
}

int record_decode(struct record *record, struct str stored, struct error *err) {
  struct reader reader = reader_of(stored);
  uint8_t format = reader_u8(&reader);
  uint64_t seq = reader_varint(&reader);
  if (reader.bad || format == 0)
    return error_set(err, ERROR_CORRUPT, "record: head is cut short or malformed");
  if (format > RECORD_FORMAT)
    return error_set(err, ERROR_VERSION, "record: format %d is newer than %d, the newest this version reads",
                     format, RECORD_FORMAT);
  struct str bytes = {(const char *)reader.at, reader_left(&reader)};
  struct entry entry;
  while (entry_next(&reader, &entry))
    if (!entry_valid(&entry))
      return error_set(err, ERROR_CORRUPT, "record: entry of type %d at byte %zu is malformed",
                       (int)entry.type, (size_t)(entry.start - (const uint8_t *)stored.data));
  if (reader.bad) return error_set(err, ERROR_CORRUPT, "record: last entry is cut short");
  record->bytes.len = 0;
  reserve(&record->bytes, bytes.len);
  if (bytes.len) memcpy(record->bytes.data, bytes.data, bytes.len);
  record->bytes.len = bytes.len;
  record->seq = seq;
  return 0;
}

size_t record_stored_need(struct str stored) {
  struct reader reader = reader_of(stored);
  reader_u8(&reader);
  reader_varint(&reader);
  return reader_left(&reader);
}

bool record_find_named(const struct record *record, enum entry_type type, struct str name,
                       struct entry *entry) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  while (entry_next(&reader, entry)) {
    if (entry->type != type) continue;
    struct reader body = reader_of(entry->body);
    if (str_equal(reader_str(&body), name)) return true;
  }
  entry->start = NULL;
  return false;
}

static bool find_timer(const struct record *record, struct str campaign, struct str name, struct entry *entry,
                       struct timer *timer) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  while (entry_next(&reader, entry)) {
    if (entry->type != ENTRY_TIMER) continue;
    struct reader body = reader_of(entry->body);
    if (timer_decode(timer, &body) && str_equal(timer->campaign, campaign) && str_equal(timer->name, name))
      return true;
  }
  entry->start = NULL;
  return false;
}

static int apply_attribute(struct record *record, struct str name, struct str value, size_t max) {
  struct entry old;
  record_find_named(record, ENTRY_ATTRIBUTE, name, &old);
  if (value.len == 0 || (value.len == 1 && value_head(value).type == VALUE_NIL)) {
    record_remove(record, &old);
    return 0;
  }
  if (!value_valid(value)) return ERROR_INVALID;
  size_t len = str_size(name) + value.len;
  if (!record_fits(record, entry_taken(&old), entry_size(len), max)) return ERROR_LIMIT;
  uint8_t *body = str_write(record_place(record, &old, ENTRY_ATTRIBUTE, len), name);
  memcpy(body, value.data, value.len);
  return 0;
}

/** A key and a number; zero takes it back. */
static int apply_keyed_number(struct record *record, enum entry_type type, uint64_t key, int64_t number,
                              size_t max) {
  struct entry old;
  entry_find(record, type, key, &old);
  if (number == 0) {
    record_remove(record, &old);
    return 0;
  }
  uint8_t bytes[32];
  struct buf body = {bytes, 0, sizeof bytes};
  buf_put_u64(&body, key);
  buf_put_zigzag(&body, number);
  if (!record_fits(record, entry_taken(&old), entry_size(body.len), max)) return ERROR_LIMIT;
  memcpy(record_place(record, &old, type, body.len), body.data, body.len);
  return 0;
}

static int apply_timer(struct record *record, const struct timer *timer, size_t max) {
  struct entry old;
  struct timer before;
  if (timer->data.len && !value_valid(timer->data)) return ERROR_INVALID;
  uint8_t bytes[TIMER_TIMES_MAX];
  struct buf times = {bytes, 0, sizeof bytes};
  timer_encode_times(timer, &times);
  size_t len = times.len + str_size(timer->campaign) + str_size(timer->name) + str_size(timer->cancel_on) +
               str_size(timer->data);
  find_timer(record, timer->campaign, timer->name, &old, &before);
  if (!record_fits(record, entry_taken(&old), entry_size(len), max)) return ERROR_LIMIT;
  uint8_t *body = record_place(record, &old, ENTRY_TIMER, len);
  memcpy(body, times.data, times.len);
  body = str_write(body + times.len, timer->campaign);
  body = str_write(body, timer->name);
  body = str_write(body, timer->cancel_on);
  str_write(body, timer->data);
  return 0;
}

static int apply_suppress(struct record *record, struct str channel, struct str reason, int64_t at,
                          size_t max) {
  struct entry old;
  uint8_t bytes[16];
  struct buf time = {bytes, 0, sizeof bytes};
  buf_put_zigzag(&time, at);
  size_t len = str_size(channel) + str_size(reason) + time.len;
  record_find_named(record, ENTRY_SUPPRESS, channel, &old);
  if (!record_fits(record, entry_taken(&old), entry_size(len), max)) return ERROR_LIMIT;
  uint8_t *body = str_write(record_place(record, &old, ENTRY_SUPPRESS, len), channel);
  memcpy(str_write(body, reason), time.data, time.len);
  return 0;
}

static int apply(struct record *record, const struct effect *effect, size_t max) {
  struct entry entry;
  struct timer timer;
  switch (effect->type) {
  case EFFECT_WINDOW:
    return record_apply_window(record, &effect->window, max);
  case EFFECT_ATTRIBUTE:
    return apply_attribute(record, effect->attribute.name, effect->attribute.value, max);
  case EFFECT_THROTTLE:
    return apply_keyed_number(record, ENTRY_THROTTLE, effect->throttle.key, effect->throttle.arrival, max);
  case EFFECT_ONCE:
    return apply_keyed_number(record, ENTRY_ONCE, effect->once.key, effect->once.until, max);
  case EFFECT_TIMER_SET:
    return apply_timer(record, &effect->timer, max);
  case EFFECT_TIMER_CLEAR:
    if (find_timer(record, effect->timer.campaign, effect->timer.name, &entry, &timer))
      record_remove(record, &entry);
    return 0;
  case EFFECT_SUPPRESS:
    return apply_suppress(record, effect->suppress.channel, effect->suppress.reason, effect->suppress.at,
                          max);
  case EFFECT_UNSUPPRESS:
    if (record_find_named(record, ENTRY_SUPPRESS, effect->suppress.channel, &entry))
      record_remove(record, &entry);
    return 0;
  case EFFECT_CONSENT:
    return record_apply_consent(record, &effect->consent, max);
  case EFFECT_COUNT_SEND:
    return record_apply_counted(record, &effect->counted, max);
  case EFFECT_EXPOSURE:
    return record_apply_exposure(record, &effect->exposure, max);
  case EFFECT_GOAL:
    return record_apply_goal(record, &effect->exposure, max);
  case EFFECT_JOURNEY:
    return record_apply_journey(record, &effect->journey.journey, effect->journey.changes, max);
  case EFFECT_JOURNEY_END:
    record_end_journey(record, effect->journey_ended.id);
    return 0;
  case EFFECT_SEGMENT:
    return record_apply_segment(record, &effect->segment, max);
  case EFFECT_WINDOW_STATE:
    return record_apply_held(record, &effect->held, max);
  case EFFECT_DERIVED:
  case EFFECT_MESSAGE:
  case EFFECT_FAILURE:
  case EFFECT_OUTCOME:
  case EFFECT_DEAD_CLEAR:
  case EFFECT_NOT_RUN:
  case EFFECT_FAN_OUT:
    break;
  case EFFECT_INDEX:
    return index_change_fits(&effect->index) ? 0 : ERROR_INVALID;
  }
  return 0;
}

/** What an effect is about, for people. */
static void name_effect(const struct effect *effect, char out[256]) {
  switch (effect->type) {
  case EFFECT_WINDOW:
    snprintf(out, 256, "%s window %016llx", window_kind_name(effect->window.kind),
             (unsigned long long)effect->window.id);
    break;
  case EFFECT_WINDOW_STATE:
    snprintf(out, 256, "what the log holds for the window %016llx", (unsigned long long)effect->held.id);
    break;
  case EFFECT_ATTRIBUTE:
    snprintf(out, 256, "attribute \"%.*s\"", STR_ARG(effect->attribute.name));
    break;
  case EFFECT_TIMER_SET:
    snprintf(out, 256, "timer \"%.*s/%.*s\"", STR_ARG(effect->timer.campaign), STR_ARG(effect->timer.name));
    break;
  case EFFECT_SUPPRESS:
    snprintf(out, 256, "suppression of \"%.*s\"", STR_ARG(effect->suppress.channel));
    break;
  case EFFECT_CONSENT:
    snprintf(out, 256, "consent to \"%.*s\"", STR_ARG(effect->consent.purpose));
    break;
  case EFFECT_EXPOSURE:
  case EFFECT_GOAL:
    snprintf(out, 256, "the variant of \"%.*s\"", STR_ARG(effect->exposure.experiment));
    break;
  case EFFECT_JOURNEY:
    snprintf(out, 256, "journey \"%.*s\"", STR_ARG(effect->journey.journey.campaign));
    break;
  case EFFECT_COUNT_SEND:
    snprintf(out, 256, "the cap of \"%.*s\"", STR_ARG(effect->counted.counter));
    break;
  case EFFECT_SEGMENT:
    snprintf(out, 256, "segment \"%.*s\"", STR_ARG(effect->segment.name));
    break;
  default:
    snprintf(out, 256, "%s", effect_name(effect->type));
    break;
  }
}

int record_apply(struct record *record, const struct effect *effect, size_t max, struct error *err) {
  int rc = apply(record, effect, max);
  if (__builtin_expect(rc == 0, 1)) return 0;
  if (effect->type == EFFECT_INDEX)
    return error_set(err, rc,
                     "an entry of the index \"%.*s\" is too long: its name may have %d bytes, its key %d, "
                     "its value %d",
                     (int)(effect->index.index.len < 64 ? effect->index.index.len : 64),
                     effect->index.index.data, INDEX_NAME_MAX, INDEX_KEY_MAX, INDEX_VALUE_MAX);
  char name[256];
  name_effect(effect, name);
  if (rc == ERROR_LIMIT)
    return error_set(
        err, rc,
        "%s does not fit into the user's record: it has %zu bytes, %zu are allowed (state.record_max)", name,
        record->bytes.len, max);
  return error_set(err, rc, "%s: its value is malformed, or longer than a window takes (%d bytes)", name,
                   WINDOW_VALUE_MAX);
}

void record_save(const struct record *record, struct buf *aside) {
  buf_clear(aside);
  buf_append(aside, record->bytes.data, record->bytes.len);
}

void record_restore(struct record *record, const struct buf *aside) {
  record->bytes.len = 0;
  reserve(&record->bytes, aside->len);
  if (aside->len) memcpy(record->bytes.data, aside->data, aside->len);
  record->bytes.len = aside->len;
}

/** An entry's number behind its key. */
static int64_t entry_number(const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  reader_u64(&reader);
  return reader_zigzag(&reader);
}

/** @return whether the entry is gone. */
static bool tidy_entry(struct record *record, const struct entry *entry, int64_t now) {
  int64_t now_us;
  switch (entry->type) {
  case ENTRY_WINDOW:
  case ENTRY_KEYS:
    return record_tidy_window(record, entry, now);
  case ENTRY_COUNTER:
    return record_tidy_counter(record, entry, now);
  case ENTRY_EXPOSURE:
    return record_tidy_exposure(record, entry, now);
  case ENTRY_ONCE:
    if (entry_number(entry) > now) return false;
    break;
  case ENTRY_THROTTLE:
    if (__builtin_mul_overflow(now, 1000, &now_us) || entry_number(entry) > now_us) return false;
    break;
  default:
    return false;
  }
  record_remove(record, entry);
  return true;
}

void record_tidy(struct record *record, int64_t now) {
  size_t offset = 0;
  struct entry entry;
  for (;;) {
    struct str rest = {(const char *)record->bytes.data + offset, record->bytes.len - offset};
    struct reader reader = reader_of(rest);
    if (!entry_next(&reader, &entry)) break;
    if (tidy_entry(record, &entry, now)) continue;
    reader = reader_of((struct str){(const char *)record->bytes.data + offset, record->bytes.len - offset});
    entry_next(&reader, &entry); // it may have shrunk
    offset = (size_t)(reader.at - record->bytes.data);
  }
}

bool record_attribute(const struct record *record, struct str name, struct str *value) {
  struct entry entry;
  if (!record_find_named(record, ENTRY_ATTRIBUTE, name, &entry)) return false;
  *value = entry_attribute(&entry, &name);
  return true;
}

bool record_once(const struct record *record, uint64_t key, int64_t now, int64_t *until) {
  struct entry entry;
  if (!entry_find(record, ENTRY_ONCE, key, &entry)) return false;
  int64_t stands = entry_number(&entry);
  if (until) *until = stands;
  return stands > now;
}

int64_t record_throttle(const struct record *record, uint64_t key) {
  struct entry entry;
  return entry_find(record, ENTRY_THROTTLE, key, &entry) ? entry_number(&entry) : 0;
}

bool record_suppressed(const struct record *record, struct str channel, struct suppression *out) {
  struct entry entry;
  if (!record_find_named(record, ENTRY_SUPPRESS, channel, &entry) &&
      !record_find_named(record, ENTRY_SUPPRESS, STR("*"), &entry))
    return false;
  if (out) *out = entry_suppression(&entry);
  return true;
}

bool record_timer(const struct record *record, struct str campaign, struct str name, struct timer *out) {
  struct entry entry;
  return find_timer(record, campaign, name, &entry, out);
}

static int str_order(struct str a, struct str b) {
  size_t common = a.len < b.len ? a.len : b.len;
  int order = common ? memcmp(a.data, b.data, common) : 0;
  return order ? order : (a.len > b.len) - (a.len < b.len);
}

/** The entry's timer, or what wakes the entry's journey. */
static bool entry_wakes(const struct entry *entry, struct timer *out) {
  struct journey journey;
  struct reader body = reader_of(entry->body);
  if (entry->type == ENTRY_TIMER) return timer_decode(out, &body);
  if (entry->type != ENTRY_JOURNEY || !journey_decode_head(&journey, entry->body)) return false;
  *out = (struct timer){.campaign = journey.campaign,
                        .name = journey.name,
                        .due = journey_wakes(&journey),
                        .set_at = journey.wait.set_at,
                        .cancel_on = STR(""),
                        .data = STR("")};
  return out->due != INT64_MAX;
}

static bool timer_before(const struct timer *a, const struct timer *b) {
  if (a->due != b->due) return a->due < b->due;
  int order = str_order(a->campaign, b->campaign);
  return (order ? order : str_order(a->name, b->name)) < 0;
}

bool record_timer_next(const struct record *record, struct timer *out) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  struct timer timer;
  bool found = false;
  while (entry_next(&reader, &entry)) {
    if (!entry_wakes(&entry, &timer) || (found && !timer_before(&timer, out))) continue;
    *out = timer;
    found = true;
  }
  return found;
}

bool record_timer_next_of(const struct record *record, size_t *at, bool (*is)(const struct timer *timer),
                          struct timer *out) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  reader_take(&reader, *at);
  while (entry_next(&reader, &entry)) {
    *at = (size_t)(reader.at - record->bytes.data);
    if (entry.type != ENTRY_TIMER) continue;
    struct reader body = reader_of(entry.body);
    if (timer_decode(out, &body) && is(out)) return true;
  }
  return false;
}

bool record_timer_needs(const struct record *record, size_t *at, struct timer *out) {
  return record_timer_next_of(record, at, timer_needs, out);
}

bool record_timer_cancelled_by(const struct record *record, struct str event_type, struct timer *out) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  while (event_type.len > 0 && entry_next(&reader, &entry)) {
    if (entry.type != ENTRY_TIMER) continue;
    struct reader body = reader_of(entry.body);
    if (timer_decode(out, &body) && event_type_is(out->cancel_on, event_type)) return true;
  }
  return false;
}
