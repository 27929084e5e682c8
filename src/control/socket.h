/** The control socket's file: made, found stale, connected to. */
#pragma once

#include "base/error.h"
#include <sys/stat.h>

/** Connect, for at most `patience_ms`. @return a descriptor (the caller's, blocking), ERROR_NOT_FOUND if
 * nobody listens there, or ERROR_IO. */
int socket_connect(const char *path, int patience_ms, struct error *err);

/** A bound socket whose file never had more than `mode`; a stale file is replaced.
 * @return 0 with the descriptor (the caller's) and the file's identity; ERROR_EXISTS if somebody answers
 * there or the file is not a socket, ERROR_INVALID for a path that does not fit, ERROR_IO. */
int socket_listen(const char *path, unsigned mode, int *descriptor, struct stat *file, struct error *err);
