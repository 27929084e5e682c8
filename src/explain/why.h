/** Why a message went, or did not: decisions and what became of them, put together from a user's history. */
#pragma once

#include "config/config.h"
#include "state/store.h"

/** Gathers records of one user (history_scan's visitor feeds it) into decisions.
 *
 * The result is a value: an array of maps, oldest first:
 *   { user | subject, at, accepted, campaign, rule, generation, template, channel, provider, message_id,
 * cause, decision: "send" | "skip", reason, facts: {name: value}, checks: {name: answer}, attempts:
 * [{attempt, at, seq}], outcomes: [{outcome, at, attempt, detail, seq}] } where `seq` orders attempts and
 * outcomes; an outcome "retry" also has `retry_at`, one from a provider that named the message `provider_id`,
 * and "resent" says that an operator had it sent again. For a rule that failed: { user | subject, at,
 * accepted, campaign, rule, generation, cause, decision: "failed", error }, for a timer whose rule was not
 * run: { user | subject, at, accepted, campaign, rule, generation, cause, decision: "none", reason, moved_to
 * (if it will be due again) }, for a segment: { user | subject, at, accepted, generation, decision: "entered"
 * | "left" | "filled" | "forgotten", segment }, for an event that a rule emitted: { user | subject, at,
 * accepted, generation, campaign, decision: "emitted", event_type, event_id }, for an experiment: { user,
 * at, accepted, generation, decision: "exposed" | "goal", experiment, variant, value, chances }, for a
 * journey in flight no more: { user, at, accepted, campaign, generation, decision: "journey ended", key,
 * ended, reason, step, steps, begun } and for a suppression, unless `filter` says what it is about: { user |
 * subject, at, decision: "suppressed" | "unsuppressed", channel, reason }. */
struct why;
/** @param filter  a template's, campaign's, experiment's or segment's name: only what is about that; "" for
 * all. */
struct why *why_new(struct str filter);
void why_free(struct why *why);
/** A record of the user's history, in order. @return 0, for use as a visitor. */
int why_add(void *why, const struct log_record *record);
void why_result(const struct why *why, struct buf *out);

/** "accepted", "retry", … */
struct str why_outcome_name(enum outcome_kind kind);

/** The same from a directory where no host runs (opened read-only). */
int why_offline(const char *data_dir, struct entity user, struct str filter, struct buf *result,
                struct error *err);
/** HOST_REPLAY's answer from such a directory. */
int replay_offline(const struct config *config, struct entity user, struct str filter, struct buf *result,
                   struct error *err);
/** Dead letters of such a directory: value array as HOST_DEAD_LIST gives; with an `id` (not ""), the value
 * map that HOST_DEAD_SHOW gives. */
int dead_offline(const char *data_dir, struct str id, struct buf *result, struct error *err);
/** One dead letter as a value map: {id, kind, user | subject, at, campaign, rule, generation}, then of a rule
 * {error}, of a message {outcome, detail, attempt, template, channel, provider}.
 * @param whole  everything: of a rule also {cause, input}, of a message {to, cause, decided, expires, facts,
 * data}. Else a rule's error is its first line. */
void dead_describe(const struct dead_letter *letter, bool whole, struct buf *out);
