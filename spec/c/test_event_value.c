// links: base event
#include "event/value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <math.h>

static void assert_str(struct str actual, const char *expected) {
  if (!str_equal(actual, str_from(expected))) fail_msg("got %.*s, expected %s", STR_ARG(actual), expected);
}

static void assert_json(struct str value, const char *expected) {
  struct buf json;
  buf_init(&json);
  value_to_json(value, &json);
  assert_str(buf_str(&json), expected);
  buf_deinit(&json);
}

static void integers_take_the_shortest_form_and_come_back(void **state) {
  (void)state;
  static const struct {
    int64_t value;
    size_t bytes;
  } cases[] = {
      {0, 1},
      {127, 1},
      {128, 2},
      {255, 2},
      {256, 3},
      {65535, 3},
      {65536, 5},
      {UINT32_MAX, 5},
      {1LL << 32, 9},
      {INT64_MAX, 9},
      {-1, 1},
      {-32, 1},
      {-33, 2},
      {-128, 2},
      {-129, 3},
      {-32768, 3},
      {-32769, 5},
      {INT32_MIN, 5},
      {INT32_MIN - 1LL, 9},
      {INT64_MIN, 9},
  };
  struct buf buf;
  buf_init(&buf);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    buf_clear(&buf);
    value_put_integer(&buf, cases[i].value);
    assert_int_equal(buf.len, cases[i].bytes);
    struct value head = value_head(buf_str(&buf));
    assert_int_equal(head.type, VALUE_INTEGER);
    assert_true(head.integer == cases[i].value);
    assert_true(value_valid(buf_str(&buf)));
  }
  buf_deinit(&buf);
}

static void whole_doubles_are_integers(void **state) {
  (void)state;
  static const struct {
    double value;
    enum value_type type;
  } cases[] = {{5.0, VALUE_INTEGER},
               {-0.0, VALUE_INTEGER},
               {9007199254740992.0, VALUE_INTEGER},
               {-9007199254740992.0, VALUE_INTEGER},
               {9007199254740994.0, VALUE_NUMBER},
               {5.5, VALUE_NUMBER},
               {1e300, VALUE_NUMBER},
               {INFINITY, VALUE_NUMBER}};
  struct buf buf;
  buf_init(&buf);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    buf_clear(&buf);
    value_put_number(&buf, cases[i].value);
    assert_int_equal(value_head(buf_str(&buf)).type, cases[i].type);
    double back;
    assert_true(value_as_number(buf_str(&buf), &back));
    assert_true(back == cases[i].value);
  }
  buf_clear(&buf);
  value_put_number(&buf, NAN);
  assert_json(buf_str(&buf), "null");
  buf_deinit(&buf);
}

static void strings_of_every_length_class(void **state) {
  (void)state;
  static const size_t lengths[] = {0, 1, 31, 32, 255, 256, 65535, 65536, 100000};
  static char text[100000];
  memset(text, 'x', sizeof text);
  struct buf buf;
  buf_init(&buf);
  for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
    buf_clear(&buf);
    value_put_string(&buf, (struct str){text, lengths[i]});
    struct value head = value_head(buf_str(&buf));
    assert_int_equal(head.type, VALUE_STRING);
    assert_int_equal(head.string.len, lengths[i]);
    assert_true(value_valid(buf_str(&buf)));
    buf.len--; // one byte short
    assert_false(value_valid(buf_str(&buf)));
  }
  buf_deinit(&buf);
}

static void containers_of_every_count_class(void **state) {
  (void)state;
  static const uint32_t counts[] = {0, 1, 15, 16, 65535, 65536};
  struct buf buf;
  buf_init(&buf);
  for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
    buf_clear(&buf);
    value_put_array(&buf, counts[i]);
    for (uint32_t n = 0; n < counts[i]; n++) value_put_nil(&buf);
    assert_true(value_valid(buf_str(&buf)));
    assert_int_equal(value_head(buf_str(&buf)).count, counts[i]);
    buf_clear(&buf);
    value_put_map(&buf, counts[i]);
    for (uint32_t n = 0; n < counts[i]; n++) {
      value_put_string(&buf, STR("k"));
      value_put_bool(&buf, true);
    }
    assert_true(value_valid(buf_str(&buf)));
    assert_int_equal(value_head(buf_str(&buf)).count, counts[i]);
  }
  buf_deinit(&buf);
}

