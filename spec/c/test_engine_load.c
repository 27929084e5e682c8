// links: base config event state gate deliver engine
/* Loading campaigns: what is taken in, and what beginners are told. */
#include "test_engine_support.h"

static const char yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";

static void assert_load(struct bench *bench, const char *says) {
  int rc = bench_load(bench);
  if (!says && rc) fail_msg("%s", bench->err.message);
  if (says && (rc != ERROR_SCRIPT || strncmp(bench->err.message, says, strlen(says)) != 0))
    fail_msg("%d %s\n%s", rc, bench->err.message, says);
}

/** The message's beginning, for each mistake, of a campaign with a template `reminder`. */
static void test_mistakes(void **state) {
  (void)state;
  static const struct {
    const char *text, *says;
  } cases[] = {
      {"return kairos.rule { on = 'x', act = function() end }",
       "rules/t/rule.lua:1: there is no `kairos` here: write local kairos = require \"kairos\" at the top of "
       "the file"},
      {"local kairos = require 'kairos'\nkairos.rule { on = 'x', act = function() end }",
       "rules/t/rule.lua: the file must end with: return kairos.rule { … } (or a list of rules)"},
      {"local kairos = require 'kairos'\nreturn { on = 'x', act = function() end }",
       "rules/t/rule.lua: the file must end with: return kairos.rule"},
      {"local kairos = require 'kairos'\nreturn {}", "rules/t/rule.lua: the file must end with"},
      {"local kairos = require 'kairos'\nreturn { kairos.rule { on = 'x', act = function() end }, 5 }",
       "rules/t/rule.lua: in a list of rules each needs a `name`; rule 1 has none"},
      {"local kairos = require 'kairos'\nreturn { kairos.rule { name = 'a', on = 'x', act = function() end "
       "}, 5 }",
       "rules/t/rule.lua: element 2 of the list it returns is not a rule; write kairos.rule { … }"},
      {"local kairos = require 'kairos'\nreturn { kairos.rule { name = 'a', on = 'x', act = function() end "
       "}, kairos.rule { name = 'a', on = 'x', act = function() end } }",
       "rules/t/rule.lua: a rule named `a` is in rules/t/rule.lua already; give this one another `name`"},
      {"local kairos = require 'kairos'\n\nreturn kairos.rule {\n  act = function() end,\n}",
       "rules/t/rule.lua:3: kairos.rule needs `on`: write on = \"product.viewed\""},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x' }",
       "rules/t/rule.lua:2: kairos.rule needs `act`: write act = function(event, user) … end"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', akt = function() end }",
       "rules/t/rule.lua:2: kairos.rule has no field `akt`; did you mean `act`?; there are: name, on, when, "
       "act, needs, needs_if, for_each, pace, expires_in, timers"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = 'send' }",
       "rules/t/rule.lua:2: kairos.rule: `act` must be a function; write act = function(event, user) … end, "
       "not \"send\""},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 5, act = function() end }",
       "rules/t/rule.lua:2: kairos.rule: `on` must be an event type, or a list of them"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = {}, act = function() end }",
       "rules/t/rule.lua:2: kairos.rule: `on` must be an event type, or a list of them"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = { 'x', 5 }, act = function() end }",
       "rules/t/rule.lua:2: kairos.rule: `on` must hold event types: element 2 must be text"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = { 'x', 'x' }, act = function() end }",
       "rules/t/rule.lua:2: kairos.rule: `on` has \"x\" twice"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { name = 'a b', on = 'x', act = function() end }",
       "rules/t/rule.lua:2: kairos.rule: `name` must be a name of at most 64 letters"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, timers = { "
       "function() end } }",
       "rules/t/rule.lua:2: kairos.rule: `timers` must name each function"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, timers = { "
       "check = 5 } }",
       "rules/t/rule.lua:2: kairos.rule: `timers` must hold functions: `check` is 5"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, rolout = '25%' "
       "}",
       "rules/t/rule.lua:2: kairos.rule has no field `rolout`; did you mean `rollout`?"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, rollout = 25 }",
       "rules/t/rule.lua:2: kairos.rule: `rollout` must be a share of the users in quotes; write rollout = "
       "\"25%\", not 25"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, rollout = '25' "
       "}",
       "rules/t/rule.lua:2: kairos.rule: `rollout` is no share of the users such as \"25%\" or \"0.5%\"; "
       "write rollout = \"25%\", not \"25\""},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, rollout = "
       "'250%' }",
       "rules/t/rule.lua:2: kairos.rule: `rollout` is more than everybody, \"100%\"; write rollout = "
       "\"25%\", not \"250%\""},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, mode = 'off' }",
       "rules/t/rule.lua:2: kairos.rule: `mode` must be \"live\", \"shadow\" or \"paused\"; write mode = "
       "\"live\", not \"off\""},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, starts = "
       "'tomorrow' }",
       "rules/t/rule.lua:2: kairos.rule: `starts` \"tomorrow\" is no time"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, starts = 5 }",
       "rules/t/rule.lua:2: kairos.rule: `starts` must be a day and time in quotes; write starts = "
       "\"2026-11-27 09:00 Europe/Berlin\", not 5"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, ends = "
       "'2026-02-30 10:00' }",
       "rules/t/rule.lua:2: kairos.rule: `ends` "},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, starts = "
       "'2026-11-27 09:00', ends = '2026-11-27 09:00' }",
       "rules/t/rule.lua:2: kairos.rule: `ends` is not after `starts`: it would run from \"2026-11-27 "
       "09:00\" to \"2026-11-27 09:00\""},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, hours = '9-18' "
       "}",
       "rules/t/rule.lua:2: kairos.rule: `hours` has the hours \"9-18\"; the day goes from 00:00 to 24:00; "
       "write hours = \"mon-fri 09:00-18:00 Europe/Berlin\", not \"9-18\""},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, hours = "
       "'09:00-18:00 Europe/Berln' }",
       "rules/t/rule.lua:2: kairos.rule: `hours` "},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function() end, priority = 1.5 "
       "}",
       "rules/t/rule.lua:2: kairos.rule: `priority` must be a whole number from -1000 to 1000; write "
       "priority = 10, not 1.5"},
      {"local kairos = require 'kairos'\nreturn kairos.rule('x', function() end)",
       "rules/t/rule.lua:2: kairos.rule takes a table in braces: kairos.rule { name = \"high_interest\", … "
       "}, not \"x\""},
      {"local kairos = require 'kairos'\nlocal w = kairos.window { off = 'x', over = '1h' }",
       "rules/t/rule.lua:2: kairos.window has no field `off`; did you mean `of`?"},
      {"local kairos = require 'kairos'\nlocal w = kairos.window { of = 'x' }",
       "rules/t/rule.lua:2: kairos.window needs `over`: write over = \"10m\""},
      {"local kairos = require 'kairos'\nlocal w = kairos.window { of = 'x', over = 10 }",
       "rules/t/rule.lua:2: kairos.window: `over` must be a duration in quotes; write over = \"10m\", not "
       "10"},
      {"local kairos = require 'kairos'\nlocal w = kairos.window { of = 'x', over = '10 minutes' }",
       "rules/t/rule.lua:2: kairos.window: `over` "},
      {"local kairos = require 'kairos'\nlocal w = kairos.window { of = 'x', over = '1h', by = 'sku' }",
       "rules/t/rule.lua:2: kairos.window: `by` must be a path into the event that begins with \"payload.\"; "
       "write by = \"payload.sku\", not \"sku\""},
      {"local kairos = require 'kairos'\nlocal w = kairos.window { of = 'x', over = '1h', sum = 'payload.' }",
       "rules/t/rule.lua:2: kairos.window: `sum` must be a path"},
      {"local kairos = require 'kairos'\nlocal w = kairos.window { of = 'x', over = '1h', sum = 'payload.a', "
       "last = 'payload.b' }",
       "rules/t/rule.lua:2: kairos.window: it has `sum` and `last`; write a window for each"},
      {"local kairos = require 'kairos'\nlocal w = kairos.windw { of = 'x', over = '1h' }",
       "rules/t/rule.lua:2: there is no kairos.windw; did you mean kairos.window?"},
      {"local kairos = require 'kairos'\nlocal w = kairos.zebra { }",
       "rules/t/rule.lua:2: there is no kairos.zebra; there are: kairos.date, "},
      {"local kairos = require 'kairos'\nlocal t = kairos.throttle { rate = '1/1h' }",
       "rules/t/rule.lua:2: kairos.throttle needs `name`: write name = \"offers\""},
      {"local kairos = require 'kairos'\nlocal t = kairos.throttle { name = 'x', rate = 5 }",
       "rules/t/rule.lua:2: kairos.throttle: `rate` must be a rate in quotes; write rate = \"5/1h\", not 5"},
      {"local kairos = require 'kairos'\nlocal t = kairos.throttle { name = 'x', rate = '5' }",
       "rules/t/rule.lua:2: kairos.throttle: `rate` "},
      {"local kairos = require 'kairos'\nlocal t = kairos.throttle { name = 'x', rate = '5/1h', burst = 0 }",
       "rules/t/rule.lua:2: kairos.throttle: `burst` must be a whole number"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function(event, user)\n  "
       "usr:set('a', total)\nend }",
       "rules/t/rule.lua:3: there is nothing named `usr` here; if it is yours, declare it above: local usr = "
       "…"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function(event)\n  "
       "user:set('a', 1)\nend }",
       "rules/t/rule.lua:3: there is no `user` here: it is handed to `when`, `act`"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function(event, user)\n  for "
       "_, x in ipars({}) do end\nend }",
       "rules/t/rule.lua:3: there is nothing named `ipars` here; did you mean `ipairs`?"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function(event, user)\n  "
       "user:send { channel = 'email', template = 'remindr' }\nend }",
       "rules/t/rule.lua:3: there is no template `remindr` in rules/t; did you mean `reminder`?; there are: "
       "reminder"},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function(event, user)\n  "
       "user:send { template = 'reminder', data = event.payload,\n channel = 'mail' }\nend }",
       "rules/t/rule.lua:3: there is no channel `mail`; did you mean `email`?; there are: email, sms, push, "
       "webhook"},
      {"local x = guard", "rules/t/rule.lua:1: there is nothing named `guard` here; if it is yours"},
      {"local kairos = requier 'kairos'",
       "rules/t/rule.lua:1: there is nothing named `requier` here; did you mean `require`?"},
      {"local kairos = require 'kairo'", "rules/t/rule.lua:1: require: there is no rules/t/kairo.lua"},
      {"local kairos = require 'kairos'\nlocal h = require 'helpr'",
       "rules/t/rule.lua:2: require: there is no rules/t/helpr.lua; there are: broken, helper, loop; did you "
       "mean `helper`?"},
      {"local kairos = require 'kairos'\nlocal h = require 'shared.x'",
       "rules/t/rule.lua:2: require: there is no rules/shared/x.lua"},
      {"local kairos = require 'kairos'\nlocal h = require 'broken'",
       "rules/t/broken.lua:2: '=' expected near '<eof>'"},
      {"local kairos = require 'kairos'\nlocal h = require 'loop'",
       "rules/t/loop.lua:1: require \"loop\": the two files require each other"},
      {"local kairos = require 'kairos'\nlocal h = require(5)", "rules/t/rule.lua:2: write require \"name\""},
      {"local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = function(event, user) return 1 "
       "end",
       "rules/t/rule.lua:2: '}' expected near '<eof>'"},
      {"local kairos = require 'kairos'\nlocal x = nil + 1",
       "rules/t/rule.lua:2: attempt to perform arithmetic on a nil value"},
      {"", "rules/t/rule.lua: the file must end with"},
  };
  struct bench bench;
  bench_init(&bench, yaml);
  bench_write(&bench, "t/reminder.html", "hello");
  bench_write(&bench, "t/helper.lua", "return {}");
  bench_write(&bench, "t/broken.lua", "\nlocal x y");
  bench_write(&bench, "t/loop.lua", "return require 'loop'");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    bench_write(&bench, "t/rule.lua", cases[i].text);
    assert_load(&bench, cases[i].says);
  }
  bench_deinit(&bench);
}

