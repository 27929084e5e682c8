#include "deliver/outbox.h"

#include "base/memory.h"

enum { ENTRY_OVERHEAD = sizeof(struct entry) + 32 };

static uint64_t hash_user(struct entity user) {
  return hash64(user.id, (uint64_t)user.kind);
}

void outbox_init(struct outbox *outbox) {
  *outbox = (struct outbox){0};
  hash_table_init(&outbox->ids);
  hash_table_init(&outbox->users);
  buf_init(&outbox->done);
}

static void entry_free(struct entry *entry) {
  memory_free(entry->cancelled);
  memory_free(entry);
}

void outbox_clear(struct outbox *outbox) {
  for (size_t i = 0; i <= outbox->ids.mask; i++) {
    for (struct hashed *item = outbox->ids.buckets[i], *next; item; item = next) {
      next = item->next;
      entry_free(CONTAINER_OF(item, struct entry, by_id));
    }
  }
  uint64_t epoch = outbox->dirty_epoch;
  hash_table_deinit(&outbox->ids);
  hash_table_deinit(&outbox->users);
  heap_deinit(&outbox->deadlines);
  buf_deinit(&outbox->done);
  outbox_init(outbox);
  outbox->dirty_epoch = epoch;
}

void outbox_deinit(struct outbox *outbox) {
  outbox_clear(outbox);
  hash_table_deinit(&outbox->ids);
  hash_table_deinit(&outbox->users);
}

struct entry *outbox_find(const struct outbox *outbox, struct hash128 id) {
  for (struct hashed *item = hash_table_find(&outbox->ids, id.low); item; item = hash_table_next(item)) {
    struct entry *entry = CONTAINER_OF(item, struct entry, by_id);
    if (hash128_equal(entry->id, id)) return entry;
  }
  return NULL;
}

struct entry *outbox_add(struct outbox *outbox, struct str bytes, bool stored, struct message *message,
                         struct error *err) {
  struct entry *entry = memory_alloc(sizeof *entry + bytes.len);
  *entry = (struct entry){
      .provider = -1, .state = ENTRY_IDLE, .stored = stored, .loaded = stored, .len = (uint32_t)bytes.len};
  memcpy(entry->bytes, bytes.data, bytes.len);
  struct outbox_entry decoded;
  int rc = outbox_entry_decode(&decoded, (struct str){(const char *)entry->bytes, bytes.len}, err);
  if (rc || outbox_find(outbox, decoded.message.id)) {
    memory_free(entry);
    return NULL;
  }
  *message = decoded.message;
  entry->id = message->id;
  entry->attempts = decoded.attempts;
  entry->open = decoded.open;
  entry->retry_at = decoded.retry_at;
  entry->expires = message->expires;
  // An operator who sends a dead letter again starts its age anew, and says so by the time of the first
  // attempt.
  int64_t from = message_counted_at(message);
  entry->age_from = decoded.attempts == 0 && decoded.retry_at > from ? decoded.retry_at : from;
  hash_table_add(&outbox->ids, &entry->by_id, entry->id.low);
  hash_table_add(&outbox->users, &entry->by_user, hash_user(message->user));
  outbox->bytes += entry->len + ENTRY_OVERHEAD;
  if (!stored) outbox_changed(outbox, entry);
  return entry;
}

struct message outbox_message(const struct entry *entry) {
  struct outbox_entry decoded;
  // It was decoded when it was added.
  outbox_entry_decode(&decoded, (struct str){(const char *)entry->bytes, entry->len}, NULL);
  return decoded.message;
}

void outbox_remove(struct outbox *outbox, struct entry *entry) {
  if (entry->dirty) list_remove(&outbox->unwritten, &entry->unwritten);
  if (entry->deadline.at) heap_remove(&outbox->deadlines, &entry->deadline);
  hash_table_remove(&outbox->ids, &entry->by_id);
  hash_table_remove(&outbox->users, &entry->by_user);
  outbox->bytes -= entry->len + ENTRY_OVERHEAD;
  if (entry->stored) {
    struct message message = outbox_message(entry);
    buf_put_u8(&outbox->done, (uint8_t)message.user.kind);
    buf_put_str(&outbox->done, message.user.id);
    buf_put_u64(&outbox->done, entry->id.high);
    buf_put_u64(&outbox->done, entry->id.low);
  }
  entry_free(entry);
}

void outbox_changed(struct outbox *outbox, struct entry *entry) {
  if (entry->dirty) list_remove(&outbox->unwritten, &entry->unwritten);
  entry->dirty = true;
  entry->dirty_epoch = outbox->dirty_epoch;
  list_append(&outbox->unwritten, &entry->unwritten);
}

void outbox_set_deadline(struct outbox *outbox, struct entry *entry, int64_t at) {
  if (entry->deadline.at) heap_remove(&outbox->deadlines, &entry->deadline);
  if (at != INT64_MAX) heap_put(&outbox->deadlines, &entry->deadline, at);
}

struct entry *outbox_of_user(const struct outbox *outbox, struct entity user, struct entry *after) {
  struct hashed *item =
      after ? hash_table_next(&after->by_user) : hash_table_find(&outbox->users, hash_user(user));
  for (; item; item = hash_table_next(item)) {
    struct entry *entry = CONTAINER_OF(item, struct entry, by_user);
    if (entity_equal(outbox_message(entry).user, user)) return entry;
  }
  return NULL;
}

size_t outbox_write(struct outbox *outbox, struct store_write *write, uint64_t epoch, size_t bytes) {
  size_t count = 0;
  struct reader reader = reader_of(buf_str(&outbox->done));
  for (; reader_left(&reader); count++) {
    enum entity_kind kind = reader_u8(&reader);
    struct str id = reader_str(&reader);
    struct hash128 message_id;
    message_id.high = reader_u64(&reader);
    message_id.low = reader_u64(&reader);
    store_write_outbox_done(write, (struct entity){kind, id}, message_id);
  }
  for (; outbox->unwritten.first && write->bytes < bytes; count++) {
    struct entry *entry = CONTAINER_OF(outbox->unwritten.first, struct entry, unwritten);
    // The list is in the order of change.
    if (entry->dirty_epoch > epoch) break;
    struct outbox_entry stored = {outbox_message(entry), entry->attempts, entry->open, entry->retry_at};
    store_write_outbox(write, &stored);
    list_remove(&outbox->unwritten, &entry->unwritten);
    entry->dirty = false;
    entry->stored = true;
  }
  return count;
}

void outbox_unwrite(struct outbox *outbox, struct str done) {
  for (size_t i = 0; i <= outbox->ids.mask; i++)
    for (struct hashed *item = outbox->ids.buckets[i]; item; item = item->next)
      outbox_changed(outbox, CONTAINER_OF(item, struct entry, by_id));
  buf_append(&outbox->done, done.data, done.len);
}
