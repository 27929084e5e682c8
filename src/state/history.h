/** What is known of the past: sealed records in the store, and the log's unsealed tail behind them. Blocking;
 * any thread but a worker's. */
#pragma once

#include "state/store.h"

/** Of encoded effects, append those that the ledger keeps: MESSAGE, OUTCOME, FAILURE, SUPPRESS, UNSUPPRESS,
 * CONSENT, DERIVED, changes of SEGMENT; of a COMMAND's also ATTRIBUTE and TIMER_CLEAR, which no replay makes
 * again; of a RETRY's DEAD_CLEAR; of a FILL's WINDOW_STATE.
 * @return 0 or ERROR_CORRUPT. */
int history_decisions(enum log_record_type type, struct str effects, struct buf *out, struct error *err);

/** @return 1 if there is one among the effects, 0, or ERROR_CORRUPT. */
int history_decides(enum log_record_type type, struct str effects, struct error *err);

/** One entity's past, sealed segments in the order of sequence numbers, then the tail; each record once,
 * effects reduced to decisions. A visitor returning non-zero ends the scan with that value.
 * @param until  the running log's log_durable(); null: none runs, and the log is read to its end. */
int history_scan(struct store *store, const char *log_directory, const struct log_position *until,
                 struct entity entity, int (*visit)(void *context, const struct log_record *record),
                 void *context, struct error *err);

/** Dead letters of a directory at rest: the store's as of its checkpoint, brought up to the log's end. Beside
 * a running host store_scan_dead() has them all. */
int history_dead(struct store *store, const char *log_directory,
                 int (*visit)(void *context, const struct dead_letter *letter), void *context,
                 struct error *err);
