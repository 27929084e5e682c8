// What rules wait for: paths, what waits and what is given, answers, the cache.
#include "base/memory.h"
#include "engine/need_path.h"
#include "event/json.h"
#include "host/lookup_answer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

enum { RECORD_MAX = 64 << 10 };

struct fixture {
  struct json_parser *json;
  struct record record;
  struct event event;
  struct buf payload, metadata, value, out;
};

static struct str parse(struct fixture *fixture, const char *text, struct buf *out) {
  char padded[4096 + JSON_PADDING] = "";
  struct error err = {0};
  assert_true(strlen(text) < 4096);
  strcpy(padded, text);
  buf_clear(out);
  if (json_parse(fixture->json, padded, strlen(text), out, &err)) fail_msg("%s: %s", text, err.message);
  return buf_str(out);
}

static int set_up(void **state) {
  struct fixture *fixture = memory_zalloc(sizeof *fixture);
  fixture->json = json_parser_new();
  record_init(&fixture->record);
  fixture->event = (struct event){.id = STR("e/1"),
                                  .type = STR("product.viewed"),
                                  .entity = {ENTITY_USER, STR("ada o")},
                                  .timestamp = 1700000000123,
                                  .received = 1700000000456};
  fixture->event.payload =
      parse(fixture,
            "{\"sku\":\"a b\",\"at\":{\"shop\":7.5},\"yes\":true,\"none\":null,\"list\":[1],\"empty\":\"\"}",
            &fixture->payload);
  fixture->event.metadata = parse(fixture, "{\"from\":\"K\\u00f6ln\"}", &fixture->metadata);
  struct buf city = {0};
  struct error err = {0};
  value_put_string(&city, STR("Ulm"));
  struct effect set = {.type = EFFECT_ATTRIBUTE, .attribute = {STR("city"), buf_str(&city)}};
  assert_int_equal(record_apply(&fixture->record, &set, RECORD_MAX, &err), 0);
  buf_deinit(&city);
  *state = fixture;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *fixture = *state;
  json_parser_free(fixture->json);
  record_deinit(&fixture->record);
  buf_deinit(&fixture->payload);
  buf_deinit(&fixture->metadata);
  buf_deinit(&fixture->value);
  buf_deinit(&fixture->out);
  memory_free(fixture);
  return 0;
}

/* ---- paths ---- */

static void fills(struct fixture *fixture, const char *path, const char *expected) {
  struct error err = {0};
  assert_int_equal(need_path_check(str_from(path), &err), 0);
  buf_clear(&fixture->out);
  int rc = need_path_fill(str_from(path), &fixture->event, &fixture->record, &fixture->out, &err);
  if (rc) fail_msg("%s: %s", path, err.message);
  buf_put_u8(&fixture->out, 0);
  assert_string_equal((char *)fixture->out.data, expected);
}

static void cannot_fill(struct fixture *fixture, const char *path, const char *why) {
  struct error err = {0};
  assert_int_equal(need_path_check(str_from(path), &err), 0);
  buf_clear(&fixture->out);
  assert_true(need_path_fill(str_from(path), &fixture->event, &fixture->record, &fixture->out, &err) < 0);
  assert_string_equal(err.message, why);
  assert_int_equal(fixture->out.len, 0);
}

static void paths_are_filled_in(void **state) {
  struct fixture *fixture = *state;
  fills(fixture, "/", "/");
  fills(fixture, "/stock/{{payload.sku}}", "/stock/a%20b");
  fills(fixture, "/{{ event.payload.at.shop }}{{payload.yes}}?c={{user.city}}&u={{user.id}}",
        "/7.5true?c=Ulm&u=ada%20o");
  fills(fixture, "/{{event.id}}/{{event.type}}/{{metadata.from}}", "/e%2F1/product.viewed/K%C3%B6ln");
  fills(fixture, "/a%20b;c=d/~user/(x)!$'*+,@:", "/a%20b;c=d/~user/(x)!$'*+,@:");
}

