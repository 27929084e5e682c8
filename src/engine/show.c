#include "engine/show.h"

#include "event/utf8.h"
#include "event/value.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

enum { WIDTH = 100, INDENT = 2 };

struct key {
  int type;
  double number;
  struct str text;
};

struct show {
  lua_State *lua;
  const struct show_limits *limits;
  struct buf *out;
  size_t end;        /**< most length of `out` */
  size_t line_end;   /**< while trying whether a table fits one line */
  bool trying, full; /**< full: no more room, or the line is too long */
  int depth;
  const void *path[SHOW_DEPTH_MAX]; /**< tables around this one */
};

/** @return whether to go on. */
static bool room(struct show *show) {
  if (show->trying && show->out->len > show->line_end) show->full = true;
  if (show->out->len > show->end) show->full = true;
  return !show->full;
}

static void put(struct show *show, const char *text) {
  buf_append(show->out, text, strlen(text));
}

/* ---- text ---- */

static void put_escaped(struct str text, bool quoted, struct buf *out) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
  while (at < end) {
    size_t len = utf8_shown(at, end);
    if (*at == '\n' || (quoted && (*at == '"' || *at == '\\'))) {
      buf_printf(out, !quoted ? "\n" : *at == '\n' ? "\\n" : "\\%c", *at);
      len = 1;
    } else if (*at == '\t' && !quoted) {
      buf_put_u8(out, '\t');
      len = 1;
    } else if (len) {
      buf_append(out, at, len);
    } else {
      buf_printf(out, "\\x%02x", *at);
      len = 1;
    }
    at += len;
  }
}

void show_text(struct str text, struct buf *out) {
  put_escaped(text, false, out);
}

/** The first bytes of a long text, cut between characters. @return how many were left out. */
static size_t cut(struct str *text, size_t max) {
  if (text->len <= max) return 0;
  size_t whole = text->len;
  text->len = max;
  while (text->len && ((uint8_t)text->data[text->len] & 0xc0) == 0x80) text->len--;
  return whole - text->len;
}

static void put_string(struct show *show, int index) {
  struct str text;
  text.data = lua_tolstring(show->lua, index, &text.len);
  size_t left = cut(&text, show->limits->text_max);
  buf_put_u8(show->out, '"');
  put_escaped(text, true, show->out);
  buf_put_u8(show->out, '"');
  if (left) buf_printf(show->out, " … %zu bytes more", left);
}

static void put_number(struct buf *out, double number) {
  if (number == floor(number) && fabs(number) < 1e15)
    buf_printf(out, "%.0f", number);
  else
    buf_printf(out, "%.14g", number);
}

/** Milliseconds of this century are a time, and are said as one too. */
static void put_time(struct buf *out, double number) {
  enum { SIZE = 24 };
  if (!(number >= 1e12 && number < 4e12 && number == floor(number))) return;
  time_t second = (time_t)(number / 1000);
  struct tm parts;
  char text[SIZE];
  strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", gmtime_r(&second, &parts));
  buf_printf(out, " (%s UTC)", text);
}

