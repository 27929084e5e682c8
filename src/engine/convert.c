#include "engine/convert.h"

#include "engine/order.h"
#include "event/utf8.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

/** Registry key of the metatable that marks an empty map. */
static const char empty_map;

void convert_open(lua_State *lua) {
  lua_newtable(lua);
  lua_pushboolean(lua, false);
  lua_setfield(lua, -2, "__metatable");
  lua_pushlightuserdata(lua, (void *)&empty_map);
  lua_insert(lua, -2);
  lua_rawset(lua, LUA_REGISTRYINDEX);
  deferred_open(lua);
}

static void mark_empty_map(lua_State *lua) {
  lua_pushlightuserdata(lua, (void *)&empty_map);
  lua_rawget(lua, LUA_REGISTRYINDEX);
  lua_setmetatable(lua, -2);
}

static bool is_empty_map(lua_State *lua, int index) {
  if (!lua_getmetatable(lua, index)) return false;
  lua_pushlightuserdata(lua, (void *)&empty_map);
  lua_rawget(lua, LUA_REGISTRYINDEX);
  bool marked = lua_rawequal(lua, -1, -2);
  lua_pop(lua, 2);
  return marked;
}

static void push(lua_State *lua, struct reader *reader, enum sandbox_loan loan, bool defer);

/** Members of the map on top: those that would be tables wait until they are asked for. Of equal keys the
 * last counts. */
static void push_deferred_members(lua_State *lua, struct reader *reader, uint32_t count) {
  bool left_out = false;
  deferred_begin(lua);
  for (uint32_t i = 0; i < count; i++) {
    struct str key = value_read(reader).string;
    // Not the whole reader: a copy just behind a write of one part of it waits until that is in the cache.
    const uint8_t *start = reader->at;
    if (left_out) deferred_drop(lua, key);
    bool leave_out = value_opens(reader) && deferred_note(lua, key, value_slice(reader), DEFERRED_VALUE);
    left_out |= leave_out;
    lua_pushlstring(lua, key.data, key.len);
    if (leave_out) {
      lua_pushnil(lua);
    } else {
      reader->at = start;
      push(lua, reader, LOAN_INPUT, true);
    }
    lua_rawset(lua, -3);
  }
  if (left_out) deferred_mark(lua);
}

void convert_push_digits(lua_State *lua, int64_t integer) {
  char digits[24];
  int len = snprintf(digits, sizeof digits, "%" PRId64, integer);
  lua_pushlstring(lua, digits, (size_t)len);
}

static void push_members(lua_State *lua, struct reader *reader, uint32_t count, enum sandbox_loan loan) {
  for (uint32_t i = 0; i < count; i++) {
    struct value key = value_read(reader);
    lua_pushlstring(lua, key.string.data, key.string.len);
    push(lua, reader, loan, false);
    lua_rawset(lua, -3);
  }
}

/** @param defer  its bytes live as long as the input: what it holds may wait. */
static void push(lua_State *lua, struct reader *reader, enum sandbox_loan loan, bool defer) {
  struct value value = value_read(reader);
  if (convert_push_plain(lua, &value)) return;
  luaL_checkstack(lua, 4, "a value nested too deeply");
  if (value.type == VALUE_ARRAY) {
    lua_createtable(lua, (int)value.count, 0);
    sandbox_lend(sandbox_of(lua), lua, loan);
    for (uint32_t i = 1; i <= value.count; i++) {
      push(lua, reader, loan, defer);
      lua_rawseti(lua, -2, (int)i);
    }
    return;
  }
  lua_createtable(lua, 0, (int)value.count);
  sandbox_lend(sandbox_of(lua), lua, loan);
  if (!value.count) mark_empty_map(lua);
  if (defer)
    push_deferred_members(lua, reader, value.count);
  else
    push_members(lua, reader, value.count, loan);
}

void convert_push(lua_State *lua, struct reader *reader, bool lend) {
  push(lua, reader, lend ? LOAN_INPUT : LOAN_NONE, lend);
}

/** The record's bytes move as soon as the rule changes anything of the user: nothing of them can wait. */
void convert_push_lent(lua_State *lua, struct str bytes) {
  struct reader reader = reader_of(bytes);
  push(lua, &reader, LOAN_CALL, false);
  if (lua_istable(lua, -1)) sandbox_hold(lua);
}

void convert_remember(lua_State *lua, struct str bytes) {
  struct sandbox *sandbox = sandbox_of(lua);
  sandbox->original = lua_topointer(lua, -1);
  sandbox->original_bytes = bytes;
}

bool convert_original(lua_State *lua, int index, struct str *bytes) {
  const struct sandbox *sandbox = sandbox_of(lua);
  const void *table = lua_topointer(lua, index);
  bool payload = sandbox->event.there && table == sandbox->event.payload;
  *bytes = payload ? sandbox->event.event.payload : sandbox->original_bytes;
  return payload || table == sandbox->original;
}

/* ---- back ---- */

struct reading {
  lua_State *lua;
  struct buf *out;
  size_t end; /**< most length of `out` */
  const char *what;
  unsigned depth;
};

static void check_size(const struct reading *reading) {
  if (reading->out->len > reading->end)
    sandbox_raise(reading->lua, ERROR_LIMIT, "%s is too large", reading->what);
}

