// links: base config event state deliver
#include "test_deliver_fixture.h"

static void test_accepted(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server->then = ANSWER_202_WITH_ID;
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, ""));
  fixture_start(fixture);
  for (uint64_t i = 1; i <= 20; i++) fixture_send(fixture, i, "hook");
  for (unsigned i = 0; i < 20; i++) assert_int_equal(outcome_at(fixture, i)->kind, OUTCOME_ACCEPTED);
  assert_string_equal(outcome_at(fixture, 0)->provider_id, "abc-1");
  assert_string_equal(outcome_at(fixture, 0)->detail, "202 body 0");
  assert_true(request_has(server, 0, "POST /in HTTP/1.1\r\n"));
  assert_true(request_has(server, 0, "Idempotency-Key: 000000000000feed00000000000000"));
  assert_true(request_has(server, 0, "\r\nContent-Type: application/json\r\n"));
  assert_true(request_has(server, 0, "\r\nX-To: somewhere\r\n"));
  assert_true(request_has(server, 0, "\r\nwebhook-id: 000000000000feed0000000000000"));
  assert_true(request_has(server, 0, "\r\nwebhook-timestamp: 1"));
  assert_true(request_has(server, 0, "\r\nwebhook-signature: v1,"));
  assert_true(request_has(server, 0, "\r\n\r\n{\"hello\":\"Ada\"}"));
  assert_false(request_has(server, 0, "Expect:"));
  WAIT_FOR(deliver_waiting_bytes(fixture->deliver) == 0);
  assert_int_equal(figure(fixture, "hook", "accepted"), 20);
  assert_int_equal(figure(fixture, "hook", "waiting"), 0);
  // Each message once, on connections that are kept.
  assert_int_equal(atomic_load(&server->received), 20);
  assert_true(atomic_load(&server->connections) <= 20);
  for (uint64_t i = 21; i <= 40; i++) {
    fixture_send(fixture, i, "hook");
    outcome_at(fixture, (unsigned)i - 1);
  }
  assert_true(atomic_load(&server->connections) <= 20);
  fixture_free(fixture);
  server_stop(server);
}

static void test_retry_sends_the_same(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server_plan(server, ANSWER_500);
  server_plan(server, ANSWER_500);
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, ""));
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, "500 body 0");
  expect_outcome(fixture, 1, 1, OUTCOME_RETRY, 2, "500 body 0");
  expect_outcome(fixture, 2, 1, OUTCOME_ACCEPTED, 3, "200");
  assert_true(outcome_at(fixture, 0)->retry_at > 0);
  // Body and key, that is; a signature tells the time.
  for (unsigned i = 0; i < 3; i++) {
    assert_true(request_has(server, i, "\r\nIdempotency-Key: 000000000000feed0000000000000001\r\n"));
    assert_true(request_has(server, i, "\r\n\r\n{\"hello\":\"Ada\"}"));
  }
  fixture_free(fixture);
  server_stop(server);
}

static void test_retry_after(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server_plan(server, ANSWER_429);
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, ""));
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, "429");
  expect_outcome(fixture, 1, 1, OUTCOME_ACCEPTED, 2, "200");
  int64_t pause = server->requests[1].at - server->requests[0].at;
  assert_true(pause >= 1000000 - 2000 && pause < 2500000);
  fixture_free(fixture);
  server_stop(server);
}

static void test_rejected(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server_plan(server, ANSWER_400);
  server_plan(server, ANSWER_REDIRECT);
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, "    concurrency: 1\n"));
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  fixture_send(fixture, 2, "hook");
  expect_outcome(fixture, 0, 1, OUTCOME_REJECTED, 1, "400");
  // A redirect is the mapping's to judge; it is not followed.
  expect_outcome(fixture, 1, 2, OUTCOME_REJECTED, 1, "302");
  assert_int_equal(atomic_load(&server->received), 2);
  fixture_free(fixture);
  server_stop(server);
}

