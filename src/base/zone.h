/** Time zones by their names in the time-zone database ("Europe/Berlin"), and moments as people write them.
 *
 * The data are the files under /usr/share/zoneinfo (Debian's tzdata; format: tzif.h); "UTC" needs none.
 * libc's TZ and localtime() are not used: they know one zone a process. A zone is read when it is first asked
 * for and stays for the process's life, so an update of tzdata takes effect with the next start. Any thread;
 * only the first look at a zone takes a lock, and a name that is none costs a hash: it may come from data.
 */
#pragma once

#include "base/civil.h"
#include "base/error.h"
#include "base/str.h"

#include <stdbool.h>

struct zone;

/** The zone of that name, for the process's life. Without `err` nobody looks for what was probably meant.
 * @return 0; ERROR_NOT_FOUND (with the name that was probably meant), ERROR_CORRUPT, ERROR_IO. */
int zone_find(const struct zone **out, struct str name, struct error *err);
const struct zone *zone_utc(void);
/** As it was asked for. */
struct str zone_name(const struct zone *zone);

/** Seconds east of UTC at a moment. @param abbreviation  "CEST", or "+0130" where there is none; may be null
 */
int zone_offset(const struct zone *zone, int64_t ms, const char **abbreviation);
/** What clocks in the zone show at a moment. @param ms  since 1970 */
void zone_civil(const struct zone *zone, int64_t ms, struct civil *out);
/** The moment at which clocks in the zone show `civil`, in ms since 1970. Clocks that are put forward leave a
 * gap: a time in it is taken as by the offset before, so it comes out later by the gap's length (02:30 is
 * 03:30). Clocks that are put back show times twice: the first is taken. (As Python's datetime does with fold
 * = 0, PEP 495.)
 * @param civil  a date that exists, years 1 to 9999; out-of-range times of day carry over */
int64_t zone_instant(const struct zone *zone, const struct civil *civil);
/** The first moment after `ms` at which another date begins. Where midnight itself is skipped: the first
 * after it. */
int64_t zone_next_midnight(const struct zone *zone, int64_t ms);
/** The first moment of the date that clocks show at `ms`. */
int64_t zone_day_start(const struct zone *zone, int64_t ms);

/** "2026-03-29", "2026-03-29 02:30", "2026-03-29T02:30:15.250", each with "Z", "+02:00", or a blank and a
 * zone's name behind it.
 * @param fallback  the zone of a text that names none; null: it must
 * @param ms  since 1970; skipped and repeated times as zone_instant() takes them
 * @return 0; ERROR_INVALID with what is wrong with the text, ERROR_NOT_FOUND and others as zone_find(). */
int zone_parse_moment(struct str text, const struct zone *fallback, int64_t *ms, struct error *err);