static void malformed_bytes_are_refused(void **state) {
  (void)state;
  static const struct str cases[] = {
      STR(""),
      STR("\xc1"),                     // never used
      STR("\xc4\x01x"),                // bin
      STR("\xd4\x01x"),                // ext
      STR("\xcd\x01"),                 // cut integer
      STR("\xcb\x01\x02"),             // cut double
      STR("\xa5hell"),                 // cut string
      STR("\xdb\xff\xff\xff\xffx"),    // string of 4 GB
      STR("\xdd\xff\xff\xff\xff\xc0"), // array of 4 G elements
      STR("\xdf\xff\xff\xff\xff\xc0"), // map of 4 G pairs
      STR("\x92\xc0"),                 // one element short
      STR("\x81\xa1k"),                // no value
      STR("\x81\x01\x02"),             // a key that is no string
      STR("\xc0\xc0"),                 // two values
  };
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
    if (value_valid(cases[i])) fail_msg("case %zu was taken", i);
  struct reader reader = reader_of(STR("\xdd\xff\xff\xff\xff\xc0"));
  value_skip(&reader);
  assert_true(reader.bad);
  reader = reader_of(STR("\xa5hell"));
  struct str slice = value_slice(&reader);
  assert_true(reader.bad);
  assert_int_equal(slice.len, 0);
}

static void members_come_in_their_order(void **state) {
  (void)state;
  static const char long_name[] = "a name of more than thirty-one letters";
  struct value_pair pairs[4];
  struct buf map;
  buf_init(&map);
  value_put_map(&map, 4);
  value_put_string(&map, STR("n"));
  value_put_number(&map, 1.5);
  value_put_string(&map, str_from(long_name));
  value_put_array(&map, 2);
  value_put_map(&map, 1);
  value_put_string(&map, STR("deep"));
  value_put_nil(&map);
  value_put_integer(&map, -70000);
  value_put_string(&map, STR(""));
  value_put_bool(&map, true);
  value_put_string(&map, STR("n"));
  value_put_string(&map, str_from(long_name));
  assert_int_equal(value_members(buf_str(&map), pairs, 4), 4);
  static const char *const keys[] = {"n", long_name, "", "n"},
                           *const values[] = {"1.5", "[{\"deep\":null},-70000]", "true",
                                              "\"a name of more than thirty-one letters\""};
  for (int i = 0; i < 4; i++) {
    assert_str(pairs[i].key, keys[i]);
    assert_json(pairs[i].value, values[i]);
  }
  assert_int_equal(value_members(buf_str(&map), pairs, 3), 0);
  assert_int_equal(value_members(STR("\x80"), pairs, 4), 0);
  assert_int_equal(value_members(STR("\x91\xc0"), pairs, 4), 0);
  assert_int_equal(value_members(STR(""), pairs, 4), 0);
  buf_deinit(&map);
}

