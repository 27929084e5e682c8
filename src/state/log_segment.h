/** What a log segment looks like on disk: for state/log.c, which writes it, and state/log_reader.c. Any
 * thread.
 *
 * Header, 64 bytes: magic:8 version:u32 size:u32 number:u64 created:i64 previous segment:u64 previous
 * offset:u64 salt:u64 checksum:u64. A group begins at a multiple of 8: magic:u32 check:u32 offset:u64
 * length:u32 records:u32 checksum:u64, then `length` bytes. Checksums of groups are seeded with the salt, so
 * that nothing a client sends can pass for a group, nor a group of another segment. A salt is odd where the
 * file was another segment's before (log_spare.h), whose bytes then stand behind the last group, even where
 * nothing does but zeroes.
 */
#pragma once

#include "state/log.h"

#include <dirent.h>

enum {
  SEGMENT_VERSION = 1,
  SEGMENT_HEADER = 64,
  GROUP_HEADER = 32,
  GROUP_ALIGN = 8,
  RECORD_HEADER = 8 /**< length:u32 check:u32 */
};

struct segment {
  uint64_t number;
  int64_t created;
  struct log_position previous; /**< durable end of the segment before */
  uint64_t salt;
};

/** Whether an older segment's bytes may stand behind its groups. */
static inline bool segment_is_reused(const struct segment *segment) {
  return segment->salt & 1;
}

struct group {
  uint64_t offset; /**< of its header; all before it is durable */
  uint32_t length; /**< of its records, without padding */
  uint32_t records;
  uint64_t checksum; /**< of its records */
};

static inline uint64_t group_end(const struct group *group) {
  return (group->offset + GROUP_HEADER + group->length + GROUP_ALIGN - 1) & ~(uint64_t)(GROUP_ALIGN - 1);
}

/** The file's path, appended with a terminator; `out` is cleared first. @return it. */
const char *segment_path(struct buf *out, const char *directory, uint64_t number);
/** Numbers of the segments that are there, ascending. A directory that is not there has none.
 * @param numbers  filled with uint64_t, native. */
int segment_list(const char *directory, struct buf *numbers, struct error *err);
/** The same of all files whose name is 16 hex digits, not zero, and then `suffix`. */
int segment_list_named(const char *directory, const char *suffix, struct buf *numbers, struct error *err);

/** Make the file with its header, wholly durable, its name included: of a spare one if there is one. One of
 * that number is overwritten.
 * @param room  bytes that the file has already, the header's among them.
 * @return 0 with the descriptor in `*descriptor`. */
int segment_create(const char *directory, struct segment *segment, uint64_t *room, int *descriptor,
                   struct error *err);
/** While it is open the file is nobody's spare (a shared flock(2)).
 * @return 0 with the descriptor, ERROR_NOT_FOUND, ERROR_VERSION, ERROR_CORRUPT for a header that does not
 * check out, or ERROR_UNAVAILABLE for one that was never finished: nothing can have been written after it. */
int segment_open(const char *directory, uint64_t number, bool writable, struct segment *segment,
                 int *descriptor, struct error *err);

void group_put(const struct segment *segment, const struct group *group, uint8_t out[GROUP_HEADER]);
/** @return whether the bytes are the header of a group that lies at `offset` of this segment. */
bool group_get(const struct segment *segment, uint64_t offset, const uint8_t in[GROUP_HEADER],
               struct group *group);
/** @return 1 with the header of the group at `offset`, 0 if there is none that checks out, or ERROR_IO. */
int group_read(const struct segment *segment, int descriptor, uint64_t offset, struct group *group,
               struct error *err);

/** Lend a reader that was just made the bytes of its first segment's file, so that it copies none of them:
 * its records of that segment borrow from them. */
void log_reader_lend(struct log_reader *reader, struct str file);
/** Where in its segment the record lies that log_reader_next() gave last. */
uint64_t log_reader_offset(const struct log_reader *reader);
/** Read such a record again, where the segment's bytes are at hand. Borrows from them. */
void log_record_get(struct log_record *record, const uint8_t *framed);

/** That a group ends at this position (or its segment begins). @param again  write and sync that group
 * once more: all groups before it are stated as durable by those behind them. Where there is none, the header
 * and the file's name: all segments before are durable. */
int segment_confirm(const char *directory, struct log_position end, bool again, struct error *err);

/** pread() and pwrite() that end only when all is done, the file has ended, or with an error.
 * @return bytes read, or -1 with errno. */
int64_t file_read_at(int descriptor, void *data, size_t len, uint64_t offset);
/** @return 0, or -1 with errno. */
int file_write_at(int descriptor, const void *data, size_t len, uint64_t offset);
/** The folder's next name. One that cannot be read is no end of the folder: who takes it for that misses
 * files.
 * @return 0, null with it at the end; or the errno, null with it too */
int directory_next(DIR *open, const struct dirent **entry);
/** Make names in the directory durable. @return 0, or -1 with errno. */
int directory_sync(const char *directory);
