#include "sim/sim_script_internal.h"

#include "base/memory.h"
#include "base/suggest.h"
#include "base/zone.h"
#include "gate/gate.h"

#include <stdio.h>

struct sim_script *sim_script_new(const struct config *config) {
  struct sim_script *scripted = memory_zalloc(sizeof *scripted);
  scripted->config = config;
  return scripted;
}

void sim_script_free(struct sim_script *scripted) {
  if (!scripted) return;
  for (size_t i = 0; i < scripted->host_count; i++) sim_free(scripted->hosts[i]);
  for (size_t i = scripted->loaded_count; i-- > 0;) { // later ones look into those before them
    struct loaded *loaded = &scripted->loaded[i];
    sim_rules_free(loaded->rules);
    ruleset_free(loaded->ruleset);
    config_free(loaded->config);
    buf_deinit(&loaded->key);
  }
  for (size_t i = 0; i < scripted->source_count; i++) {
    memory_free(scripted->sources[i].directory);
    ruleset_free(scripted->sources[i].ruleset);
  }
  memory_free(scripted->hosts);
  memory_free(scripted->loaded);
  memory_free(scripted->sources);
  memory_free(scripted);
}

/* ---- arguments ---- */

/** Argument `index` (from 0) of a native call; empty if it was not given. */
static struct str argument_of(struct str arguments, uint32_t index) {
  struct reader reader = reader_of(arguments);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < index && i < count; i++) value_skip(&reader);
  return index < count ? value_slice(&reader) : STR("");
}

bool sim_is_text(struct str value, struct str *text) {
  struct value head = value_head(value);
  if (!value.len || head.type != VALUE_STRING) return false;
  *text = head.string;
  return true;
}

bool sim_is_nil(struct str value) {
  return !value.len || value_head(value).type == VALUE_NIL;
}

static int text_argument(struct str arguments, uint32_t index, const char *what, struct str *text,
                         struct error *err) {
  if (sim_is_text(argument_of(arguments, index), text)) return 0;
  return error_set(err, ERROR_INVALID, "%s must be text", what);
}

static int host_argument(const struct sim_script *scripted, struct str arguments, struct sim **sim,
                         struct error *err) {
  double number;
  if (!value_as_number(argument_of(arguments, 0), &number) || number < 1 ||
      number > (double)scripted->host_count || !scripted->hosts[(size_t)number - 1])
    return error_set(err, ERROR_NOT_FOUND, "there is no such host");
  *sim = scripted->hosts[(size_t)number - 1];
  return 0;
}

/* ---- times ---- */

/** A Monday at noon: in nobody's quiet hours, far from every switch of daylight saving. */
static const int64_t usual_start = INT64_C(1780315200000); // 2026-06-01 12:00 UTC

/** @param config  whose zone a text is in that names none. */
static int read_moment(const struct config *config, struct str value, int64_t *out, struct error *err) {
  struct str text;
  double number;
  const struct zone *zone = zone_utc();
  if (config->time_zone && zone_find(&zone, str_from(config->time_zone), NULL)) zone = zone_utc();
  if (sim_is_text(value, &text)) return zone_parse_moment(text, zone, out, err);
  if (!value.len || !value_as_number(value, &number) || number < -1e14 || number > 1e14)
    return error_set(err, ERROR_INVALID,
                     "a moment is text, \"2026-11-27 09:00 Europe/Berlin\", or milliseconds since 1970");
  *out = (int64_t)number;
  return 0;
}

/* ---- hosts ---- */

static int refuse_variant(const struct engine_experiment *experiment, struct str name, struct error *err) {
  struct buf known;
  buf_init(&known);
  for (size_t i = 0; i < experiment->variant_count; i++)
    buf_printf(&known, "%.*s, ", STR_ARG(experiment->variants[i].name));
  error_set(err, ERROR_INVALID,
            "`variants`: the experiment %.*s has no variant `%.*s`; there are: %.*s*holdout",
            STR_ARG(experiment->name), STR_ARG(name), STR_ARG(buf_str(&known)));
  buf_deinit(&known);
  return ERROR_INVALID;
}

