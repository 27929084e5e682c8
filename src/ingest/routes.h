/** Which path is answered by what. */
#pragma once

#include "base/str.h"

#include <stdbool.h>

struct connection;
struct exchange;

struct route {
  struct str path;
  bool has_rest;     /**< `path` is a beginning, and something follows it */
  bool takes_post;   /**< POST; else GET and HEAD */
  const char *allow; /**< header line for 405 */
  /** The head is complete: may the body come? @return 0, or -1 with the exchange refused. */
  int (*admit)(struct connection *connection, struct exchange *exchange);
  /** The body is there: make the answer, or hand the batch to the host. */
  void (*serve)(struct connection *connection, struct exchange *exchange, struct str body);
};

/** @param target  as in the request line: a path, its query, or a whole URL. @param rest  what follows the
 * route's path, borrowed from `target`. @return null: no such path. */
const struct route *route_find(struct str target, struct str *rest);
