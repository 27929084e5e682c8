/** Whether a campaign runs for an input: its roll-out, dates and hours, asked before its rule is.
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

/** @param count  metrics are kept */
struct campaigns *campaigns_new(const struct engine *engine, const struct config *config, bool count);
void campaigns_free(struct campaigns *campaigns);

/** Ask, and count a no. Of a timer (call->event is null) the share is not asked: what was begun with a user
 * is ended with him. The record is call->draft's. */
struct campaign_answer campaign_ask(struct campaigns *campaigns, uint32_t rule, const struct record *record,
                                    const struct engine_call *call);
/** A no in words: "not in the 25% of its roll-out (bucket 6123)". Valid until the next. */
struct str campaign_say(struct campaigns *campaigns, uint32_t rule, const struct engine_call *call,
                        const struct campaign_answer *answer);
