// links: base config event state gate deliver engine ingest decide generation explain
/* What is masked of a value, and what is not. */
#include "base/logger.h"
#include "event/json.h"
#include "explain/mask.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/** JSON in, masks as "#", JSON out. */
static void masks(const char *json, const char *wanted) {
  struct buf text, value, masked, out;
  struct error err = {0};
  struct json_parser *parser = json_parser_new();
  buf_init(&text);
  buf_init(&value);
  buf_init(&masked);
  buf_init(&out);
  buf_append(&text, json, strlen(json));
  buf_reserve(&text, JSON_PADDING);
  if (json_parse(parser, (const char *)text.data, text.len, &value, &err)) fail_msg("%s", err.message);
  mask_value(buf_str(&value), &masked);
  assert_true(value_valid(buf_str(&masked)));
  value_to_json(buf_str(&masked), &out);
  char got[1024];
  size_t len = 0;
  for (size_t i = 0; i < out.len && len < sizeof got - 1; i++) {
    got[len++] = out.data[i] == '~' ? '#' : (char)out.data[i];
    if (out.data[i] == '~') i += LOGGER_MASK_SIZE - 2;
  }
  got[len] = 0;
  if (strcmp(got, wanted) != 0) fail_msg("%s: %s instead of %s", json, got, wanted);
  buf_deinit(&text);
  buf_deinit(&value);
  buf_deinit(&masked);
  buf_deinit(&out);
  json_parser_free(parser);
}

static void test_masks_by_name(void **state) {
  (void)state;
  masks("{\"email\":\"x\",\"E-Mail\":\"x\",\"billing_email\":\"x\",\"sku\":\"K1\"}",
        "{\"email\":\"#\",\"E-Mail\":\"#\",\"billing_email\":\"#\",\"sku\":\"K1\"}");
  masks("{\"firstName\":\"Ada\",\"user.first_name\":\"Ada\",\"homeAddress\":{\"line\":[\"a\",5,true]}}",
        "{\"firstName\":\"#\",\"user.first_name\":\"#\",\"homeAddress\":{\"line\":[\"#\",\"#\",true]}}");
  masks("{\"to\":\"x\",\"sent_to\":\"x\",\"tomato\":\"x\",\"user\":\"ada\",\"user_bytes\":7,\"email\":\"\"}",
        "{\"to\":\"#\",\"sent_to\":\"x\",\"tomato\":\"x\",\"user\":\"#\",\"user_bytes\":7,\"email\":\"\"}");
  masks("{\"client_ip\":\"x\",\"shipping_zip\":53111,\"homeLat\":50.7,\"home.lon\":7.1,\"flat\":1,\"vip\":1,"
        "\"isVIP\":1}",
        "{\"client_ip\":\"#\",\"shipping_zip\":\"#\",\"homeLat\":\"#\",\"home.lon\":\"#\",\"flat\":1,\"vip\":"
        "1,\"isVIP\":1}");
  masks("{\"members\":[{\"user\":\"ada\",\"since\":1}],\"next\":\"ada\"}",
        "{\"members\":[{\"user\":\"#\",\"since\":1}],\"next\":\"#\"}");
  masks("{\"next\":\"midnight\",\"members\":[],\"more\":1}",
        "{\"next\":\"midnight\",\"members\":[],\"more\":1}");
  masks("{\"name\":\"Kettle\",\"attributes\":{\"name\":\"Ada\",\"vip\":true,\"phone\":491}}",
        "{\"name\":\"Kettle\",\"attributes\":{\"name\":\"#\",\"vip\":true,\"phone\":\"#\"}}");
}

