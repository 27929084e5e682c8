#include "engine/repl.h"

#include "base/clock.h"
#include "base/memory.h"
#include "engine/bindings.h"
#include "engine/bytecode.h"
#include "engine/convert.h"
#include "engine/show.h"

#include <luajit.h>
#include <stdio.h>
#include <stdlib.h>

enum {
  SET_UP_MS = 1000,
  CALL_MS = 2, /**< of CPU, after which a C function's call is ended (budget.h), at some later tick … */
  CALL_STEPS = REPL_CALL_STEPS, /**< … or, as most of them count their steps, after so many */
  LOOK_INTERVAL = 50,           /**< instructions between two looks at the clock */
  COLLECT_STEP = 16,            /**< KB that one step of the collector stands for */
  GC_PAUSE = 120,               /**< begin a collection when memory has grown by a fifth */
  RESULTS_MAX = 20,
  COLLECTIONS_MAX = 2, /**< a full memory that so many do not make room in is full */
  POOL_MAX = 4 * REPL_MEMORY,
  QUESTION_MAX = 64 << 10
};

#define CHUNK "=session"

static const struct show_limits limits = {.output_max = REPL_OUTPUT_MAX,
                                          .text_max = REPL_TEXT_MAX,
                                          .entries_max = REPL_ENTRIES_MAX,
                                          .depth_max = REPL_DEPTH_MAX};

enum waiting { WAITING_NOTHING, WAITING_ANSWER, WAITING_TO_GIVE };

struct repl {
  struct sandbox sandbox; /**< first: sandbox_of(lua) is the repl too */
  lua_State *thread;      /**< the evaluation under way; null if none */
  int thread_ref;
  int environment, names; /**< in the registry: the session's globals; what completion knows of results */
  int pcall;              /**< in the registry too */
  uint64_t evaluation;
  bool json;
  enum repl_state state;

  int64_t slice_end;    /**< monotonic us */
  int64_t patience_end; /**< CPU time of the thread, us: what cannot be parked ends then */
  int64_t spent_us;     /**< CPU time of the evaluation */
  const atomic_bool *cancelled;
  int collecting; /**< collections still to do before it goes on; 0 none */
  bool cut;       /**< more was printed than is shown */
  bool full;      /**< it came to the end of its memory */

  struct buf text, question, answer, output, dump, guarded;
  enum waiting waiting;
  struct error answer_error;
  struct error failure;
  /* arguments of the entry under way */
  struct str source;
  struct buf *names_out;
};

static struct repl *repl_of(lua_State *lua) {
  return (struct repl *)sandbox_of(lua);
}

/* ---- what the code can call ---- */

/** The first argument is the name of what is asked, the others go with it. */
static int ask(lua_State *lua) {
  struct repl *repl = repl_of(lua);
  int count = lua_gettop(lua);
  luaL_checkstring(lua, 1);
  if (!lua_isyieldable(lua))
    sandbox_raise(lua, ERROR_SCRIPT,
                  "the host cannot be asked within a function given to table.sort or string.gsub");
  buf_clear(&repl->question);
  value_put_array(&repl->question, (uint32_t)count);
  for (int i = 1; i <= count; i++) convert_read(lua, i, &repl->question, QUESTION_MAX, "what is asked");
  repl->waiting = WAITING_ANSWER;
  lua_settop(lua, 0);
  return lua_yield(lua, 0);
}

static int print(lua_State *lua) {
  struct repl *repl = repl_of(lua);
  int count = lua_gettop(lua);
  struct buf *out = &repl->output;
  for (int i = 1; i <= count && out->len < REPL_OUTPUT_MAX; i++) {
    if (i > 1) buf_put_u8(out, '\t');
    if (lua_type(lua, i) == LUA_TSTRING) {
      struct str text;
      text.data = lua_tolstring(lua, i, &text.len);
      if (text.len > REPL_OUTPUT_MAX) text.len = REPL_OUTPUT_MAX;
      show_text(text, out);
    } else {
      show_value(lua, i, &limits, out);
    }
  }
  if (out->len < REPL_OUTPUT_MAX) {
    buf_put_u8(out, '\n');
  } else if (!repl->cut) {
    repl->cut = true;
    buf_printf(out, "\n… cut: more is printed than is shown at once\n");
  }
  return 0;
}

