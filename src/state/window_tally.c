/* COUNT and SUM as they usually are met: entries come in their order, and are asked for as of the newest or
 * later. Then a tally beside the entries does instead of a look at each of them: a new one is put in front,
 * and only what has left is read, from the oldest on. Whatever is not as usual goes the long way
 * (window_number.c), with the same result.
 *
 * A varint's last byte is its only one below 0x80, so entries and buckets can be read from their end back; in
 * front of the first of them another varint ends. */
#include "state/stored.h"
#include "state/window_parts.h"

/** A state with fewer entries, and without buckets, has no tally: to look at each costs as little. */
enum { TALLY_FROM = 9 };

/** A state, not unpacked. */
struct view {
  unsigned head;
  unsigned count, bucket_count;
  int64_t newest;
  int64_t oldest;                       /**< entry's time; without meaning where there is none */
  const uint8_t *entries, *end;         /**< from the newest back */
  const uint8_t *section;               /**< its length, and what it holds */
  const uint8_t *buckets, *buckets_end; /**< amounts, from the bucket `top` back */
  int64_t top;
  __int128 total; /**< of the amounts of all these */
};

static inline uint64_t varint_back(const uint8_t **end) {
  const uint8_t *at = *end - 1;
  uint64_t value = *at;
  while (at[-1] & 0x80) value = value << 7 | (*--at & 0x7f);
  *end = at;
  return value;
}

static inline int64_t zigzag_back(const uint8_t **end) {
  uint64_t value = varint_back(end);
  return (int64_t)((value >> 1) ^ (0 - (value & 1)));
}

static inline bool fits(__int128 total) {
  return total == (int64_t)total;
}

static void tally_read(struct view *view, struct reader *reader) {
  view->count = (unsigned)reader_varint(reader);
  view->oldest = (int64_t)((uint64_t)view->newest - stored_varint(reader));
  bool sectioned = view->head & HEAD_SECTION;
  if (sectioned) view->bucket_count = (unsigned)reader_varint(reader);
  view->total = sectioned || !(view->head & HEAD_ONES) ? stored_zigzag(reader) : (int64_t)view->count;
}

static void tally_put(const struct view *view, struct buf *out) {
  bool sectioned = view->head & HEAD_SECTION;
  buf_put_varint(out, view->count);
  buf_put_varint(out, view->count ? (uint64_t)view->newest - (uint64_t)view->oldest : 0);
  if (sectioned) buf_put_varint(out, view->bucket_count);
  if (sectioned || !(view->head & HEAD_ONES)) buf_put_zigzag(out, (int64_t)view->total);
}

/** A state without a tally. @return false if it has many entries: it is of the time before there were any */
static bool few_read(struct view *view, struct reader *reader) {
  bool ones = view->head & HEAD_ONES;
  view->oldest = view->newest;
  view->count = 1;
  view->total = ones ? 1 : stored_zigzag(reader);
  for (; reader_left(reader) > 0 && !reader->bad; view->count++) {
    if (view->count + 1 == TALLY_FROM) return false;
    view->oldest = (int64_t)((uint64_t)view->oldest - stored_varint(reader));
    view->total += ones ? 1 : stored_zigzag(reader);
  }
  return true;
}

/** @return false if it is not to be had so. */
static bool view_read(struct view *view, struct str bytes, enum window_kind kind) {
  struct reader reader = reader_of(bytes);
  view->head = reader_u8(&reader);
  view->newest = stored_zigzag(&reader);
  view->bucket_count = 0;
  if ((view->head & HEAD_KIND) != (unsigned)kind) return false;
  bool tallied = view->head & HEAD_TALLY, sectioned = view->head & HEAD_SECTION;
  if (tallied) tally_read(view, &reader);
  view->section = view->buckets_end = reader.at;
  if (sectioned) {
    struct reader section = reader_of(reader_str(&reader));
    view->top = stored_zigzag(&section);
    view->buckets = section.at;
    view->buckets_end = section.end;
  }
  view->entries = reader.at;
  bool known = tallied || (!sectioned && few_read(view, &reader));
  view->end = reader.end;
  return known && !reader.bad;
}

