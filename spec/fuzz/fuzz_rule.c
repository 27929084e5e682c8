// covers: src/engine/load.c src/engine/modules.c src/engine/binding_base.c src/engine/binding_kairos.c
// covers: src/engine/binding_send.c src/engine/binding_string.c src/engine/binding_table.c
// covers: src/engine/binding_timer.c src/engine/binding_user.c src/engine/binding_window.c
// covers: src/engine/convert.c src/engine/freeze.c src/engine/order.c src/engine/sandbox.c
/* Rules: any text is loaded or refused, runs within its budget, does the same in two states, and leaves the
 * state fit for the campaign beside it. Input: ' ' and a rule file, or '@' and the body of one that has
 * windows and a throttle. */
#include "engine/engine.h"
#include "engine/internal.h"
#include "lua_words.h"
#include "values.h"

#include <stdlib.h>
#include <unistd.h>

static const char yaml[] = "rules: {budget: 2ms, memory: 8MB}\n";
static const char before_body[] =
    "local kairos = require 'kairos'\n"
    "local views = kairos.window { of = 'view', by = 'payload.sku', over = '10m' }\n"
    "local total = kairos.window { of = 'view', over = '1d', sum = 'payload.price' }\n"
    "local last = kairos.window { of = 'view', over = '1d', last = 'payload.sku' }\n"
    "local kinds = kairos.window { of = 'view', over = '1d', distinct = 'payload.sku' }\n"
    "local calls = kairos.throttle { name = 'calls', rate = '2/1h' }\n"
    "return kairos.rule { name = 'fuzzed', on = { 'view', 'x' }, timers = { later = function(timer, user) "
    "user:set('l', "
    "timer.data) end }, act = function(event, user)\n";
static const char after_body[] = "\nend }\n";
static const char canary[] =
    "local kairos = require 'kairos'\n"
    "return kairos.rule { name = 'canary', on = 'view', act = function(event, user)\n"
    "  local t = {} for k, v in pairs(event.payload) do t[#t + 1] = k .. '=' .. tostring(v) end\n"
    "  user:set('seen', table.concat(t, ','):gsub('%d', 'n')) user:send { channel = 'email', template = 'm', "
    "data = { t = t } }\n"
    "end }\n";
static const char payload_json[] =
    "{\"sku\":\"K1\",\"price\":12.5,\"items\":[{\"n\":1},{\"n\":2}],\"empty\":{},\"none\":null}";

static struct config *config;
static struct ruleset *ruleset;
static struct ruleset_file *fuzzed;
static struct json_parser *parser;
static struct buf payload, usual, wanted;

/** One state and what ran in it. */
struct side {
  struct engine *engine;
  struct record record;
  struct draft draft;
  struct engine_call call;
  struct buf said; /**< codes, effects, messages and facts of all runs */
  bool spent;      /**< something ended with its budget: where that is may differ by a byte of memory */
};

static struct ruleset_file *add_file(const char *path, const char *text) {
  for (size_t i = 0; i < ruleset->count; i++)
    if (strcmp(ruleset->files[i].path, path) > 0) abort(); // they are sorted
  ruleset->files = realloc(ruleset->files, (ruleset->count + 1) * sizeof *ruleset->files);
  struct ruleset_file *file = &ruleset->files[ruleset->count++];
  *file = (struct ruleset_file){.path = strdup(path), .text = {strdup(text), strlen(text)}};
  return file;
}

static int run_rule(struct side *side, uint32_t rule, const struct event *event, const struct timer *timer) {
  struct error err = {0};
  struct engine_call *call = &side->call;
  draft_begin(&side->draft, &side->record);
  draft_mark(&side->draft);
  call->draft = &side->draft;
  call->event = event;
  call->timer = timer;
  call->entity = (struct entity){ENTITY_USER, STR("ada")};
  call->cause = timer ? STR("timer:t/later@5") : event->id;
  call->now = FUZZ_NOW;
  call->wall = FUZZ_NOW + 5;
  int top = lua_gettop(side->engine->sandbox.lua);
  int code = engine_run(side->engine, rule, call, &err);
  HOLDS(code == 0 || code == ERROR_SCRIPT || code == ERROR_BUDGET || code == ERROR_LIMIT, "%d %s", code,
        err.message);
  HOLDS(lua_gettop(side->engine->sandbox.lua) == top && side->engine->sandbox.depth <= SANDBOX_DEPTH_MAX);
  HOLDS((code == 0) == (err.message[0] == 0), "%s", err.message);
  if (code) {
    draft_rollback(&side->draft);
    side->spent |= code == ERROR_BUDGET;
    buf_printf(&side->said, "%d %s\n", code, err.message);
    return code;
  }
  HOLDS(value_valid(buf_str(&call->facts)));
  struct reader reader = reader_of(buf_str(&call->messages));
  struct message message;
  for (uint32_t i = 0; i < call->message_count; i++) {
    HOLDS(message_decode(&message, &reader, &err) == 0, "%s", err.message);
    HOLDS(value_valid(message.data) && value_valid(message.facts));
  }
  HOLDS(reader_left(&reader) == 0);
  buf_put_str(&side->said, buf_str(&side->draft.effects));
  buf_put_str(&side->said, buf_str(&call->messages));
  buf_put_str(&side->said, buf_str(&call->facts));
  return 0;
}

