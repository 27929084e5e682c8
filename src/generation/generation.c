#include "generation/generation.h"

#include "base/logger.h"
#include "base/memory.h"
#include "base/thread.h"
#include "event/value.h"

static const char *const cause_names[GENERATION_CAUSES] = {"start", "watch",  "command", "rollback",
                                                           "pause", "resume", "fill"};

const char *generation_cause_name(enum generation_cause cause) {
  return cause < GENERATION_CAUSES ? cause_names[cause] : "unknown";
}

/* ---- facts ---- */

/** @param windows  null: what people look at. */
static void encode(const struct generation_facts *facts, const struct str *windows, struct buf *out) {
  value_put_map(out, windows ? 16 : 10);
  value_put_member_integer(out, "generation", facts->number);
  value_put_member_text(out, "cause", str_from(generation_cause_name(facts->cause)));
  value_put_member_integer(out, "at", facts->at);
  value_put_member_text(out, "by", facts->by);
  value_put_member_integer(out, "restores", facts->restores);
  value_put_member_hash(out, "ruleset", facts->sources);
  value_put_member_hash(out, "files", facts->files);
  value_put_member_value(out, "paused", facts->paused);
  value_put_member_value(out, "flights", facts->flights);
  value_put_member_value(out, "changes", facts->changes);
  if (!windows) return;
  value_put_member_value(out, "windows", *windows);
  value_put_member_value(out, "besides", facts->besides);
  value_put_member_value(out, "interests", facts->interests);
  value_put_member_value(out, "quiet", facts->quiet);
  value_put_member_value(out, "judged_anew", facts->judged_anew);
  value_put_member_hash(out, "target", facts->target);
}

static struct value member(struct str bytes, const char *name) {
  struct str found;
  return value_member(bytes, str_from(name), &found) ? value_head(found) : (struct value){.type = VALUE_NIL};
}

static struct str member_slice(struct str bytes, const char *name, enum value_type type) {
  struct str found;
  bool there = value_member(bytes, str_from(name), &found) && value_head(found).type == type;
  return there ? found : STR("");
}

/** Whether all rows of a list, "" for none, are so. */
static bool each(struct str list, bool (*is)(struct str row)) {
  struct reader rows = reader_of(list);
  for (uint32_t left = list.len ? value_read(&rows).count : 0; left > 0; left--)
    if (!is(value_slice(&rows))) return false;
  return true;
}

static bool is_integer(struct str row) {
  return value_head(row).type == VALUE_INTEGER;
}

static bool is_text(struct str row) {
  return value_head(row).type == VALUE_STRING;
}

static bool is_beside(struct str row) {
  int64_t kind = value_member_integer(row, "kind");
  return kind >= WINDOW_COUNT && kind <= WINDOW_DISTINCT;
}

static bool is_interest(struct str row) {
  return each(member_slice(row, "of", VALUE_ARRAY), is_text);
}