/** Milliseconds since 1970: a session may ask the clock, a rule may not. */
static int now(lua_State *lua) {
  lua_pushnumber(lua, (lua_Number)clock_wall_ms());
  return 1;
}

/* ---- the state ---- */

static void set_function(lua_State *lua, const char *name, lua_CFunction function) {
  lua_pushcfunction(lua, function);
  lua_setfield(lua, -2, name);
}

/** LuaJIT's pcall, of which it alone can be parked, makes frames without a look at the room on the stack: in
 * setmetatable({}, {__call = pcall}) or pcall(pcall, pcall, …) it calls itself until it writes past the end.
 * A Lua function in between has the stack grown, or "stack overflow" raised. It is no tail call: the clock is
 * looked at between instructions, and the way back out of thousands of such calls would have none. */
#define PCALL                                                                                                \
  "local pcall = pcall "                                                                                     \
  "local function pass(...) return ... end "                                                                 \
  "return function(...) return pass(pcall(...)) end"

/** Leaves an environment on the stack: what rule files see, but pairs and next as LuaJIT has them, which need
 * not go in a fixed order here and begin at once, and a pcall that can be parked. */
static void push_environment(lua_State *lua) {
  static const char *const own[] = {"pairs", "next"};
  bindings_push_environment(lua);
  lua_pushnil(lua);
  lua_setfield(lua, -2, BYTECODE_GUARD);
  for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
    lua_getfield(lua, LUA_GLOBALSINDEX, own[i]);
    lua_setfield(lua, -2, own[i]);
  }
  lua_rawgeti(lua, LUA_REGISTRYINDEX, repl_of(lua)->pcall);
  lua_setfield(lua, -2, "pcall");
  set_function(lua, "print", print);
}

