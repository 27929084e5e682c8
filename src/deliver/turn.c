#include "deliver/deliver_internal.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "state/consent.h"

#include <stdio.h>

enum {
  BATCHES_OUT_MAX = 2,  /**< with the log at once; attempts that come meanwhile make the next batch larger */
  ROUNDS_MAX = 4,       /**< of answers that lead to requests that are answered at once */
  LOOK_AGAIN_MS = 1000, /**< while anything waits: the wall clock may be set meanwhile */
  RESOLVED_A_ROUND = 1000,
  BUSY_LOOK_US = 10000, /**< this often it is judged … */
  BUSY_ANSWERS = 10,    /**< … whether so many answers came, a millisecond apart, … */
  GATHER_MS = 1,        /**< … so that they may wait for each other so long */
  REPORTED_AT_ONCE = 64 /**< as may outcomes, up to so many: each time they go, their owner wakes */
};

uint64_t turn_random(struct deliver *deliver) {
  // SplitMix64: jitter needs to be spread, not secret.
  uint64_t mixed = (deliver->random += 0x9e3779b97f4a7c15ULL);
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
  return mixed ^ mixed >> 31;
}

/* ---- where entries go ---- */

void turn_place(struct deliver *deliver, struct entry *entry, const struct message *message) {
  struct provider *provider = deliver_provider(deliver, entry);
  if (!provider || entry->open) {
    list_append(&deliver->unresolved, &entry->queue);
    return;
  }
  int64_t deadline = entry->age_from + provider->account->max_age;
  if (entry->expires && entry->expires < deadline) deadline = entry->expires;
  outbox_set_deadline(&deliver->outbox, entry, deadline);
  // A first attempt waits for what the gate said, and for no clock that was set back since.
  int64_t due = entry->attempts || entry->not_before ? entry->retry_at : 0;
  if (due > clock_wall_ms())
    queue_delay(&provider->queue, entry);
  else
    queue_add(&provider->queue, &deliver->limits, entry, message, entry->attempts > 0);
}

void turn_adopt(struct deliver *deliver, struct entry *entry, const struct message *message) {
  for (uint32_t i = 0; i < deliver->config->provider_count && entry->provider < 0; i++)
    if (str_equal(message->provider, str_from(deliver->config->providers[i].name)))
      entry->provider = (int16_t)i;
  turn_place(deliver, entry, message);
}

/** Entries that cannot wait like others: nobody to send them, or an attempt whose end nobody saw. */
static void resolve(struct deliver *deliver) {
  struct list_item *item;
  for (int i = 0; i < RESOLVED_A_ROUND && (item = deliver->unresolved.first); i++) {
    struct entry *entry = CONTAINER_OF(item, struct entry, queue);
    list_remove(&deliver->unresolved, item);
    struct message message = outbox_message(entry);
    if (deliver_provider(deliver, entry)) {
      // Whether the last of several was among the unsent, the entry does not say.
      if (entry_sent(entry))
        ending_failed(deliver, entry, &message, REACH_UNKNOWN, 0,
                      STR("interrupted: the host stopped during the attempt"));
      else
        ending_failed(deliver, entry, &message, REACH_UNSENT, 0,
                      STR("not sent: the host stopped before the attempt"));
      continue;
    }
    char text[160];
    int len = snprintf(text, sizeof text, "no provider \"%.*s\" is configured any more",
                       message.provider.len < 64 ? (int)message.provider.len : 64, message.provider.data);
    // An attempt of before, with the provider it had, may have arrived: this refuses none.
    ending_report(deliver, entry, &message,
                  &(struct ending){.kind = entry_sent(entry) ? OUTCOME_EXHAUSTED : OUTCOME_REJECTED,
                                   .detail = {text, (size_t)len}});
  }
}

/** Waiting ends at an entry's deadline. @return when the next one is, wall clock. */
static int64_t pass_deadlines(struct deliver *deliver, int64_t now_ms) {
  struct heap_item *first;
  while ((first = heap_first(&deliver->outbox.deadlines)) && first->key <= now_ms) {
    struct entry *entry = CONTAINER_OF(first, struct entry, deadline);
    outbox_set_deadline(&deliver->outbox, entry, INT64_MAX);
    // One that is under way ends by its attempt; should that lead to a retry, it gets its deadline again.
    if (entry->state != ENTRY_WAITING && entry->state != ENTRY_DELAYED) continue;
    queue_remove(&deliver_provider(deliver, entry)->queue, entry);
    bool expired = entry->expires && entry->expires <= now_ms;
    struct message message = outbox_message(entry);
    struct ending ending = {.kind = expired ? OUTCOME_EXPIRED : OUTCOME_EXHAUSTED,
                            .detail =
                                expired ? STR("expired while it waited") : STR("waited longer than max_age")};
    ending_report(deliver, entry, &message, &ending);
  }
  return first ? first->key : INT64_MAX;
}

