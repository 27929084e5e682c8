#include "host/reload.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/metric.h"
#include "base/suggest.h"
#include "host/campaign.h"
#include "host/canary.h"
#include "host/changes.h"
#include "host/host_internal.h"
#include "host/watch.h"

#include <limits.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
  BUILD_NICE = 10,        /**< of the build thread: a tenth of a core that the workers want too */
  SETTLE_MAX_MS = 5000,   /**< how long files that keep changing are read again */
  DECIDE_TRIES = 5,       /**< of a decision that a failing log or store refused */
  LISTED = 50,            /**< generations that a list shows unless all are asked for */
  FAILURES_KEPT = 10,     /**< failed attempts that the list shows */
  KEEP_MIN_MS = 86400000, /**< what a generation means is kept for a day at least */
};

enum step {
  STEP_IDLE,
  STEP_PREPARING, /**< reading, building: the build thread */
  STEP_PREPARED,  /**< waits until the host runs */
  STEP_DECIDING,  /**< storing, logging: the build thread */
  STEP_SWAPPING,  /**< the workers take it */
  STEP_CLEARING   /**< the old one is freed: the build thread */
};

/** What somebody, or a change of the files, asks for. */
struct request {
  struct request *next;
  enum generation_cause cause;
  bool dry_run;
  uint32_t target; /**< ROLLBACK: 0 for the one before */
  char *campaign;  /**< PAUSE, RESUME … */
  char *reason;    /**< … PAUSE: why; "" if nobody said */
  char *by;
  struct host_command *command; /**< null: nobody waits for an answer */
};

/** The attempt under way. The build thread's from job to done, else main's. */
struct attempt {
  struct request *requests; /**< those that it answers; the first says what is to be done */
  struct generation *candidate;
  struct hash128 files; /**< of what was read */
  bool unchanged, read;
  bool known; /**< these files did not serve a moment ago, and are the same */
  int status;
  struct error err;
  struct buf paused, changes, declared, specs;
  uint64_t specs_seen; /**< canary_specs() */
  uint32_t restores;
  int64_t began; /**< monotonic us */
  int tries;
};

struct reload {
  struct host *host;
  enum step step;
  atomic_bool stopping;
  struct request *waiting, **waiting_end;
  struct generation *serving;
  struct attempt attempt;
  atomic_uint swaps_left;
  struct mail swapped;

  /** Files on disk that do not serve, and why. */
  bool failed;
  struct hash128 failed_files;
  uint64_t failed_specs;
  char *failed_reason;
  struct buf failures[FAILURES_KEPT]; /**< the newest at `failure_count - 1`, round and round: values */
  uint32_t failure_count;

  uv_thread_t thread;
  uv_sem_t ready;
  uv_loop_t loop;
  struct mailbox *mailbox; /**< the build thread's */
  struct mail job, done, end;
  void (*job_run)(struct reload *reload);
  void (*job_done)(struct reload *reload);
  metric_id failed_gauge;
  char specs_folder[PATH_MAX];
  struct watch *watch; /**< null: files are read when somebody asks */
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

static void build_main(void *context) {
  struct reload *reload = context;
  pthread_setname_np(pthread_self(), "kairos-build");
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), BUILD_NICE);
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

/* ---- preparing: what is to serve, built ---- */

/** A failpoint's errno as an error. */
static int fault(int errnum, struct error *err) {
  return errnum ? error_set_errno(err, errnum, "the new generation") : 0;
}

static int wanted_files(struct reload *reload, struct ruleset **out, struct error *err) {
  const struct config *config = reload->host->config;
  int rc = ruleset_read_settled(out, config->rules_dir, config->library_dir, SETTLE_MAX_MS, err);
  if (rc) return rc;
  reload->attempt.files = (*out)->hash;
  reload->attempt.read = true;
  return 0;
}

/** The newest generation before `number` that had other sources than those that serve. */
static int earlier(struct reload *reload, uint32_t number, struct generation_facts *facts, struct buf *bytes,
                   struct error *err) {
  while (number-- > 1) {
    int rc = generation_facts_load(reload->host->shared.store, number, bytes, facts, err);
    if (rc == ERROR_NOT_FOUND) break;
    if (rc || !hash128_equal(facts->sources, reload->serving->facts.sources)) return rc;
  }
  return error_set(err, ERROR_NOT_FOUND,
                   "there is no earlier generation with other rules; "
                   "`kairos generations` lists those that are kept");
}