static bool is_name(struct str text) {
  static const char *const reserved[] = {
      "and",   "break", "do",  "else", "elseif", "end",    "false", "for",  "function", "goto",  "if", "in",
      "local", "nil",   "not", "or",   "repeat", "return", "then",  "true", "until",    "while", NULL};
  for (size_t i = 0; i < text.len; i++) {
    char c = text.data[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
    if (!letter && !(i && c >= '0' && c <= '9')) return false;
  }
  for (size_t i = 0; reserved[i]; i++)
    if (str_equal(text, str_from(reserved[i]))) return false;
  return text.len > 0;
}

static void put_other(struct show *show, int index) {
  lua_State *lua = show->lua;
  lua_Debug about;
  if (lua_type(lua, index) == LUA_TFUNCTION) {
    lua_pushvalue(lua, index);
    lua_getinfo(lua, ">S", &about);
    if (about.linedefined > 0)
      buf_printf(show->out, "function <%s:%d>", about.short_src, about.linedefined);
    else
      put(show, "function");
  } else {
    put(show, luaL_typename(lua, index));
  }
}

/* ---- tables ---- */

static int rank(int type) {
  return type == LUA_TNUMBER ? 0 : type == LUA_TSTRING ? 1 : type == LUA_TBOOLEAN ? 2 : 3;
}

static int by_key(const void *left, const void *right) {
  const struct key *a = left, *b = right;
  if (rank(a->type) != rank(b->type)) return rank(a->type) < rank(b->type) ? -1 : 1;
  if (a->type == LUA_TSTRING) {
    size_t shared = a->text.len < b->text.len ? a->text.len : b->text.len;
    int sign = shared ? memcmp(a->text.data, b->text.data, shared) : 0;
    return sign ? sign : (a->text.len > b->text.len) - (a->text.len < b->text.len);
  }
  return (a->number > b->number) - (a->number < b->number);
}

/** Some keys beyond the list part, sorted. Tables as keys and the like come last, as what they are.
 * @return how many; more than `max` says that there are more. */
static int keys_of(lua_State *lua, int index, int listed, struct key *keys, int max) {
  int count = 0;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    struct key key = {.type = lua_type(lua, -1)};
    if (key.type == LUA_TNUMBER) {
      key.number = lua_tonumber(lua, -1);
      if (key.number >= 1 && key.number <= listed && key.number == floor(key.number)) continue;
    } else if (key.type == LUA_TSTRING) {
      key.text.data = lua_tolstring(lua, -1, &key.text.len);
    } else if (key.type == LUA_TBOOLEAN) {
      key.number = lua_toboolean(lua, -1);
    }
    if (count == max) {
      lua_pop(lua, 1);
      count++;
      break;
    }
    keys[count++] = key;
  }
  qsort(keys, (size_t)(count > max ? max : count), sizeof *keys, by_key);
  return count;
}

static bool around(const struct show *show, const void *table) {
  for (int i = 0; i < show->depth; i++)
    if (show->path[i] == table) return true;
  return false;
}

static bool is_empty(lua_State *lua, int index) {
  lua_pushnil(lua);
  if (!lua_next(lua, index)) return true;
  lua_pop(lua, 2);
  return false;
}

static void put_value(struct show *show, int index);

static void begin_entry(struct show *show, bool first) {
  if (show->trying) {
    put(show, first ? " " : ", ");
    return;
  }
  buf_printf(show->out, "%s\n%*s", first ? "" : ",", show->depth * INDENT, "");
}

static void put_key(struct show *show, const struct key *key) {
  if (key->type == LUA_TSTRING && is_name(key->text)) {
    buf_append(show->out, key->text.data, key->text.len);
  } else if (key->type == LUA_TSTRING) {
    struct str text = key->text;
    size_t left = cut(&text, 100);
    put(show, "[\"");
    put_escaped(text, true, show->out);
    put(show, left ? "…\"]" : "\"]");
  } else if (key->type == LUA_TNUMBER) {
    buf_put_u8(show->out, '[');
    put_number(show->out, key->number);
    buf_put_u8(show->out, ']');
  } else if (key->type == LUA_TBOOLEAN) {
    put(show, key->number != 0 ? "[true]" : "[false]");
  } else {
    buf_printf(show->out, "[%s]", lua_typename(show->lua, key->type));
  }
  put(show, " = ");
}

static void push_member(lua_State *lua, int index, const struct key *key) {
  if (key->type == LUA_TSTRING)
    lua_pushlstring(lua, key->text.data, key->text.len);
  else if (key->type == LUA_TNUMBER)
    lua_pushnumber(lua, key->number);
  else
    lua_pushboolean(lua, key->number != 0);
  lua_rawget(lua, index);
}

