// links: base event
#include "event/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "base/memory.h"
#include <cmocka.h>

/** A parser, and a copy of each text that ends exactly where its padding does, so that ASan sees over-reads.
 */
struct fixture {
  struct json_parser *parser;
  struct buf out;
  struct error err;
};

static int set_up(void **state) {
  struct fixture *fixture = memory_zalloc(sizeof *fixture);
  fixture->parser = json_parser_new();
  *state = fixture;
  return 0;
}

static int tear_down(void **state) {
  struct fixture *fixture = *state;
  json_parser_free(fixture->parser);
  buf_deinit(&fixture->out);
  memory_free(fixture);
  return 0;
}

static int parse(struct fixture *fixture, struct str text) {
  char *copy = memory_alloc(text.len + JSON_PADDING);
  memcpy(copy, text.data, text.len);
  memset(copy + text.len, '9', JSON_PADDING); // hostile padding: would prolong a number
  buf_clear(&fixture->out);
  int code = json_parse(fixture->parser, copy, text.len, &fixture->out, &fixture->err);
  memory_free(copy);
  if (code)
    assert_int_equal(fixture->out.len, 0);
  else
    assert_true(value_valid(buf_str(&fixture->out)));
  return code;
}

static void assert_becomes(struct fixture *fixture, struct str text, const char *expected) {
  if (parse(fixture, text)) fail_msg("%.*s: %s", STR_ARG(text), fixture->err.message);
  struct buf json;
  buf_init(&json);
  value_to_json(buf_str(&fixture->out), &json);
  if (!str_equal(buf_str(&json), str_from(expected)))
    fail_msg("%.*s became %.*s, expected %s", STR_ARG(text), STR_ARG(buf_str(&json)), expected);
  buf_deinit(&json);
}

static void documents_come_through(void **state) {
  static const char *const same[] = {
      "null",
      "true",
      "false",
      "0",
      "-1",
      "12",
      "1.5",
      "\"\"",
      "\"text\"",
      "[]",
      "{}",
      "[1,2,3]",
      "{\"a\":{\"b\":[{\"c\":null}]}}",
      "[[],{},[{}]]",
      "{\"a\":1,\"a\":2}",
      "\"grüße €😀\"",
      "9223372036854775807",
      "-9223372036854775808",
      "[0,127,128,255,256,65535,65536,4294967295,4294967296,-32,-33,-128,-129,-32768,-32769]",
  };
  for (size_t i = 0; i < sizeof same / sizeof same[0]; i++)
    assert_becomes(*state, str_from(same[i]), same[i]);
  assert_becomes(*state, STR(" \t\r\n[ 1 , 2 ] \n"), "[1,2]");
  assert_becomes(*state, STR("\"\\u00e9\\ud83d\\ude00\\n\\/\""), "\"é😀\\n/\"");
  assert_becomes(*state, STR("[5.0,1e3,-0.0,-0]"), "[5,1000,0,0]");
  assert_becomes(*state, STR("\"a\\u0000b\""), "\"a\\u0000b\"");
}

static void integers_beyond_int64_become_doubles(void **state) {
  assert_becomes(*state, STR("18446744073709551615"), "1.8446744073709552e+19");
  assert_becomes(*state, STR("9223372036854775808"), "9.223372036854776e+18");
  assert_becomes(*state,
                 STR("{\"a\":[100000000000000000000,-100000000000000000000],\"1000000000000000000000\":1}"),
                 "{\"a\":[1e+20,-1e+20],\"1000000000000000000000\":1}");
  // None changes what stands beside it.
  assert_becomes(*state,
                 STR("[1234567890123456789,100000000000000000000,-9223372036854775808,-9223372036854775809]"),
                 "[1234567890123456789,1e+20,-9223372036854775808,-9.223372036854776e+18]");
}

