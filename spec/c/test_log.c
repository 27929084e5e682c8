// links: base event state
#include "state_support.h"

#include "state/log_spare.h"

#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <sys/wait.h>

static struct log *open_log(struct log_position end, uint64_t size, int64_t age) {
  struct log *log = NULL;
  struct error err = {0};
  struct log_options options = {.directory = support_path("log"), .segment_size = size, .segment_age = age};
  int rc = log_open(&log, &options, end, &err);
  if (rc) fail_msg("%s", err.message);
  return log;
}

static struct log *open_fresh(void) {
  return open_log((struct log_position){0, 0}, 1 << 30, 1 << 30);
}

/** A record whose content follows from its number. */
static struct log_record record_of(uint64_t seq) {
  static _Thread_local char text[8][3000];
  char *bytes = text[seq % 8];
  size_t len = (size_t)(seq * 37 % 2900);
  for (size_t i = 0; i < len; i++) bytes[i] = (char)(seq * 31 + i * 7);
  static const struct str ids[] = {{"ada", 3}, {"grace", 5}, {"", 0}};
  return (struct log_record){.seq = seq,
                             .type = (enum log_record_type)(1 + seq % 7),
                             .generation = (uint32_t)(seq / 10),
                             .at = 1700000000000 + (int64_t)seq,
                             .entity = {seq % 2 ? ENTITY_USER : ENTITY_SUBJECT, ids[seq % 3]},
                             .input = {bytes, len / 2},
                             .effects = {bytes + len / 2, len - len / 2}};
}

static void assert_record(const struct log_record *record, uint64_t seq) {
  struct log_record expected = record_of(seq);
  assert_int_equal(record->seq, seq);
  assert_int_equal(record->type, expected.type);
  assert_int_equal(record->generation, expected.generation);
  assert_int_equal(record->at, expected.at);
  assert_true(entity_equal(record->entity, expected.entity));
  assert_true(str_equal(record->input, expected.input));
  assert_true(str_equal(record->effects, expected.effects));
}

static int write_numbers(struct log *log, struct support_loop *loop, uint64_t from, int count,
                         struct log_position *end) {
  struct support_batch batch;
  support_batch_init(&batch, loop);
  for (int i = 0; i < count; i++) {
    struct log_record record = record_of(from + (uint64_t)i);
    support_batch_put(&batch, &record);
  }
  int target = loop->answered + 1;
  log_submit(log, &batch.log);
  support_loop_wait(loop, &loop->answered, target);
  if (end) *end = batch.log.end;
  buf_deinit(&batch.log.bytes);
  return batch.log.status;
}

struct outcome_of_reading {
  int rc;
  uint64_t first, last, count, cut;
  struct log_position end;
  struct error err;
};

/** The bytes of the segment where reading begins; none if it cannot. */
static void read_first_segment(struct log_position from, struct buf *out) {
  struct buf numbers;
  buf_init(&numbers);
  assert_int_equal(segment_list(support_path("log"), &numbers, NULL), 0);
  uint64_t number = from.segment || !numbers.len ? from.segment : *(uint64_t *)(void *)numbers.data;
  buf_deinit(&numbers);
  char name[64];
  snprintf(name, sizeof name, "log/%016" PRIx64 ".log", number);
  int fd = open(support_path(name), O_RDONLY);
  struct stat info;
  if (fd < 0) return;
  assert_int_equal(fstat(fd, &info), 0);
  assert_int_equal(file_read_at(fd, buf_reserve(out, (size_t)info.st_size), (size_t)info.st_size, 0),
                   info.st_size);
  out->len = (size_t)info.st_size;
  close(fd);
}

/** Read everything; the numbers must follow each other. @param lent  the first segment's bytes; none: they
 * are read */
static struct outcome_of_reading read_of(struct log_position from, const struct log_position *until,
                                         struct str lent) {
  struct outcome_of_reading out = {0};
  struct log_reader *reader = NULL;
  out.rc = log_reader_new(&reader, support_path("log"), from, &out.err);
  if (out.rc) return out;
  if (lent.len) log_reader_lend(reader, lent);
  struct log_record record;
  while ((out.rc = log_reader_next(reader, until, &record, &out.end, &out.err)) == 1) {
    if (!out.count) out.first = out.last = record.seq - 1;
    assert_record(&record, ++out.last);
    out.count++;
  }
  out.first++;
  out.cut = log_reader_cut(reader);
  log_reader_free(reader);
  return out;
}

