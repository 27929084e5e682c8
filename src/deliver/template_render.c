#include "deliver/template_tree.h"

#include "base/memory.h"

#include <strings.h>

/** A section or a partial under way. */
struct frame {
  const struct program *program;  /**< PARTIAL: where to go on … */
  uint32_t at;                    /**< … behind its tag */
  uint32_t left;                  /**< SECTION: items still to come */
  struct reader items;            /**< SECTION over a list */
  size_t indent_from, indent_len; /**< PARTIAL: the indent to go back to */
};

struct renderer {
  const struct template *template;
  enum template_kind kind; /**< how values are escaped here */
  struct buf *out;
  size_t room;   /**< `out` may grow to this */
  uint64_t work; /**< left */
  struct frame frames[TEMPLATE_FRAMES_MAX];
  uint32_t depth;
  struct str contexts[TEMPLATE_FRAMES_MAX + 1]; /**< values, innermost last */
  uint32_t context_count;
  char indent[TEMPLATE_INDENT_MAX];
  size_t indent_from, indent_len; /**< the current indent within `indent` */
  bool in_string, escaped;        /**< JSON: where in the document the output stands */
  struct str *root; /**< what each of the template's names is at the top; null data: not asked yet */
  struct buf scratch;
};

static bool append(struct renderer *renderer, const char *data, size_t len) {
  if (len > renderer->room - renderer->out->len) return false;
  buf_append(renderer->out, data, len);
  return true;
}

/** Text that goes out as it is; in JSON it says whether what follows is inside of a string. */
static bool append_plain(struct renderer *renderer, struct str text) {
  if (renderer->kind == TEMPLATE_JSON) {
    for (size_t i = 0; i < text.len; i++) {
      char byte = text.data[i];
      if (renderer->escaped)
        renderer->escaped = false;
      else if (byte == '"')
        renderer->in_string = !renderer->in_string;
      else if (byte == '\\')
        renderer->escaped = renderer->in_string;
    }
  }
  return append(renderer, text.data, text.len);
}

static bool append_html(struct renderer *renderer, struct str text) {
  size_t from = 0;
  for (size_t i = 0; i < text.len; i++) {
    struct str entity;
    switch (text.data[i]) {
    case '&':
      entity = STR("&amp;");
      break;
    case '<':
      entity = STR("&lt;");
      break;
    case '>':
      entity = STR("&gt;");
      break;
    case '"':
      entity = STR("&quot;");
      break;
    case '\'':
      entity = STR("&#39;");
      break;
    default:
      continue;
    }
    if (!append(renderer, text.data + from, i - from) || !append(renderer, entity.data, entity.len))
      return false;
    from = i + 1;
  }
  return append(renderer, text.data + from, text.len - from);
}

/** The inside of a JSON string. */
static bool append_json(struct renderer *renderer, struct str text) {
  static const char digits[] = "0123456789abcdef";
  size_t from = 0;
  for (size_t i = 0; i < text.len; i++) {
    unsigned char byte = (unsigned char)text.data[i];
    if (byte >= 0x20 && byte != '"' && byte != '\\') continue;
    char escape[6] = {'\\', (char)byte};
    size_t len = 2;
    if (byte == '\n') {
      escape[1] = 'n';
    } else if (byte < 0x20) {
      memcpy(escape, "\\u00", 4);
      escape[4] = digits[byte >> 4];
      escape[5] = digits[byte & 15];
      len = 6;
    }
    if (!append(renderer, text.data + from, i - from) || !append(renderer, escape, len)) return false;
    from = i + 1;
  }
  return append(renderer, text.data + from, text.len - from);
}

/** A value in words: a string is itself, what has no words of its own is JSON. May lie in the scratch. */
static struct str text_of(struct renderer *renderer, struct str bytes) {
  struct value value = value_head(bytes);
  if (value.type == VALUE_STRING) return value.string;
  if (value.type == VALUE_NIL) return (struct str){"", 0};
  buf_clear(&renderer->scratch);
  value_to_json(bytes, &renderer->scratch);
  return buf_str(&renderer->scratch);
}

