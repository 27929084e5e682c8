// links: base event state
#include "base/memory.h"
#include "event/value.h"
#include "journey_fixture.h"
#include "random.h"
#include "state/effect.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct message some_message(void) {
  return (struct message){.id = {1, 2},
                          .user = {ENTITY_USER, STR("ada")},
                          .campaign = STR("high_interest"),
                          .rule = STR("high_interest/rule.lua"),
                          .template_name = STR("still_interested"),
                          .template_hash = {3, 4},
                          .channel = STR("email"),
                          .provider = STR("file"),
                          .to = STR("ada@example.org"),
                          .data = STR("\x80"),
                          .cause = STR("event-1"),
                          .facts = STR("\x81\xa1n\x03"),
                          .limit_name = STR("mail"),
                          .limit_count = 100.5,
                          .limit_over = 1000,
                          .at = 1760000000000,
                          .accepted = 1760000000123,
                          .expires = 1760000600000,
                          .once_key = 99,
                          .once_until = 1760604800000,
                          .generation = 7};
}

enum { SAMPLES = 52 };

/** One of each effect, and of each shape it can have. */
static void samples(struct effect out[SAMPLES]) {
  unsigned n = 0;
  struct window_entry entry = {.id = 0xfedcba9876543210,
                               .kind = WINDOW_COUNT,
                               .over = 600000,
                               .at = 1760000000000,
                               .amount = 1,
                               .value = STR("")};
  out[n++] = (struct effect){.type = EFFECT_WINDOW, .window = entry};
  entry.amount = -5;
  entry.key = 12;
  out[n++] = (struct effect){.type = EFFECT_WINDOW, .window = entry};
  entry.kind = WINDOW_SUM;
  entry.amount = INT64_MIN;
  entry.at = -1;
  out[n++] = (struct effect){.type = EFFECT_WINDOW, .window = entry};
  entry.kind = WINDOW_DISTINCT;
  entry.amount = (int64_t)0x8000000000000001;
  entry.over = INT64_MAX;
  out[n++] = (struct effect){.type = EFFECT_WINDOW, .window = entry};
  entry.kind = WINDOW_LAST;
  entry.amount = 0;
  entry.value = STR("\xa5hello");
  entry.at = INT64_MIN;
  out[n++] = (struct effect){.type = EFFECT_WINDOW, .window = entry};
  entry.kind = WINDOW_FIRST;
  entry.value = STR("");
  out[n++] = (struct effect){.type = EFFECT_WINDOW, .window = entry};
  out[n++] = (struct effect){.type = EFFECT_ATTRIBUTE,
                             .attribute = {STR("first_name"), STR("\xa3"
                                                                  "Ada")}};
  out[n++] = (struct effect){.type = EFFECT_ATTRIBUTE, .attribute = {STR("plan"), STR("")}};
  out[n++] = (struct effect){.type = EFFECT_THROTTLE, .throttle = {1, 1760000000000000}};
  out[n++] = (struct effect){.type = EFFECT_ONCE, .once = {UINT64_MAX, 0}};
  struct timer timer = {.campaign = STR("cart"),
                        .name = STR("remind"),
                        .due = 1760000000000,
                        .set_at = 1760000000001,
                        .late_after = 60000,
                        .late = TIMER_LATE_SKIP,
                        .cancel_on = STR("order.completed"),
                        .data = STR("\x81\xa1k\x01"),
                        .set_by = 0x8000000000000001};
  out[n++] = (struct effect){.type = EFFECT_TIMER_SET, .timer = timer};
  timer = (struct timer){.campaign = STR(""),
                         .name = STR("n"),
                         .due = INT64_MIN,
                         .set_at = INT64_MAX,
                         .cancel_on = STR(""),
                         .data = STR("")};
  out[n++] = (struct effect){.type = EFFECT_TIMER_SET, .timer = timer};
  out[n++] = (struct effect){
      .type = EFFECT_TIMER_CLEAR,
      .timer = {.campaign = STR("cart"), .name = STR("remind"), .cancel_on = STR(""), .data = STR("")}};
  out[n++] =
      (struct effect){.type = EFFECT_SUPPRESS, .suppress = {STR("*"), STR("complained"), 1760000000000}};
  out[n++] = (struct effect){.type = EFFECT_UNSUPPRESS, .suppress = {STR("email"), STR(""), 5}};
  struct effect *sent = &out[n++];
  *sent = (struct effect){.type = EFFECT_MESSAGE};
  sent->message.message = some_message();
  sent->message.verdict = (struct verdict){true, STR(""), STR("\x80")};
  sent->message.message.purpose = STR("marketing");
  sent->message.message.cap = (struct cap){3, CAP_ROLLING, 604800000};
  sent->message.message.on_cap = MESSAGE_ON_CAP_DEFER;
  sent->message.message.not_before = 1760000300000;
  sent->message.message.reserved = MESSAGE_COUNTERS;
  sent->message.message.journey = (struct hash128){7, 0};
  struct effect *held = &out[n++];
  *held = (struct effect){.type = EFFECT_MESSAGE};
  held->message.message = some_message();
  held->message.message.user = (struct entity){ENTITY_SUBJECT, STR("sku-1")};
  held->message.message.limit_name = STR("");
  held->message.message.limit_count = 0;
  held->message.message.limit_over = 0;
  held->message.message.expires = held->message.message.once_until = 0;
  held->message.message.once_key = 0;
  held->message.message.accepted = INT64_MIN;
  held->message.message.generation = UINT32_MAX;
  held->message.verdict = (struct verdict){false, STR("suppressed"), STR("\x80")};
  out[n++] = (struct effect){.type = EFFECT_FAILURE,
                             .failure = {{5, 6},
                                         STR("cart"),
                                         STR("cart/rule.lua"),
                                         STR("rule.lua:3: boom"),
                                         STR("\x01\x00\x02"),
                                         4,
                                         1760000000000}};
  out[n++] = (struct effect){
      .type = EFFECT_NOT_RUN,
      .not_run = {STR("cart"), STR("cart/rule.lua"), STR("remind"), STR("paused"), 1760000000000, INT64_MAX}};
  out[n++] = journey_effect(journey_sample(), JOURNEY_BEGINS);
  out[n++] = journey_effect(journey_sample(), 0);
  out[n++] = journey_effect(journey_sample(), JOURNEY_CONTINUES | JOURNEY_MOVES);
  out[n++] = (struct effect){.type = EFFECT_JOURNEY_END,
                             .journey_ended = {{1, 2},
                                               STR("cart"),
                                               STR("journey:c1"),
                                               JOURNEY_EXITED,
                                               STR("order.completed"),
                                               STR("wait \"1h\""),
                                               1760000000000,
                                               1760000005000,
                                               3}};
  for (int kind = OUTCOME_ACCEPTED; kind <= OUTCOME_HELD && n < SAMPLES - 1; kind += 2)
    out[n++] = (struct effect){.type = EFFECT_OUTCOME,
                               .outcome = {{7, 8},
                                           (enum outcome_kind)kind,
                                           (uint32_t)kind * 1000,
                                           kind == OUTCOME_REJECTED ? 200 : 0,
                                           1760000000000,
                                           0,
                                           STR("202"),
                                           STR("id-1"),
                                           STR("m")}};
  out[n++] = (struct effect){.type = EFFECT_CONSENT,
                             .consent = {STR("newsletter"), STR("email"), true, 1760000000000, STR("event")}};
  out[n++] =
      (struct effect){.type = EFFECT_CONSENT, .consent = {STR(""), STR("*"), false, INT64_MIN, STR("")}};
  out[n++] = (struct effect){.type = EFFECT_COUNT_SEND,
                             .counted = {STR("marketing"), 1760000000000, 1759999999000, 604800000}};
  out[n++] = (struct effect){.type = EFFECT_COUNT_SEND, .counted = {STR("*"), 1760000000000, INT64_MIN, 0}};
  out[n++] = (struct effect){.type = EFFECT_DERIVED,
                             .derived = STR("u\x03"
                                            "ada")};
  out[n++] = (struct effect){.type = EFFECT_SEGMENT, .segment = {STR("vip"), SEGMENT_LEFT, 1760000000000}};
  out[n++] = (struct effect){.type = EFFECT_SEGMENT, .segment = {STR(""), SEGMENT_JUDGED, INT64_MIN}};
  out[n++] = (struct effect){
      .type = EFFECT_INDEX,
      .index = {
          .index = STR("interest:watchers"), .key = STR("K1"), .expires = 1760000000000, .extend = true}};
  out[n++] = (struct effect){.type = EFFECT_INDEX,
                             .index = {.index = STR("segment:vip"), .key = STR(""), .value = STR("\x01")}};
  out[n++] = (struct effect){.type = EFFECT_INDEX, .index = {.index = STR("segment:vip"), .remove = true}};
  out[n++] = (struct effect){.type = EFFECT_FAN_OUT,
                             .fan_out = {.step = FAN_OUT_BEGINS,
                                         .id = {1, 2},
                                         .spec = {.campaign = STR("drop"),
                                                  .index = STR("interest:watchers"),
                                                  .key = STR("K1"),
                                                  .event = STR("event"),
                                                  .pace = {500, 1000},
                                                  .began = 1760000000000,
                                                  .expires = 1760000000001}}};
  out[n++] = (struct effect){.type = EFFECT_FAN_OUT,
                             .fan_out = {.step = FAN_OUT_REACHES, .id = {1, 2}, .reached = 1000000}};
  out[n++] = (struct effect){.type = EFFECT_FAN_OUT,
                             .fan_out = {.step = FAN_OUT_CHANGES,
                                         .id = {1, 2},
                                         .reached = 7,
                                         .state = FAN_OUT_STOPPED,
                                         .at = 1760000000000,
                                         .reason = STR("by ada")}};
  out[n++] =
      (struct effect){.type = EFFECT_EXPOSURE,
                      .exposure = {STR("subject"), STR("urgent"), 1760000000000, STR("\x80"), false, 0, 0}};
  out[n++] =
      (struct effect){.type = EFFECT_GOAL,
                      .exposure = {STR("subject"), STR(""), 1760000000000, STR(""), true, INT64_MIN, -5}};
  out[n++] = (struct effect){.type = EFFECT_WINDOW_STATE, .held = {3, UINT64_MAX, 600000, STR("\x01\x02")}};
  while (n < SAMPLES) out[n++] = (struct effect){.type = EFFECT_DEAD_CLEAR, .dead_id = {9, UINT64_MAX}};
}

