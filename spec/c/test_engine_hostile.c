// links: base config event state gate deliver engine
/* Rules that would stall, exhaust or corrupt the host. Each is stopped within its budget, and the state works
 * on. */
#include "test_engine_support.h"

#include "base/clock.h"

/** A budget of 60 ms leaves room for the kernel's ticks and the sanitizers. */
static const char yaml[] = "rules:\n  budget: 60ms\n  memory: 8MB\n";

enum { BUDGET_MS = 60 };

struct hostile {
  const char *name, *top, *body;
  int code;         /**< what engine_run returns */
  const char *says; /**< part of the message */
};

#if defined(__SANITIZE_THREAD__)
enum { TIMED = false }; // budgets are counted there (budget.c)
#else
enum { TIMED = true };
#endif

#define SPENT  ERROR_BUDGET, "rules/t/rule.lua:" // time or memory, whichever ends first
#define FAILED ERROR_SCRIPT

static const struct hostile attacks[] = {
    {"an endless loop", "", "while true do end", ERROR_BUDGET,
     "rules/t/rule.lua:4: used up its budget of 60 ms"},
    {"an endless repeat", "", "repeat local x = 1 until false", SPENT},
    {"a goto loop", "", "::again:: goto again", SPENT},
    {"a numeric loop", "", "for i = 1, 1e15 do end", SPENT},
    {"a loop over C calls", "", "while true do math.sin(1) end", SPENT},
    {"tail calls", "", "local function f() return f() end f()", FAILED, "stack overflow"},
    {"a growing table", "", "local t = {} for i = 1, 1e9 do t[i] = i end", SPENT},
    {"a growing set", "", "local t = {} for i = 1, 1e9 do t['k' .. i] = i end", SPENT},
    {"a gigabyte of text", "", "local s = 'x' while true do s = s .. s end", ERROR_BUDGET,
     "used up its memory"},
    {"string.rep bomb", "", "local s = ('x'):rep(1e9)", FAILED, "string.rep: the text would have"},
    {"string.rep of a size below the limit", "",
     "local t = {} while true do t[#t + 1] = ('x'):rep(1000000 + #t) end", SPENT},
    {"turning long text around", "",
     "local s = ('x'):rep(1000000) while true do s:upper():lower():reverse() end", SPENT},
    {"turning longer text around", "", "return (('x'):rep(1000000) .. ('y'):rep(100000)):upper()", FAILED,
     "string.upper takes at most 1048576 bytes"},
    {"string.rep of nothing", "", "local s = (''):rep(1e300)", 0, ""},
    {"a pattern that backtracks", "", "return (('a'):rep(40)):match('.-.-.-.-.-.-.-.-.-.-b')", SPENT},
    {"a greedy pattern", "", "return (('a'):rep(30000)):find('.*.*.*.*b')", SPENT},
    {"a long pattern", "", "return ('a'):find(('a?'):rep(200))", FAILED, "a pattern may have at most 256"},
    {"gmatch without end", "", "while true do for _ in ('abc'):gmatch('') do end end", SPENT},
    {"gsub that calls itself", "", "local function f() return (('x'):gsub('x', f)) end f()", FAILED,
     "nested more than 32 deep"},
    {"gsub with __index that calls gsub", "",
     "local t t = setmetatable({}, { __index = function(_, k) return (k:gsub('.', t)) end }) return "
     "('x'):gsub('.', t)",
     FAILED, "nested more than 32 deep"},
    {"gsub that grows", "", "local s = 'xx' while true do s = s:gsub('x', 'xxxx') end", SPENT},
    {"deep recursion", "", "local function f(n) return 1 + f(n + 1) end f(1)", FAILED, "stack overflow"},
    {"mutual recursion through pcall", "", "local function f() pcall(f) end f() while true do f() end",
     SPENT},
    {"pcall nested without end", "",
     "local function f() local ok, why = pcall(f) if not ok then error(why, 0) end end f()", FAILED,
     "nested more than 32 deep"},
    {"an error that is a table", "", "error({})", FAILED,
     "rules/t/rule.lua:4: the error raised is not text but a table"},
    {"an error that is nil", "", "error()", FAILED, "not text but a nil"},
    {"an error with a __tostring that loops", "",
     "error(setmetatable({}, { __tostring = function() while true do end end }))", FAILED,
     "not text but a table"},
    {"tostring of it", "",
     "local s = tostring(setmetatable({}, { __tostring = function() while true do end end })) error(s)",
     FAILED, "rule.lua:4: table"},
    {"format of it", "",
     "error(('%s'):format(setmetatable({}, { __tostring = function() while true do end end })))", FAILED,
     "rule.lua:4: table"},
    {"an error as long as can be", "", "error(('x'):rep(100000))", FAILED, "xxxx"},
    {"pcall swallowing the budget", "", "while true do pcall(function() while true do end end) end", SPENT},
    {"pcall swallowing it deep inside", "",
     "local function f() pcall(function() pcall(function() while true do end end) end) end while true do "
     "pcall(f) end",
     SPENT},
    {"pcall swallowing memory errors", "",
     "while true do pcall(function() local s = 'x' while true do s = s .. s end end) end", SPENT},
    {"an __index loop", "", "local t = {} setmetatable(t, { __index = t }) return t.x", FAILED, "loop"},
    {"an __index that never ends", "",
     "local t t = setmetatable({}, { __index = function(_, k) return t[k + 1] end }) return t[1]", FAILED,
     "stack overflow"},
    {"a __newindex that never ends", "",
     "local t t = setmetatable({}, { __newindex = function(_, k) t[k + 1] = 1 end }) t[1] = 1", FAILED,
     "stack overflow"},
    {"a __concat that loops", "",
     "local t = setmetatable({}, { __concat = function() while true do end end }) return t .. 'x'", SPENT},
    {"a __eq that loops", "",
     "local m = { __eq = function() while true do end end } return setmetatable({}, m) == setmetatable({}, "
     "m)",
     SPENT},
    {"sort with a contradicting function", "",
     "local t = {} for i = 1, 2000 do t[i] = i end table.sort(t, function() return true end)", 0, ""},
    {"sort without end", "",
     "local t = {} for i = 1, 20000 do t[i] = -i end while true do table.sort(t) table.sort(t, function(a, "
     "b) return a > b end) end",
     SPENT},
    {"sort that loops", "", "table.sort({ 1, 2, 3 }, function() while true do end end)", SPENT},
    {"sort in sort in sort", "", "local function f() table.sort({ 1, 2 }, f) end f()", FAILED,
     "nested more than 32 deep"},
    {"sort that changes its table", "",
     "local t = { 3, 2, 1 } table.sort(t, function(a, b) t[1] = nil t[9] = 1 return a < b end)", 0, ""},
    {"sort of what has no order", "", "table.sort({ 1, 'x', {} })", FAILED, "attempt to compare"},
    {"a wide format", "", "return ('%99999999d'):format(1)", FAILED, "string.format: '%9' is not known"},
    {"a precise format", "", "return ('%.999f'):format(1)", FAILED, "string.format"},
    {"a format of the largest number", "", "assert(#('%99.99f'):format(1e308) == 409)", 0, ""},
    {"a huge concat", "",
     "local t = {} for i = 1, 1000 do t[i] = ('x'):rep(1000) end while true do table.concat(t, "
     "('y'):rep(1000)) end",
     SPENT},
    {"a concat over a billion", "", "table.concat({}, '', 1, 1e308)", FAILED, "below a billion"},
    {"inserting at the front", "", "local t = {} while true do table.insert(t, 1, 1) end", SPENT},
    {"pairs of a growing table", "",
     "local t = { a = 1 } for i = 1, 1e9 do for k in pairs(t) do t[k .. i] = i end end", SPENT},
    {"next through a large table", "",
     "local t = {} for i = 1, 20000 do t['k' .. i] = i end for k in next, t do end", SPENT},
    {"unpack of a billion", "", "return unpack({}, 1, 1e9)", FAILED, "too many results"},
    {"a select of nothing", "", "return select(-9, 1)", FAILED, "bad argument"},
    {"coercion of a loop into numbers", "", "for i = 1, 1e9 do local x = (i .. '') + 1 end", SPENT},
    {"thousands of messages", "", "for i = 1, 1e6 do user:send { channel = 'email', template = 'm' } end",
     ERROR_LIMIT, "more than 100 messages"},
    {"a profile that grows", "", "for i = 1, 1e6 do user:set('a' .. i, ('x'):rep(4000)) end", ERROR_LIMIT,
     "does not fit into the user's record"},
    {"a value that contains itself", "", "local t = {} t.t = t user:set('a', t)", FAILED,
     "nested too deeply"},
    {"a value that is deep", "", "local t = {} for i = 1, 1000 do t = { t } end user:set('a', t)", FAILED,
     "nested too deeply"},
    {"a value with a function", "", "user:set('a', { print })", FAILED, "holds a function"},
    {"a value that is not a number", "", "user:set('a', 0 / 0)", FAILED, "not finite"},
    {"a table with few keys far apart", "", "user:set('a', { [1] = 1, [1e15] = 2 })", FAILED,
     "names must be text"},
    {"an attribute too large", "", "user:set('a', ('x'):rep(5000))", ERROR_LIMIT, "too large"},
    {"a fact a read, for ever", "", "for i = 1, 1e9 do local x = user['k' .. i] end", SPENT},
    {"random with no room", "", "return math.random(0)", FAILED, "there is no number"},
    {"a string method that is not there", "", "return ('x'):dump()", FAILED, "attempt to call method 'dump'"},
    {"the metatable of strings", "", "assert(getmetatable('') == false)", 0, ""},
    {"the metatable of the user", "", "assert(getmetatable(user) == false)", 0, ""},
    {"a weak table", "", "return setmetatable({}, { __mode = 'k' })", FAILED,
     "weak tables are not supported"},
    {"a method on something else", "", "return user.count({})", FAILED, "with a colon"},
    {"a user of nothing", "", "return user.send()", FAILED, "with a colon"},
    {"a number where a window belongs", "", "return user:count(5)", FAILED, "user:count takes a window"},
    {"the user where a window belongs", "", "return user:count(user)", FAILED, "user:count takes a window"},
};

