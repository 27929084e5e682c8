#include "ingest/connection.h"

#include "base/logger.h"
#include "base/memory.h"
#include "ingest/http.h"
#include "ingest/tls.h"

enum {
  LINGER_MS = 2000, /**< how long a client may take to close after its last answer */
  REFUSED_MAX = 64  /**< clients beyond the limit that are told so at a time; others are just closed */
};

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf);

static struct connection *connection_of(void *handle) {
  return handle; // the socket is its first member
}

/** Book what `rest` and `sending` hold now. @return false, and closed, if there is no more to be had. */
static bool book_buffers(struct connection *connection) {
  struct account *account = &connection->ingest->account;
  size_t need = connection->rest.cap + connection->sending.cap;
  if (need < connection->booked)
    account_give(account, connection->booked - need);
  else if (need > connection->booked && !account_take(account, need - connection->booked)) {
    connection_close(connection);
    return false;
  }
  connection->booked = need;
  return true;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
  (void)suggested;
  *buf = uv_buf_init(connection_of(handle)->ingest->read, READ_SIZE);
}

static void start_reading(struct connection *connection) {
  if (!connection->ended) uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read);
}

static void set_phase(struct connection *connection, enum connection_phase phase) {
  connection->phase = phase;
  connection->since = uv_now(connection->ingest->loop);
}

void connection_end(struct connection *connection) {
  if (connection->phase != CONNECTION_OPEN) return;
  set_phase(connection, CONNECTION_LAST);
  uv_read_stop((uv_stream_t *)&connection->tcp);
  connection_touch(connection);
}

void connection_pause(struct connection *connection) {
  if (connection->paused || connection->phase != CONNECTION_OPEN) return;
  connection->paused = true;
  uv_read_stop((uv_stream_t *)&connection->tcp);
}

void connection_touch(struct connection *connection) {
  struct ingest *ingest = connection->ingest;
  if (connection->dirty || connection->phase == CONNECTION_CLOSED) return;
  connection->dirty = true;
  connection->next_dirty = ingest->dirty;
  ingest->dirty = connection;
}

bool connection_is_idle(const struct connection *connection) {
  return connection->reading == READING_NOTHING && !connection->first && !connection->writing;
}

struct exchange *connection_enqueue(struct connection *connection) {
  struct exchange *exchange = exchange_new(connection->ingest, connection);
  *connection->last = exchange;
  connection->last = &exchange->next;
  connection->due++;
  return exchange;
}

static struct exchange *dequeue(struct connection *connection) {
  struct exchange *exchange = connection->first;
  connection->first = exchange->next;
  if (!connection->first) connection->last = &connection->first;
  connection->due--;
  return exchange;
}

/** HTTP from the client, decrypted; keeps what is not to be read now. */
static void take_bytes(struct connection *connection, const char *data, size_t len) {
  size_t taken = connection->paused ? 0 : http_parse(connection, data, len);
  if (taken == len || connection->phase != CONNECTION_OPEN) return;
  memcpy(buf_reserve(&connection->rest, len - taken + JSON_PADDING), data + taken, len - taken);
  connection->rest.len += len - taken;
  book_buffers(connection);
}

/** Read on in what was kept. */
static void take_rest(struct connection *connection) {
  struct buf rest = connection->rest;
  buf_init(&connection->rest);
  size_t taken = http_parse(connection, (const char *)rest.data, rest.len);
  if (taken < rest.len && connection->phase == CONNECTION_OPEN) {
    memmove(rest.data, rest.data + taken, rest.len - taken);
    rest.len -= taken;
    connection->rest = rest;
  } else {
    buf_deinit(&rest);
  }
  if (connection->phase != CONNECTION_CLOSED) book_buffers(connection);
}

static void take_end(struct connection *connection) {
  connection->ended = true;
  if (connection->phase == CONNECTION_OPEN && !connection->paused)
    http_finish(connection);
  else if (connection->phase == CONNECTION_LINGER)
    connection_close(connection);
}

static void on_written(uv_write_t *request, int status) {
  struct connection *connection = request->data;
  connection->writing = false;
  if (connection->phase == CONNECTION_CLOSED) return;
  buf_deinit(&connection->sending);
  book_buffers(connection);
  if (status < 0)
    connection_close(connection);
  else
    connection_touch(connection);
}

/** Bytes for the socket. What it does not take is kept, and `writing` until it has. @return false if closed.
 */
static bool send_bytes(struct connection *connection, struct str bytes) {
  if (bytes.len == 0) return true;
  uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes.data, (unsigned)bytes.len);
  int sent = uv_try_write((uv_stream_t *)&connection->tcp, &buf, 1);
  if (sent == UV_EAGAIN) sent = 0;
  if (sent < 0) {
    connection_close(connection);
    return false;
  }
  if ((size_t)sent == bytes.len) return true;
  buf_append(&connection->sending, bytes.data + sent, bytes.len - (size_t)sent);
  if (!book_buffers(connection)) return false;
  buf = uv_buf_init((char *)connection->sending.data, (unsigned)connection->sending.len);
  connection->write.data = connection;
  int code = uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &buf, 1, on_written);
  if (code < 0) {
    connection_close(connection);
    return false;
  }
  connection->writing = true;
  connection->unsent = connection->sending.len;
  connection->unsent_since = uv_now(connection->ingest->loop);
  connection_pause(connection);
  return true;
}

