/** Why a message went, or did not: decisions and what became of them, put together from a user's history. Any
 * thread. */
#pragma once

#include "state/store.h"

/** Gathers records of one user (history_scan's visitor feeds it) into decisions.
 *
 * The result is a value: an array of maps, oldest first:
 *   { user | subject, at, accepted, campaign, rule, generation, template, channel, provider, message_id,
 * cause, decision: "send" | "skip", reason, facts: {name: value}, checks: {name: answer}, attempts:
 * [{attempt, at, seq}], outcomes: [{outcome, at, attempt, detail, seq}] } where `seq` orders attempts and
 * outcomes; an outcome "retry" also has `retry_at`, one from a provider that named the message `provider_id`,
 * one before which attempts ended without a byte sent has their number, `unsent`, and "resent" says that an
 * operator had it sent again. Of other kinds:
 * - a rule that failed: { user | subject, at, accepted, campaign, rule, generation, cause, decision:
 * "failed", error },
 * - a timer whose rule was not run: { user | subject, at, accepted, campaign, rule, generation, cause,
 * decision: "none", reason, moved_to (if it will be due again) },
 * - a segment: { user | subject, at, accepted, generation, decision: "entered" | "left" | "filled" |
 * "forgotten", segment },
 * - an event that a rule emitted: { user | subject, at, accepted, generation, campaign, decision: "emitted",
 * event_type, event_id },
 * - an experiment: { user, at, accepted, generation, decision: "exposed" | "goal", experiment, variant,
 * value, chances },
 * - a journey in flight no more: { user, at, accepted, campaign, generation, decision: "journey ended", key,
 * ended, reason, step, steps, begun },
 * - a suppression, unless `filter` says what it is about: { user | subject, at, decision: "suppressed" |
 * "unsuppressed", channel, reason }. */
struct why;
/** @param filter  a template's, campaign's, experiment's or segment's name: only what is about that; "" for
 * all. */
struct why *why_new(struct str filter);
void why_free(struct why *why);
/** A record of the user's history, in order. @return 0, for use as a visitor. */
int why_add(void *why, const struct log_record *record);
void why_result(const struct why *why, struct buf *out);
