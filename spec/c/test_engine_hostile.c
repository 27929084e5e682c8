// links: base config event state gate deliver engine
/* Rules that would stall, exhaust or corrupt the host (spec/hostile/attacks.lua). Each ends as it must,
 * leaves nothing behind, and costs no neighbour anything. */
#include "test_engine_support.h"

#include "base/clock.h"
#include "engine/internal.h"

/** Attacks are stopped within BUDGET_MS, but for a machine that is busy with others and the kernel's ticks.
 */
#if defined(__SANITIZE_ADDRESS__) // what takes out an attack's garbage is slow there, and charged to the
                                  // neighbour
enum { BUDGET_MS = 60, PATIENCE = 20, MEMORY = 8 << 20 };
static const char yaml[] = "rules:\n  budget: 60ms\n  memory: 8MB\n";
#else
enum { BUDGET_MS = 20, PATIENCE = 60, MEMORY = 8 << 20 };
static const char yaml[] = "rules:\n  budget: 20ms\n  memory: 8MB\n";
#endif
/** Where steps are counted, a smaller budget is as good. */
static const char yaml_counted[] = "rules:\n  budget: 10ms\n  memory: 8MB\n";

#if defined(__SANITIZE_THREAD__)
enum { TIMED = false, SLOW = true }; // budgets are counted there (budget.c)
#elif defined(__SANITIZE_ADDRESS__)
enum { TIMED = true, SLOW = true };
#else
enum { TIMED = true, SLOW = false };
#endif

struct attack {
  char title[256]; /**< family and name */
  struct str top, body, says;
  enum ending { REFUSED, STOPPED, FAILED, LIMITED, HARMLESS } ending;
};

struct attacks {
  lua_State *lua; /**< holds the texts */
  struct attack *items;
  size_t count;
};

static struct str text_field(lua_State *lua, const char *name, int place) {
  struct str text = {"", 0};
  if (name)
    lua_getfield(lua, -1, name);
  else
    lua_rawgeti(lua, -1, place);
  if (lua_type(lua, -1) == LUA_TSTRING) text.data = lua_tolstring(lua, -1, &text.len);
  lua_pop(lua, 1); // the list holds it
  return text;
}

