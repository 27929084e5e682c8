#include "sim/sim_internal.h"

#include "base/memory.h"
#include "deliver/retry.h"

#include <stdio.h>

/* ---- providers ---- */

void sim_deliver_init(struct sim *sim) {
  const struct config *config = sim->rules->options.config;
  outbox_init(&sim->outbox);
  // A host that has served for ever: its limits are full.
  limits_init(&sim->limits, INT64_MIN / 4);
  sim->providers = memory_zalloc((config->provider_count + 1) * sizeof *sim->providers);
  for (uint32_t i = 0; i < config->provider_count; i++) {
    const struct config_provider *account = &config->providers[i];
    const struct provider_scripts *scripts = &sim->rules->scripts;
    sim->providers[i].account = account;
    sim->providers[i].honours_keys =
        account->type == CONFIG_PROVIDER_FILE || scripts->honours_keys(scripts->context, account);
    queue_init(&sim->providers[i].queue, account);
    sim->providers[i].queue.paused = config->delivery.paused;
  }
}

void sim_deliver_deinit(struct sim *sim) {
  for (uint32_t i = 0; i < sim->rules->options.config->provider_count; i++)
    queue_clear(&sim->providers[i].queue);
  outbox_deinit(&sim->outbox);
  for (uint32_t i = 0; i < sim->rules->options.config->provider_count; i++)
    queue_deinit(&sim->providers[i].queue);
  limits_deinit(&sim->limits);
  memory_free(sim->providers);
  buf_deinit(&sim->feedback);
}

static struct sim_provider *provider_of(const struct sim *sim, const struct entry *entry) {
  return &sim->providers[entry->provider];
}

bool sim_provider(struct sim *sim, struct str name, struct sim_answer answer, uint64_t times) {
  const struct config *config = sim->rules->options.config;
  const struct config_provider *found = config_route(config, name);
  if (!found) found = config_provider(config, name);
  bool all = str_equal(name, STR("*"));
  for (uint32_t i = 0; i < config->provider_count; i++) {
    if (!all && &config->providers[i] != found) continue;
    sim->providers[i].answer = answer;
    sim->providers[i].answers_left = times;
  }
  return all || found;
}

static struct sim_answer next_answer(struct sim_provider *provider) {
  struct sim_answer answer = provider->answer;
  if (provider->answers_left && --provider->answers_left == 0)
    provider->answer = (struct sim_answer){SIM_ACCEPT, 0};
  return answer;
}

/* ---- ways of a message ---- */

static void place(struct sim *sim, struct entry *entry, const struct message *message) {
  struct sim_provider *provider = provider_of(sim, entry);
  int64_t deadline = entry->age_from + provider->account->max_age;
  if (entry->expires && entry->expires < deadline) deadline = entry->expires;
  outbox_set_deadline(&sim->outbox, entry, deadline);
  if (entry->retry_at > sim->now)
    queue_delay(&provider->queue, entry);
  else
    queue_add(&provider->queue, &sim->limits, entry, message, entry->attempts > 0);
  sim->wake = sim->now;
}

void sim_deliver_add(struct sim *sim, const struct message *decided) {
  const struct config *config = sim->rules->options.config;
  struct message message;
  // One that the gate deferred (quiet hours, a cap) goes when its time has come.
  int64_t first = decided->not_before > sim->now ? decided->not_before : sim->now;
  buf_clear(&sim->entry);
  outbox_entry_encode(&(struct outbox_entry){.message = *decided, .retry_at = first}, &sim->entry);
  struct entry *entry = outbox_add(&sim->outbox, buf_str(&sim->entry), false, &message, NULL);
  if (!entry) return; // known already
  // The gate let it pass, so there is such a provider.
  entry->provider = (int16_t)(config_provider(config, message.provider) - config->providers);
  place(sim, entry, &message);
}

/** Why a message's way went on as it did, or ended. */
struct ending {
  enum outcome_kind kind;
  struct str detail, provider_id;
  int64_t retry_at;
};

