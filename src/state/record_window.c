/* The record's windows, with and without keys. */
#include "state/record_entry.h"

#include "event/value.h"
#include "state/stored.h"

static void put_over(struct buf *out, int64_t over) {
  buf_put_varint(out, over % 60000 == 0 ? (uint64_t)(over / 60000) * 2 : (uint64_t)over * 2 + 1);
}

struct window_place record_window_place(const struct entry *entry) {
  struct window_place place = {.rest = reader_of(entry->body)};
  place.id = reader_u64(&place.rest);
  uint64_t over = stored_varint(&place.rest);
  place.over = over & 1 ? (int64_t)(over >> 1) : (int64_t)((over >> 1) * 60000);
  if (entry->type == ENTRY_KEYS) place.evicted = stored_varint(&place.rest);
  return place;
}

static struct str rest_of(const struct reader *reader) {
  return (struct str){(const char *)reader->at, reader_left(reader)};
}

static bool over_valid(const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  reader_u64(&reader);
  uint64_t over = reader_varint(&reader);
  uint64_t most = over & 1 ? WINDOW_TIME_MAX : WINDOW_TIME_MAX / 60000;
  return !reader.bad && over >> 1 >= 1 && over >> 1 <= most;
}

bool record_valid_window(const struct entry *entry) {
  if (!over_valid(entry)) return false;
  struct window_place place = record_window_place(entry);
  if (entry->type == ENTRY_WINDOW) return window_state_valid(rest_of(&place.rest), place.over);
  unsigned keys = 0;
  while (!place.rest.bad && reader_left(&place.rest) > 0) {
    uint64_t key = reader_u64(&place.rest);
    struct str state = reader_str(&place.rest);
    if (++keys > WINDOW_KEYS_MAX || key == 0 || !window_state_valid(state, place.over)) return false;
  }
  return !place.rest.bad;
}

static int put_plain(struct record *record, const struct entry *old, uint64_t id, int64_t over,
                     struct str state, size_t max) {
  uint8_t head_bytes[32];
  struct buf head = {head_bytes, 0, sizeof head_bytes};
  buf_put_u64(&head, id);
  put_over(&head, over);
  size_t len = head.len + state.len;
  if (!record_fits(record, entry_taken(old), entry_size(len), max)) return ERROR_LIMIT;
  uint8_t *body = record_place(record, old, ENTRY_WINDOW, len);
  memcpy(body, head.data, head.len);
  memcpy(body + head.len, state.data, state.len);
  return 0;
}

static int apply_plain(struct record *record, const struct window_entry *entry, size_t max) {
  uint8_t state_bytes[WINDOW_STATE_MAX];
  struct buf state = {state_bytes, 0, sizeof state_bytes};
  struct window_entry held = *entry;
  struct entry old;
  struct str before = STR("");
  held.over = window_hold_over(entry->over);
  if (entry_find(record, ENTRY_WINDOW, entry->id, &old)) {
    struct window_place place = record_window_place(&old);
    held.over = place.over; // the state is in its terms
    before = rest_of(&place.rest);
  }
  window_state_add(before, &held, &state);
  return put_plain(record, &old, entry->id, held.over, buf_str(&state), max);
}

/** One key of a keyed window: where it lies in the record. */
struct key_place {
  size_t offset, size; /**< size 0: not there */
  struct str state;
};

/** @return how many keys there are, if this one is not */
static unsigned find_key(const struct record *record, struct reader keys, uint64_t key,
                         struct key_place *found) {
  unsigned count = 0;
  for (; reader_left(&keys) > 0; count++) {
    const uint8_t *start = keys.at;
    uint64_t other = reader_u64(&keys);
    struct str state = reader_str(&keys);
    if (__builtin_expect(other != key, 1)) continue;
    *found = (struct key_place){(size_t)(start - record->bytes.data), (size_t)(keys.at - start), state};
    return count;
  }
  *found = (struct key_place){.state = STR("")};
  return count;
}

/** The key that has to go for another one. */
static struct key_place oldest_key(const struct record *record, struct reader keys) {
  struct key_place oldest = {.state = STR("")};
  int64_t oldest_at = 0;
  while (reader_left(&keys) > 0) {
    const uint8_t *start = keys.at;
    reader_u64(&keys);
    struct str state = reader_str(&keys);
    int64_t at = window_state_newest(state);
    if (oldest.size > 0 && at >= oldest_at) continue;
    oldest = (struct key_place){(size_t)(start - record->bytes.data), (size_t)(keys.at - start), state};
    oldest_at = at;
  }
  return oldest;
}

