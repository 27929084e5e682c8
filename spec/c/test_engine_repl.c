// links: base config event state deliver gate engine
/* A session's Lua state: slices, memory, questions, and every attack of spec/hostile/attacks.lua typed into
 * it. With KAIROS_SLICES set, prints the longest slice of each. */
#include "base/clock.h"
#include "base/memory.h"
#include "engine/repl.h"
#include "event/value.h"

#include <lauxlib.h>
#include <lualib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static char root[1024];

static struct buf library_text(void) {
  char path[1100];
  struct buf text;
  buf_init(&text);
  snprintf(path, sizeof path, "%s/lua/kairos/look.lua", root);
  FILE *file = fopen(path, "rb");
  assert_non_null(file);
  size_t got;
  while ((got = fread(buf_reserve(&text, 4096), 1, 4096, file)) > 0) text.len += got;
  fclose(file);
  return text;
}

static int scene_begin(void **state) {
  struct error err = {0};
  struct repl *repl;
  struct buf text = library_text();
  if (repl_new(&repl, buf_str(&text), &err)) fail_msg("%s", err.message);
  buf_deinit(&text);
  *state = repl;
  return 0;
}

static int scene_end(void **state) {
  repl_free(*state);
  return 0;
}

static int64_t longest_us; /**< slice of the last run() */

/** @param slices_max  then it is dropped. */
static enum repl_state run(struct repl *repl, const char *code, int slices_max, bool json) {
  enum repl_state state = repl_begin(repl, str_from(code), json);
  longest_us = 0;
  for (int i = 0; state == REPL_SLICED && i < slices_max; i++) {
    int64_t began = clock_thread_us();
    state = repl_step(repl, REPL_SLICE_US, NULL);
    int64_t took = clock_thread_us() - began;
    if (took > longest_us) longest_us = took;
  }
  return state;
}

static void shows(struct repl *repl, const char *code, const char *wanted) {
  enum repl_state state = run(repl, code, 10000, false);
  if (state != REPL_DONE) fail_msg("%s: %.*s", code, STR_ARG(repl_failure(repl)));
  struct str output = repl_output(repl);
  if (!str_equal(output, str_from(wanted))) fail_msg("%s: %.*s instead of %s", code, STR_ARG(output), wanted);
}

static void fails(struct repl *repl, const char *code, const char *why) {
  assert_int_equal(run(repl, code, 100000, false), REPL_FAILED);
  struct str failure = repl_failure(repl);
  if (!memmem(failure.data, failure.len, why, strlen(why)))
    fail_msg("%s: \"%.*s\" does not say \"%s\"", code, STR_ARG(failure), why);
}

/* ---- values ---- */

static void test_shows_values(void **state) {
  shows(*state, "nil, true, 1, 1.5, 2^53, -0.1", "nil\ntrue\n1\n1.5\n9.007199254741e+15\n-0.1\n");
  shows(*state, "{}, {{}}, { [1.5] = 1, [true] = 2, x = 3, 4 }",
        "{}\n{ {} }\n{ 4, [1.5] = 1, x = 3, [true] = 2 }\n");
  shows(*state, "{ ['end'] = 1, ['a b'] = 2 }", "{ [\"a b\"] = 2, [\"end\"] = 1 }\n");
  shows(*state, "'\\0\\200\\226\\130\\172'", "\"\\x00\\xc8€\"\n");
  shows(*state, "print, function() end", "function\nfunction <session:1>\n");
  shows(*state, "local a = {} local b = { a, a } a.b = b return b",
        "{ { b = { … itself } }, { b = { … itself } } }\n");
  shows(*state, "local t = {} for i = 1, 12 do t = { t } end return t",
        "{ { { { { { { { { … } } } } } } } } }\n");
  shows(*state, "{ [{}] = 1 }", "{ [table] = … }\n");
  shows(*state, "print('a', 1, { 2 }, nil)", "a\t1\t{ 2 }\tnil\n");
  shows(*state, "7", "7\n");
  shows(*state, "_ + 1", "8\n");
}

static void test_shows_json(void **state) {
  struct repl *repl = *state;
  assert_int_equal(run(repl, "{ a = { 1, 2 }, b = 'x\\n', c = {} }", 100, true), REPL_DONE);
  assert_true(str_equal(repl_output(repl), STR("{\"a\":[1,2],\"b\":\"x\\n\",\"c\":[]}")));
  assert_int_equal(run(repl, "1, nil, 0/0", 100, true), REPL_DONE);
  assert_true(str_equal(repl_output(repl), STR("[1,null,null]")));
  assert_int_equal(run(repl, "x = 1", 100, true), REPL_DONE);
  assert_int_equal(repl_output(repl).len, 2); // no value
}

