/** HTTP/1.1 requests on one loop by libcurl's multi interface: connections are kept, handles too.
 *
 * Answers are collected once a turn of the loop by http_collect(), so that whatever follows from them is
 * batched. One thread.
 */
#pragma once

#include "deliver/deliver.h"

#include <curl/curl.h>
#include <uv.h>

struct http;
struct webhook_signer;

/** What is the same in every request of an account. */
struct http_account {
  const struct config_provider *config;
  struct webhook_signer *signer; /**< null: requests are not signed */
  bool may_resend; /**< the provider honours keys, so libcurl may send again on its own when a kept connection
                      turns out closed */
};

enum http_end {
  HTTP_ANSWERED, /**< `response` holds it */
  HTTP_NOT_SENT, /**< surely no byte of the request left */
  HTTP_UNKNOWN   /**< it may have arrived */
};

enum { HTTP_HEADERS_MAX = 64 };

/** A request and its answer, reused from one to the next, with its connection. */
struct http_transfer {
  struct http_request request; /**< filled in by the caller before http_send() */
  void *owner;                 /**< the caller's */
  enum http_end end;
  struct http_response response; /**< borrowed till the transfer is released */
  char detail[160];              /**< NOT_SENT, UNKNOWN: why */
  /* the rest is the transport's own */
  struct http *http;
  const struct http_account *account;
  CURL *easy;
  CURLU *target; /**< `url`, taken apart */
  struct http_transfer *next, *prev;
  struct http_line *line; /**< it stands in; null: none */
  int64_t late_at;        /**< running: then it has taken too long, monotonic ms */
  char *url;
  char *whole_url; /**< libcurl's: of `target` */
  char method[8];
  struct buf header_text, response_headers, header_pairs, response_body;
  struct curl_slist headers[HTTP_HEADERS_MAX];
  uint32_t header_count;
  size_t body_seen; /**< bytes of the answer's body that came; it holds fewer of a long one */
  unsigned sends;   /**< how often the request began to leave */
  char error[CURL_ERROR_SIZE];
};

/** @param connections  kept at most. */
int http_new(struct http **out, uv_loop_t *loop, long connections, struct error *err);
/** Ends all transfers without an answer. The loop must turn until its handles are gone; then http_free(). */
void http_close(struct http *http);
void http_free(struct http *http);

/** A transfer to fill in, its request's buffers empty. */
struct http_transfer *http_acquire(struct http *http, const struct http_account *account);
/** Begin. `id`: the message's, for the signature. @return 0; or ERROR_INVALID for a request that cannot be
 * one: nothing was sent. */
int http_send(struct http *http, struct http_transfer *transfer, struct str id, int64_t now_ms,
              struct error *err);
/** The next that ended since it was last asked; null if none. */
struct http_transfer *http_collect(struct http *http);
/** One that is under way; null if none. */
struct http_transfer *http_running(struct http *http);
/** Give it back; one under way is broken off. */
void http_release(struct http *http, struct http_transfer *transfer);
/** Let what was just sent begin at once, instead of with the loop's next turn. */
void http_kick(struct http *http);
/** Whether answers wait till http_receive(), instead of waking the loop. */
void http_gather(struct http *http, bool gather);
/** Take in what has arrived; nothing to do unless answers are gathered. */
void http_receive(struct http *http);
/** Transfers that stand before their first byte, most of them for a connection. */
uint32_t http_beginning(const struct http *http);
