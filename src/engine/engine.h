/** The only folder that knows Lua: states, budgets, generations, one file a binding.
 *
 * An engine is one Lua state with one generation's rules in it, for one worker. Rules are pure functions of
 * (event, user, now): what they ask for goes into a draft (state/draft.h), messages into the call; nothing
 * durable lives here. A rule that fails or exceeds its budget costs the input that one rule. An engine
 * belongs to one thread at a time: it may be made on one, used on another, and freed on a third. What it
 * declares (rules, windows, templates) does not change once it is made, and any thread may read it.
 */
#pragma once

#include "config/config.h"
#include "deliver/deliver.h"
#include "deliver/template.h"
#include "engine/experiment.h"
#include "engine/journey_call.h"
#include "engine/rollout.h"
#include "engine/ruleset.h"
#include "state/draft.h"

struct engine;

struct engine_options {
  const struct ruleset *ruleset; /**< outlives the engine */
  const struct config *config;   /**< rules.budget, rules.memory, routes, providers; outlives the engine */
  uint32_t generation;
  /** Windows and interests declared already: `form` and `since` of each. Others begin with `since`. */
  const struct window_declaration *known;
  size_t known_count;
  uint32_t since;
  /** Of these sources the segments of these folders (strings, buf_put_str) are kept too, and nobody is told
   * of them: of campaigns that do not serve yet. Outlive the engine. */
  const struct ruleset *quiet;
  struct str quiet_folders;
  bool live;           /**< every campaign is as if its `mode` were "live", for everybody */
  bool partial;        /**< some campaigns of many: they may name segments that are not among them */
  bool counted_budget; /**< simulate, specs: steps are counted instead of CPU time, so that runs agree */
  error_taker *taker;  /**< not null: a template or campaign that does not load is told to it and left out */
  void *taker_context;
};

/** Load every campaign. @return 0; ERROR_SCRIPT or ERROR_BUDGET with file, line, what is wrong, what to
 * write: of the first that fails, unless somebody takes them. */
int engine_new(struct engine **out, const struct engine_options *options, struct error *err);
void engine_free(struct engine *engine);
/** What it was made with. */
const struct engine_options *engine_made_with(const struct engine *engine);

/** A look-up that a rule declared (lua/kairos/needs.lua). */
struct engine_need {
  struct str name;        /**< the rule's own: needs.NAME */
  struct str source;      /**< config_lookup.name */
  struct str path;        /**< with placeholders (need_path.h) */
  struct str fallback;    /**< value */
  int64_t timeout, cache; /**< ms; cache 0: every event asks anew */
};

/** Who did one of these things lately, under the thing it was about (lua/kairos/interest.lua). */
struct engine_interest {
  struct str name;
  struct str index; /**< "interest:NAME@1c2d3e4f": its name in the user index. The digits follow from `of`,
                       `by` and `over`: with others it is another interest */
  struct str words; /**< for people */
  uint64_t form;    /**< of `index` */
  uint64_t id;      /**< of both: */
  uint32_t since;   /**< generation since which it is declared without a break */
  const struct str *of; /**< event types */
  size_t of_count;
  struct str by; /**< path within the payload, the key; "": all under one */
  int64_t over;  /**< ms from the event on */
};
/** Set `form` and `id` from `index` and `since`. */
void engine_interest_identify(struct engine_interest *interest);
/** Each once. */
size_t engine_interests(const struct engine *engine, const struct engine_interest **interests);

