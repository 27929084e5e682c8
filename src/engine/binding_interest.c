/* kairos.interest, and whom a rule's `for_each` names. */
#include "base/memory.h"
#include "engine/internal.h"
#include "state/user_index.h"

const char object_interest[] = "interest", object_audience[] = "audience";

enum { INTERESTS_MAX = 20 /**< of one campaign: each of their events writes an entry */ };

static struct str field(lua_State *lua, const char *name) {
  struct str text = {"", 0};
  lua_getfield(lua, 1, name);
  if (lua_isstring(lua, -1)) text.data = lua_tolstring(lua, -1, &text.len);
  return text; // stays on the stack, and in the table
}

/* ---- audiences ---- */

struct audience_object {
  struct object object;
  uint32_t index_len, key_len;
  char texts[];
};

static void push_audience(lua_State *lua, struct str index, struct str key) {
  struct audience_object *audience = lua_newuserdata(lua, sizeof *audience + index.len + key.len);
  audience->object = (struct object){.type = object_audience};
  audience->index_len = (uint32_t)index.len;
  audience->key_len = (uint32_t)key.len;
  memcpy(audience->texts, index.data, index.len);
  if (key.len) memcpy(audience->texts + index.len, key.data, key.len);
}

static const struct audience_object *audience_at(lua_State *lua, int index) {
  const struct audience_object *audience = lua_touserdata(lua, index);
  return audience && audience->object.type == object_audience ? audience : NULL;
}

/** audience(index, key): who stands there. */
int binding_audience(lua_State *lua) {
  struct str index, key;
  index.data = luaL_checklstring(lua, 1, &index.len);
  key.data = luaL_optlstring(lua, 2, "", &key.len);
  engine_name_segment(lua, index);
  push_audience(lua, index, key);
  return 1;
}

/** is_audience(value) */
int binding_is_audience(lua_State *lua) {
  lua_pushboolean(lua, audience_at(lua, 1) != NULL);
  return 1;
}

bool binding_take_audience(lua_State *lua, struct engine *engine) {
  const struct audience_object *audience = audience_at(lua, -1);
  struct str path = engine->rules[engine->rule].path;
  if (!lua_toboolean(lua, -1)) return false;
  if (!audience)
    sandbox_raise_at(
        lua, path, 0,
        "`for_each` returned a %s; return whom the event is for, such as watchers:of(event.payload.sku) "
        "or segment.members \"vip\", or nil for nobody",
        lua_touserdata(lua, -1) ? ((const struct object *)lua_touserdata(lua, -1))->type
                                : luaL_typename(lua, -1));
  buf_clear(&engine->audience);
  buf_append(&engine->audience, audience->texts, audience->index_len + audience->key_len);
  const char *texts = (const char *)engine->audience.data;
  engine->call->audience_index = (struct str){texts, audience->index_len};
  engine->call->audience_key = (struct str){texts + audience->index_len, audience->key_len};
  return true;
}

/* ---- interests ---- */

struct interest_object {
  struct object object;
  uint32_t index;
};

static bool same_interest(const struct engine_interest *one, const struct engine_interest *other) {
  if (one->over != other->over || one->of_count != other->of_count || !str_equal(one->by, other->by))
    return false;
  for (size_t i = 0; i < one->of_count; i++)
    if (!str_equal(one->of[i], other->of[i])) return false;
  return true;
}

static uint32_t note_interest(struct engine *engine, uint32_t interest) {
  struct engine_folder *folder = &engine->folders[engine->loading_folder];
  for (size_t i = 0; i < folder->interest_count; i++)
    if (folder->interests[i] == interest) return interest;
  folder->interests =
      memory_realloc(folder->interests, (folder->interest_count + 1) * sizeof *folder->interests);
  folder->interests[folder->interest_count++] = interest;
  return interest;
}

/** What was declared under this name before is the same interest, or a mistake; but not beside sources that
 * wait until theirs is filled. */
static uint32_t keep_interest(lua_State *lua, struct engine *engine, struct engine_interest *interest) {
  for (size_t i = 0; i < engine->interest_count; i++) {
    if (!str_equal(engine->interests[i].name, interest->name)) continue;
    bool same = same_interest(&engine->interests[i], interest);
    if (!same && engine->loading_quiet) continue;
    memory_free((void *)interest->of);
    if (!same)
      sandbox_raise(
          lua, ERROR_SCRIPT,
          "kairos.interest: `%.*s` is declared already, with another `of`, `by` or `over`; give this one "
          "another name, or declare it once in rules/shared",
          STR_ARG(interest->name));
    return note_interest(engine, (uint32_t)i);
  }
  if (engine->interest_count - engine->folder_interests >= INTERESTS_MAX) {
    memory_free((void *)interest->of);
    sandbox_raise(lua, ERROR_SCRIPT, "kairos.interest: the campaign has %d of them already", INTERESTS_MAX);
  }
  size_t index = engine->interest_count++;
  engine->interests = memory_realloc(engine->interests, engine->interest_count * sizeof *engine->interests);
  engine->interests[index] = *interest;
  return note_interest(engine, (uint32_t)index);
}

