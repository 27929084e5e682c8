/** HTTP/1.1 over one connection: bytes -> requests, each with its exchange in the connection's queue. */
#pragma once

#include "base/str.h"

#include <stddef.h>

struct connection;

void http_init(struct connection *connection);
/** Read on. @param data  with JSON_PADDING readable bytes behind.
 * @return bytes taken: fewer than `len` when the connection has paused, or reads no more. */
size_t http_parse(struct connection *connection, const char *data, size_t len);
/** The client sends no more. What it had begun is answered 400. */
void http_finish(struct connection *connection);
/** Answer `status` to what is being read, or was about to be, and read no more. */
void http_abort(struct connection *connection, unsigned status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
