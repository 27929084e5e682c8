/* Which generations are still needed, and what of their texts. */
#include "generation/generation.h"

#include "base/memory.h"
#include "deliver/deliver.h"
#include "event/value.h"

#include <stdlib.h>

enum { KEY_MAX = 64 };

/** What meta holds of one generation. */
struct kept {
  uint32_t number;
  int64_t at;
  struct hash128 sources, target;
};

struct hashes {
  struct hash128 *items;
  size_t count, cap;
};

struct retaining {
  struct store *store;
  struct deliver *deliver;
  struct kept *kept;
  size_t kept_count, kept_cap;
  size_t dropped;
  struct hashes rulesets, sources, templates; /**< that something refers to */
  struct hashes *live;                        /**< of the kind being scanned */
  size_t prefix;                              /**< length of its keys' prefix */
  struct store_fact *facts;
  size_t fact_count, fact_cap;
  struct error *err;
};

/* ---- sets of hashes: gathered, sorted, asked ---- */

static int by_hash(const void *a, const void *b) {
  const struct hash128 *left = a, *right = b;
  if (left->high != right->high) return left->high < right->high ? -1 : 1;
  return left->low < right->low ? -1 : left->low > right->low;
}

static void hashes_add(struct hashes *hashes, struct hash128 hash) {
  if (hashes->count == hashes->cap) {
    hashes->cap = hashes->cap ? hashes->cap * 2 : 64;
    hashes->items = memory_realloc(hashes->items, hashes->cap * sizeof *hashes->items);
  }
  hashes->items[hashes->count++] = hash;
}

static void hashes_sort(struct hashes *hashes) {
  if (hashes->count) qsort(hashes->items, hashes->count, sizeof *hashes->items, by_hash);
}

static bool hashes_have(const struct hashes *hashes, struct hash128 hash) {
  return hashes->count && bsearch(&hash, hashes->items, hashes->count, sizeof hash, by_hash);
}

/* ---- what is referred to ---- */

static int note_generation(void *context, struct str key, struct str value) {
  struct retaining *self = context;
  struct generation_facts facts;
  char number[16];
  snprintf(number, sizeof number, "%.*s", (int)(key.len - self->prefix), key.data + self->prefix);
  struct kept kept = {.number = (uint32_t)strtoul(number, NULL, 10)};
  // What cannot be read explains nothing: it is the oldest there is.
  if (generation_facts_decode(&facts, value, NULL) == 0) {
    kept.at = facts.at;
    kept.sources = facts.sources;
    kept.target = facts.target;
  }
  if (self->kept_count == self->kept_cap) {
    self->kept_cap = self->kept_cap ? self->kept_cap * 2 : 64;
    self->kept = memory_realloc(self->kept, self->kept_cap * sizeof *self->kept);
  }
  self->kept[self->kept_count++] = kept;
  return 0;
}

static int by_number(const void *a, const void *b) {
  const struct kept *left = a, *right = b;
  return left->number < right->number ? -1 : left->number > right->number;
}

static void drop(struct retaining *self, struct str key) {
  if (self->fact_count == self->fact_cap) {
    self->fact_cap = self->fact_cap ? self->fact_cap * 2 : 64;
    self->facts = memory_realloc(self->facts, self->fact_cap * sizeof *self->facts);
  }
  struct str copy = {memory_dup(key.data, key.len), key.len};
  self->facts[self->fact_count++] = (struct store_fact){.key = copy, .remove = true};
}

/** Of the ruleset's files, only the hashes matter here. */
static int note_source(void *context, struct hash128 hash, struct buf *out, struct error *err) {
  (void)out;
  (void)err;
  hashes_add(&((struct retaining *)context)->sources, hash);
  return 0;
}

static int note_ruleset(struct retaining *self, struct hash128 sources) {
  char key[KEY_MAX], hex[33];
  struct buf bytes;
  struct ruleset *ruleset;
  hash128_hex(sources, hex);
  hashes_add(&self->rulesets, sources);
  buf_init(&bytes);
  snprintf(key, sizeof key, "ruleset:%s", hex);
  int rc = store_meta_get(self->store, str_from(key), &bytes, self->err);
  if (rc == 0) rc = ruleset_decode(&ruleset, buf_str(&bytes), note_source, self, self->err);
  if (rc == 0) ruleset_free(ruleset);
  buf_clear(&bytes);
  snprintf(key, sizeof key, "templates:%s", hex);
  if (rc == 0) rc = store_meta_get(self->store, str_from(key), &bytes, self->err);
  struct reader reader = reader_of(buf_str(&bytes));
  while (rc == 0 && reader_left(&reader) >= 16) {
    struct hash128 hash = {reader_u64(&reader), 0};
    hash.low = reader_u64(&reader);
    hashes_add(&self->templates, hash);
  }
  buf_deinit(&bytes);
  return rc == ERROR_NOT_FOUND ? 0 : rc;
}

