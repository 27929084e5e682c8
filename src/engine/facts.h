/** What a rule read, as it read it: name -> value, each once, at most FACTS_MAX of them and FACTS_BYTES_MAX
 * bytes. */
#pragma once

#include "event/value.h"

enum { FACTS_MAX = 64, FACTS_BYTES_MAX = 8 << 10, FACTS_VALUE_MAX = 256 };

struct facts {
  struct buf body; /**< pairs of a map */
  uint32_t count;
  uint64_t seen[FACTS_MAX]; /**< identities of what is in there */
};

void facts_init(struct facts *facts);
void facts_deinit(struct facts *facts);
static inline void facts_clear(struct facts *facts) {
  facts->count = 0;
  buf_clear(&facts->body);
}
/** Begin a fact: its name is "label" or "label [key]". @param identity  of label and key. @return whether the
 * caller shall put its value into the body; false if it is there already or does not fit. */
bool facts_begin(struct facts *facts, uint64_t identity, struct str label, struct str key);
/** A whole fact; a value that is too large is noted as text that says so. */
void facts_put(struct facts *facts, uint64_t identity, struct str label, struct str key, struct str value);
/** Append all as one value, a map. */
void facts_write(const struct facts *facts, struct buf *out);
