/** Who is held out from all marketing, host-wide, so that what marketing is worth can be seen.
 *
 * A user is held out by a bucket of his own, 0 to 9,999: XXH3-64 of his id, seeded by that of the
 * configuration's salt. He is while the bucket is below the share: who is held out stays so as it grows, and
 * another salt chooses anew. Roll-outs, variants and campaigns' own holdouts hash under names of their own,
 * so that all of these are independent of one another. Pure; any thread.
 */
#pragma once

#include "config/config.h"
#include "event/event.h"

/** Whether the user is held out at this moment of the wall clock. */
bool holdout_holds(const struct config *config, struct entity entity, int64_t wall);
/** Hundredths of a percent of the users who are held out at this moment. */
uint32_t holdout_share(const struct config *config, int64_t wall);
/** 0 to 9,999, as of a campaign's or an experiment's own holdout. */
uint32_t holdout_bucket(struct str name, struct entity entity);
