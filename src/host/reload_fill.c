/* Windows, interests and segments that are new to what serves: which they are, what serves while they are
 * filled from the log, and the job that does it. */
#include "base/clock.h"
#include "base/logger.h"
#include "base/memory.h"
#include "generation/changes.h"
#include "host/reload_internal.h"
#include "state/event_walk.h"

/** @param list  u64 each. The build thread goes by what was filled when its attempt began. */
static bool has_id(struct str list, uint64_t id) {
  struct reader ids = reader_of(list);
  while (reader_left(&ids) >= 8)
    if (reader_u64(&ids) == id) return true;
  return false;
}

bool reload_fill_lacks(struct str filled, const struct generation *generation) {
  for (size_t i = 0; i < generation->besides_count; i++)
    if (!has_id(filled, generation->besides[i].id)) return true;
  for (size_t i = 0; i < generation->interest_count; i++)
    if (!has_id(filled, generation->interests[i].id)) return true;
  for (size_t i = 0; i < generation->segment_count; i++)
    if (!has_id(filled, generation->segments[i].id)) return true;
  return false;
}

/* ---- what is new ---- */

static bool is_beside(const struct generation *serving, uint64_t id) {
  for (size_t i = 0; i < serving->besides_count; i++)
    if (serving->besides[i].id == id) return true;
  for (size_t i = 0; i < serving->interest_count; i++)
    if (serving->interests[i].id == id) return true;
  return false;
}

/** New with this generation, or not filled yet. @param id  a window's or an interest's */
static bool wants_filling(const struct reload *reload, uint64_t id, uint32_t since, uint32_t number) {
  if (since == number) return true;
  return is_beside(reload->serving, id) && !has_id(buf_str(&reload->attempt.filled), id);
}

static uint32_t put_wanting(const struct reload *reload, const struct generation *candidate,
                            struct buf *out) {
  const struct engine *engine = candidate->workers[0].engine;
  const struct window_declaration *windows;
  size_t count = engine_windows(engine, &windows);
  struct buf rows, words;
  uint32_t wanting = 0;
  buf_init(&rows);
  buf_init(&words);
  for (size_t i = 0; i < count; i++) {
    if (!wants_filling(reload, windows[i].id, windows[i].since, candidate->facts.number)) continue;
    buf_clear(&words);
    engine_window_words(engine, (uint32_t)i, &words);
    generation_put_beside(&rows, &windows[i], buf_str(&words));
    wanting++;
  }
  value_put_array(out, wanting);
  buf_append(out, rows.data, rows.len);
  buf_deinit(&rows);
  buf_deinit(&words);
  return wanting;
}

static uint32_t put_interests(const struct reload *reload, const struct generation *candidate,
                              struct buf *out) {
  const struct engine_interest *interests;
  size_t count = engine_interests(candidate->workers[0].engine, &interests);
  struct buf rows;
  uint32_t wanting = 0;
  buf_init(&rows);
  for (size_t i = 0; i < count; i++) {
    if (!wants_filling(reload, interests[i].id, interests[i].since, candidate->facts.number)) continue;
    generation_put_interest(&rows, &interests[i]);
    wanting++;
  }
  value_put_array(out, wanting);
  buf_append(out, rows.data, rows.len);
  buf_deinit(&rows);
  return wanting;
}

/** A segment of what serves; null: there is none of that name. */
static const struct engine_segment *segment_of(const struct generation *serving, struct str name) {
  const struct engine_segment *segments;
  const struct engine *engine = serving->workers[0].engine;
  int at = engine ? engine_segment_of(engine, name) : -1;
  if (at < 0) return NULL;
  engine_segments(engine, &segments);
  return &segments[at];
}

/** The one of this name, among those from `from` on, that all users are being judged for, or were; or null.
 */
static const struct generation_segment *judged_segment(const struct generation *serving, size_t from,
                                                       struct str name) {
  for (size_t i = from; i < serving->segment_count; i++)
    if (str_equal(serving->segments[i].name, name)) return &serving->segments[i];
  return NULL;
}

/** Of a segment that nobody has been put into yet: the generation since which it is so. 0: there are members.
 */
