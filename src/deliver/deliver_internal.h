/** Deliver's insides, shared by deliver.c (thread and calls from outside), turn.c (who goes when), attempt.c
 * (one message on its way), ending.c (how it ended) and flush.c (the store's copy). All of it: deliver's
 * thread, but for what deliver.c says. */
#pragma once

#include "base/metric.h"
#include "deliver/deliver.h"
#include "deliver/outbox.h"
#include "deliver/queue.h"
#include "deliver/templates.h"
#include "deliver/transport_file.h"
#include "deliver/transport_http.h"

#include <stdatomic.h>

/** A provider: its account, its queue, its figures. */
struct provider {
  const struct config_provider *account;
  struct queue queue;
  struct http_account http;
  bool honours_keys;
  enum breaker_state shown; /**< as last logged */
  uint64_t counts[OUTCOME_KINDS];
  metric_id outcomes[OUTCOME_KINDS], seconds, waiting, in_flight, breaker;
};

/** A message on its way to its provider. */
struct attempt {
  struct entry *entry;
  struct provider *provider;
  struct message message; /**< borrows from the entry */
  struct attempt *next;
};

/** Attempts of one turn on their way to the log. */
struct attempt_batch {
  struct log_batch log; /**< first: its mail comes back */
  struct deliver *deliver;
  struct entry **entries;
  uint32_t count, capacity;
  struct attempt_batch *next;
};

/** Messages that wait for their moment in the store alone. */
struct later {
  uint64_t count;
  int64_t next;      /**< when the first of them is due, or earlier; wall clock; INT64_MAX: there is none */
  int64_t last;      /**< when the last of them is due */
  struct buf cursor; /**< the store's index is read up to here … */
  int64_t read_to;   /**< … which is this moment */
  struct buf missed; /**< where the cursor was before the first that could not be read … */
  int64_t again;     /**< … and when it goes back there, wall clock; INT64_MAX: all could be read */
};

enum phase {
  PHASE_IDLE, /**< before deliver_start(), and after deliver_reset() */
  PHASE_RUNNING,
  PHASE_STALLED, /**< the log failed: nothing more till deliver_reset() */
  PHASE_STOPPING,
  PHASE_STOPPED
};

/** A call that its caller waits for. */
struct call {
  struct mail mail;
  struct deliver *deliver;
  uv_sem_t done;
  void (*run)(struct call *call); /**< calls call_done(), then or later */
  int status;
  struct error *err;
  void *argument;
  int64_t number;
};

struct deliver {
  const struct config *config;
  struct store *store;
  struct deliver_port port;
  uv_thread_t thread;
  uv_loop_t loop;
  uv_prepare_t prepare;
  uv_timer_t wake;
  struct mailbox *mailbox;
  struct mail nudge;                         /**< wakes the thread for what is settled … */
  atomic_bool nudged;                        /**< … and is on its way */
  _Atomic(struct deliver_settled *) settled; /**< the newest first, by `next` */
  atomic_uint settled_count;                 /**< about so many */
  atomic_size_t mailed_bytes, outbox_bytes;

  enum phase phase;
  struct log *log;
  struct provider *providers;
  struct limits limits;
  struct outbox outbox;
  struct later later;
  metric_id deferred_gauge;
  struct list unresolved; /**< IDLE entries whose fate has to be told: unknown provider, or an open attempt;
                             by `queue` */
  struct templates *templates;
  struct provider_scripts scripts;
  bool scripted;
  struct http *http;
  struct files *files;
  struct rendered rendered;
  struct buf scratch;
  uint64_t random;
  uint32_t answers;     /**< since … */
  int64_t answers_from; /**< … then, monotonic us */
  bool busy;            /**< so many of them that they are gathered */
  uint32_t reported;    /**< outcomes that have not gone on their way … */
  int64_t reported_at;  /**< … the first of them since then, monotonic us */

  struct attempt_batch *batch, *free_batches; /**< batch: being filled */
  uint32_t batches_out;                       /**< with the log */
  uint32_t files_out;                         /**< messages with the file transport */
  struct attempt *free_attempts;

