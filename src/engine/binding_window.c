/* Windows and throttles: declared while loading, asked through the user. */
#include "base/memory.h"
#include "engine/convert.h"
#include "engine/internal.h"
#include "state/throttle.h"

#include <math.h>
#include <stdio.h>

const char object_window[] = "window", object_throttle[] = "throttle";

static const struct {
  const char *name, *read;
} kinds[] = {[WINDOW_COUNT] = {"count", "user:count"},
             [WINDOW_SUM] = {"sum", "user:sum"},
             [WINDOW_LAST] = {"last", "user:last"},
             [WINDOW_FIRST] = {"first", "user:first"},
             [WINDOW_DISTINCT] = {"distinct", "user:distinct"}};
enum {
  KINDS = sizeof kinds / sizeof *kinds,
  WINDOWS_MAX = 100 /**< new ones of one campaign */
};

static struct str field(lua_State *lua, const char *name) {
  struct str text = {"", 0};
  lua_getfield(lua, 1, name);
  if (lua_isstring(lua, -1)) text.data = lua_tolstring(lua, -1, &text.len);
  return text; // stays on the stack, and in the table
}

static void check_loading(lua_State *lua, const char *what) {
  if (!sandbox_of(lua)->loading)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s belongs at the top of the file, outside of functions: the host must know it before an "
                  "event comes",
                  what);
}

static uint32_t note_window(struct engine *engine, uint32_t window) {
  struct engine_folder *folder = &engine->folders[engine->loading_folder];
  for (size_t i = 0; i < folder->window_count; i++)
    if (folder->windows[i] == window) return window;
  folder->windows = memory_realloc(folder->windows, (folder->window_count + 1) * sizeof *folder->windows);
  folder->windows[folder->window_count++] = window;
  return window;
}

static uint32_t keep_window(lua_State *lua, const struct window_declaration *declaration, struct str over) {
  struct engine *engine = engine_of(lua);
  for (size_t i = 0; i < engine->window_count; i++)
    if (engine->windows[i].id == declaration->id) return note_window(engine, (uint32_t)i);
  if (engine->window_count - engine->folder_windows >= WINDOWS_MAX)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "kairos.window: the campaign has %d windows already; every user's record holds all of them",
                  WINDOWS_MAX);
  size_t index = engine->window_count++;
  engine->windows = memory_realloc(engine->windows, engine->window_count * sizeof *engine->windows);
  engine->window_labels =
      memory_realloc(engine->window_labels, engine->window_count * sizeof *engine->window_labels);
  struct window_declaration *window = &engine->windows[index];
  *window = *declaration;
  window->of = engine_keep(engine, declaration->of);
  window->by = engine_keep(engine, declaration->by);
  window->value = engine_keep(engine, declaration->value);
  buf_clear(&engine->text);
  buf_printf(&engine->text, "%s %.*s%s%.*s %.*s", kinds[window->kind].name, STR_ARG(window->of),
             window->value.len ? " " : "", STR_ARG(window->value), STR_ARG(over));
  engine->window_labels[index] = engine_keep(engine, buf_str(&engine->text));
  return note_window(engine, (uint32_t)index);
}

uint32_t binding_since(const struct engine *engine, uint64_t form) {
  for (size_t i = 0; i < engine->options.known_count; i++)
    if (engine->options.known[i].form == form) return engine->options.known[i].since;
  return engine->options.since;
}

/** window{ kind, of, by, value, over (ms), label }: checked by lua/kairos/window.lua; paths are within the
 * payload. */
int binding_declare_window(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  check_loading(lua, "kairos.window");
  struct window_declaration declaration = {
      .kind = 0, .of = field(lua, "of"), .by = field(lua, "by"), .value = field(lua, "value")};
  struct str kind = field(lua, "kind"), label = field(lua, "label");
  for (int i = WINDOW_COUNT; i < KINDS; i++)
    if (str_equal(kind, str_from(kinds[i].name))) declaration.kind = (enum window_kind)i;
  lua_getfield(lua, 1, "over");
  declaration.over = (int64_t)lua_tonumber(lua, -1);
  window_identify(&declaration);
  window_begin(&declaration, binding_since(engine_of(lua), declaration.form));
  struct window_object *window = lua_newuserdata(lua, sizeof *window);
  *window =
      (struct window_object){.object.type = object_window, .index = keep_window(lua, &declaration, label)};
  return 1;
}

