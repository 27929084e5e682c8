/** A generation: the rules as they serve from one moment on, ready to run on every worker, and what is
 * written down of it.
 *
 * Its number stands in every record that was decided under it. What the number means is kept in the store's
 * meta for as long as the log keeps such records: `generation:<number>` its facts, `ruleset:<hash>` the list
 * of its files, `source:<hash>` a file's text, `templates:<ruleset's hash>` the hashes of its templates,
 * `template:<hash>` a compiled one's source. They are stored first; then one durable LOG_GENERATION record is
 * the decision, after which every worker takes it, or, after a crash, the host that starts.
 */
#pragma once

#include "generation/journey_source.h"

/** What made it. */
enum generation_cause {
  GENERATION_START,    /**< the files had changed while no host ran */
  GENERATION_WATCH,    /**< … while it ran */
  GENERATION_COMMAND,  /**< `kairos reload` */
  GENERATION_ROLLBACK, /**< `kairos rollback`: sources of an earlier one */
  GENERATION_PAUSE,    /**< a campaign was paused: the same sources */
  GENERATION_RESUME,
  GENERATION_FILL, /**< windows were filled for sources that waited for it */
  GENERATION_CAUSES
};
/** "start", "watch", … */
const char *generation_cause_name(enum generation_cause cause);

/** What is written down of one, in the log and in meta. */
struct generation_facts {
  uint32_t number;
  enum generation_cause cause;
  int64_t at;             /**< wall clock, ms */
  struct str by;          /**< who asked for it, as he called himself; "" for nobody */
  uint32_t restores;      /**< ROLLBACK: the generation whose sources these are; else 0 */
  struct hash128 sources; /**< of its ruleset */
  struct hash128
      files;         /**< of the files on disk that it answers to: others than its sources after a rollback */
  struct str paused; /**< value: array of the campaigns that an operator has paused: maps {campaign, by,
                        reason, at} */
  struct str flights; /**< value: array of the earlier sources that journeys are on (journey_source.h) */
  struct str changes; /**< value: map {added, changed, removed}: arrays of folders; against the one before */
  struct str windows; /**< value: array {form, since, …} of the windows and interests declared; "" before
                         there were such */
  struct str besides; /**< value: array of maps {kind, of, by, value, over, since, words}: windows that are
                         being filled from the log, and counted beside those that its rules declare */
  struct str interests; /**< value: array of maps {index, of, by, over, since, words}: interests, likewise */
  struct str quiet; /**< value: array of maps {name, folder, since}: segments of `target` that users are being
                       put into, and that nobody is told of */
  struct str judged_anew; /**< value: array of maps {name, since}: segments that mean something else than
                             before; who comes and goes by that is being looked for, and told of */
  struct hash128 target;  /**< sources that serve when they are filled; zero: these do already */
};

/** A segment that all users are being judged for. */
struct generation_segment {
  struct str name;
  uint32_t since; /**< generation that began to */
  uint64_t id;    /**< of both */
};

/** What a worker decides with: made for it alone. */
struct generation_rules {
  struct engine *engine;
  struct decider *decider;
  uint32_t generation;
};

struct generation {
  struct generation_facts facts; /**< borrowed from `bytes` */
  struct buf bytes;
  struct ruleset *ruleset;
  struct ruleset *target;           /**< what facts.target names, while it is new, or facts.quiet needs it */
  struct window_declaration *known; /**< form and since: windows and interests declared before */
  size_t known_count;
  struct window_declaration *besides; /**< facts.besides */
  size_t besides_count;
  struct engine_interest *interests; /**< facts.interests */
  size_t interest_count;
  struct generation_segment *segments; /**< facts.quiet, and behind these facts.judged_anew */
  size_t quiet_count, segment_count;
  struct buf quiet_folders; /**< strings */
  struct buf judged_anew;   /**< what generation_judge_anew() was given */
  uint32_t since;           /**< of those not known; set before it is built */
  struct buf written;       /**< the facts with what is declared: generation_store() */
  struct journey_sources
      flights; /**< facts.flights, as deciders want to have them; from the first build on */
  struct generation_rules *workers; /**< one each; made by generation_build() */
  uint32_t worker_count;
};

/** @param ruleset  a share of it, taken over. */
struct generation *generation_new(const struct generation_facts *facts, struct ruleset *ruleset,
                                  uint32_t worker_count);