static int wanted_earlier(struct reload *reload, uint32_t target, struct ruleset **out, struct error *err) {
  struct generation_facts facts;
  struct buf bytes;
  buf_init(&bytes);
  const struct generation_facts *now = &reload->serving->facts;
  struct store *store = reload->host->shared.store;
  int rc = target ? generation_facts_load(store, target, &bytes, &facts, err)
                  : earlier(reload, now->restores ? now->restores : now->number, &facts, &bytes, err);
  if (rc == ERROR_NOT_FOUND && target)
    error_set(err, rc, "there is no generation %u; `kairos generations` lists those that are kept", target);
  if (rc == 0) rc = generation_sources_load(store, facts.sources, out, err);
  // It answers to the files as they are now, whatever they are: only another change ends it.
  struct ruleset *files;
  const struct config *config = reload->host->config;
  reload->attempt.files = now->files;
  if (rc == 0 && ruleset_read(&files, config->rules_dir, config->library_dir, NULL) == 0) {
    reload->attempt.files = files->hash;
    ruleset_free(files);
  }
  reload->attempt.restores = facts.number;
  buf_deinit(&bytes);
  return rc;
}

static int no_campaign(const struct engine *engine, struct str name, struct error *err) {
  const struct engine_rule *rules;
  size_t count = engine_rules(engine, &rules);
  struct suggestion suggestion = {0};
  struct buf known;
  buf_init(&known);
  for (size_t i = 0; i < count; i++) suggestion_offer(&suggestion, name, rules[i].campaign);
  suggestion_append(&suggestion, &known);
  if (!known.len) buf_printf(&known, "; `kairos campaigns` lists them");
  int rc = error_set(err, ERROR_NOT_FOUND, "there is no campaign `%.*s`%.*s", STR_ARG(name),
                     STR_ARG(buf_str(&known)));
  buf_deinit(&known);
  return rc;
}

/** The same sources, with one operator's pause more or less. */
static int wanted_pause(struct reload *reload, const struct request *request, struct ruleset **out,
                        struct error *err) {
  const struct generation *serving = reload->serving;
  struct str campaign = str_from(request->campaign), paused = serving->facts.paused;
  bool pause = request->cause == GENERATION_PAUSE, is = campaign_pause(paused, campaign).len != 0;
  if (!is && engine_rule_of(serving->workers[0].engine, campaign) < 0)
    return no_campaign(serving->workers[0].engine, campaign, err);
  *out = ruleset_share(serving->ruleset);
  reload->attempt.files = serving->facts.files;
  reload->attempt.unchanged = is == pause;
  struct buf rest;
  uint32_t count = 0;
  buf_init(&rest);
  struct reader reader = reader_of(paused);
  for (uint32_t left = paused.len ? value_read(&reader).count : 0; left > 0; left--) {
    struct str one = value_slice(&reader), name;
    if (value_member(one, STR("campaign"), &name) && str_equal(value_head(name).string, campaign)) continue;
    buf_append(&rest, one.data, one.len);
    count++;
  }
  if (pause) {
    value_put_map(&rest, 4);
    value_put_member_text(&rest, "campaign", campaign);
    value_put_member_text(&rest, "by", str_from(request->by));
    value_put_member_text(&rest, "reason", str_from(request->reason));
    value_put_member_integer(&rest, "at", clock_wall_ms());
    count++;
  }
  buf_clear(&reload->attempt.paused);
  value_put_array(&reload->attempt.paused, count);
  buf_append(&reload->attempt.paused, rest.data, rest.len);
  buf_deinit(&rest);
  return 0;
}

/** Whether the files are those that the serving generation answers to. Who asks for them by command wants
 * them served, also where a rollback has set them aside. */
static bool files_serve(const struct reload *reload, enum generation_cause cause, struct hash128 files) {
  const struct generation *serving = reload->serving;
  if (!serving) return false;
  return hash128_equal(files, cause == GENERATION_COMMAND ? serving->facts.sources : serving->facts.files);
}

