/* Makes events, posts them in batches and times their acknowledgement: the load of the bench's rows on state.
 *
 * Event number i is about user i % users (or, --random, a random one), has type (i / users) % types, and is
 * dated from + over * i / events: so a user's events are apart by even steps. Ids are "<run>-<i>". A batch
 * that was answered 429 or 503, or in part "retry", is posted again as it stands until all of it is durable,
 * as a client would. One thread; each connection has one request under way.
 *
 * Prints one JSON object: events made durable, how long that took, latency of a request, the longest time in
 * which no request at all was acknowledged, and events by second. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  TYPES_MAX = 16,
  EVENT_SPARE = 512,    /* of an event, what is not payload or metadata */
  ANSWER_MAX = 1 << 16, /* more of an answer is counted, not kept */
  RETRY_US = 20000,
  SECONDS_MAX = 7200,
  SKEW = 10000,
  OCTAVES = 32,
  STEPS = 16, /* of an octave of latency: 6 % apart */
};

static const char usage[] =
    "usage: feed --port N [options]       post to 127.0.0.1:N/v1/events\n"
    "       feed --print [options]        write the events as NDJSON to standard output instead\n"
    "\n"
    "  --events N          how many in all (0: without end)\n"
    "  --seconds N         end after so long\n"
    "  --connections N     (16)\n"
    "  --batch N           events in a request (100)\n"
    "  --users N           (100000)\n"
    "  --random SEED       users at random, instead of one after the other\n"
    "  --skewed            … the one of rank r with odds 1 / (r + N/10000): a hundredth make half of the "
    "events\n"
    "  --types A,B         event types, one a round of all users (cart.updated)\n"
    "  --payload JSON      ({})\n"
    "  --rare JSON         payload of every --every'th event\n"
    "  --every N\n"
    "  --metadata JSON     none by default\n"
    "  --from MS           date of the first event (the time of sending)\n"
    "  --over MS           date of the last one after that of the first (0)\n"
    "  --run TEXT          prefix of the event ids (the time)\n";

static struct {
  int port;
  bool print, skewed;
  uint64_t events, users, every;
  double seconds;
  unsigned connections, batch, type_count;
  uint64_t seed;
  const char *types[TYPES_MAX];
  const char *payload, *rare, *metadata, *run;
  int64_t from, over;
} options = {.users = 100000,
             .connections = 16,
             .batch = 100,
             .type_count = 1,
             .types = {"cart.updated"},
             .payload = "{}",
             .from = -1};

/* ---- time ---- */