int generation_facts_decode(struct generation_facts *out, struct str bytes, struct error *err) {
  *out = (struct generation_facts){0};
  struct value cause = member(bytes, "cause"), by = member(bytes, "by");
  struct value sources = member(bytes, "ruleset"), files = member(bytes, "files");
  if (!value_valid(bytes) || cause.type != VALUE_STRING || sources.type != VALUE_STRING ||
      files.type != VALUE_STRING || !hash128_from_hex(sources.string, &out->sources) ||
      !hash128_from_hex(files.string, &out->files))
    return error_set(err, ERROR_CORRUPT, "what is kept of the generation does not check out");
  out->number = (uint32_t)value_member_integer(bytes, "generation");
  for (int i = 0; i < GENERATION_CAUSES; i++)
    if (str_equal(cause.string, str_from(cause_names[i]))) out->cause = (enum generation_cause)i;
  out->at = value_member_integer(bytes, "at");
  out->by = by.type == VALUE_STRING ? by.string : STR("");
  out->restores = (uint32_t)value_member_integer(bytes, "restores");
  out->paused = member_slice(bytes, "paused", VALUE_ARRAY);
  out->flights = member_slice(bytes, "flights", VALUE_ARRAY);
  out->changes = member_slice(bytes, "changes", VALUE_MAP);
  out->windows = member_slice(bytes, "windows", VALUE_ARRAY);
  out->besides = member_slice(bytes, "besides", VALUE_ARRAY);
  out->interests = member_slice(bytes, "interests", VALUE_ARRAY);
  out->quiet = member_slice(bytes, "quiet", VALUE_ARRAY);
  out->judged_anew = member_slice(bytes, "judged_anew", VALUE_ARRAY);
  struct value target = member(bytes, "target");
  bool whole =
      each(out->windows, is_integer) && each(out->besides, is_beside) && each(out->interests, is_interest);
  if (!whole || (target.type == VALUE_STRING && !hash128_from_hex(target.string, &out->target)))
    return error_set(err, ERROR_CORRUPT, "what is kept of the generation does not check out");
  return 0;
}

/* ---- windows ---- */

static void read_windows(struct generation *generation) {
  struct reader known = reader_of(generation->facts.windows);
  uint32_t count = generation->facts.windows.len ? value_read(&known).count / 2 : 0;
  generation->known = memory_zalloc((count + 1) * sizeof *generation->known);
  for (uint32_t i = 0; i < count; i++) {
    struct window_declaration *window = &generation->known[generation->known_count++];
    window->form = (uint64_t)value_read(&known).integer;
    window->since = (uint32_t)value_read(&known).integer;
  }
  struct reader besides = reader_of(generation->facts.besides);
  count = generation->facts.besides.len ? value_read(&besides).count : 0;
  generation->besides = memory_zalloc((count + 1) * sizeof *generation->besides);
  for (uint32_t i = 0; i < count; i++) {
    struct str map = value_slice(&besides);
    generation->besides[generation->besides_count++] = generation_window(map);
  }
  generation->interests = generation_read_interests(generation->facts.interests, &generation->interest_count);
}

static void add_segment(struct generation *generation, struct str row, uint64_t seed) {
  struct generation_segment *segment = &generation->segments[generation->segment_count++];
  segment->name = value_member_text(row, "name");
  segment->since = (uint32_t)value_member_integer(row, "since");
  segment->id = hash64(segment->name, segment->since + seed);
}

static void read_segments(struct generation *generation) {
  static const uint64_t anew = UINT64_C(1) << 32;
  struct reader quiet = reader_of(generation->facts.quiet), more = reader_of(generation->facts.judged_anew);
  uint32_t quiet_count = generation->facts.quiet.len ? value_read(&quiet).count : 0;
  uint32_t more_count = generation->facts.judged_anew.len ? value_read(&more).count : 0;
  memory_free(generation->segments);
  generation->segments = memory_zalloc((quiet_count + more_count + 1) * sizeof *generation->segments);
  generation->segment_count = 0;
  buf_clear(&generation->quiet_folders);
  struct str last = STR("");
  for (uint32_t i = 0; i < quiet_count; i++) {
    struct str map = value_slice(&quiet), folder = value_member_text(map, "folder");
    add_segment(generation, map, 0);
    if (!str_equal(folder, last)) buf_put_str(&generation->quiet_folders, folder);
    last = folder;
  }
  generation->quiet_count = generation->segment_count;
  for (uint32_t i = 0; i < more_count; i++) add_segment(generation, value_slice(&more), anew);
}

void generation_judge_anew(struct generation *generation, struct str rows) {
  buf_clear(&generation->judged_anew);
  buf_append(&generation->judged_anew, rows.data, rows.len);
  generation->facts.judged_anew = buf_str(&generation->judged_anew);
  read_segments(generation);
}

