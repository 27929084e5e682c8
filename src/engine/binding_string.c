/* The table `string`, as far as LuaJIT's own functions could hang, overflow or ask for too much. */
#include "engine/bindings.h"
#include "engine/pattern.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>

/** Longest text that one call makes or turns around: what it takes no longer than a moment to. */
enum { TEXT_MAX = 1 << 20 };

static struct str text_argument(lua_State *lua, int index) {
  struct str text;
  text.data = luaL_checklstring(lua, index, &text.len);
  return text;
}

/** A position as Lua counts, from the end if negative. @return the offset, from 0; `*inside` whether it is at
 * most the end. */
static size_t start_offset(lua_Number position, size_t len, bool *inside) {
  if (position < 0) position += (lua_Number)len + 1;
  *inside = position <= (lua_Number)len + 1;
  if (!(position > 1)) return 0;
  return *inside ? (size_t)position - 1 : len;
}

static int find_plain(lua_State *lua, struct str subject, struct str text, size_t from) {
  budget_charge(&sandbox_of(lua)->budget, lua, (subject.len - from) / 16 + 1);
  const char *found = memmem(subject.data + from, subject.len - from, text.data, text.len);
  if (!found) {
    lua_pushnil(lua);
    return 1;
  }
  lua_pushnumber(lua, (lua_Number)(found - subject.data + 1));
  lua_pushnumber(lua, (lua_Number)(found - subject.data) + (lua_Number)text.len);
  return 2;
}

static bool has_specials(lua_State *lua, struct str text) {
  budget_charge(&sandbox_of(lua)->budget, lua, text.len / 4);
  for (size_t i = 0; i < text.len; i++)
    if (memchr("^$*+?.([%-", text.data[i], sizeof "^$*+?.([%-" - 1)) return true;
  return false;
}

static int find(lua_State *lua, bool want_positions) {
  struct str subject = text_argument(lua, 1), text = text_argument(lua, 2);
  bool inside;
  size_t from = start_offset(luaL_optnumber(lua, 3, 1), subject.len, &inside);
  if (!inside) {
    lua_pushnil(lua);
    return 1;
  }
  if (want_positions && (lua_toboolean(lua, 4) || !has_specials(lua, text)))
    return find_plain(lua, subject, text, from);
  struct pattern pattern;
  pattern_init(&pattern, lua, subject, text, true);
  const char *start, *end = pattern_search(&pattern, subject.data + from, &start);
  if (!end) {
    lua_pushnil(lua);
    return 1;
  }
  if (!want_positions) return pattern_push_all(&pattern, start, end);
  lua_pushnumber(lua, (lua_Number)(start - subject.data + 1));
  lua_pushnumber(lua, (lua_Number)(end - subject.data));
  return 2 + (pattern.captures ? pattern_push_all(&pattern, start, end) : 0);
}

static int string_find(lua_State *lua) {
  return find(lua, true);
}

static int string_match(lua_State *lua) {
  return find(lua, false);
}

/** Upvalues: subject, pattern, offset, and the call it was made in: an iterator must not carry state from one
 * event to the next. */
static int gmatch_next(lua_State *lua) {
  struct str subject = text_argument(lua, lua_upvalueindex(1)),
             text = text_argument(lua, lua_upvalueindex(2));
  size_t from = (size_t)lua_tonumber(lua, lua_upvalueindex(3));
  if ((uint64_t)lua_tonumber(lua, lua_upvalueindex(4)) != sandbox_of(lua)->calls)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "this string.gmatch belongs to another event; call gmatch where you use it");
  if (from > subject.len) return 0;
  struct pattern pattern;
  pattern_init(&pattern, lua, subject, text, false);
  const char *start, *end = pattern_search(&pattern, subject.data + from, &start);
  size_t next = end ? (size_t)(end - subject.data) + (end == start) : subject.len + 1;
  lua_pushnumber(lua, (lua_Number)next);
  lua_replace(lua, lua_upvalueindex(3));
  return end ? pattern_push_all(&pattern, start, end) : 0;
}