static void run_all(struct side *side) {
  const struct engine_rule *rules;
  struct event event = {.id = STR("e1"),
                        .type = STR("view"),
                        .entity = {ENTITY_USER, STR("ada")},
                        .timestamp = FUZZ_NOW,
                        .received = FUZZ_NOW,
                        .payload = buf_str(&payload),
                        .metadata = STR("")};
  size_t count = engine_rules(side->engine, &rules);
  for (int round = 0; round < 2; round++) {
    engine_input(side->engine);
    for (uint32_t i = 0; i < count; i++) {
      if (str_equal(rules[i].campaign, STR("canary"))) continue;
      run_rule(side, i, &event, NULL);
      for (size_t j = 0; j < rules[i].timer_count; j++) {
        struct timer timer = {.campaign = rules[i].campaign,
                              .name = rules[i].timers[j],
                              .due = FUZZ_NOW,
                              .set_at = FUZZ_NOW - 5,
                              .cancel_on = STR(""),
                              .data = buf_str(&payload)};
        engine_input(side->engine);
        run_rule(side, i, NULL, &timer);
        engine_input(side->engine);
      }
    }
  }
  // The neighbour does what it does in a state where nothing else ran.
  int index = engine_rule_of(side->engine, STR("canary"));
  struct buf said = side->said;
  buf_init(&side->said);
  side->record.bytes.len = 0;
  event.payload = buf_str(&usual);
  engine_input(side->engine);
  HOLDS(index >= 0 && run_rule(side, (uint32_t)index, &event, NULL) == 0, "%.*s",
        STR_ARG(buf_str(&side->said)));
  if (wanted.len == 0) buf_append(&wanted, side->said.data, side->said.len);
  HOLDS(str_equal(buf_str(&side->said), buf_str(&wanted)), "the neighbour does something else");
  buf_deinit(&side->said);
  side->said = said;
}

static int side_init(struct side *side, struct error *err) {
  struct engine_options options = {
      .ruleset = ruleset, .config = config, .generation = 7, .counted_budget = true};
  *side = (struct side){0};
  record_init(&side->record);
  draft_init(&side->draft, 64 << 10);
  engine_call_init(&side->call);
  return engine_new(&side->engine, &options, err);
}

static void side_deinit(struct side *side) {
  engine_free(side->engine);
  record_deinit(&side->record);
  draft_deinit(&side->draft);
  engine_call_deinit(&side->call);
  buf_deinit(&side->said);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct buf text;
  struct error err = {0}, again = {0};
  struct side one, two;
  bool body = input_u8(&input) == '@';
  struct str given = input_part(&input), json = input_rest(&input);
  buf_clear(&payload);
  if (!json.len || fuzz_json(parser, json, &payload, &err) ||
      value_head(buf_str(&payload)).type != VALUE_MAP) {
    buf_clear(&payload);
    buf_append(&payload, usual.data, usual.len);
  }
  err = (struct error){0};
  buf_init(&text);
  if (body) buf_append(&text, before_body, sizeof before_body - 1);
  buf_append(&text, given.data, given.len);
  if (body) buf_append(&text, after_body, sizeof after_body - 1);
  fuzzed->text = text.len ? buf_str(&text) : STR("");
  fuzzed->hash = hash128(fuzzed->text, 0);
  int code = side_init(&one, &err);
  HOLDS(code == 0 || code == ERROR_SCRIPT || code == ERROR_BUDGET || code == ERROR_LIMIT, "%d %s", code,
        err.message);
  HOLDS((code == 0) == (err.message[0] == 0), "%s", err.message);
  if (code == 0) {
    run_all(&one);
    HOLDS(side_init(&two, &again) == 0, "%s", again.message);
    run_all(&two);
    HOLDS(one.spent || two.spent || str_equal(buf_str(&one.said), buf_str(&two.said)), "%.*s\n%.*s",
          STR_ARG(buf_str(&one.said)), STR_ARG(buf_str(&two.said)));
    side_deinit(&two);
  }
  side_deinit(&one);
  fuzzed->text = STR("");
  buf_deinit(&text);
  return 0;
}

void fuzz_set_up(void) {
  struct config_report report;
  struct error err = {0};
  parser = json_parser_new();
  char empty[64];
  config_report_init(&report);
  if (config_parse(&config, str_from(yaml), "fuzz.yaml", &report)) abort();
  config_report_deinit(&report);
  fuzz_make_folder(empty);
  if (ruleset_read(&ruleset, empty, KAIROS_SOURCE "/lua", &err)) HOLDS(false, "%s", err.message);
  rmdir(empty);
  if (fuzz_json(parser, str_from(payload_json), &usual, &err)) abort();
  add_file("t/m.html", "---\nsubject: Hello {{seen}}\n---\n<p>{{sku}}</p>\n");
  add_file("t/rule.lua", "");
  add_file("zz/m.txt", "{{seen}}\n");
  add_file("zz/rule.lua", canary);
  for (size_t i = 0; i < ruleset->count; i++)
    if (strcmp(ruleset->files[i].path, "t/rule.lua") == 0) fuzzed = &ruleset->files[i];
  free((char *)fuzzed->text.data);
  // What the neighbour does alone.
  LLVMFuzzerTestOneInput((const uint8_t *)"@", 1);
}

