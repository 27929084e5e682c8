#include "ingest/tls.h"

#include "base/memory.h"

#include <limits.h>
#include <openssl/err.h>

struct tls {
  SSL *ssl;
  BIO *in, *out; /**< `ssl` owns both */
};

/** OpenSSL's reason, and nothing left in its queue. */
static const char *reason(void) {
  unsigned long code = ERR_peek_last_error();
  ERR_clear_error();
  const char *text = code ? ERR_reason_error_string(code) : NULL;
  return text ? text : "unknown reason";
}

/** A key file that wants a pass phrase is refused, rather than asked for on a terminal that nobody watches.
 */
static int no_pass_phrase(char *buf, int size, int writing, void *context) {
  (void)buf, (void)size, (void)writing, (void)context;
  return -1;
}

static int select_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *context) {
  (void)ssl, (void)context;
  static const unsigned char http_1_1[] = "\x08http/1.1";
  int code = SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, http_1_1, sizeof http_1_1 - 1,
                                   in, in_len);
  return code == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

int tls_context_new(SSL_CTX **out, const char *certificate, const char *key, struct error *err) {
  int code = 0;
  ERR_clear_error();
  SSL_CTX *context = SSL_CTX_new(TLS_server_method());
  if (!context) return error_set(err, ERROR_IO, "OpenSSL makes no context: %s", reason());
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_default_passwd_cb(context, no_pass_phrase);
  SSL_CTX_set_alpn_select_cb(context, select_protocol, NULL);
  if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1)
    code = error_set(err, ERROR_INVALID, "http.tls.certificate %s: %s", certificate, reason());
  else if (SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
    code = error_set(err, ERROR_INVALID, "http.tls.key %s: %s", key, reason());
  else if (SSL_CTX_check_private_key(context) != 1)
    code = error_set(err, ERROR_INVALID, "http.tls.key %s does not belong to the certificate: %s", key,
                     reason());
  if (code)
    SSL_CTX_free(context);
  else
    *out = context;
  return code;
}

struct tls *tls_new(SSL_CTX *context) {
  struct tls *tls = memory_zalloc(sizeof *tls);
  tls->ssl = SSL_new(context);
  tls->in = BIO_new(BIO_s_mem());
  tls->out = BIO_new(BIO_s_mem());
  if (!tls->ssl || !tls->in || !tls->out) abort();
  SSL_set_bio(tls->ssl, tls->in, tls->out);
  SSL_set_accept_state(tls->ssl);
  return tls;
}

void tls_free(struct tls *tls) {
  if (!tls) return;
  SSL_free(tls->ssl);
  memory_free(tls);
}

void tls_feed(struct tls *tls, struct str bytes) {
  BIO_write(tls->in, bytes.data, (int)bytes.len);
}

enum tls_state tls_read(struct tls *tls, char *out, size_t *len) {
  size_t room = *len;
  *len = 0;
  ERR_clear_error();
  while (room > 0) {
    int got = SSL_read(tls->ssl, out + *len, room < INT_MAX ? (int)room : INT_MAX);
    if (got > 0) {
      *len += (size_t)got;
      room -= (size_t)got;
      continue;
    }
    switch (SSL_get_error(tls->ssl, got)) {
    case SSL_ERROR_WANT_READ:
      return TLS_MORE;
    case SSL_ERROR_ZERO_RETURN:
      return TLS_ENDED;
    default: {
      bool plain = ERR_GET_REASON(ERR_peek_error()) == SSL_R_HTTP_REQUEST;
      ERR_clear_error();
      return plain ? TLS_PLAIN_HTTP : TLS_BROKEN;
    }
    }
  }
  return TLS_MORE;
}

bool tls_write(struct tls *tls, struct str bytes) {
  ERR_clear_error();
  while (bytes.len > 0) {
    // Memory takes everything, so a write that is not whole has failed.
    int written = SSL_write(tls->ssl, bytes.data, bytes.len < INT_MAX ? (int)bytes.len : INT_MAX);
    if (written <= 0) return false;
    bytes.data += written;
    bytes.len -= (size_t)written;
  }
  return true;
}

void tls_end(struct tls *tls) {
  ERR_clear_error();
  if (SSL_is_init_finished(tls->ssl)) SSL_shutdown(tls->ssl);
  ERR_clear_error();
}

struct str tls_unsent(struct tls *tls) {
  char *data = NULL;
  long len = BIO_get_mem_data(tls->out, &data);
  return (struct str){data, len > 0 ? (size_t)len : 0};
}

void tls_sent(struct tls *tls) {
  (void)BIO_reset(tls->out);
}
