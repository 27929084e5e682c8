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
  const struct message *message;
  const struct config *config;
  const struct config_purpose *purpose; /**< the message's; null if the configuration has none of that name */
  int64_t now;                          /**< the rule's now, ms */
  int64_t wall;                         /**< wall clock, ms (virtual in simulate) */
};

/** A check's answer. */
struct gate_answer {
  bool pass;
  char text[160]; /**< "last sent 2026-11-20 09:12 UTC, again after 2026-11-27 09:12 UTC" */
};

struct gate_check {
  const char *name; /**< "once_per", "suppressed", "expired", "address": the reason when it refuses */
  void (*ask)(const struct gate_question *question, struct gate_answer *answer);
};

/** Ask every check in order; the first refusal decides, and the rest is not asked.
 * @param checks  cleared, then holds the verdict's `checks` value. */
void gate_judge(const struct gate_question *question, struct verdict *verdict, struct buf *checks);

/** The name of check number `index`, in their order from 0; null past the last. */
const char *gate_check_name(size_t index);

/** Reserve what a passing message uses up (its once_per mark). */
int gate_reserve(struct draft *draft, const struct message *message, struct error *err);
/** Reserve what only the campaign itself asks for: what a shadow uses up is no other campaign's business. */
int gate_reserve_shadow(struct draft *draft, const struct message *message, struct error *err);
/** The host refuses what the gate let through: one more answer in the verdict. Strings are literals. */
void gate_refuse_as(struct verdict *verdict, struct buf *checks, const char *name, const char *text);
/** Give back what was reserved: the message ended without having been sent. */
int gate_refund(struct draft *draft, const struct message *message, struct error *err);