static enum ending ending_of(struct str word) {
  static const char *const endings[] = {"refused", "stopped", "error", "limit", "harmless"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
    if (str_equal(word, str_from(endings[i]))) return (enum ending)i;
  fail_msg("attacks.lua: there is no ending %.*s", STR_ARG(word));
  return HARMLESS;
}

/** Under ThreadSanitizer, a sample: budgets are counted there, slowly, and an engine has one thread. */
static bool is_wanted(lua_State *lua) {
  lua_getfield(lua, -1, "daemon");
  bool sample = lua_toboolean(lua, -1);
  lua_pop(lua, 1);
  return sample || TIMED;
}

static void read_family(struct attacks *attacks) {
  lua_State *lua = attacks->lua;
  struct str family = text_field(lua, "family", 0);
  for (int i = 1; i <= (int)lua_objlen(lua, -1); i++) {
    lua_rawgeti(lua, -1, i);
    if (!is_wanted(lua)) {
      lua_pop(lua, 1);
      continue;
    }
    attacks->items = realloc(attacks->items, (attacks->count + 1) * sizeof *attacks->items);
    struct attack *attack = &attacks->items[attacks->count++];
    *attack = (struct attack){.top = text_field(lua, "top", 0),
                              .body = text_field(lua, NULL, 2),
                              .says = text_field(lua, "says", 0),
                              .ending = ending_of(text_field(lua, NULL, 3))};
    struct str name = text_field(lua, NULL, 1);
    snprintf(attack->title, sizeof attack->title, "%.*s: %.*s", STR_ARG(family), STR_ARG(name));
    lua_pop(lua, 1);
  }
}

static void attacks_read(struct attacks *attacks) {
  char path[600];
  bench_library(path, sizeof path);
  strcat(path, "/../spec/hostile/attacks.lua");
  *attacks = (struct attacks){.lua = luaL_newstate()};
  luaL_openlibs(attacks->lua);
  if (luaL_dofile(attacks->lua, path)) fail_msg("%s", lua_tostring(attacks->lua, -1));
  for (int i = 1; i <= (int)lua_objlen(attacks->lua, -1); i++) {
    lua_rawgeti(attacks->lua, -1, i);
    read_family(attacks);
    lua_pop(attacks->lua, 1);
  }
  assert_true(attacks->count > (TIMED ? 300 : 30));
}

static void attacks_free(struct attacks *attacks) {
  lua_close(attacks->lua);
  free(attacks->items);
}

/* ---- a campaign, and its neighbour ---- */

/** Does a little of everything, and fails if anything is not as it was. */
static const char neighbour[] =
    "local kairos = require 'kairos'\n"
    "local seen = kairos.window { of = 'x', over = '1h' }\n"
    "local own = { list = { 3, 1, 2 } }\n"
    "local function put(t, k, v) t[k] = v return t end\n"
    "return kairos.rule { on = 'x', act = function(event, user)\n"
    "  local made = {}\n"
    "  for i = 1, 200 do made[i] = put({ a = i }, 'x', i) end\n"
    "  for key, value in pairs(event.payload) do put(made, key, value) end\n"
    "  local list = { unpack(own.list) }\n"
    "  table.sort(list)\n"
    "  assert(table.concat(list) == '123' and ('a b'):gsub('%a', { a = 'x' }) == 'x b')\n"
    "  assert(made.total == 5 and made[200].x == 200 and ('x'):rep(1000):upper():sub(-1) == 'X')\n"
    "  assert(not pcall(error, 'caught') and user:count(seen) == 0)\n"
    "  local room = {} for i = 1, 10 do room[i] = ('y'):rep(100000) .. i end\n"
    "  user:set('fine', (user.fine or 0) + 1)\n"
    "  user:set('dice', math.random(1000000))\n"
    "  user:send { channel = 'email', template = 'm', to = 'a@shop.example' }\n"
    "end }\n";

static void write_bytes(struct bench *bench, const char *path, const struct buf *text) {
  char full[256];
  bench_write(bench, path, "");
  snprintf(full, sizeof full, "%s/%s", bench->folder, path);
  FILE *file = fopen(full, "w");
  assert_non_null(file);
  fwrite(text->data, 1, text->len, file);
  fclose(file);
}

static void write_attack(struct bench *bench, const char *path, const struct attack *attack) {
  struct buf text;
  buf_init(&text);
  buf_printf(&text, "local kairos = require \"kairos\"\n");
  buf_append(&text, attack->top.data, attack->top.len);
  buf_printf(&text,
             "\nreturn kairos.rule { on = \"x\", timers = { tick = function() end }, act = function(event, "
             "user) user:set(\"mark\", event.id) user:once(\"mark\", \"1d\")\n");
  buf_append(&text, attack->body.data, attack->body.len);
  buf_printf(&text, "\nend }\n");
  write_bytes(bench, path, &text);
  buf_deinit(&text);
}

/** An engine with the neighbour and this campaign. @return engine_new's code. */
static int prepare(struct bench *bench, bool counted, const struct attack *attack) {
  bench_init(bench, counted ? yaml_counted : yaml);
  bench->counted = counted;
  bench->call.emit_max = ENGINE_EMIT_MAX;
  bench_write(bench, "good/rule.lua", neighbour);
  bench_write(bench, "good/m.txt", "---\nsubject: s\n---\nhello");
  bench_write(bench, "t/m.txt", "---\nsubject: s\n---\nhello");
  bench_write(bench, "t/said.txt", "{{text}}");
  write_attack(bench, "t/rule.lua", attack);
  return bench_load(bench);
}

static uint32_t rule_named(const struct bench *bench, const char *campaign) {
  int rule = engine_rule_of(bench->engine, str_from(campaign));
  assert_true(rule >= 0);
  return (uint32_t)rule;
}

static void make_event(struct bench *bench, int round) {
  char payload[256];
  snprintf(payload, sizeof payload,
           "{\"total\":5,\"round\":%d,\"list\":[3,1,2],\"map\":{\"b\":1,\"deep\":{\"x\":1}},\"none\":{}}",
           round);
  bench_event(bench, "x", payload, 1000000);
}

static double attribute(struct bench *bench, const char *name) {
  struct str value;
  double number = 0;
  if (record_attribute(&bench->record, str_from(name), &value)) value_as_number(value, &number);
  return number;
}

/* ---- what must hold ---- */

/** All that went wrong is told, not the first alone. */
static unsigned complaints;
enum { COMPLAINTS_SHOWN = 30 };

static void complain(const char *title, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void complain(const char *title, const char *format, ...) {
  char text[1200];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (++complaints <= COMPLAINTS_SHOWN) print_error("%s: %s\n", title, text);
}

static void tell(const char *title, bool right, const char *what) {
  if (!right) complain(title, "%s", what);
}

/** The neighbour runs on the event under way, and does the same as ever. */
static void run_neighbour(struct bench *bench, const char *after) {
  double before = attribute(bench, "fine"), dice = attribute(bench, "dice");
  if (bench_run(bench, rule_named(bench, "good"))) {
    complain(after, "the neighbour: %s", bench->err.message);
    return;
  }
  tell(after, attribute(bench, "fine") == before + 1, "the neighbour did not write");
  tell(after, before == 0 || attribute(bench, "dice") == dice, "the neighbour's dice fall otherwise");
  tell(after, bench->call.message_count == 1, "the neighbour did not send");
}

/** @param counted  on a slow machine time may end what a limit, or memory, ends elsewhere; steps do not. */
static void check_ending(const struct attack *attack, const char *folder, bool counted, int rc,
                         const struct error *err) {
  char file[64];
  static const int codes[] = {
      [STOPPED] = ERROR_BUDGET, [FAILED] = ERROR_SCRIPT, [LIMITED] = ERROR_LIMIT, [HARMLESS] = 0};
  snprintf(file, sizeof file, "rules/%s/rule.lua", folder);
  if (rc && !strstr(err->message, file)) complain(attack->title, "no place: %s", err->message);
  bool may_be_late =
      attack->ending == LIMITED || attack->ending == STOPPED || (SLOW && attack->ending == HARMLESS);
  if (!counted && rc == ERROR_BUDGET && may_be_late) return;
  bool right =
      attack->ending == REFUSED ? rc == ERROR_SCRIPT || rc == ERROR_BUDGET : rc == codes[attack->ending];
  if (!right || !memmem(err->message, strlen(err->message), attack->says.data, attack->says.len))
    complain(attack->title, "in %s: %d %s", folder, rc, err->message);
}

static void run_attack(struct bench *bench, uint32_t rule, const struct attack *attack) {
  struct buf before;
  buf_init(&before);
  buf_append(&before, bench->record.bytes.data, bench->record.bytes.len);
  int64_t began = clock_thread_us();
  int rc = bench_run(bench, rule);
  int64_t took = (clock_thread_us() - began) / 1000;
  check_ending(attack, "t", bench->counted, rc, &bench->err);
  tell(attack->title, !rc || str_equal(buf_str(&before), buf_str(&bench->record.bytes)),
       "it left something in the record");
  if (TIMED && took > PATIENCE * BUDGET_MS) complain(attack->title, "it took %d ms", (int)took);
  tell(attack->title, engine_memory(bench->engine) <= MEMORY, "it holds more memory than it may");
  tell(attack->title, lua_gettop(bench->engine->sandbox.lua) == 2, "it left something on the stack");
  buf_deinit(&before);
}

/** In a state of its own: the attack, and its neighbour before and after, on the same event and the next. */
static void attack_alone(const struct attack *attack, bool counted, struct error *last) {
  struct bench bench;
  int rc = prepare(&bench, counted, attack);
  if (attack->ending == REFUSED || rc) {
    check_ending(attack, "t", counted, rc, &bench.err);
    *last = bench.err;
    bench_deinit(&bench);
    return;
  }
  for (int round = 0; round < 2; round++) {
    make_event(&bench, round);
    if (round == 0) run_neighbour(&bench, "nothing");
    run_attack(&bench, rule_named(&bench, "t"), attack);
    *last = bench.err;
    run_neighbour(&bench, attack->title);
    make_event(&bench, round);
    run_neighbour(&bench, attack->title);
  }
  bench_deinit(&bench);
}

static void test_attacks(void **state) {
  (void)state;
  struct attacks attacks;
  struct error last;
  complaints = 0;
  attacks_read(&attacks);
  for (size_t i = 0; i < attacks.count; i++) attack_alone(&attacks.items[i], false, &last);
  attacks_free(&attacks);
  assert_int_equal(complaints, 0);
}

/** Where steps are counted, they end in the same way, and at the same place in every run. */
static void test_attacks_counted(void **state) {
  (void)state;
  struct attacks attacks;
  complaints = 0;
  attacks_read(&attacks);
  for (size_t i = 0; i < attacks.count; i++) {
    struct error first = {0}, second = {0};
    attack_alone(&attacks.items[i], true, &first);
    attack_alone(&attacks.items[i], true, &second);
    if (strcmp(first.message, second.message) != 0)
      complain(attacks.items[i].title, "first %s, then %s", first.message, second.message);
  }
  attacks_free(&attacks);
  assert_int_equal(complaints, 0);
}

/** All in one state, one after the other: none leaves a mark on the next, and the memory that one took is
 * there for the others. */
static void test_one_state(void **state) {
  (void)state;
  struct attacks attacks;
  struct bench bench;
  complaints = 0;
  attacks_read(&attacks);
  bench_init(&bench, yaml);
  bench.call.emit_max = ENGINE_EMIT_MAX;
  bench_write(&bench, "good/rule.lua", neighbour);
  bench_write(&bench, "good/m.txt", "---\nsubject: s\n---\nhello");
  size_t count = 0;
  for (size_t i = 0; i < attacks.count; i++) {
    char path[64];
    if (attacks.items[i].ending == REFUSED || attacks.items[i].top.len) continue;
    snprintf(path, sizeof path, "t%zu/rule.lua", i);
    write_attack(&bench, path, &attacks.items[i]);
    snprintf(path, sizeof path, "t%zu/m.txt", i);
    bench_write(&bench, path, "---\nsubject: s\n---\nhello");
    snprintf(path, sizeof path, "t%zu/said.txt", i);
    bench_write(&bench, path, "{{text}}");
    count++;
  }
  assert_true(count > (TIMED ? 200 : 30));
  if (bench_load(&bench)) fail_msg("%s", bench.err.message);
  size_t base = engine_memory(bench.engine), pool = 0;
  for (int round = 0; round < 2; round++) {
    for (size_t i = 0; i < attacks.count; i++) {
      char name[32];
      if (attacks.items[i].ending == REFUSED || attacks.items[i].top.len) continue;
      record_deinit(&bench.record); // what one may keep for this user would fill the record for the others
      record_init(&bench.record);
      snprintf(name, sizeof name, "t%zu", i);
      make_event(&bench, (int)i);
      int rc = bench_run(&bench, rule_named(&bench, name));
      bool harmless = rc == 0 || (SLOW && rc == ERROR_BUDGET);
      tell(attacks.items[i].title, attacks.items[i].ending == HARMLESS ? harmless : rc != 0,
           bench.err.message);
      run_neighbour(&bench, attacks.items[i].title);
    }
    // Small blocks serve one size each: an attacker may take all memory in each size in turn.
    assert_true(bench.engine->sandbox.pool.size <= 3 * MEMORY);
    if (round == 0) pool = bench.engine->sandbox.pool.size;
  }
  assert_true(bench.engine->sandbox.pool.size <= pool + MEMORY / 4);
  assert_true(sandbox_relieve(&bench.engine->sandbox));
  assert_true(engine_memory(bench.engine) <= base + (256 << 10));
  bench_deinit(&bench);
  attacks_free(&attacks);
  assert_int_equal(complaints, 0);
}

/* ---- other functions that an author writes ---- */

/** Where a body stands, on line 4 of its file, and what runs it. */
static const struct place {
  const char *name, *before, *after;
  enum { PLACE_RULE, PLACE_TIMER, PLACE_AUDIENCE, PLACE_JOURNEY, PLACE_EXIT, PLACE_SEGMENT } kind;
} places[] = {
    {"when", "kairos.rule { on = 'x', when = function()", "end, act = function() end }", PLACE_RULE},
    {"timer", "kairos.rule { on = 'x', act = function() end, timers = { tick = function()", "end } }",
     PLACE_TIMER},
    {"audience", "kairos.rule { on = 'x', for_each = function()", "end, act = function() end }",
     PLACE_AUDIENCE},
    {"run", "kairos.journey { start = { on = 'x' }, run = function()", "end }", PLACE_JOURNEY},
    {"exit", "kairos.journey { start = { on = 'x' }, exit = { on = 'x', where = function()",
     "end }, run = function() end }", PLACE_EXIT},
    {"member", "kairos.segment { member = function()", "end }", PLACE_SEGMENT},
};
enum { PLACES = sizeof places / sizeof *places };

/** Of those that need no more than the language: what `act` alone is given is not there, and segments have no
 * dice. */
static bool is_everywhere(const struct attack *attack) {
  static const char *const others[] = {"user", "event", "random"};
  for (size_t i = 0; i < sizeof others / sizeof *others; i++)
    if (memmem(attack->body.data, attack->body.len, others[i], strlen(others[i]))) return false;
  return (attack->ending == STOPPED || attack->ending == FAILED) && !attack->top.len;
}

static void write_place(struct bench *bench, const struct place *place, const struct attack *attack) {
  char path[64];
  struct buf text;
  buf_init(&text);
  buf_printf(&text, "local kairos = require \"kairos\"\n\nreturn %s\n", place->before);
  buf_append(&text, attack->body.data, attack->body.len);
  buf_printf(&text, "\n%s\n", place->after);
  snprintf(path, sizeof path, "%s/rule.lua", place->name);
  write_bytes(bench, path, &text);
  buf_deinit(&text);
}

static int run_place(struct bench *bench, const struct place *place) {
  struct buf event;
  struct timer timer = {.campaign = str_from(place->name), .name = STR("tick"), .due = 1000000};
  struct engine_journey_call asked;
  struct engine_judgement judgement;
  int rc;
  if (place->kind == PLACE_SEGMENT) {
    draft_begin(&bench->draft, &bench->record);
    draft_mark(&bench->draft);
    bench->call.draft = &bench->draft;
    return engine_judge(bench->engine, (uint32_t)engine_segment_of(bench->engine, str_from(place->name)),
                        &bench->call, &judgement, &bench->err);
  }
  buf_init(&event);
  event_encode(&bench->event, &event);
  struct journey journey = {.id = {1, 2},
                            .state = JOURNEY_WAITING,
                            .campaign = str_from(place->name),
                            .name = STR(TIMER_JOURNEY),
                            .event = buf_str(&event)};
  engine_journey_call_init(&asked);
  asked.ask = place->kind == PLACE_EXIT ? ENGINE_JOURNEY_EXIT : ENGINE_JOURNEY_RUN;
  asked.journey = &journey;
  if (place->kind == PLACE_JOURNEY || place->kind == PLACE_EXIT) bench->call.journey = &asked;
  if (place->kind == PLACE_TIMER) {
    bench->call.event = NULL;
    bench->call.timer = &timer;
  }
  bench->call.gathers = place->kind == PLACE_AUDIENCE;
  rc = bench_run(bench, rule_named(bench, place->name));
  bench->call.journey = NULL;
  bench->call.gathers = false;
  engine_journey_call_deinit(&asked);
  buf_deinit(&event);
  return rc;
}

/** Whatever an author's function is for, an attack in it ends as it does in `act`. */
static void test_places(void **state) {
  (void)state;
  struct attacks attacks;
  unsigned tried = 0;
  complaints = 0;
  attacks_read(&attacks);
  for (size_t i = 0; i < attacks.count; i++) {
    struct attack attack = attacks.items[i];
    struct bench bench;
    if (!is_everywhere(&attack)) continue;
    struct str line = STR("rules/t/rule.lua"); // here the folder has another name
    if (attack.says.len >= line.len && memcmp(attack.says.data, line.data, line.len) == 0)
      attack.says = (struct str){attack.says.data + line.len, attack.says.len - line.len};
    bench_init(&bench, SLOW ? yaml : yaml_counted);
    bench_write(&bench, "good/rule.lua", neighbour);
    bench_write(&bench, "good/m.txt", "---\nsubject: s\n---\nhello");
    for (size_t j = 0; j < PLACES; j++) write_place(&bench, &places[j], &attack);
    if (bench_load(&bench)) fail_msg("%s: %s", attack.title, bench.err.message);
    for (size_t j = 0; j < PLACES; j++) {
      char title[300];
      snprintf(title, sizeof title, "%s, in `%s`", attack.title, places[j].name);
      make_event(&bench, 0);
      check_ending(&attack, places[j].name, false, run_place(&bench, &places[j]), &bench.err);
      tell(title, lua_gettop(bench.engine->sandbox.lua) == 2, "it left something on the stack");
      make_event(&bench, 0);
      run_neighbour(&bench, title);
      tried++;
    }
    bench_deinit(&bench);
  }
  attacks_free(&attacks);
  assert_true(tried > (TIMED ? 100 : 20) * PLACES);
  assert_int_equal(complaints, 0);
}

/** Bytecode as a rule file. */
static void test_bytecode_file(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  bench_write(&bench, "t/rule.lua", "\x1bLJ\x02\x0a");
  assert_int_equal(bench_load(&bench), ERROR_SCRIPT);
  assert_non_null(strstr(bench.err.message, "rules/t/rule.lua: this is compiled Lua"));
  bench_deinit(&bench);
}

/** What a file changes after kairos.rule has taken it is too late: a timer must not wake another campaign's
 * function. */
static void test_changed_after(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  bench_write(
      &bench, "a/rule.lua",
      "local kairos = require 'kairos'\n"
      "local timers, on = { one = function() end, two = function(_, user) user:set('two', 1) end }, { 'x' }\n"
      "local made = kairos.rule { on = on, timers = timers, act = function() end }\n"
      "timers.one, timers.two, on[1], on[2] = nil, 5, {}, 'y'\n"
      "return made\n");
  bench_write(&bench, "b/rule.lua",
              "local kairos = require 'kairos'\n"
              "return kairos.rule { on = 'z', when = function() error 'of another campaign' end, act = "
              "function() end }\n");
  if (bench_load(&bench)) fail_msg("%s", bench.err.message);
  const struct engine_rule *rules;
  const uint32_t *subscribed;
  assert_int_equal(engine_rules(bench.engine, &rules), 2);
  assert_int_equal(rules[0].on_count, 1);
  assert_int_equal(engine_subscribers(bench.engine, STR("x"), &subscribed), 1);
  assert_int_equal(engine_subscribers(bench.engine, STR("y"), &subscribed), 0);
  make_event(&bench, 0);
  struct timer timer = {.campaign = STR("a"), .name = STR("two"), .due = 5};
  bench.call.event = NULL;
  bench.call.timer = &timer;
  bench.call.now = 5;
  engine_input(bench.engine);
  if (bench_run(&bench, 0)) fail_msg("%s", bench.err.message);
  assert_true(attribute(&bench, "two") == 1);
  bench_deinit(&bench);
}

/** A window that answers twice as it likes is the one that was checked. */
static void test_twisted_window(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  int rc = bench_rule(&bench,
                      "local n = 0 kairos.window(setmetatable({}, { __index = function(_, k) if k == 'of' "
                      "then return 'x' end "
                      "if k == 'over' then n = n + 1 return n == 1 and '10m' or 'nonsense' end end }))",
                      "");
  if (rc) fail_msg("%s", bench.err.message);
  const struct window_declaration *windows;
  assert_int_equal(engine_windows(bench.engine, &windows), 1);
  assert_int_equal(windows[0].over, 600000);
  bench_deinit(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_attacks),       cmocka_unit_test(test_attacks_counted),
      cmocka_unit_test(test_one_state),     cmocka_unit_test(test_places),
      cmocka_unit_test(test_bytecode_file), cmocka_unit_test(test_changed_after),
      cmocka_unit_test(test_twisted_window)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