static void prepare(struct bench *bench) {
  bench_init(bench, yaml);
  bench_write(bench, "t/m.txt", "---\nsubject: s\n---\nhello");
}

/** Each attack in a state of its own, then again after a well-behaved call in the same state. */
static void attack(struct bench *bench, const struct hostile *hostile) {
  if (bench_rule(bench, hostile->top, hostile->body)) fail_msg("%s: %s", hostile->name, bench->err.message);
  for (int round = 0; round < 2; round++) {
    bench_event(bench, "x", "{\"total\":5}", 1000000);
    int64_t before = clock_thread_us();
    int rc = bench_run(bench, 0);
    int64_t took = (clock_thread_us() - before) / 1000;
    if (rc != hostile->code) fail_msg("%s: %d %s", hostile->name, rc, bench->err.message);
    if (rc && !strstr(bench->err.message, hostile->says))
      fail_msg("%s: %s", hostile->name, bench->err.message);
    if (TIMED && !bench->counted && took > 3 * BUDGET_MS) fail_msg("%s took %d ms", hostile->name, (int)took);
    assert_true(engine_memory(bench->engine) <= 8 << 20);
  }
}

static void test_attacks(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
    struct bench bench;
    prepare(&bench);
    attack(&bench, &attacks[i]);
    bench_deinit(&bench);
  }
}

