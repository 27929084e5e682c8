/* Measures what a rule costs: calls of rules on the reference event, in microseconds of CPU, from the one
 * that looks at nothing to the one that sends, each as rule files run (interpreted) and as they would
 * (compiled), and what the gate and the record add. */
#include "base/clock.h"
#include "decide/decide.h"
#include "engine/internal.h"
#include "event/json.h"

#include <luajit.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const char usage[] = "usage: engine [--calls N] [--rounds N]\n"
                            "\n"
                            "  --calls N    in a round (200000)\n"
                            "  --rounds N   of each rule; the median is printed (7)\n"
                            "\n"
                            "Run it from the project's root, which has the library in lua/.\n";

/** The reference event of tools/bench.d/load.c. */
static const char payload[] = "{\"cart_id\":\"c1\",\"items\":[{\"sku\":\"A1\",\"qty\":2,\"price\":19.9},"
                              "{\"sku\":\"B2\",\"qty\":1,\"price\":5}],\"total\":44.8,\"currency\":\"EUR\","
                              "\"sent\":\"1760000000000000\"}";
static const char metadata[] = "{\"source\":\"checkout-service\",\"region\":\"eu-west-1\"}";

static const struct measured {
  const char *name, *what, *when, *act;
} rules[] = {
    {"nothing", "looks at nothing, does not act", "return false", ""},
    {"envelope", "event.type", "return event.type == 'other'", ""},
    {"payload", "event.payload.total", "return event.payload.total > 1000", ""},
    {"walk", "the whole event, deep", "return walk(event) == 0", ""},
    {"items", "sums the cart's two items", "return sum(event.payload.items) > 1000", ""},
    {"work", "a hundred rounds of arithmetic", "return work(event.timestamp) == 0.5", ""},
    {"text", "takes a text apart", "return words(event.payload.cart_id .. ' one two three') == 0", ""},
    {"asks", "the reference rule, says no", "return user:count(carts) >= 300 and event.payload.total > 40",
     ""},
    {"sends", "the reference rule, sends", "return user:count(carts) >= 0 and event.payload.total > 40",
     "user:send { channel = 'push', template = 'cart', data = { total = event.payload.total } }"},
    {"keeps", "sets an attribute and a timer", "return true",
     "user:set('last_total', event.payload.total) user:after('5m', { name = 'tick' })"},
};
enum { RULES = sizeof rules / sizeof *rules };

static const char helpers[] =
    "local kairos = require 'kairos'\n"
    "local carts = kairos.window { of = 'cart.updated', over = '10m' }\n"
    "local function walk(t) local n = 0 for _, v in pairs(t) do n = n + (type(v) == 'table' and walk(v) or "
    "1) end return n end\n"
    "local function sum(items) local n = 0 for _, item in ipairs(items) do n = n + item.qty * item.price end "
    "return n end\n"
    "local function work(x) for i = 1, 100 do x = x * 1.5 % 1000 + i end return x end\n"
    "local function words(s) local n = 0 for _ in s:gmatch '%a+' do n = n + 1 end return n end\n";

struct stage {
  struct config *config;
  struct ruleset *ruleset;
  struct engine *engine;
  struct decider *decider;
  struct record record;
  struct draft draft;
  struct engine_call call;
  struct event event;
  struct buf payload, metadata;
};

static int calls = 200000, rounds = 7;
enum { ROUNDS_MAX = 99 };

static _Noreturn void fail(const char *what, const struct error *err) {
  fprintf(stderr, "engine: %s: %s\n", what, err->message);
  exit(1);
}

/* ---- the stage ---- */

static void write_file(const char *folder, const char *name, const char *text, const struct measured *rule) {
  char path[256];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  FILE *file = fopen(path, "w");
  if (!file) {
    perror(path);
    exit(1);
  }
  if (rule)
    fprintf(file,
            "%s\nreturn kairos.rule { on = 'cart.updated', timers = { tick = function() end },\n"
            "when = function(event, user) %s end, act = function(event, user) %s end }\n",
            text, rule->when, rule->act);
  else
    fputs(text, file);
  fclose(file);
}