/** throttle(name, rate, burst): scoped by the folder of the file that declares it, so that campaigns share
 * one through rules/shared. */
int binding_declare_throttle(lua_State *lua) {
  check_loading(lua, "kairos.throttle");
  struct engine *engine = engine_of(lua);
  struct str name, rate_text, file = sandbox_running_file(lua);
  name.data = luaL_checklstring(lua, 1, &name.len);
  rate_text.data = luaL_checklstring(lua, 2, &rate_text.len);
  struct rate rate;
  struct error err;
  if (quantity_rate(rate_text, &rate, &err))
    sandbox_raise(lua, ERROR_SCRIPT, "kairos.throttle: %s", err.message);
  const char *slash = memchr(file.data, '/', file.len);
  buf_clear(&engine->text);
  buf_printf(&engine->text, "throttle %.*s/%.*s", slash ? (int)(slash - file.data) : 0, file.data,
             STR_ARG(name));
  struct throttle_object *throttle = lua_newuserdata(lua, sizeof *throttle);
  *throttle = (struct throttle_object){.object.type = object_throttle,
                                       .key = hash64(buf_str(&engine->text), 0),
                                       .rate = rate,
                                       .burst = luaL_optnumber(lua, 3, 0),
                                       .label = engine_keep(engine, buf_str(&engine->text))};
  return 1;
}

/* ---- asking ---- */

static const struct window_object *window_argument(lua_State *lua, enum window_kind kind) {
  const struct window_object *window = lua_touserdata(lua, 2);
  if (!window || window->object.type != object_window)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "%s takes a window: declare local views = kairos.window { of = …, over = … } at the top, "
                  "then write %s(views)",
                  kinds[kind].read, kinds[kind].read);
  const struct window_declaration *declaration = &engine_of(lua)->windows[window->index];
  if (declaration->kind != kind)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "this window of %.*s answers %s; a window for %s has %s in its declaration",
                  STR_ARG(declaration->of), kinds[declaration->kind].read, kinds[kind].read,
                  kind == WINDOW_COUNT ? "neither sum, last, first nor distinct" : kinds[kind].name);
  return window;
}

static uint64_t key_argument(lua_State *lua, const struct window_declaration *window, struct str *text) {
  const char *read = kinds[window->kind].read;
  *text = (struct str){"", 0};
  if (!window->by.len) {
    if (!lua_isnone(lua, 3))
      sandbox_raise(lua, ERROR_SCRIPT,
                    "this window of %.*s has no key; write %s(window), or give it by = \"payload.…\"",
                    STR_ARG(window->of), read);
    return 0;
  }
  if (lua_isnone(lua, 3))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "this window of %.*s is kept by payload.%.*s; write which: %s(window, event.payload.%.*s)",
                  STR_ARG(window->of), STR_ARG(window->by), read, STR_ARG(window->by));
  if (lua_isnil(lua, 3))
    sandbox_raise(lua, ERROR_SCRIPT, "the key given to %s is nil: the event has no such field", read);
  *text = binding_key(lua, 3, read);
  return window_key(*text);
}

static void push_answer(lua_State *lua, enum window_kind kind, const struct window_answer *answer) {
  if (kind != WINDOW_LAST && kind != WINDOW_FIRST) {
    lua_pushnumber(lua, answer->number);
    return;
  }
  if (!answer->value.len) {
    lua_pushnil(lua);
    return;
  }
  convert_push_lent(lua, answer->value);
}

static void note_answer(struct engine *engine, uint32_t index, struct str key_text, uint64_t key,
                        const struct window_answer *answer) {
  const struct window_declaration *window = &engine->windows[index];
  struct str label = engine->window_labels[index];
  if (!answer->exact) {
    buf_clear(&engine->data);
    buf_append(&engine->data, "about ", 6); // of each event, once a window has turned to buckets: no printf
    buf_append(&engine->data, label.data, label.len);
    label = buf_str(&engine->data);
  }
  if (!facts_begin(&engine->facts, window->id ^ key, label, key_text)) return;
  if (window->kind != WINDOW_LAST && window->kind != WINDOW_FIRST)
    value_put_number(&engine->facts.body, answer->number);
  else if (answer->value.len)
    buf_append(&engine->facts.body, answer->value.data, answer->value.len);
  else
    value_put_nil(&engine->facts.body);
}

