// Who gets which variant, who is held out, and what an experiment's counts say.
#include "base/sequential.h"
#include "decide/experiment_result.h"
#include "engine/rollout.h"
#include "gate/holdout.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { USERS = 40000 };
#define DAY 86400000LL
#define NOW 1795165925000LL

static struct entity user(char text[16], int number) {
  snprintf(text, 16, "user-%d", number);
  return (struct entity){ENTITY_USER, str_from(text)};
}

static const struct engine_variant three[] = {{{"a", 1}, 50}, {{"b", 1}, 30}, {{"c", 1}, 20}};
static struct engine_experiment experiment_of(const struct engine_variant *variants, size_t count) {
  return (struct engine_experiment){.name = STR("subject"),
                                    .path = STR("x/rule.lua"),
                                    .variants = variants,
                                    .variant_count = count,
                                    .on = STR("order"),
                                    .within = DAY};
}

static int chosen(const struct engine_experiment *experiment, struct entity entity, struct str weights) {
  struct exposure exposure;
  struct buf chances = {0};
  experiment_choose(experiment, entity, weights, 50000, &exposure, &chances);
  assert_true(value_valid(exposure.chances));
  struct reader reader = reader_of(exposure.chances);
  int64_t sum = 0;
  for (uint32_t left = value_read(&reader).count; left > 0; left--) {
    value_read(&reader);
    sum += value_read(&reader).integer;
  }
  assert_int_equal(sum, EXPERIMENT_ALL);
  buf_deinit(&chances);
  for (size_t i = 0; i < experiment->variant_count; i++)
    if (str_equal(exposure.variant, experiment->variants[i].name)) return (int)i;
  fail();
  return -1;
}

static void test_shares_grow_by_adding(void **state) {
  (void)state;
  char text[16];
  const struct engine_variant more_c[] = {{{"a", 1}, 50}, {{"b", 1}, 30}, {{"c", 1}, 60}};
  const struct engine_variant other_order[] = {{{"c", 1}, 2}, {{"a", 1}, 5}, {{"b", 1}, 3}};
  struct engine_experiment before = experiment_of(three, 3), after = experiment_of(more_c, 3),
                           turned = experiment_of(other_order, 3);
  int count[3] = {0}, moved = 0;
  for (int i = 0; i < USERS; i++) {
    struct entity entity = user(text, i);
    int first = chosen(&before, entity, STR("")), second = chosen(&after, entity, STR(""));
    count[first]++;
    moved += first != second;
    assert_true(first == second || second == 2);
    // Neither their order nor the unit of the weights matters.
    assert_true(str_equal(turned.variants[chosen(&turned, entity, STR(""))].name, three[first].name));
  }
  // Standard deviations are below 100.
  assert_in_range(count[0], 0.5 * USERS - 500, 0.5 * USERS + 500);
  assert_in_range(count[1], 0.3 * USERS - 500, 0.3 * USERS + 500);
  assert_in_range(count[2], 0.2 * USERS - 500, 0.2 * USERS + 500);
  assert_in_range(moved, (60.0 / 140 - 0.2) * USERS - 500, (60.0 / 140 - 0.2) * USERS + 500);
}

/** Experiments, their holdouts, a campaign's and the host's are independent: of those in one, as many are in
 * another. */
static void test_choices_are_independent(void **state) {
  (void)state;
  char text[16];
  struct config *config = config_defaults();
  config->holdout.share.hundredths = 2500;
  struct engine_experiment first = experiment_of(three, 3), second = experiment_of(three, 3);
  second.name = STR("other");
  int a = 0, a_and[4] = {0};
  for (int i = 0; i < USERS; i++) {
    struct entity entity = user(text, i);
    if (chosen(&first, entity, STR("")) != 0) continue;
    a++;
    a_and[0] += chosen(&second, entity, STR("")) == 0;
    a_and[1] += holdout_bucket(STR("subject"), entity) < 5000;
    a_and[2] += rollout_bucket(STR("subject"), entity) < 5000;
    a_and[3] += holdout_holds(config, entity, NOW);
  }
  for (int i = 0; i < 3; i++) assert_in_range(a_and[i], a / 2 - 400, a / 2 + 400);
  assert_in_range(a_and[3], a / 4 - 400, a / 4 + 400);
  config_free(config);
}