static bool send_encrypted(struct connection *connection) {
  if (connection->writing) return true;
  if (!send_bytes(connection, tls_unsent(connection->tls))) return false;
  tls_sent(connection->tls);
  return true;
}

static bool send_answers(struct connection *connection, struct str bytes) {
  if (!connection->tls) return send_bytes(connection, bytes);
  if (!tls_write(connection->tls, bytes)) {
    connection_close(connection);
    return false;
  }
  return send_encrypted(connection);
}

/** Encrypted bytes from the client. */
static void take_encrypted(struct connection *connection, struct str bytes) {
  struct ingest *ingest = connection->ingest;
  enum tls_state state;
  size_t len;
  tls_feed(connection->tls, bytes);
  do {
    len = READ_SIZE;
    state = tls_read(connection->tls, ingest->plain, &len);
    if (len > 0) take_bytes(connection, ingest->plain, len);
  } while (state == TLS_MORE && len > 0 && connection->phase == CONNECTION_OPEN);
  if (connection->phase == CONNECTION_CLOSED) return;
  if (state == TLS_PLAIN_HTTP) {
    tls_free(connection->tls);
    connection->tls = NULL;
    http_abort(connection, 400, "this port speaks TLS only: use https");
    return;
  }
  // After a broken handshake this is the alert that says why.
  if (!send_encrypted(connection)) return;
  if (state == TLS_BROKEN)
    connection_close(connection);
  else if (state == TLS_ENDED)
    take_end(connection);
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
  struct connection *connection = connection_of(stream);
  if (count == 0) return;
  if (count == UV_EOF)
    take_end(connection);
  else if (count < 0)
    connection_close(connection);
  else if (connection->phase != CONNECTION_OPEN)
    return; // lingering: read only to be dropped
  else if (connection->tls)
    take_encrypted(connection, (struct str){buf->base, (size_t)count});
  else
    take_bytes(connection, buf->base, (size_t)count);
}

static void on_shut_down(uv_shutdown_t *request, int status) {
  struct connection *connection = request->data;
  if (connection->phase == CONNECTION_CLOSED) return;
  if (status < 0 || connection->ended) connection_close(connection);
}

/** All is answered. A socket that is closed while bytes from the client are unread resets the connection, and
 * the client may lose the answer; so say "no more" and wait, for a while, until the client says it too. */
static void linger(struct connection *connection) {
  if (connection->tls) {
    tls_end(connection->tls);
    if (!send_encrypted(connection)) return;
  }
  set_phase(connection, CONNECTION_LINGER);
  connection->shutdown.data = connection;
  if (uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp, on_shut_down) < 0)
    connection_close(connection);
  else
    start_reading(connection);
}

