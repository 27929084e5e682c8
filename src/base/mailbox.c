#include "base/mailbox.h"

#include "base/logger.h"
#include "base/memory.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct mailbox {
  /** Not uv_async_t: its reader waits in a loop till the sender that woke it has left uv_async_send(), which
   * on the same core takes it until it is no longer let wait. */
  uv_poll_t wake;
  int event;
  const char *name;
  struct mail *taken; /**< the reader's: in order, not yet run */
  /** Newest first. Senders push, the reader takes everything at once, so no node is ever popped alone and
   * an address that comes back (ABA) does no harm. On a cache line of its own: all senders write it. */
  _Alignas(64) _Atomic(struct mail *) sent;
};

/** Moves what was sent behind what was taken; only when nothing taken is left. @return whether there is any.
 */
static bool take_sent(struct mailbox *mailbox) {
  struct mail *newest = atomic_exchange_explicit(&mailbox->sent, NULL, memory_order_acquire);
  while (newest) {
    struct mail *older = newest->next;
    newest->next = mailbox->taken;
    mailbox->taken = newest;
    newest = older;
  }
  return mailbox->taken != NULL;
}

static void run_taken(struct mailbox *mailbox, bool cancelled) {
  while (mailbox->taken) {
    struct mail *mail = mailbox->taken;
    mailbox->taken = mail->next;
    mail->run(mail, cancelled);
  }
}

static void on_wake(uv_poll_t *wake, int status, int events) {
  struct mailbox *mailbox = wake->data;
  uint64_t times;
  (void)status, (void)events;
  while (read(mailbox->event, &times, sizeof times) < 0 && errno == EINTR) continue;
  // What arrives while these run has woken the loop again: other handles get their turn in between.
  take_sent(mailbox);
  run_taken(mailbox, false);
}

static void on_closed(uv_handle_t *wake) {
  struct mailbox *mailbox = wake->data;
  close(mailbox->event);
  memory_free(mailbox);
}

struct mailbox *mailbox_new(uv_loop_t *loop, const char *name) {
  void *memory = NULL;
  if (posix_memalign(&memory, _Alignof(struct mailbox), sizeof(struct mailbox))) abort();
  struct mailbox *mailbox = memory;
  *mailbox = (struct mailbox){.name = name};
  atomic_init(&mailbox->sent, NULL);
  mailbox->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  int refused = mailbox->event < 0 ? -errno : uv_poll_init(loop, &mailbox->wake, mailbox->event);
  if (refused) {
    // Only a process out of file descriptors gets here, and then no thread of it can work.
    LOG_ERROR("mailbox", "the loop gives no wake-up handle", LOG_TEXT("mailbox", name),
              LOG_TEXT("error", uv_strerror(refused)));
    abort();
  }
  mailbox->wake.data = mailbox;
  uv_poll_start(&mailbox->wake, UV_READABLE, on_wake);
  return mailbox;
}

void mailbox_free(struct mailbox *mailbox) {
  if (!mailbox) return;
  // Mail that frees the mailbox runs inside run_taken(): what was taken with it comes first, and is cancelled
  // too.
  do run_taken(mailbox, true);
  while (take_sent(mailbox));
  uv_close((uv_handle_t *)&mailbox->wake, on_closed);
}

void mail_bundle_add(struct mail_bundle *bundle, struct mail *mail) {
  mail->next = bundle->newest;
  bundle->newest = mail;
  if (!bundle->oldest) bundle->oldest = mail;
}

void mailbox_send_bundle(struct mailbox *mailbox, struct mail_bundle *bundle) {
  struct mail_bundle sent = *bundle;
  if (!sent.newest) return;
  *bundle = (struct mail_bundle){0};
  struct mail *before = atomic_load_explicit(&mailbox->sent, memory_order_relaxed);
  do sent.oldest->next = before;
  while (!atomic_compare_exchange_weak_explicit(&mailbox->sent, &before, sent.newest, memory_order_release,
                                                memory_order_relaxed));
  // Whoever found it empty wakes the reader for everyone who comes before the reader does.
  static const uint64_t once = 1;
  while (!before && write(mailbox->event, &once, sizeof once) < 0 && errno == EINTR) continue;
}

void mailbox_send(struct mailbox *mailbox, struct mail *mail) {
  mailbox_send_bundle(mailbox, &(struct mail_bundle){mail, mail});
}
