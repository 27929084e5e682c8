// links: base
// Whole files, read and written.
#include "base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/kairos-file-XXXXXX";
static char path[64];

static int set_up(void **state) {
  (void)state;
  if (!mkdtemp(folder)) return -1;
  snprintf(path, sizeof path, "%s/one", folder);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  unlink(path);
  return rmdir(folder);
}

static void test_what_is_written_is_read(void **state) {
  (void)state;
  struct error err = {0};
  struct buf bytes;
  buf_init(&bytes);
  assert_int_equal(file_write(path, STR("more than is there later"), &err), 0);
  assert_int_equal(file_write(path, STR("a\0b"), &err), 0);
  buf_append(&bytes, "before ", 7);
  assert_int_equal(file_read(path, 1, &bytes, &err), 0);
  assert_true(str_equal(buf_str(&bytes), STR("before a\0b")));
  assert_int_equal(file_write(path, STR(""), &err), 0);
  buf_clear(&bytes);
  assert_int_equal(file_read(path, 1, &bytes, &err), 0);
  assert_int_equal(bytes.len, 0);
  buf_deinit(&bytes);
}

static void test_a_file_may_be_as_large_as_the_bound_and_no_larger(void **state) {
  (void)state;
  struct error err = {0};
  struct buf bytes, read;
  buf_init(&bytes);
  buf_init(&read);
  memset(buf_reserve(&bytes, (1 << 20) + 1), 'x', (1 << 20) + 1);
  bytes.len = 1 << 20;
  assert_int_equal(file_write(path, buf_str(&bytes), &err), 0);
  buf_append(&read, "before", 6); // which does not count
  assert_int_equal(file_read(path, 1, &read, &err), 0);
  assert_int_equal(read.len, 6 + (1 << 20));
  bytes.len++;
  assert_int_equal(file_write(path, buf_str(&bytes), &err), 0);
  assert_int_equal(file_read(path, 1, &read, &err), ERROR_LIMIT);
  assert_non_null(strstr(err.message, "/one is larger than 1 MB"));
  buf_deinit(&bytes);
  buf_deinit(&read);
}

static void test_what_cannot_be_is_said(void **state) {
  (void)state;
  struct error err = {0};
  struct buf read;
  buf_init(&read);
  assert_int_equal(file_read("/nowhere/one", 1, &read, &err), ERROR_IO);
  assert_string_equal(err.message, "/nowhere/one cannot be opened: No such file or directory");
  assert_int_equal(file_read(folder, 1, &read, &err), ERROR_IO);
  assert_non_null(strstr(err.message, "cannot be read: Is a directory"));
  assert_int_equal(file_write("/nowhere/one", STR("x"), &err), ERROR_IO);
  assert_int_equal(file_write("/dev/full", STR("x"), &err), ERROR_NO_SPACE);
  assert_string_equal(err.message, "/dev/full cannot be written: No space left on device");
  buf_deinit(&read);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_what_is_written_is_read),
      cmocka_unit_test(test_a_file_may_be_as_large_as_the_bound_and_no_larger),
      cmocka_unit_test(test_what_cannot_be_is_said),
  };
  return cmocka_run_group_tests(tests, set_up, tear_down);
}
