// links: base
/* Calendar and time zones: both switches of daylight saving, years far away, and two other readers of the
 * same files: glibc's localtime_r, and Python's zoneinfo. */
#include "base/buf.h"
#include "base/tzif.h"
#include "base/zone.h"
#include "random.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define DAY          INT64_C(86400000)

static const struct zone *zone(const char *name) {
  const struct zone *found = NULL;
  struct error err = {0};
  if (zone_find(&found, str_from(name), &err)) fail_msg("%s", err.message);
  return found;
}

static int64_t moment(const char *text) {
  int64_t ms = 0;
  struct error err = {0};
  if (zone_parse_moment(str_from(text), NULL, &ms, &err)) fail_msg("%s", err.message);
  return ms;
}

/** What clocks in `name` show: "2026-03-29 03:30:00 CEST +0200". */
static const char *shown(const char *name, int64_t ms) {
  static char text[64];
  struct civil civil;
  const char *abbreviation;
  int offset = zone_offset(zone(name), ms, &abbreviation);
  zone_civil(zone(name), ms, &civil);
  snprintf(text, sizeof text, "%04d-%02d-%02d %02d:%02d:%02d %s %c%02d%02d", civil.year, civil.month,
           civil.day, civil.hour, civil.minute, civil.second, abbreviation, offset < 0 ? '-' : '+',
           abs(offset) / 3600, abs(offset) / 60 % 60);
  return text;
}

static void calendar(void **state) {
  (void)state;
  assert_int_equal(civil_days(1970, 1, 1), 0);
  assert_int_equal(civil_days(2000, 3, 1), 11017);
  assert_int_equal(civil_weekday(0), 4);
  assert_int_equal(civil_weekday(civil_days(2026, 11, 27)), 5); // Black Friday
  assert_int_equal(civil_month_days(2024, 2), 29);
  assert_int_equal(civil_month_days(1900, 2), 28);
  assert_int_equal(civil_month_days(2000, 2), 29);
  assert_int_equal(civil_month_days(2026, 12), 31);
  // Each day of ten thousand years follows the one before.
  struct civil date = {.year = 1, .month = 1, .day = 1}, next;
  for (int64_t days = civil_days(1, 1, 1); date.year < 10000; days++) {
    assert_int_equal(civil_days(date.year, date.month, date.day), days);
    civil_date(days + 1, &next);
    bool leap = date.year % 4 == 0 && (date.year % 100 != 0 || date.year % 400 == 0);
    static const int lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool last = date.day == lengths[date.month - 1] + (date.month == 2 && leap);
    assert_int_equal(next.day, last ? 1 : date.day + 1);
    assert_int_equal(next.month, last ? date.month % 12 + 1 : date.month);
    assert_int_equal(next.year, date.year + (last && date.month == 12));
    date = next;
  }
  int64_t of_day;
  assert_int_equal(civil_split(-1, &of_day), -1);
  assert_int_equal(of_day, DAY - 1);
}

