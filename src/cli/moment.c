#include "cli/moment.h"

#include "base/zone.h"

#include <stdio.h>
#include <time.h>

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool parse_ms(struct str text, int64_t *out) {
  bool negative = text.len && *text.data == '-';
  if (text.len == (size_t)negative || text.len - negative > 15) return false;
  int64_t ms = 0;
  for (size_t i = negative; i < text.len; i++) {
    if (!is_digit(text.data[i])) return false;
    ms = ms * 10 + text.data[i] - '0';
  }
  *out = negative ? -ms : ms;
  return true;
}

int moment_parse(struct str text, int64_t *out, struct error *err) {
  return parse_ms(text, out) ? 0 : zone_parse_moment(text, zone_utc(), out, err);
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
