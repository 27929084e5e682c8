#include "deliver/deliver_internal.h"

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "deliver/retry.h"

#include <stdio.h>

static struct attempt *attempt_new(struct deliver *deliver) {
  struct attempt *attempt = deliver->free_attempts;
  if (!attempt) return memory_alloc(sizeof *attempt);
  deliver->free_attempts = attempt->next;
  return attempt;
}

static void attempt_free(struct deliver *deliver, struct attempt *attempt) {
  attempt->next = deliver->free_attempts;
  deliver->free_attempts = attempt;
}

/** The attempt is over, one way or another. */
static void leave(struct provider *provider, struct entry *entry, enum breaker_result result,
                  int64_t hold_ms) {
  provider->queue.sending--;
  breaker_end(&provider->queue.breaker, entry->breaker_epoch, result, clock_mono_us(), hold_ms * 1000);
}

/** It ends before a byte has left. */
static void end_unsent(struct deliver *deliver, struct attempt *attempt, enum outcome_kind kind,
                       struct str detail) {
  struct ending ending = {.kind = kind, .detail = detail};
  // A refusal is one even if it is ours: what it says of the attempts before it must hold.
  if (kind != OUTCOME_REJECTED) attempt->entry->unsent++;
  leave(attempt->provider, attempt->entry, BREAKER_UNKNOWN, 0);
  ending_report(deliver, attempt->entry, &attempt->message, &ending);
  attempt_free(deliver, attempt);
}

static void reject(struct deliver *deliver, struct attempt *attempt, const char *what,
                   const struct error *err) {
  char text[256];
  int len = snprintf(text, sizeof text, "%s: %.200s", what, err->message);
  end_unsent(deliver, attempt, OUTCOME_REJECTED, (struct str){text, (size_t)len});
}

/** It could not even be tried, by no fault of message or provider. */
static void put_off(struct deliver *deliver, struct attempt *attempt, struct str detail) {
  attempt->entry->unsent++;
  leave(attempt->provider, attempt->entry, BREAKER_UNKNOWN, 0);
  ending_failed(deliver, attempt->entry, &attempt->message, REACH_UNSENT, 0, detail);
  attempt_free(deliver, attempt);
}

static void send_file(struct deliver *deliver, struct attempt *attempt, const struct template *template) {
  struct error err;
  struct file_transfer *transfer = file_acquire(deliver->files);
  if (template_render(template, attempt->message.data, &transfer->rendered, &err)) {
    file_release(deliver->files, transfer);
    reject(deliver, attempt, "the template cannot be rendered", &err);
    return;
  }
  transfer->message = attempt->message;
  transfer->kind = template_kind_of(template);
  transfer->account = attempt->provider->account;
  transfer->owner = attempt;
  transfer->deliver = deliver;
  deliver->files_out++;
  file_send(deliver->files, transfer);
}

static void send_http(struct deliver *deliver, struct attempt *attempt, const struct template *template) {
  struct provider *provider = attempt->provider;
  const struct message *message = &attempt->message;
  struct error err;
  struct http_transfer *transfer;
  if (template_render(template, message->data, &deliver->rendered, &err)) {
    reject(deliver, attempt, "the template cannot be rendered", &err);
    return;
  }
  transfer = http_acquire(deliver->http, &provider->http);
  transfer->owner = attempt;
  struct provider_scripts *scripts = &deliver->scripts;
  if (scripts->request(scripts->context, provider->account, provider->account->secret.value, message,
                       &deliver->rendered, &transfer->request, &err)) {
    http_release(deliver->http, transfer);
    reject(deliver, attempt, "the provider's mapping failed", &err);
    return;
  }
  char id[33];
  hash128_hex(message->id, id);
  if (http_send(deliver->http, transfer, (struct str){id, 32}, clock_wall_ms(), &err)) {
    http_release(deliver->http, transfer);
    reject(deliver, attempt, "the provider's mapping failed", &err);
  }
}

void attempt_begin(struct deliver *deliver, struct provider *provider, struct entry *entry) {
  struct attempt *attempt = attempt_new(deliver);
  *attempt = (struct attempt){entry, provider, outbox_message(entry), NULL};
  entry->state = ENTRY_SENDING;
  provider->queue.sending++;
  if (entry->cancelled) {
    end_unsent(deliver, attempt, OUTCOME_CANCELLED, str_from(entry->cancelled));
    return;
  }
  if (entry->expires && clock_wall_ms() >= entry->expires) {
    end_unsent(deliver, attempt, OUTCOME_EXPIRED, STR("expired while it waited"));
    return;
  }
  if (FAILPOINT("deliver.attempt_durable")) {
    put_off(deliver, attempt, STR("injected failure"));
    return;
  }
  const struct template *template;
  struct error err;
  int rc = templates_get(deliver->templates, attempt->message.template_hash, &template, &err);
  if (rc == ERROR_NOT_FOUND)
    end_unsent(deliver, attempt, OUTCOME_REJECTED, STR("its template is not in the store"));
  else if (rc == ERROR_IO || rc == ERROR_NO_SPACE || rc == ERROR_UNAVAILABLE)
    put_off(deliver, attempt, STR("its template could not be read"));
  else if (rc)
    reject(deliver, attempt, "its template is damaged", &err);
  else if (provider->account->type == CONFIG_PROVIDER_FILE)
    send_file(deliver, attempt, template);
  else
    send_http(deliver, attempt, template);
}

