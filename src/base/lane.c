#include "base/lane.h"

#include "base/memory.h"
#include "base/thread.h"

#include <pthread.h>

struct lane_work {
  uv_work_t pool; /**< what the pool has; `work`, the caller's, is what it means */
  uv_work_t *work;
  uv_work_cb run;
  uv_after_work_cb after;
  struct lane *lane;
  struct lane_work *next;
};

void lane_init(struct lane *lane, uv_loop_t *loop, unsigned most) {
  *lane = (struct lane){.loop = loop, .most = most};
  lane->end = &lane->first;
}

static void *run_modestly(void *context) {
  struct lane_work *item = context;
  pthread_setname_np(pthread_self(), "kairos-reader");
  thread_modest();
  thread_pace();
  item->run(item->work);
  thread_unpace();
  return NULL;
}

/** Modesty cannot be taken back, so the pool's own thread waits for another. */
static void run(uv_work_t *pool) {
  struct lane_work *item = pool->data;
  pthread_t thread;
  if (pthread_create(&thread, NULL, run_modestly, item))
    item->run(item->work); // there is no thread to be had: better at once than not at all
  else
    pthread_join(thread, NULL);
}

static void fill(struct lane *lane);

static void ran(uv_work_t *pool, int status) {
  struct lane_work item = *(struct lane_work *)pool->data;
  memory_free(pool->data);
  item.lane->running--;
  fill(item.lane);
  item.after(item.work, status);
}

static void fill(struct lane *lane) {
  while (lane->first && lane->running < lane->most) {
    struct lane_work *item = lane->first;
    if (!(lane->first = item->next)) lane->end = &lane->first;
    lane->running++;
    uv_queue_work(lane->loop, &item->pool, run, ran);
  }
}

void lane_queue(struct lane *lane, uv_work_t *work, uv_work_cb run_work, uv_after_work_cb after) {
  struct lane_work *item = memory_zalloc(sizeof *item);
  *item = (struct lane_work){.pool.data = item, .work = work, .run = run_work, .after = after, .lane = lane};
  *lane->end = item;
  lane->end = &item->next;
  fill(lane);
}
