/** Turns on a worker for code that is nobody's event: one slice at a time, first come first served, with
 * rests in between while the worker has inputs. Worker's thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct worker;

struct look_turn {
  void (*run)(struct look_turn *turn, struct worker *worker);
  struct look_turn *next;
};

struct look_turns {
  uv_timer_t timer;
  struct worker *worker;
  struct look_turn *first, **last;
  uint64_t decided; /**< the worker's count when the last slice ended */
};

void look_turns_init(struct look_turns *turns, struct worker *worker, uv_loop_t *loop);
void look_turns_close(struct look_turns *turns);
/** Run `turn->run` at a later turn of the loop. */
void look_turns_add(struct look_turns *turns, struct look_turn *turn);
