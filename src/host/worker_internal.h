/** A worker's insides, shared by worker.c (thread and life), inputs.c (who is next, on which record),
 * process.c (one input, on that record) and flight.c (what awaits durability). */
#pragma once

#include "base/metric.h"
#include "host/look_turn.h"
#include "host/tail.h"
#include "host/worker.h"

/** An item's verdict, to be given when the flight is durable. */
struct ack {
  struct ingest_batch *batch;
  uint32_t item;
  enum ingest_verdict verdict;
};

struct acks {
  struct ack *items;
  size_t count, cap;
};

/** Records written behind, held until the log is durable past them. */
struct write_behind {
  struct store_write write; /**< first: its mail comes back */
  struct worker *worker;
  struct slot **slots;
  size_t count;
  struct write_behind *next;
};

/** A flush asked for by the host: done when the writes started by then have been answered. */
struct flush {
  void (*done)(void *context);
  void *context;
  uint64_t target; /**< writes_started when its flight became durable; 0 before */
  struct flush *next;
};

/** One turn's records and all that must wait for them. */
struct flight {
  struct log_batch log; /**< first: its mail comes back */
  struct worker *worker;
  struct acks acks;
  uint32_t outcomes;     /**< of its records */
  struct buf outbox;     /**< for deliver_add() */
  struct buf suppressed; /**< length of `outbox` before it, kind, id, channel, purpose ("": any), reason,
                            journey (zero: any) */
  struct buf lookups;    /**< for lookup_ask(), … */
  uint32_t admitted;     /**< … and how many are in it */
  struct buf fan_outs;   /**< for fan_outs_began() */
  struct worker_input *inputs, **inputs_end;
  struct write_behind *writes, **writes_end;
  struct write_behind
      *beside; /**< what its inputs put into the store by key: dead letters, indexes; or null */
  struct flush *flushes;
  uint64_t marks;      /**< seen_position() when it left */
  struct flight *next; /**< free list */
};

/** An event, to be decided at the turn's end, or at that of a later one. */
struct arrival {
  struct ingest_batch *batch;
  uint32_t item;
  uint32_t user_hash;  /**< table_hash() */
  struct hash128 mark; /**< seen_mark() */
};

/** A fetch, and whose records it is to bring. */
struct fetching {
  struct store_fetch fetch; /**< first: its mail comes back */
  struct worker *worker;
  struct slot **slots; /**< of its items */
  size_t cap;          /**< of both */
  uint32_t done;       /**< of those that were answered, so many were taken */
  struct fetching
      *next; /**< free list: with its memory, of which each turn would ask malloc for as much again */
};

enum waiting_type { WAITING_EVENT, WAITING_INPUT, WAITING_TIMERS, WAITING_NEEDS };

/** An input that waits for its user's record. */
struct waiting {
  struct waiting *next;
  struct waiting *last; /**< of the first one: the end of the line behind it */
  enum waiting_type type;
  bool seen_known, seen; /**< the store's answer on the event's dedup mark */
  struct ingest_batch *batch;
  uint32_t item;
  struct hash128 mark; /**< the event's */
  uint32_t fires;      /**< timers that were due before the event, and fired */
  struct worker_input *input;
};

enum { WATERMARK_BUCKETS = 8 };

struct worker {
  struct worker_shared *shared;
  uint32_t index;
  int descriptor;
  uv_thread_t thread;
  uv_sem_t started;
  struct error start_error;
  uv_loop_t loop;
  uv_prepare_t prepare;
  uv_check_t check;
  uv_timer_t wake, write_behind;
  struct mailbox *mailbox;
  struct ingest *ingest;
  struct ingest_port port;            /**< ingest keeps it by reference */
  struct provider_scripts feedback;   /**< for what providers report; made with the first of it */
  struct engine *engine;              /**< of the generation that decides; another one after any task */
  struct decider *decider;            /**< … its own */
  struct experiment_weights *weights; /**< a share of them; null: none */
  uint32_t generation;                /**< … its number */

  struct table *table;
  struct seen *seen;
  struct timers *timers;
  int64_t wall;   /**< read once a turn and at each request */
  uint32_t fires; /**< of timers, in this turn */
  bool parked, stopping;
  void (*on_parked)(void *context);
  void *on_parked_context;

  struct flight *flight; /**< the turn's; null until something goes in */
  struct flight *free_flights;
  uint64_t flights_in_air, fetches_in_air, writes_started, writes_finished;
  uint64_t open_items; /**< events taken and not answered */
  uint64_t waiting_count;
  struct flush *flush_wanted; /**< waits for the pass to end */
  size_t pass_left;           /**< dirty records that the pass has still to write */
  int64_t pass_at;            /**< when the next one begins, monotonic us */
  struct flush *flushes;      /**< past their flight, waiting for writes */
  struct acks refused;        /**< verdicts that need no durability */
  struct waiting *free_waiting;

  struct arrival *arrivals; /**< in order */
  size_t arrival_at;        /**< those before were decided; 0 where none is left */
  size_t arrival_count, arrival_cap;
  int64_t slice_end_us; /**< process_has_time(); coarse */

  struct worker_input *later, **later_end; /**< inputs to be submitted again … */
  int64_t later_at;                        /**< … monotonic us */
  int64_t spoiled_told_us;                 /**< monotonic; that a record does not check out */

  struct fetching *fetching; /**< what this turn's fetch will ask; null: nothing yet */
  struct fetching *free_fetchings;

