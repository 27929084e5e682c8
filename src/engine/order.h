/** A fixed order of a table's keys (numbers, then text, then false and true), and a sort that ends whatever
 * it is told.
 *
 * LuaJIT's own order differs from run to run; with this one every replay walks a table the same way.
 */
#pragma once

#include "base/str.h"
#include "engine/sandbox.h"

struct order_key {
  int type;        /**< LUA_TNUMBER, LUA_TSTRING or LUA_TBOOLEAN */
  double number;   /**< also false 0, true 1 */
  struct str text; /**< borrowed from the table: gone once that key is taken out of it */
};

/** The keys of the table at `index`, sorted. Pushes one value, which holds them; raises for keys that have no
 * order. Good for as long as no Lua code runs. */
const struct order_key *order_keys(lua_State *lua, int index, size_t *count);
/** Push the same keys as a list, which keeps them alive. */
void order_push_list(lua_State *lua, int index);
/** Push the first key after the one at `key` (nil: the very first) of the table at `index`. @return false,
 * with nothing pushed, if there is none. */
bool order_next(lua_State *lua, int index, int key);

/** Whether item a must stand before b. May raise. */
typedef bool order_before(lua_State *lua, void *context, uint32_t a, uint32_t b);
/** Sort `items` by merging (stable, n log n comparisons whatever they answer). @param scratch  room for as
 * many. */
void order_sort(lua_State *lua, uint32_t *items, uint32_t *scratch, size_t count, order_before *before,
                void *context);
