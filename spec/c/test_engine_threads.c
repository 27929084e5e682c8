// links: base config event state gate deliver engine
/* Engines on threads of their own: each budget is its thread's CPU time, and one thread's endless loop costs
 * no other. */
#include "test_engine_support.h"

#include <pthread.h>

static const char yaml[] = "rules:\n  budget: 40ms\n  memory: 16MB\n";

enum { THREADS = 3, ROUNDS = 6 };

struct worker {
  pthread_t thread;
  struct bench *bench; /**< campaign and configuration; the engine is the thread's own */
  int failures, healthy;
};

static int run_one(struct bench *own, bool loop) {
  bench_event(own, "x", loop ? "{\"loop\":true}" : "{\"loop\":false}", 1000000);
  return bench_run(own, 0);
}

static void *work(void *context) {
  struct worker *worker = context;
  struct bench own = *worker->bench;
  struct engine_options options = {.ruleset = own.ruleset, .config = own.config, .generation = 1};
  own.parser = json_parser_new();
  own.payload = own.metadata = (struct buf){0};
  record_init(&own.record);
  draft_init(&own.draft, 64 << 10);
  engine_call_init(&own.call);
  if (engine_new(&own.engine, &options, &own.err) == 0) {
    for (int i = 0; i < ROUNDS; i++) {
      worker->failures += run_one(&own, true) == ERROR_BUDGET;
      for (int j = 0; j < 2000; j++) worker->healthy += run_one(&own, false) == 0;
    }
    engine_free(own.engine);
  }
  json_parser_free(own.parser);
  buf_deinit(&own.payload);
  record_deinit(&own.record);
  draft_deinit(&own.draft);
  engine_call_deinit(&own.call);
  return NULL;
}

static void test_threads(void **state) {
  (void)state;
  struct bench bench;
  bench_init(&bench, yaml);
  if (bench_rule(&bench, "", "while event.payload.loop do end")) fail_msg("%s", bench.err.message);
  struct worker workers[THREADS];
  for (int round = 0; round < 2; round++) { // threads end, and their timers with them
    for (int i = 0; i < THREADS; i++) {
      workers[i] = (struct worker){.bench = &bench};
      assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
      pthread_join(workers[i].thread, NULL);
      assert_int_equal(workers[i].failures, ROUNDS);
      assert_int_equal(workers[i].healthy, ROUNDS * 2000);
    }
  }
  bench_deinit(&bench);
}

/** Two generations on one thread, taking turns, as after a reload. */
static void test_generations(void **state) {
  (void)state;
  struct bench old, new;
  bench_init(&old, yaml);
  bench_init(&new, yaml);
  if (bench_rule(&old, "", "while event.payload.loop do end")) fail_msg("%s", old.err.message);
  if (bench_rule(&new, "", "while event.payload.loop do end user:set('new', true)"))
    fail_msg("%s", new.err.message);
  for (int i = 0; i < 4; i++) {
    assert_int_equal(run_one(&old, true), ERROR_BUDGET);
    assert_int_equal(run_one(&new, false), 0);
    assert_int_equal(run_one(&new, true), ERROR_BUDGET);
    assert_int_equal(run_one(&old, false), 0);
  }
  bench_deinit(&old);
  assert_int_equal(run_one(&new, true), ERROR_BUDGET);
  assert_int_equal(run_one(&new, false), 0);
  bench_deinit(&new);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_generations)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
