// links: base event state
#include "store_support.h"

#include "state/seen.h"
#include "state/stored.h"

#include <inttypes.h>

/* A small world: users with windows, attributes and timers, messages that wait, dead letters. A child process
 * lives in it, logging each step before it counts, writing behind and checkpointing at random, and is killed
 * or has a write fail at some failpoint. Whoever reads the log from its first record can tell what the world
 * must be; recovery must bring the store to the same. */

enum { USERS = 30, MESSAGES_MAX = 4000, EVENTS_MAX = 20000 };

struct world_user {
  struct record record;
  bool exists, dirty;
  int64_t indexed_due;
  uint64_t *seqs; /**< of his records, as history tells them */
  size_t seq_count;
};

struct world_message {
  struct hash128 id;
  int user;
  bool waits, open, dirty;
  uint32_t attempts, unsent;
  int64_t retry_at;
};

struct world_dead {
  struct hash128 id;
  int user;
  enum dead_kind kind;
  bool there;
};

struct world_event {
  int user;
  uint64_t seq, segment;
};

struct world {
  struct world_user users[USERS];
  struct world_message messages[MESSAGES_MAX];
  struct world_dead dead[MESSAGES_MAX];
  struct world_event events[EVENTS_MAX];
  size_t message_count, dead_count, event_count;
  uint64_t next_seq;
  uint32_t generation;
  struct user_index *index;
  struct world_fan_out {
    bool begins;
    int origin;
    int64_t began, at;
    uint64_t reached[USERS], last; /**< by each user, and in all */
    enum fan_out_state state;
  } fan_outs[3];
};

static char user_names[USERS][32];

static struct entity user_entity(int user) {
  snprintf(user_names[user], sizeof user_names[user], "user-%d", user);
  return (struct entity){user % 5 ? ENTITY_USER : ENTITY_SUBJECT, str_from(user_names[user])};
}

static int user_number(struct entity entity) {
  char text[32];
  snprintf(text, sizeof text, "%.*s", STR_ARG(entity.id));
  int user = atoi(text + 5);
  assert_true(user >= 0 && user < USERS && entity_equal(entity, user_entity(user)));
  return user;
}

static struct world *world_new(void) {
  struct world *world = calloc(1, sizeof *world);
  for (int i = 0; i < USERS; i++) {
    record_init(&world->users[i].record);
    world->users[i].indexed_due = INT64_MAX;
  }
  world->next_seq = 1;
  world->index = user_index_new();
  return world;
}

static void world_free(struct world *world) {
  for (int i = 0; i < USERS; i++) {
    record_deinit(&world->users[i].record);
    free(world->users[i].seqs);
  }
  user_index_free(world->index);
  free(world);
}

static struct world_message *world_message(struct world *world, struct hash128 id, int user) {
  for (size_t i = 0; i < world->message_count; i++)
    if (hash128_equal(world->messages[i].id, id)) return &world->messages[i];
  assert_true(world->message_count < MESSAGES_MAX);
  struct world_message *message = &world->messages[world->message_count++];
  *message = (struct world_message){.id = id, .user = user};
  return message;
}

static struct world_dead *world_dead(struct world *world, struct hash128 id, int user) {
  for (size_t i = 0; i < world->dead_count; i++)
    if (hash128_equal(world->dead[i].id, id)) return &world->dead[i];
  assert_true(world->dead_count < MESSAGES_MAX);
  struct world_dead *dead = &world->dead[world->dead_count++];
  *dead = (struct world_dead){.id = id, .user = user};
  return dead;
}

static int64_t world_due(const struct world *world, int user) {
  struct timer timer;
  return record_timer_next(&world->users[user].record, &timer) ? timer.due : INT64_MAX;
}

static void world_outcome(struct world *world, int user, const struct outcome *outcome) {
  struct world_message *message = world_message(world, outcome->message_id, user);
  message->dirty = true;
  if (outcome->kind == OUTCOME_RETRY) {
    message->open = false;
    message->attempts = outcome->attempt;
    message->unsent = outcome->unsent;
    message->retry_at = outcome->retry_at;
    return;
  }
  message->waits = false;
  if (outcome->kind == OUTCOME_ACCEPTED || outcome->kind == OUTCOME_EXPIRED ||
      outcome->kind == OUTCOME_CANCELLED)
    return;
  struct world_dead *dead = world_dead(world, outcome->message_id, user);
  dead->there = true;
  dead->kind = DEAD_MESSAGE;
}

static void world_fan_out(struct world *world, int user, const struct fan_out_change *change) {
  struct world_fan_out *fan_out = &world->fan_outs[change->id.low];
  switch (change->step) {
  case FAN_OUT_BEGINS:
    fan_out->begins = true;
    fan_out->origin = user;
    fan_out->began = change->spec.began;
    break;
  case FAN_OUT_REACHES:
    fan_out->reached[user] = change->reached;
    break;
  case FAN_OUT_CHANGES:
    fan_out->at = change->at;
    fan_out->last = change->reached;
    fan_out->state = change->state;
    break;
  }
}

static void world_effect(struct world *world, const struct log_record *record, int user,
                         const struct effect *effect) {
  struct world_user *at = &world->users[user];
  switch (effect->type) {
  case EFFECT_MESSAGE: {
    if (!effect->message.verdict.pass) break;
    struct world_message *message = world_message(world, effect->message.message.id, user);
    *message = (struct world_message){.id = message->id, .user = user, .waits = true, .dirty = true};
    if (record->type == LOG_RETRY) message->retry_at = record->at;
    break;
  }
  case EFFECT_OUTCOME:
    world_outcome(world, user, &effect->outcome);
    break;
  case EFFECT_FAILURE: {
    struct world_dead *dead = world_dead(world, effect->failure.id, user);
    dead->there = true;
    dead->kind = DEAD_RULE;
    break;
  }
  case EFFECT_DEAD_CLEAR:
    world_dead(world, effect->dead_id, user)->there = false;
    break;
  case EFFECT_INDEX:
    user_index_apply(world->index, record->entity, &effect->index);
    break;
  case EFFECT_FAN_OUT:
    world_fan_out(world, user, &effect->fan_out);
    break;
  default:
    assert_int_equal(record_apply(&at->record, effect, 1 << 16, NULL), 0);
    at->record.seq = record->seq;
    at->exists = at->dirty = true;
  }
}

