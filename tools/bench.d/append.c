/* Measures what a group of the log costs, written and synced one after the other: into files that grow, and
 * into spare segments (state/log_spare.h); turn by turn. A group's time, and the CPU time of the process and
 * of both cores (the kernel's own threads included, other programs too).
 */
#include "base/memory.h"
#include "state/log_spare.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 3, SEGMENT = 64 << 20 };

static const char usage[] =
    "usage: append [--kilobytes N (a group's; 160)] [--segments N (a turn's, of 64 MB; 4)] [--folder PATH "
    "(append-bench; made, and removed)]\n";

struct group_mail {
  struct log_batch batch;
  bool answered;
};

struct turn {
  double *us; /**< of each group */
  size_t count;
  double own_us, all_us; /**< CPU time */
};

static double now_us(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

/** CPU time of all cores since the machine's start, us. */
static double busy_us(void) {
  double user = 0, nice = 0, system = 0;
  FILE *file = fopen("/proc/stat", "r");
  if (!file || fscanf(file, "cpu %lf %lf %lf", &user, &nice, &system) != 3) exit(1);
  fclose(file);
  return (user + nice + system) / (double)sysconf(_SC_CLK_TCK) * 1e6;
}

static void answered(struct mail *mail, bool cancelled) {
  (void)cancelled;
  ((struct group_mail *)mail)->answered = true;
}

static void write_groups(uv_loop_t *loop, struct mailbox *mailbox, const char *folder, struct str record,
                         size_t groups, struct turn *turn) {
  struct log_options options = {.directory = folder, .segment_size = SEGMENT, .segment_age = 3600000};
  struct log_position end = {0, 0};
  uint64_t cut;
  struct log *log;
  struct error err;
  if (log_settle(folder, NULL, &end, &cut, &err) || log_open(&log, &options, end, &err)) {
    fprintf(stderr, "append: %s\n", err.message);
    exit(1);
  }
  double own = now_us(CLOCK_PROCESS_CPUTIME_ID), all = busy_us();
  for (size_t i = 0; i < groups; i++) {
    struct group_mail mail = {.batch = {.mail.run = answered, .reply = mailbox, .records = 1}};
    buf_append(&mail.batch.bytes, record.data, record.len);
    double begun = now_us(CLOCK_MONOTONIC);
    log_submit(log, &mail.batch);
    while (!mail.answered) uv_run(loop, UV_RUN_ONCE);
    turn->us[turn->count++] = now_us(CLOCK_MONOTONIC) - begun;
    if (mail.batch.status) exit(1);
    buf_deinit(&mail.batch.bytes);
  }
  turn->own_us += now_us(CLOCK_PROCESS_CPUTIME_ID) - own;
  turn->all_us += busy_us() - all;
  log_close(log);
}

/** What was written before: spares, or nothing. */
static void retire(const char *folder, bool spare) {
  struct buf numbers, path;
  buf_init(&numbers);
  buf_init(&path);
  if (segment_list(folder, &numbers, NULL)) exit(1);
  for (size_t i = 0; i < numbers.len / sizeof(uint64_t); i++) {
    uint64_t number = ((const uint64_t *)(const void *)numbers.data)[i];
    if (spare ? spare_keep(folder, number) : unlink(segment_path(&path, folder, number))) exit(1);
  }
  if (!spare) spare_trim(folder, 0);
  buf_deinit(&numbers);
  buf_deinit(&path);
}

static int compare(const void *a, const void *b) {
  double left = *(const double *)a, right = *(const double *)b;
  return (left > right) - (left < right);
}

static void tell(const char *what, struct turn *turn) {
  qsort(turn->us, turn->count, sizeof *turn->us, compare);
  double count = (double)turn->count;
  printf("%-16s a group p50 %6.0f, p99 %6.0f, longest %7.0f us; CPU %6.1f us, of all programs %6.1f us\n",
         what, turn->us[turn->count / 2], turn->us[turn->count * 99 / 100], turn->us[turn->count - 1],
         turn->own_us / count, turn->all_us / count);
}

int main(int argc, char **argv) {
  size_t kilobytes = 160, segments = 4;
  const char *folder = "append-bench";
  for (int i = 1; i < argc; i += 2) {
    if (i + 1 < argc && strcmp(argv[i], "--kilobytes") == 0)
      kilobytes = strtoull(argv[i + 1], NULL, 10);
    else if (i + 1 < argc && strcmp(argv[i], "--segments") == 0)
      segments = strtoull(argv[i + 1], NULL, 10);
    else if (i + 1 < argc && strcmp(argv[i], "--folder") == 0)
      folder = argv[i + 1];
    else
      kilobytes = 0;
  }
  if (kilobytes == 0 || kilobytes > 16384 || segments == 0) {
    fputs(usage, stderr);
    return 2;
  }
  if (mkdir(folder, 0750)) {
    perror(folder);
    return 1;
  }
  size_t groups = segments * SEGMENT / (kilobytes << 10);
  struct buf input = {0}, record = {0};
  memset(buf_reserve(&input, kilobytes << 10), 'x', kilobytes << 10);
  input.len = kilobytes << 10;
  log_record_put(&record, &(struct log_record){.seq = 1,
                                               .type = LOG_EVENT,
                                               .at = 1,
                                               .entity = {ENTITY_USER, STR("ada")},
                                               .input = buf_str(&input)});
  uv_loop_t loop;
  uv_loop_init(&loop);
  struct mailbox *mailbox = mailbox_new(&loop, "append");
  struct turn grows = {.us = memory_alloc(ROUNDS * groups * sizeof(double))},
              reuses = {.us = memory_alloc(ROUNDS * groups * sizeof(double))};
  for (int round = 0; round < ROUNDS; round++) {
    write_groups(&loop, mailbox, folder, buf_str(&record), groups, &grows);
    retire(folder, true);
    write_groups(&loop, mailbox, folder, buf_str(&record), groups, &reuses);
    retire(folder, false);
  }
  printf("%zu groups of %zu KB in each of %d turns\n", groups, kilobytes, ROUNDS);
  tell("files that grow", &grows);
  tell("spare segments", &reuses);
  printf("ratio of CPU time %.2f, of all programs' %.2f\n", reuses.own_us / grows.own_us,
         reuses.all_us / grows.all_us);
  rmdir(folder);
  mailbox_free(mailbox);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  memory_free(grows.us);
  memory_free(reuses.us);
  buf_deinit(&input);
  buf_deinit(&record);
  return 0;
}
