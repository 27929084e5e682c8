// links: base config event state gate deliver engine
/* Which Lua runs how: rule files interpreted; the library's functions that run once a message compiled,
 * without a part that the compiler gives up on; of the library nothing once an event. No state has the FFI.
 */
#include "test_engine_support.h"

#include "engine/internal.h"

static const char yaml[] = "rules:\n  budget: 1s\n"
                           "providers:\n"
                           "  - name: hook\n    type: webhook\n    url: https://shop.example/in\n    "
                           "secret_env: KAIROS_TEST_SECRET\n"
                           "  - name: grid\n    type: sendgrid\n    secret_env: KAIROS_TEST_SECRET\n    "
                           "from: \"Shop <hello@shop.example>\"\n"
                           "routes:\n  webhook: hook\n  email: grid\n";

/** Enough for the compiler to find a function hot (56 loops, 112 calls), and for side traces. */
enum { OFTEN = 2000 };

/** Under ThreadSanitizer all budgets are counted (budget.c), and where they are counted nothing is compiled.
 */
static void skip_where_counted(void) {
#if defined(__SANITIZE_THREAD__)
  skip();
#endif
}

/** Ours, in the state under test but outside of the sandbox. */
static void run_text(lua_State *lua, const char *text) {
  if (luaL_loadbuffer(lua, text, strlen(text), "=probe") || lua_pcall(lua, 0, 0, 0))
    fail_msg("%s", lua_tostring(lua, -1));
}

/** Note where traces begin, and what is given up. Ends are kept by the source of the function they begin in.
 */
static void watch_traces(lua_State *lua) {
  lua_getfield(lua, LUA_REGISTRYINDEX, "_PRELOAD");
  lua_getfield(lua, -1, "jit.util");
  lua_pushliteral(lua, "jit.util");
  if (lua_pcall(lua, 1, 1, 0)) fail_msg("%s", lua_tostring(lua, -1));
  lua_setglobal(lua, "util");
  lua_pop(lua, 1);
  run_text(lua,
           "begun, done, given_up = {}, {}, {}\n"

           "local function place(func, pc) local info = util.funcinfo(func, pc)\n"
           "  return info.source and info.source:gsub('^[@=]', '') .. ':' .. info.linedefined or 'C' end\n"
           "local at\n"
           "function note_trace(what, number, func, pc, code, detail)\n"
           "  if what == 'start' then at = place(func, pc) begun[#begun + 1] = at\n"
           "  elseif what == 'stop' then done[#done + 1] = at\n"
           "  elseif what == 'abort' then given_up[#given_up + 1] = at .. ' at ' .. place(func, pc) .. ' (' "
           ".. code .. ', '\n"
           "    .. tostring(detail) .. ')' end\n"
           "end\n"
           "jit.attach(note_trace, 'trace')\n");
}