static void test_output_is_bounded(void **state) {
  struct repl *repl = *state;
  static const char *const large[] = {
      "local t = {} for i = 1, 100 do t[i] = {} for j = 1, 100 do t[i][j] = ('x'):rep(3000) end end return t",
      "for i = 1, 2e4 do print(('x'):rep(1000)) end",
      "local t = {} for i = 1, 20000 do t['k' .. i] = i end return t, t, t",
      "('x'):rep(90000), ('\\1'):rep(90000)",
  };
  for (size_t i = 0; i < sizeof large / sizeof *large; i++) {
    if (run(repl, large[i], 100000, false) == REPL_FAILED)
      fail_msg("%s: %.*s", large[i], STR_ARG(repl_failure(repl)));
    assert_in_range(repl_output(repl).len, 100, REPL_OUTPUT_MAX + 20000);
    run(repl, large[i], 100000, true);
    assert_in_range(repl_output(repl).len, 0, REPL_OUTPUT_MAX + 20000);
  }
}

/* ---- slices ---- */

static void test_goes_on_where_it_was(void **state) {
  struct repl *repl = *state;
  shows(repl, "local n = 0 for i = 1, 1e6 do n = n + i end return n", "500000500000\n");
  shows(repl,
        "local t, n = {}, 0 for i = 1, 30000 do t['k' .. i] = i end for k, v in pairs(t) do n = n + v end "
        "return n",
        "450015000\n");
  shows(repl,
        "local ok, why = pcall(function() for i = 1, 1e6 do local x = { i } end error('x', 0) end) return "
        "ok, why",
        "false\n\"x\"\n");
  shows(repl,
        "local t = setmetatable({}, { __index = function(_, k) for i = 1, 1e5 do local x = i .. '' end "
        "return k end }) "
        "return t.a .. t.b",
        "\"ab\"\n");
  shows(repl, "local n = 0 for w in (('ab '):rep(20000)):gmatch('%w+') do n = n + #w end return n",
        "40000\n");
  assert_int_equal(repl_begin(repl, STR("while true do end"), false), REPL_SLICED);
  for (int i = 0; i < 5; i++) assert_int_equal(repl_step(repl, REPL_SLICE_US, NULL), REPL_SLICED);
  atomic_bool cancelled = true;
  assert_int_equal(repl_step(repl, REPL_SLICE_US, &cancelled), REPL_SLICED);
  repl_drop(repl);
  shows(repl, "1", "1\n");
}

/** Programs in which a slice may end at each kind of instruction. */
static const char *const programs[] = {
    "local m = {} m.__index = function(t, k) return k .. '!' end m.__newindex = function(t, k, v) rawset(t, "
    "k, v .. '?') "
    "end m.__call = function(t, a, ...) return a, select('#', ...), ... end m.__concat = function(a, b) "
    "return 'c' end "
    "m.__eq = function() return true end m.__lt = function() return true end m.__le = function() return "
    "false end "
    "m.__unm = function() return 'neg' end m.__add = function(a, b) return 5 end "
    "local out = {} for i = 1, 300 do local a, b = setmetatable({}, m), setmetatable({}, m) a.x = 'v' .. i "
    "out[i] = a.y .. a.x .. (a .. b) .. tostring(a == b) .. tostring(a < b) .. tostring(a <= b) .. (-a) .. "
    "(a + 1) "
    ".. select('#', a(1, nil, i, nil)) end return table.concat(out):len(), out[300]",
    "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end return fib(18)",
    "local function loop(n, acc) if n == 0 then return acc end return loop(n - 1, acc + n) end return "
    "loop(5000, 0)",
    "local n = 0 for i = 1, 200 do local ok, why = pcall(function(...) if i % 3 == 0 then error('e' .. i, 0) "
    "end return "
    "pcall(pcall, function() n = n + i error({ i }) end) end, i, nil) n = n + (ok and 1 or #why) end return "
    "n",
    "local t = {} for i = 1, 500 do t[i] = { k = i % 7, v = ('x'):rep(i % 5) .. i } end table.sort(t, "
    "function(a, b) if a.k "
    "~= b.k then return a.k < b.k end return a.v < b.v end) local out = {} for i, e in ipairs(t) do out[#out "
    "+ 1] = e.k .. "
    "e.v end return table.concat(out, ','):len(), t[1].v, t[500].v",
    "local out = {} for w, n in ('a1 b22 c333 '):rep(50):gmatch('(%a)(%d+)') do out[#out + 1] = w:upper() .. "
    "#n end return "
    "(table.concat(out):gsub('%d', function(d) return '<' .. d .. '>' end)):len()",
    "local function iter(s, i) i = i + 1 if i <= s then return i, i * i end end local sum = 0 for i, q in "
    "iter, 1000, 0 do sum "
    "= sum + q if i % 2 == 0 then goto next end sum = sum - 1 ::next:: end return sum",
    "local t = {} for i = 1, 200 do local j = i t[i] = function(...) j = j + select('#', ...) return j, ... "
    "end end local sum = 0 "
    "for r = 1, 3 do for i = 1, 200 do local a, b = t[i](i, nil, r) sum = sum + a + b end end return sum",
    "local s = 0 for i = 10, 1, -0.25 do s = s + i end while s > 5 do s = s - 0.5 end repeat s = s + 1 until "
    "s > 40 return s",
    "local co = {} for i = 1, 100 do co[i] = { tostring(i), tonumber(('%d'):format(i)), -i, not i, "
    "#tostring(i) } end local n "
    "= 0 for _, r in ipairs(co) do local a, b, c, d, e = unpack(r, 1, 5) n = n + b + c + e + #a end return n",
};

