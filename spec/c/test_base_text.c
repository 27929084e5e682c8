// links: base
/* What people write and read: quantities, hashes in hex, base64, error sentences. */
#include "base/base64.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/quantity.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void durations(void **state) {
  (void)state;
  static const struct {
    const char *text;
    int64_t ms;
  } good[] = {
      {"250ms", 250},     {"30s", 30000},
      {"10m", 600000},    {"1h", 3600000},
      {"7d", 604800000},  {"2w", 1209600000},
      {"1h30m", 5400000}, {"1w2d3h4m5s6ms", 788645006},
      {"1ms", 1},         {"36500d", 3153600000000},
      {"007s", 7000},     {"0h5m", 300000},
  };
  for (size_t i = 0; i < COUNT(good); i++) {
    int64_t ms = -1;
    struct error err = {0};
    assert_int_equal(quantity_duration(str_from(good[i].text), &ms, &err), 0);
    assert_int_equal(ms, good[i].ms);
    assert_int_equal(err.code, 0);
  }
}

static void bad_durations(void **state) {
  (void)state;
  static const struct {
    const char *text, *message;
  } bad[] = {
#define GRAMMAR                                                                                              \
  " is no duration: write a whole number and a unit (ms, s, m, h, d, w), such as \"30s\" or \"1h30m\""
      {"", "\"\"" GRAMMAR},
      {"10", "\"10\"" GRAMMAR},
      {"m", "\"m\"" GRAMMAR},
      {"-5m", "\"-5m\"" GRAMMAR},
      {"1.5h", "\"1.5h\"" GRAMMAR},
      {"5 m", "\"5 m\"" GRAMMAR},
      {" 5m", "\" 5m\"" GRAMMAR},
      {"5m ", "\"5m \"" GRAMMAR},
      {"5min", "\"5min\"" GRAMMAR},
      {"5M", "\"5M\"" GRAMMAR},
      {"5m\x01\"", "\"5m??\"" GRAMMAR},
      {"0s", "\"0s\" is no duration: it has to be longer than nothing"},
      {"0h0m", "\"0h0m\" is no duration: it has to be longer than nothing"},
      {"30m1h", "\"30m1h\" is no duration: units go from large to small, each once, as in \"1h30m\""},
      {"1h1h", "\"1h1h\" is no duration: units go from large to small, each once, as in \"1h30m\""},
      {"36500d1ms", "\"36500d1ms\" is too long: a duration is at most 36500d"},
      {"9223372036854775807w", "\"9223372036854775807w\" is too long: a duration is at most 36500d"},
      {"99999999999999999999999999999999999999999999999999ms",
       "\"9999999999999999999999999999999999999999...\" is too long: a duration is at most 36500d"},
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    int64_t ms = -1;
    struct error err = {0};
    assert_int_equal(quantity_duration(str_from(bad[i].text), &ms, &err), ERROR_INVALID);
    assert_string_equal(err.message, bad[i].message);
    assert_int_equal(ms, -1);
    assert_int_equal(quantity_duration(str_from(bad[i].text), &ms, NULL), ERROR_INVALID);
  }
}

static void sizes(void **state) {
  (void)state;
  static const struct {
    const char *text;
    uint64_t bytes;
  } good[] = {{"0", 0},           {"512", 512},        {"64KB", 65536},
              {"64MB", 67108864}, {"2GB", 2147483648}, {"9223372036854775807", INT64_MAX}};
  for (size_t i = 0; i < COUNT(good); i++) {
    uint64_t bytes = 1;
    assert_int_equal(quantity_size(str_from(good[i].text), &bytes, NULL), 0);
    assert_int_equal(bytes, good[i].bytes);
  }
  static const char *const bad[] = {"", "MB", "64mb", "64 MB", "-1", "1.5GB", "64MBs", "0x10", "64M"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    uint64_t bytes;
    struct error err;
    assert_int_equal(quantity_size(str_from(bad[i]), &bytes, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "is no size: write a whole number of bytes"));
  }
  static const char *const huge[] = {"9223372036854775808", "8589934592GB", "18446744073709551616",
                                     "99999999999999999999999KB"};
  for (size_t i = 0; i < COUNT(huge); i++) {
    uint64_t bytes;
    struct error err;
    assert_int_equal(quantity_size(str_from(huge[i]), &bytes, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "is too large: a size is below 8589934592GB"));
  }
}

static void rates(void **state) {
  (void)state;
  static const struct {
    const char *text;
    double count;
    int64_t over_ms;
  } good[] = {
      {"100/s", 100, 1000}, {"1000/1h", 1000, 3600000}, {"5/10m", 5, 600000}, {"1/1h30m", 1, 5400000}};
  for (size_t i = 0; i < COUNT(good); i++) {
    struct rate rate;
    assert_int_equal(quantity_rate(str_from(good[i].text), &rate, NULL), 0);
    assert_true(rate.count == good[i].count);
    assert_int_equal(rate.over_ms, good[i].over_ms);
  }
  static const char *const bad[] = {"",      "100",    "100/",  "/s",      "0/s",     "-1/s",
                                    "1.5/s", "100/0s", "100/x", "100/s/s", "100 / s", "100/ms2"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    struct rate rate;
    struct error err;
    assert_int_equal(quantity_rate(str_from(bad[i]), &rate, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "is no rate: write how many"));
  }
  struct rate rate;
  struct error err;
  assert_int_equal(quantity_rate(STR("99999999999999999999/s"), &rate, &err), ERROR_INVALID);
  assert_non_null(strstr(err.message, "is too fast"));
}

