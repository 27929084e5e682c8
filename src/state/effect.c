#include "state/effect.h"

#include "state/stored.h"

enum { EFFECT_TYPES = 24 };

/* A window entry's second byte: kind in the low 3 bits, then what is left out. */
enum { ENTRY_KIND = 7, ENTRY_KEYED = 8, ENTRY_ONE = 16, ENTRY_KNOWN = 31 };

/* An outcome's kind: its `unsent` follows. */
enum { OUTCOME_UNSENT = 0x80 };

const char *outcome_kind_name(enum outcome_kind kind) {
  static const char *const names[OUTCOME_KINDS] = {
      [OUTCOME_ACCEPTED] = "accepted", [OUTCOME_RETRY] = "retry",
      [OUTCOME_REJECTED] = "rejected", [OUTCOME_EXHAUSTED] = "exhausted",
      [OUTCOME_EXPIRED] = "expired",   [OUTCOME_CANCELLED] = "cancelled",
      [OUTCOME_HELD] = "held"};
  return kind > 0 && kind < OUTCOME_KINDS ? names[kind] : "unknown";
}

const char *effect_name(enum effect_type type) {
  static const char *const names[] = {[EFFECT_WINDOW] = "window",
                                      [EFFECT_ATTRIBUTE] = "attribute",
                                      [EFFECT_THROTTLE] = "throttle",
                                      [EFFECT_ONCE] = "once",
                                      [EFFECT_TIMER_SET] = "timer_set",
                                      [EFFECT_TIMER_CLEAR] = "timer_clear",
                                      [EFFECT_SUPPRESS] = "suppress",
                                      [EFFECT_UNSUPPRESS] = "unsuppress",
                                      [EFFECT_MESSAGE] = "message",
                                      [EFFECT_FAILURE] = "failure",
                                      [EFFECT_OUTCOME] = "outcome",
                                      [EFFECT_DEAD_CLEAR] = "dead_clear",
                                      [EFFECT_NOT_RUN] = "not_run",
                                      [EFFECT_CONSENT] = "consent",
                                      [EFFECT_COUNT_SEND] = "count_send",
                                      [EFFECT_INDEX] = "index",
                                      [EFFECT_DERIVED] = "derived",
                                      [EFFECT_SEGMENT] = "segment",
                                      [EFFECT_FAN_OUT] = "fan_out",
                                      [EFFECT_EXPOSURE] = "exposure",
                                      [EFFECT_GOAL] = "goal",
                                      [EFFECT_WINDOW_STATE] = "window_state",
                                      [EFFECT_JOURNEY] = "journey",
                                      [EFFECT_JOURNEY_END] = "journey_end"};
  size_t number = (size_t)type;
  return number < sizeof names / sizeof *names && names[number] ? names[number] : "?";
}

const char *segment_change_name(enum segment_change change) {
  static const char *const names[] = {"?", "entered", "left", "filled", "forgotten", "judged"};
  return change >= SEGMENT_ENTERED && change <= SEGMENT_JUDGED ? names[change] : names[0];
}

static uint32_t read_u32(struct reader *reader) {
  uint64_t value = reader_varint(reader);
  if (value > UINT32_MAX) reader->bad = true;
  return (uint32_t)value;
}

static bool has_value(enum window_kind kind) {
  return kind == WINDOW_LAST || kind == WINDOW_FIRST;
}

static void window_encode(const struct window_entry *entry, struct buf *out) {
  bool number = entry->kind == WINDOW_COUNT || entry->kind == WINDOW_SUM;
  bool one = number && entry->amount == 1;
  buf_put_u8(out, (uint8_t)((unsigned)entry->kind | (entry->key ? ENTRY_KEYED : 0) | (one ? ENTRY_ONE : 0)));
  buf_put_u64(out, entry->id);
  if (entry->key) buf_put_u64(out, entry->key);
  buf_put_zigzag(out, entry->over);
  buf_put_zigzag(out, entry->at);
  if (has_value(entry->kind))
    buf_put_str(out, entry->value);
  else if (entry->kind == WINDOW_DISTINCT)
    buf_put_u64(out, (uint64_t)entry->amount);
  else if (!one)
    buf_put_zigzag(out, entry->amount);
}

