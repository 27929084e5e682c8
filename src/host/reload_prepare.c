#include "base/clock.h"
#include "base/failpoint.h"
#include "base/memory.h"
#include "base/suggest.h"
#include "base/thread.h"
#include "decide/campaign.h"
#include "generation/canary.h"
#include "generation/changes.h"
#include "host/reload_internal.h"

enum { SETTLE_MAX_MS = 5000 /**< how long files that keep changing are read again */ };

int reload_fault(int errnum, struct error *err) {
  return errnum ? error_set_errno(err, errnum, "the new generation") : 0;
}

static int wanted_files(struct reload *reload, struct ruleset **out, struct error *err) {
  const struct config *config = reload->host->config;
  thread_pace();
  int rc = ruleset_read_settled(out, config->rules_dir, config->library_dir, SETTLE_MAX_MS, err);
  thread_unpace();
  if (rc) return rc;
  reload->attempt.files = (*out)->hash;
  reload->attempt.read = true;
  return 0;
}

/** The newest generation before `number` that had other sources than those that serve. */
static int earlier(struct reload *reload, uint32_t number, struct generation_facts *facts, struct buf *bytes,
                   struct error *err) {
  while (number-- > 1) {
    int rc = generation_facts_load(reload->host->shared.store, number, bytes, facts, err);
    if (rc == ERROR_NOT_FOUND) break;
    if (rc) return rc;
    bool on_the_way = facts->target.high || facts->target.low; // it served while windows were filled
    if (on_the_way) continue;
    if (generation_holds(reload->serving) || !hash128_equal(facts->sources, reload->serving->facts.sources))
      return 0;
  }
  return error_set(err, ERROR_NOT_FOUND,
                   "there is no earlier generation with other rules; "
                   "`kairos generations` lists those that are kept");
}

static int wanted_earlier(struct reload *reload, uint32_t target, struct ruleset **out, struct error *err) {
  struct generation_facts facts;
  struct buf bytes;
  buf_init(&bytes);
  const struct generation_facts *now = &reload->serving->facts;
  struct store *store = reload->host->shared.store;
  int rc = target ? generation_facts_load(store, target, &bytes, &facts, err)
                  : earlier(reload, now->restores ? now->restores : now->number, &facts, &bytes, err);
  if (rc == ERROR_NOT_FOUND && target)
    error_set(err, rc, "there is no generation %u; `kairos generations` lists those that are kept", target);
  if (rc == 0) rc = generation_sources_load(store, facts.sources, out, err);
  // It answers to the files as they are now, whatever they are: only another change ends it.
  struct ruleset *files;
  const struct config *config = reload->host->config;
  reload->attempt.files = now->files;
  if (rc == 0 && ruleset_read(&files, config->rules_dir, config->library_dir, NULL) == 0) {
    reload->attempt.files = files->hash;
    ruleset_free(files);
  }
  reload->attempt.restores = facts.number;
  buf_deinit(&bytes);
  return rc;
}

int reload_find_campaign(const struct generation *generation, struct str name, struct error *err) {
  const struct engine_rule *rules;
  const struct engine *engine = generation->workers[0].engine;
  size_t count = engine_rules(engine, &rules);
  if (engine_rule_of(engine, name) >= 0 || campaign_pause(generation->facts.paused, name).len) return 0;
  struct suggestion suggestion = {0};
  struct buf known;
  buf_init(&known);
  for (size_t i = 0; i < count; i++) suggestion_offer(&suggestion, name, rules[i].campaign);
  suggestion_append(&suggestion, &known);
  if (!known.len) buf_printf(&known, "; `kairos campaigns` lists them");
  int rc = error_set(err, ERROR_NOT_FOUND, "there is no campaign `%.*s`%.*s", STR_ARG(name),
                     STR_ARG(buf_str(&known)));
  buf_deinit(&known);
  return rc;
}

