// covers: src/base/quantity.c src/state/throttle.c src/cli/moment.c
/* Durations, sizes, rates and moments as people write them, and what a throttle makes of a rate. Input: the
 * text, a newline, then times at which somebody asks the throttle. */
#include "base/quantity.h"
#include "cli/moment.h"
#include "fuzz.h"
#include "state/throttle.h"

#include <math.h>
#include <stdlib.h>

#define DURATION_MAX (INT64_C(36500) * 86400000)

static void check_message(int code, const struct error *err) {
  HOLDS(code == ERROR_INVALID && err->message[0]);
}

/** A rate is never exceeded, and who is refused is told the first moment at which he is not. */
static void check_throttle(struct rate rate, double burst, struct input *input) {
  double interval = fmax(1, ceil((double)rate.over_ms * 1000 / rate.count));
  double allowed = burst > 0 ? burst : rate.count;
  int64_t tat = 0, now = FUZZ_NOW * 1000, begin = now, next;
  uint64_t admitted = 0;
  for (unsigned i = 0; input_left(input) && i < 200; i++) {
    uint8_t how = input_u8(input);
    uint64_t step = input_number(input, how & 3 ? 2 : 4) << (how >> 4);
    if (__builtin_add_overflow(now, (int64_t)step, &now)) return;
    if (throttle_admit(tat, rate, burst, now, &next)) {
      HOLDS(next > now || next == INT64_MAX);
      tat = next;
      admitted++;
      if (allowed < 1e12 && interval < 1e15)
        HOLDS((double)admitted <= fmax(1, floor(allowed)) + 1 + (double)(now - begin) / interval,
              "%llu of %g", (unsigned long long)admitted, allowed);
    } else {
      HOLDS(next > now);
      int64_t later;
      if (next < INT64_MAX) HOLDS(throttle_admit(tat, rate, burst, next, &later));
      if (next > now + 1) HOLDS(!throttle_admit(tat, rate, burst, next - 1, &later));
    }
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  const uint8_t *newline = size ? memchr(data, '\n', size) : NULL;
  struct str text = input_bytes(&input, newline ? (size_t)(newline - data) : size);
  input_u8(&input);
  char *exact = fuzz_copy(text, 0, 0);
  text.data = exact;
  struct error err = {0};
  int64_t duration = 0, moment = 0, again;
  uint64_t bytes = 0;
  struct rate rate;
  int code = quantity_duration(text, &duration, &err);
  if (code)
    check_message(code, &err);
  else
    HOLDS(duration > 0 && duration <= DURATION_MAX);
  code = quantity_size(text, &bytes, &err);
  if (code)
    check_message(code, &err);
  else
    HOLDS(bytes <= INT64_MAX);
  code = quantity_rate(text, &rate, &err);
  if (code) {
    check_message(code, &err);
  } else {
    HOLDS(rate.count > 0 && rate.over_ms > 0 && rate.over_ms <= DURATION_MAX);
    double burst = input_u8(&input);
    check_throttle(rate, burst, &input);
  }
  struct cap cap;
  code = quantity_cap(text, &cap, &err);
  if (code)
    check_message(code, &err);
  else
    HOLDS(cap.count <= CAP_COUNT_MAX && cap.period >= CAP_ROLLING && cap.period <= CAP_MONTH &&
          cap.over_ms > 0);
  struct hours hours;
  code = quantity_hours(text, &hours, &err);
  if (code)
    check_message(code, &err);
  else
    HOLDS(hours.from < 1440 && hours.to < 1440 && hours.from != hours.to &&
          hours_include(hours, hours.from) && !hours_include(hours, hours.to));
  code = moment_parse(text, &moment, &err);
  if (code) {
    HOLDS(err.code == code && err.message[0]); // a zone that does not exist is not found
  } else {
    char written[MOMENT_TEXT_MAX];
    moment_write(moment, written);
    // As written it is the same moment; years of other than four digits are not read.
    if (moment > INT64_C(-30000000000000) && moment < INT64_C(250000000000000))
      HOLDS(moment_parse(str_from(written), &again, &err) == 0 && again == moment, "%lld, \"%s\"",
            (long long)moment, written);
  }
  free(exact);
  return 0;
}
