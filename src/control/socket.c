#include "control/socket.h"

#include "base/str.h"
#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

static int address_of(const char *path, struct sockaddr_un *out, struct error *err) {
  *out = (struct sockaddr_un){.sun_family = AF_UNIX};
  size_t len = strlen(path);
  if (len == 0 || len >= sizeof out->sun_path)
    return error_set(err, ERROR_INVALID,
                     "control socket \"%s\": a path has 1 to %zu bytes; set control.socket to a shorter one",
                     path, sizeof out->sun_path - 1);
  memcpy(out->sun_path, path, len);
  return 0;
}

int socket_connect(const char *path, int patience_ms, struct error *err) {
  struct sockaddr_un address;
  int rc = address_of(path, &address, err);
  if (rc) return rc;
  int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return error_set_errno(err, errno, "cannot make a socket");
  // A host whose queue of connections is full makes connect() wait.
  struct timeval patience = {patience_ms / 1000, patience_ms % 1000 * 1000};
  setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
  if (connect(descriptor, (struct sockaddr *)&address, sizeof address) == 0) return descriptor;
  int failed = errno;
  close(descriptor);
  if (failed == ENOENT || failed == ECONNREFUSED || failed == ENOTDIR)
    return error_set(err, ERROR_NOT_FOUND, "no host listens on %s", path);
  if (failed == EAGAIN) return error_set(err, ERROR_UNAVAILABLE, "the host on %s takes no connection", path);
  return error_set_errno(err, failed, "cannot connect to %s", path);
}

/** Make room for a socket at `path`: nothing is there, or one that nobody answers on. */
static int clear_stale(const char *path, struct error *err) {
  struct stat file;
  if (lstat(path, &file)) return errno == ENOENT ? 0 : error_set_errno(err, errno, "control socket %s", path);
  if (!S_ISSOCK(file.st_mode))
    return error_set(err, ERROR_EXISTS, "control socket %s: the file there is not a socket; move it away",
                     path);
  struct error answer = {0};
  int descriptor = socket_connect(path, 1000, &answer);
  if (descriptor >= 0) close(descriptor);
  if (descriptor >= 0 || descriptor == ERROR_UNAVAILABLE)
    return error_set(err, ERROR_EXISTS, "control socket %s: another host answers there", path);
  if (descriptor != ERROR_NOT_FOUND) return error_set(err, descriptor, "%s", answer.message);
  if (unlink(path) && errno != ENOENT)
    return error_set_errno(err, errno, "control socket %s is stale and stays", path);
  return 0;
}

int socket_listen(const char *path, unsigned mode, int *out, struct stat *file, struct error *err) {
  struct sockaddr_un address;
  int rc = address_of(path, &address, err);
  if (rc == 0) rc = clear_stale(path, err);
  if (rc) return rc;
  int descriptor = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return error_set_errno(err, errno, "cannot make a socket");
  // The mode is set before there is a file, and again after it for what the umask took away: nobody else can
  // connect in between, and other threads' files are not touched as by a change of the umask.
  if (fchmod(descriptor, mode) || bind(descriptor, (struct sockaddr *)&address, sizeof address) ||
      chmod(path, mode) || lstat(path, file)) {
    rc = error_set_errno(err, errno, "cannot make the control socket %s", path);
    close(descriptor);
    return rc;
  }
  *out = descriptor;
  return 0;
}
