#include "decide/experiment_list.h"

#include "base/memory.h"

#include <stdlib.h>

struct counting {
  struct experiment_tally *tally;
  int64_t within, now;
  uint64_t count;
};

static int count_user(void *context, const struct index_user *user) {
  struct counting *counting = context;
  struct reader reader = reader_of(user->value);
  struct exposure exposure;
  if (!exposure_decode(&exposure, &reader)) return 0; // the scan's own checks are the bytes'
  experiment_tally_add(counting->tally, &exposure, counting->within, counting->now);
  counting->count++;
  return 0;
}

int experiment_count(struct experiment_tally *tally, struct str name, int64_t within, int64_t now,
                     const struct experiment_source *source, struct error *err) {
  struct counting counting = {tally, within, now, 0};
  struct buf index;
  buf_init(&index);
  buf_printf(&index, EXPOSURE_INDEX "%.*s", STR_ARG(name));
  int rc = source->scan(source->context, buf_str(&index), now, count_user, &counting, err);
  buf_deinit(&index);
  return rc;
}

static int add_one(struct str name, const struct engine_experiment *experiment, int64_t now,
                   const struct experiment_source *source, struct buf *out, uint32_t *found,
                   struct error *err) {
  struct experiment_tally *tally = experiment_tally_new();
  int rc = experiment_count(tally, name, experiment ? experiment->within : 0, now, source, err);
  if (rc == 0 && (experiment || experiment_tally_any(tally))) {
    experiment_result(tally, name, experiment, out);
    ++*found;
  }
  experiment_tally_free(tally);
  return rc;
}

static int by_name(const void *a, const void *b) {
  return str_compare((*(const struct engine_experiment *const *)a)->name,
                     (*(const struct engine_experiment *const *)b)->name);
}

int experiment_list(const struct engine_experiment *experiments, size_t count, struct str only, int64_t now,
                    const struct experiment_source *source, struct buf *out, struct error *err) {
  const struct engine_experiment **order = memory_alloc((count + 1) * sizeof *order);
  struct buf items;
  uint32_t found = 0;
  size_t wanted = 0;
  int rc = 0;
  buf_init(&items);
  for (size_t i = 0; i < count; i++)
    if (!only.len || str_equal(only, experiments[i].name)) order[wanted++] = &experiments[i];
  qsort(order, wanted, sizeof *order, by_name);
  for (size_t i = 0; i < wanted && !rc; i++)
    rc = add_one(order[i]->name, order[i], now, source, &items, &found, err);
  if (!rc && only.len && !wanted) rc = add_one(only, NULL, now, source, &items, &found, err);
  if (!rc && only.len && !found)
    rc = error_set(err, ERROR_NOT_FOUND,
                   "there is no experiment \"%.*s\", and nobody has come into one of that name",
                   STR_ARG(only));
  if (!rc) {
    value_put_array(out, found);
    buf_append(out, items.data, items.len);
  }
  buf_deinit(&items);
  memory_free(order);
  return rc;
}
