/** One record of the host's own, and the wait until it is durable. */
#pragma once

#include "host/worker.h"

/** Blocking, on a thread that is no loop's: it runs one. @return 0, or why the log cannot be written. */
int log_wait(struct worker_shared *shared, const struct log_record *record, struct error *err);