/** Both ways, which have to agree. */
static struct outcome_of_reading read_all(struct log_position from, const struct log_position *until) {
  struct buf lent;
  buf_init(&lent);
  read_first_segment(from, &lent);
  struct outcome_of_reading out = read_of(from, until, STR("")), other = read_of(from, until, buf_str(&lent));
  assert_int_equal(out.rc, other.rc);
  assert_string_equal(out.err.message, other.err.message);
  assert_int_equal(out.first, other.first);
  assert_int_equal(out.count, other.count);
  assert_int_equal(out.cut, other.cut);
  if (out.rc >= 0) assert_int_equal(log_position_compare(out.end, other.end), 0);
  buf_deinit(&lent);
  return out;
}

static const char *segment_file(uint64_t number) {
  char name[64];
  snprintf(name, sizeof name, "log/%016" PRIx64 ".log", number);
  return support_path(name);
}

static void patch(uint64_t number, uint64_t offset, const void *bytes, size_t len) {
  int fd = open(segment_file(number), O_RDWR);
  assert_true(fd >= 0);
  assert_int_equal(pwrite(fd, bytes, len, (off_t)offset), (ssize_t)len);
  close(fd);
}

static uint8_t flip(uint64_t number, uint64_t offset) {
  int fd = open(segment_file(number), O_RDWR);
  assert_true(fd >= 0);
  uint8_t byte;
  assert_int_equal(pread(fd, &byte, 1, (off_t)offset), 1);
  uint8_t flipped = byte ^ 0x40;
  assert_int_equal(pwrite(fd, &flipped, 1, (off_t)offset), 1);
  close(fd);
  return byte;
}

/** Segment 1, with so many groups, has become a spare. @return its size */
static off_t make_spare(struct support_loop *loop, int groups) {
  struct log *log = open_fresh();
  for (int i = 0; i < groups; i++) assert_int_equal(write_numbers(log, loop, 100 + (uint64_t)i, 1, NULL), 0);
  log_close(log);
  struct stat info;
  assert_int_equal(stat(segment_file(1), &info), 0);
  assert_int_equal(spare_keep(support_path("log"), 1), 0);
  return info.st_size;
}

static size_t spares(void) {
  uint64_t bytes;
  size_t count = spare_measure(support_path("log"), &bytes);
  assert_int_equal(count > 0, bytes > 0);
  return count;
}

/* ---- writing and reading ---- */

static void what_is_written_is_read(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_fresh();
  assert_int_equal(log_open_segment(log), 1);
  uint64_t seq = 1;
  struct log_position end, previous = log_durable(log);
  for (int count = 1; count < 40; seq += (uint64_t)count, count++) {
    assert_int_equal(write_numbers(log, &loop, seq, count, &end), 0);
    assert_true(log_position_compare(end, previous) > 0);
    previous = end;
  }
  assert_int_equal(write_numbers(log, &loop, seq, 0, &end), 0); // a barrier
  assert_int_equal(log_position_compare(end, previous), 0);
  struct outcome_of_reading beside = read_all((struct log_position){0, 0}, &end);
  log_close(log);
  struct outcome_of_reading all = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(all.rc, 0);
  assert_int_equal(all.first, 1);
  assert_int_equal(all.last, seq - 1);
  assert_int_equal(all.cut, 0);
  assert_int_equal(log_position_compare(all.end, end), 0);
  assert_int_equal(beside.count, all.count);
  support_loop_deinit(&loop);
}

static void nothing_is_read_from_nothing(void **state) {
  (void)state;
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, 0);
  assert_int_equal(out.count, 0);
  assert_int_equal(out.end.segment, 0);
  assert_int_equal(mkdir(support_path("log"), 0755), 0);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).rc, 0);
  // A place the checkpoint knows of, and nothing there: that is loss, not emptiness.
  out = read_all((struct log_position){3, 100}, NULL);
  assert_int_equal(out.rc, ERROR_CORRUPT);
  assert_non_null(strstr(out.err.message, "0000000000000003.log"));
}