/** The same sources, with one operator's pause more or less. */
static int wanted_pause(struct reload *reload, const struct reload_request *request, struct ruleset **out,
                        struct error *err) {
  const struct generation *serving = reload->serving;
  struct str campaign = str_from(request->campaign), paused = serving->facts.paused;
  bool pause = request->cause == GENERATION_PAUSE, is = campaign_pause(paused, campaign).len != 0;
  int rc = reload_find_campaign(serving, campaign, err); /* a reload may have come in between */
  if (rc) return rc;
  *out = ruleset_share(serving->ruleset);
  reload->attempt.files = serving->facts.files;
  reload->attempt.unchanged = is == pause;
  struct buf rest;
  uint32_t count = 0;
  buf_init(&rest);
  struct reader reader = reader_of(paused);
  for (uint32_t left = paused.len ? value_read(&reader).count : 0; left > 0; left--) {
    struct str one = value_slice(&reader), name;
    if (value_member(one, STR("campaign"), &name) && str_equal(value_head(name).string, campaign)) continue;
    buf_append(&rest, one.data, one.len);
    count++;
  }
  if (pause) {
    value_put_map(&rest, 4);
    value_put_member_text(&rest, "campaign", campaign);
    value_put_member_text(&rest, "by", str_from(request->by));
    value_put_member_text(&rest, "reason", str_from(request->reason));
    value_put_member_integer(&rest, "at", clock_wall_ms());
    count++;
  }
  buf_clear(&reload->attempt.paused);
  value_put_array(&reload->attempt.paused, count);
  buf_append(&reload->attempt.paused, rest.data, rest.len);
  buf_deinit(&rest);
  return 0;
}

/** What has waited for its windows to be filled; another reload may have come in between. */
static int wanted_filled(struct reload *reload, struct ruleset **out, struct error *err) {
  const struct generation *serving = reload->serving;
  reload->attempt.files = serving->facts.files;
  if (!generation_holds(serving) || reload_fill_lacks(buf_str(&reload->attempt.filled), serving)) {
    reload->attempt.unchanged = true;
    *out = ruleset_share(serving->ruleset);
    return 0;
  }
  return generation_sources_load(reload->host->shared.store, serving->facts.target, out, err);
}

/** Whether the files are those that the serving generation answers to. Who asks for them by command wants
 * them served, also where a rollback has set them aside. */
static bool files_serve(const struct reload *reload, enum generation_cause cause, struct hash128 files) {
  const struct generation *serving = reload->serving;
  if (!serving) return false;
  if (generation_holds(serving)) return hash128_equal(files, serving->facts.target);
  return hash128_equal(files, cause == GENERATION_COMMAND ? serving->facts.sources : serving->facts.files);
}

static int wanted(struct reload *reload, struct ruleset **out, struct error *err) {
  struct reload_attempt *attempt = &reload->attempt;
  attempt->specs_seen = canary_specs(reload->host->config);
  const struct reload_request *request = attempt->requests;
  int rc;
  if (reload->serving && reload->serving->facts.paused.len)
    buf_append(&attempt->paused, reload->serving->facts.paused.data, reload->serving->facts.paused.len);
  switch (request->cause) {
  case GENERATION_FILL:
    return wanted_filled(reload, out, err);
  case GENERATION_ROLLBACK:
    return wanted_earlier(reload, request->target, out, err);
  case GENERATION_PAUSE:
  case GENERATION_RESUME:
    return wanted_pause(reload, request, out, err);
  default:
    rc = wanted_files(reload, out, err);
    if (rc) return rc;
    attempt->known = request->cause == GENERATION_WATCH && reload->failed &&
                     hash128_equal(attempt->files, reload->failed_files) &&
                     attempt->specs_seen == reload->failed_specs;
    attempt->unchanged = attempt->known || files_serve(reload, request->cause, attempt->files);
    return 0;
  }
}

/** Rules that served before, or are the same, need no trial; and those of a first start have nobody to go on
 * in their place. */
static int try_out(struct reload *reload, const struct ruleset *sources, struct error *err) {
  struct reload_attempt *attempt = &reload->attempt;
  enum generation_cause cause = attempt->requests->cause;
  if (!reload->serving ||
      (cause != GENERATION_START && cause != GENERATION_WATCH && cause != GENERATION_COMMAND))
    return 0;
  struct canary_options options = {.config = reload->host->config,
                                   .ruleset = sources,
                                   .changes = buf_str(&attempt->changes),
                                   .reviewed = &reload->reviewed,
                                   .stop = &reload->cut_short};
  return canary_run(&options, &attempt->specs, err);
}

int reload_build_rules(struct reload *reload, struct generation *generation, uint32_t index,
                       struct error *err) {
  const struct host *host = reload->host;
  struct decider_observer observer = worker_observer(host->shared.workers[index]);
  return generation_build(generation, host->config, host->shared.store, index, observer, err);
}

