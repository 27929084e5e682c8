/** libcurl's sockets on a loop. A kept connection stays registered between its requests, which saves two
 * system calls each. One thread. */
#pragma once

#include <curl/curl.h>
#include <uv.h>

struct http_sockets;
struct http_sockets *http_sockets_new(uv_loop_t *loop, CURLM *multi);
/** Have the handle's sockets opened and closed here. */
void http_sockets_watch(struct http_sockets *sockets, CURL *easy);
/** After the multi handle is gone. The loop must turn until its handles are. */
void http_sockets_close(struct http_sockets *sockets);
void http_sockets_free(struct http_sockets *sockets);
