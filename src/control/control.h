/** Looking into the running host: the control socket and what answers on it; metrics' gauges.
 *
 * A Unix stream socket with the configured mode. A request is one JSON object in one line (at most 64 KB):
 * {"command":"why","user":"ada","text":"reminder"}; the answer is one JSON object in one line:
 * {"ok":true,"result":…} or {"ok":false,"code":"not_found","error":"…"}. Many requests may follow one another
 * on a connection; they are run one at a time and answered in order. Commands and their arguments:
 * control/request.c. A last line without its end counts when the client has closed its side for writing. A
 * client that does not read is dropped when its answers exceed 64 MB; one that asks nothing for five minutes
 * is closed. {"command":"repl"} and {"command":"tail"} turn the connection into something that stays
 * (look/look.h): then 1 MB may be unread, and an hour may pass without a line. At most 64 clients; who comes
 * then is told so. Main thread.
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

/** A connection that stays (look/look.h), and its lines. One thread. */
struct control_stream;
/** Connect and ask for a session or a tail. @return 0 with the answer's `result` appended; errors as
 * control_ask(). */
int control_stream_open(struct control_stream **out, const char *path, struct str request_json,
                        struct buf *result, struct error *err);
void control_stream_close(struct control_stream *stream);
/** For poll(): readable when something may have come. */
int control_stream_descriptor(const struct control_stream *stream);
/** Send one line, its end not needed. @return 0 or ERROR_UNAVAILABLE. */
int control_stream_send(struct control_stream *stream, struct str line, struct error *err);
/** The next line, as a value. @param wait  block until there is one. @return 1 with the value in `line`
 * (cleared first), 0 if none has come yet (or a signal came), ERROR_UNAVAILABLE when the host has closed,
 * ERROR_CORRUPT. */
int control_stream_receive(struct control_stream *stream, bool wait, struct buf *line, struct error *err);
