/* kairos.core: what the library under lua/kairos asks of the host. Rule files do not see it. */
#include "base/suggest.h"
#include "engine/internal.h"

const char object_rule[] = "rule";

static struct str text_argument(lua_State *lua, int index) {
  struct str text;
  text.data = luaL_checklstring(lua, index, &text.len);
  return text;
}

/** fail(message): an error at the line of the rule file that called the library. */
static int core_fail(lua_State *lua) {
  sandbox_raise(lua, ERROR_SCRIPT, "%s", luaL_checkstring(lua, 1));
}

/** nearest(name, list of names) -> the one that was probably meant, or nil. */
static int core_nearest(lua_State *lua) {
  struct suggestion suggestion = {0};
  struct str meant = text_argument(lua, 1);
  luaL_checktype(lua, 2, LUA_TTABLE);
  for (int i = 1; i <= (int)lua_objlen(lua, 2); i++) {
    lua_rawgeti(lua, 2, i);
    suggestion_offer(&suggestion, meant, text_argument(lua, -1));
    lua_pop(lua, 1); // the list holds it
  }
  if (!suggestion.name.len) return 0;
  lua_pushlstring(lua, suggestion.name.data, suggestion.name.len);
  return 1;
}

static int nil_and(lua_State *lua, const struct error *err) {
  lua_pushnil(lua);
  lua_pushstring(lua, err->message);
  return 2;
}

/** duration("10m") -> ms, or nil and why not. */
static int core_duration(lua_State *lua) {
  int64_t ms;
  struct error err;
  if (quantity_duration(text_argument(lua, 1), &ms, &err)) return nil_and(lua, &err);
  lua_pushnumber(lua, (lua_Number)ms);
  return 1;
}

/** rate("5/1h") -> how many, in how many ms; or nil and why not. */
static int core_rate(lua_State *lua) {
  struct rate rate;
  struct error err;
  if (quantity_rate(text_argument(lua, 1), &rate, &err)) return nil_and(lua, &err);
  lua_pushnumber(lua, rate.count);
  lua_pushnumber(lua, (lua_Number)rate.over_ms);
  return 2;
}

/** share("25%") -> hundredths of a percent, or nil and why not. */
static int core_share(lua_State *lua) {
  uint32_t share;
  struct error err;
  if (quantity_share(text_argument(lua, 1), &share, &err)) return nil_and(lua, &err);
  lua_pushnumber(lua, share);
  return 1;
}

/** moment("2026-11-27 09:00 Europe/Berlin") -> ms since the epoch, or nil and why not. */
static int core_moment(lua_State *lua) {
  int64_t ms;
  struct error err;
  if (engine_moment(engine_of(lua), text_argument(lua, 1), &ms, &err)) return nil_and(lua, &err);
  lua_pushnumber(lua, (lua_Number)ms);
  return 1;
}

/** hours("mon-fri 09:00-18:00") -> true, or nil and why not. */
static int core_hours(lua_State *lua) {
  struct rollout_hours hours;
  struct error err;
  if (rollout_parse_hours(text_argument(lua, 1), &hours, &err)) return nil_and(lua, &err);
  lua_pushboolean(lua, true);
  return 1;
}

/** now() -> what the rule sees as the time, ms since the epoch. */
static int core_now(lua_State *lua) {
  const struct engine *engine = engine_of(lua);
  if (!engine->call)
    sandbox_raise(lua, ERROR_SCRIPT, "kairos.now() is known while a rule runs, not while its file is loaded");
  if (engine->phase == ENGINE_MEMBER)
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "`member` is asked when something happens, not all the time, so the time of the day would be that of "
        "the last event; write kairos.segment.reached(moment): the host asks again when it comes");
  lua_pushnumber(lua, (lua_Number)engine->call->now);
  return 1;
}

/** rule(definition[, what]): the object that a rule file returns; the definition is its environment. */
static int core_rule(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  if (!sandbox_of(lua)->loading)
    sandbox_raise(lua, ERROR_SCRIPT, "%s belongs at the top of the file, outside of functions",
                  luaL_optstring(lua, 2, "kairos.rule"));
  struct rule_object *rule = lua_newuserdata(lua, sizeof *rule);
  *rule = (struct rule_object){.object.type = object_rule};
  lua_pushvalue(lua, 1);
  lua_setfenv(lua, -2);
  return 1;
}

/** upcoming(function): what reads the phrases of journey:wait_until, for when it is asked. */
static int core_upcoming(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TFUNCTION);
  lua_pushvalue(lua, 1);
  lua_rawseti(lua, LUA_REGISTRYINDEX, engine_of(lua)->refs.upcoming);
  return 0;
}

void binding_kairos_push(lua_State *lua) {
  static const luaL_Reg functions[] = {{"fail", core_fail},
                                       {"nearest", core_nearest},
                                       {"duration", core_duration},
                                       {"rate", core_rate},
                                       {"share", core_share},
                                       {"moment", core_moment},
                                       {"hours", core_hours},
                                       {"now", core_now},
                                       {"rule", core_rule},
                                       {"upcoming", core_upcoming},
                                       {"window", binding_declare_window},
                                       {"throttle", binding_declare_throttle},
                                       {"needs", binding_declare_needs},
                                       {"segment", binding_declare_segment},
                                       {"reached", binding_reached},
                                       {"experiment", binding_declare_experiment},
                                       {"interest", binding_declare_interest},
                                       {"audience", binding_audience},
                                       {"is_audience", binding_is_audience},
                                       {NULL, NULL}};
  static const luaL_Reg *const lists[] = {functions, binding_library};
  lua_newtable(lua);
  for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
    for (const luaL_Reg *function = lists[i]; function->name; function++) {
      lua_pushcfunction(lua, function->func);
      lua_setfield(lua, -2, function->name);
    }
}
