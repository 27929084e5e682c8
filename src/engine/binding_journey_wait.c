/* journey:wait, wait_until, wait_for: where the function of a journey ends itself until something happens. */
#include "base/zone.h"
#include "engine/convert.h"
#include "engine/internal.h"

#include <math.h>
#include <stdio.h>

enum { TYPES_MAX = 16 };

/** What is waited for, on its way into the call. */
struct waiting {
  const char *method;
  enum journey_op op;
  int64_t due;
  enum journey_late late;
  int64_t late_after;
};

static const char *const late_fields[] = {"late", "late_after", NULL};

/** The wait's own policy from the table at `index`, or the journey's. */
static void take_late(lua_State *lua, int index, struct waiting *waiting) {
  const struct engine *engine = engine_of(lua);
  const struct engine_journey *journey = engine->rules[engine->rule].journey;
  waiting->late = journey->late;
  waiting->late_after = journey->late_after;
  if (!lua_istable(lua, index)) return;
  struct str late = binding_field(lua, index, "late", false, waiting->method);
  if (binding_raw_field(lua, index, "late_after"))
    waiting->late_after = binding_duration(lua, -1, "late_after");
  if (!late.len) return;
  if (str_equal(late, STR("fire")))
    waiting->late = JOURNEY_LATE_FIRE;
  else if (str_equal(late, STR("skip")))
    waiting->late = JOURNEY_LATE_SKIP;
  else if (str_equal(late, STR("exit")))
    waiting->late = JOURNEY_LATE_EXIT;
  else
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "%s: late = \"fire\" (it goes on all the same), \"skip\" (it sends nothing before its next wait) or "
        "\"exit\", not \"%.*s\"",
        waiting->method, STR_ARG(late));
}

/** It begins to wait: the call ends. `text` has the label and the types, in this order. */
_Noreturn static void begin(lua_State *lua, const struct waiting *waiting, size_t label_len) {
  struct engine *engine = engine_of(lua);
  struct engine_journey_call *call = engine->call->journey;
  struct str text = buf_str(&call->text);
  call->wait = (struct journey_wait){.op = waiting->op,
                                     .arguments = engine->replay.asked.arguments,
                                     .label = {text.data, label_len},
                                     .line = sandbox_line(lua),
                                     .due = waiting->due,
                                     .set_at = engine->call->wall,
                                     .late = waiting->late,
                                     .late_after = waiting->late_after,
                                     .on = {text.data + label_len, text.len - label_len},
                                     .got = {"", 0}};
  call->came = ENGINE_JOURNEY_WAITS;
  sandbox_suspend(lua);
}

_Noreturn static void go_on_waiting(lua_State *lua) {
  engine_of(lua)->call->journey->came = ENGINE_JOURNEY_STILL;
  sandbox_suspend(lua);
}

/** The wait ends by this input: what time it is for the journey does not go back. */
static void end(lua_State *lua, const struct event *event) {
  struct engine *engine = engine_of(lua);
  if (engine->replay.input_now > engine->call->now) engine->call->now = engine->replay.input_now;
  history_wait_over(lua, event);
}

/** A wait for a time, whose label is in the call's text. @return whether it is over; else it is to begin. */
static bool is_over(lua_State *lua, const struct waiting *waiting, uint64_t arguments) {
  struct engine_journey_call *call = engine_of(lua)->call->journey;
  struct journey_answer answer;
  bool pending;
  if (history_waited(lua, waiting->op, buf_str(&call->text), arguments, &answer, &pending)) return true;
  if (pending && !call->timed) go_on_waiting(lua);
  if (pending) end(lua, NULL);
  return pending;
}

/** It begins, unless its time has passed already. */
static void wait_for_time(lua_State *lua, const struct waiting *waiting) {
  struct engine *engine = engine_of(lua);
  struct engine_journey_call *call = engine->call->journey;
  if (waiting->due > engine->call->now) {
    call->text.len = engine->replay.asked.label.len;
    begin(lua, waiting, call->text.len);
  }
  history_wait_over(lua, NULL);
}

/** When `phrase` ("next weekday 09:00") is next after now, where the user lives; raises with what may be
 * written. */
static int64_t upcoming(lua_State *lua, struct str phrase) {
  struct engine *engine = engine_of(lua);
  const struct zone *zone;
  struct str attribute;
  struct value name = {.type = VALUE_NIL};
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.upcoming);
  lua_pushlstring(lua, phrase.data, phrase.len);
  lua_pushnumber(lua, (lua_Number)engine->call->now);
  if (record_attribute(engine->call->draft->record, STR("time_zone"), &attribute))
    name = value_head(attribute);
  if (name.type == VALUE_STRING && zone_find(&zone, name.string, NULL) == 0)
    lua_pushlstring(lua, name.string.data, name.string.len);
  else
    lua_pushnil(lua); // the configuration's
  lua_pushliteral(lua, "journey:wait_until");
  engine->replay.on = false; // it is not asked again: what came of it is when the wait is over
  int status = sandbox_try(lua, 4, 1);
  engine->replay.on = true; // also where a pcall of the rule's catches what is wrong with the phrase
  if (status) lua_error(lua);
  int64_t due = (int64_t)lua_tonumber(lua, -1);
  lua_pop(lua, 1);
  return due;
}