static void every_byte_of_a_value_is_escaped_but_the_unreserved(void **state) {
  struct fixture *fixture = *state;
  static const char unreserved[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  for (int byte = 1; byte < 256; byte++) {
    char id[] = {(char)byte, 'x'}, expected[8];
    fixture->event.id = (struct str){id, 2};
    snprintf(expected, sizeof expected, strchr(unreserved, byte) ? "/%cx" : "/%%%02Xx", byte);
    fills(fixture, "/{{event.id}}", expected);
  }
}

static void values_that_are_not_there_have_a_reason(void **state) {
  struct fixture *fixture = *state;
  cannot_fill(fixture, "/{{payload.skv}}", "there is no payload.skv");
  cannot_fill(fixture, "/{{payload.none}}", "there is no payload.none");
  cannot_fill(fixture, "/{{payload.list}}", "there is no payload.list");
  cannot_fill(fixture, "/{{payload.empty}}/x", "there is no payload.empty");
  cannot_fill(fixture, "/{{user.town}}", "there is no user.town");
  cannot_fill(fixture, "/{{metadata.to}}", "there is no metadata.to");
  fixture->event.metadata = STR("");
  cannot_fill(fixture, "/{{metadata.from}}", "there is no metadata.from");
}

static void no_value_leads_elsewhere(void **state) {
  struct fixture *fixture = *state;
  static const char *const ids[] = {"..", "."};
  for (size_t i = 0; i < 2; i++) {
    fixture->event.id = str_from(ids[i]);
    cannot_fill(fixture, "/a/{{event.id}}", "the path would have a segment \".\" or \"..\"");
    cannot_fill(fixture, "/{{event.id}}/b?c", "the path would have a segment \".\" or \"..\"");
  }
  fixture->event.id = STR(".");
  cannot_fill(fixture, "/a/.{{event.id}}/b", "the path would have a segment \".\" or \"..\"");
  fills(fixture, "/a?b=/{{event.id}}/..", "/a?b=/./.."); // in a query they are text
  fixture->event.id = STR("...");
  fills(fixture, "/{{event.id}}", "/...");
  fixture->event.id = STR("../%2e%2e/?#@h");
  fills(fixture, "/{{event.id}}", "/..%2F%252e%252e%2F%3F%23%40h");
}

static void paths_are_bounded(void **state) {
  struct fixture *fixture = *state;
  char id[NEED_PATH_MAX + 1];
  memset(id, 'x', sizeof id);
  fixture->event.id = (struct str){id, NEED_PATH_MAX - 1};
  struct error err;
  buf_clear(&fixture->out);
  assert_int_equal(
      need_path_fill(STR("/{{event.id}}"), &fixture->event, &fixture->record, &fixture->out, &err), 0);
  assert_int_equal(fixture->out.len, NEED_PATH_MAX);
  fixture->event.id.len++;
  cannot_fill(fixture, "/{{event.id}}", "the path would be longer than 2048 bytes");
  fixture->event.id.len++;
  cannot_fill(fixture, "/{{event.id}}", "event.id is longer than 2048 bytes");
}

static void bad_paths_are_refused(void **state) {
  static const struct {
    const char *path, *says;
  } bad[] = {{"", "must begin with \"/\""},
             {"stock", "must begin with \"/\""},
             {"{{payload.url}}", "must begin with \"/\""},
             {"/a b", "percent-encoded"},
             {"/\xC3\xB6", "percent-encoded"},
             {"/a#b", "percent-encoded"},
             {"/\n", "percent-encoded"},
             {"/{{sku}}", "asks for {{sku}}"},
             {"/{{payload.}}", "asks for {{payload.}}"},
             {"/{{payload}}", "asks for {{payload}}"},
             {"/{{user.}}", "asks for {{user.}}"},
             {"/{{event.time}}", "asks for {{event.time}}"},
             {"/{{}}", "asks for {{}}"},
             {"/{{payload.a", "has a {{ without its }}"},
             {"/a}}b", "percent-encoded"}};
  (void)state;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    struct error err = {0};
    assert_int_equal(need_path_check(str_from(bad[i].path), &err), ERROR_INVALID);
    if (!strstr(err.message, bad[i].says)) fail_msg("%s: %s", bad[i].path, err.message);
  }
}

/* ---- what waits, and what is given ---- */

static struct str put_number(struct buf *out, double number) {
  value_put_number(out, number);
  return buf_str(out);
}

