/** Parts of an event that become Lua values when a rule first asks for them.
 *
 * Building the whole table of the reference event takes 12,000 instructions (callgrind), twice as many as all
 * else that the reference rule costs, most of them for items, metadata and ids at which few rules look. So
 * maps and arrays that are members of a lent map, and the fields of events other than the one under way
 * (event_table.h), are left out and noted here; the table's metatable puts them in at the first touch.
 * Whoever walks through a table, or asks raw, has to complete it before. At most DEFERRED_MAX are left out at
 * a time, so that a search ends soon.
 */
#pragma once

#include "base/str.h"
#include <lua.h>
#include <stdbool.h>
#include <stdint.h>

enum { DEFERRED_MAX = 32 };

struct deferred {
  uint32_t count;
  struct deferred_member {
    const void *table; /**< it is a member of this one */
    struct str key;
    struct str value; /**< bytes, which live as long as the input */
    enum deferred_kind {
      DEFERRED_VALUE,   /**< a value's (event/value.h) */
      DEFERRED_PAYLOAD, /**< the same, to be convert_remember()ed */
      DEFERRED_TEXT
    } kind;
  } members[DEFERRED_MAX];
};

/** Once a state. */
void deferred_open(lua_State *lua);
/** A lent map was made, at an address that another one may have had. */
void deferred_begin(lua_State *lua);
/** Leave out a member of the map on top. @return false if it must be put in now: there are too many. */
bool deferred_note(lua_State *lua, struct str key, struct str value, enum deferred_kind kind);
/** The map on top gets another value for this key: of equal keys the last counts. */
void deferred_drop(lua_State *lua, struct str key);
/** Members of the map on top were left out: put them in when they are asked for. */
void deferred_mark(lua_State *lua);
/** Put in all that was left out of the table at `index`, of the event's tables too. */
void deferred_complete(lua_State *lua, int index);
