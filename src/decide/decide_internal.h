/** The decider's insides, shared by decide.c (which rules run, and what comes of them), decide_retry.c (dead
 * letters, once more), decide_host.c (what the host itself makes of an event), decide_wait.c (rules that wait
 * for what they need), decide_segment.c (who comes and goes) and decide_derived.c (events that follow from
 * the input). */
#pragma once

#include "decide/campaign.h"
#include "decide/decide.h"
#include "state/consent.h"

/** What an event type sets in motion, looked up once an event. */
struct plan {
  struct str type; /**< borrowed from the engine's declarations */
  const struct window_declaration **windows;
  size_t window_count;
  const struct engine_interest **interests;
  size_t interest_count;
  const uint32_t *rules;
  size_t rule_count;
  uint32_t *segments; /**< that can read one of the windows */
  size_t segment_count;
  uint32_t *goals; /**< experiments whose goal it may be */
  size_t goal_count;
};

/** Where a campaign's rule is: in the generation, or in an earlier source (decide_flight.c). */
struct decide_source {
  struct engine *engine;
  const struct engine_rule *rules; /**< the engine's */
  size_t rule_count;
  struct campaigns *campaigns; /**< of these rules */
  uint32_t rule;               /**< the campaign's, among them */
};

struct decider {
  struct decider_options options;
  struct draft draft;
  struct engine_call call;
  struct plan *plans; /**< open addressing by hash of the type; empty slots have no type */
  size_t plan_slots;
  uint64_t *window_ids; /**< of all that are counted, ascending */
  size_t window_id_count;
  const struct engine_rule *rules;
  size_t rule_count;
  const struct engine_experiment *experiments;
  struct buf key, checks, cause, input;
  struct buf stash;                  /**< a copy of a timer that would move with the record */
  struct buf waiting, needs, lookup; /**< a timer's data, a rule's needs, a look-up's input */
  struct str reached;                /**< input of a LOG_FAN_OUT record under way; "" */
  bool waits;
  const struct engine_rule **senders; /**< rules that compete, and have sent for the input */
  size_t sender_count, sender_cap;
  struct campaigns *campaigns;
  struct flights *flights; /**< earlier sources at hand */
  struct {
    const struct engine_segment *all;
    size_t count;
    struct segment_state *states; /**< as `all` */
    bool wanted;                  /**< any of them is */
  } segments;
  struct {
    uint32_t count, decided; /**< of this input */
    uint32_t depth;          /**< of their ids */
    size_t at;               /**< in the draft's effects: those before it are decided */
    struct buf cause;        /**< the input's */
    struct buf event;        /**< the one under way */
    struct buf id, bytes;    /**< scratch */
  } derived;
  struct engine_journey_call journey_call;
  const struct engine_rule *journey_asked; /**< whose roll-out counts for it … */
  int journey_index;                       /**< … and where that is in the generation; -1 */
  struct buf journey_bytes, journey_event,
      journey_name;                         /**< of the journey under way, which moves in the record */
  struct buf journey_message;               /**< that it sends: what of it is the user's would move, too */
  struct draft_savepoint journey_savepoint; /**< … before that */
  struct buf journey_sent;                  /**< journey.sent as it will be */
};

/* decide_plan.c */
/** Of the engine's rules, windows, segments, experiments and interests, once they are known. */
void decide_plans_build(struct decider *decider);
void decide_plans_free(struct decider *decider);
/** What an event of this type sets in motion; nothing of it if nobody wants one. */
const struct plan *decide_plan(const struct decider *decider, struct str type);

/* decide.c */
/** An input begins on `record`, and its effects are whole. */
void decide_begin(struct decider *decider, struct record *record, struct decision *out);
void decide_finish(struct decider *decider, struct decision *out);
/** Put one message of the rule before the gate, with what it reserves and its verdict in the draft.
 * @param index  of the rule in the generation; -1: it is an earlier source's
 * @param late  why it must not go, whatever the gate says; null: it may
 * @param verdict  its `checks` hold till the next
 * @return 0, or ERROR_LIMIT where the record has no room. */
int decide_judge(struct decider *decider, const struct engine_rule *rule, int index, struct message *message,
                 const char *late, struct verdict *verdict, struct error *err);
/** Tell of the messages decided since the mark: only now is it sure that they stay. @param rule  among
 * the campaigns */
void decide_announce_messages(struct decider *decider, struct campaigns *campaigns, uint32_t rule,
                              struct decider_run *run);
/** The rule has sent for this input. */
void decide_note_sender(struct decider *decider, const struct engine_rule *rule);
/** "3h late, and its late_after is 1h" */
void decide_say_late(int64_t late, int64_t late_after, char *out, size_t size);
/** Set the call up for an input: an event, or a timer. */
void decide_prepare(struct decider *decider, struct entity entity, const struct event *event,
                    const struct timer *timer, int64_t wall);
/** A dead letter: the rule failed on the call's input. `rule` is its file. */
void decide_fail(struct decider *decider, const struct engine_call *call, struct str campaign,
                 struct str rule, const struct error *reason);
/** @return whether the campaign runs for this input; if not, who watches is told why. */
bool decide_runs(struct decider *decider, uint32_t rule, struct engine_call *call,
                 struct campaign_answer *answer);
/** Run one rule, and put what it sends before the gate. @return 0, or why it failed; its effects are gone
 * then. */
int decide_run(struct decider *decider, uint32_t rule, struct engine_call *call, struct error *err);
/** The same; a failure leaves no effect but its dead letter. */
void decide_run_or_fail(struct decider *decider, uint32_t rule, struct engine_call *call);

/** One event's steps: it came in, or was derived. */
void decide_take_event(struct decider *decider, const struct event *event, int64_t wall,
                       struct decision *out);

