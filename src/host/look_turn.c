#include "host/look_turn.h"

#include "base/clock.h"
#include "host/worker_internal.h"

static void on_rested(uv_timer_t *timer);
static void on_idle(uv_idle_t *idle);

/** Whether events are on their way here: decided since the last slice, or not answered yet. */
static bool is_busy(const struct look_turns *turns) {
  const struct worker *worker = turns->worker;
  return worker->decided != turns->decided || worker->open_items || worker->flights_in_air ||
         worker->waiting_count;
}

static void schedule(struct look_turns *turns) {
  int64_t left = turns->rested - clock_mono_us() - LOOK_CREDIT_US;
  if (left <= 0) {
    uv_idle_start(&turns->idle, on_idle);
    return;
  }
  uv_update_time(turns->timer.loop);
  uv_timer_start(&turns->timer, on_rested, (uint64_t)(left + 999) / 1000, 0);
}

static void run_one(struct look_turns *turns) {
  struct look_turn *turn = turns->first;
  turns->first = turn->next;
  if (!turns->first) turns->last = &turns->first;
  int64_t began = clock_mono_us();
  if (is_busy(turns)) turns->busy_until = began + LOOK_BUSY_MS * 1000;
  turns->running = true;
  turn->run(turn, turns->worker);
  turns->running = false;
  int64_t ended = clock_mono_us();
  if (turns->rested < ended) turns->rested = ended;
  turns->rested += (ended - began) * (began < turns->busy_until ? LOOK_REST_BUSY : LOOK_REST);
  turns->decided = turns->worker->decided;
  if (turns->first) schedule(turns);
}

static void on_rested(uv_timer_t *timer) {
  run_one(timer->data);
}

static void on_idle(uv_idle_t *idle) {
  uv_idle_stop(idle);
  run_one(idle->data);
}

void look_turns_init(struct look_turns *turns, struct worker *worker, uv_loop_t *loop) {
  turns->worker = worker;
  turns->first = NULL;
  turns->last = &turns->first;
  uv_timer_init(loop, &turns->timer);
  uv_idle_init(loop, &turns->idle);
  turns->timer.data = turns->idle.data = turns;
}

void look_turns_close(struct look_turns *turns) {
  uv_close((uv_handle_t *)&turns->timer, NULL);
  uv_close((uv_handle_t *)&turns->idle, NULL);
}

void look_turns_add(struct worker *worker, struct look_turn *turn) {
  struct look_turns *turns = &worker->turns;
  turn->next = NULL;
  *turns->last = turn;
  turns->last = &turn->next;
  if (turns->first == turn && !turns->running) schedule(turns);
}
