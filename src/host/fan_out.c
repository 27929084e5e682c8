#include "host/fan_out_internal.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

enum {
  TICK_MS = 10,       /**< while one is under way, or the store is to be read … */
  TICK_IDLE_MS = 250, /**< … and otherwise */
  FORGET_MS = 3600 * 1000,
  HEARD_MS = 60 * 1000 /**< a fan-out began at most so long before this thread heard of it */
};

/* ---- which there are ---- */

struct job *fan_outs_find(struct fan_outs *fan_outs, struct hash128 id) {
  for (size_t i = 0; i < fan_outs->job_count; i++)
    if (hash128_equal(fan_outs->jobs[i]->id, id)) return fan_outs->jobs[i];
  return NULL;
}

static struct job *add_job(struct fan_outs *fan_outs, struct hash128 id, int64_t began,
                           enum fan_out_state state) {
  struct job *job = fan_outs_find(fan_outs, id);
  if (job) return job;
  if ((fan_outs->job_count & (fan_outs->job_count - 1)) == 0) // full at each power of two
    fan_outs->jobs = memory_realloc(fan_outs->jobs, (fan_outs->job_count ? fan_outs->job_count * 2 : 1) *
                                                        sizeof(struct job *));
  job = memory_zalloc(sizeof *job);
  job->id = id;
  job->began = began;
  job->state = state;
  fan_outs->jobs[fan_outs->job_count++] = job;
  return job;
}

static void free_job(struct fan_outs *fan_outs, size_t index) {
  struct job *job = fan_outs->jobs[index];
  memmove(fan_outs->jobs + index, fan_outs->jobs + index + 1,
          (--fan_outs->job_count - index) * sizeof(struct job *));
  if (job->stop)
    fan_outs_answer(job->stop, job->stop_reply,
                    error_set(&job->stop->err, ERROR_UNAVAILABLE, "the host is stopping"));
  job_close(job);
  memory_free(job);
}

static void hold(struct job *job, const char *why) {
  snprintf(job->held, sizeof job->held, "%.*s", (int)sizeof job->held - 1, why);
  job->held_until = clock_mono_us() + HOLD_MS * 1000;
}

/* ---- what the store knows ---- */

struct loading {
  struct fan_outs *fan_outs;
  bool adds; /**< else it only forgets: an end may not be written yet */
  struct store_write forget;
  uint32_t forgotten;
  int64_t now;
};

static int load_one(void *context, const struct store_fan_out *fan_out) {
  struct loading *loading = context;
  if (!fan_out_ended(fan_out->state)) {
    if (loading->adds)
      add_job(loading->fan_outs, fan_out->id, fan_out->spec.began, fan_out->state)->expires =
          fan_out->spec.expires;
  } else if (fan_out->at + FAN_OUT_KEEP_MS < loading->now) {
    store_write_fan_out_gone(&loading->forget, fan_out->id);
    loading->forgotten++;
  }
  return 0;
}

struct forget_mail {
  struct store_write write; /**< first: its mail comes back */
  struct fan_outs *fan_outs;
};

static void forgotten(struct mail *mail, bool cancelled) {
  struct forget_mail *forget = (struct forget_mail *)mail;
  if (!cancelled) {
    forget->fan_outs->forgetting = false;
    if (forget->write.status)
      LOG_WARN("fanout", "what is past its time could not be forgotten",
               LOG_INT("code", forget->write.status));
  }
  store_write_deinit(&forget->write);
  memory_free(forget);
}

/** Read the store: which there are, and which are to be forgotten. */
static void load(struct fan_outs *fan_outs, bool adds) {
  struct forget_mail *forget = memory_zalloc(sizeof *forget);
  struct loading loading = {.fan_outs = fan_outs, .adds = adds, .now = clock_wall_ms()};
  struct error err;
  store_write_init(fan_outs->shared->store, &loading.forget);
  int rc = store_scan_fan_outs(fan_outs->shared->store, load_one, &loading, &err);
  if (rc) LOG_WARN("fanout", "fan-outs cannot be read, will try again", LOG_TEXT("error", err.message));
  if (adds) fan_outs->reload = rc != 0;
  fan_outs->forget_at = clock_mono_us() + (int64_t)FORGET_MS * 1000;
  forget->write = loading.forget;
  forget->fan_outs = fan_outs;
  if (loading.forgotten && !rc && !fan_outs->forgetting) {
    fan_outs->forgetting = true;
    forget->write.mail.run = forgotten;
    forget->write.reply = fan_outs->mailbox;
    store_write_submit(fan_outs->shared->store, &forget->write);
  } else {
    store_write_deinit(&forget->write);
    memory_free(forget);
  }
}

