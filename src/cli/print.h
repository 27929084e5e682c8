/** Values, times and tables for people's eyes. What comes from outside cannot steer the terminal. */
#pragma once

#include "event/value.h"
#include <stdio.h>

/** The text, control characters shown as \xNN; line ends stay, and what follows one is indented by `indent`.
 */
void print_text(FILE *out, struct str text, int indent);
/** A scalar as people write it, anything else as JSON. */
void print_value(FILE *out, struct str value);
/** A map, a line a member, names padded; maps in maps are indented. Members that are times are shown as such.
 */
void print_map(FILE *out, struct str map, int indent);
/** The value as one line of JSON. */
void print_json(FILE *out, struct str value);
/** Local time with its offset: "2026-11-20 10:12:03.123 +01:00". */
void print_time(FILE *out, int64_t ms);

/** One column of a table: which member of a row's map, and its heading. */
struct print_column {
  const char *heading, *member;
  int width_max; /**< in characters; longer text is cut, with … */
  bool time;
};
/** An array of maps as a table. */
void print_table(FILE *out, struct str rows, const struct print_column *columns, size_t count);
/** The same of the maps that `put_row` makes of a list's items; `none` where there are none, and it is not
 * null. */
void print_rows(FILE *out, struct str list, void (*put_row)(struct str item, struct buf *out),
                const struct print_column *columns, size_t count, const char *none);
