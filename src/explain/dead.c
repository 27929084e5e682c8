#include "explain/dead.h"

#include "explain/explain.h"

/** What the rule was run on, as its sender or the timer said it. */
static void put_input(struct buf *out, struct str input) {
  struct reader reader = reader_of(input);
  uint8_t type = reader_u8(&reader);
  struct event event;
  struct effect timer;
  value_put_string(out, STR("input"));
  if (explain_is_of_event(type) && event_decode(&event, &reader, NULL) == 0) {
    struct str needs = STR("");
    if (type == LOG_LOOKUP) {
      reader_str(&reader); // the campaign
      needs = reader_str(&reader);
    }
    value_put_map(out, 6 + (needs.len > 0));
    if (needs.len) value_put_member_stored(out, "needs", needs);
    value_put_member_text(out, "event_id", event.id);
    value_put_member_text(out, "event_type", event.type);
    value_put_member_text(out, event.entity.kind == ENTITY_SUBJECT ? "subject" : "user_id", event.entity.id);
    value_put_member_integer(out, "timestamp", event.timestamp);
    value_put_member_stored(out, "payload", event.payload);
    value_put_member_stored(out, "metadata", event.metadata);
  } else if (type == LOG_TIMER && effect_decode(&timer, &reader, NULL) == 0 &&
             timer.type == EFFECT_TIMER_SET) {
    value_put_map(out, 4);
    value_put_member_text(out, "timer", timer.timer.name);
    value_put_member_text(out, "campaign", timer.timer.campaign);
    value_put_member_integer(out, "due", timer.timer.due);
    value_put_member_stored(out, "data", timer.timer.data);
  } else {
    value_put_nil(out);
  }
}

static void describe_failure(const struct dead_letter *letter, bool whole, struct buf *out) {
  const struct failure *failure = &letter->failure;
  struct str error = failure->error;
  const char *line_end = whole || !error.len ? NULL : memchr(error.data, '\n', error.len);
  if (line_end) error.len = (size_t)(line_end - error.data);
  value_put_map(out, 8 + (whole ? 2 : 0));
  value_put_member_hash(out, "id", letter->id);
  value_put_member_text(out, "kind", STR("rule"));
  value_put_member_text(out, entity_kind_name(letter->entity), letter->entity.id);
  value_put_member_integer(out, "at", letter->at);
  value_put_member_text(out, "campaign", failure->campaign);
  value_put_member_text(out, "rule", failure->rule);
  value_put_member_integer(out, "generation", failure->generation);
  value_put_member_text(out, "error", error);
  if (!whole) return;
  explain_put_cause(out, failure->input);
  put_input(out, failure->input);
}

static void describe_message(const struct dead_letter *letter, bool whole, struct buf *out) {
  const struct outcome *outcome = &letter->outcome;
  struct message message = {0};
  struct reader reader = reader_of(outcome->message);
  if (message_decode(&message, &reader, NULL)) message = (struct message){0};
  value_put_map(out, 13u + (outcome->unsent > 0) + (whole ? 6 : 0));
  value_put_member_hash(out, "id", letter->id);
  value_put_member_text(out, "kind", STR("message"));
  value_put_member_text(out, entity_kind_name(letter->entity), letter->entity.id);
  value_put_member_integer(out, "at", letter->at);
  value_put_member_text(out, "campaign", message.campaign);
  value_put_member_text(out, "rule", message.rule);
  value_put_member_integer(out, "generation", message.generation);
  value_put_member_text(out, "outcome", str_from(outcome_kind_name(outcome->kind)));
  value_put_member_text(out, "detail", outcome->detail);
  value_put_member_integer(out, "attempt", outcome->attempt);
  if (outcome->unsent) value_put_member_integer(out, "unsent", outcome->unsent);
  value_put_member_text(out, "template", message.template_name);
  value_put_member_text(out, "channel", message.channel);
  value_put_member_text(out, "provider", message.provider);
  if (!whole) return;
  value_put_member_text(out, "to", message.to);
  value_put_member_text(out, "cause", message.cause);
  value_put_member_integer(out, "decided", message.accepted);
  value_put_member_integer(out, "expires", message.expires);
  value_put_member_stored(out, "facts", message.facts);
  value_put_member_stored(out, "data", message.data);
}

void dead_describe(const struct dead_letter *letter, bool whole, struct buf *out) {
  if (letter->kind == DEAD_RULE)
    describe_failure(letter, whole, out);
  else
    describe_message(letter, whole, out);
}
