/* From a ruleset to rules that can be run: templates, then each campaign's rule.lua. */
#include "base/memory.h"
#include "base/suggest.h"
#include "engine/bindings.h"
#include "engine/convert.h"
#include "engine/internal.h"

#include <stdio.h>

#define SHARED_FOLDER "shared"
/** JSON Schemas of the events' payloads, for `kairos check`: no campaign. */
#define SCHEMAS_FOLDER "schemas"

enum {
  LOAD_BUDGETS = 50,        /**< loading a campaign may take so many times the budget of a call … */
  LOAD_BUDGET_MIN_MS = 1000 /**< … and at least this */
};

static struct str folder_of(struct str path) {
  const char *slash = memchr(path.data, '/', path.len);
  return slash ? (struct str){path.data, (size_t)(slash - path.data)} : STR("");
}

static struct str file_of(struct str path) {
  size_t skip = folder_of(path).len + 1;
  return (struct str){path.data + skip, path.len - skip};
}

static bool ends_with(struct str text, struct str end) {
  return text.len > end.len && memcmp(text.data + text.len - end.len, end.data, end.len) == 0;
}

/** @return whether the file is a template; `*name` then is its name. */
static bool template_name(struct str file, struct str *name) {
  static const char *const endings[] = {".html", ".txt", ".json"};
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    struct str end = str_from(endings[i]);
    if (!ends_with(file, end)) continue;
    *name = (struct str){file.data, file.len - end.len};
    return true;
  }
  return false;
}

/* ---- templates ---- */

int engine_find_template(const struct engine *engine, size_t folder, struct str name) {
  const struct engine_folder *of = &engine->folders[folder];
  for (size_t i = of->first_template; i < of->first_template + of->template_count; i++)
    if (str_equal(engine->templates[i].name, name)) return (int)i;
  return -1;
}

void engine_list_templates(const struct engine *engine, size_t folder, struct str meant, struct buf *out) {
  const struct engine_folder *of = &engine->folders[folder];
  struct suggestion suggestion = {0};
  buf_printf(out, " in rules/%.*s", STR_ARG(of->name));
  for (size_t i = 0; i < of->template_count; i++)
    suggestion_offer(&suggestion, meant, engine->templates[of->first_template + i].name);
  suggestion_append(&suggestion, out);
  buf_printf(out, of->template_count ? "; there are: " : "; there is none yet: write rules/%.*s/%.*s.html",
             STR_ARG(of->name), STR_ARG(meant));
  for (size_t i = 0; i < of->template_count; i++)
    buf_printf(out, "%s%.*s", i ? ", " : "", STR_ARG(engine->templates[of->first_template + i].name));
}

void engine_list_channels(struct str meant, struct buf *out) {
  struct suggestion suggestion = {0};
  for (const char *const *name = config_channel_names; *name; name++)
    suggestion_offer(&suggestion, meant, str_from(*name));
  suggestion_append(&suggestion, out);
  for (const char *const *name = config_channel_names; *name; name++)
    buf_printf(out, "%s%s", name == config_channel_names ? "; there are: " : ", ", *name);
}

struct partial_search {
  const struct engine *engine;
  struct str folder, ending;
  struct suggestion suggestion;
  char file[320]; /**< of the one found, as errors name it */
};

/** Beside the template first, then in rules/shared; of its own kind first. */
static bool find_partial(void *context, struct str name, struct str *text, struct str *file) {
  struct partial_search *search = context;
  const struct ruleset *ruleset = search->engine->options.ruleset;
  const struct str folders[] = {search->folder, STR(SHARED_FOLDER)};
  const struct str endings[] = {search->ending, STR(".html"), STR(".txt"), STR(".json")};
  search->suggestion = (struct suggestion){0};
  char path[300];
  for (size_t i = 0; i < 2; i++) {
    for (size_t j = 0; j < 4; j++) {
      int len = snprintf(path, sizeof path, "%.*s/%.*s%.*s", STR_ARG(folders[i]), STR_ARG(name),
                         STR_ARG(endings[j]));
      const struct ruleset_file *found =
          (size_t)len < sizeof path ? ruleset_find(ruleset, str_from(path)) : NULL;
      if (!found || found->library) continue;
      *text = found->text;
      snprintf(search->file, sizeof search->file, "rules/%s", found->path);
      *file = str_from(search->file);
      return true;
    }
  }
  for (size_t i = 0; i < ruleset->count; i++) {
    struct str at = str_from(ruleset->files[i].path), known;
    bool near = str_equal(folder_of(at), folders[0]) || str_equal(folder_of(at), folders[1]);
    if (!ruleset->files[i].library && near && template_name(file_of(at), &known))
      suggestion_offer(&search->suggestion, name, known);
  }
  *file = search->suggestion.name;
  return false;
}

