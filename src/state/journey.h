/** Journeys as stored: where one stands, and what was answered to it so far.
 *
 * A journey is durable by replay: its function runs anew at each resume, and every value that it once got
 * from the host is answered from its history. So all that a sleeping journey costs is its entry in the user's
 * record. Nothing here knows Lua; decide/decide_journey.c makes the effects, engine/ replays the history.
 */
#pragma once

#include "event/event.h"

/** The name of what wakes a journey is this and its key (effect.h: timer_journey()). */
#define TIMER_JOURNEY "journey:"

enum {
  JOURNEYS_A_USER = 32, /**< in flight at once, of all campaigns */
  /** Bytes of an event that a journey keeps: that of its start, those it waited for. The first stands beside
   * the history for as long as the journey lasts; the others are part of it. Both and what is handed on leave
   * some KB of a record's 64 to all else that is known of the user. */
  JOURNEY_EVENT_MAX = 24 << 10,
  JOURNEY_STEPS_MAX = 1000,       /**< in its history, and … */
  JOURNEY_HISTORY_MAX = 32 << 10, /**< … bytes of it; then it must continue afresh */
  JOURNEY_FAILURE_MAX = 1000,     /**< bytes of an error that a pcall of the journey's caught */
  JOURNEY_HANDED_MAX = 4 << 10,   /**< bytes that a journey hands on to itself when it continues */
  JOURNEY_LABEL_MAX = 96,         /**< bytes of a step in words */
  JOURNEY_SENT_MAX = 1 << 10,     /**< bytes of what is known of its deferred messages */
  JOURNEY_WHY_MAX = 400           /**< bytes of why it is parked */
};

/** What a journey asked of the host. The numbers are stored. */
enum journey_op {
  JOURNEY_NONE = 0, /**< of a wait: for nothing but the moment `held` */
  JOURNEY_WAIT = 1,
  JOURNEY_WAIT_UNTIL = 2,
  JOURNEY_WAIT_FOR = 3,
  JOURNEY_SEND = 4,
  JOURNEY_SPLIT = 5,
  JOURNEY_SET = 6,
  JOURNEY_EMIT = 7,
  JOURNEY_GOAL = 8,
  JOURNEY_READ = 9 /**< of the user: counts, sums, attributes, marks, … */
};
/** "wait", "wait_until", …; "?" for no op. */
const char *journey_op_name(enum journey_op op);
static inline bool journey_op_waits(enum journey_op op) {
  return op >= JOURNEY_WAIT && op <= JOURNEY_WAIT_FOR;
}

/** One answer. */
struct journey_step {
  enum journey_op op;
  uint32_t arguments; /**< hash of what was asked */
  struct str label;   /**< the same in words, as far as JOURNEY_LABEL_MAX goes */
  struct str answer;  /**< of a wait journey_answer's bytes, else a value; of what failed the error's text */
  bool failed;        /**< it raised an error, which the journey caught */
};
/** How a wait ended. */
struct journey_answer {
  int64_t at;       /**< what time it is from then on for the journey, ms */
  struct str event; /**< event_encode() of what it waited for; "": its time came */
};

/** A step's stored form: op:u8 (128 more if it failed) arguments:u32 label:str answer:str. */
void journey_step_encode(const struct journey_step *step, struct buf *out);
/** Borrows from the reader's bytes. @return false at the end, or with `reader->bad`. */
bool journey_step_next(struct reader *reader, struct journey_step *step);
void journey_answer_encode(const struct journey_answer *answer, struct buf *out);
/** Borrows. @return false if malformed. */
bool journey_answer_decode(struct journey_answer *answer, struct str bytes);

enum journey_state {
  JOURNEY_WAITING = 1,
  JOURNEY_PARKED = 2,  /**< it failed, or does not fit its source: only an operator or an exit moves it */
  JOURNEY_WATCHING = 3 /**< it has ended, and its goal may still be reached till `wait.due` */
};

/** "waiting", "parked", "watching"; "?" for none. */
const char *journey_state_name(enum journey_state state);

/** What becomes of a wait that ends long after its time. */
enum journey_late {
  JOURNEY_LATE_FIRE = 0, /**< it goes on all the same */
  JOURNEY_LATE_SKIP = 1, /**< it goes on, and sends nothing before its next wait */
  JOURNEY_LATE_EXIT = 2
};

/** What a journey waits for. */
struct journey_wait {
  enum journey_op op;
  uint32_t arguments; /**< as in its step to come */
  struct str label;
  uint32_t line;  /**< of the source */
  int64_t due;    /**< ms since the epoch; INT64_MAX: no time ends it */
  int64_t set_at; /**< wall clock; due < set_at: already due when it was set */
  int64_t held;   /**< its campaign did not run when it was due: wall clock of the next look; 0: not so */
  enum journey_late late;
  int64_t late_after; /**< how late is too late, ms */
  struct str on;      /**< event types (journey_put_type()); "" none */
  struct str got;     /**< event_encode() of one that came while it is held; "" none */
};

