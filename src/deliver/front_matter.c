#include "deliver/template_tree.h"

/** Where the parser stands. */
struct lines {
  struct template *template;
  struct str text;
  size_t next;   /**< offset of the line after this one */
  uint32_t line; /**< of this one, from 1 */
};

/** The next line without its end. @return false at the end of the text. */
static bool next_line(struct lines *lines, struct str *out) {
  if (lines->next >= lines->text.len) return false;
  const char *at = lines->text.data + lines->next;
  size_t left = lines->text.len - lines->next;
  const char *end = memchr(at, '\n', left);
  size_t len = end ? (size_t)(end - at) : left;
  lines->next += len + (end != NULL);
  lines->line++;
  if (len && at[len - 1] == '\r') len--;
  *out = (struct str){at, len};
  return true;
}

static bool is_blank(char byte) {
  return byte == ' ' || byte == '\t';
}

static struct str trim(struct str text) {
  while (text.len && is_blank(text.data[0])) text.data++, text.len--;
  while (text.len && is_blank(text.data[text.len - 1])) text.len--;
  return text;
}

static bool is_fence(struct str line) {
  return line.len >= 3 && memcmp(line.data, "---", 3) == 0 &&
         trim((struct str){line.data + 3, line.len - 3}).len == 0;
}

static int fail(const struct lines *lines, struct str line, const char *at, struct error *err) {
  return error_prefix(err, "%.*s:%u:%zu", STR_ARG(lines->template->file), lines->line,
                      at ? (size_t)(at - line.data) + 1 : (size_t)1);
}

/** What may follow a quoted value: nothing, or a comment. */
static bool is_rest(struct str rest) {
  struct str trimmed = trim(rest);
  return trimmed.len == 0 || (trimmed.data[0] == '#' && trimmed.data > rest.data);
}

static int hex_value(struct str digits, uint32_t *out) {
  *out = 0;
  for (size_t i = 0; i < digits.len; i++) {
    char digit = digits.data[i];
    int value = digit >= '0' && digit <= '9'                     ? digit - '0'
                : (digit | 0x20) >= 'a' && (digit | 0x20) <= 'f' ? (digit | 0x20) - 'a' + 10
                                                                 : -1;
    if (value < 0) return -1;
    *out = *out << 4 | (uint32_t)value;
  }
  return 0;
}

/** One escape of a double-quoted value, behind its backslash. @return bytes read, 0 if it is none. */
static size_t read_escape(struct str rest, struct buf *out) {
  static const char plain[] = "\"\\/ntr ", meant[] = "\"\\/\n\t\r ";
  if (rest.len == 0) return 0;
  const char *found = strchr(plain, rest.data[0]);
  if (found && *found) {
    buf_put_u8(out, (uint8_t)meant[found - plain]);
    return 1;
  }
  size_t digits = rest.data[0] == 'x' ? 2 : rest.data[0] == 'u' ? 4 : rest.data[0] == 'U' ? 8 : 0;
  uint32_t point;
  if (!digits || rest.len < digits + 1 || hex_value((struct str){rest.data + 1, digits}, &point)) return 0;
  if (point == 0 || !template_put_utf8(out, point)) return 0;
  return digits + 1;
}

static int read_double_quoted(const struct lines *lines, struct str line, struct str rest, struct buf *out,
                              struct error *err) {
  size_t at = 1;
  while (at < rest.len && rest.data[at] != '"') {
    if (rest.data[at] != '\\') {
      buf_put_u8(out, (uint8_t)rest.data[at++]);
      continue;
    }
    size_t used = read_escape((struct str){rest.data + at + 1, rest.len - at - 1}, out);
    if (!used) {
      error_set(err, ERROR_SCRIPT,
                "this escape is unknown: write \\\\ for a backslash, \\\" for a quote, or put the value in "
                "single quotes");
      return fail(lines, line, rest.data + at, err);
    }
    at += used + 1;
  }
  if (at == rest.len) {
    error_set(err, ERROR_SCRIPT,
              "the quote that opens here is not closed on this line: write \" at the value's end");
    return fail(lines, line, rest.data, err);
  }
  if (is_rest((struct str){rest.data + at + 1, rest.len - at - 1})) return 0;
  error_set(err, ERROR_SCRIPT,
            "something follows the closing quote: inside of a value write \\\" for a quote");
  return fail(lines, line, rest.data + at + 1, err);
}

static int read_single_quoted(const struct lines *lines, struct str line, struct str rest, struct buf *out,
                              struct error *err) {
  size_t at = 1;
  for (; at < rest.len; at++) {
    if (rest.data[at] == '\'') {
      if (at + 1 == rest.len || rest.data[at + 1] != '\'') break;
      at++;
    }
    buf_put_u8(out, (uint8_t)rest.data[at]);
  }
  if (at == rest.len) {
    error_set(err, ERROR_SCRIPT,
              "the quote that opens here is not closed on this line: write ' at the value's end");
    return fail(lines, line, rest.data, err);
  }
  if (is_rest((struct str){rest.data + at + 1, rest.len - at - 1})) return 0;
  error_set(err, ERROR_SCRIPT, "something follows the closing quote: inside of a value write '' for a quote");
  return fail(lines, line, rest.data + at + 1, err);
}

