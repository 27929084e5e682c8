#include "explain/replay.h"

#include "base/memory.h"
#include "generation/generation.h"

/** Rules rebuilt as they served then. Generations of the same sources, pauses and windows share them. */
struct past {
  struct generation *generation; /**< the first of them; null: a free place */
  uint64_t used;
};

/** Lua states that are kept: a history goes through its generations in order. */
enum { PASTS = 8 };

/** A message decided in the replay: an outcome may give back what it reserved. */
struct sent {
  struct buf bytes;
  struct outcome ended; /**< its latest: kind and attempts alone */
};

/** A rule's dead letter: an operator may have had it run again. An encoded EFFECT_FAILURE. */
struct letter {
  struct buf bytes;
};

struct replay {
  const struct replay_options *options;
  struct record record;
  struct past pasts[PASTS];
  uint64_t clock;
  struct sent *sent;
  size_t sent_count;
  struct letter *letters;
  size_t letter_count;
  uint32_t unknown;    /**< generation whose rules are not there, told of last */
  uint32_t generation; /**< of the input being replayed … */
  struct past *now;    /**< … and its rules */
  struct buf rows;
  uint32_t row_count;
  struct error *err;
};

/** What a run of a journey's function came to. */
static void say_journey(const struct engine_journey_call *call, struct buf *out) {
  switch (call->came) {
  case ENGINE_JOURNEY_WAITS:
    buf_printf(out, "it waits: %.*s", STR_ARG(call->wait.label));
    break;
  case ENGINE_JOURNEY_STILL:
    buf_printf(out, "this is not what it waits for: %.*s", STR_ARG(call->journey->wait.label));
    break;
  case ENGINE_JOURNEY_GOT:
    buf_printf(out, "it keeps this till its campaign runs");
    break;
  case ENGINE_JOURNEY_CONTINUES:
    buf_printf(out, "it continues afresh");
    break;
  case ENGINE_JOURNEY_RETURNED:
    buf_printf(out, "it has come to its end");
    break;
  }
}

/** The journey whose function ran; null if it was none. */
static const struct journey *row_journey(const struct decider_run *run) {
  const struct engine_journey_call *call = run->call->journey;
  bool is =
      run->rule->journey && call && call->ask == ENGINE_JOURNEY_RUN && !run->not_run.len && !run->failed;
  return is ? call->journey : NULL;
}

static struct str row_decision(const struct decider_run *run, struct str *reason) {
  *reason = run->not_run;
  if (run->not_run.len) return STR("none");
  if (run->failed) {
    *reason = str_from(run->failed->message);
    return STR("failed");
  }
  if (run->fan_out.len) {
    *reason = run->fan_out;
    return STR("fan_out");
  }
  if (run->messages == 0) {
    *reason = run->call->acted ? STR("it acted, and asked for no message") : STR("its `when` said no");
    return STR("none");
  }
  if (run->shadowed && !run->passed) *reason = STR("shadow");
  return run->passed ? STR("send") : STR("skip");
}

void replay_describe_run(const struct decider_run *run, uint32_t generation, struct buf *out) {
  const struct journey *journey = row_journey(run);
  struct str reason, decision = row_decision(run, &reason);
  struct buf said;
  buf_init(&said);
  if (journey) say_journey(run->call->journey, &said);
  if (journey && (run->messages == 0 || !reason.len)) reason = buf_str(&said);
  value_put_map(out, 9 + (journey != NULL));
  if (journey) value_put_member_text(out, "journey", journey_key(journey));
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
  buf_deinit(&said);
}

void replay_describe_judgement(const struct decider_judgement *judgement, uint32_t generation,
                               struct buf *out) {
  const struct engine_call *call = judgement->call;
  const char *decision = judgement->failed    ? "failed"
                         : judgement->changed ? (judgement->member ? "entered" : "left")
                                              : (judgement->member ? "in" : "out");
  value_put_map(out, 10);
  value_put_member_integer(out, "at", call->now);
  value_put_member_text(out, "segment", judgement->segment->name);
  value_put_member_text(out, "campaign", judgement->segment->campaign);
  value_put_member_text(out, "rule", judgement->segment->path);
  value_put_member_integer(out, "generation", generation);
  value_put_member_text(out, "cause", call->cause);
  value_put_member_text(out, "decision", str_from(decision));
  value_put_member_text(out, "reason", judgement->failed ? str_from(judgement->failed->message) : STR(""));
  value_put_string(out, STR("ran"));
  value_put_bool(out, true);
  value_put_member_stored(out, "facts", call->facts.len ? buf_str(&call->facts) : STR("\x80"));
}

static void note_judged(void *context, const struct decider_judgement *judgement) {
  struct replay *replay = context;
  struct str filter = replay->options->filter;
  bool named = str_equal(filter, judgement->segment->name);
  if (filter.len && !named && !str_equal(filter, judgement->segment->campaign)) return;
  if (!named && !judgement->changed && !judgement->failed) return; // or there would be little else
  replay_describe_judgement(judgement, replay->generation, &replay->rows);
  replay->row_count++;
}