static void world_apply(struct world *world, const struct log_record *record, uint64_t segment) {
  if (record->seq >= world->next_seq) world->next_seq = record->seq + 1;
  if (record->type == LOG_GENERATION) {
    world->generation = record->generation;
    return;
  }
  int user = user_number(record->entity);
  struct world_user *at = &world->users[user];
  if (at->seq_count % 64 == 0) at->seqs = realloc(at->seqs, (at->seq_count + 64) * sizeof *at->seqs);
  at->seqs[at->seq_count++] = record->seq;
  if (record->type == LOG_EVENT) {
    assert_true(world->event_count < EVENTS_MAX);
    world->events[world->event_count++] = (struct world_event){user, record->seq, segment};
  }
  struct reader reader = reader_of(record->type == LOG_ATTEMPT ? record->input : STR(""));
  if (record->type == LOG_ATTEMPT) {
    struct world_message *message = world_message(world, stored_hash(&reader), user);
    message->attempts = (uint32_t)reader_varint(&reader);
    message->open = message->dirty = true;
  }
  reader = reader_of(record->effects);
  while (reader_left(&reader)) {
    struct effect effect;
    assert_int_equal(effect_decode(&effect, &reader, NULL), 0);
    world_effect(world, record, user, &effect);
  }
}

/* ---- the child's life ---- */

struct life {
  struct store *store;
  struct log *log;
  struct world *world;
  struct support_loop loop;
  unsigned seed;
  int acks;
};

static int chance(struct life *life, int of) {
  return rand_r(&life->seed) % of;
}

static struct recovery_options recovery_options(void) {
  return (struct recovery_options){
      .log_directory = support_path("log"), .memory = 20000, .record_max = 1 << 16};
}

static int life_note_outbox(void *context, const struct outbox_entry *entry) {
  struct world *world = context;
  struct world_message *message = world_message(world, entry->message.id, user_number(entry->message.user));
  message->waits = true;
  message->attempts = entry->attempts;
  message->unsent = entry->unsent;
  message->open = entry->open;
  message->retry_at = entry->retry_at;
  return 0;
}

static int life_note_dead(void *context, const struct dead_letter *letter) {
  struct world_dead *dead = world_dead(context, letter->id, user_number(letter->entity));
  dead->there = true;
  dead->kind = letter->kind;
  return 0;
}

static void leave_if(int rc, const struct error *err, const char *what) {
  if (!rc) return;
  fprintf(stderr, "%s: %s\n", what, err->message);
  _exit(9);
}

/** Recover, and take what the store has for the world as it is. */
static int life_begin(struct life *life, const struct log_position *known_end) {
  struct error err;
  struct recovery_options options = recovery_options();
  options.known_end = known_end;
  struct recovery_result result;
  int rc = recovery_run(life->store, &options, &result, &err);
  if (rc) return rc;
  if (life->world) world_free(life->world);
  life->world = world_new();
  life->world->next_seq = result.next_seq;
  for (int i = 0; i < USERS; i++) {
    struct world_user *user = &life->world->users[i];
    rc = store_get_user(life->store, user_entity(i), &user->record, &err);
    user->exists = rc == 0;
    leave_if(rc == ERROR_NOT_FOUND ? 0 : rc, &err, "reading");
    user->indexed_due = world_due(life->world, i);
  }
  leave_if(store_scan_outbox(life->store, life_note_outbox, life->world, &err), &err, "outbox");
  leave_if(store_scan_dead(life->store, life_note_dead, life->world, &err), &err, "dead");
  struct log_options log_options = {
      .directory = support_path("log"), .segment_size = 12000, .segment_age = 1 << 30};
  return log_open(&life->log, &log_options, result.end, &err);
}

static void add_effects(struct life *life, int user, uint64_t seq, struct buf *out) {
  int64_t at = 1700000000000 + (int64_t)seq * 1000;
  for (int i = chance(life, 4); i-- > 0;)
    effect_encode(&(struct effect){.type = EFFECT_WINDOW,
                                   .window = {.id = 1 + (uint64_t)chance(life, 3),
                                              .kind = WINDOW_COUNT,
                                              .over = 1000000000,
                                              .at = at,
                                              .amount = 1,
                                              .value = STR("")}},
                  out);
  if (chance(life, 2)) {
    char value = (char)chance(life, 100);
    effect_encode(&(struct effect){.type = EFFECT_ATTRIBUTE,
                                   .attribute = {chance(life, 2) ? STR("a") : STR("b"), {&value, 1}}},
                  out);
  }
  static const struct str names[] = {{"t0", 2}, {"t1", 2}, {"t2", 2}};
  if (chance(life, 3) == 0)
    effect_encode(&(struct effect){.type = chance(life, 2) ? EFFECT_TIMER_SET : EFFECT_TIMER_CLEAR,
                                   .timer = {.campaign = STR("c"),
                                             .name = names[chance(life, 3)],
                                             .due = at + chance(life, 100000),
                                             .set_at = at,
                                             .cancel_on = STR(""),
                                             .data = STR("")}},
                  out);
  if (chance(life, 3) == 0)
    effect_encode(
        &(struct effect){
            .type = EFFECT_MESSAGE,
            .message = {support_message(user_entity(user), support_id(seq)),
                        {.pass = chance(life, 4) > 0, .reason = STR(""), .checks = STR("\x80")}}},
        out);
  if (chance(life, 3) == 0)
    effect_encode(&(struct effect){.type = EFFECT_EXPOSURE,
                                   .exposure = {chance(life, 2) ? STR("x") : STR("y"),
                                                chance(life, 2) ? STR("plain") : STR("urgent"), at,
                                                STR("\x80"), false, 0, 0}},
                  out);
  if (chance(life, 3) == 0) // with and without an exposure, once and again: the first after one counts
    effect_encode(&(struct effect){.type = EFFECT_GOAL,
                                   .exposure = {chance(life, 2) ? STR("x") : STR("y"), STR(""), at, STR(""),
                                                true, at, chance(life, 1000)}},
                  out);
  if (chance(life, 8) == 0)
    effect_encode(&(struct effect){.type = EFFECT_FAILURE,
                                   .failure = {.id = support_id(1000000 + seq),
                                               .campaign = STR("c"),
                                               .rule = STR("r"),
                                               .error = STR("e"),
                                               .input = STR("")}},
                  out);
}