/** One journey. All strings are borrowed. */
struct journey {
  struct hash128 id; /**< of (entity, campaign, key, what caused its start) */
  enum journey_state state;
  struct str campaign;
  struct str name;        /**< TIMER_JOURNEY and its key */
  struct hash128 version; /**< of the source it runs on */
  int64_t begun;          /**< ms: what time it was when it began … */
  int64_t at;             /**< … and when its present run did */
  uint32_t run;           /**< how often it has continued afresh */
  uint32_t steps;         /**< in `history` */
  bool reached;           /**< its goal */
  struct str exits;       /**< event types that may end it or reach its goal, as `wait.on` */
  struct journey_wait wait;
  struct str why;     /**< it is parked, in words; else "" */
  struct str sent;    /**< what its messages that were deferred reserved (journey_sent_next()); "" none */
  struct str event;   /**< event_encode() of what began it */
  struct str handed;  /**< value it continued with, or "" */
  struct str history; /**< steps, one after the other */
};

/** Of EFFECT_JOURNEY. Without flags: state, wait, reached, why and sent are new, and history and steps are
 * added. */
enum journey_change {
  JOURNEY_BEGINS = 1,    /**< everything is new */
  JOURNEY_CONTINUES = 2, /**< run, at and handed are new, and the history begins with what is in this one */
  JOURNEY_MOVES = 4,     /**< version and exits are new */
  JOURNEY_CHANGES = 7
};

/** Why one is in flight no more. The numbers are stored. */
enum journey_end {
  JOURNEY_FINISHED = 1,  /**< its function has returned */
  JOURNEY_EXITED = 2,    /**< by an event */
  JOURNEY_RESTARTED = 3, /**< another start with its key */
  JOURNEY_EXPIRED = 4,   /**< too late to go on */
  JOURNEY_OVER = 5,      /**< its campaign has ended */
  JOURNEY_STOPPED = 6,   /**< by an operator */
  JOURNEY_MOVED = 7      /**< another one took its place */
};
/** "finished", "exited", …; "?" for none. */
const char *journey_end_name(enum journey_end end);

/** Whether what it sent and the gate deferred, and nobody has tried to deliver yet, must not go any more. */
static inline bool journey_end_recalls(enum journey_end end) {
  return end == JOURNEY_EXITED || end == JOURNEY_RESTARTED || end == JOURNEY_STOPPED;
}
/** The key of the EFFECT_ONCE mark that stands as long as a deferred message of it may wait. It is taken away
 * when the journey ends without recalling that: the mark without the journey says that it has been recalled
 * (record_journey_recalled()), however often the host is killed in between. */
uint64_t journey_sent_key(struct hash128 id);

/** What a message reserved that was deferred: whoever recalls the message gives it back at once, so that
 * another one of the same input finds the place free. */
struct journey_sent {
  struct hash128 id;
  int64_t not_before, once_until; /**< as the message's, ms */
  uint64_t once_key;
  unsigned reserved;
  struct str purpose;
};
void journey_sent_encode(const struct journey_sent *sent, struct buf *out);
/** Borrows from the reader's bytes. @return false at the end, or with `reader->bad`. */
bool journey_sent_next(struct reader *reader, struct journey_sent *sent);
/** The key of the EFFECT_ONCE mark of such a message: what it reserved has been given back, or it has been
 * tried. */
uint64_t journey_settled_key(struct hash128 message_id);

struct journey_ended {
  struct hash128 id;
  struct str campaign, name;
  enum journey_end end;
  struct str reason; /**< in words: the event's type, who stopped it, …; "" if there is nothing to say */
  struct str step;   /**< where it stood: the label of its wait */
  int64_t begun, at; /**< ms */
  uint32_t steps;
};

/** "the journey ended before it could go: exit on order.completed": why a message that it sent was cancelled.
 */
void journey_recall_reason(const struct journey_ended *ended, struct buf *out);

/** Effects' bodies. Decoding borrows; @return false if malformed. Values and histories in a decoded effect
 * are not looked into; journey_valid() does. */
void journey_change_encode(const struct journey *journey, unsigned changes, struct buf *out);
bool journey_change_decode(struct journey *journey, unsigned *changes, struct reader *reader);
void journey_ended_encode(const struct journey_ended *ended, struct buf *out);
bool journey_ended_decode(struct journey_ended *ended, struct reader *reader);

/** An entry's body in a record: what wakes it stands first. */
void journey_encode(const struct journey *journey, struct buf *out);
bool journey_decode(struct journey *journey, struct str body);
/** Its head alone: id, state, campaign, name, wait.due, set_at and held, exits and wait.on. */
bool journey_decode_head(struct journey *journey, struct str body);
/** @return whether the event (if there is one), the history and the values in it are whole. */
bool journey_valid(const struct journey *journey);

/** When it is to be looked at by itself, ms; INT64_MAX never. */
static inline int64_t journey_wakes(const struct journey *journey) {
  if (journey->state == JOURNEY_PARKED) return INT64_MAX;
  return journey->wait.held ? journey->wait.held : journey->wait.due;
}
/** Whether an event type is in a list of them. */
bool journey_has_type(struct str types, struct str type);
void journey_put_type(struct buf *types, struct str type);
/** Its key: "" if it has none. */
struct str journey_key(const struct journey *journey);
/** What caused its start: an event's id. */
static inline struct str journey_cause(const struct journey *journey) {
  return event_encoded_id(journey->event);
}
