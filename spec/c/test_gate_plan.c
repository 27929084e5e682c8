// links: base config event state gate
/* Caps and quiet hours: when a message may go, in words and to the millisecond. */
#include "base/memory.h"
#include "gate/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "random.h"

enum { RECORD_MAX = 64 << 10 };
#define MINUTE 60000LL
#define HOUR   3600000LL
#define DAY    86400000LL

struct world {
  struct config *config;
  struct record record;
  struct draft draft;
  struct buf checks;
  struct message message;
  struct verdict verdict;
};

static void world_init(struct world *world, const char *yaml) {
  struct config_report report;
  *world = (struct world){0};
  config_report_init(&report);
  if (config_parse(&world->config, str_from(yaml), "test.yaml", &report)) {
    struct buf text = {0};
    config_report_write(&report, &text);
    fail_msg("%.*s", STR_ARG(buf_str(&text)));
  }
  config_report_deinit(&report);
  record_init(&world->record);
  draft_init(&world->draft, RECORD_MAX);
  draft_begin(&world->draft, &world->record);
}

static void world_deinit(struct world *world) {
  buf_deinit(&world->checks);
  draft_deinit(&world->draft);
  record_deinit(&world->record);
  config_free(world->config);
}

/** The moment in UTC, or in the zone that the text names. */
static int64_t moment(const char *text) {
  int64_t ms;
  struct error err = {0};
  if (zone_parse_moment(str_from(text), zone_utc(), &ms, &err)) fail_msg("%s", err.message);
  return ms;
}

static void live_in(struct world *world, const char *zone) {
  struct buf value = {0};
  value_put_string(&value, str_from(zone));
  struct effect effect = {.type = EFFECT_ATTRIBUTE, .attribute = {STR("time_zone"), buf_str(&value)}};
  assert_int_equal(draft_add(&world->draft, &effect, NULL), 0);
  buf_deinit(&value);
}

static struct gate_question question_of(struct world *world, int64_t wall) {
  return (struct gate_question){.record = &world->record,
                                .message = &world->message,
                                .config = world->config,
                                .purpose = config_purpose(world->config, world->message.purpose),
                                .now = wall - DAY, // the rule's now is of no account here
                                .wall = wall};
}

/** Ask for a message. @return the check that refused it, "" if it passed. */
static const char *ask(struct world *world, const char *purpose, int64_t wall) {
  static char reason[32];
  world->message =
      (struct message){.user = {ENTITY_USER, STR("ada")},
                       .campaign = STR("cart"),
                       .channel = world->message.channel.len ? world->message.channel : STR("push"),
                       .provider = STR("files"),
                       .purpose = str_from(purpose),
                       .cap = world->message.cap,
                       .on_cap = world->message.on_cap,
                       .expires = world->message.expires,
                       .at = wall - DAY,
                       .accepted = wall};
  struct gate_question question = question_of(world, wall);
  gate_judge(&question, &world->verdict, &world->checks);
  assert_true(value_valid(world->verdict.checks));
  snprintf(reason, sizeof reason, "%.*s", STR_ARG(world->verdict.reason));
  return reason;
}

/** Ask, and reserve if it passes. @return when it goes; 0 if it does not. */
static int64_t send(struct world *world, const char *purpose, int64_t wall) {
  ask(world, purpose, wall);
  if (!world->verdict.pass) return 0;
  struct gate_question question = question_of(world, wall);
  assert_int_equal(gate_reserve(&world->draft, &question, NULL), 0);
  return message_counted_at(&world->message);
}

static void expect_text(struct world *world, const char *check, const char *expected) {
  struct str found;
  if (!value_member(world->verdict.checks, str_from(check), &found)) fail_msg("%s was not asked", check);
  struct str text = value_head(found).string;
  if (!str_equal(text, str_from(expected))) fail_msg("found    %.*s\nexpected %s", STR_ARG(text), expected);
}

static void expect_moment(int64_t found, int64_t expected) {
  if (found != expected)
    fail_msg("%lld, %+lld s from what was expected", (long long)found, (long long)(found - expected) / 1000);
}

/* ---- caps ---- */

