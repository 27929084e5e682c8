#include "event/value.h"
#include "state/record_entry.h"

#include <stdio.h>

static void put_text(struct buf *out, const char *text) {
  value_put_string(out, str_from(text));
}

static void put_member(struct buf *out, const char *name, int64_t number) {
  put_text(out, name);
  value_put_integer(out, number);
}

static void put_named(struct buf *out, const char *name, struct str text) {
  put_text(out, name);
  value_put_string(out, text);
}

static void put_hex(struct buf *out, uint64_t id) {
  char text[17];
  snprintf(text, sizeof text, "%016llx", (unsigned long long)id);
  put_text(out, text);
}

static const char *basis_of(const struct window_summary *summary) {
  if (!summary->buckets) return "exact";
  return summary->kind == WINDOW_DISTINCT ? "hyperloglog" : "buckets";
}

static void put_window(struct buf *out, const struct entry *entry) {
  bool keyed = entry->type == ENTRY_KEYS;
  struct window_place place = record_window_place(entry);
  struct window_summary all = {0};
  unsigned keys = 0;
  do {
    if (keyed) reader_u64(&place.rest);
    struct str state = keyed ? reader_str(&place.rest) : reader_bytes(&place.rest, reader_left(&place.rest));
    struct window_summary one = window_state_summary(state);
    if (keys++ == 0) all.newest = one.newest;
    if (one.newest > all.newest) all.newest = one.newest;
    all.kind = one.kind;
    all.entries += one.entries;
    all.buckets |= one.buckets;
  } while (reader_left(&place.rest) > 0);

  value_put_map(out, keyed ? 8 : 6);
  put_text(out, "id");
  put_hex(out, place.id);
  put_named(out, "kind", str_from(window_kind_name(all.kind)));
  put_member(out, "over_ms", place.over);
  put_member(out, "entries", all.entries);
  put_named(out, "basis", str_from(basis_of(&all)));
  put_member(out, "newest", all.newest);
  if (!keyed) return;
  put_member(out, "keys", keys);
  put_member(out, "evicted", (int64_t)place.evicted);
}

static void put_timer(struct buf *out, const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct timer timer;
  if (!timer_decode(&timer, &reader)) {
    value_put_nil(out);
    return;
  }
  bool skips = timer.late == TIMER_LATE_SKIP;
  value_put_map(out, 5u + skips + (timer.cancel_on.len > 0) + (timer.data.len > 0));
  put_named(out, "campaign", timer.campaign);
  put_named(out, "name", timer.name);
  put_member(out, "due", timer.due);
  put_member(out, "set_at", timer.set_at);
  put_named(out, "late", skips ? STR("skip") : STR("fire"));
  if (skips) put_member(out, "late_after", timer.late_after);
  if (timer.cancel_on.len) put_named(out, "cancel_on", timer.cancel_on);
  if (timer.data.len) {
    put_text(out, "data");
    buf_append(out, timer.data.data, timer.data.len);
  }
}

static void put_consent(struct buf *out, const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct consent consent;
  consent_decode(&consent, &reader);
  value_put_map(out, 5);
  put_named(out, "purpose", consent.purpose);
  put_named(out, "channel", consent.channel);
  put_named(out, "consent", consent.granted ? STR("granted") : STR("withdrawn"));
  put_member(out, "at", consent.at);
  put_named(out, "source", consent.source);
}

static void put_counter(struct buf *out, const struct entry *entry) {
  int64_t times[RECORD_COUNTED_MAX];
  struct str name;
  size_t count = entry_counter(entry, &name, times);
  value_put_string(out, name);
  value_put_array(out, (uint32_t)count);
  for (size_t i = 0; i < count; i++) value_put_integer(out, times[i]);
}

static void put_exposure(struct buf *out, const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct exposure exposure;
  exposure_decode(&exposure, &reader);
  value_put_map(out, exposure.reached ? 5 : 3);
  put_named(out, "experiment", exposure.experiment);
  put_named(out, "variant", exposure.variant);
  put_member(out, "at", exposure.at);
  if (!exposure.reached) return;
  put_member(out, "goal_at", exposure.goal_at);
  put_text(out, "value");
  value_put_number(out, (double)exposure.amount / 1e6);
}

static void put_moment(struct buf *out, const char *name, int64_t at, int64_t none) {
  put_text(out, name);
  if (at == none)
    value_put_nil(out);
  else
    value_put_integer(out, at);
}

static void put_types(struct buf *out, const char *name, struct str types) {
  struct reader reader = reader_of(types);
  uint32_t count = 0;
  for (; reader_left(&reader); count++) reader_str(&reader);
  put_text(out, name);
  value_put_array(out, count);
  reader = reader_of(types);
  while (reader_left(&reader)) value_put_string(out, reader_str(&reader));
}

