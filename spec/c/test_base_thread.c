// links: base
/* Threads that let others go first: who pauses, how often, and who does not. */
#include "base/thread.h"

#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { COMPUTED_MS = 100, PAUSES_LEAST = 20 /**< pieces are 4 ms at most */ };

/** Compute for so much CPU time of this thread. @return how often it slept meanwhile. */
static long compute(void) {
  struct rusage before, after;
  struct timespec now;
  getrusage(RUSAGE_THREAD, &before);
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  int64_t end = now.tv_sec * 1000000000LL + now.tv_nsec + COMPUTED_MS * 1000000LL;
  do {
    for (volatile int i = 0; i < 10000; i++) continue;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  } while (now.tv_sec * 1000000000LL + now.tv_nsec < end);
  getrusage(RUSAGE_THREAD, &after);
  return after.ru_nvcsw - before.ru_nvcsw;
}

static void on_thread(void *(*run)(void *)) {
  pthread_t thread;
  assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
  pthread_join(thread, NULL);
}

static void *pause_while_paced(void *context) {
  (void)context;
  thread_modest();
  assert_int_equal(sched_getscheduler(0), SCHED_BATCH);
  long without = compute();
  thread_pace();
  thread_pace();
  long with = compute();
  thread_unpace();
  long after = compute();
  thread_unpace();
  assert_true(without < PAUSES_LEAST / 2);
  assert_true(with >= PAUSES_LEAST);
  assert_true(after < PAUSES_LEAST / 2);
  thread_pace();
  assert_true(compute() >= PAUSES_LEAST);
  thread_unpace();
  return NULL;
}

static void a_paced_thread_pauses(void **state) {
  (void)state;
  on_thread(pause_while_paced);
}

static void *pace_immodestly(void *context) {
  (void)context;
  thread_pace();
  assert_true(compute() < PAUSES_LEAST / 2);
  thread_unpace();
  return NULL;
}

static void one_that_is_not_modest_does_not(void **state) {
  (void)state;
  on_thread(pace_immodestly);
}

static void *fork_while_paced(void *context) {
  (void)context;
  thread_modest();
  thread_pace();
  pid_t child = fork();
  if (child == 0) {
    bool still = compute() < PAUSES_LEAST / 2;
    thread_pace();
    _exit(still && compute() >= PAUSES_LEAST ? 0 : 1);
  }
  int status;
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
  assert_true(compute() >= PAUSES_LEAST);
  thread_unpace();
  return NULL;
}

static void a_fork_begins_for_itself(void **state) {
  (void)state;
  on_thread(fork_while_paced);
}

/** What it waits for is not cut short, and costs no turns. */
static void *sleep_while_paced(void *context) {
  (void)context;
  thread_modest();
  thread_pace();
  int pipes[2];
  char byte;
  assert_int_equal(pipe(pipes), 0);
  pid_t child = fork();
  if (child == 0) {
    usleep(50000);
    _exit(write(pipes[1], "x", 1) == 1 ? 0 : 1);
  }
  assert_int_equal(read(pipes[0], &byte, 1), 1);
  thread_unpace();
  waitpid(child, NULL, 0);
  close(pipes[0]);
  close(pipes[1]);
  return NULL;
}

static void a_read_goes_on_behind_a_pause(void **state) {
  (void)state;
  on_thread(sleep_while_paced);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_paced_thread_pauses),
      cmocka_unit_test(one_that_is_not_modest_does_not),
      cmocka_unit_test(a_fork_begins_for_itself),
      cmocka_unit_test(a_read_goes_on_behind_a_pause),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