static int64_t now_us(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static int64_t mono_us(void) {
  return now_us(CLOCK_MONOTONIC);
}

/* ---- events ---- */

static uint64_t made;
static int64_t wall_ms;

static char *put_text(char *at, const char *text) {
  size_t len = strlen(text);
  memcpy(at, text, len);
  return at + len;
}

static char *put_number(char *at, uint64_t number) {
  char digits[20];
  unsigned count = 0;
  do digits[count++] = (char)('0' + number % 10);
  while (number /= 10);
  while (count) *at++ = digits[--count];
  return at;
}

/** xorshift64*: even over 10 million users, and quick. */
static uint64_t next_random(void) {
  options.seed ^= options.seed >> 12;
  options.seed ^= options.seed << 25;
  options.seed ^= options.seed >> 27;
  return options.seed * 0x2545f4914f6cdd1du;
}

static uint64_t random_user(void) {
  uint64_t random = next_random();
  if (!options.skewed) return (uint64_t)((__uint128_t)random * options.users >> 64);
  double shift = (double)options.users / SKEW;
  uint64_t rank = (uint64_t)(shift * expm1((double)random / 0x1p64 * log1p(SKEW)));
  // Ranks are neighbours no more: the prime divides no round number of users.
  return rank % options.users * 2654435761u % options.users;
}

static char *put_event(char *at) {
  uint64_t serial = made++;
  uint64_t user = options.seed ? random_user() : serial % options.users;
  int64_t date = options.from < 0 ? wall_ms : options.from;
  if (options.over) date += (int64_t)((double)options.over * (double)serial / (double)options.events);
  at = put_text(at, "{\"event_id\":\"");
  at = put_text(at, options.run);
  *at++ = '-';
  at = put_number(at, serial);
  at = put_text(at, "\",\"event_type\":\"");
  at = put_text(at, options.types[serial / options.users % options.type_count]);
  at = put_text(at, "\",\"user_id\":\"user-");
  at = put_number(at, user);
  at = put_text(at, "\",\"timestamp\":");
  at = put_number(at, (uint64_t)date);
  at = put_text(at, ",\"payload\":");
  at = put_text(at, options.every && serial % options.every == 0 ? options.rare : options.payload);
  if (options.metadata) {
    at = put_text(at, ",\"metadata\":");
    at = put_text(at, options.metadata);
  }
  *at++ = '}';
  return at;
}

/** How many events the next batch has; 0 when there shall be no more. */
static unsigned next_batch(void) {
  uint64_t left = options.events ? options.events - made : options.batch;
  return left < options.batch ? (unsigned)left : options.batch;
}

static size_t event_max(void) {
  size_t payload = strlen(options.payload), rare = options.rare ? strlen(options.rare) : 0;
  return EVENT_SPARE + (payload > rare ? payload : rare) + (options.metadata ? strlen(options.metadata) : 0);
}

static int print_events(void) {
  char *line = malloc(event_max());
  while (made < options.events) {
    char *end = put_event(line);
    *end++ = '\n';
    if (fwrite(line, 1, (size_t)(end - line), stdout) != (size_t)(end - line)) return 1;
  }
  free(line);
  return fflush(stdout) ? 1 : 0;
}

/* ---- what was measured ---- */

static struct {
  int64_t began, last_ack, gap, gap_at, slowest;
  uint64_t accepted, duplicates, rejected, posts, resent;
  uint64_t latency[OCTAVES * STEPS];
  uint64_t by_second[SECONDS_MAX];
  bool lost; /* a connection */
} figures;

static unsigned latency_step(int64_t us) {
  uint64_t value = us < STEPS ? STEPS : (uint64_t)us;
  unsigned octave = 63 - (unsigned)__builtin_clzll(value);
  unsigned step = (unsigned)(value >> (octave - 4) & (STEPS - 1));
  unsigned at = (octave - 4) * STEPS + step;
  return at < OCTAVES * STEPS ? at : OCTAVES * STEPS - 1;
}

/** The upper edge of the step below which `share` of the requests were answered. */
static double latency_ms(double share) {
  uint64_t total = 0, sum = 0;
  for (unsigned i = 0; i < OCTAVES * STEPS; i++) total += figures.latency[i];
  for (unsigned i = 0; i < OCTAVES * STEPS; i++) {
    sum += figures.latency[i];
    if ((double)sum >= share * (double)total && total)
      return (double)((uint64_t)(STEPS + i % STEPS + 1) << (i / STEPS)) / 1000;
  }
  return 0;
}

static void note_answer(int64_t sent_at, uint64_t accepted) {
  int64_t now = mono_us();
  figures.posts++;
  figures.accepted += accepted;
  figures.latency[latency_step(now - sent_at)]++;
  if (now - sent_at > figures.slowest) figures.slowest = now - sent_at;
  if (!accepted) return;
  if (now - figures.last_ack > figures.gap) {
    figures.gap = now - figures.last_ack;
    figures.gap_at = figures.last_ack - figures.began;
  }
  figures.last_ack = now;
  int64_t second = (now - figures.began) / 1000000;
  if (second < SECONDS_MAX) figures.by_second[second] += accepted;
}

static void print_figures(void) {
  double seconds = (double)(figures.last_ack - figures.began) / 1e6;
  printf(
      "{\"accepted\":%llu,\"duplicates\":%llu,\"rejected\":%llu,\"posts\":%llu,\"resent\":%llu,\"lost\":%s,",
      (unsigned long long)figures.accepted, (unsigned long long)figures.duplicates,
      (unsigned long long)figures.rejected, (unsigned long long)figures.posts,
      (unsigned long long)figures.resent, figures.lost ? "true" : "false");
  printf("\"seconds\":%.3f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"gap_ms\":%.3f,\"gap_at\":%.3f,",
         seconds, latency_ms(0.5), latency_ms(0.99), (double)figures.slowest / 1e3, (double)figures.gap / 1e3,
         (double)figures.gap_at / 1e6);
  printf("\"by_second\":[");
  for (int i = 0; i < SECONDS_MAX && i <= (int)seconds; i++)
    printf("%s%llu", i ? "," : "", (unsigned long long)figures.by_second[i]);
  printf("]}\n");
}

/* ---- connections ---- */

struct connection {
  int descriptor;
  char *request; /* head and body */
  size_t request_len, sent;
  unsigned events;     /* in the request */
  bool again, waiting; /* the request was refused before; it waits for its turn */
  int64_t sent_at, turn;
  size_t body_len, got, kept; /* of the answer */
  char answer[ANSWER_MAX + 1];
};

static int poller;
static bool ending;
static unsigned busy;

static void watch(struct connection *connection, uint32_t what) {
  struct epoll_event event = {.events = what, .data.ptr = connection};
  epoll_ctl(poller, EPOLL_CTL_MOD, connection->descriptor, &event);
}

static void lose(struct connection *connection) {
  figures.lost = ending = true;
  epoll_ctl(poller, EPOLL_CTL_DEL, connection->descriptor, NULL);
  if (connection->events) busy--;
  connection->events = 0;
}

static void send_more(struct connection *connection) {
  while (connection->sent < connection->request_len) {
    ssize_t sent = send(connection->descriptor, connection->request + connection->sent,
                        connection->request_len - connection->sent, MSG_NOSIGNAL);
    if (sent < 0 && errno == EAGAIN) {
      watch(connection, EPOLLIN | EPOLLOUT);
      return;
    }
    if (sent < 0) {
      lose(connection);
      return;
    }
    connection->sent += (size_t)sent;
  }
  watch(connection, EPOLLIN);
}

static void post(struct connection *connection) {
  connection->waiting = false;
  connection->sent = connection->got = connection->kept = 0;
  connection->sent_at = mono_us();
  send_more(connection);
}

/** The next batch, if there shall be one. */
static void post_next(struct connection *connection) {
  unsigned count = ending ? 0 : next_batch();
  connection->again = false;
  if (connection->events) busy--;
  connection->events = count;
  if (!count) return;
  busy++;
  char *body = connection->request + EVENT_SPARE, *at = body;
  wall_ms = now_us(CLOCK_REALTIME) / 1000;
  for (unsigned i = 0; i < count; i++) {
    *at++ = i ? ',' : '[';
    at = put_event(at);
  }
  *at++ = ']';
  char head[EVENT_SPARE];
  int len = snprintf(head, sizeof head,
                     "POST /v1/events HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
                     "Content-Length: %zu\r\n\r\n",
                     (size_t)(at - body));
  /* The head lies right before the body, so that both leave in one write. */
  char *start = body - len;
  memcpy(start, head, (size_t)len);
  memmove(connection->request, start, (size_t)(at - start));
  connection->request_len = (size_t)(at - start);
  post(connection);
}

static uint64_t member(const char *body, const char *name) {
  const char *at = strstr(body, name);
  return at ? strtoull(at + strlen(name), NULL, 10) : 0;
}

static void answered(struct connection *connection, int status, const char *body) {
  uint64_t accepted = 0, duplicates = 0;
  if (status == 202) {
    accepted = member(body, "\"accepted\":");
    duplicates = member(body, "\"duplicates\":");
  }
  note_answer(connection->sent_at, accepted);
  if (status == 429 || status == 503 || (status == 202 && strstr(body, "\"retry\":true"))) {
    figures.resent++;
    connection->again = connection->waiting = true;
    connection->turn = mono_us() + RETRY_US;
    return;
  }
  if (!connection->again) figures.duplicates += duplicates;
  if (accepted + duplicates < connection->events) {
    figures.rejected += connection->events - accepted - duplicates;
    if (status != 202 || figures.rejected <= connection->events)
      fprintf(stderr, "feed: answered %d: %.300s\n", status, body);
    if (status != 202) ending = true;
  }
  post_next(connection);
}

/** @return whether an answer is whole; then it has been dealt with. */
static bool take_answer(struct connection *connection) {
  connection->answer[connection->kept] = 0;
  char *end = strstr(connection->answer, "\r\n\r\n");
  if (!end) return false;
  size_t head = (size_t)(end + 4 - connection->answer);
  const char *length = strcasestr(connection->answer, "\r\ncontent-length:");
  if (!length || length > end || connection->got < head + strtoull(length + 17, NULL, 10)) return false;
  answered(connection, atoi(connection->answer + 9), end + 4);
  return true;
}

static void receive(struct connection *connection) {
  static char spill[ANSWER_MAX];
  for (;;) {
    bool full = connection->kept == ANSWER_MAX;
    ssize_t got = recv(connection->descriptor, full ? spill : connection->answer + connection->kept,
                       full ? ANSWER_MAX : ANSWER_MAX - connection->kept, 0);
    if (got < 0 && errno == EAGAIN) return;
    if (got <= 0) {
      lose(connection);
      return;
    }
    connection->got += (size_t)got;
    if (!full) connection->kept += (size_t)got;
    if (take_answer(connection)) return;
  }
}

static struct connection *connection_open(void) {
  struct connection *connection = calloc(1, sizeof *connection);
  connection->request = malloc(EVENT_SPARE + 2 + options.batch * event_max());
  connection->descriptor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((uint16_t)options.port),
                                .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  if (connect(connection->descriptor, (struct sockaddr *)&address, sizeof address)) {
    fprintf(stderr, "feed: cannot connect to port %d: %s\n", options.port, strerror(errno));
    exit(1);
  }
  int on = 1;
  setsockopt(connection->descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  fcntl(connection->descriptor, F_SETFL, O_NONBLOCK);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
  epoll_ctl(poller, EPOLL_CTL_ADD, connection->descriptor, &event);
  return connection;
}

static void serve(struct connection **connections) {
  struct epoll_event events[64];
  int64_t deadline = options.seconds > 0 ? figures.began + (int64_t)(options.seconds * 1e6) : INT64_MAX;
  while (busy) {
    int count = epoll_wait(poller, events, 64, RETRY_US / 1000);
    int64_t now = mono_us();
    if (now >= deadline) ending = true;
    for (int i = 0; i < count; i++) {
      struct connection *connection = events[i].data.ptr;
      if (events[i].events & EPOLLOUT) send_more(connection);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(connection);
    }
    for (unsigned i = 0; i < options.connections; i++)
      if (connections[i]->waiting && now >= connections[i]->turn) post(connections[i]);
  }
}

static int feed(void) {
  struct connection **connections = calloc(options.connections, sizeof *connections);
  poller = epoll_create1(EPOLL_CLOEXEC);
  for (unsigned i = 0; i < options.connections; i++) connections[i] = connection_open();
  figures.began = figures.last_ack = mono_us();
  for (unsigned i = 0; i < options.connections; i++) post_next(connections[i]);
  serve(connections);
  for (unsigned i = 0; i < options.connections; i++) {
    close(connections[i]->descriptor);
    free(connections[i]->request);
    free(connections[i]);
  }
  free(connections);
  print_figures();
  return figures.rejected ? 1 : 0;
}

/* ---- the command line ---- */

static void set_types(char *text) {
  options.type_count = 0;
  for (char *type = strtok(text, ","); type && options.type_count < TYPES_MAX; type = strtok(NULL, ","))
    options.types[options.type_count++] = type;
}

static bool read_options(int argc, char **argv) {
  static const struct option known[] = {
      {"port", 1, NULL, 'p'},    {"print", 0, NULL, 'P'},       {"events", 1, NULL, 'e'},
      {"seconds", 1, NULL, 's'}, {"connections", 1, NULL, 'c'}, {"batch", 1, NULL, 'b'},
      {"users", 1, NULL, 'u'},   {"random", 1, NULL, 'r'},      {"skewed", 0, NULL, 'z'},
      {"types", 1, NULL, 't'},   {"payload", 1, NULL, 'd'},     {"rare", 1, NULL, 'D'},
      {"every", 1, NULL, 'n'},   {"metadata", 1, NULL, 'm'},    {"from", 1, NULL, 'f'},
      {"over", 1, NULL, 'o'},    {"run", 1, NULL, 'R'},         {0}};
  for (int letter; (letter = getopt_long(argc, argv, "", known, NULL)) != -1;) switch (letter) {
    case 'p':
      options.port = atoi(optarg);
      break;
    case 'P':
      options.print = true;
      break;
    case 'e':
      options.events = strtoull(optarg, NULL, 10);
      break;
    case 's':
      options.seconds = atof(optarg);
      break;
    case 'c':
      options.connections = (unsigned)atoi(optarg);
      break;
    case 'b':
      options.batch = (unsigned)atoi(optarg);
      break;
    case 'u':
      options.users = strtoull(optarg, NULL, 10);
      break;
    case 'r':
      options.seed = strtoull(optarg, NULL, 10) * 0x9e3779b97f4a7c15u | 1;
      break;
    case 'z':
      options.skewed = true;
      break;
    case 't':
      set_types(optarg);
      break;
    case 'd':
      options.payload = optarg;
      break;
    case 'D':
      options.rare = optarg;
      break;
    case 'n':
      options.every = strtoull(optarg, NULL, 10);
      break;
    case 'm':
      options.metadata = optarg;
      break;
    case 'f':
      options.from = strtoll(optarg, NULL, 10);
      break;
    case 'o':
      options.over = strtoll(optarg, NULL, 10);
      break;
    case 'R':
      options.run = optarg;
      break;
    default:
      return false;
    }
  bool bounded = options.events > 0 || (options.seconds > 0 && !options.print && !options.over);
  return optind == argc && bounded && (options.port > 0) != options.print && options.connections > 0 &&
         options.batch > 0 && options.users > 0 && options.type_count > 0 && !options.every == !options.rare;
}

int main(int argc, char **argv) {
  char run[32];
  if (!read_options(argc, argv)) {
    fputs(usage, stderr);
    return 2;
  }
  snprintf(run, sizeof run, "%llx", (unsigned long long)now_us(CLOCK_REALTIME));
  if (!options.run) options.run = run;
  wall_ms = now_us(CLOCK_REALTIME) / 1000;
  return options.print ? print_events() : feed();
}