static uint32_t quiet_since(const struct reload *reload, const struct engine_segment *segment,
                            uint32_t number) {
  const struct generation *serving = reload->serving;
  const struct engine_segment *before = segment_of(serving, segment->name);
  if (!before) return number;
  if (!before->quiet) return 0;
  const struct generation_segment *judged = judged_segment(serving, 0, segment->name);
  if (!judged || before->meaning != segment->meaning) return number;
  return has_id(buf_str(&reload->attempt.filled), judged->id) ? 0 : judged->since;
}

static uint32_t put_quiet(const struct reload *reload, const struct generation *candidate, struct buf *out) {
  const struct engine_segment *segments;
  size_t count = engine_segments(candidate->workers[0].engine, &segments);
  struct buf rows;
  uint32_t quiet = 0;
  buf_init(&rows);
  for (size_t i = 0; i < count; i++) {
    uint32_t since = quiet_since(reload, &segments[i], candidate->facts.number);
    if (!since) continue;
    generation_put_quiet(&rows, &segments[i], since);
    quiet++;
  }
  value_put_array(out, quiet);
  buf_append(out, rows.data, rows.len);
  buf_deinit(&rows);
  return quiet;
}

/** Whether a file of the folder names one of the segments that are quiet. */
static bool names_quiet(const struct ruleset *sources, struct str folder, struct str quiet) {
  for (size_t i = 0; i < sources->count; i++) {
    const struct ruleset_file *file = &sources->files[i];
    if (file->library || strncmp(file->path, folder.data, folder.len) != 0 || file->path[folder.len] != '/')
      continue;
    struct reader rows = reader_of(quiet);
    for (uint32_t left = value_read(&rows).count; left > 0; left--) {
      struct str found, row = value_slice(&rows);
      if (!value_member(row, STR("name"), &found)) continue;
      struct str name = value_head(found).string;
      if (memmem(file->text.data, file->text.len, name.data, name.len)) return true;
    }
  }
  return false;
}

static bool is_read(const struct reload *reload, const struct generation *candidate, const uint32_t *read,
                    size_t count) {
  const struct window_declaration *windows;
  engine_windows(candidate->workers[0].engine, &windows);
  for (size_t i = 0; i < count; i++)
    if (wants_filling(reload, windows[read[i]].id, windows[read[i]].since, candidate->facts.number))
      return true;
  return false;
}

/** Whether a file of the rule's folder declares an interest that is not filled. */
static bool is_asked(const struct reload *reload, const struct generation *candidate, uint32_t rule) {
  const struct engine_interest *interests;
  const uint32_t *asked;
  engine_interests(candidate->workers[0].engine, &interests);
  size_t count = engine_folder_interests(candidate->workers[0].engine, rule, &asked);
  for (size_t i = 0; i < count; i++)
    if (wants_filling(reload, interests[asked[i]].id, interests[asked[i]].since, candidate->facts.number))
      return true;
  return false;
}

/** The folders of campaigns that read one of the windows, ask for one of the interests, or declare or name
 * one of the segments: strings. */
static void put_folders(const struct reload *reload, const struct generation *candidate,
                        const struct ruleset *sources, struct str quiet, struct buf *out) {
  const struct engine *engine = candidate->workers[0].engine;
  const struct engine_rule *rules;
  const struct engine_segment *segments;
  const uint32_t *read;
  size_t count = engine_rules(engine, &rules);
  for (size_t i = 0; i < count; i++) {
    size_t windows = engine_folder_windows(engine, (uint32_t)i, &read);
    const char *slash = memchr(rules[i].path.data, '/', rules[i].path.len);
    struct str folder = {rules[i].path.data, slash ? (size_t)(slash - rules[i].path.data) : 0};
    if (folder.len && (is_read(reload, candidate, read, windows) ||
                       is_asked(reload, candidate, (uint32_t)i) || names_quiet(sources, folder, quiet)))
      buf_put_str(out, folder);
  }
  count = engine_segments(engine, &segments);
  for (size_t i = 0; i < count; i++)
    if (is_read(reload, candidate, segments[i].windows, segments[i].window_count) ||
        names_quiet(sources, segments[i].campaign, quiet) ||
        quiet_since(reload, &segments[i], candidate->facts.number))
      buf_put_str(out, segments[i].campaign);
}

