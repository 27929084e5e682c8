/* kairos.needs: look-ups, declared while loading; what came of them, given to the rule. */
#include "base/suggest.h"
#include "engine/convert.h"
#include "engine/internal.h"
#include "engine/need_path.h"

#include <stdio.h>

const char object_needs[] = "look-up";

enum {
  TIMEOUT_MIN = 10, /**< ms */
  FALLBACK_MAX = 4 << 10
};

static struct str field(lua_State *lua, const char *name) {
  struct str text = {NULL, 0};
  lua_getfield(lua, 1, name);
  if (lua_isstring(lua, -1)) text.data = lua_tolstring(lua, -1, &text.len);
  return text; // stays on the stack, and in the table
}

static int64_t number(lua_State *lua, const char *name, int64_t otherwise) {
  lua_getfield(lua, 1, name);
  int64_t value = lua_isnil(lua, -1) ? otherwise : (int64_t)lua_tonumber(lua, -1);
  lua_pop(lua, 1);
  return value;
}

/** What may be asked, and what to write in the configuration. */
static void refuse_server(lua_State *lua, struct str meant, bool url) {
  struct engine *engine = engine_of(lua);
  const struct config *config = engine->options.config;
  struct suggestion suggestion = {0};
  buf_clear(&engine->text);
  for (uint32_t i = 0; i < config->lookup_count; i++)
    suggestion_offer(&suggestion, meant, str_from(config->lookups[i].name));
  if (!url) suggestion_append(&suggestion, &engine->text);
  buf_printf(&engine->text, config->lookup_count ? "; there are: " : "; it has none yet");
  for (uint32_t i = 0; i < config->lookup_count; i++)
    buf_printf(&engine->text, "%s%s (%s)", i ? ", " : "", config->lookups[i].name, config->lookups[i].url);
  sandbox_raise(
      lua, ERROR_SCRIPT,
      "kairos.needs: no server of the configuration %s \"%.*s\"%.*s; rules reach only what is listed "
      "there: lookups: [{ name: shop, url: \"https://shop.example\" }]",
      url ? "covers" : "is called", STR_ARG(meant), STR_ARG(buf_str(&engine->text)));
}

/** The server whose address a URL begins with, the longest one; `*path` is what follows. */
static const struct config_lookup *server_of(const struct config *config, struct str url, struct str *path) {
  const struct config_lookup *best = NULL;
  for (uint32_t i = 0; i < config->lookup_count; i++) {
    struct str base = str_from(config->lookups[i].url);
    if (url.len <= base.len || memcmp(url.data, base.data, base.len) != 0 || url.data[base.len] != '/')
      continue;
    if (best && strlen(best->url) > base.len) continue;
    best = &config->lookups[i];
    *path = (struct str){url.data + base.len, url.len - base.len};
  }
  return best;
}

/** needs{ from, path | url, timeout, cache (ms), fallback }: its shape is checked by lua/kairos/needs.lua. */
int binding_declare_needs(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  struct engine *engine = engine_of(lua);
  if (!sandbox_of(lua)->loading)
    sandbox_raise(lua, ERROR_SCRIPT, "kairos.needs belongs at the top of the file, outside of functions");
  struct str from = field(lua, "from"), path = field(lua, "path"), url = field(lua, "url");
  const struct config_lookup *server =
      url.data ? server_of(engine->options.config, url, &path) : config_lookup(engine->options.config, from);
  if (!server) refuse_server(lua, url.data ? url : from, url.data != NULL);
  struct error err;
  if (need_path_check(path, &err))
    sandbox_raise(lua, ERROR_SCRIPT, "kairos.needs: `%s` %s", url.data ? "url" : "path", err.message);
  struct engine_need need = {.source = str_from(server->name),
                             .timeout = number(lua, "timeout", server->timeout),
                             .cache = number(lua, "cache", 0)};
  if (need.timeout < TIMEOUT_MIN || need.timeout > CONFIG_LOOKUP_TIMEOUT_MAX)
    sandbox_raise(lua, ERROR_SCRIPT,
                  "kairos.needs: `timeout` may be from 10ms to 30s; write timeout = \"2s\"");
  lua_getfield(lua, 1, "fallback");
  buf_clear(&engine->data);
  convert_read(lua, -1, &engine->data, FALLBACK_MAX, "fallback of kairos.needs");
  need.fallback = engine_keep(engine, buf_str(&engine->data));
  need.path = engine_keep(engine, path);
  struct needs_object *object = lua_newuserdata(lua, sizeof *object);
  *object = (struct needs_object){.object.type = object_needs, .need = need};
  return 1;
}

void binding_take_needs(lua_State *lua, const struct engine_rule *rule, struct engine_need *needs) {
  for (size_t i = 0; i < rule->need_count; i++) {
    struct str name = needs[i].name;
    lua_pushlstring(lua, name.data, name.len);
    lua_rawget(lua, -2);
    const struct needs_object *object = lua_touserdata(lua, -1);
    if (!object || object->object.type != object_needs)
      sandbox_raise_at(
          lua, rule->path, 0,
          "needs.%.*s is no look-up; write needs = { %.*s = kairos.needs { from = \"shop\", path = "
          "\"/…\", fallback = … } }",
          STR_ARG(name), STR_ARG(name));
    needs[i] = object->need;
    needs[i].name = name;
    lua_pop(lua, 1);
  }
}

void binding_push_needs(lua_State *lua) {
  convert_push_lent(lua, engine_of(lua)->call->needs); // for this call: the input's next rule has others
}

void binding_note_needs(struct engine *engine) {
  struct reader reader = reader_of(engine->call->needs);
  struct value map = value_read(&reader);
  for (uint32_t i = 0; map.type == VALUE_MAP && i < map.count && !reader.bad; i++) {
    struct str name = value_read(&reader).string, value = value_slice(&reader);
    char label[80];
    int len = snprintf(label, sizeof label, "needs.%.*s", (int)(name.len < 72 ? name.len : 72), name.data);
    facts_put(&engine->facts, hash64(name, 0x6e65656473), (struct str){label, (size_t)len}, STR(""), value);
  }
}