static int add_template(struct engine *engine, struct engine_folder *folder, const struct ruleset_file *file,
                        struct str name, struct error *err) {
  struct str path = str_from(file->path);
  size_t index = engine->template_count;
  if (engine_find_template(engine, (size_t)(folder - engine->folders), name) >= 0)
    return error_set(
        err, ERROR_SCRIPT,
        "rules/%s: another file of this folder is the template `%.*s` already; name one of them differently",
        file->path, STR_ARG(name));
  engine->templates = memory_realloc(engine->templates, (index + 1) * sizeof *engine->templates);
  engine->compiled = memory_realloc(engine->compiled, (index + 1) * sizeof *engine->compiled);
  struct partial_search search = {.engine = engine, .folder = folder->name};
  search.ending = (struct str){name.data + name.len, path.len - (size_t)(name.data + name.len - path.data)};
  struct buf bundle;
  buf_init(&bundle);
  buf_clear(&engine->text);
  buf_printf(&engine->text, "rules/%s", file->path);
  int rc = template_bundle(buf_str(&engine->text), file->text, find_partial, &search, &bundle, err);
  if (rc == 0) rc = template_new(&engine->compiled[index], buf_str(&bundle), err);
  if (rc) goto cleanup;
  engine->templates[index] = (struct engine_template){.campaign = folder->name,
                                                      .name = name,
                                                      .hash = template_hash(buf_str(&bundle)),
                                                      .bundle = engine_keep(engine, buf_str(&bundle))};
  engine->template_count++;
  folder->template_count++;
cleanup:
  buf_deinit(&bundle);
  return rc;
}

/** An error ends the loading, unless somebody takes it. */
static int tell(const struct engine *engine, int rc, struct error *err) {
  if (rc == 0 || !engine->options.taker) return rc;
  engine->options.taker(engine->options.taker_context, err);
  *err = (struct error){0};
  return 0;
}

/** Files are sorted by path, so a folder's are together. */
static int find_folders(struct engine *engine, struct error *err) {
  const struct ruleset *ruleset = engine->options.ruleset;
  struct engine_folder *folder = NULL;
  for (size_t i = 0; i < ruleset->count; i++) {
    const struct ruleset_file *file = &ruleset->files[i];
    struct str path = str_from(file->path), name;
    if (file->library || str_equal(folder_of(path), STR(SCHEMAS_FOLDER))) continue;
    if (!folder || !str_equal(folder->name, folder_of(path))) {
      engine->folders = memory_realloc(engine->folders, (engine->folder_count + 1) * sizeof *engine->folders);
      folder = &engine->folders[engine->folder_count++];
      *folder = (struct engine_folder){.name = folder_of(path),
                                       .version = ruleset_version(ruleset, folder_of(path)),
                                       .first_template = engine->template_count};
    }
    if (!template_name(file_of(path), &name)) continue;
    int rc = tell(engine, add_template(engine, folder, file, name, err), err);
    if (rc) return rc;
  }
  return 0;
}

/* ---- rules ---- */

static void check_unique(lua_State *lua, struct engine *engine, const struct engine_rule *rule) {
  for (size_t i = 0; i + 1 < engine->rule_count; i++)
    if (str_equal(engine->rules[i].campaign, rule->campaign))
      sandbox_raise_at(lua, rule->path, 0,
                       "a rule named `%.*s` is in rules/%.*s already; give this one another `name`",
                       STR_ARG(rule->campaign), STR_ARG(engine->rules[i].path));
}

/* Of what the library has made of what it checked. */
struct str *engine_keep_texts(lua_State *lua, struct engine *engine, size_t *count) {
  *count = lua_objlen(lua, -1);
  struct str *texts = memory_zalloc((*count + 1) * sizeof *texts);
  for (size_t i = 0; i < *count; i++) {
    struct str text;
    lua_rawgeti(lua, -1, (int)i + 1);
    text.data = lua_tolstring(lua, -1, &text.len);
    texts[i] = engine_keep(engine, text);
    lua_pop(lua, 1);
  }
  lua_pop(lua, 1);
  return texts;
}

