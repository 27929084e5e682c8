/** What threads ask of the scheduler. */
#pragma once

/** The calling thread answers somebody: woken, it runs before those that have computed for a while.
 *
 * Linux's scheduler (EEVDF, from 6.6 on) lets who runs finish its slice, some 3 ms, whatever its nice value,
 * before somebody who wakes gets the processor; but a short slice of one's own comes first (from 6.12 on,
 * sched_setattr(2)'s sched_runtime). Older kernels do not know it, and older schedulers do not need it:
 * nothing happens there. */
void thread_prompt(void);

/** The calling thread computes for a while, and others go first. For good: without privileges none can take
 * its priority back. */
void thread_modest(void);
