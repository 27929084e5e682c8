#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "host/experiments.h"
#include "host/fan_out.h"
#include "host/host_internal.h"
#include "host/reload.h"
#include "host/tail_thread.h"
#include "state/log_segment.h"

#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
  TICK_MS = 100,
  DRAIN_TICK_MS = 10,
  READERS = 2 /**< at once, of the four threads of libuv's pool: checkpoint, sealing and recovery need one */
};

/* ---- the data directory ---- */

static char *join(const char *directory, const char *name) {
  struct buf path;
  buf_init(&path);
  buf_printf(&path, "%s/%s", directory, name);
  buf_append(&path, "", 1);
  return (char *)path.data;
}

static int make_directory(const char *path, struct error *err) {
  if (mkdir(path, 0700) == 0 || errno == EEXIST) return 0;
  return error_set_errno(err, errno, "cannot make the directory %s", path);
}

/** @return 0 or an errno. */
static int sync_directory(const char *directory) {
  int failure = FAILPOINT("host.directory");
  return failure ? failure : directory_sync(directory) ? errno : 0;
}

/** What is durable in a directory is lost with its name. At each start: who made them may have been killed
 * before he came to this. */
static int sync_names(const char *data_dir, struct error *err) {
  char *copy = memory_dup(data_dir, strlen(data_dir));
  int failure = sync_directory(dirname(copy));
  memory_free(copy);
  if (failure == EACCES) failure = 0; // where it may not look it has hardly made something
  if (!failure) failure = sync_directory(data_dir);
  return failure ? error_set_errno(err, failure, "the directory %s cannot be made durable", data_dir) : 0;
}

static int make_directories(struct host *host, struct error *err) {
  static const char *const names[] = {"db", "log", "messages"};
  int rc = make_directory(host->config->data_dir, err);
  for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++) {
    char *path = join(host->config->data_dir, names[i]);
    rc = make_directory(path, err);
    memory_free(path);
  }
  return rc ? rc : sync_names(host->config->data_dir, err);
}

static int open_store(struct host *host, struct error *err) {
  const struct config *config = host->config;
  char *directory = join(config->data_dir, "db");
  struct store_options options = {.directory = directory,
                                  .log_keep = config->log.keep,
                                  .ledger_keep = config->log.keep,
                                  .dedup_keep = config->dedup.keep,
                                  .cache_bytes = config->state.memory};
  int rc = store_rocks_open(&host->shared.store, &options, err);
  memory_free(directory);
  return rc;
}

/* ---- start ---- */

static uint64_t port_next_seq(void *context) {
  return worker_next_seq(&((struct host *)context)->shared);
}

static void port_failed(void *context, const char *what, int code) {
  struct host *host = context;
  maintain_failed(&host->shared, what, code);
}

/** Mappings stay as they were at the start, whatever is reloaded. */
static int port_scripts(void *context, struct provider_scripts *out, struct error *err) {
  struct host *host = context;
  return engine_providers(host->mappings, host->config, out, err);
}

static int shared_scripts(struct worker_shared *shared, struct provider_scripts *out, struct error *err) {
  return port_scripts(shared, out, err); // the host's first member
}

static int start_workers(struct host *host, struct error *err) {
  const struct config_address *listen = &host->config->listen;
  char address[128];
  host->port = listen->port;
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    snprintf(address, sizeof address, listen->ipv6 ? "[%s]:%d" : "%s:%d", listen->host, host->port);
    int rc = i == 0 ? ingest_probe(address, err) : 0;
    if (rc) return rc;
    int descriptor = ingest_listen(address, &host->port, err);
    if (descriptor < 0) return descriptor;
    rc = worker_start(&host->shared.workers[i], &host->shared, i, descriptor, err);
    if (rc) return rc;
    host->started_workers++;
  }
  return 0;
}

