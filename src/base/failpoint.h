/** Failures injected by name, deterministically, to prove that the host breaks well.
 *
 * Armed only by the environment at start:
 * KAIROS_FAILPOINTS="log.fsync=error@3,store.write=kill@1,log.append=enospc". `name=action[@hit][*times]`:
 * act at the hit-th call (1 by default) and `times` calls from there (1; `*0` for ever). Actions: error
 * (EIO), enospc (ENOSPC), kill (SIGKILL of this process), sleep:MS, hold:PATH (wait for as long as that file
 * is there; the path without , @ *). The first time each acts, a line on stderr says so. Unarmed, a failpoint
 * is one predictable branch. Any thread.
 */
#pragma once

#include <stdbool.h>

extern bool failpoint_armed;

/** Read the environment. @return 0, or -1 with a complaint on stderr. Call once, before threads. */
int failpoint_init(void);
/** @return 0, or the errno to fail with. */
int failpoint_hit(const char *name);

#define FAILPOINT(name) (__builtin_expect(failpoint_armed, 0) ? failpoint_hit(name) : 0)
