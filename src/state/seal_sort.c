#include "state/seal_sort.h"

#include "base/memory.h"

#include <stdlib.h>

enum {
  DIGIT_BITS = 11,
  DIGITS = 2, /**< two that differ seldom have the first 22 bits in common */
  PLACES = 1 << DIGIT_BITS,
  REST_BITS = 64 - DIGITS * DIGIT_BITS
};

void seal_items_add(struct seal_items *items, struct seal_item item) {
  if (items->count == items->cap) {
    items->cap = items->cap ? items->cap * 2 : 1024;
    items->data = memory_realloc(items->data, items->cap * sizeof *items->data);
  }
  items->data[items->count++] = item;
}

static unsigned digit_of(uint64_t rank, int digit) {
  return rank >> (REST_BITS + digit * DIGIT_BITS) & (PLACES - 1);
}

/** Move all to where their digit says. */
static void scatter(const struct seal_item *from, struct seal_item *to, size_t count, int digit,
                    const size_t counts[PLACES]) {
  size_t places[PLACES], sum = 0;
  for (int i = 0; i < PLACES; i++) {
    places[i] = sum;
    sum += counts[i];
  }
  for (size_t i = 0; i < count; i++) to[places[digit_of(from[i].rank, digit)]++] = from[i];
}

static int compare_items(const void *a, const void *b) {
  const struct seal_item *left = a, *right = b;
  if (left->rank != right->rank) return left->rank < right->rank ? -1 : 1;
  return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/** What has its first digits in common: nearly always one entity's, and in order. */
static void sort_rest(struct seal_item *items, size_t count) {
  for (size_t i = 1; i < count; i++)
    if (items[i - 1].rank > items[i].rank) {
      qsort(items, count, sizeof *items, compare_items);
      return;
    }
}

/** Radix sort by the first digits, the last of them first. */
void seal_items_sort(struct seal_items *items) {
  struct seal_item *spare = memory_alloc(items->cap * sizeof *spare);
  size_t(*counts)[PLACES] = memory_zalloc(DIGITS * sizeof *counts);
  for (size_t i = 0; i < items->count; i++)
    for (int digit = 0; digit < DIGITS; digit++) counts[digit][digit_of(items->data[i].rank, digit)]++;
  for (int digit = 0; digit < DIGITS; digit++) {
    scatter(items->data, spare, items->count, digit, counts[digit]);
    struct seal_item *sorted = spare;
    spare = items->data;
    items->data = sorted;
  }
  memory_free(counts);
  memory_free(spare);
  for (size_t first = 0, end; first < items->count; first = end) {
    uint64_t digits = items->data[first].rank >> REST_BITS;
    for (end = first + 1; end < items->count && items->data[end].rank >> REST_BITS == digits;) end++;
    sort_rest(items->data + first, end - first);
  }
}

void seal_items_deinit(struct seal_items *items) {
  memory_free(items->data);
}

/* ---- owners ---- */

/** As keys compare. */
static int compare_entities(struct entity a, struct entity b) {
  if (a.kind != b.kind) return a.kind < b.kind ? -1 : 1;
  return str_compare(a.id, b.id);
}

static int compare_owners(const void *a, const void *b) {
  const struct seal_owner *left = a, *right = b;
  if (left->head != right->head) return left->head < right->head ? -1 : 1;
  return compare_entities(left->records->log.entity, right->records->log.entity);
}

static int compare_records(const void *a, const void *b) {
  const struct seal_record *left = a, *right = b;
  int order = compare_entities(left->log.entity, right->log.entity);
  if (order) return order;
  return left->log.seq < right->log.seq ? -1 : left->log.seq > right->log.seq;
}

/** Filled up with zeroes, as no id has any. */
static uint64_t head_of(struct entity entity) {
  uint8_t bytes[8] = {(uint8_t)entity.kind};
  memcpy(bytes + 1, entity.id.data, entity.id.len < 7 ? entity.id.len : 7);
  uint64_t head;
  memcpy(&head, bytes, sizeof head);
  return be64toh(head);
}

/** Whether all are one entity's, in the order of their numbers: those of its attempts come of another thread.
 */
static bool is_sorted(const struct seal_record *records, size_t count) {
  for (size_t i = 1; i < count; i++)
    if (!entity_equal(records[i].log.entity, records->log.entity) ||
        records[i - 1].log.seq > records[i].log.seq)
      return false;
  return true;
}

static size_t count_owned(const struct seal_record *records, size_t count) {
  size_t owned = 1;
  while (owned < count && entity_equal(records[owned].log.entity, records->log.entity)) owned++;
  return owned;
}

size_t seal_owners(struct seal_record *records, size_t count, struct seal_owner *owners) {
  size_t found = 0;
  for (size_t first = 0, end; first < count; first = end) {
    for (end = first + 1; end < count && records[end].rank == records[first].rank;) end++;
    if (!is_sorted(records + first, end - first))
      qsort(records + first, end - first, sizeof *records, compare_records);
    for (size_t at = first, owned; at < end; at += owned) {
      owned = count_owned(records + at, end - at);
      owners[found++] = (struct seal_owner){head_of(records[at].log.entity), records + at, owned};
    }
  }
  qsort(owners, found, sizeof *owners, compare_owners);
  return found;
}
