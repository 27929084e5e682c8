#include "deliver/template_tree.h"

#include "base/memory.h"

struct delimiters {
  struct str open, close;
};

/** A tag as found: `{{` … `}}` with what is between. */
struct tag {
  size_t start, end;  /**< of the whole tag in the text */
  char sigil;         /**< # ^ / > = ! & { or 0 */
  struct str content; /**< behind the sigil, trimmed */
};

struct parser {
  struct template *template;
  uint32_t index;
  struct str text;
  struct delimiters delimiters;
  size_t emitted;  /**< text before here is in nodes */
  size_t tag_end;  /**< where the last tag ended */
  bool line_start; /**< the next thing emitted begins a line of a partial */
  uint32_t sections[TEMPLATE_SECTIONS_MAX];
  uint32_t depth;
  /* where the last location was asked for, so that lines are counted once */
  size_t located;
  uint32_t line, column;
};

static struct program *program_of(const struct parser *parser) {
  return &parser->template->programs[parser->index];
}

/** Line and column of an offset; asked in rising order, except by errors. */
static void locate(struct parser *parser, size_t offset) {
  const struct program *program = program_of(parser);
  if (offset < parser->located) {
    parser->located = 0;
    parser->line = program->line;
    parser->column = program->column;
  }
  for (; parser->located < offset; parser->located++) {
    parser->column++;
    if (parser->text.data[parser->located] != '\n') continue;
    parser->line++;
    parser->column = 1;
  }
}

static int fail(struct parser *parser, size_t offset, struct error *err) {
  locate(parser, offset);
  return error_prefix(err, "%.*s:%u:%u", STR_ARG(program_of(parser)->file), parser->line, parser->column);
}

static struct node *add(struct parser *parser, enum node_type type, size_t offset) {
  struct program *program = program_of(parser);
  if (program->count == program->capacity) {
    program->capacity = program->capacity ? program->capacity * 2 : 16;
    program->nodes = memory_realloc(program->nodes, program->capacity * sizeof *program->nodes);
  }
  locate(parser, offset);
  struct node *node = &program->nodes[program->count++];
  *node = (struct node){.type = type, .line = parser->line, .column = parser->column};
  return node;
}

static bool is_partial(const struct parser *parser) {
  return parser->index > parser->template->header_count;
}

/** Text up to `end`, and in a partial a mark wherever a line begins. */
static void emit_text(struct parser *parser, size_t end) {
  while (parser->emitted < end) {
    size_t from = parser->emitted, to = end;
    if (is_partial(parser)) {
      if (parser->line_start) add(parser, NODE_INDENT, from);
      const char *newline = memchr(parser->text.data + from, '\n', end - from);
      if (newline) to = (size_t)(newline - parser->text.data) + 1;
      parser->line_start = newline != NULL;
    }
    add(parser, NODE_TEXT, from)->text = (struct str){parser->text.data + from, to - from};
    parser->emitted = to;
  }
}

static bool is_space(char byte) {
  return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r';
}

static struct str trim(struct str text) {
  while (text.len && is_space(text.data[0])) text.data++, text.len--;
  while (text.len && is_space(text.data[text.len - 1])) text.len--;
  return text;
}

/** Offset of `what` from `from`. @return false if it is not there. */
static bool find(struct str text, size_t from, struct str what, size_t *out) {
  const char *found = memmem(text.data + from, text.len - from, what.data, what.len);
  if (found) *out = (size_t)(found - text.data);
  return found != NULL;
}

/** Whether a tag has its line to itself; then the line's bounds, its end included. */
static bool is_standalone(const struct parser *parser, const struct tag *tag, size_t *line_start,
                          size_t *line_end) {
  struct str text = parser->text;
  size_t start = tag->start, end = tag->end;
  while (start > parser->tag_end && (text.data[start - 1] == ' ' || text.data[start - 1] == '\t')) start--;
  if (start > 0 && text.data[start - 1] != '\n') return false;
  while (end < text.len && (text.data[end] == ' ' || text.data[end] == '\t')) end++;
  if (end + 1 < text.len && text.data[end] == '\r' && text.data[end + 1] == '\n') end++;
  if (end < text.len && text.data[end] != '\n') return false;
  *line_start = start;
  *line_end = end < text.len ? end + 1 : end;
  return true;
}