static void note_run(void *context, const struct decider_run *run) {
  struct replay *replay = context;
  if (replay->options->filter.len && !str_equal(replay->options->filter, run->rule->campaign)) return;
  replay_describe_run(run, replay->generation, &replay->rows);
  replay->row_count++;
}

static struct sent *sent_of(const struct replay *replay, struct hash128 id, struct message *message) {
  for (size_t i = replay->sent_count; i-- > 0;) {
    struct reader reader = reader_of(buf_str(&replay->sent[i].bytes));
    if (message_decode(message, &reader, NULL) == 0 && hash128_equal(message->id, id))
      return &replay->sent[i];
  }
  return NULL;
}

static void note_message(void *context, const struct message *message, const struct verdict *verdict) {
  struct replay *replay = context;
  struct message before; // one that is sent again may have no places to give back any more
  if (!verdict->pass || (!message->once_key && !message->reserved && !sent_of(replay, message->id, &before)))
    return;
  replay->sent = memory_realloc(replay->sent, (replay->sent_count + 1) * sizeof *replay->sent);
  struct sent *sent = &replay->sent[replay->sent_count++];
  buf_init(&sent->bytes);
  sent->ended = (struct outcome){0};
  message_encode(message, &sent->bytes);
}

static int past_build(struct replay *replay, struct past *past, const struct generation_facts *facts) {
  struct store *store = replay->options->store;
  struct decider_observer observer = {
      .context = replay, .message = note_message, .ran = note_run, .judged = note_judged};
  int rc = generation_load(&past->generation, facts, store, 1, replay->err);
  if (rc == 0)
    rc = generation_build_aside(past->generation, replay->options->config, store, observer, replay->err);
  return rc;
}

static int past_find(struct replay *replay, const struct generation_facts *facts) {
  struct past *oldest = replay->pasts;
  for (size_t i = 0; i < PASTS; i++) {
    struct past *past = &replay->pasts[i];
    if (past->used < oldest->used) oldest = past;
    if (!past->generation) continue;
    const struct generation_facts *of = &past->generation->facts;
    if (!hash128_equal(of->sources, facts->sources) || !str_equal(of->paused, facts->paused) ||
        !str_equal(of->windows, facts->windows) || !str_equal(of->besides, facts->besides) ||
        !str_equal(of->interests, facts->interests) || !str_equal(of->quiet, facts->quiet) ||
        !hash128_equal(of->target, facts->target) || !str_equal(of->flights, facts->flights))
      continue;
    replay->now = past;
    return 0;
  }
  generation_free(oldest->generation);
  *oldest = (struct past){0};
  int rc = past_build(replay, oldest, facts);
  if (rc) {
    generation_free(oldest->generation);
    oldest->generation = NULL;
  } else {
    replay->now = oldest;
  }
  return rc;
}

static int past_of(struct replay *replay, uint32_t generation) {
  if (!replay->now || replay->generation != generation) {
    struct generation_facts facts;
    struct buf bytes;
    buf_init(&bytes);
    int rc = generation_facts_load(replay->options->store, generation, &bytes, &facts, replay->err);
    if (rc == 0) rc = past_find(replay, &facts);
    buf_deinit(&bytes);
    if (rc) {
      replay->now = NULL;
      return error_prefix(replay->err, "the rules of generation %u: ", generation);
    }
    replay->generation = generation;
  }
  replay->now->used = ++replay->clock;
  return 0;
}

static struct decider *decider_of(const struct replay *replay) {
  return replay->now->generation->workers[0].decider;
}

static void note_letters(struct replay *replay, const struct log_record *record) {
  struct reader reader = reader_of(record->effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type != EFFECT_FAILURE) continue;
    replay->letters = memory_realloc(replay->letters, (replay->letter_count + 1) * sizeof *replay->letters);
    struct letter *letter = &replay->letters[replay->letter_count++];
    buf_init(&letter->bytes);
    effect_encode(&effect, &letter->bytes);
  }
}

static bool letter_of(const struct replay *replay, struct hash128 id, struct effect *failure) {
  for (size_t i = replay->letter_count; i-- > 0;) {
    struct reader reader = reader_of(buf_str(&replay->letters[i].bytes));
    if (effect_decode(failure, &reader, NULL) == 0 && hash128_equal(failure->failure.id, id)) return true;
  }
  return false;
}

/** A dead letter that was retried: its rule ran, or its message took its place again. One from before what is
 * kept has no input any more. */
static void replay_retry(struct replay *replay, const struct log_record *record) {
  struct reader reader = reader_of(record->effects);
  struct effect effect, failure;
  struct decision decision;
  struct message message;
  struct sent *sent;
  struct error err;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type != EFFECT_DEAD_CLEAR) continue;
    if (letter_of(replay, effect.dead_id, &failure))
      decide_retry(decider_of(replay), &replay->record, record->entity, &failure.failure, record->at,
                   &decision, &err);
    else if ((sent = sent_of(replay, effect.dead_id, &message)))
      decide_resend(decider_of(replay), &replay->record, &message, &sent->ended, &decision, &err);
  }
}

