#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "host/experiments.h"
#include "host/host_internal.h"
#include "state/log_spare.h"
#include "state/recovery.h"

enum {
  RETRY_MS = 1000,
  SEALED_TOGETHER = 4,           /**< closed segments for which nobody waits longer … */
  SEAL_WAIT_US = 2 * 1000 * 1000 /**< … than so */
};

/* ---- recovery ---- */

struct marks {
  struct host *host;
  uint64_t segment;
  int64_t since;
};

static void marks_settle(struct marks *marks) {
  if (!marks->segment) return;
  for (uint32_t i = 0; i < marks->host->shared.worker_count; i++) {
    struct seen *seen = marks->host->seen[i];
    seen_durable_to(seen, marks->segment, seen_position(seen));
  }
}

static void mark_recovered(void *context, struct entity entity, struct str event_id, int64_t accepted,
                           uint64_t segment) {
  struct marks *marks = context;
  if (segment != marks->segment) {
    marks_settle(marks);
    marks->segment = segment;
  }
  if (accepted > marks->since)
    seen_add(marks->host->seen[worker_of(&marks->host->shared, entity)], seen_mark(entity, event_id),
             accepted);
}

/** The index is in due order, and may hold entries that the record has outlived: the earliest counts, the
 * record decides. */
static int timer_recovered(void *context, struct entity entity, int64_t due) {
  struct host *host = context;
  struct timers *timers = host->timers[worker_of(&host->shared, entity)];
  if (due < timers_due(timers, entity)) timers_set(timers, entity, due);
  return 0;
}

static void forget_recovered(struct host *host) {
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    seen_free(host->seen[i]);
    timers_free(host->timers[i]);
    host->seen[i] = seen_new();
    host->timers[i] = timers_new();
  }
}

int maintain_recover(struct host *host, const struct log_position *known_end, struct error *err) {
  forget_recovered(host);
  struct marks marks = {.host = host, .since = clock_wall_ms() - host->config->dedup.keep};
  struct recovery_options options = {.log_directory = host->log_directory,
                                     .memory = host->config->state.memory,
                                     .record_max = host->config->state.record_max,
                                     .mark = mark_recovered,
                                     .context = &marks,
                                     .known_end = known_end};
  struct recovery_result result;
  int64_t before = clock_mono_us();
  int rc = recovery_run(host->shared.store, &options, &result, err);
  if (rc) return rc;
  marks_settle(&marks);
  if ((rc = store_scan_timers(host->shared.store, timer_recovered, host, err))) return rc;
  atomic_store(&host->shared.next_seq, result.next_seq);
  if (result.generation > host->shared.generation) host->shared.generation = result.generation;
  LOG_INFO("host", "recovered", LOG_INT("records", result.records), LOG_INT("applied", result.applied),
           LOG_INT("cut_bytes", result.cut), LOG_INT("next_seq", result.next_seq),
           LOG_INT("milliseconds", (clock_mono_us() - before) / 1000));
  return log_open(&host->shared.log, &host->log_options, result.end, err);
}

/* ---- barriers ---- */

struct barrier_mail {
  struct mail mail;
  struct host *host;
};

static void barrier_mail_run(struct mail *mail, bool cancelled) {
  struct host *host = ((struct barrier_mail *)mail)->host;
  memory_free(mail);
  if (!cancelled) host->barrier_done(host);
}

/** From a worker's task: answered. */
static void barrier_arrive(void *context) {
  struct host *host = context;
  if (atomic_fetch_sub(&host->barrier, 1) != 1) return;
  struct barrier_mail *mail = memory_zalloc(sizeof *mail);
  mail->mail.run = barrier_mail_run;
  mail->host = host;
  mailbox_send(host->mailbox, &mail->mail);
}

/** Give each worker a task of its own and run `done` on main when all have said so. */
static void barrier(struct host *host, void (*run)(struct worker *worker, struct worker_task *task),
                    void (*done)(struct host *host)) {
  host->barrier_done = done;
  atomic_store(&host->barrier, host->shared.worker_count);
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    struct worker_task *task = memory_zalloc(sizeof *task);
    task->run = run;
    worker_post(host->shared.workers[i], task);
  }
}

static struct host *host_of(struct worker *worker) {
  return (struct host *)worker_shared_of(worker);
}

/* ---- checkpoint, sealing, retention ---- */

static void work_done(struct host *host) {
  host->working = false;
  host->maintenance = MAINTENANCE_IDLE;
  if (host->work_status) {
    LOG_ERROR("store", "maintenance failed", LOG_TEXT("error", host->work_error.message));
    maintain_failed(&host->shared, "store", host->work_status);
  }
}