static void make_rules(char *folder) {
  if (!mkdtemp(folder)) {
    perror(folder);
    exit(1);
  }
  for (size_t i = 0; i < RULES; i++) {
    char below[128];
    snprintf(below, sizeof below, "%s/%02zu_%s", folder, i, rules[i].name);
    mkdir(below, 0700);
    write_file(below, "rule.lua", helpers, &rules[i]);
    write_file(below, "cart.json", "{\"total\": {{total}}}", NULL);
  }
}

static void remove_rules(const char *folder) {
  char command[160];
  snprintf(command, sizeof command, "rm -rf '%s'", folder);
  if (system(command)) fprintf(stderr, "engine: %s stays\n", folder);
}

static void read_value(struct json_parser *parser, const char *json, struct buf *out) {
  struct buf padded;
  struct error err = {0};
  buf_init(&padded);
  buf_append(&padded, json, strlen(json));
  memset(buf_reserve(&padded, JSON_PADDING), 0, JSON_PADDING);
  if (json_parse(parser, (const char *)padded.data, padded.len, out, &err)) fail("the event", &err);
  buf_deinit(&padded);
}

static void set_up(struct stage *stage) {
  char folder[] = "/tmp/kairos_bench_XXXXXX";
  struct config_report report;
  struct error err = {0};
  *stage = (struct stage){0};
  config_report_init(&report);
  if (config_parse(&stage->config, STR(""), "defaults", &report)) {
    fprintf(stderr, "engine: the defaults are not taken\n");
    exit(1);
  }
  config_report_deinit(&report);
  make_rules(folder);
  if (ruleset_read(&stage->ruleset, folder, "lua", &err)) fail("the rules", &err);
  remove_rules(folder);
  struct engine_options options = {.ruleset = stage->ruleset, .config = stage->config, .generation = 1};
  if (engine_new(&stage->engine, &options, &err)) fail("the rules", &err);
  stage->decider = decider_new(&(struct decider_options){.engine = stage->engine,
                                                         .config = stage->config,
                                                         .generation = 1,
                                                         .record_max = stage->config->state.record_max,
                                                         .uncounted = true});
  record_init(&stage->record);
  draft_init(&stage->draft, stage->config->state.record_max);
  engine_call_init(&stage->call);
  buf_init(&stage->payload);
  buf_init(&stage->metadata);
  struct json_parser *parser = json_parser_new();
  read_value(parser, payload, &stage->payload);
  read_value(parser, metadata, &stage->metadata);
  json_parser_free(parser);
  stage->event = (struct event){.id = STR("e1"),
                                .type = STR("cart.updated"),
                                .entity = {ENTITY_USER, STR("u-123456")},
                                .timestamp = 1760000000000,
                                .received = 1760000000000,
                                .payload = buf_str(&stage->payload),
                                .metadata = buf_str(&stage->metadata)};
  stage->call.event = &stage->event;
  stage->call.entity = stage->event.entity;
  stage->call.cause = stage->event.id;
  stage->call.now = stage->call.wall = stage->event.timestamp;
  stage->call.draft = &stage->draft;
}

static void tear_down(struct stage *stage) {
  decider_free(stage->decider);
  engine_free(stage->engine);
  ruleset_free(stage->ruleset);
  config_free(stage->config);
  record_deinit(&stage->record);
  draft_deinit(&stage->draft);
  engine_call_deinit(&stage->call);
  buf_deinit(&stage->payload);
  buf_deinit(&stage->metadata);
}

/** Let the compiler have the rule files, as the host does not. */
static int compile_rules(lua_State *lua, void *context) {
  const struct engine *engine = context;
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.handlers);
  for (int i = 1; i <= engine->handler_count; i++) {
    lua_rawgeti(lua, -1, i);
    luaJIT_setmode(lua, -1, LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_ON);
    for (int upvalue = 1; lua_getupvalue(lua, -1, upvalue); upvalue++) {
      if (lua_isfunction(lua, -1) && !lua_iscfunction(lua, -1))
        luaJIT_setmode(lua, -1, LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_ON);
      lua_pop(lua, 1);
    }
    lua_pop(lua, 1);
  }
  return 0;
}

/* ---- measuring ---- */

