// covers: src/state/journey.c src/state/record_journey.c src/decide/decide_journey.c
// covers: src/decide/decide_journey_run.c src/engine/binding_history.c src/engine/binding_journey.c
// covers: src/engine/binding_journey_wait.c
/* A journey whose history, wait and state may be anything that a record can hold: events, timers and
 * operators get it on, park it or end it. Its effects are all that recovery needs, what is left of it can be
 * stored and read, and its neighbours' budget is not touched. Input: what happens, one after the other. */
#include "decide/decide.h"
#include "fuzz.h"
#include "values.h"

#include <stdlib.h>
#include <unistd.h>

enum { HOUR = 3600000, HAPPENS_MAX = 40 };

static const char yaml[] = "rules: {budget: 5ms, memory: 8MB}\n";
static const char rule[] =
    "local kairos = require 'kairos'\n"
    "local seen = kairos.window { of = 'more', over = '1d' }\n"
    "local last = kairos.window { of = 'more', over = '1d', last = 'payload.n' }\n"
    "return kairos.journey { name = 'way', key = 'payload.k', again = 'restart', late = 'skip', late_after = "
    "'2h',\n"
    "start = { on = 'go' }, goal = { on = 'won', within = '3d' },\n"
    "exit = { on = 'stop', where = function(event, journey) return event.payload.k == journey.key end },\n"
    "run = function(journey, user, event)\n"
    "  local n, told = user:count(seen), (journey.state or {}).told or 0\n"
    "  journey:wait '1h'\n"
    "  local side = journey:split { name = 'side', a = 50, b = 50 }\n"
    "  pcall(function() journey:send { channel = 'push', to = 'p', template = 'none' .. side } end)\n"
    "  local more = journey:wait_for { on = { 'more', 'less' }, within = '2h',\n"
    "    where = function(e) return e.payload.n ~= 3 end }\n"
    "  if more then journey:set('more', more.payload.n) end\n"
    "  local sent, why = journey:send { channel = 'push', to = 'p', template = 'm', cap = '1/2h', on_cap = "
    "'defer',\n"
    "    data = { n = n, more = more and more.payload, last = user:last(last), name = user.name } }\n"
    "  journey:emit { type = 'told', payload = { sent = sent, why = why } }\n"
    "  journey:wait_until 'tomorrow 09:00'\n"
    "  journey:goal 'there'\n"
    "  if told + n < 3 then journey:continue { told = told + 1, n = n } end\n"
    "end }\n";

static struct config *config;
static struct ruleset *ruleset;
static struct engine *engine;
static struct decider *decider;
static struct decision decision;
static struct json_parser *parser;
static struct record record, twin;
static struct buf payload, bytes, history;
static int64_t now;
static unsigned serial;

/** Lua's values are tagged: what the state holds on to would look lost. */
int __lsan_is_turned_off(void) {
  return 1;
}

static void add_file(const char *path, const char *text) {
  ruleset->files = realloc(ruleset->files, (ruleset->count + 1) * sizeof *ruleset->files);
  ruleset->files[ruleset->count++] =
      (struct ruleset_file){.path = strdup(path), .text = {strdup(text), strlen(text)}};
}

void fuzz_set_up(void) {
  struct config_report report;
  struct error err = {0};
  char empty[64];
  parser = json_parser_new();
  config_report_init(&report);
  if (config_parse(&config, str_from(yaml), "fuzz.yaml", &report)) abort();
  config_report_deinit(&report);
  fuzz_make_folder(empty);
  if (ruleset_read(&ruleset, empty, KAIROS_SOURCE "/lua", &err)) HOLDS(false, "%s", err.message);
  rmdir(empty);
  add_file("way/m.txt", "hello {{n}}");
  add_file("way/rule.lua", rule);
  struct engine_options options = {
      .ruleset = ruleset, .config = config, .generation = 7, .counted_budget = true};
  if (engine_new(&engine, &options, &err)) HOLDS(false, "%s", err.message);
  decider = decider_new(
      &(struct decider_options){.engine = engine, .config = config, .generation = 7, .record_max = 64 << 10});
  record_init(&record);
  record_init(&twin);
}

