/** The canary: new rules are tried in a child process before the host takes them in.
 *
 * The snapshot is written to memory (/dev/shm), where no sync of the log has to wait for it, or, where that
 * cannot be had, to <data_dir>/canary. `kairos check` reads it there; then `kairos spec` runs the specs of
 * the campaigns that changed (<rules_dir>/../spec/rules/CAMPAIGN_spec.lua). What hangs, crashes or eats
 * memory does so there: a child has 20 s of CPU time a process, 2 GB of address space, 30 s in all, no
 * secrets in its environment, and is ended with its whole process group.
 *
 * It computes on the core that events want, so it lets them go first (base/thread.h), and does not review
 * again what it has: where KAIROS_REVIEWED names a file, `kairos check` reads there what an earlier review
 * left, and leaves its own (cli/review.h). Of 100 campaigns, one saved, that is half of its CPU time.
 */
#pragma once

#include "config/config.h"
#include "engine/ruleset.h"
#include <stdatomic.h>

struct canary_options {
  const struct config *config;
  const struct ruleset *ruleset;
  struct str changes; /**< value: map {added, changed}: arrays of folders, as changes_of_sources() makes it */
  struct buf *reviewed; /**< what the last trial that passed left for the next; at first empty. Its owner's */
  const atomic_bool *stop; /**< become true: this ends */
};

/** Blocking; any thread, one at a time.
 * @param specs  appended on success: value map {files, passed, pending}.
 * @return 0; ERROR_SCRIPT with the first problem's file and line; ERROR_BUDGET where a child met a limit;
 * ERROR_UNAVAILABLE when told to stop. */
int canary_run(const struct canary_options *options, struct buf *specs, struct error *err);
/** Of the texts of all specs there are: whether they are worth another run. 0 if there are none. */
uint64_t canary_specs(const struct config *config);
/** The folder of the specs. */
void canary_folder(const struct config *config, char *out, size_t size);
