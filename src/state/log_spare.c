#include "state/log_spare.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *spare_path(struct buf *out, const char *directory, uint64_t number) {
  buf_clear(out);
  buf_printf(out, "%s/%016" PRIx64 ".spare", directory, number);
  buf_append(out, "", 1);
  return (const char *)out->data;
}

/** @return how many; `numbers` are theirs. A folder that cannot be read has none. */
static size_t spare_list(const char *directory, struct buf *numbers) {
  if (segment_list_named(directory, ".spare", numbers, NULL)) buf_clear(numbers);
  return numbers->len / sizeof(uint64_t);
}

static uint64_t number_at(const struct buf *numbers, size_t at) {
  return ((const uint64_t *)(const void *)numbers->data)[at];
}

int spare_keep(const char *directory, uint64_t number) {
  struct buf from, to;
  buf_init(&from);
  buf_init(&to);
  int failure =
      rename(segment_path(&from, directory, number), spare_path(&to, directory, number)) ? errno : 0;
  buf_deinit(&from);
  buf_deinit(&to);
  return failure;
}

void spare_trim(const char *directory, size_t most) {
  struct buf numbers, path;
  buf_init(&numbers);
  buf_init(&path);
  size_t count = spare_list(directory, &numbers);
  // The oldest have been out of the cache the longest.
  for (size_t i = 0; i + most < count; i++) unlink(spare_path(&path, directory, number_at(&numbers, i)));
  buf_deinit(&numbers);
  buf_deinit(&path);
}

size_t spare_measure(const char *directory, uint64_t *bytes) {
  struct buf numbers, path;
  buf_init(&numbers);
  buf_init(&path);
  size_t count = spare_list(directory, &numbers);
  *bytes = 0;
  for (size_t i = 0; i < count; i++) {
    struct stat info;
    if (stat(spare_path(&path, directory, number_at(&numbers, i)), &info) == 0)
      *bytes += (uint64_t)info.st_size;
  }
  buf_deinit(&numbers);
  buf_deinit(&path);
  return count;
}

/** A backup has links to the segments that were there (state/backup.c): those files are its own. Who still
 * reads a segment holds a lock. */
static bool is_free(int descriptor, uint64_t *room) {
  struct stat info;
  if (fstat(descriptor, &info) || info.st_nlink != 1 || info.st_size < SEGMENT_HEADER) return false;
  *room = (uint64_t)info.st_size;
  return flock(descriptor, LOCK_EX | LOCK_NB) == 0;
}

int spare_take(const char *directory, struct buf *path, uint64_t *room) {
  struct buf numbers;
  buf_init(&numbers);
  int descriptor = -1;
  // The newest first, whose pages are most likely in the cache.
  for (size_t i = spare_list(directory, &numbers); i-- > 0 && descriptor < 0;) {
    descriptor = open(spare_path(path, directory, number_at(&numbers, i)), O_RDWR | O_CLOEXEC);
    if (descriptor < 0 || is_free(descriptor, room)) continue;
    close(descriptor);
    descriptor = -1;
  }
  buf_deinit(&numbers);
  return descriptor;
}

void spare_taken(int descriptor) {
  flock(descriptor, LOCK_UN);
}