/** Who asks while this lasts is answered 503: the workers listen before recovery begins. */
static int start(struct host *host, struct error *err) {
  int rc = make_directories(host, err);
  if (rc == 0) rc = open_store(host, err);
  if (rc == 0) rc = ingest_shared_new(&host->shared.ingest, host->config, err);
  if (rc == 0) rc = start_workers(host, err);
  if (rc == 0) rc = maintain_recover(host, NULL, err);
  if (rc == 0) rc = reload_begin(host, err);
  if (rc == 0) rc = experiments_begin(host, err);
  if (rc) return rc;
  host->mappings = ruleset_share(reload_sources(host));
  struct deliver_port port = {.context = host,
                              .outcome = outcome_report,
                              .outcomes_end = outcome_send,
                              .next_seq = port_next_seq,
                              .failed = port_failed,
                              .scripts = port_scripts};
  if ((rc = deliver_new(&host->shared.deliver, host->config, host->shared.store, &port, err))) return rc;
  if ((rc = lookup_start(&host->shared.lookup, &host->shared, err))) return rc;
  if ((rc = fan_outs_start(&host->shared.fan_outs, &host->shared, err))) return rc;
  maintain_resume_workers(
      host); /* before deliver: it begins with outcomes of attempts that were interrupted */
  return deliver_start(host->shared.deliver, host->shared.log, err);
}

static void on_clockwork(uv_timer_t *timer);

int host_start(struct host **out, uv_loop_t *loop, const struct config *config, struct error *err) {
  struct host *host = memory_zalloc(sizeof *host);
  host->config = config;
  host->loop = loop;
  lane_init(&host->readers, loop, READERS);
  host->shared.config = config;
  host->shared.worker_count = config->workers;
  host->shared.failed = maintain_failed;
  host->shared.scrape = gauges_scrape;
  pressure_start();
  host->shared.scripts = shared_scripts;
  host->shared.workers = memory_zalloc(config->workers * sizeof *host->shared.workers);
  host->outcomes = memory_zalloc(config->workers * sizeof *host->outcomes);
  host->seen = memory_zalloc(config->workers * sizeof *host->seen);
  host->timers = memory_zalloc(config->workers * sizeof *host->timers);
  host->log_directory = join(config->data_dir, "log");
  host->log_options = (struct log_options){.directory = host->log_directory,
                                           .segment_size = config->log.segment_size,
                                           .segment_age = config->log.segment_age};
  atomic_store(&host->shared.phase, HOST_STARTING);
  host->work.data = host;
  pthread_mutex_init(&host->figures_lock, NULL);
  host->mailbox = mailbox_new(loop, "main");
  uv_timer_init(loop, &host->clockwork);
  host->clockwork.data = host;
  uv_timer_init(loop, &host->recover_timer);
  host->recover_timer.data = host;
  int rc = start(host, err);
  if (rc) {
    host_free(host);
    return rc;
  }
  gauges_measure(host);
  host->checkpoint_at = clock_mono_us() + config->state.checkpoint_every * 1000;
  uv_timer_start(&host->clockwork, on_clockwork, TICK_MS, TICK_MS);
  reload_watch(host);
  *out = host;
  return 0;
}

void host_serve(struct host *host) {
  atomic_store(&host->shared.phase, HOST_RUNNING);
  if (atomic_load(&host->failing)) // what was overdue is decided already, and may have met a full disk
    atomic_store(&host->shared.phase, HOST_FAILED);
}

/* ---- drain: requests first, then deliveries, then everything to disk ---- */

enum { DRAIN_REQUESTS, DRAIN_DELIVERIES, DRAIN_OUTCOMES, DRAIN_CHECKPOINT };

static bool workers_idle(struct host *host) {
  for (uint32_t i = 0; i < host->shared.worker_count; i++)
    if (worker_open(host->shared.workers[i])) return false;
  return true;
}

static void deliver_stop_work(uv_work_t *work) {
  struct host *host = work->data;
  int64_t left = (host->drain_deadline - clock_mono_us()) / 1000;
  deliver_stop(host->shared.deliver, left > 0 ? left : 0);
}

static void deliver_stopped(uv_work_t *work, int status) {
  struct host *host = work->data;
  (void)status;
  host->working = false;
  host->maintenance = MAINTENANCE_IDLE;
  host->drain_step = DRAIN_OUTCOMES;
}

static void drain_finish(struct host *host) {
  uv_timer_stop(&host->clockwork);
  LOG_INFO("host", "drained");
  host->drained(host->drained_context);
}

