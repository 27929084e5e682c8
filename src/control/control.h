/** Looking into the running host: the control socket and what answers on it; metrics' gauges.
 *
 * A Unix stream socket with the configured mode. A request is one JSON object in one line (at most 64 KB):
 * {"command":"why","user":"ada","text":"reminder"}; the answer is one JSON object in one line:
 * {"ok":true,"result":…} or {"ok":false,"code":"not_found","error":"…"}. Many requests may follow one another
 * on a connection; they are run one at a time and answered in order. Commands and their arguments:
 * control/request.c. A last line without its end counts when the client has closed its side for writing. A
 * client that does not read is dropped when its answers exceed 64 MB; at most 64 clients. Main thread.
 */
#pragma once

#include "host/host.h"

struct control;
/** Replaces a stale socket file; refuses one that answers. */
int control_new(struct control **out, uv_loop_t *loop, struct host *host, const char *path, unsigned mode,
                struct error *err);
/** Closes socket and clients and removes the file; the loop must turn once more before control_free().
 * Commands under way stay with the host, and their answers go nowhere, also after control_free(). */
void control_close(struct control *control);
/** Commands that the host has not answered yet: it must not be freed before. */
unsigned control_under_way(const struct control *control);
void control_free(struct control *control);

/* ---- the client's side: blocking, any thread ---- */

/** Connect, ask, wait for the answer (30 s, a backup longer). @param request_json  one line, its end not
 * needed.
 * @return 0 with the answer's `result` as a value appended to `out`; ERROR_NOT_FOUND if no host listens
 * there; else the host's error. */
int control_ask(const char *path, struct str request_json, struct buf *out, struct error *err);
/** Whether a host listens there, which tells control_ask()'s ERROR_NOT_FOUND from the host's own.
 * @return 1, 0, or ERROR_IO if it cannot be told (no permission). */
int control_listens(const char *path, struct error *err);