/** interest:of(key), or interest:of() of one without `by` -> whom it holds. */
static int interest_of(lua_State *lua) {
  struct engine *engine = engine_of(lua);
  const struct interest_object *object = lua_touserdata(lua, 1);
  if (!object || object->object.type != object_interest)
    sandbox_raise(lua, ERROR_SCRIPT, "write interest:of(…) with a colon");
  const struct engine_interest *interest = &engine->interests[object->index];
  struct str key = STR("");
  if (interest->by.len)
    key = binding_key(lua, 2, "interest:of");
  else if (!lua_isnoneornil(lua, 2))
    sandbox_raise(lua, ERROR_SCRIPT, "the interest `%.*s` has no `by`: write %.*s:of()",
                  STR_ARG(interest->name), STR_ARG(interest->name));
  if (key.len > INDEX_KEY_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "the key given to interest:of is longer than %d bytes", INDEX_KEY_MAX);
  push_audience(lua, interest->index, key);
  return 1;
}

static int interest_newindex(lua_State *lua) {
  sandbox_raise(lua, ERROR_SCRIPT, "an interest cannot be changed");
}

static void push_metatable(lua_State *lua) {
  if (!luaL_newmetatable(lua, object_interest)) return;
  lua_newtable(lua);
  lua_pushcfunction(lua, interest_of);
  lua_setfield(lua, -2, "of");
  lua_setfield(lua, -2, "__index");
  lua_pushcfunction(lua, interest_newindex);
  lua_setfield(lua, -2, "__newindex");
  lua_pushboolean(lua, false);
  lua_setfield(lua, -2, "__metatable");
}

/** What else follows from the declaration; `text` is scratch. */
static void identify(struct engine *engine, struct engine_interest *interest, struct str label) {
  struct buf *text = &engine->text;
  buf_clear(text);
  for (size_t i = 0; i < interest->of_count; i++) buf_put_str(text, interest->of[i]);
  buf_put_str(text, interest->by);
  buf_put_zigzag(text, interest->over);
  uint32_t digits = (uint32_t)hash64(buf_str(text), 0);
  buf_clear(text);
  buf_printf(text, "interest:%.*s@%08x", STR_ARG(interest->name), digits);
  interest->index = engine_keep(engine, buf_str(text));
  interest->since = binding_since(engine, hash64(interest->index, 0));
  engine_interest_identify(interest);
  buf_clear(text);
  buf_printf(text, "%.*s:", STR_ARG(interest->name));
  for (size_t i = 0; i < interest->of_count; i++)
    buf_printf(text, "%s %.*s", i ? "," : "", STR_ARG(interest->of[i]));
  buf_printf(text, " %.*s", STR_ARG(label));
  if (interest->by.len) buf_printf(text, " by %.*s", STR_ARG(interest->by));
  interest->words = engine_keep(engine, buf_str(text));
}

/** interest{ name, of = { types }, by, over (ms), label }: checked by lua/kairos/interest.lua; the path is
 * within the payload. */
int binding_declare_interest(lua_State *lua) {
  luaL_checktype(lua, 1, LUA_TTABLE);
  struct engine *engine = engine_of(lua);
  if (!sandbox_of(lua)->loading)
    sandbox_raise(
        lua, ERROR_SCRIPT,
        "kairos.interest belongs at the top of the file, outside of functions: the host must know it before "
        "an event comes");
  struct str name = field(lua, "name"), by = field(lua, "by"), label = field(lua, "label");
  struct engine_interest interest = {.name = engine_keep(engine, name), .by = engine_keep(engine, by)};
  lua_getfield(lua, 1, "over");
  interest.over = (int64_t)lua_tonumber(lua, -1);
  lua_getfield(lua, 1, "of");
  interest.of_count = lua_objlen(lua, -1);
  struct str *types = memory_zalloc((interest.of_count + 1) * sizeof *types);
  for (size_t i = 0; i < interest.of_count; i++) {
    struct str type;
    lua_rawgeti(lua, -1, (int)i + 1);
    type.data = lua_tolstring(lua, -1, &type.len);
    types[i] = engine_keep(engine, type);
    lua_pop(lua, 1);
  }
  interest.of = types;
  identify(engine, &interest, label);
  uint32_t index = keep_interest(lua, engine, &interest);
  struct interest_object *object = lua_newuserdata(lua, sizeof *object);
  *object = (struct interest_object){.object.type = object_interest, .index = index};
  push_metatable(lua);
  lua_setmetatable(lua, -2);
  return 1;
}
