/** libcurl's sockets on a loop, through a set of their own: what is ready may wake the loop at once, or wait
 * to be looked for. A kept connection stays in the set between its requests, which saves two system calls
 * each. One thread.
 */
#pragma once

#include <curl/curl.h>
#include <stdbool.h>
#include <uv.h>

struct http_sockets;
struct http_sockets *http_sockets_new(uv_loop_t *loop, CURLM *multi);
/** Have the handle's sockets opened and closed here. */
void http_sockets_watch(struct http_sockets *sockets, CURL *easy);
/** Tell libcurl of those that are ready. @return whether there may be more */
bool http_sockets_run(struct http_sockets *sockets);
/** Whether the loop shall wake when one becomes ready; it does to begin with. If not, somebody has to run
 * them. */
void http_sockets_wake(struct http_sockets *sockets, bool wake);
/** After the multi handle is gone. The loop must turn until its handles are. */
void http_sockets_close(struct http_sockets *sockets);
void http_sockets_free(struct http_sockets *sockets);
