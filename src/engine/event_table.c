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

static void build(lua_State *lua, struct engine *engine, const struct event *event) {
  bool user = event->entity.kind == ENTITY_USER;
  lua_createtable(lua, 0, FIELDS_TOUCHED);
  sandbox_lend(&engine->sandbox, lua, LOAN_INPUT);
  deferred_begin(lua);
  deferred_note(lua, STR("payload"), map_or_empty(event->payload), DEFERRED_PAYLOAD);
  deferred_note(lua, STR("metadata"), map_or_empty(event->metadata), DEFERRED_VALUE);
  deferred_note(lua, STR("type"), event->type, DEFERRED_TEXT);
  deferred_note(lua, STR("timestamp"), (struct str){(const char *)&event->timestamp, sizeof event->timestamp},
                DEFERRED_TIME);
  deferred_note(lua, STR("id"), event->id, DEFERRED_TEXT);
  deferred_note(lua, user ? STR("user") : STR("subject"), event->entity.id, DEFERRED_TEXT);
  deferred_mark(lua);
}

void event_table_push(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  if (engine->event_built) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.event);
    return;
  }
  sandbox_take_back(&engine->sandbox); // of a table that had no room, parts may be lent
  build(lua, engine, engine->call->event);
  lua_pushvalue(lua, -1);
  lua_rawseti(lua, LUA_REGISTRYINDEX, engine->refs.event);
  engine->event_built = true;
}
