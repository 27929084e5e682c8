/* The event as a rule sees it: a plain table, built at most once an input and only if a rule runs; lent, so
 * that a write to it is an error with its line (bytecode.h) and the next rule sees what this one saw. */
#include "engine/convert.h"
#include "engine/internal.h"

static void set_text(lua_State *lua, const struct engine *engine, enum engine_name name, struct str text) {
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.names[name]);
  lua_pushlstring(lua, text.data, text.len);
  lua_rawset(lua, -3);
}

static void set_value(lua_State *lua, const struct engine *engine, enum engine_name name, struct str bytes) {
  static const char none[] = {(char)0x80}; // an empty map, so that event.metadata.source is nil, not an error
  struct reader reader = reader_of(bytes.len ? bytes : (struct str){none, sizeof none});
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.names[name]);
  convert_push(lua, &reader, true);
  lua_rawset(lua, -3);
}

static void build(lua_State *lua, struct engine *engine, const struct event *event) {
  lua_createtable(lua, 0, ENGINE_NAMES - 1);
  sandbox_lend(&engine->sandbox, lua);
  set_text(lua, engine, ENGINE_ID, event->id);
  set_text(lua, engine, ENGINE_TYPE, event->type);
  set_text(lua, engine, event->entity.kind == ENTITY_USER ? ENGINE_USER : ENGINE_SUBJECT, event->entity.id);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.names[ENGINE_TIMESTAMP]);
  lua_pushnumber(lua, (lua_Number)event->timestamp);
  lua_rawset(lua, -3);
  set_value(lua, engine, ENGINE_METADATA, event->metadata);
  set_value(lua, engine, ENGINE_PAYLOAD, event->payload);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.names[ENGINE_PAYLOAD]);
  lua_rawget(lua, -2);
  convert_remember(lua, event->payload);
  lua_pop(lua, 1);
}

void event_table_push(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  if (engine->event_built) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.event);
    return;
  }
  build(lua, engine, engine->call->event);
  lua_pushvalue(lua, -1);
  lua_rawseti(lua, LUA_REGISTRYINDEX, engine->refs.event);
  engine->event_built = true;
}