static void test_rolling_caps_are_exact(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, caps: [2/7d]}]\n");
  int64_t t = moment("2026-11-20 09:12:05");
  assert_int_equal(send(&world, "offers", t), t);
  expect_text(&world, "cap", "offers 2 in 7d: none sent, 2 left");
  assert_int_equal(send(&world, "offers", t + DAY), t + DAY);
  expect_text(&world, "cap", "offers 2 in 7d: 1 sent since 2026-11-20 09:12:05 UTC, 1 left");
  assert_string_equal(ask(&world, "offers", t + DAY), "cap");
  expect_text(
      &world, "cap",
      "offers 2 in 7d: 2 sent since 2026-11-20 09:12:05 UTC, 0 left; room from 2026-11-27 09:12:05 UTC");
  // To the millisecond: in (now - 7d, now] two are two.
  assert_string_equal(ask(&world, "offers", t + 7 * DAY - 1), "cap");
  assert_int_equal(send(&world, "offers", t + 7 * DAY), t + 7 * DAY);
  assert_string_equal(ask(&world, "offers", t + 8 * DAY - 1), "cap");
  assert_string_equal(ask(&world, "offers", t + 8 * DAY), "");
  // Another purpose is not counted, nor is what is transactional.
  assert_string_equal(ask(&world, "marketing", t + 7 * DAY), "");
  assert_string_equal(ask(&world, "transactional", t + 7 * DAY), "");
  expect_text(&world, "cap", "transactional: not counted");
  world_deinit(&world);
}

static void test_what_lies_ahead_of_the_clock_counts(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, caps: [1/1d]}]\n");
  int64_t t = moment("2026-11-20 09:00");
  assert_int_equal(send(&world, "offers", t), t);
  assert_string_equal(ask(&world, "offers", t - HOUR), "cap");
  expect_text(&world, "cap",
              "offers 1 in 1d: 1 by 2026-11-20 09:00:00 UTC with what is deferred, 0 left; room from "
              "2026-11-21 09:00:00 UTC");
  assert_string_equal(ask(&world, "offers", t - DAY + 1), "cap");
  assert_string_equal(ask(&world, "offers", t - DAY), "");
  world_deinit(&world);
}

static void test_calendar_caps_go_by_the_users_midnight(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, caps: [\"1/1d calendar\"]}]\n");
  live_in(&world, "Europe/Berlin");
  int64_t midnight = moment("2026-11-21 00:00 Europe/Berlin");
  assert_true(send(&world, "offers", midnight - 1) > 0);
  expect_text(&world, "cap", "offers 1 a calendar day Europe/Berlin: none sent, 1 left");
  assert_string_equal(ask(&world, "offers", midnight - 1), "cap");
  expect_text(&world, "cap",
              "offers 1 a calendar day Europe/Berlin: 1 sent since 2026-11-20 22:59:59 UTC, 0 left; room "
              "from 2026-11-20 "
              "23:00:00 UTC");
  assert_true(send(&world, "offers", midnight) > 0);
  assert_string_equal(ask(&world, "offers", midnight + DAY - 1), "cap");
  assert_string_equal(ask(&world, "offers", midnight + DAY), "");
  world_deinit(&world);
}

static void test_days_on_which_clocks_are_set(void **state) {
  (void)state;
  static const struct {
    const char *zone, *day, *next;
    int64_t length;
  } days[] = {
      {"Europe/Berlin", "2026-03-29 Europe/Berlin", "2026-03-30 Europe/Berlin", 23 * HOUR},
      {"Europe/Berlin", "2026-10-25 Europe/Berlin", "2026-10-26 Europe/Berlin", 25 * HOUR},
      {"America/New_York", "2026-03-08 America/New_York", "2026-03-09 America/New_York", 23 * HOUR},
      {"America/New_York", "2026-11-01 America/New_York", "2026-11-02 America/New_York", 25 * HOUR},
      {"Australia/Lord_Howe", "2026-04-05 Australia/Lord_Howe", "2026-04-06 Australia/Lord_Howe",
       24 * HOUR + 30 * MINUTE},
      {"Australia/Lord_Howe", "2026-10-04 Australia/Lord_Howe", "2026-10-05 Australia/Lord_Howe",
       23 * HOUR + 30 * MINUTE},
      // Midnight itself is skipped.
      {"Africa/Cairo", "2026-04-24 Africa/Cairo", "2026-04-25 Africa/Cairo", 23 * HOUR},
  };
  for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
    struct world world;
    world_init(&world, "purposes: [{name: offers, caps: [\"1/1d calendar\"]}]\n");
    live_in(&world, days[i].zone);
    int64_t start = moment(days[i].day), end = moment(days[i].next);
    assert_int_equal(end - start, days[i].length);
    assert_true(send(&world, "offers", start) > 0);
    assert_string_equal(ask(&world, "offers", end - 1), "cap");
    assert_true(send(&world, "offers", end) > 0);
    assert_string_equal(ask(&world, "offers", start - 1), "");
    world_deinit(&world);
  }
}

