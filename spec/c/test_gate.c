// links: base config event state gate
#include "gate/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { RECORD_MAX = 64 << 10 };
#define DAY 86400000LL
/** 2026-11-20 09:12:05 UTC. */
#define NOW 1795165925000LL

struct fixture {
  struct config *config;
  struct record record;
  struct draft draft;
  struct message message;
  struct verdict verdict;
  struct buf checks;
};

static int set_up(void **state) {
  static struct fixture fixture;
  fixture = (struct fixture){0};
  fixture.config = config_defaults();
  record_init(&fixture.record);
  draft_init(&fixture.draft, RECORD_MAX);
  draft_begin(&fixture.draft, &fixture.record);
  fixture.message = (struct message){.user = {ENTITY_USER, STR("ada")},
                                     .campaign = STR("cart"),
                                     .channel = STR("email"),
                                     .provider = STR("elsewhere"),
                                     .to = STR("ada@b.example"),
                                     .at = NOW,
                                     .accepted = NOW};
  *state = &fixture;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *fixture = *state;
  buf_deinit(&fixture->checks);
  draft_deinit(&fixture->draft);
  record_deinit(&fixture->record);
  config_free(fixture->config);
  return 0;
}

static void ask(struct fixture *fixture, int64_t now, int64_t wall) {
  struct gate_question question = {.record = &fixture->record,
                                   .message = &fixture->message,
                                   .config = fixture->config,
                                   .purpose = config_purpose(fixture->config, fixture->message.purpose),
                                   .now = now,
                                   .wall = wall};
  gate_judge(&question, &fixture->verdict, &fixture->checks);
  assert_true(value_valid(fixture->verdict.checks));
  assert_int_equal(fixture->verdict.pass, fixture->verdict.reason.len == 0);
}

/** Reserve for this message, as of its own time. */
static int reserve(struct fixture *fixture, struct message *message) {
  struct gate_question question = {.record = &fixture->record,
                                   .message = message,
                                   .config = fixture->config,
                                   .now = message->at,
                                   .wall = message->accepted};
  return gate_reserve(&fixture->draft, &question, NULL);
}

static void expect(struct fixture *fixture, const char *reason, const char *checks) {
  if (!str_equal(fixture->verdict.reason, str_from(reason)))
    fail_msg("reason %.*s, expected %s", STR_ARG(fixture->verdict.reason), reason);
  struct buf json = {0};
  value_to_json(fixture->verdict.checks, &json);
  if (!str_equal(buf_str(&json), str_from(checks)))
    fail_msg("found    %.*s\nexpected %s", STR_ARG(buf_str(&json)), checks);
  buf_deinit(&json);
}

static void test_pass(void **state) {
  struct fixture *fixture = *state;
  ask(fixture, NOW, NOW);
  expect(fixture, "",
         "{\"address\":\"there is an address\",\"suppressed\":\"not suppressed\",\"consent\":\"none "
         "needed\",\"once_per\":\"not "
         "limited\",\"expired\":\"does not expire\",\"quiet_hours\":\"none\",\"cap\":\"none\"}");
}

static void test_address(void **state) {
  struct fixture *fixture = *state;
  fixture->message.to = STR("");
  ask(fixture, NOW, NOW);
  expect(fixture, "address", "{\"address\":\"no address for email is known\"}");
  fixture->message.provider = STR("files");
  ask(fixture, NOW, NOW);
  assert_true(fixture->verdict.pass);
}

static void suppress(struct fixture *fixture, enum effect_type type, const char *channel) {
  struct effect effect = {.type = type, .suppress = {str_from(channel), STR("complained"), NOW - DAY}};
  assert_int_equal(draft_add(&fixture->draft, &effect, NULL), 0);
}

static void test_suppressed(void **state) {
  struct fixture *fixture = *state;
  suppress(fixture, EFFECT_SUPPRESS, "sms");
  ask(fixture, NOW, NOW);
  assert_true(fixture->verdict.pass);
  suppress(fixture, EFFECT_SUPPRESS, "email");
  ask(fixture, NOW, NOW);
  expect(fixture, "suppressed",
         "{\"address\":\"there is an address\",\"suppressed\":\"email suppressed since 2026-11-19 09:12:05 "
         "UTC: complained\"}");
  suppress(fixture, EFFECT_UNSUPPRESS, "email");
  ask(fixture, NOW, NOW);
  assert_true(fixture->verdict.pass);
  suppress(fixture, EFFECT_SUPPRESS, "*");
  ask(fixture, NOW, NOW);
  expect(fixture, "suppressed",
         "{\"address\":\"there is an address\",\"suppressed\":\"every channel is suppressed since 2026-11-19 "
         "09:12:05 UTC: complained\"}");
}

static void test_expired(void **state) {
  struct fixture *fixture = *state;
  fixture->message.expires = NOW;
  ask(fixture, NOW - DAY, NOW - 1);
  assert_true(fixture->verdict.pass);
  ask(fixture, NOW - DAY, NOW);
  assert_true(str_equal(fixture->verdict.reason, STR("expired")));
  struct str text;
  assert_true(value_member(fixture->verdict.checks, STR("expired"), &text));
  assert_true(str_equal(value_head(text).string,
                        STR("expired 2026-11-20 09:12:05 UTC, asked 2026-11-20 09:12:05 UTC")));
}

static void limit(struct fixture *fixture, int64_t at) {
  fixture->message.at = at;
  fixture->message.once_key = 77;
  fixture->message.once_until = at + 7 * DAY;
}

