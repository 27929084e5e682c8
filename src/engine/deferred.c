#include "engine/deferred.h"

#include "engine/convert.h"

/** Registry key of the metatable. */
static const char metatable;

static struct deferred *deferred_of(lua_State *lua) {
  return &sandbox_of(lua)->deferred;
}

static void push(lua_State *lua, const struct deferred_member *member) {
  if (member->kind == DEFERRED_TEXT) {
    lua_pushlstring(lua, member->value.data, member->value.len);
  } else {
    struct reader reader = reader_of(member->value);
    convert_push(lua, &reader, true);
    if (member->kind == DEFERRED_PAYLOAD) convert_remember(lua, member->value);
  }
}

static void drop(struct deferred *deferred, const void *table, struct str key) {
  for (uint32_t i = 0; i < deferred->count; i++)
    if (deferred->members[i].table == table && str_equal(deferred->members[i].key, key)) {
      deferred->members[i] = deferred->members[--deferred->count];
      return;
    }
}

/** Put the member into its table, at the absolute `index`. It is on top afterwards. An error on the way
 * leaves all as it was. */
static void put_in(lua_State *lua, int index, uint32_t at) {
  struct deferred *deferred = deferred_of(lua);
  struct deferred_member member = deferred->members[at]; // others come and go meanwhile
  luaL_checkstack(lua, 4, "a value nested too deeply");
  lua_pushlstring(lua, member.key.data, member.key.len);
  push(lua, &member);
  lua_pushvalue(lua, -2);
  lua_pushvalue(lua, -2);
  lua_rawset(lua, index);
  lua_remove(lua, -2);
  drop(deferred, member.table, member.key);
}

static int index_member(lua_State *lua) {
  const struct deferred *deferred = deferred_of(lua);
  const void *table = lua_topointer(lua, 1);
  struct str key;
  lua_settop(lua, 2);
  if (lua_type(lua, 2) != LUA_TSTRING) return 0;
  key.data = lua_tolstring(lua, 2, &key.len);
  for (uint32_t i = 0; i < deferred->count; i++) {
    if (deferred->members[i].table != table || !str_equal(deferred->members[i].key, key)) continue;
    put_in(lua, 1, i);
    return 1;
  }
  return 0;
}

void deferred_open(lua_State *lua) {
  lua_newtable(lua);
  lua_pushboolean(lua, false);
  lua_setfield(lua, -2, "__metatable");
  lua_pushcfunction(lua, index_member);
  lua_setfield(lua, -2, "__index");
  lua_pushlightuserdata(lua, (void *)&metatable);
  lua_insert(lua, -2);
  lua_rawset(lua, LUA_REGISTRYINDEX);
}

void deferred_begin(lua_State *lua) {
  struct deferred *deferred = deferred_of(lua);
  const void *table = lua_topointer(lua, -1);
  for (uint32_t i = 0; i < deferred->count;)
    if (deferred->members[i].table == table)
      deferred->members[i] = deferred->members[--deferred->count];
    else
      i++;
}

void deferred_drop(lua_State *lua, struct str key) {
  drop(deferred_of(lua), lua_topointer(lua, -1), key);
}

bool deferred_note(lua_State *lua, struct str key, struct str value, enum deferred_kind kind) {
  struct deferred *deferred = deferred_of(lua);
  if (deferred->count == DEFERRED_MAX) return false;
  deferred->members[deferred->count++] = (struct deferred_member){lua_topointer(lua, -1), key, value, kind};
  return true;
}

void deferred_mark(lua_State *lua) {
  lua_pushlightuserdata(lua, (void *)&metatable);
  lua_rawget(lua, LUA_REGISTRYINDEX);
  lua_setmetatable(lua, -2);
}

void deferred_complete(lua_State *lua, int index) {
  const struct deferred *deferred = deferred_of(lua);
  const void *table = lua_topointer(lua, index);
  if (event_table_complete(lua, index)) return;
  if (index < 0) index = lua_gettop(lua) + index + 1;
  for (uint32_t i = 0; i < deferred->count;)
    if (deferred->members[i].table == table) {
      put_in(lua, index, i);
      lua_pop(lua, 1);
      i = 0; // the others may have changed places
    } else {
      i++;
    }
}