static void put_members(struct show *show, int index) {
  lua_State *lua = show->lua;
  int max = show->limits->entries_max, length = (int)lua_objlen(lua, index);
  int listed = length < max ? length : max;
  bool first = true;
  for (int i = 1; i <= listed && room(show); i++, first = false) {
    begin_entry(show, first);
    lua_rawgeti(lua, index, i);
    put_value(show, lua_gettop(lua));
    lua_pop(lua, 1);
  }
  struct key *keys = lua_newuserdata(lua, (size_t)(max + 1) * sizeof *keys);
  int count = room(show) ? keys_of(lua, index, length, keys, max - listed) : 0;
  int shown = count > max - listed ? max - listed : count;
  for (int i = 0; i < shown && room(show); i++, first = false) {
    begin_entry(show, first);
    put_key(show, &keys[i]);
    if (rank(keys[i].type) == 3) {
      put(show, "…");
      continue;
    }
    push_member(lua, index, &keys[i]);
    put_value(show, lua_gettop(lua));
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
  if (listed < length || shown < count) {
    begin_entry(show, first);
    if (listed < length)
      buf_printf(show->out, "… %d more", length - listed);
    else
      put(show, "… more");
  }
}

static void put_lines(struct show *show, int index) {
  buf_put_u8(show->out, '{');
  show->path[show->depth++] = lua_topointer(show->lua, index);
  put_members(show, index);
  show->depth--;
  if (show->trying)
    put(show, " }");
  else
    buf_printf(show->out, "\n%*s}", show->depth * INDENT, "");
}

/** On one line if it fits, else a line a member. */
static void put_table(struct show *show, int index) {
  luaL_checkstack(show->lua, 8, "a value nested too deeply");
  if (is_empty(show->lua, index)) {
    put(show, "{}");
    return;
  }
  if (around(show, lua_topointer(show->lua, index))) {
    put(show, "{ … itself }");
    return;
  }
  if (show->depth >= show->limits->depth_max) {
    put(show, "{ … }");
    return;
  }
  if (show->trying) {
    put_lines(show, index);
    return;
  }
  size_t start = show->out->len;
  int top = lua_gettop(show->lua);
  show->trying = true;
  show->line_end =
      start + WIDTH - (size_t)(show->depth * INDENT < WIDTH / 2 ? show->depth * INDENT : WIDTH / 2);
  put_lines(show, index);
  room(show);
  show->trying = false;
  lua_settop(show->lua, top);
  if (!show->full || start > show->end) return;
  show->full = false;
  show->out->len = start;
  put_lines(show, index);
}

static void put_value(struct show *show, int index) {
  lua_State *lua = show->lua;
  switch (lua_type(lua, index)) {
  case LUA_TNIL:
    put(show, "nil");
    break;
  case LUA_TBOOLEAN:
    put(show, lua_toboolean(lua, index) ? "true" : "false");
    break;
  case LUA_TNUMBER:
    put_number(show->out, lua_tonumber(lua, index));
    put_time(show->out, lua_tonumber(lua, index));
    break;
  case LUA_TSTRING:
    put_string(show, index);
    break;
  case LUA_TTABLE:
    put_table(show, index);
    break;
  default:
    put_other(show, index);
  }
}

static struct show begin(lua_State *lua, const struct show_limits *limits, struct buf *out) {
  return (struct show){.lua = lua, .limits = limits, .out = out, .end = out->len + limits->output_max};
}

void show_value(lua_State *lua, int index, const struct show_limits *limits, struct buf *out) {
  struct show show = begin(lua, limits, out);
  put_value(&show, index);
  if (show.full) put(&show, "\n… cut: there is more than is shown at once");
}

/* ---- JSON ---- */

static void json_value(struct show *show, int index);

static void json_text(struct show *show, struct str text, size_t max) {
  size_t left = cut(&text, max);
  value_put_json_string(text, show->out);
  if (!left) return;
  show->out->len--; // the closing quote
  buf_printf(show->out, "…\"");
}

static void json_key(struct show *show, const struct key *key) {
  if (key->type == LUA_TSTRING) {
    json_text(show, key->text, show->limits->text_max);
  } else if (key->type == LUA_TNUMBER) {
    buf_put_u8(show->out, '"');
    put_number(show->out, key->number);
    buf_put_u8(show->out, '"');
  } else {
    buf_printf(show->out, "\"%s\"",
               key->type != LUA_TBOOLEAN ? lua_typename(show->lua, key->type)
               : key->number != 0        ? "true"
                                         : "false");
  }
  buf_put_u8(show->out, ':');
}

static void json_list(struct show *show, int index, int length) {
  int max = show->limits->entries_max, listed = length < max ? length : max;
  buf_put_u8(show->out, '[');
  for (int i = 1; i <= listed && room(show); i++) {
    if (i > 1) buf_put_u8(show->out, ',');
    lua_rawgeti(show->lua, index, i);
    json_value(show, lua_gettop(show->lua));
    lua_pop(show->lua, 1);
  }
  if (listed < length || show->full) buf_printf(show->out, "%s\"…\"", length ? "," : "");
  buf_put_u8(show->out, ']');
}

static void json_map(struct show *show, int index) {
  int max = show->limits->entries_max;
  struct key *keys = lua_newuserdata(show->lua, (size_t)(max + 1) * sizeof *keys);
  int count = keys_of(show->lua, index, 0, keys, max), shown = count > max ? max : count;
  buf_put_u8(show->out, '{');
  for (int i = 0; i < shown && room(show); i++) {
    if (i) buf_put_u8(show->out, ',');
    json_key(show, &keys[i]);
    if (rank(keys[i].type) == 3) {
      put(show, "\"…\"");
      continue;
    }
    push_member(show->lua, index, &keys[i]);
    json_value(show, lua_gettop(show->lua));
    lua_pop(show->lua, 1);
  }
  if (shown < count || show->full) put(show, ",\"…\":\"…\"");
  buf_put_u8(show->out, '}');
  lua_pop(show->lua, 1);
}

static void json_table(struct show *show, int index) {
  luaL_checkstack(show->lua, 8, "a value nested too deeply");
  if (around(show, lua_topointer(show->lua, index)) || show->depth >= show->limits->depth_max) {
    put(show, "\"…\"");
    return;
  }
  show->path[show->depth++] = lua_topointer(show->lua, index);
  struct key one[1];
  int length = (int)lua_objlen(show->lua, index);
  bool marked = lua_getmetatable(show->lua, index); // an empty map that came in as one
  if (marked) lua_pop(show->lua, 1);
  if (keys_of(show->lua, index, length, one, 0) == 0 && !(length == 0 && marked))
    json_list(show, index, length);
  else
    json_map(show, index);
  show->depth--;
}

static void json_value(struct show *show, int index) {
  lua_State *lua = show->lua;
  struct str text;
  switch (lua_type(lua, index)) {
  case LUA_TNIL:
    put(show, "null");
    break;
  case LUA_TBOOLEAN:
    put(show, lua_toboolean(lua, index) ? "true" : "false");
    break;
  case LUA_TNUMBER:
    if (isfinite(lua_tonumber(lua, index)))
      put_number(show->out, lua_tonumber(lua, index));
    else
      put(show, "null");
    break;
  case LUA_TSTRING:
    text.data = lua_tolstring(lua, index, &text.len);
    json_text(show, text, show->limits->text_max);
    break;
  case LUA_TTABLE:
    json_table(show, index);
    break;
  default:
    buf_printf(show->out, "\"%s\"", luaL_typename(lua, index));
  }
}

void show_json(lua_State *lua, int index, const struct show_limits *limits, struct buf *out) {
  struct show show = begin(lua, limits, out);
  json_value(&show, index);
}