/** The oldest entry's amount, and the time of the one after it (of the newest: no time). @param end  moves to
 * its start */
static inline int64_t oldest_read(const struct view *view, const uint8_t **end, int64_t *after_it) {
  int64_t amount = view->head & HEAD_ONES ? 1 : zigzag_back(end);
  bool first = view->count == 1 && !(view->head & HEAD_SECTION);
  *after_it = first ? view->oldest : (int64_t)((uint64_t)view->oldest + varint_back(end));
  return amount;
}

static inline void oldest_drop(struct view *view, const uint8_t *end, int64_t amount, int64_t after_it) {
  view->end = end;
  view->total -= amount;
  view->oldest = after_it;
  view->count--;
}

/** As window_list_trim() does. */
static void trim(struct view *view, int64_t left) {
  while (view->count > 1 && view->oldest <= left) {
    const uint8_t *end = view->end;
    int64_t after_it, amount = oldest_read(view, &end, &after_it);
    if (after_it > left) return;
    oldest_drop(view, end, amount, after_it);
    view->head |= HEAD_DROPPED;
  }
}

static void head_put(const struct view *view, struct buf *out) {
  buf_clear(out);
  buf_put_u8(out, (uint8_t)view->head);
  buf_put_zigzag(out, view->newest);
}

/** The last bucket gets more: nothing is behind it. */
static bool bucket_add(struct view *view, const struct window_entry *entry, int64_t width, int64_t left,
                       struct buf *out) {
  struct reader reader = {view->buckets, view->buckets_end, false};
  int64_t amount;
  if (view->count || !view->bucket_count || entry->at < view->top * width ||
      __builtin_add_overflow(stored_zigzag(&reader), entry->amount, &amount) || amount == 0)
    return false;
  view->total += entry->amount;
  while (view->bucket_count > 1) {
    const uint8_t *end = view->buckets_end;
    int64_t last = zigzag_back(&end);
    if (last && (view->top - (view->bucket_count - 1) + 1) * width - 1 > left) break;
    view->total -= last;
    view->buckets_end = end;
    view->bucket_count--;
  }
  if (!fits(view->total)) return false;
  uint8_t bytes[20];
  struct buf front = {bytes, 0, sizeof bytes};
  buf_put_zigzag(&front, view->top);
  buf_put_zigzag(&front, amount);
  size_t rest = (size_t)(view->buckets_end - reader.at);
  view->newest = entry->at;
  view->head |= HEAD_ONES;
  head_put(view, out);
  tally_put(view, out);
  buf_put_varint(out, front.len + rest);
  buf_append(out, front.data, front.len);
  buf_append(out, reader.at, rest);
  return true;
}

/** The entries with another one in front. @param gap  ms that it came after `newest` */
static void entries_put(const struct view *view, int64_t amount, uint64_t gap, struct buf *out) {
  bool sectioned = view->head & HEAD_SECTION, ones = view->head & HEAD_ONES;
  struct reader old = {view->entries, view->end, false};
  if (sectioned) {
    buf_put_varint(out, 0);
    if (reader_left(&old)) gap += stored_varint(&old);
  }
  if (!ones) buf_put_zigzag(out, amount);
  if (view->count > 1) buf_put_varint(out, gap);
  buf_append(out, old.at, reader_left(&old));
}

