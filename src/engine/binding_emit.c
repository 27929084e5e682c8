/* user:emit, journey:emit: an event that a rule derives from what it saw, decided right after the rules of
 * the present one.
 */
#include "engine/convert.h"
#include "engine/internal.h"

#include <stdio.h>

enum { EMIT_PAYLOAD_MAX = 16 << 10 };

/** Note the event that the table at `index` describes among what the call under way emits; raises for a wrong
 * one, and for one too many. @param method  "user:emit" */
static void emit_event(lua_State *lua, int index, const char *method) {
  static const char *const fields[] = {"type", "payload", NULL};
  struct engine *engine = engine_of(lua);
  struct engine_call *call = engine->call;
  binding_check_fields(lua, index, fields, method);
  struct str type = binding_field(lua, index, "type", true, method);
  if (type.len > EVENT_ID_MAX || memchr(type.data, 0, type.len))
    sandbox_raise(lua, ERROR_SCRIPT, "%s: the event type has at most %d letters", method, EVENT_ID_MAX);
  if (event_type_is_host(type))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s: event types that begin with \"segment.\" are the host's own; choose another name",
                  method);
  if (call->emitted_count >= call->emit_max)
    sandbox_raise(lua, ERROR_LIMIT,
                  "%s: one event may lead to %d further ones, those that they lead to included", method,
                  ENGINE_EMIT_MAX);
  buf_clear(&engine->data);
  if (binding_raw_field(lua, index, "payload"))
    convert_read_map(lua, lua_gettop(lua), &engine->data, EMIT_PAYLOAD_MAX, "the payload of an event");
  else
    value_put_map(&engine->data, 0);
  buf_put_str(&call->emitted, type);
  buf_put_str(&call->emitted, buf_str(&engine->data));
  call->emitted_count++;
}

int binding_emit(lua_State *lua) {
  const char *method;
  char label[JOURNEY_LABEL_MAX];
  struct str type = {"", 0};
  binding_either_call(lua, "user:emit", "journey:emit", &method);
  if (lua_istable(lua, 2)) deferred_complete(lua, 2);
  if (lua_istable(lua, 2) && binding_raw_field(lua, 2, "type") && lua_type(lua, -1) == LUA_TSTRING)
    type.data = lua_tolstring(lua, -1, &type.len);
  int len = snprintf(label, sizeof label, "emit %.*s", (int)(type.len < 80 ? type.len : 80), type.data);
  if (history_answers(lua, JOURNEY_EMIT, (struct str){label, (size_t)len}, hash64(type, 0))) return 0;
  emit_event(lua, 2, method);
  lua_pushnil(lua);
  history_note(lua);
  return 0;
}
