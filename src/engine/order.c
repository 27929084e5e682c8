#include "engine/order.h"

/** What order_keys pushes: a userdata with all it needs, so that nothing leaks when an error passes. */
struct order_block {
  size_t count;
  struct order_key keys[];
};

static size_t count_members(lua_State *lua, int index) {
  size_t count = 0;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    count++;
  }
  return count;
}

/** The key on top; stays there. */
static struct order_key key_at(lua_State *lua, int index) {
  struct order_key key = {.type = lua_type(lua, index)};
  if (key.type == LUA_TNUMBER)
    key.number = lua_tonumber(lua, index);
  else if (key.type == LUA_TBOOLEAN)
    key.number = lua_toboolean(lua, index);
  else if (key.type == LUA_TSTRING)
    key.text.data = lua_tolstring(lua, index, &key.text.len);
  else
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "this table has a %s as a key, which has no place in a fixed order; use text or numbers as keys",
        luaL_typename(lua, index));
  return key;
}

static int rank(int type) {
  return type == LUA_TNUMBER ? 0 : type == LUA_TSTRING ? 1 : 2;
}

static bool key_before(const struct order_key *a, const struct order_key *b) {
  if (a->type != b->type) return rank(a->type) < rank(b->type);
  if (a->type != LUA_TSTRING) return a->number < b->number;
  size_t shared = a->text.len < b->text.len ? a->text.len : b->text.len;
  int sign = shared ? memcmp(a->text.data, b->text.data, shared) : 0;
  return sign ? sign < 0 : a->text.len < b->text.len;
}

static bool indexed_before(lua_State *lua, void *context, uint32_t a, uint32_t b) {
  (void)lua;
  const struct order_key *keys = context;
  return key_before(&keys[a], &keys[b]);
}

const struct order_key *order_keys(lua_State *lua, int index, size_t *members) {
  deferred_complete(lua, index);
  size_t count = *members = count_members(lua, index);
  struct sandbox *sandbox = sandbox_of(lua);
  budget_charge(&sandbox->budget, lua, count);
  struct order_block *block = lua_newuserdata(
      lua, sizeof *block + (count + 1) * (2 * sizeof(struct order_key) + 2 * sizeof(uint32_t)));
  struct order_key *unsorted = block->keys + count;
  uint32_t *items = (uint32_t *)(unsorted + count);
  block->count = count;
  size_t at = 0;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    items[at] = (uint32_t)at;
    unsorted[at++] = key_at(lua, -1);
  }
  order_sort(lua, items, items + count, count, indexed_before, unsorted);
  for (size_t i = 0; i < count; i++) block->keys[i] = unsorted[items[i]];
  return block->keys;
}

/** Push a key as a Lua value. */
static void push(lua_State *lua, const struct order_key *key) {
  if (key->type == LUA_TNUMBER)
    lua_pushnumber(lua, key->number);
  else if (key->type == LUA_TBOOLEAN)
    lua_pushboolean(lua, key->number != 0);
  else
    lua_pushlstring(lua, key->text.data, key->text.len);
}

void order_push_list(lua_State *lua, int index) {
  size_t count;
  const struct order_key *keys = order_keys(lua, index, &count);
  lua_createtable(lua, (int)count, 0);
  for (size_t i = 0; i < count; i++) {
    push(lua, &keys[i]);
    lua_rawseti(lua, -2, (int)i + 1);
  }
  lua_remove(lua, -2);
}

bool order_next(lua_State *lua, int index, int key) {
  struct order_key after, best;
  deferred_complete(lua, index);
  bool first = lua_isnil(lua, key), found = false;
  if (!first) after = key_at(lua, key);
  size_t looked_at = 0;
  lua_pushnil(lua);
  while (lua_next(lua, index)) {
    lua_pop(lua, 1);
    looked_at++;
    struct order_key here = key_at(lua, -1);
    if (!first && !key_before(&after, &here)) continue;
    if (found && !key_before(&here, &best)) continue;
    best = here;
    found = true;
  }
  budget_charge(&sandbox_of(lua)->budget, lua, looked_at);
  if (found) push(lua, &best);
  return found;
}

static void merge(lua_State *lua, const uint32_t *from, uint32_t *to, size_t middle, size_t end,
                  order_before *before, void *context) {
  enum { STRIDE = 1024 };
  struct budget *budget = &sandbox_of(lua)->budget;
  size_t left = 0, right = middle;
  for (size_t at = 0; at < end; at++) {
    if (at % STRIDE == 0) budget_charge(budget, lua, end - at < STRIDE ? end - at : STRIDE);
    bool take_right = left >= middle || (right < end && before(lua, context, from[right], from[left]));
    to[at] = take_right ? from[right++] : from[left++];
  }
}

void order_sort(lua_State *lua, uint32_t *items, uint32_t *scratch, size_t count, order_before *before,
                void *context) {
  uint32_t *from = items, *to = scratch;
  for (size_t width = 1; width < count; width *= 2) {
    for (size_t start = 0; start < count; start += 2 * width) {
      size_t left = count - start;
      size_t end = left < 2 * width ? left : 2 * width;
      merge(lua, from + start, to + start, end < width ? end : width, end, before, context);
    }
    uint32_t *swap = from;
    from = to;
    to = swap;
  }
  if (from != items) memcpy(items, from, count * sizeof *items);
}
