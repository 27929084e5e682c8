/** A dead letter, told to people: an input whose rule failed, or a message that no provider took. */
#pragma once

#include "state/store.h"

/** One dead letter as a value map: {id, kind, user | subject, at, campaign, rule, generation}, then of a rule
 * {error}, of a message {outcome, detail, attempt, unsent (if any were), template, channel, provider}.
 * @param whole  everything: of a rule also {cause, input}, of a message {to, cause, decided, expires, facts,
 * data}. Else a rule's error is its first line. Any thread. */
void dead_describe(const struct dead_letter *letter, bool whole, struct buf *out);
