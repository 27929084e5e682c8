/** The text of a body -> the items of a batch. */
#pragma once

#include "ingest/exchange.h"

enum media { MEDIA_NONE, MEDIA_JSON, MEDIA_NDJSON };

/** Fill the exchange's batch with an item an event; a faulty one is REJECTED and drops no other.
 * @param text  with JSON_PADDING readable bytes behind.
 * @return 0, or -1 with the exchange refused, which then holds no events: nothing in the body can be told
 * apart, or there is no room for it. */
int batch_read(struct exchange *exchange, struct str text, enum media media);
