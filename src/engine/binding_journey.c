/* `journey`: what the function of a journey asks of the host, but for its waits (binding_journey_wait.c). One
 * object a state; whose journey it is, the call under way says. */
#include "base/suggest.h"
#include "engine/convert.h"
#include "engine/internal.h"

#include <math.h>
#include <stdio.h>

enum { SPLIT_VARIANTS_MAX = 32, NAME_MAX_LEN = 64 };

void engine_journey_call_init(struct engine_journey_call *call) {
  *call = (struct engine_journey_call){0};
  buf_init(&call->history);
  buf_init(&call->text);
  buf_init(&call->handed);
}

void engine_journey_call_deinit(struct engine_journey_call *call) {
  buf_deinit(&call->history);
  buf_deinit(&call->text);
  buf_deinit(&call->handed);
}

static struct engine_journey_call *call_of(lua_State *lua, const char *what) {
  struct engine *engine = engine_of(lua);
  if (!engine->call || !engine->call->journey || !engine->call->journey->journey)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s is for the functions of a journey: there is none while the file is loaded", what);
  return engine->call->journey;
}

struct engine_journey_call *binding_journey_call(lua_State *lua, const char *method) {
  struct engine *engine = engine_of(lua);
  if (lua_touserdata(lua, 1) != engine->journey)
    sandbox_raise(lua, ERROR_SCRIPT, "write %s(…) with a colon", method);
  struct engine_journey_call *call = call_of(lua, method);
  if (engine->phase == ENGINE_WHEN)
    sandbox_raise(lua, ERROR_SCRIPT, "`where` only answers whether an event is meant; write %s(…) in `run`",
                  method);
  return call;
}

/* ---- the function's life ---- */

static void push_event(lua_State *lua, struct engine *engine) {
  if (!engine->journey_event_built) {
    struct reader reader = reader_of(engine->call->journey->journey->event);
    struct event event;
    struct error err;
    if (event_decode(&event, &reader, &err)) sandbox_end(lua, err.code, "%s", err.message);
    event_table_push_other(lua, &event);
    lua_rawseti(lua, LUA_REGISTRYINDEX, engine->refs.journey_event);
    engine->journey_event_built = true;
  }
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.journey_event);
}

static void push_journey(lua_State *lua, const struct engine *engine) {
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.journey);
}

static void push_user(lua_State *lua, const struct engine *engine) {
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.user);
}

static void ask_start(lua_State *lua, struct engine *engine, const struct engine_code *code) {
  engine->phase = ENGINE_WHEN;
  engine->call->acted = true;
  if (!code->when) return;
  engine_push_handler(lua, engine, code->when);
  event_table_push(lua);
  push_user(lua, engine);
  lua_call(lua, 2, 1);
  engine->call->acted = lua_toboolean(lua, -1);
}

static void ask_exit(lua_State *lua, struct engine *engine) {
  const struct engine_journey *journey = engine->rules[engine->rule].journey;
  engine->phase = ENGINE_WHEN;
  engine_push_handler(lua, engine, journey->exits[engine->call->journey->exit].where);
  event_table_push(lua);
  push_journey(lua, engine);
  push_user(lua, engine);
  lua_call(lua, 3, 1);
  engine->call->acted = lua_toboolean(lua, -1);
}

static void run(lua_State *lua, struct engine *engine, const struct engine_code *code) {
  struct engine_journey_call *call = engine->call->journey;
  call->came = ENGINE_JOURNEY_RETURNED;
  engine->replay = (struct engine_replay){
      .on = true, .input_now = engine->call->now, .history = reader_of(call->journey->history)};
  engine->call->now = call->journey->at;
  engine->phase = ENGINE_ACT;
  engine->call->acted = true;
  engine_push_handler(lua, engine, code->act);
  push_journey(lua, engine);
  push_user(lua, engine);
  push_event(lua, engine);
  lua_call(lua, 3, 0);
  history_finish(lua, "its function ends");
}

void engine_run_journey(lua_State *lua, struct engine *engine, const struct engine_code *code) {
  struct engine_journey_call *call = engine->call->journey;
  call->steps = 0;
  buf_clear(&call->history);
  switch (call->ask) {
  case ENGINE_JOURNEY_START:
    ask_start(lua, engine, code);
    break;
  case ENGINE_JOURNEY_EXIT:
    ask_exit(lua, engine);
    break;
  case ENGINE_JOURNEY_RUN:
    run(lua, engine, code);
    break;
  case ENGINE_JOURNEY_MIGRATE:
    engine_migrate_journey(lua, engine, code);
    break;
  }
}

/* ---- what it asks ---- */

