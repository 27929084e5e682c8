#include <cmath>
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

/** Appends values as value_put_… do, with the end of the memory in registers: this is where most of an
 * event's bytes are written. */
class writer {
  struct buf *out;
  uint8_t *at, *end;

  void room(size_t bytes) {
    if (__builtin_expect(static_cast<size_t>(end - at) < bytes, 0)) {
      flush();
      buf_grow(out, bytes);
      begin();
    }
  }
  void begin() {
    at = out->data + out->len;
    end = out->data + out->cap;
  }

public:
  explicit writer(struct buf *out) : out(out) {
    buf_reserve(out, 64);
    begin();
  }
  void flush() {
    out->len = offset();
  }
  /** Bytes up to here. */
  size_t offset() const {
    return static_cast<size_t>(at - out->data);
  }
  /** The rare forms. */
  template <typename put> void slowly(put append) {
    flush();
    append(out);
    begin();
  }
  void byte(uint8_t byte) {
    room(1);
    *at++ = byte;
  }
  /** @param string  has 16 readable bytes behind its end */
  void short_string(const uint8_t *string, uint32_t len) {
    room(1 + 32);
    *at = static_cast<uint8_t>(0xa0 | len);
    memcpy(at + 1, string, 16);
    if (len > 16) memcpy(at + 17, string + 16, 16);
    at += 1 + len;
  }
  void number(double number) {
    uint64_t bits;
    room(9);
    memcpy(&bits, &number, sizeof bits);
    bits = htobe64(bits);
    *at = 0xcb;
    memcpy(at + 1, &bits, sizeof bits);
    at += 9;
  }
};

void note_end(struct buf *ends, uint64_t offset) {
  buf_append(ends, &offset, sizeof offset);
}

/** Both forms list elements in the order of the text, so one straight pass does. simdjson's strings have
 * SIMDJSON_PADDING bytes behind the last one.
 * @param ends  where items' members end, or null (json_parse_items()). @return false where it nests too deep.
 */
bool append_document(const document &doc, struct buf *out, struct buf *ends) {
  static_assert(simdjson::SIMDJSON_PADDING >= 16, "short strings are copied in pieces of 16");
  const uint64_t *tape = doc.tape.get();
  const uint8_t *strings = doc.string_buf.get();
  size_t end = static_cast<uint32_t>(tape[0]);
  constexpr unsigned NONE = VALUE_DEPTH_MAX + 2;
  unsigned depth = 0;
  unsigned items_at = !ends ? NONE : tape_type(tape[1]) == '[' ? 1 : 0; // depth of the items …
  unsigned members_at = NONE;      // … and of the present one's members
  bool key = false, fresh = false; // the next string is such a member's key; there was none before
  writer to(out);
  for (size_t at = 1; at < end; at++) {
    uint64_t word = tape[at];
    if (depth == members_at) {
      if (key && !fresh) note_end(ends, to.offset());
      fresh = false;
      key = !key;
    }
    switch (tape_type(word)) {
    case '"': {
      const uint8_t *string = strings + (word & 0x00FFFFFFFFFFFFFF);
      uint32_t len;
      memcpy(&len, string, sizeof len);
      string += sizeof len;
      if (len <= 31)
        to.short_string(string, len);
      else
        to.slowly([&](struct buf *out) {
          value_put_string(out, str{reinterpret_cast<const char *>(string), len});
        });
      break;
    }
    case 'l': {
      int64_t integer = static_cast<int64_t>(tape[++at]);
      if (integer >= 0 && integer <= 0x7f)
        to.byte(static_cast<uint8_t>(integer));
      else
        to.slowly([&](struct buf *out) { value_put_integer(out, integer); });
      break;
    }
    case 'u':
      at++;
      to.slowly([&](struct buf *out) { value_put_number(out, static_cast<double>(tape[at])); });
      break;
    case 'd': {
      double number;
      memcpy(&number, &tape[++at], sizeof number);
      if (number == std::floor(number))
        to.slowly([&](struct buf *out) { value_put_number(out, number); });
      else
        to.number(number);
      break;
    }
    case '{':
    case '[': {
      bool map = tape_type(word) == '{';
      if (depth == items_at && map) {
        members_at = depth + 1;
        key = fresh = true;
      }
      if (depth++ == VALUE_DEPTH_MAX) return false;
      uint32_t count = element_count(tape, at);
      if (count <= 15)
        to.byte(static_cast<uint8_t>((map ? 0x80 : 0x90) | count));
      else
        to.slowly([&](struct buf *out) { map ? value_put_map(out, count) : value_put_array(out, count); });
      break;
    }
    case '}':
    case ']':
      if (depth-- == members_at) members_at = NONE;
      break;
    case 't':
      to.byte(0xc3);
      break;
    case 'f':
      to.byte(0xc2);
      break;
    case 'n':
      to.byte(0xc0);
      break;
    }
  }
  to.flush();
  return true;
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
    // simdjson counts the levels below, and no empty container: what gets past it is counted on the tape.
    return dom.allocate(capacity, VALUE_DEPTH_MAX + 1) == simdjson::SUCCESS &&
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

int json_parse_items(struct json_parser *parser, const char *text, size_t len, size_t line, struct buf *out,
                     struct buf *ends, struct error *err) {
  size_t before = out->len, noted = ends ? ends->len : 0;
  bool good = parser->parse(text, len);
  if (!good && json_widen_integers(text, len, &parser->widened)) {
    good = parser->parse(reinterpret_cast<const char *>(parser->widened.data),
                         parser->widened.len - JSON_PADDING);
    buf_deinit(&parser->widened);
  }
  if (good) good = append_document(parser->dom.doc, out, ends);
  if (!good) {
    out->len = before;
    if (ends) ends->len = noted;
  }
  if (len > KEEP_MAX) parser->dom = simdjson::dom::parser();
  return good ? 0 : json_explain(text, len, line, err);
}

int json_parse_line(struct json_parser *parser, const char *text, size_t len, size_t line, struct buf *out,
                    struct error *err) {
  return json_parse_items(parser, text, len, line, out, nullptr, err);
}

int json_parse(struct json_parser *parser, const char *text, size_t len, struct buf *out, struct error *err) {
  return json_parse_items(parser, text, len, 1, out, nullptr, err);
}
