// covers: src/state/record.c src/state/record_window.c src/state/record_describe.c src/state/draft.c
/* A user's record: as it lies on a damaged disk, and through any sequence of effects. What a log with those
 * effects would make of the same beginning is the same record, byte for byte. Input: the bound, a stored
 * record or none, operations. */
#include "../c/journey_fixture.h"
#include "event/value.h"
#include "fuzz.h"
#include "state/draft.h"

#include <stdlib.h>

static struct record live, copy;
static struct draft draft;
static struct buf stored, stored_again, all_effects, described;
static size_t bound;
/** Effects still to be applied: an input shall not take long. */
static unsigned effects_left;

enum { EFFECTS_MAX = 500 };

void fuzz_set_up(void) {
  record_init(&live);
  record_init(&copy);
  draft_init(&draft, 0);
}

static bool same_bytes(const struct record *a, const struct record *b) {
  return str_equal(buf_str(&a->bytes), buf_str(&b->bytes));
}

/** Stored and read it is the same record. */
static void check_stored(void) {
  struct error err = {0};
  buf_clear(&stored);
  record_encode(&live, &stored);
  HOLDS(record_decode(&copy, buf_str(&stored), &err) == 0, "%s", err.message);
  HOLDS(same_bytes(&live, &copy) && live.seq == copy.seq);
}

static struct str name_of(struct input *input) {
  static const char *const names[] = {"",      "a", "b",   "first_name",
                                      "email", "*", "sms", "a-long-name-a-long-name-a-long-name"};
  uint8_t which = input_u8(input);
  return which & 0x80 ? input_text(input, 20) : str_from(names[which % 8]);
}

static int64_t time_of(struct input *input) {
  uint8_t how = input_u8(input);
  int64_t by = (int64_t)input_number(input, how & 3 ? 2 : 8);
  return how & 3 ? FUZZ_NOW + ((int16_t)by) * (how & 4 ? INT64_C(60000) : 1) : by;
}

/** A value: an integer, a text, nil, or bytes that may be none. */
static struct str value_of(struct input *input) {
  switch (input_u8(input) % 4) {
  case 0:
    return STR("\x2a");
  case 1:
    return STR("\xa5hello");
  case 2:
    return STR("\xc0");
  default:
    return input_text(input, 300);
  }
}

static void window_of(struct input *input, struct window_entry *entry) {
  static const int64_t lengths[] = {1000, 600000, 86400000, 61};
  uint8_t which = input_u8(input);
  *entry = (struct window_entry){.id = which % 4,
                                 .kind = WINDOW_COUNT + (enum window_kind)(which / 4 % 5),
                                 .over = lengths[which / 32 % 4],
                                 .at = time_of(input),
                                 .amount = (int64_t)input_number(input, which & 128 ? 8 : 1),
                                 .value = STR("")};
  if (which & 1) entry->key = input_u8(input);
  if (entry->kind == WINDOW_LAST || entry->kind == WINDOW_FIRST) entry->value = value_of(input);
}

static void timer_of(struct input *input, struct timer *timer) {
  *timer = (struct timer){.campaign = name_of(input), .name = name_of(input)};
  timer->due = time_of(input);
  timer->set_at = time_of(input);
  timer->late = input_u8(input) & 1 ? TIMER_LATE_SKIP : TIMER_LATE_FIRE;
  timer->late_after = time_of(input);
  timer->cancel_on = name_of(input);
  timer->data = input_u8(input) & 1 ? value_of(input) : STR("");
}