static void mistakes_are_named_and_located(void **state) {
  struct fixture *fixture = *state;
  static const struct {
    struct str text;
    const char *message;
  } cases[] = {
      {STR(""), "broken JSON at line 1, column 1: the text is empty"},
      {STR(" \n "), "broken JSON at line 2, column 2: the text is empty"},
      {STR("{\"a\":1,}"), "broken JSON at line 1, column 8: a key in double quotes is expected"},
      {STR("{\n  \"a\": 1\n  \"b\": 2\n}"), "broken JSON at line 3, column 3: ',' or '}' is expected"},
      {STR("{'a':1}"), "broken JSON at line 1, column 2: a key in double quotes is expected"},
      {STR("{\"a\" 1}"), "broken JSON at line 1, column 6: ':' is expected after a key"},
      {STR("{\"é\" 1}"), "broken JSON at line 1, column 6: ':' is expected after a key"},
      {STR("{\"a\":}"), "broken JSON at line 1, column 6: a value is expected"},
      {STR("{\"a\":1"), "broken JSON at line 1, column 7: the text ends within an object"},
      {STR("{"), "broken JSON at line 1, column 2: the text ends within an object"},
      {STR("[1,2"), "broken JSON at line 1, column 5: the text ends within an array"},
      {STR("[1 2]"), "broken JSON at line 1, column 4: ',' or ']' is expected"},
      {STR("[1,]"), "broken JSON at line 1, column 4: a value is expected"},
      {STR("[1}"), "broken JSON at line 1, column 3: ',' or ']' is expected"},
      {STR("]"), "broken JSON at line 1, column 1: a value is expected"},
      {STR("1 2"), "broken JSON at line 1, column 3: something follows the value"},
      {STR("{}\n{}"), "broken JSON at line 2, column 1: something follows the value"},
      {STR("{}\0"), "broken JSON at line 1, column 3: something follows the value"},
      {STR("\"abc"), "broken JSON at line 1, column 5: the text ends within a string"},
      {STR("\"abc\\"), "broken JSON at line 1, column 6: the text ends within a string"},
      {STR("\"a\nb\""),
       "broken JSON at line 1, column 3: a control character in a string; write it as an escape"},
      {STR("\"\\x\""), "broken JSON at line 1, column 3: no such escape in a string"},
      {STR("\"\\u12g4\""), "broken JSON at line 1, column 6: four hex digits are expected after \\u"},
      {STR("\"\\ud800\""), "broken JSON at line 1, column 8: half of a surrogate pair"},
      {STR("\"a\xff\""), "broken JSON at line 1, column 3: not UTF-8"},
      {STR("\"\xed\xa0\x80\""), "broken JSON at line 1, column 2: not UTF-8"},
      {STR("{\"\xc0\xaf\":1}"), "broken JSON at line 1, column 3: not UTF-8"},
      {STR("01"), "broken JSON at line 1, column 2: a number with a leading zero"},
      {STR("-"), "broken JSON at line 1, column 2: a digit is expected"},
      {STR("1."), "broken JSON at line 1, column 3: a digit is expected after the decimal point"},
      {STR("1e"), "broken JSON at line 1, column 3: a digit is expected in the exponent"},
      {STR("1.5.2"), "broken JSON at line 1, column 4: not a number"},
      {STR("[1e999]"), "broken JSON at line 1, column 2: a number too large for a double"},
      {STR("+1"), "broken JSON at line 1, column 1: a value is expected"},
      {STR("nul"), "broken JSON at line 1, column 1: a value is expected"},
      {STR("nullx"), "broken JSON at line 1, column 5: a value is expected"},
      {STR("NaN"), "broken JSON at line 1, column 1: a value is expected"},
      {STR("\xEF\xBB\xBF{}"), "broken JSON at line 1, column 1: a value is expected"}, // a byte order mark
      {STR("[1] // done"), "broken JSON at line 1, column 5: something follows the value"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    if (parse(fixture, cases[i].text) != ERROR_INVALID) fail_msg("case %zu was taken", i);
    if (strcmp(fixture->err.message, cases[i].message) != 0)
      fail_msg("case %zu: %s, expected %s", i, fixture->err.message, cases[i].message);
  }
}

static void depth_is_bounded(void **state) {
  struct fixture *fixture = *state;
  static char text[200002];
  for (int depth = VALUE_DEPTH_MAX - 1; depth <= VALUE_DEPTH_MAX + 1; depth++) {
    memset(text, '[', (size_t)depth);
    memset(text + depth, ']', (size_t)depth);
    int code = parse(fixture, (struct str){text, 2 * (size_t)depth});
    assert_int_equal(code, depth <= VALUE_DEPTH_MAX ? 0 : ERROR_INVALID);
  }
  assert_non_null(strstr(fixture->err.message, "column 65: nested too deep"));
  memset(text, '[', 100000);
  assert_int_equal(parse(fixture, (struct str){text, 100000}), ERROR_INVALID);
  for (size_t i = 0; i + 5 <= 200000; i += 5) memcpy(text + i, "{\"a\":", 5);
  assert_int_equal(parse(fixture, (struct str){text, 200000}), ERROR_INVALID);
  assert_non_null(strstr(fixture->err.message, "nested too deep"));
}

static void every_prefix_and_flip_is_either_good_or_explained(void **state) {
  struct fixture *fixture = *state;
  static const char text[] =
      "{\"event_id\":\"e-1\",\"n\":[1,-2.5e3,true,null,\"\\u00e9\"],\"o\":{\"k\":\"grüße\"}}";
  char copy[sizeof text];
  for (size_t len = 0; len < sizeof text - 1; len++) {
    assert_int_equal(parse(fixture, (struct str){text, len}), ERROR_INVALID);
    assert_null(strstr(fixture->err.message, "cannot be read"));
  }
  for (size_t at = 0; at < sizeof text - 1; at++)
    for (int byte = 0; byte < 256; byte++) {
      memcpy(copy, text, sizeof text);
      copy[at] = (char)byte;
      if (parse(fixture, (struct str){copy, sizeof text - 1}))
        assert_null(strstr(fixture->err.message, "cannot be read"));
    }
}

static void more_elements_than_simdjson_counts(void **state) {
  struct fixture *fixture = *state;
  enum { COUNT = 0xFFFFFF + 10 };
  struct buf text;
  buf_init(&text);
  buf_append(&text, "[{},[],1.5", 10);
  for (int i = 3; i < COUNT; i++) buf_append(&text, ",1", 2);
  buf_put_u8(&text, ']');
  assert_int_equal(parse(fixture, buf_str(&text)), 0);
  assert_int_equal(value_head(buf_str(&fixture->out)).count, COUNT);
  buf_deinit(&text);
  assert_becomes(fixture, STR("[1]"), "[1]"); // after it has given its memory back
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(documents_come_through, set_up, tear_down),
      cmocka_unit_test_setup_teardown(integers_beyond_int64_become_doubles, set_up, tear_down),
      cmocka_unit_test_setup_teardown(mistakes_are_named_and_located, set_up, tear_down),
      cmocka_unit_test_setup_teardown(depth_is_bounded, set_up, tear_down),
      cmocka_unit_test_setup_teardown(every_prefix_and_flip_is_either_good_or_explained, set_up, tear_down),
      cmocka_unit_test_setup_teardown(more_elements_than_simdjson_counts, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
