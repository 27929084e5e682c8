#include "engine/engine.h"

#include "base/memory.h"
#include "engine/convert.h"
#include "engine/internal.h"

int engine_new(struct engine **out, const struct engine_options *options, struct error *err) {
  struct engine *engine = memory_zalloc(sizeof *engine);
  engine->options = *options;
  buf_init(&engine->text);
  buf_init(&engine->data);
  buf_init(&engine->map);
  buf_init(&engine->message_facts);
  buf_init(&engine->audience);
  facts_init(&engine->facts);
  bytecode_notes_init(&engine->notes);
  sandbox_init(&engine->sandbox, options->config->rules.memory, options->counted_budget);
  engine->sandbox.caught = history_failed;
  engine->sandbox.sources = options->ruleset;
  int rc = engine_load(engine, err);
  if (rc == 0) rc = engine_settle_segments(engine, err);
  if (rc) {
    engine_free(engine);
    return rc;
  }
  engine_subscribe(engine);
  *out = engine;
  return 0;
}

void engine_free(struct engine *engine) {
  if (!engine) return;
  sandbox_deinit(&engine->sandbox);
  for (size_t i = 0; i < engine->rule_count; i++) {
    memory_free((void *)engine->rules[i].on);
    memory_free((void *)engine->rules[i].timers);
    memory_free((void *)engine->rules[i].needs);
    engine_journey_free(engine->rules[i].journey);
  }
  engine_free_segments(engine);
  for (size_t i = 0; i < engine->folder_count; i++) {
    memory_free(engine->folders[i].windows);
    memory_free(engine->folders[i].interests);
    memory_free(engine->folders[i].sends);
    memory_free(engine->folders[i].experiments);
  }
  for (size_t i = 0; i < engine->experiment_count; i++) memory_free((void *)engine->experiments[i].variants);
  memory_free(engine->experiments);
  memory_free(engine->experiment_codes);
  for (size_t i = 0; i < engine->template_count; i++) template_free(engine->compiled[i]);
  for (size_t i = 0; i < engine->subscription_slots; i++) memory_free(engine->subscriptions[i].rules);
  for (size_t i = 0; i < engine->owned_count; i++) memory_free(engine->owned[i]);
  memory_free(engine->subscriptions);
  memory_free(engine->folders);
  memory_free(engine->rules);
  memory_free(engine->codes);
  memory_free(engine->windows);
  memory_free(engine->window_labels);
  for (size_t i = 0; i < engine->interest_count; i++) memory_free((void *)engine->interests[i].of);
  memory_free(engine->interests);
  memory_free(engine->templates);
  memory_free(engine->compiled);
  memory_free(engine->owned);
  bytecode_notes_deinit(&engine->notes);
  facts_deinit(&engine->facts);
  buf_deinit(&engine->text);
  buf_deinit(&engine->data);
  buf_deinit(&engine->map);
  buf_deinit(&engine->message_facts);
  buf_deinit(&engine->audience);
  memory_free(engine);
}

const struct engine_options *engine_made_with(const struct engine *engine) {
  return &engine->options;
}

struct str engine_keep(struct engine *engine, struct str text) {
  if ((engine->owned_count & (engine->owned_count - 1)) == 0) // full at each power of two
    engine->owned = memory_realloc(engine->owned, (engine->owned_count ? engine->owned_count * 2 : 1) *
                                                      sizeof *engine->owned);
  char *copy = memory_dup(text.data, text.len);
  engine->owned[engine->owned_count++] = copy;
  return (struct str){copy, text.len};
}

/* ---- what is there ---- */

size_t engine_rules(const struct engine *engine, const struct engine_rule **rules) {
  *rules = engine->rules;
  return engine->rule_count;
}

size_t engine_windows(const struct engine *engine, const struct window_declaration **windows) {
  *windows = engine->windows;
  return engine->window_count;
}

void engine_interest_identify(struct engine_interest *interest) {
  interest->form = hash64(interest->index, 0);
  interest->id = hash64(interest->index, interest->since);
}

size_t engine_interests(const struct engine *engine, const struct engine_interest **interests) {
  *interests = engine->interests;
  return engine->interest_count;
}

size_t engine_folder_windows(const struct engine *engine, uint32_t rule, const uint32_t **windows) {
  const struct engine_folder *folder = &engine->folders[engine->codes[rule].folder];
  *windows = folder->windows;
  return folder->window_count;
}

size_t engine_folder_interests(const struct engine *engine, uint32_t rule, const uint32_t **interests) {
  const struct engine_folder *folder = &engine->folders[engine->codes[rule].folder];
  *interests = folder->interests;
  return folder->interest_count;
}

size_t engine_folder_sends(const struct engine *engine, uint32_t rule, const struct engine_send **sends) {
  const struct engine_folder *folder = &engine->folders[engine->codes[rule].folder];
  *sends = folder->sends;
  return folder->send_count;
}

size_t engine_experiments(const struct engine *engine, const struct engine_experiment **experiments) {
  *experiments = engine->experiments;
  return engine->experiment_count;
}

