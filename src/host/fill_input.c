/* The worker's side of filling: what was counted of a user, as an input of his. */
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "host/fill_internal.h"
#include "host/worker_internal.h"

static void batch_home(struct fill_batch *batch, struct worker *worker) {
  struct fill *fill = batch->fill;
  uint64_t decided = worker->decided - batch->decided_before;
  bool others = decided > batch->logged;
  // Entries of interests are written beside the log, and held in memory until then.
  bool store_lags = worker->writes_started - worker->writes_finished > FILL_WRITES_MAX;
  atomic_fetch_add(&fill->users, batch->filled);
  atomic_fetch_add(&fill->refused, batch->refused);
  metric_add(fill->filled_total, batch->filled);
  pthread_mutex_lock(&fill->lock);
  fill->failed |= batch->failed;
  fill->spoiled |= batch->spoiled;
  fill->pause_us = store_lags ? FILL_PAUSE_MAX_US : others ? clock_mono_us() - batch->began : 0;
  fill->in_flight--;
  batch->next = fill->free_batches;
  fill->free_batches = batch;
  pthread_cond_signal(&fill->home);
  pthread_mutex_unlock(&fill->lock);
}

static int user_decide(struct worker_input *input, struct decider *decider, struct record *record,
                       int64_t wall, struct decision *out, struct error *err) {
  struct fill_user *user = (struct fill_user *)((char *)input - offsetof(struct fill_user, input));
  uint32_t refused;
  const struct fill *fill = user->batch->fill;
  bool judges = user->batch->judges;
  (void)err;
  (void)FAILPOINT("fill.decide");
  decide_fill(decider, record, input->entity, user->logged.bytes.len ? &user->logged : NULL,
              user->found.entries, fill->segments, judges ? fill->options.segment_count : 0, wall, out,
              &refused);
  user->batch->refused += refused;
  user->batch->logged += out->effects.len > 0;
  user->batch->filled += out->effects.len > 0 && !user->found.more;
  return out->effects.len ? 0 : 1;
}

static void user_settled(struct worker_input *input, struct worker *worker, int status) {
  struct fill_user *user = (struct fill_user *)((char *)input - offsetof(struct fill_user, input));
  struct fill_batch *batch = user->batch;
  if (status) batch->failed = true;
  if (status && input->err.code) batch->spoiled = true;
  if (--batch->pending == 0) batch_home(batch, worker);
}

static void batch_run(struct worker *worker, struct worker_task *task) {
  struct fill_batch *batch = (struct fill_batch *)task;
  unsigned count = batch->count;
  batch->began = clock_mono_us();
  batch->decided_before = worker->decided;
  batch->failed = batch->spoiled = false;
  batch->logged = batch->filled = batch->refused = 0;
  batch->pending = count;
  /* The last one may be home, and the batch another's, before the loop ends. */
  for (unsigned i = 0; i < count; i++) worker_submit(worker, &batch->users[i].input);
}

bool fill_batch_add(struct fill_batch *batch, struct entity entity, const struct fill_found *found) {
  size_t bytes = entity.id.len + found->windows.len + found->entries.len;
  if (batch->count == FILL_BATCH_USERS || (batch->count && batch->bytes.len + bytes > FILL_BATCH_BYTES))
    return false;
  struct fill_user *user = &batch->users[batch->count++];
  *user =
      (struct fill_user){.batch = batch, .id_at = batch->bytes.len, .id_len = entity.id.len, .found = *found};
  user->input.entity.kind = entity.kind;
  buf_append(&batch->bytes, entity.id.data, entity.id.len);
  buf_append(&batch->bytes, found->windows.data, found->windows.len);
  buf_append(&batch->bytes, found->entries.data, found->entries.len);
  return true;
}

void fill_batch_send(struct fill_batch *batch, struct worker *worker) {
  for (unsigned i = 0; i < batch->count; i++) {
    struct fill_user *user = &batch->users[i];
    uint8_t *id = batch->bytes.data + user->id_at, *windows = id + user->id_len;
    struct entity entity = {user->input.entity.kind, {(const char *)id, user->id_len}};
    user->logged = (struct record){.bytes = {windows, user->found.windows.len, 0}};
    user->found.entries.data = (const char *)windows + user->found.windows.len;
    user->input = (struct worker_input){.decide = user_decide,
                                        .settled = user_settled,
                                        .entity = entity,
                                        .type = LOG_FILL,
                                        .log_input = buf_str(&batch->fill->input),
                                        .needs_record = batch->judges || user->found.windows.len};
  }
  batch->task.run = batch_run;
  worker_post(worker, &batch->task);
}

/* ---- a new segment ---- */

struct roll {
  struct worker_task task; /**< first */
  struct log_batch batch;
  struct fill *fill;
};

static void roll_settled(struct roll *roll) {
  struct fill *fill = roll->fill;
  pthread_mutex_lock(&fill->lock);
  fill->rolled = true;
  fill->roll_status = roll->batch.status;
  fill->segment = roll->batch.end.segment;
  pthread_cond_signal(&fill->home);
  pthread_mutex_unlock(&fill->lock);
  memory_free(roll);
}

static void roll_answered(struct mail *mail, bool cancelled) {
  struct roll *roll = (struct roll *)((char *)mail - offsetof(struct roll, batch.mail));
  if (cancelled) roll->batch.status = ERROR_UNAVAILABLE;
  roll_settled(roll);
}

static void roll_run(struct worker *worker, struct worker_task *task) {
  struct roll *roll = (struct roll *)task;
  if (worker->parked) { /* the log may be closed */
    roll->batch.status = ERROR_UNAVAILABLE;
    roll_settled(roll);
    return;
  }
  roll->batch.mail.run = roll_answered;
  roll->batch.reply = worker->mailbox;
  roll->batch.roll = true;
  log_submit(worker->shared->log, &roll->batch);
}

void fill_roll(struct fill *fill, struct worker *worker) {
  struct roll *roll = memory_zalloc(sizeof *roll);
  roll->task.run = roll_run;
  roll->fill = fill;
  worker_post(worker, &roll->task);
}