static void test_weeks_and_months(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: weekly, caps: [\"1/1w calendar\"]}, {name: monthly, caps: "
                     "[\"1/1month calendar\"]}]\n");
  // 2026-11-22 is a Sunday.
  assert_true(send(&world, "weekly", moment("2026-11-22 23:59:59.999")) > 0);
  assert_string_equal(ask(&world, "weekly", moment("2026-11-16 00:00")), "cap");
  assert_string_equal(ask(&world, "weekly", moment("2026-11-15 23:59:59.999")), "");
  assert_string_equal(ask(&world, "weekly", moment("2026-11-23 00:00")), "");
  assert_true(send(&world, "monthly", moment("2026-12-31 23:59:59.999")) > 0);
  assert_string_equal(ask(&world, "monthly", moment("2026-12-01 00:00")), "cap");
  assert_string_equal(ask(&world, "monthly", moment("2026-11-30 23:59:59.999")), "");
  assert_true(send(&world, "monthly", moment("2027-01-01 00:00")) > 0);
  expect_text(&world, "cap", "monthly 1 a calendar month UTC: none sent, 1 left");
  // Kept as long as the longest month.
  assert_string_equal(ask(&world, "monthly", moment("2027-01-31 23:59:59.999")), "cap");
  world_deinit(&world);
}

static void test_all_caps_hold(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "caps: [3/7d]\npurposes: [{name: offers, caps: [1/1d, 5/30d]}]\n");
  int64_t t = moment("2026-11-20 09:00");
  world.message.cap = (struct cap){2, CAP_ROLLING, 30 * DAY};
  assert_true(send(&world, "offers", t) > 0);
  expect_text(&world, "cap",
              "all purposes 3 in 7d: none sent, 3 left; offers 1 in 1d: none sent, 1 left; offers 5 in 30d: "
              "none sent, 5 "
              "left; this campaign 2 in 30d: none sent, 2 left");
  assert_int_equal(world.message.reserved, MESSAGE_COUNTERS);
  assert_string_equal(ask(&world, "offers", t + HOUR), "cap");
  world.message.cap = (struct cap){0};
  assert_true(send(&world, "marketing", t + HOUR) > 0);
  assert_true(send(&world, "marketing", t + 2 * HOUR) > 0);
  assert_string_equal(ask(&world, "marketing", t + 3 * HOUR), "cap"); // of all purposes
  assert_string_equal(ask(&world, "transactional", t + 3 * HOUR), "");
  world.message.cap = (struct cap){2, CAP_ROLLING, 30 * DAY};
  assert_true(send(&world, "offers", t + 8 * DAY) > 0);
  assert_string_equal(ask(&world, "offers", t + 10 * DAY), "cap"); // its own
  world.message.cap = (struct cap){0};
  assert_string_equal(ask(&world, "offers", t + 10 * DAY), "");
  world_deinit(&world);
}

static void test_zero_lets_none_pass(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, caps: [0/1d], on_cap: defer}, {name: never, caps: "
                     "[\"0/1month calendar\"]}]\n");
  int64_t t = moment("2026-11-20 09:00");
  assert_string_equal(ask(&world, "offers", t), "cap");
  expect_text(&world, "cap", "offers 0 in 1d: none may pass");
  assert_string_equal(ask(&world, "never", t), "cap");
  world.message.cap = (struct cap){0, CAP_ROLLING, DAY};
  assert_string_equal(ask(&world, "marketing", t), "cap");
  world.message.on_cap = MESSAGE_ON_CAP_DEFER;
  assert_string_equal(ask(&world, "marketing", t), "cap");
  world_deinit(&world);
}

static void test_defer_waits_for_room(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, caps: [2/1d], on_cap: defer}]\n");
  int64_t t = moment("2026-11-20 09:00");
  expect_moment(send(&world, "offers", t), t);
  expect_moment(send(&world, "offers", t + HOUR), t + HOUR);
  // One after the other, each where there is room again.
  expect_moment(send(&world, "offers", t + 2 * HOUR), t + DAY);
  expect_text(
      &world, "cap",
      "offers 2 in 1d: 2 sent since 2026-11-20 09:00:00 UTC, 0 left; room from 2026-11-21 09:00:00 UTC");
  expect_text(&world, "goes", "2026-11-21 09:00 UTC");
  expect_moment(send(&world, "offers", t + 2 * HOUR), t + DAY + HOUR);
  expect_moment(send(&world, "offers", t + 2 * HOUR), t + 2 * DAY);
  // What waits counts: in the day that ends with it, no third one.
  assert_int_equal(world.message.not_before, t + 2 * DAY);
  world.message.on_cap = MESSAGE_ON_CAP_SKIP;
  assert_string_equal(ask(&world, "offers", t + 25 * HOUR + 1), "cap");
  // A send may say otherwise than its purpose, and the other way round.
  world.message.on_cap = MESSAGE_ON_CAP_AS_PURPOSE;
  expect_moment(send(&world, "offers", t + 25 * HOUR + 1), t + 2 * DAY + HOUR);
  world_deinit(&world);
}

