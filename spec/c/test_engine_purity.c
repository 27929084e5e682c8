// links: base config event state gate deliver engine
/* Rules are pure: no state from one event to the next, the same order and dice in every run, and rewritten
 * bytecode that means what was written. */
#include "test_engine_support.h"

static const char yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";

static void load(struct bench *bench, const char *top, const char *body) {
  bench_init(bench, yaml);
  if (bench_rule(bench, top, body)) fail_msg("%s", bench->err.message);
}

/** Runs twice; the second run fails if the first left anything behind. */
static void assert_body(const char *top, const char *body, const char *says) {
  struct bench bench;
  load(&bench, top, body);
  for (int i = 0; i < 2; i++) {
    bench_event(&bench, "x", "{\"n\":1,\"list\":[3,1,2],\"map\":{\"b\":1,\"a\":2},\"none\":{},\"empty\":[]}",
                1000000);
    int rc = bench_run(&bench, 0);
    if (!says && rc) fail_msg("%s\n%s", body, bench.err.message);
    if (says && (rc != ERROR_SCRIPT || !strstr(bench.err.message, says)))
      fail_msg("%s\n%d %s", body, rc, bench.err.message);
  }
  bench_deinit(&bench);
}

/* ---- writing what is not the call's own ---- */

#define NO_STATE  "rules keep no state between events"
#define READ_ONLY "the event and the profile are read-only"