static void window_decode(struct window_entry *entry, struct reader *reader) {
  unsigned flags = reader_u8(reader);
  entry->kind = flags & ENTRY_KIND;
  entry->id = reader_u64(reader);
  if (flags & ENTRY_KEYED) entry->key = reader_u64(reader);
  entry->over = stored_zigzag(reader);
  entry->at = stored_zigzag(reader);
  entry->value = STR("");
  if (has_value(entry->kind))
    entry->value = reader_str(reader);
  else if (entry->kind == WINDOW_DISTINCT)
    entry->amount = (int64_t)reader_u64(reader);
  else
    entry->amount = flags & ENTRY_ONE ? 1 : reader_zigzag(reader);
  if ((flags & ~(unsigned)ENTRY_KNOWN) || window_kind_name(entry->kind)[0] == 0 || entry->over <= 0 ||
      entry->value.len > WINDOW_VALUE_MAX)
    reader->bad = true;
}

static void held_encode(const struct window_held *held, struct buf *out) {
  buf_put_u64(out, held->id);
  buf_put_u64(out, held->key);
  buf_put_zigzag(out, held->over);
  buf_put_str(out, held->state);
}

static void held_decode(struct window_held *held, struct reader *reader) {
  held->id = reader_u64(reader);
  held->key = reader_u64(reader);
  held->over = reader_zigzag(reader);
  held->state = reader_str(reader);
  if (held->over <= 0 || held->state.len > WINDOW_STATE_MAX) reader->bad = true;
}

enum { TIMER_SET_BY = 2 /**< beside `late` */ };

void timer_encode_times(const struct timer *timer, struct buf *out) {
  buf_put_zigzag(out, timer->due);
  stored_put_after(out, timer->set_at, timer->due);
  buf_put_u8(out, (uint8_t)(timer->late | (timer->set_by ? TIMER_SET_BY : 0)));
  buf_put_zigzag(out, timer->late_after);
  if (timer->set_by) buf_put_u64(out, timer->set_by);
}

void timer_encode(const struct timer *timer, struct buf *out) {
  timer_encode_times(timer, out);
  buf_put_str(out, timer->campaign);
  buf_put_str(out, timer->name);
  buf_put_str(out, timer->cancel_on);
  buf_put_str(out, timer->data);
}

bool timer_decode(struct timer *timer, struct reader *reader) {
  timer->due = reader_zigzag(reader);
  timer->set_at = stored_after(reader, timer->due);
  uint8_t late = reader_u8(reader);
  timer->late = late & 1;
  timer->late_after = reader_zigzag(reader);
  timer->set_by = late & TIMER_SET_BY ? reader_u64(reader) : 0;
  timer->campaign = reader_str(reader);
  timer->name = reader_str(reader);
  timer->cancel_on = reader_str(reader);
  timer->data = reader_str(reader);
  return !reader->bad && late <= (TIMER_SET_BY | TIMER_LATE_SKIP);
}

static void failure_encode(const struct failure *failure, struct buf *out) {
  stored_put_hash(out, failure->id);
  buf_put_str(out, failure->campaign);
  buf_put_str(out, failure->rule);
  buf_put_str(out, failure->error);
  buf_put_str(out, failure->input);
  buf_put_varint(out, failure->generation);
  buf_put_zigzag(out, failure->at);
}

static void failure_decode(struct failure *failure, struct reader *reader) {
  failure->id = stored_hash(reader);
  failure->campaign = reader_str(reader);
  failure->rule = reader_str(reader);
  failure->error = reader_str(reader);
  failure->input = reader_str(reader);
  failure->generation = read_u32(reader);
  failure->at = reader_zigzag(reader);
}