/** `variants`: experiment -> the variant that everybody gets. */
static int read_variants(struct str options, const struct engine *engine, struct str *out,
                         struct error *err) {
  const struct engine_experiment *experiments;
  engine_experiments(engine, &experiments);
  if (!value_member(options, STR("variants"), out) || value_head(*out).type != VALUE_MAP) return 0;
  struct reader reader = reader_of(*out);
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    struct value name = value_read(&reader), variant = value_head(value_slice(&reader));
    int index = name.type == VALUE_STRING ? engine_experiment_of(engine, name.string) : -1;
    if (index < 0)
      return error_set(err, ERROR_INVALID, "`variants`: there is no experiment `%.*s`",
                       name.type == VALUE_STRING ? (int)name.string.len : 0,
                       name.type == VALUE_STRING ? name.string.data : "");
    if (variant.type != VALUE_STRING)
      return error_set(err, ERROR_INVALID,
                       "`variants` names a variant of each: variants = { %.*s = \"%.*s\" }",
                       STR_ARG(name.string), STR_ARG(experiments[index].variants[0].name));
    bool found = str_equal(variant.string, STR(EXPOSURE_HELD_OUT));
    for (size_t i = 0; i < experiments[index].variant_count; i++)
      found |= str_equal(variant.string, experiments[index].variants[i].name);
    if (!found) return refuse_variant(&experiments[index], variant.string, err);
  }
  return 0;
}

static int open_host(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim_script *scripted = context;
  struct str options = argument_of(arguments, 0), at = STR("");
  struct sim_wish wish = {0};
  struct sim_rules *loaded = NULL;
  int64_t start = usual_start;
  value_member(options, STR("rules"), &wish.rules);
  value_member(options, STR("config"), &wish.config);
  value_member(options, STR("mode"), &wish.mode);
  value_member(options, STR("at"), &at);
  int rc = sim_script_load(scripted, &wish, &loaded, err);
  if (rc == 0 && !sim_is_nil(at)) {
    rc = read_moment(sim_rules_config(loaded), at, &start, err);
    if (rc == 0 && start < 0) rc = error_set(err, ERROR_INVALID, "the clock begins in 1970 or later");
    if (rc) error_prefix(err, "`at`");
  }
  struct str variants = STR("");
  if (rc == 0) rc = read_variants(options, sim_rules_engine(loaded), &variants, err);
  if (rc) return rc;
  size_t at_index = 0;
  while (at_index < scripted->host_count && scripted->hosts[at_index]) at_index++;
  if (at_index == scripted->host_count) {
    scripted->host_count = at_index ? at_index * 2 : 16;
    scripted->hosts = memory_realloc(scripted->hosts, scripted->host_count * sizeof(struct sim *));
    for (size_t i = at_index; i < scripted->host_count; i++) scripted->hosts[i] = NULL;
  }
  scripted->hosts[at_index] = sim_new(loaded, &(struct sim_options){.at = start, .variants = variants});
  value_put_integer(result, (int64_t)at_index + 1);
  return 0;
}

/** Other rules serve from here on. */
static int reload_host(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim_script *scripted = context;
  struct sim *sim;
  struct sim_rules *rules;
  (void)result;
  int rc = host_argument(scripted, arguments, &sim, err);
  if (rc) return rc;
  struct sim_wish wish = {.rules = argument_of(arguments, 1), .before = sim_rules_of(sim)};
  rc = sim_script_load(scripted, &wish, &rules, err);
  if (rc == 0) sim_change(sim, rules);
  return rc;
}

static int close_host(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim_script *scripted = context;
  struct sim *sim;
  (void)result;
  if (host_argument(scripted, arguments, &sim, err)) return 0;
  for (size_t i = 0; i < scripted->host_count; i++)
    if (scripted->hosts[i] == sim) scripted->hosts[i] = NULL;
  sim_free(sim);
  return 0;
}

