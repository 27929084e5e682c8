#include "host/sim_script.h"

#include "base/memory.h"
#include "base/suggest.h"
#include "base/zone.h"
#include "gate/gate.h"
#include "host/sim.h"

#include <stdio.h>
#include <unistd.h>

/** A folder of campaigns, read once. */
struct source {
  char *directory;
  struct ruleset *ruleset;
};

/** Rules as hosts share them. */
struct loaded {
  struct buf key;        /**< directory, folders, configuration */
  struct config *config; /**< null: the project's */
  struct ruleset *ruleset;
  struct sim_rules *rules;
};

struct sim_script {
  const struct config *config;
  struct source *sources;
  size_t source_count;
  struct loaded *loaded;
  size_t loaded_count;
  struct sim **hosts; /**< by number - 1; null: closed */
  size_t host_count;
};

struct sim_script *sim_script_new(const struct config *config) {
  struct sim_script *scripted = memory_zalloc(sizeof *scripted);
  scripted->config = config;
  return scripted;
}

void sim_script_free(struct sim_script *scripted) {
  if (!scripted) return;
  for (size_t i = 0; i < scripted->host_count; i++) sim_free(scripted->hosts[i]);
  for (size_t i = 0; i < scripted->loaded_count; i++) {
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

/** Argument `index` (from 0); empty if it was not given. */
static struct str argument(struct str arguments, uint32_t index) {
  struct reader reader = reader_of(arguments);
  uint32_t count = value_read(&reader).count;
  for (uint32_t i = 0; i < index && i < count; i++) value_skip(&reader);
  return index < count ? value_slice(&reader) : STR("");
}

static bool is_text(struct str value, struct str *text) {
  struct value head = value_head(value);
  if (!value.len || head.type != VALUE_STRING) return false;
  *text = head.string;
  return true;
}

static bool is_nil(struct str value) {
  return !value.len || value_head(value).type == VALUE_NIL;
}

static int text_argument(struct str arguments, uint32_t index, const char *what, struct str *text,
                         struct error *err) {
  if (is_text(argument(arguments, index), text)) return 0;
  return error_set(err, ERROR_INVALID, "%s must be text", what);
}

static int host_argument(const struct sim_script *scripted, struct str arguments, struct sim **sim,
                         struct error *err) {
  double number;
  if (!value_as_number(argument(arguments, 0), &number) || number < 1 ||
      number > (double)scripted->host_count || !scripted->hosts[(size_t)number - 1])
    return error_set(err, ERROR_NOT_FOUND, "there is no such host");
  *sim = scripted->hosts[(size_t)number - 1];
  return 0;
}

/* ---- which rules ---- */

static int source_of(struct sim_script *scripted, const char *directory, struct ruleset **out,
                     struct error *err) {
  for (size_t i = 0; i < scripted->source_count; i++) {
    if (strcmp(scripted->sources[i].directory, directory) != 0) continue;
    *out = scripted->sources[i].ruleset;
    return 0;
  }
  int rc = ruleset_read(out, directory, scripted->config->library_dir, err);
  if (rc) return rc;
  scripted->sources =
      memory_realloc(scripted->sources, (scripted->source_count + 1) * sizeof *scripted->sources);
  scripted->sources[scripted->source_count++] =
      (struct source){memory_dup(directory, strlen(directory)), *out};
  return 0;
}

int sim_script_read(struct sim_script *scripted, struct error *err) {
  struct ruleset *ruleset;
  return source_of(scripted, scripted->config->rules_dir, &ruleset, err);
}

/** What a host asks for: a folder of campaigns, and which of them. */
struct wanted {
  char directory[1024];
  struct buf folders; /**< strings; none: all */
};

/** @return whether the path begins with the folder, with the rest in `*rest`. */
static bool is_in(struct str path, const char *folder, struct str *rest) {
  size_t len = strlen(folder);
  while (len > 1 && folder[len - 1] == '/') len--;
  if (path.len < len || memcmp(path.data, folder, len) != 0) return false;
  *rest = (struct str){path.data + len, path.len - len};
  if (rest->len && *rest->data != '/') return false;
  while (rest->len && *rest->data == '/') rest->data++, rest->len--;
  return true;
}

static int want(struct sim_script *scripted, struct wanted *wanted, struct str path, struct error *err) {
  const char *rules_dir = scripted->config->rules_dir;
  char directory[sizeof wanted->directory], file[sizeof wanted->directory + 16];
  struct str folder, whole = path;
  while (path.len > 2 && memcmp(path.data, "./", 2) == 0) path.data += 2, path.len -= 2;
  while (path.len > 1 && path.data[path.len - 1] == '/') path.len--;
  if (path.len >= sizeof directory)
    return error_set(err, ERROR_INVALID, "`rules` is a path that is too long");
  snprintf(directory, sizeof directory, "%s", rules_dir);
  if (!is_in(path, rules_dir, &folder) && !is_in(path, "rules", &folder)) {
    folder = path;
    const char *slash = memrchr(path.data, '/', path.len);
    snprintf(file, sizeof file, "%.*s/rule.lua", STR_ARG(path));
    if (slash && access(file, F_OK) == 0) {
      snprintf(directory, sizeof directory, "%.*s", (int)(slash - path.data), path.data);
      folder = (struct str){slash + 1, path.len - (size_t)(slash + 1 - path.data)};
    } else if (slash) {
      snprintf(directory, sizeof directory, "%.*s", STR_ARG(path));
      folder = STR("");
    }
  }
  if (*wanted->directory && strcmp(wanted->directory, directory) != 0)
    return error_set(err, ERROR_INVALID, "`rules`: %.*s is not beside the ones before it", STR_ARG(whole));
  snprintf(wanted->directory, sizeof wanted->directory, "%s", directory);
  if (folder.len) buf_put_str(&wanted->folders, folder);
  return 0;
}

static int want_all(struct sim_script *scripted, struct wanted *wanted, struct str rules, struct error *err) {
  struct str text;
  if (is_nil(rules)) return want(scripted, wanted, STR("rules"), err);
  if (is_text(rules, &text)) return want(scripted, wanted, text, err);
  struct reader reader = reader_of(rules);
  struct value head = value_read(&reader);
  int rc = 0;
  if (head.type != VALUE_ARRAY || head.count == 0)
    return error_set(err, ERROR_INVALID, "`rules` must be a folder, \"rules/cart\", or a list of such");
  for (uint32_t i = 0; i < head.count && rc == 0; i++) {
    if (!is_text(value_slice(&reader), &text))
      rc = error_set(err, ERROR_INVALID, "`rules` must be a folder, \"rules/cart\", or a list of such");
    else
      rc = want(scripted, wanted, text, err);
  }
  return rc;
}

static struct str folder_of(const char *path) {
  const char *slash = strchr(path, '/');
  return (struct str){path, slash ? (size_t)(slash - path) : strlen(path)};
}

/** Whether a campaign is there; else an error that names those that are. */
static int check_folder(const struct ruleset *from, const char *directory, struct str folder,
                        struct error *err) {
  struct buf text;
  struct suggestion suggestion = {0};
  struct str last = STR("");
  buf_init(&text);
  bool there = false;
  for (size_t i = 0; i < from->count; i++) {
    struct str here = folder_of(from->files[i].path);
    if (from->files[i].library || str_equal(here, last)) continue;
    last = here;
    there |= str_equal(here, folder);
    suggestion_offer(&suggestion, folder, here);
    buf_printf(&text, "%s%.*s", text.len ? ", " : "; there are: ", STR_ARG(here));
  }
  if (!text.len) buf_printf(&text, "; it has none");
  suggestion_append(&suggestion, &text);
  int rc = there ? 0
                 : error_set(err, ERROR_NOT_FOUND, "there is no campaign `%.*s` in %s%.*s", STR_ARG(folder),
                             directory, STR_ARG(buf_str(&text)));
  buf_deinit(&text);
  return rc;
}

/** A project's configuration made of a map: JSON is YAML. */
static int parse_config(struct str map, struct config **out, struct error *err) {
  struct config_report report;
  struct buf yaml, text;
  if (value_head(map).type == VALUE_ARRAY && value_head(map).count == 0) map = STR("\x80");
  if (value_head(map).type != VALUE_MAP)
    return error_set(err, ERROR_INVALID,
                     "`config` must be a table of settings, as config/kairos.yaml has them");
  config_report_init(&report);
  report.secrets_optional = true;
  buf_init(&yaml);
  buf_init(&text);
  value_to_json(map, &yaml);
  int rc = config_parse(out, buf_str(&yaml), "config of sim.host", &report);
  if (rc) {
    for (size_t i = 0; i < report.count; i++)
      buf_printf(&text, "%s%s%s%s", i ? "\n" : "", report.problems[i].key ? report.problems[i].key : "",
                 report.problems[i].key && *report.problems[i].key ? ": " : "", report.problems[i].message);
    error_set(err, ERROR_INVALID, "`config`: %.*s", STR_ARG(buf_str(&text)));
  }
  config_report_deinit(&report);
  buf_deinit(&yaml);
  buf_deinit(&text);
  return rc ? ERROR_INVALID : 0;
}

/** Load what is wanted, or find it loaded. */
static int load(struct sim_script *scripted, const struct wanted *wanted, struct str config,
                struct sim_rules **out, struct error *err) {
  struct loaded loaded = {0};
  struct ruleset *from;
  buf_put_str(&loaded.key, str_from(wanted->directory));
  buf_put_str(&loaded.key, buf_str(&wanted->folders));
  if (!is_nil(config)) buf_append(&loaded.key, config.data, config.len);
  for (size_t i = 0; i < scripted->loaded_count; i++) {
    if (!str_equal(buf_str(&scripted->loaded[i].key), buf_str(&loaded.key))) continue;
    buf_deinit(&loaded.key);
    *out = scripted->loaded[i].rules;
    return 0;
  }
  int rc = source_of(scripted, wanted->directory, &from, err);
  struct reader folders = reader_of(buf_str(&wanted->folders));
  while (rc == 0 && reader_left(&folders))
    rc = check_folder(from, wanted->directory, reader_str(&folders), err);
  if (rc == 0 && !is_nil(config)) rc = parse_config(config, &loaded.config, err);
  if (rc == 0) {
    loaded.ruleset = ruleset_pick(from, buf_str(&wanted->folders));
    rc =
        sim_rules_new(&loaded.rules,
                      &(struct sim_rules_options){.ruleset = loaded.ruleset,
                                                  .config = loaded.config ? loaded.config : scripted->config},
                      err);
  }
  if (rc) {
    ruleset_free(loaded.ruleset);
    config_free(loaded.config);
    buf_deinit(&loaded.key);
    return rc;
  }
  scripted->loaded =
      memory_realloc(scripted->loaded, (scripted->loaded_count + 1) * sizeof *scripted->loaded);
  scripted->loaded[scripted->loaded_count++] = loaded;
  *out = loaded.rules;
  return 0;
}

/* ---- times ---- */

/** A Monday at noon: in nobody's quiet hours, far from every switch of daylight saving. */
static const int64_t usual_start = INT64_C(1780315200000); // 2026-06-01 12:00 UTC

static int read_moment(struct str value, int64_t *out, struct error *err) {
  struct str text;
  double number;
  if (is_text(value, &text)) return zone_parse_moment(text, zone_utc(), out, err);
  if (!value.len || !value_as_number(value, &number) || number < -1e14 || number > 1e14)
    return error_set(err, ERROR_INVALID,
                     "a moment is text, \"2026-11-27 09:00 Europe/Berlin\", or milliseconds since 1970");
  *out = (int64_t)number;
  return 0;
}

/* ---- hosts ---- */

static int open_host(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim_script *scripted = context;
  struct str options = argument(arguments, 0), rules = STR(""), config = STR(""), at = STR("");
  struct wanted wanted = {0};
  struct sim_rules *loaded = NULL;
  int64_t start = usual_start;
  value_member(options, STR("rules"), &rules);
  value_member(options, STR("config"), &config);
  value_member(options, STR("at"), &at);
  int rc = is_nil(at) ? 0 : read_moment(at, &start, err);
  if (rc) error_prefix(err, "`at`: ");
  if (rc == 0) rc = want_all(scripted, &wanted, rules, err);
  if (rc == 0) rc = load(scripted, &wanted, config, &loaded, err);
  buf_deinit(&wanted.folders);
  if (rc) return rc;
  size_t at_index = 0;
  while (at_index < scripted->host_count && scripted->hosts[at_index]) at_index++;
  if (at_index == scripted->host_count) {
    scripted->host_count = at_index ? at_index * 2 : 16;
    scripted->hosts = memory_realloc(scripted->hosts, scripted->host_count * sizeof(struct sim *));
    for (size_t i = at_index; i < scripted->host_count; i++) scripted->hosts[i] = NULL;
  }
  scripted->hosts[at_index] = sim_new(loaded, &(struct sim_options){.at = start});
  value_put_integer(result, (int64_t)at_index + 1);
  return 0;
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
  struct str envelope = argument(arguments, 1);
  int rc = host_argument(scripted, arguments, &sim, err);
  if (rc) return rc;
  if (value_head(envelope).type != VALUE_MAP)
    return error_set(err, ERROR_INVALID, "an event is a table with names");
  const struct event_limits limits = {.max_future_ms = scripted->config->ingest.max_future,
                                      .max_past_ms = scripted->config->ingest.max_past};
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
  if (rc == 0 && !is_text(argument(arguments, 1), &text))
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
  if (rc == 0) rc = read_moment(argument(arguments, 1), &at, err);
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
  struct str name, text, answer_value = argument(arguments, 2), times_value = argument(arguments, 3);
  double times = 0, status = 0;
  struct sim_answer answer = {SIM_ACCEPT, 0};
  (void)result;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) rc = text_argument(arguments, 1, "the name of a channel or provider", &name, err);
  if (rc) return rc;
  if (is_text(answer_value, &text) && str_equal(text, STR("timeout")))
    answer.type = SIM_TIMEOUT;
  else if (is_text(answer_value, &text) && str_equal(text, STR("bounce")))
    answer.type = SIM_BOUNCE;
  else if (!is_text(answer_value, &text) && value_as_number(answer_value, &status) && status >= 200 &&
           status <= 599)
    answer = (struct sim_answer){SIM_STATUS, (long)status};
  else if (!is_text(answer_value, &text) || !str_equal(text, STR("accept")))
    return error_set(
        err, ERROR_INVALID,
        "%.*s = …: a provider answers \"accept\", \"timeout\", \"bounce\" or a status from 200 to 599",
        STR_ARG(name));
  if (!is_nil(times_value) && (!value_as_number(times_value, &times) || times < 1 || times > 1e9))
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
  if (rc == 0 && !sim_lookup(sim, server, path, argument(arguments, 3), LOOKUP_ANSWERED, STR("")))
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
  struct str server, path, text, how = argument(arguments, 3);
  double status = 0;
  char why[80];
  (void)result;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc == 0) rc = text_argument(arguments, 1, "the name of a server of `lookups`", &server, err);
  if (rc == 0) rc = text_argument(arguments, 2, "the path, such as \"/stock/K1\",", &path, err);
  if (rc) return rc;
  bool timeout = is_text(how, &text) && str_equal(text, STR("timeout"));
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
  if (!value_as_number(argument(arguments, 0), &ms))
    return error_set(err, ERROR_INVALID, "a time must be milliseconds");
  int rc = is_text(argument(arguments, 1), &name) ? zone_find(&zone, name, err) : 0;
  if (rc) return rc;
  write_time(text, sizeof text, zone, (int64_t)ms);
  value_put_string(result, str_from(text));
  return 0;
}

