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

/** @param run  returns null if all was well, else what was not; only this thread may fail a test */
static void on_thread(void *(*run)(void *)) {
  pthread_t thread;
  void *wrong;
  assert_int_equal(pthread_create(&thread, NULL, run, NULL), 0);
  pthread_join(thread, &wrong);
  assert_string_equal(wrong ? wrong : "", "");
}

static void *pause_while_paced(void *context) {
  (void)context;
  thread_modest();
  if (sched_getscheduler(0) != SCHED_BATCH) return "not modest";
  if (compute() >= PAUSES_LEAST / 2) return "pauses before";
  thread_pace();
  thread_pace();
  if (compute() < PAUSES_LEAST) return "no pauses";
  thread_unpace();
  if (compute() >= PAUSES_LEAST / 2) return "pauses behind";
  thread_unpace();
  thread_pace();
  if (compute() < PAUSES_LEAST) return "no pauses the second time";
  thread_unpace();
  return NULL;
}

static void a_paced_thread_pauses(void **state) {
  (void)state;
  on_thread(pause_while_paced);
}

static void *pause_promptly(void *context) {
  (void)context;
  thread_prompt();
  thread_pace();
  if (compute() >= PAUSES_LEAST / 2) return "pauses as if it were modest";
  thread_pace_prompt();
  if (compute() < COMPUTED_MS) return "its pieces grow";
  thread_unpace();
  if (compute() >= PAUSES_LEAST / 2) return "pauses behind";
  return NULL;
}

static void a_prompt_one_pauses_in_pieces_that_do_not_grow(void **state) {
  (void)state;
  on_thread(pause_promptly);
}

static void *pace_immodestly(void *context) {
  (void)context;
  thread_pace();
  bool paused = compute() >= PAUSES_LEAST / 2;
  thread_unpace();
  return paused ? "pauses" : NULL;
}

static void one_that_is_not_modest_does_not(void **state) {
  (void)state;
  on_thread(pace_immodestly);
}

/** In a process of its own. @return its exit status. */
static int fork_while_paced(void) {
  thread_modest();
  thread_pace();
  pid_t child = fork();
  if (child == 0) {
    if (compute() >= PAUSES_LEAST / 2) _exit(1);
    thread_pace();
    _exit(compute() >= PAUSES_LEAST ? 0 : 2);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child || !WIFEXITED(status)) return 3;
  if (WEXITSTATUS(status)) return WEXITSTATUS(status);
  return compute() >= PAUSES_LEAST ? 0 : 4;
}

static void a_fork_begins_for_itself(void **state) {
  (void)state;
  int status;
  pid_t child = fork();
  if (child == 0) _exit(fork_while_paced());
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_int_equal(status, 0);
}

/** What it waits for is not cut short. */
static void *read_while_paced(void *context) {
  (void)context;
  int pipes[2];
  char byte;
  if (pipe(pipes)) return "no pipe";
  thread_modest();
  thread_pace();
  pid_t child = fork();
  if (child == 0) {
    usleep(50000);
    _exit(write(pipes[1], "x", 1) == 1 ? 0 : 1);
  }
  bool got = read(pipes[0], &byte, 1) == 1;
  thread_unpace();
  waitpid(child, NULL, 0);
  close(pipes[0]);
  close(pipes[1]);
  return got ? NULL : "the read was cut short";
}

static void a_read_goes_on_behind_a_pause(void **state) {
  (void)state;
  on_thread(read_while_paced);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(a_paced_thread_pauses),
      cmocka_unit_test(a_prompt_one_pauses_in_pieces_that_do_not_grow),
      cmocka_unit_test(one_that_is_not_modest_does_not),
      cmocka_unit_test(a_fork_begins_for_itself),
      cmocka_unit_test(a_read_goes_on_behind_a_pause),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