/** Attempts of which nobody can say whether they arrived. */
static void expect_ambiguous(enum behaviour behaviour, const char *detail) {
  char first[512], second[512], third[512], yaml[1600];
  struct server *keys = server_start(0), *hold = server_start(0), *resend = server_start(0);
  server_plan(keys, behaviour);
  server_plan(hold, behaviour);
  server_plan(resend, behaviour);
  const char *timeout = "    timeout: 200ms\n";
  snprintf(yaml, sizeof yaml, "%s%s%s    ambiguous: resend\n", webhook(first, "keys", keys->port, timeout),
           webhook(second, "hold", hold->port, timeout), webhook(third, "resend", resend->port, timeout));
  struct fixture *fixture = fixture_new(yaml);
  fixture_start(fixture);
  fixture_send(fixture, 1, "keys");
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, detail);
  expect_outcome(fixture, 1, 1, OUTCOME_ACCEPTED, 2, "200");
  fixture_send(fixture, 2, "hold");
  expect_outcome(fixture, 2, 2, OUTCOME_HELD, 1, detail);
  fixture_send(fixture, 3, "resend");
  expect_outcome(fixture, 3, 3, OUTCOME_RETRY, 1, "(ambiguous)");
  expect_outcome(fixture, 4, 3, OUTCOME_ACCEPTED, 2, "200");
  assert_int_equal(atomic_load(&hold->received), 1);
  fixture_free(fixture);
  server_stop(keys);
  server_stop(hold);
  server_stop(resend);
}

static void test_timeout(void **state) {
  (void)state;
  expect_ambiguous(HANG, "timeout");
}

static void test_closed(void **state) {
  (void)state;
  expect_ambiguous(CLOSE, "");
}

static void test_cut(void **state) {
  (void)state;
  expect_ambiguous(CUT, "");
}

static void test_garbage(void **state) {
  (void)state;
  expect_ambiguous(ANSWER_GARBAGE, "");
}

static void test_said_to_be_ambiguous(void **state) {
  (void)state;
  expect_ambiguous(ANSWER_504, "504 body 0");
}

/** A kept connection that closes on the second request: libcurl would send it again by itself, and nobody
 * could say how often it went. */
static void test_kept_connection_closes(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server_plan(server, ANSWER_200);
  server_plan(server, CLOSE);
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, ""));
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  expect_outcome(fixture, 0, 1, OUTCOME_ACCEPTED, 1, "200");
  fixture_send(fixture, 2, "hook");
  expect_outcome(fixture, 1, 2, OUTCOME_HELD, 1, "closed before an answer");
  assert_int_equal(atomic_load(&server->received), 2);
  fixture_send(fixture, 3, "hook");
  expect_outcome(fixture, 2, 3, OUTCOME_ACCEPTED, 1, "200");
  fixture_free(fixture);
  server_stop(server);
}

/** Where the provider honours keys, the request goes again at once. */
static void test_kept_connection_closes_with_keys(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server_plan(server, ANSWER_200);
  server_plan(server, CLOSE);
  server_plan(server, ANSWER_202_WITH_ID);
  server_plan(server, ANSWER_THEN_CLOSE);
  struct fixture *fixture = fixture_new(webhook(yaml, "keys", server->port, ""));
  fixture_start(fixture);
  fixture_send(fixture, 1, "keys");
  expect_outcome(fixture, 0, 1, OUTCOME_ACCEPTED, 1, "200");
  fixture_send(fixture, 2, "keys");
  expect_outcome(fixture, 1, 2, OUTCOME_ACCEPTED, 1, "202");
  assert_int_equal(atomic_load(&server->received), 3);
  assert_true(request_has(server, 1, "Idempotency-Key: 000000000000feed0000000000000002"));
  assert_true(request_has(server, 2, "Idempotency-Key: 000000000000feed0000000000000002"));
  fixture_free(fixture);
  server_stop(server);
}

