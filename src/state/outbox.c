#include "state/store.h"
#include "state/stored.h"

/* Format 2: messages may have a purpose. */
enum { FORMAT = 2, ENTRY_OPEN = 1, ENTRY_UNSENT = 2, ENTRY_AGE = 4, ENTRY_KNOWN = 7 };

void outbox_entry_encode(const struct outbox_entry *entry, struct buf *out) {
  bool aged = entry->age_from && entry->age_from != message_counted_at(&entry->message);
  buf_put_u8(out, FORMAT);
  buf_put_u8(out, (uint8_t)((entry->open ? ENTRY_OPEN : 0) | (entry->unsent ? ENTRY_UNSENT : 0) |
                            (aged ? ENTRY_AGE : 0)));
  buf_put_varint(out, entry->attempts);
  if (entry->unsent) buf_put_varint(out, entry->unsent);
  buf_put_zigzag(out, entry->retry_at);
  if (aged) buf_put_zigzag(out, entry->age_from);
  message_encode(&entry->message, out);
}

static int check_format(struct reader *reader, const char *what, struct error *err) {
  uint8_t format = reader_u8(reader);
  if (reader->bad || format == 0)
    return error_set(err, ERROR_CORRUPT, "%s: stored bytes are malformed", what);
  if (format > FORMAT)
    return error_set(err, ERROR_VERSION,
                     "%s: stored in format %u by a newer version; this one reads up to %d", what, format,
                     FORMAT);
  return 0;
}

int outbox_entry_decode(struct outbox_entry *entry, struct str bytes, struct error *err) {
  struct reader reader = reader_of(bytes);
  int rc = check_format(&reader, "outbox entry", err);
  if (rc) return rc;
  uint8_t flags = reader_u8(&reader);
  uint64_t attempts = reader_varint(&reader);
  uint64_t unsent = flags & ENTRY_UNSENT ? reader_varint(&reader) : 0;
  entry->open = flags & ENTRY_OPEN;
  entry->attempts = (uint32_t)attempts;
  entry->unsent = (uint32_t)unsent;
  entry->retry_at = reader_zigzag(&reader);
  entry->age_from = flags & ENTRY_AGE ? reader_zigzag(&reader) : 0;
  if (reader.bad || flags > ENTRY_KNOWN || attempts > UINT32_MAX || unsent > attempts)
    return error_set(err, ERROR_CORRUPT, "outbox entry: stored bytes are malformed");
  rc = message_decode(&entry->message, &reader, err);
  if (!rc && reader_left(&reader)) rc = error_set(err, ERROR_CORRUPT, "outbox entry: bytes behind its end");
  return rc ? error_prefix(err, "outbox entry") : 0;
}

bool dead_letter_from(struct dead_letter *letter, const struct log_record *record,
                      const struct effect *effect) {
  *letter = (struct dead_letter){.entity = record->entity};
  if (effect->type == EFFECT_FAILURE) {
    letter->kind = DEAD_RULE;
    letter->id = effect->failure.id;
    letter->at = effect->failure.at;
    letter->failure = effect->failure;
    return true;
  }
  if (effect->type != EFFECT_OUTCOME) return false;
  letter->kind = DEAD_MESSAGE;
  letter->id = effect->outcome.message_id;
  letter->at = effect->outcome.at;
  letter->outcome = effect->outcome;
  return outcome_is_dead(effect->outcome.kind);
}

void dead_letter_encode(const struct dead_letter *letter, struct buf *out) {
  buf_put_u8(out, FORMAT);
  buf_put_u8(out, (uint8_t)letter->kind);
  stored_put_hash(out, letter->id);
  buf_put_u8(out, (uint8_t)letter->entity.kind);
  buf_put_str(out, letter->entity.id);
  buf_put_zigzag(out, letter->at);
  struct effect effect;
  if (letter->kind == DEAD_RULE)
    effect = (struct effect){.type = EFFECT_FAILURE, .failure = letter->failure};
  else
    effect = (struct effect){.type = EFFECT_OUTCOME, .outcome = letter->outcome};
  effect_encode(&effect, out);
}

int dead_letter_decode(struct dead_letter *letter, struct str bytes, struct error *err) {
  struct reader reader = reader_of(bytes);
  int rc = check_format(&reader, "dead letter", err);
  if (rc) return rc;
  *letter = (struct dead_letter){.kind = reader_u8(&reader)};
  letter->id = stored_hash(&reader);
  letter->entity.kind = reader_u8(&reader);
  letter->entity.id = reader_str(&reader);
  letter->at = reader_zigzag(&reader);
  struct effect effect;
  if (reader.bad || (letter->kind != DEAD_RULE && letter->kind != DEAD_MESSAGE) ||
      (letter->entity.kind != ENTITY_USER && letter->entity.kind != ENTITY_SUBJECT))
    return error_set(err, ERROR_CORRUPT, "dead letter: stored bytes are malformed");
  if ((rc = effect_decode(&effect, &reader, err))) return error_prefix(err, "dead letter");
  if (effect.type != (letter->kind == DEAD_RULE ? EFFECT_FAILURE : EFFECT_OUTCOME) || reader_left(&reader))
    return error_set(err, ERROR_CORRUPT, "dead letter: stored bytes are malformed");
  if (letter->kind == DEAD_RULE)
    letter->failure = effect.failure;
  else
    letter->outcome = effect.outcome;
  return 0;
}
