/* The functions that stand in no table, and math.random. */
#include "engine/bindings.h"
#include "engine/order.h"

#include <math.h>

struct str binding_push_text(lua_State *lua, int index) {
  struct str text;
  switch (lua_type(lua, index)) {
  case LUA_TNUMBER:
  case LUA_TSTRING:
    lua_pushvalue(lua, index);
    break;
  case LUA_TBOOLEAN:
    lua_pushstring(lua, lua_toboolean(lua, index) ? "true" : "false");
    break;
  case LUA_TUSERDATA:
    lua_pushstring(lua, ((struct object *)lua_touserdata(lua, index))->type);
    break;
  default:
    lua_pushstring(lua, luaL_typename(lua, index));
  }
  text.data = lua_tolstring(lua, -1, &text.len);
  return text;
}

static int base_tostring(lua_State *lua) {
  luaL_checkany(lua, 1);
  binding_push_text(lua, 1);
  return 1;
}

static int base_print(lua_State *lua) {
  sandbox_raise(lua, ERROR_SCRIPT,
                "a rule has nowhere to print to; what it read and decided is shown by: kairos why USER");
}

/* ---- tables ---- */

static int base_next(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  lua_settop(lua, 2);
  if (!order_next(lua, 1, 2)) {
    lua_pushnil(lua);
    return 1;
  }
  lua_pushvalue(lua, -1);
  lua_rawget(lua, 1);
  return 2;
}

static int next_element(lua_State *lua) {
  lua_Number i = lua_tonumber(lua, 2) + 1;
  luaL_checktype(lua, 1, LUA_TTABLE);
  if (!(i >= 1 && i < INT32_MAX)) return 0; // a rule may call it with anything
  lua_pushnumber(lua, i);
  lua_rawgeti(lua, 1, (int)i);
  return lua_isnil(lua, -1) ? 1 : 2;
}

/** One walk over the keys that the table had when it began. */
struct walk_order {
  struct object object;
  int at;
  uint64_t call; /**< a walk must not carry state from one event to the next */
};

/** Upvalues: the table, the walk, the list of its keys. Keys that have gone meanwhile are left out. */
static int next_member(lua_State *lua) {
  struct walk_order *walk = lua_touserdata(lua, lua_upvalueindex(2));
  if (walk->call != sandbox_of(lua)->calls)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "this walk through pairs belongs to another event; call pairs where you use it");
  for (;;) {
    lua_rawgeti(lua, lua_upvalueindex(3), ++walk->at);
    if (lua_isnil(lua, -1)) return 1; // the end, which stays: no key is beyond it
    lua_pushvalue(lua, -1);
    lua_rawget(lua, lua_upvalueindex(1));
    if (!lua_isnil(lua, -1)) return 2;
    lua_pop(lua, 2);
  }
}

/** @return the number of members, and whether they are just 1 … n. */
static bool is_list(lua_State *lua, int index, size_t *members) {
  size_t length = lua_objlen(lua, index);
  bool list = true;
  *members = 0;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    ++*members;
    lua_Number key = lua_type(lua, -1) == LUA_TNUMBER ? lua_tonumber(lua, -1) : 0;
    if (!(key >= 1 && key <= (lua_Number)length && key == floor(key))) list = false;
  }
  return list && *members == length;
}

static int base_pairs(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  lua_settop(lua, 1);
  size_t members;
  deferred_complete(lua, 1);
  bool list = is_list(lua, 1, &members);
  budget_charge(&sandbox_of(lua)->budget, lua, members);
  if (list) {
    lua_pushcfunction(lua, next_element);
    lua_pushvalue(lua, 1);
    lua_pushnumber(lua, 0);
    return 3;
  }
  struct walk_order *walk = lua_newuserdata(lua, sizeof *walk);
  *walk = (struct walk_order){.object.type = "walk", .call = sandbox_of(lua)->calls};
  order_push_list(lua, 1);
  lua_pushcclosure(lua, next_member, 3);
  return 1;
}

static int base_rawget(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  luaL_checkany(lua, 2);
  lua_settop(lua, 2);
  deferred_complete(lua, 1);
  lua_rawget(lua, 1);
  return 1;
}

static int base_rawset(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  luaL_checkany(lua, 3);
  lua_settop(lua, 3);
  sandbox_check_write(lua, 1);
  sandbox_check_key(lua, 1, 2);
  lua_rawset(lua, 1);
  return 1;
}

