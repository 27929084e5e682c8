#include "state/log_segment.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/hash.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/metric.h"
#include "base/thread.h"

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

enum {
  /** What one group takes in, unless a single batch is larger. */
  GROUP_BYTES_MAX = 16 << 20,
  GROUP_BATCHES_MAX = 1000,
  /** Zeroes are written this far ahead of a small group that reaches past what is written: the file then
   * grows once in so many bytes and not with each group, which makes a group's fdatasync a third to a half
   * cheaper (100 against 150 to 180 us on ext4; fallocate() gains nothing, for unwritten extents are
   * converted in the journal). Large groups hide the cost, and would double what is written. */
  AHEAD = 256 << 10,
  AHEAD_GROUP_MAX = 64 << 10,
  PAGE = 4096,
  /** What a closed segment may keep behind its end: it is one that sealing need not map, nor a backup copy.
   */
  BEHIND_MAX = 1 << 20,
  /** A group costs 40 to 60 us of CPU, however little is in it. So where many small records come at a time,
   * the next group begins no sooner than this after the last one: half as many groups, for a delay that is
   * short beside theirs. Who sends one by one, or much at a time, never waits. */
  PACE_US = 400,
  AGAIN_US = 60 * 1000 * 1000,
  PACE_RECORDS_MIN = 8,
  PACE_BYTES_MAX = 16 << 10
};

struct log {
  struct log_options options;
  char *directory;
  pthread_t thread;
  _Atomic uint64_t open_segment;
  pthread_mutex_t lock;
  pthread_cond_t submitted;
  /* under the lock */
  struct log_batch *first, *last;
  int64_t due_at; /**< when they are written at the latest, monotonic us; INT64_MAX: there are none */
  bool closing;
  /** Held while a group is answered and its end published: who asks for the end sees both done, or neither.
   */
  pthread_mutex_t durable_lock;
  struct log_position durable;
  /* the thread's own */
  struct segment segment;
  int descriptor;
  uint64_t offset;  /**< where the next group goes: all before it is durable */
  uint64_t written; /**< zeroes or groups of this segment stand up to here … */
  uint64_t room;    /**< … and some bytes or other up to here */
  int64_t begun;    /**< monotonic, us */
  int64_t next_at;  /**< when the next group should begin at the soonest; 0: any time */
  int failed;       /**< error_code, for ever */
  metric_id groups, bytes, failures, sync_time;
};

/** Batches that go to disk with one write and one fdatasync. */
struct gathered {
  struct log_batch *first, *behind;
  struct group header;
  struct iovec pieces[GROUP_BATCHES_MAX + 2]; /**< header, batches, zeroes */
  int count;
};

void log_record_put(struct buf *out, const struct log_record *record) {
  size_t start = out->len;
  buf_reserve(out, RECORD_HEADER + 64 + record->entity.id.len + record->input.len + record->effects.len);
  out->len += RECORD_HEADER;
  buf_put_varint(out, record->seq);
  buf_put_u8(out, (uint8_t)record->type);
  buf_put_varint(out, record->generation);
  buf_put_zigzag(out, record->at);
  buf_put_u8(out, (uint8_t)record->entity.kind);
  buf_put_str(out, record->entity.id);
  buf_put_str(out, record->input);
  buf_append(out, record->effects.data, record->effects.len);
  struct str body = {(const char *)out->data + start + RECORD_HEADER, out->len - start - RECORD_HEADER};
  uint32_t length = htole32((uint32_t)body.len), check = htole32((uint32_t)hash64(body, 0));
  memcpy(out->data + start, &length, sizeof length);
  memcpy(out->data + start + sizeof length, &check, sizeof check);
}

/* ---- the thread ---- */

static void fail(struct log *log, int errnum, const char *what) {
  struct error err;
  log->failed = error_set_errno(&err, errnum, "%s", what);
  metric_add(log->failures, 1);
  LOG_ERROR("log", "nothing is durable until the log is opened anew", LOG_TEXT("error", err.message),
            LOG_INT("segment", log->segment.number), LOG_INT("offset", log->offset));
}

