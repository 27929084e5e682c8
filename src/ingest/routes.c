#include "ingest/routes.h"

#include "base/clock.h"
#include "ingest/connection.h"

static int admit_anyone(struct connection *connection, struct exchange *exchange) {
  (void)connection, (void)exchange;
  return 0;
}

static const char *phase_name(enum host_phase phase) {
  static const char *const names[] = {[HOST_STARTING] = "starting",
                                      [HOST_RUNNING] = "running",
                                      [HOST_FAILED] = "failed",
                                      [HOST_DRAINING] = "draining"};
  return names[phase];
}

static enum host_phase phase_of(const struct ingest *ingest) {
  return ingest->port->phase(ingest->port->context);
}

static void answer_text(struct exchange *exchange, unsigned status, const char *content_type) {
  exchange->status = (uint16_t)status;
  exchange->content_type = content_type;
  exchange->stage = EXCHANGE_READY;
}

static void serve_health(struct connection *connection, struct exchange *exchange, struct str body) {
  (void)connection, (void)body;
  buf_printf(&exchange->text, "{\"status\":\"ok\"}\n");
  answer_text(exchange, 200, "application/json");
}

static void serve_readiness(struct connection *connection, struct exchange *exchange, struct str body) {
  (void)body;
  enum host_phase phase = phase_of(connection->ingest);
  buf_printf(&exchange->text, "{\"phase\":\"%s\"}\n", phase_name(phase));
  if (phase != HOST_RUNNING) exchange->retry_after = 1;
  answer_text(exchange, phase == HOST_RUNNING ? 200 : 503, "application/json");
}

static void serve_metrics(struct connection *connection, struct exchange *exchange, struct str body) {
  (void)connection, (void)body;
  exchange->has_metrics = true;
  answer_text(exchange, 200, "text/plain; version=0.0.4; charset=utf-8");
}

static int check_key(struct connection *connection, struct exchange *exchange) {
  struct keys *keys = connection->ingest->shared->keys;
  const struct request *request = &connection->request;
  if (!keys) return 0;
  if (request->key < 0) {
    exchange_refuse(exchange, 401,
                    request->key_given ? "this API key is not known"
                                       : "an API key is wanted: \"Authorization: Bearer KEY\" or "
                                         "\"X-Api-Key: KEY\"");
    exchange->header = "WWW-Authenticate: Bearer\r\n";
    return -1;
  }
  int64_t wait_ms = keys_admit(keys, request->key, clock_mono_us());
  if (wait_ms == 0) return 0;
  exchange_refuse(exchange, 429, "this API key is over its rate");
  int64_t seconds = (wait_ms + 999) / 1000;
  exchange->retry_after = seconds < 86400 ? (uint32_t)seconds : 86400;
  return -1;
}

/** Whether a body of events, or of what becomes events, may come. */
static int admit_body(struct connection *connection, struct exchange *exchange) {
  struct ingest *ingest = connection->ingest;
  struct request *request = &connection->request;
  enum host_phase phase = phase_of(ingest);
  if (phase != HOST_RUNNING) {
    exchange_refuse(exchange, 503, "the host is %s; try again", phase_name(phase));
    exchange->retry_after = 1;
    return -1;
  }
  if (request->type != GIVEN_KNOWN) {
    exchange_refuse(exchange, 415,
                    request->charset_refused
                        ? "the charset is not known; JSON is UTF-8"
                        : "Content-Type is to be application/json or application/x-ndjson");
    return -1;
  }
  if (request->encoding == GIVEN_UNKNOWN) {
    exchange_refuse(exchange, 415, "Content-Encoding is to be gzip or left out");
    exchange->header = "Accept-Encoding: gzip\r\n";
    return -1;
  }
  if (connection->parser.content_length > body_max(&request->body, ingest))
    return body_refuse_size(&request->body, exchange);
  return request->encoding == GIVEN_KNOWN ? body_unpack(&request->body, exchange) : 0;
}

static int admit_events(struct connection *connection, struct exchange *exchange) {
  return check_key(connection, exchange) ? -1 : admit_body(connection, exchange);
}

/** The batch is read: to the host with what is left of it. */
static void submit(struct ingest *ingest, struct exchange *exchange) {
  struct ingest_batch *batch = &exchange->batch;
  unsigned pending = 0;
  for (uint32_t i = 0; i < batch->count; i++) pending += batch->items[i].verdict == INGEST_PENDING;
  if (pending == 0) {
    exchange_judge(exchange);
    return;
  }
  atomic_store_explicit(&batch->pending, pending, memory_order_relaxed);
  exchange->stage = EXCHANGE_WAITING;
  ingest->port->submit(ingest->port->context, batch);
}

