#include "explain/why.h"

#include "base/logger.h"
#include "base/memory.h"
#include "explain/explain.h"

#include <inttypes.h>

/** A decision as far as it is known: pairs of its map, and the lists that later records add to. */
struct decision {
  struct buf pairs;
  uint32_t pair_count;
  bool of_message;
  struct buf attempts, outcomes;
  uint32_t attempt_count, outcome_count;
};

struct why {
  struct buf filter;
  struct decision *decisions;
  size_t count, capacity;
  /** Message id -> decision, open addressing; `at` is the index + 1. */
  struct slot {
    struct hash128 id;
    size_t at;
  } * slots;
  size_t slot_count, slots_used;
};

struct why *why_new(struct str filter) {
  struct why *why = memory_zalloc(sizeof *why);
  buf_append(&why->filter, filter.data, filter.len);
  why->slot_count = 64;
  why->slots = memory_zalloc(why->slot_count * sizeof *why->slots);
  return why;
}

void why_free(struct why *why) {
  if (!why) return;
  for (size_t i = 0; i < why->count; i++) {
    buf_deinit(&why->decisions[i].pairs);
    buf_deinit(&why->decisions[i].attempts);
    buf_deinit(&why->decisions[i].outcomes);
  }
  memory_free(why->decisions);
  memory_free(why->slots);
  buf_deinit(&why->filter);
  memory_free(why);
}

/* ---- which decision a message id means ---- */

static struct slot *slot_of(struct slot *slots, size_t count, struct hash128 id) {
  size_t at = id.low & (count - 1);
  while (slots[at].at && !hash128_equal(slots[at].id, id)) at = (at + 1) & (count - 1);
  return &slots[at];
}

static void slots_double(struct why *why) {
  size_t count = why->slot_count * 2;
  struct slot *slots = memory_zalloc(count * sizeof *slots);
  for (size_t i = 0; i < why->slot_count; i++)
    if (why->slots[i].at) *slot_of(slots, count, why->slots[i].id) = why->slots[i];
  memory_free(why->slots);
  why->slots = slots;
  why->slot_count = count;
}

static struct decision *decision_of(const struct why *why, struct hash128 id) {
  const struct slot *slot = slot_of(why->slots, why->slot_count, id);
  return slot->at ? &why->decisions[slot->at - 1] : NULL;
}

static struct decision *decision_add(struct why *why) {
  if (why->count == why->capacity) {
    why->capacity = why->capacity ? why->capacity * 2 : 16;
    why->decisions = memory_realloc(why->decisions, why->capacity * sizeof *why->decisions);
  }
  struct decision *decision = &why->decisions[why->count++];
  *decision = (struct decision){0};
  return decision;
}

/* ---- maps ---- */

static void put_entity(struct buf *out, struct entity entity) {
  value_put_member_text(out, entity_kind_name(entity), entity.id);
}

static void put_list(struct buf *out, const char *name, uint32_t count, const struct buf *items) {
  value_put_string(out, str_from(name));
  value_put_array(out, count);
  buf_append(out, items->data, items->len);
}

/* ---- from record to decision ---- */

/** Whether the question is about this. */
static bool wanted(const struct why *why, struct str one, struct str other) {
  struct str filter = buf_str(&why->filter);
  return filter.len == 0 || str_equal(filter, one) || str_equal(filter, other);
}

static void add_outcome(struct decision *decision, struct str name, const struct outcome *outcome,
                        uint64_t seq) {
  struct buf *out = &decision->outcomes;
  bool again = outcome->kind == OUTCOME_RETRY, named = outcome->provider_id.len > 0,
       unsent = outcome->unsent > 0;
  value_put_map(out, 5u + unsent + again + named);
  value_put_member_text(out, "outcome", name);
  value_put_member_integer(out, "at", outcome->at);
  value_put_member_integer(out, "attempt", outcome->attempt);
  if (unsent) value_put_member_integer(out, "unsent", outcome->unsent);
  value_put_member_text(out, "detail", outcome->detail);
  value_put_member_integer(out, "seq", (int64_t)seq);
  if (again) value_put_member_integer(out, "retry_at", outcome->retry_at);
  if (named) value_put_member_text(out, "provider_id", outcome->provider_id);
  decision->outcome_count++;
}

