#include "deliver/deliver_internal.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"
#include "deliver/http_memory.h"
#include "deliver/standard_webhooks.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>

enum {
  /** Attempts logged before a place is free, where sending twice would do no harm: so many for each place,
   * and so many at most. */
  AHEAD_PER_PLACE = 2,
  AHEAD_MAX = 128,
  CONNECTIONS_SPARE = 8,
  SETTLED_AT_ONCE = 64 /**< entries that ended wait for others so long, or for the next turn */
};

struct provider *deliver_provider(struct deliver *deliver, const struct entry *entry) {
  return entry->provider < 0 ? NULL : &deliver->providers[entry->provider];
}

void deliver_report_end(struct deliver *deliver) {
  deliver->reported = 0;
  if (deliver->port.outcomes_end) deliver->port.outcomes_end(deliver->port.context);
}

/* ---- calls that wait ---- */

void call_done(struct call *call) {
  deliver_report_end(call->deliver);
  uv_sem_post(&call->done);
}

static void run_call(struct mail *mail, bool cancelled) {
  struct call *call = (struct call *)mail;
  if (cancelled)
    call_done(call);
  else
    call->run(call);
}

/** Run on deliver's thread, and wait till it says call_done(). */
static int call(struct deliver *deliver, void (*run)(struct call *call), void *argument, int64_t number,
                struct error *err) {
  struct call call = {.mail.run = run_call,
                      .deliver = deliver,
                      .run = run,
                      .argument = argument,
                      .number = number,
                      .err = err};
  uv_sem_init(&call.done, 0);
  mailbox_send(deliver->mailbox, &call.mail);
  uv_sem_wait(&call.done);
  uv_sem_destroy(&call.done);
  return call.status;
}

/* ---- the thread ---- */

static void on_prepare(uv_prepare_t *prepare) {
  turn_run(prepare->data);
}

static void make_metrics(struct provider *provider) {
  char labels[128];
  const char *name = provider->account->name;
  for (int i = 1; i < OUTCOME_KINDS; i++) {
    snprintf(labels, sizeof labels, "provider=\"%.64s\",outcome=\"%s\"", name, outcome_kind_name(i));
    provider->outcomes[i] = metric_counter(
        "kairos_deliveries_total", "Messages by how an attempt, or the waiting for one, ended", labels);
  }
  snprintf(labels, sizeof labels, "provider=\"%.64s\"", name);
  provider->seconds =
      metric_histogram("kairos_delivery_seconds",
                       "From the decision, or the end of its deferral, to the provider's acceptance", labels);
  provider->waiting = metric_gauge("kairos_provider_waiting", "Messages waiting for the provider", labels);
  provider->in_flight = metric_gauge("kairos_provider_in_flight", "Requests under way", labels);
  provider->breaker = metric_gauge("kairos_provider_breaker",
                                   "The provider's breaker: 0 closed, 1 half open, 2 open", labels);
}

/** By which an operator's pause lasts through a restart. */
static void put_pause_key(struct buf *key, const char *provider) {
  buf_printf(key, "paused:%s", provider);
}

static bool was_paused(struct store *store, const char *provider) {
  struct buf key, value;
  buf_init(&key);
  buf_init(&value);
  put_pause_key(&key, provider);
  int rc = store_meta_get(store, buf_str(&key), &value, NULL);
  buf_deinit(&key);
  buf_deinit(&value);
  if (rc == 0)
    LOG_WARN("deliver", "a provider is paused, as an operator said: `kairos resume` lets its messages go",
             LOG_TEXT("provider", provider));
  return rc == 0;
}

static int make_provider(struct provider *provider, const struct config_provider *account, bool paused,
                         struct error *err) {
  provider->account = account;
  queue_init(&provider->queue, account);
  provider->queue.paused = paused;
  provider->http.config = account;
  make_metrics(provider);
  if (account->type != CONFIG_PROVIDER_WEBHOOK || !account->secret.value) return 0;
  int rc = webhook_signer_new(&provider->http.signer, account->secret.value, err);
  return rc ? error_prefix(err, "provider %s", account->name) : 0;
}