/** The envelope, with empty tables where maps have to be. */
static void put_envelope(struct str envelope, struct buf *out) {
  struct reader reader = reader_of(envelope);
  struct value head = value_read(&reader);
  value_put_map(out, head.count);
  for (uint32_t i = 0; i < head.count; i++) {
    struct str name = value_read(&reader).string, value = value_slice(&reader);
    bool map = str_equal(name, STR("payload")) || str_equal(name, STR("metadata"));
    value_put_string(out, name);
    if (map && value_head(value).type == VALUE_ARRAY && value_head(value).count == 0)
      value_put_map(out, 0);
    else
      buf_append(out, value.data, value.len);
  }
}

static int give_event(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim_script *scripted = context;
  struct sim *sim;
  struct str envelope = argument_of(arguments, 1);
  int rc = host_argument(scripted, arguments, &sim, err);
  if (rc) return rc;
  if (value_head(envelope).type != VALUE_MAP)
    return error_set(err, ERROR_INVALID, "an event is a table with names");
  const struct config *config = sim_rules_config(sim_rules_of(sim));
  const struct event_limits limits = {.max_future_ms = config->ingest.max_future,
                                      .max_past_ms = config->ingest.max_past};
  struct event event;
  struct event_fault fault;
  struct buf bytes;
  buf_init(&bytes);
  put_envelope(envelope, &bytes);
  sim_advance(sim, sim_now(sim));
  if (event_from_value(&event, buf_str(&bytes), sim_now(sim), &limits, &fault)) {
    rc = error_set(err, ERROR_INVALID, "%s%s%s", fault.pointer, *fault.pointer ? ": " : "", fault.message);
  } else {
    value_put_string(result, sim_event(sim, &event) ? STR("accepted") : STR("duplicate"));
    sim_advance(sim, sim_now(sim));
  }
  buf_deinit(&bytes);
  return rc;
}

static int advance(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  struct str text;
  int64_t length;
  (void)result;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0 && !sim_is_text(argument_of(arguments, 1), &text))
    rc = error_set(err, ERROR_INVALID, "advance takes a duration in quotes: host:advance \"2m\"");
  if (rc == 0) rc = quantity_duration(text, &length, err);
  if (rc == 0) sim_advance(sim, sim_now(sim) + length);
  return rc;
}

/** "Mon 2026-06-01 14:00:00 CEST", with milliseconds if there are any. */
static void write_time(char *out, size_t size, const struct zone *zone, int64_t ms) {
  static const char days[][4] = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};
  struct civil civil;
  char fraction[8] = "";
  const char *abbreviation;
  zone_offset(zone, ms, &abbreviation);
  zone_civil(zone, ms, &civil);
  if (civil.millisecond) snprintf(fraction, sizeof fraction, ".%03d", civil.millisecond % 1000);
  snprintf(out, size, "%s %04d-%02d-%02d %02d:%02d:%02d%s %s",
           days[civil_weekday(civil_days(civil.year, civil.month, civil.day)) - 1], civil.year, civil.month,
           civil.day, civil.hour, civil.minute, civil.second, fraction, abbreviation);
}

static int go_to(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  int64_t at;
  char now[64], then[64];
  (void)result;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) rc = read_moment(sim_rules_config(sim_rules_of(sim)), argument_of(arguments, 1), &at, err);
  if (rc) return rc;
  if (at < sim_now(sim)) {
    write_time(now, sizeof now, zone_utc(), sim_now(sim));
    write_time(then, sizeof then, zone_utc(), at);
    return error_set(
        err, ERROR_INVALID,
        "the clock does not go back: it is %s, and that was %s; begin earlier with sim.host { at = … }", now,
        then);
  }
  sim_advance(sim, at);
  return 0;
}

