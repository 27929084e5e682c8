/** Text from outside on somebody's terminal, which it cannot steer. */
#pragma once

#include "base/str.h"
#include <stdio.h>

/** Control characters are shown as \xNN (utf8_shown() says which); without a bound line ends stay, and what
 * follows one is indented.
 * @param width_max  columns, the last of which is "…" where there is more; 0: no bound. @return those taken
 */
int shown_print(FILE *out, struct str text, int indent, int width_max);
