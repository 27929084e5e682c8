#include "deliver/deliver_internal.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/logger.h"
#include "base/memory.h"
#include "deliver/retry.h"

void ending_report(struct deliver *deliver, struct entry *entry, const struct message *message,
                   const struct ending *ending) {
  int64_t now = clock_wall_ms();
  struct outcome outcome = {.message_id = entry->id,
                            .kind = ending->kind,
                            .attempt = entry->attempts,
                            .unsent = entry->unsent,
                            .at = now,
                            .retry_at = ending->retry_at,
                            .detail = ending->detail.data ? ending->detail : STR(""),
                            .provider_id = ending->provider_id.data ? ending->provider_id : STR(""),
                            .message = STR("")};
  if (outcome_is_dead(ending->kind)) {
    buf_clear(&deliver->scratch);
    message_encode(message, &deliver->scratch);
    outcome.message = buf_str(&deliver->scratch);
    LOG_WARN("deliver", "a message is a dead letter now", LOG_STR("provider", message->provider),
             LOG_TEXT("outcome", outcome_kind_name(ending->kind)), LOG_INT("attempts", entry_sent(entry)));
  }
  entry->state = ENTRY_REPORTED;
  entry->reported = (uint8_t)ending->kind;
  entry->next_retry_at = ending->retry_at;
  entry->retry_in = ending->retry_at - now;
  struct provider *provider = deliver_provider(deliver, entry);
  if (provider) {
    provider->counts[ending->kind]++;
    metric_add(provider->outcomes[ending->kind], 1);
    if (ending->kind == OUTCOME_ACCEPTED)
      metric_observe_us(provider->seconds, (now - message_counted_at(message)) * 1000);
  }
  if (deliver->reported++ == 0) deliver->reported_at = clock_mono_us();
  deliver->port.outcome(deliver->port.context, message, &outcome);
}

void ending_failed(struct deliver *deliver, struct entry *entry, const struct message *message,
                   enum attempt_reach reach, int64_t retry_after_ms, struct str detail) {
  struct provider *provider = deliver_provider(deliver, entry);
  struct retry_fate fate;
  retry_judge(&(struct retry_failure){.account = provider->account,
                                      .honours_keys = provider->honours_keys,
                                      .ambiguous = reach == REACH_UNKNOWN,
                                      .sent = entry_sent(entry),
                                      .failures = reach == REACH_UNSENT ? entry->unsent : entry_sent(entry),
                                      .age_from = entry->age_from,
                                      .now = clock_wall_ms(),
                                      .retry_after_ms = retry_after_ms,
                                      .random = turn_random(deliver),
                                      .detail = detail},
              &fate);
  struct ending ending = {.kind = fate.kind, .detail = fate.detail, .retry_at = fate.retry_at};
  ending_report(deliver, entry, message, &ending);
}

static void report_cancelled(struct deliver *deliver, struct entry *entry, const struct message *message) {
  ending_report(deliver, entry, message,
                &(struct ending){.kind = OUTCOME_CANCELLED, .detail = str_from(entry->cancelled)});
}

void ending_settled(struct deliver *deliver, struct hash128 id, enum outcome_kind kind) {
  (void)FAILPOINT("deliver.outcome_durable");
  struct entry *entry = outbox_find(&deliver->outbox, id);
  // After a reset an answer may come for what was forgotten, or for an entry that begins anew.
  if (!entry || entry->state != ENTRY_REPORTED || entry->reported != kind) return;
  if (kind != OUTCOME_RETRY) {
    outbox_remove(&deliver->outbox, entry);
    return;
  }
  entry->open = false;
  entry->state = ENTRY_IDLE;
  // If the clock was set back meanwhile (turn.c follow_clock), it waits no longer than it was to.
  int64_t latest = clock_mono_us() / 1000 + deliver->wall_ahead + entry->retry_in;
  entry->retry_at = entry->next_retry_at < latest ? entry->next_retry_at : latest;
  outbox_changed(&deliver->outbox, entry);
  struct message message = outbox_message(entry);
  if (entry->cancelled)
    report_cancelled(deliver, entry, &message);
  else
    turn_place(deliver, entry, &message);
}

void ending_cancel(struct deliver *deliver, struct entry *entry, struct str reason) {
  if (entry->cancelled) return;
  entry->cancelled = memory_dup(reason.data, reason.len);
  struct provider *provider = deliver_provider(deliver, entry);
  if (entry->state != ENTRY_WAITING && entry->state != ENTRY_DELAYED) return;
  queue_remove(&provider->queue, entry);
  struct message message = outbox_message(entry);
  report_cancelled(deliver, entry, &message);
}