/** On the thread, before it begins. */
static void set_up(struct call *call) {
  struct deliver *deliver = call->deliver;
  long connections = CONNECTIONS_SPARE;
  struct buf directory = {0};
  uv_loop_init(&deliver->loop);
  uv_prepare_init(&deliver->loop, &deliver->prepare);
  deliver->prepare.data = deliver;
  uv_timer_init(&deliver->loop, &deliver->wake);
  deliver->mailbox = mailbox_new(&deliver->loop, "deliver");
  for (uint32_t i = 0; i < deliver->config->provider_count; i++)
    if (deliver->config->providers[i].type != CONFIG_PROVIDER_FILE)
      connections += deliver->config->providers[i].concurrency;
  call->status = http_new(&deliver->http, &deliver->loop, connections, call->err);
  buf_printf(&directory, "%s/messages", deliver->config->data_dir);
  buf_put_u8(&directory, 0);
  if (call->status == 0)
    call->status =
        files_new(&deliver->files, &deliver->loop, (char *)directory.data, attempt_file_done, call->err);
  buf_deinit(&directory);
  if (call->status == 0) uv_prepare_start(&deliver->prepare, on_prepare);
}

static void run_thread(void *argument) {
  struct call *call = argument;
  struct deliver *deliver = call->deliver;
  pthread_setname_np(pthread_self(), "kairos-deliver");
  thread_prompt();
  http_memory_keep(true);
  set_up(call);
  bool good = call->status == 0;
  call_done(call);
  if (good) uv_run(&deliver->loop, UV_RUN_DEFAULT);
  // On the thread that used them.
  if (deliver->scripted && deliver->scripts.free) deliver->scripts.free(deliver->scripts.context);
  mailbox_free(deliver->mailbox);
  deliver_settle(deliver, true);
  if (deliver->http) http_close(deliver->http);
  uv_prepare_stop(&deliver->prepare);
  uv_close((uv_handle_t *)&deliver->prepare, NULL);
  uv_close((uv_handle_t *)&deliver->wake, NULL);
  uv_run(&deliver->loop, UV_RUN_DEFAULT);
  if (deliver->http) http_free(deliver->http);
  files_free(deliver->files);
  uv_loop_close(&deliver->loop);
  http_memory_keep(false);
}

/** Signals are the main thread's. */
static int start_thread(struct deliver *deliver, struct error *err) {
  struct call call = {.deliver = deliver, .err = err};
  sigset_t all, before;
  sigfillset(&all);
  uv_sem_init(&call.done, 0);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int refused = uv_thread_create(&deliver->thread, run_thread, &call);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (refused) {
    uv_sem_destroy(&call.done);
    return error_set(err, ERROR_IO, "no thread for deliveries: %s", uv_strerror(refused));
  }
  uv_sem_wait(&call.done);
  uv_sem_destroy(&call.done);
  if (call.status) uv_thread_join(&deliver->thread);
  return call.status;
}

static void release(struct deliver *deliver) {
  for (uint32_t i = 0; i < deliver->config->provider_count && deliver->providers[i].account; i++) {
    queue_deinit(&deliver->providers[i].queue);
    webhook_signer_free(deliver->providers[i].http.signer);
  }
  while (deliver->free_batches) {
    struct attempt_batch *batch = deliver->free_batches;
    deliver->free_batches = batch->next;
    buf_deinit(&batch->log.bytes);
    memory_free(batch->entries);
    memory_free(batch);
  }
  while (deliver->free_attempts) {
    struct attempt *attempt = deliver->free_attempts;
    deliver->free_attempts = attempt->next;
    memory_free(attempt);
  }
  limits_deinit(&deliver->limits);
  outbox_deinit(&deliver->outbox);
  templates_free(deliver->templates);
  rendered_deinit(&deliver->rendered);
  buf_deinit(&deliver->scratch);
  buf_deinit(&deliver->writing_done);
  buf_deinit(&deliver->later.cursor);
  buf_deinit(&deliver->later.missed);
  memory_free(deliver->providers);
  memory_free(deliver);
}

