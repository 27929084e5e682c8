/** Values (event/value.h) to Lua and back.
 *
 * A map becomes a table with string keys, an array one with 1 … n; nil members are left out, and nil elements
 * leave a hole. An empty Lua table is an empty array; an empty map that came in as one is remembered (by its
 * metatable) and goes out as one. An integer beyond 2^53, of which a number in
 * Lua would lose the last digits, becomes its text: such are ids, and a window's key is the same as text
 * (value_key()). The other way, keys are sorted, so that equal tables give equal bytes, and text that is not
 * UTF-8 is repaired with U+FFFD.
 */
#pragma once

#include "engine/sandbox.h"
#include "event/value.h"

/** Up to here, either way, a number in Lua is each integer. */
#define CONVERT_EXACT_MAX (INT64_C(1) << 53)

/** Push an integer as text. */
void convert_push_digits(lua_State *lua, int64_t integer);
/** Push a value that holds no others. @return false if it is an array or a map: nothing is pushed. */
static inline bool convert_push_plain(lua_State *lua, const struct value *value) {
  switch (value->type) {
  case VALUE_NIL:
    lua_pushnil(lua);
    return true;
  case VALUE_BOOL:
    lua_pushboolean(lua, value->boolean);
    return true;
  case VALUE_INTEGER:
    if (value->integer >= -CONVERT_EXACT_MAX && value->integer <= CONVERT_EXACT_MAX)
      lua_pushnumber(lua, (lua_Number)value->integer);
    else
      convert_push_digits(lua, value->integer);
    return true;
  case VALUE_NUMBER:
    lua_pushnumber(lua, value->number);
    return true;
  case VALUE_STRING:
    lua_pushlstring(lua, value->string.data, value->string.len);
    return true;
  default:
    return false;
  }
}
/** Once a state, before the others. */
void convert_open(lua_State *lua);
/** Read one value and push it. @param lend  its tables are read-only while this input lasts; the caller holds
 * the value that long. */
void convert_push(lua_State *lua, struct reader *reader, bool lend);
/** Push a value of the user's, read-only till the call has ended. */
void convert_push_lent(lua_State *lua, struct str bytes);
/** The table on top was made from `bytes`, which live on, and nobody can have changed it: convert_read then
 * takes the bytes as they are, big integers and order of keys included. Until the next that is remembered;
 * null bytes: forget. */
void convert_remember(lua_State *lua, struct str bytes);
/** @return whether the table at `index` is that one, or the payload that event_table.h looks up, with the
 * bytes it was made from. */
bool convert_original(lua_State *lua, int index, struct str *bytes);
/** Append the value at `index`. Raises for what no value can be: functions, keys that are not text, numbers
 * that are not finite, loops.
 * @param what  what it is, for errors ("data of user:send"). @param max  most bytes. */
void convert_read(lua_State *lua, int index, struct buf *out, size_t max, const char *what);
/** The same, of a table that is a map even when empty. */
void convert_read_map(lua_State *lua, int index, struct buf *out, size_t max, const char *what);