static const char good[] = "local kairos = require 'kairos'\nreturn kairos.rule { on = 'x', act = "
                           "function(event, user) user:send { channel = 'email', template = 'm' } end }";

static void test_templates(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  bench_write(&bench, "t/rule.lua", good);
  assert_load(
      &bench,
      "rules/t/rule.lua:2: there is no template `m` in rules/t; there is none yet: write rules/t/m.html");
  bench_write(&bench, "t/m.html", "---\nsubject: s\n---\n{{> head}}{{#items}}{{> item}}{{/items}}{{name}}");
  int rc = bench_load(&bench);
  assert_int_equal(rc, ERROR_SCRIPT);
  assert_non_null(strstr(bench.err.message, "rules/t/m.html:"));
  assert_non_null(strstr(bench.err.message, "head"));
  bench_write(&bench, "shared/head.html", "<b>{{title}}</b>");
  bench_write(&bench, "t/item.html", "<i>{{sku}}</i>");
  assert_load(&bench, NULL);
  const struct engine_template *templates;
  assert_int_equal(engine_templates(bench.engine, &templates), 3); // the partials are templates too
  struct hash128 before = {0};
  for (size_t i = 0; i < 3; i++)
    if (str_equal(templates[i].name, STR("m"))) before = templates[i].hash;
  bench_write(&bench, "shared/head.html", "<b>{{heading}}</b>");
  assert_load(&bench, NULL);
  engine_templates(bench.engine, &templates);
  for (size_t i = 0; i < 3; i++)
    if (str_equal(templates[i].name, STR("m"))) assert_false(hash128_equal(before, templates[i].hash));
  bench_write(&bench, "t/item.html", "{{#open}}");
  rc = bench_load(&bench);
  assert_int_equal(rc, ERROR_SCRIPT);
  assert_non_null(strstr(bench.err.message, "rules/t/item.html:1"));
  bench_write(&bench, "t/item.html", "{{x}}");
  bench_write(&bench, "t/m.txt", "again");
  assert_load(&bench, "rules/t/m.txt: another file of this folder is the template `m` already");
  bench_deinit(&bench);
}

