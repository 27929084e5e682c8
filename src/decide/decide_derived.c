/* Events that follow from an input: what its rules emit, decided behind it within the same record of the log.
 *
 * An EFFECT_DERIVED among the draft's effects is both the queue and the mark: a rule that fails takes back
 * what it emitted with everything else, and history has each event where it arose. */
#include "decide/decide_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

/** A rule that waits for look-ups goes on as an input of its own, which could go on for ever: so deep may
 * events follow from events in this way. */
enum { DERIVED_DEPTH_MAX = 3 };

void decide_derived_init(struct decider *decider) {
  buf_init(&decider->derived.cause);
  buf_init(&decider->derived.event);
  buf_init(&decider->derived.id);
  buf_init(&decider->derived.bytes);
}

void decide_derived_deinit(struct decider *decider) {
  buf_deinit(&decider->derived.cause);
  buf_deinit(&decider->derived.event);
  buf_deinit(&decider->derived.id);
  buf_deinit(&decider->derived.bytes);
}

void decide_derived_begin(struct decider *decider) {
  decider->derived.count = decider->derived.decided = 0;
  decider->derived.at = 0;
}

/** "derived:2:1:…" is two deep; what came from outside, and a timer, are not deep at all. */
static uint32_t depth_of(struct str cause) {
  size_t prefix = sizeof EVENT_DERIVED - 1;
  if (cause.len <= prefix || memcmp(cause.data, EVENT_DERIVED, prefix) != 0) return 0;
  unsigned digit = (unsigned char)cause.data[prefix] - '0';
  return digit <= 9 ? digit : 0;
}

/** The first event that follows from an input: what the ids of all are made of. */
static void note_cause(struct decider *decider) {
  struct str cause = decider->call.cause;
  struct buf *out = &decider->derived.cause;
  buf_clear(out);
  decider->derived.depth = depth_of(cause) + 1;
  if (decider->reached
          .len) { // several fan-outs of one event may reach a user, as the event itself may be his
    char of_whole[33];
    hash128_hex(hash128(decider->reached, 0), of_whole);
    buf_append(out, of_whole, 32);
    return;
  }
  char hex[33];
  const struct engine_journey_call *journey = decider->call.timer ? decider->call.journey : NULL;
  if (journey && journey->journey) { // several of one key, begun in parallel, may be due at one moment
    buf_append(out, &journey->journey->id, sizeof journey->journey->id);
    buf_append(out, cause.data, cause.len);
    hash128_hex(hash128(buf_str(out), 0), hex);
    buf_clear(out);
    buf_append(out, hex, 32);
    return;
  }
  if (!hash128_is_zero(decider->call.origin)) {
    engine_call_put_cause(&decider->call, out);
    hash128_hex(hash128(buf_str(out), 0), hex);
    buf_clear(out);
    buf_append(out, hex, 32);
    return;
  }
  if (cause.len + sizeof EVENT_DERIVED + 16 <= EVENT_ID_MAX) {
    buf_append(out, cause.data, cause.len);
    return;
  }
  hash128_hex(hash128(cause, 0), hex);
  buf_append(out, hex, 32);
}

int decide_emit(struct decider *decider, struct str type, struct str payload, struct str source,
                struct error *err) {
  const struct engine_call *call = &decider->call;
  if (decider->derived.count == ENGINE_EMIT_MAX)
    return error_set(err, ERROR_LIMIT,
                     "%.*s is one event too many: an input may lead to %d, those that they lead to included",
                     STR_ARG(type), ENGINE_EMIT_MAX);
  if (decider->derived.count == 0) note_cause(decider);
  if (decider->derived.depth > DERIVED_DEPTH_MAX)
    return error_set(
        err, ERROR_LIMIT,
        "%.*s follows from an event that follows from an event …: through look-ups %d deep is allowed",
        STR_ARG(type), DERIVED_DEPTH_MAX);
  struct buf *id = &decider->derived.id, *bytes = &decider->derived.bytes;
  buf_clear(id);
  buf_printf(id, EVENT_DERIVED "%u:%u:%.*s", (unsigned)decider->derived.depth,
             (unsigned)decider->derived.count + 1, STR_ARG(buf_str(&decider->derived.cause)));
  size_t id_len = id->len;
  value_put_map(id, 1);
  value_put_member_text(id, "source", source);
  struct event event = {.id = {(const char *)id->data, id_len},
                        .type = type,
                        .entity = call->entity,
                        .timestamp = call->now,
                        .received = call->wall,
                        .payload = payload,
                        .metadata = {(const char *)id->data + id_len, id->len - id_len}};
  buf_clear(bytes);
  event_encode(&event, bytes);
  struct effect effect = {.type = EFFECT_DERIVED, .derived = buf_str(bytes)};
  int rc = draft_add(&decider->draft, &effect, err);
  if (rc == 0) decider->derived.count++;
  return rc;
}

int decide_take_emitted(struct decider *decider, struct str source, struct error *err) {
  uint32_t before = decider->derived.count;
  struct reader reader = reader_of(buf_str(&decider->call.emitted));
  int rc = 0;
  for (uint32_t i = 0; rc == 0 && i < decider->call.emitted_count; i++) {
    struct str type = reader_str(&reader), payload = reader_str(&reader);
    rc = decide_emit(decider, type, payload, source, err);
  }
  if (rc) decider->derived.count = before;
  return rc;
}

/** The next that is not decided, copied, for the effects move. @return false if there is none. */
static bool derived_next(struct decider *decider, struct event *event) {
  if (decider->derived.decided == decider->derived.count) return false;
  struct reader reader = reader_of(buf_str(&decider->draft.effects));
  struct effect effect = {0};
  reader_take(&reader, decider->derived.at);
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0 && effect.type != EFFECT_DERIVED)
    ;
  decider->derived.at = (size_t)(reader.at - decider->draft.effects.data);
  decider->derived.decided++;
  if (effect.type != EFFECT_DERIVED) return false;
  buf_clear(&decider->derived.event);
  buf_append(&decider->derived.event, effect.derived.data, effect.derived.len);
  reader = reader_of(buf_str(&decider->derived.event));
  return event_decode(event, &reader, NULL) == 0;
}

void decide_derived(struct decider *decider, int64_t wall, struct decision *out) {
  struct event event;
  decide_segments(decider, NULL, out);
  while (derived_next(decider, &event)) {
    if (decider->options.observer.derived)
      decider->options.observer.derived(decider->options.observer.context, &event);
    decide_take_event(decider, &event, wall, out);
  }
}
