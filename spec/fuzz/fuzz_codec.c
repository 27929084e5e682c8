// covers: src/state/effect.c src/state/user_index.c src/state/fan_out.c src/state/message.c
// src/state/outbox.c src/event/event.c src/engine/ruleset.c
/* The forms in which things lie in the log and the store: arbitrary bytes are refused, or are read and
 * written again to the same. Input: which form, then its bytes. */
#include "../c/journey_fixture.h"
#include "engine/ruleset.h"
#include "event/event.h"
#include "fuzz.h"
#include "state/history.h"
#include "state/sealed.h"
#include "state/store.h"
#include "state/store_key.h"

#include <stdlib.h>

/** Reads `bytes` whole and writes what was read. @return whether they were taken. */
typedef bool form(struct str bytes, struct buf *out);

static bool take_event(struct str bytes, struct buf *out) {
  struct reader reader = reader_of(bytes);
  struct error err;
  struct event event;
  int code = event_decode(&event, &reader, &err);
  HOLDS(code == 0 || code == ERROR_CORRUPT);
  if (code) return false;
  HOLDS(entity_partition(event.entity) < PARTITION_COUNT);
  event_encode(&event, out);
  return true;
}

static bool take_message(struct str bytes, struct buf *out) {
  struct reader reader = reader_of(bytes);
  struct error err;
  struct message message;
  int code = message_decode(&message, &reader, &err);
  HOLDS(code == 0 || code == ERROR_CORRUPT);
  if (code) return false;
  message_encode(&message, out);
  return true;
}

static bool take_verdict(struct str bytes, struct buf *out) {
  struct reader reader = reader_of(bytes);
  struct error err;
  struct verdict verdict;
  if (verdict_decode(&verdict, &reader, &err)) return false;
  verdict_encode(&verdict, out);
  return true;
}

static bool take_timer(struct str bytes, struct buf *out) {
  struct reader reader = reader_of(bytes);
  struct timer timer;
  if (!timer_decode(&timer, &reader)) return false;
  timer_encode(&timer, out);
  return true;
}

static bool take_effects(struct str bytes, struct buf *out) {
  struct reader reader = reader_of(bytes);
  struct error err;
  struct effect effect;
  struct log_record record = {
      .seq = 1, .type = LOG_EVENT, .entity = {ENTITY_USER, STR("ada")}, .effects = bytes};
  struct buf decisions, letters;
  buf_init(&decisions);
  buf_init(&letters);
  int code = 0;
  unsigned kept = 0;
  while (!code && reader_left(&reader)) {
    code = effect_decode(&effect, &reader, &err);
    if (code) break;
    HOLDS(effect_name(effect.type)[0] != '?');
    effect_encode(&effect, out);
    if (effect.type == EFFECT_INDEX) HOLDS(index_change_fits(&effect.index));
    kept += effect.type == EFFECT_MESSAGE || effect.type == EFFECT_OUTCOME || effect.type == EFFECT_FAILURE ||
            effect.type == EFFECT_SUPPRESS || effect.type == EFFECT_UNSUPPRESS ||
            effect.type == EFFECT_CONSENT || effect.type == EFFECT_NOT_RUN || effect.type == EFFECT_DERIVED ||
            effect.type == EFFECT_EXPOSURE || effect.type == EFFECT_GOAL ||
            effect.type == EFFECT_JOURNEY_END ||
            (effect.type == EFFECT_SEGMENT && effect.segment.change != SEGMENT_JUDGED);
    struct dead_letter letter, again;
    if (!dead_letter_from(&letter, &record, &effect)) continue;
    buf_clear(&letters);
    dead_letter_encode(&letter, &letters);
    HOLDS(dead_letter_decode(&again, buf_str(&letters), &err) == 0, "%s", err.message);
    HOLDS(hash128_equal(letter.id, again.id) && letter.at == again.at && letter.kind == again.kind);
  }
  HOLDS(code == 0 || code == ERROR_CORRUPT);
  HOLDS(history_decisions(LOG_EVENT, bytes, &decisions, &err) == code);
  struct reader left = reader_of(buf_str(&decisions));
  for (unsigned i = 0; !code && i < kept; i++) HOLDS(effect_decode(&effect, &left, &err) == 0);
  HOLDS(code || reader_left(&left) == 0);
  buf_deinit(&decisions);
  buf_deinit(&letters);
  return code == 0;
}

