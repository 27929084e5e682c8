// links: base config event state gate deliver engine
/* What rules ask and what they ask for: windows, throttles, attributes, timers, messages, facts. */
#include "test_engine_support.h"

static const char yaml[] =
    "rules:\n  budget: 200ms\n  memory: 16MB\n"
    "providers:\n  - name: mail\n    type: webhook\n    url: http://127.0.0.1:1/\n    secret_env: PATH\n"
    "routes:\n  email: mail\n";

enum { HOUR = 3600 * 1000 };
static const int64_t NOW = 1760000000000;

static void load(struct bench *bench, const char *top, const char *body) {
  bench_init(bench, yaml);
  bench_write(bench, "t/reminder.html", "---\nsubject: Hello {{first_name}}\n---\n<p>{{total}} {{city}}</p>");
  if (bench_rule(bench, top, body)) fail_msg("%s", bench->err.message);
}

static void run(struct bench *bench) {
  if (bench_run(bench, 0)) fail_msg("%s", bench->err.message);
}

static void assert_fails(struct bench *bench, const char *says) {
  int rc = bench_run(bench, 0);
  if (rc == 0 || !strstr(bench->err.message, says)) fail_msg("%d %s", rc, bench->err.message);
}

/** Body alone, on one event; null: no error. */
static void assert_body(const char *top, const char *body, const char *says) {
  struct bench bench;
  load(&bench, top, body);
  bench_event(&bench, "x", "{\"sku\":\"X1\",\"n\":12,\"total\":19.5}", NOW);
  if (says)
    assert_fails(&bench, says);
  else
    run(&bench);
  bench_deinit(&bench);
}

static struct str value_of_text(struct buf *buf, const char *text) {
  buf_clear(buf);
  value_put_string(buf, str_from(text));
  return buf_str(buf);
}

static void set_attribute(struct bench *bench, const char *name, const char *text) {
  struct buf value;
  buf_init(&value);
  struct effect effect = {.type = EFFECT_ATTRIBUTE,
                          .attribute = {str_from(name), value_of_text(&value, text)}};
  assert_int_equal(record_apply(&bench->record, &effect, 64 << 10, NULL), 0);
  buf_deinit(&value);
}

static struct str attribute(struct bench *bench, const char *name) {
  struct str value;
  if (!record_attribute(&bench->record, str_from(name), &value)) return STR("");
  return value;
}

static double attribute_number(struct bench *bench, const char *name) {
  double number = -1;
  value_as_number(attribute(bench, name), &number);
  return number;
}

/** What the host does for each event of a window's type (decide/decide.c has it by declaration). */
static void observe(struct bench *bench, const char *key, double amount, const char *text, int64_t at) {
  const struct window_declaration *windows;
  size_t count = engine_windows(bench->engine, &windows);
  struct buf value;
  buf_init(&value);
  for (size_t i = 0; i < count; i++) {
    struct effect effect = {
        .type = EFFECT_WINDOW,
        .window = {
            .id = windows[i].id, .kind = windows[i].kind, .over = windows[i].over, .at = at, .amount = 1}};
    if (windows[i].by.len) effect.window.key = window_key(str_from(key));
    if (windows[i].kind == WINDOW_SUM) effect.window.amount = window_fixed(amount);
    if (windows[i].kind == WINDOW_DISTINCT) effect.window.amount = (int64_t)hash64(str_from(text), 0);
    if (windows[i].kind == WINDOW_LAST || windows[i].kind == WINDOW_FIRST)
      effect.window.value = value_of_text(&value, text);
    assert_int_equal(record_apply(&bench->record, &effect, 64 << 10, NULL), 0);
  }
  buf_deinit(&value);
}

/* ---- reading ---- */

static void test_event_fields(void **state) {
  (void)state;
  assert_body("",
              "assert(event.id == 'e1' and event.type == 'x' and event.user == 'ada' and event.subject == "
              "nil and event.timestamp == 1760000000000)",
              NULL);
  assert_body("",
              "assert(event.payload.sku == 'X1' and event.payload.n == 12 and event.payload.total == 19.5)",
              NULL);
  assert_body("", "assert(event.metadata.source == nil and next(event.metadata) == nil)", NULL);
  assert_body("", "assert(kairos.now() == 1760000000000 and user.id == 'ada')", NULL);
}

