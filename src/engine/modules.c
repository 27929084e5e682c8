/* Files, their environments, and `require`: a campaign sees `kairos`, the modules of its own folder and those
 * of rules/shared. */
#include "base/memory.h"
#include "base/suggest.h"
#include "engine/bindings.h"
#include "engine/internal.h"

#include <ctype.h>

#define SHARED_FOLDER "shared"

/** Addresses that are keys in Lua's registry. */
static const char library_key, loaded_key, kept_key;

static void push_registry(lua_State *lua, const char *key) {
  lua_pushlightuserdata(lua, (void *)key);
  lua_rawget(lua, LUA_REGISTRYINDEX);
}

static void new_registry_table(lua_State *lua, const char *key) {
  lua_pushlightuserdata(lua, (void *)key);
  lua_newtable(lua);
  lua_rawset(lua, LUA_REGISTRYINDEX);
}

void modules_open(lua_State *lua) {
  new_registry_table(lua, &library_key);
  new_registry_table(lua, &kept_key);
  modules_begin(lua);
}

/** What a campaign holds is kept for good: the addresses of what is frozen must not be used again. */
static void keep(lua_State *lua) {
  push_registry(lua, &kept_key);
  lua_pushvalue(lua, -2);
  lua_rawseti(lua, -2, (int)lua_objlen(lua, -2) + 1);
  lua_pop(lua, 1);
}

void modules_begin(lua_State *lua) {
  new_registry_table(lua, &loaded_key);
  push_registry(lua, &loaded_key);
  keep(lua);
  lua_pop(lua, 1);
}

void modules_push_kept(lua_State *lua) {
  push_registry(lua, &kept_key);
}

/* ---- require ---- */

static bool valid_name(struct str name) {
  for (size_t i = 0; i < name.len; i++)
    if (!isalnum((unsigned char)name.data[i]) && name.data[i] != '_') return false;
  return name.len > 0 && name.len <= 64;
}

static struct str folder_of(struct str path) {
  const char *slash = memchr(path.data, '/', path.len);
  return slash ? (struct str){path.data, (size_t)(slash - path.data)} : STR("");
}

/** Module names of a folder, for the error. */
static void list_modules(const struct ruleset *ruleset, struct str folder, struct str meant,
                         struct buf *out) {
  struct suggestion suggestion = {0};
  size_t count = 0;
  for (size_t i = 0; i < ruleset->count; i++) {
    struct str path = str_from(ruleset->files[i].path);
    if (ruleset->files[i].library || !str_equal(folder_of(path), folder) || path.len < folder.len + 5)
      continue;
    struct str name = {path.data + folder.len + 1, path.len - folder.len - 1};
    if (name.len < 5 || memcmp(name.data + name.len - 4, ".lua", 4) != 0 || str_equal(name, STR("rule.lua")))
      continue;
    name.len -= 4;
    suggestion_offer(&suggestion, meant, name);
    buf_printf(out, "%s%.*s", count++ ? ", " : "; there are: ", STR_ARG(name));
  }
  suggestion_append(&suggestion, out);
  buf_put_u8(out, '\0');
}

static void require_module(lua_State *lua, struct str folder, struct str name) {
  struct engine *engine = engine_of(lua);
  struct str file = name;
  if (name.len > sizeof SHARED_FOLDER && memcmp(name.data, SHARED_FOLDER ".", sizeof SHARED_FOLDER) == 0) {
    folder = STR(SHARED_FOLDER);
    file = (struct str){name.data + sizeof SHARED_FOLDER, name.len - sizeof SHARED_FOLDER};
  }
  if (!valid_name(file))
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "require: a module is named by letters, digits and _: require \"helpers\" for helpers.lua in this "
        "folder, require \"shared.helpers\" for rules/shared/helpers.lua");
  push_registry(lua, &loaded_key);
  buf_clear(&engine->text);
  buf_printf(&engine->text, "%.*s/%.*s.lua", STR_ARG(folder), STR_ARG(file));
  lua_pushlstring(lua, (const char *)engine->text.data, engine->text.len);
  lua_rawget(lua, -2);
  if (lua_isboolean(lua, -1) && !lua_toboolean(lua, -1))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "require \"%.*s\": the two files require each other; move what both need into a third",
                  STR_ARG(name));
  if (!lua_isnil(lua, -1)) return;
  const struct ruleset_file *source = ruleset_find(engine->sandbox.sources, buf_str(&engine->text));
  if (!source || source->library) {
    buf_clear(&engine->text);
    list_modules(engine->sandbox.sources, folder, file, &engine->text);
    sandbox_raise(lua, ERROR_SCRIPT, "require: there is no rules/%.*s/%.*s.lua%s", STR_ARG(folder),
                  STR_ARG(file), (const char *)engine->text.data);
  }
  modules_load(lua, source);
}

