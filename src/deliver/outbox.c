#include "deliver/outbox.h"

#include "base/memory.h"

enum { ENTRY_OVERHEAD = sizeof(struct entry) + 32 };

/** A deferred message that ended before the store's index was told. */
struct gone {
  struct hashed by_id;
  struct hash128 id;
  bool writing; /**< the write under way tells it */
};

static uint64_t hash_user(struct entity user) {
  return hash64(user.id, (uint64_t)user.kind);
}

void outbox_init(struct outbox *outbox) {
  *outbox = (struct outbox){0};
  hash_table_init(&outbox->ids);
  hash_table_init(&outbox->users);
  hash_table_init(&outbox->gone);
  buf_init(&outbox->done);
}

static void entry_free(struct entry *entry) {
  memory_free(entry->cancelled);
  memory_free(entry);
}

/** Go through those that are gone: forget what a finished write told, or note what one under way tells or
 * failed to. */
static void gone_pass(struct outbox *outbox, bool finished, bool writing) {
  for (size_t i = 0; outbox->gone.count && i <= outbox->gone.mask; i++) {
    for (struct hashed *item = outbox->gone.buckets[i], *next; item; item = next) {
      next = item->next;
      struct gone *gone = CONTAINER_OF(item, struct gone, by_id);
      if (!finished) {
        gone->writing = writing;
      } else if (gone->writing) {
        // Not hash_table_remove(): that may shrink the table under this walk.
        *item->link = item->next;
        if (item->next) item->next->link = item->link;
        outbox->gone.count--;
        memory_free(gone);
      }
    }
  }
}

void outbox_clear(struct outbox *outbox) {
  gone_pass(outbox, false, true);
  gone_pass(outbox, true, false);
  for (size_t i = 0; i <= outbox->ids.mask; i++) {
    for (struct hashed *item = outbox->ids.buckets[i], *next; item; item = next) {
      next = item->next;
      entry_free(CONTAINER_OF(item, struct entry, by_id));
    }
  }
  uint64_t epoch = outbox->dirty_epoch;
  hash_table_deinit(&outbox->ids);
  hash_table_deinit(&outbox->users);
  hash_table_deinit(&outbox->gone);
  heap_deinit(&outbox->deadlines);
  buf_deinit(&outbox->done);
  outbox_init(outbox);
  outbox->dirty_epoch = epoch;
}