static int ask(lua_State *lua, enum window_kind kind) {
  struct engine *engine = engine_of(lua);
  const struct engine_call *call = binding_call(lua, kinds[kind].read);
  uint32_t index = window_argument(lua, kind)->index;
  const struct window_declaration *window = &engine->windows[index];
  struct str key_text;
  uint64_t key = key_argument(lua, window, &key_text);
  char label[JOURNEY_LABEL_MAX];
  if (engine->replay.on) {
    struct str of = engine->window_labels[index];
    int len = snprintf(label, sizeof label, "%.*s%s%.*s%s", (int)(of.len < 60 ? of.len : 60), of.data,
                       key_text.len ? " [" : "", (int)(key_text.len < 30 ? key_text.len : 30), key_text.data,
                       key_text.len ? "]" : "");
    if (history_answers(lua, JOURNEY_READ, (struct str){label, (size_t)len},
                        hash64((struct str){(const char *)&key, sizeof key}, window->id)))
      return 1;
  }
  struct window_answer answer = record_window(call->draft->record, window, key, call->now);
  note_answer(engine, index, key_text, key, &answer);
  binding_note_change(engine, answer.next_change);
  push_answer(lua, kind, &answer);
  return history_note(lua);
}

static int user_count(lua_State *lua) {
  return ask(lua, WINDOW_COUNT);
}
static int user_sum(lua_State *lua) {
  return ask(lua, WINDOW_SUM);
}
static int user_last(lua_State *lua) {
  return ask(lua, WINDOW_LAST);
}
static int user_first(lua_State *lua) {
  return ask(lua, WINDOW_FIRST);
}
static int user_distinct(lua_State *lua) {
  return ask(lua, WINDOW_DISTINCT);
}

/** allow(throttle[, key]) -> whether one more is admitted; if so, it has been used up. */
static int user_allow(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  const struct engine_call *call = binding_call(lua, "user:allow");
  binding_refuse_in_member(lua, "user:allow");
  const struct throttle_object *throttle = lua_touserdata(lua, 2);
  if (!throttle || throttle->object.type != object_throttle)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "user:allow takes a throttle: declare local offers = kairos.throttle { name = \"offers\", "
                  "rate = \"1/7d\" } "
                  "at the top, then write user:allow(offers)");
  if (lua_gettop(lua) > 2 && lua_isnil(lua, 3))
    sandbox_raise(lua, ERROR_SCRIPT, "the key given to user:allow is nil: the event has no such field");
  struct str key_text = lua_isnone(lua, 3) ? STR("") : binding_key(lua, 3, "user:allow");
  uint64_t key = engine_own_key(engine, key_text.len ? hash64(key_text, throttle->key) : throttle->key);
  int64_t next;
  char label[JOURNEY_LABEL_MAX];
  int len = snprintf(label, sizeof label, "allow %.*s",
                     (int)(throttle->label.len < 80 ? throttle->label.len : 80), throttle->label.data);
  if (history_answers(lua, JOURNEY_READ, (struct str){label, (size_t)len}, key)) return 1;
  bool admitted = throttle_admit(record_throttle(call->draft->record, key), throttle->rate, throttle->burst,
                                 call->now * 1000, &next);
  if (facts_begin(&engine->facts, key, throttle->label, key_text))
    value_put_bool(&engine->facts.body, admitted);
  if (admitted) binding_effect(lua, &(struct effect){.type = EFFECT_THROTTLE, .throttle = {key, next}});
  lua_pushboolean(lua, admitted);
  return history_note(lua);
}

const luaL_Reg binding_window[] = {{"count", user_count}, {"sum", user_sum},           {"last", user_last},
                                   {"first", user_first}, {"distinct", user_distinct}, {"allow", user_allow},
                                   {NULL, NULL}};
