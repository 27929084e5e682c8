#include "ingest/account.h"

enum { CHUNK = 64 << 10, SPARE_MAX = 4 * CHUNK };

static bool draw(struct account *account, uint64_t bytes) {
  uint64_t sum = atomic_load_explicit(account->sum, memory_order_relaxed);
  do
    if (bytes > account->limit || sum > account->limit - bytes) return false;
  while (!atomic_compare_exchange_weak_explicit(account->sum, &sum, sum + bytes, memory_order_relaxed,
                                                memory_order_relaxed));
  account->granted += bytes;
  return true;
}

bool account_take(struct account *account, size_t bytes) {
  uint64_t spare = account->granted - account->used;
  if (bytes > spare) {
    uint64_t missing = bytes - spare;
    // A whole chunk where there is one, else just what is needed.
    if (!draw(account, (missing + CHUNK - 1) / CHUNK * CHUNK) && !draw(account, missing)) return false;
  }
  account->used += bytes;
  return true;
}

void account_give(struct account *account, size_t bytes) {
  account->used -= bytes;
  uint64_t spare = account->granted - account->used;
  if (spare <= SPARE_MAX) return;
  atomic_fetch_sub_explicit(account->sum, spare - CHUNK, memory_order_relaxed);
  account->granted -= spare - CHUNK;
}
