/** Log segments for the targets that read them: written as state/log.c writes them.
 */
#pragma once

#include "base/hash.h"
#include "fuzz.h"
#include "state/log_segment.h"

#include <stdlib.h>
#include <unistd.h>

/** Write `records` framed records as one group at `*offset`, which moves behind it. */
static inline struct group fuzz_write_group(int descriptor, const struct segment *segment, uint64_t *offset,
                                            struct str bytes, uint32_t records) {
  struct group group = {*offset, (uint32_t)bytes.len, records, hash64(bytes, segment->salt)};
  uint8_t header[GROUP_HEADER];
  group_put(segment, &group, header);
  if (file_write_at(descriptor, header, sizeof header, *offset) ||
      file_write_at(descriptor, bytes.data, bytes.len, *offset + GROUP_HEADER))
    abort();
  *offset = group_end(&group);
  return group;
}
