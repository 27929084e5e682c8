#include "deliver/html_entity.h"
#include "deliver/template_tree.h"

#include <strings.h>

enum { HREF_MAX = 2048, LINKS_OPEN_MAX = 16 };

/** What an element does to the lines around it. */
enum element_kind {
  ELEMENT_NONE,
  ELEMENT_BREAK,     /**< a new line */
  ELEMENT_LINE,      /**< begins and ends a line */
  ELEMENT_PARAGRAPH, /**< an empty line before and after */
  ELEMENT_ITEM,      /**< a line with a dash */
  ELEMENT_CELL,      /**< apart from its neighbour */
  ELEMENT_RULE,
  ELEMENT_LINK,
  ELEMENT_IMAGE,
  ELEMENT_PREFORMATTED,
  ELEMENT_HIDDEN /**< its content is no text, and runs to its end tag */
};

static const struct {
  struct str name;
  enum element_kind kind;
} elements[] = {
    {STR("a"), ELEMENT_LINK},
    {STR("address"), ELEMENT_LINE},
    {STR("article"), ELEMENT_PARAGRAPH},
    {STR("blockquote"), ELEMENT_PARAGRAPH},
    {STR("br"), ELEMENT_BREAK},
    {STR("dd"), ELEMENT_LINE},
    {STR("div"), ELEMENT_LINE},
    {STR("dl"), ELEMENT_PARAGRAPH},
    {STR("dt"), ELEMENT_LINE},
    {STR("footer"), ELEMENT_LINE},
    {STR("form"), ELEMENT_LINE},
    {STR("h1"), ELEMENT_PARAGRAPH},
    {STR("h2"), ELEMENT_PARAGRAPH},
    {STR("h3"), ELEMENT_PARAGRAPH},
    {STR("h4"), ELEMENT_PARAGRAPH},
    {STR("h5"), ELEMENT_PARAGRAPH},
    {STR("h6"), ELEMENT_PARAGRAPH},
    {STR("header"), ELEMENT_LINE},
    {STR("hr"), ELEMENT_RULE},
    {STR("img"), ELEMENT_IMAGE},
    {STR("li"), ELEMENT_ITEM},
    {STR("main"), ELEMENT_LINE},
    {STR("nav"), ELEMENT_LINE},
    {STR("ol"), ELEMENT_PARAGRAPH},
    {STR("p"), ELEMENT_PARAGRAPH},
    {STR("pre"), ELEMENT_PREFORMATTED},
    {STR("script"), ELEMENT_HIDDEN},
    {STR("section"), ELEMENT_PARAGRAPH},
    {STR("style"), ELEMENT_HIDDEN},
    {STR("table"), ELEMENT_PARAGRAPH},
    {STR("td"), ELEMENT_CELL},
    {STR("template"), ELEMENT_HIDDEN},
    {STR("textarea"), ELEMENT_HIDDEN},
    {STR("th"), ELEMENT_CELL},
    {STR("title"), ELEMENT_HIDDEN},
    {STR("tr"), ELEMENT_LINE},
    {STR("ul"), ELEMENT_PARAGRAPH},
};

struct link {
  struct str href;
  size_t text_from; /**< where its text begins in the output */
};

struct converter {
  const char *at, *end;
  struct buf *out;
  size_t start;      /**< of the text in `out` */
  unsigned newlines; /**< wanted before the next character */
  bool space;        /**< wanted before the next character */
  bool item;         /**< a list item's dash stands there, and its text belongs behind it */
  unsigned preformatted;
  struct link links[LINKS_OPEN_MAX];
  unsigned links_open;
};

static bool is_space(char byte) {
  return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r' || byte == '\f';
}

