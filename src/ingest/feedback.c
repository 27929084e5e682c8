#include "ingest/feedback.h"

#include "base/base64.h"
#include "base/memory.h"
#include "deliver/standard_webhooks.h"
#include <openssl/evp.h>
#include <openssl/x509.h>
#include <stdlib.h>

enum { KEY_MAX = 128, SIGNATURE_MAX = 128 /**< bytes in base64; a P-256 signature has at most 96 */ };

struct feedback_keys {
  const struct config *config;
  struct feedback_key {
    struct webhook_signer *signer; /**< of a webhook */
    EVP_PKEY *key;                 /**< of SendGrid */
    metric_id taken, refused;
  } accounts[]; /**< as in the configuration; empty: it reports nothing that could be checked */
};

void feedback_claim_free(struct feedback_claim *claim) {
  if (!claim) return;
  buf_deinit(&claim->provider);
  buf_deinit(&claim->id);
  buf_deinit(&claim->timestamp);
  buf_deinit(&claim->signature);
  memory_free(claim);
}

static int read_public_key(EVP_PKEY **out, const struct config_provider *account, struct error *err) {
  unsigned char der[KEY_MAX];
  const unsigned char *at = der;
  ptrdiff_t len = base64_decode(der, sizeof der, str_from(account->feedback_key));
  *out = len > 0 ? d2i_PUBKEY(NULL, &at, (long)len) : NULL;
  if (*out) return 0;
  return error_set(err, ERROR_INVALID, "provider %s: feedback_key is no public key", account->name);
}

int feedback_keys_new(struct feedback_keys **out, const struct config *config, struct error *err) {
  struct feedback_keys *keys =
      memory_zalloc(sizeof *keys + config->provider_count * sizeof keys->accounts[0]);
  keys->config = config;
  int rc = 0;
  bool any = false;
  for (uint32_t i = 0; i < config->provider_count && rc == 0; i++) {
    const struct config_provider *account = &config->providers[i];
    struct feedback_key *key = &keys->accounts[i];
    if (account->type == CONFIG_PROVIDER_WEBHOOK && account->secret.value)
      rc = webhook_signer_new(&key->signer, account->secret.value, err);
    else if (account->type == CONFIG_PROVIDER_SENDGRID && account->feedback_key)
      rc = read_public_key(&key->key, account, err);
    else
      continue;
    any = true;
    static const char help[] = "Requests in which a provider reports, by whether its signature held";
    struct buf labels = {0};
    buf_printf(&labels, "provider=\"%s\",signature=\"good\"%c", account->name, '\0');
    key->taken = metric_counter("kairos_feedback_total", help, (const char *)labels.data);
    buf_clear(&labels);
    buf_printf(&labels, "provider=\"%s\",signature=\"bad\"%c", account->name, '\0');
    key->refused = metric_counter("kairos_feedback_total", help, (const char *)labels.data);
    buf_deinit(&labels);
  }
  if (rc || !any) {
    feedback_keys_free(keys);
    keys = NULL;
  }
  *out = keys;
  return rc;
}

void feedback_keys_free(struct feedback_keys *keys) {
  if (!keys) return;
  for (uint32_t i = 0; i < keys->config->provider_count; i++) {
    webhook_signer_free(keys->accounts[i].signer);
    EVP_PKEY_free(keys->accounts[i].key);
  }
  memory_free(keys);
}

const struct config_provider *feedback_account(const struct feedback_keys *keys, struct str name) {
  const struct config_provider *account = keys ? config_provider(keys->config, name) : NULL;
  if (!account) return NULL;
  const struct feedback_key *key = &keys->accounts[account - keys->config->providers];
  return key->signer || key->key ? account : NULL;
}

/** The furthest from now that a webhook may have signed, and SendGrid ahead of us, in ms. */
static int64_t tolerance(const struct config *config) {
  int64_t half = config->dedup.keep / 2;
  return half < FEEDBACK_AGE_S * 1000 ? half : FEEDBACK_AGE_S * 1000;
}