/** What the provider's side of it came to. */
static void end_sent(struct deliver *deliver, struct attempt *attempt,
                     const struct provider_verdict *verdict) {
  struct entry *entry = attempt->entry;
  bool good = verdict->kind == PROVIDER_ACCEPTED || verdict->kind == PROVIDER_REJECTED;
  struct str detail = {verdict->detail, strnlen(verdict->detail, sizeof verdict->detail)};
  leave(attempt->provider, entry, good ? BREAKER_GOOD : BREAKER_BAD, verdict->retry_after_ms);
  if (good) {
    struct ending ending = {
        .kind = verdict->kind == PROVIDER_ACCEPTED ? OUTCOME_ACCEPTED : OUTCOME_REJECTED,
        .detail = detail,
        .provider_id = {verdict->provider_id, strnlen(verdict->provider_id, sizeof verdict->provider_id)}};
    ending_report(deliver, entry, &attempt->message, &ending);
  } else {
    ending_failed(deliver, entry, &attempt->message,
                  verdict->kind == PROVIDER_AMBIGUOUS ? REACH_UNKNOWN : REACH_REFUSED,
                  verdict->retry_after_ms, detail);
  }
  attempt_free(deliver, attempt);
}

void attempt_file_done(struct file_transfer *transfer) {
  struct deliver *deliver = transfer->deliver;
  struct attempt *attempt = transfer->owner;
  struct provider_verdict verdict = {.kind = PROVIDER_ACCEPTED, .detail = "written"};
  int status = transfer->status;
  file_release(deliver->files, transfer);
  deliver->files_out--;
  if (deliver->resetting) {
    attempt_free(deliver, attempt);
    return;
  }
  if (FAILPOINT("deliver.sent")) {
    verdict = (struct provider_verdict){.kind = PROVIDER_AMBIGUOUS, .detail = "injected failure"};
  } else if (status) {
    // Writing again makes the same file, so there is nothing ambiguous about it.
    verdict.kind = PROVIDER_RETRY;
    char space[96];
    snprintf(verdict.detail, sizeof verdict.detail, "not written: %.96s",
             strerror_r(status, space, sizeof space));
  }
  end_sent(deliver, attempt, &verdict);
}

static void judge(struct deliver *deliver, const struct attempt *attempt,
                  const struct http_transfer *transfer, struct provider_verdict *verdict) {
  *verdict = (struct provider_verdict){.kind = PROVIDER_RETRY};
  if (FAILPOINT("deliver.sent")) {
    *verdict = (struct provider_verdict){.kind = PROVIDER_AMBIGUOUS, .detail = "injected failure"};
    return;
  }
  if (transfer->end != HTTP_ANSWERED) {
    if (transfer->end == HTTP_UNKNOWN) verdict->kind = PROVIDER_AMBIGUOUS;
    memcpy(verdict->detail, transfer->detail, sizeof verdict->detail);
    return;
  }
  struct error err;
  struct provider_scripts *scripts = &deliver->scripts;
  if (scripts->verdict(scripts->context, attempt->provider->account, &transfer->response, verdict, &err)) {
    // It answered, and nobody can say what: as good as no answer.
    *verdict = (struct provider_verdict){.kind = PROVIDER_AMBIGUOUS};
    snprintf(verdict->detail, sizeof verdict->detail, "%ld, and the provider's mapping failed",
             transfer->response.status);
    return;
  }
  struct str after;
  if (verdict->kind == PROVIDER_RETRY && verdict->retry_after_ms <= 0 &&
      value_member(transfer->response.headers, STR("retry-after"), &after))
    verdict->retry_after_ms = retry_after_parse(value_head(after).string, clock_wall_ms());
}

bool attempt_collect(struct deliver *deliver) {
  struct http_transfer *transfer;
  bool any = false;
  while ((transfer = http_collect(deliver->http))) {
    struct attempt *attempt = transfer->owner;
    struct provider_verdict verdict;
    judge(deliver, attempt, transfer, &verdict);
    http_release(deliver->http, transfer);
    end_sent(deliver, attempt, &verdict);
    deliver->answers++;
    any = true;
  }
  return any;
}

void attempt_abort(struct deliver *deliver) {
  struct http_transfer *transfer;
  while ((transfer = http_running(deliver->http))) {
    struct attempt *attempt = transfer->owner;
    attempt->provider->queue.sending--;
    http_release(deliver->http, transfer);
    attempt_free(deliver, attempt);
  }
}