void generation_put_judged_anew(struct buf *out, struct str segment, uint32_t since) {
  value_put_map(out, 2);
  value_put_member_text(out, "name", segment);
  value_put_member_integer(out, "since", since);
}

void generation_put_quiet(struct buf *out, const struct engine_segment *segment, uint32_t since) {
  value_put_map(out, 3);
  value_put_member_text(out, "name", segment->name);
  value_put_member_text(out, "folder", segment->campaign);
  value_put_member_integer(out, "since", since);
}

void generation_put_window(struct buf *out, const struct window_declaration *window) {
  value_put_member_integer(out, "kind", window->kind);
  value_put_member_text(out, "of", window->of);
  value_put_member_text(out, "by", window->by);
  value_put_member_text(out, "value", window->value);
  value_put_member_integer(out, "over", window->over);
  value_put_member_integer(out, "since", window->since);
}

struct window_declaration generation_window(struct str map) {
  struct window_declaration window = {.kind = (enum window_kind)value_member_integer(map, "kind"),
                                      .of = value_member_text(map, "of"),
                                      .by = value_member_text(map, "by"),
                                      .value = value_member_text(map, "value"),
                                      .over = value_member_integer(map, "over")};
  window_identify(&window);
  window_begin(&window, (uint32_t)value_member_integer(map, "since"));
  return window;
}

void generation_put_beside(struct buf *out, const struct window_declaration *window, struct str words) {
  value_put_map(out, GENERATION_WINDOW_MEMBERS + 1);
  generation_put_window(out, window);
  value_put_member_text(out, "words", words);
}

void generation_put_interest(struct buf *out, const struct engine_interest *interest) {
  value_put_map(out, 6);
  value_put_member_text(out, "index", interest->index);
  value_put_string(out, STR("of"));
  value_put_array(out, (uint32_t)interest->of_count);
  for (size_t i = 0; i < interest->of_count; i++) value_put_string(out, interest->of[i]);
  value_put_member_text(out, "by", interest->by);
  value_put_member_integer(out, "over", interest->over);
  value_put_member_integer(out, "since", interest->since);
  value_put_member_text(out, "words", interest->words);
}

struct engine_interest *generation_read_interests(struct str facts, size_t *count) {
  struct reader rows = reader_of(facts);
  *count = facts.len ? value_read(&rows).count : 0;
  struct engine_interest *interests = memory_zalloc((*count + 1) * sizeof *interests);
  for (size_t i = 0; i < *count; i++) {
    struct str map = value_slice(&rows);
    struct reader types = reader_of(member_slice(map, "of", VALUE_ARRAY));
    struct engine_interest *interest = &interests[i];
    size_t of_count = reader_left(&types) ? value_read(&types).count : 0;
    struct str *of = memory_zalloc((of_count + 1) * sizeof *of);
    for (size_t j = 0; j < of_count; j++) of[j] = value_read(&types).string;
    *interest = (struct engine_interest){.index = value_member_text(map, "index"),
                                         .words = value_member_text(map, "words"),
                                         .of = of,
                                         .of_count = of_count,
                                         .by = value_member_text(map, "by"),
                                         .over = value_member_integer(map, "over"),
                                         .since = (uint32_t)value_member_integer(map, "since")};
    engine_interest_identify(interest);
  }
  return interests;
}

void generation_free_interests(struct engine_interest *interests, size_t count) {
  for (size_t i = 0; i < count; i++) memory_free((void *)interests[i].of);
  memory_free(interests);
}

static void put_known(struct buf *out, uint64_t form, uint32_t since) {
  value_put_integer(out, (int64_t)form);
  value_put_integer(out, since);
}

static void put_window(struct buf *out, const struct window_declaration *window) {
  put_known(out, window->form, window->since);
}

