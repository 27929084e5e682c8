// covers: src/event/json.cc src/event/json_fault.c
/* JSON text -> value -> JSON text, and the explanation of what is refused. Input: the text. */
#include "event/json_fault.h"
#include "values.h"

#include <stdio.h>
#include <stdlib.h>

static struct json_parser *parser;

void fuzz_set_up(void) {
  parser = json_parser_new();
}

/** The place that the message names lies in the text, or right behind it. */
static void check_place(struct str text, const char *message, size_t first_line) {
  size_t line, column, at_line = first_line, width = 1;
  HOLDS(sscanf(message, "broken JSON at line %zu, column %zu:", &line, &column) == 2, "\"%s\"", message);
  HOLDS(line >= first_line && column >= 1);
  for (size_t i = 0; i < text.len; i++) {
    if (at_line == line && ((unsigned char)text.data[i] & 0xC0) != 0x80) width++;
    at_line += text.data[i] == '\n';
  }
  HOLDS(line <= at_line && column <= width, "line %zu of %zu, column %zu of %zu", line, at_line, column,
        width);
}

/** What came of the text does not depend on what follows it in memory, nor on the line it stands in. */
static void check_padding(struct str text, int code, const struct buf *value) {
  static const char fills[] = {'"', ' ', '1', '}', '\\', (char)0xff};
  struct buf again;
  buf_init(&again);
  struct error err = {0};
  for (size_t i = 0; i < sizeof fills; i++) {
    char *padded = fuzz_copy(text, JSON_PADDING, fills[i]);
    buf_clear(&again);
    HOLDS(json_parse_line(parser, padded, text.len, 7, &again, &err) == code, "before \"%c\"", fills[i]);
    HOLDS(str_equal(buf_str(&again), buf_str(value)));
    if (code) check_place(text, err.message, 7);
    free(padded);
  }
  buf_deinit(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct str text = {(const char *)data, size};
  struct buf value, written, again;
  struct error err = {0}, why = {0};
  buf_init(&value);
  buf_init(&written);
  buf_init(&again);
  char *exact = fuzz_copy(text, 0, 0);
  int code = fuzz_json(parser, text, &value, &err);
  HOLDS(json_explain(exact, size, 1, &why) == ERROR_INVALID);
  bool explained = strncmp(why.message, "broken JSON at ", 15) == 0;
  HOLDS(code == 0 || code == ERROR_INVALID);
  HOLDS(explained == (code != 0), "parsing says \"%s\", the explanation \"%s\"", err.message, why.message);
  check_padding(text, code, &value);
  if (code) {
    HOLDS(strcmp(err.message, why.message) == 0 && value.len == 0);
    check_place(text, err.message, 1);
  } else {
    HOLDS(value_valid(buf_str(&value)));
    value_to_json(buf_str(&value), &written);
    HOLDS(fuzz_json(parser, buf_str(&written), &again, &err) == 0, "%s: %.*s", err.message,
          STR_ARG(buf_str(&written)));
    HOLDS(fuzz_equal_values(buf_str(&value), buf_str(&again)), "%.*s", STR_ARG(buf_str(&written)));
    // Written once more it is the same text.
    size_t len = written.len;
    value_to_json(buf_str(&again), &written);
    HOLDS(written.len == 2 * len && memcmp(written.data, written.data + len, len) == 0, "%.*s",
          STR_ARG(buf_str(&written)));
  }
  free(exact);
  buf_deinit(&value);
  buf_deinit(&written);
  buf_deinit(&again);
  return 0;
}

static void seed_deep(unsigned depth) {
  struct buf text;
  buf_init(&text);
  for (unsigned i = 0; i < depth; i++) buf_put_u8(&text, '[');
  for (unsigned i = 0; i < depth; i++) buf_put_u8(&text, ']');
  fuzz_seed(buf_str(&text));
  buf_deinit(&text);
}

void fuzz_seeds(void) {
  static const char *const texts[] = {
      "{}",
      "[]",
      "\"\"",
      "0",
      "-0",
      "true",
      "false",
      "null",
      " [1, 2.5, -3e-7, 1E+400, 0.1]\n",
      "12345678901234567890",
      "-9223372036854775808",
      "9223372036854775807",
      "18446744073709551615",
      "[123456789012345678901234567890, 1e308, 2.2250738585072014e-308, 5e-324]",
      "{\"a\":{\"b\":[{\"c\":null}]},\"a\":1,\"\":\"\\u00e9\\ud83d\\ude00\\n\\\"\\\\\\/\\b\\f\\r\\t\"}",
      "\"\\ud800\"",
      "\"\\udc00\\ud800\"",
      "\"\\u12",
      "[1,]",
      "{\"a\" 1}",
      "{\"a\":1,}",
      "[01]",
      "[1.]",
      "[.5]",
      "[+1]",
      "nul",
      "truex",
      "\"a\nb\"",
      "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
      "\"\xff\"",
      "\"\xc0\xaf\"",
      "[1]]",
      "{\"a\":1}\n{\"b\":2}",
      "\xef\xbb\xbf{}",
      "[9007199254740993, 9007199254740992.0, 1.5e15, 1e16, 0.000001]",
  };
  for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) fuzz_seed(str_from(texts[i]));
  seed_deep(64);
  seed_deep(65);
}
