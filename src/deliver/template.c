#include "deliver/template_tree.h"

#include "base/memory.h"
#include "event/utf8.h"

#include <stdio.h>

/** Of the bundle's layout; a new one changes every hash. */
#define BUNDLE_FORMAT 1

struct template_shown template_shown(struct str text) {
  struct template_shown shown;
  size_t used = 0, at = 0;
  while (at < text.len && used + 8 < sizeof shown.text) {
    size_t len = utf8_length((const uint8_t *)text.data + at, (const uint8_t *)text.data + text.len);
    if (len > 1)
      memcpy(shown.text + used, text.data + at, len);
    else
      shown.text[used] = len == 1 && text.data[at] >= ' ' && text.data[at] != 0x7f ? text.data[at] : '?';
    used += len ? len : 1;
    at += len ? len : 1;
  }
  strcpy(shown.text + used, at < text.len ? "..." : "");
  return shown;
}

bool template_put_utf8(struct buf *out, uint32_t point) {
  if (point > 0x10ffff || (point >= 0xd800 && point < 0xe000)) return false;
  if (point < 0x80) {
    buf_put_u8(out, (uint8_t)point);
    return true;
  }
  unsigned more = point < 0x800 ? 1 : point < 0x10000 ? 2 : 3;
  static const uint8_t heads[] = {0, 0xc0, 0xe0, 0xf0};
  buf_put_u8(out, (uint8_t)(heads[more] | point >> (6 * more)));
  while (more-- > 0) buf_put_u8(out, (uint8_t)(0x80 | ((point >> (6 * more)) & 0x3f)));
  return true;
}

struct str template_keep(struct template *template, struct str text) {
  if (template->owned_count == template->owned_capacity) {
    template->owned_capacity = template->owned_capacity ? template->owned_capacity * 2 : 8;
    template->owned = memory_realloc(template->owned, template->owned_capacity * sizeof *template->owned);
  }
  char *copy = memory_dup(text.data, text.len);
  template->owned[template->owned_count++] = copy;
  return (struct str){copy, text.len};
}

uint32_t template_program_add(struct template *template, struct str name) {
  if (template->program_count == template->program_capacity) {
    template->program_capacity = template->program_capacity ? template->program_capacity * 2 : 8;
    template->programs =
        memory_realloc(template->programs, template->program_capacity * sizeof *template->programs);
  }
  template->programs[template->program_count] = (struct program){.name = name, .line = 1, .column = 1};
  return template->program_count++;
}

static int fail_at(const struct template *template, uint32_t program, uint32_t node, struct error *err) {
  const struct program *from = &template->programs[program];
  return error_prefix(err, "%.*s:%u:%u", STR_ARG(from->file), from->nodes[node].line,
                      from->nodes[node].column);
}

static int check_utf8(struct str file, struct str text, struct error *err) {
  const uint8_t *at = (const uint8_t *)text.data, *end = at + text.len;
  uint32_t line = 1;
  while (at < end) {
    size_t len = *at ? utf8_length(at, end) : 0;
    if (len == 0)
      return error_set(err, ERROR_SCRIPT, "%.*s:%u: %s: save the file as UTF-8", STR_ARG(file), line,
                       *at ? "this is not UTF-8" : "there is a zero byte here");
    line += *at == '\n';
    at += len;
  }
  return 0;
}

static int kind_of(struct str file, enum template_kind *kind, struct error *err) {
  static const struct {
    struct str extension;
    enum template_kind kind;
  } kinds[] = {{STR(".html"), TEMPLATE_HTML}, {STR(".txt"), TEMPLATE_TEXT}, {STR(".json"), TEMPLATE_JSON}};
  for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
    struct str extension = kinds[i].extension;
    if (file.len <= extension.len ||
        memcmp(file.data + file.len - extension.len, extension.data, extension.len) != 0)
      continue;
    *kind = kinds[i].kind;
    return 0;
  }
  return error_set(err, ERROR_SCRIPT, "%.*s: a template's name ends in .html, .txt or .json", STR_ARG(file));
}

/** A partial that always runs itself again would never end. Walks the tags that stand outside of sections,
 * depth first, without recursion. */
