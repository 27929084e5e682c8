/** One client: its socket, TLS, time-outs, and the queue of answers due to it. */
#pragma once

#include "ingest/request.h"

#include <llhttp.h>

enum {
  DUE_MAX = 64,           /**< answers due at which no further request is read */
  ANSWERS_MAX = 256 << 10 /**< bytes of answers made ready at once */
};

enum connection_phase {
  CONNECTION_OPEN,   /**< requests are read */
  CONNECTION_LAST,   /**< no more are; it closes after the answers */
  CONNECTION_LINGER, /**< all is sent; waiting for the client to close, or it might lose the answer */
  CONNECTION_CLOSED
};

/** What it is reading. */
enum connection_reading { READING_NOTHING, READING_HEAD, READING_BODY };

struct connection {
  uv_tcp_t tcp; /**< first */
  struct ingest *ingest;
  struct connection *next, *previous; /**< of all */
  struct connection *next_dirty;
  enum connection_phase phase;
  enum connection_reading reading;
  uint64_t since; /**< loop time at which it took up reading that, or fell idle, or lingered */
  bool fresh;     /**< no request yet */
  bool counted;   /**< among the host's connections */
  bool dirty, paused, ended, writing;
  llhttp_t parser;
  struct request request;

  struct exchange *first, **last; /**< in the order of the requests */
  uint32_t due;

  struct tls *tls;
  struct buf rest;    /**< received, not yet read */
  struct buf sending; /**< what the socket did not take at once */
  size_t booked;      /**< for these two */
  uv_write_t write;
  uv_shutdown_t shutdown;
  size_t unsent; /**< when last looked at … */
  uint64_t unsent_since;
};

/** Take a client from the listener. */
void connection_accept(struct ingest *ingest);
/** Queue an exchange for what is being read. */
struct exchange *connection_enqueue(struct connection *connection);
/** There may be something to write: looked at once this turn of the loop is over. */
void connection_touch(struct connection *connection);
/** Write what is due. */
void connection_flush(struct connection *connection);
/** Read no more requests; close after the answers. */
void connection_end(struct connection *connection);
/** Read no more until answers are out. */
void connection_pause(struct connection *connection);
/** Close if one of its times is up. */
void connection_check_time(struct connection *connection, uint64_t now);
/** No request is under way, no answer due. */
bool connection_is_idle(const struct connection *connection);
void connection_close(struct connection *connection);
