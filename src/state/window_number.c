/* COUNT and SUM: entries with amounts, and buckets of amounts behind them.
 *
 * Section: top:zigzag (the newest bucket), then amount:zigzag of each bucket from the top back, to the end.
 * All entries are after the top bucket's end; without any, the newest was counted into a bucket. */
#include "state/stored.h"
#include "state/window_parts.h"

/** Buckets that (newest - L, newest] can touch. */
enum { SPAN = WINDOW_BUCKETS + 1 };

struct buckets {
  int64_t top;
  unsigned count;
  int64_t amounts[SPAN];
};

static bool buckets_read(struct buckets *buckets, struct str section) {
  struct reader reader = reader_of(section);
  buckets->top = stored_zigzag(&reader);
  buckets->count = 0;
  while (!reader.bad && reader_left(&reader) > 0) {
    if (buckets->count == SPAN) return false;
    buckets->amounts[buckets->count++] = stored_zigzag(&reader);
  }
  return !reader.bad;
}

static int64_t add_saturated(int64_t a, int64_t b) {
  int64_t sum;
  if (!__builtin_add_overflow(a, b, &sum)) return sum;
  return b < 0 ? INT64_MIN : INT64_MAX;
}

static void buckets_add(struct buckets *buckets, int64_t bucket, int64_t amount) {
  if (bucket > buckets->top) {
    int64_t by = bucket - buckets->top;
    unsigned shift = by < SPAN ? (unsigned)by : SPAN;
    unsigned stay = buckets->count < SPAN - shift ? buckets->count : SPAN - shift;
    memmove(buckets->amounts + shift, buckets->amounts, stay * sizeof buckets->amounts[0]);
    memset(buckets->amounts, 0, shift * sizeof buckets->amounts[0]);
    buckets->count = stay ? stay + shift : 0;
    buckets->top = bucket;
  }
  int64_t back = buckets->top - bucket;
  if (back >= SPAN) return;
  while (buckets->count <= back) buckets->amounts[buckets->count++] = 0;
  buckets->amounts[back] = add_saturated(buckets->amounts[back], amount);
}

/** Without the buckets that ended at or before `left`. */
static void buckets_put(struct buckets *buckets, int64_t width, int64_t left, struct buf *out) {
  while (buckets->count > 0 && (buckets->amounts[buckets->count - 1] == 0 ||
                                (buckets->top - (buckets->count - 1) + 1) * width - 1 <= left))
    buckets->count--;
  buf_put_zigzag(out, buckets->top);
  for (unsigned i = 0; i < buckets->count; i++) buf_put_zigzag(out, buckets->amounts[i]);
}

static int64_t section_end(struct str section, int64_t width) {
  struct reader reader = reader_of(section);
  return (stored_zigzag(&reader) + 1) * width - 1;
}

void window_number_add(struct window_list *list, const struct window_entry *entry, struct buf *out) {
  int64_t width = window_width(entry->over);
  int64_t newest = entry->at > list->newest ? entry->at : list->newest;
  int64_t left = newest - entry->over;
  bool late = false; // before the buckets' end
  if (list->sectioned) {
    int64_t end = section_end(list->section, width);
    if (end <= left) {
      list->sectioned = false;
      list->dropped = true;
    } else {
      late = entry->at <= end;
    }
  }
  struct buckets buckets = {.top = window_bucket(newest, width)};
  uint8_t section[10 + SPAN * 10 + 10];
  struct buf packed = {section, 0, sizeof section};
  struct window_item item = {.at = entry->at, .amount = entry->amount};
  if (!late && !window_list_ignores(list, entry->at, left)) window_list_insert(list, &item);
  window_list_trim(list, left);
  unsigned live = window_list_live(list, left);
  if (late || live > WINDOW_EXACT_MAX) {
    if (list->sectioned) buckets_read(&buckets, list->section);
    if (late) {
      list->newest = newest; // it may be the newest all the same, in the last bucket
      buckets_add(&buckets, window_bucket(entry->at, width), entry->amount);
    } else {
      for (unsigned i = 0; i < live; i++)
        buckets_add(&buckets, window_bucket(list->items[i].at, width), list->items[i].amount);
      list->count = 0;
      list->sectioned = true;
    }
    buckets_put(&buckets, width, left, &packed);
    list->section = buf_str(&packed);
  }
  window_list_put(list, out);
}

void window_number_each(const struct window_list *list, struct window_entry entry, window_visit *visit,
                        void *context) {
  struct buckets buckets;
  int64_t width = window_width(entry.over);
  if (!buckets_read(&buckets, list->section)) return;
  for (unsigned i = buckets.count; i-- > 0;) {
    entry.at = (buckets.top - i) * width;
    entry.amount = buckets.amounts[i];
    if (entry.amount) visit(context, &entry);
  }
}

struct window_answer window_number_ask(const struct window_list *list, int64_t over, int64_t now) {
  int64_t width = window_width(over);
  struct window_answer answer = {.exact = true, .value = STR(""), .next_change = INT64_MAX};
  struct buckets buckets = {0};
  if (list->sectioned) {
    buckets_read(&buckets, list->section);
    now = window_held_now(list, over, now);
    answer.exact = now - over >= window_buckets_end(list, buckets.top, width);
  } else {
    answer.exact = window_list_whole(list, now - over, now);
  }
  int64_t after = now - over;
  __int128 total = 0;
  for (unsigned i = 0; i < list->count; i++) {
    const struct window_item *item = &list->items[i];
    if (item->at <= after) break;
    if (item->at <= now) total += item->amount;
    answer.next_change = window_min(answer.next_change, item->at <= now ? item->at + over : item->at);
  }
  for (unsigned i = 0; i < buckets.count; i++) {
    int64_t start = (buckets.top - i) * width, middle = window_middle(list, buckets.top - i, width);
    if (middle <= after) break;
    if (buckets.amounts[i] == 0) continue;
    if (start <= now) total += buckets.amounts[i];
    answer.next_change = window_min(answer.next_change, start <= now ? middle + over : start);
  }
  answer.number = list->kind == WINDOW_SUM ? (double)total / 1e6 : (double)total;
  return answer;
}

bool window_number_section_valid(const struct window_list *list, int64_t over) {
  struct buckets buckets;
  int64_t width = window_width(over), bound = WINDOW_TIME_MAX / width + 1;
  if (!buckets_read(&buckets, list->section) || buckets.top < -bound || buckets.top > bound) return false;
  int64_t end = section_end(list->section, width);
  return list->count == 0 ? list->newest <= end
                          : list->items[0].at == list->newest && list->items[list->count - 1].at > end;
}
