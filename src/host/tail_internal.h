/** A tail between main, which has its connection (look_tail.c), and the workers, which fill it (tail.c). */
#pragma once

#include "base/mailbox.h"
#include "host/tail.h"
#include "host/worker.h"

struct tail_filter {
  struct str type, user, campaign, reason; /**< "": any */
  bool events, decisions, unmask;
  uint32_t sample; /**< of 10,000 users */
};

struct tap {
  struct worker_task attach, detach; /**< each its own: who leaves at once does so before the first has run */
  struct mail gone;
  struct tail *tail;
  struct tap *next;
  struct buf pending; /**< this turn's lines */
};

struct tail {
  struct tail_filter filter; /**< borrowed from what look_tail.c holds; does not change */
  struct mailbox *main;
  _Atomic size_t in_mail; /**< bytes on their way to main */
  _Atomic size_t unread;  /**< bytes that the reader has not taken, as main saw last */
  _Atomic uint64_t lost;  /**< lines, since the reader was told last */
  uint32_t tap_count;
  struct tap *taps; /**< one a worker */
};

/** One worker's lines, on their way. */
struct tail_lines {
  struct mail mail; /**< first */
  struct tail *tail;
  struct buf bytes;
};

/* tail.c, on the worker */
void tail_attach(struct worker *worker, struct worker_task *task);
void tail_detach(struct worker *worker, struct worker_task *task);
/* look_tail.c, on main */
void tail_arrived(struct mail *mail, bool cancelled);
void tail_detached(struct mail *mail, bool cancelled);
