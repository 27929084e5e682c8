/** Quantities as people write them: "10m", "64MB", "100/s". One grammar for YAML, Lua and the command line.
 */
#pragma once

#include "base/error.h"
#include "base/str.h"
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