/* ---- attempts to the log ---- */

static void batch_durable(struct mail *mail, bool cancelled) {
  struct attempt_batch *batch = (struct attempt_batch *)mail;
  struct deliver *deliver = batch->deliver;
  deliver->batches_out--;
  if (batch->log.status && deliver->phase == PHASE_RUNNING) {
    LOG_ERROR("deliver", "the log failed: nothing is sent until it is back",
              LOG_INT("code", batch->log.status));
    deliver->phase = PHASE_STALLED;
    if (deliver->port.failed) deliver->port.failed(deliver->port.context, "log", batch->log.status);
  }
  for (uint32_t i = 0; i < batch->count && !cancelled && batch->log.status == 0 && !deliver->resetting; i++) {
    struct entry *entry = batch->entries[i];
    struct provider *provider = deliver_provider(deliver, entry);
    entry->attempts++;
    entry->open = true;
    entry->state = ENTRY_READY;
    outbox_changed(&deliver->outbox, entry);
    provider->queue.logging--;
    list_append(&provider->queue.ready, &entry->queue);
  }
  batch->next = deliver->free_batches;
  deliver->free_batches = batch;
}

static struct attempt_batch *current_batch(struct deliver *deliver) {
  if (deliver->batch) return deliver->batch;
  struct attempt_batch *batch = deliver->free_batches;
  if (batch) {
    deliver->free_batches = batch->next;
  } else {
    batch = memory_zalloc(sizeof *batch);
    batch->deliver = deliver;
  }
  batch->log.mail.run = batch_durable;
  batch->log.reply = deliver->mailbox;
  batch->log.records = 0;
  batch->log.status = 0;
  buf_clear(&batch->log.bytes);
  batch->count = 0;
  return deliver->batch = batch;
}

static void log_attempt(struct deliver *deliver, struct entry *entry, const struct message *message,
                        int64_t now_ms) {
  struct attempt_batch *batch = current_batch(deliver);
  if (batch->count == batch->capacity) {
    batch->capacity = batch->capacity ? batch->capacity * 2 : 64;
    batch->entries = memory_realloc(batch->entries, batch->capacity * sizeof(struct entry *));
  }
  batch->entries[batch->count++] = entry;
  uint8_t input[26];
  struct buf out = {input, 0, sizeof input};
  buf_put_u64(&out, entry->id.high);
  buf_put_u64(&out, entry->id.low);
  buf_put_varint(&out, entry->attempts + 1);
  struct log_record record = {.seq = deliver->port.next_seq(deliver->port.context),
                              .type = LOG_ATTEMPT,
                              .generation = message->generation,
                              .at = now_ms,
                              .entity = message->user,
                              .input = buf_str(&out),
                              .effects = STR("")};
  log_record_put(&batch->log.bytes, &record);
  batch->log.records++;
}

static void submit_batch(struct deliver *deliver) {
  if (!deliver->batch || deliver->batches_out >= BATCHES_OUT_MAX) return;
  struct log_batch *batch = &deliver->batch->log;
  deliver->batch = NULL;
  deliver->batches_out++;
  log_submit(deliver->log, batch);
}

/** A suppression, or a consent withdrawn, that came while this entry lay in the store, or that its journey
 * ended, is in the user's record, and nowhere else. @return whether it may go on. */
static bool pass_record(struct deliver *deliver, struct provider *provider, struct entry *entry,
                        const struct message *message, int64_t now_ms) {
  struct record record;
  struct suppression found = {.reason = STR("consent withdrawn")};
  record_init(&record);
  int rc = store_get_user(deliver->store, message->user, &record, NULL);
  if (rc == ERROR_NOT_FOUND) rc = 0; // nothing is known of the user, so nothing was said
  bool forbidden =
      rc == 0 && (record_suppressed(&record, message->channel, &found) ||
                  !consent_allows_named(&record, deliver->config, message->purpose, message->channel));
  if (rc == 0 && !forbidden && entry_sent(entry) == 0 && record_journey_recalled(&record, message->journey)) {
    forbidden = true;
    found.reason = STR("the journey ended before it could go");
  }
  if (forbidden) {
    ending_cancel(deliver, entry, found.reason);
    ending_report(deliver, entry, message,
                  &(struct ending){.kind = OUTCOME_CANCELLED, .detail = str_from(entry->cancelled)});
  } else if (rc) {
    entry->retry_at = now_ms + LOOK_AGAIN_MS;
    queue_delay(&provider->queue, entry);
  } else {
    entry->loaded = false;
  }
  record_deinit(&record);
  return !entry->loaded;
}