static void caps(void **state) {
  (void)state;
  const int64_t hour = 3600000, day = 24 * hour;
  const struct {
    const char *text;
    struct cap cap;
  } good[] = {{"3/7d", {3, CAP_ROLLING, 7 * day}},
              {"0/1d", {0, CAP_ROLLING, day}},
              {"100/1h30m", {100, CAP_ROLLING, hour * 3 / 2}},
              {"1/366d", {1, CAP_ROLLING, 366 * day}},
              {"1/1d calendar", {1, CAP_DAY, day + 2 * hour}},
              {"1/day calendar", {1, CAP_DAY, day + 2 * hour}},
              {"3/1w calendar", {3, CAP_WEEK, 7 * day + 2 * hour}},
              {"3/7d calendar", {3, CAP_WEEK, 7 * day + 2 * hour}},
              {"5/1month calendar", {5, CAP_MONTH, 31 * day + 2 * hour}}};
  for (size_t i = 0; i < COUNT(good); i++) {
    struct cap cap;
    assert_int_equal(quantity_cap(str_from(good[i].text), &cap, NULL), 0);
    assert_int_equal(cap.count, good[i].cap.count);
    assert_int_equal(cap.period, good[i].cap.period);
    assert_int_equal(cap.over_ms, good[i].cap.over_ms);
  }
  static const char *const bad[] = {"",
                                    "3",
                                    "3/",
                                    "/7d",
                                    "-1/7d",
                                    "1.5/7d",
                                    "3/0d",
                                    "3/7x",
                                    "3 in 7d",
                                    "3/2d calendar",
                                    "3/1y calendar",
                                    "3/ calendar",
                                    "3/7dcalendar",
                                    "3/s",
                                    "3/7d calendars"};
  for (size_t i = 0; i < COUNT(bad); i++) {
    struct cap cap;
    struct error err;
    assert_int_equal(quantity_cap(str_from(bad[i]), &cap, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "is no cap: write how many"));
  }
  struct cap cap;
  struct error err;
  assert_int_equal(quantity_cap(STR("101/7d"), &cap, &err), ERROR_INVALID);
  assert_non_null(strstr(err.message, "is too many: a cap counts to 100 at most"));
  assert_int_equal(quantity_cap(STR("99999999999999999999/7d"), &cap, &err), ERROR_INVALID);
  assert_non_null(strstr(err.message, "is too many"));
  assert_int_equal(quantity_cap(STR("1/367d"), &cap, &err), ERROR_INVALID);
  assert_non_null(strstr(err.message, "looks back too far"));
}

static void hours(void **state) {
  (void)state;
  struct hours night, day;
  assert_int_equal(quantity_hours(STR("21:00-08:30"), &night, NULL), 0);
  assert_int_equal(quantity_hours(STR("00:00-23:59"), &day, NULL), 0);
  assert_true(night.from == 21 * 60 && night.to == 8 * 60 + 30);
  assert_true(hours_include(night, 21 * 60) && hours_include(night, 0) && hours_include(night, 8 * 60 + 29));
  assert_false(hours_include(night, 8 * 60 + 30) || hours_include(night, 21 * 60 - 1));
  assert_true(hours_include(day, 0) && hours_include(day, 1438) && !hours_include(day, 1439));
  static const char *const bad[] = {
      "",           "21:00",         "21-8",        "21:00-21:00", "24:00-08:00", "21:60-08:00",
      "9:00-17:00", "21:00 - 08:00", "21:00-08:0x", "ab:cd-ef:gh", "-1:00-08:00", "21:00-08:00 "};
  for (size_t i = 0; i < COUNT(bad); i++) {
    struct hours got;
    struct error err;
    assert_int_equal(quantity_hours(str_from(bad[i]), &got, &err), ERROR_INVALID);
    assert_non_null(strstr(err.message, "are no hours of the day: write from when to when"));
  }
}

static void text_without_an_end_is_fine(void **state) {
  (void)state;
  // The bytes after `len` belong to someone else.
  int64_t ms;
  assert_int_equal(quantity_duration((struct str){"10ms", 3}, &ms, NULL), 0);
  assert_int_equal(ms, 600000);
  uint64_t bytes;
  assert_int_equal(quantity_size((struct str){"64KB", 2}, &bytes, NULL), 0);
  assert_int_equal(bytes, 64);
}