  struct store_write write;
  bool writing;
  struct buf writing_done; /**< the outbox's `done` in that write */
  struct list_of_flushes {
    struct flush *first, **last;
  } flushes;

  struct call *resetting, *stopping, *quitting;
  int64_t stop_at;    /**< monotonic us */
  int64_t wall_ahead; /**< of the monotonic clock, ms, when it last looked */
};

/* turn.c */
/** Everything that can go on, goes on. Once a turn of the loop, before it waits. */
void turn_run(struct deliver *deliver);
/** The entry, IDLE, goes where it belongs. `message` is its own. */
void turn_place(struct deliver *deliver, struct entry *entry, const struct message *message);
/** A new entry: find its provider, then place it. */
void turn_adopt(struct deliver *deliver, struct entry *entry, const struct message *message);
uint64_t turn_random(struct deliver *deliver);

/* attempt.c */
/** Send an entry that is READY, and taken from its queue's list. */
void attempt_begin(struct deliver *deliver, struct provider *provider, struct entry *entry);
void attempt_file_done(struct file_transfer *transfer);
/** Go on with every answer that came. @return whether there was any. */
bool attempt_collect(struct deliver *deliver);
/** Break off everything under way; nothing is reported. */
void attempt_abort(struct deliver *deliver);

/* ending.c */
struct ending {
  enum outcome_kind kind;
  struct str detail, provider_id;
  int64_t retry_at;
};
/** Tell the owner how it stands; the entry is in no queue, and is REPORTED from here on. */
void ending_report(struct deliver *deliver, struct entry *entry, const struct message *message,
                   const struct ending *ending);
/** How far an attempt came that failed. */
enum attempt_reach {
  REACH_UNSENT,  /**< not a byte left; it is among the entry's `unsent` */
  REACH_REFUSED, /**< the provider does not have the message */
  REACH_UNKNOWN  /**< the provider may have it: ambiguous */
};
/** An attempt failed, or may have: report what becomes of the message. */
void ending_failed(struct deliver *deliver, struct entry *entry, const struct message *message,
                   enum attempt_reach reach, int64_t retry_after_ms, struct str detail);
void ending_settled(struct deliver *deliver, struct hash128 id, enum outcome_kind kind);
/** The user must not get it: ends now if it waits, or when it is safe to. */
void ending_cancel(struct deliver *deliver, struct entry *entry, struct str reason);

/* flush.c */
struct flush {
  struct deliver_flush *asked;
  uint64_t epoch;
  struct flush *next;
};
void flush_begin(struct deliver *deliver, struct deliver_flush *asked);
/** Answer all that wait; none of them is done. */
void flush_refuse(struct deliver *deliver);
/** Write deferred messages now, unless a write is under way. */
void flush_deferred(struct deliver *deliver);
/** Entries from the store. */
int flush_load(struct deliver *deliver, struct error *err);

/* later.c */
/** Before the store's entries are read: none is known. */
void later_begin(struct deliver *deliver);
/** @return when later_turn() has something to do, wall clock; INT64_MAX: never. */
int64_t later_wakes(const struct deliver *deliver);
/** The store has this one, and it stays there. */
void later_found(struct deliver *deliver, const struct outbox_entry *stored);
/** A write is done: what it held is forgotten here. */
void later_written(struct deliver *deliver);
/** Write what fills memory, read what is due. @return whether there is more to read at once. */
bool later_turn(struct deliver *deliver, int64_t now_ms);
/** Into memory, what the store alone has for this user on this channel ("*": any), for this purpose ("":
 * any). */
void later_recall(struct deliver *deliver, struct entity user, const struct outbox_recall *which);
/** How many wait, from when until when (INT64_MAX, 0: none), those in memory included. */
void later_measure(const struct deliver *deliver, uint64_t *count, int64_t *next, int64_t *last);

/* deliver.c */
/** Go on with every entry that was settled. */
void deliver_settle(struct deliver *deliver, bool cancelled);
void call_done(struct call *call);
/** What was reported goes on its way. */
void deliver_report_end(struct deliver *deliver);
struct provider *deliver_provider(struct deliver *deliver, const struct entry *entry);