/** Tell the user's owner; the entry is in no queue, and may be gone afterwards. */
static void report(struct sim *sim, struct entry *entry, const struct message *message,
                   const struct ending *ending) {
  struct outcome outcome = {.message_id = entry->id,
                            .kind = ending->kind,
                            .attempt = entry->attempts,
                            .at = sim->now,
                            .retry_at = ending->retry_at,
                            .detail = ending->detail.data ? ending->detail : STR(""),
                            .provider_id = ending->provider_id.data ? ending->provider_id : STR(""),
                            .message = STR("")};
  struct slot *slot = decide_outcome_needs_record(message, &outcome) ? sim_slot(sim, message->user) : NULL;
  struct buf dead;
  struct decision decision;
  buf_init(&dead);
  if (outcome_is_dead(ending->kind)) {
    message_encode(message, &dead);
    outcome.message = buf_str(&dead);
  }
  sim_turn(sim);
  decide_outcome(sim->rules->decider, slot ? &slot->record : NULL, message, &outcome, &decision);
  sim_decided(sim, LOG_OUTCOME, message->user, STR(""), &decision, slot);
  buf_deinit(&dead);
  if (ending->kind == OUTCOME_RETRY && !entry->cancelled) {
    entry->state = ENTRY_IDLE;
    entry->retry_at = ending->retry_at;
    place(sim, entry, message);
  } else if (ending->kind == OUTCOME_RETRY) {
    report(sim, entry, message,
           &(struct ending){.kind = OUTCOME_CANCELLED, .detail = str_from(entry->cancelled)});
  } else {
    outbox_remove(&sim->outbox, entry);
  }
}

void sim_deliver_suppressed(struct sim *sim, struct entity user, struct str channel, struct str purpose,
                            struct str reason) {
  sim_deliver_recall(sim, user, &(struct outbox_recall){.channel = channel, .purpose = purpose}, reason);
}

void sim_deliver_recall(struct sim *sim, struct entity user, const struct outbox_recall *recall,
                        struct str reason) {
  for (struct entry *entry = outbox_of_user(&sim->outbox, user, NULL); entry;
       entry = outbox_of_user(&sim->outbox, user, entry)) {
    struct message message = outbox_message(entry);
    if (entry->cancelled || !outbox_concerns(&message, entry->attempts, recall)) continue;
    // Reported in the next turn: an input is being decided.
    entry->cancelled = memory_dup(reason.data, reason.len);
    outbox_set_deadline(&sim->outbox, entry, sim->now);
    sim->wake = sim->now;
  }
}

/* ---- an attempt ---- */

static uint64_t next_random(struct sim *sim) {
  // SplitMix64, as live, but for its seed.
  uint64_t mixed = (sim->random += 0x9e3779b97f4a7c15ULL);
  mixed = (mixed ^ mixed >> 30) * 0xbf58476d1ce4e5b9ULL;
  mixed = (mixed ^ mixed >> 27) * 0x94d049bb133111ebULL;
  return mixed ^ mixed >> 31;
}

static void leave(struct sim *sim, struct entry *entry, enum breaker_result result, int64_t hold_ms) {
  breaker_end(&provider_of(sim, entry)->queue.breaker, entry->breaker_epoch, result, sim->now * 1000,
              hold_ms * 1000);
}

static void end_unsent(struct sim *sim, struct entry *entry, const struct message *message,
                       enum outcome_kind kind, struct str detail) {
  leave(sim, entry, BREAKER_UNKNOWN, 0);
  report(sim, entry, message, &(struct ending){.kind = kind, .detail = detail});
}

static void reject(struct sim *sim, struct entry *entry, const struct message *message, const char *what,
                   const struct error *err) {
  char text[256];
  int len = snprintf(text, sizeof text, "%s: %.200s", what, err->message);
  end_unsent(sim, entry, message, OUTCOME_REJECTED, (struct str){text, (size_t)len});
}

/** Of the rules that serve, or of those before them, by which the message may have been decided. */
static const struct template *find_template(struct sim_rules *rules, struct hash128 hash, struct error *err) {
  for (; rules; rules = rules->options.before) {
    const struct engine_template *templates;
    size_t count = engine_templates(rules->engine, &templates);
    for (size_t i = 0; i < count; i++) {
      if (!hash128_equal(templates[i].hash, hash)) continue;
      if (!rules->compiled[i] && template_new(&rules->compiled[i], templates[i].bundle, err)) return NULL;
      return rules->compiled[i];
    }
  }
  error_set(err, ERROR_NOT_FOUND, "there is no such template");
  return NULL;
}

static struct str header_of(const struct rendered *rendered, struct str name) {
  struct str found;
  if (!value_member(buf_str(&rendered->headers), name, &found)) return STR("");
  struct value value = value_head(found);
  return value.type == VALUE_STRING ? value.string : STR("");
}

static void put_value(struct buf *out, const char *name, struct str value) {
  value_put_string(out, str_from(name));
  if (value.len)
    buf_append(out, value.data, value.len);
  else
    value_put_map(out, 0);
}