int deliver_new(struct deliver **out, const struct config *config, struct store *store,
                const struct deliver_port *port, struct error *err) {
  static pthread_once_t curl_started = PTHREAD_ONCE_INIT;
  pthread_once(&curl_started, http_memory_start);
  *out = NULL;
  struct deliver *deliver = memory_zalloc(sizeof *deliver);
  deliver->config = config;
  deliver->store = store;
  deliver->port = *port;
  deliver->providers = memory_zalloc((config->provider_count + 1) * sizeof *deliver->providers);
  limits_init(&deliver->limits, clock_mono_us());
  outbox_init(&deliver->outbox);
  later_begin(deliver);
  deliver->deferred_gauge = metric_gauge(
      "kairos_deferred", "Messages that wait for quiet hours to end, or for a cap to have room", NULL);
  deliver->templates = templates_new(store);
  rendered_init(&deliver->rendered);
  deliver->flushes.last = &deliver->flushes.first;
  if (getrandom(&deliver->random, sizeof deliver->random, 0) != (ssize_t)sizeof deliver->random) abort();
  int rc = 0;
  for (uint32_t i = 0; i < config->provider_count && rc == 0; i++)
    rc = make_provider(&deliver->providers[i], &config->providers[i],
                       was_paused(store, config->providers[i].name) || config->delivery.paused, err);
  if (rc == 0) rc = start_thread(deliver, err);
  if (rc) {
    release(deliver);
    return rc;
  }
  *out = deliver;
  return 0;
}

/** What the mappings say of each provider. */
static int use_scripts(struct deliver *deliver, struct error *err) {
  if (deliver->scripted) return 0;
  int rc = deliver->port.scripts(deliver->port.context, &deliver->scripts, err);
  if (rc) return rc;
  deliver->scripted = true;
  for (uint32_t i = 0; i < deliver->config->provider_count; i++) {
    struct provider *provider = &deliver->providers[i];
    const struct config_provider *account = provider->account;
    provider->honours_keys = account->type == CONFIG_PROVIDER_FILE ||
                             deliver->scripts.honours_keys(deliver->scripts.context, account);
    provider->http.may_resend = provider->honours_keys;
    // A rate counts what leaves: nothing is taken before it can.
    if (provider->honours_keys && account->rate.count <= 0)
      provider->queue.ahead = account->concurrency < AHEAD_MAX / AHEAD_PER_PLACE
                                  ? AHEAD_PER_PLACE * account->concurrency
                                  : AHEAD_MAX;
  }
  return 0;
}

static void run_start(struct call *call) {
  struct deliver *deliver = call->deliver;
  call->status = use_scripts(deliver, call->err);
  if (call->status == 0) call->status = flush_load(deliver, call->err);
  if (call->status == 0) {
    deliver->log = call->argument;
    deliver->phase = PHASE_RUNNING;
    if (deliver->outbox.ids.count || deliver->later.count)
      LOG_INFO("deliver", "messages wait for their providers", LOG_INT("count", deliver->outbox.ids.count),
               LOG_INT("deferred", deliver->later.count));
  }
  call_done(call);
}

int deliver_start(struct deliver *deliver, struct log *log, struct error *err) {
  return call(deliver, run_start, log, 0, err);
}

static void run_reset(struct call *call) {
  struct deliver *deliver = call->deliver;
  deliver->phase = PHASE_IDLE;
  attempt_abort(deliver);
  if (!deliver->writing) flush_refuse(deliver);
  // The turn that finds nothing with log, store or files any more ends it.
  deliver->resetting = call;
}

void deliver_reset(struct deliver *deliver) {
  call(deliver, run_reset, NULL, 0, NULL);
}

static void run_stop(struct call *call) {
  struct deliver *deliver = call->deliver;
  if (deliver->phase == PHASE_IDLE || deliver->phase == PHASE_STOPPED) {
    deliver->phase = PHASE_STOPPED;
    call_done(call);
    return;
  }
  deliver->phase = PHASE_STOPPING;
  deliver->stop_at = clock_mono_us() + call->number * 1000;
  deliver->stopping = call;
}