static int note_flight(void *context, struct str key, struct str value) {
  struct str campaign;
  struct hash128 version;
  (void)value;
  return journey_source_key(key, &campaign, &version) ? note_ruleset(context, version) : 0;
}

static void note_template(void *context, struct hash128 template_hash) {
  hashes_add(&((struct retaining *)context)->templates, template_hash);
}

static int note_waiting(void *context, const struct outbox_entry *entry) {
  hashes_add(&((struct retaining *)context)->templates, entry->message.template_hash);
  return 0;
}

static int note_dead(void *context, const struct dead_letter *letter) {
  struct message message;
  if (letter->kind != DEAD_MESSAGE) return 0;
  struct reader reader = reader_of(letter->outcome.message);
  if (message_decode(&message, &reader, NULL) == 0)
    hashes_add(&((struct retaining *)context)->templates, message.template_hash);
  return 0;
}

/* ---- what is not ---- */

static int drop_unless_live(void *context, struct str key, struct str value) {
  struct retaining *self = context;
  struct hash128 hash;
  (void)value;
  struct str hex = {key.data + self->prefix, key.len - self->prefix};
  if (hash128_from_hex(hex, &hash) && !hashes_have(self->live, hash)) drop(self, key);
  return 0;
}

static int sweep(struct retaining *self, const char *prefix, struct hashes *live) {
  self->live = live;
  self->prefix = strlen(prefix);
  hashes_sort(live);
  return store_meta_scan(self->store, str_from(prefix), drop_unless_live, self, self->err);
}

static int choose(struct retaining *self, uint32_t serving, int64_t oldest) {
  self->prefix = strlen("generation:");
  int rc = store_meta_scan(self->store, STR("generation:"), note_generation, self, self->err);
  if (rc) return rc;
  if (self->kept_count) qsort(self->kept, self->kept_count, sizeof *self->kept, by_number);
  // A generation ends when the next one begins.
  while (self->dropped + 1 < self->kept_count && self->kept[self->dropped].number < serving &&
         self->kept[self->dropped + 1].at < oldest)
    self->dropped++;
  return 0;
}

static int collect(struct retaining *self) {
  char key[KEY_MAX];
  int rc = 0;
  for (size_t i = 0; i < self->dropped; i++) {
    snprintf(key, sizeof key, "generation:%u", self->kept[i].number);
    drop(self, str_from(key));
  }
  for (size_t i = self->dropped; rc == 0 && i < self->kept_count; i++)
    rc = note_ruleset(self, self->kept[i].sources);
  for (size_t i = self->dropped; rc == 0 && i < self->kept_count; i++)
    if (self->kept[i].target.high || self->kept[i].target.low) rc = note_ruleset(self, self->kept[i].target);
  if (rc == 0) rc = store_meta_scan(self->store, STR("flight:"), note_flight, self, self->err);
  // In the order in which a letter that is sent again goes: none can slip from what is asked later to what
  // was asked before.
  if (rc == 0) rc = store_scan_dead(self->store, note_dead, self, self->err);
  if (rc == 0 && self->deliver) deliver_visit_templates(self->deliver, note_template, self);
  if (rc == 0) rc = store_scan_outbox(self->store, note_waiting, self, self->err);
  if (rc == 0) rc = sweep(self, "ruleset:", &self->rulesets);
  if (rc == 0) rc = sweep(self, "templates:", &self->rulesets);
  if (rc == 0) rc = sweep(self, "source:", &self->sources);
  if (rc == 0) rc = sweep(self, "template:", &self->templates);
  return rc ? rc : store_meta_write(self->store, self->facts, self->fact_count, self->err);
}

int generation_retain(struct store *store, struct deliver *deliver, uint32_t serving, int64_t keep_ms,
                      int64_t now, struct error *err) {
  struct retaining self = {.store = store, .deliver = deliver, .err = err};
  int rc = choose(&self, serving, now - keep_ms);
  if (rc == 0 && self.dropped) rc = collect(&self);
  for (size_t i = 0; i < self.fact_count; i++) memory_free((char *)self.facts[i].key.data);
  memory_free(self.facts);
  memory_free(self.kept);
  memory_free(self.rulesets.items);
  memory_free(self.sources.items);
  memory_free(self.templates.items);
  return rc ? rc : (int)self.dropped;
}
