/** Look-ups that rules wait for (kairos.needs): who is asked what, when, and what came of it.
 *
 * A thread of its own with libcurl's multi interface: nothing of it is on the way of an event. A look-up is a
 * GET at a configured server, and only there. One that is under way already is joined, one that was answered
 * lately comes from the cache; a server is asked by so many requests at once, at its rate, and not at all
 * while its breaker is open. Redirects are not followed. What came goes to the user's owner as an input of
 * its own; until that is durable the truth is the timer in the user's record (decide/lookup_need.h), which
 * outlives this process and falls due when nothing came.
 *
 * Memory: `needs.waiting` look-ups of at most 2 KB of path each, `needs.cache_memory`, and HANDED_MAX answers
 * on their way to the workers.
 */
#pragma once

#include "decide/lookup_need.h"

struct lookup;
struct worker_shared;

/** Start the thread, after deliver_new() (which starts libcurl). `*out` is null where no server is
 * configured. The workers in `shared` must live till lookup_stop(). */
int lookup_start(struct lookup **out, struct worker_shared *shared, struct error *err);
/** Nothing more is asked or told; what waits is forgotten, and asked again after a restart. Blocks shortly.
 * Any thread; may be called again. Null is fine. */
void lookup_stop(struct lookup *lookup);
/** When no worker holds an input of its any more. Null is fine. */
void lookup_free(struct lookup *lookup);

/** Whether one more may wait; if so, it is to be asked. Any thread. */
bool lookup_admit(struct lookup *lookup);
/** So many that were admitted will not be asked. Any thread. */
void lookup_unadmit(struct lookup *lookup, uint32_t count);
/** Append one that was admitted. @param timer  a timer_needs() of the entity's. @param left  ms till it is
 * due. */
void lookup_put(struct entity entity, const struct timer *timer, int64_t left, struct buf *asks);
/** Ask what lookup_put() wrote, whose timers are durable. One that is under way already is not asked again.
 * Any thread. */
void lookup_ask(struct lookup *lookup, struct str asks);

/** Value map: server -> {waiting, in_flight, breaker, asked, answered, cached, failed}. Blocking, any other
 * thread. Null is fine. */
void lookup_describe(struct lookup *lookup, struct buf *out);
