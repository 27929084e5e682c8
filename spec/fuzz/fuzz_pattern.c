// covers: src/engine/pattern.c
/* Lua's patterns: find, match, gmatch and gsub as rules have them against LuaJIT's own. Input, parts between
 * 0x1e: which function and where it begins, pattern, subject, replacement. Short ones: LuaJIT's own can take
 * for ever. */
#include "base/memory.h"
#include "engine/bindings.h"
#include "fuzz.h"

#include <sanitizer/lsan_interface.h>
#include <stdlib.h>

enum { PATTERN_BYTES = 20, SUBJECT_BYTES = 24, BUDGET_MS = 1000 };

static struct sandbox sandbox;
static lua_State *plain;

struct call {
  unsigned function; /**< find, match, gmatch, gsub */
  lua_Number from;
  struct str pattern, subject, replacement;
  struct buf said; /**< all results, or the error's text */
  bool failed;
};

static int open_bindings(lua_State *lua, void *context) {
  (void)context;
  bindings_open(lua);
  return 0;
}

/** Lua's values are tagged: what the state holds on to would look lost. */
int __lsan_is_turned_off(void) {
  return 1;
}

void fuzz_set_up(void) {
  struct error err;
  sandbox_init(&sandbox, 64 << 20, true);
  if (sandbox_run(&sandbox, open_bindings, NULL, BUDGET_MS, &err)) HOLDS(false, "%s", err.message);
  plain = luaL_newstate();
  luaL_openlibs(plain);
}

/** Append what is on the stack from `first` on. */
static void put_results(lua_State *lua, int first, struct buf *out) {
  for (int i = first; i <= lua_gettop(lua); i++) {
    struct str text = {0};
    if (lua_type(lua, i) == LUA_TSTRING || lua_type(lua, i) == LUA_TNUMBER) {
      bool number = lua_type(lua, i) == LUA_TNUMBER;
      text.data = lua_tolstring(lua, i, &text.len);
      buf_printf(out, number ? "#" : "\"");
      buf_put_str(out, text);
    } else {
      buf_printf(out, "%s;", luaL_typename(lua, i));
    }
  }
}

/** Call the function on top of the stack. */
static void run(lua_State *lua, struct call *call) {
  int base = lua_gettop(lua);
  lua_pushlstring(lua, call->subject.data, call->subject.len);
  lua_pushlstring(lua, call->pattern.data, call->pattern.len);
  int arguments = 2;
  if (call->function == 3) {
    lua_pushlstring(lua, call->replacement.data, call->replacement.len);
    arguments = 3;
  } else if (call->function < 2 && call->from != 1) {
    lua_pushnumber(lua, call->from);
    arguments = 3;
  }
  if (call->function == 2) {
    lua_call(lua, 2, 1);
    for (unsigned i = 0; i < 2 * SUBJECT_BYTES; i++) {
      lua_pushvalue(lua, base);
      int top = lua_gettop(lua);
      lua_call(lua, 0, LUA_MULTRET);
      if (lua_gettop(lua) < top || lua_isnil(lua, top)) break;
      put_results(lua, top, &call->said);
      lua_settop(lua, base);
    }
    return;
  }
  lua_call(lua, arguments, LUA_MULTRET);
  put_results(lua, base, &call->said);
}

static const char *const names[] = {"find", "match", "gmatch", "gsub"};

static int run_ours(lua_State *lua, void *context) {
  struct call *call = context;
  for (const luaL_Reg *entry = binding_string; entry->name; entry++)
    if (strcmp(entry->name, names[call->function]) == 0) lua_pushcfunction(lua, entry->func);
  run(lua, call);
  return 0;
}

static int run_plain(lua_State *lua) {
  struct call *call = lua_touserdata(lua, 1);
  lua_getglobal(lua, "string");
  lua_getfield(lua, -1, names[call->function]);
  run(lua, call);
  return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct call ours = {.function = input_u8(&input) & 3};
  ours.from = (int8_t)(input_u8(&input) - 'A' + 1);
  ours.pattern = input_part(&input);
  ours.subject = input_part(&input);
  ours.replacement = input_part(&input);
  if (ours.pattern.len > PATTERN_BYTES || ours.subject.len > SUBJECT_BYTES) return 0;
  // Behind the end Lua 5.1 matches at the end; here there is nothing, as in later versions.
  if (ours.from > (lua_Number)ours.subject.len + 1) ours.from = 1;
  // Nor is a % at the end a zero.
  while (ours.replacement.len && ours.replacement.data[ours.replacement.len - 1] == '%')
    ours.replacement.len--;
  struct call theirs = ours;
  struct error err = {0};
  buf_init(&ours.said);
  buf_init(&theirs.said);
  int code = sandbox_run(&sandbox, run_ours, &ours, BUDGET_MS, &err);
  HOLDS(code == 0 || code == ERROR_SCRIPT || code == ERROR_BUDGET, "%s", err.message);
  HOLDS(sandbox.depth == 0);
  if (code != ERROR_BUDGET) {
    bool failed = lua_cpcall(plain, run_plain, &theirs) != 0;
    const char *why = failed ? lua_tostring(plain, -1) : "";
    // LuaJIT's own gives up where it recurses too deep, and ends at a zero.
    bool zero = ours.pattern.len && memchr(ours.pattern.data, 0, ours.pattern.len);
    // In [a-%x] it takes the % for the range's end and for an escape too.
    bool both = ours.pattern.len && memmem(ours.pattern.data, ours.pattern.len, "-%", 2);
    // It does not mind a group that is never closed, as long as nobody asks for it, nor %1 for a position.
    bool lenient = !failed && ((ours.function == 3 && strstr(err.message, "missing ')'")) ||
                               strstr(err.message, "need one before them"));
    if (!strstr(why, "too complex") && !zero && !both && !lenient) {
      HOLDS(failed == (code != 0), "here \"%s\", there \"%s\"", err.message, why);
      HOLDS(failed || str_equal(buf_str(&ours.said), buf_str(&theirs.said)), "here %.*s, there %.*s",
            STR_ARG(buf_str(&ours.said)), STR_ARG(buf_str(&theirs.said)));
    }
    lua_settop(plain, 0);
  }
  buf_deinit(&ours.said);
  buf_deinit(&theirs.said);
  return 0;
}