/** What recovery makes of the effects is the same, and what is stored can be read. */
static void settle(void) {
  struct reader reader = reader_of(decision.effects);
  struct effect effect;
  struct error err = {0};
  struct record stored;
  while (reader_left(&reader)) {
    HOLDS(effect_decode(&effect, &reader, &err) == 0, "%s", err.message);
    HOLDS(record_apply(&twin, &effect, SIZE_MAX, &err) == 0, "%s", err.message);
  }
  HOLDS(str_equal(buf_str(&twin.bytes), buf_str(&record.bytes)));
  buf_clear(&bytes);
  record_encode(&record, &bytes);
  record_init(&stored);
  HOLDS(record_decode(&stored, buf_str(&bytes), &err) == 0, "%s", err.message);
  record_deinit(&stored);
}

static struct entity ada(void) {
  return (struct entity){ENTITY_USER, STR("ada")};
}

static void happen_event(struct input *input) {
  static const char *const types[] = {"go", "more", "less", "stop", "won", "told", "x"};
  static const char *const payloads[] = {"{}", "{\"k\":\"c1\",\"n\":1}", "{\"k\":\"c2\",\"n\":3}",
                                         "{\"k\":\"c1\",\"n\":{\"deep\":[1,2,null]}}"};
  char id[16];
  struct error err = {0};
  snprintf(id, sizeof id, "e%u", ++serial);
  buf_clear(&payload);
  const char *type = types[input_choice(input, 6)], *json = payloads[input_choice(input, 3)];
  if (fuzz_json(parser, str_from(json), &payload, &err)) abort();
  struct event event = {.id = str_from(id),
                        .type = str_from(type),
                        .entity = ada(),
                        .timestamp = now,
                        .received = now,
                        .payload = buf_str(&payload),
                        .metadata = STR("")};
  decide_event(decider, &record, &event, now, &decision);
  settle();
}

static void happen_timer(struct input *input) {
  struct timer timer;
  int64_t late = (int64_t)input_u8(input) * HOUR / 4;
  if (!record_timer_next(&record, &timer)) return;
  if (timer.due != INT64_MAX && timer.due > now && timer.due - now < 40 * 24 * (int64_t)HOUR) now = timer.due;
  now += late;
  decide_timer(decider, &record, ada(), &timer, now, &decision);
  settle();
}

/** The number-th journey, in bytes of its own. */
static bool pick(unsigned number, struct journey *out) {
  struct journey found;
  size_t at = 0;
  do {
    if (!record_journey_next(&record, &at, &found)) return false;
  } while (number-- > 0);
  HOLDS(record_journey(&record, found.id, out));
  buf_clear(&bytes);
  journey_encode(out, &bytes);
  HOLDS(journey_decode(out, buf_str(&bytes)));
  return true;
}

/** Its steps, one of them otherwise, or left out, or another behind them. */
static void twist_history(struct input *input, struct journey *journey) {
  struct reader reader = reader_of(journey->history);
  struct journey_step step;
  unsigned at = input_u8(input) % 12, how = input_u8(input);
  struct str text = input_text(input, 40);
  struct journey_answer answer = {now + (int8_t)input_u8(input) * (int64_t)HOUR, STR("")};
  struct buf given = {0};
  uint32_t steps = 0;
  journey_answer_encode(&answer, &given);
  buf_clear(&history);
  for (unsigned i = 0; journey_step_next(&reader, &step); i++) {
    if (i == at && how % 8 == 0) continue;
    if (i == at && how % 8 == 1) step.op = (enum journey_op)(JOURNEY_WAIT + how / 8 % JOURNEY_READ);
    if (i == at && how % 8 == 2) step.arguments ^= 1;
    if (i == at && how % 8 == 3) step.label = text;
    if (i == at && how % 8 == 4) step.failed = !step.failed;
    if (i == at && how % 8 >= 5) step.answer = how % 8 == 7 ? buf_str(&given) : text;
    for (unsigned times = i == at && how == 14 ? 2 : 1; times > 0; times--, steps++)
      journey_step_encode(&step, &history);
  }
  buf_deinit(&given);
  journey->history = buf_str(&history);
  journey->steps = steps;
}

