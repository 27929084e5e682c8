/** What was decided and why, told to people: `kairos why` and what is like it, live (host/), at rest
 * (offline.h), in specs and `simulate` (sim/), in a session (look/). The answers are values, which who asked
 * prints or turns to JSON; nothing here changes anything. mask.h keeps personal data from them.
 *
 * What the files of this folder share. Any thread.
 */
#pragma once

#include "event/event.h"
#include "event/value.h"

/** Whether a failed input's bytes begin with an event behind their type, an enum log_record_type. */
bool explain_is_of_event(uint8_t type);
/** Append the pair "cause": under which name decisions of a failed input are known: the event's id, the
 * timer's ("timer:CAMPAIGN/NAME@DUE"), or "". @param input  failure.input */
void explain_put_cause(struct buf *out, struct str input);
/** Append the pair `name`: a field of the payload as the rule has written it. */
void explain_put_path(struct buf *out, const char *name, struct str path);