/** A connection that was closed while nobody used it is seen to be before a request goes. */
static void test_idle_connection_closes(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server->then = ANSWER_THEN_CLOSE;
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, ""));
  fixture_start(fixture);
  for (unsigned i = 0; i < 3; i++) {
    fixture_send(fixture, i + 1, "hook");
    expect_outcome(fixture, i, i + 1, OUTCOME_ACCEPTED, 1, "200");
    WAIT_FOR(atomic_load(&server->closed) == i + 1);
  }
  assert_int_equal(atomic_load(&server->received), 3);
  assert_int_equal(atomic_load(&server->connections), 3);
  fixture_free(fixture);
  server_stop(server);
}

/** Longer than what a socket takes at once. */
static void test_large_body(void **state) {
  (void)state;
  enum { LENGTH = 900000 };
  char yaml[512];
  struct server *server = server_start(0);
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, "    timeout: 10s\n"));
  fixture_start(fixture);
  char *name = memory_alloc(LENGTH);
  memset(name, 'b', LENGTH);
  struct buf data = {0};
  value_put_map(&data, 1);
  value_put_member_text(&data, "name", (struct str){name, LENGTH});
  for (unsigned i = 0; i < 2; i++) {
    struct outbox_entry entry = fixture_message(fixture, i + 1, "hook");
    entry.message.data = buf_str(&data);
    fixture_add(fixture, &entry);
    expect_outcome(fixture, i, i + 1, OUTCOME_ACCEPTED, 1, "200");
    assert_true(request_has(server, i, "\r\nContent-Length: 900012\r\n"));
    assert_memory_equal(server->requests[i].text + server->requests[i].len - 5, "bbb\"}", 5);
  }
  assert_int_equal(atomic_load(&server->connections), 1);
  buf_deinit(&data);
  memory_free(name);
  fixture_free(fixture);
  server_stop(server);
}

/** Through a proxy that the environment names, over connections to it that are kept. */
static void test_proxy(void **state) {
  (void)state;
  char yaml[512], proxy[64];
  struct server *server = server_start(0);
  snprintf(proxy, sizeof proxy, "http://ada:secret@127.0.0.1:%d", server->port);
  setenv("http_proxy", proxy, 1);
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", 9, ""));
  fixture_start(fixture);
  for (unsigned i = 0; i < 3; i++) {
    fixture_send(fixture, i + 1, "hook");
    expect_outcome(fixture, i, i + 1, OUTCOME_ACCEPTED, 1, "200 body 2");
    assert_true(request_has(server, i, "POST http://127.0.0.1:9/in HTTP/1.1\r\nHost: 127.0.0.1:9\r\n"));
    assert_true(request_has(server, i, "\r\nProxy-Authorization: Basic YWRhOnNlY3JldA==\r\n"));
  }
  assert_int_equal(atomic_load(&server->connections), 1);
  fixture_free(fixture);
  server_stop(server);
  unsetenv("http_proxy");
}

/** What a URL says besides where to. */
static void test_url(void **state) {
  (void)state;
  char yaml[1024], more[512];
  struct server *server = server_start(0);
  snprintf(yaml, sizeof yaml,
           "  - {name: hook, type: webhook, url: 'http://127.0.0.1:%d/in/%%20x?q=1&r#part', secret_env: "
           "KAIROS_TEST_SECRET}\n",
           server->port);
  snprintf(more, sizeof more,
           "  - {name: bare, type: webhook, url: 'http://localhost:%d?q', secret_env: KAIROS_TEST_SECRET}\n",
           server->port);
  strcat(yaml, more);
  struct fixture *fixture = fixture_new(yaml);
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  expect_outcome(fixture, 0, 1, OUTCOME_ACCEPTED, 1, "200");
  char host[64];
  snprintf(host, sizeof host, "\r\nHost: 127.0.0.1:%d\r\n", server->port);
  assert_true(request_has(server, 0, "POST /in/%20x?q=1&r HTTP/1.1\r\n"));
  assert_true(request_has(server, 0, host));
  fixture_send(fixture, 2, "bare");
  expect_outcome(fixture, 1, 2, OUTCOME_ACCEPTED, 1, "200");
  assert_true(request_has(server, 1, "POST /?q HTTP/1.1\r\nHost: localhost:"));
  fixture_free(fixture);
  server_stop(server);
}