/** Upvalue: the folder of the file that asks; "" for the library. */
static int require(lua_State *lua) {
  struct str name, folder;
  if (lua_type(lua, 1) != LUA_TSTRING) sandbox_raise(lua, ERROR_SCRIPT, "write require \"name\"");
  name.data = lua_tolstring(lua, 1, &name.len);
  folder.data = lua_tolstring(lua, lua_upvalueindex(1), &folder.len);
  if (folder.len && !sandbox_of(lua)->loading)
    sandbox_raise(lua, ERROR_SCRIPT, "require belongs at the top of the file, outside of functions");
  if (!folder.len || str_equal(name, STR("kairos")))
    modules_push_library(lua, name);
  else
    require_module(lua, folder, name);
  return 1;
}

static void push_environment(lua_State *lua, struct str folder) {
  bindings_push_environment(lua);
  lua_pushnil(lua);
  while (lua_next(lua, -2)) { // the file may let go of its copies of the library's tables
    if (lua_istable(lua, -1)) keep(lua);
    lua_pop(lua, 1);
  }
  lua_pushlstring(lua, folder.data, folder.len);
  lua_pushcclosure(lua, require, 1);
  lua_setfield(lua, -2, "require");
}

/* ---- the library ---- */

void modules_set_library(lua_State *lua, const char *name) {
  push_registry(lua, &library_key);
  lua_insert(lua, -2);
  lua_setfield(lua, -2, name);
  lua_pop(lua, 1);
}

void modules_push_library(lua_State *lua, struct str name) {
  struct sandbox *sandbox = sandbox_of(lua);
  push_registry(lua, &library_key);
  lua_pushlstring(lua, name.data, name.len);
  lua_rawget(lua, -2);
  lua_remove(lua, -2);
  if (!lua_isnil(lua, -1)) return;
  lua_pop(lua, 1);
  char path[128];
  int len = snprintf(path, sizeof path, str_equal(name, STR("kairos")) ? "%.*s/init.lua" : "%.*s.lua",
                     STR_ARG(name));
  for (int i = 0; i < (int)name.len && i < len; i++)
    if (path[i] == '.') path[i] = '/';
  const struct ruleset_file *file =
      (size_t)len < sizeof path ? ruleset_find(sandbox->sources, str_from(path)) : NULL;
  if (!file || !file->library) sandbox_raise(lua, ERROR_SCRIPT, "the library has no file %s", path);
  sandbox_load_library(lua, str_from(path), file->text);
  push_environment(lua, STR(""));
  keep(lua);
  lua_setfenv(lua, -2);
  lua_call(lua, 0, 1);
  lua_pushvalue(lua, -1);
  sandbox_freeze(lua);
  push_registry(lua, &library_key);
  lua_pushlstring(lua, name.data, name.len);
  lua_pushvalue(lua, -3);
  lua_rawset(lua, -3);
  lua_pop(lua, 1);
}

/** Load the parts of the library (kairos.date, money, …) that `text` names: a file that does without them
 * does not wait for them. */
static void offer_parts(lua_State *lua, struct str text) {
  static const char *const parts[] = {"date",   "geo", "money",
                                      "sample", "set", "text"}; // lua/kairos/init.lua knows them too
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
    if (!memmem(text.data, text.len, parts[i], strlen(parts[i]))) continue;
    char name[32];
    snprintf(name, sizeof name, "kairos.%s", parts[i]);
    modules_push_library(lua, STR("kairos"));
    modules_push_library(lua, str_from(name));
    lua_pushstring(lua, parts[i]);
    lua_insert(lua, -2);
    lua_rawset(lua, -3);
    lua_pop(lua, 1);
  }
}

/* ---- rule files ---- */

/** Push a set of the globals that the file writes. */
static void push_written(lua_State *lua, const struct bytecode_notes *notes) {
  lua_newtable(lua);
  for (size_t i = 0; i < notes->count; i++) {
    if (notes->notes[i].type != BYTECODE_WRITES) continue;
    lua_pushlstring(lua, notes->notes[i].name.data, notes->notes[i].name.len);
    lua_pushboolean(lua, true);
    lua_rawset(lua, -3);
  }
}