static void test_event_values(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "",
       "local p = event.payload\n"
       "assert(p.list[1] == 1 and p.list[2] == nil and p.list[3] == 'x' and #p.deep.a == 2 and p.deep.a[2].b "
       "== true and p.none == nil)\n"
       "assert(p.big == '1152921504606846976' and p.neg == -5 and p.frac == 0.1 and #p.empty == 0 and "
       "next(p.emptymap) == "
       "nil and p.uni == '\\195\\164')\n"
       "local c = {} for k, v in pairs(p) do c[k] = v end user:set('copy', c) user:set('same', p) "
       "user:set('own', { 1, 2, x = nil }) user:set('list', { 'a', { b = 1 } }) user:set('none', {})");
  bench_event(&bench, "x",
              "{\"list\":[1,null,\"x\"],\"deep\":{\"a\":[1,{\"b\":true}]},\"none\":null,\"big\":"
              "1152921504606846976,\"neg\":-5,\"frac\":0.1,"
              "\"empty\":[],\"emptymap\":{},\"uni\":\"\\u00e4\"}",
              NOW);
  run(&bench);
  struct buf json;
  buf_init(&json);
  value_to_json(attribute(&bench, "copy"), &json);
  buf_put_u8(&json, 0);
  assert_string_equal((char *)json.data, "{\"big\":\"1152921504606846976\",\"deep\":{\"a\":[1,{\"b\":true}]},"
                                         "\"empty\":[],\"emptymap\":{},\"frac\":0.1,"
                                         "\"list\":[1,null,\"x\"],\"neg\":-5,\"uni\":\"\xc3\xa4\"}");
  buf_clear(&json);
  value_to_json(attribute(&bench, "same"), &json);
  buf_put_u8(&json, 0);
  assert_string_equal((char *)json.data, "{\"list\":[1,null,\"x\"],\"deep\":{\"a\":[1,{\"b\":true}]},"
                                         "\"none\":null,\"big\":1152921504606846976,\"neg\":-5,"
                                         "\"frac\":0.1,\"empty\":[],\"emptymap\":{},\"uni\":\"\xc3\xa4\"}");
  buf_clear(&json);
  value_to_json(attribute(&bench, "own"), &json);
  value_to_json(attribute(&bench, "list"), &json);
  value_to_json(attribute(&bench, "none"), &json);
  buf_put_u8(&json, 0);
  assert_string_equal((char *)json.data, "[1,2][\"a\",{\"b\":1}][]");
  buf_deinit(&json);
  bench_deinit(&bench);
}

/** The table is built once an input, and anew for the next. */
static void test_event_table_life(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "", "user:set('n', event.payload.n)");
  bench_event(&bench, "x", "{\"n\":1}", NOW);
  run(&bench);
  struct buf other;
  buf_init(&other);
  bench_json(&bench, "{\"n\":2}", &other);
  bench.event.payload = buf_str(&other);
  run(&bench);
  assert_true(attribute_number(&bench, "n") == 1);
  engine_input(bench.engine);
  run(&bench);
  assert_true(attribute_number(&bench, "n") == 2);
  buf_deinit(&other);
  bench_deinit(&bench);
}

static void test_windows(void **state) {
  (void)state;
  struct bench bench;
  load(&bench,
       "local views = kairos.window { of = 'view', by = 'payload.sku', over = '10m' }\n"
       "local spent = kairos.window { of = 'order', sum = 'payload.amount', over = '90d' }\n"
       "local newest = kairos.window { of = 'view', last = 'payload.sku', over = '1h' }\n"
       "local oldest = kairos.window { of = 'view', first = 'payload.sku', over = '1h' }\n"
       "local kinds = kairos.window { of = 'view', distinct = 'payload.sku', over = '1h' }\n"
       "local same = kairos.window { of = 'order', sum = 'payload.amount', over = '90d' }",
       "user:set('c', user:count(views, 'X1')) user:set('c2', user:count(views, 'X2')) user:set('c12', "
       "user:count(views, 12))\n"
       "user:set('s', user:sum(spent)) user:set('l', user:last(newest)) user:set('f', user:first(oldest)) "
       "user:set('d', user:distinct(kinds))\n"
       "assert(user:sum(same) == user:sum(spent))");
  const struct window_declaration *windows;
  assert_int_equal(engine_windows(bench.engine, &windows), 5);
  assert_true(str_equal(windows[0].by, STR("sku")) && str_equal(windows[0].of, STR("view")) &&
              windows[0].over == 600000);
  assert_true(str_equal(windows[1].value, STR("amount")) && windows[1].kind == WINDOW_SUM);
  bench_event(&bench, "x", "{}", NOW);
  run(&bench);
  assert_true(attribute_number(&bench, "c") == 0 && attribute_number(&bench, "s") == 0 &&
              attribute_number(&bench, "d") == 0);
  assert_int_equal(attribute(&bench, "l").len, 0);
  observe(&bench, "X1", 19.99, "X1", NOW - 1000);
  observe(&bench, "X1", 0.01, "X3", NOW - 500);
  observe(&bench, "12", 5, "X1", NOW);
  run(&bench);
  assert_true(attribute_number(&bench, "c") == 2 && attribute_number(&bench, "c2") == 0 &&
              attribute_number(&bench, "c12") == 1);
  assert_true(attribute_number(&bench, "s") == 25 && attribute_number(&bench, "d") == 2);
  assert_true(str_equal(value_head(attribute(&bench, "l")).string, STR("X1")) &&
              str_equal(value_head(attribute(&bench, "f")).string, STR("X1")));
  bench_deinit(&bench);
}