/** Where nothing can have left, nothing is ambiguous. */
static void test_refused(void **state) {
  (void)state;
  char yaml[1024], more[512];
  struct server *server = server_start(0);
  int port = server->port;
  server_stop(server);
  webhook(yaml, "hook", port, "    attempts: 3\n");
  webhook(more, "nowhere", 1, "    attempts: 1\n");
  char *host = strstr(more, "127.0.0.1:1");
  memcpy(host, "nx.invalid:", 11);
  strcat(yaml, more);
  struct fixture *fixture = fixture_new(yaml);
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, "Connection refused");
  expect_outcome(fixture, 1, 1, OUTCOME_RETRY, 2, "Connection refused");
  expect_outcome(fixture, 2, 1, OUTCOME_EXHAUSTED, 3, "that was the last attempt");
  assert_null(strstr(outcome_at(fixture, 0)->detail, "ambiguous"));
  fixture_send(fixture, 2, "nowhere");
  expect_outcome(fixture, 3, 2, OUTCOME_EXHAUSTED, 1, "resolve");
  fixture_free(fixture);
}

static void test_odd_answers(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server_plan(server, ANSWER_HUGE);
  server_plan(server, ANSWER_MANY_HEADERS);
  server_plan(server, ANSWER_INTERIM);
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, "    concurrency: 1\n"));
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  expect_outcome(fixture, 0, 1, OUTCOME_ACCEPTED, 1, "200 body 65536");
  fixture_send(fixture, 2, "hook");
  expect_outcome(fixture, 1, 2, OUTCOME_ACCEPTED, 1, "200 body 0");
  fixture_send(fixture, 3, "hook");
  expect_outcome(fixture, 2, 3, OUTCOME_ACCEPTED, 1, "200 body 2");
  assert_string_equal(outcome_at(fixture, 2)->provider_id, "p-1");
  fixture_free(fixture);
  server_stop(server);
}

static void test_headers_cannot_be_injected(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  struct fixture *fixture = fixture_new(webhook(yaml, "hook", server->port, ""));
  fixture_start(fixture);
  struct outbox_entry entry = fixture_message(fixture, 1, "hook");
  entry.message.to = STR("a\r\nX-Evil: 1");
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 0, 1, OUTCOME_REJECTED, 1, "header \"X-To\" has a character");
  entry = fixture_message(fixture, 2, "hook");
  entry.message.to = STR("");
  fixture_add(fixture, &entry);
  expect_outcome(fixture, 1, 2, OUTCOME_ACCEPTED, 1, "200");
  assert_true(request_has(server, 0, "\r\nX-To:\r\n"));
  assert_int_equal(atomic_load(&server->received), 1);
  fixture_free(fixture);
  server_stop(server);
}

static void test_concurrency(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server->delay_us = 20000;
  struct fixture *fixture = fixture_new(webhook(yaml, "keys", server->port, "    concurrency: 3\n"));
  fixture_start(fixture);
  for (uint64_t i = 1; i <= 40; i++) fixture_send(fixture, i, "keys");
  outcome_at(fixture, 39);
  assert_int_equal(atomic_load(&server->most), 3);
  assert_int_equal(atomic_load(&server->connections), 3);
  // First come, first served.
  for (unsigned i = 3; i < 40; i++) {
    char key[64];
    bool near = false;
    for (unsigned j = i - 2; j <= i + 4; j++) {
      snprintf(key, sizeof key, "Idempotency-Key: 000000000000feed%016x", j);
      near = near || request_has(server, i, key);
    }
    assert_true(near);
  }
  fixture_free(fixture);
  server_stop(server);
}

