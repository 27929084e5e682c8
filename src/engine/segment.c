/* Segments: from what kairos.segment was given to predicates that can be asked, in an order. */
#include "base/memory.h"
#include "base/suggest.h"
#include "engine/internal.h"

enum { SEGMENTS_MAX = 256 /**< of a host: a user's record may hold something of each */ };

/* ---- taking in ---- */

bool engine_is_segment(lua_State *lua) {
  const struct object *object = lua_touserdata(lua, -1);
  return object && object->type == object_segment;
}

/** All windows that a segment's function could read, whichever way its answer goes. */
static void note_window(void *context, const struct object *object) {
  struct engine_segment *segment = context;
  if (object->type != object_window) return;
  uint32_t window = ((const struct window_object *)object)->index;
  for (size_t i = 0; i < segment->window_count; i++)
    if (segment->windows[i] == window) return;
  uint32_t *windows = memory_realloc((void *)segment->windows, (segment->window_count + 1) * sizeof *windows);
  windows[segment->window_count++] = window;
  segment->windows = windows; // the engine's from here on, whatever is raised
}

static struct str keep_joined(struct engine *engine, const char *prefix, struct str name) {
  buf_clear(&engine->text);
  buf_printf(&engine->text, "%s%.*s", prefix, STR_ARG(name));
  return engine_keep(engine, buf_str(&engine->text));
}

/** Of the segment on top: its own, or its folder's. */
static struct str name_of(lua_State *lua, struct engine *engine) {
  struct str name = engine->folders[engine->loading_folder].name, given;
  lua_getfenv(lua, -1);
  lua_getfield(lua, -1, "name");
  given.data = lua_tolstring(lua, -1, &given.len);
  if (given.data) name = engine_keep(engine, given);
  lua_pop(lua, 2);
  return name;
}

bool engine_has_segment(lua_State *lua, struct engine *engine) {
  struct str name = name_of(lua, engine);
  for (size_t i = 0; i < engine->segment_count; i++)
    if (str_equal(engine->segments[i].name, name)) return true;
  return false;
}

void engine_add_segment(lua_State *lua, struct engine *engine, const struct ruleset_file *file) {
  struct str path = str_from(file->path), name = name_of(lua, engine);
  lua_getfenv(lua, -1);
  for (size_t i = 0; i < engine->segment_count; i++)
    if (str_equal(engine->segments[i].name, name))
      sandbox_raise_at(lua, path, 0,
                       "a segment named `%.*s` is in rules/%.*s already; give this one another `name`",
                       STR_ARG(name), STR_ARG(engine->segments[i].path));
  if (engine->segment_count == SEGMENTS_MAX)
    sandbox_raise_at(lua, path, 0, "there are %d segments already, which is all that a host may have",
                     SEGMENTS_MAX);
  size_t index = engine->segment_count++;
  engine->segments = memory_realloc(engine->segments, engine->segment_count * sizeof *engine->segments);
  engine->segment_codes =
      memory_realloc(engine->segment_codes, engine->segment_count * sizeof *engine->segment_codes);
  struct engine_segment *segment = &engine->segments[index];
  struct segment_code *code = &engine->segment_codes[index];
  *code = (struct segment_code){0};
  *segment = (struct engine_segment){.name = name,
                                     .campaign = engine->folders[engine->loading_folder].name,
                                     .path = path,
                                     .version = engine->folders[engine->loading_folder].version,
                                     .entered = keep_joined(engine, "segment.entered:", name),
                                     .left = keep_joined(engine, "segment.left:", name),
                                     .timer = keep_joined(engine, TIMER_SEGMENT, name)};
  lua_getfield(lua, -1, "reads");
  code->reads = engine_keep_texts(lua, engine, &code->read_count);
  lua_getfield(lua, -1, "sticky");
  segment->sticky = (int64_t)lua_tonumber(lua, -1);
  lua_pop(lua, 1);
  lua_getfield(lua, -1, "member");
  segment->meaning = engine_meaning(lua, engine) ^ (uint64_t)segment->sticky;
  for (size_t i = 0; i < code->read_count; i++) segment->meaning += hash64(code->reads[i], 0);
  lua_pushvalue(lua, -1);
  sandbox_reach(lua, note_window, segment);
  code->member = engine_keep_function(lua, engine);
  lua_pop(lua, 2);
}

