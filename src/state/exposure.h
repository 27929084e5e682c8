/** What an input does to a user's part in an experiment: to his record, and to the index that finds him by
 * it. */
#pragma once

#include "state/draft.h"

/** Names of indices (state/user_index.h) begin so; key "", value exposure_encode() with experiment "". */
#define EXPOSURE_INDEX "experiment:"

/** He came into it; or, where `reached` says so, reached its goal: EXPOSURE or GOAL, and INDEX.
 * @return 0 or ERROR_LIMIT: nothing changed, or all but the index. */
int exposure_add(struct draft *draft, const struct exposure *exposure, struct error *err);