static void test_rate(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  struct fixture *fixture = fixture_new(webhook(yaml, "keys", server->port, "    rate: 10/500ms\n"));
  fixture_start(fixture);
  int64_t start = clock_mono_us();
  for (uint64_t i = 1; i <= 25; i++) fixture_send(fixture, i, "keys");
  outcome_at(fixture, 24);
  int64_t took = clock_mono_us() - start;
  assert_true(took >= 750000 - 5000 && took < 2000000);
  fixture_free(fixture);
  server_stop(server);
}

static void test_breaker(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server->then = ANSWER_500;
  struct fixture *fixture = fixture_new(webhook(
      yaml, "hook", server->port, "    breaker_failures: 5\n    concurrency: 1\n    attempts: 1000\n"));
  fixture_start(fixture);
  for (uint64_t i = 1; i <= 50; i++) fixture_send(fixture, i, "hook");
  WAIT_FOR(figure(fixture, "hook", "breaker") == 'o');
  unsigned failed = atomic_load(&server->received);
  assert_int_equal(failed, 5);
  usleep(150000);
  assert_int_equal(atomic_load(&server->received), failed);
  // One probe after the pause, which fails and opens it again.
  WAIT_FOR(atomic_load(&server->received) == failed + 1);
  usleep(150000);
  assert_int_equal(atomic_load(&server->received), failed + 1);
  pthread_mutex_lock(&server->lock);
  server->then = ANSWER_200;
  pthread_mutex_unlock(&server->lock);
  WAIT_FOR(figure(fixture, "hook", "accepted") == 50);
  assert_int_equal(figure(fixture, "hook", "breaker"), 'c');
  fixture_free(fixture);
  server_stop(server);
}

/** What was logged ahead of free places goes back to wait, and does not stand in the probe's way. */
static void test_breaker_with_attempts_logged_ahead(void **state) {
  (void)state;
  char yaml[512];
  struct buf entries = {0};
  struct server *server = server_start(0);
  for (int i = 0; i < 4; i++) server_plan(server, ANSWER_500);
  struct fixture *fixture = fixture_new(
      webhook(yaml, "keys", server->port, "    breaker_failures: 3\n    concurrency: 1\n    attempts: 9\n"));
  fixture_start(fixture);
  int64_t began = clock_wall_ms();
  for (uint64_t id = 1; id <= 20; id++) {
    struct outbox_entry entry = fixture_message(fixture, id, "keys");
    entry_append(&entries, &entry);
  }
  deliver_add(fixture->deliver, buf_str(&entries));
  for (unsigned i = 0; i < 3; i++) assert_string_equal(outcome_at(fixture, i)->detail, "500 body 0");
  for (unsigned i = 3; i < 5; i++) {
    const struct seen_outcome *outcome = outcome_at(fixture, i);
    assert_int_equal(outcome->kind, OUTCOME_RETRY);
    assert_string_equal(outcome->detail, "not sent: the provider keeps failing");
    assert_true(outcome->retry_at > began + 298); // when the breaker lets a probe go
  }
  // The probe fails, the next one does not.
  assert_string_equal(outcome_at(fixture, 5)->detail, "500 body 0");
  assert_int_equal(outcome_at(fixture, 6)->kind, OUTCOME_ACCEPTED);
  WAIT_FOR(figure(fixture, "keys", "accepted") == 20);
  assert_int_equal(atomic_load(&server->received), 24);
  assert_int_equal(atomic_load(&fixture->count), 26);
  buf_deinit(&entries);
  fixture_free(fixture);
  server_stop(server);
}

/** A pause comes while the probe's attempt is on its way to the log: after it another probe goes, and the one
 * that was not begun is none of its three attempts. */
