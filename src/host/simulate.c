#include "host/simulate.h"

#include "base/memory.h"
#include "event/json.h"
#include "host/decide.h"
#include "state/seen.h"
#include "state/table.h"
#include "state/timers.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

/** An event of the input, by where it lies in `values`. */
struct simulated_event {
  int64_t timestamp;
  uint64_t line;
  size_t at, len;
};

struct simulation {
  const struct simulate_options *options;
  struct simulate_result *result;
  struct engine *engine;
  struct decider *decider;
  struct table *table;
  struct seen *seen;
  struct timers *timers;
  struct simulated_event *events;
  size_t count, cap;
  struct buf values, json, entity;
};

/* ---- reading ---- */

static void complain(struct simulation *simulation, uint64_t line, const char *where, const char *what) {
  simulation->result->rejected++;
  fprintf(stderr, "%s:%" PRIu64 ": %s%s%s\n", simulation->options->events_path, line, where,
          *where ? ": " : "", what);
}

static void take_line(struct simulation *simulation, struct json_parser *parser, const char *text, size_t len,
                      uint64_t line) {
  struct error err = {0};
  size_t at = simulation->values.len;
  if (json_parse(parser, text, len, &simulation->values, &err)) {
    complain(simulation, line, "", err.message);
    return;
  }
  /* History may be as old as it likes. */
  const struct event_limits limits = {.max_future_ms = INT64_MAX / 4, .max_past_ms = INT64_MAX / 4};
  struct str value = {(const char *)simulation->values.data + at, simulation->values.len - at};
  struct event event;
  struct event_fault fault;
  if (event_from_value(&event, value, 0, &limits, &fault)) {
    complain(simulation, line, fault.pointer, fault.message);
    simulation->values.len = at;
    return;
  }
  if (simulation->count == simulation->cap) {
    simulation->cap = simulation->cap ? simulation->cap * 2 : 1024;
    simulation->events = memory_realloc(simulation->events, simulation->cap * sizeof *simulation->events);
  }
  simulation->events[simulation->count++] = (struct simulated_event){event.timestamp, line, at, value.len};
}

static int read_events(struct simulation *simulation, struct error *err) {
  const char *path = simulation->options->events_path;
  bool standard_input = strcmp(path, "-") == 0;
  FILE *file = standard_input ? stdin : fopen(path, "r");
  if (!file) return error_set_errno(err, errno, "cannot read the events from %s", path);
  struct json_parser *parser = json_parser_new();
  char *line = NULL;
  size_t cap = 0;
  struct buf padded;
  buf_init(&padded);
  ssize_t len;
  for (uint64_t number = 1; (len = getline(&line, &cap, file)) >= 0; number++) {
    while (len > 0 && (line[len - 1] == '\n' || line[len - 1] == '\r')) len--;
    if (len == 0) continue;
    buf_clear(&padded);
    buf_reserve(&padded, (size_t)len + JSON_PADDING);
    buf_append(&padded, line, (size_t)len);
    memset(padded.data + len, 0, JSON_PADDING);
    take_line(simulation, parser, (const char *)padded.data, (size_t)len, number);
  }
  int rc = ferror(file) ? error_set_errno(err, errno, "reading %s", path) : 0;
  buf_deinit(&padded);
  free(line);
  json_parser_free(parser);
  if (!standard_input) fclose(file);
  return rc;
}

static int by_time_then_line(const void *a, const void *b) {
  const struct simulated_event *left = a, *right = b;
  if (left->timestamp != right->timestamp) return left->timestamp < right->timestamp ? -1 : 1;
  return left->line < right->line ? -1 : left->line > right->line;
}

/* ---- what comes out ---- */

static void print_decision(void *context, const struct message *message, const struct verdict *verdict) {
  struct simulation *simulation = context;
  struct buf *json = &simulation->json;
  char id[33];
  hash128_hex(message->id, id);
  simulation->result->decisions++;
  if (verdict->pass) simulation->result->sends++;
  struct buf map;
  buf_init(&map);
  value_put_map(&map, 8);
  value_put_string(&map, STR("at"));
  value_put_integer(&map, message->at);
  value_put_member_text(&map, "user_id", message->user.id);
  value_put_member_text(&map, "campaign", message->campaign);
  value_put_member_text(&map, "template", message->template_name);
  value_put_member_text(&map, "channel", message->channel);
  value_put_member_text(&map, "message_id", str_from(id));
  value_put_member_text(&map, "decision", verdict->pass ? STR("send") : STR("skip"));
  value_put_member_text(&map, "reason", verdict->reason);
  buf_clear(json);
  value_to_json(buf_str(&map), json);
  buf_append(json, "\n", 1);
  fwrite(json->data, 1, json->len, simulation->options->out);
  buf_deinit(&map);
}

