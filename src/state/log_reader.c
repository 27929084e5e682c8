#include "state/log_segment.h"
#include "state/stored.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <unistd.h>

#define END_UNKNOWN UINT64_MAX

struct log_reader {
  char *directory;
  struct buf path;
  struct segment segment; /**< the one that is open */
  int descriptor;         /**< -1: none, the directory is empty */
  uint64_t last;          /**< highest number in the directory when it was listed */
  bool asked;             /**< the next segment, for … */
  uint64_t stated_end;    /**< … where its header says that this one ends */
  struct log_position at; /**< behind the last record given, or the next group */
  struct str lent;        /**< the open segment's file, empty if it is to be read */
  struct buf group;       /**< the records of the group being read, where they are not lent */
  const uint8_t *first;   /**< of the group's records */
  uint64_t record_at;     /**< offset of the record given last */
  struct reader records;
  struct group header;
  uint32_t left; /**< records of the group not yet given */
  uint64_t cut;
};

static int corrupt(struct log_reader *reader, uint64_t offset, struct error *err, const char *what) {
  return error_set(err, ERROR_CORRUPT, "%s: damaged at offset %" PRIu64 ": %s",
                   segment_path(&reader->path, reader->directory, reader->segment.number), offset, what);
}

/** Ask the next segment's header where this one ends. @return 0 with the answer in stated_end, if there is
 * one. */
static int learn_end(struct log_reader *reader, struct error *err) {
  if (reader->asked) return 0;
  reader->asked = true;
  struct segment next;
  int descriptor;
  int rc = segment_open(reader->directory, reader->segment.number + 1, false, &next, &descriptor, err);
  if (rc == ERROR_NOT_FOUND) {
    if (reader->last <= reader->segment.number) return 0;
    return error_set(err, ERROR_CORRUPT, "%s: is missing, later segments are there",
                     segment_path(&reader->path, reader->directory, reader->segment.number + 1));
  }
  if (rc == ERROR_UNAVAILABLE) {
    // Begun and never finished: as good as not there, and only the last can be that.
    if (reader->last <= reader->segment.number + 1) return 0;
    return error_set(err, ERROR_CORRUPT, "%s: was never finished, and later segments are there",
                     segment_path(&reader->path, reader->directory, reader->segment.number + 1));
  }
  if (rc) return rc;
  close(descriptor);
  if (next.previous.segment != reader->segment.number)
    return error_set(err, ERROR_CORRUPT, "%s: says that it follows segment %016" PRIx64 ", which it does not",
                     segment_path(&reader->path, reader->directory, next.number), next.previous.segment);
  reader->stated_end = next.previous.offset;
  return 0;
}

static int enter(struct log_reader *reader, uint64_t number, struct error *err) {
  struct segment segment;
  int descriptor;
  int rc = segment_open(reader->directory, number, false, &segment, &descriptor, err);
  if (rc) return rc;
  if (reader->descriptor >= 0) close(reader->descriptor);
  reader->descriptor = descriptor;
  reader->lent = STR("");
  reader->segment = segment;
  reader->asked = false;
  reader->stated_end = END_UNKNOWN;
  reader->at = (struct log_position){number, SEGMENT_HEADER};
  return 0;
}

/** @return 1 with the bytes of the records of `reader->header`, 0 if there are not so many, or ERROR_IO. */
static int group_bytes(struct log_reader *reader, struct str *bytes, struct error *err) {
  const struct group *group = &reader->header;
  uint64_t offset = group->offset + GROUP_HEADER;
  if (reader->lent.len) {
    if (reader->lent.len < offset + group->length) return 0;
    *bytes = (struct str){reader->lent.data + offset, group->length};
    return 1;
  }
  off_t size = lseek(reader->descriptor, 0, SEEK_END);
  if (size < 0) goto failed;
  // Before making room for a length that may be damage.
  if ((uint64_t)size < offset + group->length) return 0;
  buf_clear(&reader->group);
  buf_reserve(&reader->group, group->length);
  int64_t len = file_read_at(reader->descriptor, reader->group.data, group->length, offset);
  if (len < 0) goto failed;
  reader->group.len = (size_t)len;
  *bytes = buf_str(&reader->group);
  return bytes->len == group->length;
failed:
  return error_set_errno(err, errno, "%s: offset %" PRIu64,
                         segment_path(&reader->path, reader->directory, reader->segment.number), offset);
}

/** Read the records of `reader->header`. @return 1, 0 if they do not check out, or ERROR_IO. */
static int load_group(struct log_reader *reader, struct error *err) {
  struct str bytes;
  int rc = group_bytes(reader, &bytes, err);
  if (rc != 1) return rc;
  if (hash64(bytes, reader->segment.salt) != reader->header.checksum) return 0;
  reader->records = reader_of(bytes);
  reader->first = reader->records.at;
  reader->left = reader->header.records;
  return 1;
}

