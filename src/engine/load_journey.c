/* What a campaign says of its journeys, taken in; the library has checked it (lua/kairos/journey.lua). */
#include "base/memory.h"
#include "engine/convert.h"
#include "engine/internal.h"

static struct str keep_text(lua_State *lua, const char *name) {
  struct str text = {"", 0};
  lua_getfield(lua, -1, name);
  if (lua_isstring(lua, -1)) {
    text.data = lua_tolstring(lua, -1, &text.len);
    text = engine_keep(engine_of(lua), text);
  }
  lua_pop(lua, 1);
  return text;
}

static int64_t number(lua_State *lua, const char *name) {
  lua_getfield(lua, -1, name);
  int64_t value = (int64_t)lua_tonumber(lua, -1);
  lua_pop(lua, 1);
  return value;
}

/** The exit on top: { on = { type, … }, where = function or nil }. Its types are added to `types`. */
static void take_exit(lua_State *lua, struct engine_exit *exit, struct buf *types) {
  lua_getfield(lua, -1, "on");
  size_t count = lua_objlen(lua, -1);
  struct str *on = memory_zalloc((count + 1) * sizeof *on);
  exit->on = on;
  exit->on_count = count;
  for (size_t i = 0; i < count; i++) {
    struct str type;
    lua_rawgeti(lua, -1, (int)i + 1);
    type.data = lua_tolstring(lua, -1, &type.len);
    on[i] = engine_keep(engine_of(lua), type);
    if (!journey_has_type(buf_str(types), type)) journey_put_type(types, type);
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
  lua_getfield(lua, -1, "where");
  exit->where = engine_keep_function(lua, engine_of(lua));
}

static enum journey_late late_of(struct str late) {
  return str_equal(late, STR("skip"))   ? JOURNEY_LATE_SKIP
         : str_equal(late, STR("exit")) ? JOURNEY_LATE_EXIT
                                        : JOURNEY_LATE_FIRE;
}

void engine_take_journey(lua_State *lua, struct engine_rule *rule, struct engine_code *code) {
  struct engine *engine = engine_of(lua);
  lua_getfield(lua, -1, "journey");
  if (lua_isnil(lua, -1)) {
    lua_pop(lua, 1);
    return;
  }
  struct engine_journey *journey = memory_zalloc(sizeof *journey);
  rule->journey = journey; // the engine's from here on, whatever is raised
  journey->when = code->when != 0;
  journey->key = keep_text(lua, "key");
  struct str again = keep_text(lua, "again"), flight = keep_text(lua, "flight");
  journey->again = str_equal(again, STR("restart"))    ? ENGINE_AGAIN_RESTART
                   : str_equal(again, STR("parallel")) ? ENGINE_AGAIN_PARALLEL
                                                       : ENGINE_AGAIN_IGNORE;
  journey->flight = str_equal(flight, STR("adopt"))     ? ENGINE_FLIGHT_ADOPT
                    : str_equal(flight, STR("migrate")) ? ENGINE_FLIGHT_MIGRATE
                                                        : ENGINE_FLIGHT_PIN;
  journey->late = late_of(keep_text(lua, "late"));
  journey->late_after = number(lua, "late_after");
  journey->goal_within = number(lua, "goal_within");
  lua_getfield(lua, -1, "goal");
  journey->goal = lua_toboolean(lua, -1);
  lua_pop(lua, 1);
  lua_getfield(lua, -1, "migrate");
  code->migrate = engine_keep_function(lua, engine_of(lua));
  lua_getfield(lua, -1, "exits");
  journey->exit_count = lua_objlen(lua, -1);
  journey->exits = memory_zalloc((journey->exit_count + 1) * sizeof *journey->exits);
  struct buf *types = &engine->map;
  buf_clear(types);
  for (size_t i = 0; i < journey->exit_count; i++) {
    lua_rawgeti(lua, -1, (int)i + 1);
    take_exit(lua, &journey->exits[i], types);
    lua_pop(lua, 1);
  }
  journey->types = engine_keep(engine, buf_str(types));
  lua_pop(lua, 2);
}

void engine_journey_free(const struct engine_journey *journey) {
  if (!journey) return;
  for (size_t i = 0; i < journey->exit_count; i++) memory_free((void *)journey->exits[i].on);
  memory_free(journey->exits);
  memory_free((void *)journey);
}
