/** What rules looked at and decided not to do: a user's log run again through the generations of its time.
 *
 * A rule's "no" is not stored. It need not be: a rule is a pure function of what the log has, so the same
 * sources on the same inputs look at the same facts and say no again. Nothing is changed or sent.
 */
#pragma once

#include "config/config.h"
#include "state/history.h"

struct replay_options {
  struct store *store;
  const char *log_directory;
  const struct log_position *until; /**< beside a running host: log_durable(); null at rest */
  const struct config *config;
  struct entity entity;
  struct str filter; /**< a campaign's or segment's name, or "" */
};

/** @param out  value: array of maps, oldest first, one each time a rule ran: { at, campaign, rule,
 * generation, cause, decision: "send" | "skip" | "none" | "failed", reason, ran, facts: {name: value} };
 * "none": it asked for no message, and `reason` says whether its `when` said no; or it was not run (`ran` is
 * false), and `reason` says what kept it: its roll-out, dates, hours, a pause; or, with no campaign, that the
 * generation's rules are not there. Of a journey's function `journey` is its key ("" if it has none), and
 * `reason` says what it waits for then, or that it has come to its end. So is each time that a segment
 * changed or failed, with its name as `segment` and as decision "entered" | "left" | "failed"; if the filter
 * is its name each time that it was judged, also "in" | "out". History that retention has dropped is not
 * there to be counted: windows that reach further back than it show less than they did. Blocking; any thread.
 */
int replay_run(const struct replay_options *options, struct buf *out, struct error *err);

struct decider_run;
/** One run of a rule as a row of the above is: append the map. For a decider's observer. */
void replay_describe_run(const struct decider_run *run, uint32_t generation, struct buf *out);
struct decider_judgement;
/** The same of one judgement. */
void replay_describe_judgement(const struct decider_judgement *judgement, uint32_t generation,
                               struct buf *out);
