#include "engine/script.h"

#include "base/memory.h"
#include "engine/convert.h"
#include "engine/traceback.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { TEXT_SHOWN = 700 };

/** Addresses that are keys in Lua's registry. */
static const char native_key, empty_map_key, buffers_key;

struct native {
  struct script *script;
  script_function *run;
  void *context;
  struct native *next;
  char name[];
};

struct script {
  lua_State *lua;
  struct native *natives;
  const char *raised; /**< the last text that a native function failed with, while Lua holds it … */
  int raised_code;    /**< … and its code */
};

static void push_registry(lua_State *lua, const char *key) {
  lua_pushlightuserdata(lua, (void *)key);
  lua_rawget(lua, LUA_REGISTRYINDEX);
}

/** Keep the value on top; pops it. */
static void set_registry(lua_State *lua, const char *key) {
  lua_pushlightuserdata(lua, (void *)key);
  lua_insert(lua, -2);
  lua_rawset(lua, LUA_REGISTRYINDEX);
}

/* ---- values to Lua ---- */

static void push(lua_State *lua, struct reader *reader) {
  struct value value = value_read(reader);
  luaL_checkstack(lua, 4, "a value nested too deeply");
  if (convert_push_plain(lua, &value)) return;
  if (value.type == VALUE_ARRAY) {
    lua_createtable(lua, (int)value.count, 0);
    for (uint32_t i = 1; i <= value.count; i++) {
      push(lua, reader);
      lua_rawseti(lua, -2, (int)i);
    }
    return;
  }
  lua_createtable(lua, 0, (int)value.count);
  if (!value.count) {
    push_registry(lua, &empty_map_key);
    lua_setmetatable(lua, -2);
  }
  for (uint32_t i = 0; i < value.count; i++) {
    push(lua, reader);
    push(lua, reader);
    lua_rawset(lua, -3);
  }
}

/* ---- and back ---- */

static bool is_empty_map(lua_State *lua, int index) {
  if (!lua_getmetatable(lua, index)) return false;
  push_registry(lua, &empty_map_key);
  bool marked = lua_rawequal(lua, -1, -2);
  lua_pop(lua, 2);
  return marked;
}

/** @return how many elements if the table has 1 … n and nothing else, -1 if it has text keys. Raises for
 * anything else. */
static int64_t array_length(lua_State *lua, int index, uint32_t *members) {
  bool texts = false, numbers = false;
  double highest = 0;
  *members = 0;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    ++*members;
    double key = lua_type(lua, -1) == LUA_TNUMBER ? lua_tonumber(lua, -1) : 0;
    if (lua_type(lua, -1) == LUA_TSTRING)
      texts = true;
    else if (key >= 1 && key == floor(key))
      numbers = true;
    else
      luaL_error(lua, "a table for the host has a key that is neither text nor a place in a list");
    if (key > highest) highest = key;
  }
  if (texts && numbers) luaL_error(lua, "a table for the host has both named fields and list items");
  if (texts) return -1;
  if (highest > *members) luaL_error(lua, "a list for the host has holes");
  return (int64_t)highest;
}

static int by_text(const void *a, const void *b) {
  return str_compare(*(const struct str *)a, *(const struct str *)b);
}

static void read_value(lua_State *lua, int index, struct buf *out, unsigned depth);

static void read_map(lua_State *lua, int index, uint32_t members, struct buf *out, unsigned depth) {
  value_put_map(out, members);
  // Lua holds the keys' bytes, for they stay in the table.
  struct str *keys = lua_newuserdata(lua, (members + 1) * sizeof *keys);
  uint32_t count = 0;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    keys[count].data = lua_tolstring(lua, -1, &keys[count].len);
    count++;
  }
  qsort(keys, count, sizeof *keys, by_text);
  for (uint32_t i = 0; i < count; i++) {
    value_put_string(out, keys[i]);
    lua_pushlstring(lua, keys[i].data, keys[i].len);
    lua_rawget(lua, index);
    read_value(lua, lua_gettop(lua), out, depth);
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
}

