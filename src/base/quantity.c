#include "base/quantity.h"

#include <stdio.h>
#include <string.h>

/** A hundred years: `now + duration` then never wraps. */
#define DURATION_MAX (36500LL * 86400000)
#define SIZE_LIMIT   ((uint64_t)INT64_MAX)
#define COUNT_MAX    1000000000000ULL

static const char duration_help[] =
    "a whole number and a unit (ms, s, m, h, d, w), such as \"30s\" or \"1h30m\"";
static const char size_help[] = "a whole number of bytes, or with a unit (KB, MB, GB), such as \"64MB\"";
static const char cap_help[] =
    "how many, \"/\" and in how long, such as \"3/7d\", or in a day, a week or a month of the "
    "calendar: \"1/1d calendar\", \"3/1w calendar\", \"5/1month calendar\"";
static const char hours_help[] = "from when to when, such as \"21:00-08:00\"";
static const char rate_help[] = "how many, \"/\" and in how long, such as \"100/s\" or \"1000/10m\"";

/** `text` fit to be quoted: short, and without control characters. */
struct shown {
  char text[44];
};

static struct shown shown(struct str text) {
  struct shown out;
  size_t used = 0;
  for (size_t i = 0; i < text.len && used < 40; i++) {
    unsigned char byte = (unsigned char)text.data[i];
    out.text[used++] = byte < 0x20 || byte >= 0x7f || byte == '"' ? '?' : (char)byte;
  }
  strcpy(out.text + used, text.len > 40 ? "..." : "");
  return out;
}

/** Digits from `*at`. @return false when there are none, or the number passes `limit` (then `*over`). */
static bool take_number(struct str text, size_t *at, uint64_t limit, uint64_t *out, bool *over) {
  uint64_t value = 0;
  size_t start = *at;
  while (*at < text.len && text.data[*at] >= '0' && text.data[*at] <= '9') {
    uint64_t digit = (uint64_t)(text.data[(*at)++] - '0');
    if (value > (limit - digit) / 10) {
      *over = true;
      return false;
    }
    value = value * 10 + digit;
  }
  *out = value;
  return *at > start;
}

/** The letters from `*at`. */
static struct str take_unit(struct str text, size_t *at) {
  size_t start = *at;
  while (*at < text.len && ((text.data[*at] | 0x20) >= 'a' && (text.data[*at] | 0x20) <= 'z')) (*at)++;
  return (struct str){text.data + start, *at - start};
}

/** @return the unit's milliseconds, or 0 for an unknown one. */
static int64_t unit_ms(struct str unit) {
  static const struct {
    struct str name;
    int64_t ms;
  } units[] = {{STR("ms"), 1},      {STR("s"), 1000},     {STR("m"), 60000},
               {STR("h"), 3600000}, {STR("d"), 86400000}, {STR("w"), 604800000}};
  for (size_t i = 0; i < sizeof units / sizeof units[0]; i++)
    if (str_equal(unit, units[i].name)) return units[i].ms;
  return 0;
}

int quantity_duration(struct str text, int64_t *out, struct error *err) {
  int64_t total = 0, last = INT64_MAX;
  bool over = false;
  size_t at = 0;
  while (at < text.len) {
    uint64_t count;
    if (!take_number(text, &at, DURATION_MAX, &count, &over)) break;
    int64_t unit = unit_ms(take_unit(text, &at));
    if (!unit) goto wrong;
    if (unit >= last)
      return error_set(err, ERROR_INVALID,
                       "\"%s\" is no duration: units go from large to small, each once, as in \"1h30m\"",
                       shown(text).text);
    last = unit;
    if (count > (uint64_t)((DURATION_MAX - total) / unit)) {
      over = true;
      break;
    }
    total += (int64_t)count * unit;
    if (at == text.len) {
      if (total == 0)
        return error_set(err, ERROR_INVALID, "\"%s\" is no duration: it has to be longer than nothing",
                         shown(text).text);
      *out = total;
      return 0;
    }
  }
  if (over)
    return error_set(err, ERROR_INVALID, "\"%s\" is too long: a duration is at most 36500d",
                     shown(text).text);
wrong:
  return error_set(err, ERROR_INVALID, "\"%s\" is no duration: write %s", shown(text).text, duration_help);
}

int quantity_size(struct str text, uint64_t *out, struct error *err) {
  static const struct {
    struct str name;
    uint64_t bytes;
  } units[] = {{STR(""), 1}, {STR("KB"), 1 << 10}, {STR("MB"), 1 << 20}, {STR("GB"), 1 << 30}};
  uint64_t count;
  bool over = false;
  size_t at = 0;
  if (take_number(text, &at, SIZE_LIMIT, &count, &over)) {
    struct str unit = {text.data + at, text.len - at};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
      if (!str_equal(unit, units[i].name)) continue;
      if (count > SIZE_LIMIT / units[i].bytes) {
        over = true;
        break;
      }
      *out = count * units[i].bytes;
      return 0;
    }
  }
  if (over)
    return error_set(err, ERROR_INVALID, "\"%s\" is too large: a size is below 8589934592GB",
                     shown(text).text);
  return error_set(err, ERROR_INVALID, "\"%s\" is no size: write %s", shown(text).text, size_help);
}