/** One loaded rule. */
struct engine_rule {
  struct str campaign;    /**< its name = the folder's, unless `name` says otherwise */
  struct str path;        /**< rule file, relative */
  struct hash128 version; /**< of its folder: ruleset_version() */
  const struct str *on;   /**< event types it subscribes to */
  size_t on_count;
  const struct str *timers; /**< timer names it handles */
  size_t timer_count;
  struct rollout rollout;
  int priority;
  struct str competes; /**< of the rules that compete for it, one sends for an event; "" for none */
  const struct engine_need *needs; /**< what its events wait for; its timers wait for nothing */
  size_t need_count;
  bool needs_if; /**< it says for each event whether they are worth asking for (engine_call.asks) */
  const struct engine_journey *journey; /**< null: a rule */
  bool for_each; /**< its events begin fan-outs (engine_call.gathers), and it runs for each user reached … */
  struct rate pace;   /**< … at this pace; count 0: the configuration's … */
  int64_t expires_in; /**< … for so long, ms; 0: the configuration's */
};
size_t engine_rules(const struct engine *engine, const struct engine_rule **rules);
/** One loaded segment (lua/kairos/segment.lua): a predicate over a user. */
struct engine_segment {
  struct str name;
  struct str campaign;      /**< the folder it stands in */
  struct str path;          /**< its file, relative */
  struct str entered, left; /**< types of the events that tell of it: "segment.entered:NAME" */
  struct str timer;         /**< name of the timer that wakes it: TIMER_SEGMENT and its name */
  const uint32_t *windows;  /**< all that `member` can read: indices into engine_windows() */
  size_t window_count;
  const uint32_t *reads; /**< segments that it reads: indices into engine_segments() */
  size_t read_count;
  int64_t sticky; /**< who is in stays so long at least, ms; 0: as `member` says */
  struct hash128
      version;      /**< of all that its answer follows from: the folder's files, rules/shared, the library */
  uint64_t meaning; /**< of `member` with all that it calls and holds, of `reads` and `sticky`: another, and
                       users are to be judged again. The same wherever they stand, whatever comments say */
  bool quiet;       /**< engine_options.quiet: who comes and goes is noted, and not told */
};
/** Each stands behind those that it reads. */
size_t engine_segments(const struct engine *engine, const struct engine_segment **segments);
/** @return the segment's index; -1 if there is none of that name. */
int engine_segment_of(const struct engine *engine, struct str name);
/** Windows that any rule declared, each once. */
size_t engine_windows(const struct engine *engine, const struct window_declaration **windows);
/** Interests that the files of a rule's folder declared: indices into engine_interests(). */
size_t engine_folder_interests(const struct engine *engine, uint32_t rule, const uint32_t **interests);
/** Indices into engine_rules() of the rules that want events of this type: the higher priority first, then by
 * name. */
size_t engine_subscribers(const struct engine *engine, struct str event_type, const uint32_t **rules);
/** Index of the rule that handles this campaign's timer; -1 if none does (any more). */
int engine_timer_rule(const struct engine *engine, struct str campaign, struct str timer);
/** Index of a campaign's rule; -1 if there is none. */
int engine_rule_of(const struct engine *engine, struct str campaign);

/** Experiments that any file declared, and campaigns with a holdout, each once. */
size_t engine_experiments(const struct engine *engine, const struct engine_experiment **experiments);
/** Index of an experiment; -1 if there is none of that name. */
int engine_experiment_of(const struct engine *engine, struct str name);
/** Those of the files of a rule's folder: indices into engine_experiments(). */
size_t engine_folder_experiments(const struct engine *engine, uint32_t rule, const uint32_t **experiments);

/** A send whose template and channel stand in the source. */
struct engine_send {
  struct str template_name, channel;
};
/** What the files of a rule's folder declare, which its rules share: indices into engine_windows() … */
size_t engine_folder_windows(const struct engine *engine, uint32_t rule, const uint32_t **windows);
/** … and sends, each once. */
size_t engine_folder_sends(const struct engine *engine, uint32_t rule, const struct engine_send **sends);
/** A window in words, and what keeps it apart: "count product.viewed 10m by sku"; appended. */
void engine_window_words(const struct engine *engine, uint32_t window, struct buf *out);

/** The compiled templates by hash, with their bundles, so that the host can store them before the generation
 * goes live. */
struct engine_template {
  struct str campaign, name;
  struct hash128 hash;
  struct str bundle;
};
size_t engine_templates(const struct engine *engine, const struct engine_template **templates);

/** Events that one input may lead to, those that they lead to included. */
enum { ENGINE_EMIT_MAX = 32 };

