/* Look-ups: jobs, the timers in users' records that wait; and requests, one a server and path for whoever
 * wants it. */
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "host/lookup_internal.h"

#include <stdio.h>

/* ---- what waits: a job a timer, with what it wants ---- */

static uint64_t job_hash(struct entity entity, struct str campaign, struct str name) {
  return hash64(name, hash64(campaign, hash64(entity.id, entity.kind)));
}

static bool job_known(const struct lookup *lookup, struct entity entity, struct str campaign,
                      struct str name) {
  struct hashed *item = hash_table_find(&lookup->jobs, job_hash(entity, campaign, name));
  for (; item; item = hash_table_next(item)) {
    const struct job *job = CONTAINER_OF(item, struct job, by_timer);
    if (entity_equal(job->entity, entity) && str_equal(job->campaign, campaign) && str_equal(job->name, name))
      return true;
  }
  return false;
}

static struct str keep(char **at, struct str text) {
  struct str kept = {*at, text.len};
  if (text.len) memcpy(*at, text.data, text.len);
  *at += text.len;
  return kept;
}

static struct job *job_new(struct lookup *lookup, struct entity entity, struct str campaign, struct str name,
                           const struct lookup_ask *asks, uint32_t count) {
  size_t texts = entity.id.len + campaign.len + name.len;
  for (uint32_t i = 0; i < count; i++) texts += asks[i].name.len;
  struct job *job = memory_zalloc(sizeof *job + texts);
  char *at = job->texts;
  job->entity = (struct entity){entity.kind, keep(&at, entity.id)};
  job->campaign = keep(&at, campaign);
  job->name = keep(&at, name);
  job->count = job->open = count;
  for (uint32_t i = 0; i < count; i++) {
    job->wants[i].job = job;
    job->wants[i].name = keep(&at, asks[i].name);
  }
  hash_table_add(&lookup->jobs, &job->by_timer, job_hash(entity, campaign, name));
  list_append(&lookup->open, &job->place);
  return job;
}

/** It stands in no list. */
static void job_free(struct lookup *lookup, struct job *job) {
  hash_table_remove(&lookup->jobs, &job->by_timer);
  for (uint32_t i = 0; i < job->count; i++) lookup_answer_unref(job->wants[i].answer);
  memory_free(job);
  atomic_fetch_sub_explicit(&lookup->waiting, 1, memory_order_relaxed);
}

/** Takes over the reference. */
static void want_resolved(struct lookup *lookup, struct want *want, struct lookup_answer *answer,
                          bool cached) {
  struct job *job = want->job;
  want->answer = answer;
  want->cached = cached;
  if (--job->open) return;
  list_remove(&lookup->open, &job->place);
  list_append(&lookup->ready, &job->place);
}

/* ---- requests: one a server and path, whoever wants it ---- */

static uint64_t fetch_hash(const struct source *source, struct str path) {
  return hash64(path, source->index);
}

static struct fetch *fetch_find(const struct lookup *lookup, const struct source *source, struct str path) {
  struct hashed *item = hash_table_find(&lookup->fetches, fetch_hash(source, path));
  for (; item; item = hash_table_next(item)) {
    struct fetch *fetch = CONTAINER_OF(item, struct fetch, by_path);
    if (fetch->source == source && str_equal((struct str){fetch->path, fetch->path_len}, path)) return fetch;
  }
  return NULL;
}

static void fetch_deadline(struct lookup *lookup, struct fetch *fetch, int64_t deadline) {
  if (fetch->deadline.at) heap_remove(&lookup->deadlines, &fetch->deadline);
  heap_put(&lookup->deadlines, &fetch->deadline, deadline);
}

static struct fetch *fetch_new(struct lookup *lookup, struct source *source, struct str path) {
  struct fetch *fetch = memory_zalloc(sizeof *fetch + path.len);
  fetch->source = source;
  fetch->path_len = (uint32_t)path.len;
  memcpy(fetch->path, path.data, path.len);
  hash_table_add(&lookup->fetches, &fetch->by_path, fetch_hash(source, path));
  list_append(&source->queue, &fetch->queued);
  return fetch;
}

/** It stands in no list, its transfer is released. */
static void fetch_free(struct lookup *lookup, struct fetch *fetch) {
  hash_table_remove(&lookup->fetches, &fetch->by_path);
  if (fetch->deadline.at) heap_remove(&lookup->deadlines, &fetch->deadline);
  memory_free(fetch);
}