/** However short the slices are, the outcome is the same. */
static void test_slices_end_anywhere(void **state) {
  struct repl *repl = *state;
  struct buf wanted;
  buf_init(&wanted);
  for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) {
    if (repl_begin(repl, str_from(programs[i]), false) != REPL_SLICED)
      fail_msg("%s: %.*s", programs[i], STR_ARG(repl_failure(repl)));
    while (repl_step(repl, 1000000, NULL) == REPL_SLICED) continue;
    buf_clear(&wanted);
    buf_append(&wanted, repl_output(repl).data, repl_output(repl).len);
    if (!wanted.len) fail_msg("%s: %.*s", programs[i], STR_ARG(repl_failure(repl)));
    assert_int_equal(repl_begin(repl, str_from(programs[i]), false), REPL_SLICED);
    int slices = 0;
    while (repl_step(repl, 0, NULL) == REPL_SLICED) slices++;
    if (!str_equal(repl_output(repl), buf_str(&wanted)))
      fail_msg("%s: %.*s%.*s instead of %.*s", programs[i], STR_ARG(repl_output(repl)),
               STR_ARG(repl_failure(repl)), STR_ARG(buf_str(&wanted)));
    assert_in_range(slices, 10, 1000000);
  }
  buf_deinit(&wanted);
}

static void test_ends_what_does_not_end(void **state) {
  fails(*state, "while true do end", "used up its 1 s of processor time");
  fails(*state, "while true do pcall(error) end", "used up its 1 s of processor time");
  shows(*state, "select('#', pcall(select, 1, nil, nil))", "3\n");
  // Each of some thousand calls adds a result to those of the next, and the innermost says why it failed.
  shows(*state,
        "local function ends(...) return select('#', ...) > 1000, (select(select('#', ...), ...)) end "
        "return ends(setmetatable({}, { __call = pcall })())",
        "true\n\"pcall:1: stack overflow\"\n");
  fails(*state, "table.sort({ 1, 2, 3 }, function() while true do end end)", "took too long");
  fails(*state, "local s = 'x' while true do s = s .. s end", "more memory");
  fails(*state, "t = {} for i = 1, 1e9 do t[i] = { i } end", "more memory");
  shows(*state, "#t > 1000", "true\n"); // what a session made stays with it
  shows(*state, "t = nil", "");
  repl_tidy(*state);
  shows(*state, "local n = 0 for i = 1, 3e5 do n = n + #{ i } end return n",
        "300000\n"); // garbage is no matter
  fails(*state, "1LL", "write a plain number");
  fails(*state, "setmetatable({}, { __call = 5 })()", "attempt to call");
  fails(*state, "error { code = 7 }", "not text but { code = 7 }");
}

/* ---- questions ---- */

