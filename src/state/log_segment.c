#include "state/log_spare.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "base/memory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

static const char SEGMENT_MAGIC[8] = "KAIROSLG";
#define GROUP_MAGIC 0x50524735u /* "5GRP" */

const char *segment_path(struct buf *out, const char *directory, uint64_t number) {
  buf_clear(out);
  buf_printf(out, "%s/%016" PRIx64 ".log", directory, number);
  buf_append(out, "", 1);
  return (const char *)out->data;
}

static bool parse_name(const char *name, const char *suffix, uint64_t *number) {
  if (strlen(name) != 16 + strlen(suffix) || strcmp(name + 16, suffix) != 0) return false;
  for (int i = 0; i < 16; i++)
    if (!isxdigit((unsigned char)name[i]) || isupper((unsigned char)name[i])) return false;
  *number = strtoull(name, NULL, 16);
  return *number > 0;
}

static int compare_numbers(const void *a, const void *b) {
  uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;
  return left < right ? -1 : left > right;
}

int segment_list(const char *directory, struct buf *numbers, struct error *err) {
  return segment_list_named(directory, ".log", numbers, err);
}

int segment_list_named(const char *directory, const char *suffix, struct buf *numbers, struct error *err) {
  buf_clear(numbers);
  DIR *dir = opendir(directory);
  if (!dir) return errno == ENOENT ? 0 : error_set_errno(err, errno, "%s", directory);
  int failure;
  for (const struct dirent *entry; !(failure = directory_next(dir, &entry)) && entry;) {
    uint64_t number;
    if (parse_name(entry->d_name, suffix, &number)) buf_append(numbers, &number, sizeof number);
  }
  closedir(dir);
  if (failure) return error_set_errno(err, failure, "%s", directory);
  if (numbers->len) qsort(numbers->data, numbers->len / sizeof(uint64_t), sizeof(uint64_t), compare_numbers);
  return 0;
}

int directory_next(DIR *open, const struct dirent **entry) {
  int failure = FAILPOINT("store.directory");
  errno = 0;
  *entry = failure ? NULL : readdir(open);
  return failure ? failure : *entry ? 0 : errno;
}

