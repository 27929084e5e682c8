/** What campaigns there are, and how they run: for `kairos campaigns` and the REPL. */
#pragma once

#include "engine/engine.h"

/** Append a value: array of maps, by name.
 *
 * - campaign, rule (its file), mode, rollout, starts, ends, hours, priority, competes; "" where not set
 * - state: "live", "shadow", "paused", or why it does not run now: "starts …", "ended …", "closed"
 * - on, timers, windows, interests: arrays of texts; windows and interests are the folder's
 * - templates: array of {template, channels}: the folder's, with the channels that stand in the source
 * - paused: {campaign, by, reason, at}, empty if no operator paused it
 *
 * With `figures`, what was counted in this process, over all workers:
 *
 * - calls, errors, decisions {send | skip | shadow: n}, skips {reason: n}, not_run {reason: n}
 * - mean_us, p50_us, p99_us of a run; -1 if there was none
 *
 * Any thread that may read the engine. @param paused  as decide/campaign.h has it
 * @param now  wall clock, ms @param only  this campaign alone; "" for all */
void campaign_list(const struct engine *engine, struct str paused, int64_t now, bool figures, struct str only,
                   struct buf *out);
/** Append a value: array of the pauses in `paused` whose campaign is not there (any more). */
void campaign_list_gone(const struct engine *engine, struct str paused, struct buf *out);
