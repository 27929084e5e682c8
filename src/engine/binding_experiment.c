/* Experiments: declared while loading, their variants asked through the user, their goals by the host. */
#include "base/memory.h"
#include "base/suggest.h"
#include "engine/convert.h"
#include "engine/experiment.h"
#include "engine/internal.h"
#include "gate/holdout.h"
#include "state/exposure.h"

#include <stdio.h>

const char object_experiment[] = "experiment";

enum { EXPERIMENTS_MAX = 50 /**< of one campaign */ };

/* ---- declaring ---- */

static bool same_variants(const struct engine_experiment *a, const struct engine_experiment *b) {
  if (a->variant_count != b->variant_count) return false;
  for (size_t i = 0; i < a->variant_count; i++)
    if (!str_equal(a->variants[i].name, b->variants[i].name) ||
        a->variants[i].weight != b->variants[i].weight)
      return false;
  return true;
}

/** Whether a shared file was loaded for one more campaign. */
static bool same(const struct engine_experiment *a, const struct engine_experiment *b) {
  return str_equal(a->path, b->path) && str_equal(a->on, b->on) && str_equal(a->value, b->value) &&
         a->within == b->within && a->holdout == b->holdout && a->thompson == b->thompson &&
         a->every == b->every && a->control == b->control && same_variants(a, b);
}

static void note_in_folder(struct engine *engine, uint32_t index) {
  struct engine_folder *folder = &engine->folders[engine->loading_folder];
  for (size_t i = 0; i < folder->experiment_count; i++)
    if (folder->experiments[i] == index) return;
  folder->experiments =
      memory_realloc(folder->experiments, (folder->experiment_count + 1) * sizeof *folder->experiments);
  folder->experiments[folder->experiment_count++] = index;
}

uint32_t binding_keep_experiment(lua_State *lua, const struct engine_experiment *experiment, int where) {
  struct engine *engine = engine_of(lua);
  for (size_t i = 0; i < engine->experiment_count; i++) {
    if (!str_equal(engine->experiments[i].name, experiment->name)) continue;
    if (engine->loading_quiet || same(&engine->experiments[i], experiment)) {
      memory_free((void *)experiment->variants);
      note_in_folder(engine, (uint32_t)i);
      return (uint32_t)i;
    }
    struct str other = engine->experiments[i].path, name = engine->experiments[i].name;
    memory_free((void *)experiment->variants);
    if (experiment->campaign)
      sandbox_raise_at(
          lua, experiment->path, 0,
          "an experiment in rules/%.*s is named `%.*s`, as this campaign, which counts its holdout under "
          "that name; give one of them another",
          STR_ARG(other), STR_ARG(name));
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "kairos.experiment: an experiment named `%.*s` is in rules/%.*s already; give this one another name",
        STR_ARG(name), STR_ARG(other));
  }
  if (engine->folders[engine->loading_folder].experiment_count >= EXPERIMENTS_MAX) {
    memory_free((void *)experiment->variants);
    sandbox_raise(lua, ERROR_SCRIPT, "kairos.experiment: the campaign has %d experiments already",
                  EXPERIMENTS_MAX);
  }
  size_t index = engine->experiment_count++;
  engine->experiments =
      memory_realloc(engine->experiments, engine->experiment_count * sizeof *engine->experiments);
  engine->experiment_codes =
      memory_realloc(engine->experiment_codes, engine->experiment_count * sizeof *engine->experiment_codes);
  engine->experiments[index] = *experiment;
  engine->experiment_codes[index] = (struct experiment_code){engine->loading_folder, where};
  note_in_folder(engine, (uint32_t)index);
  return (uint32_t)index;
}

static struct str text_field(lua_State *lua, const char *name) {
  struct str text = {"", 0};
  lua_getfield(lua, 1, name);
  if (lua_type(lua, -1) == LUA_TSTRING) text.data = lua_tolstring(lua, -1, &text.len);
  text = engine_keep(engine_of(lua), text);
  lua_pop(lua, 1);
  return text;
}

static double number_field(lua_State *lua, const char *name) {
  lua_getfield(lua, 1, name);
  double number = lua_tonumber(lua, -1);
  lua_pop(lua, 1);
  return number;
}

static struct engine_variant *read_variants(lua_State *lua, size_t *count) {
  struct engine *engine = engine_of(lua);
  lua_getfield(lua, 1, "variants");
  lua_getfield(lua, 1, "weights");
  *count = lua_objlen(lua, -2);
  struct engine_variant *variants = memory_zalloc((*count + 1) * sizeof *variants);
  for (size_t i = 0; i < *count; i++) {
    struct str name;
    lua_rawgeti(lua, -2, (int)i + 1);
    lua_rawgeti(lua, -2, (int)i + 1);
    name.data = lua_tolstring(lua, -2, &name.len);
    variants[i] = (struct engine_variant){engine_keep(engine, name), lua_tonumber(lua, -1)};
    lua_pop(lua, 2);
  }
  lua_pop(lua, 2);
  return variants;
}

