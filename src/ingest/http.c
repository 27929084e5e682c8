#include "ingest/http.h"

#include "ingest/connection.h"
#include "ingest/routes.h"

#include <stdarg.h>
#include <stdio.h>

/** A body that nobody wants, of a refused request or a GET, is read and dropped up to this size, so that the
 * connection can go on. */
enum { SWALLOW_MAX = 64 << 10 };

static struct connection *connection_of(llhttp_t *parser) {
  return parser->data;
}

static bool has_body(const llhttp_t *parser) {
  return (parser->flags & F_CHUNKED) || parser->content_length > 0;
}

/** The exchange has its answer, and nothing that follows on this connection can be trusted or is worth
 * reading. What came of a body makes room, however long the client takes to close. */
static int end_with(struct connection *connection, struct exchange *exchange) {
  body_reset(&connection->request.body, connection->ingest);
  exchange->stage = EXCHANGE_READY;
  exchange->persistent = false;
  exchange->continue_due = false;
  connection_end(connection);
  connection_touch(connection);
  return -1;
}

static int abort_request(struct connection *connection, unsigned status, const char *message) {
  struct request *request = &connection->request;
  if (!request->exchange) request->exchange = connection_enqueue(connection);
  exchange_refuse(request->exchange, status, "%s", message);
  return end_with(connection, request->exchange);
}

void http_abort(struct connection *connection, unsigned status, const char *format, ...) {
  char message[256];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  abort_request(connection, status, message);
}

static int count_head(struct connection *connection, size_t bytes) {
  connection->request.head_bytes += bytes;
  if (connection->request.head_bytes <= connection->ingest->shared->max_header) return 0;
  return abort_request(connection, 431,
                       "the request line and headers are larger than http.max_header allows");
}

static int on_message_begin(llhttp_t *parser) {
  struct connection *connection = connection_of(parser);
  connection->reading = READING_HEAD;
  connection->since = uv_now(connection->ingest->loop);
  request_path_begin(&connection->request);
  return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t len) {
  struct connection *connection = connection_of(parser);
  if (count_head(connection, len)) return -1;
  request_path_add(&connection->request, (struct str){at, len});
  return 0;
}

static int on_url_complete(llhttp_t *parser) {
  request_path_end(&connection_of(parser)->request);
  return 0;
}

static int on_header_field(llhttp_t *parser, const char *at, size_t len) {
  struct connection *connection = connection_of(parser);
  struct request *request = &connection->request;
  if (!request->exchange)
    request_name_add(request, (struct str){at, len}); // else a trailer: counted, not believed
  return count_head(connection, len);
}

static int on_header_field_complete(llhttp_t *parser) {
  struct connection *connection = connection_of(parser);
  if (!connection->request.exchange) request_name_end(&connection->request);
  return count_head(connection, sizeof ": \r\n" - 1);
}

static int on_header_value(llhttp_t *parser, const char *at, size_t len) {
  struct connection *connection = connection_of(parser);
  if (count_head(connection, len)) return -1;
  if (!connection->request.exchange) request_value_add(&connection->request, (struct str){at, len});
  return 0;
}

static int on_header_value_complete(llhttp_t *parser) {
  struct connection *connection = connection_of(parser);
  if (!connection->request.exchange)
    request_value_end(&connection->request, connection->ingest->shared->keys);
  return 0;
}

/** @return what makes the head unfit to be read on from, with its status; or null. */
static const char *head_fault(const struct connection *connection, unsigned *status) {
  const llhttp_t *parser = &connection->parser;
  const struct request *request = &connection->request;
  *status = 505;
  if (parser->http_major != 1 || parser->http_minor > 1) return "HTTP/1.1 and HTTP/1.0 are spoken here";
  *status = 400;
  if (request->folded) return "a header that goes on in a second line";
  if (request->nameless) return "a header without a name";
  if (request->hosts > 1 || (request->hosts == 0 && parser->http_minor == 1))
    return "exactly one Host header is wanted";
  if ((parser->flags & F_TRANSFER_ENCODING) && parser->http_minor == 0)
    return "Transfer-Encoding in HTTP/1.0";
  *status = 501;
  if (request->transfer == GIVEN_UNKNOWN) return "no Transfer-Encoding but \"chunked\" is known here";
  return NULL;
}

/** May the request go on? @return 0, or -1 with the exchange refused. */
static int admit(struct connection *connection, struct exchange *exchange) {
  const llhttp_t *parser = &connection->parser;
  const struct request *request = &connection->request;
  const struct route *route = request->route;
  if (!route) {
    exchange_refuse(
        exchange, 404,
        "no such path; events are posted to /v1/events, providers' reports to /v1/feedback/PROVIDER");
    return -1;
  }
  bool allowed = route->takes_post ? parser->method == HTTP_POST
                                   : parser->method == HTTP_GET || parser->method == HTTP_HEAD;
  if (!allowed) {
    exchange_refuse(exchange, 405, "%s is not answered here", llhttp_method_name(parser->method));
    exchange->header = route->allow;
    return -1;
  }
  if (request->expect == GIVEN_UNKNOWN) {
    exchange_refuse(exchange, 417, "no expectation but \"100-continue\" is known here");
    return -1;
  }
  return route->admit(connection, exchange);
}

