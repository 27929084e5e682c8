#include "sim/sim_internal.h"

#include "base/memory.h"
#include "explain/dead.h"
#include "explain/user.h"
#include "explain/why.h"

/** An input that was decided, with what it did. */
struct step {
  struct log_record record;
  uint32_t run_count;
  struct str runs;
};

/** @return false at the end. */
static bool step_next(struct reader *reader, struct step *step) {
  if (!reader_left(reader)) return false;
  struct log_record *record = &step->record;
  record->seq++;
  record->type = reader_u8(reader);
  record->generation = 1;
  record->at = reader_zigzag(reader);
  record->entity.kind = reader_u8(reader);
  record->entity.id = reader_str(reader);
  record->input = reader_str(reader);
  record->effects = reader_str(reader);
  step->run_count = (uint32_t)reader_varint(reader);
  step->runs = reader_str(reader);
  return !reader->bad;
}

void sim_sent(const struct sim *sim, struct buf *out) {
  value_put_array(out, sim->sent_count);
  buf_append(out, sim->sent.data, sim->sent.len);
}

void sim_decisions(const struct sim *sim, struct buf *out) {
  struct why *why = why_new(STR(""));
  struct reader reader = reader_of(buf_str(&sim->history));
  struct step step = {0};
  while (step_next(&reader, &step)) why_add(why, &step.record);
  why_result(why, out);
  why_free(why);
}

static void put_entity(struct buf *out, struct entity entity) {
  value_put_member_text(out, entity_kind_name(entity), entity.id);
}

/** A value with one more member in front. */
static struct reader open_map(struct buf *out, struct str map, uint32_t more) {
  struct reader reader = reader_of(map);
  value_put_map(out, value_read(&reader).count + more);
  return reader;
}

static void append_rest(struct buf *out, const struct reader *reader) {
  buf_append(out, reader->at, reader_left(reader));
}

void sim_runs(const struct sim *sim, struct buf *out) {
  struct reader reader = reader_of(buf_str(&sim->history));
  struct step step = {0};
  uint32_t count = 0;
  while (step_next(&reader, &step)) count += step.run_count;
  value_put_array(out, count);
  reader = reader_of(buf_str(&sim->history));
  while (step_next(&reader, &step)) {
    struct reader runs = reader_of(step.runs);
    for (uint32_t i = 0; i < step.run_count; i++) {
      struct reader rest = open_map(out, value_slice(&runs), 1);
      put_entity(out, step.record.entity);
      append_rest(out, &rest);
    }
  }
}

void sim_dead(const struct sim *sim, struct buf *out) {
  struct buf letters;
  buf_init(&letters);
  uint32_t count = 0;
  struct reader reader = reader_of(buf_str(&sim->history));
  struct step step = {0};
  while (step_next(&reader, &step)) {
    struct reader effects = reader_of(step.record.effects);
    struct effect effect;
    struct dead_letter letter;
    while (reader_left(&effects) && effect_decode(&effect, &effects, NULL) == 0) {
      if (!dead_letter_from(&letter, &step.record, &effect)) continue;
      dead_describe(&letter, true, &letters);
      count++;
    }
  }
  value_put_array(out, count);
  buf_append(out, letters.data, letters.len);
  buf_deinit(&letters);
}

void sim_user(const struct sim *sim, struct entity entity, struct buf *out) {
  struct slot *slot = table_find(sim->table, entity);
  if (slot)
    user_describe(sim->rules->engine, &slot->record, out);
  else
    value_put_nil(out);
}

void sim_entities(const struct sim *sim, struct buf *out) {
  struct buf names;
  buf_init(&names);
  uint32_t count = 0;
  struct seen *told = seen_new();
  struct reader reader = reader_of(buf_str(&sim->history));
  struct step step = {0};
  while (step_next(&reader, &step)) {
    struct hash128 mark = seen_mark(step.record.entity, STR(""));
    if (seen_has(told, mark, -1)) continue;
    seen_add(told, mark, 0);
    value_put_map(&names, 1);
    put_entity(&names, step.record.entity);
    count++;
  }
  value_put_array(out, count);
  buf_append(out, names.data, names.len);
  seen_free(told);
  buf_deinit(&names);
}

/* ---- stories ---- */

struct story {
  struct buf rows;
  uint32_t count;
};

static struct buf *row(struct story *story, int64_t at, const char *kind, uint32_t members) {
  story->count++;
  value_put_map(&story->rows, members + 2);
  value_put_member_integer(&story->rows, "at", at);
  value_put_member_text(&story->rows, "kind", str_from(kind));
  return &story->rows;
}

