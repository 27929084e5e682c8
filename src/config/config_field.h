/** One typed key of the configuration: how it is read, checked, said and written. */
#pragma once

#include "base/buf.h"
#include "base/error.h"

enum config_kind {
  CONFIG_TEXT,     /**< const char * */
  CONFIG_PATH,     /**< const char * */
  CONFIG_FILE,     /**< const char *: a path that can be read now */
  CONFIG_NAME,     /**< const char *: [a-z0-9_-], at most 64 bytes */
  CONFIG_URL,      /**< const char *: http or https, without user and password */
  CONFIG_SECRET,   /**< struct config_secret: written as the name of an environment variable, which is set */
  CONFIG_ADDRESS,  /**< struct config_address */
  CONFIG_BOOL,     /**< bool */
  CONFIG_COUNT,    /**< uint32_t, min to max */
  CONFIG_MODE,     /**< uint32_t, octal, min to max */
  CONFIG_DURATION, /**< int64_t ms, min to max */
  CONFIG_SIZE,     /**< uint64_t bytes, min to max */
  CONFIG_RATE,     /**< struct rate */
  CONFIG_CAPS,     /**< struct config_caps: a list of caps, or one */
  CONFIG_HOURS,    /**< struct config_hours */
  CONFIG_SHARE,    /**< struct config_share */
  CONFIG_MOMENT,   /**< struct config_moment; UTC unless it names a zone */
  CONFIG_ZONE,     /**< const char *: a time zone's name */
  CONFIG_CHOICE,   /**< an enum: the position in `choices` */
  CONFIG_LIST      /**< a pointer to items, as `list` says */
};

struct config_list;

/** A row of the table. A path's dots are levels of the file. */
struct config_field {
  const char *path;
  enum config_kind kind;
  size_t offset;        /**< in the struct that the table describes */
  const char *standard; /**< the default, as the file would say it; null: none */
  const char *help;
  uint64_t min, max;
  const char *const *choices; /**< null at the end */
  const char *at_most;        /**< path of a neighbour whose value this one may not pass */
  bool required;
  const struct config_list *list;
};

struct config_table {
  const struct config_field *fields;
  size_t count;
};

struct config_list {
  struct config_table table; /**< of one item */
  size_t item_size, count_offset;
};

/** Owns every text and array of one configuration; wiped when freed, for the secrets among them. */
struct config_pool {
  struct config_pool_block *blocks;
  bool secrets_optional; /**< as config_report says */
};
void *config_pool_alloc(struct config_pool *pool, size_t size);
const char *config_pool_text(struct config_pool *pool, struct str text);
void config_pool_deinit(struct config_pool *pool);

/** Read `text` into its place in `base`. `quoted`: the file had it in quotes, so it is no number and no bool.
 * @return 0, or ERROR_INVALID with what was found and what is allowed; nothing is written then. */
int config_field_parse(const struct config_field *field, struct str text, bool quoted, void *base,
                       struct config_pool *pool, struct error *err);
/** What may stand there: "a duration such as \"30s\"". */
void config_field_expected(const struct config_field *field, struct buf *out);
/** The value as the file would say it; nothing where there is none. */
void config_field_write(const struct config_field *field, const void *base, struct buf *out);
/** The value of a kind that has min and max. */
uint64_t config_field_number(const struct config_field *field, const void *base);

/** `text` fit to be quoted in a message: short, and without control characters. */
struct config_shown {
  char text[72];
};
struct config_shown config_shown(struct str text);
/** @return whether `candidate` is what somebody may have meant by `text`, and nearer than `*nearest`, which
 * it sets. */
bool config_is_nearer(struct str text, struct str candidate, unsigned *nearest);
