/** A thread's mailbox: many senders, one reader, first come first served.
 *
 * Mail is intrusive: put `struct mail` first in your own struct, whose ownership passes with it. Mail sent by
 * A before A tells B something is read before whatever B then sends (one queue, so order is causal): barriers
 * rely on that. Sending takes one atomic operation and wakes the loop once per batch. Mail that is unread
 * when the mailbox closes is handed to its `run` with `cancelled` true, so that it can free itself.
 */
#pragma once

#include <stdbool.h>
#include <uv.h>

struct mail {
  struct mail *next;
  /** Runs on the reader's thread and owns the mail from then on. */
  void (*run)(struct mail *mail, bool cancelled);
};

struct mailbox;

/** Reader's thread. `name` (borrowed, static) appears in logs. */
struct mailbox *mailbox_new(uv_loop_t *loop, const char *name);
/** Reader's thread: cancels what is unread and closes; the loop must turn once more. No sender may be left,
 * not even inside mailbox_send(): join sending threads first. Mail may free the mailbox that it is read from.
 */
void mailbox_free(struct mailbox *mailbox);
/** Any thread. */
void mailbox_send(struct mailbox *mailbox, struct mail *mail);

/** Mail for one mailbox that leaves together: its reader, which the first letter wakes, and which then may
 * run at once in the sender's place, is woken once for all. All zero: empty. One thread's own. */
struct mail_bundle {
  struct mail *newest, *oldest;
};
/** It is read in the order in which it was put in. */
void mail_bundle_add(struct mail_bundle *bundle, struct mail *mail);
/** Sends what is in it, if anything is, and empties it. Any thread. */
void mailbox_send_bundle(struct mailbox *mailbox, struct mail_bundle *bundle);