/** Where steps are counted, the same attacks end in the same way, and at the same place in every run. */
static void test_attacks_counted(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++) {
    struct error first = {0};
    for (int run = 0; run < 2; run++) {
      struct bench bench;
      prepare(&bench);
      bench.counted = true;
      attack(&bench, &attacks[i]);
      if (run && strcmp(bench.err.message, first.message) != 0)
        fail_msg("%s: %s\n%s", attacks[i].name, first.message, bench.err.message);
      first = bench.err;
      bench_deinit(&bench);
    }
  }
}

/** All in one state, one after the other: none leaves a mark on the next. */
static void test_one_state(void **state) {
  (void)state;
  struct bench bench;
  prepare(&bench);
  struct buf text;
  buf_init(&text);
  buf_printf(&text, "local kairos = require 'kairos'\nreturn {\n");
  for (size_t i = 0; i < sizeof attacks / sizeof *attacks; i++)
    buf_printf(&text, "kairos.rule { name = 'a%zu', on = 'x', act = function(event, user) %s end },\n", i,
               attacks[i].body);
  buf_printf(&text, "kairos.rule { name = 'good', on = 'x', act = function(event, user)\n"
                    "local t = {} for w in ('a b c'):gmatch('%%a') do t[#t + 1] = w end\n"
                    "user:set('seen', (user.seen or 0) + 1) assert(table.concat(t) == 'abc') end } }\n");
  bench_write(&bench, "t/rule.lua", (const char *)text.data);
  buf_deinit(&text);
  if (bench_load(&bench)) fail_msg("%s", bench.err.message);
  uint32_t good = sizeof attacks / sizeof *attacks;
  for (uint32_t i = 0; i < good; i++) {
    bench_event(&bench, "x", "{\"total\":5}", 1000000);
    int rc = bench_run(&bench, i);
    if (rc != attacks[i].code) fail_msg("%s: %d %s", attacks[i].name, rc, bench.err.message);
    if (bench_run(&bench, good)) fail_msg("after %s: %s", attacks[i].name, bench.err.message);
  }
  struct str seen;
  assert_true(record_attribute(&bench.record, STR("seen"), &seen));
  assert_int_equal(value_head(seen).integer, good);
  bench_deinit(&bench);
}

