/** JSON in, by simdjson (the one C++ file of the host); json_fault.h explains what it refuses. */
#pragma once

#include "event/value.h"

/** Reuses its memory from one document to the next. One thread. */
struct json_parser;

struct json_parser *json_parser_new(void);
void json_parser_free(struct json_parser *parser);

/** Spare bytes that must be readable behind `text`, whatever they hold. */
enum { JSON_PADDING = 64 };

/** Parse and validate one whole document and append it as one value (event/value.h).
 * @param text  `len` bytes, with JSON_PADDING readable bytes behind.
 * @return 0, or ERROR_INVALID with reason, line and column; `out` is then as before. Deeper than
 * VALUE_DEPTH_MAX is refused. */
int json_parse(struct json_parser *parser, const char *text, size_t len, struct buf *out, struct error *err);
/** The same for a text that stands in line `line` of a larger one, which is the line that errors name. */
int json_parse_line(struct json_parser *parser, const char *text, size_t len, size_t line, struct buf *out,
                    struct error *err);
/** The same, where the document is an item or an array of them, for event_read(): of each item that is an
 * object, where in `out` each member ends is appended to `ends`, a uint64_t each, in order. On failure `ends`
 * is as before. */
int json_parse_items(struct json_parser *parser, const char *text, size_t len, size_t line, struct buf *out,
                     struct buf *ends, struct error *err);