static void test_window_mistakes(void **state) {
  (void)state;
  const char *top = "local views = kairos.window { of = 'view', by = 'payload.sku', over = '10m' } local "
                    "orders = kairos.window { of = 'order', over = '1h' }";
  assert_body(top, "user:count(views)",
              "rules/t/rule.lua:4: this window of view is kept by payload.sku; write which: "
              "user:count(window, event.payload.sku)");
  assert_body(top, "user:count(orders, 'x')", "this window of order has no key; write user:count(window)");
  assert_body(top, "user:count(views, event.payload.skuu)", "the key given to user:count is nil");
  assert_body(top, "user:count(views, {})", "the key given to user:count is a table");
  assert_body(top, "user:count(views, '')", "the key given to user:count is empty");
  assert_body(top, "user:sum(orders)",
              "this window of order answers user:count; a window for user:sum has sum in its declaration");
  assert_body(top, "kairos.window { of = 'x', over = '1h' }", "kairos.window belongs at the top of the file");
  assert_body(top, "kairos.rule { on = 'x', act = print }", "kairos.rule belongs at the top of the file");
  assert_body(top, "require 'helper'", "require belongs at the top of the file");
}

static void test_throttle(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "local offers = kairos.throttle { name = 'offers', rate = '2/1h' }",
       "if event.payload.key then user:set('ok', user:allow(offers, event.payload.key)) else user:set('ok', "
       "user:allow(offers)) end");
  static const struct {
    const char *payload;
    int64_t at;
    bool admitted;
  } asks[] = {{"{}", 0, true},
              {"{}", 0, true},
              {"{}", 1, false},
              {"{\"key\":\"a\"}", 1, true},
              {"{\"key\":\"a\"}", 1, true},
              {"{\"key\":\"a\"}", 1, false},
              {"{}", HOUR / 2, true},
              {"{}", HOUR / 2, false},
              {"{}", HOUR, true}};
  for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
    bench_event(&bench, "x", asks[i].payload, NOW + asks[i].at);
    run(&bench);
    if (value_head(attribute(&bench, "ok")).boolean != asks[i].admitted) fail_msg("ask %zu", i);
  }
  bench_deinit(&bench);
  assert_body("local offers = kairos.throttle { name = 'offers', rate = '2/1h' }", "user:allow(5)",
              "user:allow takes a throttle");
  assert_body("local offers = kairos.throttle { name = 'offers', rate = '2/1h' }", "user:allow(offers, nil)",
              "the key given to user:allow is nil");
  assert_body("local o = kairos.throttle { name = 'o', rate = '1/1h', burst = 3 }",
              "assert(user:allow(o) and user:allow(o) and user:allow(o) and not user:allow(o))", NULL);
}

/** A throttle of rules/shared is one; of the same name in two campaigns, two. */
static void test_throttle_scope(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  bench_write(
      &bench, "shared/caps.lua",
      "local kairos = require 'kairos' return { one = kairos.throttle { name = 'one', rate = '1/1h' } }");
  for (const char *name = "ab"; *name; name++) {
    char path[16];
    snprintf(path, sizeof path, "%c/rule.lua", *name);
    bench_write(&bench, path,
                "local kairos = require 'kairos' local caps = require 'shared.caps' local own = "
                "kairos.throttle { name = 'one', rate = '1/1h' }\n"
                "return kairos.rule { on = 'x', act = function(event, user) user:set('shared', "
                "user:allow(caps.one)) user:set('own', user:allow(own)) end }");
  }
  if (bench_load(&bench)) fail_msg("%s", bench.err.message);
  bench_event(&bench, "x", "{}", NOW);
  run(&bench);
  assert_true(value_head(attribute(&bench, "shared")).boolean &&
              value_head(attribute(&bench, "own")).boolean);
  if (bench_run(&bench, 1)) fail_msg("%s", bench.err.message);
  assert_true(!value_head(attribute(&bench, "shared")).boolean &&
              value_head(attribute(&bench, "own")).boolean);
  bench_deinit(&bench);
}

static void test_once(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "", "user:set('was_first', user:once(event.payload.key, '1h'))");
  static const struct {
    const char *payload;
    int64_t at;
    bool first;
  } asks[] = {
      {"{\"key\":\"a\"}", 0, true},  {"{\"key\":\"a\"}", 1, false},        {"{\"key\":5}", 1, true},
      {"{\"key\":\"5\"}", 1, false}, {"{\"key\":\"a\"}", HOUR - 1, false}, {"{\"key\":\"a\"}", HOUR, true}};
  for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
    bench_event(&bench, "x", asks[i].payload, NOW + asks[i].at);
    run(&bench);
    if (value_head(attribute(&bench, "was_first")).boolean != asks[i].first) fail_msg("ask %zu", i);
  }
  bench_deinit(&bench);
  assert_body("", "user:once('a')",
              "the time given to user:once must be a duration such as \"10m\", not no value");
  assert_body("", "user:once('a', 5)", "must be a duration");
  assert_body("", "user:once('a', '5 minutes')", "the time given to user:once: ");
  assert_body("", "user:once(nil, '5m')", "the key given to user:once is a nil");
}