/* decide_derived.c */
void decide_derived_init(struct decider *decider);
void decide_derived_deinit(struct decider *decider);
/** An input begins: nothing follows from it yet. */
void decide_derived_begin(struct decider *decider);
/** What the rule of the call under way emitted follows from the input. @return 0 or ERROR_LIMIT; the caller
 * rolls back. */
int decide_take_emitted(struct decider *decider, struct str source, struct error *err);
/** Decide what has followed from the input so far, and what follows from that. Before decide_finish(). */
void decide_derived(struct decider *decider, int64_t wall, struct decision *out);

/* decide_segment.c */
void decide_segments_init(struct decider *decider);
void decide_segments_deinit(struct decider *decider);
/** An input begins: no segment is to be judged. */
void decide_segments_begin(struct decider *decider);
/** Judge what the input has changed so far: the plan's segments (null: none of its own), and of an attribute
 * or a consent all. Who comes and goes follows from the input as an event. */
void decide_segments(struct decider *decider, const struct plan *plan, struct decision *out);
/** A segment's timer is due; it is cleared already. */
void decide_segment_timer(struct decider *decider, const struct timer *timer, struct decision *out);
/** The segment of a dead letter is judged once more. @return 0, or why it failed again. */
int decide_segment_again(struct decider *decider, struct str campaign, struct decision *out,
                         struct error *err);
/** The log has been read into the user's windows, on the decision under way (decide_begin()): put him into
 * the segments of these names whose predicate holds as of `wall`, and take him out of the others, without a
 * word to any rule; those that read them too. One that fails leaves a dead letter. */
void decide_fill_segments(struct decider *decider, struct entity entity, const struct str *names,
                          size_t count, int64_t wall, struct decision *out);
/** Whether a dead letter's campaign is a segment. */
bool decide_is_segment(struct str campaign);

/* decide_host.c */
/** The host's own steps; each that does not fit the record is a dead letter of its own, and the event goes
 * on. */
void decide_host_steps(struct decider *decider, const struct plan *plan, struct engine_call *call,
                       struct decision *out);
/** An `identify` that had no room then, once more: what the profile has by now is newer, and stays.
 * ERROR_INVALID: it lacks nothing of it. */
int decide_profile_again(struct decider *decider, const struct event *event, struct error *err);
/** `consent.granted` and `consent.withdrawn`: the user's word on a purpose. */
int decide_consent(struct decider *decider, const struct event *event, bool granted, struct error *err);
/** Tell of what the user's word now forbids; a newer one may have been there already. */
void decide_announce_consent(struct decider *decider, struct entity entity, const struct consent *consent);

/* decide_flight.c */
/** Which source a journey runs on: the generation's own, if the campaign has this version there, or an
 * earlier one, which is loaded if it is not at hand; good for the input under way.
 * @return 0, or a negative code with what keeps the journey from going on */
int decide_flight(struct decider *decider, struct str campaign, struct hash128 version,
                  struct decide_source *out, struct error *err);
/** Between two inputs: close those needed longest ago, till what is at hand fits. */
void decide_flights_trim(struct decider *decider);
void decide_flights_free(struct decider *decider);
/* decide_fan_out.c */
/** Who has such an event is noted under its key. */
int decide_interests(struct decider *decider, const struct plan *plan, const struct event *event,
                     int64_t wall, struct error *err);
/** The event begins a fan-out of this rule, if its campaign runs and it names anybody. */
void decide_fan_out(struct decider *decider, uint32_t index, struct engine_call *call, struct decision *out);
/** The same without asking the campaign. @return 0, or why it failed; its effects are gone then. */
int decide_fan_out_begins(struct decider *decider, uint32_t index, struct engine_call *call,
                          struct decision *out, struct error *err);
/** Set the call up for a user whom a fan-out reaches. `event` must outlive it. @return 0, ERROR_NOT_FOUND,
 * ERROR_CORRUPT */
int decide_reached(struct decider *decider, struct entity user, struct str input, int64_t wall, int *rule,
                   struct event *event, struct error *err);

/* decide_experiment.c */
/** Exposures from before this event whose goal it is, each counted once. */
void decide_goals(struct decider *decider, const struct plan *plan, struct engine_call *call);
/** Whether a dead letter is about a goal, and the same again for it. @return 0, or why not. */
bool decide_is_goal(struct str campaign);
int decide_goal_again(struct decider *decider, struct str campaign, struct engine_call *call,
                      struct error *err);
/** Why the rule's campaign holds the call's user out from a message of this purpose, in words put into
 * `text`; null if it does not. Whoever a campaign with a holdout would write to takes part in it from then
 * on.
 * @param index  of the rule; -1: it is of an earlier source, and goes by the experiments of the campaign as
 * it is now */
enum { DECIDE_HELD_OUT_MAX = 200 };
const char *decide_held_out(struct decider *decider, const struct engine_rule *rule, int index,
                            const struct config_purpose *purpose, char text[DECIDE_HELD_OUT_MAX]);

/* decide_wait.c */
/** The rule runs when its needs are there; at once, by its fallbacks, where there is nothing to wait for. */
void decide_wait_or_run(struct decider *decider, uint32_t index, struct engine_call *call,
                        struct decision *out);
/** Nobody is asked: the rule goes by its fallbacks. The call's needs are valid until the next. */
void decide_by_fallbacks(struct decider *decider, const struct engine_rule *rule, struct str data,
                         enum lookup_reason reason, struct str why, struct engine_call *call);
/** Nothing came in time. */
void decide_stop_waiting(struct decider *decider, const struct timer *timer, int64_t wall);
/** Whether this end gives back what the message reserved: not if an attempt may have arrived. */
bool decide_gives_back(const struct message *message, const struct outcome *outcome);
