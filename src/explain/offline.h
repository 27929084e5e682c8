/** The host's answers from a data directory in which no host runs. It is opened read-only; blocking.
 * ERROR_IO where it is none. */
#pragma once

#include "config/config.h"
#include "state/store.h"

/** HOST_WHY's. @param filter  as why_new() has it */
int offline_why(const char *data_dir, struct entity user, struct str filter, struct buf *result,
                struct error *err);
/** HOST_REPLAY's. @param filter  a campaign's or segment's name, or "" */
int offline_replay(const struct config *config, struct entity user, struct str filter, struct buf *result,
                   struct error *err);
/** HOST_DEAD_LIST's; with an `id` (not "") HOST_DEAD_SHOW's, or ERROR_INVALID, ERROR_NOT_FOUND. */
int offline_dead(const char *data_dir, struct str id, struct buf *result, struct error *err);
