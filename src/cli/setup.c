#include "cli/cli.h"

#include "base/logger.h"
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char standard_path[] = "config/kairos.yaml";

const char *setup_config_path(const struct cli_arguments *arguments) {
  if (arguments->config) return arguments->config;
  return access(standard_path, F_OK) == 0 ? standard_path : NULL;
}

int setup_override(const struct cli_arguments *arguments, struct config *config) {
  struct error err = {0};
  int rc = 0;
  if (arguments->data_dir) rc = config_override_data_dir(config, arguments->data_dir, &err);
  if (rc == 0 && arguments->rules) rc = config_override_rules_dir(config, arguments->rules, &err);
  if (rc == 0 && arguments->listen) rc = config_override_listen(config, arguments->listen, &err);
  if (rc == 0 && arguments->workers) rc = config_override_workers(config, arguments->workers, &err);
  if (rc == 0) return CLI_DONE;
  fprintf(stderr, "kairos: %s\n", err.message);
  return CLI_USAGE;
}

static int finish(const struct cli_arguments *arguments, struct config *config, struct config **out) {
  int rc = setup_override(arguments, config);
  if (rc) {
    config_free(config);
    return rc;
  }
  *out = config;
  return CLI_DONE;
}

static int load(const struct cli_arguments *arguments, struct config **out, bool tell, bool looks_only) {
  const char *path = setup_config_path(arguments);
  if (!path) return finish(arguments, config_defaults(), out);
  struct config_report report;
  struct config *config = NULL;
  config_report_init(&report);
  report.secrets_optional = looks_only;
  int rc = config_load(&config, path, &report);
  if (rc && tell) {
    struct buf text;
    buf_init(&text);
    config_report_write(&report, &text);
    fwrite(text.data, 1, text.len, stderr);
    buf_deinit(&text);
  }
  config_report_deinit(&report);
  return rc ? CLI_FAILED : finish(arguments, config, out);
}

int setup_config(const struct cli_arguments *arguments, struct config **out) {
  return load(arguments, out, true, false);
}

int setup_config_to_look(const struct cli_arguments *arguments, struct config **out) {
  return load(arguments, out, true, true);
}

int setup_place(const struct cli_arguments *arguments, struct config **out) {
  // Looking at a host is no business of its logger's.
  logger_init(LOGGER_WARN, LOGGER_LOGFMT, false);
  int rc = load(arguments, out, !arguments->data_dir, true);
  if (rc == CLI_FAILED && arguments->data_dir) return finish(arguments, config_defaults(), out);
  if (rc == CLI_FAILED)
    fprintf(stderr, "kairos: to do without the configuration, say where the host is with --data-dir DIR\n");
  return rc;
}

static bool holds_library(const char *directory) {
  char path[PATH_MAX];
  struct stat found;
  if (snprintf(path, sizeof path, "%s/kairos", directory) >= (int)sizeof path) return false;
  return stat(path, &found) == 0 && S_ISDIR(found.st_mode);
}

int setup_library(struct config *config, struct error *err) {
  if (config->library_dir) {
    if (holds_library(config->library_dir)) return 0;
    return error_set(err, ERROR_NOT_FOUND, "library_dir: there is no folder %s/kairos", config->library_dir);
  }
  if (holds_library("lua")) return config_override_library_dir(config, "lua", err);
  char executable[PATH_MAX], path[PATH_MAX + 32];
  ssize_t len = readlink("/proc/self/exe", executable, sizeof executable - 1);
  if (len < 0) len = 0;
  executable[len] = 0;
  char *slash = strrchr(executable, '/');
  if (slash) *slash = 0;
  static const char *const beside[] = {"../../lua", "../share/kairos/lua"};
  for (size_t i = 0; i < sizeof beside / sizeof *beside; i++) {
    snprintf(path, sizeof path, "%s/%s", executable, beside[i]);
    if (holds_library(path)) return config_override_library_dir(config, path, err);
  }
  return error_set(
      err, ERROR_NOT_FOUND,
      "the Lua library (a folder lua/kairos) is neither in the working directory nor at ../../lua or "
      "../share/kairos/lua of the executable; say where it is with library_dir in the configuration");
}