static int set_provider(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  struct str name, text, answer_value = argument_of(arguments, 2), times_value = argument_of(arguments, 3);
  double times = 0, status = 0;
  struct sim_answer answer = {SIM_ACCEPT, 0};
  (void)result;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) rc = text_argument(arguments, 1, "the name of a channel or provider", &name, err);
  if (rc) return rc;
  if (sim_is_text(answer_value, &text) && str_equal(text, STR("timeout")))
    answer.type = SIM_TIMEOUT;
  else if (sim_is_text(answer_value, &text) && str_equal(text, STR("bounce")))
    answer.type = SIM_BOUNCE;
  else if (!sim_is_text(answer_value, &text) && value_as_number(answer_value, &status) && status >= 200 &&
           status <= 599)
    answer = (struct sim_answer){SIM_STATUS, (long)status};
  else if (!sim_is_text(answer_value, &text) || !str_equal(text, STR("accept")))
    return error_set(
        err, ERROR_INVALID,
        "%.*s = …: a provider answers \"accept\", \"timeout\", \"bounce\" or a status from 200 to 599",
        STR_ARG(name));
  if (!sim_is_nil(times_value) && (!value_as_number(times_value, &times) || times < 1 || times > 1e9))
    return error_set(err, ERROR_INVALID, "`times` must be a whole number from 1");
  if (!sim_provider(sim, name, answer, (uint64_t)times))
    return error_set(err, ERROR_NOT_FOUND, "there is no channel or provider `%.*s`", STR_ARG(name));
  return 0;
}

/** What a look-up answers: host, server, path, answer. */
static int set_lookup(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  struct str server, path;
  (void)result;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) rc = text_argument(arguments, 1, "the name of a server of `lookups`", &server, err);
  if (rc == 0) rc = text_argument(arguments, 2, "the path, such as \"/stock/K1\",", &path, err);
  if (rc == 0 && !sim_lookup(sim, server, path, argument_of(arguments, 3), LOOKUP_ANSWERED, STR("")))
    rc = error_set(
        err, ERROR_NOT_FOUND,
        "the configuration has no look-up server `%.*s`; give the host one: sim.host { config = { lookups = "
        "{ { name = \"shop\", url = \"https://shop.example\" } } } }",
        STR_ARG(server));
  return rc;
}

/** How a look-up fails: host, server, path, "timeout" or a status. */
static int fail_lookup(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  struct str server, path, text, how = argument_of(arguments, 3);
  double status = 0;
  char why[80];
  (void)result;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) rc = text_argument(arguments, 1, "the name of a server of `lookups`", &server, err);
  if (rc == 0) rc = text_argument(arguments, 2, "the path, such as \"/stock/K1\",", &path, err);
  if (rc) return rc;
  bool timeout = sim_is_text(how, &text) && str_equal(text, STR("timeout"));
  if (!timeout && (!value_as_number(how, &status) || status < 300 || status > 599))
    return error_set(err, ERROR_INVALID, "a look-up fails by \"timeout\", or by a status from 300 to 599");
  if (timeout)
    snprintf(why, sizeof why, "there was no answer in time");
  else
    snprintf(why, sizeof why, "the server answered %d", (int)status);
  if (!sim_lookup(sim, server, path, STR(""), timeout ? LOOKUP_TIMEOUT : LOOKUP_STATUS, str_from(why)))
    rc = error_set(err, ERROR_NOT_FOUND, "the configuration has no look-up server `%.*s`", STR_ARG(server));
  return rc;
}

static int tell_now(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) value_put_integer(result, sim_now(sim));
  return rc;
}

/** Arguments: ms, and perhaps a zone's name. */
static int tell_time(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  double ms;
  struct str name;
  const struct zone *zone = zone_utc();
  char text[64];
  if (!value_as_number(argument_of(arguments, 0), &ms))
    return error_set(err, ERROR_INVALID, "a time must be milliseconds");
  int rc = sim_is_text(argument_of(arguments, 1), &name) ? zone_find(&zone, name, err) : 0;
  if (rc) return rc;
  write_time(text, sizeof text, zone, (int64_t)ms);
  value_put_string(result, str_from(text));
  return 0;
}

