/** Who may report what became of messages: the signatures of providers' webhooks.
 *
 * A `webhook` signs its reports as messages to it are signed: Standard Webhooks
 * (https://www.standardwebhooks.com), with the account's secret. SendGrid signs its Event Webhook by ECDSA
 * over P-256 with SHA-256 of timestamp and body
 * (https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features),
 * and the account's `feedback_key` is the public key.
 *
 * Whoever has caught a signed request can send it again. What is told twice has the same event_id, and dedup
 * drops it, for `dedup.keep` after its acceptance; so no request is taken that was signed longer ago. A
 * webhook's is at most FEEDBACK_AGE_S from now, either way, or half of dedup.keep where that is less.
 * SendGrid's, which it tries for a day and may have signed at the first try, is taken for all of dedup.keep,
 * and from as far ahead as a webhook's: by as much as its clock is ahead of ours one may count twice.
 */
#pragma once

#include "base/buf.h"
#include "base/metric.h"
#include "config/config.h"

enum {
  FEEDBACK_AGE_S = 300,
  FEEDBACK_RETRY_S = 60, /**< Retry-After where a mapping failed */
  /** Largest body, unpacked: SendGrid posts what has gathered at 768 KB (the Event Webhook's overview). */
  FEEDBACK_BODY_MAX = 1 << 20
};

/** What a request to /v1/feedback/PROVIDER says of itself. */
struct feedback_claim {
  struct buf provider, id, timestamp, signature;
};
void feedback_claim_free(struct feedback_claim *claim);

struct feedback_keys;
/** @return 0 and null in `*out` when no account takes any; ERROR_INVALID for a key that is none. */
int feedback_keys_new(struct feedback_keys **out, const struct config *config, struct error *err);
void feedback_keys_free(struct feedback_keys *keys);
/** The account of that name, if its reports can be checked; else null. Any thread. */
const struct config_provider *feedback_account(const struct feedback_keys *keys, struct str name);
/** What can be told from the head alone, so that nobody's body is read for nothing: the headers of a
 * signature are there, have its form, and its time is recent. Any thread.
 * @return null, or what is wrong, for the answer */
const char *feedback_admit(const struct feedback_keys *keys, const struct config_provider *account,
                           const struct feedback_claim *claim, int64_t wall_ms);
/** That again, and whether the claim's signature is that of the body. Any thread.
 * @return null, or what is wrong, for the answer */
const char *feedback_verify(const struct feedback_keys *keys, const struct config_provider *account,
                            const struct feedback_claim *claim, struct str body, int64_t wall_ms);
