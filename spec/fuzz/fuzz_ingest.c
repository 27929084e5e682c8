// covers: src/ingest/connection.c src/ingest/http.c src/ingest/request.c src/ingest/body.c
// covers: src/ingest/exchange.c src/ingest/routes.c
/* A client's bytes, from the socket to the answers. In pieces they are answered as they are in one; every
 * answer is HTTP; and when the client is gone nothing of it is left. Input: options, a seed for the pieces,
 * then the bytes as they are, or requests to be made of them. */
#include "base/memory.h"
#include "ingest/connection.h"
#include "values.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
  OPTION_MADE = 1,      /**< requests are made: heads that are known, bodies from the input */
  OPTION_HALF = 2,      /**< the client closes its side behind the last byte */
  OPTION_BACKWARDS = 4, /**< the host answers the last batch first */
  OPTION_LATE = 8,      /**< … and only when all bytes are there */
  OPTION_SMALL = 16,    /**< narrow limits */
  OPTION_TIGHT = 32,    /**< little memory for bodies: what is refused for it depends on the pieces */
  OPTION_LEAVES = 64,   /**< the client goes away without reading */
  OPTION_DRAINS = 128   /**< the host begins to drain half-way */
};
enum { BATCHES_MAX = 256, TURNS_MAX = 400 };

static uv_loop_t loop;
static struct ingest *ingest;
static struct ingest_shared *shared;
static struct sockaddr_un address;
static socklen_t address_len;
static struct json_parser *parser;
static struct ingest_batch *batches[BATCHES_MAX];
static unsigned batch_count;
static struct buf bytes, whole, pieces;

static void submit(void *context, struct ingest_batch *batch) {
  (void)context;
  HOLDS(batch_count < BATCHES_MAX);
  unsigned pending = 0;
  for (uint32_t i = 0; i < batch->count; i++) {
    pending += batch->items[i].verdict == INGEST_PENDING;
    HOLDS(batch->items[i].verdict == INGEST_PENDING || batch->items[i].verdict == INGEST_REJECTED);
  }
  HOLDS(pending > 0 && pending == atomic_load(&batch->pending));
  batches[batch_count++] = batch;
}

static enum host_phase phase(void *context) {
  (void)context;
  return HOST_RUNNING;
}

static void scrape(void *context) {
  (void)context;
}

static struct ingest_port port = {.submit = submit, .phase = phase, .scrape = scrape};

void fuzz_set_up(void) {
  static const char yaml[] = "api_keys: [{name: a, key_env: KAIROS_FUZZ_KEY}]\n";
  struct config *config;
  struct config_report report;
  struct error err;
  setenv("KAIROS_FUZZ_KEY", "key", 1);
  config_report_init(&report);
  if (config_parse(&config, str_from(yaml), "fuzz.yaml", &report)) abort();
  config_report_deinit(&report);
  if (ingest_shared_new(&shared, config, &err)) abort();
  config_free(config);
  // A local socket with a name of the kernel's choice: quicker than TCP, and no ports are used up.
  int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  address.sun_family = AF_UNIX;
  address_len = sizeof address;
  if (bind(descriptor, (struct sockaddr *)&address, sizeof address.sun_family) || listen(descriptor, 16) ||
      getsockname(descriptor, (struct sockaddr *)&address, &address_len))
    abort();
  uv_loop_init(&loop);
  if (ingest_new(&ingest, &loop, descriptor, 0, shared, &port, &err)) HOLDS(false, "%s", err.message);
  parser = json_parser_new();
}

/** Answer what the host has, by the events' ids. */
static void judge(bool backwards) {
  unsigned count = batch_count;
  batch_count = 0;
  for (unsigned i = 0; i < count; i++) {
    struct ingest_batch *batch = batches[backwards ? count - 1 - i : i];
    for (uint32_t j = 0; j < batch->count; j++) {
      struct ingest_item *item = &batch->items[j];
      if (item->verdict != INGEST_PENDING) continue;
      // An event is read once more, now that its bytes may have moved.
      struct buf encoded;
      buf_init(&encoded);
      event_encode(&item->event, &encoded);
      item->verdict = INGEST_ACCEPTED + (enum ingest_verdict)(encoded.data[2] % 4);
      buf_deinit(&encoded);
      if (item->verdict == INGEST_REJECTED) strcpy(item->fault->message, "the host says no");
      if (item->verdict == INGEST_REJECTED) item->fault->pointer[0] = 0;
      atomic_fetch_sub(&batch->pending, 1);
    }
    ingest_batch_done(ingest, batch);
  }
}

