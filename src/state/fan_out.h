/** Fan-outs: an event that reaches every user who stands under a key of the user index, each once.
 *
 * A fan-out begins by an effect of the causing event. From there on it is a job of the host: each user whom
 * it reaches is an input of his own (LOG_FAN_OUT), whose log record says so; within a partition users are
 * reached in the order of their keys, so that the last one says who all were. What becomes of the job is an
 * effect too. Hence the store's rows about it (store.h) follow from the log, and a job goes on after a crash
 * behind the last user of each partition that is durable.
 */
#pragma once

#include "base/buf.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/quantity.h"
#include "event/event.h"

enum {
  FAN_OUT_EVENT_MAX = 16 << 10
}; /**< bytes of an event that may begin one: each user's record repeats it */

enum fan_out_state {
  FAN_OUT_RUNS = 1, /**< or waits for its turn */
  FAN_OUT_PAUSED,
  FAN_OUT_DONE,    /**< everybody was reached */
  FAN_OUT_EXPIRED, /**< its time was over before */
  FAN_OUT_STOPPED  /**< by an operator, or its campaign is gone */
};
/** "runs", "paused", "done", "expired", "stopped". */
const char *fan_out_state_name(enum fan_out_state state);
static inline bool fan_out_ended(enum fan_out_state state) {
  return state >= FAN_OUT_DONE;
}

/** What a fan-out is, from its beginning to its end. */
struct fan_out_spec {
  struct str campaign;   /**< whose rule is run for each user */
  struct str index, key; /**< whom it reaches */
  struct str event;      /**< event_encode() */
  struct rate pace;      /**< users in time; count 0: as fast as the host takes them */
  int64_t began;         /**< wall clock ms */
  int64_t expires;       /**< wall clock ms from which on nobody more is reached */
};

enum fan_out_step { FAN_OUT_BEGINS = 1, FAN_OUT_REACHES, FAN_OUT_CHANGES };

struct fan_out_change {
  enum fan_out_step step;
  struct hash128 id;
  struct fan_out_spec spec; /**< BEGINS */
  uint64_t reached;         /**< REACHES: of the user's partition, he included; CHANGES: in all */
  enum fan_out_state state; /**< CHANGES */
  int64_t at;               /**< … wall clock ms */
  struct str reason;        /**< … in words, or "" */
};

/** Of (entity, event, campaign): an event begins one fan-out of a campaign for ever. */
struct hash128 fan_out_id(struct entity entity, struct str event_id, struct str campaign);

void fan_out_spec_encode(const struct fan_out_spec *spec, struct buf *out);
/** Borrows from the reader's bytes. @return false if malformed. */
bool fan_out_spec_decode(struct fan_out_spec *spec, struct reader *reader);
/** Stored form, in effects. */
void fan_out_change_encode(const struct fan_out_change *change, struct buf *out);
bool fan_out_change_decode(struct fan_out_change *change, struct reader *reader);

/** The input of a LOG_FAN_OUT record: event_encode(), then the campaign and the fan-out's id. */
void fan_out_input_encode(struct str event, struct str campaign, struct hash128 id, struct buf *out);
/** @return 0 or ERROR_CORRUPT; all borrow from the bytes. */
int fan_out_input_decode(struct str input, struct event *event, struct str *campaign, struct hash128 *id,
                         struct error *err);
