#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

enum { CHUNK = 64 << 10 };

int file_read(const char *path, unsigned most_mb, struct buf *out, struct error *err) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return error_set_errno(err, errno, "%s cannot be opened", path);
  size_t before = out->len;
  int rc = 0;
  while (rc == 0) {
    ssize_t got = read(fd, buf_reserve(out, CHUNK), CHUNK);
    if (got == 0) break;
    if (got > 0)
      out->len += (size_t)got;
    else if (errno != EINTR)
      rc = error_set_errno(err, errno, "%s cannot be read", path);
    if (out->len - before > (size_t)most_mb << 20)
      rc = error_set(err, ERROR_LIMIT, "%s is larger than %u MB", path, most_mb);
  }
  close(fd);
  return rc;
}

int file_write(const char *path, struct str bytes, struct error *err) {
  int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  int failed = fd < 0 ? errno : 0;
  while (!failed && bytes.len) {
    ssize_t written = write(fd, bytes.data, bytes.len);
    if (written >= 0)
      bytes = (struct str){bytes.data + written, bytes.len - (size_t)written};
    else if (errno != EINTR)
      failed = errno;
  }
  if (fd >= 0 && close(fd) != 0 && !failed) failed = errno;
  return failed ? error_set_errno(err, failed, "%s cannot be written", path) : 0;
}
