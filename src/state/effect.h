/** Effects: the only way in which a user's record changes.
 *
 * An input (event, timer, outcome, command) yields a list of effects. The live path applies each as it is
 * made, the log keeps the list beside the input, and recovery applies the very same list; nothing is computed
 * twice, and no rule runs again. Effects are self-contained: they need no rule, declaration or clock to be
 * applied.
 */
#pragma once

#include "state/fan_out.h"
#include "state/journey.h"
#include "state/message.h"
#include "state/user_index.h"
#include "state/window.h"

enum effect_type {
  EFFECT_WINDOW = 1,  /**< one entry into a window */
  EFFECT_ATTRIBUTE,   /**< set, or remove with a nil value */
  EFFECT_THROTTLE,    /**< a throttle's new theoretical arrival time */
  EFFECT_ONCE,        /**< a mark that stands until a time; until 0 takes it back */
  EFFECT_TIMER_SET,   /**< set or replace the timer (campaign, name) */
  EFFECT_TIMER_CLEAR, /**< fired or cancelled */
  EFFECT_SUPPRESS,    /**< no messages on this channel ("*": any) */
  EFFECT_UNSUPPRESS,
  EFFECT_MESSAGE,          /**< a decision: to the outbox if the verdict passes, to the ledger either way */
  EFFECT_FAILURE,          /**< a rule failed on this input: dead letter */
  EFFECT_OUTCOME,          /**< a message came to its end, or will be tried again */
  EFFECT_DEAD_CLEAR,       /**< a dead letter was retried or dropped */
  EFFECT_NOT_RUN,          /**< a timer came due and its rule was not run: for the ledger */
  EFFECT_CONSENT,          /**< consent to a purpose, granted or withdrawn */
  EFFECT_COUNT_SEND,       /**< a message counts for a cap, or counts no more */
  EFFECT_INDEX = 16,       /**< the user enters an index under a key, or leaves it: state/user_index.h */
  EFFECT_JOURNEY = 17,     /**< a journey begins, or gets on: state/journey.h */
  EFFECT_JOURNEY_END = 18, /**< it is in flight no more */
  EFFECT_DERIVED = 19,     /**< an event that the input derived; it was decided within the same input */
  EFFECT_SEGMENT = 20,     /**< the user entered or left a segment, or his segments were judged */
  EFFECT_EXPOSURE = 21,    /**< the user's variant of an experiment, for good */
  EFFECT_GOAL = 22,        /**< what the experiment hoped for has happened */
  EFFECT_FAN_OUT = 23,     /**< a fan-out begins, reaches a user, or changes: state/fan_out.h */
  EFFECT_WINDOW_STATE = 24 /**< what a window holds, as a whole: it was filled from the event log */
};

/** What becomes of a timer that comes due long after its time. */
enum timer_late { TIMER_LATE_FIRE, TIMER_LATE_SKIP };

struct timer {
  struct str campaign, name;
  int64_t due;        /**< ms since the epoch */
  int64_t set_at;     /**< wall clock; due < set_at: already due when it was set */
  int64_t late_after; /**< with SKIP: how late is too late, ms */
  enum timer_late late;
  struct str cancel_on; /**< event type that cancels it, or "" */
  struct str data;      /**< value, or empty */
  uint64_t set_by; /**< hash of what set it, if one of its name and moment may have fired before; else 0 */
};

/** The key of the EFFECT_ONCE mark that says until when the user's rules have had timers fire: one that is
 * due by then may be set for the second time. It follows from his events, whatever the wall clock said. */
#define TIMER_FIRED_KEY UINT64_C(0x74696d6572735f66)

/** The host's own timers: a rule waits for what it needs. The name is this and the event's id, `data` what is
 * asked (decide/lookup_need.h), `due` when it goes on without an answer. No rule can name one so. */
#define TIMER_NEEDS "needs:"
static inline bool timer_needs(const struct timer *timer) {
  return timer->name.len > sizeof TIMER_NEEDS - 1 &&
         memcmp(timer->name.data, TIMER_NEEDS, sizeof TIMER_NEEDS - 1) == 0;
}

/** … and a segment's: the first moment at which its predicate may answer otherwise (decide/decide_segment.c).
 * The name is this and the segment's. */
