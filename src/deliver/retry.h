/** When to try again: exponential back-off with full jitter, and what a provider's Retry-After says. */
#pragma once

#include "config/config.h"

/** How long after failed attempt number `attempt` (from 1) the next one comes: anything from 0 to base *
 * 2^(attempt-1), bounded by the account's maximum, but not before `retry_after_ms`. @param random  a fresh
 * random number. */
int64_t retry_delay(const struct config_provider *account, uint32_t attempt, int64_t retry_after_ms,
                    uint64_t random);

/** The value of a Retry-After header: seconds, or an HTTP date. @return ms from `now_ms` (wall clock), at
 * least 1 where the header is one, at most a year; 0 for anything else. */
int64_t retry_after_parse(struct str value, int64_t now_ms);
