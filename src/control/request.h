/** What may be asked over the control socket: names, their arguments, and the host's commands behind them. */
#pragma once

#include "event/json.h"
#include "host/host.h"

enum {
  REQUEST_BYTES_MAX = 64 << 10 /**< of one line, its end not counted */
};

enum request_argument {
  REQUEST_USER = 1,
  REQUEST_CHANNEL = 2,
  REQUEST_ID = 4,
  REQUEST_TEXT = 8,
  REQUEST_KEY = 16
};

struct request_command {
  const char *name;
  enum host_command_type type;
  unsigned needs, takes; /**< request_argument flags: must be there; may be there */
  int64_t patience_ms;   /**< how long a client should wait for the answer */
  bool changes;          /**< worth a line in the log */
};

/** @return the command of that name, or null. */
const struct request_command *request_find(struct str name);

/** Read one request. An argument left out that means "any" or "all" is filled in.
 * @param bytes  the request as a value; `command`'s strings borrow from it (or are static).
 * @return 0 with type and strings of `command` set, or ERROR_INVALID naming the argument. */
int request_read(struct str bytes, const struct request_command **found, struct host_command *command,
                 struct error *err);

/** The text that stands for an error code in an answer: "invalid", "not_found", … */
const char *request_code_name(int code);
/** The code behind such a text; ERROR_IO for one that this version does not know. */
int request_code(struct str name);

/** An answer's line, newline included, appended to `out`. @param status  0, or an error_code with `message`.
 * @param result  a value, or empty for null. */
void request_answer(struct buf *out, int status, struct str message, struct str result);
