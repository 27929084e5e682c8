#include "cli/problems.h"

#include "cli/print.h"
#include "event/utf8.h"
#include "event/value.h"

#include <ctype.h>
#include <string.h>

enum {
  TEXT_MAX = 4000, /**< bytes of a line that go with a problem */
  SHOWN_BEFORE = 60,
  SHOWN_MAX = 110 /**< letters of it that people see */
};

void problems_init(struct problems *problems) {
  *problems = (struct problems){0};
  buf_init(&problems->list);
}

void problems_deinit(struct problems *problems) {
  buf_deinit(&problems->list);
}

void problems_add_value(struct problems *problems, struct str value) {
  struct str severity = value_member_text(value, "severity");
  buf_append(&problems->list, value.data, value.len);
  problems->count++;
  if (str_equal(severity, STR("error")))
    problems->errors++;
  else if (str_equal(severity, STR("warning")))
    problems->warnings++;
  else
    problems->notes++;
}

void problems_keep(struct problems *problems, struct str folder) {
  struct problems kept;
  problems_init(&kept);
  struct reader reader = reader_of(buf_str(&problems->list));
  for (uint32_t left = problems->count; left > 0; left--) {
    struct str value = value_slice(&reader), file = value_member_text(value, "file");
    if (file.len > folder.len && file.data[folder.len] == '/' &&
        memcmp(file.data, folder.data, folder.len) == 0)
      problems_add_value(&kept, value);
  }
  problems_deinit(problems);
  *problems = kept;
}

void problems_add_config(struct problems *problems, const struct config_report *report) {
  struct buf value;
  buf_init(&value);
  for (size_t i = 0; i < report->count; i++) {
    const struct config_problem *problem = &report->problems[i];
    buf_clear(&value);
    value_put_map(&value, 7);
    value_put_member_text(&value, "file", str_from(report->file));
    value_put_member_integer(&value, "line", problem->line);
    value_put_member_integer(&value, "column", problem->column);
    value_put_member_text(&value, "severity", STR("error"));
    value_put_member_text(&value, "code", STR("configuration"));
    value_put_member_text(&value, "key", str_from(problem->key));
    value_put_member_text(&value, "message", str_from(problem->message));
    problems_add_value(problems, buf_str(&value));
  }
  buf_deinit(&value);
}

/* ---- what the host says ---- */

/** A number and the colon behind it, where `text` begins with them. */
static int64_t take_number(struct str *text) {
  enum { DIGITS_MAX = 9 };
  int64_t number = 0;
  size_t at = 0;
  for (; at < text->len && at < DIGITS_MAX && text->data[at] >= '0' && text->data[at] <= '9'; at++)
    number = number * 10 + text->data[at] - '0';
  if (at == 0 || at == text->len || text->data[at] != ':') return 0;
  *text = (struct str){text->data + at + 1, text->len - at - 1};
  return number;
}

struct place {
  struct str file;
  int64_t line, column; /**< 0 where it is not said */
};

/** The place an error begins with: "rules/cart/rule.lua:12: …", taken off its text. */
static struct place take_place(struct str *text) {
  const char *colon = memchr(text->data, ':', text->len);
  if (!colon || memchr(text->data, ' ', (size_t)(colon - text->data))) return (struct place){0};
  if (!memchr(text->data, '.', (size_t)(colon - text->data))) return (struct place){0}; // no file's name
  struct place place = {.file = {text->data, (size_t)(colon - text->data)}};
  *text = (struct str){colon + 1, text->len - place.file.len - 1};
  place.line = take_number(text);
  if (place.line) place.column = take_number(text);
  while (text->len && *text->data == ' ') *text = (struct str){text->data + 1, text->len - 1};
  return place;
}

/** A line of a file, without its end. */
static struct str line_of(struct str text, int64_t line) {
  size_t at = 0;
  for (; line > 1 && at < text.len; line--) {
    const char *end = memchr(text.data + at, '\n', text.len - at);
    at = end ? (size_t)(end - text.data) + 1 : text.len;
  }
  const char *end = memchr(text.data + at, '\n', text.len - at);
  size_t len = (end ? (size_t)(end - text.data) : text.len) - at;
  if (len && text.data[at + len - 1] == '\r') len--;
  return (struct str){text.data + at, len};
}

static size_t letters(struct str text) {
  size_t count = 0;
  for (size_t i = 0; i < text.len; i++) count += ((unsigned char)text.data[i] & 0xc0) != 0x80;
  return count;
}