/** split { name = "offer", a = 50, b = 50 } -> "a" or "b": by weights, the same for a user and a name for
 * ever.
 *
 * Each variant draws -ln(u) / weight with a u of its own from (user, name, variant); the least wins (weighted
 * rendezvous hashing: Schindelhauer and Schomaker, Weighted Distributed Hash Tables, SPAA 2005). So a weight
 * that grows takes users in and loses none, and another variant takes its share evenly from the others. */
static int journey_split(lua_State *lua) {
  static const char method[] = "journey:split";
  static const char shape[] = "write journey:split { name = \"offer\", first = 50, second = 50 }";
  struct engine *engine = engine_of(lua);
  binding_journey_call(lua, method);
  if (!lua_istable(lua, 2)) sandbox_raise(lua, ERROR_SCRIPT, "journey:split takes a table; %s", shape);
  lua_settop(lua, 2);
  deferred_complete(lua, 2);
  struct str name = binding_field(lua, 2, "name", false, method), best = {NULL, 0};
  if (!name.len || name.len > NAME_MAX_LEN)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "journey:split needs a `name` of at most %d letters, by which each user keeps his "
                  "side; %s",
                  NAME_MAX_LEN, shape);
  char label[JOURNEY_LABEL_MAX];
  int len = snprintf(label, sizeof label, "split %.*s", STR_ARG(name));
  if (history_answers(lua, JOURNEY_SPLIT, (struct str){label, (size_t)len}, hash64(name, 0))) {
    lua_pushvalue(lua, -1);
    lua_rawget(lua, 2);
    if (lua_isnil(lua, -1))
      sandbox_end(lua, ERROR_SCRIPT,
                  "the journey does not fit its source any more: its split %.*s gave \"%s\", which is no "
                  "side of it now",
                  STR_ARG(name), lua_tostring(lua, -2));
    lua_pop(lua, 1);
    return 1;
  }
  double least = INFINITY;
  int count = 0;
  uint64_t seed = hash64(engine->call->entity.id, hash64(name, hash64(STR("split"), 0)));
  lua_pushnil(lua);
  while (lua_next(lua, 2)) {
    struct str side;
    if (lua_type(lua, -2) != LUA_TSTRING)
      sandbox_raise(lua, ERROR_SCRIPT, "journey:split: each side has a name and a weight; %s", shape);
    side.data = lua_tolstring(lua, -2, &side.len);
    if (str_equal(side, STR("name"))) {
      lua_pop(lua, 1);
      continue;
    }
    double weight = lua_type(lua, -1) == LUA_TNUMBER ? lua_tonumber(lua, -1) : -1;
    if (!(weight >= 0 && weight <= 1e6))
      sandbox_raise(lua, ERROR_SCRIPT,
                    "journey:split: the weight of `%.*s` must be a number from 0 to 1000000; %s",
                    side.len > NAME_MAX_LEN ? NAME_MAX_LEN : (int)side.len, side.data, shape);
    if (side.len > NAME_MAX_LEN)
      sandbox_raise(lua, ERROR_SCRIPT, "journey:split: the name of a side is longer than %d letters",
                    NAME_MAX_LEN);
    if (++count > SPLIT_VARIANTS_MAX)
      sandbox_raise(lua, ERROR_SCRIPT, "journey:split: more than %d sides", SPLIT_VARIANTS_MAX);
    double unit = ((double)(hash64(side, seed) >> 11) + 0.5) * 0x1p-53;
    double draw = weight > 0 ? -log(unit) / weight : INFINITY;
    if (draw < least) {
      least = draw;
      best = side; // the table holds it
    }
    lua_pop(lua, 1);
  }
  if (!best.data)
    sandbox_raise(lua, ERROR_SCRIPT, "journey:split has no side with a weight above 0; %s", shape);
  if (facts_begin(&engine->facts, hash64(name, hash64(STR("split"), 0)), (struct str){label, (size_t)len},
                  STR("")))
    value_put_string(&engine->facts.body, best);
  lua_pushlstring(lua, best.data, best.len);
  return history_note(lua);
}

/** goal "name": it has been reached; what that is worth the campaign's figures say. */
static int journey_goal(lua_State *lua) {
  struct str name;
  binding_journey_call(lua, "journey:goal");
  if (lua_type(lua, 2) != LUA_TSTRING || lua_objlen(lua, 2) == 0 || lua_objlen(lua, 2) > NAME_MAX_LEN)
    sandbox_raise(lua, ERROR_SCRIPT, "write journey:goal \"name\": the goal's name, of at most %d letters",
                  NAME_MAX_LEN);
  name.data = lua_tolstring(lua, 2, &name.len);
  char label[JOURNEY_LABEL_MAX];
  int len = snprintf(label, sizeof label, "goal %.*s", STR_ARG(name));
  if (history_answers(lua, JOURNEY_GOAL, (struct str){label, (size_t)len}, hash64(name, 0))) return 0;
  lua_pushnil(lua);
  history_note(lua);
  return 0;
}