/** Arguments: host, and a moment. */
static int tell_moment(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  int64_t at;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) rc = read_moment(sim_rules_config(sim_rules_of(sim)), argument_of(arguments, 1), &at, err);
  if (rc == 0) value_put_integer(result, at);
  return rc;
}

static int tell_json(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  (void)err;
  struct buf text;
  buf_init(&text);
  value_to_json(argument_of(arguments, 0), &text);
  value_put_string(result, buf_str(&text));
  buf_deinit(&text);
  return 0;
}

/* ---- what happened ---- */

static int tell(void *context, struct str arguments, struct buf *result, struct error *err,
                void (*what)(const struct sim *sim, struct buf *out)) {
  struct sim *sim;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) what(sim, result);
  return rc;
}

static int tell_sent(void *context, struct str arguments, struct buf *result, struct error *err) {
  return tell(context, arguments, result, err, sim_sent);
}

static int tell_decisions(void *context, struct str arguments, struct buf *result, struct error *err) {
  return tell(context, arguments, result, err, sim_decisions);
}

static int tell_runs(void *context, struct str arguments, struct buf *result, struct error *err) {
  return tell(context, arguments, result, err, sim_runs);
}

/** Arguments: host, and perhaps an experiment's name. */
static int tell_experiments(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  struct str only;
  int rc = host_argument(context, arguments, &sim, err);
  if (!sim_is_text(argument_of(arguments, 1), &only)) only = STR("");
  return rc ? rc : sim_experiments(sim, only, result, err);
}

static int tell_dead(void *context, struct str arguments, struct buf *result, struct error *err) {
  return tell(context, arguments, result, err, sim_dead);
}

static int tell_entities(void *context, struct str arguments, struct buf *result, struct error *err) {
  return tell(context, arguments, result, err, sim_entities);
}

/** Arguments: host, id, and whether it is a subject. */
static int tell_of(void *context, struct str arguments, struct buf *result, struct error *err,
                   void (*what)(const struct sim *sim, struct entity entity, struct buf *out)) {
  struct sim *sim;
  struct entity entity = {.kind = ENTITY_USER};
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) rc = text_argument(arguments, 1, "a user", &entity.id, err);
  struct str subject = argument_of(arguments, 2);
  if (!sim_is_nil(subject) && value_head(subject).boolean) entity.kind = ENTITY_SUBJECT;
  if (rc == 0) what(sim, entity, result);
  return rc;
}

static int tell_user(void *context, struct str arguments, struct buf *result, struct error *err) {
  return tell_of(context, arguments, result, err, sim_user);
}

static int tell_story(void *context, struct str arguments, struct buf *result, struct error *err) {
  return tell_of(context, arguments, result, err, sim_story);
}

/* ---- names ---- */

struct names {
  struct buf values;
  uint32_t count;
};

static void add_name(struct names *names, struct str name) {
  value_put_string(&names->values, name);
  names->count++;
}

static void put_names(struct buf *out, const char *key, struct names *names) {
  value_put_string(out, str_from(key));
  value_put_array(out, names->count);
  buf_append(out, names->values.data, names->values.len);
  buf_deinit(&names->values);
  *names = (struct names){0};
}

/** Types of events that something asks for; of what journeys wait for, the source alone knows.
 * @return whether there are journeys. */
static bool add_events(const struct engine *engine, struct names *events) {
  const struct engine_rule *rules;
  const struct window_declaration *windows;
  const struct engine_interest *interests;
  const struct engine_experiment *experiments;
  bool journeys = false;
  size_t count = engine_rules(engine, &rules);
  for (size_t i = 0; i < count; i++) {
    for (size_t j = 0; j < rules[i].on_count; j++) add_name(events, rules[i].on[j]);
    journeys |= rules[i].journey != NULL;
    struct reader reader = reader_of(rules[i].journey ? rules[i].journey->types : STR(""));
    while (reader_left(&reader)) add_name(events, reader_str(&reader));
  }
  count = engine_windows(engine, &windows);
  for (size_t i = 0; i < count; i++) add_name(events, windows[i].of);
  count = engine_interests(engine, &interests);
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; j < interests[i].of_count; j++) add_name(events, interests[i].of[j]);
  count = engine_experiments(engine, &experiments);
  for (size_t i = 0; i < count; i++)
    if (experiments[i].on.len) add_name(events, experiments[i].on);
  return journeys;
}