bool window_tally_add(struct str bytes, const struct window_entry *entry, struct buf *out) {
  struct view view;
  if (!view_read(&view, bytes, entry->kind) || entry->at < view.newest) return false;
  int64_t left = entry->at - entry->over;
  bool sectioned = view.head & HEAD_SECTION;
  if (sectioned) {
    int64_t width = window_width(entry->over);
    int64_t end = (view.top + 1) * width - 1;
    if (end <= left) return false;
    if (entry->at <= end) return bucket_add(&view, entry, width, left, out);
  }
  trim(&view, left);
  unsigned live = view.count - (view.count && view.oldest <= left) + 1;
  if (live > WINDOW_EXACT_MAX) return false;
  if (view.count == 0)
    view.head = (view.head & ~(unsigned)HEAD_ONES) | (entry->amount == 1 ? HEAD_ONES : 0);
  else if (view.head & HEAD_ONES && entry->amount != 1)
    return false;
  uint64_t gap = (uint64_t)(entry->at - view.newest);
  if (view.count == 0) view.oldest = entry->at;
  view.newest = entry->at;
  view.count++;
  view.total += entry->amount;
  bool tallied = sectioned || view.count >= TALLY_FROM;
  if (tallied && !fits(view.total)) return false;
  view.head = (view.head & ~(unsigned)HEAD_TALLY) | (tallied ? HEAD_TALLY : 0);
  head_put(&view, out);
  if (tallied) tally_put(&view, out);
  buf_append(out, view.section, (size_t)(view.buckets_end - view.section));
  entries_put(&view, entry->amount, gap, out);
  return true;
}

bool window_tally_ask(struct str bytes, enum window_kind kind, int64_t over, int64_t now,
                      struct window_answer *answer) {
  struct view view;
  if (!view_read(&view, bytes, kind) || now < view.newest) return false;
  int64_t after = now - over, width = 1;
  bool sectioned = view.head & HEAD_SECTION;
  answer->exact = true;
  if (sectioned) {
    width = window_width(over);
    if (view.top * width > view.newest) return false; /* no bucket begins after `now` */
    answer->exact = after >= window_min((view.top + 1) * width - 1, view.newest);
  }
  while (view.count > 0 && view.oldest <= after) {
    const uint8_t *end = view.end;
    int64_t after_it, amount = oldest_read(&view, &end, &after_it);
    oldest_drop(&view, end, amount, after_it);
  }
  if (view.count > 0) answer->next_change = view.oldest + over;
  for (unsigned i = view.bucket_count; i-- > 0;) {
    int64_t amount = zigzag_back(&view.buckets_end);
    int64_t middle = window_min((view.top - i) * width + width / 2, view.newest);
    if (middle <= after) {
      view.total -= amount;
    } else if (amount) {
      answer->next_change = window_min(answer->next_change, middle + over);
      break;
    }
  }
  answer->number = kind == WINDOW_SUM ? (double)view.total / 1e6 : (double)view.total;
  return true;
}

/** @return false if the list is to have no tally */
static bool tally_of(const struct window_list *list, bool ones, struct view *view) {
  *view = (struct view){.head = (unsigned)(list->sectioned ? HEAD_SECTION : 0) | (ones ? HEAD_ONES : 0),
                        .count = list->count,
                        .newest = list->newest};
  if (!list->sectioned && list->count < TALLY_FROM) return false;
  if (list->count) view->oldest = list->items[list->count - 1].at;
  for (unsigned i = 0; i < list->count; i++) view->total += list->items[i].amount;
  if (list->sectioned) {
    struct reader section = reader_of(list->section);
    stored_zigzag(&section);
    for (; reader_left(&section) > 0 && !section.bad; view->bucket_count++)
      view->total += stored_zigzag(&section);
  }
  return fits(view->total);
}

void window_tally_put(const struct window_list *list, bool ones, struct buf *out) {
  struct view view;
  if (tally_of(list, ones, &view)) tally_put(&view, out);
}

void window_tally_skip(struct reader *reader, unsigned head) {
  struct view view = {.head = head};
  tally_read(&view, reader);
}

bool window_tally_valid(const struct window_list *list, struct str bytes) {
  struct view view, right;
  if (!view_read(&view, bytes, list->kind) || !tally_of(list, view.head & HEAD_ONES, &right)) return false;
  return view.count == right.count && view.bucket_count == right.bucket_count && view.total == right.total &&
         (view.count == 0 || view.oldest == right.oldest);
}