int engine_experiment_of(const struct engine *engine, struct str name) {
  for (size_t i = 0; i < engine->experiment_count; i++)
    if (str_equal(engine->experiments[i].name, name)) return (int)i;
  return -1;
}

size_t engine_folder_experiments(const struct engine *engine, uint32_t rule, const uint32_t **experiments) {
  const struct engine_folder *folder = &engine->folders[engine->codes[rule].folder];
  *experiments = folder->experiments;
  return folder->experiment_count;
}

void engine_window_words(const struct engine *engine, uint32_t window, struct buf *out) {
  struct str by = engine->windows[window].by;
  buf_printf(out, "%.*s", STR_ARG(engine->window_labels[window]));
  if (by.len) buf_printf(out, " by %.*s", STR_ARG(by));
}

size_t engine_templates(const struct engine *engine, const struct engine_template **templates) {
  *templates = engine->templates;
  return engine->template_count;
}

static struct subscription *subscription_of(const struct engine *engine, struct str type) {
  size_t at = hash64(type, 0) & (engine->subscription_slots - 1);
  while (engine->subscriptions[at].count && !str_equal(engine->subscriptions[at].type, type))
    at = (at + 1) & (engine->subscription_slots - 1);
  return &engine->subscriptions[at];
}

/** Whether rule `a` goes before rule `b` where both want an event. */
static bool goes_before(const struct engine_rule *a, const struct engine_rule *b) {
  if (a->priority != b->priority) return a->priority > b->priority;
  size_t shared = a->campaign.len < b->campaign.len ? a->campaign.len : b->campaign.len;
  int order = memcmp(a->campaign.data, b->campaign.data, shared);
  return order ? order < 0 : a->campaign.len < b->campaign.len;
}

/** In its place among those that want the type; once. */
static void subscribe(struct engine *engine, struct str type, uint32_t rule) {
  struct subscription *subscription = subscription_of(engine, type);
  for (size_t i = 0; i < subscription->count; i++)
    if (subscription->rules[i] == rule) return;
  subscription->type = type;
  subscription->rules =
      memory_realloc(subscription->rules, (subscription->count + 1) * sizeof *subscription->rules);
  size_t at = subscription->count++;
  for (; at > 0 && goes_before(&engine->rules[rule], &engine->rules[subscription->rules[at - 1]]); at--)
    subscription->rules[at] = subscription->rules[at - 1];
  subscription->rules[at] = rule;
}

void engine_subscribe(struct engine *engine) {
  size_t types = 2 * engine->segment_count;
  for (size_t i = 0; i < engine->rule_count; i++) types += engine->rules[i].on_count;
  engine->subscription_slots = 16;
  while (engine->subscription_slots < types * 2) engine->subscription_slots *= 2;
  engine->subscriptions = memory_zalloc(engine->subscription_slots * sizeof *engine->subscriptions);
  for (size_t i = 0; i < engine->rule_count; i++) {
    for (size_t j = 0; j < engine->rules[i].on_count; j++) {
      struct str type = engine->rules[i].on[j];
      subscribe(engine, type, (uint32_t)i);
      // "segment.entered" is every segment's.
      for (size_t k = 0; event_type_is_host(type) && k < engine->segment_count; k++) {
        if (event_type_is(type, engine->segments[k].entered))
          subscribe(engine, engine->segments[k].entered, (uint32_t)i);
        if (event_type_is(type, engine->segments[k].left))
          subscribe(engine, engine->segments[k].left, (uint32_t)i);
      }
    }
  }
}

size_t engine_subscribers(const struct engine *engine, struct str event_type, const uint32_t **rules) {
  const struct subscription *subscription = subscription_of(engine, event_type);
  *rules = subscription->rules;
  return subscription->count;
}

int engine_rule_of(const struct engine *engine, struct str campaign) {
  for (size_t i = 0; i < engine->rule_count; i++)
    if (str_equal(engine->rules[i].campaign, campaign)) return (int)i;
  return -1;
}

static int timer_index(const struct engine_rule *rule, struct str name) {
  for (size_t i = 0; i < rule->timer_count; i++)
    if (str_equal(rule->timers[i], name)) return (int)i;
  return -1;
}

int engine_timer_rule(const struct engine *engine, struct str campaign, struct str timer) {
  int rule = engine_rule_of(engine, campaign);
  return rule >= 0 && timer_index(&engine->rules[rule], timer) >= 0 ? rule : -1;
}

size_t engine_memory(const struct engine *engine) {
  return engine->sandbox.used;
}

/* ---- running ---- */

void engine_call_init(struct engine_call *call) {
  *call = (struct engine_call){0};
  buf_init(&call->messages);
  buf_init(&call->emitted);
  buf_init(&call->facts);
}

void engine_call_put_cause(const struct engine_call *call, struct buf *key) {
  buf_put_str(key, call->cause);
  if (hash128_is_zero(call->origin)) return;
  buf_put_u64(key, call->origin.high);
  buf_put_u64(key, call->origin.low);
}

void engine_call_deinit(struct engine_call *call) {
  buf_deinit(&call->messages);
  buf_deinit(&call->emitted);
  buf_deinit(&call->facts);
}

