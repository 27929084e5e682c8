/** Compiled templates by content address, read from the store when first wanted. Bounded. One thread. */
#pragma once

#include "deliver/template.h"
#include "state/store.h"

struct templates;
struct templates *templates_new(struct store *store);
void templates_free(struct templates *templates);
/** @return 0 with a template that stays till the next call; ERROR_NOT_FOUND; or why it could not be read or
 * compiled. */
int templates_get(struct templates *templates, struct hash128 hash, const struct template **out,
                  struct error *err);