/** A keyed window, and where one of its keys is or shall be. */
struct keyed {
  struct entry old; /**< of the window */
  struct window_place place;
  struct key_place found, victim;
  size_t keys_len;
  int64_t over;
};

static void find_keyed(const struct record *record, uint64_t id, uint64_t key, int64_t over,
                       struct keyed *keyed) {
  *keyed = (struct keyed){.over = over, .found = {.state = STR("")}};
  if (!entry_find(record, ENTRY_KEYS, id, &keyed->old)) return;
  keyed->place = record_window_place(&keyed->old);
  keyed->over = keyed->place.over; // the states are in its terms
  keyed->keys_len = reader_left(&keyed->place.rest);
  unsigned count = find_key(record, keyed->place.rest, key, &keyed->found);
  if (keyed->found.size == 0 && count >= WINDOW_KEYS_MAX)
    keyed->victim = oldest_key(record, keyed->place.rest);
}

/** @param at  as of when a key that has to go counts as lost, unless it has left. */
static int put_keyed(struct record *record, struct keyed *keyed, uint64_t id, uint64_t key, int64_t at,
                     struct str state, size_t max) {
  uint8_t head_bytes[64], item_bytes[WINDOW_STATE_MAX + 32];
  struct buf head = {head_bytes, 0, sizeof head_bytes}, item = {item_bytes, 0, sizeof item_bytes};
  struct key_place found = keyed->found, victim = keyed->victim;
  uint64_t evicted = keyed->place.evicted;
  // A key that has left the window is no loss.
  if (victim.size > 0 && window_state_newest(victim.state) > at - keyed->over) evicted++;
  buf_put_u64(&item, key);
  buf_put_str(&item, state);

  size_t taken = entry_taken(&keyed->old), keys_len = keyed->keys_len;
  uint8_t body_bytes[32];
  struct buf body = {body_bytes, 0, sizeof body_bytes};
  buf_put_u64(&body, id);
  put_over(&body, keyed->over);
  buf_put_varint(&body, evicted);
  size_t len = body.len + keys_len - victim.size - found.size + item.len;
  if (!record_fits(record, taken, entry_size(len), max)) return ERROR_LIMIT;
  buf_put_u8(&head, ENTRY_KEYS);
  buf_put_varint(&head, len);
  buf_append(&head, body.data, body.len);

  // From the back forward, so that offsets stay right.
  size_t start = keyed->old.start ? (size_t)(keyed->old.start - record->bytes.data) : record->bytes.len;
  size_t place_of_item = found.size ? found.offset : start + taken;
  memcpy(record_splice(record, place_of_item, found.size, item.len), item.data, item.len);
  if (victim.size) record_splice(record, victim.offset, victim.size, 0);
  memcpy(record_splice(record, start, taken - keys_len, head.len), head.data, head.len);
  return 0;
}

static int apply_keyed(struct record *record, const struct window_entry *entry, size_t max) {
  uint8_t state_bytes[WINDOW_STATE_MAX];
  struct buf state = {state_bytes, 0, sizeof state_bytes};
  struct window_entry held = *entry;
  struct keyed keyed;
  find_keyed(record, entry->id, entry->key, window_hold_over(entry->over), &keyed);
  held.over = keyed.over;
  held.at = window_hold_time(entry->at);
  window_state_add(keyed.found.state, &held, &state);
  return put_keyed(record, &keyed, entry->id, entry->key, held.at, buf_str(&state), max);
}

int record_apply_window(struct record *record, const struct window_entry *entry, size_t max) {
  bool valued = entry->kind == WINDOW_LAST || entry->kind == WINDOW_FIRST;
  if (window_kind_name(entry->kind)[0] == 0) return ERROR_INVALID;
  if (valued && (entry->value.len > WINDOW_VALUE_MAX || (entry->value.len && !value_valid(entry->value))))
    return ERROR_INVALID;
  return entry->key ? apply_keyed(record, entry, max) : apply_plain(record, entry, max);
}

int record_apply_held(struct record *record, const struct window_held *held, size_t max) {
  int64_t over = window_hold_over(held->over);
  if (!window_state_valid(held->state, over)) return ERROR_INVALID;
  struct entry old;
  struct keyed keyed;
  if (!held->key) {
    entry_find(record, ENTRY_WINDOW, held->id, &old);
    return put_plain(record, &old, held->id, over, held->state, max);
  }
  find_keyed(record, held->id, held->key, over, &keyed);
  if (keyed.over != over) return ERROR_INVALID;
  return put_keyed(record, &keyed, held->id, held->key, window_state_newest(held->state), held->state, max);
}

