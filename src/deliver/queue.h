/** A provider's queue: who may go next, and when to ask again.
 *
 * First come, first served, except that retries that are due go before first attempts. Messages under a
 * host-wide limit stand in a lane of that limit, so that one that must wait for it holds up no other. What a
 * message passes, in this order: pause, breaker, concurrency, rate, limit. All that refuse delay it; none
 * ends it. One thread.
 */
#pragma once

#include "config/config.h"
#include "deliver/breaker.h"
#include "deliver/outbox.h"

/** A host-wide limit (a property of a send). Its bucket is empty after a start: what went before is not known
 * any more. */
struct limit {
  struct hashed by_name;
  int64_t tat;    /**< monotonic us */
  uint32_t lanes; /**< that wait for it */
  uint32_t name_len;
  char name[];
};

struct limits {
  struct hash_table names;
  int64_t started_us;
  size_t trim_at; /**< names; past this many, those that are full and that nobody waits for are forgotten */
};
void limits_init(struct limits *limits, int64_t now_us);
void limits_deinit(struct limits *limits);
/** Keep the number of names in bounds; now and then. */
void limits_trim(struct limits *limits, int64_t now_us);

struct lane {
  struct lane *next;
  struct limit *limit; /**< null: none */
  struct rate rate;    /**< of the limit, as its newest message says it */
  struct list urgent, fresh;
};

struct queue {
  const struct config_provider *account;
  bool paused;
  uint32_t ahead;    /**< attempts that may be logged before a place is free */
  uint32_t logging;  /**< entries LOGGING … */
  uint32_t sending;  /**< … and SENDING */
  struct list ready; /**< entries READY, in order; none stays while paused, or without the breaker's leave */
  size_t waiting;    /**< WAITING and DELAYED */
  size_t deferred;   /**< DELAYED that were never tried */
  int64_t tat;       /**< of the rate; monotonic us */
  struct breaker breaker;
  struct heap delayed;
  struct lane *lanes; /**< the one without limit first; others while they have entries */
  uint64_t order;
};

void queue_init(struct queue *queue, const struct config_provider *account);
void queue_deinit(struct queue *queue);
/** Forget all entries; rate, limits and breaker stay as they are. */
void queue_clear(struct queue *queue);
/** The entry waits; `urgent` ahead of those that are not. */
void queue_add(struct queue *queue, struct limits *limits, struct entry *entry, const struct message *message,
               bool urgent);
/** The entry waits till its retry_at. */
void queue_delay(struct queue *queue, struct entry *entry);
/** Take out one that is WAITING or DELAYED: it is IDLE then. */
void queue_remove(struct queue *queue, struct entry *entry);
/** Retries, and deferred messages, that are due join the others. @return when the next one is, wall clock;
 * INT64_MAX none. */
int64_t queue_wake(struct queue *queue, struct limits *limits, int64_t now_ms);
/** The next that may go, taken out and IDLE, its share of rates used up; null if none may, with `*when`
 * (monotonic us) lowered to the earliest moment at which one may, if that is a matter of time. */
struct entry *queue_take(struct queue *queue, int64_t now_us, int64_t *when);