/** At a start, and after a failed write when nothing is under way any more: each is opened again, on what the
 * log has. None that is known is forgotten: one that began just now is in the log, and not in the store yet.
 */
static void load_anew(struct fan_outs *fan_outs) {
  if (fan_outs->handed || fan_outs->changes || fan_outs->barrier || fan_outs->forgetting) return;
  for (size_t i = 0; i < fan_outs->job_count; i++) {
    struct job *job = fan_outs->jobs[i];
    job_close(job);
    job->phase = JOB_WAITS;
    job->failed[0] = job->held[0] = 0;
    job->held_until = 0;
    atomic_store(&job->halted, job->state != FAN_OUT_RUNS);
  }
  load(fan_outs, true);
}

/* ---- whose turn it is ---- */

static int open_found(void *context, const struct store_fan_out *fan_out) {
  struct job *job = context;
  job_open(job, fan_out);
  job->phase = fan_out_ended(fan_out->state)      ? JOB_GONE
               : fan_out->state == FAN_OUT_PAUSED ? JOB_WAITS
                                                  : JOB_WALKS;
  return 0;
}

/** What all workers had decided before has been written: users who were to be found are. */
static void open_jobs(struct fan_outs *fan_outs) {
  for (size_t i = 0; i < fan_outs->job_count; i++) {
    struct job *job = fan_outs->jobs[i];
    struct error err;
    if (job->phase != JOB_OPENS) continue;
    int rc = store_get_fan_out(fan_outs->shared->store, job->id, open_found, job, &err);
    if (rc == 0) continue;
    job->phase = rc == ERROR_NOT_FOUND ? JOB_GONE : JOB_WAITS; // not durable after all, or not now
    hold(job, err.message);
  }
}

struct arrival {
  struct mail mail;
  struct fan_outs *fan_outs;
};

static void arrived(struct mail *mail, bool cancelled) {
  struct fan_outs *fan_outs = ((struct arrival *)mail)->fan_outs;
  memory_free(mail);
  if (cancelled || --fan_outs->barrier) return;
  if (atomic_load(&fan_outs->shared->phase) == HOST_RUNNING && !fan_outs->reload) {
    open_jobs(fan_outs);
  } else { // it may have been answered by a failure
    for (size_t i = 0; i < fan_outs->job_count; i++)
      if (fan_outs->jobs[i]->phase == JOB_OPENS) fan_outs->jobs[i]->phase = JOB_WAITS;
  }
  fan_outs_turn(fan_outs);
}

static void written(void *context) {
  struct arrival *arrival = context;
  fan_outs_send(arrival->fan_outs, &arrival->mail);
}

struct barrier_task {
  struct worker_task task;
  struct arrival *arrival;
};

static void barrier_run(struct worker *worker, struct worker_task *task) {
  struct arrival *arrival = ((struct barrier_task *)task)->arrival;
  memory_free(task);
  worker_written(worker, written, arrival);
}

static void begin_barrier(struct fan_outs *fan_outs) {
  struct worker_shared *shared = fan_outs->shared;
  fan_outs->barrier = shared->worker_count;
  for (uint32_t i = 0; i < shared->worker_count; i++) {
    struct barrier_task *task = memory_zalloc(sizeof *task);
    task->arrival = memory_zalloc(sizeof *task->arrival);
    *task->arrival = (struct arrival){.mail.run = arrived, .fan_outs = fan_outs};
    task->task.run = barrier_run;
    worker_post(shared->workers[i], &task->task);
  }
}

static bool under_way(const struct job *job) {
  return job->phase == JOB_OPENS || job->phase == JOB_WALKS || job->phase == JOB_CHANGES;
}

