/** What becomes of a message whose attempt failed, and when it is tried again: exponential back-off with full
 * jitter, and what a provider's Retry-After says. Pure functions: the virtual host (sim/sim.h) asks them
 * too. */
#pragma once

#include "config/config.h"
#include "state/effect.h"

/** The longest that a provider may put off the next attempt, in ms: a year. */
#define RETRY_AFTER_MAX (365LL * 86400000)

/** How long after failure number `failures` (from 1; 0 is as 1) the next attempt comes: anything from 0 to
 * base * 2^(failures-1), bounded by the account's maximum, but not before `retry_after_ms`. @param random  a
 * fresh random number. */
int64_t retry_delay(const struct config_provider *account, uint32_t failures, int64_t retry_after_ms,
                    uint64_t random);

/** The value of a Retry-After header: seconds, or an HTTP date. @return ms from `now_ms` (wall clock), at
 * least 1 where the header is one, at most RETRY_AFTER_MAX; 0 for anything else. */
int64_t retry_after_parse(struct str value, int64_t now_ms);

/** An attempt that failed, or may have. Times: wall clock, ms. */
struct retry_failure {
  const struct config_provider *account;
  bool honours_keys; /**< the provider knows idempotency keys, so that sending again is safe */
  bool ambiguous;    /**< the provider may have the message */
  uint32_t sent;     /**< attempts begun, this one included if it was: what the account's limit counts */
  uint32_t failures; /**< attempts that failed like this one, itself included: what the pause grows with */
  int64_t age_from;  /**< what max_age counts from */
  int64_t now;
  int64_t retry_after_ms; /**< as the provider asked; 0 if it did not */
  uint64_t random;        /**< a fresh random number */
  struct str detail;      /**< what went wrong, without personal data */
};

struct retry_fate {
  enum outcome_kind kind; /**< RETRY, HELD or EXHAUSTED */
  int64_t retry_at;       /**< RETRY: then; else 0 */
  struct str detail;      /**< with the reason; lies in `text` */
  char text[256];
};

void retry_judge(const struct retry_failure *failure, struct retry_fate *fate);
