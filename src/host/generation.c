#include "host/generation.h"

#include "base/clock.h"
#include "base/memory.h"
#include "event/value.h"
#include "host/log_wait.h"

static const char *const cause_names[GENERATION_CAUSES] = {"start",    "watch", "command",
                                                           "rollback", "pause", "resume"};

const char *generation_cause_name(enum generation_cause cause) {
  return cause < GENERATION_CAUSES ? cause_names[cause] : "unknown";
}

/* ---- facts ---- */

static void encode(const struct generation_facts *facts, struct buf *out) {
  value_put_map(out, 9);
  value_put_member_integer(out, "generation", facts->number);
  value_put_member_text(out, "cause", str_from(generation_cause_name(facts->cause)));
  value_put_member_integer(out, "at", facts->at);
  value_put_member_text(out, "by", facts->by);
  value_put_member_integer(out, "restores", facts->restores);
  value_put_member_hash(out, "ruleset", facts->sources);
  value_put_member_hash(out, "files", facts->files);
  value_put_member_value(out, "paused", facts->paused);
  value_put_member_value(out, "changes", facts->changes);
}

static struct value member(struct str bytes, const char *name) {
  struct str found;
  return value_member(bytes, str_from(name), &found) ? value_head(found) : (struct value){.type = VALUE_NIL};
}

static int64_t member_integer(struct str bytes, const char *name) {
  struct value value = member(bytes, name);
  return value.type == VALUE_INTEGER ? value.integer : 0;
}

static struct str member_slice(struct str bytes, const char *name, enum value_type type) {
  struct str found;
  bool there = value_member(bytes, str_from(name), &found) && value_head(found).type == type;
  return there ? found : STR("");
}

int generation_facts_decode(struct generation_facts *out, struct str bytes, struct error *err) {
  *out = (struct generation_facts){0};
  struct value cause = member(bytes, "cause"), by = member(bytes, "by");
  struct value sources = member(bytes, "ruleset"), files = member(bytes, "files");
  if (!value_valid(bytes) || cause.type != VALUE_STRING || sources.type != VALUE_STRING ||
      files.type != VALUE_STRING || !hash128_from_hex(sources.string, &out->sources) ||
      !hash128_from_hex(files.string, &out->files))
    return error_set(err, ERROR_CORRUPT, "what is kept of the generation does not check out");
  out->number = (uint32_t)member_integer(bytes, "generation");
  for (int i = 0; i < GENERATION_CAUSES; i++)
    if (str_equal(cause.string, str_from(cause_names[i]))) out->cause = (enum generation_cause)i;
  out->at = member_integer(bytes, "at");
  out->by = by.type == VALUE_STRING ? by.string : STR("");
  out->restores = (uint32_t)member_integer(bytes, "restores");
  out->paused = member_slice(bytes, "paused", VALUE_ARRAY);
  out->changes = member_slice(bytes, "changes", VALUE_MAP);
  return 0;
}

/* ---- the object ---- */

struct generation *generation_new(const struct generation_facts *facts, struct ruleset *ruleset,
                                  uint32_t worker_count) {
  struct generation *generation = memory_zalloc(sizeof *generation);
  buf_init(&generation->bytes);
  encode(facts, &generation->bytes);
  generation_facts_decode(&generation->facts, buf_str(&generation->bytes), NULL);
  generation->ruleset = ruleset;
  generation->workers = memory_zalloc(worker_count * sizeof *generation->workers);
  generation->worker_count = worker_count;
  return generation;
}

void generation_free(struct generation *generation) {
  if (!generation) return;
  for (uint32_t i = 0; i < generation->worker_count; i++) {
    decider_free(generation->workers[i].decider);
    engine_free(generation->workers[i].engine);
  }
  memory_free(generation->workers);
  ruleset_free(generation->ruleset);
  buf_deinit(&generation->bytes);
  memory_free(generation);
}

int generation_build(struct generation *generation, const struct config *config, struct worker *worker,
                     uint32_t index, struct error *err) {
  struct worker_rules *rules = &generation->workers[index];
  if (rules->engine) return 0;
  struct engine_options options = {
      .ruleset = generation->ruleset, .config = config, .generation = generation->facts.number};
  int rc = engine_new(&rules->engine, &options, err);
  if (rc) return rc;
  rules->generation = generation->facts.number;
  rules->decider = decider_new(&(struct decider_options){.engine = rules->engine,
                                                         .config = config,
                                                         .generation = generation->facts.number,
                                                         .paused = generation->facts.paused,
                                                         .record_max = config->state.record_max,
                                                         .observer = worker_observer(worker)});
  return 0;
}

/* ---- keeping ---- */

enum { KEY_MAX = 64 };

/** Facts to be written, with their keys and, for some, values of their own. */
struct keeping {
  struct store *store;
  struct store_fact *facts;
  size_t count, cap;
  struct buf list, templates;
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
  buf_deinit(&keeping->templates);
}

int generation_store(const struct generation *generation, struct store *store, struct error *err) {
  struct keeping keeping = {.store = store};
  const struct ruleset *ruleset = generation->ruleset;
  const struct engine_template *templates;
  size_t count = engine_templates(generation->workers[0].engine, &templates);
  buf_init(&keeping.list);
  buf_init(&keeping.templates);
  ruleset_encode(ruleset, &keeping.list);
  int rc = keep_hashed(&keeping, "ruleset", ruleset->hash, buf_str(&keeping.list), err);
  for (size_t i = 0; rc == 0 && i < ruleset->count; i++)
    rc = keep_hashed(&keeping, "source", ruleset->files[i].hash, ruleset->files[i].text, err);
  for (size_t i = 0; rc == 0 && i < count; i++) {
    buf_put_u64(&keeping.templates, templates[i].hash.high);
    buf_put_u64(&keeping.templates, templates[i].hash.low);
    rc = keep_hashed(&keeping, "template", templates[i].hash, templates[i].bundle, err);
  }
  char key[KEY_MAX];
  hash_key(key, "templates", ruleset->hash);
  keep(&keeping, key, buf_str(&keeping.templates), false);
  snprintf(key, sizeof key, "generation:%u", generation->facts.number);
  keep(&keeping, key, buf_str(&generation->bytes), false);
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
    buf_append(&rows, bytes.data, bytes.len);
    count++;
  }
  if (rc == ERROR_NOT_FOUND || rc == ERROR_CORRUPT) rc = 0; // older ones were dropped
  value_put_array(out, count);
  buf_append(out, rows.data, rows.len);
  buf_deinit(&bytes);
  buf_deinit(&rows);
  return rc;
}

/* ---- the decision ---- */

int generation_decide(const struct generation *generation, struct worker_shared *shared, struct error *err) {
  struct log_record record = {.seq = worker_next_seq(shared),
                              .type = LOG_GENERATION,
                              .generation = generation->facts.number,
                              .at = clock_wall_ms(),
                              .entity = {ENTITY_SUBJECT, STR("")},
                              .input = buf_str(&generation->bytes)};
  return log_wait(shared, &record, err);
}
