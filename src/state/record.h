/** Everything the host knows of one user, in one compact run of bytes.
 *
 * Profile attributes, windows, throttles, once-marks, timers and suppressions are entries of one flat buffer,
 * found by a scan (a typical record is under 1 KB) and edited in place. The record changes only by
 * record_apply(); a rule that fails is undone by putting back the bytes from before (record_save,
 * record_restore). Nothing in it outgrows the bound: the effect that would is refused with ERROR_LIMIT,
 * named, and changes nothing. All functions: owning worker only.
 */
#pragma once

#include "base/memory.h"
#include "state/effect.h"

struct record {
  struct buf bytes;
  uint64_t seq; /**< sequence number of the last input applied; 0 for a record that is new */
};

/** Most sends that one counter of caps remembers, those that are to come included. */
enum { RECORD_COUNTED_MAX = 250 };

struct suppression {
  struct str channel, reason;
  int64_t at;
};

void record_init(struct record *record);
void record_deinit(struct record *record);
/** How many bytes a record that needs so many gets: they are many and grow by little, so an eighth to spare,
 * not the double, and all of what malloc will take for it. */
static inline size_t record_room(size_t need) {
  return memory_taken(need + need / 8) - sizeof(void *);
}

/** Stored form: format byte, seq, entries. */
void record_encode(const struct record *record, struct buf *out);
/** Into a record that was initialised. Checks every entry, so that reads need not.
 * @return 0, or ERROR_CORRUPT or ERROR_VERSION, and the record is as it was. */
int record_decode(struct record *record, struct str stored, struct error *err);

/** @return how many bytes of memory record_decode() needs for it. */
size_t record_stored_need(struct str stored);

/** Apply one effect. Effects that are not about the record (MESSAGE, FAILURE, OUTCOME, DEAD_CLEAR,
 * NOT_RUN, DERIVED, INDEX, FAN_OUT) do nothing. A nil or empty value removes the attribute, arrival 0 the
 * throttle, until 0 the mark. A window that is there goes by its own length, whatever the entry says. The
 * same effects make the same bytes.
 * @param effect  must not borrow from this record (what the readers below answer), except to name what is
 * cleared.
 * @param max  the bound on the record's bytes; an effect that does not make it grow always fits. Recovery
 * gives SIZE_MAX: what is in the log has been let in, perhaps after a record_tidy() that recovery does not
 * know of.
 * @return 0, ERROR_LIMIT naming what did not fit, or ERROR_INVALID for a malformed or (LAST, FIRST, INDEX)
 * too long value; both change nothing. */
int record_apply(struct record *record, const struct effect *effect, size_t max, struct error *err);

/** Copy the bytes aside, and put them back. `aside` is the caller's scratch, reused. */
void record_save(const struct record *record, struct buf *aside);
void record_restore(struct record *record, const struct buf *aside);

/** Drop what time has made irrelevant at `now`: expired once-marks, windows and keys whose newest entry left,
 * throttles whose arrival passed. Called before a write-back, never needed for correctness as of `now` or
 * later. A late event would be judged without them: give `now` less the lateness that is to be judged
 * exactly. */
void record_tidy(struct record *record, int64_t now);

/** The attribute's value bytes. @return false if not set. Answers borrow from the record until the next
 * apply. */
bool record_attribute(const struct record *record, struct str name, struct str *value);
/** Answer of a window; `key` 0 for the unkeyed. */
struct window_answer record_window(const struct record *record, const struct window_declaration *declaration,
                                   uint64_t key, int64_t now);
/** The state of a window (key 0), or of one key of it; "" if there is none. */
struct str record_window_state(const struct record *record, uint64_t window_id, uint64_t key);
/** Each window, and each key of one, in the order of the record. */
void record_each_window(const struct record *record,
                        void (*visit)(void *context, const struct window_held *held), void *context);
/** Drop the windows that `keep` says no to, by their ids: nobody will ask for them again. */
void record_keep_windows(struct record *record, bool (*keep)(const void *context, uint64_t window_id),
                         const void *context);
/** How many keys of this keyed window were evicted while still in it, since it last was empty. */
uint64_t record_window_evicted(const struct record *record, uint64_t window_id);
/** Whether the mark stands at `now` (until > now). `until` may be null; it is filled in for an expired mark
 * too. */
