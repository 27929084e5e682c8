#include "deliver/transport_http.h"

#include "base/clock.h"
#include "base/memory.h"
#include "deliver/http_sockets.h"
#include "deliver/standard_webhooks.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define USER_AGENT "kairos/" KAIROS_VERSION

enum {
  RESPONSE_BODY_KEPT = 64 << 10,
  RESPONSE_BODY_MAX = 1 << 20, /**< a longer one is broken off: its status is known */
  RESPONSE_HEADERS_MAX = 16 << 10,
  CONNECTION_LIFE_S = 600, /**< so that a provider's new addresses are found */
  EXPECT_FROM = 512 << 10, /**< libcurl asks before it sends so much, from 1 MB on, and waits for an answer */
  KICKS_MAX = 8,
  LOOKS_MAX = 64
};

/** Transfers in the order in which they began. Those under one timeout are late in the same order. */
struct http_line {
  int64_t timeout; /**< ms */
  struct http_transfer *first, *last;
  struct http_line *next;
};

struct http {
  uv_timer_t timer;
  uv_timer_t late; /**< rings at late_at, monotonic ms, while it is active */
  int64_t late_at;
  CURLM *multi;
  struct http_sockets *sockets;
  struct http_transfer *free; /**< by `next` */
  struct http_line *lines;    /**< running, by timeout */
  struct http_line ended;     /**< late, and not yet collected */
  uint32_t beginning;         /**< running, and not a byte has left */
  bool overdue;               /**< some have taken too long, unless their answers are there */
  bool due;                   /**< libcurl wants to be called at once */
  bool gathers;
  bool wears_out;       /**< handles do; see handles_wear_out() */
  bool proxied;         /**< the environment names a proxy */
  int64_t second;       /**< of the last signature … */
  char second_text[24]; /**< … in digits */
  size_t second_len;
};

static void on_timer(uv_timer_t *timer) {
  struct http *http = timer->data;
  int running;
  curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
}

/** libcurl: call me in so many ms; -1 not at all. */
static int set_timer(CURLM *multi, long ms, void *context) {
  struct http *http = context;
  (void)multi;
  http->due = ms == 0;
  if (ms > 0)
    uv_timer_start(&http->timer, on_timer, (uint64_t)ms, 0);
  else
    uv_timer_stop(&http->timer);
  return 0;
}

void http_kick(struct http *http) {
  for (int i = 0; http->due && i < KICKS_MAX; i++) {
    int running;
    http->due = false;
    curl_multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0, &running);
  }
  // Whatever it still wants comes with the next turn, between other work.
  if (http->due) uv_timer_start(&http->timer, on_timer, 0, 0);
  http->due = false;
}

void http_gather(struct http *http, bool gather) {
  http->gathers = gather;
  http_sockets_wake(http->sockets, !gather);
}

void http_receive(struct http *http) {
  if (http->gathers) http_sockets_run(http->sockets);
}

uint32_t http_beginning(const struct http *http) {
  return http->beginning;
}

/* ---- what takes too long ---- */

static void line_add(struct http_line *line, struct http_transfer *transfer) {
  transfer->line = line;
  transfer->next = NULL;
  transfer->prev = line->last;
  *(line->last ? &line->last->next : &line->first) = transfer;
  line->last = transfer;
}

static void line_remove(struct http_transfer *transfer) {
  struct http_line *line = transfer->line;
  *(transfer->prev ? &transfer->prev->next : &line->first) = transfer->next;
  *(transfer->next ? &transfer->next->prev : &line->last) = transfer->prev;
  transfer->line = NULL;
}

static struct http_line *line_of(struct http *http, int64_t timeout) {
  struct http_line *line = http->lines;
  while (line && line->timeout != timeout) line = line->next;
  if (line) return line;
  line = memory_zalloc(sizeof *line);
  *line = (struct http_line){.timeout = timeout, .next = http->lines};
  return http->lines = line;
}

