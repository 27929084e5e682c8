/* The first generation of a run: the one that served last, or what the files have become. */
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "host/fill.h"
#include "host/reload_internal.h"

/** What served last, as it was decided. */
static int load_last(struct reload *reload, uint32_t number, struct error *err) {
  struct host *host = reload->host;
  struct generation_facts facts;
  struct buf bytes;
  buf_init(&bytes);
  int rc = generation_facts_load(host->shared.store, number, &bytes, &facts, err);
  if (rc == 0)
    rc = generation_load(&reload->serving, &facts, host->shared.store, host->shared.worker_count, err);
  if (rc) error_prefix(err, "what generation %u was cannot be read: ", number);
  buf_deinit(&bytes);
  return rc;
}

static int build_all(struct reload *reload, struct generation *generation, struct error *err) {
  int rc = 0;
  for (uint32_t i = 0; rc == 0 && i < reload->host->shared.worker_count; i++)
    rc = reload_build_rules(reload, generation, i, err);
  return rc;
}

static void prepare_files(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  attempt->requests = memory_zalloc(sizeof *attempt->requests);
  attempt->requests->cause = GENERATION_START;
  attempt->began = clock_mono_us();
  buf_append(&attempt->filled, reload->filled.data, reload->filled.len);
  reload_prepare(reload);
}

/** The files do not serve, and what served last does: a host that starts again with a half-saved file must
 * serve. */
static int fall_back(struct reload *reload, struct error *err) {
  struct reload_attempt *attempt = &reload->attempt;
  reload_note_failure(reload);
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
  struct reload_attempt *attempt = &reload->attempt;
  uint32_t last = host->shared.generation; /* as recovery found it */
  reload->host = host;
  reload->waiting_end = &reload->waiting;
  reload->failed_gauge =
      metric_gauge("kairos_reload_failed", "1 while the rules on disk are not those that serve.", NULL);
  uv_sem_init(&reload->ready, 0);
  uv_thread_create(&reload->thread, reload_build_main, reload);
  uv_sem_wait(&reload->ready);
  struct error lost;
  if (last && load_last(reload, last, &lost))
    LOG_WARN("rules", "the rules on disk become a new generation", LOG_TEXT("because", lost.message));
  buf_init(&reload->filled);
  buf_init(&reload->reviewed);
  reload->fill_was.log_begins = INT64_MAX;
  if (fill_load_done(host->shared.store, &reload->filled, &lost))
    LOG_WARN("fill", "windows are filled once more", LOG_TEXT("because", lost.message));
  prepare_files(reload);
  int rc = attempt->status;
  if (rc && reload->serving) {
    reload_discard(reload);
    rc = fall_back(reload, err);
  } else if (rc == 0 && attempt->unchanged) {
    rc = build_all(reload, reload->serving, err);
  } else if (rc || (reload_decide(reload), rc = attempt->status)) {
    *err = attempt->err;
  } else {
    generation_free(reload->serving);
    reload->serving = attempt->candidate;
    attempt->candidate = NULL;
    host->shared.generation = reload->serving->facts.number;
  }
  reload_discard(reload);
  reload_attempt_end(reload);
  for (uint32_t i = 0; rc == 0 && i < host->shared.worker_count; i++)
    worker_load(host->shared.workers[i], &reload->serving->workers[i]);
  return rc;
}