int engine_keep_function(lua_State *lua, struct engine *engine) {
  if (lua_isnil(lua, -1)) {
    lua_pop(lua, 1);
    return 0;
  }
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.handlers);
  lua_insert(lua, -2);
  lua_rawseti(lua, -2, ++engine->handler_count);
  lua_pop(lua, 1);
  return engine->handler_count;
}

int engine_moment(const struct engine *engine, struct str text, int64_t *ms, struct error *err) {
  const struct zone *zone = NULL;
  int rc = zone_find(&zone, str_from(engine->options.config->time_zone), err);
  return rc ? rc : zone_parse_moment(text, zone, ms, err);
}

/** A text of the definition at the top, kept for good; "" if it has none. */
static struct str keep_field(lua_State *lua, struct engine *engine, const char *name) {
  struct str text;
  lua_getfield(lua, -1, name);
  text.data = lua_tolstring(lua, -1, &text.len);
  text = text.data ? engine_keep(engine, text) : STR("");
  lua_pop(lua, 1);
  return text;
}

/** For whom and when: fields of the definition at the top, each checked there. */
static void add_rollout(lua_State *lua, struct engine *engine, struct engine_rule *rule) {
  struct rollout *rollout = &rule->rollout;
  struct error err;
  *rollout = (struct rollout){.share = ROLLOUT_ALL, .starts = INT64_MIN, .ends = INT64_MAX};
  rollout->share_text = keep_field(lua, engine, "rollout");
  rollout->starts_text = keep_field(lua, engine, "starts");
  rollout->ends_text = keep_field(lua, engine, "ends");
  rollout->hours_text = keep_field(lua, engine, "hours");
  struct str mode = keep_field(lua, engine, "mode");
  if (str_equal(mode, STR("shadow")) && !engine->options.live) rollout->mode = ROLLOUT_SHADOW;
  if (str_equal(mode, STR("paused")) && !engine->options.live) rollout->mode = ROLLOUT_PAUSED;
  int rc = 0;
  if (rollout->share_text.len && !engine->options.live)
    rc = quantity_share(rollout->share_text, &rollout->share, &err);
  if (!rc && rollout->starts_text.len)
    rc = engine_moment(engine, rollout->starts_text, &rollout->starts, &err);
  if (!rc && rollout->ends_text.len) rc = engine_moment(engine, rollout->ends_text, &rollout->ends, &err);
  if (!rc && rollout->hours_text.len) rc = rollout_parse_hours(rollout->hours_text, &rollout->hours, &err);
  if (rc) sandbox_raise_at(lua, rule->path, 0, "%s", err.message);
  rollout->holdout_text = keep_field(lua, engine, "holdout");
  if (rollout->holdout_text.len && !engine->options.live)
    quantity_share(rollout->holdout_text, &rollout->holdout, NULL); // the library has checked it
  lua_getfield(lua, -1, "priority");
  rule->priority = (int)lua_tonumber(lua, -1);
  lua_pop(lua, 1);
  rule->competes = keep_field(lua, engine, "competes");
}

/** A campaign that holds users out is an experiment of one variant: itself. From its definition on top. */
static void add_holdout(lua_State *lua, struct engine *engine, const struct engine_rule *rule) {
  if (!rule->rollout.holdout) return;
  struct engine_experiment experiment = {.name = rule->campaign,
                                         .path = rule->path,
                                         .campaign = true,
                                         .holdout = rule->rollout.holdout,
                                         .on = keep_field(lua, engine, "goal_on"),
                                         .value = keep_field(lua, engine, "goal_value")};
  lua_getfield(lua, -1, "goal_within");
  experiment.within = (int64_t)lua_tonumber(lua, -1);
  lua_pop(lua, 1);
  lua_getfield(lua, -1, "goal_where");
  int where = engine_keep_function(lua, engine);
  struct engine_variant *variant = memory_zalloc(sizeof *variant);
  *variant = (struct engine_variant){STR("campaign"), 1};
  experiment.variants = variant;
  experiment.variant_count = 1;
  binding_keep_experiment(lua, &experiment, where);
}