static int string_gmatch(lua_State *lua) {
  text_argument(lua, 1);
  text_argument(lua, 2);
  lua_settop(lua, 2);
  lua_pushnumber(lua, 0);
  lua_pushnumber(lua, (lua_Number)sandbox_of(lua)->calls);
  lua_pushcclosure(lua, gmatch_next, 4);
  return 1;
}

/* ---- gsub ---- */

static void add_text_replacement(const struct pattern *pattern, luaL_Buffer *out, const char *start,
                                 const char *end) {
  lua_State *lua = pattern->lua;
  struct str text = text_argument(lua, 3);
  budget_charge(pattern->budget, lua, text.len);
  for (size_t i = 0; i < text.len; i++) {
    if (text.data[i] != '%') {
      luaL_addchar(out, text.data[i]);
      continue;
    }
    if (++i == text.len) break;
    char c = text.data[i];
    if (c == '0') {
      luaL_addlstring(out, start, (size_t)(end - start));
    } else if (c >= '1' && c <= '9') {
      pattern_push(pattern, (unsigned)(c - '1'), start, end);
      luaL_addvalue(out);
    } else {
      luaL_addchar(out, c);
    }
  }
}

/** Add what the match is to be replaced with, which a table or function says. */
static void add_replacement(struct pattern *pattern, luaL_Buffer *out, int type, const char *start,
                            const char *end) {
  lua_State *lua = pattern->lua;
  if (type == LUA_TSTRING || type == LUA_TNUMBER) {
    add_text_replacement(pattern, out, start, end);
    return;
  }
  struct sandbox *sandbox = sandbox_of(lua);
  sandbox_descend(sandbox, lua);
  if (type == LUA_TTABLE) {
    pattern_push(pattern, 0, start, end);
    lua_gettable(lua, 3); // may call __index
  } else {
    lua_pushvalue(lua, 3);
    int arguments = pattern_push_all(pattern, start, end);
    lua_call(lua, arguments, 1);
  }
  sandbox_ascend(sandbox);
  if (!lua_toboolean(lua, -1)) {
    lua_pop(lua, 1);
    luaL_addlstring(out, start, (size_t)(end - start));
    return;
  }
  if (!lua_isstring(lua, -1))
    sandbox_raise(lua, ERROR_SCRIPT, "string.gsub was given a %s to put in; give text",
                  luaL_typename(lua, -1));
  luaL_addvalue(out);
}

static int string_gsub(lua_State *lua) {
  struct str subject = text_argument(lua, 1), text = text_argument(lua, 2);
  int type = lua_type(lua, 3);
  if (type != LUA_TSTRING && type != LUA_TNUMBER && type != LUA_TTABLE && type != LUA_TFUNCTION)
    sandbox_raise(lua, ERROR_SCRIPT, "string.gsub replaces with text, a table or a function, not with a %s",
                  luaL_typename(lua, 3));
  lua_Number most = luaL_optnumber(lua, 4, (lua_Number)subject.len + 1), count = 0;
  struct pattern pattern;
  pattern_init(&pattern, lua, subject, text, true);
  luaL_Buffer out;
  luaL_buffinit(lua, &out);
  const char *at = subject.data;
  while (count < most) {
    const char *end = pattern_match(&pattern, at);
    if (end) {
      count++;
      add_replacement(&pattern, &out, type, at, end);
    }
    if (end && end > at)
      at = end;
    else if (at < pattern.subject_end)
      luaL_addchar(&out, *at++);
    else
      break;
    if (pattern.anchored) break;
  }
  luaL_addlstring(&out, at, (size_t)(pattern.subject_end - at));
  luaL_pushresult(&out);
  lua_pushnumber(lua, count);
  return 2;
}

/* ---- building ---- */