void fuzz_seeds(void) {
  static const char *const texts[] = {
      "@user:set('a', 1) user:set('b', { x = { 1, 2, 'y' }, z = true }) user:set('a', nil) return "
      "user.b.x[3]",
      "@if user:count(views, event.payload.sku) >= 0 and user:allow(calls) then user:send { channel = "
      "'email', template = "
      "'m', data = event.payload, once_per = '7d', expires_in = '1h', limit = '5/1m', to = 'a@b' } end",
      "@user:after('5m', { name = 'later', data = { 1, x = event }, cancel_on = 'buy', late = 'skip', "
      "late_after = '1h' }) "
      "user:cancel('later')",
      "@local n = user:sum(total) + user:distinct(kinds) assert(user:last(last) == nil or n > 0) "
      "user:once('k', '1d')",
      "@for k, v in pairs(event.payload) do user:set('p_' .. k, v) end for i, item in "
      "ipairs(event.payload.items) do "
      "user:set('n' .. i, item.n) end",
      "@local ok, why = pcall(function() event.payload.sku = 2 end) user:set('why', why) error('no')",
      "@local s = event.payload.sku:rep(3):upper():gsub('(%w)(%d)', '%2%1') user:set('s', s .. "
      "string.format('%5.2f|%q', "
      "3.14159, s))",
      "@while true do end",
      "@local t = {} for i = 1, 300 do t[i] = (i * 7919) % 101 end table.sort(t, function(a, b) return a > b "
      "end) "
      "user:set('t', table.concat(t, ' ', 1, 20))",
      "@local s = 'x' while true do s = s .. s end",
      "@setmetatable({}, { __index = function(t, k) return t[k + 1] end })[1] = math.random(10)",
      "@local function f(n) if n > 0 then return f(n - 1) end return n end f(100) goto out do local x = ... "
      "end ::out::",
      "@for w, q in ('a=1, b=2'):gmatch '(%w+)=(%w+)' do user:set(w, tonumber(q)) end user:set('r', "
      "math.random())",
      "@user:send { channel = 'sms', template = 'm' } user:send { channel = 'push', template = 'm' } "
      "kairos.now()",
      "@local t = setmetatable({}, { __newindex = function(t, k, v) rawset(t, k, v) end }) t.a = 1 "
      "user:set('t', t)",
      "@local d = kairos.date(event.timestamp, user) user:set('d', d:format '%A %-d %B %Y %R %Z' .. "
      "kairos.date.next('weekday 09:00', 'Europe/Berlin') .. kairos.date.add(d.ms, '1 month', user) .. "
      "tostring(kairos.date.days_until('02-29', user)) .. tostring(kairos.date.is_open(d.ms, 'Fri "
      "20:00-02:00')))",
      "@local m = kairos.money(event.payload.price, 'EUR') * 3 - kairos.money.parse '1,50 €' user:set('m', "
      "m:percent(12.5):format() .. m:split(3)[1]:decimal() .. m:convert('JPY', 163.4):format 'en')",
      "@local p = { lat = 52.5, lon = 13.4 } user:set('g', kairos.geo.distance(p, { lat = 0, lon = 180 }) .. "
      "tostring(kairos.geo.in_polygon(p, { { lat = 50, lon = 10 }, { lat = 60, lon = 13 }, { lat = 50, lon = "
      "20 } })))",
      "@local s = 'Anna-Lena Müller, ßtraße' user:set('t', kairos.text.title(s) .. kairos.text.truncate(s, "
      "9) .. "
      "kairos.text.slug(s) .. kairos.text.mask(s) .. kairos.text.initials(s) .. #kairos.text.split(s)) "
      "user:set('u', "
      "kairos.set.union({ 1, 2 }, { 2, 'x' })) user:set('w', kairos.sample.pick(user, 'w', { a = 1, b = 2 }) "
      ".. "
      "tostring(kairos.sample.share(user, 's', '50%')) .. tostring(kairos.sample.chance(50)))",
      "@return tostring(nil) .. tostring(user) .. type(views) .. select('#', 1, nil) .. unpack { 'a', 'b' }",
      " return require 'kairos'.rule { on = 'view', when = function(e, u) return u:count({}) end, act = "
      "print }",
      " local k = require 'kairos' return { k.rule { name = 'a', on = 'x' }, k.rule { name = 'b', on = { "
      "'view' }, act = "
      "function() end } }",
      " kairos = 1 x = y return {}",
      " return 5",
      " local t = {} t.t = t return require('kairos').rule { name = 'r', on = t, act = function(e) t.x = 1 "
      "end }",
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) fuzz_seed(str_from(texts[i]));
}