/** experiment{ name, variants, weights, control, holdout, thompson, every, on, where, within, value }:
 * checked by lua/kairos/experiment.lua. */
int binding_declare_experiment(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  luaL_checktype(lua, 1, LUA_TTABLE);
  if (!engine->sandbox.loading)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "kairos.experiment belongs at the top of the file, outside of functions");
  struct engine_experiment experiment = {.name = text_field(lua, "name"),
                                         .path = engine_keep(engine, sandbox_running_file(lua)),
                                         .on = text_field(lua, "on"),
                                         .value = text_field(lua, "value"),
                                         .within = (int64_t)number_field(lua, "within"),
                                         .every = (int64_t)number_field(lua, "every"),
                                         .control = (uint32_t)number_field(lua, "control") - 1};
  lua_getfield(lua, 1, "thompson");
  experiment.thompson = lua_toboolean(lua, -1);
  struct str holdout = text_field(lua, "holdout");
  if (holdout.len && !engine->options.live) quantity_share(holdout, &experiment.holdout, NULL);
  lua_getfield(lua, 1, "where");
  int where = engine_keep_function(lua, engine);
  struct experiment_object *object = lua_newuserdata(lua, sizeof *object);
  *object = (struct experiment_object){.object.type = object_experiment};
  lua_pushvalue(lua, 1);
  lua_setfenv(lua, -2); // what `where` holds is found there, and becomes read-only
  experiment.variants = read_variants(lua, &experiment.variant_count);
  object->index = binding_keep_experiment(lua, &experiment, where);
  return 1;
}

/* ---- asking ---- */

static bool declares(const struct engine_experiment *experiment, struct str variant) {
  for (size_t i = 0; i < experiment->variant_count; i++)
    if (str_equal(experiment->variants[i].name, variant)) return true;
  return false;
}

/** What a rule is told, and so what its facts say: of who had a variant that is declared no more, the
 * control's; his goal counts where he was all the same. Who is held out is told a variant by the declared
 * weights: none is kept with him, and a replay could not know those of the moment. */
static struct str shown(const struct engine_call *call, const struct engine_experiment *experiment,
                        const struct exposure *exposure) {
  if (!exposure_held(exposure))
    return declares(experiment, exposure->variant) ? exposure->variant
                                                   : experiment->variants[experiment->control].name;
  struct exposure would;
  struct buf chances;
  buf_init(&chances);
  experiment_choose(experiment, call->entity, STR(""), 0, &would, &chances);
  buf_deinit(&chances);
  return would.variant;
}

/** An exposure that the log has with this input: a replay goes by what was chosen then. */
static bool known(const struct engine_call *call, struct str experiment, struct exposure *out) {
  struct reader reader = reader_of(call->known);
  struct effect effect;
  while (reader_left(&reader) && effect_decode(&effect, &reader, NULL) == 0) {
    if (effect.type != EFFECT_EXPOSURE || !str_equal(effect.exposure.experiment, experiment)) continue;
    *out = effect.exposure;
    return true;
  }
  return false;
}

void engine_expose(const struct engine *engine, const struct engine_call *call,
                   const struct engine_experiment *experiment, struct exposure *out, struct buf *chances) {
  if (known(call, experiment->name, out)) return;
  const struct config *config = engine->options.config;
  int64_t host = (int64_t)holdout_share(config, call->wall) * (EXPERIMENT_ALL / QUANTITY_ALL);
  experiment_choose(experiment, call->entity, call->weights, host, out, chances);
  struct str forced;
  if (value_member(call->forced, experiment->name, &forced) && value_head(forced).type == VALUE_STRING) {
    out->variant = value_head(forced).string;
    out->chances = STR("");
  } else if (holdout_holds(config, call->entity, call->wall)) {
    out->variant = STR(EXPOSURE_HOST_HOLDOUT);
  } else if (experiment->holdout && holdout_bucket(experiment->name, call->entity) < experiment->holdout) {
    out->variant = STR(EXPOSURE_HELD_OUT);
  }
  out->at = call->now;
}

static void expose(lua_State *lua, const struct exposure *exposure) {
  struct error err = {0};
  int rc = exposure_add(engine_of(lua)->call->draft, exposure, &err);
  if (rc) sandbox_raise(lua, rc, "%s", err.message);
}

