/** The review of rule files behind `kairos check` (lua/review), with what it needs of the host. */
#pragma once

#include "cli/problems.h"

struct review_input {
  const struct config *config; /**< rules_dir and library_dir as they were read */
  const struct ruleset *ruleset;
  const struct problems
      *found;          /**< what loading them brought to light; the review leaves out what it says better */
  struct str reviewed; /**< what an earlier review left, or "" */
};

/** Add what the review finds, `found` included, in the order of places.
 * @param campaigns  out: how many there are.
 * @param reviewed  appended to: what the next review may be given, where this one found no error. Campaigns
 * that have not changed since, nor the library, and fit to the names of the others, are not reviewed again,
 * and have no warnings then. Bytes; null: nobody wants them.
 * @return 0, or an error (luacheck is not installed, a schema is no JSON): then nothing was added. */
int review_run(const struct review_input *input, struct problems *problems, size_t *campaigns,
               struct buf *reviewed, struct error *err);
