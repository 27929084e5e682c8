#include "engine/sandbox.h"

#include "base/logger.h"
#include "engine/traceback.h"

#include <luajit.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/** What stands at the bottom of the main stack for good. */
enum { INDEX_HANDLER = 1, INDEX_ENTRY, STACK_RESERVED = 64, PROBE_DEPTH = 60 };

/* ---- memory ---- */

/** A counted budget pays for the bytes that one instruction may copy: a rule that makes a long text longer
 * would else run for hours within its steps. */
static void charge_bytes(struct budget *budget, size_t bytes) {
  enum { FREE = 1 << 10, BYTES_A_STEP = 16 };
  if (bytes < FREE) return;
  budget->steps += bytes / BYTES_A_STEP;
  if (budget->steps > budget->steps_max) budget_spend(budget, BUDGET_TIME);
}

/** What is asked for past the limit is granted, and the call ends at its next instruction: Lua's own error
 * for memory has no line, and one raised from compiled code no frames to look at. Twice the limit is refused.
 * Shrinking must not fail. */
static void *allocate(void *context, void *old, size_t old_size, size_t new_size) {
  struct sandbox *sandbox = context;
  if (!old) old_size = 0;
  if (new_size == 0) {
    sandbox->used -= old_size;
    pool_give(&sandbox->pool, old, old_size);
    return NULL;
  }
  size_t used = sandbox->used + new_size - old_size;
  if (__builtin_expect(new_size > old_size && used > sandbox->limit, 0)) {
    budget_spend(&sandbox->budget, BUDGET_MEMORY);
    if (used > 2 * sandbox->limit) return NULL;
  }
  if (new_size > old_size) charge_bytes(&sandbox->budget, new_size - old_size);
  void *memory = pool_resize(&sandbox->pool, old, old_size, new_size);
  if (__builtin_expect(!memory || sandbox->pool.size > sandbox->pool_max, 0))
    budget_spend(&sandbox->budget, BUDGET_MEMORY);
  if (memory) sandbox->used = used;
  return memory;
}

/** Blocks of a size that nobody asks for any more. What cannot go back, for something in it lives, is no
 * reason to end a call. */
static void trim(struct sandbox *sandbox) {
  pool_trim(&sandbox->pool);
  sandbox->pool_roomy = sandbox->pool.size + sandbox->limit / 2;
  if (sandbox->pool_roomy < sandbox->limit) sandbox->pool_roomy = sandbox->limit;
  sandbox->pool_max = sandbox->pool_roomy + sandbox->limit;
}

bool sandbox_relieve(struct sandbox *sandbox) {
  lua_gc(sandbox->lua, LUA_GCCOLLECT, 0);
  if (sandbox->pool.size > sandbox->pool_max) trim(sandbox);
  return sandbox->used <= sandbox->limit - sandbox->limit / 8;
}

void sandbox_settle(struct sandbox *sandbox) {
  sandbox->roomy =
      sandbox->used < sandbox->limit ? sandbox->used + (sandbox->limit - sandbox->used) / 2 : sandbox->limit;
}

/** After a call that left much behind. */
static void clear_up(struct sandbox *sandbox) {
  lua_gc(sandbox->lua, LUA_GCCOLLECT, 0);
  if (sandbox->pool.size > sandbox->pool_roomy) trim(sandbox);
}

/* ---- places ---- */

/** The innermost running function with a line; of a rule file, if there is one. */
static bool innermost_line(lua_State *lua, lua_Debug *out) {
  lua_Debug frame;
  bool found = false;
  for (int level = 0; level < PROBE_DEPTH && lua_getstack(lua, level, &frame); level++) {
    lua_getinfo(lua, "Sl", &frame);
    if (frame.currentline <= 0) continue;
    bool rule = strncmp(frame.source, "@" SANDBOX_RULES, sizeof SANDBOX_RULES) == 0;
    if (rule || !found) *out = frame;
    if (rule) return true;
    found = true;
  }
  return found;
}

size_t sandbox_where(lua_State *lua, char *out, size_t size) {
  lua_Debug frame;
  out[0] = '\0';
  if (!innermost_line(lua, &frame)) return 0;
  int len = snprintf(out, size, "%s:%d: ", frame.source + 1, frame.currentline);
  return len < 0 ? 0 : (size_t)len < size ? (size_t)len : size - 1;
}

uint32_t sandbox_line(lua_State *lua) {
  lua_Debug frame;
  if (!innermost_line(lua, &frame) || strncmp(frame.source, "@" SANDBOX_RULES, sizeof SANDBOX_RULES) != 0)
    return 0;
  return (uint32_t)frame.currentline;
}

