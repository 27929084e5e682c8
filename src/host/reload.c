#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"
#include "generation/canary.h"
#include "generation/watch.h"
#include "host/fill.h"
#include "host/log_wait.h"
#include "host/reload_internal.h"

enum {
  DECIDE_TRIES = 5,       /**< of a decision that a failing log or store refused */
  KEEP_MIN_MS = 86400000, /**< what a generation means is kept for a day at least */
  COUNT_EVERY_US =
      60 * 1000000, /**< between two counts of who is on earlier sources: a second of reading, or more */
};

/* ---- the build thread ---- */

static void job_done(struct mail *mail, bool cancelled) {
  struct reload *reload = (struct reload *)((char *)mail - offsetof(struct reload, done));
  if (!cancelled) reload->job_done(reload);
}

static void job_run(struct mail *mail, bool cancelled) {
  struct reload *reload = (struct reload *)((char *)mail - offsetof(struct reload, job));
  if (cancelled) return;
  reload->job_run(reload);
  mailbox_send(reload->host->mailbox, &reload->done);
}

/** One job at a time: the step says which. */
static void start_job(struct reload *reload, void (*run)(struct reload *reload),
                      void (*done)(struct reload *reload)) {
  reload->job_run = run;
  reload->job_done = done;
  reload->job.run = job_run;
  reload->done.run = job_done;
  mailbox_send(reload->mailbox, &reload->job);
}

void reload_build_main(void *context) {
  struct reload *reload = context;
  pthread_setname_np(pthread_self(), "kairos-build");
  thread_modest();
  uv_loop_init(&reload->loop);
  reload->mailbox = mailbox_new(&reload->loop, "build");
  uv_sem_post(&reload->ready);
  uv_run(&reload->loop, UV_RUN_DEFAULT);
  uv_loop_close(&reload->loop);
}

static void build_end(struct mail *mail, bool cancelled) {
  struct reload *reload = (struct reload *)((char *)mail - offsetof(struct reload, end));
  if (!cancelled) mailbox_free(reload->mailbox);
}

/* ---- the way of an attempt: prepare, decide, swap, clear ---- */

static void try_next(struct reload *reload);

void reload_attempt_end(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  while (attempt->requests) {
    struct reload_request *request = attempt->requests;
    attempt->requests = request->next;
    reload_request_free(request);
  }
  buf_deinit(&attempt->paused);
  buf_deinit(&attempt->flights);
  buf_deinit(&attempt->changes);
  buf_deinit(&attempt->declared);
  buf_deinit(&attempt->specs);
  buf_deinit(&attempt->filled);
  *attempt = (struct reload_attempt){0};
  reload->step = RELOAD_IDLE;
}

void reload_discard(struct reload *reload) {
  generation_free(reload->attempt.candidate);
  reload->attempt.candidate = NULL;
}

static void clear(struct reload *reload) {
  generation_free(reload->attempt.candidate);
  reload->attempt.candidate = NULL;
  struct host *host = reload->host;
  int64_t now = store_retention_last(host->shared.store);
  int64_t keep = host->config->log.keep > KEEP_MIN_MS ? host->config->log.keep : KEEP_MIN_MS;
  for (uint32_t i = 0; i < host->config->provider_count; i++)
    if (host->config->providers[i].max_age > keep) keep = host->config->providers[i].max_age;
  struct error err;
  int dropped = 0;
  int64_t mono = clock_mono_us();
  if (!reload->counted_at || mono - reload->counted_at > COUNT_EVERY_US) {
    dropped = journey_sources_retain(host->shared.store, reload->serving->ruleset, keep, now, &err);
    reload->counted_at = mono;
  }
  if (dropped >= 0)
    dropped = generation_retain(host->shared.store, host->shared.deliver, reload->serving->facts.number, keep,
                                now, &err);
  if (dropped < 0 && dropped != ERROR_UNAVAILABLE)
    LOG_WARN("rules", "old generations could not be dropped", LOG_TEXT("error", err.message));
}

static void cleared(struct reload *reload) {
  reload_attempt_end(reload);
  try_next(reload);
}

