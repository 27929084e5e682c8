// links: base
/* Log lines: both formats, hostile text, masked users, the limit a call site, readers that stall. */
#include "base/logger.h"

#include <fcntl.h>
#include <pthread.h>
#include <pty.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static int real_stderr, capture_file;

static void capture_start(void) {
  char path[] = "/tmp/kairos-logger-XXXXXX";
  capture_file = mkstemp(path);
  assert_true(capture_file >= 0);
  unlink(path);
  real_stderr = dup(STDERR_FILENO);
  dup2(capture_file, STDERR_FILENO);
}

/** @return what was written, after its time. Static: the next capture overwrites it. */
static const char *capture_end(void) {
  static char text[65536];
  dup2(real_stderr, STDERR_FILENO);
  close(real_stderr);
  ssize_t len = pread(capture_file, text, sizeof text - 1, 0);
  close(capture_file);
  assert_true(len >= 0);
  text[len] = 0;
  const char *level = strstr(text, "level");
  return level ? level : text;
}

static void logfmt(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  capture_start();
  LOG_INFO("log", "segment sealed", LOG_INT("segment", -3), LOG_TEXT("file", "a/b.seg"),
           LOG_TEXT("what", "two words"), LOG_STR("empty", STR("")), LOG_TEXT("none", NULL),
           LOG_STR("odd", STR("a=\"b\"\n\\\x01\x7f\xff\xc3\xa9")));
  assert_string_equal(capture_end(),
                      "level=info component=log msg=\"segment sealed\" segment=-3 file=a/b.seg "
                      "what=\"two words\" empty=\"\" none=\"\" "
                      "odd=\"a=\\\"b\\\"\\n\\\\\\u0001\\u007f\\ufffd\xc3\xa9\"\n");
}

static void json(void **state) {
  (void)state;
  logger_init(LOGGER_DEBUG, LOGGER_JSON, true);
  capture_start();
  LOG_DEBUG("log", "it \"is\"", LOG_INT("n", 1), LOG_USER("user", STR("ada")),
            LOG_STR("cut", STR("\xe2\x82")), LOG_STR("surrogate", STR("\xed\xa0\x80")),
            LOG_STR("long", STR("\xc0\x80")), LOG_STR("zero", STR("a\0b")));
  assert_string_equal(capture_end(),
                      "level\":\"debug\",\"component\":\"log\",\"message\":\"it \\\"is\\\"\",\"n\":1,"
                      "\"user\":\"ada\",\"cut\":\"\\ufffd\\ufffd\",\"surrogate\":\"\\ufffd\\ufffd\\ufffd\","
                      "\"long\":\"\\ufffd\\ufffd\",\"zero\":\"a\\u0000b\"}\n");
}

static void the_line_starts_with_its_time(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_JSON, false);
  capture_start();
  LOG_WARN("log", "x");
  const char *text = capture_end();
  while (text[-1] != '{') text--;
  int year, month, day, hour, minute, second, milli, end = 0;
  assert_int_equal(sscanf(text, "\"time\":\"%4d-%2d-%2dT%2d:%2d:%2d.%3dZ\",\"level%n", &year, &month, &day,
                          &hour, &minute, &second, &milli, &end),
                   7);
  assert_true(end > 0 && year >= 2024);
}

static void users_are_masked(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  char lines[3][256];
  static const char *const users[] = {"ada@example.org", "ada@example.org", "bob"};
  for (int i = 0; i < 3; i++) {
    capture_start();
    LOG_INFO("log", "x", LOG_USER("user", str_from(users[i])));
    snprintf(lines[i], sizeof lines[i], "%s", capture_end());
    assert_null(strstr(lines[i], users[i]));
    assert_int_equal(strlen(strstr(lines[i], "user=~")), strlen("user=~0123456789\n"));
  }
  assert_string_equal(lines[0], lines[1]);
  assert_string_not_equal(lines[0], lines[2]);
}

static void levels(void **state) {
  (void)state;
  logger_init(LOGGER_WARN, LOGGER_LOGFMT, false);
  capture_start();
  LOG_DEBUG("log", "no");
  LOG_INFO("log", "no");
  LOG_WARN("log", "yes");
  LOG_ERROR("log", "yes");
  const char *text = capture_end();
  assert_null(strstr(text, "\"no\""));
  assert_ptr_equal(strstr(text, "level=warn component=log msg=\"yes\"\n"), text);
  assert_non_null(strstr(text, "level=error component=log msg=\"yes\"\n"));
}

static void long_text_is_cut(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  static char text[20000];
  memset(text, 'x', sizeof text - 1);
  capture_start();
  LOG_INFO("log", "x", LOG_TEXT("long", text));
  const char *line = capture_end();
  assert_true(strlen(line) < 4200);
  assert_non_null(strstr(line, "xxx...\"\n"));
}

static void write_often(int times) {
  for (int i = 0; i < times; i++) LOG_INFO("log", "often", LOG_INT("i", i));
}

static int count_lines(const char *text) {
  int lines = 0;
  for (; *text; text++) lines += *text == '\n';
  return lines;
}