static bool is_letter(char byte) {
  return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

/** Whitespace that was wanted is written when something follows it. */
static void settle(struct converter *converter) {
  struct buf *out = converter->out;
  bool begun = out->len > converter->start;
  if (converter->newlines && begun)
    buf_append(out, "\n\n", converter->newlines);
  else if (converter->space && begun && out->data[out->len - 1] != ' ' && out->data[out->len - 1] != '\n')
    buf_put_u8(out, ' ');
  converter->newlines = 0;
  converter->space = false;
  converter->item = false;
}

static void put(struct converter *converter, const char *data, size_t len) {
  if (converter->out->len - converter->start > TEMPLATE_OUTPUT_MAX) return;
  settle(converter);
  buf_append(converter->out, data, len);
}

static void want_newlines(struct converter *converter, unsigned count) {
  if (!converter->item && converter->newlines < count) converter->newlines = count;
}

/** Soft hyphens and joiners say how to lay out, and mean nothing in plain text. */
static bool is_invisible(uint32_t point) {
  return point == 0xad || (point >= 0x200b && point <= 0x200d) || point == 0xfeff;
}

/** Text with its entities decoded and its whitespace collapsed. */
static void put_text(struct converter *converter, const char *at, const char *end) {
  while (at < end) {
    if (is_space(*at) && !converter->preformatted) {
      converter->space = true;
      at++;
    } else if (*at == '\n') {
      // Line ends of preformatted text are kept as they are, however many.
      buf_put_u8(converter->out, '\n');
      at++;
    } else if (*at == '&') {
      uint32_t point;
      size_t used = html_entity_read(at, end, &point);
      if (!used) {
        put(converter, at++, 1);
        continue;
      }
      at += used;
      if (point == 0xa0) {
        put(converter, " ", 1);
      } else if (!is_invisible(point)) {
        settle(converter);
        template_put_utf8(converter->out, point);
      }
    } else {
      const char *from = at;
      while (at < end && !is_space(*at) && *at != '&') at++;
      if (at == from) at++;
      put(converter, from, (size_t)(at - from));
    }
  }
}

struct attribute {
  struct str name, value;
};

/** The next attribute of a tag, or its end. @return 1 an attribute, 0 the end, -1 the tag is never closed. */
static int next_attribute(struct converter *converter, struct attribute *attribute) {
  const char *at = converter->at, *end = converter->end;
  while (at < end && (is_space(*at) || *at == '/')) at++;
  if (at == end) return -1;
  if (*at == '>') {
    converter->at = at + 1;
    return 0;
  }
  const char *from = at++;
  while (at < end && !is_space(*at) && *at != '=' && *at != '>' && *at != '/') at++;
  attribute->name = (struct str){from, (size_t)(at - from)};
  attribute->value = (struct str){"", 0};
  while (at < end && is_space(*at)) at++;
  if (at < end && *at == '=') {
    at++;
    while (at < end && is_space(*at)) at++;
    if (at == end) return -1;
    if (*at == '"' || *at == '\'') {
      const char *close = memchr(at + 1, *at, (size_t)(end - at - 1));
      if (!close) return -1;
      attribute->value = (struct str){at + 1, (size_t)(close - at - 1)};
      at = close + 1;
    } else {
      from = at;
      while (at < end && !is_space(*at) && *at != '>') at++;
      attribute->value = (struct str){from, (size_t)(at - from)};
    }
  }
  converter->at = at;
  return 1;
}

static bool same(struct str a, struct str b) {
  return a.len == b.len && strncasecmp(a.data, b.data, a.len) == 0;
}

static enum element_kind element_of(struct str name) {
  for (size_t i = 0; i < sizeof elements / sizeof elements[0]; i++)
    if (same(elements[i].name, name)) return elements[i].kind;
  return ELEMENT_NONE;
}

/** Past the end tag of an element whose content is no text; to the end of all if there is none. */
static void skip_hidden(struct converter *converter, struct str name) {
  while (converter->at < converter->end) {
    const char *open = memchr(converter->at, '<', (size_t)(converter->end - converter->at));
    if (!open) break;
    converter->at = open + 1;
    size_t left = (size_t)(converter->end - open);
    if (left > name.len + 2 && open[1] == '/' && strncasecmp(open + 2, name.data, name.len) == 0 &&
        !is_letter(open[2 + name.len])) {
      const char *close = memchr(open, '>', left);
      converter->at = close ? close + 1 : converter->end;
      return;
    }
  }
  converter->at = converter->end;
}

static void open_link(struct converter *converter, struct str href) {
  if (converter->links_open == LINKS_OPEN_MAX) return;
  bool useful = href.len > 0 && href.len <= HREF_MAX && href.data[0] != '#';
  settle(converter);
  converter->links[converter->links_open++] =
      (struct link){useful ? href : (struct str){"", 0}, converter->out->len};
}

/** The address behind the text, unless the text is the address. */
static void close_link(struct converter *converter) {
  if (converter->links_open == 0) return;
  struct link link = converter->links[--converter->links_open];
  struct buf *out = converter->out;
  if (link.href.len == 0) return;
  struct str shown = {(const char *)out->data + link.text_from, out->len - link.text_from};
  struct str bare = link.href;
  if (bare.len > 7 && strncasecmp(bare.data, "mailto:", 7) == 0)
    bare = (struct str){bare.data + 7, bare.len - 7};
  if (str_equal(shown, bare) || str_equal(shown, link.href)) return;
  bool spaced = converter->space;
  converter->space = shown.len > 0;
  unsigned preformatted = converter->preformatted;
  converter->preformatted = 0;
  put(converter, "<", 1);
  put_text(converter, link.href.data, link.href.data + link.href.len);
  converter->space = false;
  put(converter, ">", 1);
  converter->space = spaced;
  converter->preformatted = preformatted;
}

static void begin_element(struct converter *converter, enum element_kind kind, struct str name,
                          struct str href, struct str alt) {
  switch (kind) {
  case ELEMENT_NONE:
    break;
  case ELEMENT_BREAK:
    // Two in a row make an empty line, more do not make more.
    if (converter->newlines < 2) converter->newlines++;
    break;
  case ELEMENT_LINE:
    want_newlines(converter, 1);
    break;
  case ELEMENT_PARAGRAPH:
    want_newlines(converter, 2);
    break;
  case ELEMENT_ITEM:
    want_newlines(converter, 1);
    put(converter, "- ", 2);
    converter->item = true;
    break;
  case ELEMENT_CELL:
    converter->space = true;
    break;
  case ELEMENT_RULE:
    want_newlines(converter, 1);
    put(converter, "---", 3);
    want_newlines(converter, 1);
    break;
  case ELEMENT_LINK:
    open_link(converter, href);
    break;
  case ELEMENT_IMAGE:
    put_text(converter, alt.data, alt.data + alt.len);
    break;
  case ELEMENT_PREFORMATTED:
    want_newlines(converter, 2);
    settle(converter);
    converter->preformatted++;
    break;
  case ELEMENT_HIDDEN:
    skip_hidden(converter, name);
    break;
  }
}

static void end_element(struct converter *converter, enum element_kind kind) {
  switch (kind) {
  case ELEMENT_LINE:
    want_newlines(converter, 1);
    break;
  case ELEMENT_PREFORMATTED:
    if (converter->preformatted) converter->preformatted--;
    want_newlines(converter, 2);
    break;
  case ELEMENT_PARAGRAPH:
    want_newlines(converter, 2);
    break;
  case ELEMENT_ITEM:
    want_newlines(converter, 1);
    break;
  case ELEMENT_LINK:
    close_link(converter);
    break;
  default:
    break;
  }
}

/** `at` stands behind "<" or "</" at a letter. A tag that never ends swallows the rest, as it does in a
 * browser. */
static void read_tag(struct converter *converter, bool closing) {
  const char *from = converter->at;
  while (converter->at < converter->end && !is_space(*converter->at) && *converter->at != '>' &&
         *converter->at != '/')
    converter->at++;
  struct str name = {from, (size_t)(converter->at - from)}, href = {"", 0}, alt = {"", 0};
  struct attribute attribute;
  int found;
  while ((found = next_attribute(converter, &attribute)) > 0) {
    if (same(attribute.name, STR("href"))) href = attribute.value;
    if (same(attribute.name, STR("alt"))) alt = attribute.value;
  }
  if (found < 0) {
    converter->at = converter->end;
    return;
  }
  enum element_kind kind = element_of(name);
  if (closing)
    end_element(converter, kind);
  else
    begin_element(converter, kind, name, href, alt);
}

/** A comment, doctype or processing instruction. */
static void skip_declaration(struct converter *converter) {
  const char *close;
  size_t left = (size_t)(converter->end - converter->at);
  if (left >= 3 && memcmp(converter->at, "!--", 3) == 0) {
    close = memmem(converter->at + 3, left - 3, "-->", 3);
    converter->at = close ? close + 3 : converter->end;
  } else {
    close = memchr(converter->at, '>', left);
    converter->at = close ? close + 1 : converter->end;
  }
}

void html_text(struct str html, struct buf *out) {
  struct converter converter = {.at = html.data, .end = html.data + html.len, .out = out, .start = out->len};
  while (converter.at < converter.end) {
    const char *open = memchr(converter.at, '<', (size_t)(converter.end - converter.at));
    const char *until = open ? open : converter.end;
    put_text(&converter, converter.at, until);
    if (!open) break;
    converter.at = open + 1;
    char next = converter.at < converter.end ? *converter.at : 0;
    if (is_letter(next)) {
      read_tag(&converter, false);
    } else if (next == '/' && converter.at + 1 < converter.end && is_letter(converter.at[1])) {
      converter.at++;
      read_tag(&converter, true);
    } else if (next == '!' || next == '?' || next == '/') {
      skip_declaration(&converter);
    } else {
      put(&converter, "<", 1);
    }
  }
  while (converter.links_open) close_link(&converter);
  if (out->len > converter.start) buf_put_u8(out, '\n');
}
