/* What was made while loading stays as it is: rules keep no state between events. Nor do they write what they
 * are lent for one. */
#include "engine/sandbox.h"

/** Walks what can be reached, with a Lua table as the list of what is still to be looked at: no recursion,
 * whatever the shape. */
struct walk {
  lua_State *lua;
  struct pointer_set *seen;
  const struct pointer_set *known; /**< not looked at, nor what they hold; may be null */
  void (*object)(void *context, const struct object *object); /**< told of each userdata; may be null */
  void *context;
  int pending;  /**< stack index of the list … */
  size_t count; /**< … and its length */
};

/** Look at the value on top later, if it can hold others; pops it. */
static void visit_later(struct walk *walk) {
  lua_State *lua = walk->lua;
  int type = lua_type(lua, -1);
  bool holds = type == LUA_TTABLE || type == LUA_TFUNCTION || type == LUA_TUSERDATA;
  if (holds && walk->known && pointer_set_has(walk->known, lua_topointer(lua, -1))) holds = false;
  if (holds && pointer_set_add(walk->seen, lua_topointer(lua, -1)))
    lua_rawseti(lua, walk->pending, (int)++walk->count);
  else
    lua_pop(lua, 1);
}

static void visit_table(struct walk *walk) {
  lua_State *lua = walk->lua;
  lua_pushnil(lua);
  while (lua_next(lua, -2)) {
    visit_later(walk);
    lua_pushvalue(lua, -1);
    visit_later(walk);
  }
}

/** An upvalue may be shared by closures: its address stands for it. */
static void visit_function(struct walk *walk) {
  lua_State *lua = walk->lua;
  bool lua_function = !lua_iscfunction(lua, -1);
  for (int i = 1; lua_getupvalue(lua, -1, i); i++) {
    visit_later(walk);
    if (lua_function) pointer_set_add(walk->seen, lua_upvalueid(lua, -1, i));
  }
}

/** Walk from the value on top; pops it. */
static void walk_all(struct walk walk) {
  lua_State *lua = walk.lua;
  luaL_checkstack(lua, 8, NULL);
  lua_newtable(lua);
  lua_insert(lua, -2);
  walk.pending = lua_gettop(lua) - 1;
  // The value itself is looked at though it was before: what it holds may be more than then.
  pointer_set_add(walk.seen, lua_topointer(lua, -1));
  lua_rawseti(lua, walk.pending, (int)++walk.count);
  while (walk.count) {
    lua_rawgeti(lua, walk.pending, (int)walk.count);
    lua_pushnil(lua);
    lua_rawseti(lua, walk.pending, (int)walk.count--);
    if (lua_getmetatable(lua, -1)) visit_later(&walk);
    switch (lua_type(lua, -1)) {
    case LUA_TTABLE:
      visit_table(&walk);
      break;
    case LUA_TFUNCTION:
      visit_function(&walk);
      lua_getfenv(lua, -1);
      visit_later(&walk);
      break;
    default: // userdata
      if (walk.object) walk.object(walk.context, lua_touserdata(lua, -1));
      lua_getfenv(lua, -1);
      visit_later(&walk);
    }
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
}

void sandbox_freeze(lua_State *lua) {
  walk_all((struct walk){.lua = lua, .seen = &sandbox_of(lua)->frozen});
}

void sandbox_reach(lua_State *lua, void (*object)(void *context, const struct object *object),
                   void *context) {
  struct sandbox *sandbox = sandbox_of(lua);
  pointer_set_clear(&sandbox->reached);
  walk_all((struct walk){.lua = lua,
                         .seen = &sandbox->reached,
                         .known = &sandbox->frozen,
                         .object = object,
                         .context = context});
}

/** Registry key of the list of what is kept alive for the call under way. */
static const char held_key;

void sandbox_hold(lua_State *lua) {
  struct sandbox *sandbox = sandbox_of(lua);
  luaL_checkstack(lua, 4, NULL);
  lua_pushlightuserdata(lua, (void *)&held_key);
  if (sandbox->held) {
    lua_rawget(lua, LUA_REGISTRYINDEX);
  } else {
    lua_newtable(lua);
    lua_pushvalue(lua, -1);
    lua_insert(lua, -3);
    lua_rawset(lua, LUA_REGISTRYINDEX);
  }
  lua_pushvalue(lua, -2);
  lua_rawseti(lua, -2, ++sandbox->held);
  lua_pop(lua, 1);
}

void sandbox_let_go(struct sandbox *sandbox) {
  pointer_set_clear(&sandbox->metas);
  pointer_set_clear(&sandbox->lent_to_call);
  if (!sandbox->held) return;
  sandbox->held = 0;
  lua_pushlightuserdata(sandbox->lua, (void *)&held_key); // the key is there: this asks for no memory
  lua_pushnil(sandbox->lua);
  lua_rawset(sandbox->lua, LUA_REGISTRYINDEX);
}

static void check_table(lua_State *lua, const void *table) {
  struct sandbox *sandbox = sandbox_of(lua);
  if (table == sandbox->event.table || table == sandbox->event.payload ||
      pointer_set_has(&sandbox->lent, table) || pointer_set_has(&sandbox->lent_to_call, table))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "the event and the profile are read-only; copy what you need into a table of your own, and "
                  "keep a value "
                  "for later with user:set(\"name\", value)");
  if (!pointer_set_has(&sandbox->frozen, table)) return;
  if (sandbox->loading)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "this table belongs to the library and is read-only; write a function of your own");
  sandbox_raise(
      lua, ERROR_SCRIPT,
      "rules keep no state between events, so this table, made when the file was loaded, is read-only now; "
      "keep a value for later with user:set(\"name\", value)");
}

void sandbox_check_write(lua_State *lua, int index) {
  enum { CHAIN_MAX = 100 }; // Lua's own limit
  check_table(lua, lua_topointer(lua, index));
  if (__builtin_expect(!lua_getmetatable(lua, index), 1)) return;
  // A write may end in the table that __newindex names.
  int top = lua_gettop(lua) - 1;
  for (int i = 0; i < CHAIN_MAX; i++) {
    lua_pushliteral(lua, "__newindex");
    lua_rawget(lua, -2);
    if (!lua_istable(lua, -1)) break;
    check_table(lua, lua_topointer(lua, -1));
    lua_replace(lua, top + 1);
    lua_settop(lua, top + 1);
    if (!lua_getmetatable(lua, -1)) break;
    lua_replace(lua, top + 1);
  }
  lua_settop(lua, top);
}

_Noreturn static void refuse_weak(lua_State *lua) {
  sandbox_raise(lua, ERROR_SCRIPT,
                "weak tables are not supported: what they hold depends on when memory is collected");
}

void sandbox_note_metatable(lua_State *lua, int index) {
  lua_pushliteral(lua, "__mode");
  lua_rawget(lua, index);
  if (!lua_isnil(lua, -1)) refuse_weak(lua);
  lua_pop(lua, 1);
  pointer_set_add(&sandbox_of(lua)->metas, lua_topointer(lua, index));
}

void sandbox_check_key(lua_State *lua, int index, int key) {
  struct str name;
  if (lua_type(lua, key) != LUA_TSTRING) return;
  name.data = lua_tolstring(lua, key, &name.len);
  if (!str_equal(name, STR("__mode"))) return;
  if (pointer_set_has(&sandbox_of(lua)->metas, lua_topointer(lua, index))) refuse_weak(lua);
}