static void any_truncation_or_flip_is_survived(void **state) {
  (void)state;
  struct buf good, bad, json;
  buf_init(&good);
  buf_init(&bad);
  buf_init(&json);
  value_put_map(&good, 3);
  value_put_string(&good, STR("items"));
  value_put_array(&good, 2);
  value_put_integer(&good, 100000);
  value_put_number(&good, 1.5);
  value_put_string(&good, STR("name"));
  value_put_string(&good, STR("a longer text, so that its length takes a byte of its own"));
  value_put_string(&good, STR("map"));
  value_put_map(&good, 0);
  for (size_t len = 0; len < good.len; len++) {
    struct str cut = {(const char *)good.data, len};
    assert_false(value_valid(cut));
    struct str out;
    value_find(cut, STR("items.1"), &out);
    struct value_pair pairs[3];
    assert_int_equal(value_members(cut, pairs, 3), 0);
    value_to_json(cut, &json);
  }
  for (size_t at = 0; at < good.len; at++)
    for (int flip = 1; flip < 256; flip++) {
      buf_clear(&bad);
      buf_append(&bad, good.data, good.len);
      bad.data[at] ^= (uint8_t)flip;
      buf_clear(&json);
      struct str out;
      value_member(buf_str(&bad), STR("map"), &out);
      struct value_pair pairs[3];
      value_members(buf_str(&bad), pairs, 3);
      value_find(buf_str(&bad), STR("items.1"), &out);
      value_to_json(buf_str(&bad), &json);
      assert_true(json.len > 0);
    }
  buf_deinit(&good);
  buf_deinit(&bad);
  buf_deinit(&json);
}

static void depth_is_bounded(void **state) {
  (void)state;
  struct buf buf;
  buf_init(&buf);
  for (int i = 0; i < VALUE_DEPTH_MAX; i++) value_put_array(&buf, 1);
  value_put_nil(&buf);
  assert_true(value_valid(buf_str(&buf)));
  buf_clear(&buf);
  for (int i = 0; i < 100000; i++) value_put_array(&buf, 1);
  value_put_nil(&buf);
  assert_false(value_valid(buf_str(&buf)));
  struct reader reader = reader_of(buf_str(&buf));
  value_skip(&reader); // no recursion: 100,000 levels fit
  assert_false(reader.bad);
  assert_int_equal(reader_left(&reader), 0);
  struct buf json;
  buf_init(&json);
  value_to_json(buf_str(&buf), &json);
  assert_int_equal(json.len, 2 * VALUE_DEPTH_MAX + 4);
  assert_memory_equal(json.data + VALUE_DEPTH_MAX, "null]", 5);
  buf_deinit(&json);
  buf_deinit(&buf);
}

/** value_opens() says before reading what value_read() says of each first byte. */
static void maps_and_arrays_are_told_by_their_head(void **state) {
  (void)state;
  uint8_t bytes[64] = {0};
  struct str whole = {(const char *)bytes, sizeof bytes};
  for (int head = 0; head <= 0xff; head++) {
    bytes[0] = (uint8_t)head;
    struct reader reader = reader_of(whole);
    bool opens = value_opens(&reader);
    assert_ptr_equal(reader.at, bytes);
    struct value value = value_read(&reader);
    assert_int_equal(opens, value.type == VALUE_MAP || value.type == VALUE_ARRAY);
  }
  struct reader none = reader_of(STR(""));
  assert_false(value_opens(&none));
  assert_false(none.bad);
}

/** {"a": 1, "items": [{"sku": "A1", "price": 19.9}, 7], "": {"b": true}, "a": 2, "0": "zero"} */
static void make_sample(struct buf *buf) {
  buf_init(buf);
  value_put_map(buf, 5);
  value_put_string(buf, STR("a"));
  value_put_integer(buf, 1);
  value_put_string(buf, STR("items"));
  value_put_array(buf, 2);
  value_put_map(buf, 2);
  value_put_string(buf, STR("sku"));
  value_put_string(buf, STR("A1"));
  value_put_string(buf, STR("price"));
  value_put_number(buf, 19.9);
  value_put_integer(buf, 7);
  value_put_string(buf, STR(""));
  value_put_map(buf, 1);
  value_put_string(buf, STR("b"));
  value_put_bool(buf, true);
  value_put_string(buf, STR("a"));
  value_put_integer(buf, 2);
  value_put_string(buf, STR("0"));
  value_put_string(buf, STR("zero"));
}

