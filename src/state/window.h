/** Windows: counters over (now - L, now] by event time, in a bounded piece of a user's record.
 *
 * Entries are kept one by one, delta-coded, up to WINDOW_EXACT_MAX that are in the window as of the newest:
 * exact, late events included. The 65th turns all of them into buckets of w = L/60 rounded up, whose edges
 * are the multiples of w; what comes after the last bucket's end is kept one by one again, and becomes
 * buckets with its own 65th. So the window is exact again as soon as what lies in buckets has left.
 *
 * A bucket is in the window if its start is <= now and its middle > now - L. So as of the newest entry or
 * later an answer errs by at most the events of the one bucket that now - L falls into (1.7 % of L); as of an
 * earlier `now` also by those of the bucket `now` is in. What lies L before the newest entry is gone: a `now`
 * at or before that is taken as the moment after.
 *
 * What has left the window as of its newest entry is dropped, but for the latest such entry. It tells whether
 * an answer for an earlier `now` could be short of something: that answer then says it is not exact.
 *
 * - COUNT, SUM: amounts are signed; SUM's are fixed-point, 6 decimals. A bucket's saturates.
 * - LAST: the latest by event time, of equal times the one applied last. Keeps WINDOW_LAST_MAX entries, never
 *   buckets: it is exact at every `now` from its oldest kept entry on, and before that says the oldest kept,
 *   inexact.
 * - FIRST: the earliest in the window, of equal times the one applied first. In place of buckets it keeps the
 *   first entry of each: of the bucket that now - L falls into it may then pass over the rest.
 * - DISTINCT: each value with its last two times, exact up to 64 values in the window; then a sliding
 *   HyperLogLog of 256 registers (Flajolet et al. 2007, sliding as in Chabchoub & Hebrail 2010, estimated as
 *   in Ertl 2017; standard error 6.5 %), each keeping the maxima still to come, by bucket.
 *
 * To add to a COUNT or SUM in order, and to ask it as of its newest entry or later, takes the same time
 * however many entries and buckets it holds; the rest takes time by their number.
 *
 * A state's size: COUNT 18 to 25 bytes for 5 entries, at most 1 KB; SUM at most 2 KB; LAST 2.2 KB;
 * DISTINCT 8 KB, with 2 KB usual once it estimates; FIRST WINDOW_STATE_MAX with values of 256 bytes. A keyed
 * window keeps WINDOW_KEYS_MAX keys; the one whose newest entry is oldest goes, and is counted as evicted if
 * it was still in the window.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

enum {
  WINDOW_EXACT_MAX = 64,
  WINDOW_BUCKETS = 60,
  WINDOW_KEYS_MAX = 128,
  WINDOW_LAST_MAX = 8,
  WINDOW_VALUE_MAX = 256,     /**< bytes of a LAST's or FIRST's value */
  WINDOW_STATE_MAX = 18 << 10 /**< bytes of any state, with room to write it */
};

enum window_kind { WINDOW_COUNT = 1, WINDOW_SUM, WINDOW_LAST, WINDOW_FIRST, WINDOW_DISTINCT };

/** As a rule declares it: which events it takes in, under which key, and what of them. */
struct window_declaration {
  uint64_t id;   /**< of its state in the records: what window_begin() made of form and since */
  uint64_t form; /**< hash of the rest: equal declarations share their state … */
  uint32_t
      since; /**< … while they are declared without a break: the generation that began to; 0: the first */
  enum window_kind kind;
  struct str of;    /**< event type */
  struct str by;    /**< payload path of the key, or "" */
  struct str value; /**< payload path of the amount or value; "" for COUNT */
  int64_t over;     /**< length L, ms */
};

/** One entry, ready to be applied: no declaration needed. */
struct window_entry {
  uint64_t id;
  enum window_kind kind;
  int64_t over;
  uint64_t key;     /**< hash of the key's text; 0 for an unkeyed window */
  int64_t at;       /**< event time, ms: event_now(), for one ahead of the clock would push out the others */
  int64_t amount;   /**< SUM: fixed-point, 1e-6; DISTINCT: the value's 64-bit hash; COUNT: how many */
  struct str value; /**< LAST, FIRST: the value's bytes (at most 256); else empty */
};

/** What a window answers. */
struct window_answer {
  bool exact;          /**< false once it is in buckets */
  double number;       /**< COUNT, SUM, DISTINCT */
  struct str value;    /**< LAST, FIRST: value bytes, empty if none; borrowed from the record */
  int64_t next_change; /**< first moment after `now` at which the answer may differ without a new entry;
                          INT64_MAX never */
};

/** Fill in `form`, and `id` for `since` 0. */
void window_identify(struct window_declaration *declaration);
/** It is declared from this generation on. What an earlier time of the same declaration has left in records
 * has another id, is not found, and fades out: there is a gap between the two. 0: from the first. */
void window_begin(struct window_declaration *declaration, uint32_t since);
/** Hash of a key's text as used in entries and questions; never 0. */
uint64_t window_key(struct str text);
/** Sum's fixed point; out-of-range amounts saturate. */
int64_t window_fixed(double amount);

/* The state of one window (one key of it) as bytes. Used by state/record alone. */

/** Times are held to this many ms either way, so that no sum or difference of two overflows; lengths too,
 * from 1. */
#define WINDOW_TIME_MAX (INT64_C(1) << 52)
static inline int64_t window_hold_time(int64_t at) {
  return at < -WINDOW_TIME_MAX ? -WINDOW_TIME_MAX : at > WINDOW_TIME_MAX ? WINDOW_TIME_MAX : at;
}
static inline int64_t window_hold_over(int64_t over) {
  return over < 1 ? 1 : over > WINDOW_TIME_MAX ? WINDOW_TIME_MAX : over;
}

/** Add an entry to the state `bytes`, writing the new state to `out` (cleared first); entries that have left
 * the window as of the newest entry are dropped. Empty `bytes`: a new window. The value must be within
 * WINDOW_VALUE_MAX. Needs no memory if `out` has WINDOW_STATE_MAX. */
void window_state_add(struct str bytes, const struct window_entry *entry, struct buf *out);
/** What the log held of the time before `live` began to count, put before it: what would be there had it
 * counted all along, but where both are in buckets and what came late is in none. The new state is marked as
 * filled.
 * @param logged  counted from the log, empty: nothing. @param live  what there is, empty: nothing yet.
 * @param out  cleared first; needs no memory if it has WINDOW_STATE_MAX. */
void window_state_fill(struct str logged, struct str live, enum window_kind kind, int64_t over,
                       struct buf *out);
/** Whether it has been filled so. */
bool window_state_filled(struct str bytes);
/** The answer over (now - over, now]. Empty bytes answer zero. */
struct window_answer window_state_ask(struct str bytes, enum window_kind kind, int64_t over, int64_t now);
/** Time of the newest entry, for eviction and expiry. */
int64_t window_state_newest(struct str bytes);
/** @return whether bytes are a well-formed state of a window of length `over` (records come from disk). */
bool window_state_valid(struct str bytes, int64_t over);

/** A state as people look at it. */
struct window_summary {
  enum window_kind kind;
  unsigned entries; /**< kept one by one */
  bool buckets;     /**< and more in buckets */
  int64_t newest;
};
struct window_summary window_state_summary(struct str bytes);
/** "count", "sum", … */
const char *window_kind_name(enum window_kind kind);
