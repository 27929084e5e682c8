/* The table `table`. */
#include "engine/bindings.h"
#include "engine/order.h"

#include <math.h>

static struct budget *budget_of(lua_State *lua) {
  return &sandbox_of(lua)->budget;
}

static int64_t position_argument(lua_State *lua, int index, int64_t least, int64_t most) {
  lua_Number position = luaL_checknumber(lua, index);
  if (!(position >= (lua_Number)least && position <= (lua_Number)most) || position != floor(position))
    sandbox_raise(lua, ERROR_SCRIPT, "position %.14g is not in this table; it may be %lld to %lld", position,
                  (long long)least, (long long)most);
  return (int64_t)position;
}

static int table_insert(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  sandbox_check_write(lua, 1);
  int length = (int)lua_objlen(lua, 1), arguments = lua_gettop(lua);
  if (arguments != 2 && arguments != 3)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "write table.insert(list, value) or table.insert(list, position, value)");
  int position = length + 1;
  if (arguments == 3) {
    position = (int)position_argument(lua, 2, 1, (int64_t)length + 1);
    for (int i = length; i >= position; i--) { // a table with holes may have a length of billions
      budget_charge(budget_of(lua), lua, 1);
      lua_rawgeti(lua, 1, i);
      lua_rawseti(lua, 1, i + 1);
    }
  }
  lua_pushvalue(lua, arguments);
  lua_rawseti(lua, 1, position);
  return 0;
}

static int table_remove(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  sandbox_check_write(lua, 1);
  int length = (int)lua_objlen(lua, 1);
  if (length == 0) return 0;
  int position = lua_isnoneornil(lua, 2) ? length : (int)position_argument(lua, 2, 1, (int64_t)length + 1);
  if (position > length) return 0;
  lua_rawgeti(lua, 1, position);
  for (int i = position; i < length; i++) {
    budget_charge(budget_of(lua), lua, 1);
    lua_rawgeti(lua, 1, i + 1);
    lua_rawseti(lua, 1, i);
  }
  lua_pushnil(lua);
  lua_rawseti(lua, 1, length);
  return 1;
}

static int table_concat(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  size_t separator_len;
  const char *separator = luaL_optlstring(lua, 2, "", &separator_len);
  lua_Number first = luaL_optnumber(lua, 3, 1), last = luaL_optnumber(lua, 4, (lua_Number)lua_objlen(lua, 1));
  if (!(fabs(first) < 1e9 && fabs(last) < 1e9))
    sandbox_raise(lua, ERROR_SCRIPT, "table.concat: positions must be below a billion");
  luaL_Buffer out;
  luaL_buffinit(lua, &out);
  for (int i = (int)first; i <= (int)last; i++) {
    lua_rawgeti(lua, 1, i);
    if (!lua_isstring(lua, -1))
      sandbox_raise(lua, ERROR_SCRIPT, "table.concat: element %d is a %s; text and numbers can be joined", i,
                    luaL_typename(lua, -1));
    budget_charge(budget_of(lua), lua, 1 + (lua_objlen(lua, -1) + separator_len) / 16);
    luaL_addvalue(&out);
    if (i < (int)last) luaL_addlstring(&out, separator, separator_len);
  }
  luaL_pushresult(&out);
  return 1;
}

/** Indices on the stack while sorting. */
enum { SORT_TABLE = 1, SORT_FUNCTION, SORT_COPY };

static bool sort_before(lua_State *lua, void *context, uint32_t a, uint32_t b) {
  struct sandbox *sandbox = context;
  bool before;
  if (lua_isnil(lua, SORT_FUNCTION)) {
    lua_rawgeti(lua, SORT_COPY, (int)a + 1);
    lua_rawgeti(lua, SORT_COPY, (int)b + 1);
    if (lua_type(lua, -1) == LUA_TSTRING) // texts that begin alike are compared to their ends
      budget_charge(&sandbox->budget, lua, lua_objlen(lua, -1) / 16);
    before = lua_lessthan(lua, -2, -1);
    lua_pop(lua, 2);
    return before;
  }
  lua_pushvalue(lua, SORT_FUNCTION);
  lua_rawgeti(lua, SORT_COPY, (int)a + 1);
  lua_rawgeti(lua, SORT_COPY, (int)b + 1);
  lua_call(lua, 2, 1);
  before = lua_toboolean(lua, -1);
  lua_pop(lua, 1);
  budget_charge(&sandbox->budget, lua, 1);
  return before;
}

/** On a copy, so that a comparison that changes the table, or contradicts itself, does no harm. */
static int table_sort(lua_State *lua) {
  luaL_checktype(lua, SORT_TABLE, LUA_TTABLE);
  if (!lua_isnoneornil(lua, SORT_FUNCTION)) luaL_checktype(lua, SORT_FUNCTION, LUA_TFUNCTION);
  lua_settop(lua, SORT_FUNCTION);
  sandbox_check_write(lua, SORT_TABLE);
  struct sandbox *sandbox = sandbox_of(lua);
  size_t count = lua_objlen(lua, SORT_TABLE);
  lua_createtable(lua, (int)count, 0);
  uint32_t *items = lua_newuserdata(lua, 2 * (count + 1) * sizeof *items);
  for (size_t i = 0; i < count; i++) {
    budget_charge(&sandbox->budget, lua, 1);
    items[i] = (uint32_t)i;
    lua_rawgeti(lua, SORT_TABLE, (int)i + 1);
    lua_rawseti(lua, SORT_COPY, (int)i + 1);
  }
  sandbox_descend(sandbox, lua);
  order_sort(lua, items, items + count, count, sort_before, sandbox);
  sandbox_ascend(sandbox);
  for (size_t i = 0; i < count; i++) {
    budget_charge(&sandbox->budget, lua, 1);
    lua_rawgeti(lua, SORT_COPY, (int)items[i] + 1);
    lua_rawseti(lua, SORT_TABLE, (int)i + 1);
  }
  return 0;
}

const luaL_Reg binding_table[] = {{"concat", table_concat},
                                  {"insert", table_insert},
                                  {"remove", table_remove},
                                  {"sort", table_sort},
                                  {NULL, NULL}};