/** What was filled was judged then, with what else the rules had of the user: nothing is decided again. */
static void replay_fill(struct replay *replay, const struct log_record *record) {
  struct reader reader = reader_of(record->effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    record_apply(&replay->record, &effect, SIZE_MAX, NULL);
}

/** What is logged beside rules: what operators changed, and outcomes that give a reservation back. */
static void replay_effects(struct replay *replay, const struct log_record *record) {
  struct reader reader = reader_of(record->effects);
  struct effect effect;
  struct decision decision;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    struct message message;
    struct sent *sent;
    if (effect.type == EFFECT_OUTCOME && (sent = sent_of(replay, effect.outcome.message_id, &message))) {
      sent->ended.kind = effect.outcome.kind;
      sent->ended.attempt = effect.outcome.attempt;
      sent->ended.unsent = effect.outcome.unsent;
      decide_outcome(decider_of(replay), &replay->record, &message, &effect.outcome, &decision);
    }
    if (effect.type == EFFECT_SUPPRESS || effect.type == EFFECT_UNSUPPRESS || effect.type == EFFECT_CONSENT ||
        effect.type == EFFECT_ATTRIBUTE || effect.type == EFFECT_TIMER_CLEAR ||
        effect.type == EFFECT_JOURNEY || effect.type == EFFECT_JOURNEY_END)
      decide_effect(decider_of(replay), &replay->record, record->entity, &effect, record->at, &decision,
                    NULL);
  }
}

/** One row a generation: a backup may have been taken between its rules and its first input. */
static void note_unknown(struct replay *replay, const struct log_record *record) {
  struct buf *out = &replay->rows;
  if (replay->unknown == record->generation) return;
  replay->unknown = record->generation;
  value_put_map(out, 9);
  value_put_member_integer(out, "at", record->at);
  value_put_member_text(out, "campaign", STR(""));
  value_put_member_text(out, "rule", STR(""));
  value_put_member_integer(out, "generation", record->generation);
  value_put_member_text(out, "cause", STR(""));
  value_put_member_text(out, "decision", STR("none"));
  value_put_member_text(out, "reason",
                        STR("the rules of this generation are not kept: what they decided, and "
                            "counted, is not shown"));
  value_put_string(out, STR("ran"));
  value_put_bool(out, false);
  value_put_string(out, STR("facts"));
  value_put_map(out, 0);
  replay->row_count++;
}

static int replay_record(void *context, const struct log_record *record) {
  struct replay *replay = context;
  if (record->type == LOG_ATTEMPT) return 0; // nothing is decided; and its generation is its message's
  note_letters(replay, record);
  int rc = past_of(replay, record->generation);
  if (rc == ERROR_NOT_FOUND) {
    note_unknown(replay, record);
    return 0;
  }
  if (rc) return rc;
  decider_know(decider_of(replay), record->effects);
  decider_make_room(decider_of(replay), &replay->record, record->at);
  struct reader reader = reader_of(record->input);
  struct decision decision;
  struct event event;
  struct effect timer;
  switch (record->type) {
  case LOG_EVENT:
    rc = event_decode(&event, &reader, replay->err);
    if (rc == 0) decide_event(decider_of(replay), &replay->record, &event, record->at, &decision);
    return rc;
  case LOG_TIMER:
    rc = effect_decode(&timer, &reader, replay->err);
    if (rc == 0)
      decide_timer(decider_of(replay), &replay->record, record->entity, &timer.timer, record->at, &decision);
    return rc;
  case LOG_LOOKUP:
    return decide_lookup_again(decider_of(replay), &replay->record, record->input, record->at, &decision,
                               replay->err);
  case LOG_FAN_OUT: {
    struct error unreached; // by rules that are gone since
    decide_reach(decider_of(replay), &replay->record, record->entity, record->input, 0, record->at, &decision,
                 &unreached);
    return 0;
  }
  case LOG_RETRY:
    replay_retry(replay, record);
    return 0;
  case LOG_OUTCOME:
  case LOG_COMMAND:
    replay_effects(replay, record);
    return 0;
  case LOG_FILL:
    replay_fill(replay, record);
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
  for (size_t i = 0; i < PASTS; i++) generation_free(replay.pasts[i].generation);
  for (size_t i = 0; i < replay.sent_count; i++) buf_deinit(&replay.sent[i].bytes);
  memory_free(replay.sent);
  for (size_t i = 0; i < replay.letter_count; i++) buf_deinit(&replay.letters[i].bytes);
  memory_free(replay.letters);
  record_deinit(&replay.record);
  buf_deinit(&replay.rows);
  return rc;
}