static bool take_outbox_entry(struct str bytes, struct buf *out) {
  struct error err;
  struct outbox_entry entry;
  int code = outbox_entry_decode(&entry, bytes, &err);
  HOLDS(code == 0 || code == ERROR_CORRUPT || code == ERROR_VERSION);
  if (code) return false;
  outbox_entry_encode(&entry, out);
  return true;
}

static bool take_dead_letter(struct str bytes, struct buf *out) {
  struct error err;
  struct dead_letter letter;
  int code = dead_letter_decode(&letter, bytes, &err);
  HOLDS(code == 0 || code == ERROR_CORRUPT || code == ERROR_VERSION);
  if (code) return false;
  dead_letter_encode(&letter, out);
  return true;
}

/** Read an entry and write it anew. @return whether it was taken. */
static bool rewrite_entry(struct str key, struct str value, struct sealed_draft *draft) {
  struct sealed_entry entry;
  struct log_record record;
  buf_clear(&draft->value);
  if (!sealed_open(&entry, key, value)) return false;
  while (reader_left(&entry.records)) {
    if (!sealed_next(&entry, &record)) return false;
    sealed_put(draft, &record, record.input, record.effects);
  }
  return true;
}

/** A sealed entry: its key up to the first 0x1e, then its value. */
static bool take_sealed(struct str bytes, struct buf *out) {
  struct input input = input_of((const uint8_t *)bytes.data, bytes.len);
  struct str key = input_part(&input), value = input_rest(&input);
  struct sealed_draft first = {0}, second = {0};
  if (rewrite_entry(key, value, &first)) {
    HOLDS(rewrite_entry(buf_str(&first.key), buf_str(&first.value), &second));
    HOLDS(str_equal(buf_str(&first.key), buf_str(&second.key)) &&
          str_equal(buf_str(&first.value), buf_str(&second.value)));
  }
  (void)out;
  buf_deinit(&first.key);
  buf_deinit(&first.value);
  buf_deinit(&second.key);
  buf_deinit(&second.value);
  return false;
}

static bool take_fan_out(struct str bytes, struct buf *out) {
  struct error err;
  struct event event;
  struct str campaign;
  struct hash128 id;
  int code = fan_out_input_decode(bytes, &event, &campaign, &id, &err);
  HOLDS(code == 0 || code == ERROR_CORRUPT);
  if (code) return false;
  struct buf encoded;
  buf_init(&encoded);
  event_encode(&event, &encoded);
  fan_out_input_encode(buf_str(&encoded), campaign, id, out);
  buf_deinit(&encoded);
  return true;
}

static int no_text(void *context, struct hash128 hash, struct buf *out, struct error *err) {
  (void)context, (void)hash, (void)out, (void)err;
  return 0;
}

static bool take_ruleset(struct str bytes, struct buf *out) {
  struct error err;
  struct ruleset *ruleset = NULL;
  int code = ruleset_decode(&ruleset, bytes, no_text, NULL, &err);
  HOLDS((code == 0) == (ruleset != NULL));
  if (code) return false;
  for (size_t i = 0; i < ruleset->count; i++)
    HOLDS(ruleset_find(ruleset, str_from(ruleset->files[i].path)) != NULL);
  ruleset_encode(ruleset, out);
  ruleset_free(ruleset);
  return true;
}

