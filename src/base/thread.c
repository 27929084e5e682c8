#include "base/thread.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  SLICE_NS = 100000,        // the least that the kernel takes
  NICE = 10,                // as the store's own work behind the events
  PIECE_NS = 250000,        // of a modest thread's computing, between two pauses
  PIECE_PROMPT_NS = 500000, // of a prompt one's
  PIECE_MOST_NS = 4000000,  // as long as it would run at a stretch without pauses
  PAUSE_NS = 50000,
};

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
  const struct sched_param none = {0};
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), NICE);
  sched_setscheduler(0, SCHED_BATCH, &none);
}

/* ---- pauses ---- */

/** This thread's. */
static _Thread_local struct {
  timer_t timer;
  volatile bool on;
  bool prompt;
  int64_t paused_cpu; /**< its CPU time at the last pause, ns */
  int64_t piece;      /**< until the next, ns */
} pace;

static pthread_once_t once = PTHREAD_ONCE_INIT;

static int pace_signal(void) {
  return SIGRTMIN; // used by nothing else in the host
}

static int64_t read_clock(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void arm(int64_t ns) {
  struct itimerspec next = {.it_value = {0, ns}};
  timer_settime(pace.timer, 0, &next, NULL);
}

/** A piece is counted in CPU time: who did not get the core has not used it up, and would never get on if he
 * paused all the same. Who waited for the core may keep it for a quarter of that: a share of a fifth, where
 * its weight beside one other thread would be worth a tenth. */
static void pause_now(int signal) {
  (void)signal;
  int saved = errno;
  int64_t left = pace.paused_cpu + pace.piece - read_clock(CLOCK_THREAD_CPUTIME_ID);
  if (pace.on && left < PIECE_NS / 5) {
    struct timespec moment = {0, PAUSE_NS};
    int64_t began = read_clock(CLOCK_MONOTONIC);
    nanosleep(&moment, NULL);
    int64_t piece = pace.prompt ? PIECE_PROMPT_NS : (read_clock(CLOCK_MONOTONIC) - began - PAUSE_NS) / 4;
    left = pace.piece = piece < PIECE_NS ? PIECE_NS : piece > PIECE_MOST_NS ? PIECE_MOST_NS : piece;
    pace.paused_cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
  }
  if (pace.on) arm(left);
  errno = saved;
}

static void forked(void) {
  pace.on = false; // a child process has this thread, but not its timer
}

static void prepare(void) {
  struct sigaction action = {.sa_handler = pause_now, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(pace_signal(), &action, NULL);
  pthread_atfork(NULL, NULL, forked);
}

static void begin(bool prompt) {
  if (pace.on) return;
  pthread_once(&once, prepare);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, pace_signal());
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = pace_signal()};
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  if (timer_create(CLOCK_MONOTONIC, &event, &pace.timer)) return;
  prctl(PR_SET_TIMERSLACK, 1UL);
  pace.prompt = prompt;
  pace.piece = prompt ? PIECE_PROMPT_NS : PIECE_NS;
  pace.paused_cpu = read_clock(CLOCK_THREAD_CPUTIME_ID);
  pace.on = true;
  arm(PIECE_NS);
}

void thread_pace(void) {
  if (sched_getscheduler(0) == SCHED_BATCH) begin(false);
}

void thread_pace_prompt(void) {
  begin(true);
}

void thread_unpace(void) {
  if (!pace.on) return;
  pace.on = false;
  timer_delete(pace.timer);
  prctl(PR_SET_TIMERSLACK, 0UL);
}
