// links: base config event state gate deliver engine ingest decide generation
/* What journeys under way keep: their source by content, as long as somebody is on it, and what it declares.
 */
#include "generation/generation.h"
#include "kept_world.h"

static const int64_t KEEP = 30 * (int64_t)SUPPORT_DAY;

static void load(struct world *world, const char *of) {
  char text[512];
  snprintf(text, sizeof text,
           "local kairos = require 'kairos'\nlocal seen = kairos.window { of = '%s', over = '1d' }\n"
           "return kairos.journey { start = { on = 'x' }, run = function(journey) journey:wait '1h'\n"
           "journey:send { channel = 'push', template = 'm', to = 'phone' } end }",
           of);
  bench_write(&world->bench, "cart/rule.lua", text);
  bench_write(&world->bench, "cart/m.txt", of);
  bench_write(&world->bench, "other/rule.lua",
              "return require 'kairos'.rule { on = 'x', act = function() end }");
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
}

/** It serves as generation `number` from then on. @return the journey's version */
static struct hash128 serve(struct world *world, const char *of, uint32_t number, int64_t at) {
  struct error err = {0};
  load(world, of);
  struct buf flights;
  buf_init(&flights);
  assert_int_equal(journey_sources_list(world->store, world->bench.ruleset, at, &flights, &err), 0);
  struct generation_facts facts = {.number = number,
                                   .cause = GENERATION_WATCH,
                                   .at = at,
                                   .by = STR(""),
                                   .sources = world->bench.ruleset->hash,
                                   .files = {1, number},
                                   .paused = STR("\x90"),
                                   .flights = buf_str(&flights),
                                   .changes = STR("\x80")};
  struct generation *generation = generation_new(&facts, ruleset_share(world->bench.ruleset), 1);
  generation->workers[0].engine = world->bench.engine;
  if (generation_store(generation, world->store, &err)) fail_msg("%s", err.message);
  generation->workers[0].engine = NULL;
  generation_free(generation);
  buf_deinit(&flights);
  return ruleset_version(world->bench.ruleset, STR("cart"));
}

/** @param version  null: he is on none any more. @param more  journeys that the index has no room to tell of
 */
static void put_on(struct world *world, const char *user, const struct hash128 *version, int more) {
  struct support_write write;
  struct buf value;
  char hex[33];
  buf_init(&value);
  if (version) {
    hash128_hex(*version, hex);
    value_put_array(&value, 2);
    value_put_integer(&value, 1 + more);
    value_put_array(&value, 7);
    value_put_string(&value, STR("c1"));
    value_put_string(&value, STR("waiting"));
    value_put_string(&value, str_from(hex));
    value_put_integer(&value, 5000);
    value_put_string(&value, STR("wait 1h"));
    value_put_integer(&value, 3);
    value_put_integer(&value, 1000);
  }
  support_write_init(&write, world->store, &world->loop);
  store_write_index(
      &write.write, support_user(user),
      &(struct index_change){
          .index = STR(TIMER_JOURNEY "cart"), .key = STR(""), .value = buf_str(&value), .remove = !version});
  assert_int_equal(support_write_finish(&write, world->store, &world->loop), 0);
  buf_deinit(&value);
}

static int retain(struct world *world, uint32_t serving, int64_t now) {
  struct error err = {0};
  int rc = journey_sources_retain(world->store, world->bench.ruleset, KEEP, now, &err);
  if (rc < 0) fail_msg("%s", err.message);
  if (generation_retain(world->store, NULL, serving, KEEP, now, &err) < 0) fail_msg("%s", err.message);
  return rc;
}

static bool can_be_had(struct world *world, struct hash128 version) {
  struct error err = {0};
  struct ruleset *ruleset;
  int rc = generation_sources_load(world->store, version, &ruleset, &err);
  if (rc == ERROR_NOT_FOUND) return false;
  if (rc) fail_msg("%s", err.message);
  assert_true(hash128_equal(ruleset->hash, version));
  assert_non_null(ruleset_find(ruleset, STR("cart/rule.lua")));
  assert_null(ruleset_find(ruleset, STR("other/rule.lua")));
  ruleset_free(ruleset);
  return true;
}

/** How many earlier sources a generation that begins now must be able to run. */
static uint32_t listed(struct world *world, int64_t now) {
  struct buf list;
  struct error err = {0};
  buf_init(&list);
  assert_int_equal(journey_sources_list(world->store, world->bench.ruleset, now, &list, &err), 0);
  uint32_t count = value_head(buf_str(&list)).count;
  buf_deinit(&list);
  return count;
}

