/* The time by which retention goes, which a wrong clock moves little. */
#include "state/store_internal.h"

static const char META[] = "retention";
enum { PACE = 2 };

int store_retention_time(struct store *store, int64_t wall, int64_t mono_us, int64_t *out,
                         struct error *err) {
  uint64_t kept;
  int64_t at = store->retention_at;
  struct buf value;
  int rc = store_enter(store, err);
  if (rc) return rc;
  if (!store->retention_us) {
    rc = store_meta_get_u64(store, META, &kept, 1, err);
    at = rc ? wall : (int64_t)kept;
    if (rc == ERROR_NOT_FOUND) rc = 0;
  } else {
    at += PACE * (mono_us - store->retention_us) / 1000;
  }
  if (at > wall) at = wall;
  buf_init(&value);
  buf_put_u64(&value, (uint64_t)at);
  if (!rc) rc = store_put_meta(store, str_from(META), buf_str(&value), err);
  buf_deinit(&value);
  store_leave(store);
  if (rc) return rc;
  store->retention_at = at;
  store->retention_us = mono_us;
  atomic_store_explicit(&store->expired_as_of, at, memory_order_relaxed);
  *out = at;
  return 0;
}

int64_t store_retention_last(const struct store *store) {
  return atomic_load_explicit(&store->expired_as_of, memory_order_relaxed);
}