static void what_waits_holds_the_event_and_what_is_asked(void **state) {
  struct fixture *fixture = *state;
  struct buf one = {0};
  struct engine_need needs[] = {{.name = STR("stock"),
                                 .source = STR("shop"),
                                 .path = STR("/s/{{payload.sku}}"),
                                 .fallback = put_number(&one, 1),
                                 .timeout = 700,
                                 .cache = 5000},
                                {.name = STR("price"),
                                 .source = STR("bank"),
                                 .path = STR("/{{payload.price}}"),
                                 .fallback = buf_str(&one),
                                 .timeout = 9000},
                                {.name = STR("city"),
                                 .source = STR("maps"),
                                 .path = STR("/{{user.city}}"),
                                 .fallback = buf_str(&one),
                                 .timeout = 800}};
  struct engine_rule rule = {.campaign = STR("c"), .needs = needs, .need_count = 3};
  // The longest of what is asked; of `price` nothing is.
  assert_int_equal(lookup_plan(&rule, &fixture->event, &fixture->record, &fixture->out), 800);
  assert_true(value_valid(buf_str(&fixture->out)));
  struct event event;
  struct error err;
  assert_int_equal(lookup_event(&event, buf_str(&fixture->out), &err), 0);
  assert_true(str_equal(event.id, fixture->event.id) && str_equal(event.type, fixture->event.type) &&
              entity_equal(event.entity, fixture->event.entity));
  assert_true(event.timestamp == fixture->event.timestamp && event.received == fixture->event.received);
  assert_true(str_equal(event.payload, fixture->event.payload) &&
              str_equal(event.metadata, fixture->event.metadata));
  struct lookup_walk walk = {0};
  struct lookup_ask ask;
  assert_true(lookup_ask_next(&walk, buf_str(&fixture->out), &ask));
  assert_true(str_equal(ask.name, STR("stock")) && str_equal(ask.source, STR("shop")) &&
              str_equal(ask.path, STR("/s/a%20b")) && ask.timeout == 700 && ask.cache == 5000);
  assert_true(lookup_ask_next(&walk, buf_str(&fixture->out), &ask));
  assert_true(str_equal(ask.name, STR("city")) && str_equal(ask.path, STR("/Ulm")) && ask.cache == 0);
  assert_false(lookup_ask_next(&walk, buf_str(&fixture->out), &ask));
  rule.needs++;
  rule.need_count = 1;
  buf_clear(&fixture->out);
  assert_int_equal(lookup_plan(&rule, &fixture->event, &fixture->record, &fixture->out), 0);
  buf_deinit(&one);
}

static void damaged_data_is_told(void **state) {
  struct fixture *fixture = *state;
  struct event event;
  struct error err;
  struct lookup_walk walk = {0};
  struct lookup_ask ask;
  static const char *const texts[] = {"1", "{}", "{\"received\":1}", "{\"received\":1,\"event\":{}}",
                                      "{\"received\":1,\"event\":7,\"asks\":{}}"};
  for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
    struct str data = parse(fixture, texts[i], &fixture->value);
    assert_int_equal(lookup_event(&event, data, &err), ERROR_CORRUPT);
    walk = (struct lookup_walk){0};
    assert_false(lookup_ask_next(&walk, data, &ask));
  }
  struct str campaign, needs;
  lookup_encode(&fixture->event, STR("c"), parse(fixture, "{\"a\":1}", &fixture->value), &fixture->out);
  assert_int_equal(lookup_decode(buf_str(&fixture->out), &event, &campaign, &needs, &err), 0);
  assert_true(str_equal(campaign, STR("c")) && str_equal(needs, buf_str(&fixture->value)));
  for (size_t len = 0; len < fixture->out.len; len++) {
    struct str cut = {(const char *)fixture->out.data, len};
    assert_int_equal(lookup_decode(cut, &event, &campaign, &needs, &err), ERROR_CORRUPT);
  }
  buf_put_u8(&fixture->out, 0);
  assert_int_equal(lookup_decode(buf_str(&fixture->out), &event, &campaign, &needs, &err), ERROR_CORRUPT);
}