static bool append_value(struct renderer *renderer, const struct node *node, struct str bytes) {
  if (renderer->kind == TEMPLATE_JSON && !node->raw && !renderer->in_string) {
    // Outside of a string only a whole value keeps the document one.
    buf_clear(&renderer->scratch);
    value_to_json(bytes, &renderer->scratch);
    return append(renderer, (const char *)renderer->scratch.data, renderer->scratch.len);
  }
  struct str text = text_of(renderer, bytes);
  if (node->raw) return append_plain(renderer, text);
  switch (renderer->kind) {
  case TEMPLATE_HTML:
    return append_html(renderer, text);
  case TEMPLATE_JSON:
    return append_json(renderer, text);
  case TEMPLATE_TEXT:
    break;
  }
  return append(renderer, text.data, text.len);
}

static bool charge(struct renderer *renderer, uint64_t work) {
  if (work > renderer->work) return false;
  renderer->work -= work;
  return true;
}

static const uint8_t nil_bytes[] = {0xc0};
#define NIL_VALUE ((struct str){(const char *)nil_bytes, 1})

/** What a node's name means here: the first part is looked for from the innermost context outwards, the rest
 * only in what that gave. Nil if it leads nowhere. @return false when the work is used up. */
static bool look_up(struct renderer *renderer, const struct node *node, struct str *out) {
  if (node->steps == 0) {
    *out = renderer->contexts[renderer->context_count - 1];
    return true;
  }
  const struct str *segments = renderer->template->segments + node->path;
  bool found = false;
  for (uint32_t i = renderer->context_count; i-- > 1 && !found;) {
    struct str context = renderer->contexts[i];
    if (!charge(renderer, 1 + context.len / 256)) return false;
    found = value_member(context, segments[0], out);
  }
  if (!found) {
    struct str *known = &renderer->root[node->name], top = renderer->contexts[0];
    if (!known->data) {
      if (!charge(renderer, 1 + top.len / 256)) return false;
      if (!value_member(top, segments[0], known)) *known = NIL_VALUE;
    }
    *out = *known;
  }
  if (node->steps > 1) {
    // The segments of a name lie one behind the other in the source.
    const struct str *last = &segments[node->steps - 1];
    struct str rest = {segments[1].data, (size_t)(last->data + last->len - segments[1].data)};
    if (!charge(renderer, 1 + out->len / 256)) return false;
    if (!value_find(*out, rest, out)) *out = NIL_VALUE;
  }
  return true;
}

static bool is_falsy(struct value value) {
  switch (value.type) {
  case VALUE_NIL:
    return true;
  case VALUE_BOOL:
    return !value.boolean;
  case VALUE_INTEGER:
    return value.integer == 0;
  case VALUE_NUMBER:
    return !(value.number != 0);
  case VALUE_STRING:
    return value.string.len == 0;
  case VALUE_ARRAY:
    return value.count == 0;
  case VALUE_MAP:
    break;
  }
  return false;
}

static struct frame *push(struct renderer *renderer) {
  return renderer->depth < TEMPLATE_FRAMES_MAX ? &renderer->frames[renderer->depth++] : NULL;
}

static int too_deep(struct error *err) {
  return error_set(err, ERROR_LIMIT, "sections and partials nest deeper than %d", TEMPLATE_FRAMES_MAX);
}

static int too_much_work(struct error *err) {
  return error_set(err, ERROR_LIMIT, "its sections run too often for this data");
}

static int too_large(struct error *err) {
  return error_set(err, ERROR_LIMIT, "the message is larger than %d MB", TEMPLATE_OUTPUT_MAX >> 20);
}

