/* A user's part in experiments, as his record keeps it. */
#include "event/value.h"
#include "state/record_entry.h"

static struct exposure entry_exposure(const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct exposure exposure;
  exposure_decode(&exposure, &reader);
  return exposure;
}

bool record_valid_exposure(const struct entry *entry) {
  struct reader reader = reader_of(entry->body);
  struct exposure exposure;
  return exposure_decode(&exposure, &reader) && reader_left(&reader) == 0 &&
         (!exposure.chances.len || value_valid(exposure.chances));
}

bool record_exposure(const struct record *record, struct str experiment, struct exposure *out) {
  struct entry entry;
  if (!record_find_named(record, ENTRY_EXPOSURE, experiment, &entry)) return false;
  *out = entry_exposure(&entry);
  return true;
}

/** What he was shown first holds; for as long as it is kept. One that was past it, and dropped from the
 * record (record_tidy()), may still be in the store that a recovery begins with. */
int record_apply_exposure(struct record *record, const struct exposure *exposure, size_t max) {
  struct entry entry;
  if (exposure->chances.len && !value_valid(exposure->chances)) return ERROR_INVALID;
  bool found = record_find_named(record, ENTRY_EXPOSURE, exposure->experiment, &entry);
  struct exposure first = found ? entry_exposure(&entry) : (struct exposure){0};
  if (found && exposure_age(&first, exposure->at) < RECORD_EXPOSURE_KEEP_MS) return 0;
  struct buf body;
  buf_init(&body);
  exposure_encode(exposure, &body);
  bool fits = record_fits(record, found ? entry_taken(&entry) : 0, entry_size(body.len), max);
  if (fits) memcpy(record_place(record, &entry, ENTRY_EXPOSURE, body.len), body.data, body.len);
  buf_deinit(&body);
  return fits ? 0 : ERROR_LIMIT;
}

/** The first holds. */
int record_apply_goal(struct record *record, const struct exposure *goal, size_t max) {
  struct entry entry;
  if (!record_find_named(record, ENTRY_EXPOSURE, goal->experiment, &entry)) return 0;
  struct exposure exposure = entry_exposure(&entry);
  if (exposure.reached) return 0;
  exposure.reached = true;
  exposure.goal_at = goal->goal_at;
  exposure.amount = goal->amount;
  struct buf body;
  buf_init(&body);
  exposure_encode(&exposure, &body); // borrows from the record until here
  bool fits = record_fits(record, entry_taken(&entry), entry_size(body.len), max);
  if (fits) memcpy(record_place(record, &entry, ENTRY_EXPOSURE, body.len), body.data, body.len);
  buf_deinit(&body);
  return fits ? 0 : ERROR_LIMIT;
}

bool record_tidy_exposure(struct record *record, const struct entry *entry, int64_t now) {
  struct exposure exposure = entry_exposure(entry);
  if (exposure_age(&exposure, now) < RECORD_EXPOSURE_KEEP_MS) return false;
  record_remove(record, entry);
  return true;
}
