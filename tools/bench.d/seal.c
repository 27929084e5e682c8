/* Measures sealing: writes segments of reference events through the log's own API, seals one after the other,
 * and waits until all is merged that wants to be. Prints CPU and bytes written an event, then what
 * reading costs: a user's past, and the dedup mark of a duplicate. */
#include "base/clock.h"
#include "base/mailbox.h"
#include "base/memory.h"
#include "state/log_segment.h"
#include "state/seen.h"
#include "state/store.h"

#include <ftw.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum {
  RECORDS_A_BATCH = 700,
  LOOK_UPS = 1000,
  DAY_MS = 24 * 3600 * 1000,
  LEFT =
      10 /* segments at the log's end that are not sealed: so many wait that sealing stays on this thread */
};

static const char usage[] =
    "usage: seal [options]\n"
    "\n"
    "  --segments N   how many to make and seal (8)\n"
    "  --size BYTES   of a segment (67108864)\n"
    "  --users N      an event is about a random one of so many (100000)\n"
    "  --messages N   one event in N sends a message, with attempt and outcome (100)\n"
    "  --log DIR      seal this log, all but its last 10 segments; it is made there first if there is none\n"
    "  --print        every segment's CPU\n";

struct options {
  unsigned segments, users, messages;
  uint64_t size;
  const char *log;
  bool print;
};

static _Noreturn void give_up(const char *message) {
  fprintf(stderr, "seal: %s\n", message);
  exit(1);
}

/* ---- making a log ---- */