static int wanted(struct reload *reload, struct ruleset **out, struct error *err) {
  struct attempt *attempt = &reload->attempt;
  attempt->specs_seen = canary_specs(reload->host->config);
  const struct request *request = attempt->requests;
  int rc;
  if (reload->serving && reload->serving->facts.paused.len)
    buf_append(&attempt->paused, reload->serving->facts.paused.data, reload->serving->facts.paused.len);
  switch (request->cause) {
  case GENERATION_ROLLBACK:
    return wanted_earlier(reload, request->target, out, err);
  case GENERATION_PAUSE:
  case GENERATION_RESUME:
    return wanted_pause(reload, request, out, err);
  default:
    rc = wanted_files(reload, out, err);
    if (rc) return rc;
    attempt->known = request->cause == GENERATION_WATCH && reload->failed &&
                     hash128_equal(attempt->files, reload->failed_files) &&
                     attempt->specs_seen == reload->failed_specs;
    attempt->unchanged = attempt->known || files_serve(reload, request->cause, attempt->files);
    return 0;
  }
}

/** Rules that served before, or are the same, need no trial; and those of a first start have nobody to go on
 * in their place. */
static int try_out(struct reload *reload, const struct ruleset *sources, struct error *err) {
  struct attempt *attempt = &reload->attempt;
  enum generation_cause cause = attempt->requests->cause;
  if (!reload->serving ||
      (cause != GENERATION_START && cause != GENERATION_WATCH && cause != GENERATION_COMMAND))
    return 0;
  struct canary_options options = {.config = reload->host->config,
                                   .ruleset = sources,
                                   .changes = buf_str(&attempt->changes),
                                   .stop = &reload->stopping};
  return canary_run(&options, &attempt->specs, err);
}

static int build(struct reload *reload, struct ruleset *sources, struct error *err) {
  struct host *host = reload->host;
  struct attempt *attempt = &reload->attempt;
  const struct generation *serving = reload->serving;
  const struct request *request = attempt->requests;
  changes_of_sources(serving ? serving->ruleset : NULL, sources, &attempt->changes);
  int rc = try_out(reload, sources, err);
  if (rc) return rc;
  struct generation_facts facts = {.number = host->shared.generation + 1,
                                   .cause = request->cause,
                                   .at = clock_wall_ms(),
                                   .by = request->by ? str_from(request->by) : STR(""),
                                   .restores = attempt->restores,
                                   .sources = sources->hash,
                                   .files = attempt->files,
                                   .paused = buf_str(&attempt->paused),
                                   .changes = buf_str(&attempt->changes)};
  attempt->candidate = generation_new(&facts, ruleset_share(sources), host->shared.worker_count);
  rc = generation_build(attempt->candidate, host->config, host->shared.workers[0], 0, err);
  if (rc) return rc;
  changes_of_declarations(serving ? serving->workers[0].engine : NULL, attempt->candidate->workers[0].engine,
                          &attempt->declared);
  if (request->dry_run) return 0;
  for (uint32_t i = 1; rc == 0 && i < host->shared.worker_count; i++)
    rc = generation_build(attempt->candidate, host->config, host->shared.workers[i], i, err);
  return rc;
}

static void prepare(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  struct ruleset *sources = NULL;
  attempt->status = wanted(reload, &sources, &attempt->err);
  if (attempt->status == 0 && !attempt->unchanged) attempt->status = build(reload, sources, &attempt->err);
  ruleset_free(sources);
  if (attempt->status == 0) attempt->status = fault(FAILPOINT("generation.built"), &attempt->err);
}

/* ---- answers ---- */

