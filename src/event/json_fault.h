/** What to do about JSON that simdjson refuses: widen what is only too long for it, explain the rest. */
#pragma once

#include "event/value.h"

/** Copy `text` with an exponent behind each integer of 19 digits or more, which makes it a double, and
 * JSON_PADDING zeroes behind it all.
 * @return whether there was any; `out` is untouched if not. */
bool json_widen_integers(const char *text, size_t len, struct buf *out);

/** Find the first thing wrong with `text`, which begins in line `line`. Takes no memory, whatever the text.
 * @return ERROR_INVALID, with reason, line and column (from 1; a column is a character). */
int json_explain(const char *text, size_t len, size_t line, struct error *err);