static form *const forms[] = {take_event,        take_message,     take_verdict, take_timer,   take_effects,
                              take_outbox_entry, take_dead_letter, take_sealed,  take_ruleset, take_fan_out};
enum { FORMS = sizeof forms / sizeof forms[0] };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  unsigned which = input_u8(&input) % FORMS;
  struct str rest = input_rest(&input);
  struct buf first, second;
  buf_init(&first);
  buf_init(&second);
  char *copy = fuzz_copy(rest, 0, 0);
  if (forms[which]((struct str){copy, rest.len}, &first)) {
    HOLDS(forms[which](buf_str(&first), &second), "form %u refuses what it wrote", which);
    HOLDS(str_equal(buf_str(&first), buf_str(&second)), "form %u is not written as it was read", which);
  }
  free(copy);
  buf_deinit(&first);
  buf_deinit(&second);
  return 0;
}

/* ---- seeds ---- */

static struct buf seed_bytes;

static void begin(unsigned which) {
  buf_clear(&seed_bytes);
  buf_put_u8(&seed_bytes, (uint8_t)which);
}

static struct message seed_message(bool full) {
  struct message message = {.id = {1, 2},
                            .user = {ENTITY_USER, STR("ada")},
                            .campaign = STR("welcome"),
                            .rule = STR("welcome/rule.lua"),
                            .template_name = STR("hello"),
                            .template_hash = {3, 4},
                            .channel = STR("email"),
                            .provider = STR("files"),
                            .to = STR("ada@mail.example"),
                            .data = STR("\x81\xa1"
                                        "a\x01"),
                            .cause = STR("e1"),
                            .facts = STR("\x80"),
                            .at = FUZZ_NOW,
                            .accepted = FUZZ_NOW + 5,
                            .limit_name = STR(""),
                            .generation = 7};
  if (!full) return message;
  message.expires = FUZZ_NOW + 60000;
  message.once_key = 99;
  message.once_until = FUZZ_NOW + 86400000;
  message.limit_name = STR("sms");
  message.limit_count = 2.5;
  message.limit_over = 1000;
  return message;
}

static const struct timer seed_timer = {.campaign = {"welcome", 7},
                                        .name = {"later", 5},
                                        .due = FUZZ_NOW,
                                        .set_at = FUZZ_NOW - 60000,
                                        .late_after = 1000,
                                        .late = TIMER_LATE_SKIP,
                                        .cancel_on = {"cart.bought", 11},
                                        .data = {"\x01", 1}};

