/** Values for people's eyes, and for programs: cut where they are long, whole where they are short. */
#pragma once

#include "engine/sandbox.h"

struct show_limits {
  size_t output_max, text_max;
  int entries_max, depth_max; /**< at most SHOW_ENTRIES_MAX, SHOW_DEPTH_MAX */
};
enum { SHOW_ENTRIES_MAX = 1000, SHOW_DEPTH_MAX = 32 };

/** Append the value at `index` as Lua would write it, on one line if it is short. Asks no metamethod, follows
 * no cycle, shows no address. `out` grows by output_max at most, and some bytes that say so. May raise for
 * want of memory. */
void show_value(lua_State *lua, int index, const struct show_limits *limits, struct buf *out);
/** The same as JSON. What JSON cannot say is a string that names it. */
void show_json(lua_State *lua, int index, const struct show_limits *limits, struct buf *out);
/** Append text as it is, but what steers a terminal escaped. */
void show_text(struct str text, struct buf *out);
