/** Work off a loop's thread that nobody may be held up by: at most so many at once, the rest waits in the
 * order in which it came, and libuv's pool keeps its other threads for what is urgent. Each computes in
 * pieces, on a thread of its own that lets others go first (thread_modest(), thread_pace()). Called on the
 * loop's thread. */
#pragma once

#include <uv.h>

struct lane_work;

struct lane {
  uv_loop_t *loop;
  unsigned most, running;
  struct lane_work *first, **end;
};

void lane_init(struct lane *lane, uv_loop_t *loop, unsigned most);
/** As uv_queue_work(), which it calls when it is this work's turn. What waits cannot be cancelled. */
void lane_queue(struct lane *lane, uv_work_t *work, uv_work_cb run, uv_after_work_cb after);
