#include "base/civil.h"

/** From 0000-03-01 to 1970-01-01. */
#define EPOCH_DAYS 719468

int64_t civil_days(int64_t year, int month, int64_t day) {
  year -= month <= 2;
  int64_t era = (year >= 0 ? year : year - (CIVIL_CYCLE_YEARS - 1)) / CIVIL_CYCLE_YEARS;
  int64_t of_era = year - era * CIVIL_CYCLE_YEARS;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5;
  return era * CIVIL_CYCLE_DAYS + of_era * 365 + of_era / 4 - of_era / 100 + of_year - EPOCH_DAYS + day - 1;
}

void civil_date(int64_t days, struct civil *out) {
  days += EPOCH_DAYS;
  int64_t era = (days >= 0 ? days : days - (CIVIL_CYCLE_DAYS - 1)) / CIVIL_CYCLE_DAYS;
  int64_t of_era = days - era * CIVIL_CYCLE_DAYS;
  int64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / (CIVIL_CYCLE_DAYS - 1)) / 365;
  int64_t of_year = of_era - (365 * year + year / 4 - year / 100);
  int month = (int)(5 * of_year + 2) / 153;
  out->day = (int)(of_year - (153 * month + 2) / 5 + 1);
  out->month = month + (month < 10 ? 3 : -9);
  out->year = (int)(year + era * CIVIL_CYCLE_YEARS + (out->month <= 2));
}

int civil_weekday(int64_t days) {
  int64_t since_monday = (days + 3) % 7; // 1970-01-01 was a Thursday
  return (int)(since_monday < 0 ? since_monday + 7 : since_monday) + 1;
}

int civil_month_days(int64_t year, int month) {
  return (int)(month == 12 ? 31 : civil_days(year, month + 1, 1) - civil_days(year, month, 1));
}

int64_t civil_split(int64_t ms, int64_t *of_day_ms) {
  int64_t days = ms / CIVIL_DAY_MS, rest = ms % CIVIL_DAY_MS;
  if (rest < 0) {
    days--;
    rest += CIVIL_DAY_MS;
  }
  *of_day_ms = rest;
  return days;
}