/** A fan-out begins, reaches its users one after the other, and ends. */
static void add_fan_out_change(struct life *life, int user, uint64_t seq, struct buf *out) {
  struct fan_out_change change = {.step = (enum fan_out_step)(FAN_OUT_BEGINS + chance(life, 3)),
                                  .id = support_id((uint64_t)chance(life, 3)),
                                  .reached = seq,
                                  .at = (int64_t)seq,
                                  .state = (enum fan_out_state)(FAN_OUT_PAUSED + chance(life, 4)),
                                  .reason = STR("r")};
  if (chance(life, 2)) return;
  if (change.step == FAN_OUT_BEGINS)
    change.spec =
        (struct fan_out_spec){STR("c"), STR("i"), STR("k"), STR("e"), {1, 1000}, (int64_t)seq, user};
  effect_encode(&(struct effect){.type = EFFECT_FAN_OUT, .fan_out = change}, out);
}

static const struct str index_names[] = {{"interest:a", 10}, {"segment:b", 9}},
                        index_keys[] = {{"", 0}, {"K1", 2}};

/** The user enters an index, leaves it, or stays in it for longer. */
static void add_index_change(struct life *life, struct buf *out) {
  // Far ahead: what has ended long ago is dropped.
  static const int64_t later[] = {0, 5000000001000, 5000000002000};
  if (chance(life, 2)) return;
  char value = (char)chance(life, 100);
  int act = chance(life, 3);
  effect_encode(&(struct effect){.type = EFFECT_INDEX,
                                 .index = {.index = index_names[chance(life, 2)],
                                           .key = index_keys[chance(life, 2)],
                                           .value = act == 1 ? STR("") : (struct str){&value, 1},
                                           .expires = act == 1 ? 0 : later[chance(life, 3)],
                                           .remove = act == 1,
                                           .extend = act == 2}},
                out);
}

/** What happens to one waiting message: an attempt, or its outcome. */
static bool make_delivery(struct life *life, const struct world_message *message, uint64_t seq,
                          struct log_record *record, struct support_input *out) {
  if (!message->waits) return false;
  record->entity = user_entity(message->user);
  if (!message->open) {
    record->type = LOG_ATTEMPT;
    stored_put_hash(&out->input, message->id);
    buf_put_varint(&out->input, message->attempts + 1);
    return true;
  }
  static const enum outcome_kind kinds[] = {OUTCOME_ACCEPTED, OUTCOME_RETRY,   OUTCOME_RETRY,
                                            OUTCOME_REJECTED, OUTCOME_EXPIRED, OUTCOME_HELD};
  bool unsent = chance(life, 3) == 0;
  record->type = LOG_OUTCOME;
  effect_encode(&(struct effect){.type = EFFECT_OUTCOME,
                                 .outcome = {.message_id = message->id,
                                             .kind = kinds[chance(life, 6)],
                                             .attempt = message->attempts,
                                             .unsent = message->unsent + unsent,
                                             .at = (int64_t)seq,
                                             .retry_at = (int64_t)seq + 5,
                                             .detail = STR("x"),
                                             .provider_id = STR(""),
                                             .message = STR("")}},
                &out->effects);
  return true;
}

/** An operator drops a letter, or has a message sent again. */
static bool make_retry(struct life *life, const struct world_dead *dead, struct log_record *record,
                       struct support_input *out) {
  if (!dead->there) return false;
  record->entity = user_entity(dead->user);
  record->type = chance(life, 2) && dead->kind == DEAD_MESSAGE ? LOG_RETRY : LOG_COMMAND;
  if (record->type == LOG_RETRY)
    effect_encode(&(struct effect){.type = EFFECT_MESSAGE,
                                   .message = {support_message(record->entity, dead->id),
                                               {.pass = true, .reason = STR(""), .checks = STR("\x80")}}},
                  &out->effects);
  effect_encode(&(struct effect){.type = EFFECT_DEAD_CLEAR, .dead_id = dead->id}, &out->effects);
  return true;
}

static void make_record(struct life *life, uint64_t seq, struct log_record *record,
                        struct support_input *out) {
  const struct world *world = life->world;
  buf_clear(&out->input);
  buf_clear(&out->effects);
  *record = (struct log_record){
      .seq = seq, .generation = 1 + (uint32_t)(seq / 50), .at = 1700000000000 + (int64_t)seq};
  int what = chance(life, 10);
  bool made = false;
  if (what < 4 && world->message_count)
    made = make_delivery(life, &world->messages[chance(life, (int)world->message_count)], seq, record, out);
  else if (what == 4 && world->dead_count)
    made = make_retry(life, &world->dead[chance(life, (int)world->dead_count)], record, out);
  if (!made && seq % 50 == 0) {
    record->type = LOG_GENERATION;
    record->entity = (struct entity){ENTITY_SUBJECT, STR("")};
  } else if (!made) {
    int user = chance(life, USERS);
    char id[32];
    snprintf(id, sizeof id, "event-%" PRIu64, seq);
    record->type = LOG_EVENT;
    record->entity = user_entity(user);
    support_event(out, record->entity, id, record->at);
    add_effects(life, user, seq, &out->effects);
    add_index_change(life, &out->effects);
    add_fan_out_change(life, user, seq, &out->effects);
  }
  record->input = buf_str(&out->input);
  record->effects = buf_str(&out->effects);
}

