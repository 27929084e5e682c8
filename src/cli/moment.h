/** Moments as people write them. */
#pragma once

#include "base/error.h"
#include "base/str.h"
#include <stdint.h>

enum { MOMENT_TEXT_MAX = 48 };

/** As zone_parse_moment() takes it ("2026-11-20", "2026-11-20 09:30 Europe/Berlin"), in UTC unless it says
 * otherwise; or ms since the epoch.
 * @return 0 and ms in `*out`, or as zone_parse_moment(). */
int moment_parse(struct str text, int64_t *out, struct error *err);
/** Local time with its offset: "2026-11-20 10:12:03.123 +01:00". */
void moment_write(int64_t ms, char out[MOMENT_TEXT_MAX]);
