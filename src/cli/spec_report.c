#include "cli/spec_run.h"

#include "cli/print.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/** Colour where somebody looks and has not asked for none (https://no-color.org). */
static const char *colour(const char *sequence) {
  const char *no = getenv("NO_COLOR");
  return isatty(STDOUT_FILENO) && !(no && *no) ? sequence : "";
}

#define RED   "\033[31m"
#define GREEN "\033[32m"
#define PLAIN "\033[0m"

static void print_counts(uint32_t passed, uint32_t failed, uint32_t pending) {
  printf("%u passed, %u failed", passed, failed);
  if (pending) printf(", %u pending", pending);
}

void spec_report_file(const struct spec_file *file) {
  bool good = file->failed == 0;
  printf("%s%-4s%s  %-44s  ", colour(good ? GREEN : RED), good ? "ok" : "FAIL", colour(PLAIN), file->path);
  print_counts(file->passed, file->failed, file->pending);
  printf("  (%.0f ms)\n", file->seconds * 1000);
  if (file->output.len) {
    printf("      ");
    struct str output = buf_str(&file->output);
    if (output.data[output.len - 1] == '\n') output.len--;
    print_text(stdout, output, 6);
    putchar('\n');
  }
  fflush(stdout);
}

static void print_test(const struct spec_file *file, struct str test, const char *word) {
  struct str name = value_member_text(test, "name"), message = value_member_text(test, "message");
  int64_t line = value_member_integer(test, "failed_line");
  if (!line) line = value_member_integer(test, "line");
  printf("\n%s%s%s %s", colour(RED), word, colour(PLAIN), file->path);
  if (line) printf(":%lld", (long long)line);
  if (name.len) printf(": ");
  print_text(stdout, name, 2);
  printf("\n  ");
  print_text(stdout, message, 2);
  putchar('\n');
}

void spec_report_end(const struct spec_file *files, size_t count, double seconds) {
  uint32_t passed = 0, failed = 0, pending = 0;
  for (size_t i = 0; i < count; i++) {
    struct reader reader = reader_of(buf_str(&files[i].tests));
    for (uint32_t j = 0; j < files[i].count; j++) {
      struct str test = value_slice(&reader), status = value_member_text(test, "status");
      if (str_equal(status, STR("failed"))) print_test(&files[i], test, "FAIL");
      if (str_equal(status, STR("error"))) print_test(&files[i], test, "ERROR");
    }
    passed += files[i].passed;
    failed += files[i].failed;
    pending += files[i].pending;
  }
  printf("\n%zu file%s in %.2f s\n", count, count == 1 ? "" : "s", seconds);
  print_counts(passed, failed, pending);
  putchar('\n');
}

static void put_tests(const struct spec_file *file, bool failures, struct buf *out) {
  uint32_t wanted = 0;
  for (int pass = 0; pass < 2; pass++) { // to count, and to write
    if (pass) value_put_array(out, wanted);
    struct reader reader = reader_of(buf_str(&file->tests));
    for (uint32_t left = file->count; left > 0; left--) {
      struct str test = value_slice(&reader), status = value_member_text(test, "status");
      if (failures && !str_equal(status, STR("failed")) && !str_equal(status, STR("error"))) continue;
      if (pass)
        buf_append(out, test.data, test.len);
      else
        wanted++;
    }
  }
}

void spec_report_json(const struct spec_file *files, size_t count, double seconds, bool failures) {
  struct buf out;
  uint32_t passed = 0, failed = 0, pending = 0;
  for (size_t i = 0; i < count; i++) {
    passed += files[i].passed;
    failed += files[i].failed;
    pending += files[i].pending;
  }
  buf_init(&out);
  value_put_map(&out, 5);
  value_put_member_integer(&out, "passed", passed);
  value_put_member_integer(&out, "failed", failed);
  value_put_member_integer(&out, "pending", pending);
  value_put_string(&out, STR("seconds"));
  value_put_number(&out, seconds);
  value_put_string(&out, STR("files"));
  value_put_array(&out, (uint32_t)count);
  for (size_t i = 0; i < count; i++) {
    const struct spec_file *file = &files[i];
    value_put_map(&out, 7);
    value_put_member_text(&out, "file", str_from(file->path));
    value_put_member_integer(&out, "passed", file->passed);
    value_put_member_integer(&out, "failed", file->failed);
    value_put_member_integer(&out, "pending", file->pending);
    value_put_string(&out, STR("seconds"));
    value_put_number(&out, file->seconds);
    bool whole = !failures || file->failed;
    value_put_member_text(&out, "output", whole && file->output.len ? buf_str(&file->output) : STR(""));
    value_put_string(&out, STR("tests"));
    put_tests(file, failures, &out);
  }
  print_json(stdout, buf_str(&out));
  buf_deinit(&out);
}
