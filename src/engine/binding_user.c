/* `user`: what a rule knows of a user and asks for. One object a state; whose user it is, the call under way
 * says. */
#include "base/suggest.h"
#include "engine/convert.h"
#include "engine/internal.h"
#include "state/consent.h"

#include <stdio.h>

const char object_user[] = "user";

enum {
  ATTRIBUTE_NAME_MAX = 64,
  ATTRIBUTE_BYTES_MAX = 4 << 10,
  KEY_MAX = 256,
  EFFECTS_BYTES_MAX = 1 << 20 /**< of one call: each is logged, also those that overwrite one another */
};

/* ---- what the bindings share ---- */

struct engine_call *binding_call(lua_State *lua, const char *method) {
  struct engine *engine = engine_of(lua);
  if (lua_touserdata(lua, 1) != engine->user)
    sandbox_raise(lua, ERROR_SCRIPT, "write %s(…) with a colon", method);
  if (!engine->call)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s is for when, act and timers: there is no user while the file is loaded", method);
  return engine->call;
}

struct engine_call *binding_acting_call(lua_State *lua, const char *method) {
  struct engine_call *call = binding_call(lua, method);
  binding_refuse_in_member(lua, method);
  if (engine_of(lua)->phase == ENGINE_WHEN)
    sandbox_raise(lua, ERROR_SCRIPT, "`when` only answers whether the rule acts; write %s(…) in `act`",
                  method);
  return call;
}

struct engine_call *binding_either_call(lua_State *lua, const char *user_method, const char *journey_method,
                                        const char **method) {
  struct engine *engine = engine_of(lua);
  bool journey = lua_touserdata(lua, 1) == engine->journey;
  *method = journey ? journey_method : user_method;
  if (!journey) return binding_acting_call(lua, user_method);
  binding_journey_call(lua, journey_method);
  return engine->call;
}

void binding_effect(lua_State *lua, const struct effect *effect) {
  struct draft *draft = engine_of(lua)->call->draft;
  struct error err;
  error_none(&err);
  int rc = draft_add(draft, effect, &err);
  if (rc == ERROR_INVALID) // a payload as deep as can be, in a table of the rule's own
    sandbox_raise(lua, ERROR_SCRIPT, "the value given is nested too deeply");
  if (rc) sandbox_raise(lua, rc, "%s", err.message);
  if (draft->effects.len - draft->mark.effects > EFFECTS_BYTES_MAX)
    sandbox_raise(lua, ERROR_LIMIT, "more than %d KB of changes to the user for one event",
                  EFFECTS_BYTES_MAX >> 10);
}

struct str binding_key(lua_State *lua, int index, const char *method) {
  struct engine *engine = engine_of(lua);
  struct str text;
  int type = lua_type(lua, index);
  if (type == LUA_TSTRING) {
    text.data = lua_tolstring(lua, index, &text.len);
  } else if (type == LUA_TNUMBER || type == LUA_TBOOLEAN) {
    // As the host writes the keys of windows: by way of the value.
    size_t at = engine->data.len;
    if (type == LUA_TNUMBER)
      value_put_number(&engine->data, lua_tonumber(lua, index));
    else
      value_put_bool(&engine->data, lua_toboolean(lua, index));
    buf_clear(&engine->text);
    value_key((struct str){(const char *)engine->data.data + at, engine->data.len - at}, &engine->text);
    engine->data.len = at;
    text = buf_str(&engine->text);
  } else {
    sandbox_raise(lua, ERROR_SCRIPT, "the key given to %s is a %s; it may be text, a number, true or false",
                  method, luaL_typename(lua, index));
  }
  if (!text.len) sandbox_raise(lua, ERROR_SCRIPT, "the key given to %s is empty", method);
  return text;
}

