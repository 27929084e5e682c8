// covers: src/deliver/template.c src/deliver/template_parse.c src/deliver/template_render.c
// covers: src/deliver/front_matter.c
/* Templates: any source is compiled or refused, and what is compiled renders any data. Front matter means to
 * YAML what it means here. Input, parts between 0x1e: the kind (h, t or j) and the template, partials (name,
 * newline, text) …, the data as JSON. */
#include "base/memory.h"
#include "deliver/template.h"
#include "values.h"

#include <stdlib.h>
#include <yaml.h>

enum { PARTIALS_MAX = 4 };

static struct json_parser *parser;
static struct str partial_names[PARTIALS_MAX], partial_texts[PARTIALS_MAX];
static unsigned partials;

void fuzz_set_up(void) {
  parser = json_parser_new();
}

static bool find_partial(void *context, struct str name, struct str *text, struct str *file) {
  (void)context;
  for (unsigned i = 0; i < partials; i++) {
    *file = partial_names[i];
    if (!str_equal(partial_names[i], name)) continue;
    *text = partial_texts[i];
    return true;
  }
  return false;
}

static void check_message(const char *message) {
  HOLDS(message[0] && fuzz_is_utf8(str_from(message)), "%s", message);
  for (const char *at = message; *at; at++) HOLDS((unsigned char)*at >= ' ', "\"%s\"", message);
}

/** What filled-in names made of a header: one line of it. */
static void check_headers(struct str headers, size_t count, bool utf8) {
  HOLDS(value_valid(headers));
  struct reader reader = reader_of(headers);
  struct value map = value_read(&reader);
  HOLDS(map.type == VALUE_MAP && map.count == count);
  for (uint32_t i = 0; i < 2 * map.count; i++) {
    struct value text = value_read(&reader);
    HOLDS(text.type == VALUE_STRING && (!utf8 || fuzz_is_utf8(text.string)));
    for (size_t j = 0; j < text.string.len; j++)
      HOLDS((unsigned char)text.string.data[j] >= ' ' && text.string.data[j] != 0x7f);
  }
}

static void check_rendering(const struct template *template, struct str data) {
  struct rendered first, second;
  struct error err = {0}, again = {0};
  const struct str *names;
  rendered_init(&first);
  rendered_init(&second);
  int code = template_render(template, data, &first, &err);
  HOLDS(code == 0 || code == ERROR_LIMIT, "%s", err.message);
  HOLDS(template_render(template, data, &second, &again) == code);
  if (code) {
    check_message(err.message);
  } else {
    HOLDS(str_equal(buf_str(&first.body), buf_str(&second.body)) &&
          str_equal(buf_str(&first.headers), buf_str(&second.headers)) &&
          str_equal(buf_str(&first.text), buf_str(&second.text)));
    check_headers(buf_str(&first.headers), template_headers(template, &names), true);
    HOLDS(fuzz_is_utf8(buf_str(&first.body)) && fuzz_is_utf8(buf_str(&first.text)));
    HOLDS(template_kind_of(template) == TEMPLATE_HTML || first.text.len == 0);
  }
  rendered_deinit(&first);
  rendered_deinit(&second);
}

/** "---" and blanks. */
static bool is_fence(const char *line, const char *end) {
  if (end > line && end[-1] == '\r') end--;
  while (end > line && (end[-1] == ' ' || end[-1] == '\t')) end--;
  return end - line == 3 && memcmp(line, "---", 3) == 0;
}