static int base_setmetatable(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  if (!lua_isnil(lua, 2)) luaL_checktype(lua, 2, LUA_TTABLE);
  lua_settop(lua, 2);
  sandbox_check_write(lua, 1);
  if (luaL_getmetafield(lua, 1, "__metatable"))
    sandbox_raise(lua, ERROR_SCRIPT, "this table's metatable cannot be changed");
  if (lua_istable(lua, 2)) sandbox_note_metatable(lua, 2);
  lua_setmetatable(lua, 1);
  return 1;
}

/* ---- the rest ---- */

static int base_pcall(lua_State *lua) {
  enum { FAILURE_STEPS = 500 }; // making an error and unwinding takes some microseconds
  luaL_checkany(lua, 1);
  struct sandbox *sandbox = sandbox_of(lua);
  sandbox_descend(sandbox, lua);
  int status = sandbox_try(lua, lua_gettop(lua) - 1, LUA_MULTRET);
  sandbox_ascend(sandbox);
  if (status && sandbox->caught) sandbox->caught(lua);
  budget_charge(&sandbox->budget, lua, status ? FAILURE_STEPS : 1);
  lua_pushboolean(lua, status == 0);
  lua_insert(lua, 1);
  return lua_gettop(lua);
}

/** What bytecode.h puts in front of a write. */
static int base_guard(lua_State *lua) {
  if (!lua_isnil(lua, 1) || lua_gettop(lua) == 1) {
    if (!lua_istable(lua, 1)) return 0;
    sandbox_check_write(lua, 1);
    if (lua_gettop(lua) > 1) sandbox_check_key(lua, 1, 2);
    return 0;
  }
  struct sandbox *sandbox = sandbox_of(lua);
  if (sandbox->loading) return 0;
  if (lua_type(lua, 2) == LUA_TSTRING)
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "rules keep no state between events, so the global `%s` cannot be set here; write `local %s = …`, or "
        "user:set(\"%s\", value) to keep it for this user",
        lua_tostring(lua, 2), lua_tostring(lua, 2), lua_tostring(lua, 2));
  lua_Debug caller;
  int upvalue = (int)lua_tonumber(lua, 2);
  if (!lua_getstack(lua, 1, &caller)) return 0;
  lua_getinfo(lua, "f", &caller);
  if (!pointer_set_has(&sandbox->frozen, lua_upvalueid(lua, -1, upvalue))) return 0;
  const char *name = lua_getupvalue(lua, -1, upvalue);
  sandbox_raise(lua, ERROR_SCRIPT,
                "rules keep no state between events, so `%s`, set when the file was loaded, cannot be "
                "changed here; write "
                "user:set(\"%s\", value) to keep it for this user",
                name, name);
}

const luaL_Reg binding_base[] = {{"next", base_next},
                                 {"pairs", base_pairs},
                                 {"pcall", base_pcall},
                                 {"print", base_print},
                                 {"rawget", base_rawget},
                                 {"rawset", base_rawset},
                                 {"setmetatable", base_setmetatable},
                                 {"tostring", base_tostring},
                                 {BYTECODE_GUARD, base_guard},
                                 {NULL, NULL}};

/* ---- math ---- */

/** SplitMix64 (Steele, Lea, Flood 2014): one word of state, which the engine seeds from the input. */
static uint64_t random_bits(struct sandbox *sandbox) {
  struct sandbox_dice *dice = &sandbox->dice;
  if (dice->seed) *dice = (struct sandbox_dice){.state = dice->seed(sandbox)};
  uint64_t z = dice->state += 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

static int math_random(lua_State *lua) {
  if (sandbox_of(lua)->no_random)
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "math.random in `member` would let users come and go with every event; for a lasting share write "
        "kairos.sample.share(user, \"name\", \"25%%\")");
  lua_Number unit = (lua_Number)(random_bits(sandbox_of(lua)) >> 11) * 0x1p-53;
  if (lua_gettop(lua) == 0) {
    lua_pushnumber(lua, unit);
    return 1;
  }
  lua_Number low = lua_gettop(lua) == 1 ? 1 : luaL_checknumber(lua, 1),
             high = luaL_checknumber(lua, lua_gettop(lua) == 1 ? 1 : 2);
  if (!(low <= high))
    sandbox_raise(lua, ERROR_SCRIPT, "math.random: from %.14g to %.14g there is no number", low, high);
  lua_pushnumber(lua, floor(unit * (high - low + 1)) + low);
  return 1;
}

const luaL_Reg binding_math[] = {{"random", math_random}, {NULL, NULL}};