/** A switch: the last second before, the first after, and what becomes of the times between. */
static void switches(void **state) {
  (void)state;
  static const struct {
    const char *zone, *at, *before, *after;
  } cases[] = {
      {"Europe/Berlin", "2026-03-29T01:00:00Z", "2026-03-29 01:59:59 CET +0100",
       "2026-03-29 03:00:00 CEST +0200"},
      {"Europe/Berlin", "2026-10-25T01:00:00Z", "2026-10-25 02:59:59 CEST +0200",
       "2026-10-25 02:00:00 CET +0100"},
      {"America/New_York", "2026-03-08T07:00:00Z", "2026-03-08 01:59:59 EST -0500",
       "2026-03-08 03:00:00 EDT -0400"},
      {"America/New_York", "2026-11-01T06:00:00Z", "2026-11-01 01:59:59 EDT -0400",
       "2026-11-01 01:00:00 EST -0500"},
      {"Australia/Lord_Howe", "2026-04-04T15:00:00Z", "2026-04-05 01:59:59 +11 +1100",
       "2026-04-05 01:30:00 +1030 +1030"},
      {"Australia/Lord_Howe", "2026-10-03T15:30:00Z", "2026-10-04 01:59:59 +1030 +1030",
       "2026-10-04 02:30:00 +11 +1100"},
      // Irish time is standard in summer; its daylight saving is negative, in winter.
      {"Europe/Dublin", "2026-03-29T01:00:00Z", "2026-03-29 00:59:59 GMT +0000",
       "2026-03-29 02:00:00 IST +0100"},
      {"Europe/Dublin", "2026-10-25T01:00:00Z", "2026-10-25 01:59:59 IST +0100",
       "2026-10-25 01:00:00 GMT +0000"},
      // By the rule at the file's end.
      {"Europe/Berlin", "2050-03-27T01:00:00Z", "2050-03-27 01:59:59 CET +0100",
       "2050-03-27 03:00:00 CEST +0200"},
      {"Europe/Berlin", "2050-10-30T01:00:00Z", "2050-10-30 02:59:59 CEST +0200",
       "2050-10-30 02:00:00 CET +0100"},
      {"Europe/Dublin", "2050-10-30T01:00:00Z", "2050-10-30 01:59:59 IST +0100",
       "2050-10-30 01:00:00 GMT +0000"},
      {"America/New_York", "2437-03-08T07:00:00Z", "2437-03-08 01:59:59 EST -0500",
       "2437-03-08 03:00:00 EDT -0400"},
      {"America/New_York", "2439-03-13T07:00:00Z", "2439-03-13 01:59:59 EST -0500",
       "2439-03-13 03:00:00 EDT -0400"},
      {"Australia/Lord_Howe", "9999-10-02T15:30:00Z", "9999-10-03 01:59:59 +1030 +1030",
       "9999-10-03 02:30:00 +11 +1100"},
      {"Africa/Cairo", "2050-04-28T22:00:00Z", "2050-04-28 23:59:59 EET +0200",
       "2050-04-29 01:00:00 EEST +0300"},
      // Before the first change of all: local mean time.
      {"Europe/Berlin", "1893-03-31T23:06:32Z", "1893-03-31 23:59:59 LMT +0053",
       "1893-04-01 00:06:32 CET +0100"},
      // Samoa left out a day.
      {"Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-29 23:59:59 -10 -1000",
       "2011-12-31 00:00:00 +14 +1400"},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    int64_t at = moment(cases[i].at);
    assert_string_equal(shown(cases[i].zone, at - 1), cases[i].before);
    assert_string_equal(shown(cases[i].zone, at), cases[i].after);
  }
}

static void without_daylight_saving(void **state) {
  (void)state;
  assert_string_equal(shown("Asia/Tokyo", moment("2026-07-01T00:00:00Z")), "2026-07-01 09:00:00 JST +0900");
  assert_string_equal(shown("Asia/Tokyo", moment("9999-12-31T14:59:59Z")), "9999-12-31 23:59:59 JST +0900");
  assert_string_equal(shown("Asia/Kathmandu", moment("2026-01-01T00:00:00Z")),
                      "2026-01-01 05:45:00 +0545 +0545");
  assert_string_equal(shown("Etc/GMT+5", moment("2026-07-01T00:00:00Z")), "2026-06-30 19:00:00 -05 -0500");
  assert_string_equal(shown("UTC", moment("0001-01-01T00:00:00Z")), "0001-01-01 00:00:00 UTC +0000");
  assert_string_equal(shown("Europe/Berlin", moment("0001-01-01T00:00:00Z")),
                      "0001-01-01 00:53:28 LMT +0053");
  assert_ptr_equal(zone("UTC"), zone_utc());
  assert_ptr_equal(zone("Asia/Tokyo"), zone("Asia/Tokyo"));
  assert_true(str_equal(zone_name(zone("Asia/Tokyo")), STR("Asia/Tokyo")));
}