/** What was just applied can be read. */
static void check_applied(const struct effect *effect) {
  struct str value;
  struct timer timer, first;
  struct suppression suppression;
  struct consent consent;
  struct exposure exposure;
  int64_t until = 0, times[RECORD_COUNTED_MAX];
  switch (effect->type) {
  case EFFECT_ATTRIBUTE:
    if (effect->attribute.value.len == 0 || value_head(effect->attribute.value).type == VALUE_NIL) break;
    HOLDS(record_attribute(&live, effect->attribute.name, &value) &&
          str_equal(value, effect->attribute.value));
    break;
  case EFFECT_THROTTLE:
    if (effect->throttle.arrival)
      HOLDS(record_throttle(&live, effect->throttle.key) == effect->throttle.arrival);
    break;
  case EFFECT_ONCE:
    record_once(&live, effect->once.key, 0, &until);
    if (effect->once.until) HOLDS(until == effect->once.until);
    break;
  case EFFECT_TIMER_SET:
    HOLDS(record_timer(&live, effect->timer.campaign, effect->timer.name, &timer));
    HOLDS(timer.due == effect->timer.due && timer.set_at == effect->timer.set_at &&
          timer.late == effect->timer.late && timer.late_after == effect->timer.late_after &&
          str_equal(timer.cancel_on, effect->timer.cancel_on) && str_equal(timer.data, effect->timer.data));
    HOLDS(record_timer_next(&live, &first) && first.due <= timer.due);
    HOLDS(timer.cancel_on.len == 0 || record_timer_cancelled_by(&live, timer.cancel_on, &first));
    break;
  case EFFECT_SUPPRESS:
    HOLDS(record_suppressed(&live, effect->suppress.channel, &suppression));
    HOLDS(suppression.at == effect->suppress.at && str_equal(suppression.reason, effect->suppress.reason));
    break;
  case EFFECT_SEGMENT:
    if (effect->segment.change == SEGMENT_JUDGED) HOLDS(record_segments_judged(&live) == effect->segment.at);
    break;
  case EFFECT_CONSENT:
    HOLDS(record_consent(&live, effect->consent.purpose, effect->consent.channel, &consent));
    HOLDS(consent.at >= effect->consent.at);
    HOLDS(consent.at > effect->consent.at || effect->consent.granted || !consent.granted);
    break;
  case EFFECT_EXPOSURE:
    HOLDS(record_exposure(&live, effect->exposure.experiment, &exposure));
    break;
  case EFFECT_GOAL:
    HOLDS(!record_exposure(&live, effect->exposure.experiment, &exposure) || exposure.reached);
    break;
  case EFFECT_COUNT_SEND: {
    size_t count = record_counted(&live, effect->counted.counter, times);
    bool found = effect->counted.keep == 0;
    for (size_t i = 0; i < count; i++) {
      HOLDS(i == 0 || times[i - 1] <= times[i]);
      found |= times[i] == effect->counted.at;
    }
    HOLDS(found);
    break;
  }
  default:
    break;
  }
}

static void apply(const struct effect *effect) {
  struct error err = {0};
  size_t before = live.bytes.len, effects = draft.effects.len;
  if (effects_left == 0) return;
  effects_left--;
  record_save(&live, &stored_again);
  int code = draft_add(&draft, effect, &err);
  HOLDS(code == 0 || code == ERROR_LIMIT || code == ERROR_INVALID, "%d", code);
  if (code) {
    HOLDS(str_equal(buf_str(&live.bytes), buf_str(&stored_again)) && draft.effects.len == effects);
    HOLDS(err.message[0]);
    return;
  }
  HOLDS(live.bytes.len <= before || live.bytes.len <= bound, "%zu bytes of %zu", live.bytes.len, bound);
  check_applied(effect);
}

