#include "engine/experiment.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/quantity.h"

#include <math.h>

static double weight_of(const struct engine_experiment *experiment, struct str drawn, size_t variant) {
  struct str found;
  double weight;
  if (!drawn.len) return experiment->variants[variant].weight;
  if (!value_member(drawn, experiment->variants[variant].name, &found) || !value_as_number(found, &weight) ||
      weight < EXPERIMENT_LEAST)
    return EXPERIMENT_LEAST; // it was added since they were drawn
  return weight;
}

/** Of the variant, when it comes to this user. */
static double arrival(const struct engine_experiment *experiment, struct entity entity, size_t variant,
                      double weight) {
  uint64_t seed = hash64(experiment->name, hash64(STR("variant"), (uint64_t)entity.kind));
  uint64_t hash = hash64(entity.id, hash64(experiment->variants[variant].name, seed));
  return -log1p(-(double)(hash >> 11) * 0x1p-53) / weight;
}

static void put_chance(struct buf *out, struct str arm, int64_t chance) {
  value_put_string(out, arm);
  value_put_integer(out, chance);
}

void experiment_choose(const struct engine_experiment *experiment, struct entity entity, struct str weights,
                       int64_t host, struct exposure *out, struct buf *chances) {
  struct str drawn = STR("");
  if (!experiment->thompson || !value_member(weights, experiment->name, &drawn)) drawn = STR("");
  int64_t held = (EXPERIMENT_ALL - host) * experiment->holdout / QUANTITY_ALL;
  int64_t all = EXPERIMENT_ALL - host - held, left = all;
  double sum = 0, first = INFINITY;
  size_t chosen = 0;
  for (size_t i = 0; i < experiment->variant_count; i++) {
    double weight = weight_of(experiment, drawn, i), comes = arrival(experiment, entity, i, weight);
    sum += weight;
    if (comes < first) first = comes, chosen = i;
  }
  size_t start = chances->len;
  value_put_map(chances, (uint32_t)experiment->variant_count + (host > 0) + (held > 0));
  if (host) put_chance(chances, STR(EXPOSURE_HOST_HOLDOUT), host);
  if (held) put_chance(chances, STR(EXPOSURE_HELD_OUT), held);
  for (size_t i = 0; i < experiment->variant_count; i++) {
    bool last = i + 1 == experiment->variant_count;
    int64_t chance = last ? left : (int64_t)((double)all * (weight_of(experiment, drawn, i) / sum));
    put_chance(chances, experiment->variants[i].name, chance);
    left -= chance;
  }
  *out = (struct exposure){.experiment = experiment->name,
                           .variant = experiment->variants[chosen].name,
                           .chances = {(const char *)chances->data + start, chances->len - start}};
}

static struct str copy_of(struct str text) {
  return (struct str){memory_dup(text.data, text.len), text.len};
}

void experiment_set_copy(struct experiment_set *set, const struct engine_experiment *from, size_t count) {
  *set = (struct experiment_set){memory_zalloc((count + 1) * sizeof *set->items), count};
  for (size_t i = 0; i < count; i++) {
    struct engine_experiment *item = &set->items[i];
    *item = from[i];
    item->name = copy_of(from[i].name);
    item->path = copy_of(from[i].path);
    item->on = copy_of(from[i].on);
    item->value = copy_of(from[i].value);
    struct engine_variant *variants = memory_zalloc(item->variant_count * sizeof *variants);
    for (size_t j = 0; j < item->variant_count; j++)
      variants[j] = (struct engine_variant){copy_of(from[i].variants[j].name), from[i].variants[j].weight};
    item->variants = variants;
  }
}

void experiment_set_free(struct experiment_set *set) {
  for (size_t i = 0; i < set->count; i++) {
    struct engine_experiment *item = &set->items[i];
    const char *texts[] = {item->name.data, item->path.data, item->on.data, item->value.data};
    for (size_t j = 0; j < sizeof texts / sizeof *texts; j++) memory_free((char *)texts[j]);
    for (size_t j = 0; j < item->variant_count; j++) memory_free((char *)item->variants[j].name.data);
    memory_free((void *)item->variants);
  }
  memory_free(set->items);
}
