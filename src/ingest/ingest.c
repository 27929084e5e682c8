#include "ingest/ingest.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "ingest/connection.h"
#include "ingest/tls.h"

#include <signal.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { SWEEP_MIN_MS = 5, SWEEP_MAX_MS = 250 };

/** What reports may take of the memory for bodies: an eighth; at least 4 MB, but no more than half. */
static uint64_t report_memory(uint64_t body_memory) {
  uint64_t least = body_memory / 2 < 4 << 20 ? body_memory / 2 : 4 << 20;
  return body_memory / 8 > least ? body_memory / 8 : least;
}

int ingest_shared_new(struct ingest_shared **out, const struct config *config, struct error *err) {
  struct ingest_shared *shared = aligned_alloc(_Alignof(struct ingest_shared), sizeof *shared);
  if (!shared) abort();
  memset(shared, 0, sizeof *shared);
  shared->max_body = config->http.max_body;
  shared->max_header = config->http.max_header;
  shared->body_memory = config->http.body_memory;
  shared->report_memory = report_memory(config->http.body_memory);
  shared->max_connections = config->http.max_connections;
  shared->max_items = config->ingest.max_items;
  shared->idle_ms = config->http.idle_timeout;
  shared->header_ms = config->http.header_timeout;
  shared->body_ms = config->http.body_timeout;
  shared->event_limits = (struct event_limits){.max_future_ms = config->ingest.max_future,
                                               .max_past_ms = config->ingest.max_past};
  exchange_metrics_init(&shared->metrics);
  shared->metrics.connections = metric_gauge("kairos_http_connections", "Open HTTP connections", NULL);
  shared->metrics.memory =
      metric_gauge("kairos_http_body_bytes", "Memory booked for requests under way, in chunks", NULL);
  shared->metrics.durable =
      metric_histogram("kairos_ingest_durable_seconds", "From a request's last byte to its verdicts", NULL);
  // Writing to a client that has left is an error like any other.
  signal(SIGPIPE, SIG_IGN);
  int code = keys_new(&shared->keys, config, err);
  if (!code) code = feedback_keys_new(&shared->feedback, config, err);
  if (!code && config->http.tls_certificate)
    code = tls_context_new(&shared->tls, config->http.tls_certificate, config->http.tls_key, err);
  if (code)
    ingest_shared_free(shared);
  else
    *out = shared;
  return code;
}

void ingest_shared_free(struct ingest_shared *shared) {
  if (!shared) return;
  keys_free(shared->keys);
  feedback_keys_free(shared->feedback);
  SSL_CTX_free(shared->tls);
  memory_free(shared);
}