/** How many entries of a list begin with `prefix`. */
static int count_places(lua_State *lua, const char *list, const char *prefix) {
  int count = 0;
  lua_getglobal(lua, list);
  for (int i = 1; i <= (int)lua_objlen(lua, -1); i++) {
    lua_rawgeti(lua, -1, i);
    if (strncmp(lua_tostring(lua, -1), prefix, strlen(prefix)) == 0) count++;
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
  return count;
}

static void show(lua_State *lua, const char *list) {
  lua_getglobal(lua, list);
  for (int i = 1; i <= (int)lua_objlen(lua, -1); i++) {
    lua_rawgeti(lua, -1, i);
    print_message("%s: %s\n", list, lua_tostring(lua, -1));
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
}

/* ---- once a message ---- */

struct mapping {
  struct bench bench;
  struct provider_scripts scripts;
  struct rendered rendered;
  struct message message;
  struct http_request request;
  lua_State *lua;
};

static void mapping_init(struct mapping *mapping) {
  char library[512];
  struct error err = {0};
  *mapping = (struct mapping){0};
  setenv("KAIROS_TEST_SECRET", "s3cret", 1);
  bench_init(&mapping->bench, yaml);
  bench_library(library, sizeof library);
  if (ruleset_read(&mapping->bench.ruleset, mapping->bench.folder, library, &err) ||
      engine_providers(mapping->bench.ruleset, mapping->bench.config, &mapping->scripts, &err))
    fail_msg("%s", err.message);
  mapping->lua = ((struct sandbox *)mapping->scripts.context)->lua;
  rendered_init(&mapping->rendered);
  value_put_map(&mapping->rendered.headers, 1);
  value_put_member_text(&mapping->rendered.headers, "subject", STR("Hello"));
  buf_append(&mapping->rendered.body, "<p>hi</p>", 9);
  bench_json(&mapping->bench, "{\"total\":5}", &mapping->bench.payload);
  mapping->message = (struct message){.user = {ENTITY_USER, STR("ada")},
                                      .campaign = STR("cart"),
                                      .template_name = STR("reminder"),
                                      .channel = STR("email"),
                                      .to = STR("ada@shop.example"),
                                      .data = buf_str(&mapping->bench.payload)};
}

static void mapping_deinit(struct mapping *mapping) {
  mapping->scripts.free(mapping->scripts.context);
  rendered_deinit(&mapping->rendered);
  buf_deinit(&mapping->request.url);
  buf_deinit(&mapping->request.body);
  buf_deinit(&mapping->request.headers);
  bench_deinit(&mapping->bench);
}

/** Messages and answers as they come: of different users, and not all alike. */
static void run_mapping(struct mapping *mapping, const char *account) {
  const struct config_provider *provider = config_provider(mapping->bench.config, str_from(account));
  static const long statuses[] = {200, 202, 429, 500, 400};
  struct provider_verdict verdict = {0};
  struct error err = {0};
  for (int i = 0; i < OFTEN; i++) {
    struct http_response response = {.status = statuses[i % 5],
                                     .body = STR("{\"errors\":[{\"field\":\"to\"}]}"),
                                     .headers = buf_str(&mapping->rendered.headers)};
    mapping->message.id.low = (uint64_t)i;
    buf_clear(&mapping->rendered.text);
    if (i % 3) buf_append(&mapping->rendered.text, "hi", 2);
    buf_clear(&mapping->request.url);
    buf_clear(&mapping->request.body);
    buf_clear(&mapping->request.headers);
    if (mapping->scripts.request(mapping->scripts.context, provider, "s3cret", &mapping->message,
                                 &mapping->rendered, &mapping->request, &err) ||
        mapping->scripts.verdict(mapping->scripts.context, provider, &response, &verdict, &err))
      fail_msg("%s", err.message);
  }
}

/** The library's functions that were called, and how often. */
static struct called {
  char place[128];
  int calls;
} called[32];
static size_t called_count;

static void note_call(lua_State *lua, lua_Debug *frame) {
  char place[128];
  lua_getinfo(lua, "S", frame);
  if (*frame->what == 'C') return;
  snprintf(place, sizeof place, "%s:%d", frame->source + 1, frame->linedefined);
  size_t i = 0;
  while (i < called_count && strcmp(called[i].place, place) != 0) i++;
  assert_true(i < sizeof called / sizeof *called);
  if (i == called_count) memcpy(called[called_count++].place, place, sizeof place);
  called[i].calls++;
}

/** Whatever is called for every few messages is compiled, wholly. */
static void assert_compiles(const char *account, const char *source) {
  struct mapping mapping;
  mapping_init(&mapping);
  memset(called, 0, sizeof called);
  called_count = 0;
  lua_sethook(mapping.lua, note_call, LUA_MASKCALL, 0);
  run_mapping(&mapping, account);
  mapping_deinit(&mapping);

  mapping_init(&mapping);
  watch_traces(mapping.lua);
  run_mapping(&mapping, account);
  int hot = 0;
  for (size_t i = 0; i < called_count; i++) {
    if (called[i].calls < OFTEN / 10) continue;
    hot += strncmp(called[i].place, source, strlen(source)) == 0;
    if (count_places(mapping.lua, "done", called[i].place) == 0)
      fail_msg("%s was called %d times and is not compiled", called[i].place, called[i].calls);
  }
  assert_true(hot > 0);
  show(mapping.lua, "given_up");
  assert_int_equal(count_places(mapping.lua, "given_up", ""), 0);
  mapping_deinit(&mapping);
}

static void test_mappings_compile(void **state) {
  (void)state;
  skip_where_counted();
  assert_compiles("hook", "lua/kairos/providers/webhook.lua");
  assert_compiles("grid", "lua/kairos/providers/sendgrid.lua");
}

/* ---- once an event ---- */

/** Asks the host for everything it has, in loops that would be hot. */
static const char top[] = "local views = kairos.window { of = 'x', over = '1h', by = 'payload.k' }\n"
                          "local amount = kairos.window { of = 'x', over = '1h', sum = 'payload.n' }\n"
                          "local newest = kairos.window { of = 'x', over = '1h', last = 'payload.n' }\n"
                          "local oldest = kairos.window { of = 'x', over = '1h', first = 'payload.n' }\n"
                          "local kinds = kairos.window { of = 'x', over = '1h', distinct = 'payload.k' }\n"
                          "local slowly = kairos.throttle { name = 'slowly', rate = '5/1h' }\n"
                          "local function double(x) return x * 2 end";
static const char body[] =
    "local n = 0 for i = 1, 100 do n = n + double(i) end\n"
    "for key, value in pairs(event.payload) do n = n + #key end\n"
    "for _, value in ipairs(event.payload.list) do n = n + value end\n"
    "n = n + user:count(views, event.payload.k) + user:sum(amount) + (user:last(newest) or 0) + "
    "(user:first(oldest) or 0)\n"
    "n = n + user:distinct(kinds) + kairos.now()\n"
    "if user:allow(slowly) or user:once('a', '1d') then user:set('n', n) user:after('5m', { name = 'tick' }) "
    "end\n"
    "user:cancel('tick')\n"
    "local who = user.name or user.id\n"
    "user:send { channel = 'email', template = 'm', data = event.payload, once_per = '1d', to = who }";

static void bench_load_reference(struct bench *bench, bool counted) {
  struct buf text;
  bench_init(bench, yaml);
  bench->counted = counted;
  bench_write(bench, "t/m.txt", "---\nsubject: s\n---\nhello {{k}}");
  buf_init(&text);
  buf_printf(
      &text,
      "local kairos = require 'kairos'\n%s\nreturn kairos.rule { on = 'x', timers = { tick = function() end "
      "},\n"
      "when = function(event, user) return event.payload.n > 0 end, act = function(event, user)\n%s\nend }\n",
      top, body);
  bench_write(bench, "t/rule.lua", (const char *)text.data);
  buf_deinit(&text);
  if (bench_load(bench)) fail_msg("%s", bench->err.message);
}

static void run_reference(struct bench *bench, int times) {
  for (int i = 0; i < times; i++) {
    bench_event(bench, "x", "{\"k\":\"a\",\"n\":5,\"list\":[1,2,3]}", 1000000 + i);
    if (bench_run(bench, 0)) fail_msg("%s", bench->err.message);
  }
}

/** Sources of the Lua functions that were called since the hook was set. */
static unsigned calls_of_rules, calls_of_others;
static void count_call(lua_State *lua, lua_Debug *frame) {
  lua_getinfo(lua, "S", frame);
  if (strncmp(frame->source, "@" SANDBOX_RULES, sizeof SANDBOX_RULES) == 0)
    calls_of_rules++;
  else if (*frame->what != 'C')
    calls_of_others++;
}

/** What runs per event is the rule's own Lua and the host's C: of the library, not one function. */
static void test_no_library_per_event(void **state) {
  (void)state;
  skip_where_counted();
  struct bench bench;
  bench_load_reference(&bench, false);
  lua_State *lua = bench.engine->sandbox.lua;
  run_reference(&bench, 3);
  calls_of_rules = calls_of_others = 0;
  lua_sethook(lua, count_call, LUA_MASKCALL, 0);
  run_reference(&bench, 10);
  lua_sethook(lua, NULL, 0, 0);
  assert_true(calls_of_rules >= 10 * (2 + 100));
  assert_int_equal(calls_of_others, 0);
  bench_deinit(&bench);
}

/** No loop of a rule becomes a trace, in which no budget would end it. */
static void test_rules_are_interpreted(void **state) {
  (void)state;
  skip_where_counted();
  struct bench bench;
  bench_load_reference(&bench, false);
  lua_State *lua = bench.engine->sandbox.lua;
  watch_traces(lua);
  run_reference(&bench, OFTEN);
  show(lua, "done");
  assert_int_equal(count_places(lua, "done", ""), 0);
  bench_deinit(&bench);
}

/** The compiler is on for the library, so that hot parts may move there; where steps are counted it is off.
 */
static void test_library_may_compile(void **state) {
  (void)state;
  skip_where_counted();
  for (int counted = 0; counted < 2; counted++) {
    struct bench bench;
    bench_load_reference(&bench, counted);
    lua_State *lua = bench.engine->sandbox.lua;
    watch_traces(lua);
    run_text(lua, "local n = 0 for i = 1, 1000 do n = n + i end");
    assert_int_equal(count_places(lua, "done", "probe") > 0, !counted);
    bench_deinit(&bench);
  }
}

/* ---- the FFI ---- */

static void assert_no_ffi(lua_State *lua) {
  run_text(lua, "assert(ffi == nil and require == nil and package == nil and io == nil and os == nil and "
                "debug == nil)");
  lua_getfield(lua, LUA_REGISTRYINDEX, "_LOADED");
  lua_getfield(lua, -1, "ffi");
  assert_true(lua_isnil(lua, -1));
  lua_getfield(lua, LUA_REGISTRYINDEX, "_PRELOAD");
  if (lua_istable(lua, -1)) {
    lua_getfield(lua, -1, "ffi");
    assert_true(lua_isnil(lua, -1));
  }
  lua_settop(lua, 2);
}

/** Nothing in the host uses the FFI, so there are no layouts to agree on: it is not even in the states. */
static void test_no_ffi(void **state) {
  (void)state;
  struct mapping mapping;
  struct bench bench;
  mapping_init(&mapping);
  assert_no_ffi(mapping.lua);
  mapping_deinit(&mapping);
  bench_load_reference(&bench, false);
  assert_no_ffi(bench.engine->sandbox.lua);
  bench_deinit(&bench);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_mappings_compile),
      cmocka_unit_test(test_no_library_per_event),
      cmocka_unit_test(test_rules_are_interpreted),
      cmocka_unit_test(test_library_may_compile),
      cmocka_unit_test(test_no_ffi),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
