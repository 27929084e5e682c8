/** The name somebody probably meant. */
#pragma once

#include "base/buf.h"

/** The best so far; begin with zeroes and offer each known name. */
struct suggestion {
  struct str name; /**< "" while none is near enough */
  unsigned distance;
};
/** Near enough: at most a third of the letters are wrong, missing, too many or swapped; at most 3. */
void suggestion_offer(struct suggestion *suggestion, struct str meant, struct str known);
/** Letters wrong, missing, too many or swapped with a neighbour (optimal string alignment), or UINT_MAX where
 * one of both is longer than 64. */
unsigned suggestion_distance(struct str a, struct str b);
/** Append "; did you mean `x`?", or nothing. */
void suggestion_append(const struct suggestion *suggestion, struct buf *out);
