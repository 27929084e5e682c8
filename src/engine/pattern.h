/** Lua's patterns (Lua 5.1 reference manual, 5.4.1), matched under a budget.
 *
 * LuaJIT's own matcher can run for hours on a short pattern ("(.-)*x"-like backtracking) and no hook sees
 * into it. This one charges each step, takes patterns of at most PATTERN_MAX bytes, and recurses at most once
 * an item of the pattern.
 */
#pragma once

#include "base/str.h"
#include "engine/sandbox.h"

enum { PATTERN_MAX = 256, PATTERN_CAPTURES = 32 };

struct pattern_capture {
  const char *at;
  ptrdiff_t len; /**< or one of the marks below */
};
enum { PATTERN_OPEN = -1, PATTERN_POSITION = -2 };

struct pattern {
  lua_State *lua;
  struct budget *budget;
  uint32_t unpaid; /**< steps not charged yet */
  const char *subject, *subject_end;
  const char *pattern, *pattern_end;
  bool anchored; /**< begins with ^, which is not part of `pattern` */
  unsigned captures;
  struct pattern_capture capture[PATTERN_CAPTURES];
};

/** Borrows both. Raises if the pattern is too long. @param anchors  whether a leading ^ means the beginning.
 */
void pattern_init(struct pattern *pattern, lua_State *lua, struct str subject, struct str text, bool anchors);
/** Match at `at` exactly. @return the match's end, or null. Raises for a malformed pattern. */
const char *pattern_match(struct pattern *pattern, const char *at);
/** The first match at or after `from`. @return its end, with its beginning in `*start`, or null. */
const char *pattern_search(struct pattern *pattern, const char *from, const char **start);
/** Push capture `i` (from 0); with no captures, 0 is the whole match. */
void pattern_push(const struct pattern *pattern, unsigned i, const char *start, const char *end);
/** Push all captures, or the whole match if there are none. @return how many. */
int pattern_push_all(const struct pattern *pattern, const char *start, const char *end);