static void test_host_holdout(void **state) {
  (void)state;
  char text[16];
  struct config *config = config_defaults();
  int held[4] = {0}, moved = 0;
  for (int i = 0; i < USERS; i++) {
    struct entity entity = user(text, i);
    config->holdout.salt = "kairos";
    config->holdout.since.at = 0;
    config->holdout.share.hundredths = 0;
    held[0] += holdout_holds(config, entity, NOW);
    config->holdout.share.hundredths = 500;
    bool few = holdout_holds(config, entity, NOW);
    held[1] += few;
    config->holdout.since.at = NOW + 1;
    held[2] += holdout_holds(config, entity, NOW);
    config->holdout.since.at = NOW;
    config->holdout.share.hundredths = 1000;
    assert_true(!few || holdout_holds(config, entity, NOW)); // it grows by adding
    config->holdout.share.hundredths = 500;
    config->holdout.salt = "2026";
    held[3] += holdout_holds(config, entity, NOW);
    moved += few && holdout_holds(config, entity, NOW);
  }
  assert_int_equal(held[0], 0);
  assert_in_range(held[1], 1800, 2200);
  assert_int_equal(held[2], 0);
  assert_in_range(held[3], 1800, 2200);
  assert_in_range(moved, 50, 160); // a twentieth of them
  config_free(config);
}

static void test_weights_that_were_drawn(void **state) {
  (void)state;
  char text[16];
  struct engine_experiment experiment = experiment_of(three, 3);
  struct buf weights = {0};
  value_put_map(&weights, 1);
  value_put_string(&weights, STR("subject"));
  value_put_map(&weights, 2); // nothing was drawn for c yet
  value_put_string(&weights, STR("a"));
  value_put_integer(&weights, 100000);
  value_put_string(&weights, STR("b"));
  value_put_integer(&weights, 890000);
  int fixed[3] = {0}, drawn[3] = {0};
  for (int i = 0; i < USERS; i++) {
    struct entity entity = user(text, i);
    fixed[chosen(&experiment, entity, buf_str(&weights))]++;
    experiment.thompson = true;
    drawn[chosen(&experiment, entity, buf_str(&weights))]++;
    experiment.thompson = false;
  }
  assert_in_range(fixed[0], 0.5 * USERS - 500, 0.5 * USERS + 500);
  assert_in_range(drawn[1], 0.89 * USERS - 500, 0.89 * USERS + 500);
  assert_in_range(drawn[2], 0.01 * USERS - 100, 0.01 * USERS + 100);
  buf_deinit(&weights);
}

/** The tests take the hash for chance: over 400 experiments that differ in nothing it is no worse. One user
 * in five reaches every goal. */
static void test_the_hash_is_as_good_as_chance(void **state) {
  (void)state;
  enum { EXPERIMENTS = 400, HERE = 4000 };
  char text[24], name[24];
  const struct engine_variant two[] = {{{"a", 1}, 50}, {{"b", 1}, 50}};
  const double chances[] = {0.5, 0.5};
  int different = 0, mismatched = 0;
  double deviation = 0;
  for (int i = 0; i < EXPERIMENTS; i++) {
    struct engine_experiment experiment = experiment_of(two, 2);
    snprintf(name, sizeof name, "test-%d", i);
    experiment.name = str_from(name);
    uint64_t users[2] = {0}, goals[2] = {0};
    for (int j = 0; j < HERE; j++) {
      int arm = chosen(&experiment, user(text, j), STR(""));
      users[arm]++;
      goals[arm] += j % 5 == 0;
    }
    struct sequential_split split = {0.5, goals[0], goals[1]};
    different += sequential_evidence(&split, 1, 0) >= log(20);
    mismatched += sequential_mismatch(chances, users, 2) >= log(1000);
    deviation += ((double)users[0] - HERE / 2.0) * ((double)users[0] - HERE / 2.0) / (HERE / 4.0);
  }
  assert_in_range(different, 0, 20);
  assert_int_equal(mismatched, 0);
  // Chi-squared with 400 degrees of freedom: 400, with a standard deviation of 28.
  assert_true(deviation > 300 && deviation < 500);
}

/* ---- results ---- */

struct fixture {
  struct experiment_tally *tally;
  struct engine_experiment experiment;
  struct buf result;
  int serial;
};

static int set_up(void **state) {
  static struct fixture fixture;
  fixture = (struct fixture){.tally = experiment_tally_new(), .experiment = experiment_of(three, 2)};
  *state = &fixture;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *fixture = *state;
  experiment_tally_free(fixture->tally);
  buf_deinit(&fixture->result);
  return 0;
}

/** So many came into a variant under these chances (millionths of a, of b, of those held out), and reached
 * the goal. */
