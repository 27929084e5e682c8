#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "host/host_internal.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { TICK_MS = 100, DRAIN_TICK_MS = 10 };

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

static int make_directories(struct host *host, struct error *err) {
  static const char *const names[] = {"db", "log", "messages"};
  int rc = make_directory(host->config->data_dir, err);
  for (size_t i = 0; rc == 0 && i < sizeof names / sizeof *names; i++) {
    char *path = join(host->config->data_dir, names[i]);
    rc = make_directory(path, err);
    memory_free(path);
  }
  return rc;
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

/* ---- the generation ---- */

static int store_text(struct store *store, const char *prefix, struct hash128 hash, struct str value,
                      struct error *err) {
  char hex[33], key[64];
  hash128_hex(hash, hex);
  snprintf(key, sizeof key, "%s:%s", prefix, hex);
  return store_meta_put(store, str_from(key), value, err);
}

/** Templates must be found by hash for as long as a message that names them may be tried again. */
static int store_templates(struct host *host, struct error *err) {
  struct engine *engine;
  int rc = engine_new(&engine,
                      &(struct engine_options){.ruleset = host->shared.ruleset,
                                               .config = host->config,
                                               .generation = host->shared.generation},
                      err);
  if (rc) return rc;
  const struct engine_template *templates;
  size_t count = engine_templates(engine, &templates);
  for (size_t i = 0; rc == 0 && i < count; i++)
    rc = store_text(host->shared.store, "template", templates[i].hash, templates[i].bundle, err);
  engine_free(engine);
  return rc;
}

struct record_wait {
  struct log_batch batch;
  uv_sem_t answered;
};

static void record_answered(struct mail *mail, bool cancelled) {
  (void)cancelled;
  uv_sem_post(&((struct record_wait *)mail)->answered);
}

struct reply_thread {
  uv_loop_t loop;
  struct mailbox *mailbox;
};

/** Log that this generation serves from here on, and wait for it. */
static int log_generation(struct host *host, struct error *err) {
  struct reply_thread reply;
  uv_loop_init(&reply.loop);
  reply.mailbox = mailbox_new(&reply.loop, "generation");
  struct record_wait wait = {.batch = {.mail.run = record_answered, .reply = reply.mailbox, .records = 1}};
  uv_sem_init(&wait.answered, 0);
  buf_init(&wait.batch.bytes);
  struct buf input;
  buf_init(&input);
  char hex[33];
  hash128_hex(host->shared.ruleset->hash, hex);
  value_put_map(&input, 2);
  value_put_string(&input, STR("generation"));
  value_put_integer(&input, host->shared.generation);
  value_put_string(&input, STR("ruleset"));
  value_put_string(&input, str_from(hex));
  log_record_put(&wait.batch.bytes, &(struct log_record){.seq = worker_next_seq(&host->shared),
                                                         .type = LOG_GENERATION,
                                                         .generation = host->shared.generation,
                                                         .at = clock_wall_ms(),
                                                         .entity = {ENTITY_SUBJECT, STR("")},
                                                         .input = buf_str(&input)});
  log_submit(host->shared.log, &wait.batch);
  while (uv_sem_trywait(&wait.answered) != 0) uv_run(&reply.loop, UV_RUN_ONCE);
  int rc = wait.batch.status ? error_set(err, wait.batch.status, "the log cannot be written") : 0;
  mailbox_free(reply.mailbox);
  uv_run(&reply.loop, UV_RUN_DEFAULT);
  uv_loop_close(&reply.loop);
  uv_sem_destroy(&wait.answered);
  buf_deinit(&wait.batch.bytes);
  buf_deinit(&input);
  return rc;
}

static bool same_ruleset(struct host *host, uint32_t generation, struct str hash) {
  struct buf stored;
  buf_init(&stored);
  char key[64];
  snprintf(key, sizeof key, "generation:%u", generation);
  bool same = store_meta_get(host->shared.store, str_from(key), &stored, NULL) == 0 &&
              str_equal(buf_str(&stored), hash);
  buf_deinit(&stored);
  return same;
}

/** What the number means: its sources, by content hash. */
static int store_generation(struct host *host, struct str hash, struct error *err) {
  struct buf bytes;
  buf_init(&bytes);
  char key[64];
  ruleset_encode(host->shared.ruleset, &bytes);
  int rc = store_text(host->shared.store, "ruleset", host->shared.ruleset->hash, buf_str(&bytes), err);
  snprintf(key, sizeof key, "generation:%u", host->shared.generation);
  if (rc == 0) rc = store_meta_put(host->shared.store, str_from(key), hash, err);
  if (rc == 0) rc = log_generation(host, err);
  buf_deinit(&bytes);
  return rc;
}

/** Number the generation: a new number if the sources differ from those that served last. */
static int begin_generation(struct host *host, struct error *err) {
  char hex[33];
  hash128_hex(host->shared.ruleset->hash, hex);
  uint32_t last = host->shared.generation; /* as recovery found it */
  bool same = last && same_ruleset(host, last, str_from(hex));
  host->shared.generation = same ? last : last + 1;
  int rc = store_templates(host, err);
  if (rc == 0 && !same) rc = store_generation(host, str_from(hex), err);
  return rc;
}

/* ---- start ---- */

static uint64_t port_next_seq(void *context) {
  return worker_next_seq(&((struct host *)context)->shared);
}

static void port_failed(void *context, int code) {
  struct host *host = context;
  maintain_failed(&host->shared, "log", code);
}

static int port_scripts(void *context, struct provider_scripts *out, struct error *err) {
  struct host *host = context;
  return engine_providers(host->shared.ruleset, host->config, out, err);
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

static int load_workers(struct host *host, struct error *err) {
  int rc = 0;
  for (uint32_t i = 0; rc == 0 && i < host->shared.worker_count; i++)
    rc = worker_load(host->shared.workers[i], err);
  return rc;
}

/** Who asks while this lasts is answered 503: the workers listen before recovery begins. */
static int start(struct host *host, struct error *err) {
  int rc = make_directories(host, err);
  if (rc == 0) rc = open_store(host, err);
  if (rc == 0) rc = ingest_shared_new(&host->shared.ingest, host->config, err);
  if (rc == 0) rc = start_workers(host, err);
  if (rc == 0) rc = maintain_recover(host, NULL, err);
  if (rc == 0) rc = begin_generation(host, err);
  if (rc) return rc;
  struct deliver_port port = {.context = host,
                              .outcome = outcome_report,
                              .next_seq = port_next_seq,
                              .failed = port_failed,
                              .scripts = port_scripts};
  if ((rc = deliver_new(&host->shared.deliver, host->config, host->shared.store, &port, err))) return rc;
  if ((rc = load_workers(host, err))) return rc;
  maintain_resume_workers(
      host); /* before deliver: it begins with outcomes of attempts that were interrupted */
  return deliver_start(host->shared.deliver, host->shared.log, err);
}

static void on_clockwork(uv_timer_t *timer);

int host_start(struct host **out, uv_loop_t *loop, const struct config *config, const struct ruleset *ruleset,
               struct error *err) {
  struct host *host = memory_zalloc(sizeof *host);
  host->config = config;
  host->loop = loop;
  host->shared.config = config;
  host->shared.ruleset = ruleset;
  host->shared.worker_count = config->workers;
  host->shared.failed = maintain_failed;
  host->shared.scrape = gauges_scrape;
  host->shared.workers = memory_zalloc(config->workers * sizeof *host->shared.workers);
  host->seen = memory_zalloc(config->workers * sizeof *host->seen);
  host->timers = memory_zalloc(config->workers * sizeof *host->timers);
  host->log_directory = join(config->data_dir, "log");
  host->log_options = (struct log_options){.directory = host->log_directory,
                                           .segment_size = config->log.segment_size,
                                           .segment_age = config->log.segment_age};
  atomic_store(&host->shared.phase, HOST_STARTING);
  host->work.data = host;
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
  host->checkpoint_at = clock_mono_us() + config->state.checkpoint_every * 1000;
  uv_timer_start(&host->clockwork, on_clockwork, TICK_MS, TICK_MS);
  atomic_store(&host->shared.phase, HOST_RUNNING);
  *out = host;
  return 0;
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
  switch (host->drain_step) {
  case DRAIN_REQUESTS:
    if (host->maintenance != MAINTENANCE_IDLE || !(late || workers_idle(host))) return;
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
  if (host->draining)
    drain_tick(host);
  else
    maintain_tick(host);
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
  int running = HOST_RUNNING;
  atomic_compare_exchange_strong(&host->shared.phase, &running, HOST_DRAINING);
  for (uint32_t i = 0; i < host->shared.worker_count; i++) {
    struct worker_task *task = memory_zalloc(sizeof *task);
    task->run = drain_run;
    worker_post(host->shared.workers[i], task);
  }
  LOG_INFO("host", "draining");
  uv_timer_start(&host->clockwork, on_clockwork, DRAIN_TICK_MS, DRAIN_TICK_MS);
}

static void stop_workers(struct host *host) {
  for (uint32_t i = 0; i < host->started_workers; i++) worker_halt(host->shared.workers[i]);
  for (uint32_t i = 0; i < 2 * host->started_workers; i++)
    worker_settle(host->shared.workers[i % host->started_workers]);
  for (uint32_t i = 0; i < host->started_workers; i++) worker_stop(host->shared.workers[i]);
}

void host_free(struct host *host) {
  struct worker_shared *shared = &host->shared;
  if (shared->deliver) deliver_stop(shared->deliver, 0);
  stop_workers(host);
  if (shared->log) log_close(shared->log);
  for (uint32_t i = 0; i < host->started_workers; i++) worker_free(shared->workers[i]);
  if (shared->deliver) deliver_free(shared->deliver);
  outcome_deinit(host);
  if (shared->ingest) ingest_shared_free(shared->ingest);
  if (shared->store) store_close(shared->store);
  for (uint32_t i = 0; i < shared->worker_count; i++) {
    seen_free(host->seen[i]);
    timers_free(host->timers[i]);
  }
  mailbox_free(host->mailbox);
  uv_close((uv_handle_t *)&host->clockwork, NULL);
  uv_close((uv_handle_t *)&host->recover_timer, NULL);
  uv_run(host->loop, UV_RUN_NOWAIT);
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
