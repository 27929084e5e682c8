/** Where an error came from, as its reader sees it. */
#pragma once

#include "base/error.h"

#include <lua.h>

/** Append the calls under way that have a line, the innermost first, from `level` on (lua_getstack); no half
 * lines. In an error's handler. */
void traceback_add(lua_State *lua, int level, struct error *err);