void engine_free_segments(struct engine *engine) {
  for (size_t i = 0; i < engine->segment_count; i++) {
    memory_free((void *)engine->segments[i].windows);
    memory_free((void *)engine->segments[i].reads);
    memory_free(engine->segment_codes[i].reads);
  }
  memory_free(engine->segments);
  memory_free(engine->segment_codes);
  memory_free(engine->segment_slots);
  memory_free(engine->named_segments);
}

/* ---- names ---- */

static uint32_t *slot_of(const struct engine *engine, struct str name) {
  size_t at = hash64(name, 0) & (engine->segment_slot_count - 1);
  while (engine->segment_slots[at] && !str_equal(engine->segments[engine->segment_slots[at] - 1].name, name))
    at = (at + 1) & (engine->segment_slot_count - 1);
  return &engine->segment_slots[at];
}

static void index_names(struct engine *engine) {
  memory_free(engine->segment_slots);
  engine->segment_slot_count = 4;
  while (engine->segment_slot_count < engine->segment_count * 2) engine->segment_slot_count *= 2;
  engine->segment_slots = memory_zalloc(engine->segment_slot_count * sizeof *engine->segment_slots);
  for (size_t i = 0; i < engine->segment_count; i++)
    *slot_of(engine, engine->segments[i].name) = (uint32_t)i + 1;
}

size_t engine_segments(const struct engine *engine, const struct engine_segment **segments) {
  *segments = engine->segments;
  return engine->segment_count;
}

int engine_segment_of(const struct engine *engine, struct str name) {
  return engine->segment_slots ? (int)*slot_of(engine, name) - 1 : -1;
}

void engine_list_segments(const struct engine *engine, struct str meant, struct buf *out) {
  struct suggestion suggestion = {0};
  for (size_t i = 0; i < engine->segment_count; i++)
    suggestion_offer(&suggestion, meant, engine->segments[i].name);
  suggestion_append(&suggestion, out);
  if (!engine->segment_count) buf_printf(out, "; none is declared among the campaigns that are loaded");
  for (size_t i = 0; i < engine->segment_count; i++)
    buf_printf(out, "%s%.*s", i ? ", " : "; there are: ", STR_ARG(engine->segments[i].name));
}

/** @return ERROR_SCRIPT, or 0 if somebody takes it. */
static int tell(struct engine *engine, struct error *err) {
  int rc = err->code;
  if (!engine->options.taker) return rc;
  engine->options.taker(engine->options.taker_context, err);
  *err = (struct error){0};
  return 0;
}

static int unknown_segment(struct engine *engine, struct str path, const char *who, struct str whose,
                           struct str name, struct error *err) {
  buf_clear(&engine->text);
  engine_list_segments(engine, name, &engine->text);
  error_set(err, ERROR_SCRIPT, "rules/%.*s: %s%.*s names the segment `%.*s`, which there is not%.*s",
            STR_ARG(path), who, STR_ARG(whose), STR_ARG(name), STR_ARG(buf_str(&engine->text)));
  return tell(engine, err);
}

void engine_name_segment(lua_State *lua, struct str index) {
  struct engine *engine = engine_of(lua);
  size_t prefix = sizeof TIMER_SEGMENT - 1;
  if (index.len <= prefix || memcmp(index.data, TIMER_SEGMENT, prefix) != 0 || engine->options.partial)
    return;
  struct str name = {index.data + prefix, index.len - prefix};
  if (engine->sandbox.loading) {
    engine->named_segments =
        memory_realloc(engine->named_segments, (engine->named_count + 1) * sizeof *engine->named_segments);
    engine->named_segments[engine->named_count++] =
        (struct named_segment){engine_keep(engine, sandbox_running_file(lua)), engine_keep(engine, name)};
  } else if (engine_segment_of(engine, name) < 0) {
    buf_clear(&engine->text);
    engine_list_segments(engine, name, &engine->text);
    sandbox_raise(lua, ERROR_SCRIPT, "there is no segment `%.*s`%.*s", STR_ARG(name),
                  STR_ARG(buf_str(&engine->text)));
  }
}