/** The text before a tag. A tag that prints nothing takes its line with it if it has one to itself. @return
 * whether it had. */
static bool begin_tag(struct parser *parser, const struct tag *tag, bool prints, struct str *indent) {
  size_t start, end;
  bool standalone = !prints && is_standalone(parser, tag, &start, &end);
  *indent = (struct str){"", 0};
  if (standalone) {
    emit_text(parser, start);
    *indent = (struct str){parser->text.data + start, tag->start - start};
    parser->emitted = end;
    parser->line_start = true;
  } else {
    emit_text(parser, tag->start);
    if (is_partial(parser) && parser->line_start) add(parser, NODE_INDENT, tag->start);
    parser->line_start = false;
    parser->emitted = tag->end;
  }
  parser->tag_end = parser->emitted;
  return standalone;
}

/** A name that people bring along from Handlebars, and how it is said here. @return false if it is none of
 * them. */
static bool explain_helper(struct str content, char sigil, struct error *err) {
  static const struct {
    struct str word;
    const char *write;
  } helpers[] = {{STR("each"), "#"}, {STR("if"), "#"}, {STR("with"), "#"}, {STR("unless"), "^"}};
  size_t len = 0;
  while (len < content.len && !is_space(content.data[len])) len++;
  struct str word = {content.data, len}, rest = trim((struct str){content.data + len, content.len - len});
  for (size_t i = 0; i < sizeof helpers / sizeof helpers[0] && (sigil == '#' || sigil == '^') && rest.len;
       i++) {
    if (!str_equal(helpers[i].word, word)) continue;
    struct template_shown name = template_shown(rest);
    error_set(err, ERROR_SCRIPT, "a section is named by its data alone: write {{%s%s}} … {{/%s}}",
              helpers[i].write, name.text, name.text);
    return true;
  }
  if (sigil == 0 && str_equal(word, STR("else"))) {
    error_set(err, ERROR_SCRIPT,
              "there is no else: close the section, and open {{^name}} … {{/name}} of the same name");
    return true;
  }
  return false;
}

static bool is_name_byte(char byte) {
  return (unsigned char)byte > ' ' && byte != 0x7f && !strchr("\"'`(){}[]<>=|~^#&!*;,+@%\\", byte);
}

/** Split a dotted name into the template's segments. */
static int read_path(struct parser *parser, const struct tag *tag, struct node *node, struct error *err) {
  struct template *template = parser->template;
  struct str name = tag->content;
  node->path = template->segment_count;
  node->steps = 0;
  if (str_equal(name, STR("."))) return 0;
  bool good = name.len > 0;
  size_t from = 0;
  for (size_t i = 0; i <= name.len && good; i++) {
    if (i < name.len && name.data[i] != '.') {
      good = is_name_byte(name.data[i]);
      continue;
    }
    good = i > from;
    if (template->segment_count == template->segment_capacity) {
      template->segment_capacity = template->segment_capacity ? template->segment_capacity * 2 : 32;
      template->segments =
          memory_realloc(template->segments, template->segment_capacity * sizeof *template->segments);
    }
    template->segments[template->segment_count++] = (struct str){name.data + from, i - from};
    node->steps++;
    from = i + 1;
  }
  if (good) return 0;
  if (name.len == 0)
    error_set(err, ERROR_SCRIPT, "this tag is empty: write a name into it, such as {{first_name}}");
  else if (!explain_helper(name, tag->sigil, err))
    error_set(err, ERROR_SCRIPT,
              "\"%s\" is no name: a tag holds one name, such as {{first_name}} or {{cart.total}}",
              template_shown(name).text);
  return fail(parser, tag->start, err);
}