int64_t binding_duration(lua_State *lua, int index, const char *what) {
  struct str text;
  struct error err;
  int64_t ms;
  if (lua_type(lua, index) != LUA_TSTRING)
    sandbox_raise(lua, ERROR_SCRIPT, "%s must be a duration such as \"10m\", not %s%s", what,
                  lua_isnoneornil(lua, index) ? "" : "a ", luaL_typename(lua, index));
  text.data = lua_tolstring(lua, index, &text.len);
  if (quantity_duration(text, &ms, &err)) sandbox_raise(lua, ERROR_SCRIPT, "%s: %s", what, err.message);
  return ms;
}

void binding_check_fields(lua_State *lua, int index, const char *const *names, const char *what) {
  struct engine *engine = engine_of(lua);
  if (!lua_istable(lua, index))
    sandbox_raise(lua, ERROR_SCRIPT, "%s takes a table: %s { %s = … }", what, what, names[0]);
  deferred_complete(lua, index);
  // LuaJIT's order of keys differs from run to run, and what is said must not.
  struct str unknown = {NULL, 0}, found;
  bool unnamed = false;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    if (lua_type(lua, -1) != LUA_TSTRING) {
      unnamed = true;
      continue;
    }
    found.data = lua_tolstring(lua, -1, &found.len);
    const char *const *name = names;
    while (*name && !str_equal(found, str_from(*name))) name++;
    if (!*name && (!unknown.data || str_compare(found, unknown) < 0)) unknown = found;
  }
  if (unnamed) sandbox_raise(lua, ERROR_SCRIPT, "%s takes named fields: %s { %s = … }", what, what, names[0]);
  if (!unknown.data) return;
  struct suggestion suggestion = {0};
  for (const char *const *name = names; *name; name++)
    suggestion_offer(&suggestion, unknown, str_from(*name));
  buf_clear(&engine->text);
  suggestion_append(&suggestion, &engine->text);
  for (const char *const *name = names; *name; name++)
    buf_printf(&engine->text, "%s%s", name == names ? "; there are: " : ", ", *name);
  sandbox_raise(lua, ERROR_SCRIPT, "%s has no field `%.*s`%.*s", what, STR_ARG(unknown),
                STR_ARG(buf_str(&engine->text)));
}

bool binding_raw_field(lua_State *lua, int index, const char *name) {
  lua_pushstring(lua, name);
  lua_rawget(lua, index);
  return !lua_isnil(lua, -1);
}

struct str binding_field(lua_State *lua, int index, const char *name, bool required, const char *what) {
  struct str text = {"", 0};
  binding_raw_field(lua, index, name);
  if (lua_type(lua, -1) == LUA_TSTRING)
    text.data = lua_tolstring(lua, -1, &text.len);
  else if (!lua_isnil(lua, -1))
    sandbox_raise(lua, ERROR_SCRIPT, "`%s` of %s must be text, not a %s", name, what, luaL_typename(lua, -1));
  if (required && !text.len) sandbox_raise(lua, ERROR_SCRIPT, "%s needs `%s`", what, name);
  return text;
}

/* ---- attributes ---- */

/** Upvalue 1: the methods. A name that is no method is an attribute. */
static int user_index(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  struct str name, value;
  if (!engine->call) sandbox_raise(lua, ERROR_SCRIPT, "there is no user while the file is loaded");
  if (lua_type(lua, 2) != LUA_TSTRING)
    sandbox_raise(lua, ERROR_SCRIPT, "an attribute of the user is named by text: user.first_name");
  name.data = lua_tolstring(lua, 2, &name.len);
  if (str_equal(name, STR("id"))) {
    lua_pushlstring(lua, engine->call->entity.id.data, engine->call->entity.id.len);
    return 1;
  }
  uint64_t identity = hash64(name, 1);
  if (history_answers(lua, JOURNEY_READ, name, identity)) return 1;
  if (!record_attribute(engine->call->draft->record, name, &value)) {
    if (facts_begin(&engine->facts, identity, name, STR(""))) value_put_nil(&engine->facts.body);
    lua_pushnil(lua);
    return history_note(lua);
  }
  facts_put(&engine->facts, identity, name, STR(""), value);
  convert_push_lent(lua, value);
  return history_note(lua);
}

