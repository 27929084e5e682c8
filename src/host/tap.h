/** A tail between main, which has its connection (look_tail.c), the workers, which fill it (tail.c), and the
 * thread on the way from these to main (tail_thread.c). */
#pragma once

#include "base/mailbox.h"
#include "host/tail.h"
#include "host/tail_thread.h"
#include "host/worker.h"

enum { TAIL_SAMPLE_ALL = 10000 };

struct tail_filter {
  struct str type, user, campaign, reason; /**< "": any */
  bool events, decisions, unmask;
  uint32_t sample; /**< of TAIL_SAMPLE_ALL users */
};

/** A tail's end on one worker. */
struct tap {
  struct worker_task attach, detach; /**< each its own: who leaves at once does so before the first has run */
  struct mail gone;
  struct tail *tail;
  struct tap *next;
  struct buf pending; /**< this turn's lines: value maps */
};

struct tail {
  struct tail_filter filter; /**< borrowed from what look_tail.c holds; does not change */
  struct tail_thread *thread;
  /** The end of struct tail_lines' and of a tap's `gone` way, on main. */
  void (*arrived)(struct mail *mail, bool cancelled), (*detached)(struct mail *mail, bool cancelled);
  struct buf told;        /**< the thread's: JSON for main */
  struct tail *next_told; /**< … of another that has some */
  _Atomic size_t in_mail; /**< bytes on their way to main */
  _Atomic size_t unread;  /**< bytes that the reader has not taken, as main saw last */
  _Atomic uint64_t lost;  /**< lines, since the reader was told last */
  uint32_t tap_count;
  struct tap *taps; /**< one a worker */
};

/** One worker's value maps on their way to the thread; then lines of JSON, on theirs to main. */
struct tail_lines {
  struct mail mail; /**< first */
  struct tail *tail;
  struct buf bytes;
};

/* ---- the thread's mail: struct tail_lines', and a tap's `gone` ---- */

void tail_lines_came(struct mail *mail, bool cancelled);
void tail_gone_came(struct mail *mail, bool cancelled);

/* ---- worker's thread ---- */

void tail_attach(struct worker *worker, struct worker_task *task);
void tail_detach(struct worker *worker, struct worker_task *task);
