/** Keys of the store. Bytewise order puts everything known of an entity in one range: partition:u8 kind:u8 id
 * 0, then what the family adds. Ids hold no NUL, so no id is another's prefix. */
#pragma once

#include "base/buf.h"
#include "base/hash.h"
#include "event/event.h"

static inline void key_put_entity(struct buf *key, struct entity entity) {
  buf_put_u8(key, (uint8_t)entity_partition(entity));
  buf_put_u8(key, (uint8_t)entity.kind);
  buf_append(key, entity.id.data, entity.id.len);
  buf_put_u8(key, 0);
}

static inline void key_put_hash(struct buf *key, struct hash128 hash) {
  buf_put_u64_be(key, hash.high);
  buf_put_u64_be(key, hash.low);
}

/** Its partition, then a hash. */
static inline uint64_t key_rank(struct entity entity) {
  uint64_t hash = entity_hash(entity);
  return hash % PARTITION_COUNT << 56 | hash >> 8;
}

/** Signed times in bytewise order. */
static inline void key_put_time(struct buf *key, int64_t time) {
  buf_put_u64_be(key, (uint64_t)time ^ (UINT64_C(1) << 63));
}
static inline int64_t key_time(struct reader *key) {
  return (int64_t)(reader_u64_be(key) ^ (UINT64_C(1) << 63));
}

/** The entity a key begins with; the reader then stands behind it. `bad` if it is none. */
static inline struct entity key_entity(struct reader *key) {
  reader_u8(key);
  uint8_t kind = reader_u8(key);
  const uint8_t *end = key->bad ? NULL : memchr(key->at, 0, reader_left(key));
  if (!end || (kind != ENTITY_USER && kind != ENTITY_SUBJECT)) {
    key->bad = true;
    return (struct entity){ENTITY_USER, {"", 0}};
  }
  struct str id = reader_bytes(key, (size_t)(end - key->at));
  reader_u8(key);
  return (struct entity){kind, id};
}