struct str record_window_state(const struct record *record, uint64_t window_id, uint64_t key) {
  struct entry entry;
  if (!entry_find(record, key ? ENTRY_KEYS : ENTRY_WINDOW, window_id, &entry)) return STR("");
  struct window_place place = record_window_place(&entry);
  if (!key) return rest_of(&place.rest);
  struct key_place found;
  find_key(record, place.rest, key, &found);
  return found.state;
}

void record_each_window(const struct record *record,
                        void (*visit)(void *context, const struct window_held *held), void *context) {
  struct reader reader = reader_of(buf_str(&record->bytes));
  struct entry entry;
  while (entry_next(&reader, &entry)) {
    if (entry.type != ENTRY_WINDOW && entry.type != ENTRY_KEYS) continue;
    struct window_place place = record_window_place(&entry);
    struct window_held held = {.id = place.id, .over = place.over};
    if (entry.type == ENTRY_WINDOW) {
      held.state = rest_of(&place.rest);
      visit(context, &held);
    }
    while (entry.type == ENTRY_KEYS && reader_left(&place.rest) > 0) {
      held.key = reader_u64(&place.rest);
      held.state = reader_str(&place.rest);
      visit(context, &held);
    }
  }
}

void record_keep_windows(struct record *record, bool (*keep)(const void *context, uint64_t window_id),
                         const void *context) {
  struct entry entry;
  for (size_t offset = 0;;) {
    struct reader reader =
        reader_of((struct str){(const char *)record->bytes.data + offset, record->bytes.len - offset});
    if (!entry_next(&reader, &entry)) return;
    bool window = entry.type == ENTRY_WINDOW || entry.type == ENTRY_KEYS;
    if (window && !keep(context, record_window_place(&entry).id))
      record_remove(record, &entry);
    else
      offset = (size_t)(reader.at - record->bytes.data);
  }
}

struct window_answer record_window(const struct record *record, const struct window_declaration *declaration,
                                   uint64_t key, int64_t now) {
  struct entry entry;
  struct str state = STR("");
  int64_t over = declaration->over;
  if (entry_find(record, key ? ENTRY_KEYS : ENTRY_WINDOW, declaration->id, &entry)) {
    struct window_place place = record_window_place(&entry);
    over = place.over;
    state = rest_of(&place.rest);
    if (key) {
      struct key_place found;
      find_key(record, place.rest, key, &found);
      state = found.state;
    }
  }
  return window_state_ask(state, declaration->kind, over, now);
}

uint64_t record_window_evicted(const struct record *record, uint64_t window_id) {
  struct entry entry;
  return entry_find(record, ENTRY_KEYS, window_id, &entry) ? record_window_place(&entry).evicted : 0;
}

static bool has_left(struct str state, int64_t over, int64_t now) {
  return window_state_newest(state) <= window_hold_time(now) - over;
}

bool record_tidy_window(struct record *record, const struct entry *entry, int64_t now) {
  struct window_place place = record_window_place(entry);
  if (entry->type == ENTRY_WINDOW) {
    if (!has_left(rest_of(&place.rest), place.over, now)) return false;
    record_remove(record, entry);
    return true;
  }
  size_t gone = 0, keys_len = reader_left(&place.rest);
  uint8_t *to = record->bytes.data + (place.rest.at - record->bytes.data), *keys = to;
  while (reader_left(&place.rest) > 0) {
    const uint8_t *from = place.rest.at;
    reader_u64(&place.rest);
    struct str state = reader_str(&place.rest);
    size_t size = (size_t)(place.rest.at - from);
    if (has_left(state, place.over, now)) {
      gone += size;
      continue;
    }
    memmove(to, from, size);
    to += size;
  }
  if (gone == 0) return false;
  if (gone == keys_len) {
    record_remove(record, entry);
    return true;
  }
  size_t start = (size_t)(entry->start - record->bytes.data);
  size_t body = (size_t)((const uint8_t *)entry->body.data - entry->start); // length of type and length
  uint8_t head_bytes[16];
  struct buf head = {head_bytes, 0, sizeof head_bytes};
  buf_put_u8(&head, ENTRY_KEYS);
  buf_put_varint(&head, entry->body.len - gone);
  record_splice(record, (size_t)(keys - record->bytes.data) + keys_len - gone, gone, 0);
  memcpy(record_splice(record, start, body, head.len), head.data, head.len);
  return false;
}
