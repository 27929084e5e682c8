/** Signatures as Standard Webhooks defines them (https://www.standardwebhooks.com): HMAC-SHA256 over
 * "id.timestamp.body". */
#pragma once

#include "base/buf.h"
#include "base/error.h"

struct webhook_signer;

/** @param secret  "whsec_" and base64, or any other text, which is then the key as it stands. @return 0, or
 * ERROR_INVALID for broken base64. */
int webhook_signer_new(struct webhook_signer **out, const char *secret, struct error *err);
void webhook_signer_free(struct webhook_signer *signer);

enum { WEBHOOK_SIGNATURE_LENGTH = 47 };
/** "v1," and base64, terminated. One thread. */
void webhook_sign(struct webhook_signer *signer, struct str id, int64_t timestamp_s, struct str body,
                  char out[WEBHOOK_SIGNATURE_LENGTH + 1]);
/** Whether one of `signatures`, the header as it came ("v1,… v1,…"), has the form of one. Any thread. */
bool webhook_signed(struct str signatures);
/** Whether one of `signatures` is what the others ask for. The age of
 * `timestamp` is the caller's to judge. Any thread, if none signs meanwhile. */
bool webhook_verify(const struct webhook_signer *signer, struct str id, struct str timestamp, struct str body,
                    struct str signatures);
