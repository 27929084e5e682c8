/** The insides of fan-outs, shared by fan_out.c (the thread, and whose turn it is), fan_out_walk.c (one
 * fan-out's way through the index), fan_out_input.c (the workers' side) and fan_out_command.c. */
#pragma once

#include "base/mailbox.h"
#include "base/metric.h"
#include "host/fan_out.h"
#include "host/worker.h"

#include <stdatomic.h>

enum {
  WALKS = 16,    /**< partitions of one fan-out that are walked side by side */
  RUN_MAX = 16,  /**< users handed over in one run */
  CHUNK = 64,    /**< users read at once */
  HOLD_MS = 1000 /**< after which a fan-out that cannot go on tries again */
};

/** A partition that is being walked. */
struct walk {
  bool open, busy, ended; /**< ended: `users` are the last */
  int partition;
  uint64_t reached;  /**< of this partition, before the first of `users` */
  struct buf cursor; /**< behind the last of `users` */
  struct buf users;  /**< kind:u8 id:str, from `users_at` on */
  size_t users_at;
  uint32_t user_count;
};

enum job_phase {
  JOB_WAITS, /**< for its turn, or paused */
  JOB_OPENS, /**< what was decided before it is being written, so that the walk sees it */
  JOB_WALKS,
  JOB_CHANGES, /**< its end is being logged */
  JOB_GONE     /**< ended; freed when nothing of it is under way */
};

/** A fan-out that has not ended. */
struct job {
  struct hash128 id;
  int64_t began;   /**< the earlier goes first */
  int64_t expires; /**< 0: not known yet */
  enum fan_out_state state;
  enum job_phase phase;
  atomic_bool halted;        /**< users of a run under way are left for later */
  uint32_t runs;             /**< with the workers */
  uint32_t changes;          /**< likewise, of its state */
  struct host_command *stop; /**< waits until the runs are home, so that its end counts them; null */
  struct mailbox *stop_reply;
  char held[200];     /**< why nobody is handed over now, "" */
  int64_t held_until; /**< monotonic us */
  char failed[200];   /**< why it cannot go on at all: it ends when its runs are home; "" */

  /* from here on: of one that is open */
  bool open;
  struct buf bytes; /**< what spec and origin borrow from */
  struct entity origin;
  struct fan_out_spec spec;
  struct buf input;                           /**< of its LOG_FAN_OUT records */
  struct store_fan_out_partition *partitions; /**< where it is in each that is not walked yet */
  int next_partition;
  struct walk walks[WALKS];
  uint64_t reached; /**< so far */
  uint64_t total;   /**< of all whom it reaches, as far as they are counted */
  bool counted;
  struct buf count_cursor;
  double tokens;     /**< users that may be handed over now */
  int64_t tokens_at; /**< monotonic us */
};

struct fan_outs {
  struct worker_shared *shared;
  uv_thread_t thread;
  uv_loop_t loop;
  uv_timer_t tick;
  struct mailbox *mailbox;
  struct job **jobs;
  size_t job_count;
  uint32_t handed;   /**< runs with the workers, of all fan-outs */
  uint32_t changes;  /**< likewise, changes of state */
  uint32_t barrier;  /**< workers that have not written yet what they had decided; 0: none is asked */
  bool reload;       /**< the store knows better: read it when nothing is under way */
  bool forgetting;   /**< rows of ended ones are being deleted */
  int64_t forget_at; /**< monotonic us */
  atomic_bool stopped;
  metric_id reached_metric, waiting_metric;
};

/* fan_out.c */
struct job *fan_outs_find(struct fan_outs *fan_outs, struct hash128 id);
/** Look what can go on. */
void fan_outs_turn(struct fan_outs *fan_outs);
void fan_outs_send(struct fan_outs *fan_outs, struct mail *mail);

/* fan_out_walk.c */
/** Take what the store knows of it. */
void job_open(struct job *job, const struct store_fan_out *fan_out);
void job_close(struct job *job);
/** Hand over what its pace, and `most` runs, allow. @return 1 when nobody is left, 0, or a negative code. */
int job_walk(struct fan_outs *fan_outs, struct job *job, int64_t now_us, uint32_t most, struct error *err);
/** Count on, some entries at a time. */
int job_count(struct fan_outs *fan_outs, struct job *job, struct error *err);

/* fan_out_input.c */
/** Hand users of a walk over: the first `count` of it. */
void job_hand_over(struct fan_outs *fan_outs, struct job *job, struct walk *walk, uint32_t count);
/** Told on the thread. @param done  users who are durable. @param status  0, or why it ended early:
 * ERROR_UNAVAILABLE without a text where the host is not running */
void job_run_home(struct fan_outs *fan_outs, struct job *job, struct walk *walk, uint32_t done, int status,
                  const struct error *err);
/** Log a change of its state. @param command  to be answered then; may be null */
void job_change(struct fan_outs *fan_outs, struct job *job, enum fan_out_state state, struct str reason,
                struct host_command *command, struct mailbox *reply);
/** Told on the thread. @param status  0: it is durable */
void job_changed(struct fan_outs *fan_outs, struct job *job, enum fan_out_state state, int status);

/* fan_out_command.c */
/** Its runs are home: what they waited for is logged now. */
void job_stop_now(struct fan_outs *fan_outs, struct job *job);
/** Answer on main's loop. */
void fan_outs_answer(struct host_command *command, struct mailbox *reply, int status);