static void test_once_per(void **state) {
  struct fixture *fixture = *state;
  limit(fixture, NOW);
  ask(fixture, NOW, NOW);
  expect(fixture, "",
         "{\"address\":\"there is an address\",\"suppressed\":\"not suppressed\",\"consent\":\"none "
         "needed\",\"once_per\":\"none before "
         "it stands\",\"expired\":\"does not expire\",\"quiet_hours\":\"none\",\"cap\":\"none\"}");
  assert_int_equal(reserve(fixture, &fixture->message), 0);
  struct message first = fixture->message;
  limit(fixture, NOW + 1);
  ask(fixture, NOW + 1, NOW + 1);
  expect(fixture, "once_per",
         "{\"address\":\"there is an address\",\"suppressed\":\"not suppressed\",\"consent\":\"none "
         "needed\",\"once_per\":\"once in 7d, "
         "and one was decided before: again from "
         "2026-11-27 09:12:05 UTC\"}");
  // The boundary: a mark until T stands before T, not at T.
  limit(fixture, NOW + 7 * DAY - 1);
  ask(fixture, NOW + 7 * DAY - 1, NOW);
  assert_false(fixture->verdict.pass);
  limit(fixture, NOW + 7 * DAY);
  ask(fixture, NOW + 7 * DAY, NOW);
  assert_true(fixture->verdict.pass);
  // The first one is given back: the next may go at once.
  assert_int_equal(gate_refund(&fixture->draft, &first, NULL), 0);
  limit(fixture, NOW + 1);
  ask(fixture, NOW + 1, NOW + 1);
  assert_true(fixture->verdict.pass);
}

static void test_refund_is_only_of_ones_own(void **state) {
  struct fixture *fixture = *state;
  limit(fixture, NOW);
  struct message first = fixture->message;
  assert_int_equal(reserve(fixture, &first), 0);
  limit(fixture, NOW + 8 * DAY);
  assert_int_equal(reserve(fixture, &fixture->message), 0);
  size_t effects = fixture->draft.effects.len;
  assert_int_equal(gate_refund(&fixture->draft, &first, NULL), 0);
  assert_int_equal(fixture->draft.effects.len, effects);
  int64_t until;
  assert_true(record_once(&fixture->record, 77, NOW + 8 * DAY, &until));
  assert_int_equal(until, NOW + 15 * DAY);
  // A message without a mark has nothing to give back.
  first.once_key = 0;
  assert_int_equal(gate_refund(&fixture->draft, &first, NULL), 0);
  assert_int_equal(reserve(fixture, &first), 0);
  assert_int_equal(fixture->draft.effects.len, effects);
}

static void test_long_reasons_stay_text(void **state) {
  struct fixture *fixture = *state;
  char channel[200], reason[200];
  for (int shift = 0; shift < 4; shift++) {
    for (size_t i = 0; i < sizeof channel; i += 2) memcpy(channel + i, "é", 2);
    memset(reason, 'r', sizeof reason);
    struct effect effect = {
        .type = EFFECT_SUPPRESS,
        .suppress = {{channel + 2 * shift, 100}, {reason, sizeof reason - (size_t)shift}, NOW}};
    assert_int_equal(draft_add(&fixture->draft, &effect, NULL), 0);
    fixture->message.channel = effect.suppress.channel;
    fixture->message.to = shift % 2 ? STR("") : STR("x");
    ask(fixture, NOW, NOW);
    assert_false(fixture->verdict.pass);
  }
}

/** Said only where somebody is held out; what is transactional is not concerned. */
static void test_holdout(void **state) {
  struct fixture *fixture = *state;
  struct gate_question question = {.record = &fixture->record,
                                   .message = &fixture->message,
                                   .config = fixture->config,
                                   .purpose = config_purpose(fixture->config, STR("marketing")),
                                   .now = NOW,
                                   .wall = NOW,
                                   .held_out = "held out by a test"};
  struct str answer;
  gate_judge(&question, &fixture->verdict, &fixture->checks);
  assert_true(!fixture->verdict.pass && str_equal(fixture->verdict.reason, STR("holdout")));
  assert_true(value_member(fixture->verdict.checks, STR("holdout"), &answer));
  assert_true(str_equal(value_head(answer).string, STR("held out by a test")));
  assert_false(value_member(fixture->verdict.checks, STR("once_per"), &answer)); // nothing more is asked
  question.purpose = config_purpose(fixture->config, STR("transactional"));
  gate_judge(&question, &fixture->verdict, &fixture->checks);
  assert_true(fixture->verdict.pass);
  question.purpose = config_purpose(fixture->config, STR("marketing"));
  question.held_out = NULL;
  gate_judge(&question, &fixture->verdict, &fixture->checks);
  assert_true(fixture->verdict.pass && !value_member(fixture->verdict.checks, STR("holdout"), &answer));
  fixture->config->holdout.share.hundredths = QUANTITY_ALL;
  gate_judge(&question, &fixture->verdict, &fixture->checks);
  assert_true(str_equal(fixture->verdict.reason, STR("holdout")));
  fixture->config->holdout.since.at = NOW + 1;
  gate_judge(&question, &fixture->verdict, &fixture->checks);
  assert_true(fixture->verdict.pass && value_member(fixture->verdict.checks, STR("holdout"), &answer));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_pass, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_address, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_suppressed, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_expired, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_once_per, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_refund_is_only_of_ones_own, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_long_reasons_stay_text, set_up, tear_down),
      cmocka_unit_test_setup_teardown(test_holdout, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
