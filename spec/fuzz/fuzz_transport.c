// covers: src/deliver/transport_http.c src/deliver/http_sockets.c
/* Requests to a provider and its answers, over a socket: whatever headers are asked for, none makes a line of
 * its own; whatever comes back, the attempt ends, and its answer can be read. Input: options, a seed for the
 * pieces in which the answer comes, then parts between 0x1e: header names and values (a line each), body,
 * path, answer. */
#include "base/memory.h"
#include "deliver/standard_webhooks.h"
#include "deliver/transport_http.h"
#include "values.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
  OPTION_SIGNED = 1,
  OPTION_RESEND = 2, /**< the provider honours keys */
  OPTION_RESET = 4,  /**< the connection breaks instead of ending */
  OPTION_EARLY = 8,  /**< the answer does not wait for the request */
  OPTION_SECOND = 16 /**< it is the second answer that this handle gets */
};
enum { TURNS_MAX = 3000, HEADERS_MAX = 20 };

static uv_loop_t loop;
static struct http *http;
static struct config_provider provider = {.name = "fuzz", .timeout = 5000, .concurrency = 1};
static struct http_account account;
static int listener, port;
static struct buf received;

void fuzz_set_up(void) {
  struct error err;
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t len = sizeof name;
  listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (bind(listener, (struct sockaddr *)&name, len) || listen(listener, 64) ||
      getsockname(listener, (struct sockaddr *)&name, &len))
    abort();
  port = ntohs(name.sin_port);
  uv_loop_init(&loop);
  curl_global_init(CURL_GLOBAL_DEFAULT);
  account.config = &provider;
  if (webhook_signer_new(&account.signer, "secret", &err)) abort();
}

/** Pieces of the answer. */
static uint64_t piece_seed;

static size_t next_piece(size_t left) {
  piece_seed = piece_seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
  unsigned shape = piece_seed >> 61, size = (unsigned)(piece_seed >> 40) & 0xffff;
  size_t len = shape < 1 ? 1 : shape < 4 ? size % 50 + 1 : left;
  return len < left ? len : left;
}

static void receive(int client) {
  for (;;) {
    ssize_t got = recv(client, buf_reserve(&received, 4096), 4096, MSG_DONTWAIT);
    if (got <= 0) break;
    received.len += (size_t)got;
  }
}

/** Whether all of the request is there. */
static bool is_complete(struct str body) {
  const char *end = received.len ? memmem(received.data, received.len, "\r\n\r\n", 4) : NULL;
  return end && received.len - (size_t)(end + 4 - (const char *)received.data) >= body.len;
}

/** A connection that is done with goes without a trace: ports are few. */
static void drop(int client) {
  struct linger now = {.l_onoff = 1, .l_linger = 0};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &now, sizeof now);
  close(client);
}