/** A value without quotes, where YAML reads it as text. */
static int read_plain(const struct lines *lines, struct str line, struct str key, struct str rest,
                      struct buf *out, struct error *err) {
  size_t len = rest.len;
  for (size_t i = 0; i < rest.len && len == rest.len; i++)
    if (rest.data[i] == '#' && (i == 0 || is_blank(rest.data[i - 1]))) len = i;
  struct str value = trim((struct str){rest.data, len});
  if (value.len == 0) return 0;
  const char *wrong = strchr("{[&*!|>%@`,]}", value.data[0]) ? value.data : NULL;
  if (strchr("-?", value.data[0]) && (value.len == 1 || is_blank(value.data[1]))) wrong = value.data;
  for (size_t i = 0; i < value.len && !wrong; i++)
    if (value.data[i] == ':' && (i + 1 == value.len || is_blank(value.data[i + 1]))) wrong = value.data + i;
  if (wrong) {
    error_set(err, ERROR_SCRIPT,
              "`%c` has a meaning of its own here: put the value in quotes, as in %.*s: \"%s\"", *wrong,
              STR_ARG(key), template_shown(value).text);
    return fail(lines, line, wrong, err);
  }
  buf_append(out, value.data, value.len);
  return 0;
}

static bool is_key(char byte, bool first) {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') || byte == '_' ||
         (!first && ((byte >= '0' && byte <= '9') || byte == '-'));
}

static int read_line(struct lines *lines, struct str line, struct buf *value, struct error *err) {
  struct template *template = lines->template;
  size_t len = 0;
  while (len < line.len && is_key(line.data[len], len == 0)) len++;
  struct str key = {line.data, len};
  if (len == 0 || len == line.len || line.data[len] != ':' ||
      (len + 1 < line.len && !is_blank(line.data[len + 1]))) {
    error_set(err, ERROR_SCRIPT,
              "\"%s\" is no front matter: write `key: value` a line, such as subject: \"Hello\", and --- "
              "after the last",
              template_shown(line).text);
    return fail(lines, line, line.data + (len == line.len || len == 0 ? 0 : len), err);
  }
  for (uint32_t i = 0; i < template->header_count; i++) {
    if (!str_equal(template->programs[1 + i].name, key)) continue;
    error_set(err, ERROR_SCRIPT, "%.*s stands in line %u already: keep one of them", STR_ARG(key),
              template->programs[1 + i].line);
    return fail(lines, line, NULL, err);
  }
  if (template->header_count == TEMPLATE_HEADERS_MAX) {
    error_set(err, ERROR_SCRIPT, "front matter has more than %d keys", TEMPLATE_HEADERS_MAX);
    return fail(lines, line, NULL, err);
  }
  struct str rest = trim((struct str){line.data + len + 1, line.len - len - 1});
  buf_clear(value);
  char first = rest.len ? rest.data[0] : 0;
  int rc = first == '"'    ? read_double_quoted(lines, line, rest, value, err)
           : first == '\'' ? read_single_quoted(lines, line, rest, value, err)
                           : read_plain(lines, line, key, rest, value, err);
  if (rc) return rc;
  uint32_t index = template_program_add(template, key);
  struct program *program = &template->programs[index];
  program->file = template->file;
  program->text = template_keep(template, buf_str(value));
  program->line = lines->line;
  program->column = (uint32_t)(rest.data - line.data) + 1 + (first == '"' || first == '\'');
  template->header_count++;
  return 0;
}

/** A character that YAML does not allow, or takes for a line's end. The line is UTF-8. @return null if there
 * is none. */
static const char *find_foreign(struct str line) {
  static const char *const foreign[] = {"\xe2\x80\xa8", "\xe2\x80\xa9", "\xef\xbb\xbf", "\xef\xbf\xbe",
                                        "\xef\xbf\xbf"};
  for (const char *at = line.data, *end = at + line.len; at < end; at++) {
    unsigned char byte = (unsigned char)*at;
    if ((byte < ' ' && byte != '\t') || byte == 0x7f) return at;
    if (byte == 0xc2 && (unsigned char)at[1] < 0xa0) return at;
    for (size_t i = 0; byte >= 0xe0 && i < sizeof foreign / sizeof foreign[0]; i++)
      if (end - at >= 3 && memcmp(at, foreign[i], 3) == 0) return at;
  }
  return NULL;
}

int front_matter_parse(struct template *template, struct str *body, uint32_t *body_line, struct error *err) {
  struct lines lines = {.template = template, .text = template->text};
  struct str line;
  *body = template->text;
  *body_line = 1;
  if (!next_line(&lines, &line) || !is_fence(line)) return 0;
  struct buf value;
  buf_init(&value);
  int rc = 0;
  bool closed = false;
  while (rc == 0 && !closed && next_line(&lines, &line)) {
    struct str trimmed = trim(line);
    const char *foreign = find_foreign(line);
    if (foreign) {
      error_set(err, ERROR_SCRIPT,
                "there is a control character here: delete it, or write it as an escape in double quotes");
      rc = fail(&lines, line, foreign, err);
    } else if (is_fence(line))
      closed = true;
    else if (trimmed.len && trimmed.data[0] != '#')
      rc = read_line(&lines, line, &value, err);
  }
  if (rc == 0 && !closed) {
    lines.line = 1;
    error_set(
        err, ERROR_SCRIPT,
        "the front matter that begins here has no end: write --- on a line of its own after its last key");
    rc = fail(&lines, line, NULL, err);
  }
  *body = (struct str){lines.text.data + lines.next, lines.text.len - lines.next};
  *body_line = lines.line + 1;
  buf_deinit(&value);
  return rc;
}