static void twist_rest(struct input *input, struct journey *journey) {
  struct str text;
  uint8_t how = input_u8(input);
  text = input_text(input, 300);
  switch (how % 12) {
  case 0:
    journey->state = (enum journey_state)(JOURNEY_WAITING + how / 12 % 3);
    break;
  case 1:
    journey->wait.op = (enum journey_op)(how / 12 % (JOURNEY_WAIT_FOR + 1));
    break;
  case 2:
    journey->wait.arguments ^= 1u << how / 12;
    break;
  case 3:
    journey->wait.label = text;
    break;
  case 4:
    journey->wait.due = how / 12 % 3 == 0 ? INT64_MAX : how / 12 % 3 == 1 ? 0 : now - 1;
    break;
  case 5:
    journey->wait.held = how / 12 % 2 ? now : now + 1000 * (int64_t)HOUR;
    break;
  case 6:
    journey->wait.got = how / 12 % 2 ? journey->event : text;
    break;
  case 7:
    journey->wait.late = (enum journey_late)(how / 12 % 3);
    journey->wait.late_after = how & 128 ? HOUR : 0;
    break;
  case 8:
    journey->handed = text;
    break;
  case 9:
    journey->sent = text;
    break;
  case 10:
    journey->run = how & 128 ? UINT32_MAX : 0;
    journey->at = how & 64 ? now + 1000 * (int64_t)HOUR : 0;
    break;
  default:
    journey->event = text;
    journey->reached = how & 128;
    break;
  }
}

/** What is known of the journey is something else: it is taken as recovery takes it, or refused. */
static void happen_twist(struct input *input) {
  struct journey journey;
  unsigned kind = input_u8(input);
  if (!pick(kind / 2 % 2, &journey)) return;
  if (kind % 2)
    twist_history(input, &journey);
  else
    twist_rest(input, &journey);
  struct effect effect = {.type = EFFECT_JOURNEY, .journey = {journey, JOURNEY_BEGINS}}, decoded;
  struct error err = {0};
  struct buf effects = {0};
  effect_encode(&effect, &effects);
  struct reader reader = reader_of(buf_str(&effects));
  if (effect_decode(&decoded, &reader, &err) == 0) {
    int code = record_apply(&record, &decoded, 64 << 10, &err);
    HOLDS(record_apply(&twin, &decoded, 64 << 10, &err) == code);
    HOLDS(str_equal(buf_str(&twin.bytes), buf_str(&record.bytes)));
  }
  buf_deinit(&effects);
}

static void happen_operator(struct input *input) {
  struct journey journey;
  struct error err = {0};
  uint8_t how = input_u8(input);
  if (!pick(how / 2 % 2, &journey)) return;
  int code = how & 1 ? decide_journey_stop(decider, &record, journey.id, STR("by hand"), now, &decision, &err)
                     : decide_journey_move(decider, &record, journey.id, now, &decision, &err);
  HOLDS(code == 0 || code == ERROR_NOT_FOUND || code == ERROR_INVALID, "%d %s", code, err.message);
  if (code == 0) settle();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  now = FUZZ_NOW;
  serial = 0;
  buf_clear(&record.bytes);
  buf_clear(&twin.bytes);
  for (int i = 0; i < HAPPENS_MAX && input_left(&input); i++) {
    switch (input_u8(&input) % 5) {
    case 0:
      happen_event(&input);
      break;
    case 1:
      happen_timer(&input);
      break;
    case 2:
      happen_operator(&input);
      break;
    default:
      happen_twist(&input);
      break;
    }
  }
  return 0;
}

void fuzz_seeds(void) {
  static const uint8_t seeds[][24] = {
      {0, 0, 1, 1, 0, 0, 1, 1, 1, 0, 1, 0},                 // to its end, by an event
      {0, 0, 1, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0},        // … by time alone, afresh
      {0, 0, 1, 0, 0, 2, 1, 0, 0, 3, 1, 0, 4, 2},           // two of them, an exit, the goal
      {0, 0, 1, 1, 0, 3, 1, 0, 4, 0, 0, 1, 0},              // a step is another
      {0, 0, 1, 1, 0, 3, 1, 1, 5, 1, 5, 0, 1, 0, 2, 0},     // an answer is another
      {0, 0, 1, 3, 0, 4, 0, 1, 0, 3, 0, 1, 0, 2, 0},        // its wait is another
      {0, 0, 1, 1, 200, 2, 0, 2, 1},                        // late, moved, stopped
      {0, 0, 1, 1, 0, 3, 1, 14, 7, 1, 2, 0, 1, 0, 0, 1, 1}, // a step twice
  };
  for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++)
    fuzz_seed((struct str){(const char *)seeds[i], sizeof seeds[i]});
}