static void test_a_place_between_those_to_come(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, caps: [1/1d], on_cap: defer}]\n");
  int64_t t = moment("2026-11-20 09:00");
  expect_moment(send(&world, "offers", t), t);
  expect_moment(send(&world, "offers", t + 1), t + DAY);
  expect_moment(send(&world, "offers", t + 2), t + 2 * DAY);
  struct message second = world.message;
  second.not_before = t + DAY;
  // The second ends without having been sent: its place is free, and is taken where it is.
  assert_int_equal(gate_refund(&world.draft, &second, NULL), 0);
  expect_moment(send(&world, "offers", t + 3), t + DAY);
  expect_moment(send(&world, "offers", t + 4), t + 3 * DAY);
  world_deinit(&world);
}

static void test_waiting_has_an_end(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "delivery: {defer_max: 2d}\npurposes: [{name: offers, caps: [1/1d], on_cap: defer}]\n");
  int64_t t = moment("2026-11-20 09:00");
  assert_true(send(&world, "offers", t) > 0);
  world.message.expires = t + DAY;
  assert_string_equal(ask(&world, "offers", t + 1), "cap");
  expect_text(&world, "cap",
              "offers 1 in 1d: 1 sent since 2026-11-20 09:00:00 UTC, 0 left; room from 2026-11-21 09:00:00 "
              "UTC, and it "
              "expires 2026-11-21 09:00:00 UTC");
  world.message.expires = t + DAY + 1;
  expect_moment(send(&world, "offers", t + 1), t + DAY);
  world.message.expires = 0;
  expect_moment(send(&world, "offers", t + 1), t + 2 * DAY);
  assert_string_equal(ask(&world, "offers", t + 2), "cap");
  expect_text(&world, "cap",
              "offers 1 in 1d: 1 sent since 2026-11-20 09:00:00 UTC, 0 left; room from 2026-11-23 09:00:00 "
              "UTC, longer than "
              "delivery.defer_max lets it wait");
  world_deinit(&world);
}

static void test_what_is_kept_is_bounded(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, caps: [100/1d], on_cap: defer}]\n");
  int64_t t = moment("2026-11-20 09:00");
  int sent = 0;
  while (send(&world, "offers", t + sent) > 0) sent++;
  assert_int_equal(sent, RECORD_COUNTED_MAX);
  assert_true(str_equal(world.verdict.reason, STR("cap")));
  expect_text(&world, "cap",
              "offers 100 in 1d: 250 are counted, most of them still to come: one more cannot be");
  assert_true(world.record.bytes.len < 1200);
  // There is room again as the old ones leave.
  assert_true(send(&world, "offers", t + DAY) > 0);
  world_deinit(&world);
}

/** Its first cap looked further back than the one it has now: what that kept decides nothing any more. */
static void test_a_full_counter_forgets_what_no_cap_asks_for(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers}]\n");
  int64_t t = moment("2026-11-20 09:00");
  world.message.cap = (struct cap){.count = 1, .period = CAP_ROLLING, .over_ms = 90 * DAY};
  assert_int_equal(send(&world, "offers", t), t);
  assert_string_equal(ask(&world, "offers", t + 89 * DAY), "cap");
  world.message.cap = (struct cap){.count = 10, .period = CAP_ROLLING, .over_ms = DAY};
  for (int i = 1; i < 2 * RECORD_COUNTED_MAX; i++) {
    int64_t at = t + i / 10 * DAY + i % 10 * HOUR;
    expect_moment(send(&world, "offers", at), at);
    if (i % 10 == 9) assert_string_equal(ask(&world, "offers", at), "cap");
  }
  assert_true(world.record.bytes.len < 1200);
  world_deinit(&world);
}

static void test_refunds(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "caps: [1/7d]\npurposes: [{name: offers, caps: [1/1d]}]\n");
  int64_t t = moment("2026-11-20 09:00");
  world.message.cap = (struct cap){1, CAP_ROLLING, DAY};
  assert_true(send(&world, "offers", t) > 0);
  struct message sent = world.message;
  assert_string_equal(ask(&world, "marketing", t + 1), "cap");
  assert_int_equal(gate_refund(&world.draft, &sent, NULL), 0);
  assert_int_equal(world.record.bytes.len, 0);
  assert_string_equal(ask(&world, "offers", t + 1), "");
  // An operator sends it again: it counts as it did.
  struct gate_question question = question_of(&world, t);
  question.message = &sent;
  question.purpose = config_purpose(world.config, STR("offers"));
  assert_int_equal(gate_reserve_again(&world.draft, &question, NULL), 0);
  int64_t times[RECORD_COUNTED_MAX];
  assert_int_equal(record_counted(&world.record, STR("*"), times), 1);
  assert_int_equal(record_counted(&world.record, STR("offers"), times), 1);
  assert_int_equal(record_counted(&world.record, STR("campaign cart"), times), 1);
  world_deinit(&world);
}

