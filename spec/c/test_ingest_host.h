/** A host of one worker for the tests of ingest: it judges events by their ids, on a thread of its own, and
 * answers by mail. And a client that speaks raw bytes. */
#pragma once

#include "base/buf.h"
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/memory.h"
#include "ingest/ingest.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct host;

/** A batch on its way to the judge and back. */
struct errand {
  struct mail mail;
  struct host *host;
  struct ingest_batch *batch;
};

struct host {
  struct ingest_shared *shared;
  struct ingest *ingest;
  uv_loop_t loop, judge_loop;
  struct mailbox *mailbox, *judge;
  pthread_t thread, judge_thread;
  _Atomic int phase;
  atomic_uint scrapes, events;
  int port;
};

static inline bool host_id_starts(const struct ingest_item *item, const char *prefix) {
  return item->event.id.len >= strlen(prefix) && memcmp(item->event.id.data, prefix, strlen(prefix)) == 0;
}

static inline void host_take_verdict(struct mail *mail, bool cancelled) {
  struct errand *errand = (struct errand *)mail;
  if (!cancelled) ingest_batch_done(errand->host->ingest, errand->batch);
  memory_free(errand);
}

/** Ids that begin with "dup", "busy" and "bad" get those verdicts; "slow" takes its time. */
static inline void host_judge(struct mail *mail, bool cancelled) {
  struct errand *errand = (struct errand *)mail;
  if (cancelled) {
    memory_free(errand);
    return;
  }
  for (uint32_t i = 0; i < errand->batch->count; i++) {
    struct ingest_item *item = &errand->batch->items[i];
    if (item->verdict != INGEST_PENDING) continue;
    if (host_id_starts(item, "slow")) usleep(20000);
    if (host_id_starts(item, "dup"))
      item->verdict = INGEST_DUPLICATE;
    else if (host_id_starts(item, "busy"))
      item->verdict = INGEST_RETRY;
    else if (host_id_starts(item, "bad")) {
      snprintf(item->fault->pointer, sizeof item->fault->pointer, "/payload");
      snprintf(item->fault->message, sizeof item->fault->message, "the host says no");
      item->verdict = INGEST_REJECTED;
    } else
      item->verdict = INGEST_ACCEPTED;
    atomic_fetch_add(&errand->host->events, 1);
    atomic_fetch_sub(&errand->batch->pending, 1);
  }
  errand->mail.run = host_take_verdict;
  mailbox_send(errand->host->mailbox, &errand->mail);
}

static inline void host_submit(void *context, struct ingest_batch *batch) {
  struct host *host = context;
  struct errand *errand = memory_alloc(sizeof *errand);
  *errand = (struct errand){{NULL, host_judge}, host, batch};
  mailbox_send(host->judge, &errand->mail);
}

static inline enum host_phase host_phase(void *context) {
  return (enum host_phase)atomic_load(&((struct host *)context)->phase);
}

/** Its providers report in the host's envelope; a body that begins with "broken" is none, with "budget" is
 * too much for it. */
static inline int host_feedback(void *context, const struct config_provider *account, struct str body,
                                struct buf *events, struct error *err) {
  (void)context, (void)account;
  if (body.len >= 6 && memcmp(body.data, "broken", 6) == 0)
    return error_set(err, ERROR_INVALID, "the body is no JSON");
  if (body.len >= 6 && memcmp(body.data, "budget", 6) == 0)
    return error_set(err, ERROR_BUDGET, "rules/secret.lua:1: too long");
  buf_append(events, body.data, body.len);
  return 0;
}

static inline void host_scrape(void *context) {
  atomic_fetch_add(&((struct host *)context)->scrapes, 1);
}

static inline void *host_run_loop(void *loop) {
  uv_run(loop, UV_RUN_DEFAULT);
  return NULL;
}

/** Something for the ingest's thread to do. */
struct order {
  struct mail mail;
  struct host *host;
};