static void reading_goes_on_behind_any_record(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_log((struct log_position){0, 0}, 20000, 1 << 30);
  for (uint64_t seq = 1; seq <= 60; seq += 6) assert_int_equal(write_numbers(log, &loop, seq, 6, NULL), 0);
  assert_true(log_open_segment(log) > 2);
  log_close(log);
  struct log_reader *reader;
  struct error err;
  assert_int_equal(log_reader_new(&reader, support_path("log"), (struct log_position){0, 0}, &err), 0);
  struct log_record record;
  struct log_position after;
  uint64_t read = 0;
  while (log_reader_next(reader, NULL, &record, &after, &err) == 1) {
    read++;
    struct outcome_of_reading rest = read_all(after, NULL),
                              before = read_all((struct log_position){0, 0}, &after);
    assert_int_equal(rest.rc, 0);
    assert_int_equal(rest.count, 60 - read);
    if (rest.count) assert_int_equal(rest.first, read + 1);
    assert_int_equal(before.rc, 0);
    assert_int_equal(before.count, read);
  }
  assert_int_equal(read, 60);
  log_reader_free(reader);
  support_loop_deinit(&loop);
}

static void a_position_between_records_is_refused(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_fresh();
  struct log_position end;
  write_numbers(log, &loop, 1, 5, &end);
  log_close(log);
  for (uint64_t offset = SEGMENT_HEADER + 1; offset < end.offset; offset += 13) {
    struct outcome_of_reading out = read_all((struct log_position){1, offset}, NULL);
    assert_true(out.rc == ERROR_CORRUPT || out.count < 5);
  }
  assert_int_equal(read_all((struct log_position){1, end.offset + 8}, NULL).rc, ERROR_CORRUPT);
  support_loop_deinit(&loop);
}

static void a_reader_follows_a_running_log(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_log((struct log_position){0, 0}, 9000, 1 << 30);
  struct log_reader *reader;
  struct error err;
  assert_int_equal(log_reader_new(&reader, support_path("log"), (struct log_position){0, 0}, &err), 0);
  uint64_t read = 0;
  for (uint64_t seq = 1; seq <= 100; seq += 4) {
    assert_int_equal(write_numbers(log, &loop, seq, 4, NULL), 0);
    struct log_position until = log_durable(log), after;
    struct log_record record;
    int rc;
    while ((rc = log_reader_next(reader, &until, &record, &after, &err)) == 1) assert_record(&record, ++read);
    assert_int_equal(rc, 0);
    assert_int_equal(log_position_compare(after, until), 0);
    assert_int_equal(read, seq + 3);
  }
  assert_true(log_open_segment(log) > 3);
  log_close(log);
  log_reader_free(reader);
  support_loop_deinit(&loop);
}

static void an_idle_segment_ends_with_its_age(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_log((struct log_position){0, 0}, 1 << 30, 50);
  usleep(120000);
  assert_int_equal(log_open_segment(log), 1); // empty: there is nothing to end
  assert_int_equal(write_numbers(log, &loop, 1, 1, NULL), 0);
  for (int i = 0; i < 100 && log_open_segment(log) == 1; i++) usleep(10000);
  assert_int_equal(log_open_segment(log), 2);
  struct log_position durable = log_durable(log);
  assert_int_equal(durable.segment, 2);
  log_close(log);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).count, 1);
  support_loop_deinit(&loop);
}

/* ---- damage ---- */

/** Three groups in segment 1; the ends of the second and the third. */
static void write_three(struct support_loop *loop, struct log_position *second, struct log_position *third) {
  struct log *log = open_fresh();
  struct log_position first;
  assert_int_equal(write_numbers(log, loop, 1, 3, &first), 0);
  assert_int_equal(write_numbers(log, loop, 4, 3, second), 0);
  assert_int_equal(write_numbers(log, loop, 7, 3, third), 0);
  log_close(log);
}

static void a_torn_tail_is_cut_wherever_it_tears(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log_position second, third;
  write_three(&loop, &second, &third);
  // Blocks of the last group that never came are zeroes or the file's end.
  for (uint64_t length = third.offset - 1; length > second.offset; length -= length % 64 + 1) {
    assert_int_equal(truncate(segment_file(1), (off_t)length), 0);
    struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
    if (out.count == 9) continue; // the group's padding alone was lost
    assert_int_equal(out.rc, 0);
    assert_int_equal(out.last, 6);
    assert_true(out.cut > 0 && out.cut <= length - second.offset);
    assert_int_equal(log_position_compare(out.end, second), 0);
    assert_int_equal(truncate(segment_file(1), (off_t)third.offset + 5000), 0);
    assert_int_equal(read_all((struct log_position){0, 0}, NULL).last, 6);
  }
  // A header that never came before blocks that did.
  uint8_t zero[GROUP_HEADER] = {0};
  patch(1, second.offset, zero, sizeof zero);
  patch(1, second.offset + 1000, "late", 4);
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, 0);
  assert_int_equal(out.last, 6);
  assert_int_equal(out.cut, 1004);
  support_loop_deinit(&loop);
}