static void skipped_and_repeated(void **state) {
  (void)state;
  static const struct {
    const char *text, *utc;
  } cases[] = {
      {"2026-03-29 02:30 Europe/Berlin", "2026-03-29T01:30:00Z"}, // shown as 03:30
      {"2026-03-29 02:00 Europe/Berlin", "2026-03-29T01:00:00Z"},
      {"2026-03-29 03:00 Europe/Berlin", "2026-03-29T01:00:00Z"},
      {"2026-03-29 01:59:59.999 Europe/Berlin", "2026-03-29T00:59:59.999Z"},
      {"2026-10-25 02:30 Europe/Berlin", "2026-10-25T00:30:00Z"}, // the first of two
      {"2026-10-25 03:00 Europe/Berlin", "2026-10-25T02:00:00Z"},
      {"2026-03-08 02:30 America/New_York", "2026-03-08T07:30:00Z"},
      {"2026-11-01 01:30 America/New_York", "2026-11-01T05:30:00Z"},
      {"2026-10-04 02:15 Australia/Lord_Howe", "2026-10-03T15:45:00Z"}, // shown as 02:45
      {"2026-04-05 01:45 Australia/Lord_Howe", "2026-04-04T14:45:00Z"},
      {"2026-03-29 01:30 Europe/Dublin", "2026-03-29T01:30:00Z"}, // shown as 02:30
      {"2026-10-25 01:30 Europe/Dublin", "2026-10-25T00:30:00Z"},
      {"2050-03-27 02:30 Europe/Berlin", "2050-03-27T01:30:00Z"},
      {"2011-12-30 12:00 Pacific/Apia", "2011-12-30T22:00:00Z"}, // shown as noon of the 31st
      {"9999-12-31 23:59:59.999 Europe/Berlin", "9999-12-31T22:59:59.999Z"},
      {"0001-01-01 00:00 Asia/Tokyo", "0000-12-31"},
  };
  for (size_t i = 0; i + 1 < COUNT(cases); i++) assert_int_equal(moment(cases[i].text), moment(cases[i].utc));
  assert_int_equal(moment(cases[COUNT(cases) - 1].text), -62135596800000 - (9 * 3600 + 18 * 60 + 59) * 1000);
}

static void midnights(void **state) {
  (void)state;
  static const struct {
    const char *zone, *at, *start, *next;
  } cases[] = {
      {"Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"}, // 23 hours
      {"Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"}, // 25 hours
      {"Europe/Berlin", "2026-10-24T22:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"},
      {"Europe/Berlin", "2026-10-24T21:59:59.999Z", "2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z"},
      // Cairo's clocks go forward at midnight: the day begins at one.
      {"Africa/Cairo", "2026-04-24T12:00:00Z", "2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z"},
      {"Africa/Cairo", "2026-04-23T21:59:59Z", "2026-04-22T22:00:00Z", "2026-04-23T22:00:00Z"},
      // From half past eleven to half past midnight, in 1919.
      {"America/Toronto", "1919-03-31T12:00:00Z", "1919-03-31T04:30:00Z", "1919-04-01T04:00:00Z"},
      // Back from 00:01 to 23:01 of the day before: that day begins a second time, and ends a second time.
      {"America/St_Johns", "2010-11-07T02:30:30Z", "2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z"},
      {"America/St_Johns", "2010-11-07T02:45:00Z", "2010-11-06T02:30:00Z", "2010-11-07T03:30:00Z"},
      // The day that Samoa left out.
      {"Pacific/Apia", "2011-12-30T09:00:00Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"},
  };
  for (size_t i = 0; i < COUNT(cases); i++) {
    assert_int_equal(zone_day_start(zone(cases[i].zone), moment(cases[i].at)), moment(cases[i].start));
    assert_int_equal(zone_next_midnight(zone(cases[i].zone), moment(cases[i].at)), moment(cases[i].next));
  }
}

