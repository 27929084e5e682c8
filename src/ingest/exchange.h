/** A request and the answer to it.
 *
 * Made when a request's head is complete, it stands in its connection's queue until its turn to answer comes.
 * It is the batch that goes to the host, and outlives its connection if the client leaves while the host has
 * it.
 */
#pragma once

#include "ingest/internal.h"

enum exchange_stage {
  EXCHANGE_RECEIVING, /**< its body is still coming */
  EXCHANGE_WAITING,   /**< the host has it */
  EXCHANGE_READY      /**< can be answered */
};

struct exchange {
  struct ingest_batch batch; /**< first: the host's pointer is ours */
  struct exchange *next;     /**< in its connection's queue, or among the spare */
  struct ingest *ingest;
  struct connection *connection; /**< null once the client is gone */
  enum exchange_stage stage;

  uint16_t status;
  bool persistent; /**< the connection goes on after the answer */
  bool http_1_0;
  bool head_only;       /**< HEAD: length, but no body */
  bool continue_due;    /**< "100 Continue" is to be sent before the answer */
  bool has_verdicts;    /**< the answer is the items' verdicts, else … */
  bool has_metrics;     /**< … the metrics as of its writing, else `text` */
  uint32_t retry_after; /**< s; 0: none */
  const char *header;   /**< one more header line, or null */
  const char *content_type;
  /** Whose reports these are, or null. A provider looks at the status alone: one item for later makes it 429
   * or 503. */
  const struct config_provider *reporter;
  struct buf text;
  uint32_t accepted, duplicates, rejected, retries;

  struct buf value;           /**< MessagePack of all items */
  struct event_fault *faults; /**< one an item, by index */
  uint32_t capacity;          /**< items there is room for */
  size_t booked;              /**< bytes on the ingest's account … */
  size_t body_booked;         /**< … and those that its body has booked, and gives back */
};

struct exchange *exchange_new(struct ingest *ingest, struct connection *connection);
/** Not while the host has it. */
void exchange_free(struct exchange *exchange);
/** Room for `count` items, PENDING, each with its own fault. @return 0, or -1 with the exchange refused. */
int exchange_reserve(struct exchange *exchange, uint32_t count);
/** Book `bytes` until the exchange is freed. @return 0, or -1 with the exchange refused. */
int exchange_book(struct exchange *exchange, size_t bytes);

/** Answer `status` with {"error": …}. */
void exchange_refuse(struct exchange *exchange, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** Answer that the account does not have `more` bytes: 413 if this request alone would pass `limit`, for no
 * later try would fit either, else 503. @return -1. */
int exchange_refuse_memory(struct exchange *exchange, size_t more, uint64_t limit);
/** All items have their verdicts: count them and choose the status. */
void exchange_judge(struct exchange *exchange);
/** Append the answer, READY, as bytes of HTTP. @param last  the connection closes behind it. */
void exchange_write(struct exchange *exchange, bool last, struct buf *out);

void exchange_metrics_init(struct ingest_metrics *metrics);