static int string_rep(lua_State *lua) {
  struct str text = text_argument(lua, 1), separator = {"", 0};
  lua_Number times = floor(luaL_checknumber(lua, 2));
  if (!lua_isnoneornil(lua, 3)) separator = text_argument(lua, 3);
  size_t step = text.len + separator.len;
  if (!(times >= 1) || step == 0) {
    lua_pushliteral(lua, "");
    return 1;
  }
  lua_Number total = times * (lua_Number)step;
  if (total > TEXT_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "string.rep: the text would have %.0f bytes; at most %d are allowed",
                  total, TEXT_MAX);
  budget_charge(&sandbox_of(lua)->budget, lua, (uint64_t)total / 16 + 1);
  size_t len = (size_t)total;
  char *bytes = lua_newuserdata(lua, len);
  memcpy(bytes, text.data, text.len);
  memcpy(bytes + text.len, separator.data, separator.len);
  for (size_t done = step; done < len; done *= 2)
    memcpy(bytes + done, bytes, done < len - done ? done : len - done);
  lua_pushlstring(lua, bytes, len - separator.len);
  return 1;
}

/** A text of the same length, byte by byte. LuaJIT's own take text of any size, and nothing can stop them. */
static int transform(lua_State *lua, const char *name, void (*fill)(char *out, struct str text)) {
  struct str text = text_argument(lua, 1);
  if (text.len > TEXT_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "string.%s takes at most %d bytes", name, TEXT_MAX);
  budget_charge(&sandbox_of(lua)->budget, lua, text.len / 4 + 1);
  char small[256];
  char *out = text.len <= sizeof small ? small : lua_newuserdata(lua, text.len);
  fill(out, text);
  lua_pushlstring(lua, out, text.len);
  return 1;
}

static void fill_lower(char *out, struct str text) {
  for (size_t i = 0; i < text.len; i++) out[i] = (char)tolower((unsigned char)text.data[i]);
}
static void fill_upper(char *out, struct str text) {
  for (size_t i = 0; i < text.len; i++) out[i] = (char)toupper((unsigned char)text.data[i]);
}
static void fill_reverse(char *out, struct str text) {
  for (size_t i = 0; i < text.len; i++) out[i] = text.data[text.len - 1 - i];
}
static int string_lower(lua_State *lua) {
  return transform(lua, "lower", fill_lower);
}
static int string_upper(lua_State *lua) {
  return transform(lua, "upper", fill_upper);
}
static int string_reverse(lua_State *lua) {
  return transform(lua, "reverse", fill_reverse);
}

static void add_quoted(lua_State *lua, luaL_Buffer *out, struct str text) {
  budget_charge(&sandbox_of(lua)->budget, lua, text.len / 4);
  luaL_addchar(out, '"');
  for (size_t i = 0; i < text.len; i++) {
    char c = text.data[i];
    if (c == '"' || c == '\\' || c == '\n') {
      luaL_addchar(out, '\\');
      luaL_addchar(out, c);
    } else if (c == '\r') {
      luaL_addstring(out, "\\r");
    } else if (c == '\0') {
      luaL_addstring(out, "\\000");
    } else {
      luaL_addchar(out, c);
    }
  }
  luaL_addchar(out, '"');
}

struct specification {
  char text[16]; /**< "%-5.2", and room for a length and a letter */
  size_t len;
  int width, precision;
};

/** Read what stands between % and the letter: flags, at most two digits of width and of precision. @return
 * where the letter is. */
static const char *read_specification(lua_State *lua, struct specification *out, const char *at,
                                      const char *end) {
  *out = (struct specification){.text = "%", .len = 1, .precision = -1};
  while (at < end && *at && strchr("-+ #0", *at) && out->len < 6) out->text[out->len++] = *at++;
  for (int digits = 0; at < end && *at >= '0' && *at <= '9' && digits < 2; digits++) {
    out->width = out->width * 10 + *at - '0';
    out->text[out->len++] = *at++;
  }
  if (at < end && *at == '.') {
    out->text[out->len++] = *at++;
    out->precision = 0;
    for (int digits = 0; at < end && *at >= '0' && *at <= '9' && digits < 2; digits++) {
      out->precision = out->precision * 10 + *at - '0';
      out->text[out->len++] = *at++;
    }
  }
  if (at == end) sandbox_raise(lua, ERROR_SCRIPT, "string.format: the format ends in the middle of a '%%'");
  return at;
}