static void test_a_shadow_counts_for_itself_alone(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "caps: [1/1d]\npurposes: [{name: offers, caps: [1/1d]}]\n");
  int64_t t = moment("2026-11-20 09:00"), times[RECORD_COUNTED_MAX];
  world.message.cap = (struct cap){1, CAP_ROLLING, DAY};
  ask(&world, "offers", t);
  for (int i = 0; i < 2; i++) {
    struct gate_question question = question_of(&world, t);
    question.shadow = true;
    gate_judge(&question, &world.verdict, &world.checks);
    assert_int_equal(world.verdict.pass, i == 0);
    if (i == 0) assert_int_equal(gate_reserve(&world.draft, &question, NULL), 0);
  }
  assert_int_equal(record_counted(&world.record, STR("shadow cart"), times), 1);
  assert_int_equal(record_counted(&world.record, STR("offers"), times) +
                       record_counted(&world.record, STR("*"), times),
                   0);
  assert_string_equal(ask(&world, "offers", t), "");
  world_deinit(&world);
}

/* ---- quiet hours ---- */

static void test_quiet_hours_at_their_edges(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, quiet_hours: \"21:00-08:00\"}, {name: lunch, quiet_hours: "
                     "\"12:00-13:30\"}]\n");
  live_in(&world, "Europe/Berlin");
  int64_t evening = moment("2026-11-22 21:00 Europe/Berlin"),
          morning = moment("2026-11-23 08:00 Europe/Berlin");
  expect_moment(send(&world, "offers", evening - 1), evening - 1);
  expect_text(&world, "quiet_hours", "not now: it is 20:59 Europe/Berlin");
  expect_moment(send(&world, "offers", evening), morning);
  expect_moment(send(&world, "offers", evening + 2 * HOUR + 10 * MINUTE + 12345), morning);
  expect_text(&world, "quiet_hours",
              "21:00-08:00 Europe/Berlin: it is 23:10 there; not before 2026-11-23 08:00");
  expect_text(&world, "goes", "2026-11-23 08:00 Europe/Berlin");
  expect_moment(send(&world, "offers", morning - 1), morning);
  expect_moment(send(&world, "offers", morning), morning);
  assert_int_equal(world.message.not_before, 0);
  int64_t noon = moment("2026-11-22 12:00 Europe/Berlin");
  expect_moment(send(&world, "lunch", noon - 1), noon - 1);
  expect_moment(send(&world, "lunch", noon), noon + 90 * MINUTE);
  expect_moment(send(&world, "lunch", noon + 90 * MINUTE), noon + 90 * MINUTE);
  expect_moment(send(&world, "transactional", evening), evening);
  expect_text(&world, "quiet_hours", "transactional: at any hour");
  world_deinit(&world);
}

static void test_quiet_hours_of_a_channel(void **state) {
  (void)state;
  struct world world;
  world_init(
      &world,
      "quiet_hours: {sms: \"20:00-09:00\"}\npurposes: [{name: offers, quiet_hours: \"21:00-08:00\"}]\n");
  int64_t evening = moment("2026-11-22 20:30");
  expect_moment(send(&world, "offers", evening), evening);
  world.message.channel = STR("sms");
  world.message.provider = STR("files");
  expect_moment(send(&world, "offers", evening), moment("2026-11-23 09:00"));
  expect_moment(send(&world, "offers", moment("2026-11-22 22:00")), moment("2026-11-23 09:00"));
  expect_moment(send(&world, "marketing", evening), moment("2026-11-23 09:00"));
  expect_moment(send(&world, "transactional", evening), evening);
  world_deinit(&world);
}

