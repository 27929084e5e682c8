/** Lines from a person: edited, remembered, completed, where there is a terminal; else as they come. One
 * thread. */
#pragma once

#include "base/buf.h"

struct repl_line;

enum { REPL_LINE_TEXT = 1, REPL_LINE_END = 0, REPL_LINE_CANCELLED = -1, /**< Ctrl-C */ };

/** Names that may stand at the end of `text`: append an array of strings. @return 0, or -1 if that cannot be
 * told. */
typedef int repl_line_complete(void *context, struct str text, struct buf *names, size_t *replaces);

/** History is read from, and kept in, $XDG_STATE_HOME/kairos/repl_history (~/.local/state/…), mode 0600,
 * 1,000 lines. */
struct repl_line *repl_line_new(repl_line_complete *complete, void *context);
void repl_line_free(struct repl_line *lines);
bool repl_line_interactive(const struct repl_line *lines);
/** @param more  the line goes on with what was begun. @param line  without its end; borrowed until the next.
 */
int repl_line_read(struct repl_line *lines, bool more, struct str *line);
void repl_line_remember(struct repl_line *lines, struct str text);