static void test_asks(void **state) {
  struct repl *repl = *state;
  assert_int_equal(run(repl, "local u = user 'ada' return u.seq + 1", 10, false), REPL_ASKS);
  struct str question = repl_question(repl), arguments;
  struct reader reader = reader_of(question);
  assert_int_equal(value_read(&reader).count, 2);
  assert_true(str_equal(value_read(&reader).string, STR("user")));
  arguments = value_slice(&reader);
  struct str user;
  assert_true(value_member(arguments, STR("user"), &user));
  struct buf answer;
  buf_init(&answer);
  value_put_map(&answer, 1);
  value_put_member_integer(&answer, "seq", 41);
  repl_answer(repl, 0, buf_str(&answer), NULL);
  assert_int_equal(repl_step(repl, REPL_SLICE_US, NULL), REPL_DONE);
  assert_true(str_equal(repl_output(repl), STR("42\n")));
  buf_deinit(&answer);

  assert_int_equal(run(repl, "pcall(status)", 10, false), REPL_ASKS);
  struct error err;
  error_set(&err, ERROR_UNAVAILABLE, "not now");
  repl_answer(repl, ERROR_UNAVAILABLE, STR(""), &err);
  assert_int_equal(repl_step(repl, REPL_SLICE_US, NULL), REPL_DONE);
  assert_true(str_equal(repl_output(repl), STR("false\n\"not now\"\n")));

  assert_int_equal(run(repl, "status()", 10, false), REPL_ASKS);
  char *large = memory_zalloc(REPL_ANSWER_MAX + 1);
  repl_answer(repl, 0, (struct str){large, REPL_ANSWER_MAX + 1}, NULL);
  memory_free(large);
  assert_int_equal(repl_step(repl, REPL_SLICE_US, NULL), REPL_FAILED);
  fails(repl, "table.sort({ 2, 1 }, status)", "cannot be asked within");
  fails(repl, "user {}", "user takes an id");
  fails(repl, "try { type = print, user = 'ada' }", "holds a function");
}

/* ---- attacks ---- */

static void test_attacks(void **state) {
  struct repl *repl = *state;
  bool shown = getenv("KAIROS_SLICES") != NULL;
  lua_State *lua = luaL_newstate();
  char path[1100];
  luaL_openlibs(lua);
  snprintf(path, sizeof path, "%s/spec/hostile/attacks.lua", root);
  if (luaL_dofile(lua, path)) fail_msg("%s", lua_tostring(lua, -1));
  int families = (int)lua_objlen(lua, -1), count = 0;
  assert_in_range(families, 10, 100);
  for (int family = 1; family <= families; family++) {
    lua_rawgeti(lua, 1, family);
    for (int i = 1; i <= (int)lua_objlen(lua, 2); i++, count++) {
      lua_rawgeti(lua, 2, i);
      lua_rawgeti(lua, 3, 1);
      lua_rawgeti(lua, 3, 2);
      const char *code = lua_tostring(lua, -1);
      enum repl_state ended = run(repl, code, 100, false);
      if (shown && longest_us > 2000) printf("%8lld us: %s\n", (long long)longest_us, lua_tostring(lua, -2));
      if (ended == REPL_SLICED || ended == REPL_ASKS) repl_drop(repl);
      if (repl_untidy(repl)) repl_tidy(repl);
      shows(repl, "('ok'):upper()", "\"OK\"\n");
      lua_settop(lua, 2);
    }
    lua_settop(lua, 1);
  }
  assert_in_range(count, 200, 1000);
  lua_close(lua);
}

int main(void) {
  snprintf(root, sizeof root, "%s", __FILE__);
  for (int i = 0; i < 3; i++) *strrchr(root, '/') = 0;
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_shows_values, scene_begin, scene_end),
      cmocka_unit_test_setup_teardown(test_shows_json, scene_begin, scene_end),
      cmocka_unit_test_setup_teardown(test_output_is_bounded, scene_begin, scene_end),
      cmocka_unit_test_setup_teardown(test_goes_on_where_it_was, scene_begin, scene_end),
      cmocka_unit_test_setup_teardown(test_slices_end_anywhere, scene_begin, scene_end),
      cmocka_unit_test_setup_teardown(test_ends_what_does_not_end, scene_begin, scene_end),
      cmocka_unit_test_setup_teardown(test_asks, scene_begin, scene_end),
      cmocka_unit_test_setup_teardown(test_attacks, scene_begin, scene_end),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
