/** The same engine, state code and gate as live, on a virtual clock driven by the events' timestamps; nothing
 * is sent. */
#pragma once

#include "config/config.h"
#include "engine/ruleset.h"
#include <stdio.h>

struct simulate_options {
  const struct config *config;
  const struct ruleset *ruleset;
  const char *events_path; /**< NDJSON; "-" standard input */
  const char
      *lookups_path; /**< JSON: {"server": {"/path": answer, "*": answer}}; null: all look-ups fall back */
  int64_t until;     /**< ms; INT64_MIN: the last event's timestamp. Timers due at or before it fire */
  FILE *out;         /**< one JSON line a decision */
};

struct simulate_result {
  uint64_t events, duplicates, rejected, decisions, sends, failures, timers;
  struct buf experiments; /**< as sim_experiments(); the caller frees it */
};

/** Sorted by timestamp, then input order; events go before timers of the same moment. Same input, same bytes
 * out. A bad line is reported on stderr with its number and counted; a rule's failure likewise. */
int simulate_run(const struct simulate_options *options, struct simulate_result *result, struct error *err);
