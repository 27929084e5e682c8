/** The checks of gate.c's list, one file each. */
#pragma once

#include "gate/gate.h"

void address_ask(const struct gate_question *question, struct gate_answer *answer);
void suppressed_ask(const struct gate_question *question, struct gate_answer *answer);
void consent_ask(const struct gate_question *question, struct gate_answer *answer);
void once_per_ask(const struct gate_question *question, struct gate_answer *answer);
void expired_ask(const struct gate_question *question, struct gate_answer *answer);

void gate_pass(struct gate_answer *answer, const char *text);
void gate_refuse(struct gate_answer *answer, const char *format, ...) __attribute__((format(printf, 2, 3)));
void gate_answer(struct gate_answer *answer, bool pass, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/** A moment as answers say it: "2026-11-20 09:12:05 UTC". */
struct gate_moment {
  char text[32];
};
struct gate_moment gate_moment(int64_t ms);
