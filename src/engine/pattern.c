#include "engine/pattern.h"

#include <ctype.h>

enum { CHARGE_EVERY = 256 };

static const char *match(struct pattern *pattern, const char *at, const char *item);

_Noreturn static void malformed(const struct pattern *pattern, const char *why) {
  sandbox_raise(pattern->lua, ERROR_SCRIPT, "malformed pattern (%s)", why);
}

static void step(struct pattern *pattern) {
  if (++pattern->unpaid < CHARGE_EVERY) return;
  pattern->unpaid = 0;
  budget_charge(pattern->budget, pattern->lua, CHARGE_EVERY);
}

void pattern_init(struct pattern *pattern, lua_State *lua, struct str subject, struct str text,
                  bool anchors) {
  if (text.len > PATTERN_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "a pattern may have at most %d characters", PATTERN_MAX);
  bool anchored = anchors && text.len && *text.data == '^';
  *pattern = (struct pattern){.lua = lua,
                              .budget = &sandbox_of(lua)->budget,
                              .subject = subject.data,
                              .subject_end = subject.data + subject.len,
                              .pattern = text.data + anchored,
                              .pattern_end = text.data + text.len,
                              .anchored = anchored};
}

/* ---- one character ---- */

static bool in_class(unsigned char c, char class) {
  bool in;
  switch (class | 0x20) {
  case 'a':
    in = isalpha(c);
    break;
  case 'c':
    in = iscntrl(c);
    break;
  case 'd':
    in = isdigit(c);
    break;
  case 'g':
    in = isgraph(c);
    break;
  case 'l':
    in = islower(c);
    break;
  case 'p':
    in = ispunct(c);
    break;
  case 's':
    in = isspace(c);
    break;
  case 'u':
    in = isupper(c);
    break;
  case 'w':
    in = isalnum(c);
    break;
  case 'x':
    in = isxdigit(c);
    break;
  case 'z':
    in = c == 0;
    break;
  default:
    return (unsigned char)class == c;
  }
  return isupper((unsigned char)class) ? !in : in;
}

/** @return where the single-character item (a character, %x, or [set]) that begins at `item` ends. */
static const char *item_end(const struct pattern *pattern, const char *item) {
  const char *end = pattern->pattern_end;
  char first = *item++;
  if (first == '%') {
    if (item == end) malformed(pattern, "ends with '%'");
    return item + 1;
  }
  if (first != '[') return item;
  if (item < end && *item == '^') item++;
  do { // a ] that stands first is a member
    if (item == end) malformed(pattern, "missing ']'");
    if (*item++ == '%' && item < end) item++;
  } while (item == end || *item != ']');
  return item + 1;
}

/** @param set  behind the [. @param end  at the ]. */
static bool in_set(unsigned char c, const char *set, const char *end) {
  bool negated = *set == '^';
  if (negated) set++;
  bool in = false;
  while (set < end && !in) {
    if (*set == '%' && set + 1 < end) {
      in = in_class(c, set[1]);
      set += 2;
    } else if (set + 2 < end && set[1] == '-') {
      in = (unsigned char)set[0] <= c && c <= (unsigned char)set[2];
      set += 3;
    } else {
      in = (unsigned char)*set++ == c;
    }
  }
  return in != negated;
}

static bool matches_one(const struct pattern *pattern, const char *at, const char *item, const char *end) {
  if (at >= pattern->subject_end) return false;
  unsigned char c = (unsigned char)*at;
  switch (*item) {
  case '.':
    return true;
  case '%':
    return in_class(c, item[1]);
  case '[':
    return in_set(c, item + 1, end - 1);
  default:
    return (unsigned char)*item == c;
  }
}

/* ---- items with something behind them ---- */

static const char *match_greedy(struct pattern *pattern, const char *at, const char *item, const char *end,
                                ptrdiff_t least) {
  ptrdiff_t count = 0;
  for (; matches_one(pattern, at + count, item, end); count++) step(pattern);
  for (; count >= least; count--) {
    const char *found = match(pattern, at + count, end + 1);
    if (found) return found;
    step(pattern);
  }
  return NULL;
}

static const char *match_lazy(struct pattern *pattern, const char *at, const char *item, const char *end) {
  for (;; at++) {
    step(pattern);
    const char *found = match(pattern, at, end + 1);
    if (found) return found;
    if (!matches_one(pattern, at, item, end)) return NULL;
  }
}

static const char *match_balanced(struct pattern *pattern, const char *at, const char *item) {
  if (pattern->pattern_end - item < 2) malformed(pattern, "%b needs two characters");
  if (at >= pattern->subject_end || *at != item[0]) return NULL;
  size_t open = 1;
  for (at++; at < pattern->subject_end; at++) {
    step(pattern);
    if (*at == item[1]) {
      if (--open == 0) return at + 1;
    } else if (*at == item[0]) {
      open++;
    }
  }
  return NULL;
}

/** A capture that is given up when the rest does not match. */
static const char *match_open(struct pattern *pattern, const char *at, const char *rest, ptrdiff_t mark) {
  if (pattern->captures == PATTERN_CAPTURES) malformed(pattern, "too many captures");
  pattern->capture[pattern->captures++] = (struct pattern_capture){at, mark};
  const char *found = match(pattern, at, rest);
  if (!found) pattern->captures--;
  return found;
}