static void fail(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  // A host that stops has found nothing wrong.
  if (!attempt->requests->dry_run && attempt->status != ERROR_UNAVAILABLE) {
    reload_note_failure(reload);
    LOG_WARN("rules", "the new rules do not serve; those before them go on",
             LOG_INT("generation", reload->serving->facts.number),
             LOG_TEXT("cause", generation_cause_name(attempt->requests->cause)),
             LOG_TEXT("error", attempt->err.message));
  }
  if (attempt->requests->cause == GENERATION_WATCH && attempt->status == ERROR_UNAVAILABLE &&
      !reload->stopping) {
    reload->missed = true;
    LOG_WARN("rules",
             "files that have changed cannot be tried while the host recovers: they are when it runs",
             LOG_TEXT("error", attempt->err.message));
  }
  if (attempt->requests->cause == GENERATION_FILL)
    reload_fill_tried(reload, attempt->status == ERROR_UNAVAILABLE ? NULL : attempt->err.message);
  reload_discard(reload);
  reload_answer_all(reload, "failed");
  reload_attempt_end(reload);
  try_next(reload);
}

static void swapped(struct mail *mail, bool cancelled) {
  struct reload *reload = (struct reload *)((char *)mail - offsetof(struct reload, swapped));
  if (cancelled) return;
  struct reload_attempt *attempt = &reload->attempt;
  struct generation *old = reload->serving;
  reload->serving = attempt->candidate;
  enum generation_cause cause = attempt->requests->cause;
  if (cause != GENERATION_PAUSE && cause != GENERATION_RESUME) reload_note_success(reload);
  LOG_INFO("rules", "a new generation serves", LOG_INT("generation", reload->serving->facts.number),
           LOG_TEXT("cause", generation_cause_name(reload->serving->facts.cause)),
           LOG_INT("milliseconds", (clock_mono_us() - attempt->began) / 1000));
  (void)FAILPOINT("generation.swapped");
  if (cause == GENERATION_FILL) reload_fill_tried(reload, NULL);
  bool filling = generation_holds(reload->serving) && cause != GENERATION_PAUSE && cause != GENERATION_RESUME;
  reload_answer_all(reload, filling ? "filling" : "serving");
  attempt->candidate = old;
  reload->step = RELOAD_CLEARING;
  start_job(reload, clear, cleared);
  if (generation_holds(reload->serving) || reload_fill_lacks(buf_str(&reload->filled), reload->serving))
    reload_fill_again(reload);
  else
    reload_fill_update(reload);
}

struct swap_task {
  struct worker_task task;
  struct reload *reload;
  const struct generation_rules *rules;
};

static void swap_run(struct worker *worker, struct worker_task *task) {
  struct swap_task *swap = (struct swap_task *)task;
  struct reload *reload = swap->reload;
  worker_adopt(worker, swap->rules);
  memory_free(swap);
  if (atomic_fetch_sub(&reload->swaps_left, 1) == 1) mailbox_send(reload->host->mailbox, &reload->swapped);
}

static void swap(struct reload *reload) {
  struct worker_shared *shared = &reload->host->shared;
  struct generation *candidate = reload->attempt.candidate;
  reload->step = RELOAD_SWAPPING;
  reload->swapped.run = swapped;
  atomic_store(&reload->swaps_left, shared->worker_count);
  atomic_store(&shared->generation, candidate->facts.number);
  for (uint32_t i = 0; i < shared->worker_count; i++) {
    struct swap_task *task = memory_zalloc(sizeof *task);
    task->task.run = swap_run;
    task->reload = reload;
    task->rules = &candidate->workers[i];
    worker_post(shared->workers[i], &task->task);
  }
}

const char *reload_decide(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  struct worker_shared *shared = &reload->host->shared;
  struct generation *candidate = attempt->candidate;
  attempt->status = generation_store(candidate, shared->store, &attempt->err);
  if (attempt->status == 0) attempt->status = reload_fault(FAILPOINT("generation.stored"), &attempt->err);
  if (attempt->status) return "store";
  struct log_record record = {.seq = worker_next_seq(shared),
                              .type = LOG_GENERATION,
                              .generation = candidate->facts.number,
                              .at = clock_wall_ms(),
                              .entity = {ENTITY_SUBJECT, STR("")},
                              .input = buf_str(&candidate->written)};
  attempt->status = log_wait(shared, &record, &attempt->err);
  if (attempt->status == 0) (void)FAILPOINT("generation.durable");
  return "log";
}