static void read_table(lua_State *lua, int index, struct buf *out, unsigned depth) {
  uint32_t members;
  if (depth > VALUE_DEPTH_MAX)
    luaL_error(lua, "a table for the host is nested too deeply (or contains itself)");
  luaL_checkstack(lua, 8, "a value nested too deeply");
  int64_t length = array_length(lua, index, &members);
  if (length < 0 || (length == 0 && is_empty_map(lua, index))) {
    read_map(lua, index, members, out, depth + 1);
    return;
  }
  value_put_array(out, (uint32_t)length);
  for (int64_t i = 1; i <= length; i++) {
    lua_rawgeti(lua, index, (int)i);
    read_value(lua, lua_gettop(lua), out, depth + 1);
    lua_pop(lua, 1);
  }
}

static void read_value(lua_State *lua, int index, struct buf *out, unsigned depth) {
  struct str text;
  switch (lua_type(lua, index)) {
  case LUA_TNIL:
  case LUA_TNONE:
    value_put_nil(out);
    return;
  case LUA_TBOOLEAN:
    value_put_bool(out, lua_toboolean(lua, index));
    return;
  case LUA_TNUMBER:
    value_put_number(out, lua_tonumber(lua, index));
    return;
  case LUA_TSTRING:
    text.data = lua_tolstring(lua, index, &text.len);
    value_put_string(out, text);
    return;
  case LUA_TTABLE:
    read_table(lua, index, out, depth);
    return;
  default:
    luaL_error(lua, "a %s is no value for the host; text, numbers, true, false and tables of these are",
               luaL_typename(lua, index));
  }
}

/* ---- native functions ---- */

/** What a call needs, given back by Lua whatever is raised. */
struct buffers {
  struct buf arguments, result;
  struct error err;
};

static int free_buffers(lua_State *lua) {
  struct buffers *buffers = lua_touserdata(lua, 1);
  buf_deinit(&buffers->arguments);
  buf_deinit(&buffers->result);
  return 0;
}

static struct buffers *push_buffers(lua_State *lua) {
  struct buffers *buffers = lua_newuserdata(lua, sizeof *buffers);
  *buffers = (struct buffers){0};
  buf_init(&buffers->arguments);
  buf_init(&buffers->result);
  push_registry(lua, &buffers_key);
  lua_setmetatable(lua, -2);
  return buffers;
}

static int call_native(lua_State *lua) {
  const struct native *native = lua_touserdata(lua, lua_upvalueindex(1));
  int count = lua_gettop(lua);
  struct buffers *buffers = push_buffers(lua);
  value_put_array(&buffers->arguments, (uint32_t)count);
  for (int i = 1; i <= count; i++) read_value(lua, i, &buffers->arguments, 0);
  int rc = native->run(native->context, buf_str(&buffers->arguments), &buffers->result, &buffers->err);
  if (rc) {
    lua_pushstring(lua, buffers->err.message);
    native->script->raised = lua_tostring(lua, -1);
    native->script->raised_code = rc;
    return lua_error(lua);
  }
  struct reader reader = reader_of(buf_str(&buffers->result));
  if (reader_left(&reader))
    push(lua, &reader);
  else
    lua_pushnil(lua);
  // Large results shall not wait for the collector.
  buf_deinit(&buffers->arguments);
  buf_deinit(&buffers->result);
  return 1;
}

static int missing_native(lua_State *lua) {
  return luaL_error(lua, "kairos.native has no function `%s` here", luaL_checkstring(lua, 2));
}

static int load_native(lua_State *lua) {
  push_registry(lua, &native_key);
  return 1;
}

void script_provide(struct script *script, const char *name, script_function *function, void *context) {
  size_t len = strlen(name) + 1;
  struct native *native = memory_alloc(sizeof *native + len);
  *native = (struct native){.script = script, .run = function, .context = context, .next = script->natives};
  memcpy(native->name, name, len);
  script->natives = native;
  push_registry(script->lua, &native_key);
  lua_pushlightuserdata(script->lua, native);
  lua_pushcclosure(script->lua, call_native, 1);
  lua_setfield(script->lua, -2, native->name);
  lua_pop(script->lua, 1);
}

/* ---- calls ---- */

struct call {
  struct script *script;
  const char *module, *function;
  struct str arguments;
  struct buf *result;
  struct error failure; /**< as the handler saw it */
};

/** Runs where the error was raised, before the stack unwinds. Upvalue: the call. */
static int handle_error(lua_State *lua) {
  struct call *call = lua_touserdata(lua, lua_upvalueindex(1));
  struct script *script = call->script;
  const char *text = lua_tostring(lua, 1);
  bool raised = text && text == script->raised;
  if (!text && luaL_callmeta(lua, 1, "__tostring")) text = lua_tostring(lua, -1);
  if (text)
    error_set(&call->failure, raised ? script->raised_code : ERROR_SCRIPT, "%.*s", TEXT_SHOWN, text);
  else
    error_set(&call->failure, ERROR_SCRIPT, "the error raised is not text but a %s", luaL_typename(lua, 1));
  traceback_add(lua, 1, &call->failure);
  return 0;
}

