/** The log: inputs and their effects, one record each, appended and fsynced in groups. The truth.
 *
 * Segments `log/<number>.log` (16 hex digits) under the data directory. A segment starts with a header:
 * magic, format version, its number, the wall clock, and the previous segment's last durable offset: nothing
 * past that is ever read again. Then groups: a header (magic, length, checksum, the offset durable before
 * this group, which is its own) and the records of one write, each with its own length and checksum. What
 * follows means nothing: zeroes, written ahead of small groups so that fdatasync need not commit the file's
 * growth each time, or what the file held as an older segment (state/log_spare.h). Every start, and every
 * recovery from a failed write, begins a new segment. Reading: damage below an offset that something later
 * states as durable refuses (ERROR_CORRUPT, naming file and offset); a torn tail above it is cut, and said.
 *
 * Any thread may submit; one thread of the log's own writes and syncs (fdatasync), and answers batches in the
 * order they came.
 */
#pragma once

#include "base/mailbox.h"
#include "event/event.h"

enum log_record_type {
  LOG_EVENT = 1,   /**< input: event_encode() */
  LOG_TIMER,       /**< input: the timer that came due, as an encoded EFFECT_TIMER_SET */
  LOG_ATTEMPT,     /**< input: message id (16 bytes, high then low, little-endian), varint attempt number */
  LOG_OUTCOME,     /**< effects: EFFECT_OUTCOME and what follows from it */
  LOG_COMMAND,     /**< input: an operator's command as text ("suppress email …") */
  LOG_RETRY,       /**< input: "dead retry"; effects: what the failed rule, or the resent message, then did */
  LOG_GENERATION,  /**< input: value map of the generation (number, rule files with content hashes,
                      declarations); no entity */
  LOG_LOOKUP,      /**< input: event_encode(), then as strings the campaign whose rule waited with it, and the
                      value     map that the rule was given for its needs */
  LOG_FAN_OUT = 9, /**< of a user whom a fan-out reaches. Input: fan_out_input_encode() */
  LOG_FILL = 10,   /**< input: varint, the generation for which it is done; effects: what the log held of the
                        user, for windows that were declared later */
  LOG_EXPERIMENT =
      11 /**< weights that were drawn. Input: value map {weights, drawn} (host/experiments.h); no entity */
};

struct log_record {
  uint64_t seq; /**< rises along the log for any one entity; but an ATTEMPT's is drawn on another thread, and
                   may stand before or behind its neighbours */
  enum log_record_type type;
  uint32_t generation;
  int64_t at;           /**< wall clock when it was accepted, ms */
  struct entity entity; /**< id "" for GENERATION */
  struct str input;
  struct str effects; /**< encoded effects, one after the other (state/effect.h) */
};

struct log_position {
  uint64_t segment, offset;
};

static inline int log_position_compare(struct log_position a, struct log_position b) {
  if (a.segment != b.segment) return a.segment < b.segment ? -1 : 1;
  return a.offset < b.offset ? -1 : a.offset > b.offset;
}

/** Append the framed record to `out` (a batch's bytes). */
void log_record_put(struct buf *out, const struct log_record *record);

/** Records that go to disk together. The sender makes it, the log borrows it until `mail.run` on `reply`. */
struct log_batch {
  struct mail mail; /**< run on the reply mailbox when durable or failed */
  struct mailbox *reply;
  struct buf bytes; /**< framed records; may be empty: then it is a barrier behind the earlier batches */
  uint32_t records;
  bool roll;               /**< has no bytes: a new segment begins behind the earlier batches */
  int64_t patience_us;     /**< it may wait so long for others, to share their group; 0: not at all */
  int status;              /**< 0 durable; else an error_code: nothing of it may be assumed */
  struct log_position end; /**< the log is durable up to here */
  struct log_batch *next;  /**< the log's own */
};

/** Find where the log of a directory at rest ends and make sure that all before it is durable: the group that
 * ends there is written and synced once more, for what a crashed process wrote may be readable and yet not
 * durable. Before anything is derived from it.
 * @param known_end  where the log was durable when it failed in this process; null: read the last segment for
 * it.
 * @param cut  bytes of torn tail behind the end. */
int log_settle(const char *directory, const struct log_position *known_end, struct log_position *end,
               uint64_t *cut, struct error *err);

struct log_options {
  const char *directory; /**< of the segments; made if missing */
  uint64_t segment_size; /**< a new segment past this many bytes … */
  int64_t segment_age;   /**< … or this many ms */
};

struct log;

/** Begin a new segment after `end` (from log_settle(), as recovery gives it; {0,0} for a fresh directory) and
 * start the thread.
 * @return 0; ERROR_NO_SPACE or ERROR_IO if the segment cannot be made durable. */
int log_open(struct log **out, const struct log_options *options, struct log_position end, struct error *err);
/** Write what was submitted, sync, stop the thread. */
void log_close(struct log *log);

/** Hand a batch over. After a failure every batch is answered with its code at once, until the log is closed
 * and opened anew. */
void log_submit(struct log *log, struct log_batch *batch);
/** Where the log is durable up to: every batch below has been answered (its mail was sent), and none above.
 * Any thread. */
struct log_position log_durable(struct log *log);
/** Segments below this number are closed and wholly durable. */
uint64_t log_open_segment(struct log *log);

/** Walks a directory's records in order. */
struct log_reader;
/** @param from  {0,0} for the first segment there is. A position must be one that log_durable() or a reader
 * gave. */
int log_reader_new(struct log_reader **out, const char *directory, struct log_position from,
                   struct error *err);
/** @param until  do not read past here; null: to the end. Beside a running log give its log_durable().
 * @return 1 with `*record` (borrowed until the next call) and the position behind it, 0 at the end with where
 * that is ({0,0} in an empty directory), or a negative code. */
int log_reader_next(struct log_reader *reader, const struct log_position *until, struct log_record *record,
                    struct log_position *after, struct error *err);
/** Bytes of torn tail that were cut, for the log line. */
uint64_t log_reader_cut(const struct log_reader *reader);
void log_reader_free(struct log_reader *reader);
