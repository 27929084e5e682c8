/** One request's body on its way in: borrowed if it came in one piece, else collected, unpacked if it is
 * gzip.
 *
 * A buffer grows as bytes arrive, never on a claim of the client, and is booked on the ingest's account
 * before it grows.
 */
#pragma once

#include "ingest/exchange.h"

#include <zlib.h>

struct body {
  bool is_report;      /**< a provider's: FEEDBACK_BODY_MAX bounds it, and ingest's account of reports too */
  struct buf bytes;    /**< collected so far */
  struct str borrowed; /**< the whole body where it was read, instead */
  uint64_t received;   /**< bytes as they came, packed or not */
  z_stream *inflate;   /**< null unless gzip */
  bool member_ended;   /**< what was unpacked so far ends with a gzip member */
  size_t booked;
};

/** Bytes that it may have, unpacked. */
uint64_t body_max(const struct body *body, const struct ingest *ingest);
/** Answer 413. @return -1. */
int body_refuse_size(const struct body *body, struct exchange *exchange);
/** Expect a gzip body. @return 0, or -1 with the exchange refused. */
int body_unpack(struct body *body, struct exchange *exchange);
/** Take the next bytes. @param whole  there is nothing before or after them, and JSON_PADDING readable bytes
 * behind.
 * @return 0, or -1 with the exchange refused: 413, 400 for broken gzip, 503 while there is no memory. */
int body_add(struct body *body, struct exchange *exchange, struct str bytes, bool whole);
/** The whole body, with JSON_PADDING readable bytes behind, until body_reset(). @return 0, or -1 with the
 * exchange refused. */
int body_end(struct body *body, struct exchange *exchange, struct str *text);
/** Give everything back. A body of zeroes is a reset one. */
void body_reset(struct body *body, struct ingest *ingest);
