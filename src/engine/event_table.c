/* The event as a rule sees it: a plain table, built at most once an input and only if a rule runs; lent, so
 * that a write to it is an error with its line (bytecode.h) and the next rule sees what this one saw. */
#include "engine/convert.h"
#include "engine/internal.h"

/** Most rules look at one or two of the fields. */
enum { FIELDS_TOUCHED = 2 };

/** An empty map stands for none, so that event.metadata.source is nil, not an error. */
static struct str map_or_empty(struct str bytes) {
  static const char none[] = {(char)0x80};
  return bytes.len ? bytes : (struct str){none, sizeof none};
}

/** @param timestamp  it lives as long as the input; null: put in at once */
static void build(lua_State *lua, struct engine *engine, const struct event *event,
                  const int64_t *timestamp) {
  bool user = event->entity.kind == ENTITY_USER;
  lua_createtable(lua, 0, FIELDS_TOUCHED);
  sandbox_lend(&engine->sandbox, lua, LOAN_INPUT);
  deferred_begin(lua);
  deferred_note(lua, STR("payload"), map_or_empty(event->payload), DEFERRED_PAYLOAD);
  deferred_note(lua, STR("metadata"), map_or_empty(event->metadata), DEFERRED_VALUE);
  deferred_note(lua, STR("type"), event->type, DEFERRED_TEXT);
  if (timestamp)
    deferred_note(lua, STR("timestamp"), (struct str){(const char *)timestamp, sizeof *timestamp},
                  DEFERRED_TIME);
  deferred_note(lua, STR("id"), event->id, DEFERRED_TEXT);
  deferred_note(lua, user ? STR("user") : STR("subject"), event->entity.id, DEFERRED_TEXT);
  deferred_mark(lua);
  if (timestamp) return;
  lua_pushliteral(lua, "timestamp");
  lua_pushnumber(lua, (lua_Number)event->timestamp);
  lua_rawset(lua, -3);
}

void event_table_push_other(lua_State *lua, const struct event *event) {
  build(lua, engine_of(lua), event, NULL);
}

static void set_text(lua_State *lua, const char *name, struct str text) {
  lua_pushlstring(lua, text.data, text.len);
  lua_setfield(lua, -2, name);
}

void event_table_push_whole(lua_State *lua, const struct event *event) {
  lua_createtable(lua, 0, 6);
  sandbox_lend(sandbox_of(lua), lua, LOAN_CALL);
  sandbox_hold(lua);
  set_text(lua, "id", event->id);
  set_text(lua, "type", event->type);
  set_text(lua, event->entity.kind == ENTITY_USER ? "user" : "subject", event->entity.id);
  lua_pushnumber(lua, (lua_Number)event->timestamp);
  lua_setfield(lua, -2, "timestamp");
  convert_push_lent(lua, map_or_empty(event->payload));
  lua_setfield(lua, -2, "payload");
  convert_push_lent(lua, map_or_empty(event->metadata));
  lua_setfield(lua, -2, "metadata");
}

void event_table_push(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  if (engine->event_built) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.event);
    return;
  }
  sandbox_take_back(&engine->sandbox); // of a table that had no room, parts may be lent
  build(lua, engine, engine->call->event, &engine->call->event->timestamp);
  lua_pushvalue(lua, -1);
  lua_rawseti(lua, LUA_REGISTRYINDEX, engine->refs.event);
  engine->event_built = true;
}
