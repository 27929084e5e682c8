// covers: src/event/value.c
/* MessagePack as it may lie in a damaged file: read, skipped, searched, written as JSON. Input: a path's
 * length and the path, then the bytes. */
#include "values.h"

#include <math.h>
#include <stdlib.h>

static struct json_parser *parser;

void fuzz_set_up(void) {
  parser = json_parser_new();
}

/** Whether all numbers are such as JSON has, and all text is UTF-8. */
static bool is_plain(struct str bytes) {
  struct reader reader = reader_of(bytes);
  while (reader_left(&reader)) {
    struct value value = value_read(&reader);
    if (value.type == VALUE_NUMBER && !isfinite(value.number)) return false;
    if (value.type == VALUE_STRING && !fuzz_is_utf8(value.string)) return false;
  }
  return !reader.bad;
}

/** Written anew with the value_put functions. */
static void rewrite(struct reader *reader, struct buf *out) {
  struct value value = value_read(reader);
  uint32_t elements = 0;
  switch (value.type) {
  case VALUE_NIL:
    value_put_nil(out);
    break;
  case VALUE_BOOL:
    value_put_bool(out, value.boolean);
    break;
  case VALUE_INTEGER:
    value_put_integer(out, value.integer);
    break;
  case VALUE_NUMBER:
    value_put_number(out, value.number);
    break;
  case VALUE_STRING:
    value_put_string(out, value.string);
    break;
  case VALUE_ARRAY:
    value_put_array(out, elements = value.count);
    break;
  case VALUE_MAP:
    value_put_map(out, value.count);
    elements = 2 * value.count;
    break;
  }
  while (elements--) rewrite(reader, out);
}

/** Every member of a map is found under its name, unless a later one has the same. */
static void check_members(struct str bytes) {
  struct reader reader = reader_of(bytes);
  struct value map = value_read(&reader);
  struct value_pair pairs[32];
  uint32_t count = value_members(bytes, pairs, 32);
  HOLDS(count == (map.type == VALUE_MAP && map.count <= 32 ? map.count : 0));
  if (map.type != VALUE_MAP) return;
  for (uint32_t i = 0; i < map.count && i < 32; i++) {
    struct value name = value_read(&reader);
    struct str member = value_slice(&reader), found;
    HOLDS(i >= count || (str_equal(pairs[i].key, name.string) && pairs[i].value.data == member.data &&
                         pairs[i].value.len == member.len));
    HOLDS(value_member(bytes, name.string, &found));
    HOLDS(found.data >= member.data && found.data + found.len <= bytes.data + bytes.len);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct input input = input_of(data, size);
  struct str path = input_text(&input, 64), found;
  struct str rest = input_rest(&input);
  char *copy = fuzz_copy(rest, 0, 0);
  struct str bytes = {copy, rest.len};
  struct buf json, back, key;
  struct error err = {0};
  double number;
  buf_init(&json);
  buf_init(&back);
  buf_init(&key);

  bool valid = value_valid(bytes);
  struct reader reader = reader_of(bytes);
  value_skip(&reader);
  HOLDS(!valid || (!reader.bad && reader_left(&reader) == 0));
  reader = reader_of(bytes);
  struct str slice = value_slice(&reader);
  HOLDS(!valid || str_equal(slice, bytes));

  struct value head = value_head(bytes);
  HOLDS(value_as_number(bytes, &number) == (head.type == VALUE_INTEGER || head.type == VALUE_NUMBER));
  if (value_find(bytes, path, &found))
    HOLDS(found.data >= bytes.data && found.data + found.len <= bytes.data + bytes.len);
  value_key(bytes, &key);

  value_to_json(bytes, &json);
  HOLDS(fuzz_json(parser, buf_str(&json), &back, &err) == 0, "%s: %.*s", err.message,
        STR_ARG(buf_str(&json)));
  if (valid) {
    HOLDS(fuzz_equal_values(bytes, buf_str(&back)), "%.*s", STR_ARG(buf_str(&json)));
    check_members(bytes);
    buf_clear(&json);
    reader = reader_of(bytes);
    rewrite(&reader, &json);
    HOLDS(value_valid(buf_str(&json)) && reader_left(&reader) == 0);
    // Equal values have equal bytes once they went through JSON, or were written by us.
    if (is_plain(bytes)) {
      size_t len = json.len;
      struct reader again = reader_of(buf_str(&back));
      buf_clear(&key);
      rewrite(&again, &key);
      HOLDS(fuzz_equal_values(buf_str(&key), (struct str){(const char *)json.data, len}));
    }
  }
  free(copy);
  buf_deinit(&json);
  buf_deinit(&back);
  buf_deinit(&key);
  return 0;
}

static void seed(const char *path, const char *json) {
  struct buf out;
  struct error err;
  buf_init(&out);
  buf_put_u8(&out, (uint8_t)strlen(path));
  buf_append(&out, path, strlen(path));
  if (fuzz_json(parser, str_from(json), &out, &err)) abort();
  fuzz_seed(buf_str(&out));
  buf_deinit(&out);
}

void fuzz_seeds(void) {
  seed("items.0.sku", "{\"items\":[{\"sku\":\"K1\",\"price\":12.5},{\"sku\":\"K2\"}],\"a.b\":null}");
  seed("", "[true,false,null,-1,-32,-33,-128,-129,-32768,-32769,-2147483648,-2147483649]");
  seed("3", "[127,128,255,256,65535,65536,4294967295,4294967296,9223372036854775807,1e300,0.1]");
  seed("a",
       "{\"a\":1,\"a\":2,\"b\":\"a text that is longer than thirty-one bytes, so that its head is two\"}");
  seed("x", "[[[[[[[[[[[[[[[[[[[[{\"x\":[]}]]]]]]]]]]]]]]]]]]]]");
  static const char heads[] = {(char)0xca, (char)0xcb, (char)0xcc, (char)0xcf, (char)0xd3,
                               (char)0xd9, (char)0xda, (char)0xdb, (char)0xdc, (char)0xdd,
                               (char)0xde, (char)0xdf, (char)0xc1, (char)0xc4};
  for (size_t i = 0; i < sizeof heads; i++) {
    char bytes[12] = {0, heads[i], 0, 0, 0, 1, 'a', (char)0xc0};
    fuzz_seed((struct str){bytes, sizeof bytes});
  }
}
