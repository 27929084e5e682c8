#include "gate/checks.h"

void once_per_ask(const struct gate_question *question, struct gate_answer *answer) {
  const struct message *message = question->message;
  if (message->once_key == 0) {
    gate_pass(answer, "not limited");
    return;
  }
  int64_t until;
  if (record_once(question->record, message->once_key, question->now, &until))
    gate_refuse(answer, "once in %s, and one was decided before: again from %s",
                gate_duration(message->once_until - message->at).text, gate_moment(until).text);
  else
    gate_pass(answer, "none before it stands");
}
