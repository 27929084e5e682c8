/** Where a look-up goes: a path with placeholders, filled in from the event and its user.
 *
 * "/stock/{{payload.sku}}?city={{user.city}}". A placeholder is `payload.…` or `metadata.…` (dots lead on
 * within), `event.id`, `event.type`, `user.id` or `user.NAME`, an attribute of the profile. Each value is
 * percent-encoded, all but the unreserved characters of RFC 3986, section 2.3, so that it stays one segment
 * or one query value: no value can lead a look-up elsewhere.
 */
#pragma once

#include "event/event.h"
#include "state/record.h"

enum {
  NEED_PATH_MAX = 2048 /**< bytes of a path once it is filled in */
};

/** Whether the path may be declared. @return 0, or ERROR_INVALID with what was found and what to write. */
int need_path_check(struct str path, struct error *err);
/** Append the path with its values. @param path  one that need_path_check() let through.
 * @return 0; or ERROR_NOT_FOUND, ERROR_INVALID or ERROR_LIMIT with why it cannot be, without personal data:
 * `out` is then as before. */
int need_path_fill(struct str path, const struct event *event, const struct record *record, struct buf *out,
                   struct error *err);