/** Log one record, and let it count. @return 0, or the code to recover from. */
static int life_step(struct life *life, struct support_input *scratch) {
  struct log_record record;
  uint64_t seq = life->world->next_seq++;
  make_record(life, seq, &record, scratch);
  struct log_position end;
  int rc = support_write(life->log, &life->loop, &record, 1, &end);
  if (rc) return rc;
  if (write(life->acks, &seq, sizeof seq) != sizeof seq) _exit(8);
  world_apply(life->world, &record, end.segment);
  // Dead letters and indexes are written at once, as the host does.
  struct support_write dead;
  support_write_init(&dead, life->store, &life->loop);
  struct reader reader = reader_of(record.effects);
  while (reader_left(&reader)) {
    struct effect effect;
    struct dead_letter letter;
    effect_decode(&effect, &reader, NULL);
    if (dead_letter_from(&letter, &record, &effect)) store_write_dead(&dead.write, &letter);
    if (effect.type == EFFECT_DEAD_CLEAR) store_write_dead_done(&dead.write, record.entity, effect.dead_id);
    if (effect.type == EFFECT_INDEX) store_write_index(&dead.write, record.entity, &effect.index);
    if (effect.type == EFFECT_FAN_OUT) store_write_fan_out(&dead.write, record.entity, &effect.fan_out);
  }
  return support_write_finish(&dead, life->store, &life->loop);
}

static int life_write_behind(struct life *life, bool all) {
  struct support_write write;
  support_write_init(&write, life->store, &life->loop);
  for (int i = 0; i < USERS; i++) {
    struct world_user *user = &life->world->users[i];
    if (!user->dirty || (!all && chance(life, 2))) continue;
    int64_t due = world_due(life->world, i);
    store_write_user(&write.write, user_entity(i), &user->record, user->indexed_due, due);
    user->indexed_due = due;
    user->dirty = false;
  }
  for (size_t i = 0; i < life->world->message_count; i++) {
    struct world_message *message = &life->world->messages[i];
    if (!message->dirty || (!all && chance(life, 2))) continue;
    message->dirty = false;
    struct entity user = user_entity(message->user);
    if (message->waits)
      store_write_outbox(&write.write, &(struct outbox_entry){.message = support_message(user, message->id),
                                                              .attempts = message->attempts,
                                                              .unsent = message->unsent,
                                                              .open = message->open,
                                                              .retry_at = message->retry_at});
    else
      store_write_outbox_done(&write.write, user, message->id, 0);
  }
  return support_write_finish(&write, life->store, &life->loop);
}

static int life_turn(struct life *life, struct support_input *scratch) {
  struct error err;
  int rc = life_step(life, scratch);
  if (!rc && chance(life, 4) == 0) rc = life_write_behind(life, false);
  if (!rc && chance(life, 25) == 0) {
    rc = life_write_behind(life, true);
    if (!rc) rc = store_checkpoint(life->store, log_durable(life->log), life->world->next_seq, &err);
  }
  if (!rc && store_sealed(life->store) + 1 < log_open_segment(life->log) && chance(life, 4) == 0)
    rc = store_seal(life->store, support_path("log"), log_open_segment(life->log) - 1, &err);
  return rc;
}

static int live(unsigned seed, int steps) {
  struct life life = {.seed = seed, .acks = STDOUT_FILENO, .store = support_open_store()};
  struct support_input scratch;
  struct error err;
  support_loop_init(&life.loop);
  buf_init(&scratch.input);
  buf_init(&scratch.effects);
  leave_if(life_begin(&life, NULL), &err, "beginning");
  for (int i = 0; i < steps; i++) {
    if (!life_turn(&life, &scratch)) continue;
    // As the host does after a failed write: forget what is hot, and recover.
    struct log_position durable = log_durable(life.log);
    log_close(life.log);
    do leave_if(store_reopen(life.store, &err), &err, "reopening");
    while (life_begin(&life, &durable));
  }
  // No farewell: every life ends suddenly.
  raise(SIGKILL);
  return 1;
}

/* ---- judging ---- */

static uint64_t judge_read_log(struct world *world) {
  struct log_reader *reader;
  struct error err = {0};
  if (log_reader_new(&reader, support_path("log"), (struct log_position){0, 0}, &err))
    fail_msg("%s", err.message);
  struct log_record record;
  struct log_position after;
  int rc;
  uint64_t last = 0;
  while ((rc = log_reader_next(reader, NULL, &record, &after, &err)) == 1) {
    assert_int_equal(record.seq, last + 1);
    last = record.seq;
    world_apply(world, &record, after.segment);
  }
  if (rc) fail_msg("%s", err.message);
  log_reader_free(reader);
  return last;
}

static void note_mark(void *context, struct entity entity, struct str event_id, int64_t accepted,
                      uint64_t segment) {
  struct world *world = context;
  char id[32];
  snprintf(id, sizeof id, "%.*s", STR_ARG(event_id));
  uint64_t seq = strtoull(id + 6, NULL, 10);
  assert_int_equal(accepted, 1700000000000 + (int64_t)seq);
  for (size_t i = 0; i < world->event_count; i++) {
    struct world_event *event = &world->events[i];
    if (event->seq != seq) continue;
    assert_int_equal(event->segment, segment);
    assert_int_equal(event->user, user_number(entity));
    event->seq = 0; // once each
    return;
  }
  fail_msg("a mark that is not in the log");
}

static void judge_users(struct store *store, const struct world *world) {
  struct buf expected, found;
  buf_init(&expected);
  buf_init(&found);
  for (int i = 0; i < USERS; i++) {
    struct record record;
    record_init(&record);
    int rc = store_get_user(store, user_entity(i), &record, NULL);
    assert_int_equal(rc, world->users[i].exists ? 0 : ERROR_NOT_FOUND);
    if (!rc) {
      buf_clear(&expected);
      buf_clear(&found);
      record_encode(&world->users[i].record, &expected);
      record_encode(&record, &found);
      assert_int_equal(record.seq, world->users[i].record.seq);
      assert_int_equal(found.len, expected.len);
      assert_memory_equal(found.data, expected.data, expected.len);
    }
    record_deinit(&record);
  }
  buf_deinit(&expected);
  buf_deinit(&found);
}

struct index_entries {
  int64_t first[USERS];
  bool has_due[USERS];
  const struct world *world;
};

static int note_timer(void *context, struct entity entity, int64_t due) {
  struct index_entries *entries = context;
  int user = user_number(entity);
  if (due < entries->first[user]) entries->first[user] = due;
  if (due == world_due(entries->world, user)) entries->has_due[user] = true;
  return 0;
}