void deliver_stop(struct deliver *deliver, int64_t grace_ms) {
  call(deliver, run_stop, NULL, grace_ms, NULL);
}

static void run_quit(struct call *call) {
  // A write to the store may still be answered.
  call->deliver->quitting = call;
}

void deliver_free(struct deliver *deliver) {
  if (!deliver) return;
  deliver_stop(deliver, 0);
  call(deliver, run_quit, NULL, 0, NULL);
  uv_thread_join(&deliver->thread);
  release(deliver);
}

/* ---- mail ---- */

struct add_mail {
  struct mail mail;
  struct deliver *deliver;
  size_t len;
  uint8_t bytes[];
};

static void run_add(struct mail *mail, bool cancelled) {
  struct add_mail *add = (struct add_mail *)mail;
  struct deliver *deliver = add->deliver;
  struct reader reader = reader_of((struct str){(const char *)add->bytes, add->len});
  // One of them may be a letter that was dead, and settled so before.
  deliver_settle(deliver, cancelled);
  while (!cancelled && reader_left(&reader) && !reader.bad) {
    struct str bytes = reader_bytes(&reader, reader_u32(&reader));
    struct message message;
    struct error err = {0};
    struct entry *entry = reader.bad ? NULL : outbox_add(&deliver->outbox, bytes, false, &message, &err);
    if (entry)
      turn_adopt(deliver, entry, &message);
    else if (err.code || reader.bad)
      LOG_ERROR("deliver", "a message that was handed over cannot be read", LOG_TEXT("error", err.message));
  }
  atomic_fetch_sub_explicit(&deliver->mailed_bytes, add->len, memory_order_relaxed);
  memory_free(add);
}

void deliver_add(struct deliver *deliver, struct str entries) {
  struct add_mail *add = memory_alloc(sizeof *add + entries.len);
  add->mail.run = run_add;
  add->deliver = deliver;
  add->len = entries.len;
  memcpy(add->bytes, entries.data, entries.len);
  atomic_fetch_add_explicit(&deliver->mailed_bytes, entries.len, memory_order_relaxed);
  mailbox_send(deliver->mailbox, &add->mail);
}

uint64_t deliver_waiting_bytes(struct deliver *deliver) {
  return atomic_load_explicit(&deliver->mailed_bytes, memory_order_relaxed) +
         atomic_load_explicit(&deliver->outbox_bytes, memory_order_relaxed);
}

void deliver_settle(struct deliver *deliver, bool cancelled) {
  if (!atomic_load_explicit(&deliver->settled, memory_order_relaxed)) return;
  atomic_store_explicit(&deliver->settled_count, 0, memory_order_relaxed);
  struct deliver_settled *newest = atomic_exchange_explicit(&deliver->settled, NULL, memory_order_acquire);
  struct deliver_settled *in_order = NULL;
  while (newest) {
    struct deliver_settled *older = newest->next;
    newest->next = in_order;
    in_order = newest;
    newest = older;
  }
  while (in_order) {
    struct deliver_settled *settled = in_order;
    in_order = settled->next;
    if (!cancelled) ending_settled(deliver, settled->message_id, settled->kind);
    settled->done(settled);
  }
}

static void run_nudge(struct mail *nudge, bool cancelled) {
  struct deliver *deliver = CONTAINER_OF(nudge, struct deliver, nudge);
  // Before the look, so that what comes after the look nudges again.
  atomic_exchange(&deliver->nudged, false);
  deliver_settle(deliver, cancelled);
}

/** Most only end an entry: the thread need not wake for that, it does so soon enough for other things, or for
 * many of them. */
void deliver_settled(struct deliver *deliver, struct deliver_settled *settled) {
  bool wake = settled->kind == OUTCOME_RETRY;
  struct deliver_settled *newest = atomic_load_explicit(&deliver->settled, memory_order_relaxed);
  do settled->next = newest;
  while (!atomic_compare_exchange_weak_explicit(&deliver->settled, &newest, settled, memory_order_release,
                                                memory_order_relaxed));
  wake |= atomic_fetch_add_explicit(&deliver->settled_count, 1, memory_order_relaxed) + 1 == SETTLED_AT_ONCE;
  if (!wake || atomic_exchange(&deliver->nudged, true)) return;
  deliver->nudge.run = run_nudge;
  mailbox_send(deliver->mailbox, &deliver->nudge);
}

