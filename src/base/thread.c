#include "base/thread.h"

#include <sched.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SLICE_NS = 100000 }; // the least that the kernel takes

/** As in linux/sched/types.h; Debian 12's libc has no call for it. */
struct attributes {
  uint32_t size, policy;
  uint64_t flags;
  int32_t nice;
  uint32_t priority;
  uint64_t runtime, deadline, period;
};

void thread_prompt(void) {
  struct attributes attributes = {.size = sizeof attributes,
                                  .policy = SCHED_OTHER,
                                  .nice = getpriority(PRIO_PROCESS, 0),
                                  .runtime = SLICE_NS};
  syscall(SYS_sched_setattr, 0, &attributes, 0);
}

void thread_modest(void) {
  enum { NICE = 10 }; // as the store's own work behind the events
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
}