static void decide(struct reload *reload) {
  const char *what = reload_decide(reload);
  // No worker may have noticed.
  if (reload->attempt.status) maintain_failed(&reload->host->shared, what, reload->attempt.status);
}

static void decided(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  reload->host->deciding = false;
  if (attempt->status == 0) {
    swap(reload);
  } else if (++attempt->tries < DECIDE_TRIES && !reload->stopping) {
    reload->step = RELOAD_PREPARED; /* once more when the host has recovered */
  } else {
    fail(reload);
  }
}

/** Recovery closes log and store; it waits for this, and this for it. */
static void try_decide(struct reload *reload) {
  struct host *host = reload->host;
  if (host_phase(host) != HOST_RUNNING || atomic_load(&host->failing)) return;
  host->deciding = true;
  reload->step = RELOAD_DECIDING;
  start_job(reload, decide, decided);
}

/** The attempt begins anew, behind what waits. */
static void put_back(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  *reload->waiting_end = attempt->requests;
  while (*reload->waiting_end) reload->waiting_end = &(*reload->waiting_end)->next;
  attempt->requests = NULL;
  reload_discard(reload);
  reload_attempt_end(reload);
  try_next(reload);
}

static void prepared(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  if (attempt->status == ERROR_UNAVAILABLE && reload->cut_short && !reload->stopping) {
    put_back(reload);
    return;
  }
  if (reload->stopping &&
      (attempt->status == ERROR_UNAVAILABLE || (attempt->status == 0 && !attempt->unchanged)))
    attempt->status = error_set(&attempt->err, ERROR_UNAVAILABLE, "the host is stopping");
  if (attempt->status) {
    fail(reload);
  } else if (attempt->unchanged || attempt->requests->dry_run) {
    bool command = attempt->requests->cause == GENERATION_COMMAND && !attempt->requests->dry_run;
    if (attempt->unchanged && attempt->read && !attempt->known) reload_note_success(reload);
    if (attempt->requests->cause == GENERATION_FILL) reload_fill_tried(reload, NULL);
    if (attempt->unchanged && command) reload_fill_again(reload);
    bool filling = attempt->unchanged && command && generation_holds(reload->serving);
    reload_answer_all(reload, filling ? "filling" : attempt->unchanged ? "unchanged" : "checked");
    reload_discard(reload);
    reload_attempt_end(reload);
    try_next(reload);
  } else {
    reload->step = RELOAD_PREPARED;
    try_decide(reload);
  }
}

static bool asks_for_files(const struct reload_request *request) {
  return request->cause == GENERATION_WATCH || request->cause == GENERATION_COMMAND;
}

/** Take the first request, and all that the same reading of the files answers. A command among them makes the
 * whole one by command. */
static void take_requests(struct reload *reload) {
  struct reload_request *first = reload->waiting;
  reload->waiting = first->next;
  first->next = NULL;
  struct reload_request **end = &first->next;
  for (struct reload_request **at = &reload->waiting; asks_for_files(first) && !first->dry_run && *at;) {
    struct reload_request *request = *at;
    if (!asks_for_files(request) || request->dry_run) {
      at = &request->next;
      continue;
    }
    *at = request->next;
    request->next = NULL;
    if (request->cause == GENERATION_COMMAND && first->cause == GENERATION_WATCH) {
      request->next = first;
      first = request;
    } else {
      *end = request;
      end = &request->next;
    }
  }
  reload->waiting_end = &reload->waiting;
  while (*reload->waiting_end) reload->waiting_end = &(*reload->waiting_end)->next;
  atomic_store(&reload->cut_short, reload->stopping);
  reload->attempt = (struct reload_attempt){.requests = first, .began = clock_mono_us()};
  buf_append(&reload->attempt.filled, reload->filled.data, reload->filled.len);
}

static void try_next(struct reload *reload) {
  if (reload->step != RELOAD_IDLE || !reload->waiting) return;
  take_requests(reload);
  reload->step = RELOAD_PREPARING;
  start_job(reload, reload_prepare, prepared);
}

