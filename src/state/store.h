/** The store port: where records live when they are not in memory. Nothing above state/ knows which store it
 * has.
 *
 * `store_rocks_open` is RocksDB with its own WAL off (the log is the WAL). Column families: user, timer,
 * outbox, deferred, dead, meta, index, fanout, and in time slices log.<slice>, ledger.<slice>. Dedup marks
 * lie beside it, in files of their own (state/mark_file.h) in the folder `marks`. Keys begin partition (1
 * byte) | entity kind | id | 0, so that everything known of a user is one key range in each (timer: due time
 * first, it is an index). Fetches and writes run on the store's threads, one each, and complete by mail.
 *
 * | family | key behind the entity | value |
 * |---|---|---|
 * | user | | record_encode() |
 * | timer | due time before the entity | empty |
 * | outbox, dead | message's or failure's id | outbox_entry_encode(), dead_letter_encode() |
 * | deferred | due time before the entity, then the message's id: an index of the outbox | empty |
 * | log, ledger | segment, number | state/sealed.h: records of one segment; ledger: their decisions |
 * | index | hash of the index's name, hash of the key before the entity | when it ends, index, key, value |
 * | fanout | (an id, then what of it) | state/fan_out.h: what it is, how far it is |
 * | meta | (a name alone) | format version, checkpoint, last sealed segment, the newest time in each slice;
 * the host's own facts |
 *
 * Only meta is written through RocksDB's WAL, synced.
 */
#pragma once

#include "state/log.h"
#include "state/record.h"

struct store;

/* ---- reading user records, in batches, off the worker ---- */

struct store_fetch_item {
  struct entity entity; /**< borrowed until the answer */
  struct str event_id;  /**< also ask whether (entity, event_id) is a sealed dedup mark; "" for no */
  bool found;
  bool failed; /**< whether it is: the record cannot be read */
  bool seen;
  bool unknown;      /**< whether it is: marks that may have it cannot be read, and those that can do not */
  struct str record; /**< stored bytes if found: they lie in the fetch's `records` */
};

struct store_fetch {
  struct mail mail; /**< run on `reply` when answered */
  struct mailbox *reply;
  int64_t seen_since; /**< a mark counts if it was accepted after this (wall clock, ms); 0: the store's own
                         now - dedup_keep */
  int status;         /**< 0, or ERROR_UNAVAILABLE: no item is to be believed */
  struct store_fetch_item *items;
  uint32_t count;
  struct buf records; /**< initialised; the fetch's owner frees it */
};
void store_fetch(struct store *store, struct store_fetch *fetch);

/** Whether there might be a sealed dedup mark: a filter in memory only, no I/O, no lock; false is certain.
 * While the filter is being made after a start, all might be. Any thread. @param mark  seen_mark() */
bool store_seen_maybe(struct store *store, struct hash128 mark);
/** Fetch what it will look at into the cache. */
void store_seen_prefetch(struct store *store, struct hash128 mark);

/* ---- writing behind ---- */

/** What waits for its provider, as kept across restarts. */
struct outbox_entry {
  struct message message;
  uint32_t attempts; /**< logged so far … */
  uint32_t unsent;   /**< … and of them, those that ended before a byte left */
  bool open;         /**< the last attempt has no outcome: ambiguous after a restart */
  int64_t retry_at;  /**< wall clock, 0 at once */
  int64_t age_from;  /**< wall clock that its account's max_age counts from; 0 is outbox_entry_age_from() */
};
/** An operator who sends a dead letter again begins its age anew, by the time that its first attempt is set
 * to. */
static inline int64_t outbox_entry_age_from(const struct outbox_entry *entry) {
  int64_t from = message_counted_at(&entry->message);
  if (entry->age_from) return entry->age_from;
  return entry->attempts == 0 && entry->retry_at > from ? entry->retry_at : from;
}
/** Whether it still waits for the moment that it was deferred to. */
static inline bool outbox_entry_deferred(const struct outbox_entry *entry) {
  return entry->attempts == 0 && entry->message.not_before && entry->retry_at == entry->message.not_before;
}
void outbox_entry_encode(const struct outbox_entry *entry, struct buf *out);
int outbox_entry_decode(struct outbox_entry *entry, struct str bytes, struct error *err);