bool record_once(const struct record *record, uint64_t key, int64_t now, int64_t *until);
/** Theoretical arrival time in microseconds; 0 if none. */
int64_t record_throttle(const struct record *record, uint64_t key);
/** Whether the channel, or every channel ("*"), is suppressed; `out` (or null) is the channel's own
 * suppression if there is one. */
bool record_suppressed(const struct record *record, struct str channel, struct suppression *out);
/** The newest word on the purpose for this channel: the channel's own, or that for every channel; of two of
 * one time the withdrawal. @return false if nothing was said. */
bool record_consent(const struct record *record, struct str purpose, struct str channel, struct consent *out);
/** The moments, ascending, at which messages count for caps under this name; what is old may be among them.
 * @return how many. */
size_t record_counted(const struct record *record, struct str counter, int64_t times[RECORD_COUNTED_MAX]);
/** Whether one more of now can be counted under this name, by what looks back `keep` ms: the oldest makes
 * room unless too many are still to come (record_apply() says ERROR_LIMIT then). */
bool record_counts_more(const struct record *record, struct str name, int64_t keep, int64_t wall);
/** Whether the user is in the segment; `since` (or null) is since when. */
bool record_segment(const struct record *record, struct str name, int64_t *since);
/** The moment up to which his segments are judged; INT64_MIN: none ever was. */
int64_t record_segments_judged(const struct record *record);
/** The first membership at `*at` or behind it; `*at` is then behind it. Begin with 0; the record must not
 * change in between. @return false if there is none. */
bool record_segment_next(const struct record *record, size_t *at, struct str *name, int64_t *since);
/** Likewise the first timer_segment(). */
bool record_timer_segment(const struct record *record, size_t *at, struct timer *out);
bool record_timer(const struct record *record, struct str campaign, struct str name, struct timer *out);
/** The earliest timer, or waking of a journey (timer_journey()): by due time, then campaign, then name.
 * @return false if there is none. */
bool record_timer_next(const struct record *record, struct timer *out);

/** The first timer at `*at` or behind it in the record that waits for what a rule needs; `*at` is then behind
 * it. Begin with 0; the record must not change in between. @return false if there is none. */
bool record_timer_needs(const struct record *record, size_t *at, struct timer *out);

/** How long a user's variant is kept, and counted: past that, were the experiment still on, he would be
 * chosen for anew. */
#define RECORD_EXPOSURE_KEEP_MS (400 * INT64_C(86400000))
/** The user's part in an experiment. @return false if he has had none */
bool record_exposure(const struct record *record, struct str experiment, struct exposure *out);

/** Any timer that an event of this type cancels: the one that stands first in the record. @return false if
 * there is none. */
bool record_timer_cancelled_by(const struct record *record, struct str event_type, struct timer *out);

/** The journey in flight with this id. @return false if there is none. */
bool record_journey(const struct record *record, struct hash128 id, struct journey *out);
/** Whether it has ended early, so that what the gate deferred of it, and nobody has tried to deliver, must
 * not go any more. */
bool record_journey_recalled(const struct record *record, struct hash128 id);
/** The first journey at `*at` or behind it in the record: its head alone (journey_decode_head()); `*at` is
 * then behind it. Begin with 0; the record must not change in between. @return false if there is none. */
bool record_journey_next(const struct record *record, size_t *at, struct journey *out);

/** Walk all entries as values for `why` and the console: append one map {seq, bytes, attributes: {name:
 * value}, windows: [{id (hex), kind, over_ms, entries, basis ("exact", "buckets", "hyperloglog"), newest, and
 * if keyed keys, evicted}], once (how many), throttles: {key (hex): arrival}, timers: [{campaign, name, due,
 * set_at, late, …}], suppressions: [{channel, reason, at}],
 * consents: [{purpose, channel, consent ("granted", "withdrawn"), at, source}], counted: {counter: [time]},
 * segments: {name: since},
 * experiments: [{experiment, variant, at, and if reached goal_at, value}],
 * journeys: [{id (hex), campaign, key, state ("waiting", "parked", "watching"), version (hex), begun, run,
 * steps, bytes, step, line, due, held, on: [type], why}]}; due and held are nil where there is none.
 */
void record_describe(const struct record *record, struct buf *out);
