// links: base config event deliver ingest
#include "deliver/standard_webhooks.h"
#include "test_ingest_host.h"

static int set_up(void **state) {
  return set_up_with(state, "providers:\n- {name: crm, type: webhook, url: 'http://127.0.0.1:1/', "
                            "secret_env: KAIROS_TEST_KEY}\n");
}

/** The headers of a report signed `ago_s` seconds ago. */
static void put_claim(struct buf *out, struct str body, int64_t ago_s) {
  struct webhook_signer *signer;
  struct error err;
  char signature[WEBHOOK_SIGNATURE_LENGTH + 1];
  int64_t at = clock_wall_ms() / 1000 - ago_s;
  assert_int_equal(webhook_signer_new(&signer, "a-secret-key", &err), 0);
  webhook_sign(signer, STR("m1"), at, body, signature);
  webhook_signer_free(signer);
  buf_printf(out, "webhook-id: m1\r\nwebhook-timestamp: %lld\r\nwebhook-signature: %s\r\n", (long long)at,
             signature);
}

static void put_head(struct buf *out, size_t length, struct str claim) {
  buf_printf(out,
             "POST /v1/feedback/crm HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
             "Content-Length: %zu\r\n%.*s\r\n",
             length, STR_ARG(claim));
}

/** Post what is in `body`, signed. */
static void report(struct fixture *fixture, int client) {
  struct buf claim = {0};
  put_claim(&claim, buf_str(&fixture->body), 0);
  buf_clear(&fixture->out);
  put_head(&fixture->out, fixture->body.len, buf_str(&claim));
  buf_append(&fixture->out, fixture->body.data, fixture->body.len);
  assert_true(client_send(client, buf_str(&fixture->out)));
  buf_deinit(&claim);
}

static void set_reports(struct fixture *fixture, const char *const *ids) {
  buf_clear(&fixture->body);
  buf_printf(&fixture->body, "[");
  for (size_t i = 0; ids[i]; i++) {
    if (i) buf_printf(&fixture->body, ",");
    put_event(&fixture->body, ids[i], "ada");
  }
  buf_printf(&fixture->body, "]");
}

/** A provider looks at the status alone: it must not read of success while one report is not taken. */
static void one_report_without_room_is_asked_for_again(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  set_reports(fixture, (const char *const[]){"r1", "busy", "dup", "bad", NULL});
  report(fixture, client);
  expect_answer(fixture, client, 429, "\r\nRetry-After: 1\r\n");
  assert_non_null(strstr(answer_body(&fixture->answer), "{\"accepted\":1,\"duplicates\":1,\"rejected\":["));
  assert_non_null(strstr(answer_body(&fixture->answer), "\"retry\":true"));
  set_reports(fixture, (const char *const[]){"r1", "dup", "bad", NULL});
  report(fixture, client);
  expect_answer(fixture, client, 202, "{\"accepted\":1,\"duplicates\":1,");
  set_reports(fixture, (const char *const[]){"bad", NULL});
  report(fixture, client);
  expect_answer(fixture, client, 400, "the host says no");
  // Who posts events reads the verdicts.
  set_reports(fixture, (const char *const[]){"e1", "busy", NULL});
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 202, "\"retry\":true");
  close(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(one_report_without_room_is_asked_for_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