static void test_paused_while_the_probe_is_logged(void **state) {
  (void)state;
  char yaml[512];
  struct server *server = server_start(0);
  server_plan(server, ANSWER_500);
  struct fixture *fixture = fixture_new(
      webhook(yaml, "hook", server->port, "    breaker_failures: 1\n    concurrency: 1\n    attempts: 3\n"));
  fixture_failpoints("log.fsync=sleep:1000@2");
  fixture_start(fixture);
  fixture_send(fixture, 1, "hook");
  expect_outcome(fixture, 0, 1, OUTCOME_RETRY, 1, "500");
  WAIT_FOR(atomic_load(&fixture->seq) == 2);
  assert_true(deliver_pause(fixture->deliver, STR("hook"), true));
  expect_outcome(fixture, 1, 1, OUTCOME_RETRY, 2, "not sent: the provider is paused");
  assert_int_equal(figure(fixture, "hook", "breaker"), 'h');
  server_plan(server, ANSWER_500);
  deliver_pause(fixture->deliver, STR("hook"), false);
  expect_outcome(fixture, 2, 1, OUTCOME_RETRY, 3, "500");
  expect_outcome(fixture, 3, 1, OUTCOME_ACCEPTED, 4, "200");
  assert_int_equal(outcome_at(fixture, 3)->unsent, 1);
  assert_int_equal(figure(fixture, "hook", "breaker"), 'c');
  assert_int_equal(atomic_load(&server->received), 3);
  fixture_free(fixture);
  server_stop(server);
  fixture_failpoints("");
}

static void test_one_slow_provider_delays_no_other(void **state) {
  (void)state;
  char first[512], second[512], third[512], yaml[1600];
  struct server *slow = server_start(0), *fast = server_start(0);
  slow->then = HANG;
  server_stop(server_start(0));
  snprintf(yaml, sizeof yaml, "%s%s%s",
           webhook(first, "slow", slow->port, "    timeout: 10s\n    concurrency: 8\n"),
           webhook(second, "fast", fast->port, ""), webhook(third, "dead", 9, ""));
  struct fixture *fixture = fixture_new(yaml);
  fixture_start(fixture);
  for (uint64_t i = 1; i <= 100; i++) fixture_send(fixture, 1000 + i, i % 2 ? "slow" : "dead");
  WAIT_FOR(atomic_load(&slow->received) == 8);
  int64_t start = clock_mono_us();
  for (uint64_t i = 1; i <= 200; i++) fixture_send(fixture, i, "fast");
  WAIT_FOR(atomic_load(&fast->received) == 200);
  assert_true(clock_mono_us() - start < 2000000);
  WAIT_FOR(figure(fixture, "fast", "accepted") == 200);
  assert_int_equal(figure(fixture, "slow", "accepted"), 0);
  fixture_free(fixture);
  server_stop(slow);
  server_stop(fast);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_accepted),
      cmocka_unit_test(test_retry_sends_the_same),
      cmocka_unit_test(test_retry_after),
      cmocka_unit_test(test_rejected),
      cmocka_unit_test(test_timeout),
      cmocka_unit_test(test_closed),
      cmocka_unit_test(test_cut),
      cmocka_unit_test(test_garbage),
      cmocka_unit_test(test_said_to_be_ambiguous),
      cmocka_unit_test(test_kept_connection_closes),
      cmocka_unit_test(test_kept_connection_closes_with_keys),
      cmocka_unit_test(test_idle_connection_closes),
      cmocka_unit_test(test_large_body),
      cmocka_unit_test(test_proxy),
      cmocka_unit_test(test_url),
      cmocka_unit_test(test_refused),
      cmocka_unit_test(test_odd_answers),
      cmocka_unit_test(test_headers_cannot_be_injected),
      cmocka_unit_test(test_concurrency),
      cmocka_unit_test(test_rate),
      cmocka_unit_test(test_breaker),
      cmocka_unit_test(test_breaker_with_attempts_logged_ahead),
      cmocka_unit_test(test_paused_while_the_probe_is_logged),
      cmocka_unit_test(test_one_slow_provider_delays_no_other),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
