/* kairos.segment, kairos.segment.reached and user:in_segment. */
#include "engine/internal.h"

#include <math.h>
#include <stdio.h>

const char object_segment[] = "segment";

/** segment(definition): the object that a rule file returns; the definition is its environment. */
int binding_declare_segment(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  if (!sandbox_of(lua)->loading)
    sandbox_raise(lua, ERROR_SCRIPT, "kairos.segment belongs at the top of the file, outside of functions");
  struct segment_object *segment = lua_newuserdata(lua, sizeof *segment);
  *segment = (struct segment_object){.object.type = object_segment};
  lua_pushvalue(lua, 1);
  lua_setfenv(lua, -2);
  return 1;
}

/** reached(moment, ms) -> whether it has come. A segment is judged again when it does. */
int binding_reached(lua_State *lua) {
  static const char method[] = "kairos.segment.reached";
  struct engine *engine = engine_of(lua);
  if (!engine->call)
    sandbox_raise(lua, ERROR_SCRIPT, "%s is known while somebody is judged, not while the file is loaded",
                  method);
  lua_Number moment = lua_type(lua, 1) == LUA_TNUMBER ? lua_tonumber(lua, 1) : NAN;
  if (!(fabs(moment) < 0x1p53))
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "%s takes a time in milliseconds since 1970, such as user.trial_ends, not %s; if it may be missing, "
        "ask for it first: user.trial_ends and …",
        method, lua_isnumber(lua, 1) ? "this number" : luaL_typename(lua, 1));
  int64_t from = (int64_t)ceil(moment);
  if (engine->call->now < from) binding_note_change(engine, from);
  lua_pushboolean(lua, engine->call->now >= from);
  return 1;
}

void binding_refuse_in_member(lua_State *lua, const char *method) {
  if (engine_of(lua)->phase == ENGINE_MEMBER)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "`member` only answers whether the user is in the segment; write %s(…) in a rule with on = "
                  "kairos.segment.entered \"%.*s\"",
                  method, STR_ARG(engine_of(lua)->segments[engine_of(lua)->segment].name));
}

static bool reads(const struct engine *engine, int segment) {
  const struct engine_segment *judged = &engine->segments[engine->segment];
  for (size_t i = 0; i < judged->read_count; i++)
    if ((int)judged->reads[i] == segment) return true;
  return false;
}

static void check_known(lua_State *lua, struct engine *engine, struct str name) {
  int segment = engine_segment_of(engine, name);
  if (segment < 0 && !engine->options.partial) {
    buf_clear(&engine->text);
    engine_list_segments(engine, name, &engine->text);
    sandbox_raise(lua, ERROR_SCRIPT, "user:in_segment: there is no segment `%.*s`%.*s", STR_ARG(name),
                  STR_ARG(buf_str(&engine->text)));
  }
  // What it reads is judged before it, and it again when that has changed: so the host must know.
  if (engine->phase == ENGINE_MEMBER && !reads(engine, segment))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "the segment `%.*s` asks whether the user is in `%.*s`, and does not say so: write reads = "
                  "{ \"%.*s\" } "
                  "beside `member`",
                  STR_ARG(engine->segments[engine->segment].name), STR_ARG(name), STR_ARG(name));
}

/** in_segment(name) -> whether the user is in it. */
static int user_in_segment(lua_State *lua) {
  static const char method[] = "user:in_segment";
  struct engine *engine = engine_of(lua);
  const struct engine_call *call = binding_call(lua, method);
  struct str name;
  if (lua_type(lua, 2) != LUA_TSTRING || lua_objlen(lua, 2) == 0)
    sandbox_raise(lua, ERROR_SCRIPT, "write user:in_segment(\"name of the segment\")");
  name.data = lua_tolstring(lua, 2, &name.len);
  check_known(lua, engine, name);
  char label[JOURNEY_LABEL_MAX];
  int len = snprintf(label, sizeof label, "in segment %.*s", (int)(name.len < 64 ? name.len : 64), name.data);
  if (history_answers(lua, JOURNEY_READ, (struct str){label, (size_t)len}, hash64(name, 0))) return 1;
  bool in = record_segment(call->draft->record, name, NULL);
  if (facts_begin(&engine->facts, hash64(name, hash64(STR("segment"), 0)), STR("segment"), name))
    value_put_bool(&engine->facts.body, in);
  lua_pushboolean(lua, in);
  return history_note(lua);
}

const luaL_Reg binding_segment[] = {{"in_segment", user_in_segment}, {NULL, NULL}};