enum dead_kind { DEAD_RULE = 1, DEAD_MESSAGE };
struct dead_letter {
  struct hash128 id; /**< failure's id, or the message's */
  enum dead_kind kind;
  struct entity entity;
  int64_t at;
  struct failure failure; /**< RULE */
  struct outcome outcome; /**< MESSAGE: why; outcome.message holds the message */
};
/** What an effect of the record puts into the dead letters, if anything. Borrows from both. */
bool dead_letter_from(struct dead_letter *letter, const struct log_record *record,
                      const struct effect *effect);
void dead_letter_encode(const struct dead_letter *letter, struct buf *out);
int dead_letter_decode(struct dead_letter *letter, struct str bytes, struct error *err);

/** A batch of puts and deletes, in memory until the next checkpoint; one that fails may be there in part.
 * Nothing in it may be ahead of the log's durable position when it is
 * submitted. */
struct store_write {
  struct mail mail; /**< run on `reply` when written; owner frees with store_write_free */
  struct mailbox *reply;
  int status;
  void *batch;  /**< the store's own */
  size_t bytes; /**< grows with what is put in */
};
void store_write_init(struct store *store, struct store_write *write);
void store_write_deinit(struct store_write *write);
/** @param indexed_due  due time that the timer index holds for this user now, INT64_MAX none. @param due  the
 * one it shall hold. */
void store_write_user(struct store_write *write, struct entity entity, const struct record *record,
                      int64_t indexed_due, int64_t due);
/** Drop a stale index entry. */
void store_write_timer_stale(struct store_write *write, struct entity entity, int64_t due);
void store_write_outbox(struct store_write *write, const struct outbox_entry *entry);
/** @param not_before  the message's; 0 where it is not known: an entry of the index may then outlive it. */
void store_write_outbox_done(struct store_write *write, struct entity entity, struct hash128 message_id,
                             int64_t not_before);
void store_write_dead(struct store_write *write, const struct dead_letter *letter);
void store_write_dead_done(struct store_write *write, struct entity entity, struct hash128 id);
/** An input's EFFECT_INDEX. In the order in which they were logged. */
void store_write_index(struct store_write *write, struct entity entity, const struct index_change *change);
/** An input's EFFECT_FAN_OUT. In the order in which they were logged. */
void store_write_fan_out(struct store_write *write, struct entity entity,
                         const struct fan_out_change *change);
/** Forget a fan-out that has ended. */
void store_write_fan_out_gone(struct store_write *write, struct hash128 id);
void store_write_submit(struct store *store, struct store_write *write);

/* ---- small durable facts: blocking, synced; not for workers ---- */

int store_meta_put(struct store *store, struct str key, struct str value, struct error *err);
/** Several at once: all of them or none. */
struct store_fact {
  struct str key, value;
  bool remove;
};
int store_meta_write(struct store *store, const struct store_fact *facts, size_t count, struct error *err);
/** @return 0 with the value appended to `out`, ERROR_NOT_FOUND, or an I/O error. Any thread. */
int store_meta_get(struct store *store, struct str key, struct buf *out, struct error *err);

/** The facts whose keys begin so, in order; the visitor as below. */
int store_meta_scan(struct store *store, struct str prefix,
                    int (*visit)(void *context, struct str key, struct str value), void *context,
                    struct error *err);

/* ---- scans: blocking, over a snapshot; a visitor returning non-zero ends the scan with that value ---- */

/** In order of due times. More than one entry of an entity: the earliest counts, and his record decides when
 * it comes due. */
int store_scan_timers(struct store *store, int (*visit)(void *context, struct entity entity, int64_t due),
                      void *context, struct error *err);
int store_scan_outbox(struct store *store, int (*visit)(void *context, const struct outbox_entry *entry),
                      void *context, struct error *err);
/** One user's. */
int store_scan_outbox_of(struct store *store, struct entity entity,
                         int (*visit)(void *context, const struct outbox_entry *entry), void *context,
                         struct error *err);
