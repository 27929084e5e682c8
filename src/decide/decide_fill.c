/* What the log held of a user's past goes into his record, and into the user index. */
#include "decide/decide_internal.h"

struct filling {
  struct decider *decider;
  uint32_t refused;
};

static void fill_window(void *context, const struct window_held *logged) {
  struct filling *filling = context;
  struct decider *decider = filling->decider;
  uint8_t bytes[WINDOW_STATE_MAX];
  struct buf state = {bytes, 0, sizeof bytes};
  struct str live = record_window_state(decider->draft.record, logged->id, logged->key);
  if (live.len && window_state_filled(live)) return; /* a crash, and this is its second time */
  window_state_fill(logged->state, live, window_state_summary(logged->state).kind, logged->over, &state);
  struct effect effect = {.type = EFFECT_WINDOW_STATE, .held = *logged};
  effect.held.state = buf_str(&state);
  if (draft_add(&decider->draft, &effect, NULL)) filling->refused++;
}

static void fill_entries(struct decider *decider, struct str entries, int64_t wall) {
  struct reader reader = reader_of(entries);
  struct effect effect = {.type = EFFECT_INDEX};
  while (reader_left(&reader) && index_change_decode(&effect.index, &reader))
    if (!index_expired(effect.index.expires, wall)) draft_add(&decider->draft, &effect, NULL);
}

void decide_fill(struct decider *decider, struct record *record, struct entity entity,
                 const struct record *logged, struct str entries, const struct str *segments,
                 size_t segment_count, int64_t wall, struct decision *out, uint32_t *refused) {
  struct filling filling = {.decider = decider};
  decide_begin(decider, record, out);
  if (logged) record_each_window(logged, fill_window, &filling);
  fill_entries(decider, entries, wall);
  if (segment_count && entity.kind == ENTITY_USER)
    decide_fill_segments(decider, entity, segments, segment_count, wall, out);
  decide_finish(decider, out);
  *refused = filling.refused;
}