/** It is under way no more. */
static void leave(struct http *http, struct http_transfer *transfer) {
  if (!transfer->line) return;
  if (transfer->line != &http->ended) {
    curl_multi_remove_handle(http->multi, transfer->easy);
    if (transfer->sends == 0) http->beginning--;
  }
  line_remove(transfer);
}

static void on_late(uv_timer_t *timer);

static void ring_at(struct http *http, int64_t at, int64_t now) {
  http->late_at = at;
  uv_timer_start(&http->late, on_late, at > now ? (uint64_t)(at - now) : 0, 0);
}

/** The process may have stood still, and it is the reading that is late: what has come counts first. */
static void on_late(uv_timer_t *timer) {
  struct http *http = timer->data;
  for (int i = 0; i < LOOKS_MAX && http_sockets_run(http->sockets); i++) {
  }
  http->overdue = true;
}

/** Once what had ended is collected. */
static void end_late(struct http *http) {
  int64_t now = clock_mono_us() / 1000, next = INT64_MAX;
  for (struct http_line *line = http->lines; line; line = line->next) {
    while (line->first && line->first->late_at <= now) {
      struct http_transfer *transfer = line->first;
      // Not a byte leaves before on_request() was asked.
      transfer->end = transfer->sends == 0 ? HTTP_NOT_SENT : HTTP_UNKNOWN;
      strcpy(transfer->detail, transfer->sends == 0 ? "timeout while connecting" : "timeout");
      leave(http, transfer);
      line_add(&http->ended, transfer);
    }
    if (line->first && line->first->late_at < next) next = line->first->late_at;
  }
  if (next != INT64_MAX) ring_at(http, next, now);
}

/** It begins. A timer of libcurl's own for each transfer would cost more than all that this does. */
static void watch(struct http *http, struct http_transfer *transfer) {
  int64_t now = clock_mono_us() / 1000;
  transfer->late_at = now + transfer->account->config->timeout;
  transfer->sends = 0;
  http->beginning++;
  line_add(line_of(http, transfer->account->config->timeout), transfer);
  if (!uv_is_active((uv_handle_t *)&http->late) || transfer->late_at < http->late_at)
    ring_at(http, transfer->late_at, now);
}

/* ---- a transfer's callbacks ---- */

static size_t on_body(char *data, size_t size, size_t count, void *context) {
  struct http_transfer *transfer = context;
  size_t len = size * count;
  struct buf *body = &transfer->response_body;
  // `len` counts on past what is kept.
  size_t room = body->len < RESPONSE_BODY_KEPT ? RESPONSE_BODY_KEPT - body->len : 0;
  buf_append(body, data, len < room ? len : room);
  transfer->body_seen += len;
  return transfer->body_seen > RESPONSE_BODY_MAX ? 0 : len;
}

static size_t on_header(char *data, size_t size, size_t count, void *context) {
  struct http_transfer *transfer = context;
  size_t len = size * count;
  if (len >= 5 && memcmp(data, "HTTP/", 5) == 0) {
    // A new head: what came with an interim answer is void.
    buf_clear(&transfer->header_pairs);
    transfer->header_count = 0;
    return len;
  }
  const char *colon = memchr(data, ':', len);
  if (!colon || transfer->header_pairs.len + len > RESPONSE_HEADERS_MAX) return len;
  const char *value = colon + 1, *end = data + len;
  while (value < end && (*value == ' ' || *value == '\t')) value++;
  while (end > value && (unsigned char)end[-1] <= ' ') end--;
  char name[64];
  size_t name_len = (size_t)(colon - data);
  if (name_len > sizeof name) return len;
  for (size_t i = 0; i < name_len; i++)
    name[i] = data[i] >= 'A' && data[i] <= 'Z' ? (char)(data[i] + 32) : data[i];
  value_put_string(&transfer->header_pairs, (struct str){name, name_len});
  value_put_string(&transfer->header_pairs, (struct str){value, (size_t)(end - value)});
  transfer->header_count++;
  return len;
}

/** The connection stands and the request is about to go: once, unless sending twice does no harm. libcurl
 * sends again on its own when a kept connection was closed before an answer came. */