static int open_section(struct parser *parser, const struct tag *tag, struct error *err) {
  if (parser->depth == TEMPLATE_SECTIONS_MAX) {
    error_set(err, ERROR_SCRIPT, "sections nest deeper than %d: move the inner ones into a partial",
              TEMPLATE_SECTIONS_MAX);
    return fail(parser, tag->start, err);
  }
  struct node *node = add(parser, tag->sigil == '#' ? NODE_SECTION : NODE_INVERTED, tag->start);
  parser->sections[parser->depth++] = program_of(parser)->count - 1;
  node->text = tag->content;
  return read_path(parser, tag, node, err);
}

static int close_section(struct parser *parser, const struct tag *tag, struct error *err) {
  struct program *program = program_of(parser);
  struct template_shown shown = template_shown(tag->content);
  if (parser->depth == 0) {
    error_set(err, ERROR_SCRIPT,
              "{{/%s}} closes nothing: no section is open here; write {{#%s}} where it begins", shown.text,
              shown.text);
    return fail(parser, tag->start, err);
  }
  uint32_t opener = parser->sections[--parser->depth];
  struct node *section = &program->nodes[opener];
  if (!str_equal(section->text, tag->content)) {
    error_set(err, ERROR_SCRIPT,
              "{{/%s}} does not close {{%c%s}} of line %u, which is still open: write {{/%s}} first",
              shown.text, section->type == NODE_SECTION ? '#' : '^', template_shown(section->text).text,
              section->line, template_shown(section->text).text);
    return fail(parser, tag->start, err);
  }
  add(parser, NODE_END, tag->start)->jump = opener;
  program = program_of(parser);
  program->nodes[opener].jump = program->count - 1;
  return 0;
}

static int add_partial(struct parser *parser, const struct tag *tag, bool standalone, struct str indent,
                       struct error *err) {
  struct template *template = parser->template;
  bool good = tag->content.len > 0;
  for (size_t i = 0; i < tag->content.len; i++) good = good && is_name_byte(tag->content.data[i]);
  if (!good) {
    error_set(err, ERROR_SCRIPT, "\"%s\" is no partial's name: write it alone, as in {{> footer}}",
              template_shown(tag->content).text);
    return fail(parser, tag->start, err);
  }
  uint32_t target = template->header_count + 1;
  while (target < template->program_count && !str_equal(template->programs[target].name, tag->content))
    target++;
  if (target - template->header_count > TEMPLATE_PARTIALS_MAX) {
    error_set(err, ERROR_SCRIPT, "a template has at most %d partials", TEMPLATE_PARTIALS_MAX);
    return fail(parser, tag->start, err);
  }
  bool first = target == template->program_count;
  if (first) template_program_add(template, tag->content);
  struct node *node = add(parser, NODE_PARTIAL, tag->start);
  node->jump = target;
  node->standalone = standalone;
  node->text = indent;
  // Whether the tag always runs decides whether a partial that names itself can end.
  node->always = parser->depth == 0;
  if (first) {
    template->programs[target].from_program = parser->index;
    template->programs[target].from_node = program_of(parser)->count - 1;
  }
  return 0;
}

static int set_delimiters(struct parser *parser, const struct tag *tag, struct error *err) {
  struct str content = tag->content;
  size_t open = 0, close = content.len;
  while (open < content.len && !is_space(content.data[open])) open++;
  while (close > 0 && !is_space(content.data[close - 1])) close--;
  struct delimiters delimiters = {{content.data, open}, {content.data + close, content.len - close}};
  bool good = open > 0 && close > open && delimiters.close.len > 0;
  // Exactly two words.
  for (size_t i = open; i < close; i++) good = good && is_space(content.data[i]);
  good = good && !memchr(content.data, '=', content.len);
  if (!good) {
    error_set(err, ERROR_SCRIPT, "new delimiters are two words without \"=\": write {{=<%% %%>=}}");
    return fail(parser, tag->start, err);
  }
  parser->delimiters = delimiters;
  return 0;
}