/** Tell all who wait for it. It stands in no list, its transfer is released. */
static void fetch_end(struct lookup *lookup, struct fetch *fetch, enum lookup_reason reason, struct str why,
                      struct str value) {
  struct source *source = fetch->source;
  struct lookup_answer *answer = lookup_answer_new(reason, why, value, clock_mono_us());
  // That a server could not be asked says nothing of this path.
  bool said = reason == LOOKUP_ANSWERED || reason == LOOKUP_STATUS || reason == LOOKUP_TOO_LARGE ||
              reason == LOOKUP_UNREADABLE;
  if (said && fetch->keep)
    lookup_cache_put(&lookup->cache, source->index, (struct str){fetch->path, fetch->path_len}, answer,
                     fetch->keep);
  for (struct want *want = fetch->wants, *next; want; want = next) {
    next = want->next;
    want_resolved(lookup, want, lookup_answer_ref(answer), false);
  }
  metric_add(source->outcomes[reason], 1);
  *(reason == LOOKUP_ANSWERED ? &source->answered : &source->failed) += 1;
  lookup_answer_unref(answer);
  fetch_free(lookup, fetch);
}

/** The transfer is over, or is broken off. */
static void fetch_leave(struct lookup *lookup, struct fetch *fetch, enum breaker_result result) {
  struct source *source = fetch->source;
  int64_t now = clock_mono_us();
  http_release(lookup->http, fetch->transfer);
  fetch->transfer = NULL;
  source->running--;
  metric_observe_us(source->seconds, now - fetch->began);
  breaker_end(&source->breaker, fetch->epoch, result, now, 0);
  if (source->breaker.state == source->shown) return;
  source->shown = source->breaker.state;
  metric_set(source->breaker_gauge, source->shown);
  LOG_WARN("lookup", "a look-up server's breaker changed", LOG_TEXT("server", source->config->name),
           LOG_TEXT("breaker", breaker_names[source->shown]));
}

void lookup_late(struct lookup *lookup, struct fetch *fetch) {
  struct str why = STR("there was no answer in time");
  if (fetch->transfer) {
    fetch_leave(lookup, fetch, BREAKER_BAD);
  } else {
    list_remove(&fetch->source->queue, &fetch->queued);
    why = STR("it waited for its turn at the server until its time was over");
  }
  fetch_end(lookup, fetch, LOOKUP_TIMEOUT, why, STR(""));
}

void lookup_collect(struct lookup *lookup, struct http_transfer *transfer) {
  struct fetch *fetch = transfer->owner;
  char why[160] = "";
  enum lookup_reason reason = LOOKUP_UNREACHABLE;
  enum breaker_result result = BREAKER_BAD;
  buf_clear(&lookup->value);
  if (transfer->end == HTTP_ANSWERED) {
    long status = transfer->response.status;
    if (status < 500 && status != 429) result = BREAKER_GOOD;
    reason = lookup_answer_read(lookup->json, &transfer->response, transfer->body_seen, &lookup->value, why,
                                sizeof why);
  } else {
    snprintf(why, sizeof why, "the server could not be asked: %.120s", transfer->detail);
  }
  fetch_leave(lookup, fetch, result);
  fetch_end(lookup, fetch, reason, str_from(why), buf_str(&lookup->value));
}

static int fetch_send(struct lookup *lookup, struct fetch *fetch, struct error *err) {
  struct source *source = fetch->source;
  struct http_transfer *transfer = http_acquire(lookup->http, &source->http);
  transfer->owner = fetch;
  buf_append(&transfer->request.url, source->config->url, strlen(source->config->url));
  buf_append(&transfer->request.url, fetch->path, fetch->path_len);
  buf_append(&transfer->request.headers, source->headers.data, source->headers.len);
  strcpy(transfer->request.method, "GET");
  int rc = http_send(lookup->http, transfer, STR(""), 0, err);
  if (rc) {
    http_release(lookup->http, transfer);
    return rc;
  }
  fetch->transfer = transfer;
  fetch->began = clock_mono_us();
  fetch->epoch = breaker_begin(&source->breaker);
  source->running++;
  source->asked++;
  (void)FAILPOINT("lookup.asked");
  return 0;
}

int64_t lookup_go_on(struct lookup *lookup, struct source *source, int64_t now) {
  const struct config_lookup *config = source->config;
  while (source->queue.first) {
    struct fetch *fetch = CONTAINER_OF(source->queue.first, struct fetch, queued);
    struct error err;
    int64_t when;
    if (!breaker_admit(&source->breaker, now, &when)) {
      list_remove(&source->queue, &fetch->queued);
      fetch_end(lookup, fetch, LOOKUP_BREAKER, STR("the server failed too often of late, and is left alone"),
                STR(""));
      continue;
    }
    if (source->running >= config->concurrency) return INT64_MAX;
    if (config->rate.count > 0) {
      if (source->next_at > now) return source->next_at;
      int64_t pace = (int64_t)((double)config->rate.over_ms * 1000 / config->rate.count);
      source->next_at = (source->next_at > now - pace ? source->next_at : now) + pace;
    }
    list_remove(&source->queue, &fetch->queued);
    if (fetch_send(lookup, fetch, &err))
      fetch_end(lookup, fetch, LOOKUP_UNREACHABLE, str_from(err.message), STR(""));
  }
  return INT64_MAX;
}

