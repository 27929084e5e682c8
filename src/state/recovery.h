/** Recovery: the store brought up to the log's end, in C alone, without running a rule. */
#pragma once

#include "state/store.h"

struct recovery_result {
  struct log_position end; /**< log_open() goes on after here */
  uint64_t next_seq;
  uint32_t generation;       /**< number of the last generation recorded, 0 none */
  uint64_t records, applied; /**< read; applied to a record */
  uint64_t cut;              /**< bytes of torn tail */
};

struct recovery_options {
  const char *log_directory;
  size_t memory;     /**< bound on records held meanwhile */
  size_t record_max; /**< the bound that holds now: records that have outgrown it are kept, and counted in a
                        warning */
  /** A dedup mark of the unsealed part of the log. */
  void (*mark)(void *context, struct entity entity, struct str event_id, int64_t accepted, uint64_t segment);
  void *context;
  /** Where the log was durable when it failed in this process (log_durable() before log_close()): nothing
   * behind is read. Null after a start. */
  const struct log_position *known_end;
};

/** Read from the checkpoint (and dedup marks from the first unsealed segment); apply to each user what his
 * record has not seen (by sequence number; what fitted his record when it was logged fits now, whatever the
 * bound is); re-put timers index, outbox, dead letters and user index by key; write all of it, checkpoint at
 * the end. Blocking; nothing else uses the store. */
int recovery_run(struct store *store, const struct recovery_options *options, struct recovery_result *result,
                 struct error *err);