/** What a rule gets for one need with this fallback when this is the answer, as JSON. */
static void gives(struct fixture *fixture, const char *fallback, const char *answer, const char *expected) {
  struct buf fallback_value = {0}, json = {0};
  struct engine_need need = {.name = STR("n"), .fallback = parse(fixture, fallback, &fallback_value)};
  struct engine_rule rule = {.needs = &need, .need_count = 1};
  struct lookup_result item = {.name = STR("n"), .value = parse(fixture, answer, &fixture->value)};
  struct lookup_results results = {.items = &item, .count = 1};
  buf_clear(&fixture->out);
  lookup_needs(&rule, STR(""), &results, NULL, NULL, &fixture->out);
  assert_true(value_valid(buf_str(&fixture->out)));
  value_to_json(buf_str(&fixture->out), &json);
  buf_put_u8(&json, 0);
  assert_string_equal((char *)json.data, expected);
  buf_deinit(&fallback_value);
  buf_deinit(&json);
}

static void an_answer_must_have_what_the_fallback_has(void **state) {
  struct fixture *fixture = *state;
  gives(fixture, "{\"left\":0}", "{\"left\":2,\"more\":[]}",
        "{\"n\":{\"left\":2,\"more\":[]},\"n_state\":\"fresh\"}");
  gives(fixture, "{\"left\":0}", "{\"left\":2.5}", "{\"n\":{\"left\":2.5},\"n_state\":\"fresh\"}");
  gives(fixture, "{\"left\":0}", "{\"left\":null}",
        "{\"n\":{\"left\":0},\"n_state\":\"fallback\",\"n_why\":\"the answer's left is missing, the "
        "fallback's a "
        "number\"}");
  gives(
      fixture, "{\"left\":0,\"ok\":true}", "{\"left\":1,\"ok\":1}",
      "{\"n\":{\"left\":0,\"ok\":true},\"n_state\":\"fallback\",\"n_why\":\"the answer's ok is a number, the "
      "fallback's true or false\"}");
  gives(fixture, "[]", "{\"a\":1}", "{\"n\":{\"a\":1},\"n_state\":\"fresh\"}"); // Lua's {} is either
  gives(fixture, "[]", "[1]", "{\"n\":[1],\"n_state\":\"fresh\"}");
  gives(fixture, "[]", "1",
        "{\"n\":[],\"n_state\":\"fallback\",\"n_why\":\"the answer is a number, the fallback a list\"}");
  gives(fixture, "[7]", "{\"a\":1}",
        "{\"n\":[7],\"n_state\":\"fallback\",\"n_why\":\"the answer is a table, the fallback a list\"}");
  gives(fixture, "false", "{\"a\":1}",
        "{\"n\":{\"a\":1},\"n_state\":\"fresh\"}"); // no table: any answer will do
  gives(fixture, "\"none\"", "5", "{\"n\":5,\"n_state\":\"fresh\"}");
}

struct told {
  int count;
  enum lookup_reason reason;
};

static void note_told(void *context, const struct engine_need *need, enum lookup_reason reason, bool cached) {
  struct told *told = context;
  (void)need, (void)cached;
  told->count++;
  told->reason = reason;
}

static void needs_nobody_answered_fall_back_with_the_reason(void **state) {
  struct fixture *fixture = *state;
  struct buf one = {0}, json = {0}, data = {0};
  struct engine_need needs[] = {
      {.name = STR("a"), .path = STR("/{{payload.gone}}"), .fallback = put_number(&one, 1), .timeout = 9},
      {.name = STR("b"), .path = STR("/"), .fallback = buf_str(&one), .timeout = 9}};
  struct engine_rule rule = {.needs = needs, .need_count = 2};
  struct lookup_results results = {.reason = LOOKUP_TIMEOUT, .why = STR("late")};
  struct told told = {0};
  lookup_plan(&rule, &fixture->event, &fixture->record, &data);
  lookup_needs(&rule, buf_str(&data), &results, note_told, &told, &fixture->out);
  assert_int_equal(told.count, 2);
  assert_int_equal(told.reason, LOOKUP_TIMEOUT);
  value_to_json(buf_str(&fixture->out), &json);
  buf_put_u8(&json, 0);
  assert_string_equal(
      (char *)json.data,
      "{\"a\":1,\"a_state\":\"fallback\",\"a_why\":\"there is no payload.gone\",\"b\":1,\"b_state\":"
      "\"fallback\",\"b_why\":\"late\"}");
  buf_deinit(&one);
  buf_deinit(&json);
  buf_deinit(&data);
}