static struct job *next_job(struct fan_outs *fan_outs, int64_t now_us) {
  struct job *next = NULL;
  for (size_t i = 0; i < fan_outs->job_count; i++) {
    struct job *job = fan_outs->jobs[i];
    if (job->phase == JOB_WAITS && job->state == FAN_OUT_RUNS && job->held_until <= now_us && !job->runs &&
        !job->changes && (!next || job->began < next->began))
      next = job;
  }
  return next;
}

static void give_turns(struct fan_outs *fan_outs, int64_t now_us) {
  uint32_t count = 0;
  bool opens = false;
  if (fan_outs->barrier) return;
  for (size_t i = 0; i < fan_outs->job_count; i++) count += under_way(fan_outs->jobs[i]);
  struct job *job;
  for (; count < fan_outs->shared->config->fan_out.at_once && (job = next_job(fan_outs, now_us)); count++) {
    job->phase = JOB_OPENS;
    opens = true;
  }
  if (opens) begin_barrier(fan_outs);
}

/* ---- one turn of those that are open ---- */

static void end_job(struct fan_outs *fan_outs, struct job *job, enum fan_out_state state,
                    const char *reason) {
  char id[33];
  hash128_hex(job->id, id);
  job->phase = JOB_CHANGES;
  LOG_INFO("fanout", "a fan-out has ended", LOG_TEXT("id", id), LOG_STR("campaign", job->spec.campaign),
           LOG_TEXT("state", fan_out_state_name(state)), LOG_INT("reached", (int64_t)job->reached));
  job_change(fan_outs, job, state, str_from(reason), NULL, NULL);
}

/** Runs that may still be handed over, of all fan-outs. */
static uint32_t room(const struct fan_outs *fan_outs) {
  uint32_t most = FAN_OUT_HANDED * fan_outs->shared->worker_count;
  return fan_outs->handed < most ? most - fan_outs->handed : 0;
}

static void walk(struct fan_outs *fan_outs, struct job *job, int64_t now_us, uint32_t share) {
  struct error err = {0};
  int64_t now = clock_wall_ms();
  struct worker_shared *shared = fan_outs->shared;
  if (job->changes || job->stop) return; // it is being paused or stopped
  if (now >= job->spec.expires) {
    atomic_store(&job->halted, true);
    if (!job->runs) end_job(fan_outs, job, FAN_OUT_EXPIRED, "its time was over");
    return;
  }
  if (job->failed[0]) { // the runs that were out have come home, or will
    if (!job->runs) end_job(fan_outs, job, FAN_OUT_STOPPED, job->failed);
    return;
  }
  if (job->held_until > now_us) return;
  if (deliver_waiting_bytes(shared->deliver) > shared->config->delivery.outbox_max / 2) {
    hold(job, "it waits for deliveries: the outbox is half full");
    return;
  }
  job->held[0] = 0;
  int rc = job_walk(fan_outs, job, now_us, share < room(fan_outs) ? share : room(fan_outs), &err);
  if (rc == 0 && !job->counted) rc = job_count(fan_outs, job, &err);
  if (rc < 0)
    hold(job, err.message);
  else if (rc == 1 && !job->runs)
    end_job(fan_outs, job, FAN_OUT_DONE, "");
}

static void turn_job(struct fan_outs *fan_outs, struct job *job, int64_t now_us, uint32_t share) {
  if (job->phase != JOB_WALKS) return;
  if (job->state == FAN_OUT_RUNS)
    walk(fan_outs, job, now_us, share);
  else if (!job->runs)
    job->phase = JOB_WAITS; // paused: its place is another's
}

static void free_gone(struct fan_outs *fan_outs) {
  for (size_t i = fan_outs->job_count; i-- > 0;) {
    const struct job *job = fan_outs->jobs[i];
    if (job->phase == JOB_GONE && !job->runs && !job->changes) free_job(fan_outs, i);
  }
}

/** A fan-out reaches who stood under the key when it began, however long it takes: their entries stay. */
static void keep_entries(struct fan_outs *fan_outs) {
  int64_t since = INT64_MAX, now = clock_wall_ms();
  for (size_t i = 0; i < fan_outs->job_count; i++) {
    const struct job *job = fan_outs->jobs[i];
    bool over = job->expires && job->expires <= now;
    if (!over && job->began - HEARD_MS < since) since = job->began - HEARD_MS;
  }
  store_keep_index(fan_outs->shared->store, since);
}

