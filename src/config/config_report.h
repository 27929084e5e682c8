/** What is wrong with a configuration file: all of it, each problem with its place. */
#pragma once

#include "base/buf.h"

/** A file with more problems than this is not the file that was meant. */
#define CONFIG_PROBLEMS_MAX 100

struct config_problem {
  int line, column; /**< from 1; 0 when it is about the file as a whole */
  char *key;        /**< path, such as "http.max_body" or "providers[0].url"; "" when it has none */
  char *message;    /**< what was found, what is allowed */
};

struct config_report {
  char *file;
  struct config_problem *problems; /**< in the file's order */
  size_t count;
  bool cut; /**< there may be more than CONFIG_PROBLEMS_MAX */
  /** Set before loading by who only looks (`why`, `simulate`): a secret that is not in the environment is
   * null then, and no problem. */
  bool secrets_optional;
};

void config_report_init(struct config_report *report);
void config_report_deinit(struct config_report *report);
/** @return whether there is room for more. */
bool config_report_add(struct config_report *report, int line, int column, const char *key,
                       const char *format, ...) __attribute__((format(printf, 5, 6)));
/** By place. */
void config_report_sort(struct config_report *report);
/** "file:line:column: key: message" a line. */
void config_report_write(const struct config_report *report, struct buf *out);