static void apply_one(struct input *input) {
  static const struct str journeys[] = {{"journey:", 8}, {"journey:a", 9}, {"journey:b", 9}};
  struct effect effect = {0};
  switch (input_u8(input) % 17) {
  case 0:
    effect.type = EFFECT_WINDOW;
    window_of(input, &effect.window);
    break;
  case 1:
    effect.type = EFFECT_ATTRIBUTE;
    effect.attribute.name = name_of(input);
    effect.attribute.value = value_of(input);
    break;
  case 2:
    effect.type = EFFECT_THROTTLE;
    effect.throttle.key = input_u8(input) % 4;
    effect.throttle.arrival = time_of(input) * (input_u8(input) & 1 ? 0 : 1);
    break;
  case 3:
    effect.type = EFFECT_ONCE;
    effect.once.key = input_u8(input) % 8;
    effect.once.until = input_u8(input) & 1 ? 0 : time_of(input);
    break;
  case 4:
    effect.type = EFFECT_TIMER_SET;
    timer_of(input, &effect.timer);
    break;
  case 5:
    effect.type = EFFECT_TIMER_CLEAR;
    effect.timer = (struct timer){.campaign = name_of(input), .name = name_of(input)};
    break;
  case 6:
    effect.type = EFFECT_SUPPRESS;
    effect.suppress.channel = name_of(input);
    effect.suppress.reason = name_of(input);
    effect.suppress.at = time_of(input);
    break;
  case 7:
    effect.type = EFFECT_UNSUPPRESS;
    effect.suppress.channel = name_of(input);
    effect.suppress.reason = STR("");
    break;
  case 8:
    effect.type = EFFECT_CONSENT;
    effect.consent =
        (struct consent){.purpose = name_of(input), .channel = name_of(input), .source = name_of(input)};
    effect.consent.granted = input_u8(input) & 1;
    effect.consent.at = time_of(input);
    break;
  case 9:
    effect.type = EFFECT_COUNT_SEND;
    effect.counted =
        (struct counted_send){.counter = name_of(input), .at = time_of(input), .wall = time_of(input)};
    effect.counted.keep = input_u8(input) & 3 ? 86400000 : 0;
    break;
  case 10:
    effect.type = EFFECT_SEGMENT;
    effect.segment = (struct membership){
        .change = (enum segment_change)(1 + input_u8(input) % SEGMENT_JUDGED), .at = time_of(input)};
    if (effect.segment.change != SEGMENT_JUDGED) effect.segment.name = name_of(input);
    if (effect.segment.change != SEGMENT_JUDGED && !effect.segment.name.len) return; // none is so
    break;
  case 11:
  case 12:
    effect.exposure = (struct exposure){.experiment = name_of(input), .variant = name_of(input)};
    effect.exposure.at = time_of(input);
    effect.exposure.chances = value_of(input);
    effect.exposure.reached = input_u8(input) & 1;
    effect.type = effect.exposure.reached ? EFFECT_GOAL : EFFECT_EXPOSURE;
    if (effect.exposure.reached) effect.exposure.goal_at = effect.exposure.amount = time_of(input);
    break;
  case 13:
    effect = journey_effect(journey_sample(), input_u8(input) % (JOURNEY_CHANGES + 1));
    effect.journey.journey.id.low = input_u8(input) % 4;
    effect.journey.journey.name = journeys[input_u8(input) % 3];
    effect.journey.journey.wait.due = time_of(input);
    effect.journey.journey.state = 1 + input_u8(input) % 3;
    break;
  case 14:
    effect.type = EFFECT_JOURNEY_END;
    effect.journey_ended = (struct journey_ended){.id = {1, input_u8(input) % 4}, .end = JOURNEY_EXITED};
    break;
  default: { // many of one kind
    window_of(input, &effect.window);
    effect.type = EFFECT_WINDOW;
    for (unsigned i = input_u8(input); i; i--) {
      effect.window.at += effect.window.amount & 0xffff;
      effect.window.key += effect.window.key != 0;
      apply(&effect);
    }
    break;
  }
  }
  apply(&effect);
}

static void ask(struct input *input) {
  int64_t now = time_of(input);
  struct window_declaration declaration = {.over = 600000};
  struct timer timer;
  for (declaration.id = 0; declaration.id < 4; declaration.id++)
    for (declaration.kind = WINDOW_COUNT; declaration.kind <= WINDOW_DISTINCT; declaration.kind++)
      for (uint64_t key = 0; key < 3; key++) {
        struct window_answer answer = record_window(&live, &declaration, key, now);
        HOLDS(answer.value.len <= WINDOW_VALUE_MAX);
        record_window_evicted(&live, declaration.id);
      }
  if (record_timer_next(&live, &timer))
    HOLDS(timer_journey(&timer) || record_timer(&live, timer.campaign, timer.name, &timer));
  record_suppressed(&live, STR("sms"), NULL);
}

