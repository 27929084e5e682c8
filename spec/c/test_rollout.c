// links: base config event state gate deliver engine
/* For whom and when a campaign runs: shares that only grow, and hours on the days on which clocks are
 * changed. */
#include "engine/rollout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

enum { USERS = 100000, MINUTE = 60000 };

static struct entity user(char text[16], int number) {
  snprintf(text, 16, "user-%d", number);
  return (struct entity){ENTITY_USER, str_from(text)};
}

/* ---- shares ---- */

static void test_share_text(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int share; /**< -1: refused, and `says` why */
    const char *says;
  } cases[] = {
      {"25%", 2500, 0},
      {"0%", 0, 0},
      {"100%", 10000, 0},
      {"100.00%", 10000, 0},
      {"0.01%", 1, 0},
      {"0.5%", 50, 0},
      {"33.33%", 3333, 0},
      {"", -1, "is no share of the users such as \"25%\" or \"0.5%\""},
      {"25", -1, "is no share"},
      {"%", -1, "is no share"},
      {".5%", -1, "is no share"},
      {"5.%", -1, "is no share"},
      {"25 %", -1, "is no share"},
      {"-1%", -1, "is no share"},
      {"25%%", -1, "is no share"},
      {"100.01%", -1, "is more than everybody, \"100%\""},
      {"101%", -1, "is more than everybody"},
      {"9999%", -1, "is more than everybody"},
      {"99999999999%", -1, "is no share"},
      {"0.001%", -1, "is finer than the smallest step, 0.01 %"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    uint32_t share = 77;
    struct error err = {0};
    int rc = quantity_share(str_from(cases[i].text), &share, &err);
    if (cases[i].share >= 0 && (rc || share != (uint32_t)cases[i].share))
      fail_msg("%s: %d %u %s", cases[i].text, rc, share, err.message);
    if (cases[i].share < 0 &&
        (rc != ERROR_INVALID || share != 77 || strncmp(err.message, cases[i].says, strlen(cases[i].says))))
      fail_msg("%s: %d %s", cases[i].text, rc, err.message);
  }
}

static void test_buckets_are_even(void **state) {
  (void)state;
  char text[16];
  static uint32_t tenths[10];
  memset(tenths, 0, sizeof tenths);
  for (int i = 0; i < USERS; i++) {
    uint32_t bucket = rollout_bucket(STR("welcome"), user(text, i));
    assert_true(bucket < ROLLOUT_ALL);
    tenths[bucket / 1000]++;
  }
  // 10,000 expected in each, with a standard deviation of 95.
  for (int i = 0; i < 10; i++) assert_in_range(tenths[i], 9500, 10500);
}

/** Whoever is in at a share is in at every larger one, and the share is about what it says. */
static void test_buckets_grow(void **state) {
  (void)state;
  char text[16];
  static const uint32_t shares[] = {0, 1, 500, 2500, 5000, 9999, 10000};
  uint32_t in[7] = {0};
  for (int i = 0; i < USERS; i++) {
    struct entity entity = user(text, i);
    uint32_t bucket = rollout_bucket(STR("welcome"), entity);
    assert_int_equal(bucket, rollout_bucket(STR("welcome"), entity));
    for (int j = 0; j < 7; j++) {
      in[j] += bucket < shares[j];
      if (j > 0 && bucket < shares[j - 1]) assert_true(bucket < shares[j]);
    }
  }
  assert_int_equal(in[0], 0);
  assert_in_range(in[2], 4700, 5300);
  assert_in_range(in[3], 24500, 25500);
  assert_int_equal(in[6], USERS);
}

/** Of those in a tenth of one campaign, a tenth is in a tenth of another. */
static void test_buckets_are_independent(void **state) {
  (void)state;
  char text[16];
  int both = 0, first = 0;
  for (int i = 0; i < USERS; i++) {
    struct entity entity = user(text, i);
    if (rollout_bucket(STR("welcome"), entity) >= 1000) continue;
    first++;
    both += rollout_bucket(STR("win_back"), entity) < 1000;
  }
  assert_in_range(both, first / 10 - 150, first / 10 + 150);
}

/** The numbers themselves: they may not change with a version, or everybody's share would. */
static void test_buckets_stay(void **state) {
  (void)state;
  struct entity ada = {ENTITY_USER, STR("ada")}, thing = {ENTITY_SUBJECT, STR("ada")};
  assert_int_equal(rollout_bucket(STR("welcome"), ada), 5653);
  assert_int_equal(rollout_bucket(STR("win_back"), ada), 2097);
  assert_int_equal(rollout_bucket(STR("welcome"), thing), 8074);
}

/* ---- hours ---- */

static struct rollout_hours hours_of(const char *text) {
  struct rollout_hours hours = {0};
  struct error err = {0};
  if (rollout_parse_hours(str_from(text), &hours, &err)) fail_msg("%s: %s", text, err.message);
  return hours;
}