/** What a rule read stands under the attribute's name, or the words of a window. */
static void test_masks_facts(void **state) {
  (void)state;
  masks("{\"facts\":{\"name\":\"Ada\",\"city\":\"Bonn\",\"plan\":\"gold\",\"count email 1h\":3}}",
        "{\"facts\":{\"name\":\"#\",\"city\":\"#\",\"plan\":\"gold\",\"count email 1h\":3}}");
  masks("{\"facts\":{\"last view first_name 1h\":\"Ada\",\"about first view zip 1h [k]\":531,\"last view sku "
        "1h\":\"K\"}}",
        "{\"facts\":{\"last view first_name 1h\":\"#\",\"about first view zip 1h [k]\":\"#\",\"last view sku "
        "1h\":\"K\"}}");
  masks("{\"at\":1,\"op\":\"read\",\"words\":\"first_name\",\"answer\":\"Ada\"}",
        "{\"at\":1,\"op\":\"read\",\"words\":\"first_name\",\"answer\":\"#\"}");
  masks("[{\"op\":\"read\",\"words\":\"city\",\"answer\":{\"a\":[\"Bonn\",5]}},{\"op\":\"read\",\"words\":"
        "\"plan\","
        "\"answer\":\"gold\"},{\"op\":\"read\",\"words\":\"last view name 1h\",\"answer\":\"Ada\"}]",
        "[{\"op\":\"read\",\"words\":\"city\",\"answer\":{\"a\":[\"#\",\"#\"]}},{\"op\":\"read\",\"words\":"
        "\"plan\","
        "\"answer\":\"gold\"},{\"op\":\"read\",\"words\":\"last view name 1h\",\"answer\":\"#\"}]");
  masks("{\"op\":\"wait_for\",\"words\":\"wait_for email\",\"answer\":{\"event\":{\"type\":\"email\"}}}",
        "{\"op\":\"wait_for\",\"words\":\"wait_for email\",\"answer\":{\"event\":{\"type\":\"email\"}}}");
  masks("[{\"kind\":\"last\",\"value\":\"payload.first_name\",\"answer\":\"Ada\"},{\"kind\":\"last\","
        "\"value\":\"payload.sku\",\"answer\":\"K1\"}]",
        "[{\"kind\":\"last\",\"value\":\"payload.first_name\",\"answer\":\"#\"},{\"kind\":\"last\","
        "\"value\":\"payload.sku\",\"answer\":\"K1\"}]");
}

static void test_masks_within_text(void **state) {
  (void)state;
  masks("{\"error\":\"rule.lua:3: no total for <ada@mail.example>, call +49 30 1234567!\"}",
        "{\"error\":\"rule.lua:3: no total for <#>, call #!\"}");
  masks("[\"ada@mail.example\",\"@ada\",\"a@b\",\"1+1\",\"+1 2 3\",\"user@\",\"\",\"x+y@z.de\"]",
        "[\"#\",\"@ada\",\"a@b\",\"1+1\",\"+1 2 3\",\"user@\",\"\",\"#\"]");
  masks("[\"+4930123456789012345\",null,1.5,{}]", "[\"+4930123456789012345\",null,1.5,{}]");
}

static void mask_name(const char *name, struct buf *out) {
  struct buf value;
  buf_init(&value);
  value_put_map(&value, 1);
  value_put_member_text(&value, "first_name", str_from(name));
  mask_value(buf_str(&value), out);
  buf_deinit(&value);
}

static void test_equal_texts_have_equal_masks(void **state) {
  (void)state;
  struct buf one, other;
  buf_init(&one);
  buf_init(&other);
  mask_name("ada", &one);
  mask_name("ada", &other);
  assert_true(str_equal(buf_str(&one), buf_str(&other)));
  buf_clear(&other);
  mask_name("bob", &other);
  assert_false(str_equal(buf_str(&one), buf_str(&other)));
  buf_clear(&one);
  mask_value(STR("\xc1 not a value"), &one);
  assert_int_equal(value_head(buf_str(&one)).type, VALUE_NIL);
  buf_deinit(&one);
  buf_deinit(&other);
}

int main(void) {
  logger_init(LOGGER_INFO, LOGGER_LOGFMT, false);
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_masks_by_name),
      cmocka_unit_test(test_masks_facts),
      cmocka_unit_test(test_masks_within_text),
      cmocka_unit_test(test_equal_texts_have_equal_masks),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