/** Entries that time has made irrelevant go, and no others do. */
static void tidy(struct input *input) {
  int64_t now = time_of(input);
  struct timer first, still;
  size_t before = live.bytes.len;
  bool timed = record_timer_next(&live, &first);
  struct buf campaign, name;
  buf_init(&campaign);
  buf_init(&name);
  if (timed) {
    buf_append(&campaign, first.campaign.data, first.campaign.len);
    buf_append(&name, first.name.data, first.name.len);
  }
  record_tidy(&live, now);
  HOLDS(live.bytes.len <= before);
  HOLDS(record_timer_next(&live, &still) == timed);
  HOLDS(!timed || (str_equal(still.campaign, buf_str(&campaign)) && str_equal(still.name, buf_str(&name))));
  check_stored();
  size_t once = live.bytes.len;
  record_tidy(&live, now);
  HOLDS(live.bytes.len == once);
  buf_deinit(&campaign);
  buf_deinit(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const size_t bounds[] = {64 << 10, 1 << 10, 300, 16 << 10};
  struct input input = input_of(data, size);
  struct error err = {0};
  uint8_t flags = input_u8(&input);
  bound = bounds[flags & 3];
  struct str given = input_text(&input, 4000);
  char *exact = fuzz_copy(given, 0, 0);
  live.bytes.len = 0;
  live.seq = 0;
  if (given.len) {
    int code = record_decode(&live, (struct str){exact, given.len}, &err);
    HOLDS(code == 0 || code == ERROR_CORRUPT || code == ERROR_VERSION);
    HOLDS(code == 0 || (live.bytes.len == 0 && live.seq == 0 && err.message[0]));
  }
  free(exact);
  struct record beginning;
  record_init(&beginning);
  buf_clear(&stored);
  record_encode(&live, &stored);
  HOLDS(record_decode(&beginning, buf_str(&stored), &err) == 0, "%s", err.message);
  effects_left = EFFECTS_MAX;
  draft.record_max = bound;
  draft_begin(&draft, &live);
  bool tidied = false;
  unsigned operations = 0;
  while (input_left(&input) && effects_left && operations++ < 200) {
    uint8_t op = input_u8(&input);
    if (op < 200) {
      apply_one(&input);
    } else if (op < 215) {
      ask(&input);
    } else if (op < 225) {
      tidy(&input);
      tidied = true;
    } else if (op < 240) { // a rule that fails
      draft_mark(&draft);
      record_save(&live, &all_effects);
      for (unsigned i = input_u8(&input) % 4; i; i--) apply_one(&input);
      draft_rollback(&draft);
      HOLDS(str_equal(buf_str(&live.bytes), buf_str(&all_effects)));
    } else {
      check_stored();
    }
  }
  check_stored();
  // Recovery: the same effects, on the same beginning, whatever the bound.
  struct reader reader = reader_of(buf_str(&draft.effects));
  while (reader_left(&reader)) {
    struct effect effect;
    HOLDS(effect_decode(&effect, &reader, &err) == 0, "%s", err.message);
    HOLDS(record_apply(&beginning, &effect, SIZE_MAX, &err) == 0, "%s", err.message);
  }
  HOLDS(tidied || same_bytes(&live, &beginning));
  record_deinit(&beginning);
  buf_clear(&described);
  record_describe(&live, &described);
  HOLDS(value_valid(buf_str(&described)));
  return 0;
}

void fuzz_seeds(void) {
  // Operations in many orders; then the record they made, stored, with the next operations behind it.
  struct buf bytes;
  buf_init(&bytes);
  for (unsigned i = 0; i < 12; i++) {
    buf_clear(&bytes);
    buf_put_u8(&bytes, (uint8_t)i);
    buf_put_u16(&bytes, 0);
    uint64_t random = i + 1;
    for (unsigned j = 0; j < 60 + 30 * i; j++) {
      random = random * UINT64_C(6364136223846793005) + 1442695040888963407u;
      buf_put_u8(&bytes, (uint8_t)(random >> 56));
    }
    LLVMFuzzerTestOneInput(bytes.data, bytes.len);
    fuzz_seed(buf_str(&bytes));
    buf_clear(&stored);
    record_encode(&live, &stored);
    if (stored.len > 4000) continue;
    bytes.data[1] = (uint8_t)stored.len;
    bytes.data[2] = (uint8_t)(stored.len >> 8);
    bytes.len = 3;
    buf_append(&bytes, stored.data, stored.len);
    fuzz_seed(buf_str(&bytes));
  }
  buf_deinit(&bytes);
}