static void texts(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t ms;
  } good[] = {
      {"2026-11-27 09:00 Europe/Berlin", 1795766400000},
      {"2026-11-27T09:00 Europe/Berlin", 1795766400000},
      {"2026-11-27T09:00:00+01:00", 1795766400000},
      {"2026-11-27 09:00 +0100", 1795766400000},
      {"2026-11-27 09:00 +01", 1795766400000},
      {"2026-11-27T08:00Z", 1795766400000},
      {"2026-11-27 08:00 UTC", 1795766400000},
      {"2026-11-27T03:30:00.5-04:30", 1795766400500},
      {"2026-11-27T08:00:00.123456Z", 1795766400123},
      {"2026-11-27 Europe/Berlin", 1795734000000},
      {"2024-02-29Z", 1709164800000},
  };
  for (size_t i = 0; i < COUNT(good); i++) assert_int_equal(moment(good[i].text), good[i].ms);
  int64_t ms;
  assert_int_equal(zone_parse_moment(STR("2026-11-27 09:00"), zone("Europe/Berlin"), &ms, NULL), 0);
  assert_int_equal(ms, 1795766400000);
  assert_int_equal(zone_parse_moment(STR("2026-11-27 08:00Z"), zone("Europe/Berlin"), &ms, NULL), 0);
  assert_int_equal(ms, 1795766400000);
  static const struct {
    const char *text, *message;
  } bad[] = {
      {"2026-11-27 09:00",
       "\"2026-11-27 09:00\" names no time zone: write one behind it, as in \"2026-11-27 09:00 "
       "Europe/Berlin\""},
      {"2026-02-30 09:00 UTC", "\"2026-02-30 09:00 UTC\" is no time: the day is 30, and may be 1 to 28"},
      {"2026-13-01Z", "\"2026-13-01Z\" is no time: the month is 13, and may be 1 to 12"},
      {"2026-01-01 24:00 UTC", "\"2026-01-01 24:00 UTC\" is no time: the hour is 24, and may be 0 to 23"},
      {"2026-01-01 09:60 UTC", "\"2026-01-01 09:60 UTC\" is no time: the minute is 60, and may be 0 to 59"},
      {"2026-01-01 09:00:60 UTC",
       "\"2026-01-01 09:00:60 UTC\" is no time: the second is 60, and may be 0 to 59"},
      {"0000-01-01Z", "\"0000-01-01Z\" is no time: the year is 0, and may be 1 to 9999"},
      {"2026-11-27 09:00 Europe/Berln",
       "there is no time zone \"Europe/Berln\"; did you mean \"Europe/Berlin\"?"},
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    struct error err = {0};
    assert_true(zone_parse_moment(str_from(bad[i].text), NULL, &ms, &err) < 0);
    assert_string_equal(err.message, bad[i].message);
  }
  static const char *const nonsense[] = {"",
                                         "tomorrow",
                                         "2026-11-27 ",
                                         "2026-11-27T",
                                         "2026-11-27T9:00Z",
                                         "2026-11-27 09:00Europe/Berlin",
                                         "2026-11-27 09:00:00.Z",
                                         "2026-11-27 09:00 +15:00",
                                         "2026-11-27 09:00 +1:00",
                                         "2026-11-27 09:00 +01:0",
                                         "2026-11-27 09:00 ZZ",
                                         "2026-11-27 09:00 +01:00:00",
                                         "27.11.2026 09:00 Europe/Berlin",
                                         "2026-11-27\n09:00Z"};
  for (size_t i = 0; i < COUNT(nonsense); i++) {
    struct error err = {0};
    if (zone_parse_moment(str_from(nonsense[i]), zone_utc(), &ms, &err) >= 0)
      fail_msg("\"%s\" is a time", nonsense[i]);
    assert_true(err.code == ERROR_INVALID || err.code == ERROR_NOT_FOUND);
    assert_null(strchr(err.message, '\n'));
  }
}