/** A file that never ends loading, or asks for too much; what can be told without running it, is. */
static void test_loading(void **state) {
  (void)state;
  static const struct {
    const char *top;
    int code;
    const char *says;
  } cases[] = {
      {"while true do end", ERROR_BUDGET, "rules/t/rule.lua:2: used up its budget of 3000 ms"},
      {"local t = {} for i = 1, 1e9 do t[i] = i end", ERROR_BUDGET, "used up its memory of 8 MB"},
      {"local x = io.open('/etc/passwd')", ERROR_SCRIPT,
       "rules/t/rule.lua:2: there is no `io` here: rules do no I/O"},
      {"local x = os.time()", ERROR_SCRIPT, "the time is event.timestamp"},
      {"local f = loadstring('x')", ERROR_SCRIPT, "there is no `loadstring` here"},
      {"local f = debug", ERROR_SCRIPT, "there is no `debug` here"},
      {"local f = coroutine.create", ERROR_SCRIPT, "there is no `coroutine` here"},
      {"local f = _G", ERROR_SCRIPT, "there is no `_G` here"},
      {"local f = getfenv or setfenv", ERROR_SCRIPT, "there is no `getfenv` here"},
      {"local f = newproxy", ERROR_SCRIPT, "there is no `newproxy` here"},
      {"local f = xpcall", ERROR_SCRIPT, "there is no `xpcall` here: write pcall(f)"},
      {"local x = require 'ffi'", ERROR_SCRIPT, "require: there is no rules/t/ffi.lua"},
      {"local x = require 'kairos.core'", ERROR_SCRIPT, "a module is named by letters"},
      {"local x = require '../../etc/passwd'", ERROR_SCRIPT, "a module is named by letters"},
      {"local x = 1LL", ERROR_SCRIPT, "rules/t/rule.lua: numbers ending in LL"},
      {"print('x')", ERROR_SCRIPT, "a rule has nowhere to print to"},
      {"string.upper = nil", ERROR_SCRIPT, "rules/t/rule.lua:2: this table belongs to the library"},
      {"kairos.window = nil", ERROR_SCRIPT, "rules/t/rule.lua:2: this table belongs to the library"},
      {"rawset(string, 'x', 1)", ERROR_SCRIPT, "belongs to the library"},
      {"setmetatable(table, {})", ERROR_SCRIPT, "belongs to the library"},
      {"table.insert(kairos, 1)", ERROR_SCRIPT, "belongs to the library"},
      {"local x = kairos.now()", ERROR_SCRIPT, "is known while a rule runs"},
      {"x = = 1", ERROR_SCRIPT, "rules/t/rule.lua:2: unexpected symbol near '='"},
      {"local s = ('('):rep(5000)", 0, ""},
      {"((((((((((((((((((((", ERROR_SCRIPT, "rules/t/rule.lua:"},
      {"\x1bLJ\x02", ERROR_SCRIPT, "rules/t/rule.lua:2:"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bench bench;
    prepare(&bench);
    int rc = bench_rule(&bench, cases[i].top, "");
    if (rc != cases[i].code || (rc && !strstr(bench.err.message, cases[i].says)))
      fail_msg("%s: %d %s", cases[i].top, rc, bench.err.message);
    bench_deinit(&bench);
  }
}

/** Bytecode as a rule file. */
static void test_bytecode_file(void **state) {
  (void)state;
  struct bench bench;
  prepare(&bench);
  bench_write(&bench, "t/rule.lua", "\x1bLJ\x02\x0a");
  assert_int_equal(bench_load(&bench), ERROR_SCRIPT);
  assert_non_null(strstr(bench.err.message, "rules/t/rule.lua: this is compiled Lua"));
  bench_deinit(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_attacks), cmocka_unit_test(test_attacks_counted),
                                     cmocka_unit_test(test_one_state), cmocka_unit_test(test_loading),
                                     cmocka_unit_test(test_bytecode_file)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