struct suppressed_mail {
  struct mail mail;
  struct deliver *deliver;
  struct hash128 journey;
  struct buf bytes; /**< user's kind and id, channel, purpose, reason */
};

static void run_suppressed(struct mail *mail, bool cancelled) {
  struct suppressed_mail *suppressed = (struct suppressed_mail *)mail;
  struct deliver *deliver = suppressed->deliver;
  struct reader reader = reader_of(buf_str(&suppressed->bytes));
  struct entity user = {.kind = reader_u8(&reader)};
  user.id = reader_str(&reader);
  struct outbox_recall recall = {.journey = suppressed->journey};
  recall.channel = reader_str(&reader);
  recall.purpose = reader_str(&reader);
  struct str reason = reader_str(&reader);
  if (!cancelled) later_recall(deliver, user, &recall);
  struct entry *entry = cancelled ? NULL : outbox_of_user(&deliver->outbox, user, NULL);
  while (entry) {
    struct entry *next = outbox_of_user(&deliver->outbox, user, entry);
    struct message message = outbox_message(entry);
    if (outbox_concerns(&message, entry_sent(entry), &recall)) ending_cancel(deliver, entry, reason);
    entry = next;
  }
  buf_deinit(&suppressed->bytes);
  memory_free(suppressed);
}

static void recall(struct deliver *deliver, struct entity user, const struct outbox_recall *which,
                   struct str reason) {
  struct suppressed_mail *suppressed = memory_zalloc(sizeof *suppressed);
  suppressed->mail.run = run_suppressed;
  suppressed->deliver = deliver;
  suppressed->journey = which->journey;
  buf_put_u8(&suppressed->bytes, (uint8_t)user.kind);
  buf_put_str(&suppressed->bytes, user.id);
  buf_put_str(&suppressed->bytes, which->channel);
  buf_put_str(&suppressed->bytes, which->purpose);
  buf_put_str(&suppressed->bytes, reason);
  mailbox_send(deliver->mailbox, &suppressed->mail);
}

void deliver_suppressed(struct deliver *deliver, struct entity user, struct str channel, struct str purpose,
                        struct str reason) {
  recall(deliver, user, &(struct outbox_recall){.channel = channel, .purpose = purpose}, reason);
}

void deliver_journey_ended(struct deliver *deliver, struct entity user, struct hash128 journey,
                           struct str reason) {
  recall(deliver, user, &(struct outbox_recall){STR("*"), STR(""), journey}, reason);
}

struct pause_mail {
  struct mail mail;
  struct deliver *deliver;
  int32_t provider; /**< -1: all */
  bool paused;
};

static void run_pause(struct mail *mail, bool cancelled) {
  struct pause_mail *pause = (struct pause_mail *)mail;
  struct deliver *deliver = pause->deliver;
  for (uint32_t i = 0; i < deliver->config->provider_count && !cancelled; i++)
    if (pause->provider < 0 || pause->provider == (int32_t)i)
      deliver->providers[i].queue.paused = pause->paused;
  memory_free(pause);
}

bool deliver_pause(struct deliver *deliver, struct str provider, bool paused) {
  int32_t index = -1;
  if (!str_equal(provider, STR("*"))) {
    const struct config_provider *found = config_provider(deliver->config, provider);
    if (!found) return false;
    index = (int32_t)(found - deliver->config->providers);
  }
  struct pause_mail *pause = memory_alloc(sizeof *pause);
  *pause =
      (struct pause_mail){.mail.run = run_pause, .deliver = deliver, .provider = index, .paused = paused};
  mailbox_send(deliver->mailbox, &pause->mail);
  return true;
}