static void a_site_is_limited_and_says_so(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  capture_start();
  write_often(1000);
  const char *text = capture_end();
  // Two windows at most, if the second turned in between.
  assert_true(count_lines(text) >= 10 && count_lines(text) <= 20);
  usleep(1100000);
  capture_start();
  write_often(2);
  LOG_INFO("log", "another site");
  text = capture_end();
  assert_int_equal(count_lines(text), 3);
  const char *dropped = strstr(text, " dropped=");
  assert_non_null(dropped);
  assert_true(atoi(dropped + 9) >= 980 && atoi(dropped + 9) <= 990);
  assert_null(strstr(dropped + 1, " dropped="));
}

static void *write_from_thread(void *unused) {
  (void)unused;
  write_often(200);
  return NULL;
}

static void threads_keep_lines_whole(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  usleep(1100000);
  capture_start();
  pthread_t threads[4];
  for (int i = 0; i < 4; i++) pthread_create(&threads[i], NULL, write_from_thread, NULL);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  const char *text = capture_end();
  for (; text; text = strstr(text + 1, "level=")) {
    int number, used = 0;
    sscanf(text, "level=info component=log msg=\"often\" i=%d%n", &number, &used);
    assert_true(used > 0);
  }
}

/** Put `fd` in the place of stderr and fill it up. @return how many bytes it took. */
static size_t stderr_full(int fd) {
  real_stderr = dup(STDERR_FILENO);
  dup2(fd, STDERR_FILENO);
  int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  size_t taken = 0;
  for (ssize_t written; (written = write(fd, ".", 1)) > 0;) taken += (size_t)written;
  fcntl(fd, F_SETFL, flags);
  return taken;
}

static void stderr_back(void) {
  dup2(real_stderr, STDERR_FILENO);
  close(real_stderr);
}

/** Read `len` bytes. */
static void take(int fd, size_t len) {
  static char bytes[4096];
  while (len > 0) {
    ssize_t count = read(fd, bytes, len < sizeof bytes ? len : sizeof bytes);
    assert_true(count > 0);
    len -= (size_t)count;
  }
}

static void a_reader_that_stalls_costs_lines_alone(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  usleep(1100000);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  // Where a write blocks, the test ends.
  alarm(20);
  size_t taken = stderr_full(ends[1]);
  for (int i = 0; i < 6; i++) {
    if (i == 4) take(ends[0], taken);
    LOG_INFO("log", "stalled", LOG_INT("i", i));
  }
  stderr_back();
  alarm(0);
  close(ends[1]);
  static char text[4096];
  size_t len = 0;
  for (ssize_t count; (count = read(ends[0], text + len, sizeof text - 1 - len)) > 0;) len += (size_t)count;
  text[len] = 0;
  close(ends[0]);
  assert_int_equal(count_lines(text), 2);
  assert_non_null(strstr(text, "msg=\"stalled\" i=4 dropped=4\n"));
  assert_non_null(strstr(text, "msg=\"stalled\" i=5\n"));
}

static void a_line_longer_than_the_room_is_cut_and_the_next_is_whole(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  int ends[2];
  assert_int_equal(pipe(ends), 0);
  static char part[3000], text[65536 + 1];
  memset(part, 'x', sizeof part - 1);
  alarm(20);
  stderr_full(ends[1]);
  take(ends[0], 4096);
  LOG_INFO("log", "long", LOG_TEXT("one", part), LOG_TEXT("two", part));
  take(ends[0], 4096);
  LOG_INFO("log", "next");
  stderr_back();
  alarm(0);
  close(ends[1]);
  size_t len = 0;
  for (ssize_t count; (count = read(ends[0], text + len, sizeof text - 1 - len)) > 0;) len += (size_t)count;
  text[len] = 0;
  close(ends[0]);
  const char *cut = strstr(text, "msg=\"long\" one=xxx"), *next = strstr(text, "msg=\"next\"\n");
  assert_non_null(cut);
  assert_non_null(next);
  assert_int_equal(count_lines(cut), 2);
  assert_true(cut < next);
}

static void a_terminal_that_is_not_read_costs_lines_alone(void **state) {
  (void)state;
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  int ends[2];
  assert_int_equal(openpty(&ends[0], &ends[1], NULL, NULL, NULL), 0);
  static char part[1000];
  memset(part, 'x', sizeof part - 1);
  real_stderr = dup(STDERR_FILENO);
  dup2(ends[1], STDERR_FILENO);
  alarm(20);
  // Each from a site of its own, as the limit a site would hide that they are lost.
  for (int i = 0; i < 200; i++) {
    struct logger_site site = {0};
    struct logger_field fields[] = {LOG_TEXT("text", part)};
    logger_write(&site, LOGGER_INFO, "log", "terminal", fields, 1);
  }
  stderr_back();
  alarm(0);
  close(ends[0]);
  close(ends[1]);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(logfmt),
      cmocka_unit_test(json),
      cmocka_unit_test(the_line_starts_with_its_time),
      cmocka_unit_test(users_are_masked),
      cmocka_unit_test(levels),
      cmocka_unit_test(long_text_is_cut),
      cmocka_unit_test(a_site_is_limited_and_says_so),
      cmocka_unit_test(threads_keep_lines_whole),
      cmocka_unit_test(a_reader_that_stalls_costs_lines_alone),
      cmocka_unit_test(a_line_longer_than_the_room_is_cut_and_the_next_is_whole),
      cmocka_unit_test(a_terminal_that_is_not_read_costs_lines_alone),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