/** The rule's look-ups, from its definition on top. */
static void add_needs(lua_State *lua, struct engine *engine, struct engine_rule *rule,
                      struct engine_code *code) {
  lua_getfield(lua, -1, "need_names");
  struct str *names = engine_keep_texts(lua, engine, &rule->need_count);
  struct engine_need *needs = memory_zalloc((rule->need_count + 1) * sizeof *needs);
  for (size_t i = 0; i < rule->need_count; i++) needs[i].name = names[i];
  memory_free(names);
  rule->needs = needs; // the engine's from here on, whatever is raised
  lua_getfield(lua, -1, "needs");
  binding_take_needs(lua, rule, needs);
  lua_pop(lua, 1);
  lua_getfield(lua, -1, "needs_if");
  code->needs_if = engine_keep_function(lua, engine);
  rule->needs_if = code->needs_if != 0;
}

/** Whom its events are for, and how fast they are reached, from its definition on top. */
static void add_fan_out(lua_State *lua, struct engine *engine, struct engine_rule *rule,
                        struct engine_code *code) {
  struct error err;
  lua_getfield(lua, -1, "for_each");
  code->for_each = engine_keep_function(lua, engine);
  rule->for_each = code->for_each != 0;
  struct str pace = keep_field(lua, engine, "pace");
  if (pace.len && quantity_rate(pace, &rule->pace, &err))
    sandbox_raise_at(lua, rule->path, 0, "%s", err.message);
  lua_getfield(lua, -1, "expires_in");
  rule->expires_in = (int64_t)lua_tonumber(lua, -1);
  lua_pop(lua, 1);
}

/** Take in the rule object on top; what the library has checked (lua/kairos/rule.lua) is not checked again.
 * Pops it. */
static void add_rule(lua_State *lua, struct engine *engine, const struct ruleset_file *file) {
  size_t index = engine->rule_count++;
  engine->rules = memory_realloc(engine->rules, engine->rule_count * sizeof *engine->rules);
  engine->codes = memory_realloc(engine->codes, engine->rule_count * sizeof *engine->codes);
  struct engine_rule *rule = &engine->rules[index];
  struct engine_code *code = &engine->codes[index];
  *rule = (struct engine_rule){.campaign = engine->folders[engine->loading_folder].name,
                               .path = str_from(file->path),
                               .version = engine->folders[engine->loading_folder].version};
  *code = (struct engine_code){.folder = engine->loading_folder};
  lua_getfenv(lua, -1);
  lua_getfield(lua, -1, "name");
  struct str name;
  name.data = lua_tolstring(lua, -1, &name.len);
  if (name.data) rule->campaign = engine_keep(engine, name);
  lua_pop(lua, 1);
  check_unique(lua, engine, rule);
  add_rollout(lua, engine, rule);
  add_holdout(lua, engine, rule);
  lua_getfield(lua, -1, "on");
  rule->on = engine_keep_texts(lua, engine, &rule->on_count);
  lua_getfield(lua, -1, "when");
  code->when = engine_keep_function(lua, engine);
  lua_getfield(lua, -1, "act");
  code->act = engine_keep_function(lua, engine);
  lua_getfield(lua, -1, "timer_names");
  rule->timers = engine_keep_texts(lua, engine, &rule->timer_count);
  code->timers = engine->handler_count + 1;
  lua_getfield(lua, -1, "timers");
  for (size_t i = 0; i < rule->timer_count; i++) {
    lua_pushlstring(lua, rule->timers[i].data, rule->timers[i].len);
    lua_rawget(lua, -2);
    engine_keep_function(lua, engine);
  }
  lua_pop(lua, 1);
  add_needs(lua, engine, rule, code);
  engine_take_journey(lua, rule, code);
  add_fan_out(lua, engine, rule, code);
  lua_pop(lua, 2);
}

static bool is_rule(lua_State *lua) {
  const struct object *object = lua_touserdata(lua, -1);
  return object && object->type == object_rule;
}

