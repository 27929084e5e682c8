/** How sealed records lie in the log and ledger slices. The key is the entity and the sequence number. */
#pragma once

#include "state/store.h"
#include "state/store_key.h"

/** Records whose input is kept in the event log; the others' is in the ledger. */
static inline bool sealed_in_log(enum log_record_type type) {
  return type == LOG_EVENT || type == LOG_TIMER || type == LOG_COMMAND || type == LOG_RETRY;
}

static inline void sealed_put_key(struct buf *key, struct entity entity, uint64_t seq) {
  key_put_entity(key, entity);
  buf_put_u64_be(key, seq);
}

/** The value: type:u8 generation:varint at:zigzag input:str effects. */
static inline void sealed_put(struct buf *value, const struct log_record *record, struct str input,
                              struct str effects) {
  buf_put_u8(value, (uint8_t)record->type);
  buf_put_varint(value, record->generation);
  buf_put_zigzag(value, record->at);
  buf_put_str(value, input);
  buf_append(value, effects.data, effects.len);
}

/** Borrows from key and value. @return false if they are malformed. */
static inline bool sealed_get(struct str key, struct str value, struct log_record *record) {
  struct reader head = reader_of(key), body = reader_of(value);
  record->entity = key_entity(&head);
  record->seq = reader_u64_be(&head);
  record->type = reader_u8(&body);
  record->generation = (uint32_t)reader_varint(&body);
  record->at = reader_zigzag(&body);
  record->input = reader_str(&body);
  record->effects = reader_bytes(&body, reader_left(&body));
  return !head.bad && !body.bad && reader_left(&head) == 0;
}