struct str sandbox_running_file(lua_State *lua) {
  lua_Debug frame;
  size_t prefix = sizeof SANDBOX_RULES; // with the '@', without the end
  if (!innermost_line(lua, &frame) || strncmp(frame.source, "@" SANDBOX_RULES, prefix) != 0) return STR("");
  return str_from(frame.source + prefix);
}

_Noreturn static void raise_text(lua_State *lua, int code, const char *text) {
  struct sandbox *sandbox = sandbox_of(lua);
  lua_checkstack(lua, 1);
  lua_pushstring(lua, text);
  sandbox->raised = lua_tostring(lua, -1);
  sandbox->raised_code = code;
  lua_error(lua);
  abort(); // lua_error does not return
}

/** What is wrong, behind file and line. `text` has room for an error's message. */
static void say_where(lua_State *lua, char *text, const char *format, va_list arguments) {
  size_t size = sizeof((struct error *)NULL)->message, at = sandbox_where(lua, text, size / 2);
  vsnprintf(text + at, size - at, format, arguments);
}

void sandbox_raise(lua_State *lua, int code, const char *format, ...) {
  char text[sizeof((struct error *)NULL)->message];
  va_list arguments;
  va_start(arguments, format);
  say_where(lua, text, format, arguments);
  va_end(arguments);
  raise_text(lua, code, text);
}

void sandbox_end(lua_State *lua, int code, const char *format, ...) {
  struct sandbox *sandbox = sandbox_of(lua);
  char text[sizeof((struct error *)NULL)->message];
  va_list arguments;
  va_start(arguments, format);
  say_where(lua, text, format, arguments);
  va_end(arguments);
  error_set(&sandbox->failure, code, "%.700s", text);
  traceback_add(lua, 0, &sandbox->failure);
  budget_stop(&sandbox->budget, lua, BUDGET_ENDED);
  raise_text(lua, code, text);
}

void sandbox_suspend(lua_State *lua) {
  budget_stop(&sandbox_of(lua)->budget, lua, BUDGET_SUSPENDED);
  raise_text(lua, SANDBOX_SUSPENDED, "");
}

void sandbox_raise_at(lua_State *lua, struct str path, uint32_t line, const char *format, ...) {
  char text[sizeof((struct error *)NULL)->message];
  int len = line ? snprintf(text, sizeof text / 2, SANDBOX_RULES "%.*s:%u: ", STR_ARG(path), line)
                 : snprintf(text, sizeof text / 2, SANDBOX_RULES "%.*s: ", STR_ARG(path));
  size_t at = (size_t)len < sizeof text / 2 ? (size_t)len : sizeof text / 2 - 1;
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text + at, sizeof text - at, format, arguments);
  va_end(arguments);
  raise_text(lua, ERROR_SCRIPT, text);
}

/* ---- errors on their way out ---- */

/** What to write where Lua itself says only what went wrong, as `kairos check` and our own errors do. */
static const char *advice(const char *text) {
  static const struct {
    const char *said, *instead;
  } known[] = {
      {": attempt to index ", "; it is not there: write `if … then` around this, or (… or {})"},
      {": attempt to perform arithmetic on ", "; it is no number: write (… or 0), or tonumber(…)"},
      {": attempt to compare ", "; one of the two is missing, or text: write (… or 0), or tonumber(…)"},
      {": attempt to concatenate ", "; it is not there, or no text: write (… or \"\"), or tostring(…)"},
      {": attempt to get length of ", "; it is not there: write #(… or {})"},
      {": attempt to call ", "; there is no such function: `kairos check` names the nearest"},
  };
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (strstr(text, known[i].said)) return known[i].instead;
  return "";
}

/** Where the running call is: a line, or, of a file that does not run yet, the file; "" if nobody knows. */
static void find_place(lua_State *lua, char *out, size_t size) {
  const struct sandbox *sandbox = sandbox_of(lua);
  if (!sandbox_where(lua, out, size) && sandbox->file.len)
    snprintf(out, size, SANDBOX_RULES "%.*s: ", STR_ARG(sandbox->file));
}

/** Runs where the error was raised, before the stack unwinds. Never calls what the rule defined: the error
 * object may be anything. */