static void test_state_between_events(void **state) {
  (void)state;
  static const struct {
    const char *top, *body, *says;
  } cases[] = {
      {"local count = 0", "count = count + 1", "rules/t/rule.lua:4: " NO_STATE ", so `count`"},
      {"local text = 'a'", "text = 'b'", NO_STATE},
      {"local flag = true", "flag = nil", NO_STATE},
      {"local number = 1", "number = 2", NO_STATE},
      {"local seen = {}", "seen[event.id] = true", "rules/t/rule.lua:4: " NO_STATE},
      {"local seen = {}", "seen.x = true", NO_STATE},
      {"local seen = {}", "seen[1] = true", NO_STATE},
      {"local seen = { 1, 2, 3 }", "seen[1] = 5", NO_STATE},
      {"local seen = { deep = { deeper = {} } }", "local d = seen.deep.deeper d.x = 1", NO_STATE},
      {"local seen = {}", "seen[#seen + 1] = 1", NO_STATE},
      {"local seen = {}", "table.insert(seen, 1)", NO_STATE},
      {"local seen = { 1 }", "table.remove(seen)", NO_STATE},
      {"local seen = { 2, 1 }", "table.sort(seen)", NO_STATE},
      {"local seen = {}", "rawset(seen, 'x', 1)", NO_STATE},
      {"local seen = {}", "setmetatable(seen, {})", NO_STATE},
      {"local seen = setmetatable({}, { __index = {} })", "getmetatable(seen).__index.x = 1", NO_STATE},
      {"local seen = {} local function put(t, k) t[k] = 1 end", "put(seen, 'x')",
       "rules/t/rule.lua:2: " NO_STATE},
      {"local seen = {} local function get() return seen end", "get().x = 1", NO_STATE},
      {"local function make() local n = 0 return function() n = n + 1 return n end end local next_one = "
       "make()",
       "next_one()", NO_STATE ", so `n`"},
      {"local function make() local t = {} return t end local kept = make()", "kept.x = 1", NO_STATE},
      {"function helper() return 1 end", "helper = nil", NO_STATE ", so the global `helper`"},
      {"", "total = 1", NO_STATE ", so the global `total`"},
      {"settings = {}", "settings.x = 1", NO_STATE},
      {"local co = { f = function(self) self.n = 1 end }", "co:f()", NO_STATE},
      {"local keys = { [{}] = 1 }", "for k in next, {} do end local k = rawget(keys, 1) user:set('a', 1)",
       NULL},
      {"local gm = ('a b'):gmatch('%a')", "gm()", "this string.gmatch belongs to another event"},
      {"local walk = pairs { a = 1 }", "walk()", "this walk through pairs belongs to another event"},
      {"", "string.x = 1", NO_STATE},
      {"", "math.pi = 3", NO_STATE},
      {"", "kairos.x = 1", NO_STATE},
      {"", "event.payload.n = 2", "rules/t/rule.lua:4: " READ_ONLY},
      {"", "event.x = 2", READ_ONLY},
      {"", "event.payload.list[1] = 2", READ_ONLY},
      {"", "table.sort(event.payload.list)", READ_ONLY},
      {"", "event.metadata.x = 2", READ_ONLY},
      {"", "event.payload.none.x = 2", READ_ONLY},
      {"", "local p = event.payload p.n = 5", READ_ONLY},
      {"", "local t = {} local function f() t = event.payload end f() t.x = 1", READ_ONLY},
      {"", "local t = {} if event then t = event end t.x = 1", READ_ONLY},
      {"", "local t for i = 1, 2 do t = { } if i == 2 then t = event end t.x = 1 end", READ_ONLY},
      {"", "local t = {} t, t = event, t t.x = 1 t = event t.x = 1", READ_ONLY},
      {"", "local a, b = {}, event a, b = b, a a.x = 1", READ_ONLY},
      {"", "local t = { event } for _, e in ipairs(t) do e.x = 1 end", READ_ONLY},
      {"", "user:set('prefs', { color = 'red' }) user.prefs.color = 'blue'", READ_ONLY},
      {"", "user.name = 'x'", "write user:set(\"name\", value)"},
      {"local kept = {}", "local t = setmetatable({}, { __newindex = kept }) t.x = 1", NO_STATE},
      {"local kept = {}", "local t, m = {}, {} setmetatable(t, m) m.__newindex = kept t.x = 1", NO_STATE},
      {"local kept = {}",
       "local t = {} local function f() setmetatable(t, { __newindex = kept }) end f() t.x = 1", NO_STATE},
      {"local kept = {}",
       "local t = {} local u = { t } setmetatable(u[1], { __newindex = setmetatable({}, { __newindex = kept "
       "}) }) t.x = 1",
       NO_STATE},
      {"local kept = {}",
       "local t, hook = {}, setmetatable({}, { __index = function(_, k) setmetatable(k, { __newindex = kept "
       "}) end }) local x = hook[t] t.x = 1",
       NO_STATE},
      {"local kept = {}",
       "local t, hook = {}, setmetatable({}, { __concat = function(_, k) setmetatable(k, { __newindex = kept "
       "}) end }) local x = hook .. t t.x = 1",
       NO_STATE},
      {"local kept = {}",
       "local t, hook = {}, setmetatable({}, { __add = function(_, k) setmetatable(k, { __newindex = kept }) "
       "end }) local x = hook + t t.x = 1",
       NO_STATE},
      {"", "local t = setmetatable({}, { __newindex = event }) t.x = 1", READ_ONLY},
      // What is the call's own may be written, however.
      {"local base = { a = 1 }",
       "local t = {} for k, v in pairs(base) do t[k] = v end t.b = 2 t[1] = 3 assert(t.a == 1 and t.b == 2 "
       "and t[1] == 3)",
       NULL},
      {"local function fill(t, n) for i = 1, n do t[i] = i end return t end", "assert(#fill({}, 5) == 5)",
       NULL},
      {"",
       "local n = 0 local function add(x) n = n + x end for _, x in ipairs(event.payload.list) do add(x) end "
       "assert(n == 6)",
       NULL},
      {"", "local list = { unpack(event.payload.list) } table.sort(list) assert(table.concat(list) == '123')",
       NULL},
      {"local function counter() local n = 0 return function() n = n + 1 return n end end",
       "local c = counter() c() assert(c() == 2)", NULL},
      {"local Point = {} Point.__index = Point function Point.new(x) return setmetatable({ x = x }, Point) "
       "end function Point:move(d) self.x = self.x + d end",
       "local p = Point.new(1) p:move(4) assert(p.x == 5)", NULL},
      {"local t = {} t.x = 1 for i = 1, 3 do t[i] = i end", "assert(t.x == 1 and #t == 3)", NULL},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    assert_body(cases[i].top, cases[i].body, cases[i].says);
}

/* ---- the same in every run ---- */

static void test_order(void **state) {
  (void)state;
  static const char *const bodies[] = {
      "local s = '' for k, v in pairs({ b = 1, a = 2, [true] = 3, [false] = 4, 10, 20, [2.5] = 5, [-1] = 6, "
      "ab = 7 }) do s = s .. tostring(k) .. '=' .. v .. ' ' end\n"
      "assert(s == '-1=6 1=10 2=20 2.5=5 a=2 ab=7 b=1 false=4 true=3 ', s)",
      "local s = '' for k, v in next, { b = 1, a = 2, 10 } do s = s .. tostring(k) .. '=' .. v .. ' ' end "
      "assert(s == '1=10 a=2 b=1 ', s)",
      "local s = '' for k, v in pairs({ 1, 2, nil, 4 }) do s = s .. k .. v .. ' ' end assert(s == '11 22 44 "
      "', s)",
      "local s = '' for k, v in pairs(event.payload.map) do s = s .. k .. v end assert(s == 'a2b1', s)",
      "local t = { a = 1, b = 2, c = 3 } for k in pairs(t) do t[k] = nil end assert(next(t) == nil)",
      "local t, n = { 1, 2, 3 }, 0 for i in pairs(t) do t[i] = nil n = n + 1 end assert(n == 3 and next(t) "
      "== nil)",
      "local t, s = { a = 1, b = 2 }, '' for k in pairs(t) do t.b = nil s = s .. k end assert(s == 'a', s)",
      "assert(next({}) == nil and next({ 7 }) == 1 and select('#', next({})) == 1)",
      "assert(not pcall(pairs, { [{}] = 1 })) assert(not pcall(pairs, { [print] = 1 }))",
      "local ok, why = pcall(pairs, nil) assert(not ok)",
      "local t = {} for i = 1, 500 do t['k' .. (i * 7919 % 501)] = i end local last = '' for k in pairs(t) "
      "do assert(k > last) last = k end",
  };
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) assert_body("", bodies[i], NULL);
}

