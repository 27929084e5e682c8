#include "state/journey.h"

#include "state/effect.h"
#include "state/stored.h"

#include <stdio.h>

const char *journey_op_name(enum journey_op op) {
  static const char *const names[] = {"?",     "wait", "wait_until", "wait_for", "send",
                                      "split", "set",  "emit",       "goal",     "read"};
  return op >= JOURNEY_WAIT && op <= JOURNEY_READ ? names[op] : names[0];
}

const char *journey_state_name(enum journey_state state) {
  static const char *const names[] = {"?", "waiting", "parked", "watching"};
  return state >= JOURNEY_WAITING && state <= JOURNEY_WATCHING ? names[state] : names[0];
}

const char *journey_end_name(enum journey_end end) {
  static const char *const names[] = {"?",       "finished", "exited",  "restarted",
                                      "expired", "over",     "stopped", "moved"};
  return end >= JOURNEY_FINISHED && end <= JOURNEY_MOVED ? names[end] : names[0];
}

static uint64_t mark_key(const char *what, struct hash128 id) {
  char bytes[40];
  size_t prefix = (size_t)snprintf(bytes, sizeof bytes, "journey %s:", what);
  uint64_t halves[2] = {htole64(id.high), htole64(id.low)};
  memcpy(bytes + prefix, halves, sizeof halves);
  return hash64((struct str){bytes, prefix + sizeof halves}, 0);
}

uint64_t journey_sent_key(struct hash128 id) {
  return mark_key("sent", id);
}

uint64_t journey_settled_key(struct hash128 message_id) {
  return mark_key("settled", message_id);
}

void journey_recall_reason(const struct journey_ended *ended, struct buf *out) {
  buf_printf(out, "the journey ended before it could go: %s",
             ended->end == JOURNEY_EXITED      ? "exit on "
             : ended->end == JOURNEY_RESTARTED ? "begun anew by "
                                               : "by an operator");
  if (ended->end == JOURNEY_STOPPED && ended->reason.len) buf_printf(out, ", ");
  buf_append(out, ended->reason.data, ended->reason.len);
}

static uint32_t read_u32(struct reader *reader) {
  uint64_t value = reader_varint(reader);
  if (value > UINT32_MAX) reader->bad = true;
  return (uint32_t)value;
}

/* ---- history ---- */

enum { STEP_FAILED = 0x80 };

void journey_step_encode(const struct journey_step *step, struct buf *out) {
  buf_put_u8(out, (uint8_t)(step->op | (step->failed ? STEP_FAILED : 0)));
  buf_put_u32(out, step->arguments);
  buf_put_str(out, step->label);
  buf_put_str(out, step->answer);
}

bool journey_step_next(struct reader *reader, struct journey_step *step) {
  if (!reader_left(reader)) return false;
  uint8_t first = reader_u8(reader), op = first & ~STEP_FAILED;
  step->op = op;
  step->failed = first & STEP_FAILED;
  step->arguments = reader_u32(reader);
  step->label = reader_str(reader);
  step->answer = reader_str(reader);
  if (op < JOURNEY_WAIT || op > JOURNEY_READ) reader->bad = true;
  return !reader->bad;
}

void journey_answer_encode(const struct journey_answer *answer, struct buf *out) {
  buf_put_zigzag(out, answer->at);
  buf_append(out, answer->event.data, answer->event.len);
}

bool journey_answer_decode(struct journey_answer *answer, struct str bytes) {
  struct reader reader = reader_of(bytes);
  answer->at = reader_zigzag(&reader);
  answer->event = reader_bytes(&reader, reader_left(&reader));
  return !reader.bad;
}

/* ---- what it sent ---- */

void journey_sent_encode(const struct journey_sent *sent, struct buf *out) {
  stored_put_hash(out, sent->id);
  buf_put_zigzag(out, sent->not_before);
  buf_put_u8(out, (uint8_t)sent->reserved);
  buf_put_u64(out, sent->once_key);
  stored_put_after(out, sent->once_until, sent->not_before);
  buf_put_str(out, sent->purpose);
}

bool journey_sent_next(struct reader *reader, struct journey_sent *sent) {
  if (!reader_left(reader)) return false;
  sent->id = stored_hash(reader);
  sent->not_before = reader_zigzag(reader);
  sent->reserved = reader_u8(reader);
  sent->once_key = reader_u64(reader);
  sent->once_until = stored_after(reader, sent->not_before);
  sent->purpose = reader_str(reader);
  return !reader->bad;
}

/* ---- waits ---- */

bool journey_has_type(struct str types, struct str type) {
  struct reader reader = reader_of(types);
  while (!reader.bad && reader_left(&reader))
    if (event_type_is(reader_str(&reader), type)) return !reader.bad;
  return false;
}

