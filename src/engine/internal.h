/** What the files of engine/ share: the engine behind engine.h, and the objects that rules hold. */
#pragma once

#include "engine/engine.h"
#include "engine/facts.h"
#include "engine/sandbox.h"

/** What a rule is doing, which decides what it may ask for. */
enum engine_phase { ENGINE_LOADING, ENGINE_WHEN, ENGINE_ACT, ENGINE_MEMBER };

/** A file of rules names a segment. */
struct named_segment {
  struct str path, name;
};

/** A segment's function, and what it says that it reads. */
struct segment_code {
  int member;        /**< in `handlers` */
  struct str *reads; /**< names */
  size_t read_count;
};

/** A campaign's folder. */
struct engine_folder {
  struct str name;
  struct hash128 version;
  size_t first_template, template_count; /**< in the engine */
  uint32_t *windows;                     /**< that its files declare: in the engine */
  size_t window_count;
  uint32_t *interests; /**< likewise */
  size_t interest_count;
  struct engine_send *sends;
  size_t send_count;
  uint32_t *experiments; /**< in the engine */
  size_t experiment_count;
};

/** An experiment's `where`: in the table `handlers`; 0: there is none. */
struct experiment_code {
  size_t folder;
  int where;
};

/** A rule's functions: where they are in the table `handlers`. */
struct engine_code {
  size_t folder;
  int when, act, needs_if, for_each; /**< 0: there is none */
  int timers;                        /**< the first; the others follow in the order of engine_rule.timers */
  int migrate;                       /**< of a journey */
};

/** The function of a journey under way, and what it is answered from (binding_history.c). */
struct engine_replay {
  bool on;                   /**< what is asked is kept: `run` runs, and not one of its `where` */
  uint32_t done;             /**< steps answered and made */
  int64_t input_now;         /**< what time it is by the input; call.now is the journey's own */
  struct reader history;     /**< what is left of it */
  bool open;                 /**< `asked` has no answer yet: an error now is the answer */
  struct journey_step asked; /**< a step; its label is in … */
  char label[JOURNEY_LABEL_MAX];
};

struct engine {
  struct sandbox sandbox; /**< first: sandbox_of(lua) is the engine too */
  struct engine_options options;

  struct engine_folder *folders;
  size_t folder_count;
  struct engine_rule *rules;
  struct engine_code *codes;
  size_t rule_count;
  struct engine_segment *segments;
  struct segment_code *segment_codes; /**< as `segments` */
  size_t segment_count;
  struct named_segment *named_segments; /**< whose indexes the files name */
  size_t named_count;
  uint32_t *segment_slots; /**< index + 1 by hash of the name, open addressing; a power of two of them */
  size_t segment_slot_count;
  struct window_declaration *windows;
  struct str *window_labels; /**< names of their facts */
  size_t window_count;
  struct engine_experiment *experiments;
  struct experiment_code *experiment_codes; /**< as `experiments` */
  size_t experiment_count;
  struct engine_interest *interests;
  size_t interest_count;
  struct engine_template *templates;
  struct template **compiled; /**< as `templates` */
  size_t template_count;
  struct subscription {
    struct str type;
    uint32_t *rules;
    size_t count;
  } * subscriptions; /**< open addressing by event type; a power of two of them */
  size_t subscription_slots;
  char **owned; /**< texts that live as long as the engine */
  size_t owned_count;
  int handler_count;
  struct {
    int handlers, user, journey, journey_event, upcoming;
  } refs; /**< in Lua's registry */

  size_t loading_folder;       /**< whose files are being loaded */
  bool loading_quiet;          /**< … for their segments alone */
  size_t folder_windows;       /**< how many windows there were before them … */
  size_t folder_interests;     /**< … and interests */
  size_t collected;            /**< bytes that Lua held after the last full collection while loading */
  struct bytecode_notes notes; /**< of the file being loaded */

  struct engine_call *call; /**< under way */
  uint32_t rule;            /**< … of this rule */
  enum engine_phase phase;
  uint32_t segment; /**< with ENGINE_MEMBER: which one is judged … */
  int64_t next;     /**< … and the first moment at which what it has read may change */
  struct facts facts;
  const void *user;                          /**< the one `user` object */
  struct buf text, data, map, message_facts; /**< scratch of the bindings */
  struct engine_replay replay;
  bool journey_event_built; /**< the table of the event that began the journey under way is there */
  const void *journey;      /**< the one `journey` object */
  struct buf audience;      /**< what engine_call.audience_… borrows from */
};