/** Entries that are past may be left, but the record's own must be there, or it would never come due. */
static void judge_timers(struct store *store, const struct world *world) {
  struct index_entries entries = {.world = world};
  for (int i = 0; i < USERS; i++) entries.first[i] = INT64_MAX;
  assert_int_equal(store_scan_timers(store, note_timer, &entries, NULL), 0);
  for (int i = 0; i < USERS; i++)
    if (world_due(world, i) != INT64_MAX) assert_true(entries.has_due[i]);
}

static int judge_outbox_entry(void *context, const struct outbox_entry *entry) {
  struct world *world = context;
  struct world_message *message = world_message(world, entry->message.id, -1);
  assert_true(message->waits);
  assert_int_equal(message->user, user_number(entry->message.user));
  assert_int_equal(entry->attempts, message->attempts);
  assert_int_equal(entry->unsent, message->unsent);
  assert_int_equal(entry->open, message->open);
  assert_int_equal(entry->retry_at, message->retry_at);
  message->waits = false;
  return 0;
}

static int judge_dead_letter(void *context, const struct dead_letter *letter) {
  struct world_dead *dead = world_dead(context, letter->id, -1);
  assert_true(dead->there);
  assert_int_equal(dead->kind, letter->kind);
  dead->there = false;
  return 0;
}

static void judge_marks(struct store *store, const struct world *world) {
  struct support_loop loop;
  support_loop_init(&loop);
  for (size_t i = 0; i < world->event_count; i++) {
    const struct world_event *event = &world->events[i];
    if (!event->seq) continue;
    assert_true(event->segment <= store_sealed(store));
    char id[32];
    snprintf(id, sizeof id, "event-%" PRIu64, event->seq);
    if (i % 7) continue;
    struct store_fetch_item item = {.entity = user_entity(event->user), .event_id = str_from(id)};
    assert_int_equal(support_fetch(store, &loop, &item, 1, 1), 0);
    assert_true(item.seen);
  }
  support_loop_deinit(&loop);
}

struct past {
  const struct world_user *user;
  size_t count;
};

static int note_past(void *context, const struct log_record *record) {
  struct past *past = context;
  assert_true(past->count < past->user->seq_count);
  assert_int_equal(record->seq, past->user->seqs[past->count++]);
  return 0;
}

static void judge_history(struct store *store, const struct world *world) {
  for (int i = 0; i < USERS; i += 3) {
    struct past past = {.user = &world->users[i]};
    struct error err = {0};
    if (history_scan(store, support_path("log"), NULL, user_entity(i), note_past, &past, &err))
      fail_msg("%s", err.message);
    assert_int_equal(past.count, past.user->seq_count);
  }
}

static int note_index(void *context, const struct index_user *user) {
  buf_printf(context, "%.*s=%.*s@%" PRId64 " ", STR_ARG(user->entity.id), STR_ARG(user->value),
             user->expires);
  return 0;
}

static void judge_indexes(struct store *store, const struct world *world) {
  for (int i = 0; i < 4; i++) {
    struct buf expected, found, cursor;
    buf_init(&expected);
    buf_init(&found);
    buf_init(&cursor);
    struct str name = index_names[i / 2], key = index_keys[i % 2];
    user_index_scan(world->index, name, key, -1, 0, &cursor, UINT32_MAX, note_index, &expected);
    buf_clear(&cursor);
    assert_true(store_scan_index(store, name, key, -1, 0, &cursor, UINT32_MAX, note_index, &found, NULL) >=
                0);
    if (!str_equal(buf_str(&expected), buf_str(&found)))
      fail_msg("%s/%s: %.*s, not %.*s", name.data, key.data, STR_ARG(buf_str(&found)),
               STR_ARG(buf_str(&expected)));
    buf_deinit(&expected);
    buf_deinit(&found);
    buf_deinit(&cursor);
  }
}

static int judge_fan_out(void *context, const struct store_fan_out *found) {
  struct world *world = context;
  struct world_fan_out *fan_out = &world->fan_outs[found->id.low];
  assert_true(fan_out->begins);
  assert_int_equal(fan_out->origin, user_number(found->origin));
  assert_int_equal(fan_out->began, found->spec.began);
  assert_int_equal(fan_out->at, found->at);
  assert_int_equal(fan_out->last, found->reached);
  assert_int_equal(fan_out->state ? fan_out->state : FAN_OUT_RUNS, found->state);
  for (int partition = 0; partition < PARTITION_COUNT; partition++) {
    uint64_t last = 0;
    struct buf key;
    buf_init(&key);
    for (int user = 0; user < USERS; user++) {
      if (entity_partition(user_entity(user)) != (unsigned)partition || fan_out->reached[user] <= last)
        continue;
      last = fan_out->reached[user];
      index_cursor_set(&key, user_entity(user));
    }
    const struct store_fan_out_partition *at = &found->partitions[partition];
    assert_int_equal(at->reached, last);
    assert_true(str_equal((struct str){at->last, at->last_len}, buf_str(&key)));
    buf_deinit(&key);
  }
  fan_out->begins = false; // once
  return 0;
}

static void judge(uint64_t acknowledged) {
  struct world *world = world_new();
  uint64_t last = judge_read_log(world);
  assert_true(last >= acknowledged);
  struct store *store = support_open_store();
  struct recovery_options options = recovery_options();
  options.mark = note_mark;
  options.context = world;
  struct recovery_result result;
  struct error err = {0};
  if (recovery_run(store, &options, &result, &err)) fail_msg("%s", err.message);
  assert_int_equal(result.next_seq, world->next_seq);
  assert_int_equal(result.generation, world->generation);
  judge_marks(store, world);
  judge_history(store, world);
  judge_users(store, world);
  judge_timers(store, world);
  judge_indexes(store, world);
  assert_int_equal(store_scan_fan_outs(store, judge_fan_out, world, NULL), 0);
  for (int i = 0; i < 3; i++) assert_false(world->fan_outs[i].begins);
  assert_int_equal(store_scan_outbox(store, judge_outbox_entry, world, NULL), 0);
  assert_int_equal(store_scan_dead(store, judge_dead_letter, world, NULL), 0);
  for (size_t i = 0; i < world->message_count; i++) assert_false(world->messages[i].waits);
  for (size_t i = 0; i < world->dead_count; i++) assert_false(world->dead[i].there);
  store_close(store);
  world_free(world);
}

