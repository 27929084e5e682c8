/** What the tests of log and store share: a directory of their own, a loop with a mailbox, answered batches.
 */
#pragma once

#include "base/failpoint.h"
#include "base/mailbox.h"
#include "base/memory.h"
#include "state/log.h"

#include <assert.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char support_directory[64];

/** Under the current folder, so that hard links and syncs meet a real file system. */
static inline int support_make_directory(void **state) {
  (void)state;
  snprintf(support_directory, sizeof support_directory, "test_state_XXXXXX");
  return mkdtemp(support_directory) ? 0 : -1;
}

static inline int support_remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
  (void)info, (void)type, (void)walk;
  return remove(path);
}

static inline void support_remove(const char *path) {
  nftw(path, support_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline int support_remove_directory(void **state) {
  (void)state;
  support_remove(support_directory);
  return 0;
}

/** Valid until the next call but three. */
static inline const char *support_path(const char *name) {
  static char paths[4][256];
  static int turn;
  char *path = paths[turn++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", support_directory, name);
  return path;
}

static inline void support_failpoints(const char *specification) {
  setenv("KAIROS_FAILPOINTS", specification, 1);
  assert_int_equal(failpoint_init(), 0);
}

/** A thread's loop. Mail counts itself in `answered`. */
struct support_loop {
  uv_loop_t loop;
  struct mailbox *mailbox;
  int answered;
};

static inline void support_loop_init(struct support_loop *loop) {
  uv_loop_init(&loop->loop);
  loop->mailbox = mailbox_new(&loop->loop, "test");
  loop->answered = 0;
}

static inline void support_loop_wait(struct support_loop *loop, const int *counter, int target) {
  while (*counter < target) uv_run(&loop->loop, UV_RUN_ONCE);
}

static inline void support_loop_deinit(struct support_loop *loop) {
  mailbox_free(loop->mailbox);
  uv_run(&loop->loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop->loop);
}

struct support_batch {
  struct log_batch log;
  int *answered;
  int order; /**< which answer this one was, from 0 */
};

static inline void support_batch_answered(struct mail *mail, bool cancelled) {
  struct support_batch *batch = (struct support_batch *)mail;
  assert_false(cancelled);
  batch->order = (*batch->answered)++;
}

static inline void support_batch_init(struct support_batch *batch, struct support_loop *loop) {
  *batch = (struct support_batch){.log = {.mail.run = support_batch_answered, .reply = loop->mailbox},
                                  .answered = &loop->answered};
  buf_init(&batch->log.bytes);
}

static inline void support_batch_put(struct support_batch *batch, const struct log_record *record) {
  log_record_put(&batch->log.bytes, record);
  batch->log.records++;
}

/** Submit one batch and wait. @return its status. */
static inline int support_write(struct log *log, struct support_loop *loop, const struct log_record *records,
                                int count, struct log_position *end) {
  struct support_batch batch;
  support_batch_init(&batch, loop);
  for (int i = 0; i < count; i++) support_batch_put(&batch, &records[i]);
  int target = loop->answered + 1;
  log_submit(log, &batch.log);
  support_loop_wait(loop, &loop->answered, target);
  if (end) *end = batch.log.end;
  buf_deinit(&batch.log.bytes);
  return batch.log.status;
}
