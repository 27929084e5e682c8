/** Walks a YAML document along a table: fills a struct, and reports what does not fit. */
#pragma once

#include "config/config_field.h"
#include "config/config_report.h"

#include <yaml.h>

/** Where a key's value stands in the file. */
struct config_place {
  int line, column;
  bool given; /**< the file has the key … */
  bool bad;   /**< … and a problem with it is reported already */
};

struct config_reader {
  yaml_document_t *document;
  struct config_pool *pool;
  struct config_report *report;
  /** Called for each item of a list once its keys are read, in order. `key` is its path, `places` are its
   * table's. */
  void (*item_done)(struct config_reader *reader, const struct config_list *list, void *items, size_t index,
                    const char *key, const struct config_place *places, struct config_place item);
};

/** Every row's default, also those whose text is null: they are zero. */
void config_reader_defaults(const struct config_table *table, void *base, struct config_pool *pool);
/** Read the mapping `node` (null for none) into `base`, which holds the defaults. `places`: one for each row.
 */
void config_reader_read(struct config_reader *reader, const yaml_node_t *node, const char *key,
                        const struct config_table *table, void *base, struct config_place *places);
/** @return the place of the row `path`; the table has it. */
const struct config_place *config_reader_place(const struct config_table *table,
                                               const struct config_place *places, const char *path);