static void every_flipped_byte_is_noticed(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log_position second, third;
  write_three(&loop, &second, &third);
  struct log_record last = record_of(9);
  struct buf framed;
  buf_init(&framed);
  log_record_put(&framed, &last);
  size_t padding = (8 - framed.len % 8) % 8;
  buf_deinit(&framed);
  for (uint64_t offset = SEGMENT_HEADER; offset < third.offset - padding - 8; offset++) {
    uint8_t byte = flip(1, offset);
    struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
    if (offset < second.offset) {
      assert_true(out.rc == ERROR_CORRUPT || out.count == 9); // or it was padding
      if (out.rc) assert_non_null(strstr(out.err.message, "0000000000000001.log: damaged at offset "));
    } else {
      assert_int_equal(out.rc, 0);
      assert_int_equal(out.last, 6);
      assert_true(out.cut > 0);
    }
    patch(1, offset, &byte, 1);
  }
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).last, 9);
  support_loop_deinit(&loop);
}

static void damage_is_no_torn_tail_once_a_segment_follows(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log_position second, third;
  write_three(&loop, &second, &third);
  log_close(open_log(third, 1 << 30, 1 << 30));
  uint8_t byte = flip(1, second.offset + 40);
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, ERROR_CORRUPT);
  char expected[64];
  snprintf(expected, sizeof expected, "offset %" PRIu64, second.offset);
  assert_non_null(strstr(out.err.message, expected));
  patch(1, second.offset + 40, &byte, 1);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).last, 9);
  assert_int_equal(truncate(segment_file(1), (off_t)third.offset - 20), 0);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).rc, ERROR_CORRUPT);
  support_loop_deinit(&loop);
}

static void headers_are_judged(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log_position second, third;
  write_three(&loop, &second, &third);
  for (uint64_t offset = 0; offset < SEGMENT_HEADER; offset++) {
    uint8_t byte = flip(1, offset);
    struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
    assert_int_equal(out.rc, offset >= 8 && offset < 12 ? ERROR_VERSION : ERROR_CORRUPT);
    patch(1, offset, &byte, 1);
  }
  log_close(open_log(third, 1 << 30, 1 << 30));
  // Left while it was being made: empty, half a header, or a header of zeroes.
  static const off_t lengths[] = {0, 17, SEGMENT_HEADER - 1};
  for (size_t i = 0; i < 3; i++) {
    assert_int_equal(truncate(segment_file(2), lengths[i]), 0);
    struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
    assert_int_equal(out.rc, 0);
    assert_int_equal(out.last, 9);
    assert_int_equal(log_position_compare(out.end, third), 0);
    assert_int_equal(truncate(segment_file(2), SEGMENT_HEADER), 0);
    assert_int_equal(read_all((struct log_position){0, 0}, NULL).rc, 0);
  }
  log_close(open_log(third, 1 << 30, 1 << 30)); // takes its place
  log_close(open_log((struct log_position){2, SEGMENT_HEADER}, 1 << 30, 1 << 30));
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).rc, 0);
  assert_int_equal(truncate(segment_file(2), 17), 0);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).rc, ERROR_CORRUPT);
  unlink(segment_file(2));
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, ERROR_CORRUPT);
  assert_non_null(strstr(out.err.message, "0000000000000002.log: is missing"));
  support_loop_deinit(&loop);
}

static void garbage_is_refused_or_cut(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log_position second, third;
  write_three(&loop, &second, &third);
  // A group's header with an enormous length, over and over, where nothing follows.
  uint8_t huge[64];
  memset(huge, 0xff, sizeof huge);
  for (int i = 0; i < 100; i++) patch(1, third.offset + 64 * (uint64_t)i, huge, sizeof huge);
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, 0);
  assert_int_equal(out.last, 9);
  assert_int_equal(out.cut, 6400);
  // A copy of this segment's first group where it does not belong is no group.
  int fd = open(segment_file(1), O_RDWR);
  uint8_t copy[200];
  assert_int_equal(pread(fd, copy, sizeof copy, SEGMENT_HEADER), sizeof copy);
  assert_int_equal(pwrite(fd, copy, sizeof copy, (off_t)third.offset + 8), sizeof copy);
  close(fd);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).last, 9);
  fd = open(segment_file(7), O_RDWR | O_CREAT, 0644);
  assert_int_equal(write(fd, huge, sizeof huge), sizeof huge);
  close(fd);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).rc, ERROR_CORRUPT);
  support_loop_deinit(&loop);
}