static void test_a_zone_that_does_not_exist(void **state) {
  (void)state;
  struct world world;
  world_init(&world,
             "time_zone: America/New_York\npurposes: [{name: offers, quiet_hours: \"21:00-08:00\"}]\n");
  int64_t t = moment("2026-11-22 03:00"); // 22:00 the day before
  expect_moment(send(&world, "offers", t), moment("2026-11-22 13:00"));
  expect_text(&world, "quiet_hours",
              "21:00-08:00 America/New_York: it is 22:00 there; not before 2026-11-22 08:00");
  live_in(&world, "Mars/Olympus");
  expect_moment(send(&world, "offers", t), moment("2026-11-22 13:00"));
  expect_text(&world, "quiet_hours",
              "21:00-08:00 America/New_York (the user's time_zone, Mars/Olympus, is not known): it is 22:00 "
              "there; not before "
              "2026-11-22 08:00");
  live_in(&world, "Asia/Tokyo");
  expect_moment(send(&world, "offers", t), t);
  world_deinit(&world);
}

/** Asked at each of these moments, the message goes then. */
static void test_nights_on_which_clocks_are_set(void **state) {
  (void)state;
  static const struct {
    const char *zone, *hours, *asked, *goes;
  } nights[] = {
      // Put forward: the night is an hour shorter, its end is where the clock says so.
      {"Europe/Berlin", "21:00-08:00", "2026-03-28T20:30:00Z", "2026-03-29T06:00:00Z"},
      {"America/New_York", "21:00-08:00", "2026-03-08T04:00:00Z", "2026-03-08T12:00:00Z"},
      {"Australia/Lord_Howe", "21:00-08:00", "2026-10-03T12:00:00Z", "2026-10-03T21:00:00Z"},
      // Put back: an hour longer.
      {"Europe/Berlin", "21:00-08:00", "2026-10-24T20:30:00Z", "2026-10-25T07:00:00Z"},
      {"America/New_York", "21:00-08:00", "2026-11-01T03:00:00Z", "2026-11-01T13:00:00Z"},
      {"Australia/Lord_Howe", "21:00-08:00", "2026-04-04T12:00:00Z", "2026-04-04T21:30:00Z"},
      // The end itself is skipped: they end with the jump, at 03:00, at 03:00, at 02:30.
      {"Europe/Berlin", "21:00-02:30", "2026-03-28T23:00:00Z", "2026-03-29T01:00:00Z"},
      {"America/New_York", "21:00-02:15", "2026-03-08T05:00:00Z", "2026-03-08T07:00:00Z"},
      {"Australia/Lord_Howe", "21:00-02:10", "2026-10-03T13:00:00Z", "2026-10-03T15:30:00Z"},
      // The end comes twice: the first time ends it …
      {"Europe/Berlin", "21:00-02:30", "2026-10-24T22:00:00Z", "2026-10-25T00:30:00Z"},
      {"Europe/Berlin", "21:00-02:30", "2026-10-25T00:30:00Z", "2026-10-25T00:30:00Z"},
      // … and what is asked in the hour's second time waits for its second end.
      {"Europe/Berlin", "21:00-02:30", "2026-10-25T01:10:00Z", "2026-10-25T01:30:00Z"},
      {"America/New_York", "21:00-01:30", "2026-11-01T06:10:00Z", "2026-11-01T06:30:00Z"},
      {"Australia/Lord_Howe", "21:00-01:45", "2026-04-04T15:10:00Z", "2026-04-04T15:15:00Z"},
      // The beginning is skipped: quiet from the jump on.
      {"Europe/Berlin", "02:30-04:00", "2026-03-29T00:59:59Z", "2026-03-29T00:59:59Z"},
      {"Europe/Berlin", "02:30-04:00", "2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z"},
      // All of them lie in the gap: that night has none.
      {"Europe/Berlin", "02:10-02:50", "2026-03-29T00:59:59Z", "2026-03-29T00:59:59Z"},
      {"Europe/Berlin", "02:10-02:50", "2026-03-29T01:00:00Z", "2026-03-29T01:00:00Z"},
      // A whole day is skipped.
      {"Pacific/Apia", "21:00-08:00", "2011-12-30T09:00:00Z", "2011-12-30T18:00:00Z"},
      // Zones with offsets of quarters.
      {"Asia/Kathmandu", "21:00-08:00", "2026-11-22T16:00:00Z", "2026-11-23T02:15:00Z"},
  };
  for (size_t i = 0; i < sizeof nights / sizeof *nights; i++) {
    struct world world;
    char yaml[128];
    snprintf(yaml, sizeof yaml, "purposes: [{name: offers, quiet_hours: \"%s\"}]\n", nights[i].hours);
    world_init(&world, yaml);
    live_in(&world, nights[i].zone);
    int64_t goes = send(&world, "offers", moment(nights[i].asked));
    if (goes != moment(nights[i].goes))
      fail_msg("%s %s asked %s: %+lld min from %s", nights[i].zone, nights[i].hours, nights[i].asked,
               (long long)(goes - moment(nights[i].goes)) / MINUTE, nights[i].goes);
    world_deinit(&world);
  }
}