static int handle_error(lua_State *lua) {
  struct sandbox *sandbox = sandbox_of(lua);
  const char *text = lua_type(lua, 1) == LUA_TSTRING ? lua_tostring(lua, 1) : NULL;
  bool raised = text && text == sandbox->raised;
  char where[300], why[64];
  if (sandbox->budget.spent >= BUDGET_SUSPENDED) return 1; // what is to be said has been
  if (sandbox->budget.spent && !(raised && sandbox->raised_code == ERROR_BUDGET)) {
    find_place(lua, where, sizeof where);
    budget_text(&sandbox->budget, why, sizeof why);
    error_set(&sandbox->failure, ERROR_BUDGET, "%s%s", where, why);
  } else if (text) {
    error_set(&sandbox->failure, raised ? sandbox->raised_code : ERROR_SCRIPT, "%.700s%s", text,
              raised ? "" : advice(text));
  } else {
    find_place(lua, where, sizeof where);
    error_set(&sandbox->failure, ERROR_SCRIPT,
              "%sthe error raised is not text but a %s; write error(\"what went wrong\")", where,
              luaL_typename(lua, 1));
  }
  traceback_add(lua, 0, &sandbox->failure);
  return 1;
}

static int enter(lua_State *lua) {
  struct sandbox *sandbox = sandbox_of(lua);
  return sandbox->entry(lua, sandbox->entry_context);
}

/** The one place that calls lua_pcall. */
static int protect(lua_State *lua, int arguments, int results, int handler) {
  return lua_pcall(lua, arguments, results, handler);
}

int sandbox_try(lua_State *lua, int arguments, int results) {
  struct sandbox *sandbox = sandbox_of(lua);
  uint32_t depth = sandbox->depth;
  int status = protect(lua, arguments, results, 0);
  sandbox->depth = depth;
  if (status && sandbox->budget.spent && budget_is_spent(&sandbox->budget, lua)) lua_error(lua);
  return status;
}

void sandbox_descend(struct sandbox *sandbox, lua_State *lua) {
  if (sandbox->depth >= SANDBOX_DEPTH_MAX)
    sandbox_raise(lua, ERROR_SCRIPT, "functions given to gsub, sort or pcall are nested more than %d deep",
                  SANDBOX_DEPTH_MAX);
  luaL_checkstack(lua, 16, "too many nested calls");
  sandbox->depth++;
}

/** Errors show where people read them, as one text: what steers a terminal has no place in it. */
static void make_plain(char *text) {
  for (; *text; text++)
    if (((unsigned char)*text < ' ' && *text != '\n') || *text == 0x7f) *text = ' ';
}

static int failed(struct sandbox *sandbox, int status, struct error *err) {
  char why[64];
  if (status == LUA_ERRRUN && sandbox->failure.code) {
    make_plain(sandbox->failure.message);
    return error_set(err, sandbox->failure.code, "%s", sandbox->failure.message);
  }
  // It was refused memory in one large piece, or the handler was.
  if (sandbox->budget.spent) budget_text(&sandbox->budget, why, sizeof why);
  return error_set(err, sandbox->budget.spent ? ERROR_BUDGET : ERROR_SCRIPT, "%s%.*s: %s",
                   sandbox->file.len ? SANDBOX_RULES : "Lua", STR_ARG(sandbox->file),
                   sandbox->budget.spent ? why : "it failed, and so did describing why");
}

int sandbox_run(struct sandbox *sandbox, int (*entry)(lua_State *lua, void *context), void *context,
                int64_t limit_ms, struct error *err) {
  lua_State *lua = sandbox->lua;
  sandbox->entry = entry;
  sandbox->entry_context = context;
  sandbox->depth = 0;
  sandbox->raised = NULL;
  sandbox->calls++;
  sandbox_let_go(sandbox);
  lua_pushvalue(lua, INDEX_ENTRY);
  budget_begin(&sandbox->budget, limit_ms);
  int status = protect(lua, 0, 0, INDEX_HANDLER);
  budget_end(&sandbox->budget);
  int rc = 0;
  if (__builtin_expect(status != 0, 0)) {
    rc = sandbox->budget.spent == BUDGET_SUSPENDED ? SANDBOX_SUSPENDED : failed(sandbox, status, err);
    lua_settop(lua, INDEX_ENTRY);
    sandbox->failure.code = 0;
  }
  if (__builtin_expect(sandbox->used > sandbox->roomy || sandbox->pool.size > sandbox->pool_roomy, 0))
    clear_up(sandbox);
  return rc;
}

/* ---- loading ---- */

static int write_dump(lua_State *lua, const void *bytes, size_t len, void *out) {
  (void)lua;
  buf_append(out, bytes, len);
  return 0;
}

static void load(lua_State *lua, struct str bytes, const char *name, const char *mode) {
  struct sandbox *sandbox = sandbox_of(lua);
  if (luaL_loadbufferx(lua, bytes.data, bytes.len, name, mode) == 0) return;
  // The text names file and line already.
  sandbox->raised = lua_tostring(lua, -1);
  sandbox->raised_code = ERROR_SCRIPT;
  lua_error(lua);
}