static void put_result(const struct reload *reload, const char *result, struct buf *out) {
  const struct attempt *attempt = &reload->attempt;
  const struct generation *now = attempt->candidate ? attempt->candidate : reload->serving;
  char hex[33];
  hash128_hex(now->facts.sources, hex);
  value_put_map(out, 8);
  value_put_member_text(out, "result", str_from(result));
  value_put_member_integer(out, "generation", now->facts.number);
  value_put_member_text(out, "ruleset", str_from(hex));
  value_put_member_integer(out, "restores", attempt->restores);
  value_put_member_integer(out, "milliseconds", (clock_mono_us() - attempt->began) / 1000);
  value_put_string(out, STR("campaigns"));
  if (attempt->changes.len)
    buf_append(out, attempt->changes.data, attempt->changes.len);
  else
    value_put_nil(out);
  value_put_string(out, STR("declared"));
  if (attempt->declared.len)
    buf_append(out, attempt->declared.data, attempt->declared.len);
  else
    value_put_nil(out);
  value_put_string(out, STR("specs"));
  if (attempt->specs.len)
    buf_append(out, attempt->specs.data, attempt->specs.len);
  else
    value_put_nil(out);
}

static void request_free(struct request *request) {
  memory_free(request->campaign);
  memory_free(request->reason);
  memory_free(request->by);
  memory_free(request);
}

static void answer(struct request *request, int status, const struct error *err, struct str result) {
  struct host_command *command = request->command;
  request->command = NULL;
  if (!command) return;
  command->status = status;
  if (status) command->err = *err;
  buf_append(&command->result, result.data, result.len);
  command->done(command);
}

/** Everybody who asked is told; more may follow that concerns nobody. */
static void answer_all(struct reload *reload, const char *result) {
  struct attempt *attempt = &reload->attempt;
  struct buf bytes;
  buf_init(&bytes);
  if (attempt->status == 0) put_result(reload, result, &bytes);
  for (struct request *request = attempt->requests; request; request = request->next)
    answer(request, attempt->status, &attempt->err, buf_str(&bytes));
  buf_deinit(&bytes);
  enum generation_cause cause = attempt->requests->cause;
  if (attempt->requests->dry_run || cause == GENERATION_START ||
      (cause == GENERATION_WATCH && attempt->unchanged))
    return;
  char label[64];
  snprintf(label, sizeof label, "result=\"%s\"", attempt->status ? "failed" : result);
  metric_add(
      metric_counter("kairos_reloads_total", "Attempts to serve other rules, by how they ended.", label), 1);
}

static void attempt_end(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  while (attempt->requests) {
    struct request *request = attempt->requests;
    attempt->requests = request->next;
    request_free(request);
  }
  buf_deinit(&attempt->paused);
  buf_deinit(&attempt->changes);
  buf_deinit(&attempt->declared);
  buf_deinit(&attempt->specs);
  *attempt = (struct attempt){0};
  reload->step = STEP_IDLE;
}

/** What is on disk serves, or has been set aside by an operator. */
static void note_success(struct reload *reload) {
  reload->failed = false;
  memory_free(reload->failed_reason);
  reload->failed_reason = NULL;
  metric_set(reload->failed_gauge, 0);
}

static void note_failure(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  struct buf *row = &reload->failures[reload->failure_count++ % FAILURES_KEPT];
  buf_clear(row);
  value_put_map(row, 5);
  value_put_member_text(row, "cause", str_from(generation_cause_name(attempt->requests->cause)));
  value_put_member_integer(row, "at", clock_wall_ms());
  value_put_member_text(row, "by", attempt->requests->by ? str_from(attempt->requests->by) : STR(""));
  value_put_member_text(row, "error", str_from(attempt->err.message));
  value_put_string(row, STR("changes"));
  if (attempt->changes.len)
    buf_append(row, attempt->changes.data, attempt->changes.len);
  else
    value_put_nil(row);
  enum generation_cause cause = attempt->requests->cause;
  if (cause != GENERATION_START && cause != GENERATION_WATCH && cause != GENERATION_COMMAND) return;
  reload->failed = true;
  reload->failed_specs = attempt->specs_seen;
  reload->failed_files = attempt->read ? attempt->files : (struct hash128){0};
  memory_free(reload->failed_reason);
  reload->failed_reason = memory_dup(attempt->err.message, strlen(attempt->err.message));
  metric_set(reload->failed_gauge, 1);
}

/* ---- the way of an attempt: prepare, decide, swap, clear ---- */

static void try_next(struct reload *reload);

