/** The insides of a reload, shared by reload.c (the way of an attempt, the build thread), reload_prepare.c
 * (what is to serve, built), reload_start.c (the first one), reload_ask.c (who asks, and what he is told). */
#pragma once

#include "base/metric.h"
#include "host/fill.h"
#include "host/host_internal.h"
#include "host/reload.h"

#include <limits.h>

enum { RELOAD_FAILURES_KEPT = 10 /**< failed attempts that the list shows */ };

enum reload_step {
  RELOAD_IDLE,
  RELOAD_PREPARING, /**< reading, building: the build thread */
  RELOAD_PREPARED,  /**< waits until the host runs */
  RELOAD_DECIDING,  /**< storing, logging: the build thread */
  RELOAD_SWAPPING,  /**< the workers take it */
  RELOAD_CLEARING   /**< the old one is freed: the build thread */
};

/** What somebody, or a change of the files, asks for. */
struct reload_request {
  struct reload_request *next;
  enum generation_cause cause;
  bool dry_run;
  uint32_t target; /**< ROLLBACK: 0 for the one before */
  char *campaign;  /**< PAUSE, RESUME … */
  char *reason;    /**< … PAUSE: why; "" if nobody said */
  char *by;
  struct host_command *command; /**< null: nobody waits for an answer */
};

/** The attempt under way. The build thread's from job to done, else main's. */
struct reload_attempt {
  struct reload_request *requests; /**< those that it answers; the first says what is to be done */
  struct generation *candidate;
  struct hash128 files; /**< of what was read */
  bool unchanged, read;
  bool known; /**< these files did not serve a moment ago, and are the same */
  int status;
  struct error err;
  struct buf filled; /**< reload.filled as the attempt began: the build thread's copy */
  struct buf paused, flights, changes, declared, specs;
  uint64_t specs_seen; /**< canary_specs() */
  uint32_t restores;
  int64_t began; /**< monotonic us */
  int tries;
};

struct reload {
  struct host *host;
  enum reload_step step;
  atomic_bool stopping;
  atomic_bool
      cut_short; /**< the trial under way is to end: the host stops, or an operator's pause goes first */
  bool missed;   /**< the watch has seen files that could not be tried: look again when the host runs */
  struct reload_request *waiting, **waiting_end;
  struct generation *serving;
  struct reload_attempt attempt;
  atomic_uint swaps_left;
  struct mail swapped;

  /** Files on disk that do not serve, and why. */
  bool failed;
  struct hash128 failed_files;
  uint64_t failed_specs;
  char *failed_reason;
  struct buf
      failures[RELOAD_FAILURES_KEPT]; /**< the newest at `failure_count - 1`, round and round: values */
  uint32_t failure_count;

  uv_thread_t thread;
  uv_sem_t ready;
  uv_loop_t loop;
  struct mailbox *mailbox; /**< the build thread's */
  struct mail job, done, end;
  void (*job_run)(struct reload *reload);
  void (*job_done)(struct reload *reload);
  metric_id failed_gauge;

  /** What the log is to fill (reload_fill.c). */
  struct fill *fill;             /**< under way; else null */
  struct buf filled;             /**< ids of those that the last job filled, u64 each */
  bool fill_asked;               /**< the sources that waited for them have been asked for */
  struct fill_progress fill_was; /**< of the job that ended last */
  char *fill_failed;             /**< why it is not tried again by itself; else null */
  char specs_folder[PATH_MAX];
  struct buf reviewed; /**< canary_options.reviewed; the build thread's */
  int64_t counted_at;  /**< who is on earlier sources, monotonic us; 0 never */
  struct watch *watch; /**< null: files are read when somebody asks */
};

/* reload_prepare.c: build thread, or main at the start */

/** Read what is wanted, try it, build it: attempt.status, .unchanged, .candidate. */
void reload_prepare(struct reload *reload);
/** A failpoint's errno as an error. */
int reload_fault(int errnum, struct error *err);

/* reload_ask.c */

/** Everybody who asked is told; more may follow that concerns nobody. @param result  "serving", … */
void reload_answer_all(struct reload *reload, const char *result);
/** Answer one; its request stays. */
void reload_answer(struct reload_request *request, int status, const struct error *err, struct str result);
void reload_request_free(struct reload_request *request);
/** What is on disk serves, or has been set aside by an operator. */
void reload_note_success(struct reload *reload);
/** For the list of generations; and, if it was about the files, that they do not serve. */
void reload_note_failure(struct reload *reload);

/* reload_fill.c */

/** Build thread, or main at the start: where the candidate, whose rules for the first worker are built,
 * declares windows, interests or segments that the log is to fill, put another in its place, in which the
 * campaigns that read them stay as they are, and they are kept besides. @param may_wait  false: it serves at
 * once, and what the log holds follows. */
int reload_fill_plan(struct reload *reload, struct ruleset *sources, bool may_wait, struct error *err);
/** Build thread, or main at the start: note which segments of the candidate mean something else than what
 * serves: users are judged for these when it does. */
void reload_fill_judge_anew(struct reload *reload);
/** Whether a window, interest or segment of the generation is not filled yet. @param filled  ids of those
 * that are */
bool reload_fill_lacks(struct str filled, const struct generation *generation);
/** Main, after anything that may have changed it: begin, end or follow the job that is called for. */
void reload_fill_update(struct reload *reload);
/** Somebody asks for it: try again after a failure. */
void reload_fill_again(struct reload *reload);
/** The sources that waited for it are tried. @param reason  why they do not serve, or null */
void reload_fill_tried(struct reload *reload, const char *reason);
void reload_fill_stop(struct reload *reload);
/** Append a value map {state, percent, users, holds_back, windows, interests, segments, short_from, log_keep,
 * error}.
 * @return false, and nothing is appended, if nothing is being filled. */
bool reload_fill_describe(const struct reload *reload, struct buf *out);
/** The same of the job that ended last: {at, users, refused, short_from, log_keep}. */
bool reload_fill_describe_last(const struct reload *reload, struct buf *out);

/* reload_prepare.c, for reload_fill.c and reload_start.c */

/** Load a generation's rules for one worker, as generation_build() does. Build thread, or main at the start.
 */
int reload_build_rules(struct reload *reload, struct generation *generation, uint32_t index,
                       struct error *err);

/** What a generation is made of. */
struct reload_making {
  struct ruleset *ruleset;
  struct ruleset *target;     /**< that waits for what follows to be filled; null: none */
  struct hash128 target_hash; /**< … where it is kept already */
  struct str besides, interests, quiet, changes;
};
/** The attempt's candidate, in place of the one before, with its rules for the first worker. */
int reload_make(struct reload *reload, const struct reload_making *making, struct error *err);

/* reload.c */

/** Put it behind those that wait. Copied. */
void reload_ask(struct reload *reload, const struct reload_request *request);
/** The decision: keep what the candidate is, log that it serves from here on, and wait until that is durable.
 * Blocking, on a thread of its own: it runs a loop. @return what attempt.status is of: "store" or "log". */
const char *reload_decide(struct reload *reload);
/** Nothing of the candidate will serve. */
void reload_discard(struct reload *reload);
/** Forget the attempt: the next may begin. */
void reload_attempt_end(struct reload *reload);
/** The thread that builds. */
void reload_build_main(void *reload);
