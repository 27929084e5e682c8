#include "explain/journey_tell.h"

static void put_moment(struct buf *out, const char *name, int64_t at, int64_t none) {
  value_put_string(out, str_from(name));
  if (at == none)
    value_put_nil(out);
  else
    value_put_integer(out, at);
}

static void put_bool(struct buf *out, const char *name, bool value) {
  value_put_string(out, str_from(name));
  value_put_bool(out, value);
}

/** Which one it was: { type, id }; empty for none. */
static void put_event(struct buf *out, const char *name, struct str bytes) {
  struct reader reader = reader_of(bytes);
  struct event event;
  bool there = bytes.len && event_decode(&event, &reader, NULL) == 0;
  value_put_string(out, str_from(name));
  value_put_map(out, there ? 2 : 0);
  if (!there) return;
  value_put_member_text(out, "type", event.type);
  value_put_member_text(out, "id", event.id);
}

static void put_types(struct buf *out, struct str types) {
  uint32_t count = 0;
  struct reader reader = reader_of(types);
  for (; reader_left(&reader); count++) reader_str(&reader);
  value_put_string(out, STR("on"));
  value_put_array(out, count);
  reader = reader_of(types);
  while (reader_left(&reader)) value_put_string(out, reader_str(&reader));
}

static void put_wait(const struct journey *journey, struct buf *out) {
  value_put_string(out, STR("waits"));
  value_put_map(out, 5);
  value_put_member_text(out, "words", journey->wait.label);
  value_put_member_integer(out, "line", journey->wait.line);
  put_moment(out, "due", journey->wait.due, INT64_MAX);
  put_moment(out, "held", journey->wait.held, 0);
  put_types(out, journey->wait.on);
}

/** What was answered after a wait was answered at its time. */
static void put_history(const struct journey *journey, struct buf *out) {
  struct reader reader = reader_of(journey->history);
  struct journey_step step;
  int64_t at = journey->at;
  value_put_string(out, STR("history"));
  value_put_array(out, journey->steps);
  for (uint32_t i = 0; i < journey->steps; i++) {
    struct journey_answer answer;
    if (!journey_step_next(&reader, &step))
      step = (struct journey_step){.label = STR("?"), .answer = STR("")};
    bool wait = !step.failed && journey_op_waits(step.op) && journey_answer_decode(&answer, step.answer);
    if (wait) at = answer.at;
    value_put_map(out, 4);
    value_put_member_integer(out, "at", at);
    value_put_member_text(out, "op", str_from(journey_op_name(step.op)));
    value_put_member_text(out, "words", step.label);
    value_put_string(out, STR("answer"));
    if (wait) {
      value_put_map(out, 1);
      put_event(out, "event", answer.event);
    } else if (step.failed) {
      value_put_map(out, 1);
      value_put_member_text(out, "failed", step.answer);
    } else if (step.answer.len) {
      buf_append(out, step.answer.data, step.answer.len);
    } else {
      value_put_nil(out);
    }
  }
}

static void put_journey(const struct engine *engine, const struct journey *journey, struct buf *out) {
  const struct engine_rule *rules;
  engine_rules(engine, &rules);
  int rule = engine_rule_of(engine, journey->campaign);
  value_put_map(out, 14);
  value_put_member_hash(out, "id", journey->id);
  value_put_member_text(out, "campaign", journey->campaign);
  value_put_member_text(out, "key", journey_key(journey));
  value_put_member_text(out, "state", str_from(journey_state_name(journey->state)));
  value_put_member_text(out, "why", journey->why);
  value_put_member_hash(out, "version", journey->version);
  put_bool(out, "serves", rule >= 0 && hash128_equal(rules[rule].version, journey->version));
  value_put_member_text(out, "rule", rule >= 0 ? rules[rule].path : STR(""));
  value_put_member_integer(out, "begun", journey->begun);
  value_put_member_integer(out, "at", journey->at);
  value_put_member_integer(out, "run", journey->run);
  put_event(out, "by", journey->event);
  put_wait(journey, out);
  put_history(journey, out);
}

void journey_tell(const struct engine *engine, const struct record *record, struct str only,
                  struct buf *out) {
  struct journey head, journey;
  struct buf rows;
  uint32_t count = 0;
  buf_init(&rows);
  for (size_t at = 0; record_journey_next(record, &at, &head);) {
    if ((only.len && !str_equal(head.campaign, only)) || !record_journey(record, head.id, &journey)) continue;
    put_journey(engine, &journey, &rows);
    count++;
  }
  value_put_array(out, count);
  buf_append(out, rows.data, rows.len);
  buf_deinit(&rows);
}
