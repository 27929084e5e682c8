/** Looking into the running host: connections that stay. A session runs what an operator types
 * (engine/repl.h), a tail streams what is decided.
 *
 * Both are asked for, and answered, in lines of JSON:
 *
 * {"command":"repl"} opens a session: {"ok":true,"result":{session, worker, workers, generation}}. Then
 *   {"id":1,"run":"status()"}, "json":true for values as JSON → {"id":1,"state":"done","output":"…"}; state
 * may also be "failed" (with "error"), "incomplete" (ask for more lines, send all of them), "cancelled",
 * "busy". A line that begins with ":" is one of :worker N, :write, :unmask, :help [NAME].
 *   {"cancel":true} ends what runs, as the end of the connection does; {"id":2,"complete":"use"} →
 * {"id":2,"state":"done","replaces":3,"names":[…]}.
 * What runs, runs on the session's worker, REPL_SLICE_US at a time between two turns of its loop
 * (look_turn.h): all sessions together take at most a third of its time, an eleventh where events come in. At
 * most LOOK_SESSIONS_MAX.
 *
 * {"command":"tail", …} is tail.h's. At most LOOK_TAILS_MAX.
 *
 * All functions: main thread.
 */
#pragma once

#include "host/host.h"

enum { LOOK_SESSIONS_MAX = 8, LOOK_TAILS_MAX = 16 };

struct look;

/** The connection behind it. */
struct look_port {
  void *context;
  /** Send lines; takes the bytes over. */
  void (*send)(void *context, struct buf bytes);
  /** Bytes that the reader has not taken yet. */
  size_t (*unread)(void *context);
  /** Nothing of it is under way any more; it is gone. Once, after look_close(), never within it. */
  void (*closed)(void *context);
  int64_t uid, pid; /**< who is on the other side, as the kernel says; -1 unknown */
};

/** Whether `command` names something that stays. */
bool look_is(struct str command);
/** @param request  the request's map. @return 0 with `result` (a value) for the answer, or ERROR_INVALID,
 * ERROR_LIMIT, ERROR_UNAVAILABLE. */
int look_open(struct look **out, struct host *host, struct str request, const struct look_port *port,
              struct buf *result, struct error *err);
/** A further line, as a value. */
void look_line(struct look *look, struct str line);
/** The reader has taken some of what was sent. */
void look_drained(struct look *look);
/** Whether it is at rest: nothing runs that the other side waits for. */
bool look_idle(const struct look *look);
/** Whether it sends without being asked. */
bool look_streams(const struct look *look);
/** No more is sent. */
void look_close(struct look *look);
