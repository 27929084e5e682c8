/** A compiled template from inside: programs of flat nodes, one for the body, each partial and each header.
 *
 * Sections jump instead of nesting, so that neither compiling nor rendering recurses, whatever a template
 * holds. A new kind of tag is a node type, a row in the parser's switch and a case in the renderer's.
 */
#pragma once

#include "deliver/template.h"

enum {
  TEMPLATE_OUTPUT_MAX = 4 << 20,
  TEMPLATE_SOURCE_MAX = 4 << 20, /**< a bundle */
  TEMPLATE_PARTIALS_MAX = 256,
  TEMPLATE_HEADERS_MAX = 64,
  TEMPLATE_SECTIONS_MAX = 64, /**< sections open at once in one source */
  TEMPLATE_FRAMES_MAX = 1000, /**< sections and partials open at once while rendering */
  TEMPLATE_INDENT_MAX = 4096,
  TEMPLATE_WORK_MAX = 8000000 /**< nodes run, and 256-byte pieces of data searched, in one rendering */
};

enum node_type {
  NODE_TEXT,
  NODE_INDENT, /**< a line of a partial begins: whatever the partial is indented by goes here */
  NODE_VARIABLE,
  NODE_SECTION,
  NODE_INVERTED,
  NODE_END, /**< of the section at `jump` */
  NODE_PARTIAL,
  NODE_STOP
};

struct node {
  enum node_type type;
  bool raw;        /**< VARIABLE: not escaped */
  bool standalone; /**< PARTIAL: alone on its line, so `text` indents its lines */
  bool always;     /**< PARTIAL: in no section, so it runs whatever the data */
  uint32_t line, column;
  uint32_t jump;        /**< SECTION, INVERTED: their END; END: its section; PARTIAL: its program */
  uint32_t path, steps; /**< into `segments`; no steps: "." */
  uint32_t name;        /**< into `names`: the path's first step */
  struct str text;      /**< TEXT; the indent of a PARTIAL */
};

struct program {
  struct str name; /**< partial's name or header's key, "" for the body */
  struct str file, text;
  uint32_t line, column; /**< where `text` begins in `file` */
  struct node *nodes;
  uint32_t count, capacity;
  uint32_t from_program, from_node; /**< who names this partial first */
};

struct template {
  enum template_kind kind;
  struct str file, text;    /**< the source with its front matter */
  struct program *programs; /**< the body, then the headers in their order, then partials as found */
  uint32_t program_count, program_capacity;
  uint32_t header_count;
  struct str *header_names;
  struct str *segments; /**< of all paths */
  uint32_t segment_count, segment_capacity;
  struct str *names;
  uint32_t name_count;
  char **owned; /**< copies that the strs point into */
  uint32_t owned_count, owned_capacity;
};

struct str template_keep(struct template *template, struct str text);
/** The new, empty program's index. */
uint32_t template_program_add(struct template *template, struct str name);

/** Front matter: `key: value` lines between two lines of `---`, a subset of YAML in which a value means what
 * YAML says. Each key becomes a header program with its text, not yet parsed. @return 0 with `*body` the
 * rest, or ERROR_SCRIPT. */
int front_matter_parse(struct template *template, struct str *body, uint32_t *body_line, struct error *err);

/** Parse program `index`; partials that it names become programs without text. */
int template_parse(struct template *template, uint32_t index, struct error *err);

/** `text` fit to be quoted in a message: short, and on one line. */
struct template_shown {
  char text[64];
};
struct template_shown template_shown(struct str text);

/** The character's UTF-8. @return false for what is none (a surrogate, past U+10FFFF). */
bool template_put_utf8(struct buf *out, uint32_t point);

/** Plain text of an HTML page: tags gone, links and alternative texts kept, entities decoded. Linear in the
 * input. */
void html_text(struct str html, struct buf *out);
