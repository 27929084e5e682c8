/* Messages deferred by quiet hours or caps: a night of them for millions of users lies in the store, not in
 * memory.
 *
 * What is handed over enters the outbox like any other message, DELAYED until its moment. When many are there
 * they are written, with the store's index of moments, and forgotten here. When their moment comes they are
 * read back in its order, by so many that memory stays well below delivery.outbox_max; the rest follows as
 * those leave.
 *
 * The index is read from a cursor on, once. What is to come before the cursor (its moment has passed, or the
 * clock was set back) stays in memory, so nothing is missed; what ended before the store was told is
 * remembered in `gone`, so nothing comes twice, by the index or by a recall. */
#include "deliver/deliver_internal.h"

#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "state/store_key.h"

enum {
  UNWRITTEN_MAX =
      1 << 20, /**< bytes of deferred messages that wait for the next flush; past it they are written */
  UNWRITTEN_SHARE = 8, /**< … or past this part of delivery.outbox_max */
  READ_SHARE = 2,      /**< read back as long as less than this part of it is taken */
  READ_AT_ONCE = 256,  /**< so many in one round of the thread */
  SOON_MS = 1000,      /**< what is due so soon stays in memory */
  AGAIN_MS = 60000     /**< what could not be read is tried again after so long */
};

void later_begin(struct deliver *deliver) {
  buf_clear(&deliver->later.cursor);
  deliver->later.count = 0;
  deliver->later.next = INT64_MAX;
  deliver->later.last = 0;
  deliver->later.read_to = INT64_MIN;
  deliver->later.again = INT64_MAX;
}

int64_t later_wakes(const struct deliver *deliver) {
  const struct later *later = &deliver->later;
  return later->again < later->next ? later->again : later->next;
}

static void note(struct deliver *deliver, int64_t due) {
  struct later *later = &deliver->later;
  if (later->count++ == 0) later->last = due;
  if (due < later->next) later->next = due;
  if (due > later->last) later->last = due;
}

void later_found(struct deliver *deliver, const struct outbox_entry *stored) {
  struct entry *known = outbox_find(&deliver->outbox, stored->message.id);
  if (known)
    known->stored =
        true; // handed over before the start, and newer than this; but to be dropped there when it ends
  else
    note(deliver, stored->retry_at);
}

void later_written(struct deliver *deliver) {
  int64_t now_ms = clock_wall_ms();
  struct list_item *item;
  while ((item = deliver->outbox.settling.first)) {
    struct entry *entry = CONTAINER_OF(item, struct entry, unwritten);
    struct provider *provider = deliver_provider(deliver, entry);
    int64_t due = entry->retry_at;
    if (entry->state == ENTRY_DELAYED && !entry->cancelled && provider && due > now_ms + SOON_MS &&
        due > deliver->later.read_to) {
      queue_remove(&provider->queue, entry);
      outbox_forget(&deliver->outbox, entry);
      note(deliver, due);
    } else {
      outbox_settled(&deliver->outbox, entry);
    }
  }
}

/** From the store into memory. */
static struct entry *take_in(struct deliver *deliver, const struct outbox_entry *stored) {
  struct message message;
  buf_clear(&deliver->scratch);
  outbox_entry_encode(stored, &deliver->scratch);
  if (outbox_gone(&deliver->outbox, stored->message.id)) return NULL;
  struct entry *entry = outbox_add(&deliver->outbox, buf_str(&deliver->scratch), true, &message, NULL);
  if (entry) turn_adopt(deliver, entry, &message);
  return entry;
}

static void read_one(void *context, const struct outbox_entry *stored) {
  struct deliver *deliver = context;
  struct entry *entry = outbox_find(&deliver->outbox, stored->message.id);
  if (!entry && take_in(deliver, stored)) deliver->later.count--;
}

static void set_cursor(struct buf *cursor, struct str to) {
  buf_clear(cursor);
  buf_append(cursor, to.data, to.len);
}

/** Some could not be read: the cursor is to go back to where it was before them. What else is read twice then
 * is in memory, or has ended. */
