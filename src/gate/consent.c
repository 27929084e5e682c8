#include "gate/checks.h"

#include "state/consent.h"

void consent_ask(const struct gate_question *question, struct gate_answer *answer) {
  const struct config_purpose *purpose = question->purpose;
  struct consent said;
  if (!purpose || purpose->consent == CONFIG_CONSENT_NONE) {
    gate_pass(answer, "none needed");
    return;
  }
  bool allowed = consent_allows(question->record, purpose, question->message->channel, &said);
  if (said.purpose.len == 0) {
    if (allowed)
      gate_pass(answer, "not withdrawn");
    else
      gate_refuse(answer, "%s goes only to those who granted it, and the user did not", purpose->name);
    return;
  }
  bool all = str_equal(said.channel, STR("*"));
  gate_answer(answer, allowed, "%s%s%.*s %s %s (%.*s)", purpose->name, all ? "" : " on ",
              all ? 0 : (int)said.channel.len, said.channel.data, said.granted ? "granted" : "withdrawn",
              gate_moment(said.at).text, said.source.len < 64 ? (int)said.source.len : 64, said.source.data);
}
