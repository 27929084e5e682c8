#include "cli/spec_run.h"

#include "base/clock.h"
#include "base/memory.h"
#include "base/thread.h"
#include "cli/print.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LOOK_MS = 50, OUTPUT_MAX = 64 << 10, CHUNK = 16 << 10, LOADING_SECONDS = 10 };

/** A file's process. */
struct job {
  struct spec_file *file; /**< null: free */
  pid_t pid;
  int reports, output;  /**< what it tells, and what it prints; -1 at the end */
  struct buf pending;   /**< a report that is not whole yet */
  struct buf test;      /**< the test under way: its "start", a value; empty: none */
  int64_t began, since; /**< monotonic us: of the file, of the test */
  bool told_end;        /**< it came to its end by itself */
  char stopped[160];    /**< why it was ended, or "" */
};

/* ---- in the file's process ---- */

static int report_to = -1;

static void write_all(int fd, const void *bytes, size_t len) {
  const char *at = bytes;
  while (len) {
    ssize_t done = write(fd, at, len);
    if (done < 0 && errno == EINTR) continue;
    if (done <= 0) _exit(1); // nobody listens any more
    at += done;
    len -= (size_t)done;
  }
}

/** A report: its length, and its value. */
static void send_report(struct str value) {
  uint32_t len = (uint32_t)value.len;
  write_all(report_to, &len, sizeof len);
  write_all(report_to, value.data, value.len);
}

static int report(void *context, struct str arguments, struct buf *result, struct error *err) {
  (void)context;
  (void)result;
  (void)err;
  struct reader reader = reader_of(arguments);
  value_read(&reader);
  send_report(value_slice(&reader));
  return 0;
}

void spec_run_provide(struct script *script) {
  script_provide(script, "report", report, NULL);
}

_Noreturn static void run_file(const struct spec_options *options, const char *path) {
  struct buf arguments, result;
  struct error err;
  buf_init(&arguments);
  buf_init(&result);
  value_put_array(&arguments, options->filter ? 2 : 1);
  value_put_string(&arguments, str_from(path));
  if (options->filter) value_put_string(&arguments, str_from(options->filter));
  int rc = script_call(options->script, "kairos.spec.runner", "run", buf_str(&arguments), &result, &err);
  buf_clear(&result);
  value_put_map(&result, rc ? 2 : 1);
  value_put_member_text(&result, "kind", STR("end"));
  if (rc) value_put_member_text(&result, "error", str_from(err.message));
  send_report(buf_str(&result));
  fflush(stdout);
  _exit(0); // what the parent holds is the parent's to free
}

/* ---- in the parent ---- */

static void add_test(struct spec_file *file, struct str test) {
  struct str status = value_member_text(test, "status");
  buf_append(&file->tests, test.data, test.len);
  file->count++;
  if (str_equal(status, STR("passed")))
    file->passed++;
  else if (str_equal(status, STR("pending")))
    file->pending++;
  else
    file->failed++;
}

/** A test that could not tell of its end, or the file itself. */
static void add_stopped(struct job *job, struct str message) {
  struct buf test;
  struct str began = buf_str(&job->test), path, line;
  buf_init(&test);
  bool known = began.len && value_member(began, STR("path"), &path);
  bool placed = began.len && value_member(began, STR("line"), &line);
  value_put_map(&test, 6);
  value_put_string(&test, STR("path"));
  if (known)
    buf_append(&test, path.data, path.len);
  else
    value_put_array(&test, 0);
  value_put_member_text(&test, "name", began.len ? value_member_text(began, "name") : STR(""));
  value_put_member_text(&test, "status", STR("error"));
  value_put_member_text(&test, "message", message);
  value_put_string(&test, STR("line"));
  if (placed)
    buf_append(&test, line.data, line.len);
  else
    value_put_nil(&test);
  value_put_string(&test, STR("seconds"));
  value_put_number(&test, (double)(clock_mono_us() - job->since) / 1e6);
  add_test(job->file, buf_str(&test));
  buf_deinit(&test);
}