static bool has_name(lua_State *lua, int table, struct str name) {
  lua_pushlstring(lua, name.data, name.len);
  lua_rawget(lua, table);
  bool has = !lua_isnil(lua, -1);
  lua_pop(lua, 1);
  return has;
}

_Noreturn static void unknown_name(lua_State *lua, int environment, struct str path,
                                   const struct bytecode_note *note) {
  struct engine *engine = engine_of(lua);
  const char *instead = bindings_missing(note->name);
  if (instead)
    sandbox_raise_at(lua, path, note->line, "there is no `%.*s` here: %s", STR_ARG(note->name), instead);
  struct suggestion suggestion = {0};
  lua_pushnil(lua);
  while (lua_next(lua, environment)) {
    struct str known;
    lua_pop(lua, 1);
    known.data = lua_tolstring(lua, -1, &known.len);
    if (!str_equal(known, STR(BYTECODE_GUARD))) suggestion_offer(&suggestion, note->name, known);
  }
  buf_clear(&engine->text);
  suggestion_append(&suggestion, &engine->text);
  if (!engine->text.len)
    buf_printf(&engine->text, "; if it is yours, declare it above: local %.*s = …", STR_ARG(note->name));
  sandbox_raise_at(lua, path, note->line, "there is nothing named `%.*s` here%.*s", STR_ARG(note->name),
                   STR_ARG(buf_str(&engine->text)));
}

static void check_send(lua_State *lua, struct str path, const struct bytecode_note *note) {
  struct engine *engine = engine_of(lua);
  buf_clear(&engine->text);
  if (!config_route(engine->options.config, note->channel)) {
    engine_list_channels(note->channel, &engine->text);
    sandbox_raise_at(lua, path, note->line, "there is no channel `%.*s`%.*s", STR_ARG(note->channel),
                     STR_ARG(buf_str(&engine->text)));
  }
  if (engine_find_template(engine, engine->loading_folder, note->name) < 0) {
    engine_list_templates(engine, engine->loading_folder, note->name, &engine->text);
    sandbox_raise_at(lua, path, note->line, "there is no template `%.*s`%.*s", STR_ARG(note->name),
                     STR_ARG(buf_str(&engine->text)));
  }
}

static void note_send(struct engine *engine, const struct bytecode_note *note) {
  struct engine_folder *folder = &engine->folders[engine->loading_folder];
  for (size_t i = 0; i < folder->send_count; i++)
    if (str_equal(folder->sends[i].template_name, note->name) &&
        str_equal(folder->sends[i].channel, note->channel))
      return;
  folder->sends = memory_realloc(folder->sends, (folder->send_count + 1) * sizeof *folder->sends);
  folder->sends[folder->send_count++] =
      (struct engine_send){engine_keep(engine, note->name), engine_keep(engine, note->channel)};
}

/** What can be told without running the file. */
static void check_notes(lua_State *lua, int environment, struct str path,
                        const struct bytecode_notes *notes) {
  push_written(lua, notes);
  int written = lua_gettop(lua);
  for (size_t i = 0; i < notes->count; i++) {
    const struct bytecode_note *note = &notes->notes[i];
    budget_charge(&sandbox_of(lua)->budget, lua, 1);
    if (note->type == BYTECODE_SENDS) {
      check_send(lua, path, note);
      note_send(engine_of(lua), note);
    }
    if (note->type == BYTECODE_READS && !has_name(lua, environment, note->name) &&
        !has_name(lua, written, note->name))
      unknown_name(lua, environment, path, note);
  }
  lua_pop(lua, 1);
}

void modules_load(lua_State *lua, const struct ruleset_file *file) {
  struct engine *engine = engine_of(lua);
  struct str path = str_from(file->path);
  luaL_checkstack(lua, 16, "too many modules");
  int base = lua_gettop(lua);
  offer_parts(lua, file->text);
  push_registry(lua, &loaded_key);
  lua_pushboolean(lua, false); // loading
  lua_setfield(lua, -2, file->path);
  engine->notes.count = 0;
  sandbox_load_rule(lua, path, file->text, &engine->notes);
  push_environment(lua, folder_of(path));
  keep(lua);
  check_notes(lua, lua_gettop(lua), path, &engine->notes);
  lua_setfenv(lua, -2);
  lua_call(lua, 0, 1);
  if (lua_isnil(lua, -1)) {
    lua_pop(lua, 1);
    lua_pushboolean(lua, true);
  }
  lua_pushvalue(lua, -1);
  lua_setfield(lua, base + 1, file->path);
  lua_remove(lua, base + 1);
}