static void take(struct deliver *deliver, struct provider *provider, int64_t now_ms, int64_t now_us,
                 int64_t *when) {
  struct entry *entry;
  // Attempts go to the log by many, for each sync costs: while places are taken, and half of those ahead
  // stand behind them, no more.
  const struct queue *queue = &provider->queue;
  if (queue->logging + queue->ready.count + queue->sending >
      provider->account->concurrency + queue->ahead / 2)
    return;
  while ((entry = queue_take(&provider->queue, now_us, when))) {
    struct message message = outbox_message(entry);
    if (entry->loaded && !pass_record(deliver, provider, entry, &message, now_ms)) {
      breaker_end(&provider->queue.breaker, entry->breaker_epoch, BREAKER_UNKNOWN, now_us, 0);
      continue;
    }
    entry->state = ENTRY_LOGGING;
    provider->queue.logging++;
    log_attempt(deliver, entry, &message, now_ms);
  }
}

/** An attempt that was logged and never begun is known not to have been sent: it counts for nothing. */
static void hand_back(struct deliver *deliver, struct provider *provider, struct entry *entry,
                      struct str detail, int64_t retry_at) {
  list_remove(&provider->queue.ready, &entry->queue);
  entry->unsent++;
  // Should it be the probe, another may follow.
  breaker_end(&provider->queue.breaker, entry->breaker_epoch, BREAKER_UNKNOWN, 0, 0);
  struct message message = outbox_message(entry);
  ending_report(deliver, entry, &message,
                &(struct ending){.kind = OUTCOME_RETRY, .detail = detail, .retry_at = retry_at});
}

/** A pause, or a breaker that is no longer closed, came after these attempts were logged: they wait like
 * those behind them, and their places are free, so that a probe can go. */
static void hold_ready(struct deliver *deliver, struct provider *provider, int64_t now_ms, int64_t now_us) {
  struct queue *queue = &provider->queue;
  const struct breaker *breaker = &queue->breaker;
  int64_t open_ms = breaker->state == BREAKER_OPEN ? (breaker->until - now_us + 999) / 1000 : 0;
  for (struct list_item *item = queue->ready.first, *next; item; item = next) {
    next = item->next;
    struct entry *entry = CONTAINER_OF(item, struct entry, queue);
    if (queue->paused)
      hand_back(deliver, provider, entry, STR("not sent: the provider is paused"), now_ms);
    else if (!breaker_still_admits(breaker, entry->breaker_epoch))
      hand_back(deliver, provider, entry, STR("not sent: the provider keeps failing"),
                open_ms > 0 ? now_ms + open_ms : now_ms);
  }
}

static void send_ready(struct deliver *deliver, struct provider *provider, int64_t now_ms, int64_t now_us) {
  struct queue *queue = &provider->queue;
  if (queue->paused || queue->breaker.state != BREAKER_CLOSED) hold_ready(deliver, provider, now_ms, now_us);
  while (queue->ready.first && queue->sending < provider->account->concurrency) {
    struct entry *entry = CONTAINER_OF(queue->ready.first, struct entry, queue);
    list_remove(&queue->ready, &entry->queue);
    attempt_begin(deliver, provider, entry);
  }
}

/* ---- reset and stop ---- */

/** Whether anything of somebody else's is still held. */
static bool is_at_rest(const struct deliver *deliver) {
  return deliver->batches_out == 0 && deliver->files_out == 0 && !deliver->writing;
}

static void count_bytes(struct deliver *deliver) {
  atomic_store_explicit(&deliver->outbox_bytes, deliver->outbox.bytes, memory_order_relaxed);
}

static void finish_reset(struct deliver *deliver) {
  struct call *call = deliver->resetting;
  deliver->resetting = NULL;
  if (deliver->batch) {
    deliver->batch->next = deliver->free_batches;
    deliver->free_batches = deliver->batch;
    deliver->batch = NULL;
  }
  for (uint32_t i = 0; i < deliver->config->provider_count; i++) queue_clear(&deliver->providers[i].queue);
  deliver->unresolved = (struct list){0};
  outbox_clear(&deliver->outbox);
  later_begin(deliver);
  count_bytes(deliver);
  deliver->phase = PHASE_IDLE;
  deliver->log = NULL;
  call_done(call);
  if (!deliver->stopping) return;
  // It stopped, after a fashion.
  call_done(deliver->stopping);
  deliver->stopping = NULL;
}

