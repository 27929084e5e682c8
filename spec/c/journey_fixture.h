/** A journey for tests of what is stored. */
#pragma once

#include "state/effect.h"

/** A cart's that waits for an hour, or for an order; behind it a count and an event that it waited for. Its
 * bytes live for good. */
static inline struct journey journey_sample(void) {
  static struct buf event, history, types, sent;
  if (!event.len) {
    struct event start = {.id = STR("e1"),
                          .type = STR("cart.updated"),
                          .entity = {ENTITY_USER, STR("ada")},
                          .timestamp = 1760000000000,
                          .received = 1760000000000,
                          .payload = STR("\x80"),
                          .metadata = STR("")};
    struct buf answer = {0};
    event_encode(&start, &event);
    journey_put_type(&types, STR("order.completed"));
    journey_sent_encode(&(struct journey_sent){{5, 6}, 1760003600000, 1760007200000, 9, 3, STR("offers")},
                        &sent);
    journey_answer_encode(&(struct journey_answer){1760000000009, buf_str(&event)}, &answer);
    journey_step_encode(&(struct journey_step){JOURNEY_READ, 77, STR("count x 1h"), STR("\x05"), false},
                        &history);
    journey_step_encode(
        &(struct journey_step){JOURNEY_WAIT_FOR, 78, STR("wait_for click"), buf_str(&answer), false},
        &history);
    buf_deinit(&answer);
  }
  return (struct journey){.id = {1, 2},
                          .state = JOURNEY_WAITING,
                          .campaign = STR("cart"),
                          .name = STR("journey:c1"),
                          .version = {3, 4},
                          .begun = 1760000000000,
                          .at = 1760000000000,
                          .steps = 2,
                          .exits = buf_str(&types),
                          .wait = {.op = JOURNEY_WAIT,
                                   .arguments = 79,
                                   .label = STR("wait \"1h\""),
                                   .line = 12,
                                   .due = 1760003600000,
                                   .set_at = 1760000000000,
                                   .late = JOURNEY_LATE_EXIT,
                                   .late_after = 60000,
                                   .on = buf_str(&types),
                                   .got = STR("")},
                          .why = STR(""),
                          .sent = buf_str(&sent),
                          .event = buf_str(&event),
                          .handed = STR(""),
                          .history = buf_str(&history)};
}

static inline struct effect journey_effect(struct journey journey, unsigned changes) {
  return (struct effect){.type = EFFECT_JOURNEY, .journey = {journey, changes}};
}