int reload_make(struct reload *reload, const struct reload_making *making, struct error *err) {
  struct host *host = reload->host;
  struct reload_attempt *attempt = &reload->attempt;
  const struct reload_request *request = attempt->requests;
  int64_t now = clock_wall_ms();
  buf_clear(&attempt->flights);
  int rc = journey_sources_list(host->shared.store, making->ruleset, now, &attempt->flights, err);
  if (rc) return rc;
  struct generation_facts facts = {.number = host->shared.generation + 1,
                                   .cause = request->cause,
                                   .at = now,
                                   .by = request->by ? str_from(request->by) : STR(""),
                                   .restores = attempt->restores,
                                   .sources = making->ruleset->hash,
                                   .files = attempt->files,
                                   .paused = buf_str(&attempt->paused),
                                   .flights = buf_str(&attempt->flights),
                                   .changes = making->changes,
                                   .besides = making->besides,
                                   .interests = making->interests,
                                   .quiet = making->quiet,
                                   .target = making->target ? making->target->hash : making->target_hash};
  struct buf windows;
  buf_init(&windows);
  if (reload->serving) {
    generation_windows(reload->serving, &windows);
    facts.windows = buf_str(&windows);
  }
  reload_discard(reload);
  attempt->candidate = generation_new(&facts, ruleset_share(making->ruleset), host->shared.worker_count);
  attempt->candidate->since = reload->serving ? facts.number : 0;
  if (making->target) attempt->candidate->target = ruleset_share(making->target);
  buf_deinit(&windows);
  return reload_build_rules(reload, attempt->candidate, 0, err);
}

/** The candidate for these sources: they serve, or others until windows of theirs are filled. */
static int make_all(struct reload *reload, struct ruleset *sources, struct error *err) {
  struct reload_attempt *attempt = &reload->attempt;
  const struct generation *serving = reload->serving;
  enum generation_cause cause = attempt->requests->cause;
  struct reload_making making = {.ruleset = sources, .changes = buf_str(&attempt->changes)};
  bool same = cause == GENERATION_PAUSE || cause == GENERATION_RESUME;
  if (same) making.target_hash = serving->facts.target;
  if (same) making.target = serving->target;
  if (same) making.quiet = serving->facts.quiet;
  // What is filled, too, nothing else counts until the rules that wait for it serve.
  if (same && (generation_holds(serving) || reload_fill_lacks(buf_str(&attempt->filled), serving))) {
    making.besides = serving->facts.besides;
    making.interests = serving->facts.interests;
  }
  int rc = reload_make(reload, &making, err);
  if (rc) return rc;
  changes_of_declarations(serving ? serving->workers[0].engine : NULL, attempt->candidate->workers[0].engine,
                          &attempt->declared);
  if (same || attempt->requests->dry_run) return 0;
  bool may_wait = cause != GENERATION_ROLLBACK && cause != GENERATION_FILL;
  return reload_fill_plan(reload, sources, may_wait, err);
}

static int build(struct reload *reload, struct ruleset *sources, struct error *err) {
  struct reload_attempt *attempt = &reload->attempt;
  changes_of_sources(reload->serving ? reload->serving->ruleset : NULL, sources, &attempt->changes);
  int rc = try_out(reload, sources, err);
  if (rc) return rc;
  // At the start nobody has needed what served last yet; if it does not load any more, everything is new.
  struct error lost;
  if (reload->serving) reload_build_rules(reload, reload->serving, 0, &lost);
  rc = make_all(reload, sources, err);
  if (rc || attempt->requests->dry_run) return rc;
  reload_fill_judge_anew(reload);
  for (uint32_t i = 1; rc == 0 && i < reload->host->shared.worker_count; i++)
    rc = reload_build_rules(reload, attempt->candidate, i, err);
  return rc;
}

void reload_prepare(struct reload *reload) {
  struct reload_attempt *attempt = &reload->attempt;
  struct ruleset *sources = NULL;
  attempt->status = wanted(reload, &sources, &attempt->err);
  if (attempt->status == 0 && !attempt->unchanged) attempt->status = build(reload, sources, &attempt->err);
  ruleset_free(sources);
  if (attempt->status == 0) attempt->status = reload_fault(FAILPOINT("generation.built"), &attempt->err);
}
