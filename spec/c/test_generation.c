// links: base config event state gate deliver engine ingest decide generation explain
/* What is kept of generations: read back, shared by content, and dropped when nothing refers to it. */
#include "explain/replay.h"
#include "generation/changes.h"
#include "generation/generation.h"
#include "kept_world.h"

/** Write the campaign anew, build it, keep it as generation `number` of that moment. @return its templates'
 * hash */
static struct hash128 keep(struct world *world, uint32_t number, int64_t at, const char *text) {
  struct error err = {0};
  bench_write(&world->bench, "cart/rule.lua",
              "local kairos = require \"kairos\"\nreturn kairos.rule { on = \"x\", act = function() end }\n");
  bench_write(&world->bench, "cart/reminder.txt", text);
  if (bench_load(&world->bench)) fail_msg("%s", world->bench.err.message);
  struct buf changes, paused;
  buf_init(&changes);
  buf_init(&paused);
  changes_of_sources(NULL, world->bench.ruleset, &changes);
  value_put_array(&paused, 0);
  struct generation_facts facts = {.number = number,
                                   .cause = GENERATION_WATCH,
                                   .at = at,
                                   .by = STR("ada"),
                                   .sources = world->bench.ruleset->hash,
                                   .files = {1, number},
                                   .paused = buf_str(&paused),
                                   .changes = buf_str(&changes)};
  struct generation *generation = generation_new(&facts, ruleset_share(world->bench.ruleset), 1);
  generation->workers[0].engine = world->bench.engine;
  if (generation_store(generation, world->store, &err)) fail_msg("%s", err.message);
  generation->workers[0].engine = NULL;
  generation_free(generation);
  buf_deinit(&changes);
  buf_deinit(&paused);
  const struct engine_template *templates;
  assert_int_equal(engine_templates(world->bench.engine, &templates), 1);
  return templates[0].hash;
}

static bool has(struct world *world, const char *prefix, struct hash128 hash) {
  char hex[33], key[64];
  struct buf bytes;
  buf_init(&bytes);
  hash128_hex(hash, hex);
  snprintf(key, sizeof key, "%s:%s", prefix, hex);
  int rc = store_meta_get(world->store, str_from(key), &bytes, NULL);
  buf_deinit(&bytes);
  return rc == 0;
}

static int count_fact(void *context, struct str key, struct str value) {
  (void)key;
  (void)value;
  ++*(int *)context;
  return 0;
}

static int facts_of(struct world *world, const char *prefix) {
  int count = 0;
  assert_int_equal(store_meta_scan(world->store, str_from(prefix), count_fact, &count, NULL), 0);
  return count;
}

static void test_what_is_kept_is_read_back(void **state) {
  (void)state;
  struct world world;
  struct generation_facts facts;
  struct ruleset *ruleset = NULL;
  struct error err = {0};
  struct buf bytes;
  world_init(&world);
  buf_init(&bytes);
  keep(&world, 1, 1000, "one");
  assert_int_equal(generation_facts_load(world.store, 1, &bytes, &facts, &err), 0);
  assert_int_equal(facts.number, 1);
  assert_int_equal(facts.cause, GENERATION_WATCH);
  assert_int_equal(facts.at, 1000);
  assert_true(str_equal(facts.by, STR("ada")));
  assert_true(hash128_equal(facts.files, (struct hash128){1, 1}));
  assert_int_equal(generation_sources_load(world.store, facts.sources, &ruleset, &err), 0);
  assert_true(hash128_equal(ruleset->hash, world.bench.ruleset->hash));
  assert_int_equal(ruleset->count, world.bench.ruleset->count);
  assert_true(str_equal(ruleset_find(ruleset, STR("cart/reminder.txt"))->text, STR("one")));
  ruleset_free(ruleset);
  assert_int_equal(generation_facts_load(world.store, 2, &bytes, &facts, &err), ERROR_NOT_FOUND);
  // What an older version left there means nothing.
  assert_int_equal(
      store_meta_put(world.store, STR("generation:2"), STR("0123456789abcdef0123456789abcdef"), &err), 0);
  assert_int_equal(generation_facts_load(world.store, 2, &bytes, &facts, &err), ERROR_CORRUPT);
  // A text that is not what its hash says is not run.
  char key[64], hex[33];
  hash128_hex(ruleset_find(world.bench.ruleset, STR("cart/rule.lua"))->hash, hex);
  snprintf(key, sizeof key, "source:%s", hex);
  assert_int_equal(store_meta_put(world.store, str_from(key), STR("return 1"), &err), 0);
  assert_int_equal(generation_sources_load(world.store, world.bench.ruleset->hash, &ruleset, &err),
                   ERROR_CORRUPT);
  buf_deinit(&bytes);
  world_deinit(&world);
}

static void test_texts_are_kept_once(void **state) {
  (void)state;
  struct world world;
  world_init(&world);
  keep(&world, 1, 1000, "one");
  int sources = facts_of(&world, "source:");
  keep(&world, 2, 2000, "two");
  assert_int_equal(facts_of(&world, "source:"), sources + 1);
  assert_int_equal(facts_of(&world, "template:"), 2);
  keep(&world, 3, 3000, "one");
  assert_int_equal(facts_of(&world, "source:"), sources + 1);
  assert_int_equal(facts_of(&world, "ruleset:"), 2);
  struct buf list;
  struct error err = {0};
  buf_init(&list);
  assert_int_equal(generation_list(world.store, 3, 2, &list, &err), 0);
  assert_int_equal(value_head(buf_str(&list)).count, 2);
  buf_clear(&list);
  assert_int_equal(generation_list(world.store, 3, 50, &list, &err), 0);
  assert_int_equal(value_head(buf_str(&list)).count, 3);
  buf_deinit(&list);
  world_deinit(&world);
}