static void checkpoint_work(uv_work_t *work) {
  struct host *host = work->data;
  host->work_status =
      store_checkpoint(host->shared.store, host->checkpoint, host->checkpoint_seq, &host->work_error);
  int64_t now;
  if (host->work_status == 0)
    host->work_status =
        store_retention_time(host->shared.store, clock_wall_ms(), clock_mono_us(), &now, &host->work_error);
  if (host->work_status == 0)
    host->work_status = store_retain(host->shared.store, host->log_directory, now, &host->work_error);
}

static void checkpoint_worked(uv_work_t *work, int status) {
  struct host *host = work->data;
  (void)status; /* never cancelled */
  host->checkpoint_at = clock_mono_us() + host->config->state.checkpoint_every * 1000;
  work_done(host);
}

static void deliver_flushed(struct mail *mail, bool cancelled) {
  struct host *host = (struct host *)((char *)mail - offsetof(struct host, deliver_flush.mail));
  if (cancelled) return;
  if (atomic_load(&host->failing)) { /* a worker could not flush: this is no checkpoint */
    host->maintenance = MAINTENANCE_IDLE;
    return;
  }
  if (host->deliver_flush.status) {
    host->work_status =
        error_set(&host->work_error, host->deliver_flush.status, "the outbox could not be written");
    work_done(host);
    return;
  }
  host->maintenance = MAINTENANCE_WORKING;
  host->working = true;
  uv_queue_work(host->loop, &host->work, checkpoint_work, checkpoint_worked);
}

static void workers_flushed(struct host *host) {
  host->deliver_flush = (struct deliver_flush){.mail.run = deliver_flushed, .reply = host->mailbox};
  deliver_flush(host->shared.deliver, &host->deliver_flush);
}

static void flush_worker(struct worker *worker, struct worker_task *task) {
  memory_free(task);
  worker_flush(worker, barrier_arrive, host_of(worker));
}

/** What is below the log's durable end now has been answered to its worker; a worker that is then asked to
 * flush has handed its messages to deliver and its records to the store when it says so; and deliver, asked
 * last, has them all. So everything below the position is in the store. */
void maintain_checkpoint(struct host *host) {
  if (host->maintenance != MAINTENANCE_IDLE || atomic_load(&host->failing)) return;
  host->maintenance = MAINTENANCE_FLUSHING;
  host->checkpoint = log_durable(host->shared.log);
  host->checkpoint_seq = atomic_load(&host->shared.next_seq);
  barrier(host, flush_worker, workers_flushed);
}

static void seal_work(uv_work_t *work) {
  struct host *host = work->data;
  host->work_status =
      store_seal(host->shared.store, host->log_directory, host->seal_until, &host->work_error);
}

static void sealed_run(struct worker *worker, struct worker_task *task) {
  memory_free(task);
  worker_sealed(worker, store_sealed(worker_shared_of(worker)->store));
}

static void seal_worked(uv_work_t *work, int status) {
  struct host *host = work->data;
  (void)status;
  work_done(host);
  for (uint32_t i = 0; host->work_status == 0 && i < host->shared.worker_count; i++) {
    struct worker_task *task = memory_zalloc(sizeof *task);
    task->run = sealed_run;
    worker_post(host->shared.workers[i], task);
  }
  maintain_tick(host); /* there may be more to seal */
}

/** Segments that are sealed together cost less, to seal and to read, than each by itself: so the first waits
 * for some more, for a moment. */
static bool seal_due(struct host *host) {
  uint64_t open = log_open_segment(host->shared.log), waiting = open - 1 - store_sealed(host->shared.store);
  int64_t now = clock_mono_us();
  if (waiting == 0)
    host->seal_waits = 0;
  else if (host->seal_waits == 0)
    host->seal_waits = now;
  host->seal_until = open - 1;
  return waiting >= SEALED_TOGETHER || (waiting && now - host->seal_waits >= SEAL_WAIT_US);
}

void maintain_tick(struct host *host) {
  if (host->maintenance != MAINTENANCE_IDLE || host->draining ||
      atomic_load(&host->shared.phase) != HOST_RUNNING)
    return;
  if (host->backup_waiting) {
    command_backup(host);
  } else if (clock_mono_us() >= host->checkpoint_at) {
    maintain_checkpoint(host);
  } else if (seal_due(host)) {
    host->seal_waits = 0;
    host->maintenance = MAINTENANCE_WORKING;
    host->working = true;
    uv_queue_work(host->loop, &host->work, seal_work, seal_worked);
  }
}

/* ---- a failed log or store ---- */

struct failed_mail {
  struct mail mail;
  struct host *host;
  const char *what;
  int code;
};

struct resume_task {
  struct worker_task task;
  struct seen *seen;
  struct timers *timers;
};

static void resume_run(struct worker *worker, struct worker_task *task) {
  struct resume_task *resume = (struct resume_task *)task;
  worker_resume(worker, resume->seen, resume->timers);
  memory_free(resume);
}