static void missed(struct later *later, struct str before, int64_t now_ms, const struct error *err) {
  if (later->again != INT64_MAX) return;
  LOG_ERROR("deliver", "deferred messages cannot be read; they are tried again in a minute",
            LOG_TEXT("error", err->message));
  set_cursor(&later->missed, before);
  later->again = now_ms + AGAIN_MS;
}

static void go_back(struct later *later, int64_t now_ms) {
  if (later->again == INT64_MAX) return;
  if (later->again > now_ms + AGAIN_MS) later->again = now_ms + AGAIN_MS; // the clock was set back
  if (later->again > now_ms) return;
  set_cursor(&later->cursor, buf_str(&later->missed));
  later->again = INT64_MAX;
  later->next = now_ms;
}

/** @return whether there is more that is due, and room for it. */
static bool read_due(struct deliver *deliver, int64_t now_ms) {
  struct later *later = &deliver->later;
  size_t room = deliver->config->delivery.outbox_max / READ_SHARE;
  struct deferred_ahead ahead;
  struct buf before = {0};
  struct error err;
  go_back(later, now_ms);
  if (later->next > now_ms || deliver->outbox.bytes >= room) return false;
  set_cursor(&before, buf_str(&later->cursor));
  int count = store_read_deferred(deliver->store, &later->cursor, now_ms, READ_AT_ONCE, &ahead, read_one,
                                  deliver, &err);
  if (ahead.unreadable) missed(later, buf_str(&before), now_ms, &err);
  buf_deinit(&before);
  later->next = ahead.next;
  struct reader cursor = reader_of(buf_str(&later->cursor));
  if (later->cursor.len) later->read_to = key_time(&cursor);
  if (count < 0) {
    LOG_ERROR("deliver", "deferred messages cannot be read; they wait", LOG_TEXT("error", err.message));
    later->next = now_ms + SOON_MS;
    return false;
  }
  return later->next <= now_ms && deliver->outbox.bytes < room;
}

bool later_turn(struct deliver *deliver, int64_t now_ms) {
  size_t most = deliver->config->delivery.outbox_max / UNWRITTEN_SHARE;
  if (most > UNWRITTEN_MAX) most = UNWRITTEN_MAX;
  if (deliver->outbox.deferred_bytes > most) flush_deferred(deliver);
  return read_due(deliver, now_ms);
}

struct recall {
  struct deliver *deliver;
  const struct outbox_recall *which;
};

static int recall_one(void *context, const struct outbox_entry *stored) {
  const struct recall *recall = context;
  struct deliver *deliver = recall->deliver;
  if (outbox_entry_deferred(stored) && outbox_concerns(&stored->message, 0, recall->which) &&
      !outbox_find(&deliver->outbox, stored->message.id) && take_in(deliver, stored))
    deliver->later.count--;
  return 0;
}

void later_recall(struct deliver *deliver, struct entity user, const struct outbox_recall *which) {
  struct recall recall = {deliver, which};
  struct error err;
  if (!deliver->later.count) return;
  // Should that fail, the user's record has it too, and is asked at hand-over.
  if (store_scan_outbox_of(deliver->store, user, recall_one, &recall, &err))
    LOG_WARN("deliver", "deferred messages cannot be read", LOG_TEXT("error", err.message));
}

void later_measure(const struct deliver *deliver, uint64_t *count, int64_t *next, int64_t *last) {
  const struct later *later = &deliver->later;
  *count = later->count;
  *next = later->count ? later->next : INT64_MAX;
  *last = later->count ? later->last : 0;
  for (uint32_t i = 0; i < deliver->config->provider_count; i++) {
    const struct heap *delayed = &deliver->providers[i].queue.delayed;
    for (size_t at = 0; at < delayed->count; at++) {
      const struct entry *entry = CONTAINER_OF(delayed->items[at], struct entry, delay);
      if (entry->attempts) continue;
      (*count)++;
      if (entry->retry_at < *next) *next = entry->retry_at;
      if (entry->retry_at > *last) *last = entry->retry_at;
    }
  }
}
