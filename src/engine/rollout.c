#include "engine/rollout.h"

#include "base/hash.h"

#include <string.h>

enum { DAY_MINUTES = 24 * 60, EVERY_DAY = 0x7f };

static const char *const day_names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};

/* ---- text ---- */

static struct str next_word(struct str *rest) {
  while (rest->len && *rest->data == ' ') rest->data++, rest->len--;
  struct str word = {rest->data, 0};
  while (word.len < rest->len && word.data[word.len] != ' ') word.len++;
  rest->data += word.len;
  rest->len -= word.len;
  return word;
}

/** "09:00" or "9:00"; "24:00" is the day's end. @return minutes since midnight, or -1. */
static int parse_clock(struct str text) {
  int parts[2] = {0, 0}, digits[2] = {0, 0}, part = 0;
  for (size_t i = 0; i < text.len; i++) {
    char byte = text.data[i];
    if (byte == ':' && part == 0) {
      part = 1;
    } else if (byte >= '0' && byte <= '9' && digits[part] < 2) {
      parts[part] = parts[part] * 10 + (byte - '0');
      digits[part]++;
    } else {
      return -1;
    }
  }
  int minutes = parts[0] * 60 + parts[1];
  return digits[0] && digits[1] == 2 && parts[1] < 60 && minutes <= DAY_MINUTES ? minutes : -1;
}

static bool split(struct str text, char at, struct str *left, struct str *right) {
  const char *found = memchr(text.data, at, text.len);
  if (!found) return false;
  *left = (struct str){text.data, (size_t)(found - text.data)};
  *right = (struct str){found + 1, text.len - left->len - 1};
  return true;
}

/** "mon" or "Monday". @return 0 to 6, or -1. */
static int parse_day(struct str text) {
  static const char *const long_names[] = {"monday", "tuesday",  "wednesday", "thursday",
                                           "friday", "saturday", "sunday"};
  char lower[16];
  if (text.len < 3 || text.len >= sizeof lower) return -1;
  for (size_t i = 0; i < text.len; i++) {
    char byte = text.data[i];
    lower[i] = (char)(byte >= 'A' && byte <= 'Z' ? byte - 'A' + 'a' : byte);
  }
  struct str name = {lower, text.len};
  for (int i = 0; i < 7; i++)
    if (str_equal(name, str_from(day_names[i])) || str_equal(name, str_from(long_names[i]))) return i;
  return -1;
}

/** "mon-fri", "sat,sun", "mon,wed-fri"; "fri-mon" goes around. @return the days' bits, or 0. */
static uint8_t parse_days(struct str text) {
  unsigned days = 0;
  while (text.len) {
    struct str one = text, rest = {text.data + text.len, 0}, from, to;
    if (split(text, ',', &one, &rest) && !rest.len) return 0;
    if (!split(one, '-', &from, &to)) from = to = one;
    int first = parse_day(from), last = parse_day(to);
    if (first < 0 || last < 0) return 0;
    for (int day = first;; day = (day + 1) % 7) {
      days |= 1u << day;
      if (day == last) break;
    }
    text = rest;
  }
  return (uint8_t)days;
}

int rollout_parse_hours(struct str text, struct rollout_hours *out, struct error *err) {
  struct rollout_hours hours = {.days = EVERY_DAY};
  struct str rest = text, from, to, word = next_word(&rest);
  if (word.len && (*word.data < '0' || *word.data > '9')) {
    hours.days = parse_days(word);
    if (!hours.days)
      return error_set(
          err, ERROR_INVALID,
          "begins with \"%.*s\", which names no days; they are mon, tue, wed, thu, fri, sat and sun, as "
          "in \"mon-fri 09:00-18:00\"",
          STR_ARG(word));
    word = next_word(&rest);
  }
  if (!split(word, '-', &from, &to))
    return error_set(err, ERROR_INVALID, "names no hours from and to, as in \"09:00-18:00\"");
  int opens = parse_clock(from), closes = parse_clock(to);
  if (opens < 0 || opens == DAY_MINUTES || closes < 0)
    return error_set(err, ERROR_INVALID, "has the hours \"%.*s\"; the day goes from 00:00 to 24:00",
                     STR_ARG(word));
  if (closes == 0) closes = DAY_MINUTES;
  if (opens == closes)
    return error_set(err, ERROR_INVALID, "opens and closes at once; leave it out for the whole day");
  hours.opens = (int16_t)opens;
  hours.closes = (int16_t)closes;
  struct str zone = next_word(&rest), more = next_word(&rest);
  if (more.len)
    return error_set(err, ERROR_INVALID, "has \"%.*s\" behind the time zone; nothing may follow it",
                     STR_ARG(more));
  if (zone.len) {
    int rc = zone_find(&hours.zone, zone, err);
    if (rc) {
      error_prefix(err, "names no time zone");
      return rc;
    }
  }
  *out = hours;
  return 0;
}

/* ---- who ---- */

uint32_t rollout_bucket(struct str campaign, struct entity entity) {
  return (uint32_t)(hash64(entity.id, hash64(campaign, (uint64_t)entity.kind)) % ROLLOUT_ALL);
}

/* ---- when ---- */

/** When clocks in the zone come to show so many minutes past a day's midnight. */
static int64_t instant_of(const struct zone *zone, int64_t day, int minutes) {
  enum { MINUTE = 60000 };
  struct civil civil = {0};
  civil_date(day + minutes / DAY_MINUTES, &civil);
  civil.hour = minutes % DAY_MINUTES / 60;
  civil.minute = minutes % 60;
  int64_t at = zone_instant(zone, &civil);
  struct civil shown;
  zone_civil(zone, at, &shown);
  bool there = shown.day == civil.day && shown.hour == civil.hour && shown.minute == civil.minute;
  if (there) return at;
  int offset = zone_offset(zone, at, NULL); // they skip it: back to when they do
  while (zone_offset(zone, at - MINUTE, NULL) == offset) at -= MINUTE;
  return at;
}

struct rollout_opening rollout_opening(const struct rollout_hours *hours, const struct zone *zone,
                                       int64_t now) {
  struct civil civil;
  zone_civil(zone, now, &civil);
  int64_t today = civil_days(civil.year, civil.month, civil.day);
  struct rollout_opening answer = {.from = INT64_MIN, .until = INT64_MAX};
  int span = hours->closes > hours->opens ? hours->closes : hours->closes + DAY_MINUTES;
  for (int64_t day = today - 2; day <= today + 15; day++) { // once a week, and that day may be skipped
    if (!(hours->days & 1u << (civil_weekday(day) - 1))) continue;
    int64_t opens = instant_of(zone, day, hours->opens), closes = instant_of(zone, day, span);
    if (now >= opens && now < closes) return (struct rollout_opening){true, opens, closes};
    if (closes <= now) answer.from = closes;
    if (opens > now && closes > opens) { // clocks may skip all of it
      answer.until = opens;
      break;
    }
  }
  return answer;
}
