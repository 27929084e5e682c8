/** A virtual host's insides, shared by sim.c (inputs, the clock), sim_deliver.c (messages on their way) and
 * sim_tell.c (what happened). */
#pragma once

#include "deliver/queue.h"
#include "sim/sim.h"
#include "state/log.h"
#include "state/seen.h"
#include "state/table.h"
#include "state/timers.h"

struct sim_rules {
  struct sim_rules_options options;
  struct engine *engine;
  struct decider *decider;
  struct provider_scripts scripts;
  struct template **compiled; /**< as engine_templates(); null until first wanted */
  struct rendered rendered;
  struct http_request request;
  struct sim *current;                /**< who is deciding */
  struct window_declaration *windows; /**< of those before */
  size_t window_count;
};

struct sim_provider {
  const struct config_provider *account;
  struct queue queue;
  bool honours_keys;
  struct sim_answer answer;
  uint64_t answers_left; /**< 0: no end */
};

struct sim {
  struct sim_rules *rules;
  struct sim_options options;
  int64_t now;
  struct table *table;
  struct seen *seen;
  struct timers *timers;
  struct user_index *index;
  struct sim_fan_out *fan_outs;    /**< under way, in the order they began */
  struct buf entity, input, entry; /**< scratch */
  struct buf lookups;              /**< what sim_lookup() was told, one after the other */
  struct buf asks;                 /**< scratch: a timer that waits */
  struct buf variants, weights;    /**< of experiments: forced, drawn (engine_call) */
  int64_t draw_at;                 /**< when weights are drawn next */

  /* messages on their way; unless it only decides */
  struct outbox outbox;
  struct limits limits;
  struct sim_provider *providers; /**< as in the configuration */
  int64_t wake;                   /**< when deliveries go on by themselves; INT64_MAX never */
  struct buf feedback;            /**< bounces to be reported: message id, user, channel */
  uint64_t random;

  /** What happened, one input after the other: type:u8 at:zigzag kind:u8 id:str input:str effects:str
   * run_count:varint runs:str (values). */
  struct buf history;
  struct buf runs; /**< of the input under way */
  uint32_t run_count;
  struct buf sent; /**< values */
  uint32_t sent_count;
};

/* sim.c */
/** The user's, found or made, with room for the input that follows (decider_make_room()). */
struct slot *sim_slot(struct sim *sim, struct entity entity);
/** The input has been decided: remember it, and when its user's next timer is due. */
void sim_decided(struct sim *sim, enum log_record_type type, struct entity entity, struct str input,
                 const struct decision *decision, struct slot *slot);

/* sim_experiment.c */
/** The host is about to decide. */
void sim_turn(struct sim *sim);

/* sim_lookup.c */
/** Rules of an input wait, as its effects say: their look-ups end now, unless they are to take too long. */
void sim_lookups_begin(struct sim *sim, struct slot *slot, struct str effects);
/** A timer_needs() ends; its names may be the record's. @param late  it is due: what was to take too long
 * has. @return whether it has ended.
 */
bool sim_lookup_ends(struct sim *sim, struct slot *slot, struct str campaign, struct str name, bool late);

/* sim_fan_out.c */
/** What an input's effects begin. */
void sim_fan_outs_begin(struct sim *sim, struct str effects);
/** When one goes on; INT64_MAX: none is under way. */
int64_t sim_fan_outs_at(const struct sim *sim);
/** One that may go on now, does. */
void sim_fan_outs_turn(struct sim *sim);
void sim_fan_outs_deinit(struct sim *sim);

/* sim_deliver.c */
void sim_deliver_init(struct sim *sim);
void sim_deliver_deinit(struct sim *sim);
void sim_deliver_add(struct sim *sim, const struct message *message);
void sim_deliver_suppressed(struct sim *sim, struct entity user, struct str channel, struct str purpose,
                            struct str reason);
void sim_deliver_recall(struct sim *sim, struct entity user, const struct outbox_recall *recall,
                        struct str reason);
/** Everything that can go on now, goes on. */
void sim_deliver_turn(struct sim *sim);