static bool in_word(char letter) {
  return isalnum((unsigned char)letter) || letter == '_';
}

/** Where `word` stands in `text`, not as a part of another; null if it does not. */
static const char *find_word(struct str text, struct str word) {
  for (struct str rest = text; word.len && rest.len >= word.len;) {
    const char *found = memmem(rest.data, rest.len, word.data, word.len);
    if (!found) break;
    const char *end = found + word.len;
    if (!(found > text.data && in_word(found[-1]) && in_word(*found)) &&
        !(end < text.data + text.len && in_word(*end) && in_word(end[-1])))
      return found;
    rest = (struct str){found + 1, (size_t)(text.data + text.len - found) - 1};
  }
  return NULL;
}

/** The part of the line that the message names in backquotes or quotes; else all of it. */
static struct str part_meant(struct str line, struct str message) {
  for (size_t i = 0; i < message.len; i++) {
    if (message.data[i] != '`' && message.data[i] != '"') continue;
    const char *end = memchr(message.data + i + 1, message.data[i], message.len - i - 1);
    if (!end) break;
    struct str word = {message.data + i + 1, (size_t)(end - message.data) - i - 1};
    const char *found = find_word(line, word);
    if (found) return (struct str){found, word.len};
    i = (size_t)(end - message.data);
  }
  size_t skip = 0;
  while (skip < line.len && (line.data[skip] == ' ' || line.data[skip] == '\t')) skip++;
  return (struct str){line.data + skip, line.len - skip};
}

/** Take the traceback off a message: its frames in rules; "" where there is no more than one, the place
 * itself. */
static struct str take_traceback(struct str *message, struct buf *frames) {
  const char *end = memchr(message->data, '\n', message->len);
  struct str rest = end ? (struct str){end, message->len - (size_t)(end - message->data)} : STR("");
  size_t count = 0;
  message->len -= rest.len;
  for (; rest.len; rest = end ? (struct str){end, rest.len - (size_t)(end - rest.data)} : STR("")) {
    end = memchr(rest.data + 1, '\n', rest.len - 1);
    struct str frame = {rest.data + 1, end ? (size_t)(end - rest.data) - 1 : rest.len - 1};
    if (frame.len < 8 || memcmp(frame.data, "  rules/", 8) != 0) continue;
    buf_printf(frames, "%s%.*s", count++ ? "\n" : "", (int)frame.len - 2, frame.data + 2);
  }
  return count > 1 ? buf_str(frames) : STR("");
}

/** What could not be read begins with its path: "rules/cart/rule.lua is no file". */
static struct str take_path(struct str *message, const char *rules_dir) {
  size_t len = strlen(rules_dir);
  const char *end = memchr(message->data, ' ', message->len);
  if (!end || message->len <= len || memcmp(message->data, rules_dir, len) != 0 || message->data[len] != '/')
    return STR("");
  struct str path = {message->data, (size_t)(end - message->data)};
  *message = (struct str){end + 1, message->len - path.len - 1};
  return path;
}

void problems_add_error(struct problems *problems, const struct error *err, const char *rules_dir,
                        const struct ruleset *ruleset) {
  static const struct str rules = {"rules/", 6};
  struct buf path, value, frames;
  buf_init(&path);
  buf_init(&value);
  buf_init(&frames);
  struct str message = str_from(err->message), traceback = take_traceback(&message, &frames), text = STR("");
  struct place place = take_place(&message);
  if (!place.file.len) place.file = take_path(&message, rules_dir);
  int64_t end_column = place.column;
  bool ours = place.file.len > rules.len && memcmp(place.file.data, rules.data, rules.len) == 0;
  struct str within = ours ? (struct str){place.file.data + rules.len, place.file.len - rules.len} : STR("");
  const struct ruleset_file *source = ours && ruleset ? ruleset_find(ruleset, within) : NULL;
  if (source && place.line) {
    text = line_of(source->text, place.line);
    struct str part = part_meant(text, message);
    if (!place.column)
      place.column = (int64_t)letters((struct str){text.data, (size_t)(part.data - text.data)}) + 1;
    end_column = place.column + (int64_t)letters(part);
    if (text.len > TEXT_MAX) text.len = TEXT_MAX;
  }
  if (ours)
    buf_printf(&path, "%s/%.*s", rules_dir, STR_ARG(within));
  else
    buf_append(&path, place.file.data, place.file.len);
  value_put_map(&value, traceback.len ? 9 : 8);
  value_put_member_text(&value, "file", buf_str(&path));
  value_put_member_integer(&value, "line", place.line);
  value_put_member_integer(&value, "column", place.column);
  value_put_member_integer(&value, "end_column", end_column);
  value_put_member_text(&value, "severity", STR("error"));
  value_put_member_text(&value, "code", STR("load"));
  value_put_member_text(&value, "message", message);
  value_put_member_text(&value, "text", text);
  if (traceback.len) value_put_member_text(&value, "traceback", traceback);
  problems_add_value(problems, buf_str(&value));
  buf_deinit(&path);
  buf_deinit(&value);
  buf_deinit(&frames);
}

