/** What an event puts into a window: the one rule for counting live and from the log. */
#pragma once

#include "event/event.h"
#include "state/window.h"

/** @param key  scratch, overwritten. @param out  borrows from the event.
 * @return whether the event, which is of the window's type, has what the window takes. */
bool window_take(const struct window_declaration *window, const struct event *event, struct buf *key,
                 struct window_entry *out);
