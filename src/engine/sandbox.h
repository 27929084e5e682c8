/** One Lua state with bounds: its memory is counted, its time watched, and what files made while loading is
 * read-only afterwards.
 *
 * Memory is a bound on what lives: a call that comes to it has its garbage collected, goes on if that made
 * room, and ends otherwise. It may pass the bound by its last allocation, and never holds twice as much. A
 * call leaves at least half of the room to the next.
 *
 * Rule files are compiled here alone. Their bytecode is guarded (bytecode.h) and interpreted; library files
 * (ours) run as they are, compiled by the JIT. Each file has an environment of its own with copies of the
 * allowed functions. Into Lua leads one function, sandbox_run; errors come out of it as text with file, line
 * and traceback, and with the code they were raised with. Every userdata that rules can reach begins with a
 * struct object. A state belongs to one thread.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "engine/budget.h"
#include "engine/bytecode.h"
#include "engine/deferred.h"
#include "engine/event_table.h"
#include "engine/pointer_set.h"
#include "engine/pool.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

/** How deep C functions that call back into Lua (gsub, sort, pcall, …) may nest: each level takes C stack. */
enum { SANDBOX_DEPTH_MAX = 32 };

/** Of a call that ended itself by sandbox_suspend(). */
enum { SANDBOX_SUSPENDED = 1 };

/** Where a chunk's source lies: the beginning of its name, and of every error message. */
#define SANDBOX_RULES   "rules/"
#define SANDBOX_LIBRARY "lua/"

struct ruleset;
struct sandbox;

/** State of math.random: its owner seeds it from the input, when it is first asked for if `seed` is there. */
struct sandbox_dice {
  uint64_t state;
  uint64_t (*seed)(const struct sandbox *sandbox);
};

struct sandbox {
  lua_State *lua;
  const struct ruleset *sources;      /**< where `require` looks */
  size_t used, limit;                 /**< bytes that Lua holds, and may hold */
  size_t roomy, pool_roomy, pool_max; /**< more than this in use, or in the pool, after a call: collect */
  struct pool pool;
  struct budget budget;
  struct pointer_set frozen;       /**< tables and upvalues made while loading: nobody may write them */
  struct pointer_set lent;         /**< tables of the input under way: nobody may write them */
  struct pointer_set lent_to_call; /**< the same, of the call under way */
  struct pointer_set reached;      /**< scratch of sandbox_reach */
  struct pointer_set metas; /**< metatables that the call under way has set: they must not become weak */
  int held;                 /**< tables that are kept alive for it */
  bool loading;
  uint32_t depth; /**< C functions that call back, now */
  uint64_t calls; /**< number of the call under way */
  struct sandbox_dice dice;
  bool no_random;       /**< … and may refuse it */
  struct error failure; /**< of the call under way, as the handler saw it */
  struct str file;      /**< whose call it is, for errors of which no line is known; "" if nobody's */
  const char *raised;   /**< the last text that sandbox_raise raised, and its code */
  int raised_code;
  void (*caught)(
      lua_State *lua); /**< its owner's, or null: a pcall of a rule's has caught the error on top */
  int (*entry)(lua_State *lua, void *context); /**< what sandbox_run runs … */
  void *entry_context;                         /**< … with this */
  const void *original;                        /**< table that was made from … */
  struct str original_bytes;                   /**< … this value (convert.h) */
  struct deferred deferred;                    /**< parts of the input that are no tables yet */
  struct event_table event;                    /**< the event of the input */
  struct buf dump, guarded;                    /**< the last rule file compiled, as dumped and as it runs */
  struct buf scratch; /**< for a C function's bytes while it does not call Lua; survives errors */
};

/** What every userdata begins with. */
struct object {
  const char *type; /**< one address a type; what tostring says */
};

/** A state without any function in it. */
void sandbox_init(struct sandbox *sandbox, uint64_t memory_limit, bool counted_budget);
void sandbox_deinit(struct sandbox *sandbox);

static inline struct sandbox *sandbox_of(lua_State *lua) {
  void *sandbox;
  lua_getallocf(lua, &sandbox);
  return sandbox;
}