static void clear(struct reload *reload) {
  generation_free(reload->attempt.candidate);
  reload->attempt.candidate = NULL;
  struct host *host = reload->host;
  int64_t keep = host->config->log.keep > KEEP_MIN_MS ? host->config->log.keep : KEEP_MIN_MS;
  for (uint32_t i = 0; i < host->config->provider_count; i++)
    if (host->config->providers[i].max_age > keep) keep = host->config->providers[i].max_age;
  struct error err;
  int dropped =
      generation_retain(host->shared.store, reload->serving->facts.number, keep, clock_wall_ms(), &err);
  if (dropped < 0 && dropped != ERROR_UNAVAILABLE)
    LOG_WARN("rules", "old generations could not be dropped", LOG_TEXT("error", err.message));
}

static void cleared(struct reload *reload) {
  attempt_end(reload);
  try_next(reload);
}

/** Nothing of the candidate will serve. */
static void discard(struct reload *reload) {
  generation_free(reload->attempt.candidate);
  reload->attempt.candidate = NULL;
}

static void fail(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  if (!attempt->requests->dry_run) {
    note_failure(reload);
    LOG_WARN("rules", "the new rules do not serve; those before them go on",
             LOG_INT("generation", reload->serving->facts.number),
             LOG_TEXT("cause", generation_cause_name(attempt->requests->cause)),
             LOG_TEXT("error", attempt->err.message));
  }
  discard(reload);
  answer_all(reload, "failed");
  attempt_end(reload);
  try_next(reload);
}

static void swapped(struct mail *mail, bool cancelled) {
  struct reload *reload = (struct reload *)((char *)mail - offsetof(struct reload, swapped));
  if (cancelled) return;
  struct attempt *attempt = &reload->attempt;
  struct generation *old = reload->serving;
  reload->serving = attempt->candidate;
  note_success(reload);
  LOG_INFO("rules", "a new generation serves", LOG_INT("generation", reload->serving->facts.number),
           LOG_TEXT("cause", generation_cause_name(reload->serving->facts.cause)),
           LOG_INT("milliseconds", (clock_mono_us() - attempt->began) / 1000));
  (void)FAILPOINT("generation.swapped");
  answer_all(reload, "serving");
  attempt->candidate = old;
  reload->step = STEP_CLEARING;
  start_job(reload, clear, cleared);
}

