/** Journeys among the decider's insides: what an input does to those in flight, and what begins one.
 *
 * A resume is part of the input that causes it: its effects are logged with the input, and recovery applies
 * them without running anything. EFFECT_JOURNEY adds to the history; message ids derive from the journey's id
 * and the step, so a resume that is done twice asks for the same message.
 */
#pragma once

#include "decide/decide_internal.h"

/** Exits first, then waits that this event ends; before any rule runs. */
void decide_journey_event(struct decider *decider, struct engine_call *call, struct decision *out);
/** The campaign's start for this event: `when`, then key and `again`; the function runs to its first wait. */
void decide_journey_start(struct decider *decider, uint32_t rule, struct engine_call *call);
/** The same of an event on which it failed to start. @return 0, or why it fails again. */
int decide_journey_start_again(struct decider *decider, uint32_t rule, struct error *err);
/** A journey wakes up by itself (timer_journey()). */
void decide_journey_timer(struct decider *decider, const struct timer *timer);
/** A message has been tried, or will not be: if it is a journey's that was deferred, nobody gives back any
 * more what it reserved. @return whether that has been given back already, when it was recalled. */
bool decide_journey_settles(struct decider *decider, const struct message *message);
/** The user's entry in the index "journey:<campaign>", key "", as his record is now; none if he is on no
 * journey of it. The value: an array of how many he is on, and for each that has room [key, state, version
 * (hex), due (nil if there is none), step, line, begun], as record_describe() says them. */
void decide_journey_index(struct decider *decider, struct str campaign);
/** A parked one gets on with the input on which it failed, unless it has gone on since.
 * @param where  16 bytes of the journey's id, and how far it had come, if that is known: its run and steps,
 * varints. @return 0, or why it is parked still. */
int decide_journey_retry(struct decider *decider, struct str where, struct error *err);