/** @return 1 with the header at `reader->at`, 0 if there is none that checks out, or ERROR_IO. */
static int read_header(struct log_reader *reader, struct error *err) {
  uint64_t offset = reader->at.offset;
  if (!reader->lent.len)
    return group_read(&reader->segment, reader->descriptor, offset, &reader->header, err);
  return reader->lent.len >= offset + GROUP_HEADER &&
         group_get(&reader->segment, offset, (const uint8_t *)reader->lent.data + offset, &reader->header);
}

/** @return 1 with the group at `reader->at` loaded, 0 if there is none that checks out, or ERROR_IO. */
static int read_group(struct log_reader *reader, struct error *err) {
  int rc = read_header(reader, err);
  return rc == 1 ? load_group(reader, err) : rc;
}

/** Whether the header of a later group, which was written only when all before it was durable, is one. Of a
 * file that held another segment before, some of whose groups lie at just these places, a header's 32 bits of
 * checksum could agree by chance: there the whole group has to. @return 1, 0, or ERROR_IO */
static int is_statement(struct log_reader *reader, const struct group *group, struct error *err) {
  if (!segment_is_reused(&reader->segment)) return 1;
  reader->header = *group;
  int rc = load_group(reader, err);
  reader->left = 0;
  return rc;
}

/** Nothing at `at` checks out, and no segment follows. A torn tail, unless a later group states otherwise.
 * How much of it is cut can be told only where nothing else stood there before. */
static int judge_tail(struct log_reader *reader, struct error *err) {
  enum { PIECE = 1 << 20 };
  uint64_t from = reader->at.offset, last_written = from;
  uint8_t *piece = memory_alloc(PIECE + GROUP_HEADER);
  int rc = 0;
  for (uint64_t base = from;; base += PIECE) {
    int64_t len = file_read_at(reader->descriptor, piece, PIECE + GROUP_HEADER, base);
    if (len < 0) {
      rc = error_set_errno(err, errno, "%s",
                           segment_path(&reader->path, reader->directory, reader->at.segment));
      break;
    }
    struct group group;
    for (int64_t i = 0; i + GROUP_HEADER <= len && i < PIECE && !rc; i += GROUP_ALIGN) {
      if (base + (uint64_t)i <= from || !group_get(&reader->segment, base + (uint64_t)i, piece + i, &group))
        continue;
      rc = is_statement(reader, &group, err);
      if (rc == 1) rc = corrupt(reader, from, err, "a later group states that this part was durable");
    }
    for (int64_t i = segment_is_reused(&reader->segment) ? 0 : len; i-- > 0;)
      if (piece[i]) {
        last_written = base + (uint64_t)i + 1;
        break;
      }
    if (rc || len < PIECE + GROUP_HEADER) break;
  }
  memory_free(piece);
  reader->cut = last_written - from;
  return rc;
}

/** Come to a group with records left. @return 1, 0 at the end, or a negative code. */
static int advance(struct log_reader *reader, const struct log_position *until, struct error *err) {
  while (!reader->left) {
    if (until && log_position_compare(reader->at, *until) >= 0) return 0;
    if (reader->descriptor < 0) return 0;
    int rc;
    bool followed = !until || until->segment > reader->at.segment;
    if (followed && (rc = learn_end(reader, err))) return rc;
    uint64_t bound = followed ? reader->stated_end : until->offset;
    if (followed && bound == reader->at.offset) {
      if ((rc = enter(reader, reader->at.segment + 1, err))) return rc;
      continue;
    }
    rc = read_group(reader, err);
    if (rc < 0) return rc;
    if (rc == 1) {
      if (group_end(&reader->header) <= bound || !followed) continue;
      return corrupt(reader, reader->at.offset, err, "a group reaches past the segment's end");
    }
    if (bound != END_UNKNOWN)
      return corrupt(reader, reader->at.offset, err, "this part was stated to be durable");
    if (until)
      return error_set(err, ERROR_CORRUPT, "%s: is missing, and was stated to be durable",
                       segment_path(&reader->path, reader->directory, reader->at.segment + 1));
    return judge_tail(reader, err);
  }
  return 1;
}

static bool decode(struct log_record *record, struct str body) {
  struct reader fields = reader_of(body);
  record->seq = stored_varint(&fields);
  record->type = reader_u8(&fields);
  record->generation = (uint32_t)reader_varint(&fields);
  record->at = stored_zigzag(&fields);
  record->entity.kind = reader_u8(&fields);
  record->entity.id = reader_str(&fields);
  record->input = reader_str(&fields);
  record->effects = reader_bytes(&fields, reader_left(&fields));
  return !fields.bad && record->type >= LOG_EVENT && record->type <= LOG_EXPERIMENT;
}

void log_record_get(struct log_record *record, const uint8_t *framed) {
  uint32_t length;
  memcpy(&length, framed, sizeof length);
  decode(record, (struct str){(const char *)framed + RECORD_HEADER, le32toh(length)});
}

