#include "generation/journey_source.h"

#include "base/memory.h"
#include "event/value.h"
#include "generation/generation.h"

#include <stdlib.h>

enum {
  READY_MAX = 16,            /**< sources loaded before a generation serves; others when they are needed */
  UNCOUNTED_MS = 10 * 60000, /**< so long after its last count somebody may have been on it all the same */
  HEX = 32
};

/* ---- keys and values ---- */

static void put_key(struct buf *out, struct str campaign, struct hash128 version) {
  char hex[HEX + 1];
  hash128_hex(version, hex);
  buf_clear(out);
  buf_printf(out, "flight:%.*s:%s", STR_ARG(campaign), hex);
}

bool journey_source_key(struct str key, struct str *campaign, struct hash128 *version) {
  size_t prefix = sizeof "flight:" - 1;
  if (key.len < prefix + 1 + HEX || key.data[key.len - HEX - 1] != ':') return false;
  *campaign = (struct str){key.data + prefix, key.len - HEX - 1 - prefix};
  return hash128_from_hex((struct str){key.data + key.len - HEX, HEX}, version);
}

struct journey_source_facts journey_source_facts(struct str bytes) {
  if (!value_valid(bytes)) return (struct journey_source_facts){.windows = STR("")};
  struct journey_source_facts facts = {.at = value_member_integer(bytes, "at"),
                                       .until = value_member_integer(bytes, "until"),
                                       .people = value_member_integer(bytes, "people"),
                                       .empty = value_member_integer(bytes, "empty"),
                                       .windows = STR("")};
  struct str found;
  if (value_member(bytes, STR("windows"), &found) && value_head(found).type == VALUE_ARRAY)
    facts.windows = found;
  return facts;
}

void journey_source_encode(const struct journey_source_facts *facts, struct buf *out) {
  value_put_map(out, 5);
  value_put_member_integer(out, "at", facts->at);
  value_put_member_integer(out, "until", facts->until);
  value_put_member_integer(out, "people", facts->people);
  value_put_member_integer(out, "empty", facts->empty);
  value_put_member_value(out, "windows", facts->windows);
}

static void put_windows(const struct engine *engine, uint32_t rule, struct buf *out) {
  const struct window_declaration *windows;
  const uint32_t *indices;
  engine_windows(engine, &windows);
  size_t count = engine_folder_windows(engine, rule, &indices);
  value_put_array(out, (uint32_t)count);
  for (size_t i = 0; i < count; i++) {
    const struct window_declaration *window = &windows[indices[i]];
    value_put_map(out, GENERATION_WINDOW_MEMBERS);
    generation_put_window(out, window);
  }
}

/* ---- keeping ---- */

static void put_templates(const struct engine *engine, struct str folder, struct buf *out) {
  const struct engine_template *templates;
  size_t count = engine_templates(engine, &templates);
  for (size_t i = 0; i < count; i++) {
    if (!str_equal(templates[i].campaign, folder)) continue;
    buf_put_u64(out, templates[i].hash.high);
    buf_put_u64(out, templates[i].hash.low);
  }
}