/** Leaves the chunk's name on the stack, below the function that is to come. */
static const char *push_chunk_name(lua_State *lua, const char *folder, struct str path) {
  lua_pushlstring(lua, path.data, path.len);
  return lua_pushfstring(lua, "@%s%s", folder, lua_tostring(lua, -1));
}

void sandbox_load_rule(lua_State *lua, struct str path, struct str text, struct bytecode_notes *notes) {
  struct sandbox *sandbox = sandbox_of(lua);
  int base = lua_gettop(lua);
  const char *name = push_chunk_name(lua, SANDBOX_RULES, path);
  if (text.len && *text.data == LUA_SIGNATURE[0])
    sandbox_raise_at(lua, path, 0, "this is compiled Lua; rules are text");
  load(lua, text, name, "t");
  buf_clear(&sandbox->dump);
  buf_clear(&sandbox->guarded);
  lua_dump(lua, write_dump, &sandbox->dump);
  struct error err;
  int rc = bytecode_guard(buf_str(&sandbox->dump), &sandbox->guarded, notes, &err);
  if (rc) sandbox_raise_at(lua, path, 0, "%s", err.message);
  load(lua, buf_str(&sandbox->guarded), name, "b");
  luaJIT_setmode(lua, -1, LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_OFF);
  lua_replace(lua, base + 1);
  lua_settop(lua, base + 1);
}

void sandbox_load_library(lua_State *lua, struct str path, struct str text) {
  int base = lua_gettop(lua);
  const char *name = push_chunk_name(lua, SANDBOX_LIBRARY, path);
  load(lua, text, name, "t");
  if (sandbox_of(lua)->budget.counted) // traces are not counted
    luaJIT_setmode(lua, -1, LUAJIT_MODE_ALLFUNC | LUAJIT_MODE_OFF);
  lua_replace(lua, base + 1);
  lua_settop(lua, base + 1);
}

/* ---- a state's life ---- */

/** Nothing outside of protect() may raise. */
static int panic(lua_State *lua) {
  LOG_ERROR("rules", "an error escaped from Lua",
            LOG_TEXT("error", lua_isstring(lua, -1) ? lua_tostring(lua, -1) : ""));
  abort();
}

static int set_up(lua_State *lua) {
  struct sandbox *sandbox = sandbox_of(lua);
  lua_pushcfunction(lua, luaopen_jit);
  lua_call(lua, 0, 0);
  lua_settop(lua, 0);
  if (sandbox->budget.counted) luaJIT_setmode(lua, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
  return 0;
}

void sandbox_init(struct sandbox *sandbox, uint64_t memory_limit, bool counted_budget) {
  *sandbox = (struct sandbox){.limit = SIZE_MAX / 2,
                              .roomy = SIZE_MAX,
                              .pool_roomy = memory_limit,
                              .pool_max = 2 * memory_limit,
                              .loading = true};
  pointer_set_init(&sandbox->frozen);
  pointer_set_init(&sandbox->lent);
  pointer_set_init(&sandbox->lent_to_call);
  pointer_set_init(&sandbox->metas);
  pointer_set_init(&sandbox->reached);
  buf_init(&sandbox->dump);
  buf_init(&sandbox->guarded);
  buf_init(&sandbox->scratch);
  // The few kilobytes of an empty state do not fail: without memory the host is to abort (base/memory.h).
  lua_State *lua = lua_newstate(allocate, sandbox);
  if (!lua) abort();
  sandbox->lua = lua;
  lua_atpanic(lua, panic);
  budget_init(&sandbox->budget, lua, counted_budget);
  lua_checkstack(lua, STACK_RESERVED);
  lua_pushcfunction(lua, handle_error);
  lua_pushcfunction(lua, enter);
  lua_pushcfunction(lua, set_up);
  if (protect(lua, 0, 0, INDEX_HANDLER)) abort();
  sandbox->limit = memory_limit;
}

void sandbox_deinit(struct sandbox *sandbox) {
  if (sandbox->lua) lua_close(sandbox->lua);
  pool_deinit(&sandbox->pool);
  pointer_set_deinit(&sandbox->frozen);
  pointer_set_deinit(&sandbox->lent);
  pointer_set_deinit(&sandbox->lent_to_call);
  pointer_set_deinit(&sandbox->metas);
  pointer_set_deinit(&sandbox->reached);
  buf_deinit(&sandbox->dump);
  buf_deinit(&sandbox->guarded);
  buf_deinit(&sandbox->scratch);
  *sandbox = (struct sandbox){0};
}
