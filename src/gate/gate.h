/** One door out: may this message go to this user, now?
 *
 * One file a check, one list (gate.c) that orders them. The owner asks inside the input that causes the
 * message, so that answer and reservation are logged with it. Every check that was asked is in the verdict,
 * with its answer in words.
 */
#pragma once

#include "config/config.h"
#include "state/draft.h"

struct gate_question {
  const struct record *record;
  struct message *message; /**< gate_judge() sets not_before and reserved of one that passes */
  const struct config *config;
  const struct config_purpose *purpose; /**< the message's; null if the configuration has none of that name */
  int64_t now;                          /**< the rule's now, ms */
  int64_t wall;                         /**< wall clock, ms (virtual in simulate) */
  bool shadow;                          /**< its campaign only says what it would do */
  const char *held_out; /**< why its campaign holds the user out, in words; null: it does not */
};

/** What stands against a message for which no moment was found. */
enum gate_hold { GATE_HOLD_NONE, GATE_HOLD_QUIET, GATE_HOLD_CAP };

/** When a message may go, as quiet hours and caps have it; see plan.h. */
struct gate_plan {
  enum gate_hold hold;
  int64_t at;     /**< then; wall clock ms */
  int64_t first;  /**< the end of the quiet hours that are on, else now: as of then caps are asked */
  int64_t wanted; /**< the last moment it was to wait for; INT64_MAX: there is none */
  const struct config_hours *quiet; /**< that are on now; null: none */
  bool quiet_asked;                 /**< there are quiet hours that concern it */
  unsigned counters;                /**< enum message_counter: whose caps count it */
};

/** A check's answer. */
struct gate_answer {
  bool pass;
  struct gate_plan plan; /**< once quiet_hours was asked */
  char text[480]; /**< "": not worth noting; else "last sent 2026-11-20 09:12 UTC, again after 2026-11-27
                     09:12 UTC" */
};

struct gate_check {
  const char *name; /**< "address", "suppressed", "consent", "holdout", "once_per", "expired", "quiet_hours",
                       "cap": the reason when it refuses */
  void (*ask)(const struct gate_question *question, struct gate_answer *answer);
};

/** Ask every check in order; the first refusal decides, and the rest is not asked.
 * @param checks  cleared, then holds the verdict's `checks` value. */
void gate_judge(const struct gate_question *question, struct verdict *verdict, struct buf *checks);

/** The name of check number `index`, in their order from 0; null past the last. */
const char *gate_check_name(size_t index);

/** Reserve what a passing message uses up: its once_per mark, its places under caps. Of a shadow only what
 * the campaign itself asks for, under names of its own. */
int gate_reserve(struct draft *draft, const struct gate_question *question, struct error *err);
/** Reserve what gate_refund() gave back: a message that had ended goes again. A mark that a later one has set
 * meanwhile is left to that one: the message has none then. */
int gate_reserve_again(struct draft *draft, const struct gate_question *question, struct error *err);
/** The host refuses what the gate let through: one more answer in the verdict.
 * @param name  a literal */
void gate_refuse_as(struct verdict *verdict, struct buf *checks, const char *name, const char *text);
/** Give back what was reserved: the message ended without having been sent. */
int gate_refund(struct draft *draft, const struct message *message, struct error *err);

/** Where a user lives: profile attribute time_zone, else the host's. */
struct gate_zone {
  const struct zone *zone;
  struct str unknown; /**< what the profile says that is no zone; "" fine. Borrows from the record. */
};
struct gate_zone gate_zone(const struct record *record, const struct config *config);

/** A moment as answers say it: "2026-11-20 09:12:05 UTC". */
struct gate_moment {
  char text[32];
};
struct gate_moment gate_moment(int64_t ms);
/** The same where somebody lives, without the zone: "2026-11-20 10:12". */
struct gate_moment gate_local(const struct zone *zone, int64_t ms);
/** A length of time in its largest whole unit: "7d". */
struct gate_moment gate_duration(int64_t ms);
