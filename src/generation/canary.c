#include "generation/canary.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/memory.h"
#include "base/thread.h"
#include "event/json.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
  CPU_SECONDS = 20,  /**< of each process */
  WALL_MS = 30000,   /**< of a child with all that it starts */
  SESSION_NICE = 10, /**< of the child's, as of the thread that starts it */
  LOOK_MS = 50,      /**< between two looks at whether to stop */
  OUTPUT_MAX = 4 << 20,
  COMPLAINT_MAX = 64 << 10,
  REVIEWED_MAX_MB = 16,
  FILES_MAX = 1000, /**< specs named one by one; more of them are all there are */
};
#define ADDRESS_SPACE_MAX (2ull << 30)
#define REVIEWED          "reviewed"

struct canary {
  const struct canary_options *options;
  char root[PATH_MAX];
  struct buf out, complaint; /**< what the child wrote to standard output and error */
  struct error *err;
};

/* ---- the snapshot on disk ---- */

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where) {
  (void)info, (void)kind, (void)where;
  return remove(path);
}

static void remove_snapshot(const struct canary *canary) {
  nftw(canary->root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/** Make the folders that the path leads through, below the root. */
static int make_way(struct canary *canary, char *path) {
  for (char *at = path + strlen(canary->root); (at = strchr(at + 1, '/'));) {
    *at = '\0';
    int failed = mkdir(path, 0700) != 0 && errno != EEXIST;
    if (failed) return error_set_errno(canary->err, errno, "the snapshot's folder %s cannot be made", path);
    *at = '/';
  }
  return 0;
}

static int write_file(struct canary *canary, const char *folder, const char *name, struct str text) {
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%s/%s%s", canary->root, folder, name) >= (int)sizeof path)
    return error_set(canary->err, ERROR_LIMIT, "%s has too long a name for a snapshot", name);
  int rc = make_way(canary, path);
  if (rc) return rc;
  rc = file_write(path, text, canary->err);
  return rc ? error_prefix(canary->err, "the snapshot's file ") : 0;
}

/** The host's own configuration, but for the library: that of the snapshot. */
static int write_config(struct canary *canary) {
  char library[PATH_MAX + 8], data[PATH_MAX + 8];
  struct config config = *canary->options->config;
  snprintf(library, sizeof library, "%s/lua", canary->root);
  snprintf(data, sizeof data, "%s/data", canary->root);
  config.library_dir = library;
  config.data_dir = data;
  struct buf text;
  buf_init(&text);
  config_write(&config, &text);
  int rc = write_file(canary, "", "kairos.yaml", buf_str(&text));
  buf_deinit(&text);
  return rc;
}

/** What lies beside the library's folder, the reviewer of `kairos check` for one, is no part of a generation.
 */
static int link_tools(struct canary *canary) {
  const char *library = canary->options->config->library_dir;
  DIR *stream = opendir(library);
  if (!stream) return error_set_errno(canary->err, errno, "%s cannot be read", library);
  int rc = 0;
  for (struct dirent *entry; rc == 0 && (entry = readdir(stream));) {
    char path[PATH_MAX], real[PATH_MAX], link[PATH_MAX + 300];
    if (*entry->d_name == '.' || strcmp(entry->d_name, "kairos") == 0) continue;
    snprintf(path, sizeof path, "%s/%s", library, entry->d_name);
    snprintf(link, sizeof link, "%s/lua/%s", canary->root, entry->d_name);
    if (realpath(path, real) && symlink(real, link) != 0)
      rc = error_set_errno(canary->err, errno, "the snapshot's link %s cannot be made", link);
  }
  closedir(stream);
  return rc;
}

/** One a data directory, so that what a crash left behind is removed by the next. */
static int make_root(struct canary *canary) {
  char data[PATH_MAX];
  if (!realpath(canary->options->config->data_dir, data))
    return error_set_errno(canary->err, errno, "the data directory's path");
  snprintf(canary->root, sizeof canary->root, "/dev/shm/kairos-canary-%016llx",
           (unsigned long long)hash64(str_from(data), 0));
  remove_snapshot(canary);
  if (mkdir(canary->root, 0700) == 0) return 0;
  if (snprintf(canary->root, sizeof canary->root, "%s/canary", data) >= (int)sizeof canary->root)
    return error_set(canary->err, ERROR_LIMIT, "the data directory has too long a path");
  remove_snapshot(canary);
  if (mkdir(canary->root, 0700) == 0) return 0;
  return error_set_errno(canary->err, errno, "the snapshot's folder %s cannot be made", canary->root);
}

static int write_snapshot(struct canary *canary) {
  const struct ruleset *ruleset = canary->options->ruleset;
  int rc = make_root(canary);
  if (rc == 0) rc = write_config(canary);
  if (rc == 0) rc = write_file(canary, "rules/", ".keep", STR(""));
  if (rc == 0) rc = write_file(canary, "", REVIEWED, buf_str(canary->options->reviewed));
  for (size_t i = 0; rc == 0 && i < ruleset->count; i++)
    rc = write_file(canary, ruleset->files[i].library ? "lua/" : "rules/", ruleset->files[i].path,
                    ruleset->files[i].text);
  return rc ? rc : link_tools(canary);
}

/* ---- the child ---- */

/** What is named here is given as it is; a secret that the configuration names is there, but says nothing. */
static char **environment(const struct canary *canary) {
  const struct config *config = canary->options->config;
  static const char *const kept[] = {"PATH",         "HOME",         "LANG",          "LC_ALL",
                                     "TZ",           "TMPDIR",       "LUA_PATH",      "LUA_CPATH",
                                     "ASAN_OPTIONS", "LSAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"};
  size_t count = 0, most = sizeof kept / sizeof *kept + config->provider_count + config->api_key_count +
                           config->lookup_count + 2;
  char **list = memory_zalloc(most * sizeof *list);
  struct buf text;
  for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
    const char *value = getenv(kept[i]);
    if (!value) continue;
    buf_init(&text);
    buf_printf(&text, "%s=%s", kept[i], value);
    buf_put_u8(&text, 0);
    list[count++] = (char *)text.data;
  }
  buf_init(&text);
  buf_printf(&text, "KAIROS_REVIEWED=%s/" REVIEWED, canary->root);
  buf_put_u8(&text, 0);
  list[count++] = (char *)text.data;
  for (size_t i = 0; i < config->provider_count + config->api_key_count + config->lookup_count; i++) {
    const struct config_secret *secret =
        i < config->provider_count ? &config->providers[i].secret
        : i < config->provider_count + config->api_key_count
            ? &config->api_keys[i - config->provider_count].key
            : &config->lookups[i - config->provider_count - config->api_key_count].secret;
    if (!secret->env) continue;
    buf_init(&text);
    buf_printf(&text, "%s=canary", secret->env);
    buf_put_u8(&text, 0);
    list[count++] = (char *)text.data;
  }
  return list;
}

static void environment_free(char **list) {
  for (char **at = list; *at; at++) memory_free(*at);
  memory_free(list);
}

static void limit(pid_t pid, int resource, uint64_t most) {
  struct rlimit bound = {most, most};
  prlimit(pid, resource, &bound, NULL);
}

/** Where the kernel shares the processor by session first (sched_autogroup), this one stands behind the
 * host's. */
static void step_back(pid_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/autogroup", (int)pid);
  FILE *file = fopen(path, "we");
  if (!file) return;
  fprintf(file, "%d", SESSION_NICE);
  fclose(file);
}

static void limit_child(pid_t pid) {
  step_back(pid);
  limit(pid, RLIMIT_CPU, CPU_SECONDS);
  limit(pid, RLIMIT_CORE, 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  limit(pid, RLIMIT_AS, ADDRESS_SPACE_MAX); // a sanitizer's own maps are larger
#endif
}

/** Spawned, not forked: a copy of this process's page tables would hold the workers up. */
static int spawn(struct canary *canary, char *const arguments[], pid_t *pid, int pipes[2]) {
  int out[2], complaint[2];
  if (pipe2(out, O_CLOEXEC)) return error_set_errno(canary->err, errno, "a pipe");
  if (pipe2(complaint, O_CLOEXEC)) {
    close(out[0]), close(out[1]);
    return error_set_errno(canary->err, errno, "a pipe");
  }
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  sigset_t none, all;
  sigemptyset(&none);
  sigemptyset(&all);
  sigaddset(&all, SIGPIPE);
  sigaddset(&all, SIGTERM);
  sigaddset(&all, SIGINT);
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  posix_spawn_file_actions_adddup2(&actions, complaint[1], 2);
  posix_spawn_file_actions_addclosefrom_np(&actions, 3);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setsigmask(&attributes, &none);
  char **variables = environment(canary);
  int failed = posix_spawn(pid, "/proc/self/exe", &actions, &attributes, arguments, variables);
  environment_free(variables);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  close(out[1]);
  close(complaint[1]);
  pipes[0] = out[0];
  pipes[1] = complaint[0];
  if (!failed) return 0;
  close(out[0]);
  close(complaint[0]);
  return error_set_errno(canary->err, failed, "the rules cannot be tried: no child process");
}

/** @return false at its end, or when it has said too much. */
static bool take_output(int descriptor, struct buf *out, size_t most) {
  ssize_t got = read(descriptor, buf_reserve(out, 64 << 10), 64 << 10);
  if (got < 0) return errno == EINTR || errno == EAGAIN;
  if (out->len < most) out->len += (size_t)got;
  return got > 0;
}

/** Read both until they end. @return 0, or why it must be ended. */
static int listen_to(struct canary *canary, const char *what, int pipes[2]) {
  struct pollfd waits[2] = {{pipes[0], POLLIN, 0}, {pipes[1], POLLIN, 0}};
  int64_t deadline = clock_mono_us() + WALL_MS * 1000LL;
  while (waits[0].fd >= 0 || waits[1].fd >= 0) {
    if (canary->options->stop && atomic_load(canary->options->stop))
      return error_set(canary->err, ERROR_UNAVAILABLE, "the trial of the new rules was cut short");
    if (clock_mono_us() > deadline)
      return error_set(canary->err, ERROR_BUDGET, "`kairos %s` of the new rules did not end in %d s", what,
                       WALL_MS / 1000);
    if (poll(waits, 2, LOOK_MS) <= 0) continue;
    if (waits[0].revents && !take_output(pipes[0], &canary->out, OUTPUT_MAX)) waits[0].fd = -1;
    if (waits[1].revents && !take_output(pipes[1], &canary->complaint, COMPLAINT_MAX)) waits[1].fd = -1;
  }
  return 0;
}

/** Run one command to its end. @return its exit status, or a negative code. */
static int run_child(struct canary *canary, char *const arguments[]) {
  pid_t pid;
  int pipes[2], status = 0;
  buf_clear(&canary->out);
  buf_clear(&canary->complaint);
  int rc = spawn(canary, arguments, &pid, pipes);
  if (rc) return rc;
  limit_child(pid);
  rc = listen_to(canary, arguments[1], pipes);
  if (rc) kill(-pid, SIGKILL);
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) continue;
  close(pipes[0]);
  close(pipes[1]);
  if (rc) return rc;
  if (WIFEXITED(status)) return WEXITSTATUS(status);
  bool time = WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL;
  return error_set(canary->err, ERROR_BUDGET, "`kairos %s` of the new rules %s (%s)", arguments[1],
                   time ? "was ended: it may take 20 s of CPU time" : "crashed", strsignal(WTERMSIG(status)));
}

/* ---- what it says ---- */

static int64_t number_of(struct str map, const char *name) {
  struct str found;
  double number;
  return value_member(map, str_from(name), &found) && value_as_number(found, &number) ? (int64_t)number : 0;
}

static struct reader list_of(struct str map, const char *name, uint32_t *count) {
  struct str found;
  bool there = value_member(map, str_from(name), &found) && value_head(found).type == VALUE_ARRAY;
  struct reader reader = reader_of(there ? found : STR(""));
  *count = there ? value_read(&reader).count : 0;
  return reader;
}

/** Where the snapshot lies is nobody's business: "…/canary/rules/cart/rule.lua" is rules/cart/rule.lua. */
static void hide_root(struct canary *canary) {
  char *message = canary->err->message, *at;
  size_t len = strlen(canary->root) + 1;
  char root[PATH_MAX + 1];
  snprintf(root, sizeof root, "%s/", canary->root);
  while ((at = strstr(message, root))) memmove(at, at + len, strlen(at + len) + 1);
}

/** The child's answer, or what it complained instead. */
static int parse_output(struct canary *canary, struct buf *value) {
  size_t len = canary->out.len;
  if (len >= OUTPUT_MAX)
    return error_set(
        canary->err, ERROR_LIMIT,
        "what is wrong with the new rules takes more than %d MB; `kairos check` and `kairos spec` "
        "tell it whole",
        OUTPUT_MAX >> 20);
  struct json_parser *parser = json_parser_new();
  memset(buf_reserve(&canary->out, JSON_PADDING), 0, JSON_PADDING);
  int rc = len ? json_parse(parser, (const char *)canary->out.data, len, value, NULL) : ERROR_INVALID;
  json_parser_free(parser);
  if (rc == 0) return 0;
  struct str said = canary->complaint.len ? buf_str(&canary->complaint) : STR("it said nothing");
  return error_set(canary->err, ERROR_SCRIPT, "%.*s", said.len > 800 ? 800 : (int)said.len, said.data);
}

/** The first error: the others are for `kairos check`. */
static int check_refused(struct canary *canary, struct str answer) {
  uint32_t count;
  struct reader reader = list_of(answer, "problems", &count);
  int64_t errors = number_of(answer, "errors");
  for (; count > 0; count--) {
    struct str problem = value_slice(&reader);
    if (!str_equal(value_member_text(problem, "severity"), STR("error"))) continue;
    struct str file = value_member_text(problem, "file"), message = value_member_text(problem, "message"),
               instead = value_member_text(problem, "instead");
    char more[64] = "", line[24] = "";
    if (errors > 1) snprintf(more, sizeof more, " (and %lld more: `kairos check`)", (long long)errors - 1);
    if (number_of(problem, "line"))
      snprintf(line, sizeof line, "%lld:", (long long)number_of(problem, "line"));
    return error_set(canary->err, ERROR_SCRIPT, "%.*s%s%s %.*s%s%.*s%s", STR_ARG(file), file.len ? ":" : "",
                     line, message.len > 500 ? 500 : (int)message.len, message.data, instead.len ? "; " : "",
                     instead.len > 200 ? 200 : (int)instead.len, instead.data, more);
  }
  return error_set(canary->err, ERROR_SCRIPT, "`kairos check` refuses the new rules");
}

/** The review's own notes, which mean nothing here. What is not whole is worth nothing. */
static void take_reviewed(struct canary *canary) {
  struct buf *out = canary->options->reviewed;
  char path[PATH_MAX + 16];
  snprintf(path, sizeof path, "%s/" REVIEWED, canary->root);
  buf_clear(out);
  if (file_read(path, REVIEWED_MAX_MB, out, NULL)) buf_clear(out);
}

static int check(struct canary *canary) {
  char config[PATH_MAX + 16], rules[PATH_MAX + 16];
  snprintf(config, sizeof config, "%s/kairos.yaml", canary->root);
  snprintf(rules, sizeof rules, "%s/rules", canary->root);
  char *arguments[] = {"kairos", "check", "--config", config, "--rules", rules, "--json", NULL};
  int status = run_child(canary, arguments);
  if (status == 0) take_reviewed(canary);
  if (status <= 0) return status;
  struct buf answer;
  buf_init(&answer);
  int rc = parse_output(canary, &answer);
  if (rc == 0) rc = check_refused(canary, buf_str(&answer));
  buf_deinit(&answer);
  return rc;
}

static int spec_failed(struct canary *canary, struct str answer) {
  uint32_t files, tests;
  int64_t failed = number_of(answer, "failed");
  struct reader reader = list_of(answer, "files", &files);
  for (; files > 0; files--) {
    struct str file = value_slice(&reader);
    struct reader inside = list_of(file, "tests", &tests);
    for (; tests > 0; tests--) {
      struct str test = value_slice(&inside), status = value_member_text(test, "status"),
                 name = value_member_text(test, "name");
      if (!str_equal(status, STR("failed")) && !str_equal(status, STR("error"))) continue;
      struct str path = value_member_text(file, "file"), message = value_member_text(test, "message");
      int64_t line = number_of(test, "failed_line");
      if (!line) line = number_of(test, "line");
      char more[64] = "";
      if (failed > 1) snprintf(more, sizeof more, " (and %lld more: `kairos spec`)", (long long)failed - 1);
      return error_set(canary->err, ERROR_SCRIPT, "%.*s:%lld: the spec \"%.*s\" fails: %.*s%s", STR_ARG(path),
                       (long long)line, name.len > 150 ? 150 : (int)name.len, name.data,
                       message.len > 500 ? 500 : (int)message.len, message.data, more);
    }
  }
  return error_set(canary->err, ERROR_SCRIPT, "the specs fail; `kairos spec` says more");
}

void canary_folder(const struct config *config, char *out, size_t size) {
  const char *rules = config->rules_dir;
  size_t len = strlen(rules);
  while (len > 1 && rules[len - 1] == '/') len--;
  while (len > 0 && rules[len - 1] != '/') len--;
  snprintf(out, size, "%.*sspec/rules", (int)len, rules);
}

/** The specs of the campaigns named in one list. */
static void add_specs(struct canary *canary, const char *list, char **arguments, size_t *count) {
  char folder[PATH_MAX], path[PATH_MAX + 300];
  uint32_t left;
  canary_folder(canary->options->config, folder, sizeof folder);
  struct reader reader = list_of(canary->options->changes, list, &left);
  for (; left > 0 && *count < FILES_MAX; left--) {
    struct str name = value_read(&reader).string;
    snprintf(path, sizeof path, "%s/%.*s_spec.lua", folder, name.len > 255 ? 255 : (int)name.len, name.data);
    if (access(path, R_OK) == 0) arguments[(*count)++] = memory_dup(path, strlen(path));
  }
}

static int run_specs(struct canary *canary, struct buf *specs) {
  char config[PATH_MAX + 16], rules[PATH_MAX + 16];
  snprintf(config, sizeof config, "%s/kairos.yaml", canary->root);
  snprintf(rules, sizeof rules, "%s/rules", canary->root);
  const char *head[] = {"kairos", "spec", "--config", config, "--rules", rules, "--json", "--failures", "--"};
  enum { HEAD = sizeof head / sizeof *head };
  char **arguments = memory_zalloc((HEAD + FILES_MAX + 1) * sizeof *arguments);
  for (size_t i = 0; i < HEAD; i++) arguments[i] = (char *)head[i];
  size_t files = 0;
  add_specs(canary, "added", arguments + HEAD, &files);
  add_specs(canary, "changed", arguments + HEAD, &files);
  if (files == FILES_MAX) {
    while (files > 0) memory_free(arguments[HEAD + --files]);
    char folder[PATH_MAX];
    canary_folder(canary->options->config, folder, sizeof folder);
    memset(arguments + HEAD, 0, FILES_MAX * sizeof *arguments);
    arguments[HEAD + files++] = memory_dup(folder, strlen(folder));
  }
  struct buf answer;
  buf_init(&answer);
  int rc = files ? run_child(canary, arguments) : 0;
  if (rc >= 0 && files) {
    int parsed = parse_output(canary, &answer);
    rc = parsed ? parsed : rc ? spec_failed(canary, buf_str(&answer)) : 0;
  }
  if (rc == 0) {
    value_put_map(specs, 3);
    uint32_t ran = 0;
    if (files) list_of(buf_str(&answer), "files", &ran);
    value_put_member_integer(specs, "files", ran);
    value_put_member_integer(specs, "passed", files ? number_of(buf_str(&answer), "passed") : 0);
    value_put_member_integer(specs, "pending", files ? number_of(buf_str(&answer), "pending") : 0);
  }
  buf_deinit(&answer);
  for (size_t i = 0; i < files; i++) memory_free(arguments[HEAD + i]);
  memory_free(arguments);
  return rc;
}

int canary_run(const struct canary_options *options, struct buf *specs, struct error *err) {
  struct canary canary = {.options = options, .err = err};
  buf_init(&canary.out);
  buf_init(&canary.complaint);
  thread_pace();
  int rc = write_snapshot(&canary);
  thread_unpace(); // from here on a child works, and this waits
  if (rc == 0) rc = check(&canary);
  if (rc == 0) rc = run_specs(&canary, specs);
  if (rc) hide_root(&canary);
  thread_pace();
  remove_snapshot(&canary);
  thread_unpace();
  buf_deinit(&canary.out);
  buf_deinit(&canary.complaint);
  return rc;
}

uint64_t canary_specs(const struct config *config) {
  char folder[PATH_MAX], path[PATH_MAX + 300];
  canary_folder(config, folder, sizeof folder);
  uint64_t sum = 0;
  DIR *stream = opendir(folder);
  for (struct dirent *entry; stream && (entry = readdir(stream));) {
    struct stat info;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    if (!ruleset_wants(entry->d_name) || stat(path, &info) != 0) continue;
    const int64_t seen[] = {(int64_t)info.st_ino, info.st_size, info.st_mtim.tv_sec, info.st_mtim.tv_nsec};
    sum += hash64((struct str){(const char *)seen, sizeof seen}, hash64(str_from(entry->d_name), 0));
  }
  if (stream) closedir(stream);
  return sum;
}
