// links: base config event deliver ingest
#include "deliver/standard_webhooks.h"
#include "test_ingest_host.h"

#include <zlib.h>

static int set_up(void **state) {
  return set_up_with(state, "http: {max_body: 2MB, body_memory: 8MB}\nproviders:\n- {name: crm, type: "
                            "webhook, url: 'http://127.0.0.1:1/', "
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

/** Post what is in `body`, signed `ago_s` seconds ago. */
static void report_signed(struct fixture *fixture, int client, int64_t ago_s) {
  struct buf claim = {0};
  put_claim(&claim, buf_str(&fixture->body), ago_s);
  buf_clear(&fixture->out);
  put_head(&fixture->out, fixture->body.len, buf_str(&claim));
  buf_append(&fixture->out, fixture->body.data, fixture->body.len);
  assert_true(client_send(client, buf_str(&fixture->out)));
  buf_deinit(&claim);
}

static void report(struct fixture *fixture, int client) {
  report_signed(fixture, client, 0);
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

/** What is our own fault may pass: a provider that reads of 400 may give up. */
static void our_own_failure_is_not_the_providers(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  buf_clear(&fixture->body);
  buf_printf(&fixture->body, "budget");
  report(fixture, client);
  expect_answer(fixture, client, 503, "\r\nRetry-After: 60\r\n");
  assert_null(strstr(answer_body(&fixture->answer), "secret"));
  buf_clear(&fixture->body);
  buf_printf(&fixture->body, "broken");
  report(fixture, client);
  expect_answer(fixture, client, 400, "no JSON");
  close(client);
}

/** Headers that look like a signature's. */
static void put_forged(struct buf *out) {
  buf_printf(out,
             "webhook-id: m1\r\nwebhook-timestamp: %lld\r\n"
             "webhook-signature: v1,AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n",
             (long long)(clock_wall_ms() / 1000));
}

/** Send a head that promises `length` bytes and expect its refusal before the first of them. */
static void expect_refused_head(struct fixture *fixture, size_t length, const char *claim, int status,
                                const char *part) {
  int client = client_connect(fixture->host);
  buf_clear(&fixture->out);
  put_head(&fixture->out, length, str_from(claim));
  assert_true(client_send(client, buf_str(&fixture->out)));
  expect_answer(fixture, client, status, part);
  assert_true(client_at_end(client));
  close(client);
}

static void who_cannot_sign_is_refused_before_the_body(void **state) {
  struct fixture *fixture = *state;
  struct buf claim = {0};
  const char *text;
  enum { LENGTH = 900000 };
  expect_refused_head(fixture, LENGTH, "", 401, "webhook-id");
  put_claim(&claim, STR("{}"), 3600);
  buf_put_u8(&claim, 0);
  text = (const char *)claim.data;
  expect_refused_head(fixture, LENGTH, text, 401, "webhook-timestamp");
  buf_clear(&claim);
  buf_printf(&claim, "webhook-id: m1\r\nwebhook-timestamp: %lld\r\nwebhook-signature: v2,%044d v1,x\r\n%c",
             (long long)(clock_wall_ms() / 1000), 0, '\0');
  text = (const char *)claim.data;
  expect_refused_head(fixture, LENGTH, text, 401, "webhook-signature");
  buf_clear(&claim);
  put_forged(&claim);
  buf_put_u8(&claim, 0);
  text = (const char *)claim.data;
  expect_refused_head(fixture, (1 << 20) + 1, text, 413, "1048576 bytes");
  buf_deinit(&claim);
}

static void a_bomb_is_stopped_at_the_limit_of_reports(void **state) {
  struct fixture *fixture = *state;
  enum { PLAIN = 1 << 20 };
  for (int over = 0; over <= 1; over++) {
    size_t len = PLAIN + (size_t)over, room = 64 << 10;
    char *plain = memory_alloc(len), *packed = memory_alloc(room);
    memset(plain, ' ', len);
    z_stream stream = {.next_in = (Bytef *)plain,
                       .avail_in = (uInt)len,
                       .next_out = (Bytef *)packed,
                       .avail_out = (uInt)room};
    assert_int_equal(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&stream, Z_FINISH), Z_STREAM_END);
    deflateEnd(&stream);
    struct buf claim = {0};
    put_forged(&claim);
    buf_printf(&claim, "Content-Encoding: gzip\r\n");
    int client = client_connect(fixture->host);
    buf_clear(&fixture->out);
    put_head(&fixture->out, stream.total_out, buf_str(&claim));
    buf_append(&fixture->out, packed, stream.total_out);
    assert_true(client_send(client, buf_str(&fixture->out)));
    expect_answer(fixture, client, over ? 413 : 401, over ? "1048576 bytes" : "the signature");
    close(client);
    buf_deinit(&claim);
    memory_free(plain);
    memory_free(packed);
  }
}

static bool is_answered(int client) {
  struct pollfd poll_one = {.fd = client, .events = POLLIN};
  return poll(&poll_one, 1, 10) == 1;
}

/** Whoever sends all of a report but its last byte holds memory without having shown a key. */
static void reports_leave_room_for_events(void **state) {
  struct fixture *fixture = *state;
  enum { CLIENTS = 16, LENGTH = 900000, HOLD = 4 /**< as many have room for a body of 1 MB */ };
  int clients[CLIENTS], answered = 0;
  bool held[CLIENTS];
  struct buf claim = {0};
  char *body = memory_alloc(LENGTH);
  memset(body, ' ', LENGTH);
  put_forged(&claim);
  buf_clear(&fixture->out);
  put_head(&fixture->out, LENGTH, buf_str(&claim));
  buf_append(&fixture->out, body, LENGTH - 1);
  for (int i = 0; i < CLIENTS; i++) {
    clients[i] = client_connect(fixture->host);
    client_send(clients[i], buf_str(&fixture->out)); // an early refusal may cut it short
    held[i] = true;
  }
  for (int turn = 0; turn < 3000 && answered < CLIENTS - HOLD; turn++) {
    int i = turn % CLIENTS;
    if (!held[i] || !is_answered(clients[i])) continue;
    held[i] = false;
    answered++;
    assert_int_equal(client_read(clients[i], &fixture->answer), 503);
  }
  assert_int_equal(answered, CLIENTS - HOLD);
  int client = client_connect(fixture->host);
  buf_clear(&fixture->body);
  put_event(&fixture->body, "e1", "ada");
  buf_append(&fixture->body, body, LENGTH / 4);
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 202, "\"accepted\":1");
  // Who stayed gives it back with the answer.
  for (int i = 0; i < CLIENTS; i++) {
    if (held[i]) {
      assert_true(client_send(clients[i], STR(" ")));
      expect_answer(fixture, clients[i], 401, "the signature");
    }
    close(clients[i]);
  }
  set_reports(fixture, (const char *const[]){"r1", NULL});
  report(fixture, client);
  expect_answer(fixture, client, 202, "\"accepted\":1");
  close(client);
  memory_free(body);
  buf_deinit(&claim);
}

static int set_up_short(void **state) {
  return set_up_with(state, "dedup: {keep: 100s}\nproviders:\n- {name: crm, type: webhook, "
                            "url: 'http://127.0.0.1:1/', secret_env: KAIROS_TEST_KEY}\n");
}

/** What is caught and sent again comes while dedup knows its reports, or too late. */
static void a_claim_holds_no_longer_than_dedup_remembers(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  static const struct {
    int64_t ago;
    int status;
  } cases[] = {{0, 202}, {30, 202}, {-30, 202}, {51, 401}, {-70, 401}, {101, 401}};
  set_reports(fixture, (const char *const[]){"r1", NULL});
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    report_signed(fixture, client, cases[i].ago);
    expect_answer(fixture, client, cases[i].status, NULL);
  }
  close(client);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(one_report_without_room_is_asked_for_again),
      TEST(our_own_failure_is_not_the_providers),
      TEST(who_cannot_sign_is_refused_before_the_body),
      TEST(a_bomb_is_stopped_at_the_limit_of_reports),
      TEST(reports_leave_room_for_events),
      cmocka_unit_test_setup_teardown(a_claim_holds_no_longer_than_dedup_remembers, set_up_short, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
