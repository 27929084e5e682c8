#include "deliver/transport_http.h"

#include "base/memory.h"
#include "deliver/http_sockets.h"
#include "deliver/standard_webhooks.h"

#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum {
  RESPONSE_BODY_KEPT = 64 << 10,
  RESPONSE_BODY_MAX = 1 << 20, /**< a longer one is broken off: its status is known */
  RESPONSE_HEADERS_MAX = 16 << 10,
  CONNECTION_LIFE_S = 600, /**< so that a provider's new addresses are found */
  KICKS_MAX = 8
};

struct http {
  uv_timer_t timer;
  CURLM *multi;
  struct http_sockets *sockets;
  struct http_transfer *free;    /**< by `next` */
  struct http_transfer *running; /**< doubly linked */
  bool due;                      /**< libcurl wants to be called at once */
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
  transfer->sends++;
  return transfer->sends > 1 && !transfer->account->may_resend ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

static struct http_transfer *transfer_new(struct http *http, const struct http_account *account) {
  struct http_transfer *transfer = memory_zalloc(sizeof *transfer);
  CURL *easy = transfer->easy = curl_easy_init();
  if (!easy) abort();
  transfer->account = account;
  curl_easy_setopt(easy, CURLOPT_PRIVATE, transfer);
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "kairos/" KAIROS_VERSION);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, (long)account->config->timeout);
  curl_easy_setopt(easy, CURLOPT_MAXLIFETIME_CONN, (long)CONNECTION_LIFE_S);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer->error);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, transfer);
  curl_easy_setopt(easy, CURLOPT_PREREQFUNCTION, on_request);
  curl_easy_setopt(easy, CURLOPT_PREREQDATA, transfer);
  if (account->config->ca_file) curl_easy_setopt(easy, CURLOPT_CAINFO, account->config->ca_file);
  http_sockets_watch(http->sockets, easy);
  return transfer;
}