static void test_attributes(void **state) {
  (void)state;
  assert_body("",
              "user:set('a', 'text') user:set('b', 1.5) user:set('c', true) user:set('d', { x = { 1, 2 } })\n"
              "assert(user.a == 'text' and user.b == 1.5 and user.c == true and user.d.x[2] == 2 and "
              "user.none == nil)\n"
              "user:set('a', nil) assert(user.a == nil) user:set('b', 3) assert(user.b == 3)\n"
              "user:set('cut', ('\\195\\164'):sub(1, 1) .. 'x') assert(user.cut == '\\239\\191\\189x')",
              NULL);
  assert_body("", "user:set('send', 1)", "user:set: `send` means something else already");
  assert_body("", "user:set('id', 1)", "user:set: `id` means something else already");
  assert_body("", "user:set('', 1)", "has 1 to 64 letters");
  assert_body("", "user:set(5, 1)", "write user:set(\"name\", value)");
  assert_body("", "user:set('a')", "write user:set(\"name\", value)");
  assert_body("", "user:set('a', { x = 1, 2 })", "names must be text");
  assert_body("", "user:set('a', user)", "holds a userdata");
}

/** A rule sees what it wrote, and what the rules before it wrote; of one that fails nothing stays. */
static void test_rollback(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "",
       "user:set('n', (user.n or 0) + 1) user:after('1h', { name = 'later' }) user:send { channel = 'email', "
       "template = 'reminder' } if event.payload.fail then error 'no' end");
  bench_write(&bench, "t/rule.lua",
              "local kairos = require 'kairos' return kairos.rule { on = 'x', timers = { later = function() "
              "end }, act = function(event, user)\n"
              "user:set('n', (user.n or 0) + 1) user:after('1h', { name = 'later' })\n"
              "user:send { channel = 'email', template = 'reminder' } if event.payload.fail then error 'no' "
              "end end }");
  if (bench_load(&bench)) fail_msg("%s", bench.err.message);
  bench_event(&bench, "x", "{\"fail\":true}", NOW);
  assert_fails(&bench, "rules/t/rule.lua:3: no");
  assert_int_equal(bench.draft.effects.len, 0);
  assert_true(attribute_number(&bench, "n") == -1);
  bench_event(&bench, "x", "{}", NOW);
  run(&bench);
  assert_true(attribute_number(&bench, "n") == 1);
  assert_int_equal(bench.call.message_count, 1);
  bench_deinit(&bench);
}

/* ---- when and act ---- */

static void test_when(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  bench_write(&bench, "t/rule.lua",
              "local kairos = require 'kairos' local w = kairos.window { of = 'x', over = '1h' }\n"
              "return kairos.rule { on = { 'x', 'y' }, when = function(event, user) return user:count(w) >= "
              "0 and event.payload.go end,\n"
              "act = function(event, user) user:set('acted', true) end }");
  if (bench_load(&bench)) fail_msg("%s", bench.err.message);
  bench_event(&bench, "x", "{\"go\":false}", NOW);
  run(&bench);
  assert_false(bench.call.acted);
  assert_int_equal(bench.draft.effects.len, 0);
  bench_event(&bench, "x", "{\"go\":true}", NOW);
  run(&bench);
  assert_true(bench.call.acted);
  assert_true(value_head(attribute(&bench, "acted")).boolean);
  const uint32_t *rules;
  assert_int_equal(engine_subscribers(bench.engine, STR("x"), &rules), 1);
  assert_int_equal(rules[0], 0);
  assert_int_equal(engine_subscribers(bench.engine, STR("y"), &rules), 1);
  assert_int_equal(engine_subscribers(bench.engine, STR("z"), &rules), 0);
  assert_int_equal(engine_rule_of(bench.engine, STR("t")), 0);
  assert_int_equal(engine_rule_of(bench.engine, STR("u")), -1);
  static const char *const asks[] = {"user:send { }", "user:set('a', 1)", "user:after('1h', {})",
                                     "user:at(1, {})", "user:cancel('x')"};
  for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
    char text[512];
    snprintf(text, sizeof text,
             "local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', when = function(event, user) "
             "%s end, act = function() end }",
             asks[i]);
    bench_write(&bench, "t/rule.lua", text);
    if (bench_load(&bench)) fail_msg("%s", bench.err.message);
    bench_event(&bench, "x", "{}", NOW);
    assert_fails(&bench, "rules/t/rule.lua:2: `when` only answers whether the rule acts");
  }
  bench_deinit(&bench);
}