static void set_date(struct ingest *ingest) {
  time_t now = (time_t)(clock_wall_ms() / 1000);
  struct tm tm;
  gmtime_r(&now, &tm);
  strftime(ingest->date, sizeof ingest->date, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
}

static void flush(struct ingest *ingest) {
  // What a flush makes ready, requests that had to wait included, is written in this turn as well.
  while (ingest->dirty) {
    struct connection *connection = ingest->dirty;
    ingest->dirty = connection->next_dirty;
    connection->dirty = false;
    connection_flush(connection);
  }
  buf_clear(&ingest->scrape);
}

static void before_poll(uv_prepare_t *handle) {
  flush(handle->data);
}

static void after_poll(uv_check_t *handle) {
  flush(handle->data);
}

static void sweep(uv_timer_t *timer) {
  struct ingest *ingest = timer->data;
  uint64_t now = uv_now(ingest->loop);
  set_date(ingest);
  for (struct connection *connection = ingest->connections, *next; connection; connection = next) {
    next = connection->next;
    connection_check_time(connection, now);
  }
}

static uint64_t sweep_interval(const struct ingest_shared *shared) {
  int64_t least = shared->idle_ms;
  if (shared->header_ms < least) least = shared->header_ms;
  if (shared->body_ms < least) least = shared->body_ms;
  least /= 4;
  return (uint64_t)(least < SWEEP_MIN_MS ? SWEEP_MIN_MS : least > SWEEP_MAX_MS ? SWEEP_MAX_MS : least);
}

static void on_connection(uv_stream_t *listener, int status) {
  struct ingest *ingest = listener->data;
  if (status == 0)
    connection_accept(ingest);
  else
    LOG_WARN("ingest", "a connection could not be accepted", LOG_TEXT("error", uv_strerror(status)));
}

int ingest_new(struct ingest **out, uv_loop_t *loop, int descriptor, uint32_t index,
               struct ingest_shared *shared, const struct ingest_port *port, struct error *err) {
  struct ingest *ingest = memory_zalloc(sizeof *ingest);
  ingest->loop = loop;
  ingest->index = index;
  ingest->shared = shared;
  ingest->port = port;
  ingest->account = (struct account){.sum = &shared->memory, .limit = shared->body_memory};
  ingest->reports = (struct account){.sum = &shared->reports, .limit = shared->report_memory};
  ingest->json = json_parser_new();
  ingest->read = memory_zalloc(READ_SIZE + JSON_PADDING);
  if (shared->tls) ingest->plain = memory_zalloc(READ_SIZE + JSON_PADDING);
  set_date(ingest);
  uv_tcp_init(loop, &ingest->listener);
  uv_timer_init(loop, &ingest->sweep);
  uv_prepare_init(loop, &ingest->before_poll);
  uv_check_init(loop, &ingest->after_poll);
  ingest->listener.data = ingest->sweep.data = ingest->before_poll.data = ingest->after_poll.data = ingest;
  uv_timer_start(&ingest->sweep, sweep, sweep_interval(shared), sweep_interval(shared));
  uv_prepare_start(&ingest->before_poll, before_poll);
  uv_check_start(&ingest->after_poll, after_poll);
  int code = uv_tcp_open(&ingest->listener, descriptor);
  if (code)
    close(descriptor);
  else
    code = uv_listen((uv_stream_t *)&ingest->listener, BACKLOG, on_connection);
  *out = ingest;
  return code ? error_set(err, ERROR_IO, "the socket cannot be listened on: %s", uv_strerror(code)) : 0;
}

void ingest_batch_done(struct ingest *ingest, struct ingest_batch *batch) {
  struct exchange *exchange = (struct exchange *)batch;
  metric_observe_us(ingest->shared->metrics.durable, clock_mono_us() - batch->received_us);
  exchange_judge(exchange);
  if (!exchange->connection)
    exchange_free(exchange);
  else if (exchange == exchange->connection->first)
    connection_touch(exchange->connection);
}

uint32_t ingest_open_requests(const struct ingest *ingest) {
  return ingest->open_exchanges;
}

void ingest_drain(struct ingest *ingest) {
  if (ingest->draining) return;
  ingest->draining = true;
  uv_close((uv_handle_t *)&ingest->listener, NULL);
  for (struct connection *connection = ingest->connections; connection; connection = connection->next)
    if (connection_is_idle(connection)) connection_end(connection);
}

void ingest_close(struct ingest *ingest) {
  if (ingest->closing) return;
  ingest->closing = true;
  if (!ingest->draining) uv_close((uv_handle_t *)&ingest->listener, NULL);
  while (ingest->connections) connection_close(ingest->connections);
  uv_close((uv_handle_t *)&ingest->sweep, NULL);
  uv_close((uv_handle_t *)&ingest->before_poll, NULL);
  uv_close((uv_handle_t *)&ingest->after_poll, NULL);
}

void ingest_free(struct ingest *ingest) {
  if (!ingest) return;
  ingest->closing = true;
  while (ingest->spare_exchanges) {
    struct exchange *exchange = ingest->spare_exchanges;
    ingest->spare_exchanges = exchange->next;
    ingest->open_exchanges++;
    exchange_free(exchange);
  }
  while (ingest->spare_connections) {
    struct connection *connection = ingest->spare_connections;
    ingest->spare_connections = connection->next;
    memory_free(connection);
  }
  for (uint32_t i = 0; i < ingest->spare_body_count; i++) buf_deinit(&ingest->spare_bodies[i]);
  buf_deinit(&ingest->out);
  buf_deinit(&ingest->scratch);
  buf_deinit(&ingest->scrape);
  json_parser_free(ingest->json);
  buf_deinit(&ingest->ends);
  memory_free(ingest->read);
  memory_free(ingest->plain);
  memory_free(ingest);
}