void maintain_resume_workers(struct host *host) {
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    struct resume_task *resume = memory_zalloc(sizeof *resume);
    resume->task.run = resume_run;
    resume->seen = host->seen[i];
    resume->timers = host->timers[i];
    host->seen[i] = NULL;
    host->timers[i] = NULL;
    worker_post(host->shared.workers[i], &resume->task);
  }
}

static void recover_work(uv_work_t *work) {
  struct host *host = work->data;
  struct log_position end;
  const struct log_position *known_end = NULL;
  if (host->shared.log) {
    end = log_durable(host->shared.log);
    known_end = &end;
    log_close(host->shared.log);
    host->shared.log = NULL;
    host->known_end = end;
    host->known_end_set = true;
  } else if (host->known_end_set) {
    known_end = &host->known_end;
  }
  spare_trim(host->log_directory, 1); // a full disk may be what failed
  host->work_status = store_reopen(host->shared.store, &host->work_error);
  if (host->work_status == 0) host->work_status = maintain_recover(host, known_end, &host->work_error);
}

static void recover_try(struct host *host);

static void recover_again(uv_timer_t *timer) {
  recover_try(timer->data);
}

static void recover_worked(uv_work_t *work, int status) {
  struct host *host = work->data;
  (void)status;
  host->working = false;
  if (host->work_status) {
    LOG_WARN("host", "not yet recovered, will try again", LOG_TEXT("error", host->work_error.message));
    if (host->draining) return; /* the drain's deadline ends it */
    uv_timer_start(&host->recover_timer, recover_again, RETRY_MS, 0);
    return;
  }
  host->known_end_set = false;
  host->recoveries++;
  host->maintenance = MAINTENANCE_IDLE;
  host->checkpoint_at = clock_mono_us() + host->config->state.checkpoint_every * 1000;
  store_hurry(host->shared.store, false);
  atomic_store(&host->failing, false); /* from here on a failure is a new one */
  maintain_resume_workers(host); /* before deliver, which begins with outcomes of interrupted attempts */
  int rc = 0;
  if (!host->draining) rc = deliver_start(host->shared.deliver, host->shared.log, &host->work_error);
  if (rc) {
    LOG_WARN("host", "the outbox cannot be read", LOG_TEXT("error", host->work_error.message));
    maintain_failed(&host->shared, "store", rc);
    return;
  }
  atomic_store(&host->shared.phase, host->draining ? HOST_DRAINING : HOST_RUNNING);
  if (atomic_load(&host->failing)) { /* it failed again meanwhile: that letter is on its way */
    atomic_store(&host->shared.phase, HOST_FAILED);
    return;
  }
  LOG_INFO("host", "running again", LOG_INT("recoveries", host->recoveries));
}

static void recover_try(struct host *host) {
  host->working = true;
  uv_queue_work(host->loop, &host->work, recover_work, recover_worked);
}

static void workers_parked(struct host *host) {
  deliver_reset(host->shared.deliver);
  host->maintenance = MAINTENANCE_WORKING;
  recover_try(host);
}

static void park_run(struct worker *worker, struct worker_task *task) {
  memory_free(task);
  worker_park(worker, barrier_arrive, host_of(worker));
}

static void wait_idle(uv_timer_t *timer) {
  struct host *host = timer->data;
  if (host->maintenance != MAINTENANCE_IDLE || host->deciding || !experiments_idle(host)) {
    uv_timer_start(timer, wait_idle, 10, 0);
    return;
  }
  barrier(host, park_run, workers_parked);
}

static void failed_run(struct mail *mail, bool cancelled) {
  struct failed_mail *failed = (struct failed_mail *)mail;
  struct host *host = failed->host;
  if (!cancelled) {
    LOG_ERROR("host", "stopped acknowledging: a write failed; dropping hot state and recovering",
              LOG_TEXT("what", failed->what), LOG_INT("code", failed->code));
    atomic_store(&host->shared.phase, HOST_FAILED);
    store_hurry(host->shared.store, true);
    wait_idle(&host->recover_timer); /* a checkpoint or decision under way ends first, well or badly */
  }
  memory_free(failed);
}

void maintain_failed(struct worker_shared *shared, const char *what, int code) {
  struct host *host = (struct host *)shared;
  if (atomic_exchange(&host->failing, true)) return;
  int running = HOST_RUNNING; /* from here on 503, not a queue that seems full */
  atomic_compare_exchange_strong(&shared->phase, &running, HOST_FAILED);
  struct failed_mail *mail = memory_zalloc(sizeof *mail);
  *mail = (struct failed_mail){.mail.run = failed_run, .host = host, .what = what, .code = code};
  mailbox_send(host->mailbox, &mail->mail);
}
