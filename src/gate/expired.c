#include "gate/checks.h"

void expired_ask(const struct gate_question *question, struct gate_answer *answer) {
  int64_t expires = question->message->expires;
  if (expires == 0)
    gate_pass(answer, "does not expire");
  else if (question->wall < expires)
    gate_pass(answer, "not yet");
  else
    gate_refuse(answer, "expired %s, asked %s", gate_moment(expires).text, gate_moment(question->wall).text);
}