static inline void host_order(struct host *host, void (*run)(struct mail *, bool)) {
  struct order *order = memory_alloc(sizeof *order);
  *order = (struct order){{NULL, run}, host};
  mailbox_send(host->mailbox, &order->mail);
}

static inline void host_do_drain(struct mail *mail, bool cancelled) {
  (void)cancelled;
  ingest_drain(((struct order *)mail)->host->ingest);
  memory_free(mail);
}

static inline void host_do_close(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct host *host = ((struct order *)mail)->host;
  memory_free(mail);
  ingest_close(host->ingest);
  mailbox_free(host->mailbox);
}

static inline void host_do_close_judge(struct mail *mail, bool cancelled) {
  struct host *host = ((struct order *)mail)->host;
  memory_free(mail);
  if (!cancelled) mailbox_free(host->judge);
}

/** Start with `config`, on any free port. */
static inline struct host *host_start(const struct config *config) {
  struct host *host = memory_zalloc(sizeof *host);
  struct error err = {0};
  static const char loopback[] = "127.0.0.1:0";
  if (ingest_shared_new(&host->shared, config, &err)) fprintf(stderr, "%s\n", err.message), abort();
  int descriptor = ingest_listen(loopback, &host->port, &err);
  if (descriptor < 0) fprintf(stderr, "%s\n", err.message), abort();
  static struct ingest_port port;
  port = (struct ingest_port){.context = host,
                              .submit = host_submit,
                              .phase = host_phase,
                              .feedback = host_feedback,
                              .scrape = host_scrape};
  atomic_store(&host->phase, HOST_RUNNING);
  uv_loop_init(&host->loop);
  uv_loop_init(&host->judge_loop);
  host->mailbox = mailbox_new(&host->loop, "test");
  host->judge = mailbox_new(&host->judge_loop, "judge");
  if (ingest_new(&host->ingest, &host->loop, descriptor, 0, host->shared, &port, &err)) abort();
  pthread_create(&host->thread, NULL, host_run_loop, &host->loop);
  pthread_create(&host->judge_thread, NULL, host_run_loop, &host->judge_loop);
  return host;
}

static inline void host_stop(struct host *host) {
  // What the judge has comes back before its end, and so before the ingest's.
  struct order *order = memory_alloc(sizeof *order);
  *order = (struct order){{NULL, host_do_close_judge}, host};
  mailbox_send(host->judge, &order->mail);
  pthread_join(host->judge_thread, NULL);
  host_order(host, host_do_close);
  pthread_join(host->thread, NULL);
  ingest_free(host->ingest);
  ingest_shared_free(host->shared);
  uv_loop_close(&host->loop);
  uv_loop_close(&host->judge_loop);
  memory_free(host);
}

/** A client's socket. Every wait ends after five seconds. */
static inline int client_connect(const struct host *host) {
  int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons((uint16_t)host->port)};
  name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int yes = 1;
  setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  struct timeval limit = {.tv_sec = 5};
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(client, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (connect(client, (struct sockaddr *)&name, sizeof name)) perror("connect"), abort();
  return client;
}