/** Serve one request with `answer`. @return the transfer, ended. */
static struct http_transfer *serve(struct str body, struct str answer, unsigned options) {
  int client = -1;
  struct http_transfer *ended = NULL;
  bool sent = false;
  for (unsigned turn = 0; !ended; turn++) {
    HOLDS(turn < TURNS_MAX, "no end, with %zu bytes of the answer left", answer.len);
    uv_run(&loop, turn < 50 ? UV_RUN_NOWAIT : UV_RUN_ONCE);
    ended = http_collect(http);
    int next = ended ? -1 : accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (next >= 0) {
      if (client >= 0) drop(client);
      client = next;
    }
    if (client < 0) continue;
    receive(client);
    if (sent || (!(options & OPTION_EARLY) && !is_complete(body))) continue;
    if (answer.len) {
      size_t len = next_piece(answer.len);
      ssize_t part = send(client, answer.data, len, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (part > 0) {
        answer.data += part;
        answer.len -= (size_t)part;
      } else if (part < 0 && errno != EAGAIN) {
        answer.len = 0;
      }
    } else if (options & OPTION_RESET) {
      drop(client);
      client = -1;
      sent = true;
    } else {
      shutdown(client, SHUT_WR);
      sent = true;
    }
  }
  if (client >= 0) {
    receive(client);
    drop(client);
  }
  return ended;
}

/** The head that arrived is the request line, what libcurl adds and what was asked for, a line each. */
static void check_request(const struct str *names, const struct str *values, unsigned count,
                          struct str body) {
  const char *end = memmem(received.data, received.len, "\r\n\r\n", 4);
  if (!end) return; // nothing left, or not all
  struct str head = {(const char *)received.data, (size_t)(end + 2 - (const char *)received.data)};
  unsigned lines = 0;
  for (size_t i = 0; i < head.len; i++) {
    HOLDS((head.data[i] == '\n') == (i > 0 && head.data[i - 1] == '\r'), "%.*s", STR_ARG(head));
    HOLDS(head.data[i]);
    lines += head.data[i] == '\n';
  }
  // Host, User-Agent, Accept, Content-Type, Content-Length and the three of the signature are others'.
  HOLDS(lines >= count + 1 && lines <= count + 9, "%u lines for %u headers: %.*s", lines, count,
        STR_ARG(head));
  for (unsigned i = 0; i < count; i++) {
    struct buf line;
    buf_init(&line);
    buf_append(&line, "\r\n", 2);
    buf_append(&line, names[i].data, names[i].len);
    buf_append(&line, ":", 1);
    if (values[i].len) {
      buf_append(&line, " ", 1);
      buf_append(&line, values[i].data, values[i].len);
      buf_append(&line, "\r\n", 2);
    }
    HOLDS(memmem(head.data, head.len, line.data, line.len), "%.*s", STR_ARG(head));
    buf_deinit(&line);
  }
  size_t left = received.len - head.len - 2;
  HOLDS(left >= body.len && memcmp(end + 4, body.data, body.len) == 0);
}

static void check_answer(const struct http_transfer *transfer) {
  if (transfer->end != HTTP_ANSWERED) {
    HOLDS(transfer->detail[0] && memchr(transfer->detail, 0, sizeof transfer->detail));
    return;
  }
  const struct http_response *response = &transfer->response;
  HOLDS(response->status >= 0 && response->status <= 999, "status %ld", response->status);
  HOLDS(response->body.len <= 64 << 10);
  HOLDS(value_valid(response->headers) && value_head(response->headers).type == VALUE_MAP);
  struct reader reader = reader_of(response->headers);
  uint32_t pairs = value_read(&reader).count;
  while (pairs--) {
    struct value name = value_read(&reader), value = value_read(&reader);
    HOLDS(name.type == VALUE_STRING && value.type == VALUE_STRING);
    for (size_t i = 0; i < name.string.len; i++)
      HOLDS(!(name.string.data[i] >= 'A' && name.string.data[i] <= 'Z') && name.string.data[i] != '\n');
    HOLDS(!value.string.len || !memchr(value.string.data, '\n', value.string.len));
  }
}

/** Names and values, a line each. @return how many headers; they borrow. */
static unsigned read_headers(struct str text, struct str *names, struct str *values) {
  unsigned count = 0;
  while (text.len && count < HEADERS_MAX) {
    struct str half[2] = {STR(""), STR("")};
    for (int i = 0; i < 2; i++) {
      const char *end = text.len ? memchr(text.data, '\n', text.len) : NULL;
      half[i] = (struct str){text.data, end ? (size_t)(end - text.data) : text.len};
      text.data += half[i].len + (end != NULL);
      text.len -= half[i].len + (end != NULL);
    }
    // Only such as mean nothing to libcurl.
    if (half[0].len < 3 || memcmp(half[0].data, "X-", 2) != 0) continue;
    // It leaves out those with nothing but blanks in them.
    size_t blank = 0;
    while (blank < half[1].len && (half[1].data[blank] == ' ' || half[1].data[blank] == '\t')) blank++;
    if (blank == half[1].len) half[1] = STR("");
    names[count] = half[0];
    values[count++] = half[1];
  }
  return count;
}

/** An answer as it should be, on the handle that the next request will have. */
static void make_second(void) {
  struct error err;
  struct http_transfer *transfer = http_acquire(http, &account);
  buf_clear(&received);
  buf_printf(&transfer->request.url, "http://127.0.0.1:%d/", port);
  if (http_send(http, transfer, STR("1"), FUZZ_NOW, &err)) HOLDS(false, "%s", err.message);
  http_kick(http);
  serve(STR(""), STR("HTTP/1.1 200 OK\r\nX-First: 1\r\nContent-Length: 0\r\n\r\n"), 0);
  HOLDS(transfer->end == HTTP_ANSWERED && transfer->response.status == 200, "%s", transfer->detail);
  http_release(http, transfer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  unsigned options = input_u8(&input);
  piece_seed = input_number(&input, 4);
  struct str names[HEADERS_MAX], values[HEADERS_MAX];
  unsigned count = read_headers(input_part(&input), names, values);
  struct str body = input_part(&input), path = input_part(&input), answer = input_rest(&input);
  struct error err = {0};
  account.may_resend = options & OPTION_RESEND;
  // Made anew each time, so that no input depends on the connections of the one before.
  if (http_new(&http, &loop, 4, &err)) abort();
  if (options & OPTION_SECOND) make_second();
  buf_clear(&received);
  struct http_transfer *transfer = http_acquire(http, &account);
  buf_printf(&transfer->request.url, "http://127.0.0.1:%d/", port);
  for (size_t i = 0; i < path.len; i++)
    if (path.data[i] > ' ' && path.data[i] < 0x7f) buf_put_u8(&transfer->request.url, (uint8_t)path.data[i]);
  buf_append(&transfer->request.body, body.data, body.len);
  value_put_map(&transfer->request.headers, count);
  for (unsigned i = 0; i < count; i++) {
    value_put_string(&transfer->request.headers, names[i]);
    value_put_string(&transfer->request.headers, values[i]);
  }
  transfer->request.json_signed = options & OPTION_SIGNED;
  int code = http_send(http, transfer, STR("00112233445566778899aabbccddeeff"), FUZZ_NOW, &err);
  HOLDS(code == 0 || (code == ERROR_INVALID && err.message[0]));
  if (code == 0) {
    http_kick(http);
    HOLDS(serve(body, answer, options) == transfer);
    check_request(names, values, count, body);
    check_answer(transfer);
  }
  http_release(http, transfer);
  http_close(http);
  uv_run(&loop, UV_RUN_DEFAULT);
  http_free(http);
  for (int client; (client = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0;) drop(client);
  return 0;
}

static void seed(unsigned options, const char *rest) {
  struct buf out;
  buf_init(&out);
  buf_put_u8(&out, (uint8_t)options);
  buf_put_u32(&out, options * 77);
  buf_append(&out, rest, strlen(rest));
  fuzz_seed(buf_str(&out));
  buf_deinit(&out);
}

void fuzz_seeds(void) {
  static const char *const texts[] = {
      "X-A\nb\n\x1e{}\x1ein\x1eHTTP/1.1 202 Accepted\r\nX-Message-Id: abc\r\nContent-Length: 2\r\n\r\nok",
      "X-A\n\nX-B\n c \n\x1e{\"a\":1}\x1e\x1eHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 503 No\r\nRetry-After: "
      "5\r\n\r\n",
      "\x1e\x1e\x1eHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: "
      "X\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
      "\x1e\x1e\x1eHTTP/1.0 301 Moved\r\nLocation: http://127.0.0.1:1/\r\nSet-Cookie: a=b\r\n\r\n",
      "\x1e\x1e\x1e",
      "\x1e\x1e\x1eHTTP/1.1 204\r\n\r\n",
      "\x1e\x1e\x1eHTTP/1.1 999 \r\nA:b\r\n c\r\n:\r\n\r\n",
      "\x1e\x1e\x1eHTTP/2 200\r\n\r\n",
      "X-A\rB: c\nd\n\x1e\x1e\x1eHTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
      "\x1e\x1e\x1eHTTP/1.1 401 No\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: "
      "keep-alive\r\n\r\n",
  };
  for (unsigned i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    seed(i % 16, texts[i]);
    seed(OPTION_SECOND, texts[i]);
  }
}