static int set_up(lua_State *lua, void *context) {
  struct repl *repl = context;
  luaJIT_setmode(lua, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  lua_gc(lua, LUA_GCSETPAUSE, GC_PAUSE);
  bindings_open(lua);
  convert_open(lua);
  if (luaL_loadbufferx(lua, PCALL, sizeof PCALL - 1, "=pcall", "t")) lua_error(lua);
  lua_call(lua, 0, 1);
  repl->pcall = luaL_ref(lua, LUA_REGISTRYINDEX);
  sandbox_load_library(lua, STR("kairos/look.lua"), repl->source);
  push_environment(lua);
  set_function(lua, "ask", ask);
  set_function(lua, "now", now);
  lua_setfenv(lua, -2);
  lua_call(lua, 0, 2); // what the session finds, and the names that completion offers
  repl->names = luaL_ref(lua, LUA_REGISTRYINDEX);
  push_environment(lua);
  lua_pushnil(lua);
  while (lua_next(lua, -2)) { // read-only tables are known by their addresses, so they are kept
    if (lua_istable(lua, -1))
      luaL_ref(lua, LUA_REGISTRYINDEX);
    else
      lua_pop(lua, 1);
  }
  lua_pushnil(lua);
  while (lua_next(lua, -3)) {
    lua_pushvalue(lua, -2);
    lua_insert(lua, -2);
    lua_rawset(lua, -4);
  }
  repl->environment = luaL_ref(lua, LUA_REGISTRYINDEX);
  return 0;
}

int repl_new(struct repl **out, struct str library, struct error *err) {
  struct repl *repl = memory_zalloc(sizeof *repl);
  struct buf *bufs[] = {&repl->text,   &repl->question, &repl->answer,
                        &repl->output, &repl->dump,     &repl->guarded};
  for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_init(bufs[i]);
  sandbox_init(&repl->sandbox, REPL_MEMORY, false);
  // Garbage is collected in slices here, and between evaluations elsewhere.
  repl->sandbox.roomy = repl->sandbox.pool_roomy = SIZE_MAX;
  repl->sandbox.pool_max = POOL_MAX;
  repl->thread_ref = LUA_NOREF;
  repl->source = library;
  int rc = sandbox_run(&repl->sandbox, set_up, repl, SET_UP_MS, err);
  if (rc) {
    repl_free(repl);
    return rc;
  }
  *out = repl;
  return 0;
}

void repl_free(struct repl *repl) {
  if (!repl) return;
  sandbox_deinit(&repl->sandbox);
  struct buf *bufs[] = {&repl->text,   &repl->question, &repl->answer,
                        &repl->output, &repl->dump,     &repl->guarded};
  for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_deinit(bufs[i]);
  memory_free(repl);
}

/* ---- slices ---- */

static bool slice_is_over(const struct repl *repl) {
  return clock_mono_us() >= repl->slice_end ||
         (repl->cancelled && atomic_load_explicit(repl->cancelled, memory_order_relaxed));
}

/** Runs every LOOK_INTERVAL instructions. Parks the coroutine where that can be done. */
static void look(lua_State *lua) {
  struct repl *repl = repl_of(lua);
  struct budget *budget = &repl->sandbox.budget;
  bool full = budget->spent == BUDGET_MEMORY;
  if (!full && !slice_is_over(repl)) {
    budget->steps = 0; // they bound one call, not the slice
    budget->spent = BUDGET_LEFT;
    budget_look(lua, LOOK_INTERVAL);
    return;
  }
  if (lua_isyieldable(lua)) {
    repl->full |= full;
    lua_yield(lua, 0);
  }
  // Of processor time: on a busy machine the thread may have stood still meanwhile.
  if (full || clock_thread_us() >= repl->patience_end)
    sandbox_raise(lua, ERROR_BUDGET,
                  full ? "this needs more memory than a session has"
                       : "a function given to table.sort or string.gsub took too long; walk with a loop");
  budget_look(lua, LOOK_INTERVAL);
}

static void release_thread(struct repl *repl) {
  if (!repl->thread) return;
  // The key is there: this asks for no memory, so nothing can be raised.
  luaL_unref(repl->sandbox.lua, LUA_REGISTRYINDEX, repl->thread_ref);
  repl->thread = NULL;
  repl->thread_ref = LUA_NOREF;
}

void repl_drop(struct repl *repl) {
  release_thread(repl);
  repl->waiting = WAITING_NOTHING;
  repl->collecting = 0;
}

static enum repl_state fail(struct repl *repl, const char *message) {
  repl_drop(repl);
  error_set(&repl->failure, ERROR_SCRIPT, "%s", message);
  return repl->state = REPL_FAILED;
}

/* ---- compiling ---- */

static int write_dump(lua_State *lua, const void *bytes, size_t len, void *out) {
  (void)lua;
  buf_append(out, bytes, len);
  return 0;
}

static bool ends_with(const char *text, const char *end) {
  size_t len = strlen(text), size = strlen(end);
  return len >= size && strcmp(text + len - size, end) == 0;
}

enum loaded { LOADED, LOADED_NOT, LOADED_REFUSED };

/** Leaves the function on the stack, or the reason why there is none. */
static enum loaded load(lua_State *lua, struct repl *repl, struct str text) {
  if (luaL_loadbufferx(lua, text.data, text.len, CHUNK, "t")) return LOADED_NOT;
  buf_clear(&repl->dump);
  buf_clear(&repl->guarded);
  lua_dump(lua, write_dump, &repl->dump);
  struct bytecode_notes notes;
  struct error err;
  bytecode_notes_init(&notes);
  int rc = bytecode_guard(buf_str(&repl->dump), &repl->guarded, &notes, &err); // refuses 1LL
  bytecode_notes_deinit(&notes);
  if (rc == 0) return LOADED;
  lua_pop(lua, 1);
  lua_pushstring(lua, err.message);
  return LOADED_REFUSED;
}

/** As an expression, else as statements. @return whether the function is on the stack. */
static bool load_either(lua_State *lua, struct repl *repl, struct str source) {
  buf_clear(&repl->text);
  buf_append(&repl->text, "return ", sizeof "return " - 1);
  buf_append(&repl->text, source.data, source.len);
  enum loaded loaded = load(lua, repl, buf_str(&repl->text));
  bool incomplete = loaded == LOADED_NOT && ends_with(lua_tostring(lua, -1), "near '<eof>'");
  if (loaded == LOADED_NOT) {
    lua_pop(lua, 1);
    loaded = load(lua, repl, source);
    incomplete |= loaded == LOADED_NOT && ends_with(lua_tostring(lua, -1), "near '<eof>'");
  }
  if (loaded == LOADED) return true;
  error_set(&repl->failure, ERROR_SCRIPT, "%.900s", lua_tostring(lua, -1));
  repl->state = incomplete && loaded == LOADED_NOT ? REPL_INCOMPLETE : REPL_FAILED;
  return false;
}

static int compile(lua_State *lua, void *context) {
  struct repl *repl = context;
  struct str source = repl->source;
  while (source.len && (*source.data == ' ' || *source.data == '\t')) source.data++, source.len--;
  if (source.len && *source.data == '=' && !(source.len > 1 && source.data[1] == '='))
    source.data++, source.len--;
  if (!load_either(lua, repl, source)) return 0;
  lua_rawgeti(lua, LUA_REGISTRYINDEX, repl->environment);
  lua_setfenv(lua, -2);
  lua_State *thread = lua_newthread(lua);
  lua_insert(lua, -2);
  lua_xmove(lua, thread, 1);
  repl->thread_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
  repl->thread = thread;
  repl->state = REPL_SLICED;
  return 0;
}

enum repl_state repl_begin(struct repl *repl, struct str source, bool json) {
  struct error err = {0};
  repl_drop(repl);
  repl->evaluation++;
  repl->json = json;
  repl->spent_us = 0;
  repl->full = repl->cut = false;
  repl->source = source;
  repl->failure.code = 0;
  buf_clear(&repl->output);
  if (sandbox_run(&repl->sandbox, compile, repl, SET_UP_MS, &err)) return fail(repl, err.message);
  return repl->state;
}

/* ---- running ---- */

/** The values on top of the thread's stack. */
static void take_results(lua_State *lua, struct repl *repl, int count) {
  struct buf *out = &repl->output;
  luaL_checkstack(lua, RESULTS_MAX + 8, NULL);
  int shown = count > RESULTS_MAX ? RESULTS_MAX : count;
  lua_settop(repl->thread, lua_gettop(repl->thread) - (count - shown));
  lua_xmove(repl->thread, lua, shown);
  int base = lua_gettop(lua) - shown;
  if (repl->json) {
    buf_clear(out); // printed text is no JSON
    if (shown != 1) buf_put_u8(out, '[');
    for (int i = 1; i <= shown; i++) {
      if (i > 1) buf_put_u8(out, ',');
      show_json(lua, base + i, &limits, out);
    }
    if (shown != 1) buf_put_u8(out, ']');
  } else {
    for (int i = 1; i <= shown && out->len < REPL_OUTPUT_MAX; i++) {
      show_value(lua, base + i, &limits, out);
      buf_put_u8(out, '\n');
    }
  }
  if (shown) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, repl->environment);
    lua_pushvalue(lua, base + 1);
    lua_setfield(lua, -2, "_"); // as many shells have it
  }
}

