#include "base/quantity.h"

#include <stdio.h>

/** A hundred years: `now + duration` then never wraps. */
#define DURATION_MAX (36500LL * 86400000)
#define SIZE_LIMIT   ((uint64_t)INT64_MAX)
#define COUNT_MAX    1000000000000ULL

static const char duration_help[] =
    "a whole number and a unit (ms, s, m, h, d, w), such as \"30s\" or \"1h30m\"";
static const char size_help[] = "a whole number of bytes, or with a unit (KB, MB, GB), such as \"64MB\"";
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
