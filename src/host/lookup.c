#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "deliver/http_memory.h"
#include "host/lookup_internal.h"
#include "host/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

enum { CONNECTIONS_SPARE = 4 };

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

static void fetch_late(struct lookup *lookup, struct fetch *fetch) {
  struct str why = STR("there was no answer in time");
  if (fetch->transfer) {
    fetch_leave(lookup, fetch, BREAKER_BAD);
  } else {
    list_remove(&fetch->source->queue, &fetch->queued);
    why = STR("it waited for its turn at the server until its time was over");
  }
  fetch_end(lookup, fetch, LOOKUP_TIMEOUT, why, STR(""));
}

static void collect(struct lookup *lookup, struct http_transfer *transfer) {
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

/** Begin what may begin. @return when more may, monotonic us. */
static int64_t source_go_on(struct lookup *lookup, struct source *source, int64_t now) {
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

static void job_begin(struct lookup *lookup, struct reader *reader, int64_t now) {
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

struct ask_mail {
  struct mail mail;
  struct lookup *lookup;
  size_t len;
  char bytes[];
};

static void ask_run(struct mail *mail, bool cancelled) {
  struct ask_mail *asks = (struct ask_mail *)mail;
  struct reader reader = reader_of((struct str){asks->bytes, asks->len});
  int64_t now = clock_mono_us();
  while (!cancelled && reader_left(&reader) && !reader.bad) job_begin(asks->lookup, &reader, now);
  memory_free(asks);
}

void lookup_ask(struct lookup *lookup, struct str asks) {
  struct ask_mail *mail = memory_alloc(sizeof *mail + asks.len);
  mail->mail.run = ask_run;
  mail->lookup = lookup;
  mail->len = asks.len;
  memcpy(mail->bytes, asks.data, asks.len);
  mailbox_send(lookup->mailbox, &mail->mail);
}

void lookup_put(struct entity entity, const struct timer *timer, int64_t left, struct buf *asks) {
  buf_put_u8(asks, (uint8_t)entity.kind);
  buf_put_str(asks, entity.id);
  buf_put_str(asks, timer->campaign);
  buf_put_str(asks, timer->name);
  buf_put_zigzag(asks, left);
  buf_put_str(asks, timer->data);
}

bool lookup_admit(struct lookup *lookup) {
  uint32_t before = atomic_fetch_add_explicit(&lookup->waiting, 1, memory_order_relaxed);
  if (before < lookup->config->needs.waiting) return true;
  atomic_fetch_sub_explicit(&lookup->waiting, 1, memory_order_relaxed);
  return false;
}

/* ---- a turn of the thread ---- */

/** Hand over what is complete, some at a time: the workers log whole answers. */
static void hand_over(struct lookup *lookup) {
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

void lookup_home(struct lookup *lookup, struct mail *mail) {
  mailbox_send(lookup->mailbox, mail);
}

void lookup_came_home(struct lookup *lookup) {
  lookup->handed--;
}

static void on_wake(uv_timer_t *timer) {
  (void)timer; // the turn does the rest
}

static void on_turn(uv_prepare_t *prepare) {
  struct lookup *lookup = prepare->data;
  struct http_transfer *transfer;
  struct heap_item *first;
  while ((transfer = http_collect(lookup->http))) collect(lookup, transfer);
  int64_t now = clock_mono_us(), wake = INT64_MAX;
  while ((first = heap_first(&lookup->deadlines)) && first->key <= now)
    fetch_late(lookup, CONTAINER_OF(first, struct fetch, deadline));
  if (first) wake = first->key;
  for (uint32_t i = 0; i < lookup->config->lookup_count; i++) {
    int64_t again = source_go_on(lookup, &lookup->sources[i], now);
    if (again < wake) wake = again;
  }
  http_kick(lookup->http);
  hand_over(lookup);
  metric_set(lookup->waiting_gauge, atomic_load_explicit(&lookup->waiting, memory_order_relaxed));
  metric_set(lookup->cache_gauge, (int64_t)lookup->cache.bytes);
  if (wake == INT64_MAX) {
    uv_timer_stop(&lookup->wake);
  } else {
    uv_update_time(&lookup->loop);
    uv_timer_start(&lookup->wake, on_wake, wake > now ? (uint64_t)((wake - now + 999) / 1000) : 0, 0);
  }
}

/* ---- calls that wait ---- */

struct call {
  struct mail mail;
  struct lookup *lookup;
  void (*run)(struct lookup *lookup, struct buf *out);
  struct buf *out;
  uv_sem_t done;
};

static void call_run(struct mail *mail, bool cancelled) {
  struct call *call = (struct call *)mail;
  if (!cancelled) call->run(call->lookup, call->out);
  uv_sem_post(&call->done);
}

static void call(struct lookup *lookup, void (*run)(struct lookup *lookup, struct buf *out),
                 struct buf *out) {
  struct call call = {.mail.run = call_run, .lookup = lookup, .run = run, .out = out};
  uv_sem_init(&call.done, 0);
  mailbox_send(lookup->mailbox, &call.mail);
  uv_sem_wait(&call.done);
  uv_sem_destroy(&call.done);
}

static void run_describe(struct lookup *lookup, struct buf *out) {
  value_put_map(out, lookup->config->lookup_count);
  for (uint32_t i = 0; i < lookup->config->lookup_count; i++) {
    const struct source *source = &lookup->sources[i];
    value_put_string(out, str_from(source->config->name));
    value_put_map(out, 7);
    value_put_member_integer(out, "waiting", (int64_t)source->queue.count);
    value_put_member_integer(out, "in_flight", source->running);
    value_put_member_text(out, "breaker", str_from(breaker_names[source->breaker.state]));
    value_put_member_integer(out, "asked", (int64_t)source->asked);
    value_put_member_integer(out, "answered", (int64_t)source->answered);
    value_put_member_integer(out, "cached", (int64_t)source->cached);
    value_put_member_integer(out, "failed", (int64_t)source->failed);
  }
}

void lookup_describe(struct lookup *lookup, struct buf *out) {
  if (lookup)
    call(lookup, run_describe, out);
  else
    value_put_map(out, 0);
}

static void forget_jobs(struct lookup *lookup, struct list *jobs) {
  while (jobs->first) {
    struct job *job = CONTAINER_OF(jobs->first, struct job, place);
    list_remove(jobs, &job->place);
    job_free(lookup, job);
  }
}

static void run_stop(struct lookup *lookup, struct buf *out) {
  struct heap_item *first;
  (void)out;
  lookup->stopped = true;
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

void lookup_stop(struct lookup *lookup) {
  if (lookup) call(lookup, run_stop, NULL);
}

/* ---- the thread ---- */

static void source_init(struct source *source, const struct config_lookup *config, uint32_t index) {
  char labels[128];
  source->config = config;
  source->index = index;
  // All that the transport asks of an account. Time is over when the deadline says so.
  source->account = (struct config_provider){
      .name = config->name, .ca_file = config->ca_file, .timeout = 2 * CONFIG_LOOKUP_TIMEOUT_MAX};
  source->http = (struct http_account){.config = &source->account, .may_resend = true};
  source->breaker =
      (struct breaker){.threshold = config->breaker_failures, .open_us = config->breaker_open * 1000};
  buf_init(&source->headers);
  value_put_map(&source->headers, config->secret.value ? 2 : 1);
  value_put_member_text(&source->headers, "Accept", STR("application/json"));
  if (config->secret.value) {
    struct buf value;
    buf_init(&value);
    buf_printf(&value, "%s%s", strcasecmp(config->header, "authorization") == 0 ? "Bearer " : "",
               config->secret.value);
    value_put_member_text(&source->headers, config->header, buf_str(&value));
    explicit_bzero(value.data, value.len);
    buf_deinit(&value);
  }
  const char *help = "Look-ups by how they ended; cached: without a request.";
  for (int reason = 0; reason < LOOKUP_REASONS; reason++) {
    snprintf(labels, sizeof labels, "source=\"%.64s\",outcome=\"%s\"", config->name,
             reason == LOOKUP_ANSWERED ? "answered" : lookup_reason_names[reason]);
    bool ends_fetch = reason == LOOKUP_ANSWERED ||
                      (reason >= LOOKUP_TIMEOUT && reason != LOOKUP_MISMATCH && reason != LOOKUP_NOT_ASKED);
    if (ends_fetch) source->outcomes[reason] = metric_counter("kairos_lookups_total", help, labels);
  }
  snprintf(labels, sizeof labels, "source=\"%.64s\",outcome=\"cached\"", config->name);
  source->cached_metric = metric_counter("kairos_lookups_total", help, labels);
  snprintf(labels, sizeof labels, "source=\"%.64s\"", config->name);
  source->seconds =
      metric_histogram("kairos_lookup_seconds", "Time of one request to a look-up server.", labels);
  source->breaker_gauge = metric_gauge(
      "kairos_lookup_breaker", "The look-up server's breaker: 0 closed, 1 half open, 2 open.", labels);
}

/** A thread that is about to begin, or to end. */
struct thread {
  struct lookup *lookup;
  struct error *err;
  int status;
  uv_sem_t ready;
};

static void set_up(struct lookup *lookup, struct thread *thread) {
  long connections = CONNECTIONS_SPARE;
  uv_loop_init(&lookup->loop);
  uv_prepare_init(&lookup->loop, &lookup->prepare);
  lookup->prepare.data = lookup;
  uv_timer_init(&lookup->loop, &lookup->wake);
  lookup->mailbox = mailbox_new(&lookup->loop, "lookup");
  for (uint32_t i = 0; i < lookup->config->lookup_count; i++)
    connections += lookup->config->lookups[i].concurrency;
  thread->status = http_new(&lookup->http, &lookup->loop, connections, thread->err);
  if (thread->status == 0) uv_prepare_start(&lookup->prepare, on_turn);
}

static void run_quit(struct lookup *lookup, struct buf *out) {
  (void)out;
  uv_stop(&lookup->loop);
}

static void thread_main(void *argument) {
  struct thread *thread = argument;
  struct lookup *lookup = thread->lookup;
  pthread_setname_np(pthread_self(), "kairos-lookup");
  http_memory_keep(true);
  set_up(lookup, thread);
  bool good = thread->status == 0;
  uv_sem_post(&thread->ready); // `thread` is gone from here on
  if (good) uv_run(&lookup->loop, UV_RUN_DEFAULT);
  mailbox_free(lookup->mailbox);
  uv_prepare_stop(&lookup->prepare);
  uv_close((uv_handle_t *)&lookup->prepare, NULL);
  uv_close((uv_handle_t *)&lookup->wake, NULL);
  if (lookup->http) http_close(lookup->http);
  uv_run(&lookup->loop, UV_RUN_DEFAULT);
  if (lookup->http) http_free(lookup->http);
  uv_loop_close(&lookup->loop);
  http_memory_keep(false);
}

static void release(struct lookup *lookup) {
  for (uint32_t i = 0; i < lookup->config->lookup_count; i++) {
    struct buf *headers = &lookup->sources[i].headers;
    if (headers->data) explicit_bzero(headers->data, headers->len);
    buf_deinit(headers);
  }
  hash_table_deinit(&lookup->jobs);
  hash_table_deinit(&lookup->fetches);
  heap_deinit(&lookup->deadlines);
  lookup_cache_deinit(&lookup->cache);
  json_parser_free(lookup->json);
  buf_deinit(&lookup->value);
  memory_free(lookup->sources);
  memory_free(lookup);
}

int lookup_start(struct lookup **out, struct worker_shared *shared, struct error *err) {
  const struct config *config = shared->config;
  *out = NULL;
  if (!config->lookup_count) return 0;
  struct lookup *lookup = memory_zalloc(sizeof *lookup);
  lookup->shared = shared;
  lookup->config = config;
  lookup->sources = memory_zalloc(config->lookup_count * sizeof *lookup->sources);
  for (uint32_t i = 0; i < config->lookup_count; i++)
    source_init(&lookup->sources[i], &config->lookups[i], i);
  hash_table_init(&lookup->jobs);
  hash_table_init(&lookup->fetches);
  lookup_cache_init(&lookup->cache, config->needs.cache_memory);
  lookup->json = json_parser_new();
  buf_init(&lookup->value);
  lookup->waiting_gauge =
      metric_gauge("kairos_needs_waiting", "Rules' look-ups that wait for an answer.", NULL);
  lookup->cache_gauge = metric_gauge("kairos_lookup_cache_bytes", "Memory of look-up answers kept.", NULL);
  struct thread thread = {.lookup = lookup, .err = err};
  sigset_t all, before; // signals are the main thread's
  sigfillset(&all);
  uv_sem_init(&thread.ready, 0);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int refused = uv_thread_create(&lookup->thread, thread_main, &thread);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (refused) {
    thread.status = error_set(err, ERROR_IO, "no thread for look-ups: %s", uv_strerror(refused));
  } else {
    uv_sem_wait(&thread.ready);
    if (thread.status) uv_thread_join(&lookup->thread);
  }
  uv_sem_destroy(&thread.ready);
  if (thread.status)
    release(lookup);
  else
    *out = lookup;
  return thread.status;
}

void lookup_free(struct lookup *lookup) {
  if (!lookup) return;
  lookup_stop(lookup);
  call(lookup, run_quit, NULL);
  uv_thread_join(&lookup->thread);
  release(lookup);
}