static void add_message(struct why *why, const struct log_record *record, const struct message *message,
                        const struct verdict *verdict) {
  if (!wanted(why, message->template_name, message->campaign)) return;
  struct decision *decision = decision_of(why, message->id);
  if (decision) {
    // One message has one decision for ever; its effect comes again only when an operator has it sent again.
    add_outcome(decision, STR("resent"),
                &(struct outcome){.at = record->at, .detail = STR("by the operator")}, record->seq);
    return;
  }
  if (2 * ++why->slots_used > why->slot_count) slots_double(why);
  *slot_of(why->slots, why->slot_count, message->id) = (struct slot){message->id, why->count + 1};
  decision = decision_add(why);
  decision->of_message = true;
  struct buf *out = &decision->pairs;
  put_entity(out, record->entity);
  value_put_member_integer(out, "at", message->at);
  value_put_member_integer(out, "accepted", message->accepted);
  value_put_member_text(out, "campaign", message->campaign);
  value_put_member_text(out, "rule", message->rule);
  value_put_member_integer(out, "generation", message->generation);
  value_put_member_text(out, "template", message->template_name);
  value_put_member_text(out, "channel", message->channel);
  value_put_member_text(out, "provider", message->provider);
  if (message->purpose.len) value_put_member_text(out, "purpose", message->purpose);
  if (message->not_before) value_put_member_integer(out, "not_before", message->not_before);
  value_put_member_hash(out, "message_id", message->id);
  value_put_member_text(out, "cause", message->cause);
  value_put_member_text(out, "decision", verdict->pass ? STR("send") : STR("skip"));
  value_put_member_text(out, "reason", verdict->reason);
  value_put_member_stored(out, "facts", message->facts);
  value_put_member_stored(out, "checks", verdict->checks);
  decision->pair_count = 15u + (message->purpose.len > 0) + (message->not_before != 0);
}

static void add_failure(struct why *why, const struct log_record *record, const struct failure *failure) {
  if (!wanted(why, failure->campaign, failure->rule)) return;
  struct decision *decision = decision_add(why);
  struct buf *out = &decision->pairs;
  put_entity(out, record->entity);
  value_put_member_integer(out, "at", failure->at);
  value_put_member_integer(out, "accepted", record->at);
  value_put_member_text(out, "campaign", failure->campaign);
  value_put_member_text(out, "rule", failure->rule);
  value_put_member_integer(out, "generation", failure->generation);
  explain_put_cause(out, failure->input);
  value_put_member_text(out, "decision", STR("failed"));
  value_put_member_text(out, "error", failure->error);
  decision->pair_count = 9;
}

static void add_not_run(struct why *why, const struct log_record *record, const struct not_run *not_run) {
  if (!wanted(why, not_run->campaign, not_run->campaign)) return;
  struct decision *decision = decision_add(why);
  struct buf *out = &decision->pairs, cause;
  put_entity(out, record->entity);
  buf_init(&cause);
  buf_printf(&cause, "timer:%.*s/%.*s@%" PRId64, STR_ARG(not_run->campaign), STR_ARG(not_run->timer),
             not_run->due);
  value_put_member_integer(out, "at", not_run->due);
  value_put_member_integer(out, "accepted", record->at);
  value_put_member_text(out, "campaign", not_run->campaign);
  value_put_member_text(out, "rule", not_run->rule);
  value_put_member_integer(out, "generation", record->generation);
  value_put_member_text(out, "cause", buf_str(&cause));
  value_put_member_text(out, "decision", STR("none"));
  value_put_member_text(out, "reason", not_run->reason);
  decision->pair_count = 9;
  if (not_run->moved_to) {
    value_put_member_integer(out, "moved_to", not_run->moved_to);
    decision->pair_count++;
  }
  buf_deinit(&cause);
}

