/** The user index: which users stand under a key.
 *
 * A durable set of (index, key) -> users, each with a small value and, if it has one, a time when it ends.
 * Interests ("interest:<name>", a sku), journeys ("journey:<campaign>", ""), segments ("segment:<name>", "")
 * and whatever else must find users by something that is not their id keep themselves here. It follows from
 * the users' logged inputs (EFFECT_INDEX) and from nothing else: the live host writes it behind the log
 * (store.h), recovery writes it anew from the log's tail, a virtual host keeps it in memory (below).
 */
#pragma once

#include "base/buf.h"
#include "event/event.h"

enum { INDEX_NAME_MAX = 300, INDEX_KEY_MAX = 256, INDEX_VALUE_MAX = 8192 }; /**< bytes */

/** What an input does to one entry of its user. Neither `remove` nor `extend`: put it, whatever was there. */
struct index_change {
  struct str index, key, value;
  int64_t expires; /**< wall clock ms from which on it is not answered; 0: never */
  bool remove;
  bool extend; /**< an entry that ends later than this stays: late events shorten nothing */
};

/** Whether its texts are within the bounds. */
bool index_change_fits(const struct index_change *change);
/** Stored form, in effects. */
void index_change_encode(const struct index_change *change, struct buf *out);
/** Borrows from the reader's bytes. @return false if malformed. */
bool index_change_decode(struct index_change *change, struct reader *reader);

/** An index's name for people: an interest's without what its declaration adds to it (engine.h). */
static inline struct str index_shown(struct str index) {
  const char *at =
      index.len > 9 && memcmp(index.data, "interest:", 9) == 0 ? memchr(index.data, '@', index.len) : NULL;
  return at ? (struct str){index.data, (size_t)(at - index.data)} : index;
}

/** A user who stands under a key. */
struct index_user {
  struct entity entity;
  struct str value;
  int64_t expires; /**< ms; 0: never */
};

/** Of two times when an entry ends, the later. */
static inline int64_t index_later(int64_t a, int64_t b) {
  return a == 0 || b == 0 ? 0 : a > b ? a : b;
}
static inline bool index_expired(int64_t expires, int64_t now) {
  return expires && expires <= now;
}

/** A place in a scan: behind the entity of these bytes, which are partition, kind, id, 0; empty: at the
 * beginning. */
void index_cursor_set(struct buf *cursor, struct entity entity);

/* ---- in memory: the virtual host's ---- */

struct user_index;
struct user_index *user_index_new(void);
void user_index_free(struct user_index *index);
void user_index_apply(struct user_index *index, struct entity entity, const struct index_change *change);
/** As store_scan_index(). */
int user_index_scan(struct user_index *index, struct str name, struct str key, int partition, int64_t now,
                    struct buf *cursor, uint32_t most,
                    int (*visit)(void *context, const struct index_user *user), void *context);
