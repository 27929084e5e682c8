/** A plain LuaJIT state for the host's own tools written in Lua (`check`, `spec`): all of Lua's libraries,
 * and no bounds. Rules never run in it; they have the sandbox.
 *
 * Values pass both ways as MessagePack (event/value.h): a map becomes a table with text keys, an array one
 * with 1 … n; nil members are left out. An empty Lua table is an empty array; one that came in as an empty
 * map goes out as one. The other way keys are sorted, and whole numbers become integers.
 *
 * One thread. A state may be inherited by fork(): what the parent has loaded is there in the child.
 */
#pragma once

#include "event/value.h"

struct script;

/** @param library_dir  what `require` looks through first: "kairos.spec" is library_dir/kairos/spec.lua.
 * Copied.
 * @return 0, or ERROR_LIMIT where there is no memory for a state. */
int script_new(struct script **out, const char *library_dir, struct error *err);
void script_free(struct script *script);

/** A function of the host's that Lua calls. @param arguments  an array, one value an argument; valid during
 * the call.
 * @param result  empty: append one value, or nothing for nil. @return 0, or a code with `err`, which Lua sees
 * as an error with that text. It may call script_call() on the same state. */
typedef int script_function(void *context, struct str arguments, struct buf *result, struct error *err);

/** Lua reaches it as `require "kairos.native".NAME(…)`. The same name again replaces it. */
void script_provide(struct script *script, const char *name, script_function *function, void *context);

/** Call a function of what a module returns: require(MODULE).FUNCTION(arguments…).
 * @param arguments  an array; @param result  the first value it returned is appended (nil if there was none).
 * @return 0, or an error with file, line and traceback: ERROR_SCRIPT, or the code that a native function
 * failed with. */
int script_call(struct script *script, const char *module, const char *function, struct str arguments,
                struct buf *result, struct error *err);
