/** The fastest that libcurl posts by itself: its multi interface on a libuv loop, over kept connections, each
 * handle used again, and nothing done about any answer but counting it. The mark for the host's deliveries.
 *
 * Each request is as long as the host's are for the reference rule, header by header: libcurl prints headers
 * a byte at a time, which is a quarter of its instructions. With `bare` it has no header but what libcurl
 * needs, and 600 bytes of body.
 *
 * usage: raw_curl URL CONCURRENCY REQUESTS [bare]; prints one line of JSON. Exit: 0 all answered 200, 1 not,
 * 2 not called rightly.
 */
#include <curl/curl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <uv.h>

enum { BODY_BYTES = 308, BARE_BODY_BYTES = 600 };

static const char *const header_lines[] = {
    "Content-Type: application/json",
    "Expect:",
    "Idempotency-Key: 0123456789abcdef0123456789abcdef",
    "User-Agent: kairos/0.1.0",
    "webhook-id: 0123456789abcdef0123456789abcdef",
    "webhook-timestamp: 1700000000",
    "webhook-signature: v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
};
enum { HEADER_LINES = sizeof header_lines / sizeof *header_lines, BARE_HEADER_LINES = 2 };

struct watch {
  uv_poll_t poll;
  curl_socket_t fd;
};

static uv_timer_t timer;
static CURLM *multi;
static long wanted, begun, ended, failed;

static void begin(CURL *easy) {
  begun++;
  curl_multi_add_handle(multi, easy);
}

static void take_ended(void) {
  CURLMsg *message;
  int left;
  while ((message = curl_multi_info_read(multi, &left))) {
    CURL *easy = message->easy_handle;
    long status = 0;
    curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
    failed += message->data.result != CURLE_OK || status != 200;
    ended++;
    curl_multi_remove_handle(multi, easy);
    if (begun < wanted) begin(easy);
  }
  if (ended == wanted) uv_stop(uv_default_loop());
}

static void act(curl_socket_t fd, int events) {
  int running;
  curl_multi_socket_action(multi, fd, events, &running);
  take_ended();
}

static void on_ready(uv_poll_t *poll, int status, int events) {
  struct watch *watch = poll->data;
  act(watch->fd, status < 0 ? CURL_CSELECT_ERR
                            : (events & UV_READABLE ? CURL_CSELECT_IN : 0) |
                                  (events & UV_WRITABLE ? CURL_CSELECT_OUT : 0));
}

static void on_timer(uv_timer_t *unused) {
  (void)unused;
  act(CURL_SOCKET_TIMEOUT, 0);
}

static int want_timer(CURLM *unused, long ms, void *context) {
  (void)unused, (void)context;
  if (ms < 0)
    uv_timer_stop(&timer);
  else
    uv_timer_start(&timer, on_timer, (uint64_t)ms, 0);
  return 0;
}

static void on_closed(uv_handle_t *handle) {
  free(handle->data);
}

static int want_socket(CURL *unused, curl_socket_t fd, int what, void *context, void *known) {
  (void)unused, (void)context;
  struct watch *watch = known;
  if (what == CURL_POLL_REMOVE) {
    if (!watch) return 0;
    curl_multi_assign(multi, fd, NULL);
    uv_close((uv_handle_t *)&watch->poll, on_closed);
    return 0;
  }
  if (!watch) {
    watch = malloc(sizeof *watch);
    if (!watch) abort();
    watch->fd = fd;
    uv_poll_init_socket(uv_default_loop(), &watch->poll, fd);
    watch->poll.data = watch;
    curl_multi_assign(multi, fd, watch);
  }
  uv_poll_start(&watch->poll,
                (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0), on_ready);
  return 0;
}

static size_t ignore(char *data, size_t size, size_t count, void *context) {
  (void)data, (void)context;
  return size * count;
}

static double cpu_seconds(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
         (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
  bool bare = argc == 5 && strcmp(argv[4], "bare") == 0;
  long concurrency = argc == 4 || bare ? atol(argv[2]) : 0;
  wanted = concurrency ? atol(argv[3]) : 0;
  if (concurrency < 1 || wanted < concurrency) {
    fputs("usage: raw_curl URL CONCURRENCY REQUESTS [bare]\n", stderr);
    return 2;
  }
  curl_global_init(CURL_GLOBAL_ALL);
  uv_timer_init(uv_default_loop(), &timer);
  multi = curl_multi_init();
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, want_socket);
  curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, want_timer);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, concurrency + 8);
  struct curl_slist *headers = NULL;
  for (int i = 0; i < (bare ? BARE_HEADER_LINES : HEADER_LINES); i++)
    headers = curl_slist_append(headers, header_lines[i]);
  static char body[BARE_BODY_BYTES];
  memset(body, 'x', sizeof body);
  double began = (double)uv_hrtime() / 1e9, cpu = cpu_seconds();
  for (long i = 0; i < concurrency; i++) {
    CURL *easy = curl_easy_init();
    curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
    curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(easy, CURLOPT_POSTFIELDSIZE, (long)(bare ? BARE_BODY_BYTES : BODY_BYTES));
    curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, ignore);
    curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, 10000L);
    begin(easy);
  }
  uv_run(uv_default_loop(), UV_RUN_DEFAULT);
  double seconds = (double)uv_hrtime() / 1e9 - began;
  printf("{\"requests\":%ld,\"failed\":%ld,\"seconds\":%.4f,\"cpu_seconds\":%.4f}\n", ended, failed, seconds,
         cpu_seconds() - cpu);
  return failed || ended < wanted;
}
