/* Which earlier sources somebody is still on, and which are kept no longer. */
#include "base/memory.h"
#include "decide/journey_indexed.h"
#include "generation/journey_source.h"
#include "state/user_index.h"

enum {
  LOOKED_AT_ONCE = 10000, /**< entries of the index in one snapshot */
  SETTLED_MS = 30000      /**< after which whoever began on a source while it served is in the index */
};

/** One `flight:` fact. */
struct kept {
  struct str key, value, campaign;
  struct hash128 version;
  int64_t people;
};

struct retaining {
  struct store *store;
  struct kept *items;
  size_t count, cap;
  struct str campaign; /**< being counted */
  struct error *err;
};

static struct str copy_of(struct str text) {
  return (struct str){memory_dup(text.data, text.len), text.len};
}

static int note(void *context, struct str key, struct str value) {
  struct retaining *self = context;
  struct kept kept = {.key = copy_of(key), .value = copy_of(value)};
  if (self->count == self->cap) {
    self->cap = self->cap ? self->cap * 2 : 16;
    self->items = memory_realloc(self->items, self->cap * sizeof *self->items);
  }
  if (!journey_source_key(kept.key, &kept.campaign, &kept.version)) {
    memory_free((char *)kept.key.data);
    memory_free((char *)kept.value.data);
    return 0;
  }
  self->items[self->count++] = kept;
  return 0;
}

static void count_on(struct retaining *self, const struct hash128 *version) {
  for (size_t i = 0; i < self->count; i++)
    if ((!version || hash128_equal(self->items[i].version, *version)) &&
        str_equal(self->items[i].campaign, self->campaign))
      self->items[i].people++;
}

/** Who is on more journeys than the index has room for may be on any source. */
static int count_user(void *context, const struct index_user *user) {
  struct journey_indexed one;
  struct reader reader;
  uint32_t listed, all = journey_indexed_begin(user->value, &reader, &listed);
  for (uint32_t i = 0; i < listed; i++)
    if (journey_indexed_next(&reader, &one)) count_on(context, &one.version);
  if (listed < all) count_on(context, NULL);
  return 0;
}

static int count_campaign(struct retaining *self, struct str campaign) {
  struct buf index, cursor;
  int rc;
  buf_init(&index);
  buf_init(&cursor);
  buf_printf(&index, TIMER_JOURNEY "%.*s", STR_ARG(campaign));
  self->campaign = campaign;
  do
    rc = store_scan_index(self->store, buf_str(&index), STR(""), -1, 0, &cursor, LOOKED_AT_ONCE, count_user,
                          self, self->err);
  while (rc == LOOKED_AT_ONCE);
  buf_deinit(&index);
  buf_deinit(&cursor);
  return rc < 0 ? rc : 0;
}

/** A campaign is counted once, and only where it has a source that does not serve. */
static int count_people(struct retaining *self, const bool *serves) {
  int rc = 0;
  for (size_t i = 0; rc == 0 && i < self->count; i++) {
    bool counted = serves[i];
    for (size_t j = 0; j < i && !counted; j++)
      counted = !serves[j] && str_equal(self->items[j].campaign, self->items[i].campaign);
    if (!counted) rc = count_campaign(self, self->items[i].campaign);
  }
  return rc;
}

int journey_sources_retain(struct store *store, const struct ruleset *serving, int64_t keep_ms, int64_t now,
                           struct error *err) {
  struct retaining self = {.store = store, .err = err};
  struct hash128 *current;
  size_t current_count = journey_source_versions(serving, &current), fact_count = 0;
  int rc = store_meta_scan(store, STR("flight:"), note, &self, err), dropped = 0;
  bool *serves = memory_zalloc(self.count + 1);
  struct store_fact *facts = memory_zalloc((self.count + 1) * sizeof *facts);
  struct buf *values = memory_zalloc((self.count + 1) * sizeof *values);
  for (size_t i = 0; i < self.count; i++)
    for (size_t j = 0; j < current_count; j++) serves[i] |= hash128_equal(self.items[i].version, current[j]);
  if (rc == 0) rc = count_people(&self, serves);
  for (size_t i = 0; rc == 0 && i < self.count; i++) {
    const struct kept *kept = &self.items[i];
    struct journey_source_facts was = journey_source_facts(kept->value), is = was;
    if (serves[i]) continue;
    if (!is.until) is.until = now;
    bool settled = now - is.until >= SETTLED_MS;
    is.people = kept->people || settled ? kept->people : -1;
    is.empty = kept->people || !settled ? 0 : was.empty ? was.empty : now;
    bool drop = is.empty && now - is.empty > keep_ms;
    if (!drop && is.until == was.until && is.people == was.people && is.empty == was.empty) continue;
    dropped += drop;
    if (!drop) journey_source_encode(&is, &values[i]);
    facts[fact_count++] = (struct store_fact){kept->key, drop ? STR("") : buf_str(&values[i]), drop};
  }
  if (rc == 0 && fact_count) rc = store_meta_write(store, facts, fact_count, err);
  for (size_t i = 0; i < self.count; i++) {
    memory_free((char *)self.items[i].key.data);
    memory_free((char *)self.items[i].value.data);
    buf_deinit(&values[i]);
  }
  memory_free(self.items);
  memory_free(current);
  memory_free(serves);
  memory_free(facts);
  memory_free(values);
  return rc ? rc : dropped;
}