static void tell_input(struct story *story, const struct log_record *record) {
  struct reader reader = reader_of(record->input);
  struct event event;
  struct effect timer;
  struct str campaign, needs;
  struct buf *out;
  if (record->type == LOG_EVENT && event_decode(&event, &reader, NULL) == 0) {
    out = row(story, record->at, "event", 4);
    value_put_member_text(out, "type", event.type);
    value_put_member_text(out, "id", event.id);
    value_put_member_integer(out, "timestamp", event.timestamp);
    value_put_member_value(out, "payload", event.payload);
  } else if (record->type == LOG_TIMER && effect_decode(&timer, &reader, NULL) == 0) {
    out = row(story, record->at, "timer", 3);
    value_put_member_text(out, "campaign", timer.timer.campaign);
    value_put_member_text(out, "name", timer.timer.name);
    value_put_member_integer(out, "due", timer.timer.due);
  } else if (record->type == LOG_LOOKUP &&
             lookup_decode(record->input, &event, &campaign, &needs, NULL) == 0) {
    out = row(story, record->at, "lookup", 2);
    value_put_member_text(out, "campaign", campaign);
    value_put_member_value(out, "needs", needs);
  } else if (record->type == LOG_FAN_OUT) {
    struct hash128 by;
    if (fan_out_input_decode(record->input, &event, &campaign, &by, NULL)) return;
    out = row(story, record->at, "reached", 5);
    value_put_member_text(out, "campaign", campaign);
    value_put_member_text(out, "user", record->entity.id);
    value_put_member_text(out, "about", event.entity.id);
    value_put_member_text(out, "type", event.type);
    value_put_member_text(out, "id", event.id);
  } else if (record->type == LOG_ATTEMPT) {
    struct hash128 id;
    id.high = reader_u64(&reader);
    id.low = reader_u64(&reader);
    out = row(story, record->at, "attempt", 2);
    value_put_member_integer(out, "attempt", (int64_t)reader_varint(&reader));
    value_put_member_hash(out, "message_id", id);
  }
}

static void tell_runs(struct story *story, const struct step *step) {
  struct reader runs = reader_of(step->runs);
  for (uint32_t i = 0; i < step->run_count; i++) {
    struct reader rest = open_map(&story->rows, value_slice(&runs), 1);
    value_put_member_text(&story->rows, "kind", STR("run"));
    append_rest(&story->rows, &rest);
    story->count++;
  }
}

/** Where it stands now. */
static void tell_journey(struct story *story, const struct log_record *record,
                         const struct journey *journey) {
  bool timed = journey->wait.due != INT64_MAX;
  struct buf *out = row(story, record->at, "journey", 4u + timed);
  value_put_member_text(out, "campaign", journey->campaign);
  value_put_member_text(out, "key", journey_key(journey));
  value_put_member_text(out, "state", str_from(journey_state_name(journey->state)));
  value_put_member_text(out, "step", journey->wait.label);
  if (timed) value_put_member_integer(out, "due", journey->wait.due);
}

static void tell_journey_end(struct story *story, const struct log_record *record,
                             const struct journey_ended *ended) {
  struct buf *out = row(story, record->at, "journey_end", 4);
  value_put_member_text(out, "campaign", ended->campaign);
  value_put_member_text(out, "key", journey_key(&(struct journey){.name = ended->name}));
  value_put_member_text(out, "how", str_from(journey_end_name(ended->end)));
  value_put_member_text(out, "reason", ended->reason);
}

static void tell_message(struct story *story, const struct log_record *record, const struct message *message,
                         const struct verdict *verdict) {
  struct buf *out = row(story, record->at, "decision", 9);
  value_put_member_integer(out, "not_before", message->not_before);
  value_put_member_text(out, "campaign", message->campaign);
  value_put_member_text(out, "template", message->template_name);
  value_put_member_text(out, "channel", message->channel);
  value_put_member_text(out, "decision", verdict->pass ? STR("send") : STR("skip"));
  value_put_member_text(out, "reason", verdict->reason);
  value_put_member_value(out, "checks", verdict->checks);
  value_put_member_hash(out, "message_id", message->id);
  value_put_member_text(out, "to", message->to);
}

static void tell_outcome(struct story *story, const struct log_record *record,
                         const struct outcome *outcome) {
  struct buf *out = row(story, record->at, "outcome", 5);
  value_put_member_text(out, "outcome", str_from(outcome_kind_name(outcome->kind)));
  value_put_member_text(out, "detail", outcome->detail);
  value_put_member_integer(out, "attempt", outcome->attempt);
  value_put_member_hash(out, "message_id", outcome->message_id);
  value_put_member_integer(out, "retry_at", outcome->retry_at);
}

static void tell_derived(struct story *story, const struct log_record *record, struct str bytes) {
  struct reader reader = reader_of(bytes);
  struct event event;
  if (event_decode(&event, &reader, NULL)) return;
  struct buf *out = row(story, record->at, "derived", 4);
  value_put_member_text(out, "type", event.type);
  value_put_member_text(out, "id", event.id);
  value_put_member_integer(out, "timestamp", event.timestamp);
  value_put_member_value(out, "payload", event.payload);
}

