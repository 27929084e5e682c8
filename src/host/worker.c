#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/metric.h"
#include "base/thread.h"
#include "host/experiments.h"
#include "host/worker_internal.h"

#include <pthread.h>
#include <stdio.h>

enum {
  TICK_MS = 50,
  FLUSH_TICK_MS = 1, /**< while somebody waits for a pass to end */
  WRITES_WAITING_MAX = 8,
  PASS_SHARE = 256 << 10, /**< bytes of records a turn: well under a millisecond */
};

static void measure(struct worker *worker) {
  atomic_store_explicit(&worker->figures.users, table_count(worker->table), memory_order_relaxed);
  atomic_store_explicit(&worker->figures.user_bytes, table_bytes(worker->table), memory_order_relaxed);
  atomic_store_explicit(&worker->figures.dirty, table_dirty_count(worker->table), memory_order_relaxed);
  atomic_store_explicit(&worker->figures.timers, timers_count(worker->timers), memory_order_relaxed);
  atomic_store_explicit(&worker->figures.timer_bytes, timers_bytes(worker->timers), memory_order_relaxed);
  atomic_store_explicit(&worker->figures.waiting, inputs_waiting(worker), memory_order_relaxed);
  atomic_store_explicit(&worker->figures.in_flight, worker->open_items, memory_order_relaxed);
  atomic_store_explicit(&worker->figures.seen_bytes, seen_bytes(worker->seen), memory_order_relaxed);
  size_t lua = worker->engine ? engine_memory(worker->engine) + decider_flight_memory(worker->decider) : 0;
  atomic_store_explicit(&worker->figures.lua_bytes, lua, memory_order_relaxed);
}

void worker_measure(struct worker *worker, struct worker_figures *out) {
  *out = (struct worker_figures){
      .users = atomic_load_explicit(&worker->figures.users, memory_order_relaxed),
      .user_bytes = atomic_load_explicit(&worker->figures.user_bytes, memory_order_relaxed),
      .dirty = atomic_load_explicit(&worker->figures.dirty, memory_order_relaxed),
      .timers = atomic_load_explicit(&worker->figures.timers, memory_order_relaxed),
      .timer_bytes = atomic_load_explicit(&worker->figures.timer_bytes, memory_order_relaxed),
      .waiting = atomic_load_explicit(&worker->figures.waiting, memory_order_relaxed),
      .in_flight = atomic_load_explicit(&worker->figures.in_flight, memory_order_relaxed),
      .seen_bytes = atomic_load_explicit(&worker->figures.seen_bytes, memory_order_relaxed),
      .lua_bytes = atomic_load_explicit(&worker->figures.lua_bytes, memory_order_relaxed),
  };
}

/** Durability does not wait for this: records are written for memory's sake, and so that a restart finds
 * little to do. */
static void write_behind_due(struct worker *worker) {
  const struct config *config = worker->shared->config;
  int64_t now = clock_mono_us();
  if (worker->pass_left || now < worker->pass_at) return;
  worker->pass_left = table_dirty_count(worker->table);
  worker->pass_at = now + config->state.write_behind * 1000;
}

/** Whether the store may be given more: what it has not written yet is in memory too. */
static bool store_keeps_up(const struct worker *worker) {
  return worker->writes_started - worker->writes_finished < WRITES_WAITING_MAX;
}

/** Dirty records cannot be evicted: where they fill much of a table near its bound they are written without
 * waiting for their time. */
static bool memory_presses(const struct worker *worker) {
  const struct worker_shared *shared = worker->shared;
  return table_bytes(worker->table) > shared->config->state.memory / shared->worker_count / 4 * 3 &&
         table_dirty_count(worker->table) > table_count(worker->table) / 4 && store_keeps_up(worker);
}

static void close_handles(struct worker *worker) {
  ingest_close(worker->ingest);
  uv_close((uv_handle_t *)&worker->prepare, NULL);
  uv_close((uv_handle_t *)&worker->check, NULL);
  uv_close((uv_handle_t *)&worker->wake, NULL);
  uv_close((uv_handle_t *)&worker->write_behind, NULL);
  look_turns_close(&worker->turns);
  mailbox_free(worker->mailbox);
}

/** The end of a turn: what was decided goes to the log in one flight, what is missing is asked for in one
 * fetch. */
