/** The running host: worker threads, their mailboxes, start, recovery, drain, stop; and the same input path
 * on a virtual clock.
 *
 * Threads: main (signals, maintenance's clockwork, control), N workers (ingest, records, rules), the log's,
 * the store's, deliver's, one for maintenance (checkpoint, sealing, retention, backup), one that builds new
 * generations of the rules (reload.h). A user belongs to one of 256 partitions, a partition to one worker.
 */
#pragma once

#include "config/config.h"
#include "ingest/ingest.h"

struct host;

/** Open the data directory, recover, load the rules (those on disk; those that served last, if they do not
 * load), listen. Blocking.
 * @param loop  main's loop, on which commands are answered. @return 0, or an error that says what to do. */
int host_start(struct host **out, uv_loop_t *loop, const struct config *config, struct error *err);
/** From here on requests are taken; until then each is answered 503. Once, after host_start(), when whoever
 * started it can stop it in order. */
void host_serve(struct host *host);
/** Stop accepting, finish what is in flight (at most `grace_ms`), write behind, checkpoint, close. Runs
 * `drained` on main's loop. */
void host_drain(struct host *host, int64_t grace_ms, void (*drained)(void *context), void *context);
void host_free(struct host *host);
enum host_phase host_phase(struct host *host);
/** The port ingest listens on. */
int host_port(const struct host *host);

/* ---- commands: main thread, answered on main's loop ---- */

enum host_command_type {
  HOST_STATUS,     /**< result: value map of the whole: phase, workers, log, store, providers, generation */
  HOST_WHY,        /**< user, optional text (template or campaign name to filter by): result: value array of
                      decisions, as in explain/why.h */
  HOST_REPLAY,     /**< user, optional text (campaign): result: value array of every rule run, as in
                      explain/replay.h */
  HOST_USER,       /**< user: result: value map from user_describe() */
  HOST_SUPPRESS,   /**< user, channel ("*" any), text reason */
  HOST_UNSUPPRESS, /**< user, channel */
  HOST_GRANT,      /**< user, text = purpose, channel ("*" every): the user consents */
  HOST_WITHDRAW,   /**< likewise: the user does not */
  HOST_PAUSE,      /**< channel = provider's name, or "*" for all */
  HOST_RESUME,
  HOST_DEAD_LIST,   /**< text: filter by kind "rule" / "message" or "": result: value array */
  HOST_DEAD_SHOW,   /**< id: result: value map */
  HOST_DEAD_RETRY,  /**< id, or "all" */
  HOST_DEAD_DROP,   /**< id, or "all" */
  HOST_BACKUP,      /**< text: target directory */
  HOST_RELOAD,      /**< optional text "dry-run", user = who asks: serve the files on disk. Result: value map
                       {result, generation, ruleset, restores, milliseconds, campaigns, declared, specs}; result
                       is "serving", "filling" (with `fill`: host/reload_internal.h), "unchanged" or "checked", the
                       last three are as generation/changes.h and canary.h say */
  HOST_GENERATIONS, /**< optional text "all": result: value map {serving, generations, failed} */
  HOST_ROLLBACK, /**< optional id (a number), user = who asks: serve an earlier generation's rules; as RELOAD
                  */
  HOST_PAUSE_CAMPAIGN, /**< id: campaign, text: why, user = who asks: a generation in which it is paused; as
                          RELOAD */
  HOST_RESUME_CAMPAIGN,
  HOST_JOURNEYS, /**< optional id (a campaign): result: value map {counts: [{campaign, step, version (hex),
                    serves, state, journeys, next}], parked_count, parked: [{user, campaign, key, step, why}],
                    a hundred at most} */
  HOST_JOURNEY,  /**< user, optional id (a campaign): result: value array from journey_tell() */
  HOST_JOURNEY_MOVE,  /**< user, id (a campaign, or a journey's id), optional key: it goes on now, past its
                         wait. Result: value map {campaign, key, step} */
  HOST_JOURNEY_END,   /**< the same, text = why: it ends */
  HOST_FAN_OUTS,      /**< optional id: result: value array of fan-outs, host/fan_out_command.c */
  HOST_FAN_OUT_PAUSE, /**< id, user = who asks, optional text: why */
  HOST_FAN_OUT_RESUME,
  HOST_FAN_OUT_STOP,
  HOST_CAMPAIGNS,   /**< result: value map {generation, campaigns, gone}: decide/campaign_list.h */
  HOST_EXPERIMENTS, /**< optional text: name. Result: value map {generation, weights, drawn
                       (host/experiments.h), experiments: [decide/experiment_result.h]} */
  HOST_SEGMENTS     /**< result: value array of maps {segment, campaign, rule, reads, windows, sticky_ms,
                       members}. With id (a segment): value map {segment, members: [{user, since}], next}, a page
                       of those behind `user`; `next` is the last of it, nil at the end */
};

struct host_command {
  enum host_command_type type;
  struct str user, channel, id, key, text; /**< owned by the caller until `done` */
  /** Main thread. `status` 0 or an error_code with `err`; `result` a value, or empty. */
  void (*done)(struct host_command *command);
  void *context;
  int status;
  struct error err;
  struct buf result;
};
/** @return 0, or ERROR_INVALID that names the argument which is too long or has a NUL. */
int host_command_check(const struct host_command *command, struct error *err);
/** Never answers within the call. Arguments are checked already. Commands that change something are answered
 * when that is durable. */
void host_command(struct host *host, struct host_command *command);