/* ---- timers ---- */

static const char timer_rule[] =
    "local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function(event, user) %s end,\n"
    "timers = { check = function(timer, user) user:set('fired', { timer.name, timer.due, timer.data, "
    "kairos.now() }) end,\n"
    "again = function(timer, user) user:after('1h', { name = 'again', data = timer.data }) end } }";

static void load_timer(struct bench *bench, const char *act) {
  char text[1024];
  bench_init(bench, yaml);
  snprintf(text, sizeof text, timer_rule, act);
  bench_write(bench, "t/rule.lua", text);
  if (bench_load(bench)) fail_msg("%s", bench->err.message);
  bench_event(bench, "x", "{}", NOW);
}

static void test_timers(void **state) {
  (void)state;
  struct bench bench;
  load_timer(&bench, "user:after('5m', { name = 'check', data = { cart = 'c1' }, cancel_on = "
                     "'order.completed', late = 'skip', late_after = '1h' })");
  run(&bench);
  struct timer timer;
  assert_true(record_timer(&bench.record, STR("t"), STR("check"), &timer));
  assert_true(timer.due == NOW + 300000 && timer.set_at == NOW + 5 && timer.late == TIMER_LATE_SKIP &&
              timer.late_after == HOUR);
  assert_true(str_equal(timer.cancel_on, STR("order.completed")));
  assert_int_equal(engine_timer_rule(bench.engine, STR("t"), STR("check")), 0);
  assert_int_equal(engine_timer_rule(bench.engine, STR("t"), STR("gone")), -1);
  assert_int_equal(engine_timer_rule(bench.engine, STR("u"), STR("check")), -1);
  struct buf copy;
  buf_init(&copy);
  buf_append(&copy, timer.data.data, timer.data.len);
  bench.call.timer =
      &(struct timer){.campaign = STR("t"), .name = STR("check"), .due = timer.due, .data = buf_str(&copy)};
  bench.call.event = NULL;
  bench.call.now = timer.due;
  bench.call.cause = STR("timer:t/check@1");
  engine_input(bench.engine);
  run(&bench);
  assert_true(bench.call.acted);
  struct buf json;
  buf_init(&json);
  value_to_json(attribute(&bench, "fired"), &json);
  buf_put_u8(&json, 0);
  assert_string_equal((char *)json.data, "[\"check\",1760000300000,{\"cart\":\"c1\"},1760000300000]");
  buf_deinit(&json);
  buf_deinit(&copy);
  bench_deinit(&bench);
}

static void test_timer_cases(void **state) {
  (void)state;
  static const struct {
    const char *act, *says;
    int64_t due; /**< 0: none is set */
  } cases[] = {
      {"user:at(event.timestamp + 1, { name = 'check' })", NULL, 1},
      {"user:at(event.timestamp - 5000, { name = 'check' })", NULL, -5000},
      {"user:after('250ms', { name = 'check' })", NULL, 250},
      {"user:after('1h', { name = 'check' }) user:after('2h', { name = 'check' })", NULL, 2 * HOUR},
      {"user:after('1h', { name = 'check' }) user:cancel('check')", NULL, 0},
      {"user:cancel('check')", NULL, 0},
      {"user:after('1h', { name = 'chekc' })",
       "user:after: the rule has no timer `chekc`; did you mean `check`?; write timers = { chekc =", 0},
      {"user:after('1h', { nmae = 'check' })",
       "user:after has no field `nmae`; did you mean `name`?; there are: name, data, cancel_on, late, "
       "late_after",
       0},
      {"user:after('1h', { })", "user:after needs `name`", 0},
      {"user:after('1h', 'check')", "user:after takes a table", 0},
      {"user:after('1h')", "user:after takes a table", 0},
      {"user:after(5, { name = 'check' })",
       "the time given to user:after must be a duration such as \"10m\", not a number", 0},
      {"user:after('5 min', { name = 'check' })", "the time given to user:after: ", 0},
      {"user:after('1h', { name = 'check', late = 'drop' })", "late = \"skip\" or \"fire\"", 0},
      {"user:after('1h', { name = 'check', late = 'skip' })", "belong together", 0},
      {"user:after('1h', { name = 'check', late_after = '1h' })", "belong together", 0},
      {"user:after('1h', { name = 'check', data = { f = print } })", "data of a timer holds a function", 0},
      {"user:after('1h', { name = 'check', data = ('x'):rep(20000) })", "data of a timer is too large", 0},
      {"user:after('1h', { name = 5 })", "`name` of user:after must be text, not a number", 0},
      {"user:at('tomorrow', { name = 'check' })", "user:at takes a time in milliseconds", 0},
      {"user:at(0 / 0, { name = 'check' })", "user:at takes a time in milliseconds", 0},
      {"user:cancel('chekc')", "user:cancel: the rule has no timer `chekc`", 0},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct bench bench;
    struct timer timer;
    load_timer(&bench, cases[i].act);
    if (cases[i].says)
      assert_fails(&bench, cases[i].says);
    else
      run(&bench);
    bool there = record_timer(&bench.record, STR("t"), STR("check"), &timer);
    if (there != (cases[i].due != 0) || (there && timer.due != NOW + cases[i].due))
      fail_msg("%s", cases[i].act);
    bench_deinit(&bench);
  }
}

