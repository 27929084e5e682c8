/* user:after, user:at, user:cancel: timers by name, never by closure. */
#include "base/suggest.h"
#include "engine/convert.h"
#include "engine/internal.h"

#include <math.h>

enum { TIMER_DATA_MAX = 16 << 10 };

/** A journey waits; it has no timers. */
static void check_rule(lua_State *lua, const char *method) {
  const struct engine *engine = engine_of(lua);
  if (engine->rules[engine->rule].journey)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s is for rules: a journey waits; write journey:wait \"1h\" in its `run`", method);
}

/** A name that nothing handles would wake nobody. */
static void check_handled(lua_State *lua, struct str name, const char *method) {
  struct engine *engine = engine_of(lua);
  const struct engine_rule *rule = &engine->rules[engine->rule];
  struct suggestion suggestion = {0};
  for (size_t i = 0; i < rule->timer_count; i++) {
    if (str_equal(rule->timers[i], name)) return;
    suggestion_offer(&suggestion, name, rule->timers[i]);
  }
  buf_clear(&engine->text);
  suggestion_append(&suggestion, &engine->text);
  sandbox_raise(
      lua, ERROR_SCRIPT,
      "%s: the rule has no timer `%.*s`%.*s; write timers = { %.*s = function(timer, user) … end } in it",
      method, STR_ARG(name), STR_ARG(buf_str(&engine->text)), STR_ARG(name));
}

/** Whether one due then may have fired already. The mark is forgotten once no event from before it can come.
 */
static bool may_have_fired(const struct engine_call *call, int64_t due) {
  return due <= call->now || record_once(call->draft->record, TIMER_FIRED_KEY, due - 1, NULL);
}

/** Of what sets a timer: an input sets one of a name once. */
static uint64_t set_by(struct engine *engine) {
  buf_clear(&engine->text);
  engine_call_put_cause(engine->call, &engine->text);
  uint64_t hash = hash64(buf_str(&engine->text), 0);
  return hash ? hash : 1;
}

static int set_timer(lua_State *lua, const char *method, int64_t due) {
  static const char *const fields[] = {"name", "data", "cancel_on", "late", "late_after", NULL};
  struct engine *engine = engine_of(lua);
  binding_check_fields(lua, 3, fields, method);
  if (engine->call->after_timer && due <= engine->call->now)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s: a timer that leads to one due at its own time or before would fire for ever; name a "
                  "later time",
                  method);
  struct timer timer = {
      .campaign = engine->rules[engine->rule].campaign, .due = due, .set_at = engine->call->wall};
  timer.name = binding_field(lua, 3, "name", true, method);
  check_handled(lua, timer.name, method);
  if (may_have_fired(engine->call, due)) timer.set_by = set_by(engine);
  timer.cancel_on = binding_field(lua, 3, "cancel_on", false, method);
  if (timer.cancel_on.len > EVENT_ID_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "%s: cancel_on names an event type", method);
  struct str late = binding_field(lua, 3, "late", false, method);
  if (str_equal(late, STR("skip")))
    timer.late = TIMER_LATE_SKIP;
  else if (late.len && !str_equal(late, STR("fire")))
    sandbox_raise(lua, ERROR_SCRIPT, "%s: late = \"skip\" or \"fire\" (the default), not \"%.*s\"", method,
                  STR_ARG(late));
  if (binding_raw_field(lua, 3, "late_after")) timer.late_after = binding_duration(lua, -1, "late_after");
  if ((timer.late == TIMER_LATE_SKIP) != (timer.late_after > 0))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s: late = \"skip\" and late_after = \"1h\" (how late is too late) belong together",
                  method);
  if (binding_raw_field(lua, 3, "data")) {
    buf_clear(&engine->data);
    convert_read(lua, -1, &engine->data, TIMER_DATA_MAX, "data of a timer");
    timer.data = buf_str(&engine->data);
  }
  binding_effect(lua, &(struct effect){.type = EFFECT_TIMER_SET, .timer = timer});
  return 0;
}

/** after("5m", { name = … }): counted from now. */
static int user_after(lua_State *lua) {
  const struct engine_call *call = binding_acting_call(lua, "user:after");
  check_rule(lua, "user:after");
  return set_timer(lua, "user:after", call->now + binding_duration(lua, 2, "the time given to user:after"));
}

/** at(ms since the epoch, { name = … }). */
static int user_at(lua_State *lua) {
  binding_acting_call(lua, "user:at");
  check_rule(lua, "user:at");
  lua_Number due = lua_type(lua, 2) == LUA_TNUMBER ? lua_tonumber(lua, 2) : NAN;
  if (!(due >= 0 && due < 0x1p53))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "user:at takes a time in milliseconds since 1970, such as event.timestamp + 3600000");
  return set_timer(lua, "user:at", (int64_t)due);
}

/** cancel(name): a timer of this campaign; none is fine. */
static int user_cancel(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  struct str name;
  binding_acting_call(lua, "user:cancel");
  check_rule(lua, "user:cancel");
  if (lua_type(lua, 2) != LUA_TSTRING)
    sandbox_raise(lua, ERROR_SCRIPT, "write user:cancel(\"name of the timer\")");
  name.data = lua_tolstring(lua, 2, &name.len);
  check_handled(lua, name, "user:cancel");
  struct timer timer = {.campaign = engine->rules[engine->rule].campaign, .name = name};
  struct timer set;
  if (record_timer(engine->call->draft->record, timer.campaign, name, &set))
    binding_effect(lua, &(struct effect){.type = EFFECT_TIMER_CLEAR, .timer = timer});
  return 0;
}

const luaL_Reg binding_timer[] = {
    {"after", user_after}, {"at", user_at}, {"cancel", user_cancel}, {NULL, NULL}};