static bool turns(struct fan_outs *fan_outs) {
  if (atomic_load(&fan_outs->stopped) || atomic_load(&fan_outs->shared->phase) != HOST_RUNNING) return false;
  if (fan_outs->reload) load_anew(fan_outs);
  return !fan_outs->reload;
}

void fan_outs_turn(struct fan_outs *fan_outs) {
  int64_t now_us = clock_mono_us();
  if (!turns(fan_outs)) return;
  if (now_us >= fan_outs->forget_at) load(fan_outs, false);
  free_gone(fan_outs);
  keep_entries(fan_outs);
  give_turns(fan_outs, now_us);
  uint32_t walking = 0;
  for (size_t i = 0; i < fan_outs->job_count; i++) walking += fan_outs->jobs[i]->phase == JOB_WALKS;
  uint32_t share = walking ? (room(fan_outs) + walking - 1) / walking : 0;
  for (size_t i = 0; i < fan_outs->job_count; i++) turn_job(fan_outs, fan_outs->jobs[i], now_us, share);
  metric_set(fan_outs->waiting_metric, (int64_t)fan_outs->job_count);
}

/* ---- what comes home ---- */

void job_run_home(struct fan_outs *fan_outs, struct job *job, struct walk *walk, uint32_t done, int status,
                  const struct error *err) {
  fan_outs->handed--;
  job->runs--;
  walk->busy = false;
  walk->reached += done;
  job->reached += done;
  metric_add(fan_outs->reached_metric, done);
  struct reader reader = reader_of(buf_str(&walk->users));
  reader.at += walk->users_at;
  for (uint32_t i = 0; i < done; i++) {
    reader_u8(&reader);
    reader_str(&reader);
  }
  walk->users_at = walk->users.len - reader_left(&reader);
  walk->user_count -= done;
  if (status && !err->code) {
    fan_outs->reload = true; // what is durable of it, the log knows
  } else if (status == ERROR_UNAVAILABLE) {
    hold(job, err->message);
    if (!job->runs && job->phase == JOB_WALKS)
      job->phase = JOB_WAITS; // its campaign is held: its place is another's
  } else if (status && status != ERROR_EXISTS && job->phase == JOB_WALKS && !job->failed[0]) {
    atomic_store(&job->halted, true);
    snprintf(job->failed, sizeof job->failed, "%.*s", (int)sizeof job->failed - 1, err->message);
  }
  if (job->stop && !job->runs) job_stop_now(fan_outs, job);
  fan_outs_turn(fan_outs);
}

void job_changed(struct fan_outs *fan_outs, struct job *job, enum fan_out_state state, int status) {
  fan_outs->changes--;
  job->changes--;
  if (status) {
    fan_outs->reload = true;
  } else {
    job->state = state;
    atomic_store(&job->halted, state != FAN_OUT_RUNS);
    job->held[0] = 0;
    job->held_until = 0;
    if (fan_out_ended(state)) job->phase = JOB_GONE;
  }
  fan_outs_turn(fan_outs);
}

struct began_mail {
  struct mail mail;
  struct fan_outs *fan_outs;
  size_t len;
  char ids[];
};

static void began_run(struct mail *mail, bool cancelled) {
  struct began_mail *began = (struct began_mail *)mail;
  struct reader reader = reader_of((struct str){began->ids, began->len});
  while (!cancelled && reader_left(&reader)) {
    struct hash128 id = {.high = reader_u64_be(&reader)};
    id.low = reader_u64_be(&reader);
    add_job(began->fan_outs, id, clock_wall_ms(), FAN_OUT_RUNS);
  }
  if (!cancelled) fan_outs_turn(began->fan_outs);
  memory_free(began);
}

void fan_outs_began(struct fan_outs *fan_outs, struct str ids) {
  struct began_mail *began = memory_alloc(sizeof *began + ids.len);
  *began = (struct began_mail){.mail.run = began_run, .fan_outs = fan_outs, .len = ids.len};
  memcpy(began->ids, ids.data, ids.len);
  mailbox_send(fan_outs->mailbox, &began->mail);
}

void fan_outs_send(struct fan_outs *fan_outs, struct mail *mail) {
  mailbox_send(fan_outs->mailbox, mail);
}

/* ---- the thread ---- */