static size_t receive(int client, struct buf *out) {
  size_t before = out->len;
  for (;;) {
    ssize_t got = recv(client, buf_reserve(out, 4096), 4096, MSG_DONTWAIT);
    if (got <= 0) break;
    out->len += (size_t)got;
  }
  return out->len - before;
}

/** @return whether the server still takes bytes. */
static bool send_all(int client, struct str data, struct buf *out) {
  for (unsigned tries = 0; data.len && tries < TURNS_MAX; tries++) {
    ssize_t sent = send(client, data.data, data.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent > 0) {
      data.data += sent;
      data.len -= (size_t)sent;
    }
    if (data.len) {
      uv_run(&loop, UV_RUN_NOWAIT);
      judge(false);
      receive(client, out);
    }
  }
  return data.len == 0;
}

static uint64_t piece_seed;

static size_t next_piece(size_t left) {
  piece_seed = piece_seed * UINT64_C(6364136223846793005) + 1442695040888963407u;
  unsigned shape = piece_seed >> 61, size = (unsigned)(piece_seed >> 40) & 0xffff;
  size_t len = shape < 2 ? 1 : shape < 5 ? size % 16 + 1 : shape < 7 ? size % 200 + 1 : left;
  return len < left ? len : left;
}

static void turn_until_quiet(int client, unsigned options, struct buf *out) {
  for (unsigned turn = 0, quiet = 0; turn < TURNS_MAX && quiet < 3; turn++) {
    uv_run(&loop, UV_RUN_NOWAIT);
    bool busy = batch_count > 0;
    judge(options & OPTION_BACKWARDS);
    if (!(options & OPTION_LEAVES)) busy |= receive(client, out) > 0;
    quiet = busy ? 0 : quiet + 1;
  }
}

/** One client with these bytes, from its coming to its going. */
static void serve(struct str data, bool in_pieces, unsigned options, struct buf *out) {
  buf_clear(out);
  int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (client < 0 || connect(client, (struct sockaddr *)&address, address_len))
    HOLDS(false, "%s", strerror(errno));
  uv_run(&loop, UV_RUN_NOWAIT);
  size_t total = data.len;
  while (data.len) {
    size_t len = in_pieces ? next_piece(data.len) : data.len;
    if (!send_all(client, (struct str){data.data, len}, out)) break;
    data.data += len;
    data.len -= len;
    uv_run(&loop, UV_RUN_NOWAIT);
    if (!(options & OPTION_LATE)) {
      judge(options & OPTION_BACKWARDS);
      uv_run(&loop, UV_RUN_NOWAIT);
    }
    if ((options & OPTION_DRAINS) && data.len < total / 2) ingest->draining = true;
  }
  if (options & OPTION_HALF) shutdown(client, SHUT_WR);
  turn_until_quiet(client, options, out);
  // Time passes: whoever has not finished is told, or closed.
  for (struct connection *connection = ingest->connections, *next; connection; connection = next) {
    next = connection->next;
    connection_check_time(connection, uv_now(&loop) + 40000);
  }
  turn_until_quiet(client, options, out);
  close(client);
  for (unsigned turn = 0; turn < TURNS_MAX && ingest->connections; turn++) {
    uv_run(&loop, UV_RUN_NOWAIT);
    judge(false);
  }
  ingest->draining = false;
  HOLDS(!ingest->connections && ingest->account.used == 0 && ingest->open_exchanges == 0 && batch_count == 0,
        "%llu bytes, %u requests left", (unsigned long long)ingest->account.used, ingest->open_exchanges);
  HOLDS(atomic_load(&shared->connections) == 0 && !ingest->dirty);
}