static void test_folders(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  assert_load(&bench, NULL); // no campaign at all
  const struct engine_rule *rules;
  assert_int_equal(engine_rules(bench.engine, &rules), 0);
  bench_write(
      &bench, "b/rule.lua",
      "local kairos = require 'kairos'\nreturn kairos.rule { on = { 'x', 'y' }, act = function() end }");
  bench_write(&bench, "a/rule.lua",
              "local kairos = require 'kairos'\nreturn { kairos.rule { name = 'second', on = 'x', act = "
              "function() end, timers = { z = print, a = print } },\n"
              "kairos.rule { name = 'first', on = 'x', act = function() end } }");
  assert_load(&bench, NULL);
  assert_int_equal(engine_rules(bench.engine, &rules), 3);
  assert_true(str_equal(rules[0].campaign, STR("second")) && str_equal(rules[1].campaign, STR("first")) &&
              str_equal(rules[2].campaign, STR("b")));
  assert_true(str_equal(rules[2].path, STR("b/rule.lua")) && rules[2].on_count == 2 &&
              str_equal(rules[2].on[1], STR("y")));
  assert_true(rules[0].timer_count == 2 && str_equal(rules[0].timers[0], STR("a")) &&
              str_equal(rules[0].timers[1], STR("z")));
  const uint32_t *subscribers;
  assert_int_equal(engine_subscribers(bench.engine, STR("x"), &subscribers), 3);
  assert_true(subscribers[0] == 2 && subscribers[1] == 1 && subscribers[2] == 0);
  bench_write(&bench, "c/m.html", "a template alone");
  assert_load(&bench,
              "rules/c/rule.lua: this file is missing: a campaign's folder holds rule.lua and its templates");
  bench_write(
      &bench, "c/rule.lua",
      "local kairos = require 'kairos'\nreturn kairos.rule { name = 'b', on = 'x', act = function() end }");
  assert_load(&bench, "rules/c/rule.lua: a rule named `b` is in rules/b/rule.lua already");
  bench_deinit(&bench);
}