static void on_tick(uv_timer_t *timer) {
  struct fan_outs *fan_outs = timer->data;
  if (!FAILPOINT("fanout.tick")) fan_outs_turn(fan_outs); // else mail comes first
  bool busy = fan_outs->reload;
  for (size_t i = 0; !busy && i < fan_outs->job_count; i++) busy = under_way(fan_outs->jobs[i]);
  uv_timer_start(timer, on_tick, busy ? TICK_MS : TICK_IDLE_MS, 0);
}

struct thread {
  struct fan_outs *fan_outs;
  uv_sem_t ready;
};

static void thread_main(void *argument) {
  struct thread *thread = argument;
  struct fan_outs *fan_outs = thread->fan_outs;
  pthread_setname_np(pthread_self(), "kairos-fanout");
  uv_loop_init(&fan_outs->loop);
  fan_outs->mailbox = mailbox_new(&fan_outs->loop, "fanout");
  uv_timer_init(&fan_outs->loop, &fan_outs->tick);
  fan_outs->tick.data = fan_outs;
  uv_timer_start(&fan_outs->tick, on_tick, TICK_MS, 0);
  uv_sem_post(&thread->ready); // `thread` is gone from here on
  uv_run(&fan_outs->loop, UV_RUN_DEFAULT);
  mailbox_free(fan_outs->mailbox);
  uv_close((uv_handle_t *)&fan_outs->tick, NULL);
  uv_run(&fan_outs->loop, UV_RUN_DEFAULT);
  uv_loop_close(&fan_outs->loop);
}

int fan_outs_start(struct fan_outs **out, struct worker_shared *shared, struct error *err) {
  struct fan_outs *fan_outs = memory_zalloc(sizeof *fan_outs);
  fan_outs->shared = shared;
  fan_outs->reload = true;
  fan_outs->reached_metric =
      metric_counter("kairos_fan_out_users_total", "Users whom fan-outs have reached.", NULL);
  fan_outs->waiting_metric = metric_gauge("kairos_fan_outs", "Fan-outs that have not ended.", NULL);
  struct thread thread = {.fan_outs = fan_outs};
  sigset_t all, before; // signals are the main thread's
  sigfillset(&all);
  uv_sem_init(&thread.ready, 0);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int refused = uv_thread_create(&fan_outs->thread, thread_main, &thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (!refused) uv_sem_wait(&thread.ready);
  uv_sem_destroy(&thread.ready);
  if (refused) {
    memory_free(fan_outs);
    return error_set(err, ERROR_IO, "no thread for fan-outs: %s", uv_strerror(refused));
  }
  *out = fan_outs;
  return 0;
}

struct quit_mail {
  struct mail mail;
  struct fan_outs *fan_outs;
};

static void halt_run(struct mail *mail, bool cancelled) {
  struct fan_outs *fan_outs = ((struct quit_mail *)mail)->fan_outs;
  for (size_t i = 0; !cancelled && i < fan_outs->job_count; i++)
    atomic_store(&fan_outs->jobs[i]->halted, true);
  memory_free(mail);
}

static void quit_run(struct mail *mail, bool cancelled) {
  struct fan_outs *fan_outs = ((struct quit_mail *)mail)->fan_outs;
  memory_free(mail);
  if (!cancelled) uv_stop(&fan_outs->loop);
}

static void tell(struct fan_outs *fan_outs, void (*run)(struct mail *mail, bool cancelled)) {
  struct quit_mail *mail = memory_zalloc(sizeof *mail);
  *mail = (struct quit_mail){.mail.run = run, .fan_outs = fan_outs};
  mailbox_send(fan_outs->mailbox, &mail->mail);
}

void fan_outs_stop(struct fan_outs *fan_outs) {
  if (!fan_outs || atomic_exchange(&fan_outs->stopped, true)) return;
  tell(fan_outs, halt_run);
}

void fan_outs_free(struct fan_outs *fan_outs) {
  if (!fan_outs) return;
  fan_outs_stop(fan_outs);
  tell(fan_outs, quit_run);
  uv_thread_join(&fan_outs->thread);
  while (fan_outs->job_count) free_job(fan_outs, fan_outs->job_count - 1);
  memory_free(fan_outs->jobs);
  memory_free(fan_outs);
}
