#include <simdjson.h>

extern "C" {
#include "event/json.h"
#include "event/json_fault.h"
}

namespace {

using simdjson::dom::document;

/** A document longer than this gives its memory back (simdjson keeps up to 14 bytes a byte of text). */
constexpr size_t KEEP_MAX = 256 << 10;
/** simdjson counts a container's elements in 24 bits and stops there. */
constexpr uint32_t COUNT_SATURATED = 0xFFFFFF;

// The tape: https://github.com/simdjson/simdjson/blob/master/doc/tape.md
inline char tape_type(uint64_t word) {
  return static_cast<char>(word >> 56);
}

uint32_t count_elements(const uint64_t *tape, size_t open) {
  uint32_t count = 0;
  size_t end = static_cast<uint32_t>(tape[open]) - 1;
  for (size_t at = open + 1; at < end; count++) {
    switch (tape_type(tape[at])) {
    case '[':
    case '{':
      at = static_cast<uint32_t>(tape[at]);
      break;
    case 'l':
    case 'u':
    case 'd':
      at += 2;
      break;
    default:
      at++;
    }
  }
  return tape_type(tape[open]) == '{' ? count / 2 : count;
}

inline uint32_t element_count(const uint64_t *tape, size_t at) {
  uint32_t count = (tape[at] >> 32) & COUNT_SATURATED;
  return __builtin_expect(count == COUNT_SATURATED, 0) ? count_elements(tape, at) : count;
}

/** Both forms list elements in the order of the text, so one straight pass does. */
void append_document(const document &doc, struct buf *out) {
  const uint64_t *tape = doc.tape.get();
  const uint8_t *strings = doc.string_buf.get();
  size_t end = static_cast<uint32_t>(tape[0]);
  for (size_t at = 1; at < end; at++) {
    uint64_t word = tape[at];
    switch (tape_type(word)) {
    case '"': {
      const uint8_t *string = strings + (word & 0x00FFFFFFFFFFFFFF);
      uint32_t len;
      memcpy(&len, string, sizeof len);
      value_put_string(out, str{reinterpret_cast<const char *>(string + sizeof len), len});
      break;
    }
    case 'l':
      value_put_integer(out, static_cast<int64_t>(tape[++at]));
      break;
    case 'u':
      value_put_number(out, static_cast<double>(tape[++at]));
      break;
    case 'd': {
      double number;
      memcpy(&number, &tape[++at], sizeof number);
      value_put_number(out, number);
      break;
    }
    case '{':
      value_put_map(out, element_count(tape, at));
      break;
    case '[':
      value_put_array(out, element_count(tape, at));
      break;
    case 't':
    case 'f':
      value_put_bool(out, tape_type(word) == 't');
      break;
    case 'n':
      value_put_nil(out);
      break;
    }
  }
}

} // namespace

struct json_parser {
  simdjson::dom::parser dom;
  struct buf widened;

  json_parser() {
    buf_init(&widened);
  }
  ~json_parser() {
    buf_deinit(&widened);
  }

  /** Room in powers of two, so that texts of creeping lengths do not reallocate each time. */
  bool prepare(size_t len) {
    if (len <= dom.capacity()) return true;
    size_t capacity = 4096;
    while (capacity < len) capacity *= 2;
    return dom.allocate(capacity, VALUE_DEPTH_MAX) == simdjson::SUCCESS &&
           dom.doc.allocate(capacity) == simdjson::SUCCESS;
  }
  bool parse(const char *text, size_t len) {
    return prepare(len) && dom.parse(text, len, false).error() == simdjson::SUCCESS;
  }
};

struct json_parser *json_parser_new(void) {
  return new json_parser();
}

void json_parser_free(struct json_parser *parser) {
  delete parser;
}

int json_parse_line(struct json_parser *parser, const char *text, size_t len, size_t line, struct buf *out,
                    struct error *err) {
  bool good = parser->parse(text, len);
  if (!good && json_widen_integers(text, len, &parser->widened)) {
    good = parser->parse(reinterpret_cast<const char *>(parser->widened.data),
                         parser->widened.len - JSON_PADDING);
    buf_deinit(&parser->widened);
  }
  if (good) append_document(parser->dom.doc, out);
  if (len > KEEP_MAX) parser->dom = simdjson::dom::parser();
  return good ? 0 : json_explain(text, len, line, err);
}

int json_parse(struct json_parser *parser, const char *text, size_t len, struct buf *out, struct error *err) {
  return json_parse_line(parser, text, len, 1, out, err);
}