/** Run a child with a pipe for what it acknowledges. @return the last number it did, or `before`. */
static uint64_t run_life(const char *failpoints, unsigned seed, int steps, uint64_t before) {
  char seed_text[16], steps_text[16];
  snprintf(seed_text, sizeof seed_text, "%u", seed);
  snprintf(steps_text, sizeof steps_text, "%d", steps);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  if (!child) {
    dup2(ends[1], STDOUT_FILENO);
    close(ends[0]);
    close(ends[1]);
    setenv("KAIROS_FAILPOINTS", failpoints, 1);
    execl("/proc/self/exe", "test_recovery", "live", support_directory, seed_text, steps_text, NULL);
    _exit(127);
  }
  close(ends[1]);
  uint64_t last = before, seq;
  while (read(ends[0], &seq, sizeof seq) == sizeof seq) last = seq;
  close(ends[0]);
  int status;
  waitpid(child, &status, 0);
  if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
    fail_msg("%s: the child ended with %x", failpoints, status);
  return last;
}

static const char *const points[] = {"log.write", "log.fsync",        "log.segment", "store.write",
                                     "store.run", "store.checkpoint", "store.ingest"};
enum { POINTS = sizeof points / sizeof *points };

static void whatever_dies_is_recovered_exactly(void **state) {
  (void)state;
  uint64_t acknowledged = 0;
  for (unsigned round = 0; round < 28; round++) {
    char specification[64];
    static const int hits[POINTS] = {60, 70, 2, 90, 2, 14, 5};
    snprintf(specification, sizeof specification, "%s=kill@%u", points[round % POINTS],
             hits[round % POINTS] + round / POINTS);
    acknowledged = run_life(specification, round + 1, 300, acknowledged);
    judge(acknowledged);
  }
  assert_true(acknowledged > 500);
}

static void a_failed_write_is_recovered_in_place(void **state) {
  (void)state;
  uint64_t acknowledged = 0;
  for (unsigned round = 0; round < 14; round++) {
    char specification[128];
    static const int hits[POINTS] = {40, 50, 2, 60, 1, 15, 3};
    snprintf(specification, sizeof specification, "%s=%s@%d,%s=error@%d", points[round % POINTS],
             round % 2 ? "error" : "enospc", hits[round % POINTS], points[(round + 1) % POINTS],
             hits[(round + 1) % POINTS] + 20);
    acknowledged = run_life(specification, 100 + round, 150, acknowledged);
    judge(acknowledged);
  }
  assert_true(acknowledged > 1000);
}

static void recovery_itself_may_die(void **state) {
  (void)state;
  uint64_t acknowledged = run_life("", 7, 400, 0);
  char *const words[] = {"test_recovery", "recover", support_directory, NULL};
  int died = 0;
  for (int hit = 1; hit < 12; hit++) {
    char specification[64];
    for (int point = 3; point <= 5; point++) {
      snprintf(specification, sizeof specification, "%s=kill@%d", points[point], hit);
      int status = support_run_again(specification, words);
      if (WIFSIGNALED(status)) died++;
      // A recovery that comes to its end leaves nothing to do to the next: let there be more.
      if (!WIFSIGNALED(status)) acknowledged = run_life("", (unsigned)(50 + hit), 120, acknowledged);
    }
  }
  assert_true(died > 5);
  judge(acknowledged);
}

static void a_log_that_lost_its_end_is_refused(void **state) {
  (void)state;
  run_life("", 3, 100, 0);
  struct store *store = support_open_store();
  struct recovery_options options = recovery_options();
  struct recovery_result result;
  struct error err;
  assert_int_equal(recovery_run(store, &options, &result, &err), 0);
  char name[64];
  snprintf(name, sizeof name, "log/%016" PRIx64 ".log", result.end.segment);
  assert_int_equal(truncate(support_path(name), (off_t)result.end.offset - 100), 0);
  assert_int_equal(recovery_run(store, &options, &result, &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "before what was durable"));
  store_close(store);
}

/** A write that was refused is readable, and must not count. */
static void what_is_behind_the_known_end_is_not_believed(void **state) {
  (void)state;
  struct error err;
  struct support_loop loop;
  support_loop_init(&loop);
  struct store *store = support_open_store();
  struct log_options log_options = {
      .directory = support_path("log"), .segment_size = 1 << 30, .segment_age = 1 << 30};
  struct log *log;
  assert_int_equal(log_open(&log, &log_options, (struct log_position){0, 0}, &err), 0);
  struct buf effects;
  buf_init(&effects);
  effect_encode(&(struct effect){.type = EFFECT_ATTRIBUTE, .attribute = {STR("a"), {"\x01", 1}}}, &effects);
  struct log_record record = {
      .seq = 1, .type = LOG_COMMAND, .entity = user_entity(1), .effects = buf_str(&effects)};
  assert_int_equal(support_write(log, &loop, &record, 1, NULL), 0);
  support_failpoints("log.fsync=error");
  record.seq = 2;
  record.entity = user_entity(2);
  assert_int_equal(support_write(log, &loop, &record, 1, NULL), ERROR_IO);
  support_failpoints("");
  struct log_position known_end = log_durable(log);
  log_close(log);
  struct recovery_options options = recovery_options();
  struct recovery_result result;
  struct record user;
  record_init(&user);
  options.known_end = &known_end;
  assert_int_equal(recovery_run(store, &options, &result, &err), 0);
  assert_int_equal(result.next_seq, 2);
  assert_int_equal(log_position_compare(result.end, known_end), 0);
  assert_int_equal(store_get_user(store, user_entity(1), &user, &err), 0);
  assert_int_equal(store_get_user(store, user_entity(2), &user, &err), ERROR_NOT_FOUND);
  assert_int_equal(log_open(&log, &log_options, result.end, &err), 0);
  log_close(log);
  options.known_end = NULL; // from now on the new segment's header says so
  assert_int_equal(recovery_run(store, &options, &result, &err), 0);
  assert_int_equal(result.next_seq, 2);
  assert_int_equal(result.end.segment, 2);
  record_deinit(&user);
  buf_deinit(&effects);
  store_close(store);
  support_loop_deinit(&loop);
}