void generation_windows(const struct generation *generation, struct buf *out) {
  const struct window_declaration *windows = generation->known;
  size_t count = generation->known_count;
  if (generation->workers[0].engine) count = engine_windows(generation->workers[0].engine, &windows);
  const struct engine_interest *interests;
  size_t interest_count = 0;
  if (generation->workers[0].engine)
    interest_count = engine_interests(generation->workers[0].engine, &interests);
  const struct journey_sources *flights = &generation->flights;
  value_put_array(out, (uint32_t)(count + flights->window_count + generation->besides_count + interest_count +
                                  generation->interest_count) *
                           2);
  for (size_t i = 0; i < count; i++) put_window(out, &windows[i]);
  for (size_t i = 0; i < flights->window_count; i++) put_window(out, &flights->windows[i]);
  for (size_t i = 0; i < generation->besides_count; i++) put_window(out, &generation->besides[i]);
  for (size_t i = 0; i < interest_count; i++) put_known(out, interests[i].form, interests[i].since);
  for (size_t i = 0; i < generation->interest_count; i++)
    put_known(out, generation->interests[i].form, generation->interests[i].since);
}

/* ---- the object ---- */

struct generation *generation_new(const struct generation_facts *facts, struct ruleset *ruleset,
                                  uint32_t worker_count) {
  struct generation *generation = memory_zalloc(sizeof *generation);
  buf_init(&generation->bytes);
  buf_init(&generation->written);
  encode(facts, &facts->windows, &generation->bytes);
  generation_facts_decode(&generation->facts, buf_str(&generation->bytes), NULL);
  read_windows(generation);
  buf_init(&generation->quiet_folders);
  buf_init(&generation->judged_anew);
  read_segments(generation);
  generation->ruleset = ruleset;
  generation->workers = memory_zalloc(worker_count * sizeof *generation->workers);
  generation->worker_count = worker_count;
  return generation;
}

void generation_free(struct generation *generation) {
  if (!generation) return;
  thread_pace();
  for (uint32_t i = 0; i < generation->worker_count; i++) {
    decider_free(generation->workers[i].decider);
    engine_free(generation->workers[i].engine);
  }
  thread_unpace();
  memory_free(generation->workers);
  memory_free(generation->known);
  memory_free(generation->besides);
  generation_free_interests(generation->interests, generation->interest_count);
  memory_free(generation->segments);
  buf_deinit(&generation->quiet_folders);
  buf_deinit(&generation->judged_anew);
  ruleset_free(generation->ruleset);
  ruleset_free(generation->target);
  journey_sources_deinit(&generation->flights);
  buf_deinit(&generation->bytes);
  buf_deinit(&generation->written);
  memory_free(generation);
}

static struct engine_options made_with(const struct generation *generation, const struct config *config) {
  return (struct engine_options){.ruleset = generation->ruleset,
                                 .config = config,
                                 .generation = generation->facts.number,
                                 .known = generation->known,
                                 .known_count = generation->known_count,
                                 .since = generation->since,
                                 .quiet = generation->quiet_count ? generation->target : NULL,
                                 .quiet_folders = buf_str(&generation->quiet_folders)};
}

static void warn_lost(void *context, const struct error *err) {
  (void)context;
  LOG_WARN("rules", "journeys under way cannot go on", LOG_TEXT("because", err->message));
}

static int build(struct generation *generation, const struct config *config, struct store *store,
                 uint32_t index, bool aside, struct decider_observer observer, struct error *err) {
  struct generation_rules *rules = &generation->workers[index];
  if (rules->engine) return 0;
  int rc = 0;
  if (!generation->flights.store)
    rc = journey_sources_load(&generation->flights, store, generation->facts.flights, err);
  if (rc) return rc;
  struct engine_options options = made_with(generation, config);
  options.counted_budget = aside;
  thread_pace();
  rc = engine_new(&rules->engine, &options, err);
  thread_unpace();
  if (rc) return rc;
  rules->generation = generation->facts.number;
  rules->decider =
      decider_new(&(struct decider_options){.engine = rules->engine,
                                            .config = config,
                                            .generation = generation->facts.number,
                                            .paused = generation->facts.paused,
                                            .besides = generation->besides,
                                            .besides_count = generation->besides_count,
                                            .interests = generation->interests,
                                            .interest_count = generation->interest_count,
                                            .record_max = config->state.record_max,
                                            .uncounted = aside,
                                            .flights = journey_sources_port(&generation->flights),
                                            .observer = observer});
  return 0;
}