static bool is_new_type(const struct generation *candidate, struct str bytes) {
  const struct window_declaration *windows;
  size_t count = engine_windows(candidate->workers[0].engine, &windows);
  struct event event;
  struct reader reader = reader_of(bytes);
  if (event_decode(&event, &reader, NULL)) return false;
  for (size_t i = 0; i < count; i++)
    if (windows[i].since == candidate->facts.number && event_type_is(windows[i].of, event.type)) return true;
  const struct engine_interest *interests;
  count = engine_interests(candidate->workers[0].engine, &interests);
  for (size_t i = 0; i < count; i++)
    for (size_t j = 0; interests[i].since == candidate->facts.number && j < interests[i].of_count; j++)
      if (event_type_is(interests[i].of[j], event.type)) return true;
  return false;
}

static bool holds_new_type(const struct generation *candidate, const struct log_record *record) {
  struct reader effects = reader_of(record->effects);
  struct effect effect;
  if (record->type == LOG_EVENT && is_new_type(candidate, record->input)) return true;
  while (reader_left(&effects) && effect_decode(&effect, &effects, NULL) == 0)
    if (effect.type == EFFECT_DERIVED && is_new_type(candidate, effect.derived)) return true;
  return false;
}

/** Whether the log may hold something for them. What comes while this is being asked is counted, or filled in
 * behind. */
static bool log_may_hold(const struct host *host, const struct generation *candidate) {
  if (store_log_begins(host->shared.store) != INT64_MAX) return true;
  struct log_reader *reader;
  struct log_position after;
  struct log_record record;
  uint64_t sealed = store_sealed(host->shared.store);
  if (log_reader_new(&reader, host->log_directory, (struct log_position){sealed ? sealed + 1 : 0, 0}, NULL))
    return true;
  int rc;
  bool held = false;
  while (!held && (rc = log_reader_next(reader, NULL, &record, &after, NULL)) == 1)
    held = holds_new_type(candidate, &record);
  log_reader_free(reader);
  return held || rc < 0;
}

/** What is to be filled: as facts have it. */
struct wanting {
  struct buf besides, interests, quiet;
  uint32_t from_log, segments; /**< how many: of the first two, of the last */
};

static void wanting_list(const struct reload *reload, const struct generation *candidate,
                         struct wanting *wanting) {
  buf_clear(&wanting->besides);
  buf_clear(&wanting->interests);
  buf_clear(&wanting->quiet);
  wanting->from_log = put_wanting(reload, candidate, &wanting->besides);
  wanting->from_log += put_interests(reload, candidate, &wanting->interests);
  wanting->segments = put_quiet(reload, candidate, &wanting->quiet);
}

/** What the candidate has that was there before: ids of windows and interests, names of segments. */
struct kept {
  struct buf ids, segments;
};

static void kept_list(const struct reload *reload, struct kept *kept) {
  const struct generation *candidate = reload->attempt.candidate;
  const struct engine *engine = candidate->workers[0].engine;
  const struct window_declaration *windows;
  const struct engine_interest *interests;
  const struct engine_segment *segments;
  uint32_t number = candidate->facts.number;
  size_t count = engine_windows(engine, &windows);
  for (size_t i = 0; i < count; i++)
    if (!wants_filling(reload, windows[i].id, windows[i].since, number))
      buf_put_u64(&kept->ids, windows[i].id);
  count = engine_interests(engine, &interests);
  for (size_t i = 0; i < count; i++)
    if (!wants_filling(reload, interests[i].id, interests[i].since, number))
      buf_put_u64(&kept->ids, interests[i].id);
  count = engine_segments(engine, &segments);
  for (size_t i = 0; i < count; i++)
    if (!quiet_since(reload, &segments[i], number)) buf_put_str(&kept->segments, segments[i].name);
}

