/* The record's segments: which ones the user is in, and up to which moment they are judged. */
#include "state/record_entry.h"

/** A SEGMENT entry's name. */
static struct str entry_segment(const struct entry *entry, int64_t *since) {
  struct reader reader = reader_of(entry->body);
  struct str name = reader_str(&reader);
  *since = reader_zigzag(&reader);
  return name;
}

bool record_valid_segment(const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  reader_str(&reader);
  reader_zigzag(&reader);
  return !reader.bad && reader_left(&reader) == 0;
}

int record_apply_segment(struct record *record, const struct membership *membership, size_t max) {
  struct entry old;
  record_find_named(record, ENTRY_SEGMENT, membership->name, &old);
  if (membership->change == SEGMENT_LEFT || membership->change == SEGMENT_FORGOTTEN) {
    record_remove(record, &old);
    return 0;
  }
  uint8_t bytes[16];
  struct buf at = {bytes, 0, sizeof bytes};
  buf_put_zigzag(&at, membership->at);
  size_t len = str_size(membership->name) + at.len;
  if (!record_fits(record, entry_taken(&old), entry_size(len), max)) return ERROR_LIMIT;
  uint8_t *body = record_place(record, &old, ENTRY_SEGMENT, len);
  memcpy(str_write(body, membership->name), at.data, at.len);
  return 0;
}

bool record_segment(const struct record *record, struct str name, int64_t *since) {
  struct entry entry;
  int64_t at;
  if (!name.len || !record_find_named(record, ENTRY_SEGMENT, name, &entry)) return false;
  entry_segment(&entry, since ? since : &at);
  return true;
}

int64_t record_segments_judged(const struct record *record) {
  struct entry entry;
  int64_t at;
  if (!record_find_named(record, ENTRY_SEGMENT, STR(""), &entry)) return INT64_MIN;
  entry_segment(&entry, &at);
  return at;
}

bool record_segment_next(const struct record *record, size_t *at, struct str *name, int64_t *since) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  reader_take(&reader, *at);
  while (entry_next(&reader, &entry)) {
    *at = (size_t)(reader.at - record->bytes.data);
    if (entry.type != ENTRY_SEGMENT) continue;
    *name = entry_segment(&entry, since);
    if (name->len) return true;
  }
  return false;
}

bool record_timer_segment(const struct record *record, size_t *at, struct timer *out) {
  return record_timer_next_of(record, at, timer_segment, out);
}