/* ---- printing ---- */

/** The line, or of a long one what is around the place, and a mark below the columns meant. What would steer
 * a terminal is shown as a dot. */
static void print_line(FILE *out, struct str text, int64_t line, int64_t column, int64_t end_column) {
  bool all = letters(text) <= SHOWN_MAX;
  int64_t first = column > SHOWN_BEFORE && !all ? column - SHOWN_BEFORE : 1, at = 1;
  fprintf(out, "%6lld | %s", (long long)line, first > 1 ? "…" : "");
  char blanks[SHOWN_MAX * 2];
  size_t blank_count = 0;
  for (; text.len && at < first + SHOWN_MAX; at++) {
    const uint8_t *letter = (const uint8_t *)text.data, *end = letter + text.len;
    size_t len = utf8_length(letter, end);
    if (len == 0) len = 1; // what is no UTF-8
    char byte = *text.data;
    if (at >= first) {
      if (utf8_shown(letter, end) || byte == '\t')
        fwrite(text.data, 1, len, out);
      else
        fputc('.', out);
      if (at < column && blank_count < sizeof blanks) blanks[blank_count++] = byte == '\t' ? '\t' : ' ';
    }
    text.data += len;
    text.len -= len;
  }
  fprintf(out, "%s\n", text.len ? "…" : "");
  if (column < 1) return;
  int64_t last = end_column > at ? at : end_column;
  fprintf(out, "%7s| %s", "", first > 1 ? " " : "");
  fwrite(blanks, 1, blank_count, out);
  fputc('^', out);
  for (int64_t i = column + 1; i < last; i++) fputc('~', out);
  fputc('\n', out);
}

static void print_one(FILE *out, struct str problem) {
  struct str file = value_member_text(problem, "file"), key = value_member_text(problem, "key"),
             instead = value_member_text(problem, "instead");
  struct str text = value_member_text(problem, "text"), traceback = value_member_text(problem, "traceback");
  struct str message = value_member_text(problem, "message"),
             severity = value_member_text(problem, "severity");
  int64_t line = value_member_integer(problem, "line"), column = value_member_integer(problem, "column");
  if (file.len) {
    print_text(out, file, 0);
    fputc(':', out);
    if (line) fprintf(out, "%lld:", (long long)line);
    if (line && column) fprintf(out, "%lld:", (long long)column);
    fputc(' ', out);
  }
  fprintf(out, "%.*s: ", STR_ARG(severity));
  print_text(out, key, 2);
  if (key.len) fputs(": ", out);
  print_text(out, message, 2);
  if (instead.len) fputs("; ", out);
  print_text(out, instead, 2);
  fputc('\n', out);
  if (text.len && line) print_line(out, text, line, column, value_member_integer(problem, "end_column"));
  if (!traceback.len) return;
  fputs("  called from:\n    ", out);
  print_text(out, traceback, 4);
  fputc('\n', out);
}

void problems_print(const struct problems *problems, FILE *out) {
  struct reader reader = reader_of(buf_str(&problems->list));
  for (uint32_t i = 0; i < problems->count && !reader.bad; i++) {
    struct str problem = value_slice(&reader);
    if (!str_equal(value_member_text(problem, "severity"), STR("note"))) print_one(out, problem);
  }
}

void problems_print_json(const struct problems *problems, size_t campaigns, FILE *out) {
  struct buf answer;
  buf_init(&answer);
  value_put_map(&answer, 5);
  value_put_member_integer(&answer, "campaigns", (int64_t)campaigns);
  value_put_member_integer(&answer, "errors", problems->errors);
  value_put_member_integer(&answer, "warnings", problems->warnings);
  value_put_member_integer(&answer, "notes", problems->notes);
  value_put_string(&answer, STR("problems"));
  value_put_array(&answer, problems->count);
  buf_append(&answer, problems->list.data, problems->list.len);
  print_json(out, buf_str(&answer));
  buf_deinit(&answer);
}
