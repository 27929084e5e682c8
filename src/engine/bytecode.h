/** Guards in the bytecode of rule files: a plain table that only its maker may write.
 *
 * Lua has no read-only tables, and proxies break `#`, cost every read, and still leave upvalues writable. So
 * a rule file is compiled, and its bytecode rewritten before it runs: in front of each write to a table that
 * the function has not made just before, to an upvalue or to a global goes a call of the guard, which asks
 * whether that table or upvalue is read-only. Reads, loops and constructors cost nothing, a guarded write 50
 * ns. Tail calls become calls, so that each error and traceback names its line. Numbers like 1LL, which would
 * bring in the FFI, are refused.
 *
 * Understood is the bytecode of LuaJIT 2.1 with 64-bit GC (dump version 2); any other is refused.
 * Layout: https://github.com/openresty/luajit2, src/lj_bcdump.h and src/lj_bc.h.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

/** Name under which the environment of a rule file has the guard; no Lua identifier. Called with a table that
 * is about to be written (and the key, unless it is a constant that does not matter), or with nil and the
 * number of an upvalue (from 1) or the name of a global. */
#define BYTECODE_GUARD "\001guard"

/** A name the file reads or writes as a global, or a send whose template and channel stand in it literally.
 */
struct bytecode_note {
  enum { BYTECODE_READS = 1, BYTECODE_WRITES, BYTECODE_SENDS } type;
  uint32_t line;
  struct str name; /**< of the global, or the template; borrowed from the dump */
  struct str channel;
};

struct bytecode_notes {
  struct bytecode_note *notes;
  size_t count, cap;
};
void bytecode_notes_init(struct bytecode_notes *notes);
void bytecode_notes_deinit(struct bytecode_notes *notes);

/** Rewrite a dump (lua_dump) with guards. @return 0, or ERROR_SCRIPT (what the file may not contain, without
 * file and line in front), ERROR_VERSION for a dump of another kind. */
int bytecode_guard(struct str dump, struct buf *out, struct bytecode_notes *notes, struct error *err);

/** Of a stripped dump: the part of it that says in which of its parent's slots the function found its
 * upvalues, which is another as soon as a variable is declared before them. */
struct str bytecode_upvalue_slots(struct str dump);
