/* Which source a journey under way runs on: the generation's, or an earlier one, loaded beside it and kept at
 * hand within rules.memory. */
#include "base/memory.h"
#include "decide/decide_internal.h"

/** An earlier source of one campaign. */
struct flight_source {
  struct hash128 version;
  struct ruleset *ruleset;
  struct decide_source source; /**< engine null: it does not load, and `why` says it */
  struct error why;
  uint64_t used; /**< when it was last needed */
};

struct flights {
  struct flight_source *items;
  size_t count, cap;
  uint64_t clock;
  bool grown; /**< since it was last trimmed */
};

static void source_free(struct flight_source *item) {
  campaigns_free(item->source.campaigns);
  engine_free(item->source.engine);
  ruleset_free(item->ruleset);
}

void decide_flights_free(struct decider *decider) {
  if (!decider->flights) return;
  for (size_t i = 0; i < decider->flights->count; i++) source_free(&decider->flights->items[i]);
  memory_free(decider->flights->items);
  memory_free(decider->flights);
}

static struct flight_source *find(const struct decider *decider, struct hash128 version) {
  for (size_t i = 0; decider->flights && i < decider->flights->count; i++)
    if (hash128_equal(decider->flights->items[i].version, version)) return &decider->flights->items[i];
  return NULL;
}

size_t decider_flight_memory(const struct decider *decider) {
  const struct flights *flights = decider->flights;
  size_t bytes = 0;
  for (size_t i = 0; flights && i < flights->count; i++)
    if (flights->items[i].source.engine) bytes += engine_memory(flights->items[i].source.engine);
  return bytes;
}

static size_t bound(const struct decider *decider) {
  return decider->options.config->rules.memory;
}

void decide_flights_trim(struct decider *decider) {
  struct flights *flights = decider->flights;
  if (!flights || !flights->grown) return;
  flights->grown = false;
  while (flights->count > 1 && decider_flight_memory(decider) > bound(decider)) {
    size_t oldest = 0;
    for (size_t i = 1; i < flights->count; i++)
      if (flights->items[i].used < flights->items[oldest].used) oldest = i;
    source_free(&flights->items[oldest]);
    flights->items[oldest] = flights->items[--flights->count];
  }
}

static int load(const struct decider *decider, struct flight_source *item) {
  const struct decider_options *options = &decider->options;
  struct error *why = &item->why;
  if (!options->flights.sources)
    return error_set(why, ERROR_NOT_FOUND, "the source that it began with is not at hand here");
  int rc = options->flights.sources(options->flights.context, item->version, &item->ruleset, why);
  if (rc == ERROR_NOT_FOUND) return error_set(why, rc, "the source that it began with is not kept any more");
  if (rc) return error_prefix(why, "the source that it began with");
  struct engine_options made = *engine_made_with(options->engine);
  made.ruleset = item->ruleset;
  made.partial = true;
  made.quiet = NULL;
  made.quiet_folders = STR("");
  made.taker = NULL;
  made.partial = true;
  rc = engine_new(&item->source.engine, &made, why);
  if (rc) return error_prefix(why, "the source that it began with does not load any more");
  item->source.rule_count = engine_rules(item->source.engine, &item->source.rules);
  item->source.campaigns =
      campaigns_new(item->source.engine, options->config, options->paused, !options->uncounted);
  return 0;
}

static struct flight_source *open_source(struct decider *decider, struct hash128 version) {
  if (!decider->flights) decider->flights = memory_zalloc(sizeof *decider->flights);
  struct flights *flights = decider->flights;
  struct flight_source item = {.version = version, .used = ++flights->clock};
  load(decider, &item);
  if (flights->count == flights->cap) {
    flights->cap = flights->cap ? flights->cap * 2 : 4;
    flights->items = memory_realloc(flights->items, flights->cap * sizeof *flights->items);
  }
  flights->items[flights->count] = item;
  flights->grown = true;
  return &flights->items[flights->count++];
}

bool decider_open_flight(struct decider *decider, struct hash128 version, struct error *err) {
  if (find(decider, version)) return true;
  if (decider_flight_memory(decider) >= bound(decider)) return false;
  const struct flight_source *item = open_source(decider, version);
  if (item->why.code) *err = item->why;
  return true;
}

int decide_flight(struct decider *decider, struct str campaign, struct hash128 version,
                  struct decide_source *out, struct error *err) {
  int rule = engine_rule_of(decider->options.engine, campaign);
  if (rule >= 0 && hash128_equal(decider->rules[rule].version, version)) {
    *out = (struct decide_source){decider->options.engine, decider->rules, decider->rule_count,
                                  decider->campaigns, (uint32_t)rule};
    return 0;
  }
  struct flight_source *item = find(decider, version);
  if (!item) item = open_source(decider, version);
  if (item->why.code == ERROR_IO || item->why.code == ERROR_UNAVAILABLE) {
    item->why = (struct error){0};
    load(decider, item); // the store may have come back
  }
  item->used = ++decider->flights->clock;
  if (!item->source.engine) {
    *err = item->why;
    return err->code;
  }
  rule = engine_rule_of(item->source.engine, campaign);
  if (rule < 0)
    return error_set(err, ERROR_NOT_FOUND, "the source that it began with has no campaign \"%.*s\"",
                     STR_ARG(campaign));
  *out = item->source;
  out->rule = (uint32_t)rule;
  engine_input(out->engine);
  return 0;
}
