// links: base config event state gate deliver engine
/* Provider mappings: what goes out for a message, and what answers mean. */
#include "test_engine_support.h"

static const char yaml[] = "providers:\n"
                           "  - name: hook\n    type: webhook\n    url: https://shop.example/in\n    "
                           "secret_env: KAIROS_TEST_SECRET\n"
                           "  - name: grid\n    type: sendgrid\n    secret_env: KAIROS_TEST_SECRET\n    "
                           "from: \"Shop <hello@shop.example>\"\n"
                           "routes:\n  webhook: hook\n  email: grid\n";

struct mapping {
  struct bench bench;
  struct provider_scripts scripts;
  struct rendered rendered;
  struct message message;
  struct http_request request;
  struct buf data;
};

static void put_pair(struct buf *out, const char *name, const char *text) {
  value_put_string(out, str_from(name));
  value_put_string(out, str_from(text));
}

static void mapping_init(struct mapping *mapping) {
  char library[512];
  *mapping = (struct mapping){0};
  setenv("KAIROS_TEST_SECRET", "s3cret", 1);
  bench_init(&mapping->bench, yaml);
  bench_library(library, sizeof library);
  struct error err = {0};
  if (ruleset_read(&mapping->bench.ruleset, mapping->bench.folder, library, &err))
    fail_msg("%s", err.message);
  if (engine_providers(mapping->bench.ruleset, mapping->bench.config, &mapping->scripts, &err))
    fail_msg("%s", err.message);
  rendered_init(&mapping->rendered);
  value_put_map(&mapping->rendered.headers, 2);
  put_pair(&mapping->rendered.headers, "subject", "Hello Ada");
  put_pair(&mapping->rendered.headers, "reply_to", "help@shop.example");
  buf_append(&mapping->rendered.body, "<p>\"hi\"</p>", 11);
  buf_append(&mapping->rendered.text, "hi", 2);
  bench_json(&mapping->bench, "{\"z\":9223372036854775807,\"a\":[],\"m\":{}}", &mapping->data);
  mapping->message = (struct message){.id = {0x0123456789abcdef, 0xfedcba9876543210},
                                      .user = {ENTITY_USER, STR("ada")},
                                      .campaign = STR("cart"),
                                      .template_name = STR("reminder"),
                                      .channel = STR("email"),
                                      .to = STR("ada@example.org"),
                                      .data = buf_str(&mapping->data),
                                      .accepted = 1760000000123};
}

static void mapping_deinit(struct mapping *mapping) {
  mapping->scripts.free(mapping->scripts.context);
  rendered_deinit(&mapping->rendered);
  buf_deinit(&mapping->request.url);
  buf_deinit(&mapping->request.body);
  buf_deinit(&mapping->request.headers);
  buf_deinit(&mapping->data);
  bench_deinit(&mapping->bench);
}

static int request(struct mapping *mapping, const char *account, struct error *err) {
  buf_clear(&mapping->request.url);
  buf_clear(&mapping->request.body);
  buf_clear(&mapping->request.headers);
  const struct config_provider *provider = config_provider(mapping->bench.config, str_from(account));
  return mapping->scripts.request(mapping->scripts.context, provider, provider->secret.value,
                                  &mapping->message, &mapping->rendered, &mapping->request, err);
}

static void assert_text(struct buf *buf, const char *expected) {
  buf_put_u8(buf, 0);
  assert_string_equal((char *)buf->data, expected);
}

static void assert_json(struct str value, const char *expected) {
  struct buf json;
  buf_init(&json);
  value_to_json(value, &json);
  assert_text(&json, expected);
  buf_deinit(&json);
}

static void test_webhook(void **state) {
  (void)state;
  struct mapping mapping;
  struct error err = {0};
  mapping_init(&mapping);
  for (int attempt = 0; attempt < 2; attempt++) { // the same bytes each time
    if (request(&mapping, "hook", &err)) fail_msg("%s", err.message);
    assert_string_equal(mapping.request.method, "POST");
    assert_true(mapping.request.json_signed);
    assert_json(
        buf_str(&mapping.request.headers),
        "{\"Content-Type\":\"application/json\",\"Idempotency-Key\":\"0123456789abcdeffedcba9876543210\"}");
    assert_text(&mapping.request.url, "https://shop.example/in");
    assert_text(&mapping.request.body,
                "{\"data\":{\"body\":\"<p>\\\"hi\\\"</"
                "p>\",\"campaign\":\"cart\",\"channel\":\"email\",\"data\":{\"z\":9223372036854775807,\"a\":["
                "],\"m\":{}},"
                "\"message_id\":\"0123456789abcdeffedcba9876543210\",\"subject\":\"Hello "
                "Ada\",\"template\":\"reminder\",\"to\":\"ada@example.org\",\"user\":\"ada\"},"
                "\"timestamp\":\"2025-10-09T08:53:20.123Z\",\"type\":\"message.email\"}");
  }
  assert_true(mapping.scripts.honours_keys(mapping.scripts.context,
                                           config_provider(mapping.bench.config, STR("hook"))));
  mapping_deinit(&mapping);
}

