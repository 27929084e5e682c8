/* The library's parts while a rule runs: the user's zone, the time it is, shares of the users, budgets, and
 * that files which do without them do not wait for them. What they answer is in spec/lua. */
#include "test_engine_support.h"

#define NOON INT64_C(1795777200000) /* Friday 2026-11-27 12:00 in Berlin */

static int set_up(void **state) {
  static struct bench bench;
  bench_init(&bench, "{}\n");
  *state = &bench;
  return 0;
}

static int tear_down(void **state) {
  bench_deinit(*state);
  return 0;
}

/** A rule whose act is `body` runs; the error's text is in bench->err. */
static int act(struct bench *bench, const char *top, const char *body) {
  if (bench_rule(bench, top, body)) fail_msg("%s", bench->err.message);
  bench_event(bench, "x", "{}", NOON);
  return bench_run(bench, 0);
}

static void holds(struct bench *bench, const char *top, const char *body) {
  if (act(bench, top, body)) fail_msg("%s", bench->err.message);
}

static void set_attribute(struct bench *bench, const char *name, const char *value) {
  char body[128];
  snprintf(body, sizeof body, "user:set(\"%s\", %s)", name, value);
  holds(bench, "", body);
}

static void time_is_the_events(void **state) {
  struct bench *bench = *state;
  holds(bench, "local date = kairos.date",
        "assert(date.next('weekday 09:00', 'Europe/Berlin') == date('2026-11-30 09:00 Europe/Berlin').ms)\n"
        "assert(date.days_until('11-28', 'Europe/Berlin') == 1)\n"
        "assert(date.next_annual('11-27 11:00', 'Europe/Berlin') == date('2027-11-27 11:00 "
        "Europe/Berlin').ms)");
}

static void failing_call_names_the_line(void **state) {
  struct bench *bench = *state;
  assert_int_equal(act(bench, "", "local x = 1\nreturn kairos.date.add(event.timestamp, '1 moon')"),
                   ERROR_SCRIPT);
  assert_non_null(strstr(bench->err.message, "rules/t/rule.lua:5: kairos.date.add: write how much"));
  assert_int_equal(act(bench, "", "return kairos.dates.add(1)"), ERROR_SCRIPT);
  assert_non_null(strstr(bench->err.message, "there is no kairos.dates; did you mean kairos.date?"));
}

/** Files whose text has no name of a part in it do not load one, and a name put together is told how to be
 * written. */
static void parts_are_loaded_when_named(void **state) {
  struct bench *bench = *state;
  assert_int_equal(act(bench, "", "return kairos['mo' .. 'ney']"), ERROR_SCRIPT);
  assert_non_null(
      strstr(bench->err.message, "kairos.money is not loaded; write local money = kairos.money at the top"));
  size_t without = engine_memory(bench->engine);
  holds(bench, "local money, date = kairos.money, kairos.date", "");
  assert_true(engine_memory(bench->engine) > without + 10000);
  // A module of the campaign's own may be the one that names it.
  bench_write(bench, "t/prices.lua",
              "local kairos = require \"kairos\"\nreturn function(x) return kairos.money(x, 'EUR') end\n");
  holds(bench, "local price = require \"prices\"", "assert(price(12.5).amount == 1250)");
  bench_write(bench, "t/prices.lua", "return true\n");
}

