#include "look/look_try.h"
#include "host/experiments.h"

#include "explain/replay.h"
#include "generation/generation.h"

enum { AUDIENCE_MAX = 100000 /**< counted, which takes about 0.1 s */ };

/** What was seen while it ran: the members of arrays. */
struct seen {
  struct store *store;
  struct buf rules, messages, failures, changes;
  uint32_t rule_count, message_count, failure_count, change_count, window_count, generation;
};

int look_try_init(struct look_try *trial, struct str event, int64_t received, struct error *err) {
  struct event_fault fault;
  buf_init(&trial->bytes);
  buf_init(&trial->record);
  buf_init(&trial->needs);
  buf_append(&trial->bytes, event.data, event.len);
  if (event_from_value(&trial->event, buf_str(&trial->bytes), received, NULL, &fault))
    return error_set(err, ERROR_INVALID, "the event's %s: %s",
                     *fault.pointer ? fault.pointer + 1 : "envelope", fault.message);
  return 0;
}

void look_try_deinit(struct look_try *trial) {
  buf_deinit(&trial->bytes);
  buf_deinit(&trial->record);
  buf_deinit(&trial->needs);
}

static void note_run(void *context, const struct decider_run *run) {
  struct seen *seen = context;
  replay_describe_run(run, seen->generation, &seen->rules);
  seen->rule_count++;
}

static void note_judged(void *context, const struct decider_judgement *judgement) {
  struct seen *seen = context;
  replay_describe_judgement(judgement, seen->generation, &seen->rules);
  seen->rule_count++;
}

static void note_message(void *context, const struct message *message, const struct verdict *verdict) {
  struct seen *seen = context;
  struct buf *out = &seen->messages;
  value_put_map(out, 9);
  value_put_member_text(out, "campaign", message->campaign);
  value_put_member_text(out, "template", message->template_name);
  value_put_member_text(out, "channel", message->channel);
  value_put_member_text(out, "provider", message->provider);
  value_put_member_text(out, "to", message->to);
  value_put_member_text(out, "decision", verdict->pass ? STR("send") : STR("skip"));
  value_put_member_text(out, "reason", verdict->reason);
  value_put_member_stored(out, "checks", verdict->checks);
  value_put_member_stored(out, "data", message->data);
  seen->message_count++;
}

static void note_failure(void *context, const struct entity *entity, const struct failure *failure) {
  (void)entity;
  struct seen *seen = context;
  value_put_map(&seen->failures, 2);
  value_put_member_text(&seen->failures, "campaign", failure->campaign);
  value_put_member_text(&seen->failures, "error", failure->error);
  seen->failure_count++;
}

static int count_user(void *context, const struct index_user *user) {
  *(int64_t *)context += user->entity.kind == ENTITY_USER;
  return 0;
}

/** Whom a fan-out would set out for: as many as the store knows of, up to AUDIENCE_MAX. */
static int64_t count_audience(struct store *store, const struct fan_out_spec *spec) {
  struct buf cursor;
  struct error err;
  int64_t users = 0;
  buf_init(&cursor);
  store_scan_index(store, spec->index, spec->key, -1, spec->began, &cursor, AUDIENCE_MAX, count_user, &users,
                   &err);
  buf_deinit(&cursor);
  return users;
}

static void put_journey(struct buf *out, const struct journey *journey) {
  value_put_map(out, 4);
  value_put_member_text(out, "journey", journey->campaign);
  value_put_member_text(out, "key", journey_key(journey));
  value_put_member_text(out, "state", str_from(journey_state_name(journey->state)));
  value_put_member_text(out, "step", journey->wait.label);
}

static void put_journey_end(struct buf *out, const struct journey_ended *ended) {
  value_put_map(out, 4);
  value_put_member_text(out, "journey", ended->campaign);
  value_put_member_text(out, "key", journey_key(&(struct journey){.name = ended->name}));
  value_put_member_text(out, "ended", str_from(journey_end_name(ended->end)));
  value_put_member_text(out, "reason", ended->reason);
}

