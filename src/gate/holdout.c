/* Check "holdout": somebody who is held out, from all marketing or from this campaign, gets nothing but what
 * he asked for or must have. */
#include "gate/holdout.h"

#include "base/hash.h"
#include "gate/checks.h"

static uint32_t bucket(struct str kind, struct str name, struct entity entity) {
  return (uint32_t)(hash64(entity.id, hash64(name, hash64(kind, (uint64_t)entity.kind))) % QUANTITY_ALL);
}

uint32_t holdout_bucket(struct str name, struct entity entity) {
  return bucket(STR("holdout of a campaign"), name, entity);
}

uint32_t holdout_share(const struct config *config, int64_t wall) {
  return wall >= config->holdout.since.at ? config->holdout.share.hundredths : 0;
}

bool holdout_holds(const struct config *config, struct entity entity, int64_t wall) {
  uint32_t share = holdout_share(config, wall);
  return share && bucket(STR("holdout of the host"), str_from(config->holdout.salt), entity) < share;
}

void holdout_ask(const struct gate_question *question, struct gate_answer *answer) {
  const struct config *config = question->config;
  bool exempt = question->purpose && question->purpose->transactional;
  bool held = holdout_holds(config, question->message->user, question->wall);
  if (!config->holdout.share.hundredths && !question->held_out)
    gate_pass(answer, ""); // nothing to say where nobody is held out
  else if (exempt)
    gate_pass(answer, "transactional: not concerned");
  else if (held)
    gate_refuse(answer, "held out from all marketing (holdout of the configuration)");
  else if (question->held_out)
    gate_refuse(answer, "%s", question->held_out);
  else
    gate_pass(answer, "not held out");
}
