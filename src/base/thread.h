/** What threads ask of the scheduler. */
#pragma once

/** The calling thread answers somebody: woken, it runs before those that have computed for a while.
 *
 * Linux's scheduler (EEVDF, from 6.6 on) lets who runs finish its slice, some 3 ms, whatever its nice value,
 * before somebody who wakes gets the processor; but a short slice of one's own comes first (from 6.12 on,
 * sched_setattr(2)'s sched_runtime). Older kernels do not know it, and older schedulers do not need it:
 * nothing happens there. */
void thread_prompt(void);

/** The calling thread computes for a while, and others go first: nice 10, and SCHED_BATCH, so that its waking
 * takes the processor from nobody. For good: without privileges none can take its priority back. What it
 * starts is as modest.
 *
 * SCHED_IDLE would be more modest still, but has no way back: to leave it takes RLIMIT_NICE (sched(7)), so on
 * a full core such a thread would keep for seconds whatever lock it holds. And it would not help the kernel's
 * own threads: where the processor is shared by session or by control group, what they are weighed against is
 * the group, which is not idle. */
void thread_modest(void);

/** From here on, and until thread_unpace(), a modest thread computes in pieces of 0.25 ms of CPU time, and
 * sleeps 0.05 ms in between; nothing happens on any other. For computing alone: it interrupts system calls
 * as a signal does (SA_RESTART), of which some, such as poll(2), return early, and a wait is no use of it.
 * A lock that the thread holds it keeps while it sleeps. Not inherited by a fork.
 *
 * Somebody who wakes and has used up his share, as the kernel's block thread has, behind each fdatasync, is
 * passed over by EEVDF, and asked again only when whoever runs sleeps or at the next tick: with 250 ticks a
 * second a flight of events waited 4 to 8 ms for a busy canary, or for a segment's sealing, on its core, at
 * any nice value (perf sched). So it sleeps. A modest thread's piece grows up to 4 ms with the time that it
 * waits for the core after a pause: one that others keep full anyway it leaves no more than it would without
 * pauses. */
void thread_pace(void);
/** The same for a thread that called thread_prompt(), in pieces of 0.5 ms that do not grow: its work is due
 * soon, and is worth a fair share of the core. */
void thread_pace_prompt(void);
void thread_unpace(void);
