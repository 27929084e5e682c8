/** A bound on memory that all ingests of a host share: what clients can make large is booked here before it
 * grows.
 *
 * Each ingest draws from the common sum in chunks, so that a request touches no shared cache line. An account
 * belongs to one thread; the sum it draws from to all.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Bytes granted to all accounts together. */
typedef _Atomic uint64_t account_sum;

struct account {
  account_sum *sum;
  uint64_t limit;         /**< bytes `*sum` may reach */
  uint64_t granted, used; /**< bytes */
};

/** @return false if the bound would be passed; then nothing was booked. */
bool account_take(struct account *account, size_t bytes);
void account_give(struct account *account, size_t bytes);