static void print_failure(void *context, const struct entity *entity, const struct failure *failure) {
  struct simulation *simulation = context;
  simulation->result->failures++;
  fprintf(stderr, "%.*s failed for %s %.*s: %.*s\n", STR_ARG(failure->campaign),
          entity->kind == ENTITY_USER ? "user" : "subject", STR_ARG(entity->id), STR_ARG(failure->error));
}

/* ---- the clock's hands ---- */

static struct slot *slot_of(struct simulation *simulation, struct entity entity) {
  struct slot *slot = table_find(simulation->table, entity);
  if (!slot) {
    slot = table_add(simulation->table, entity);
    slot->phase = SLOT_READY;
  }
  return slot;
}

static void reschedule(struct simulation *simulation, struct slot *slot) {
  struct timer next;
  timers_set(simulation->timers, slot_entity(slot),
             record_timer_next(&slot->record, &next) ? next.due : INT64_MAX);
}

static void fire_next(struct simulation *simulation, struct entity entity) {
  buf_clear(&simulation->entity);
  buf_append(&simulation->entity, entity.id.data, entity.id.len);
  entity.id = buf_str(&simulation->entity);
  struct slot *slot = slot_of(simulation, entity);
  struct timer timer;
  struct decision decision;
  if (record_timer_next(&slot->record, &timer)) {
    simulation->result->timers++;
    decide_timer(simulation->decider, &slot->record, entity, &timer, timer.due, &decision);
    table_changed(simulation->table, slot, false);
  }
  reschedule(simulation, slot);
}

/** Fire all timers due before `end`, whoever's they are, in the order of their times. */
static void fire_before(struct simulation *simulation, int64_t end) {
  int64_t due;
  struct entity entity;
  while (timers_next(simulation->timers, &due, &entity) && due < end) fire_next(simulation, entity);
}

static void play(struct simulation *simulation, const struct simulated_event *simulated) {
  struct str value = {(const char *)simulation->values.data + simulated->at, simulated->len};
  const struct event_limits limits = {.max_future_ms = INT64_MAX / 4, .max_past_ms = INT64_MAX / 4};
  struct event event;
  struct event_fault fault;
  event_from_value(&event, value, simulated->timestamp, &limits, &fault); /* checked when it was read */
  struct hash128 mark = seen_mark(event.entity, event.id);
  if (seen_has(simulation->seen, mark, event.received - simulation->options->config->dedup.keep)) {
    simulation->result->duplicates++;
    return;
  }
  seen_add(simulation->seen, mark, event.received);
  simulation->result->events++;
  struct slot *slot = slot_of(simulation, event.entity);
  struct decision decision;
  decide_event(simulation->decider, &slot->record, &event, event.received, &decision);
  table_changed(simulation->table, slot, false);
  if (decision.timers_changed) reschedule(simulation, slot);
}

static void run(struct simulation *simulation) {
  int64_t until = simulation->options->until;
  qsort(simulation->events, simulation->count, sizeof *simulation->events, by_time_then_line);
  if (until == INT64_MIN && simulation->count) until = simulation->events[simulation->count - 1].timestamp;
  for (size_t i = 0; i < simulation->count && simulation->events[i].timestamp <= until; i++) {
    fire_before(simulation, simulation->events[i].timestamp);
    play(simulation, &simulation->events[i]);
  }
  if (until < INT64_MAX) until++;
  fire_before(simulation, until);
}

int simulate_run(const struct simulate_options *options, struct simulate_result *result, struct error *err) {
  struct simulation simulation = {.options = options, .result = result};
  *result = (struct simulate_result){0};
  int rc = engine_new(
      &simulation.engine,
      &(struct engine_options){
          .ruleset = options->ruleset, .config = options->config, .generation = 1, .counted_budget = true},
      err);
  if (rc) return rc;
  simulation.decider = decider_new(&(struct decider_options){
      .engine = simulation.engine,
      .config = options->config,
      .generation = 1,
      .record_max = options->config->state.record_max,
      .observer = {.context = &simulation, .message = print_decision, .failure = print_failure}});
  simulation.table = table_new(SIZE_MAX);
  simulation.seen = seen_new();
  simulation.timers = timers_new();
  buf_init(&simulation.values);
  buf_init(&simulation.json);
  buf_init(&simulation.entity);
  rc = read_events(&simulation, err);
  if (rc == 0) run(&simulation);
  if (rc == 0 && fflush(options->out)) rc = error_set_errno(err, errno, "writing the decisions");
  decider_free(simulation.decider);
  engine_free(simulation.engine);
  table_free(simulation.table);
  seen_free(simulation.seen);
  timers_free(simulation.timers);
  buf_deinit(&simulation.values);
  buf_deinit(&simulation.json);
  buf_deinit(&simulation.entity);
  memory_free(simulation.events);
  return rc;
}
