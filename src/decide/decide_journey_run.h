/** One journey getting on, shared by decide_journey_run.c (its source, its function, what comes of a run) and
 * decide_journey.c (which inputs concern it). Borrowed strings are the caller's, or in decider.journey_bytes.
 */
#pragma once

#include "decide/decide_journey.h"

/** Where a journey's function is. */
struct journey_source {
  struct engine *engine;
  uint32_t rule; /**< in that engine */
  const struct engine_rule *own,
      *asked;                  /**< that rule; and the one whose roll-out counts: today's if there is one */
  struct campaigns *campaigns; /**< that one's … */
  uint32_t index;              /**< … and where it is among them */
  unsigned moves;              /**< enum journey_change: the journey comes from another source */
  struct str stays;            /**< why the newer source does not take it over; "" */
};

/** The generation's own. */
struct journey_source decide_journey_present(const struct decider *decider, uint32_t rule);
/** The source that it is on. Where that cannot be had and the newer one takes over, that one, and `moves`
 * says so: it goes on there, or not at all. @return 0, or why there is none. */
int decide_journey_source(struct decider *decider, const struct journey *journey, struct journey_source *out,
                          struct error *err);
/** One more in kairos_journeys_total. @param what  "started", "parked", … */
void decide_journey_count(const struct decider *decider, struct str campaign, const char *what);
/** A copy, in journey_bytes, for the record moves. @return false if it is in flight no more. */
bool decide_journey_take(struct decider *decider, struct hash128 id, struct journey *out);
/** It is in flight no more. @param at  what time it is for it, ms */
void decide_journey_end(struct decider *decider, const struct journey *journey, enum journey_end how,
                        struct str reason, int64_t at);
/** The same, and it is not counted: it may be taken back. */
void decide_journey_end_uncounted(struct decider *decider, const struct journey *journey,
                                  enum journey_end how, struct str reason, int64_t at);
/** What is new about it goes into the record, which must succeed: it was there before, and has hardly grown.
 * @param changes  enum journey_change */
void decide_journey_put(struct decider *decider, const struct journey *journey, unsigned changes);
/** As it stands, with nothing new in its history. */
struct journey decide_journey_same(const struct journey *journey);
/** The call is about this journey, which lives as long as the call. */
struct engine_journey_call *decide_journey_ask(struct decider *decider, enum engine_journey_ask what,
                                               const struct journey *journey);
/** Who watches is told why it was not run. */
void decide_journey_not_run(struct decider *decider, const struct journey_source *source, struct str why);
/** Nothing moves it any more but an operator or an exit; why is among the dead letters. @param fresh  it is
 * not in the record yet. @return 0; or the error's code: a fresh one has no room to be parked in, and nothing
 * is noted of it */
int decide_journey_park(struct decider *decider, const struct journey *journey, struct str path, bool fresh,
                        const struct error *err);
/** Get it on with the call's input; it fails by itself. @return 0, or why it is parked. `journey` is in
 * `journey_bytes`, or the caller's. @param hold  its campaign does not run now: next look; 0: it does */
int decide_journey_go_on(struct decider *decider, const struct journey *journey,
                         const struct journey_source *own, bool fresh, int64_t hold, struct error *err);
/** The same, and it is parked if it fails. @return 0; or why a fresh one failed that has no room to be parked
 * in */
int decide_journey_resume(struct decider *decider, const struct journey *journey,
                          const struct journey_source *source, bool fresh, int64_t hold, struct error *err);