static double dice(struct bench *bench, const char *id, const char *user) {
  struct str value;
  double number = 0;
  bench_event(bench, "x", "{}", 1000000);
  bench->event.id = bench->call.cause = str_from(id);
  bench->event.entity.id = bench->call.entity.id = str_from(user);
  if (bench_run(bench, 0)) fail_msg("%s", bench->err.message);
  assert_true(record_attribute(&bench->record, STR("dice"), &value));
  value_as_number(value, &number);
  return number;
}

static void test_random(void **state) {
  (void)state;
  struct bench one, two;
  const char *body = "local x = math.random() assert(x >= 0 and x < 1 and math.random(6) <= 6 and "
                     "math.random(5, 5) == 5) user:set('dice', x)";
  load(&one, "local at_load = math.random(100)", body);
  load(&two, "local at_load = math.random(100)", body);
  double first = dice(&one, "e1", "ada");
  assert_true(first == dice(&one, "e1", "ada"));
  assert_true(first == dice(&two, "e1", "ada"));
  assert_true(first != dice(&one, "e2", "ada"));
  assert_true(first != dice(&one, "e1", "bob"));
  bench_deinit(&one);
  bench_deinit(&two);
}

/** No address shows, so no run differs by where its memory lies. */
static void test_no_addresses(void **state) {
  (void)state;
  assert_body(
      "", "assert(tostring({}) == 'table' and tostring(print) == 'function' and tostring(user) == 'user')",
      NULL);
  assert_body("local w = kairos.window { of = 'x', over = '1h' }",
              "assert(tostring(w) == 'window' and ('%s'):format(w) == 'window')", NULL);
  assert_body("",
              "assert(tostring(nil) == 'nil' and tostring(1.5) == '1.5' and tostring('x') == 'x' and "
              "tostring(false) == 'false')",
              NULL);
}

static void test_campaigns_apart(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  bench_write(&bench, "a/rule.lua",
              "local kairos = require 'kairos'\nleak = 5\nlocal list = require 'shared.list'\nlist[1] = 'a'\n"
              "return kairos.rule { on = 'x', act = function() assert(leak == 5 and list[1] == 'a') end }");
  bench_write(
      &bench, "b/rule.lua",
      "local kairos = require 'kairos'\nlocal list = require 'shared.list'\nlocal own = require 'helper'\n"
      "return kairos.rule { on = 'x', act = function() assert(list[1] == nil and own.twice(4) == 8) end }");
  bench_write(&bench, "b/helper.lua", "return { twice = function(x) return 2 * x end }");
  bench_write(&bench, "shared/list.lua", "return {}");
  if (bench_load(&bench)) fail_msg("%s", bench.err.message);
  bench_event(&bench, "x", "{}", 1);
  for (uint32_t i = 0; i < 2; i++)
    if (bench_run(&bench, i)) fail_msg("%s", bench.err.message);
  bench_deinit(&bench);
}

/* ---- rewritten bytecode means what was written ---- */

