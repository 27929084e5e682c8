/** The virtual host: a live host's engine, decider, gate, records, timers, queues, back-off and outcomes, on
 * a clock that its owner turns, with providers that answer to order.
 *
 * What differs from live: there is no log, disk, socket or thread; an attempt takes no time, so concurrency
 * never delays one; the jitter of retries is the same in every run; host-wide limits begin full. Budgets are
 * counted in steps. The same calls give the same answers, byte for byte.
 *
 * `simulate`, specs (sim_script.h) and dry runs use it. One thread. Times are ms since the epoch.
 */
#pragma once

#include "decide/decide.h"
#include "engine/engine.h"

/* ---- rules: what all virtual hosts over the same sources share; they keep nothing in it ---- */

struct sim_rules;

struct sim_rules_options {
  const struct ruleset *ruleset; /**< outlives the rules … */
  const struct config *config;   /**< … and so does this */
  bool live;                     /**< every campaign is as if its `mode` were "live" */
  bool decides_only; /**< nothing of its hosts is delivered or remembered: all they do is tell the observer */
  /** Not null: what its hosts ran by before sim_change(). Journeys under way find the sources that they began
   * with there, and its windows stay declared. Of the same configuration; outlives them. */
  struct sim_rules *before;
};
/** Load every campaign and, unless it only decides, the providers' mappings. @return 0, or the error with
 * file and line. */
int sim_rules_new(struct sim_rules **out, const struct sim_rules_options *options, struct error *err);
/** After the last of its hosts. */
void sim_rules_free(struct sim_rules *rules);
const struct engine *sim_rules_engine(const struct sim_rules *rules);
const struct config *sim_rules_config(const struct sim_rules *rules);

/* ---- hosts ---- */

struct sim;

struct sim_options {
  int64_t at;          /**< where the clock begins */
  struct str variants; /**< value map: experiment -> the variant that everybody gets; "" for none */
  struct decider_observer observer; /**< told as things fall; members may be null */
};
/** A fresh host, with no users. Takes some microseconds. */
struct sim *sim_new(struct sim_rules *rules, const struct sim_options *options);
void sim_free(struct sim *sim);
/** Other rules serve from here on, as after a reload: those whose `before` are the present ones. */
void sim_change(struct sim *sim, struct sim_rules *rules);
struct sim_rules *sim_rules_of(const struct sim *sim);
int64_t sim_now(const struct sim *sim);

/** Take an event in at `event->received`, to which the clock moves if it is behind; what is due by then has
 * to have been run (sim_advance). What the event makes due at once waits for the next sim_advance. @return
 * false for a duplicate. */
bool sim_event(struct sim *sim, const struct event *event);
/** Run what is due at or before `end`, timers and deliveries, in the order of their times; the clock ends
 * there, or stays where it is beyond. @return how many timers fired. */
uint64_t sim_advance(struct sim *sim, int64_t end);

/* ---- experiments ---- */

/** Append what they say: decide/experiment_list.h. @param only  "": all. @return 0, or ERROR_NOT_FOUND */
int sim_experiments(const struct sim *sim, struct str only, struct buf *out, struct error *err);

/* ---- providers ---- */

enum sim_answer_type {
  SIM_ACCEPT,
  SIM_STATUS,  /**< an HTTP status, which the provider's own mapping judges */
  SIM_TIMEOUT, /**< no answer: the attempt is ambiguous */
  SIM_BOUNCE   /**< accepted; a hard bounce is reported at once */
};
struct sim_answer {
  enum sim_answer_type type;
  long status; /**< of STATUS */
};
/** How the providers of a channel ("email", …), or the one of that name, or all ("*") answer the next `times`
 * attempts, after which they accept; 0: from now on. @return false if there is no such channel or provider.
 */
bool sim_provider(struct sim *sim, struct str name, struct sim_answer answer, uint64_t times);

/* ---- look-ups ---- */

/** What a look-up server of the configuration says to a path ("*": all others) from now on; what nothing was
 * said of falls back. Rules go on at once, or for LOOKUP_TIMEOUT when their time is over.
 * @param value  with LOOKUP_ANSWERED. @param why  else. @return false if there is no such server. */
bool sim_lookup(struct sim *sim, struct str source, struct str path, struct str value,
                enum lookup_reason reason, struct str why);

/* ---- what happened; each appends one value ---- */

/** Messages that a provider accepted, as they went: array of { at, user, to, campaign, template, channel,
 * provider, purpose, message_id, attempt, subject, headers, html (of HTML templates), text, data }. */
void sim_sent(const struct sim *sim, struct buf *out);
/** Decisions as explain/why.h says them, of all users, with what became of them. */
void sim_decisions(const struct sim *sim, struct buf *out);
/** Every time a rule ran, as explain/replay.h says it, with `user`. */
void sim_runs(const struct sim *sim, struct buf *out);
/** Dead letters, as explain/dead.h says them whole. */
void sim_dead(const struct sim *sim, struct buf *out);
/** A user's record, as user_describe() says it; nil if there is none. */
void sim_user(const struct sim *sim, struct entity entity, struct buf *out);
/** All that happened to one user or subject, in order: array of maps { at, kind, … }; kind: "event" { type,
 * id, timestamp, payload }, "timer" { campaign, name, due }, "lookup" { campaign, needs }, "reached" {
 * campaign, type, id: of the event that fans out }, "fan_out" { campaign, over, key }, "run" { campaign,
 * decision, reason, ran, facts }, "decision" { campaign, template, channel, decision, reason, checks,
 * message_id, to, not_before }, "attempt" { attempt, message_id }, "outcome" { outcome, detail, attempt,
 * message_id, retry_at }, "failed" { campaign, error }, "not_run" { campaign, timer, reason }, "attribute" {
 * name, value }, "timer_set" { campaign, name, due }, "timer_clear" { campaign, name }, "suppressed" and
 * "unsuppressed" { channel, reason }, "derived" { type, id, timestamp, payload }, "entered", "left", "filled"
 * and "forgotten" { segment, since }, "journey" { campaign, key, state, step,
 * due if there is one }, "journey_end" { campaign, key, how ("finished", "exited", …), reason },
 * "consent_granted" and "consent_withdrawn" { purpose, channel, source }.
 */
void sim_story(const struct sim *sim, struct entity entity, struct buf *out);
/** Everybody of whom anything is known, in the order of appearance: array of { user } or { subject }. */
void sim_entities(const struct sim *sim, struct buf *out);
