/** Fan-outs under way: who is reached next, how fast, and what becomes of each.
 *
 * A thread of its own walks the user index, off the workers, and hands users to their owners as inputs
 * (LOG_FAN_OUT). Within a partition one is decided after the other, so that the last one logged says who all
 * were reached: the rows of the store (state/fan_out.h) follow, and after a crash each fan-out goes on behind
 * them. Of all fan-outs together at most FAN_OUT_HANDED runs of users are with a worker at once, each user a
 * turn of the worker's loop of his own: other events wait for a few of them at most. While the outbox is half
 * full, or the host is not running, nobody is handed over; a fan-out whose campaign is paused, or outside its
 * hours, waits for it.
 *
 * Memory: some 100 KB for each that is under way (`fan_out.at_once`), 100 bytes for each that waits its turn.
 */
#pragma once

#include "host/host.h"
#include "state/store.h"

struct fan_outs;
struct worker_shared;

enum {
  FAN_OUT_HANDED = 16,                   /**< a worker */
  FAN_OUT_KEEP_MS = 7 * 24 * 3600 * 1000 /**< one that has ended is shown for so long */
};

/** Start the thread; it begins with what the store knows. After recovery. The workers in `shared` must live
 * till fan_outs_stop(). */
int fan_outs_start(struct fan_outs **out, struct worker_shared *shared, struct error *err);
/** Nobody more is handed over. Blocks shortly. Any thread; may be called again. Null is fine. */
void fan_outs_stop(struct fan_outs *fan_outs);
/** When no worker holds an input of its any more. Null is fine. */
void fan_outs_free(struct fan_outs *fan_outs);
/** Fan-outs began: their ids (16 bytes each, as the store's keys have them), durable by now. Any thread. */
void fan_outs_began(struct fan_outs *fan_outs, struct str ids);
/** HOST_FAN_OUTS and the like. Main thread; answered by mail to `reply`, on main's loop. */
void fan_outs_command(struct fan_outs *fan_outs, struct host_command *command, struct mailbox *reply);