static int on_request(void *context, char *ip, char *local, int port, int local_port) {
  struct http_transfer *transfer = context;
  (void)ip, (void)local, (void)port, (void)local_port;
  if (transfer->sends++ == 0) transfer->http->beginning--;
  return transfer->sends > 1 && !transfer->account->may_resend ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

/** libcurl before 8.1.1 follows a pointer into the freed headers of a handle's last answer when the next
 * begins with a folded line (https://github.com/curl/curl/issues/11101): there a handle is good for one
 * answer. Making one takes a microsecond; connections are kept beside them. */
static bool handles_wear_out(void) {
  return curl_version_info(CURLVERSION_NOW)->version_num < 0x080101;
}

static void set_up(struct http *http, struct http_transfer *transfer) {
  CURL *easy = transfer->easy = curl_easy_init();
  if (!easy) abort();
  transfer->method[0] = 0;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_CURLU, transfer->target);
  // Else it is put together from its parts at each request.
  if (transfer->whole_url) curl_easy_setopt(easy, CURLOPT_URL, transfer->whole_url);
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, transfer->headers);
  // Else it looks for the variables that name proxies at each request.
  if (!http->proxied) curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_LIFE_S);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
  const char *ca_file = transfer->account->config->ca_file;
  if (ca_file) curl_easy_setopt(easy, CURLOPT_CAINFO, ca_file);
  http_sockets_watch(http->sockets, easy);
}

static struct http_transfer *transfer_new(struct http *http, const struct http_account *account) {
  struct http_transfer *transfer = memory_zalloc(sizeof *transfer);
  transfer->http = http;
  transfer->account = account;
  transfer->target = curl_url();
  if (!transfer->target) abort();
  set_up(http, transfer);
  return transfer;
}

static void transfer_free(struct http_transfer *transfer) {
  curl_easy_cleanup(transfer->easy);
  curl_url_cleanup(transfer->target);
  memory_free(transfer->url);
  curl_free(transfer->whole_url);
  buf_deinit(&transfer->request.url);
  buf_deinit(&transfer->request.body);
  buf_deinit(&transfer->request.headers);
  buf_deinit(&transfer->header_text);
  buf_deinit(&transfer->header_pairs);
  buf_deinit(&transfer->response_headers);
  buf_deinit(&transfer->response_body);
  memory_free(transfer);
}

/* ---- the request ---- */

/** Whether each byte may stand in a header's name (RFC 9110, token). */
static const bool token_bytes[256] = {
    ['!'] = true,         ['#'] = true,         ['$'] = true,        ['%'] = true, ['&'] = true,
    ['\''] = true,        ['*'] = true,         ['+'] = true,        ['-'] = true, ['.'] = true,
    ['^'] = true,         ['_'] = true,         ['`'] = true,        ['|'] = true, ['~'] = true,
    ['0' ... '9'] = true, ['A' ... 'Z'] = true, ['a' ... 'z'] = true};

static bool is_token(struct str name) {
  bool good = name.len > 0;
  for (size_t i = 0; i < name.len; i++) good &= token_bytes[(unsigned char)name.data[i]];
  return good;
}

static bool is_line(struct str value) {
  bool good = true;
  for (size_t i = 0; i < value.len; i++) good &= (unsigned char)value.data[i] >= ' ' || value.data[i] == '\t';
  return good;
}

static int put_header(struct http_transfer *transfer, struct str name, struct str value, uint32_t *count,
                      struct error *err) {
  if (!is_token(name) || !is_line(value))
    return error_set(err, ERROR_INVALID,
                     "the request's header \"%.*s\" has a character that no header may have",
                     name.len < 64 ? (int)name.len : 64, name.data);
  if (*count == HTTP_HEADERS_MAX)
    return error_set(err, ERROR_INVALID, "the request has more than %d headers", HTTP_HEADERS_MAX);
  // Offsets first: the text may move until it is complete.
  transfer->headers[(*count)++].data = (char *)(uintptr_t)transfer->header_text.len;
  uint8_t *at = buf_reserve(&transfer->header_text, name.len + value.len + 3);
  memcpy(at, name.data, name.len);
  at += name.len;
  if (value.len) {
    *at++ = ':';
    *at++ = ' ';
    memcpy(at, value.data, value.len);
    at += value.len;
  } else {
    *at++ = ';'; // how libcurl is told of a header without a value
  }
  *at++ = 0;
  transfer->header_text.len = (size_t)(at - transfer->header_text.data);
  return 0;
}

