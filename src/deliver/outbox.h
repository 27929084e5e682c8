/** What waits for its provider, in memory: entries by message id, by user, by deadline; and which of them the
 * store does not have yet. Deferred messages that the store has are forgotten here (later.c). */
#pragma once

#include "deliver/links.h"
#include "state/store.h"

/** Where an entry is in its life. */
enum entry_state {
  ENTRY_IDLE,    /**< in no queue: just added, or its provider is unknown */
  ENTRY_WAITING, /**< in its provider's queue */
  ENTRY_DELAYED, /**< will be tried again at `retry_at` */
  ENTRY_LOGGING, /**< its attempt is on its way to the log */
  ENTRY_READY,   /**< its attempt is durable; not a byte has left */
  ENTRY_SENDING, /**< on its way */
  ENTRY_REPORTED /**< its outcome is with the user's owner, and not settled */
};

/** The outbox's list that an entry is on, by `unwritten`. */
enum entry_list { LIST_NONE, LIST_UNWRITTEN, LIST_DEFERRED, LIST_SETTLING };

struct lane;

struct entry {
  struct hashed by_id, by_user;
  struct list_item queue;     /**< WAITING: in its lane; READY: in its queue's list */
  struct list_item unwritten; /**< in the outbox's list that `listed` says */
  struct heap_item delay;     /**< DELAYED: in its queue's heap */
  struct heap_item deadline;  /**< in the outbox's heap, unless that moment passed while it was under way */
  struct lane *lane;          /**< WAITING */
  uint64_t order;             /**< WAITING: rises with arrival */
  uint64_t dirty_epoch;
  struct hash128 id;
  int64_t retry_at;       /**< wall clock; settled */
  int64_t next_retry_at;  /**< REPORTED as RETRY: then … */
  int64_t retry_in;       /**< … which was so far away, ms */
  int64_t age_from;       /**< wall clock that max_age counts from */
  int64_t not_before;     /**< the message's */
  int64_t expires;        /**< wall clock, 0 never */
  char *cancelled;        /**< the user must not get it any more: why */
  uint32_t attempts;      /**< durable ones … */
  uint32_t unsent;        /**< … and of them, those that ended before a byte left */
  uint32_t breaker_epoch; /**< LOGGING to SENDING */
  int16_t provider;       /**< index into the configuration's, -1 unknown */
  uint8_t state;
  uint8_t listed;     /**< enum entry_list */
  uint8_t reported;   /**< REPORTED: enum outcome_kind */
  bool urgent;        /**< WAITING: a retry, ahead of first attempts */
  bool open;          /**< its last attempt has no settled outcome */
  bool stored, dirty; /**< the store has it; the store's is older than this, or it has none */
  bool loaded;        /**< from the store: suppressions that came while nobody ran were not told to it */
  uint32_t len;
  uint8_t bytes[]; /**< as outbox_entry_encode() wrote it; only its message counts */
};

struct outbox {
  struct hash_table ids, users;
  struct heap deadlines;
  struct list unwritten;
  struct list deferred; /**< those of the unwritten that wait for their moment */
  struct list
      settling; /**< deferred ones in a write under way: when it is done, the store alone may have them */
  size_t deferred_bytes;
  uint64_t dirty_epoch;
  struct buf done; /**< entries that the store has and must drop: user's kind, id, message id, not_before */
  struct hash_table gone; /**< of those, deferred ones that the store would still name */
  size_t bytes;           /**< of all entries */
};

void outbox_init(struct outbox *outbox);
void outbox_deinit(struct outbox *outbox);
/** Forget all entries. */
void outbox_clear(struct outbox *outbox);
/** Add one from its encoded bytes. @return the new entry, IDLE, with its message borrowing from it; null if
 * the message is there already or the bytes are broken. */
struct entry *outbox_add(struct outbox *outbox, struct str bytes, bool stored, struct message *message,
                         struct error *err);
struct entry *outbox_find(const struct outbox *outbox, struct hash128 id);
/** Attempts to send it that were begun, or whose end nobody saw. */
static inline uint32_t entry_sent(const struct entry *entry) {
  return entry->attempts - entry->unsent - (entry->state == ENTRY_READY);
}
/** The entry's message, borrowing from it. */
struct message outbox_message(const struct entry *entry);
/** Which of a user's messages must not go any more. */
struct outbox_recall {
  struct str channel, purpose; /**< "*": on any; "": for any */
  struct hash128 journey; /**< zero: whoever sent them; else its deferred ones, unless an attempt was begun */
};
/** @param sent  attempts to send the message that were begun, so far */
bool outbox_concerns(const struct message *message, uint32_t sent, const struct outbox_recall *recall);
/** Free it; the store drops it with the next flush. It must be in no queue. */
void outbox_remove(struct outbox *outbox, struct entry *entry);
/** The store's copy is old. */
void outbox_changed(struct outbox *outbox, struct entry *entry);
/** Put the entry into the deadline heap (again): its deadline is `at`, INT64_MAX none. */
void outbox_set_deadline(struct outbox *outbox, struct entry *entry, int64_t at);
/** Next entry of this user. Start with null; the entry given may be removed only after asking for the next.
 */
struct entry *outbox_of_user(const struct outbox *outbox, struct entity user, struct entry *after);

/** Free it; the store goes on without. It must be in no queue. */
void outbox_forget(struct outbox *outbox, struct entry *entry);
/** Whether this message has ended, and the store does not know it yet. */
bool outbox_gone(const struct outbox *outbox, struct hash128 id);

enum outbox_part { OUTBOX_ALL, OUTBOX_DEFERRED };
/** Move up to about `bytes` of what the store lacks as of `epoch` into a write. @return how many entries; 0:
 * it lacks none. */
size_t outbox_write(struct outbox *outbox, struct store_write *write, enum outbox_part part, uint64_t epoch,
                    size_t bytes);
/** The entry, on `settling`, stays. */
void outbox_settled(struct outbox *outbox, struct entry *entry);
/** It is written; those that may now be forgotten are on `settling`. */
void outbox_written(struct outbox *outbox);
/** A write failed: the store may have anything. */
void outbox_unwrite(struct outbox *outbox, struct str done);
