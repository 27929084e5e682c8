#include "deliver/breaker.h"

const char *const breaker_names[3] = {"closed", "half_open", "open"};

/** A provider's wish to be left alone is followed for so long at most; then it is asked again. */
#define HOLD_MAX_US (3600LL * 1000000)

static void change(struct breaker *breaker, enum breaker_state state) {
  breaker->state = state;
  breaker->epoch++;
  breaker->failures = 0;
  breaker->probing = false;
}

bool breaker_admit(struct breaker *breaker, int64_t now_us, int64_t *when) {
  if (breaker->state == BREAKER_OPEN && now_us >= breaker->until) change(breaker, BREAKER_HALF_OPEN);
  if (breaker->state == BREAKER_CLOSED) return true;
  *when = breaker->state == BREAKER_OPEN ? breaker->until : INT64_MAX;
  return breaker->state == BREAKER_HALF_OPEN && !breaker->probing;
}

bool breaker_still_admits(const struct breaker *breaker, uint32_t epoch) {
  // Half open, only the probe is of this epoch.
  return breaker->state == BREAKER_CLOSED || (breaker->state == BREAKER_HALF_OPEN && epoch == breaker->epoch);
}

uint32_t breaker_begin(struct breaker *breaker) {
  breaker->probing = breaker->state == BREAKER_HALF_OPEN;
  return breaker->epoch;
}

void breaker_end(struct breaker *breaker, uint32_t epoch, enum breaker_result result, int64_t now_us,
                 int64_t hold_us) {
  if (epoch != breaker->epoch) return;
  breaker->probing = false;
  if (result == BREAKER_UNKNOWN) return;
  if (result == BREAKER_GOOD) {
    breaker->failures = 0;
    if (breaker->state == BREAKER_HALF_OPEN) change(breaker, BREAKER_CLOSED);
    return;
  }
  if (breaker->state == BREAKER_CLOSED && ++breaker->failures < breaker->threshold) return;
  if (hold_us > HOLD_MAX_US) hold_us = HOLD_MAX_US;
  breaker->until = now_us + (hold_us > breaker->open_us ? hold_us : breaker->open_us);
  change(breaker, BREAKER_OPEN);
}
