/** One input decided: the path that live traffic, dead-letter retries and simulate all run.
 *
 * (record, input, now, wall) -> effects. Nothing here waits, knows a thread, a socket or a disk. The owner
 * gives the record and the clock, takes the effects to the log, and is told of each decision as it falls. One
 * decider an engine; the engine's thread only.
 */
#pragma once

#include "decide/lookup_need.h"
#include "engine/engine.h"
#include "gate/gate.h"
#include "state/log.h"

struct decider;

/** The campaign name that dead letters of the host's own steps carry. */
#define HOST_CAMPAIGN STR("kairos")

/** One rule has run on the input. */
struct decider_run {
  const struct engine_rule *rule;
  const struct engine_call *call; /**< with the facts it read, and whether it acted */
  uint32_t messages, passed;      /**< asked for; let through by the gate */
  uint32_t shadowed;              /**< let through, but for its being a shadow */
  const struct error *failed;     /**< null if it did not */
  struct str not_run;             /**< why it was not even run, in words; "" if it was */
  struct str fan_out; /**< over whom it began a fan-out: "interest:watchers, K1"; "" if it did not */
};

/** A segment has been judged for the user. */
struct decider_judgement {
  const struct engine_segment *segment;
  const struct engine_call *call; /**< with the facts it read, and as of when (`now`) */
  bool member;                    /**< whether he is in it from now on … */
  bool changed;                   /**< … which he was not, or the other way round */
  const struct error *failed;     /**< null if it did not; else nothing has changed */
};

struct decider_observer {
  void *context;
  /** Each message asked for, with the gate's answer. Borrowed for the call. May be null. */
  void (*message)(void *context, const struct message *message, const struct verdict *verdict);
  /** A rule failed; its effects are gone, and a dead letter is among the input's effects. May be null. */
  void (*failure)(void *context, const struct entity *entity, const struct failure *failure);
  /** Each rule that ran, after its messages, and each that roll-out, dates, hours or a pause kept from it.
   * May be null. */
  void (*ran)(void *context, const struct decider_run *run);
  /** The user must get nothing more on a channel. May be null. */
  void (*suppressed)(void *context, struct entity entity, struct str channel, struct str reason);
  /** The user must get nothing more for this purpose on a channel. May be null. */
  void (*withdrawn)(void *context, struct entity entity, struct str purpose, struct str channel);
  /** An event that the input derived is decided now. Borrowed for as long as what follows is about it. May
   * be null. */
  void (*derived)(void *context, const struct event *event);
  /** Each segment that was judged. May be null. */
  void (*judged)(void *context, const struct decider_judgement *judgement);
};

/** Earlier sources, which journeys under way began with and keep. All zero: there are none. */
struct decider_flights {
  /** A share of the files of this version (ruleset_version()). It may read the store.
   * @return 0; ERROR_NOT_FOUND, or why else they cannot be had */
  int (*sources)(void *context, struct hash128 version, struct ruleset **out, struct error *err);
  void *context;
  /** What they declare, and so goes on to be counted. Outlives the decider. */
  const struct window_declaration *windows;
  size_t window_count;
};

struct decider_options {
  struct engine *engine;
  const struct config *config;
  uint32_t generation;
  struct str paused; /**< what an operator has paused (decide/campaign.h); "" for none; outlives it */
  /** Windows and interests that it keeps beside the engine's: of rules that do not serve yet. Outlive it. */
  const struct window_declaration *besides;
  size_t besides_count;
  const struct engine_interest *interests;
  size_t interest_count;
  size_t record_max;
  bool uncounted; /**< a replay: metrics are about what happened, not about looking back */
  struct decider_flights flights;
  struct decider_observer observer;
};
struct decider *decider_new(const struct decider_options *options);
void decider_free(struct decider *decider);
/** The engine it was made for. */
const struct engine *decider_engine(const struct decider *decider);

/** Load an earlier source before an input needs it, which takes milliseconds. Its own thread, or before it
 * has one. @return false if there is no room: all that are loaded take rules.memory together. */