/* ---- messages ---- */

static struct message sent(struct bench *bench, uint32_t index) {
  struct message message;
  struct error err = {0};
  struct reader reader = reader_of(buf_str(&bench->call.messages));
  assert_true(index < bench->call.message_count);
  for (uint32_t i = 0; i <= index; i++) assert_int_equal(message_decode(&message, &reader, &err), 0);
  return message;
}

static void assert_json(struct str value, const char *expected) {
  struct buf json;
  buf_init(&json);
  value_to_json(value, &json);
  buf_put_u8(&json, 0);
  assert_string_equal((char *)json.data, expected);
  buf_deinit(&json);
}

static void test_send(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "local w = kairos.window { of = 'x', over = '10m' }",
       "user:count(w) user:send { channel = 'email', template = 'reminder', data = event.payload, once_per = "
       "'7d', expires_in = '6h', limit = '1000/1h' }\n"
       "user:send { channel = 'sms', template = 'reminder', to = '+1', provider = 'mail', data = { total = "
       "1, first_name = 'Given' } }\n"
       "user:send { channel = 'email', template = 'reminder' }");
  set_attribute(&bench, "first_name", "Ada");
  set_attribute(&bench, "email", "ada@example.org");
  set_attribute(&bench, "secret", "not for the template");
  bench_event(&bench, "x", "{\"total\":19.5,\"huge\":9007199254740993}", NOW);
  run(&bench);
  assert_int_equal(bench.call.message_count, 3);
  struct message first = sent(&bench, 0), second = sent(&bench, 1), third = sent(&bench, 2);
  assert_true(str_equal(first.campaign, STR("t")) && str_equal(first.rule, STR("t/rule.lua")) &&
              str_equal(first.template_name, STR("reminder")));
  assert_true(str_equal(first.channel, STR("email")) && str_equal(first.provider, STR("mail")) &&
              str_equal(first.to, STR("ada@example.org")));
  assert_true(str_equal(first.cause, STR("e1")) && str_equal(first.user.id, STR("ada")) &&
              first.user.kind == ENTITY_USER);
  assert_true(first.at == NOW && first.accepted == NOW + 5 && first.expires == NOW + 5 + 6 * HOUR);
  assert_true(first.once_key != 0 && first.once_until == NOW + 7 * 24 * (int64_t)HOUR &&
              first.generation == 7);
  assert_true(str_equal(first.limit_name, STR("t 1000/1h")) && first.limit_count == 1000 &&
              first.limit_over == HOUR);
  assert_json(first.data, "{\"first_name\":\"Ada\",\"total\":19.5,\"huge\":9007199254740993}");
  assert_json(first.facts, "{\"count x 10m\":0}");
  assert_true(str_equal(second.to, STR("+1")) && str_equal(second.provider, STR("mail")) &&
              second.once_key == 0 && second.expires == 0);
  assert_json(second.data, "{\"first_name\":\"Given\",\"total\":1}");
  assert_json(third.data, "{\"first_name\":\"Ada\"}");
  assert_int_equal(third.limit_name.len, 0);
  assert_false(hash128_equal(first.id, third.id));
  const struct engine_template *templates;
  assert_int_equal(engine_templates(bench.engine, &templates), 1);
  assert_true(hash128_equal(first.template_hash, templates[0].hash));
  assert_true(hash128_equal(template_hash(templates[0].bundle), templates[0].hash));
  bench_deinit(&bench);
}

/** The id follows from user, cause, campaign and place; from nothing else. */
static void test_message_ids(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "", "user:send { channel = 'email', template = 'reminder', data = event.payload }");
  bench_event(&bench, "x", "{\"total\":1}", NOW);
  run(&bench);
  struct hash128 first = sent(&bench, 0).id;
  bench_event(&bench, "x", "{\"total\":2}", NOW + 99);
  run(&bench);
  assert_true(hash128_equal(first, sent(&bench, 0).id));
  bench.call.cause = STR("e2");
  run(&bench);
  assert_false(hash128_equal(first, sent(&bench, 0).id));
  bench.call.cause = STR("e1");
  bench.call.entity.id = STR("bob");
  run(&bench);
  assert_false(hash128_equal(first, sent(&bench, 0).id));
  bench_deinit(&bench);
}

