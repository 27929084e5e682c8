/* Measures what an event costs the thread that takes it, at so many a POST, part by part and in microseconds
 * of CPU: JSON to values, the envelope, what the reference rule decides on it, and its bytes for the log.
 * Table, dedup marks, log and answers are not in it. */
#include "base/clock.h"
#include "decide/decide.h"
#include "event/json.h"

#include <stdio.h>
#include <stdlib.h>

static const char usage[] =
    "usage: event [--batch N] [--users N] [--calls N] [--rounds N]\n"
    "\n"
    "  --batch N    events in one POST (100)\n"
    "  --users N    who come in turn (2000)\n"
    "  --calls N    POSTs in a round (500)\n"
    "  --rounds N   the least and the median are printed (15)\n"
    "\n"
    "Run it from the project's root, which has the library in lua/ and the rule in tools/bench.d/rules.\n";

enum { ROUNDS_MAX = 999, EVENT_SPACING_MS = 10 };

static int batch = 100, users = 2000, calls = 500, rounds = 15;

/** Parts of the way, in their order. */
enum part { PART_JSON, PART_ENVELOPE, PART_DECIDE, PART_ENCODE, PARTS };
static const char *const part_names[PARTS] = {"JSON to values", "the envelope", "decided", "encoded"};

struct stage {
  struct config *config;
  struct ruleset *ruleset;
  struct engine *engine;
  struct decider *decider;
  struct json_parser *parser;
  struct record *records;
  struct event *events;
  struct buf text, value, ends, encoded;
  int64_t clock; /**< of the events, ms */
  int64_t serial;
  size_t effects; /**< bytes, so that something is made of it */
};

static _Noreturn void fail(const char *what, const struct error *err) {
  fprintf(stderr, "event: %s: %s\n", what, err->message);
  exit(1);
}

static void set_up(struct stage *stage) {
  struct config_report report;
  struct error err = {0};
  *stage = (struct stage){.clock = 1760000000000};
  config_report_init(&report);
  if (config_parse(&stage->config, STR(""), "defaults", &report)) {
    fprintf(stderr, "event: the defaults are not taken\n");
    exit(1);
  }
  config_report_deinit(&report);
  if (ruleset_read(&stage->ruleset, "tools/bench.d/rules", "lua", &err)) fail("the rules", &err);
  struct engine_options options = {.ruleset = stage->ruleset, .config = stage->config, .generation = 1};
  if (engine_new(&stage->engine, &options, &err)) fail("the rules", &err);
  stage->decider = decider_new(&(struct decider_options){.engine = stage->engine,
                                                         .config = stage->config,
                                                         .generation = 1,
                                                         .record_max = stage->config->state.record_max});
  stage->parser = json_parser_new();
  stage->records = calloc((size_t)users, sizeof *stage->records);
  stage->events = calloc((size_t)batch, sizeof *stage->events);
  if (!stage->records || !stage->events) abort();
  for (int i = 0; i < users; i++) record_init(&stage->records[i]);
  buf_init(&stage->text);
  buf_init(&stage->value);
  buf_init(&stage->ends);
  buf_init(&stage->encoded);
}

static void tear_down(struct stage *stage) {
  for (int i = 0; i < users; i++) record_deinit(&stage->records[i]);
  free(stage->records);
  free(stage->events);
  json_parser_free(stage->parser);
  decider_free(stage->decider);
  engine_free(stage->engine);
  ruleset_free(stage->ruleset);
  config_free(stage->config);
  buf_deinit(&stage->text);
  buf_deinit(&stage->value);
  buf_deinit(&stage->ends);
  buf_deinit(&stage->encoded);
}

/** One POST's body, of the events that tools/bench.d/load.lua makes. */
static void write_batch(struct stage *stage) {
  buf_clear(&stage->text);
  for (int i = 0; i < batch; i++) {
    stage->clock += EVENT_SPACING_MS;
    stage->serial++;
    buf_printf(&stage->text,
               "%c{\"event_id\":\"018f-bench-%lld\",\"event_type\":\"cart.updated\",\"user_id\":\"u%lld\","
               "\"timestamp\":%lld,"
               "\"payload\":{\"cart_id\":\"c1\",\"items\":[{\"sku\":\"A1\",\"qty\":2,\"price\":19.9},"
               "{\"sku\":\"B2\",\"qty\":1,\"price\":5}],\"total\":%s,\"currency\":\"EUR\"},"
               "\"metadata\":{\"source\":\"checkout-service\",\"region\":\"eu-west-1\"}}",
               i ? ',' : '[', (long long)stage->serial, (long long)(stage->serial * 7919 % users),
               (long long)stage->clock, stage->serial % 100 ? "14.8" : "44.8");
  }
  buf_append(&stage->text, "]", 1);
  memset(buf_reserve(&stage->text, JSON_PADDING), 0, JSON_PADDING);
}