/** Suppressions are of the user as a whole: part of the answer only when all of it is asked for. */
static void add_suppression(struct why *why, const struct log_record *record, const struct effect *effect) {
  if (why->filter.len) return;
  bool on = effect->type == EFFECT_SUPPRESS;
  struct decision *decision = decision_add(why);
  put_entity(&decision->pairs, record->entity);
  value_put_member_integer(&decision->pairs, "at", effect->suppress.at ? effect->suppress.at : record->at);
  value_put_member_text(&decision->pairs, "decision", on ? STR("suppressed") : STR("unsuppressed"));
  value_put_member_text(&decision->pairs, "channel", effect->suppress.channel);
  value_put_member_text(&decision->pairs, "reason", effect->suppress.reason);
  decision->pair_count = 5;
}

static void add_consent(struct why *why, const struct log_record *record, const struct consent *consent) {
  if (why->filter.len && !str_equal(buf_str(&why->filter), consent->purpose)) return;
  struct decision *decision = decision_add(why);
  struct buf *out = &decision->pairs;
  put_entity(out, record->entity);
  value_put_member_integer(out, "at", consent->at);
  value_put_member_integer(out, "accepted", record->at);
  value_put_member_text(out, "decision",
                        consent->granted ? STR("consent granted") : STR("consent withdrawn"));
  value_put_member_text(out, "purpose", consent->purpose);
  value_put_member_text(out, "channel", consent->channel);
  value_put_member_text(out, "source", consent->source);
  decision->pair_count = 7;
}

static void add_exposure(struct why *why, const struct log_record *record, const struct exposure *exposure) {
  if (!wanted(why, exposure->experiment, exposure->experiment)) return;
  struct decision *decision = decision_add(why);
  struct buf *out = &decision->pairs;
  put_entity(out, record->entity);
  value_put_member_integer(out, "at", exposure->reached ? exposure->goal_at : exposure->at);
  value_put_member_integer(out, "accepted", record->at);
  value_put_member_integer(out, "generation", record->generation);
  value_put_member_text(out, "decision", exposure->reached ? STR("goal") : STR("exposed"));
  value_put_member_text(out, "experiment", exposure->experiment);
  value_put_member_text(out, "variant", exposure->variant);
  value_put_string(out, STR("value"));
  value_put_number(out, (double)exposure->amount / 1e6);
  value_put_member_value(out, "chances", exposure->chances);
  decision->pair_count = 9;
}

static void add_membership(struct why *why, const struct log_record *record,
                           const struct membership *membership) {
  if (!wanted(why, membership->name, membership->name)) return;
  struct decision *decision = decision_add(why);
  struct buf *out = &decision->pairs;
  put_entity(out, record->entity);
  value_put_member_integer(out, "at", membership->at);
  value_put_member_integer(out, "accepted", record->at);
  value_put_member_integer(out, "generation", record->generation);
  value_put_member_text(out, "decision", str_from(segment_change_name(membership->change)));
  value_put_member_text(out, "segment", membership->name);
  decision->pair_count = 6;
}

/** What a segment tells of is a membership, and shown as such. */
static void add_derived(struct why *why, const struct log_record *record, struct str bytes) {
  struct reader reader = reader_of(bytes);
  struct event event;
  struct str source = STR(""), found;
  if (event_decode(&event, &reader, NULL) || event_type_is_host(event.type)) return;
  if (value_member(event.metadata, STR("source"), &found)) source = value_head(found).string;
  if (!wanted(why, source, event.type)) return;
  struct decision *decision = decision_add(why);
  struct buf *out = &decision->pairs;
  put_entity(out, record->entity);
  value_put_member_integer(out, "at", event.timestamp);
  value_put_member_integer(out, "accepted", record->at);
  value_put_member_integer(out, "generation", record->generation);
  value_put_member_text(out, "campaign", source);
  value_put_member_text(out, "decision", STR("emitted"));
  value_put_member_text(out, "event_type", event.type);
  value_put_member_text(out, "event_id", event.id);
  decision->pair_count = 8;
}

