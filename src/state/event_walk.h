/** The event log user by user: what is sealed of each, in the order in which it was logged.
 *
 * Over all slices of the store at once, in the order of their keys (partition, kind, id), so that a walk over
 * everybody reads each slice once. The unsealed tail is not in it: who needs all of it waits until what he
 * needs is sealed. While a walk is open the store cannot be reopened and no slice made or dropped: keep it
 * short, and begin the next behind the cursor. Blocking; any thread but a worker's.
 */
#pragma once

#include "state/store.h"

struct event_walk;

/** @param cursor  the one that event_walk_next() gave; empty: from the first. @param since  slices whose
 * newest record is older (wall clock, ms) are left out. @return 0, or ERROR_UNAVAILABLE while the store is
 * closed. */
int event_walk_open(struct event_walk **out, struct store *store, struct str cursor, int64_t since,
                    struct error *err);
/** The next user who has records: of each the halves that hold events are visited, LOG_EVENT's input, and
 * behind it the decisions of any record (its effects, history.h), among which DERIVED events may be.
 * @param cursor  becomes his place. @return 1, 0 at the end, what the visitor returned if not 0, or a
 * negative code. */
int event_walk_next(struct event_walk *walk, struct buf *cursor,
                    int (*visit)(void *context, const struct log_record *record), void *context,
                    struct error *err);
void event_walk_close(struct event_walk *walk);

/** Users in the order of their keys, from behind `cursor` on, which becomes the last one's place. Subjects
 * are passed over. @return how many were visited, fewer than `most` at the end; or a negative code. */
int store_walk_users(struct store *store, struct buf *cursor, uint32_t most,
                     void (*visit)(void *context, struct entity user), void *context, struct error *err);

/** From when on the log holds events: the start of its oldest slice (ms); INT64_MAX if nothing is sealed. */
int64_t store_log_begins(struct store *store);