static inline struct engine *engine_of(lua_State *lua) {
  return (struct engine *)sandbox_of(lua);
}

/** "2026-11-27 09:00 Europe/Berlin", or without a zone that of the configuration. @return 0 or ERROR_INVALID.
 */
int engine_moment(const struct engine *engine, struct str text, int64_t *ms, struct error *err);

/** A copy that lives as long as the engine. */
struct str engine_keep(struct engine *engine, struct str text);

/** Of the function on top, which stays: a hash of its code and of all that it holds (meaning.c). */
uint64_t engine_meaning(lua_State *lua, const struct engine *engine);

/* ---- objects ---- */

extern const char object_user[], object_window[], object_throttle[], object_rule[], object_needs[],
    object_segment[], object_experiment[], object_journey[], object_interest[], object_audience[];

struct window_object {
  struct object object;
  uint32_t index;
};

struct experiment_object {
  struct object object;
  uint32_t index;
};

struct throttle_object {
  struct object object;
  uint64_t key; /**< of (folder, name) */
  struct rate rate;
  double burst;
  struct str label;
};

/** A shadow's marks and throttles are its own: what it would have done holds nothing back that is done live,
 * nor later when it goes live itself. */
static inline uint64_t engine_own_key(const struct engine *engine, uint64_t key) {
  return engine->rules[engine->rule].rollout.mode == ROLLOUT_SHADOW ? hash64(STR("shadow"), key) : key;
}
struct needs_object {
  struct object object;
  struct engine_need need; /**< without its name */
};

/** What kairos.rule returns. Its definition is the userdata's environment: name, on, when, act, timers,
 * timer_names, needs, need_names, needs_if, for_each, pace, expires_in (ms). */
struct rule_object {
  struct object object;
};

/** What kairos.segment returns. Its definition is the userdata's environment: name, member, reads, sticky. */
struct segment_object {
  struct object object;
};

/* ---- loading (load.c, modules.c) ---- */

/** Everything engine_new does inside Lua. */
int engine_load(struct engine *engine, struct error *err);
/** Put the function at the top into `handlers`; pops it. @return its place there; 0 for nil. */
int engine_keep_function(lua_State *lua, struct engine *engine);
/** The texts of the list at the top, copied for good; pops it. The caller frees the array. */
struct str *engine_keep_texts(lua_State *lua, struct engine *engine, size_t *count);

/* ---- segments (segment.c) ---- */

bool engine_is_segment(lua_State *lua);
/** Whether there is one of the name of the segment on top. */
bool engine_has_segment(lua_State *lua, struct engine *engine);
/** Take in the segment object on top; pops it. */
void engine_add_segment(lua_State *lua, struct engine *engine, const struct ruleset_file *file);
/** Once all are loaded: who reads whom, in which order they are judged, and whether what names one has it.
 * @return 0, or ERROR_SCRIPT naming the file, unless options.taker takes it. */
int engine_settle_segments(struct engine *engine, struct error *err);
void engine_free_segments(struct engine *engine);
/** Append what was probably meant, and what segments there are. */
void engine_list_segments(const struct engine *engine, struct str meant, struct buf *out);
/** A file or rule names the index of a segment ("segment:NAME"; another index is none): raises while it runs
 * if there is no such segment, and while it is loaded leaves that to engine_settle_segments(). */
void engine_name_segment(lua_State *lua, struct str index);

/** Index the rules by the events they want. */
void engine_subscribe(struct engine *engine);
/** Append the names of a folder's templates, and what was probably meant. */
void engine_list_templates(const struct engine *engine, size_t folder, struct str meant, struct buf *out);
/** @return the template's index, or -1. */
int engine_find_template(const struct engine *engine, size_t folder, struct str name);
/** Append the names of the channels, and what was probably meant. */
void engine_list_channels(struct str meant, struct buf *out);

