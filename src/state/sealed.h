/** How sealed records lie in the slices. (Dedup marks: mark_file.h.)
 *
 * log, ledger: one entry holds what an entity has in the segments that were sealed together (seal.c), in the
 * order of sequence numbers, cut where it reaches SEALED_ENTRY_BYTES. The key is the entity, the number of
 * the last of those segments and the first record's sequence number; the segment's first, for an attempt's
 * number is drawn on deliver's thread, and those of neighbouring segments may overlap. The value has for each
 * record type:u8 generation:varint seq:varint at:zigzag input:str effects:str; number and time are the
 * differences to the record before, the first ones' to the key's number and to 0.
 */
#pragma once

#include "state/store.h"
#include "state/store_key.h"
#include "state/stored.h"

/** As much of the format as the rest: what is sealed again after a crash has to find the same keys. */
enum { SEALED_ENTRY_BYTES = 16 << 10 };

/** Records whose input is kept in the event log; the others' is in the ledger. */
static inline bool sealed_in_log(enum log_record_type type) {
  return type == LOG_EVENT || type == LOG_TIMER || type == LOG_COMMAND || type == LOG_RETRY ||
         type == LOG_LOOKUP || type == LOG_FAN_OUT;
}

/** An entry that is being made; empty while its value is. */
struct sealed_draft {
  struct buf key, value;
  uint64_t segment; /**< the last of those sealed together */
  uint64_t seq;     /**< of its last record */
  int64_t at;
};

static inline void sealed_put(struct sealed_draft *draft, const struct log_record *record, struct str input,
                              struct str effects) {
  if (!draft->value.len) {
    buf_clear(&draft->key);
    key_put_entity(&draft->key, record->entity);
    buf_put_u64_be(&draft->key, draft->segment);
    buf_put_u64_be(&draft->key, record->seq);
    draft->seq = record->seq;
    draft->at = 0;
  }
  buf_put_u8(&draft->value, (uint8_t)record->type);
  buf_put_varint(&draft->value, record->generation);
  buf_put_varint(&draft->value, record->seq - draft->seq);
  stored_put_after(&draft->value, record->at, draft->at);
  buf_put_str(&draft->value, input);
  buf_put_str(&draft->value, effects);
  draft->seq = record->seq;
  draft->at = record->at;
}

/** An entry that is being read. */
struct sealed_entry {
  struct entity entity;
  struct reader records;
  uint64_t segment, seq;
  int64_t at;
};

/** Borrows from key and value. @return false if it is malformed. */
static inline bool sealed_open(struct sealed_entry *entry, struct str key, struct str value) {
  struct reader head = reader_of(key);
  *entry = (struct sealed_entry){.entity = key_entity(&head), .records = reader_of(value)};
  entry->segment = reader_u64_be(&head);
  entry->seq = reader_u64_be(&head);
  return !head.bad && reader_left(&head) == 0 && value.len > 0;
}

/** The next record of an entry that has one left. @return false if it is malformed. */
static inline bool sealed_next(struct sealed_entry *entry, struct log_record *record) {
  struct reader *reader = &entry->records;
  record->entity = entry->entity;
  record->type = reader_u8(reader);
  record->generation = (uint32_t)reader_varint(reader);
  record->seq = entry->seq += reader_varint(reader);
  record->at = entry->at = stored_after(reader, entry->at);
  record->input = reader_str(reader);
  record->effects = reader_str(reader);
  return !reader->bad;
}