/** No worker may have its rules any more. Closes Lua states, which takes milliseconds. */
void generation_free(struct generation *generation);

/** One that the store keeps, with the sources it needs, not built yet. Any thread; blocking.
 * @return 0, or ERROR_NOT_FOUND / ERROR_CORRUPT: then `*out` is null. */
int generation_load(struct generation **out, const struct generation_facts *facts, struct store *store,
                    uint32_t worker_count, struct error *err);

/** Load the rules for one worker, unless they are, and the earlier sources that journeys are on; one of these
 * that does not load any more is logged, and its journeys say so. Any thread, one worker after the other;
 * blocking. @param observer  what the worker's decider must tell it. @return 0, or ERROR_SCRIPT /
 * ERROR_BUDGET with file, line, what is wrong, what to write. */
int generation_build(struct generation *generation, const struct config *config, struct store *store,
                     uint32_t index, struct decider_observer observer, struct error *err);
/** The same for one who looks beside what serves, `kairos why --replay` for one, in the first worker's place:
 * budgets are counted steps, so that the answer is the same each time, nothing is counted for /metrics, and
 * earlier sources are loaded when they are needed. */
int generation_build_aside(struct generation *generation, const struct config *config, struct store *store,
                           struct decider_observer observer, struct error *err);

/** Append facts.windows as they are now, those of facts.besides and facts.interests too; the first worker's
 * rules should be built. */
void generation_windows(const struct generation *generation, struct buf *out);
/** Append one of facts.quiet. */
void generation_put_quiet(struct buf *out, const struct engine_segment *segment, uint32_t since);
/** Set facts.judged_anew of one that is not stored yet: its rules show what it is to hold. @param rows
 * copied */
void generation_judge_anew(struct generation *generation, struct str rows);
/** Append one of facts.judged_anew. */
void generation_put_judged_anew(struct buf *out, struct str segment, uint32_t since);
/** What is kept of a window's declaration: append so many members of a map, and read them back. The
 * declaration borrows from the map. */
enum { GENERATION_WINDOW_MEMBERS = 6 };
void generation_put_window(struct buf *out, const struct window_declaration *window);
struct window_declaration generation_window(struct str map);
/** Append one of facts.besides. */
void generation_put_beside(struct buf *out, const struct window_declaration *window, struct str words);
/** Append one of facts.interests. */
void generation_put_interest(struct buf *out, const struct engine_interest *interest);
/** Read facts.interests: borrows from it. To be freed by generation_free_interests(). */
struct engine_interest *generation_read_interests(struct str facts, size_t *count);
void generation_free_interests(struct engine_interest *interests, size_t count);
/** Whether other sources wait until its windows are filled. */
static inline bool generation_holds(const struct generation *generation) {
  return generation->facts.target.high || generation->facts.target.low;
}

/** Keep what the number means; the first worker's rules must be built. Blocking. */
int generation_store(struct generation *generation, struct store *store, struct error *err);

/* ---- what is kept; any thread, blocking ---- */

/** Borrows from the bytes. @return 0 or ERROR_CORRUPT. */
int generation_facts_decode(struct generation_facts *out, struct str bytes, struct error *err);
/** @param bytes  what `out` borrows from. @return 0, or ERROR_NOT_FOUND / ERROR_CORRUPT. */
int generation_facts_load(struct store *store, uint32_t number, struct buf *bytes,
                          struct generation_facts *out, struct error *err);
int generation_sources_load(struct store *store, struct hash128 sources, struct ruleset **out,
                            struct error *err);
/** Facts of the last `most` generations, newest first, as a value: array of maps {generation, cause, at,
 * by, restores, ruleset, files, paused, flights, changes}. @return 0. */
int generation_list(struct store *store, uint32_t newest, uint32_t most, struct buf *out, struct error *err);
/** Drop what was replaced longer than `keep_ms` ago, and the texts that nothing refers to any more. What
 * journeys under way keep stays (journey_source.h), and templates for as long as a waiting message or a dead
 * letter names them.
 * @param deliver  what waits there may not be in the store yet; NULL: nobody delivers
 * @return how many, or a negative code. Not from workers' threads, nor delivery's. */
int generation_retain(struct store *store, struct deliver *deliver, uint32_t serving, int64_t keep_ms,
                      int64_t now, struct error *err);
