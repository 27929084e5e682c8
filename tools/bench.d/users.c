/* Measures the store's user records: writes the records of random users as write-behind does, a share of a
 * worker's turn at a time, and fetches others meanwhile. Prints CPU a record by thread, and what is on disk.
 */
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/memory.h"
#include "state/store.h"

#include <dirent.h>
#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { WRITES_A_BATCH = 1000, FETCHES_A_BATCH = 100, THREADS_MAX = 64 };

static const char usage[] = "usage: users [options]\n"
                            "\n"
                            "  --users N      how many there are (1000000)\n"
                            "  --rounds N     times as many records are written in all (5)\n"
                            "  --bytes N      of a record (250)\n"
                            "  --memory BYTES state.memory (26214400)\n";

static _Noreturn void give_up(const char *message) {
  fprintf(stderr, "users: %s\n", message);
  exit(1);
}

static uint64_t random_next(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

struct waits {
  uv_loop_t loop;
  struct mailbox *mailbox;
  unsigned under_way;
};

struct writing {
  struct store_write write;
  struct waits *waits;
};

struct fetching {
  struct store_fetch fetch;
  struct waits *waits;
  struct store_fetch_item items[FETCHES_A_BATCH];
  char ids[FETCHES_A_BATCH][16];
};

static uint64_t fetched, found;

static void written(struct mail *mail, bool cancelled) {
  struct writing *writing = (struct writing *)mail;
  if (cancelled || writing->write.status) give_up("a write failed");
  writing->waits->under_way--;
  store_write_deinit(&writing->write);
  memory_free(writing);
}

static void was_fetched(struct mail *mail, bool cancelled) {
  struct fetching *fetching = (struct fetching *)mail;
  if (cancelled || fetching->fetch.status) give_up("a fetch failed");
  for (int i = 0; i < FETCHES_A_BATCH; i++) found += fetching->items[i].found;
  fetched += FETCHES_A_BATCH;
  fetching->waits->under_way--;
  buf_deinit(&fetching->fetch.records);
  memory_free(fetching);
}

static void wait_until(struct waits *waits, unsigned most) {
  while (waits->under_way > most) uv_run(&waits->loop, UV_RUN_ONCE);
}

static int compare_ids(const void *a, const void *b) {
  return strcmp(a, b);
}

static void write_some(struct store *store, struct waits *waits, unsigned users, size_t bytes) {
  static uint8_t noise[4096];
  struct writing *writing = memory_zalloc(sizeof *writing);
  char ids[WRITES_A_BATCH][16];
  for (size_t i = 0; i < sizeof noise; i++) noise[i] = (uint8_t)(i % 3 ? i / 16 : random_next());
  for (int i = 0; i < WRITES_A_BATCH; i++)
    snprintf(ids[i], sizeof ids[i], "u%u", (unsigned)(random_next() % users));
  qsort(ids, WRITES_A_BATCH, sizeof *ids, compare_ids);
  store_write_init(store, &writing->write);
  writing->write.mail.run = written;
  writing->write.reply = waits->mailbox;
  writing->waits = waits;
  for (int i = 0; i < WRITES_A_BATCH; i++) {
    struct record record;
    record_init(&record);
    buf_append(&record.bytes, noise + random_next() % 1024, bytes);
    store_write_user(&writing->write, (struct entity){ENTITY_USER, str_from(ids[i])}, &record, INT64_MAX,
                     INT64_MAX);
    record_deinit(&record);
  }
  waits->under_way++;
  store_write_submit(store, &writing->write);
}

static void fetch_some(struct store *store, struct waits *waits, unsigned users) {
  struct fetching *fetching = memory_zalloc(sizeof *fetching);
  fetching->fetch.mail.run = was_fetched;
  fetching->fetch.reply = waits->mailbox;
  fetching->fetch.items = fetching->items;
  fetching->fetch.count = FETCHES_A_BATCH;
  fetching->waits = waits;
  for (int i = 0; i < FETCHES_A_BATCH; i++) {
    snprintf(fetching->ids[i], sizeof *fetching->ids, "u%u", (unsigned)(random_next() % users));
    fetching->items[i].entity = (struct entity){ENTITY_USER, str_from(fetching->ids[i])};
  }
  waits->under_way++;
  store_fetch(store, &fetching->fetch);
}

/* ---- figures ---- */

static void print_threads(double records) {
  struct {
    char name[32];
    double ns;
  } threads[THREADS_MAX] = {0};
  int count = 0;
  double all = 0;
  DIR *dir = opendir("/proc/self/task");
  for (struct dirent *entry; dir && (entry = readdir(dir));) {
    char path[300], name[32] = "";
    double ns = 0;
    snprintf(path, sizeof path, "/proc/self/task/%s/schedstat", entry->d_name);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%lf", &ns) != 1) ns = 0;
    if (file) fclose(file);
    snprintf(path, sizeof path, "/proc/self/task/%s/comm", entry->d_name);
    file = fopen(path, "r");
    if (file && !fgets(name, sizeof name, file)) name[0] = 0;
    if (file) fclose(file);
    name[strcspn(name, "\n")] = 0;
    int at = 0;
    while (at < count && strcmp(threads[at].name, name) != 0) at++;
    if (at == THREADS_MAX) continue;
    if (at == count) snprintf(threads[count++].name, sizeof name, "%s", name);
    threads[at].ns += ns;
    all += strcmp(name, "bench_users") == 0 ? 0 : ns;
  }
  if (dir) closedir(dir);
  for (int i = 0; i < count; i++)
    if (threads[i].ns / records > 10)
      printf("  %-16s %.2f us\n", threads[i].name, threads[i].ns / 1000 / records);
  printf("  the store's      %.2f us\n", all / 1000 / records);
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
  (void)info, (void)type, (void)walk;
  return remove(path);
}

int main(int argc, char **argv) {
  unsigned users = 1000000, rounds = 5, bytes = 250;
  uint64_t memory = 26214400;
  static const struct option options[] = {{"users", 1, NULL, 'u'},
                                          {"rounds", 1, NULL, 'r'},
                                          {"bytes", 1, NULL, 'b'},
                                          {"memory", 1, NULL, 'm'},
                                          {NULL, 0, NULL, 0}};
  for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) switch (option) {
    case 'u':
      users = (unsigned)strtoul(optarg, NULL, 10);
      break;
    case 'r':
      rounds = (unsigned)strtoul(optarg, NULL, 10);
      break;
    case 'b':
      bytes = (unsigned)strtoul(optarg, NULL, 10);
      break;
    case 'm':
      memory = strtoull(optarg, NULL, 10);
      break;
    default:
      give_up(usage);
    }
  if (!users || bytes > 2048) give_up(usage);
  char directory[] = "/var/tmp/kairos-users-XXXXXX";
  if (!mkdtemp(directory)) give_up("no directory");
  struct store *store;
  struct error err;
  struct store_options wanted = {.directory = directory,
                                 .log_keep = INT64_MAX / 2,
                                 .ledger_keep = INT64_MAX / 2,
                                 .dedup_keep = 3600 * 1000,
                                 .cache_bytes = memory};
  if (store_rocks_open(&store, &wanted, &err)) give_up(err.message);
  struct waits waits = {0};
  uv_loop_init(&waits.loop);
  waits.mailbox = mailbox_new(&waits.loop, "users");
  uint64_t batches = (uint64_t)users * rounds / WRITES_A_BATCH;
  int64_t began = clock_mono_us();
  for (uint64_t i = 0; i < batches; i++) {
    write_some(store, &waits, users, bytes);
    for (int j = 0; j < WRITES_A_BATCH / FETCHES_A_BATCH; j++) fetch_some(store, &waits, users);
    wait_until(&waits, 24);
  }
  wait_until(&waits, 0);
  double records = (double)batches * WRITES_A_BATCH;
  struct store_figures figures;
  store_measure(store, &figures);
  printf("%.0f records of %u bytes of %u users, %.2f of the fetches found one; %.1f s\n", records, bytes,
         users, (double)found / (double)fetched, (double)(clock_mono_us() - began) / 1e6);
  print_threads(records);
  printf("  on disk          %.0f bytes a user\n", (double)figures.bytes_on_disk / users);
  fflush(stdout);
  store_close(store);
  mailbox_free(waits.mailbox);
  uv_run(&waits.loop, UV_RUN_DEFAULT);
  uv_loop_close(&waits.loop);
  nftw(directory, remove_one, 8, FTW_DEPTH | FTW_PHYS);
  return 0;
}