/* ---- order ---- */

struct ordering {
  struct engine *engine;
  uint32_t *order; /**< indices as loaded, in the order of judging */
  size_t count;
  uint32_t *path; /**< from who reads to what is read */
  size_t depth;
  enum { ORDER_NEW, ORDER_OPEN, ORDER_DONE } * states;
};

static int say_circle(struct ordering *ordering, uint32_t again, struct error *err) {
  struct engine *engine = ordering->engine;
  size_t from = 0;
  while (ordering->path[from] != again) from++;
  buf_clear(&engine->text);
  for (size_t i = from; i < ordering->depth; i++)
    buf_printf(&engine->text, "%.*s reads ", STR_ARG(engine->segments[ordering->path[i]].name));
  const struct engine_segment *segment = &engine->segments[again];
  error_set(err, ERROR_SCRIPT,
            "rules/%.*s: segments read one another in a circle: %.*s%.*s; leave one of them out",
            STR_ARG(segment->path), STR_ARG(buf_str(&engine->text)), STR_ARG(segment->name));
  return tell(engine, err);
}

static int order_one(struct ordering *ordering, uint32_t index, struct error *err) {
  struct engine *engine = ordering->engine;
  const struct segment_code *code = &engine->segment_codes[index];
  int rc = 0;
  if (ordering->states[index] == ORDER_DONE) return 0;
  if (ordering->states[index] == ORDER_OPEN) return say_circle(ordering, index, err);
  ordering->states[index] = ORDER_OPEN;
  ordering->path[ordering->depth++] = index;
  for (size_t i = 0; rc == 0 && i < code->read_count; i++) {
    int read = engine_segment_of(engine, code->reads[i]);
    if (read >= 0) rc = order_one(ordering, (uint32_t)read, err);
  }
  ordering->depth--;
  ordering->states[index] = ORDER_DONE;
  ordering->order[ordering->count++] = index;
  return rc;
}

/** Put the segments into their order; names are indexed anew. */
static void arrange(struct engine *engine, const uint32_t *order) {
  struct engine_segment *segments = memory_alloc((engine->segment_count + 1) * sizeof *segments);
  struct segment_code *codes = memory_alloc((engine->segment_count + 1) * sizeof *codes);
  for (size_t i = 0; i < engine->segment_count; i++) {
    segments[i] = engine->segments[order[i]];
    codes[i] = engine->segment_codes[order[i]];
  }
  memory_free(engine->segments);
  memory_free(engine->segment_codes);
  engine->segments = segments;
  engine->segment_codes = codes;
  index_names(engine);
}

static int resolve_reads(struct engine *engine, uint32_t index, struct error *err) {
  struct engine_segment *segment = &engine->segments[index];
  const struct segment_code *code = &engine->segment_codes[index];
  uint32_t *reads = memory_alloc((code->read_count + 1) * sizeof *reads);
  segment->reads = reads;
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < code->read_count; i++) {
    int read = engine_segment_of(engine, code->reads[i]);
    if (read >= 0)
      reads[segment->read_count++] = (uint32_t)read;
    else if (!engine->options.partial)
      rc = unknown_segment(engine, segment->path, "`reads` of ", segment->name, code->reads[i], err);
  }
  return rc;
}

/** An event type that is the host's must be one that there is. */
static int check_type(struct engine *engine, struct str path, struct str type, struct error *err) {
  static const struct str heads[] = {{"segment.entered", 15}, {"segment.left", 12}};
  if (!event_type_is_host(type)) return 0;
  for (size_t i = 0; i < 2; i++) {
    if (str_equal(type, heads[i])) return 0;
    if (!event_type_is(heads[i], type)) continue;
    struct str name = {type.data + heads[i].len + 1, type.len - heads[i].len - 1};
    if (engine->options.partial || engine_segment_of(engine, name) >= 0) return 0;
    return unknown_segment(engine, path, "", heads[i], name, err);
  }
  error_set(
      err, ERROR_SCRIPT,
      "rules/%.*s: there are no events \"%.*s\"; of segments there are segment.entered and segment.left",
      STR_ARG(path), STR_ARG(type));
  return tell(engine, err);
}