static void parts_are_read_only(void **state) {
  struct bench *bench = *state;
  assert_int_equal(bench_rule(bench, "kairos.money.sum = nil", ""), ERROR_SCRIPT);
  assert_non_null(strstr(bench->err.message, "belongs to the library and is read-only"));
  assert_int_equal(act(bench, "", "kairos.date.next = 1"), ERROR_SCRIPT);
  assert_int_equal(act(bench, "", "getmetatable(kairos.money(1, 'EUR')).__add = nil"), ERROR_SCRIPT);
  assert_int_equal(act(bench, "", "getmetatable(kairos.money(1, 'EUR')).__index.format = nil"), ERROR_SCRIPT);
  assert_int_equal(act(bench, "", "getmetatable(kairos.date(0)).__index = nil"), ERROR_SCRIPT);
  assert_int_equal(act(bench, "", "getmetatable(kairos.date).__call = nil"), ERROR_SCRIPT);
  assert_int_equal(act(bench, "local one = kairos.money(1, 'EUR')", "one.amount = 2"), ERROR_SCRIPT);
  assert_int_equal(act(bench, "", "local one = kairos.money(1, 'EUR'); one.amount = 0.5; return one + one"),
                   ERROR_SCRIPT);
  assert_non_null(strstr(bench->err.message, "this money was changed by hand"));
}

/** Percentages are sticky and monotonic, and names independent. */
static void shares(void **state) {
  struct bench *bench = *state;
  const char *body =
      "local in10, in25 = kairos.sample.share(user, 'offer', '10%'), kairos.sample.share(user, 'offer', 25)\n"
      "local other = kairos.sample.share(user, 'other', '25%')\n"
      "assert(in25 or not in10)\n"
      "assert(in25 == kairos.sample.share(user, 'offer', '25%'))\n"
      "assert(kairos.sample.share(user, 'offer', '100%') and not kairos.sample.share(user, 'offer', 0))\n"
      "local pick = kairos.sample.pick(user, 'arm', { a = 1, b = 1, c = 2 })\n"
      "local grown = kairos.sample.pick(user, 'arm', { a = 1, b = 1, c = 3 })\n"
      "assert(pick == grown or grown == 'c')\n" // nobody moves but to the one that grew
      "assert(kairos.sample.pick(user, 'arm', { a = 0, b = 3 }) == 'b')\n"
      "local function note(name, is) user:set(name, (user[name] or 0) + (is and 1 or 0)) end\n"
      "note('in10', in10); note('in25', in25); note('both', in25 and other); note('c', pick == 'c')\n"
      // Within five standard deviations of what is meant.
      "if event.payload.last then\n"
      "  assert(math.abs(user.in10 - 400) < 95, user.in10)\n"
      "  assert(math.abs(user.in25 - 1000) < 137, user.in25)\n"
      "  assert(math.abs(user.both - 250) < 77, user.both)\n"
      "  assert(math.abs(user.c - 2000) < 158, user.c)\n"
      "end";
  if (bench_rule(bench, "", body)) fail_msg("%s", bench->err.message);
  for (int i = 1; i <= 4000; i++) {
    char id[24];
    snprintf(id, sizeof id, "user-%d", i);
    bench_event(bench, "x", i == 4000 ? "{\"last\":true}" : "{}", NOON);
    bench->call.entity.id = str_from(id);
    if (bench_run(bench, 0)) fail_msg("%s", bench->err.message);
  }
}

static void wrong_shares(void **state) {
  struct bench *bench = *state;
  assert_int_equal(act(bench, "", "return kairos.sample.share('ada', 'offer', '10%')"), ERROR_SCRIPT);
  assert_non_null(strstr(bench->err.message, "the first value must be `user`, not \"ada\""));
  assert_int_equal(act(bench, "", "return kairos.sample.share(user, 'offer', '10')"), ERROR_SCRIPT);
  assert_non_null(
      strstr(bench->err.message, "the share must be from \"0%\" to \"100%\", such as \"25%\", not \"10\""));
  assert_int_equal(act(bench, "", "return kairos.sample.share(user, 'offer', 0/0)"), ERROR_SCRIPT);
  assert_int_equal(act(bench, "", "return kairos.sample.pick(user, 'offer', { a = -1 })"), ERROR_SCRIPT);
  assert_int_equal(act(bench, "", "return kairos.sample.pick(user, 'offer', {})"), ERROR_SCRIPT);
  assert_non_null(strstr(bench->err.message, "there is nothing to pick from"));
}