/** Find the next tag. @return 1 if there is one, 0 if not, or ERROR_SCRIPT. */
static int next_tag(struct parser *parser, struct tag *tag, struct error *err) {
  struct str text = parser->text;
  struct delimiters delimiters = parser->delimiters;
  if (!find(text, parser->tag_end, delimiters.open, &tag->start)) return 0;
  size_t at = tag->start + delimiters.open.len, end;
  bool standard = str_equal(delimiters.open, STR("{{"));
  while (at < text.len && is_space(text.data[at])) at++;
  tag->sigil = at < text.len && strchr("#^/>=!&{", text.data[at]) ? text.data[at] : 0;
  // {{{ is a tag of its own only where {{ is one; elsewhere a brace is just no name.
  if (tag->sigil == '{' && !standard) tag->sigil = 0;
  if (tag->sigil) at++;
  struct str closer = delimiters.close;
  if (tag->sigil == '{') closer = STR("}}}");
  bool found = find(text, at, closer, &end);
  if (found && tag->sigil == '=') {
    found = end > at && text.data[end - 1] == '=';
    if (!found) {
      error_set(err, ERROR_SCRIPT, "new delimiters end with \"=\" too: write {{=<%% %%>=}}");
      return fail(parser, tag->start, err);
    }
  }
  if (!found) {
    error_set(err, ERROR_SCRIPT, "the tag that begins here has no end: write %s behind its name",
              template_shown(closer).text);
    return fail(parser, tag->start, err);
  }
  tag->content = trim((struct str){text.data + at, end - at - (tag->sigil == '=')});
  tag->end = end + closer.len;
  return 1;
}

static int read_tag(struct parser *parser, const struct tag *tag, struct error *err) {
  struct str indent;
  bool prints = tag->sigil == 0 || tag->sigil == '&' || tag->sigil == '{';
  bool standalone = begin_tag(parser, tag, prints, &indent);
  switch (tag->sigil) {
  case '#':
  case '^':
    return open_section(parser, tag, err);
  case '/':
    return close_section(parser, tag, err);
  case '>':
    return add_partial(parser, tag, standalone, indent, err);
  case '=':
    return set_delimiters(parser, tag, err);
  case '!':
    return 0;
  default: {
    struct node *node = add(parser, NODE_VARIABLE, tag->start);
    node->raw = tag->sigil != 0;
    return read_path(parser, tag, node, err);
  }
  }
}

int template_parse(struct template *template, uint32_t index, struct error *err) {
  const struct program *program = &template->programs[index];
  struct parser parser = {.template = template,
                          .index = index,
                          .text = program->text,
                          .delimiters = {STR("{{"), STR("}}")},
                          .line_start = true,
                          .line = program->line,
                          .column = program->column};
  struct tag tag;
  int rc;
  while ((rc = next_tag(&parser, &tag, err)) > 0) {
    rc = read_tag(&parser, &tag, err);
    if (rc) return rc;
  }
  if (rc) return rc;
  emit_text(&parser, parser.text.len);
  add(&parser, NODE_STOP, parser.text.len);
  if (parser.depth == 0) return 0;
  program = &template->programs[index];
  const struct node *section = &program->nodes[parser.sections[parser.depth - 1]];
  char sigil = section->type == NODE_SECTION ? '#' : '^';
  struct template_shown name = template_shown(section->text);
  error_set(err, ERROR_SCRIPT,
            "{{%c%s}} is still open at the end, in line %u: write {{/%s}} where the section ends", sigil,
            name.text, parser.line, name.text);
  return error_prefix(err, "%.*s:%u:%u", STR_ARG(program->file), section->line, section->column);
}
