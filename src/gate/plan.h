/** When a message may go: the first moment at which nobody's quiet hours are on and every cap has room.
 *
 * Both go by the wall clock, for they protect the person and not the event: a late event, or one from a clock
 * that runs ahead, is treated as what reaches the person now. A clock that is set back leaves times ahead of
 * it in the counters, which then count as still to come; what was forgotten by then (older than a counter's
 * caps look back) stays so, so that a cap may have room earlier by that step, not more.
 *
 * Quiet hours and the calendar are those of the user's zone (profile attribute time_zone, else the host's).
 * Where clocks are put forward over the end of quiet hours, they end with the jump; where they are put back,
 * an hour that comes twice is quiet twice.
 */
#pragma once

#include "base/zone.h"
#include "gate/gate.h"

/** Fill in the plan. */
void plan_make(const struct gate_question *question, struct gate_plan *plan);

/** Why a plan that waits until `at` comes to nothing, or "". */
struct plan_obstacle {
  char text[96];
};
struct plan_obstacle plan_obstacle(const struct gate_question *question, int64_t at);

/* ---- quiet_hours.c ---- */

/** The end of these hours if they are on at `at`; `at` if they are not. */
int64_t quiet_end(struct hours hours, const struct zone *zone, int64_t at);

/* ---- cap.c ---- */

/** Caps with the messages that count for them. */
struct cap_counter {
  const struct cap *caps;
  uint32_t count;
  enum message_counter flag;
  char name[192]; /**< in the record */
  size_t sent;
  bool full; /**< too many are still to come: one more cannot be counted */
  int64_t times[RECORD_COUNTED_MAX];
};
enum { CAP_COUNTERS = 3 };

/** Which counters concern the message, without their times. @return how many. */
size_t cap_counters(const struct gate_question *question, struct cap_counter counters[CAP_COUNTERS]);
void cap_read(const struct gate_question *question, struct cap_counter *counter);
/** The first moment from `at` on at which one more fits under all caps, beside what is still to come.
 * @return INT64_MAX if there is none */
int64_t cap_room(const struct cap_counter *counter, const struct zone *zone, int64_t at);
