/** Posts the reference event, at a constant rate or as fast as answers come, and may be the provider as well.
 *
 * At a rate, request k is due at start + k / rate, whatever happened to those before it, and its latency
 * counts from then: one that waits for a free connection is as late as a client would find it. The time it
 * was due travels in the payload as `sent`; a provider that this program plays itself (--sink) reads it back
 * from the message, on the same clock. Prints one line of JSON: latencies in ms. Exit: 0 done, 1 failed, 2
 * not called rightly.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static const char usage[] = "usage: load --port PORT [options]\n"
                            "  --path PATH       where events are posted (/v1/events)\n"
                            "  --run TEXT        prefix that makes event ids unique to this run\n"
                            "  --batch N         events in a request (1); more than one as an array\n"
                            "  --connections N   (64)\n"
                            "  --rate N          events a second; without it as many as are answered\n"
                            "  --seconds S       for so long (10) …\n"
                            "  --requests N      … or until so many are answered\n"
                            "  --warm-up S       seconds at the start that are not measured (0)\n"
                            "  --hi N            one event in so many has a total of 44.80, which the "
                            "reference rule answers; 0: none (10)\n"
                            "  --users N         (100000), at random\n"
                            "  --in-order        … or one after the other\n"
                            "  --whole-seconds   events' timestamps, as load.lua's have\n"
                            "  --sink PORT       take messages there as the provider, and await those of the "
                            "events that ask for one\n";

static struct {
  const char *path, *run;
  int port, sink, batch, connections, users, hi;
  double rate, seconds, warm_up;
  long requests;
  bool in_order, whole_seconds;
} options = {.path = "/v1/events",
             .run = "run",
             .batch = 1,
             .connections = 64,
             .users = 100000,
             .hi = 10,
             .seconds = 10};

enum { PATIENCE_US = 20000000 }; /**< for the last answers and messages */

struct bytes {
  char *data;
  size_t len, capacity;
};

enum kind { LISTENER, PROVIDER /**< a connection of the host to us */, CLIENT /**< of us to the host */ };
struct link {
  int fd;
  enum kind kind;
  struct bytes in, out;
  size_t written;    /**< of `out` */
  int64_t due;       /**< CLIENT: of the request under way, us */
  struct link *next; /**< CLIENT: the next free one */
};

/** Latencies in us, those before the end of the warm-up left out. */
struct samples {
  uint32_t *values;
  size_t count, capacity;
};

static int epoll;
static struct link *free_links;
static struct samples answers, lags, messages;
static struct bytes body;
static int64_t started, measured_from;
static uint64_t serial, posted, answered, accepted, asked, delivered, errors;

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
  exit(1);
}

