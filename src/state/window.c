#include "state/window.h"

#include "base/hash.h"
#include "event/value.h"
#include "state/stored.h"
#include "state/window_parts.h"

#include <math.h>

void window_identify(struct window_declaration *declaration) {
  struct buf bytes;
  buf_init(&bytes);
  buf_put_u8(&bytes, (uint8_t)declaration->kind);
  buf_put_str(&bytes, declaration->of);
  buf_put_str(&bytes, declaration->by);
  buf_put_str(&bytes, declaration->value);
  buf_put_zigzag(&bytes, declaration->over);
  declaration->form = hash64(buf_str(&bytes), 0);
  buf_deinit(&bytes);
  window_begin(declaration, 0);
}

void window_begin(struct window_declaration *declaration, uint32_t since) {
  uint32_t number = htole32(since);
  declaration->since = since;
  declaration->id = since ? hash64((struct str){(const char *)&number, sizeof number}, declaration->form)
                          : declaration->form;
}

uint64_t window_key(struct str text) {
  uint64_t key = hash64(text, 0);
  return key ? key : 1;
}

int64_t window_fixed(double amount) {
  if (isnan(amount)) return 0;
  double scaled = round(amount * 1e6);
  if (scaled >= 0x1p63) return INT64_MAX;
  if (scaled < -0x1p63) return INT64_MIN;
  return (int64_t)scaled;
}

const char *window_kind_name(enum window_kind kind) {
  static const char *const names[] = {"", "count", "sum", "last", "first", "distinct"};
  return kind >= WINDOW_COUNT && kind <= WINDOW_DISTINCT ? names[kind] : "";
}

static bool is_number(enum window_kind kind) {
  return kind == WINDOW_COUNT || kind == WINDOW_SUM;
}

static void item_read(struct window_item *item, enum window_kind kind, bool ones, struct reader *reader) {
  switch (kind) {
  case WINDOW_COUNT:
  case WINDOW_SUM:
    item->amount = ones ? 1 : stored_zigzag(reader);
    break;
  case WINDOW_LAST:
  case WINDOW_FIRST:
    item->value = reader_str(reader);
    break;
  case WINDOW_DISTINCT:
    item->amount = (int64_t)reader_u64(reader);
    item->earlier = stored_varint(reader);
    break;
  }
}

bool window_list_read(struct window_list *list, struct str bytes, enum window_kind kind) {
  list->kind = kind;
  list->dropped = list->sectioned = list->filled = false;
  list->newest = INT64_MIN;
  list->count = 0;
  list->section = STR("");
  if (bytes.len == 0) return true;
  struct reader reader = reader_of(bytes);
  unsigned head = reader_u8(&reader);
  list->kind = head & HEAD_KIND;
  list->dropped = head & HEAD_DROPPED;
  list->sectioned = head & HEAD_SECTION;
  list->filled = head & HEAD_FILLED;
  list->newest = stored_zigzag(&reader);
  if (head & HEAD_TALLY) {
    if (!is_number(list->kind)) return false;
    window_tally_skip(&reader, head);
  }
  if (list->sectioned) list->section = reader_str(&reader);
  if (reader.bad || window_kind_name(list->kind)[0] == 0) return false;
  int64_t at = list->newest;
  bool implied = !list->sectioned;
  while (!reader.bad && (implied || reader_left(&reader) > 0)) {
    if (list->count == WINDOW_EXACT_MAX + 1) return false;
    // As unsigned numbers: a gap that leads out of range must not be an overflow.
    if (!implied) at = (int64_t)((uint64_t)at - stored_varint(&reader));
    implied = false;
    struct window_item *item = &list->items[list->count++];
    item->at = at;
    item_read(item, list->kind, head & HEAD_ONES, &reader);
  }
  return !reader.bad;
}

void window_list_put(const struct window_list *list, struct buf *out) {
  bool numbers = is_number(list->kind);
  bool ones = numbers;
  for (unsigned i = 0; ones && i < list->count; i++) ones = list->items[i].amount == 1;
  uint8_t bytes[64];
  struct buf tally = {bytes, 0, sizeof bytes};
  if (numbers) window_tally_put(list, ones, &tally);
  buf_clear(out);
  buf_put_u8(out, (uint8_t)((unsigned)list->kind | (ones ? HEAD_ONES : 0) |
                            (list->dropped ? HEAD_DROPPED : 0) | (list->sectioned ? HEAD_SECTION : 0) |
                            (list->filled ? HEAD_FILLED : 0) | (tally.len ? HEAD_TALLY : 0)));
  buf_put_zigzag(out, list->newest);
  buf_append(out, tally.data, tally.len);
  if (list->sectioned) buf_put_str(out, list->section);
  int64_t at = list->newest;
  for (unsigned i = 0; i < list->count; i++) {
    const struct window_item *item = &list->items[i];
    if (i > 0 || list->sectioned) buf_put_varint(out, (uint64_t)(at - item->at));
    at = item->at;
    if (numbers) {
      if (!ones) buf_put_zigzag(out, item->amount);
    } else if (list->kind == WINDOW_DISTINCT) {
      buf_put_u64(out, (uint64_t)item->amount);
      buf_put_varint(out, item->earlier);
    } else {
      buf_put_str(out, item->value);
    }
  }
}

