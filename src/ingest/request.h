/** One request as it is read: what its head says, put together from the pieces that llhttp delivers, and its
 * body.
 *
 * Nothing is copied unless it goes on in the next bytes from the socket.
 */
#pragma once

#include "ingest/batch.h"
#include "ingest/body.h"

struct route;

enum header {
  HEADER_OTHER,
  HEADER_HOST,
  HEADER_AUTHORIZATION,
  HEADER_API_KEY,
  HEADER_CONTENT_TYPE,
  HEADER_CONTENT_ENCODING,
  HEADER_TRANSFER_ENCODING,
  HEADER_EXPECT,
  HEADER_FEEDBACK_ID,
  HEADER_FEEDBACK_TIMESTAMP,
  HEADER_FEEDBACK_SIGNATURE
};

/** Whether a header was there, and made sense. */
enum given { GIVEN_NOT, GIVEN_KNOWN, GIVEN_UNKNOWN };

struct request {
  struct exchange *exchange; /**< null until the head is complete */
  uint64_t head_bytes;

  char name[40]; /**< of the header that is read; a longer one is none that matters */
  uint8_t name_len;
  enum header header;
  /** Path or value that is read: `piece` borrowed from the bytes at hand, behind `kept` from earlier ones. */
  struct str piece;
  struct buf kept;
  bool token_open;
  const char *bytes;     /**< the bytes at hand begin here … */
  const char *piece_end; /**< … and the latest piece ended here; null before the first */
  bool piece_cut;        /**< it went on to the very end of the former bytes */
  const char *gap;       /**< what stands between a header's name and value begins here, … */
  bool gap_open;         /**< … is not over … */
  bool gap_broken;       /**< … and held a line's end */

  const struct route *route;    /**< null: no such path */
  struct feedback_claim *claim; /**< null: the route asks for none */
  enum media media;
  enum given expect, encoding, type, transfer;
  bool charset_refused;
  bool key_given;
  int key; /**< the API key it carries, or -1 */
  uint8_t hosts;
  bool folded, nameless; /**< faults of the head's form */

  bool refused;       /**< the exchange has its answer; the body is read only to get past it */
  uint64_t swallowed; /**< bytes of such a body */
  struct body body;
};

void request_init(struct request *request);
/** Give everything back, for the connection's next one. */
void request_reset(struct request *request, struct ingest *ingest);

/** The next bytes are at `data`. */
void request_bytes_begin(struct request *request, const char *data);
/** They end at `end` and go away: what was begun in them is kept. */
void request_bytes_end(struct request *request, const char *end);

void request_path_begin(struct request *request);
void request_path_add(struct request *request, struct str piece);
void request_path_end(struct request *request);
void request_name_add(struct request *request, struct str piece);
void request_name_end(struct request *request);
void request_value_add(struct request *request, struct str piece);
/** @param keys  to find an API key in; may be null. */
void request_value_end(struct request *request, const struct keys *keys);
