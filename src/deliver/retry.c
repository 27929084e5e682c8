#include "deliver/retry.h"

#include <curl/curl.h>
#include <stdio.h>

int64_t retry_delay(const struct config_provider *account, uint32_t failures, int64_t retry_after_ms,
                    uint64_t random) {
  int64_t most = account->backoff_max;
  uint32_t doublings = failures ? failures - 1 : 0;
  if (doublings < 62 && account->backoff_base <= most >> doublings) most = account->backoff_base << doublings;
  int64_t delay = most > 0 ? (int64_t)(random % ((uint64_t)most + 1)) : 0;
  return delay > retry_after_ms ? delay : retry_after_ms;
}

void retry_judge(const struct retry_failure *failure, struct retry_fate *fate) {
  const struct config_provider *account = failure->account;
  const char *more = "";
  fate->kind = OUTCOME_RETRY;
  fate->retry_at =
      failure->now + retry_delay(account, failure->failures, failure->retry_after_ms, failure->random);
  if (failure->ambiguous && !failure->honours_keys && account->ambiguous == CONFIG_AMBIGUOUS_HOLD) {
    fate->kind = OUTCOME_HELD;
    more = "; the provider may have it, and does not know idempotency keys";
  } else if (failure->sent >= account->attempts) {
    fate->kind = OUTCOME_EXHAUSTED;
    more = "; that was the last attempt";
  } else if (fate->retry_at > failure->age_from + account->max_age) {
    fate->kind = OUTCOME_EXHAUSTED;
    more = "; the next attempt would be past max_age";
  }
  if (fate->kind != OUTCOME_RETRY) fate->retry_at = 0;
  struct str detail = failure->detail;
  int len = snprintf(fate->text, sizeof fate->text, "%.*s%s%s", detail.len < 160 ? (int)detail.len : 160,
                     detail.data, failure->ambiguous ? " (ambiguous)" : "", more);
  fate->detail =
      (struct str){fate->text, (size_t)len < sizeof fate->text ? (size_t)len : sizeof fate->text - 1};
}

int64_t retry_after_parse(struct str value, int64_t now_ms) {
  while (value.len && value.data[0] == ' ') value.data++, value.len--;
  while (value.len && value.data[value.len - 1] == ' ') value.len--;
  if (value.len == 0 || value.len > 40) return 0;
  bool digits = true;
  int64_t seconds = 0;
  for (size_t i = 0; i < value.len && digits; i++) {
    digits = value.data[i] >= '0' && value.data[i] <= '9';
    if (digits && seconds <= RETRY_AFTER_MAX) seconds = seconds * 10 + (value.data[i] - '0');
  }
  int64_t delay = seconds * 1000;
  if (!digits) {
    char text[41];
    memcpy(text, value.data, value.len);
    text[value.len] = 0;
    time_t date = curl_getdate(text, NULL);
    if (date == -1) return 0;
    delay = (int64_t)date * 1000 - now_ms;
  }
  return delay < 1 ? 1 : delay > RETRY_AFTER_MAX ? RETRY_AFTER_MAX : delay;
}
