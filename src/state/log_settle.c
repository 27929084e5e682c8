#include "state/log_segment.h"

#include "base/failpoint.h"
#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

/** Write the group's bytes once more: a sync that failed earlier has left them readable, but marked clean. */
static int rewrite(int descriptor, const struct group *group, struct error *err) {
  size_t len = group_end(group) - group->offset;
  uint8_t *bytes = memory_alloc(len);
  int64_t got = file_read_at(descriptor, bytes, len, group->offset);
  // The padding of the last group may be missing from the file.
  int failure = got < 0 || file_write_at(descriptor, bytes, (size_t)got, group->offset) ? errno : 0;
  if (!failure) failure = FAILPOINT("log.settle");
  if (!failure && fdatasync(descriptor)) failure = errno;
  memory_free(bytes);
  return failure ? error_set_errno(err, failure, "making the log's end durable failed") : 0;
}

/** The same for a segment that has no group yet: who began it may have been killed before its header was
 * durable, and what stands behind a segment that a power cut takes away is refused. */
static int rewrite_header(const char *directory, int descriptor, struct error *err) {
  uint8_t header[SEGMENT_HEADER];
  int64_t got = file_read_at(descriptor, header, sizeof header, 0);
  int failure = got < 0 || file_write_at(descriptor, header, (size_t)got, 0) ? errno : 0;
  if (!failure) failure = FAILPOINT("log.settle");
  if (!failure && (fsync(descriptor) || directory_sync(directory))) failure = errno;
  return failure ? error_set_errno(err, failure, "making the log's last segment durable failed") : 0;
}

int segment_confirm(const char *directory, struct log_position end, bool again, struct error *err) {
  struct segment segment;
  int descriptor;
  int rc = segment_open(directory, end.segment, again, &segment, &descriptor, err);
  if (rc) return rc;
  struct group group;
  uint64_t offset = SEGMENT_HEADER;
  while (offset < end.offset && (rc = group_read(&segment, descriptor, offset, &group, err)) == 1)
    offset = group_end(&group);
  if (rc < 0) goto cleanup;
  if (offset != end.offset)
    rc = error_set(err, ERROR_CORRUPT, "log segment %016" PRIx64 ": no group ends at offset %" PRIu64,
                   end.segment, end.offset);
  else if (!again)
    rc = 0;
  else
    rc = offset > SEGMENT_HEADER ? rewrite(descriptor, &group, err)
                                 : rewrite_header(directory, descriptor, err);
cleanup:
  close(descriptor);
  return rc;
}

/** The last segment that was finished, 0 if there is none. */
static int last_segment(const char *directory, uint64_t *number, struct error *err) {
  struct buf numbers;
  buf_init(&numbers);
  *number = 0;
  int rc = segment_list(directory, &numbers, err);
  const uint64_t *all = (const uint64_t *)(const void *)numbers.data;
  for (size_t i = numbers.len / sizeof(uint64_t); !rc && i-- > 0 && !*number;) {
    struct segment segment;
    int descriptor;
    rc = segment_open(directory, all[i], false, &segment, &descriptor, err);
    if (!rc) {
      close(descriptor);
      *number = all[i];
    } else if (rc == ERROR_UNAVAILABLE) {
      rc = 0;
    }
  }
  buf_deinit(&numbers);
  return rc;
}

int log_settle(const char *directory, const struct log_position *known_end, struct log_position *end,
               uint64_t *cut, struct error *err) {
  *cut = 0;
  *end = known_end ? *known_end : (struct log_position){0, 0};
  if (!known_end) {
    uint64_t number;
    int rc = last_segment(directory, &number, err);
    if (rc || !number) return rc;
    struct log_reader *reader;
    if ((rc = log_reader_new(&reader, directory, (struct log_position){number, 0}, err))) return rc;
    struct log_record record;
    while ((rc = log_reader_next(reader, NULL, &record, end, err)) == 1) continue;
    *cut = log_reader_cut(reader);
    log_reader_free(reader);
    if (rc) return rc;
  }
  return end->segment ? segment_confirm(directory, *end, true, err) : 0;
}
