// links: base config event ingest
#include "test_ingest_host.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/stat.h>

static char directory[] = "/tmp/kairos-tls-XXXXXX";

static int make_certificates(void **state) {
  (void)state;
  char command[512];
  if (!mkdtemp(directory)) return -1;
  snprintf(command, sizeof command,
           "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "
           "/CN=localhost"
           " -keyout k.pem -out c.pem 2>/dev/null && openssl genpkey -algorithm ed25519 -out other.pem &&"
           " openssl pkey -in k.pem -aes128 -passout pass:x -out locked.pem",
           directory);
  return system(command);
}

static int remove_certificates(void **state) {
  (void)state;
  char command[128];
  snprintf(command, sizeof command, "rm -r %s", directory);
  return system(command);
}

static int set_up(void **state) {
  char yaml[512];
  snprintf(
      yaml, sizeof yaml,
      "http: {max_connections: 50, header_timeout: 300ms, tls: {certificate: %s/c.pem, key: %s/k.pem}}\n",
      directory, directory);
  return set_up_with(state, yaml);
}

static SSL *tls_connect(struct fixture *fixture, SSL_CTX *context) {
  SSL *ssl = SSL_new(context);
  SSL_set_fd(ssl, client_connect(fixture->host));
  return SSL_connect(ssl) == 1 ? ssl : NULL;
}

static void tls_disconnect(SSL *ssl) {
  int client = SSL_get_fd(ssl);
  SSL_free(ssl);
  close(client);
}

static SSL_CTX *tls_client(void) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  char path[64];
  snprintf(path, sizeof path, "%s/c.pem", directory);
  assert_int_equal(SSL_CTX_load_verify_locations(context, path, NULL), 1);
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  return context;
}

/** Read `count` answers. @return how many are 202. */
static int tls_read_answers(SSL *ssl, int count) {
  struct buf got = {0};
  int seen = 0, good = 0;
  size_t at = 0;
  while (seen < count) {
    int len = SSL_read(ssl, buf_reserve(&got, 4096), 4095);
    if (len <= 0) break;
    got.len += (size_t)len;
    got.data[got.len] = 0;
    // An answer's body ends with the only "]}" in it.
    for (char *end; (end = strstr((char *)got.data + at, "]}\n")); seen++) {
      good += strncmp((char *)got.data + at, "HTTP/1.1 202", 12) == 0;
      at = (size_t)(end + 3 - (char *)got.data);
    }
  }
  buf_deinit(&got);
  return seen == count ? good : -1;
}

static void requests_over_tls(void **state) {
  struct fixture *fixture = *state;
  static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};
  for (int i = 0; i < 2; i++) {
    SSL_CTX *context = tls_client();
    SSL_CTX_set_max_proto_version(context, versions[i]);
    SSL_CTX_set_alpn_protos(context, (const unsigned char *)"\x02h2\x08http/1.1", 12);
    SSL *ssl = tls_connect(fixture, context);
    assert_non_null(ssl);
    const unsigned char *protocol;
    unsigned len;
    SSL_get0_alpn_selected(ssl, &protocol, &len);
    assert_int_equal(len, 8);
    assert_memory_equal(protocol, "http/1.1", 8);
    set_event(fixture, "e");
    buf_clear(&fixture->out);
    for (int n = 0; n < 150; n++) put_post(&fixture->out, "application/json", "", buf_str(&fixture->body));
    assert_int_equal(SSL_write(ssl, fixture->out.data, (int)fixture->out.len), (int)fixture->out.len);
    assert_int_equal(tls_read_answers(ssl, 150), 150);
    // A body of many records.
    buf_clear(&fixture->body);
    for (int n = 0; n < 5000; n++) {
      put_event(&fixture->body, n % 2 ? "e" : "dup", "ada");
      buf_printf(&fixture->body, "\n");
    }
    buf_clear(&fixture->out);
    put_post(&fixture->out, "application/x-ndjson", "Connection: close\r\n", buf_str(&fixture->body));
    assert_int_equal(SSL_write(ssl, fixture->out.data, (int)fixture->out.len), (int)fixture->out.len);
    assert_int_equal(tls_read_answers(ssl, 1), 1);
    char byte;
    assert_int_equal(SSL_get_error(ssl, SSL_read(ssl, &byte, 1)), SSL_ERROR_ZERO_RETURN); // an orderly end
    tls_disconnect(ssl);
    SSL_CTX_free(context);
  }
}