static void put_fan_out(struct buf *out, struct store *store, const struct fan_out_spec *spec) {
  value_put_map(out, 4);
  value_put_member_text(out, "fan_out", spec->campaign);
  value_put_member_text(out, "over", index_shown(spec->index));
  value_put_member_text(out, "key", spec->key);
  value_put_member_integer(out, "users", count_audience(store, spec));
}

static void note_effect(struct seen *seen, const struct effect *effect) {
  struct buf *out = &seen->changes;
  struct reader derived;
  struct event event;
  switch (effect->type) {
  case EFFECT_WINDOW:
    seen->window_count++;
    return;
  case EFFECT_ATTRIBUTE:
    value_put_map(out, 1);
    value_put_string(out, STR("attributes"));
    value_put_map(out, 1);
    value_put_string(out, effect->attribute.name);
    if (effect->attribute.value.len)
      buf_append(out, effect->attribute.value.data, effect->attribute.value.len);
    else
      value_put_nil(out);
    break;
  case EFFECT_TIMER_SET:
    if (timer_needs(&effect->timer)) return; // it is answered below
    value_put_map(out, 3);
    value_put_member_text(out, "timer", effect->timer.name);
    value_put_member_text(out, "campaign", effect->timer.campaign);
    value_put_member_integer(out, "due", effect->timer.due);
    break;
  case EFFECT_TIMER_CLEAR:
    if (timer_needs(&effect->timer)) return;
    value_put_map(out, 3);
    value_put_member_text(out, "timer", effect->timer.name);
    value_put_member_text(out, "campaign", effect->timer.campaign);
    value_put_member_text(out, "due", STR("cancelled"));
    break;
  case EFFECT_DERIVED:
    derived = reader_of(effect->derived);
    if (event_decode(&event, &derived, NULL)) return;
    value_put_map(out, 2);
    value_put_member_text(out, "event", event.type);
    value_put_member_stored(out, "payload", event.payload);
    break;
  case EFFECT_SEGMENT:
    if (effect->segment.change == SEGMENT_JUDGED) return;
    value_put_map(out, 2);
    value_put_member_text(out, "segment", effect->segment.name);
    value_put_member_text(out, "change", str_from(segment_change_name(effect->segment.change)));
    break;
  case EFFECT_EXPOSURE:
  case EFFECT_GOAL:
    value_put_map(out, 2);
    value_put_member_text(out, effect->type == EFFECT_GOAL ? "goal" : "experiment",
                          effect->exposure.experiment);
    value_put_member_text(out, "variant", effect->exposure.variant);
    break;
  case EFFECT_JOURNEY:
    put_journey(out, &effect->journey.journey);
    break;
  case EFFECT_JOURNEY_END:
    put_journey_end(out, &effect->journey_ended);
    break;
  case EFFECT_FAN_OUT:
    put_fan_out(out, seen->store, &effect->fan_out.spec);
    break;
  case EFFECT_SUPPRESS:
    value_put_map(out, 2);
    value_put_member_text(out, "suppressed", effect->suppress.channel);
    value_put_member_text(out, "reason", effect->suppress.reason);
    break;
  default:
    return;
  }
  seen->change_count++;
}

static void note_effects(struct seen *seen, struct str effects) {
  struct reader reader = reader_of(effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) note_effect(seen, &effect);
}

static void put_list(struct buf *out, const char *name, uint32_t count, const struct buf *items) {
  value_put_string(out, str_from(name));
  value_put_array(out, count);
  buf_append(out, items->data, items->len);
}

enum { NEEDS_MAX = 16 };

