/** Experiments counted from the user index: who has come into one stands there under "experiment:<name>",
 * once, with what his record has of it (exposure_encode()), for RECORD_EXPOSURE_KEEP_MS.
 *
 * Counting reads the entries, a million in about a second, over a snapshot and on whatever thread asks:
 * nothing is added up beside the log, so that a count is exact after any crash, and follows from the users'
 * records alone.
 */
#pragma once

#include "decide/experiment_result.h"
#include "state/exposure.h"
#include "state/user_index.h"

/** Where the index is. Visit who stands under (index, ""); @return 0 or a negative code. */
struct experiment_source {
  int (*scan)(void *context, struct str index, int64_t now,
              int (*visit)(void *context, const struct index_user *user), void *visitor, struct error *err);
  void *context;
};

/** Count one experiment. @param now  wall clock, ms */
int experiment_count(struct experiment_tally *tally, struct str name, int64_t within, int64_t now,
                     const struct experiment_source *source, struct error *err);
/** Append an array of experiment_result(), in the order of their names. @param only  the one of that name,
 * also where nothing declares it any more; "": all. @return 0, ERROR_NOT_FOUND for one that nobody knows, or
 * what the scan says */
int experiment_list(const struct engine_experiment *experiments, size_t count, struct str only, int64_t now,
                    const struct experiment_source *source, struct buf *out, struct error *err);
