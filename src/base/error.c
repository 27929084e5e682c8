#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/** Formats beside the target first: the arguments may point into err's own message. */
static void compose(struct error *err, const char *tail_mark, const char *tail, const char *format,
                    va_list args) {
  char text[sizeof err->message];
  int len = vsnprintf(text, sizeof text, format, args);
  size_t used = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
  text[used] = 0;
  snprintf(text + used, sizeof text - used, "%s%s", tail_mark, tail);
  memcpy(err->message, text, sizeof text);
}

int error_set(struct error *err, int code, const char *format, ...) {
  if (!err) return code;
  va_list args;
  va_start(args, format);
  compose(err, "", "", format, args);
  va_end(args);
  err->code = code;
  return code;
}

int error_prefix(struct error *err, const char *format, ...) {
  if (!err) return ERROR_INVALID;
  char old[sizeof err->message];
  memcpy(old, err->message, sizeof old);
  va_list args;
  va_start(args, format);
  compose(err, ": ", old, format, args);
  va_end(args);
  if (!err->code) err->code = ERROR_INVALID;
  return err->code;
}

int error_set_errno(struct error *err, int errnum, const char *format, ...) {
  int code = errnum == ENOSPC || errnum == EDQUOT ? ERROR_NO_SPACE : ERROR_IO;
  if (!err) return code;
  char space[128];
  va_list args;
  va_start(args, format);
  compose(err, ": ", strerror_r(errnum, space, sizeof space), format, args);
  va_end(args);
  err->code = code;
  return code;
}