#define TIMER_SEGMENT "segment:"
static inline bool timer_segment(const struct timer *timer) {
  return timer->name.len > sizeof TIMER_SEGMENT - 1 &&
         memcmp(timer->name.data, TIMER_SEGMENT, sizeof TIMER_SEGMENT - 1) == 0;
}

/** A journey wakes up (state/journey.h). No such timer is set: the journey's entry in the record is it. The
 * name is this and the journey's key. No rule can name one so. */
static inline bool timer_journey(const struct timer *timer) {
  return timer->name.len >= sizeof TIMER_JOURNEY - 1 &&
         memcmp(timer->name.data, TIMER_JOURNEY, sizeof TIMER_JOURNEY - 1) == 0;
}

enum outcome_kind {
  OUTCOME_ACCEPTED = 1, /**< the provider has it */
  OUTCOME_RETRY,        /**< will be tried again at `retry_at` */
  OUTCOME_REJECTED,     /**< the provider refused for good: dead letter */
  OUTCOME_EXHAUSTED,    /**< attempts or age used up: dead letter */
  OUTCOME_EXPIRED,      /**< its time passed while it waited */
  OUTCOME_CANCELLED,    /**< suppressed while it waited */
  OUTCOME_HELD,         /**< ambiguous, and its account says hold: dead letter */
  OUTCOME_KINDS
};
/** "accepted", "retry", … */
const char *outcome_kind_name(enum outcome_kind kind);
/** Whether the message is a dead letter then. */
static inline bool outcome_is_dead(enum outcome_kind kind) {
  return kind == OUTCOME_REJECTED || kind == OUTCOME_EXHAUSTED || kind == OUTCOME_HELD;
}

struct outcome {
  struct hash128 message_id;
  enum outcome_kind kind;
  uint32_t attempt;       /**< the last one logged, from 1; 0 none */
  uint32_t unsent;        /**< of those logged, how many ended before a byte left */
  int64_t at, retry_at;   /**< wall clock, ms */
  struct str detail;      /**< "202", "timeout", "connection refused", …; no personal data */
  struct str provider_id; /**< the provider's own id for the message, or "" */
  struct str message;     /**< for dead letters: the encoded struct message, else empty */
};
/** Attempts that were begun, or whose end nobody saw. */
static inline uint32_t outcome_sent(const struct outcome *outcome) {
  return outcome->attempt - outcome->unsent;
}

/** What a user said of a purpose. */
struct consent {
  struct str purpose;
  struct str channel; /**< "*": every channel */
  bool granted;       /**< else withdrawn */
  int64_t at;         /**< event time, ms: the newest word holds, whenever it arrives */
  struct str source;  /**< where it came from: "event", "operator", … */
};

/** A place taken under a cap, or given back. */
struct counted_send {
  struct str counter; /**< see gate/cap.c */
  int64_t at;         /**< wall clock ms from which on the message may go */
  int64_t wall;       /**< now */
  int64_t
      keep; /**< how far caps look back, ms: what is older than this at `wall` is forgotten; 0: give back */
};

enum segment_change {
  SEGMENT_ENTERED = 1,
  SEGMENT_LEFT,
  SEGMENT_FILLED,    /**< he is in it as the log says, and nobody is told */
  SEGMENT_FORGOTTEN, /**< he is out of it, and nobody is told: there is no such segment any more */
  SEGMENT_JUDGED     /**< no name: his segments were judged as of `at`, and will not be as of earlier */
};

/** What happened to a user's membership. */
struct membership {
  struct str name;
  enum segment_change change;
  int64_t at; /**< ms since the epoch: since when it is so */
};

/** A user's part in an experiment. Variants that begin with "*" are the host's own: held out, by the
 * experiment or by the host. */
#define EXPOSURE_HELD_OUT     "*holdout"
#define EXPOSURE_HOST_HOLDOUT "*host"
struct exposure {
  struct str experiment, variant;
  int64_t at;         /**< event time, ms */
  struct str chances; /**< value map: each arm that he might have come into -> its chance, in millionths; they
                         add up to a million. "" where no chance was at work */
  bool reached;       /**< the goal */
  int64_t goal_at;    /**< event time, ms */
  int64_t amount;     /**< what it was worth, fixed-point as window_fixed() */
};