struct swap_task {
  struct worker_task task;
  struct reload *reload;
  const struct worker_rules *rules;
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
  reload->step = STEP_SWAPPING;
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

static void decide(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  struct host *host = reload->host;
  const char *what = "store";
  attempt->status = generation_store(attempt->candidate, host->shared.store, &attempt->err);
  if (attempt->status == 0) attempt->status = fault(FAILPOINT("generation.stored"), &attempt->err);
  if (attempt->status == 0) {
    what = "log";
    attempt->status = generation_decide(attempt->candidate, &host->shared, &attempt->err);
    if (attempt->status == 0) (void)FAILPOINT("generation.durable");
  }
  // No worker may have noticed.
  if (attempt->status) maintain_failed(&host->shared, what, attempt->status);
}

static void decided(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  reload->host->deciding = false;
  if (attempt->status == 0) {
    swap(reload);
  } else if (++attempt->tries < DECIDE_TRIES && !reload->stopping) {
    reload->step = STEP_PREPARED; /* once more when the host has recovered */
  } else {
    fail(reload);
  }
}

/** Recovery closes log and store; it waits for this, and this for it. */
static void try_decide(struct reload *reload) {
  struct host *host = reload->host;
  if (host_phase(host) != HOST_RUNNING || atomic_load(&host->failing)) return;
  host->deciding = true;
  reload->step = STEP_DECIDING;
  start_job(reload, decide, decided);
}

static void prepared(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  if (reload->stopping && attempt->status == 0 && !attempt->unchanged)
    attempt->status = error_set(&attempt->err, ERROR_UNAVAILABLE, "the host is stopping");
  if (attempt->status) {
    fail(reload);
  } else if (attempt->unchanged || attempt->requests->dry_run) {
    if (attempt->unchanged && attempt->read && !attempt->known) note_success(reload);
    answer_all(reload, attempt->unchanged ? "unchanged" : "checked");
    discard(reload);
    attempt_end(reload);
    try_next(reload);
  } else {
    reload->step = STEP_PREPARED;
    try_decide(reload);
  }
}

static bool asks_for_files(const struct request *request) {
  return request->cause == GENERATION_WATCH || request->cause == GENERATION_COMMAND;
}

/** Take the first request, and all that the same reading of the files answers. A command among them makes the
 * whole one by command. */
static void take_requests(struct reload *reload) {
  struct request *first = reload->waiting;
  reload->waiting = first->next;
  first->next = NULL;
  struct request **end = &first->next;
  for (struct request **at = &reload->waiting; asks_for_files(first) && !first->dry_run && *at;) {
    struct request *request = *at;
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
  reload->attempt = (struct attempt){.requests = first, .began = clock_mono_us()};
}

static void try_next(struct reload *reload) {
  if (reload->step != STEP_IDLE || !reload->waiting) return;
  take_requests(reload);
  reload->step = STEP_PREPARING;
  start_job(reload, prepare, prepared);
}

void reload_tick(struct host *host) {
  struct reload *reload = host->reload;
  if (reload->step == STEP_PREPARED) try_decide(reload);
}

/* ---- asking ---- */

static void ask(struct reload *reload, const struct request *request) {
  struct request *copy = memory_alloc(sizeof *copy);
  *copy = *request;
  *reload->waiting_end = copy;
  reload->waiting_end = &copy->next;
  try_next(reload);
}

static uint64_t fingerprint(void *context) {
  const struct config *config = ((struct reload *)context)->host->config;
  return ruleset_fingerprint(config->rules_dir) + canary_specs(config);
}

static void look(void *context) {
  struct reload *reload = context;
  if (reload->stopping) return;
  for (const struct request *request = reload->waiting; request; request = request->next)
    if (asks_for_files(request) && !request->dry_run) return; /* it has not read them yet */
  ask(reload, &(struct request){.cause = GENERATION_WATCH});
}

static void list_failures(const struct reload *reload, struct buf *out) {
  uint32_t count = reload->failure_count < FAILURES_KEPT ? reload->failure_count : FAILURES_KEPT;
  value_put_array(out, count);
  for (uint32_t i = 0; i < count; i++) {
    const struct buf *row = &reload->failures[(reload->failure_count - 1 - i) % FAILURES_KEPT];
    buf_append(out, row->data, row->len);
  }
}

struct listing {
  uv_work_t work;
  struct reload *reload;
  struct host_command *command;
  uint32_t newest, most;
  struct buf rows;
};

static void list_work(uv_work_t *work) {
  struct listing *listing = work->data;
  listing->command->status = generation_list(listing->reload->host->shared.store, listing->newest,
                                             listing->most, &listing->rows, &listing->command->err);
}

static void list_worked(uv_work_t *work, int status) {
  struct listing *listing = work->data;
  struct host_command *command = listing->command;
  (void)status;
  if (command->status == 0) {
    value_put_map(&command->result, 3);
    value_put_member_integer(&command->result, "serving", listing->newest);
    value_put_string(&command->result, STR("generations"));
    buf_append(&command->result, listing->rows.data, listing->rows.len);
    value_put_string(&command->result, STR("failed"));
    list_failures(listing->reload, &command->result);
  }
  buf_deinit(&listing->rows);
  memory_free(listing);
  command->done(command);
}

static void list(struct reload *reload, struct host_command *command) {
  struct listing *listing = memory_zalloc(sizeof *listing);
  *listing = (struct listing){.reload = reload,
                              .command = command,
                              .newest = reload->serving->facts.number,
                              .most = str_equal(command->text, STR("all")) ? UINT32_MAX : LISTED};
  buf_init(&listing->rows);
  listing->work.data = listing;
  uv_queue_work(reload->host->loop, &listing->work, list_work, list_worked);
}

static char *copy_of(struct str text) {
  return text.len ? memory_dup(text.data, text.len) : NULL;
}

/** A refusal that does not come within the call. */
struct refusal {
  struct mail mail;
  struct host_command *command;
};

static void refuse_mail(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct host_command *command = ((struct refusal *)mail)->command;
  memory_free(mail);
  command->done(command);
}

static void refuse(struct reload *reload, struct host_command *command, int status) {
  struct refusal *refusal = memory_zalloc(sizeof *refusal);
  command->status = status;
  refusal->mail.run = refuse_mail;
  refusal->command = command;
  mailbox_send(reload->host->mailbox, &refusal->mail);
}

static int read_number(struct str text, uint32_t *out, struct error *err) {
  uint64_t number = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] < '0' || text.data[i] > '9' || number > UINT32_MAX / 10)
      return error_set(err, ERROR_INVALID,
                       "\"%.*s\" is no generation's number; `kairos generations` lists them", STR_ARG(text));
    number = number * 10 + (uint64_t)(text.data[i] - '0');
  }
  *out = (uint32_t)number;
  return 0;
}