static void put_journey(struct buf *out, const struct entry *entry) {
  struct journey journey;
  if (!journey_decode(&journey, entry->body)) {
    value_put_nil(out);
    return;
  }
  value_put_map(out, 15);
  value_put_member_hash(out, "id", journey.id);
  put_named(out, "campaign", journey.campaign);
  put_named(out, "key", journey_key(&journey));
  put_named(out, "state", str_from(journey_state_name(journey.state)));
  value_put_member_hash(out, "version", journey.version);
  put_member(out, "begun", journey.begun);
  put_member(out, "run", journey.run);
  put_member(out, "steps", journey.steps);
  put_member(out, "bytes", (int64_t)entry->body.len);
  put_named(out, "step", journey.wait.label);
  put_member(out, "line", journey.wait.line);
  put_moment(out, "due", journey.wait.due, INT64_MAX);
  put_moment(out, "held", journey.wait.held, 0);
  put_types(out, "on", journey.wait.on);
  put_named(out, "why", journey.why);
}

static void put_entry(struct buf *out, const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct suppression suppression;
  struct str name, value;
  switch (entry->type) {
  case ENTRY_ATTRIBUTE:
    value = entry_attribute(entry, &name);
    value_put_string(out, name);
    buf_append(out, value.data, value.len);
    break;
  case ENTRY_WINDOW:
  case ENTRY_KEYS:
    put_window(out, entry);
    break;
  case ENTRY_THROTTLE:
    put_hex(out, reader_u64(&reader));
    value_put_integer(out, reader_zigzag(&reader));
    break;
  case ENTRY_TIMER:
    put_timer(out, entry);
    break;
  case ENTRY_SUPPRESS:
    suppression = entry_suppression(entry);
    value_put_map(out, 3);
    put_named(out, "channel", suppression.channel);
    put_named(out, "reason", suppression.reason);
    put_member(out, "at", suppression.at);
    break;
  case ENTRY_CONSENT:
    put_consent(out, entry);
    break;
  case ENTRY_COUNTER:
    put_counter(out, entry);
    break;
  case ENTRY_EXPOSURE:
    put_exposure(out, entry);
    break;
  case ENTRY_JOURNEY:
    put_journey(out, entry);
    break;
  case ENTRY_SEGMENT:
  case ENTRY_ONCE:
    break;
  }
}

static uint32_t count_entries(const struct record *record, enum entry_type type) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  uint32_t count = 0;
  while (entry_next(&reader, &entry)) count += entry.type == type;
  return count;
}

static void put_entries(struct buf *out, const struct record *record, enum entry_type type) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  while (entry_next(&reader, &entry))
    if (entry.type == type) put_entry(out, &entry);
}

/** Memberships; the moment up to which they are judged is none. */
static void put_segments(struct buf *out, const struct record *record) {
  struct str name;
  int64_t since;
  uint32_t count = 0;
  for (size_t at = 0; record_segment_next(record, &at, &name, &since);) count++;
  value_put_map(out, count);
  for (size_t at = 0; record_segment_next(record, &at, &name, &since);) {
    value_put_string(out, name);
    value_put_integer(out, since);
  }
}

void record_describe(const struct record *record, struct buf *out) {
  value_put_map(out, 13);
  put_member(out, "seq", (int64_t)record->seq);
  put_member(out, "bytes", (int64_t)record->bytes.len);
  put_text(out, "attributes");
  value_put_map(out, count_entries(record, ENTRY_ATTRIBUTE));
  put_entries(out, record, ENTRY_ATTRIBUTE);
  put_text(out, "windows");
  value_put_array(out, count_entries(record, ENTRY_WINDOW) + count_entries(record, ENTRY_KEYS));
  put_entries(out, record, ENTRY_WINDOW);
  put_entries(out, record, ENTRY_KEYS);
  put_member(out, "once", count_entries(record, ENTRY_ONCE));
  put_text(out, "throttles");
  value_put_map(out, count_entries(record, ENTRY_THROTTLE));
  put_entries(out, record, ENTRY_THROTTLE);
  put_text(out, "timers");
  value_put_array(out, count_entries(record, ENTRY_TIMER));
  put_entries(out, record, ENTRY_TIMER);
  put_text(out, "suppressions");
  value_put_array(out, count_entries(record, ENTRY_SUPPRESS));
  put_entries(out, record, ENTRY_SUPPRESS);
  put_text(out, "consents");
  value_put_array(out, count_entries(record, ENTRY_CONSENT));
  put_entries(out, record, ENTRY_CONSENT);
  put_text(out, "counted");
  value_put_map(out, count_entries(record, ENTRY_COUNTER));
  put_entries(out, record, ENTRY_COUNTER);
  put_text(out, "segments");
  put_segments(out, record);
  put_text(out, "experiments");
  value_put_array(out, count_entries(record, ENTRY_EXPOSURE));
  put_entries(out, record, ENTRY_EXPOSURE);
  put_text(out, "journeys");
  value_put_array(out, count_entries(record, ENTRY_JOURNEY));
  put_entries(out, record, ENTRY_JOURNEY);
}
