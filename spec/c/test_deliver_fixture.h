/** What the tests of deliver share: a host with a real log and store, and HTTP servers that misbehave as
 * told. */
#pragma once

#include "deliver/deliver.h"
#include "deliver/links.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "state/log.h"
#include <arpa/inet.h>
#include <cmocka.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- a server ---- */

/** What it does with a request. */
enum behaviour {
  ANSWER_200,
  ANSWER_202_WITH_ID,
  ANSWER_500,
  ANSWER_504,
  ANSWER_400,
  ANSWER_429,          /**< with Retry-After: 1 */
  ANSWER_SLOWLY,       /**< 200 after 300 ms */
  ANSWER_HUGE,         /**< 200 with a body of 3 MB */
  ANSWER_MANY_HEADERS, /**< 200 behind 60 KB of headers */
  ANSWER_INTERIM,      /**< 103, then 200 */
  ANSWER_GARBAGE,      /**< something that is not HTTP */
  ANSWER_REDIRECT,
  ANSWER_THEN_CLOSE, /**< 200, and says nothing of closing */
  HANG,              /**< never answers */
  CLOSE,             /**< reads the request and closes */
  CUT                /**< closes within the answer */
};

struct request {
  char *text; /**< head and body */
  size_t len;
  int64_t at; /**< monotonic us */
};

enum { REQUESTS_KEPT = 4096 };

struct server {
  int descriptor, port;
  pthread_t thread;
  pthread_mutex_t lock;
  enum behaviour plan[64]; /**< of the first requests, by arrival */
  unsigned planned;
  enum behaviour then; /**< of all after them */
  struct request requests[REQUESTS_KEPT];
  atomic_uint received, connections, now, most; /**< now, most: requests being answered at once */
  atomic_uint closed;
  int64_t delay_us; /**< before each answer */
  struct list peers;
  bool stopping;
};

struct peer {
  struct list_item item;
  struct server *server;
  pthread_t thread;
  int descriptor;
  char data[1 << 20];
};

static inline bool peer_write(int descriptor, const char *data, size_t len) {
  while (len) {
    ssize_t written = send(descriptor, data, len, MSG_NOSIGNAL);
    if (written <= 0) return false;
    data += written;
    len -= (size_t)written;
  }
  return true;
}

static inline bool peer_say(int descriptor, const char *text) {
  return peer_write(descriptor, text, strlen(text));
}

