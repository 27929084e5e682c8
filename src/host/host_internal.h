/** A host's insides, shared by host.c (start, drain), maintain.c (checkpoint, sealing, recovery), command*.c
 * (operators), outcome.c, pressure.c, gauges.c and the jobs beside the workers (reload, fills, experiments);
 * and by src/look, which looks into them. */
#pragma once

#include "base/lane.h"
#include "host/host.h"
#include "host/worker.h"

enum maintenance { MAINTENANCE_IDLE, MAINTENANCE_FLUSHING, MAINTENANCE_WORKING };

/** What may fill faster than it empties. */
enum pressure {
  PRESSURE_SEALING,
  PRESSURE_MEMORY,
  PRESSURE_MERGING,
  PRESSURE_OUTBOX,
  PRESSURE_DISK,
  PRESSURE_MARKS,
  PRESSURES
};

struct host {
  struct worker_shared shared; /**< first: what workers call back with is the host */
  const struct config *config;
  uv_loop_t *loop;
  struct mailbox *mailbox;
  struct lane readers;             /**< of history and the store, because somebody asked */
  struct tail_thread *tail_thread; /**< from the first tail on */
  int port;
  char *log_directory;
  struct log_options log_options;
  uint32_t started_workers;

  uv_timer_t clockwork;
  enum maintenance maintenance;
  int64_t checkpoint_at; /**< monotonic us of the next one */
  int64_t seal_waits;    /**< since when a closed segment waits to be sealed; 0: none does; 1: seal it */
  uint64_t seal_until;   /**< the last closed segment when sealing began */
  struct log_position checkpoint; /**< the one under way */
  uint64_t checkpoint_seq;
  struct deliver_flush deliver_flush;
  struct outcome_input *spare_outcomes; /**< deliver's thread */
  struct mail_bundle *outcomes;         /**< … reported in its turn, a worker each */
  atomic_uint barrier;                  /**< workers that have not answered yet */
  void (*barrier_done)(struct host *host);
  uv_work_t work;
  int work_status;
  struct error work_error;
  atomic_bool failing; /**< a failure is being dealt with */
  uint64_t recoveries;
  bool pressed[PRESSURES]; /**< now; main's thread */
  int64_t pressure_at;     /**< monotonic us of the next look */
  uint32_t pace_looks;     /**< in a row in which the store kept up */
  struct reload *reload;
  struct experiments *experiments;
  bool deciding;                    /**< a generation is being stored and logged: no recovery meanwhile */
  struct ruleset *mappings;         /**< what deliver's provider mappings were loaded from */
  bool dead_busy;                   /**< a retry or drop of dead letters is under way */
  struct operation *backup_waiting; /**< until maintenance is idle */
  struct operation *pauses;         /**< of providers, to be kept one after the other */
  uv_timer_t recover_timer;
  struct log_position known_end; /**< of the log that failed, until recovered */
  bool known_end_set;
  bool working; /**< `work` is under way off the loop */

  uv_work_t measure_work;
  bool measuring;               /**< it is under way; main's thread */
  pthread_mutex_t figures_lock; /**< held for a moment */
  struct store_figures figures; /**< as last measured */

  struct seen **seen; /**< from recovery, a worker each, until resumed */
  struct timers **timers;

  bool draining;
  int64_t drain_deadline; /**< monotonic us */
  int drain_step;
  void (*drained)(void *context);
  void *drained_context;
};

/* maintain.c */
/** Recover the store from the log and open a new segment. Blocking; any thread, while workers are parked. */
int maintain_recover(struct host *host, const struct log_position *known_end, struct error *err);
void maintain_resume_workers(struct host *host);
/** The once-a-tick look at what is due. */
void maintain_tick(struct host *host);
/** Begin a checkpoint now if nothing is under way. */
void maintain_checkpoint(struct host *host);
void maintain_failed(struct worker_shared *shared, const char *what, int code);

/* command.c */
/** Start the backup that waits, if nothing else is under way. */
void command_backup(struct host *host);

/* command_segments.c */
void command_segments(struct host *host, struct host_command *command);

/* outcome.c */
void outcome_report(void *host, const struct message *message, const struct outcome *outcome);
/** Those reported go to their owners: many of one turn make one flight of the worker's. */
void outcome_send(void *host);
/** When deliver is gone. */
void outcome_deinit(struct host *host);

/* pressure.c */
/** Show none, before anybody looks. */
void pressure_start(void);
/** Look, about once a second, at what may fill; the log says when it begins and ends. */
void pressure_tick(struct host *host);
/** A list of what fills now, in words. */
void pressure_describe(const struct host *host, struct buf *out);
/** Closed segments of the log that wait to be sealed; 0 while the host does not run. */
int64_t pressure_unsealed(struct host *host);
/** Bytes free for data_dir, and those of its file system: 0 if it does not say. Any thread. */
int64_t pressure_disk_free(const struct host *host, int64_t *size);

/* gauges.c */
/** Have the store measured, which reads folders, so that a scrape has the figures at hand. At once on the
 * calling thread, before the host runs; from main's clockwork on the pool, where it may go on while the host
 * drains. */
void gauges_measure(struct host *host);
void gauges_measure_soon(struct host *host);
void gauges_scrape(struct worker_shared *shared);
/** The whole as a value map. */
void gauges_describe(struct host *host, struct buf *out);
