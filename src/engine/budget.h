/** How long one call into Lua may run, and how it is ended.
 *
 * Live, a budget is CPU time of the thread: a POSIX timer a thread, counting that thread's CPU time,
 * interrupts it every few milliseconds while it works (nothing while it sleeps); a tick that finds the same
 * call still running near the end of its budget arms a Lua hook, which raises the error. Before that the
 * budget costs a call two stores. The kernel's tick (1 to 10 ms) is the precision: a call is stopped between
 * its budget less one tick and its budget, or, where a budget is shorter than two ticks, at most two ticks
 * after it. Counted, a budget is steps (VM instructions, and what C functions charge), so that simulate and
 * specs stop at the same place in every run; what few steps can make last (comparing long texts) ends after
 * BUDGET_COUNTED_MOST times the limit in CPU time. Once spent, a budget stays spent until the call has
 * unwound, whatever catches the error. Memory (sandbox.c) ends a call in the same way: at the next
 * instruction, where there is a line to name.
 */
#pragma once

#include <lua.h>

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/** Steps that stand for a millisecond where they are counted. */
enum { BUDGET_STEPS_PER_MS = 200000, BUDGET_COUNTED_MOST = 100 };

enum budget_spent {
  BUDGET_LEFT,
  BUDGET_TIME,
  BUDGET_MEMORY,
  BUDGET_SUSPENDED, /**< nothing is used up: the call is to end here … */
  BUDGET_ENDED      /**< … with an error that it cannot catch */
};

struct budget {
  lua_State *lua;
  bool counted;
  volatile sig_atomic_t spent; /**< enum budget_spent */
  int64_t limit_ms;            /**< of the call under way */
  uint64_t steps;
  uint64_t steps_max;       /**< UINT64_MAX unless counted */
  volatile int64_t seen_us; /**< thread's CPU time when a tick first found this call; 0 not yet */
  /** Not null: the call runs in slices (repl.c). Called at a look instead of raising errors; it may yield. */
  void (*slice)(lua_State *lua);
};

void budget_init(struct budget *budget, lua_State *lua, bool counted);
/** One call begins on the calling thread; calls do not nest. */
void budget_begin(struct budget *budget, int64_t limit_ms);
/** It has unwound. */
void budget_end(struct budget *budget);
/** The call under way shall end at its next instruction; nothing if none is. Also for signal handlers. */
void budget_spend(struct budget *budget, enum budget_spent what);
/** For calls that run in slices: look after so many instructions, and again after as many. */
void budget_look(lua_State *lua, int instructions);
/** Whether it is to end now. What memory was taken that nobody needs is given back first, and may save it. */
bool budget_is_spent(struct budget *budget, lua_State *lua);
/** Raise the error "…: used up its budget of 20 ms". */
_Noreturn void budget_raise(struct budget *budget, lua_State *lua);
/** The call under way ends at once, whatever catches errors: BUDGET_SUSPENDED or BUDGET_ENDED. The caller
 * raises the error. */
void budget_stop(struct budget *budget, lua_State *lua, enum budget_spent what);
/** "used up its budget of 20 ms", "used up its memory of 64 MB". */
void budget_text(const struct budget *budget, char *out, size_t size);

/** What a C function does on behalf of a rule: about one step a byte or element. Raises once the budget is
 * spent. */
static inline void budget_charge(struct budget *budget, lua_State *lua, uint64_t steps) {
  budget->steps += steps;
  if (__builtin_expect(budget->spent || budget->steps > budget->steps_max, 0) && budget_is_spent(budget, lua))
    budget_raise(budget, lua);
}