static void came(struct fixture *fixture, const char *variant, const int chances[3], int users, int goals,
                 int64_t at) {
  static const char *const names[] = {"a", "b", "*holdout"};
  struct buf bytes = {0};
  value_put_map(&bytes, chances[2] ? 3 : 2);
  for (int i = 0; i < (chances[2] ? 3 : 2); i++) {
    value_put_string(&bytes, str_from(names[i]));
    value_put_integer(&bytes, chances[i]);
  }
  for (int i = 0; i < users; i++)
    experiment_tally_add(fixture->tally,
                         &(struct exposure){.experiment = STR("subject"),
                                            .variant = str_from(variant),
                                            .at = at,
                                            .chances = buf_str(&bytes),
                                            .reached = i < goals,
                                            .goal_at = at,
                                            .amount = i < goals ? 2500000 : 0},
                         DAY, NOW);
  buf_deinit(&bytes);
}

static struct str arm(struct fixture *fixture, const char *list, int index, const char *name) {
  struct str found;
  char path[64];
  snprintf(path, sizeof path, "%s.%d.%s", list, index, name);
  return value_find(buf_str(&fixture->result), str_from(path), &found) ? found : STR("");
}

static double number(struct fixture *fixture, const char *list, int index, const char *name) {
  double found = NAN;
  value_as_number(arm(fixture, list, index, name), &found);
  return found;
}

static void judge(struct fixture *fixture) {
  buf_clear(&fixture->result);
  experiment_result(fixture->tally, STR("subject"), &fixture->experiment, &fixture->result);
  assert_true(value_valid(buf_str(&fixture->result)));
}

static void says(struct fixture *fixture, const char *part) {
  struct str verdict;
  assert_true(value_member(buf_str(&fixture->result), STR("verdict"), &verdict));
  verdict = value_head(verdict).string;
  if (!memmem(verdict.data, verdict.len, part, strlen(part))) fail_msg("%.*s", STR_ARG(verdict));
}

static const int even[] = {500000, 500000, 0};

static void test_verdicts(void **state) {
  struct fixture *fixture = *state;
  judge(fixture);
  says(fixture, "nobody has come into it yet");
  came(fixture, "a", even, 1000, 50, NOW - 2 * DAY);
  came(fixture, "b", even, 1010, 52, NOW - 2 * DAY);
  judge(fixture);
  says(fixture, "no difference is sure yet");
  assert_true(number(fixture, "variants", 1, "p") > 0.5);
  came(fixture, "a", even, 19000, 950, NOW - 2 * DAY);
  came(fixture, "b", even, 18990, 1250, NOW - 2 * DAY);
  judge(fixture);
  says(fixture, "b does better than a: the rate is ");
  says(fixture, " higher");
  assert_true(fabs(number(fixture, "variants", 0, "rate") - 0.05) < 1e-9);
  assert_true(fabs(number(fixture, "variants", 0, "value") - 0.125) < 1e-9);
  assert_true(number(fixture, "variants", 1, "best") > 0.999 && number(fixture, "variants", 1, "p") < 0.001);
  assert_true(number(fixture, "variants", 1, "lift_low") > 0.05);
  fixture->experiment.control = 1;
  judge(fixture);
  says(fixture, "a does worse than b: the rate is ");
  assert_true(str_equal(value_head(arm(fixture, "variants", 0, "variant")).string, STR("b")));
  says(fixture, " lower");
}

/** An arm without any goal is ruled out on one side alone; nothing divides by zero. */
static void test_extremes(void **state) {
  struct fixture *fixture = *state;
  came(fixture, "a", even, 100, 0, NOW - 2 * DAY);
  judge(fixture);
  says(fixture, "no difference");
  came(fixture, "b", even, 100, 100, NOW - 2 * DAY);
  judge(fixture);
  says(fixture, "b does better than a: the rate is at least ");
  assert_true(isnan(number(fixture, "variants", 1, "lift_high"))); // nil
  assert_true(isnan(number(fixture, "variants", 1, "lift")) &&
              number(fixture, "variants", 1, "lift_low") > 0);
  assert_true(number(fixture, "variants", 1, "rate") == 1);
  fixture->experiment.control = 1;
  judge(fixture);
  says(fixture, "a does worse than b: the rate is at least ");
  assert_true(number(fixture, "variants", 1, "lift") == -1);
}