/** Whether `timestamp` is seconds since the epoch, less than `past_ms` ago and at most `ahead_ms` ahead. */
static bool is_recent(struct str timestamp, int64_t wall_ms, int64_t past_ms, int64_t ahead_ms) {
  char text[16], *end; // a date of the year 9999 has 12 digits
  if (timestamp.len == 0 || timestamp.len >= sizeof text) return false;
  memcpy(text, timestamp.data, timestamp.len);
  text[timestamp.len] = '\0';
  int64_t at_ms = strtoll(text, &end, 10) * 1000;
  return *end == '\0' && at_ms > wall_ms - past_ms && at_ms <= wall_ms + ahead_ms;
}

static bool ecdsa_holds(EVP_PKEY *key, struct str timestamp, struct str body, struct str signature) {
  unsigned char der[SIGNATURE_MAX];
  ptrdiff_t len = base64_decode(der, sizeof der, signature);
  if (len <= 0) return false;
  EVP_MD_CTX *context = EVP_MD_CTX_new();
  if (!context) abort();
  bool holds = EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
               EVP_DigestVerifyUpdate(context, timestamp.data, timestamp.len) == 1 &&
               EVP_DigestVerifyUpdate(context, body.data, body.len) == 1 &&
               EVP_DigestVerifyFinal(context, der, (size_t)len) == 1;
  EVP_MD_CTX_free(context);
  return holds;
}

static const struct feedback_key *key_of(const struct feedback_keys *keys,
                                         const struct config_provider *account) {
  return &keys->accounts[account - keys->config->providers];
}

static const char *head_fault(const struct feedback_keys *keys, const struct feedback_key *key,
                              const struct feedback_claim *claim, int64_t wall_ms) {
  int64_t near = tolerance(keys->config);
  struct str timestamp = buf_str(&claim->timestamp), signature = buf_str(&claim->signature);
  if (key->key) {
    unsigned char der[SIGNATURE_MAX];
    if (!timestamp.len || !signature.len)
      return "X-Twilio-Email-Event-Webhook-Signature and -Timestamp are wanted: turn on \"Signed Event "
             "Webhook\"";
    if (base64_decode(der, sizeof der, signature) <= 0)
      return "X-Twilio-Email-Event-Webhook-Signature is no ECDSA signature in base64";
    if (!is_recent(timestamp, wall_ms, keys->config->dedup.keep, near))
      return "X-Twilio-Email-Event-Webhook-Timestamp is further back than dedup.keep, so that it might count "
             "twice; or ahead of this host's clock, or no number of seconds";
    return NULL;
  }
  if (!claim->id.len || !timestamp.len || !signature.len)
    return "the headers webhook-id, webhook-timestamp and webhook-signature are wanted (Standard Webhooks)";
  if (!is_recent(timestamp, wall_ms, near, near))
    return "webhook-timestamp is more than five minutes, or half of dedup.keep, from now, or no number of "
           "seconds";
  if (!webhook_signed(signature)) return "webhook-signature holds no signature \"v1,\" and 44 of base64";
  return NULL;
}

static const char *signature_fault(const struct feedback_key *key, const struct feedback_claim *claim,
                                   struct str body) {
  struct str timestamp = buf_str(&claim->timestamp), signature = buf_str(&claim->signature);
  if (key->key)
    return ecdsa_holds(key->key, timestamp, body, signature)
               ? NULL
               : "the signature is not that of this body by the account's feedback_key";
  return webhook_verify(key->signer, buf_str(&claim->id), timestamp, body, signature)
             ? NULL
             : "the signature is not that of this body by the account's secret";
}

const char *feedback_admit(const struct feedback_keys *keys, const struct config_provider *account,
                           const struct feedback_claim *claim, int64_t wall_ms) {
  const struct feedback_key *key = key_of(keys, account);
  const char *fault = head_fault(keys, key, claim, wall_ms);
  if (fault) metric_add(key->refused, 1);
  return fault;
}

const char *feedback_verify(const struct feedback_keys *keys, const struct config_provider *account,
                            const struct feedback_claim *claim, struct str body, int64_t wall_ms) {
  const struct feedback_key *key = key_of(keys, account);
  // The body may have taken its time.
  const char *fault = head_fault(keys, key, claim, wall_ms);
  if (!fault) fault = signature_fault(key, claim, body);
  metric_add(fault ? key->refused : key->taken, 1);
  return fault;
}