/** Whether these rules declare all of it. */
static bool keeps(const struct engine *engine, const struct kept *kept) {
  const struct window_declaration *windows;
  const struct engine_interest *interests;
  struct buf declared;
  buf_init(&declared);
  size_t count = engine_windows(engine, &windows);
  for (size_t i = 0; i < count; i++) buf_put_u64(&declared, windows[i].id);
  count = engine_interests(engine, &interests);
  for (size_t i = 0; i < count; i++) buf_put_u64(&declared, interests[i].id);
  bool all = true;
  struct reader rest = reader_of(buf_str(&kept->ids));
  while (all && reader_left(&rest)) all = has_id(buf_str(&declared), reader_u64(&rest));
  rest = reader_of(buf_str(&kept->segments));
  while (all && reader_left(&rest)) all = engine_segment_of(engine, reader_str(&rest)) >= 0;
  buf_deinit(&declared);
  return all;
}

/** Since which generation users are to be judged anew for a segment of the candidate's; 0: they are not. */
static uint32_t anew_since(const struct reload *reload, const struct engine_segment *segment,
                           uint32_t number) {
  const struct generation *serving = reload->serving;
  const struct engine_segment *before = segment_of(serving, segment->name);
  if (!before || segment->quiet) return 0;
  if (before->meaning != segment->meaning) return number;
  const struct generation_segment *judged = judged_segment(serving, serving->quiet_count, segment->name);
  return !judged || has_id(buf_str(&reload->attempt.filled), judged->id) ? 0 : judged->since;
}

void reload_fill_judge_anew(struct reload *reload) {
  struct generation *candidate = reload->attempt.candidate;
  if (!reload->serving) return;
  const struct engine_segment *segments;
  size_t count = engine_segments(candidate->workers[0].engine, &segments);
  struct buf rows, list;
  uint32_t listed = 0;
  buf_init(&rows);
  buf_init(&list);
  for (size_t i = 0; i < count; i++) {
    uint32_t since = anew_since(reload, &segments[i], candidate->facts.number);
    if (since) generation_put_judged_anew(&rows, segments[i].name, since);
    listed += since != 0;
  }
  value_put_array(&list, listed);
  buf_append(&list, rows.data, rows.len);
  if (listed) generation_judge_anew(candidate, buf_str(&list));
  buf_deinit(&rows);
  buf_deinit(&list);
}

/* ---- what serves meanwhile ---- */

/** Campaigns that read what is not filled stay as they are, the others go on to the new sources. Where what
 * all campaigns share has changed, all stay. */
static struct ruleset *mixed(const struct reload *reload, const struct ruleset *sources, struct str quiet) {
  struct ruleset *serving = reload->serving->ruleset;
  if (changes_shared(serving, sources)) return ruleset_share(serving);
  struct buf folders;
  buf_init(&folders);
  put_folders(reload, reload->attempt.candidate, sources, quiet, &folders);
  struct ruleset *mix = ruleset_mix(sources, serving, buf_str(&folders));
  buf_deinit(&folders);
  return mix;
}

static int hold_back(struct reload *reload, struct ruleset *sources, struct ruleset *meanwhile,
                     const struct wanting *wanting, bool quiet, struct error *err) {
  struct buf changes;
  buf_init(&changes);
  changes_of_sources(reload->serving->ruleset, meanwhile, &changes);
  int rc = reload_make(reload,
                       &(struct reload_making){.ruleset = meanwhile,
                                               .target = sources,
                                               .besides = buf_str(&wanting->besides),
                                               .interests = buf_str(&wanting->interests),
                                               .quiet = quiet ? buf_str(&wanting->quiet) : STR(""),
                                               .changes = buf_str(&changes)},
                       err);
  buf_deinit(&changes);
  return rc;
}

/** Two campaigns may stand in each other's way between the old and the new, or one hand to the other what
 * neither would have then: all stay. Where what serves cannot stand the new segments beside it, they are
 * judged only when they serve. */