/** What the folder's windows and interests are of. */
static int check_folder(struct engine *engine, const struct engine_folder *folder, struct error *err) {
  buf_clear(&engine->data);
  buf_printf(&engine->data, "%.*s/rule.lua", STR_ARG(folder->name));
  struct str path = buf_str(&engine->data);
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < folder->window_count; i++)
    rc = check_type(engine, path, engine->windows[folder->windows[i]].of, err);
  for (size_t i = 0; rc == 0 && i < folder->interest_count; i++) {
    const struct engine_interest *interest = &engine->interests[folder->interests[i]];
    for (size_t j = 0; rc == 0 && j < interest->of_count; j++)
      rc = check_type(engine, path, interest->of[j], err);
  }
  return rc;
}

static int check_types(struct engine *engine, struct error *err) {
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < engine->rule_count; i++)
    for (size_t j = 0; rc == 0 && j < engine->rules[i].on_count; j++)
      rc = check_type(engine, engine->rules[i].path, engine->rules[i].on[j], err);
  for (size_t i = 0; rc == 0 && i < engine->folder_count; i++)
    rc = check_folder(engine, &engine->folders[i], err);
  return rc;
}

int engine_settle_segments(struct engine *engine, struct error *err) {
  size_t count = engine->segment_count;
  index_names(engine);
  struct ordering ordering = {.engine = engine};
  ordering.order = memory_zalloc((count + 1) * sizeof *ordering.order);
  ordering.path = memory_zalloc((count + 1) * sizeof *ordering.path);
  ordering.states = memory_zalloc((count + 1) * sizeof *ordering.states);
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < count; i++) rc = order_one(&ordering, (uint32_t)i, err);
  if (rc == 0) arrange(engine, ordering.order);
  memory_free(ordering.order);
  memory_free(ordering.path);
  memory_free(ordering.states);
  for (size_t i = 0; rc == 0 && i < count; i++) rc = resolve_reads(engine, (uint32_t)i, err);
  for (size_t i = 0; rc == 0 && i < engine->named_count; i++) {
    const struct named_segment *named = &engine->named_segments[i];
    if (engine_segment_of(engine, named->name) < 0)
      rc = unknown_segment(engine, named->path, "", STR("segment.members"), named->name, err);
  }
  return rc ? rc : check_types(engine, err);
}

/* ---- asking ---- */

struct judging {
  struct engine *engine;
  bool member;
};

static int judge(lua_State *lua, void *context) {
  struct judging *judging = context;
  struct engine *engine = judging->engine;
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.handlers);
  lua_rawgeti(lua, -1, engine->segment_codes[engine->segment].member);
  lua_rawgeti(lua, LUA_REGISTRYINDEX, engine->refs.user);
  lua_call(lua, 1, 1);
  judging->member = lua_toboolean(lua, -1);
  return 0;
}

int engine_judge(struct engine *engine, uint32_t segment, struct engine_call *call,
                 struct engine_judgement *out, struct error *err) {
  struct judging judging = {.engine = engine};
  engine->call = call;
  engine->segment = segment;
  engine->phase = ENGINE_MEMBER;
  engine->next = INT64_MAX;
  engine->sandbox.no_random = true;
  engine->sandbox.file = engine->segments[segment].path;
  facts_clear(&engine->facts);
  buf_clear(&call->messages);
  buf_clear(&call->emitted);
  call->message_count = call->emitted_count = 0;
  call->acted = false;
  int rc = sandbox_run(&engine->sandbox, judge, &judging, engine->options.config->rules.budget, err);
  engine->sandbox.no_random = false;
  engine->phase = ENGINE_WHEN;
  engine->call = NULL;
  buf_clear(&call->facts);
  facts_write(&engine->facts, &call->facts);
  *out = (struct engine_judgement){judging.member, engine->next};
  return rc;
}