int quantity_rate(struct str text, struct rate *out, struct error *err) {
  uint64_t count;
  bool over = false;
  size_t at = 0;
  if (take_number(text, &at, COUNT_MAX, &count, &over) && count > 0 && at < text.len &&
      text.data[at] == '/') {
    struct str time = {text.data + at + 1, text.len - at - 1};
    int64_t over_ms = unit_ms(time);
    if (over_ms || quantity_duration(time, &over_ms, NULL) == 0) {
      *out = (struct rate){(double)count, over_ms};
      return 0;
    }
  }
  if (over)
    return error_set(err, ERROR_INVALID, "\"%s\" is too fast: a rate counts to 1000000000000 at most",
                     shown(text).text);
  return error_set(err, ERROR_INVALID, "\"%s\" is no rate: write %s", shown(text).text, rate_help);
}

#define DAY_MS 86400000LL

/** What stands before " calendar". @return whether it is a period of the calendar. */
static bool take_calendar(struct str time, struct cap *cap) {
  // With two hours more, for the days on which clocks are set; such shifts were never larger since 1970 but
  // by a whole day, which then has no midnight of its own.
  static const struct {
    struct str name;
    enum cap_period period;
    int64_t days;
  } periods[] = {{STR("1d"), CAP_DAY, 1},      {STR("day"), CAP_DAY, 1},   {STR("1w"), CAP_WEEK, 7},
                 {STR("7d"), CAP_WEEK, 7},     {STR("week"), CAP_WEEK, 7}, {STR("1month"), CAP_MONTH, 31},
                 {STR("month"), CAP_MONTH, 31}};
  for (size_t i = 0; i < sizeof periods / sizeof periods[0]; i++) {
    if (!str_equal(time, periods[i].name)) continue;
    cap->period = periods[i].period;
    cap->over_ms = periods[i].days * DAY_MS + 7200000;
    return true;
  }
  return false;
}

int quantity_cap(struct str text, struct cap *out, struct error *err) {
  static const struct str calendar = STR(" calendar");
  uint64_t count;
  bool over = false;
  size_t at = 0;
  if (take_number(text, &at, COUNT_MAX, &count, &over) && at < text.len && text.data[at] == '/') {
    struct str time = {text.data + at + 1, text.len - at - 1};
    struct cap cap = {.count = (uint32_t)count, .period = CAP_ROLLING};
    bool good;
    if (time.len > calendar.len &&
        memcmp(time.data + time.len - calendar.len, calendar.data, calendar.len) == 0) {
      time.len -= calendar.len;
      good = take_calendar(time, &cap);
    } else {
      good = quantity_duration(time, &cap.over_ms, NULL) == 0;
      if (good && cap.over_ms > 366 * DAY_MS)
        return error_set(err, ERROR_INVALID, "\"%s\" looks back too far: a cap counts over at most 366d",
                         shown(text).text);
    }
    if (good && count <= CAP_COUNT_MAX) {
      *out = cap;
      return 0;
    }
    over = good;
  }
  if (over)
    return error_set(err, ERROR_INVALID, "\"%s\" is too many: a cap counts to %d at most", shown(text).text,
                     CAP_COUNT_MAX);
  return error_set(err, ERROR_INVALID, "\"%s\" is no cap: write %s", shown(text).text, cap_help);
}

/** "08:00". */
static bool take_clock(struct str text, uint16_t *out) {
  if (text.len != 5 || text.data[2] != ':') return false;
  for (size_t i = 0; i < 5; i++)
    if (i != 2 && (text.data[i] < '0' || text.data[i] > '9')) return false;
  int hour = (text.data[0] - '0') * 10 + text.data[1] - '0',
      minute = (text.data[3] - '0') * 10 + text.data[4] - '0';
  *out = (uint16_t)(hour * 60 + minute);
  return hour < 24 && minute < 60;
}

int quantity_hours(struct str text, struct hours *out, struct error *err) {
  struct hours hours;
  if (text.len == 11 && text.data[5] == '-' && take_clock((struct str){text.data, 5}, &hours.from) &&
      take_clock((struct str){text.data + 6, 5}, &hours.to) && hours.from != hours.to) {
    *out = hours;
    return 0;
  }
  return error_set(err, ERROR_INVALID, "\"%s\" are no hours of the day: write %s", shown(text).text,
                   hours_help);
}

int quantity_share(struct str text, uint32_t *out, struct error *err) {
  uint32_t whole = 0, hundredths = 0;
  size_t at = 0, digits = 0, decimals = 0;
  for (; at < text.len && text.data[at] >= '0' && text.data[at] <= '9' && digits < 4; at++, digits++)
    whole = whole * 10 + (uint32_t)(text.data[at] - '0');
  if (digits && at < text.len && text.data[at] == '.') {
    for (at++; at < text.len && text.data[at] >= '0' && text.data[at] <= '9' && decimals < 3;
         at++, decimals++)
      if (decimals < 2) hundredths = hundredths * 10 + (uint32_t)(text.data[at] - '0');
    if (decimals == 0) digits = 0;
  }
  if (decimals == 1) hundredths *= 10;
  bool ended = at + 1 == text.len && text.data[at] == '%';
  if (!digits || !ended)
    return error_set(err, ERROR_INVALID, "is no share of the users such as \"25%%\" or \"0.5%%\"");
  if (decimals > 2) return error_set(err, ERROR_INVALID, "is finer than the smallest step, 0.01 %%");
  if (whole * 100 + hundredths > QUANTITY_ALL)
    return error_set(err, ERROR_INVALID, "is more than everybody, \"100%%\"");
  *out = whole * 100 + hundredths;
  return 0;
}
