#include "config/config_report.h"

#include "base/memory.h"

#include <stdarg.h>
#include <stdio.h>

void config_report_init(struct config_report *report) {
  *report = (struct config_report){0};
}

void config_report_deinit(struct config_report *report) {
  for (size_t i = 0; i < report->count; i++) {
    memory_free(report->problems[i].key);
    memory_free(report->problems[i].message);
  }
  memory_free(report->problems);
  memory_free(report->file);
  config_report_init(report);
}

bool config_report_add(struct config_report *report, int line, int column, const char *key,
                       const char *format, ...) {
  if (report->count == CONFIG_PROBLEMS_MAX) {
    report->cut = true;
    return false;
  }
  if (!report->problems) report->problems = memory_alloc(CONFIG_PROBLEMS_MAX * sizeof *report->problems);
  char message[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(message, sizeof message, format, args);
  va_end(args);
  report->problems[report->count++] = (struct config_problem){line, column, memory_dup(key, strlen(key)),
                                                              memory_dup(message, strlen(message))};
  return true;
}

static bool comes_before(const struct config_problem *a, const struct config_problem *b) {
  return a->line != b->line ? a->line < b->line : a->column < b->column;
}

void config_report_sort(struct config_report *report) {
  // Insertion: few, nearly in order, and those of one place stay as they were found.
  for (size_t i = 1; i < report->count; i++) {
    struct config_problem problem = report->problems[i];
    size_t to = i;
    for (; to > 0 && comes_before(&problem, &report->problems[to - 1]); to--)
      report->problems[to] = report->problems[to - 1];
    report->problems[to] = problem;
  }
}

void config_report_write(const struct config_report *report, struct buf *out) {
  for (size_t i = 0; i < report->count; i++) {
    const struct config_problem *problem = &report->problems[i];
    buf_printf(out, "%s:", report->file ? report->file : "configuration");
    if (problem->line) buf_printf(out, "%d:%d:", problem->line, problem->column);
    buf_printf(out, " ");
    if (*problem->key) buf_printf(out, "%s: ", problem->key);
    buf_printf(out, "%s\n", problem->message);
  }
  if (report->cut) buf_printf(out, "and more: only the first %d are shown\n", CONFIG_PROBLEMS_MAX);
}