/** What the file returned is on top. Pops it. */
static void add_rules(lua_State *lua, struct engine *engine, const struct ruleset_file *file) {
  struct str path = str_from(file->path);
  if (is_rule(lua)) {
    add_rule(lua, engine, file);
    return;
  }
  if (engine_is_segment(lua)) {
    engine_add_segment(lua, engine, file);
    return;
  }
  size_t count = lua_istable(lua, -1) ? lua_objlen(lua, -1) : 0;
  if (!count)
    sandbox_raise_at(lua, path, 0, "the file must end with: return kairos.rule { … } (or a list of rules)");
  for (size_t i = 1; i <= count; i++) {
    lua_rawgeti(lua, -1, (int)i);
    if (engine_is_segment(lua)) {
      engine_add_segment(lua, engine, file);
      continue;
    }
    if (!is_rule(lua))
      sandbox_raise_at(lua, path, 0,
                       "element %zu of the list it returns is not a rule; write kairos.rule { … }", i);
    if (count > 1) {
      lua_getfenv(lua, -1);
      lua_getfield(lua, -1, "name");
      if (lua_isnil(lua, -1))
        sandbox_raise_at(lua, path, 0, "in a list of rules each needs a `name`; rule %zu has none", i);
      lua_pop(lua, 2);
    }
    add_rule(lua, engine, file);
  }
  lua_pop(lua, 1);
}

/** The segments among what the file returned, which is on top. Pops it. */
static void add_quiet(lua_State *lua, struct engine *engine, const struct ruleset_file *file) {
  bool list = lua_istable(lua, -1);
  size_t count = list ? lua_objlen(lua, -1) : 1;
  for (size_t i = 1; i <= count; i++) {
    if (list)
      lua_rawgeti(lua, -1, (int)i);
    else
      lua_pushvalue(lua, -1);
    size_t before = engine->segment_count;
    if (engine_is_segment(lua) && !engine_has_segment(lua, engine))
      engine_add_segment(lua, engine, file);
    else
      lua_pop(lua, 1);
    if (engine->segment_count > before) engine->segments[before].quiet = true;
  }
  lua_pop(lua, 1);
}

/** What a campaign keeps is there for good, and all share the room: none may take it from the others. A full
 * collection, which alone tells what is kept, costs as much as everything loaded so far: it is made only once
 * more has been taken since the last than a campaign may keep. What campaigns before this one left behind is
 * at most SLACK then, and counts for it. */
enum { SHARE = 4, SLACK = 64 };

/** Before a campaign is loaded. */
static void settle_kept(lua_State *lua, struct engine *engine) {
  const struct sandbox *sandbox = &engine->sandbox;
  if (sandbox->used > engine->collected && sandbox->used - engine->collected <= sandbox->limit / SLACK)
    return;
  lua_gc(lua, LUA_GCCOLLECT, 0);
  engine->collected = sandbox->used;
}

static void check_kept(lua_State *lua, struct engine *engine, struct str path, size_t before) {
  const struct sandbox *sandbox = &engine->sandbox;
  size_t share = sandbox->limit / SHARE;
  // What the collector frees on its way may be others': by what was there after the last full collection.
  if (sandbox->used <= engine->collected + share) return;
  lua_gc(lua, LUA_GCCOLLECT, 0);
  engine->collected = sandbox->used;
  if (sandbox->used > before + share)
    // How much exactly differs from run to run: some of what was there before may have been garbage.
    sandbox_raise_at(lua, path, 0,
                     "what it makes while it is loaded takes more than a quarter of rules.memory, %zu KB",
                     share >> 10);
}

static int load_campaign(lua_State *lua, void *context) {
  struct engine *engine = context;
  const struct engine_folder *folder = &engine->folders[engine->loading_folder];
  char path[300];
  snprintf(path, sizeof path, "%.*s/rule.lua", STR_ARG(folder->name));
  const struct ruleset_file *file = ruleset_find(engine->options.ruleset, str_from(path));
  if (!file)
    sandbox_raise_at(lua, str_from(path), 0,
                     "this file is missing: a campaign's folder holds rule.lua and its templates");
  engine->sandbox.file = str_from(file->path);
  engine->sandbox.dice = (struct sandbox_dice){.state = hash64(folder->name, 0)};
  engine->folder_windows = engine->window_count;
  engine->folder_interests = engine->interest_count;
  modules_begin(lua);
  settle_kept(lua, engine);
  size_t before = engine->sandbox.used;
  modules_load(lua, file);
  if (engine->loading_quiet)
    add_quiet(lua, engine, file);
  else
    add_rules(lua, engine, file);
  modules_push_kept(lua);
  sandbox_freeze(lua);
  check_kept(lua, engine, str_from(file->path), before);
  return 0;
}