/** A journey that is in flight no more: why nothing followed. */
static void add_journey_end(struct why *why, const struct log_record *record,
                            const struct journey_ended *ended) {
  if (!wanted(why, ended->campaign, ended->campaign)) return;
  struct decision *decision = decision_add(why);
  struct buf *out = &decision->pairs;
  put_entity(out, record->entity);
  value_put_member_integer(out, "at", ended->at);
  value_put_member_integer(out, "accepted", record->at);
  value_put_member_text(out, "campaign", ended->campaign);
  value_put_member_integer(out, "generation", record->generation);
  value_put_member_text(out, "decision", STR("journey ended"));
  value_put_member_text(out, "key", journey_key(&(struct journey){.name = ended->name}));
  value_put_member_text(out, "ended", str_from(journey_end_name(ended->end)));
  value_put_member_text(out, "reason", ended->reason);
  value_put_member_text(out, "step", ended->step);
  value_put_member_integer(out, "steps", ended->steps);
  value_put_member_integer(out, "begun", ended->begun);
  decision->pair_count = 12;
}

static void add_attempt(struct why *why, const struct log_record *record) {
  struct reader reader = reader_of(record->input);
  struct hash128 id;
  id.high = reader_u64(&reader);
  id.low = reader_u64(&reader);
  uint64_t attempt = reader_varint(&reader);
  struct decision *decision = reader.bad ? NULL : decision_of(why, id);
  if (!decision) return;
  value_put_map(&decision->attempts, 3);
  value_put_member_integer(&decision->attempts, "attempt", (int64_t)attempt);
  value_put_member_integer(&decision->attempts, "at", record->at);
  value_put_member_integer(&decision->attempts, "seq", (int64_t)record->seq);
  decision->attempt_count++;
}

int why_add(void *context, const struct log_record *record) {
  struct why *why = context;
  if (record->type == LOG_ATTEMPT) add_attempt(why, record);
  struct reader reader = reader_of(record->effects);
  while (reader_left(&reader)) {
    struct effect effect;
    struct error err = {0};
    if (effect_decode(&effect, &reader, &err)) {
      LOG_WARN("why", "a record is not readable, the rest of it is left out", LOG_INT("seq", record->seq),
               LOG_TEXT("error", err.message));
      break;
    }
    switch (effect.type) {
    case EFFECT_MESSAGE:
      add_message(why, record, &effect.message.message, &effect.message.verdict);
      break;
    case EFFECT_FAILURE:
      add_failure(why, record, &effect.failure);
      break;
    case EFFECT_NOT_RUN:
      add_not_run(why, record, &effect.not_run);
      break;
    case EFFECT_SUPPRESS:
    case EFFECT_UNSUPPRESS:
      add_suppression(why, record, &effect);
      break;
    case EFFECT_CONSENT:
      add_consent(why, record, &effect.consent);
      break;
    case EFFECT_EXPOSURE:
    case EFFECT_GOAL:
      add_exposure(why, record, &effect.exposure);
      break;
    case EFFECT_SEGMENT:
      if (effect.segment.change != SEGMENT_JUDGED) add_membership(why, record, &effect.segment);
      break;
    case EFFECT_DERIVED:
      add_derived(why, record, effect.derived);
      break;
    case EFFECT_JOURNEY_END:
      add_journey_end(why, record, &effect.journey_ended);
      break;
    case EFFECT_OUTCOME: {
      struct decision *decision = decision_of(why, effect.outcome.message_id);
      if (decision)
        add_outcome(decision, str_from(outcome_kind_name(effect.outcome.kind)), &effect.outcome, record->seq);
      break;
    }
    default:
      break;
    }
  }
  return 0;
}

void why_result(const struct why *why, struct buf *out) {
  value_put_array(out, (uint32_t)why->count);
  for (size_t i = 0; i < why->count; i++) {
    const struct decision *decision = &why->decisions[i];
    value_put_map(out, decision->pair_count + (decision->of_message ? 2 : 0));
    buf_append(out, decision->pairs.data, decision->pairs.len);
    if (!decision->of_message) continue;
    put_list(out, "attempts", decision->attempt_count, &decision->attempts);
    put_list(out, "outcomes", decision->outcome_count, &decision->outcomes);
  }
}