static void same_str(struct str a, struct str b) {
  assert_true(str_equal(a, b));
}

static void same_message(const struct message *a, const struct message *b) {
  assert_true(hash128_equal(a->id, b->id) && entity_equal(a->user, b->user));
  same_str(a->campaign, b->campaign);
  same_str(a->rule, b->rule);
  same_str(a->template_name, b->template_name);
  assert_true(hash128_equal(a->template_hash, b->template_hash));
  same_str(a->channel, b->channel);
  same_str(a->provider, b->provider);
  same_str(a->to, b->to);
  same_str(a->data, b->data);
  same_str(a->cause, b->cause);
  same_str(a->facts, b->facts);
  same_str(a->limit_name, b->limit_name);
  assert_true(a->limit_count == b->limit_count && a->limit_over == b->limit_over);
  assert_true(a->at == b->at && a->accepted == b->accepted && a->expires == b->expires);
  assert_true(a->once_key == b->once_key && a->once_until == b->once_until);
  assert_int_equal(a->generation, b->generation);
  same_str(a->purpose, b->purpose);
  assert_true(a->cap.count == b->cap.count && a->cap.period == b->cap.period &&
              a->cap.over_ms == b->cap.over_ms);
  assert_true(a->on_cap == b->on_cap && a->not_before == b->not_before && a->reserved == b->reserved);
  assert_true(hash128_equal(a->journey, b->journey));
}