/** Put the answers whose turn it is into `out`. @return whether the connection ends with the last of them. */
static bool take_answers(struct connection *connection, struct buf *out) {
  bool last = false;
  while (!last && connection->first && connection->first->stage == EXCHANGE_READY && out->len < ANSWERS_MAX) {
    struct exchange *exchange = dequeue(connection);
    bool alone = !connection->first && connection->reading == READING_NOTHING && connection->rest.len == 0;
    last = !exchange->persistent || (connection->ingest->draining && alone);
    exchange_write(exchange, last, out);
    exchange_free(exchange);
  }
  if (!last && connection->first && connection->first->continue_due) {
    buf_append(out, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    connection->first->continue_due = false;
  }
  return last;
}

static void resume(struct connection *connection) {
  connection->paused = false;
  if (connection->rest.len > 0) take_rest(connection);
  if (connection->phase != CONNECTION_OPEN || connection->paused) return;
  if (connection->ended)
    http_finish(connection);
  else
    start_reading(connection);
}

void connection_flush(struct connection *connection) {
  struct buf *out = &connection->ingest->out;
  while (connection->phase <= CONNECTION_LAST && !connection->writing) {
    buf_clear(out);
    bool last = take_answers(connection, out);
    if (out->len == 0) break;
    if (!send_answers(connection, buf_str(out))) return;
    if (connection->reading == READING_NOTHING) connection->since = uv_now(connection->ingest->loop);
    if (last) connection_end(connection);
  }
  if (connection->writing || connection->phase > CONNECTION_LAST) return;
  if (connection->tls && !send_encrypted(connection)) return;
  if (connection->ingest->draining && connection_is_idle(connection) && connection->rest.len == 0)
    connection_end(connection);
  if (connection->phase == CONNECTION_LAST && !connection->first)
    linger(connection);
  else if (connection->paused && connection->due <= DUE_MAX / 2)
    resume(connection);
}

static void answer_timeout(struct connection *connection) {
  http_abort(connection, 408,
             connection->reading == READING_HEAD ? "the request's head did not come in time"
                                                 : "the request's body did not come in time");
}

/** A client that takes nothing of its answers for as long as it may be idle is gone. */
static bool write_stalled(struct connection *connection, uint64_t now) {
  size_t unsent = uv_stream_get_write_queue_size((uv_stream_t *)&connection->tcp);
  if (unsent != connection->unsent) {
    connection->unsent = unsent;
    connection->unsent_since = now;
  }
  return now - connection->unsent_since >= (uint64_t)connection->ingest->shared->idle_ms;
}

void connection_check_time(struct connection *connection, uint64_t now) {
  const struct ingest_shared *shared = connection->ingest->shared;
  uint64_t age = now > connection->since ? now - connection->since : 0;
  if (connection->writing && write_stalled(connection, now)) {
    connection_close(connection);
    return;
  }
  switch (connection->phase) {
  case CONNECTION_OPEN:
    if (connection->paused)
      connection->since = now; // our doing
    else if (connection->reading == READING_NOTHING) {
      int64_t limit =
          connection->fresh && shared->header_ms < shared->idle_ms ? shared->header_ms : shared->idle_ms;
      if (connection_is_idle(connection) && age >= (uint64_t)limit) connection_end(connection);
    } else {
      int64_t limit = connection->reading == READING_HEAD ? shared->header_ms : shared->body_ms;
      if (age >= (uint64_t)limit) answer_timeout(connection);
    }
    break;
  case CONNECTION_LINGER:
    if (age >= LINGER_MS) connection_close(connection);
    break;
  case CONNECTION_LAST:
  case CONNECTION_CLOSED:
    break;
  }
}

static void on_closed(uv_handle_t *handle) {
  struct connection *connection = connection_of(handle);
  struct ingest *ingest = connection->ingest;
  tls_free(connection->tls);
  buf_deinit(&connection->rest);
  buf_deinit(&connection->sending);
  if (ingest->spare_connection_count < SPARE_CONNECTIONS && !ingest->closing) {
    connection->next = ingest->spare_connections;
    ingest->spare_connections = connection;
    ingest->spare_connection_count++;
  } else {
    memory_free(connection);
  }
}

void connection_close(struct connection *connection) {
  struct ingest *ingest = connection->ingest;
  if (connection->phase == CONNECTION_CLOSED) return;
  connection->phase = CONNECTION_CLOSED;
  for (struct connection **at = &ingest->dirty; connection->dirty && *at; at = &(*at)->next_dirty)
    if (*at == connection) {
      *at = connection->next_dirty;
      break;
    }
  if (connection->previous)
    connection->previous->next = connection->next;
  else
    ingest->connections = connection->next;
  if (connection->next) connection->next->previous = connection->previous;
  while (connection->first) {
    struct exchange *exchange = dequeue(connection);
    exchange->connection = NULL;
    if (exchange->stage != EXCHANGE_WAITING) exchange_free(exchange);
  }
  request_reset(&connection->request, ingest);
  account_give(&ingest->account, connection->booked);
  connection->booked = 0;
  if (connection->counted)
    atomic_fetch_sub_explicit(&ingest->shared->connections, 1, memory_order_relaxed);
  else
    ingest->refused--;
  uv_close((uv_handle_t *)&connection->tcp, on_closed);
}

static struct connection *connection_new(struct ingest *ingest) {
  struct connection *connection = ingest->spare_connections;
  if (connection) {
    ingest->spare_connections = connection->next;
    ingest->spare_connection_count--;
    memset(connection, 0, sizeof *connection);
  } else {
    connection = memory_zalloc(sizeof *connection);
  }
  connection->ingest = ingest;
  connection->last = &connection->first;
  connection->fresh = true;
  connection->since = uv_now(ingest->loop);
  http_init(connection);
  connection->next = ingest->connections;
  if (connection->next) connection->next->previous = connection;
  ingest->connections = connection;
  return connection;
}

void connection_accept(struct ingest *ingest) {
  struct ingest_shared *shared = ingest->shared;
  struct connection *connection = connection_new(ingest);
  uint32_t before = atomic_fetch_add_explicit(&shared->connections, 1, memory_order_relaxed);
  connection->counted = before < shared->max_connections;
  if (!connection->counted) {
    atomic_fetch_sub_explicit(&shared->connections, 1, memory_order_relaxed);
    ingest->refused++;
  }
  uv_tcp_init(ingest->loop, &connection->tcp);
  bool accepted = uv_accept((uv_stream_t *)&ingest->listener, (uv_stream_t *)&connection->tcp) == 0;
  if (accepted && !connection->counted)
    LOG_WARN("ingest", "a connection beyond http.max_connections was refused",
             LOG_INT("max_connections", shared->max_connections));
  if (!accepted || (!connection->counted && (shared->tls || ingest->refused > REFUSED_MAX))) {
    connection_close(connection);
    return;
  }
  uv_tcp_nodelay(&connection->tcp, 1);
  if (!connection->counted) {
    http_abort(connection, 503, "there are too many connections; try again");
    connection->first->retry_after = 1;
    return;
  }
  if (shared->tls) connection->tls = tls_new(shared->tls);
  start_reading(connection);
}
