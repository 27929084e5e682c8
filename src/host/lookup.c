#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "deliver/http_memory.h"
#include "host/lookup_internal.h"
#include "host/worker.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>

enum { CONNECTIONS_SPARE = 4, ROUNDS_MAX = 16 };

/* ---- what is asked ---- */

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
  while (!cancelled && reader_left(&reader) && !reader.bad) lookup_job_begin(asks->lookup, &reader, now);
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

void lookup_unadmit(struct lookup *lookup, uint32_t count) {
  atomic_fetch_sub_explicit(&lookup->waiting, count, memory_order_relaxed);
}

/* ---- a turn of the thread ---- */

void lookup_home(struct lookup *lookup, struct mail *mail) {
  mailbox_send(lookup->mailbox, mail);
}

void lookup_came_home(struct lookup *lookup) {
  lookup->handed--;
}

static void on_wake(uv_timer_t *timer) {
  (void)timer; // the turn does the rest
}

/** @return whether any request had ended. */
static bool collect(struct lookup *lookup) {
  struct http_transfer *transfer;
  bool any = false;
  while ((transfer = http_collect(lookup->http))) {
    lookup_collect(lookup, transfer);
    any = true;
  }
  return any;
}

static void on_turn(uv_prepare_t *prepare) {
  struct lookup *lookup = prepare->data;
  struct heap_item *first;
  int64_t now, wake;
  bool more;
  int rounds = 0;
  collect(lookup);
  do {
    wake = INT64_MAX;
    now = clock_mono_us();
    while ((first = heap_first(&lookup->deadlines)) && first->key <= now)
      lookup_late(lookup, CONTAINER_OF(first, struct fetch, deadline));
    if (first) wake = first->key;
    for (uint32_t i = 0; i < lookup->config->lookup_count; i++) {
      int64_t again = lookup_go_on(lookup, &lookup->sources[i], now);
      if (again < wake) wake = again;
    }
    http_kick(lookup->http);
    // A server as near as this machine may have answered already, and nothing else would tell of it.
    more = collect(lookup);
  } while (more && ++rounds < ROUNDS_MAX);
  if (more) wake = now;
  lookup_hand_over(lookup);
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

static void run_stop(struct lookup *lookup, struct buf *out) {
  (void)out;
  lookup->stopped = true;
  lookup_forget(lookup);
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