static void outcome_encode(const struct outcome *outcome, struct buf *out) {
  stored_put_hash(out, outcome->message_id);
  buf_put_u8(out, (uint8_t)(outcome->kind | (outcome->unsent ? OUTCOME_UNSENT : 0)));
  buf_put_varint(out, outcome->attempt);
  if (outcome->unsent) buf_put_varint(out, outcome->unsent);
  buf_put_zigzag(out, outcome->at);
  buf_put_zigzag(out, outcome->retry_at);
  buf_put_str(out, outcome->detail);
  buf_put_str(out, outcome->provider_id);
  buf_put_str(out, outcome->message);
}

static void outcome_decode(struct outcome *outcome, struct reader *reader) {
  outcome->message_id = stored_hash(reader);
  uint8_t kind = reader_u8(reader);
  outcome->kind = kind & ~OUTCOME_UNSENT;
  outcome->attempt = read_u32(reader);
  outcome->unsent = kind & OUTCOME_UNSENT ? read_u32(reader) : 0;
  outcome->at = reader_zigzag(reader);
  outcome->retry_at = reader_zigzag(reader);
  outcome->detail = reader_str(reader);
  outcome->provider_id = reader_str(reader);
  outcome->message = reader_str(reader);
  if (outcome->kind < OUTCOME_ACCEPTED || outcome->kind > OUTCOME_HELD || outcome->unsent > outcome->attempt)
    reader->bad = true;
}

static void not_run_encode(const struct not_run *not_run, struct buf *out) {
  buf_put_str(out, not_run->campaign);
  buf_put_str(out, not_run->rule);
  buf_put_str(out, not_run->timer);
  buf_put_str(out, not_run->reason);
  buf_put_zigzag(out, not_run->due);
  buf_put_zigzag(out, not_run->moved_to);
}

static void not_run_decode(struct not_run *not_run, struct reader *reader) {
  not_run->campaign = reader_str(reader);
  not_run->rule = reader_str(reader);
  not_run->timer = reader_str(reader);
  not_run->reason = reader_str(reader);
  not_run->due = reader_zigzag(reader);
  not_run->moved_to = reader_zigzag(reader);
}

void consent_encode(const struct consent *consent, struct buf *out) {
  buf_put_str(out, consent->purpose);
  buf_put_str(out, consent->channel);
  buf_put_u8(out, consent->granted);
  buf_put_zigzag(out, consent->at);
  buf_put_str(out, consent->source);
}

bool consent_decode(struct consent *consent, struct reader *reader) {
  consent->purpose = reader_str(reader);
  consent->channel = reader_str(reader);
  uint8_t granted = reader_u8(reader);
  consent->granted = granted == 1;
  consent->at = reader_zigzag(reader);
  consent->source = reader_str(reader);
  return !reader->bad && granted <= 1;
}

static void counted_encode(const struct counted_send *counted, struct buf *out) {
  buf_put_str(out, counted->counter);
  buf_put_zigzag(out, counted->at);
  stored_put_after(out, counted->wall, counted->at);
  buf_put_zigzag(out, counted->keep);
}

static void counted_decode(struct counted_send *counted, struct reader *reader) {
  counted->counter = reader_str(reader);
  counted->at = reader_zigzag(reader);
  counted->wall = stored_after(reader, counted->at);
  counted->keep = reader_zigzag(reader);
  if (counted->keep < 0) reader->bad = true;
}

void exposure_encode(const struct exposure *exposure, struct buf *out) {
  buf_put_str(out, exposure->experiment);
  buf_put_str(out, exposure->variant);
  buf_put_zigzag(out, exposure->at);
  buf_put_str(out, exposure->chances);
  buf_put_u8(out, exposure->reached);
  if (!exposure->reached) return;
  stored_put_after(out, exposure->goal_at, exposure->at);
  buf_put_zigzag(out, exposure->amount);
}