/* ---- answers ---- */

static void reads(struct fixture *fixture, long status, const char *type, const char *body, size_t seen,
                  enum lookup_reason reason, const char *says) {
  struct buf headers = {0};
  char why[160] = "";
  value_put_map(&headers, type ? 1 : 0);
  if (type) value_put_member_text(&headers, "content-type", str_from(type));
  struct http_response response = {status, buf_str(&headers), str_from(body)};
  buf_clear(&fixture->value);
  assert_int_equal(lookup_answer_read(fixture->json, &response, seen ? seen : strlen(body), &fixture->value,
                                      why, sizeof why),
                   reason);
  if (!strstr(why, says)) fail_msg("%ld %s: %s", status, body, why);
  assert_true(reason == LOOKUP_ANSWERED ? value_valid(buf_str(&fixture->value)) : fixture->value.len == 0);
  buf_deinit(&headers);
}

static void answers_are_read_with_suspicion(void **state) {
  struct fixture *fixture = *state;
  reads(fixture, 200, "application/json", "{\"left\":2}", 0, LOOKUP_ANSWERED, "");
  reads(fixture, 201, "application/vnd.shop+JSON; charset=utf-8", "[1]", 0, LOOKUP_ANSWERED, "");
  reads(fixture, 299, NULL, "null", 0, LOOKUP_ANSWERED, "");
  reads(fixture, 204, NULL, "", 0, LOOKUP_UNREADABLE, "the answer is not JSON");
  reads(fixture, 200, "application/json", "{\"left\":2", 0, LOOKUP_UNREADABLE, "the answer is not JSON");
  reads(fixture, 200, "text/html", "{}", 0, LOOKUP_UNREADABLE, "no JSON but \"text/html\"");
  reads(fixture, 200, "json", "{}", 0, LOOKUP_UNREADABLE, "no JSON but \"json\"");
  reads(fixture, 500, NULL, "{}", 0, LOOKUP_STATUS, "the server answered 500");
  reads(fixture, 304, NULL, "", 0, LOOKUP_STATUS, "304; redirects are not followed");
  reads(fixture, 0, NULL, "{}", 0, LOOKUP_STATUS, "answered 0");
  reads(fixture, 200, NULL, "{}", LOOKUP_ANSWER_MAX + 1, LOOKUP_TOO_LARGE, "larger than 64 KB");
  reads(fixture, 200, NULL, "{}", LOOKUP_ANSWER_MAX, LOOKUP_ANSWERED, "");
  char deep[400], wide[LOOKUP_ANSWER_MAX];
  memset(deep, '[', sizeof deep);
  memset(deep + 200, ']', 200);
  deep[sizeof deep - 1] = 0;
  reads(fixture, 200, NULL, deep, 0, LOOKUP_UNREADABLE, "the answer is not JSON");
  // Short as JSON, long as a value: nine bytes a number.
  wide[0] = '[';
  for (size_t i = 1; i + 4 < sizeof wide; i += 4) memcpy(wide + i, "1.5,", 4);
  strcpy(wide + sizeof wide - 4, "1]");
  reads(fixture, 200, NULL, wide, 0, LOOKUP_TOO_LARGE, "takes more than 64 KB");
}

/* ---- the cache ---- */

static struct lookup_answer *keep(struct lookup_cache *cache, uint32_t server, const char *path, size_t size,
                                  int64_t at, int64_t age, enum lookup_reason reason) {
  char *bytes = memory_zalloc(size + 1);
  struct lookup_answer *answer = lookup_answer_new(reason, STR(""), (struct str){bytes, size}, at);
  lookup_cache_put(cache, server, str_from(path), answer, age);
  lookup_answer_unref(answer);
  memory_free(bytes);
  return answer;
}