bool decider_open_flight(struct decider *decider, struct hash128 version, struct error *err);
/** Bytes of Lua that the earlier sources at hand hold; at most rules.memory, one more than fits aside. */
size_t decider_flight_memory(const struct decider *decider);

/** For the inputs that follow; borrowed, "" for none. Weights of experiments that choose by what is known,
 * and variants that everybody gets (engine_call.weights, .forced). */
void decider_weigh(struct decider *decider, struct str weights);
void decider_force(struct decider *decider, struct str variants);
/** A replay: the effects that the log has of the input that follows. */
void decider_know(struct decider *decider, struct str effects);

/** What an input did, valid until the next one. */
struct decision {
  struct str effects;  /**< encoded, for the log; empty if nothing happened */
  bool timers_changed; /**< the record's next timer may be another */
  bool record_changed;
  bool indexed;  /**< an EFFECT_INDEX or EFFECT_FAN_OUT may be among the effects */
  bool fans_out; /**< an EFFECT_FAN_OUT among them begins one */
  bool waits; /**< a rule waits for what it needs: a timer_needs() is among the effects, and in the record */
};

/** Drop what is read no more from a record: what time has made irrelevant (record_tidy()), even to an event
 * that is late by ingest.max_past, or to a timer that is overdue, and windows that this generation does not
 * count, which is the newest; declared again they begin anew (state/window.h). The log does not tell of it.
 * @param wall  now */
void decider_tidy(const struct decider *decider, struct record *record, int64_t wall);
/** Before an input: the same, if more than half of record_max is taken. So what does not fit is refused for
 * what is read still, and not for what happens to lie there since it was last written; and a replay, which
 * writes nothing, refuses what was refused, unless an input takes half of record_max by itself. Call it
 * before anything is borrowed from the record.
 * @return whether it was looked through */
bool decider_make_room(const struct decider *decider, struct record *record, int64_t wall);

/** An event: windows, profile, cancelled timers, suppressions, then the subscribed rules. Those with needs do
 * not run: a timer in the record waits with the event till decide_lookup(), or till it falls due. Then, in
 * the order in which they were derived, each event that rules emitted meanwhile, in the same way
 * (EFFECT_DERIVED marks it; at most ENGINE_EMIT_MAX an input). So it is after every input that runs a rule.
 *
 * Behind the rules of each the user's segments are judged: those that can read a window which the event went
 * into, all if an attribute or consent has changed or he is new, and those that read one that has changed.
 * They are judged as of the latest moment known of the user's segments, so that a late event does not take
 * them back in time. What may change by itself sets a timer (timer_segment()), and who comes or goes is an
 * event that follows.
 */
void decide_event(struct decider *decider, struct record *record, const struct event *event, int64_t wall,
                  struct decision *out);
/** The record's timer came due: it is cleared, and its rule runs unless it is too late. While the campaign is
 * paused or after its end it is dropped, outside its hours and before its start it is set anew for then.
 * `timer` may borrow from the record. */
void decide_timer(struct decider *decider, struct record *record, struct entity entity,
                  const struct timer *timer, int64_t wall, struct decision *out);
/** What the timer (campaign, name) waits for has come: it is cleared, and its rule runs on the record as it
 * is now, at the event's own time. `campaign` and `name` may not borrow from the record.
 * @param input  what the log's LOG_LOOKUP record shall hold is put here.
 * @return 0; or 1 if nothing waits under that name (any more), and nothing happened. */
int decide_lookup(struct decider *decider, struct record *record, struct str campaign, struct str name,
                  const struct lookup_results *results, int64_t wall, struct decision *out,
                  struct buf *input);
/** The same as it was logged. @return 0 or ERROR_CORRUPT. */
int decide_lookup_again(struct decider *decider, struct record *record, struct str input, int64_t wall,
                        struct decision *out, struct error *err);
/** An event of the same user that follows from the input under way; it is decided right behind its rules, in
 * the same record of the log. Its id derives from the input's cause and a running number, its timestamp is
 * what the call under way sees as now, its metadata {source}. For decide/'s own files; rules emit through
 * engine_call.emitted.
 * @param payload  value map. @param source  the campaign, or what else made it.
 * @return 0, or ERROR_LIMIT for one too many: nothing happened. */
