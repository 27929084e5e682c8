/** A fill's insides, shared by fill.c (the job) and fill_input.c (its inputs, on the workers). */
#pragma once

#include "base/metric.h"
#include "host/fill.h"
#include "state/record.h"

enum {
  FILL_BATCH_USERS = 32,
  FILL_BATCH_BYTES = 64 << 10,
  FILL_PAUSE_MAX_US = 20000, /**< between two batches */
  FILL_WRITES_MAX = 64       /**< of a worker that wait for the store: then it is that long */
};

struct fill_batch;

/** What the log held of one user. */
struct fill_found {
  struct str windows; /**< a record with nothing else (decide/recount.h); "": none */
  struct str entries; /**< of interests: index changes, encoded */
  bool more;          /**< of one who has been added already */
};

/** One user, or a part of him: of many entries each input takes some. */
struct fill_user {
  struct worker_input input;
  struct fill_batch *batch;
  size_t id_at; /**< in the batch's bytes: the id, and behind it what was found */
  size_t id_len;
  struct fill_found found;
  struct record logged; /**< borrows from them */
};

/** Users of one worker: one letter. */
struct fill_batch {
  struct worker_task task; /**< first */
  struct fill *fill;
  struct fill_batch *next; /**< in the list of the free */
  struct fill_user users[FILL_BATCH_USERS];
  unsigned count;
  struct buf bytes;
  bool judges; /**< its users are put into the segments, and nothing else */
  /* the worker's, until it is home */
  unsigned pending;
  bool failed, spoiled;             /**< spoiled: a user's record cannot be read */
  uint32_t logged, filled, refused; /**< inputs; users; their windows */
  int64_t began;                    /**< monotonic us */
  uint64_t decided_before;          /**< inputs of the worker so far */
};

struct fill {
  struct fill_options options;
  struct window_declaration *windows;
  struct engine_interest *interests; /**< borrow from options.interests */
  size_t interest_count;
  struct str *segments; /**< their names … */
  uint64_t *segment_ids;
  uv_thread_t thread;
  bool joined;
  atomic_bool stopping;
  struct buf input; /**< the log record's */
  struct mail ended;
  int status;
  struct error err;

  pthread_mutex_t lock;
  pthread_cond_t home;
  /* under the lock */
  struct fill_batch *free_batches;
  unsigned in_flight;
  bool failed;      /**< a batch was not taken: begin again from the last place that is sure */
  bool spoiled;     /**< a user's record cannot be read: who fills the others only would never know */
  int64_t pause_us; /**< what the last batch asks for before the next */
  bool rolled;      /**< the log's new segment … */
  int roll_status;  /**< … or why there is none */
  uint64_t segment; /**< … its number */

  _Atomic bool wants_checkpoint;
  _Atomic int step;
  _Atomic unsigned percent;
  _Atomic uint64_t users, refused;
  _Atomic int64_t log_begins;
  int64_t began;
  metric_id filled_total, filling_gauge, percent_gauge;
};

/* fill_input.c */

/** Add a user to a batch. @return false if it has no room. */
bool fill_batch_add(struct fill_batch *batch, struct entity entity, const struct fill_found *found);
/** To the worker that owns its users. */
void fill_batch_send(struct fill_batch *batch, struct worker *worker);
/** Ask a worker to have a new segment begun: fill.rolled. */
void fill_roll(struct fill *fill, struct worker *worker);