void window_list_insert(struct window_list *list, const struct window_item *item) {
  unsigned place = 0;
  while (place < list->count && list->items[place].at > item->at) place++;
  memmove(&list->items[place + 1], &list->items[place], (list->count - place) * sizeof list->items[0]);
  list->items[place] = *item;
  list->count++;
  if (item->at > list->newest) list->newest = item->at;
}

void window_list_trim(struct window_list *list, int64_t left) {
  while (list->count >= 2 && list->items[list->count - 2].at <= left) {
    list->count--;
    list->dropped = true;
  }
}

void window_state_add(struct str bytes, const struct window_entry *entry, struct buf *out) {
  struct window_entry held = *entry;
  held.over = window_hold_over(entry->over);
  held.at = window_hold_time(entry->at);
  if (is_number(held.kind) && window_tally_add(bytes, &held, out)) return;
  struct window_list list;
  // Another kind under the same id cannot be counted on; it starts anew.
  if (!window_list_read(&list, bytes, held.kind) || list.kind != held.kind)
    window_list_read(&list, STR(""), held.kind);
  switch (held.kind) {
  case WINDOW_COUNT:
  case WINDOW_SUM:
    window_number_add(&list, &held, out);
    break;
  case WINDOW_LAST:
  case WINDOW_FIRST:
    window_value_add(&list, &held, out);
    break;
  case WINDOW_DISTINCT:
    window_distinct_add(&list, &held, out);
    break;
  }
}

struct window_answer window_state_ask(struct str bytes, enum window_kind kind, int64_t over, int64_t now) {
  struct window_answer none = {.exact = true, .value = STR(""), .next_change = INT64_MAX};
  if (bytes.len == 0) return none;
  over = window_hold_over(over);
  // Everything has left by then.
  if (now > 3 * WINDOW_TIME_MAX) now = 3 * WINDOW_TIME_MAX;
  if (now < -WINDOW_TIME_MAX) now = -WINDOW_TIME_MAX;
  struct window_answer answer = none;
  if (is_number(kind) && window_tally_ask(bytes, kind, over, now, &answer)) return answer;
  struct window_list list;
  if (!window_list_read(&list, bytes, kind) || list.kind != kind) return none;
  switch (kind) {
  case WINDOW_COUNT:
  case WINDOW_SUM:
    return window_number_ask(&list, over, now);
  case WINDOW_LAST:
  case WINDOW_FIRST:
    return window_value_ask(&list, over, now);
  case WINDOW_DISTINCT:
    return window_distinct_ask(&list, over, now);
  }
  return none;
}

int64_t window_state_newest(struct str bytes) {
  struct reader reader = reader_of(bytes);
  reader_u8(&reader);
  int64_t newest = stored_zigzag(&reader);
  return reader.bad ? INT64_MIN : newest;
}

static bool item_valid(const struct window_item *item, enum window_kind kind) {
  switch (kind) {
  case WINDOW_COUNT:
  case WINDOW_SUM:
    return true;
  case WINDOW_LAST:
  case WINDOW_FIRST:
    return item->value.len <= WINDOW_VALUE_MAX && (item->value.len == 0 || value_valid(item->value));
  case WINDOW_DISTINCT:
    return item->earlier == 0 || (item->earlier - 1) >> 1 <= (uint64_t)(item->at + WINDOW_TIME_MAX);
  }
  return false;
}

bool window_state_valid(struct str bytes, int64_t over) {
  struct window_list list;
  if (bytes.len == 0 || over < 1 || over > WINDOW_TIME_MAX || !window_list_read(&list, bytes, 0) ||
      list.newest < -WINDOW_TIME_MAX || list.newest > WINDOW_TIME_MAX)
    return false;
  int64_t at = list.newest;
  for (unsigned i = 0; i < list.count; i++) {
    const struct window_item *item = &list.items[i];
    if (item->at > at || item->at < -WINDOW_TIME_MAX || !item_valid(item, list.kind)) return false;
    at = item->at;
  }
  bool tallied = (uint8_t)bytes.data[0] & HEAD_TALLY;
  if (!list.sectioned) return !tallied || window_tally_valid(&list, bytes);
  switch (list.kind) {
  case WINDOW_COUNT:
  case WINDOW_SUM:
    return window_number_section_valid(&list, over) && (!tallied || window_tally_valid(&list, bytes));
  case WINDOW_FIRST:
    return list.count > 0 && window_value_section_valid(list.section);
  case WINDOW_DISTINCT:
    return window_distinct_section_valid(list.section, over);
  case WINDOW_LAST:
    break;
  }
  return false;
}

struct window_summary window_state_summary(struct str bytes) {
  struct window_list list;
  if (!window_list_read(&list, bytes, 0)) return (struct window_summary){0};
  return (struct window_summary){list.kind, list.count, list.sectioned, list.newest};
}