int generation_build(struct generation *generation, const struct config *config, struct store *store,
                     uint32_t index, struct decider_observer observer, struct error *err) {
  bool built = generation->workers[index].engine;
  int rc = build(generation, config, store, index, false, observer, err);
  if (rc == 0 && !built)
    journey_sources_open(generation->workers[index].decider, generation->facts.flights,
                         index ? NULL : warn_lost, NULL);
  return rc;
}

int generation_build_aside(struct generation *generation, const struct config *config, struct store *store,
                           struct decider_observer observer, struct error *err) {
  return build(generation, config, store, 0, true, observer, err);
}

/* ---- keeping ---- */

enum { KEY_MAX = 64 };

/** Facts to be written, with their keys and, for some, values of their own. */
struct keeping {
  struct store *store;
  struct store_fact *facts;
  size_t count, cap;
  struct buf list, target_list, templates, windows;
};

static void hash_key(char *key, const char *prefix, struct hash128 hash) {
  char hex[33];
  hash128_hex(hash, hex);
  snprintf(key, KEY_MAX, "%s:%s", prefix, hex);
}

static void keep(struct keeping *keeping, const char *key, struct str value, bool remove) {
  if (keeping->count == keeping->cap) {
    keeping->cap = keeping->cap ? keeping->cap * 2 : 64;
    keeping->facts = memory_realloc(keeping->facts, keeping->cap * sizeof *keeping->facts);
  }
  struct str copy = {memory_dup(key, strlen(key)), strlen(key)};
  keeping->facts[keeping->count++] = (struct store_fact){copy, value, remove};
}

/** By content: what is there already is the same. */
static int keep_hashed(struct keeping *keeping, const char *prefix, struct hash128 hash, struct str value,
                       struct error *err) {
  char key[KEY_MAX];
  struct buf there;
  hash_key(key, prefix, hash);
  buf_init(&there);
  int rc = store_meta_get(keeping->store, str_from(key), &there, err);
  buf_deinit(&there);
  if (rc != ERROR_NOT_FOUND) return rc;
  keep(keeping, key, value, false);
  return 0;
}

static void keeping_deinit(struct keeping *keeping) {
  for (size_t i = 0; i < keeping->count; i++) memory_free((char *)keeping->facts[i].key.data);
  memory_free(keeping->facts);
  buf_deinit(&keeping->list);
  buf_deinit(&keeping->target_list);
  buf_deinit(&keeping->templates);
  buf_deinit(&keeping->windows);
}

/** @param list  scratch that lives until all is written. */
static int keep_sources(struct keeping *keeping, const struct ruleset *ruleset, struct buf *list,
                        struct error *err) {
  ruleset_encode(ruleset, list);
  int rc = keep_hashed(keeping, "ruleset", ruleset->hash, buf_str(list), err);
  for (size_t i = 0; rc == 0 && i < ruleset->count; i++)
    rc = keep_hashed(keeping, "source", ruleset->files[i].hash, ruleset->files[i].text, err);
  return rc;
}