static uint64_t random_next(void) {
  static uint64_t state = 88172645463325252u;
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

struct making {
  struct buf payload[2], metadata, data, input, effects;
  uint64_t seq;
  int64_t now;
};

static void put_item(struct buf *out, const char *sku, int64_t quantity, double price) {
  value_put_map(out, 3);
  value_put_member_text(out, "sku", str_from(sku));
  value_put_member_integer(out, "qty", quantity);
  value_put_string(out, STR("price"));
  value_put_number(out, price);
}

static void put_payload(struct buf *out, double total) {
  value_put_map(out, 4);
  value_put_member_text(out, "cart_id", STR("c1"));
  value_put_string(out, STR("items"));
  value_put_array(out, 2);
  put_item(out, "A1", 2, 19.9);
  put_item(out, "B2", 1, 5);
  value_put_string(out, STR("total"));
  value_put_number(out, total);
  value_put_member_text(out, "currency", STR("EUR"));
}

static void put_record(struct making *making, struct log_batch *batch, enum log_record_type type,
                       struct entity entity) {
  struct log_record record = {.seq = making->seq++,
                              .type = type,
                              .generation = 1,
                              .at = making->now,
                              .entity = entity,
                              .input = buf_str(&making->input),
                              .effects = buf_str(&making->effects)};
  log_record_put(&batch->bytes, &record);
  batch->records++;
  buf_clear(&making->input);
  buf_clear(&making->effects);
}

static void put_sent(struct making *making, struct log_batch *batch, const struct event *event) {
  struct hash128 id = {making->seq, random_next()};
  struct message message = {.id = id,
                            .user = event->entity,
                            .campaign = STR("reference"),
                            .rule = STR("reference/rule.lua"),
                            .template_name = STR("cart"),
                            .channel = STR("webhook"),
                            .provider = STR("sink"),
                            .to = event->entity.id,
                            .data = buf_str(&making->data),
                            .cause = event->id,
                            .facts = buf_str(&making->data),
                            .at = making->now,
                            .accepted = making->now,
                            .generation = 1};
  struct verdict verdict = {.pass = true, .checks = buf_str(&making->data)};
  effect_encode(&(struct effect){.type = EFFECT_MESSAGE, .message = {message, verdict}}, &making->effects);
  put_record(making, batch, LOG_EVENT, event->entity);
  buf_put_u64(&making->input, id.high);
  buf_put_u64(&making->input, id.low);
  buf_put_varint(&making->input, 1);
  put_record(making, batch, LOG_ATTEMPT, event->entity);
  struct outcome outcome = {
      .message_id = id, .kind = OUTCOME_ACCEPTED, .attempt = 1, .at = making->now, .detail = STR("200")};
  effect_encode(&(struct effect){.type = EFFECT_OUTCOME, .outcome = outcome}, &making->effects);
  put_record(making, batch, LOG_OUTCOME, event->entity);
}

static void put_event(struct making *making, struct log_batch *batch, const struct options *options) {
  char user[16], id[40];
  bool sends = options->messages && making->seq % options->messages == 0;
  snprintf(user, sizeof user, "u%u", (unsigned)(random_next() % options->users));
  snprintf(id, sizeof id, "018f-r17320-%llu", (unsigned long long)making->seq);
  struct event event = {.id = str_from(id),
                        .type = STR("cart.updated"),
                        .entity = {ENTITY_USER, str_from(user)},
                        .timestamp = making->now - 12,
                        .received = making->now,
                        .payload = buf_str(&making->payload[sends]),
                        .metadata = buf_str(&making->metadata)};
  event_encode(&event, &making->input);
  struct window_entry entry = {
      .id = hash64(STR("carts"), 0), .kind = WINDOW_COUNT, .over = 600000, .at = making->now, .amount = 1};
  effect_encode(&(struct effect){.type = EFFECT_WINDOW, .window = entry}, &making->effects);
  if (sends)
    put_sent(making, batch, &event);
  else
    put_record(making, batch, LOG_EVENT, event.entity);
}

struct posted {
  struct log_batch batch;
  bool answered;
};

static void batch_answered(struct mail *mail, bool cancelled) {
  (void)cancelled;
  ((struct posted *)mail)->answered = true;
}

static void write_log(struct log *log, const struct options *options) {
  uv_loop_t loop;
  uv_loop_init(&loop);
  struct posted posted = {.batch = {.mail.run = batch_answered, .reply = mailbox_new(&loop, "seal")}};
  struct making making = {.seq = 1, .now = clock_wall_ms()};
  put_payload(&making.payload[0], 14.8);
  put_payload(&making.payload[1], 44.8);
  value_put_map(&making.metadata, 2);
  value_put_member_text(&making.metadata, "source", STR("checkout-service"));
  value_put_member_text(&making.metadata, "region", STR("eu-west-1"));
  value_put_map(&making.data, 1);
  value_put_string(&making.data, STR("total"));
  value_put_number(&making.data, 44.8);
  while (log_open_segment(log) < options->segments + LEFT) {
    buf_clear(&posted.batch.bytes);
    posted.batch.records = 0;
    posted.answered = false;
    making.now += 5;
    while (posted.batch.records < RECORDS_A_BATCH) put_event(&making, &posted.batch, options);
    log_submit(log, &posted.batch);
    while (!posted.answered) uv_run(&loop, UV_RUN_ONCE);
    if (posted.batch.status) give_up("the log cannot be written");
  }
  struct buf *bufs[] = {&making.payload[0], &making.payload[1], &making.metadata,   &making.data,
                        &making.input,      &making.effects,    &posted.batch.bytes};
  for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_deinit(bufs[i]);
  mailbox_free(posted.batch.reply);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
}

static void make_log(const struct options *options, const char *directory) {
  struct error err;
  struct log *log;
  struct log_options log_options = {
      .directory = directory, .segment_size = options->size, .segment_age = DAY_MS};
  if (log_open(&log, &log_options, (struct log_position){0, 0}, &err)) give_up(err.message);
  write_log(log, options);
  log_close(log);
}

/* ---- what there is to seal, and to ask for ---- */

struct asked {
  char user[EVENT_ID_MAX + 1], id[EVENT_ID_MAX + 1];
};

struct content {
  uint64_t last; /**< number of the last segment that is sealed */
  uint64_t events;
  struct asked asked[LOOK_UPS]; /**< some of the events, evenly picked at random */
};

static void note_event(struct content *content, const struct log_record *record) {
  struct error err;
  struct event event;
  struct reader reader = reader_of(record->input);
  if (event_decode(&event, &reader, &err)) give_up(err.message);
  uint64_t place = content->events++;
  if (place >= LOOK_UPS) place = random_next() % content->events;
  if (place >= LOOK_UPS) return;
  struct asked *asked = &content->asked[place];
  snprintf(asked->user, sizeof asked->user, "%.*s", (int)event.entity.id.len, event.entity.id.data);
  snprintf(asked->id, sizeof asked->id, "%.*s", (int)event.id.len, event.id.data);
}

static uint64_t last_to_seal(const char *directory) {
  struct error err;
  struct buf numbers;
  buf_init(&numbers);
  if (segment_list(directory, &numbers, &err)) give_up(err.message);
  size_t count = numbers.len / sizeof(uint64_t);
  if (count <= LEFT) give_up("the log has too few segments");
  uint64_t last = ((const uint64_t *)(const void *)numbers.data)[count - 1 - LEFT];
  buf_deinit(&numbers);
  return last;
}

/** Reads all that is to be sealed, so that it is in the page cache as a running host's log is. */
static void read_log(struct content *content, const char *directory) {
  struct error err;
  struct log_reader *reader;
  struct log_record record;
  struct log_position after;
  content->last = last_to_seal(directory);
  struct log_position until = {content->last + 1, 0};
  int rc = log_reader_new(&reader, directory, (struct log_position){0, 0}, &err);
  if (rc) give_up(err.message);
  while ((rc = log_reader_next(reader, &until, &record, &after, &err)) == 1)
    if (record.type == LOG_EVENT) note_event(content, &record);
  if (rc < 0) give_up(err.message);
  log_reader_free(reader);
}

/* ---- measuring ---- */

static double cpu_us(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

/** Bytes that this process has passed to write(). */
static uint64_t written(void) {
  unsigned long long bytes = 0;
  char line[128];
  FILE *file = fopen("/proc/self/io", "r");
  while (file && fgets(line, sizeof line, file))
    if (sscanf(line, "wchar: %llu", &bytes) == 1) break;
  if (file) fclose(file);
  return bytes;
}

/** Until half a second has cost next to nothing. */
static void wait_quiet(void) {
  for (int quiet = 0; quiet < 5;) {
    double before = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
    usleep(100000);
    quiet = cpu_us(CLOCK_PROCESS_CPUTIME_ID) - before < 2000 ? quiet + 1 : 0;
  }
}

static void measure_sealing(struct store *store, const char *log, const struct content *content, bool print) {
  struct error err;
  double sealing = 0, least = 0, all = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
  uint64_t bytes = written();
  for (uint64_t sealed = 0, before_last; sealed < content->last;) {
    double before = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    if (store_seal(store, log, content->last, &err)) give_up(err.message);
    double cost = cpu_us(CLOCK_THREAD_CPUTIME_ID) - before;
    before_last = sealed;
    sealed = store_sealed(store);
    sealing += cost;
    cost /= (double)(sealed - before_last);
    if (before_last == 0 || cost < least) least = cost;
    if (print) printf("  up to segment %llu: %.1f ms each\n", (unsigned long long)sealed, cost / 1000);
  }
  wait_quiet();
  double events = (double)content->events;
  all = cpu_us(CLOCK_PROCESS_CPUTIME_ID) - all;
  struct store_figures figures;
  store_measure(store, &figures);
  printf("%llu segments, %.0f events\n", (unsigned long long)content->last, events);
  printf("sealing: %.3f us of CPU an event (%.3f in the best segment)\n", sealing / events,
         least * (double)content->last / events);
  printf("merging, filter of marks: %.3f us of CPU an event\n", (all - sealing) / events);
  printf("written: %.0f bytes an event; kept: %.0f\n", (double)(written() - bytes) / events,
         (double)figures.bytes_on_disk / events);
}

static int count_record(void *context, const struct log_record *record) {
  (void)record;
  ++*(uint64_t *)context;
  return 0;
}

static void measure_histories(struct store *store, const struct content *content) {
  struct error err;
  uint64_t records = 0;
  double start = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 0; i < LOOK_UPS; i++)
    if (store_scan_history(store, (struct entity){ENTITY_USER, str_from(content->asked[i].user)},
                           count_record, &records, &err))
      give_up(err.message);
  printf("a user's past: %.1f records, %.0f us of CPU\n", (double)records / LOOK_UPS,
         (cpu_us(CLOCK_PROCESS_CPUTIME_ID) - start) / LOOK_UPS);
}

struct fetched {
  struct store_fetch fetch;
  bool answered;
};

static void fetch_answered(struct mail *mail, bool cancelled) {
  (void)cancelled;
  ((struct fetched *)mail)->answered = true;
}

static void measure_duplicates(struct store *store, const struct content *content) {
  static struct store_fetch_item items[LOOK_UPS];
  uv_loop_t loop;
  uv_loop_init(&loop);
  struct fetched fetched = {.fetch = {.mail.run = fetch_answered,
                                      .reply = mailbox_new(&loop, "seal"),
                                      .items = items,
                                      .count = LOOK_UPS,
                                      .seen_since = 1}};
  unsigned maybe = 0, seen = 0;
  double start = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 0; i < LOOK_UPS; i++) {
    items[i].entity = (struct entity){ENTITY_USER, str_from(content->asked[i].user)};
    items[i].event_id = str_from(content->asked[i].id);
    maybe += store_seen_maybe(store, seen_mark(items[i].entity, items[i].event_id));
  }
  double middle = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
  store_fetch(store, &fetched.fetch);
  while (!fetched.answered) uv_run(&loop, UV_RUN_ONCE);
  double end = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
  for (int i = 0; i < LOOK_UPS; i++) seen += items[i].seen;
  buf_deinit(&fetched.fetch.records);
  printf("a duplicate's mark: %.2f us of CPU to suspect it, %.2f us to know; %u and %u of %d\n",
         (middle - start) / LOOK_UPS, (end - middle) / LOOK_UPS, maybe, seen, LOOK_UPS);
  mailbox_free(fetched.fetch.reply);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
}

