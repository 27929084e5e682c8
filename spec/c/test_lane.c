// links: base
/* Work in the pool, of which so many run at once. */
#include "base/lane.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

enum { WORKS = 20 };

struct bench {
  struct lane lane;
  atomic_uint running, most;
  unsigned done, order[WORKS + 1];
  unsigned again; /**< works that queue another when they have ended */
};

struct one {
  uv_work_t work;
  struct bench *bench;
  unsigned number;
};

static void run(uv_work_t *work) {
  struct bench *bench = ((struct one *)work->data)->bench;
  unsigned now = atomic_fetch_add(&bench->running, 1) + 1, most = atomic_load(&bench->most);
  while (now > most && !atomic_compare_exchange_weak(&bench->most, &most, now)) {
  }
  usleep(2000);
  atomic_fetch_sub(&bench->running, 1);
}

static void ran(uv_work_t *work, int status) {
  struct one *one = work->data;
  struct bench *bench = one->bench;
  assert_int_equal(status, 0);
  bench->order[bench->done++] = one->number;
  if (bench->again) {
    bench->again--;
    one->number = WORKS;
    lane_queue(&bench->lane, &one->work, run, ran);
  }
}

static void queue_all(struct bench *bench, uv_loop_t *loop, struct one *all, unsigned most) {
  lane_init(&bench->lane, loop, most);
  for (unsigned i = 0; i < WORKS; i++) {
    all[i] = (struct one){.work.data = &all[i], .bench = bench, .number = i};
    lane_queue(&bench->lane, &all[i].work, run, ran);
  }
  assert_int_equal(uv_run(loop, UV_RUN_DEFAULT), 0);
}

static void so_many_at_once(void **state) {
  (void)state;
  uv_loop_t loop;
  struct bench bench = {0};
  struct one all[WORKS];
  uv_loop_init(&loop);
  queue_all(&bench, &loop, all, 2);
  assert_int_equal(bench.done, WORKS);
  assert_int_equal(atomic_load(&bench.most), 2);
  assert_int_equal(uv_loop_close(&loop), 0);
}

static void in_the_order_in_which_they_came(void **state) {
  (void)state;
  uv_loop_t loop;
  struct bench bench = {.again = 1};
  struct one all[WORKS];
  uv_loop_init(&loop);
  queue_all(&bench, &loop, all, 1);
  assert_int_equal(bench.done, WORKS + 1);
  for (unsigned i = 0; i <= WORKS; i++) assert_int_equal(bench.order[i], i);
  assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(so_many_at_once),
      cmocka_unit_test(in_the_order_in_which_they_came),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
