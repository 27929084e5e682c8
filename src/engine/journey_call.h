/** Journeys as the engine sees them: what a campaign declares, and one run of its function.
 *
 * The function of a journey runs from its beginning each time. What it asked before is answered from the
 * history; at the first wait that nothing has ended yet, the call ends itself (sandbox_suspend). What is new
 * since then is the call's answer, for decide/decide_journey.c to make effects of.
 */
#pragma once

#include "state/effect.h"

/** What another start with the key of one in flight does. */
enum engine_again { ENGINE_AGAIN_IGNORE, ENGINE_AGAIN_RESTART, ENGINE_AGAIN_PARALLEL };
/** Which source a journey in flight goes on with when there is a newer one. */
enum engine_in_flight { ENGINE_FLIGHT_PIN, ENGINE_FLIGHT_ADOPT, ENGINE_FLIGHT_MIGRATE };

/** Events that end a journey, or are its goal. */
struct engine_exit {
  const struct str *on;
  size_t on_count;
  int where; /**< a function of the engine's that has its say; 0: none */
};

/** What a campaign says of its journeys (lua/kairos/journey.lua). */
struct engine_journey {
  bool when;      /**< it says for each event whether one begins */
  struct str key; /**< path in the payload; "": one journey a user */
  enum engine_again again;
  enum engine_in_flight flight;
  struct engine_exit *exits; /**< the goal, if there is one, stands first */
  size_t exit_count;
  bool goal;
  int64_t goal_within;    /**< of the start, ms; 0: while it is in flight */
  enum journey_late late; /**< of waits that say nothing else */
  int64_t late_after;     /**< ms; 0: nothing is said */
  struct str types;       /**< of all exits, as journey.exits has them */
};

enum engine_journey_ask {
  ENGINE_JOURNEY_START, /**< `when`: call.acted says whether one starts */
  ENGINE_JOURNEY_EXIT,  /**< the `where` of exit number `exit`: call.acted is its answer */
  ENGINE_JOURNEY_RUN,   /**< its function */
  /** Its `flight`, a function: whether it takes over this journey of another source; call.acted says so, and
   * `handed` has the state with which it begins anew. */
  ENGINE_JOURNEY_MIGRATE
};

enum engine_journey_came {
  ENGINE_JOURNEY_RETURNED, /**< it has come to its end */
  ENGINE_JOURNEY_WAITS,    /**< `wait` is new */
  ENGINE_JOURNEY_STILL,    /**< the input is not what it waits for: nothing is new */
  ENGINE_JOURNEY_GOT,      /**< it is, but the journey is held: it shall get it later */
  ENGINE_JOURNEY_CONTINUES /**< afresh, with `handed` */
};

/** The gate's answer to a message that a journey asks for; its effects are in the draft.
 * @param reason  why not. @return 0, or ERROR_LIMIT where the record has no room. */
typedef int engine_send_message(void *context, struct message *message, bool *passed, struct str *reason,
                                struct error *err);

struct engine_journey_call {
  enum engine_journey_ask ask;
  size_t exit;
  const struct journey *journey; /**< as it stands, all of it; null for START. Lives as long as the call */
  bool timed; /**< the input is its time; else an event, or what it got while it was held */
  bool held;  /**< its campaign does not run now: it gets no further than an answer */
  bool skips; /**< it is too late to send anything before the next wait */
  engine_send_message *send;
  void *context;
  /* what came of it */
  enum engine_journey_came came;
  uint32_t steps;     /**< new ones … */
  struct buf history; /**< … in here */
  struct journey_wait wait;
  struct buf text;   /**< its strings */
  struct buf handed; /**< value */
  int64_t now;       /**< what time it is for the journey at the end */
};
void engine_journey_call_init(struct engine_journey_call *call);
void engine_journey_call_deinit(struct engine_journey_call *call);
