/** Filling: windows and interests that were declared later get what the event log holds of the time before,
 * and then users are put into the segments that are new, without a word to any rule, and those whom a segment
 * that has changed lets in or out are told of it, each by its timer.
 *
 * A job with a thread of its own ("kairos-fill", nicer than those that serve). It begins a new segment of the
 * log, waits until all before it is sealed, and walks over the users who have events there. What it counts of
 * each goes to the user's worker as an input (LOG_FILL) and is durable with its record, once: a window that
 * has been filled says so in its own state, and noting an interest again changes nothing. The job's place is
 * noted every few seconds (meta "fill"); after a crash it goes on from there, and whoever comes again is
 * passed over. While the host recovers from a failed write it waits. Whoever posts events goes first: where
 * they come, every batch waits as long as the one before it took.
 *
 * Main thread, unless said otherwise.
 */
#pragma once

#include "generation/generation.h"
#include "host/host_internal.h"

struct fill;

struct fill_options {
  struct host *host;
  const struct window_declaration *windows; /**< with `since`; copied */
  size_t count;
  struct str interests; /**< facts.interests; copied */
  const struct generation_segment
      *segments; /**< that users are judged for when the windows are filled; copied */
  size_t segment_count;
  uint32_t generation; /**< that has them already, on every worker */
  /** The thread has ended; next comes fill_free(). @param status  0: all are filled, and meta says so;
   * ERROR_UNAVAILABLE: stopped; else what failed. */
  void (*ended)(void *context, int status, const struct error *err);
  void *context;
};
/** @return null if there is no thread to be had. */
struct fill *fill_start(const struct fill_options *options);
/** End soon; `ended` follows. */
void fill_stop(struct fill *fill);
/** Stop, and wait until it has. Workers must run. `ended` may still be on its way, and is cancelled with the
 * mailbox. */
void fill_halt(struct fill *fill);
void fill_free(struct fill *fill);
/** Whether it does exactly what the generation wants. */
bool fill_is_of(const struct fill *fill, const struct generation *generation);
/** Whether the users in the store should be as new as the log: somebody is to see to a checkpoint. */
bool fill_wants_checkpoint(const struct fill *fill);

/** Append the ids of windows, interests and segments, u64 each. */
void fill_put_ids(const struct fill *fill, struct buf *out);

enum fill_step { FILL_SEALING, FILL_READING, FILL_JUDGING };
struct fill_progress {
  enum fill_step step;
  unsigned percent;   /**< of the users' partitions */
  uint64_t users;     /**< whose records were filled by this run */
  uint64_t refused;   /**< windows of users whose records had no room */
  int64_t began;      /**< wall clock, ms */
  int64_t longest;    /**< length of the longest window or interest, ms */
  int64_t log_begins; /**< from when on the log holds events, ms; INT64_MAX: it holds none that are sealed */
};
struct fill_progress fill_progress(const struct fill *fill);

/* ---- kept in meta "fill": what the job fills, and its place; blocking, any thread but a worker's ---- */

/** @param ids  appended: of what the last job filled to its end. @return 0 or an error. */
int fill_load_done(struct store *store, struct buf *ids, struct error *err);
