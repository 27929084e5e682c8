/** Where units keep what generations and journeys under way need: an engine to build it with, and a store. */
#pragma once

#include "store_support.h"
#include "test_engine_support.h"

static const char yaml[] = "rules:\n  budget: 200ms\n  memory: 16MB\n";

struct world {
  struct bench bench;
  struct support_loop loop;
  struct store *store;
};

static void world_init(struct world *world) {
  support_loop_init(&world->loop);
  world->store = support_open_store();
  bench_init(&world->bench, yaml);
}

static void world_deinit(struct world *world) {
  bench_deinit(&world->bench);
  store_close(world->store);
  support_loop_deinit(&world->loop);
}