struct deferred_ahead {
  int64_t next;        /**< when the first that was not looked at is due; INT64_MAX: there is none */
  uint32_t unreadable; /**< passed over, for those behind them are due too; `err` tells about the last */
};
/** Deferred messages that are due, in the order of their moments, from behind `cursor` on, which follows.
 * What has ended meanwhile is not visited.
 * @param cursor  empty: from the first. @param most  entries of the index to look at in this call
 * @return how many it looked at, or a negative code: it could not go on from `cursor` */
int store_read_deferred(struct store *store, struct buf *cursor, int64_t until, uint32_t most,
                        struct deferred_ahead *ahead,
                        void (*visit)(void *context, const struct outbox_entry *entry), void *context,
                        struct error *err);
/** Entries of the user index that had not ended by `since` (wall clock, ms) are kept for who reads them as of
 * then, however long ago they ended; INT64_MAX: nobody does, and they go a day after their end. All are kept
 * until this is said for the first time. Any thread. */
void store_keep_index(struct store *store, int64_t since);
/** Who stands under (index, key), in the order of partition, kind and id, from behind `cursor` on, which
 * follows. Entries that have ended by `now` (wall clock, ms) are passed over.
 * @param partition  that one's users alone; -1: all. @param cursor  empty: from the first; index_cursor_set()
 * @param most  entries to look at in this call
 * @return how many it looked at, fewer than `most` when there are no more; or a negative code, the visitor's
 * too */
int store_scan_index(struct store *store, struct str index, struct str key, int partition, int64_t now,
                     struct buf *cursor, uint32_t most,
                     int (*visit)(void *context, const struct index_user *user), void *context,
                     struct error *err);
/** How many those are. Reads them all: a million in about a second. */
int store_count_index(struct store *store, struct str index, struct str key, int64_t now, uint64_t *count,
                      struct error *err);

/** A fan-out, and how far it has come. */
struct store_fan_out {
  struct hash128 id;
  struct entity origin; /**< of the event that began it */
  struct fan_out_spec spec;
  enum fan_out_state state;
  int64_t at;        /**< when its state last changed; 0: never */
  uint64_t reached;  /**< in all, as of then */
  struct str reason; /**< … and why */
  bool begins;       /**< the scan's own */
  struct store_fan_out_partition {
    uint64_t reached;
    size_t last_len;             /**< 0: nobody yet */
    char last[EVENT_ID_MAX + 3]; /**< partition, kind, id, 0: a cursor for store_scan_index() */
  } partitions[PARTITION_COUNT];
};
/** All, in no order that means anything. Borrowed for the visit. */
int store_scan_fan_outs(struct store *store, int (*visit)(void *context, const struct store_fan_out *fan_out),
                        void *context, struct error *err);
/** @return 0, ERROR_NOT_FOUND, or what the visit returned. */
int store_get_fan_out(struct store *store, struct hash128 id,
                      int (*visit)(void *context, const struct store_fan_out *fan_out), void *context,
                      struct error *err);
int store_scan_dead(struct store *store, int (*visit)(void *context, const struct dead_letter *letter),
                    void *context, struct error *err);
/** One user's sealed past, segment by segment in the order of sequence numbers, from ledger and log slices
 * merged: records as the log had them, effects reduced to decisions (MESSAGE, OUTCOME, FAILURE, SUPPRESS,
 * UNSUPPRESS, CONSENT). state/history.h adds the unsealed tail. */
int store_scan_history(struct store *store, struct entity entity,
                       int (*visit)(void *context, const struct log_record *record), void *context,
                       struct error *err);
int store_get_user(struct store *store, struct entity entity, struct record *out, struct error *err);
int store_get_dead(struct store *store, struct hash128 id, struct buf *out, struct error *err);

/* ---- maintenance: blocking, one caller at a time ---- */

