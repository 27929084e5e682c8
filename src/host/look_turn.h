/** Turns on a worker for code that is nobody's event: one slice at a time, first come first served, and after
 * each a rest: LOOK_REST times as long as the slice was, where events came in the last LOOK_BUSY_MS,
 * LOOK_REST_BUSY times. What is short is answered at once, for LOOK_CREDIT_US of rest may be owed. Worker's
 * thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct worker;

enum { LOOK_REST = 2, LOOK_REST_BUSY = 10, LOOK_BUSY_MS = 100, LOOK_CREDIT_US = 1000 };

struct look_turn {
  void (*run)(struct look_turn *turn, struct worker *worker);
  struct look_turn *next;
};

struct look_turns {
  uv_timer_t timer; /**< a rest's end */
  uv_idle_t idle;   /**< the next turn: a timer of 0 ms would run again within this one */
  struct worker *worker;
  struct look_turn *first, **last;
  bool running;
  uint64_t decided;   /**< the worker's count when the last slice ended */
  int64_t busy_until; /**< no event for so long: the worker has time, monotonic us */
  int64_t rested;     /**< when what was taken is made up for, monotonic us */
};

void look_turns_init(struct look_turns *turns, struct worker *worker, uv_loop_t *loop);
void look_turns_close(struct look_turns *turns);
/** Run `turn->run` at a later turn of the worker's loop. */
void look_turns_add(struct worker *worker, struct look_turn *turn);