/** continue(state): afresh, with an empty history; the value given is then journey.state. */
static int journey_continue(lua_State *lua) {
  struct engine_journey_call *call = binding_journey_call(lua, "journey:continue");
  history_finish(lua, "its function continues afresh");
  buf_clear(&call->handed);
  lua_settop(lua, 2);
  if (!lua_isnil(lua, 2))
    convert_read(lua, 2, &call->handed, JOURNEY_HANDED_MAX, "the state given to journey:continue");
  call->came = ENGINE_JOURNEY_CONTINUES;
  sandbox_suspend(lua);
}

/* ---- the object ---- */

static const char *const fields[] = {"key", "event", "state", "begun", NULL};

/** As the event has it: a number stays one. */
static void push_key(lua_State *lua, struct engine *engine, const struct journey *journey) {
  const struct engine_journey *declared = engine->rules[engine->rule].journey;
  struct reader reader = reader_of(journey->event);
  struct event event;
  struct str found, key = journey_key(journey);
  struct value value;
  if (declared->key.len && event_decode(&event, &reader, NULL) == 0 &&
      value_find(event.payload, declared->key, &found)) {
    value = value_head(found);
    if (convert_push_plain(lua, &value)) return;
  }
  if (declared->key.len)
    lua_pushlstring(lua, key.data, key.len);
  else
    lua_pushnil(lua);
}

/** Upvalue 1: the methods. */
static int journey_index(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  struct str name = {"", 0};
  lua_pushvalue(lua, 2);
  lua_rawget(lua, lua_upvalueindex(1));
  if (!lua_isnil(lua, -1)) return 1;
  if (lua_type(lua, 2) == LUA_TSTRING) name.data = lua_tolstring(lua, 2, &name.len);
  const struct journey *journey = call_of(lua, "journey")->journey;
  if (str_equal(name, STR("key"))) {
    push_key(lua, engine, journey);
  } else if (str_equal(name, STR("event"))) {
    push_event(lua, engine);
  } else if (str_equal(name, STR("begun"))) {
    lua_pushnumber(lua, (lua_Number)journey->begun);
  } else if (str_equal(name, STR("state"))) {
    if (journey->handed.len)
      convert_push_lent(lua, journey->handed);
    else
      lua_pushnil(lua);
  } else {
    struct suggestion suggestion = {0};
    for (const char *const *field = fields; *field; field++)
      suggestion_offer(&suggestion, name, str_from(*field));
    lua_pushnil(lua);
    while (lua_next(lua, lua_upvalueindex(1))) {
      suggestion_offer(&suggestion, name, str_from(lua_tostring(lua, -2)));
      lua_pop(lua, 1);
    }
    buf_clear(&engine->text);
    suggestion_append(&suggestion, &engine->text);
    sandbox_raise(lua, ERROR_SCRIPT,
                  "a journey has no `%.*s`%.*s; there are journey.key, event, state and begun", STR_ARG(name),
                  STR_ARG(buf_str(&engine->text)));
  }
  return 1;
}

static int journey_newindex(lua_State *lua) {
  sandbox_raise(lua, ERROR_SCRIPT,
                "what a journey knows is not written: use a local variable of `run`, or user:set(\"%s\", "
                "value) to keep "
                "it in the profile",
                lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : "name");
}

const char object_journey[] = "journey";

void binding_journey_push(lua_State *lua) {
  static const luaL_Reg own[] = {{"send", binding_send},         {"emit", binding_emit},
                                 {"split", journey_split},       {"goal", journey_goal},
                                 {"continue", journey_continue}, {NULL, NULL}};
  static const luaL_Reg *const lists[] = {own, binding_journey_wait};
  const struct engine *engine = engine_of(lua);
  struct object *journey = lua_newuserdata(lua, sizeof *journey);
  *journey = (struct object){.type = object_journey};
  lua_createtable(lua, 0, 4);
  lua_newtable(lua); // the methods
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
    for (const luaL_Reg *function = lists[i]; function->name; function++) {
      lua_pushcfunction(lua, function->func);
      lua_setfield(lua, -2, function->name);
    }
  push_user(lua, engine); // journey:set is user:set, which knows what names are taken
  lua_getmetatable(lua, -1);
  lua_getfield(lua, -1, "__index");
  lua_pushcclosure(lua, binding_set, 1);
  lua_setfield(lua, -4, "set");
  lua_pop(lua, 2);
  lua_pushcclosure(lua, journey_index, 1);
  lua_setfield(lua, -2, "__index");
  lua_pushcfunction(lua, journey_newindex);
  lua_setfield(lua, -2, "__newindex");
  lua_pushboolean(lua, false);
  lua_setfield(lua, -2, "__metatable");
  lua_setmetatable(lua, -2);
}
