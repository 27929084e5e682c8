/** Waiting until what a reload declares anew has been filled from the event log. */
#pragma once

#include "cli/cli.h"

/** Ask the host again and again, showing how far it is on standard error where that is a terminal. The host
 * goes on by itself when this is interrupted.
 * @param result  of `reload`, "filling"; becomes what it says when all serves. @return CLI_DONE, or
 * CLI_FAILED with the reason on stderr. */
int reload_wait(const struct cli_arguments *arguments, struct buf *result);