static void old_tls_is_refused(void **state) {
  struct fixture *fixture = *state;
  SSL_CTX *context = tls_client();
  SSL_CTX_set_security_level(context, 0);
  SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
  SSL *ssl = SSL_new(context);
  int client = client_connect(fixture->host);
  SSL_set_fd(ssl, client);
  assert_int_not_equal(SSL_connect(ssl), 1);
  SSL_free(ssl);
  close(client);
  SSL_CTX_free(context);
}

static void what_is_not_tls(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  client_send(client, STR("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"));
  expect_answer(fixture, client, 400, "speaks TLS only");
  assert_true(client_at_end(client));
  close(client);
  static const char *const garbage[] = {"\x16\x03\x01", "garbage garbage garbage garbage",
                                        "\x16\x03\x01\x00\x05hello", ""};
  for (size_t i = 0; i < sizeof garbage / sizeof garbage[0]; i++) {
    client = client_connect(fixture->host);
    client_send(client, str_from(garbage[i]));
    char bytes[256];
    while (recv(client, bytes, sizeof bytes, 0) > 0)
      ; // an alert, perhaps; and the end, at the latest when time is up
    close(client);
  }
  // A client that leaves within the handshake, or within a record.
  SSL_CTX *context = tls_client();
  SSL *ssl = tls_connect(fixture, context);
  assert_non_null(ssl);
  client_send(SSL_get_fd(ssl), STR("\x17\x03\x03\x40\x00half a record"));
  tls_disconnect(ssl);
  ssl = tls_connect(fixture, context);
  assert_non_null(ssl);
  set_event(fixture, "e");
  buf_clear(&fixture->out);
  put_post(&fixture->out, "application/json", "", buf_str(&fixture->body));
  SSL_write(ssl, fixture->out.data, (int)fixture->out.len);
  assert_int_equal(tls_read_answers(ssl, 1), 1);
  tls_disconnect(ssl);
  SSL_CTX_free(context);
}

static void a_client_that_reads_late(void **state) {
  struct fixture *fixture = *state;
  SSL_CTX *context = tls_client();
  SSL *ssl = tls_connect(fixture, context);
  assert_non_null(ssl);
  // Each answer is some 100 bytes an item, the request three: the socket cannot take all the answers at once.
  buf_clear(&fixture->body);
  for (int i = 0; i < 9000; i++) buf_printf(&fixture->body, "{}\n");
  buf_clear(&fixture->out);
  for (int i = 0; i < 8; i++) put_post(&fixture->out, "application/x-ndjson", "", buf_str(&fixture->body));
  SSL_write(ssl, fixture->out.data, (int)fixture->out.len);
  usleep(100000);
  assert_int_equal(tls_read_answers(ssl, 8), 0);
  tls_disconnect(ssl);
  SSL_CTX_free(context);
}

static void bad_certificates_are_explained(void **state) {
  (void)state;
  static const struct {
    const char *certificate, *key, *part;
  } cases[] = {
      {"missing.pem", "k.pem", "http.tls.certificate"},
      {"c.pem", "missing.pem", "http.tls.key"},
      {"c.pem", "c.pem", "http.tls.key"},
      {"c.pem", "other.pem", "http.tls.key"},
      {"c.pem", "locked.pem", "http.tls.key"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct config *config = config_defaults();
    char certificate[64], key[64];
    snprintf(certificate, sizeof certificate, "%s/%s", directory, cases[i].certificate);
    snprintf(key, sizeof key, "%s/%s", directory, cases[i].key);
    const char *before[] = {config->http.tls_certificate, config->http.tls_key};
    config->http.tls_certificate = certificate;
    config->http.tls_key = key;
    struct ingest_shared *shared;
    struct error err = {0};
    assert_int_not_equal(ingest_shared_new(&shared, config, &err), 0);
    if (!strstr(err.message, cases[i].part)) fail_msg("case %zu: %s", i, err.message);
    config->http.tls_certificate = before[0];
    config->http.tls_key = before[1];
    config_free(config);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(requests_over_tls, set_up, tear_down),
      cmocka_unit_test_setup_teardown(old_tls_is_refused, set_up, tear_down),
      cmocka_unit_test_setup_teardown(what_is_not_tls, set_up, tear_down),
      cmocka_unit_test_setup_teardown(a_client_that_reads_late, set_up, tear_down),
      cmocka_unit_test(bad_certificates_are_explained),
  };
  signal(SIGPIPE, SIG_IGN);
  return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