static void test_hours_text(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int days, opens, closes;
    bool zone;
  } good[] = {
      {"09:00-18:00", 0x7f, 540, 1080, false},
      {"9:00-18:30", 0x7f, 540, 1110, false},
      {"22:00-06:00", 0x7f, 1320, 360, false},
      {"00:00-24:00", 0x7f, 0, 1440, false},
      {"18:00-00:00", 0x7f, 1080, 1440, false},
      {"mon-fri 09:00-18:00", 0x1f, 540, 1080, false},
      {"Monday-Friday 09:00-18:00", 0x1f, 540, 1080, false},
      {"sat,sun 10:00-24:00 Europe/Berlin", 0x60, 600, 1440, true},
      {"fri-mon 10:00-11:00", 0x71, 600, 660, false},
      {"mon,wed-fri 10:00-11:00 UTC", 0x1d, 600, 660, true},
      {" tue  10:00-11:00 ", 0x02, 600, 660, false},
  };
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    struct rollout_hours hours = hours_of(good[i].text);
    if (hours.days != good[i].days || hours.opens != good[i].opens || hours.closes != good[i].closes ||
        (hours.zone != NULL) != good[i].zone)
      fail_msg("%s: %x %d %d", good[i].text, hours.days, hours.opens, hours.closes);
  }
  static const struct {
    const char *text, *says;
  } bad[] = {
      {"", "names no hours from and to, as in \"09:00-18:00\""},
      {"09:00", "names no hours from and to"},
      {"mon-fri", "names no hours from and to"},
      {"9-18", "has the hours \"9-18\"; the day goes from 00:00 to 24:00"},
      {"09:00-25:00", "has the hours \"09:00-25:00\""},
      {"24:00-06:00", "has the hours \"24:00-06:00\""},
      {"09:60-10:00", "has the hours"},
      {"09:00-18:00:00", "has the hours"},
      {"09:00-09:00", "opens and closes at once; leave it out for the whole day"},
      {"mo-fr 09:00-18:00", "begins with \"mo-fr\", which names no days; they are mon, tue"},
      {"mon, 09:00-18:00", "begins with \"mon,\""},
      {"Europe/Berlin 09:00-18:00", "begins with \"Europe/Berlin\""},
      {"09:00-18:00 Europe/Berlin please", "has \"please\" behind the time zone"},
      {"09:00-18:00 Europe/Berln", ""},
  };
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct rollout_hours hours;
    struct error err = {0};
    int rc = rollout_parse_hours(str_from(bad[i].text), &hours, &err);
    if (!rc || strncmp(err.message, bad[i].says, strlen(bad[i].says)) != 0)
      fail_msg("%s: %d %s", bad[i].text, rc, err.message);
  }
}

static int64_t utc(const char *text) {
  int64_t ms = 0;
  struct error err = {0};
  if (zone_parse_moment(str_from(text), zone_utc(), &ms, &err)) fail_msg("%s: %s", text, err.message);
  return ms;
}

