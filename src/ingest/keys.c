#include "ingest/keys.h"

#include "base/memory.h"

#include <openssl/crypto.h>
#include <stdatomic.h>

struct key {
  struct str secret;
  double interval_ns; /**< what one event costs; 0: no limit */
  int64_t burst_ns;
  /** When the key's debt will be paid off, ns on the monotonic clock ("theoretical arrival time"). */
  _Alignas(64) _Atomic int64_t paid_off;
};

struct keys {
  uint32_t count;
  struct key *keys;
};

int keys_new(struct keys **out, const struct config *config, struct error *err) {
  *out = NULL;
  if (config->api_key_count == 0) return 0;
  struct keys *keys = memory_zalloc(sizeof *keys);
  keys->keys = aligned_alloc(_Alignof(struct key), config->api_key_count * sizeof *keys->keys);
  if (!keys->keys) abort();
  for (; keys->count < config->api_key_count; keys->count++) {
    const struct config_api_key *from = &config->api_keys[keys->count];
    struct str secret = str_from(from->key.value);
    if (secret.len == 0) {
      keys_free(keys);
      return error_set(err, ERROR_INVALID, "API key %s: the environment variable %s is empty", from->name,
                       from->key.env ? from->key.env : "");
    }
    struct key *key = &keys->keys[keys->count];
    key->secret = (struct str){memory_dup(secret.data, secret.len), secret.len};
    key->interval_ns = from->rate.count > 0 ? (double)from->rate.over_ms * 1e6 / from->rate.count : 0;
    key->burst_ns = from->rate.over_ms * 1000000;
    atomic_init(&key->paid_off, INT64_MIN / 2);
  }
  *out = keys;
  return 0;
}

void keys_free(struct keys *keys) {
  if (!keys) return;
  for (uint32_t i = 0; i < keys->count; i++) {
    OPENSSL_cleanse((char *)keys->keys[i].secret.data, keys->keys[i].secret.len);
    memory_free((char *)keys->keys[i].secret.data);
  }
  memory_free(keys->keys);
  memory_free(keys);
}

/** 1 if equal, 0 if not, by the same steps whatever `secret` holds. */
static unsigned is_equal(struct str secret, struct str given) {
  // The secret's own length must not show, so the walk is along what the client sent.
  size_t difference = secret.len ^ given.len;
  for (size_t i = 0, j = 0; i < given.len; i++) {
    difference |= (unsigned char)(given.data[i] ^ secret.data[j]);
    j += j + 1 < secret.len;
  }
  return difference == 0;
}

int keys_find(const struct keys *keys, struct str given) {
  int found = -1;
  for (uint32_t i = 0; i < keys->count; i++) {
    int mask = -(int)is_equal(keys->keys[i].secret, given);
    found = (found & ~mask) | ((int)i & mask);
  }
  return found;
}

/** The longest debt: no sum overflows, and nobody waits three years. */
#define DEBT_MAX_NS 100000000000000000LL

static int64_t cost_ns(const struct key *key, uint32_t events) {
  double cost = key->interval_ns * events;
  return cost < (double)DEBT_MAX_NS ? (int64_t)cost : DEBT_MAX_NS;
}

int64_t keys_admit(struct keys *keys, int index, int64_t now_us) {
  struct key *key = &keys->keys[index];
  if (key->interval_ns == 0) return 0;
  int64_t now = now_us * 1000, cost = cost_ns(key, 1), next;
  int64_t paid_off = atomic_load_explicit(&key->paid_off, memory_order_relaxed);
  do {
    next = (paid_off > now ? paid_off : now) + cost;
    if (next - now > key->burst_ns) return (next - now - key->burst_ns + 999999) / 1000000;
  } while (!atomic_compare_exchange_weak_explicit(&key->paid_off, &paid_off, next, memory_order_relaxed,
                                                  memory_order_relaxed));
  return 0;
}

void keys_charge(struct keys *keys, int index, uint32_t events, int64_t now_us) {
  struct key *key = &keys->keys[index];
  if (key->interval_ns == 0 || events == 0) return;
  int64_t now = now_us * 1000, cost = cost_ns(key, events), next;
  int64_t paid_off = atomic_load_explicit(&key->paid_off, memory_order_relaxed);
  do {
    next = (paid_off > now ? paid_off : now) + cost;
    if (next > now + DEBT_MAX_NS) next = now + DEBT_MAX_NS;
  } while (!atomic_compare_exchange_weak_explicit(&key->paid_off, &paid_off, next, memory_order_relaxed,
                                                  memory_order_relaxed));
}