static void take_error(lua_State *lua, struct repl *repl) {
  struct buf text;
  if (lua_type(repl->thread, -1) == LUA_TSTRING) {
    error_set(&repl->failure, ERROR_SCRIPT, "%.900s", lua_tostring(repl->thread, -1));
    return;
  }
  luaL_checkstack(lua, 8, NULL);
  lua_xmove(repl->thread, lua, 1);
  struct show_limits few = {.output_max = 500, .text_max = 200, .entries_max = 20, .depth_max = 3};
  buf_init(&text);
  show_value(lua, lua_gettop(lua), &few, &text);
  error_set(&repl->failure, ERROR_SCRIPT, "the error raised is not text but %.*s", STR_ARG(buf_str(&text)));
  buf_deinit(&text);
}

/** Push what `ask` returns: true and the value, or false and the reason. */
static int push_answer(lua_State *lua, struct repl *repl) {
  luaL_checkstack(lua, 8, NULL);
  lua_pushboolean(lua, repl->answer_error.code == 0);
  if (repl->answer_error.code) {
    lua_pushstring(lua, repl->answer_error.message);
  } else {
    struct reader reader = reader_of(buf_str(&repl->answer));
    convert_push(lua, &reader, false);
  }
  lua_xmove(lua, repl->thread, 2);
  return 2;
}

