// links: base config event ingest
#include "test_ingest_host.h"

#include <zlib.h>

static int set_up(void **state) {
  return set_up_with(state, "http: {max_body: 1MB}\ningest: {max_items: 1000}\n");
}

static int set_up_keys(void **state) {
  return set_up_with(state, "api_keys:\n- {name: shop, key_env: KAIROS_TEST_KEY}\n"
                            "- {name: slow, key_env: KAIROS_TEST_OTHER_KEY, rate: 5/1h}\n");
}

static void one_event_an_array_and_lines(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  set_event(fixture, "e1");
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 202, "{\"accepted\":1,\"duplicates\":0,\"rejected\":[]}");
  assert_non_null(strstr(fixture->answer.head, "\r\nContent-Type: application/json\r\n"));
  assert_non_null(strstr(fixture->answer.head, "\r\nDate: "));

  buf_clear(&fixture->body);
  buf_printf(&fixture->body, "[");
  put_event(&fixture->body, "e2", "ada");
  buf_printf(&fixture->body, ", ");
  put_event(&fixture->body, "dup", "ada");
  buf_printf(&fixture->body, ",{\"event_id\":\"x\"},7,");
  put_event(&fixture->body, "bad", "ada");
  buf_printf(&fixture->body, ",");
  put_event(&fixture->body, "busy", "ada");
  buf_printf(&fixture->body, "]");
  post(fixture, client, "Application/JSON; Charset=\"UTF-8\"", "");
  expect_answer(fixture, client, 202,
                "{\"accepted\":1,\"duplicates\":1,\"rejected\":["
                "{\"index\":2,\"pointer\":\"/event_type\",\"error\":\"is required\"},"
                "{\"index\":3,\"pointer\":\"\",\"error\":\"is a number; an object is wanted\"},"
                "{\"index\":4,\"pointer\":\"/payload\",\"error\":\"the host says no\"},"
                "{\"index\":5,\"pointer\":\"\",\"error\":\"this event cannot be taken now; send it again\","
                "\"retry\":true}]}");

  buf_clear(&fixture->body);
  put_event(&fixture->body, "e3", "ada");
  buf_printf(&fixture->body, "\r\n\n  \n{\"event_id\":\n");
  put_event(&fixture->body, "e4", "ada");
  post(fixture, client, "application/x-ndjson", "");
  expect_answer(fixture, client, 202,
                "{\"accepted\":2,\"duplicates\":0,\"rejected\":[{\"index\":1,\"pointer\":\"\",\"error\":"
                "\"broken JSON at line 4, column 13: the text ends where a value is expected\"}]}");
  close(client);
}

static void answers_with_nothing_accepted(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  static const struct {
    const char *type, *body;
    int status;
    const char *part;
  } cases[] = {
      {"application/json", "[]", 400, "no events"},
      {"application/json", " \r\n", 400, "the text is empty"},
      {"application/json", "", 400, "no events"},
      {"application/x-ndjson", "", 400, "no events"},
      {"application/x-ndjson", "\n\n \n", 400, "no events"},
      {"application/json", "[{},{}", 400,
       "{\"error\":\"broken JSON at line 1, column 7: the text ends within an array\"}"},
      {"application/json", "{\"event_id\":1}", 400, "\"pointer\":\"/event_id\""},
      {"application/json", "\"text\"", 400, "\"index\":0,\"pointer\":\"\",\"error\":\"is a string"},
      {"application/x-ndjson", "[]\n", 400, "is an array; an object is wanted"},
      {"text/plain", "{}", 415, "Content-Type"},
      {"application/json;charset=latin1", "{}", 415, "charset"},
      {"application/x-www-form-urlencoded", "{}", 415, "Content-Type"},
      {"application/json\r\nContent-Encoding: br", "{}", 415, "Content-Encoding"},
      {"application/json\r\nContent-Encoding: gzip, gzip", "{}", 415, "Content-Encoding"},
      {"application/json\r\nContent-Encoding: gzip", "{}", 400, "not gzip"},
      {"application/json\r\nExpect: a-miracle", "{}", 417, "100-continue"},
      {"application/json\r\nContent-Type: application/x-ndjson", "{}", 415, "Content-Type"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    buf_clear(&fixture->body);
    buf_append(&fixture->body, cases[i].body, strlen(cases[i].body));
    post(fixture, client, cases[i].type, "");
    expect_answer(fixture, client, cases[i].status, cases[i].part);
    if (strstr(fixture->answer.head, "Connection: close")) {
      assert_true(client_at_end(client));
      close(client);
      client = client_connect(fixture->host);
    }
  }
  // All met a full queue: nothing happened, and another try makes sense.
  set_event(fixture, "busy");
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 429, "\r\nRetry-After: 1\r\n");
  assert_non_null(strstr(answer_body(&fixture->answer), "\"retry\":true"));
  set_event(fixture, "bad");
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 400, "the host says no");
  close(client);
}