/** The next one states its end: what stands behind is for nobody. */
static void close_segment(struct log *log) {
  if (log->room > log->offset + BEHIND_MAX && ftruncate(log->descriptor, (off_t)log->offset))
    LOG_WARN("log", "a closed segment keeps the size that it had", LOG_INT("segment", log->segment.number));
  close(log->descriptor);
}

static int begin_segment(struct log *log, struct log_position previous, struct error *err) {
  struct segment segment = {.number = previous.segment + 1, .previous = previous};
  int descriptor;
  uint64_t room;
  int rc = segment_create(log->directory, &segment, &room, &descriptor, err);
  if (rc) return rc;
  if (log->descriptor >= 0) close_segment(log);
  log->descriptor = descriptor;
  log->segment = segment;
  log->offset = log->written = SEGMENT_HEADER;
  log->room = room;
  log->begun = clock_mono_us();
  pthread_mutex_lock(&log->durable_lock);
  log->durable = (struct log_position){segment.number, SEGMENT_HEADER};
  pthread_mutex_unlock(&log->durable_lock);
  atomic_store_explicit(&log->open_segment, segment.number, memory_order_release);
  return 0;
}

static int begin_next(struct log *log, struct error *err) {
  int rc = begin_segment(log, (struct log_position){log->segment.number, log->offset}, err);
  if (rc) metric_add(log->failures, 1);
  return rc;
}

static void rotate(struct log *log) {
  struct error err;
  if (!(log->failed = begin_next(log, &err))) return;
  LOG_ERROR("log", "nothing is durable until the log is opened anew", LOG_TEXT("error", err.message));
}

/** What a failure may have left of the next segment states where this one ends: were it found, what comes
 * into this one from here on would be behind its end. @return 0 or an errno */
static int remove_next(struct log *log) {
  struct buf path;
  buf_init(&path);
  int failure = unlink(segment_path(&path, log->directory, log->segment.number + 1)) ? errno : 0;
  buf_deinit(&path);
  if (failure == ENOENT) failure = 0;
  if (!failure) failure = FAILPOINT("log.unmake");
  return failure ? failure : directory_sync(log->directory) ? errno : 0;
}

/** Nobody waits for this: where it fails all stays as it is, and is tried again later. */
static void rotate_idle(struct log *log) {
  struct error err;
  if (!(log->failed = begin_next(log, &err))) return;
  int failure = remove_next(log);
  if (failure) {
    LOG_WARN("log", "the next segment cannot be begun", LOG_TEXT("error", err.message));
    fail(log, failure, "what there is of it cannot be removed");
    return;
  }
  log->failed = 0;
  log->begun += AGAIN_US;
  LOG_WARN("log", "the next segment cannot be begun; trying again in a minute",
           LOG_TEXT("error", err.message));
}

static bool segment_used(const struct log *log) {
  return log->offset > SEGMENT_HEADER;
}

/** Monotonic us at which the segment is old, INT64_MAX while it is empty. */
static int64_t segment_old_at(const struct log *log) {
  if (!segment_used(log) || log->failed || log->options.segment_age > INT64_MAX / 2000) return INT64_MAX;
  return log->begun + log->options.segment_age * 1000;
}

/** Take in batches from `first` on. Those without bytes come along. */
static void gather(struct gathered *group, struct log_batch *first) {
  group->first = first;
  group->count = 1;
  group->header = (struct group){0};
  struct log_batch *batch = first;
  if (batch->roll) batch = batch->next; // alone
  for (; batch && !first->roll && !batch->roll && group->count <= GROUP_BATCHES_MAX; batch = batch->next) {
    if (!batch->bytes.len) continue;
    if (group->header.length && group->header.length + batch->bytes.len > GROUP_BYTES_MAX) break;
    group->pieces[group->count++] = (struct iovec){batch->bytes.data, batch->bytes.len};
    group->header.length += (uint32_t)batch->bytes.len;
    group->header.records += batch->records;
  }
  group->behind = batch;
}