void outbox_deinit(struct outbox *outbox) {
  outbox_clear(outbox);
  hash_table_deinit(&outbox->ids);
  hash_table_deinit(&outbox->users);
  hash_table_deinit(&outbox->gone);
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
  entry->unsent = decoded.unsent;
  entry->open = decoded.open;
  entry->retry_at = decoded.retry_at;
  entry->not_before = message->not_before;
  entry->expires = message->expires;
  entry->age_from = outbox_entry_age_from(&decoded);
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

static bool is_deferred(const struct entry *entry) {
  return entry->not_before && entry->attempts == 0 && entry->retry_at == entry->not_before &&
         (entry->state == ENTRY_IDLE || entry->state == ENTRY_DELAYED);
}

static void unlist(struct outbox *outbox, struct entry *entry) {
  struct list *lists[] = {NULL, &outbox->unwritten, &outbox->deferred, &outbox->settling};
  if (entry->listed == LIST_NONE) return;
  list_remove(lists[entry->listed], &entry->unwritten);
  if (entry->listed == LIST_DEFERRED) outbox->deferred_bytes -= entry->len + ENTRY_OVERHEAD;
  entry->listed = LIST_NONE;
}

static void enlist(struct outbox *outbox, struct entry *entry, enum entry_list list) {
  struct list *lists[] = {NULL, &outbox->unwritten, &outbox->deferred, &outbox->settling};
  list_append(lists[list], &entry->unwritten);
  if (list == LIST_DEFERRED) outbox->deferred_bytes += entry->len + ENTRY_OVERHEAD;
  entry->listed = (uint8_t)list;
}

void outbox_forget(struct outbox *outbox, struct entry *entry) {
  unlist(outbox, entry);
  if (entry->deadline.at) heap_remove(&outbox->deadlines, &entry->deadline);
  hash_table_remove(&outbox->ids, &entry->by_id);
  hash_table_remove(&outbox->users, &entry->by_user);
  outbox->bytes -= entry->len + ENTRY_OVERHEAD;
  entry_free(entry);
}

bool outbox_gone(const struct outbox *outbox, struct hash128 id) {
  for (struct hashed *item = hash_table_find(&outbox->gone, id.low); item; item = hash_table_next(item))
    if (hash128_equal(CONTAINER_OF(item, struct gone, by_id)->id, id)) return true;
  return false;
}

void outbox_remove(struct outbox *outbox, struct entry *entry) {
  if (entry->stored) {
    struct message message = outbox_message(entry);
    buf_put_u8(&outbox->done, (uint8_t)message.user.kind);
    buf_put_str(&outbox->done, message.user.id);
    buf_put_u64(&outbox->done, entry->id.high);
    buf_put_u64(&outbox->done, entry->id.low);
    buf_put_zigzag(&outbox->done, entry->not_before);
  }
  if (entry->stored && entry->not_before) {
    struct gone *gone = memory_zalloc(sizeof *gone);
    gone->id = entry->id;
    hash_table_add(&outbox->gone, &gone->by_id, gone->id.low);
  }
  outbox_forget(outbox, entry);
}

void outbox_changed(struct outbox *outbox, struct entry *entry) {
  unlist(outbox, entry);
  entry->dirty = true;
  entry->dirty_epoch = outbox->dirty_epoch;
  enlist(outbox, entry, is_deferred(entry) ? LIST_DEFERRED : LIST_UNWRITTEN);
}

bool outbox_concerns(const struct message *message, uint32_t sent, const struct outbox_recall *recall) {
  bool any = hash128_is_zero(recall->journey);
  return (str_equal(recall->channel, STR("*")) || str_equal(recall->channel, message->channel)) &&
         (recall->purpose.len == 0 || str_equal(recall->purpose, message->purpose)) &&
         (any || (sent == 0 && hash128_equal(recall->journey, message->journey)));
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

/** Entries of a list, in the order of change. @return how many. */
static size_t write_list(struct outbox *outbox, const struct list *list, struct store_write *write,
                         uint64_t epoch, size_t bytes) {
  size_t count = 0;
  for (; list->first && write->bytes < bytes; count++) {
    struct entry *entry = CONTAINER_OF(list->first, struct entry, unwritten);
    if (entry->dirty_epoch > epoch) break;
    struct outbox_entry stored = {.message = outbox_message(entry),
                                  .attempts = entry->attempts,
                                  .unsent = entry->unsent,
                                  .open = entry->open,
                                  .retry_at = entry->retry_at,
                                  .age_from = entry->age_from};
    store_write_outbox(write, &stored);
    unlist(outbox, entry);
    entry->dirty = false;
    entry->stored = true;
    if (is_deferred(entry)) enlist(outbox, entry, LIST_SETTLING);
  }
  return count;
}

size_t outbox_write(struct outbox *outbox, struct store_write *write, enum outbox_part part, uint64_t epoch,
                    size_t bytes) {
  size_t count = 0;
  struct reader reader = reader_of(buf_str(&outbox->done));
  for (; reader_left(&reader); count++) {
    enum entity_kind kind = reader_u8(&reader);
    struct str id = reader_str(&reader);
    struct hash128 message_id;
    message_id.high = reader_u64(&reader);
    message_id.low = reader_u64(&reader);
    store_write_outbox_done(write, (struct entity){kind, id}, message_id, reader_zigzag(&reader));
  }
  gone_pass(outbox, false, true);
  if (part == OUTBOX_ALL) count += write_list(outbox, &outbox->unwritten, write, epoch, bytes);
  return count + write_list(outbox, &outbox->deferred, write, epoch, bytes);
}

void outbox_settled(struct outbox *outbox, struct entry *entry) {
  unlist(outbox, entry);
}

void outbox_written(struct outbox *outbox) {
  gone_pass(outbox, true, false);
}

void outbox_unwrite(struct outbox *outbox, struct str done) {
  for (size_t i = 0; i <= outbox->ids.mask; i++)
    for (struct hashed *item = outbox->ids.buckets[i]; item; item = item->next)
      outbox_changed(outbox, CONTAINER_OF(item, struct entry, by_id));
  gone_pass(outbox, false, false);
  buf_append(&outbox->done, done.data, done.len);
}