static int enter(lua_State *lua) {
  struct call *call = lua_touserdata(lua, 1);
  lua_getglobal(lua, "require");
  lua_pushstring(lua, call->module);
  lua_call(lua, 1, 1);
  if (!lua_istable(lua, -1)) luaL_error(lua, "%s does not return a table", call->module);
  lua_getfield(lua, -1, call->function);
  if (!lua_isfunction(lua, -1)) luaL_error(lua, "%s has no function `%s`", call->module, call->function);
  struct reader reader = reader_of(call->arguments);
  uint32_t count = value_read(&reader).count;
  luaL_checkstack(lua, (int)count + 4, "too many arguments");
  for (uint32_t i = 0; i < count; i++) push(lua, &reader);
  lua_call(lua, (int)count, 1);
  size_t before = call->result->len;
  struct buffers *buffers = push_buffers(lua);
  read_value(lua, lua_gettop(lua) - 1, &buffers->result, 0);
  call->result->len = before;
  buf_append(call->result, buffers->result.data, buffers->result.len);
  return 0;
}

int script_call(struct script *script, const char *module, const char *function, struct str arguments,
                struct buf *result, struct error *err) {
  struct call call = {
      .script = script, .module = module, .function = function, .arguments = arguments, .result = result};
  lua_State *lua = script->lua;
  int top = lua_gettop(lua);
  script->raised = NULL;
  lua_pushlightuserdata(lua, &call);
  lua_pushcclosure(lua, handle_error, 1);
  lua_pushcfunction(lua, enter);
  lua_pushlightuserdata(lua, &call);
  int status = lua_pcall(lua, 1, 0, top + 1);
  lua_settop(lua, top);
  if (status == 0) return 0;
  if (call.failure.code) return error_set(err, call.failure.code, "%s", call.failure.message);
  return error_set(err, status == LUA_ERRMEM ? ERROR_LIMIT : ERROR_SCRIPT, "%s.%s: %s", module, function,
                   status == LUA_ERRMEM ? "out of memory" : "it failed, and so did describing why");
}

/* ---- a state's life ---- */

static int set_up(lua_State *lua) {
  const char *library_dir = lua_touserdata(lua, 1);
  luaL_openlibs(lua);
  lua_getglobal(lua, "package");
  lua_getfield(lua, -1, "path");
  lua_pushfstring(lua, "%s/?.lua;%s/?/init.lua;%s", library_dir, library_dir, lua_tostring(lua, -1));
  lua_setfield(lua, -3, "path");
  lua_pop(lua, 1);
  lua_getfield(lua, -1, "preload");
  lua_pushcfunction(lua, load_native);
  lua_setfield(lua, -2, "kairos.native");
  lua_newtable(lua);
  lua_newtable(lua);
  lua_pushcfunction(lua, missing_native);
  lua_setfield(lua, -2, "__index");
  lua_setmetatable(lua, -2);
  set_registry(lua, &native_key);
  lua_newtable(lua);
  set_registry(lua, &empty_map_key);
  lua_newtable(lua);
  lua_pushcfunction(lua, free_buffers);
  lua_setfield(lua, -2, "__gc");
  set_registry(lua, &buffers_key);
  return 0;
}

int script_new(struct script **out, const char *library_dir, struct error *err) {
  lua_State *lua = luaL_newstate();
  if (!lua) return error_set(err, ERROR_LIMIT, "there is no memory for a Lua state");
  struct script *script = memory_zalloc(sizeof *script);
  script->lua = lua;
  if (lua_cpcall(lua, set_up, (void *)library_dir)) {
    error_set(err, ERROR_LIMIT, "a Lua state cannot be set up: %s", lua_tostring(lua, -1));
    script_free(script);
    return ERROR_LIMIT;
  }
  *out = script;
  return 0;
}

void script_free(struct script *script) {
  if (!script) return;
  lua_close(script->lua);
  for (struct native *native = script->natives, *next; native; native = next) {
    next = native->next;
    memory_free(native);
  }
  memory_free(script);
}
