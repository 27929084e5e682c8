/** What an event puts into a window, or under an interest's key: the one rule for counting live and from the
 * log. */
#pragma once

#include "engine/engine.h"
#include "event/event.h"
#include "state/user_index.h"
#include "state/window.h"

/** @param key  scratch, overwritten. @param out  borrows from the event.
 * @return whether the event, which is of the window's type, has what the window takes. */
bool window_take(const struct window_declaration *window, const struct event *event, struct buf *key,
                 struct window_entry *out);

/** @param wall  clock, ms: an entry that has ended by then is none. @param key  scratch, overwritten.
 * @param out  borrows from it and from the interest. @return whether the event, which is of one of the
 * interest's types, makes an entry of its user's. */
bool interest_take(const struct engine_interest *interest, const struct event *event, int64_t wall,
                   struct buf *key, struct index_change *out);
