/** A borrowed run of bytes with its length: not terminated, not owned. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct str {
  const char *data;
  size_t len;
};

/** A literal as a str. */
#define STR(literal) ((struct str){("" literal), sizeof(literal) - 1})
/** For printf's "%.*s". */
#define STR_ARG(s) (int)(s).len, (s).data

static inline struct str str_from(const char *text) {
  return (struct str){text, text ? strlen(text) : 0};
}

static inline bool str_equal(struct str a, struct str b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/** The same but for the case of ASCII's letters. */
static inline bool str_equal_caseless(struct str a, struct str b) {
  return a.len == b.len && (a.len == 0 || strncasecmp(a.data, b.data, a.len) == 0);
}

/** By bytes; what begins the other comes before it. @return less than, equal to or greater than 0 */
static inline int str_compare(struct str a, struct str b) {
  size_t common = a.len < b.len ? a.len : b.len;
  int order = common ? memcmp(a.data, b.data, common) : 0;
  return order ? order : (a.len > b.len) - (a.len < b.len);
}