/** The front matter read by a YAML library: the same keys with the same texts. */
static void check_yaml(const struct template *template, struct str text, struct str headers) {
  const char *begin = NULL, *end = NULL;
  for (const char *line = text.data; line && line < text.data + text.len && !end;) {
    const char *next = memchr(line, '\n', (size_t)(text.data + text.len - line));
    bool fence = is_fence(line, next ? next : text.data + text.len);
    if (!begin && !fence) return;
    if (!begin)
      begin = next ? next + 1 : NULL;
    else if (fence)
      end = line;
    line = next ? next + 1 : NULL;
  }
  if (!begin || !end) return;
  yaml_parser_t yaml;
  yaml_document_t document;
  yaml_parser_initialize(&yaml);
  yaml_parser_set_encoding(&yaml, YAML_UTF8_ENCODING);
  // A comment may stand behind a tab here, there only behind blanks.
  char *lines = fuzz_copy((struct str){begin, (size_t)(end - begin)}, 0, 0);
  for (size_t i = 0, start = 1; i < (size_t)(end - begin); i++) {
    if (start && lines[i] == '\t') lines[i] = ' ';
    start = lines[i] == '\n' || (start && lines[i] == ' ');
  }
  yaml_parser_set_input_string(&yaml, (const unsigned char *)lines, (size_t)(end - begin));
  HOLDS(yaml_parser_load(&yaml, &document), "%s, line %zu: %.*s", yaml.problem, yaml.problem_mark.line,
        (int)(end - begin), begin);
  const yaml_node_t *root = yaml_document_get_root_node(&document);
  const struct str *names;
  size_t count = template_headers(template, &names);
  HOLDS(count == 0 ? !root : root && root->type == YAML_MAPPING_NODE, "%.*s", (int)(end - begin), begin);
  if (root) {
    size_t pairs = (size_t)(root->data.mapping.pairs.top - root->data.mapping.pairs.start);
    HOLDS(pairs == count);
    for (size_t i = 0; i < pairs; i++) {
      const yaml_node_t *key = yaml_document_get_node(&document, root->data.mapping.pairs.start[i].key);
      const yaml_node_t *node = yaml_document_get_node(&document, root->data.mapping.pairs.start[i].value);
      HOLDS(key->type == YAML_SCALAR_NODE && node->type == YAML_SCALAR_NODE, "%.*s", (int)(end - begin),
            begin);
      struct str meant = {(const char *)node->data.scalar.value, node->data.scalar.length}, found;
      HOLDS(value_member(headers, str_from((const char *)key->data.scalar.value), &found));
      found = value_head(found).string;
      // Control characters are blanks in a header.
      for (size_t j = 0; j < meant.len; j++)
        if ((unsigned char)meant.data[j] < ' ' || meant.data[j] == 0x7f) found = meant;
      if (memmem(meant.data, meant.len, "{{", 2)) found = meant;
      HOLDS(str_equal(meant, found), "YAML: \"%.*s\", here: \"%.*s\"", STR_ARG(meant), STR_ARG(found));
    }
  }
  yaml_document_delete(&document);
  yaml_parser_delete(&yaml);
  free(lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const files[] = {"a.html", "a.txt", "a.json"};
  struct input input = input_of(data, size);
  uint8_t kind = input_u8(&input);
  const char *file = files[kind == 'h' ? 0 : kind == 't' ? 1 : kind == 'j' ? 2 : kind % 3];
  struct str text = input_part(&input), last = STR("{}");
  partials = 0;
  while (input_left(&input) && partials < PARTIALS_MAX) {
    struct str part = input_part(&input);
    if (!input_left(&input)) last = part;
    const char *newline = part.len ? memchr(part.data, '\n', part.len) : NULL;
    // The name of a file that somebody has made.
    bool named = newline && fuzz_is_utf8((struct str){part.data, (size_t)(newline - part.data)});
    for (const char *at = part.data; named && at < newline; at++) named = (unsigned char)*at >= ' ';
    if (!named) continue;
    partial_names[partials] = (struct str){part.data, (size_t)(newline - part.data)};
    partial_texts[partials] = (struct str){newline + 1, part.len - partial_names[partials].len - 1};
    partials++;
  }
  struct buf bundle, value;
  struct error err = {0};
  buf_init(&bundle);
  buf_init(&value);
  char *exact = fuzz_copy(text, 0, 0);
  int code =
      template_bundle(str_from(file), (struct str){exact, text.len}, find_partial, NULL, &bundle, &err);
  free(exact);
  HOLDS(code == 0 || code == ERROR_SCRIPT);
  struct template *template = NULL;
  if (code) {
    HOLDS(bundle.len == 0);
    check_message(err.message);
  } else {
    HOLDS(template_new(&template, buf_str(&bundle), &err) == 0, "%s", err.message);
    if (fuzz_json(parser, last, &value, &err)) {
      buf_clear(&value);
      value_put_map(&value, 0);
    }
    check_rendering(template, buf_str(&value));
    struct rendered rendered;
    rendered_init(&rendered);
    buf_clear(&value);
    value_put_map(&value, 0);
    if (template_render(template, buf_str(&value), &rendered, &err) == 0)
      check_yaml(template, text, buf_str(&rendered.headers));
    rendered_deinit(&rendered);
  }
  template_free(template);
  // Bytes that are no bundle, or one of another source.
  template = NULL;
  code = template_new(&template, (struct str){(const char *)data, size}, &err);
  HOLDS((code == 0) == (template != NULL));
  template_free(template);
  buf_deinit(&bundle);
  buf_deinit(&value);
  return 0;
}