static void tell_effect(struct story *story, const struct log_record *record, const struct effect *effect) {
  struct buf *out;
  switch (effect->type) {
  case EFFECT_ATTRIBUTE:
    out = row(story, record->at, "attribute", 2);
    value_put_member_text(out, "name", effect->attribute.name);
    value_put_member_value(out, "value", effect->attribute.value);
    return;
  case EFFECT_TIMER_SET:
    out = row(story, record->at, "timer_set", 3);
    value_put_member_text(out, "campaign", effect->timer.campaign);
    value_put_member_text(out, "name", effect->timer.name);
    value_put_member_integer(out, "due", effect->timer.due);
    return;
  case EFFECT_TIMER_CLEAR:
    out = row(story, record->at, "timer_clear", 2);
    value_put_member_text(out, "campaign", effect->timer.campaign);
    value_put_member_text(out, "name", effect->timer.name);
    return;
  case EFFECT_SUPPRESS:
  case EFFECT_UNSUPPRESS:
    out = row(story, record->at, effect->type == EFFECT_SUPPRESS ? "suppressed" : "unsuppressed", 2);
    value_put_member_text(out, "channel", effect->suppress.channel);
    value_put_member_text(out, "reason", effect->suppress.reason);
    return;
  case EFFECT_CONSENT:
    out = row(story, record->at, effect->consent.granted ? "consent_granted" : "consent_withdrawn", 3);
    value_put_member_text(out, "purpose", effect->consent.purpose);
    value_put_member_text(out, "channel", effect->consent.channel);
    value_put_member_text(out, "source", effect->consent.source);
    return;
  case EFFECT_EXPOSURE:
  case EFFECT_GOAL:
    out = row(story, record->at, effect->type == EFFECT_GOAL ? "goal" : "exposure", 2);
    value_put_member_text(out, "experiment", effect->exposure.experiment);
    value_put_member_text(out, "variant", effect->exposure.variant);
    return;
  case EFFECT_NOT_RUN:
    out = row(story, record->at, "not_run", 3);
    value_put_member_text(out, "campaign", effect->not_run.campaign);
    value_put_member_text(out, "timer", effect->not_run.timer);
    value_put_member_text(out, "reason", effect->not_run.reason);
    return;
  case EFFECT_FAN_OUT:
    if (effect->fan_out.step != FAN_OUT_BEGINS) return;
    out = row(story, record->at, "fan_out", 3);
    value_put_member_text(out, "campaign", effect->fan_out.spec.campaign);
    value_put_member_text(out, "over", index_shown(effect->fan_out.spec.index));
    value_put_member_text(out, "key", effect->fan_out.spec.key);
    return;
  case EFFECT_MESSAGE:
    tell_message(story, record, &effect->message.message, &effect->message.verdict);
    return;
  case EFFECT_OUTCOME:
    tell_outcome(story, record, &effect->outcome);
    return;
  case EFFECT_DERIVED:
    tell_derived(story, record, effect->derived);
    return;
  case EFFECT_SEGMENT:
    if (effect->segment.change == SEGMENT_JUDGED) return;
    out = row(story, record->at, segment_change_name(effect->segment.change), 2);
    value_put_member_text(out, "segment", effect->segment.name);
    value_put_member_integer(out, "since", effect->segment.at);
    return;
  case EFFECT_JOURNEY:
    tell_journey(story, record, &effect->journey.journey);
    return;
  case EFFECT_JOURNEY_END:
    tell_journey_end(story, record, &effect->journey_ended);
    return;
  case EFFECT_FAILURE:
    out = row(story, record->at, "failed", 2);
    value_put_member_text(out, "campaign", effect->failure.campaign);
    value_put_member_text(out, "error", effect->failure.error);
    return;
  default: // windows, marks, throttles: what rules read of them is among their facts
    return;
  }
}

void sim_story(const struct sim *sim, struct entity entity, struct buf *out) {
  struct story story = {0};
  struct reader reader = reader_of(buf_str(&sim->history));
  struct step step = {0};
  while (step_next(&reader, &step)) {
    if (!entity_equal(step.record.entity, entity)) continue;
    tell_input(&story, &step.record);
    tell_runs(&story, &step);
    struct reader effects = reader_of(step.record.effects);
    struct effect effect;
    while (reader_left(&effects) && effect_decode(&effect, &effects, NULL) == 0)
      tell_effect(&story, &step.record, &effect);
  }
  value_put_array(out, story.count);
  buf_append(out, story.rows.data, story.rows.len);
  buf_deinit(&story.rows);
}