int64_t file_read_at(int descriptor, void *data, size_t len, uint64_t offset) {
  size_t done = 0;
  while (done < len) {
    ssize_t got = pread(descriptor, (char *)data + done, len - done, (off_t)(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) break;
    done += (size_t)got;
  }
  return (int64_t)done;
}

int file_write_at(int descriptor, const void *data, size_t len, uint64_t offset) {
  for (size_t done = 0; done < len;) {
    ssize_t put = pwrite(descriptor, (const char *)data + done, len - done, (off_t)(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -1;
    done += (size_t)put;
  }
  return 0;
}

int directory_sync(const char *directory) {
  int descriptor = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) return -1;
  int failed = fsync(descriptor);
  int failure = errno;
  close(descriptor);
  errno = failure;
  return failed;
}

static void header_put(const struct segment *segment, struct buf *out) {
  buf_append(out, SEGMENT_MAGIC, sizeof SEGMENT_MAGIC);
  buf_put_u32(out, SEGMENT_VERSION);
  buf_put_u32(out, SEGMENT_HEADER);
  buf_put_u64(out, segment->number);
  buf_put_u64(out, (uint64_t)segment->created);
  buf_put_u64(out, segment->previous.segment);
  buf_put_u64(out, segment->previous.offset);
  buf_put_u64(out, segment->salt);
  buf_put_u64(out, hash64(buf_str(out), 0));
}

/** @param spare  the file's other name, to be renamed from; null: it has its own already. @return 0 or an
 * errno */
static int finish_creation(const char *directory, int descriptor, const struct buf *header, const char *spare,
                           const char *path) {
  if (descriptor < 0 || file_write_at(descriptor, header->data, header->len, 0)) return errno;
  int failure = FAILPOINT("log.segment");
  if (failure) return failure;
  if (fsync(descriptor)) return errno;
  if (spare && (failure = FAILPOINT("log.reuse"))) return failure;
  // Now that the header is durable: under the segment's name nothing else is ever found.
  if (spare && rename(spare, path)) return errno;
  return directory_sync(directory) ? errno : 0;
}

int segment_create(const char *directory, struct segment *segment, uint64_t *room, int *descriptor,
                   struct error *err) {
  int rc = 0, failure;
  bool reused;
  struct buf path, spare, header;
  buf_init(&path);
  buf_init(&spare);
  buf_init(&header);
  const char *name = segment_path(&path, directory, segment->number);
  segment->created = clock_wall_ms();
  if (getrandom(&segment->salt, sizeof segment->salt, 0) != sizeof segment->salt)
    segment->salt = (uint64_t)clock_mono_us();
  do {
    *descriptor = spare_take(directory, &spare, room);
    reused = *descriptor >= 0;
    segment->salt = (segment->salt & ~UINT64_C(1)) | reused;
    buf_clear(&header);
    header_put(segment, &header);
    if (!reused) {
      *descriptor = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
      *room = SEGMENT_HEADER;
    }
    failure =
        finish_creation(directory, *descriptor, &header, reused ? (const char *)spare.data : NULL, name);
    if (!failure && reused) spare_taken(*descriptor);
    if (failure && *descriptor >= 0) close(*descriptor);
    if (failure && reused) unlink((const char *)spare.data); // the next one may be better
  } while (failure == ENOENT && reused);                     // it was deleted meanwhile
  if (failure) {
    rc = error_set_errno(err, failure, "%s: cannot begin a log segment", name);
    *descriptor = -1;
  }
  buf_deinit(&path);
  buf_deinit(&spare);
  buf_deinit(&header);
  return rc;
}

/** A header that does not check out: was the process stopped while it made the file, or is it damage? */
static int judge_header(int descriptor, const char *path, int64_t len, struct error *err) {
  uint8_t piece[4096];
  for (uint64_t offset = SEGMENT_HEADER; len > 0; offset += (uint64_t)len) {
    len = file_read_at(descriptor, piece, sizeof piece, offset);
    if (len < 0) return error_set_errno(err, errno, "%s", path);
    for (int64_t i = 0; i < len; i++)
      if (piece[i])
        return error_set(err, ERROR_CORRUPT, "%s: the segment's header (offset 0) does not check out", path);
  }
  return error_set(err, ERROR_UNAVAILABLE, "%s: was never finished", path);
}

/** Whether that is the file's name still: it may have become a spare since it was opened by it. */
static bool is_named(int descriptor, const char *path) {
  struct stat file, named;
  return fstat(descriptor, &file) == 0 && stat(path, &named) == 0 && file.st_ino == named.st_ino;
}

static int header_get(int descriptor, const char *path, struct segment *segment, struct error *err) {
  uint8_t bytes[SEGMENT_HEADER];
  int64_t len = file_read_at(descriptor, bytes, sizeof bytes, 0);
  if (len < 0) return error_set_errno(err, errno, "%s", path);
  struct reader reader = reader_of((struct str){(const char *)bytes, (size_t)len});
  const uint8_t *magic = reader_take(&reader, sizeof SEGMENT_MAGIC);
  uint32_t version = reader_u32(&reader), size = reader_u32(&reader);
  uint64_t number = segment->number;
  if (magic && !reader.bad && memcmp(magic, SEGMENT_MAGIC, sizeof SEGMENT_MAGIC) == 0 &&
      version > SEGMENT_VERSION && size >= SEGMENT_HEADER)
    return error_set(err, ERROR_VERSION,
                     "%s: written in format %u by a newer version; this one reads up to %d", path, version,
                     SEGMENT_VERSION);
  segment->number = reader_u64(&reader);
  segment->created = (int64_t)reader_u64(&reader);
  segment->previous.segment = reader_u64(&reader);
  segment->previous.offset = reader_u64(&reader);
  segment->salt = reader_u64(&reader);
  uint64_t checksum = reader_u64(&reader);
  if (reader.bad || memcmp(magic, SEGMENT_MAGIC, sizeof SEGMENT_MAGIC) != 0 ||
      checksum != hash64((struct str){(const char *)bytes, SEGMENT_HEADER - 8}, 0))
    return judge_header(descriptor, path, len, err);
  if (segment->number == number) return 0;
  if (!is_named(descriptor, path)) return error_set(err, ERROR_NOT_FOUND, "%s: is not there", path);
  return error_set(err, ERROR_CORRUPT, "%s: its header says that it is segment %" PRIx64, path,
                   segment->number);
}

int segment_open(const char *directory, uint64_t number, bool writable, struct segment *segment,
                 int *descriptor, struct error *err) {
  struct buf buffer;
  buf_init(&buffer);
  const char *path = segment_path(&buffer, directory, number);
  segment->number = number;
  int rc = 0;
  *descriptor = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
  if (*descriptor < 0)
    rc = errno == ENOENT ? error_set(err, ERROR_NOT_FOUND, "%s: is not there", path)
                         : error_set_errno(err, errno, "%s", path);
  // Where a file system knows no such locks, a reader meets checksums of another salt.
  else if (flock(*descriptor, LOCK_SH | LOCK_NB) && errno == EWOULDBLOCK)
    rc = error_set(err, ERROR_NOT_FOUND, "%s: is not there", path);
  else
    rc = header_get(*descriptor, path, segment, err);
  if (rc && *descriptor >= 0) {
    close(*descriptor);
    *descriptor = -1;
  }
  buf_deinit(&buffer);
  return rc;
}

static uint32_t group_check(const struct segment *segment, const uint8_t *header) {
  return (uint32_t)hash64((struct str){(const char *)header + 8, GROUP_HEADER - 8}, segment->salt);
}

static void put_u32(uint8_t *at, uint32_t value) {
  value = htole32(value);
  memcpy(at, &value, sizeof value);
}

static void put_u64(uint8_t *at, uint64_t value) {
  value = htole64(value);
  memcpy(at, &value, sizeof value);
}

void group_put(const struct segment *segment, const struct group *group, uint8_t out[GROUP_HEADER]) {
  put_u32(out, GROUP_MAGIC);
  put_u64(out + 8, group->offset);
  put_u32(out + 16, group->length);
  put_u32(out + 20, group->records);
  put_u64(out + 24, group->checksum);
  put_u32(out + 4, group_check(segment, out));
}

bool group_get(const struct segment *segment, uint64_t offset, const uint8_t in[GROUP_HEADER],
               struct group *group) {
  struct reader reader = reader_of((struct str){(const char *)in, GROUP_HEADER});
  if (reader_u32(&reader) != GROUP_MAGIC) return false;
  uint32_t check = reader_u32(&reader);
  group->offset = reader_u64(&reader);
  group->length = reader_u32(&reader);
  group->records = reader_u32(&reader);
  group->checksum = reader_u64(&reader);
  return group->offset == offset && group->records > 0 && check == group_check(segment, in);
}

int group_read(const struct segment *segment, int descriptor, uint64_t offset, struct group *group,
               struct error *err) {
  uint8_t header[GROUP_HEADER];
  int64_t len = file_read_at(descriptor, header, sizeof header, offset);
  if (len < 0)
    return error_set_errno(err, errno, "log segment %016" PRIx64 ", offset %" PRIu64, segment->number,
                           offset);
  return len == GROUP_HEADER && group_get(segment, offset, header, group);
}