void engine_input(struct engine *engine) {
  engine->sandbox.event.there = false;
  engine->sandbox.original = NULL;
  engine->sandbox.deferred.count = 0;
  sandbox_take_back(&engine->sandbox);
}

void engine_push_handler(lua_State *lua, const struct engine *engine, int handler) {
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.handlers);
  lua_rawgeti(lua, -1, handler);
  lua_replace(lua, -2);
}

static void run_event(lua_State *lua, struct engine *engine, const struct engine_code *code) {
  event_table_push(lua);
  int event = lua_gettop(lua), arguments = 2;
  if (engine->call->asks) {
    engine->phase = ENGINE_WHEN;
    engine_push_handler(lua, engine, code->needs_if);
    lua_pushvalue(lua, event);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.user);
    lua_call(lua, 2, 1);
    engine->call->acted = lua_toboolean(lua, -1);
    return;
  }
  if (engine->call->gathers) {
    engine->phase = ENGINE_WHEN;
    engine_push_handler(lua, engine, code->for_each);
    lua_pushvalue(lua, event);
    lua_call(lua, 1, 1);
    engine->call->acted = binding_take_audience(lua, engine);
    return;
  }
  if (engine->call->needs.len) {
    arguments = 3;
    binding_push_needs(lua);
    binding_note_needs(engine);
  }
  if (code->when) {
    engine->phase = ENGINE_WHEN;
    engine_push_handler(lua, engine, code->when);
    lua_pushvalue(lua, event);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.user);
    if (arguments == 3) lua_pushvalue(lua, event + 1);
    lua_call(lua, arguments, 1);
    if (!lua_toboolean(lua, -1)) return;
  }
  engine->phase = ENGINE_ACT;
  engine->call->acted = true;
  engine_push_handler(lua, engine, code->act);
  lua_pushvalue(lua, event);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.user);
  if (arguments == 3) lua_pushvalue(lua, event + 1);
  lua_call(lua, arguments, 0);
}

static void run_timer(lua_State *lua, struct engine *engine, const struct engine_code *code) {
  const struct timer *timer = engine->call->timer;
  int index = timer_index(&engine->rules[engine->rule], timer->name);
  if (index < 0)
    sandbox_raise_at(lua, engine->rules[engine->rule].path, 0, "the rule has no timer `%.*s` any more",
                     STR_ARG(timer->name));
  engine->phase = ENGINE_ACT;
  engine->call->acted = true;
  engine_push_handler(lua, engine, code->timers + index);
  lua_createtable(lua, 0, 3);
  sandbox_lend(&engine->sandbox, lua, LOAN_CALL);
  sandbox_hold(lua);
  lua_pushlstring(lua, timer->name.data, timer->name.len);
  lua_setfield(lua, -2, "name");
  lua_pushnumber(lua, (lua_Number)timer->due);
  lua_setfield(lua, -2, "due");
  if (timer->data.len) {
    convert_push_lent(lua, timer->data);
    lua_setfield(lua, -2, "data");
  }
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.user);
  lua_call(lua, 2, 0);
}

static int run(lua_State *lua, void *context) {
  struct engine *engine = context;
  const struct engine_code *code = &engine->codes[engine->rule];
  if (engine->call->fan_out.len)
    facts_put(&engine->facts, hash64(STR("fan_out"), 0), STR("fan_out"), STR(""), engine->call->fan_out);
  if (engine->call->journey)
    engine_run_journey(lua, engine, code);
  else if (engine->call->event)
    run_event(lua, engine, code);
  else
    run_timer(lua, engine, code);
  return 0;
}

/** math.random follows from who, why and which rule: a replay throws the same dice. */
static uint64_t seed(const struct sandbox *sandbox) {
  const struct engine *engine = (const struct engine *)sandbox; // its first member
  const struct engine_call *call = engine->call;
  const struct journey *journey = call->journey ? call->journey->journey : NULL;
  if (journey) return journey->id.low ^ journey->run; // each resume throws them again from the first
  return hash64(call->cause,
                hash64(call->entity.id, hash64(engine->rules[engine->rule].campaign, call->entity.kind)));
}

int engine_run(struct engine *engine, uint32_t rule, struct engine_call *call, struct error *err) {
  engine->call = call;
  engine->rule = rule;
  engine->sandbox.dice.seed = seed; // few rules throw them
  engine->sandbox.file = engine->rules[rule].path;
  facts_clear(&engine->facts);
  buf_clear(&call->messages);
  call->message_count = 0;
  buf_clear(&call->emitted);
  call->emitted_count = 0;
  call->acted = false;
  engine->replay.on = false;
  engine->journey_event_built = false;
  int64_t now = call->now; // a journey's own is another
  int rc = sandbox_run(&engine->sandbox, run, engine, engine->options.config->rules.budget, err);
  engine->call = NULL;
  engine->replay.on = false;
  if (call->journey) call->journey->now = call->now;
  call->now = now;
  if (rc == SANDBOX_SUSPENDED) rc = 0;
  buf_clear(&call->facts);
  facts_write(&engine->facts, &call->facts);
  return rc;
}