static void put_waiting(struct world *world, struct hash128 template_hash) {
  struct support_write write;
  struct message message = support_message(support_user("ada"), support_id(1));
  message.template_hash = template_hash;
  support_write_init(&write, world->store, &world->loop);
  store_write_outbox(&write.write, &(struct outbox_entry){.message = message});
  assert_int_equal(support_write_finish(&write, world->store, &world->loop), 0);
}

static void put_dead(struct world *world, struct hash128 template_hash) {
  struct support_write write;
  struct message message = support_message(support_user("bob"), support_id(2));
  struct buf bytes;
  buf_init(&bytes);
  message.template_hash = template_hash;
  message_encode(&message, &bytes);
  struct outcome outcome = {.message_id = message.id, .kind = OUTCOME_HELD, .message = buf_str(&bytes)};
  support_write_init(&write, world->store, &world->loop);
  store_write_dead(&write.write, &(struct dead_letter){.id = message.id,
                                                       .kind = DEAD_MESSAGE,
                                                       .entity = support_user("bob"),
                                                       .outcome = outcome});
  assert_int_equal(support_write_finish(&write, world->store, &world->loop), 0);
  buf_deinit(&bytes);
}

static void test_what_nothing_refers_to_is_dropped(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  world_init(&world);
  struct hash128 one = keep(&world, 1, 1000, "one"), two = keep(&world, 2, 2000, "two"),
                 three = keep(&world, 3, 3000, "three"), four = keep(&world, 4, 4000, "four");
  int sources = facts_of(&world, "source:");
  put_waiting(&world, one);
  put_dead(&world, two);
  // A generation's end is the beginning of the next: 2 ended at 3000, less than 1500 ago.
  assert_int_equal(generation_retain(world.store, NULL, 4, 1500, 4400, &err), 1);
  assert_int_equal(facts_of(&world, "generation:"), 3);
  assert_int_equal(facts_of(&world, "source:"), sources - 1);
  assert_true(has(&world, "template", one));
  assert_int_equal(generation_retain(world.store, NULL, 4, 1500, 5501, &err), 2);
  assert_int_equal(facts_of(&world, "generation:"), 1);
  assert_int_equal(facts_of(&world, "ruleset:"), 1);
  assert_int_equal(facts_of(&world, "templates:"), 1);
  assert_true(has(&world, "template", one) && has(&world, "template", two) && has(&world, "template", four));
  assert_false(has(&world, "template", three));
  // What serves stays, however old it is; and what is left can be served.
  assert_int_equal(generation_retain(world.store, NULL, 4, 1500, INT64_MAX / 2, &err), 0);
  struct ruleset *ruleset;
  assert_int_equal(generation_sources_load(world.store, world.bench.ruleset->hash, &ruleset, &err), 0);
  ruleset_free(ruleset);
  world_deinit(&world);
}

/** What was decided under it is told of, and what came after is run. */
static void test_a_replay_without_its_rules(void **state) {
  (void)state;
  struct world world;
  struct error err = {0};
  struct log *log;
  struct support_input input;
  struct buf rows;
  world_init(&world);
  buf_init(&input.input);
  buf_init(&input.effects);
  buf_init(&rows);
  bench_write(&world.bench, "seen/rule.lua",
              "local kairos = require \"kairos\"\n"
              "return kairos.rule { on = \"product.viewed\", act = function() end }\n");
  keep(&world, 3, 3000, "one");
  struct log_options options = {
      .directory = support_path("log"), .segment_size = 1 << 20, .segment_age = 1 << 20};
  assert_int_equal(log_open(&log, &options, (struct log_position){0, 0}, &err), 0);
  for (uint32_t i = 0; i < 4; i++) {
    char id[8];
    snprintf(id, sizeof id, "e%u", i);
    support_event(&input, support_user("ada"), id, 1000 + i);
    struct log_record record = {.seq = i + 1,
                                .type = LOG_EVENT,
                                .generation = i < 2 ? 2 : 3,
                                .at = 1000 + i,
                                .entity = support_user("ada"),
                                .input = buf_str(&input.input),
                                .effects = STR("")};
    assert_int_equal(support_write(log, &world.loop, &record, 1, NULL), 0);
  }
  log_close(log);
  struct replay_options replay = {.store = world.store,
                                  .log_directory = support_path("log"),
                                  .config = world.bench.config,
                                  .entity = support_user("ada"),
                                  .filter = STR("")};
  if (replay_run(&replay, &rows, &err)) fail_msg("%s", err.message);
  struct reader reader = reader_of(buf_str(&rows));
  assert_int_equal(value_read(&reader).count, 3);
  struct str first = value_slice(&reader), second = value_slice(&reader), found;
  assert_true(value_member(first, STR("generation"), &found) && value_head(found).integer == 2);
  assert_true(value_member(first, STR("reason"), &found) &&
              strstr(value_head(found).string.data, "not kept"));
  assert_true(value_member(second, STR("campaign"), &found) &&
              str_equal(value_head(found).string, STR("seen")));
  buf_deinit(&input.input);
  buf_deinit(&input.effects);
  buf_deinit(&rows);
  world_deinit(&world);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, support_make_directory, support_remove_directory)

int main(void) {
  const struct CMUnitTest tests[] = {TEST(test_what_is_kept_is_read_back), TEST(test_texts_are_kept_once),
                                     TEST(test_what_nothing_refers_to_is_dropped),
                                     TEST(test_a_replay_without_its_rules)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