/* ---- lives of a few records each ---- */

struct lives {
  struct support_loop loop;
  struct store *store;
  struct log_position end;
};

static void lives_begin(struct lives *lives) {
  *lives = (struct lives){.store = support_open_store()};
  support_loop_init(&lives->loop);
}

static void lives_write(struct lives *lives, struct log_record *records, size_t count) {
  struct error err;
  struct log_options log_options = {
      .directory = support_path("log"), .segment_size = 1 << 30, .segment_age = 1 << 30};
  struct log *log;
  assert_int_equal(log_open(&log, &log_options, lives->end, &err), 0);
  assert_int_equal(support_write(log, &lives->loop, records, count, NULL), 0);
  log_close(log);
}

/** Log them, crash before anything of them is stored, and recover. */
static void lives_pass(struct lives *lives, struct log_record *records, size_t count) {
  struct error err;
  lives_write(lives, records, count);
  struct recovery_options options = recovery_options();
  struct recovery_result result;
  assert_int_equal(recovery_run(lives->store, &options, &result, &err), 0);
  lives->end = result.end;
}

static void lives_end(struct lives *lives) {
  store_close(lives->store);
  support_loop_deinit(&lives->loop);
}

static int count_timer(void *context, struct entity entity, int64_t due) {
  (void)entity;
  int64_t *dues = context;
  dues[dues[0] == INT64_MAX ? 0 : 1] = due;
  return 0;
}

static void timer_effect(struct buf *effects, enum effect_type type, const char *name, int64_t due) {
  struct effect effect = {.type = type, .timer = {.campaign = STR("c"), .name = str_from(name), .due = due}};
  effect_encode(&effect, effects);
}

/** What the log's tail did to a user's next timer is done to the index too: nobody else would, ever. */
static void a_timer_that_is_past_leaves_the_index(void **state) {
  (void)state;
  struct error err;
  struct lives lives;
  lives_begin(&lives);
  struct buf effects;
  buf_init(&effects);
  for (uint64_t seq = 1; seq <= 3; seq++) {
    buf_clear(&effects);
    if (seq == 1) timer_effect(&effects, EFFECT_TIMER_SET, "soon", 500);
    if (seq == 2) timer_effect(&effects, EFFECT_TIMER_CLEAR, "soon", 0);
    if (seq == 2) timer_effect(&effects, EFFECT_TIMER_SET, "later", 900);
    if (seq == 3) timer_effect(&effects, EFFECT_TIMER_CLEAR, "later", 0);
    struct log_record record = {
        .seq = seq, .type = LOG_COMMAND, .entity = user_entity(1), .effects = buf_str(&effects)};
    lives_pass(&lives, &record, 1);
    int64_t dues[] = {INT64_MAX, INT64_MAX};
    assert_int_equal(store_scan_timers(lives.store, count_timer, dues, &err), 0);
    assert_int_equal(dues[0], seq == 1 ? 500 : seq == 2 ? 900 : INT64_MAX);
    assert_int_equal(dues[1], INT64_MAX);
  }
  buf_deinit(&effects);
  lives_end(&lives);
}

static int note_entry(void *context, const struct outbox_entry *entry) {
  struct outbox_entry *noted = context;
  noted->attempts += entry->attempts;
  noted->unsent += entry->unsent;
  noted->open |= entry->open;
  noted->age_from = outbox_entry_age_from(entry);
  return 0;
}

/** What waits after all lives so far. */
static struct outbox_entry noted_entries(struct lives *lives) {
  struct error err;
  struct outbox_entry noted = {0};
  assert_int_equal(store_scan_outbox(lives->store, note_entry, &noted, &err), 0);
  return noted;
}

static void attempt_encode(const struct message *message, uint64_t attempt, struct buf *input) {
  buf_init(input);
  stored_put_hash(input, message->id);
  buf_put_varint(input, attempt);
}

/** The message's decision and its first attempt, as records have them. */
static void decision_and_attempt(const struct message *message, struct buf *effects, struct buf *attempt) {
  buf_init(effects);
  effect_encode(&(struct effect){.type = EFFECT_MESSAGE,
                                 .message = {.message = *message, .verdict = {true, STR(""), STR("\x80")}}},
                effects);
  attempt_encode(message, 1, attempt);
}

/** One that an operator had sent again is no older after an attempt and a crash. */
static void the_age_of_one_sent_again_lasts(void **state) {
  (void)state;
  struct lives lives;
  lives_begin(&lives);
  struct message message = support_message(user_entity(1), support_id(7));
  int64_t resent = message_counted_at(&message) + 1000000;
  struct buf effects, attempt;
  decision_and_attempt(&message, &effects, &attempt);
  struct log_record records[] = {
      {.seq = 1, .type = LOG_RETRY, .at = resent, .entity = message.user, .effects = buf_str(&effects)},
      {.seq = 2, .type = LOG_ATTEMPT, .at = resent, .entity = message.user, .input = buf_str(&attempt)}};
  for (uint32_t i = 0; i < 2; i++) {
    lives_pass(&lives, &records[i], 1);
    struct outbox_entry noted = noted_entries(&lives);
    assert_int_equal(noted.attempts, i);
    assert_int_equal(noted.age_from, resent);
  }
  buf_deinit(&effects);
  buf_deinit(&attempt);
  lives_end(&lives);
}

/** An attempt whose end nobody saw is not forgotten because its message is decided once more, be that in the
 * same tail or before its checkpoint. */
static void a_message_that_waits_is_not_put_again(void **state) {
  (void)state;
  struct lives lives;
  lives_begin(&lives);
  struct message message = support_message(user_entity(1), support_id(7));
  struct buf effects, attempt;
  decision_and_attempt(&message, &effects, &attempt);
  for (uint64_t seq = 1; seq <= 4; seq += 3) {
    struct log_record records[] = {
        {.seq = seq, .type = LOG_COMMAND, .entity = message.user, .effects = buf_str(&effects)},
        {.seq = seq + 1, .type = LOG_ATTEMPT, .entity = message.user, .input = buf_str(&attempt)},
        {.seq = seq + 2, .type = LOG_COMMAND, .entity = message.user, .effects = buf_str(&effects)}};
    // The second time the attempt lies before a checkpoint.
    lives_pass(&lives, records, seq == 1 ? 3 : 1);
    struct outbox_entry noted = noted_entries(&lives);
    assert_true(noted.open);
    assert_int_equal(noted.attempts, 1);
  }
  buf_deinit(&effects);
  buf_deinit(&attempt);
  lives_end(&lives);
}

