#include "config/config_reader.h"

#include "base/memory.h"

#include <stdio.h>
#include <stdlib.h>

#define ITEMS_MAX 1000
#define KEY_MAX   256

static struct str scalar_text(const yaml_node_t *node) {
  return (struct str){(const char *)node->data.scalar.value, node->data.scalar.length};
}

/** YAML's ways to write nothing: `key:`, `key: ~`, `key: null`. */
static bool is_nothing(const yaml_node_t *node) {
  if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE) return false;
  struct str text = scalar_text(node);
  return text.len == 0 || str_equal(text, STR("~")) || str_equal(text, STR("null"));
}

static struct config_place place_of(const yaml_node_t *node) {
  return (struct config_place){(int)node->start_mark.line + 1, (int)node->start_mark.column + 1, true, false};
}

static const char *kind_name(const yaml_node_t *node) {
  if (is_nothing(node)) return "nothing";
  return node->type == YAML_SEQUENCE_NODE  ? "a list"
         : node->type == YAML_MAPPING_NODE ? "a group of keys"
                                           : "a single value";
}

/** "http" and "max_body" -> "http.max_body". @return false for what can be no key: too long, or a path
 * itself. */
static bool join(char out[KEY_MAX], const char *group, struct str key) {
  if (key.len == 0 || memchr(key.data, 0, key.len) || memchr(key.data, '.', key.len)) return false;
  int len = snprintf(out, KEY_MAX, "%s%s%.*s", group, *group ? "." : "", STR_ARG(key));
  return len < KEY_MAX;
}

static const struct config_field *find_field(const struct config_table *table, const char *path) {
  for (size_t i = 0; i < table->count; i++)
    if (strcmp(table->fields[i].path, path) == 0) return &table->fields[i];
  return NULL;
}

/** What is left of `path` below `group` (may be ""); null data when it is not below. */
static struct str below(const char *path, const char *group) {
  size_t len = strlen(group);
  if (len == 0) return str_from(path);
  if (strncmp(path, group, len) != 0 || path[len] != '.') return (struct str){NULL, 0};
  return str_from(path + len + 1);
}

static bool is_group(const struct config_table *table, const char *path) {
  for (size_t i = 0; i < table->count; i++)
    if (below(table->fields[i].path, path).data) return true;
  return false;
}

static struct str first_word(struct str path) {
  const char *dot = memchr(path.data, '.', path.len);
  return dot ? (struct str){path.data, (size_t)(dot - path.data)} : path;
}

static struct str last_word(const char *path) {
  const char *dot = strrchr(path, '.');
  return str_from(dot ? dot + 1 : path);
}

/** The key somebody may have meant, or all that are allowed there. */
static void put_suggestion(const struct config_table *table, const char *group, struct str key,
                           struct buf *out) {
  unsigned nearest = 1000;
  struct str best = {NULL, 0};
  for (size_t i = 0; i < table->count; i++) {
    struct str rest = below(table->fields[i].path, group);
    if (rest.data && config_is_nearer(key, first_word(rest), &nearest)) best = first_word(rest);
  }
  // The right word in the wrong group.
  for (size_t i = 0; !best.data && i < table->count; i++)
    if (str_equal(key, last_word(table->fields[i].path))) best = str_from(table->fields[i].path);
  if (best.data) {
    buf_printf(out, "did you mean \"%.*s\"?", STR_ARG(best));
    return;
  }
  buf_printf(out, "known here: ");
  struct str last = {NULL, 0};
  for (size_t i = 0; i < table->count; i++) {
    struct str rest = below(table->fields[i].path, group);
    if (!rest.data || str_equal(first_word(rest), last)) continue;
    buf_printf(out, "%s%.*s", last.data ? ", " : "", STR_ARG(first_word(rest)));
    last = first_word(rest);
  }
}

void config_reader_defaults(const struct config_table *table, void *base, struct config_pool *pool) {
  for (size_t i = 0; i < table->count; i++) {
    const struct config_field *field = &table->fields[i];
    struct error err = {0};
    if (!field->standard) continue;
    // A default that its own row refuses is a bug of the table.
    if (config_field_parse(field, str_from(field->standard), false, base, pool, &err)) {
      fprintf(stderr, "default of %s: %s\n", field->path, err.message);
      abort();
    }
  }
}

const struct config_place *config_reader_place(const struct config_table *table,
                                               const struct config_place *places, const char *path) {
  const struct config_field *field = find_field(table, path);
  if (!field) abort();
  return &places[field - table->fields];
}