static uint64_t checksum(const struct gathered *group, uint64_t salt) {
  XXH3_state_t state;
  XXH3_INITSTATE(&state);
  XXH3_64bits_reset_withSeed(&state, salt);
  for (int i = 1; i < group->count; i++)
    XXH3_64bits_update(&state, group->pieces[i].iov_base, group->pieces[i].iov_len);
  return XXH3_64bits_digest(&state);
}

static int write_pieces(int descriptor, struct iovec *pieces, int count, uint64_t offset) {
  while (count) {
    ssize_t put = pwritev(descriptor, pieces, count, (off_t)offset);
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return -1;
    offset += (uint64_t)put;
    size_t left = (size_t)put;
    for (; count && left >= pieces->iov_len; pieces++, count--) left -= pieces->iov_len;
    if (!count) break;
    pieces->iov_base = (char *)pieces->iov_base + left;
    pieces->iov_len -= left;
  }
  return 0;
}

/** What a crash within the write leaves, for a failpoint to stop behind: the header and half of a batch. */
static int write_torn(struct log *log, const struct gathered *group) {
  struct iovec pieces[] = {group->pieces[0], group->pieces[1]};
  pieces[1].iov_len /= 2;
  return write_pieces(log->descriptor, pieces, 2, log->offset) ? errno : FAILPOINT("log.torn");
}

static void write_group(struct log *log, struct gathered *group) {
  static const char zeroes[AHEAD + PAGE];
  uint8_t header[GROUP_HEADER];
  group->header.offset = log->offset;
  group->header.checksum = checksum(group, log->segment.salt);
  group_put(&log->segment, &group->header, header);
  group->pieces[0] = (struct iovec){header, sizeof header};
  uint64_t end = group_end(&group->header);
  size_t padding = end - (log->offset + GROUP_HEADER + group->header.length);
  if (end > log->written && end <= log->room)
    padding += -end % PAGE; // else the kernel, if it has not this page, reads it
  else if (end > log->written && group->header.length <= AHEAD_GROUP_MAX)
    padding += AHEAD;
  group->pieces[group->count] = (struct iovec){(void *)zeroes, padding};
  int failure = FAILPOINT("log.write");
  if (!failure && failpoint_armed) failure = write_torn(log, group);
  if (!failure && write_pieces(log->descriptor, group->pieces, group->count + 1, log->offset))
    failure = errno;
  if (failure) {
    fail(log, failure, "writing the log failed");
    return;
  }
  uint64_t reach = log->offset + GROUP_HEADER + group->header.length + padding;
  if (reach > log->written) log->written = reach;
  failure = FAILPOINT("log.fsync");
  if (!failure && fdatasync(log->descriptor)) failure = errno;
  if (failure) {
    fail(log, failure, "syncing the log failed");
    return;
  }
  log->offset = end;
  (void)FAILPOINT("log.durable"); // nobody knows yet
}

/** Takes the answers for the first one's mailbox out of the list, to which they go together: who reads them
 * may run at once, and would do so for each. @return what is left */
static struct log_batch *answer_mailbox(struct log_batch *batches) {
  struct mailbox *reply = batches->reply;
  struct mail_bundle answers = {0};
  struct log_batch *left = NULL, **end = &left;
  for (struct log_batch *batch = batches; batch; batch = batch->next) {
    if (batch->reply == reply) {
      mail_bundle_add(&answers, &batch->mail);
    } else {
      *end = batch;
      end = &batch->next;
    }
  }
  *end = NULL;
  mailbox_send_bundle(reply, &answers);
  return left;
}

static void answer(struct log *log, const struct gathered *group) {
  struct log_position end = {log->segment.number, log->offset};
  pthread_mutex_lock(&log->durable_lock);
  for (struct log_batch *batch = group->first; batch; batch = batch->next) {
    batch->status = log->failed;
    batch->end = end;
    if (batch->next == group->behind) batch->next = NULL;
  }
  for (struct log_batch *batch = group->first; batch; batch = answer_mailbox(batch)) continue;
  log->durable = end;
  pthread_mutex_unlock(&log->durable_lock);
}