static int check_cycles(const struct template *template, struct error *err) {
  enum { NEW, OPEN, DONE };
  uint32_t count = template->program_count, depth = 0;
  uint8_t *state = memory_zalloc(count);
  struct {
    uint32_t program, node;
  } *stack = memory_alloc(count * sizeof *stack);
  int rc = 0;
  for (uint32_t start = 0; start < count && rc == 0; start++) {
    if (state[start] != NEW) continue;
    state[start] = OPEN;
    stack[depth].program = start;
    stack[depth++].node = 0;
    while (depth > 0 && rc == 0) {
      const struct program *program = &template->programs[stack[depth - 1].program];
      uint32_t at = stack[depth - 1].node++;
      const struct node *node = &program->nodes[at];
      if (node->type == NODE_STOP) {
        state[stack[--depth].program] = DONE;
      } else if (node->type == NODE_PARTIAL && node->always && state[node->jump] == OPEN) {
        struct str name = template->programs[node->jump].name;
        error_set(err, ERROR_SCRIPT,
                  "{{> %.*s}} includes itself without end: put the tag into a section of the data it goes "
                  "through, as in "
                  "{{#children}}{{> %.*s}}{{/children}}",
                  STR_ARG(name), STR_ARG(name));
        rc = fail_at(template, stack[depth - 1].program, at, err);
      } else if (node->type == NODE_PARTIAL && node->always && state[node->jump] == NEW) {
        state[node->jump] = OPEN;
        stack[depth].program = node->jump;
        stack[depth++].node = 0;
      }
    }
  }
  memory_free(stack);
  memory_free(state);
  return rc;
}

static void collect_names(struct template *template) {
  template->names = memory_alloc((template->segment_count + 1) * sizeof *template->names);
  for (uint32_t i = 0; i < template->program_count; i++) {
    const struct program *program = &template->programs[i];
    for (uint32_t j = 0; j < program->count; j++) {
      struct node *node = &program->nodes[j];
      bool looks = node->type == NODE_VARIABLE || node->type == NODE_SECTION || node->type == NODE_INVERTED;
      if (!looks || node->steps == 0) continue;
      struct str name = template->segments[node->path];
      uint32_t known = 0;
      while (known < template->name_count && !str_equal(template->names[known], name)) known++;
      if (known == template->name_count) template->names[template->name_count++] = name;
      node->name = known;
    }
  }
}

/** Parse everything, asking for each partial's source as it turns up. `template->file` and `->text` are set.
 */
static int compile(struct template *template, template_partial *partial, void *context, struct error *err) {
  int rc = kind_of(template->file, &template->kind, err);
  if (rc == 0) rc = check_utf8(template->file, template->text, err);
  if (rc) return rc;
  struct str body;
  uint32_t line;
  template_program_add(template, STR(""));
  rc = front_matter_parse(template, &body, &line, err);
  if (rc) return rc;
  template->programs[0].file = template->file;
  template->programs[0].text = body;
  template->programs[0].line = line;
  size_t bytes = template->text.len;
  for (uint32_t i = 0; i < template->program_count; i++) {
    if (i > template->header_count) {
      struct program *program = &template->programs[i];
      struct str text = {"", 0}, file = {"", 0};
      if (!partial(context, program->name, &text, &file)) {
        error_set(err, ERROR_SCRIPT, "there is no partial \"%s\"%s%.*s%s", template_shown(program->name).text,
                  file.len ? ": did you mean {{> " : "", STR_ARG(file), file.len ? "}}?" : "");
        return fail_at(template, program->from_program, program->from_node, err);
      }
      bytes += text.len;
      if (bytes > TEMPLATE_SOURCE_MAX) {
        error_set(err, ERROR_SCRIPT, "a template and its partials are together larger than %d MB",
                  TEMPLATE_SOURCE_MAX >> 20);
        return fail_at(template, program->from_program, program->from_node, err);
      }
      program->text = template_keep(template, text);
      program->file = template_keep(template, file);
      rc = check_utf8(program->file, program->text, err);
      if (rc) return rc;
    }
    rc = template_parse(template, i, err);
    if (rc) return rc;
  }
  rc = check_cycles(template, err);
  if (rc) return rc;
  collect_names(template);
  template->header_names = memory_alloc((template->header_count + 1) * sizeof *template->header_names);
  for (uint32_t i = 0; i < template->header_count; i++)
    template->header_names[i] = template->programs[1 + i].name;
  return 0;
}