bool exposure_decode(struct exposure *exposure, struct reader *reader) {
  *exposure = (struct exposure){.experiment = reader_str(reader), .variant = reader_str(reader)};
  exposure->at = reader_zigzag(reader);
  exposure->chances = reader_str(reader);
  uint8_t reached = reader_u8(reader);
  exposure->reached = reached == 1;
  if (exposure->reached) {
    exposure->goal_at = stored_after(reader, exposure->at);
    exposure->amount = reader_zigzag(reader);
  }
  return !reader->bad && reached <= 1;
}

void effect_encode(const struct effect *effect, struct buf *out) {
  buf_put_u8(out, (uint8_t)effect->type);
  switch (effect->type) {
  case EFFECT_WINDOW:
    window_encode(&effect->window, out);
    break;
  case EFFECT_ATTRIBUTE:
    buf_put_str(out, effect->attribute.name);
    buf_put_str(out, effect->attribute.value);
    break;
  case EFFECT_THROTTLE:
    buf_put_u64(out, effect->throttle.key);
    buf_put_zigzag(out, effect->throttle.arrival);
    break;
  case EFFECT_ONCE:
    buf_put_u64(out, effect->once.key);
    buf_put_zigzag(out, effect->once.until);
    break;
  case EFFECT_TIMER_SET:
    timer_encode(&effect->timer, out);
    break;
  case EFFECT_TIMER_CLEAR:
    buf_put_str(out, effect->timer.campaign);
    buf_put_str(out, effect->timer.name);
    break;
  case EFFECT_SUPPRESS:
  case EFFECT_UNSUPPRESS:
    buf_put_str(out, effect->suppress.channel);
    buf_put_str(out, effect->suppress.reason);
    buf_put_zigzag(out, effect->suppress.at);
    break;
  case EFFECT_MESSAGE:
    message_encode(&effect->message.message, out);
    verdict_encode(&effect->message.verdict, out);
    break;
  case EFFECT_FAILURE:
    failure_encode(&effect->failure, out);
    break;
  case EFFECT_OUTCOME:
    outcome_encode(&effect->outcome, out);
    break;
  case EFFECT_DEAD_CLEAR:
    stored_put_hash(out, effect->dead_id);
    break;
  case EFFECT_NOT_RUN:
    not_run_encode(&effect->not_run, out);
    break;
  case EFFECT_CONSENT:
    consent_encode(&effect->consent, out);
    break;
  case EFFECT_COUNT_SEND:
    counted_encode(&effect->counted, out);
    break;
  case EFFECT_INDEX:
    index_change_encode(&effect->index, out);
    break;
  case EFFECT_FAN_OUT:
    fan_out_change_encode(&effect->fan_out, out);
    break;
  case EFFECT_DERIVED:
    buf_put_str(out, effect->derived);
    break;
  case EFFECT_SEGMENT:
    buf_put_u8(out, (uint8_t)effect->segment.change);
    buf_put_str(out, effect->segment.name);
    buf_put_zigzag(out, effect->segment.at);
    break;
  case EFFECT_EXPOSURE:
  case EFFECT_GOAL:
    exposure_encode(&effect->exposure, out);
    break;
  case EFFECT_WINDOW_STATE:
    held_encode(&effect->held, out);
    break;
  case EFFECT_JOURNEY:
    journey_change_encode(&effect->journey.journey, effect->journey.changes, out);
    break;
  case EFFECT_JOURNEY_END:
    journey_ended_encode(&effect->journey_ended, out);
    break;
  }
}

static int malformed(enum effect_type type, struct error *err) {
  return error_set(err, ERROR_CORRUPT, "effect \"%s\": cut short or malformed", effect_name(type));
}

