/* What a function means: by its hash one that was written otherwise is told from one that only stands
 * elsewhere, or among other comments. */
#include "engine/internal.h"

enum {
  DEPTH_MAX = 100,    /**< what lies deeper … */
  VISITS_MAX = 100000 /**< … or comes later is not told apart */
};
/** Lua's numbers hold so many bits of it. */
static const uint64_t MEANING_BITS = (UINT64_C(1) << 52) - 1;

struct walk {
  lua_State *lua;
  const struct engine *engine;
  int memo; /**< stack index of what is known already: object -> meaning */
  int dump; /**< … of string.dump */
  size_t left;
};

static uint64_t meaning_of_text(struct str text, uint64_t kind) {
  return hash64(text, kind) & MEANING_BITS;
}

static uint64_t mixed(uint64_t one, uint64_t other) {
  uint64_t both[2] = {one, other};
  return meaning_of_text((struct str){(const char *)both, sizeof both}, 0);
}

/** Of the object at `index`. */
static void memorize(const struct walk *walk, int index, uint64_t meaning) {
  lua_pushvalue(walk->lua, index);
  lua_pushnumber(walk->lua, (lua_Number)meaning);
  lua_rawset(walk->lua, walk->memo);
}

/** What C wrote has no code to be read: it is what its name in the environment says. */
static void memorize_globals(const struct walk *walk, struct str prefix, int depth) {
  lua_State *lua = walk->lua;
  int globals = lua_gettop(lua);
  char name[128];
  lua_pushnil(lua);
  for (; lua_next(lua, globals); lua_pop(lua, 1)) {
    if (lua_type(lua, -2) != LUA_TSTRING) continue;
    int len = snprintf(name, sizeof name, "%.*s.%s", STR_ARG(prefix), lua_tostring(lua, -2));
    struct str full = {name, len < (int)sizeof name ? (size_t)len : sizeof name - 1};
    if (lua_iscfunction(lua, -1)) memorize(walk, -1, meaning_of_text(full, LUA_TFUNCTION));
    if (lua_istable(lua, -1) && depth < 1) memorize_globals(walk, full, depth + 1);
  }
}

static uint64_t take(struct walk *walk, int depth);

/** In no order: another state's table may hold the same in another. */
static uint64_t table_meaning(struct walk *walk, int depth) {
  lua_State *lua = walk->lua;
  uint64_t sum = LUA_TTABLE;
  lua_pushnil(lua);
  while (lua_next(lua, -2)) {
    uint64_t value = take(walk, depth);
    lua_pushvalue(lua, -1);
    sum += mixed(take(walk, depth), value);
  }
  if (lua_getmetatable(lua, -1)) sum = mixed(sum, take(walk, depth));
  return sum & MEANING_BITS;
}

static uint64_t function_meaning(struct walk *walk, int depth) {
  lua_State *lua = walk->lua;
  if (lua_iscfunction(lua, -1)) return LUA_TFUNCTION;
  lua_pushvalue(lua, walk->dump);
  lua_pushvalue(lua, -2);
  lua_pushboolean(lua, true); // without names and lines
  lua_call(lua, 2, 1);
  struct str code;
  code.data = lua_tolstring(lua, -1, &code.len);
  struct str slots = bytecode_upvalue_slots(code), behind = {slots.data + slots.len, 0};
  if (slots.len) behind.len = code.len - (size_t)(behind.data - code.data);
  if (slots.len) code.len = (size_t)(slots.data - code.data);
  uint64_t meaning = mixed(meaning_of_text(code, LUA_TFUNCTION), meaning_of_text(behind, LUA_TFUNCTION));
  lua_pop(lua, 1);
  for (int i = 1; lua_getupvalue(lua, -1, i); i++) meaning = mixed(meaning, take(walk, depth));
  return meaning;
}

static uint64_t object_meaning(const struct walk *walk) {
  const struct object *object = lua_touserdata(walk->lua, -1);
  uint64_t type = meaning_of_text(str_from(object->type), LUA_TUSERDATA);
  if (object->type == object_window)
    return mixed(type, walk->engine->windows[((const struct window_object *)object)->index].id);
  if (object->type == object_experiment) {
    uint32_t index = ((const struct experiment_object *)object)->index;
    return mixed(type, meaning_of_text(walk->engine->experiments[index].name, LUA_TSTRING));
  }
  return type;
}

/** Of the value on top; pops it. */
static uint64_t take(struct walk *walk, int depth) {
  lua_State *lua = walk->lua;
  uint64_t meaning;
  int type = lua_type(lua, -1);
  lua_Number number = lua_tonumber(lua, -1);
  struct str text = {(const char *)&number, sizeof number};
  switch (type) {
  case LUA_TSTRING:
    text.data = lua_tolstring(lua, -1, &text.len);
    meaning = meaning_of_text(text, LUA_TSTRING);
    break;
  case LUA_TNUMBER:
    meaning = meaning_of_text(text, LUA_TNUMBER);
    break;
  case LUA_TBOOLEAN:
    meaning = lua_toboolean(lua, -1) ? 11 : 10;
    break;
  case LUA_TTABLE:
  case LUA_TFUNCTION:
  case LUA_TUSERDATA:
    luaL_checkstack(lua, 8, NULL);
    lua_pushvalue(lua, -1);
    lua_rawget(lua, walk->memo);
    meaning = (uint64_t)lua_tonumber(lua, -1);
    bool known = !lua_isnil(lua, -1);
    lua_pop(lua, 1);
    if (known) break;
    meaning = (uint64_t)type;
    // The library's own is the host's: what a new version of it says, it says of those who are asked next.
    if (depth == DEPTH_MAX || !walk->left ||
        pointer_set_has(&walk->engine->sandbox.frozen, lua_topointer(lua, -1)))
      break;
    walk->left--;
    memorize(walk, -1, meaning); // where it holds itself
    meaning = type == LUA_TTABLE      ? table_meaning(walk, depth + 1)
              : type == LUA_TFUNCTION ? function_meaning(walk, depth + 1)
                                      : object_meaning(walk);
    memorize(walk, -1, meaning);
    break;
  default:
    meaning = (uint64_t)type;
  }
  lua_pop(lua, 1);
  return meaning;
}

uint64_t engine_meaning(lua_State *lua, const struct engine *engine) {
  struct walk walk = {.lua = lua, .engine = engine, .left = VISITS_MAX};
  int function = lua_gettop(lua);
  luaL_checkstack(lua, 16, NULL);
  lua_newtable(lua);
  walk.memo = lua_gettop(lua);
  lua_getfield(lua, LUA_GLOBALSINDEX, "string");
  lua_getfield(lua, -1, "dump");
  walk.dump = lua_gettop(lua);
  lua_getfenv(lua, function);
  memorize_globals(&walk, STR(""), 0);
  lua_pushvalue(lua, function);
  uint64_t meaning = take(&walk, 0);
  lua_settop(lua, function);
  return meaning;
}
