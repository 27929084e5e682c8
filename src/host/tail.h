/** The stream of what is decided, for those who watch: filtered on the workers, where it is decided, and sent
 * to main in lines, which another thread writes (tail_thread.h). Where nobody watches, an input costs one
 * look at a pointer.
 *
 * {"command":"tail"} may have: "type" (of the event, or of the event that caused a decision), "user",
 * "campaign" (decisions alone), "reason" (a gate's, an outcome's or a suppression's), "events" or
 * "decisions": false to leave them out, "sample": so many of 10,000 users, always the same ones, "unmask".
 * After {"ok":true,"result":{workers}}, with a "warning" if there is no such campaign, follow lines:
 *   {"what":"event", at, worker, user|subject, type, id, timestamp, payload}
 *   {"what":"send"|"skip", at, worker, user, campaign, template, channel, provider, to, reason, message_id,
 * cause}
 *   {"what":"failed", …, campaign, error} {"what":"outcome", …, outcome, message_id, attempt, unsent (if
 * any), detail}
 *   {"what":"suppressed", …, channel, reason} {"lost":N}
 *   {"what":"journey", …, campaign, key, reason ("began", "waits", "parked", "watching", "continues", or how
 * it ended: "finished", "exited", …), step, due (if its time is known)}
 *   {"what":"exposure", …, experiment, variant} {"what":"goal", …, experiment}
 *   {"what":"fan_out", user|subject of its event, …, id, reason ("began", "paused", "runs", or how it ended:
 * "done", "expired", "stopped"), began: campaign, over; else reached, detail}
 *   {"what":"reached", user, …, campaign, type, id (of the event), fan_out}
 * (who enters a segment, and what a rule emits, are events with an id that begins with "derived:")
 * in the order in which one worker decided them; what is shown is decided, not yet durable. A reader who is
 * TAIL_UNREAD_MAX behind loses lines, and is told how many when it reads again.
 */
#pragma once

#include "decide/decide.h"
#include "host/worker.h"

enum { TAIL_UNREAD_MAX = 512 << 10, TAIL_TURN_MAX = 64 << 10, TAIL_PAYLOAD_MAX = 8 << 10 };

struct tap; /**< one tail's end on one worker */

/* ---- worker's thread; only while worker->taps is not null ---- */

void tail_event(struct worker *worker, const struct event *event);
void tail_message(struct worker *worker, const struct message *message, const struct verdict *verdict);
void tail_failure(struct worker *worker, const struct entity *entity, const struct failure *failure,
                  struct str place);
void tail_outcome(struct worker *worker, struct entity entity, const struct outcome *outcome);
void tail_suppressed(struct worker *worker, struct entity entity, struct str channel, struct str reason);
/** What else an input did: journeys, experiments, fan-outs. @param input  as its log record has it */
void tail_effects(struct worker *worker, struct entity entity, struct str input, struct str effects);
/** At a turn's end: send what has come together. */
void tail_flush(struct worker *worker);