static void test_programs(void **state) {
  (void)state;
  static const char *const bodies[] = {
      "local t = { 1, 2, x = { y = { 3 } }, [10] = 5, f = function() return 7 end } assert(t[2] == 2 and "
      "t.x.y[1] == 3 and t[10] == 5 and t.f() == 7)",
      "local function f(...) return { ... }, { n = select('#', ...), ... } end local a, b = f(1, nil, 3) "
      "assert(a[3] == 3 and b.n == 3 and b[3] == 3)",
      "local function f() return 1, 2, 3 end local t = { f(), f() } assert(#t == 4) t[#t + 1], t.x = f() "
      "assert(t[5] == 1 and t.x == 2)",
      "local function fact(n, acc) if n == 0 then return acc end return fact(n - 1, n * acc) end "
      "assert(fact(10, 1) == 3628800)",
      "local function multi() return 1, 2, 3 end local function pass() return multi() end assert(select('#', "
      "pass()) == 3)",
      "local function pass(...) return select('#', ...), ... end local n, a, b = pass(nil, 2) assert(n == 2 "
      "and a == nil and b == 2)",
      "local function va(f, ...) return f(...) end assert(va(math.max, 1, 9, 3) == 9 and select('#', "
      "va(function() end)) == 0)",
      "local o = { n = 0 } function o:add(x) self.n = self.n + x return self end assert(o:add(1):add(2).n == "
      "3)",
      "local t = {} for i = 10, 1, -3 do t[#t + 1] = i end assert(table.concat(t, ',') == '10,7,4,1')",
      "local t = {} for i = 1, 3 do for j = 1, 3 do if j == 2 then break end t[#t + 1] = i * 10 + j end end "
      "assert(table.concat(t, ',') == '11,21,31')",
      "local n = 0 for i = 1, 5 do if i % 2 == 0 then goto continue end n = n + i ::continue:: end assert(n "
      "== 9)",
      "local i, t = 0, {} while true do i = i + 1 t[i] = function() return i end if i == 3 then break end "
      "end assert(t[1]() == 3)",
      "local t = {} for i = 1, 3 do t[i] = function() i = i + 1 return i end end assert(t[1]() == 2 and "
      "t[1]() == 3 and t[2]() == 3)",
      "local a = {} do local x = 1 a.get = function() return x end a.set = function(v) x = v end end "
      "a.set(5) assert(a.get() == 5)",
      "local t = { a = event and 1 or 2, b = not event, c = event == nil, d = (event or {}).x } assert(t.a "
      "== 1 and t.b == false and t.c == false)",
      "local t, k = {}, 'k' t[k], k = 1, 'other' assert(t.k == 1 and k == 'other' and t.other == nil)",
      "local t = { {} } t[1].x = 1 t[1][2] = { y = 1 } t[1][2].y = t[1][2].y + 1 assert(t[1][2].y == 2)",
      "local s = '' for w in ('a,b;c'):gmatch('[^,;]+') do s = s .. w end assert(s == 'abc')",
      "local ok, a, b = pcall(function(...) return ... end, 1, 2) assert(ok and a == 1 and b == 2)",
      "local ok, why = pcall(error, { code = 5 }) assert(not ok and why.code == 5)",
      "local ok, why = pcall(error, 'plain', 0) assert(why == 'plain') ok, why = pcall(function() error "
      "'here' end) assert(why == 'rules/t/rule.lua:4: here', why)",
      "local t = setmetatable({}, { __call = function(_, a, b) return a + b end, __len = 1, __unm = "
      "function() return 'minus' end }) assert(t(1, 2) == 3 and -t == 'minus')",
      "local log = {} local t = setmetatable({}, { __newindex = function(_, k, v) log[#log + 1] = k .. v end "
      "}) t.x = 1 t[2] = 3 assert(table.concat(log, ' ') == 'x1 23')",
      "local x = 5 local function f() local function g() x = x + 1 return x end return g() end assert(f() == "
      "6 and x == 6)",
      "assert(('ab'):rep(3) == 'ababab' and ('ab'):rep(3, '-') == 'ab-ab-ab' and ('a'):rep(0) == '' and "
      "('a'):rep(-1) == '' and (''):rep(9) == '' and ('a'):rep(2.9) == 'aa')",
      "assert(('Ab1'):upper() == 'AB1' and ('Ab1'):lower() == 'ab1' and ('abc'):reverse() == 'cba' and "
      "(''):reverse() == '' and #('x'):rep(1000):upper() == 1000)",
      "repeat local done = true until done local n = 0 repeat n = n + 1 local stop = n == 3 until stop "
      "assert(n == 3)",
      "assert((function(a, b, ...) return select('#', ...) end)(1, 2, 3, 4) == 2)",
      "local a, b, c = (function() return 1, 2 end)() assert(a == 1 and b == 2 and c == nil)",
      "assert(#{ n = 1 } == 0 and #{ 1, 2, nil } == 2 and -2 ^ 2 == -4 and 7 % -3 == -2 and 'a' .. 1 .. 2 == "
      "'a12')",
  };
  for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) assert_body("", bodies[i], NULL);
}

