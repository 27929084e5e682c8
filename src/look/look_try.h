/** What an event would do: the serving generation's rules on a copy of the record, in an engine of its own. A
 * rule with needs goes on at once, with the answers given, or its fallbacks. Nothing is stored, sent or
 * counted. */
#pragma once

#include "config/config.h"
#include "event/event.h"
#include "state/store.h"

struct look_try {
  struct buf bytes; /**< what the event's strings borrow from */
  struct event event;
  struct buf record; /**< record_encode() of the copy */
  struct buf needs;  /**< value: map of a need's name to what its look-up answers; empty: nobody answers */
  int64_t wall;
  uint32_t generation;
};

/** @param event  the envelope, as ingest takes it. @return 0 or ERROR_INVALID naming the field. */
int look_try_init(struct look_try *trial, struct str event, int64_t received, struct error *err);
void look_try_deinit(struct look_try *trial);
/** Blocking, some milliseconds to load the rules; any thread but a loop's. Appends a map:
 * { at, generation, rules: [as replay.h has them], messages: [{campaign, template,
 * channel, to, decision, reason, checks, data}], failures: [{campaign, error}], changes: [{…}], windows: how
 * many entries } */
int look_try_run(struct look_try *trial, const struct config *config, struct store *store, struct buf *out,
                 struct error *err);