  /** Lowest event time accepted in each eighth of timers.overdue_grace. */
  int64_t watermark[WATERMARK_BUCKETS];
  int64_t watermark_bucket, resumed_at;

  struct look_turns turns;      /**< of those who look into the host */
  uint64_t decided;             /**< inputs so far */
  struct tap *taps;             /**< of those who watch; null: nobody does */
  const struct event *deciding; /**< for them; null: none, or it is gone */
  struct buf tail_line;
  struct buf scratch, entity, timer_bytes;
  struct buf waiting_users; /**< users whose records may hold look-ups from before the start: kind, id … */
  size_t waiting_users_at;  /**< … from here on */
  metric_id timers_fired, timer_lateness, users_spoiled;
  struct {
    _Atomic uint64_t users, user_bytes, dirty, timers, timer_bytes, waiting, in_flight, seen_bytes, lua_bytes,
        open;
  } figures;
};

/* flight.c */
struct flight *flight_current(struct worker *worker);
/** Hand the turn's flight to the log, if there is one. */
void flight_submit(struct worker *worker);
/** The same, if it has grown large: between two inputs. */
void flight_bound(struct worker *worker);
void flight_free(struct flight *flight);
void flight_ack(struct worker *worker, struct ingest_batch *batch, uint32_t item,
                enum ingest_verdict verdict);
/** Give verdicts now. */
void acks_give(struct worker *worker, struct acks *acks, bool failed);
void acks_add(struct acks *acks, struct ingest_batch *batch, uint32_t item, enum ingest_verdict verdict);
/** Append one record of the log to the turn's flight. */
void flight_record(struct worker *worker, enum log_record_type type, struct entity entity, struct str input,
                   struct str effects, uint64_t seq);
/** For what an input puts into the store by key: written when the turn's flight is durable, not before. */
struct store_write *flight_store(struct worker *worker);
/** What an input's effects change in indexes and fan-outs, whom its journeys' early ends recall messages of,
 * and what they add to experiments' counters.
 * @param record  the user's, behind the input; null: it was decided without */
void flight_index(struct worker *worker, struct entity entity, const struct record *record,
                  struct str effects);
/** Put dirty records, up to so many bytes, into writes that go with the turn's flight. @return how many. */
size_t flight_write_behind(struct worker *worker, size_t max_bytes);
/** One share of the pass under way, and the flush that waits for its end. */
void flight_pass(struct worker *worker, size_t share);

/* inputs.c */
void inputs_submit(void *worker, struct ingest_batch *batch);
/** Decide what arrived in this turn. */
void inputs_decide(struct worker *worker);
/** How many wait for a record, or for a turn that has time for them. */
uint64_t inputs_waiting(const struct worker *worker);
void inputs_fetch_submit(struct worker *worker);
void inputs_fetchings_free(struct worker *worker);
/** Submit what worker_submit_later() was given, if it is time. */
void inputs_submit_later(struct worker *worker);
/** When the wake timer must ring next. */
void inputs_schedule(struct worker *worker);
/** Refuse all that waits. */
void inputs_refuse(struct worker *worker);
/** Ask for what the user's rules wait for, once his record is there. */
void inputs_look_for_needs(struct worker *worker, struct entity entity);

/* process.c */
/** Inputs are about to be decided: read the clock. */
void process_begin(struct worker *worker);
/** A slice of the worker's time begins: who decides many inputs in a row looks whether it is over. Rules may
 * take their whole budget, and others have requests, answers, a reload that mends them. */
void process_slice(struct worker *worker);
bool process_has_time(const struct worker *worker);
/** Decide the event, timers that were due before it first, unless its mark was seen. @param waiting  a
 * WAITING_EVENT. @return false: the slice ended among those timers; call again with what it is now, before
 * anything else of this user is decided. */
bool process_event(struct worker *worker, struct slot *slot, struct waiting *waiting);
/** @param slot  null: the input needs no record */
void process_input(struct worker *worker, struct slot *slot, struct worker_input *input);
/** Whether timers may fire in this turn still: so many have that events and answers must have theirs. */
bool process_may_fire(const struct worker *worker);
/** Fire the user's timers that are due, as many as may fire in this turn, and set when he wakes next. */
void process_timers(struct worker *worker, struct slot *slot);
/** When the user's next timer is due; INT64_MAX: he has none. */
int64_t process_next_due(const struct slot *slot);
/** Dedup marks from before this moment do not count any more. */
int64_t process_dedup_since(const struct worker *worker);
/* What the decider tells while it decides: decider_options.observer. */
void worker_note_suppressed(void *worker, struct entity entity, struct str channel, struct str reason);
void worker_note_withdrawn(void *worker, struct entity entity, struct str purpose, struct str channel);
void worker_note_message(void *worker, const struct message *message, const struct verdict *verdict);
void worker_note_derived(void *worker, const struct event *event);
void worker_note_failure(void *worker, const struct entity *entity, const struct failure *failure);

/* lookup_input.c */
/** Rules began to wait: a timer_needs() of each is among the input's effects. */
void lookups_begin(struct worker *worker, struct slot *slot, struct str effects);
/** Ask for all that the user's rules wait for since before a restart. */
void lookups_begin_all(struct worker *worker, struct slot *slot);
/** Note whose records may hold look-ups from before. */
void lookups_resume(struct worker *worker);
/** Look at some of them. */
void lookups_resume_some(struct worker *worker);

/* worker.c */
void worker_failed(struct worker *worker, const char *what, int code);
void worker_settle_park(struct worker *worker);