static int by_value(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

/** Microseconds of this thread's CPU a call, the median of the rounds. */
static double measure(struct stage *stage, void (*call)(struct stage *stage, uint32_t rule), uint32_t rule) {
  double taken[ROUNDS_MAX];
  for (int i = 0; i < calls / 4; i++) call(stage, rule);
  for (int round = 0; round < rounds; round++) {
    int64_t before = clock_thread_us();
    for (int i = 0; i < calls; i++) call(stage, rule);
    taken[round] = (double)(clock_thread_us() - before) / calls;
  }
  qsort(taken, (size_t)rounds, sizeof *taken, by_value);
  return taken[rounds / 2];
}

static void run_rule(struct stage *stage, uint32_t rule) {
  struct error err = {0};
  draft_begin(&stage->draft, &stage->record);
  draft_mark(&stage->draft);
  engine_input(stage->engine);
  if (engine_run(stage->engine, rule, &stage->call, &err)) fail(rules[rule].name, &err);
}

/** What stands around the call, without it. */
static void run_none(struct stage *stage, uint32_t rule) {
  (void)rule;
  draft_begin(&stage->draft, &stage->record);
  draft_mark(&stage->draft);
  engine_input(stage->engine);
}

/** The message that the last run made goes through the gate. */
static void run_gate(struct stage *stage, uint32_t rule) {
  static struct buf checks;
  struct reader reader = reader_of(buf_str(&stage->call.messages));
  struct message message;
  struct verdict verdict;
  struct error err = {0};
  if (message_decode(&message, &reader, &err)) fail(rules[rule].name, &err);
  gate_judge(&(struct gate_question){.record = &stage->record,
                                     .message = &message,
                                     .config = stage->config,
                                     .now = stage->call.now,
                                     .wall = stage->call.wall},
             &verdict, &checks);
}

/** An event with window and all ten rules, decided as the host decides it. */
static void run_all(struct stage *stage, uint32_t rule) {
  struct decision decision;
  (void)rule;
  decide_event(stage->decider, &stage->record, &stage->event, stage->event.received, &decision);
}

static void run_unwanted(struct stage *stage, uint32_t rule) {
  stage->event.type = STR("page.viewed");
  run_all(stage, rule);
  stage->event.type = STR("cart.updated");
}

static void take_options(int count, char **words) {
  for (int i = 1; i < count; i += 2) {
    int *option = strcmp(words[i], "--calls") == 0    ? &calls
                  : strcmp(words[i], "--rounds") == 0 ? &rounds
                                                      : NULL;
    if (!option || i + 1 == count || (*option = atoi(words[i + 1])) < 1 || rounds > ROUNDS_MAX) {
      fputs(usage, stderr);
      exit(2);
    }
  }
}

int main(int count, char **words) {
  struct stage stage;
  struct error err = {0};
  double interpreted[RULES];
  take_options(count, words);
  set_up(&stage);
  double none = measure(&stage, run_none, 0);
  for (uint32_t i = 0; i < RULES; i++) interpreted[i] = measure(&stage, run_rule, i) - none;
  double gate = 0;
  for (uint32_t i = 0; i < RULES; i++) {
    if (strcmp(rules[i].name, "sends") != 0) continue;
    run_rule(&stage, i);
    gate = measure(&stage, run_gate, i);
  }
  double unwanted = measure(&stage, run_unwanted, 0), all = measure(&stage, run_all, 0);
  if (sandbox_run(&stage.engine->sandbox, compile_rules, stage.engine, 1000, &err)) fail("compiling", &err);
  printf("us of CPU a call, median of %d rounds of %d\n\n", rounds, calls);
  printf("%-10s %12s %10s %7s\n", "rule", "interpreted", "compiled", "ratio");
  for (uint32_t i = 0; i < RULES; i++) {
    double compiled = measure(&stage, run_rule, i) - none;
    printf("%-10s %12.3f %10.3f %7.2f  %s\n", rules[i].name, interpreted[i], compiled,
           compiled / interpreted[i], rules[i].what);
  }
  printf("\n%-34s %8.3f\n", "draft begun, no rule", none);
  printf("%-34s %8.3f\n", "the gate, on the message sent", gate);
  printf("%-34s %8.3f\n", "an event that nobody wants, decided", unwanted);
  printf("%-34s %8.3f\n", "the event and all these rules", all);
  tear_down(&stage);
  return 0;
}