static int run(lua_State *lua, void *context) {
  struct repl *repl = context;
  repl->sandbox.calls = repl->evaluation; // a walk that pairs began goes on in the next slice
  int arguments = 0;
  if (repl->waiting == WAITING_TO_GIVE) {
    repl->waiting = WAITING_NOTHING;
    arguments = push_answer(lua, repl);
  }
  repl->sandbox.budget.slice = look;
  repl->sandbox.budget.steps_max = CALL_STEPS;
  budget_look(lua, LOOK_INTERVAL);
  int status = lua_resume(repl->thread, arguments);
  repl->sandbox.budget.slice = NULL;
  lua_sethook(lua, NULL, 0, 0);
  if (status == LUA_YIELD) {
    repl->state = repl->waiting == WAITING_ANSWER ? REPL_ASKS : REPL_SLICED;
  } else if (status == 0) {
    take_results(lua, repl, lua_gettop(repl->thread));
    repl->state = REPL_DONE;
  } else {
    if (status == LUA_ERRMEM)
      error_set(&repl->failure, ERROR_BUDGET, "this needs more memory than the %d MB of a session",
                REPL_MEMORY >> 20);
    else
      take_error(lua, repl);
    repl->state = REPL_FAILED;
  }
  return 0;
}

static int collect(lua_State *lua, void *context) {
  struct repl *repl = context;
  while (repl->collecting && !slice_is_over(repl))
    if (lua_gc(lua, LUA_GCSTEP, COLLECT_STEP)) repl->collecting--;
  return 0;
}

static bool has_room(const struct repl *repl) {
  return repl->sandbox.used < REPL_MEMORY - REPL_MEMORY / 8 && repl->sandbox.pool.size < POOL_MAX;
}

enum repl_state repl_step(struct repl *repl, int64_t slice_us, const atomic_bool *cancelled) {
  struct error err = {0};
  int64_t began = clock_thread_us();
  bool collects = repl->collecting > 0;
  repl->slice_end = clock_mono_us() + slice_us;
  repl->patience_end = began + slice_us + REPL_PATIENCE_US;
  repl->cancelled = cancelled;
  int rc = sandbox_run(&repl->sandbox, collects ? collect : run, repl, CALL_MS, &err);
  repl->sandbox.budget.slice = NULL;
  lua_sethook(repl->sandbox.lua, NULL, 0, 0); // an error may have passed by the place that does it
  repl->spent_us += clock_thread_us() - began;
  if (rc) return fail(repl, err.message);
  if (collects) {
    if (repl->collecting) return REPL_SLICED;
    if (has_room(repl)) return REPL_SLICED;
    char text[80];
    snprintf(text, sizeof text, "this needs more memory than the %d MB of a session", REPL_MEMORY >> 20);
    return fail(repl, text);
  }
  if (repl->state == REPL_DONE || repl->state == REPL_FAILED) {
    repl_drop(repl);
    return repl->state;
  }
  if (repl->full) {
    repl->full = false;
    repl->collecting = COLLECTIONS_MAX;
  }
  if (repl->spent_us > REPL_TIME_US) {
    char text[80];
    snprintf(text, sizeof text, "stopped: it used up its %d s of processor time", REPL_TIME_US / 1000000);
    return fail(repl, text);
  }
  return repl->state;
}

struct str repl_question(const struct repl *repl) {
  return buf_str(&repl->question);
}

void repl_answer(struct repl *repl, int status, struct str value, const struct error *err) {
  if (repl->waiting != WAITING_ANSWER) return;
  repl->waiting = WAITING_TO_GIVE;
  repl->answer_error.code = 0;
  buf_clear(&repl->answer);
  if (status) {
    error_set(&repl->answer_error, status, "%s", err->message);
  } else if (value.len > REPL_ANSWER_MAX) {
    error_set(&repl->answer_error, ERROR_LIMIT,
              "the answer has %zu KB; a session takes %d KB at once: ask for less of it", value.len >> 10,
              REPL_ANSWER_MAX >> 10);
  } else if (value.len) {
    buf_append(&repl->answer, value.data, value.len);
  } else {
    value_put_nil(&repl->answer);
  }
}

struct str repl_output(const struct repl *repl) {
  return buf_str(&repl->output);
}

struct str repl_failure(const struct repl *repl) {
  return str_from(repl->failure.message);
}

/* ---- completion ---- */

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

enum { NAME_SIZE = 104 };