int deliver_keep_pause(struct deliver *deliver, struct str provider, bool paused, struct error *err) {
  call(deliver, call_done, NULL, 0, NULL); // by its turn deliver_pause() has come
  struct buf key;
  int rc = 0;
  buf_init(&key);
  for (size_t i = 0; i < deliver->config->provider_count && rc == 0; i++) {
    const char *name = deliver->config->providers[i].name;
    if (!str_equal(provider, STR("*")) && !str_equal(provider, str_from(name))) continue;
    buf_clear(&key);
    put_pause_key(&key, name);
    rc = store_meta_write(deliver->store, &(struct store_fact){buf_str(&key), STR(""), !paused}, 1, err);
  }
  buf_deinit(&key);
  return rc;
}

struct flush_mail {
  struct mail mail;
  struct deliver *deliver;
  struct deliver_flush *flush;
};

static void run_flush(struct mail *mail, bool cancelled) {
  struct flush_mail *flush = (struct flush_mail *)mail;
  if (cancelled) {
    flush->flush->status = ERROR_UNAVAILABLE;
    mailbox_send(flush->flush->reply, &flush->flush->mail);
  } else {
    deliver_settle(flush->deliver, false);
    flush_begin(flush->deliver, flush->flush);
  }
  memory_free(flush);
}

void deliver_flush(struct deliver *deliver, struct deliver_flush *flush) {
  struct flush_mail *mail = memory_alloc(sizeof *mail);
  *mail = (struct flush_mail){.mail.run = run_flush, .deliver = deliver, .flush = flush};
  mailbox_send(deliver->mailbox, &mail->mail);
}

/* ---- what is to be seen ---- */

struct template_visit {
  void (*visit)(void *context, struct hash128 template_hash);
  void *context;
};

static void run_visit_templates(struct call *call) {
  const struct template_visit *visit = call->argument;
  const struct hash_table *ids = &call->deliver->outbox.ids;
  for (size_t i = 0; ids->count && i <= ids->mask; i++)
    for (struct hashed *item = ids->buckets[i]; item; item = item->next)
      visit->visit(visit->context, outbox_message(CONTAINER_OF(item, struct entry, by_id)).template_hash);
  call_done(call);
}

void deliver_visit_templates(struct deliver *deliver,
                             void (*visit)(void *context, struct hash128 template_hash), void *context) {
  struct template_visit argument = {visit, context};
  call(deliver, run_visit_templates, &argument, 0, NULL);
}

static void run_describe(struct call *call) {
  struct deliver *deliver = call->deliver;
  struct buf *out = call->argument;
  value_put_map(out, deliver->config->provider_count);
  for (uint32_t i = 0; i < deliver->config->provider_count; i++) {
    const struct provider *provider = &deliver->providers[i];
    const struct queue *queue = &provider->queue;
    value_put_string(out, str_from(provider->account->name));
    value_put_map(out, 4 + OUTCOME_KINDS - 1);
    value_put_member_integer(
        out, "waiting", (int64_t)(queue->waiting - queue->deferred + queue->logging + queue->ready.count));
    value_put_member_integer(out, "in_flight", queue->sending);
    value_put_string(out, STR("paused"));
    value_put_bool(out, queue->paused);
    value_put_string(out, STR("breaker"));
    value_put_string(out, str_from(breaker_names[queue->breaker.state]));
    for (int kind = 1; kind < OUTCOME_KINDS; kind++)
      value_put_member_integer(out, outcome_kind_name(kind), (int64_t)provider->counts[kind]);
  }
  call_done(call);
}

void deliver_describe(struct deliver *deliver, struct buf *out) {
  call(deliver, run_describe, out, 0, NULL);
}

static void run_describe_deferred(struct call *call) {
  uint64_t count;
  int64_t next, last;
  later_measure(call->deliver, &count, &next, &last);
  value_put_map(call->argument, count ? 3 : 1);
  value_put_member_integer(call->argument, "waiting", (int64_t)count);
  if (count) value_put_member_integer(call->argument, "due", next);
  if (count) value_put_member_integer(call->argument, "until", last);
  call_done(call);
}

void deliver_describe_deferred(struct deliver *deliver, struct buf *out) {
  call(deliver, run_describe_deferred, out, 0, NULL);
}
