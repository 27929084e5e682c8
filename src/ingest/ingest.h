/** Ways in: bytes -> validated events -> a verdict an item.
 *
 * One `struct ingest` a worker, on the worker's loop: it accepts connections, speaks HTTP/1.1 (and TLS),
 * reads bodies within bounds, turns them into events and hands each request's events to the host as one
 * batch. It answers when the host says that every item of the batch has its verdict, in the order in which
 * the requests of a connection came.
 */
#pragma once

#include "config/config.h"
#include "event/event.h"
#include <stdatomic.h>
#include <uv.h>

enum ingest_verdict {
  INGEST_PENDING,
  INGEST_ACCEPTED,  /**< durable */
  INGEST_DUPLICATE, /**< (entity, event_id) was accepted before, and that is durable */
  INGEST_REJECTED,  /**< refused by ingest or host: `*fault` says why */
  INGEST_RETRY      /**< queue full or host not running: nothing happened, send again */
};

struct ingest_item {
  struct event event; /**< borrows from the batch's bytes */
  enum ingest_verdict verdict;
  struct event_fault *fault; /**< never null: where whoever says REJECTED writes why; the batch's own */
};

/** The events of one request. Ingest makes it, and frees it after the answer. */
struct ingest_batch {
  struct ingest_item *items;
  uint32_t count;
  /** Items without a verdict. The owner of an item's event sets its verdict, then counts it off; whoever
   * takes it to 0 sees to it that ingest_batch_done() runs on the batch's own ingest thread. Starts at the
   * number of PENDING items. */
  atomic_uint pending;
  uint32_t home;       /**< index of the worker whose ingest made it */
  int64_t received_us; /**< clock_mono_us() when the request's last byte was read */
};

enum host_phase { HOST_STARTING, HOST_RUNNING, HOST_FAILED, HOST_DRAINING };

/** What ingest needs of the host. All are called on the ingest's own thread. */
struct ingest_port {
  void *context;
  /** Takes the PENDING items; never answers within the call. */
  void (*submit)(void *context, struct ingest_batch *batch);
  /** Not RUNNING: events are answered 503 with Retry-After. */
  enum host_phase (*phase)(void *context);
  /** What the account's provider reports in a request's body -> a JSON array of events, appended; nothing if
   * there are none. While the phase is RUNNING. @return 0; ERROR_INVALID if the body is none; or another code
   * where the host failed, which may pass */
  int (*feedback)(void *context, const struct config_provider *account, struct str body, struct buf *events,
                  struct error *err);
  /** Bring gauges up to date before a scrape of /metrics. */
  void (*scrape)(void *context);
};

/** What all ingests of a host share: keys, their rate limits, TLS context, the count of connections, memory
 * for bodies. Making it turns SIGPIPE off for the process. */
struct ingest_shared;
int ingest_shared_new(struct ingest_shared **out, const struct config *config, struct error *err);
void ingest_shared_free(struct ingest_shared *shared);

/** Whether the address is free. SO_REUSEPORT, which lets workers share it, would let a second host share it
 * too, and take half of the events. @return 0, or a negative code that says why not. */
int ingest_probe(const char *address, struct error *err);
/** A bound, listening socket with SO_REUSEPORT. `port` 0 in the address takes any; `*port` says which.
 * @return the descriptor, or a negative code with what was wrong with the address. */
int ingest_listen(const char *address, int *port, struct error *err);

struct ingest;
/** Takes over the descriptor. `shared` and `port` outlive it. On failure too there is an ingest, which has to
 * be closed and freed as ever. */
int ingest_new(struct ingest **out, uv_loop_t *loop, int descriptor, uint32_t index,
               struct ingest_shared *shared, const struct ingest_port *port, struct error *err);
/** Every item has its verdict: answer, free the batch. Ingest's own thread. */
void ingest_batch_done(struct ingest *ingest, struct ingest_batch *batch);
/** Stop accepting; close idle connections, the others after their answer. */
void ingest_drain(struct ingest *ingest);
/** Requests whose answer is still due, for the drain. */
uint32_t ingest_open_requests(const struct ingest *ingest);
/** Close everything now. The loop must turn until its handles are gone before ingest_free(). No batch may be
 * with the host. */
void ingest_close(struct ingest *ingest);
void ingest_free(struct ingest *ingest);
