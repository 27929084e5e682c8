/** What a check finds: a list of problems, each at a place, for people and for editors.
 *
 * A problem is a value, a map: file, line, column, end_column (from 1, in letters; 0 and absent where there
 * is none), severity ("error", "warning", "note"), code (a name for what is wrong, for filters), message
 * (what is wrong), instead (what to write; may be absent), text (the line as it stands), traceback (where the
 * host knows one), key (of a configuration).
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "config/config_report.h"
#include "engine/ruleset.h"
#include <stdio.h>

struct problems {
  struct buf list; /**< problems, one value after the other */
  uint32_t count, errors, warnings, notes;
};
void problems_init(struct problems *problems);
void problems_deinit(struct problems *problems);

/** Every problem of a configuration file. */
void problems_add_config(struct problems *problems, const struct config_report *report);
/** What the host says about its rules: "rules/cart/rule.lua:12: …", and perhaps a traceback. The line's text,
 * and the column of what the message names, come from the ruleset (which may be null).
 * @param rules_dir  where the files lie, for the place shown. */
void problems_add_error(struct problems *problems, const struct error *err, const char *rules_dir,
                        const struct ruleset *ruleset);
/** A problem that is a value already. */
void problems_add_value(struct problems *problems, struct str value);
/** Forget those of other files than the ones in `folder` ("rules/cart_abandoned", as files are shown). */
void problems_keep(struct problems *problems, struct str folder);

/** Each as "file:line:column: severity: message; instead", with the line and a mark below what is meant.
 * Notes are for machines. */
void problems_print(const struct problems *problems, FILE *out);
/** One object: {campaigns, errors, warnings, notes, problems: […]}. */
void problems_print_json(const struct problems *problems, size_t campaigns, FILE *out);
