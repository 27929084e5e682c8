#include "engine/table_json.h"

#include "engine/convert.h"
#include "engine/deferred.h"
#include "event/value.h"

enum {
  MEMBERS_MAX = 32, /**< of a table that is written straight: its pairs stand on Lua's stack meanwhile … */
  DEPTH_MAX = 8     /**< … as do those of the tables around it */
};

struct writing {
  lua_State *lua;
  struct buf *out, *scratch;
  size_t end; /**< most length of `out` */
  const char *what;
  unsigned depth;
};

struct member {
  struct str key;
  int value; /**< index of the value on the stack */
};

static void put(struct writing *writing, int index);

static void check_size(const struct writing *writing) {
  if (writing->out->len > writing->end)
    sandbox_raise(writing->lua, ERROR_LIMIT, "%s is too large", writing->what);
}

/** The long way round, for all that is rare. */
static void put_value(struct writing *writing, int index) {
  buf_clear(writing->scratch);
  convert_read(writing->lua, index, writing->scratch, writing->end - writing->out->len, writing->what);
  value_to_json(buf_str(writing->scratch), writing->out);
}

/** Whether the text is ASCII that JSON takes as it is. */
static bool is_plain(struct str text) {
  size_t at = 0;
  for (uint64_t bytes; at + 8 <= text.len; at += 8) {
    memcpy(&bytes, text.data + at, sizeof bytes);
    if (value_json_stops(bytes)) return false;
  }
  for (; at < text.len; at++) {
    unsigned char byte = (unsigned char)text.data[at];
    if (byte < 0x20 || byte >= 0x7f || byte == '"' || byte == '\\') return false;
  }
  return true;
}

static void put_text(struct str text, struct buf *out) {
  if (!is_plain(text)) {
    value_put_json_string(text, out);
    return;
  }
  uint8_t *at = buf_reserve(out, text.len + 2);
  *at++ = '"';
  memcpy(at, text.data, text.len);
  at[text.len] = '"';
  out->len += text.len + 2;
}

static bool comes_before(struct str a, struct str b) {
  size_t shared = a.len < b.len ? a.len : b.len;
  int sign = shared ? memcmp(a.data, b.data, shared) : 0;
  return sign ? sign < 0 : a.len < b.len;
}

/** Push the pairs of the table at `index`, all keys text, and order them. @return how many; -1 if the table
 * is none to be written straight. */
static int push_members(lua_State *lua, int index, struct member *members) {
  int count = 0;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    if (count == MEMBERS_MAX || lua_type(lua, -2) != LUA_TSTRING) return -1;
    struct member member = {.value = lua_gettop(lua)};
    member.key.data = lua_tolstring(lua, -2, &member.key.len);
    int at = count++;
    for (; at > 0 && comes_before(member.key, members[at - 1].key); at--) members[at] = members[at - 1];
    members[at] = member;
    lua_pushvalue(lua, -2); // the pair stays, and the walk goes on from the key
  }
  return count;
}

static void put_table(struct writing *writing, int index) {
  lua_State *lua = writing->lua;
  struct sandbox *sandbox = sandbox_of(lua);
  struct member members[MEMBERS_MAX];
  struct str original;
  if (convert_original(lua, index, &original)) {
    value_to_json(original, writing->out);
    return;
  }
  int top = lua_gettop(lua);
  deferred_complete(lua, index);
  luaL_checkstack(lua, 2 * MEMBERS_MAX + 8, "a value nested too deeply");
  int count = writing->depth < DEPTH_MAX ? push_members(lua, index, members) : -1;
  if (count <= 0) {
    lua_settop(lua, top);
    put_value(writing, index);
    return;
  }
  budget_charge(&sandbox->budget, lua, (uint64_t)count);
  writing->depth++;
  for (int i = 0; i < count; i++) {
    buf_put_u8(writing->out, i ? ',' : '{');
    put_text(members[i].key, writing->out);
    buf_put_u8(writing->out, ':');
    put(writing, members[i].value);
  }
  buf_put_u8(writing->out, '}');
  writing->depth--;
  lua_settop(lua, top);
}

static void put(struct writing *writing, int index) {
  struct str text;
  switch (lua_type(writing->lua, index)) {
  case LUA_TSTRING:
    text.data = lua_tolstring(writing->lua, index, &text.len);
    put_text(text, writing->out);
    break;
  case LUA_TTABLE:
    put_table(writing, index);
    break;
  default:
    put_value(writing, index);
  }
  check_size(writing);
}

void table_json(lua_State *lua, int index, struct buf *out, struct buf *scratch, size_t max,
                const char *what) {
  struct writing writing = {.lua = lua, .out = out, .scratch = scratch, .end = out->len + max, .what = what};
  put(&writing, index < 0 ? lua_gettop(lua) + index + 1 : index);
}

void table_texts(lua_State *lua, int index, struct buf *out, size_t max, const char *what) {
  struct member members[MEMBERS_MAX];
  int top = lua_gettop(lua), count;
  size_t end = out->len + max, start = out->len;
  if (index < 0) index = top + index + 1;
  luaL_checkstack(lua, 2 * MEMBERS_MAX + 8, "a value nested too deeply");
  bool plain = (count = push_members(lua, index, members)) > 0;
  if (plain) value_put_map(out, (uint32_t)count);
  for (int i = 0; i < count && plain; i++) {
    struct str text;
    plain = lua_type(lua, members[i].value) == LUA_TSTRING && is_plain(members[i].key);
    if (!plain) break;
    text.data = lua_tolstring(lua, members[i].value, &text.len);
    plain = is_plain(text);
    value_put_string(out, members[i].key);
    value_put_string(out, text);
  }
  lua_settop(lua, top);
  if (plain && out->len <= end) return;
  out->len = start;
  convert_read_map(lua, index, out, max, what);
}
