/** A worker: one thread that owns partitions, with everything on the path of their users' events.
 *
 * Its loop reads requests (ingest), decides inputs (decide.h), gathers their records into one flight a turn
 * for the log, and acts on what has become durable: answers requests, hands messages to deliver, writes
 * records behind. An input whose user is not in memory waits in that user's slot, in order; other users go
 * on.
 */
#pragma once

#include "decide/decide.h"
#include "generation/generation.h"
#include "host/lookup.h"
#include "ingest/ingest.h"
#include "state/seen.h"
#include "state/store.h"
#include "state/table.h"
#include "state/timers.h"

struct worker;

/** What a host's workers share. Set before they start; log and phase change only while they are parked. */
struct worker_shared {
  const struct config *config;
  struct store *store;
  struct log *log;
  struct deliver *deliver;
  struct fan_outs *fan_outs;
  struct lookup *lookup; /**< null: no server is configured */
  struct ingest_shared *ingest;
  struct worker **workers;
  uint32_t worker_count;
  _Atomic uint32_t generation; /**< the last one decided; a worker takes it at its next event */
  atomic_int phase;            /**< enum host_phase */
  _Atomic uint64_t next_seq;
  /** Something that must not fail did (log, store): the host recovers. Any thread, any number of times. */
  void (*failed)(struct worker_shared *shared, const char *what, int code);
  /** The providers' mappings, in a Lua state for the calling thread. Any worker's thread, while it runs. */
  int (*scripts)(struct worker_shared *shared, struct provider_scripts *out, struct error *err);
  /** /metrics is about to be read. Any worker's thread. */
  void (*scrape)(struct worker_shared *shared);
};

static inline uint64_t worker_next_seq(struct worker_shared *shared) {
  return atomic_fetch_add_explicit(&shared->next_seq, 1, memory_order_relaxed);
}
static inline uint32_t worker_of(const struct worker_shared *shared, struct entity entity) {
  return entity_partition(entity) % shared->worker_count;
}

/** Start the thread; it listens, answers 503, and is parked. Blocks until that is done. Takes over the
 * descriptor. */
int worker_start(struct worker **out, struct worker_shared *shared, uint32_t index, int descriptor,
                 struct error *err);
/** What its decider must tell it. Any thread. */
struct decider_observer worker_observer(struct worker *worker);
/** The first rules: borrowed until it is given others. Blocks. Before worker_resume(). */
void worker_load(struct worker *worker, const struct generation_rules *rules);
/** Decide nothing more, and wait until nothing of this worker is in the air. Blocks. */
void worker_halt(struct worker *worker);
/** Wait until the worker has read all mail sent before. Blocks. */
void worker_settle(struct worker *worker);
/** The thread ends. After all workers were halted, and settled twice (batches go to other workers and come
 * home). Blocks. */
void worker_stop(struct worker *worker);
void worker_free(struct worker *worker);

/** Something for a worker to do on its own thread. Embed it; `run` owns it. */
struct worker_task {
  struct mail mail; /**< set by worker_post() */
  void (*run)(struct worker *worker, struct worker_task *task);
  struct worker *worker;
};
/** Any thread. */
void worker_post(struct worker *worker, struct worker_task *task);
/** Several together: those put into the bundle are this worker's when it is posted. Any thread. */
void worker_bundle(struct worker *worker, struct mail_bundle *bundle, struct worker_task *task);
void worker_post_bundle(struct worker *worker, struct mail_bundle *bundle);

/* ---- on the worker's own thread, from tasks ---- */

/** Decide with these from here on, borrowed until it is given others: a task runs between two inputs, and
 * nothing of an input outlives it. */
void worker_adopt(struct worker *worker, const struct generation_rules *rules);
/** Choose variants by these from here on (host/experiments.h). Takes a share of them over. */
struct experiment_weights;
void worker_weigh(struct worker *worker, struct experiment_weights *weights);
/** What recovery found for this worker. Takes both over and starts to work. */
void worker_resume(struct worker *worker, struct seen *seen, struct timers *timers);
/** The log failed: answer everything that waits with RETRY, forget all state, park. `parked` runs when
 * nothing is in the air. */
void worker_park(struct worker *worker, void (*parked)(void *context), void *context);
/** Write every dirty record behind; `done` runs when the store has what this worker decided before the call.
 */
void worker_flush(struct worker *worker, void (*done)(void *context), void *context);
void worker_drain(struct worker *worker);
/** Inputs and requests not yet answered, as of the worker's last turn. Any thread. */
uint64_t worker_open(struct worker *worker);
/** `done` runs on the worker when what it has asked the store to write by now has been answered. */
void worker_written(struct worker *worker, void (*done)(void *context), void *context);
/** The dead letters' store follows what the input being decided does to them. */
void worker_dead_put(struct worker *worker, const struct dead_letter *letter);
void worker_dead_done(struct worker *worker, struct entity entity, struct hash128 id);
/** For those who watch. */
void worker_outcome_seen(struct worker *worker, struct entity entity, const struct outcome *outcome);
void worker_sealed(struct worker *worker, uint64_t segment);

/** An input that is not an event, for the user it concerns; decided when the record is there, answered when
 * durable. */
struct worker_input {
  /** Decide on the record. @return 0 with what the log shall hold, 1 if it only looked, or a code: then
   * nothing happened. */
  int (*decide)(struct worker_input *input, struct decider *decider, struct record *record, int64_t wall,
                struct decision *out, struct error *err);
  /** Runs on the worker when durable (status 0), when decide refused (its code), and with ERROR_UNAVAILABLE
   * when the log failed, or, then `err` says so, when the user's record cannot be read. Owns the input. */
  void (*settled)(struct worker_input *input, struct worker *worker, int status);
  struct entity entity; /**< bytes owned by the input */
  enum log_record_type type;
  struct str log_input;      /**< for the log record; borrowed from the input */
  bool needs_record;         /**< false: decide gets a null record, and nothing is loaded */
  struct error err;          /**< why it was refused; code 0: the host is not running */
  struct worker_input *next; /**< the worker's own */
};
void worker_submit(struct worker *worker, struct worker_input *input);
/** Submit it in a minute: for what may not be refused, where its user's record cannot be read. It is settled
 * with ERROR_UNAVAILABLE and no `err` if the worker parks before. */
void worker_submit_later(struct worker *worker, struct worker_input *input);
struct worker_shared *worker_shared_of(struct worker *worker);

/** Of the rules that decide now. */
uint32_t worker_generation(const struct worker *worker);

/* ---- figures, any thread, approximate ---- */
struct worker_figures {
  uint64_t users, user_bytes, dirty, timers, timer_bytes, waiting, in_flight, seen_bytes, lua_bytes;
};
void worker_measure(struct worker *worker, struct worker_figures *out);