static void serve_events(struct connection *connection, struct exchange *exchange, struct str body) {
  struct ingest *ingest = connection->ingest;
  struct ingest_batch *batch = &exchange->batch;
  batch->received_us = clock_mono_us();
  exchange->stage = EXCHANGE_READY;
  if (batch_read(exchange, body, connection->request.media)) return;
  if (ingest->shared->keys)
    keys_charge(ingest->shared->keys, connection->request.key, batch->count - 1, batch->received_us);
  submit(ingest, exchange);
}

/** Its signature stands for an API key, but tells only of the whole body: until then it gets little. */
static int admit_feedback(struct connection *connection, struct exchange *exchange) {
  const struct feedback_keys *keys = connection->ingest->shared->feedback;
  const struct feedback_claim *claim = connection->request.claim;
  const struct config_provider *account = feedback_account(keys, buf_str(&claim->provider));
  if (account) {
    const char *fault = feedback_admit(keys, account, claim, clock_wall_ms());
    if (fault) {
      exchange_refuse(exchange, 401, "%s", fault);
      return -1;
    }
    connection->request.body.is_report = true;
    return admit_body(connection, exchange);
  }
  exchange_refuse(exchange, 404,
                  "no account of this name takes reports: a webhook does by its secret_env, SendGrid by its "
                  "feedback_key");
  return -1;
}

static void serve_feedback(struct connection *connection, struct exchange *exchange, struct str body) {
  struct ingest *ingest = connection->ingest;
  const struct feedback_keys *keys = ingest->shared->feedback;
  const struct feedback_claim *claim = connection->request.claim;
  const struct config_provider *account = feedback_account(keys, buf_str(&claim->provider));
  exchange->batch.received_us = clock_mono_us();
  exchange->stage = EXCHANGE_READY;
  const char *fault = feedback_verify(keys, account, claim, body, clock_wall_ms());
  if (fault) {
    exchange_refuse(exchange, 401, "%s", fault);
    return;
  }
  struct buf events = {0};
  struct error err;
  int code = ingest->port->feedback(ingest->port->context, account, body, &events, &err);
  if (code == ERROR_INVALID) {
    exchange_refuse(exchange, 400, "%s", err.message);
  } else if (code) {
    // The log says why; it is no business of who reports.
    exchange_refuse(exchange, 503, "the reports could not be read now; send them again");
    exchange->retry_after = FEEDBACK_RETRY_S;
  } else if (!events.len) {
    // None of it concerns us. Another answer would have it sent again.
    exchange->has_verdicts = true;
    exchange->accepted = exchange->duplicates = exchange->rejected = exchange->retries = 0;
    exchange->status = 200;
  } else {
    size_t len = events.len;
    memset(buf_reserve(&events, JSON_PADDING), 0, JSON_PADDING);
    // What it sends once more, dedup knows.
    exchange->reporter = account;
    if (batch_read(exchange, (struct str){(const char *)events.data, len}, MEDIA_JSON) == 0)
      submit(ingest, exchange);
  }
  buf_deinit(&events);
}

static const struct route routes[] = {
    {{"/v1/events", 10}, false, true, "Allow: POST\r\n", admit_events, serve_events},
    {{"/v1/feedback/", 13}, true, true, "Allow: POST\r\n", admit_feedback, serve_feedback},
    {{"/healthz", 8}, false, false, "Allow: GET, HEAD\r\n", admit_anyone, serve_health},
    {{"/readyz", 7}, false, false, "Allow: GET, HEAD\r\n", admit_anyone, serve_readiness},
    {{"/metrics", 8}, false, false, "Allow: GET, HEAD\r\n", admit_anyone, serve_metrics},
};

const struct route *route_find(struct str target, struct str *rest) {
  // A proxy's form, http://host/path, has to be understood too (RFC 9112, 3.2.2).
  if (target.len > 0 && target.data[0] != '/') {
    const char *scheme = memmem(target.data, target.len, "://", 3);
    const char *path =
        scheme ? memchr(scheme + 3, '/', (size_t)(target.data + target.len - scheme - 3)) : NULL;
    if (!path) return NULL;
    target.len -= (size_t)(path - target.data);
    target.data = path;
  }
  const char *query = memchr(target.data, '?', target.len);
  if (query) target.len = (size_t)(query - target.data);
  for (size_t i = 0; i < sizeof routes / sizeof routes[0]; i++) {
    struct str path = routes[i].path;
    if (target.len < path.len || memcmp(target.data, path.data, path.len) != 0) continue;
    *rest = (struct str){target.data + path.len, target.len - path.len};
    if ((rest->len > 0) == routes[i].has_rest) return &routes[i];
  }
  return NULL;
}
