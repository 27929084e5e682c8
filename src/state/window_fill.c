/* A window that began to count late: what the event log held of the time before, put in. */
#include "state/window_parts.h"

/** A state that entries are added to, in two buffers in turn. */
struct filling {
  uint8_t bytes[2][WINDOW_STATE_MAX];
  struct buf states[2];
  unsigned now;
};

static void add(void *context, const struct window_entry *entry) {
  struct filling *filling = context;
  window_state_add(buf_str(&filling->states[filling->now]), entry, &filling->states[!filling->now]);
  filling->now = !filling->now;
}

/** Of a value that came again its two times known, and that there were more. */
static void add_again(struct filling *filling, struct window_entry entry, uint64_t earlier) {
  int64_t before = (int64_t)((earlier - 1) >> 1);
  entry.at -= before;
  if ((earlier - 1) & 1) {
    entry.at--;
    add(filling, &entry);
    entry.at++;
  }
  add(filling, &entry);
}

static void add_items(struct filling *filling, const struct window_list *list, struct window_entry entry) {
  bool valued = list->kind == WINDOW_LAST || list->kind == WINDOW_FIRST;
  for (unsigned i = list->count; i-- > 0;) {
    const struct window_item *item = &list->items[i];
    entry.at = item->at;
    if (valued)
      entry.value = item->value;
    else
      entry.amount = item->amount;
    if (list->kind == WINDOW_DISTINCT && item->earlier) add_again(filling, entry, item->earlier);
    add(filling, &entry);
  }
}

static int64_t later(int64_t a, int64_t b) {
  return a > b ? a : b;
}

/** FIRST: up to when only the first of each bucket may be left. */
static int64_t thinned(const struct window_list *list) {
  struct reader reader = reader_of(list->section);
  return list->sectioned ? reader_zigzag(&reader) : INT64_MIN;
}

/** What the items do not say of the two: that there was more, and until when. */
static void finish(struct window_list *result, const struct window_list *logged,
                   const struct window_list *live, struct buf *out) {
  uint8_t bytes[10];
  struct buf section = {bytes, 0, sizeof bytes};
  result->filled = true;
  result->dropped |= logged->dropped | live->dropped;
  if (result->kind == WINDOW_FIRST && (logged->sectioned || live->sectioned)) {
    buf_put_zigzag(&section, later(thinned(result), later(thinned(logged), thinned(live))));
    result->section = buf_str(&section);
    result->sectioned = true;
  }
  if (result->sectioned) result->newest = later(result->newest, later(logged->newest, live->newest));
  window_list_put(result, out);
}

void window_state_fill(struct str logged, struct str live, enum window_kind kind, int64_t over,
                       struct buf *out) {
  struct window_entry entry = {.kind = kind, .over = window_hold_over(over), .value = STR("")};
  struct window_list before, after, result;
  if (!window_list_read(&before, logged, kind) || before.kind != kind)
    window_list_read(&before, STR(""), kind);
  if (!window_list_read(&after, live, kind) || after.kind != kind) window_list_read(&after, STR(""), kind);
  buf_clear(out);
  if (!before.count && !before.sectioned && !after.count && !after.sectioned) return;
  struct filling filling;
  for (int i = 0; i < 2; i++) filling.states[i] = (struct buf){filling.bytes[i], 0, WINDOW_STATE_MAX};
  bool buckets = after.sectioned && kind != WINDOW_FIRST; /* what is in them has no order any more */
  const struct window_list *base = buckets ? &after : &before, *other = buckets ? &before : &after;
  window_list_put(base, &filling.states[0]);
  if (base->count == 0 && !base->sectioned) buf_clear(&filling.states[0]);
  filling.now = 0;
  if (other->sectioned && kind == WINDOW_DISTINCT) window_distinct_each(other, entry, add, &filling);
  if (other->sectioned && (kind == WINDOW_COUNT || kind == WINDOW_SUM))
    window_number_each(other, entry, add, &filling);
  add_items(&filling, other, entry);
  window_list_read(&result, buf_str(&filling.states[filling.now]), kind);
  finish(&result, &before, &after, out);
}

bool window_state_filled(struct str bytes) {
  struct reader reader = reader_of(bytes);
  return reader_u8(&reader) & HEAD_FILLED;
}
