// links: base
/* Failpoints: what the environment may say, and when they strike. */
#include "base/clock.h"
#include "base/failpoint.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int arm(const char *text) {
  setenv("KAIROS_FAILPOINTS", text, 1);
  return failpoint_init();
}

static void unarmed(void **state) {
  (void)state;
  unsetenv("KAIROS_FAILPOINTS");
  assert_int_equal(failpoint_init(), 0);
  assert_false(failpoint_armed);
  assert_int_equal(FAILPOINT("log.fsync"), 0);
  assert_int_equal(arm(""), 0);
  assert_false(failpoint_armed);
}

static void strikes(const char *text, int calls, const char *want) {
  assert_int_equal(arm(text), 0);
  char got[32] = "";
  for (int i = 0; i < calls; i++) {
    int failure = FAILPOINT("a.b");
    strcat(got, failure == EIO ? "E" : failure == ENOSPC ? "N" : failure ? "?" : ".");
  }
  assert_string_equal(got, want);
}

static void when_they_strike(void **state) {
  (void)state;
  strikes("a.b=error", 4, "E...");
  strikes("a.b=error@3", 5, "..E..");
  strikes("a.b=enospc@2*2", 5, ".NN..");
  strikes("a.b=error*0", 4, "EEEE");
  strikes("a.b=error@3*0", 5, "..EEE");
  strikes("x=error,a.b=enospc@2", 3, ".N.");
  strikes("a.b=error,a.b=enospc@3", 4, "E.N.");
  strikes("a.bc=error,a=error", 2, "..");
}

static void sleeps(void **state) {
  (void)state;
  assert_int_equal(arm("a.b=sleep:30@2"), 0);
  int64_t start = clock_mono_us();
  assert_int_equal(FAILPOINT("a.b"), 0);
  int64_t between = clock_mono_us();
  assert_int_equal(FAILPOINT("a.b"), 0);
  assert_true(clock_mono_us() - between >= 30000);
  assert_true(between - start < 30000);
}

static void holds(void **state) {
  (void)state;
  char path[] = "/tmp/kairos-hold-XXXXXX", text[64];
  close(mkstemp(path));
  snprintf(text, sizeof text, "a.b=hold:%s*2", path);
  assert_int_equal(arm(text), 0);
  pid_t child = fork();
  if (child == 0) _exit(FAILPOINT("a.b"));
  int status;
  usleep(20000);
  assert_int_equal(waitpid(child, &status, WNOHANG), 0);
  unlink(path);
  assert_int_equal(waitpid(child, &status, 0), child);
  assert_true(WIFEXITED(status));
  assert_int_equal(WEXITSTATUS(status), 0);
}

static void kills(void **state) {
  (void)state;
  assert_int_equal(arm("a.b=kill@2"), 0);
  pid_t child = fork();
  if (child == 0) {
    if (failpoint_hit("a.b")) _exit(1);
    failpoint_hit("a.b");
    _exit(2);
  }
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFSIGNALED(status));
  assert_int_equal(WTERMSIG(status), SIGKILL);
}

static void nonsense_is_refused(void **state) {
  (void)state;
  static const char *const bad[] = {
      "a",
      "a=",
      "=error",
      "a=explode",
      "a=error@",
      "a=error@0",
      "a=error@x",
      "a=error*",
      "a=error@1x",
      "a=error ",
      "a=sleep",
      "a=sleep:",
      "a=sleep:x",
      "a=hold:",
      "a=hold:/x@0",
      "a=error*2@1",
      ",",
      "a=error,,b=error",
      "a=error@99999999999999999999",
  };
  int real = dup(STDERR_FILENO);
  for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    dup2(pipes[1], STDERR_FILENO);
    int answer = arm(bad[i]);
    dup2(real, STDERR_FILENO);
    close(pipes[1]);
    char text[512];
    ssize_t len = read(pipes[0], text, sizeof text - 1);
    close(pipes[0]);
    assert_int_equal(answer, -1);
    assert_false(failpoint_armed);
    assert_true(len > 0);
    text[len] = 0;
    assert_non_null(strstr(text, "is no failpoint: write name=action[@hit][*times]"));
  }
  close(real);
}

static void too_much_is_refused(void **state) {
  (void)state;
  char text[8192] = "";
  for (int i = 0; i < 32; i++) strcat(text, "a=error,");
  assert_int_equal(arm(text), 0);
  strcat(text, "a=error");
  assert_int_equal(arm(text), -1);
  assert_false(failpoint_armed);
  memset(text, 'a', 5000);
  text[5000] = 0;
  assert_int_equal(arm(text), -1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unarmed),
      cmocka_unit_test(when_they_strike),
      cmocka_unit_test(sleeps),
      cmocka_unit_test(holds),
      cmocka_unit_test(kills),
      cmocka_unit_test(nonsense_is_refused),
      cmocka_unit_test(too_much_is_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