struct store_options {
  const char *directory;
  bool read_only; /**< beside no running host: `why` and `dead list` on a directory at rest */
  int64_t log_keep, ledger_keep, dedup_keep; /**< ms */
  /** Three quarters are the block cache, filters and indexes included, but for the users': those take some 3
   * bytes a user beside it. A quarter, 64 MB at most, holds users' records that have yet to become a file;
   * for the moment in which they do, twice that. As much as a half more is the filter of dedup marks
   * (mark_filter.h): 12 bits a mark, so 256 MB know 89 million at once without a look into files. While it is
   * made anew, and for ten seconds after (while much is merged, until ten more segments are sealed), the one
   * before takes that again: at most twice the half in all. */
  uint64_t cache_bytes;
};
/** A directory of format 2 (version 0.1.0) is taken over, which reads its dedup marks once.
 * @return ERROR_VERSION for a directory written by a newer format, or an older one still, ERROR_EXISTS if
 * another process holds it, ERROR_NOT_FOUND if read_only and there is none. */
int store_rocks_open(struct store **out, const struct store_options *options, struct error *err);
/** All fetches and writes must have been answered. */
void store_close(struct store *store);
/** After a failed write: close the database and open it again. What was not flushed may be lost:
 * recovery_run() must follow. No fetch or write may be under way; other calls meanwhile are answered
 * ERROR_UNAVAILABLE. May be tried again when it fails. */
int store_reopen(struct store *store, struct error *err);
/** While `hurry`, who reads a user's history or makes a backup ends with ERROR_UNAVAILABLE as soon as he can:
 * the host is to recover, or to end, and others wait for them. Any thread. */
void store_hurry(struct store *store, bool hurry);

/** All that was written is flushed, then the position is recorded: recovery starts there. */
int store_checkpoint(struct store *store, struct log_position position, uint64_t next_seq, struct error *err);
/** The recorded one; {0,0} and 1 in a fresh directory. */
int store_checkpoint_get(struct store *store, struct log_position *position, uint64_t *next_seq,
                         struct error *err);

/** Sort closed segments by user, write a file of their dedup marks and ingest the rest into the slices: the
 * first that is not sealed and up to three behind it, together, of those up to `until`, while that is a
 * million records at most (and what a crash interrupted together with what it was sealed with). May be
 * repeated. While few segments wait, on a thread that yields to others when the machine is busy. */
int store_seal(struct store *store, const char *log_directory, uint64_t until, struct error *err);
uint64_t store_sealed(struct store *store); /**< last sealed segment, 0 none; any thread */
/** What has expired is deleted by a time of the store's own, lest a wall clock that is ahead for a while have
 * it forget for good: it is never ahead of the wall clock, and follows it at most twice as fast as time
 * passes. (After a host was down for a day, what expired meanwhile goes within a day.) Maintenance, one at a
 * time; synced. */
int store_retention_time(struct store *store, int64_t wall, int64_t mono_us, int64_t *out, struct error *err);
/** What that has last said; 0: nothing yet. Any thread. */
int64_t store_retention_last(const struct store *store);
/** Drop slices and files of dedup marks past their retention; delete raw segments that are sealed and below
 * the checkpoint. */
int store_retain(struct store *store, const char *log_directory, int64_t now, struct error *err);
/** A consistent copy (hard links where it can) that a host can be started on, while this one runs: database,
 * then the log up to where it is durable by then (so the database is never ahead of it). Both keep the last
 * part of their paths under `target`, which is made, or must be empty.
 * @param log  the running one; null: none runs, and the log is copied to its end. */
int store_backup(struct store *store, const char *log_directory, struct log *log, const char *target,
                 struct error *err);

/** Figures for metrics: appended by the scrape. */
struct store_figures {
  uint64_t bytes_on_disk, memtable_bytes, cache_bytes, filter_bytes, log_bytes, segments, users_estimate;
  uint64_t marks_unreadable; /**< look-ups of dedup marks that found a page that cannot be read */
};
void store_measure(struct store *store, struct store_figures *out);
/** Whether the database takes writes as they come: where merging falls behind it slows them down, in the end
 * it stops them. Any thread. */
enum store_pace { STORE_KEEPS_UP, STORE_SLOWS_DOWN, STORE_STOPS };
enum store_pace store_pace(struct store *store);
/** Whether files of dedup marks are left as they are for want of room on their disk: a merge needs as much as
 * they take again, and leaves a twentieth of the disk free. Looked at anew when a segment is sealed. Any
 * thread. */
bool store_marks_held_back(struct store *store);