static void names(void **state) {
  (void)state;
  static const struct {
    const char *name, *meant;
  } slips[] = {
      {"Europe/Berln", "Europe/Berlin"},
      {"europe/berlin", "Europe/Berlin"},
      {"Berlin", "Europe/Berlin"},
      {"new_york", "America/New_York"},
      {"America/NewYork", "America/New_York"},
      {"Australia/Lord_How", "Australia/Lord_Howe"},
      {"utc", "UTC"},
  };
  const struct zone *found = NULL;
  for (size_t i = 0; i < COUNT(slips); i++) {
    struct error err = {0}, again = {0};
    char expected[128];
    snprintf(expected, sizeof expected, "there is no time zone \"%s\"; did you mean \"%s\"?", slips[i].name,
             slips[i].meant);
    assert_int_equal(zone_find(&found, str_from(slips[i].name), &err), ERROR_NOT_FOUND);
    assert_string_equal(err.message, expected);
    assert_int_equal(zone_find(&found, str_from(slips[i].name), &again), ERROR_NOT_FOUND);
    assert_string_equal(again.message, expected);
  }
  char endless[300];
  memset(endless, 'a', sizeof endless - 1);
  endless[sizeof endless - 1] = '\0';
  const char *const hostile[] = {"",
                                 "/etc/passwd",
                                 "../../../etc/passwd",
                                 "Europe/../Europe/Berlin",
                                 "Europe",
                                 "Europe/",
                                 "Europe//Berlin",
                                 "posixrules",
                                 "localtime",
                                 "right/Europe/Berlin",
                                 "tzdata.zi",
                                 "zone.tab",
                                 "Europe/Berlin ",
                                 "Europe/Berlin\n",
                                 endless};
  for (size_t i = 0; i < COUNT(hostile); i++) {
    struct error err = {0};
    assert_int_equal(zone_find(&found, str_from(hostile[i]), &err), ERROR_NOT_FOUND);
    assert_true(strlen(err.message) < 200);
  }
  struct error err = {0};
  assert_int_equal(zone_find(&found, (struct str){"Europe/Berlin\0x", 15}, &err), ERROR_NOT_FOUND);
  // Wrong names without end, as customers' apps may send them.
  for (int i = 0; i < 100000; i++) {
    char name[64];
    snprintf(name, sizeof name, "Nowhere/%d_%d_far_away", i, i);
    assert_int_equal(zone_find(&found, str_from(name), NULL), ERROR_NOT_FOUND);
  }
  assert_int_equal(zone_find(&found, STR("Pacific/Chatham"), &err), 0);
}

/* ---- other readers ---- */

/** The zones that differ, by tzdata's own list. */
static struct str *list_zones(size_t *count) {
  static struct str list[600];
  static char line[600][256];
  *count = 0;
  FILE *file = fopen("/usr/share/zoneinfo/zone1970.tab", "r");
  assert_non_null(file);
  while (*count < COUNT(list) && fgets(line[*count], sizeof line[0], file)) {
    char *at = line[*count];
    if (*at == '#') continue;
    for (int column = 0; column < 2; column++) at = strchr(at, '\t') + 1;
    at[strcspn(at, "\t\n")] = '\0';
    list[(*count)++] = str_from(at);
  }
  fclose(file);
  assert_true(*count > 200);
  return list;
}

/** Moments at random, many of them near to a switch. */
static int64_t random_moment(const struct zone *where) {
  int64_t ms = between(moment("1850-01-01Z"), moment("2600-01-01Z"));
  if (next_random() % 2 == 0) return ms;
  int offset = zone_offset(where, ms, NULL);
  int64_t low = ms, high = ms + 200 * DAY;
  if (zone_offset(where, high, NULL) == offset) return ms;
  while (high - low > 1) {
    int64_t middle = low + (high - low) / 2;
    if (zone_offset(where, middle, NULL) == offset)
      low = middle;
    else
      high = middle;
  }
  return high + between(-2, 2) * (next_random() % 2 ? 1000 : 1800000);
}