static void test_sendgrid(void **state) {
  (void)state;
  struct mapping mapping;
  struct error err = {0};
  mapping_init(&mapping);
  if (request(&mapping, "grid", &err)) fail_msg("%s", err.message);
  assert_false(mapping.request.json_signed);
  assert_json(buf_str(&mapping.request.headers),
              "{\"Authorization\":\"Bearer s3cret\",\"Content-Type\":\"application/json\"}");
  assert_text(&mapping.request.url, "https://api.sendgrid.com/v3/mail/send");
  assert_text(&mapping.request.body,
              "{\"content\":[{\"type\":\"text/plain\",\"value\":\"hi\"},{\"type\":\"text/"
              "html\",\"value\":\"<p>\\\"hi\\\"</p>\"}],"
              "\"custom_args\":{\"campaign\":\"cart\",\"message_id\":\"0123456789abcdeffedcba9876543210\","
              "\"template\":\"reminder\",\"user\":\"ada\"},"
              "\"from\":{\"email\":\"hello@shop.example\",\"name\":\"Shop\"},\"headers\":{\"X-Message-Key\":"
              "\"0123456789abcdeffedcba9876543210\"},"
              "\"personalizations\":[{\"to\":[{\"email\":\"ada@example.org\"}]}],\"reply_to\":{\"email\":"
              "\"help@shop.example\"},\"subject\":\"Hello Ada\"}");
  assert_false(mapping.scripts.honours_keys(mapping.scripts.context,
                                            config_provider(mapping.bench.config, STR("grid"))));
  mapping.message.to = STR("");
  assert_int_equal(request(&mapping, "grid", &err), ERROR_SCRIPT);
  assert_non_null(strstr(err.message, "the user has no address for this channel"));
  mapping.message.to = STR("ada@example.org");
  if (request(&mapping, "grid", &err)) fail_msg("%s", err.message);
  mapping_deinit(&mapping);
}

static void test_verdicts(void **state) {
  (void)state;
  static const struct {
    const char *account;
    long status;
    const char *body;
    enum provider_verdict_kind kind;
    const char *detail, *id;
  } cases[] = {
      {"hook", 200, "", PROVIDER_ACCEPTED, "200", ""},
      {"hook", 204, "", PROVIDER_ACCEPTED, "204", ""},
      {"hook", 301, "", PROVIDER_REJECTED, "301", ""},
      {"hook", 400, "{\"email\":\"ada@example.org\"}", PROVIDER_REJECTED, "400", ""},
      {"hook", 409, "", PROVIDER_RETRY, "409", ""},
      {"hook", 410, "", PROVIDER_REJECTED, "410", ""},
      {"hook", 429, "", PROVIDER_RETRY, "429", ""},
      {"hook", 500, "<html>", PROVIDER_RETRY, "500", ""},
      {"hook", 503, "", PROVIDER_RETRY, "503", ""},
      {"grid", 202, "", PROVIDER_ACCEPTED, "202", "abc.1"},
      {"grid", 400,
       "{\"errors\":[{\"message\":\"ada@example.org is no "
       "address\",\"field\":\"personalizations.0.to.0.email\"}]}",
       PROVIDER_REJECTED, "400 personalizations.0.to.0.email", ""},
      {"grid", 401, "{\"errors\":[{\"message\":\"no\",\"field\":null}]}", PROVIDER_REJECTED, "401", ""},
      {"grid", 413, "not json", PROVIDER_REJECTED, "413", ""},
      {"grid", 429, "{\"errors\":5}", PROVIDER_RETRY, "429", ""},
      {"grid", 500, "[]", PROVIDER_RETRY, "500", ""},
      {"grid", 503, "{\"errors\":[5]}", PROVIDER_RETRY, "503", ""},
  };
  struct mapping mapping;
  mapping_init(&mapping);
  struct buf headers;
  buf_init(&headers);
  value_put_map(&headers, 1);
  put_pair(&headers, "x-message-id", "abc.1");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct http_response response = {
        .status = cases[i].status, .headers = buf_str(&headers), .body = str_from(cases[i].body)};
    struct provider_verdict verdict = {0};
    struct error err = {0};
    const struct config_provider *account = config_provider(mapping.bench.config, str_from(cases[i].account));
    if (mapping.scripts.verdict(mapping.scripts.context, account, &response, &verdict, &err))
      fail_msg("%s", err.message);
    if (verdict.kind != cases[i].kind || strcmp(verdict.detail, cases[i].detail) ||
        strcmp(verdict.provider_id, cases[i].id))
      fail_msg("%s %ld: %d \"%s\" \"%s\"", cases[i].account, cases[i].status, verdict.kind, verdict.detail,
               verdict.provider_id);
  }
  buf_deinit(&headers);
  mapping_deinit(&mapping);
}

/** A message as large as can be, rendered. */
static void test_large_message(void **state) {
  (void)state;
  struct mapping mapping;
  struct error err = {0};
  mapping_init(&mapping);
  for (int i = 0; i < 4 << 20; i++) buf_put_u8(&mapping.rendered.body, i % 50 ? 'x' : '\n');
  for (int i = 0; i < 20; i++)
    if (request(&mapping, i % 2 ? "hook" : "grid", &err)) fail_msg("%s", err.message);
  assert_true(mapping.request.body.len > 4 << 20);
  mapping_deinit(&mapping);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_webhook), cmocka_unit_test(test_sendgrid),
                                     cmocka_unit_test(test_verdicts), cmocka_unit_test(test_large_message)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
