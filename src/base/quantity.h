/** Quantities as people write them: "10m", "64MB", "100/s". One grammar for YAML, Lua and the command line.
 */
#pragma once

#include "base/error.h"
#include "base/str.h"
#include <stdbool.h>
#include <stdint.h>

/** "250ms" "30s" "10m" "1h" "7d" "2w", sums such as "1h30m"; units ms s m h d w; whole, positive, units from
 * large to small, at most 36500d.
 * @return 0 and milliseconds in `*out`, or ERROR_INVALID with what was found and what is allowed. */
int quantity_duration(struct str text, int64_t *out, struct error *err);

/** "512", "64KB", "64MB", "2GB" (powers of 1024). @return 0 and bytes in `*out`, or ERROR_INVALID. */
int quantity_size(struct str text, uint64_t *out, struct error *err);

struct rate {
  double count;    /**< how many … */
  int64_t over_ms; /**< … in how long */
};
/** "100/s", "1000/1h", "5/10m". @return 0, or ERROR_INVALID. */
int quantity_rate(struct str text, struct rate *out, struct error *err);

enum { CAP_COUNT_MAX = 100 };
enum cap_period {
  CAP_NONE,
  CAP_ROLLING, /**< in any `over_ms` */
  CAP_DAY,     /**< from midnight to midnight, … */
  CAP_WEEK,    /**< … Monday to Sunday (ISO 8601), … */
  CAP_MONTH    /**< … the calendar's month, where somebody lives */
};
/** At most so many of something for one person. */
struct cap {
  uint32_t count; /**< 0: none at all; at most CAP_COUNT_MAX */
  enum cap_period period;
  int64_t over_ms; /**< ROLLING: in so long; else the longest such period lasts, a shift of clocks included */
};
/** "3/7d", "0/1d", at most 366d; "1/1d calendar", "3/1w calendar", "5/1month calendar". @return 0, or
 * ERROR_INVALID. */
int quantity_cap(struct str text, struct cap *out, struct error *err);

/** Part of each day, by the clock on the wall. */
struct hours {
  uint16_t from, to; /**< minutes since midnight, `to` not included; from > to: over midnight; equal: none */
};
/** "21:00-08:00". @return 0, or ERROR_INVALID. */
int quantity_hours(struct str text, struct hours *out, struct error *err);
static inline bool hours_include(struct hours hours, unsigned minute) {
  return hours.from <= hours.to ? minute >= hours.from && minute < hours.to
                                : minute >= hours.from || minute < hours.to;
}

enum { QUANTITY_ALL = 10000 }; /**< a share of everybody: hundredths of a percent */
/** "25%", "0.05%": 0 to 100, in steps of 0.01. @return 0, or ERROR_INVALID with what to write. */
int quantity_share(struct str text, uint32_t *out, struct error *err);
