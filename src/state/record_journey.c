/* Journeys in a record. */
#include "state/record_entry.h"
#include "state/stored.h"

static bool find(const struct record *record, struct hash128 id, struct entry *entry) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  while (entry_next(&reader, entry)) {
    if (entry->type != ENTRY_JOURNEY) continue;
    struct reader body = reader_of(entry->body);
    if (hash128_equal(stored_hash(&body), id)) return true;
  }
  entry->start = NULL;
  return false;
}

bool record_journey(const struct record *record, struct hash128 id, struct journey *out) {
  struct entry entry;
  return find(record, id, &entry) && journey_decode(out, entry.body);
}

bool record_journey_next(const struct record *record, size_t *at, struct journey *out) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  reader_take(&reader, *at);
  while (entry_next(&reader, &entry)) {
    *at = (size_t)(reader.at - record->bytes.data);
    if (entry.type != ENTRY_JOURNEY) continue;
    *out = (struct journey){0};
    if (journey_decode_head(out, entry.body)) return true;
  }
  return false;
}

bool record_journey_recalled(const struct record *record, struct hash128 id) {
  struct entry entry;
  return record_once(record, journey_sent_key(id), INT64_MIN, NULL) && !find(record, id, &entry);
}

/** What it brings along is whole: what was there before is known to be. */
static bool change_valid(const struct journey *change, unsigned changes) {
  struct journey one = *change;
  if (!(changes & JOURNEY_BEGINS)) one.event = STR("");
  if (!(changes & (JOURNEY_BEGINS | JOURNEY_MOVES))) one.exits = STR("");
  if (!(changes & (JOURNEY_BEGINS | JOURNEY_CONTINUES))) one.handed = STR("");
  return journey_valid(&one);
}

int record_apply_journey(struct record *record, const struct journey *change, unsigned changes, size_t max) {
  struct entry entry;
  struct journey journey = *change, before = {0};
  struct buf history, body;
  bool there = find(record, change->id, &entry) && journey_decode(&before, entry.body);
  if (!there && !(changes & JOURNEY_BEGINS)) return 0;
  if (!change_valid(change, changes)) return ERROR_INVALID;
  buf_init(&history);
  buf_init(&body);
  if (!(changes & JOURNEY_BEGINS)) {
    journey.campaign = before.campaign;
    journey.name = before.name;
    journey.begun = before.begun;
    journey.event = before.event;
    if (!(changes & JOURNEY_MOVES)) {
      journey.version = before.version;
      journey.exits = before.exits;
    }
    if (!(changes & JOURNEY_CONTINUES)) {
      journey.at = before.at;
      journey.run = before.run;
      journey.handed = before.handed;
      journey.steps += before.steps;
      buf_append(&history, before.history.data, before.history.len);
      buf_append(&history, change->history.data, change->history.len);
      journey.history = buf_str(&history);
    }
  }
  journey_encode(&journey, &body);
  bool fits = record_fits(record, entry_taken(&entry), entry_size(body.len), max);
  if (fits) memcpy(record_place(record, &entry, ENTRY_JOURNEY, body.len), body.data, body.len);
  buf_deinit(&history);
  buf_deinit(&body);
  return fits ? 0 : ERROR_LIMIT;
}

void record_end_journey(struct record *record, struct hash128 id) {
  struct entry entry;
  if (find(record, id, &entry)) record_remove(record, &entry);
}

bool record_valid_journey(const struct entry *entry) {
  struct journey journey;
  return journey_decode(&journey, entry->body) && journey_valid(&journey);
}