static bool has(struct lookup_cache *cache, uint32_t server, const char *path, int64_t age, int64_t now_us) {
  return lookup_cache_find(cache, server, str_from(path), age, now_us) != NULL;
}

static void the_cache_keeps_answers_as_long_as_they_may_be_old(void **state) {
  struct lookup_cache cache;
  (void)state;
  lookup_cache_init(&cache, 1 << 20);
  keep(&cache, 0, "/a", 10, 1000000, 5000, LOOKUP_ANSWERED);
  assert_true(has(&cache, 0, "/a", 5000, 1000000));
  assert_true(has(&cache, 0, "/a", 1000, 2000000));
  assert_false(has(&cache, 0, "/a", 999, 2000000)); // too old for this one
  assert_true(has(&cache, 0, "/a", 5000, 5999999));
  assert_false(has(&cache, 1, "/a", 5000, 1000000));
  assert_false(has(&cache, 0, "/b", 5000, 1000000));
  assert_false(has(&cache, 0, "/a", 50000, 6000000)); // longer than it was to be kept
  assert_int_equal(cache.bytes, 0);
  keep(&cache, 0, "/f", 0, 0, 60000, LOOKUP_STATUS);
  assert_true(has(&cache, 0, "/f", 60000, LOOKUP_FAILURE_MS * 1000 - 1));
  assert_false(has(&cache, 0, "/f", 60000, LOOKUP_FAILURE_MS * 1000));
  lookup_cache_deinit(&cache);
}

static void the_cache_is_bounded_and_the_least_used_goes(void **state) {
  struct lookup_cache cache;
  (void)state;
  lookup_cache_init(&cache, 16 << 10);
  char path[32];
  for (int i = 0; i < 3; i++) {
    snprintf(path, sizeof path, "/%d", i);
    keep(&cache, 0, path, 4 << 10, 0, 60000, LOOKUP_ANSWERED);
  }
  assert_true(has(&cache, 0, "/0", 60000, 1)); // used: /1 is the least now
  keep(&cache, 0, "/3", 4 << 10, 0, 60000, LOOKUP_ANSWERED);
  assert_false(has(&cache, 0, "/1", 60000, 1));
  assert_true(has(&cache, 0, "/0", 60000, 1) && has(&cache, 0, "/2", 60000, 1) &&
              has(&cache, 0, "/3", 60000, 1));
  keep(&cache, 0, "/0", 1 << 10, 0, 60000, LOOKUP_ANSWERED); // in the place of the one before
  assert_int_equal(lookup_cache_find(&cache, 0, STR("/0"), 60000, 1)->value.len, 1 << 10);
  keep(&cache, 0, "/huge", 20 << 10, 0, 60000, LOOKUP_ANSWERED);
  assert_false(has(&cache, 0, "/huge", 60000, 1));
  for (int i = 0; i < 10000; i++) {
    snprintf(path, sizeof path, "/many/%d", i);
    keep(&cache, 0, path, 100, 0, 60000, LOOKUP_ANSWERED);
    assert_true(cache.bytes <= 16 << 10);
  }
  assert_true(has(&cache, 0, "/many/9999", 60000, 1));
  // Who holds an answer keeps it, whatever the cache does.
  struct lookup_answer *held = lookup_answer_ref(lookup_cache_find(&cache, 0, STR("/many/9999"), 60000, 1));
  lookup_cache_deinit(&cache);
  assert_int_equal(held->value.len, 100);
  lookup_answer_unref(held);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
  const struct CMUnitTest tests[] = {
      TEST(paths_are_filled_in),
      TEST(every_byte_of_a_value_is_escaped_but_the_unreserved),
      TEST(values_that_are_not_there_have_a_reason),
      TEST(no_value_leads_elsewhere),
      TEST(paths_are_bounded),
      TEST(bad_paths_are_refused),
      TEST(what_waits_holds_the_event_and_what_is_asked),
      TEST(damaged_data_is_told),
      TEST(an_answer_must_have_what_the_fallback_has),
      TEST(needs_nobody_answered_fall_back_with_the_reason),
      TEST(answers_are_read_with_suspicion),
      TEST(the_cache_keeps_answers_as_long_as_they_may_be_old),
      TEST(the_cache_is_bounded_and_the_least_used_goes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
