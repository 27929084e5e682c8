/** The machine's clocks. Rules and state never ask these: their `now` is a parameter. */
#pragma once

#include <stdint.h>

/** Wall clock, ms since the epoch. */
int64_t clock_wall_ms(void);
/** Monotonic clock, microseconds from an arbitrary start. */
int64_t clock_mono_us(void);
/** The same, late by up to a tick of the kernel's (4 ms at 250 Hz): to be asked an input. */
int64_t clock_mono_coarse_us(void);
/** CPU time of the calling thread, microseconds. */
int64_t clock_thread_us(void);