static int hold_all_back(struct reload *reload, struct ruleset *sources, struct wanting *wanting,
                         struct error *err) {
  // What has been filled for rules that have waited is counted beside those that serve alone: it stays there.
  buf_clear(&reload->attempt.filled);
  int rc = reload_make(reload, &(struct reload_making){.ruleset = sources}, err);
  if (rc) return rc;
  wanting_list(reload, reload->attempt.candidate, wanting);
  rc = hold_back(reload, sources, reload->serving->ruleset, wanting, true, err);
  return rc ? hold_back(reload, sources, reload->serving->ruleset, wanting, false, err) : 0;
}

int reload_fill_plan(struct reload *reload, struct ruleset *sources, bool may_wait, struct error *err) {
  const struct generation *serving = reload->serving, *candidate = reload->attempt.candidate;
  if (!serving) return 0;
  struct wanting wanting = {0};
  struct kept kept = {0};
  struct ruleset *meanwhile = NULL;
  int rc = 0;
  wanting_list(reload, candidate, &wanting);
  bool wait = may_wait && serving->workers[0].engine &&
              (wanting.segments ||
               (wanting.from_log && (reload_fill_lacks(buf_str(&reload->attempt.filled), serving) ||
                                     log_may_hold(reload->host, candidate))));
  if (wait) {
    kept_list(reload, &kept);
    meanwhile = mixed(reload, sources, buf_str(&wanting.quiet));
    rc = hold_back(reload, sources, meanwhile, &wanting, true, err);
    if (rc || !keeps(reload->attempt.candidate->workers[0].engine, &kept))
      rc = hold_all_back(reload, sources, &wanting, err);
  } else if (wanting.from_log) { // it serves at once; what the log holds follows
    rc = reload_make(reload,
                     &(struct reload_making){.ruleset = sources,
                                             .besides = buf_str(&wanting.besides),
                                             .interests = buf_str(&wanting.interests),
                                             .changes = buf_str(&reload->attempt.changes)},
                     err);
  }
  ruleset_free(meanwhile);
  buf_deinit(&wanting.besides);
  buf_deinit(&wanting.interests);
  buf_deinit(&wanting.quiet);
  buf_deinit(&kept.ids);
  buf_deinit(&kept.segments);
  return rc;
}

/* ---- the job ---- */

static void note_failed(struct reload *reload, const char *reason) {
  memory_free(reload->fill_failed);
  reload->fill_failed = reason ? memory_dup(reason, strlen(reason)) : NULL;
}

static void ended(void *context, int status, const struct error *err) {
  struct reload *reload = context;
  struct fill *fill = reload->fill;
  struct fill_progress progress = reload->fill_was = fill_progress(fill);
  reload->fill = NULL;
  if (status == 0) {
    LOG_INFO("fill", "what is new is filled", LOG_INT("users", progress.users),
             LOG_INT("milliseconds", clock_wall_ms() - progress.began));
    if (progress.refused)
      LOG_WARN("fill", "records had no room for all that the log holds of their users",
               LOG_INT("windows", progress.refused));
    buf_clear(&reload->filled);
    fill_put_ids(fill, &reload->filled);
  } else if (status != ERROR_UNAVAILABLE) {
    LOG_ERROR("fill", "what is new cannot be filled; the rules before it go on",
              LOG_TEXT("error", err->message));
    note_failed(reload, err->message);
  }
  fill_free(fill);
  reload_fill_update(reload);
}

void reload_fill_update(struct reload *reload) {
  const struct generation *serving = reload->serving;
  if (!serving || reload->stopping || reload->step == RELOAD_SWAPPING) return;
  bool lacks = reload_fill_lacks(buf_str(&reload->filled), serving);
  if (reload->fill) {
    if (!lacks || !fill_is_of(reload->fill, serving)) fill_stop(reload->fill);
    // At the next tick:
    if (fill_wants_checkpoint(reload->fill)) reload->host->checkpoint_at = 0;
    if (fill_progress(reload->fill).step == FILL_SEALING) reload->host->seal_waits = 1;
    return; // `ended` comes here again
  }
  if (reload->fill_failed || host_phase(reload->host) != HOST_RUNNING) return;
  if (lacks) {
    reload->fill = fill_start(&(struct fill_options){.host = reload->host,
                                                     .windows = serving->besides,
                                                     .count = serving->besides_count,
                                                     .interests = serving->facts.interests,
                                                     .segments = serving->segments,
                                                     .segment_count = serving->segment_count,
                                                     .generation = serving->facts.number,
                                                     .ended = ended,
                                                     .context = reload});
  } else if (generation_holds(serving) && !reload->fill_asked) {
    struct str by = serving->facts.by;
    reload->fill_asked = true;
    reload_ask(reload, &(struct reload_request){.cause = GENERATION_FILL, .by = memory_dup(by.data, by.len)});
  }
}