static void hex(void **state) {
  (void)state;
  char text[33];
  struct hash128 hash = {0x0123456789abcdef, 0xfedcba9876543210}, back;
  hash128_hex(hash, text);
  assert_string_equal(text, "0123456789abcdeffedcba9876543210");
  assert_true(hash128_from_hex(str_from(text), &back));
  assert_true(hash128_equal(hash, back));
  assert_true(hash128_from_hex(STR("0123456789ABCDEFfedcba9876543210"), &back));
  assert_true(hash128_equal(hash, back));
  static const char *const bad[] = {"",
                                    "0123456789abcdeffedcba987654321",
                                    "0123456789abcdeffedcba98765432100",
                                    "0123456789abcdeffedcba987654321g",
                                    "0x23456789abcdeffedcba9876543210",
                                    " 123456789abcdeffedcba9876543210"};
  for (size_t i = 0; i < COUNT(bad); i++) assert_false(hash128_from_hex(str_from(bad[i]), &back));
}

static void hashes_are_stable(void **state) {
  (void)state;
  // Stored on disk: these are XXH3's published values, whatever the machine.
  assert_true(hash64(STR(""), 0) == 0x2d06800538d394c2);
  struct hash128 empty = hash128(STR(""), 0);
  assert_true(empty.high == 0x99aa06d3014798d8 && empty.low == 0x6001c324468d497f);
  assert_true(hash64((struct str){NULL, 0}, 0) == hash64(STR(""), 0));
  assert_true(hash64(STR("ada"), 0) != hash64(STR("ada"), 1));
  assert_true(hash64(STR("ada"), 0) == hash64((struct str){"adam", 3}, 0));
}

/* RFC 4648, 10: its test vectors. */
static void base64(void **state) {
  (void)state;
  static const char *const vectors[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xfb\xff\xfe", "+//+"}};
  for (size_t i = 0; i < COUNT(vectors); i++) {
    struct str plain = str_from(vectors[i][0]), coded = str_from(vectors[i][1]);
    char text[8];
    uint8_t bytes[6];
    assert_int_equal(BASE64_LENGTH(plain.len), coded.len);
    base64_encode(text, (const uint8_t *)plain.data, plain.len);
    assert_memory_equal(text, coded.data, coded.len);
    assert_int_equal(base64_decode(bytes, plain.len, coded), plain.len);
    assert_memory_equal(bytes, plain.data, plain.len);
    if (plain.len) assert_int_equal(base64_decode(bytes, plain.len - 1, coded), -1);
  }
  static const char *const bad[] = {"Z",        "Zg",     "Zg=",  "Zm9v=",     "Zh==", "Zm9=", "====", "Z===",
                                    "Zg==Zg==", "Zm9v\n", "Zm-v", "Zm9vYg=\n", "Z g=", "=Zg=", "Z=g="};
  for (size_t i = 0; i < COUNT(bad); i++) {
    uint8_t bytes[16];
    if (base64_decode(bytes, sizeof bytes, str_from(bad[i])) != -1) fail_msg("took %s", bad[i]);
  }
}

static void errors(void **state) {
  (void)state;
  struct error err = {0};
  assert_int_equal(error_set(&err, ERROR_LIMIT, "%d is more than %d", 5, 4), ERROR_LIMIT);
  assert_int_equal(err.code, ERROR_LIMIT);
  assert_int_equal(error_prefix(&err, "line %d", 7), ERROR_LIMIT);
  assert_string_equal(err.message, "line 7: 5 is more than 4");
  // Its own message may be an argument.
  error_set(&err, ERROR_INVALID, "again: %s", err.message);
  assert_string_equal(err.message, "again: line 7: 5 is more than 4");

  assert_int_equal(error_set_errno(&err, ENOSPC, "write %s", "log"), ERROR_NO_SPACE);
  assert_string_equal(err.message, "write log: No space left on device");
  assert_int_equal(error_set_errno(&err, EDQUOT, "write"), ERROR_NO_SPACE);
  assert_int_equal(error_set_errno(&err, EACCES, "open"), ERROR_IO);

  assert_int_equal(error_set(NULL, ERROR_IO, "x"), ERROR_IO);
  assert_int_equal(error_set_errno(NULL, ENOSPC, "x"), ERROR_NO_SPACE);
  assert_true(error_prefix(NULL, "x") < 0);
}

static void long_errors_are_cut(void **state) {
  (void)state;
  struct error err;
  memset(&err, 0xff, sizeof err);
  error_set(&err, ERROR_INVALID, "%02000d", 0);
  assert_int_equal(strlen(err.message), sizeof err.message - 1);
  error_prefix(&err, "where");
  assert_int_equal(strlen(err.message), sizeof err.message - 1);
  assert_memory_equal(err.message, "where: 000", 10);
  error_prefix(&err, "%02000d", 0);
  assert_int_equal(strlen(err.message), sizeof err.message - 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(durations),
      cmocka_unit_test(bad_durations),
      cmocka_unit_test(sizes),
      cmocka_unit_test(rates),
      cmocka_unit_test(caps),
      cmocka_unit_test(hours),
      cmocka_unit_test(text_without_an_end_is_fine),
      cmocka_unit_test(hex),
      cmocka_unit_test(hashes_are_stable),
      cmocka_unit_test(base64),
      cmocka_unit_test(errors),
      cmocka_unit_test(long_errors_are_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
