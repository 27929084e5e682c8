// links: base config event ingest
#include "base/metric.h"
#include "ingest/connection.h"
#include "ingest/exchange.h"
#include "test_ingest_host.h"

#include <sys/resource.h>

static int set_up(void **state) {
  return set_up_with(state, "http: {max_body: 1MB, body_memory: 1MB, max_header: 2KB, max_connections: 40,\n"
                            "  header_timeout: 200ms, body_timeout: 300ms, idle_timeout: 400ms}\n");
}

static int set_up_patient(void **state) {
  return set_up_with(state, "http: {max_body: 1MB, max_header: 2KB, max_connections: 900}\n");
}

static int set_up_little_room(void **state) {
  return set_up_with(state, "http: {max_body: 1MB, body_memory: 1MB}\n");
}

static int set_up_few_items(void **state) {
  return set_up_with(state, "{http: {max_body: 1MB}, ingest: {max_items: 100}}\n");
}

static int64_t now_ms(void) {
  return clock_mono_us() / 1000;
}

static void post_one_event(struct fixture *fixture) {
  int client = client_connect(fixture->host);
  set_event(fixture, "e");
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 202, "\"accepted\":1");
  close(client);
}

#define HEAD "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
/** What would be taken for a request by a server that lost count. */
#define SMUGGLED                                                                                             \
  "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"