static void paths_lead_to_values(void **state) {
  (void)state;
  static const struct {
    const char *path, *json; /**< null: leads nowhere */
  } cases[] = {
      {"items.0.sku", "\"A1\""},
      {"items.0.price", "19.9"},
      {"items.1", "7"},
      {"items.2", NULL},
      {"a", "2"},
      {".b", "true"},
      {"a.b", NULL},
      {"items.-1", NULL},
      {"items.x", NULL},
      {"items.", NULL},
      {"items.0.sku.", NULL},
      {"0", "\"zero\""},
      {"missing", NULL},
      {"items.99999999999", NULL},
      {"",
       "{\"a\":1,\"items\":[{\"sku\":\"A1\",\"price\":19.9},7],\"\":{\"b\":true},\"a\":2,\"0\":\"zero\"}"},
  };
  struct buf buf;
  make_sample(&buf);
  assert_true(value_valid(buf_str(&buf)));
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct str out;
    bool found = value_find(buf_str(&buf), str_from(cases[i].path), &out);
    if (found != (cases[i].json != NULL)) fail_msg("path %s: found %d", cases[i].path, found);
    if (found) assert_json(out, cases[i].json);
  }
  buf_deinit(&buf);
}

static void the_last_of_equal_members_counts(void **state) {
  (void)state;
  struct buf buf;
  make_sample(&buf);
  struct str out;
  assert_true(value_member(buf_str(&buf), STR("a"), &out));
  assert_json(out, "2");
  assert_false(value_member(buf_str(&buf), STR("sku"), &out));
  assert_false(value_member(STR("\x05"), STR("a"), &out));
  buf_deinit(&buf);
}

static void keys_equal_for_equal_scalars(void **state) {
  (void)state;
  struct buf value, key;
  buf_init(&value);
  buf_init(&key);
#define ASSERT_KEY(put, expected)                                                                            \
  buf_clear(&value), buf_clear(&key), put, assert_true(value_key(buf_str(&value), &key)),                    \
      assert_str(buf_str(&key), expected)
  ASSERT_KEY(value_put_integer(&value, 12), "12");
  ASSERT_KEY(value_put_number(&value, 12.0), "12");
  ASSERT_KEY(value_put_string(&value, STR("12")), "12");
  ASSERT_KEY(value_put_number(&value, 1.5), "1.5");
  ASSERT_KEY(value_put_number(&value, -0.07), "-0.07");
  ASSERT_KEY(value_put_bool(&value, true), "true");
  ASSERT_KEY(value_put_bool(&value, false), "false");
  ASSERT_KEY(value_put_integer(&value, INT64_MIN), "-9223372036854775808");
#undef ASSERT_KEY
  // A whole double as another writer may have put it.
  buf_clear(&key);
  assert_true(value_key(STR("\xcb\x40\x14\0\0\0\0\0\0"), &key));
  assert_str(buf_str(&key), "5");
  assert_false(value_key(STR("\xc0"), &key));
  assert_false(value_key(STR("\x90"), &key));
  assert_false(value_key(STR("\xcb\x7f\xf0\0\0\0\0\0\0"), &key));
  buf_deinit(&value);
  buf_deinit(&key);
}

static void numbers_round_trip_as_text(void **state) {
  (void)state;
  struct buf value, json;
  buf_init(&value);
  buf_init(&json);
  uint64_t random = 88172645463325252ULL;
  for (int i = 0; i < 200000; i++) {
    random ^= random << 13, random ^= random >> 7, random ^= random << 17;
    double number;
    if (i % 3 == 0)
      number = (double)(int64_t)(random >> 20) / 100;
    else if (i % 3 == 1)
      number = (double)(int64_t)random / 1e7;
    else
      memcpy(&number, &random, sizeof number);
    if (!isfinite(number)) continue;
    buf_clear(&value);
    buf_clear(&json);
    value_put_number(&value, number);
    value_to_json(buf_str(&value), &json);
    buf_put_u8(&json, 0);
    double back = strtod((const char *)json.data, NULL);
    if (back != number) fail_msg("%.17g became %s", number, (const char *)json.data);
  }
  buf_deinit(&value);
  buf_deinit(&json);
}

