#include "host/look_turn.h"

#include "host/look.h"
#include "host/worker_internal.h"

static void on_turn(uv_timer_t *timer);

/** At once where the worker has had nothing else to do. */
static void schedule(struct look_turns *turns) {
  bool busy = turns->worker->decided != turns->decided;
  turns->decided = turns->worker->decided;
  uv_update_time(turns->timer.loop);
  uv_timer_start(&turns->timer, on_turn, busy ? LOOK_REST_MS : 0, 0);
}

static void on_turn(uv_timer_t *timer) {
  struct look_turns *turns = timer->data;
  struct look_turn *turn = turns->first;
  if (!turn) return;
  turns->first = turn->next;
  if (!turns->first) turns->last = &turns->first;
  turn->run(turn, turns->worker);
  if (turns->first) schedule(turns);
}

void look_turns_init(struct look_turns *turns, struct worker *worker, uv_loop_t *loop) {
  turns->worker = worker;
  turns->first = NULL;
  turns->last = &turns->first;
  uv_timer_init(loop, &turns->timer);
  turns->timer.data = turns;
}

void look_turns_close(struct look_turns *turns) {
  uv_close((uv_handle_t *)&turns->timer, NULL);
}

void look_turns_add(struct look_turns *turns, struct look_turn *turn) {
  turn->next = NULL;
  *turns->last = turn;
  turns->last = &turn->next;
  if (turns->first == turn) schedule(turns);
}
