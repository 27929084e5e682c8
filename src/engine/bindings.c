#include "engine/bindings.h"

#include "engine/engine.h"
#include "event/value.h"

/** A library table as rule files see it. */
struct library {
  const char *name;            /**< "" for what stands in no table */
  const luaL_Reg *functions;   /**< ours */
  const char *const *standard; /**< LuaJIT's, as they are */
};

static const char *const standard_base[] = {"assert", "error",  "getmetatable", "ipairs", "rawequal",
                                            "rawget", "select", "tonumber",     "type",   "unpack",
                                            NULL};
static const char *const standard_string[] = {"byte", "char", "len", "sub", NULL};
static const char *const standard_table[] = {NULL};
static const char *const standard_math[] = {
    "abs",   "acos", "asin",  "atan", "atan2", "ceil", "cos",   "cosh", "deg", "exp",
    "floor", "fmod", "frexp", "huge", "ldexp", "log",  "log10", "max",  "min", "modf",
    "pi",    "pow",  "rad",   "sin",  "sinh",  "sqrt", "tan",   "tanh", NULL};

static const struct library libraries[] = {{"", binding_base, standard_base},
                                           {"math", binding_math, standard_math},
                                           {"string", binding_string, standard_string},
                                           {"table", binding_table, standard_table}};
enum { LIBRARIES = sizeof libraries / sizeof *libraries };

/** What people look for and do not find. */
static const struct {
  const char *name, *instead;
} missing[] = {
    {"_G", "each file has its own globals; write `local`"},
    {"bit", "write the arithmetic out"},
    {"collectgarbage", "memory is the host's business"},
    {"coroutine", "to wait, set a timer: user:after(\"1h\", { name = … })"},
    {"debug", "a rule cannot look into the host"},
    {"dofile", "write require \"name\" for name.lua in the same folder"},
    {"event", "it is handed to `when` and `act`: function(event, user) … end"},
    {"ffi", "rules do no I/O"},
    {"getfenv", "each file has its own globals; write `local`"},
    {"io", "rules do no I/O; what they know is event and user"},
    {"jit", "compilation is the host's business"},
    {"kairos", "write local kairos = require \"kairos\" at the top of the file"},
    {"load", "code comes from the campaign's files alone"},
    {"loadfile", "write require \"name\" for name.lua in the same folder"},
    {"loadstring", "code comes from the campaign's files alone"},
    {"module", "return a table from the file, and require it"},
    {"needs", "it is handed to `when` and `act` of a rule with needs: function(event, user, needs) … end"},
    {"newproxy", "write setmetatable({}, …)"},
    {"os", "rules do no I/O and have no clock of their own; the time is event.timestamp or kairos.now()"},
    {"package", "write require \"name\" for name.lua in the same folder"},
    {"setfenv", "each file has its own globals; write `local`"},
    {"timer", "it is handed to the functions of `timers`: function(timer, user) … end"},
    {"user", "it is handed to `when`, `act` and the functions of `timers`: function(event, user) … end"},
    {"xpcall", "write pcall(f)"},
};

const char *bindings_missing(struct str name) {
  for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
    if (str_equal(name, str_from(missing[i].name))) return missing[i].instead;
  return NULL;
}

static uint32_t count_names(const struct library *library) {
  uint32_t count = 0;
  for (const char *const *name = library->standard; *name; name++) count++;
  for (const luaL_Reg *function = library->functions; function->name; function++)
    count += *function->name != *BYTECODE_GUARD; // which is no name that a file can write
  return count;
}

static void put_names(struct buf *out, const struct library *library) {
  for (const char *const *name = library->standard; *name; name++) {
    value_put_string(out, str_from(*name));
    value_put_bool(out, true);
  }
  for (const luaL_Reg *function = library->functions; function->name; function++) {
    if (*function->name == *BYTECODE_GUARD) continue;
    value_put_string(out, str_from(function->name));
    value_put_bool(out, true);
  }
}

void engine_names(struct buf *out) {
  value_put_map(out, LIBRARIES - 1 + count_names(&libraries[0]) + 1);
  put_names(out, &libraries[0]);
  value_put_string(out, STR("require"));
  value_put_bool(out, true);
  for (size_t i = 1; i < LIBRARIES; i++) {
    value_put_string(out, str_from(libraries[i].name));
    value_put_map(out, count_names(&libraries[i]));
    put_names(out, &libraries[i]);
  }
}

void engine_missing(struct buf *out) {
  value_put_map(out, sizeof missing / sizeof *missing);
  for (size_t i = 0; i < sizeof missing / sizeof *missing; i++)
    value_put_member_text(out, missing[i].name, str_from(missing[i].instead));
}

/** Fill the table on top with a library. Reads LuaJIT's own from the state's globals. */
static void fill(lua_State *lua, const struct library *library) {
  lua_pushvalue(lua, LUA_GLOBALSINDEX);
  if (*library->name) lua_getfield(lua, -1, library->name);
  int source = lua_gettop(lua), target = *library->name ? source - 2 : source - 1;
  for (const char *const *name = library->standard; *name; name++) {
    lua_getfield(lua, source, *name);
    lua_setfield(lua, target, *name);
  }
  lua_settop(lua, target);
  for (const luaL_Reg *function = library->functions; function->name; function++) {
    lua_pushcfunction(lua, function->func);
    lua_setfield(lua, target, function->name);
  }
}

/** ("x"):upper() finds its function in a table that nobody can reach. */
static void lock_strings(lua_State *lua) {
  lua_pushliteral(lua, "");
  lua_createtable(lua, 0, 2);
  lua_newtable(lua);
  fill(lua, &libraries[2]);
  lua_setfield(lua, -2, "__index");
  lua_pushboolean(lua, false);
  lua_setfield(lua, -2, "__metatable");
  lua_setmetatable(lua, -2);
  lua_pop(lua, 1);
}

void bindings_open(lua_State *lua) {
  static const lua_CFunction opens[] = {luaopen_base, luaopen_string, luaopen_table, luaopen_math};
  for (size_t i = 0; i < sizeof opens / sizeof *opens; i++) {
    lua_pushcfunction(lua, opens[i]);
    lua_call(lua, 0, 0);
  }
  lock_strings(lua);
}

void bindings_push_environment(lua_State *lua) {
  lua_newtable(lua);
  for (size_t i = 0; i < LIBRARIES; i++) {
    if (!*libraries[i].name) {
      fill(lua, &libraries[i]);
      continue;
    }
    lua_newtable(lua);
    fill(lua, &libraries[i]);
    pointer_set_add(&sandbox_of(lua)->frozen, lua_topointer(lua, -1));
    lua_setfield(lua, -2, libraries[i].name);
  }
}