/** Run `entry` in the state, protected, under a budget. The stack is as before afterwards.
 * @return 0, or ERROR_BUDGET, ERROR_SCRIPT or the code given to sandbox_raise, with file, line and traceback;
 * or SANDBOX_SUSPENDED, without an error. */
int sandbox_run(struct sandbox *sandbox, int (*entry)(lua_State *lua, void *context), void *context,
                int64_t limit_ms, struct error *err);
/** lua_pcall without a handler, for pcall: @return its status. Errors that end the call are raised again. */
int sandbox_try(lua_State *lua, int arguments, int results);
/** Before and after calling back into Lua from C. */
void sandbox_descend(struct sandbox *sandbox, lua_State *lua);
static inline void sandbox_ascend(struct sandbox *sandbox) {
  sandbox->depth--;
}

/** Compile a rule file and leave its guarded function, without an environment, on the stack. Inside
 * sandbox_run; raises syntax errors.
 * @param notes  what the file says about itself is added; borrowed from the sandbox until the next file is
 * compiled. */
void sandbox_load_rule(lua_State *lua, struct str path, struct str text, struct bytecode_notes *notes);
/** Compile a library file. */
void sandbox_load_library(lua_State *lua, struct str path, struct str text);

/** Collect what nobody needs. @return whether there is room again. */
bool sandbox_relieve(struct sandbox *sandbox);
/** What a state holds once everything is loaded is what all calls share: the room above it is theirs. */
void sandbox_settle(struct sandbox *sandbox);

/** Make everything reachable from the value on top read-only, for good; the caller keeps it anchored. Pops
 * it. */
void sandbox_freeze(lua_State *lua);
/** Tell of every userdata that can be reached from the value on top, but through what is read-only already;
 * pops it. While loading. `object` must not use the state. */
void sandbox_reach(lua_State *lua, void (*object)(void *context, const struct object *object), void *context);
/** Read-only tables are known by their addresses, so they must live as long as they are lent: another one at
 * the address would be read-only too. */
enum sandbox_loan {
  LOAN_NONE,
  LOAN_INPUT, /**< till sandbox_take_back; the caller keeps it alive */
  LOAN_CALL   /**< till the call has ended; sandbox_hold keeps it alive */
};
/** The table on top is nobody's to write. */
static inline void sandbox_lend(struct sandbox *sandbox, lua_State *lua, enum sandbox_loan loan) {
  if (loan)
    pointer_set_add(loan == LOAN_INPUT ? &sandbox->lent : &sandbox->lent_to_call, lua_topointer(lua, -1));
}
static inline void sandbox_take_back(struct sandbox *sandbox) {
  pointer_set_clear(&sandbox->lent);
}
/** The value on top, and what it holds, lives till the call has ended. */
void sandbox_hold(lua_State *lua);
/** A call begins: what the last one was lent is free. */
void sandbox_let_go(struct sandbox *sandbox);
/** Raise if the table at `index` may not be written. */
void sandbox_check_write(lua_State *lua, int index);
/** Raise if the value at `key` would make a table weak that others have as their metatable. */
void sandbox_check_key(lua_State *lua, int index, int key);
/** The table at `index` is about to be a metatable. */
void sandbox_note_metatable(lua_State *lua, int index);

/** "rules/x/rule.lua:12: " of the innermost line of a rule file (else of any Lua file), or "". @return its
 * length. */
size_t sandbox_where(lua_State *lua, char *out, size_t size);
/** Line of the innermost rule file that is running; 0 if none is. */
uint32_t sandbox_line(lua_State *lua);
/** Path, relative to the rules folder, of the innermost rule file that is running; "" if none. Borrowed from
 * Lua. */
struct str sandbox_running_file(lua_State *lua);
/** Raise an error with its place in front; sandbox_run returns `code` unless the rule catches it. */
_Noreturn void sandbox_raise(lua_State *lua, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** The same, but no pcall of the rule catches it. */
_Noreturn void sandbox_end(lua_State *lua, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/** The call ends here, and nothing is wrong: sandbox_run returns SANDBOX_SUSPENDED. No pcall holds it up. */
_Noreturn void sandbox_suspend(lua_State *lua);
/** The same about a line of a rule file that is not running. @param line  0: about the file. */
_Noreturn void sandbox_raise_at(lua_State *lua, struct str path, uint32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