static void measure(const struct options *options, const char *folder) {
  static struct content content;
  struct error err;
  char log[4096], database[4096];
  snprintf(database, sizeof database, "%s/db", folder);
  snprintf(log, sizeof log, "%s/log", folder);
  const char *source = options->log ? options->log : log;
  if (access(source, F_OK)) make_log(options, source);
  read_log(&content, source);
  struct store *store;
  struct store_options store_options = {.directory = database,
                                        .log_keep = 30 * (int64_t)DAY_MS,
                                        .ledger_keep = 90 * (int64_t)DAY_MS,
                                        .dedup_keep = DAY_MS,
                                        .cache_bytes = 256 << 20};
  if (store_rocks_open(&store, &store_options, &err)) give_up(err.message);
  measure_sealing(store, source, &content, options->print);
  measure_histories(store, &content);
  measure_duplicates(store, &content);
  store_close(store);
}

static char directory[] = "/var/tmp/kairos-seal-XXXXXX"; // not /tmp, which may be memory

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *walk) {
  (void)info, (void)type, (void)walk;
  return remove(path);
}

static void remove_directory(void) {
  nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static bool read_options(struct options *options, int count, char **words) {
  static const struct option names[] = {{"segments", required_argument, NULL, 's'},
                                        {"size", required_argument, NULL, 'b'},
                                        {"users", required_argument, NULL, 'u'},
                                        {"messages", required_argument, NULL, 'm'},
                                        {"log", required_argument, NULL, 'l'},
                                        {"print", no_argument, NULL, 'p'},
                                        {NULL, 0, NULL, 0}};
  for (int name; (name = getopt_long(count, words, "", names, NULL)) != -1;) {
    unsigned long long number = optarg ? strtoull(optarg, NULL, 10) : 0;
    if (name == 's')
      options->segments = (unsigned)number;
    else if (name == 'b')
      options->size = number;
    else if (name == 'u')
      options->users = (unsigned)number;
    else if (name == 'm')
      options->messages = (unsigned)number;
    else if (name == 'l')
      options->log = optarg;
    else if (name == 'p')
      options->print = true;
    else
      return false;
  }
  return optind == count && options->segments && options->users;
}

int main(int count, char **words) {
  struct options options = {.segments = 8, .users = 100000, .messages = 100, .size = 64 << 20};
  if (!read_options(&options, count, words)) {
    fputs(usage, stderr);
    return 2;
  }
  if (!mkdtemp(directory)) give_up("no folder can be made in /var/tmp");
  atexit(remove_directory);
  measure(&options, directory);
}
