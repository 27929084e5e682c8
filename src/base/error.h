/** Errors: a code that programs act on and a sentence that people read.
 *
 * A function that can fail returns 0 or one of the negative codes below and fills `err`, its last
 * parameter. The sentence names what was found, where, and what is allowed; it never holds personal data.
 */
#pragma once

enum error_code {
  ERROR_INVALID = -1,     /**< the caller's data is wrong; trying again will not help */
  ERROR_NOT_FOUND = -2,   /**< no such thing */
  ERROR_EXISTS = -3,      /**< it is there already, or held by someone else */
  ERROR_LIMIT = -4,       /**< a stated bound was met; nothing was changed */
  ERROR_IO = -5,          /**< the operating system refused; errno's text is in the message */
  ERROR_NO_SPACE = -6,    /**< disk full; goes on when there is room */
  ERROR_CORRUPT = -7,     /**< stored bytes do not check out */
  ERROR_VERSION = -8,     /**< written by a newer version */
  ERROR_BUDGET = -9,      /**< a rule used up its time, steps or memory */
  ERROR_SCRIPT = -10,     /**< a rule or template failed by its own fault */
  ERROR_UNAVAILABLE = -11 /**< not now: starting, draining, recovering */
};

struct error {
  int code;           /**< 0 while no error was set */
  char message[1024]; /**< one sentence, or lines for a traceback; always terminated */
};

/** As no error was set. An `= {0}` would clear the whole message, which on the way of an event costs as much
 * as a rule's call. */
static inline void error_none(struct error *err) {
  err->code = 0;
  err->message[0] = 0;
}

/** Who gathers errors: told of one, so that the work goes on without what failed. `err` is the teller's. */
typedef void error_taker(void *context, const struct error *err);

/** Fill `err` (which may be null) and return `code`. */
int error_set(struct error *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/** Put "context: " in front of the message that is there. @return err's code;
 * ERROR_INVALID where there is no `err`, or none was set. */
int error_prefix(struct error *err, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** ERROR_NO_SPACE for ENOSPC and EDQUOT, else ERROR_IO; appends errno's text. */
int error_set_errno(struct error *err, int errnum, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