static void test_quiet_hours_may_skip(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, quiet_hours: \"21:00-08:00\", on_quiet: skip}, {name: news, "
                     "quiet_hours: \"21:00-08:00\"}]\n");
  int64_t t = moment("2026-11-22 23:10");
  assert_string_equal(ask(&world, "offers", t), "quiet_hours");
  expect_text(&world, "quiet_hours", "21:00-08:00 UTC: it is 23:10 there");
  // What would expire before their end is not deferred.
  world.message.expires = moment("2026-11-23 08:00");
  assert_string_equal(ask(&world, "news", t), "quiet_hours");
  expect_text(&world, "quiet_hours",
              "21:00-08:00 UTC: it is 23:10 there, quiet until 2026-11-23 08:00, and it expires 2026-11-23 "
              "08:00:00 UTC");
  world.message.expires++;
  assert_string_equal(ask(&world, "news", t), "");
  world_deinit(&world);
}

/* ---- both ---- */

static void test_caps_are_asked_as_of_when_it_goes(void **state) {
  (void)state;
  struct world world;
  world_init(
      &world,
      "purposes: [{name: offers, quiet_hours: \"21:00-08:00\", caps: [\"1/1d calendar\"], on_cap: defer}]\n");
  int64_t morning = moment("2026-11-23 08:00");
  assert_true(send(&world, "offers", moment("2026-11-22 10:00")) > 0);
  // At night: it goes in the morning, which is another day.
  expect_moment(send(&world, "offers", moment("2026-11-22 23:00")), morning);
  expect_text(&world, "cap", "offers 1 a calendar day UTC: none sent, 1 left");
  // The next: midnight has room, but that is a quiet hour.
  expect_moment(send(&world, "offers", moment("2026-11-22 23:00")), morning + DAY);
  expect_text(&world, "quiet_hours", "21:00-08:00 UTC: it is 23:00 there; not before 2026-11-23 08:00");
  expect_text(&world, "cap",
              "offers 1 a calendar day UTC: 1 sent since 2026-11-23 08:00:00 UTC, 0 left; room from "
              "2026-11-24 08:00:00 UTC");
  expect_text(&world, "goes", "2026-11-24 08:00 UTC");
  expect_moment(send(&world, "offers", moment("2026-11-22 12:00")), morning + 2 * DAY);
  world_deinit(&world);
}

static void test_room_in_quiet_hours_alone(void **state) {
  (void)state;
  struct world world;
  world_init(&world, "purposes: [{name: offers, quiet_hours: \"21:00-08:00\", on_quiet: skip, caps: [1/12h], "
                     "on_cap: defer}]\n");
  assert_true(send(&world, "offers", moment("2026-11-22 10:00")) > 0);
  assert_string_equal(ask(&world, "offers", moment("2026-11-22 11:00")), "quiet_hours");
  expect_text(&world, "quiet_hours", "a cap has room in them only: until 2026-11-23 08:00 UTC");
  world_deinit(&world);
}

/* ---- at random, against what the words say ---- */

struct moments {
  int64_t at[4000];
  size_t count;
};

static size_t brute_count(const struct moments *sent, int64_t after, int64_t until) {
  size_t count = 0;
  for (size_t i = 0; i < sent->count; i++) count += sent->at[i] > after && sent->at[i] <= until;
  return count;
}

/** Whether no span of the cap's has more than it allows. */
static bool brute_holds(const struct moments *sent, const struct cap *cap, const struct zone *zone) {
  for (size_t i = 0; i < sent->count; i++) {
    int64_t from = sent->at[i] - cap->over_ms, until = sent->at[i];
    if (cap->period == CAP_DAY) {
      from = zone_day_start(zone, until) - 1;
      until = zone_next_midnight(zone, until) - 1;
    }
    if (brute_count(sent, from, until) > cap->count) return false;
  }
  return true;
}

static bool fits_at(struct moments *sent, const struct config_purpose *purpose, const struct zone *zone,
                    int64_t at) {
  bool holds = true;
  struct civil civil;
  zone_civil(zone, at, &civil);
  if (purpose->quiet_hours.text &&
      hours_include(purpose->quiet_hours.hours, (unsigned)(civil.hour * 60 + civil.minute)))
    return false;
  sent->at[sent->count++] = at;
  for (uint32_t i = 0; i < purpose->caps.count; i++)
    holds &= brute_holds(sent, &purpose->caps.items[i], zone);
  sent->count--;
  return holds;
}