static void text_is_escaped_and_kept_utf8(void **state) {
  (void)state;
  static const struct {
    struct str text;
    const char *json;
  } cases[] = {
      {STR("plain"), "\"plain\""},
      {STR("a\"b\\c\n\r\t\x01\x1f"), "\"a\\\"b\\\\c\\n\\r\\t\\u0001\\u001f\""},
      {STR("a\0b"), "\"a\\u0000b\""},
      {STR("grüße €😀"), "\"grüße €😀\""},
      {STR("\xff"), "\"\xEF\xBF\xBD\""},
      {STR("a\xC3"), "\"a\xEF\xBF\xBD\""},                                               // cut in a character
      {STR("\xC0\xAF"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\""},                                 // overlong
      {STR("\xED\xA0\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""},                 // surrogate
      {STR("\xF4\x90\x80\x80"), "\"\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\""}, // past the last
  };
  struct buf json;
  buf_init(&json);
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    buf_clear(&json);
    value_put_json_string(cases[i].text, &json);
    assert_str(buf_str(&json), cases[i].json);
  }
  buf_deinit(&json);
}

/** Eight bytes are looked at together, or one alone: what has to be escaped may stand anywhere in them. */
static void strings_are_escaped_wherever_it_stands(void **state) {
  (void)state;
  static const struct {
    const char *text, *json;
  } cases[] = {{"\"", "\\\""},
               {"\\", "\\\\"},
               {"\n", "\\n"},
               {"\x01", "\\u0001"},
               {"\x1f", "\\u001f"},
               {" ", " "},
               {"!", "!"},
               {"\x7f", "\\u007f"},
               {"\xC2\x9B", "\\u009b"},
               {"\xC2\xA0", "\xC2\xA0"},
               {"\xE2\x80\xAE", "\\u202e"},
               {"\xE2\x80\xAF", "\xE2\x80\xAF"},
               {"\xE2\x81\xA6", "\\u2066"},
               {"\x80", "\xEF\xBF\xBD"},
               {"\xC3\xA9", "\xC3\xA9"},
               {"\xff", "\xEF\xBF\xBD"}};
  struct buf json;
  buf_init(&json);
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    for (int before = 0; before <= 17; before++) {
      for (int behind = 0; behind <= 17; behind++) {
        char text[64], expected[80];
        int len = snprintf(text, sizeof text, "%.*s%s%.*s", before, "abcdefghijklmnopq", cases[i].text,
                           behind, "ABCDEFGHIJKLMNOPQ");
        snprintf(expected, sizeof expected, "\"%.*s%s%.*s\"", before, "abcdefghijklmnopq", cases[i].json,
                 behind, "ABCDEFGHIJKLMNOPQ");
        buf_clear(&json);
        value_put_json_string((struct str){text, (size_t)len}, &json);
        assert_str(buf_str(&json), expected);
      }
    }
  }
  buf_deinit(&json);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(integers_take_the_shortest_form_and_come_back),
      cmocka_unit_test(whole_doubles_are_integers),
      cmocka_unit_test(strings_of_every_length_class),
      cmocka_unit_test(strings_are_escaped_wherever_it_stands),
      cmocka_unit_test(containers_of_every_count_class),
      cmocka_unit_test(malformed_bytes_are_refused),
      cmocka_unit_test(members_come_in_their_order),
      cmocka_unit_test(any_truncation_or_flip_is_survived),
      cmocka_unit_test(depth_is_bounded),
      cmocka_unit_test(paths_lead_to_values),
      cmocka_unit_test(the_last_of_equal_members_counts),
      cmocka_unit_test(maps_and_arrays_are_told_by_their_head),
      cmocka_unit_test(keys_equal_for_equal_scalars),
      cmocka_unit_test(numbers_round_trip_as_text),
      cmocka_unit_test(text_is_escaped_and_kept_utf8),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