/** @return whether the connection goes on. */
static inline bool peer_answer(struct peer *peer, enum behaviour behaviour) {
  int to = peer->descriptor;
  static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Id: p-1\r\n\r\nok";
  char *block;
  switch (behaviour) {
  case ANSWER_200:
    return peer_say(to, ok);
  case ANSWER_202_WITH_ID:
    return peer_say(to, "HTTP/1.1 202 Accepted\r\nx-message-ID:  abc-1 \r\nContent-Length: 0\r\n\r\n");
  case ANSWER_500:
    return peer_say(to, "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n");
  case ANSWER_504:
    return peer_say(to, "HTTP/1.1 504 Later\r\nContent-Length: 0\r\n\r\n");
  case ANSWER_400:
    return peer_say(to, "HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n");
  case ANSWER_429:
    return peer_say(to, "HTTP/1.1 429 Slow down\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n");
  case ANSWER_SLOWLY:
    usleep(300000);
    return peer_say(to, ok);
  case ANSWER_HUGE:
    block = memory_zalloc(3 << 20);
    peer_say(to, "HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n");
    peer_write(to, block, 3 << 20);
    memory_free(block);
    return true;
  case ANSWER_MANY_HEADERS:
    peer_say(to, "HTTP/1.1 200 OK\r\n");
    for (int i = 0; i < 600; i++)
      peer_say(to, "X-Filler: "
                   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
                   "aaaaa\r\n");
    return peer_say(to, "Content-Length: 0\r\n\r\n");
  case ANSWER_INTERIM:
    peer_say(to, "HTTP/1.1 103 Early Hints\r\nX-Id: wrong\r\n\r\n");
    return peer_say(to, ok);
  case ANSWER_GARBAGE:
    peer_say(to, "\x16\x03\x01 this is no HTTP\r\n\r\n");
    return false;
  case ANSWER_REDIRECT:
    return peer_say(to, "HTTP/1.1 302 Elsewhere\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
  case ANSWER_THEN_CLOSE:
    peer_say(to, ok);
    return false;
  case HANG:
    while (recv(to, &(char){0}, 1, 0) > 0) continue;
    return false;
  case CUT:
    peer_say(to, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
    return false;
  case CLOSE:
    return false;
  }
  return false;
}

/** One request, whole. @return its bytes, 0 when the connection ended. */
static inline size_t peer_read(struct peer *peer) {
  char *data = peer->data;
  size_t len = 0, size = sizeof peer->data;
  for (;;) {
    char *end = len ? memmem(data, len, "\r\n\r\n", 4) : NULL;
    if (end) {
      data[len] = 0;
      char *length = strcasestr(data, "\r\ncontent-length:");
      size_t body = length && length < end ? (size_t)atoi(length + 17) : 0,
             whole = (size_t)(end + 4 - data) + body;
      if (len >= whole) return whole;
    }
    if (len + 1 >= size) return 0;
    ssize_t got = recv(peer->descriptor, data + len, size - len - 1, 0);
    if (got <= 0) return 0;
    len += (size_t)got;
  }
}

static inline void *peer_run(void *argument) {
  struct peer *peer = argument;
  struct server *server = peer->server;
  size_t len;
  bool open = true;
  while (open && (len = peer_read(peer)) > 0) {
    unsigned now = atomic_fetch_add(&server->now, 1) + 1, most = atomic_load(&server->most);
    while (now > most && !atomic_compare_exchange_weak(&server->most, &most, now)) continue;
    pthread_mutex_lock(&server->lock);
    unsigned index = atomic_load(&server->received);
    enum behaviour behaviour = index < server->planned ? server->plan[index] : server->then;
    if (index < REQUESTS_KEPT)
      server->requests[index] = (struct request){memory_dup(peer->data, len), len, clock_mono_us()};
    atomic_store(&server->received, index + 1);
    int64_t delay = server->delay_us;
    pthread_mutex_unlock(&server->lock);
    if (delay) usleep((useconds_t)delay);
    atomic_fetch_sub(&server->now, behaviour != HANG && behaviour != ANSWER_SLOWLY);
    open = peer_answer(peer, behaviour);
    if (behaviour == ANSWER_SLOWLY) atomic_fetch_sub(&server->now, 1);
  }
  shutdown(peer->descriptor, SHUT_RDWR);
  atomic_fetch_add(&server->closed, 1);
  return NULL;
}

static inline void *server_run(void *argument) {
  struct server *server = argument;
  int descriptor;
  while ((descriptor = accept(server->descriptor, NULL, NULL)) >= 0) {
    struct peer *peer = memory_zalloc(sizeof *peer);
    peer->server = server;
    peer->descriptor = descriptor;
    atomic_fetch_add(&server->connections, 1);
    pthread_create(&peer->thread, NULL, peer_run, peer);
    list_append(&server->peers, &peer->item);
  }
  return NULL;
}

/** @param port  0: any. */
static inline struct server *server_start(int port) {
  struct server *server = memory_zalloc(sizeof *server);
  pthread_mutex_init(&server->lock, NULL);
  server->descriptor = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(server->descriptor, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
  struct sockaddr_in address = {
      .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
  socklen_t len = sizeof address;
  assert_int_equal(bind(server->descriptor, (struct sockaddr *)&address, sizeof address), 0);
  assert_int_equal(listen(server->descriptor, 512), 0);
  getsockname(server->descriptor, (struct sockaddr *)&address, &len);
  server->port = ntohs(address.sin_port);
  pthread_create(&server->thread, NULL, server_run, server);
  return server;
}

static inline void server_plan(struct server *server, enum behaviour behaviour) {
  server->plan[server->planned++] = behaviour;
}

static inline void server_stop(struct server *server) {
  shutdown(server->descriptor, SHUT_RDWR);
  close(server->descriptor);
  pthread_join(server->thread, NULL);
  for (struct list_item *item = server->peers.first, *next; item; item = next) {
    struct peer *peer = CONTAINER_OF(item, struct peer, item);
    next = item->next;
    shutdown(peer->descriptor, SHUT_RDWR);
    pthread_join(peer->thread, NULL);
    close(peer->descriptor);
    memory_free(peer);
  }
  for (unsigned i = 0; i < REQUESTS_KEPT; i++) memory_free(server->requests[i].text);
  pthread_mutex_destroy(&server->lock);
  memory_free(server);
}

/* ---- a host ---- */

struct seen_outcome {
  struct hash128 id;
  enum outcome_kind kind;
  uint32_t attempt, unsent;
  int64_t at, retry_at;
  char detail[256], provider_id[64];
  bool with_message; /**< its message decodes, and is the one */
};

struct fixture {
  char directory[64];
  struct config *config;
  struct store *store;
  struct log *log;
  struct deliver *deliver;
  _Atomic uint64_t seq;
  pthread_mutex_t lock;
  struct seen_outcome outcomes[8192];
  atomic_uint count;
  bool unsettled;               /**< outcomes are noted, and not settled */
  struct deliver_settled *held; /**< outcomes of a turn of deliver's, the newest first; its thread */
  struct hash128 template;
};

/** Mappings as simple as they can be; accounts whose names begin with "keys" honour keys. */
static inline int fixture_request(void *context, const struct config_provider *account, const char *secret,
                                  const struct message *message, const struct rendered *rendered,
                                  struct http_request *out, struct error *err) {
  (void)context;
  if (str_equal(message->template_name, STR("broken")))
    return error_set(err, ERROR_SCRIPT, "webhook.lua:3: attempt to index nil");
  char id[33];
  hash128_hex(message->id, id);
  buf_append(&out->url, account->url, strlen(account->url));
  strcpy(out->method, "POST");
  out->json_signed = secret != NULL;
  buf_append(&out->body, rendered->body.data, rendered->body.len);
  value_put_map(&out->headers, 2);
  value_put_string(&out->headers, STR("Idempotency-Key"));
  value_put_string(&out->headers, str_from(id));
  value_put_string(&out->headers, STR("X-To"));
  value_put_string(&out->headers, message->to);
  return 0;
}

static inline int fixture_verdict(void *context, const struct config_provider *account,
                                  const struct http_response *response, struct provider_verdict *out,
                                  struct error *err) {
  (void)context, (void)account, (void)err;
  out->kind = response->status / 100 == 2                              ? PROVIDER_ACCEPTED
              : response->status == 504                                ? PROVIDER_AMBIGUOUS
              : response->status == 429 || response->status / 100 == 5 ? PROVIDER_RETRY
                                                                       : PROVIDER_REJECTED;
  out->retry_after_ms = 0;
  snprintf(out->detail, sizeof out->detail, "%ld body %zu", response->status, response->body.len);
  struct str id = {"", 0};
  if (value_member(response->headers, STR("x-message-id"), &id) ||
      value_member(response->headers, STR("x-id"), &id))
    id = value_head(id).string;
  snprintf(out->provider_id, sizeof out->provider_id, "%.*s", STR_ARG(id));
  return 0;
}

static inline bool fixture_honours(void *context, const struct config_provider *account) {
  (void)context;
  return strncmp(account->name, "keys", 4) == 0;
}

static inline int fixture_scripts(void *context, struct provider_scripts *out, struct error *err) {
  (void)err;
  *out = (struct provider_scripts){.context = context,
                                   .request = fixture_request,
                                   .verdict = fixture_verdict,
                                   .honours_keys = fixture_honours};
  return 0;
}

static inline void fixture_settled(struct deliver_settled *settled) {
  memory_free(settled);
}

static inline void fixture_settle(struct fixture *fixture, struct hash128 id, enum outcome_kind kind) {
  struct deliver_settled *settled = memory_alloc(sizeof *settled);
  *settled = (struct deliver_settled){.message_id = id, .kind = kind, .done = fixture_settled};
  deliver_settled(fixture->deliver, settled);
}

static inline void fixture_outcome(void *context, const struct message *message,
                                   const struct outcome *outcome) {
  struct fixture *fixture = context;
  (void)message;
  pthread_mutex_lock(&fixture->lock);
  unsigned count = atomic_load(&fixture->count);
  struct seen_outcome *seen = &fixture->outcomes[count % 8192];
  *seen = (struct seen_outcome){.id = outcome->message_id,
                                .kind = outcome->kind,
                                .attempt = outcome->attempt,
                                .unsent = outcome->unsent,
                                .at = outcome->at,
                                .retry_at = outcome->retry_at};
  snprintf(seen->detail, sizeof seen->detail, "%.*s", STR_ARG(outcome->detail));
  snprintf(seen->provider_id, sizeof seen->provider_id, "%.*s", STR_ARG(outcome->provider_id));
  struct message decoded;
  struct reader reader = reader_of(outcome->message);
  seen->with_message = outcome->message.len && message_decode(&decoded, &reader, NULL) == 0 &&
                       hash128_equal(decoded.id, outcome->message_id);
  atomic_store(&fixture->count, count + 1);
  pthread_mutex_unlock(&fixture->lock);
  if (fixture->unsettled) return;
  struct deliver_settled *settled = memory_alloc(sizeof *settled);
  *settled = (struct deliver_settled){.message_id = outcome->message_id,
                                      .kind = outcome->kind,
                                      .done = fixture_settled,
                                      .next = fixture->held};
  fixture->held = settled;
}

/** Not before are they durable, as the host has it. */
static inline void fixture_outcomes_end(void *context) {
  struct fixture *fixture = context;
  struct deliver_settled *in_order = NULL;
  while (fixture->held) {
    struct deliver_settled *settled = fixture->held;
    fixture->held = settled->next;
    settled->next = in_order;
    in_order = settled;
  }
  while (in_order) {
    struct deliver_settled *settled = in_order;
    in_order = settled->next;
    deliver_settled(fixture->deliver, settled);
  }
}

static inline uint64_t fixture_seq(void *context) {
  struct fixture *fixture = context;
  return atomic_fetch_add(&fixture->seq, 1) + 1;
}

static inline void fixture_open_log(struct fixture *fixture, struct log_position end) {
  char directory[96];
  struct error err;
  snprintf(directory, sizeof directory, "%s/log", fixture->directory);
  struct log_options options = {.directory = directory, .segment_size = 64 << 20, .segment_age = 600000};
  if (log_open(&fixture->log, &options, end, &err)) fail_msg("%s", err.message);
}

static inline struct deliver_port fixture_port(struct fixture *fixture) {
  return (struct deliver_port){.context = fixture,
                               .outcome = fixture_outcome,
                               .outcomes_end = fixture_outcomes_end,
                               .next_seq = fixture_seq,
                               .scripts = fixture_scripts};
}

/** Arm them, or with "" none. While none of a fixture's threads runs, for they read what is written here. */
static inline void fixture_failpoints(const char *specification) {
  setenv("KAIROS_FAILPOINTS", specification, 1);
  assert_int_equal(failpoint_init(), 0);
}

static inline void fixture_start(struct fixture *fixture) {
  struct error err;
  struct deliver_port port = fixture_port(fixture);
  if (deliver_new(&fixture->deliver, fixture->config, fixture->store, &port, &err))
    fail_msg("%s", err.message);
  if (deliver_start(fixture->deliver, fixture->log, &err)) fail_msg("%s", err.message);
}

static inline bool no_partial(void *context, struct str name, struct str *text, struct str *file) {
  (void)context, (void)name, (void)text, (void)file;
  return false;
}

static inline struct hash128 fixture_template(struct fixture *fixture, const char *file, const char *text) {
  struct buf bundle = {0};
  struct error err;
  if (template_bundle(str_from(file), str_from(text), no_partial, NULL, &bundle, &err))
    fail_msg("%s", err.message);
  struct hash128 hash = template_hash(buf_str(&bundle));
  char key[64] = "template:";
  hash128_hex(hash, key + 9);
  if (store_meta_put(fixture->store, str_from(key), buf_str(&bundle), &err)) fail_msg("%s", err.message);
  buf_deinit(&bundle);
  return hash;
}

static inline void fixture_open_store(struct fixture *fixture) {
  char directory[96];
  struct error err;
  snprintf(directory, sizeof directory, "%s/db", fixture->directory);
  struct store_options options = {.directory = directory,
                                  .log_keep = 86400000,
                                  .ledger_keep = 86400000,
                                  .dedup_keep = 86400000,
                                  .cache_bytes = 8 << 20};
  if (store_rocks_open(&fixture->store, &options, &err)) fail_msg("%s", err.message);
}

/** @param providers  YAML of the list, indented by two. */
static inline struct fixture *fixture_new(const char *providers) {
  struct fixture *fixture = memory_zalloc(sizeof *fixture);
  char yaml[8192];
  pthread_mutex_init(&fixture->lock, NULL);
  setenv("KAIROS_TEST_SECRET", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", 1);
  strcpy(fixture->directory, "/tmp/kairos-deliver-XXXXXX");
  assert_non_null(mkdtemp(fixture->directory));
  snprintf(yaml, sizeof yaml, "data_dir: %s\nproviders:\n%s", fixture->directory, providers);
  struct config_report report;
  config_report_init(&report);
  if (config_parse(&fixture->config, str_from(yaml), "test.yaml", &report)) {
    struct buf text = {0};
    config_report_write(&report, &text);
    fail_msg("%.*s", (int)text.len, (char *)text.data);
  }
  config_report_deinit(&report);
  fixture_open_store(fixture);
  fixture->template = fixture_template(fixture, "t.json", "{\"hello\":\"{{name}}\"}");
  fixture_open_log(fixture, (struct log_position){0, 0});
  return fixture;
}

/** Without the host's help: what is in memory is lost. */
static inline void fixture_crash(struct fixture *fixture) {
  deliver_free(fixture->deliver);
  fixture->deliver = NULL;
}

static inline void fixture_free(struct fixture *fixture) {
  deliver_free(fixture->deliver);
  if (fixture->log) log_close(fixture->log);
  if (fixture->store) store_close(fixture->store);
  config_free(fixture->config);
  char command[128];
  snprintf(command, sizeof command, "rm -rf %s", fixture->directory);
  if (system(command)) fail();
  pthread_mutex_destroy(&fixture->lock);
  memory_free(fixture);
}

/** A message to hand over; change it before fixture_add(). */
static inline struct outbox_entry fixture_message(struct fixture *fixture, uint64_t id,
                                                  const char *provider) {
  static const uint8_t data[] = {0x81, 0xa4, 'n', 'a', 'm', 'e', 0xa3, 'A', 'd', 'a'};
  return (struct outbox_entry){.message = {.id = {0xfeed, id},
                                           .user = {ENTITY_USER, STR("ada")},
                                           .campaign = STR("cart"),
                                           .rule = STR("cart/rule.lua"),
                                           .template_name = STR("reminder"),
                                           .template_hash = fixture->template,
                                           .channel = STR("webhook"),
                                           .provider = str_from(provider),
                                           .to = STR("somewhere"),
                                           .data = {(const char *)data, sizeof data},
                                           .cause = STR("e1"),
                                           .facts = STR("\x80"),
                                           .at = clock_wall_ms(),
                                           .accepted = clock_wall_ms(),
                                           .generation = 1}};
}

static inline void entry_append(struct buf *out, const struct outbox_entry *entry) {
  struct buf bytes = {0};
  outbox_entry_encode(entry, &bytes);
  buf_put_u32(out, (uint32_t)bytes.len);
  buf_append(out, bytes.data, bytes.len);
  buf_deinit(&bytes);
}

static inline void fixture_add(struct fixture *fixture, const struct outbox_entry *entry) {
  struct buf bytes = {0};
  entry_append(&bytes, entry);
  deliver_add(fixture->deliver, buf_str(&bytes));
  buf_deinit(&bytes);
}

static inline void fixture_send(struct fixture *fixture, uint64_t id, const char *provider) {
  struct outbox_entry entry = fixture_message(fixture, id, provider);
  fixture_add(fixture, &entry);
}

/** Wait for what is to become true. */
#define WAIT_FOR(what)                                                                                       \
  do {                                                                                                       \
    int64_t wait_until = clock_mono_us() + 15000000;                                                         \
    while (!(what)) {                                                                                        \
      if (clock_mono_us() > wait_until) fail_msg("waited in vain for: %s", #what);                           \
      usleep(1000);                                                                                          \
    }                                                                                                        \
  } while (0)

static inline const struct seen_outcome *outcome_at(struct fixture *fixture, unsigned index) {
  WAIT_FOR(atomic_load(&fixture->count) > index);
  return &fixture->outcomes[index % 8192];
}

static inline void expect_outcome(struct fixture *fixture, unsigned index, uint64_t id,
                                  enum outcome_kind kind, uint32_t attempt, const char *detail) {
  const struct seen_outcome *outcome = outcome_at(fixture, index);
  bool dead = kind == OUTCOME_REJECTED || kind == OUTCOME_EXHAUSTED || kind == OUTCOME_HELD;
  if (outcome->id.low != id || outcome->kind != kind || outcome->attempt != attempt ||
      (detail && !strstr(outcome->detail, detail)))
    fail_msg("outcome %u: message %d, kind %d, attempt %u, \"%s\"", index, (int)outcome->id.low,
             outcome->kind, outcome->attempt, outcome->detail);
  assert_int_equal(outcome->with_message, dead);
}

/** What deliver says of a provider. */
static inline int64_t figure(struct fixture *fixture, const char *provider, const char *name) {
  struct buf all = {0};
  struct str of, value;
  deliver_describe(fixture->deliver, &all);
  assert_true(value_valid(buf_str(&all)));
  assert_true(value_member(buf_str(&all), str_from(provider), &of) &&
              value_member(of, str_from(name), &value));
  struct value head = value_head(value);
  int64_t number = head.type == VALUE_BOOL ? head.boolean : head.integer;
  if (head.type == VALUE_STRING) number = head.string.data[0]; // "closed", "open", "half_open"
  buf_deinit(&all);
  return number;
}

static inline bool request_has(struct server *server, unsigned index, const char *text) {
  assert_true(index < atomic_load(&server->received));
  return memmem(server->requests[index].text, server->requests[index].len, text, strlen(text)) != NULL;
}

/** The rest of a test's YAML for a webhook on this port. */
static inline const char *webhook(char out[512], const char *name, int port, const char *more) {
  snprintf(out, 512,
           "  - name: %s\n    type: webhook\n    url: http://127.0.0.1:%d/in\n    backoff_base: 20ms\n    "
           "backoff_max: 50ms\n"
           "    breaker_open: 300ms\n    secret_env: KAIROS_TEST_SECRET\n%s",
           name, port, more);
  return out;
}

/* ---- the store's copy ---- */

struct flush_wait {
  struct deliver_flush flush;
  atomic_bool done;
};

static inline void flush_arrived(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct deliver_flush *flush = CONTAINER_OF(mail, struct deliver_flush, mail);
  atomic_store(&CONTAINER_OF(flush, struct flush_wait, flush)->done, true);
}

/** Flush, on a loop of its own. @return its status. */
static inline int fixture_flush(struct fixture *fixture) {
  uv_loop_t loop;
  struct flush_wait wait = {.flush = {.mail.run = flush_arrived}};
  uv_loop_init(&loop);
  wait.flush.reply = mailbox_new(&loop, "test");
  deliver_flush(fixture->deliver, &wait.flush);
  while (!atomic_load(&wait.done)) uv_run(&loop, UV_RUN_ONCE);
  mailbox_free(wait.flush.reply);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  return wait.flush.status;
}

struct stored {
  unsigned count, open;
  uint32_t attempts, unsent;
  int64_t retry_at;
};

static inline int count_stored(void *context, const struct outbox_entry *entry) {
  struct stored *stored = context;
  stored->count++;
  stored->open += entry->open;
  stored->attempts += entry->attempts;
  stored->unsent += entry->unsent;
  stored->retry_at = entry->retry_at;
  return 0;
}

static inline struct stored fixture_stored(struct fixture *fixture) {
  struct stored stored = {0};
  struct error err;
  if (store_scan_outbox(fixture->store, count_stored, &stored, &err)) fail_msg("%s", err.message);
  return stored;
}