/** Write and answer what was taken. */
static void serve(struct log *log, struct gathered *group, struct log_batch *taken) {
  while (taken) {
    gather(group, taken);
    taken = group->behind;
    if (group->first->roll && segment_used(log) && !log->failed) rotate(log);
    if (group->header.length && !log->failed) {
      int64_t start = clock_mono_us();
      if (segment_used(log) &&
          (log->offset + group->header.length > log->options.segment_size || start >= segment_old_at(log)))
        rotate(log);
      if (!log->failed) write_group(log, group);
      bool pace = group->header.records >= PACE_RECORDS_MIN && group->header.length < PACE_BYTES_MAX;
      log->next_at = pace ? start + PACE_US : 0;
      metric_observe_us(log->sync_time, clock_mono_us() - start);
      metric_add(log->groups, 1);
      metric_add(log->bytes, group->header.length);
    }
    answer(log, group);
  }
}

/** With the lock: until what was submitted is due, the log closes, or that moment has come, monotonic us.
 * @return whether it has. */
static bool wait_for_work(struct log *log, int64_t until) {
  bool timed_out = false;
  while (log->due_at > 0 && !log->closing && !timed_out) {
    int64_t at = log->due_at < until ? log->due_at : until;
    struct timespec deadline = {(time_t)(at / 1000000), (long)(at % 1000000) * 1000};
    if (at == INT64_MAX)
      pthread_cond_wait(&log->submitted, &log->lock);
    else
      timed_out = pthread_cond_timedwait(&log->submitted, &log->lock, &deadline) == ETIMEDOUT;
  }
  return timed_out;
}

/** With the lock, something being there to write: let more come. */
static void pace(struct log *log) {
  if (!log->next_at || log->closing || log->next_at <= clock_mono_us()) return;
  struct timespec until = {(time_t)(log->next_at / 1000000), (long)(log->next_at % 1000000) * 1000};
  pthread_mutex_unlock(&log->lock);
  clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
  pthread_mutex_lock(&log->lock);
}

static void *log_thread(void *context) {
  struct log *log = context;
  struct gathered *group = memory_alloc(sizeof *group);
  pthread_setname_np(pthread_self(), "kairos-log");
  thread_prompt();
  prctl(PR_SET_TIMERSLACK, 1000UL); // pace() means what it says
  for (bool closing = false; !closing;) {
    pthread_mutex_lock(&log->lock);
    bool timed_out = wait_for_work(log, segment_old_at(log));
    if (log->first) pace(log);
    struct log_batch *taken = log->first;
    log->first = log->last = NULL;
    log->due_at = INT64_MAX;
    // Who closes has submitted everything, so what was taken now is all.
    closing = log->closing;
    pthread_mutex_unlock(&log->lock);
    if (taken)
      serve(log, group, taken);
    else if (timed_out)
      rotate_idle(log); // an idle log's records want to be sealed too
  }
  memory_free(group);
  return NULL;
}

/* ---- the callers' side ---- */

/** Nothing may stand behind `end`: what is believed to be the end of the log must be it. */
static int check_behind(const char *directory, struct log_position end, struct error *err) {
  struct buf numbers, path;
  buf_init(&numbers);
  buf_init(&path);
  int rc = segment_list(directory, &numbers, err);
  for (size_t i = 0; !rc && i < numbers.len / sizeof(uint64_t); i++) {
    uint64_t number = ((const uint64_t *)(const void *)numbers.data)[i];
    if (number <= end.segment) continue;
    struct segment segment;
    struct group group;
    int descriptor, found = 0;
    if (!segment_open(directory, number, false, &segment, &descriptor, NULL)) {
      found = group_read(&segment, descriptor, SEGMENT_HEADER, &group, err);
      close(descriptor);
    }
    if (found < 0) rc = found;
    if (found > 0 || number > end.segment + 1)
      rc = error_set(err, ERROR_EXISTS, "%s: is behind what is said to be the log's end",
                     segment_path(&path, directory, number));
  }
  buf_deinit(&numbers);
  buf_deinit(&path);
  return rc;
}

