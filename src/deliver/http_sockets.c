#include "deliver/http_sockets.h"

#include "base/memory.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { EVENTS_AT_ONCE = 256 };

/** By descriptor. */
struct watched {
  uint32_t wanted; /**< EPOLLIN, EPOLLOUT: what libcurl waits for; 0: nothing, the connection is idle */
  uint32_t polled; /**< what the set has it for; 0: it is not in it */
  uint32_t number; /**< counts the sockets that had this descriptor, so that late events are known */
  bool ours;       /**< opened here, so it is closed here too */
};

struct http_sockets {
  CURLM *multi;
  int set; /**< epoll */
  uv_poll_t poll;
  bool wakes;
  struct watched *watched;
  size_t capacity;
};

static struct watched *at(struct http_sockets *sockets, int descriptor) {
  size_t capacity = sockets->capacity;
  while ((size_t)descriptor >= capacity) capacity = capacity ? capacity * 2 : 64;
  if (capacity > sockets->capacity) {
    sockets->watched = memory_realloc(sockets->watched, capacity * sizeof(struct watched));
    memset(sockets->watched + sockets->capacity, 0, (capacity - sockets->capacity) * sizeof(struct watched));
    sockets->capacity = capacity;
  }
  return &sockets->watched[descriptor];
}

static void poll_for(struct http_sockets *sockets, int descriptor, uint32_t events) {
  struct watched *watched = at(sockets, descriptor);
  if (watched->polled == events) return;
  struct epoll_event event = {.events = events,
                              .data.u64 = (uint64_t)watched->number << 32 | (uint32_t)descriptor};
  int operation = !events ? EPOLL_CTL_DEL : watched->polled ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  // libcurl closes some sockets before it says so: the set has dropped them then.
  if (epoll_ctl(sockets->set, operation, descriptor, &event) && operation == EPOLL_CTL_MOD && errno == ENOENT)
    epoll_ctl(sockets->set, EPOLL_CTL_ADD, descriptor, &event);
  watched->polled = events;
}

/** Another socket may have this descriptor next. */
static void forget(struct watched *watched) {
  *watched = (struct watched){.number = watched->number + 1};
}

static void run_one(struct http_sockets *sockets, const struct epoll_event *event) {
  int descriptor = (int)(uint32_t)event->data.u64, running;
  struct watched *watched = at(sockets, descriptor);
  if (watched->number != (uint32_t)(event->data.u64 >> 32)) return;
  if (watched->wanted == 0) {
    // An idle connection was closed by the other side: libcurl sees it when it wants to use it.
    poll_for(sockets, descriptor, 0);
    return;
  }
  int flags = event->events & EPOLLERR ? CURL_CSELECT_ERR : 0;
  if (event->events & (EPOLLIN | EPOLLHUP)) flags |= CURL_CSELECT_IN;
  if (event->events & EPOLLOUT) flags |= CURL_CSELECT_OUT;
  curl_multi_socket_action(sockets->multi, descriptor, flags, &running);
}

bool http_sockets_run(struct http_sockets *sockets) {
  struct epoll_event events[EVENTS_AT_ONCE];
  int count = epoll_wait(sockets->set, events, EVENTS_AT_ONCE, 0);
  for (int i = 0; i < count; i++) run_one(sockets, &events[i]);
  return count == EVENTS_AT_ONCE;
}

static void on_ready(uv_poll_t *poll, int status, int events) {
  (void)status, (void)events;
  http_sockets_run(poll->data);
}

void http_sockets_wake(struct http_sockets *sockets, bool wake) {
  if (wake == sockets->wakes) return;
  sockets->wakes = wake;
  if (wake)
    uv_poll_start(&sockets->poll, UV_READABLE, on_ready);
  else
    uv_poll_stop(&sockets->poll);
}

/** libcurl: watch this socket for that. */
static int on_wanted(CURL *easy, curl_socket_t descriptor, int what, void *context, void *unused) {
  struct http_sockets *sockets = context;
  struct watched *watched = at(sockets, descriptor);
  (void)easy, (void)unused;
  if (what != CURL_POLL_REMOVE) {
    watched->wanted = (what & CURL_POLL_IN ? EPOLLIN : 0) | (what & CURL_POLL_OUT ? EPOLLOUT : 0);
    poll_for(sockets, descriptor, watched->wanted);
  } else if (watched->ours && watched->wanted == EPOLLIN) {
    // Only a connection that was being read from is one to keep. One that never stood is closed by libcurl
    // without a word to on_close().
    watched->wanted = 0;
  } else {
    poll_for(sockets, descriptor, 0);
    forget(watched);
  }
  return 0;
}

static curl_socket_t on_open(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
  struct http_sockets *sockets = context;
  (void)purpose;
  int descriptor = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (descriptor < 0) return CURL_SOCKET_BAD;
  struct watched *watched = at(sockets, descriptor);
  // If the one before was closed without a word, libcurl may believe that this one is watched.
  uint32_t wanted = watched->wanted;
  forget(watched);
  watched->wanted = wanted;
  poll_for(sockets, descriptor, wanted);
  watched->ours = true;
  return descriptor;
}

static int on_close(void *context, curl_socket_t descriptor) {
  struct http_sockets *sockets = context;
  forget(at(sockets, descriptor)); // closing takes it out of the set
  return close(descriptor);
}

struct http_sockets *http_sockets_new(uv_loop_t *loop, CURLM *multi) {
  struct http_sockets *sockets = memory_zalloc(sizeof *sockets);
  sockets->multi = multi;
  sockets->set = epoll_create1(EPOLL_CLOEXEC);
  // Only a process out of file descriptors gets here, and then no thread of it can work.
  if (sockets->set < 0 || uv_poll_init(loop, &sockets->poll, sockets->set)) abort();
  sockets->poll.data = sockets;
  http_sockets_wake(sockets, true);
  curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_wanted);
  curl_multi_setopt(multi, CURLMOPT_SOCKETDATA, sockets);
  return sockets;
}

void http_sockets_watch(struct http_sockets *sockets, CURL *easy) {
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
  curl_easy_setopt(easy, CURLOPT_OPENSOCKETDATA, sockets);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
  curl_easy_setopt(easy, CURLOPT_CLOSESOCKETDATA, sockets);
}

void http_sockets_close(struct http_sockets *sockets) {
  uv_close((uv_handle_t *)&sockets->poll, NULL);
}

void http_sockets_free(struct http_sockets *sockets) {
  close(sockets->set);
  memory_free(sockets->watched);
  memory_free(sockets);
}
