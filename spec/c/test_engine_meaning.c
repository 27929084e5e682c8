// links: base config event state gate deliver engine
/* Which changes of a campaign change what a segment means. */
#include "test_engine_support.h"

static const char yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";
static const char plain[] =
    "local kairos = require 'kairos'\n"
    "local helpers = require 'helpers'\n"
    "local bought = kairos.window { of = 'bought', over = '7d' }\n"
    "local least, round = { count = 3 }, math.floor\n"
    "local function enough(n) return round(n) >= least.count end\n"
    "return { kairos.segment { name = 's', sticky = '1d',\n"
    "  member = function(user) return helpers.ask(enough, user:count(bought)) end },\n"
    "  kairos.rule { name = 'r', on = 'x', act = function() end } }\n";
static const char helpers[] = "local self = {}\nself.self = self\nself.sizes = { a = 1, b = 2 }\n"
                              "function self.ask(f, n) return f(n * self.sizes.a) end\nreturn self\n";

static uint64_t meaning(struct bench *bench, const char *rule, const char *library) {
  const struct engine_segment *segments;
  bench_write(bench, "t/rule.lua", rule);
  bench_write(bench, "t/helpers.lua", library);
  if (bench_load(bench)) fail_msg("%s", bench->err.message);
  int at = engine_segment_of(bench->engine, STR("s"));
  engine_segments(bench->engine, &segments);
  assert_true(at >= 0);
  return segments[at].meaning;
}

/** The text with its first `from` made `to`. */
static const char *with(const char *text, const char *from, const char *to) {
  static char changed[2048];
  const char *at = strstr(text, from);
  assert_non_null(at);
  snprintf(changed, sizeof changed, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
  return changed;
}

static void test_what_changes_it(void **state) {
  (void)state;
  static const struct {
    bool library;
    const char *from, *to;
  } cases[] = {
      {false, "count = 3", "count = 4"}, {false, "count = 3", "kount = 3"},
      {false, ">= least", "> least"},    {false, "math.floor", "math.ceil"},
      {false, "'7d'", "'8d'"},           {false, "'bought', over", "'viewed', over"},
      {false, "'1d'", "'2d'"},           {false, "user:count(bought)", "user:count(bought) + 1"},
      {true, "a = 1", "a = 2"},          {true, "b = 2", "b = 3"},
      {true, "f(n", "f(n + 1"},          {true, "self.self = self", "self.self = { self }"},
  };
  struct bench bench;
  bench_init(&bench, yaml);
  uint64_t before = meaning(&bench, plain, helpers);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const char *changed = with(cases[i].library ? helpers : plain, cases[i].from, cases[i].to);
    uint64_t after =
        meaning(&bench, cases[i].library ? plain : changed, cases[i].library ? changed : helpers);
    if (after == before) fail_msg("%s is as %s", cases[i].to, cases[i].from);
  }
  assert_int_equal(meaning(&bench, plain, helpers), before);
  bench_deinit(&bench);
}

static void test_what_does_not(void **state) {
  (void)state;
  static const struct {
    const char *from, *to;
  } cases[] = {
      {"local kairos", "-- more\n\n\nlocal kairos"},
      {"member =", "member = -- who is in\n"},
      {"act = function() end", "act = function(event, user) user:set('a', 1) end"},
      {"local least", "local other = kairos.window { of = 'seen', over = '1h' }\nlocal least"},
      {"name = 's', sticky = '1d',", "sticky = '1d', name = 's',"},
  };
  struct bench bench;
  bench_init(&bench, yaml);
  uint64_t before = meaning(&bench, plain, helpers);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
    if (meaning(&bench, with(plain, cases[i].from, cases[i].to), helpers) != before)
      fail_msg("%s is not as %s", cases[i].to, cases[i].from);
  bench_deinit(&bench);
}

/** Deep, wide, shared and circular: it comes to an end. */
static void test_large(void **state) {
  (void)state;
  static const char large[] =
      "local kairos = require 'kairos'\nlocal deep, wide, shared = {}, {}, {}\n"
      "local at = deep\nfor i = 1, 5000 do at.next = { deep } at = at.next end\n"
      "for i = 1, 5000 do wide[i] = { i } end\n"
      "for i = 1, 60 do shared = { shared, shared } end\n"
      "return kairos.segment { name = 's', member = function() return deep and wide and shared end }\n";
  struct bench bench;
  bench_init(&bench, yaml);
  uint64_t before = meaning(&bench, large, helpers);
  assert_int_equal(meaning(&bench, large, helpers), before);
  assert_int_not_equal(meaning(&bench, with(large, "{ i }", "{ -i }"), helpers), before);
  bench_deinit(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_changes_it),
      cmocka_unit_test(test_what_does_not),
      cmocka_unit_test(test_large),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
