/** Moments as people write them. */
#pragma once

#include "base/error.h"
#include "base/str.h"
#include <stdint.h>

enum { MOMENT_TEXT_MAX = 48 };

/** "2026-11-20", "2026-11-20T09:30", "…:03", "….123", a blank for the T, with "Z" or "+01:00" (else UTC); or
 * ms since the epoch.
 * @return 0 and ms in `*out`, or ERROR_INVALID. */
int moment_parse(struct str text, int64_t *out, struct error *err);
/** Local time with its offset: "2026-11-20 10:12:03.123 +01:00". */
void moment_write(int64_t ms, char out[MOMENT_TEXT_MAX]);