/** One rule on one input. */
struct engine_call {
  const struct event *event; /**< null for a timer */
  const struct timer *timer; /**< null for an event */
  struct entity entity;
  struct str cause;      /**< event_id or "timer:…": what message ids derive from, with … */
  struct hash128 origin; /**< … what tells the input from others of this cause: the fan-out that reaches the
                            user, what set the timer (timer.set_by); zero: there are no others */
  struct draft *draft;   /**< marked by the caller; the engine adds effects, and never rolls back */
  bool after_timer;      /**< a rule's timer led to this: true of events that follow from one, too */
  bool asks;             /**< only the rule's `needs_if` is run, and `acted` is its answer */
  struct str needs;      /**< value map, as the rule shall see its needs; empty: it has none */
  struct engine_journey_call *journey; /**< of a campaign that is a journey: what it is asked; else null */
  bool gathers; /**< only the rule's `for_each` is run; `acted`: it named somebody, … */
  struct str audience_index, audience_key; /**< … out: who stands here; valid until the engine runs again */
  struct str fan_out; /**< value: the fan-out that reaches this user, for the facts; empty: none */
  struct str weights; /**< of experiments that choose by what is known (experiment_choose()); "" for none */
  struct str forced;  /**< value map: experiment -> the variant that everybody gets; "" for none */
  struct str known;   /**< of a replay: the effects that the log has; variants are as they were then */
  int64_t now;        /**< what the rule sees, ms */
  int64_t wall;       /**< wall clock, for `accepted` and expiry, ms */
  struct buf
      messages; /**< out: message_encode() one after the other, without verdict; cleared by the engine */
  uint32_t message_count; /**< out */
  bool acted;             /**< out: `when` said yes (or there is none) */
  uint32_t emit_max;      /**< most events that the rule may emit */
  uint32_t emitted_count; /**< out */
  struct buf emitted;     /**< out: of each event its type, then its payload (a map), as strings */
  struct buf facts;       /**< out: value, what the rule read, also when nothing was sent */
};
void engine_call_init(struct engine_call *call);
void engine_call_deinit(struct engine_call *call);
/** Append what ids of that to which the input leads derive from: its cause and, if it has one, its origin. */
void engine_call_put_cause(const struct engine_call *call, struct buf *key);

/** The event changes for the rules that follow: nothing of the last one is found any more, and its bytes may
 * go. Once before the rules of each input, and before segments are judged. */
void engine_input(struct engine *engine);
/** @return 0, or ERROR_SCRIPT / ERROR_BUDGET / ERROR_LIMIT with file, line and traceback; the caller rolls
 * back. */
int engine_run(struct engine *engine, uint32_t rule, struct engine_call *call, struct error *err);

/** What a segment's predicate says of a user. */
struct engine_judgement {
  bool member;
  int64_t next; /**< the first moment after call->now at which it may say otherwise without an input;
                   INT64_MAX never */
};
/** Ask a segment's `member`, as of call->now. Of the call event and timer may both be null; it asks for no
 * effects. @return as engine_run(). */
int engine_judge(struct engine *engine, uint32_t segment, struct engine_call *call,
                 struct engine_judgement *out, struct error *err);

/** How the call's user comes into an experiment now: as known or forced, held out by the host or the
 * experiment, or by chance. @param chances  what `out` borrows from is put here. */
void engine_expose(const struct engine *engine, const struct engine_call *call,
                   const struct engine_experiment *experiment, struct exposure *out, struct buf *chances);
/** Whether the call's event is what an experiment's `where` means. @return 0, or as engine_run(). */
int engine_goal(struct engine *engine, uint32_t experiment, struct engine_call *call,
                const struct exposure *exposure, bool *reached, struct error *err);

/** Append what a rule file sees: a map, name -> true, or of a library table a map, name -> true. */
void engine_names(struct buf *out);
/** Append what people look for in a rule file and do not find: a map, name -> what to write instead. */
void engine_missing(struct buf *out);

size_t engine_memory(const struct engine *engine); /**< bytes that Lua holds */

/** Provider mappings (lua/kairos/providers) in a Lua state of their own, for deliver_port.scripts and
 * ingest_port.feedback. */
int engine_providers(const struct ruleset *ruleset, const struct config *config, struct provider_scripts *out,
                     struct error *err);