/** Texts and templates themselves are kept with the generation, by their hashes. */
static int store_one(const struct engine *engine, const struct ruleset *ruleset, uint32_t index,
                     struct store *store, int64_t at, struct error *err) {
  const struct engine_rule *rules;
  engine_rules(engine, &rules);
  const struct engine_rule *rule = &rules[index];
  struct str folder = {rule->path.data, strcspn(rule->path.data, "/")};
  struct buf key, there, windows, facts, list, templates, folders;
  struct buf *bufs[] = {&key, &there, &windows, &facts, &list, &templates, &folders};
  for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_init(bufs[i]);
  put_key(&key, rule->campaign, rule->version);
  int rc = store_meta_get(store, buf_str(&key), &there, err);
  struct journey_source_facts known = journey_source_facts(buf_str(&there));
  if (rc == 0 && known.until == 0) goto cleanup;
  if (rc && rc != ERROR_NOT_FOUND) goto cleanup;
  put_windows(engine, index, &windows);
  journey_source_encode(
      &(struct journey_source_facts){.at = rc ? at : known.at, .people = -1, .windows = buf_str(&windows)},
      &facts);
  buf_put_str(&folders, folder);
  struct ruleset *alone = ruleset_pick(ruleset, buf_str(&folders));
  ruleset_encode(alone, &list);
  ruleset_free(alone);
  put_templates(engine, folder, &templates);
  char hex[HEX + 1], list_key[64], templates_key[64];
  hash128_hex(rule->version, hex);
  snprintf(list_key, sizeof list_key, "ruleset:%s", hex);
  snprintf(templates_key, sizeof templates_key, "templates:%s", hex);
  const struct store_fact kept[] = {{str_from(list_key), buf_str(&list), false},
                                    {str_from(templates_key), buf_str(&templates), false},
                                    {buf_str(&key), buf_str(&facts), false}};
  rc = store_meta_write(store, kept, sizeof kept / sizeof *kept, err);
cleanup:
  for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) buf_deinit(bufs[i]);
  return rc;
}

int journey_sources_store(const struct engine *engine, const struct ruleset *ruleset, struct store *store,
                          int64_t at, struct error *err) {
  const struct engine_rule *rules;
  size_t count = engine_rules(engine, &rules);
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < count; i++)
    if (rules[i].journey) rc = store_one(engine, ruleset, (uint32_t)i, store, at, err);
  return rc;
}

/* ---- listing ---- */

struct listed {
  struct str campaign;
  struct hash128 version;
  int64_t at, people;
};

struct listing {
  struct hash128 *serving;
  size_t serving_count;
  int64_t now;
  struct listed *items;
  size_t count, cap;
};

size_t journey_source_versions(const struct ruleset *ruleset, struct hash128 **out) {
  struct str last = STR("");
  size_t count = 0;
  *out = memory_zalloc((ruleset->count + 1) * sizeof **out);
  for (size_t i = 0; i < ruleset->count; i++) {
    struct str folder = {ruleset->files[i].path, strcspn(ruleset->files[i].path, "/")};
    if (ruleset->files[i].library || str_equal(folder, last)) continue;
    last = folder;
    (*out)[count++] = ruleset_version(ruleset, folder);
  }
  return count;
}

static bool serves(const struct listing *listing, struct hash128 version) {
  for (size_t i = 0; i < listing->serving_count; i++)
    if (hash128_equal(listing->serving[i], version)) return true;
  return false;
}

static int list_one(void *context, struct str key, struct str value) {
  struct listing *listing = context;
  struct listed listed;
  struct journey_source_facts facts = journey_source_facts(value);
  if (!journey_source_key(key, &listed.campaign, &listed.version) || serves(listing, listed.version))
    return 0;
  if (facts.empty && listing->now - facts.empty > UNCOUNTED_MS) return 0;
  listed.campaign.data = memory_dup(listed.campaign.data, listed.campaign.len);
  listed.at = facts.at;
  listed.people = facts.people;
  if (listing->count == listing->cap) {
    listing->cap = listing->cap ? listing->cap * 2 : 16;
    listing->items = memory_realloc(listing->items, listing->cap * sizeof *listing->items);
  }
  listing->items[listing->count++] = listed;
  return 0;
}

static int newest_first(const void *a, const void *b) {
  const struct listed *left = a, *right = b;
  return left->at > right->at ? -1 : left->at < right->at;
}