static int user_newindex(lua_State *lua) {
  sandbox_raise(lua, ERROR_SCRIPT, "write user:set(\"%s\", value)",
                lua_type(lua, 2) == LUA_TSTRING ? lua_tostring(lua, 2) : "name");
}

/** Whether `name` is one of `user`'s own. Upvalue 1: the methods. */
static bool reserved(lua_State *lua, struct str name) {
  if (str_equal(name, STR("id"))) return true;
  lua_pushvalue(lua, 2);
  lua_rawget(lua, lua_upvalueindex(1));
  bool method = !lua_isnil(lua, -1);
  lua_pop(lua, 1);
  return method;
}

/** set(name, value): text, a number, true, false, a small table, or nil to remove. */
int binding_set(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  struct str name;
  const char *method;
  binding_either_call(lua, "user:set", "journey:set", &method);
  if (lua_type(lua, 2) != LUA_TSTRING || lua_isnone(lua, 3))
    sandbox_raise(lua, ERROR_SCRIPT, "write %s(\"name\", value); nil removes it", method);
  name.data = lua_tolstring(lua, 2, &name.len);
  if (!name.len || name.len > ATTRIBUTE_NAME_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "the name of an attribute has 1 to %d letters", ATTRIBUTE_NAME_MAX);
  if (reserved(lua, name))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s: `%.*s` means something else already (user.%.*s); choose another name", method,
                  STR_ARG(name), STR_ARG(name));
  buf_clear(&engine->data);
  convert_read(lua, 3, &engine->data, ATTRIBUTE_BYTES_MAX,
               method[0] == 'u' ? "the value given to user:set" : "the value given to journey:set");
  char label[JOURNEY_LABEL_MAX];
  int len = snprintf(label, sizeof label, "set %.*s", STR_ARG(name));
  if (history_answers(lua, JOURNEY_SET, (struct str){label, (size_t)len},
                      hash64(buf_str(&engine->data), hash64(name, 0))))
    return 0;
  binding_effect(lua,
                 &(struct effect){.type = EFFECT_ATTRIBUTE, .attribute = {name, buf_str(&engine->data)}});
  lua_pushnil(lua);
  history_note(lua);
  return 0;
}

/** once(key, "7d") -> true the first time in that time. */
static int user_once(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  const struct engine_call *call = binding_call(lua, "user:once");
  binding_refuse_in_member(lua, "user:once");
  struct str key_text = binding_key(lua, 2, "user:once");
  if (key_text.len > KEY_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "the key given to user:once is longer than %d letters", KEY_MAX);
  struct str campaign = engine->rules[engine->rule].campaign;
  uint64_t key = engine_own_key(engine, hash64(key_text, hash64(campaign, hash64(STR("once"), 0))));
  int64_t until, over = binding_duration(lua, 3, "the time given to user:once");
  char label[JOURNEY_LABEL_MAX];
  int len = snprintf(label, sizeof label, "once [%.*s]", (int)(key_text.len < 80 ? key_text.len : 80),
                     key_text.data);
  if (history_answers(lua, JOURNEY_READ, (struct str){label, (size_t)len}, key + (uint64_t)over)) return 1;
  bool stands = record_once(call->draft->record, key, call->now, &until);
  if (facts_begin(&engine->facts, key, STR("once"), key_text)) value_put_bool(&engine->facts.body, !stands);
  if (!stands) binding_effect(lua, &(struct effect){.type = EFFECT_ONCE, .once = {key, call->now + over}});
  lua_pushboolean(lua, !stands);
  return history_note(lua);
}

