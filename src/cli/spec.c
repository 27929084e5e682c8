#include "cli/cli.h"
#include "cli/spec_run.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "sim/sim_script.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { DEPTH_MAX = 16, JOBS_MAX = 64 };

/* ---- which files ---- */

struct paths {
  char **paths;
  size_t count;
};

static void add(struct paths *paths, const char *path) {
  paths->paths = memory_realloc(paths->paths, (paths->count + 1) * sizeof *paths->paths);
  paths->paths[paths->count++] = memory_dup(path, strlen(path));
}

static bool is_folder(const char *path) {
  struct stat status;
  return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool is_spec(const char *name) {
  static const char end[] = "_spec.lua";
  size_t len = strlen(name);
  return *name != '.' && len > sizeof end - 1 && strcmp(name + len - (sizeof end - 1), end) == 0;
}

/** Add a folder's specs, and those of the folders in it. */
static void add_folder(struct paths *paths, const char *folder, unsigned depth) {
  DIR *stream = opendir(folder);
  struct dirent *entry;
  while (stream && (entry = readdir(stream))) {
    char below[4096];
    if (*entry->d_name == '.' ||
        (size_t)snprintf(below, sizeof below, "%s/%s", folder, entry->d_name) >= sizeof below)
      continue;
    if (is_folder(below)) {
      if (depth > 1) add_folder(paths, below, depth - 1);
    } else if (is_spec(entry->d_name)) {
      add(paths, below);
    }
  }
  if (stream) closedir(stream);
}

static int by_name(const void *a, const void *b) {
  return strcmp(*(char *const *)a, *(char *const *)b);
}

/** The specs of a rules folder lie beside it: rules -> spec/rules. */
static void usual_folder(const char *rules_dir, char *out, size_t size) {
  size_t len = strlen(rules_dir);
  while (len > 1 && rules_dir[len - 1] == '/') len--;
  while (len > 0 && rules_dir[len - 1] != '/') len--;
  snprintf(out, size, "%.*sspec/rules", (int)len, rules_dir);
}

static int find(const struct cli_arguments *arguments, const struct config *config, struct paths *paths) {
  char folder[4096];
  usual_folder(config->rules_dir, folder, sizeof folder);
  for (int i = 0; i < arguments->word_count; i++) {
    const char *path = arguments->words[i];
    if (access(path, R_OK) != 0) {
      fprintf(stderr, "kairos: %s: %s\n", path, strerror(errno));
      return CLI_USAGE;
    }
    if (is_folder(path)) {
      snprintf(folder, sizeof folder, "%s", path);
      size_t len = strlen(folder);
      while (len > 1 && folder[len - 1] == '/') folder[--len] = 0;
      add_folder(paths, folder, DEPTH_MAX);
    } else {
      add(paths, path);
    }
  }
  if (!arguments->word_count) add_folder(paths, folder, DEPTH_MAX);
  if (!paths->count) {
    fprintf(stderr,
            "kairos: there are no specs (NAME_spec.lua) in %s; `kairos new CAMPAIGN` writes a campaign with "
            "one\n",
            folder);
    return CLI_USAGE;
  }
  qsort(paths->paths, paths->count, sizeof *paths->paths, by_name);
  return CLI_DONE;
}

/* ---- numbers of the command line ---- */

static int read_number(const char *text, const char *option, long most, long *out) {
  if (!text) return 0;
  char *end;
  long number = strtol(text, &end, 10);
  if (end == text || *end || number < 1 || number > most) {
    fprintf(stderr, "kairos: %s must be a whole number from 1 to %ld, not %s\n", option, most, text);
    return CLI_USAGE;
  }
  *out = number;
  return 0;
}

/* ---- running ---- */

static void show(void *context, const struct spec_file *file) {
  const struct cli_arguments *arguments = context;
  if (!arguments->json) spec_report_file(file);
}

static int prepare(struct script *script, const char *filter, struct error *err) {
  struct buf arguments, result;
  buf_init(&arguments);
  buf_init(&result);
  value_put_array(&arguments, filter ? 1 : 0);
  if (filter) value_put_string(&arguments, str_from(filter));
  int rc = script_call(script, "kairos.spec.runner", "prepare", buf_str(&arguments), &result, err);
  char *traceback = rc ? strstr(err->message, "\ntraceback:") : NULL;
  if (traceback) *traceback = 0;
  buf_deinit(&arguments);
  buf_deinit(&result);
  return rc;
}

static int run_files(const struct cli_arguments *arguments, struct config *config, const struct paths *paths,
                     const struct spec_options *wanted) {
  struct error err = {0};
  struct spec_options options = *wanted;
  struct sim_script *scripted = sim_script_new(config);
  int64_t began = clock_mono_us();
  int rc = setup_library(config, &err);
  if (rc == 0) rc = script_new(&options.script, config->library_dir, &err);
  if (rc == 0) {
    sim_script_provide(scripted, options.script);
    spec_run_provide(options.script);
    sim_script_read(scripted, NULL); // a spec that needs them will say what is wrong
    rc = prepare(options.script, arguments->filter, &err);
  }
  int code = CLI_FAILED;
  if (rc == 0) {
    struct spec_file *files = memory_zalloc(paths->count * sizeof *files);
    for (size_t i = 0; i < paths->count; i++) files[i].path = paths->paths[i];
    thread_unpace(); // it waits from here on
    spec_run(&options, files, paths->count, show, (void *)arguments);
    double seconds = (double)(clock_mono_us() - began) / 1e6;
    uint32_t failed = 0, tests = 0;
    for (size_t i = 0; i < paths->count; i++) {
      failed += files[i].failed;
      tests += files[i].count;
    }
    if (arguments->json)
      spec_report_json(files, paths->count, seconds, arguments->failures);
    else
      spec_report_end(files, paths->count, seconds);
    if (!tests) fprintf(stderr, "kairos: --filter %s finds no test\n", arguments->filter);
    code = failed || !tests ? CLI_FAILED : CLI_DONE;
    for (size_t i = 0; i < paths->count; i++) {
      buf_deinit(&files[i].tests);
      buf_deinit(&files[i].output);
    }
    memory_free(files);
  } else {
    fprintf(stderr, "kairos: %s\n", err.message);
  }
  script_free(options.script);
  sim_script_free(scripted);
  return code;
}

static int run(const struct cli_arguments *arguments) {
  logger_init(LOGGER_ERROR, LOGGER_LOGFMT, false);
  thread_pace();
  long jobs = sysconf(_SC_NPROCESSORS_ONLN), seconds = 10;
  if (jobs < 1) jobs = 1;
  if (jobs > JOBS_MAX) jobs = JOBS_MAX;
  int rc = read_number(arguments->jobs, "--jobs", JOBS_MAX, &jobs);
  if (rc == CLI_DONE) rc = read_number(arguments->seconds, "--seconds", 86400, &seconds);
  if (rc) return rc;
  struct config *config = NULL;
  struct paths paths = {0};
  rc = setup_config_to_look(arguments, &config);
  if (rc == CLI_DONE) rc = find(arguments, config, &paths);
  if (rc == CLI_DONE)
    rc = run_files(
        arguments, config, &paths,
        &(struct spec_options){.filter = arguments->filter, .jobs = (uint32_t)jobs, .seconds = seconds});
  for (size_t i = 0; i < paths.count; i++) memory_free(paths.paths[i]);
  memory_free(paths.paths);
  config_free(config);
  return rc;
}

const struct cli_command cli_spec = {
    .name = "spec",
    .words = "[PATH…]",
    .words_max = CLI_WORDS_MAX,
    .options = CLI_CONFIG | CLI_RULES | CLI_JSON | CLI_FILTER | CLI_FAILURES | CLI_JOBS | CLI_SECONDS,
    .summary = "run the campaigns' specs on a virtual clock",
    .help = "Specs are busted's (describe, it, assert) with `require \"kairos.spec\"`: a host\n"
            "with the engine, gate, queues and retries of a live one, on a clock that the\n"
            "spec turns, with providers that answer to order. Files and folders may be\n"
            "named; else those of spec/rules beside the rules folder. Each file runs in a\n"
            "process of its own, several at once; a test that does not end in --seconds, or\n"
            "takes more than 1 GB, is stopped.\n"
            "\n"
            "A file is a line; then each failure with its file and line, what happened to\n"
            "the users it is about, and the totals. The exit is 0 if all passed, 1 if not.\n"
            "`rules/…` in a spec means the folder that --rules names.\n"
            "\n"
            "  kairos spec\n"
            "  kairos spec spec/rules/welcome_spec.lua --filter \"says hello\"\n"
            "  kairos spec --json | jq '.files[].tests[] | select(.status != \"passed\")'\n",
    .run = run,
};