void reload_command(struct host *host, struct host_command *command) {
  struct reload *reload = host->reload;
  struct request request = {.command = command, .by = copy_of(command->user)};
  int rc = 0;
  switch (command->type) {
  case HOST_GENERATIONS:
    memory_free(request.by);
    list(reload, command);
    return;
  case HOST_RELOAD:
    request.cause = GENERATION_COMMAND;
    request.dry_run = str_equal(command->text, STR("dry-run"));
    break;
  case HOST_ROLLBACK:
    request.cause = GENERATION_ROLLBACK;
    rc = read_number(command->id, &request.target, &command->err);
    break;
  default:
    request.cause = command->type == HOST_PAUSE_CAMPAIGN ? GENERATION_PAUSE : GENERATION_RESUME;
    request.campaign = copy_of(command->id);
    request.reason = copy_of(command->text);
    break;
  }
  if (rc == 0 && reload->stopping) rc = error_set(&command->err, ERROR_UNAVAILABLE, "the host is stopping");
  if (rc) {
    memory_free(request.by);
    memory_free(request.campaign);
    memory_free(request.reason);
    refuse(reload, command, rc);
    return;
  }
  ask(reload, &request);
}

void reload_describe(const struct host *host, struct buf *out) {
  const struct reload *reload = host->reload;
  const struct generation_facts *facts = &reload->serving->facts;
  value_put_string(out, STR("rules"));
  value_put_map(out, reload->failed ? 6 : 5);
  value_put_member_integer(out, "generation", facts->number);
  value_put_member_text(out, "cause", str_from(generation_cause_name(facts->cause)));
  value_put_member_integer(out, "at", facts->at);
  value_put_member_integer(out, "restores", facts->restores);
  bool aside = !hash128_equal(facts->files, facts->sources);
  value_put_member_text(out, "files",
                        reload->failed ? STR("do not serve")
                        : aside        ? STR("set aside by a rollback")
                                       : STR("serve"));
  if (reload->failed) value_put_member_text(out, "error", str_from(reload->failed_reason));
}

/* ---- start and end ---- */

/** What served last, as it was decided. */
static int load_last(struct reload *reload, uint32_t number, struct error *err) {
  struct host *host = reload->host;
  struct generation_facts facts;
  struct ruleset *sources;
  struct buf bytes;
  buf_init(&bytes);
  int rc = generation_facts_load(host->shared.store, number, &bytes, &facts, err);
  if (rc == 0) rc = generation_sources_load(host->shared.store, facts.sources, &sources, err);
  if (rc == 0) reload->serving = generation_new(&facts, sources, host->shared.worker_count);
  if (rc) error_prefix(err, "what generation %u was cannot be read: ", number);
  buf_deinit(&bytes);
  return rc;
}

static int build_all(struct reload *reload, struct generation *generation, struct error *err) {
  struct host *host = reload->host;
  int rc = 0;
  for (uint32_t i = 0; rc == 0 && i < host->shared.worker_count; i++)
    rc = generation_build(generation, host->config, host->shared.workers[i], i, err);
  return rc;
}

static void prepare_files(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  attempt->requests = memory_zalloc(sizeof *attempt->requests);
  attempt->requests->cause = GENERATION_START;
  attempt->began = clock_mono_us();
  prepare(reload);
}