static void same(const struct effect *a, const struct effect *b) {
  assert_int_equal(a->type, b->type);
  switch (a->type) {
  case EFFECT_WINDOW:
    assert_true(a->window.id == b->window.id && a->window.kind == b->window.kind &&
                a->window.key == b->window.key);
    assert_true(a->window.over == b->window.over && a->window.at == b->window.at);
    assert_true(a->window.amount == b->window.amount);
    same_str(a->window.value, b->window.value);
    break;
  case EFFECT_ATTRIBUTE:
    same_str(a->attribute.name, b->attribute.name);
    same_str(a->attribute.value, b->attribute.value);
    break;
  case EFFECT_THROTTLE:
    assert_true(a->throttle.key == b->throttle.key && a->throttle.arrival == b->throttle.arrival);
    break;
  case EFFECT_ONCE:
    assert_true(a->once.key == b->once.key && a->once.until == b->once.until);
    break;
  case EFFECT_TIMER_SET:
  case EFFECT_TIMER_CLEAR:
    same_str(a->timer.campaign, b->timer.campaign);
    same_str(a->timer.name, b->timer.name);
    same_str(a->timer.cancel_on, b->timer.cancel_on);
    same_str(a->timer.data, b->timer.data);
    assert_true(a->timer.due == b->timer.due && a->timer.set_at == b->timer.set_at);
    assert_true(a->timer.late == b->timer.late && a->timer.late_after == b->timer.late_after);
    assert_true(a->timer.set_by == b->timer.set_by);
    break;
  case EFFECT_SUPPRESS:
  case EFFECT_UNSUPPRESS:
    same_str(a->suppress.channel, b->suppress.channel);
    same_str(a->suppress.reason, b->suppress.reason);
    assert_true(a->suppress.at == b->suppress.at);
    break;
  case EFFECT_MESSAGE:
    same_message(&a->message.message, &b->message.message);
    assert_int_equal(a->message.verdict.pass, b->message.verdict.pass);
    same_str(a->message.verdict.reason, b->message.verdict.reason);
    same_str(a->message.verdict.checks, b->message.verdict.checks);
    break;
  case EFFECT_FAILURE:
    assert_true(hash128_equal(a->failure.id, b->failure.id));
    same_str(a->failure.campaign, b->failure.campaign);
    same_str(a->failure.rule, b->failure.rule);
    same_str(a->failure.error, b->failure.error);
    same_str(a->failure.input, b->failure.input);
    assert_true(a->failure.generation == b->failure.generation && a->failure.at == b->failure.at);
    break;
  case EFFECT_OUTCOME:
    assert_true(hash128_equal(a->outcome.message_id, b->outcome.message_id) &&
                a->outcome.kind == b->outcome.kind);
    assert_true(a->outcome.attempt == b->outcome.attempt && a->outcome.unsent == b->outcome.unsent);
    assert_true(a->outcome.at == b->outcome.at);
    assert_true(a->outcome.retry_at == b->outcome.retry_at);
    same_str(a->outcome.detail, b->outcome.detail);
    same_str(a->outcome.provider_id, b->outcome.provider_id);
    same_str(a->outcome.message, b->outcome.message);
    break;
  case EFFECT_WINDOW_STATE:
    assert_true(a->held.id == b->held.id && a->held.key == b->held.key && a->held.over == b->held.over);
    same_str(a->held.state, b->held.state);
    break;
  case EFFECT_CONSENT:
    same_str(a->consent.purpose, b->consent.purpose);
    same_str(a->consent.channel, b->consent.channel);
    same_str(a->consent.source, b->consent.source);
    assert_true(a->consent.granted == b->consent.granted && a->consent.at == b->consent.at);
    break;
  case EFFECT_EXPOSURE:
  case EFFECT_GOAL:
    same_str(a->exposure.experiment, b->exposure.experiment);
    same_str(a->exposure.variant, b->exposure.variant);
    same_str(a->exposure.chances, b->exposure.chances);
    assert_true(a->exposure.at == b->exposure.at && a->exposure.reached == b->exposure.reached);
    assert_true(a->exposure.goal_at == b->exposure.goal_at && a->exposure.amount == b->exposure.amount);
    break;
  case EFFECT_COUNT_SEND:
    same_str(a->counted.counter, b->counted.counter);
    assert_true(a->counted.at == b->counted.at && a->counted.wall == b->counted.wall);
    assert_true(a->counted.keep == b->counted.keep);
    break;
  case EFFECT_DERIVED:
    same_str(a->derived, b->derived);
    break;
  case EFFECT_SEGMENT:
    same_str(a->segment.name, b->segment.name);
    assert_true(a->segment.change == b->segment.change && a->segment.at == b->segment.at);
    break;
  case EFFECT_DEAD_CLEAR:
    assert_true(hash128_equal(a->dead_id, b->dead_id));
    break;
  case EFFECT_INDEX:
    same_str(a->index.index, b->index.index);
    same_str(a->index.key, b->index.key);
    same_str(a->index.value, b->index.value);
    assert_true(a->index.expires == b->index.expires && a->index.remove == b->index.remove);
    assert_int_equal(a->index.extend, b->index.extend);
    break;
  case EFFECT_FAN_OUT:
    assert_true(hash128_equal(a->fan_out.id, b->fan_out.id) && a->fan_out.step == b->fan_out.step);
    assert_true(a->fan_out.reached == b->fan_out.reached && a->fan_out.at == b->fan_out.at);
    assert_int_equal(a->fan_out.state, b->fan_out.state);
    same_str(a->fan_out.reason, b->fan_out.reason);
    same_str(a->fan_out.spec.campaign, b->fan_out.spec.campaign);
    same_str(a->fan_out.spec.index, b->fan_out.spec.index);
    same_str(a->fan_out.spec.key, b->fan_out.spec.key);
    same_str(a->fan_out.spec.event, b->fan_out.spec.event);
    assert_true(a->fan_out.spec.pace.count == b->fan_out.spec.pace.count &&
                a->fan_out.spec.pace.over_ms == b->fan_out.spec.pace.over_ms);
    assert_true(a->fan_out.spec.began == b->fan_out.spec.began &&
                a->fan_out.spec.expires == b->fan_out.spec.expires);
    break;
  case EFFECT_JOURNEY: {
    struct buf first = {0}, second = {0}; // what an effect has, and no more
    journey_change_encode(&a->journey.journey, a->journey.changes, &first);
    journey_change_encode(&b->journey.journey, b->journey.changes, &second);
    same_str(buf_str(&first), buf_str(&second));
    same_str(a->journey.journey.history, b->journey.journey.history);
    assert_true(a->journey.journey.wait.due == b->journey.journey.wait.due);
    buf_deinit(&first);
    buf_deinit(&second);
    break;
  }
  case EFFECT_JOURNEY_END:
    assert_true(hash128_equal(a->journey_ended.id, b->journey_ended.id));
    assert_true(a->journey_ended.end == b->journey_ended.end &&
                a->journey_ended.steps == b->journey_ended.steps);
    assert_true(a->journey_ended.begun == b->journey_ended.begun &&
                a->journey_ended.at == b->journey_ended.at);
    same_str(a->journey_ended.name, b->journey_ended.name);
    same_str(a->journey_ended.reason, b->journey_ended.reason);
    same_str(a->journey_ended.step, b->journey_ended.step);
    break;
  case EFFECT_NOT_RUN:
    same_str(a->not_run.campaign, b->not_run.campaign);
    same_str(a->not_run.rule, b->not_run.rule);
    same_str(a->not_run.timer, b->not_run.timer);
    same_str(a->not_run.reason, b->not_run.reason);
    assert_true(a->not_run.due == b->not_run.due && a->not_run.moved_to == b->not_run.moved_to);
    break;
  }
}

