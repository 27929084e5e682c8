/** A Lua state to look into the host with: code typed by an operator, run in slices so that nothing waits for
 * it.
 *
 * It is no rule's state: nothing of a rule is in it, and what it gets of the host are copies, asked for by
 * the function it is given (lua/kairos/look.lua makes `user`, `campaign`, … of it). A chunk is a coroutine.
 * A slice ends at the next look at the clock, every few dozen instructions, or when memory is full, and goes
 * on where it was; a question to the host parks it the same way. Who wants it to end just does not go on with
 * it: no handler of the code ever runs. Functions given to table.sort and string.gsub cannot be parked; they
 * are ended with an error once a slice is over by REPL_PATIENCE_US.
 *
 * A slice can be longer than asked for by what cannot be divided: one library call, one table that grows, one
 * text that is copied. The longest that spec/hostile/attacks.lua brings about takes 5 to 7 ms
 * (KAIROS_SLICES=1 test_engine_repl prints them).
 *
 * The code sees what a rule file sees, without `require`, and with LuaJIT's own pairs and next. Its pcall is
 * LuaJIT's too, since only that can be parked, behind a Lua function that sees to the stack: nesting ends
 * with "stack overflow", not at the depth that rules have. It is interpreted. Limits: source 64 KB, memory
 * and time as given (blocks that wait to be used again come on top, at most three times as much, until it is
 * tidied), one result at most as printed below. A repl belongs to no thread, but to one at a time.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"

#include <stdatomic.h>

struct repl;

enum {
  REPL_MEMORY = 8 << 20,       /**< bytes of what a session holds */
  REPL_TIME_US = 1000 * 1000,  /**< CPU time of one evaluation */
  REPL_SLICE_US = 500,         /**< of it at a time */
  REPL_CALL_STEPS = 100000,    /**< of one call of a library function: about an element, or a byte, each */
  REPL_PATIENCE_US = 2000,     /**< what cannot be parked may take so much longer */
  REPL_ANSWER_MAX = 512 << 10, /**< bytes of one answer to a question, as a value */
  REPL_ENTRIES_MAX = 200,      /**< printed of one table … */
  REPL_DEPTH_MAX = 8,          /**< … so deep … */
  REPL_TEXT_MAX = 2000,        /**< … of one string so many bytes … */
  REPL_OUTPUT_MAX = 128 << 10, /**< … and of everything together */
  REPL_NAMES_MAX = 200         /**< completions of one word */
};

/** @param library  source of lua/kairos/look.lua; borrowed for the call. @return 0, or ERROR_SCRIPT. */
int repl_new(struct repl **out, struct str library, struct error *err);
/** Takes some milliseconds where much is held. */
void repl_free(struct repl *repl);

enum repl_state {
  REPL_DONE,       /**< repl_output() has what was printed, and the values */
  REPL_FAILED,     /**< repl_output() has what was printed, repl_failure() why it ended */
  REPL_INCOMPLETE, /**< the text is the beginning of something: ask for more lines */
  REPL_SLICED,     /**< not at its end; repl_step() goes on */
  REPL_ASKS        /**< repl_question() says what; repl_answer(), then repl_step() */
};

/** Begin an evaluation: an expression, whose values are printed, or statements. What was under way is
 * dropped.
 * @param json  values are printed as JSON. @return SLICED, INCOMPLETE or FAILED. */
enum repl_state repl_begin(struct repl *repl, struct str source, bool json);
/** Go on for about `slice_us`; at once back if `*cancelled`. */
enum repl_state repl_step(struct repl *repl, int64_t slice_us, const atomic_bool *cancelled);
/** Forget the evaluation under way. */
void repl_drop(struct repl *repl);

/** What was asked: a value, [name, arguments …]. Until the next step. */
struct str repl_question(const struct repl *repl);
/** The answer for the next step: a value, or why there is none. Copied. */
void repl_answer(struct repl *repl, int status, struct str value, const struct error *err);

struct str repl_output(const struct repl *repl);
struct str repl_failure(const struct repl *repl);

/** Append the names that may stand where `text` ends: a value, [how many bytes of `text` they replace, name
 * …]. */
void repl_complete(struct repl *repl, struct str text, struct buf *out);

/** Much was left behind: repl_tidy(), off every loop, would be good before the next evaluation. */
bool repl_untidy(const struct repl *repl);
void repl_tidy(struct repl *repl);
