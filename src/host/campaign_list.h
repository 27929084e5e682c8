/** What campaigns there are, and how they run: for `kairos campaigns` and the REPL. */
#pragma once

#include "engine/engine.h"

/** Append a value: array of maps, by name:
 *   { campaign, rule, state, mode, rollout, starts, ends, hours, priority, competes, on: [type], timers:
 * [name], windows: [text], templates: [{template, channels: [name]}], paused: {campaign, by, reason, at},
 * empty if nobody did } and with `figures` { calls, errors, decisions: {send | skip | shadow: n}, skips:
 * {reason: n}, not_run: {reason: n}, mean_us, p50_us, p99_us (of a run; -1 if there was none) } `state`:
 * "live", "shadow", "paused", or why it does not run now: "starts …", "ended …", "closed" (hours with a zone
 * of their own). What is not set is "". `channels` are those that stand in the source. Windows and templates
 * are of the folder. Figures are of this process since it began, over all workers. Any thread that may read
 * the engine.
 * @param paused  as host/campaign.h has it
 * @param now  wall clock, ms
 * @param only  this campaign alone; "" for all */
void campaign_list(const struct engine *engine, struct str paused, int64_t now, bool figures, struct str only,
                   struct buf *out);
