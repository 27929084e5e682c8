/** API keys: who may post events, and how many in what time.
 *
 * A rate is judged by GCRA on one atomic number a key, shared by all workers. Its burst is its whole count:
 * "100/s" lets 100 through at once and then one every 10 ms. A request costs its events, at least one.
 * Because they are counted only after it was let in, a key may go into debt by one request, and waits longer
 * for the next.
 */
#pragma once

#include "base/error.h"
#include "base/str.h"
#include "config/config.h"

struct keys;

/** @return 0 and null in `*out` when no keys are configured: nobody is asked for one. */
int keys_new(struct keys **out, const struct config *config, struct error *err);
/** Wipes the secrets. Null is fine. */
void keys_free(struct keys *keys);

/** The key that `given` is, or -1. Takes a time that depends on `given`'s length alone. Any thread. */
int keys_find(const struct keys *keys, struct str given);
/** Let one request in and charge it one event. @return 0, or the ms until the next try makes sense. Any
 * thread. */
int64_t keys_admit(struct keys *keys, int key, int64_t now_us);
/** Charge `events` more. Any thread. */
void keys_charge(struct keys *keys, int key, uint32_t events, int64_t now_us);