static void smuggled_requests_are_refused(void **state) {
  struct fixture *fixture = *state;
  static const struct {
    struct str bytes;
    int status;
  } cases[] = {
      {STR(HEAD "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length: 2\r\nContent-Length: 100\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length: 2, 2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length: +2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length: -2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length: 0x2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length: 2 2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length:\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length : 2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Content-Length: 99999999999999999999\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" SMUGGLED), 501},
      {STR(HEAD "Transfer-Encoding: identity\r\n\r\n0\r\n\r\n" SMUGGLED), 501},
      {STR(HEAD "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" SMUGGLED), 501},
      {STR(HEAD "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: \x0b"
                "chunked\r\n\r\n0\r\n\r\n" SMUGGLED),
       400},
      {STR(HEAD "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR("POST /v1/events HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "X-Folded: a\r\n b\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "X-Folded: a\r\n\tb\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "X-Folded:\r\n b\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD " Content-Length: 2\r\n\r\n{}" SMUGGLED), 400},
      {STR("POST /v1/events HTTP/1.1\r\n Host: a\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "X: a\rContent-Length: 2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "X: a\nContent-Length: 2\r\n\r\n{}" SMUGGLED), 400},
      {STR(HEAD "X: a\0b\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "\rX: b\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD ": nameless\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Two words: a\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n2\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n2\rX{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}XX0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n2 \r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\nG\r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR(HEAD "Transfer-Encoding: chunked\r\n\r\n2;a\nb\r\n{}\r\n0\r\n\r\n" SMUGGLED), 400},
      {STR("POST /v1/events HTTP/1.1\r\n\r\n" SMUGGLED), 400},
      {STR("POST /v1/events HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n" SMUGGLED), 400},
      {STR("POST /v1/events HTTP/2.0\r\nHost: a\r\n\r\n" SMUGGLED), 505},
      {STR("POST /v1/events HTTP/1.2\r\nHost: a\r\n\r\n" SMUGGLED), 400},
      {STR("POST /v1/events HTTP/0.9\r\nHost: a\r\n\r\n" SMUGGLED), 505},
      {STR("GET /healthz\r\n\r\n" SMUGGLED), 505},
      {STR("POST /v1/events HTTP/11.1\r\nHost: a\r\n\r\n" SMUGGLED), 400},
      {STR("POST /v1/events HTTP/1.1 \r\nHost: a\r\n\r\n" SMUGGLED), 400},
      {STR("POST /v1/eve nts HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED), 400},
      {STR("POST /v1/events\x01 HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED), 400},
      {STR("post /v1/events HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED), 400},
      {STR("NONSENSE /v1/events HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED), 400},
      {STR("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" SMUGGLED), 505},
      {STR("CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n" SMUGGLED), 404},
      {STR("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 400},
      {STR("\0\0\0\0\0\0\0\0"), 400},
  };
  for (int slowly = 0; slowly <= 1; slowly++)
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
      int client = client_connect(fixture->host);
      size_t piece = slowly ? 1 : cases[i].bytes.len;
      for (size_t at = 0; at < cases[i].bytes.len; at += piece)
        if (!client_send(client, (struct str){cases[i].bytes.data + at, piece})) break;
      int status = client_read(client, &fixture->answer);
      if (status != cases[i].status)
        fail_msg("case %zu (%s): got %d %s", i, slowly ? "slowly" : "at once", status,
                 answer_body(&fixture->answer));
      if (!strstr(fixture->answer.head, "\r\nConnection: close\r\n") ||
          !strstr(answer_body(&fixture->answer), "{\"error\":\""))
        fail_msg("case %zu (%s): %s%s", i, slowly ? "slowly" : "at once", fixture->answer.head,
                 answer_body(&fixture->answer));
      if (!client_at_end(client))
        fail_msg("case %zu (%s): more than one answer", i, slowly ? "slowly" : "at once");
      close(client);
    }
  assert_int_equal(atomic_load(&fixture->host->events), 0);
  post_one_event(fixture);
}

static void cut_requests_are_told_so(void **state) {
  struct fixture *fixture = *state;
  static const char whole[] = HEAD "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n";
  for (size_t len = 0; len < sizeof whole - 1; len++) {
    int client = client_connect(fixture->host);
    client_send(client, (struct str){whole, len});
    shutdown(client, SHUT_WR);
    if (len > 0) expect_answer(fixture, client, 400, "ends too soon");
    assert_true(client_at_end(client));
    close(client);
  }
  // The answer to a whole request before the cut one is not lost.
  int client = client_connect(fixture->host);
  set_event(fixture, "slow");
  post(fixture, client, "application/json", "");
  client_send(client, STR("POST /v1/eve"));
  shutdown(client, SHUT_WR);
  expect_answer(fixture, client, 202, NULL);
  expect_answer(fixture, client, 400, "ends too soon");
  assert_true(client_at_end(client));
  close(client);
}

static void oversized_heads(void **state) {
  struct fixture *fixture = *state;
  static const char *const shapes[] = {
      "GET /%s HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /healthz?%s HTTP/1.1\r\nHost: a\r\n\r\n",
      "GET /healthz HTTP/1.1\r\nHost: a\r\nX-Long: %s\r\n\r\n",
      "GET /healthz HTTP/1.1\r\nHost: a\r\nX-%s: 1\r\n\r\n",
      "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: %s\r\n\r\n",
      "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: "
      "chunked\r\n\r\n"
      "2\r\n{}\r\n0\r\nX-Trailer: %s\r\n\r\n",
  };
  static char filler[100001];
  memset(filler, 'x', sizeof filler - 1);
  for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
    for (int piece = 1; piece < 200000; piece *= 300) {
      int client = client_connect(fixture->host);
      filler[piece == 1 ? 2100 : 100000] = 0;
      buf_clear(&fixture->out);
      buf_printf(&fixture->out, shapes[i], filler);
      filler[piece == 1 ? 2100 : 100000] = 'x';
      for (size_t at = 0; at < fixture->out.len; at += (size_t)piece) {
        size_t len = fixture->out.len - at < (size_t)piece ? fixture->out.len - at : (size_t)piece;
        if (!client_send(client, (struct str){(char *)fixture->out.data + at, len})) break;
      }
      int status = client_read(client, &fixture->answer);
      if (status != 431) fail_msg("shape %zu, pieces of %d: got %d", i, piece, status);
      close(client);
    }
  // Many small headers are as large as one large.
  int client = client_connect(fixture->host);
  buf_clear(&fixture->out);
  buf_printf(&fixture->out, "GET /healthz HTTP/1.1\r\nHost: a\r\n");
  for (int i = 0; i < 1000; i++) buf_printf(&fixture->out, "A: \r\n");
  buf_printf(&fixture->out, "\r\n");
  client_send(client, buf_str(&fixture->out));
  expect_answer(fixture, client, 431, "http.max_header");
  assert_true(client_at_end(client));
  close(client);
}

static void oversized_bodies(void **state) {
  struct fixture *fixture = *state;
  // By its own words: refused without waiting for it.
  int client = client_connect(fixture->host);
  client_send(client, STR(HEAD "Content-Length: 1048577\r\n\r\n[1,2"));
  expect_answer(fixture, client, 413, "http.max_body (1048576 bytes)");
  assert_true(client_at_end(client));
  close(client);
  // Chunk by chunk: refused when it passes the limit; the answer arrives though the client is still sending.
  client = client_connect(fixture->host);
  client_send(client, STR(HEAD "Transfer-Encoding: chunked\r\n\r\n"));
  static char chunk[4 + 2 + 0x4000 + 2];
  memset(chunk, ' ', sizeof chunk);
  memcpy(chunk, "4000\r\n", 6);
  memcpy(chunk + sizeof chunk - 2, "\r\n", 2);
  for (int i = 0; i < 128; i++)
    if (!client_send(client, (struct str){chunk, sizeof chunk})) break;
  expect_answer(fixture, client, 413, "http.max_body");
  close(client);
  // A claim of much costs nothing.
  int claims[30];
  for (int i = 0; i < 30; i++) {
    claims[i] = client_connect(fixture->host);
    client_send(claims[i], STR(HEAD "Content-Length: 1048576\r\n\r\n["));
  }
  post_one_event(fixture);
  for (int i = 0; i < 30; i++) close(claims[i]);
}

/** Send `start`, then `drop` every 20 ms, until there is an answer. @return how long that took. */
static int64_t trickle(struct fixture *fixture, const char *start, const char *drop, int status) {
  int client = client_connect(fixture->host);
  int64_t began = now_ms();
  client_send(client, str_from(start));
  for (;;) {
    struct pollfd wait = {client, POLLIN, 0};
    if (poll(&wait, 1, 20) > 0 || now_ms() - began > 3000) break;
    client_send(client, str_from(drop));
  }
  int64_t took = now_ms() - began;
  if (status) expect_answer(fixture, client, status, "in time");
  assert_true(client_at_end(client));
  close(client);
  return took;
}

static void slow_clients_are_cut_off(void **state) {
  struct fixture *fixture = *state;
  assert_in_range(trickle(fixture, "GET /healthz HTTP/1.1\r\nX-Slow: ", "a", 408), 150, 2500);
  assert_in_range(trickle(fixture, HEAD "Content-Length: 1000\r\n\r\n", " ", 408), 250, 2500);
  assert_in_range(trickle(fixture, HEAD "Transfer-Encoding: chunked\r\n\r\n", "1\r\n \r\n", 408), 250, 2500);
  // Empty lines before a request are not one.
  assert_in_range(trickle(fixture, "\r\n", "\r\n", 0), 150, 2500);
  // Says nothing at all.
  assert_in_range(trickle(fixture, "", "", 0), 150, 2500);
  // Said something once.
  int64_t began = now_ms();
  int client = client_connect(fixture->host);
  client_send(client, STR("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
  expect_answer(fixture, client, 200, NULL);
  assert_true(client_at_end(client));
  assert_in_range(now_ms() - began, 350, 2500);
  close(client);
}

static void who_never_reads_is_dropped(void **state) {
  struct fixture *fixture = *state;
  for (int i = 0; i < 900000; i++) buf_printf(&fixture->out, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
  int client = client_connect(fixture->host);
  struct timeval limit = {.tv_usec = 50000};
  setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  // The server reads no more than it can answer, so at some point nothing more can be sent, …
  assert_false(client_send(client, buf_str(&fixture->out)));
  // … nobody else notices, …
  post_one_event(fixture);
  // … and when time is up it is gone.
  int64_t began = now_ms();
  while (now_ms() - began < 3000 && (send(client, "x", 1, MSG_NOSIGNAL) > 0 || errno == EAGAIN))
    ;
  assert_true(errno == EPIPE || errno == ECONNRESET);
  close(client);
}

/** Metrics are large: 64 requests for them, within one packet, do not make 64 texts that wait for who does
 * not read. */
static void scrapes_that_nobody_reads_are_not_made(void **state) {
  struct fixture *fixture = *state;
  enum { SCRAPES = 64 };
  for (int i = 0; i < 2000; i++) {
    char label[128];
    snprintf(label, sizeof label, "campaign=\"%0100d\"", i);
    metric_counter("kairos_test_large_total", "Makes a scrape large", label);
  }
  buf_clear(&fixture->out);
  for (int i = 0; i < SCRAPES; i++)
    buf_printf(&fixture->out, "%s /metrics HTTP/1.1\r\nHost: a\r\n\r\n", i % 8 == 7 ? "HEAD" : "GET");
  int client = client_connect(fixture->host);
  assert_true(client_send(client, buf_str(&fixture->out)));
  // Whoever comes later is served, by a host that has made no more than it could send.
  for (int i = 0; i < 3; i++) post_one_event(fixture);
  assert_in_range(atomic_load(&fixture->host->scrapes), 1, SCRAPES / 4);
  // All of them are answered, each whole.
  for (int i = 0; i < SCRAPES; i++) {
    if (i % 8 == 7) {
      assert_int_equal(client_read_head(client, &fixture->answer), 200);
      continue;
    }
    expect_answer(fixture, client, 200, "# TYPE kairos_test_large_total counter");
    assert_true(fixture->answer.body.len > 200000);
  }
  close(client);
}

static void too_many_connections(void **state) {
  struct fixture *fixture = *state;
  int clients[40];
  for (int i = 0; i < 40; i++) {
    clients[i] = client_connect(fixture->host);
    client_send(clients[i], STR("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
    expect_answer(fixture, clients[i], 200, NULL);
  }
  for (int i = 0; i < 100; i++) {
    int client = client_connect(fixture->host);
    client_send(client, STR("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
    expect_answer(fixture, client, 503, "too many connections");
    assert_non_null(strstr(fixture->answer.head, "Retry-After: 1\r\n"));
    assert_true(client_at_end(client));
    close(client);
  }
  close(clients[0]);
  usleep(20000);
  post_one_event(fixture);
  for (int i = 1; i < 40; i++) close(clients[i]);
}

static void all_bodies_together_are_bounded(void **state) {
  struct fixture *fixture = *state;
  enum { CLIENTS = 12, PART = 200 << 10 };
  static char part[PART];
  memset(part, ' ', sizeof part);
  int clients[CLIENTS], refused = 0;
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = client_connect(fixture->host);
    client_send(clients[i], STR(HEAD "Content-Length: 1000000\r\n\r\n"));
    client_send(clients[i], (struct str){part, sizeof part});
  }
  for (int i = 0; i < CLIENTS; i++) {
    int status = client_read(clients[i], &fixture->answer);
    if (status == 503) {
      refused++;
      assert_non_null(strstr(fixture->answer.head, "Retry-After: 1\r\n"));
    } else {
      assert_int_equal(status, 408); // had room, and was slow
    }
    close(clients[i]);
  }
  // 256 KB each once they have grown: at most four fit into 1 MB.
  assert_in_range(refused, CLIENTS - 4, CLIENTS);
  // All of it came back.
  buf_clear(&fixture->body);
  buf_reserve(&fixture->body, PART);
  memset(fixture->body.data, ' ', PART);
  fixture->body.len = PART;
  put_event(&fixture->body, "e", "ada");
  int client = client_connect(fixture->host);
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 202, NULL);
  close(client);
}

/** Trying again helps with what others leave no room for, not with what is too large by itself. */
static void what_never_fits_is_told_so(void **state) {
  struct fixture *fixture = *state;
  static const size_t sizes[] = {200 << 10, 600 << 10, 900 << 10};
  for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
    buf_clear(&fixture->body);
    memset(buf_reserve(&fixture->body, sizes[i]), ' ', sizes[i]);
    fixture->body.len = sizes[i];
    put_event(&fixture->body, "e", "ada");
    int client = client_connect(fixture->host);
    post(fixture, client, "application/json", "");
    expect_answer(fixture, client, i == 0 ? 202 : 413, i == 0 ? NULL : "http.body_memory");
    close(client);
    post_one_event(fixture);
  }
  // Many events take more than their text.
  buf_clear(&fixture->body);
  for (int i = 0; i < 3000; i++) {
    put_event(&fixture->body, "e", "ada");
    buf_printf(&fixture->body, "\n");
  }
  int client = client_connect(fixture->host);
  post(fixture, client, "application/x-ndjson", "");
  expect_answer(fixture, client, 413, "http.body_memory");
  close(client);
}

/** Anybody may ask for a host's health, so what is sent with it takes no room of events. */
static void bodies_that_nobody_wants_take_no_room(void **state) {
  struct fixture *fixture = *state;
  enum { CLIENTS = 12, PART = 200 << 10, SMALL = 60 << 10 };
  static const char *const paths[] = {"healthz", "readyz", "metrics"};
  static char part[PART];
  memset(part, ' ', sizeof part);
  char head[128];
  int clients[CLIENTS];
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = client_connect(fixture->host);
    snprintf(head, sizeof head, "GET /%s HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n", paths[i % 3],
             i < 3 ? 1000000 : SMALL);
    client_send(clients[i], str_from(head));
    // Of the small ones all but the last byte, so that they are under way.
    client_send(clients[i], (struct str){part, i < 3 ? PART : SMALL - 1});
  }
  for (int i = 0; i < 3; i++) {
    expect_answer(fixture, clients[i], 413, "no body is wanted here");
    close(clients[i]);
  }
  buf_clear(&fixture->body);
  buf_reserve(&fixture->body, PART);
  memset(fixture->body.data, ' ', PART);
  fixture->body.len = PART;
  put_event(&fixture->body, "e", "ada");
  int client = client_connect(fixture->host);
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 202, NULL);
  close(client);
  for (int i = 3; i < CLIENTS; i++) {
    client_send(clients[i], STR(" GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
    expect_answer(fixture, clients[i], 200, NULL);
    expect_answer(fixture, clients[i], 200, "\"ok\"");
    close(clients[i]);
  }
}

/** What a mail on the ingest's thread has seen of refused requests that wait for their turn. */
static struct {
  atomic_uint refused;
  atomic_size_t held;
  atomic_bool looked;
} waiting;

static void look_at_waiting(struct mail *mail, bool cancelled) {
  (void)cancelled;
  unsigned refused = 0;
  size_t held = 0;
  for (struct connection *at = ((struct order *)mail)->host->ingest->connections; at; at = at->next)
    for (const struct exchange *exchange = at->first; exchange; exchange = exchange->next)
      if (exchange->stage == EXCHANGE_READY && exchange->status == 413) {
        refused++;
        held += exchange->value.cap;
      }
  memory_free(mail);
  atomic_store(&waiting.refused, refused);
  atomic_store(&waiting.held, held);
  atomic_store(&waiting.looked, true);
}

static void a_refused_batch_holds_no_events(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  // The first request keeps the host busy for a while; the second, refused for its number of events, stands
  // behind it.
  buf_clear(&fixture->body);
  for (int i = 0; i < 100; i++) {
    put_event(&fixture->body, "slow", "ada");
    buf_printf(&fixture->body, "\n");
  }
  post(fixture, client, "application/x-ndjson", "");
  buf_clear(&fixture->body);
  for (int i = 0; i < 4000; i++) {
    buf_printf(&fixture->body, i ? "," : "[");
    put_event(&fixture->body, "e", "ada");
  }
  buf_printf(&fixture->body, "]");
  post(fixture, client, "application/json", "");
  do {
    atomic_store(&waiting.looked, false);
    host_order(fixture->host, look_at_waiting);
    while (!atomic_load(&waiting.looked)) usleep(1000);
  } while (!atomic_load(&waiting.refused) && recv(client, &(char){0}, 1, MSG_PEEK | MSG_DONTWAIT) < 0);
  assert_int_equal(atomic_load(&waiting.refused), 1);
  assert_int_equal(atomic_load(&waiting.held), 0);
  expect_answer(fixture, client, 202, "\"accepted\":100");
  expect_answer(fixture, client, 413, "ingest.max_items");
  close(client);
}

static void many_connections_at_once(void **state) {
  struct fixture *fixture = *state;
  enum { CLIENTS = 400 };
  int clients[CLIENTS];
  set_event(fixture, "e");
  buf_clear(&fixture->out);
  put_post(&fixture->out, "application/json", "", buf_str(&fixture->body));
  for (int i = 0; i < CLIENTS; i++) clients[i] = client_connect(fixture->host);
  for (int round = 0; round < 3; round++) {
    for (int i = 0; i < CLIENTS; i++) client_send(clients[i], buf_str(&fixture->out));
    for (int i = 0; i < CLIENTS; i++) expect_answer(fixture, clients[i], 202, NULL);
  }
  for (int i = 0; i < CLIENTS; i++) close(clients[i]);
}

/** Anything at all: the host answers or closes, and lives. */
static void garbage(void **state) {
  struct fixture *fixture = *state;
  static const char good[] =
      HEAD "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n" SMUGGLED;
  uint64_t random = 88172645463325252ULL;
  char bytes[sizeof good];
  for (int i = 0; i < 600; i++) {
    memcpy(bytes, good, sizeof good);
    for (int flips = 0; flips < 1 + i % 5; flips++) {
      random ^= random << 13, random ^= random >> 7, random ^= random << 17;
      bytes[random % (sizeof good - 1)] = i % 2 ? (char)(random >> 32) : "\r\n :;,0\t"[(random >> 32) % 8];
    }
    int client = client_connect(fixture->host);
    client_send(client, (struct str){bytes, sizeof good - 1});
    shutdown(client, SHUT_WR);
    while (client_read(client, &fixture->answer) > 0)
      ;
    if (fixture->answer.status < 0) fail_msg("round %d: no end", i);
    close(client);
  }
  post_one_event(fixture);
}

#define TEST(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(smuggled_requests_are_refused, set_up_patient),
      TEST(cut_requests_are_told_so, set_up_patient),
      TEST(oversized_heads, set_up_patient),
      TEST(oversized_bodies, set_up_patient),
      TEST(slow_clients_are_cut_off, set_up),
      TEST(who_never_reads_is_dropped, set_up),
      TEST(too_many_connections, set_up),
      TEST(all_bodies_together_are_bounded, set_up),
      TEST(what_never_fits_is_told_so, set_up_little_room),
      TEST(bodies_that_nobody_wants_take_no_room, set_up_little_room),
      TEST(a_refused_batch_holds_no_events, set_up_few_items),
      TEST(many_connections_at_once, set_up_patient),
      TEST(garbage, set_up_patient),
      TEST(scrapes_that_nobody_reads_are_not_made, set_up_patient), // last: its metrics stay
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