static const char *match_close(struct pattern *pattern, const char *at, const char *rest) {
  unsigned i = pattern->captures;
  while (i && pattern->capture[i - 1].len != PATTERN_OPEN) i--;
  if (!i) malformed(pattern, "')' without '('");
  pattern->capture[i - 1].len = at - pattern->capture[i - 1].at;
  const char *found = match(pattern, at, rest);
  if (!found) pattern->capture[i - 1].len = PATTERN_OPEN;
  return found;
}

static const char *match_again(struct pattern *pattern, const char *at, char digit) {
  unsigned i = (unsigned)(digit - '1');
  if (i >= pattern->captures || pattern->capture[i].len < 0)
    malformed(pattern, "'%0' is no capture, and '%1' to '%9' need one before them");
  size_t len = (size_t)pattern->capture[i].len;
  for (size_t paid = 0; paid < len; paid += CHARGE_EVERY) step(pattern);
  if ((size_t)(pattern->subject_end - at) < len || memcmp(at, pattern->capture[i].at, len) != 0) return NULL;
  return at + len;
}

static bool at_frontier(const struct pattern *pattern, const char *at, const char *set, const char *end) {
  unsigned char before = at == pattern->subject ? 0 : (unsigned char)at[-1];
  unsigned char here = at < pattern->subject_end ? (unsigned char)*at : 0;
  return !in_set(before, set + 1, end - 1) && in_set(here, set + 1, end - 1);
}

/** Match the pattern from `item` on at `at`. Recurses only where it may have to come back. */
static const char *match(struct pattern *pattern, const char *at, const char *item) {
  while (item < pattern->pattern_end) {
    step(pattern);
    const char *next = item + 1;
    if (*item == '(') {
      bool position = next < pattern->pattern_end && *next == ')';
      return match_open(pattern, at, next + position, position ? PATTERN_POSITION : PATTERN_OPEN);
    }
    if (*item == ')') return match_close(pattern, at, next);
    if (*item == '$' && next == pattern->pattern_end) return at == pattern->subject_end ? at : NULL;
    if (*item == '%' && next < pattern->pattern_end) {
      if (*next == 'b') {
        at = match_balanced(pattern, at, next + 1);
        if (!at) return NULL;
        item = next + 3;
        continue;
      }
      if (*next == 'f') {
        const char *set = next + 1;
        if (set == pattern->pattern_end || *set != '[') malformed(pattern, "missing '[' after '%f'");
        item = item_end(pattern, set);
        if (!at_frontier(pattern, at, set, item)) return NULL;
        continue;
      }
      if (*next >= '0' && *next <= '9') {
        at = match_again(pattern, at, *next);
        if (!at) return NULL;
        item = next + 1;
        continue;
      }
    }
    const char *end = item_end(pattern, item);
    char repeat = end < pattern->pattern_end ? *end : '\0';
    if (repeat == '*' || repeat == '+') return match_greedy(pattern, at, item, end, repeat == '+');
    if (repeat == '-') return match_lazy(pattern, at, item, end);
    bool one = matches_one(pattern, at, item, end);
    if (repeat == '?') {
      if (one) {
        const char *found = match(pattern, at + 1, end + 1);
        if (found) return found;
      }
      item = end + 1;
      continue;
    }
    if (!one) return NULL;
    at++;
    item = end;
  }
  return at;
}

/* ---- whole patterns ---- */

const char *pattern_match(struct pattern *pattern, const char *at) {
  pattern->captures = 0;
  const char *end = match(pattern, at, pattern->pattern);
  if (!end) return NULL;
  for (unsigned i = 0; i < pattern->captures; i++)
    if (pattern->capture[i].len == PATTERN_OPEN) malformed(pattern, "missing ')'");
  return end;
}

const char *pattern_search(struct pattern *pattern, const char *from, const char **start) {
  do {
    const char *end = pattern_match(pattern, from);
    *start = from;
    if (end) return end;
  } while (from++ < pattern->subject_end && !pattern->anchored);
  return NULL;
}

void pattern_push(const struct pattern *pattern, unsigned i, const char *start, const char *end) {
  if (i >= pattern->captures) {
    if (i) malformed(pattern, "no such capture");
    lua_pushlstring(pattern->lua, start, (size_t)(end - start));
  } else if (pattern->capture[i].len == PATTERN_POSITION) {
    lua_pushnumber(pattern->lua, (lua_Number)(pattern->capture[i].at - pattern->subject + 1));
  } else {
    lua_pushlstring(pattern->lua, pattern->capture[i].at, (size_t)pattern->capture[i].len);
  }
}

int pattern_push_all(const struct pattern *pattern, const char *start, const char *end) {
  unsigned count = pattern->captures ? pattern->captures : 1;
  luaL_checkstack(pattern->lua, (int)count, "too many captures");
  for (unsigned i = 0; i < count; i++) pattern_push(pattern, i, start, end);
  return (int)count;
}
