/** What can be told of campaigns: how they run, from a worker's rules, and what they did, from the metrics.
 */
#pragma once

#include "host/worker.h"

/** Append a row a rule: an array of maps {campaign, rule, on, timers, mode, share, starts, ends, hours,
 * priority, paused_by} (what is not set is left out). @param campaign  only this one; "" for all. The
 * engine's thread. */
void look_campaign_rules(const struct engine *engine, struct str campaign, struct buf *out);
/** The same rows with what each did since the host started, over all workers: calls, errors, decisions
 * {send, skip, shadow: how many}, skips {reason: how many}, p50_us and p99_us of a run (-1 if there was
 * none). Any thread. */
void look_campaign_figures(struct str rows, struct buf *out);