/** @return whether all went out; a server that has closed may have refused the rest. */
static inline bool client_send(int client, struct str bytes) {
  while (bytes.len > 0) {
    ssize_t sent = send(client, bytes.data, bytes.len, MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.data += sent;
    bytes.len -= (size_t)sent;
  }
  return true;
}

/** One answer, read byte by byte so that nothing of the next is taken. */
struct answer {
  int status; /**< 0: the connection ended, -1: it did not answer in time */
  char head[2048];
  struct buf body;
};

static inline int client_read_head(int client, struct answer *answer) {
  size_t len = 0;
  answer->status = 0;
  while (len + 1 < sizeof answer->head) {
    ssize_t got = recv(client, answer->head + len, 1, 0);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return answer->status = -1;
    if (got <= 0) return 0;
    answer->head[++len] = 0;
    if (len >= 4 && memcmp(answer->head + len - 4, "\r\n\r\n", 4) == 0) break;
  }
  if (sscanf(answer->head, "HTTP/1.1 %d", &answer->status) != 1) answer->status = -1;
  return answer->status;
}

/** @return the status. The body is terminated. */
static inline int client_read(int client, struct answer *answer) {
  buf_clear(&answer->body);
  if (client_read_head(client, answer) <= 0) return answer->status;
  const char *length = strcasestr(answer->head, "content-length:");
  size_t due = length ? strtoul(length + 15, NULL, 10) : 0;
  buf_reserve(&answer->body, due + 1);
  while (answer->body.len < due) {
    ssize_t got = recv(client, answer->body.data + answer->body.len, due - answer->body.len, 0);
    if (got <= 0) return answer->status = -1;
    answer->body.len += (size_t)got;
  }
  answer->body.data[answer->body.len] = 0;
  return answer->status;
}

static inline const char *answer_body(const struct answer *answer) {
  return answer->body.data ? (const char *)answer->body.data : "";
}

/** @return whether the server has closed, in time and without a reset. */
static inline bool client_at_end(int client) {
  char byte;
  return recv(client, &byte, 1, 0) == 0;
}

static inline void put_event(struct buf *out, const char *id, const char *user) {
  buf_printf(out,
             "{\"event_id\":\"%s\",\"event_type\":\"cart.updated\",\"user_id\":\"%s\",\"timestamp\":%lld,"
             "\"payload\":{\"cart_id\":\"c1\",\"total\":44.8}}",
             id, user, (long long)clock_wall_ms());
}

static inline void put_post(struct buf *out, const char *type, const char *headers, struct str body) {
  buf_printf(out,
             "POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%s\r\n",
             type, body.len, headers);
  buf_append(out, body.data, body.len);
}

/** What a test has: a running host, and room for its requests and answers. */
struct fixture {
  struct config *config;
  struct host *host;
  struct answer answer;
  struct buf out, body;
};

static inline int set_up_with(void **state, const char *yaml) {
  struct fixture *fixture = memory_zalloc(sizeof *fixture);
  struct config_report report;
  config_report_init(&report);
  setenv("KAIROS_TEST_KEY", "a-secret-key", 1);
  setenv("KAIROS_TEST_OTHER_KEY", "another-key", 1);
  if (config_parse(&fixture->config, str_from(yaml), "test", &report)) {
    config_report_deinit(&report);
    return -1;
  }
  config_report_deinit(&report);
  fixture->host = host_start(fixture->config);
  *state = fixture;
  return 0;
}

static inline int tear_down(void **state) {
  struct fixture *fixture = *state;
  host_stop(fixture->host);
  config_free(fixture->config);
  buf_deinit(&fixture->answer.body);
  buf_deinit(&fixture->out);
  buf_deinit(&fixture->body);
  memory_free(fixture);
  return 0;
}

static inline void expect_answer(struct fixture *fixture, int client, int status, const char *part) {
  int got = client_read(client, &fixture->answer);
  if (got != status ||
      (part && !strstr(answer_body(&fixture->answer), part) && !strstr(fixture->answer.head, part)))
    fail_msg("got %d %s%s, expected %d with %s", got, got > 0 ? fixture->answer.head : "",
             got > 0 ? answer_body(&fixture->answer) : "", status, part ? part : "anything");
}

/** Post what is in `body`. */
static inline void post(struct fixture *fixture, int client, const char *type, const char *headers) {
  buf_clear(&fixture->out);
  put_post(&fixture->out, type, headers, buf_str(&fixture->body));
  assert_true(client_send(client, buf_str(&fixture->out)));
}

static inline void set_event(struct fixture *fixture, const char *id) {
  buf_clear(&fixture->body);
  put_event(&fixture->body, id, "ada");
}