static void take_report(struct job *job, struct str value) {
  struct str kind = value_member_text(value, "kind"), error = value_member_text(value, "error");
  if (str_equal(kind, STR("start"))) {
    buf_clear(&job->test);
    buf_append(&job->test, value.data, value.len);
    job->since = clock_mono_us();
  } else if (str_equal(kind, STR("test"))) {
    add_test(job->file, value);
    buf_clear(&job->test);
    job->since = clock_mono_us();
  } else if (str_equal(kind, STR("end"))) {
    job->told_end = true;
    if (error.len) add_stopped(job, error);
  }
}

static void take_reports(struct job *job) {
  size_t at = 0;
  uint32_t len;
  while (job->pending.len - at >= sizeof len) {
    memcpy(&len, job->pending.data + at, sizeof len);
    if (job->pending.len - at - sizeof len < len) break;
    take_report(job, (struct str){(const char *)job->pending.data + at + sizeof len, len});
    at += sizeof len + len;
  }
  if (!at) return;
  memmove(job->pending.data, job->pending.data + at, job->pending.len - at);
  job->pending.len -= at;
}

/** Read what is there. @return false at the end. */
static bool read_some(int fd, struct buf *out) {
  ssize_t got = read(fd, buf_reserve(out, CHUNK), CHUNK);
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (got <= 0) return false;
  out->len += (size_t)got;
  return true;
}

static void close_end(int *fd) {
  if (*fd >= 0) close(*fd);
  *fd = -1;
}

static void start(const struct spec_options *options, struct job *job, struct spec_file *file) {
  int reports[2], output[2];
  *job = (struct job){
      .file = file, .reports = -1, .output = -1, .began = clock_mono_us(), .since = clock_mono_us()};
  buf_init(&job->pending);
  buf_init(&job->test);
  if (pipe2(reports, O_CLOEXEC)) {
    snprintf(job->stopped, sizeof job->stopped, "it could not be started: %s", strerror(errno));
    return;
  }
  if (pipe2(output, O_CLOEXEC)) {
    snprintf(job->stopped, sizeof job->stopped, "it could not be started: %s", strerror(errno));
    close(reports[0]);
    close(reports[1]);
    return;
  }
  fflush(stdout);
  fflush(stderr);
  pid_t parent = getpid();
  job->pid = fork();
  if (job->pid == 0) {
    setpgid(0, 0); // what it starts ends with it
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(1);
    dup2(output[1], STDOUT_FILENO);
    dup2(output[1], STDERR_FILENO);
    setvbuf(stdout, NULL, _IOLBF, 0);
    report_to = reports[1];
    thread_pace();
    int none = open("/dev/null", O_RDONLY);
    if (none >= 0) dup2(none, STDIN_FILENO);
    run_file(options, file->path);
  }
  if (job->pid < 0)
    snprintf(job->stopped, sizeof job->stopped, "it could not be started: %s", strerror(errno));
  close(reports[1]);
  close(output[1]);
  job->reports = reports[0];
  job->output = output[0];
}

/** Resident memory, MB. */
static int64_t memory_of(pid_t pid) {
  char path[64];
  long long size = 0, resident = 0;
  snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
  FILE *file = fopen(path, "re");
  if (!file) return 0;
  if (fscanf(file, "%lld %lld", &size, &resident) != 2) resident = 0;
  fclose(file);
  return resident * sysconf(_SC_PAGESIZE) >> 20;
}

static void stop(struct job *job) {
  if (job->pid > 0) kill(-job->pid, SIGKILL);
  if (job->pid > 0) kill(job->pid, SIGKILL); // it may not have made its group yet
}

/** End it if it takes too much. */
static void look_at(const struct spec_options *options, struct job *job) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  enum { MEMORY_MAX = 4 * SPEC_MEMORY_MB };
#else
  enum { MEMORY_MAX = SPEC_MEMORY_MB };
