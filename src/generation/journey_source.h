/** The sources that journeys under way keep.
 *
 * A journey runs on the files that it began with: its campaign's folder, rules/shared, the library. Their
 * hash is its version (ruleset_version()), and meta keeps what it means for as long as somebody is on it:
 * `flight:<campaign>:<version>` a map { at, until, people, empty, windows }, `ruleset:<version>` the list of
 * its files and `templates:<version>` the hashes of its templates, both as a generation's. It is stored
 * before a generation with such a campaign is decided, so no journey begins without.
 *
 * - at: when it was first stored; until: when a generation without it came to serve, 0 while it serves
 * - people: journeys on it when they were counted last, -1 before that, and while nobody was found but who
 * began a moment ago may not be in the index yet; empty: since when nobody is, or 0
 * - windows: what its folder declares; array of maps { kind, of, by, value, over, since }
 *
 * Blocking; any thread, unless said otherwise.
 */
#pragma once

#include "decide/decide.h"
#include "state/store.h"

/** A `flight:` fact; borrows from its bytes. */
struct journey_source_facts {
  int64_t at, until, people, empty;
  struct str windows; /**< value: array; "" for none */
};
struct journey_source_facts journey_source_facts(struct str bytes);
void journey_source_encode(const struct journey_source_facts *facts, struct buf *out);
/** A `flight:` key taken apart; borrows from it. @return false if it is none. */
bool journey_source_key(struct str key, struct str *campaign, struct hash128 *version);

/** The versions of all folders of a ruleset. @return how many; the array is the caller's. */
size_t journey_source_versions(const struct ruleset *ruleset, struct hash128 **out);

/** Keep what journeys that begin with these rules will need. `at`: wall clock, ms. */
int journey_sources_store(const struct engine *engine, const struct ruleset *ruleset, struct store *store,
                          int64_t at, struct error *err);

/** Append a value: array of maps { campaign, version, people }, the newest first: the versions other than
 * those of `serving` that somebody is on, or may be, for what was written a moment ago is not counted yet. */
int journey_sources_list(struct store *store, const struct ruleset *serving, int64_t now, struct buf *out,
                         struct error *err);

/** Count who is on sources that do not serve any more, and forget those that nobody has been on for
 * `keep_ms`: so long the log may have to explain what was decided on them. Their texts go with
 * generation_retain(). Reads the index: a million journeys in about a second. @return how many were
 * forgotten, or a negative code. */
int journey_sources_retain(struct store *store, const struct ruleset *serving, int64_t keep_ms, int64_t now,
                           struct error *err);

/** A list of them, as a decider wants to have it. */
struct journey_sources {
  struct store *store;
  struct window_declaration *windows; /**< borrowed from `bytes` */
  size_t window_count;
  struct buf bytes;
};
/** @param list  as above, "" for none. What is not kept any more is passed over. */
int journey_sources_load(struct journey_sources *out, struct store *store, struct str list,
                         struct error *err);
void journey_sources_deinit(struct journey_sources *sources);
/** Borrows from it. */
struct decider_flights journey_sources_port(const struct journey_sources *sources);
/** Load those of the list that somebody is on into a new decider, so that no event waits for them. What does
 * not load is told to `taker`, if there is one. */
void journey_sources_open(struct decider *decider, struct str list, error_taker *taker, void *context);