static void test_round_trip(void **state) {
  (void)state;
  struct effect all[SAMPLES];
  samples(all);
  struct buf bytes = {0};
  unsigned seen = 0;
  for (unsigned i = 0; i < SAMPLES; i++) {
    effect_encode(&all[i], &bytes);
    seen |= 1u << all[i].type;
  }
  assert_int_equal(seen, 0xfffe | 1u << EFFECT_DERIVED | 1u << EFFECT_SEGMENT | 1u << EFFECT_INDEX |
                             1u << EFFECT_FAN_OUT | 1u << EFFECT_EXPOSURE | 1u << EFFECT_GOAL |
                             1u << EFFECT_WINDOW_STATE | 1u << EFFECT_JOURNEY |
                             1u << EFFECT_JOURNEY_END); // every type is among them
  // One after another, as in the log: each takes just its own bytes.
  struct reader reader = reader_of(buf_str(&bytes));
  for (unsigned i = 0; i < SAMPLES; i++) {
    struct effect effect;
    assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
    same(&all[i], &effect);
  }
  assert_int_equal(reader_left(&reader), 0);
  buf_deinit(&bytes);
}

static void test_sizes(void **state) {
  (void)state;
  struct effect all[SAMPLES];
  samples(all);
  struct buf bytes = {0};
  effect_encode(&all[0], &bytes);
  assert_in_range(bytes.len, 10, 20);
  buf_deinit(&bytes);
}

