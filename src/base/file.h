/** Whole files. Blocking; any thread. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

/** Append what a file holds.
 * @param most_mb  MB. @return 0; ERROR_LIMIT where it holds more, ERROR_IO where it cannot be opened or read:
 * then some of it may have been appended. */
int file_read(const char *path, unsigned most_mb, struct buf *out, struct error *err);
/** Make a file of these bytes, or put them in place of what it held; not synced. @return 0, ERROR_NO_SPACE or
 * ERROR_IO: then it may be there in part. */
int file_write(const char *path, struct str bytes, struct error *err);
