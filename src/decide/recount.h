/** Windows counted and interests noted again from the event log, for those that were declared later: one user
 * after the other.
 *
 * The same rules as live: an event counts at its own time, what has left a window is dropped, what does not
 * fit into a record is refused, an entry of an interest ends `over` after the latest event. Which events: of
 * each window or interest those logged before the generation that began to declare it, for the others have
 * counted. One thread.
 */
#pragma once

#include "engine/engine.h"
#include "state/record.h"

struct recount;

struct recount_options {
  const struct window_declaration *windows; /**< with `since`; outlives it */
  size_t count;
  const struct engine_interest *interests; /**< likewise */
  size_t interest_count;
  size_t record_max;
  int64_t max_past; /**< how late an event may be judged, ms */
};
struct recount *recount_new(const struct recount_options *options);
void recount_free(struct recount *recount);

/** The next user. @param now  wall clock, ms: what nothing can ask for any more as of then is left out. */
void recount_begin(struct recount *recount, int64_t now);
/** One of his events, in the order in which they were logged. @param generation  that decided it.
 * @return 0 or ERROR_CORRUPT. */
int recount_event(struct recount *recount, uint32_t generation, struct str event, struct error *err);
/** @return a record with nothing but the windows; valid until the next user. No bytes: there was nothing. */
const struct record *recount_end(struct recount *recount);
/** Append his entries of interests, each once: index changes, encoded. */
void recount_entries(const struct recount *recount, struct buf *out);
/** Entries of windows that did not fit so far. */
uint64_t recount_refused(const struct recount *recount);
/** Nothing accepted before this can matter to any of the windows or interests, as of `now`. */
int64_t recount_since(const struct recount *recount, int64_t now);