/** A store that is ahead of its checkpoint knows of later attempts than the tail begins with. */
static void attempts_are_counted_from_a_store_that_is_ahead(void **state) {
  (void)state;
  struct error err;
  struct lives lives;
  lives_begin(&lives);
  struct message message = support_message(user_entity(1), support_id(7));
  struct buf effects, attempts[2], outcomes[2];
  decision_and_attempt(&message, &effects, &attempts[0]);
  attempt_encode(&message, 2, &attempts[1]);
  for (uint32_t i = 0; i < 2; i++) {
    struct effect retry = {
        .type = EFFECT_OUTCOME,
        .outcome = {.message_id = message.id, .kind = OUTCOME_RETRY, .attempt = i + 1, .unsent = i + 1}};
    buf_init(&outcomes[i]);
    effect_encode(&retry, &outcomes[i]);
  }
  struct log_record records[] = {
      {.seq = 1, .type = LOG_COMMAND, .entity = message.user, .effects = buf_str(&effects)},
      {.seq = 2, .type = LOG_ATTEMPT, .entity = message.user, .input = buf_str(&attempts[0])},
      {.seq = 3, .type = LOG_OUTCOME, .entity = message.user, .effects = buf_str(&outcomes[0])},
      {.seq = 4, .type = LOG_ATTEMPT, .entity = message.user, .input = buf_str(&attempts[1])},
      {.seq = 5, .type = LOG_OUTCOME, .entity = message.user, .effects = buf_str(&outcomes[1])}};
  lives_write(&lives, records, 5);
  struct recovery_options options = recovery_options();
  struct recovery_result result;
  support_failpoints("store.checkpoint=error");
  assert_int_equal(recovery_run(lives.store, &options, &result, &err), ERROR_IO);
  support_failpoints("");
  assert_int_equal(recovery_run(lives.store, &options, &result, &err), 0);
  struct outbox_entry noted = noted_entries(&lives);
  assert_int_equal(noted.attempts, 2);
  assert_int_equal(noted.unsent, 2);
  assert_false(noted.open);
  buf_deinit(&effects);
  for (int i = 0; i < 2; i++) {
    buf_deinit(&attempts[i]);
    buf_deinit(&outcomes[i]);
  }
  lives_end(&lives);
}

static void visit_no_entry(void *context, const struct outbox_entry *entry) {
  (void)context, (void)entry;
  fail_msg("a message that has ended waits");
}

static void a_deferred_message_that_has_ended_leaves_the_index(void **state) {
  (void)state;
  struct error err;
  struct lives lives;
  lives_begin(&lives);
  struct message message = support_message(user_entity(1), support_id(1));
  message.not_before = 5000;
  struct effect sent = {.type = EFFECT_MESSAGE, .message = {.message = message, .verdict = {.pass = true}}};
  struct effect ended = {.type = EFFECT_OUTCOME,
                         .outcome = {.message_id = support_id(1), .kind = OUTCOME_CANCELLED}};
  struct buf effects, cursor;
  buf_init(&effects);
  buf_init(&cursor);
  // Put and ended in tails of their own, then both in one.
  for (uint64_t seq = 1; seq <= 3; seq++) {
    buf_clear(&effects);
    if (seq != 2) effect_encode(&sent, &effects);
    if (seq != 1) effect_encode(&ended, &effects);
    struct log_record record = {
        .seq = seq, .type = LOG_COMMAND, .entity = user_entity(1), .effects = buf_str(&effects)};
    lives_pass(&lives, &record, 1);
    struct deferred_ahead ahead;
    buf_clear(&cursor);
    assert_int_equal(store_read_deferred(lives.store, &cursor, 4999, 10, &ahead, visit_no_entry, NULL, &err),
                     0);
    assert_int_equal(ahead.next, seq == 1 ? 5000 : INT64_MAX);
  }
  buf_deinit(&effects);
  buf_deinit(&cursor);
  lives_end(&lives);
}

static void an_empty_directory_is_a_beginning(void **state) {
  (void)state;
  struct store *store = support_open_store();
  struct recovery_options options = recovery_options();
  struct recovery_result result;
  struct error err;
  assert_int_equal(recovery_run(store, &options, &result, &err), 0);
  assert_int_equal(result.end.segment, 0);
  assert_int_equal(result.next_seq, 1);
  assert_int_equal(result.generation, 0);
  assert_int_equal(result.records, 0);
  store_close(store);
}

static int recover(void) {
  struct store *store = support_open_store();
  struct recovery_options options = recovery_options();
  options.memory = 3000; // written in many pieces
  struct recovery_result result;
  struct error err;
  int rc = recovery_run(store, &options, &result, &err);
  store_close(store);
  return rc != 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(int count, char **words) {
  if (count > 2) {
    snprintf(support_directory, sizeof support_directory, "%s", words[2]);
    failpoint_init();
    return strcmp(words[1], "live") == 0 ? live((unsigned)atoi(words[3]), atoi(words[4])) : recover();
  }
  const struct CMUnitTest tests[] = {
      TEST(whatever_dies_is_recovered_exactly),
      TEST(a_failed_write_is_recovered_in_place),
      TEST(recovery_itself_may_die),
      TEST(a_log_that_lost_its_end_is_refused),
      TEST(what_is_behind_the_known_end_is_not_believed),
      TEST(a_timer_that_is_past_leaves_the_index),
      TEST(a_message_that_waits_is_not_put_again),
      TEST(attempts_are_counted_from_a_store_that_is_ahead),
      TEST(the_age_of_one_sent_again_lasts),
      TEST(a_deferred_message_that_has_ended_leaves_the_index),
      TEST(an_empty_directory_is_a_beginning),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