static void hand_back_all(struct deliver *deliver) {
  for (uint32_t i = 0; i < deliver->config->provider_count; i++) {
    struct provider *provider = &deliver->providers[i];
    while (provider->queue.ready.first)
      hand_back(deliver, provider, CONTAINER_OF(provider->queue.ready.first, struct entry, queue),
                STR("not sent: the host stops"), clock_wall_ms());
  }
}

/** While a stop's grace lasts attempts are begun; past it none is, for it would be broken off at once. */
static bool in_grace(const struct deliver *deliver, int64_t now_us) {
  return deliver->phase == PHASE_STOPPING && now_us < deliver->stop_at;
}

static bool is_sending(const struct deliver *deliver, int64_t now_us) {
  for (uint32_t i = 0; i < deliver->config->provider_count; i++) {
    const struct queue *queue = &deliver->providers[i].queue;
    if (queue->sending || (queue->ready.count && in_grace(deliver, now_us))) return true;
  }
  return deliver->batches_out > 0;
}

/** @return when to look again, monotonic us. */
static int64_t go_on_stopping(struct deliver *deliver, int64_t now_us) {
  if (is_sending(deliver, now_us)) {
    if (in_grace(deliver, now_us)) return deliver->stop_at;
    attempt_abort(deliver);
  }
  if (!is_at_rest(deliver)) return INT64_MAX;
  hand_back_all(deliver);
  struct call *call = deliver->stopping;
  deliver->stopping = NULL;
  deliver->phase = PHASE_STOPPED;
  call_done(call);
  return INT64_MAX;
}

/* ---- the turn ---- */

/** Where the wall clock was set back, retries wait no longer for it than they were to (those that are being
 * reported: ending_settled()); deferred messages have a moment of their own. */
static void follow_clock(struct deliver *deliver, int64_t now_ms, int64_t now_us) {
  int64_t ahead = now_ms - now_us / 1000, back = deliver->wall_ahead - ahead;
  deliver->wall_ahead = ahead;
  if (back < LOOK_AGAIN_MS) return;
  for (uint32_t i = 0; i < deliver->config->provider_count; i++) {
    struct heap *delayed = &deliver->providers[i].queue.delayed;
    struct list all = {0};
    struct heap_item *first;
    while ((first = heap_first(delayed))) {
      heap_remove(delayed, first);
      list_append(&all, &CONTAINER_OF(first, struct entry, delay)->queue);
    }
    while (all.first) {
      struct entry *entry = CONTAINER_OF(all.first, struct entry, queue);
      list_remove(&all, all.first);
      if (entry->attempts || entry->retry_at != entry->not_before) {
        entry->retry_at -= back;
        outbox_changed(&deliver->outbox, entry);
      }
      heap_put(delayed, &entry->delay, entry->retry_at);
    }
  }
}

static void show(struct provider *provider) {
  struct queue *queue = &provider->queue;
  metric_set(provider->waiting,
             (int64_t)(queue->waiting - queue->deferred + queue->logging + queue->ready.count));
  metric_set(provider->in_flight, queue->sending);
  metric_set(provider->breaker, queue->breaker.state);
  if (provider->shown == queue->breaker.state) return;
  if (queue->breaker.state == BREAKER_OPEN)
    LOG_WARN("deliver", "a provider keeps failing: its breaker is open",
             LOG_TEXT("provider", provider->account->name), LOG_INT("waiting", queue->waiting));
  else if (queue->breaker.state == BREAKER_CLOSED)
    LOG_INFO("deliver", "a provider is back: its breaker is closed",
             LOG_TEXT("provider", provider->account->name));
  provider->shown = queue->breaker.state;
}

static void on_wake(uv_timer_t *timer) {
  // The turn it begins is what matters.
  (void)timer;
}

static void wake_at(struct deliver *deliver, int64_t wall_ms, int64_t mono_us, int64_t now_ms,
                    int64_t now_us) {
  bool waits = deliver->outbox.ids.count > 0 || deliver->later.count > 0;
  int64_t in_ms = waits ? LOOK_AGAIN_MS : INT64_MAX;
  if (wall_ms != INT64_MAX && wall_ms - now_ms < in_ms) in_ms = wall_ms - now_ms;
  if (mono_us != INT64_MAX && (mono_us - now_us + 999) / 1000 < in_ms)
    in_ms = (mono_us - now_us + 999) / 1000;
  if (in_ms == INT64_MAX)
    uv_timer_stop(&deliver->wake);
  else
    uv_timer_start(&deliver->wake, on_wake, in_ms > 0 ? (uint64_t)in_ms : 0, 0);
}

