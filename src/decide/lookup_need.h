/** What a rule waits for, and what it then gets: the bytes of both. Pure.
 *
 * While it waits, a timer of the host's own in the user's record holds the event and what is asked
 * (timer_needs(), state/effect.h): so it is durable, in order with the user's other inputs, and falls due
 * when the rule must go on. What came of it is a LOG_LOOKUP record: the event again, the campaign, and the
 * very map that the rule is given as `needs`, so that a replay and a retry see what the rule saw, without
 * asking anybody.
 */
#pragma once

#include "engine/engine.h"

enum {
  LOOKUP_EVENT_MAX = 16 << 10,  /**< bytes of an event that a rule may wait with … */
  LOOKUPS_A_USER = 16,          /**< … and how many may wait for one user */
  LOOKUP_ANSWER_MAX = 64 << 10, /**< bytes of an answer, as JSON and as a value */
  LOOKUP_GRACE_MS = 500 /**< the answer "none in time" has so long to arrive before the timer says it */
};

/** Why there was no answer. */
enum lookup_reason {
  LOOKUP_ANSWERED,
  LOOKUP_MISSING,     /**< a placeholder has no value */
  LOOKUP_CROWDED,     /**< too many wait, of this user or in all */
  LOOKUP_TIMEOUT,     /**< none in time */
  LOOKUP_UNREACHABLE, /**< no connection, or it broke */
  LOOKUP_STATUS,      /**< not 2xx */
  LOOKUP_TOO_LARGE,   /**< more than LOOKUP_ANSWER_MAX */
  LOOKUP_UNREADABLE,  /**< not JSON */
  LOOKUP_MISMATCH,    /**< without the fallback's fields */
  LOOKUP_BREAKER,     /**< the server failed so often that it is left alone */
  LOOKUP_NOT_ASKED,   /**< simulated, retried, or the rule came to need it after the event */
  LOOKUP_REASONS
};
/** "missing", "timeout", …; "" for ANSWERED. */
extern const char *const lookup_reason_names[LOOKUP_REASONS];

/** What one look-up came to. */
struct lookup_result {
  struct str name; /**< the need's */
  enum lookup_reason reason;
  bool cached;
  struct str why;   /**< a sentence's worth, if it was not answered */
  struct str value; /**< if it was */
};
struct lookup_results {
  const struct lookup_result *items;
  size_t count;
  enum lookup_reason reason; /**< of needs that none of the items is about … */
  struct str why;            /**< … and why */
};

/** One look-up to be made. */
struct lookup_ask {
  struct str name, source, path;
  int64_t timeout, cache; /**< ms */
};
/** Walks the asks of a timer's data. Begin with a zeroed walk. @return false at the end. */
struct lookup_walk {
  struct reader reader;
  uint32_t left;
  bool begun;
};
bool lookup_ask_next(struct lookup_walk *walk, struct str data, struct lookup_ask *ask);

/** Append the data of the timer that waits: {received, event, asks, missing}. @return the longest time-out of
 * what is asked, ms; 0 if there is nothing to ask for, each path lacking a value. */
int64_t lookup_plan(const struct engine_rule *rule, const struct event *event, const struct record *record,
                    struct buf *data);
/** The event in a timer's data; it borrows from it. @return 0 or ERROR_CORRUPT. */
int lookup_event(struct event *event, struct str data, struct error *err);

/** What a rule gets is told of each of its needs, for the figures. May be null. */
typedef void lookup_told(void *context, const struct engine_need *need, enum lookup_reason reason,
                         bool cached);
/** Append the map that the rule is given: {name: value, name_state: text, name_why: text}.
 * @param data  of the timer that waited, "" if none did. */
void lookup_needs(const struct engine_rule *rule, struct str data, const struct lookup_results *results,
                  lookup_told *told, void *context, struct buf *out);

/** The input of a LOG_LOOKUP record. */
void lookup_encode(const struct event *event, struct str campaign, struct str needs, struct buf *out);
/** @return 0 or ERROR_CORRUPT; all borrow from the bytes. */
int lookup_decode(struct str input, struct event *event, struct str *campaign, struct str *needs,
                  struct error *err);