/** wait("1h"[, { late = "skip", late_after = "2h" }]) */
static int journey_wait(lua_State *lua) {
  struct engine_journey_call *call = binding_journey_call(lua, "journey:wait");
  struct waiting waiting = {.method = "journey:wait", .op = JOURNEY_WAIT};
  struct str text;
  int64_t length = binding_duration(lua, 2, "the time given to journey:wait");
  text.data = lua_tolstring(lua, 2, &text.len);
  if (!lua_isnoneornil(lua, 3)) binding_check_fields(lua, 3, late_fields, waiting.method);
  take_late(lua, 3, &waiting);
  waiting.due = engine_of(lua)->call->now + length;
  buf_clear(&call->text);
  buf_printf(&call->text, "wait \"%.*s\"", STR_ARG(text));
  if (!is_over(lua, &waiting, (uint64_t)length)) wait_for_time(lua, &waiting);
  return 0;
}

/** wait_until(ms since the epoch, or a phrase such as "next weekday 09:00"[, { late = … }]) */
static int journey_wait_until(lua_State *lua) {
  struct engine_journey_call *call = binding_journey_call(lua, "journey:wait_until");
  struct waiting waiting = {.method = "journey:wait_until", .op = JOURNEY_WAIT_UNTIL};
  struct str phrase = {NULL, 0};
  uint64_t arguments;
  if (!lua_isnoneornil(lua, 3)) binding_check_fields(lua, 3, late_fields, waiting.method);
  take_late(lua, 3, &waiting);
  buf_clear(&call->text);
  if (lua_type(lua, 2) == LUA_TSTRING) {
    phrase.data = lua_tolstring(lua, 2, &phrase.len);
    arguments = hash64(phrase, 0);
    buf_printf(&call->text, "wait_until \"%.60s\"", phrase.data);
  } else {
    lua_Number due = lua_type(lua, 2) == LUA_TNUMBER ? lua_tonumber(lua, 2) : NAN;
    if (!(due >= 0 && due < 0x1p53))
      sandbox_raise(
          lua, ERROR_SCRIPT,
          "journey:wait_until takes a time: \"09:00\", \"tomorrow 09:00\", \"next weekday 09:00\", or "
          "milliseconds since 1970");
    waiting.due = (int64_t)due;
    arguments = (uint64_t)waiting.due;
    buf_printf(&call->text, "wait_until %.0f", due);
  }
  if (is_over(lua, &waiting, arguments)) return 0;
  if (phrase.data) waiting.due = upcoming(lua, phrase);
  wait_for_time(lua, &waiting);
  return 0;
}

/** The types in field `on`: text or a list, into the call's text behind the label, and their hash. */
static uint64_t take_types(lua_State *lua, struct buf *types) {
  static const char shape[] = "write journey:wait_for { on = \"message.clicked\", within = \"1d\" }";
  uint64_t hash = 0;
  struct str type;
  binding_raw_field(lua, 2, "on");
  bool list = lua_istable(lua, -1);
  size_t count = list ? lua_objlen(lua, -1) : 1;
  if (count > TYPES_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "journey:wait_for: `on` has more than %d event types", TYPES_MAX);
  if (list && !count) sandbox_raise(lua, ERROR_SCRIPT, "journey:wait_for: `on` is an empty list; %s", shape);
  if (lua_isnil(lua, -1)) sandbox_raise(lua, ERROR_SCRIPT, "journey:wait_for needs `on`; %s", shape);
  for (size_t i = 1; i <= count; i++) {
    if (list)
      lua_rawgeti(lua, -1, (int)i);
    else
      lua_pushvalue(lua, -1);
    if (lua_type(lua, -1) != LUA_TSTRING || !lua_objlen(lua, -1) || lua_objlen(lua, -1) > EVENT_ID_MAX)
      sandbox_raise(lua, ERROR_SCRIPT, "journey:wait_for: `on` names an event type, or a list of them; %s",
                    shape);
    type.data = lua_tolstring(lua, -1, &type.len);
    journey_put_type(types, type);
    hash = hash64(type, hash);
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
  return hash;
}

/** Whether the event of this input is the one: its type is, and `where` at `index` says so. */
static bool is_meant(lua_State *lua, struct str types, int index) {
  struct engine *engine = engine_of(lua);
  const struct engine_call *call = engine->call;
  if (!call->event || call->journey->timed || !journey_has_type(types, call->event->type)) return false;
  if (event_now(call->event) > call->journey->journey->wait.due) return false; // its time was over
  if (lua_isnil(lua, index)) return true;
  sandbox_descend(&engine->sandbox, lua);
  engine->replay.on = false;
  engine->phase = ENGINE_WHEN;
  int64_t now = engine->call->now;
  struct sandbox_dice dice =
      engine->sandbox.dice; // a replay does not ask it: its dice are not the function's
  if (engine->replay.input_now > now) engine->call->now = engine->replay.input_now;
  lua_pushvalue(lua, index);
  event_table_push(lua);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.journey);
  int status = sandbox_try(lua, 2, 1);
  bool meant = lua_toboolean(lua, -1);
  engine->call->now = now;
  engine->sandbox.dice = dice;
  engine->phase = ENGINE_ACT;
  engine->replay.on = true;
  sandbox_ascend(&engine->sandbox);
  // Caught, it would end the wait by an event of which nobody knows whether it is meant.
  if (status && engine->sandbox.depth)
    sandbox_end(lua, ERROR_SCRIPT, "`where` of journey:wait_for failed: %s",
                lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : luaL_typename(lua, -1));
  if (status) lua_error(lua);
  lua_pop(lua, 1);
  return meant;
}

