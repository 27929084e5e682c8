#include "deliver/standard_webhooks.h"

#include "base/base64.h"
#include "base/memory.h"

#include <inttypes.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { DIGEST_LENGTH = 32 };

struct webhook_signer {
  EVP_MAC_CTX *context; /**< with the key in it */
  int64_t timestamp_s;  /**< of the last signature … */
  char middle[32];      /**< … and what then stands between id and body */
  size_t middle_len;
};

int webhook_signer_new(struct webhook_signer **out, const char *secret, struct error *err) {
  *out = NULL;
  size_t len = strlen(secret);
  uint8_t *key = memory_alloc(len + 1);
  ptrdiff_t used = (ptrdiff_t)len;
  int rc = 0;
  EVP_MAC *mac = NULL;
  struct webhook_signer *signer = NULL;
  if (strncmp(secret, "whsec_", 6) == 0)
    used = base64_decode(key, len, str_from(secret + 6));
  else
    memcpy(key, secret, len);
  if (used <= 0) {
    rc = error_set(err, ERROR_INVALID, "the secret begins with whsec_, and what follows is not base64");
    goto cleanup;
  }
  mac = EVP_MAC_fetch(NULL, "HMAC", NULL);
  signer = memory_zalloc(sizeof *signer);
  signer->context = mac ? EVP_MAC_CTX_new(mac) : NULL;
  OSSL_PARAM params[] = {OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char[]){"SHA256"}, 0),
                         OSSL_PARAM_construct_end()};
  if (!signer->context || !EVP_MAC_init(signer->context, key, (size_t)used, params)) {
    rc = error_set(err, ERROR_INVALID, "this OpenSSL has no HMAC-SHA256");
    goto cleanup;
  }
  *out = signer;
  signer = NULL;
cleanup:
  webhook_signer_free(signer);
  EVP_MAC_free(mac);
  OPENSSL_cleanse(key, len + 1);
  memory_free(key);
  return rc;
}

void webhook_signer_free(struct webhook_signer *signer) {
  if (!signer) return;
  EVP_MAC_CTX_free(signer->context);
  memory_free(signer);
}

/** @param middle  what stands between id and body */
static void put_signature(EVP_MAC_CTX *context, struct str id, struct str middle, struct str body,
                          char out[WEBHOOK_SIGNATURE_LENGTH + 1]) {
  unsigned char digest[DIGEST_LENGTH];
  size_t written = 0;
  // Without a key the one from before is used.
  bool good = EVP_MAC_init(context, NULL, 0, NULL) &&
              EVP_MAC_update(context, (const unsigned char *)id.data, id.len) &&
              EVP_MAC_update(context, (const unsigned char *)middle.data, middle.len) &&
              EVP_MAC_update(context, (const unsigned char *)body.data, body.len) &&
              EVP_MAC_final(context, digest, &written, sizeof digest);
  // It worked when the signer was made; only memory can be missing now.
  if (!good || written != DIGEST_LENGTH) abort();
  memcpy(out, "v1,", 3);
  base64_encode(out + 3, digest, DIGEST_LENGTH);
  out[WEBHOOK_SIGNATURE_LENGTH] = '\0';
}

void webhook_sign(struct webhook_signer *signer, struct str id, int64_t timestamp_s, struct str body,
                  char out[WEBHOOK_SIGNATURE_LENGTH + 1]) {
  if (timestamp_s != signer->timestamp_s || signer->middle_len == 0) {
    signer->middle_len =
        (size_t)snprintf(signer->middle, sizeof signer->middle, ".%" PRId64 ".", timestamp_s);
    signer->timestamp_s = timestamp_s;
  }
  put_signature(signer->context, id, (struct str){signer->middle, signer->middle_len}, body, out);
}

/** Take the next signature off the header's list. */
static struct str next_signature(struct str *signatures) {
  const char *end = memchr(signatures->data, ' ', signatures->len);
  struct str one = {signatures->data, end ? (size_t)(end - signatures->data) : signatures->len};
  size_t taken = one.len + (end != NULL);
  *signatures = (struct str){signatures->data + taken, signatures->len - taken};
  return one;
}

bool webhook_signed(struct str signatures) {
  while (signatures.len) {
    struct str one = next_signature(&signatures);
    if (one.len == WEBHOOK_SIGNATURE_LENGTH && memcmp(one.data, "v1,", 3) == 0) return true;
  }
  return false;
}

bool webhook_verify(const struct webhook_signer *signer, struct str id, struct str timestamp, struct str body,
                    struct str signatures) {
  char expected[WEBHOOK_SIGNATURE_LENGTH + 1];
  struct buf middle = {0};
  buf_printf(&middle, ".%.*s.", STR_ARG(timestamp));
  EVP_MAC_CTX *context = EVP_MAC_CTX_dup(signer->context);
  if (!context) abort();
  put_signature(context, id, buf_str(&middle), body, expected);
  EVP_MAC_CTX_free(context);
  buf_deinit(&middle);
  while (signatures.len) {
    struct str one = next_signature(&signatures);
    if (one.len == WEBHOOK_SIGNATURE_LENGTH && CRYPTO_memcmp(one.data, expected, one.len) == 0) return true;
  }
  return false;
}