/** @return 0 with `*at` the next node. */
static int enter_section(struct renderer *renderer, const struct node *node, uint32_t *at,
                         struct error *err) {
  struct str bytes;
  if (!look_up(renderer, node, &bytes)) return too_much_work(err);
  struct reader reader = reader_of(bytes);
  struct value value = value_read(&reader);
  if (is_falsy(value)) {
    *at = node->jump + 1;
    return 0;
  }
  struct frame *frame = push(renderer);
  if (!frame) return too_deep(err);
  frame->left = 0;
  frame->items = reader;
  if (value.type == VALUE_ARRAY) {
    frame->left = value.count - 1;
    bytes = value_slice(&frame->items);
  }
  renderer->contexts[renderer->context_count++] = bytes;
  (*at)++;
  return 0;
}

static void end_section(struct renderer *renderer, const struct node *node, uint32_t *at) {
  struct frame *frame = &renderer->frames[renderer->depth - 1];
  if (frame->left > 0) {
    frame->left--;
    renderer->contexts[renderer->context_count - 1] = value_slice(&frame->items);
    *at = node->jump + 1;
    return;
  }
  renderer->depth--;
  renderer->context_count--;
  (*at)++;
}

static int enter_partial(struct renderer *renderer, const struct program *program, const struct node *node,
                         uint32_t at, struct error *err) {
  struct frame *frame = push(renderer);
  if (!frame) return too_deep(err);
  *frame = (struct frame){.program = program,
                          .at = at + 1,
                          .indent_from = renderer->indent_from,
                          .indent_len = renderer->indent_len};
  // A partial within a line starts afresh; one on a line of its own is indented by all that stands before it.
  if (!node->standalone) renderer->indent_from = renderer->indent_len;
  if (node->text.len > TEMPLATE_INDENT_MAX - renderer->indent_len)
    return error_set(err, ERROR_LIMIT, "partials are indented by more than %d characters",
                     TEMPLATE_INDENT_MAX);
  memcpy(renderer->indent + renderer->indent_len, node->text.data, node->text.len);
  renderer->indent_len += node->text.len;
  return 0;
}

static int run(struct renderer *renderer, const struct program *program, struct error *err) {
  uint32_t at = 0;
  for (;;) {
    if (!charge(renderer, 1)) return too_much_work(err);
    const struct node *node = &program->nodes[at];
    int rc = 0;
    bool fits = true;
    struct str value;
    switch (node->type) {
    case NODE_TEXT:
      fits = append_plain(renderer, node->text);
      at++;
      break;
    case NODE_INDENT:
      fits = append_plain(renderer, (struct str){renderer->indent + renderer->indent_from,
                                                 renderer->indent_len - renderer->indent_from});
      at++;
      break;
    case NODE_VARIABLE:
      if (!look_up(renderer, node, &value)) return too_much_work(err);
      fits = append_value(renderer, node, value);
      at++;
      break;
    case NODE_SECTION:
      rc = enter_section(renderer, node, &at, err);
      break;
    case NODE_INVERTED:
      if (!look_up(renderer, node, &value)) return too_much_work(err);
      at = is_falsy(value_head(value)) ? at + 1 : node->jump + 1;
      break;
    case NODE_END:
      if (program->nodes[node->jump].type == NODE_SECTION)
        end_section(renderer, node, &at);
      else
        at++;
      break;
    case NODE_PARTIAL:
      rc = enter_partial(renderer, program, node, at, err);
      program = &renderer->template->programs[node->jump];
      at = 0;
      break;
    case NODE_STOP: {
      if (renderer->depth == 0) return 0;
      const struct frame *frame = &renderer->frames[--renderer->depth];
      program = frame->program;
      at = frame->at;
      renderer->indent_from = frame->indent_from;
      renderer->indent_len = frame->indent_len;
      break;
    }
    }
    if (rc) return rc;
    if (!fits) return too_large(err);
  }
}