static int new_reference(lua_State *lua) {
  return luaL_ref(lua, LUA_REGISTRYINDEX);
}

static int open_state(lua_State *lua, void *context) {
  struct engine *engine = context;
  bindings_open(lua);
  modules_open(lua);
  lua_newtable(lua);
  engine->refs.handlers = new_reference(lua);
  convert_open(lua);
  event_table_open(lua);
  binding_user_push(lua);
  engine->user = lua_topointer(lua, -1);
  engine->refs.user = new_reference(lua);
  binding_journey_push(lua);
  engine->journey = lua_topointer(lua, -1);
  engine->refs.journey = new_reference(lua);
  lua_newtable(lua); // a place for the event that began a journey
  engine->refs.journey_event = new_reference(lua);
  lua_newtable(lua); // and one for what reads the phrases of its waits
  engine->refs.upcoming = new_reference(lua);
  binding_kairos_push(lua);
  modules_set_library(lua, "kairos.core");
  modules_push_library(lua, STR("kairos"));
  return 0;
}

/** Garbage is collected late, since calls leave little that lives, but before the limit: the live heap does
 * not change any more. */
static int settle(lua_State *lua, void *context) {
  struct sandbox *sandbox = context;
  lua_gc(lua, LUA_GCCOLLECT, 0);
  uint64_t pause = sandbox->limit / 2 * 100 / (sandbox->used + 1);
  lua_gc(lua, LUA_GCSETPAUSE, pause > 400 ? 400 : pause < 110 ? 110 : (int)pause);
  lua_gc(lua, LUA_GCCOLLECT, 0); // the pause counts from here
  sandbox_settle(sandbox);
  return 0;
}

/** Its rules name them, though nobody runs these. */
static int add_templates(struct engine *engine, struct engine_folder *folder, struct error *err) {
  const struct ruleset *ruleset = engine->options.ruleset;
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < ruleset->count; i++) {
    const struct ruleset_file *file = &ruleset->files[i];
    struct str path = str_from(file->path), name;
    if (!file->library && str_equal(folder_of(path), folder->name) && template_name(file_of(path), &name))
      rc = tell(engine, add_template(engine, folder, file, name, err), err);
  }
  return rc;
}

/** Folders of other sources, behind those that serve. */
static int load_quiet(struct engine *engine, int64_t limit, struct error *err) {
  const struct ruleset *serving = engine->options.ruleset;
  struct reader folders = reader_of(engine->options.quiet_folders);
  int rc = 0;
  engine->options.ruleset = engine->sandbox.sources = engine->options.quiet;
  engine->loading_quiet = true;
  while (rc == 0 && reader_left(&folders) && !folders.bad) {
    struct str name = reader_str(&folders);
    engine->folders = memory_realloc(engine->folders, (engine->folder_count + 1) * sizeof *engine->folders);
    engine->loading_folder = engine->folder_count++;
    engine->folders[engine->loading_folder] =
        (struct engine_folder){.name = name,
                               .version = ruleset_version(engine->options.quiet, name),
                               .first_template = engine->template_count};
    rc = add_templates(engine, &engine->folders[engine->loading_folder], err);
    if (rc == 0) rc = tell(engine, sandbox_run(&engine->sandbox, load_campaign, engine, limit, err), err);
  }
  engine->loading_quiet = false;
  engine->options.ruleset = engine->sandbox.sources = serving;
  return rc;
}

int engine_load(struct engine *engine, struct error *err) {
  struct sandbox *sandbox = &engine->sandbox;
  int64_t limit = engine->options.config->rules.budget * LOAD_BUDGETS;
  if (limit < LOAD_BUDGET_MIN_MS) limit = LOAD_BUDGET_MIN_MS;
  int rc = find_folders(engine, err);
  if (rc == 0) rc = sandbox_run(sandbox, open_state, engine, limit, err);
  for (size_t i = 0; rc == 0 && i < engine->folder_count; i++) {
    if (str_equal(engine->folders[i].name, STR(SHARED_FOLDER))) continue;
    engine->loading_folder = i;
    rc = tell(engine, sandbox_run(sandbox, load_campaign, engine, limit, err), err);
  }
  if (rc == 0 && engine->options.quiet) rc = load_quiet(engine, limit, err);
  if (rc == 0) rc = sandbox_run(sandbox, settle, sandbox, limit, err);
  sandbox->loading = false;
  return rc;
}