/** Strings in values are UTF-8; a rule may have cut one in the middle of a character. */
static void put_text(struct reading *reading, struct str text) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
  if (text.len > reading->end) sandbox_raise(reading->lua, ERROR_LIMIT, "%s is too large", reading->what);
  while (at < end) {
    size_t len = *at < 0x80 ? 1 : utf8_length(at, end);
    if (!len) break;
    at += len;
  }
  if (at == end) {
    value_put_string(reading->out, text);
    return;
  }
  static const char replacement[] = "\xEF\xBF\xBD";
  struct buf *repaired = &sandbox_of(reading->lua)->scratch;
  buf_clear(repaired);
  for (at = (const uint8_t *)text.data; at < end;) {
    size_t len = utf8_length(at, end);
    if (len)
      buf_append(repaired, at, len);
    else
      buf_append(repaired, replacement, sizeof replacement - 1);
    at += len ? len : 1;
  }
  value_put_string(reading->out, buf_str(repaired));
}

static void read_value(struct reading *reading, int index);

/** Number of elements if the table is an array (perhaps with holes), else -1. */
static int64_t array_length(lua_State *lua, int index, size_t *members) {
  double highest = 0;
  size_t count = 0;
  bool array = true;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    count++;
    if (lua_type(lua, -1) != LUA_TNUMBER) {
      array = false;
      continue;
    }
    double key = lua_tonumber(lua, -1);
    if (key < 1 || key != floor(key)) array = false;
    if (key > highest) highest = key;
  }
  *members = count;
  return array && highest <= (double)count * 2 + 8 ? (int64_t)highest : -1;
}

static void read_array(struct reading *reading, int index, int64_t length) {
  value_put_array(reading->out, (uint32_t)length);
  for (int64_t i = 1; i <= length; i++) {
    lua_rawgeti(reading->lua, index, (int)i);
    read_value(reading, lua_gettop(reading->lua));
    lua_pop(reading->lua, 1);
  }
}

static void read_map(struct reading *reading, int index, size_t members) {
  lua_State *lua = reading->lua;
  value_put_map(reading->out, (uint32_t)members);
  if (!members) return;
  const struct order_key *keys = order_keys(lua, index, &members); // pushes what holds them
  for (size_t i = 0; i < members; i++) {
    if (keys[i].type != LUA_TSTRING)
      sandbox_raise(lua, ERROR_SCRIPT, "%s mixes named fields with others; names must be text",
                    reading->what);
    put_text(reading, keys[i].text);
    lua_pushlstring(lua, keys[i].text.data, keys[i].text.len);
    lua_rawget(lua, index);
    read_value(reading, lua_gettop(lua));
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
}

static void read_table(struct reading *reading, int index, bool map) {
  lua_State *lua = reading->lua;
  struct str original;
  size_t members;
  if (convert_original(lua, index, &original)) {
    buf_append(reading->out, original.data, original.len);
    return;
  }
  if (++reading->depth > VALUE_DEPTH_MAX - 2)
    sandbox_raise(lua, ERROR_SCRIPT, "%s is nested too deeply (or contains itself)", reading->what);
  luaL_checkstack(lua, 8, "a value nested too deeply");
  deferred_complete(lua, index);
  int64_t length = array_length(lua, index, &members);
  budget_charge(&sandbox_of(lua)->budget, lua, members);
  if (map && length > 0)
    sandbox_raise(lua, ERROR_SCRIPT, "%s must have names: { name = value, … }", reading->what);
  if (length > 0 || (length == 0 && !map && !is_empty_map(lua, index)))
    read_array(reading, index, length);
  else
    read_map(reading, index, members);
  reading->depth--;
}

static void read_value(struct reading *reading, int index) {
  lua_State *lua = reading->lua;
  size_t len;
  const char *text;
  switch (lua_type(lua, index)) {
  case LUA_TNIL:
    value_put_nil(reading->out);
    break;
  case LUA_TBOOLEAN:
    value_put_bool(reading->out, lua_toboolean(lua, index));
    break;
  case LUA_TNUMBER:
    if (!isfinite(lua_tonumber(lua, index)))
      sandbox_raise(lua, ERROR_SCRIPT, "%s holds a number that is not finite (a division by zero?)",
                    reading->what);
    value_put_number(reading->out, lua_tonumber(lua, index));
    break;
  case LUA_TSTRING:
    text = lua_tolstring(lua, index, &len);
    put_text(reading, (struct str){text, len});
    break;
  case LUA_TTABLE:
    read_table(reading, index, false);
    break;
  default:
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s holds a %s; it may hold text, numbers, true, false and tables of these", reading->what,
                  luaL_typename(lua, index));
  }
  check_size(reading);
}

void convert_read(lua_State *lua, int index, struct buf *out, size_t max, const char *what) {
  struct reading reading = {.lua = lua, .out = out, .end = out->len + max, .what = what};
  read_value(&reading, index < 0 ? lua_gettop(lua) + index + 1 : index);
}

void convert_read_map(lua_State *lua, int index, struct buf *out, size_t max, const char *what) {
  struct reading reading = {.lua = lua, .out = out, .end = out->len + max, .what = what};
  read_table(&reading, index < 0 ? lua_gettop(lua) + index + 1 : index, true);
  check_size(&reading);
}