/** The next record of the loaded group. */
static int take_record(struct log_reader *reader, struct log_record *record, struct error *err) {
  uint64_t offset = reader->record_at =
      reader->header.offset + GROUP_HEADER + (uint64_t)(reader->records.at - reader->first);
  uint32_t length = reader_u32(&reader->records), check = reader_u32(&reader->records);
  struct str body = reader_bytes(&reader->records, length);
  if (reader->records.bad || (uint32_t)hash64(body, 0) != check)
    return corrupt(reader, offset, err, "a record's checksum does not agree");
  if (!decode(record, body)) return corrupt(reader, offset, err, "a record is malformed");
  reader->left--;
  if (reader->left)
    reader->at.offset = offset + RECORD_HEADER + length;
  else if (reader_left(&reader->records))
    return corrupt(reader, offset, err, "a group holds more than its records");
  else
    reader->at.offset = group_end(&reader->header);
  return 0;
}

int log_reader_next(struct log_reader *reader, const struct log_position *until, struct log_record *record,
                    struct log_position *after, struct error *err) {
  int rc = advance(reader, until, err);
  if (rc == 1 && until && log_position_compare(reader->at, *until) >= 0) rc = 0;
  if (rc == 1) {
    int failed = take_record(reader, record, err);
    if (failed) return failed;
  }
  if (rc >= 0) *after = reader->at;
  return rc;
}

/** Go to a position inside the segment that was entered: a group's begin, or a record's within one. */
static int seek(struct log_reader *reader, uint64_t offset, struct error *err) {
  int rc = 0;
  struct group group;
  if (offset <= SEGMENT_HEADER) return 0;
  if (offset % GROUP_ALIGN == 0 &&
      (rc = group_read(&reader->segment, reader->descriptor, offset, &group, err))) {
    reader->at.offset = offset;
    return rc < 0 ? rc : 0;
  }
  while (reader->at.offset < offset) {
    rc = group_read(&reader->segment, reader->descriptor, reader->at.offset, &reader->header, err);
    if (rc < 0) return rc;
    if (rc == 0)
      return corrupt(reader, reader->at.offset, err, "no group, on the way to a position further on");
    if (group_end(&reader->header) <= offset) {
      reader->at.offset = group_end(&reader->header);
      continue;
    }
    rc = load_group(reader, err);
    if (rc < 0) return rc;
    if (rc == 0) return corrupt(reader, reader->at.offset, err, "this part was stated to be durable");
    struct log_record passed;
    while (reader->at.offset < offset)
      if ((rc = take_record(reader, &passed, err))) return rc;
  }
  if (reader->at.offset != offset) return corrupt(reader, offset, err, "no record begins here");
  return 0;
}

int log_reader_new(struct log_reader **out, const char *directory, struct log_position from,
                   struct error *err) {
  struct log_reader *reader = memory_zalloc(sizeof *reader);
  struct buf numbers;
  buf_init(&numbers);
  buf_init(&reader->path);
  buf_init(&reader->group);
  reader->directory = memory_dup(directory, strlen(directory));
  reader->descriptor = -1;
  reader->stated_end = END_UNKNOWN;
  int rc = segment_list(directory, &numbers, err);
  if (rc) goto cleanup;
  size_t count = numbers.len / sizeof(uint64_t);
  const uint64_t *all = (const uint64_t *)(const void *)numbers.data;
  if (count) reader->last = all[count - 1];
  uint64_t number = from.segment ? from.segment : count ? all[0] : 0;
  if (!number) goto cleanup;
  rc = enter(reader, number, err);
  if (rc == ERROR_UNAVAILABLE && !from.segment && count == 1)
    rc = 0; // a fresh directory, left while its first segment was being made
  else if (rc == ERROR_NOT_FOUND || rc == ERROR_UNAVAILABLE)
    rc = error_set(err, ERROR_CORRUPT, "%s: is missing, and was stated to be durable",
                   segment_path(&reader->path, directory, number));
  else if (!rc)
    rc = seek(reader, from.offset, err);
cleanup:
  buf_deinit(&numbers);
  if (rc) {
    log_reader_free(reader);
    reader = NULL;
  }
  *out = reader;
  return rc;
}

void log_reader_lend(struct log_reader *reader, struct str file) {
  reader->lent = file;
}

uint64_t log_reader_offset(const struct log_reader *reader) {
  return reader->record_at;
}

uint64_t log_reader_cut(const struct log_reader *reader) {
  return reader->cut;
}

void log_reader_free(struct log_reader *reader) {
  if (!reader) return;
  if (reader->descriptor >= 0) close(reader->descriptor);
  buf_deinit(&reader->path);
  buf_deinit(&reader->group);
  memory_free(reader->directory);
  memory_free(reader);
}
