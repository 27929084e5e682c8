/** A circuit breaker: a provider that fails so many times in a row is left alone for a while, then asked by
 * one probe.
 *
 * Answers to requests that began before the breaker last changed are not counted: they tell of the past. One
 * thread.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };

struct breaker {
  enum breaker_state state;
  uint32_t threshold; /**< failures in a row that open it */
  int64_t open_us;    /**< for so long */
  uint32_t failures;
  uint32_t epoch; /**< counts changes of state */
  int64_t until;  /**< OPEN: till then, monotonic us */
  bool probing;   /**< HALF_OPEN: the probe is out */
};

extern const char *const breaker_names[3]; /**< by state */

/** Whether a request may begin. If not, `*when` is the earliest moment to ask again, INT64_MAX after the next
 * answer. */
bool breaker_admit(struct breaker *breaker, int64_t now_us, int64_t *when);
/** Whether one that was admitted, and has not begun, still may. @param epoch  breaker_begin()'s */
bool breaker_still_admits(const struct breaker *breaker, uint32_t epoch);
/** A request begins. @return what breaker_end() wants to know of it. */
uint32_t breaker_begin(struct breaker *breaker);
enum breaker_result { BREAKER_GOOD, BREAKER_BAD, BREAKER_UNKNOWN /**< it says nothing about the provider */ };
/** @param hold_us  the provider asked to be left alone for at least so long; 0 if it did not. */
void breaker_end(struct breaker *breaker, uint32_t epoch, enum breaker_result result, int64_t now_us,
                 int64_t hold_us);