void journey_put_type(struct buf *types, struct str type) {
  buf_put_str(types, type);
}

struct str journey_key(const struct journey *journey) {
  size_t prefix = sizeof TIMER_JOURNEY - 1;
  if (journey->name.len < prefix) return STR("");
  return (struct str){journey->name.data + prefix, journey->name.len - prefix};
}

/** What wakes it. */
static void put_head(const struct journey *journey, struct buf *out) {
  stored_put_hash(out, journey->id);
  buf_put_u8(out, (uint8_t)journey->state);
  buf_put_str(out, journey->campaign);
  buf_put_str(out, journey->name);
  buf_put_zigzag(out, journey->wait.due);
  buf_put_zigzag(out, journey->wait.set_at);
  buf_put_zigzag(out, journey->wait.held);
  buf_put_str(out, journey->wait.on);
}

static void read_head(struct journey *journey, struct reader *reader) {
  journey->id = stored_hash(reader);
  uint8_t state = reader_u8(reader);
  journey->state = state;
  journey->campaign = reader_str(reader);
  journey->name = reader_str(reader);
  journey->wait.due = reader_zigzag(reader);
  journey->wait.set_at = reader_zigzag(reader);
  journey->wait.held = reader_zigzag(reader);
  journey->wait.on = reader_str(reader);
  if (state < JOURNEY_WAITING || state > JOURNEY_WATCHING) reader->bad = true;
}

enum { HAS_SENT = 2 /**< beside `reached` */ };

static void put_rest_of_wait(const struct journey *journey, struct buf *out) {
  const struct journey_wait *wait = &journey->wait;
  buf_put_u8(out, (uint8_t)wait->op);
  buf_put_u32(out, wait->arguments);
  buf_put_str(out, wait->label);
  buf_put_varint(out, wait->line);
  buf_put_u8(out, (uint8_t)wait->late);
  buf_put_zigzag(out, wait->late_after);
  buf_put_str(out, wait->got);
  buf_put_u8(out, (uint8_t)(journey->reached | (journey->sent.len ? HAS_SENT : 0)));
  if (journey->sent.len) buf_put_str(out, journey->sent);
  buf_put_str(out, journey->why);
}

static void read_rest_of_wait(struct journey *journey, struct reader *reader) {
  struct journey_wait *wait = &journey->wait;
  uint8_t op = reader_u8(reader);
  wait->op = op;
  wait->arguments = reader_u32(reader);
  wait->label = reader_str(reader);
  wait->line = read_u32(reader);
  uint8_t late = reader_u8(reader);
  wait->late = late;
  wait->late_after = reader_zigzag(reader);
  wait->got = reader_str(reader);
  uint8_t reached = reader_u8(reader);
  journey->reached = reached & 1;
  journey->sent = reached & HAS_SENT ? reader_str(reader) : STR("");
  journey->why = reader_str(reader);
  if (op > JOURNEY_WAIT_FOR || late > JOURNEY_LATE_EXIT || reached > (HAS_SENT | 1)) reader->bad = true;
}

static void put_begin(const struct journey *journey, struct buf *out) {
  buf_put_zigzag(out, journey->begun);
  buf_put_str(out, journey->event);
}

static void read_begin(struct journey *journey, struct reader *reader) {
  journey->begun = reader_zigzag(reader);
  journey->event = reader_str(reader);
}

static void put_run(const struct journey *journey, struct buf *out) {
  stored_put_after(out, journey->at, journey->begun);
  buf_put_varint(out, journey->run);
  buf_put_str(out, journey->handed);
}

static void read_run(struct journey *journey, struct reader *reader) {
  journey->at = stored_after(reader, journey->begun);
  journey->run = read_u32(reader);
  journey->handed = reader_str(reader);
}

static void put_version(const struct journey *journey, struct buf *out) {
  stored_put_hash(out, journey->version);
  buf_put_str(out, journey->exits);
}

static void read_version(struct journey *journey, struct reader *reader) {
  journey->version = stored_hash(reader);
  journey->exits = reader_str(reader);
}

/* ---- effects ---- */

/** What an effect does not change is as zeroes say it; times of a run count from 0 where `begun` is not in
 * it. */
void journey_change_encode(const struct journey *journey, unsigned changes, struct buf *out) {
  struct journey one = *journey;
  buf_put_u8(out, (uint8_t)changes);
  put_head(&one, out);
  put_rest_of_wait(&one, out);
  if (changes & JOURNEY_BEGINS)
    put_begin(&one, out);
  else
    one.begun = 0;
  if (changes & (JOURNEY_BEGINS | JOURNEY_MOVES)) put_version(&one, out);
  if (changes & (JOURNEY_BEGINS | JOURNEY_CONTINUES)) put_run(&one, out);
  buf_put_varint(out, one.steps);
  buf_put_str(out, one.history);
}

