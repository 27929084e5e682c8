#include "look/look_internal.h"

#include "base/logger.h"
#include "base/memory.h"
#include "host/reload.h"
#include "host/tap.h"

/** The tail of one connection. */
struct watcher {
  struct look look; /**< first */
  struct tail tail;
  struct buf request; /**< what the filter borrows from */
  uint32_t attached;
  bool closed;
};

static unsigned tails_open; /**< main thread */

static struct watcher *watcher_of(struct tail *tail) {
  return (struct watcher *)((char *)tail - offsetof(struct watcher, tail));
}

/** What the reader has left, and what it missed. */
static void take_stock(struct watcher *watcher) {
  struct tail *tail = &watcher->tail;
  const struct look_port *port = &watcher->look.port;
  size_t unread = port->unread(port->context);
  if (unread < TAIL_UNREAD_MAX / 2) {
    uint64_t lost = atomic_exchange_explicit(&tail->lost, 0, memory_order_relaxed);
    if (lost) {
      struct buf line;
      buf_init(&line);
      buf_printf(&line, "{\"lost\":%llu}\n", (unsigned long long)lost);
      port->send(port->context, line);
      unread = port->unread(port->context);
    }
  }
  atomic_store_explicit(&tail->unread, unread, memory_order_relaxed);
}

static void arrived(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct tail_lines *lines = (struct tail_lines *)mail;
  struct watcher *watcher = watcher_of(lines->tail);
  atomic_fetch_sub_explicit(&watcher->tail.in_mail, lines->bytes.len, memory_order_relaxed);
  if (watcher->closed)
    buf_deinit(&lines->bytes);
  else
    watcher->look.port.send(watcher->look.port.context, lines->bytes);
  if (!watcher->closed) take_stock(watcher);
  memory_free(lines);
}

static void detached(struct mail *mail, bool cancelled) {
  (void)cancelled;
  struct tap *tap = (struct tap *)((char *)mail - offsetof(struct tap, gone));
  struct watcher *watcher = watcher_of(tap->tail);
  struct look_port port = watcher->look.port;
  buf_deinit(&tap->pending);
  if (--watcher->attached) return;
  memory_free(watcher->tail.taps);
  buf_deinit(&watcher->request);
  memory_free(watcher);
  port.closed(port.context);
}

static void watcher_line(struct look *look, struct str line) {
  (void)look, (void)line; // a tail is only listened to
}

static void watcher_drained(struct look *look) {
  take_stock((struct watcher *)look);
}

/** Whoever says no more reads no more. */
static bool watcher_idle(const struct look *look) {
  (void)look;
  return true;
}

static void watcher_close(struct look *look) {
  struct watcher *watcher = (struct watcher *)look;
  watcher->closed = true;
  tails_open--;
  for (uint32_t i = 0; i < watcher->tail.tap_count; i++) {
    watcher->tail.taps[i].detach.run = tail_detach;
    worker_post(look->host->shared.workers[i], &watcher->tail.taps[i].detach);
  }
}

static bool refused(struct str request, const char *name) {
  struct str found;
  if (!value_member(request, str_from(name), &found)) return false;
  struct value value = value_head(found);
  return value.type == VALUE_BOOL && !value.boolean;
}

static int read_filter(struct tail_filter *filter, struct str request, struct error *err) {
  int64_t sample = TAIL_SAMPLE_ALL;
  *filter = (struct tail_filter){.type = look_text(request, "type"),
                                 .user = look_text(request, "user"),
                                 .campaign = look_text(request, "campaign"),
                                 .reason = look_text(request, "reason"),
                                 .events = !refused(request, "events"),
                                 .decisions = !refused(request, "decisions"),
                                 .unmask = look_flag(request, "unmask")};
  if (look_integer(request, "sample", &sample) && (sample < 1 || sample > TAIL_SAMPLE_ALL))
    return error_set(err, ERROR_INVALID, "\"sample\" is 1 to %d, of so many users", TAIL_SAMPLE_ALL);
  filter->sample = (uint32_t)sample;
  if (!filter->events && !filter->decisions)
    return error_set(err, ERROR_INVALID, "a tail without events and decisions shows nothing");
  return 0;
}

static int watcher_open(struct look **out, struct host *host, struct str request,
                        const struct look_port *port, struct buf *result, struct error *err) {
  if (tails_open >= LOOK_TAILS_MAX)
    return error_set(err, ERROR_LIMIT, "there are %d tails; close one, then try again", LOOK_TAILS_MAX);
  struct watcher *watcher = memory_zalloc(sizeof *watcher);
  struct tail *tail = &watcher->tail;
  buf_init(&watcher->request);
  buf_append(&watcher->request, request.data, request.len);
  int rc = read_filter(&tail->filter, buf_str(&watcher->request), err);
  if (rc == 0 && !host->tail_thread) rc = tail_thread_start(&host->tail_thread, host->mailbox, err);
  if (rc) {
    buf_deinit(&watcher->request);
    memory_free(watcher);
    return rc;
  }
  tails_open++;
  LOG_INFO("look", "tail opened", LOG_INT("unmask", tail->filter.unmask), LOG_INT("uid", port->uid),
           LOG_INT("pid", port->pid));
  tail->thread = host->tail_thread;
  tail->arrived = arrived;
  tail->detached = detached;
  tail->tap_count = watcher->attached = host->shared.worker_count;
  tail->taps = memory_zalloc(tail->tap_count * sizeof *tail->taps);
  for (uint32_t i = 0; i < tail->tap_count; i++) {
    buf_init(&tail->taps[i].pending);
    tail->taps[i].tail = tail;
    tail->taps[i].attach.run = tail_attach;
    worker_post(host->shared.workers[i], &tail->taps[i].attach);
  }
  // It may be on its way; or misspelt, and would show nothing for ever.
  struct str campaign = tail->filter.campaign;
  struct error unknown = {0};
  if (campaign.len && !str_equal(campaign, HOST_CAMPAIGN))
    reload_find_campaign(reload_serving(host), campaign, &unknown);
  value_put_map(result, 1 + (unknown.code != 0));
  value_put_member_integer(result, "workers", tail->tap_count);
  if (unknown.code) value_put_member_text(result, "warning", str_from(unknown.message));
  *out = &watcher->look;
  return 0;
}

const struct look_kind look_tail = {.name = "tail",
                                    .open = watcher_open,
                                    .line = watcher_line,
                                    .drained = watcher_drained,
                                    .idle = watcher_idle,
                                    .close = watcher_close,
                                    .streams = true};