static void nothing_may_stand_behind_the_end(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log_position second, third;
  write_three(&loop, &second, &third);
  struct log_options options = {
      .directory = support_path("log"), .segment_size = 1 << 30, .segment_age = 1000};
  struct log *log;
  struct error err;
  assert_int_equal(log_open(&log, &options, (struct log_position){0, 0}, &err), ERROR_EXISTS);
  assert_int_equal(log_open(&log, &options, (struct log_position){1, second.offset + 8}, &err),
                   ERROR_CORRUPT);
  assert_int_equal(log_open(&log, &options, (struct log_position){2, 64}, &err), ERROR_NOT_FOUND);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).last, 9);
  support_loop_deinit(&loop);
}

/* ---- failures ---- */

/** After a failure all are refused, the durable stays, and a log opened anew hides what was written and not
 * durable. */
static void fails_at(const char *failpoint, int code, bool readable) {
  struct support_loop loop;
  support_loop_init(&loop);
  struct log_position end, durable;
  struct log *log = open_fresh();
  assert_int_equal(write_numbers(log, &loop, 1, 3, &durable), 0);
  support_failpoints(failpoint);
  struct support_batch batches[5];
  for (int i = 0; i < 5; i++) {
    support_batch_init(&batches[i], &loop);
    struct log_record record = record_of(4 + (uint64_t)(i < 3 ? i : i - 1));
    if (i != 3) support_batch_put(&batches[i], &record);
    log_submit(log, &batches[i].log);
  }
  support_loop_wait(&loop, &loop.answered, 6);
  for (int i = 0; i < 5; i++) {
    assert_int_equal(batches[i].log.status, code);
    assert_int_equal(batches[i].order, i + 1);
    assert_int_equal(log_position_compare(batches[i].log.end, durable), 0);
    buf_deinit(&batches[i].log.bytes);
  }
  support_failpoints("");
  assert_int_equal(write_numbers(log, &loop, 4, 1, &end), code); // until it is opened anew
  end = log_durable(log);
  assert_int_equal(log_position_compare(end, durable), 0);
  log_close(log);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).last > 3, readable);
  assert_int_equal(read_all((struct log_position){0, 0}, &durable).last, 3);
  log = open_log(durable, 1 << 30, 1 << 30);
  assert_int_equal(write_numbers(log, &loop, 4, 5, &end), 0);
  log_close(log);
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, 0);
  assert_int_equal(out.last, 8);
  assert_int_equal(out.count, 8);
  support_loop_deinit(&loop);
}

static void a_failed_sync_is_never_believed(void **state) {
  (void)state;
  fails_at("log.fsync=error@1*1", ERROR_IO, true);
}

static void a_full_disk_is_named(void **state) {
  (void)state;
  fails_at("log.write=enospc@1*1", ERROR_NO_SPACE, false);
}

static void a_segment_that_cannot_begin_fails_its_group(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_log((struct log_position){0, 0}, 100, 1 << 30);
  struct log_position durable, end;
  assert_int_equal(write_numbers(log, &loop, 1, 3, &durable), 0);
  support_failpoints("log.segment=enospc");
  assert_int_equal(write_numbers(log, &loop, 4, 3, &end), ERROR_NO_SPACE);
  assert_int_equal(log_position_compare(end, durable), 0);
  log_close(log);
  struct error err;
  struct log_options options = {.directory = support_path("log"), .segment_size = 100, .segment_age = 1000};
  support_failpoints("log.segment=error");
  assert_int_equal(log_open(&log, &options, durable, &err), ERROR_IO);
  support_failpoints("");
  log = open_log(durable, 1 << 30, 1 << 30);
  assert_int_equal(write_numbers(log, &loop, 4, 3, &end), 0);
  log_close(log);
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, 0);
  assert_int_equal(out.last, 6);
  support_loop_deinit(&loop);
}

/** Killed between a segment's first bytes and its sync: who finds them makes them durable before anything is
 * written behind them. */
