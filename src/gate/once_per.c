#include "gate/checks.h"

#include <inttypes.h>
#include <stdio.h>

/** A length of time in its largest whole unit. */
static void write_duration(char *out, size_t size, int64_t ms) {
  static const struct {
    int64_t ms;
    const char *unit;
  } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}};
  size_t i = 0;
  while (i < 4 && ms % units[i].ms != 0) i++;
  snprintf(out, size, "%" PRId64 "%s", ms / units[i].ms, units[i].unit);
}

void once_per_ask(const struct gate_question *question, struct gate_answer *answer) {
  const struct message *message = question->message;
  if (message->once_key == 0) {
    gate_pass(answer, "not limited");
    return;
  }
  int64_t until;
  char period[32];
  write_duration(period, sizeof period, message->once_until - message->at);
  if (record_once(question->record, message->once_key, question->now, &until))
    gate_refuse(answer, "once in %s, and one was decided before: again from %s", period,
                gate_moment(until).text);
  else
    gate_pass(answer, "none before it stands");
}