/** Once a state: what `require` needs. */
void modules_open(lua_State *lua);
/** Forget the modules of the campaign before: each campaign has its own. */
void modules_begin(lua_State *lua);
/** Load and run a file of the campaign being loaded, and push what it returns (nil becomes true). Remembered.
 */
void modules_load(lua_State *lua, const struct ruleset_file *file);
/** Push everything that the campaign being loaded holds on to. */
void modules_push_kept(lua_State *lua);
/** Push what a library file returns, loaded once a state. @param name  "kairos.core" */
void modules_push_library(lua_State *lua, struct str name);
/** The value on top is what requiring `name` shall give in library files; pops it. */
void modules_set_library(lua_State *lua, const char *name);

/** Take in the journey whose rule object's definition is on top; `rule` and `code` are there but for it. */
void engine_take_journey(lua_State *lua, struct engine_rule *rule, struct engine_code *code);
void engine_journey_free(const struct engine_journey *journey);

/* ---- running ---- */

/** What a journey's campaign is asked: engine_call.journey. Inside sandbox_run. */
void engine_run_journey(lua_State *lua, struct engine *engine, const struct engine_code *code);
/** engine_call.journey's MIGRATE. */
void engine_migrate_journey(lua_State *lua, struct engine *engine, const struct engine_code *code);
/** Push a handler. */
void engine_push_handler(lua_State *lua, const struct engine *engine, int handler);

/** Push the table of the event under way. */
void event_table_push(lua_State *lua);
/** Push a table of any other event: of bytes that live as long as the input, kept alive by the caller … */
void event_table_push_other(lua_State *lua, const struct event *event);
/** … or all of it, of any bytes, read-only while the call lasts. */
void event_table_push_whole(lua_State *lua, const struct event *event);

/* ---- what a journey gets from the host ---- */

/** Every value that the function of a journey gets from the host goes by this pair, so that a replay gets the
 * same: a binding asks, before it answers, whether the history has the answer, and shows its own afterwards.
 *
 *   if (history_answers(lua, JOURNEY_READ, label, hash)) return 1;
 *   … push the answer …
 *   return history_note(lua);
 *
 * Outside of a journey's function neither does anything. An effect without an answer notes nil. What raises
 * an error between the two, and is caught by a pcall of the rule's, is kept as a step that failed: a replay
 * raises the same text there. So whatever depends on more than the arguments is looked at between the two. A
 * step that is not the one in the history, or one too many, ends the call, and no pcall catches that.
 * @param label  what is asked, in words, op included where it says more than that: "count product.viewed 10m
 * [X1]"
 * @param arguments  hash of all that is asked but the op. @return true with the answer pushed. */
bool history_answers(lua_State *lua, enum journey_op op, struct str label, uint64_t arguments);
/** @return 1: the answer on top is a value that is kept. */
int history_note(lua_State *lua);
/** The wait that the function comes to. @return true with its answer in `*answer` (borrowed from the history
 * or the journey): it is over, since long or by this input. Otherwise it is to be asked of this input, or to
 * begin:
 * `*pending` says which. */
bool history_waited(lua_State *lua, enum journey_op op, struct str label, uint64_t arguments,
                    struct journey_answer *answer, bool *pending);
/** Raises for an encoded event that is longer than a journey keeps, and no pcall catches that. */
void history_check_event(lua_State *lua, size_t len);
/** The wait is over now: note it. `event` may be null. */
void history_wait_over(lua_State *lua, const struct event *event);
/** A pcall of the rule's has caught the error on top, which becomes text if it is none: if a step was asked
 * for and had no answer yet, that is its answer. */
void history_failed(lua_State *lua);
/** The function leaves its history behind. Raises if that has more. @param how  "its function ends" */
void history_finish(lua_State *lua, const char *how);

/* ---- bindings of kairos and user ---- */

/** Put the table kairos.core on the stack. */
void binding_kairos_push(lua_State *lua);
/** Put the one `user` on the stack. */
void binding_user_push(lua_State *lua);
/** Put the one `journey` on the stack. */
void binding_journey_push(lua_State *lua);
extern const luaL_Reg binding_journey_wait[]; /**< journey:wait, wait_until, wait_for */
/** The journey's call under way, whose method `method` ("journey:wait") is asked. Raises if there is none, or
 * where it may not act. */
