/** What is different between two generations, for people and for choosing whose specs to run. */
#pragma once

#include "engine/engine.h"

/** Whether rules/shared or the library differ. */
bool changes_shared(const struct ruleset *before, const struct ruleset *after);
/** @param before  may be null: then everything is new. Appends a value: map {added, changed, removed}: arrays
 * of campaigns' folders. A change in rules/shared or in the library changes all. */
void changes_of_sources(const struct ruleset *before, const struct ruleset *after, struct buf *out);
/** @param before  may be null. Appends a value: map {windows_added, windows_removed, interests_added,
 * interests_removed, segments_added, segments_changed, segments_removed, templates_added, templates_changed,
 * templates_removed}: arrays of texts ("count product.viewed 10m by sku", "watchers: product.viewed 30d by
 * sku", "regulars", "cart_abandoned/reminder"). */
void changes_of_declarations(const struct engine *before, const struct engine *after, struct buf *out);
