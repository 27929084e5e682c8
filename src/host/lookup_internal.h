/** The insides of look-ups, shared by lookup.c (the thread), lookup_fetch.c (what waits, and requests) and
 * lookup_input.c (the worker's side). */
#pragma once

#include "base/mailbox.h"
#include "base/metric.h"
#include "deliver/breaker.h"
#include "host/lookup.h"
#include "host/lookup_answer.h"

#include <stdatomic.h>

enum {
  WANTS_MAX = 4,  /**< look-ups of one rule, as lua/kairos/check.lua has it */
  HANDED_MAX = 64 /**< inputs with the workers at once */
};

/** A server. */
struct source {
  const struct config_lookup *config;
  uint32_t index;
  struct config_provider account; /**< what the transport asks of one */
  struct http_account http;
  struct buf headers; /**< value map of every request's; the secret is in it */
  struct breaker breaker;
  enum breaker_state shown; /**< as last logged */
  struct list queue;        /**< requests that have not begun */
  uint32_t running;
  int64_t next_at; /**< by its rate; monotonic us */
  uint64_t asked, answered, cached, failed;
  metric_id outcomes[LOOKUP_REASONS], cached_metric, seconds, breaker_gauge;
};

/** One look-up of one rule's run. */
struct want {
  struct job *job;
  struct want *next; /**< of the same request */
  struct str name;
  struct lookup_answer *answer; /**< null: not yet */
  bool cached;
};

/** A timer in some user's record that waits. */
struct job {
  struct hashed by_timer;
  struct list_item place; /**< in `open` or `ready` */
  struct entity entity;
  struct str campaign, name;
  uint32_t count, open;
  struct want wants[WANTS_MAX];
  char texts[];
};

/** A request, for all who want it. */
struct fetch {
  struct hashed by_path;
  struct list_item queued; /**< in its source's queue, until it begins */
  struct heap_item deadline;
  struct source *source;
  struct want *wants;
  struct http_transfer *transfer; /**< null: not begun */
  int64_t keep;                   /**< the longest time that anybody wants its answer kept, ms */
  int64_t began;                  /**< monotonic us */
  uint32_t epoch;                 /**< breaker_begin() */
  uint32_t path_len;
  char path[];
};

struct lookup {
  struct worker_shared *shared;
  const struct config *config;
  uv_thread_t thread;
  uv_loop_t loop;
  uv_prepare_t prepare;
  uv_timer_t wake;
  struct mailbox *mailbox;
  struct http *http;
  struct json_parser *json;
  struct source *sources;
  struct hash_table jobs, fetches;
  struct heap deadlines;   /**< of every request, begun or not */
  struct list open, ready; /**< jobs that lack answers, and that are complete */
  struct lookup_cache cache;
  struct buf value;
  uint32_t handed; /**< inputs that are with the workers */
  bool stopped;
  atomic_uint waiting; /**< admitted, and not handed over */
  metric_id waiting_gauge, cache_gauge;
};

/* lookup_fetch.c: the thread's own */
/** Take in one that lookup_put() wrote. */
void lookup_job_begin(struct lookup *lookup, struct reader *reader, int64_t now);
/** A transfer has ended. */
void lookup_collect(struct lookup *lookup, struct http_transfer *transfer);
/** A request's time is over. */
void lookup_late(struct lookup *lookup, struct fetch *fetch);
/** Begin what may begin. @return when more may, monotonic us. */
int64_t lookup_go_on(struct lookup *lookup, struct source *source, int64_t now);
/** Hand over what is complete, some at a time: the workers log whole answers. */
void lookup_hand_over(struct lookup *lookup);
/** Break off all requests, forget all that waits. */
void lookup_forget(struct lookup *lookup);

/* lookup_input.c */
/** Give a user's owner what came of a look-up. Copies all. @param home  told when it is settled; may be null.
 * Any thread. */
void lookup_input_post(struct worker_shared *shared, struct entity entity, struct str campaign,
                       struct str name, const struct lookup_results *results, struct lookup *home);
/* lookup.c */
/** Send mail to the thread. Any thread. */
void lookup_home(struct lookup *lookup, struct mail *mail);
/** On the thread: an input is settled. */
void lookup_came_home(struct lookup *lookup);