static void too_many_items(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  for (int count = 1000; count <= 1001; count++)
    for (int lines = 0; lines <= 1; lines++) {
      buf_clear(&fixture->body);
      if (!lines) buf_printf(&fixture->body, "[1");
      for (int i = !lines; i < count; i++) buf_append(&fixture->body, lines ? "1\n" : ",1", 2);
      if (!lines) buf_printf(&fixture->body, "]");
      post(fixture, client, lines ? "application/x-ndjson" : "application/json", "");
      if (count == 1000)
        expect_answer(fixture, client, 400, "\"index\":999,");
      else
        expect_answer(fixture, client, 413, "ingest.max_items (1000)");
    }
  close(client);
}

static void other_paths(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  static const struct {
    const char *line;
    int status;
    const char *part;
  } cases[] = {
      {"GET /healthz", 200, "\"ok\""},
      {"GET /healthz?verbose=1", 200, "\"ok\""},
      {"GET http://shop.example/healthz", 200, "\"ok\""},
      {"GET /readyz", 200, "running"},
      {"GET /metrics", 200, "# TYPE kairos_http_requests_total counter"},
      {"GET /metrics", 200, "text/plain; version=0.0.4"},
      {"GET /", 404, "/v1/events"},
      {"GET /v1/events/", 404, NULL},
      {"OPTIONS *", 404, NULL},
      {"GET /v1/events", 405, "Allow: POST\r\n"},
      {"HEAD /nothing", 404, NULL},
      {"DELETE /healthz", 405, "Allow: GET, HEAD\r\n"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    buf_clear(&fixture->out);
    buf_printf(&fixture->out, "%s HTTP/1.1\r\nHost: test\r\n\r\n", cases[i].line);
    client_send(client, buf_str(&fixture->out));
    if (strncmp(cases[i].line, "HEAD", 4) == 0) {
      assert_int_equal(client_read_head(client, &fixture->answer), cases[i].status);
      continue;
    }
    expect_answer(fixture, client, cases[i].status, cases[i].part);
  }
  assert_int_equal(atomic_load(&fixture->host->scrapes), 2);
  client_send(client,
              STR("HEAD /healthz HTTP/1.1\r\nHost: test\r\n\r\nGET /readyz HTTP/1.1\r\nHost: test\r\n\r\n"));
  assert_int_equal(client_read_head(client, &fixture->answer), 200);
  assert_non_null(strstr(fixture->answer.head, "Content-Length: 16"));
  expect_answer(fixture, client, 200, "running");
  close(client);
}

static void a_host_that_does_not_run(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  static const char *const names[] = {
      [HOST_STARTING] = "starting", [HOST_FAILED] = "failed", [HOST_DRAINING] = "draining"};
  for (int phase = HOST_STARTING; phase <= HOST_DRAINING; phase++) {
    if (phase == HOST_RUNNING) continue;
    atomic_store(&fixture->host->phase, phase);
    set_event(fixture, "e");
    post(fixture, client, "application/json", "");
    expect_answer(fixture, client, 503, names[phase]);
    assert_non_null(strstr(fixture->answer.head, "\r\nRetry-After: "));
    client_send(client,
                STR("GET /readyz HTTP/1.1\r\nHost: test\r\n\r\nGET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"));
    expect_answer(fixture, client, 503, names[phase]);
    expect_answer(fixture, client, 200, "ok");
  }
  // Taken in while it ran, met by a host that no longer does.
  atomic_store(&fixture->host->phase, HOST_RUNNING);
  set_event(fixture, "slow");
  post(fixture, client, "application/json", "");
  expect_answer(fixture, client, 202, NULL);
  assert_int_equal(atomic_load(&fixture->host->events), 1);
  close(client);
}

static void pipelined_requests_are_answered_in_order(void **state) {
  struct fixture *fixture = *state;
  enum { DEPTH = 200 };
  int client = client_connect(fixture->host);
  buf_clear(&fixture->out);
  for (int i = 0; i < DEPTH; i++) {
    char id[32];
    snprintf(id, sizeof id, "%s%d", i % 50 == 0 ? "slow" : i % 7 == 0 ? "bad" : i % 5 == 0 ? "dup" : "e", i);
    set_event(fixture, id);
    // Others that need no host stand between, and must not overtake.
    if (i % 10 == 9)
      buf_printf(&fixture->out, "GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
    else
      put_post(&fixture->out, "application/json", "", buf_str(&fixture->body));
  }
  assert_true(client_send(client, buf_str(&fixture->out)));
  for (int i = 0; i < DEPTH; i++) {
    if (i % 10 == 9)
      expect_answer(fixture, client, 200, "ok");
    else if (i % 50 == 0)
      expect_answer(fixture, client, 202, "\"accepted\":1");
    else if (i % 7 == 0)
      expect_answer(fixture, client, 400, "the host says no");
    else
      expect_answer(fixture, client, 202, i % 5 == 0 ? "\"duplicates\":1" : "\"accepted\":1");
  }
  close(client);
}

/** The answers to `requests` sent at once, and byte by byte, are the same. */
static void a_byte_at_a_time(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  buf_clear(&fixture->body);
  buf_printf(&fixture->body, "[");
  put_event(&fixture->body, "e1", "ada");
  buf_printf(&fixture->body, ",");
  put_event(&fixture->body, "dup", "grüße");
  buf_printf(&fixture->body, "]");
  buf_clear(&fixture->out);
  put_post(&fixture->out, "application/json ; charset=utf-8",
           "X-Other: some value\r\nAuthorization: Basic x y\r\n", buf_str(&fixture->body));
  buf_printf(&fixture->out, "POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Type: application/x-ndjson\r\n"
                            "Transfer-Encoding: chunked\r\n\r\n");
  for (size_t i = 1; i + 1 < fixture->body.len; i++) {
    char byte = (char)fixture->body.data[i];
    buf_printf(&fixture->out, "1;name=\"value\"\r\n%c\r\n",
               byte == ',' && fixture->body.data[i - 1] == '}' ? '\n' : byte);
  }
  buf_printf(
      &fixture->out,
      "0\r\nContent-Type: text/plain\r\nX-Trailer: 1\r\n\r\nGET /healthz HTTP/1.1\r\nHost: test\r\n\r\n");
  for (size_t i = 0; i < fixture->out.len; i++)
    if (!client_send(client, (struct str){(char *)fixture->out.data + i, 1}))
      fail_msg("closed at byte %zu", i);
  expect_answer(fixture, client, 202, "{\"accepted\":1,\"duplicates\":1,\"rejected\":[]}");
  expect_answer(fixture, client, 202, "{\"accepted\":1,\"duplicates\":1,\"rejected\":[]}");
  expect_answer(fixture, client, 200, "ok");
  close(client);
}

static void large_bodies_in_any_split(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  buf_clear(&fixture->body);
  buf_printf(&fixture->body, "[");
  for (int i = 0; i < 1000; i++) {
    if (i) buf_printf(&fixture->body, ",");
    put_event(&fixture->body, i % 2 ? "e" : "dup",
              "somebody with a rather long name, to fill some space in this body");
  }
  buf_printf(&fixture->body, "]");
  buf_clear(&fixture->out);
  put_post(&fixture->out, "application/json", "", buf_str(&fixture->body));
  for (size_t piece = 1000; piece < 200000; piece = piece * 3 + 1) {
    for (size_t at = 0; at < fixture->out.len; at += piece) {
      size_t len = fixture->out.len - at < piece ? fixture->out.len - at : piece;
      assert_true(client_send(client, (struct str){(char *)fixture->out.data + at, len}));
    }
    expect_answer(fixture, client, 202, "{\"accepted\":500,\"duplicates\":500,\"rejected\":[]}");
  }
  close(client);
}

static void leave_to_continue(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  set_event(fixture, "slow1");
  // The leave must not overtake the answer before it.
  post(fixture, client, "application/json", "");
  buf_clear(&fixture->out);
  put_post(&fixture->out, "application/json", "Expect: 100-Continue\r\n", buf_str(&fixture->body));
  size_t head = fixture->out.len - fixture->body.len;
  client_send(client, (struct str){(char *)fixture->out.data, head});
  expect_answer(fixture, client, 202, NULL);
  assert_int_equal(client_read_head(client, &fixture->answer), 100);
  client_send(client, buf_str(&fixture->body));
  expect_answer(fixture, client, 202, "\"accepted\":1");
  // A body that comes without waiting needs no leave.
  client_send(client, buf_str(&fixture->out));
  expect_answer(fixture, client, 202, "\"accepted\":1");
  // Too large, by its own words: told before it is sent.
  client_send(client, STR("POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
                          "Expect: 100-continue\r\nContent-Length: 1048577\r\n\r\n"));
  expect_answer(fixture, client, 413, "http.max_body (1048576 bytes)");
  assert_true(client_at_end(client));
  close(client);
}

static void connections_persist_as_asked(void **state) {
  struct fixture *fixture = *state;
  static const struct {
    const char *request;
    bool persists;
  } cases[] = {
      {"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", true},
      {"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false},
      {"GET /healthz HTTP/1.0\r\n\r\n", false},
      {"GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", true},
      {"GET /nothing HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", true},
      {"GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
       "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n",
       true},
      {"\r\n\r\nGET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", true},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    int client = client_connect(fixture->host);
    for (int again = 0; again < 2; again++) {
      client_send(client, str_from(cases[i].request));
      if (client_read(client, &fixture->answer) <= 0) fail_msg("%s: no answer", cases[i].request);
      assert_int_equal(strstr(fixture->answer.head, "\r\nConnection: close\r\n") == NULL, cases[i].persists);
      if (!cases[i].persists) {
        assert_true(client_at_end(client));
        break;
      }
    }
    close(client);
  }
}

static void a_client_that_stops_sending_gets_its_answers(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  set_event(fixture, "slow");
  buf_clear(&fixture->out);
  for (int i = 0; i < 3; i++) put_post(&fixture->out, "application/json", "", buf_str(&fixture->body));
  client_send(client, buf_str(&fixture->out));
  shutdown(client, SHUT_WR);
  for (int i = 0; i < 3; i++) expect_answer(fixture, client, 202, "\"accepted\":1");
  assert_true(client_at_end(client));
  close(client);
  // One that is gone before its verdict does no harm.
  client = client_connect(fixture->host);
  client_send(client, buf_str(&fixture->out));
  struct linger reset = {1, 0};
  setsockopt(client, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  usleep(5000);
  close(client);
}

static void pack(struct str text, int level, struct buf *out) {
  z_stream stream = {0};
  deflateInit2(&stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  buf_reserve(out, deflateBound(&stream, text.len));
  stream.next_in = (Bytef *)(uintptr_t)text.data;
  stream.avail_in = (uInt)text.len;
  stream.next_out = out->data + out->len;
  stream.avail_out = (uInt)(out->cap - out->len);
  deflate(&stream, Z_FINISH);
  out->len = out->cap - stream.avail_out;
  deflateEnd(&stream);
}

static void packed_bodies(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  struct buf text = {0};
  buf_printf(&text, "[");
  for (int i = 0; i < 500; i++) {
    if (i) buf_printf(&text, ",");
    put_event(&text, "e", "ada");
  }
  buf_printf(&text, "]");
  buf_clear(&fixture->body);
  pack(buf_str(&text), 6, &fixture->body);
  post(fixture, client, "application/json", "Content-Encoding: gzip\r\n");
  expect_answer(fixture, client, 202, "\"accepted\":500");
  // Two members are one body.
  buf_clear(&fixture->body);
  pack((struct str){(char *)text.data, 1000}, 1, &fixture->body);
  pack((struct str){(char *)text.data + 1000, text.len - 1000}, 9, &fixture->body);
  post(fixture, client, "application/json", "Content-Encoding: GZIP\r\n");
  expect_answer(fixture, client, 202, "\"accepted\":500");
  // Cut anywhere, it is no body.
  size_t whole = fixture->body.len;
  for (size_t len = 1; len < whole; len += whole / 7) {
    fixture->body.len = len;
    post(fixture, client, "application/json", "Content-Encoding: gzip\r\n");
    expect_answer(fixture, client, 400, NULL);
  }
  fixture->body.len = 0;
  pack(buf_str(&text), 6, &fixture->body);
  buf_printf(&fixture->body, "garbage");
  post(fixture, client, "application/json", "Content-Encoding: gzip\r\n");
  expect_answer(fixture, client, 400, "not gzip");
  close(client);
  // Chunked, a byte each.
  client = client_connect(fixture->host);
  buf_clear(&fixture->body);
  buf_clear(&text);
  put_event(&text, "e", "ada");
  pack(buf_str(&text), 6, &fixture->body);
  buf_clear(&fixture->out);
  buf_printf(
      &fixture->out,
      "POST /v1/events HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n"
      "Transfer-Encoding: chunked\r\n\r\n");
  for (size_t i = 0; i < fixture->body.len; i++) {
    buf_printf(&fixture->out, "1\r\n");
    buf_append(&fixture->out, fixture->body.data + i, 1);
    buf_append(&fixture->out, "\r\n", 2);
  }
  buf_printf(&fixture->out, "0\r\n\r\n");
  client_send(client, buf_str(&fixture->out));
  expect_answer(fixture, client, 202, "\"accepted\":1");
  close(client);
  buf_deinit(&text);
}

static void a_bomb_is_stopped_at_the_limit(void **state) {
  struct fixture *fixture = *state;
  struct buf zeroes = {0};
  size_t len = 64 << 20;
  memset(buf_reserve(&zeroes, len), ' ', len);
  zeroes.len = len;
  int client = client_connect(fixture->host);
  buf_clear(&fixture->body);
  pack(buf_str(&zeroes), 9, &fixture->body);
  assert_true(fixture->body.len < 100000);
  post(fixture, client, "application/json", "Content-Encoding: gzip\r\n");
  expect_answer(fixture, client, 413, "http.max_body");
  assert_true(client_at_end(client));
  close(client);
  // Exactly the limit is none too much; it is only not an event.
  for (size_t over = 0; over <= 1; over++) {
    client = client_connect(fixture->host);
    buf_clear(&fixture->body);
    pack((struct str){(char *)zeroes.data, (1 << 20) + over}, 9, &fixture->body);
    post(fixture, client, "application/json", "Content-Encoding: gzip\r\n");
    expect_answer(fixture, client, over ? 413 : 400, NULL);
    close(client);
  }
  buf_deinit(&zeroes);
}

static void keys_are_asked_for(void **state) {
  struct fixture *fixture = *state;
  static const struct {
    const char *header;
    int status;
    const char *part;
  } cases[] = {
      {"", 401, "an API key is wanted"},
      {"Authorization: Bearer a-secret-key\r\n", 202, NULL},
      {"authorization: bearer   a-secret-key  \r\n", 202, NULL},
      {"X-API-Key: a-secret-key\r\n", 202, NULL},
      {"X-API-Key: another-key\r\n", 202, NULL},
      {"X-API-Key: a-secret-kez\r\n", 401, "not known"},
      {"X-API-Key: a-secret-ke\r\n", 401, "not known"},
      {"X-API-Key: a-secret-key1\r\n", 401, "not known"},
      {"X-API-Key:\r\n", 401, "not known"},
      {"Authorization: Bearer\r\n", 401, "not known"},
      {"Authorization: Basic a-secret-key\r\n", 401, "an API key is wanted"},
      {"Authorization: a-secret-key\r\n", 401, "an API key is wanted"},
  };
  int client = client_connect(fixture->host);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    set_event(fixture, "e");
    post(fixture, client, "application/json", cases[i].header);
    expect_answer(fixture, client, cases[i].status, cases[i].part);
    if (cases[i].status == 401) assert_non_null(strstr(fixture->answer.head, "WWW-Authenticate: Bearer\r\n"));
  }
  client_send(client,
              STR("GET /healthz HTTP/1.1\r\nHost: test\r\n\r\nGET /metrics HTTP/1.1\r\nHost: test\r\n\r\n"));
  expect_answer(fixture, client, 200, NULL);
  expect_answer(fixture, client, 200, NULL);
  // A key does not come in a trailer.
  client_send(client,
              STR("POST /v1/events HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
                  "Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Api-Key: a-secret-key\r\n\r\n"));
  expect_answer(fixture, client, 401, NULL);
  close(client);
}

static void a_key_has_its_rate(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  set_event(fixture, "e");
  for (int i = 0; i < 5; i++) {
    post(fixture, client, "application/json", "X-Api-Key: another-key\r\n");
    expect_answer(fixture, client, 202, NULL);
  }
  post(fixture, client, "application/json", "X-Api-Key: another-key\r\n");
  expect_answer(fixture, client, 429, "over its rate");
  const char *wait = strstr(fixture->answer.head, "Retry-After: ");
  assert_non_null(wait);
  assert_in_range(strtol(wait + 13, NULL, 10), 700, 720); // one event in twelve minutes
  post(fixture, client, "application/json", "X-Api-Key: a-secret-key\r\n");
  expect_answer(fixture, client, 202, NULL);
  close(client);
}

static void a_batch_costs_its_events(void **state) {
  struct fixture *fixture = *state;
  int client = client_connect(fixture->host);
  buf_clear(&fixture->body);
  for (int i = 0; i < 50; i++) {
    put_event(&fixture->body, "e", "ada");
    buf_printf(&fixture->body, "\n");
  }
  post(fixture, client, "application/x-ndjson", "X-Api-Key: another-key\r\n");
  expect_answer(fixture, client, 202, "\"accepted\":50");
  post(fixture, client, "application/x-ndjson", "X-Api-Key: another-key\r\n");
  expect_answer(fixture, client, 429, NULL);
  const char *wait = strstr(fixture->answer.head, "Retry-After: ");
  assert_non_null(wait);
  assert_in_range(strtol(wait + 13, NULL, 10), 46 * 720 - 20, 46 * 720);
  close(client);
}

static void a_drain_answers_what_is_due_and_closes(void **state) {
  struct fixture *fixture = *state;
  int idle = client_connect(fixture->host), busy = client_connect(fixture->host);
  client_send(idle, STR("GET /healthz HTTP/1.1\r\nHost: test\r\n\r\n"));
  expect_answer(fixture, idle, 200, NULL);
  set_event(fixture, "slow");
  buf_clear(&fixture->out);
  for (int i = 0; i < 3; i++) put_post(&fixture->out, "application/json", "", buf_str(&fixture->body));
  client_send(busy, buf_str(&fixture->out));
  usleep(10000);
  host_order(fixture->host, host_do_drain);
  assert_true(client_at_end(idle));
  for (int i = 0; i < 3; i++) expect_answer(fixture, busy, 202, "\"accepted\":1");
  assert_non_null(strstr(fixture->answer.head, "Connection: close"));
  assert_true(client_at_end(busy));
  close(idle);
  close(busy);
}

#define TEST(name)              cmocka_unit_test_setup_teardown(name, set_up, tear_down)
#define TEST_WITH(name, set_up) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
  const struct CMUnitTest tests[] = {
      TEST(one_event_an_array_and_lines),
      TEST(answers_with_nothing_accepted),
      TEST(too_many_items),
      TEST(other_paths),
      TEST(a_host_that_does_not_run),
      TEST(pipelined_requests_are_answered_in_order),
      TEST(a_byte_at_a_time),
      TEST(large_bodies_in_any_split),
      TEST(leave_to_continue),
      TEST(connections_persist_as_asked),
      TEST(a_client_that_stops_sending_gets_its_answers),
      TEST(packed_bodies),
      TEST(a_bomb_is_stopped_at_the_limit),
      TEST_WITH(keys_are_asked_for, set_up_keys),
      TEST_WITH(a_key_has_its_rate, set_up_keys),
      TEST_WITH(a_batch_costs_its_events, set_up_keys),
      TEST(a_drain_answers_what_is_due_and_closes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