static int sign(struct http *http, struct http_transfer *transfer, struct str id, int64_t now_ms,
                uint32_t *count, struct error *err) {
  char signature[WEBHOOK_SIGNATURE_LENGTH + 1];
  int64_t second = now_ms / 1000;
  if (second != http->second) {
    http->second_len = (size_t)snprintf(http->second_text, sizeof http->second_text, "%" PRId64, second);
    http->second = second;
  }
  webhook_sign(transfer->account->signer, id, second, buf_str(&transfer->request.body), signature);
  int rc = put_header(transfer, STR("webhook-id"), id, count, err);
  if (rc == 0)
    rc = put_header(transfer, STR("webhook-timestamp"), (struct str){http->second_text, http->second_len},
                    count, err);
  if (rc == 0) rc = put_header(transfer, STR("webhook-signature"), str_from(signature), count, err);
  return rc;
}

/** A request without a body. */
static bool is_get(const struct http_transfer *transfer) {
  return strcmp(transfer->request.method, "GET") == 0;
}

static int set_headers(struct http *http, struct http_transfer *transfer, struct str id, int64_t now_ms,
                       struct error *err) {
  struct reader reader = reader_of(buf_str(&transfer->request.headers));
  struct value map = {.type = VALUE_MAP};
  uint32_t count = 0;
  bool typed = false, named = false;
  int rc = 0;
  buf_clear(&transfer->header_text);
  if (reader_left(&reader)) map = value_read(&reader);
  if (map.type != VALUE_MAP)
    return error_set(err, ERROR_INVALID, "the request's headers are no map of names to texts");
  for (uint32_t i = 0; i < map.count && rc == 0; i++) {
    struct value name = value_read(&reader), value = value_read(&reader);
    if (reader.bad || name.type != VALUE_STRING || value.type != VALUE_STRING)
      return error_set(err, ERROR_INVALID, "the request's headers are no map of names to texts");
    typed |= name.string.len == 12 && strncasecmp(name.string.data, "content-type", 12) == 0;
    named |= name.string.len == 10 && strncasecmp(name.string.data, "user-agent", 10) == 0;
    rc = put_header(transfer, name.string, value.string, &count, err);
  }
  if (rc == 0 && !typed && !is_get(transfer))
    rc = put_header(transfer, STR("Content-Type"), STR("application/json"), &count, err);
  if (rc == 0 && !named) rc = put_header(transfer, STR("User-Agent"), STR(USER_AGENT), &count, err);
  if (rc == 0 && transfer->request.json_signed && transfer->account->signer)
    rc = sign(http, transfer, id, now_ms, &count, err);
  if (rc == 0 && count == HTTP_HEADERS_MAX)
    rc = error_set(err, ERROR_INVALID, "the request has more than %d headers", HTTP_HEADERS_MAX - 1);
  if (rc) return rc;
  for (uint32_t i = 0; i < count; i++) {
    transfer->headers[i].data = (char *)transfer->header_text.data + (uintptr_t)transfer->headers[i].data;
    transfer->headers[i].next = &transfer->headers[i + 1];
  }
  static char no_expect[] = "Expect:";
  if (transfer->request.body.len >= EXPECT_FROM)
    transfer->headers[count] = (struct curl_slist){no_expect, NULL};
  else
    transfer->headers[count - 1].next = NULL;
  return 0;
}