/** Openings in a row, in UTC, as clocks and calendars of the place have them. */
static const struct {
  const char *hours, *from; /**< asked from here on */
  const char *opens[3], *closes[3];
} days[] = {
    /* Berlin: 2026-03-29 02:00 becomes 03:00, 2026-10-25 03:00 becomes 02:00. */
    {"09:00-18:00 Europe/Berlin",
     "2026-03-27 20:00",
     {"2026-03-28 08:00", "2026-03-29 07:00", "2026-03-30 07:00"},
     {"2026-03-28 17:00", "2026-03-29 16:00", "2026-03-30 16:00"}},
    {"09:00-18:00 Europe/Berlin",
     "2026-10-23 20:00",
     {"2026-10-24 07:00", "2026-10-25 08:00", "2026-10-26 08:00"},
     {"2026-10-24 16:00", "2026-10-25 17:00", "2026-10-26 17:00"}},
    {"22:00-06:00 Europe/Berlin", /* a night of seven hours */
     "2026-03-27 12:00",
     {"2026-03-27 21:00", "2026-03-28 21:00", "2026-03-29 20:00"},
     {"2026-03-28 05:00", "2026-03-29 04:00", "2026-03-30 04:00"}},
    {"22:00-06:00 Europe/Berlin", /* and one of nine */
     "2026-10-23 12:00",
     {"2026-10-23 20:00", "2026-10-24 20:00", "2026-10-25 21:00"},
     {"2026-10-24 04:00", "2026-10-25 05:00", "2026-10-26 05:00"}},
    {"02:30-03:30 Europe/Berlin", /* 02:30 is not there: it opens when clocks jump over it */
     "2026-03-27 12:00",
     {"2026-03-28 01:30", "2026-03-29 01:00", "2026-03-30 00:30"},
     {"2026-03-28 02:30", "2026-03-29 01:30", "2026-03-30 01:30"}},
    {"02:15-02:45 Europe/Berlin", /* none of it is there on the 29th */
     "2026-03-27 12:00",
     {"2026-03-28 01:15", "2026-03-30 00:15", "2026-03-31 00:15"},
     {"2026-03-28 01:45", "2026-03-30 00:45", "2026-03-31 00:45"}},
    {"02:30-10:00 Europe/Berlin", /* 02:30 is there twice: from the first */
     "2026-10-24 12:00",
     {"2026-10-25 00:30", "2026-10-26 01:30", "2026-10-27 01:30"},
     {"2026-10-25 09:00", "2026-10-26 09:00", "2026-10-27 09:00"}},
    /* New York: 2026-03-08 02:00 becomes 03:00, 2026-11-01 02:00 becomes 01:00. */
    {"mon-fri 08:00-20:00 America/New_York",
     "2026-03-06 12:00",
     {"2026-03-06 13:00", "2026-03-09 12:00", "2026-03-10 12:00"},
     {"2026-03-07 01:00", "2026-03-10 00:00", "2026-03-11 00:00"}},
    {"sun 00:00-24:00 America/New_York", /* days of 23 and 25 hours */
     "2026-03-08 00:00",
     {"2026-03-08 05:00", "2026-03-15 04:00", "2026-03-22 04:00"},
     {"2026-03-09 04:00", "2026-03-16 04:00", "2026-03-23 04:00"}},
    {"sun 00:00-24:00 America/New_York",
     "2026-10-31 00:00",
     {"2026-11-01 04:00", "2026-11-08 05:00", "2026-11-15 05:00"},
     {"2026-11-02 05:00", "2026-11-09 05:00", "2026-11-16 05:00"}},
    {"sun 02:15-02:45 Europe/Berlin", /* so there is a fortnight between two openings */
     "2026-03-23 12:00",
     {"2026-04-05 00:15", "2026-04-12 00:15", "2026-04-19 00:15"},
     {"2026-04-05 00:45", "2026-04-12 00:45", "2026-04-19 00:45"}},
    /* Samoa went from the 29th of December 2011 to the 31st: that Friday was not. */
    {"fri 09:00-18:00 Pacific/Apia",
     "2011-12-24 12:00",
     {"2012-01-05 19:00", "2012-01-12 19:00", "2012-01-19 19:00"},
     {"2012-01-06 04:00", "2012-01-13 04:00", "2012-01-20 04:00"}},
    /* Lord Howe, half an hour: 2026-04-05 02:00 becomes 01:30 (+11 to +10:30), 2026-10-04 02:00 becomes
       02:30. */
    {"01:45-09:00 Australia/Lord_Howe",
     "2026-04-03 23:00",
     {"2026-04-04 14:45", "2026-04-05 15:15", "2026-04-06 15:15"},
     {"2026-04-04 22:30", "2026-04-05 22:30", "2026-04-06 22:30"}},
    {"02:10-03:00 Australia/Lord_Howe",
     "2026-10-02 20:00",
     {"2026-10-03 15:30", "2026-10-04 15:10", "2026-10-05 15:10"},
     {"2026-10-03 16:00", "2026-10-04 16:00", "2026-10-05 16:00"}},
};

static void test_hours_over_clock_changes(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
    struct rollout_hours hours = hours_of(days[i].hours);
    int64_t at = utc(days[i].from);
    for (int j = 0; j < 3; j++) {
      int64_t opens = utc(days[i].opens[j]), closes = utc(days[i].closes[j]);
      struct rollout_opening before = rollout_opening(&hours, hours.zone, at);
      if (before.open || before.until != opens)
        fail_msg("%s: from %s, opening %d: %lld minutes off", days[i].hours, days[i].from, j,
                 (long long)((before.until - opens) / MINUTE));
      struct rollout_opening inside = rollout_opening(&hours, hours.zone, opens);
      if (!inside.open || inside.from != opens || inside.until != closes)
        fail_msg("%s: closing after %s: %lld minutes off", days[i].hours, days[i].opens[j],
                 (long long)((inside.until - closes) / MINUTE));
      assert_true(rollout_opening(&hours, hours.zone, closes - 1).open);
      at = closes;
    }
  }
}

/** An answer holds as long as it says: each minute of a fortnight agrees with it. */
static void test_hours_answers_hold(void **state) {
  (void)state;
  static const char *const starts[] = {"2026-03-01 00:00", "2026-03-22 00:00", "2026-10-18 00:00",
                                       "2026-03-30 00:00"};
  for (size_t i = 0; i < sizeof days / sizeof *days; i++) {
    struct rollout_hours hours = hours_of(days[i].hours);
    for (size_t j = 0; j < sizeof starts / sizeof *starts; j++) {
      int64_t at = utc(starts[j]);
      struct rollout_opening known = rollout_opening(&hours, hours.zone, at);
      for (int minute = 0; minute < 14 * 24 * 60; minute++, at += MINUTE) {
        struct rollout_opening now = rollout_opening(&hours, hours.zone, at);
        if (at >= known.until) known = now;
        if (now.open != known.open || now.until != known.until || now.from > at)
          fail_msg("%s: minute %d from %s", days[i].hours, minute, starts[j]);
      }
    }
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_share_text),
      cmocka_unit_test(test_buckets_are_even),
      cmocka_unit_test(test_buckets_grow),
      cmocka_unit_test(test_buckets_are_independent),
      cmocka_unit_test(test_buckets_stay),
      cmocka_unit_test(test_hours_text),
      cmocka_unit_test(test_hours_over_clock_changes),
      cmocka_unit_test(test_hours_answers_hold),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
