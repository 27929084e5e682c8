/** TLS between socket and HTTP, by OpenSSL over memory: it sees no descriptor and never blocks. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

#include <openssl/ssl.h>

/** TLS 1.2 and newer, HTTP/1.1 by ALPN. @param certificate, key  paths of PEM files. */
int tls_context_new(SSL_CTX **out, const char *certificate, const char *key, struct error *err);

struct tls;
struct tls *tls_new(SSL_CTX *context);
void tls_free(struct tls *tls);

/** Bytes from the socket. */
void tls_feed(struct tls *tls, struct str bytes);
enum tls_state { TLS_MORE, TLS_ENDED, TLS_BROKEN, TLS_PLAIN_HTTP };
/** Go on with the handshake and decrypt into `out`, at most `*len` bytes, then `*len` of them.
 * @return TLS_MORE as long as there may be more: call again until `*len` is 0. */
enum tls_state tls_read(struct tls *tls, char *out, size_t *len);
/** Encrypt. @return false if the channel is broken. */
bool tls_write(struct tls *tls, struct str bytes);
/** Say good-bye. */
void tls_end(struct tls *tls);
/** Bytes for the socket, until tls_sent(). */
struct str tls_unsent(struct tls *tls);
void tls_sent(struct tls *tls);
