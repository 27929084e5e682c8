/** What client.c (one question) and stream.c (a connection that stays) share. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

struct json_parser;

/** Wait until the socket is ready. @param events  of poll(2). @param deadline_us  monotonic. @return 0, or
 * ERROR_UNAVAILABLE: the host takes too long. */
int control_await(int descriptor, short events, int64_t deadline_us, struct error *err);
/** Send a line, its end added. @param deadline_us  monotonic. @return 0 or ERROR_UNAVAILABLE, ERROR_IO. A
 * host that has closed is no error here: it may have said why before. */
int control_send_line(int descriptor, struct str line, int64_t deadline_us, struct error *err);
/** Take an answer's line (which gets padding) apart: its result is appended to `out`. @return 0 or the host's
 * error. */
int control_take_answer(struct json_parser *parser, struct buf *line, struct buf *out, struct error *err);