/** The URL is taken apart once, not at each request. */
static int set_url(struct http_transfer *transfer, struct str url, struct error *err) {
  memory_free(transfer->url);
  curl_free(transfer->whole_url);
  transfer->url = memory_dup(url.data, url.len);
  transfer->whole_url = NULL;
  CURLUcode code = curl_url_set(transfer->target, CURLUPART_URL, transfer->url,
                                CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME);
  if (!code) code = curl_url_get(transfer->target, CURLUPART_URL, &transfer->whole_url, 0);
  curl_easy_setopt(transfer->easy, CURLOPT_URL, transfer->whole_url);
  if (!code) return 0;
  memory_free(transfer->url);
  transfer->url = NULL;
  return error_set(err, ERROR_INVALID, "the request's URL is none: %s", curl_url_strerror(code));
}

/** Options that are the same as last time stay as they are. */
static int set_target(struct http_transfer *transfer, struct error *err) {
  struct str url = buf_str(&transfer->request.url);
  if (url.len == 0 || memchr(url.data, 0, url.len))
    return error_set(err, ERROR_INVALID, "the request has no URL");
  if (!transfer->url || strlen(transfer->url) != url.len || memcmp(transfer->url, url.data, url.len) != 0) {
    int rc = set_url(transfer, url, err);
    if (rc) return rc;
  }
  const char *method = transfer->request.method[0] ? transfer->request.method : "POST";
  if (!is_token(str_from(method))) return error_set(err, ERROR_INVALID, "the request has no method");
  if (strcmp(method, transfer->method) != 0) {
    strcpy(transfer->method, method);
    curl_easy_setopt(transfer->easy, CURLOPT_CUSTOMREQUEST,
                     strcmp(method, "POST") == 0 || is_get(transfer) ? NULL : transfer->method);
  }
  return 0;
}

int http_send(struct http *http, struct http_transfer *transfer, struct str id, int64_t now_ms,
              struct error *err) {
  transfer->request.method[sizeof transfer->request.method - 1] = 0;
  int rc = set_target(transfer, err);
  if (rc == 0) rc = set_headers(http, transfer, id, now_ms, err);
  if (rc) return rc;
  struct str body = buf_str(&transfer->request.body);
  if (is_get(transfer)) {
    curl_easy_setopt(transfer->easy, CURLOPT_HTTPGET, 1L);
  } else {
    curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
    curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, body.len ? body.data : "");
  }
  transfer->error[0] = 0;
  watch(http, transfer);
  curl_multi_add_handle(http->multi, transfer->easy);
  return 0;
}

/* ---- the answer ---- */

static void describe_failure(struct http_transfer *transfer, CURLcode code) {
  long number = 0;
  char space[96];
  const char *text = transfer->error[0] ? transfer->error : curl_easy_strerror(code);
  curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &number);
  switch (code) {
  case CURLE_OPERATION_TIMEDOUT:
    text = transfer->end == HTTP_NOT_SENT ? "timeout while connecting" : "timeout";
    break;
  case CURLE_ABORTED_BY_CALLBACK:
    text = "the connection was closed before an answer";
    break;
  case CURLE_COULDNT_CONNECT:
    if (number) text = strerror_r((int)number, space, sizeof space);
    break;
  default:
    break;
  }
  snprintf(transfer->detail, sizeof transfer->detail, "%.150s", text);
}

static void take_end(struct http_transfer *transfer, CURLcode code) {
  long status = 0;
  curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
  if (status > 999) status = 0; // libcurl takes any digits; such an answer says nothing
  bool cut = code == CURLE_WRITE_ERROR && transfer->body_seen > RESPONSE_BODY_MAX;
  if (code == CURLE_OK || cut) {
    transfer->end = HTTP_ANSWERED;
    buf_clear(&transfer->response_headers);
    value_put_map(&transfer->response_headers, transfer->header_count);
    buf_append(&transfer->response_headers, transfer->header_pairs.data, transfer->header_pairs.len);
    transfer->response = (struct http_response){status, buf_str(&transfer->response_headers),
                                                buf_str(&transfer->response_body)};
    return;
  }
  // Not a byte leaves before on_request() was asked.
  transfer->end = transfer->sends == 0 ? HTTP_NOT_SENT : HTTP_UNKNOWN;
  describe_failure(transfer, code);
}

