/** Experiments of a running host: `kairos experiments`, and weights drawn anew (Thompson sampling).
 *
 * Both wait until what the workers have decided so far is in the store, and then count on a thread of the
 * pool, over a snapshot (decide/experiment_list.h); workers go on meanwhile. Weights that were drawn are
 * logged (LOG_EXPERIMENT), kept ("experiments" in meta) and only then given to the workers, which take them
 * between two inputs; a restart goes on with them. No decision depends on when: the variant that a user gets
 * is in his record, in the log and in its effects, and a replay goes by that.
 *
 * Main thread.
 */
#pragma once

#include "host/host_internal.h"

struct experiments;

/** What was drawn last, from the store, for the workers that begin: after recovery. Blocking. */
int experiments_begin(struct host *host, struct error *err);
/** Append what was drawn last, as deciders take it; nothing if nothing was. Any thread; blocking. */
int experiments_weights(struct store *store, struct buf *out, struct error *err);
/** EXPERIMENTS. */
void experiments_command(struct host *host, struct host_command *command);
/** Now and then: draw what is due. */
void experiments_tick(struct host *host);
/** Nothing is under way. */
bool experiments_idle(const struct host *host);
/** When the workers have ended. */
void experiments_free(struct host *host);

/** Weights as workers hold them: shared, and never changed. */
struct experiment_weights {
  atomic_uint holders;
  struct buf bytes; /**< value map: experiment -> map: variant -> chance in millionths */
};
void experiment_weights_drop(struct experiment_weights *weights);