static void agrees_with_libc(void **state) {
  (void)state;
  seed = 1;
  size_t count, compared = 0;
  const struct str *list = list_zones(&count);
  for (size_t i = 0; i < count; i++) {
    char name[128];
    snprintf(name, sizeof name, ":%s", list[i].data);
    setenv("TZ", name, 1);
    tzset();
    const struct zone *where = zone(list[i].data);
    int64_t first = moment("1902-01-01Z"); // before a zone's first change glibc guesses
    for (int j = 0; j < 100; j++) {
      int64_t ms = random_moment(where);
      if (ms < first) continue;
      time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
      struct tm theirs;
      struct civil ours;
      const char *abbreviation;
      assert_non_null(localtime_r(&seconds, &theirs));
      zone_civil(where, ms, &ours);
      if (theirs.tm_gmtoff != zone_offset(where, ms, &abbreviation) ||
          strcmp(theirs.tm_zone, abbreviation) != 0 || theirs.tm_year + 1900 != ours.year ||
          theirs.tm_mon + 1 != ours.month || theirs.tm_mday != ours.day || theirs.tm_hour != ours.hour ||
          theirs.tm_min != ours.minute || theirs.tm_sec != ours.second)
        fail_msg("%s at %lld: libc has %d-%d-%d %d:%d:%d %s, not %s", list[i].data, (long long)ms,
                 theirs.tm_year + 1900, theirs.tm_mon + 1, theirs.tm_mday, theirs.tm_hour, theirs.tm_min,
                 theirs.tm_sec, theirs.tm_zone, shown(list[i].data, ms));
      compared++;
    }
  }
  unsetenv("TZ");
  tzset();
  assert_true(compared > 20000);
}

static const char python[] =
    "import sys\n"
    "from datetime import datetime, timezone\n"
    "from zoneinfo import ZoneInfo\n"
    "epoch = datetime(1970, 1, 1, tzinfo=timezone.utc)\n"
    "for line in sys.stdin:\n"
    "    zone, *fields, ours = line.split()\n"
    "    local = datetime(*map(int, fields), tzinfo=ZoneInfo(zone))\n"
    "    theirs = (local - epoch).total_seconds()\n"
    "    if int(theirs) != int(ours): sys.exit(f'{local}: Python has {theirs}, not {ours}')\n";

static void agrees_with_python(void **state) {
  (void)state;
  if (system("python3 -c 'import zoneinfo' 2>/dev/null") != 0) skip();
  seed = 2;
  char path[] = "/tmp/kairos-zone-XXXXXX", command[sizeof python + 128];
  int file = mkstemp(path);
  assert_true(file >= 0);
  FILE *script = fdopen(file, "w");
  fputs(python, script);
  fclose(script);
  snprintf(command, sizeof command, "python3 %s", path);
  FILE *pipe = popen(command, "w");
  assert_non_null(pipe);
  size_t count;
  const struct str *list = list_zones(&count);
  for (size_t i = 0; i < count; i++)
    for (int j = 0; j < 50; j++) {
      const struct zone *where = zone(list[i].data);
      struct civil civil;
      zone_civil(where, random_moment(where), &civil);
      // Times that clocks skip and repeat.
      if (next_random() % 2) civil.minute = (int)between(0, 59);
      if (next_random() % 4 == 0) civil.hour = (int)between(0, 3);
      civil.millisecond = 0;
      if (next_random() % 16 == 0) civil.year = (int)between(2, 9998);
      if (civil.day > civil_month_days(civil.year, civil.month)) civil.day = 28;
      fprintf(pipe, "%s %d %d %d %d %d %d %lld\n", list[i].data, civil.year, civil.month, civil.day,
              civil.hour, civil.minute, civil.second, (long long)(zone_instant(where, &civil) / 1000));
    }
  int status = pclose(pipe);
  unlink(path);
  assert_int_equal(status, 0);
}

/** What is shown leads back, and each day has one beginning. */
static void holds_together(void **state) {
  (void)state;
  seed = 3;
  size_t count;
  const struct str *list = list_zones(&count);
  for (size_t i = 0; i < count; i++)
    for (int j = 0; j < 50; j++) {
      const struct zone *where = zone(list[i].data);
      int64_t ms = random_moment(where) + between(0, 999), back;
      struct civil civil, again, start, before;
      zone_civil(where, ms, &civil);
      back = zone_instant(where, &civil);
      zone_civil(where, back, &again);
      assert_true(back <= ms && ms - back <= DAY);
      assert_memory_equal(&civil, &again, sizeof civil);
      int64_t midnight = zone_next_midnight(where, ms);
      assert_true(midnight > ms && midnight - ms <= 26 * 3600 * 1000);
      zone_civil(where, zone_day_start(where, ms), &start);
      zone_civil(where, zone_day_start(where, ms) - 1, &before);
      assert_int_equal(start.day, civil.day);
      assert_int_not_equal(before.day, civil.day);
    }
}