static void read_list(struct config_reader *reader, const yaml_node_t *node, const char *key,
                      const struct config_field *field, void *base) {
  const struct config_list *list = field->list;
  const yaml_node_item_t *first = node->data.sequence.items.start;
  size_t count = (size_t)(node->data.sequence.items.top - first);
  if (count > ITEMS_MAX) {
    struct config_place at = place_of(node);
    config_report_add(reader->report, at.line, at.column, key, "found %zu items, expected at most %d", count,
                      ITEMS_MAX);
    return;
  }
  char *items = config_pool_alloc(reader->pool, count * list->item_size);
  struct config_place *places = memory_alloc((list->table.count + 1) * sizeof *places);
  for (size_t i = 0; i < count; i++) {
    char item_key[KEY_MAX + 32];
    snprintf(item_key, sizeof item_key, "%s[%zu]", key, i);
    const yaml_node_t *item = yaml_document_get_node(reader->document, first[i]);
    memset(places, 0, list->table.count * sizeof *places);
    void *at = items + i * list->item_size;
    config_reader_defaults(&list->table, at, reader->pool);
    config_reader_read(reader, item, item_key, &list->table, at, places);
    if (item->type == YAML_MAPPING_NODE)
      reader->item_done(reader, list, items, i, item_key, places, place_of(item));
  }
  memory_free(places);
  *(void **)((char *)base + field->offset) = items;
  *(uint32_t *)((char *)base + list->count_offset) = (uint32_t)count;
}

/** A list of single values, as if it were written in one with commas. */
static void read_line(struct config_reader *reader, const yaml_node_t *node, const char *key,
                      const struct config_field *field, void *base, struct config_place *place) {
  struct buf line;
  buf_init(&line);
  struct error err = {0};
  const yaml_node_item_t *first = node->data.sequence.items.start, *end = node->data.sequence.items.top;
  for (const yaml_node_item_t *at = first; at < end && !place->bad; at++) {
    const yaml_node_t *item = yaml_document_get_node(reader->document, *at);
    struct config_place where = place_of(item);
    place->bad = item->type != YAML_SCALAR_NODE || is_nothing(item) ||
                 memchr(scalar_text(item).data, ',', scalar_text(item).len);
    if (place->bad)
      config_report_add(reader->report, where.line, where.column, key,
                        "found %s in the list, expected text such as \"3/7d\"",
                        item->type == YAML_SCALAR_NODE && !is_nothing(item) ? "a comma" : kind_name(item));
    else
      buf_printf(&line, "%s%.*s", at == first ? "" : ",", STR_ARG(scalar_text(item)));
  }
  if (!place->bad && config_field_parse(field, buf_str(&line), true, base, reader->pool, &err)) {
    place->bad = true;
    config_report_add(reader->report, place->line, place->column, key, "%s", err.message);
  }
  buf_deinit(&line);
}

static void read_value(struct config_reader *reader, const yaml_node_t *node, const char *key,
                       const struct config_field *field, void *base, struct config_place *place) {
  *place = place_of(node);
  struct error err;
  const char *tag = (const char *)node->tag;
  if (tag && strncmp(tag, "tag:yaml.org,2002:", 18) != 0) {
    place->bad = true;
    config_report_add(reader->report, place->line, place->column, key, "found the tag \"%s\", expected none",
                      config_shown(str_from(tag)).text);
  } else if (field->kind == CONFIG_LIST && (node->type == YAML_SEQUENCE_NODE || is_nothing(node))) {
    if (node->type == YAML_SEQUENCE_NODE) read_list(reader, node, key, field, base);
  } else if (field->kind == CONFIG_CAPS && node->type == YAML_SEQUENCE_NODE) {
    read_line(reader, node, key, field, base, place);
  } else if (field->kind == CONFIG_LIST || node->type != YAML_SCALAR_NODE || is_nothing(node)) {
    place->bad = true;
    struct buf expected;
    buf_init(&expected);
    config_field_expected(field, &expected);
    config_report_add(reader->report, place->line, place->column, key, "found %s, expected %.*s",
                      kind_name(node), STR_ARG(buf_str(&expected)));
    buf_deinit(&expected);
  } else if (config_field_parse(field, scalar_text(node), node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE,
                                base, reader->pool, &err)) {
    place->bad = true;
    config_report_add(reader->report, place->line, place->column, key, "%s", err.message);
  }
}