static void a_segment_with_nothing_in_it_is_made_durable(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  struct log *log = open_fresh();
  struct log_position durable, end;
  assert_int_equal(write_numbers(log, &loop, 1, 3, &durable), 0);
  log_close(log);
  struct log_options options = {.directory = support_path("log"), .segment_size = 1000, .segment_age = 1000};
  struct error err;
  support_failpoints("log.segment=error");
  assert_int_equal(log_open(&log, &options, durable, &err), ERROR_IO); // as far as the killed one came
  uint64_t cut;
  support_failpoints("log.settle=error");
  assert_int_equal(log_settle(support_path("log"), NULL, &end, &cut, &err), ERROR_IO);
  support_failpoints("");
  assert_int_equal(log_settle(support_path("log"), NULL, &end, &cut, &err), 0);
  assert_int_equal(end.segment, 2);
  assert_int_equal(end.offset, SEGMENT_HEADER);
  log = open_log(end, 1 << 30, 1 << 30);
  assert_int_equal(write_numbers(log, &loop, 4, 3, &end), 0);
  log_close(log);
  assert_int_equal(end.segment, 3);
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, 0);
  assert_int_equal(out.last, 6);
  support_loop_deinit(&loop);
}

static void what_was_answered_survives_a_kill(void **state) {
  (void)state;
  static const char *const points[] = {"log.write=kill@", "log.fsync=kill@", "log.segment=kill@"};
  uint64_t durable = 0;
  struct log_position end = {0, 0};
  for (int round = 0; round < 18; round++) {
    int pipe_ends[2];
    assert_int_equal(pipe(pipe_ends), 0);
    pid_t child = fork();
    if (!child) {
      char specification[64];
      snprintf(specification, sizeof specification, "%s%d", points[round % 3], 1 + round / 3);
      setenv("KAIROS_FAILPOINTS", specification, 1);
      failpoint_init();
      struct support_loop loop;
      support_loop_init(&loop);
      struct log *log = open_log(end, 6000, 1 << 30);
      for (uint64_t seq = durable + 1; seq < durable + 1000; seq += 2) {
        if (write_numbers(log, &loop, seq, 2, NULL)) _exit(1);
        uint64_t answered = seq + 1;
        if (write(pipe_ends[1], &answered, sizeof answered) != sizeof answered) _exit(1);
      }
      _exit(1);
    }
    close(pipe_ends[1]);
    uint64_t answered = durable;
    while (read(pipe_ends[0], &answered, sizeof answered) == sizeof answered) continue;
    close(pipe_ends[0]);
    int status;
    waitpid(child, &status, 0);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == 9);
    struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
    if (out.rc) fail_msg("%s", out.err.message);
    assert_true(out.last == answered || out.last == answered + 2 || (!out.count && !answered));
    durable = out.count ? out.last : 0;
    end = out.end;
  }
  assert_true(durable > 20);
}

/* ---- threads ---- */

enum { THREADS = 4, BATCHES = 200 };

struct submitter {
  struct log *log;
  uint32_t number;
  pthread_t thread;
};

static void *submit_many(void *context) {
  struct submitter *self = context;
  struct support_loop loop;
  support_loop_init(&loop);
  struct support_batch *batches = calloc(BATCHES, sizeof *batches);
  for (uint32_t i = 0; i < BATCHES; i++) {
    support_batch_init(&batches[i], &loop);
    struct log_record record = record_of(i + 1);
    record.generation = self->number;
    support_batch_put(&batches[i], &record);
    log_submit(self->log, &batches[i].log);
    if (i % 16 == 15) support_loop_wait(&loop, &loop.answered, (int)i - 8);
  }
  support_loop_wait(&loop, &loop.answered, BATCHES);
  for (int i = 0; i < BATCHES; i++) {
    assert(batches[i].log.status == 0 && batches[i].order == i);
    buf_deinit(&batches[i].log.bytes);
  }
  free(batches);
  support_loop_deinit(&loop);
  return NULL;
}

static void many_threads_keep_each_its_order(void **state) {
  (void)state;
  struct log *log = open_log((struct log_position){0, 0}, 100000, 1 << 30);
  struct submitter threads[THREADS];
  for (uint32_t i = 0; i < THREADS; i++) {
    threads[i] = (struct submitter){.log = log, .number = i};
    assert_int_equal(pthread_create(&threads[i].thread, NULL, submit_many, &threads[i]), 0);
  }
  for (int i = 0; i < THREADS; i++) pthread_join(threads[i].thread, NULL);
  log_close(log);
  uint64_t next[THREADS] = {1, 1, 1, 1};
  struct log_reader *reader;
  struct error err;
  assert_int_equal(log_reader_new(&reader, support_path("log"), (struct log_position){0, 0}, &err), 0);
  struct log_record record;
  struct log_position after;
  while (log_reader_next(reader, NULL, &record, &after, &err) == 1) {
    assert_true(record.generation < THREADS);
    assert_int_equal(record.seq, next[record.generation]++);
  }
  for (int i = 0; i < THREADS; i++) assert_int_equal(next[i], BATCHES + 1);
  log_reader_free(reader);
}