bool journey_change_decode(struct journey *journey, unsigned *changes, struct reader *reader) {
  *journey = (struct journey){.exits = STR(""), .event = STR(""), .handed = STR("")};
  *changes = reader_u8(reader);
  read_head(journey, reader);
  read_rest_of_wait(journey, reader);
  if (*changes & JOURNEY_BEGINS) read_begin(journey, reader);
  if (*changes & (JOURNEY_BEGINS | JOURNEY_MOVES)) read_version(journey, reader);
  if (*changes & (JOURNEY_BEGINS | JOURNEY_CONTINUES)) read_run(journey, reader);
  journey->steps = read_u32(reader);
  journey->history = reader_str(reader);
  return !reader->bad && (*changes & ~(unsigned)JOURNEY_CHANGES) == 0;
}

void journey_ended_encode(const struct journey_ended *ended, struct buf *out) {
  stored_put_hash(out, ended->id);
  buf_put_str(out, ended->campaign);
  buf_put_str(out, ended->name);
  buf_put_u8(out, (uint8_t)ended->end);
  buf_put_str(out, ended->reason);
  buf_put_str(out, ended->step);
  buf_put_zigzag(out, ended->begun);
  stored_put_after(out, ended->at, ended->begun);
  buf_put_varint(out, ended->steps);
}

bool journey_ended_decode(struct journey_ended *ended, struct reader *reader) {
  ended->id = stored_hash(reader);
  ended->campaign = reader_str(reader);
  ended->name = reader_str(reader);
  uint8_t end = reader_u8(reader);
  ended->end = end;
  ended->reason = reader_str(reader);
  ended->step = reader_str(reader);
  ended->begun = reader_zigzag(reader);
  ended->at = stored_after(reader, ended->begun);
  ended->steps = read_u32(reader);
  return !reader->bad && end >= JOURNEY_FINISHED && end <= JOURNEY_MOVED;
}

/* ---- the entry ---- */

void journey_encode(const struct journey *journey, struct buf *out) {
  put_head(journey, out);
  put_version(journey, out);
  put_rest_of_wait(journey, out);
  put_begin(journey, out);
  put_run(journey, out);
  buf_put_varint(out, journey->steps);
  buf_append(out, journey->history.data, journey->history.len);
}

/** The head, the version between, and the exits. */
static void read_woken(struct journey *journey, struct reader *reader) {
  read_head(journey, reader);
  read_version(journey, reader);
}

bool journey_decode_head(struct journey *journey, struct str body) {
  struct reader reader = reader_of(body);
  read_woken(journey, &reader);
  return !reader.bad;
}

bool journey_decode(struct journey *journey, struct str body) {
  struct reader reader = reader_of(body);
  read_woken(journey, &reader);
  read_rest_of_wait(journey, &reader);
  read_begin(journey, &reader);
  read_run(journey, &reader);
  journey->steps = read_u32(&reader);
  journey->history = reader_bytes(&reader, reader_left(&reader));
  return !reader.bad;
}

static bool types_valid(struct str types) {
  struct reader reader = reader_of(types);
  while (!reader.bad && reader_left(&reader)) reader_str(&reader);
  return !reader.bad;
}

static bool sent_valid(struct str bytes) {
  struct reader reader = reader_of(bytes);
  struct journey_sent sent;
  while (journey_sent_next(&reader, &sent)) continue;
  return !reader.bad;
}

static bool event_valid(struct str bytes) {
  struct reader reader = reader_of(bytes);
  struct event event;
  return event_decode(&event, &reader, NULL) == 0 && reader_left(&reader) == 0 &&
         value_valid(event.payload) && (!event.metadata.len || value_valid(event.metadata));
}

static bool step_valid(const struct journey_step *step) {
  struct journey_answer answer;
  if (step->failed) return true; // text
  if (!journey_op_waits(step->op)) return value_valid(step->answer);
  return journey_answer_decode(&answer, step->answer) && (!answer.event.len || event_valid(answer.event));
}

bool journey_valid(const struct journey *journey) {
  struct reader reader = reader_of(journey->history);
  struct journey_step step;
  uint32_t steps = 0;
  for (; journey_step_next(&reader, &step); steps++)
    if (!step_valid(&step)) return false;
  return !reader.bad && steps == journey->steps && types_valid(journey->exits) &&
         types_valid(journey->wait.on) && sent_valid(journey->sent) &&
         (!journey->wait.got.len || event_valid(journey->wait.got)) &&
         (!journey->event.len || event_valid(journey->event)) &&
         (!journey->handed.len || value_valid(journey->handed));
}