struct offers {
  struct str begin;
  int count;
  char names[REPL_NAMES_MAX][NAME_SIZE];
};

static int by_name(const void *a, const void *b) {
  return strcmp(a, b);
}

/** Offer the keys of the table on top, and those of what a user's methods are, if it is one; pops it. */
static void offer(lua_State *lua, const struct repl *repl, struct offers *offers, bool methods) {
  int table = lua_gettop(lua);
  lua_pushnil(lua);
  while (lua_next(lua, table)) {
    bool call = lua_isfunction(lua, -1);
    lua_pop(lua, 1);
    struct str name;
    if (lua_type(lua, -1) != LUA_TSTRING) continue;
    name.data = lua_tolstring(lua, -1, &name.len);
    bool fits = name.len >= offers->begin.len && name.len < NAME_SIZE - 2 &&
                memcmp(name.data, offers->begin.data, offers->begin.len) == 0;
    for (size_t i = 0; i < name.len; i++) fits = fits && is_letter(name.data[i]);
    if (!fits || offers->count == REPL_NAMES_MAX) continue;
    snprintf(offers->names[offers->count++], NAME_SIZE, "%.*s%s", STR_ARG(name), call ? "(" : "");
  }
  lua_settop(lua, table);
  if (methods && lua_getmetatable(lua, table)) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, repl->names);
    offer(lua, repl, offers, false);
  }
  lua_settop(lua, table - 1);
}

/** "user.attributes.fi" -> the table that the names before the last lead to. @return false if to none. */
static bool push_place(lua_State *lua, struct repl *repl, struct str path) {
  lua_rawgeti(lua, LUA_REGISTRYINDEX, repl->environment);
  while (path.len) {
    size_t len = 0;
    while (len < path.len && is_letter(path.data[len])) len++;
    lua_pushlstring(lua, path.data, len);
    lua_rawget(lua, -2);
    lua_remove(lua, -2);
    if (!lua_istable(lua, -1)) {
      lua_pop(lua, 1);
      return false;
    }
    path.data += len + (len < path.len);
    path.len -= len + (len < path.len);
  }
  return true;
}

static int complete(lua_State *lua, void *context) {
  struct repl *repl = context;
  struct str text = repl->source;
  size_t begin = text.len;
  while (begin && is_letter(text.data[begin - 1])) begin--;
  struct offers offers = {.begin = {text.data + begin, text.len - begin}};
  size_t path = begin;
  while (path && (is_letter(text.data[path - 1]) || text.data[path - 1] == '.' || text.data[path - 1] == ':'))
    path--;
  struct str places = {text.data + path, begin > path ? begin - path - 1 : 0};
  bool found =
      !(path && (text.data[path - 1] == ')' || text.data[path - 1] == ']' || text.data[path - 1] == '"')) &&
      push_place(lua, repl, places);
  if (!found && begin && (text.data[begin - 1] == '.' || text.data[begin - 1] == ':')) {
    lua_rawgeti(lua, LUA_REGISTRYINDEX, repl->names);
    found = true;
  }
  if (found) offer(lua, repl, &offers, true);
  qsort(offers.names, (size_t)offers.count, NAME_SIZE, by_name);
  value_put_array(repl->names_out, (uint32_t)offers.count + 1);
  value_put_integer(repl->names_out, (int64_t)offers.begin.len);
  for (int i = 0; i < offers.count; i++) value_put_string(repl->names_out, str_from(offers.names[i]));
  return 0;
}

void repl_complete(struct repl *repl, struct str text, struct buf *out) {
  struct error err = {0};
  size_t start = out->len;
  repl->source = text;
  repl->names_out = out;
  if (sandbox_run(&repl->sandbox, complete, repl, SET_UP_MS, &err) == 0) return;
  out->len = start;
  value_put_array(out, 1);
  value_put_integer(out, 0);
}

/* ---- between evaluations ---- */

bool repl_untidy(const struct repl *repl) {
  return repl->sandbox.used > REPL_MEMORY / 4 || repl->sandbox.pool.size > REPL_MEMORY;
}

void repl_tidy(struct repl *repl) {
  lua_gc(repl->sandbox.lua, LUA_GCCOLLECT, 0);
  pool_trim(&repl->sandbox.pool);
}