static void put_numbered(struct support_batch *batch, struct support_loop *loop, uint64_t seq,
                         int64_t patience_us) {
  struct log_record record = record_of(seq);
  support_batch_init(batch, loop);
  support_batch_put(batch, &record);
  batch->log.patience_us = patience_us;
}

static void the_patient_share_a_group_with_who_is_not(void **state) {
  (void)state;
  static const int64_t HOUR_US = INT64_C(3600) * 1000000;
  struct support_loop loop;
  struct support_batch first, second, soon, last;
  support_loop_init(&loop);
  struct log *log = open_fresh();
  struct log_position before = log_durable(log);
  put_numbered(&first, &loop, 1, HOUR_US);
  put_numbered(&second, &loop, 2, 0);
  log_submit(log, &first.log);
  usleep(20000); // time enough to write it alone, were it not for its patience
  assert_int_equal(log_position_compare(log_durable(log), before), 0);
  log_submit(log, &second.log);
  support_loop_wait(&loop, &loop.answered, 2);
  assert_int_equal(log_position_compare(first.log.end, second.log.end), 0);
  // Its patience ends, though nobody else comes.
  put_numbered(&soon, &loop, 3, 1000);
  log_submit(log, &soon.log);
  support_loop_wait(&loop, &loop.answered, 3);
  assert_int_equal(soon.log.status, 0);
  // Who closes waits for nobody.
  put_numbered(&last, &loop, 4, HOUR_US);
  log_submit(log, &last.log);
  log_close(log);
  support_loop_wait(&loop, &loop.answered, 4);
  assert_int_equal(last.log.status, 0);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).last, 4);
  struct support_batch *all[] = {&first, &second, &soon, &last};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) buf_deinit(&all[i]->log.bytes);
  support_loop_deinit(&loop);
}

/* ---- spare segments ---- */

static void what_a_spare_held_is_never_read(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  off_t size = make_spare(&loop, 40);
  assert_int_equal(spares(), 1);
  struct log *log = open_fresh();
  assert_int_equal(spares(), 0);
  struct stat info;
  assert_int_equal(stat(segment_file(1), &info), 0);
  assert_int_equal(info.st_size, size);
  struct log_position end = log_durable(log), settled;
  // At each length, and where the same record stood before too: its group begins at the same place.
  for (uint64_t seq = 1; seq < 30; seq++) {
    struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
    assert_int_equal(out.rc, 0);
    assert_int_equal(out.count, seq - 1);
    assert_int_equal(out.cut, 0);
    if (seq > 1) assert_int_equal(log_position_compare(out.end, end), 0);
    assert_int_equal(write_numbers(log, &loop, seq, 1, &end), 0);
  }
  log_close(log);
  uint64_t cut;
  assert_int_equal(log_settle(support_path("log"), NULL, &settled, &cut, NULL), 0);
  assert_int_equal(log_position_compare(settled, end), 0);
  assert_int_equal(cut, 0);
  support_loop_deinit(&loop);
}

static void a_later_group_is_a_statement_in_a_reused_file_too(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  make_spare(&loop, 40);
  struct log_position second, third;
  write_three(&loop, &second, &third);
  uint8_t byte = flip(1, SEGMENT_HEADER + 40);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).rc, ERROR_CORRUPT);
  patch(1, SEGMENT_HEADER + 40, &byte, 1);
  // The last one tore; what stood there before does not tell.
  flip(1, second.offset + 40);
  struct outcome_of_reading out = read_all((struct log_position){0, 0}, NULL);
  assert_int_equal(out.rc, 0);
  assert_int_equal(out.last, 6);
  assert_int_equal(log_position_compare(out.end, second), 0);
  support_loop_deinit(&loop);
}

