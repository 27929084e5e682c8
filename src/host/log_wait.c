#include "host/log_wait.h"

struct waiting {
  struct log_batch batch;
  bool answered;
};

static void answered(struct mail *mail, bool cancelled) {
  (void)cancelled;
  ((struct waiting *)mail)->answered = true;
}

int log_wait(struct worker_shared *shared, const struct log_record *record, struct error *err) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  struct mailbox *mailbox = mailbox_new(&loop, "log");
  struct waiting waiting = {.batch = {.mail.run = answered, .reply = mailbox, .records = 1}};
  buf_init(&waiting.batch.bytes);
  log_record_put(&waiting.batch.bytes, record);
  log_submit(shared->log, &waiting.batch);
  while (!waiting.answered) uv_run(&loop, UV_RUN_ONCE);
  int rc = waiting.batch.status ? error_set(err, waiting.batch.status, "the log cannot be written") : 0;
  mailbox_free(mailbox);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  buf_deinit(&waiting.batch.bytes);
  return rc;
}
