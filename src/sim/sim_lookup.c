/* Look-ups in a virtual host: nobody is asked; what was said they answer is what comes. */
#include "sim/sim_internal.h"

enum { ASKS_MAX = 4 };

/** What a server says to a path. */
struct said {
  struct str source, path, value, why;
  enum lookup_reason reason;
};

static bool said_next(struct reader *reader, struct said *said) {
  if (!reader_left(reader)) return false;
  said->source = reader_str(reader);
  said->path = reader_str(reader);
  said->reason = reader_u8(reader);
  said->value = reader_str(reader);
  said->why = reader_str(reader);
  return !reader->bad;
}

bool sim_lookup(struct sim *sim, struct str source, struct str path, struct str value,
                enum lookup_reason reason, struct str why) {
  if (!config_lookup(sim->rules->options.config, source)) return false;
  buf_put_str(&sim->lookups, source);
  buf_put_str(&sim->lookups, path);
  buf_put_u8(&sim->lookups, (uint8_t)reason);
  buf_put_str(&sim->lookups, value);
  buf_put_str(&sim->lookups, why);
  return true;
}

/** The last that was said of the path; else of all paths of its server ("*"). */
static struct lookup_result answer_of(const struct sim *sim, const struct lookup_ask *ask) {
  struct lookup_result exact = {.name = ask->name, .reason = LOOKUP_NOT_ASKED}, any = exact;
  bool found = false;
  struct reader reader = reader_of(buf_str(&sim->lookups));
  struct said said;
  any.why = STR("nobody is asked here, and nothing was said that it answers");
  while (said_next(&reader, &said)) {
    bool whole = str_equal(said.path, STR("*"));
    if (!str_equal(said.source, ask->source) || (!whole && !str_equal(said.path, ask->path))) continue;
    struct lookup_result *result = whole ? &any : &exact;
    found |= !whole;
    *result = (struct lookup_result){
        .name = ask->name, .reason = said.reason, .value = said.value, .why = said.why};
  }
  return found ? exact : any;
}

bool sim_lookup_ends(struct sim *sim, struct slot *slot, struct str campaign, struct str name, bool late) {
  struct timer timer;
  struct lookup_result items[ASKS_MAX];
  struct lookup_results results = {.items = items,
                                   .reason = LOOKUP_NOT_ASKED,
                                   .why = STR("the rule had no such need when the event came")};
  struct lookup_walk walk = {0};
  struct lookup_ask ask;
  struct decision decision;
  if (!record_timer(&slot->record, campaign, name, &timer)) return true;
  buf_clear(&sim->asks); // a copy, for the record moves
  buf_put_str(&sim->asks, timer.campaign);
  buf_put_str(&sim->asks, timer.name);
  buf_put_str(&sim->asks, timer.data);
  struct reader reader = reader_of(buf_str(&sim->asks));
  campaign = reader_str(&reader);
  name = reader_str(&reader);
  struct str data = reader_str(&reader);
  while (results.count < ASKS_MAX && lookup_ask_next(&walk, data, &ask)) {
    items[results.count] = answer_of(sim, &ask);
    if (items[results.count].reason == LOOKUP_TIMEOUT && !late) return false;
    results.count++;
  }
  buf_clear(&sim->input);
  sim_turn(sim);
  if (decide_lookup(sim->rules->decider, &slot->record, campaign, name, &results, sim->now, &decision,
                    &sim->input))
    return false;
  sim_decided(sim, LOG_LOOKUP, slot_entity(slot), buf_str(&sim->input), &decision, slot);
  return true;
}

void sim_lookups_begin(struct sim *sim, struct slot *slot, struct str effects) {
  struct buf names;
  struct reader reader = reader_of(effects);
  struct effect effect;
  buf_init(&names);
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type != EFFECT_TIMER_SET || !timer_needs(&effect.timer)) continue;
    buf_put_str(&names, effect.timer.campaign);
    buf_put_str(&names, effect.timer.name);
  }
  reader = reader_of(buf_str(&names));
  while (reader_left(&reader) && !reader.bad) {
    struct str campaign = reader_str(&reader), name = reader_str(&reader);
    sim_lookup_ends(sim, slot, campaign, name, false);
  }
  buf_deinit(&names);
}