static void turn_end(struct worker *worker) {
  inputs_decide(worker);
  if (__builtin_expect(worker->taps != NULL, 0)) tail_flush(worker);
  if (worker->stopping) {
    acks_give(worker, &worker->refused, false);
    close_handles(worker);
    return;
  }
  if (!worker->parked) {
    inputs_fetch_submit(worker);
    if (memory_presses(worker)) flight_write_behind(worker, PASS_SHARE);
    flight_submit(worker);
    table_trim(worker->table);
    inputs_schedule(worker);
  }
  acks_give(worker, &worker->refused, false);
  uint64_t open = inputs_waiting(worker) + worker->open_items + worker->flights_in_air +
                  ingest_open_requests(worker->ingest);
  atomic_store_explicit(&worker->figures.open, open, memory_order_release);
  worker->fires = 0;
}

static void on_prepare(uv_prepare_t *handle) {
  turn_end(handle->data);
}

static void on_check(uv_check_t *handle) {
  struct worker *worker = handle->data;
  if (!worker->stopping) turn_end(worker);
}

static void on_write_behind(uv_timer_t *handle) {
  struct worker *worker = handle->data;
  worker->wall = clock_wall_ms();
  if (!worker->parked) {
    write_behind_due(worker);
    if (worker->waiting_users.len) lookups_resume_some(worker);
    inputs_submit_later(worker);
    if (store_keeps_up(worker)) flight_pass(worker, PASS_SHARE);
  } else if (worker->flush_wanted) {
    struct flush *flush = worker->flush_wanted; /* nothing will be written; the host knows that it failed */
    worker->flush_wanted = NULL;
    flush->done(flush->context);
    memory_free(flush);
  }
  measure(worker);
  uv_timer_start(handle, on_write_behind, worker->flush_wanted ? FLUSH_TICK_MS : TICK_MS, 0);
}

static enum host_phase port_phase(void *context) {
  struct worker *worker = context;
  return atomic_load_explicit(&worker->shared->phase, memory_order_acquire);
}

static void port_scrape(void *context) {
  struct worker *worker = context;
  worker->shared->scrape(worker->shared);
}

/** @return as the mapping says; ERROR_UNAVAILABLE if the mappings do not load */
static int port_feedback(void *context, const struct config_provider *account, struct str body,
                         struct buf *events, struct error *err) {
  struct worker *worker = context;
  int rc = worker->feedback.feedback ? 0 : worker->shared->scripts(worker->shared, &worker->feedback, err);
  if (rc)
    rc = ERROR_UNAVAILABLE;
  else
    rc = worker->feedback.feedback(worker->feedback.context, account, body, events, err);
  if (rc)
    LOG_WARN("ingest",
             rc == ERROR_INVALID ? "what a provider reports was not understood"
                                 : "what a provider reports could not be read: its mapping failed",
             LOG_TEXT("provider", account->name), LOG_TEXT("error", err->message));
  return rc;
}

static int listen_for_events(struct worker *worker, struct error *err) {
  worker->port = (struct ingest_port){.context = worker,
                                      .submit = inputs_submit,
                                      .phase = port_phase,
                                      .feedback = port_feedback,
                                      .scrape = port_scrape};
  return ingest_new(&worker->ingest, &worker->loop, worker->descriptor, worker->index, worker->shared->ingest,
                    &worker->port, err);
}

struct decider_observer worker_observer(struct worker *worker) {
  return (struct decider_observer){.context = worker,
                                   .message = worker_note_message,
                                   .failure = worker_note_failure,
                                   .suppressed = worker_note_suppressed,
                                   .withdrawn = worker_note_withdrawn,
                                   .derived = worker_note_derived};
}

void worker_adopt(struct worker *worker, const struct generation_rules *rules) {
  // Who is told that all have the new rules may roll the log: what was decided by those before is in it by
  // then.
  if (worker->flight && !worker->parked) flight_submit(worker);
  worker->engine = rules->engine;
  worker->decider = rules->decider;
  worker->generation = rules->generation;
  if (worker->weights) decider_weigh(worker->decider, buf_str(&worker->weights->bytes));
}

uint32_t worker_generation(const struct worker *worker) {
  return worker->generation;
}

void worker_weigh(struct worker *worker, struct experiment_weights *weights) {
  experiment_weights_drop(worker->weights);
  worker->weights = weights;
  if (worker->decider) decider_weigh(worker->decider, buf_str(&weights->bytes));
}

