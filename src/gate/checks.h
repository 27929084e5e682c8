/** The checks of gate.c's list, one file each. */
#pragma once

#include "base/zone.h"
#include "gate/gate.h"

void address_ask(const struct gate_question *question, struct gate_answer *answer);
void suppressed_ask(const struct gate_question *question, struct gate_answer *answer);
void consent_ask(const struct gate_question *question, struct gate_answer *answer);
void holdout_ask(const struct gate_question *question, struct gate_answer *answer);
void once_per_ask(const struct gate_question *question, struct gate_answer *answer);
void expired_ask(const struct gate_question *question, struct gate_answer *answer);
/** Makes the answer's plan, which cap_ask() and gate_judge() go on with. */
void quiet_hours_ask(const struct gate_question *question, struct gate_answer *answer);
void cap_ask(const struct gate_question *question, struct gate_answer *answer);

/** Count the message for its caps. */
int cap_reserve(struct draft *draft, const struct gate_question *question, struct error *err);
int cap_refund(struct draft *draft, const struct message *message, struct error *err);

void gate_pass(struct gate_answer *answer, const char *text);
void gate_refuse(struct gate_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void gate_answer(struct gate_answer *answer, bool pass, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** "Europe/Berlin", or with what the profile says that is no zone. */
void gate_zone_text(const struct gate_zone *zone, char *out, size_t size);