static void seed_effects(void) {
  const struct effect effects[] = {
      {.type = EFFECT_WINDOW, .window = {1, WINDOW_COUNT, 600000, 0, FUZZ_NOW, 1, {"", 0}}},
      {.type = EFFECT_WINDOW, .window = {2, WINDOW_SUM, 86400000, 5, FUZZ_NOW, -1500000, {"", 0}}},
      {.type = EFFECT_WINDOW, .window = {3, WINDOW_LAST, 600000, 0, FUZZ_NOW, 0, {"\xa1x", 2}}},
      {.type = EFFECT_WINDOW, .window = {4, WINDOW_DISTINCT, 600000, 6, FUZZ_NOW, 0x123456789, {"", 0}}},
      {.type = EFFECT_ATTRIBUTE,
       .attribute = {STR("name"), STR("\xa3"
                                      "Ada")}},
      {.type = EFFECT_THROTTLE, .throttle = {77, FUZZ_NOW * 1000}},
      {.type = EFFECT_ONCE, .once = {78, FUZZ_NOW}},
      {.type = EFFECT_TIMER_SET, .timer = seed_timer},
      {.type = EFFECT_TIMER_CLEAR, .timer = seed_timer},
      {.type = EFFECT_EXPOSURE,
       .exposure = {STR("subject"), STR("urgent"), FUZZ_NOW, STR("\x81\xa6urgent\x01"), false, 0, 0}},
      {.type = EFFECT_GOAL,
       .exposure = {STR("subject"), STR("urgent"), FUZZ_NOW, STR(""), true, FUZZ_NOW + 1, 12500000}},
      {.type = EFFECT_SUPPRESS, .suppress = {STR("email"), STR("bounced"), FUZZ_NOW}},
      {.type = EFFECT_UNSUPPRESS, .suppress = {STR("*"), STR(""), FUZZ_NOW}},
      {.type = EFFECT_CONSENT, .consent = {STR("newsletter"), STR("email"), true, FUZZ_NOW, STR("event")}},
      {.type = EFFECT_COUNT_SEND, .counted = {STR("marketing"), FUZZ_NOW, FUZZ_NOW, 7 * 86400000LL}},
      {.type = EFFECT_INDEX,
       .index = {STR("interest:watchers"), STR("K1"), STR(""), FUZZ_NOW + 86400000, false, true}},
      {.type = EFFECT_INDEX, .index = {STR("segment:vip"), STR(""), STR("\x01"), 0, false, false}},
      {.type = EFFECT_INDEX, .index = {STR("segment:vip"), STR(""), STR(""), 0, true, false}},
      {.type = EFFECT_FAN_OUT,
       .fan_out = {.step = FAN_OUT_BEGINS,
                   .id = {1, 2},
                   .spec = {STR("drop"),
                            STR("interest:watchers"),
                            STR("K1"),
                            STR("event"),
                            {500, 1000},
                            FUZZ_NOW,
                            FUZZ_NOW + 1}}},
      {.type = EFFECT_FAN_OUT, .fan_out = {.step = FAN_OUT_REACHES, .id = {1, 2}, .reached = 1000}},
      {.type = EFFECT_FAN_OUT,
       .fan_out =
           {.step = FAN_OUT_CHANGES, .reached = 9, .state = FAN_OUT_DONE, .at = FUZZ_NOW, .reason = STR("")}},
      {.type = EFFECT_MESSAGE, .message = {seed_message(true), {true, STR(""), STR("\x80")}}},
      {.type = EFFECT_MESSAGE, .message = {seed_message(false), {false, STR("suppressed"), STR("\x80")}}},
      {.type = EFFECT_FAILURE,
       .failure =
           {{5, 6}, STR("welcome"), STR("welcome/rule.lua"), STR("rule.lua:1: no"), STR("in"), 7, FUZZ_NOW}},
      {.type = EFFECT_OUTCOME,
       .outcome = {{1, 2}, OUTCOME_RETRY, 1, 1, FUZZ_NOW, FUZZ_NOW + 1, STR("503"), STR("id"), STR("")}},
      {.type = EFFECT_OUTCOME,
       .outcome = {{1, 2}, OUTCOME_EXHAUSTED, 8, 0, FUZZ_NOW, 0, STR("timeout"), STR(""), STR("message")}},
      {.type = EFFECT_DEAD_CLEAR, .dead_id = {9, 10}},
      {.type = EFFECT_DERIVED, .derived = STR("event")},
      {.type = EFFECT_SEGMENT, .segment = {STR("vip"), SEGMENT_ENTERED, FUZZ_NOW}},
      {.type = EFFECT_JOURNEY, .journey = {journey_sample(), JOURNEY_BEGINS}},
      {.type = EFFECT_JOURNEY, .journey = {journey_sample(), 0}},
      {.type = EFFECT_JOURNEY, .journey = {journey_sample(), JOURNEY_CONTINUES | JOURNEY_MOVES}},
      {.type = EFFECT_JOURNEY_END,
       .journey_ended = {{1, 2},
                         STR("cart"),
                         STR("journey:c1"),
                         JOURNEY_EXITED,
                         STR("order.completed"),
                         STR("wait \"1h\""),
                         FUZZ_NOW,
                         FUZZ_NOW + 5,
                         3}},
      {.type = EFFECT_NOT_RUN,
       .not_run = {STR("welcome"), STR("welcome/rule.lua"), STR("remind"), STR("paused"), FUZZ_NOW,
                   FUZZ_NOW + 1}},
  };
  struct buf all;
  buf_init(&all);
  buf_put_u8(&all, 4);
  for (size_t i = 0; i < sizeof effects / sizeof effects[0]; i++) {
    begin(4);
    effect_encode(&effects[i], &seed_bytes);
    fuzz_seed(buf_str(&seed_bytes));
    effect_encode(&effects[i], &all);
    struct dead_letter letter;
    struct log_record record = {.entity = {ENTITY_USER, STR("ada")}};
    if (!dead_letter_from(&letter, &record, &effects[i])) continue;
    begin(6);
    dead_letter_encode(&letter, &seed_bytes);
    fuzz_seed(buf_str(&seed_bytes));
  }
  fuzz_seed(buf_str(&all));
  buf_deinit(&all);
}