/** An allocation of its own, so that reading past it is seen. */
static int decode_copy(const uint8_t *data, size_t len, struct error *err) {
  uint8_t *copy = memory_alloc(len);
  if (len) memcpy(copy, data, len);
  struct reader reader = reader_of((struct str){(const char *)copy, len});
  struct effect effect;
  int rc = effect_decode(&effect, &reader, err);
  if (rc == 0) { // what was read can be written again
    struct buf again = {0};
    effect_encode(&effect, &again);
    buf_deinit(&again);
  }
  memory_free(copy);
  return rc;
}

static void test_truncated(void **state) {
  (void)state;
  struct effect all[SAMPLES];
  samples(all);
  for (unsigned i = 0; i < SAMPLES; i++) {
    struct buf bytes = {0};
    effect_encode(&all[i], &bytes);
    for (size_t len = 0; len < bytes.len; len++) {
      struct error err = {0};
      assert_int_equal(decode_copy(bytes.data, len, &err), ERROR_CORRUPT);
      assert_true(err.code == ERROR_CORRUPT && err.message[0]);
    }
    assert_int_equal(decode_copy(bytes.data, bytes.len, NULL), 0);
    buf_deinit(&bytes);
  }
}

static void test_unknown(void **state) {
  (void)state;
  struct error err = {0};
  assert_int_equal(decode_copy((const uint8_t[]){200, 1, 2, 3}, 4, &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "200"));
  assert_int_equal(decode_copy((const uint8_t[]){0}, 1, NULL), ERROR_CORRUPT);
  assert_int_equal(decode_copy((const uint8_t[]){13}, 1, NULL), ERROR_CORRUPT);

  struct effect all[SAMPLES];
  samples(all);
  struct buf bytes = {0};
  effect_encode(&all[0], &bytes);
  bytes.data[1] |= 0x40; // a flag that is not known
  assert_int_equal(decode_copy(bytes.data, bytes.len, NULL), ERROR_CORRUPT);
  bytes.data[1] = 6; // a kind that is not known
  assert_int_equal(decode_copy(bytes.data, bytes.len, NULL), ERROR_CORRUPT);
  buf_clear(&bytes);
  all[0].window.over = 0; // a window of no length
  effect_encode(&all[0], &bytes);
  assert_int_equal(decode_copy(bytes.data, bytes.len, NULL), ERROR_CORRUPT);
  buf_clear(&bytes);
  struct message message = some_message();
  message_encode(&message, &bytes);
  struct reader reader = reader_of(buf_str(&bytes));
  bytes.data[0] |= 0x80;
  assert_int_equal(message_decode(&message, &reader, &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "flags"));
  message = some_message();
  message.user.kind = 'x';
  buf_clear(&bytes);
  message_encode(&message, &bytes);
  reader = reader_of(buf_str(&bytes));
  assert_int_equal(message_decode(&message, &reader, &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "entity"));

  // A value longer than a window takes, and one that says to be longer than all memory.
  buf_clear(&bytes);
  char text[300] = {0};
  struct effect effect = {.type = EFFECT_WINDOW,
                          .window = {.kind = WINDOW_LAST, .over = 1, .value = {text, 257}}};
  effect_encode(&effect, &bytes);
  assert_int_equal(decode_copy(bytes.data, bytes.len, NULL), ERROR_CORRUPT);
  static const uint8_t huge[] = {
      EFFECT_ATTRIBUTE, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 'x'};
  assert_int_equal(decode_copy(huge, sizeof huge, NULL), ERROR_CORRUPT);
  buf_deinit(&bytes);
}