void reload_fill_again(struct reload *reload) {
  note_failed(reload, NULL);
  reload_fill_update(reload);
}

void reload_fill_tried(struct reload *reload, const char *reason) {
  reload->fill_asked = false;
  if (reason) note_failed(reload, reason);
}

void reload_fill_stop(struct reload *reload) {
  if (reload->fill) fill_stop(reload->fill);
}

void reload_fill_halt(const struct host *host) {
  if (host->reload && host->reload->fill) fill_halt(host->reload->fill);
}

/* ---- for people ---- */

/** From when on the log has what the longest of the windows and interests asks for, where that is longer than
 * the log is kept; 0: all of it. */
static int64_t short_from(const struct reload *reload, const struct fill_progress *progress) {
  int64_t keep = reload->host->config->log.keep;
  if (progress->longest <= keep || progress->log_begins == INT64_MAX) return 0;
  int64_t kept = progress->began - keep;
  return progress->log_begins > kept ? progress->log_begins : kept;
}

/** @param rows  facts.besides or facts.interests */
static void put_words(struct str rows, const char *name, struct buf *out) {
  struct reader reader = reader_of(rows);
  uint32_t count = rows.len ? value_read(&reader).count : 0;
  value_put_string(out, str_from(name));
  value_put_array(out, count);
  while (count-- > 0) value_put_string(out, value_member_text(value_slice(&reader), "words"));
}

bool reload_fill_describe(const struct reload *reload, struct buf *out) {
  const struct generation *serving = reload->serving;
  bool holds = generation_holds(serving);
  if (!holds && !reload_fill_lacks(buf_str(&reload->filled), serving)) return false;
  struct fill_progress progress = reload->fill ? fill_progress(reload->fill) : reload->fill_was;
  bool going_live = holds && !reload_fill_lacks(buf_str(&reload->filled), serving);
  value_put_map(out, 10);
  value_put_member_text(out, "state",
                        reload->fill_failed                             ? STR("failed")
                        : going_live                                    ? STR("going live")
                        : reload->fill && progress.step == FILL_READING ? STR("filling")
                        : reload->fill && progress.step == FILL_JUDGING ? STR("judging")
                                                                        : STR("sealing"));
  value_put_member_integer(out, "percent", going_live ? 100 : progress.percent);
  value_put_member_integer(out, "users", (int64_t)progress.users);
  value_put_string(out, STR("holds_back"));
  value_put_bool(out, holds);
  put_words(serving->facts.besides, "windows", out);
  put_words(serving->facts.interests, "interests", out);
  value_put_string(out, STR("segments"));
  value_put_array(out, (uint32_t)serving->segment_count);
  for (size_t i = 0; i < serving->segment_count; i++) value_put_string(out, serving->segments[i].name);
  value_put_member_integer(out, "short_from", short_from(reload, &progress));
  value_put_member_integer(out, "log_keep", reload->host->config->log.keep);
  value_put_member_text(out, "error", str_from(reload->fill_failed ? reload->fill_failed : ""));
  return true;
}

bool reload_fill_describe_last(const struct reload *reload, struct buf *out) {
  const struct fill_progress *was = &reload->fill_was;
  if (!was->began) return false;
  value_put_map(out, 5);
  value_put_member_integer(out, "at", was->began);
  value_put_member_integer(out, "users", (int64_t)was->users);
  value_put_member_integer(out, "refused", (int64_t)was->refused);
  value_put_member_integer(out, "short_from", short_from(reload, was));
  value_put_member_integer(out, "log_keep", reload->host->config->log.keep);
  return true;
}