static void drain_tick(struct host *host) {
  bool late = clock_mono_us() >= host->drain_deadline;
  bool failing = atomic_load(&host->failing);
  if (failing && late && !host->working) {
    LOG_WARN("host", "stopped while recovering; the log has everything that was acknowledged");
    drain_finish(host);
    return;
  }
  if (failing) return;
  if (late) store_hurry(host->shared.store, true); // a backup, somebody's question: nobody reads the answer
  switch (host->drain_step) {
  case DRAIN_REQUESTS:
    if (host->maintenance != MAINTENANCE_IDLE || !reload_idle(host) || !experiments_idle(host) ||
        !(late || workers_idle(host)))
      return;
    host->drain_step = DRAIN_DELIVERIES;
    host->maintenance = MAINTENANCE_WORKING;
    host->working = true;
    uv_queue_work(host->loop, &host->work, deliver_stop_work, deliver_stopped);
    return;
  case DRAIN_OUTCOMES:
    if (!late && !workers_idle(host)) return;
    host->drain_step = DRAIN_CHECKPOINT; /* deliver has ended its transfers, and still writes its outbox */
    maintain_checkpoint(host);
    return;
  case DRAIN_CHECKPOINT:
    if (host->maintenance == MAINTENANCE_IDLE) drain_finish(host);
    return;
  default:
    return;
  }
}

static void on_clockwork(uv_timer_t *timer) {
  struct host *host = timer->data;
  if (host->draining) {
    if (!host->measuring) drain_tick(host);
  } else {
    maintain_tick(host);
    pressure_tick(host);
    reload_tick(host);
    experiments_tick(host);
  }
}

static void drain_run(struct worker *worker, struct worker_task *task) {
  memory_free(task);
  worker_drain(worker);
}

void host_drain(struct host *host, int64_t grace_ms, void (*drained)(void *context), void *context) {
  if (host->draining) return;
  host->draining = true;
  host->drained = drained;
  host->drained_context = context;
  host->drain_deadline = clock_mono_us() + grace_ms * 1000;
  int running = HOST_RUNNING, starting = HOST_STARTING;
  if (!atomic_compare_exchange_strong(&host->shared.phase, &running, HOST_DRAINING))
    atomic_compare_exchange_strong(&host->shared.phase, &starting, HOST_DRAINING);
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    struct worker_task *task = memory_zalloc(sizeof *task);
    task->run = drain_run;
    worker_post(host->shared.workers[i], task);
  }
  lookup_stop(host->shared.lookup); /* what waits is durable, and asked again when the host is back */
  fan_outs_stop(host->shared.fan_outs);
  LOG_INFO("host", "draining");
  reload_stop(host);
  uv_timer_start(&host->clockwork, on_clockwork, DRAIN_TICK_MS, DRAIN_TICK_MS);
}

static void stop_workers(struct host *host) {
  for (uint32_t i = 0; i < host->started_workers; i++) worker_halt(host->shared.workers[i]);
  // It has read what their last flights told it, and its outcomes are with them: who settles refuses those.
  if (host->shared.deliver) deliver_stop(host->shared.deliver, 0);
  for (uint32_t i = 0; i < 2 * host->started_workers; i++)
    worker_settle(host->shared.workers[i % host->started_workers]);
  for (uint32_t i = 0; i < host->started_workers; i++) worker_stop(host->shared.workers[i]);
}

void host_free(struct host *host) {
  struct worker_shared *shared = &host->shared;
  if (shared->deliver) deliver_stop(shared->deliver, 0);
  lookup_stop(shared->lookup);
  reload_fill_halt(host);
  fan_outs_stop(shared->fan_outs);
  stop_workers(host);
  reload_join(host);
  if (shared->log) log_close(shared->log);
  for (uint32_t i = 0; i < host->started_workers; i++) worker_free(shared->workers[i]);
  tail_thread_free(host->tail_thread);
  if (shared->deliver) deliver_free(shared->deliver);
  lookup_free(shared->lookup);
  fan_outs_free(shared->fan_outs);
  outcome_deinit(host);
  if (shared->ingest) ingest_shared_free(shared->ingest);
  if (shared->store) store_close(shared->store);
  for (uint32_t i = 0; i < shared->worker_count; i++) {
    seen_free(host->seen[i]);
    timers_free(host->timers[i]);
  }
  mailbox_free(host->mailbox);
  reload_free(host);
  experiments_free(host);
  ruleset_free(host->mappings);
  uv_close((uv_handle_t *)&host->clockwork, NULL);
  uv_close((uv_handle_t *)&host->recover_timer, NULL);
  uv_run(host->loop, UV_RUN_NOWAIT);
  pthread_mutex_destroy(&host->figures_lock);
  memory_free(host->outcomes);
  memory_free(host->seen);
  memory_free(host->timers);
  memory_free(shared->workers);
  memory_free(host->log_directory);
  memory_free(host);
}

enum host_phase host_phase(struct host *host) {
  return atomic_load(&host->shared.phase);
}

int host_port(const struct host *host) {
  return host->port;
}
