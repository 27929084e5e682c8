/* Journeys from outside: an operator's hand on one of them. */
#include "decide/decide_journey.h"

/** The journey with this id, copied: the record moves. */
static int find(struct decider *decider, struct hash128 id, struct journey *out, struct error *err) {
  if (!record_journey(decider->draft.record, id, out))
    return error_set(err, ERROR_NOT_FOUND, "the journey is under way no more");
  buf_clear(&decider->journey_bytes);
  journey_encode(out, &decider->journey_bytes);
  if (!journey_decode(out, buf_str(&decider->journey_bytes)))
    return error_set(err, ERROR_CORRUPT, "the journey does not check out");
  return 0;
}

int decide_journey_move(struct decider *decider, struct record *record, struct hash128 id, int64_t wall,
                        struct decision *out, struct error *err) {
  struct journey journey;
  decide_begin(decider, record, out);
  int rc = find(decider, id, &journey, err);
  if (rc) return rc;
  if (journey.state == JOURNEY_WATCHING)
    return error_set(err, ERROR_INVALID,
                     "the journey has come to its end, and only its goal is waited for; end it, or leave it");
  struct effect effect = {.type = EFFECT_JOURNEY, .journey = {.journey = journey}};
  struct journey *moved = &effect.journey.journey;
  moved->state = JOURNEY_WAITING;
  moved->why = STR("");
  moved->steps = 0;
  moved->history = STR("");
  moved->wait.due = moved->wait.set_at = wall;
  moved->wait.held = 0;
  decider->draft.record_max = SIZE_MAX; // it was there before
  rc = draft_add(&decider->draft, &effect, err);
  decider->draft.record_max = decider->options.record_max;
  decide_journey_index(decider, journey.campaign);
  out->timers_changed = true;
  decide_finish(decider, out);
  return rc;
}

int decide_journey_stop(struct decider *decider, struct record *record, struct hash128 id, struct str reason,
                        int64_t wall, struct decision *out, struct error *err) {
  struct journey journey;
  decide_begin(decider, record, out);
  int rc = find(decider, id, &journey, err);
  if (rc) return rc;
  struct effect effect = {.type = EFFECT_JOURNEY_END,
                          .journey_ended = {.id = journey.id,
                                            .campaign = journey.campaign,
                                            .name = journey.name,
                                            .end = JOURNEY_STOPPED,
                                            .reason = reason,
                                            .step = journey.wait.label,
                                            .begun = journey.begun,
                                            .at = wall,
                                            .steps = journey.steps}};
  draft_add(&decider->draft, &effect, NULL); // taking away always fits
  decide_journey_index(decider, journey.campaign);
  out->timers_changed = true;
  decide_finish(decider, out);
  return 0;
}