int generation_store(struct generation *generation, struct store *store, struct error *err) {
  struct keeping keeping = {.store = store};
  const struct ruleset *ruleset = generation->ruleset;
  const struct engine_template *templates;
  size_t count = engine_templates(generation->workers[0].engine, &templates);
  buf_init(&keeping.list);
  buf_init(&keeping.target_list);
  buf_init(&keeping.templates);
  buf_init(&keeping.windows);
  generation_windows(generation, &keeping.windows);
  struct str windows = buf_str(&keeping.windows);
  buf_clear(&generation->written);
  encode(&generation->facts, &windows, &generation->written);
  int rc = keep_sources(&keeping, ruleset, &keeping.list, err);
  if (rc == 0 && generation->target)
    rc = keep_sources(&keeping, generation->target, &keeping.target_list, err);
  for (size_t i = 0; rc == 0 && i < count; i++) {
    buf_put_u64(&keeping.templates, templates[i].hash.high);
    buf_put_u64(&keeping.templates, templates[i].hash.low);
    rc = keep_hashed(&keeping, "template", templates[i].hash, templates[i].bundle, err);
  }
  char key[KEY_MAX];
  hash_key(key, "templates", ruleset->hash);
  keep(&keeping, key, buf_str(&keeping.templates), false);
  snprintf(key, sizeof key, "generation:%u", generation->facts.number);
  keep(&keeping, key, buf_str(&generation->written), false);
  if (rc == 0)
    rc = journey_sources_store(generation->workers[0].engine, ruleset, store, generation->facts.at, err);
  if (rc == 0) rc = store_meta_write(store, keeping.facts, keeping.count, err);
  keeping_deinit(&keeping);
  return rc;
}

static int text_of(void *context, struct hash128 hash, struct buf *out, struct error *err) {
  char key[KEY_MAX];
  hash_key(key, "source", hash);
  int rc = store_meta_get(context, str_from(key), out, err);
  if (rc == 0 && !hash128_equal(hash128(buf_str(out), 0), hash))
    rc = error_set(err, ERROR_CORRUPT, "a source's text is not what its hash says");
  return rc;
}

int generation_sources_load(struct store *store, struct hash128 sources, struct ruleset **out,
                            struct error *err) {
  char key[KEY_MAX];
  struct buf list;
  buf_init(&list);
  hash_key(key, "ruleset", sources);
  int rc = store_meta_get(store, str_from(key), &list, err);
  if (rc == 0) rc = ruleset_decode(out, buf_str(&list), text_of, store, err);
  buf_deinit(&list);
  return rc;
}

int generation_facts_load(struct store *store, uint32_t number, struct buf *bytes,
                          struct generation_facts *out, struct error *err) {
  char key[KEY_MAX];
  snprintf(key, sizeof key, "generation:%u", number);
  buf_clear(bytes);
  int rc = store_meta_get(store, str_from(key), bytes, err);
  return rc ? rc : generation_facts_decode(out, buf_str(bytes), err);
}

int generation_load(struct generation **out, const struct generation_facts *facts, struct store *store,
                    uint32_t worker_count, struct error *err) {
  struct ruleset *sources;
  *out = NULL;
  int rc = generation_sources_load(store, facts->sources, &sources, err);
  if (rc) return rc;
  struct generation *generation = generation_new(facts, sources, worker_count);
  if (generation->quiet_count) rc = generation_sources_load(store, facts->target, &generation->target, err);
  if (rc)
    generation_free(generation);
  else
    *out = generation;
  return rc;
}

int generation_list(struct store *store, uint32_t newest, uint32_t most, struct buf *out, struct error *err) {
  struct buf bytes, rows;
  uint32_t count = 0;
  int rc = 0;
  buf_init(&bytes);
  buf_init(&rows);
  for (uint32_t number = newest; number > 0 && count < most; number--) {
    struct generation_facts facts;
    rc = generation_facts_load(store, number, &bytes, &facts, err);
    if (rc) break;
    encode(&facts, NULL, &rows);
    count++;
  }
  if (rc == ERROR_NOT_FOUND || rc == ERROR_CORRUPT) rc = 0; // older ones were dropped
  value_put_array(out, count);
  buf_append(out, rows.data, rows.len);
  buf_deinit(&bytes);
  buf_deinit(&rows);
  return rc;
}
