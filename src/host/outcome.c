#include "base/memory.h"
#include "host/host_internal.h"

/** An outcome on its way to the user's owner. */
struct outcome_input {
  struct worker_task task;   /**< first: it arrives as a task … */
  struct worker_input input; /**< … and goes on as an input */
  struct message message;
  struct outcome outcome;
  struct buf bytes; /**< the two, encoded: what their strings lie in */
};

static struct outcome_input *of_input(struct worker_input *input) {
  return (struct outcome_input *)((char *)input - offsetof(struct outcome_input, input));
}

static void outcome_free(struct outcome_input *outcome) {
  buf_deinit(&outcome->bytes);
  memory_free(outcome);
}

static int outcome_decide(struct worker_input *input, struct decider *decider, struct record *record,
                          int64_t wall, struct decision *out, struct error *err) {
  (void)wall;
  (void)err;
  struct outcome_input *outcome = of_input(input);
  decide_outcome(decider, record, &outcome->message, &outcome->outcome, out);
  return 0;
}

static bool is_dead(enum outcome_kind kind) {
  return kind == OUTCOME_REJECTED || kind == OUTCOME_EXHAUSTED || kind == OUTCOME_HELD;
}

static void outcome_settled(struct worker_input *input, struct worker *worker, int status) {
  struct outcome_input *outcome = of_input(input);
  if (status == 0) {
    if (is_dead(outcome->outcome.kind))
      worker_dead_put(worker, &(struct dead_letter){.id = outcome->message.id,
                                                    .kind = DEAD_MESSAGE,
                                                    .entity = outcome->message.user,
                                                    .at = outcome->outcome.at,
                                                    .outcome = outcome->outcome});
    deliver_settled(worker_shared_of(worker)->deliver, outcome->message.user, outcome->message.id,
                    outcome->outcome.kind);
  }
  outcome_free(outcome);
}

static void outcome_run(struct worker *worker, struct worker_task *task) {
  worker_submit(worker, &((struct outcome_input *)task)->input);
}

void outcome_report(void *context, const struct message *message, const struct outcome *reported) {
  struct host *host = context;
  struct outcome_input *outcome = memory_zalloc(sizeof *outcome);
  buf_init(&outcome->bytes);
  message_encode(message, &outcome->bytes);
  size_t second = outcome->bytes.len;
  effect_encode(&(struct effect){.type = EFFECT_OUTCOME, .outcome = *reported}, &outcome->bytes);
  struct reader reader = reader_of(buf_str(&outcome->bytes));
  struct effect effect;
  message_decode(&outcome->message, &reader, NULL);
  reader.at = outcome->bytes.data + second;
  effect_decode(&effect, &reader, NULL); /* what was just encoded */
  outcome->outcome = effect.outcome;
  outcome->input =
      (struct worker_input){.decide = outcome_decide,
                            .settled = outcome_settled,
                            .entity = outcome->message.user,
                            .type = LOG_OUTCOME,
                            .needs_record = decide_outcome_needs_record(message, reported->kind)};
  outcome->task.run = outcome_run;
  worker_post(host->shared.workers[worker_of(&host->shared, outcome->message.user)], &outcome->task);
}