static void test_fuzz(void **state) {
  (void)state;
  seed = 7;
  struct effect all[SAMPLES];
  samples(all);
  unsigned refused = 0, taken = 0;
  for (unsigned i = 0; i < 60000; i++) {
    uint8_t noise[512];
    size_t len;
    if (i % 2) {
      len = next_random() % 100;
      for (size_t b = 0; b < len; b++) noise[b] = (uint8_t)next_random();
      if (len) noise[0] = (uint8_t)(next_random() % 14);
    } else {
      struct buf bytes = {0};
      effect_encode(&all[next_random() % SAMPLES], &bytes);
      len = bytes.len < sizeof noise ? bytes.len : sizeof noise;
      memcpy(noise, bytes.data, len);
      for (unsigned flips = 1 + next_random() % 3; flips > 0; flips--)
        noise[next_random() % len] ^= (uint8_t)(1u << next_random() % 8);
      buf_deinit(&bytes);
    }
    if (decode_copy(noise, len, NULL) == 0)
      taken++;
    else
      refused++;
  }
  assert_true(refused > 1000 && taken > 1000);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_round_trip), cmocka_unit_test(test_sizes), cmocka_unit_test(test_truncated),
      cmocka_unit_test(test_unknown),    cmocka_unit_test(test_fuzz),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