/** Take interim answers out, and check the others. */
static void check_answers(struct buf *out, bool cut_short) {
  struct str rest = buf_str(out);
  size_t kept = 0;
  while (rest.len) {
    static const char interim[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (rest.len >= sizeof interim - 1 && memcmp(rest.data, interim, sizeof interim - 1) == 0) {
      rest.data += sizeof interim - 1;
      rest.len -= sizeof interim - 1;
      continue;
    }
    const char *end = memmem(rest.data, rest.len, "\r\n\r\n", 4);
    HOLDS(cut_short || (end && memcmp(rest.data, "HTTP/1.1 ", 9) == 0), "%.*s", STR_ARG(rest));
    if (!end) break;
    struct str head = {rest.data, (size_t)(end - rest.data) + 4};
    for (size_t i = 0; i < head.len; i++)
      HOLDS((head.data[i] == '\n') == (i > 0 && head.data[i - 1] == '\r') && head.data[i] &&
            !(head.data[i] & 0x80));
    const char *length = memmem(head.data, head.len, "\r\nContent-Length: ", 18);
    HOLDS(length);
    size_t due = strtoul(length + 18, NULL, 10), left = rest.len - head.len;
    // A HEAD's answer has a length and no body: the next answer follows, or nothing.
    bool bare = left == 0 || (left >= 9 && memcmp(head.data + head.len, "HTTP/1.1 ", 9) == 0);
    if (!bare) {
      HOLDS(cut_short || left >= due, "%zu of %zu bytes of a body", left, due);
      if (left < due) break;
      struct buf value;
      struct error err;
      buf_init(&value);
      struct str body = {head.data + head.len, due};
      bool json = memmem(head.data, head.len, "Content-Type: application/json", 30);
      HOLDS(!json || fuzz_json(parser, body, &value, &err) == 0, "%.*s", STR_ARG(body));
      buf_deinit(&value);
      head.len += due;
    }
    // Metrics count on.
    bool metrics = memmem(head.data, head.len, "\r\nContent-Type: text/plain", 26);
    size_t keep = metrics ? (size_t)(length - head.data) : head.len;
    memmove(out->data + kept, head.data, keep);
    kept += keep;
    rest.data = (const char *)head.data + head.len;
    rest.len -= head.len;
  }
  out->len = kept;
}

/* ---- requests made of the input ---- */

static void compress_body(struct str text, struct buf *out) {
  z_stream stream = {0};
  // The smallest window: this is done many times.
  if (deflateInit2(&stream, 1, Z_DEFLATED, 16 + 9, 1, Z_DEFAULT_STRATEGY) != Z_OK) abort();
  size_t room = text.len + text.len / 8 + 128;
  stream.next_in = (Bytef *)(uintptr_t)text.data;
  stream.avail_in = (uInt)text.len;
  stream.next_out = buf_reserve(out, room);
  stream.avail_out = (uInt)room;
  if (deflate(&stream, Z_FINISH) != Z_STREAM_END) abort();
  out->len += room - stream.avail_out;
  deflateEnd(&stream);
}

static void put_chunked(struct str body, size_t size, struct buf *out) {
  while (body.len) {
    size_t len = size < body.len ? size : body.len;
    buf_printf(out, "%zx\r\n", len);
    buf_append(out, body.data, len);
    buf_printf(out, "\r\n");
    body.data += len;
    body.len -= len;
  }
  buf_printf(out, "0\r\n\r\n");
}

static void put_request(struct input *input, struct buf *out) {
  static const char *const types[] = {"application/json", "application/x-ndjson",
                                      "application/json; charset=utf-8", "text/plain"};
  static const char *const targets[] = {"/v1/events", "/v1/events?x=1", "/healthz", "http://x/v1/events"};
  static const char *const methods[] = {"POST", "POST", "GET", "HEAD"};
  uint8_t head = input_u8(input), how = input_u8(input);
  struct str body = input_text(input, 1500);
  struct buf packed;
  buf_init(&packed);
  if (how & 1) {
    compress_body(body, &packed);
    if (how & 2) compress_body(STR("\n"), &packed); // a second member
    if (how & 4 && packed.len) packed.data[input_u8(input) % packed.len] ^= 1;
    if (how & 8) packed.len -= packed.len / 4;
    body = buf_str(&packed);
  }
  bool posts = (head >> 4 & 3) < 2;
  buf_printf(out, "%s %s HTTP/1.%d\r\nHost: x\r\n", methods[head >> 4 & 3],
             targets[posts ? head & 1 : 2 + (head & 1)], how & 128 ? 0 : 1);
  if (!(head & 64)) buf_printf(out, "Authorization: Bearer key\r\n");
  if (head & 128) buf_printf(out, "Connection: %s\r\n", head & 2 ? "close" : "keep-alive");
  buf_printf(out, "Content-Type: %s\r\n", types[head >> 2 & 3]);
  if (how & 1) buf_printf(out, "Content-Encoding: gzip\r\n");
  if (how & 16) buf_printf(out, "Expect: 100-continue\r\n");
  if (how & 32) {
    buf_printf(out, "Transfer-Encoding: chunked\r\n\r\n");
    put_chunked(body, input_u8(input) % 100 + 1, out);
  } else {
    buf_printf(out, "Content-Length: %zu\r\n\r\n", body.len);
    buf_append(out, body.data, body.len);
  }
  buf_deinit(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  unsigned options = input_u8(&input);
  piece_seed = input_number(&input, 4);
  buf_clear(&bytes);
  for (unsigned i = 0; (options & OPTION_MADE) && input_left(&input) && i < 40; i++)
    put_request(&input, &bytes);
  if (!(options & OPTION_MADE)) {
    struct str rest = input_rest(&input);
    buf_append(&bytes, rest.data, rest.len);
  }
  shared->max_body = options & OPTION_SMALL ? 600 : 10 << 20;
  shared->max_header = options & OPTION_SMALL ? 300 : 16 << 10;
  shared->max_items = options & OPTION_SMALL ? 3 : 10000;
  shared->body_memory = ingest->account.limit = options & OPTION_TIGHT ? 256 << 10 : 256 << 20;
  ingest->account.granted = 0;
  atomic_store(&shared->memory, 0);
  bool compared = !(options & (OPTION_TIGHT | OPTION_LEAVES | OPTION_DRAINS));
  serve(buf_str(&bytes), true, options, &pieces);
  check_answers(&pieces, options & OPTION_LEAVES);
  if (compared) {
    serve(buf_str(&bytes), false, options, &whole);
    check_answers(&whole, false);
    HOLDS(str_equal(buf_str(&whole), buf_str(&pieces)), "in one:\n%.*s\nin pieces:\n%.*s",
          STR_ARG(buf_str(&whole)), STR_ARG(buf_str(&pieces)));
  }
  return 0;
}

static void seed(unsigned options, const char *text, size_t len) {
  struct buf out;
  buf_init(&out);
  buf_put_u8(&out, (uint8_t)options);
  buf_put_u32(&out, options * 7919 + (uint32_t)len);
  buf_append(&out, text, len);
  fuzz_seed(buf_str(&out));
  buf_deinit(&out);
}

#define EVENT                                                                                                \
  "{\"event_id\":\"e1\",\"event_type\":\"x\",\"user_id\":\"ada\",\"timestamp\":1767225600000,\"payload\":{"  \
  "\"a\":1}}"

void fuzz_seeds(void) {
  static const char head[] =
      "POST /v1/events HTTP/1.1\r\nHost: x\r\nX-Api-Key: key\r\nContent-Type: application/json\r\n";
  static const char *const texts[] = {
      "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /readyz HTTP/1.1\r\nHost: x\r\n\r\nGET /metrics "
      "HTTP/1.0\r\n\r\n",
      "POST /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\nContent-Type: "
      "application/x-ndjson\r\n"
      "Transfer-Encoding: chunked\r\n\r\n5;ext=\"a\"\r\n[{}]\n\r\n0\r\nTrailer: x\r\n\r\nHEAD /readyz "
      "HTTP/1.1\r\nHost: "
      "x\r\n\r\n",
      "POST /v1/events HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nabcde",
      "POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n",
      "DELETE /v1/events HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
      "GET / HTTP/2.0\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "GET /healthz HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
      "GET /healthz HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
      "GET /healthz HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\nmore",
      "nonsense\r\n\r\n",
      "POST /v1/events HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: "
      "chunked\r\n\r\n0\r\n\r\n",
      "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET http://x/healthz?q HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
      "\r\n\r\nGET /healthz HTTP/1.1\nHost: x\n\n",
  };
  struct buf out;
  buf_init(&out);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    seed(0, texts[i], strlen(texts[i]));
    seed(OPTION_HALF | OPTION_SMALL, texts[i], strlen(texts[i]));
  }
  for (unsigned options = 0; options < 256; options += 2) {
    if (__builtin_popcount(options) > 2) continue;
    buf_clear(&out);
    for (unsigned i = 0; i < 5; i++)
      buf_printf(&out, "%sContent-Length: %zu\r\n\r\n%s", head, sizeof EVENT - 1, EVENT);
    seed(options, (const char *)out.data, out.len);
    buf_clear(&out);
    for (unsigned i = 0; i < 6; i++) {
      buf_put_u8(&out, (uint8_t)(i == 4 ? 48 : i << 2 & 4));
      buf_put_u8(&out, (uint8_t)(options ^ (i * 37)));
      buf_put_u16(&out, sizeof EVENT - 1);
      buf_append(&out, EVENT, sizeof EVENT - 1);
    }
    seed(options | OPTION_MADE, (const char *)out.data, out.len);
  }
  buf_deinit(&out);
}
