#include "host/replay.h"

#include "base/memory.h"
#include "host/generation.h"

/** One generation, rebuilt from the sources that served then. */
struct past {
  uint32_t generation;
  struct buf bytes;  /**< its facts … */
  struct str paused; /**< … borrowed from there */
  struct ruleset *ruleset;
  struct engine *engine;
  struct decider *decider;
};

/** A message decided in the replay: an outcome may give back what it reserved. */
struct sent {
  struct buf bytes;
};

struct replay {
  const struct replay_options *options;
  struct record record;
  struct past *pasts;
  size_t past_count;
  struct sent *sent;
  size_t sent_count;
  struct past *now; /**< the generation of the input being replayed */
  struct buf rows;
  uint32_t row_count;
  struct error *err;
};

static struct str row_decision(const struct decider_run *run, struct str *reason) {
  *reason = run->not_run;
  if (run->not_run.len) return STR("none");
  if (run->failed) {
    *reason = str_from(run->failed->message);
    return STR("failed");
  }
  if (run->messages == 0) {
    *reason = run->call->acted ? STR("it acted, and asked for no message") : STR("its `when` said no");
    return STR("none");
  }
  if (run->shadowed && !run->passed) *reason = STR("shadow");
  return run->passed ? STR("send") : STR("skip");
}

void replay_describe_run(const struct decider_run *run, uint32_t generation, struct buf *out) {
  struct str reason, decision = row_decision(run, &reason);
  value_put_map(out, 9);
  value_put_string(out, STR("at"));
  value_put_integer(out, run->call->now);
  value_put_member_text(out, "campaign", run->rule->campaign);
  value_put_member_text(out, "rule", run->rule->path);
  value_put_string(out, STR("generation"));
  value_put_integer(out, generation);
  value_put_member_text(out, "cause", run->call->cause);
  value_put_member_text(out, "decision", decision);
  value_put_member_text(out, "reason", reason);
  value_put_string(out, STR("ran"));
  value_put_bool(out, run->not_run.len == 0);
  value_put_string(out, STR("facts"));
  if (run->call->facts.len)
    buf_append(out, run->call->facts.data, run->call->facts.len);
  else
    value_put_map(out, 0);
}

static void note_run(void *context, const struct decider_run *run) {
  struct replay *replay = context;
  if (replay->options->filter.len && !str_equal(replay->options->filter, run->rule->campaign)) return;
  replay_describe_run(run, replay->now->generation, &replay->rows);
  replay->row_count++;
}

static void note_message(void *context, const struct message *message, const struct verdict *verdict) {
  struct replay *replay = context;
  if (!verdict->pass || (!message->once_key && !message->reserved)) return;
  replay->sent = memory_realloc(replay->sent, (replay->sent_count + 1) * sizeof *replay->sent);
  struct sent *sent = &replay->sent[replay->sent_count++];
  buf_init(&sent->bytes);
  message_encode(message, &sent->bytes);
}

static int load_sources(struct replay *replay, struct past *past) {
  struct generation_facts facts;
  struct store *store = replay->options->store;
  int rc = generation_facts_load(store, past->generation, &past->bytes, &facts, replay->err);
  if (rc == 0) rc = generation_sources_load(store, facts.sources, &past->ruleset, replay->err);
  if (rc) error_prefix(replay->err, "the sources of generation %u: ", past->generation);
  past->paused = facts.paused;
  return rc;
}

static void past_deinit(struct past *past) {
  decider_free(past->decider);
  engine_free(past->engine);
  ruleset_free(past->ruleset);
  buf_deinit(&past->bytes);
}

