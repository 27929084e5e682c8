/** What a rule file finds in its environment: one binding file a table, one registrar (bindings.c) that lists
 * them.
 *
 * Functions of LuaJIT's own that end quickly and ask nothing of the machine are taken as they are; the others
 * are written anew here, charged by steps.
 */
#pragma once

#include "engine/sandbox.h"

extern const luaL_Reg binding_base[], binding_string[], binding_table[], binding_math[];

/** Once a state, inside sandbox_run: open LuaJIT's libraries for the host, lock the string metatable. */
void bindings_open(lua_State *lua);
/** Push a new environment with copies of the library tables, which are read-only from the start. */
void bindings_push_environment(lua_State *lua);
/** Why a name that LuaJIT knows is not there, and what to use; null for names nobody knows. */
const char *bindings_missing(struct str name);

/** The text that tostring and string.format("%s") give: never by a metamethod, never an address. Pushes it.
 */
struct str binding_push_text(lua_State *lua, int index);