static void read_envelopes(struct stage *stage) {
  struct reader reader = reader_of(buf_str(&stage->value));
  struct event_ends ends = {stage->value.data, (const uint64_t *)(const void *)stage->ends.data};
  struct event_fault fault;
  value_read(&reader);
  for (int i = 0; i < batch; i++)
    if (event_read(&stage->events[i], &reader, &ends, stage->clock, NULL, &fault)) {
      fprintf(stderr, "event: %s %s\n", fault.pointer, fault.message);
      exit(1);
    }
}

static void decide(struct stage *stage) {
  struct decision decision;
  for (int i = 0; i < batch; i++) {
    const struct event *event = &stage->events[i];
    struct record *record = &stage->records[atoi(event->entity.id.data + 1)];
    decide_event(stage->decider, record, event, event->received, &decision);
    stage->effects += decision.effects.len;
  }
}

static void encode(struct stage *stage) {
  for (int i = 0; i < batch; i++) {
    buf_clear(&stage->encoded);
    event_encode(&stage->events[i], &stage->encoded);
    stage->effects += stage->encoded.len;
  }
}

static int64_t thread_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/** Nanoseconds of this thread's CPU, by part. */
static void take_batch(struct stage *stage, int64_t spent[PARTS]) {
  struct error err = {0};
  write_batch(stage);
  buf_clear(&stage->value);
  buf_clear(&stage->ends);
  int64_t times[PARTS + 1];
  times[PART_JSON] = thread_ns();
  if (json_parse_items(stage->parser, (const char *)stage->text.data, stage->text.len, 1, &stage->value,
                       &stage->ends, &err))
    fail("the events", &err);
  times[PART_ENVELOPE] = thread_ns();
  read_envelopes(stage);
  times[PART_DECIDE] = thread_ns();
  decide(stage);
  times[PART_ENCODE] = thread_ns();
  encode(stage);
  times[PARTS] = thread_ns();
  for (int part = 0; part < PARTS; part++) spent[part] += times[part + 1] - times[part];
}

static int by_value(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

static void take_options(int count, char **words) {
  for (int i = 1; i < count; i += 2) {
    int *option = strcmp(words[i], "--batch") == 0    ? &batch
                  : strcmp(words[i], "--users") == 0  ? &users
                  : strcmp(words[i], "--calls") == 0  ? &calls
                  : strcmp(words[i], "--rounds") == 0 ? &rounds
                                                      : NULL;
    if (!option || i + 1 == count || (*option = atoi(words[i + 1])) < 1 || rounds > ROUNDS_MAX) {
      fputs(usage, stderr);
      exit(2);
    }
  }
}

int main(int count, char **words) {
  static double taken[PARTS + 1][ROUNDS_MAX];
  struct stage stage;
  take_options(count, words);
  set_up(&stage);
  for (int round = -1; round < rounds; round++) { // the first fills windows and caches
    int64_t spent[PARTS] = {0};
    for (int i = 0; i < calls; i++) take_batch(&stage, spent);
    if (round < 0) continue;
    for (int part = 0; part < PARTS; part++) {
      taken[part][round] = (double)spent[part] / 1000 / batch / calls;
      taken[PARTS][round] += taken[part][round];
    }
  }
  printf("us of CPU an event, %d a POST, %d rounds of %d POSTs\n\n%-16s %8s %8s\n", batch, rounds, calls, "",
         "least", "median");
  for (int part = 0; part <= PARTS; part++) {
    qsort(taken[part], (size_t)rounds, sizeof taken[part][0], by_value);
    printf("%-16s %8.3f %8.3f\n", part < PARTS ? part_names[part] : "all of it", taken[part][0],
           taken[part][rounds / 2]);
  }
  tear_down(&stage);
  return 0;
}