static void handles_start(struct worker *worker) {
  uv_prepare_init(&worker->loop, &worker->prepare);
  worker->prepare.data = worker;
  uv_prepare_start(&worker->prepare, on_prepare);
  uv_check_init(&worker->loop, &worker->check);
  worker->check.data = worker;
  uv_check_start(&worker->check, on_check);
  uv_timer_init(&worker->loop, &worker->wake);
  worker->wake.data = worker;
  look_turns_init(&worker->turns, worker, &worker->loop);
  uv_timer_init(&worker->loop, &worker->write_behind);
  worker->write_behind.data = worker;
  uv_timer_start(&worker->write_behind, on_write_behind, TICK_MS, 0);
}

static void thread_main(void *context) {
  struct worker *worker = context;
  char name[16];
  snprintf(name, sizeof name, "kairos-work%u", worker->index);
  pthread_setname_np(pthread_self(), name);
  thread_prompt();
  uv_loop_init(&worker->loop);
  worker->mailbox = mailbox_new(&worker->loop, "worker");
  if (listen_for_events(worker, &worker->start_error) == 0) {
    handles_start(worker);
  } else {
    if (worker->ingest) ingest_close(worker->ingest);
    mailbox_free(worker->mailbox);
  }
  uv_sem_post(&worker->started);
  uv_run(&worker->loop, UV_RUN_DEFAULT);
  if (worker->ingest) ingest_free(worker->ingest);
  uv_loop_close(&worker->loop);
}

int worker_start(struct worker **out, struct worker_shared *shared, uint32_t index, int descriptor,
                 struct error *err) {
  struct worker *worker = memory_zalloc(sizeof *worker);
  worker->shared = shared;
  worker->index = index;
  worker->descriptor = descriptor;
  worker->parked = true;
  worker->table = table_new(shared->config->state.memory / shared->worker_count);
  worker->seen = seen_new();
  worker->timers = timers_new();
  worker->timers_fired = metric_counter("kairos_timers_fired_total", "Timers that came due.", NULL);
  worker->timer_lateness =
      metric_histogram("kairos_timer_lateness_seconds", "From a timer's due time to its rule.", NULL);
  worker->users_spoiled = metric_counter(
      "kairos_users_spoiled_total", "Look-ups of a user's record that found one that cannot be read.", NULL);
  for (size_t i = 0; i < WATERMARK_BUCKETS; i++) worker->watermark[i] = INT64_MAX;
  buf_init(&worker->scratch);
  buf_init(&worker->entity);
  buf_init(&worker->timer_bytes);
  buf_init(&worker->waiting_users);
  uv_sem_init(&worker->started, 0);
  uv_thread_create(&worker->thread, thread_main, worker);
  uv_sem_wait(&worker->started);
  if (worker->start_error.code) {
    *err = worker->start_error;
    uv_thread_join(&worker->thread);
    worker_free(worker);
    return err->code;
  }
  *out = worker;
  return 0;
}

struct waited_task {
  struct worker_task task;
  uv_sem_t done;
};

static void run_and_wait(struct worker *worker, struct waited_task *waited,
                         void (*run)(struct worker *worker, struct worker_task *task)) {
  waited->task.run = run;
  uv_sem_init(&waited->done, 0);
  worker_post(worker, &waited->task);
  uv_sem_wait(&waited->done);
  uv_sem_destroy(&waited->done);
}

struct load_task {
  struct waited_task waited;
  const struct generation_rules *rules;
};

static void load_run(struct worker *worker, struct worker_task *task) {
  worker_adopt(worker, ((struct load_task *)task)->rules);
  uv_sem_post(&((struct waited_task *)task)->done);
}

void worker_load(struct worker *worker, const struct generation_rules *rules) {
  struct load_task task = {.rules = rules};
  run_and_wait(worker, &task.waited, load_run);
}

static void settle_run(struct worker *worker, struct worker_task *task) {
  (void)worker;
  uv_sem_post(&((struct waited_task *)task)->done);
}

static void halted(void *context) {
  uv_sem_post(&((struct waited_task *)context)->done);
}

static void halt_run(struct worker *worker, struct worker_task *task) {
  worker_park(worker, halted, task);
}

void worker_halt(struct worker *worker) {
  struct waited_task waited;
  run_and_wait(worker, &waited, halt_run);
}