static void specify(struct specification *specification, const char *ending) {
  memcpy(specification->text + specification->len, ending, strlen(ending) + 1);
}

static void add_text(lua_State *lua, luaL_Buffer *out, const struct specification *specification,
                     struct str text) {
  budget_charge(&sandbox_of(lua)->budget, lua, text.len / 16);
  if (specification->precision >= 0 && text.len > (size_t)specification->precision)
    text.len = (size_t)specification->precision;
  size_t width = (size_t)specification->width;
  bool left = strchr(specification->text, '-') != NULL;
  for (size_t i = text.len; !left && i < width; i++) luaL_addchar(out, ' ');
  luaL_addlstring(out, text.data, text.len);
  for (size_t i = text.len; left && i < width; i++) luaL_addchar(out, ' ');
}

static lua_Number integer_argument(lua_State *lua, int index) {
  lua_Number number = luaL_checknumber(lua, index);
  if (!(number > -9.2e18 && number < 9.2e18))
    sandbox_raise(lua, ERROR_SCRIPT, "string.format: %%d and %%x need a whole number, at most 9e18");
  return number;
}

static int string_format(lua_State *lua) {
  enum { NUMBER_ROOM = 512 }; // %99.99f of 1e308 takes 409
  struct str format = text_argument(lua, 1);
  const char *end = format.data + format.len;
  int argument = 1, arguments = lua_gettop(lua);
  budget_charge(&sandbox_of(lua)->budget, lua, format.len / 4);
  luaL_Buffer out;
  luaL_buffinit(lua, &out);
  for (const char *at = format.data; at < end; at++) {
    if (*at != '%') {
      luaL_addchar(&out, *at);
      continue;
    }
    if (++at < end && *at == '%') {
      luaL_addchar(&out, '%');
      continue;
    }
    struct specification specification;
    at = read_specification(lua, &specification, at, end);
    char number[NUMBER_ROOM];
    int len = 0;
    if (++argument > arguments)
      sandbox_raise(lua, ERROR_SCRIPT, "string.format: there are more %% than values");
    switch (*at) {
    case 'd':
    case 'i':
      specify(&specification, "lld");
      len = snprintf(number, sizeof number, specification.text, (long long)integer_argument(lua, argument));
      break;
    case 'u':
    case 'o':
    case 'x':
    case 'X':
      specify(&specification, (const char[]){'l', 'l', *at, '\0'});
      len = snprintf(number, sizeof number, specification.text,
                     (unsigned long long)(long long)integer_argument(lua, argument));
      break;
    case 'c':
      number[0] = (char)luaL_checkinteger(lua, argument);
      add_text(lua, &out, &specification, (struct str){number, 1});
      break;
    case 'e':
    case 'E':
    case 'f':
    case 'g':
    case 'G':
      specify(&specification, (const char[]){*at, '\0'});
      len = snprintf(number, sizeof number, specification.text, luaL_checknumber(lua, argument));
      break;
    case 'q':
      add_quoted(lua, &out, text_argument(lua, argument));
      break;
    case 's':
      if (lua_type(lua, argument) !=
          LUA_TSTRING) { // the buffer owns the top of the stack, so the text takes its argument's place
        binding_push_text(lua, argument);
        lua_replace(lua, argument);
      }
      add_text(lua, &out, &specification, text_argument(lua, argument));
      break;
    default:
      sandbox_raise(lua, ERROR_SCRIPT,
                    "string.format: '%%%c' is not known, or its width or precision has more than two digits",
                    *at >= ' ' && *at <= '~' ? *at : '?');
    }
    luaL_addlstring(&out, number, (size_t)len);
  }
  luaL_pushresult(&out);
  return 1;
}

const luaL_Reg binding_string[] = {{"find", string_find},     {"format", string_format},
                                   {"gmatch", string_gmatch}, {"gsub", string_gsub},
                                   {"lower", string_lower},   {"match", string_match},
                                   {"rep", string_rep},       {"reverse", string_reverse},
                                   {"upper", string_upper},   {NULL, NULL}};