static int decide_files(struct reload *reload) {
  struct attempt *attempt = &reload->attempt;
  int rc = generation_store(attempt->candidate, reload->host->shared.store, &attempt->err);
  if (rc == 0) rc = fault(FAILPOINT("generation.stored"), &attempt->err);
  if (rc == 0) rc = generation_decide(attempt->candidate, &reload->host->shared, &attempt->err);
  if (rc == 0) (void)FAILPOINT("generation.durable");
  attempt->status = rc;
  return rc;
}

/** The files do not serve, and what served last does: a host that starts again with a half-saved file must
 * serve. */
static int fall_back(struct reload *reload, struct error *err) {
  struct attempt *attempt = &reload->attempt;
  note_failure(reload);
  int rc = build_all(reload, reload->serving, err);
  if (rc) {
    error_set(err, rc, "%s; and what served last does not load either: %.400s", attempt->err.message,
              err->message);
    return rc;
  }
  LOG_ERROR("rules", "the rules on disk do not serve; those that served last do",
            LOG_INT("generation", reload->serving->facts.number), LOG_TEXT("error", attempt->err.message));
  return 0;
}

int reload_begin(struct host *host, struct error *err) {
  struct reload *reload = host->reload = memory_zalloc(sizeof *reload);
  struct attempt *attempt = &reload->attempt;
  uint32_t last = host->shared.generation; /* as recovery found it */
  reload->host = host;
  reload->waiting_end = &reload->waiting;
  reload->failed_gauge =
      metric_gauge("kairos_reload_failed", "1 while the rules on disk are not those that serve.", NULL);
  uv_sem_init(&reload->ready, 0);
  uv_thread_create(&reload->thread, build_main, reload);
  uv_sem_wait(&reload->ready);
  struct error lost;
  if (last && load_last(reload, last, &lost))
    LOG_WARN("rules", "the rules on disk become a new generation", LOG_TEXT("because", lost.message));
  prepare_files(reload);
  int rc = attempt->status;
  if (rc && reload->serving) {
    discard(reload);
    rc = fall_back(reload, err);
  } else if (rc == 0 && attempt->unchanged) {
    rc = build_all(reload, reload->serving, err);
  } else if (rc || (rc = decide_files(reload))) {
    *err = attempt->err;
  } else {
    generation_free(reload->serving);
    reload->serving = attempt->candidate;
    attempt->candidate = NULL;
    host->shared.generation = reload->serving->facts.number;
  }
  discard(reload);
  attempt_end(reload);
  for (uint32_t i = 0; rc == 0 && i < host->shared.worker_count; i++)
    worker_load(host->shared.workers[i], &reload->serving->workers[i]);
  return rc;
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
  watch_close(reload->watch);
  reload->watch = NULL;
  struct error err;
  error_set(&err, ERROR_UNAVAILABLE, "the host is stopping");
  while (reload->waiting) {
    struct request *request = reload->waiting;
    reload->waiting = request->next;
    answer(request, ERROR_UNAVAILABLE, &err, STR(""));
    request_free(request);
  }
  reload->waiting_end = &reload->waiting;
  if (reload->step != STEP_PREPARED) return;
  reload->attempt.status = ERROR_UNAVAILABLE;
  reload->attempt.err = err;
  fail(reload);
}

bool reload_idle(const struct host *host) {
  return !host->reload || host->reload->step == STEP_IDLE;
}

void reload_join(struct host *host) {
  struct reload *reload = host->reload;
  if (!reload) return;
  reload->stopping = true;
  reload->end.run = build_end;
  mailbox_send(reload->mailbox, &reload->end);
  uv_thread_join(&reload->thread);
}

void reload_free(struct host *host) {
  struct reload *reload = host->reload;
  if (!reload) return;
  discard(reload);
  attempt_end(reload);
  generation_free(reload->serving);
  uv_sem_destroy(&reload->ready);
  for (int i = 0; i < FAILURES_KEPT; i++) buf_deinit(&reload->failures[i]);
  memory_free(reload->failed_reason);
  memory_free(reload);
  host->reload = NULL;
}

const struct generation *reload_serving(const struct host *host) {
  return host->reload->serving;
}

struct ruleset *reload_sources(const struct host *host) {
  return host->reload->serving->ruleset;
}