static void a_file_that_somebody_reads_or_shares_is_nobodys_spare(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  make_spare(&loop, 3);
  struct buf path;
  buf_init(&path);
  uint64_t room;
  char spare[64];
  snprintf(spare, sizeof spare, "log/%016x.spare", 1);
  char *backup = strdup(support_path("backup")), *name = strdup(support_path(spare));
  assert_int_equal(link(name, backup), 0);
  assert_int_equal(spare_take(support_path("log"), &path, &room), -1);
  assert_int_equal(unlink(backup), 0);
  // Somebody opened it while it was a segment.
  assert_int_equal(rename(name, segment_file(1)), 0);
  struct segment segment;
  int reader;
  assert_int_equal(segment_open(support_path("log"), 1, false, &segment, &reader, NULL), 0);
  assert_int_equal(spare_keep(support_path("log"), 1), 0);
  assert_int_equal(spare_take(support_path("log"), &path, &room), -1);
  close(reader);
  int taken = spare_take(support_path("log"), &path, &room);
  assert_true(taken >= 0);
  assert_string_equal((char *)path.data, name);
  // Who comes by the old name while it is being written over finds nothing.
  assert_int_equal(rename(name, segment_file(1)), 0);
  assert_int_equal(segment_open(support_path("log"), 1, false, &segment, &reader, NULL), ERROR_NOT_FOUND);
  spare_taken(taken);
  assert_int_equal(segment_open(support_path("log"), 1, false, &segment, &reader, NULL), 0);
  close(reader);
  close(taken);
  free(backup);
  free(name);
  buf_deinit(&path);
  support_loop_deinit(&loop);
}

static void a_spare_that_fails_is_not_tried_again(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  make_spare(&loop, 3);
  struct log *log;
  struct error err;
  struct log_options options = {.directory = support_path("log"), .segment_size = 1 << 20, .segment_age = 1};
  support_failpoints("log.reuse=error");
  assert_int_equal(log_open(&log, &options, (struct log_position){0, 0}, &err), ERROR_IO);
  support_failpoints("");
  assert_int_equal(spares(), 0);
  make_spare(&loop, 3);
  spare_trim(support_path("log"), 1);
  assert_int_equal(spares(), 1);
  spare_trim(support_path("log"), 0);
  assert_int_equal(spares(), 0);
  log_close(open_fresh());
  support_loop_deinit(&loop);
}

static void a_short_segment_gives_back_what_its_file_had(void **state) {
  (void)state;
  struct support_loop loop;
  support_loop_init(&loop);
  make_spare(&loop, 3);
  char spare[64];
  snprintf(spare, sizeof spare, "log/%016x.spare", 1);
  assert_int_equal(truncate(support_path(spare), 8 << 20), 0);
  struct log *log = open_fresh();
  struct log_position end;
  assert_int_equal(write_numbers(log, &loop, 1, 3, &end), 0);
  struct support_batch roll;
  support_batch_init(&roll, &loop);
  roll.log.roll = true;
  int target = loop.answered + 1;
  log_submit(log, &roll.log);
  support_loop_wait(&loop, &loop.answered, target);
  struct stat info;
  assert_int_equal(stat(segment_file(1), &info), 0);
  assert_int_equal(info.st_size, end.offset);
  assert_int_equal(write_numbers(log, &loop, 4, 3, &end), 0);
  log_close(log);
  assert_int_equal(read_all((struct log_position){0, 0}, NULL).last, 6);
  support_loop_deinit(&loop);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(what_is_written_is_read),
      TEST(nothing_is_read_from_nothing),
      TEST(reading_goes_on_behind_any_record),
      TEST(a_position_between_records_is_refused),
      TEST(a_reader_follows_a_running_log),
      TEST(an_idle_segment_ends_with_its_age),
      TEST(a_torn_tail_is_cut_wherever_it_tears),
      TEST(every_flipped_byte_is_noticed),
      TEST(damage_is_no_torn_tail_once_a_segment_follows),
      TEST(headers_are_judged),
      TEST(garbage_is_refused_or_cut),
      TEST(nothing_may_stand_behind_the_end),
      TEST(a_failed_sync_is_never_believed),
      TEST(a_full_disk_is_named),
      TEST(a_segment_that_cannot_begin_fails_its_group),
      TEST(a_segment_with_nothing_in_it_is_made_durable),
      TEST(what_was_answered_survives_a_kill),
      TEST(many_threads_keep_each_its_order),
      TEST(the_patient_share_a_group_with_who_is_not),
      TEST(what_a_spare_held_is_never_read),
      TEST(a_later_group_is_a_statement_in_a_reused_file_too),
      TEST(a_file_that_somebody_reads_or_shares_is_nobodys_spare),
      TEST(a_spare_that_fails_is_not_tried_again),
      TEST(a_short_segment_gives_back_what_its_file_had),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
