/** What is known of one user or subject, said for people: the record, its windows by name. */
#pragma once

#include "engine/engine.h"
#include "state/record.h"

/** As record_describe(), but a window that the engine's rules declare begins with { window: "count
 * product.viewed 10m by sku", of, by, value: as the rule wrote them }. One that none declares any more has
 * none of these. The engine's thread. */
void user_describe(const struct engine *engine, const struct record *record, struct buf *out);
