#include "cli/moment.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/** Take exactly `digits` digits. @return false if they are not there. */
static bool take_number(struct str *text, int digits, int *out) {
  *out = 0;
  if (text->len < (size_t)digits) return false;
  for (int i = 0; i < digits; i++) {
    if (!is_digit(text->data[i])) return false;
    *out = *out * 10 + text->data[i] - '0';
  }
  text->data += digits;
  text->len -= (size_t)digits;
  return true;
}

static bool take(struct str *text, char c) {
  if (text->len == 0 || *text->data != c) return false;
  text->data++;
  text->len--;
  return true;
}

/** "Z", "+01:00", "-0530" or nothing. */
static bool take_zone(struct str *text, int *minutes) {
  *minutes = 0;
  if (text->len == 0 || take(text, 'Z')) return true;
  bool east = take(text, '+');
  if (!east && !take(text, '-')) return false;
  int hours = 0, rest = 0;
  if (!take_number(text, 2, &hours) || hours > 14) return false;
  take(text, ':');
  if (text->len && (!take_number(text, 2, &rest) || rest > 59)) return false;
  *minutes = (hours * 60 + rest) * (east ? 1 : -1);
  return true;
}

static bool take_time(struct str *text, struct tm *date, int *ms) {
  if (!take_number(text, 2, &date->tm_hour) || !take(text, ':') || !take_number(text, 2, &date->tm_min))
    return false;
  if (take(text, ':') && !take_number(text, 2, &date->tm_sec)) return false;
  if (take(text, '.')) {
    int digits = 0;
    for (int factor = 100; text->len && is_digit(*text->data); factor /= 10, digits++) {
      *ms += (*text->data - '0') * factor;
      take(text, *text->data);
    }
    if (digits == 0) return false;
  }
  return date->tm_hour < 24 && date->tm_min < 60 && date->tm_sec < 60;
}

static bool parse_date(struct str text, int64_t *out) {
  struct tm date = {0};
  int ms = 0, minutes = 0;
  if (!take_number(&text, 4, &date.tm_year) || !take(&text, '-') || !take_number(&text, 2, &date.tm_mon) ||
      !take(&text, '-') || !take_number(&text, 2, &date.tm_mday))
    return false;
  date.tm_year -= 1900;
  date.tm_mon -= 1;
  if (take(&text, 'T') || take(&text, ' ')) {
    if (!take_time(&text, &date, &ms)) return false;
    take(&text, ' ');
    if (!take_zone(&text, &minutes)) return false;
  }
  if (text.len) return false;
  struct tm asked = date;
  time_t seconds = timegm(&date);
  // timegm() makes 2 March of 30 February; a day that does not exist is a slip.
  if (date.tm_mday != asked.tm_mday || date.tm_mon != asked.tm_mon) return false;
  *out = ((int64_t)seconds - minutes * 60) * 1000 + ms;
  return true;
}

static bool parse_ms(struct str text, int64_t *out) {
  bool negative = take(&text, '-');
  if (text.len == 0 || text.len > 15) return false;
  *out = 0;
  for (size_t i = 0; i < text.len; i++) {
    if (!is_digit(text.data[i])) return false;
    *out = *out * 10 + text.data[i] - '0';
  }
  if (negative) *out = -*out;
  return true;
}

int moment_parse(struct str text, int64_t *out, struct error *err) {
  int64_t found = 0;
  if (!parse_ms(text, &found) && !parse_date(text, &found))
    return error_set(err, ERROR_INVALID,
                     "\"%.*s\" is no time: 2026-11-20, 2026-11-20T09:30, 2026-11-20T09:30:00.000+01:00 (UTC "
                     "unless it says "
                     "otherwise), or milliseconds since 1970",
                     text.len > 64 ? 64 : (int)text.len, text.data);
  *out = found;
  return 0;
}

void moment_write(int64_t ms, char out[MOMENT_TEXT_MAX]) {
  time_t seconds = (time_t)(ms / 1000 - (ms % 1000 < 0));
  int rest = (int)(ms - (int64_t)seconds * 1000);
  struct tm local;
  char date[24], zone[8];
  if (!localtime_r(&seconds, &local) || !strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &local) ||
      strftime(zone, sizeof zone, "%z", &local) != 5)
    snprintf(out, MOMENT_TEXT_MAX, "%lld ms", (long long)ms);
  else
    snprintf(out, MOMENT_TEXT_MAX, "%s.%03u %.3s:%.2s", date, (unsigned)rest % 1000, zone, zone + 3);
}
