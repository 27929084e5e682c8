/** Who is on a journey, as the user index says it: values that decide_journey_index() writes, read. */
#pragma once

#include "state/journey.h"

/** One journey of a user's. Borrowed from the value. */
struct journey_indexed {
  struct str key, state, step; /**< state: journey_state_name() */
  struct hash128 version;
  int64_t due; /**< ms; INT64_MAX never */
};

/** What stands under ("journey:<campaign>", ""). @return how many journeys the user is on; `*reader` gives
 * those that had room in the value, `*listed` of them, by journey_indexed_next(). 0 if it is malformed. */
uint32_t journey_indexed_begin(struct str value, struct reader *reader, uint32_t *listed);
/** @return false for one that is malformed, which is passed over. */
bool journey_indexed_next(struct reader *reader, struct journey_indexed *out);
