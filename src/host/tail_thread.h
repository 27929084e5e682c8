/** The thread between workers and main on which what tails show is masked and put into JSON. It goes last
 * (thread_modest()), so that no event waits for who watches: where the processor is full, lines are lost, and
 * counted, as with a reader who is behind. Main's, but for what tap.h gives it. */
#pragma once

#include "base/error.h"
#include "base/mailbox.h"

struct tail_thread;

/** @param main  where lines go; outlives the thread. */
int tail_thread_start(struct tail_thread **out, struct mailbox *main, struct error *err);
/** When no worker is left: what they sent goes on to main before this returns. Null is fine. */
void tail_thread_free(struct tail_thread *thread);
/** For tap.h. */
struct mailbox *tail_thread_mailbox(struct tail_thread *thread);