static void note_sent(struct sim *sim, const struct entry *entry, const struct message *message, bool html) {
  const struct rendered *rendered = &sim->rules->rendered;
  struct buf *out = &sim->sent;
  char id[33];
  hash128_hex(message->id, id);
  value_put_map(out, 15);
  value_put_member_integer(out, "at", sim->now);
  value_put_member_text(out, "user", message->user.id);
  value_put_member_text(out, "to", message->to);
  value_put_member_text(out, "campaign", message->campaign);
  value_put_member_text(out, "template", message->template_name);
  value_put_member_text(out, "channel", message->channel);
  value_put_member_text(out, "provider", message->provider);
  value_put_member_text(out, "purpose", message->purpose);
  value_put_member_text(out, "message_id", str_from(id));
  value_put_member_integer(out, "attempt", entry->attempts);
  value_put_member_text(out, "subject", header_of(rendered, STR("subject")));
  put_value(out, "headers", buf_str(&rendered->headers));
  value_put_member_text(out, "html", html ? buf_str(&rendered->body) : STR(""));
  value_put_member_text(out, "text", buf_str(html ? &rendered->text : &rendered->body));
  put_value(out, "data", message->data);
  sim->sent_count++;
}

/** An account without a mapping writes files; a status stands for what a webhook would make of it. */
static void judge_plain(long status, struct provider_verdict *verdict) {
  verdict->kind = status >= 200 && status < 300                                      ? PROVIDER_ACCEPTED
                  : status >= 500 || status == 408 || status == 425 || status == 429 ? PROVIDER_RETRY
                                                                                     : PROVIDER_REJECTED;
  snprintf(verdict->detail, sizeof verdict->detail, "%ld", status);
}

static void judge(struct sim *sim, const struct sim_provider *provider, struct sim_answer answer,
                  struct provider_verdict *verdict) {
  *verdict = (struct provider_verdict){.kind = PROVIDER_AMBIGUOUS, .detail = "timeout"};
  if (answer.type == SIM_TIMEOUT) return;
  struct http_response response = {
      .status = answer.type == SIM_STATUS ? answer.status : 202, .headers = {"\x80", 1}, .body = STR("")};
  const struct provider_scripts *scripts = &sim->rules->scripts;
  struct error err;
  if (provider->account->type == CONFIG_PROVIDER_FILE)
    judge_plain(response.status, verdict);
  else if (scripts->verdict(scripts->context, provider->account, &response, verdict, &err))
    snprintf(verdict->detail, sizeof verdict->detail, "%ld, and the provider's mapping failed",
             response.status);
}

/** Make what would leave. @return 0, or why it cannot be made, with the beginning of the sentence in `*what`.
 */
static int prepare(struct sim *sim, const struct sim_provider *provider, const struct message *message,
                   bool *html, const char **what, struct error *err) {
  struct sim_rules *rules = sim->rules;
  *what = "the template cannot be rendered";
  const struct template *template = find_template(rules, message->template_hash, err);
  if (!template) return err->code;
  *html = template_kind_of(template) == TEMPLATE_HTML;
  int rc = template_render(template, message->data, &rules->rendered, err);
  if (rc || provider->account->type == CONFIG_PROVIDER_FILE) return rc;
  *what = "the provider's mapping failed";
  struct http_request *request = &rules->request;
  buf_clear(&request->url);
  buf_clear(&request->body);
  buf_clear(&request->headers);
  return rules->scripts.request(rules->scripts.context, provider->account, provider->account->secret.value,
                                message, &rules->rendered, request, err);
}

static void note_attempt(struct sim *sim, const struct entry *entry, const struct message *message) {
  struct decision none = {.effects = STR("")};
  buf_clear(&sim->input);
  buf_put_u64(&sim->input, entry->id.high);
  buf_put_u64(&sim->input, entry->id.low);
  buf_put_varint(&sim->input, entry->attempts);
  sim_decided(sim, LOG_ATTEMPT, message->user, buf_str(&sim->input), &none, NULL);
}

