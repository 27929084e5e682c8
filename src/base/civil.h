/** The calendar: days and the dates that people call them by (proleptic Gregorian, as in ISO 8601).
 *
 * Days are counted from 1970-01-01. The conversions are Howard Hinnant's ("chrono-Compatible Low-Level Date
 * Algorithms"): a year that begins in March has its leap day last. Any thread.
 */
#pragma once

#include <stdint.h>

/** A date and time of day as a clock on the wall shows them. */
struct civil {
  int year;
  int month;       /**< 1 to 12 */
  int day;         /**< 1 to 31 */
  int hour;        /**< 0 to 23 */
  int minute;      /**< 0 to 59 */
  int second;      /**< 0 to 59; leap seconds are not counted, as in POSIX */
  int millisecond; /**< 0 to 999 */
};

enum { CIVIL_DAY_S = 86400, CIVIL_DAY_MS = 86400000 };
/** The calendar, weekdays included, repeats itself after 400 years. */
enum { CIVIL_CYCLE_YEARS = 400, CIVIL_CYCLE_DAYS = 146097 };

/** @param month  1 to 12 @param day  any: the 0th is the last of the month before. */
int64_t civil_days(int64_t year, int month, int64_t day);
/** Sets year, month and day alone. @param days  of any moment in ms */
void civil_date(int64_t days, struct civil *out);
/** 1 Monday to 7 Sunday (ISO 8601). */
int civil_weekday(int64_t days);
/** 28 to 31. */
int civil_month_days(int64_t year, int month);
/** Days and ms since midnight of a moment in ms; both round down. */
int64_t civil_split(int64_t ms, int64_t *of_day_ms);