int journey_sources_list(struct store *store, const struct ruleset *serving, int64_t now, struct buf *out,
                         struct error *err) {
  struct listing listing = {.now = now};
  listing.serving_count = journey_source_versions(serving, &listing.serving);
  int rc = store_meta_scan(store, STR("flight:"), list_one, &listing, err);
  if (listing.count) qsort(listing.items, listing.count, sizeof *listing.items, newest_first);
  value_put_array(out, (uint32_t)listing.count);
  for (size_t i = 0; i < listing.count; i++) {
    value_put_map(out, 3);
    value_put_member_text(out, "campaign", listing.items[i].campaign);
    value_put_member_hash(out, "version", listing.items[i].version);
    value_put_member_integer(out, "people", listing.items[i].people);
    memory_free((char *)listing.items[i].campaign.data);
  }
  memory_free(listing.items);
  memory_free(listing.serving);
  return rc;
}

/* ---- for a decider ---- */

static bool next_listed(struct reader *reader, uint32_t *left, struct listed *out) {
  if (*left == 0) return false;
  --*left;
  struct str map = value_slice(reader);
  *out = (struct listed){.campaign = value_member_text(map, "campaign"),
                         .people = value_member_integer(map, "people")};
  return hash128_from_hex(value_member_text(map, "version"), &out->version);
}

static uint32_t listed_count(struct reader *reader) {
  return reader_left(reader) ? value_read(reader).count : 0;
}

static void add_window(struct journey_sources *sources, struct str map) {
  struct window_declaration window = generation_window(map);
  for (size_t i = 0; i < sources->window_count; i++)
    if (sources->windows[i].id == window.id) return;
  sources->windows = memory_realloc(sources->windows, (sources->window_count + 1) * sizeof *sources->windows);
  sources->windows[sources->window_count++] = window;
}

int journey_sources_load(struct journey_sources *out, struct store *store, struct str list,
                         struct error *err) {
  struct listed listed;
  struct buf key, one;
  int rc = 0;
  *out = (struct journey_sources){.store = store};
  buf_init(&out->bytes);
  buf_init(&key);
  buf_init(&one);
  struct reader reader = reader_of(list);
  uint32_t left = listed_count(&reader);
  while (rc == 0 && next_listed(&reader, &left, &listed)) {
    put_key(&key, listed.campaign, listed.version);
    buf_clear(&one);
    rc = store_meta_get(store, buf_str(&key), &one, err);
    if (rc == 0 && value_valid(buf_str(&one))) buf_append(&out->bytes, one.data, one.len);
    if (rc == ERROR_NOT_FOUND) rc = 0;
  }
  buf_deinit(&one);
  buf_deinit(&key);
  struct reader facts = reader_of(buf_str(&out->bytes)); // it does not move any more
  while (rc == 0 && reader_left(&facts)) {
    struct reader windows = reader_of(journey_source_facts(value_slice(&facts)).windows);
    for (uint32_t count = listed_count(&windows); count > 0; count--) add_window(out, value_slice(&windows));
  }
  if (rc) journey_sources_deinit(out);
  return rc;
}

void journey_sources_deinit(struct journey_sources *sources) {
  memory_free(sources->windows);
  buf_deinit(&sources->bytes);
  *sources = (struct journey_sources){0};
}

static int sources_of(void *context, struct hash128 version, struct ruleset **out, struct error *err) {
  return generation_sources_load(context, version, out, err);
}

struct decider_flights journey_sources_port(const struct journey_sources *sources) {
  return (struct decider_flights){.sources = sources_of,
                                  .context = sources->store,
                                  .windows = sources->windows,
                                  .window_count = sources->window_count};
}

void journey_sources_open(struct decider *decider, struct str list, error_taker *taker, void *context) {
  struct listed listed;
  struct reader reader = reader_of(list);
  uint32_t left = listed_count(&reader), opened = 0;
  while (opened < READY_MAX && next_listed(&reader, &left, &listed)) {
    struct error err = {0};
    if (listed.people == 0) continue;
    if (!decider_open_flight(decider, listed.version, &err)) return;
    if (err.code && taker) taker(context, &err);
    opened++;
  }
}