/** Send an entry that was taken from its queue. */
static void attempt(struct sim *sim, struct sim_provider *provider, struct entry *entry) {
  struct message message = outbox_message(entry);
  struct provider_verdict verdict;
  struct error err;
  const char *what;
  bool html = false;
  entry->attempts++;
  note_attempt(sim, entry, &message);
  if (prepare(sim, provider, &message, &html, &what, &err)) {
    reject(sim, entry, &message, what, &err);
    return;
  }
  struct sim_answer answer = next_answer(provider);
  judge(sim, provider, answer, &verdict);
  bool good = verdict.kind == PROVIDER_ACCEPTED || verdict.kind == PROVIDER_REJECTED;
  struct str detail = {verdict.detail, strnlen(verdict.detail, sizeof verdict.detail)};
  leave(sim, entry, good ? BREAKER_GOOD : BREAKER_BAD, verdict.retry_after_ms);
  if (verdict.kind == PROVIDER_ACCEPTED) note_sent(sim, entry, &message, html);
  if (verdict.kind == PROVIDER_ACCEPTED && answer.type == SIM_BOUNCE) {
    buf_put_u64(&sim->feedback, entry->id.high);
    buf_put_u64(&sim->feedback, entry->id.low);
    buf_put_u8(&sim->feedback, (uint8_t)message.user.kind);
    buf_put_str(&sim->feedback, message.user.id);
    buf_put_str(&sim->feedback, message.channel);
    buf_put_str(&sim->feedback, message.to);
  }
  if (good) {
    report(sim, entry, &message,
           &(struct ending){.kind = verdict.kind == PROVIDER_ACCEPTED ? OUTCOME_ACCEPTED : OUTCOME_REJECTED,
                            .detail = detail,
                            .provider_id = {verdict.provider_id,
                                            strnlen(verdict.provider_id, sizeof verdict.provider_id)}});
    return;
  }
  struct retry_fate fate;
  retry_judge(&(struct retry_failure){.account = provider->account,
                                      .honours_keys = provider->honours_keys,
                                      .ambiguous = verdict.kind == PROVIDER_AMBIGUOUS,
                                      .sent = entry->attempts,
                                      .failures = entry->attempts,
                                      .age_from = entry->age_from,
                                      .now = sim->now,
                                      .retry_after_ms = verdict.retry_after_ms,
                                      .random = next_random(sim),
                                      .detail = detail},
              &fate);
  report(sim, entry, &message,
         &(struct ending){.kind = fate.kind, .detail = fate.detail, .retry_at = fate.retry_at});
}

/* ---- turns ---- */

/** Waiting ends at an entry's deadline. */
static void pass_deadlines(struct sim *sim) {
  struct heap_item *first;
  while ((first = heap_first(&sim->outbox.deadlines)) && first->key <= sim->now) {
    struct entry *entry = CONTAINER_OF(first, struct entry, deadline);
    outbox_set_deadline(&sim->outbox, entry, INT64_MAX);
    queue_remove(&provider_of(sim, entry)->queue, entry);
    bool expired = entry->expires && entry->expires <= sim->now;
    struct message message = outbox_message(entry);
    struct ending ending = {.kind = expired ? OUTCOME_EXPIRED : OUTCOME_EXHAUSTED,
                            .detail =
                                expired ? STR("expired while it waited") : STR("waited longer than max_age")};
    if (entry->cancelled)
      ending = (struct ending){.kind = OUTCOME_CANCELLED, .detail = str_from(entry->cancelled)};
    report(sim, entry, &message, &ending);
  }
  if (first && first->key < sim->wake) sim->wake = first->key;
}

/** Bounces come back as what they are: events. */
static void give_feedback(struct sim *sim) {
  struct buf all = sim->feedback, id, payload;
  sim->feedback = (struct buf){0};
  buf_init(&id);
  buf_init(&payload);
  struct reader reader = reader_of(buf_str(&all));
  while (reader_left(&reader) && !reader.bad) {
    struct hash128 message_id;
    char hex[33];
    message_id.high = reader_u64(&reader);
    message_id.low = reader_u64(&reader);
    hash128_hex(message_id, hex);
    struct entity entity = {.kind = reader_u8(&reader)};
    entity.id = reader_str(&reader);
    struct str channel = reader_str(&reader), to = reader_str(&reader);
    buf_clear(&id);
    buf_printf(&id, "bounce:%s", hex);
    buf_clear(&payload);
    value_put_map(&payload, 4);
    value_put_member_text(&payload, "message_id", str_from(hex));
    value_put_member_text(&payload, "channel", channel);
    value_put_member_text(&payload, "to", to);
    value_put_member_text(&payload, "bounce_type", STR("hard"));
    sim_event(sim, &(struct event){.id = buf_str(&id),
                                   .type = STR("message.bounced"),
                                   .entity = entity,
                                   .timestamp = sim->now,
                                   .received = sim->now,
                                   .payload = buf_str(&payload),
                                   .metadata = STR("")});
  }
  buf_deinit(&all);
  buf_deinit(&id);
  buf_deinit(&payload);
}

static void lower(int64_t *when, int64_t to) {
  if (to < *when) *when = to;
}

void sim_deliver_turn(struct sim *sim) {
  int64_t mono = INT64_MAX;
  sim->wake = INT64_MAX;
  pass_deadlines(sim);
  for (uint32_t i = 0; i < sim->rules->options.config->provider_count; i++) {
    struct sim_provider *provider = &sim->providers[i];
    struct entry *entry;
    lower(&sim->wake, queue_wake(&provider->queue, &sim->limits, sim->now));
    while ((entry = queue_take(&provider->queue, sim->now * 1000, &mono))) attempt(sim, provider, entry);
  }
  if (mono != INT64_MAX) lower(&sim->wake, (mono + 999) / 1000);
  give_feedback(sim);
}