static void transfer_free(struct http_transfer *transfer) {
  curl_easy_cleanup(transfer->easy);
  memory_free(transfer->url);
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

static bool is_token(struct str name) {
  for (size_t i = 0; i < name.len; i++) {
    unsigned char byte = (unsigned char)name.data[i];
    if (byte <= ' ' || byte >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", byte)) return false;
  }
  return name.len > 0;
}

static int put_header(struct http_transfer *transfer, struct str name, struct str value, uint32_t *count,
                      struct error *err) {
  bool good = is_token(name);
  for (size_t i = 0; i < value.len && good; i++)
    good = (unsigned char)value.data[i] >= ' ' || value.data[i] == '\t';
  if (!good)
    return error_set(err, ERROR_INVALID,
                     "the request's header \"%.*s\" has a character that no header may have",
                     name.len < 64 ? (int)name.len : 64, name.data);
  if (*count == HTTP_HEADERS_MAX)
    return error_set(err, ERROR_INVALID, "the request has more than %d headers", HTTP_HEADERS_MAX);
  // Offsets first: the text may move until it is complete.
  transfer->headers[(*count)++].data = (char *)(uintptr_t)transfer->header_text.len;
  buf_append(&transfer->header_text, name.data, name.len);
  // "Name;" is how libcurl is told of a header without a value.
  if (value.len)
    buf_append(&transfer->header_text, ": ", 2);
  else
    buf_put_u8(&transfer->header_text, ';');
  buf_append(&transfer->header_text, value.data, value.len);
  buf_put_u8(&transfer->header_text, 0);
  return 0;
}

static int sign(struct http_transfer *transfer, struct str id, int64_t now_ms, uint32_t *count,
                struct error *err) {
  char time[24], signature[WEBHOOK_SIGNATURE_LENGTH + 1];
  int len = snprintf(time, sizeof time, "%lld", (long long)(now_ms / 1000));
  webhook_sign(transfer->account->signer, id, now_ms / 1000, buf_str(&transfer->request.body), signature);
  int rc = put_header(transfer, STR("webhook-id"), id, count, err);
  if (rc == 0)
    rc = put_header(transfer, STR("webhook-timestamp"), (struct str){time, (size_t)len}, count, err);
  if (rc == 0) rc = put_header(transfer, STR("webhook-signature"), str_from(signature), count, err);
  return rc;
}

static int set_headers(struct http_transfer *transfer, struct str id, int64_t now_ms, struct error *err) {
  struct reader reader = reader_of(buf_str(&transfer->request.headers));
  struct value map = {.type = VALUE_MAP};
  uint32_t count = 0;
  bool typed = false;
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
    rc = put_header(transfer, name.string, value.string, &count, err);
  }
  if (rc == 0 && !typed) rc = put_header(transfer, STR("Content-Type"), STR("application/json"), &count, err);
  if (rc == 0 && transfer->request.json_signed && transfer->account->signer)
    rc = sign(transfer, id, now_ms, &count, err);
  if (rc == 0 && count == HTTP_HEADERS_MAX)
    rc = error_set(err, ERROR_INVALID, "the request has more than %d headers", HTTP_HEADERS_MAX - 1);
  if (rc) return rc;
  for (uint32_t i = 0; i < count; i++) {
    transfer->headers[i].data = (char *)transfer->header_text.data + (uintptr_t)transfer->headers[i].data;
    transfer->headers[i].next = &transfer->headers[i + 1];
  }
  // Without this libcurl asks before it sends a large body, and waits a second for an answer.
  static char no_expect[] = "Expect:";
  transfer->headers[count] = (struct curl_slist){no_expect, NULL};
  return 0;
}

/** Options that are the same as last time stay as they are. */
static int set_target(struct http_transfer *transfer, struct error *err) {
  struct str url = buf_str(&transfer->request.url);
  if (url.len == 0 || memchr(url.data, 0, url.len))
    return error_set(err, ERROR_INVALID, "the request has no URL");
  if (!transfer->url || strlen(transfer->url) != url.len || memcmp(transfer->url, url.data, url.len) != 0) {
    memory_free(transfer->url);
    transfer->url = memory_dup(url.data, url.len);
    curl_easy_setopt(transfer->easy, CURLOPT_URL, transfer->url);
  }
  const char *method = transfer->request.method[0] ? transfer->request.method : "POST";
  if (!is_token(str_from(method))) return error_set(err, ERROR_INVALID, "the request has no method");
  if (strcmp(method, transfer->method) != 0) {
    strcpy(transfer->method, method);
    curl_easy_setopt(transfer->easy, CURLOPT_CUSTOMREQUEST,
                     strcmp(method, "POST") == 0 ? NULL : transfer->method);
  }
  return 0;
}

int http_send(struct http *http, struct http_transfer *transfer, struct str id, int64_t now_ms,
              struct error *err) {
  transfer->request.method[sizeof transfer->request.method - 1] = 0;
  int rc = set_target(transfer, err);
  if (rc == 0) rc = set_headers(transfer, id, now_ms, err);
  if (rc) return rc;
  struct str body = buf_str(&transfer->request.body);
  curl_easy_setopt(transfer->easy, CURLOPT_HTTPHEADER, transfer->headers);
  curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
  curl_easy_setopt(transfer->easy, CURLOPT_POSTFIELDS, body.len ? body.data : "");
  transfer->sends = 0;
  transfer->error[0] = 0;
  transfer->next = http->running;
  transfer->prev = NULL;
  if (http->running) http->running->prev = transfer;
  http->running = transfer;
  transfer->running = true;
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

static void leave(struct http *http, struct http_transfer *transfer) {
  if (!transfer->running) return;
  curl_multi_remove_handle(http->multi, transfer->easy);
  *(transfer->prev ? &transfer->prev->next : &http->running) = transfer->next;
  if (transfer->next) transfer->next->prev = transfer->prev;
  transfer->running = false;
}

struct http_transfer *http_collect(struct http *http) {
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

struct http_transfer *http_acquire(struct http *http, const struct http_account *account) {
  struct http_transfer **link = &http->free;
  // One account's handles are set up for it.
  while (*link && (*link)->account != account) link = &(*link)->next;
  struct http_transfer *transfer = *link;
  if (transfer)
    *link = transfer->next;
  else
    transfer = transfer_new(http, account);
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
  return http->running;
}

int http_new(struct http **out, uv_loop_t *loop, long connections, struct error *err) {
  struct http *http = memory_zalloc(sizeof *http);
  http->multi = curl_multi_init();
  if (!http->multi) {
    memory_free(http);
    return error_set(err, ERROR_IO, "libcurl does not start");
  }
  uv_timer_init(loop, &http->timer);
  http->timer.data = http;
  http->sockets = http_sockets_new(loop, http->multi);
  curl_multi_setopt(http->multi, CURLMOPT_TIMERFUNCTION, set_timer);
  curl_multi_setopt(http->multi, CURLMOPT_TIMERDATA, http);
  curl_multi_setopt(http->multi, CURLMOPT_PIPELINING, CURLPIPE_NOTHING);
  curl_multi_setopt(http->multi, CURLMOPT_MAXCONNECTS, connections);
  *out = http;
  return 0;
}

void http_close(struct http *http) {
  while (http->running) http_release(http, http->running);
  while (http->free) {
    struct http_transfer *transfer = http->free;
    http->free = transfer->next;
    transfer_free(transfer);
  }
  curl_multi_cleanup(http->multi);
  http_sockets_close(http->sockets);
  uv_close((uv_handle_t *)&http->timer, NULL);
}

void http_free(struct http *http) {
  http_sockets_free(http->sockets);
  memory_free(http);
}