/** Under load each answer alone would wake the thread for little, and nothing waits for it: unless requests
 * wait for a free place, or for their connection. */
static bool may_gather(struct deliver *deliver, int64_t now_us) {
  if (now_us - deliver->answers_from >= BUSY_LOOK_US) {
    deliver->busy =
        (int64_t)deliver->answers * BUSY_LOOK_US >= BUSY_ANSWERS * (now_us - deliver->answers_from);
    deliver->answers = 0;
    deliver->answers_from = now_us;
  }
  bool may = deliver->busy && deliver->phase == PHASE_RUNNING && http_beginning(deliver->http) == 0;
  for (uint32_t i = 0; i < deliver->config->provider_count && may; i++)
    may = deliver->providers[i].queue.sending <= deliver->config->providers[i].concurrency / 2;
  return may;
}

/** Outcomes go on their way, or wait for others. @return when they have waited enough, monotonic us. */
static int64_t report(struct deliver *deliver, int64_t now_us) {
  int64_t until = deliver->reported_at + GATHER_MS * 1000;
  if (deliver->reported && deliver->reported < REPORTED_AT_ONCE && now_us < until && deliver->busy &&
      deliver->phase == PHASE_RUNNING)
    return until;
  deliver_report_end(deliver);
  return INT64_MAX;
}

/** @return whether there is more to do at once. */
static bool run_round(struct deliver *deliver, int64_t now_ms, int64_t now_us, int64_t *wall, int64_t *mono) {
  bool more = false;
  if (deliver->phase == PHASE_RUNNING) {
    resolve(deliver);
    more = later_turn(deliver, now_ms);
    *wall = pass_deadlines(deliver, now_ms);
    // Past it, they wait for room.
    int64_t wakes = later_wakes(deliver);
    if (wakes > now_ms && wakes < *wall) *wall = wakes;
    for (uint32_t i = 0; i < deliver->config->provider_count; i++) {
      struct provider *provider = &deliver->providers[i];
      int64_t due = queue_wake(&provider->queue, &deliver->limits, now_ms);
      if (due < *wall) *wall = due;
      take(deliver, provider, now_ms, now_us, mono);
    }
    submit_batch(deliver);
  }
  if (deliver->phase == PHASE_RUNNING || in_grace(deliver, now_us))
    for (uint32_t i = 0; i < deliver->config->provider_count; i++)
      send_ready(deliver, &deliver->providers[i], now_ms, now_us);
  files_submit(deliver->files);
  http_kick(deliver->http);
  return attempt_collect(deliver) || more || (deliver->phase == PHASE_RUNNING && deliver->unresolved.first);
}

void turn_run(struct deliver *deliver) {
  int64_t wall, mono, now_ms, now_us;
  deliver_settle(deliver, false);
  http_receive(deliver->http);
  attempt_collect(deliver);
  bool more = true;
  for (int i = 0; i < ROUNDS_MAX && more; i++) {
    now_ms = clock_wall_ms();
    now_us = clock_mono_us();
    follow_clock(deliver, now_ms, now_us);
    wall = mono = INT64_MAX;
    more = run_round(deliver, now_ms, now_us, &wall, &mono);
  }
  if (more) mono = now_us;
  if (deliver->phase == PHASE_STOPPING) mono = go_on_stopping(deliver, now_us);
  if (deliver->resetting && is_at_rest(deliver)) finish_reset(deliver);
  if (deliver->quitting && is_at_rest(deliver)) {
    uv_stop(&deliver->loop);
    call_done(deliver->quitting);
    deliver->quitting = NULL;
  }
  limits_trim(&deliver->limits, now_us);
  size_t deferred = deliver->later.count;
  for (uint32_t i = 0; i < deliver->config->provider_count; i++) {
    show(&deliver->providers[i]);
    deferred += deliver->providers[i].queue.deferred;
  }
  metric_set(deliver->deferred_gauge, (int64_t)deferred);
  count_bytes(deliver);
  bool gather = may_gather(deliver, now_us);
  http_gather(deliver->http, gather);
  if (gather && http_running(deliver->http) && mono > now_us + GATHER_MS * 1000)
    mono = now_us + GATHER_MS * 1000;
  int64_t report_at = report(deliver, now_us);
  if (report_at < mono) mono = report_at;
  wake_at(deliver, wall, mono, now_ms, now_us);
}