static void test_unsettled_users_have_no_rate_but_count_in_the_test(void **state) {
  struct fixture *fixture = *state;
  came(fixture, "a", even, 3000, 30, NOW - DAY);
  came(fixture, "b", even, 3000, 120, NOW - DAY);
  judge(fixture);
  assert_true(number(fixture, "variants", 0, "settled") == 0 &&
              isnan(number(fixture, "variants", 0, "rate")));
  says(fixture, "b does better than a");
  came(fixture, "a", even, 10, 5, NOW - DAY - 1);
  judge(fixture);
  assert_true(number(fixture, "variants", 0, "rate") == 0.5);
}

/** As declared, whoever came first; what nothing declares any more is last. */
static void test_order(void **state) {
  static const char *const names[] = {"a", "b", "gone"};
  struct fixture *fixture = *state;
  came(fixture, "gone", even, 1, 0, NOW);
  came(fixture, "b", even, 1, 0, NOW);
  came(fixture, "a", even, 1, 0, NOW);
  judge(fixture);
  for (int i = 0; i < 3; i++)
    assert_true(str_equal(value_head(arm(fixture, "variants", i, "variant")).string, str_from(names[i])));
}

/** Weights that changed meanwhile do not look like a difference, nor like a mismatch; taken together they
 * would (Simpson's paradox). */
static void test_changed_weights(void **state) {
  struct fixture *fixture = *state;
  const int mostly_b[] = {100000, 900000, 0};
  came(fixture, "a", even, 5000, 500, NOW - 2 * DAY);
  came(fixture, "b", even, 5000, 500, NOW - 2 * DAY);
  came(fixture, "a", mostly_b, 1000, 20, NOW - 2 * DAY);
  came(fixture, "b", mostly_b, 9000, 180, NOW - 2 * DAY);
  judge(fixture);
  says(fixture, "no difference is sure yet");
  assert_true(number(fixture, "variants", 1, "p") > 0.5);
}

static void test_mismatch(void **state) {
  struct fixture *fixture = *state;
  came(fixture, "a", even, 5000, 250, NOW - 2 * DAY);
  came(fixture, "b", even, 4500, 250, NOW - 2 * DAY);
  judge(fixture);
  says(fixture, "users did not come into the variants in their shares");
}

static void test_holdout(void **state) {
  struct fixture *fixture = *state;
  const int held[] = {450000, 450000, 100000};
  came(fixture, "a", held, 9000, 900, NOW - 2 * DAY);
  came(fixture, "b", held, 9000, 900, NOW - 2 * DAY);
  came(fixture, "*holdout", held, 2000, 80, NOW - 2 * DAY);
  judge(fixture);
  says(fixture, "who was not held out does better than who was held out");
  assert_true(number(fixture, "holdout", 0, "lift") > 1.2 && number(fixture, "holdout", 0, "p") < 0.001);
  assert_true(fabs(number(fixture, "holdout", 0, "share") - 0.1) < 1e-9);
}

static void test_weighing(void **state) {
  struct fixture *fixture = *state;
  struct buf weights = {0};
  double a, b;
  struct str found;
  for (int round = 0; round < 2; round++) {
    buf_clear(&weights);
    experiment_weigh(fixture->tally, &fixture->experiment, &weights);
    assert_true(value_member(buf_str(&weights), STR("a"), &found) && value_as_number(found, &a));
    assert_true(value_member(buf_str(&weights), STR("b"), &found) && value_as_number(found, &b));
    assert_true(fabs(a + b - EXPERIMENT_ALL) <= 1);
    if (round == 0) assert_true(fabs(a - b) <= 1);
    if (round == 1) assert_true(a >= 0.0099 * EXPERIMENT_ALL && a < 0.011 * EXPERIMENT_ALL);
    came(fixture, "a", even, 1000, 30, NOW - 2 * DAY);
    came(fixture, "b", even, 1000, 90, NOW - 2 * DAY);
  }
  buf_deinit(&weights);
}

int main(void) {
#define RESULT(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_shares_grow_by_adding),
      cmocka_unit_test(test_choices_are_independent),
      cmocka_unit_test(test_host_holdout),
      cmocka_unit_test(test_weights_that_were_drawn),
      cmocka_unit_test(test_the_hash_is_as_good_as_chance),
      RESULT(test_verdicts),
      RESULT(test_extremes),
      RESULT(test_unsettled_users_have_no_rate_but_count_in_the_test),
      RESULT(test_order),
      RESULT(test_changed_weights),
      RESULT(test_mismatch),
      RESULT(test_holdout),
      RESULT(test_weighing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