static int make_directory(const char *directory, struct error *err) {
  if (mkdir(directory, 0750) == 0) {
    char *copy = memory_dup(directory, strlen(directory));
    int failed = directory_sync(dirname(copy));
    memory_free(copy);
    if (!failed) return 0;
  } else if (errno == EEXIST) {
    return 0;
  }
  return error_set_errno(err, errno, "%s: cannot be made", directory);
}

static void log_free(struct log *log) {
  if (log->descriptor >= 0) close(log->descriptor);
  pthread_mutex_destroy(&log->lock);
  pthread_mutex_destroy(&log->durable_lock);
  pthread_cond_destroy(&log->submitted);
  memory_free(log->directory);
  memory_free(log);
}

int log_open(struct log **out, const struct log_options *options, struct log_position end,
             struct error *err) {
  *out = NULL;
  int rc = make_directory(options->directory, err);
  if (!rc) rc = check_behind(options->directory, end, err);
  if (!rc && end.segment) rc = segment_confirm(options->directory, end, false, err);
  if (rc) return rc;
  struct log *log = memory_zalloc(sizeof *log);
  log->options = *options;
  log->directory = memory_dup(options->directory, strlen(options->directory));
  log->descriptor = -1;
  log->due_at = INT64_MAX;
  log->groups = metric_counter("kairos_log_groups_total", "Groups written to the log and synced.", NULL);
  log->bytes = metric_counter("kairos_log_bytes_total", "Bytes of records written to the log.", NULL);
  log->failures =
      metric_counter("kairos_log_failures_total", "Writes or syncs of the log that failed.", NULL);
  log->sync_time =
      metric_histogram("kairos_log_sync_seconds", "Writing and syncing one group of records.", NULL);
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_mutex_init(&log->lock, NULL);
  pthread_mutex_init(&log->durable_lock, NULL);
  pthread_cond_init(&log->submitted, &monotonic);
  pthread_condattr_destroy(&monotonic);
  rc = begin_segment(log, end, err);
  if (!rc) {
    int failure = pthread_create(&log->thread, NULL, log_thread, log);
    if (failure) rc = error_set_errno(err, failure, "the log's thread cannot be started");
  }
  if (rc) {
    log_free(log);
    return rc;
  }
  *out = log;
  return 0;
}

void log_close(struct log *log) {
  if (!log) return;
  pthread_mutex_lock(&log->lock);
  log->closing = true;
  pthread_cond_signal(&log->submitted);
  pthread_mutex_unlock(&log->lock);
  pthread_join(log->thread, NULL);
  log_free(log);
}

void log_submit(struct log *log, struct log_batch *batch) {
  batch->next = NULL;
  int64_t due_at = batch->patience_us > 0 ? clock_mono_us() + batch->patience_us : 0;
  pthread_mutex_lock(&log->lock);
  if (log->first)
    log->last->next = batch;
  else
    log->first = batch;
  log->last = batch;
  bool sooner = due_at < log->due_at;
  if (sooner) log->due_at = due_at;
  pthread_mutex_unlock(&log->lock);
  // Not before, for the thread may run at once, and would find the lock taken. It does not close meanwhile:
  // its answer is read by the thread that is here.
  if (sooner) pthread_cond_signal(&log->submitted);
}

struct log_position log_durable(struct log *log) {
  pthread_mutex_lock(&log->durable_lock);
  struct log_position durable = log->durable;
  pthread_mutex_unlock(&log->durable_lock);
  return durable;
}

uint64_t log_open_segment(struct log *log) {
  return atomic_load_explicit(&log->open_segment, memory_order_acquire);
}