static void push_stored(lua_State *lua, struct str bytes) {
  struct reader reader = reader_of(bytes);
  struct event event;
  struct error err;
  if (event_decode(&event, &reader, &err)) sandbox_end(lua, err.code, "%s", err.message);
  event_table_push_whole(lua, &event);
}

/** wait_for { on = type or types, within = "1d", where = function(event, journey) … end } -> the event, or
 * nil: its time is over. */
static int journey_wait_for(lua_State *lua) {
  static const char *const fields[] = {"on", "within", "where", "late", "late_after", NULL};
  struct engine *engine = engine_of(lua);
  struct engine_journey_call *call = binding_journey_call(lua, "journey:wait_for");
  struct waiting waiting = {.method = "journey:wait_for", .op = JOURNEY_WAIT_FOR, .due = INT64_MAX};
  struct journey_answer answer;
  bool pending;
  lua_settop(lua, 2);
  binding_check_fields(lua, 2, fields, waiting.method);
  take_late(lua, 2, &waiting);
  buf_clear(&engine->map);
  uint64_t arguments = take_types(lua, &engine->map);
  struct str types = buf_str(&engine->map);
  buf_clear(&call->text);
  buf_printf(&call->text, "wait_for");
  struct reader reader = reader_of(types);
  for (const char *comma = " "; reader_left(&reader); comma = ", ") {
    struct str type = reader_str(&reader);
    if (call->text.len < JOURNEY_LABEL_MAX) buf_printf(&call->text, "%s%.*s", comma, STR_ARG(type));
  }
  if (binding_raw_field(lua, 2, "within")) {
    int64_t within = binding_duration(lua, -1, "`within` of journey:wait_for");
    waiting.due = engine->call->now + within;
    arguments = hash64((struct str){(const char *)&within, sizeof within}, arguments);
    buf_printf(&call->text, " within %s", lua_tostring(lua, -1));
  }
  binding_raw_field(lua, 2, "where");
  int where = lua_gettop(lua);
  if (!lua_isnil(lua, where) && !lua_isfunction(lua, where))
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "`where` of journey:wait_for must be a function: where = function(event, journey) return … end");
  if (history_waited(lua, waiting.op, buf_str(&call->text), arguments, &answer, &pending)) {
    if (answer.event.len)
      push_stored(lua, answer.event);
    else
      lua_pushnil(lua);
    return 1;
  }
  struct str label = engine->replay.asked.label;
  if (!pending && waiting.due > engine->call->now) {
    buf_clear(&call->text);
    buf_append(&call->text, label.data, label.len);
    buf_append(&call->text, types.data, types.len);
    begin(lua, &waiting, label.len);
  }
  const struct journey_wait *wait = &call->journey->wait;
  if (!pending || call->timed) {
    struct event got;
    struct reader stored = reader_of(pending ? wait->got : STR(""));
    bool has = reader_left(&stored) && event_decode(&got, &stored, NULL) == 0;
    if (pending)
      end(lua, has ? &got : NULL);
    else
      history_wait_over(lua, NULL);
    if (has)
      event_table_push_whole(lua, &got);
    else
      lua_pushnil(lua);
    return 1;
  }
  if (wait->got.len || !is_meant(lua, types, where)) go_on_waiting(lua);
  if (call->held) {
    buf_clear(&engine->data);
    event_encode(engine->call->event, &engine->data);
    history_check_event(lua, engine->data.len);
    call->came = ENGINE_JOURNEY_GOT;
    sandbox_suspend(lua);
  }
  end(lua, engine->call->event);
  event_table_push(lua);
  return 1;
}

const luaL_Reg binding_journey_wait[] = {
    {"wait", journey_wait}, {"wait_until", journey_wait_until}, {"wait_for", journey_wait_for}, {NULL, NULL}};
