// covers: src/engine/bytecode.c
/* The bytecode of rule files: any Lua text compiles, is guarded and loads; and dumps that no compiler made
 * are refused or passed on without a byte read past their end. Input: the first byte says which; Lua text, or
 * the dump. */
#include "engine/bytecode.h"
#include "engine/sandbox.h"
#include "lua_words.h"

#include <stdlib.h>

static lua_State *lua;

void fuzz_set_up(void) {
  lua = luaL_newstate();
  luaL_openlibs(lua);
  luaL_dostring(lua, "jit.off()");
}

static int write_dump(lua_State *state, const void *bytes, size_t len, void *out) {
  (void)state;
  buf_append(out, bytes, len);
  return 0;
}

static bool is_within(struct str part, struct str whole) {
  return part.data >= whole.data && part.data + part.len <= whole.data + whole.len;
}

static void check_notes(const struct bytecode_notes *notes, struct str dump) {
  for (size_t i = 0; i < notes->count; i++) {
    const struct bytecode_note *note = &notes->notes[i];
    HOLDS(note->type >= BYTECODE_READS && note->type <= BYTECODE_SENDS);
    HOLDS(note->name.len == 0 || is_within(note->name, dump));
    HOLDS(note->type != BYTECODE_SENDS || is_within(note->channel, dump));
  }
}

static void take_dump(struct str given) {
  char *exact = fuzz_copy(given, 0, 0);
  struct str dump = {exact, given.len};
  struct buf out;
  struct bytecode_notes notes;
  struct error err = {0};
  buf_init(&out);
  bytecode_notes_init(&notes);
  int code = bytecode_guard(dump, &out, &notes, &err);
  HOLDS(code == 0 || ((code == ERROR_SCRIPT || code == ERROR_VERSION) && err.message[0]), "%d", code);
  check_notes(&notes, dump);
  bytecode_notes_deinit(&notes);
  buf_deinit(&out);
  free(exact);
}

static void take_text(struct str text) {
  struct buf dump, guarded;
  struct bytecode_notes notes;
  struct error err = {0};
  buf_init(&dump);
  buf_init(&guarded);
  bytecode_notes_init(&notes);
  if (luaL_loadbufferx(lua, text.data, text.len, "@text", "t") == 0) {
    HOLDS(lua_dump(lua, write_dump, &dump) == 0);
    int code = bytecode_guard(buf_str(&dump), &guarded, &notes, &err);
    // A number that would need the FFI, or a function too large.
    HOLDS(code == 0 || code == ERROR_SCRIPT, "%d %s", code, err.message);
    if (code == 0) {
      check_notes(&notes, buf_str(&dump));
      HOLDS(luaL_loadbufferx(lua, (const char *)guarded.data, guarded.len, "@text", "b") == 0, "%s",
            lua_tostring(lua, -1));
    }
  }
  lua_settop(lua, 0);
  bytecode_notes_deinit(&notes);
  buf_deinit(&dump);
  buf_deinit(&guarded);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  bool compiled = input_u8(&input) == '!';
  if (compiled)
    take_dump(input_rest(&input));
  else
    take_text(input_rest(&input));
  return 0;
}

void fuzz_seeds(void) {
  static const char *const texts[] = {
      "return 1",
      "local a = {} a.x = 1 a[1] = 2 a[a] = a b = a.x c = #a return function() a = 5 return b end",
      "for i = 1, 10 do local t = { i, x = i, [i] = {} } t.x = t[1] .. 'y' end return f(1, ...)",
      "local u = 1 local function f(x) u = x u = 'k' u = 5 u = nil return f(u) end return f",
      "send { template = 'hello', channel = 'email' } if a and not b or c then return g() else goto done end "
      "::done::",
      "for k, v in pairs(t) do t[k] = nil while k do if v then break end repeat local x = v until x end end",
      "local t = { 1, 2, 3, ... } t[#t + 1] = -t[1] ^ 2 % 3 t.a.b.c.d = t:m(1):n 'x' return select('#', ...)",
      "x = 1LL",
      "x = 0x7fffffff + 1e300 - 0.5",
      "return (function(...) local a, b = ... return a == b, a < b, a ~= 'c' end)(...)",
  };
  struct buf bytes;
  buf_init(&bytes);
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
    buf_clear(&bytes);
    buf_put_u8(&bytes, ' ');
    buf_append(&bytes, texts[i], strlen(texts[i]));
    fuzz_seed(buf_str(&bytes));
    buf_clear(&bytes);
    buf_put_u8(&bytes, '!');
    if (luaL_loadbufferx(lua, texts[i], strlen(texts[i]), "@x", "t") || lua_dump(lua, write_dump, &bytes))
      abort();
    lua_settop(lua, 0);
    fuzz_seed(buf_str(&bytes));
  }
  buf_deinit(&bytes);
}