static int past_of(struct replay *replay, uint32_t generation) {
  for (size_t i = 0; i < replay->past_count; i++) {
    if (replay->pasts[i].generation != generation) continue;
    replay->now = &replay->pasts[i];
    return 0;
  }
  struct past past = {.generation = generation};
  buf_init(&past.bytes);
  int rc = load_sources(replay, &past);
  if (rc == 0)
    rc = engine_new(&past.engine,
                    &(struct engine_options){.ruleset = past.ruleset,
                                             .config = replay->options->config,
                                             .generation = generation,
                                             .counted_budget = true},
                    replay->err);
  if (rc) {
    past_deinit(&past);
    return rc;
  }
  past.decider = decider_new(
      &(struct decider_options){.engine = past.engine,
                                .config = replay->options->config,
                                .generation = generation,
                                .paused = past.paused,
                                .record_max = replay->options->config->state.record_max,
                                .uncounted = true,
                                .observer = {.context = replay, .message = note_message, .ran = note_run}});
  replay->pasts = memory_realloc(replay->pasts, (replay->past_count + 1) * sizeof *replay->pasts);
  replay->pasts[replay->past_count] = past;
  replay->now = &replay->pasts[replay->past_count++];
  return 0;
}

static const struct sent *sent_of(const struct replay *replay, struct hash128 id, struct message *message) {
  for (size_t i = replay->sent_count; i-- > 0;) {
    struct reader reader = reader_of(buf_str(&replay->sent[i].bytes));
    if (message_decode(message, &reader, NULL) == 0 && hash128_equal(message->id, id))
      return &replay->sent[i];
  }
  return NULL;
}

/** What is logged beside rules: what operators changed, and outcomes that give a reservation back. */
static void replay_effects(struct replay *replay, const struct log_record *record) {
  struct reader reader = reader_of(record->effects);
  struct effect effect;
  struct decision decision;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    struct message message;
    if (effect.type == EFFECT_OUTCOME && sent_of(replay, effect.outcome.message_id, &message))
      decide_outcome(replay->now->decider, &replay->record, &message, &effect.outcome, &decision);
    if (effect.type == EFFECT_SUPPRESS || effect.type == EFFECT_UNSUPPRESS || effect.type == EFFECT_CONSENT ||
        effect.type == EFFECT_ATTRIBUTE || effect.type == EFFECT_TIMER_CLEAR)
      decide_effect(replay->now->decider, &replay->record, record->entity, &effect, &decision, NULL);
  }
}

static int replay_record(void *context, const struct log_record *record) {
  struct replay *replay = context;
  int rc = past_of(replay, record->generation);
  if (rc) return rc;
  struct reader reader = reader_of(record->input);
  struct decision decision;
  struct event event;
  struct effect timer;
  switch (record->type) {
  case LOG_EVENT:
    rc = event_decode(&event, &reader, replay->err);
    if (rc == 0) decide_event(replay->now->decider, &replay->record, &event, record->at, &decision);
    return rc;
  case LOG_TIMER:
    rc = effect_decode(&timer, &reader, replay->err);
    if (rc == 0)
      decide_timer(replay->now->decider, &replay->record, record->entity, &timer.timer, record->at,
                   &decision);
    return rc;
  case LOG_LOOKUP:
    return decide_lookup_again(replay->now->decider, &replay->record, record->input, record->at, &decision,
                               replay->err);
  case LOG_OUTCOME:
  case LOG_COMMAND:
    replay_effects(replay, record);
    return 0;
  default:
    return 0;
  }
}

int replay_run(const struct replay_options *options, struct buf *out, struct error *err) {
  struct replay replay = {.options = options, .err = err};
  record_init(&replay.record);
  buf_init(&replay.rows);
  int rc = history_scan(options->store, options->log_directory, options->until, options->entity,
                        replay_record, &replay, err);
  if (rc == 0) {
    value_put_array(out, replay.row_count);
    buf_append(out, replay.rows.data, replay.rows.len);
  }
  for (size_t i = 0; i < replay.past_count; i++) past_deinit(&replay.pasts[i]);
  for (size_t i = 0; i < replay.sent_count; i++) buf_deinit(&replay.sent[i].bytes);
  memory_free(replay.pasts);
  memory_free(replay.sent);
  record_deinit(&replay.record);
  buf_deinit(&replay.rows);
  return rc;
}