static void test_a_source_is_kept_while_somebody_is_on_it(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  int64_t now = 1000;
  struct hash128 first = serve(&world, "one", 1, now);
  put_on(&world, "ada", &first, 0);
  put_on(&world, "bob", &first, 0);
  struct hash128 second = serve(&world, "two", 2, now += SUPPORT_HOUR);
  assert_int_equal(listed(&world, now), 1);
  for (uint32_t month = 0; month < 4; month++) {
    serve(&world, month % 2 ? "two" : "three", 3 + month, now += 2 * KEEP);
    assert_int_equal(retain(&world, 3 + month, now), 0);
    assert_true(can_be_had(&world, first));
  }
  put_on(&world, "ada", &second, 0);
  assert_int_equal(retain(&world, 6, now), 0);
  put_on(&world, "bob", NULL, 0);
  // Nobody is on it: but what was decided on it may have to be explained, so long as the log is kept.
  assert_int_equal(retain(&world, 6, now += SUPPORT_MINUTE), 0);
  assert_int_equal(listed(&world, now), 2);
  assert_int_equal(listed(&world, now + SUPPORT_HOUR), 0);
  assert_int_equal(retain(&world, 6, now + KEEP - 1), 0);
  assert_true(can_be_had(&world, first));
  assert_int_equal(retain(&world, 6, now + KEEP + 1), 2);
  serve(&world, "four", 7, now += 2 * KEEP);
  serve(&world, "five", 8, now += 2 * KEEP);
  retain(&world, 8, now);
  assert_false(can_be_had(&world, first));
  assert_true(can_be_had(&world, second));
  world_deinit(&world);
}

static void test_what_the_index_cannot_tell_keeps_them_all(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  struct hash128 first = serve(&world, "one", 1, 1000), second = serve(&world, "two", 2, 2000);
  put_on(&world, "ada", &second, 5);
  serve(&world, "three", 3, 3000);
  assert_int_equal(retain(&world, 3, 3000 + KEEP), 0);
  assert_int_equal(retain(&world, 3, 3000 + 3 * KEEP), 0);
  assert_true(can_be_had(&world, first));
  put_on(&world, "ada", &second, 0);
  assert_int_equal(retain(&world, 3, 3000 + 4 * KEEP), 0);
  assert_int_equal(retain(&world, 3, 3001 + 5 * KEEP), 1);
  world_deinit(&world);
}

static void test_its_windows_stay_declared(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  struct buf bytes;
  struct generation_facts facts;
  struct journey_sources sources;
  world_init(&world);
  buf_init(&bytes);
  serve(&world, "one", 1, 1000);
  serve(&world, "two", 2, 2000);
  serve(&world, "three", 3, 3000);
  assert_int_equal(generation_facts_load(world.store, 3, &bytes, &facts, &err), 0);
  assert_int_equal(journey_sources_load(&sources, world.store, facts.flights, &err), 0);
  assert_int_equal(sources.window_count, 2);
  assert_true(str_equal(sources.windows[0].of, STR("two"))); // the newest first
  assert_true(str_equal(sources.windows[1].of, STR("one")));
  const struct window_declaration *windows;
  load(&world, "one");
  engine_windows(world.bench.engine, &windows);
  assert_true(sources.windows[1].id == windows[0].id);
  journey_sources_deinit(&sources);
  assert_int_equal(journey_sources_load(&sources, world.store, STR(""), &err), 0);
  assert_int_equal(sources.window_count, 0);
  journey_sources_deinit(&sources);
  buf_deinit(&bytes);
  world_deinit(&world);
}

static void test_one_that_serves_again_is_no_earlier_one(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  struct hash128 first = serve(&world, "one", 1, 1000);
  put_on(&world, "ada", &first, 0);
  serve(&world, "two", 2, 2000);
  retain(&world, 2, 2000);
  assert_int_equal(listed(&world, 2000), 1);
  serve(&world, "one", 3, 3000);
  retain(&world, 3, 3000 + 2 * KEEP);
  retain(&world, 3, 3000 + 2 * KEEP + SUPPORT_MINUTE);
  assert_true(can_be_had(&world, first));
  assert_int_equal(listed(&world, 3000 + 2 * KEEP + SUPPORT_MINUTE), 1); // the second was counted just now
  assert_int_equal(listed(&world, 3000 + 3 * KEEP), 0);
  world_deinit(&world);
}

static void test_who_began_at_the_last_moment_is_not_missed(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  struct hash128 first = serve(&world, "one", 1, 1000);
  serve(&world, "two", 2, 2000);
  assert_int_equal(retain(&world, 2, 2000), 0);
  put_on(&world, "ada", &first, 0); // decided before the second served, written after the count
  assert_int_equal(listed(&world, 2000 + SUPPORT_HOUR), 1);
  assert_int_equal(retain(&world, 2, 2000 + SUPPORT_HOUR), 0);
  assert_int_equal(listed(&world, 2000 + 3 * KEEP), 1);
  assert_true(can_be_had(&world, first));
  world_deinit(&world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(test_a_source_is_kept_while_somebody_is_on_it),
      TEST(test_what_the_index_cannot_tell_keeps_them_all),
      TEST(test_its_windows_stay_declared),
      TEST(test_one_that_serves_again_is_no_earlier_one),
      TEST(test_who_began_at_the_last_moment_is_not_missed),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
