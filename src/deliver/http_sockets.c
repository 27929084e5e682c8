#include "deliver/http_sockets.h"

#include "base/memory.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

struct watched {
  uv_poll_t poll;
  struct http_sockets *sockets;
  int descriptor; /**< libcurl's */
  int own;    /**< a duplicate of it for the loop: libcurl closes some sockets before it says so, and then the
                 number is somebody else's */
  int wanted; /**< what libcurl waits for; 0: nothing, the connection is idle */
  int polled; /**< what the loop waits for */
};

struct http_sockets {
  uv_loop_t *loop;
  CURLM *multi;
  struct watched **watched; /**< by descriptor */
  bool *ours;               /**< by descriptor: opened here, so it is closed here too */
  size_t capacity;
};

static void on_event(uv_poll_t *poll, int status, int events) {
  struct watched *watched = poll->data;
  if (watched->wanted == 0) {
    // An idle connection was closed by the other side: libcurl sees it when it wants to use it.
    uv_poll_stop(poll);
    watched->polled = 0;
    return;
  }
  int flags = status < 0 ? CURL_CSELECT_ERR : 0, running;
  if (events & UV_READABLE) flags |= CURL_CSELECT_IN;
  if (events & UV_WRITABLE) flags |= CURL_CSELECT_OUT;
  curl_multi_socket_action(watched->sockets->multi, watched->descriptor, flags, &running);
}

static void on_closed(uv_handle_t *poll) {
  memory_free(poll->data);
}

static void make_room(struct http_sockets *sockets, int descriptor) {
  size_t capacity = sockets->capacity;
  if ((size_t)descriptor < capacity) return;
  while ((size_t)descriptor >= capacity) capacity = capacity ? capacity * 2 : 64;
  sockets->watched = memory_realloc(sockets->watched, capacity * sizeof(struct watched *));
  sockets->ours = memory_realloc(sockets->ours, capacity * sizeof(bool));
  for (size_t i = sockets->capacity; i < capacity; i++) {
    sockets->watched[i] = NULL;
    sockets->ours[i] = false;
  }
  sockets->capacity = capacity;
}

static void forget(struct http_sockets *sockets, int descriptor) {
  struct watched *watched = (size_t)descriptor < sockets->capacity ? sockets->watched[descriptor] : NULL;
  if (!watched) return;
  sockets->watched[descriptor] = NULL;
  uv_close((uv_handle_t *)&watched->poll, on_closed);
  close(watched->own);
}

static void poll_for(struct watched *watched, int events) {
  if (watched->polled == events) return;
  watched->polled = events;
  uv_poll_start(&watched->poll, events, on_event);
}

static struct watched *watch(struct http_sockets *sockets, int descriptor) {
  int own = fcntl(descriptor, F_DUPFD_CLOEXEC, 0);
  if (own < 0) return NULL;
  struct watched *watched = memory_zalloc(sizeof *watched);
  if (uv_poll_init_socket(sockets->loop, &watched->poll, own)) {
    close(own);
    memory_free(watched);
    return NULL;
  }
  watched->own = own;
  watched->poll.data = watched;
  watched->sockets = sockets;
  watched->descriptor = descriptor;
  return sockets->watched[descriptor] = watched;
}

/** libcurl: watch this socket for that. */
static int on_wanted(CURL *easy, curl_socket_t descriptor, int what, void *context, void *unused) {
  struct http_sockets *sockets = context;
  (void)easy, (void)unused;
  make_room(sockets, descriptor);
  struct watched *watched = sockets->watched[descriptor];
  if (what != CURL_POLL_REMOVE) {
    if (!watched && !(watched = watch(sockets, descriptor))) return -1;
    watched->wanted = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    poll_for(watched, watched->wanted);
    return 0;
  }
  // Only a connection that was being read from is one to keep. One that never stood is closed by libcurl
  // without a word to on_close().
  if (watched && sockets->ours[descriptor] && watched->wanted == UV_READABLE) {
    watched->wanted = 0;
    return 0;
  }
  forget(sockets, descriptor);
  sockets->ours[descriptor] = false;
  return 0;
}

static curl_socket_t on_open(void *context, curlsocktype purpose, struct curl_sockaddr *address) {
  struct http_sockets *sockets = context;
  (void)purpose;
  int descriptor = socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
  if (descriptor < 0) return CURL_SOCKET_BAD;
  make_room(sockets, descriptor);
  struct watched *before = sockets->watched[descriptor];
  if (before) {
    // It was closed without a word, and its number is in use again: libcurl may believe that this one is
    // watched.
    int wanted = before->wanted;
    forget(sockets, descriptor);
    struct watched *watched = wanted ? watch(sockets, descriptor) : NULL;
    if (watched) {
      watched->wanted = wanted;
      poll_for(watched, wanted);
    }
  }
  sockets->ours[descriptor] = true;
  return descriptor;
}

static int on_close(void *context, curl_socket_t descriptor) {
  struct http_sockets *sockets = context;
  forget(sockets, descriptor);
  sockets->ours[descriptor] = false;
  return close(descriptor);
}

struct http_sockets *http_sockets_new(uv_loop_t *loop, CURLM *multi) {
  struct http_sockets *sockets = memory_zalloc(sizeof *sockets);
  sockets->loop = loop;
  sockets->multi = multi;
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
  for (size_t i = 0; i < sockets->capacity; i++) forget(sockets, (int)i);
}

void http_sockets_free(struct http_sockets *sockets) {
  memory_free(sockets->watched);
  memory_free(sockets->ours);
  memory_free(sockets);
}