static int tell_names(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc) return rc;
  const struct sim_rules *rules = sim_rules_of(sim);
  const struct config *config = sim_rules_config(rules);
  const struct engine_rule *all;
  const struct engine_template *templates;
  struct names campaigns = {0}, events = {0}, found = {0};
  size_t count = engine_rules(sim_rules_engine(rules), &all);
  for (size_t i = 0; i < count; i++) add_name(&campaigns, all[i].campaign);
  bool journeys = add_events(sim_rules_engine(rules), &events);
  const struct engine_experiment *experiments;
  count = engine_experiments(sim_rules_engine(rules), &experiments);
  for (size_t i = 0; i < count; i++) add_name(&found, experiments[i].name);
  value_put_map(result, 9);
  value_put_string(result, STR("journeys"));
  value_put_bool(result, journeys);
  put_names(result, "experiments", &found);
  put_names(result, "campaigns", &campaigns);
  for (uint32_t i = 0; i < config->purpose_count; i++) add_name(&found, str_from(config->purposes[i].name));
  put_names(result, "purposes", &found);
  put_names(result, "events", &events);
  count = engine_templates(sim_rules_engine(rules), &templates);
  for (size_t i = 0; i < count; i++) add_name(&found, templates[i].name);
  put_names(result, "templates", &found);
  const char *check;
  for (size_t i = 0; (check = gate_check_name(i)); i++) add_name(&found, str_from(check));
  put_names(result, "checks", &found);
  for (size_t i = 0; i < CONFIG_CHANNELS; i++) add_name(&found, str_from(config_channel_names[i]));
  put_names(result, "channels", &found);
  for (uint32_t i = 0; i < config->provider_count; i++) add_name(&found, str_from(config->providers[i].name));
  put_names(result, "providers", &found);
  return 0;
}

static int tell_nearest(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  struct str word, name;
  int rc = text_argument(arguments, 0, "a word", &word, err);
  if (rc) return rc;
  struct reader reader = reader_of(argument_of(arguments, 1));
  struct suggestion suggestion = {0};
  for (uint32_t left = value_read(&reader).count; left > 0 && !reader.bad; left--)
    if (sim_is_text(value_slice(&reader), &name)) suggestion_offer(&suggestion, word, name);
  if (suggestion.name.len) value_put_string(result, suggestion.name);
  return 0;
}

void sim_script_provide(struct sim_script *scripted, struct script *script) {
  static const struct {
    const char *name;
    script_function *function;
  } functions[] = {
      {"sim_host", open_host},
      {"sim_close", close_host},
      {"sim_event", give_event},
      {"sim_advance", advance},
      {"sim_at", go_to},
      {"sim_provider", set_provider},
      {"sim_now", tell_now},
      {"sim_sent", tell_sent},
      {"sim_decisions", tell_decisions},
      {"sim_runs", tell_runs},
      {"sim_dead", tell_dead},
      {"sim_entities", tell_entities},
      {"sim_user", tell_user},
      {"sim_story", tell_story},
      {"sim_names", tell_names},
      {"nearest", tell_nearest},
      {"time", tell_time},
      {"moment", tell_moment},
      {"json", tell_json},
      {"sim_lookup", set_lookup},
      {"sim_lookup_fails", fail_lookup},
      {"sim_reload", reload_host},
      {"sim_experiments", tell_experiments},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    script_provide(script, functions[i].name, functions[i].function, scripted);
}