static void test_send_mistakes(void **state) {
  (void)state;
  static const struct {
    const char *body, *says;
  } cases[] = {
      {"local name = 'remindr' user:send { channel = 'email', template = name }",
       "rules/t/rule.lua:4: there is no template `remindr` in rules/t; did you mean `reminder`?; there are: "
       "reminder"},
      {"local c = 'mail' user:send { channel = c, template = 'reminder' }",
       "there is no channel `mail`; did you mean `email`?; there are: email, sms, push, webhook"},
      {"user:send { chanel = 'email', template = 'reminder' }",
       "user:send has no field `chanel`; did you mean `channel`?"},
      {"user:send { template = 'reminder' }", "user:send needs `channel`"},
      {"user:send { channel = 'email' }", "user:send needs `template`"},
      {"user:send { 'email', 'reminder' }", "user:send takes named fields: user:send { channel = … }"},
      {"user:send('reminder')", "user:send takes a table: user:send { channel = … }"},
      {"user.send { channel = 'email', template = 'reminder' }", "write user:send(…) with a colon"},
      {"user:send { channel = 'email', template = 'reminder', data = 'x' }",
       "`data` of user:send must be a table"},
      {"user:send { channel = 'email', template = 'reminder', data = { 1, 2 } }",
       "`data` of user:send must have names"},
      {"user:send { channel = 'email', template = 'reminder', data = { x = ('x'):rep(300000) } }",
       "`data` of user:send is too large"},
      {"user:send { channel = 'email', template = 'reminder', once_per = 7 }",
       "`once_per` of user:send must be a duration"},
      {"user:send { channel = 'email', template = 'reminder', once_per = '7days' }",
       "`once_per` of user:send: "},
      {"user:send { channel = 'email', template = 'reminder', expires_in = 'soon' }",
       "`expires_in` of user:send: "},
      {"user:send { channel = 'email', template = 'reminder', limit = 'few' }", "`limit` of user:send: "},
      {"user:send { channel = 'email', template = 'reminder', to = 5 }", "`to` of user:send must be text"},
      {"user:send { channel = 'email', template = 'reminder', provider = 'post' }",
       "the configuration has no provider `post`; there are: mail, files"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) assert_body("", cases[i].body, cases[i].says);
}

static void test_subject(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "",
       "assert(event.user == nil and event.subject == 'X1' and user.id == 'X1') user:set('stock', 5) if "
       "event.payload.send then user:send { channel = 'email', template = 'reminder' } end");
  bench_event(&bench, "x", "{}", NOW);
  bench.event.entity = bench.call.entity = (struct entity){ENTITY_SUBJECT, STR("X1")};
  run(&bench);
  bench_event(&bench, "x", "{\"send\":true}", NOW);
  bench.event.entity = bench.call.entity = (struct entity){ENTITY_SUBJECT, STR("X1")};
  assert_fails(&bench, "about a subject, not a user");
  bench_deinit(&bench);
}

/* ---- facts ---- */

static void test_facts(void **state) {
  (void)state;
  struct bench bench;
  load(&bench,
       "local views = kairos.window { of = 'view', by = 'payload.sku', over = '10m' } local last = "
       "kairos.window { of = 'view', last = 'payload.sku', over = '1h' }\n"
       "local offers = kairos.throttle { name = 'offers', rate = '1/1h' }",
       "local a = user:count(views, 'X1') + user:count(views, 'X1') + user:count(views, 2) user:last(last) "
       "user:allow(offers) user:once('hello', '1d')\n"
       "local b = user.first_name, user.missing local c = user.first_name user:set('big', ('x'):rep(1000)) "
       "local d = user.big if event.payload.fail then error 'x' end");
  set_attribute(&bench, "first_name", "Ada");
  bench_event(&bench, "x", "{}", NOW);
  run(&bench);
  const char *expected = "{\"count view 10m [X1]\":0,\"count view 10m [2]\":0,\"last view sku "
                         "1h\":null,\"throttle t/offers\":true,\"once [hello]\":true,"
                         "\"first_name\":\"Ada\",\"missing\":null,\"big\":\"(too large to note)\"}";
  assert_json(buf_str(&bench.call.facts), expected);
  bench_event(&bench, "x", "{\"fail\":true}", NOW); // a failure shows what was read before it
  bench_run(&bench, 0);
  assert_true(value_member(buf_str(&bench.call.facts), STR("throttle t/offers"), &(struct str){0}));
  bench_deinit(&bench);
}

static void test_facts_bounded(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "",
       "for i = 1, 1000 do local x = user[('attribute number %d with a long name %s'):format(i, "
       "('x'):rep(i))] end");
  bench_event(&bench, "x", "{}", NOW);
  run(&bench);
  assert_true(bench.call.facts.len < 9000 && value_valid(buf_str(&bench.call.facts)));
  bench_deinit(&bench);
}

/* ---- needs ---- */