void worker_settle(struct worker *worker) {
  struct waited_task waited;
  run_and_wait(worker, &waited, settle_run);
}

static void stop_run(struct worker *worker, struct worker_task *task) {
  worker->stopping = true;
  settle_run(worker, task);
}

void worker_stop(struct worker *worker) {
  struct waited_task waited;
  run_and_wait(worker, &waited, stop_run);
  uv_thread_join(&worker->thread);
}

void worker_free(struct worker *worker) {
  if (!worker) return;
  if (worker->feedback.free) worker->feedback.free(worker->feedback.context);
  while (worker->free_flights) {
    struct flight *flight = worker->free_flights;
    worker->free_flights = flight->next;
    flight_free(flight);
  }
  if (worker->flight) flight_free(worker->flight);
  while (worker->free_waiting) {
    struct waiting *waiting = worker->free_waiting;
    worker->free_waiting = waiting->next;
    memory_free(waiting);
  }
  experiment_weights_drop(worker->weights);
  table_free(worker->table);
  seen_free(worker->seen);
  timers_free(worker->timers);
  memory_free(worker->refused.items);
  memory_free(worker->arrivals);
  inputs_fetchings_free(worker);
  buf_deinit(&worker->scratch);
  buf_deinit(&worker->entity);
  buf_deinit(&worker->timer_bytes);
  buf_deinit(&worker->tail_line);
  buf_deinit(&worker->waiting_users);
  uv_sem_destroy(&worker->started);
  memory_free(worker);
}

static void task_run(struct mail *mail, bool cancelled) {
  struct worker_task *task = (struct worker_task *)mail;
  (void)cancelled; /* a worker ends only when nothing is under way */
  task->run(task->worker, task);
}

void worker_post(struct worker *worker, struct worker_task *task) {
  struct mail_bundle bundle = {0};
  worker_bundle(worker, &bundle, task);
  worker_post_bundle(worker, &bundle);
}

void worker_bundle(struct worker *worker, struct mail_bundle *bundle, struct worker_task *task) {
  task->mail.run = task_run;
  task->worker = worker;
  mail_bundle_add(bundle, &task->mail);
}

void worker_post_bundle(struct worker *worker, struct mail_bundle *bundle) {
  mailbox_send_bundle(worker->mailbox, bundle);
}

struct worker_shared *worker_shared_of(struct worker *worker) {
  return worker->shared;
}

void worker_resume(struct worker *worker, struct seen *seen, struct timers *timers) {
  seen_free(worker->seen);
  timers_free(worker->timers);
  worker->seen = seen;
  worker->timers = timers;
  worker->wall = worker->resumed_at = clock_wall_ms();
  worker->parked = false;
  lookups_resume(worker);
  measure(worker);
}

/** Stop deciding at once; the host will park us properly. */
void worker_failed(struct worker *worker, const char *what, int code) {
  bool first = !worker->parked;
  worker->parked = true;
  if (!first) return;
  if (worker->flight) flight_submit(worker); // who waits for its writes is answered
  worker->shared->failed(worker->shared, what, code);
}

void worker_settle_park(struct worker *worker) {
  if (!worker->on_parked || worker->flights_in_air || worker->fetches_in_air ||
      worker->writes_started != worker->writes_finished)
    return;
  if (worker->flight) { /* what the last answers led to */
    flight_submit(worker);
    return;
  }
  void (*parked)(void *) = worker->on_parked;
  worker->on_parked = NULL;
  inputs_refuse(worker);
  acks_give(worker, &worker->refused, false);
  table_clear(worker->table);
  parked(worker->on_parked_context);
}

void worker_park(struct worker *worker, void (*parked)(void *context), void *context) {
  worker->parked = true;
  if (worker->flight) flight_submit(worker); /* the failed log answers it at once */
  worker->on_parked = parked;
  worker->on_parked_context = context;
  worker_settle_park(worker);
}

void worker_drain(struct worker *worker) {
  ingest_drain(worker->ingest);
}

uint64_t worker_open(struct worker *worker) {
  return atomic_load_explicit(&worker->figures.open, memory_order_acquire);
}

void worker_outcome_seen(struct worker *worker, struct entity entity, const struct outcome *outcome) {
  if (worker->taps) tail_outcome(worker, entity, outcome);
}

void worker_sealed(struct worker *worker, uint64_t segment) {
  seen_sealed(worker->seen, segment);
}