/** Messages asked for and taken back at random over some weeks in which clocks are set: caps hold in every
 * span, nothing goes in quiet hours, nothing waits longer than it must, and what is refused cannot go. */
static void test_at_random(void **state) {
  (void)state;
  static const char *const purposes[] = {
      "{name: offers, caps: [2/5h], on_cap: defer}",
      "{name: offers, caps: [\"2/1d calendar\"], on_cap: defer}",
      "{name: offers, caps: [1/3h, \"3/1d calendar\", 5/3d], on_cap: defer, quiet_hours: \"21:00-08:00\"}",
      "{name: offers, caps: [2/1d], quiet_hours: \"02:30-03:30\"}",
  };
  static const char *const starts[] = {"2026-03-20 Europe/Berlin", "2026-10-30 America/New_York",
                                       "2026-09-28 Australia/Lord_Howe", "2026-10-20 Europe/Berlin"};
  for (size_t round = 0; round < 4; round++) {
    struct world world;
    struct moments sent = {0};
    struct message kept[8];
    struct error err;
    const struct zone *zone;
    char yaml[256];
    snprintf(yaml, sizeof yaml, "delivery: {defer_max: 30d}\npurposes: [%s]\n", purposes[round]);
    world_init(&world, yaml);
    const char *name = strchr(starts[round], ' ') + 1;
    live_in(&world, name);
    assert_int_equal(zone_find(&zone, str_from(name), &err), 0);
    const struct config_purpose *purpose = config_purpose(world.config, STR("offers"));
    int64_t wall = moment(starts[round]);
    unsigned passed = 0, deferred = 0, refused = 0;
    seed = round + 1;
    for (int i = 0; i < 300; i++) {
      wall += between(0, 3) ? between(0, 90) * MINUTE : between(0, 2);
      // Some are taken back later.
      if (passed && between(0, 4) == 0) {
        struct message *back = &kept[(size_t)between(0, 7) % (passed < 8 ? passed : 8)];
        int64_t at = message_counted_at(back);
        assert_int_equal(gate_refund(&world.draft, back, NULL), 0);
        for (size_t at_index = 0; at_index < sent.count; at_index++)
          if (back->reserved && sent.at[at_index] == at) {
            sent.at[at_index] = sent.at[--sent.count];
            break;
          }
        back->reserved = 0;
      }
      int64_t goes = send(&world, "offers", wall);
      if (!goes) {
        assert_false(fits_at(&sent, purpose, zone, wall));
        refused++;
        continue;
      }
      assert_true(goes >= wall && fits_at(&sent, purpose, zone, goes));
      // Nothing before would have done, as far as a look each quarter of an hour can tell.
      for (int64_t early = wall; early < goes && early < wall + 4 * DAY; early += 15 * MINUTE)
        assert_false(fits_at(&sent, purpose, zone, early));
      if (goes > wall) assert_false(fits_at(&sent, purpose, zone, goes - 1));
      deferred += goes > wall;
      sent.at[sent.count++] = goes;
      kept[passed++ % 8] = world.message;
      buf_clear(&world.draft.effects);
      if (i % 50 == 0) record_tidy(&world.record, wall);
    }
    assert_true(passed > 20 && refused + deferred > 20);
    world_deinit(&world);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_rolling_caps_are_exact),
      cmocka_unit_test(test_what_lies_ahead_of_the_clock_counts),
      cmocka_unit_test(test_calendar_caps_go_by_the_users_midnight),
      cmocka_unit_test(test_days_on_which_clocks_are_set),
      cmocka_unit_test(test_weeks_and_months),
      cmocka_unit_test(test_all_caps_hold),
      cmocka_unit_test(test_zero_lets_none_pass),
      cmocka_unit_test(test_defer_waits_for_room),
      cmocka_unit_test(test_a_place_between_those_to_come),
      cmocka_unit_test(test_waiting_has_an_end),
      cmocka_unit_test(test_what_is_kept_is_bounded),
      cmocka_unit_test(test_a_full_counter_forgets_what_no_cap_asks_for),
      cmocka_unit_test(test_refunds),
      cmocka_unit_test(test_a_shadow_counts_for_itself_alone),
      cmocka_unit_test(test_quiet_hours_at_their_edges),
      cmocka_unit_test(test_quiet_hours_of_a_channel),
      cmocka_unit_test(test_a_zone_that_does_not_exist),
      cmocka_unit_test(test_nights_on_which_clocks_are_set),
      cmocka_unit_test(test_quiet_hours_may_skip),
      cmocka_unit_test(test_caps_are_asked_as_of_when_it_goes),
      cmocka_unit_test(test_room_in_quiet_hours_alone),
      cmocka_unit_test(test_at_random),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
