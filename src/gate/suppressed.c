#include "gate/checks.h"

void suppressed_ask(const struct gate_question *question, struct gate_answer *answer) {
  struct suppression found;
  if (!record_suppressed(question->record, question->message->channel, &found)) {
    gate_pass(answer, "not suppressed");
    return;
  }
  bool all = str_equal(found.channel, STR("*"));
  size_t shown = found.reason.len < 64 ? found.reason.len : 64;
  gate_refuse(answer, "%s%.*s suppressed since %s: %.*s", all ? "every channel is" : "",
              all ? 0 : (int)found.channel.len, found.channel.data, gate_moment(found.at).text, (int)shown,
              found.reason.data);
}