static bool is_pause(const struct reload_request *request) {
  return request->cause == GENERATION_PAUSE || request->cause == GENERATION_RESUME;
}

void reload_ask(struct reload *reload, const struct reload_request *request) {
  struct reload_request *copy = memory_alloc(sizeof *copy), **at = reload->waiting_end;
  *copy = *request;
  if (is_pause(request)) { /* what is wrong with a campaign does not wait for other rules to be tried */
    for (at = &reload->waiting; *at && is_pause(*at);) at = &(*at)->next;
    copy->next = *at;
    bool trying = reload->step == RELOAD_PREPARING && asks_for_files(reload->attempt.requests);
    if (trying) atomic_store(&reload->cut_short, true);
  }
  *at = copy;
  if (!copy->next) reload->waiting_end = &copy->next;
  try_next(reload);
}

/* ---- watching, and the end ---- */

static uint64_t fingerprint(void *context) {
  const struct config *config = ((struct reload *)context)->host->config;
  return ruleset_fingerprint(config->rules_dir) + canary_specs(config);
}

static void look(void *context) {
  struct reload *reload = context;
  if (reload->stopping) return;
  for (const struct reload_request *request = reload->waiting; request; request = request->next)
    if (asks_for_files(request) && !request->dry_run) return; /* it has not read them yet */
  reload_ask(reload, &(struct reload_request){.cause = GENERATION_WATCH});
}

void reload_tick(struct host *host) {
  struct reload *reload = host->reload;
  if (reload->step == RELOAD_PREPARED) try_decide(reload);
  if (reload->missed && host_phase(host) == HOST_RUNNING && !atomic_load(&host->failing)) {
    reload->missed = false;
    look(reload);
  }
  reload_fill_update(reload);
}

void reload_watch(struct host *host) {
  struct reload *reload = host->reload;
  if (!host->config->rules.watch) return;
  canary_folder(host->config, reload->specs_folder, sizeof reload->specs_folder);
  reload->watch = watch_new(host->loop, &(struct watch_options){.directory = host->config->rules_dir,
                                                                .beside = reload->specs_folder,
                                                                .fingerprint = fingerprint,
                                                                .changed = look,
                                                                .context = reload});
}

void reload_stop(struct host *host) {
  struct reload *reload = host->reload;
  if (!reload) return;
  reload->stopping = true;
  atomic_store(&reload->cut_short, true);
  watch_close(reload->watch);
  reload->watch = NULL;
  reload_fill_stop(reload);
  struct error err;
  error_set(&err, ERROR_UNAVAILABLE, "the host is stopping");
  while (reload->waiting) {
    struct reload_request *request = reload->waiting;
    reload->waiting = request->next;
    reload_answer(request, ERROR_UNAVAILABLE, &err, STR(""));
    reload_request_free(request);
  }
  reload->waiting_end = &reload->waiting;
  if (reload->step != RELOAD_PREPARED) return;
  reload->attempt.status = ERROR_UNAVAILABLE;
  reload->attempt.err = err;
  fail(reload);
}

bool reload_idle(const struct host *host) {
  return !host->reload || (host->reload->step == RELOAD_IDLE && !host->reload->fill);
}

void reload_join(struct host *host) {
  struct reload *reload = host->reload;
  if (!reload) return;
  reload->stopping = true;
  atomic_store(&reload->cut_short, true);
  reload->end.run = build_end;
  mailbox_send(reload->mailbox, &reload->end);
  uv_thread_join(&reload->thread);
}

void reload_free(struct host *host) {
  struct reload *reload = host->reload;
  if (!reload) return;
  reload_discard(reload);
  reload_attempt_end(reload);
  generation_free(reload->serving);
  uv_sem_destroy(&reload->ready);
  for (int i = 0; i < RELOAD_FAILURES_KEPT; i++) buf_deinit(&reload->failures[i]);
  memory_free(reload->failed_reason);
  fill_free(reload->fill);
  buf_deinit(&reload->filled);
  buf_deinit(&reload->reviewed);
  memory_free(reload->fill_failed);
  memory_free(reload);
  host->reload = NULL;
}

const struct generation *reload_serving(const struct host *host) {
  return host->reload->serving;
}

struct ruleset *reload_sources(const struct host *host) {
  return host->reload->serving->ruleset;
}