struct engine_journey_call *binding_journey_call(lua_State *lua, const char *method);
/** kairos.core.window and kairos.core.throttle. */
int binding_declare_window(lua_State *lua);
int binding_declare_throttle(lua_State *lua);
/** The generation since which a window or interest of this form has been declared without a break. */
uint32_t binding_since(const struct engine *engine, uint64_t form);
/** kairos.core.experiment. */
int binding_declare_experiment(lua_State *lua);
/** Take an experiment into the engine, with its variants; raises if another has its name. @return its index
 */
uint32_t binding_keep_experiment(lua_State *lua, const struct engine_experiment *experiment, int where);
/** kairos.core.interest, audience, is_audience. */
int binding_declare_interest(lua_State *lua);
int binding_audience(lua_State *lua);
int binding_is_audience(lua_State *lua);
/** Put whom the value on top names into the call; raises unless it is an audience, or nil or false. @return
 * whether it names anybody. */
bool binding_take_audience(lua_State *lua, struct engine *engine);
/** kairos.core.needs. */
int binding_declare_needs(lua_State *lua);
/** kairos.core.segment and kairos.core.reached. */
int binding_declare_segment(lua_State *lua);
int binding_reached(lua_State *lua);
/** Raise if a segment's `member` is asked, for it must change nothing. @param method  "user:allow" */
void binding_refuse_in_member(lua_State *lua, const char *method);
/** What the call under way has read may change at `moment` without an input. */
static inline void binding_note_change(struct engine *engine, int64_t moment) {
  if (moment < engine->next) engine->next = moment;
}
extern const luaL_Reg binding_segment[]; /**< user:in_segment */
/** Fill in the rule's look-ups, whose names are there, from its table of them on top. */
void binding_take_needs(lua_State *lua, const struct engine_rule *rule, struct engine_need *needs);
/** Push what the call under way was given for its needs. */
void binding_push_needs(lua_State *lua);
/** Note the same among the call's facts. */
void binding_note_needs(struct engine *engine);
extern const luaL_Reg binding_window[];     /**< user:count, sum, last, first, distinct, allow */
extern const luaL_Reg binding_experiment[]; /**< user:variant */
extern const luaL_Reg binding_timer[];      /**< user:after, at, cancel */
extern const luaL_Reg binding_library[];    /**< kairos.core: time zones, hash, charge */
int binding_send(lua_State *lua);           /**< user:send, journey:send */
int binding_emit(lua_State *lua);           /**< user:emit, journey:emit */
int binding_set(lua_State *lua);            /**< user:set, journey:set; upvalue 1: the methods of `user` */
/** The configuration's own text of a purpose's name ("": the default's); raises, with what is near, if there
 * is none. */
struct str binding_purpose(lua_State *lua, struct str name);

/** The call under way, whose user's method `method` ("user:count") is asked. Raises if there is none, or
 * `user` was not passed. */
struct engine_call *binding_call(lua_State *lua, const char *method);
/** The same for a method that asks for effects, which `when` may not. */
struct engine_call *binding_acting_call(lua_State *lua, const char *method);
/** The same of a method that `user` and `journey` both have. `*method` is its full name: "journey:send". */
struct engine_call *binding_either_call(lua_State *lua, const char *user_method, const char *journey_method,
                                        const char **method);
/** Add an effect, or raise. */
void binding_effect(lua_State *lua, const struct effect *effect);
/** Text of a key (a string, number or boolean) at `index`; raises for others. Borrowed until the next. */
struct str binding_key(lua_State *lua, int index, const char *method);
/** A duration at `index`, ms; raises unless it is text such as "5m". @param what  "expires_in of user:send"
 */
int64_t binding_duration(lua_State *lua, int index, const char *what);
/** Raise unless the table at `index` has only fields of `names` (null-terminated). */
void binding_check_fields(lua_State *lua, int index, const char *const *names, const char *what);
/** Push what the table at `index` has under `name`: never by a metamethod, since C holds on to parts of the
 * user's record meanwhile. @return whether there is anything. */
bool binding_raw_field(lua_State *lua, int index, const char *name);
/** Text under `name` in the table at `index`: "" if there is none and it may be so; raises for other types.
 * Stays on the stack. */
struct str binding_field(lua_State *lua, int index, const char *name, bool required, const char *what);
