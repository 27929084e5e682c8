#include "engine/facts.h"

void facts_init(struct facts *facts) {
  buf_init(&facts->body);
  facts->count = 0;
}

void facts_deinit(struct facts *facts) {
  buf_deinit(&facts->body);
}

bool facts_begin(struct facts *facts, uint64_t identity, struct str label, struct str key) {
  char name[FACTS_VALUE_MAX];
  for (uint32_t i = 0; i < facts->count; i++)
    if (facts->seen[i] == identity) return false;
  size_t len = label.len + (key.len ? key.len + 3 : 0);
  if (facts->count == FACTS_MAX || len > sizeof name ||
      facts->body.len + len + FACTS_VALUE_MAX + 16 > FACTS_BYTES_MAX)
    return false;
  facts->seen[facts->count++] = identity;
  if (!key.len) {
    value_put_string(&facts->body, label);
    return true;
  }
  char *at = name;
  memcpy(at, label.data, label.len);
  at += label.len;
  *at++ = ' ';
  *at++ = '[';
  memcpy(at, key.data, key.len);
  at[key.len] = ']';
  value_put_string(&facts->body, (struct str){name, len});
  return true;
}

void facts_put(struct facts *facts, uint64_t identity, struct str label, struct str key, struct str value) {
  if (!facts_begin(facts, identity, label, key)) return;
  if (value.len <= FACTS_VALUE_MAX)
    buf_append(&facts->body, value.data, value.len);
  else
    value_put_string(&facts->body, STR("(too large to note)"));
}

void facts_write(const struct facts *facts, struct buf *out) {
  value_put_map(out, facts->count);
  buf_append(out, facts->body.data, facts->body.len);
}