static void test_needs(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, "lookups: [{name: shop, url: 'https://shop.example/api/'}]\n");
  bench_write(&bench, "t/rule.lua",
              "local kairos = require 'kairos'\n"
              "local function need(where) return kairos.needs { url = where, fallback = { left = 0 } } end\n"
              "return { kairos.rule { name = 'a', on = 'x', needs = {\n"
              "  stock = need 'https://shop.example/api/s/{{payload.sku}}' },\n"
              "  when = function(event, user, needs) return needs.stock.left == 2 end,\n"
              "  act = function(event, user, needs)\n"
              "    user:set('seen', needs.stock.at.city .. needs.stock_state)\n"
              "    local ok, why = pcall(function() needs.stock.at.city = 1 end)\n"
              "    assert(not ok and why:find 'read%-only', why)\n"
              "  end },\n"
              "kairos.rule { name = 'b', on = 'x', act = function()\n"
              "  for i = 1, 2000 do local t = { {}, {} } t.x = 1 t[1].y = 2 t[2].z = i end end } }\n");
  if (bench_load(&bench)) fail_msg("%s", bench.err.message);
  const struct engine_rule *rules;
  assert_int_equal(engine_rules(bench.engine, &rules), 2);
  int a = engine_rule_of(bench.engine, STR("a")), b = engine_rule_of(bench.engine, STR("b"));
  const struct engine_need *need = rules[a].needs;
  assert_int_equal(rules[a].need_count, 1);
  assert_int_equal(rules[b].need_count, 0);
  assert_true(str_equal(need->name, STR("stock")) && str_equal(need->source, STR("shop")) &&
              str_equal(need->path, STR("/s/{{payload.sku}}")) && need->timeout == 2000 && need->cache == 0);
  assert_json(need->fallback, "{\"left\":0}");
  struct buf needs = {0};
  bench_event(&bench, "x", "{}", NOW);
  bench_json(&bench, "{\"stock\":{\"left\":2,\"at\":{\"city\":\"Ulm\"}},\"stock_state\":\"fresh\"}", &needs);
  // Rules of one input: what one is given is nobody's when the next makes tables of its own.
  for (int i = 0; i < 50; i++) {
    bench.call.needs = buf_str(&needs);
    if (bench_run(&bench, (uint32_t)a)) fail_msg("%s", bench.err.message);
    assert_true(bench.call.acted);
    assert_json(buf_str(&bench.call.facts),
                "{\"needs.stock\":{\"left\":2,\"at\":{\"city\":\"Ulm\"}},\"needs.stock_state\":\"fresh\"}");
    bench.call.needs = STR("");
    if (bench_run(&bench, (uint32_t)b)) fail_msg("%s", bench.err.message);
    assert_int_equal(bench.call.facts.len, 1);
  }
  bench_json(&bench, "{\"stock\":{\"left\":3}}", &needs);
  bench.call.needs = buf_str(&needs);
  assert_int_equal(bench_run(&bench, (uint32_t)a), 0);
  assert_false(bench.call.acted);
  buf_deinit(&needs);
  bench_deinit(&bench);
}

/* ---- kept alive ---- */

/** A year of events leaves no garbage behind. */
static void test_memory_is_steady(void **state) {
  (void)state;
  struct bench bench;
  load(&bench, "local w = kairos.window { of = 'x', over = '10m' }",
       "local t = {} for k, v in pairs(event.payload) do t[k] = tostring(v):upper() end user:count(w) "
       "user:send { channel = 'email', template = 'reminder', data = t }");
  size_t highest = 0;
  for (int i = 0; i < 20000; i++) {
    char payload[64];
    snprintf(payload, sizeof payload, "{\"total\":%d,\"name\":\"n%d\"}", i, i);
    bench_event(&bench, "x", payload, NOW + i);
    run(&bench);
    if (engine_memory(bench.engine) > highest) highest = engine_memory(bench.engine);
  }
  assert_true(highest < 8 << 20);
  bench_deinit(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_event_fields),
      cmocka_unit_test(test_event_values),
      cmocka_unit_test(test_event_table_life),
      cmocka_unit_test(test_windows),
      cmocka_unit_test(test_window_mistakes),
      cmocka_unit_test(test_throttle),
      cmocka_unit_test(test_throttle_scope),
      cmocka_unit_test(test_once),
      cmocka_unit_test(test_attributes),
      cmocka_unit_test(test_rollback),
      cmocka_unit_test(test_when),
      cmocka_unit_test(test_timers),
      cmocka_unit_test(test_timer_cases),
      cmocka_unit_test(test_send),
      cmocka_unit_test(test_message_ids),
      cmocka_unit_test(test_send_mistakes),
      cmocka_unit_test(test_subject),
      cmocka_unit_test(test_facts),
      cmocka_unit_test(test_facts_bounded),
      cmocka_unit_test(test_needs),
      cmocka_unit_test(test_memory_is_steady),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