int template_bundle(struct str file, struct str text, template_partial *partial, void *context,
                    struct buf *bundle, struct error *err) {
  if (text.len > TEMPLATE_SOURCE_MAX)
    return error_set(err, ERROR_SCRIPT, "%.*s: the template is larger than %d MB", STR_ARG(file),
                     TEMPLATE_SOURCE_MAX >> 20);
  struct template *template = memory_zalloc(sizeof *template);
  template->file = template_keep(template, file);
  template->text = template_keep(template, text);
  int rc = compile(template, partial, context, err);
  if (rc == 0) {
    uint32_t first = template->header_count + 1;
    value_put_array(bundle, 4);
    value_put_integer(bundle, BUNDLE_FORMAT);
    value_put_string(bundle, file);
    value_put_string(bundle, text);
    value_put_array(bundle, 3 * (template->program_count - first));
    for (uint32_t i = first; i < template->program_count; i++) {
      value_put_string(bundle, template->programs[i].name);
      value_put_string(bundle, template->programs[i].file);
      value_put_string(bundle, template->programs[i].text);
    }
  }
  template_free(template);
  return rc;
}

struct hash128 template_hash(struct str bundle) {
  return hash128(bundle, 0);
}

static struct str read_string(struct reader *reader) {
  struct value value = value_read(reader);
  if (value.type == VALUE_STRING) return value.string;
  reader->bad = true;
  return (struct str){"", 0};
}

/** Partials of a bundle, for compile(). */
struct bundled {
  struct reader first;
  uint32_t count;
};

static bool find_bundled(void *context, struct str name, struct str *text, struct str *file) {
  const struct bundled *bundled = context;
  struct reader reader = bundled->first;
  for (uint32_t i = 0; i < bundled->count; i++) {
    struct str found = read_string(&reader);
    *file = read_string(&reader);
    *text = read_string(&reader);
    if (reader.bad) break;
    if (str_equal(found, name)) return true;
  }
  *file = (struct str){"", 0};
  return false;
}

int template_new(struct template **out, struct str bundle, struct error *err) {
  *out = NULL;
  struct template *template = memory_zalloc(sizeof *template);
  struct reader reader = reader_of(template_keep(template, bundle));
  struct value head = value_read(&reader), format = value_read(&reader);
  int rc = 0;
  if (format.type == VALUE_INTEGER && format.integer > BUNDLE_FORMAT)
    rc = error_set(err, ERROR_VERSION, "the template was stored by a newer version");
  template->file = read_string(&reader);
  template->text = read_string(&reader);
  struct value partials = value_read(&reader);
  struct bundled bundled = {reader, partials.count / 3};
  if (rc == 0 && (reader.bad || head.type != VALUE_ARRAY || head.count != 4 || format.type != VALUE_INTEGER ||
                  partials.type != VALUE_ARRAY))
    rc = error_set(err, ERROR_CORRUPT, "these bytes are no template");
  if (rc == 0) rc = compile(template, find_bundled, &bundled, err);
  if (rc) {
    template_free(template);
    return rc;
  }
  *out = template;
  return 0;
}

void template_free(struct template *template) {
  if (!template) return;
  for (uint32_t i = 0; i < template->program_count; i++) memory_free(template->programs[i].nodes);
  for (uint32_t i = 0; i < template->owned_count; i++) memory_free(template->owned[i]);
  memory_free(template->owned);
  memory_free(template->programs);
  memory_free(template->header_names);
  memory_free(template->segments);
  memory_free(template->names);
  memory_free(template);
}

enum template_kind template_kind_of(const struct template *template) {
  return template->kind;
}

size_t template_names(const struct template *template, const struct str **names) {
  *names = template->names;
  return template->name_count;
}

size_t template_headers(const struct template *template, const struct str **names) {
  *names = template->header_names;
  return template->header_count;
}

void rendered_init(struct rendered *rendered) {
  buf_init(&rendered->headers);
  buf_init(&rendered->body);
  buf_init(&rendered->text);
}

void rendered_deinit(struct rendered *rendered) {
  buf_deinit(&rendered->headers);
  buf_deinit(&rendered->body);
  buf_deinit(&rendered->text);
}
