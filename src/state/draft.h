/** What one input does, while it is being decided: effects applied to the record as they are made, and taken
 * back together.
 *
 * A rule sees its own writes and those of the rules before it; a rule that fails leaves none. Owning worker
 * only.
 */
#pragma once

#include "state/record.h"

/** Where an input stood: the length of its effects, and the record's bytes. All zero to begin with; used
 * again and again it keeps its memory. */
struct draft_savepoint {
  size_t effects;
  struct buf record;
};

struct draft {
  struct record *record;
  struct buf effects; /**< encoded, in order: what the log will keep */
  size_t record_max;
  struct draft_savepoint mark; /**< its record is saved once anything has been added since */
  bool marked;                 /**< nothing has */
  bool indexed;                /**< an EFFECT_INDEX or EFFECT_FAN_OUT is, or was, among them */
  uint64_t types; /**< a bit, 1 << type, of each type of effect that was added, also of those taken back;
                     whoever looks may clear it */
};

void draft_init(struct draft *draft, size_t record_max);
void draft_deinit(struct draft *draft);
/** Begin an input on `record`. */
void draft_begin(struct draft *draft, struct record *record);
/** Apply and note. @return 0, or ERROR_LIMIT: nothing changed. */
int draft_add(struct draft *draft, const struct effect *effect, struct error *err);
/** Everything that is added since the mark can be taken back; most rules add nothing, and cost nothing. There
 * is one mark: setting it forgets the one before. */
void draft_mark(struct draft *draft);
void draft_rollback(struct draft *draft);
/** The same with a savepoint of the caller's own, for what runs others that set marks. */
void draft_save(const struct draft *draft, struct draft_savepoint *savepoint);
void draft_restore(struct draft *draft, const struct draft_savepoint *savepoint);
void draft_savepoint_deinit(struct draft_savepoint *savepoint);
/** Take back the effects of one type since the mark, and keep the others. @param scratch  overwritten
 * @return 0, or ERROR_LIMIT where the others do not fit without them; then all are gone. */
int draft_without(struct draft *draft, enum effect_type type, struct buf *scratch, struct error *err);