/** variant(experiment) -> its name; he has it from now on. */
static int user_variant(lua_State *lua) {
  static const char method[] = "user:variant";
  struct engine *engine = engine_of(lua);
  const struct engine_call *call = binding_call(lua, method);
  binding_refuse_in_member(lua, method);
  const struct experiment_object *object = lua_touserdata(lua, 2);
  if (!object || object->object.type != object_experiment)
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "user:variant takes an experiment: declare local subject_line = kairos.experiment { … } at the top, "
        "then write user:variant(subject_line)");
  if (engine->phase == ENGINE_WHEN)
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "whoever asks for a variant has been exposed to it, and counts; `when` is before that, and what it "
        "let pass by the variant could not be compared: write user:variant(…) in `act`");
  if (call->entity.kind != ENTITY_USER)
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "user:variant: this event is about a subject, not a user, so there is nobody to be counted");
  const struct engine_experiment *experiment = &engine->experiments[object->index];
  struct exposure exposure;
  char label[JOURNEY_LABEL_MAX];
  int len = snprintf(label, sizeof label, "variant [%.*s]", STR_ARG(experiment->name));
  if (history_answers(lua, JOURNEY_READ, (struct str){label, (size_t)len}, hash64(experiment->name, 0)))
    return 1;
  buf_clear(&engine->data);
  if (!record_exposure(call->draft->record, experiment->name, &exposure)) {
    engine_expose(engine, call, experiment, &exposure, &engine->data);
    // A shadow shows nobody anything: it only looks.
    if (engine->rules[engine->rule].rollout.mode != ROLLOUT_SHADOW) expose(lua, &exposure);
    record_exposure(call->draft->record, experiment->name, &exposure);
  }
  struct str variant = shown(call, experiment, &exposure);
  if (facts_begin(&engine->facts, hash64(experiment->name, hash64(STR("variant"), 0)), STR("variant"),
                  experiment->name)) {
    buf_clear(&engine->text);
    buf_printf(&engine->text, "%.*s", STR_ARG(variant));
    if (exposure_held(&exposure))
      buf_printf(&engine->text, " (held out)");
    else if (!str_equal(variant, exposure.variant))
      buf_printf(&engine->text, " (in place of %.*s, which is declared no more)", STR_ARG(exposure.variant));
    value_put_string(&engine->facts.body, buf_str(&engine->text));
  }
  lua_pushlstring(lua, variant.data, variant.len);
  return history_note(lua);
}
const luaL_Reg binding_experiment[] = {{"variant", user_variant}, {NULL, NULL}};

/* ---- goals ---- */

struct goal_question {
  struct engine *engine;
  uint32_t experiment;
  const struct exposure *exposure;
  bool reached;
};

static void put_text(lua_State *lua, const char *name, struct str text) {
  lua_pushlstring(lua, text.data, text.len);
  lua_setfield(lua, -2, name);
}

static int ask_goal(lua_State *lua, void *context) {
  struct goal_question *question = context;
  struct engine *engine = question->engine;
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.handlers);
  lua_rawgeti(lua, -1, engine->experiment_codes[question->experiment].where);
  event_table_push(lua);
  lua_createtable(lua, 0, 3);
  sandbox_lend(&engine->sandbox, lua, LOAN_CALL);
  sandbox_hold(lua);
  put_text(lua, "experiment", question->exposure->experiment);
  put_text(lua, "variant", question->exposure->variant);
  lua_pushnumber(lua, (lua_Number)question->exposure->at);
  lua_setfield(lua, -2, "at");
  lua_call(lua, 2, 1);
  question->reached = lua_toboolean(lua, -1);
  return 0;
}

/** Whose rule the declaration stands beside: what runs is told by it. */
static uint32_t rule_beside(const struct engine *engine, uint32_t experiment) {
  for (size_t i = 0; i < engine->rule_count; i++)
    if (engine->codes[i].folder == engine->experiment_codes[experiment].folder) return (uint32_t)i;
  return 0;
}

int engine_goal(struct engine *engine, uint32_t index, struct engine_call *call,
                const struct exposure *exposure, bool *reached, struct error *err) {
  struct goal_question question = {.engine = engine, .experiment = index, .exposure = exposure};
  *reached = true;
  if (!engine->experiment_codes[index].where) return 0;
  engine->call = call;
  engine->rule = rule_beside(engine, index);
  engine->phase = ENGINE_WHEN;
  engine->sandbox.dice =
      (struct sandbox_dice){.state = hash64(call->cause, hash64(engine->experiments[index].name, 0))};
  engine->sandbox.file = engine->experiments[index].path;
  facts_clear(&engine->facts);
  int rc = sandbox_run(&engine->sandbox, ask_goal, &question, engine->options.config->rules.budget, err);
  engine->call = NULL;
  *reached = question.reached;
  return rc;
}
