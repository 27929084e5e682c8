#include "engine/budget.h"

#include "base/logger.h"
#include "engine/sandbox.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
  TICK_NS = 2000000,      /**< asked for; the kernel rounds up to its own tick */
  COUNT_INTERVAL = 1000,  /**< instructions between two looks at a counted budget */
  TICK_SIGNAL = SIGVTALRM /**< used by nothing else in the host */
};

#if defined(__SANITIZE_THREAD__)
enum {
  SIGNALS_ARRIVE = false
}; // the sanitizer holds them back until the next call into libc, which a loop never makes
#else
enum { SIGNALS_ARRIVE = true };
#endif

/** This thread's call under way, and its ticks. */
static _Thread_local struct budget *volatile active;
static _Thread_local volatile int64_t last_tick_us;
static _Thread_local bool armed, unavailable;

static pthread_key_t timer_key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void hook(lua_State *lua, lua_Debug *where) {
  (void)where;
  struct budget *budget = &sandbox_of(lua)->budget;
  if (active != budget) return;
  if (budget->slice) {
    budget->slice(lua);
    return;
  }
  if (budget->steps_max != UINT64_MAX && !budget->spent) budget->steps += COUNT_INTERVAL;
  if ((budget->spent || budget->steps > budget->steps_max) && budget_is_spent(budget, lua))
    budget_raise(budget, lua);
}

static int64_t thread_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

/** Runs on the thread it is about, so it may look at that thread's call, and lua_sethook is made for it. It
 * is armed again at each tick until the call ends, because it may have interrupted the very function that was
 * changing hooks. */
static void tick(int signal) {
  (void)signal;
  int saved = errno;
  int64_t now = thread_us();
  struct budget *budget = active;
  if (budget && budget->seen_us == 0) {
    budget->seen_us = now;
  } else if (budget) {
    int64_t gap = now - last_tick_us, limit = budget->limit_ms * 1000;
    if (budget->steps_max != UINT64_MAX) limit *= BUDGET_COUNTED_MOST;
    int64_t least = now - budget->seen_us; // it has run at least so long, and at most one tick longer
    int64_t margin = gap + gap / 4;        // ticks are not even
    if (least >= (limit > 2 * margin ? limit - margin : limit)) budget->spent = BUDGET_TIME;
    if (budget->spent) lua_sethook(budget->lua, hook, LUA_MASKCOUNT, 1);
  }
  last_tick_us = now;
  errno = saved;
}

static void thread_ends(void *timer) {
  timer_delete((timer_t)((intptr_t)timer - 1));
}

/** A child process has this thread, but not its timer. */
static void forked(void) {
  armed = false;
}

static void prepare_process(void) {
  struct sigaction action = {.sa_handler = tick, .sa_flags = SA_RESTART};
  sigemptyset(&action.sa_mask);
  sigaction(TICK_SIGNAL, &action, NULL);
  pthread_key_create(&timer_key, thread_ends);
  pthread_atfork(NULL, NULL, forked);
}

/** Without a timer the thread's budgets are counted: slower, as safe. */
static void arm_thread(void) {
  pthread_once(&once, prepare_process);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, TICK_SIGNAL);
  pthread_sigmask(SIG_UNBLOCK, &set, NULL);
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = TICK_SIGNAL};
  event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
  struct itimerspec every = {{0, TICK_NS}, {0, TICK_NS}};
  timer_t timer;
  if (timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0) {
    if (timer_settime(timer, 0, &every, NULL) == 0) {
      pthread_setspecific(timer_key,
                          (void *)((intptr_t)timer + 1)); // a timer's number may be 0, which would be "none"
      armed = true;
      return;
    }
    timer_delete(timer);
  }
  unavailable = true;
  LOG_WARN("rules", "no CPU timer for this thread: budgets are counted in steps", LOG_INT("errno", errno));
}

void budget_init(struct budget *budget, lua_State *lua, bool counted) {
  *budget = (struct budget){.lua = lua, .counted = counted || !SIGNALS_ARRIVE, .steps_max = UINT64_MAX};
}

void budget_begin(struct budget *budget, int64_t limit_ms) {
  if (__builtin_expect(!armed, 0) && SIGNALS_ARRIVE && !unavailable) arm_thread();
  budget->limit_ms = limit_ms;
  budget->steps = 0;
  budget->spent = BUDGET_LEFT;
  budget->seen_us = 0;
  if (__builtin_expect(budget->counted || unavailable, 0)) {
    budget->steps_max = (uint64_t)limit_ms * BUDGET_STEPS_PER_MS;
    lua_sethook(budget->lua, hook, LUA_MASKCOUNT, COUNT_INTERVAL);
  }
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  active = budget;
}

void budget_end(struct budget *budget) {
  active = NULL;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  if (__builtin_expect(budget->spent || budget->steps_max != UINT64_MAX, 0)) {
    budget->steps_max = UINT64_MAX;
    lua_sethook(budget->lua, NULL, 0, 0);
  }
}

void budget_spend(struct budget *budget, enum budget_spent what) {
  if (active != budget || budget->spent) return;
  budget->spent = what;
  lua_sethook(budget->lua, hook, LUA_MASKCOUNT, 1);
}

void budget_stop(struct budget *budget, lua_State *lua, enum budget_spent what) {
  budget->spent = what;
  lua_sethook(lua, hook, LUA_MASKCOUNT, 1);
}

void budget_look(lua_State *lua, int instructions) {
  lua_sethook(lua, hook, LUA_MASKCOUNT, instructions);
}

bool budget_is_spent(struct budget *budget, lua_State *lua) {
  if (budget->slice) return budget->spent != BUDGET_MEMORY; // between slices garbage is collected
  if (budget->spent != BUDGET_MEMORY || !sandbox_relieve(sandbox_of(lua))) return true;
  // Only garbage was in the way: the call goes on, unless its time has come meanwhile.
  if (budget->spent != BUDGET_MEMORY || budget->steps > budget->steps_max) return true;
  budget->spent = BUDGET_LEFT;
  lua_sethook(lua, hook, budget->steps_max != UINT64_MAX ? LUA_MASKCOUNT : 0, COUNT_INTERVAL);
  return false;
}

void budget_text(const struct budget *budget, char *out, size_t size) {
  uint64_t limit = sandbox_of(budget->lua)->limit;
  if (budget->spent != BUDGET_MEMORY)
    snprintf(out, size, "used up its budget of %lld ms", (long long)budget->limit_ms);
  else if (limit >= 1 << 20)
    snprintf(out, size, "used up its memory of %llu MB", (unsigned long long)(limit >> 20));
  else
    snprintf(out, size, "used up its memory of %llu KB", (unsigned long long)(limit >> 10));
}

void budget_raise(struct budget *budget, lua_State *lua) {
  char text[64];
  if (!budget->spent) budget->spent = BUDGET_TIME;
  lua_sethook(lua, hook, LUA_MASKCOUNT, 1);
  budget_text(budget, text, sizeof text);
  sandbox_raise(lua, ERROR_BUDGET, "%s", text);
}