static struct http_transfer *collect_done(struct http *http) {
  int left;
  CURLMsg *message;
  while ((message = curl_multi_info_read(http->multi, &left))) {
    if (message->msg != CURLMSG_DONE) continue;
    CURLcode code = message->data.result;
    struct http_transfer *transfer;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    take_end(transfer, code);
    leave(http, transfer);
    return transfer;
  }
  return NULL;
}

struct http_transfer *http_collect(struct http *http) {
  struct http_transfer *done = collect_done(http);
  if (done) return done;
  if (http->overdue) {
    http->overdue = false;
    end_late(http);
  }
  struct http_transfer *late = http->ended.first;
  if (late) line_remove(late);
  return late;
}

struct http_transfer *http_acquire(struct http *http, const struct http_account *account) {
  struct http_transfer **link = &http->free;
  // One account's handles are set up for it.
  while (*link && (*link)->account != account) link = &(*link)->next;
  struct http_transfer *transfer = *link;
  if (!transfer) {
    transfer = transfer_new(http, account);
  } else {
    *link = transfer->next;
    if (http->wears_out) {
      curl_easy_cleanup(transfer->easy);
      set_up(http, transfer);
    }
  }
  buf_clear(&transfer->request.url);
  buf_clear(&transfer->request.body);
  buf_clear(&transfer->request.headers);
  transfer->request.method[0] = 0;
  transfer->request.json_signed = false;
  buf_clear(&transfer->header_pairs);
  buf_clear(&transfer->response_body);
  transfer->header_count = 0;
  transfer->body_seen = 0;
  return transfer;
}

void http_release(struct http *http, struct http_transfer *transfer) {
  leave(http, transfer);
  // A large message's memory is not kept for the small ones that follow.
  if (transfer->request.body.cap > 2 * RESPONSE_BODY_MAX) buf_deinit(&transfer->request.body);
  transfer->next = http->free;
  http->free = transfer;
}

struct http_transfer *http_running(struct http *http) {
  for (struct http_line *line = http->lines; line; line = line->next)
    if (line->first) return line->first;
  return http->ended.first;
}

/** Whether libcurl would find a proxy in the environment. */
static bool names_proxy(void) {
  static const char *const variables[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                          "ALL_PROXY"};
  for (size_t i = 0; i < sizeof variables / sizeof *variables; i++)
    if (getenv(variables[i])) return true;
  return false;
}

int http_new(struct http **out, uv_loop_t *loop, long connections, struct error *err) {
  struct http *http = memory_zalloc(sizeof *http);
  http->multi = curl_multi_init();
  if (!http->multi) {
    memory_free(http);
    return error_set(err, ERROR_IO, "libcurl does not start");
  }
  http->proxied = names_proxy();
  http->wears_out = handles_wear_out();
  uv_timer_init(loop, &http->timer);
  uv_timer_init(loop, &http->late);
  http->timer.data = http->late.data = http;
  http->sockets = http_sockets_new(loop, http->multi);
  curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
  curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
  curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, connections);
  *out = http;
  return 0;
}

void http_close(struct http *http) {
  struct http_transfer *running;
  while ((running = http_running(http))) http_release(http, running);
  while (http->free) {
    struct http_transfer *transfer = http->free;
    http->free = transfer->next;
    transfer_free(transfer);
  }
  curl_multi_cleanup(http->multi);
  http_sockets_close(http->sockets);
  uv_close((uv_handle_t *)&http->timer, NULL);
  uv_close((uv_handle_t *)&http->late, NULL);
}

void http_free(struct http *http) {
  while (http->lines) {
    struct http_line *line = http->lines;
    http->lines = line->next;
    memory_free(line);
  }
  http_sockets_free(http->sockets);
  memory_free(http);
}