/** consents(purpose, channel) -> whether a message of this purpose may go as far as the user's word goes. */
static int user_consents(lua_State *lua) {
  static const char method[] = "user:consents";
  struct engine *engine = engine_of(lua);
  const struct engine_call *call = binding_call(lua, method);
  if (lua_type(lua, 2) != LUA_TSTRING || lua_objlen(lua, 2) == 0 ||
      (!lua_isnoneornil(lua, 3) && lua_type(lua, 3) != LUA_TSTRING))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "write user:consents(\"newsletter\") or user:consents(\"newsletter\", \"email\")");
  struct str name, channel = STR("*");
  name.data = lua_tolstring(lua, 2, &name.len);
  if (lua_type(lua, 3) == LUA_TSTRING) {
    channel.data = lua_tolstring(lua, 3, &channel.len);
    if (config_channel(channel) < 0) {
      buf_clear(&engine->text);
      engine_list_channels(channel, &engine->text);
      sandbox_raise(lua, ERROR_SCRIPT, "there is no channel `%.*s`%.*s", STR_ARG(channel),
                    STR_ARG(buf_str(&engine->text)));
    }
  }
  char label[JOURNEY_LABEL_MAX];
  int len = snprintf(label, sizeof label, "consents [%.*s%s%.*s]", (int)(name.len < 60 ? name.len : 60),
                     name.data, lua_isnoneornil(lua, 3) ? "" : " on ",
                     lua_isnoneornil(lua, 3) ? 0 : (int)channel.len, channel.data);
  if (history_answers(lua, JOURNEY_READ, (struct str){label, (size_t)len}, hash64(name, hash64(channel, 0))))
    return 1;
  const struct config_purpose *purpose = config_purpose(engine->options.config, binding_purpose(lua, name));
  bool consents = consent_allows(call->draft->record, purpose, channel, NULL);
  buf_clear(&engine->text);
  buf_printf(&engine->text, "%.*s%s%.*s", STR_ARG(name), lua_isnoneornil(lua, 3) ? "" : " on ",
             lua_isnoneornil(lua, 3) ? 0 : (int)channel.len, channel.data);
  struct str key = buf_str(&engine->text);
  if (facts_begin(&engine->facts, hash64(key, hash64(STR("consents"), 0)), STR("consents"), key))
    value_put_bool(&engine->facts.body, consents);
  lua_pushboolean(lua, consents);
  return history_note(lua);
}

/* ---- the object ---- */

static void add_methods(lua_State *lua, const luaL_Reg *methods) {
  for (; methods->name; methods++) {
    lua_pushcfunction(lua, methods->func);
    lua_setfield(lua, -2, methods->name);
  }
}

void binding_user_push(lua_State *lua) {
  static const luaL_Reg own[] = {{"once", user_once},
                                 {"consents", user_consents},
                                 {"send", binding_send},
                                 {"emit", binding_emit},
                                 {NULL, NULL}};
  struct object *user = lua_newuserdata(lua, sizeof *user);
  *user = (struct object){.type = object_user};
  lua_createtable(lua, 0, 4);
  lua_newtable(lua); // the methods
  add_methods(lua, own);
  add_methods(lua, binding_window);
  add_methods(lua, binding_timer);
  add_methods(lua, binding_segment);
  add_methods(lua, binding_experiment);
  lua_pushvalue(lua, -1);
  lua_pushcclosure(lua, binding_set, 1);
  lua_setfield(lua, -2, "set");
  lua_createtable(lua, 0, 1); // what the methods do not have is asked of user_index
  lua_pushcfunction(lua, user_index);
  lua_setfield(lua, -2, "__index");
  lua_setmetatable(lua, -2);
  lua_setfield(lua, -2, "__index");
  lua_pushcfunction(lua, user_newindex);
  lua_setfield(lua, -2, "__newindex");
  lua_pushboolean(lua, false);
  lua_setfield(lua, -2, "__metatable");
  lua_setmetatable(lua, -2);
}
