/** Time-zone files (RFC 8536, versions 2 to 4): what a zone's offset from UTC is, and when it changes.
 *
 * A file lists its changes up to some year and ends with a rule in POSIX's notation
 * ("CET-1CEST,M3.5.0,M10.5.0/3", section 3.3.1) for the years after. The rule is written out for the 400
 * years after which the calendar repeats itself, so that one search answers for any year. Files that count
 * leap seconds ("right/…") are refused: the host's time is POSIX time. Once read, a struct tzif does not
 * change: any thread.
 */
#pragma once

#include "base/error.h"
#include "base/str.h"

#include <stdbool.h>
#include <stdint.h>

enum { TZIF_NAME_MAX = 15 };

/** What clocks show for a while. */
struct tzif_type {
  int32_t offset;               /**< seconds east of UTC */
  bool dst;                     /**< as the file says; Dublin's is in winter, and negative */
  char name[TZIF_NAME_MAX + 1]; /**< "CEST", "+0130" */
};

struct tzif {
  struct tzif_type *types; /**< types[0] holds before the first change */
  size_t type_count;
  int64_t *changes; /**< seconds since 1970, ascending … */
  uint8_t *after;   /**< … and the type from then on */
  size_t count;
  int64_t repeats_from,
      repeats_to; /**< times outside are moved into it by whole cycles; else INT64_MIN, INT64_MAX */
};

/** Read a file's bytes. @return 0, or ERROR_CORRUPT with what is wrong with them. */
int tzif_read(struct tzif *out, struct str bytes, struct error *err);
void tzif_deinit(struct tzif *tzif);

/** A stretch of time in which the offset stays the same. */
struct tzif_span {
  const struct tzif_type *type;
  int64_t from, to; /**< [from, to), seconds since 1970; INT64_MIN and INT64_MAX where it has no end */
};
/** The span that holds `at`. @param at  seconds since 1970, within 10^15 */
struct tzif_span tzif_span(const struct tzif *tzif, int64_t at);