int effect_decode(struct effect *effect, struct reader *reader, struct error *err) {
  *effect = (struct effect){.type = reader_u8(reader)};
  if (reader->bad) return error_set(err, ERROR_CORRUPT, "effect: cut short");
  int rc = 0;
  switch (effect->type) {
  case EFFECT_WINDOW:
    window_decode(&effect->window, reader);
    break;
  case EFFECT_ATTRIBUTE:
    effect->attribute.name = reader_str(reader);
    effect->attribute.value = reader_str(reader);
    break;
  case EFFECT_THROTTLE:
    effect->throttle.key = reader_u64(reader);
    effect->throttle.arrival = reader_zigzag(reader);
    break;
  case EFFECT_ONCE:
    effect->once.key = reader_u64(reader);
    effect->once.until = reader_zigzag(reader);
    break;
  case EFFECT_TIMER_SET:
    if (!timer_decode(&effect->timer, reader)) reader->bad = true;
    break;
  case EFFECT_TIMER_CLEAR:
    effect->timer.campaign = reader_str(reader);
    effect->timer.name = reader_str(reader);
    effect->timer.cancel_on = effect->timer.data = STR("");
    break;
  case EFFECT_SUPPRESS:
  case EFFECT_UNSUPPRESS:
    effect->suppress.channel = reader_str(reader);
    effect->suppress.reason = reader_str(reader);
    effect->suppress.at = reader_zigzag(reader);
    break;
  case EFFECT_MESSAGE:
    rc = message_decode(&effect->message.message, reader, err);
    if (rc == 0) rc = verdict_decode(&effect->message.verdict, reader, err);
    if (rc < 0) return rc;
    break;
  case EFFECT_FAILURE:
    failure_decode(&effect->failure, reader);
    break;
  case EFFECT_OUTCOME:
    outcome_decode(&effect->outcome, reader);
    break;
  case EFFECT_DEAD_CLEAR:
    effect->dead_id = stored_hash(reader);
    break;
  case EFFECT_NOT_RUN:
    not_run_decode(&effect->not_run, reader);
    break;
  case EFFECT_CONSENT:
    if (!consent_decode(&effect->consent, reader)) reader->bad = true;
    break;
  case EFFECT_COUNT_SEND:
    counted_decode(&effect->counted, reader);
    break;
  case EFFECT_EXPOSURE:
  case EFFECT_GOAL:
    if (!exposure_decode(&effect->exposure, reader)) reader->bad = true;
    break;
  case EFFECT_JOURNEY:
    if (!journey_change_decode(&effect->journey.journey, &effect->journey.changes, reader))
      reader->bad = true;
    break;
  case EFFECT_JOURNEY_END:
    if (!journey_ended_decode(&effect->journey_ended, reader)) reader->bad = true;
    break;
  case EFFECT_INDEX:
    if (!index_change_decode(&effect->index, reader)) reader->bad = true;
    break;
  case EFFECT_FAN_OUT:
    if (!fan_out_change_decode(&effect->fan_out, reader)) reader->bad = true;
    break;
  case EFFECT_DERIVED:
    effect->derived = reader_str(reader);
    break;
  case EFFECT_SEGMENT:
    effect->segment.change = reader_u8(reader);
    effect->segment.name = reader_str(reader);
    effect->segment.at = reader_zigzag(reader);
    if (effect->segment.change < SEGMENT_ENTERED || effect->segment.change > SEGMENT_JUDGED ||
        (effect->segment.name.len == 0) != (effect->segment.change == SEGMENT_JUDGED))
      reader->bad = true;
    break;
  case EFFECT_WINDOW_STATE:
    held_decode(&effect->held, reader);
    break;
  default:
    return error_set(err, ERROR_CORRUPT, "effect: type %d is not known to this version", (int)effect->type);
  }
  return reader->bad ? malformed(effect->type, err) : 0;
}

int effect_skip_windows(struct reader *reader, struct error *err) {
  struct window_entry entry;
  while (reader_left(reader) && *reader->at == EFFECT_WINDOW) {
    reader_u8(reader);
    window_decode(&entry, reader);
    if (reader->bad) return malformed(EFFECT_WINDOW, err);
  }
  return 0;
}