/** How long before `now` he came into it, ms; what is too long to say is as long as can be said. */
static inline int64_t exposure_age(const struct exposure *exposure, int64_t now) {
  int64_t age;
  return __builtin_sub_overflow(now, exposure->at, &age) ? (now < exposure->at ? INT64_MIN : INT64_MAX) : age;
}
/** Whether the host made the variant: he is held out. */
static inline bool exposure_held(const struct exposure *exposure) {
  return exposure->variant.len && exposure->variant.data[0] == '*';
}

/** A window, or one key of it, with all it holds. */
struct window_held {
  uint64_t id, key; /**< key 0: it has none */
  int64_t over;
  struct str state; /**< state/window.h */
};

struct failure {
  struct hash128 id; /**< of (entity, what caused it, campaign) */
  struct str campaign, rule;
  struct str error; /**< file, line, message, traceback */
  struct str input; /**< the encoded input that failed, for `dead retry` */
  uint32_t generation;
  int64_t at;
};

struct not_run {
  struct str campaign, rule, timer;
  struct str reason; /**< in words */
  int64_t due;
  int64_t moved_to; /**< when it is due instead; 0 if it was dropped */
};

struct effect {
  enum effect_type type;
  union {
    struct window_entry window;
    struct window_held held;
    struct {
      struct str name, value;
    } attribute;
    struct {
      uint64_t key;
      int64_t arrival;
    } throttle; /**< arrival in microseconds since the epoch */
    struct {
      uint64_t key;
      int64_t until;
    } once;
    struct timer timer; /**< CLEAR uses campaign and name */
    struct {
      struct str channel, reason;
      int64_t at;
    } suppress;
    struct {
      struct message message;
      struct verdict verdict;
    } message;
    struct failure failure;
    struct outcome outcome;
    struct hash128 dead_id;
    struct not_run not_run;
    struct consent consent;
    struct counted_send counted;
    struct str derived; /**< event_encode() */
    struct membership segment;
    struct index_change index;
    struct fan_out_change fan_out;
    struct exposure exposure; /**< GOAL: experiment, goal_at, amount */
    struct {
      struct journey journey;
      unsigned changes; /**< enum journey_change */
    } journey;
    struct journey_ended journey_ended;
  };
};

/** type:u8, then what the type has. */
void effect_encode(const struct effect *effect, struct buf *out);
/** Borrows from the reader's bytes. Values in it are not looked into: their readers are safe, and
 * record_apply() checks what it keeps.
 * @return 0 or ERROR_CORRUPT, naming the type of effect. */
int effect_decode(struct effect *effect, struct reader *reader, struct error *err);
/** Pass over the EFFECT_WINDOWs that come next: most of an event's effects, for who looks for others.
 * @return 0 or ERROR_CORRUPT. */
int effect_skip_windows(struct reader *reader, struct error *err);
/** "window", "attribute", …; "?" for no type. */
const char *effect_name(enum effect_type type);
/** "entered", "left", …; "?" for none. */
const char *segment_change_name(enum segment_change change);

/** A timer's stored form, in effects and in the record: its times (at most TIMER_TIMES_MAX bytes), then
 * campaign, name, cancel_on and data as strings. */
enum { TIMER_TIMES_MAX = 64 };
void timer_encode_times(const struct timer *timer, struct buf *out);
void timer_encode(const struct timer *timer, struct buf *out);
/** Borrows from the reader's bytes. @return false if malformed. */
bool timer_decode(struct timer *timer, struct reader *reader);

/** A consent's stored form, in effects and in the record. Borrows from the reader's bytes. @return false if
 * malformed.
 */
void consent_encode(const struct consent *consent, struct buf *out);
bool consent_decode(struct consent *consent, struct reader *reader);

/** An exposure's stored form, in effects, in the record and, with experiment "", in the user index. Borrows
 * from the reader's bytes. @return false if malformed. */
void exposure_encode(const struct exposure *exposure, struct buf *out);
bool exposure_decode(struct exposure *exposure, struct reader *reader);