#endif
  if (*job->stopped || job->pid <= 0 || job->reports < 0) return;
  if (clock_mono_us() - job->since > options->seconds * 1000000)
    snprintf(job->stopped, sizeof job->stopped,
             "stopped: it ran for longer than %lld s; does a loop never end? (--seconds N allows more)",
             (long long)options->seconds);
  else if (memory_of(job->pid) > MEMORY_MAX)
    snprintf(job->stopped, sizeof job->stopped, "stopped: it held more than %d MB of memory", MEMORY_MAX);
  if (*job->stopped) stop(job);
}

/** It has gone: what is left to say. */
static void finish(const struct spec_options *options, struct job *job) {
  int status = 0;
  stop(job); // what it started
  while (job->pid > 0 && waitpid(job->pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (!job->told_end || *job->stopped) {
    char text[160];
    if (*job->stopped)
      snprintf(text, sizeof text, "%s", job->stopped);
    else if (WIFSIGNALED(status) && WTERMSIG(status) != SIGKILL)
      snprintf(text, sizeof text, "its process was ended by a signal: %s", strsignal(WTERMSIG(status)));
    else
      snprintf(text, sizeof text, "its process was killed, or ended, before its tests did");
    add_stopped(job, str_from(text));
  } else if (job->file->count == 0 && !options->filter) {
    add_stopped(job, STR("there is no test in it; write it(\"does …\", function() … end)"));
  }
  job->file->seconds = (double)(clock_mono_us() - job->began) / 1e6;
  job->file->done = true;
  buf_deinit(&job->pending);
  buf_deinit(&job->test);
  job->file = NULL;
}

static void take_output(struct job *job) {
  static const char more[] = "\n… it printed more, which is left out\n";
  struct buf *output = &job->file->output;
  if (output->len <= OUTPUT_MAX) {
    if (!read_some(job->output, output)) close_end(&job->output);
    if (output->len > OUTPUT_MAX) {
      output->len = OUTPUT_MAX;
      buf_append(output, more, sizeof more - 1);
    }
    return;
  }
  char rest[CHUNK];
  ssize_t got = read(job->output, rest, sizeof rest);
  if (got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN)) close_end(&job->output);
}

/** Wait for news of any process, and take them in. */
static void turn(const struct spec_options *options, struct job *jobs) {
  struct pollfd *polls = memory_alloc(2 * options->jobs * sizeof *polls);
  for (uint32_t i = 0; i < options->jobs; i++) {
    polls[2 * i] = (struct pollfd){.fd = jobs[i].file ? jobs[i].reports : -1, .events = POLLIN};
    polls[2 * i + 1] = (struct pollfd){.fd = jobs[i].file ? jobs[i].output : -1, .events = POLLIN};
  }
  poll(polls, 2 * options->jobs, LOOK_MS);
  for (uint32_t i = 0; i < options->jobs; i++) {
    struct job *job = &jobs[i];
    if (!job->file) continue;
    if (polls[2 * i + 1].revents) take_output(job);
    if (polls[2 * i].revents) {
      bool more = read_some(job->reports, &job->pending);
      take_reports(job);
      if (!more) close_end(&job->reports);
    }
    look_at(options, job);
    if (job->reports >= 0) continue;
    // What it printed last is in the pipe already; what it started may hold the pipe open for ever.
    if (job->output >= 0) fcntl(job->output, F_SETFL, O_NONBLOCK);
    for (size_t before = SIZE_MAX; job->output >= 0 && before != job->file->output.len;) {
      before = job->file->output.len;
      take_output(job);
    }
    close_end(&job->output);
    finish(options, job);
  }
  memory_free(polls);
}

void spec_run(const struct spec_options *options, struct spec_file *files, size_t count,
              void (*finished)(void *context, const struct spec_file *file), void *context) {
  struct job *jobs = memory_zalloc(options->jobs * sizeof *jobs);
  size_t next = 0, told = 0;
  while (told < count) {
    for (uint32_t i = 0; i < options->jobs && next < count; i++)
      if (!jobs[i].file) start(options, &jobs[i], &files[next++]);
    turn(options, jobs);
    for (; told < count && files[told].done; told++) finished(context, &files[told]);
  }
  memory_free(jobs);
}