/** The first pair of the mapping that has this key; the pair itself when it is the first. */
static const yaml_node_pair_t *first_of(struct config_reader *reader, const yaml_node_t *node,
                                        const yaml_node_pair_t *pair, struct str key) {
  for (const yaml_node_pair_t *at = node->data.mapping.pairs.start; at < pair; at++) {
    const yaml_node_t *other = yaml_document_get_node(reader->document, at->key);
    if (other->type == YAML_SCALAR_NODE && str_equal(scalar_text(other), key)) return at;
  }
  return pair;
}

/** One level: `group` is its path in the table, `shown` in the file. */
static void read_group(struct config_reader *reader, const yaml_node_t *node, const char *group,
                       const char *shown, const struct config_table *table, void *base,
                       struct config_place *places) {
  if (is_nothing(node)) return;
  if (node->type != YAML_MAPPING_NODE) {
    struct config_place at = place_of(node);
    config_report_add(reader->report, at.line, at.column, shown, "found %s, expected a group of keys",
                      kind_name(node));
    return;
  }
  for (const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
       pair < node->data.mapping.pairs.top && !reader->report->cut; pair++) {
    const yaml_node_t *name = yaml_document_get_node(reader->document, pair->key);
    const yaml_node_t *value = yaml_document_get_node(reader->document, pair->value);
    struct config_place at = place_of(name);
    if (name->type != YAML_SCALAR_NODE) {
      config_report_add(reader->report, at.line, at.column, shown, "found %s as a key, expected a word",
                        kind_name(name));
      continue;
    }
    struct str key = scalar_text(name);
    const yaml_node_pair_t *first = first_of(reader, node, pair, key);
    char path[KEY_MAX] = "", shown_path[KEY_MAX] = "";
    const struct config_field *field = NULL;
    bool fits = join(path, group, key) && join(shown_path, shown, key);
    if (fits) field = find_field(table, path);
    if (first != pair) {
      config_report_add(reader->report, at.line, at.column, shown, "\"%s\" is given twice, first in line %d",
                        config_shown(key).text,
                        (int)yaml_document_get_node(reader->document, first->key)->start_mark.line + 1);
    } else if (field) {
      read_value(reader, value, shown_path, field, base, &places[field - table->fields]);
    } else if (fits && is_group(table, path)) {
      read_group(reader, value, path, shown_path, table, base, places);
    } else {
      struct buf suggestion;
      buf_init(&suggestion);
      put_suggestion(table, group, key, &suggestion);
      config_report_add(reader->report, at.line, at.column, shown, "unknown key \"%s\"; %.*s",
                        config_shown(key).text, STR_ARG(buf_str(&suggestion)));
      buf_deinit(&suggestion);
    }
  }
}

/** What needs the whole table: keys that must be there, and those that may not pass another. */
static void check_table(struct config_reader *reader, const struct config_place *item, const char *shown,
                        const struct config_table *table, const void *base,
                        const struct config_place *places) {
  for (size_t i = 0; i < table->count; i++) {
    const struct config_field *field = &table->fields[i];
    struct buf expected;
    buf_init(&expected);
    if (field->required && !places[i].given) {
      config_field_expected(field, &expected);
      config_report_add(reader->report, item->line, item->column, shown, "\"%s\" is missing, expected %.*s",
                        field->path, STR_ARG(buf_str(&expected)));
    }
    if (field->at_most) {
      const struct config_field *other = find_field(table, field->at_most);
      const struct config_place *other_place = config_reader_place(table, places, field->at_most);
      if (!places[i].bad && !other_place->bad &&
          config_field_number(field, base) > config_field_number(other, base)) {
        bool here = places[i].given;
        char key[2 * KEY_MAX];
        snprintf(key, sizeof key, "%s%s%s", shown, *shown ? "." : "", here ? field->path : other->path);
        config_field_write(here ? field : other, base, &expected);
        buf_printf(&expected, ", expected at %s %s (", here ? "most" : "least",
                   here ? other->path : field->path);
        config_field_write(here ? other : field, base, &expected);
        const struct config_place *at = here ? &places[i] : other_place;
        config_report_add(reader->report, at->line, at->column, key, "found %.*s)",
                          STR_ARG(buf_str(&expected)));
      }
    }
    buf_deinit(&expected);
  }
}

void config_reader_read(struct config_reader *reader, const yaml_node_t *node, const char *key,
                        const struct config_table *table, void *base, struct config_place *places) {
  struct config_place at = {0, 0, false, false};
  if (node) {
    at = place_of(node);
    if (is_nothing(node) && *key)
      config_report_add(reader->report, at.line, at.column, key, "found nothing, expected a group of keys");
    read_group(reader, node, "", key, table, base, places);
  }
  if (!node || node->type == YAML_MAPPING_NODE) check_table(reader, &at, key, table, base, places);
}