/* ---- broken files ---- */

static void put_header(struct buf *out, char version, const uint32_t counts[6]) {
  static const char zeroes[15];
  buf_append(out, "TZif", 4);
  buf_put_u8(out, (uint8_t)version);
  buf_append(out, zeroes, sizeof zeroes);
  for (int i = 0; i < 6; i++)
    for (int shift = 24; shift >= 0; shift -= 8) buf_put_u8(out, (uint8_t)(counts[i] >> shift));
}

/** A file of one type, UTC+1, and a rule. */
static void make_file(struct buf *out, const char *rule) {
  static const uint32_t none[6], one[6] = {0, 0, 0, 0, 1, 4};
  buf_clear(out);
  put_header(out, '2', none);
  put_header(out, '2', one);
  buf_append(out, "\0\0\x0e\x10\0\0CET", 10);
  buf_printf(out, "\n%s\n", rule);
}

static void rules_alone(void **state) {
  (void)state;
  struct buf file;
  struct tzif tzif;
  buf_init(&file);
  make_file(&file, "CET-1CEST,M3.5.0,M10.5.0/3");
  // With no changes listed the rule holds at all times.
  assert_int_equal(tzif_read(&tzif, buf_str(&file), NULL), 0);
  for (int year = 1; year < 9999; year += 37) {
    assert_int_equal(tzif_span(&tzif, civil_days(year, 1, 1) * CIVIL_DAY_S).type->offset, 3600);
    struct tzif_span span = tzif_span(&tzif, civil_days(year, 7, 1) * CIVIL_DAY_S);
    assert_int_equal(span.type->offset, 7200);
    assert_true(span.type->dst);
    struct civil from, to;
    int64_t of_day;
    civil_date(civil_split(span.from * 1000, &of_day), &from);
    civil_date(civil_split(span.to * 1000, &of_day), &to);
    assert_int_equal(from.month, 3);
    assert_int_equal(to.month, 10);
  }
  tzif_deinit(&tzif);
  make_file(&file, "XXX3EDT4,0/0,J365/23"); // daylight saving all year
  assert_int_equal(tzif_read(&tzif, buf_str(&file), NULL), 0);
  for (int64_t day = 0; day < 3000; day++)
    assert_int_equal(tzif_span(&tzif, civil_days(2020, 1, 1) * CIVIL_DAY_S + day * CIVIL_DAY_S).type->offset,
                     -4 * 3600);
  tzif_deinit(&tzif);
  make_file(&file, "AAA0BBB,J60,J61"); // 1 March, in leap years too
  assert_int_equal(tzif_read(&tzif, buf_str(&file), NULL), 0);
  assert_false(tzif_span(&tzif, civil_days(2024, 2, 29) * CIVIL_DAY_S + 43200).type->dst);
  assert_true(tzif_span(&tzif, civil_days(2024, 3, 1) * CIVIL_DAY_S + 43200).type->dst);
  tzif_deinit(&tzif);
  make_file(&file, "AAA0BBB,59,60"); // 29 February, in leap years
  assert_int_equal(tzif_read(&tzif, buf_str(&file), NULL), 0);
  assert_true(tzif_span(&tzif, civil_days(2024, 2, 29) * CIVIL_DAY_S + 43200).type->dst);
  tzif_deinit(&tzif);
  buf_deinit(&file);
}

