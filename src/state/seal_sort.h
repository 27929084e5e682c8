/** The order in which a segment's records are sealed: by entity, each entity's as they came. */
#pragma once

#include "state/log_segment.h"
#include "state/store_key.h"

/** Where a record is. */
struct seal_item {
  uint64_t rank;        /**< key_rank() of its entity: partition first */
  uint64_t offset : 63; /**< in what is mapped: the files sealed together, one behind the other */
  uint64_t decides : 1; /**< some of its effects are decisions */
};

struct seal_items {
  struct seal_item *data;
  size_t count, cap;
};
void seal_items_add(struct seal_items *items, struct seal_item item);
/** By rank; of equal ranks by offset, as they were added. */
void seal_items_sort(struct seal_items *items);
void seal_items_deinit(struct seal_items *items);

struct seal_record {
  struct log_record log;
  uint64_t rank;
  bool decides;
};

/** An entity, and its records side by side. */
struct seal_owner {
  uint64_t head; /**< the key's first bytes as a number: nearly every comparison ends here */
  struct seal_record *records;
  size_t count;
};
/** Whose a partition's records are, in the order of keys. Records of several entities that have one rank are
 * put apart.
 * @param records  by rank, each entity's as they came. @param owners  room for `count`. @return how many. */
size_t seal_owners(struct seal_record *records, size_t count, struct seal_owner *owners);