static int64_t now_us(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

static void *grown(void *data, size_t *capacity, size_t wanted, size_t size) {
  if (wanted <= *capacity) return data;
  *capacity = wanted * 2;
  data = realloc(data, *capacity * size);
  if (!data) fail("memory");
  return data;
}

static char *bytes_room(struct bytes *bytes, size_t more) {
  bytes->data = grown(bytes->data, &bytes->capacity, bytes->len + more, 1);
  return bytes->data + bytes->len;
}

static void sample(struct samples *samples, int64_t from, int64_t until) {
  if (from < measured_from) return;
  samples->values = grown(samples->values, &samples->capacity, samples->count + 1, sizeof *samples->values);
  samples->values[samples->count++] = (uint32_t)(until - from);
}

/* ---- events ---- */

static uint64_t random_next(void) {
  static uint64_t state = 0x9e3779b97f4a7c15;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static void add_event(int64_t due, int64_t wall_ms) {
  serial++;
  uint64_t user = (options.in_order ? serial : random_next()) % (uint64_t)options.users;
  bool high = options.hi && serial % (uint64_t)options.hi == 0;
  asked += high;
  char *at = bytes_room(&body, 512);
  body.len += (size_t)snprintf(
      at, 512,
      "{\"event_id\":\"018f-%s-%llu\",\"event_type\":\"cart.updated\",\"user_id\":\"u%llu\",\"timestamp\":%"
      "lld,"
      "\"payload\":{\"cart_id\":\"c1\",\"items\":[{\"sku\":\"A1\",\"qty\":2,\"price\":19.9},"
      "{\"sku\":\"B2\",\"qty\":1,\"price\":5}],\"total\":%s,\"currency\":\"EUR\",\"sent\":\"%lld\"},"
      "\"metadata\":{\"source\":\"checkout-service\",\"region\":\"eu-west-1\"}}",
      options.run, (unsigned long long)serial, (unsigned long long)user, (long long)wall_ms,
      high ? "44.8" : "14.8", (long long)due);
}

static void make_request(struct bytes *out, int64_t due) {
  int64_t wall_ms = now_us(CLOCK_REALTIME) / 1000;
  if (options.whole_seconds) wall_ms -= wall_ms % 1000;
  body.len = 0;
  for (int i = 0; i < options.batch; i++) {
    if (options.batch > 1) {
      *bytes_room(&body, 1) = i ? ',' : '[';
      body.len++;
    }
    add_event(due, wall_ms);
  }
  if (options.batch > 1) {
    *bytes_room(&body, 1) = ']';
    body.len++;
  }
  out->len = 0;
  char *at = bytes_room(out, body.len + strlen(options.path) + 256);
  int head = sprintf(
      at, "POST %s HTTP/1.1\r\nHost: load\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n",
      options.path, body.len);
  memcpy(at + head, body.data, body.len);
  out->len = (size_t)head + body.len;
}

/* ---- connections ---- */

static void watch(struct link *link, int how, uint32_t events) {
  struct epoll_event event = {.events = events, .data.ptr = link};
  if (epoll_ctl(epoll, how, link->fd, &event)) fail("epoll_ctl");
}

static void flush(struct link *link) {
  while (link->written < link->out.len) {
    ssize_t n = write(link->fd, link->out.data + link->written, link->out.len - link->written);
    if (n < 0 && errno == EAGAIN) {
      watch(link, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
      return;
    }
    if (n < 0) return; /* reading will tell */
    link->written += (size_t)n;
  }
}

static void prepare(int fd) {
  int yes = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (fcntl(fd, F_SETFL, O_NONBLOCK)) fail("fcntl");
}

static struct sockaddr_in address_of(int port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static struct link *link_new(enum kind kind, int fd) {
  struct link *link = calloc(1, sizeof *link);
  if (!link) fail("memory");
  *link = (struct link){.fd = fd, .kind = kind};
  watch(link, EPOLL_CTL_ADD, EPOLLIN);
  return link;
}

static int connected(void) {
  struct sockaddr_in address = address_of(options.port);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) fail("connect");
  prepare(fd);
  return fd;
}

static void link_free_push(struct link *link) {
  link->due = -1;
  link->next = free_links;
  free_links = link;
}

static void post(int64_t due) {
  struct link *link = free_links;
  free_links = link->next;
  link->due = due;
  link->written = 0;
  make_request(&link->out, due);
  sample(&lags, due, now_us(CLOCK_MONOTONIC));
  posted++;
  flush(link);
}

/** The first HTTP message of `in`. @return its length, its body at the end of it, or 0 while it is not whole
 */
static size_t message_whole(struct bytes *in, size_t *body_len) {
  *bytes_room(in, 1) = 0;
  char *end = strstr(in->data, "\r\n\r\n");
  if (!end) return 0;
  *body_len = 0;
  for (char *line = in->data; line < end; line = strstr(line, "\r\n") + 2) {
    if (!strncasecmp(line, "content-length:", 15)) *body_len = strtoul(line + 15, NULL, 10);
  }
  size_t whole = (size_t)(end + 4 - in->data) + *body_len;
  return whole <= in->len ? whole : 0;
}

/** The digits after the first `name` in a body; -1 if there are none. */
static int64_t number_after(const char *text, size_t len, const char *name) {
  const char *at = memmem(text, len, name, strlen(name));
  return at ? strtoll(at + strlen(name), NULL, 10) : -1;
}

static void take_answer(struct link *link, const char *text, size_t body_len, size_t whole) {
  answered++;
  if (strncmp(text + 8, " 2", 2)) errors++;
  int64_t count = number_after(text + whole - body_len, body_len, "\"accepted\":");
  if (count > 0) accepted += (uint64_t)count;
  sample(&answers, link->due, now_us(CLOCK_MONOTONIC));
  link_free_push(link);
}

static void take_message(struct link *link, const char *text, size_t body_len, size_t whole) {
  static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
  int64_t sent = number_after(text + whole - body_len, body_len, "\"sent\":\"");
  delivered++;
  if (sent >= started) sample(&messages, sent, now_us(CLOCK_MONOTONIC));
  if (link->written == link->out.len) link->written = link->out.len = 0;
  memcpy(bytes_room(&link->out, sizeof answer - 1), answer, sizeof answer - 1);
  link->out.len += sizeof answer - 1;
}

static void link_lost(struct link *link) {
  close(link->fd);
  link->in.len = 0;
  if (link->kind == PROVIDER) {
    free(link->in.data);
    free(link->out.data);
    free(link);
    return;
  }
  bool busy = link->due >= 0;
  errors += busy;
  link->fd = connected();
  watch(link, EPOLL_CTL_ADD, EPOLLIN);
  if (busy) {
    answered++;
    link_free_push(link);
  }
}

static void readable(struct link *link) {
  if (link->kind == LISTENER) {
    int fd;
    while ((fd = accept(link->fd, NULL, NULL)) >= 0) {
      prepare(fd);
      link_new(PROVIDER, fd);
    }
    return;
  }
  ssize_t n = read(link->fd, bytes_room(&link->in, 65536), 65535);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    link_lost(link);
    return;
  }
  link->in.len += (size_t)n;
  size_t body_len, whole;
  while (link->in.len && (whole = message_whole(&link->in, &body_len))) {
    if (link->kind == CLIENT)
      take_answer(link, link->in.data, body_len, whole);
    else
      take_message(link, link->in.data, body_len, whole);
    link->in.len -= whole;
    memmove(link->in.data, link->in.data + whole, link->in.len);
  }
  if (link->kind == PROVIDER) flush(link);
}

static void turn(int64_t wait_us) {
  struct epoll_event events[256];
  struct timespec wait = {.tv_sec = wait_us / 1000000, .tv_nsec = wait_us % 1000000 * 1000};
  int count = epoll_pwait2(epoll, events, 256, &wait, NULL);
  if (count < 0 && errno != EINTR) fail("epoll_pwait2");
  for (int i = 0; i < count; i++) {
    struct link *link = events[i].data.ptr;
    if (events[i].events & EPOLLOUT) {
      watch(link, EPOLL_CTL_MOD, EPOLLIN);
      flush(link);
    }
    if (events[i].events & ~(uint32_t)EPOLLOUT) readable(link);
  }
}

/* ---- the run ---- */

static void run(void) {
  double interval = options.rate > 0 ? options.batch * 1e6 / options.rate : 0;
  int64_t end = started + (int64_t)(options.seconds * 1e6);
  while (!options.requests || posted < (uint64_t)options.requests) {
    int64_t now = now_us(CLOCK_MONOTONIC), wait = end - now;
    if (wait <= 0) break;
    if (free_links) {
      int64_t due = interval > 0 ? started + (int64_t)((double)posted * interval) : now;
      if (due >= end) break;
      if (due <= now) {
        post(due);
        /* Answers and messages are looked after between two requests that are late, too. */
        wait = 0;
      } else if (due - now < wait) {
        wait = due - now;
      }
    }
    turn(wait);
  }
  int64_t patience = now_us(CLOCK_MONOTONIC) + PATIENCE_US;
  while (now_us(CLOCK_MONOTONIC) < patience && (answered < posted || (options.sink && delivered < asked)))
    turn(10000);
}

static int by_value(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return x < y ? -1 : x > y;
}

static void print_latencies(const char *name, struct samples *samples) {
  static const struct {
    const char *name;
    double share;
  } shares[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
  if (!samples->count) return;
  qsort(samples->values, samples->count, sizeof *samples->values, by_value);
  for (size_t i = 0; i < sizeof shares / sizeof *shares; i++) {
    size_t at = (size_t)(shares[i].share * (double)(samples->count - 1) + 0.5);
    printf(",\"%s_%s_ms\":%.3f", name, shares[i].name, samples->values[at] / 1000.0);
  }
}

static bool read_options(int argc, char **argv) {
  static const struct option names[] = {{"port", 1, 0, 'p'},
                                        {"path", 1, 0, 'u'},
                                        {"run", 1, 0, 'r'},
                                        {"batch", 1, 0, 'b'},
                                        {"connections", 1, 0, 'c'},
                                        {"rate", 1, 0, 'R'},
                                        {"seconds", 1, 0, 's'},
                                        {"requests", 1, 0, 'n'},
                                        {"warm-up", 1, 0, 'w'},
                                        {"hi", 1, 0, 'h'},
                                        {"users", 1, 0, 'U'},
                                        {"in-order", 0, 0, 'o'},
                                        {"whole-seconds", 0, 0, 'm'},
                                        {"sink", 1, 0, 'S'},
                                        {0}};
  for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;) {
    switch (option) {
    case 'p':
      options.port = atoi(optarg);
      break;
    case 'u':
      options.path = optarg;
      break;
    case 'r':
      options.run = optarg;
      break;
    case 'b':
      options.batch = atoi(optarg);
      break;
    case 'c':
      options.connections = atoi(optarg);
      break;
    case 'R':
      options.rate = atof(optarg);
      break;
    case 's':
      options.seconds = atof(optarg);
      break;
    case 'n':
      options.requests = atol(optarg);
      break;
    case 'w':
      options.warm_up = atof(optarg);
      break;
    case 'h':
      options.hi = atoi(optarg);
      break;
    case 'U':
      options.users = atoi(optarg);
      break;
    case 'o':
      options.in_order = true;
      break;
    case 'm':
      options.whole_seconds = true;
      break;
    case 'S':
      options.sink = atoi(optarg);
      break;
    default:
      return false;
    }
  }
  return optind == argc && options.port > 0 && options.batch > 0 && options.connections > 0 &&
         options.users > 0 && options.hi >= 0 && options.seconds > 0 && strlen(options.run) < 64 &&
         strlen(options.path) < 128;
}

int main(int argc, char **argv) {
  if (!read_options(argc, argv)) {
    fputs(usage, stderr);
    return 2;
  }
  prctl(PR_SET_TIMERSLACK, 1000UL); /* ns: requests are due some 20 us apart */
  epoll = epoll_create1(0);
  if (options.sink) {
    int fd = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = address_of(options.sink);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024)) fail("sink");
    prepare(fd);
    link_new(LISTENER, fd);
  }
  for (int i = 0; i < options.connections; i++) link_free_push(link_new(CLIENT, connected()));
  started = now_us(CLOCK_MONOTONIC);
  measured_from = started + (int64_t)(options.warm_up * 1e6);
  run();
  printf(
      "{\"requests\":%llu,\"answered\":%llu,\"events\":%llu,\"accepted\":%llu,\"errors\":%llu,\"asked\":%llu,"
      "\"delivered\":%llu,\"seconds\":%.3f",
      (unsigned long long)posted, (unsigned long long)answered, (unsigned long long)serial,
      (unsigned long long)accepted, (unsigned long long)errors, (unsigned long long)asked,
      (unsigned long long)delivered, (double)(now_us(CLOCK_MONOTONIC) - started) / 1e6);
  print_latencies("answer", &answers);
  print_latencies("late", &lags);
  print_latencies("message", &messages);
  puts("}");
  return 0;
}