/** The answers, as the rule will be given them. */
static struct lookup_results answers_of(const struct look_try *trial, struct lookup_result *items) {
  struct reader reader = reader_of(buf_str(&trial->needs));
  struct value head = value_read(&reader);
  struct lookup_results results = {
      .items = items, .reason = LOOKUP_NOT_ASKED, .why = STR("a trial asks nobody")};
  if (head.type != VALUE_MAP) return results;
  for (uint32_t i = 0; i < head.count && results.count < NEEDS_MAX; i++) {
    struct str name = value_read(&reader).string;
    items[results.count++] = (struct lookup_result){.name = name, .value = value_slice(&reader)};
  }
  return results;
}

/** Rules that wait for what they need go on. */
static void answer_needs(const struct look_try *trial, struct decider *decider, struct record *record,
                         struct str effects, struct seen *seen) {
  struct lookup_result items[NEEDS_MAX];
  struct lookup_results results = answers_of(trial, items);
  struct reader reader = reader_of(effects);
  struct effect effect;
  struct buf input;
  buf_init(&input);
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    struct decision decision;
    if (effect.type != EFFECT_TIMER_SET || !timer_needs(&effect.timer)) continue;
    buf_clear(&input);
    if (decide_lookup(decider, record, effect.timer.campaign, effect.timer.name, &results, trial->wall,
                      &decision, &input) == 0)
      note_effects(seen, decision.effects);
  }
  buf_deinit(&input);
}

static void decide(struct look_try *trial, struct decider *decider, struct str weights, struct record *record,
                   struct seen *seen) {
  struct decision decision;
  decider_weigh(decider, weights);
  decider_make_room(decider, record, trial->wall);
  decide_event(decider, record, &trial->event, trial->wall, &decision);
  struct buf effects; // the next decision takes their place
  buf_init(&effects);
  buf_append(&effects, decision.effects.data, decision.effects.len);
  note_effects(seen, buf_str(&effects));
  if (decision.waits) answer_needs(trial, decider, record, buf_str(&effects), seen);
  buf_deinit(&effects);
}

int look_try_run(struct look_try *trial, const struct config *config, struct store *store, struct buf *out,
                 struct error *err) {
  struct generation *generation = NULL;
  struct record record;
  struct seen seen = {.store = store, .generation = trial->generation};
  struct buf facts_bytes, weights;
  struct generation_facts facts;
  buf_init(&facts_bytes);
  buf_init(&weights);
  struct buf *bufs[] = {&seen.rules, &seen.messages, &seen.failures, &seen.changes};
  record_init(&record);
  for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_init(bufs[i]);
  int rc = record_decode(&record, buf_str(&trial->record), err);
  if (rc == 0) rc = generation_facts_load(store, trial->generation, &facts_bytes, &facts, err);
  if (rc == 0) rc = generation_load(&generation, &facts, store, 1, err);
  if (rc) goto cleanup;
  struct decider_observer observer = {.context = &seen,
                                      .message = note_message,
                                      .failure = note_failure,
                                      .ran = note_run,
                                      .judged = note_judged};
  rc = generation_build_aside(generation, config, store, observer, err);
  if (rc) goto cleanup;
  rc = experiments_weights(store, &weights, err);
  if (rc) goto cleanup;
  decide(trial, generation->workers[0].decider, buf_str(&weights), &record, &seen);
  value_put_map(out, 7);
  value_put_member_integer(out, "at", event_now(&trial->event));
  value_put_member_integer(out, "generation", trial->generation);
  put_list(out, "rules", seen.rule_count, &seen.rules);
  put_list(out, "messages", seen.message_count, &seen.messages);
  put_list(out, "failures", seen.failure_count, &seen.failures);
  put_list(out, "changes", seen.change_count, &seen.changes);
  value_put_member_integer(out, "windows", seen.window_count);
cleanup:
  generation_free(generation);
  record_deinit(&record);
  buf_deinit(&facts_bytes);
  buf_deinit(&weights);
  for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_deinit(bufs[i]);
  return rc;
}
