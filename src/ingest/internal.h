/** What the files of this folder share: the state of one ingest, and of all ingests of a host. */
#pragma once

#include "base/metric.h"
#include "event/json.h"
#include "ingest/account.h"
#include "ingest/feedback.h"
#include "ingest/ingest.h"
#include "ingest/keys.h"

#include <openssl/ssl.h>

struct connection;
struct exchange;

enum {
  BACKLOG = 4096,             /**< connections the kernel holds for us to accept */
  READ_SIZE = 64 << 10,       /**< bytes taken from a socket at once */
  SPARE_BODIES = 16,          /**< body buffers kept for the next large bodies … */
  SPARE_BODY_MAX = 256 << 10, /**< … none larger than this */
  SPARE_ENDS_MAX = 64 << 10,  /**< bytes kept for the next document's ends */
  SPARE_EXCHANGES = 256,      /**< requests' memory kept for the next … */
  SPARE_VALUE_MAX = 64 << 10, /**< … with at most so many bytes of events, */
  SPARE_ITEMS_MAX = 128,      /**< so many items */
  SPARE_CONNECTIONS = 64
};

/** The answers that are counted and have a line in exchange.c. */
enum { STATUS_COUNT = 16 };

struct ingest_metrics {
  metric_id requests[STATUS_COUNT];
  metric_id events[INGEST_RETRY + 1]; /**< by verdict; none for PENDING */
  metric_id connections, memory, durable;
};

struct ingest_shared {
  uint64_t max_body, max_header, body_memory, report_memory;
  uint32_t max_connections, max_items;
  int64_t idle_ms, header_ms, body_ms;
  struct event_limits event_limits;
  struct keys *keys;              /**< null: nobody is asked */
  struct feedback_keys *feedback; /**< null: no account takes any */
  SSL_CTX *tls;                   /**< null: plain HTTP */
  struct ingest_metrics metrics;
  _Alignas(64) atomic_uint connections;
  _Alignas(64) account_sum memory;
  _Alignas(64) account_sum reports;
};

struct ingest {
  uv_loop_t *loop;
  uint32_t index;
  struct ingest_shared *shared;
  const struct ingest_port *port;
  bool draining, closing;

  uv_tcp_t listener;
  uv_timer_t sweep; /**< the one clock of all connections */
  /** Answers go out once a turn of the loop, together: after the poll, and before it for what timers
   * finished. */
  uv_prepare_t before_poll;
  uv_check_t after_poll;

  struct connection *connections; /**< all that are open */
  struct connection *dirty;       /**< those with something to write */
  struct connection *spare_connections;
  uint32_t spare_connection_count;
  uint32_t refused; /**< of them, beyond the limit and on their way out */

  struct exchange *spare_exchanges;
  uint32_t spare_exchange_count, open_exchanges;

  struct account account; /**< bodies, items, unread answers */
  struct account
      reports; /**< of these the bodies of reports, whose senders are known only by the last byte */
  struct json_parser *json;
  struct buf ends;    /**< json_parse_items()' of the body that is read */
  char *read;         /**< READ_SIZE and JSON_PADDING: what came last from any socket */
  char *plain;        /**< the same after decryption; null without TLS */
  struct buf out;     /**< answers on their way to a socket */
  struct buf scratch; /**< one answer's body */
  struct buf scrape; /**< the metrics, for all answers with them that go out together; empty: not asked for */
  struct buf spare_bodies[SPARE_BODIES];
  uint32_t spare_body_count;
  char date[48]; /**< the Date header, line end included */
};