int decide_emit(struct decider *decider, struct str type, struct str payload, struct str source,
                struct error *err);
/** A fan-out reaches this user: its rule runs on his record, as of now.
 * @param input  of the LOG_FAN_OUT record. @param reached  how many of his partition, he included
 * @return 0; or nothing happened, and `err` says why: ERROR_UNAVAILABLE the campaign does not run now, but
 * may later; ERROR_NOT_FOUND it is gone, or has ended; ERROR_CORRUPT */
int decide_reach(struct decider *decider, struct record *record, struct entity user, struct str input,
                 uint64_t reached, int64_t wall, struct decision *out, struct error *err);
/** A fan-out is paused, goes on, or ends: an input of the one whose event began it, on no record. */
void decide_fan_out_change(struct decider *decider, const struct fan_out_change *change,
                           struct decision *out);
/** Whether any rule has needs. */
bool decider_waits(const struct decider *decider);
/** A message came to an end or will be tried again. `record` may be null where decide_outcome_needs_record()
 * says no. */
void decide_outcome(struct decider *decider, struct record *record, const struct message *message,
                    const struct outcome *outcome, struct decision *out);
/** Whether this outcome changes the user's record: it gives something back (not if an attempt may have
 * arrived), or is of a journey's deferred message. */
bool decide_outcome_needs_record(const struct message *message, const struct outcome *outcome);
/** Run the one failed rule again on its input; the input is not counted again. @return 0, or why it failed
 * again, or does not run now. */
int decide_retry(struct decider *decider, struct record *record, struct entity entity,
                 const struct failure *failure, int64_t wall, struct decision *out, struct error *err);
/** One operator's effect (SUPPRESS, UNSUPPRESS, CONSENT, DEAD_CLEAR, ATTRIBUTE, TIMER_CLEAR), and what
 * follows from it. @return 0, ERROR_LIMIT, or ERROR_INVALID for the host's own timers. */
int decide_effect(struct decider *decider, struct record *record, struct entity entity,
                  const struct effect *effect, int64_t wall, struct decision *out, struct error *err);

/** What was counted of the user from the log, for windows that were declared later, goes into his record:
 * WINDOW_STATE, once for each window and key. He is noted under the keys of interests: INDEX, which shortens
 * nothing. And he goes into those of these segments that are quiet, or out of them, as of `wall`, without a
 * word to any rule; those of the others that he is to enter or to leave get their timer for `wall`.
 * @param record  may be null if there are neither windows nor segments. @param logged  nothing but windows
 * (decide/recount.h); null: none. @param entries  index changes, encoded; those ended by `wall` are left out.
 * @param refused  how many windows did not fit */
void decide_fill(struct decider *decider, struct record *record, struct entity entity,
                 const struct record *logged, struct str entries, const struct str *segments,
                 size_t segment_count, int64_t wall, struct decision *out, uint32_t *refused);
/** An operator lets a journey go on now, as if the time of its wait had come: it is due at `wall`. A parked
 * one tries again. @return 0, ERROR_NOT_FOUND, or ERROR_INVALID for one that has come to its end */
int decide_journey_move(struct decider *decider, struct record *record, struct hash128 id, int64_t wall,
                        struct decision *out, struct error *err);
/** An operator ends one. @return 0 or ERROR_NOT_FOUND */
int decide_journey_stop(struct decider *decider, struct record *record, struct hash128 id, struct str reason,
                        int64_t wall, struct decision *out, struct error *err);
/** A given-up message goes back to the outbox under its own id: MESSAGE and DEAD_CLEAR. Attempts are counted
 * anew; so if one of those before may have arrived, it holds its places from now on however it ends.
 * @param ended  how it was given up: kind and attempt are looked at */
int decide_resend(struct decider *decider, struct record *record, const struct message *message,
                  const struct outcome *ended, struct decision *out, struct error *err);