/** Long jumps, many constants, many lines: the tables of the bytecode in all their sizes. */
static void test_large_programs(void **state) {
  (void)state;
  enum { STATEMENTS = 1000 };
  static const int lines[] = {1, 100, 300, 1000, 70000};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    struct buf text;
    buf_init(&text);
    buf_printf(&text, "local t, n = {}, 0\nfor round = 1, 2 do\n");
    for (int line = 0; line < lines[i] && line < STATEMENTS; line++)
      buf_printf(&text, "t.k%d = round n = n + 1 if n < 0 then t[n] = '%d' end\n", line % 200, line);
    for (int line = STATEMENTS; line < lines[i]; line++) buf_printf(&text, "\n");
    buf_printf(&text, "end\nassert(n == %d * 2 and t.k0 == 2)\nerror 'the end'",
               lines[i] < STATEMENTS ? lines[i] : STATEMENTS);
    struct bench bench;
    bench_init(&bench, yaml);
    int rc = bench_rule(&bench, "", (const char *)text.data);
    if (rc) fail_msg("%d lines: %s", lines[i], bench.err.message);
    bench_event(&bench, "x", "{}", 1);
    assert_int_equal(bench_run(&bench, 0), ERROR_SCRIPT);
    char where[64];
    snprintf(where, sizeof where, "rules/t/rule.lua:%d: the end", 4 + 2 + lines[i] + 2);
    if (!strstr(bench.err.message, where)) fail_msg("%s, not %s", bench.err.message, where);
    bench_deinit(&bench);
    buf_deinit(&text);
  }
}

/** A jump that would become too long is refused, not miscompiled. */
static void test_too_large(void **state) {
  (void)state;
  struct buf text;
  buf_init(&text);
  buf_printf(&text, "while true do\n");
  for (int i = 0; i < 12000; i++) buf_printf(&text, "event.x = 1 ");
  buf_printf(&text, "\nend");
  buf_put_u8(&text, 0);
  struct bench bench;
  bench_init(&bench, yaml);
  assert_int_equal(bench_rule(&bench, "", (const char *)text.data), ERROR_SCRIPT);
  if (!strstr(bench.err.message, "rules/t/rule.lua") || !strstr(bench.err.message, "too large"))
    fail_msg("%s", bench.err.message);
  bench_deinit(&bench);
  buf_deinit(&text);
}

/** Names in errors come from the tables that were rewritten. */
static void test_names_in_errors(void **state) {
  (void)state;
  static const struct {
    const char *body, *says;
  } cases[] = {
      {"local t = {} t.x = 1 event.x.y = 2", "rules/t/rule.lua:4: attempt to index field 'x' (a nil value)"},
      {"local first = event\nfirst = nil\nlocal other = {}\nother.a = 1\nother.b = first.x",
       "rules/t/rule.lua:8: attempt to index local 'first' (a nil value)"},
      {"local fn\nuser:set('a', 1)\nfn()", "rules/t/rule.lua:6: attempt to call local 'fn' (a nil value)"},
      {"for i, item in ipairs(event.payload.list) do\nlocal t = {}\nt[i] = 1\nlocal n = item + nil\nend",
       "rules/t/rule.lua:7: attempt to perform arithmetic on a nil value"},
      {"return user:sned { }", "rules/t/rule.lua:4: attempt to call method 'sned' (a nil value)"},
      {"return user:count(nil)", "rules/t/rule.lua:4: user:count takes a window"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_body("", cases[i].body, cases[i].says);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_state_between_events),
      cmocka_unit_test(test_order),
      cmocka_unit_test(test_random),
      cmocka_unit_test(test_no_addresses),
      cmocka_unit_test(test_campaigns_apart),
      cmocka_unit_test(test_programs),
      cmocka_unit_test(test_large_programs),
      cmocka_unit_test(test_too_large),
      cmocka_unit_test(test_names_in_errors),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