static void broken_files(void **state) {
  (void)state;
  struct buf file;
  struct tzif tzif;
  struct error err = {0};
  buf_init(&file);
  static const char *const rules[] = {"CET",
                                      "CET-1CEST",
                                      "CE-1",
                                      "CET-25",
                                      "CET-1CEST,M3.5.0",
                                      "CET-1CEST,M13.5.0,M10.5.0",
                                      "CET-1CEST,M3.6.0,M10.5.0",
                                      "CET-1CEST,M3.5.7,M10.5.0",
                                      "CET-1CEST,J0,J365",
                                      "CET-1CEST,0,366",
                                      "CET-1CEST,M3.5.0/168,M10.5.0",
                                      "<CET-1",
                                      "CET-1CEST,M3.5.0,M10.5.0x",
                                      "CET-1:60",
                                      "CET-1:"};
  for (size_t i = 0; i < COUNT(rules); i++) {
    make_file(&file, rules[i]);
    if (tzif_read(&tzif, buf_str(&file), &err) != ERROR_CORRUPT) fail_msg("\"%s\" is a rule", rules[i]);
    assert_non_null(strstr(err.message, "POSIX"));
  }
  // Cut off anywhere.
  make_file(&file, "CET-1CEST,M3.5.0,M10.5.0/3");
  for (size_t len = 0; len < file.len; len++) {
    char *exact = malloc(len ? len : 1); // so that a sanitizer sees who reads past it
    memcpy(exact, file.data, len);
    assert_int_equal(tzif_read(&tzif, (struct str){exact, len}, &err), ERROR_CORRUPT);
    free(exact);
  }
  // Each byte of a real one turned over: a zone or an error, never more.
  FILE *real = fopen("/usr/share/zoneinfo/Europe/Dublin", "rb");
  assert_non_null(real);
  buf_clear(&file);
  file.len = fread(buf_reserve(&file, 65536), 1, 65536, real);
  fclose(real);
  for (size_t i = 0; i < file.len; i++) {
    file.data[i] ^= 0xff;
    if (tzif_read(&tzif, buf_str(&file), &err) == 0) {
      struct tzif_span span = tzif_span(&tzif, 1795766400);
      assert_true(span.from <= 1795766400 && 1795766400 < span.to);
      tzif_deinit(&tzif);
    }
    file.data[i] ^= 0xff;
  }
  static const uint32_t leaps[6] = {0, 0, 1, 0, 1, 4}, endless[6] = {~0u, ~0u, ~0u, ~0u, ~0u, ~0u};
  static const uint32_t none[6];
  buf_clear(&file);
  put_header(&file, '2', none);
  put_header(&file, '2', leaps);
  assert_int_equal(tzif_read(&tzif, buf_str(&file), &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "leap seconds"));
  buf_clear(&file);
  put_header(&file, '2', endless);
  assert_int_equal(tzif_read(&tzif, buf_str(&file), &err), ERROR_CORRUPT);
  buf_clear(&file);
  put_header(&file, '\0', none);
  assert_int_equal(tzif_read(&tzif, buf_str(&file), &err), ERROR_CORRUPT);
  assert_non_null(strstr(err.message, "version 1"));
  buf_deinit(&file);
}

static void *look_up(void *list) {
  const struct str *names = list;
  for (int i = 0; i < 200; i++) {
    const struct zone *found;
    struct error err;
    if (zone_find(&found, names[i], &err)) return "an error";
    if (!str_equal(zone_name(found), names[i])) return "another's zone";
    char wrong[32];
    snprintf(wrong, sizeof wrong, "Wrong/%d", i);
    if (zone_find(&found, str_from(wrong), &err) != ERROR_NOT_FOUND) return "a zone that is none";
  }
  return NULL;
}

static void from_many_threads(void **state) {
  (void)state;
  size_t count;
  struct str *list = list_zones(&count);
  pthread_t threads[8];
  for (size_t i = 0; i < COUNT(threads); i++) pthread_create(&threads[i], NULL, look_up, list);
  for (size_t i = 0; i < COUNT(threads); i++) {
    void *wrong;
    pthread_join(threads[i], &wrong);
    assert_null(wrong);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(from_many_threads), // first: while no zone is known
      cmocka_unit_test(calendar),
      cmocka_unit_test(switches),
      cmocka_unit_test(without_daylight_saving),
      cmocka_unit_test(skipped_and_repeated),
      cmocka_unit_test(midnights),
      cmocka_unit_test(texts),
      cmocka_unit_test(agrees_with_libc),
      cmocka_unit_test(agrees_with_python),
      cmocka_unit_test(holds_together),
      cmocka_unit_test(rules_alone),
      cmocka_unit_test(broken_files),
      cmocka_unit_test(names),
  };
  return cmocka_run_group_tests_name("base/zone", tests, NULL, NULL);
}