/* ---- what is asked ---- */

static struct source *source_of(struct lookup *lookup, struct str name) {
  for (uint32_t i = 0; i < lookup->config->lookup_count; i++)
    if (str_equal(name, str_from(lookup->config->lookups[i].name))) return &lookup->sources[i];
  return NULL;
}

static void want_begin(struct lookup *lookup, struct want *want, const struct lookup_ask *ask, int64_t left,
                       int64_t now) {
  struct source *source = source_of(lookup, ask->source);
  if (!source) {
    want_resolved(
        lookup, want,
        lookup_answer_new(LOOKUP_NOT_ASKED, STR("its server is not in the configuration"), STR(""), now),
        false);
    return;
  }
  struct lookup_answer *kept =
      ask->cache ? lookup_cache_find(&lookup->cache, source->index, ask->path, ask->cache, now) : NULL;
  if (kept) {
    source->cached++;
    metric_add(source->cached_metric, 1);
    want_resolved(lookup, want, lookup_answer_ref(kept), true);
    return;
  }
  struct fetch *fetch = fetch_find(lookup, source, ask->path);
  if (!fetch) fetch = fetch_new(lookup, source, ask->path);
  want->next = fetch->wants;
  fetch->wants = want;
  if (ask->cache > fetch->keep) fetch->keep = ask->cache;
  int64_t timeout = ask->timeout < left ? ask->timeout : left;
  if (!fetch->deadline.at || fetch->deadline.key < now + timeout * 1000)
    fetch_deadline(lookup, fetch, now + timeout * 1000);
}

void lookup_job_begin(struct lookup *lookup, struct reader *reader, int64_t now) {
  struct entity entity = {.kind = reader_u8(reader)};
  entity.id = reader_str(reader);
  struct str campaign = reader_str(reader), name = reader_str(reader);
  int64_t left = reader_zigzag(reader);
  struct str data = reader_str(reader);
  struct lookup_ask asks[WANTS_MAX];
  struct lookup_walk walk = {0};
  uint32_t count = 0;
  if (!lookup->stopped && !reader->bad && !job_known(lookup, entity, campaign, name))
    while (count < WANTS_MAX && lookup_ask_next(&walk, data, &asks[count])) count++;
  if (!count) { // known already, or nothing that can be told: its timer will
    atomic_fetch_sub_explicit(&lookup->waiting, 1, memory_order_relaxed);
    return;
  }
  struct job *job = job_new(lookup, entity, campaign, name, asks, count);
  for (uint32_t i = 0; i < count; i++) want_begin(lookup, &job->wants[i], &asks[i], left > 0 ? left : 0, now);
}

/* ---- what is complete ---- */

void lookup_hand_over(struct lookup *lookup) {
  while (lookup->handed < HANDED_MAX && lookup->ready.first) {
    struct job *job = CONTAINER_OF(lookup->ready.first, struct job, place);
    struct lookup_result results[WANTS_MAX];
    for (uint32_t i = 0; i < job->count; i++) {
      const struct lookup_answer *answer = job->wants[i].answer;
      results[i] = (struct lookup_result){job->wants[i].name, answer->reason, job->wants[i].cached,
                                          answer->why, answer->value};
    }
    list_remove(&lookup->ready, &job->place);
    lookup->handed++;
    lookup_input_post(lookup->shared, job->entity, job->campaign, job->name,
                      &(struct lookup_results){.items = results,
                                               .count = job->count,
                                               .reason = LOOKUP_NOT_ASKED,
                                               .why = STR("the rule had no such need when the event came")},
                      lookup);
    job_free(lookup, job);
  }
}

/* ---- the end ---- */

static void forget_jobs(struct lookup *lookup, struct list *jobs) {
  while (jobs->first) {
    struct job *job = CONTAINER_OF(jobs->first, struct job, place);
    list_remove(jobs, &job->place);
    job_free(lookup, job);
  }
}

void lookup_forget(struct lookup *lookup) {
  struct heap_item *first;
  while ((first = heap_first(&lookup->deadlines))) { // every request has one
    struct fetch *fetch = CONTAINER_OF(first, struct fetch, deadline);
    if (fetch->transfer) {
      http_release(lookup->http, fetch->transfer);
      fetch->source->running--;
    } else {
      list_remove(&fetch->source->queue, &fetch->queued);
    }
    fetch_free(lookup, fetch);
  }
  forget_jobs(lookup, &lookup->open);
  forget_jobs(lookup, &lookup->ready);
}