static int tell_moment(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  int64_t at;
  int rc = read_moment(argument(arguments, 0), &at, err);
  if (rc == 0) value_put_integer(result, at);
  return rc;
}

static int tell_json(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  (void)err;
  struct buf text;
  buf_init(&text);
  value_to_json(argument(arguments, 0), &text);
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
  struct str subject = argument(arguments, 2);
  if (!is_nil(subject) && value_head(subject).boolean) entity.kind = ENTITY_SUBJECT;
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

static int tell_names(void *context, struct str arguments, struct buf *result, struct error *err) {
  struct sim *sim;
  int rc = host_argument(context, arguments, &sim, err);
  if (rc) return rc;
  const struct sim_rules *rules = sim_rules_of(sim);
  const struct config *config = sim_rules_config(rules);
  const struct engine_rule *all;
  const struct engine_template *templates;
  struct names campaigns = {0}, events = {0}, needs = {0}, found = {0};
  size_t count = engine_rules(sim_rules_engine(rules), &all);
  for (size_t i = 0; i < count; i++) {
    add_name(&campaigns, all[i].campaign);
    for (size_t j = 0; j < all[i].on_count; j++) add_name(&events, all[i].on[j]);
    for (size_t j = 0; j < all[i].need_count; j++) add_name(&needs, all[i].needs[j].name);
  }
  value_put_map(result, 8);
  put_names(result, "campaigns", &campaigns);
  put_names(result, "needs", &needs);
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
  struct reader reader = reader_of(argument(arguments, 1));
  struct suggestion suggestion = {0};
  for (uint32_t left = value_read(&reader).count; left > 0 && !reader.bad; left--)
    if (is_text(value_slice(&reader), &name)) suggestion_offer(&suggestion, word, name);
  if (suggestion.name.len) value_put_string(result, suggestion.name);
  return 0;
}

void sim_script_provide(struct sim_script *scripted, struct script *script) {
  static const struct {
    const char *name;
    script_function *function;
  } functions[] = {
      {"sim_host", open_host},   {"sim_close", close_host},  {"sim_event", give_event},
      {"sim_advance", advance},  {"sim_at", go_to},          {"sim_provider", set_provider},
      {"sim_now", tell_now},     {"sim_sent", tell_sent},    {"sim_decisions", tell_decisions},
      {"sim_runs", tell_runs},   {"sim_dead", tell_dead},    {"sim_entities", tell_entities},
      {"sim_user", tell_user},   {"sim_story", tell_story},  {"sim_names", tell_names},
      {"nearest", tell_nearest}, {"time", tell_time},        {"moment", tell_moment},
      {"json", tell_json},       {"sim_lookup", set_lookup}, {"sim_lookup_fails", fail_lookup},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
    script_provide(script, functions[i].name, functions[i].function, scripted);
}
