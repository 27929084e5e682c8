/** A Lua value as JSON, straight into a buffer.
 *
 * What convert_read() and value_to_json() would give one after the other, keys in order included, at a
 * fraction of their cost for the small tables that requests are made of.
 */
#pragma once

#include "base/buf.h"
#include <lua.h>

/** Append the value at `index`. Raises for what no value can be, and past `max` bytes.
 * @param scratch  for what goes by way of a value. @param what  what it is, for errors. */
void table_json(lua_State *lua, int index, struct buf *out, struct buf *scratch, size_t max,
                const char *what);
/** Append the table at `index` as a value, as convert_read_map() does: quick where it is a map of plain
 * texts. */
void table_texts(lua_State *lua, int index, struct buf *out, size_t max, const char *what);