void fuzz_seeds(void) {
  begin(0);
  struct event event = {STR("e1"),   STR("x"), {ENTITY_SUBJECT, STR("s")}, FUZZ_NOW, FUZZ_NOW + 1,
                        STR("\x80"), STR("")};
  event_encode(&event, &seed_bytes);
  fuzz_seed(buf_str(&seed_bytes));
  for (int full = 0; full < 2; full++) {
    struct message message = seed_message(full);
    begin(1);
    message_encode(&message, &seed_bytes);
    fuzz_seed(buf_str(&seed_bytes));
    begin(5);
    struct outbox_entry entry = {.message = message,
                                 .attempts = 3,
                                 .unsent = full,
                                 .open = full,
                                 .retry_at = FUZZ_NOW,
                                 .age_from = full ? FUZZ_NOW - 1 : 0};
    outbox_entry_encode(&entry, &seed_bytes);
    fuzz_seed(buf_str(&seed_bytes));
  }
  begin(2);
  verdict_encode(&(struct verdict){false, STR("once_per"), STR("\x81\xa8once_per\xa2no")}, &seed_bytes);
  fuzz_seed(buf_str(&seed_bytes));
  begin(3);
  timer_encode(&seed_timer, &seed_bytes);
  fuzz_seed(buf_str(&seed_bytes));
  begin(9);
  struct buf encoded;
  buf_init(&encoded);
  event_encode(&event, &encoded);
  fan_out_input_encode(buf_str(&encoded), STR("drop"), (struct hash128){1, 2}, &seed_bytes);
  buf_deinit(&encoded);
  fuzz_seed(buf_str(&seed_bytes));
  seed_effects();
  begin(7);
  struct sealed_draft draft = {0};
  for (uint64_t seq = 5; seq < 8; seq++) {
    struct log_record record = {.seq = seq,
                                .type = LOG_EVENT,
                                .generation = 1,
                                .at = FUZZ_NOW - (int64_t)seq,
                                .entity = {ENTITY_USER, STR("ada")}};
    sealed_put(&draft, &record, STR("input"), STR("effects"));
  }
  buf_append(&seed_bytes, draft.key.data, draft.key.len);
  buf_put_u8(&seed_bytes, FUZZ_SEPARATOR);
  buf_append(&seed_bytes, draft.value.data, draft.value.len);
  fuzz_seed(buf_str(&seed_bytes));
  buf_deinit(&draft.key);
  buf_deinit(&draft.value);
  struct ruleset *ruleset;
  struct error err;
  if (ruleset_read(&ruleset, KAIROS_SOURCE "/rules", KAIROS_SOURCE "/lua", &err)) abort();
  // The whole would be larger than inputs are.
  size_t count = ruleset->count;
  ruleset->count = 1;
  begin(8);
  ruleset_encode(ruleset, &seed_bytes);
  fuzz_seed(buf_str(&seed_bytes));
  ruleset->count = count;
  ruleset_free(ruleset);
  buf_deinit(&seed_bytes);
}