static int on_headers_complete(llhttp_t *parser) {
  struct connection *connection = connection_of(parser);
  struct request *request = &connection->request;
  unsigned status;
  const char *fault = head_fault(connection, &status);
  if (fault) return abort_request(connection, status, fault);
  // An offer to upgrade is declined by going on as if it had not been made.
  parser->upgrade = 0;
  connection->reading = READING_BODY;
  connection->since = uv_now(connection->ingest->loop);
  struct exchange *exchange = request->exchange = connection_enqueue(connection);
  exchange->persistent =
      llhttp_should_keep_alive(parser) && parser->method != HTTP_CONNECT && !connection->ingest->draining;
  exchange->http_1_0 = parser->http_minor == 0;
  exchange->head_only = parser->method == HTTP_HEAD;
  bool waits = request->expect == GIVEN_KNOWN && parser->http_minor == 1;
  if (admit(connection, exchange)) {
    request->refused = true;
    // Who waits for leave to send, or has much to send, is told at once; what might still come is not waited
    // for.
    if (has_body(parser) && (waits || parser->content_length > SWALLOW_MAX))
      return end_with(connection, exchange);
  } else if (waits && has_body(parser)) {
    exchange->continue_due = true;
    connection_touch(connection);
  }
  return 0;
}

static int on_body(llhttp_t *parser, const char *at, size_t len) {
  struct connection *connection = connection_of(parser);
  struct request *request = &connection->request;
  struct exchange *exchange = request->exchange;
  exchange->continue_due = false;
  if (request->refused || !request->route->takes_post) {
    request->swallowed += len;
    if (request->swallowed <= SWALLOW_MAX) return 0;
    return request->refused ? end_with(connection, exchange)
                            : abort_request(connection, 413, "no body is wanted here");
  }
  // llhttp has counted this piece off content_length already.
  bool whole = request->body.received == 0 && !(parser->flags & F_CHUNKED) && parser->content_length == 0;
  if (body_add(&request->body, exchange, (struct str){at, len}, whole)) return end_with(connection, exchange);
  return 0;
}

static int on_message_complete(llhttp_t *parser) {
  struct connection *connection = connection_of(parser);
  struct request *request = &connection->request;
  struct exchange *exchange = request->exchange;
  struct str body;
  exchange->continue_due = false;
  if (request->refused || body_end(&request->body, exchange, &body))
    exchange->stage = EXCHANGE_READY;
  else
    request->route->serve(connection, exchange, body);
  if (exchange->stage == EXCHANGE_READY) connection_touch(connection);
  request_reset(request, connection->ingest);
  connection->reading = READING_NOTHING;
  connection->since = uv_now(connection->ingest->loop);
  connection->fresh = false;
  if (!exchange->persistent)
    connection_end(connection);
  else if (connection->due >= DUE_MAX)
    connection_pause(connection);
  return connection->phase != CONNECTION_OPEN || connection->paused ? HPE_PAUSED : 0;
}

static llhttp_settings_t settings = {
    .on_message_begin = on_message_begin,
    .on_url = on_url,
    .on_url_complete = on_url_complete,
    .on_header_field = on_header_field,
    .on_header_field_complete = on_header_field_complete,
    .on_header_value = on_header_value,
    .on_header_value_complete = on_header_value_complete,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

void http_init(struct connection *connection) {
  llhttp_init(&connection->parser, HTTP_REQUEST, &settings);
  connection->parser.data = connection;
  request_init(&connection->request);
}

size_t http_parse(struct connection *connection, const char *data, size_t len) {
  struct request *request = &connection->request;
  request_bytes_begin(request, data);
  llhttp_errno_t code = llhttp_execute(&connection->parser, data, len);
  if (connection->phase != CONNECTION_OPEN) return len;
  if (code == HPE_OK) {
    request_bytes_end(request, data + len);
    return len;
  }
  if (code == HPE_PAUSED) {
    const char *at = llhttp_get_error_pos(&connection->parser);
    llhttp_resume(&connection->parser);
    return (size_t)(at - data);
  }
  if (code == HPE_PAUSED_H2_UPGRADE)
    http_abort(connection, 505, "HTTP/1.1 and HTTP/1.0 are spoken here");
  else
    http_abort(connection, 400, "this is not HTTP/1.1: %s", llhttp_get_error_reason(&connection->parser));
  return len;
}

void http_finish(struct connection *connection) {
  if (connection->reading == READING_NOTHING)
    connection_end(connection);
  else
    http_abort(connection, 400, "the request ends too soon");
}
