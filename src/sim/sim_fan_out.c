/* Fan-outs in a virtual host: the same inputs at the same pace, one user after the other. */
#include "base/memory.h"
#include "sim/sim_internal.h"

enum { HOLD_MS = 1000, BURST_MS = 100 /**< as the live host has them */ };

struct sim_fan_out {
  struct sim_fan_out *next;
  int64_t at; /**< when it goes on */
  struct fan_out_spec spec;
  struct buf input, cursor, user;
  double tokens;
  int64_t tokens_at;
  uint64_t reached[PARTITION_COUNT];
  struct buf bytes; /**< what `spec` borrows from */
};

static void free_fan_out(struct sim_fan_out *fan_out) {
  buf_deinit(&fan_out->input);
  buf_deinit(&fan_out->cursor);
  buf_deinit(&fan_out->user);
  buf_deinit(&fan_out->bytes);
  memory_free(fan_out);
}

void sim_fan_outs_deinit(struct sim *sim) {
  while (sim->fan_outs) {
    struct sim_fan_out *fan_out = sim->fan_outs;
    sim->fan_outs = fan_out->next;
    free_fan_out(fan_out);
  }
}

static void begin(struct sim *sim, const struct fan_out_change *change) {
  struct sim_fan_out *fan_out = memory_zalloc(sizeof *fan_out), **end = &sim->fan_outs;
  fan_out_spec_encode(&change->spec, &fan_out->bytes);
  struct reader reader = reader_of(buf_str(&fan_out->bytes));
  fan_out_spec_decode(&fan_out->spec, &reader);
  fan_out_input_encode(fan_out->spec.event, fan_out->spec.campaign, change->id, &fan_out->input);
  fan_out->at = fan_out->tokens_at = sim->now;
  const struct rate *pace = &fan_out->spec.pace;
  fan_out->tokens = pace->count / (double)pace->over_ms * BURST_MS;
  if (fan_out->tokens < 1) fan_out->tokens = 1;
  while (*end) end = &(*end)->next;
  *end = fan_out;
}

void sim_fan_outs_begin(struct sim *sim, struct str effects) {
  struct reader reader = reader_of(effects);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0)
    if (effect.type == EFFECT_FAN_OUT && effect.fan_out.step == FAN_OUT_BEGINS) begin(sim, &effect.fan_out);
}

int64_t sim_fan_outs_at(const struct sim *sim) {
  int64_t at = INT64_MAX;
  for (const struct sim_fan_out *fan_out = sim->fan_outs; fan_out; fan_out = fan_out->next)
    if (fan_out->at < at) at = fan_out->at;
  return at;
}

static int take_user(void *context, const struct index_user *user) {
  struct buf *out = context;
  if (user->entity.kind != ENTITY_USER) return 0;
  buf_append(out, user->entity.id.data, user->entity.id.len);
  return 1; // one at a time, for what he does may change the index
}

/** The next user. @return false if there is none. */
static bool next_user(struct sim *sim, struct sim_fan_out *fan_out, struct entity *user) {
  buf_clear(&fan_out->user);
  user_index_scan(sim->index, fan_out->spec.index, fan_out->spec.key, -1, fan_out->spec.began,
                  &fan_out->cursor, UINT32_MAX, take_user, &fan_out->user);
  *user = (struct entity){ENTITY_USER, buf_str(&fan_out->user)};
  return fan_out->user.len > 0;
}

/** @return 0, or decide_reach()'s. */
static int reach(struct sim *sim, struct sim_fan_out *fan_out, struct entity user) {
  struct slot *slot = sim_slot(sim, user);
  struct decision decision;
  struct error err;
  unsigned partition = entity_partition(user);
  sim_turn(sim);
  int rc = decide_reach(sim->rules->decider, &slot->record, user, buf_str(&fan_out->input),
                        fan_out->reached[partition] + 1, sim->now, &decision, &err);
  if (rc) return rc;
  fan_out->reached[partition]++;
  sim_decided(sim, LOG_FAN_OUT, user, buf_str(&fan_out->input), &decision, slot);
  return 0;
}

static void add_tokens(struct sim_fan_out *fan_out, int64_t now) {
  double a_ms = fan_out->spec.pace.count / (double)fan_out->spec.pace.over_ms, most = a_ms * BURST_MS;
  fan_out->tokens += a_ms * (double)(now - fan_out->tokens_at);
  fan_out->tokens_at = now;
  if (most < 1) most = 1;
  if (fan_out->tokens > most) fan_out->tokens = most;
}

/** @return whether anybody may be left. */
static bool go_on(struct sim *sim, struct sim_fan_out *fan_out) {
  struct entity user;
  add_tokens(fan_out, sim->now);
  while (fan_out->tokens >= 1) {
    if (sim->now >= fan_out->spec.expires) return false;
    struct buf before = fan_out->cursor;
    buf_init(&fan_out->cursor);
    buf_append(&fan_out->cursor, before.data, before.len);
    if (!next_user(sim, fan_out, &user)) {
      buf_deinit(&before);
      return false;
    }
    int rc = reach(sim, fan_out, user);
    if (rc == ERROR_UNAVAILABLE) { // its campaign does not run now: he comes later
      buf_deinit(&fan_out->cursor);
      fan_out->cursor = before;
      fan_out->at = sim->now + HOLD_MS;
      return true;
    }
    buf_deinit(&before);
    if (rc) return false;
    fan_out->tokens--;
  }
  double wait = (1 - fan_out->tokens) * (double)fan_out->spec.pace.over_ms / fan_out->spec.pace.count;
  fan_out->at = sim->now + (int64_t)wait + 1;
  return true;
}

void sim_fan_outs_turn(struct sim *sim) {
  struct sim_fan_out **at = &sim->fan_outs;
  while (*at && (*at)->at > sim->now) at = &(*at)->next;
  if (!*at) return;
  struct sim_fan_out *fan_out = *at;
  if (go_on(sim, fan_out)) return;
  for (at = &sim->fan_outs; *at != fan_out;) at = &(*at)->next; // it may have begun others
  *at = fan_out->next;
  free_fan_out(fan_out);
}