static void the_users_zone(void **state) {
  struct bench *bench = *state;
  holds(bench, "", "assert(kairos.date(event.timestamp, user).hour == 11)"); // the host's
  bench_deinit(bench);
  bench_init(bench, "{}\n");
  set_attribute(bench, "time_zone", "'Asia/Tokyo'");
  holds(bench, "",
        "assert(kairos.date(event.timestamp, user).hour == 20 and kairos.date.zone(user) == 'Asia/Tokyo')\n"
        "assert(kairos.date.next('09:00', user) == kairos.date('2026-11-28 09:00 Asia/Tokyo').ms)");
  set_attribute(bench, "time_zone", "'Middle Earth'"); // what a customer's app sent must not end the rule
  holds(bench, "", "assert(kairos.date(event.timestamp, user).hour == 11)");
}

/** However long what a rule hands in, its budget holds. */
static void budgets(void **state) {
  struct bench *bench = *state;
  const char *within = "local corners = {}\n"
                       "for i = 1, 10000 do\n"
                       "  local turn = i / 10000 * 2 * math.pi\n"
                       "  corners[i] = { lat = 50 + math.sin(turn), lon = 10 + math.cos(turn) }\n"
                       "end";
  holds(bench, within, "assert(kairos.geo.in_polygon({ lat = 50, lon = 10 }, corners))");
  static const char *const endless[] = {
      "while true do kairos.geo.in_polygon({ lat = 50, lon = 10 }, corners) end",
      "local long = ('ä '):rep(300000); while true do kairos.text.length(long) end",
      "local long = ('ä '):rep(300000); while true do kairos.text.title(long) end",
      "local long = ('a,'):rep(300000); while true do kairos.text.split(long) end",
      "local long = (' '):rep(600000); while true do kairos.text.trim(long) end",
      "local long = (' '):rep(600000) .. 'x'; while true do kairos.text.truncate(long, 500000) end",
      "local long = ('x '):rep(400000); while true do kairos.text.initials(long) end",
      "local long = ('@'):rep(900000); while true do kairos.text.mask(long) end",
      "local list = {}; for i = 1, 100000 do list[i] = i end; while true do kairos.set.unique(list) end",
      "local list = {}; for i = 1, 100000 do list[i] = { lat = 1, lon = 1 } end\n"
      "while true do kairos.geo.nearest({ lat = 0, lon = 0 }, list) end",
      "local one = kairos.money(1, 'EUR'); while true do one:split(1000) end",
      "while true do kairos.date.next('29th 09:00', 'Europe/Berlin') end",
      "while true do kairos.date.is_open(0, ('Mon 09:00-10:00,'):rep(30)) end",
  };
  for (size_t i = 0; i < sizeof endless / sizeof *endless; i++) {
    int rc = act(bench, within, endless[i]);
    if (rc != ERROR_BUDGET) fail_msg("%s: %d %s", endless[i], rc, bench->err.message);
  }
  // Nobody's list is taken that would outlast the budget at once.
  assert_int_equal(act(bench, "local long = {}\nfor i = 1, 10001 do long[i] = { lat = 0, lon = 0 } end",
                       "return kairos.geo.in_polygon({ lat = 50, lon = 10 }, long)"),
                   ERROR_SCRIPT);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(time_is_the_events, set_up, tear_down),
      cmocka_unit_test_setup_teardown(failing_call_names_the_line, set_up, tear_down),
      cmocka_unit_test_setup_teardown(parts_are_loaded_when_named, set_up, tear_down),
      cmocka_unit_test_setup_teardown(parts_are_read_only, set_up, tear_down),
      cmocka_unit_test_setup_teardown(shares, set_up, tear_down),
      cmocka_unit_test_setup_teardown(wrong_shares, set_up, tear_down),
      cmocka_unit_test_setup_teardown(the_users_zone, set_up, tear_down),
      cmocka_unit_test_setup_teardown(budgets, set_up, tear_down),
  };
  return cmocka_run_group_tests_name("engine/library", tests, NULL, NULL);
}