/** A header's text on one line: whoever fills in a name must not be able to add a header. */
static void put_header(struct buf *headers, struct buf *text) {
  size_t used = 0;
  for (size_t i = 0; i < text->len; i++) {
    uint8_t byte = text->data[i];
    bool control = byte < 0x20 || byte == 0x7f;
    if (control && (used == 0 || text->data[used - 1] == ' ')) continue;
    text->data[used++] = control ? ' ' : byte;
  }
  text->len = used;
  value_put_string(headers, buf_str(text));
}

static int render_headers(struct renderer *renderer, struct rendered *out, struct error *err) {
  const struct template *template = renderer->template;
  int rc = 0;
  value_put_map(&out->headers, template->header_count);
  renderer->kind = TEMPLATE_TEXT;
  renderer->out = &out->text;
  for (uint32_t i = 0; i < template->header_count && rc == 0; i++) {
    const struct program *header = &template->programs[1 + i];
    renderer->room = TEMPLATE_OUTPUT_MAX - out->headers.len;
    buf_clear(&out->text);
    rc = run(renderer, header, err);
    if (rc == 0 && out->headers.len + header->name.len + out->text.len > TEMPLATE_OUTPUT_MAX - 64)
      rc = too_large(err);
    if (rc) break;
    value_put_string(&out->headers, header->name);
    put_header(&out->headers, &out->text);
  }
  buf_clear(&out->text);
  return rc;
}

/** Where a document's body begins to show: behind its <body …>, or at the start where there is none. */
static size_t body_start(struct str html) {
  for (size_t i = 0; i + 6 < html.len; i++) {
    if (html.data[i] != '<' || strncasecmp(html.data + i, "<body", 5) != 0) continue;
    const char *end = memchr(html.data + i, '>', html.len - i);
    if (end) return (size_t)(end - html.data) + 1;
  }
  return 0;
}

/** The preheader, which mail programs show beside the subject: the first text of the body, not seen in it. */
static bool put_preheader(struct renderer *renderer, struct rendered *out) {
  struct str found;
  if (!value_member(buf_str(&out->headers), STR("preheader"), &found) || !value_head(found).string.len)
    return true;
  size_t start = body_start(buf_str(&out->body));
  buf_clear(&renderer->scratch);
  buf_append(&renderer->scratch, out->body.data + start, out->body.len - start);
  out->body.len = start;
  return append_plain(renderer,
                      STR("<div style=\"display:none;max-height:0;overflow:hidden;mso-hide:all\">")) &&
         append_html(renderer, value_head(found).string) && append_plain(renderer, STR("</div>\n")) &&
         append_plain(renderer, buf_str(&renderer->scratch));
}

int template_render(const struct template *template, struct str data, struct rendered *out,
                    struct error *err) {
  buf_clear(&out->headers);
  buf_clear(&out->body);
  buf_clear(&out->text);
  // Only what is used is set: the stacks are large, and empty.
  struct renderer renderer;
  renderer.template = template;
  renderer.work = TEMPLATE_WORK_MAX;
  renderer.depth = 0;
  renderer.contexts[0] = data;
  renderer.context_count = 1;
  renderer.indent_from = renderer.indent_len = 0;
  renderer.in_string = renderer.escaped = false;
  renderer.root = memory_zalloc((template->name_count + 1) * sizeof *renderer.root);
  buf_init(&renderer.scratch);
  int rc = render_headers(&renderer, out, err);
  if (rc == 0) {
    renderer.kind = template->kind;
    renderer.out = &out->body;
    renderer.room = TEMPLATE_OUTPUT_MAX - out->headers.len;
    rc = run(&renderer, &template->programs[0], err);
  }
  if (rc == 0 && template->kind == TEMPLATE_HTML) {
    html_text(buf_str(&out->body), &out->text);
    if (!put_preheader(&renderer, out)) rc = too_large(err);
  }
  buf_deinit(&renderer.scratch);
  memory_free(renderer.root);
  return rc ? error_prefix(err, "%.*s", STR_ARG(template->file)) : 0;
}
