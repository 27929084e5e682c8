#include "gate/checks.h"

/** Files need no address, and a webhook's is its account's URL; everything else has to know where the message
 * goes. */
void address_ask(const struct gate_question *question, struct gate_answer *answer) {
  const struct message *message = question->message;
  const struct config_provider *provider = config_provider(question->config, message->provider);
  // The address itself stays out of the answer: it may be read by people who have no need to know it.
  if (message->to.len > 0)
    gate_pass(answer, "there is an address");
  else if (provider && provider->type == CONFIG_PROVIDER_FILE)
    gate_pass(answer, "files need none");
  else if (provider && provider->type == CONFIG_PROVIDER_WEBHOOK)
    gate_pass(answer, "the webhook's own URL");
  else
    gate_refuse(answer, "no address for %.*s is known", STR_ARG(message->channel));
}