/** A campaign that makes so many texts of 1 KB, and keeps the first of them. */
static void write_kept(struct bench *bench, const char *name, int made, int kept) {
  char path[64], text[512];
  snprintf(path, sizeof path, "%s/rule.lua", name);
  snprintf(text, sizeof text,
           "local kairos = require 'kairos'\nlocal kept, last = {}, nil\nfor i = 1, %d do\n"
           "  last = ('%s'):rep(1020) .. i\n  if i <= %d then kept[i] = last end\nend\n"
           "return kairos.rule { name = '%s', on = 'x', act = function() return kept end }\n",
           made, name, kept, name);
  bench_write(bench, path, text);
}

/** A campaign may keep a quarter, whatever the ones before it have kept or left behind. */
static void test_kept(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  write_kept(&bench, "a", 3000, 3000);
  write_kept(&bench, "b", 3000, 3);
  write_kept(&bench, "c", 3000, 3000);
  write_kept(&bench, "d", 3000, 3);
  write_kept(&bench, "e", 3000, 3000);
  assert_load(&bench, NULL);
  assert_in_range(engine_memory(bench.engine), 9000 << 10, 12000 << 10);
  write_kept(&bench, "e", 6000, 5000);
  assert_load(&bench, "rules/e/rule.lua: what it makes while it is loaded takes ");
  write_kept(&bench, "e", 3, 3);
  write_kept(&bench, "a", 9000, 5000);
  assert_load(&bench, "rules/a/rule.lua: what it makes while it is loaded takes ");
  bench_deinit(&bench);
}

/** A hundred campaigns load within the memory of a worker, and one engine after the other leaves nothing
 * behind. */
static void test_many(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  for (int i = 0; i < 100; i++) {
    char path[32], text[512];
    snprintf(path, sizeof path, "c%03d/rule.lua", i);
    snprintf(text, sizeof text,
             "local kairos = require 'kairos'\nlocal w = kairos.window { of = 'e%d', over = '%dm' }\n"
             "return kairos.rule { on = 'e%d', when = function(event, user) return user:count(w) >= 3 end, "
             "act = function(event, user) user:set('a', %d) end }",
             i, i + 1, i, i);
    bench_write(&bench, path, text);
  }
  for (int i = 0; i < 3; i++) assert_load(&bench, NULL);
  const struct window_declaration *windows;
  assert_int_equal(engine_windows(bench.engine, &windows), 100);
  assert_true(engine_memory(bench.engine) < 4 << 20);
  bench_deinit(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_mistakes), cmocka_unit_test(test_templates),
                                     cmocka_unit_test(test_folders), cmocka_unit_test(test_kept),
                                     cmocka_unit_test(test_many)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
