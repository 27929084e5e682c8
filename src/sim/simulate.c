#include "sim/simulate.h"

#include "base/file.h"
#include "base/memory.h"
#include "event/json.h"
#include "event/shown.h"
#include "sim/sim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

enum { LOOKUPS_MAX_MB = 64 };

/** An event of the input, by where it lies in `values`. */
struct simulated_event {
  int64_t timestamp;
  uint64_t line;
  size_t at, len;
};

struct simulation {
  const struct simulate_options *options;
  struct simulate_result *result;
  struct sim *sim;
  struct simulated_event *events;
  size_t count, cap;
  struct buf values, json;
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

/** A whole file, with room behind it for the parser. */
static int read_file(const char *path, struct buf *out, struct error *err) {
  int rc = file_read(path, LOOKUPS_MAX_MB, out, err);
  memset(buf_reserve(out, JSON_PADDING), 0, JSON_PADDING);
  return rc;
}

static int take_server(struct simulation *simulation, struct str server, struct str paths,
                       struct error *err) {
  struct reader reader = reader_of(paths);
  struct value map = value_read(&reader);
  if (map.type != VALUE_MAP)
    return error_set(err, ERROR_INVALID,
                     "%s: \"%.*s\" must be an object of paths: {\"/stock/K1\": {\"left\": 2}}",
                     simulation->options->lookups_path, STR_ARG(server));
  for (uint32_t i = 0; i < map.count; i++) {
    struct str path = value_read(&reader).string, answer = value_slice(&reader);
    if (!sim_lookup(simulation->sim, server, path, answer, LOOKUP_ANSWERED, STR("")))
      return error_set(err, ERROR_NOT_FOUND, "%s: the configuration has no look-up server \"%.*s\"",
                       simulation->options->lookups_path, STR_ARG(server));
  }
  return 0;
}

/** What look-ups answer. */
static int read_lookups(struct simulation *simulation, struct error *err) {
  const char *path = simulation->options->lookups_path;
  if (!path) return 0;
  struct json_parser *parser = json_parser_new();
  struct buf text, value;
  buf_init(&text);
  buf_init(&value);
  int rc = read_file(path, &text, err);
  if (rc == 0 && (rc = json_parse(parser, (const char *)text.data, text.len, &value, err)))
    error_prefix(err, "%s", path);
  struct reader reader = reader_of(buf_str(&value));
  struct value map = rc == 0 ? value_read(&reader) : (struct value){0};
  if (rc == 0 && map.type != VALUE_MAP)
    rc = error_set(err, ERROR_INVALID,
                   "%s: it must be an object of servers: {\"shop\": {\"/stock/K1\": {\"left\": 2}}}", path);
  for (uint32_t i = 0; rc == 0 && i < map.count; i++) {
    struct str server = value_read(&reader).string;
    rc = take_server(simulation, server, value_slice(&reader), err);
  }
  json_parser_free(parser);
  buf_deinit(&text);
  buf_deinit(&value);
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
  value_put_map(&map, 8u + (message->not_before != 0));
  value_put_string(&map, STR("at"));
  value_put_integer(&map, message->at);
  value_put_member_text(&map, "user_id", message->user.id);
  value_put_member_text(&map, "campaign", message->campaign);
  value_put_member_text(&map, "template", message->template_name);
  value_put_member_text(&map, "channel", message->channel);
  value_put_member_text(&map, "message_id", str_from(id));
  value_put_member_text(&map, "decision", verdict->pass ? STR("send") : STR("skip"));
  value_put_member_text(&map, "reason", verdict->reason);
  if (message->not_before) value_put_member_integer(&map, "not_before", message->not_before);
  buf_clear(json);
  value_to_json(buf_str(&map), json);
  buf_append(json, "\n", 1);
  fwrite(json->data, 1, json->len, simulation->options->out);
  buf_deinit(&map);
}

static void print_failure(void *context, const struct entity *entity, const struct failure *failure) {
  struct simulation *simulation = context;
  simulation->result->failures++;
  fprintf(stderr, "%.*s failed for %s ", STR_ARG(failure->campaign),
          entity->kind == ENTITY_USER ? "user" : "subject");
  shown_print(stderr, entity->id, 0, 0);
  fputs(": ", stderr);
  shown_print(stderr, failure->error, 0, 0);
  fputc('\n', stderr);
}

/* ---- playing ---- */

static void play(struct simulation *simulation, const struct simulated_event *simulated) {
  struct str value = {(const char *)simulation->values.data + simulated->at, simulated->len};
  const struct event_limits limits = {.max_future_ms = INT64_MAX / 4, .max_past_ms = INT64_MAX / 4};
  struct event event;
  struct event_fault fault;
  event_from_value(&event, value, simulated->timestamp, &limits, &fault); /* checked when it was read */
  if (sim_event(simulation->sim, &event))
    simulation->result->events++;
  else
    simulation->result->duplicates++;
}

static void run(struct simulation *simulation) {
  int64_t until = simulation->options->until;
  uint64_t *timers = &simulation->result->timers;
  if (simulation->count) // qsort() takes no null, of nothing either
    qsort(simulation->events, simulation->count, sizeof *simulation->events, by_time_then_line);
  if (until == INT64_MIN && simulation->count) until = simulation->events[simulation->count - 1].timestamp;
  for (size_t i = 0; i < simulation->count && simulation->events[i].timestamp <= until; i++) {
    *timers += sim_advance(simulation->sim, simulation->events[i].timestamp - 1);
    play(simulation, &simulation->events[i]);
  }
  *timers += sim_advance(simulation->sim, until);
  sim_experiments(simulation->sim, STR(""), &simulation->result->experiments, NULL);
}

int simulate_run(const struct simulate_options *options, struct simulate_result *result, struct error *err) {
  struct simulation simulation = {.options = options, .result = result};
  struct sim_rules *rules = NULL;
  *result = (struct simulate_result){0};
  int rc = sim_rules_new(&rules,
                         &(struct sim_rules_options){
                             .ruleset = options->ruleset, .config = options->config, .decides_only = true},
                         err);
  if (rc) return rc;
  simulation.sim = sim_new(
      rules, &(struct sim_options){
                 .at = INT64_MIN,
                 .observer = {.context = &simulation, .message = print_decision, .failure = print_failure}});
  buf_init(&simulation.values);
  buf_init(&simulation.json);
  rc = read_lookups(&simulation, err);
  if (rc == 0) rc = read_events(&simulation, err);
  if (rc == 0) run(&simulation);
  if (rc == 0 && fflush(options->out)) rc = error_set_errno(err, errno, "writing the decisions");
  sim_free(simulation.sim);
  sim_rules_free(rules);
  buf_deinit(&simulation.values);
  buf_deinit(&simulation.json);
  memory_free(simulation.events);
  return rc;
}
