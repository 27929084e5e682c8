/** What the window*.c files share: the state's head and its list of entries.
 *
 *   state   = head:u8  newest:zigzag  [tally]  [section:str]  entry*
 *   entry   = before:varint  amount:zigzag          COUNT, SUM; no amount with HEAD_ONES
 *           | before:varint  value:str              LAST, FIRST
 *           | before:varint  hash:u64  earlier:varint   DISTINCT; earlier: 0, or 1 + (ms before << 1 | there
 * were more)
 *   tally   = count:varint  span:varint  [buckets:varint]  [total:zigzag]       COUNT, SUM
 * Entries go from the newest back, `before` is ms before the one in front of it (the first: before
 * `newest`). Without a section the first entry is the newest, and has no `before`. The section holds what is
 * no longer kept one by one. The tally says how many entries there are, how many ms the oldest is before
 * `newest` (0 if there are none), with a section how many buckets, and the sum of all amounts, unless it is
 * `count`. States of nine entries and more and those with a section have one, but for those whose sum is out
 * of range and those of former versions.
 */
#pragma once

#include "state/window.h"

enum {
  HEAD_KIND = 7,
  HEAD_ONES = 8,
  HEAD_DROPPED = 16,
  HEAD_SECTION = 32,
  HEAD_FILLED = 64, /**< what the event log held has been put in */
  HEAD_TALLY = 128
};

struct window_item {
  int64_t at;
  int64_t amount;   /**< DISTINCT: the hash */
  uint64_t earlier; /**< DISTINCT */
  struct str value; /**< LAST, FIRST */
};

/** A state, unpacked. `value` and `section` borrow from its bytes. */
struct window_list {
  enum window_kind kind;
  bool dropped;   /**< something older than the oldest item was there */
  bool sectioned; /**< there is a section */
  bool filled;
  int64_t newest; /**< of all ever added */
  unsigned count;
  struct str section;
  struct window_item items[WINDOW_EXACT_MAX + 2]; /**< newest first; one that has left, and one being added */
};

/** @return false if the bytes are malformed; then the list is not to be used. Empty bytes give an empty list
 * of `kind`. */
bool window_list_read(struct window_list *list, struct str bytes, enum window_kind kind);
void window_list_put(const struct window_list *list, struct buf *out);
/** Put an item where it belongs, in front of those of its own time; moves `newest`. */
void window_list_insert(struct window_list *list, const struct window_item *item);
/** Drop what is at or before `left`, but for the latest such item. */
void window_list_trim(struct window_list *list, int64_t left);
/** How many items are after `left`. */
static inline unsigned window_list_live(const struct window_list *list, int64_t left) {
  unsigned count = list->count;
  while (count > 0 && list->items[count - 1].at <= left) count--;
  return count;
}
/** Whether an item at `at` is older than everything kept of a list that has dropped some, and has left. */
static inline bool window_list_ignores(const struct window_list *list, int64_t at, int64_t left) {
  return list->dropped && at <= left && list->count > 0 && at < list->items[list->count - 1].at;
}
/** Whether the items hold all there was in (after, now], going by what was dropped. */
static inline bool window_list_whole(const struct window_list *list, int64_t after, int64_t now) {
  return now >= list->newest || !list->dropped ||
         (list->count > 0 && list->items[list->count - 1].at <= after);
}

/** In buckets: a `now` before the oldest bucket is taken as the first moment of which something is kept. */
static inline int64_t window_held_now(const struct window_list *list, int64_t over, int64_t now) {
  return now > list->newest - over ? now : list->newest - over + 1;
}

/** A bucket's width. */
static inline int64_t window_width(int64_t over) {
  return over / WINDOW_BUCKETS + (over % WINDOW_BUCKETS != 0);
}
/** The bucket a time falls into: [bucket * width, (bucket + 1) * width). */
static inline int64_t window_bucket(int64_t at, int64_t width) {
  return at / width - (at % width < 0);
}
static inline int64_t window_min(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/** The bucket's middle, by which it leaves; none stays longer than the newest entry. */
static inline int64_t window_middle(const struct window_list *list, int64_t bucket, int64_t width) {
  return window_min(bucket * width + width / 2, list->newest);
}
/** The last moment that buckets up to `top` are about. */
static inline int64_t window_buckets_end(const struct window_list *list, int64_t top, int64_t width) {
  return window_min((top + 1) * width - 1, list->newest);
}

/** One after the other, what a section holds as entries that would make it again. `entry` is the caller's,
 * with kind and length. */
typedef void window_visit(void *context, const struct window_entry *entry);
void window_number_each(const struct window_list *list, struct window_entry entry, window_visit *visit,
                        void *context);
void window_distinct_each(const struct window_list *list, struct window_entry entry, window_visit *visit,
                          void *context);

void window_number_add(struct window_list *list, const struct window_entry *entry, struct buf *out);
struct window_answer window_number_ask(const struct window_list *list, int64_t over, int64_t now);
/** Whether buckets and entries of a list with a section can be a window's of this length. */
bool window_number_section_valid(const struct window_list *list, int64_t over);

/* window_tally.c: COUNT and SUM without unpacking. */
/** As window_state_add(). @return false, with `out` undefined, where the list is needed */
bool window_tally_add(struct str bytes, const struct window_entry *entry, struct buf *out);
/** As window_state_ask(). @param answer  with its defaults @return false, with it unchanged, where the list
 * is needed */
bool window_tally_ask(struct str bytes, enum window_kind kind, int64_t over, int64_t now,
                      struct window_answer *answer);
/** Append the list's tally; nothing if it is to have none. @param ones  whether all amounts are 1, and left
 * out; `out` has room for 64 bytes */
void window_tally_put(const struct window_list *list, bool ones, struct buf *out);
void window_tally_skip(struct reader *reader, unsigned head);
/** Whether the tally among the bytes, which are the list's, is true. */
bool window_tally_valid(const struct window_list *list, struct str bytes);

void window_value_add(struct window_list *list, const struct window_entry *entry, struct buf *out);
struct window_answer window_value_ask(const struct window_list *list, int64_t over, int64_t now);
bool window_value_section_valid(struct str section);

void window_distinct_add(struct window_list *list, const struct window_entry *entry, struct buf *out);
struct window_answer window_distinct_ask(const struct window_list *list, int64_t over, int64_t now);
bool window_distinct_section_valid(struct str section, int64_t over);
