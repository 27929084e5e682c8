/** Whether a campaign runs for an input: its roll-out, dates and hours, asked before its rule is. And its
 * figures.
 *
 * What is asked of the user is in his record (`time_zone`), what is asked of the clock is the wall clock that
 * the log has with the input: a replay hears the same answers. One a decider; its thread only.
 */
#pragma once

#include "engine/engine.h"

struct campaigns;

enum campaign_reason {
  CAMPAIGN_RUNS,
  CAMPAIGN_PAUSED,
  CAMPAIGN_STARTS, /**< not yet */
  CAMPAIGN_ENDED,
  CAMPAIGN_ROLLOUT, /**< the user is not in its share */
  CAMPAIGN_HOURS
};

struct campaign_answer {
  enum campaign_reason reason;
  int64_t
      again; /**< wall clock from which on it may be asked again: its start, its opening; INT64_MAX never */
};

/** @param paused  value: array of an operator's pauses, as generations keep them: maps {campaign, by, reason,
 * at}; "" for none; outlives it. Names that no campaign has (any more) are passed over. @param count  metrics
 * are kept */
struct campaigns *campaigns_new(const struct engine *engine, const struct config *config, struct str paused,
                                bool count);
void campaigns_free(struct campaigns *campaigns);
/** Of each rule, as engine_rules(): whether there is nothing to ask. */
const bool *campaigns_always(const struct campaigns *campaigns);
/** The operator's pause of a campaign among `paused`: its map, or "". */
struct str campaign_pause(struct str paused, struct str campaign);

/** The label of a campaign's metrics, appended: campaign="name". */
void campaigns_label(struct buf *out, struct str campaign);

/** Ask, and count a no. Of an event that begins a fan-out (call->gathers) neither share nor hours are asked:
 * its users are. Of a timer (call->event is null) and of a journey under way the share is not asked: what was
 * begun with a user is ended with him; and of an event that waited for what the rule needs, the hours are not
 * either: it came within them. */
struct campaign_answer campaign_ask(struct campaigns *campaigns, uint32_t rule, const struct record *record,
                                    const struct engine_call *call);
/** Whether the next run of its rule is to be timed: few of many are. */
bool campaign_is_timed(const struct campaigns *campaigns, uint32_t rule);
/** Count one run of its rule. @param us  microseconds it took; negative: it was not timed, and took what the
 * next one that is takes */
void campaign_ran(struct campaigns *campaigns, uint32_t rule, int64_t us, bool failed);
/** Count a decision about a message it asked for. */
void campaign_decided(struct campaigns *campaigns, uint32_t rule, const struct message *message,
                      const struct verdict *verdict);

/** A no in words: "not in the 25% of its roll-out (bucket 6123)". Valid until the next. */
struct str campaign_say(struct campaigns *campaigns, uint32_t rule, const struct engine_call *call,
                        const struct campaign_answer *answer);
