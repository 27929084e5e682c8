/* The `flight` of a journey's newer source, where it is a function: what it makes of one under way. */
#include "engine/convert.h"
#include "engine/internal.h"

/** The event of a wait, or what a step was answered. */
static void push_answer(lua_State *lua, const struct journey_step *step) {
  struct journey_answer answer;
  struct event event;
  if (step->failed) {
    lua_pushnil(lua);
    return;
  }
  if (!journey_op_waits(step->op)) {
    convert_push_lent(lua, step->answer);
    return;
  }
  struct reader reader = {0};
  bool read = journey_answer_decode(&answer, step->answer);
  if (read) reader = reader_of(answer.event);
  if (read && answer.event.len && event_decode(&event, &reader, NULL) == 0) {
    event_table_push_other(lua, &event);
    sandbox_hold(lua); // `flight` may let go of it, and its address is lent
  } else {
    lua_pushnil(lua);
  }
}

/** { { op, step, answer, error }, … }, oldest first. */
static void push_history(lua_State *lua, const struct journey *journey) {
  struct reader reader = reader_of(journey->history);
  struct journey_step step;
  lua_createtable(lua, (int)journey->steps, 0);
  for (int i = 1; journey_step_next(&reader, &step); i++) {
    lua_createtable(lua, 0, 3);
    lua_pushstring(lua, journey_op_name(step.op));
    lua_setfield(lua, -2, "op");
    lua_pushlstring(lua, step.label.data, step.label.len);
    lua_setfield(lua, -2, "step");
    push_answer(lua, &step);
    lua_setfield(lua, -2, "answer");
    if (step.failed) {
      lua_pushlstring(lua, step.answer.data, step.answer.len);
      lua_setfield(lua, -2, "error");
    }
    lua_rawseti(lua, -2, i);
  }
}

void engine_migrate_journey(lua_State *lua, struct engine *engine, const struct engine_code *code) {
  struct engine_journey_call *call = engine->call->journey;
  engine->phase = ENGINE_WHEN;
  engine->replay = (struct engine_replay){0};
  luaL_checkstack(lua, 16, "too deep");
  engine_push_handler(lua, engine, code->migrate);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.journey);
  push_history(lua, call->journey);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.user);
  lua_call(lua, 3, 1);
  engine->call->acted = !lua_isnil(lua, -1);
  buf_clear(&call->handed);
  if (engine->call->acted)
    convert_read(lua, -1, &call->handed, JOURNEY_HANDED_MAX, "the state that `flight` makes");
}
