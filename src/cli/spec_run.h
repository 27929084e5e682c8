/** Spec files, each in a process of its own, several at once: what `kairos spec` shares among its parts.
 *
 * A file's process is a fork of this one, which has busted and the rules' sources loaded already, so that a
 * file costs some milliseconds. It tells of each test as it begins and ends; one that takes too long or too
 * much memory is ended, and what it had told by then counts.
 */
#pragma once

#include "engine/script.h"

enum { SPEC_MEMORY_MB = 1024 /**< that a file's process may hold */ };

/** What became of a file. */
struct spec_file {
  const char *path; /**< the caller's */
  struct buf tests; /**< values: maps { path, name, status: "passed" | "failed" | "error" | "pending", line,
                       message, failed_line, seconds } */
  uint32_t count;   /**< of them */
  uint32_t passed, failed, pending; /**< failed: errors too */
  struct buf output;                /**< what it printed, cut after 64 KB */
  double seconds;
  bool done;
};

struct spec_options {
  struct script *script; /**< prepared */
  const char *filter;    /**< pattern of full names, or null */
  uint32_t jobs;         /**< at once */
  int64_t seconds;       /**< that one test may take */
};

/** Run them all. @param finished  called for each, in the order of `files`. */
void spec_run(const struct spec_options *options, struct spec_file *files, size_t count,
              void (*finished)(void *context, const struct spec_file *file), void *context);
/** Once, before spec_run(): how a file's process tells. */
void spec_run_provide(struct script *script);

/* ---- spec_report.c ---- */

/** A line about a file that is done. */
void spec_report_file(const struct spec_file *file);
/** Everything that failed, then the totals; the last line is "N passed, N failed[, N pending]". */
void spec_report_end(const struct spec_file *files, size_t count, double seconds);
/** One JSON object on standard output: { passed, failed, pending, seconds, files: [{ file, passed, failed,
 * pending, seconds, output, tests: […] }] }. @param failures  tests that failed alone, and no output of files
 * in which none did. */
void spec_report_json(const struct spec_file *files, size_t count, double seconds, bool failures);
